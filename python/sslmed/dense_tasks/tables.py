"""Names of networks, and means over people with their intervals, for tables of results."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from sslmed.encoders import CohortEncoder

__all__ = ["LEAST_PEOPLE", "interval", "name_of", "over_people"]

Array = np.ndarray[Any, Any]

LEAST_PEOPLE = 5
"""People that a bootstrap interval is given of."""
_RESAMPLES = 2000


def interval(people: Array, seed: int) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of a mean over people; NaN of fewer than :data:`LEAST_PEOPLE`.

    Args:
        people: One value a person [n].
        seed: Seed of the draws.
    """
    if len(people) < LEAST_PEOPLE:
        return math.nan, math.nan
    draw = np.random.default_rng(seed)
    means = people[draw.integers(0, len(people), (_RESAMPLES, len(people)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def over_people(cases: pd.DataFrame, value: str, seed: int) -> dict[str, Any]:
    """Mean, interval and number of people of a column of cases; each person counts once, with the mean of their cases.

    Args:
        cases: One line a case with ``subject`` and the column ``value``; NaN does not count.
        value: Name of the column.
        seed: Seed of the interval.

    Returns:
        value, low, high, n_subjects, median (over people).
    """
    people = cases.dropna(subset=[value]).groupby("subject")[value].mean().to_numpy()
    low, high = interval(people, seed)
    middle = (float(people.mean()), float(np.median(people))) if len(people) else (math.nan, math.nan)
    return {"value": middle[0], "low": low, "high": high, "n_subjects": len(people), "median": middle[1]}


def name_of(encoder: CohortEncoder, decoder: str) -> str:
    """What a network is called in tables."""
    config: Any = getattr(encoder, "config", None)
    known = config["name"] if isinstance(config, dict) and "name" in config else type(encoder).__name__
    return f"{known} + {decoder}"
