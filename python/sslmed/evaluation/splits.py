"""Folds: training and test rows of a cohort, checked so that no subject and no file is in both."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from sslmed._checks import whole
from sslmed._core import UntestedWarning
from sslmed.cohort import Cohort
from sslmed.leakage import groups, refuse_shared_files

__all__ = ["CV", "Fold", "repeated", "splits"]

Array = np.ndarray[Any, Any]
Fold: TypeAlias = tuple[Array, Array]
"""Positions of training rows and of test rows."""
CV: TypeAlias = int | Literal["loso"] | Iterable[Any] | Any
"""A number of folds, "loso", a splitter of scikit-learn, or pairs of training and test rows."""


def splits(cohort: Cohort, cv: CV = 5, *, stratify: str | None = None, seed: int = 0, duplicates: pd.DataFrame | None = None) -> list[Fold]:
    """Splits a cohort into folds that share no subject and no file between training and test rows.

    Args:
        cohort: Recordings to split.
        cv: One of

            - a number of folds over subjects, stratified by ``stratify`` and shuffled by ``seed``;
            - "loso": one fold a subject (leave one subject out);
            - a splitter of scikit-learn, which gets the values of ``stratify`` as y and the subjects as groups;
            - pairs (train, test) of row positions, or of masks.

            What a splitter or the pairs give is checked.
        stratify: Column of classes that every training part must have at least two of.
        seed: Seed of the folds of a number; splitters have their own ``random_state``.
        duplicates: Pairs of :func:`sslmed.leakage.find`: subjects that they link count as one (:func:`sslmed.leakage.groups`).

    Returns:
        Pairs (train, test) of row positions, in the order of the folds.

    Raises:
        ValueError: ``cv`` is none of these, a subject or a file is on both sides of a fold, a row is tested twice, a
            part is empty, or there are too few subjects.

    Warns:
        UntestedWarning: Some rows are in no test part.

    Examples:
        >>> import numpy as np, pandas as pd
        >>> from sklearn.model_selection import GroupKFold
        >>> import sslmed as sm
        >>> table = pd.DataFrame({"subject": ["a", "a", "b", "b", "c", "c"]})
        >>> cohort = sm.Cohort.from_arrays(np.random.default_rng(0).normal(size=(6, 1, 100)), 100, ["Cz"], table)
        >>> [test.tolist() for _, test in sm.evaluation.splits(cohort, "loso")]
        [[0, 1], [2, 3], [4, 5]]
        >>> len(sm.evaluation.splits(cohort, GroupKFold(3)))
        3
    """
    if not isinstance(cohort, Cohort):
        raise TypeError(f"splits: cohort={cohort!r} must be a Cohort, got {type(cohort).__name__}")
    if stratify is not None and stratify not in cohort.table:
        raise ValueError(f"{cohort.name}: stratify={stratify!r} is not a column of the table; there are {', '.join(map(str, cohort.table.columns))}")
    whole("splits", "seed", seed)
    if duplicates is not None:
        try:
            cohort = cohort.with_columns(subject=groups(cohort, duplicates))
        except ValueError as error:
            raise ValueError(f"splits: duplicates: {error}") from None
    if isinstance(cv, str) or (isinstance(cv, (int, np.integer)) and not isinstance(cv, bool)):
        n = int(cohort.table["subject"].nunique())
        if (isinstance(cv, str) and cv != "loso") or (not isinstance(cv, str) and not 2 <= cv <= n):
            raise ValueError(f"{cohort.name}: cv={cv!r} must be 'loso', a number of folds from 2 to {n} (the subjects), or a splitter of scikit-learn")
        return list(cohort.folds(cv if isinstance(cv, str) else int(cv), stratify=stratify, seed=seed))
    refuse_shared_files(cohort)
    found = [_fold(cohort, number, pair) for number, pair in enumerate(_pairs(cohort, cv, stratify))]
    if not found:
        raise ValueError(f"{cohort.name}: cv gives no folds; it must give at least one pair (train, test)")
    _check(cohort, found, stratify)
    return found


def repeated(cohort: Cohort, cv: CV = 5, *, stratify: str | None = None, repeats: int = 10, seed: int = 0) -> list[list[Fold]]:
    """Splits a cohort as :func:`splits` does, several times by other seeds; once where ``cv`` leaves nothing to draw.

    Args:
        cohort: Recordings to split.
        cv: As in :func:`splits`.
        stratify: As in :func:`splits`.
        repeats: Number of draws of the folds of a number.
        seed: Seed of the first draw.

    Raises:
        ValueError: As :func:`splits`.
    """
    whole("splits", "repeats", repeats, 1)
    drawn = isinstance(cv, (int, np.integer)) and not isinstance(cv, bool)
    seeds = [seed, *(int(s) for s in np.random.SeedSequence(seed).generate_state(repeats - 1))] if drawn else [seed]
    return [splits(cohort, cv, stratify=stratify, seed=s) for s in seeds]


def _pairs(cohort: Cohort, cv: Any, stratify: str | None) -> list[Any]:
    """What a splitter or an iterable gives."""
    if hasattr(cv, "split") and not isinstance(cv, np.ndarray):
        subjects = np.unique(cohort.table["subject"].to_numpy(), return_inverse=True)[1]
        y = np.zeros(len(cohort)) if stratify is None else cohort.table[stratify].astype(str).to_numpy()
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The groups parameter is ignored", UserWarning)
                return list(cv.split(np.zeros((len(cohort), 1)), y, subjects))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{cohort.name}: cv={cv!r} cannot split {len(cohort)} recordings of {subjects.max() + 1} subjects: {error}") from error
    if not isinstance(cv, Iterable):
        raise ValueError(f"{cohort.name}: cv={cv!r} must be a number of folds, 'loso', a splitter of scikit-learn, or pairs (train, test) of rows")
    return list(cv)


def _fold(cohort: Cohort, number: int, pair: Any) -> Fold:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise ValueError(f"{cohort.name}: cv, fold {number}: expected a pair (train, test) of row positions, got {type(pair).__name__}")
    return _rows(cohort, number, "train", pair[0]), _rows(cohort, number, "test", pair[1])


def _rows(cohort: Cohort, number: int, side: str, rows: Any) -> Array:
    """Positions, from positions or a mask."""
    where, n, found = f"{cohort.name}: cv, fold {number}, {side}", len(cohort), np.asarray(rows)
    if found.ndim != 1 or len(found) == 0:
        raise ValueError(f"{where}: expected row positions [n >= 1], got shape {list(found.shape)}")
    if found.dtype == bool:
        if len(found) != n or not found.any():
            raise ValueError(f"{where}: expected a mask of {n} rows with at least one of them, got {len(found)} with {int(found.sum())}")
        return np.flatnonzero(found)
    if not np.issubdtype(found.dtype, np.integer):
        raise ValueError(f"{where}: expected whole numbers, got {found.dtype}")
    if found.min() < 0 or found.max() >= n:
        raise ValueError(f"{where}: row {int(found.min() if found.min() < 0 else found.max())} is not within 0 to {n - 1}")
    if len(np.unique(found)) < len(found):
        values, counts = np.unique(found, return_counts=True)
        raise ValueError(f"{where}: row {int(values[counts > 1][0])} is listed twice")
    return found


def _check(cohort: Cohort, folds: list[Fold], stratify: str | None) -> None:
    """Refuses folds that leak or test a row twice, and warns of rows that are never tested."""
    tested = np.full(len(cohort), -1)
    for number, (train, test) in enumerate(folds):
        where = f"{cohort.name}: cv, fold {number}"
        for column in ("subject", "path"):
            values = cohort.table[column].to_numpy()
            if both := sorted(set(values[train]) & set(values[test])):
                what = f"{column} {both[0]!r}" + (f" and {len(both) - 1} more" if len(both) > 1 else "")
                raise ValueError(f"{where}: {what} in training and test data at once; split over subjects, for example with GroupKFold")
        if (again := test[tested[test] >= 0]).size:
            raise ValueError(f"{where}: row {int(again[0])} was tested in fold {tested[again[0]]} already; every row may be tested once")
        tested[test] = number
        if stratify is not None and cohort.table[stratify].iloc[train].nunique() < 2:
            raise ValueError(f"{where}: training rows have one value only of {stratify!r}; every training part needs two classes")
    if (untested := np.flatnonzero(tested < 0)).size:
        warnings.warn(
            f"{cohort.name}: cv never tests {len(untested)} of {len(cohort)} recordings, such as row {untested[0]}: they are not scored",
            UntestedWarning,
            stacklevel=4,
        )
