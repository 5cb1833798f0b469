"""What a probe sees of a row of a cohort: an encoder's features, or the classical features of its modality."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from sslmed.cohort import Cohort
from sslmed.encoders import CohortEncoder
from sslmed.evaluation.feature_cache import kept
from sslmed.modalities import Modality, registry
from sslmed.training.inference import encode, recording_means

__all__ = ["classical", "encoder_features", "scorable", "simple"]

Array = np.ndarray[Any, Any]


def encoder_features(encoder: CohortEncoder, cohort: Cohort, *, pooling: str = "mean", threads: int = 2, on_error: str = "raise") -> Array:
    """[recordings, D]: the mean of a recording's window features. Computed once for the same encoder and files (:mod:`sslmed.evaluation.feature_cache`).

    Raises:
        ValueError: A recording has no usable window.
    """

    def make() -> Array:
        values, recording = encode(encoder, cohort, pooling=pooling, threads=threads, on_error=on_error)  # type: ignore[arg-type]
        return scorable(recording_means(values, recording, len(cohort)), cohort)

    # What is left out is told each time.
    return make() if on_error == "skip" else kept(encoder, cohort, pooling, make)


def scorable(rows: Array, cohort: Cohort) -> Array:
    """Rows of recordings as they are; ValueError naming those that are not finite, which nothing can be said of."""
    if (bad := ~np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)).any():
        names = ", ".join(str(path) for path in cohort.table["path"].to_numpy()[bad][:5])
        raise ValueError(f"{cohort.name}: {int(bad.sum())} recordings have no usable window and cannot be scored; leave them out of the cohort: {names}")
    return rows


def classical(cohorts: Sequence[Cohort], names: Collection[str], *, threads: int = 2, on_error: str = "raise") -> list[dict[str, Array]]:
    """Classical features of each cohort by name, [rows, …].

    Args:
        cohorts: One or more of one modality; with several, features have the same columns.
        names: Names of the modality's baselines.
        threads: Number of loader threads.
        on_error: "raise", or "skip" samples that cannot be read or carry no signal.

    Raises:
        ValueError: A name is unknown, or a row cannot be scored.
        FormatError, ReadError: A file cannot be read (``on_error="raise"``).
    """
    modality = _modality(cohorts)
    if unknown := [name for name in names if name not in modality.baselines]:
        raise ValueError(f"unknown baseline {', '.join(unknown)}; of modality {modality.name!r} there are {', '.join(modality.baselines)}")
    found = modality.features(cohorts, names, threads=threads, on_error=on_error)  # type: ignore[arg-type]
    return [{name: scorable(x, cohort) for name, x in rows.items()} for cohort, rows in zip(cohorts, found, strict=True)]


def simple(*cohorts: Cohort, on_error: str = "raise") -> tuple[str, list[Array]] | None:
    """Name and features by cohort of the plainest classical baseline of their modality; None where the cohorts have nothing in common to compare."""
    modality = _modality(cohorts)
    name = next(iter(modality.baselines), None)
    if name is None or not modality.comparable(cohorts):
        return None
    return name, [found[name] for found in classical(cohorts, [name], on_error=on_error)]


def _modality(cohorts: Sequence[Cohort]) -> Modality:
    """The modality of all of these cohorts."""
    first = cohorts[0]
    for other in cohorts[1:]:
        if other.modality != first.modality:
            raise ValueError(f"{other.name}: is of modality {other.modality!r}, but {first.name} is of {first.modality!r}: they cannot be compared")
    return registry.get(first.modality)
