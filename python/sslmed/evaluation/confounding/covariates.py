"""Columns of a table as the numbers that a model of confounders needs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sslmed._core import ValueWarning
from sslmed.evaluation._tables import check_table, is_number

__all__ = ["Levels", "covariate_levels", "design"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Levels:
    """What a column held in the training rows (:func:`covariate_levels`)."""

    values: tuple[str, ...] | None
    """Categories in the order of their names; None of numbers."""
    fill: float | str
    """What stands for a missing value: the mean, or the most frequent category."""
    missing: bool
    """Whether values were missing. The design then has a column that says where."""


def covariate_levels(table: pd.DataFrame, columns: Sequence[str]) -> dict[str, Levels]:
    """Reads from training rows how columns become numbers, so that :func:`design` treats other rows alike.

    Args:
        table: Training rows.
        columns: Columns of covariates. Whole numbers are numbers: turn codes of sites into texts.

    Returns:
        The levels of each column.

    Raises:
        TypeError: ``table`` is not a DataFrame, or ``columns`` not a list.
        ValueError: A column is not in the table, is empty, or has infinite numbers.

    Examples:
        >>> import pandas as pd
        >>> from sslmed.evaluation.confounding import covariate_levels
        >>> covariate_levels(pd.DataFrame({"sex": ["F", "M", "F", None]}), ["sex"])["sex"]
        Levels(values=('F', 'M'), fill='F', missing=True)
    """
    found = {}
    for column in check_table("covariate_levels", table, "columns", columns, needs=()):
        known = table[column].dropna().infer_objects()
        if known.empty:
            raise ValueError(f"covariate_levels: columns: column {column!r} is empty: no row has a value")
        missing = len(known) < len(table)
        if is_number(known):
            if not np.isfinite(known.to_numpy(float)).all():
                raise ValueError(f"covariate_levels: columns: column {column!r} has infinite numbers")
            found[column] = Levels(None, float(known.mean()), missing)
        else:
            counts = known.astype(str).value_counts()
            found[column] = Levels(tuple(sorted(counts.index)), min(counts.index[counts == counts.max()]), missing)
    return found


def design(table: pd.DataFrame, columns: Sequence[str], *, levels: Mapping[str, Levels] | None = None) -> tuple[Array, list[str]]:
    """Turns columns into covariates: numbers as they are, and a column of 0 and 1 for each category but the first.

    No row is left out. A missing value becomes the mean or the most frequent category of the training rows, and where
    training rows miss values too, a further column "age missing" says which rows do.

    Args:
        table: Rows.
        columns: Columns of covariates.
        levels: What :func:`covariate_levels` gave for the training rows, which fixes the columns of the result; None reads
            it from ``table``.

    Returns:
        Covariates [n, q], not scaled, and their names [q]: "age", "sex: M", "age missing". A column with one category
        has no covariate.

    Raises:
        TypeError: ``table`` is not a DataFrame, or ``columns`` not a list.
        ValueError: A column is in neither the table nor the levels, is empty, has infinite numbers, or has a category
            that training rows do not have.

    Warns:
        ValueWarning: Values are missing in a column that is complete in the training rows.

    Examples:
        >>> import pandas as pd
        >>> from sslmed.evaluation.confounding import covariate_levels, design
        >>> train = pd.DataFrame({"age": [60.0, None, 70.0], "site": ["a", "b", "c"]})
        >>> levels = covariate_levels(train, ["age", "site"])
        >>> values, names = design(pd.DataFrame({"age": [50.0, None], "site": ["c", "a"]}), ["age", "site"], levels=levels)
        >>> names
        ['age', 'age missing', 'site: b', 'site: c']
        >>> values.tolist()
        [[50.0, 0.0, 0.0, 1.0], [65.0, 1.0, 0.0, 0.0]]
    """
    wanted = check_table("design", table, "columns", columns, needs=())
    levels = covariate_levels(table, wanted) if levels is None else levels
    if unread := [c for c in wanted if c not in levels]:
        raise ValueError(f"design: levels has no entry for column {unread[0]!r}; it must come from covariate_levels(train, columns) with the same columns")
    parts: list[Array] = []
    names: list[str] = []
    for column in wanted:
        level, missing = levels[column], table[column].isna().to_numpy()
        if missing.any() and not level.missing:
            warnings.warn(
                f"design: column {column!r} has {int(missing.sum())} missing values, and training rows have none: {level.fill!r} stands for them",
                ValueWarning,
                stacklevel=2,
            )
        if level.values is None:
            parts.append(_numbers(table[column], level.fill))
            names.append(column)
        else:
            values = table[column].astype(object).where(~missing, level.fill).astype(str).to_numpy()
            if unknown := sorted(set(values) - set(level.values)):
                raise ValueError(
                    f"design: levels: column {column!r} has the value {unknown[0]!r}, but training rows only {', '.join(map(repr, level.values))}; "
                    "nothing is known of its effect: leave those rows out, or leave the column out"
                )
            parts += [(values == value).astype(float) for value in level.values[1:]]
            names += [f"{column}: {value}" for value in level.values[1:]]
        if level.missing:
            parts.append(missing.astype(float))
            names.append(f"{column} missing")
    return (np.stack(parts, axis=1) if parts else np.zeros((len(table), 0))), names


def _numbers(values: pd.Series[Any], fill: Any) -> Array:
    if len(values.dropna()) and not is_number(values.dropna().infer_objects()):
        raise ValueError(f"design: levels: column {values.name!r} is made of numbers in training rows, got {str(values.dropna().iloc[0])!r}")
    found = pd.to_numeric(values).astype(float).fillna(fill).to_numpy()
    if not np.isfinite(found).all():
        raise ValueError(f"design: columns: column {values.name!r} has infinite numbers")
    return np.asarray(found)
