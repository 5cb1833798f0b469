"""SAM's image encoder against transformers, its third axis, and what it refuses."""

import pytest
import torch
from public_models import shaken

import sslmed as sm

SIZES = {"dim": 48, "depth": 2, "heads": 4, "mlp_dim": 96, "out_chans": 16, "patch_size": 8, "window": 3}


def sam(rank=2, img_size=40, in_chans=3, **options):
    return sm.nn.create("sam_vit_base", rank, in_chans, seed=3, **(SIZES | {"global_blocks": [1], "img_size": img_size} | options))


@pytest.mark.oracle
def test_features_and_gradients_equal_transformers(rng, tmp_path):
    tr = pytest.importorskip("transformers")
    config = tr.SamVisionConfig(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=4, image_size=40, patch_size=8, output_channels=16, window_size=3, global_attn_indexes=[1],
        mlp_dim=96,
    )  # fmt: skip
    theirs = shaken(tr.SamVisionModel(config)).double()
    theirs.save_pretrained(tmp_path)
    mine = sam().double()
    told = sm.nn.load_weights(mine, tmp_path, "transformers")
    assert told.attrs["prefix"] == "vision_encoder."
    x = torch.randn(2, 3, 40, 40, dtype=torch.float64, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    expected, found = theirs(x).last_hidden_state, mine.forward_features(y)
    assert (found - expected).abs().max() <= 1e-10
    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    (found * weights).sum().backward()
    assert (y.grad - x.grad).abs().max() <= 1e-9
    gradients = {name: p.grad for name, p in theirs.vision_encoder.named_parameters()}
    for own, other in (("blocks.0.attn.rel_pos_h", "layers.0.attn.rel_pos_h"), ("blocks.1.attn.rel_pos_w", "layers.1.attn.rel_pos_w"), ("pos_embed",) * 2):
        assert (mine.get_parameter(own).grad - gradients[other]).abs().max() <= 1e-9
    features = mine.features(x.detach())
    assert torch.equal(features.pyramid[-1], found)
    assert torch.allclose(features.pooled, found.mean((2, 3)))


def test_a_third_axis_repeats_pictures(rng):
    """With kernels in the middle plane and zeros for the new tables, a volume of equal planes is a picture."""
    flat = sam(img_size=24).double()
    with torch.no_grad():
        for name, p in flat.named_parameters():
            if "rel_pos" in name:
                p.normal_()
    deep = sam(3, img_size=24).double()
    state = flat.state_dict()
    with torch.no_grad():
        for name, value in deep.state_dict().items():
            if name.endswith("rel_pos_d"):
                assert value.abs().max() == 0
            elif name == "pos_embed":
                value.copy_(state[name].unsqueeze(1).expand_as(value))
            elif name in ("patch_embed.proj.weight", "neck.0.weight"):
                value.copy_(state[name].unsqueeze(2).expand_as(value) / value.shape[2])
            elif name == "neck.2.weight":
                value.zero_()[:, :, 1] = state[name]
            else:
                value.copy_(state[name])
    x = torch.randn(1, 3, 24, 24, dtype=torch.float64)
    found = deep.forward_features(x.unsqueeze(2).expand(-1, -1, 24, -1, -1))
    assert (found - flat.forward_features(x).unsqueeze(2)).abs().max() <= 1e-10


def test_weights_of_pictures_fill_an_encoder_of_volumes(rng, tmp_path):
    flat = shaken(sam(img_size=24)).double()
    sm.nn.save_weights(flat, tmp_path / "flat.safetensors", "sam")
    deep = sam(3, img_size=24).double()
    told = sm.nn.load_weights(deep, tmp_path / "flat.safetensors", "sam", inflate="mean").set_index("module_key")
    assert "inflated over 8 cells" in told.change["patch_embed.proj.weight"]
    assert "repeated 3 times" in told.change["pos_embed"]
    assert deep.state_dict()["blocks.0.attn.rel_pos_d"].abs().max() == 0
    assert torch.equal(deep.state_dict()["blocks.0.attn.rel_pos_h"], flat.state_dict()["blocks.0.attn.rel_pos_h"])
    with pytest.raises(ValueError, match=r"another shape .*patch_embed\.proj\.weight"):
        sm.nn.load_weights(deep, tmp_path / "flat.safetensors", "sam")


def test_other_sizes_and_ranks(rng):
    assert sam().forward_features(torch.randn(1, 3, 24, 48)).shape == (1, 16, 3, 6)
    assert sam(1, 48, 2).forward_features(torch.randn(2, 2, 48)).shape == (2, 16, 6)
    assert sam(3, 16, 1).forward_features(torch.randn(1, 1, 16, 16, 16)).shape == (1, 16, 2, 2, 2)
    assert sam(num_classes=4)(torch.randn(2, 3, 40, 40)).shape == (2, 4)
    x = torch.randn(2, 3, 40, 40)
    model = sam()
    kept = model.features(x, drop_path=torch.ones(4, 2))
    assert torch.equal(kept.pooled, model.features(x).pooled)
    one = torch.ones(4, 2)
    one[:, 1] = 0
    half = model.features(x, drop_path=one)
    assert torch.allclose(half.pooled[0], kept.pooled[0], atol=1e-6)
    assert not torch.allclose(half.pooled[1], kept.pooled[1], atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth"), ({"heads": 5}, "dim=48 must be a positive multiple of heads=5"), ({"window": 0}, "window"), ({"out_chans": 0}, "out_chans"),
        ({"mlp_dim": -1}, "mlp_dim"), ({"img_size": 41}, "img_size=41 is not a multiple"), ({"global_blocks": [2]}, "global_blocks has 2"),
        ({"patch": 3}, "patch"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        sam(**options)
    with pytest.raises(ValueError, match="divide"):
        sam().forward_features(torch.zeros(1, 3, 41, 40))
