"""Copies of pictures: resized, saved anew, cropped, turned, mirrored, or of other brightness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, map_coordinates, maximum_filter

from sslmed.modalities.base import Array, Copy
from sslmed.modalities.matching import bits_of, matches, normalized

__all__ = ["SIMILAR", "Picture", "copies", "fingerprint"]

SIMILAR = 0.7
"""Correlation of fine structure from which pictures count as copies."""

_SIDE = 160  # pixels of the longer side in which local features are found
_KEPT = 96  # pixels of the longer side of the picture that is kept for the comparison
_WHOLE = 32  # pixels of the sides of the square that stands for the whole picture
_GROWTH = 2.0 ** (1 / 2.5)
_SIGMAS = 1.6 * _GROWTH ** np.arange(8)  # of the scale space
_MOST = (80, 64, 40, 24, 12)  # local features of each level that has a finer and a coarser one
_PATCH = 9  # samples along the sides of a local feature
_STEP = 1.3  # distance of its samples in its sigma
_FINE = 0.012  # least contrast of a local feature
_ALIKE = 0.8  # correlation of whole pictures from which they are compared
_DISTANCE = 12  # bits in which local features may differ
_VOTES = 4  # local features that agree on how one picture lies in the other
_AFFINE = 10  # of which there are enough to say that it is also wider or higher
_SMALLEST = 20  # pixels of the shorter side of a part that is compared


class Picture(NamedTuple):
    """What is kept of a picture."""

    small: Array
    """[H, W] uint8, at most 96 pixels long."""
    whole: Array
    """[1024] float16: fine structure of the picture as a square, of length 1."""
    hashes: Array
    """[n] uint64 of local features."""
    places: Array
    """[n, 2] float32: their x and y as shares of the longer side."""


def fingerprint(pixels: torch.Tensor) -> Picture:
    """What is kept of a picture, for :func:`copies`.

    Args:
        pixels: [H, W, C] uint8: gray, gray and alpha, RGB, or RGBA.
    """
    gray = _luminance(pixels)
    wide = _resized(gray, _SIDE)
    hashes, places = _features(wide)
    small = _resized(gray, _KEPT)
    square = _box(gray, _WHOLE, _WHOLE)
    whole = normalized((_detail(square, 2.0) * _window(_WHOLE)).reshape(1, -1))[0]
    return Picture(np.clip(small + 0.5, 0, 255).astype(np.uint8), whole.astype(np.float16), hashes, places)


def copies(pictures: Sequence[Picture], groups: Array, least: float = SIMILAR) -> Iterator[Copy]:
    """Pairs of pictures of different groups of which one is a copy of the other, or of a part of it.

    Pairs are looked for by the correlation of whole pictures, 32 by 32 pixels with their gradual changes taken off, and by local features that agree on how
    one picture lies in the other. Those found are compared as they lie: the correlation of fine structure in at least half of the parts that have any.

    Args:
        pictures: Of :func:`fingerprint`.
        groups: Group of each picture.
        least: Similarity of the pairs that are listed.
    """
    best: dict[tuple[int, int], float] = {}
    for a, b in _alike(pictures, groups):
        best[a, b] = _similarity(pictures[a], pictures[b], _stretched(pictures[a], pictures[b]))
    for match in matches([picture.hashes for picture in pictures], groups, _DISTANCE, _VOTES):
        pair = match.a, match.b
        if best.get(pair, 0.0) >= SIMILAR:
            continue
        at = _map(pictures[match.a].places[match.of_a], pictures[match.b].places[match.of_b])
        if at is not None:
            best[pair] = max(best.get(pair, 0.0), _similarity(pictures[match.a], pictures[match.b], at))
    for (a, b), similarity in sorted(best.items()):
        if similarity >= least:
            yield Copy(a, b, similarity)


def _luminance(pixels: torch.Tensor) -> Array:
    values = pixels.numpy().astype(np.float32)
    color, alpha = (values[..., :-1], values[..., -1:] / 255) if values.shape[2] in (2, 4) else (values, None)
    gray = color @ np.array([0.299, 0.587, 0.114], np.float32) if color.shape[2] == 3 else color[..., 0]
    out: Array = gray if alpha is None else gray * alpha[..., 0] + 255 * (1 - alpha[..., 0])
    return out


def _box(gray: Array, height: int, width: int) -> Array:
    """The picture by area, or by interpolation where it grows."""
    picture = torch.from_numpy(np.ascontiguousarray(gray))[None, None]
    return torch.nn.functional.interpolate(picture, (height, width), mode="bilinear", antialias=True, align_corners=False)[0, 0].numpy()


def _resized(gray: Array, side: int) -> Array:
    scale = side / max(gray.shape)
    return _box(gray, max(2, round(gray.shape[0] * scale)), max(2, round(gray.shape[1] * scale)))


def _detail(gray: Array, sigma: float) -> Array:
    """The picture without its gradual changes."""
    out: Array = gray - gaussian_filter(gray, sigma, mode="nearest")
    return out


def _window(side: int) -> Array:
    hann = np.hanning(side + 2)[1:-1].astype(np.float32) ** 0.5
    return hann[:, None] * hann


def _features(gray: Array) -> tuple[Array, Array]:
    """Hashes and places of the blobs of a picture: extrema of differences of Gaussians, each turned by its own gradient, mirrored and of bright sign."""
    spread = float(gray.std())
    if spread < 1e-3:
        return np.zeros(0, np.uint64), np.zeros((0, 2), np.float32)
    levels = np.stack([gaussian_filter((gray - gray.mean()) / spread, sigma, mode="nearest") for sigma in _SIGMAS])
    blobs = levels[:-1] - levels[1:]
    size = np.abs(blobs)
    peak = (size == maximum_filter(size, (3, 5, 5), mode="nearest")) & (size > _FINE)
    peak[[0, -1]] = False
    peak[:, [0, 1, -2, -1]] = False
    peak[:, :, [0, 1, -2, -1]] = False
    level, y, x = np.nonzero(peak)
    if not len(level):
        return np.zeros(0, np.uint64), np.zeros((0, 2), np.float32)
    order = np.argsort(-size[level, y, x], kind="stable")
    order = np.concatenate([order[level[order] == one][:most] for one, most in enumerate(_MOST, 1)])
    level, y, x = level[order], y[order], x[order]
    exact = np.stack([_top(size, (level, y, x), axis) for axis in range(3)])
    values = _described(levels, exact, np.sign(blobs[level, y, x]))
    places = np.stack([exact[2] + 0.5, exact[1] + 0.5], axis=1) / max(gray.shape)
    return bits_of(values, 1), places.astype(np.float32)


def _top(size: Array, at: tuple[Array, Array, Array], axis: int) -> Array:
    """Where along an axis the parabola through a maximum and its neighbors has its top."""
    before, after = (tuple(where + step if k == axis else where for k, where in enumerate(at)) for step in (-1, 1))
    bend = size[before] - 2 * size[at] + size[after]
    move = np.where(bend < 0, 0.5 * (size[before] - size[after]) / np.where(bend < 0, bend, -1), 0)
    return np.asarray(at[axis] + np.clip(move, -0.5, 0.5))


def _described(levels: Array, at: Array, sign: Array) -> Array:
    """Vectors [n, D] that describe the surroundings of each place, whichever way the picture is turned, mirrored or inverted.

    Args:
        levels: Scale space [L, H, W].
        at: [3, n] level, y and x of the places.
        sign: [n] of their blobs.
    """
    level, y, x = at
    line = np.arange(_PATCH) - (_PATCH - 1) / 2
    v, u = np.meshgrid(line, line, indexing="ij")
    disk = np.hypot(u, v) <= _PATCH / 2
    sigma = _SIGMAS[0] * _GROWTH**level * _STEP

    def patches(angle: Array, mirror: Array) -> Array:
        cosine, sine = (np.asarray(f(angle) * sigma)[:, None, None] for f in (np.cos, np.sin))
        across = v * mirror[:, None, None]
        where = [np.broadcast_to(level[:, None, None], (len(level), *u.shape)), y[:, None, None] + sine * u + cosine * across]
        where.append(x[:, None, None] + cosine * u - sine * across)
        found = map_coordinates(levels, where, order=1, mode="nearest") * sign[:, None, None]
        return np.asarray(found - found[:, disk].mean(axis=1)[:, None, None])

    upright = np.ones(len(level))
    first = patches(np.zeros(len(level)), upright) * disk
    angle = np.arctan2((first * v).sum((1, 2)), (first * u).sum((1, 2)))
    turned = patches(angle, upright)
    skew = (turned * disk * (u * v)).sum((1, 2))
    mirror = np.where(skew < 0, -1.0, 1.0)
    final = normalized((turned if (mirror > 0).all() else patches(angle, mirror)).reshape(len(level), -1))
    return final @ _WHITE


def _whitening() -> Array:
    """[81, 24] cosines over a patch, the coarse ones, which are large in all pictures, weighed down."""
    line = np.cos(np.pi * (np.arange(_PATCH) + 0.5)[:, None] * np.arange(_PATCH) / _PATCH)
    line /= np.linalg.norm(line, axis=0)
    out = [np.outer(line[:, i], line[:, j]).ravel() * np.hypot(i, j) for i in range(_PATCH) for j in range(_PATCH) if 0 < np.hypot(i, j) <= 5]
    return np.stack(out, axis=1).astype(np.float32)


_WHITE = _whitening()


def _alike(pictures: Sequence[Picture], groups: Array) -> Iterator[tuple[int, int]]:
    """Pairs of pictures of different groups that are alike as a whole, the light of one perhaps the dark of the other."""
    whole = torch.from_numpy(np.stack([picture.whole for picture in pictures]).astype(np.float32)) if pictures else torch.zeros(0, 1)
    step = 1024
    for at in range(0, len(whole), step):
        for other in range(at, len(whole), step):
            close = ((whole[at : at + step] @ whole[other : other + step].T).abs_() >= _ALIKE).nonzero().numpy()
            for a, b in zip((close[:, 0] + at).tolist(), (close[:, 1] + other).tolist(), strict=True):
                if a < b and groups[a] != groups[b]:
                    yield a, b


def _stretched(a: Picture, b: Picture) -> Array:
    """Map [2, 3] of places in a whole picture to those in another."""
    (h, w), (p, q) = a.small.shape, b.small.shape
    return np.array([[q / max(p, q) * max(h, w) / w, 0, 0], [0, p / max(p, q) * max(h, w) / h, 0]])


def _map(a: Array, b: Array) -> Array | None:
    """Map [2, 3] of places on which most local features agree: two of them say how it is turned, scaled, mirrored and moved. None: too few agree."""
    z, w = a[:, 0] + 1j * a[:, 1], b[:, 0] + 1j * b[:, 1]
    i, j = np.triu_indices(len(z), 1)
    far = np.abs(z[i] - z[j]) > 0.1
    i, j = i[far], j[far]
    if len(i) > 600:
        keep = np.linspace(0, len(i) - 1, 600).astype(int)
        i, j = i[keep], j[keep]
    if not len(i):
        return None
    most, agree, flipped = 0, np.zeros(len(z), bool), False
    for mirror in (False, True):
        y = z.conj() if mirror else z
        turn = (w[j] - w[i]) / (y[j] - y[i])
        off = np.abs(turn[:, None] * y + (w[i] - turn * y[i])[:, None] - w) < 0.02 + 0.01 * np.abs(turn)[:, None]
        off[(np.abs(turn) < 0.2) | (np.abs(turn) > 5)] = False
        for one in off[np.argsort(-off.sum(1), kind="stable")[:4]]:
            votes = len(set(map(tuple, a[one].round(2).tolist())))
            if votes > most:
                most, agree, flipped = votes, one, mirror
    if most < _VOTES:
        return None
    if most >= _AFFINE:
        fitted: Array = np.linalg.lstsq(np.column_stack([a[agree], np.ones(agree.sum())]), b[agree], rcond=None)[0].T
        return fitted
    y = (z.conj() if flipped else z)[agree]
    (turn, move), *_ = np.linalg.lstsq(np.column_stack([y, np.ones(len(y))]), w[agree], rcond=None)
    sign = -1.0 if flipped else 1.0
    return np.array([[turn.real, -sign * turn.imag, move.real], [turn.imag, sign * turn.real, move.imag]])


def _similarity(a: Picture, b: Picture, at: Array) -> float:
    """Correlation of fine structure of two pictures where they overlap: its median over the parts that have structure; 0 where next to nothing overlaps."""
    zoom = np.sqrt(abs(np.linalg.det(at[:, :2])))
    if not 0.15 < zoom < 7:
        return 0.0
    finer = zoom * max(b.small.shape) / max(a.small.shape)  # pixels of b that one of a is wide
    if finer < 0.99:  # the coarser one's pixels are looked up in the finer one
        inverse = np.linalg.inv(at[:, :2])
        return _similarity(b, a, np.column_stack([inverse, -inverse @ at[:, 2]]))
    h, w = a.small.shape
    y, x = np.mgrid[:h, :w]
    points = at @ np.stack([(x.ravel() + 0.5) / max(h, w), (y.ravel() + 0.5) / max(h, w), np.ones(h * w)])
    where = points[::-1].reshape(2, h, w) * max(b.small.shape) - 0.5
    inside = np.logical_and.reduce([(where[k] >= -0.5) & (where[k] <= b.small.shape[k] - 0.5) for k in (0, 1)])
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if min(len(rows), len(columns)) < _SMALLEST or inside.sum() < 0.05 * inside.size:
        return 0.0
    box = np.ix_(np.arange(rows[0], rows[-1] + 1), np.arange(columns[0], columns[-1] + 1))
    blurred = gaussian_filter(b.small.astype(np.float32), 0.5 * np.sqrt(max(finer**2 - 1, 0)), mode="nearest")
    other = map_coordinates(blurred, where, order=1, mode="nearest")[box]
    return _correlated(_detail(a.small[box].astype(np.float32), 2.5), _detail(other, 2.5), inside[box])


def _correlated(a: Array, b: Array, inside: Array) -> float:
    """Median correlation over parts, by the shift of at most two pixels that suits the whole best."""
    side = 2
    core = slice(side, -side)
    fixed = (a * inside)[core, core]
    best, most = 0.0, (0, 0)
    for dy in range(-side, side + 1):
        for dx in range(-side, side + 1):
            moved = (b * inside)[side + dy : b.shape[0] - side + dy, side + dx : b.shape[1] - side + dx]
            length = np.linalg.norm(fixed) * np.linalg.norm(moved)
            value = float((fixed * moved).sum() / length) if length > 0 else 0.0
            if abs(value) > abs(best):
                best, most = value, (dy, dx)
    moved = b[side + most[0] : b.shape[0] - side + most[0], side + most[1] : b.shape[1] - side + most[1]]
    parts = max(2, min(4, fixed.shape[0] // 10)), max(2, min(4, fixed.shape[1] // 10))
    found = []
    for row in np.array_split(np.arange(fixed.shape[0]), parts[0]):
        for column in np.array_split(np.arange(fixed.shape[1]), parts[1]):
            where = inside[core, core][np.ix_(row, column)]
            if where.mean() < 0.5:
                continue
            p, q = fixed[np.ix_(row, column)][where], moved[np.ix_(row, column)][where]
            p, q = p - p.mean(), q - q.mean()
            found.append((float(p @ p), float(q @ q), float(p @ q)))
    if not found:
        return 0.0
    table = np.array(found)
    power = table[:, 0] / max(table[:, 0].max(), 1e-9) + table[:, 1] / max(table[:, 1].max(), 1e-9)
    table = table[power > 0.1 * np.median(power)]
    length = np.sqrt(table[:, 0] * table[:, 1])
    values = np.divide(table[:, 2], length, out=np.zeros(len(table)), where=length > 1e-6)
    return float(abs(np.median(values)))
