"""Probes, subject-level folds, and scores with intervals over subjects."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata, t
from sklearn import config_context
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import ThreadpoolController

from sslmed.adaptation import adapt_with, coral, importance_weights, kind_of, log_vectors, normalise, recentre, remove_identity
from sslmed.brain_age import BiasCorrection

__all__ = [
    "METRICS",
    "auprc",
    "auroc",
    "bootstrap",
    "calibration",
    "confusion",
    "corrected_predict",
    "cross_predict",
    "fit_predict",
    "probe",
    "score",
]

Array = np.ndarray[Any, Any]

_LARGE = 128 << 20  # bytes of features from which on threads of BLAS are left as they are

METRICS = {"classification": ("balanced_accuracy", "auroc", "auprc", "f1", "brier"), "regression": ("mae", "r2", "r")}


def probe(protocol: str, regression: bool, *, seed: int = 0) -> Any:
    """A scikit-learn estimator; scaling and regularisation are fitted on the training subjects alone.

    Args:
        protocol: "linear", "knn", "forest" or "dummy".
        regression: Kind of target.
        seed: Of forests.

    Raises:
        ValueError: An unknown protocol.
    """
    if protocol == "forest":
        return RandomForestRegressor(300, random_state=seed) if regression else RandomForestClassifier(300, class_weight="balanced", random_state=seed)
    if protocol == "dummy":
        return DummyRegressor() if regression else DummyClassifier(strategy="prior")
    if protocol == "knn":
        return make_pipeline(StandardScaler(), KNeighborsRegressor(5) if regression else KNeighborsClassifier(5))
    if protocol == "linear":
        if regression:
            return make_pipeline(StandardScaler(), Ridge())
        return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, class_weight="balanced"))
    raise ValueError(f"unknown protocol {protocol!r}; there are 'linear' and 'knn' on frozen features, and 'finetune', 'lora' and 'attentive'")


def _balanced_accuracy(model: Any, x: Array, y: Array) -> float:
    """Mean recall over the classes that are there: an inner fold may lack one."""
    right = model.predict(x) == y
    return float(np.mean([right[y == c].mean() for c in np.unique(y)]))


def _fit(protocol: str, regression: bool, x: Array, y: Array, groups: Array, weights: Array | None = None, seed: int = 0) -> Any:
    if x.ndim == 3:
        from pyriemann.tangentspace import TangentSpace

        # At the training part's Riemannian mean; once, because no label has a say in it.
        tangent = TangentSpace(metric="riemann").fit(x)
        return Pipeline([("tangent", tangent), ("probe", _fit(protocol, regression, tangent.transform(x), y, groups, weights, seed))])
    model = probe(protocol, regression, seed=seed)
    if protocol == "knn":
        model.steps[-1][1].set_params(n_neighbors=min(5, len(x)))
    # The strength of regularisation by folds over the training subjects: nested, so that test subjects have no say.
    inner = list(GroupKFold(4).split(x, y, groups)) if protocol == "linear" and len(np.unique(groups)) >= 4 else []
    if not regression:  # a fold that takes all subjects of one of two classes away leaves nothing to be learned
        inner = [fold for fold in inner if len(np.unique(y[fold[0]])) > 1]
    if not inner:
        with _one_thread(x):
            return model.fit(x, y, **_weighted(model, weights))
    grid = {"ridge__alpha": np.logspace(0, 4, 5)} if regression else {"logisticregression__C": np.logspace(-4, 0, 5)}
    search = GridSearchCV(
        model,
        grid,
        cv=inner,
        scoring="neg_mean_absolute_error" if regression else _balanced_accuracy,
        error_score="raise",
    )
    with _one_thread(x), config_context(enable_metadata_routing=False):  # importing skada turns it on for everybody
        return search.fit(x, y, **_weighted(model, weights)).best_estimator_


def _one_thread(x: Array) -> AbstractContextManager[Any]:
    """BLAS by itself: a probe is thousands of products of small matrices, which threads spend waiting for each other, the more so beside other work."""
    return ThreadpoolController().limit(limits=1, user_api="blas") if x.nbytes < _LARGE else nullcontext()


def _weighted(model: Any, weights: Array | None) -> dict[str, Array]:
    """Sample weights as the last step of a pipeline takes them."""
    if weights is None:
        return {}
    if not hasattr(model, "steps"):
        return {"sample_weight": weights}
    name, last = model.steps[-1]
    if isinstance(last, (KNeighborsClassifier, KNeighborsRegressor)):
        raise ValueError("nearest neighbours take no importance weights; use the protocol 'linear'")
    return {f"{name}__sample_weight": weights}


def _scores_of(model: Any, x: Array, classes: int | None) -> Array:
    """[n] predictions, or [n, classes] probabilities with a column for every class of the cohort."""
    if classes is None:
        return np.asarray(model.predict(x))
    out = np.zeros((len(x), classes))
    out[:, model.classes_] = model.predict_proba(x)
    return out


def cross_predict(
    x: Array,
    y: Array,
    groups: Array,
    folds: Any,
    protocol: str,
    regression: bool,
    *,
    labels: Callable[[Array], Array] | None = None,
    adaptation: Any = "none",
    seed: int = 0,
) -> Array:
    """Out-of-fold predictions; every row is predicted by a model that never saw its subject.

    Args:
        x: [n, D] features, or [n, C, C] covariances.
        y: [n] target.
        groups: [n] subjects.
        folds: (train, test) positions that cover every row once in a test part.
        protocol: Of :func:`probe`.
        regression: Kind of target.
        labels: What training rows are taught; their own by default.
        adaptation: "none" or "identity"; the others need a cohort to adapt to.
        seed: Of forests.
    """
    classes = np.unique(y)
    out = np.full(len(y), np.nan) if regression else np.full((len(y), len(classes)), np.nan)
    for train, test in folds:
        taught = y[train] if labels is None else labels(train)
        out[test] = fit_predict(x[train], taught, groups[train], x[test], classes, protocol, regression, adaptation=adaptation, seed=seed)
    return out


def corrected_predict(x: Array, y: Array, groups: Array, folds: Any, protocol: str, x_test: Array | None = None, test_groups: Array | None = None) -> Array:
    """Regressed predictions freed of their pull to the mean (:class:`sslmed.brain_age.BiasCorrection`).

    The correction is fitted inside the training subjects, on predictions by folds over them: those of the test part have no say.

    Args:
        x: [n, D] features.
        y: [n] target.
        groups: [n] subjects.
        folds: (train, test) positions; unused with ``x_test``.
        protocol: Of the probe.
        x_test: [m, D] features of other subjects, predicted by a probe fitted on all of x.
        test_groups: [m] theirs.
    """
    if x_test is None:
        out = np.full(len(y), np.nan)
        for train, test in folds:
            out[test] = corrected_predict(x[train], y[train], groups[train], None, protocol, x[test], groups[test])
        return out
    assert test_groups is not None
    inner = GroupKFold(min(5, len(np.unique(groups)))).split(x, y, groups)
    correction = BiasCorrection().fit(y, cross_predict(x, y, groups, inner, protocol, True), groups)
    return correction.apply(_scores_of(_fit(protocol, True, x, y, groups), x_test, None), test_groups)


def fit_predict(
    x: Array, y: Array, groups: Array, x_test: Array, classes: Array | None, protocol: str, regression: bool, *, adaptation: Any = "none", seed: int = 0
) -> Array:
    """Predictions for other subjects by a probe fitted on all of x, brought towards them by one of :data:`sslmed.adaptation.ADAPTATIONS`."""
    weights = None
    kind = kind_of(adaptation)
    if not regression:
        assert classes is not None
        y = np.searchsorted(classes, y)  # by number: names that look like numbers are taken for them here and there in scikit-learn
    if x.ndim == 3 and kind not in ("none", "identity", "importance"):
        x, x_test = recentre(x), recentre(x_test)
    elif kind in ("skada", "optimal_transport"):
        x, x_test, weights = adapt_with(adaptation, x, y.astype(float) if regression else y, x_test)
    elif kind == "identity" and x.ndim == 2:
        x, x_test = remove_identity(x, groups, x_test)
    elif kind == "normalise":
        x, x_test = normalise(x, x_test)
    elif kind == "coral":
        scaler = StandardScaler().fit(x)  # the paper's regularisation of 1 means something on this scale only
        x, x_test = scaler.transform(x), scaler.transform(x_test)
        x = coral(x, x_test)
    elif kind == "importance":
        vectors = log_vectors if x.ndim == 3 else np.asarray
        weights = importance_weights(vectors(x), vectors(x_test), groups)
    return _scores_of(_fit(protocol, regression, x, y, groups, weights, seed), x_test, None if regression or classes is None else len(classes))


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
    if metric == "f1":
        guess = classes[np.argmax(predicted, axis=1)]
        present = [c for c in classes if (y == c).any() or (guess == c).any()]
        return float(np.mean([2 * ((guess == c) & (y == c)).sum() / ((guess == c).sum() + (y == c).sum()) for c in present]))
    columns = [1] if len(classes) == 2 else list(range(len(classes)))
    if metric == "brier":
        truth = (y[:, None] == classes[columns]).astype(float)
        return float(((predicted[:, columns] - truth) ** 2).sum(axis=1).mean())
    if metric not in ("auroc", "auprc"):
        raise ValueError(f"unknown metric {metric!r}; there are {', '.join(sum(METRICS.values(), ()))}")
    if len(np.unique(y)) < len(classes):
        return float("nan")
    area = auroc if metric == "auroc" else auprc
    return float(np.mean([area(y == classes[i], predicted[:, i]) for i in columns]))


def auroc(positive: Array, scores: Array) -> float:
    """Area under the ROC curve by ranks, ties counted half; NaN without both classes."""
    n = int(positive.sum())
    if n == 0 or n == len(positive):
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(positive) - n)))


def auprc(positive: Array, scores: Array) -> float:
    """Average precision: precision at each threshold, weighted by the gain in recall; NaN without a positive."""
    total = int(positive.sum())
    if total == 0:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order])
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # ties are one threshold
    return float((np.diff(hits[last], prepend=0) / total * hits[last] / (last + 1)).sum())


def calibration(positive: Array, probability: Array, *, bins: int = 10) -> pd.DataFrame:
    """Whether predicted probabilities are met: bins of equal width with predicted (mean), share (of positives) and n; empty ones are left out."""
    positive, probability = np.asarray(positive, bool), np.asarray(probability, float)
    where = np.minimum((probability * bins).astype(int), bins - 1)
    table = pd.DataFrame({"bin": where, "predicted": probability, "share": positive.astype(float)})
    out = table.groupby("bin").agg(predicted=("predicted", "mean"), share=("share", "mean"), n=("share", "size"))
    return out.reset_index(drop=True)


def confusion(y: Array, predicted: Array, classes: Array) -> pd.DataFrame:
    """Counts, true classes in rows, predicted ones in columns.

    Args:
        y: [n] classes.
        predicted: [n, classes] probabilities.
        classes: In the order of the columns.
    """
    guess = classes[np.argmax(predicted, axis=1)]
    counts = [[int(((y == a) & (guess == b)).sum()) for b in classes] for a in classes]
    return pd.DataFrame(counts, index=pd.Index(classes, name="true"), columns=pd.Index(classes, name="predicted"))


def bootstrap(statistic: Callable[[Array], float], groups: Array, *, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """95 % interval of ``statistic(row positions)`` over subjects drawn with replacement.

    Percentiles, set further apart for few subjects as Student's t is wider than the normal (Hesterberg, Am. Stat. 2015): plain ones of
    20 subjects hold the truth in 92 %.
    """
    rng = np.random.default_rng(seed)
    subjects, inverse = np.unique(groups, return_inverse=True)
    members = [np.flatnonzero(inverse == i) for i in range(len(subjects))]
    single = len(subjects) == len(groups)
    first = np.array([rows[0] for rows in members])
    values = []
    for picked in rng.integers(len(subjects), size=(draws, len(subjects))):
        values.append(statistic(first[picked] if single else np.concatenate([members[i] for i in picked])))
    finite = np.asarray(values)[np.isfinite(values)]
    if len(finite) < draws // 2:
        return float("nan"), float("nan")
    n = len(subjects)
    tail = 100 * norm.cdf(-np.sqrt(n / (n - 1)) * t.ppf(0.975, n - 1)) if n > 1 else 0.0
    low, high = np.percentile(finite, [tail, 100 - tail])
    return float(low), float(high)
