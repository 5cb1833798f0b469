"""Cohorts made alike: pairs of subjects close in age, equal in sex, and a table that says how alike they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from sslmed.cohort import Cohort

__all__ = ["Match", "balance", "match"]

Array = np.ndarray[Any, Any]


@dataclass
class Match:
    """Two cohorts of matched subjects."""

    a: Cohort
    b: Cohort
    pairs: pd.DataFrame
    """subject_a, subject_b, distance (sum over numeric columns of their difference by its caliper)."""
    balance: pd.DataFrame
    """column, before, after: standardised mean differences (numeric), or differences in shares (other columns: the largest)."""


def match(a: Cohort, b: Cohort, on: Mapping[str, float | None]) -> Match:
    """Pairs each subject of ``a`` with another one of ``b``: as many pairs as calipers allow, and among those the closest.

    Args:
        a: A cohort.
        b: Another; a subject is used once.
        on: Columns: for numeric ones the largest difference allowed (the caliper); None: must be equal.

    Raises:
        ValueError: A column is missing, a caliper is not positive or not for a number, or nobody can be paired.
    """
    one, two = a.subjects.dropna(subset=_known(a, on)), b.subjects.dropna(subset=_known(b, on))
    distance = np.zeros((len(one), len(two)))
    allowed = np.ones(distance.shape, bool)
    for column, caliper in on.items():
        x, y = one[column].to_numpy(), two[column].to_numpy()
        if caliper is None:
            allowed &= x[:, None] == y[None]
            continue
        if not caliper > 0 or not all(pd.api.types.is_numeric_dtype(t[column]) for t in (one, two)):
            raise ValueError(f"{column}: a caliper must be positive and its column numeric, got {caliper!r}")
        difference = np.abs(x.astype(float)[:, None] - y.astype(float)[None])
        allowed &= difference <= caliper
        distance += difference / caliper
    # A pair that is not allowed costs more than all that are together, so that no pair is given up for a shorter distance.
    forbidden = float(distance[allowed].max(initial=0.0) + 1) * (min(distance.shape) + 1)
    rows, columns = linear_sum_assignment(np.where(allowed, distance, forbidden))
    kept = allowed[rows, columns]
    rows, columns = rows[kept], columns[kept]
    if not len(rows):
        raise ValueError(f"{a.name} and {b.name}: no two subjects are within {dict(on)}")
    pairs = pd.DataFrame({"subject_a": one["subject"].to_numpy()[rows], "subject_b": two["subject"].to_numpy()[columns], "distance": distance[rows, columns]})
    matched = (a.subset(a.table["subject"].isin(pairs["subject_a"]).to_numpy()), b.subset(b.table["subject"].isin(pairs["subject_b"]).to_numpy()))
    before, after = balance(a, b, list(on)), balance(*matched, list(on))
    return Match(*matched, pairs, before.rename(columns={"difference": "before"}).assign(after=after["difference"]))


def balance(a: Cohort, b: Cohort, columns: list[str]) -> pd.DataFrame:
    """How different two cohorts are: b - a over the pooled standard deviation, or the largest difference in shares.

    Raises:
        ValueError: A column is missing.
    """
    lines = []
    for column in columns:
        x, y = (c.subjects[column].dropna() for c in (a, b) if _known(c, {column: None}))
        if pd.api.types.is_numeric_dtype(x) and pd.api.types.is_numeric_dtype(y):
            spread = float(np.sqrt((x.var(ddof=1) + y.var(ddof=1)) / 2))
            value = (y.mean() - x.mean()) / spread if spread > 0 else float("nan")
        else:
            value = max(abs((x == level).mean() - (y == level).mean()) for level in set(x) | set(y))
        lines.append((column, float(value)))
    return pd.DataFrame(lines, columns=["column", "difference"])


def _known(cohort: Cohort, on: Mapping[str, Any]) -> list[str]:
    missing = [c for c in on if c not in cohort.subjects]
    if missing or not on:
        raise ValueError(f"{cohort.name}: no column {', '.join(missing) or 'given'} to match on; there are {', '.join(cohort.subjects.columns)}")
    return list(on)
