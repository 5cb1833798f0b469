"""Weights of a Swin of pictures in one of volumes: what is kept exactly, and where it is not."""

import pytest
import torch

from sslmed import nn

SIZES = {"embed_dim": 12, "depths": [2, 2, 1, 1], "num_heads": [1, 2, 3, 4], "patch_size": 2, "window_size": 4}
DEEP = SIZES | {"style": "timm"}


def trained(network, seed=0):
    """A network in which every weight shows."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.named_parameters():
            noise = torch.randn(value.shape, generator=draw)
            value.copy_(0.3 * noise if value.dim() > 1 else 0.1 * noise + (1.0 if name.endswith("weight") else 0.0))
    return network.double().eval()


def flat(seed=1, in_chans=3, **options):
    return trained(nn.DenseNet("swin_tiny", rank=2, in_chans=in_chans, seed=seed, **(SIZES | options)), seed)


def deep(seed=2, in_chans=1, **options):
    return nn.DenseNet("swin_tiny", rank=3, in_chans=in_chans, seed=seed, **(DEEP | options)).double().eval()


def gray(x):
    return x.expand(-1, 3, *x.shape[2:])


def apart(found, expected):
    """The largest difference, by the largest value."""
    return ((found - expected).abs().max() / expected.abs().max()).item()


def constant_along_depth(one, other, depth):
    """Differences of each map of the pyramid, all cells of depth, on a volume that is constant along depth."""
    x = torch.randn(2, 1, 30, 44, dtype=torch.float64)  # windows divide neither axis
    maps = one.features(gray(x)).pyramid
    found = other.features(x[:, :, None].expand(-1, -1, depth, -1, -1)).pyramid
    return [apart(b, a[:, :, None].expand_as(b)) for a, b in zip(maps, found, strict=True)]


# Along depth the four stages have 32, 16, 8, 4 or 8, 4, 2, 1 cells: multiples of the window, or no more than one.
@pytest.mark.parametrize(("depth", "window"), [(64, [4, 4, 4]), (16, [4, 4, 4]), (16, [8, 4, 4])])
@pytest.mark.parametrize("strategy", ["mean", "center"])
def test_volumes_that_are_constant_along_depth(strategy, depth, window, rng):
    one, other = flat(), deep(window_size=window)
    table = nn.inflate(one, other, strategy)
    assert set(table["module_key"]) == set(other.state_dict())
    worst = max(constant_along_depth(one, other, depth))
    print(f"{strategy} inflation, {depth} slices: {worst:.1e}")
    assert worst <= 1e-6  # in every cell, those at the ends of depth too


@pytest.mark.parametrize("strategy", ["mean", "center"])
def test_windows_that_do_not_divide_depth_see_its_end(strategy, rng):
    one, other = flat(), deep()
    nn.inflate(one, other, strategy)
    assert constant_along_depth(one, other, 10)[0] > 1e-3  # 5 cells in windows of 4


def test_changes_are_told():
    change = nn.inflate(flat(), deep(), "mean").set_index("module_key")["change"]
    assert change["patch_embed.proj.weight"] == "3 channels summed; 2 copies along depth, each divided by 2"
    assert change["layers.0.blocks.1.attn.relative_position_bias_table"] == "repeated 7 times along depth"
    assert change["layers.2.downsample.reduction.weight"] == "merged cells along depth: half of the weights each"
    assert change["layers.2.downsample.norm.bias"] == "repeated along depth"
    assert change["layers.0.blocks.0.attn.qkv.weight"] == "as it is"
    change = nn.inflate(flat(), deep(), "center").set_index("module_key")["change"]
    assert change["layers.3.downsample.reduction.weight"] == "merged cells along depth: the second one"


def test_center_with_windows_of_one_slice(rng):
    """Before cells are merged, every cell of depth is the 2-D network on one slice; after that, norms take two slices."""
    one, other = flat(), deep(window_size=[1, 4, 4])
    nn.inflate(one, other, "center")
    x = torch.randn(1, 1, 16, 30, 44, dtype=torch.float64)
    found = other.features(x).pyramid
    for cell in range(8):
        assert apart(found[0][:, :, cell], one.features(gray(x[:, :, 2 * cell + 1])).pyramid[0]) <= 1e-12
    for cell in range(4):
        assert apart(found[1][:, :, cell], one.features(gray(x[:, :, 4 * cell + 3])).pyramid[1]) > 1e-3


@pytest.mark.parametrize("strategy", ["mean", "center"])
def test_blocks_of_equal_slices_with_windows_of_one_slice(strategy, rng):
    """A cell of the last map sees its 16 slices alone: where these are equal, it is the 2-D network on them."""
    one, other = flat(), deep(window_size=[1, 4, 4])
    nn.inflate(one, other, strategy)
    slices = torch.randn(1, 1, 3, 30, 44, dtype=torch.float64)
    found = other.forward_features(slices.repeat_interleave(16, 2))
    for block in range(3):
        assert apart(found[:, :, block], one.forward_features(gray(slices[:, :, block]))) <= 1e-12


@pytest.mark.parametrize("strategy", ["mean", "center"])
def test_any_axis_may_be_depth_and_any_order_of_neighbors(strategy, rng):
    one = flat()
    x = torch.randn(1, 1, 18, 22, 26, dtype=torch.float64)
    expected = None
    for axis in (0, 1, 2):
        for merging in ("timm", "monai", "mergingv2"):
            window = [4, 4]
            window.insert(axis, 2)
            other = deep(merging=merging, window_size=window)
            nn.inflate(one, other, strategy, axis=axis)
            found = other.forward_features(x.movedim(2, 2 + axis)).movedim(2 + axis, 2)
            expected = found if expected is None else expected
            assert apart(found, expected) <= 1e-12
    with pytest.raises(ValueError, match=r"reduction\.weight: cannot be merged in the order merging='monai_legacy'"):
        nn.inflate(one, deep(merging="monai_legacy"), strategy)


@pytest.mark.parametrize("strategy", ["mean", "center"])
def test_networks_as_monai_builds_them(strategy, rng):
    one = flat(style="monai")
    other = nn.DenseNet("swin_tiny", rank=3, in_chans=1, seed=2, **SIZES).double().eval()
    nn.inflate(one, other, strategy)
    assert max(constant_along_depth(one, other, 32)) <= 1e-6  # five maps: cells are merged after the last stage too


def test_windows_of_other_sizes(rng):
    resize = pytest.importorskip("timm.layers.pos_embed_rel").resize_rel_pos_bias_table
    one, other, again = flat(), deep(window_size=[2, 6, 5]), deep(window_size=[2, 6, 5], seed=3)
    change = nn.inflate(one, other).set_index("module_key")["change"]
    name = "layers.1.blocks.1.attn.relative_position_bias_table"
    assert change[name] == "offsets 7×7 → 11×9; repeated 3 times along depth"
    table = other.state_dict()[name].view(3, 11, 9, 2)
    expected = resize(one.state_dict()[name], (6, 5), (99, 2)).view(11, 9, 2).expand_as(table)
    assert torch.allclose(table, expected, rtol=0, atol=1e-5)
    nn.inflate(one.state_dict(), again)  # square windows are found without the network
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in other.state_dict().items())
    with pytest.raises(ValueError, match="has 63 offsets, which are no square: give the network instead of its state_dict"):
        nn.inflate(flat(window_size=[4, 5]).state_dict(), other)
    change = nn.inflate(flat(window_size=[4, 5]), other).set_index("module_key")["change"]
    assert change[name] == "offsets 7×9 → 11×9; repeated 3 times along depth"


def test_pictures_of_one_channel(rng):
    color = flat()
    other = nn.DenseNet("swin_tiny", in_chans=1, seed=2, **SIZES).double().eval()
    change = nn.inflate(color, other)["change"].tolist()
    assert sorted(set(change)) == ["3 channels summed", "as it is"]
    x = torch.randn(2, 1, 36, 28, dtype=torch.float64)
    assert torch.allclose(other(x), color(gray(x)), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("style", "a Swin of another style: build the 3-D network with style='timm'"),
        ("width", r"downsample\.reduction\.weight: has the shape \[24, 48\], expected half of the columns of \[48, 192\]"),
        ("heads", r"relative_position_bias_table: has the shape \[49, 1\], expected \[49, 2\]"),
        ("renamed", r"layers\.0\.blocks\.0\.norm1\.weight \[12\] of the 3-D network has no counterpart"),
        ("depth", r"layers\.2\.blocks\.1\.norm1\.weight \[48\] of the 3-D network has no counterpart"),
    ],
)
def test_faults_name_the_weights_and_change_nothing(fault, message):
    weights = flat().state_dict()
    options = {"style": "monai"} if fault == "style" else {"embed_dim": 24} if fault == "width" else {}
    options |= {"num_heads": [2, 2, 3, 4]} if fault == "heads" else {"depths": [2, 2, 2, 1]} if fault == "depth" else {}
    if fault == "renamed":
        weights["layers.0.blocks.0.norm.weight"] = weights.pop("layers.0.blocks.0.norm1.weight")
    other = deep(**options)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        nn.inflate(weights, other)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
