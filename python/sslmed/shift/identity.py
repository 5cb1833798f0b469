"""How much of the variance of features tells subjects apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from sslmed._checks import whole
from sslmed.evaluation._arrays import subject_codes

__all__ = ["identity_variance"]

Array = np.ndarray[Any, Any]


def identity_variance(features: Array, subjects: Array, *, draws: int = 200, seed: int = 0) -> tuple[float, float, float]:
    """Computes the share of the features' variance that lies between subjects.

    Args:
        features: Features [n, D], several rows a subject: windows or recordings.
        subjects: Subject of each row [n].
        draws: Number of permutations of rows among subjects.
        seed: Seed of the permutations.

    Returns:
        The share (eta squared over all standardized features), its mean under permutation (what groups of this size
        have by chance), and the p value of the test.

    Raises:
        ValueError: Fewer than two subjects, none with two rows, or fewer than one draw.

    Examples:
        >>> import numpy as np
        >>> from sslmed.shift import identity_variance
        >>> subjects = np.repeat(np.arange(10), 5)
        >>> x = np.random.default_rng(0).normal(size=(50, 3)) + 3 * subjects[:, None]
        >>> share, by_chance, p = identity_variance(x, subjects)
        >>> share > 0.9 > by_chance
        True
    """
    whole("identity_variance", "draws", draws, 1)
    whole("identity_variance", "seed", seed)
    codes, _ = subject_codes(features, subjects, "identity_variance")
    z = features - features.mean(axis=0)
    z = z / np.maximum(z.std(axis=0), 1e-12)
    counts = np.bincount(codes)

    def share(codes: Array) -> float:
        sums = np.zeros((len(counts), z.shape[1]))
        np.add.at(sums, codes, z)
        return float((sums**2 / counts[:, None]).sum() / (z**2).sum())

    rng = np.random.default_rng(seed)
    seen = share(codes)
    by_chance = [share(rng.permutation(codes)) for _ in range(draws)]
    return seen, float(np.mean(by_chance)), (sum(value >= seen for value in by_chance) + 1) / (draws + 1)
