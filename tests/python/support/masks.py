"""Masks and label maps that metrics are tested on: blobs, noise, thin ones, and those that touch the edge."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

Values = np.ndarray[Any, Any]


def blob(rng: np.random.Generator, shape: tuple[int, ...], share: float = 0.3, sigma: float = 2.0) -> Values:
    """A smooth random mask of about this share of the cells."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
    return np.asarray(noise > np.quantile(noise, 1 - share))


def pair(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> tuple[Values, Values]:
    """Two masks that have something to do with each other."""
    if kind == "noise":
        return rng.random(shape) < 0.2, rng.random(shape) < 0.15
    if kind == "thin":
        one, two = np.zeros((2, *shape), bool)
        at = tuple(int(n // 2) for n in shape[:-1])
        one[at], two[(at[0] - 1, *at[1:])] = True, True
        return one, two
    if kind == "edge":
        one, two = np.zeros((2, *shape), bool)
        one[tuple(slice(0, n // 2) for n in shape)] = True
        two[tuple(slice(n // 3, None) for n in shape)] = True
        return one, two
    if kind == "full":
        return np.ones(shape, bool), blob(rng, shape)
    if kind == "outlier":
        one = np.zeros(shape, bool)
        one[tuple(slice(2, n // 3) for n in shape)] = True
        two = one.copy()
        two[tuple(n - 2 for n in shape)] = True
        return one, two
    noise = rng.standard_normal(shape)
    fields = [ndimage.gaussian_filter(noise + 0.5 * rng.standard_normal(shape), 2.0) for _ in range(2)]
    one, two = (field > np.quantile(field, 0.7) for field in fields)
    return one, two


KINDS = ("blobs", "noise", "thin", "edge", "full", "outlier")


def instances(rng: np.random.Generator, shape: tuple[int, ...], objects: int, radius: float = 4.0) -> Values:
    """Balls with labels that are not contiguous, later ones on top."""
    labels = np.zeros(shape, np.int32)
    grid = np.indices(shape)
    names = rng.permutation(5 * objects)[:objects] + 1
    for name in names:
        center = [rng.uniform(0, n) for n in shape]
        size = rng.uniform(0.5, 1.5) * radius
        far = sum((axis - place) ** 2 for axis, place in zip(grid, center, strict=True))
        labels[far <= size**2] = name
    return labels


def moved(rng: np.random.Generator, labels: Values, drop: float = 0.2) -> Values:
    """The objects, each shifted a little, some of them missing, some of them in two, with other labels."""
    out = np.zeros_like(labels)
    names = [name for name in np.unique(labels) if name]
    for number, name in enumerate(names):
        if rng.random() < drop:
            continue
        cells = np.argwhere(labels == name) + rng.integers(-2, 3, labels.ndim)
        cells = cells[((cells >= 0) & (cells < labels.shape)).all(axis=1)]
        halves = rng.random() < 0.2
        split = cells[:, 0] > np.median(cells[:, 0]) if halves and len(cells) else np.zeros(len(cells), bool)
        out[tuple(cells.T)] = 3 * number + 1 + split
    return out
