"""Whatever names an encoder becomes one, or is refused in a sentence."""

import subprocess
import sys

import pandas as pd
import pytest
import torch
from cohorts import PRE, cohort
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
