"""Weights in and out: what fits is all there, what does not fit is named, and a module is never half loaded."""

import json
import pickle
import zipfile

import pytest
import torch
from public_models import SMALL, ours, shaken, transformers_models

import sslmed as sm
from sslmed.nn import load_weights, save_weights


def state_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(module, before):
    return all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.fixture
def saved(tmp_path):
    """A file of a timm-like ViT and an encoder that it fits."""
    source = shaken(ours(seed=9))
    save_weights(source, tmp_path / "w.safetensors", "timm")
    return tmp_path / "w.safetensors", source


OUT = ["ViTModel", "Dinov2Model", "Dinov2Model, SwiGLU", "Dinov2WithRegistersModel", "DINOv3ViTModel", "DINOv3ViTModel, SwiGLU", "CLIPVisionModel"]


@pytest.mark.oracle
@pytest.mark.parametrize("name", OUT)
def test_out_to_transformers_and_back(name, rng, tmp_path):
    pytest.importorskip("transformers")
    make, options, features = transformers_models()[name]
    theirs = make()
    theirs.save_pretrained(tmp_path)
    mine = shaken(ours(**options))
    if name.startswith("DINOv3"):  # its keys have no bias
        with torch.no_grad():
            for i in range(2):
                mine.get_parameter(f"blocks.{i}.attn.qkv.bias")[48:96] = 0
    save_weights(mine, tmp_path / "model.safetensors", "transformers")
    kwargs = {"add_pooling_layer": False} if name == "ViTModel" else {}
    again, info = type(theirs).from_pretrained(tmp_path, output_loading_info=True, **kwargs)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    x = torch.randn(2, 3, 32, 32)
    assert (features(again.eval(), x) - mine.forward_features(x)).abs().max() <= 1e-4
    other = ours(**options)
    load_weights(other, tmp_path / "model.safetensors", "transformers")
    assert equal(other, state_of(mine))


@pytest.mark.oracle
@pytest.mark.parametrize("options", [{}, {"registers": 3, "layer_scale": 1.0}, {"mlp": "swiglu", "layer_scale": 1.0}, {"num_classes": 5}])
def test_out_to_timm_and_back(options, rng, tmp_path):
    timm = pytest.importorskip("timm")
    from timm.layers import SwiGLUPacked

    glu = {"mlp_layer": SwiGLUPacked, "act_layer": torch.nn.SiLU, "mlp_ratio": 4.0} if "mlp" in options else {"mlp_ratio": 2.0}
    theirs = timm.models.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=4, num_classes=options.get("num_classes", 0), reg_tokens=options.get("registers", 0),
        init_values=options.get("layer_scale"), no_embed_class="registers" in options, **glu,
    )  # fmt: skip
    mine = shaken(ours(**options))
    save_weights(mine, tmp_path / "w.pth", "timm")
    theirs.load_state_dict(torch.load(tmp_path / "w.pth", weights_only=True), strict=True)
    x = torch.randn(2, 3, 32, 32)
    assert (theirs.eval().forward_features(x) - mine.forward_features(x)).abs().max() <= 1e-5
    other = ours(**options)
    load_weights(other, tmp_path / "w.pth", "timm")
    assert (other.forward_features(x) - mine.forward_features(x)).abs().max() <= 1e-6


@pytest.mark.oracle
@pytest.mark.parametrize("embedding", ["conv", "perceptron"])
def test_monai_vit_of_volumes(embedding, rng, tmp_path):
    nets = pytest.importorskip("monai.networks.nets")
    theirs = nets.ViT(
        in_channels=1, img_size=(16, 16, 24), patch_size=(8, 8, 8), hidden_size=48, mlp_dim=96, num_layers=2, num_heads=4, proj_type=embedding,
        classification=False, qkv_bias=embedding == "conv",
    )  # fmt: skip
    theirs = shaken(theirs).double()
    torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in theirs.state_dict().items()}}, tmp_path / "monai.pt")
    mine = ours(patch_size=[8, 8, 8], img_size=[16, 16, 24], in_chans=1, class_token=False, norm_eps=1e-5).double()
    told = load_weights(mine, tmp_path / "monai.pt", "monai")
    assert told.attrs["prefix"] == "state_dict.module."
    x = torch.randn(2, 1, 16, 16, 24, dtype=torch.float64)
    assert (mine.forward_features(x) - theirs(x)[0]).abs().max() <= 1e-10


@pytest.mark.oracle
@pytest.mark.parametrize(("name", "layers", "depths"), [("resnet18", "basic", [2, 2, 2, 2]), ("resnet50", "bottleneck", [3, 4, 6, 3])])
def test_resnets_of_transformers_timm_and_monai(name, layers, depths, rng, tmp_path):
    tr, timm = pytest.importorskip("transformers"), pytest.importorskip("timm")
    sizes = [64, 128, 256, 512] if layers == "basic" else [256, 512, 1024, 2048]
    theirs = shaken(tr.ResNetModel(tr.ResNetConfig(embedding_size=64, hidden_sizes=sizes, depths=depths, layer_type=layers)))
    theirs.save_pretrained(tmp_path)
    mine = sm.nn.create(name).eval()
    told = load_weights(mine, tmp_path, "transformers")
    assert (told.change == "left out: counter of batch normalization, not used").sum() == sum("num_batches" in k for k in theirs.state_dict())
    x = torch.randn(2, 3, 64, 64)
    scale = theirs(x).last_hidden_state.abs().max()
    assert (mine.forward_features(x) - theirs(x).last_hidden_state).abs().max() <= 1e-5 * scale
    save_weights(mine, tmp_path / "model.safetensors", "transformers")
    _, info = tr.ResNetModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    save_weights(mine, tmp_path / "timm.pth", "timm")
    other = timm.create_model(name, num_classes=0)
    other.load_state_dict(torch.load(tmp_path / "timm.pth", weights_only=True), strict=True)
    assert (other.eval().forward_features(x) - mine.forward_features(x)).abs().max() <= 1e-5 * scale
    again = sm.nn.create(name, seed=4)
    load_weights(again, tmp_path / "timm.pth", "timm")
    assert equal(again, state_of(mine))


def test_kernels_of_pictures_are_inflated(rng, tmp_path):
    flat, deep = sm.nn.create("resnet10", 2, 3).double().eval(), sm.nn.create("resnet10", 3, 1).double().eval()
    save_weights(flat, tmp_path / "w.pth", "timm")
    told = load_weights(deep, tmp_path / "w.pth", "timm", inflate="mean").set_index("module_key")
    assert told.change["conv1.weight"] == "RGB summed to 1 channel, inflated over 7 cells of the first axis (mean)"
    # In the interior of a volume of equal planes, the first convolution is that of a picture.
    x = torch.randn(1, 1, 40, 40, dtype=torch.float64)
    volume = x.unsqueeze(2).expand(-1, -1, 24, -1, -1)
    w2, w3 = flat.state_dict()["conv1.weight"], deep.state_dict()["conv1.weight"]
    flat_map = torch.nn.functional.conv2d(x.expand(-1, 3, -1, -1), w2)
    assert (torch.nn.functional.conv3d(volume, w3)[:, :, 3] - flat_map).abs().max() <= 1e-12
    load_weights(deep, tmp_path / "w.pth", "timm", inflate="center")
    assert torch.equal(deep.state_dict()["conv1.weight"][:, :, 3], w2.sum(1, keepdim=True))
    assert deep.state_dict()["conv1.weight"].abs().sum((0, 1, 3, 4)).count_nonzero() == 1


@pytest.mark.parametrize("strategy", ["mean", "center"])
def test_positions_of_pictures_with_as_many_cells_as_a_volume(strategy, rng, tmp_path):
    """8 × 8 cells are no 4 × 4 × 4."""
    flat = shaken(ours(img_size=64))
    save_weights(flat, tmp_path / "w.pth", "timm")
    deep, other = (ours(patch_size=[8] * 3, img_size=[32] * 3, seed=seed) for seed in (1, 2))
    told = load_weights(deep, tmp_path / "w.pth", "timm", inflate=strategy).set_index("module_key")
    assert told.change["pos_embed"] == "positions repeated 4 times along the first axis, positions 4×8×8 → 4×4×4"
    sm.nn.inflate(flat, other, strategy)
    assert all(torch.allclose(value, other.state_dict()[name], atol=1e-6) for name, value in deep.state_dict().items())
    # And a file of volumes is one of volumes, whatever may be inflated.
    save_weights(deep, tmp_path / "deep.pth", "timm")
    told = load_weights(other, tmp_path / "deep.pth", "timm", inflate=strategy)
    assert equal(other, state_of(deep))
    larger = ours(patch_size=[8] * 3, img_size=[32, 32, 64])
    told = load_weights(larger, tmp_path / "deep.pth", "timm", inflate=strategy).set_index("module_key")
    assert told.change["pos_embed"] == "positions 4×4×4 → 4×4×8"


def test_a_table_that_may_be_of_two_grids_is_told(tmp_path):
    wide = shaken(ours(img_size=[32, 128]))
    save_weights(wide, tmp_path / "w.pth", "timm")
    other = ours(img_size=[32, 128])
    told = load_weights(other, tmp_path / "w.pth", "timm").set_index("module_key")
    assert told.change["pos_embed"] == "positions taken as 4×16, not as 8×8"
    assert equal(other, state_of(wide))


def test_facebooks_names(rng, tmp_path):
    source = shaken(ours(registers=2, layer_scale=1.0, mlp="swiglu"))
    save_weights(source, tmp_path / "dinov2.pth", "dinov2")
    names = set(torch.load(tmp_path / "dinov2.pth", weights_only=True))
    assert {"register_tokens", "mask_token", "blocks.0.mlp.w12.weight", "blocks.1.mlp.w3.bias", "blocks.0.ls1.gamma"} <= names
    again = ours(registers=2, layer_scale=1.0, mlp="swiglu")
    told = load_weights(again, tmp_path / "dinov2.pth", "dinov2").set_index("file_key")
    assert told.change["mask_token"] == "left out: mask token of the pretraining"
    assert equal(again, state_of(source))
    mae = {f"model.{key}": value for key, value in shaken(ours()).state_dict().items()}
    mae |= {"model.mask_token": torch.zeros(1, 1, 8), "model.decoder_embed.weight": torch.zeros(8, 48), "model.decoder_blocks.0.norm1.bias": torch.zeros(8)}
    torch.save(mae, tmp_path / "mae.pth")
    told = load_weights(ours(), tmp_path / "mae.pth", "mae").set_index("file_key")
    assert set(told.change[told.module_key == ""]) == {"left out: mask token of the pretraining", "left out: decoder of the pretraining"}


def test_positions_of_registers_are_added_to_them(rng, tmp_path):
    """Virchow2's table has rows for its registers."""
    source = shaken(ours(registers=3))
    state = state_of(source)
    table = torch.randn(1, 4 + 16, 48)
    state["pos_embed"] = table
    torch.save(state, tmp_path / "v.pth")
    mine = ours(registers=3)
    told = load_weights(mine, tmp_path / "v.pth", "virchow").set_index("module_key")
    assert told.change["reg_token"] == "their positions added"
    assert torch.allclose(mine.state_dict()["reg_token"], state["reg_token"] + table[:, 1:4])
    assert torch.equal(mine.state_dict()["pos_embed"], torch.cat([table[:, :1], table[:, 4:]], 1))


@pytest.mark.oracle
def test_positions_are_resampled_as_timm_does(saved, rng):
    resample = pytest.importorskip("timm.layers").resample_abs_pos_embed
    path, source = saved
    mine = ours(img_size=[48, 24])
    told = load_weights(mine, path, "timm").set_index("module_key")
    assert told.change["pos_embed"] == "positions 4×4 → 6×3"
    expected = resample(source.state_dict()["pos_embed"], [6, 3], [4, 4])
    assert (mine.state_dict()["pos_embed"] - expected).abs().max() <= 1e-5


def test_colors_are_summed(saved, rng):
    path, source = saved
    mine = ours(in_chans=1).eval()
    told = load_weights(mine, path, "timm").set_index("module_key")
    assert told.change["patch_embed.proj.weight"] == "RGB summed to 1 channel"
    x = torch.randn(2, 1, 32, 32)
    assert (mine(x) - source(x.expand(-1, 3, -1, -1))).abs().max() <= 1e-5
    with pytest.raises(ValueError, match=r"another shape .*patch_embed\.proj\.weight \[\[48, 3, 8, 8\]\] for patch_embed\.proj\.weight \[48, 4, 8, 8\]"):
        load_weights(ours(in_chans=4), path, "timm")


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "teacher.backbone.", "state_dict.module.encoder."])
def test_prefixes_are_found_and_told(saved, prefix, tmp_path):
    path, source = saved
    state = {prefix + key: value for key, value in sm.io.load_safetensors(path).items()}
    if prefix == "teacher.backbone.":
        state |= {key.replace("teacher", "student"): value + 1 for key, value in state.items()}
        state["teacher.dino_head.mlp.0.weight"] = torch.zeros(3, 3)
    torch.save(state, tmp_path / "p.pth")
    mine = ours()
    told = load_weights(mine, tmp_path / "p.pth", "timm")
    assert told.attrs["prefix"] == prefix
    assert equal(mine, state_of(source))
    if prefix == "teacher.backbone.":
        assert (told.change == "left out: another copy of the encoder").sum() == len(mine.state_dict())


def test_a_table_of_all_tensors(saved):
    path, _ = saved
    told = load_weights(ours(), path, "timm")
    assert list(told.columns) == ["file_key", "module_key", "shape", "change"]
    assert set(told.file_key) == set(sm.io.load_safetensors(path))
    assert told.set_index("file_key")["shape"]["cls_token"] == (1, 1, 48)


def test_half_precision_and_encoders_of_cohorts(saved, tmp_path):
    path, source = saved
    torch.save({key: value.half() for key, value in sm.io.load_safetensors(path).items()}, tmp_path / "h.pth")
    encoder = sm.Encoder("vit_tiny", sm.ImagePreprocessing(size=32, patch=8), dim=48, depth=2, heads=4, mlp_dim=96, positions="learned")
    load_weights(encoder, tmp_path / "h.pth", "timm")
    assert torch.allclose(encoder.state_dict()["blocks.1.mlp.fc1.weight"], source.state_dict()["blocks.1.mlp.fc1.weight"], atol=1e-3)
    encoder.save(tmp_path / "e.safetensors")
    again = ours()
    load_weights(again, tmp_path / "e.safetensors", "sslmed")
    assert equal(again, state_of(encoder))


def broken(state, how):
    state = dict(state)
    if how == "renamed":
        state["blocks.0.nrom1.weight"] = state.pop("blocks.0.norm1.weight")
    elif how == "extra":
        state["blocks.2.norm1.weight"] = torch.zeros(48)
    elif how == "missing":
        del state["norm.bias"]
    elif how == "shape":
        state["blocks.0.mlp.fc1.weight"] = torch.zeros(96, 40)
    elif how == "nan":
        state["norm.bias"] = torch.full((48,), float("nan"))
    elif how == "swiglu":
        state["blocks.0.mlp.w12.weight"] = torch.zeros(3, 3)
    return state


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            "renamed",
            r"needs 1 tensors that the file has not: blocks\.0\.norm1\.weight \(like blocks\.0\.nrom1\.weight\); the file has 1 tensors that the encoder",
        ),
        ("extra", r"the file has 1 tensors that the encoder has not: blocks\.2\.norm1\.weight.*depth"),
        ("missing", r"needs 1 tensors that the file has not: norm\.bias"),
        ("shape", r"1 tensors have another shape than the encoder's: blocks\.0\.mlp\.fc1\.weight \[\[96, 40\]\] for blocks\.0\.mlp\.fc1\.weight \[96, 48\]"),
        ("nan", r"1 tensors hold NaN or infinity: norm\.bias"),
        ("swiglu", r"w12.*mlp='swiglu'"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_loaded(saved, how, message, tmp_path):
    path, _ = saved
    sm.io.save_safetensors(broken(sm.io.load_safetensors(path), how), tmp_path / "bad.safetensors")
    mine = ours()
    before = state_of(mine)
    with pytest.raises(ValueError, match=message) as error:
        load_weights(mine, tmp_path / "bad.safetensors", "timm")
    assert "bad.safetensors" in str(error.value)
    assert "layout='timm'" in str(error.value)
    assert equal(mine, before)


def test_another_layout_is_advised(saved):
    path, _ = saved
    with pytest.raises(ValueError, match="More of the names fit layout='timm'"):
        load_weights(ours(), path, "transformers")


def test_damaged_and_dangerous_files_are_refused(saved, tmp_path):
    path, _ = saved
    mine = ours()
    before = state_of(mine)
    data = path.read_bytes()
    (tmp_path / "short.safetensors").write_bytes(data[:-100])
    torch.save(state_of(mine), tmp_path / "good.pth")
    (tmp_path / "short.pth").write_bytes((tmp_path / "good.pth").read_bytes()[:-200])
    (tmp_path / "text.pth").write_text("not weights")
    (tmp_path / "w.npz").write_bytes(b"x")
    torch.save([1, 2], tmp_path / "list.pth")

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    torch.save({"state_dict": Bomb()}, tmp_path / "bomb.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Bomb()))
    for name in ("short.safetensors", "short.pth", "text.pth", "w.npz", "list.pth", "bomb.pth", "plain.pth"):
        with pytest.raises(sm.FormatError, match=name.replace(".", r"\.")):
            load_weights(mine, tmp_path / name, "timm")
    assert not (tmp_path / "exploded").exists()
    assert zipfile.is_zipfile(tmp_path / "bomb.pth")
    with pytest.raises(sm.ReadError, match="nowhere"):
        load_weights(mine, tmp_path / "nowhere.pth", "timm")
    assert equal(mine, before)


def test_folders_with_shards(saved, tmp_path):
    path, source = saved
    state = sm.io.load_safetensors(path)
    folder = tmp_path / "model"
    folder.mkdir()
    names = sorted(state)
    parts = {"a.safetensors": names[:9], "b.safetensors": names[9:]}
    for file, keys in parts.items():
        sm.io.save_safetensors({key: state[key] for key in keys}, folder / file)
    index = {"weight_map": {key: file for file, keys in parts.items() for key in keys}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    mine = ours()
    load_weights(mine, folder, "timm")
    assert equal(mine, state_of(source))
    (folder / "b.safetensors").rename(folder / "c.safetensors")
    before = state_of(mine)
    with pytest.raises(sm.ReadError, match=r"b\.safetensors: the index lists this file"):
        load_weights(mine, folder, "timm")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": "../b.safetensors"}}))
    with pytest.raises(sm.FormatError, match="names of files beside it"):
        load_weights(mine, folder, "timm")
    (folder / "model.safetensors.index.json").write_text("{")
    with pytest.raises(sm.FormatError, match="weight_map"):
        load_weights(mine, folder, "timm")
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(sm.FormatError, match=r"a\.safetensors, c\.safetensors"):
        load_weights(mine, folder, "timm")
    assert equal(mine, before)


def test_arguments_are_checked(saved, tmp_path):
    path, source = saved
    with pytest.raises(ValueError, match="layout='keras' is unknown for this encoder, expected one of sslmed, timm, transformers"):
        load_weights(ours(), path, "keras")
    with pytest.raises(ValueError, match="inflate='median'"):
        load_weights(ours(), path, "timm", inflate="median")
    with pytest.raises(TypeError, match="module=Linear"):
        load_weights(torch.nn.Linear(2, 2), path, "timm")
    with pytest.raises(ValueError, match=r"expected an ending \.safetensors"):
        save_weights(source, tmp_path / "w.npz", "timm")
    with pytest.raises(ValueError, match="no model with the parts of this encoder"):
        save_weights(ours(registers=2), tmp_path / "w.pth", "transformers")
    with pytest.raises(ValueError, match="not zero"):
        save_weights(shaken(ours(positions="rope", registers=1, layer_scale=1.0)), tmp_path / "w.pth", "transformers")
    assert SMALL["hidden_size"] == source.dim
