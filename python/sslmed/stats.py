"""Tests between models on the same subjects, and their correction for many comparisons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm, rankdata

__all__ = ["DeLong", "delong", "holm", "paired_permutation"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class DeLong:
    """Two areas under the ROC curve of the same people, compared."""

    auroc_a: float
    auroc_b: float
    difference: float
    """a - b."""
    low: float
    high: float
    """95 % interval of the difference (normal)."""
    p: float
    """Two-sided, of no difference."""


def delong(positive: Array, a: Array, b: Array) -> DeLong:
    """DeLong's test of two correlated areas under the ROC curve (DeLong et al., Biometrics 1988; by midranks, Sun and Xu 2014).

    Args:
        positive: [n] bool.
        a: [n] scores of one model; ties count half.
        b: [n] scores of the other.

    Raises:
        ValueError: Shapes differ, a score is not finite, or a class has fewer than two rows.
    """
    positive = np.asarray(positive, bool)
    scores = np.stack([np.asarray(a, float), np.asarray(b, float)])
    if scores.shape != (2, len(positive)) or not np.isfinite(scores).all():
        raise ValueError(f"expected two finite scores for each of {len(positive)} rows, got {scores.shape}")
    m, n = int(positive.sum()), int((~positive).sum())
    if m < 2 or n < 2:
        raise ValueError(f"DeLong's test needs two rows of each class, got {m} positive and {n} negative")
    # A row's placement: the share of the other class that it stands right to, ties half.
    joint = np.stack([rankdata(s) for s in scores])
    own_positive = np.stack([rankdata(s[positive]) for s in scores])
    own_negative = np.stack([rankdata(s[~positive]) for s in scores])
    v10 = (joint[:, positive] - own_positive) / n
    v01 = 1 - (joint[:, ~positive] - own_negative) / m
    auc = v10.mean(axis=1)
    covariance = np.cov(v10) / m + np.cov(v01) / n
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    difference = float(auc[0] - auc[1])
    spread = float(np.sqrt(max(variance, 0.0)))
    # Both order everybody alike: no spread, and no difference either.
    p = float(2 * norm.sf(abs(difference) / spread)) if spread > 1e-12 else float(abs(difference) < 1e-12)
    half = float(norm.ppf(0.975)) * spread
    return DeLong(float(auc[0]), float(auc[1]), difference, difference - half, difference + half, p)


def paired_permutation(statistic: Callable[[Array], float], a: Array, b: Array, groups: Array, *, draws: int = 2000, seed: int = 0) -> float:
    """Two-sided p of no difference between two models' predictions, by exchanging them subject by subject.

    Args:
        statistic: Score of predictions [n, …] in the rows' order.
        a: [n, …] predictions of one model.
        b: Those of the other.
        groups: [n] subjects: all rows of a subject are exchanged together.
        draws: Exchanges tried; the smallest p is 1 / (draws + 1).
        seed: Of the exchanges.

    Returns:
        p; NaN where the statistic is.
    """
    rng = np.random.default_rng(seed)
    subjects, inverse = np.unique(groups, return_inverse=True)
    observed = abs(statistic(a) - statistic(b))
    if np.isnan(observed):
        return float("nan")  # nothing reaches what is not a number, and that would be a small p
    shape = (len(a),) + (1,) * (a.ndim - 1)
    reached = 0
    for _ in range(draws):
        swap = rng.integers(2, size=len(subjects)).astype(bool)[inverse].reshape(shape)
        # Rounding must not make the observed order less extreme than itself.
        reached += abs(statistic(np.where(swap, b, a)) - statistic(np.where(swap, a, b))) >= observed - 1e-12
    return (reached + 1) / (draws + 1)


def holm(p: Array) -> Array:
    """p values corrected for their number (Holm, 1979); NaN ones stay, and do not count."""
    p = np.asarray(p, float)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    out = np.full(len(p), np.nan)
    out[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * (len(order) - np.arange(len(order)))))
    return out
