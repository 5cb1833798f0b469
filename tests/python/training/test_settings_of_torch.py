"""What the caller has set of torch changes nothing of ours, and stays."""

from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
from ramps import RampPreprocessing, ramps

import sslmed as sm
from sslmed._world import own_settings


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


COHORT = ramps(8, 1)


def inside(name):
    return {
        "nothing": nullcontext,
        "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        "float16": lambda: torch.autocast("cpu", dtype=torch.float16),
        "float64": lambda: default_dtype(torch.float64),
        "device": lambda: default_device("meta"),  # stands for "cuda"
        "no_grad": torch.no_grad,
        "inference": torch.inference_mode,
    }[name]()


def state():
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_num_threads(),
    )


def pretrained(out, **options):
    how = {"epochs": 2, "batch_size": 4, "progress": False, "tensorboard": False, "depth": 1} | options
    return sm.pretrain(COHORT, "mae", "vit_tiny", out, preprocessing=RampPreprocessing(), **how)


@pytest.mark.parametrize("name", ["autocast", "float16", "float64", "device", "no_grad", "inference"])
@pytest.mark.parametrize("bf16", [False, True])
def test_a_run_is_the_same_wherever_it_is_called(name, bf16, tmp_path):
    expected = pretrained(tmp_path / "alone", bf16=bf16)
    with inside(name):
        before = state()
        found = pretrained(tmp_path / "inside", bf16=bf16)
        assert state() == before
    assert found.history["loss"].tolist() == expected.history["loss"].tolist()
    for key, value in sm.io.load_safetensors(tmp_path / "inside" / "encoder.safetensors").items():
        assert value.dtype == torch.float32
        assert torch.equal(value, expected.encoder.state_dict()[key])


@pytest.mark.parametrize("name", ["autocast", "float64", "device", "no_grad", "inference"])
def test_features_scores_and_fine_tuning_are_the_same_wherever_they_are_called(name, tmp_path):
    encoder, cohort, other = sm.Encoder("vit_tiny", RampPreprocessing(), depth=1), ramps(12, 3), ramps(6, 4, site="b")

    def all_of_them():
        features, _ = sm.encode(encoder, cohort)
        tuned = sm.finetune(encoder, cohort, "diagnosis", sm.FineTuning(epochs=2))
        table = sm.transfer(encoder, cohort, "diagnosis", cv=2, bootstrap=10, baselines=False).table
        return np.asarray(features), np.asarray(tuned.predict_proba(other)), table["value"].to_numpy()

    expected = all_of_them()
    with inside(name):
        before = state()
        found = all_of_them()
        assert state() == before
    for one, same in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, same)


@pytest.mark.parametrize("name", ["float64", "device", "inference"])
def test_a_network_is_made_the_same_wherever_it_is_made(name):
    with inside(name):
        made = sm.Encoder("vit_tiny", RampPreprocessing(), depth=1)
    expected = sm.Encoder("vit_tiny", RampPreprocessing(), depth=1).state_dict()
    assert all(torch.equal(value, expected[key]) and not value.is_inference() for key, value in made.state_dict().items())


@pytest.mark.parametrize("name", ["float64", "device", "inference"])
def test_weights_and_inflation_are_the_same_wherever_they_are_called(name, tmp_path):
    flat, deep = sm.nn.DenseNet("resnet10", in_chans=1), sm.nn.DenseNet("resnet10", rank=3, in_chans=1)
    sm.nn.inflate(flat, deep)
    expected = {key: value.clone() for key, value in deep.state_dict().items()}
    with inside(name):
        before = state()
        sm.nn.save_weights(flat, tmp_path / "w.safetensors", "timm")
        again, inflated = sm.nn.DenseNet("resnet10", in_chans=1, seed=5), sm.nn.DenseNet("resnet10", rank=3, in_chans=1, seed=5)
        sm.nn.load_weights(again, tmp_path / "w.safetensors", "timm")
        sm.nn.inflate(again, inflated)
        assert state() == before
    for key, value in inflated.state_dict().items():
        assert value.dtype == expected[key].dtype
        assert torch.equal(value, expected[key])


def test_settings_come_back_after_an_error():
    @own_settings()
    def fails():
        torch.set_num_threads(1)
        raise RuntimeError("stop")

    before = state()
    with pytest.raises(RuntimeError, match="stop"):
        fails()
    assert state() == before
