"""How different classes are in what could explain a score without the disease: age, sex, site, device."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from sslmed.evaluation._tables import check_table, classes_of, is_number, people

__all__ = ["IMBALANCED", "standardized_differences"]

Array = np.ndarray[Any, Any]

IMBALANCED = 0.25
"""Standardized difference above which classes count as imbalanced (Stuart, Stat. Sci. 2010)."""


def standardized_differences(table: pd.DataFrame, target: str, columns: Sequence[str]) -> pd.DataFrame:
    """Standardized differences between classes, counted by person.

    The difference does not depend on how many people there are, as a p value does. Of numbers it is the difference in
    means over the root of the mean of both variances (Austin, Stat. Med. 2009). Of categories it is the distance between
    both vectors of shares, scaled by their covariance (Yang and Dalton, SAS Global Forum 2012), and has no sign.

    Args:
        table: Recordings with ``subject``, one line each. A person counts once in each class that he or she has, with the
            first value that is known.
        target: Column of classes.
        columns: Columns to compare. Whole numbers are numbers: turn codes of sites into texts.

    Returns:
        One line a column: ``column``; ``difference``, the largest over pairs of classes, infinite where both classes are
        constant and differ, NaN where a class has no value; ``imbalanced``, whether its size is above :data:`IMBALANCED`;
        ``classes``, the pair, as "second - first"; ``n``, people of the pair with a value; ``missing``, people of any
        class without one.

    Raises:
        TypeError: ``table`` is not a DataFrame, or ``columns`` not a list.
        ValueError: A column is missing, or ``target`` has fewer than two classes or numbers to regress.

    Examples:
        >>> import pandas as pd
        >>> from sslmed.evaluation.confounding import standardized_differences
        >>> table = pd.DataFrame({"subject": range(6), "group": ["control"] * 3 + ["patient"] * 3, "age": [50, 55, 60, 58, 63, 68], "sex": list("FFMFMM")})
        >>> standardized_differences(table, "group", ["age", "sex"]).round(2)[["column", "difference", "imbalanced", "classes"]]
          column  difference  imbalanced            classes
        0    age        1.60        True  patient - control
        1    sex        0.71        True  patient - control
    """
    where = "standardized_differences"
    names = check_table(where, table, "columns", columns)
    persons = people(classes_of(where, table, target), names, by=("subject", target))
    classes = sorted(persons[target].unique())
    lines = []
    for column in names:
        values = persons[column]
        parts = {c: values[(persons[target] == c) & values.notna()] for c in classes}
        pairs = [(_difference(parts[a], parts[b]), a, b) for a, b in combinations(classes, 2)]
        value, a, b = max(pairs, key=lambda pair: -1.0 if np.isnan(pair[0]) else abs(pair[0]))
        lines.append((column, value, bool(abs(value) > IMBALANCED), f"{b} - {a}", len(parts[a]) + len(parts[b]), int(values.isna().sum())))
    return pd.DataFrame(lines, columns=["column", "difference", "imbalanced", "classes", "n", "missing"])


def _difference(x: pd.Series[Any], y: pd.Series[Any]) -> float:
    """Of ``y`` from ``x``, in units of their spread."""
    if not len(x) or not len(y):
        return float("nan")
    if is_number(x) and is_number(y):
        known = [float(v.var(ddof=1)) for v in (x, y) if len(v) > 1]  # one person alone has no spread
        gap, spread = float(y.mean() - x.mean()), float(np.sqrt(np.mean(known))) if known else float("nan")
        if spread > 0 or not known:
            return gap / spread
        return 0.0 if gap == 0 else float(np.copysign(np.inf, gap))
    levels = sorted(set(x) | set(y), key=str)[1:]  # shares sum to one, so one of them says nothing
    p, q = (np.array([float((v == level).mean()) for level in levels]) for v in (x, y))
    gap = q - p
    covariance = (np.diag(p) - np.outer(p, p) + np.diag(q) - np.outer(q, q)) / 2
    inverse = np.linalg.pinv(covariance, rcond=1e-10, hermitian=True)
    if not np.allclose(covariance @ inverse @ gap, gap, atol=1e-8):
        return float("inf")  # the classes differ where neither varies
    return float(np.sqrt(max(gap @ inverse @ gap, 0.0)))
