"""Exported encoders give what the encoder gives, and say how inputs are prepared."""

import json

import pytest
import torch
from public_models import ours, shaken

import sslmed as sm


def encoder():
    made = sm.Encoder("vit_tiny", sm.ImagePreprocessing(size=32, patch=8), dim=48, depth=2, heads=4, registers=2, layer_scale=0.5, mlp="swiglu")
    return shaken(made)


def expected(model, x, pooling="mean"):
    tokens = model.forward_features(x)
    return tokens[:, 0] if pooling == "cls" else tokens[:, model.prefix :].mean(1)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_torchscript_is_exact_for_any_batch(pooling, rng, tmp_path):
    model = encoder()
    sm.export(model, tmp_path / "e.pt", pooling=pooling)
    files = {"preprocessing.json": ""}
    loaded = torch.jit.load(tmp_path / "e.pt", _extra_files=files)
    x = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(x), torch.cat([expected(model, one[None], pooling) for one in x]))
    assert json.loads(files["preprocessing.json"])["size"] == 32
    assert [file.name for file in tmp_path.iterdir()] == ["e.pt"]


def test_a_network_with_a_preprocessing_is_exported_as_the_network_is(rng, tmp_path):
    model = sm.DenseEncoder("resnet10", sm.ImagePreprocessing(size=32, patch=None)).eval()
    sm.export(model, tmp_path / "e.pt", size=(32, 32))
    files = {"preprocessing.json": ""}
    loaded = torch.jit.load(tmp_path / "e.pt", _extra_files=files)
    x = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), model.features(x).pooled)
    assert json.loads(files["preprocessing.json"])["size"] == 32


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["vit", "rope", "clip", "resnet", "sam", "other size"])
def test_onnx_gives_the_same_for_any_batch(name, rng, tmp_path):
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    model = {
        "vit": encoder,
        "rope": lambda: ours(positions="rope", registers=1),
        "other size": lambda: ours(img_size=48),
        "clip": lambda: ours("clip_vit_base_patch32"),
        "resnet": lambda: sm.nn.create("resnet10").eval(),
        "sam": lambda: sm.nn.create("sam_vit_base", dim=48, depth=2, heads=4, img_size=32, patch_size=8, window=3, out_chans=16),
    }[name]()
    sm.export(model, tmp_path / "e.onnx", size=(32, 32))
    session = runtime.InferenceSession(str(tmp_path / "e.onnx"), providers=["CPUExecutionProvider"])
    x = torch.randn(5, 3, 32, 32)
    found = torch.from_numpy(session.run(["features"], {"dense": x.numpy()})[0])
    with torch.no_grad():
        wanted = model.features(x).pooled if name in ("resnet", "sam") else expected(model, x)
    assert (found - wanted).abs().max() <= 1e-4
    metadata = {entry.key: entry.value for entry in onnx.load(tmp_path / "e.onnx").metadata_props}
    assert ("size" in json.loads(metadata["preprocessing"])) == (name == "vit")


@pytest.mark.parametrize("ending", ["pt", "onnx"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_swin_of_any_rank(rank, ending, rng, tmp_path):
    """Windows are copied by C++ code that a trace does not see."""
    if ending == "onnx":
        pytest.importorskip("onnxruntime")
    options = {"embed_dim": 12, "depths": [2, 2, 1, 1], "window_size": 4, "patch_size": 2}
    model = shaken(sm.nn.create("swin_tiny", rank=rank, in_chans=2, **options))
    size = [(70,), (38, 46), (20, 24, 26)][rank - 1]
    sm.export(model, tmp_path / f"e.{ending}", size=size)  # which compares
    if ending == "pt":
        x = torch.randn(4, 2, *size)
        found = torch.jit.load(tmp_path / "e.pt")(x)
        wanted = model.features(x).pooled
        assert (found - wanted).abs().max() <= 1e-4 * wanted.abs().max()


@pytest.mark.parametrize("ending", ["pt", "onnx"])
def test_layers_of_real_width(ending, tmp_path):
    """Which may run through oneDNN's own operator, that no other runtime has."""
    if ending == "onnx":
        pytest.importorskip("onnxruntime")
    sm.export(sm.nn.create("vit_small", depth=1), tmp_path / f"e.{ending}")
    if ending == "pt":
        assert "mkldnn" not in str(torch.jit.load(tmp_path / "e.pt").inlined_graph)


@pytest.mark.parametrize("kind", ["images", "volumes", "signals"])
def test_dense_encoders_of_cohorts(kind, rng, tmp_path):
    how = {
        "images": lambda: sm.ImagePreprocessing(size=64, patch=None),
        "volumes": lambda: sm.VolumePreprocessing(size=32, patch=None),
        "signals": lambda: sm.EegPreprocessing(patch=None, montage=("C3", "C4"), window=2.0),
    }[kind]()
    model = sm.DenseEncoder("resnet10", how).eval()
    sm.export(model, tmp_path / "e.pt")
    files = {"preprocessing.json": ""}
    loaded = torch.jit.load(tmp_path / "e.pt", _extra_files=files)
    embedding = how.embedding()
    x = torch.randn(2, embedding["in_chans"], *embedding["img_size"])
    assert (loaded(x) - model.features(x).pooled).abs().max() <= 1e-5
    assert json.loads(files["preprocessing.json"])["patch"] is None


def test_a_training_encoder_is_left_as_it_is(tmp_path):
    model = sm.nn.create("resnet10").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sm.export(model, tmp_path / "r.pt", size=(32, 32))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


def test_what_cannot_be_exported_is_refused(tmp_path):
    model = encoder()
    with pytest.raises(ValueError, match=r"expected an ending \.pt or \.onnx"):
        sm.export(model, tmp_path / "e.tflite")
    with pytest.raises(ValueError, match="pooling='max'"):
        sm.export(model, tmp_path / "e.pt", pooling="max")
    with pytest.raises(ValueError, match="class token"):
        sm.export(ours(class_token=False), tmp_path / "e.pt", pooling="cls")
    with pytest.raises(ValueError, match=r"size=\[30, 32\]"):
        sm.export(model, tmp_path / "e.pt", size=(30, 32))
    with pytest.raises(ValueError, match="size=None, expected 2 numbers"):
        sm.export(sm.nn.create("resnet10"), tmp_path / "e.pt")
    with pytest.raises(TypeError, match="placed by coordinates"):
        sm.export(sm.Encoder("vit_tiny", sm.EegPreprocessing(), depth=1), tmp_path / "e.pt")
    with pytest.raises(TypeError, match="encoder=Linear"):
        sm.export(torch.nn.Linear(2, 2), tmp_path / "e.pt")
    assert not list(tmp_path.iterdir())
