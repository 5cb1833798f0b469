"""Distances between two sets of features, and of people from a population."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf

from sslmed.adaptation import feature_pair
from sslmed.cohort import Cohort
from sslmed.encoders import CohortEncoder, resolve
from sslmed.transfer import features

__all__ = ["coral_distance", "distance_from", "frechet_distance", "mmd"]

Array = np.ndarray[Any, Any]


def mmd(x: Array, y: Array, gamma: float | None = None) -> float:
    """Squared maximum mean discrepancy of a Gaussian kernel exp(-gamma d²), biased (Gretton et al., JMLR 2012).

    Args:
        x: [n, D].
        y: [m, D].
        gamma: 1 / (2 · median squared distance of all pairs) when not given.

    Raises:
        ValueError: Shapes do not fit, or a value is not finite.
    """
    x, y = feature_pair(x, y)
    z = np.concatenate([x, y])
    squares = cdist(z, z, "sqeuclidean")
    if gamma is None:
        median = float(np.median(squares[np.triu_indices(len(z), 1)]))
        gamma = 1 / (2 * median) if median > 0 else 1.0
    kernel, n = np.exp(-gamma * squares), len(x)
    return float(kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean())


def coral_distance(x: Array, y: Array) -> float:
    """‖C_x - C_y‖²_F / (4 D²) of the unbiased covariances (Sun and Saenko, arXiv 1607.01719)."""
    x, y = feature_pair(x, y)
    difference = np.cov(x, rowvar=False) - np.cov(y, rowvar=False)
    return float((difference**2).sum() / (4 * x.shape[1] ** 2))


def frechet_distance(x: Array, y: Array) -> float:
    """‖μ_x - μ_y‖² + tr(C_x + C_y - 2 (C_x C_y)^½), of two normal distributions (Dowson and Landau, 1982)."""
    x, y = feature_pair(x, y)
    a, b = np.atleast_2d(np.cov(x, rowvar=False)), np.atleast_2d(np.cov(y, rowvar=False))
    # tr (AB)^½ by the symmetric form, which stays real where A is singular.
    values, vectors = np.linalg.eigh(a)
    half = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    middle = np.sqrt(np.maximum(np.linalg.eigvalsh(half @ b @ half), 0)).sum()
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a) + np.trace(b) - 2 * middle)


def distance_from(
    reference: Cohort, cohort: Cohort, encoder: CohortEncoder | None = None, *, pooling: str = "mean", threads: int = 2, on_error: str = "raise"
) -> pd.Series[Any]:
    """Mahalanobis distance of each subject's mean features from those of another cohort's subjects, whose covariance is shrunk (Ledoit and Wolf, 2004).

    For :meth:`sslmed.TransferResult.subgroups`: ``result.subgroups(shift.distance_from(public, clinic, encoder))`` are scores by distance.

    Args:
        reference: The population from which distance is measured: what was learned from.
        cohort: The people.
        encoder: Whose features; None: band power on the channels that both share, or colour.
        pooling: Of the encoder's features.
        threads: Loader threads.
        on_error: As :func:`sslmed.transfer`.

    Returns:
        By subject of ``cohort``.

    Raises:
        ValueError: Fewer than two subjects in the reference, or without an encoder no channel in common.
    """
    if encoder is not None:
        encoder = resolve(encoder, reference, cohort)
    if encoder is None:
        simple = features.simple(reference, cohort, on_error=on_error)
        if simple is None:
            raise ValueError(f"{reference.name} and {cohort.name} have no channel in common: give an encoder")
        known, x = simple[1]
    else:
        known, x = (features.encoder_features(encoder, c, pooling=pooling, threads=threads, on_error=on_error) for c in (reference, cohort))
    there = pd.DataFrame(known).groupby(reference.table["subject"].to_numpy()).mean().to_numpy()
    if len(there) < 2:
        raise ValueError(f"{reference.name}: expected at least two subjects to measure distance from, found {len(there)}")
    here = pd.DataFrame(x).groupby(cohort.table["subject"].to_numpy()).mean()
    spread = np.maximum(there.std(0), 1e-12)
    fitted = LedoitWolf().fit(there / spread)
    return pd.Series(np.sqrt(fitted.mahalanobis(here.to_numpy() / spread)), index=here.index, name=f"distance from {reference.name}")
