"""Scores of out-of-fold predictions: scikit-learn's on one fold, averages over pairs on several, and what weights of zero leave out."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.stats import pearsonr
from sklearn import metrics

import sslmed as sm
from sslmed.evaluation.crossfit import Study, dummy
from sslmed.evaluation.scoring import CLASSIFICATION, POSITIVE, REGRESSION, OutOfFold, credits, scores


def classified(rng, n=60, k=2, folds=1, ties=False, positive=-1):
    """Predictions of classes of different sizes, by training parts of different shares."""
    truth = np.concatenate([np.arange(k), np.arange(k), rng.choice(k, n - 2 * k, p=np.arange(1, k + 1) / np.arange(1, k + 1).sum())])
    p = rng.dirichlet(np.ones(k), n) + 0.5 * np.eye(k)[truth]
    if ties:
        p = np.round(p * 4) / 4 + 0.25
    p /= p.sum(axis=1, keepdims=True)
    fold = np.arange(n) % folds
    prior = rng.dirichlet(5 * np.ones(k), folds)[fold]
    return OutOfFold(truth, p[None], prior[None], fold, positive)


def regressed(rng, n=60, folds=1):
    y = rng.normal(50, 10, n)
    fold = np.arange(n) % folds
    prior = rng.normal(50, 1, folds)[fold]
    return OutOfFold(y, (y + rng.normal(0, 8, n))[None], prior[None], fold)


def one(metric, made, **how):
    return scores(metric, made, np.ones((1, len(made.truth))), **how)[0]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("k", [2, 3, 4])
def test_classes_on_one_fold_as_scikit_learn(rng, k, ties):
    made = classified(rng, k=k, ties=ties)
    y, p, prior = made.truth, made.predicted[0], made.prior[0]
    decided = (p / prior).argmax(axis=1)
    assert one("balanced_accuracy", made) == pytest.approx(metrics.balanced_accuracy_score(y, decided), abs=1e-12)
    assert one("f1", made) == pytest.approx(metrics.f1_score(y, decided, average="macro"), abs=1e-12)
    if k == 2:
        assert one("auroc", made) == pytest.approx(metrics.roc_auc_score(y, p[:, 1]), abs=1e-12)
        assert one("auprc", made) == pytest.approx(metrics.average_precision_score(y, p[:, 1]), abs=1e-12)
        assert one("brier", made) == pytest.approx(metrics.brier_score_loss(y, p[:, 1]), abs=1e-12)
    else:
        assert one("auroc", made) == pytest.approx(np.mean([metrics.roc_auc_score(y == c, p[:, c]) for c in range(k)]), abs=1e-12)
        assert one("auroc", made) == pytest.approx(metrics.roc_auc_score(y, p, multi_class="ovr"), abs=1e-12)
        assert one("auprc", made) == pytest.approx(metrics.average_precision_score(np.eye(k)[y], p), abs=1e-12)
        assert one("brier", made) == pytest.approx(((p - np.eye(k)[y]) ** 2).sum(axis=1).mean(), abs=1e-12)


@pytest.mark.parametrize("positive", [0, 1])
def test_scores_of_a_positive_class_as_scikit_learn(rng, positive):
    made = classified(rng, n=200, positive=positive)
    y, p = made.truth == positive, made.predicted[0][:, positive]
    decided = (made.predicted[0] / made.prior[0]).argmax(axis=1) == positive
    sensitivity, specificity = metrics.recall_score(y, decided), metrics.recall_score(~y, ~decided)
    assert one("sensitivity", made) == pytest.approx(sensitivity, abs=1e-12)
    assert one("specificity", made) == pytest.approx(specificity, abs=1e-12)
    assert one("ppv", made) == pytest.approx(metrics.precision_score(y, decided), abs=1e-12)
    assert one("npv", made) == pytest.approx(metrics.precision_score(~y, ~decided), abs=1e-12)
    assert one("auprc", made) == pytest.approx(metrics.average_precision_score(y, p), abs=1e-12)
    assert one("brier", made) == pytest.approx(metrics.brier_score_loss(y, p), abs=1e-12)
    # Bayes' theorem for a tenth of positives.
    assert one("ppv", made, prevalence=0.1) == pytest.approx(0.1 * sensitivity / (0.1 * sensitivity + 0.9 * (1 - specificity)), abs=1e-12)
    assert one("npv", made, prevalence=0.1) == pytest.approx(0.9 * specificity / (0.9 * specificity + 0.1 * (1 - sensitivity)), abs=1e-12)
    assert one("ppv", made, prevalence=y.mean()) == pytest.approx(one("ppv", made), abs=1e-12)


def test_calibration_is_the_logistic_regression_of_the_truth(rng):
    made = classified(rng, n=300)
    p = made.predicted[0][:, 1]
    x, y = np.log(p / (1 - p)), made.truth

    def loss(ab, slope):
        eta = ab[0] + (ab[1] if slope else 1.0) * x
        return (np.logaddexp(0, eta) - y * eta).sum()

    both, level = (minimize(loss, [0.0, 1.0], args=(slope,), method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-12}).x for slope in (True, False))
    assert one("calibration_slope", made) == pytest.approx(both[1], abs=1e-5)
    assert one("calibration_intercept", made) == pytest.approx(level[0], abs=1e-5)


def test_calibration_of_probabilities_that_are_true(rng):
    p = rng.uniform(0.02, 0.98, 20_000)
    truth = (rng.random(20_000) < p).astype(int)
    made = OutOfFold(truth, np.stack([1 - p, p], axis=1)[None], np.full((1, 20_000, 2), 0.5), np.zeros(20_000, int))
    assert one("calibration_slope", made) == pytest.approx(1, abs=0.1)
    assert one("calibration_intercept", made) == pytest.approx(0, abs=0.1)
    alike = OutOfFold(truth, np.full((1, 20_000, 2), 0.5), np.full((1, 20_000, 2), 0.5), np.zeros(20_000, int))
    assert np.isnan(one("calibration_slope", alike))  # nothing that could slope
    assert one("calibration_intercept", alike) == pytest.approx(np.log(truth.mean() / (1 - truth.mean())), abs=1e-6)


def test_numbers_on_one_fold_as_scikit_learn(rng):
    made = regressed(rng)
    y, p = made.truth, made.predicted[0]
    assert one("mae", made) == pytest.approx(metrics.mean_absolute_error(y, p), abs=1e-12)
    assert one("r", made) == pytest.approx(pearsonr(y, p)[0], abs=1e-12)
    # Against the mean of the training part, which a forecaster had; that of the test part is scikit-learn's.
    assert one("r2", made) == pytest.approx(1 - ((y - p) ** 2).sum() / ((y - made.prior[0]) ** 2).sum(), abs=1e-12)
    own = OutOfFold(y, made.predicted, np.full((1, len(y)), y.mean()), made.fold)
    assert one("r2", own) == pytest.approx(metrics.r2_score(y, p), abs=1e-12)


@pytest.mark.parametrize("folds", [1, 4])
@pytest.mark.parametrize("metric", [*CLASSIFICATION, *POSITIVE, *REGRESSION])
def test_a_weight_of_zero_leaves_a_row_out(rng, metric, folds):
    made = regressed(rng, folds=folds) if metric in REGRESSION else classified(rng, k=2 if metric in POSITIVE else 3, folds=folds, ties=True)
    kept = rng.random((5, 60)) < 0.8
    found = scores(metric, made, kept.astype(float))
    for rows, value in zip(kept, found, strict=True):
        part = OutOfFold(made.truth[rows], made.predicted[:, rows], made.prior[:, rows], made.fold[rows])
        assert value == pytest.approx(one(metric, part), abs=1e-9, nan_ok=True)
        # A prediction of its own for each weighting.
    many = OutOfFold(made.truth, np.repeat(made.predicted, 5, axis=0), np.repeat(made.prior, 5, axis=0), made.fold)
    np.testing.assert_allclose(scores(metric, many, kept.astype(float)), found, atol=1e-12)
    twice = scores(metric, made, np.full((1, 60), 2.0))[0]
    assert twice == pytest.approx(one(metric, made), abs=1e-9, nan_ok=True)


def test_several_folds_are_the_mean_over_their_pairs(rng):
    made = classified(rng, n=80, folds=5, ties=True)
    right = pairs = 0.0
    for f in range(5):
        y, p = made.truth[made.fold == f], made.predicted[0][made.fold == f, 1]
        apart = p[y == 1][:, None] - p[y == 0][None]
        right, pairs = right + (apart > 0).sum() + (apart == 0).sum() / 2, pairs + apart.size
    assert one("auroc", made) == pytest.approx(right / pairs, abs=1e-12)
    # Levels that move between folds are no merit and no harm.
    moved = made.predicted.copy()
    moved[0, :, 1] += made.fold / 100
    assert one("auroc", OutOfFold(made.truth, moved, made.prior, made.fold)) == pytest.approx(right / pairs, abs=1e-12)
    value = regressed(rng, folds=4)
    shifted = OutOfFold(value.truth, value.predicted + 100 * value.fold, value.prior, value.fold)
    assert one("r", shifted) == pytest.approx(one("r", value), abs=1e-9)
    per_fold = [metrics.average_precision_score(made.truth[made.fold == f], made.predicted[0][made.fold == f, 1]) for f in range(5)]
    positives = [int(made.truth[made.fold == f].sum()) for f in range(5)]
    assert one("auprc", made) == pytest.approx(np.average(per_fold, weights=positives), abs=1e-12)


def test_folds_of_one_person_have_no_areas_and_no_correlation(rng):
    made = classified(rng, n=20, folds=20)
    assert np.isnan(one("auroc", made))
    assert np.isnan(one("auprc", made))
    assert np.isfinite(one("balanced_accuracy", made))
    assert np.isnan(one("r", regressed(rng, n=20, folds=20)))


def test_ties_share_the_decision():
    prior = np.full((2, 3), 1 / 3)
    np.testing.assert_array_equal(credits(np.array([[0.4, 0.4, 0.2], [0.2, 0.2, 0.6]]), prior), [[0.5, 0.5, 0], [0, 0, 1]])
    # One who has the training shares of the classes is decided for none of them, however unequal they are.
    shares = np.array([[0.9, 0.07, 0.03]])
    np.testing.assert_allclose(credits(shares, shares), np.full((1, 3), 1 / 3))
    np.testing.assert_array_equal(credits(np.array([[0.8, 0.12, 0.08]]), shares), [[0, 0, 1]])


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("counts", [(12, 12), (5, 19), (8, 8, 8), (3, 9, 12)])
def test_a_dummy_scores_chance_under_every_design(rng, counts, balanced):
    y = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    n = len(y)
    loso = [(np.delete(np.arange(n), i), np.array([i])) for i in range(n)]
    five = [(np.setdiff1d(np.arange(n), test), test) for test in (np.argsort(y, kind="stable")[f::5] for f in range(5))]
    for folds in (loso, five):
        study = Study.of(y, np.arange(n), np.unique(y), [folds], balanced=balanced)
        (made,) = dummy(study)
        assert one("balanced_accuracy", made.units) == pytest.approx(1 / len(counts), abs=1e-12)
        assert folds is loso or one("auroc", made.units) == 0.5
        # Leaving people out of training as well.
        weights = (study.group_of_unit[None] != np.arange(n)[:, None]).astype(float)
        np.testing.assert_allclose(scores("balanced_accuracy", made.without, weights), 1 / len(counts), atol=1e-12)


@pytest.mark.parametrize("names", [("pain", "control"), ("a", "z"), ("1", "0")])
def test_names_of_classes_change_no_score(rng, names):
    """Which class is first by name decides nothing, once the positive one is named."""
    x = rng.normal(size=(40, 5))
    sick = np.arange(40) % 4 == 0
    x[sick] += 0.7
    table = pd.DataFrame({"subject": np.arange(40)})
    folds = [(np.flatnonzero(np.arange(40) // 4 % 5 != f), np.flatnonzero(np.arange(40) // 4 % 5 == f)) for f in range(5)]
    tables = []
    for yes, no in (names, names[::-1]):
        result = sm.evaluate(x, table.assign(y=np.where(sick, yes, no)), "y", cv=folds, positive=yes, permutations=9)
        tables.append(result.table.set_index(["row", "metric"]))
    first, second = tables
    drawn = first.index.get_level_values("row") == "permuted labels"  # draws are of the classes' numbers
    for column in ("value", "low", "high"):
        np.testing.assert_allclose(first.loc[~drawn, column], second.loc[~drawn, column], atol=1e-7, rtol=1e-7)
