"""A fitted slide-level network on another cohort."""

import numpy as np
import pandas as pd
import pytest
import torch

import sslmed as sm
from sslmed.bags import Bags, SlideModel, fit_slide_level, predict_bags

HOW = sm.BagTraining(hidden=16, attention=8, epochs=25, patience=10, batch_size=6, lr=1e-2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """60 patients of two slides each; class "b" has tiles of another kind in one of them."""
    store, rng, lines = sm.FeatureStore(tmp_path_factory.mktemp("store")), np.random.default_rng(0), []
    for p in range(60):
        for s in range(2):
            x = rng.normal(size=(15, 6))
            x[:3, 0] += 5.0 * (p % 2) * (s == 0)
            name = f"p{p}-{s}"
            cells = np.arange(15)
            store.write(name, torch.from_numpy(x), np.stack([cells % 5, cells // 5], 1) * 256, mpp=0.5, tile=256, encoder="e", dtype="float32")
            lines.append({"subject": f"p{p}", "slide": name, "kind": "ab"[p % 2], "size": 3.0 * (p % 2) + p % 7 * 0.05, "died": float(p % 3 > 0)})
    table = pd.DataFrame(lines)
    months = {f"p{p}": rng.exponential(1.0 if p % 2 else 8.0) + 0.1 for p in range(60)}
    table["months"] = table["subject"].map(months)
    return store, table[:80], table[80:].reset_index(drop=True)


@pytest.mark.parametrize("fusion", ["early", "late", "none"])
def test_predicts_scores_and_comes_back_from_a_file(tmp_path, data, fusion):
    store, here, there = data
    model = fit_slide_level(store, here, "kind", "abmil", HOW, fusion=fusion, seed=2)
    said = model.predict(store, there.drop(columns="kind"))
    assert len(said) == (40 if fusion == "none" else 20)
    assert np.allclose(said[["a", "b"]].sum(axis=1), 1)
    names = [["p40-0", "p40-1"]] if fusion == "early" else [["p40-0"], ["p40-1"]] if fusion == "late" else [["p40-0"]]
    logits = torch.from_numpy(predict_bags(model.task, Bags(store, names, ["p40"] * len(names))).mean(0))
    assert np.allclose(said.loc[0, ["a", "b"]].to_numpy(float), logits.softmax(0), atol=1e-12)
    table = model.score(store, there, positive="b", draws=100)
    scores = table.set_index(["row", "metric"])
    if fusion == "early":
        assert scores.loc[("abmil", "auroc"), "value"] > 0.9
        assert scores.loc[("dummy", "auroc"), "value"] == 0.5
    assert set(table["n_subjects"]) == {20}
    model.save(tmp_path / "m.safetensors")
    again = SlideModel.load(tmp_path / "m.safetensors")
    assert again.predict(store, there).equals(said)
    assert again.facts == model.facts
    assert "p0" not in (tmp_path / "m.safetensors").read_bytes().decode("latin1")


def test_values_and_survival(data):
    store, here, there = data
    model = fit_slide_level(store, here, "size", "abmil", HOW, regression=True)
    assert model.score(store, there, draws=50).set_index(["row", "metric"]).loc[("abmil", "r2"), "value"] > 0.5
    assert model.predict(store, there).columns.tolist() == ["subject", "slides", "value"]
    model = fit_slide_level(store, here, "months", "abmil", HOW, event="died")
    table = model.score(store, there, draws=50).set_index(["row", "metric"])
    assert table.loc[("dummy", "c_index"), "value"] == 0.5
    line = table.loc[("abmil", "c_index")]
    risk = model.predict(store, there)["risk"]
    first = there.drop_duplicates("subject")
    wanted = sm.evaluation.concordance.concordance_index(risk, first["months"], first["died"], draws=0).value
    assert line["value"] == pytest.approx(wanted)
    assert line["low"] <= line["value"] <= line["high"]


def test_refuses_people_encoders_and_classes_that_it_must_not_take(tmp_path, data):
    store, here, there = data
    how = sm.BagTraining(hidden=4, attention=4, epochs=1, patience=0)
    model = fit_slide_level(store, here, "kind", "abmil", how)
    with pytest.raises(ValueError, match="predict: 1 subject is in training and test data at once: p3"):
        model.predict(store, pd.concat([there, here[here["subject"] == "p3"]]))
    with pytest.raises(ValueError, match="has the class 'c', which the training did not have"):
        model.score(store, there.assign(kind="c"))
    other = sm.FeatureStore(tmp_path)
    for name in there["slide"]:
        slide = store.read(name)
        other.write(name, slide.features, slide.coords, mpp=0.5, tile=256, encoder="f", dtype="float32")
    with pytest.raises(ValueError, match="are by the encoder 'f', expected 'e'"):
        model.predict(other, there)
    with pytest.raises(ValueError, match="needs a column 'kind'"):
        model.score(store, there.drop(columns="kind"))
    sm.io.save_safetensors({"x": torch.ones(1)}, tmp_path / "x.safetensors", {"format": "sslmed-slide-model-1", "facts": "{}"})
    with pytest.raises(sm.FormatError, match="expected a slide-level network"):
        SlideModel.load(tmp_path / "x.safetensors")


def test_a_real_slide(tmp_path, data_root):
    """Features of a scanned slide go to the store; a network looks at them, and its map lies on the thumbnail."""
    path = data_root / "pathology/wsi/CMU-1-Small-Region.svs"
    cohort = sm.Cohort.from_table(pd.DataFrame({"path": [str(path)], "subject": ["CMU-1"]})).index(tmp_path / "i.parquet")
    encoder = sm.Encoder("vit_tiny", sm.SlidePreprocessing(mpp=0.5, size=224, patch=16), depth=1, seed=0)
    store = sm.store_features(encoder, cohort, tmp_path / "f", dtype="float32")
    found = store.read("CMU-1-Small-Region")
    assert found.mpp == pytest.approx(0.499)
    assert found.size == (2220, 2967)
    assert 20 < len(found) <= 140
    assert float(found.coords.min()) > -224
    assert bool((found.coords < torch.tensor(found.size)).all())
    cells = ((found.coords - found.coords.min(0).values) / found.step).round()
    assert len(torch.unique(cells, dim=0)) == len(found)  # every tile has a cell of its own
    task = sm.bags.BagTask("transmil", 192, outcome="classes", classes=2, options=sm.BagTraining(hidden=32, heads=4, landmarks=8)).eval()
    assert np.isfinite(predict_bags(task, Bags(store, [["CMU-1-Small-Region"]], ["CMU-1"]))).all()
