"""Bringing one population's data towards another's, without any label of the other."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
from scipy.linalg import fractional_matrix_power, sqrtm
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

__all__ = [
    "ADAPTATIONS",
    "adapt_with",
    "coral",
    "euclidean_alignment",
    "feature_pair",
    "importance_weights",
    "kind_of",
    "log_vectors",
    "normalise",
    "recentre",
    "remove_identity",
    "subject_codes",
]

Array = np.ndarray[Any, Any]

ADAPTATIONS = ("none", "normalise", "coral", "importance", "identity", "optimal_transport")
"""Of :func:`sslmed.transfer`; "identity" needs no cohort to adapt to, "optimal_transport" needs skada."""


def kind_of(adaptation: Any) -> str:
    """The name in :data:`ADAPTATIONS`, or "skada" for one of its adapters.

    Raises:
        ValueError: Neither.
        ImportError: It needs skada, which is not installed.
    """
    if not isinstance(adaptation, str):
        if hasattr(adaptation, "fit_transform") and hasattr(adaptation, "get_params"):
            return "skada"
        raise ValueError(f"expected the name of an adaptation or an adapter of skada, got {type(adaptation).__name__}")
    if adaptation not in ADAPTATIONS:
        raise ValueError(f"unknown adaptation {adaptation!r}; there are {', '.join(ADAPTATIONS)}, and adapters of skada")
    if adaptation == "optimal_transport" and importlib.util.find_spec("skada") is None:
        raise ImportError(f"the adaptation {adaptation!r} needs skada: pip install 'sslmed[adaptation]'")
    return adaptation


def adapt_with(adapter: Any, source: Array, labels: Array, target: Array) -> tuple[Array, Array, Array | None]:
    """Features of both populations, and weights of the source's rows where it gives any, as an adapter of skada makes them.

    Args:
        adapter: "optimal_transport" (the source's rows moved onto the target's at the least cost, Courty et al., 2017), or an adapter of skada 0.6 or
            later, of which a clone is fitted.
        source: [n, D], standardised here together with the target by the source's mean and deviation.
        labels: [n] of the source, floats where they are regressed. The target's rows are given as unlabelled.
        target: [m, D].

    Raises:
        ValueError: Shapes do not fit, a value is not finite, or the adapter is none.
        ImportError: It needs skada, which is not installed.
    """
    source, target = feature_pair(source, target)
    scaler = StandardScaler().fit(source)
    source, target = scaler.transform(source), scaler.transform(target)
    n, m = len(source), len(target)
    if kind_of(adapter) != "skada":
        import skada

        adapter = skada.OTMappingAdapter()
    regression = np.issubdtype(np.asarray(labels).dtype, np.floating)
    known = np.asarray(labels, float) if regression else np.unique(labels, return_inverse=True)[1].astype(float)
    hidden = np.full(m, np.nan if regression else -1.0)  # how skada says unlabelled
    made = clone(adapter).fit_transform(np.concatenate([source, target]), np.concatenate([known, hidden]), sample_domain=np.repeat([1, -2], [n, m]))
    x, weights = (made[0], np.asarray(made[1]["sample_weight"])[:n]) if isinstance(made, tuple) else (made, None)
    x = np.asarray(x, float)
    if x.ndim != 2 or len(x) != n + m or not np.isfinite(x).all():
        raise ValueError(f"{type(adapter).__name__}: expected {n + m} finite rows, got {x.shape}")
    return x[:n], x[n:], weights


def feature_pair(x: Array, y: Array) -> tuple[Array, Array]:
    """Two sets of features [n, D] and [m, D] as float64, or a ValueError that says what does not fit."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(f"expected features [n >= 2, D] and [m >= 2, D], got {x.shape} and {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("features must be finite")
    return x, y


def normalise(source: Array, target: Array) -> tuple[Array, Array]:
    """Each set of features by its own mean and standard deviation: statistics of the population that is tested, not of the one trained on.

    Args:
        source: [n, D].
        target: [m, D].

    Raises:
        ValueError: Shapes do not fit, or a value is not finite.
    """
    source, target = feature_pair(source, target)
    return StandardScaler().fit_transform(source), StandardScaler().fit_transform(target)


def coral(source: Array, target: Array, regularisation: float = 1.0) -> Array:
    """Source features with the target's covariance and mean (CORAL, Sun et al., arXiv 1511.05547). No label is used.

    Args:
        source: [n, D].
        target: [m, D].
        regularisation: Added to the diagonal of both covariances (1 in the paper).

    Raises:
        ValueError: Shapes do not fit, or a value is not finite.
    """
    source, target = feature_pair(source, target)
    eye = regularisation * np.eye(source.shape[1])
    whiten = fractional_matrix_power(np.cov(source, rowvar=False) + eye, -0.5)
    color = np.real(sqrtm(np.cov(target, rowvar=False) + eye))
    return np.asarray((source - source.mean(0)) @ np.real(whiten) @ color + target.mean(0))


def euclidean_alignment(windows: Array, groups: Array) -> Array:
    """Windows whose mean covariance is the identity within each group (He and Wu, arXiv 1808.05464).

    X' = R^(-1/2) X with R the mean of X Xᵀ / T over a group's windows. No label is used.

    Args:
        windows: [n, C, T].
        groups: [n] subjects or domains, each aligned by itself.

    Raises:
        ValueError: Shapes do not fit, or a group's mean covariance is singular (fewer independent channels than channels, as after
            an average reference).
    """
    windows, groups = np.asarray(windows, float), np.asarray(groups)
    if windows.ndim != 3 or len(groups) != len(windows):
        raise ValueError(f"expected windows [n, C, T] and as many groups, got {windows.shape} and {groups.shape}")
    out = np.empty_like(windows)
    for group in np.unique(groups):
        own = groups == group
        mean = np.einsum("nct,ndt->cd", windows[own], windows[own]) / (own.sum() * windows.shape[2])
        values, vectors = np.linalg.eigh(mean)
        if not values[0] > 1e-12 * values[-1]:
            raise ValueError(f"group {group!r}: its mean covariance is singular (smallest eigenvalue {values[0]:.1e} of {values[-1]:.1e}); drop a channel")
        out[own] = np.einsum("cd,ndt->nct", (vectors / np.sqrt(values)) @ vectors.T, windows[own])
    return out


def recentre(covariances: Array) -> Array:
    """Covariances as seen from their own Riemannian mean, which becomes the identity (Zanini et al., IEEE Trans. Biomed. Eng. 2018).

    Args:
        covariances: [n, C, C], positive definite.
    """
    from pyriemann.geometry.base import invsqrtm
    from pyriemann.geometry.mean import mean_riemann

    whiten = invsqrtm(mean_riemann(covariances))
    return np.asarray(whiten @ covariances @ whiten)


def log_vectors(covariances: Array) -> Array:
    """[n, C·(C+1)/2] upper triangles of matrix logarithms of [n, C, C]."""
    from pyriemann.geometry.base import logm

    return np.asarray(logm(covariances)[(slice(None), *np.triu_indices(covariances.shape[1]))])


def importance_weights(source: Array, target: Array, groups: Array, *, limit: float = 20.0) -> Array:
    """How much likelier each source row is in the target: the odds of a logistic domain classifier (Shimodaira, 2000; Bickel et al., 2009).

    Every row is weighed by a classifier that was not fitted on its subject.

    Args:
        source: [n, D] features.
        target: [m, D].
        groups: [n] subjects of the source.
        limit: Weights are clipped to [1 / limit, limit] before they are scaled to a mean of 1.

    Raises:
        ValueError: Shapes do not fit, or a value is not finite.
    """
    source, target = feature_pair(source, target)
    x, domain = np.concatenate([source, target]), np.repeat([0, 1], [len(source), len(target)])
    everyone = np.concatenate([np.asarray(groups).astype(str).astype(object) + "/source", np.arange(len(target)).astype(str).astype(object)])
    everyone = np.unique(everyone, return_inverse=True)[1]  # by number: GroupKFold looks for texts one by one
    folds = min(5, len(np.unique(groups)))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    if folds < 2:
        raise ValueError("importance weights need two subjects in the source")
    folded = GroupKFold(folds, shuffle=True, random_state=0)
    with config_context(enable_metadata_routing=False):  # importing skada turns it on for everybody
        p = cross_val_predict(model, x, domain, groups=everyone, cv=folded, method="predict_proba")[: len(source), 1]
    odds = p / np.maximum(1 - p, 1e-12) * len(source) / len(target)
    odds = np.clip(odds, 1 / limit, limit)
    return np.asarray(odds / odds.mean())


def remove_identity(train: Array, subjects: Array, test: Array, *, directions: int = 1) -> tuple[Array, Array]:
    """Features without the directions in which training subjects differ most from each other, relative to how much each varies.

    What a label says between subjects goes with it where it lies in those directions: for labels that vary within subjects.

    Args:
        train: [n, D], several rows a subject.
        subjects: [n] of the training rows; those of ``test`` have no say.
        test: [m, D].
        directions: How many to remove.

    Raises:
        ValueError: Fewer than two subjects, none with two rows, or directions outside of 1 to subjects - 1.
    """
    codes, n = subject_codes(train, subjects)
    if not 1 <= directions < n:
        raise ValueError(f"directions must be within 1 and {n - 1}, got {directions}")
    mean = train.mean(axis=0)
    counts = np.bincount(codes)
    means = np.zeros((n, train.shape[1]))
    np.add.at(means, codes, train - mean)
    means /= counts[:, None]
    within = train - mean - means[codes]
    # Whitened by the variance within subjects, so that a direction is removed for telling people apart and not for being large.
    scale = np.sqrt((within**2).mean(axis=0) + 1e-12 * (train - mean).var(axis=0).max() + 1e-12)
    _, _, vectors = np.linalg.svd(np.sqrt(counts)[:, None] * means / scale, full_matrices=False)
    basis = vectors[:directions].T

    def without(x: Array) -> Array:
        z = (x - mean) / scale
        left: Array = (z - z @ basis @ basis.T) * scale + mean
        return left

    return without(train), without(test)


def subject_codes(features: Array, subjects: Array) -> tuple[Array, int]:
    """Subjects of rows as numbers from 0, and how many there are; a ValueError where nothing varies within them."""
    names, codes = np.unique(np.asarray(subjects), return_inverse=True)
    if features.ndim != 2 or len(features) != len(codes):
        raise ValueError(f"expected features [n, D] of n subjects' rows, got {features.shape} and {len(codes)}")
    if len(names) < 2 or len(codes) == len(names):
        raise ValueError(f"expected two subjects at least, and more than one row of some, got {len(codes)} rows of {len(names)} subjects")
    return codes, len(names)
