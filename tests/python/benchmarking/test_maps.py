import importlib.util
import sys

import numpy as np
import pandas as pd
import pytest
from cohorts import cohort

import sslmed as sm
from sslmed.benchmarking import embed
from sslmed.reporting import panels


def groups(n=60, dim=80, seed=0):
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 3
    return rng.normal(size=(n, dim)) + 3 * rng.normal(size=(3, dim))[label], label


def purity(places, label):
    """Share of points whose nearest one has the same label."""
    apart = ((places[:, None] - places[None]) ** 2).sum(-1)
    np.fill_diagonal(apart, np.inf)
    return (label[apart.argmin(axis=1)] == label).mean()


def test_groups_stay_together():
    x, label = groups()
    places = embed(x, seed=1)
    assert purity(places, label) == 1.0
    np.testing.assert_array_equal(places, embed(x, seed=1))
    assert embed(x[:6, :1]).shape == (6, 2)


@pytest.mark.oracle
def test_umap():
    pytest.importorskip("umap")
    x, label = groups()
    places = embed(x, "umap", neighbors=10, seed=1)
    assert purity(places, label) > 0.95
    np.testing.assert_array_equal(places, embed(x, "umap", neighbors=10, seed=1))


def test_without_umap(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "umap" else real(name, *a))
    monkeypatch.delitem(sys.modules, "umap", raising=False)
    with pytest.raises(ImportError, match=r"method='umap' needs umap-learn: pip install 'sslmed\[umap\]'"):
        embed(np.zeros((9, 2)), "umap")
    with pytest.raises(ImportError, match="needs umap-learn"):
        sm.benchmark("vit_tiny", cohort(12), ["y"], maps="umap")


def test_what_is_refused():
    for bad in ({"features": np.zeros((4, 2))}, {"features": np.full((9, 2), np.nan)}, {"method": "pca"}, {"neighbors": 1}, {"seed": -1}):
        with pytest.raises(ValueError, match="embed: "):
            embed(**{"features": np.zeros((9, 2))} | bad)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 + 0.1])
def test_rows_that_are_all_alike_are_refused(value):
    """scikit-learn ends the process on them."""
    with pytest.raises(ValueError, match="features of all 12 rows are alike"):
        embed(np.full((12, 60), value))
    assert np.isfinite(embed(np.where(np.arange(12)[:, None] == 3, 1.0, np.full((12, 60), value)))).all()


def test_panels_take_any_column():
    points = {"a $x$": np.random.default_rng(0).normal(size=(30, 2)), "b": np.zeros((30, 2))}
    columns = pd.DataFrame({"age": np.r_[np.nan, np.linspace(20, 80, 29)], "site": [f"_s{i % 12}" for i in range(30)], "none": [None] * 30})
    figure = panels.plot_map(points, columns)
    figure.canvas.draw()
    texts = [text.get_text() for ax in figure.axes if ax.get_legend() for text in ax.get_legend().get_texts()]
    assert len(texts) == 10
    assert all(text.startswith("_s") for text in texts)
    matrix = panels.plot_matrix(pd.DataFrame([[1.0, np.nan], [np.nan, 1.0]], index=["a", "b"], columns=["a", "b"]), "CKA")
    matrix.figure.canvas.draw()
    shots = pd.DataFrame({"row": ["a", "a"], "kind": "random", "shots": [1, 2], "value": [0.5, 0.6], "low": [0.4, 0.5], "high": [0.6, 0.7]})
    assert panels.plot_shots(shots, "auroc").get_xlabel().startswith("people")
