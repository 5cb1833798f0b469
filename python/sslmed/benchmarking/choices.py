"""Scores by which probes are chosen on training people: one number for predictions of rows, people counted once."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

__all__ = ["Choice", "held_out", "score_of"]

Array = np.ndarray[Any, Any]

Choice = Literal["accuracy", "balanced_accuracy", "auroc", "mae"]
"""A score that a choice is made by: "mae" is lower for better ones."""


def score_of(metric: Choice, predicted: Array, y: Array, person: Array, classes: int | None) -> float:
    """Scores predictions; those of a person's rows of one class are averaged and count once.

    Args:
        metric: The score.
        predicted: Shares [n, classes] or values [n].
        y: Numbers of classes, or values [n].
        person: Number of the person of each row [n].
        classes: Number of classes; None: values.

    Returns:
        The score; of classes that occur.

    Examples:
        >>> import numpy as np
        >>> from sslmed.benchmarking.choices import score_of
        >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]])
        >>> score_of("accuracy", p, np.array([0, 1, 1]), np.arange(3), 2)
        0.6666666666666666
    """
    predicted, truth = _units(predicted, y, person)
    if metric == "mae":
        return float(np.abs(predicted - truth).mean())
    assert classes is not None
    if metric == "auroc":
        areas = [_area(predicted[:, c], truth == c) for c in range(classes)]
        known = [area for area in areas if np.isfinite(area)]
        return float(np.mean(known)) if known else float("nan")
    right = predicted.argmax(axis=1) == truth
    if metric == "accuracy":
        return float(right.mean())
    return float(np.mean([right[truth == c].mean() for c in np.unique(truth)]))


def held_out(y: Array, person: Array, share: float, seed: int | tuple[int, ...], classes: int | None) -> Array:
    """Draws people to validate on, of each class alike.

    Args:
        y: Numbers of classes, or values [n].
        person: Number of the person of each row [n].
        share: Share of the people, of each class (by a person's first row); at least one of a class that has two.
        seed: Seed of the draw.
        classes: Number of classes; None: values.

    Returns:
        True for the rows of these people [n]; all rows of a person are on one side.

    Examples:
        >>> import numpy as np
        >>> from sslmed.benchmarking.choices import held_out
        >>> rows = held_out(np.tile([0, 1], 10), np.arange(20), 0.2, 0, 2)
        >>> int(rows[::2].sum()), int(rows[1::2].sum())
        (2, 2)
    """
    rng = np.random.default_rng(seed)
    people, first = np.unique(person, return_index=True)
    label = np.zeros(len(people), int) if classes is None else y[first].astype(int)
    chosen: list[Array] = []
    for c in np.unique(label):
        own = rng.permutation(people[label == c])
        n = min(max(1, round(share * len(own))), len(own) - 1)
        chosen.append(own[:n])
    return np.asarray(np.isin(person, np.concatenate(chosen)))


def _units(predicted: Array, y: Array, person: Array) -> tuple[Array, Array]:
    """Means over the rows of each person and label, and the labels."""
    keys, code = np.unique(np.stack([person.astype(float), y.astype(float)], axis=1), axis=0, return_inverse=True)
    code = code.ravel()
    sums = np.zeros((len(keys), *predicted.shape[1:]))
    np.add.at(sums, code, predicted)
    counts = np.bincount(code).reshape(-1, *[1] * (predicted.ndim - 1))
    return sums / counts, keys[:, 1]


def _area(score: Array, positive: Array) -> float:
    """Area under the ROC curve, ties counted half; NaN with one class."""
    from scipy.stats import rankdata

    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        return float("nan")
    return float((rankdata(score)[positive].sum() - m * (m + 1) / 2) / (m * n))
