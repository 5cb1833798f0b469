"""Checks of arrays of features and of their subjects."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["feature_pair", "subject_codes"]

Array = np.ndarray[Any, Any]


def feature_pair(source: Array, target: Array | None, where: str, names: tuple[str, str] = ("source", "target")) -> tuple[Array, Array]:
    """Checks two sets of features.

    Args:
        source: Features [n, D].
        target: Features [m, D].
        where: Start of the message of an error.
        names: Names of the two parameters, for messages.

    Returns:
        Both as float64.

    Raises:
        ValueError: Fewer than two rows, a different number of columns, or values that are not finite.
    """
    found = []
    for name, given in zip(names, (source, target), strict=True):
        x = np.asarray(given, float) if given is not None else np.empty(0)
        if x.ndim != 2 or len(x) < 2:
            raise ValueError(f"{where}: {name} must be features [n >= 2, D], got {'None' if given is None else f'shape {list(x.shape)}'}")
        if not np.isfinite(x).all():
            raise ValueError(f"{where}: {name} has values that are not finite")
        found.append(x)
    if found[0].shape[1] != found[1].shape[1]:
        raise ValueError(f"{where}: {names[1]} must have the {found[0].shape[1]} features of {names[0]}, got {found[1].shape[1]}")
    return found[0], found[1]


def subject_codes(features: Array, subjects: Array, where: str) -> tuple[Array, int]:
    """Numbers the subjects of rows from 0.

    Args:
        features: Features [n, D].
        subjects: Subject of each row [n].
        where: Start of the message of an error.

    Returns:
        Number of the subject of each row [n], and how many subjects there are.

    Raises:
        ValueError: Lengths differ, or nothing varies within subjects: fewer than two of them, or none with two rows.
    """
    names, codes = np.unique(np.asarray(subjects), return_inverse=True)
    if features.ndim != 2 or len(features) != len(codes):
        raise ValueError(f"{where}: subjects must name one subject for each row of features [n, D], got {len(codes)} for shape {list(features.shape)}")
    if len(names) < 2:
        raise ValueError(f"{where}: subjects must be at least two, got {len(names)}")
    if len(codes) == len(names):
        raise ValueError(f"{where}: subjects must have more than one row of some subject, got {len(codes)} rows of {len(names)} subjects")
    return codes, len(names)
