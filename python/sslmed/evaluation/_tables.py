"""Tables of recordings: checks of their columns, and one line a person."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from sslmed.labels import class_names

__all__ = ["check_table", "classes_of", "is_number", "people"]

Array = np.ndarray[Any, Any]


def check_table(where: str, table: Any, parameter: str, columns: Iterable[str], *, needs: tuple[str, ...] = ("subject",)) -> list[str]:
    """Checks that a table has columns.

    Args:
        where: Start of the message of an error.
        table: The table.
        parameter: Name of the parameter that names the columns.
        columns: Columns that the caller asks for.
        needs: Columns that the table needs besides, without missing values.

    Returns:
        The columns as a list.

    Raises:
        TypeError: ``table`` is not a DataFrame, or ``columns`` a text.
        ValueError: A column is missing, none is named, or one of ``needs`` has a missing value.
    """
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"{where}: table={table!r} must be a DataFrame, such as cohort.table, got {type(table).__name__}")
    if isinstance(columns, str):
        raise TypeError(f"{where}: {parameter}={columns!r} must be a list of columns, such as [{columns!r}]")
    found = list(columns)
    if not found:
        raise ValueError(f"{where}: {parameter}={columns!r} must name at least one column; there are {_listed(table)}")
    if missing := [c for c in found if c not in table]:
        raise ValueError(f"{where}: {parameter}: {missing[0]!r} is not a column of table; there are {_listed(table)}")
    for column in needs:
        if column not in table:
            raise ValueError(f"{where}: table has no column {column!r}; there are {_listed(table)}")
        if (empty := np.flatnonzero(table[column].isna())).size:
            raise ValueError(f"{where}: table: column {column!r} has {len(empty)} missing values, such as row {empty[0]}")
    return found


def _listed(table: pd.DataFrame) -> str:
    return ", ".join(map(str, table.columns))


def is_number(values: pd.Series[Any]) -> bool:
    """Whether a column is made of numbers. True and false are two classes."""
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def people(table: pd.DataFrame, columns: list[str], *, by: tuple[str, ...] = ("subject",)) -> pd.DataFrame:
    """One line a person (or a person and class) in the order of their first rows: the first value that is known of each column."""
    return table.groupby(list(by), sort=False, observed=True)[[c for c in columns if c not in by]].first().reset_index()


def classes_of(where: str, table: pd.DataFrame, target: str) -> pd.DataFrame:
    """The rows whose class is known, with the class as a text.

    Raises:
        ValueError: The column is missing, is made of numbers to regress, or has fewer than two classes.
    """
    check_table(where, table, "target", [target])
    known = table[table[target].notna()]
    values = known[target].infer_objects()
    if is_number(values) and (values.nunique() > 10 or not np.array_equal(values, np.round(values))):
        raise ValueError(f"{where}: target={target!r} must be a column of classes, got numbers to regress; cut it into classes first")
    names = class_names(values.to_numpy())
    if len(found := np.unique(names)) < 2:
        raise ValueError(f"{where}: target={target!r} must have at least two classes, got {', '.join(map(repr, map(str, found))) or 'an empty column'}")
    return known.assign(**{target: names})
