"""Tables of relative positions in windows: a row for each offset of one cell from another, the last axis fastest."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

__all__ = ["relative_rows", "resampled_offsets", "side_of"]


def side_of(rows: int, rank: int) -> int:
    """Number of offsets, which is odd, along each of ``rank`` equal axes; 0 where ``rows`` is no such power."""
    side = round(rows ** (1 / rank)) if rows > 0 else 0
    return side if side % 2 == 1 and side**rank == rows else 0


def resampled_offsets(table: torch.Tensor, old: Sequence[int], new: Sequence[int]) -> torch.Tensor:
    """A table [rows, heads] for windows of another size, along each axis as timm does it (of BEiT, arXiv 2106.08254).

    Known offsets are spread as a geometric progression, so that those of neighbors stay almost as they are, and all
    others are interpolated linearly between them.

    Args:
        table: [product of ``old``, heads].
        old: Number of offsets along each axis, 2 * window - 1.
        new: The same of the result.

    Returns:
        [product of ``new``, heads] float64.
    """
    grid = table.double().reshape(*old, -1)
    for axis, (before, after) in enumerate(zip(old, new, strict=True)):
        if before != after:
            grid = torch.tensordot(_weights(before, after), grid, dims=([1], [axis])).movedim(0, axis)
    return grid.reshape(math.prod(new), -1)


def _weights(old: int, new: int) -> torch.Tensor:
    """[new, old] matrix of linear interpolation; beyond the first and last known offset their own value."""
    places = _places(old, new)
    asked = torch.arange(new, dtype=torch.float64) - new // 2
    out = torch.zeros(new, old, dtype=torch.float64)
    if old == 1:
        return out + 1
    asked = asked.clamp(places[0], places[-1])
    right = torch.searchsorted(places, asked).clamp(1, old - 1)
    share = (asked - places[right - 1]) / (places[right] - places[right - 1])
    row = torch.arange(new)
    out[row, right - 1] = 1 - share
    out[row, right] = share
    return out


def _places(old: int, new: int) -> torch.Tensor:
    """Places of known offsets among new ones: 0, ±1, ±(1 + q), ±(1 + q + q²) …, with q between 1.01 and 1.5."""
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        q = (low + high) / 2
        low, high = (low, q) if (1 - q ** (old // 2)) / (1 - q) > new // 2 else (q, high)
    side = torch.cumsum(q ** torch.arange(old // 2, dtype=torch.float64), 0)
    return torch.cat([-side.flip(0), torch.zeros(1, dtype=torch.float64), side])


def relative_rows(window: Sequence[int]) -> torch.Tensor:
    """For each pair of cells of a window the row of its table: [cells, cells] int64."""
    axes = torch.meshgrid(*(torch.arange(extent) for extent in window), indexing="ij")
    rows = torch.zeros(math.prod(window), math.prod(window), dtype=torch.int64)
    for extent, places in zip(window, axes, strict=True):
        place = places.flatten()
        rows = rows * (2 * extent - 1) + (place[:, None] - place[None, :] + extent - 1)
    return rows
