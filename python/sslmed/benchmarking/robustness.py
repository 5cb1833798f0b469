"""The robustness index of PathoROB: whether the nearest neighbors share the biology or the center."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from sslmed._checks import whole

__all__ = ["robustness_index"]

Array = np.ndarray[Any, Any]

_GRID = (1, 3, 5, 7, 9, *range(11, 102, 10))


def robustness_index(
    features: Array | pd.DataFrame,
    biology: Array,
    center: Array,
    subject: Array,
    *,
    k: int | Sequence[int] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compares neighbors of the same biology from other centers with neighbors of other biology from the same center.

    Source: PathoROB (Kömen et al., arXiv 2507.17845). Features are scaled to length one, and neighbors are the nearest
    by Euclidean distance among the rows of other subjects (there: of other slides). Over the first k neighbors of all
    rows, the index is SO / (SO + OS): SO counts neighbors of the same class from another center, OS those of another
    class from the same center. Nothing is fitted but k.

    Args:
        features: [n, D] finite numbers.
        biology: [n] classes, such as a diagnosis.
        center: [n] where each row was made, such as a site or scanner; at least two.
        subject: [n] whose rows they are.
        k: Number of neighbors; several, or None (1, 3 … 9, 11, 21 … 101): the one by which a majority of neighbors
            predicts the biology best (balanced accuracy), the smallest of equally good ones.
        draws: Draws of the bootstrap over subjects, with the same k; 0: no interval.
        seed: Seed of the draws.

    Returns:
        One line: k, value (1: neighbors are of the same biology; 0: of the same center), low, high (95 %), chance (the
        index of all rows of other subjects), balanced_accuracy (of the biology, by these k), n_subjects. NaN where no
        neighbor is of either kind.

    Raises:
        ValueError: Shapes differ, features are not finite or a row is zero, fewer than two classes or centers, or k is
            larger than the rows of other subjects.

    Examples:
        >>> import numpy as np
        >>> from sslmed.benchmarking import robustness_index
        >>> biology, center = np.tile([0, 1], 20), np.repeat([0, 1], 20)
        >>> x = np.stack([biology * 2 - 1.0, center * 0.1 + 1], axis=1)
        >>> float(robustness_index(x, biology, center, np.arange(40), k=15)["value"].iloc[0]) > 0.9
        True
    """
    where = "robustness_index"
    whole(where, "draws", draws)
    whole(where, "seed", seed)
    x = np.asarray(features.to_numpy() if isinstance(features, pd.DataFrame) else features, dtype=float)
    given = {"biology": biology, "center": center, "subject": subject}
    labels, sites, people = (_codes(where, name, values, len(x)) for name, values in given.items())
    if x.ndim != 2 or not np.isfinite(x).all() or not x.any(axis=1).all():
        raise ValueError(f"{where}: features must be [n, D] finite numbers without rows of zeros, got {list(x.shape)}")
    for name, codes in (("biology", labels), ("center", sites)):
        if codes.max() < 1:
            raise ValueError(f"{where}: {name} must have at least two values")
    order = _neighbors(x, people)
    asked = [k] if isinstance(k, (int, np.integer)) else list(_GRID if k is None else k)
    for one in asked:
        whole(where, "k", one, 1)
    known = sorted({int(one) for one in asked if one <= order.shape[1]})
    if not known:
        raise ValueError(f"{where}: k={min(asked)} is larger than the {order.shape[1]} rows of other subjects")
    accuracy = {one: _accuracy(labels, order[:, :one]) for one in known}
    chosen = max(known, key=lambda one: (round(accuracy[one], 12), -one))
    same, near = _counts(labels, sites, order[:, :chosen])
    n = int(people.max()) + 1
    sums = np.stack([np.bincount(people, same, n), np.bincount(people, near, n)])
    low, high = np.nan, np.nan
    if draws:
        times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
        drawn = [_ratio(*(sums @ one)) for one in times]
        if np.isfinite(drawn).any():
            low, high = np.nanquantile(drawn, [0.025, 0.975])
    everything = _counts(labels, sites, order)
    line = {
        "k": chosen, "value": _ratio(*sums.sum(axis=1)), "low": float(low), "high": float(high),
        "chance": _ratio(*(part.sum() for part in everything)), "balanced_accuracy": accuracy[chosen], "n_subjects": n,
    }  # fmt: skip
    return pd.DataFrame([line])


def _codes(where: str, name: str, values: Any, n: int) -> Array:
    found = np.asarray(values).astype(str)
    if found.shape != (n,):
        raise ValueError(f"{where}: {name} must have {n} entries, one a row, got {list(found.shape)}")
    if pd.isna(np.asarray(values, dtype=object)).any():
        raise ValueError(f"{where}: {name} must be known of every row")
    return np.unique(found, return_inverse=True)[1]


def _neighbors(x: Array, people: Array) -> Array:
    """[n, m] rows of other subjects, the nearest first; m is that of the row with the fewest."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    similar = unit @ unit.T  # of vectors of length one the largest product is the smallest distance
    similar[people[:, None] == people[None]] = -np.inf
    least = len(x) - int(np.bincount(people).max())
    return np.argsort(-similar, axis=1, kind="stable")[:, :least]


def _counts(labels: Array, sites: Array, order: Array) -> tuple[Array, Array]:
    """Numbers [n] of neighbors of the same class from another center, and of another class from the same center."""
    same_class, same_site = labels[order] == labels[:, None], sites[order] == sites[:, None]
    return (same_class & ~same_site).sum(axis=1), (~same_class & same_site).sum(axis=1)


def _accuracy(labels: Array, order: Array) -> float:
    """Balanced accuracy of the most frequent class of the neighbors; ties go to the first class."""
    votes = np.stack([(labels[order] == c).sum(axis=1) for c in range(int(labels.max()) + 1)], axis=1)
    right = votes.argmax(axis=1) == labels
    return float(np.mean([right[labels == c].mean() for c in np.unique(labels)]))


def _ratio(same: float, near: float) -> float:
    return float(same / (same + near)) if same + near > 0 else float("nan")
