"""Features of people in two dimensions, to look at; no score depends on them."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from typing import Any, Literal

import numpy as np
from threadpoolctl import ThreadpoolController

from sslmed._checks import choice, whole

__all__ = ["METHODS", "MapName", "embed", "need", "varies"]

Array = np.ndarray[Any, Any]

MapName = Literal["tsne", "umap"]
"""How points are placed."""
METHODS: tuple[MapName, ...] = ("tsne", "umap")
_LEAST = 5


def need(method: str | None, where: str = "embed") -> None:
    """Checks that a method can be used, before any work is done.

    Args:
        method: "tsne" (scikit-learn), "umap" (umap-learn), or None.
        where: Name of the function, for messages.

    Raises:
        ValueError: The name is unknown.
        ImportError: umap-learn is not installed.
    """
    if method is None:
        return
    choice(where, "maps" if where == "benchmark" else "method", method, METHODS)
    if method == "umap" and importlib.util.find_spec("umap") is None:
        text = "method='umap' needs umap-learn: pip install 'sslmed[umap]'; 'tsne' needs nothing more"
        raise ImportError(f"{where}: {text}")


def varies(features: Array) -> bool:
    """Whether some feature differs from row to row, by more than rounding: those of a collapsed encoder do not.

    Args:
        features: [n, D] finite numbers.

    Examples:
        >>> import numpy as np
        >>> from sslmed.benchmarking.maps import varies
        >>> varies(np.full((4, 3), 0.1)), varies(np.eye(4))
        (False, True)
    """
    return bool(_varying(features).any())


def _varying(x: Array) -> Array:
    """[D] whether a column differs from row to row by more than rounding."""
    return np.asarray(np.ptp(x, axis=0) > 1e-12 * np.abs(x).max(axis=0))


def embed(features: Array, method: MapName = "tsne", *, neighbors: int = 30, seed: int = 0) -> Array:
    """Places rows in a plane so that near ones stay near.

    Features are standardized, and reduced to their first 50 principal components where they are wider. Distances
    between groups, and their sizes, mean little in such a map.

    Args:
        features: [n, D] finite numbers.
        method: "tsne" (van der Maaten & Hinton, JMLR 2008) or "umap" (McInnes et al., arXiv 1802.03426).
        neighbors: Perplexity of t-SNE, or neighbors of UMAP; at most a third of the rows.
        seed: Seed.

    Returns:
        [n, 2] float64.

    Raises:
        ValueError: Fewer than five rows, numbers that are not finite, rows that are all alike, or an unknown method.
        ImportError: umap-learn is not installed.

    Examples:
        >>> import numpy as np
        >>> from sslmed.benchmarking import embed
        >>> embed(np.random.default_rng(0).normal(size=(20, 6))).shape
        (20, 2)
    """
    need(method)
    whole("embed", "neighbors", neighbors, 2)
    whole("embed", "seed", seed)
    x = np.asarray(features, dtype=float)
    if x.ndim != 2 or len(x) < _LEAST or not np.isfinite(x).all():
        raise ValueError(f"embed: features must be [n >= {_LEAST}, D] finite numbers, got {list(x.shape)}")
    if not varies(x):
        raise ValueError(f"embed: features of all {len(x)} rows are alike, there is nothing to place")
    x = (x - x.mean(axis=0)) / np.where(_varying(x), x.std(axis=0), np.inf)
    if x.shape[1] > 50:
        u, s, _ = np.linalg.svd(x, full_matrices=False)
        x = (u * s)[:, :50]
    near = int(max(2, min(neighbors, (len(x) - 1) // 3)))
    with ThreadpoolController().limit(limits=1, user_api="blas"):
        if method == "tsne":
            from sklearn.manifold import TSNE

            start = "pca" if x.shape[1] > 1 else "random"
            found = TSNE(2, perplexity=near, init=start, random_state=seed).fit_transform(x)
        else:
            umap = importlib.import_module("umap")

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of its own: that a seed turns its threads off
                found = umap.UMAP(n_neighbors=near, random_state=seed, n_jobs=1).fit_transform(x)
    return np.asarray(found, dtype=np.float64)
