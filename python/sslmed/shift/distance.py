"""Distances between two sets of features, and of people from a population."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf

from sslmed._checks import OnError, choice, number, whole
from sslmed.cohort import Cohort
from sslmed.encoders import EncoderLike, resolve
from sslmed.evaluation import features
from sslmed.evaluation._arrays import feature_pair

__all__ = ["coral_distance", "distance_from", "frechet_distance", "mmd"]

Array = np.ndarray[Any, Any]


def mmd(x: Array, y: Array, gamma: float | None = None) -> float:
    """Computes the squared maximum mean discrepancy (MMD) with a Gaussian kernel exp(-gamma d²).

    This is the biased estimate of Gretton et al., JMLR 2012.

    Args:
        x: Features [n, D].
        y: Features [m, D].
        gamma: Factor of the kernel; by default 1 / (2 · median squared distance of all pairs).

    Raises:
        ValueError: Shapes that do not fit, a value that is not finite, or a gamma that is not positive.

    Examples:
        >>> import numpy as np
        >>> from sslmed.shift import mmd
        >>> x = np.random.default_rng(0).normal(size=(40, 2))
        >>> mmd(x, x) < mmd(x, x + 1)
        True
    """
    x, y = feature_pair(x, y, "mmd", ("x", "y"))
    z = np.concatenate([x, y])
    squares = cdist(z, z, "sqeuclidean")
    if gamma is None:
        median = float(np.median(squares[np.triu_indices(len(z), 1)]))
        gamma = 1 / (2 * median) if median > 0 else 1.0
    number("mmd", "gamma", gamma, 0, strict=True)
    kernel, n = np.exp(-gamma * squares), len(x)
    return float(kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean())


def coral_distance(x: Array, y: Array) -> float:
    """Computes the CORAL distance ‖C_x - C_y‖²_F / (4 D²) of the unbiased covariances.

    Source: Sun and Saenko, arXiv 1607.01719.

    Args:
        x: Features [n, D].
        y: Features [m, D].

    Raises:
        ValueError: Shapes that do not fit, or a value that is not finite.
    """
    x, y = feature_pair(x, y, "coral_distance", ("x", "y"))
    difference = np.cov(x, rowvar=False) - np.cov(y, rowvar=False)
    return float((difference**2).sum() / (4 * x.shape[1] ** 2))


def frechet_distance(x: Array, y: Array) -> float:
    """Computes the squared Fréchet distance ‖μ_x - μ_y‖² + tr(C_x + C_y - 2 (C_x C_y)^½) of two normal distributions.

    Source: Dowson and Landau, J. Multivar. Anal. 1982.

    Args:
        x: Features [n, D].
        y: Features [m, D].

    Raises:
        ValueError: Shapes that do not fit, or a value that is not finite.
    """
    x, y = feature_pair(x, y, "frechet_distance", ("x", "y"))
    a, b = np.atleast_2d(np.cov(x, rowvar=False)), np.atleast_2d(np.cov(y, rowvar=False))
    # tr (AB)^½ by the symmetric form, which stays real where A is singular.
    values, vectors = np.linalg.eigh(a)
    half = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    middle = np.sqrt(np.maximum(np.linalg.eigvalsh(half @ b @ half), 0)).sum()
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a) + np.trace(b) - 2 * middle)


def distance_from(
    reference: Cohort,
    cohort: Cohort,
    encoder: EncoderLike | None = None,
    *,
    pooling: str = "mean",
    threads: int = 2,
    on_error: OnError = "raise",
) -> pd.Series[Any]:
    """Computes how far each subject is from a population, by the Mahalanobis distance of mean features.

    The covariance of the population is shrunk (Ledoit and Wolf, J. Multivar. Anal. 2004). For
    :meth:`sslmed.TransferResult.subgroups`: ``result.subgroups(shift.distance_from(public, clinic, encoder))`` gives
    scores by distance.

    Args:
        reference: Population that distance is measured from: what was learned from.
        cohort: People.
        encoder: Encoder of the features; None uses the plainest classical baseline.
        pooling: Pooling of the encoder's features.
        threads: Number of loader threads.
        on_error: "raise", or "skip" what cannot be read, as in :func:`sslmed.transfer`.

    Returns:
        Distance by subject of ``cohort``.

    Raises:
        TypeError: ``reference`` or ``cohort`` is not a cohort, or ``encoder`` not an encoder.
        ValueError: Fewer than two subjects in the reference, or no channel in common and no encoder.
    """
    for name, given in (("reference", reference), ("cohort", cohort)):
        if not isinstance(given, Cohort):
            raise TypeError(f"distance_from: {name}={given!r} must be a Cohort, got {type(given).__name__}")
    whole("distance_from", "threads", threads, 1)
    choice("distance_from", "on_error", on_error, get_args(OnError))
    if encoder is not None:
        encoder = resolve(encoder, reference, cohort)
    if encoder is None:
        simple = features.simple(reference, cohort, on_error=on_error)
        if simple is None:
            raise ValueError(f"distance_from: encoder=None, but {reference.name} and {cohort.name} have no channel in common; give an encoder")
        known, x = simple[1]
    else:
        known, x = (features.encoder_features(encoder, c, pooling=pooling, threads=threads, on_error=on_error) for c in (reference, cohort))
    there = pd.DataFrame(known).groupby(reference.table["subject"].to_numpy()).mean().to_numpy()
    if len(there) < 2:
        raise ValueError(f"distance_from: reference {reference.name!r} must have at least two subjects, got {len(there)}")
    here = pd.DataFrame(x).groupby(cohort.table["subject"].to_numpy()).mean()
    spread = np.maximum(there.std(0), 1e-12)
    fitted = LedoitWolf().fit(there / spread)
    return pd.Series(np.sqrt(fitted.mahalanobis(here.to_numpy() / spread)), index=here.index, name=f"distance from {reference.name}")
