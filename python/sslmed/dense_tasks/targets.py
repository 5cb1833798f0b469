"""The column that holds what is learned."""

from __future__ import annotations

from sslmed.cohort import Cohort

__all__ = ["renamed_target"]


def renamed_target(cohort: Cohort, target: str, column: str) -> Cohort:
    """The cohort with its column ``target`` under the name ``column``, which modalities read.

    Raises:
        ValueError: The table has no such column.
    """
    if target == column:
        return cohort
    if target not in cohort.table:
        there = ", ".join(map(str, cohort.table.columns))
        raise ValueError(f"{cohort.name}: target={target!r} is not a column of the table; there are {there}")
    values = cohort.table[target].tolist()
    return Cohort(cohort.table.drop(columns=[target]).assign(**{column: values}), cohort.name, cohort.arrays)
