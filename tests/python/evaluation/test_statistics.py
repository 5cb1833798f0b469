"""Metrics and tests against scikit-learn, definitions written out, and simulation."""

import itertools

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

import sslmed as sm
from sslmed import brain_age, stats
from sslmed.transfer import evaluate


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("ties", [False, True])
def test_metrics_equal_scikit_learn(rng, n_classes, ties):
    for _ in range(20):
        classes = np.array(list("abcde"[:n_classes]))
        y = np.concatenate([classes, rng.choice(classes, 60, p=np.arange(1, n_classes + 1) / np.arange(1, n_classes + 1).sum())])
        p = rng.dirichlet(np.ones(n_classes), len(y))
        if ties:
            p = np.round(p * 4) / 4 + 1e-9
            p /= p.sum(1, keepdims=True)
        onehot = (y[:, None] == classes).astype(int)
        guess = classes[p.argmax(1)]
        expected = {
            "balanced_accuracy": sk.balanced_accuracy_score(y, guess),
            "f1": sk.f1_score(y, guess, average="macro"),
            "auroc": sk.roc_auc_score(onehot[:, 1], p[:, 1]) if n_classes == 2 else sk.roc_auc_score(y, p, multi_class="ovr"),
            "auprc": sk.average_precision_score(onehot[:, 1], p[:, 1]) if n_classes == 2 else sk.average_precision_score(onehot, p),
            "brier": sk.brier_score_loss(onehot[:, 1], p[:, 1]) if n_classes == 2 else ((p - onehot) ** 2).sum(1).mean(),
        }
        for name, value in expected.items():
            assert evaluate.score(name, y, p, classes) == pytest.approx(value, abs=1e-12), name
    age, predicted = rng.normal(50, 10, 40), rng.normal(50, 10, 40)
    assert evaluate.score("mae", age, predicted) == pytest.approx(sk.mean_absolute_error(age, predicted))
    assert evaluate.score("r2", age, predicted) == pytest.approx(sk.r2_score(age, predicted))


def test_calibration_and_confusion_equal_scikit_learn(rng):
    from sklearn.calibration import calibration_curve

    y, p = rng.integers(2, size=200), rng.random(200)
    truth, mean = calibration_curve(y, p, n_bins=8)
    table = evaluate.calibration(y == 1, p, bins=8)
    assert np.allclose(table["share"], truth)
    assert np.allclose(table["predicted"], mean)
    assert table["n"].sum() == 200
    classes = np.array(["a", "b", "c"])
    truth = rng.choice(classes, 50)
    scores = rng.random((50, 3))
    expected = sk.confusion_matrix(truth, classes[scores.argmax(1)], labels=classes)
    assert (evaluate.confusion(truth, scores, classes).to_numpy() == expected).all()


def psi(a, b):
    return (a > b) + 0.5 * (a == b)


def test_delong_equals_the_definition_with_ties(rng):
    for _ in range(20):
        y = np.array([True] * 7 + [False] * 9)
        a, b = rng.integers(0, 6, 16).astype(float), rng.integers(0, 6, 16).astype(float)
        result = stats.delong(y, a, b)
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
    result = stats.delong(y, np.array([3.0, 2, 2, 2, 1]), np.array([5.0, 4, 3, 2, 1]))
    assert result.auroc_a == pytest.approx(5 / 6)
    assert result.auroc_b == 1
    # var = (1/48)/3 + (1/18)/2
    assert result.high - result.low == pytest.approx(2 * 1.959963985 * np.sqrt(1 / 144 + 1 / 36), abs=1e-8)
    assert stats.delong(y, np.arange(5.0), np.arange(5.0)).p == 1
    for bad in ((y[:4], np.zeros(5), np.zeros(5)), (y, np.full(5, np.nan), np.zeros(5)), (~y[[0, 3, 3, 3, 3]], np.zeros(5), np.zeros(5))):
        with pytest.raises(ValueError):
            stats.delong(*bad)


def test_delong_holds_its_level(rng):
    p = []
    for _ in range(600):
        y = rng.random(80) < 0.5
        signal = rng.normal(size=80) + y
        p.append(stats.delong(y, signal + rng.normal(size=80), signal + rng.normal(size=80)).p)
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
    assert stats.paired_permutation(mae, a, b, groups, draws=8000) == pytest.approx(reached / 16, abs=0.02)
    assert stats.paired_permutation(mae, a, a, groups, draws=50) == 1
    assert np.isnan(stats.paired_permutation(lambda predicted: float("nan"), a, b, groups, draws=50))


def test_holm():
    assert stats.holm([0.01, 0.04, 0.03, np.nan]) == pytest.approx([0.03, 0.06, 0.06, np.nan], nan_ok=True)
    assert stats.holm([0.9, 0.8]) == pytest.approx([1, 1])


def test_bootstrap_covers(rng):
    """95 % intervals of n = 100 hold the truth in 93 to 97 of a hundred simulations."""
    groups, hits = np.arange(100), 0
    for seed in range(2000):
        values = rng.exponential(size=100) if seed % 2 else rng.normal(size=100)
        low, high = evaluate.bootstrap(lambda i, values=values: values[i].sum() / len(i), groups, draws=400, seed=seed)
        hits += low <= (1.0 if seed % 2 else 0.0) <= high
    assert 0.93 <= hits / 2000 <= 0.97


def test_bootstrap_covers_with_few_subjects():
    rng, groups, hits = np.random.default_rng(1), np.arange(15), 0
    for seed in range(1000):
        values = rng.normal(size=15)
        low, high = evaluate.bootstrap(lambda i, values=values: values[i].sum() / len(i), groups, draws=400, seed=seed)
        hits += low <= 0 <= high
    assert 0.92 <= hits / 1000 <= 0.97


def test_bias_correction_frees_predictions_of_their_pull_to_the_mean(rng):
    age = rng.uniform(20, 80, 400)
    predicted = 50 + 0.5 * (age - 50) + rng.normal(size=400)
    subjects = np.array([f"s{i}" for i in range(400)])
    correction = brain_age.BiasCorrection().fit(age[:200], predicted[:200], subjects[:200])
    corrected = correction.apply(predicted[200:], subjects[200:])
    assert np.polyfit(age[200:], corrected, 1)[0] == pytest.approx(1, abs=0.03)
    assert abs(np.corrcoef(corrected - age[200:], age[200:])[0, 1]) < 0.2
    assert np.corrcoef(predicted - age, age)[0, 1] < -0.9
    with pytest.raises(ValueError, match="training and test data at once: s0"):
        correction.apply(predicted[:1], subjects[:1])
    with pytest.raises(ValueError, match="three ages"):
        brain_age.BiasCorrection().fit([20, 30], [20, 30], ["a", "b"])
    with pytest.warns(RuntimeWarning, match="hardly follow age"):
        flat = brain_age.BiasCorrection().fit(age, np.full(400, 50.0), subjects)
    assert np.isfinite(flat.apply(np.array([50.0]), ["new"])).all()


def test_gaps_equal_the_regression_that_made_them(rng):
    n = 300
    group = np.array(["control", "back", "joint"] * (n // 3))
    age, sex = rng.uniform(30, 70, n), rng.choice(["F", "M"], n)
    gap = 3.0 * (group == "back") - 0.2 * (age - 50) + 1.5 * (sex == "M") + rng.normal(size=n)
    people = pd.DataFrame({"subject": [f"s{i}" for i in range(n)], "diagnosis": group, "age": age, "sex": sex})
    predictions = pd.DataFrame({"subject": people["subject"], "truth": age, "model": age + gap})
    table = brain_age.gaps(predictions, people, row="model", group="diagnosis", reference="control").set_index("group")
    assert table.index[0] == "control"
    assert table.loc["back", "difference"] == pytest.approx(3, abs=0.5)
    assert table.loc["back", "low"] < 3 < table.loc["back", "high"]
    assert table.loc["back", "p_holm"] < 1e-6
    assert table.loc["joint", "p"] > 0.001
    # The same by hand: least squares on the design matrix.
    x = np.column_stack([np.ones(n), group == "back", group == "joint", age, sex == "M"]).astype(float)
    beta = np.linalg.lstsq(x, gap, rcond=None)[0]
    assert table.loc["back", "difference"] == pytest.approx(beta[1])
    for kwargs in ({"reference": "nobody"}, {"group": "nothing"}, {"row": "none"}):
        with pytest.raises(ValueError):
            brain_age.gaps(predictions, people, **({"row": "model", "group": "diagnosis", "reference": "control"} | kwargs))


def test_package_has_them():
    assert sm.stats is stats
    assert sm.brain_age is brain_age
