"""The statistics of confounding in many simulated cohorts, too long for every commit: ``make soak``."""

import os

import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from sslmed.evaluation import confounding as cf
from sslmed.evaluation.metrics import auroc

pytestmark = pytest.mark.skipif(not os.environ.get("SSLMED_SOAK"), reason="takes minutes; make soak sets SSLMED_SOAK")


def scored(rng, n, *, folds=5, effect=0.0, features=10):
    """Patients ten years older; features that follow age, and the disease by ``effect``; scores of a model a fold."""
    patient = np.arange(n) % 2 == 0
    age = np.where(patient, 60, 50) + rng.normal(0, 8, n)
    x = (age / 8)[:, None] * rng.normal(size=features) * 0.5 + rng.normal(size=(n, features))
    x[:, 0] += effect * patient
    scores, fold = np.empty(n), np.empty(n, int)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=int(rng.integers(1 << 30)))
    for number, (train, test) in enumerate(splitter.split(x, patient)):
        scores[test] = LogisticRegression(C=0.1, max_iter=1000).fit(x[train], patient[train]).decision_function(x[test])
        fold[test] = number
    return patient, scores, age[:, None], fold


@pytest.mark.parametrize(("n", "folds"), [(30, 5), (60, 5), (60, 10), (120, 5)])
def test_models_of_age_alone_have_an_adjusted_area_of_a_half(n, folds):
    areas = []
    for seed in range(500):
        patient, scores, age, fold = scored(np.random.default_rng(seed), n, folds=folds)
        areas.append((auroc(patient, scores), cf.adjusted_auroc(patient, scores, age, fold=fold)))
    raw, adjusted = np.mean(areas, axis=0)
    print(f"n={n} folds={folds}: raw {raw:.3f}, adjusted {adjusted:.3f}, deviation {np.std(areas, axis=0)[1]:.3f}")
    assert raw > 0.6
    assert adjusted == pytest.approx(0.5, abs=0.02)


def test_an_effect_of_the_disease_is_seen_beyond_age():
    areas = [cf.adjusted_auroc(p, s, a, fold=f) for p, s, a, f in (scored(np.random.default_rng(seed), 60, effect=1.0) for seed in range(300))]
    print(f"effect: adjusted {np.mean(areas):.3f}")
    assert np.mean(areas) > 0.6


def test_permuted_labels_hold_the_level():
    p = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        fold, age, scores = np.arange(60) % 5, rng.normal(size=(60, 1)), rng.normal(size=60)
        labels = np.stack([rng.permutation(np.arange(60) // 5 % 2 == 0) for _ in range(200)], axis=1)
        areas = cf.adjusted_auroc(labels, scores, age, fold=fold)
        p.append(np.mean(areas >= areas[0]))
    assert 0.02 <= np.mean(np.array(p) <= 0.05) <= 0.08
    assert kstest(p, "uniform").pvalue > 0.01


def drawn(rng, kind, n):
    y = rng.integers(2, size=n) if kind.startswith("class") else rng.normal(size=n)
    target = np.where(y > 0, "a", "b") if kind.startswith("class") else y
    spread = np.where(y > 0, 0.5, 1.5) if kind.startswith("class") else 1.0
    c = 0.8 * y + rng.normal(size=n) * spread
    return target, y + rng.normal(size=n), np.array(["p", "q", "r"])[np.digitize(c, [-0.5, 0.5])] if kind.endswith("category") else c


@pytest.mark.parametrize("kind", ["class, number", "class, category", "number, number", "number, category"])
@pytest.mark.parametrize("n", [40, 100])
def test_the_partial_test_has_uniform_p_values_without_dependence(kind, n):
    # The share of 500 cohorts has a standard error of .01, too wide for these bounds.
    p = []
    for seed in range(2000):
        p.append(cf.partial_confounder_test(*drawn(np.random.default_rng(seed), kind, n), draws=99, seed=seed).p)
    share = np.mean(np.array(p) <= 0.05)
    print(f"{kind}, n={n}: {share:.3f} of p values at most .05, mean {np.mean(p):.3f}")
    assert 0.03 <= share <= 0.07
    assert np.mean(p) == pytest.approx(0.505, abs=0.02)  # of 1/100 … 100/100, uniformly
