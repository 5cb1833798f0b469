"""Scores of out-of-fold predictions, for many weightings of the people at once.

Whatever compares predictions with each other (areas, correlations) is computed within folds and then averaged:
predictions of different folds come from different fits, whose levels move against the truth of the fold that was left
out (Forman & Scholz, SIGKDD Explor. 2010; Airola et al., Comput. Stat. Data Anal. 2011).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["CHANCE", "CLASSIFICATION", "HIGHER", "POSITIVE", "REGRESSION", "OutOfFold", "credits", "scores"]

Array = np.ndarray[Any, Any]

CLASSIFICATION = ("balanced_accuracy", "auroc", "auprc", "f1", "brier")
"""Scores of classes, in the order of a table."""
POSITIVE = ("sensitivity", "specificity", "ppv", "npv", "calibration_intercept", "calibration_slope")
"""Scores of two classes of which one is named as positive."""
REGRESSION = ("mae", "r2", "r")
"""Scores of numbers."""
CHANCE = {"balanced_accuracy": None, "auroc": 0.5, "r2": 0.0, "r": 0.0}
"""What predictions without information reach; of balanced accuracy one over the number of classes."""
HIGHER = {"mae": False, "brier": False}
"""Scores that are better if they are lower."""

_TIE = 1e-9


@dataclass(frozen=True)
class OutOfFold:
    """Predictions of units (a person, or each of a person's labels) by fits that have not seen the person."""

    truth: Array
    """Number of the class, or value [n]."""
    predicted: Array
    """Probabilities [B or 1, n, K], or values [B or 1, n]."""
    prior: Array
    """What the training part alone says: shares of the classes [B or 1, n, K], or the mean [B or 1, n]."""
    fold: Array
    """Number of the fold that tested each unit [n]."""
    positive: int = -1
    """Number of the class that precision, sensitivity and the like are of."""


def credits(predicted: Array, prior: Array) -> Array:
    """Share [.., K] of each class in the decision for it: 1 for the class most raised over its training share, and ties share.

    Dividing by the shares makes the decision that balanced accuracy asks for, out of probabilities as they are.
    """
    raised = predicted / np.maximum(prior, 1e-12)
    top = raised.max(axis=-1, keepdims=True)
    tied = raised >= top * (1 - _TIE)
    return np.asarray(tied / tied.sum(axis=-1, keepdims=True))


def scores(metric: str, made: OutOfFold, weights: Array, *, prevalence: float | None = None) -> Array:
    """Computes one score for each of B weightings.

    Args:
        metric: One of :data:`CLASSIFICATION`, :data:`POSITIVE` or :data:`REGRESSION`.
        made: Predictions.
        weights: Weight of each unit [B, n]: 0 leaves it out.
        prevalence: Share of the positive class that "ppv" and "npv" are meant for; by default that of the units.

    Returns:
        The score [B]; NaN where it is not defined.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        if metric in REGRESSION:
            return _regression(metric, made, weights)
        if metric in ("auroc", "auprc"):
            k = made.predicted.shape[-1]
            columns = [made.positive % k] if k == 2 else range(k)
            area = _auroc if metric == "auroc" else _auprc
            return np.asarray(np.mean([area(made.truth == c, made.predicted[..., c], weights, made.fold) for c in columns], axis=0))
        if metric == "brier":
            columns_ = [made.positive % 2] if made.predicted.shape[-1] == 2 else list(range(made.predicted.shape[-1]))
            error = ((made.predicted[..., columns_] - (made.truth[:, None] == columns_)) ** 2).sum(axis=-1)
            return np.asarray((error * weights).sum(axis=1) / weights.sum(axis=1))
        if metric.startswith("calibration"):
            return _calibration(metric, made, weights)
        return _decided(metric, made, weights, prevalence)


def _decided(metric: str, made: OutOfFold, weights: Array, prevalence: float | None) -> Array:
    """Scores of decisions."""
    credit = credits(made.predicted, made.prior)
    k = credit.shape[-1]
    counts = np.empty((len(weights), k, k))  # true, decided
    for c in range(k):
        rows = made.truth == c
        counts[:, c] = np.einsum("bn,bnk->bk", weights[:, rows], np.broadcast_to(credit[:, rows], (len(weights), int(rows.sum()), k)))
    of, said = counts.sum(axis=2), counts.sum(axis=1)
    right = np.einsum("bkk->bk", counts)
    if metric == "balanced_accuracy":
        return np.asarray(np.nanmean(np.where(of > 0, right / of, np.nan), axis=1))
    if metric == "f1":
        return np.asarray(np.nanmean(np.where(of + said > 0, 2 * right / (of + said), np.nan), axis=1))
    yes, no = made.positive % k, 1 - made.positive % k
    sensitivity, specificity = right[:, yes] / of[:, yes], right[:, no] / of[:, no]
    if metric == "sensitivity":
        return np.asarray(sensitivity)
    if metric == "specificity":
        return np.asarray(specificity)
    share = of[:, yes] / of.sum(axis=1) if prevalence is None else prevalence
    if metric == "ppv":
        return np.asarray(sensitivity * share / (sensitivity * share + (1 - specificity) * (1 - share)))
    return np.asarray(specificity * (1 - share) / (specificity * (1 - share) + (1 - sensitivity) * share))


def _auroc(positive: Array, predicted: Array, weights: Array, fold: Array) -> Array:
    """Share of pairs of a positive and a negative of the same fold that are in order, over all such pairs."""
    right, total = np.zeros(len(weights)), np.zeros(len(weights))
    for f in np.unique(fold):
        yes, no = np.flatnonzero((fold == f) & positive), np.flatnonzero((fold == f) & ~positive)
        if not len(yes) or not len(no):
            continue
        total += weights[:, yes].sum(axis=1) * weights[:, no].sum(axis=1)
        if len(predicted) == 1:
            ahead = _ahead(predicted[:, yes], predicted[:, no])[0]
            right += ((weights[:, yes] @ ahead) * weights[:, no]).sum(axis=1)
            continue
        size = max(1, (16 << 20) // (len(yes) * len(no)))
        for i in range(0, len(weights), size):
            s = slice(i, i + size)
            right[s] += np.einsum("by,byn,bn->b", weights[s][:, yes], _ahead(predicted[s][:, yes], predicted[s][:, no]), weights[s][:, no])
    return np.asarray(right / total)


def _ahead(a: Array, b: Array) -> Array:
    """1 where a is larger than b, one half where they are the same but for rounding [B, a, b]."""
    difference = a[:, :, None] - b[:, None, :]
    edge = 1e-12
    return np.asarray(np.where(difference > edge, 1.0, np.where(difference < -edge, 0.0, 0.5)))


def _auprc(positive: Array, predicted: Array, weights: Array, fold: Array) -> Array:
    """Average precision, mean over the folds that have both classes, weighted by their positives; tied predictions are one threshold."""
    total, size = np.zeros(len(weights)), np.zeros(len(weights))
    for f in np.unique(fold):
        rows = np.flatnonzero(fold == f)
        if positive[rows].all() or not positive[rows].any():
            continue
        p = np.round(np.broadcast_to(predicted[:, rows], (len(weights), len(rows))), 12)
        order = np.argsort(-p, axis=1, kind="stable")
        sorted_ = np.take_along_axis(p, order, axis=1)
        w = np.take_along_axis(weights[:, rows], order, axis=1)
        hit = w * positive[rows][order]
        hits, seen = np.cumsum(hit, axis=1), np.cumsum(w, axis=1)
        # The last of tied rows stands for all of them.
        last = np.concatenate([np.diff(sorted_, axis=1) != 0, np.ones((len(w), 1), bool)], axis=1)
        where = np.where(last, np.arange(len(rows)), len(rows))
        end = np.minimum.accumulate(where[:, ::-1], axis=1)[:, ::-1]
        precision = np.take_along_axis(hits, end, axis=1) / np.maximum(np.take_along_axis(seen, end, axis=1), 1e-300)
        found = hits[:, -1]
        both = (found > 0) & (seen[:, -1] > found)
        total += np.where(both, (precision * hit).sum(axis=1), 0)
        size += np.where(both, found, 0)
    return np.asarray(total / size)


def _calibration(metric: str, made: OutOfFold, weights: Array) -> Array:
    """Slope of the log odds of the truth by those predicted, or their intercept at a slope of one."""
    k = made.predicted.shape[-1]
    p = np.clip(made.predicted[..., made.positive % k], 1e-6, 1 - 1e-6)
    x = np.broadcast_to(np.log(p / (1 - p)), weights.shape)
    y = np.broadcast_to((made.truth == made.positive % k).astype(float), weights.shape)
    a, b = np.zeros(len(weights)), np.ones(len(weights))
    for _ in range(30):
        q = 1 / (1 + np.exp(-(a[:, None] + b[:, None] * x)))
        v, e = weights * q * (1 - q), weights * (y - q)
        ga, gb, haa, hab, hbb = e.sum(1), (e * x).sum(1), v.sum(1), (v * x).sum(1), (v * x * x).sum(1)
        if metric == "calibration_intercept":
            a = a + np.clip(ga / haa, -2, 2)
            continue
        d = haa * hbb - hab**2
        flat = d < 1e-9 * haa * np.maximum(hbb, 1e-12)  # predictions that are all alike have no slope
        a = a + np.clip(np.where(flat, 0, (hbb * ga - hab * gb) / d), -2, 2)
        b = np.where(flat, np.nan, b + np.clip((haa * gb - hab * ga) / d, -2, 2))
    yes, all_ = (weights * y).sum(axis=1), weights.sum(axis=1)
    return np.asarray(np.where((yes > 0) & (yes < all_), a if metric == "calibration_intercept" else b, np.nan))  # one class alone says nothing


def _regression(metric: str, made: OutOfFold, weights: Array) -> Array:
    y, p = made.truth.astype(float), made.predicted
    if metric == "mae":
        return np.asarray((np.abs(y - p) * weights).sum(axis=1) / weights.sum(axis=1))
    if metric == "r2":
        return np.asarray(1 - (((y - p) ** 2) * weights).sum(axis=1) / (((y - made.prior) ** 2) * weights).sum(axis=1))
    yy = pp = yp = np.zeros(len(weights))
    for f in np.unique(made.fold):
        rows = made.fold == f
        w = weights[:, rows]
        n = np.maximum(w.sum(axis=1, keepdims=True), 1e-300)
        a = y[rows] - (w * y[rows]).sum(axis=1, keepdims=True) / n
        b = p[:, rows] - (w * p[:, rows]).sum(axis=1, keepdims=True) / n
        yy, pp, yp = yy + (w * a * a).sum(axis=1), pp + (w * b * b).sum(axis=1), yp + (w * a * b).sum(axis=1)
    flat = pp <= 1e-18 * np.maximum(1, (p**2).max()) * len(y)
    return np.asarray(np.where(flat | (yy <= 0), np.nan, yp / np.sqrt(yy * pp)))
