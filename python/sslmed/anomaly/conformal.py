"""Thresholds with a promised rate of false alarms, from scores of healthy people who took no part in fitting."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from sslmed._checks import number

__all__ = ["Adjustment", "Thresholds", "check_columns", "conformal_threshold", "least_people", "share_threshold"]

Array = np.ndarray[Any, Any]


def least_people(rate: float) -> int:
    """Number of validation people without whom no threshold can promise a rate: the least n with (n + 1) · rate ≥ 1.

    Examples:
        >>> from sslmed.anomaly import least_people
        >>> least_people(0.05), least_people(0.1)
        (19, 9)
    """
    number("least_people", "rate", rate, 0, 1 - 1e-12, strict=True)
    return max(1, math.ceil(1 / rate - 1e-9) - 1)


def conformal_threshold(scores: Any, rate: float, where: str = "conformal_threshold") -> float:
    """A threshold that a new healthy score exceeds with at most the promised probability (split conformal prediction).

    It is the k-th smallest of the n scores, k = ⌈(n + 1)(1 - rate)⌉ (Vovk et al., 2005; Angelopoulos & Bates, arXiv
    2107.07511). If the new score is exchangeable with these, it is larger with probability at most ``rate``, and at
    least ``rate`` - 1 / (n + 1) where no two are equal, in the mean over draws of the validation people.

    Args:
        scores: [n] of people who took no part in fitting, one each.
        rate: Promised probability of a false alarm, within (0, 1).
        where: Start of messages.

    Raises:
        ValueError: There are too few scores for the rate, or some are not finite.

    Examples:
        >>> from sslmed.anomaly import conformal_threshold
        >>> conformal_threshold(range(1, 20), rate=0.1)  # 19 scores: the 18th
        18.0
    """
    values = _checked(scores, rate, where)
    k = math.ceil((len(values) + 1) * (1 - rate) - 1e-9)
    return float(np.sort(values)[k - 1])


def share_threshold(maps: Sequence[Any], rate: float, where: str = "share_threshold") -> float:
    """A threshold above which at most the promised share of a new healthy scan's cells lies, in the mean over scans.

    Conformal risk control (Angelopoulos et al., arXiv 2208.02814) of the share of cells above the threshold: the
    smallest λ with Σ share_i(λ) ≤ rate (n + 1) - 1. Cells of one scan may depend on each other in any way.

    Args:
        maps: For each of n people the scores of the cells of their scan.
        rate: Promised share, within (0, 1).
        where: Start of messages.

    Raises:
        ValueError: There are too few people for the rate, a map is empty or not finite.

    Examples:
        >>> import numpy as np
        >>> from sslmed.anomaly import share_threshold
        >>> maps = [np.arange(10.0) for _ in range(9)]
        >>> share_threshold(maps, rate=0.2)  # each may have a share of (0.2 * 10 - 1) / 9 = 0.11 above it: one cell
        8.0
    """
    cells = [_checked(one, rate, where, least=False) for one in maps]
    _enough(len(cells), rate, where)
    if any(len(one) == 0 for one in cells):
        raise ValueError(f"{where}: a scan has no cells that were looked at")
    values = np.concatenate(cells)
    weights = np.concatenate([np.full(len(one), 1 / len(one)) for one in cells])
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    above = np.cumsum(weights[order])  # of the values from the largest on
    last = np.append(np.flatnonzero(np.diff(ranked) != 0), len(ranked) - 1)  # of each value
    beyond = np.append(0.0, above[last][:-1])  # share above each of the different values
    allowed = rate * (len(cells) + 1) - 1
    return float(ranked[last[np.flatnonzero(beyond <= allowed + 1e-9)[-1]]])


def _checked(scores: Any, rate: float, where: str, least: bool = True) -> Array:
    number(where, "rate", rate, 0, 1 - 1e-12, strict=True)
    values: Array = np.asarray(list(scores) if isinstance(scores, range) else scores, np.float64).ravel()
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise ValueError(f"{where}: scores must be finite, {bad} of {len(values)} are not")
    if least:
        _enough(len(values), rate, where)
    return values


def _enough(n: int, rate: float, where: str) -> None:
    if n < least_people(rate):
        raise ValueError(
            f"{where}: {n} healthy validation people cannot promise a rate of {rate:g}: at least "
            f"{least_people(rate)} are needed; raise the rate, or give more people to validation"
        )


@dataclass(frozen=True)
class Adjustment:
    """What is expected of a healthy score by numbers such as age: a linear regression on training people."""

    columns: tuple[str, ...] = ()
    """Columns of numbers."""
    coefficients: tuple[float, ...] = (0.0,)
    """Intercept, and slope of each column."""

    @classmethod
    def fit(cls, table: pd.DataFrame, columns: Sequence[str], scores: Array) -> Adjustment:
        """Ordinary least squares.

        Args:
            table: Training people.
            columns: Columns of numbers.
            scores: Scores of these people by methods that were fitted without them.

        Raises:
            ValueError: There are fewer people than ten more than columns.
        """
        if not columns:
            return cls()
        if len(table) < 10 + len(columns):
            told = f"{len(table)} training scans are too few, expected {10 + len(columns)}"
            raise ValueError(f"covariates={list(columns)}: {told}")
        design = np.column_stack([np.ones(len(table)), table[list(columns)].to_numpy(np.float64)])
        found = np.linalg.lstsq(design, np.asarray(scores, np.float64), rcond=None)[0]
        return cls(tuple(columns), tuple(float(value) for value in found))

    def expected(self, table: pd.DataFrame) -> Array:
        """[n] what is expected of each row; 0 without columns."""
        if not self.columns:
            return np.zeros(len(table))
        slopes: Array = np.asarray(self.coefficients[1:])
        out: Array = self.coefficients[0] + table[list(self.columns)].to_numpy(np.float64) @ slopes
        return out


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of one method and kind of score, by group."""

    groups: tuple[str, ...]
    """Columns whose values each have a threshold of their own (Mondrian conformal prediction); empty: one for all."""
    by_group: Mapping[tuple[Hashable, ...], float]
    """Threshold of the score, after the adjustment, by the values of the columns, as texts."""
    adjustment: Adjustment = field(default_factory=Adjustment)
    """What is subtracted from scores before they are compared."""
    n: Mapping[tuple[Hashable, ...], int] = field(default_factory=dict)
    """Number of validation people of each group."""

    def of(self, table: pd.DataFrame, where: str) -> Array:
        """[n] the score above which each row is an alarm.

        Raises:
            ValueError: A row is of a group without validation people.
        """
        keys = group_keys(table, self.groups)
        if unknown := sorted({key for key in keys if key not in self.by_group}, key=str):
            told = ", ".join(f"{column}={value}" for column, value in zip(self.groups, unknown[0], strict=True))
            hint = "a rate cannot be promised there; leave the column out of groups"
            raise ValueError(f"{where}: no healthy validation person has {told}: {hint}")
        limits: Array = np.array([self.by_group[key] for key in keys], np.float64)
        out: Array = limits + self.adjustment.expected(table)
        return out


def group_keys(table: pd.DataFrame, groups: Sequence[str]) -> list[tuple[Hashable, ...]]:
    """The values of some columns of each row, as texts."""
    if not groups:
        return [()] * len(table)
    return [tuple(map(str, values)) for values in table[list(groups)].itertuples(index=False)]


def check_columns(where: str, table: pd.DataFrame, groups: Sequence[str], covariates: Sequence[str]) -> None:
    """Checks that each row has a group, and finite numbers to adjust its score by.

    Args:
        where: Start of messages.
        table: Table of a cohort.
        groups: Columns whose values have thresholds of their own.
        covariates: Columns of numbers.

    Raises:
        TypeError: A name stands where a list of them is expected.
        ValueError: A column is missing, a row has no value, or covariates are no finite numbers.
    """
    for option, columns in (("groups", groups), ("covariates", covariates)):
        if isinstance(columns, str):
            raise TypeError(f"{where}: {option}={columns!r} must be a list of columns")
        for column in columns:
            if column not in table:
                raise ValueError(f"{where}: {option}: the table has no column {column!r}")
            values = table[column]
            if values.isna().any():
                raise ValueError(f"{where}: {option}: row {int(values.isna().argmax())} has no {column!r}")
            if option == "covariates" and not pd.api.types.is_numeric_dtype(values):
                raise ValueError(f"{where}: {option}: column {column!r} must hold numbers; use groups")
            if option == "covariates" and not np.isfinite(values.to_numpy(np.float64)).all():
                raise ValueError(f"{where}: {option}: column {column!r} must hold finite numbers")
