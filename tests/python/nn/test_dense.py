"""What all encoders over dense inputs share."""

import copy
import re

import pytest
import torch

import sslmed as sm
from sslmed import nn

SMALL = {"embed_dim": 12, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8], "window_size": 3}


def small(rank, **options):
    """Encoders of each family, small enough to be made often."""
    return [nn.create("resnet10", rank=rank, **options), nn.create("swin_tiny", rank=rank, **SMALL, **options)]


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_features(rank, rng):
    for net in small(rank, in_chans=2, num_classes=4):
        x = torch.randn(2, 2, *([20, 17, 24][:rank]))
        features = net.features(x)
        last = features.pyramid[-1]
        assert net(x).shape == (2, 4)
        assert features.tokens.shape == (last.shape[2:].numel() * 2, net.dim)
        assert features.lengths == [last.shape[2:].numel()] * 2
        assert [m.shape[1] for m in features.pyramid] == net.widths
        assert net.forward_features(x).shape == last.shape
        for map_, stride in zip(features.pyramid, net.strides, strict=True):
            assert map_.shape[2:] == torch.Size(-(-n // stride) for n in x.shape[2:])
        assert torch.allclose(features.pooled, net.forward_features(x).flatten(2).mean(2), atol=1e-5)
        headless = nn.create(net.config["name"], rank=rank, **{k: v for k, v in net.config.items() if k not in ("name", "rank", "num_classes")})
        assert torch.equal(headless(x), headless.features(x).pooled)


def test_bytes_are_standardized_channel_by_channel(rng):
    mean, std = [0.5, 0.25], [0.1, 0.3]
    for net in small(2, in_chans=2, pixel_mean=mean, pixel_std=std):
        net.double().eval()
        pixels = torch.randint(0, 256, (2, 2, 16, 16), dtype=torch.uint8)
        standardized = (pixels.double() / 255 - torch.tensor(mean).view(2, 1, 1)) / torch.tensor(std).view(2, 1, 1)
        assert torch.allclose(net(pixels), net(standardized), atol=1e-6)
        assert not torch.allclose(net(pixels), net(pixels.double() / 255), atol=1e-3)
    plain = nn.create("resnet10", in_chans=2).double().eval()
    assert torch.allclose(plain(pixels), plain(pixels.double() / 255), atol=1e-12)


def test_copies_types_and_state(rng):
    for net in small(2, in_chans=1):
        x = torch.randn(2, 1, 32, 32)
        expected = net.eval()(x)
        twin = copy.deepcopy(net)
        assert torch.equal(twin(x), expected)
        with torch.no_grad():
            next(iter(twin.parameters())).zero_()
        assert torch.equal(net(x), expected)
        assert not torch.equal(twin(x), expected)
        twin.load_state_dict(net.state_dict())
        assert torch.equal(twin(x), expected)
        # Double precision, and back to what it was: buffers on the C++ side follow.
        assert torch.allclose(net.double()(x.double()), expected.double(), atol=1e-4)
        assert torch.equal(net.float()(x), expected)


def test_training_uses_the_batch_and_evaluation_the_running_statistics(rng):
    net = nn.create("resnet10", in_chans=1, zero_init_last=False)
    x = torch.randn(4, 1, 32, 32)
    alone = net.eval()(x[:1])
    assert torch.allclose(net(x)[:1], alone, atol=1e-5)  # samples do not interact
    assert not torch.allclose(net.train()(x)[:1], alone, atol=1e-3)
    assert int(net.state_dict()["bn1.num_batches_tracked"]) == 1
    assert not torch.allclose(net.eval()(x[:1]), alone, atol=1e-3)  # and the statistics have moved


def test_a_channel_with_one_value_has_no_variance():
    with pytest.raises(ValueError, match="at least two values"):
        nn.create("resnet10", in_chans=1)(torch.zeros(1, 1, 16, 16))


def test_batch_normalization_as_torch(rng):
    for shape, reference in (((4, 3, 7), torch.nn.BatchNorm1d), ((4, 3, 5, 6), torch.nn.BatchNorm2d), ((2, 3, 4, 5, 6), torch.nn.BatchNorm3d)):
        ours, theirs = nn.BatchNorm(3).double(), reference(3).double()
        with torch.no_grad():
            for name, value in theirs.named_parameters():
                value.uniform_(0.5, 1.5)
                dict(ours.named_parameters())[name].copy_(value)
        for training in (True, True, False):
            ours.train(training), theirs.train(training)
            x = (3 * torch.randn(shape, dtype=torch.float64) + 1).requires_grad_()
            y = x.detach().clone().requires_grad_()
            torch.testing.assert_close(ours(x), theirs(y))
            (ours(x) ** 3).sum().backward()
            (theirs(y) ** 3).sum().backward()
            torch.testing.assert_close(x.grad, y.grad)
            for key, value in theirs.state_dict().items():
                torch.testing.assert_close(ours.state_dict()[key], value)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: nn.create("resnet81"), "name='resnet81' is unknown, did you mean 'resnet18'"),
        (lambda: nn.DenseNet("swintiny"), "name='swintiny' is not a dense encoder, did you mean 'swin_tiny'?"),
        (lambda: nn.DenseNet("densenet121"), "expected one of 'resnet10'"),
        (lambda: nn.create("resnet18", rank=4), "rank=4 must be 1, 2 or 3"),
        (lambda: nn.create("resnet18", in_chans=0), "in_chans=0 must be at least 1"),
        (lambda: nn.create("resnet18", num_classes=-1), "num_classes=-1 must not be negative"),
        (lambda: nn.create("resnet18", pixel_mean=[0.5]), "pixel_mean has 1 numbers, expected one for each of 3 channels"),
        (lambda: nn.create("resnet18", pixel_std=[1, 0, 1]), "pixel_std=0 must be positive"),
        (lambda: nn.create("resnet18", stm="cifar"), "unknown option 'stm', did you mean 'stem'?"),
        (lambda: nn.create("resnet18", stem="small"), "stem='small' must be one of 'imagenet', 'cifar'"),
        (lambda: nn.create("resnet18", no_max_pool=1), "option no_max_pool must be True or False"),
        (lambda: nn.create("resnet18")(torch.zeros(1, 3, 8)), "of rank=2, got [1, 3, 8]"),
        (lambda: nn.create("resnet18")(torch.zeros(1, 1, 8, 8)), "of in_chans=3, got [1, 1, 8, 8]"),
        (lambda: nn.create("resnet18")(torch.zeros(1, 3, 0, 8)), "axis 0 has 0 cells, expected at least 1"),
    ],
)
def test_what_is_refused(call, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        call()


@pytest.mark.parametrize(("name", "options"), [
    ("resnet10", {}), ("sam_vit_base", {"dim": 24, "depth": 1, "heads": 2, "img_size": 32, "patch_size": 8, "window": 2, "out_chans": 8}),
])  # fmt: skip
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_bfloat16_by_autocast(name, options, rank, rng):
    net = nn.create(name, rank=rank, in_chans=1, **options)
    x = torch.randn(2, 1, *[32] * rank)
    with torch.autocast("cpu", torch.bfloat16):
        features = net.features(x)
        features.pooled.float().square().sum().backward()
    assert features.pyramid[0].dtype == torch.bfloat16  # convolutions too
    full = net.features(x).pyramid[0]
    assert (features.pyramid[0] - full).abs().max() <= 0.1 * full.abs().max()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_names():
    names = sm.nn.list_models()
    assert len(set(names)) == len(names)
    assert {"vit_tiny", "resnet10", "resnet18", "resnet34", "resnet50", "wide_resnet50_2", "swin_tiny", "swin_small", "swin_base"} <= set(names)


def test_weights_whose_channels_come_last_are_saved_as_torch_names_them(tmp_path, rng):
    net = nn.create("resnet10", in_chans=2, seed=1)
    weight = dict(net.named_parameters())["layer2.0.conv1.weight"]
    assert weight.is_contiguous(memory_format=torch.channels_last)  # no reordering at every step
    sm.io.save_safetensors({k: v.detach() for k, v in net.state_dict().items()}, tmp_path / "weights.safetensors")
    saved = sm.io.load_safetensors(tmp_path / "weights.safetensors")
    assert torch.equal(saved["layer2.0.conv1.weight"], weight)
    other = nn.create("resnet10", in_chans=2, seed=2)
    other.load_state_dict(saved)
    x = torch.randn(2, 2, 32, 32)
    assert torch.equal(other.eval()(x), net.eval()(x))
    assert dict(other.double().named_parameters())["layer2.0.conv1.weight"].is_contiguous(memory_format=torch.channels_last)
