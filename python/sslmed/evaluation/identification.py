"""Re-identification: how well features tell one person from all others by another recording."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import t

from sslmed._checks import whole
from sslmed.evaluation.intervals import LEAST

__all__ = ["Identified", "cosine", "differs", "rank_one", "verification"]

Array = np.ndarray[Any, Any]

_GROUPS = 200  # of people that are left out together, where there are more


@dataclass(frozen=True)
class Identified:
    """A score of re-identification with its interval."""

    value: float
    low: float
    """Lower end of the 95 % interval over people; NaN with fewer than ten."""
    high: float
    left_out: Array
    """Score without each person, or group of people where there are many [G]."""
    p: float
    """Share of exchanges of people between the two recordings that score at least as well."""


def cosine(gallery: Array, probes: Array) -> Array:
    """Computes how alike the features of recordings are, as the cosine of standardized features.

    Args:
        gallery: Features of one recording of each person [n, D]; they also give the mean and deviation of each feature.
        probes: Features of other recordings [m, D].

    Returns:
        [m, n]; zero where features carry nothing.

    Raises:
        ValueError: Shapes that do not fit.

    Examples:
        >>> import numpy as np
        >>> from sslmed.evaluation.identification import cosine
        >>> x = np.random.default_rng(0).normal(size=(4, 8))
        >>> cosine(x, x[:2]).argmax(axis=1).tolist()
        [0, 1]
    """
    if gallery.ndim != 2 or probes.ndim != 2 or gallery.shape[1] != probes.shape[1]:
        raise ValueError(f"cosine: gallery and probes must be [n, D] and [m, D], got {list(gallery.shape)} and {list(probes.shape)}")
    mean, scale = gallery.mean(axis=0), gallery.std(axis=0)
    scale = np.where(scale > 1e-12 * np.maximum(np.abs(mean), 1e-300), scale, np.inf)
    a, b = (gallery - mean) / scale, (probes - mean) / scale
    size = np.maximum(np.linalg.norm(b, axis=1)[:, None] * np.linalg.norm(a, axis=1)[None], 1e-300)
    return np.asarray(b @ a.T / size)


def rank_one(similarity: Array, owner: Array, *, draws: int = 999, seed: int = 0) -> Identified:
    """Scores how often a person's other recording is nearest to their own one in a gallery of all persons.

    The chance of it is one over the number of persons in the gallery.

    Args:
        similarity: Similarity of each probe, one a person, to each recording of the gallery [m, n].
        owner: Place in the gallery of each probe's person [m].
        draws: Number of exchanges of people for the p value.
        seed: Seed of the exchanges.

    Returns:
        The share of persons who are found, with its interval over persons.

    Raises:
        ValueError: Shapes that do not fit.

    Examples:
        >>> import numpy as np
        >>> from sslmed.evaluation.identification import cosine, rank_one
        >>> rng = np.random.default_rng(0)
        >>> person = rng.normal(size=(20, 8))
        >>> first, second = (person + 0.1 * rng.normal(size=(20, 8)) for _ in range(2))
        >>> rank_one(cosine(first, second), np.arange(20)).value
        1.0
    """
    s, owner = _checked("rank_one", similarity, owner, draws, seed)
    found = _found(s, owner)
    m = len(found)
    left = (found.sum() - found) / max(m - 1, 1)
    p = _exchanged(float(found.mean()), owner, lambda o: float(_found(s, o).mean()), draws, seed)
    # Two more were found and two more missed (Agresti & Coull, Am. Stat. 1998). Persons are independent enough: leaving them out of the gallery too would
    # count what each two have to do with each other twice.
    center = (m * found.mean() + 2) / (m + 4)
    return _with_interval(float(found.mean()), center, center * (1 - center) / (m + 4), left, m, p)


def verification(similarity: Array, owner: Array, *, draws: int = 999, seed: int = 0) -> Identified:
    """Scores whether two recordings of one person are more alike than those of two persons: the area under the ROC curve over all pairs.

    Args:
        similarity: As for :func:`rank_one`.
        owner: As for :func:`rank_one`.
        draws: Number of exchanges of people for the p value.
        seed: Seed of the exchanges.

    Returns:
        The area, with its interval by leaving each person out of all pairs.

    Raises:
        ValueError: Shapes that do not fit.

    Examples:
        >>> import numpy as np
        >>> from sslmed.evaluation.identification import cosine, verification
        >>> rng = np.random.default_rng(0)
        >>> person = rng.normal(size=(20, 8))
        >>> first, second = (person + 0.1 * rng.normal(size=(20, 8)) for _ in range(2))
        >>> verification(cosine(first, second), np.arange(20)).value > 0.99
        True
    """
    s, owner = _checked("verification", similarity, owner, draws, seed)
    m, n = s.shape
    group = _groups(n)
    apart = np.ones((m, n), bool)
    apart[np.arange(m), owner] = False
    flat = np.sort(s[apart])
    same = s[np.arange(m), owner]

    def below(values: Array, ordered: Array) -> Array:
        return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / 2

    wins, left = below(same, flat), []
    for g in range(int(group.max()) + 1):
        out = group == g
        kept = ~out[owner]
        gone = np.sort(np.concatenate([s[~kept][apart[~kept]], s[kept][:, out][apart[kept][:, out]]]))
        pairs = len(flat) - len(gone)
        left.append((wins[kept] - below(same[kept], gone)).mean() / pairs if kept.any() and pairs else np.nan)

    def area(o: Array) -> float:
        own = s[np.arange(m), o]
        # Of all pairs but those of a person with themselves: the own ones are taken off again.
        return float((below(own, everything) - below(own, np.sort(own))).mean() / (m * (n - 1)))

    everything, value, kept_out = np.sort(s.ravel()), float(wins.mean() / len(flat)), np.array(left)
    p = _exchanged(value, owner, area, draws, seed)
    g = len(kept_out)
    variance = (g - 1) / g * float(((kept_out - kept_out.mean()) ** 2).sum())
    center = float(np.clip(value, 0.5 / (m + 1), 1 - 0.5 / (m + 1)))
    if not variance > 1e-18:  # all pairs in order: as if one half were not
        return _with_interval(value, center, center * (1 - center) / (m + 4), kept_out, m, p)
    return _with_interval(value, value, variance, kept_out, m, p)


def differs(a: Identified, b: Identified) -> tuple[float, float]:
    """Compares two scores of the same people.

    Args:
        a: A score.
        b: The same score of other features.

    Returns:
        The difference, and its p value by leaving each person out of both (Student's t); NaN with fewer than ten people or where nothing varies.

    Examples:
        >>> import numpy as np
        >>> from sslmed.evaluation.identification import cosine, differs, rank_one
        >>> rng = np.random.default_rng(0)
        >>> person = rng.normal(size=(20, 8))
        >>> first, second = (person + 0.1 * rng.normal(size=(20, 8)) for _ in range(2))
        >>> good = rank_one(cosine(first, second), np.arange(20))
        >>> bad = rank_one(cosine(rng.normal(size=(20, 8)), second), np.arange(20))
        >>> difference, p = differs(good, bad)
        >>> difference > 0.5, p < 0.01
        (True, True)
    """
    change = a.left_out - b.left_out
    g = len(change)
    spread = float(np.sqrt((g - 1) / g * ((change - change.mean()) ** 2).sum()))
    value = a.value - b.value
    if np.isnan(a.low) or not spread > 1e-12:
        return value, np.nan
    return value, float(2 * t.sf(abs(value) / spread, g - 1))


def _checked(where: str, similarity: Array, owner: Array, draws: int, seed: int) -> tuple[Array, Array]:
    whole(where, "draws", draws, 1)
    whole(where, "seed", seed)
    s, o = np.asarray(similarity, float), np.asarray(owner)
    if s.ndim != 2 or s.shape[1] < 2 or not len(s):
        raise ValueError(f"{where}: similarity must be [m >= 1, n >= 2], got {list(s.shape)}")
    if o.shape != (len(s),) or len(np.unique(o)) < len(o) or o.min() < 0 or o.max() >= s.shape[1]:
        raise ValueError(f"{where}: owner must name a place in the gallery for each of {len(s)} probes, and none twice")
    return s, o


def _groups(n: int) -> Array:
    return np.arange(n) % min(n, _GROUPS)


def _found(s: Array, owner: Array) -> Array:
    """1 where the own recording is nearest [m]; ties share."""
    top = s.max(axis=1, keepdims=True)
    tied = s >= top - 1e-12
    return np.asarray(tied[np.arange(len(s)), owner] / tied.sum(axis=1))


def _exchanged(value: float, owner: Array, score: Callable[[Array], float], draws: int, seed: int) -> float:
    """P value by exchanging people between the two recordings."""
    rng = np.random.default_rng(seed)
    reached = sum(score(rng.permutation(owner)) >= value - 1e-12 for _ in range(draws))
    return (1 + reached) / (1 + draws)


def _with_interval(value: float, center: float, variance: float, left: Array, m: int, p: float) -> Identified:
    """The interval on the scale of log odds."""
    if m < LEAST or not np.isfinite(left).all():
        return Identified(value, np.nan, np.nan, left, p)
    middle, half = np.log(center / (1 - center)), float(t.ppf(0.975, m - 1)) * np.sqrt(variance) / (center * (1 - center))
    return Identified(value, float(min(value, expit(middle - half))), float(max(value, expit(middle + half))), left, p)
