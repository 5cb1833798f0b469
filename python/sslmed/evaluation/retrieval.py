"""Retrieval: whether the nearest rows of other people have the same label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from sslmed._checks import whole

__all__ = ["retrieval"]

Array = np.ndarray[Any, Any]


def retrieval(
    features: Array | pd.DataFrame, labels: Array, subject: Array, *, k: Sequence[int] = (1, 3, 5), draws: int = 1000, permutations: int = 50, seed: int = 0
) -> pd.DataFrame:
    """Scores how often the nearest rows of other people, by cosine similarity, have a row's own label.

    Every row is a query once; rows of the same person are never found. People weigh alike: a score is the mean over people
    of the mean over their rows. Nothing is fitted.

    Args:
        features: [n, D] finite numbers, such as mean features of slides.
        labels: [n] classes; each needs two people.
        subject: [n] whose rows they are.
        k: Numbers of neighbors.
        draws: Draws of the bootstrap over people; 0: no intervals.
        permutations: Draws of labels dealt out anew among people, for the row "chance"; 0: none.
        seed: Seed of both.

    Returns:
        row ("features", "chance"), metric, value, low, high (95 %), n_subjects. ``top_k``: any of the k nearest has the label;
        ``vote_k``: most of them have it, ties going to the nearer; ``map_k``: average precision of the first k, the mean of the
        precision at each hit over min(k, rows of other people with the label); ``map``: the same over all rows.

    Raises:
        ValueError: Shapes differ, features are not finite or a row is zero, or a class is of one person alone.

    Examples:
        >>> import numpy as np
        >>> from sslmed.evaluation.retrieval import retrieval
        >>> x = np.repeat(np.eye(2), 4, axis=0) + 0.1
        >>> table = retrieval(x, np.repeat(["a", "b"], 4), np.arange(8), permutations=0, draws=0)
        >>> table.set_index("metric")["value"]["map"]
        np.float64(1.0)
    """
    where = "retrieval"
    whole(where, "draws", draws)
    whole(where, "permutations", permutations)
    whole(where, "seed", seed)
    x, codes, person = _checked(where, features, labels, subject)
    for number in k:
        whole(where, "k", number, 1)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    similar = unit @ unit.T
    similar[person[:, None] == person[None]] = -np.inf
    order = np.argsort(-similar, axis=1, kind="stable")
    there = np.isfinite(np.take_along_axis(similar, order, axis=1))
    rng = np.random.default_rng(seed)
    people = int(person.max()) + 1
    own = _by_person(_scores(order, there, codes, k), person)
    lines = []
    times = rng.multinomial(people, np.full(people, 1 / people), size=draws)
    for metric, values in own.items():
        drawn = times @ values / people
        low, high = np.quantile(drawn, [0.025, 0.975]) if draws else (np.nan, np.nan)
        lines.append(("features", metric, float(values.mean()), float(low), float(high), people))
    if permutations:
        dealt = [_by_person(_scores(order, there, _dealt(codes, person, rng), k), person) for _ in range(permutations)]
        for metric in own:
            means = np.array([values[metric].mean() for values in dealt])
            low, high = np.quantile(means, [0.025, 0.975])
            lines.append(("chance", metric, float(means.mean()), float(low), float(high), people))
    return pd.DataFrame(lines, columns=["row", "metric", "value", "low", "high", "n_subjects"])


def _checked(where: str, features: Any, labels: Any, subject: Any) -> tuple[Array, Array, Array]:
    x = np.asarray(features.to_numpy() if isinstance(features, pd.DataFrame) else features, dtype=float)
    if x.ndim != 2 or len(x) < 2:
        raise ValueError(f"{where}: features must be [n >= 2, D], got {list(x.shape)}")
    names, who = np.asarray(labels).astype(str), np.asarray(subject).astype(str)
    for name, values in (("labels", names), ("subject", who)):
        if values.shape != (len(x),):
            raise ValueError(f"{where}: {name} must have {len(x)} entries, one a row, got {list(values.shape)}")
    bad = ~np.isfinite(x).all(axis=1) | ~x.any(axis=1)
    if bad.any():
        raise ValueError(f"{where}: features has {int(bad.sum())} rows that are zero or not finite, such as row {int(bad.argmax())}")
    codes, person = (np.unique(values, return_inverse=True)[1] for values in (names, who))
    for number, label in enumerate(np.unique(names)):
        if len(np.unique(person[codes == number])) < 2:
            raise ValueError(f"{where}: label {str(label)!r} is of one person alone, whom nobody can be found for")
    return x, codes, person


def _scores(order: Array, there: Array, codes: Array, k: Sequence[int]) -> dict[str, Array]:
    """Scores of every query [n]; NaN where nobody else has the label."""
    found = codes[order]
    hit = (found == codes[:, None]) & there
    relevant = hit.sum(axis=1)
    precision = np.cumsum(hit, axis=1) / np.arange(1, hit.shape[1] + 1)
    known = relevant > 0
    out: dict[str, Array] = {}
    for number in k:
        first = hit[:, :number]
        out[f"top_{number}"] = np.where(known, first.any(axis=1), np.nan)
        out[f"vote_{number}"] = np.where(known, _vote(found[:, :number], there[:, :number]) == codes, np.nan)
        share = (precision[:, :number] * first).sum(axis=1) / np.maximum(np.minimum(number, relevant), 1)
        out[f"map_{number}"] = np.where(known, share, np.nan)
    out["map"] = np.where(known, (precision * hit).sum(axis=1) / np.maximum(relevant, 1), np.nan)
    return out


def _vote(found: Array, there: Array) -> Array:
    """The most frequent label of each row; of several the one that comes first."""
    counts = ((found[:, :, None] == found[:, None, :]) & there[:, None, :]).sum(axis=2) * there
    voted: Array = np.take_along_axis(found, counts.argmax(axis=1)[:, None], axis=1)[:, 0]
    return voted


def _by_person(scores: dict[str, Array], person: Array) -> dict[str, Array]:
    """Means over the rows of each person; people without a score do not count."""
    out = {}
    for metric, values in scores.items():
        known = np.isfinite(values)
        sums = np.bincount(person, np.where(known, values, 0.0))
        counts = np.bincount(person, known)
        out[metric] = sums[counts > 0] / counts[counts > 0]
    return out


def _dealt(codes: Array, person: Array, rng: np.random.Generator) -> Array:
    """Labels of people dealt out anew: a person's rows get those of another, in turn."""
    rows = [np.flatnonzero(person == p) for p in range(int(person.max()) + 1)]
    other = rng.permutation(len(rows))
    out = codes.copy()
    for own, source in zip(rows, other, strict=True):
        out[own] = np.resize(codes[rows[source]], len(own))
    return out
