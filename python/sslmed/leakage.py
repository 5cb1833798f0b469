"""Checks that keep a person's data out of training and test data at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from sslmed.cohort import Cohort

__all__ = ["refuse_overlap", "refuse_shared_files"]


def refuse_overlap(train: Any, test: Any, where: str = "") -> None:
    """Raises ValueError if a subject is in training and test data: its own signal would give the answer away.

    Args:
        train: Subjects of the training data.
        test: Subjects of the test data.
        where: Start of the message: which call, parameter or fold.
    """
    both = sorted(set(map(str, train)) & set(map(str, test)))
    if both:
        subjects = f"{len(both)} subject{'s are' if len(both) > 1 else ' is'}"
        raise ValueError(f"{where}{': ' if where else ''}{subjects} in training and test data at once: {', '.join(both[:5])}")


def refuse_shared_files(*cohorts: Cohort) -> None:
    """Raises ValueError if a file is listed for two subjects: it could be in training and test data at the same time.

    Args:
        *cohorts: Cohorts to look through; rows in memory have no files.
    """
    tables = [cohort.table.loc[[array is None for array in cohort.arrays or [None] * len(cohort)], ["path", "subject"]] for cohort in cohorts]
    owners = pd.concat(tables).groupby("path")["subject"].nunique()
    if len(owners) and owners.max() > 1:
        raise ValueError(
            f"{owners.idxmax()} is listed for {owners.max()} subjects, so it would be in training and test data at once; list every file for one subject"
        )
