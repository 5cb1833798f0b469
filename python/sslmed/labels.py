"""What a column of a cohort is as a target: classes, or a number to be regressed."""

from __future__ import annotations

from typing import Any

import numpy as np

from sslmed.cohort import Cohort

__all__ = ["class_names", "is_regression", "labelled"]

Array = np.ndarray[Any, Any]


def is_regression(target: Array, wanted: bool | None = None) -> bool:
    """A numeric target is regressed, unless it is made of a few whole numbers that repeat: those are classes. Unless somebody says which.

    Raises:
        ValueError: What is no number is to be regressed.
    """
    numeric = np.issubdtype(target.dtype, np.number)
    if wanted and not numeric:
        raise ValueError(f"only numbers can be regressed, and there are values such as {str(target[0])!r}")
    if wanted is not None or not numeric:
        return bool(wanted)
    values = np.unique(target)
    classes = len(values) <= 10 and len(target) >= 3 * len(values) and np.array_equal(values, np.round(values))
    return not classes


def class_names(values: Array) -> Array:
    """Classes by name, as texts. Whole numbers are named alike whether or not a missing value among them made the column one of floats."""
    if np.issubdtype(values.dtype, np.floating) and np.array_equal(values, np.round(values)):
        values = values.astype(np.int64)
    return values.astype(str)


def labelled(cohort: Cohort, target: str) -> tuple[Cohort, Array]:
    """The recordings that have a value of this column, and their values.

    Raises:
        ValueError: No such column, an empty one, or one with infinite numbers.
    """
    if not isinstance(cohort, Cohort):
        raise TypeError(f"expected a Cohort (Cohort.from_bids, Cohort.from_table …), got {type(cohort).__name__}")
    if target not in cohort.table:
        raise ValueError(f"{cohort.name}: no column {target!r}; there are {', '.join(cohort.table.columns)}")
    known = cohort.table[target].notna().to_numpy()
    if not known.any():
        raise ValueError(f"{cohort.name}: column {target!r} is empty")
    cohort = cohort if known.all() else cohort.subset(known)
    values = cohort.table[target].infer_objects().to_numpy()
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        raise ValueError(f"{cohort.name}: column {target!r} has infinite numbers")
    return cohort, values
