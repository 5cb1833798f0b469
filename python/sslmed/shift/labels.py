"""Label shift: how often each class occurs in a population without labels, from the predictions of a classifier."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd

from sslmed._checks import whole
from sslmed._core import WeakFitWarning
from sslmed.evaluation.statistics import tail

__all__ = ["label_shift"]

Array = np.ndarray[Any, Any]

_SINGULAR = 0.05  # share of draws without an estimate from which on the interval is not to be trusted


def label_shift(
    truth: Array,
    predicted: Array,
    predicted_elsewhere: Array,
    classes: Array,
    *,
    groups: Array | None = None,
    groups_elsewhere: Array | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Estimates the prevalence of classes in a population without labels, if the classes look there as they do here.

    Source: black-box shift estimation, Lipton et al., arXiv 1802.03916. The interval has the percentiles of a bootstrap
    over the people of both populations, set further apart for few people (:func:`sslmed.evaluation.statistics.bootstrap`).
    A draw whose confusion matrix is singular has no estimate. It counts as zero for the low end and as one for the high
    end: dropped, it would narrow the interval.

    Args:
        truth: True classes here [n].
        predicted: Probabilities here [n, classes], out of fold (:meth:`sslmed.TransferResult.wide`): those of training
            data flatter.
        predicted_elsewhere: Probabilities of the same classifier there [m, classes].
        classes: Names of the classes, in the order of the columns.
        groups: Subject of each row here [n]; all rows of a subject are drawn together. Without it every row counts as a
            person, and the interval is too narrow where people have several rows.
        groups_elsewhere: Subject of each row there [m], likewise.
        draws: Number of draws of the bootstrap over both populations.
        seed: Seed of the bootstrap.

    Returns:
        One line a class: class, here (share of rows), elsewhere (estimated share of rows), low, high (95 %), weight
        (elsewhere / here: weight of a training sample that gives the prevalence there). Negative estimates are set to
        zero and the rest scaled to one.

    Raises:
        ValueError: Shapes that do not fit, a class that does not occur here, or a classifier whose predictions do not
            depend on the class (a singular confusion matrix).

    Warns:
        WeakFitWarning: More than 5 % of the draws have no estimate, because a class is missing or the classifier is too
            weak.

    Examples:
        >>> import numpy as np
        >>> from sslmed.shift import label_shift
        >>> truth, classes = np.repeat(["a", "b"], 50), np.array(["a", "b"])
        >>> perfect = (truth[:, None] == classes).astype(float)
        >>> label_shift(truth, perfect, perfect[25:60], classes, draws=20)["elsewhere"].round(2).tolist()
        [0.71, 0.29]
    """
    whole("label_shift", "draws", draws, 1)
    whole("label_shift", "seed", seed)
    truth, classes = np.asarray(truth), np.asarray(classes)
    k, n = len(classes), len(truth)
    if predicted.shape != (n, k):
        raise ValueError(f"label_shift: predicted must be probabilities [{n}, {k}], got {list(predicted.shape)}")
    if predicted_elsewhere.ndim != 2 or predicted_elsewhere.shape[1] != k or len(predicted_elsewhere) == 0:
        raise ValueError(f"label_shift: predicted_elsewhere must be probabilities [m >= 1, {k}], got {list(predicted_elsewhere.shape)}")
    if missing := [str(c) for c in classes if not (truth == c).any()]:
        raise ValueError(f"label_shift: classes: no sample of truth has the class {', '.join(missing)}")
    if unknown := sorted(set(truth) - set(classes)):
        raise ValueError(f"label_shift: truth has the class {unknown[0]!r}, which is not one of classes")
    label = np.array([list(classes).index(t) for t in truth])
    # Answers counted by person, so that a draw of people is a weighted sum: [people, said, true] here, [people, said] there.
    who, people = _number("groups", groups, n)
    here = np.zeros((people, k, k))
    np.add.at(here, (who, predicted.argmax(1), label), 1.0)
    who, people = _number("groups_elsewhere", groups_elsewhere, len(predicted_elsewhere))
    there = np.zeros((people, k))
    np.add.at(there, (who, predicted_elsewhere.argmax(1)), 1.0)
    shares = _estimate(here.sum(0)[None], there.sum(0)[None])[0]
    if np.isnan(shares).any():
        raise ValueError("label_shift: predicted does not depend enough on the class for an estimate: its confusion matrix is singular")
    rng = np.random.default_rng(seed)
    picked = [[counts[rng.integers(len(counts), size=len(counts))].sum(axis=0) for counts in (here, there)] for _ in range(draws)]
    drawn = _estimate(np.stack([a for a, _ in picked]), np.stack([b for _, b in picked]))
    without = np.asarray(np.isnan(drawn).any(axis=1))
    if without.mean() > _SINGULAR:
        text = f"{without.mean():.0%} of {draws} draws of people have no estimate (a class is missing, or the classifier is too weak): intervals are wide"
        warnings.warn(f"label_shift: {text}", WeakFitWarning, stacklevel=2)
    cut = 100 * tail(min(len(here), len(there)))
    low = np.percentile(np.where(without[:, None], 0.0, drawn), cut, axis=0)
    high = np.percentile(np.where(without[:, None], 1.0, drawn), 100 - cut, axis=0)
    shares_here = np.bincount(label, minlength=k) / n
    return pd.DataFrame({"class": classes, "here": shares_here, "elsewhere": shares, "low": low, "high": high, "weight": shares / shares_here})


def _number(name: str, groups: Array | None, n: int) -> tuple[Array, int]:
    """Number of the person of each row, and how many people there are."""
    if groups is None:
        return np.arange(n), n
    if len(groups) != n:
        raise ValueError(f"label_shift: {name} must have one subject for each of {n} rows, got {len(groups)}")
    codes, people = pd.factorize(np.asarray(groups).astype(str))
    return codes, len(people)


def _estimate(here: Array, there: Array) -> Array:
    """Shares there [draws, k], from counts here [draws, said, true] and there [draws, said]; NaN where the confusion matrix is singular."""
    confusion = here / here.sum(axis=(1, 2), keepdims=True)
    usable = np.linalg.cond(confusion) <= 1e6
    weights = np.linalg.solve(confusion[usable], (there[usable] / there[usable].sum(axis=1, keepdims=True))[:, :, None])[:, :, 0]
    shares = np.maximum(weights, 0) * here[usable].sum(axis=1)
    total = shares.sum(axis=1, keepdims=True)
    out = np.full(there.shape, np.nan)
    out[usable] = np.divide(shares, total, out=np.full_like(shares, np.nan), where=total > 0)
    return out
