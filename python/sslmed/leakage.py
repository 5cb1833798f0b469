"""What keeps a person's signals out of training and test data at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from sslmed.cohort import Cohort

__all__ = ["refuse_overlap", "refuse_shared_files"]


def refuse_overlap(train: Any, test: Any) -> None:
    """ValueError when a subject is on both sides: its own signal would give the answer away."""
    both = sorted(set(map(str, train)) & set(map(str, test)))
    if both:
        raise ValueError(f"{len(both)} subjects are in training and test data at once: {', '.join(both[:5])}")


def refuse_shared_files(*cohorts: Cohort) -> None:
    """ValueError when a file is listed for two subjects, in one cohort or two."""
    tables = [cohort.table[["path", "subject"]] for cohort in cohorts if not cohort.in_memory]
    if not tables:
        return
    owners = pd.concat(tables).groupby("path")["subject"].nunique()
    if owners.max() > 1:
        raise ValueError(f"{owners.idxmax()} is listed for {owners.max()} subjects, so it would be in training and test data at once")
