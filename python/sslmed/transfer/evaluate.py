"""Probes, subject-level folds, and scores with intervals over subjects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

__all__ = ["METRICS", "auroc", "bootstrap", "cross_predict", "fit_predict", "is_regression", "probe", "score"]

Array = np.ndarray[Any, Any]

METRICS = {"classification": ("balanced_accuracy", "auroc"), "regression": ("mae", "r2", "r")}


def is_regression(target: Array) -> bool:
    """A numeric target is regressed, unless it is made of a few whole numbers that repeat: those are classes."""
    if not np.issubdtype(target.dtype, np.number):
        return False
    values = np.unique(target)
    classes = len(values) <= 10 and len(target) >= 3 * len(values) and np.array_equal(values, np.round(values))
    return not classes


def probe(protocol: str, regression: bool) -> Any:
    """A scikit-learn estimator; scaling and regularisation are fitted on the training subjects alone.

    Raises:
        ValueError: An unknown protocol.
    """
    if protocol == "dummy":
        return DummyRegressor() if regression else DummyClassifier(strategy="prior")
    if protocol == "knn":
        return make_pipeline(StandardScaler(), KNeighborsRegressor(5) if regression else KNeighborsClassifier(5))
    if protocol == "linear":
        if regression:
            return make_pipeline(StandardScaler(), Ridge())
        return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, class_weight="balanced"))
    raise ValueError(f"unknown protocol {protocol!r}; there are 'linear' and 'knn'")


def _balanced_accuracy(model: Any, x: Array, y: Array) -> float:
    """Mean recall over the classes that are there: an inner fold may lack one."""
    right = model.predict(x) == y
    return float(np.mean([right[y == c].mean() for c in np.unique(y)]))


def _fit(protocol: str, regression: bool, x: Array, y: Array, groups: Array) -> Any:
    model = probe(protocol, regression)
    subjects = len(np.unique(groups))
    if protocol != "linear" or subjects < 4:
        return model.fit(x, y)
    # The strength of regularisation by folds over the training subjects: nested, so that test subjects have no say.
    grid = {"ridge__alpha": np.logspace(0, 4, 5)} if regression else {"logisticregression__C": np.logspace(-4, 0, 5)}
    search = GridSearchCV(
        model,
        grid,
        cv=GroupKFold(min(4, subjects)),
        scoring="neg_mean_absolute_error" if regression else _balanced_accuracy,
        error_score="raise",
    )
    return search.fit(x, y, groups=groups).best_estimator_


def _scores_of(model: Any, x: Array, regression: bool, classes: Array) -> Array:
    """[n] predictions, or [n, classes] probabilities with a column for every class of the cohort."""
    if regression:
        return np.asarray(model.predict(x))
    out = np.zeros((len(x), len(classes)))
    out[:, np.searchsorted(classes, model.classes_)] = model.predict_proba(x)
    return out


def cross_predict(x: Array, y: Array, groups: Array, folds: Any, protocol: str, regression: bool) -> Array:
    """Out-of-fold predictions; every row is predicted by a model that never saw its subject.

    Args:
        x: [n, D] features.
        y: [n] target.
        groups: [n] subjects.
        folds: (train, test) positions that cover every row once in a test part.
        protocol: "linear", "knn" or "dummy".
        regression: Kind of target.
    """
    classes = np.unique(y)
    out = np.full(len(y), np.nan) if regression else np.full((len(y), len(classes)), np.nan)
    for train, test in folds:
        model = _fit(protocol, regression, x[train], y[train], groups[train])
        out[test] = _scores_of(model, x[test], regression, classes)
    return out


def fit_predict(x: Array, y: Array, groups: Array, x_test: Array, classes: Array, protocol: str, regression: bool) -> Array:
    """Predictions for other subjects by a probe fitted on all of x."""
    return _scores_of(_fit(protocol, regression, x, y, groups), x_test, regression, classes)


def score(metric: str, y: Array, predicted: Array, classes: Array | None = None) -> float:
    """One of :data:`METRICS`; NaN where it is not defined (a class is missing)."""
    if metric == "mae":
        return float(np.abs(y - predicted).mean())
    if metric == "r2":
        spread = ((y - y.mean()) ** 2).sum()
        return float(1 - ((y - predicted) ** 2).sum() / spread) if spread > 0 else float("nan")
    if metric == "r":
        constant = np.ptp(predicted) == 0 or np.ptp(y) == 0
        return float("nan") if constant else float(np.corrcoef(y, predicted)[0, 1])
    assert classes is not None
    if metric == "balanced_accuracy":
        right = classes[np.argmax(predicted, axis=1)] == y
        return float(np.mean([right[y == c].mean() for c in np.unique(y)]))
    if metric != "auroc":
        raise ValueError(f"unknown metric {metric!r}; there are {', '.join(sum(METRICS.values(), ()))}")
    if len(np.unique(y)) < len(classes):
        return float("nan")
    columns = [1] if len(classes) == 2 else range(len(classes))
    return float(np.mean([auroc(y == classes[i], predicted[:, i]) for i in columns]))


def auroc(positive: Array, scores: Array) -> float:
    """Area under the ROC curve by ranks, ties counted half; NaN without both classes."""
    n = int(positive.sum())
    if n == 0 or n == len(positive):
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(positive) - n)))


def bootstrap(statistic: Callable[[Array], float], groups: Array, *, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of ``statistic(row positions)`` over subjects drawn with replacement."""
    rng = np.random.default_rng(seed)
    subjects, inverse = np.unique(groups, return_inverse=True)
    members = [np.flatnonzero(inverse == i) for i in range(len(subjects))]
    values = []
    for _ in range(draws):
        picked = rng.integers(len(subjects), size=len(subjects))
        values.append(statistic(np.concatenate([members[i] for i in picked])))
    finite = np.asarray(values)[np.isfinite(values)]
    if len(finite) < draws // 2:
        return float("nan"), float("nan")
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)
