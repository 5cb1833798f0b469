"""Whatever names an encoder becomes one, or is refused in a sentence."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from cohorts import PRE, cohort
from heads import head_cohort
from PIL import Image
from torch import nn

import sslmed as sm
from sslmed.encoders import resolve


def test_names_paths_and_objects(tmp_path):
    people = cohort(4)
    encoder = sm.Encoder("vit_tiny", PRE, depth=1)
    encoder.save(tmp_path / "encoder.safetensors")
    assert resolve(encoder, people) is encoder
    for path in (tmp_path / "encoder.safetensors", str(tmp_path / "encoder.safetensors")):
        loaded = resolve(path, people)
        assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), encoder.parameters(), strict=True))
    named = resolve("vit_tiny", people, depth=2, seed=3, class_token=False)
    assert (named.config["depth"], named.config["seed"], named.config["class_token"]) == (2, 3, False)
    assert named.preprocessing == sm.EegPreprocessing()
    assert torch.equal(sm.encode("vit_tiny", people)[0], sm.encode(sm.Encoder("vit_tiny"), people)[0])


def test_what_names_no_encoder_is_refused(tmp_path):
    people = cohort(4)
    with pytest.raises(ValueError, match="encoder='vit_tony' is unknown, expected one of vit_tiny"):
        resolve("vit_tony", people)
    with pytest.raises(sm.ReadError, match="nowhere"):
        resolve("nowhere.safetensors", people)
    with pytest.raises(TypeError, match=r"expected a name, an encoder or the path .* got Linear"):
        resolve(nn.Linear(2, 2), people)
    with pytest.raises(ValueError, match="needs a cohort"):
        resolve("vit_tiny")
    pictures = sm.Cohort.from_table(pd.DataFrame({"path": ["a.png"], "subject": ["a"]}), name="pictures")
    with pytest.raises(ValueError, match="pictures: encoder of modality 'eeg', but the cohort is of 'images'"):
        resolve(sm.Encoder("vit_tiny", PRE, depth=1), pictures)
    with pytest.raises(ValueError, match="preprocessing must be left out"):
        resolve(sm.Encoder("vit_tiny", PRE, depth=1), people, preprocessing=sm.EegPreprocessing())
    with pytest.raises(ValueError, match="pooling='regional', expected one of mean, cls, regions"):
        sm.encode("vit_tiny", people, pooling="regional")
    with pytest.raises(TypeError, match="packed tokens"):
        sm.Encoder("vit_tiny", PRE, depth=1)(torch.randn(1, 3, 8, 8))


def test_extra_channels_are_named_in_a_warning():
    people = sm.Cohort.from_arrays(torch.randn(2, 2, 800) * 20, 200, ["X1", "Cz"], pd.DataFrame({"subject": list("ab")}))
    with pytest.warns(sm.ChannelWarning, match="1 channel names have no known position and get learned ones: X1"):
        assert resolve("vit_tiny", people, depth=1).extra_channels == ("X1",)


def test_features_are_of_one_type(rng):
    class Plain(sm.PythonEncoder):
        def __init__(self):
            super().__init__(8, PRE)
            self.embed = nn.Linear(PRE.patch_samples, 8)

        def encode_tokens(self, values, lengths, coords, extra):
            return self.embed(values)

    values = torch.randn(5, PRE.patch_samples)
    found = Plain().forward_tokens(values, [2, 3])
    assert isinstance(found, sm.nn.Features)
    assert found.lengths == [2, 3]
    assert torch.allclose(found.pooled[1], found.tokens[2:].mean(0))
    ours = sm.Encoder("vit_tiny", PRE, depth=1).forward_tokens(values, [2, 3], torch.zeros(5, 4), torch.full((5,), -1))
    assert isinstance(ours, sm.nn.Features)
    assert ours.lengths == [3, 4]
    assert sm.nn.create("vit_tiny").forward_features(torch.zeros(1, 3, 224, 224)).shape == (1, 197, 192)
    assert sm.nn.list_models()[0] == "vit_tiny"
    with pytest.raises(ValueError, match="name='resnet' is unknown"):
        sm.nn.create("resnet")


def test_the_package_loads_what_is_used():
    code = "import sys, sslmed; assert not {'pandas', 'scipy', 'sklearn'} & set(sys.modules), 'slow'; assert 'Cohort' in dir(sslmed); sslmed.Cohort"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        sm.nothing  # noqa: B018
    for name in sm.__all__:
        assert getattr(sm, name) is not None


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    numbers = np.random.default_rng(1)
    rows = []
    for i in range(12):
        path = folder / f"{i}.png"
        light = 60 + 120 * (i % 2)
        Image.fromarray(numbers.integers(light - 50, light + 50, (40, 48, 3)).astype(np.uint8)).save(path)
        rows.append({"path": str(path), "subject": f"p{i}", "y": ["dark", "bright"][i % 2], "site": f"s{i % 3}"})
    return sm.Cohort.from_table(pd.DataFrame(rows), name="pictures")


SMALL = sm.ImagePreprocessing(size=32, patch=8)


def test_a_dense_encoder_comes_back_from_its_file(tmp_path, pictures):
    encoder = sm.DenseEncoder("resnet10", SMALL.dense(), seed=3, stem="cifar")
    encoder.save(tmp_path / "encoder.safetensors")
    loaded = resolve(tmp_path / "encoder.safetensors", pictures)
    assert type(loaded) is sm.DenseEncoder
    assert loaded.described() == encoder.described() == {"name": "resnet10", "seed": 3, "stem": "cifar"}
    assert loaded.preprocessing == SMALL.dense()
    assert torch.equal(sm.encode(loaded, pictures)[0], sm.encode(encoder, pictures)[0])
    assert not torch.equal(sm.encode(encoder.randomized(), pictures)[0], sm.encode(encoder, pictures)[0])
    assert "DenseEncoder resnet10" in repr(encoder)
    with pytest.raises(sm.FormatError):
        sm.Encoder.load(tmp_path / "encoder.safetensors")
    with pytest.raises(ValueError, match="gives patches"):
        sm.DenseEncoder("resnet10", SMALL)


def test_pixels_are_standardized_by_the_preprocessings_mean(pictures):
    how = replace(SMALL, mean=(0.2, 0.3, 0.4), std=(0.5, 0.6, 0.7)).dense()
    encoder = sm.DenseEncoder("resnet10", how).eval()
    light = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in ((0.2, 0.3, 0.4), (0.5, 0.6, 0.7)))
    torch.testing.assert_close(encoder(light), encoder((light / 255 - mean) / std))


def test_names_of_dense_networks(pictures):
    encoder = resolve("resnet18", pictures, seed=2)
    assert encoder.config == {"name": "resnet18", "seed": 2}
    assert encoder.preprocessing == sm.ImagePreprocessing(patch=None)
    signals = resolve("resnet18", cohort(4))
    assert signals.preprocessing.montage == ("Cz", "Fp1", "O2")
    assert sm.encode(signals, cohort(4))[0].shape == (12, 512)
    with pytest.raises(ValueError, match="depth=2"):
        resolve("resnet18", pictures, depth=2)
    with pytest.raises(ValueError, match="one modality"):
        resolve("resnet18", cohort(4).joined(pictures))
    with pytest.raises(ValueError, match=r"sslmed\.DenseEncoder"):
        sm.Encoder("resnet18", SMALL)


def test_a_dense_encoder_is_fine_tuned_transferred_and_compared(tmp_path, pictures):
    encoder = sm.DenseEncoder("resnet10", SMALL.dense())
    here, there = (sm.Cohort.from_table(pictures.table.iloc[rows], name=name) for name, rows in (("here", slice(6)), ("there", slice(6, 12))))
    tuned = sm.finetune(encoder, here, "y", sm.FineTuning(epochs=1, batch_size=3))
    tuned.save(tmp_path / "tuned.safetensors")
    again = sm.FineTuned.load(tmp_path / "tuned.safetensors")
    assert again.encoder.described() == encoder.described()
    np.testing.assert_array_equal(again.predict_proba(there), tuned.predict_proba(there))
    result = sm.transfer(encoder, pictures, "y", cv=3, bootstrap=20)
    assert len(result.table) > 2
    assert sm.shift.report(here, there, encoder, by=["site"], bootstrap=20, permutations=9) is not None


def standardized(values, mean, std):
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (mean, std))
    return (values / 255 - mean) / std


def test_networks_of_timm_are_frozen_encoders(pictures):
    timm = pytest.importorskip("timm")
    for name in ("resnet18", "vit_tiny_patch16_224"):
        module = timm.create_model(name, pretrained=False, **({"img_size": 32} if "vit" in name else {})).eval()
        encoder = sm.FrozenEncoder(module, SMALL)
        values = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
        config = module.pretrained_cfg
        x = standardized(values, config["mean"], config["std"])
        with torch.no_grad():
            expected = module.forward_head(module.forward_features(x), pre_logits=True)
        torch.testing.assert_close(encoder.encode_dense(values), expected)
        assert encoder.dim == expected.shape[1] == module.num_features
        features, _ = sm.encode(encoder, pictures)
        assert features.shape == (12, encoder.dim)
        assert not torch.allclose(sm.encode(encoder.randomized(), pictures)[0], features)
        assert not any(p.requires_grad for p in encoder.parameters())
        encoder.train()
        assert not encoder.module.training


def test_networks_of_transformers_are_frozen_encoders(pictures):
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 32, "patch_size": 8}
    values = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    x = standardized(values, SMALL.mean, SMALL.std)
    for pooled in (True, False):
        module = transformers.ViTModel(transformers.ViTConfig(**small), add_pooling_layer=pooled).eval()
        encoder = sm.FrozenEncoder(module, SMALL)
        with torch.no_grad():
            out = module(pixel_values=x)
        torch.testing.assert_close(encoder.encode_dense(values), out.pooler_output if pooled else out.last_hidden_state.mean(1))
        assert encoder.dim == 24
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    encoder = sm.FrozenEncoder(transformers.ResNetModel(config), SMALL, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assert sm.encode(encoder, pictures)[0].shape == (12, 16)


def test_networks_of_monai_are_frozen_encoders(tmp_path):
    nets = pytest.importorskip("monai.networks.nets")
    heads = head_cohort(tmp_path / "heads", 4)
    how = sm.VolumePreprocessing(spacing=4.0, patch=8, size=32)
    modules = {
        512: nets.resnet18(spatial_dims=3, n_input_channels=1, feed_forward=False),
        12: nets.ViT(in_channels=1, img_size=(32, 32, 32), patch_size=(16, 16, 16), hidden_size=12, mlp_dim=16, num_layers=1, num_heads=2),
        192: nets.swin_unetr.SwinTransformer(1, 12, (2, 2, 2), (2, 2, 2), (1, 1, 1, 1), (1, 1, 2, 2), spatial_dims=3),
    }
    for dim, module in modules.items():
        encoder = sm.FrozenEncoder(module, how)
        assert encoder.dim == dim
        features, _ = sm.encode(encoder, heads)
        assert features.shape == (4, dim)
        assert torch.isfinite(features).all()


def test_networks_that_draw_are_refused():
    """ViTMAEModel hides three quarters of the patches at random, in evaluation too."""
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 32, "patch_size": 8}
    with pytest.raises(ValueError, match="module=ViTMAEModel gives other features each time"):
        sm.FrozenEncoder(transformers.ViTMAEModel(transformers.ViTMAEConfig(**small)), SMALL)
    encoder = sm.FrozenEncoder(transformers.ViTMAEModel(transformers.ViTMAEConfig(**small, mask_ratio=0.0)), SMALL)
    values = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    torch.testing.assert_close(encoder.encode_dense(values), encoder.encode_dense(values))


def test_a_frozen_encoder_is_transferred(pictures):
    encoder = sm.FrozenEncoder(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()), SMALL)
    assert encoder.provenance is None
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    table = sm.transfer(encoder, pictures, "y", cv=3, bootstrap=20).table
    assert len(table) > 1
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_networks_that_give_no_features_are_refused():
    class Answers(nn.Module):
        def __init__(self, answer):
            super().__init__()
            self.answer, self.weight = answer, nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return self.answer(x)

    for answer, found in ((lambda x: {"a": x}, "dict"), (lambda x: x.sum(), r"\(\)"), (lambda x: x[:1].mean((2, 3)), r"\(1, 3\)")):
        with pytest.raises(TypeError, match=rf"Answers returns .*{found}"):
            sm.FrozenEncoder(Answers(answer), SMALL)
    with pytest.raises(TypeError, match=r"module=3 must be a torch\.nn\.Module"):
        sm.FrozenEncoder(3, SMALL)
    with pytest.raises(ValueError, match="dim=4, but Answers gives features of width 3"):
        sm.FrozenEncoder(Answers(lambda x: x.mean((2, 3))), SMALL, dim=4)
    with pytest.raises(ValueError, match="does not take views"):
        sm.FrozenEncoder(nn.Conv2d(1, 4, 3), SMALL)
    with pytest.raises(ValueError, match=r"mean=.* must have a number for each of 3 channels"):
        sm.FrozenEncoder(nn.Conv2d(3, 4, 3), SMALL, mean=(0.5,))
    other = sm.FrozenEncoder(nn.Conv2d(3, 4, 3), SMALL, features=lambda module, x: module(x).amax((2, 3)))
    assert other.dim == 4
