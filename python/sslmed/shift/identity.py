"""How much of features says who somebody is."""

from __future__ import annotations

from typing import Any

import numpy as np

from sslmed.adaptation import subject_codes

__all__ = ["identity_variance"]

Array = np.ndarray[Any, Any]


def identity_variance(features: Array, subjects: Array, *, draws: int = 200, seed: int = 0) -> tuple[float, float, float]:
    """Share of the features' variance that lies between subjects.

    Args:
        features: [n, D], several rows a subject: windows or recordings.
        subjects: [n].
        draws: Permutations of rows among subjects.
        seed: Of them.

    Returns:
        The share (eta squared over all standardised features), its mean under permutation (what groups of this size have by chance), and the p of the test.

    Raises:
        ValueError: Fewer than two subjects, or none with two rows.
    """
    codes, _ = subject_codes(features, subjects)
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
