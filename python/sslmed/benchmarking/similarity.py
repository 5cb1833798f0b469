"""How alike two encoders see the same people: centered kernel alignment of their features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["cka", "cka_table"]

Array = np.ndarray[Any, Any]


def cka(a: Array, b: Array, *, unbiased: bool = True) -> float:
    """Linear centered kernel alignment of two sets of features of the same rows.

    Source: Kornblith et al., arXiv 1905.00414; the unbiased estimate of the Hilbert-Schmidt independence criterion is
    that of Song et al., JMLR 2012. The biased one is far above 0 for features of random numbers that are wider than
    there are rows.

    Args:
        a: Features [n, D].
        b: Features [n, E] of the same rows.
        unbiased: Use the unbiased estimate, which needs four rows; it can be slightly below 0.

    Returns:
        1 for features that are rotations and multiples of each other, about 0 for unrelated ones; NaN for features
        that do not vary.

    Raises:
        ValueError: Shapes that do not fit, too few rows, or numbers that are not finite.

    Examples:
        >>> import numpy as np
        >>> from sslmed.benchmarking import cka
        >>> x = np.random.default_rng(0).normal(size=(50, 8))
        >>> round(cka(x, -3 * x[:, ::-1]), 6)
        1.0
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    least = 4 if unbiased else 2
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b) or len(a) < least:
        raise ValueError(f"cka: a and b must be [n >= {least}, D] and [n, E], got {list(a.shape)} and {list(b.shape)}")
    if not np.isfinite(a).all() or not np.isfinite(b).all():
        raise ValueError("cka: a and b must be finite")
    grams = [(x - x.mean(axis=0)) @ (x - x.mean(axis=0)).T for x in (a, b)]
    return _aligned(*grams, unbiased=unbiased)


def cka_table(features: Mapping[str, Array], *, unbiased: bool = True) -> pd.DataFrame:
    """Centered kernel alignment of each two of several encoders.

    Args:
        features: Features [n, D] of the same rows, by name.
        unbiased: As in :func:`cka`.

    Returns:
        A square table by name.

    Raises:
        ValueError: As :func:`cka`.

    Examples:
        >>> import numpy as np
        >>> from sslmed.benchmarking import cka_table
        >>> rng = np.random.default_rng(0)
        >>> cka_table({name: rng.normal(size=(40, 4)) for name in "ab"}).shape
        (2, 2)
    """
    names = list(features)
    found = pd.DataFrame(np.nan, index=pd.Index(names), columns=pd.Index(names))
    for i, one in enumerate(names):
        for other in names[i:]:
            value = cka(features[one], features[other], unbiased=unbiased)
            found.loc[one, other] = found.loc[other, one] = value
    return found


def _aligned(k: Array, other: Array, *, unbiased: bool) -> float:
    criterion = _unbiased if unbiased else _biased
    own = criterion(k, k) * criterion(other, other)
    return float(criterion(k, other) / np.sqrt(own)) if own > 0 else float("nan")


def _biased(k: Array, other: Array) -> float:
    """Of centered Gram matrices, up to a factor that cancels."""
    return float((k * other).sum())


def _unbiased(k: Array, other: Array) -> float:
    """Song et al., JMLR 2012, equation 5."""
    n = len(k)
    k, other = k - np.diag(np.diag(k)), other - np.diag(np.diag(other))
    whole = k.sum() * other.sum() / ((n - 1) * (n - 2))
    cross = 2 * (k.sum(axis=0) @ other.sum(axis=0)) / (n - 2)
    return float(((k * other).sum() + whole - cross) / (n * (n - 3)))
