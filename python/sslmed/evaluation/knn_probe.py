"""A probe that watches an encoder while it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sslmed.cohort import Cohort
from sslmed.encoders import CohortEncoder
from sslmed.evaluation.transfer import knn_score, plan
from sslmed.modalities.base import OnError

__all__ = ["KnnProbe"]


class KnnProbe:
    """Nearest neighbors on an encoder's features predict a column of a labelled cohort, by folds over subjects.

    The history gets a column ``knn``: balanced accuracy, or mean absolute error. It is to watch a run, not to choose one: whoever picks a run by it has used
    the labels.

    Args:
        cohort: The labelled cohort.
        target: The column.
        threads: Number of loader threads.
        on_error: As in :func:`sslmed.transfer`.

    Examples:
        >>> import sslmed as sm
        >>> run = sm.pretrain(public, probe=sm.evaluation.KnnProbe(clinic, "diagnosis"))  # doctest: +SKIP
    """

    columns = ("knn",)

    def __init__(self, cohort: Cohort, target: str, *, threads: int = 2, on_error: OnError = "raise") -> None:
        self.cohort, self.target, self.threads, self.on_error = cohort, target, threads, on_error

    def describe(self) -> Any:
        """Cohort and column."""
        return [self.cohort.name, self.target]

    def check(self, encoder: CohortEncoder) -> None:
        """Raises what :func:`sslmed.transfer` would."""
        plan(encoder, self.cohort, self.target)

    def __call__(self, encoder: CohortEncoder) -> Mapping[str, float]:
        """The score of the encoder."""
        return {"knn": knn_score(encoder, self.cohort, self.target, threads=self.threads, on_error=self.on_error)}
