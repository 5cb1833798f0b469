"""U-Nets and decoders against MONAI and against plain PyTorch: maps and gradients."""

import pytest
import torch
from torch import nn as tnn
from torch.nn import functional as F

from sslmed import nn

DOUBLE = torch.float64


def agree(ours, theirs, tolerance=1e-10):
    assert ours.shape == theirs.shape
    assert float((ours - theirs).detach().abs().max()) <= tolerance * max(float(theirs.detach().abs().max()), 1.0)


def shaken(module, seed=0):
    """Scales, shifts and biases that all show."""
    draw = torch.Generator().manual_seed(seed)
    for value in module.parameters():
        if value.dim() == 1:
            value.data.add_(torch.randn(value.shape, generator=draw, dtype=value.dtype) * 0.3)
    return module


def copied(ours, theirs):
    """MONAI's weights under our names: the halves of the network are our encoder and decoder."""
    state = {}
    for name, value in theirs.state_dict().items():
        if not name.startswith("skip_layers"):
            half = "decoder" if name.startswith(("upsamples", "output_block")) else "encoder"
            state[f"{half}.{name}"] = value
    ours.load_state_dict(state)


def same_gradients(ours, theirs, x, tolerance):
    weight = torch.randn_like(theirs(x), dtype=x.dtype)
    (ours(x) * weight).sum().backward()
    (theirs(x) * weight).sum().backward()
    found = {name.partition(".")[2]: p.grad for name, p in ours.named_parameters()}
    seen = [name for name, _ in theirs.named_parameters() if not name.startswith("skip_layers")]
    assert set(seen) == set(found)
    for name, p in theirs.named_parameters():
        if name in found and x.dtype == DOUBLE:
            agree(found[name], p.grad, tolerance)
        elif name in found:  # a value next to the kink of the ReLU may fall on either side of it
            assert float((found[name] - p.grad).norm()) <= tolerance * float(p.grad.norm())


CASES = [
    (2, {"filters": [8, 12, 16, 20]}, (32, 48)),
    (3, {"filters": [4, 8, 16]}, (16, 16, 24)),
    (2, {"filters": [8, 16, 16], "norm": "group", "groups": 4}, (16, 16)),
    (3, {"filters": [4, 6, 8], "residual": True}, (8, 16, 8)),
    (3, {"filters": [4, 6, 8], "kernel_size": [1, 3, 3, 3, 3, 3, 3, 3, 3], "strides": [1, 1, 1, 1, 2, 2, 2, 2, 2], "residual": True}, (8, 8, 16)),
]


def dynunet(rank, options, dtype):
    dynunets = pytest.importorskip("monai.networks.nets")
    filters = options["filters"]
    levels = len(filters)

    def axes(name, default):
        given = options.get(name, default)
        if len(given) == levels:
            return [[value] * rank for value in given]
        return [list(given[i * rank : (i + 1) * rank]) for i in range(levels)] if len(given) > 1 else [[given[0]] * rank] * levels

    strides = axes("strides", [1] + [2] * (levels - 1))
    norm = ("GROUP", {"num_groups": options["groups"], "affine": True}) if options.get("norm") == "group" else ("INSTANCE", {"affine": True})
    net = dynunets.DynUNet(
        rank, 2, 3, axes("kernel_size", [3]), strides, strides[1:], filters=filters, norm_name=norm, res_block=options.get("residual", False)
    )
    return shaken(net).to(dtype)


@pytest.mark.parametrize(("rank", "options", "size"), CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(DOUBLE, 1e-10), (torch.float32, 1e-5)])
def test_unet_is_monais(rank, options, size, dtype, tolerance, rng):
    theirs = dynunet(rank, options, dtype)
    ours = nn.Segmenter(nn.create("unet", rank, 2, **options), classes=3).to(dtype)
    copied(ours, theirs)
    x = torch.from_numpy(rng.standard_normal((2, 2, *size))).to(dtype)
    agree(ours(x), theirs(x), tolerance)
    same_gradients(ours, theirs, x, tolerance if dtype == DOUBLE else 1e-3)


def test_pyramid_of_a_unet_and_its_defaults(rng):
    net = nn.create("unet", 3, 1, filters=[4, 8, 12], strides=[1, 1, 1, 1, 2, 2, 2, 2, 2])
    assert (net.widths, net.strides, net.dim) == ([4, 8, 12], [1, 2, 4], 12)
    maps = net.features(torch.zeros(2, 1, 8, 16, 16)).pyramid
    assert [tuple(m.shape) for m in maps] == [(2, 4, 8, 16, 16), (2, 8, 8, 8, 8), (2, 12, 4, 4, 4)]
    assert nn.create("unet", 3, 1).widths == [32, 64, 128, 256, 320]
    assert nn.create("unet", 2, 3).widths == [32, 64, 128, 256, 512, 512]
    again, other = nn.create("unet", 3, 1, filters=[4, 8, 12]), nn.create("unet", 3, 1, filters=[4, 8, 12], seed=1)
    assert torch.equal(
        again.get_parameter("input_block.conv1.conv.weight"), nn.create("unet", 3, 1, filters=[4, 8, 12]).get_parameter("input_block.conv1.conv.weight")
    )
    assert not torch.equal(again.get_parameter("input_block.conv1.conv.weight"), other.get_parameter("input_block.conv1.conv.weight"))


def test_sizes_that_strides_do_not_divide_are_cut(rng):
    ours = nn.Segmenter(nn.create("unet", 2, 1, filters=[4, 8, 8])).double()
    x = torch.from_numpy(rng.standard_normal((1, 1, 13, 18)))
    assert ours(x).shape == (1, 2, 13, 18)


def plain_norm(state, name, x, groups=0):
    channels = x.shape[1]
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    return F.group_norm(x, channels if groups == 0 else torch.gcd(torch.tensor(groups), torch.tensor(channels)).item(), weight, bias)


def test_attention_gates_are_those_of_the_paper(rng):
    ours = shaken(nn.Segmenter(nn.create("unet", 2, 1, filters=[4, 6], attention=True)).double())
    state = dict(ours.named_parameters())
    x = torch.from_numpy(rng.standard_normal((2, 1, 8, 8))).requires_grad_()
    fine, coarse = nn_maps = ours_encoder(ours, x)
    assert len(nn_maps) == 2
    up = F.conv_transpose2d(coarse, state["decoder.upsamples.0.transp_conv.conv.weight"], stride=2)

    def part(name, value):
        at = f"decoder.upsamples.0.attention.{name}"
        return plain_norm(state, f"{at}.1", F.conv2d(value, state[f"{at}.0.conv.weight"], state[f"{at}.0.conv.bias"]))

    gate = torch.sigmoid(part("psi", torch.relu(part("W_g", up) + part("W_x", fine))))
    joined = torch.cat([up, fine * gate], 1)
    for i in (1, 2):
        block = "decoder.upsamples.0.conv_block"
        joined = F.leaky_relu(plain_norm(state, f"{block}.norm{i}", F.conv2d(joined, state[f"{block}.conv{i}.conv.weight"], padding=1)), 0.01)
    want = F.conv2d(joined, state["decoder.output_block.conv.conv.weight"], state["decoder.output_block.conv.conv.bias"])
    got = ours(x)
    agree(got, want)
    weight = torch.randn_like(want)
    parameters = list(ours.parameters())
    for p, q in zip(*(torch.autograd.grad((y * weight).sum(), parameters) for y in (got, want)), strict=True):
        agree(p, q)


def ours_encoder(segmenter, x):
    """The maps of a U-Net of two levels, in plain PyTorch."""
    state, maps = dict(segmenter.named_parameters()), []
    for name, stride in (("input_block", 1), ("bottleneck", 2)):
        for i in (1, 2):
            x = F.conv2d(x, state[f"encoder.{name}.conv{i}.conv.weight"], stride=stride if i == 1 else 1, padding=1)
            x = F.leaky_relu(plain_norm(state, f"encoder.{name}.norm{i}", x), 0.01)
        maps.append(x)
    return maps


@pytest.mark.parametrize(("rank", "patch", "size"), [(3, 16, 32), (2, 16, 64)])
def test_unetr_is_monais(rank, patch, size, rng):
    nets = pytest.importorskip("monai.networks.nets")
    theirs = (
        shaken(
            nets.UNETR(
                2, 3, (size,) * rank, norm_name=("instance", {"affine": True}), feature_size=4, hidden_size=24, mlp_dim=48, num_heads=2, spatial_dims=rank
            )
        )
        .double()
        .eval()
    )
    shape = ((patch,) * rank, (size,) * rank, 2)
    encoder = nn.create("vit_tiny", *shape, dim=24, heads=2, class_token=False)
    ours = nn.Segmenter(encoder, 3, "unetr", features=4).double().eval()
    # The transformer is tested by itself (test_vit.py): here MONAI's decoder is given our maps.
    halves = ("encoder", "decoder", "out.")
    ours.load_state_dict({f"decoder.{k}": v for k, v in theirs.state_dict().items() if k.startswith(halves)}, strict=False)
    given = [k for k in theirs.state_dict() if k.startswith(halves)]
    assert {f"decoder.{k}" for k in given} == {k for k in ours.state_dict() if k.startswith("decoder.")}
    x = torch.from_numpy(rng.standard_normal((2, 2, *(size,) * rank)))
    hidden = encoder_layers(encoder, shape, x)
    maps = [h.transpose(1, 2).reshape(2, 24, *(size // patch,) * rank) for h in hidden]
    enc1, enc2, enc3, enc4 = (f(m) for f, m in zip((theirs.encoder1, theirs.encoder2, theirs.encoder3, theirs.encoder4), (x, *maps[:3]), strict=True))
    want = theirs.out(theirs.decoder2(theirs.decoder3(theirs.decoder4(theirs.decoder5(maps[3], enc4), enc3), enc2), enc1))
    got = ours(x)
    agree(got, want)
    weight = torch.randn_like(want)
    own = [p for k, p in ours.named_parameters() if k.startswith("decoder.")]
    named = dict(theirs.named_parameters())
    others = [named[k.removeprefix("decoder.")] for k, _ in ours.named_parameters() if k.startswith("decoder.")]
    for p, q in zip(torch.autograd.grad((got * weight).sum(), own), torch.autograd.grad((want * weight).sum(), others), strict=True):
        agree(p, q)


def encoder_layers(encoder, shape, x):
    """Tokens after the blocks 2, 5, 8 and 11 and the last norm, from networks that end there."""
    layers, state = [], encoder.state_dict()
    for depth in (3, 6, 9, 12):
        short = nn.create("vit_tiny", *shape, dim=24, heads=2, class_token=False, depth=depth).double()
        short.load_state_dict({k: v for k, v in state.items() if not k.startswith("blocks.") or int(k.split(".")[1]) < depth})
        layers.append(short.forward_features(x))
    return layers


def conv(state, name, x, kernel):
    """UPerNet's convolution, norm over groups and ReLU."""
    function = F.conv2d if x.dim() == 4 else F.conv3d
    return torch.relu(plain_norm(state, f"{name}.norm", function(x, state[f"{name}.conv.weight"], padding=kernel // 2), 32))


@pytest.mark.parametrize("rank", [2, 3])
def test_upernet_is_the_papers(rank, rng):
    encoder = nn.create("resnet10", rank, 1).double().eval()
    ours = shaken(nn.Segmenter(encoder, 3, "upernet", features=16).double()).eval()
    x = torch.from_numpy(rng.standard_normal((2, 1, *(64,) * 2, *(32,) * (rank - 2))))
    maps = encoder.features(x).pyramid
    state = {k.removeprefix("decoder."): v for k, v in ours.named_parameters() if k.startswith("decoder.")}
    mode, pool = ("bilinear", F.adaptive_avg_pool2d) if rank == 2 else ("trilinear", F.adaptive_avg_pool3d)

    def resized(value, like):
        return F.interpolate(value, like.shape[2:], mode=mode, align_corners=False)

    last = maps[-1]
    pooled = [last] + [resized(conv(state, f"psp_modules.{i}", pool(last, cells), 1), last) for i, cells in enumerate((1, 2, 3, 6))]
    levels = [conv(state, f"lateral_convs.{i}", m, 1) for i, m in enumerate(maps[:-1])] + [conv(state, "bottleneck", torch.cat(pooled, 1), 3)]
    for i in range(len(levels) - 1, 0, -1):
        levels[i - 1] = levels[i - 1] + resized(levels[i], levels[i - 1])
    levels = [conv(state, f"fpn_convs.{i}", m, 3) for i, m in enumerate(levels[:-1])] + levels[-1:]
    fused = conv(state, "fpn_bottleneck", torch.cat([levels[0], *(resized(m, levels[0]) for m in levels[1:])], 1), 3)
    out = (F.conv2d if rank == 2 else F.conv3d)(fused, state["classifier.weight"], state["classifier.bias"])
    want, got = resized(out, x), ours(x)
    agree(got, want)
    weight = torch.randn_like(want)
    own = [p for k, p in ours.named_parameters() if k.startswith("decoder.")]
    for p, q in zip(*(torch.autograd.grad((y * weight).sum(), own) for y in (got, want)), strict=True):
        agree(p, q)


def test_linear_decoder_is_a_matrix_and_an_interpolation(rng):
    encoder = nn.create("convnet", 1, 2, widths=[4, 6]).double().eval()
    ours = nn.Segmenter(encoder, 3, "linear").double().eval()
    x = torch.from_numpy(rng.standard_normal((2, 2, 19)))
    want = F.interpolate(
        F.conv1d(encoder.forward_features(x), ours.get_parameter("decoder.conv.weight"), ours.get_parameter("decoder.conv.bias")), 19, mode="linear"
    )
    agree(ours(x), want)


@pytest.mark.parametrize("decoder", ["linear", "unet", "unetr", "upernet"])
@pytest.mark.parametrize(
    ("name", "rank", "options"),
    [
        ("resnet18", 2, {"stem": "cifar"}),
        ("resnet18", 3, {}),
        ("swin_tiny", 2, {"embed_dim": 24, "depths": [1, 1, 1, 1]}),
        ("convnet", 2, {}),
        (
            "sam_vit_base",
            2,
            {"dim": 24, "depth": 2, "heads": 2, "mlp_dim": 24, "out_chans": 8, "img_size": 64, "patch_size": 8, "window": 4, "global_blocks": [1]},
        ),
    ],
)
def test_every_decoder_on_every_pyramid(decoder, name, rank, options):
    encoder = nn.create(name, rank, 2 if rank == 3 else 3, **options)
    net = nn.Segmenter(encoder, 4, decoder, features=8, groups=4, residual=True)
    x = torch.randn(1, encoder.in_chans, *(64,) * 2, *(32,) * (rank - 2))
    out = net(x)
    assert out.shape == (1, 4, *x.shape[2:])
    out.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for k, p in net.named_parameters() if k.startswith("decoder."))


def test_bytes_are_standardized_as_the_encoder_does_it():
    picture = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    for encoder in (
        nn.DenseNet("unet", 2, 3, filters=[4, 8], pixel_mean=[0.5] * 3, pixel_std=[0.2, 0.3, 0.4]),
        nn.create("vit_tiny", 16, 32, depth=2, dim=24, heads=2),
    ):
        net = nn.Segmenter(encoder, decoder="unet").eval()
        numbers = picture.float() / 255
        if isinstance(encoder, nn.DenseNet):
            numbers = (numbers - 0.5) / torch.tensor([0.2, 0.3, 0.4]).view(1, 3, 1, 1)
            assert torch.allclose(net(picture), net(numbers), atol=1e-5)
        else:
            assert net(picture).shape == (1, 2, 32, 32)


def test_what_does_not_fit_is_refused():
    unet = nn.create("unet", 2, 1, filters=[4, 8])
    with pytest.raises(ValueError, match="classes=1 must be at least 2"):
        nn.Segmenter(unet, 1)
    with pytest.raises(ValueError, match="decoder='deeplab' must be one of"):
        nn.Segmenter(unet, decoder="deeplab")
    with pytest.raises(ValueError, match="layers are for vision transformers"):
        nn.Segmenter(unet, layers=[0])
    with pytest.raises(TypeError, match=r"must be an encoder of sslmed\.nn"):
        nn.Segmenter(tnn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"layers=.* must rise within 0 and 1"):
        nn.Segmenter(nn.create("vit_tiny", 16, 32, depth=2), layers=[0, 2])
    with pytest.raises(ValueError, match="stride 14 of the encoder's maps must be a power of two"):
        nn.Segmenter(nn.create("vit_tiny", 14, 28, depth=2), decoder="unetr")
    with pytest.raises(ValueError, match="must be coarser than the input"):
        nn.Segmenter(nn.create("unet", 2, 1, filters=[4, 8], strides=[1, 1]), decoder="unetr")
    with pytest.raises(ValueError, match=r"expected a batch \[B, 1, 2 spatial axes\]"):
        nn.Segmenter(unet)(torch.zeros(1, 2, 8, 8))
    with pytest.raises(ValueError, match="filters has 1 numbers"):
        nn.create("unet", 2, 1, filters=[4])
    with pytest.raises(ValueError, match="strides has 2 numbers, expected 1, one for each of 3 levels"):
        nn.create("unet", 2, 1, filters=[4, 8, 8], strides=[1, 2])
    with pytest.raises(ValueError, match="kernel_size=1 is too small for stride=3"):
        nn.create("unet", 2, 1, filters=[4, 8], kernel_size=[3, 1], strides=[1, 3])
