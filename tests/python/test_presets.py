"""Presets are what their pages say, and train."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

import sslmed as sm


def cohort(seconds):
    x = np.random.default_rng(0).normal(size=(4, 5, seconds * 200)) * 30
    table = pd.DataFrame({"subject": list("abcd"), "y": ["s", "t"] * 2})
    return sm.Cohort.from_arrays(x, 200, ["Fp1", "Cz", "C3", "O2", "Pz"], table, name="p")


@pytest.mark.parametrize(("preset", "views"), [(sm.presets.labram, 2), (sm.presets.cbramod, 1), (sm.presets.reve, 1)])
def test_a_preset_trains(preset, views, tmp_path):
    keywords = preset()
    people, pre, method = cohort(int(keywords["preprocessing"].window)), keywords["preprocessing"], keywords["method"]
    run = sm.pretrain(people, encoder="vit_tiny", out=tmp_path / "r", depth=1, epochs=1, batch_size=4, progress=False, tensorboard=False, **keywords)
    assert np.isfinite(run.history["loss"]).all()
    options = {k: getattr(method, k) for k in ("mask", "ratio", "block", "radius", "complementary")}
    batch = next(iter(sm.Loader(people, pre, batch_size=4, **options)))
    assert sum(len(view.lengths) for view in batch.views) == 4 * views
    hidden = sum(sum(view.masked_lengths) for view in batch.views) / sum(sum(view.lengths) for view in batch.views)
    assert hidden == pytest.approx(method.ratio, abs=0.08)
    if method.mask == "bernoulli":
        assert len(set(batch.views[0].masked_lengths)) > 1


def test_patches_overlap_as_unfolded_windows(tmp_path):
    people = cohort(10)
    pre = sm.presets.reve()["preprocessing"]
    view = next(iter(sm.Loader(people, pre, batch_size=4, order="sequential"))).views[0]
    windows = torch.stack([people.source(pre).sample(i)[0] for i in range(4)])
    assert torch.equal(view.values, windows.unfold(2, 200, 180).reshape(-1, 200))
    assert view.lengths == [5 * 11] * 4
    torch.testing.assert_close(view.coords[:11, 3], torch.arange(11) * 0.9 + 0.5)
    encoder = sm.Encoder("vit_tiny", pre, depth=1)
    encoder.save(tmp_path / "e.safetensors")
    assert sm.Encoder.load(tmp_path / "e.safetensors").preprocessing.overlap == 0.1
    with pytest.raises(ValueError, match="overlap=100 samples must be smaller"):
        sm.EegPreprocessing(sfreq=200, patch=0.5, overlap=0.5).recipe()


def test_microvolts_over_a_unit():
    people = cohort(4)
    plain = {"sfreq": 200, "window": 4, "average_reference": False, "scale": "none", "clip": 0}
    a, b = (people.source(sm.EegPreprocessing(unit=unit, **plain)).sample(1)[0] for unit in (1.0, 100.0))
    assert 20 < a.std() < 40
    assert torch.allclose(a / 100, b, rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match="unit=0 µV must be positive"):
        people.source(sm.EegPreprocessing(unit=0.0, **plain))


def test_the_schedule_ends_where_it_is_told(tmp_path):
    keywords = sm.presets.cbramod() | {"preprocessing": sm.EegPreprocessing(sfreq=200, window=1, patch=0.25), "epochs": 20}
    run = sm.pretrain(cohort(4), encoder="vit_tiny", out=tmp_path / "r", depth=1, batch_size=8, progress=False, tensorboard=False, **keywords)
    assert run.history["lr"].max() == pytest.approx(5e-4)
    assert 1e-5 <= run.history["lr"].iloc[-1] < 2e-5


def test_labram_is_fine_tuned_with_its_decay():
    assert sm.presets.labram_finetuning().layer_decay == 0.65


@pytest.mark.parametrize(("given", "kept"), [({}, 0.4), ({"final_weight_decay": 0.0}, 0.0), ({"weight_decay": 0.1}, None)])
def test_a_final_weight_decay_of_none_is_not_one_of_nothing(given, kept, tmp_path):
    pre = sm.EegPreprocessing(sfreq=200, window=4, patch=0.5)
    sm.pretrain(cohort(8), "ijepa", "vit_tiny", tmp_path / "r", preprocessing=pre, depth=1, epochs=1, batch_size=4, progress=False, tensorboard=False, **given)
    checkpoint = next((tmp_path / "r" / "checkpoints").glob("step-*"))
    config = sm.io.load_metadata(checkpoint, "sslmed-checkpoint-1")["config"]
    assert json.loads(config)["final_weight_decay"] == kept


METHODS = ("simclr", "byol", "moco", "vicreg", "barlow_twins", "dino")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("preset", [sm.presets.small, lambda method: sm.presets.published(method, 4)])
def test_settings_of_methods_train(preset, method, tmp_path):
    keywords = preset(method) | {"batch_size": 4}
    if isinstance(keywords["method"], str):  # the papers' heads, narrowed to what a test may take
        keywords |= {"dino": {"prototypes": 64, "hidden": 32, "local": 2}, "simclr": {}}.get(method, {"hidden": 32, "out_dim": 32})
    how = sm.EegPreprocessing(window=4)
    run = sm.pretrain(cohort(8), encoder="vit_tiny", out=tmp_path, depth=1, epochs=2, progress=False, tensorboard=False, preprocessing=how, **keywords)
    assert np.isfinite(run.history["loss"]).all()


def test_published_learning_rates_grow_with_the_batch():
    assert sm.presets.published("simclr", 256)["lr"] == pytest.approx(1.2)
    assert sm.presets.published("dino", 512)["lr"] == pytest.approx(1e-3)
    for preset in (sm.presets.small, lambda method: sm.presets.published(method, 8)):
        with pytest.raises(ValueError, match="method='mae' must be one of simclr, byol"):
            preset("mae")
