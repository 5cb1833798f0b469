"""Alignment of windows and covariances, by subject or population."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["euclidean_alignment", "log_vectors"]

Array = np.ndarray[Any, Any]


def euclidean_alignment(windows: Array, groups: Array) -> Array:
    """Aligns windows so that their mean covariance is the identity within each group (He and Wu, arXiv 1808.05464).

    X' = R^(-1/2) X, where R is the mean of X Xᵀ / T over the windows of a group. Labels are not used.

    Args:
        windows: Windows [n, C, T].
        groups: Subject or domain of each window [n]; each is aligned by itself.

    Raises:
        ValueError: Shapes that do not fit, or a group whose mean covariance is singular (linearly dependent channels,
            as after an average reference).
    """
    windows, groups = np.asarray(windows, float), np.asarray(groups)
    if windows.ndim != 3:
        raise ValueError(f"euclidean_alignment: windows must be [n, C, T], got {list(windows.shape)}")
    if len(groups) != len(windows):
        raise ValueError(f"euclidean_alignment: groups must have one entry for each of {len(windows)} windows, got {len(groups)}")
    out = np.empty_like(windows)
    for group in np.unique(groups):
        own = groups == group
        mean = np.einsum("nct,ndt->cd", windows[own], windows[own]) / (own.sum() * windows.shape[2])
        values, vectors = np.linalg.eigh(mean)
        if not values[0] > 1e-12 * values[-1]:
            found = f"smallest eigenvalue {values[0]:.1e} of {values[-1]:.1e}"
            raise ValueError(f"euclidean_alignment: windows of group {str(group)!r} have a singular mean covariance ({found}); drop a channel")
        out[own] = np.einsum("cd,ndt->nct", (vectors / np.sqrt(values)) @ vectors.T, windows[own])
    return out


def log_vectors(covariances: Array) -> Array:
    """Converts covariances to the upper triangles of their matrix logarithms.

    Args:
        covariances: Positive definite matrices [n, C, C].

    Returns:
        Vectors [n, C·(C+1)/2].

    Raises:
        ValueError: Another shape.
    """
    if covariances.ndim != 3 or covariances.shape[1] != covariances.shape[2]:
        raise ValueError(f"log_vectors: covariances must be [n, C, C], got {list(covariances.shape)}")
    from pyriemann.geometry.base import logm

    return np.asarray(logm(covariances)[(slice(None), *np.triu_indices(covariances.shape[1]))])
