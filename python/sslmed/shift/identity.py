"""How much of features says who somebody is, and features without it."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["identity_variance", "remove_identity"]

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
    codes, _ = _codes(features, subjects)
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


def remove_identity(train: Array, subjects: Array, test: Array, *, directions: int = 1) -> tuple[Array, Array]:
    """Features without the directions in which training subjects differ most from each other, relative to how much each varies.

    What a label says between subjects goes with it where it lies in those directions: for labels that vary within subjects.

    Args:
        train: [n, D], several rows a subject.
        subjects: [n] of the training rows; those of ``test`` have no say.
        test: [m, D].
        directions: How many to remove.

    Raises:
        ValueError: Fewer than two subjects, none with two rows, or directions outside of 1 to subjects - 1.
    """
    codes, n = _codes(train, subjects)
    if not 1 <= directions < n:
        raise ValueError(f"directions must be within 1 and {n - 1}, got {directions}")
    mean = train.mean(axis=0)
    counts = np.bincount(codes)
    means = np.zeros((n, train.shape[1]))
    np.add.at(means, codes, train - mean)
    means /= counts[:, None]
    within = train - mean - means[codes]
    # Whitened by the variance within subjects, so that a direction is removed for telling people apart and not for being large.
    scale = np.sqrt((within**2).mean(axis=0) + 1e-12 * (train - mean).var(axis=0).max() + 1e-12)
    _, _, vectors = np.linalg.svd(np.sqrt(counts)[:, None] * means / scale, full_matrices=False)
    basis = vectors[:directions].T

    def without(x: Array) -> Array:
        z = (x - mean) / scale
        left: Array = (z - z @ basis @ basis.T) * scale + mean
        return left

    return without(train), without(test)


def _codes(features: Array, subjects: Array) -> tuple[Array, int]:
    names, codes = np.unique(np.asarray(subjects), return_inverse=True)
    if features.ndim != 2 or len(features) != len(codes):
        raise ValueError(f"expected features [n, D] of n subjects' rows, got {features.shape} and {len(codes)}")
    if len(names) < 2 or len(codes) == len(names):
        raise ValueError(f"expected two subjects at least, and more than one row of some, got {len(codes)} rows of {len(names)} subjects")
    return codes, len(names)
