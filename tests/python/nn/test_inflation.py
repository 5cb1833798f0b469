"""Weights of 2-D networks in 3-D ones: what is kept exactly, and where it is not."""

import pytest
import torch

from sslmed import nn


def trained(network, seed=0):
    """A network with statistics and weights as training leaves them: nothing is 0 or 1 by default."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in [*network.named_parameters(), *network.named_buffers()]:
            if name.endswith("running_var"):
                value.copy_(0.5 + torch.rand(value.shape, generator=draw))
            elif value.is_floating_point() and value.dim() == 1:
                value.copy_(torch.randn(value.shape, generator=draw) * 0.1 + (1.0 if name.endswith("weight") else 0.0))
    return network.double().eval()


def pair(name, strategy, *, flat=None, deep=None, chans=3):
    one = trained(nn.DenseNet(name, rank=2, in_chans=chans, seed=1, **(flat or {})))
    other = nn.DenseNet(name, rank=3, in_chans=1, seed=2, **(deep or flat or {})).double().eval()
    table = nn.inflate(one, other, strategy)
    return one, other, table


def test_mean_inflation_of_a_resnet_keeps_features_of_volumes_that_are_constant_along_depth(rng):
    flat, deep, table = pair("resnet10", "mean")
    assert len(table) == len(deep.state_dict())
    assert set(table["module_key"]) == set(deep.state_dict())
    x = torch.randn(2, 1, 32, 32, dtype=torch.float64)
    expected = flat.forward_features(x.expand(-1, 3, -1, -1))
    # The last cells see 195 cells of depth; those in the middle of 256 see no end, whatever the strides.
    found = deep.forward_features(x[:, :, None].expand(-1, -1, 256, -1, -1))
    middle = found.shape[2] // 2
    worst = float((found[:, :, middle] - expected).abs().max())
    print(f"mean inflation: {worst:.1e}")
    assert worst <= 1e-6 * float(expected.abs().max())
    # Where zeros beyond the ends are seen, it differs.
    assert float((found[:, :, 0] - expected).abs().max()) > 1e-3 * float(expected.abs().max())


def test_center_inflation_of_a_resnet_gives_the_features_of_single_slices(rng):
    options = {"no_max_pool": True}  # which would mix slices
    flat, deep, _ = pair("resnet10", "center", flat=options)
    x = torch.randn(1, 1, 48, 32, 32, dtype=torch.float64)
    found = deep.forward_features(x)
    stride = deep.strides[-1]
    assert found.shape[2] == 48 // stride
    for cell in range(found.shape[2]):
        expected = flat.forward_features(x[:, :, stride * cell].expand(-1, 3, -1, -1))
        assert torch.allclose(found[:, :, cell], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
def test_one_convolution(kernel, stride, rng):
    flat = torch.nn.Conv2d(2, 4, kernel, stride, kernel // 2, bias=False).double()
    deep = torch.nn.Conv3d(2, 4, kernel, stride, kernel // 2, bias=False).double()
    x = torch.randn(1, 2, 12, 9, 9, dtype=torch.float64)
    nn.inflate(flat, deep, "center", "keep")
    slices = torch.stack([flat(x[:, :, d]) for d in range(0, 12, stride)], 2)
    assert torch.allclose(deep(x), slices, rtol=0, atol=1e-13)
    nn.inflate(flat, deep, "mean", "keep")
    constant = x[:, :, :1].expand(-1, -1, 12, -1, -1)
    inside = slice(-(-(kernel // 2) // stride), (12 - 1 - kernel // 2) // stride + 1)
    expected = flat(x[:, :, 0]).unsqueeze(2).expand_as(deep(constant)[:, :, inside])
    assert torch.allclose(deep(constant)[:, :, inside], expected, rtol=0, atol=1e-13)


def vit(patch, size, class_token, chans, seed):
    return nn.create_vit("vit_tiny", patch, size, chans, dim=48, depth=2, heads=2, class_token=class_token, seed=seed).double().eval()


@pytest.mark.parametrize("class_token", [False, True])
def test_mean_inflation_of_a_vision_transformer(class_token, rng):
    flat = trained(vit([4, 4], [16, 16], class_token, 3, 1))
    deep = vit([2, 4, 4], [8, 16, 16], class_token, 1, 2)
    table = nn.inflate(flat, deep, "mean").set_index("module_key")["change"]
    assert table["patch_embed.proj.weight"] == "3 channels summed; 2 copies along depth, each divided by 2"
    assert table["pos_embed"] == "repeated 4 times along depth"
    x = torch.randn(2, 1, 16, 16, dtype=torch.float64)
    one = flat.forward_features(x.expand(-1, 3, -1, -1))
    other = deep.forward_features(x[:, :, None].expand(-1, -1, 8, -1, -1))
    skip = int(class_token)
    same = torch.allclose(other[:, skip:].view(2, 4, 16, 48), one[:, None, skip:].expand(-1, 4, -1, -1), rtol=0, atol=1e-6)
    # A class token has four times as many patches to look at, and so less of itself.
    assert same is not class_token


def test_position_tables_of_other_grids_are_resampled(rng):
    flat = vit([4, 4], [16, 16], True, 1, 1)
    deep = vit([4, 4, 4], [8, 32, 24], True, 1, 2)
    table = nn.inflate(flat, deep, "center").set_index("module_key")["change"]
    assert table["pos_embed"] == "positions 4×4 → 8×6; repeated 2 times along depth"
    again = vit([4, 4, 4], [8, 32, 24], True, 1, 3)
    nn.inflate(flat.state_dict(), again, "center")  # a square grid is found without the network
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in deep.state_dict().items())


def test_summed_channels_are_those_of_a_gray_picture(rng):
    color = trained(nn.DenseNet("resnet10", in_chans=3, seed=1))
    gray = nn.DenseNet("resnet10", in_chans=1, seed=2).double().eval()
    table = nn.inflate(color, gray)
    assert table["change"].tolist().count("3 channels summed") == 1
    x = torch.randn(2, 1, 32, 32, dtype=torch.float64)
    assert torch.allclose(gray(x), color(x.expand(-1, 3, -1, -1)), rtol=0, atol=1e-12)


def test_a_head_is_left_out_and_said_so():
    flat = nn.DenseNet("resnet10", num_classes=5)
    table = nn.inflate(flat, nn.DenseNet("resnet10", rank=3, in_chans=1))
    left = table[table["module_key"] == ""]
    assert left["file_key"].tolist() == ["fc.weight", "fc.bias"]
    assert left["change"].tolist() == ["left out: the module has no head"] * 2


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("renamed", r"conv1.weight \[64, 1, 7, 7, 7\] of the 3-D network has no counterpart.*conv_1.weight \[64, 3, 7, 7\] is not used"),
        ("shape", r"bn1.weight: has the shape \[32\], expected \[64\]"),
        ("nan", "bn1.weight: has values that are not finite"),
        ("kernel", r"conv1.weight: has the shape \[64, 1, 7, 5, 5\] after all changes, expected \[64, 1, 7, 7, 7\]"),
        ("channels", "conv1.weight: has 3 input channels and the 3-D network 1"),
    ],
)
def test_faults_name_the_weights_and_change_nothing(fault, message):
    weights = nn.DenseNet("resnet10", in_chans=3).state_dict()
    deep = nn.DenseNet("resnet10", rank=3, in_chans=1, seed=2)
    before = {name: value.clone() for name, value in deep.state_dict().items()}
    if fault == "renamed":
        weights["conv_1.weight"] = weights.pop("conv1.weight")
    elif fault == "shape":
        weights["bn1.weight"] = torch.ones(32)
    elif fault == "nan":
        weights["bn1.weight"] = torch.full((64,), torch.nan)
    elif fault == "kernel":
        weights["conv1.weight"] = torch.ones(64, 3, 5, 5)
    with pytest.raises(ValueError, match=message):
        nn.inflate(weights, deep, channels="keep" if fault == "channels" else "sum")
    assert all(torch.equal(value, before[name]) for name, value in deep.state_dict().items())


def test_positions_that_are_no_square_need_the_network():
    flat, deep = vit([4, 4], [16, 24], False, 1, 1), vit([4, 4, 4], [8, 16, 24], False, 1, 2)
    with pytest.raises(ValueError, match="has 24 cells, which are no square: give the network"):
        nn.inflate(flat.state_dict(), deep)
    assert "repeated 2 times along depth" in nn.inflate(flat, deep)["change"].tolist()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("strategy", ["mean", "center"])
def test_any_axis_may_be_depth(axis, strategy, rng):
    flat = vit([4, 4], [16, 24], False, 3, 1)
    grids = []
    for at in (0, axis):
        patch, size = turned([2, 4, 4], at), turned([8, 16, 24], at)
        deep = vit(patch, size, False, 1, 2)
        nn.inflate(flat, deep, strategy, axis=at)
        x = torch.randn(1, 1, 8, 16, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
        found = deep.forward_features(x.movedim(2, 2 + at)).view(*turned([4, 4, 6], at), 48)
        grids.append(found.movedim(at, 0))
    torch.testing.assert_close(*grids, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="axis=3 must be 0, 1 or 2"):
        nn.inflate(flat, deep, axis=3)


def turned(numbers, axis):
    """With the first number moved to another place."""
    first, *rest = numbers
    return [*rest[:axis], first, *rest[axis:]]
