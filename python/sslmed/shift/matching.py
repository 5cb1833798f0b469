"""Matching: pairs of subjects of two cohorts that are alike, for example in age and sex, and how well that worked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sslmed.cohort import Cohort
from sslmed.evaluation.matching import assign

__all__ = ["Match", "balance", "match"]


@dataclass
class Match:
    """Two cohorts of matched subjects (:func:`match`)."""

    a: Cohort
    """Matched subjects of the first cohort."""
    b: Cohort
    """Matched subjects of the second cohort."""
    pairs: pd.DataFrame
    """One line a pair: subject_a, subject_b, distance (sum over numeric columns of the difference / the caliper)."""
    balance: pd.DataFrame
    """column, before, after: the difference between the cohorts (:func:`balance`) before and after matching."""


def match(a: Cohort, b: Cohort, on: Mapping[str, float | None]) -> Match:
    """Pairs subjects of two cohorts: as many pairs as the calipers allow, and among those the closest.

    Args:
        a: First cohort; each subject is in one pair at most.
        b: Second cohort; each subject is in one pair at most.
        on: Columns to match on. The value is the largest allowed difference of a numeric column (its caliper); None:
            values must be equal.

    See Also:
        :func:`sslmed.evaluation.matching.match_within`: Pairs within one cohort.

    Raises:
        TypeError: ``a`` or ``b`` is not a cohort, or ``on`` not a mapping.
        ValueError: A column is missing, a caliper is not positive or its column not numeric, or no pair is possible.

    Examples:
        >>> import numpy as np, pandas as pd
        >>> import sslmed as sm
        >>> def people(name, ages):
        ...     table = pd.DataFrame({"subject": [f"{name}{i}" for i in range(len(ages))], "age": ages})
        ...     return sm.Cohort.from_arrays(np.ones((len(ages), 1, 100)), 100, ["Cz"], table, name=name)
        >>> matched = sm.shift.match(people("a", [20.0, 30.0, 60.0]), people("b", [31.0, 22.0]), {"age": 2.0})
        >>> matched.pairs["subject_b"].tolist()
        ['b1', 'b0']
    """
    if not isinstance(on, Mapping):
        raise TypeError(f"match: on={on!r} must be a mapping of columns to calipers, such as {{'age': 2.0, 'sex': None}}")
    known = [_known("match", name, cohort, "on", on) for name, cohort in (("a", a), ("b", b))]
    one, two = a.subjects.dropna(subset=known[0]), b.subjects.dropna(subset=known[1])
    rows, columns, distance = assign(one, two, on, where="match")
    if not len(rows):
        raise ValueError(f"match: on={dict(on)!r} allows no pair of {a.name} and {b.name}; widen a caliper")
    pairs = pd.DataFrame({"subject_a": one["subject"].to_numpy()[rows], "subject_b": two["subject"].to_numpy()[columns], "distance": distance})
    matched = (a.subset(a.table["subject"].isin(pairs["subject_a"]).to_numpy()), b.subset(b.table["subject"].isin(pairs["subject_b"]).to_numpy()))
    before, after = balance(a, b, list(on)), balance(*matched, list(on))
    return Match(*matched, pairs, before.rename(columns={"difference": "before"}).assign(after=after["difference"]))


def balance(a: Cohort, b: Cohort, columns: list[str]) -> pd.DataFrame:
    """Computes how different two cohorts are.

    Args:
        a: First cohort.
        b: Second cohort.
        columns: Columns to compare.

    Returns:
        column, difference: of a numeric column the standardized mean difference (b - a, over the pooled standard
        deviation), of others the largest difference in shares.

    Raises:
        TypeError: ``a`` or ``b`` is not a cohort.
        ValueError: A column is missing.
    """
    lines = []
    for name, cohort in (("a", a), ("b", b)):
        _known("balance", name, cohort, "columns", columns)
    for column in columns:
        x, y = (c.subjects[column].dropna() for c in (a, b))
        if pd.api.types.is_numeric_dtype(x) and pd.api.types.is_numeric_dtype(y):
            spread = float(np.sqrt((x.var(ddof=1) + y.var(ddof=1)) / 2))
            value = (y.mean() - x.mean()) / spread if spread > 0 else float("nan")
        else:
            value = max(abs((x == level).mean() - (y == level).mean()) for level in set(x) | set(y))
        lines.append((column, float(value)))
    return pd.DataFrame(lines, columns=["column", "difference"])


def _known(where: str, name: str, cohort: Cohort, parameter: str, on: Iterable[str]) -> list[str]:
    if not isinstance(cohort, Cohort):
        raise TypeError(f"{where}: {name}={cohort!r} must be a Cohort, got {type(cohort).__name__}")
    if not on:
        raise ValueError(f"{where}: {parameter}={on!r} must name at least one column; there are {', '.join(cohort.subjects.columns)}")
    if missing := [c for c in on if c not in cohort.subjects]:
        raise ValueError(f"{where}: {parameter}: {missing[0]!r} is not a column of {cohort.name}; there are {', '.join(cohort.subjects.columns)}")
    return list(on)
