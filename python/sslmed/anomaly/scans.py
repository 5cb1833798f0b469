"""Scans as methods of anomaly detection see them, and maps of scores over their cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from sslmed.anomaly.patches import Patches, patch_features, whole_maps
from sslmed.cohort import Cohort
from sslmed.encoders import CohortEncoder
from sslmed.modalities.label_maps import LabelMaps

__all__ = ["Detection", "Scan", "highest", "paint", "scans_of", "smoothed"]


@dataclass(frozen=True)
class Detection:
    """What a method says of a scan."""

    score: float
    """Of the whole scan; higher is more anomalous."""
    patches: torch.Tensor | None = None
    """[N] scores of the scan's patches."""
    cells: torch.Tensor | None = None
    """[spatial…] float32 scores of at least 0 of the cells of the scan; 0 where nothing was looked at."""
    covered: torch.Tensor | None = None
    """[spatial…] bool: cells that were looked at."""


@dataclass(frozen=True)
class Scan:
    """A row of a cohort: its array, where it has one, and its patches, where there is an encoder."""

    cohort: Cohort
    row: int
    maps: LabelMaps | None = None
    patches: Patches | None = None

    @property
    def subject(self) -> str:
        """Whose scan it is."""
        return str(self.cohort.table["subject"].iloc[self.row])

    @property
    def key(self) -> str:
        """What tells it from other scans, wherever it stands in a table."""
        return f"{self.subject}|{self.cohort.table['path'].iloc[self.row]}"

    def array(self) -> torch.Tensor:
        """[C, spatial…] float32; pixels are within 0 and 1.

        Raises:
            ValueError: The modality has no arrays.
        """
        values = self._maps().read(self.row)
        return values.float() / 255 if values.dtype == torch.uint8 else values.float()

    def inside(self) -> torch.Tensor:
        """[spatial…] bool: cells that hold anatomy; all of them where no mask is known."""
        known = self._maps().inside(self.row)
        return torch.ones(self._maps().read(self.row).shape[1:], dtype=torch.bool) if known is None else known

    def _maps(self) -> LabelMaps:
        if self.maps is None:
            kind = self.cohort.modality
            raise ValueError(f"{self.cohort.name}: rows of {kind!r} are no arrays: use methods on patches")
        return self.maps


def scans_of(
    cohort: Cohort,
    encoder: CohortEncoder | None,
    preprocessing: Any,
    *,
    patches: bool,
    **how: Any,
) -> list[Scan]:
    """The rows of a cohort as scans.

    Args:
        cohort: Cohort of one modality.
        encoder: Encoder of patches; None: there are none.
        preprocessing: How rows are read where there is no encoder.
        patches: Whether features of patches are wanted.
        **how: Options of :func:`sslmed.anomaly.patch_features`.
    """
    maps = whole_maps(cohort, preprocessing if encoder is None else encoder.preprocessing)
    found: Sequence[Patches | None] = [None] * len(cohort)
    if patches:
        assert encoder is not None
        found = patch_features(encoder, cohort, **how)
    return [Scan(cohort, row, maps, found[row]) for row in range(len(cohort))]


def highest(scores: torch.Tensor, share: float) -> float:
    """Mean of the highest share of scores, of one at least; NaN of none."""
    flat = scores.flatten()
    return float(flat.topk(min(max(1, round(share * flat.numel())), flat.numel())).values.double().mean())


def paint(patches: Patches, scores: torch.Tensor, smooth: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of patches as scores of the cells of a scan, linearly between the middles of neighboring patches.

    Patches of the same cells, such as those of several sequences, are averaged. Patches that are left out (without
    anatomy) take no part.

    Args:
        patches: The patches of a scan on a grid.
        scores: [N] of at least 0.
        smooth: Standard deviation in cells of a Gaussian filter over the result; 0: none.

    Returns:
        [spatial…] float32 scores, 0 where no patch lies, and [spatial…] bool: where one does.

    Examples:
        >>> import torch
        >>> from sslmed.anomaly import Patches, paint
        >>> corners = torch.tensor([[0, 0], [0, 2]])
        >>> patches = Patches(torch.zeros(2, 1), corners.double(), 1.0, torch.zeros(2), corners, (2, 2), (2, 4))
        >>> paint(patches, torch.tensor([1.0, 3.0]))[0][0].tolist()
        [1.0, 1.5, 2.5, 3.0]
    """
    assert patches.corners is not None
    sides = torch.tensor(patches.size)
    first = patches.corners.min(0).values
    cells = (patches.corners - first).div(sides, rounding_mode="floor")
    grid = (cells.max(0).values + 1).tolist()
    index = [cells[:, axis] for axis in range(len(grid))]
    total, count = torch.zeros(grid, dtype=torch.float64), torch.zeros(grid, dtype=torch.float64)
    total.index_put_(tuple(index), scores.double(), accumulate=True)
    count.index_put_(tuple(index), torch.ones(len(scores), dtype=torch.float64), accumulate=True)
    known = (count > 0).double()
    mean = total / count.clamp_min(1)
    size = [n * side for n, side in zip(grid, patches.size, strict=True)]
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(grid)]
    both = F.interpolate(torch.stack([mean, known])[None], size=size, mode=mode, align_corners=False)[0]
    near = F.interpolate(known[None, None], size=size, mode="nearest")[0, 0] > 0
    values = torch.where(near, both[0] / both[1].clamp_min(1e-9), 0.0)
    out, covered = torch.zeros(patches.shape), torch.zeros(patches.shape, dtype=torch.bool)
    ours, theirs = [], []
    for start, extent, wide in zip(first.tolist(), size, patches.shape, strict=True):
        low, high = max(0, start), min(wide, start + extent)
        ours.append(slice(low, high))
        theirs.append(slice(low - start, high - start))
    out[tuple(ours)] = values[tuple(theirs)].float()
    covered[tuple(ours)] = near[tuple(theirs)]
    return smoothed(out, covered, smooth), covered


def smoothed(values: torch.Tensor, inside: torch.Tensor, sigma: float) -> torch.Tensor:
    """A Gaussian filter over the cells inside, which takes nothing from those outside; 0 there."""
    if sigma <= 0:
        return torch.where(inside, values, 0.0)
    weight = gaussian_filter(inside.numpy().astype(np.float32), sigma)
    total = gaussian_filter(np.where(inside.numpy(), values.numpy(), 0).astype(np.float32), sigma)
    return torch.where(inside, torch.from_numpy(total / np.maximum(weight, 1e-6)), 0.0).clamp_min(0)


def resized(values: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """[C, spatial…] at another number of cells, linearly."""
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[values.ndim - 1]
    return F.interpolate(values[None], size=list(size), mode=mode, align_corners=False)[0]


def box_of(inside: torch.Tensor) -> tuple[slice, ...]:
    """The smallest box around the cells inside; all of the array where there are none."""
    where = inside.nonzero()
    if len(where) == 0:
        return tuple(slice(0, side) for side in inside.shape)
    low, high = where.min(0).values.tolist(), where.max(0).values.tolist()
    return tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))
