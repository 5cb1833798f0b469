"""Nearest neighbors as DINO and DINOv2 score features: cosine similarity, and votes weighted by its softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sslmed._checks import number, whole
from sslmed.benchmarking.choices import Choice, score_of

__all__ = ["NEIGHBORS", "TEMPERATURE", "best_k", "knn_predict", "usable"]

Array = np.ndarray[Any, Any]

NEIGHBORS = (10, 20, 100, 200)
"""Numbers of neighbors of DINOv2's evaluation (arXiv 2304.07193)."""
TEMPERATURE = 0.07
"""Similarities are divided by it before the softmax."""
_ROWS = 1024  # of the test rows at a time


def knn_predict(
    x: Array,
    y: Array,
    x_test: Array,
    classes: int | None = None,
    *,
    k: Sequence[int] = NEIGHBORS,
    temperature: float = TEMPERATURE,
) -> dict[int, Array]:
    """Predicts rows by the softmax-weighted votes of their nearest training rows.

    Source: Wu et al., arXiv 1805.01978; Oquab et al., arXiv 2304.07193. Shares are normalized for each k, which changes
    no decision.

    Args:
        x: Features of the training rows [n, D].
        y: Numbers of their classes, or values [n].
        x_test: Features of the rows to predict [m, D].
        classes: Number of classes; None: ``y`` are values, whose weighted mean is the prediction.
        k: Numbers of neighbors, each at most n.
        temperature: Similarities are divided by it before the softmax.

    Returns:
        Shares [m, classes] or values [m] for each k.

    Raises:
        ValueError: Shapes do not fit, or a k is larger than the training set.

    Examples:
        >>> import numpy as np
        >>> from sslmed.benchmarking import knn_predict
        >>> x = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
        >>> knn_predict(x, np.array([0, 0, 1]), x[:1], 2, k=[1])[1].tolist()
        [[1.0, 0.0]]
    """
    number("knn_predict", "temperature", temperature, 0, strict=True)
    if x.ndim != 2 or x_test.ndim != 2 or x.shape[1] != x_test.shape[1] or len(y) != len(x) or not len(x):
        shapes = f"{list(x.shape)}, {list(np.shape(y))} and {list(x_test.shape)}"
        raise ValueError(f"knn_predict: x, y and x_test must be [n, D], [n] and [m, D], got {shapes}")
    for one in k:
        whole("knn_predict", "k", one, 1)
    if k and max(k) > len(x):
        raise ValueError(f"knn_predict: k={max(k)} is larger than the training set of {len(x)} rows")
    return _voted(_unit(x_test), _unit(x), y, classes, k, temperature)


def usable(k: Sequence[int], rows: int) -> list[int]:
    """The numbers of neighbors that a training set has, the smallest first.

    Args:
        k: Numbers of neighbors.
        rows: Number of training rows.

    Examples:
        >>> from sslmed.benchmarking.knn import usable
        >>> usable((10, 20, 100), 64)
        [10, 20]
    """
    return sorted({int(one) for one in k if one <= rows})


def best_k(
    x: Array,
    y: Array,
    person: Array,
    classes: int | None = None,
    *,
    k: Sequence[int] = NEIGHBORS,
    temperature: float = TEMPERATURE,
) -> tuple[int, dict[int, float]]:
    """Chooses k on training people alone: each is predicted by the rows of all others.

    Args:
        x: Features of the training rows [n, D].
        y: Numbers of their classes, or values [n].
        person: Number of the person of each row [n].
        classes: Number of classes; None: ``y`` are values.
        k: Numbers of neighbors.
        temperature: As in :func:`knn_predict`.

    Returns:
        The k with the largest area under the ROC curve (of values: the least mean absolute error), the smallest of
        those that are equally good, and the score of each k that every person has neighbors for.

    Raises:
        ValueError: Some person has fewer neighbors than the smallest k.

    Examples:
        >>> import numpy as np
        >>> from sslmed.benchmarking.knn import best_k
        >>> y = np.tile([0, 1], 10)
        >>> best_k(np.stack([y, 1 - y], axis=1), y, np.arange(20), 2, k=(3, 15))[0]
        3
    """
    sizes = np.bincount(person)
    known = usable(k, len(x) - int(sizes.max()))
    if not known:
        raise ValueError(f"best_k: k={list(k)}: a person has only {len(x) - int(sizes.max())} rows of other people")
    unit = _unit(x)
    predicted = _voted(unit, unit, y, classes, known, temperature, person)
    metric: Choice = "mae" if classes is None else "auroc"
    found = {one: score_of(metric, predicted[one], y, person, classes) for one in known}
    sign = -1 if metric == "mae" else 1
    return max(known, key=lambda one: (sign * found[one], -one)), found


def _unit(x: Array) -> Array:
    x = np.asarray(x, dtype=np.float64)
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))


def _voted(
    queries: Array,
    gallery: Array,
    y: Array,
    classes: int | None,
    k: Sequence[int],
    temperature: float,
    person: Array | None = None,
) -> dict[int, Array]:
    """Predictions for each k; with ``person`` the queries are the gallery, and nobody votes for themselves."""
    wide = () if classes is None else (classes,)
    out = {int(one): np.empty((len(queries), *wide)) for one in k}
    if not out:
        return out
    most = max(out)
    for start in range(0, len(queries), _ROWS):
        rows = slice(start, start + _ROWS)
        similar = queries[rows] @ gallery.T
        if person is not None:
            similar[person[rows][:, None] == person[None]] = -np.inf
        order = np.argsort(-similar, axis=1, kind="stable")[:, :most]
        nearest = np.take_along_axis(similar, order, axis=1)
        weights = np.exp((nearest - nearest[:, :1]) / temperature)
        votes = np.asarray(y[order], dtype=float)[..., None] if classes is None else np.eye(classes)[y[order]]
        for one, made in out.items():
            part = (weights[:, :one, None] * votes[:, :one]).sum(axis=1) / weights[:, :one].sum(axis=1, keepdims=True)
            made[rows] = part[:, 0] if classes is None else part
    return out
