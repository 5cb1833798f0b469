"""Intervals and tests against definitions written out, and simulation."""

import itertools

import numpy as np
import pytest
from sklearn import metrics as sk

from sslmed.evaluation import statistics


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def psi(a, b):
    return (a > b) + 0.5 * (a == b)


def test_delong_equals_the_definition_with_ties(rng):
    for _ in range(20):
        y = np.array([True] * 7 + [False] * 9)
        a, b = rng.integers(0, 6, 16).astype(float), rng.integers(0, 6, 16).astype(float)
        result = statistics.delong(y, a, b)
        v10 = np.array([[np.mean([psi(x, z) for z in s[~y]]) for x in s[y]] for s in (a, b)])
        v01 = np.array([[np.mean([psi(x, z) for x in s[y]]) for z in s[~y]] for s in (a, b)])
        auc = v10.mean(1)
        s10 = [[((v10[i] - auc[i]) * (v10[j] - auc[j])).sum() / 6 for j in range(2)] for i in range(2)]
        s01 = [[((v01[i] - auc[i]) * (v01[j] - auc[j])).sum() / 8 for j in range(2)] for i in range(2)]
        s = np.array(s10) / 7 + np.array(s01) / 9
        variance = s[0, 0] + s[1, 1] - 2 * s[0, 1]
        assert (result.auroc_a, result.auroc_b) == pytest.approx(tuple(auc))
        assert result.auroc_a == pytest.approx(sk.roc_auc_score(y, a))
        assert result.high - result.difference == pytest.approx(1.959963985 * np.sqrt(variance), abs=1e-9)


def test_delong_worked_by_hand():
    # Positives 3, 2, 2 against negatives 2, 1: placements (1, .75, .75), (2/3, 1); the other model has them all right.
    y = np.array([True, True, True, False, False])
    result = statistics.delong(y, np.array([3.0, 2, 2, 2, 1]), np.array([5.0, 4, 3, 2, 1]))
    assert result.auroc_a == pytest.approx(5 / 6)
    assert result.auroc_b == 1
    # var = (1/48)/3 + (1/18)/2
    assert result.high - result.low == pytest.approx(2 * 1.959963985 * np.sqrt(1 / 144 + 1 / 36), abs=1e-8)
    assert statistics.delong(y, np.arange(5.0), np.arange(5.0)).p == 1
    for bad in ((y[:4], np.zeros(5), np.zeros(5)), (y, np.full(5, np.nan), np.zeros(5)), (~y[[0, 3, 3, 3, 3]], np.zeros(5), np.zeros(5))):
        with pytest.raises(ValueError):
            statistics.delong(*bad)


def test_delong_holds_its_level(rng):
    p = []
    for _ in range(600):
        y = rng.random(80) < 0.5
        signal = rng.normal(size=80) + y
        p.append(statistics.delong(y, signal + rng.normal(size=80), signal + rng.normal(size=80)).p)
    assert abs(np.mean(np.array(p) < 0.05) - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 600)


def test_paired_permutation_equals_all_exchanges(rng):
    y, a, b = rng.normal(size=8), rng.normal(size=8), rng.normal(size=8)
    groups = np.repeat(np.arange(4), 2)

    def mae(predicted):
        return float(np.abs(y - predicted).mean())

    observed, reached = abs(mae(a) - mae(b)), 0
    for bits in itertools.product([False, True], repeat=4):
        swap = np.repeat(bits, 2)
        reached += abs(mae(np.where(swap, b, a)) - mae(np.where(swap, a, b))) >= observed - 1e-12
    assert statistics.paired_permutation(mae, a, b, groups, draws=8000) == pytest.approx(reached / 16, abs=0.02)
    assert statistics.paired_permutation(mae, a, a, groups, draws=50) == 1
    assert np.isnan(statistics.paired_permutation(lambda predicted: float("nan"), a, b, groups, draws=50))


def test_holm():
    assert statistics.holm([0.01, 0.04, 0.03, np.nan]) == pytest.approx([0.03, 0.06, 0.06, np.nan], nan_ok=True)
    assert statistics.holm([0.9, 0.8]) == pytest.approx([1, 1])


def test_bootstrap_covers(rng):
    """95 % intervals of n = 100 hold the truth in 93 to 97 of a hundred simulations."""
    groups, hits = np.arange(100), 0
    for seed in range(2000):
        values = rng.exponential(size=100) if seed % 2 else rng.normal(size=100)
        low, high = statistics.bootstrap(lambda i, values=values: values[i].sum() / len(i), groups, draws=400, seed=seed)
        hits += low <= (1.0 if seed % 2 else 0.0) <= high
    assert 0.93 <= hits / 2000 <= 0.97


def test_bootstrap_covers_with_few_subjects():
    rng, groups, hits = np.random.default_rng(1), np.arange(15), 0
    for seed in range(1000):
        values = rng.normal(size=15)
        low, high = statistics.bootstrap(lambda i, values=values: values[i].sum() / len(i), groups, draws=400, seed=seed)
        hits += low <= 0 <= high
    assert 0.92 <= hits / 1000 <= 0.97


def test_bootstrap_draws_subjects_not_rows(rng):
    groups = np.repeat(np.arange(20), 50)
    values = np.repeat(rng.normal(size=20), 50)
    low, high = statistics.bootstrap(lambda i: float(values[i].mean()), groups, draws=2000, seed=1)
    width = 2 * 1.96 * values[::50].std() / np.sqrt(20)
    assert high - low == pytest.approx(width, rel=0.25)
