"""Folds over people: who is trained on, and who is tested."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sslmed.cohort import Cohort
from sslmed.leakage import refuse_overlap

__all__ = ["Part", "parts_of"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Part:
    """A fold: the rows that a network may see, and those that it is tested on."""

    number: int
    """Number of the fold, from 0."""
    train: Cohort
    """Rows of the training people."""
    rows: Array
    """Where those rows are in the whole cohort."""
    test: Array
    """Rows of the whole cohort that are tested; empty where everybody is trained on."""

    @property
    def people(self) -> frozenset[str]:
        """Subjects of the training rows."""
        return frozenset(map(str, self.train.table["subject"]))


def parts_of(where: str, cohort: Cohort, folds: int | None, seed: int) -> Iterator[Part]:
    """The folds of a cohort over people; None: one part with everybody in it and nobody to be tested.

    Raises:
        ValueError: Somebody is in training and test data at once, or there are fewer people than folds.
    """
    everybody = [(np.arange(len(cohort)), np.arange(0))]
    for number, (train, test) in enumerate(everybody if folds is None else cohort.folds(folds, seed=seed)):
        part = cohort.subset(train)
        refuse_overlap(part.table["subject"], cohort.table["subject"].iloc[test], f"{where}: fold {number}")
        yield Part(number, part, np.asarray(train), np.asarray(test))
