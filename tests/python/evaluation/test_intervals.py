"""Intervals, comparisons and the test against chance, on cohorts whose truth is known.

Every commit draws a few cohorts, which finds gross errors; ``make soak`` draws 500, as many as the bounds ask for.
"""

import numpy as np
import pandas as pd
import pytest
import simulate
from scipy.stats import norm
from soak import at_most, simulations

from sslmed.evaluation import scoring
from sslmed.evaluation.crossfit import Pipeline, Study, cross_fit, dummy, given
from sslmed.evaluation.intervals import LEAST, difference, estimate, from_scores
from sslmed.evaluation.permutation import chance_level

CLASSES, VALUES = ("balanced_accuracy", "auroc"), ("mae", "r2", "r")


def design(n, cv):
    """Folds of n people, classes in turn."""
    if cv == "loso":
        return [(np.delete(np.arange(n), i), np.array([i])) for i in range(n)]
    return [(np.flatnonzero(np.arange(n) // 2 % cv != f), np.flatnonzero(np.arange(n) // 2 % cv == f)) for f in range(cv)]


@simulations(12, 500)
@pytest.mark.parametrize(("n", "recordings", "thin"), [(20, 1, False), (20, 4, True), (40, 1, False), (40, 4, False), (100, 1, False), (100, 4, False)])
@pytest.mark.parametrize("metrics", [CLASSES, VALUES], ids=["classes", "values"])
@pytest.mark.parametrize("effect", [1.0, 0.0])
def test_intervals_hold_the_expected_score(rng, metrics, n, recordings, thin, effect, simulations):
    if simulations < 300 and not (thin and effect):
        pytest.skip("drawn by make soak")
    found = simulate.intervals(rng, simulations, metrics, n, recordings=recordings, effect=effect, regression=metrics is VALUES)
    covered, width, truth = simulate.coverage(found)
    for metric, share, wide, expected in zip(metrics, covered, width, truth, strict=True):
        print(f"n={n}, {recordings} recordings, effect {effect}: {metric} {expected:.3f}: held by {share:.3f} of intervals of width {wide:.3f}")
    assert all(at_most(round((1 - share) * simulations), 0.07, simulations) for share in covered)
    assert (found[:, :, 1] <= found[:, :, 0]).all()
    assert (found[:, :, 0] <= found[:, :, 2]).all()


@simulations(200, 2000)
@pytest.mark.parametrize("metric", CLASSES)
def test_intervals_of_a_fixed_classifier(rng, metric, simulations):
    """Ten people a class, of whom nine in ten are told right; predictions are given, and nothing is fitted."""
    y, folds = np.arange(20) % 2, design(20, 5)
    d = -2 * norm.ppf(0.1)  # distance of the classes at which a cut in the middle is right nine times in ten
    truth = 0.9 if metric == "balanced_accuracy" else norm.cdf(d / np.sqrt(2))
    held, widths = 0, []
    for _ in range(simulations):
        score = rng.normal(size=20) + d * (y - 0.5)
        p = 1 / (1 + np.exp(-d * score))
        study = Study.of(y, np.arange(20), np.array(["a", "b"]), [folds])
        found = estimate(study, metric, given(study, [np.stack([1 - p, p], axis=1)]))
        held, widths = held + (found.low <= truth <= found.high), [*widths, found.high - found.low]
    print(f"{metric} of a fixed classifier: {held / simulations:.3f} held, width {np.mean(widths):.3f}")
    assert at_most(simulations - held, 0.07, simulations)
    assert np.mean(widths) < 0.5


@simulations(10, 500)
@pytest.mark.parametrize(("n", "thin"), [(20, True), (40, False)])
@pytest.mark.parametrize(("metric", "effect"), [("balanced_accuracy", 0.0), ("balanced_accuracy", 1.5), ("mae", 1.0)])
def test_equal_encoders_are_told_apart_as_rarely_as_promised(rng, n, thin, metric, effect, simulations):
    if simulations < 300 and not (thin and effect):
        pytest.skip("drawn by make soak")
    found = simulate.differences(rng, simulations, metric, n, effect=effect, regression=metric == "mae")
    rejected = int((found[:, 3] <= 0.05).sum())
    print(f"{metric}, n={n}, effect {effect}: equal encoders differ in {rejected / simulations:.3f} of {simulations} cohorts")
    assert at_most(rejected, 0.07, simulations)
    known = np.isfinite(found[:, 3])
    assert ((found[known, 3] <= 0.05) == ((found[known, 1] >= 0) | (found[known, 2] <= 0))).all()  # p and the interval say the same


@simulations(12, 500)
@pytest.mark.parametrize("cv", ["loso", 5])
def test_noise_is_taken_for_more_than_chance_as_rarely_as_promised(rng, cv, simulations):
    """The permutation test refits everything, and its folds do not look at the labels: that of LOSO is not below chance by itself."""
    n, y = 24, np.arange(24) % 2
    p = []
    for i in range(simulations):
        study = Study.of(y, np.arange(n), np.array(["a", "b"]), [design(n, cv)])
        found = chance_level(study, Pipeline(rng.normal(size=(n, 10))), ("balanced_accuracy",), folds=n if cv == "loso" else cv, draws=39, seed=i)
        p.append(found.p("balanced_accuracy"))
    rejected = int((np.array(p) <= 0.05).sum())
    print(f"noise, {cv}: p <= .05 in {rejected / simulations:.3f} of {simulations} cohorts")
    assert at_most(rejected, 0.07, simulations)
    assert simulations < 300 or rejected / simulations >= 0.02  # scores are ties of a few values, which makes p a little large


def test_a_signal_is_far_from_chance(rng):
    x, table = simulate.people(rng, 24, effect=4.0)
    study = simulate.study(table, repeats=1)
    found = chance_level(study, Pipeline(x), ("balanced_accuracy", "auroc", "brier"), folds=5, draws=39)
    for metric in ("balanced_accuracy", "auroc", "brier"):
        assert found.p(metric) == 1 / 40
        assert np.isfinite(found.permuted[metric]).all()
    again = chance_level(study, Pipeline(x), ("auroc",), folds=5, draws=39)
    np.testing.assert_array_equal(again.permuted["auroc"], found.permuted["auroc"])
    loso = chance_level(study, Pipeline(x), ("auroc",), folds=24, draws=3)
    assert np.isnan(loso.p("auroc"))  # no area within folds of one person, and no p value of it


@pytest.mark.parametrize("regression", [False, True])
def test_permuted_labels_stay_with_people(rng, regression):
    from sslmed.evaluation.permutation import _permuted

    person = np.repeat(np.arange(12), [1, 2, 3] * 4)
    of_person = rng.normal(size=12) if regression else np.arange(12) % 2
    study = Study.of(of_person[person].astype(float if regression else int), person, None if regression else np.array(["a", "b"]), [])
    dealt = [_permuted(study, rng) for _ in range(20)]
    for y in dealt:
        assert all(len(set(y[person == i])) == 1 for i in range(12))
        assert sorted(y[np.unique(person, return_index=True)[1]]) == sorted(of_person)
    assert len({tuple(y) for y in dealt}) > 10


def test_a_person_of_two_labels_does_not_pin_those_of_the_others(rng):
    """Constant people exchange labels although one person has both."""
    from sslmed.evaluation.permutation import _permuted

    person = np.repeat(np.arange(12), 2)
    y = (person % 2).astype(int)
    y[:2] = [0, 1]
    study = Study.of(y, person, np.array(["a", "b"]), [])
    dealt = np.stack([_permuted(study, rng) for _ in range(30)])
    assert (dealt[:, :2].sum(axis=1) == 1).all()
    assert (dealt[:, 2::2] == dealt[:, 3::2]).all()
    assert (dealt.sum(axis=1) == y.sum()).all()
    assert len(np.unique(dealt[:, 2:], axis=0)) > 20


def test_values_that_vary_within_people_are_exchanged_between_them(rng):
    """Ages at several visits: a null in which everybody keeps their age would score as well as the truth."""
    from sslmed.evaluation.permutation import _permuted

    person = np.repeat(np.arange(30), 3)
    y = np.repeat(rng.uniform(20, 80, 30), 3) + rng.normal(size=90)
    study = Study.of(y, person, None, [])
    dealt = _permuted(study, rng)
    level, moved = np.bincount(person, y) / 3, np.bincount(person, dealt) / 3
    assert np.allclose(np.sort(level), np.sort(moved))
    assert abs(np.corrcoef(level, moved)[0, 1]) < 0.6
    for i in range(30):
        assert np.allclose(np.sort(y[person == i] - level[i]), np.sort(dealt[person == i] - moved[i]))
    x = np.repeat(rng.normal(size=(30, 3)), 3, axis=0)
    x[:, 0] += y / 10
    found = chance_level(study, Pipeline(x), ("mae", "r2"), folds=5, draws=39)
    assert found.permuted["r2"].mean() < 0.1 < 0.4 < found.observed["r2"]
    assert found.p("mae") == 1 / 40


@pytest.mark.parametrize(("n", "classes", "told"), [(2 * LEAST, 2, True), (2 * LEAST - 1, 2, False), (LEAST, 1, True), (LEAST - 1, 1, False)])
def test_few_people_have_no_interval(rng, n, classes, told):
    y = rng.normal(size=n) if classes == 1 else np.arange(n) % 2
    order = np.arange(n) // classes % 3
    folds = [(np.flatnonzero(order != f), np.flatnonzero(order == f)) for f in range(3)]
    study = Study.of(y, np.arange(n), None if classes == 1 else np.array(["a", "b"]), [folds])
    made, other = cross_fit(study, Pipeline(rng.normal(size=(n, 3)))), cross_fit(study, Pipeline(rng.normal(size=(n, 3))))
    metric = "mae" if classes == 1 else "balanced_accuracy"
    a, b = estimate(study, metric, made), estimate(study, metric, other)
    assert np.isfinite(a.value)
    assert np.isfinite([a.low, a.high]).all() == told
    assert np.isfinite(difference(study, a, b, made, other)[1:]).all() == told


def test_many_recordings_of_few_people_are_few_people(rng):
    """A perfect score of ten people a class is no more certain because each has fifty recordings."""
    widths = {}
    for per in (1, 50):
        y, person = np.repeat(np.arange(20) % 2, per), np.repeat(np.arange(20), per)
        rows = [(np.flatnonzero(~np.isin(person, test)), np.flatnonzero(np.isin(person, test))) for _, test in design(20, 5)]
        study = Study.of(y, person, np.array(["a", "b"]), [rows], level="recording")
        p = np.where(y == 1, 0.9, 0.1) + 0.01 * rng.random(len(y))
        made = given(study, [np.stack([1 - p, p], axis=1)])
        for metric in (*CLASSES, "sensitivity"):
            found = estimate(study, metric, made)
            assert found.value == found.high == 1
            widths[metric, per] = found.high - found.low
    assert all(widths[metric, 50] == pytest.approx(widths[metric, 1], rel=0.05) for metric in (*CLASSES, "sensitivity"))


def test_an_interval_does_not_depend_on_which_class_is_positive(rng):
    n, order = 48, np.arange(48) // 4 % 5
    y, folds = (np.arange(n) % 4 == 0).astype(int), [(np.flatnonzero(order != f), np.flatnonzero(order == f)) for f in range(5)]
    p = np.clip(0.5 + 0.3 * (y - 0.5) + 0.05 * rng.normal(size=n), 0.01, 0.99)
    ends = []
    for labels, columns in ((y, [1 - p, p]), (1 - y, [p, 1 - p])):
        for positive in (0, 1):
            study = Study.of(labels, np.arange(n), np.array(["a", "b"]), [folds], positive=positive)
            found = estimate(study, "auroc", given(study, [np.stack(columns, axis=1)]))
            ends.append((found.value, found.low, found.high))
    np.testing.assert_allclose(ends, [ends[0]] * 4, atol=1e-9)


def test_what_is_left_out_is_left_out_of_training_and_test(rng):
    """Against fits without each person, with the strength, the means and the deviations of all."""
    from sslmed.evaluation.linear import fit_linear

    x, table = simulate.people(rng, 15, regression=True, effect=1.0, dims=4)
    study = simulate.study(table, regression=True, repeats=1, cv=3)
    (made,) = cross_fit(study, Pipeline(x))
    g = 4
    expected = np.full(15, np.nan)
    for train, test in study.repeats[0]:
        mean, scale = x[train].mean(axis=0), x[train].std(axis=0)
        strength = fit_linear(x[train], study.y[train], x[test], np.arange(len(train))).strength
        from sklearn.linear_model import Ridge

        kept = train[train != g]
        expected[test] = Ridge(alpha=strength[0]).fit((x[kept] - mean) / scale, study.y[kept]).predict((x[test] - mean) / scale)
    order = study.unit  # rows in the order of the units
    np.testing.assert_allclose(made.without.predicted[study.group_of_unit[study.unit[g]]][order], expected, atol=1e-8)
    found = estimate(study, "mae", [made])
    others = np.arange(15) != g
    assert found.left_out[study.group[g]] == pytest.approx(np.abs(expected - study.y)[others].mean(), abs=1e-9)
    assert found.value == pytest.approx(np.abs(made.rows - study.y).mean(), abs=1e-12)


def test_units_are_people_or_each_of_their_labels(rng):
    person, y = np.repeat(np.arange(10), 4), np.tile([0, 0, 1, 1], 10)
    folds = [(np.flatnonzero(person % 5 != f), np.flatnonzero(person % 5 == f)) for f in range(5)]
    p = rng.random(40)
    predicted = np.stack([1 - p, p], axis=1)
    by_state = given(Study.of(y, person, np.array(["a", "b"]), [folds]), [predicted])[0]
    assert len(by_state.units.truth) == 20
    np.testing.assert_allclose(by_state.units.predicted[0][:, 1], p.reshape(10, 2, 2).mean(axis=2).ravel())
    by_row = given(Study.of(y, person, np.array(["a", "b"]), [folds], level="recording"), [predicted])[0]
    np.testing.assert_array_equal(by_row.units.predicted[0], predicted)
    constant = np.repeat(np.arange(10) % 2, 4)
    by_person = given(Study.of(constant, person, np.array(["a", "b"]), [folds]), [predicted])[0]
    assert by_person.units.truth.tolist() == [0, 1] * 5
    np.testing.assert_allclose(by_person.units.predicted[0][:, 1], p.reshape(10, 4).mean(axis=1))


def test_a_dummy_has_no_difference_from_itself_and_exact_scores(rng):
    _, table = simulate.people(rng, 24)
    study = simulate.study(table, repeats=2)
    made = dummy(study)
    area = estimate(study, "auroc", made, exact=0.5)
    assert (area.value, np.isnan(area.low)) == (0.5, True)
    assert np.isnan(difference(study, area, area, made, made)[1:]).all()
    assert estimate(study, "auroc", made).value == 0.5


def test_many_people_are_left_out_in_groups(rng):
    n = 450
    y = rng.permutation(np.arange(n) % 10 == 0).astype(int)
    study = Study.of(y, [f"p{i}" for i in range(n)], np.array(["a", "b"]), [])
    assert study.group.max() == 199
    assert np.bincount(study.group).max() - np.bincount(study.group).min() <= 1
    assert np.bincount(study.group, y).max() <= 1  # cases are spread over the groups
    two = Study.of(np.repeat(y, 2), np.repeat([f"p{i}" for i in range(n)], 2), np.array(["a", "b"]), [])
    assert (two.group[::2] == two.group[1::2]).all()


def test_a_score_from_elsewhere_has_the_variance_of_the_jackknife(rng):
    n = 30
    table = pd.DataFrame({"subject": [f"p{i}" for i in range(n)], "y": np.where(np.arange(n) % 2, "b", "a")})
    study = simulate.study(table, repeats=1)
    made = cross_fit(study, Pipeline(rng.normal(size=(n, 3))))
    values = 0.5 + 0.3 * rng.normal(size=n) / np.sqrt(n)
    found = from_scores(study, "auroc", np.array([0.5]), values[None], made)
    assert found.variance == pytest.approx((n - 1) / n * ((values - values.mean()) ** 2).sum())
    assert found.low < 0.5 < found.high
    assert np.isnan(from_scores(study, "auroc", np.array([np.nan]), values[None], made).low)


def test_every_score_has_a_place():
    known = {*scoring.CLASSIFICATION, *scoring.POSITIVE, *scoring.REGRESSION}
    assert set(scoring.CHANCE) <= known
    assert set(scoring.HIGHER) <= known
