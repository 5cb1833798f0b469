"""The linear probes: scikit-learn's solutions, all label vectors at once, and the effect of leaving groups of people out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from sslmed.evaluation.linear import ALPHAS, STRENGTHS, fit_linear

TIGHT = {"solver": "newton-cholesky", "tol": 1e-14, "max_iter": 1000}


def scaled(x, x_test):
    scaler = StandardScaler().fit(x)
    return scaler.transform(x), scaler.transform(x_test)


def logistic(x, y, x_test, c, classes=2, *, balanced=False, weights=None):
    """Probabilities [m, classes] by scikit-learn."""
    z, z_test = scaled(x, x_test)
    model = LogisticRegression(C=c, class_weight="balanced" if balanced else None, **TIGHT).fit(z, y, sample_weight=weights)
    out = np.zeros((len(x_test), classes))
    out[:, model.classes_] = model.predict_proba(z_test)
    return out


def ridge(x, y, x_test, alpha, weights=None):
    z, z_test = scaled(x, x_test)
    return Ridge(alpha=alpha, solver="cholesky").fit(z, y, sample_weight=weights).predict(z_test)


def data(rng, n=40, d=6, m=15, classes=2):
    x, x_test = rng.normal(size=(n, d)) * rng.uniform(0.1, 30, d) + rng.normal(size=d) * 5, rng.normal(size=(m, d))
    y = rng.permutation(np.arange(n) % classes)
    x[:, 0] += y * x[:, 0].std()
    return x, y, x_test


@pytest.mark.filterwarnings("ignore", category=ConvergenceWarning)
@pytest.mark.parametrize("c", [1e-4, 0.01, 1.0, 100.0])
@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize(("n", "d", "classes"), [(40, 6, 2), (30, 90, 2), (60, 8, 3), (24, 60, 4), (12, 1, 2)])
def test_logistic_regression_is_that_of_scikit_learn(rng, n, d, classes, balanced, c):
    x, y, x_test = data(rng, n, d, classes=classes)
    y[: n // 4] = 0  # classes of different size
    y[-classes:] = np.arange(classes)
    made = fit_linear(x, y, x_test, np.arange(n), classes=classes, balanced=balanced, strengths=[c])
    assert made.predicted.shape == (1, len(x_test), classes)
    np.testing.assert_allclose(made.predicted[0], logistic(x, y, x_test, c, classes, balanced=balanced), atol=1e-6)
    np.testing.assert_allclose(made.predicted.sum(axis=-1), 1, atol=1e-12)
    assert made.strength.tolist() == [c]


@pytest.mark.parametrize("alpha", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize(("n", "d"), [(40, 6), (20, 80), (10, 1)])
def test_ridge_regression_is_that_of_scikit_learn(rng, n, d, alpha):
    x, _, x_test = data(rng, n, d)
    y = 40 + 10 * rng.normal(size=n)
    weights = rng.uniform(0.2, 3, n)
    for given_weights in (None, weights):
        made = fit_linear(x, y, x_test, np.arange(n), weights=given_weights, strengths=[alpha])
        np.testing.assert_allclose(made.predicted[0], ridge(x, y, x_test, alpha, given_weights), atol=1e-6)


def test_weights_are_those_of_scikit_learn(rng):
    x, y, x_test = data(rng, 30, 5)
    weights = rng.uniform(0.2, 3, 30)
    made = fit_linear(x, y, x_test, np.arange(30), classes=2, weights=weights, strengths=[0.3])
    np.testing.assert_allclose(made.predicted[0], logistic(x, y, x_test, 0.3, weights=weights), atol=1e-6)
    # Balanced classes are alike in weight, not in number. Some versions of scikit-learn count rows here: the weights are made by hand.
    of_class = np.bincount(y, weights)
    made = fit_linear(x, y, x_test, np.arange(30), classes=2, weights=weights, balanced=True, strengths=[0.3])
    np.testing.assert_allclose(made.predicted[0], logistic(x, y, x_test, 0.3, weights=weights * weights.sum() / (2 * of_class[y])), atol=1e-6)


def test_columns_that_are_constant_in_training_say_nothing(rng):
    x, y, x_test = data(rng, 30, 5)
    for value in (0.0, 3.0, 1 / 3, 1e9 / 7):
        x[:, 2] = value
        made = fit_linear(x, y, x_test, np.arange(30), classes=2, strengths=[0.1])
        np.testing.assert_allclose(made.predicted[0], logistic(x, y, x_test, 0.1), atol=1e-6)
    nothing = fit_linear(np.full((30, 2), 7.0), y, np.full((4, 2), 7.0), np.arange(30), classes=2)
    np.testing.assert_allclose(nothing.predicted[0, :, 1], y.mean(), atol=1e-9)
    values = rng.normal(size=30)
    np.testing.assert_allclose(fit_linear(np.ones((30, 40)), values, np.ones((4, 40)), np.arange(30)).predicted[0], values.mean(), atol=1e-9)


def test_repeated_columns_and_rows_are_no_trouble(rng):
    x, y, x_test = data(rng, 20, 3)
    x, x_test = np.tile(x, (2, 10)), np.tile(x_test, (1, 10))
    y = np.tile(y, 2)
    made = fit_linear(x, y, x_test, np.tile(np.arange(20), 2), classes=2, strengths=[0.1])
    np.testing.assert_allclose(made.predicted[0], logistic(x, y, x_test, 0.1), atol=1e-6)
    made = fit_linear(x, x[:, 0], x_test, np.tile(np.arange(20), 2), strengths=[1.0])
    np.testing.assert_allclose(made.predicted[0], ridge(x, x[:, 0], x_test, 1.0), atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_classes_that_are_told_apart_perfectly(rng, classes):
    """The likelihood alone has no maximum here; the penalty gives it one."""
    y = np.arange(30) % classes
    x = rng.normal(size=(30, 4)) + 50.0 * np.eye(4)[y]
    made = fit_linear(x, y, x, np.arange(30), classes=classes, strengths=[1.0])
    np.testing.assert_allclose(made.predicted[0], logistic(x, y, x, 1.0, classes), atol=1e-6)
    assert (made.predicted[0].argmax(axis=1) == y).all()


@pytest.mark.parametrize("classes", [None, 2, 3])
def test_many_label_vectors_are_each_fitted_as_if_alone(rng, classes):
    x, _, x_test = data(rng, 30, 8)
    groups = np.repeat(np.arange(15), 2)
    many = rng.normal(size=(7, 30)) if classes is None else rng.integers(0, classes, (7, 30))
    together = fit_linear(x, many, x_test, groups, classes=classes)
    assert len(together.predicted) == len(together.strength) == 7
    for one, predicted, strength in zip(many, together.predicted, together.strength, strict=True):
        alone = fit_linear(x, one, x_test, groups, classes=classes)
        assert alone.strength[0] == strength
        np.testing.assert_allclose(alone.predicted[0], predicted, atol=1e-8)


def test_label_vectors_may_lack_classes(rng):
    x, _, x_test = data(rng, 12, 4)
    many = np.stack([np.arange(12) % 3, np.arange(12) % 2, 2 * (np.arange(12) % 2), np.ones(12, int)])
    made = fit_linear(x, many, x_test, np.arange(12), classes=3, strengths=[0.1], left_out=np.arange(12))
    for labels, predicted in zip(many[:3], made.predicted[:3], strict=True):
        np.testing.assert_allclose(predicted, logistic(x, labels, x_test, 0.1, 3), atol=1e-6)
    assert (made.predicted[1, :, 2] == 0).all()
    assert (made.predicted[2, :, 1] == 0).all()
    np.testing.assert_array_equal(made.predicted[3], np.tile([0.0, 1.0, 0.0], (len(x_test), 1)))
    only = fit_linear(x, np.ones(12, int), x_test, np.arange(12), classes=3, left_out=np.arange(12))
    np.testing.assert_array_equal(only.without, np.tile([0.0, 1.0, 0.0], (12, len(x_test), 1)))
    absent = fit_linear(x, many[1], x_test, np.arange(12), classes=3, left_out=np.arange(12))
    assert (absent.without[..., 2] == 0).all()
    np.testing.assert_allclose(absent.without.sum(axis=-1), 1, atol=1e-12)


@pytest.mark.parametrize("d", [5, 60])
@pytest.mark.parametrize("per", [1, 3])
def test_leaving_groups_out_of_a_ridge_is_exact(rng, d, per):
    """But for the columns' means and deviations, which stay those of all training rows: nobody is left out of features already standardized."""
    n = 30
    x, _, x_test = data(rng, n, d)
    y, groups = rng.normal(size=n), np.repeat(np.arange(n // per), per)
    groups[groups == 2] = -1  # of no group
    persons = np.repeat(np.arange(n // per), per)
    for weights in (None, rng.uniform(0.5, 2, n)):
        made = fit_linear(x, y, x_test, persons, strengths=[3.0], left_out=groups, weights=weights)
        z, z_test = scaled(x, x_test)
        assert made.without.shape == (n // per, len(x_test))
        for g in range(n // per):
            kept = groups != g
            model = Ridge(alpha=3.0, solver="cholesky").fit(z[kept], y[kept], sample_weight=None if weights is None else weights[kept])
            np.testing.assert_allclose(made.without[g], model.predict(z_test), atol=1e-8)
            held = persons == g
            alone = Ridge(alpha=3.0, solver="cholesky").fit(z[~held], y[~held], sample_weight=None if weights is None else weights[~held])
            np.testing.assert_allclose(made.out_of_person[held], alone.predict(z[held]), atol=1e-8)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("d", [5, 60])
def test_leaving_groups_out_of_a_logistic_regression_is_close(rng, classes, d):
    """One Newton step: most of the way from the fit with a person to that without, for persons of one or two rows."""
    n = 48
    x, y, x_test = data(rng, n, d, classes=classes)
    persons = np.concatenate([np.arange(16), np.repeat(np.arange(16, 32), 2)])
    z, z_test = scaled(x, x_test)
    for c in (STRENGTHS[1], STRENGTHS[3]):
        made = fit_linear(x, y, x_test, persons, classes=classes, strengths=[c], left_out=persons)
        exact = np.empty_like(made.without)
        for g in range(32):
            kept = persons != g
            exact[g] = LogisticRegression(C=c, **TIGHT).fit(z[kept], y[kept]).predict_proba(z_test)
        moved, missed = np.abs(exact - made.predicted[0]), np.abs(exact - made.without)
        assert missed.mean() < 0.15 * moved.mean()
        assert missed.max() < 0.3 * moved.max()
        np.testing.assert_allclose(made.without.sum(axis=-1), 1, atol=1e-12)


@pytest.mark.parametrize("classes", [None, 2])
def test_the_strength_is_that_of_the_best_predictions_of_left_out_persons(rng, classes):
    n = 40
    for effect in (0.0, 3.0):
        x = rng.normal(size=(n, 10))
        signal = effect * x[:, 0] + rng.normal(size=n)
        y = signal if classes is None else (signal > np.median(signal)).astype(int)
        persons = np.repeat(np.arange(20), 2)
        strengths = ALPHAS if classes is None else STRENGTHS
        made = fit_linear(x, y, x[:3], persons, classes=classes)
        z, _ = scaled(x, x)
        losses = []
        for strength in strengths:
            loss = 0.0
            for g in range(20):
                kept = persons != g
                if classes is None:
                    loss += ((Ridge(alpha=strength).fit(z[kept], y[kept]).predict(z[~kept]) - y[~kept]) ** 2).sum()
                else:
                    p = LogisticRegression(C=strength, **TIGHT).fit(z[kept], y[kept]).predict_proba(z[~kept])
                    loss -= np.log(p[np.arange(2), y[~kept]]).sum()
            losses.append(loss)
        # Logistic losses come from one Newton step: the choice is nearly the best where it is not the very same.
        assert losses[list(strengths).index(made.strength[0])] <= min(losses) * (1 if classes is None else 1.1) + 1e-9


def test_an_emphasized_column_is_shrunk_less(rng):
    x, _, x_test = data(rng, 30, 4)
    y, factor = rng.normal(size=30), np.array([1, 10, 1, 1.0])
    made = fit_linear(x, y, x_test, np.arange(30), strengths=[20.0], emphasis=factor)
    z, z_test = scaled(x, x_test)
    np.testing.assert_allclose(made.predicted[0], Ridge(alpha=20.0).fit(z * factor, y).predict(z_test * factor), atol=1e-8)


def test_a_training_part_of_one_person(rng):
    """Nobody is left without that person, which is no reason to fail."""
    x, x_test = rng.normal(size=(4, 3)), rng.normal(size=(2, 3))
    for rows in (1, 4):
        person = np.zeros(rows, int)
        made = fit_linear(x[:rows], np.arange(rows, dtype=float), x_test, person, left_out=person)
        assert np.isfinite(made.predicted).all()
        assert np.isfinite(made.without).all()
    made = fit_linear(x, np.array([0, 1, 0, 1]), x_test, np.zeros(4, int), classes=2, left_out=np.zeros(4, int))
    assert np.isfinite(made.predicted).all()
    assert np.isfinite(made.without).all()


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 25), d=st.integers(1, 40), m=st.integers(1, 5), classes=st.sampled_from([None, 2, 3]), per=st.integers(1, 4), seed=st.integers(0, 2**16)
)
def test_any_shape_gives_finite_predictions(n, d, m, classes, per, seed):
    rng = np.random.default_rng(seed)
    x, x_test = rng.normal(size=(n, d)), rng.normal(size=(m, d))
    if seed % 3 == 0:
        x = np.round(x)  # ties, and columns that may be constant
    y = rng.normal(size=n) if classes is None else rng.integers(0, classes, n)
    persons = np.arange(n) // per
    made = fit_linear(x, y, x_test, persons, classes=classes, left_out=persons)
    wide = () if classes is None else (classes,)
    assert made.predicted.shape == (1, m, *wide)
    assert made.without.shape == (persons.max() + 1, m, *wide)
    assert np.isfinite(made.predicted).all()
    assert np.isfinite(made.without).all()
    if classes is not None:
        np.testing.assert_allclose(made.without.sum(axis=-1), 1, atol=1e-9)
        assert (made.predicted >= 0).all()
