"""Rows of a cohort for training and for testing, without a shared subject."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from sslmed.leakage import refuse_overlap, refuse_shared_files
from sslmed.modalities.base import Array

if TYPE_CHECKING:
    from sslmed.cohort import Cohort

__all__ = ["folds", "split"]


def split(cohort: Cohort, fraction: float, stratify: str | None, seed: int) -> tuple[Cohort, Cohort]:
    """The cohorts of :meth:`sslmed.Cohort.split`."""
    if not 0 < fraction < 1:
        raise ValueError(f"split: fraction={fraction!r} must be within (0, 1)")
    from sklearn.model_selection import train_test_split

    refuse_shared_files(cohort)
    people = cohort.subjects if stratify is None else cohort.table.dropna(subset=stratify).drop_duplicates("subject")
    values = None if stratify is None else people[stratify].astype(str)
    if values is not None and (counts := values.value_counts()).min() < 2:
        raise ValueError(f"{cohort.name}: {stratify} {str(counts.idxmin())!r} has one subject, who cannot be on both sides")
    train, test = train_test_split(people["subject"].to_numpy(), test_size=fraction, random_state=seed, stratify=values)
    refuse_overlap(train, test)
    return cohort.subset(cohort.table["subject"].isin(train)), cohort.subset(cohort.table["subject"].isin(test))


def folds(cohort: Cohort, k: int | str, stratify: str | None, seed: int) -> Iterator[tuple[Array, Array]]:
    """The rows of :meth:`sslmed.Cohort.folds`."""
    from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, StratifiedGroupKFold

    # By number, in the order of their names: NumPy looks for texts among texts one by one.
    groups = np.unique(cohort.table["subject"].to_numpy(), return_inverse=True)[1]
    n = int(groups.max()) + 1
    refuse_shared_files(cohort)
    rows = np.arange(len(cohort))
    if k != "loso" and (not isinstance(k, int) or k < 2 or k > n):
        raise ValueError(f"{cohort.name}: folds must be 'loso' or 2 to {n} (its subjects), got {k!r}")
    if stratify is not None:
        least = k if isinstance(k, int) else 2  # loso: one to be tested, one to learn from
        per_value = cohort.table.groupby(stratify, observed=True)["subject"].nunique()
        if per_value.min() < least:
            few = f"{stratify} {str(per_value.idxmin())!r} has {per_value.min()} subjects"
            what = "and 'loso' needs two" if k == "loso" else f"too few for {k} folds; ask for fewer"
            raise ValueError(f"{cohort.name}: {few}, {what}")
    if k == "loso":
        splitter, y = LeaveOneGroupOut(), None
    elif stratify is None:
        splitter, y = GroupKFold(k, shuffle=True, random_state=seed), None
    else:
        splitter, y = StratifiedGroupKFold(k, shuffle=True, random_state=seed), cohort.table[stratify].astype(str)
    for train, test in splitter.split(rows, y, groups):
        refuse_overlap(groups[train], groups[test])
        yield train, test
