"""2-D networks over the slices of volumes: what is computed, by hand."""

import pytest
import torch

from sslmed import nn


def net(**options):
    return nn.DenseNet("resnet10", in_chans=3, seed=1, **options).double().eval()


def transformer(**options):
    made = nn.create_vit("vit_tiny", 4, 16, 3, dim=48, depth=2, heads=2, seed=1, **options)
    return made.double().eval()


def slices_of(volume, axis, places, upright=False):
    """[B, n, 3, rows, columns]"""
    out = torch.stack([volume.select(axis + 2, at) for at in places], 1)
    out = out.transpose(3, 4).flip(3) if upright else out
    return out.expand(-1, -1, 3, -1, -1) if out.shape[2] == 1 else out


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (2, 1, 0)])
def test_features_are_those_of_the_network_on_every_slice(axes, upright, rng):
    inner, x = net(), torch.randn(2, 1, 9, 10, 11, dtype=torch.float64)
    found = nn.SliceNet(inner, axes, stride=3, upright=upright, chunk=4).double()(x)
    parts = [slices_of(x, axis, range((n - 1) % 3 // 2, n, 3), upright) for axis, n in ((axis, x.shape[axis + 2]) for axis in axes)]
    by_hand = [inner(part.flatten(0, 1)).view(2, part.shape[1], -1) for part in parts]
    torch.testing.assert_close(found.pooled, torch.cat([part.mean(1) for part in by_hand], 1), rtol=0, atol=1e-12)
    assert found.lengths == [sum(part.shape[1] for part in by_hand)] * 2
    tokens = found.tokens.view(2, found.lengths[0], -1)
    first = 0
    for k, part in enumerate(by_hand):
        block = tokens[:, first : first + part.shape[1]]
        torch.testing.assert_close(block[..., 512 * k : 512 * (k + 1)], part, rtol=0, atol=1e-12)
        torch.testing.assert_close(block.abs().sum(), part.abs().sum())
        first += part.shape[1]


def test_middle_slices_alone(rng):
    inner, x = net(), torch.randn(1, 1, 9, 10, 11, dtype=torch.float64)
    made = nn.SliceNet(inner, (0, 1, 2), around=1, stride=2, join="mean")
    assert [made.places(n) for n in (9, 10, 11)] == [[2, 4, 6], [3, 5, 7], [3, 5, 7]]
    by_hand = [inner(slices_of(x, axis, made.places(n))[0]).mean(0) for axis, n in enumerate((9, 10, 11))]
    torch.testing.assert_close(made.double()(x).pooled[0], torch.stack(by_hand).mean(0), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="around=1 slices on each side of the middle with stride=2 need an axis of at least 5 cells, got 4"):
        made.places(4)


def test_results_do_not_depend_on_the_chunk(rng):
    inner, x = transformer(), torch.randn(3, 1, 16, 16, 16, dtype=torch.float64)
    one, other = (nn.SliceNet(inner, (0, 2), chunk=n)(x) for n in (0, 5))
    torch.testing.assert_close(one.tokens, other.tokens, rtol=0, atol=1e-12)


def test_class_tokens_stand_for_slices(rng):
    inner, x = transformer(), torch.randn(2, 1, 5, 16, 16, dtype=torch.float64)
    found = nn.SliceNet(inner, feature="cls")(x)
    expected = inner(slices_of(x, 0, range(5)).flatten(0, 1))
    torch.testing.assert_close(found.tokens, expected, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="feature='cls' needs an encoder with a class token"):
        nn.SliceNet(transformer(class_token=False), feature="cls")


def test_slices_are_resampled_as_torch_does(rng):
    inner, x = transformer(), torch.randn(2, 1, 3, 21, 11, dtype=torch.float64)
    found = nn.SliceNet(inner, slice_size=(16, 16))(x)
    slices = torch.nn.functional.interpolate(slices_of(x, 0, range(3)).flatten(0, 1), (16, 16), mode="bilinear", antialias=True)
    expected = inner.forward_features(slices)[:, 1:].mean(1)
    torch.testing.assert_close(found.tokens, expected, rtol=0, atol=1e-12)


def test_attention_pools_see_the_slices_of_their_axis(rng):
    inner, x = transformer(), torch.randn(2, 1, 4, 16, 16, dtype=torch.float64)
    made = nn.SliceNet(inner, (0,), pool="attention", seed=3).double()
    with torch.no_grad():
        for p in made.pools.parameters():
            p.add_(0.1 * torch.randn_like(p))
    found, w = made(x), dict(made.pools.named_parameters())
    tokens, linear = found.tokens.view(2, 4, 48), torch.nn.functional.linear
    q = linear(w["0.latent"][0], w["0.q.weight"], w["0.q.bias"]).view(1, 1, 2, 24).transpose(1, 2).expand(2, -1, -1, -1)
    k, v = linear(tokens, w["0.kv.weight"], w["0.kv.bias"]).view(2, 4, 2, 2, 24).permute(2, 0, 3, 1, 4)
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(2, 48)
    out = linear(out, w["0.proj.weight"], w["0.proj.bias"])
    inside = torch.nn.functional.layer_norm(out, (48,), w["0.norm.weight"], w["0.norm.bias"], 1e-6)
    inside = torch.nn.functional.gelu(linear(inside, w["0.mlp.fc1.weight"], w["0.mlp.fc1.bias"]))
    torch.testing.assert_close(found.pooled, out + linear(inside, w["0.mlp.fc2.weight"], w["0.mlp.fc2.bias"]), rtol=0, atol=1e-12)


def test_gradients_reach_every_weight_of_the_network(rng):
    inner, x = transformer(), torch.randn(2, 1, 4, 16, 16, dtype=torch.float64)
    # Several slices an axis: of one, attention has nothing to choose from, and queries have no gradient but rounding.
    made = nn.SliceNet(inner, (0, 1), around=1, pool="attention", chunk=1).double()
    made(x).pooled.square().sum().backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in made.parameters())
    mine = {name: p.grad.clone() for name, p in inner.named_parameters()}
    made.zero_grad()
    nn.SliceNet(inner, (0, 1), around=0, chunk=0)(x).pooled.square().sum().backward()
    plain = {name: p.grad.clone() for name, p in inner.named_parameters()}
    inner.zero_grad()
    parts = [inner.forward_features(slices_of(x, axis, [x.shape[axis + 2] // 2])[:, 0])[:, 1:].mean(1) for axis in (0, 1)]
    torch.cat(parts, 1).square().sum().backward()
    for name, p in inner.named_parameters():
        torch.testing.assert_close(plain[name], p.grad, rtol=0, atol=1e-12)
    assert mine.keys() == plain.keys()


def test_a_repeated_channel_is_a_network_with_summed_kernels(rng):
    color, gray = net(), nn.DenseNet("resnet10", in_chans=1, seed=2).double().eval()
    nn.inflate(color, gray)
    x = torch.randn(2, 1, 9, 10, 11, dtype=torch.float64)
    one, other = (nn.SliceNet(inner, (0, 1, 2))(x).pooled for inner in (color, gray))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_batch_normalization_in_training_sees_all_slices_of_an_axis_at_once(rng):
    x = torch.randn(2, 1, 9, 32, 32, dtype=torch.float64)
    inner, other = net().train(), net().train()
    made = nn.SliceNet(inner, chunk=2).train()
    other(slices_of(x, 0, range(9)).flatten(0, 1))
    made(x)
    torch.testing.assert_close(inner.bn1.running_mean, other.bn1.running_mean, rtol=0, atol=1e-12)
    assert int(inner.bn1.num_batches_tracked) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axes": ()}, "axes must name at least one axis"),
        ({"axes": (3,)}, "axes has 3, expected 0, 1 or 2"),
        ({"axes": (1, 1)}, "axes has 1 twice"),
        ({"stride": 0}, "stride=0 must be at least 1"),
        ({"chunk": -1}, "chunk=-1 must not be negative"),
        ({"slice_size": (4,)}, "slice_size has 1 numbers, expected rows and columns"),
        ({"slice_size": (4, 0)}, "slice_size=0 must be at least 1"),
        ({"around": -1}, "around=-1"),
        ({"pool": "max"}, "pool='max'"),
        ({"join": "sum"}, "join='sum'"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        nn.SliceNet(net(), **options)


def test_inputs_of_another_rank_are_refused():
    with pytest.raises(ValueError, match=r"expected a batch \[B, C, depth, height, width\], got \[1, 1, 8, 8\]"):
        nn.SliceNet(net())(torch.zeros(1, 1, 8, 8))
    with pytest.raises(TypeError, match=r"must be a network of sslmed\.nn or an encoder"):
        nn.SliceNet(torch.nn.Linear(2, 2))


def test_channels_of_a_network_whose_positions_are_a_map():
    """SAM's first tensor of four axes is its position table."""
    net = nn.DenseNet("sam_vit_base", in_chans=3, dim=24, depth=1, heads=2, img_size=32, patch_size=8, window=2, out_chans=8).eval()
    x = torch.randn(2, 1, 32, 32, 3)
    found = nn.SliceNet(net, (2,))(x)
    by_hand = torch.stack([net.features(x[..., i].expand(-1, 3, -1, -1)).pooled for i in range(3)], 1)
    torch.testing.assert_close(found.pooled, by_hand.mean(1))
