"""Concordance of predicted risks with times that may be censored (C-index), and its interval over people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sslmed._checks import choice, number, whole

__all__ = ["Concordance", "censoring_weights", "concordance_index", "pairs_of"]

Array = np.ndarray[Any, Any]
Kind = Literal["harrell", "uno"]


@dataclass(frozen=True)
class Concordance:
    """A C-index with its 95 % interval."""

    value: float
    """Share of comparable pairs in which the one with the earlier event has the higher risk; equal risks count one half."""
    low: float
    high: float
    pairs: int
    """Number of comparable pairs."""
    n_subjects: int
    """Number of people."""


def concordance_index(
    risk: Array,
    time: Array,
    event: Array,
    *,
    subject: Array | None = None,
    kind: Kind = "harrell",
    censoring: tuple[Array, Array] | None = None,
    tau: float | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Concordance:
    """C-index of Harrell (JAMA 1982) or Uno (Stat. Med. 2011), with a bootstrap interval over people.

    A pair is comparable where the earlier time is that of an event; of equal times, where only one is. Harrell's index
    depends on the censoring of the cohort; Uno's weighs each pair by how likely it was to stay uncensored.

    Args:
        risk: [n] predicted risks: the higher, the earlier the event.
        time: [n] times of the event or of censoring.
        event: [n] 1 where the event was seen, 0 where the time is censored.
        subject: [n] whose rows they are; people are drawn in the bootstrap, and no pair is of one person. None: a person a row.
        kind: "harrell" or "uno".
        censoring: Times and events of the people by whom the censoring is estimated ("uno"): the training people. None:
            these people.
        tau: Latest time of an event that counts ("uno"); None: all.
        draws: Draws of the bootstrap; 0: no interval.
        seed: Seed of the draws.

    Raises:
        ValueError: Lengths differ, numbers are not finite, or no pair is comparable.

    Examples:
        >>> import numpy as np
        >>> from sslmed.evaluation.concordance import concordance_index
        >>> time, event = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1, 1, 0, 1])
        >>> concordance_index(np.array([4.0, 3.0, 2.0, 1.0]), time, event, draws=0).value
        1.0
    """
    where = "concordance_index"
    choice(where, "kind", kind, ("harrell", "uno"))
    whole(where, "draws", draws)
    whole(where, "seed", seed)
    risk, time, event = _columns(where, risk, time, event)
    who = np.arange(len(risk)) if subject is None else np.unique(np.asarray(subject).astype(str), return_inverse=True)[1]
    if len(who) != len(risk):
        raise ValueError(f"{where}: subject must have {len(risk)} entries, one a row, got {len(who)}")
    weights = None
    if kind == "uno":
        weights = censoring_weights(*((time, event) if censoring is None else censoring), time)
        if tau is not None:
            number(where, "tau", tau, 0, strict=True)
            weights = np.where(time < tau, weights, 0.0)
    right, all_ = pairs_of(risk, time, event, weights=weights, apart=who)
    if not all_.sum() > 0:
        raise ValueError(f"{where}: no pair is comparable: there must be an event before somebody else's time")
    people = int(who.max()) + 1
    low, high = bootstrap([right], [all_], who, draws=draws, seed=seed)
    return Concordance(float(right.sum() / all_.sum()), low, high, int((all_ > 0).sum()), people)


def pairs_of(
    risk: Array, time: Array, event: Array, *, weights: Array | None = None, apart: Array | None = None, within: Array | None = None
) -> tuple[Array, Array]:
    """Which pairs are right, and which are comparable.

    Args:
        risk: [n] risks.
        time: [n] times.
        event: [n] 0 or 1.
        weights: [n] weight of the pairs in which a row has the earlier event; None: 1.
        apart: [n] numbers of people; pairs of one person do not count.
        within: [n] numbers of folds; pairs of two folds do not count: risks of two fits have no common zero.

    Returns:
        Two matrices [n, n]: credit (0, .5 or 1 times the weight) and weight of the pair in which row i has the event first.
    """
    seen = np.asarray(event) == 1
    first = (time[:, None] < time[None]) | ((time[:, None] == time[None]) & ~seen[None])
    comparable = first & seen[:, None]
    for labels, same in ((apart, False), (within, True)):
        if labels is not None:
            comparable &= (labels[:, None] == labels[None]) == same
    np.fill_diagonal(comparable, False)
    weight = comparable * (1.0 if weights is None else np.asarray(weights)[:, None])
    credit = (risk[:, None] > risk[None]) + 0.5 * (risk[:, None] == risk[None])
    return weight * credit, weight


def censoring_weights(time: Array, event: Array, at: Array) -> Array:
    """1 / G(t)² at times, G being the Kaplan-Meier estimate of not being censored until then (events come before censoring).

    Args:
        time: [m] times of the people by whom censoring is estimated.
        event: [m] 0 or 1.
        at: [n] times; 0 is returned where G is 0.
    """
    _, time, event = _columns("censoring_weights", np.zeros(len(np.asarray(time))), time, event)
    times = np.unique(time)
    at_risk = np.array([(time >= t).sum() - ((time == t) & (event == 1)).sum() for t in times])
    left = np.array([((time == t) & (event == 0)).sum() for t in times])
    survival = np.cumprod(1 - left / np.maximum(at_risk, 1))
    place = np.searchsorted(times, at, side="right") - 1
    g = np.where(place < 0, 1.0, survival[np.maximum(place, 0)])
    out: Array = np.divide(1.0, g**2, out=np.zeros_like(g), where=g > 0)
    return out


def bootstrap(right: list[Array], all_: list[Array], person: Array, *, draws: int, seed: int, confidence: float = 0.95) -> tuple[float, float]:
    """Percentiles of the mean over repeats of right pairs among comparable ones, people drawn with replacement.

    Args:
        right: Credit [n, n] of each repeat.
        all_: Weight [n, n] of each repeat.
        person: [n] numbers of people.
        draws: Number of draws; 0: NaN.
        seed: Seed.
        confidence: Share of draws inside.
    """
    values = resampled(right, all_, person, draws=draws, seed=seed)
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def resampled(right: list[Array], all_: list[Array], person: Array, *, draws: int, seed: int) -> Array:
    """[draws] C-indices of people drawn with replacement; the draws depend on the seed and the number of people alone."""
    rng, people = np.random.default_rng(seed), int(person.max()) + 1
    times = rng.multinomial(people, np.full(people, 1 / people), size=draws)[:, person].astype(float)  # [draws, n]
    found = []
    for credit, weight in zip(right, all_, strict=True):
        top, bottom = (np.einsum("dn,dn->d", times @ part, times) for part in (credit, weight))
        found.append(np.divide(top, bottom, out=np.full(draws, np.nan), where=bottom > 0))
    return np.asarray(np.mean(found, axis=0))


def _columns(where: str, risk: Any, time: Any, event: Any) -> tuple[Array, Array, Array]:
    given = {"risk": risk, "time": time, "event": event}
    out = {name: np.asarray(values, dtype=float) for name, values in given.items()}
    for name, values in out.items():
        if values.ndim != 1 or len(values) != len(out["risk"]) or not len(values):
            raise ValueError(f"{where}: {name} must be [n >= 1], as long as the others, got {list(values.shape)}")
        if not np.isfinite(values).all():
            raise ValueError(f"{where}: {name} must be finite; {int((~np.isfinite(values)).sum())} values are not")
    if not np.isin(out["event"], (0, 1)).all():
        raise ValueError(f"{where}: event must be 0 (censored) or 1 (seen)")
    return out["risk"], out["time"], out["event"]
