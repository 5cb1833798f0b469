"""Attempts to let test people have a say through the benchmark: each is refused, or shown to have no effect."""

import numpy as np
import pandas as pd
import pytest
import torch
from cohorts import PRE, cohort

import sslmed as sm
from sslmed.benchmarking import Neighbors, Sweep
from sslmed.benchmarking import columns as columns_module
from sslmed.benchmarking.cells import Cell
from sslmed.benchmarking.scoring import encoder_scores
from sslmed.evaluation import seeds as seeds_module
from sslmed.evaluation.crossfit import Study

PROTOCOLS = {
    "knn": Neighbors(k=(1, 3, 9)),
    "linear": sm.benchmarking.Linear(),
    "sweep": Sweep(steps=40, batch_size=16),
    "stopped": Sweep(learning_rates=(3e-3,), optimizer="adamw", scale_lr=False, steps=60, batch_size=16, patience=0.1, runs=2, init="uniform"),
}


def study(classes=True, n=60, seed=0):
    """One fold: people 0 to 39 train, 40 to 59 are tested."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n) if classes else rng.uniform(20, 70, n)
    x = rng.normal(size=(n, 5)) + (2.0 if classes else 0.05) * y[:, None]
    folds = [[(np.arange(40), np.arange(40, n))]]
    return Study.of(y, np.arange(n), np.array(["a", "b"]) if classes else None, folds), x, y


def predicted(monkeypatch, one, x, protocols=PROTOCOLS):
    """What each protocol predicts of the rows, by name."""
    out = {}

    def spy(study, how):
        made = seeds_module.predictions(study, how)
        out[len(out)] = np.stack([part.rows for part in made])
        return made

    monkeypatch.setattr("sslmed.benchmarking.scoring.predictions", spy)
    inputs = {name: {"1 block, cls": x, "1 block, cls+avg": np.concatenate([x, x**2], axis=1)} for name in protocols}
    cell = encoder_scores(one, protocols, x, inputs, 0)
    monkeypatch.undo()
    return list(out.values()), cell


@pytest.mark.parametrize("classes", [True, False])
def test_features_of_other_test_people_change_nothing(monkeypatch, classes):
    """k, learning rate, input, epoch, normalization and strength do not see the test part: one row's prediction depends on itself alone."""
    one, x, _ = study(classes)
    before, cell = predicted(monkeypatch, one, x)
    spoiled = x.copy()
    spoiled[41:] = 1e3 * np.random.default_rng(1).normal(size=spoiled[41:].shape)
    after, other = predicted(monkeypatch, one, spoiled)
    assert len(before) == 7  # three k and the chosen one
    for a, b in zip(before, after, strict=True):
        np.testing.assert_allclose(a[:, 40], b[:, 40], rtol=1e-12, atol=1e-12)
        assert np.isfinite(a[:, 40:]).all()
    pd.testing.assert_frame_equal(cell.tables["chosen"], other.tables["chosen"])


@pytest.mark.parametrize("classes", [True, False])
def test_labels_of_test_people_change_nothing(monkeypatch, classes):
    one, x, y = study(classes)
    before, cell = predicted(monkeypatch, one, x)
    changed = y.copy()
    changed[40:] = 1 - changed[40:] if classes else changed[40:] + 100
    other = Study.of(changed, np.arange(60), one.classes, one.repeats)
    after, also = predicted(monkeypatch, other, x)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a[:, 40:], b[:, 40:])
    pd.testing.assert_frame_equal(cell.tables["chosen"], also.tables["chosen"])


def test_choices_are_made_on_people_not_on_recordings(monkeypatch):
    """Everybody has four equal rows of a label that features do not tell: a choice among rows would find the own label."""
    rng = np.random.default_rng(2)
    y, x = np.repeat(rng.integers(0, 2, 60), 4), np.repeat(rng.normal(size=(60, 5)), 4, axis=0)
    one = Study.of(y, np.repeat(np.arange(60), 4), np.array(["a", "b"]), [[(np.arange(160), np.arange(160, 240))]])
    for seed in range(3):
        valid = sm.benchmarking.choices.held_out(y[:160], np.repeat(np.arange(40), 4), 0.2, (seed, 0), 2)
        assert (valid.reshape(-1, 4).sum(axis=1) % 4 == 0).all()
    _, cell = predicted(monkeypatch, one, x, {"knn": Neighbors(k=(1, 9))})
    scores = cell.tables["scores"].query("metric == 'balanced_accuracy'").set_index("protocol")["value"]
    assert (scores < 0.75).all()


def test_features_that_tell_nothing_give_chance():
    """The best of 52 heads, of four k and of all draws is no better than chance on average."""
    rng = np.random.default_rng(3)
    found = []
    for seed in range(12):
        n = 60
        y = rng.permutation(np.arange(n) % 2)
        x = rng.normal(size=(n, 12))
        part = rng.permutation(n) % 5
        folds = [[(np.flatnonzero(part != f), np.flatnonzero(part == f)) for f in range(5)]]
        one = Study.of(y, np.arange(n), np.array(["a", "b"]), folds)
        inputs = {"sweep": {"1 block, cls": x, "1 block, cls+avg": rng.normal(size=(n, 24))}}
        cell = encoder_scores(one, {"knn": Neighbors(k=(1, 5, 15, 30)), "sweep": Sweep(steps=30)}, x, inputs, seed)
        found.append(cell.tables["scores"].query("metric == 'auroc'").set_index("protocol")["value"])
    mean = pd.concat(found, axis=1).mean(axis=1)
    # The standard deviation of an area of 30 and 30 is .075; of the mean of twelve .022.
    assert (mean[["knn", "sweep"]] < 0.57).all()


def test_maps_have_no_say_in_scores(monkeypatch):
    how = {"repeats": 1, "card": (), "shots": (1,), "shot_repeats": 2, "baselines": False}
    people = cohort(24, seconds=6)
    plain = sm.benchmark("vit_tiny", people, ["y"], PROTOCOLS, maps=None, **how)
    drawn = sm.benchmark("vit_tiny", people, ["y"], PROTOCOLS, maps="tsne", **how)
    pd.testing.assert_frame_equal(plain.table, drawn.table)
    assert not plain.maps
    assert drawn.maps


def test_an_encoder_that_has_seen_labels_is_refused():
    people = cohort(24, seconds=6)
    fine = sm.finetune(sm.Encoder("vit_tiny", PRE, depth=1), people, "y", sm.FineTuning("encoder", epochs=1, batch_size=8)).encoder
    with pytest.raises(ValueError, match="fine-tuned on the labels"):
        sm.benchmark({"fine": fine}, people, ["age"], {"linear": sm.benchmarking.Linear()})


def test_an_encoder_that_has_seen_signals_is_told(tmp_path):
    people = cohort(24, seconds=6)
    run = sm.pretrain(people, encoder="vit_tiny", depth=1, epochs=1, batch_size=8, preprocessing=PRE, out=tmp_path / "run", progress=False, tensorboard=False)
    how = {"repeats": 1, "card": (), "shots": (), "baselines": False, "maps": None}
    with pytest.warns(sm.TransductiveWarning, match="24 of 24 people"):
        result = sm.benchmark({"seen": run.encoder}, people, ["y"], {"linear": sm.benchmarking.Linear()}, **how)
    assert result.encoders.set_index("row")["seen_people"].to_dict() == {"seen": 24, "seen, random": 0}
    result.save(tmp_path / "page.html")
    assert "seen was pretrained on signals of 24 of 24 people" in (tmp_path / "page.html").read_text()


def test_folds_that_leak_are_refused():
    twice = cohort(24, seconds=6).with_columns(subject=np.repeat([f"s{i}" for i in range(12)], 2))
    leaking = [(np.arange(0, 24, 2), np.arange(1, 24, 2))]
    with pytest.raises(ValueError, match="in training and test data at once"):
        sm.benchmark("vit_tiny", twice, ["age"], ["linear"], cv=leaking)


def test_a_kept_cell_of_other_people_is_not_taken(tmp_path, monkeypatch):
    """The same files with other subjects are other folds: nothing of the old cells is used but the features."""
    people = cohort(24, seconds=6)
    how = {"repeats": 1, "card": (), "shots": (), "baselines": False, "maps": None, "retrieval": False, "out": tmp_path}
    first = sm.benchmark("vit_tiny", people, ["y"], ["linear"], **how)
    made = []
    monkeypatch.setattr(columns_module, "encoder_scores", lambda *a: made.append(1) or encoder_scores(*a))
    second = sm.benchmark("vit_tiny", people.with_columns(subject=np.repeat([f"p{i}" for i in range(12)], 2)[::-1]), ["y"], ["linear"], **how)
    assert made == [1]
    assert second.table["n_subjects"].max() == 12
    assert first.table["n_subjects"].max() == 24
    assert isinstance(Cell.load(next((tmp_path / "features").iterdir())).arrays["pooled"], np.ndarray)
    assert torch.get_default_dtype() == torch.float32
