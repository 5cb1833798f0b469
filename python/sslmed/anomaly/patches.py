"""What an encoder makes of each place of a scan: features of patches, and which cells of the scan they are of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from sslmed._checks import whole
from sslmed._world import own_settings
from sslmed.cohort import Cohort
from sslmed.encoders import CohortEncoder, FrozenEncoder
from sslmed.modalities import registry
from sslmed.modalities.base import LabelMaps
from sslmed.nn import DenseNet, VisionTransformer
from sslmed.sources import in_order, warn_of_samples

__all__ = ["Patches", "padded", "patch_features"]


@dataclass(frozen=True)
class Patches:
    """Patches of a scan (a row of a cohort) and their features."""

    features: torch.Tensor
    """[N, D] float32."""
    places: torch.Tensor
    """[N, P] float64: where patches lie, to find the same place in other scans: x, y, z in mm from the middle, or cells of
    the encoder's grid; of recordings also the number of an unplaced channel."""
    unit: float
    """Distance between neighboring patches in ``places``."""
    sample: torch.Tensor
    """[N] int64: number of the sample (window, tile) within the scan."""
    corners: torch.Tensor | None = None
    """[N, rank] int64: first cell of each patch on the scan's grid, which may lie outside of it; None: there is no grid."""
    size: tuple[int, ...] = ()
    """Cells of a patch along each axis."""
    shape: tuple[int, ...] = ()
    """Cells of the scan along each axis; empty: there is no grid."""

    def __len__(self) -> int:
        return len(self.features)


@own_settings()
def patch_features(
    encoder: CohortEncoder,
    cohort: Cohort,
    *,
    levels: Sequence[int] | None = None,
    neighborhood: int = 3,
    threads: int = 2,
    batch_size: int = 8,
) -> list[Patches]:
    """Features of the patches of every row of a cohort.

    Of a vision transformer they are the patch tokens after the last norm. Of a network with a pyramid they are those of
    PatchCore (Roth et al., arXiv 2106.08265): maps of some levels, averaged over the neighborhood of each cell, resized
    (linearly) to the finest of them, side by side. Volumes and images are taken whole, and patches without anatomy are
    left out where a mask is known.

    Args:
        encoder: An :class:`sslmed.Encoder`, :class:`sslmed.DenseEncoder`, or an :class:`sslmed.FrozenEncoder` whose
            module returns maps.
        cohort: Rows of the encoder's modality.
        levels: Maps of the pyramid by number, from 0, the finest; None: the first two of stride 4 or more.
        neighborhood: Cells along each axis over which maps of a pyramid are averaged; odd.
        threads: Number of loader threads.
        batch_size: Number of samples that are encoded at a time.

    Returns:
        One entry a row.

    Raises:
        TypeError: The encoder gives one vector a sample, and no features of patches.
        ValueError: The cohort is of another modality or of several, or an option is out of range.

    Examples:
        >>> import numpy as np, pandas as pd, sslmed as sm
        >>> from sslmed.anomaly import patch_features
        >>> table = pd.DataFrame({"subject": ["a", "b"]})
        >>> cohort = sm.Cohort.from_arrays(np.random.randn(2, 3, 800), 100.0, ["Cz", "Pz", "Oz"], table)
        >>> patches = patch_features(sm.Encoder("vit_tiny", depth=1), cohort)
        >>> len(patches), patches[0].features.shape[1], sorted(set(patches[0].sample.tolist()))
        (2, 192, [0, 1])
    """
    whole("patch_features", "neighborhood", neighborhood, 1)
    if neighborhood % 2 == 0:
        raise ValueError(f"patch_features: neighborhood={neighborhood} must be odd")
    kind = registry.get(cohort.modality)
    if cohort.modality != encoder.preprocessing.modality:
        raise ValueError(f"{cohort.name}: patch_features: encoder is for {encoder.preprocessing.modality!r}, the cohort for {cohort.modality!r}")
    was = encoder.training  # type: ignore[attr-defined]
    encoder.eval()  # type: ignore[attr-defined]
    try:
        with torch.no_grad():
            if not isinstance(encoder, (VisionTransformer, DenseNet, FrozenEncoder)):
                raise TypeError(f"patch_features: encoder={type(encoder).__name__} gives no features of patches")
            if isinstance(encoder, VisionTransformer) and (encoder.preprocessing.embedding()["positions"] == "coordinates" or not kind.has_label_maps):
                return _of_tokens(encoder, cohort, kind, threads, batch_size)
            maps = kind.label_maps(cohort, encoder.preprocessing)
            return [_of_array(encoder, maps, row, levels, neighborhood) for row in range(len(cohort))]
    finally:
        encoder.train(was)  # type: ignore[attr-defined]


def _of_tokens(encoder: Any, cohort: Cohort, kind: Any, threads: int, batch_size: int) -> list[Patches]:
    """Patches of encoders whose tokens come from a loader: those that are placed by coordinates, and tiles of slides."""
    how = encoder.preprocessing
    source = cohort.source(how, extra_channels=encoder.extra_channels)
    loader = in_order(source, how, threads=threads, batch_size=batch_size, on_error="raise")
    maps = kind.label_maps(cohort, how) if kind.has_label_maps else None
    rows, before = source.recording_of.tolist(), source.counts.cumsum(0) - source.counts
    parts: list[list[Patches]] = [[] for _ in range(len(cohort))]
    while (batch := loader.next()) is not None:
        for view in batch.views:
            tokens = encoder.forward_views([view]).tokens.float()
            lengths: Sequence[int] = view.lengths or ()
            n, start, first = encoder.prefix, 0, 0
            for place, slot in enumerate(view.slots):
                length = lengths[place]
                mine, token = slice(start, start + length), slice(first + n, first + n + length)
                row = rows[batch.sample_ids[slot]]
                number = batch.sample_ids[slot] - int(before[row])
                parts[row].append(_token_patches(view, mine, tokens[token].clone(), maps, row, number))
                start, first = start + length, first + n + length
    warn_of_samples(source)
    return [_joined(sorted(some, key=lambda part: int(part.sample[0]))) for some in parts]


def _token_patches(view: Any, mine: slice, features: torch.Tensor, maps: LabelMaps | None, row: int, number: int) -> Patches:
    patch = [int(side) for side in view.patch]
    grid, sample = view.grid[mine].long(), torch.full((len(features),), number)
    spatial = view.coords is not None and len(patch) != 2
    if not spatial:
        return Patches(features, grid.double(), 1.0, sample)
    coords = view.coords[mine].double()
    extra = torch.zeros(len(features), dtype=torch.int64) - 1 if view.extra is None else view.extra[mine]
    if maps is None:  # a recording: its time is no place
        places = torch.cat([coords[:, :3].nan_to_num(0.0), extra[:, None].double() * 1e4], 1)
        return Patches(features, places, 20.0, sample)
    shape = tuple(maps.read(row).shape[1:])
    sides, cells = torch.tensor(patch), torch.tensor(shape)
    spare = -cells % sides  # cells that whole patches reach beyond the scan, half of them in front of it
    spacing = _spacing(coords, grid, patch)
    corners = grid * sides - (spare + 1).div(2, rounding_mode="floor")
    places = torch.cat([coords[:, :3], extra[:, None].double() * 1e4], 1)
    return Patches(features, places, spacing, sample, corners, tuple(patch), shape)


def _spacing(coords: torch.Tensor, grid: torch.Tensor, patch: Sequence[int]) -> float:
    """Distance between neighboring patches in mm: the largest along an axis."""
    found = [1.0]
    for axis in range(len(patch)):
        cells, at = torch.unique(grid[:, axis], return_inverse=True)
        if len(cells) > 1:
            first, last = coords[at == 0, axis][0], coords[at == len(cells) - 1, axis][0]
            found.append(float((last - first) / (cells[-1] - cells[0])))
    return max(found)


def _joined(parts: Sequence[Patches]) -> Patches:
    """All samples of a row."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    columns = [torch.cat([getattr(part, name) for part in parts]) for name in ("features", "places", "sample")]
    return Patches(columns[0], columns[1], first.unit, columns[2])


def padded(values: torch.Tensor, sides: Sequence[int]) -> torch.Tensor:
    """[C, spatial…] as [1, C, spatial…] with extents that are multiples of ``sides``: the last cells are repeated."""
    for axis, side in enumerate(sides, 1):
        spare = -values.shape[axis] % side
        if spare:
            values = torch.cat([values, values.narrow(axis, values.shape[axis] - 1, 1).expand(_with(values.shape, axis, spare))], axis)
    return values[None]


def _with(shape: Sequence[int], axis: int, extent: int) -> list[int]:
    return [extent if number == axis else int(side) for number, side in enumerate(shape)]


def _of_array(encoder: Any, maps: LabelMaps, row: int, levels: Sequence[int] | None, neighborhood: int) -> Patches:
    """Patches of encoders of dense inputs, of any extent."""
    array = maps.read(row)
    shape = tuple(int(side) for side in array.shape[1:])
    how: Any = encoder.preprocessing
    if isinstance(encoder, VisionTransformer):
        patch = [int(side) for side in how.embedding()["patch_size"]]
        dense = padded(array, patch)
        grid = [side // step for side, step in zip(dense.shape[2:], patch, strict=True)]
        features = encoder.forward_features(dense)[0, encoder.prefix :]
        strides = patch
    else:
        found = _map_of(encoder, array, levels, neighborhood)
        grid, strides = list(found[0].shape[1:]), found[1]
        features = found[0].flatten(1).T
    cells = torch.cartesian_prod(*[torch.arange(side) for side in grid]).reshape(-1, len(grid))
    corners = cells * torch.tensor(strides)
    keep = _with_anatomy(maps.inside(row), shape, grid, strides, getattr(how, "anatomy", 0.05))
    keep &= (corners < torch.tensor(shape)).all(1)
    n = int(keep.sum())
    middle = torch.tensor(shape) / 2
    places = (corners + torch.tensor(strides) / 2 - middle)[keep].double() / torch.tensor(strides)
    return Patches(
        features[keep].float().clone(),
        places,
        1.0,
        torch.zeros(n, dtype=torch.int64),
        corners[keep],
        tuple(strides),
        shape,
    )


def _map_of(encoder: Any, array: torch.Tensor, levels: Sequence[int] | None, neighborhood: int) -> tuple[torch.Tensor, list[int]]:
    """[D, cells…] features of an array, and input cells to a cell along each axis."""
    rank = array.ndim - 1
    if isinstance(encoder, DenseNet):
        strides = encoder.strides
        chosen = _levels(strides, levels)
        dense = padded(array, [max(strides)] * rank)
        pyramid = encoder.features(dense).pyramid
        maps = [pyramid[level].float() for level in chosen]
    else:
        dense = padded(array, [32] * rank)
        found = encoder.encode_dense(dense)
        if found.ndim != rank + 2:
            raise TypeError(
                f"patch_features: the module of {type(encoder).__name__} gives {list(found.shape)} of an input "
                f"{list(dense.shape)}, expected a map [1, D, spatial…]; give FrozenEncoder a features= that returns one"
            )
        maps = [found.float()]
    pool = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[rank]
    maps = [pool(one, neighborhood, 1, neighborhood // 2) for one in maps]
    grid, mode = maps[0].shape[2:], {1: "linear", 2: "bilinear", 3: "trilinear"}[rank]
    maps = [maps[0], *(F.interpolate(one, size=grid, mode=mode) for one in maps[1:])]
    return torch.cat(maps, 1)[0], [side // cells for side, cells in zip(dense.shape[2:], grid, strict=True)]


def _levels(strides: Sequence[int], levels: Sequence[int] | None) -> list[int]:
    if levels is None:
        fine = [level for level, stride in enumerate(strides) if stride >= 4]
        # Two maps of one stride, such as those before and after a pooling, count once.
        return [level for level in fine if strides.index(strides[level]) == level][:2] or [len(strides) - 1]
    chosen = sorted({int(level) for level in levels})
    if not chosen or chosen[0] < 0 or chosen[-1] >= len(strides):
        raise ValueError(f"patch_features: levels={list(levels)} must be numbers from 0 to {len(strides) - 1}")
    return chosen


def _with_anatomy(inside: torch.Tensor | None, shape: Sequence[int], grid: Sequence[int], strides: Sequence[int], least: float) -> torch.Tensor:
    """[N] bool: whether the mask covers enough of a patch."""
    n = torch.Size(grid).numel()
    if inside is None:
        return torch.ones(n, dtype=torch.bool)
    whole_grid = torch.zeros([cells * step for cells, step in zip(grid, strides, strict=True)])
    whole_grid[tuple(slice(side) for side in shape)] = inside.float()
    pool = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[len(grid)]
    share = pool(whole_grid[None, None], tuple(strides), tuple(strides)).flatten()
    kept = (share >= least) & (share > 0)
    return kept if bool(kept.any()) else torch.ones(n, dtype=torch.bool)
