"""Targets: whether a column is made of classes or of numbers to regress, and which recordings have a value."""

from __future__ import annotations

from typing import Any

import numpy as np

from sslmed.cohort import Cohort

__all__ = ["class_names", "is_regression", "labeled", "numbers_of"]

Array = np.ndarray[Any, Any]


def is_regression(target: Array, wanted: bool | None = None, groups: Array | None = None) -> bool:
    """Decides whether a target is regressed or classified.

    Numbers are regressed, unless they are at most ten whole numbers that repeat: three times as many people as values,
    where a person counts once for each value that they have. Those are classes. Anything else is classified.

    Args:
        target: Values of the target [n].
        wanted: True to regress, False to classify, None to decide by the values.
        groups: Subject of each row [n]; without it every row counts as a person.

    Raises:
        ValueError: Values that are not numbers cannot be regressed, or lengths differ.

    Examples:
        >>> import numpy as np
        >>> from sslmed.labels import is_regression
        >>> is_regression(np.array([23.5, 41.0, 67.2])), is_regression(np.array([0, 1] * 10))
        (True, False)
        >>> ages, subjects = np.repeat([30, 41, 52, 60], 4), np.repeat(list("abcd"), 4)  # four recordings a person
        >>> is_regression(ages), is_regression(ages, groups=subjects)
        (False, True)
    """
    if groups is not None and len(groups) != len(target):
        raise ValueError(f"is_regression: groups must have one subject for each of {len(target)} values, got {len(groups)}")
    if wanted is not None and not isinstance(wanted, (bool, np.bool_)):
        raise ValueError(f"regression={wanted!r} must be True, False, or None to decide by the values")
    numeric = np.issubdtype(target.dtype, np.number)
    if wanted and not numeric:
        raise ValueError(f"regression=True needs numbers as a target, got values such as {str(target[0])!r}")
    if wanted is not None or not numeric:
        return bool(wanted)
    values = np.unique(target)
    # Recordings of a person repeat their age, which makes no class of it.
    counted = len(target) if groups is None else len(set(zip(target.tolist(), np.asarray(groups).astype(str).tolist(), strict=True)))
    classes = len(values) <= 10 and counted >= 3 * len(values) and np.array_equal(values, np.round(values))
    return not classes


def class_names(values: Array) -> Array:
    """Converts classes to texts.

    Whole numbers get the same names whether or not a missing value among them made their column one of floats.

    Args:
        values: Classes [n], of any type.

    Examples:
        >>> import numpy as np
        >>> from sslmed.labels import class_names
        >>> [str(name) for name in class_names(np.array([0.0, 1.0]))]
        ['0', '1']
    """
    if np.issubdtype(values.dtype, np.floating) and np.array_equal(values, np.round(values)):
        values = values.astype(np.int64)
    return values.astype(str)


def labeled(cohort: Cohort, target: str, *, name: str = "cohort") -> tuple[Cohort, Array]:
    """Selects the recordings that have a value of a column.

    Args:
        cohort: Recordings.
        target: Column of the cohort's table.
        name: Name of the parameter that holds the cohort, for messages.

    Returns:
        The cohort of those recordings, and their values [n].

    Raises:
        TypeError: ``cohort`` is not a Cohort.
        ValueError: The column is missing, is empty or has infinite numbers.
    """
    if not isinstance(cohort, Cohort):
        raise TypeError(f"{name}={cohort!r} must be a Cohort (Cohort.from_bids, Cohort.from_table …), got {type(cohort).__name__}")
    if target not in cohort.table:
        raise ValueError(f"{cohort.name}: target={target!r} is not a column of the table; there are {', '.join(map(str, cohort.table.columns))}")
    known = cohort.table[target].notna().to_numpy()
    if not known.any():
        raise ValueError(f"{cohort.name}: target={target!r} is an empty column: no recording has a value")
    cohort = cohort if known.all() else cohort.subset(known)
    values = cohort.table[target].infer_objects().to_numpy()
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        raise ValueError(f"{cohort.name}: target={target!r} has infinite numbers; replace them or leave those recordings out")
    return cohort, values


def numbers_of(cohort: Cohort, column: str) -> list[float]:
    """The numbers of a column, one a recording; NaN where a recording has none.

    Args:
        cohort: Recordings.
        column: Column of the cohort's table.

    Raises:
        ValueError: The column is missing or empty, or holds something else than finite numbers.

    Examples:
        >>> import numpy as np, pandas as pd, sslmed as sm
        >>> from sslmed.labels import numbers_of
        >>> table = pd.DataFrame({"subject": ["a", "b"], "age": [31.0, None]})
        >>> numbers_of(sm.Cohort.from_arrays(np.random.randn(2, 2, 800), 100.0, ["Cz", "Pz"], table), "age")
        [31.0, nan]
    """
    if column not in cohort.table:
        raise ValueError(f"{cohort.name}: target={column!r} is not a column of the table; there are {', '.join(map(str, cohort.table.columns))}")
    values = cohort.table[column]
    if values.isna().all():
        raise ValueError(f"{cohort.name}: target={column!r} is an empty column: no recording has a value")
    try:
        numbers = values.to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError):
        raise ValueError(f"{cohort.name}: target={column!r} must hold numbers, found {values.dropna().iloc[0]!r}") from None
    if np.isinf(numbers).any():
        raise ValueError(f"{cohort.name}: target={column!r} has infinite numbers; replace them or leave those recordings out")
    return [float(number) for number in numbers]
