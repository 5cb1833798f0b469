"""Shifted-window transformers against timm (2-D) and MONAI (3-D): features, pyramids, gradients."""

import re

import pytest
import torch

from sslmed import nn


def agree(ours, theirs, tolerance=1e-10):
    scale = max(float(theirs.abs().max()), 1.0)
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) <= tolerance * scale


def shaken(module, seed=0):
    """Biases, norms and tables that all show."""
    draw = torch.Generator().manual_seed(seed)
    for name, value in module.named_parameters():
        if value.dim() == 1 or "table" in name:
            value.data.add_(torch.randn(value.shape, generator=draw, dtype=value.dtype) * 0.3)
    return module


def monai_names(state):
    """MONAI's names as ours, without the buffers that follow from the window."""
    out = {}
    for name, value in state.items():
        if "relative_position_index" not in name:
            name = re.sub(r"^layers(\d)\.0\.", lambda found: f"layers.{int(found[1]) - 1}.", name)
            out[name.replace("linear1", "fc1").replace("linear2", "fc2")] = value
    return out


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("swin_tiny", {}, (224, 224)),
        ("swin_tiny", {"depths": (2, 2, 2, 2), "embed_dim": 24}, (200, 204)),  # windows do not divide any stage
        ("swin_small", {"depths": (2, 2, 2, 2)}, (224, 224)),
        ("swin_base", {"depths": (1, 2, 1, 1)}, (224, 224)),
    ],
)
def test_pictures_as_timm(name, options, size, rng):
    timm = pytest.importorskip("timm")
    theirs = timm.create_model(f"{name}_patch4_window7_224", num_classes=3, img_size=size, **options)
    # A shrunken window has a smaller table in timm; these sizes have none.
    theirs = shaken(theirs.double()).eval()
    ours = nn.create(name, num_classes=3, **{k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}).double().eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 3, *size, dtype=torch.float64)
    agree(ours.forward_features(x), theirs.forward_features(x).permute(0, 3, 1, 2))
    agree(ours(x), theirs(x))
    maps = theirs.patch_embed(x)
    for found, stage in zip(ours.features(x).pyramid, theirs.layers, strict=True):
        maps = stage(maps)
        agree(found, maps.permute(0, 3, 1, 2))
    assert ours.strides == [4, 8, 16, 32]
    (ours(x) ** 2).sum().backward()
    (theirs(x) ** 2).sum().backward()
    found = dict(ours.named_parameters())
    for key, parameter in theirs.named_parameters():
        agree(found[key].grad, parameter.grad, 1e-9)


@pytest.mark.parametrize(("merging", "size"), [("monai", (32, 40, 28)), ("mergingv2", (32, 32, 32)), ("monai", (33, 26, 31))])
def test_volumes_as_monai(merging, size, rng):
    swin = pytest.importorskip("monai.networks.nets.swin_unetr")
    theirs = swin.SwinTransformer(
        in_chans=1, embed_dim=12, window_size=(7, 7, 7), patch_size=(2, 2, 2), depths=(2, 2, 1, 1), num_heads=(3, 6, 12, 24), spatial_dims=3,
        downsample="merging" if merging == "monai" else merging,
    )  # fmt: skip
    theirs = shaken(theirs.double()).eval()
    ours = nn.create("swin_tiny", rank=3, in_chans=1, embed_dim=12, depths=[2, 2, 1, 1], merging=merging, window_mode="monai").double().eval()
    ours.load_state_dict(monai_names(theirs.state_dict()))
    x = torch.randn(2, 1, *size, dtype=torch.float64)
    expected = theirs(x)
    features = ours.features(x)
    for found, map_ in zip(features.pyramid, expected, strict=True):
        agree(found, map_)
    assert [m.shape[1] for m in features.pyramid] == ours.widths
    assert ours.strides == [2, 4, 8, 16, 32]
    agree(features.pooled, expected[-1].flatten(2).mean(2))
    draw = torch.Generator().manual_seed(1)
    weights = [torch.randn(m.shape, generator=draw, dtype=m.dtype) for m in expected]
    sum((m * w).sum() for m, w in zip(features.pyramid, weights, strict=True)).backward()
    sum((m * w).sum() for m, w in zip(expected, weights, strict=True)).backward()
    theirs_by_name = monai_names(dict(theirs.named_parameters()))
    for key, parameter in ours.named_parameters():
        agree(parameter.grad, theirs_by_name[key].grad, 1e-9)


def test_two_axes_of_monai(rng):
    swin = pytest.importorskip("monai.networks.nets.swin_unetr")
    theirs = swin.SwinTransformer(
        in_chans=3, embed_dim=12, window_size=(7, 7), patch_size=(2, 2), depths=(2, 1, 1, 1), num_heads=(3, 6, 12, 24), spatial_dims=2
    )  # fmt: skip
    theirs = shaken(theirs.double()).eval()
    ours = nn.create("swin_tiny", style="monai", patch_size=2, embed_dim=12, depths=[2, 1, 1, 1], window_mode="monai").double().eval()
    ours.load_state_dict(monai_names(theirs.state_dict()))
    x = torch.randn(1, 3, 60, 44, dtype=torch.float64)
    for found, expected in zip(ours.features(x).pyramid, theirs(x), strict=True):
        agree(found, expected)


def offsets(window, full):
    """The row of the table that each pair of cells should use: from the difference of their places."""
    places = [(i, j, k) for i in range(window[0]) for j in range(window[1]) for k in range(window[2])]
    rows = []
    for a in places:
        for b in places:
            place = 0
            for axis in range(3):
                place = place * (2 * full[axis] - 1) + a[axis] - b[axis] + full[axis] - 1
            rows.append(place)
    return torch.tensor(rows)


def test_shrunken_windows_use_the_right_offsets(rng):
    """One stage whose map is smaller than the window: as full attention with a bias by the difference of places."""
    net = nn.create("swin_tiny", rank=3, in_chans=1, embed_dim=12, depths=[1, 1, 1, 1], patch_size=1, window_size=4, normalize=False).double().eval()
    shaken(net)
    with torch.no_grad():
        for value in net.parameters():
            if value.dim() == 2:
                value.mul_(20)  # initial weights are too small for attention to show
    state = net.state_dict()
    x = torch.randn(1, 1, 3, 4, 2, dtype=torch.float64)
    first = torch.nn.functional.conv3d(x, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]).flatten(2).transpose(1, 2)
    p = "layers.0.blocks.0."

    def linear(name, value):
        return torch.nn.functional.linear(value, state[p + name + ".weight"], state[p + name + ".bias"])

    def norm(name, value):
        return torch.nn.functional.layer_norm(value, (12,), state[p + name + ".weight"], state[p + name + ".bias"])

    q, k, v = linear("attn.qkv", norm("norm1", first)).view(1, 24, 3, 3, 4).permute(2, 0, 3, 1, 4)
    bias = state[p + "attn.relative_position_bias_table"][offsets((3, 4, 2), (4, 4, 4))].view(24, 24, 3).permute(2, 0, 1)
    attended = ((q @ k.transpose(-2, -1) / 2 + bias).softmax(-1) @ v).transpose(1, 2).reshape(1, 24, 12)
    y = first + linear("attn.proj", attended)
    y = y + linear("mlp.fc2", torch.nn.functional.gelu(linear("mlp.fc1", norm("norm2", y))))
    # The pyramid shows the map after its cells are merged: 000, 100, 010, 001, 110, 101, 011, 111.
    cells = torch.nn.functional.pad(y.view(3, 4, 2, 12), (0, 0, 0, 0, 0, 0, 0, 1))
    joined = torch.cat([cells[i::2, j::2, k::2] for i, j, k in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1))], -1)
    name = "layers.0.downsample."
    joined = torch.nn.functional.layer_norm(joined, (96,), state[name + "norm.weight"], state[name + "norm.bias"])
    expected = (joined @ state[name + "reduction.weight"].T).permute(3, 0, 1, 2).unsqueeze(0)
    agree(net.features(x).pyramid[1], expected)
    as_monai = nn.create(
        "swin_tiny", rank=3, in_chans=1, embed_dim=12, depths=[1, 1, 1, 1], patch_size=1, window_size=4, normalize=False, window_mode="monai"
    ).double()  # fmt: skip
    as_monai.load_state_dict(state)
    assert float((as_monai.features(x).pyramid[1] - expected).abs().max()) > 1e-7


def test_the_order_of_merging_before_the_fix(rng):
    """MONAI joined two of the eight neighbors twice and two never (the orders themselves: tests/cpp/nn/test_swin.cpp)."""
    options = {"embed_dim": 12, "depths": [1, 1, 1, 1], "patch_size": 1, "window_size": 4, "normalize": False}
    old = nn.create("swin_tiny", rank=3, in_chans=1, merging="monai_legacy", **options).double()
    new = nn.create("swin_tiny", rank=3, in_chans=1, merging="mergingv2", **options).double()
    new.load_state_dict(old.state_dict())
    # Of a constant input all neighbors are equal, in any order.
    x = torch.ones(1, 1, 8, 8, 8, dtype=torch.float64)
    agree(old.features(x).pyramid[1], new.features(x).pyramid[1])
    noise = torch.randn(1, 1, 8, 8, 8, dtype=torch.float64)
    assert float((old.features(noise).pyramid[1] - new.features(noise).pyramid[1]).abs().max()) > 1e-3


def test_dropped_paths_are_the_context_s(rng):
    net = nn.create("swin_tiny", embed_dim=12, depths=[2, 1, 1, 1], window_size=4).double()
    x = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    depth = 5
    full = net.features(x)
    assert torch.equal(net.features(x, drop_path=torch.ones(2 * depth, 3)).tokens, full.tokens)
    factors = torch.ones(2 * depth, 3)
    factors[:, 1] = 0
    some = net.features(x, drop_path=factors)
    agree(some.pooled[[0, 2]], full.pooled[[0, 2]])
    # Without any branch, stages only merge cells: what weights of attention say is nothing then.
    with torch.no_grad():
        for name, value in net.named_parameters():
            if "blocks" in name:
                value.mul_(2)
    agree(net.features(x, drop_path=factors).pooled[1], some.pooled[1])
    with pytest.raises(ValueError, match=r"drop_path must be \[10, 3\], got \[2, 3\]"):
        net.features(x, drop_path=torch.ones(2, 3))


def test_signals(rng):
    net = nn.create("swin_tiny", rank=1, in_chans=4, embed_dim=12, depths=[2, 2, 1, 1], num_classes=2)
    x = torch.randn(2, 4, 500)
    assert [tuple(m.shape) for m in net.features(x).pyramid] == [(2, 12, 125), (2, 24, 63), (2, 48, 32), (2, 96, 16)]
    net(x).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"window_mode": "right"}, "window_mode='right' must be one of 'correct', 'monai'"),
        ({"merging": "v2"}, "merging='v2' must be one of"),
        ({"depths": [2, 2]}, "depths has 2 numbers, expected one for each of 4 stages"),
        ({"embed_dim": 10}, "embed_dim=10"),
        ({"window_size": 0}, "window_size=0 must be at least 1"),
        ({"patch_size": [2, 2, 2]}, "patch_size has 3 numbers"),
        ({"windowsize": 7}, "unknown option 'windowsize', did you mean 'window_size'"),
        ({"mlp_ratio": "big"}, "option mlp_ratio must be a number"),
    ],
)
def test_what_it_cannot_be_is_refused(options, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        nn.create("swin_tiny", **options)
