"""Probes: estimators on features, fitted and applied so that no test subject has a say."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import numpy as np
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import ThreadpoolController

from sslmed._checks import choice
from sslmed._core import WeakFitWarning
from sslmed.evaluation.adaptation import ImportanceWeights, resolve
from sslmed.evaluation.brain_age import BiasCorrection, weak_slope
from sslmed.evaluation.linear import fit_linear

__all__ = ["PROBES", "Probe", "corrected_predict", "cross_predict", "fit_predict", "probe", "tangent"]

Array = np.ndarray[Any, Any]

Probe = Literal["linear", "knn", "forest", "dummy"]
"""The name of a probe."""
PROBES: tuple[Probe, ...] = ("linear", "knn", "forest", "dummy")
"""Ridge or logistic regression, five nearest neighbors, a random forest, and the frequencies of the labels alone."""

_TREES = 50  # in each of ten repeats
_LARGE = 128 << 20  # bytes of features from which on BLAS keeps its threads


def probe(protocol: Probe, regression: bool, *, seed: int = 0, balanced: bool = False) -> Any:
    """Makes an unfitted estimator of scikit-learn: what the probe of this name is, at one strength of regularization.

    Args:
        protocol: One of :data:`PROBES`.
        regression: True to regress, False to classify.
        seed: Seed of a random forest.
        balanced: Weight every class alike, instead of every row.

    Raises:
        ValueError: An unknown protocol.
    """
    choice("probe", "protocol", protocol, PROBES)
    weight = "balanced" if balanced else None
    if protocol == "forest":
        if regression:
            return RandomForestRegressor(_TREES, random_state=seed)
        return RandomForestClassifier(_TREES, class_weight=weight, random_state=seed)
    if protocol == "dummy":
        return DummyRegressor() if regression else DummyClassifier(strategy="prior")
    if protocol == "knn":
        return make_pipeline(StandardScaler(), KNeighborsRegressor(5) if regression else KNeighborsClassifier(5))
    if regression:
        return make_pipeline(StandardScaler(), Ridge())
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, class_weight=weight))


def _fitted(protocol: Probe, regression: bool, x: Array, y: Array, weights: Array | None, seed: int, balanced: bool) -> Any:
    """A fitted estimator of scikit-learn, on features [n, D] or covariances [n, C, C]."""
    if x.ndim == 3:
        from pyriemann.tangentspace import TangentSpace

        # At the Riemannian mean of the training part: labels have no part in it.
        space = TangentSpace(metric="riemann").fit(x)
        return Pipeline([("tangent", space), ("probe", _fitted(protocol, regression, space.transform(x), y, weights, seed, balanced))])
    model = probe(protocol, regression, seed=seed, balanced=balanced)
    if protocol == "knn":
        model.steps[-1][1].set_params(n_neighbors=min(5, len(x)))
    return model.fit(x, y, **_weighted(model, weights))


def tangent(x: Array, x_test: Array) -> tuple[Array, Array]:
    """Covariances [n, C, C] and [m, C, C] in the tangent space at the Riemannian mean of the former, which have the labels."""
    from pyriemann.tangentspace import TangentSpace

    space = TangentSpace(metric="riemann").fit(x)
    return np.asarray(space.transform(x)), np.asarray(space.transform(x_test))


def _one_thread(x: Array) -> AbstractContextManager[Any]:
    """One thread of BLAS for small features: threads of a thousand small products mostly wait for each other."""
    return ThreadpoolController().limit(limits=1, user_api="blas") if x.nbytes < _LARGE else nullcontext()


def _weighted(model: Any, weights: Array | None) -> dict[str, Array]:
    """Sample weights as the last step of a pipeline takes them."""
    if weights is None:
        return {}
    if not hasattr(model, "steps"):
        return {"sample_weight": weights}
    name, last = model.steps[-1]
    if isinstance(last, (KNeighborsClassifier, KNeighborsRegressor)):
        raise ValueError("protocol='knn' takes no weights, which the adaptation gives; use protocol='linear'")
    return {f"{name}__sample_weight": weights}


def _predict(model: Any, x: Array, classes: int | None) -> Array:
    """Regressed values [n], or probabilities [n, classes] with a column for every class of the cohort."""
    if classes is None:
        return np.asarray(model.predict(x))
    out = np.zeros((len(x), classes))
    out[:, model.classes_] = model.predict_proba(x)
    return out


def _voted(predicted: Array, y: Array) -> Array:
    """Shares of the neighbors' classes [m, K], where each neighbor weighs as much as its class is rare in the training rows."""
    weighted = predicted / np.maximum(np.bincount(y, minlength=predicted.shape[1]), 1)
    return np.asarray(weighted / weighted.sum(axis=1, keepdims=True))


def fit_predict(
    x: Array,
    y: Array,
    groups: Array,
    x_test: Array,
    classes: Array | None,
    protocol: Probe,
    regression: bool,
    *,
    adaptation: Any = "none",
    seed: int = 0,
    balanced: bool = False,
) -> Array:
    """Fits a probe and predicts other subjects.

    Args:
        x: Features of the training subjects [n, D], or covariances [n, C, C].
        y: Target [n].
        groups: Subject of each training row [n].
        x_test: Features of the test subjects [m, D], or covariances [m, C, C].
        classes: Names of all classes, sorted; not used by a regression.
        protocol: One of :data:`PROBES`.
        regression: True to regress, False to classify.
        adaptation: Adaptation of the training features to the test features
            (:func:`sslmed.evaluation.adaptation.resolve`).
        seed: Seed of a random forest.
        balanced: Weight every class alike, instead of every row.

    Returns:
        Probabilities [m, classes], or regressed values [m].

    Raises:
        ValueError: An unknown protocol or adaptation, no classes for a classification, or weights for nearest
            neighbors.
    """
    adapter, weights = resolve(adaptation, covariances=x.ndim == 3), None
    if not regression:
        if classes is None:
            raise ValueError("fit_predict: classes=None, but a classification needs the names of the classes")
        # By number: some estimators of scikit-learn take names that look like numbers for numbers.
        y = np.searchsorted(classes, y)
    if protocol == "knn" and isinstance(adapter, ImportanceWeights):
        raise ValueError("protocol='knn' takes no weights, which adaptation='importance' gives; use protocol='linear'")
    if adapter is not None:
        adapter.fit(x, x_test, labels=y.astype(float) if regression else y, groups=groups)
        x, x_test, weights = adapter.transform(x, "source"), adapter.transform(x_test, "target"), adapter.sample_weight_
    k = None if regression or classes is None else len(classes)
    with _one_thread(x):
        if protocol != "linear":
            predicted = _predict(_fitted(protocol, regression, x, y, weights, seed, balanced), x_test, k)
            return _voted(predicted, y) if protocol == "knn" and balanced and k is not None else predicted
        if x.ndim == 3:
            x, x_test = tangent(x, x_test)
        persons = np.unique(np.asarray(groups).astype(str), return_inverse=True)[1]
        return np.asarray(fit_linear(x, y, x_test, persons, classes=k, balanced=balanced, weights=weights).predicted[0])


def cross_predict(
    x: Array,
    y: Array,
    groups: Array,
    folds: Iterable[tuple[Array, Array]],
    protocol: Probe,
    regression: bool,
    *,
    labels: Callable[[Array], Array] | None = None,
    adaptation: Any = "none",
    seed: int = 0,
) -> Array:
    """Predicts every row by a probe that was not fitted on its subject.

    Args:
        x: Features [n, D], or covariances [n, C, C].
        y: Target [n].
        groups: Subject of each row [n].
        folds: Pairs (train, test) of row positions (:func:`sslmed.evaluation.splits`).
        protocol: One of :data:`PROBES`.
        regression: True to regress, False to classify.
        labels: Function of training positions that returns other labels for them; their own by default.
        adaptation: "none" or "identity"; the others need features of another population.
        seed: Seed of a random forest.

    Returns:
        Probabilities [n, classes], or regressed values [n]; NaN for rows that no fold tests.
    """
    classes = np.unique(y)
    out = np.full(len(y), np.nan) if regression else np.full((len(y), len(classes)), np.nan)
    for train, test in folds:
        taught = y[train] if labels is None else labels(train)
        out[test] = fit_predict(x[train], taught, groups[train], x[test], classes, protocol, regression, adaptation=adaptation, seed=seed)
    return out


def corrected_predict(
    x: Array,
    y: Array,
    groups: Array,
    folds: Iterable[tuple[Array, Array]] | None,
    protocol: Probe,
    x_test: Array | None = None,
    test_groups: Array | None = None,
    *,
    fitted_on: Array | None = None,
) -> Array:
    """Regresses a target and corrects the predictions for their bias towards the mean.

    The correction (:class:`sslmed.evaluation.brain_age.BiasCorrection`) is fitted inside the training subjects, on
    predictions by folds over them: test subjects have no say. A model that is too costly for these inner folds takes
    :func:`sslmed.evaluation.brain_age.held_out_line`.

    Args:
        x: Features [n, D].
        y: Target [n].
        groups: Subject of each row [n].
        folds: Pairs (train, test) of row positions; not used with ``x_test``.
        protocol: One of :data:`PROBES`.
        x_test: Features of other subjects [m, D], predicted by a probe that is fitted on all of ``x``.
        test_groups: Subject of each row of ``x_test`` [m].
        fitted_on: True for the rows that a correction may be fitted on [n], bool: controls. All rows by default.

    Returns:
        Corrected values [n], or [m] with ``x_test``; NaN for rows that no fold tests.

    Raises:
        ValueError: Neither folds nor ``x_test``, or ``x_test`` without ``test_groups``.

    Warns:
        WeakFitWarning: Predictions follow the target weakly: once, with the lowest slope of all folds.
    """
    if x_test is None and folds is None:
        raise ValueError("corrected_predict: folds=None, but without x_test folds are needed")
    if x_test is not None and test_groups is None:
        raise ValueError("corrected_predict: test_groups=None, but x_test needs the subject of each row")

    def corrected(train: Array, x_test: Array, test_groups: Array) -> tuple[Array, float]:
        own, allowed = (x[train], y[train], groups[train]), None if fitted_on is None else np.asarray(fitted_on)[train]
        inner = GroupKFold(min(5, len(np.unique(own[2])))).split(*own)
        predicted = cross_predict(*own, inner, protocol, True)
        with warnings.catch_warnings():  # one warning below, not one in each fold
            warnings.simplefilter("ignore", WeakFitWarning)
            correction = BiasCorrection().fit(predicted, own[1], own[2], fitted_on=allowed)
        return correction.transform(fit_predict(*own, x_test, None, protocol, True), test_groups), correction.slope_

    if x_test is not None:
        out, lowest = corrected(np.arange(len(y)), x_test, np.asarray(test_groups))
    else:
        out, lowest = np.full(len(y), np.nan), np.inf
        for train, test in folds or ():
            out[test], slope = corrected(train, x[test], groups[test])
            lowest = min(lowest, slope)
    if text := weak_slope(lowest):
        warnings.warn(text, WeakFitWarning, stacklevel=2)
    return out
