"""Weights of shifted-window transformers in and out: timm, Microsoft's files, transformers, MONAI."""

import re

import pytest
import torch
from public_models import shaken

from sslmed import nn
from sslmed.nn import load_weights, save_weights

SIZES = {"embed_dim": 12, "depths": [2, 2, 1, 1], "num_heads": [1, 2, 3, 4]}


def ours(seed=5, **options):
    return nn.create("swin_tiny", seed=seed, **(SIZES | options))


def volumes(seed=5, **options):
    return ours(seed, rank=3, in_chans=1, **options)


def agree(ours, theirs, tolerance=1e-5):
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max().item() <= tolerance * max(1.0, theirs.abs().max().item())


def equal(module, other):
    state = other.state_dict()
    return all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


def timm_model(img_size=224, window_size=7, num_classes=0, **options):
    swin = pytest.importorskip("timm.models.swin_transformer")
    return swin.SwinTransformer(
        img_size=img_size, window_size=window_size, embed_dim=12, depths=(2, 2, 1, 1), num_heads=(1, 2, 3, 4),
        num_classes=num_classes, **options,
    )  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("num_classes", [0, 5])
def test_timm(num_classes, rng, tmp_path):
    theirs = shaken(timm_model(num_classes=num_classes))
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "timm.pth")
    mine = ours(num_classes=num_classes).eval()
    told = load_weights(mine, tmp_path / "timm.pth", "timm")
    assert told.attrs["flavor"] == "timm"
    assert (told["change"] == "").all()
    x = torch.randn(1, 3, 224, 224)
    agree(mine.forward_features(x), theirs.forward_features(x).permute(0, 3, 1, 2))
    agree(mine(x), theirs(x))
    other = ours(seed=8, num_classes=num_classes)
    save_weights(other, tmp_path / "back.pth", "timm")
    theirs.load_state_dict(torch.load(tmp_path / "back.pth", weights_only=True), strict=True)
    agree(other.eval()(x), theirs(x))
    again = ours(num_classes=num_classes)
    load_weights(again, tmp_path / "back.pth", "timm")
    assert equal(again, other)


def microsoft(state):
    """Names of the files of Liu et al.: cells are merged at the end of a stage, and buffers are saved."""
    out = {}
    for name, value in state.items():
        name = re.sub(r"layers\.(\d)\.downsample", lambda found: f"layers.{int(found[1]) - 1}.downsample", name)
        out[name.replace("head.fc", "head")] = value
    out["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49, dtype=torch.int64)
    out["layers.0.blocks.1.attn_mask"] = torch.zeros(64, 49, 49)
    return out


def test_microsofts_files(rng, tmp_path):
    filtered = pytest.importorskip("timm.models.swin_transformer").checkpoint_filter_fn
    source = shaken(ours(num_classes=5))
    file = {"model": microsoft(source.state_dict())}
    torch.save(file, tmp_path / "swin_tiny_patch4_window7_224.pth")
    mine = ours(seed=6, num_classes=5)
    told = load_weights(mine, tmp_path / "swin_tiny_patch4_window7_224.pth", "timm")
    assert told.attrs["flavor"] == "Microsoft's Swin"
    assert told.attrs["prefix"] == "model."
    assert equal(mine, source)
    assert (told["change"] == "left out: computed from the window").sum() == 2
    theirs = timm_model(num_classes=5)
    theirs.load_state_dict(filtered(file, theirs))  # what timm makes of the same file
    x = torch.randn(1, 3, 224, 224)
    agree(mine.eval()(x), theirs.eval()(x))
    # SimMIM's have an encoder and a decoder.
    parts = {f"encoder.{name}": value for name, value in microsoft(source.state_dict()).items() if "head" not in name}
    parts |= {"encoder.mask_token": torch.zeros(1, 1, 12), "decoder.0.weight": torch.zeros(8, 96, 1, 1)}
    parts["decoder.0.bias"] = torch.zeros(8)
    torch.save({"model": parts}, tmp_path / "simmim.pth")
    headless = ours(seed=6)
    told = load_weights(headless, tmp_path / "simmim.pth", "timm")
    assert told.attrs["prefix"] == "model.encoder."
    assert equal(headless, source)


def hub(name, **options):
    tr = pytest.importorskip("transformers")
    config = tr.SwinConfig(image_size=224, patch_size=4, window_size=7, **SIZES, **options)
    return shaken(getattr(tr, name)(config))


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["SwinModel", "SwinForMaskedImageModeling", "SwinForImageClassification"])
@pytest.mark.parametrize("saved", ["pretrained", "state"])
def test_transformers(name, saved, rng, tmp_path):
    theirs = hub(name, **({"num_labels": 5} if name == "SwinForImageClassification" else {}))
    if saved == "pretrained":
        theirs.save_pretrained(tmp_path / "hub")
    else:  # names of transformers 5, as they are in memory
        (tmp_path / "hub").mkdir()
        torch.save(theirs.state_dict(), tmp_path / "hub" / "pytorch_model.bin")
    x = torch.randn(1, 3, 224, 224)
    base = getattr(theirs, "swin", theirs)
    expected = base(pixel_values=x).last_hidden_state.transpose(1, 2).reshape(1, 96, 7, 7)
    mine = ours().eval()
    told = load_weights(mine, tmp_path / "hub", "transformers")
    joined = told["change"] == "q, k, v joined"
    assert joined.sum() == 3 * 2 * 6
    left = set(told["change"][told["module_key"] == ""])
    expected_left = {
        "SwinModel": set(),
        "SwinForMaskedImageModeling": {f"left out: {part} of the pretraining" for part in ("mask token", "decoder")},
        "SwinForImageClassification": {"left out: head"},
    }
    assert left == expected_left[name]
    agree(mine.forward_features(x), expected)
    if name == "SwinForImageClassification":
        head = ours(num_classes=5).eval()
        load_weights(head, tmp_path / "hub", "transformers")
        agree(head(x), theirs(pixel_values=x).logits)


@pytest.mark.oracle
def test_out_to_transformers(rng, tmp_path):
    theirs = hub("SwinModel")
    theirs.save_pretrained(tmp_path / "hub")
    mine = shaken(ours(seed=3))
    save_weights(mine, tmp_path / "hub" / "model.safetensors", "transformers")
    again, info = type(theirs).from_pretrained(tmp_path / "hub", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    x = torch.randn(1, 3, 224, 224)
    agree(again.eval()(pixel_values=x).last_hidden_state.transpose(1, 2).reshape(1, 96, 7, 7), mine.forward_features(x))
    labeled = hub("SwinForImageClassification", num_labels=5)
    labeled.save_pretrained(tmp_path / "labeled")
    mine = shaken(ours(seed=4, num_classes=5))
    save_weights(mine, tmp_path / "labeled" / "model.safetensors", "transformers")
    again, info = type(labeled).from_pretrained(tmp_path / "labeled", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    agree(again.eval()(pixel_values=x).logits, mine(x))
    other = ours(num_classes=5)
    load_weights(other, tmp_path / "labeled", "transformers")
    assert equal(other, mine)


def monai_model(rank, **options):
    swin = pytest.importorskip("monai.networks.nets.swin_unetr")
    return swin.SwinTransformer(
        in_chans=1, window_size=(4,) * rank, patch_size=(2,) * rank, spatial_dims=rank, **SIZES, **options
    )  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize(("rank", "merging"), [(2, "merging"), (3, "merging"), (3, "mergingv2")])
def test_monai(rank, merging, rng, tmp_path):
    theirs = shaken(monai_model(rank, downsample=merging))
    torch.save(theirs.state_dict(), tmp_path / "monai.pt")
    options = {"style": "monai", "patch_size": 2, "window_size": 4, "window_mode": "monai"}
    options["merging"] = "monai" if merging == "merging" else merging
    mine = ours(rank=rank, in_chans=1, **options).eval()
    told = load_weights(mine, tmp_path / "monai.pt", "monai")
    assert told.attrs["flavor"] == "MONAI's SwinTransformer"
    assert (told["change"] == "left out: computed from the window").sum() == 6
    x = torch.randn(1, 1, *(40, 36, 44)[:rank])
    for found, expected in zip(mine.features(x).pyramid, theirs(x), strict=True):
        agree(found, expected)
    other = shaken(ours(seed=9, rank=rank, in_chans=1, **options))
    save_weights(other, tmp_path / "back.pt", "monai")
    theirs.load_state_dict(torch.load(tmp_path / "back.pt", weights_only=True), strict=True)
    for found, expected in zip(other.features(x).pyramid, theirs(x), strict=True):
        agree(found, expected)


@pytest.mark.oracle
@pytest.mark.parametrize("rank", [2, 3])
def test_swin_unetr(rank, rng, tmp_path):
    nets = pytest.importorskip("monai.networks.nets")
    small = {"feature_size": 12, "depths": (2, 2, 1, 1), "num_heads": (1, 2, 3, 4), "spatial_dims": rank}
    theirs = shaken(nets.SwinUNETR(1, 2, **small))
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "unetr.pt")
    options = {"style": "monai", "patch_size": 2, "window_mode": "monai", "merging": "monai"}
    mine = ours(rank=rank, in_chans=1, **options).eval()
    told = load_weights(mine, tmp_path / "unetr.pt", "monai")
    assert told.attrs["prefix"] == "state_dict.swinViT."
    assert "left out: other parts of SwinUNETR" in set(told["change"])
    x = torch.randn(1, 1, *(32, 64, 32)[:rank])
    for found, expected in zip(mine.features(x).pyramid, theirs.swinViT(x), strict=True):
        agree(found, expected)
    other = ours(seed=9, rank=rank, in_chans=1, **options)
    save_weights(other, tmp_path / "back.pt", "monai")
    theirs.swinViT.load_state_dict(torch.load(tmp_path / "back.pt", weights_only=True), strict=True)
    # Convolutions after every stage (version 2) have no place here.
    second = nets.SwinUNETR(1, 2, use_v2=True, **small)
    torch.save(second.state_dict(), tmp_path / "v2.pt")
    with pytest.raises(ValueError, match=r"8 tensors that the encoder has not: swinViT\.layers1c\.0"):
        load_weights(mine, tmp_path / "v2.pt", "monai")


def test_monais_self_supervised_files(rng, tmp_path):
    """Its names are those of the encoder that was trained, with fc1 and fc2, and heads of three tasks."""
    source = shaken(volumes())
    state = {}
    for name, value in source.state_dict().items():
        state["module." + re.sub(r"^layers\.(\d)", lambda found: f"layers{int(found[1]) + 1}.0", name)] = value
    for name in ("norm.weight", "rotation_head.bias", "contrastive_head.weight"):
        state[f"module.{name}"] = torch.zeros(4)
    file = {"epoch": 3, "state_dict": state, "optimizer": {"state": {0: torch.zeros(2)}}}
    torch.save(file, tmp_path / "model_swinvit.pt")
    mine = volumes(seed=7)
    told = load_weights(mine, tmp_path / "model_swinvit.pt", "monai")
    assert told.attrs["flavor"] == "MONAI's self-supervised Swin"
    assert equal(mine, source)


def broken(state, how):
    state = dict(state)
    if how == "renamed":
        state["layers.0.blocks.0.nrom1.weight"] = state.pop("layers.0.blocks.0.norm1.weight")
    elif how == "extra":
        state["layers.0.blocks.2.norm1.weight"] = torch.zeros(12)
    elif how == "missing":
        del state["layers.1.downsample.reduction.weight"]
    elif how == "shape":
        state["layers.1.downsample.reduction.weight"] = torch.zeros(24, 40)
    elif how == "heads":
        state["layers.1.blocks.0.attn.relative_position_bias_table"] = torch.zeros(169, 4)
    elif how == "window":
        state["layers.1.blocks.0.attn.relative_position_bias_table"] = torch.zeros(168, 2)
    elif how == "nan":
        state["norm.bias"] = torch.full((96,), float("nan"))
    return state


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("renamed", r"\.norm1\.weight \(like layers\.0\.blocks\.0\.nrom1\.weight\); the file has 1 tensors that the encoder"),
        ("extra", r"the file has 1 tensors that the encoder has not: layers\.0\.blocks\.2\.norm1\.weight.*depth"),
        ("missing", r"needs 1 tensors that the file has not: layers\.1\.downsample\.reduction\.weight"),
        ("shape", r"downsample\.reduction\.weight \[\[24, 40\]\] for layers\.1\.downsample\.reduction\.weight \[24, 48\]"),
        ("heads", r"relative_position_bias_table \[\[169, 4\]\] for .*relative_position_bias_table \[169, 2\]"),
        ("window", r"relative_position_bias_table \[\[168, 2\]\] for .*relative_position_bias_table \[169, 2\]"),
        ("nan", r"1 tensors hold NaN or infinity: norm\.bias"),
    ],
)
@pytest.mark.parametrize("layout", ["timm", "sslmed"])
def test_what_does_not_fit_is_named_and_nothing_is_loaded(how, message, layout, tmp_path):
    torch.save(broken(ours(seed=6).state_dict(), how), tmp_path / "bad.pth")
    refused(ours(), tmp_path / "bad.pth", layout, message)


def refused(module, path, layout, message):
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ValueError, match=message) as error:
        load_weights(module, path, layout)
    assert "bad.pth" in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize(
    ("layout", "name", "merged"),
    [
        ("transformers", "layernorm.bias", "encoder.layers.0.downsample.reduction.weight"),
        ("monai", "layers4.0.downsample.norm.bias", "layers1.0.downsample.reduction.weight"),
    ],
)
def test_faults_in_files_with_other_names(layout, name, merged, tmp_path):
    mine, source = (ours(seed=seed, **({"style": "monai"} if layout == "monai" else {})) for seed in (5, 6))
    save_weights(source, tmp_path / "good.pth", layout)
    good = torch.load(tmp_path / "good.pth", weights_only=True)
    torch.save({key: value for key, value in good.items() if key != merged}, tmp_path / "bad.pth")
    refused(mine, tmp_path / "bad.pth", layout, f"needs 1 tensors that the file has not: {re.escape(merged)}")
    torch.save(good | {name: torch.full_like(good[name], torch.nan)}, tmp_path / "bad.pth")
    refused(mine, tmp_path / "bad.pth", layout, f"1 tensors hold NaN or infinity: {re.escape(name)}")
    torch.save(good | {name: good[name][:-1]}, tmp_path / "bad.pth")
    refused(mine, tmp_path / "bad.pth", layout, rf"1 tensors have another shape than the encoder's: {re.escape(name)}")
    torch.save(good | {f"{name}2": good[name]}, tmp_path / "bad.pth")
    refused(mine, tmp_path / "bad.pth", layout, f"the file has 1 tensors that the encoder has not: {re.escape(name)}2")


@pytest.mark.oracle
@pytest.mark.parametrize("window", [4, 7, 12, (5, 9)])
def test_windows_of_another_size_as_timm(window, rng, tmp_path):
    filtered = pytest.importorskip("timm.models.swin_transformer").checkpoint_filter_fn
    source = shaken(timm_model())
    torch.save(source.state_dict(), tmp_path / "w.pth")
    extents = (window, window) if isinstance(window, int) else window
    # At this size every stage's map is at least as large as a window, so that timm shrinks no table.
    theirs = timm_model(img_size=tuple(32 * extent for extent in extents), window_size=window)
    theirs.load_state_dict(filtered(source.state_dict(), theirs))
    mine = ours(window_size=list(extents)).eval()
    told = load_weights(mine, tmp_path / "w.pth", "timm")
    sides = "×".join(str(2 * extent - 1) for extent in extents)
    assert set(told["change"]) == ({"", f"offsets 13×13 → {sides}"} if window != 7 else {""})
    x = torch.randn(1, 3, *(32 * extent for extent in extents))
    agree(mine.forward_features(x), theirs.eval().forward_features(x).permute(0, 3, 1, 2))


@pytest.mark.oracle
def test_tables_that_timm_shrank(rng, tmp_path):
    """Of small images timm has smaller tables. Near offsets stay what they are, which is all that small maps use."""
    theirs = shaken(timm_model(img_size=64))
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    mine = ours()
    told = load_weights(mine, tmp_path / "w.pth", "timm").set_index("module_key")["change"]
    assert told["layers.2.blocks.0.attn.relative_position_bias_table"] == "offsets 7×7 → 13×13"
    table = mine.state_dict()["layers.3.blocks.0.attn.relative_position_bias_table"].view(13, 13, 4)
    given = theirs.layers[3].blocks[0].attn.relative_position_bias_table.view(3, 3, 4)
    assert torch.allclose(table[5:8, 5:8], given, atol=1e-6)


@pytest.mark.oracle
def test_volumes_of_another_window(rng, tmp_path):
    """Along each axis by itself: a table that depends on one axis alone is that of one axis."""
    source = volumes(window_size=4)
    with torch.no_grad():
        for name, value in source.named_parameters():
            if name.endswith("table"):
                value.copy_(torch.randn(1, 7, 1, value.shape[1]).expand(7, -1, 7, -1).reshape(value.shape))
    save_weights(source, tmp_path / "w.pt", "monai")
    mine = volumes(window_size=[4, 6, 2])
    told = load_weights(mine, tmp_path / "w.pt", "monai").set_index("module_key")["change"]
    name = "layers.1.blocks.1.attn.relative_position_bias_table"
    assert told[name] == "offsets 7×7×7 → 7×11×3"
    table = mine.state_dict()[name].view(7, 11, 3, 2)
    assert torch.allclose(table, table[:1, :, :1].expand_as(table), atol=1e-6)
    flat = source.state_dict()[name].view(7, 7, 7, 2)[:, :, 0].reshape(49, 2)
    resized = pytest.importorskip("timm.layers.pos_embed_rel").resize_rel_pos_bias_table(flat, (4, 6), (77, 2))
    assert torch.allclose(table[:, :, 0], resized.view(7, 11, 2), atol=1e-5)


def test_what_a_layout_has_no_place_for(tmp_path):
    for layout in ("timm", "transformers"):
        with pytest.raises(ValueError, match=f"layout='{layout}' has no model with .*: 3 axes, style='monai', no head"):
            save_weights(volumes(), tmp_path / "w.pth", layout)
        with pytest.raises(ValueError, match="no model with the parts of this encoder: 3 axes, style='timm'"):
            save_weights(volumes(style="timm"), tmp_path / "w.pth", layout)
    with pytest.raises(ValueError, match=r"layout='monai' has no model with .*: 2 axes, style='timm', no head"):
        save_weights(ours(), tmp_path / "w.pth", "monai")
    save_weights(ours(), tmp_path / "w.pth", "timm")
    with pytest.raises(ValueError, match=r"inflate='mean', expected None for Swin.*sslmed\.nn\.inflate"):
        load_weights(volumes(style="timm"), tmp_path / "w.pth", "timm", inflate="mean")
    save_weights(volumes(), tmp_path / "monai.pth", "monai")
    for call in (load_weights, save_weights):
        with pytest.raises(ValueError, match=f"{call.__name__}: layout='monai': merging='timm' is no order of MONAI's"):
            call(volumes(merging="timm"), tmp_path / "monai.pth", "monai")
    with pytest.raises(ValueError, match=r"layout='dinov2' is unknown .*expected one of sslmed, timm"):
        load_weights(ours(), tmp_path / "w.pth", "dinov2")


def test_colors_are_summed(rng, tmp_path):
    source = shaken(ours())
    save_weights(source, tmp_path / "w.pth", "timm")
    mine = ours(in_chans=1).eval()
    told = load_weights(mine, tmp_path / "w.pth", "timm").set_index("module_key")
    assert told.change["patch_embed.proj.weight"] == "RGB summed to 1 channel"
    x = torch.randn(1, 1, 64, 64)
    agree(mine(x), source(x.expand(-1, 3, -1, -1)))
