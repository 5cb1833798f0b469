"""Copies of volumes: on another grid, of other numbers, without empty borders, with other axes or another header."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import binary_erosion, gaussian_filter

from sslmed.modalities.base import Array, Copy

__all__ = ["SIMILAR", "Whole", "copies", "fingerprint"]

SIMILAR = 0.94
"""Correlation of inner structure from which volumes count as copies."""

_COARSE = 16  # cells of the sides of the cube by which pairs are proposed
_FINE = 48  # cells of the sides of the cube in which pairs are compared
_REACH = 2.4  # standard deviations of the content on both sides of its center that a cube covers
_SMOOTH = 0.7  # cells, or voxels where they are larger: standard deviation of the weights of a cell
_DARK = 0.2  # share of the highest values below which a voxel is background
_ALIKE = 0.85  # correlation of coarse cubes from which a pair is proposed
_NEAREST = 8  # pairs of a volume that are compared
_BESIDE = 0.06  # correlation below the best within which other directions of the axes are compared too
_DIRECTIONS = 3  # of the axes of a pair that are compared
_INNER = 2  # cells from the border of the content that are not compared: all brains end there
_LEAST = 500  # cells that are compared at least
_GRADUAL = 3.0  # cells over which changes are gradual
_NEARLY = 0.7  # correlation from which the finer one of a pair is blurred
_BLURS = (0.5, 0.8, 1.1, 1.5)  # cells

_TURNS = tuple((axes, flips) for axes in itertools.permutations(range(3)) for flips in itertools.product((1, -1), repeat=3))
"""All ways to order and turn three axes."""


class _Frame(NamedTuple):
    """Where the content of a volume lies."""

    center: tuple[float, ...]
    """In voxels, of each axis."""
    spread: tuple[float, ...]
    """Standard deviation of its voxels in each axis."""
    low: float
    """Value of the background."""
    high: float
    """Highest values above the background, but for one in a hundred."""


class Whole(NamedTuple):
    """What is kept of a volume."""

    coarse: Array
    """[4096] float16: the volume in a cube of 16 cells without its gradual changes, of length 1."""
    fine: Array
    """[48, 48, 48] uint8: the volume in a cube of 48 cells, 0 for its background."""


def fingerprint(values: Array, where: str) -> Whole:
    """What is kept of a volume, for :func:`copies`.

    Cubes are laid around the content by its center and its spread in each axis, so that neither borders nor the
    size of voxels matter.

    Args:
        values: [X, Y, Z] float32; what is not finite counts as 0.
        where: The file, for messages.

    Raises:
        ValueError: Nothing in it stands out from its background, or it is flat.
    """
    if min(values.shape) < 3:
        raise ValueError(f"{where}: expected a volume of at least 3 voxels in each axis, found {list(values.shape)}")
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    frame = _frame(values, where)
    coarse = _sampled(values, frame, _COARSE)
    detail = (coarse - gaussian_filter(coarse, 1.5)).ravel()
    detail -= detail.mean()
    if (length := float(np.linalg.norm(detail))) < 1e-6:
        raise ValueError(f"{where}: expected a volume with some content, found none")
    fine = np.round(255 * _sampled(values, frame, _FINE)).astype(np.uint8)
    return Whole((detail / length).astype(np.float16), fine)


def copies(volumes: Sequence[Whole], groups: Array, least: float = SIMILAR) -> Iterator[Copy]:
    """Pairs of volumes of different groups of which one is a copy of the other.

    Pairs are proposed by the correlation of coarse cubes, in any order and direction of the axes; of each volume
    the eight nearest are compared, by the
    correlation of fine cubes inside of what both show, without gradual changes.

    Args:
        volumes: Of :func:`fingerprint`.
        groups: Group of each volume.
        least: Similarity of the pairs that are listed.
    """
    for a, b in _proposed(volumes, groups):
        similarity = 0.0
        for turn in _likely_turns(volumes[a].coarse, volumes[b].coarse):
            similarity = max(similarity, _similarity(volumes[a].fine, _turned(volumes[b].fine, turn)))
            if similarity >= SIMILAR:
                break
        if similarity >= least:
            yield Copy(a, b, similarity)


def _frame(values: Array, where: str) -> _Frame:
    faces = [values.take([0, -1], axis=axis).ravel() for axis in range(3)]
    low = float(np.median(np.concatenate(faces)))
    above = values[values > low]
    high = float(np.percentile(above, 99)) - low if above.size else 0.0
    if not 0 < high < np.inf:
        raise ValueError(f"{where}: expected a volume with some content, found none brighter than its faces")
    content = values > low + _DARK * high
    center, spread = [], []
    for axis in range(3):
        along = content.sum(axis=tuple(other for other in range(3) if other != axis)).astype(np.float64)
        places = np.arange(len(along))
        middle = float((along * places).sum() / along.sum())
        center.append(middle)
        spread.append(float(np.sqrt((along * (places - middle) ** 2).sum() / along.sum() + 1 / 12)))
    return _Frame(tuple(center), tuple(spread), low, high)


def _sampled(values: Array, frame: _Frame, side: int) -> Array:
    """[side, side, side] float32 from 0 (background) to 1: the cube around the content, by weights that average where its cells are larger than voxels."""
    weights = []
    for size, middle, spread in zip(values.shape, frame.center, frame.spread, strict=True):
        step = 2 * _REACH * spread / side
        places = middle - _REACH * spread + step * (np.arange(side) + 0.5)
        width = max(_SMOOTH, _SMOOTH * step)
        beside = int(4 * width) + 1
        weight = np.exp(-0.5 * ((np.arange(-beside, size + beside) - places[:, None]) / width) ** 2)
        weight /= np.maximum(weight.sum(axis=1, keepdims=True), 1e-6)  # what lies beside the volume is background
        weights.append(weight[:, beside : beside + size].astype(np.float32))
    light = np.clip(values - np.float32(frame.low), 0, np.float32(frame.high)) / np.float32(frame.high)
    for weight in weights:  # each brings its axis to the end
        light = np.tensordot(light, weight, axes=(0, 1))
    out: Array = light
    return out


def _turned(cube: Array, turn: int) -> Array:
    axes, flips = _TURNS[turn]
    return cube.transpose(axes)[tuple(slice(None, None, flip) for flip in flips)]


def _proposed(volumes: Sequence[Whole], groups: Array) -> list[tuple[int, int]]:
    """Pairs of different groups that are alike as a whole; of each volume those with the nearest."""
    n, step = len(volumes), 1024
    if n < 2:
        return []
    cubes = np.stack([one.coarse for one in volumes]).astype(np.float32)
    nearest: list[list[tuple[float, int]]] = [[] for _ in range(n)]
    for first in range(0, n, step):
        ours = cubes[first : first + step]
        for start in range(first, n, step):
            theirs = cubes[start : start + step].reshape(-1, _COARSE, _COARSE, _COARSE)
            best = np.full((len(ours), len(theirs)), -1, np.float32)
            for axes, flips in _TURNS:
                turned = theirs.transpose(0, *(axis + 1 for axis in axes))[(slice(None), *(slice(None, None, flip) for flip in flips))]
                np.maximum(best, ours @ turned.reshape(len(theirs), -1).T, out=best)
            best[groups[first : first + step, None] == groups[None, start : start + step]] = -1
            _keep_nearest(nearest, best, first, start)
            if start > first:
                _keep_nearest(nearest, best.T, start, first)
    return sorted({(min(a, b), max(a, b)) for a, several in enumerate(nearest) for _, b in several})


def _keep_nearest(nearest: list[list[tuple[float, int]]], values: Array, first: int, start: int) -> None:
    """Adds the nearest of each row of [rows, columns], which are numbered from first and start on, to those that are known."""
    most = min(_NEAREST, values.shape[1])
    columns = np.argpartition(-values, most - 1, axis=1)[:, :most]
    for row, several in enumerate(columns.tolist()):
        near = [(-float(values[row, column]), start + column) for column in several if values[row, column] >= _ALIKE]
        if near:
            nearest[first + row] = sorted(nearest[first + row] + near)[:_NEAREST]


def _likely_turns(a: Array, b: Array) -> list[int]:
    """The ways to turn b by which it is most like a, the best first."""
    cube = b.astype(np.float32).reshape(_COARSE, _COARSE, _COARSE)
    values = np.array([float(a.astype(np.float32) @ _turned(cube, turn).ravel()) for turn in range(len(_TURNS))])
    order = np.argsort(-values, kind="stable")[:_DIRECTIONS]
    return [int(turn) for turn in order if values[turn] >= values[order[0]] - _BESIDE]


def _similarity(a: Array, b: Array) -> float:
    """Correlation of the inner structure of two cubes, the finer one blurred as far as that helps."""
    one, other = (x.astype(np.float32) / 255 for x in (a, b))
    best = _correlated(one, other)
    if not _NEARLY <= best < SIMILAR:
        return best
    fine = [float(np.linalg.norm(x - gaussian_filter(x, 0.7))) for x in (one, other)]
    if fine[0] < fine[1]:
        one, other = other, one
    for blur in _BLURS:
        found = _correlated(gaussian_filter(one, blur), other)
        if found < best:
            break
        best = found
    return best


def _inner(a: Array, b: Array) -> Array:
    out: Array = binary_erosion((a > _DARK * 0.75) & (b > _DARK * 0.75), iterations=_INNER)
    return out


def _detail(cube: Array, inside: Array) -> Array:
    """Inner structure without gradual changes, of what is inside alone, as [n]."""
    weight = inside.astype(np.float32)
    smooth = [gaussian_filter(x, _GRADUAL, truncate=2.5) for x in (cube * weight, weight)]
    light = cube[inside] - smooth[0][inside] / np.maximum(smooth[1][inside], 1e-3)
    out: Array = light - light.mean()
    return out


def _correlated(a: Array, b: Array) -> float:
    inside = _inner(a, b)
    if inside.sum() < _LEAST:
        return 0.0
    p, q = _detail(a, inside), _detail(b, inside)
    length = float(np.linalg.norm(p) * np.linalg.norm(q))
    return float(p @ q) / length if length > 1e-6 else 0.0
