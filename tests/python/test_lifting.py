"""2-D encoders on volumes, from a saved file to a table of scores."""

import numpy as np
import pytest
import torch

import sslmed as sm
from sslmed.demo import mri


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Twelve prepared heads, one a person, cells of 8 mm."""
    root = tmp_path_factory.mktemp("heads")
    mri.write_files(root / "files", mri.PUBLIC, 12, seed=3)
    cohort = sm.Cohort.from_bids(root / "files")
    return sm.prepare(cohort.subset(~cohort.table["subject"].duplicated().to_numpy()), root / "prepared", spacing=8.0)


def volumes(**options):
    return sm.VolumePreprocessing(**({"spacing": 8.0, "patch": None, "size": 16} | options))


def flat(depth=1, **options):
    made = sm.Encoder("vit_tiny", sm.ImagePreprocessing(size=32, patch=8), depth=depth, dim=24, heads=2, **options)
    made.provenance = None
    return made


@pytest.mark.parametrize("strategy", ["axial", "coronal", "sagittal", "all", "triplanar", "adapters"])
def test_every_slice_wise_strategy_encodes_heads_and_is_saved(strategy, heads, tmp_path):
    encoder = sm.to_volumes(flat(), strategy, volumes(), slice_size=(16, 16))
    features, row = sm.encode(encoder, heads, batch_size=5)
    assert features.shape == (12, encoder.dim)
    assert encoder.dim == (72 if strategy in ("all", "triplanar") else 24)
    assert row.tolist() == list(range(12))
    assert float(features.std(0).mean()) > 1e-4
    encoder.save(tmp_path / "encoder.safetensors")
    again = sm.encoders.resolve(tmp_path / "encoder.safetensors", heads)
    assert isinstance(again, sm.SliceEncoder)
    assert again.described() == encoder.described()
    assert torch.equal(sm.encode(again, heads, batch_size=5)[0], features)


def test_slices_show_the_front_and_the_top_up(heads):
    inner = flat().eval()
    encoder = sm.SliceEncoder(inner, volumes(), "coronal").eval()
    (batch,) = sm.Loader(heads, encoder.preprocessing, batch_size=12, order="sequential")
    values = batch.views[0].values  # [12, 1, right, front, up]
    by_hand = torch.stack([inner(values[:, :, :, y].transpose(2, 3).flip(2).expand(-1, 3, -1, -1)) for y in range(16)], 1)
    found = sm.nn.SliceNet(inner, (1,), feature="cls", upright=True)(values).tokens.view(12, 16, 24)
    torch.testing.assert_close(found, by_hand, rtol=0, atol=1e-5)
    means = torch.stack([inner.forward_features(values[:, :, :, y].transpose(2, 3).flip(2).expand(-1, 3, -1, -1))[:, 1:].mean(1) for y in range(16)], 1)
    torch.testing.assert_close(encoder(values).pooled, means.mean(1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("strategy", ["mean", "center"])
@pytest.mark.parametrize("name", ["conv", "resnet10"])
def test_inflated_convolutions_keep_class_options_and_features(name, strategy, heads, tmp_path, rng):
    dense = sm.ImagePreprocessing(size=32, patch=None)
    inner = sm.ConvEncoder(dense, (8, 16), seed=4) if name == "conv" else sm.DenseEncoder(name, dense, no_max_pool=True, stem="cifar")
    encoder = sm.to_volumes(inner, strategy, volumes())
    assert type(encoder) is type(inner)
    assert encoder.described() == inner.described()
    assert sm.encode(encoder, heads)[0].shape == (12, encoder.dim)
    encoder.save(tmp_path / "encoder.safetensors")
    assert type(sm.encoders.resolve(tmp_path / "encoder.safetensors", heads)) is type(inner)
    if strategy == "mean" and name == "resnet10":
        return  # a volume must be 130 cells deep before its middle sees no end: tests/python/nn/test_inflation.py
    x = torch.randn(1, 1, 16, 16, 32)  # depth is the last axis
    x = x[..., :1].expand(-1, -1, -1, -1, 32) if strategy == "mean" else x
    maps = [(net(view).pyramid if name == "conv" else net.features(view).pyramid)[-1] for net, view in deep_and_flat(encoder, inner, x)]
    stride = 32 // maps[0].shape[-1]
    torch.testing.assert_close(maps[0][..., 16 // stride], maps[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("strategy", ["mean", "center", "axial"])
def test_a_swin_of_pictures_encodes_heads(strategy, heads, tmp_path, rng):
    options = {"embed_dim": 12, "depths": [2, 2, 1, 1], "num_heads": [1, 2, 3, 4], "patch_size": 2, "window_size": 4}
    inner = sm.DenseEncoder("swin_tiny", sm.ImagePreprocessing(size=32, patch=None), **options)
    slices = {"slice_size": (16, 16)} if strategy == "axial" else {}
    encoder = sm.to_volumes(inner, strategy, volumes(), **slices)
    features = sm.encode(encoder, heads)[0]
    assert features.shape == (12, 96)
    assert float(features.std(0).mean()) > 1e-4
    encoder.save(tmp_path / "encoder.safetensors")
    again = sm.encoders.resolve(tmp_path / "encoder.safetensors", heads)
    assert torch.equal(sm.encode(again, heads)[0], features)
    if strategy == "axial":
        return
    assert type(encoder) is sm.DenseEncoder
    assert encoder.described() == inner.described() | {
        "style": "timm", "mlp_ratio": 4.0, "patch_size": [2, 2, 2], "window_size": [4, 4, 4],
    }  # fmt: skip
    # Depth is the last axis. Where a volume is constant along it, features are those of a slice.
    x = torch.randn(2, 1, 16, 16, 1)
    deep = encoder.eval().features(x.expand(-1, -1, -1, -1, 16)).pyramid
    for found, expected in zip(deep, inner.eval().features(x[..., 0].expand(-1, 3, -1, -1)).pyramid, strict=True):
        torch.testing.assert_close(found, expected.unsqueeze(-1).expand_as(found), rtol=1e-4, atol=1e-5)


def test_sizes_of_a_swin_are_those_of_its_pictures():
    """Under one name, networks of volumes are smaller than those of pictures."""
    inner = sm.nn.DenseNet("swin_small", window_size=[7, 5], num_heads=[3, 6, 12, 12])
    assert inner.volume_options() == {
        "style": "timm", "embed_dim": 96, "depths": [2, 2, 18, 2], "num_heads": [3, 6, 12, 12], "mlp_ratio": 4.0,
        "patch_size": [4, 4, 4], "window_size": [7, 5, 5],
    }  # fmt: skip
    assert sm.nn.DenseNet("swin_tiny", style="monai").volume_options()["style"] == "monai"
    assert sm.nn.DenseNet("resnet10").volume_options() == {}


def deep_and_flat(encoder, inner, x):
    """Each network in evaluation, and what it is given: the volume, and its slice in the middle of depth."""
    return (encoder.eval(), x), (inner.eval(), x[..., 16].expand(-1, 3, -1, -1))


def test_networks_of_other_libraries_see_slices(heads):
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
    encoder = sm.to_volumes(sm.FrozenEncoder(net, sm.ImagePreprocessing(size=32)), "all", volumes())
    assert sm.encode(encoder, heads)[0].shape == (12, 24)
    with pytest.raises(TypeError, match="written in Python"):
        encoder.described()
    with pytest.raises(TypeError, match="strategy='mean' cannot rebuild a FrozenEncoder"):
        sm.to_volumes(sm.FrozenEncoder(net, sm.ImagePreprocessing(size=32)), "mean", volumes())


@pytest.mark.parametrize("strategy", ["mean", "center"])
def test_an_inflated_transformer_sees_patches_on_a_grid(strategy, heads, tmp_path):
    inner = flat()
    inner.provenance = sm.provenance.record(None, "pretraining", heads.subset([0, 1]))
    encoder = sm.to_volumes(inner, strategy, volumes(patch=8, positions="grid"))
    assert isinstance(encoder, sm.Encoder)
    assert encoder.provenance is inner.provenance
    weights, given = encoder.state_dict(), inner.state_dict()
    kernel = given["patch_embed.proj.weight"].sum(1, keepdim=True)
    if strategy == "mean":
        assert torch.equal(weights["patch_embed.proj.weight"], (kernel / 8).unsqueeze(-1).expand(-1, -1, -1, -1, 8))
    else:
        assert torch.equal(weights["patch_embed.proj.weight"][..., 4], kernel)
        assert float(weights["patch_embed.proj.weight"].abs().sum()) == pytest.approx(float(kernel.abs().sum()), rel=1e-5)
    table = weights["pos_embed"][0, 1:].view(2, 2, 2, 24)  # 16 cells of patches of 8
    assert torch.equal(table[:, :, 0], table[:, :, 1])
    features, _ = sm.encode(encoder, heads)
    assert features.shape == (12, 24)
    encoder.save(tmp_path / "encoder.safetensors")
    again = sm.encoders.resolve(tmp_path / "encoder.safetensors", heads)
    assert torch.equal(sm.encode(again, heads)[0], features)


def test_patches_by_coordinates_have_no_inflated_encoder():
    with pytest.raises(ValueError, match="places patches by coordinates, but this encoder has a table over a grid"):
        sm.to_volumes(flat(), "mean", volumes(patch=8))
    with pytest.raises(ValueError, match="strategy='flat'"):
        sm.to_volumes(flat(), "flat", volumes())
    with pytest.raises(TypeError, match="takes no options, got stride"):
        sm.to_volumes(flat(), "mean", volumes(), stride=2)
    with pytest.raises(TypeError, match="must be an encoder or the path of one"):
        sm.to_volumes(3)


@pytest.mark.parametrize(
    ("options", "how", "message"),
    [
        ({}, volumes(patch=8), "must give dense views of three axes and one size"),
        ({}, volumes(sequences=("T1w", "FLAIR")), "gives 2 channels, expected 1 or the encoder's 3"),
        ({}, volumes(size=20), r"slices of 20 x 20 cells, expected multiples of the encoder's patch 8 x 8: choose slice_size"),
        ({"strategy": "diagonal"}, volumes(), "strategy='diagonal'"),
    ],
)
def test_what_does_not_fit_is_refused(options, how, message):
    with pytest.raises(ValueError, match=message):
        sm.SliceEncoder(flat(), how, **options)


def test_an_encoder_of_volumes_has_no_slices():
    with pytest.raises(ValueError, match="expected one over dense inputs of two axes"):
        sm.SliceEncoder(sm.ConvEncoder(volumes()), volumes())


def test_transfer_scores_a_2d_encoder_on_heads(heads, tmp_path):
    flat().save(tmp_path / "flat.safetensors")
    encoder = sm.to_volumes(tmp_path / "flat.safetensors", "triplanar", volumes(), slice_size=(16, 16))
    result = sm.transfer(encoder, heads, "sex", repeats=1, permutations=9)
    assert {"random encoder"} <= set(result.table["row"])
    assert np.isfinite(result.table["value"]).all()


def test_adapters_and_an_attention_pool_are_all_that_is_trained(heads, tmp_path):
    encoder = sm.to_volumes(flat(), "adapters", volumes(), slice_size=(16, 16), stride=4, lora_rank=4)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    options = sm.FineTuning(epochs=2, batch_size=6, lr=1e-2, tuned="adapters", readout="attentive", lora_rank=4)
    tuned = sm.finetune(encoder, heads, "sex", options)
    moved = {name for name, value in tuned.encoder.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all("lora_" in name for name in moved)
    tuned.save(tmp_path / "tuned.safetensors")
    again = sm.FineTuned.load(tmp_path / "tuned.safetensors")
    assert all(torch.equal(value, again.task.state_dict()[name]) for name, value in tuned.task.state_dict().items())


def test_the_whole_encoder_is_tuned_through_its_slices(heads):
    encoder = sm.to_volumes(flat(), "all", volumes(), slice_size=(16, 16), stride=8, pool="attention")
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    tuned = sm.finetune(encoder, heads, "sex", sm.FineTuning(epochs=1, batch_size=6, lr=1e-2))
    after = tuned.encoder.state_dict()
    still = [name for name, value in before.items() if torch.equal(value, after[name]) and "pos_embed" not in name]
    assert not still


def test_copies_and_random_twins(heads):
    encoder = sm.to_volumes(flat(), "axial", volumes(), slice_size=(16, 16), pool="attention")
    assert sm.provenance.untrained(encoder)
    with torch.no_grad():
        for p in encoder.parameters():
            p.add_(0.1)
    inner = encoder.encoder_2d
    assert all(torch.equal(value, encoder.state_dict()[f"encoder.{name}"]) for name, value in inner.state_dict().items())
    twin = encoder.with_adapters(2)
    assert torch.allclose(sm.encode(twin, heads)[0], sm.encode(encoder, heads)[0], rtol=0, atol=1e-6)
    other = encoder.randomized()
    assert not any(torch.equal(p, q) for p, q in zip(other.encoder.blocks.parameters(), encoder.encoder.blocks.parameters(), strict=True) if p.dim() > 1)
