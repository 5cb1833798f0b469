"""What a column of a cohort is as a target: classes, or a number to be regressed."""

from __future__ import annotations

from typing import Any

import numpy as np

from sslmed.cohort import Cohort

__all__ = ["is_regression", "labelled"]

Array = np.ndarray[Any, Any]


def is_regression(target: Array) -> bool:
    """A numeric target is regressed, unless it is made of a few whole numbers that repeat: those are classes."""
    if not np.issubdtype(target.dtype, np.number):
        return False
    values = np.unique(target)
    classes = len(values) <= 10 and len(target) >= 3 * len(values) and np.array_equal(values, np.round(values))
    return not classes


def labelled(cohort: Cohort, target: str) -> tuple[Cohort, Array]:
    """The recordings that have a value of this column, and their values.

    Raises:
        ValueError: No such column, or an empty one.
    """
    if target not in cohort.table:
        raise ValueError(f"{cohort.name}: no column {target!r}; there are {', '.join(cohort.table.columns)}")
    known = cohort.table[target].notna().to_numpy()
    if not known.any():
        raise ValueError(f"{cohort.name}: column {target!r} is empty")
    cohort = cohort if known.all() else cohort.subset(known)
    return cohort, cohort.table[target].to_numpy()
