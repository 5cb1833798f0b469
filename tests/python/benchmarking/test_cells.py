"""Cells of a benchmark are taken for what they are of, and rows for themselves."""

import numpy as np
import pandas as pd
import pytest
import torch
from noise_images import images

import sslmed as sm
from sslmed.benchmarking import Linear, Sweep, Task
from sslmed.benchmarking.scoring import encoder_scores
from sslmed.evaluation.crossfit import Study

QUICK = {"repeats": 1, "shots": (), "retrieval": False, "threads": 1, "baselines": False, "cv": 3}
LINEAR = {"linear": Linear()}


class Mean(torch.nn.Module):
    """Brightness of a picture, twice."""

    def __init__(self, sign=1.0):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.full((2,), sign))

    def forward(self, x):
        return x.mean((1, 2, 3))[:, None] * self.factor


@pytest.fixture
def people(tmp_path, rng):
    cohort = images(tmp_path, rng, ((32, 32),) * 12)
    return cohort.with_columns(subject=[f"p{i}" for i in range(12)], y=list("ab" * 6), sex=list("FFMM" * 3))


def frozen(features):
    return sm.FrozenEncoder(Mean(), sm.ImagePreprocessing(size=32, patch=None), features=features)


def test_encoders_written_in_python_have_cells_of_their_own(people, tmp_path):
    """Weights, class and files are the same; what is made of them is not."""

    def plain(module, x):
        return module(x)

    def noise(module, x):
        return torch.sin(1e4 * module(x))

    out = tmp_path / "out"
    how = {"card": ("sex",), "maps": None, "random": False, "out": out}
    both = sm.benchmark({"plain": frozen(plain), "noise": frozen(noise)}, people, "y", LINEAR, **QUICK, **how)
    alone = sm.benchmark({"noise": frozen(noise)}, people, "y", LINEAR, **QUICK, **(how | {"out": None}))
    for name in ("table", "card"):
        key = "row" if name == "table" else "encoder"
        one, other = (getattr(result, name) for result in (both, alone))
        one, other = (table[table[key] == "noise"].reset_index(drop=True) for table in (one, other))
        pd.testing.assert_frame_equal(one, other)
    areas = both.table[both.table["metric"] == "auroc"].set_index("row")["value"]
    assert areas["plain"] != areas["noise"]


def test_folds_are_known_by_their_rows(people, tmp_path):
    class Halves:
        def __init__(self, by):
            self.by = by

        def __repr__(self):
            return "Halves"

        def split(self, x, y=None, groups=None):
            rows, first = np.arange(12), np.isin(np.arange(12), self.by)
            return iter([(rows[~first], rows[first]), (rows[first], rows[~first])])

        def get_n_splits(self, *_):
            return 2

    how = QUICK | {"card": (), "maps": None}
    encoder = sm.DenseEncoder("unet", sm.ImagePreprocessing(size=32, patch=None), filters=[4, 8])
    for by in (range(6), (0, 3, 4, 7, 8, 11)):
        kept, anew = (sm.benchmark({"a": encoder}, people, "y", LINEAR, **(how | {"cv": Halves(by), "out": out})).table for out in (tmp_path / "out", None))
        pd.testing.assert_frame_equal(kept, anew)


def test_features_that_do_not_vary_have_no_map(people):
    def nothing(module, x):
        return torch.full((len(x), 2), 0.1)

    result = sm.benchmark({"collapsed": frozen(nothing)}, people, "y", LINEAR, random=False, card=(), **QUICK)
    assert "collapsed" not in result.maps.get("images", ({}, None))[0]
    assert any("map of collapsed left out" in text for text in result.notes)


def test_a_row_has_one_encoder(people):
    encoder = sm.DenseEncoder("unet", sm.ImagePreprocessing(size=32, patch=None), filters=[4, 8])
    trained = frozen(lambda module, x: module(x))
    how = QUICK | {"card": (), "maps": None}
    with pytest.raises(ValueError, match="'a, random' is the name of another row"):
        sm.benchmark({"a": trained, "a, random": encoder}, people, "y", LINEAR, **how)
    with pytest.raises(ValueError, match="'color' is the name of another row"):
        sm.benchmark({"color": encoder}, people, "y", LINEAR, **(how | {"baselines": True}))


def test_segmentation_needs_a_number_of_folds(people):
    encoder = sm.DenseEncoder("unet", sm.ImagePreprocessing(size=32, patch=None), filters=[4, 8])
    task = Task("path_labels", "segmentation")
    labeled = people.with_columns(path_labels=people.table["path"])
    with pytest.raises(ValueError, match="cv='loso' is for columns and slides"):
        sm.benchmark({"a": encoder}, labeled, task, LINEAR, **(QUICK | {"cv": "loso", "card": (), "maps": None}))


def test_heads_that_diverge_are_told(rng):
    x, y = rng.normal(size=(24, 50)), rng.normal(size=24)
    folds = [[(np.arange(12), np.arange(12, 24)), (np.arange(12, 24), np.arange(12))]]
    study = Study.of(y, np.array([f"p{i}" for i in range(24)]), None, folds)
    for factor in (1.0, 1e5):
        cell = encoder_scores(study, {"sweep": Sweep(steps=100)}, x, {"sweep": {"map": factor * x}}, 0)
        assert cell.tables["scores"]["value"].isna().all() == (factor > 1)
        assert any("heads diverge" in text for text in cell.notes) == (factor > 1)
