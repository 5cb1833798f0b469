"""Prediction of whole slides by overlapping tiles: read ahead by threads, blended into bands of rows, written while the
next ones are predicted."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
import pandas as pd
import torch

from sslmed._checks import choice, number, whole
from sslmed._core import C
from sslmed.inference.sinks import Extra, MapBand, Sinks
from sslmed.inference.windows import Convention, Mode
from sslmed.io import Slide, open_slide
from sslmed.io.qupath import ObjectKind
from sslmed.transforms.tissue import Tissue, find

__all__ = ["Extra", "MapBand", "SlideMap", "tiled", "tiled_bands"]

_OVERVIEW = 1024  # cells of the longer side of what is kept for a picture


@dataclass(frozen=True)
class _Plan:
    """Where tiles lie: cells of the map, of which one is ``pixel`` pixels of level 0 wide and high."""

    slide: Slide
    pixel: tuple[float, float]
    mpp: tuple[float, float] | None
    height: int
    width: int
    size: int
    rows: list[int]
    tiles: list[tuple[int, int]]
    """(number of the row of tiles, first column) of each tile, row by row."""


def tiled_bands(
    slide: Slide | str | os.PathLike[str],
    predictor: Any,
    *,
    mpp: float | None = None,
    size: int = 512,
    overlap: float = 0.25,
    mode: Mode = "gaussian",
    convention: Convention = "monai",
    batch_size: int = 4,
    tissue: Tissue | bool = False,
    flips: Sequence[int] = (),
    extra: Extra = "none",
    outside: int = 0,
    preprocess: Callable[[torch.Tensor], torch.Tensor] | None = None,
    device: str = "cpu",
    threads: int = 2,
) -> Iterator[MapBand]:
    """The map of a slide band by band, from top to bottom: what :func:`tiled` writes, for callers who make something
    else of it.

    Args:
        slide: The slide, or its file.
        predictor: As in :func:`tiled`.
        mpp: As in :func:`tiled`.
        size: As in :func:`tiled`.
        overlap: As in :func:`tiled`.
        mode: As in :func:`tiled`.
        convention: As in :func:`tiled`.
        batch_size: As in :func:`tiled`.
        tissue: As in :func:`tiled`.
        flips: As in :func:`tiled`.
        extra: As in :func:`tiled`.
        outside: As in :func:`tiled`.
        preprocess: As in :func:`tiled`.
        device: As in :func:`tiled`.
        threads: As in :func:`tiled`.

    Yields:
        Bands without gaps. No more than the rows of a row of tiles are held for all classes, and of them only where
        there are tiles.

    Raises:
        ValueError: An option is out of range, the slide's scale is not known, or the predictor gives another shape.
        FormatError, ReadError: The slide cannot be read.
    """
    plan = _planned(_opened(slide), mpp, size, overlap, convention, tissue)
    _check(mode, batch_size, flips, extra, outside, threads)
    return _predicted(plan, predictor, mode, convention, batch_size, flips, extra, outside, preprocess, device, threads)


@dataclass(frozen=True)
class SlideMap:
    """What :func:`tiled` found on a slide."""

    shape: tuple[int, int]
    """Rows and columns of the map."""
    downsample: tuple[float, float]
    """Pixels of level 0 that a cell is wide and high."""
    mpp: tuple[float, float] | None
    """µm per cell in x and y; None where the slide's scale is not known."""
    tiles: int
    """Number of tiles that were predicted."""
    table: pd.DataFrame
    """A line a class: class, name, cells, share (of all cells), area_mm2 (NaN where the scale is not known)."""
    files: list[str] = field(default_factory=list)
    """What was written."""
    objects: int = 0
    """Number of objects in the GeoJSON file."""
    classes: torch.Tensor | None = None
    """[H, W] uint8, where nothing was written."""
    extra: torch.Tensor | None = None
    """As in :class:`MapBand`, for the whole map, where nothing was written."""
    overview: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.uint8))
    """The map with every n-th cell of every n-th row, at most 1,024 a side."""
    outside: int = 0
    """The class of cells that no tile covers, which is no object's."""

    def plot(self, ax: Any = None) -> Any:
        """Draws the overview in colors of its classes; gives the axes."""
        import matplotlib.pyplot as plt
        from matplotlib.patches import Patch

        axes = plt.subplots()[1] if ax is None else ax
        colors = plt.get_cmap("tab10", max(10, len(self.table)))
        axes.imshow(colors(self.overview.numpy()))
        axes.legend(
            handles=[Patch(color=colors(int(row["class"])), label=row["name"]) for _, row in self.table.iterrows()],
            loc="upper right",
        )
        axes.set_axis_off()
        return axes

    def save(self, path: str | os.PathLike[str], *, objects: ObjectKind = "annotation", min_area: float = 0.0) -> None:
        """Writes a map that is in memory: ``.ome.tiff`` (the classes) or ``.geojson`` (their outlines).

        Args:
            path: The file.
            objects: What QuPath takes outlines for.
            min_area: Least area of an object in µm² (cells, where the scale is not known).

        Raises:
            ValueError: The map is not in memory, or the ending is another one.
        """
        if self.classes is None:
            raise ValueError(f"save: the map was written to {', '.join(self.files)} and is not in memory; call tiled() without out=")
        names = dict(zip(self.table["class"].tolist(), self.table["name"].tolist(), strict=True))
        sinks = Sinks([path], self.shape, self.downsample, self.mpp, names, "none", self.outside, objects, min_area)
        with sinks:
            sinks.add(MapBand(0, self.classes, None))


def tiled(
    slide: Slide | str | os.PathLike[str],
    predictor: Any,
    *,
    mpp: float | None = None,
    size: int = 512,
    overlap: float = 0.25,
    mode: Mode = "gaussian",
    convention: Convention = "monai",
    batch_size: int = 4,
    tissue: Tissue | bool = False,
    flips: Sequence[int] = (),
    extra: Extra = "none",
    outside: int = 0,
    preprocess: Callable[[torch.Tensor], torch.Tensor] | None = None,
    device: str = "cpu",
    threads: int = 2,
    classes: Sequence[str] = (),
    out: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    objects: ObjectKind = "annotation",
    min_area: float = 0.0,
) -> SlideMap:
    """Predicts a whole slide by overlapping tiles, whose predictions are averaged with weights.

    Tiles come in rows. When a row of tiles is done, the rows of the map that no later tile reaches are finished and
    written; of all classes nothing is held but what that row leaves to the next one. Memory grows with the slide's
    width and not with its height. Without ``out`` the classes of the whole map are held, a byte a cell.

    Args:
        slide: The slide, or its file.
        predictor: What gives the classes of tiles: a task or a result of sslmed (:func:`sslmed.segment`,
            :func:`sslmed.finetune`), which gets bytes [n, 3, size, size]; or any module or function, which gets them
            divided by 255 as float32 (or what ``preprocess`` makes of them). It gives [n, classes, size, size], or [n,
            classes] where a tile has one class. ``eval()`` is the caller's.
        mpp: µm per cell of the map, and per pixel of the tiles; None: the slide's own scale.
        size: Pixels of a tile's sides.
        overlap: Share of a tile that the next one covers, within [0, 1).
        mode: Weights of a tile's cells: "gaussian", which counts the edges less, or "constant".
        convention: Where tiles lie, see :func:`sliding_window`.
        batch_size: Tiles that the predictor is given at once.
        tissue: Predict only tiles that show tissue: True looks for it (:func:`sslmed.transforms.tissue.find`), or a
            :class:`Tissue` says where it is.
        flips: Spatial axes, from 0: predictions of all flips along them are averaged.
        extra: What is kept beside the classes: "probabilities" (softmax of the averaged predictions) or "uncertainty"
            (their entropy). A file ``NAME.probabilities.ome.tiff`` beside ``NAME.ome.tiff`` gets it, 255 times the
            value.
        outside: The class of cells that no tile covers. It is the background of a GeoJSON file: all other classes have
            outlines.
        preprocess: What bytes [n, 3, size, size] become before the predictor gets them.
        device: Where the predictor is.
        threads: Number of threads that read tiles.
        classes: Names of the classes, for the files and the table.
        out: Files to write, ``.ome.tif``, ``.ome.tiff`` or ``.geojson``; None: the map is kept in memory.
        objects: What QuPath takes the outlines in a GeoJSON file for.
        min_area: Least area of such an object in µm² (cells, where the scale is not known).

    Raises:
        ValueError: An option is out of range, the slide's scale is not known, or the predictor gives another shape or
            NaN.
        FormatError, ReadError: The slide cannot be read.

    Examples:
        >>> import tempfile, torch, sslmed as sm
        >>> file = tempfile.mkdtemp() + "/slide.tiff"
        >>> sm.io.write_slide(file, torch.randint(0, 255, (300, 400, 3), dtype=torch.uint8), mpp=0.5)
        >>> dark = lambda tiles: torch.stack([tiles.mean(1), 1 - tiles.mean(1)], dim=1)
        >>> found = sm.inference.tiled(file, dark, mpp=1.0, size=64, classes=["light", "dark"])
        >>> found.shape, found.mpp, found.table["name"].tolist()
        ((150, 200), (1.0, 1.0), ['light', 'dark'])
    """
    plan = _planned(_opened(slide), mpp, size, overlap, convention, tissue)
    _check(mode, batch_size, flips, extra, outside, threads)
    files = [] if out is None else [out] if isinstance(out, str | os.PathLike) else list(out)
    names = dict(enumerate(classes))
    shape = (plan.height, plan.width)
    kept: list[MapBand] = []
    counts = np.zeros(256, dtype=np.int64)
    step = max(1, math.ceil(max(shape) / _OVERVIEW))
    small = []
    sinks = Sinks(files, shape, plan.pixel, plan.mpp, names, extra, outside, objects, min_area)
    with sinks:
        for band in _predicted(plan, predictor, mode, convention, batch_size, flips, extra, outside, preprocess, device, threads, len(names)):
            sinks.add(band)
            counts += np.bincount(band.classes.numpy().ravel(), minlength=256)
            small.append(band.classes[-band.row % step :: step, ::step])
            if not files:
                kept.append(band)
    extras = [band.extra for band in kept if band.extra is not None]
    return SlideMap(
        shape=shape, downsample=plan.pixel, mpp=plan.mpp, tiles=len(plan.tiles), table=_table(counts, names, plan.mpp), files=sinks.written,
        objects=sinks.objects, classes=torch.cat([band.classes for band in kept]) if kept else None, extra=torch.cat(extras, dim=1) if extras else None,
        overview=torch.cat(small), outside=outside,
    )  # fmt: skip


def _opened(slide: Slide | str | os.PathLike[str]) -> Slide:
    return slide if isinstance(slide, Slide) else open_slide(slide)


def _check(mode: str, batch_size: int, flips: Sequence[int], extra: str, outside: int, threads: int) -> None:
    choice("tiled", "mode", mode, get_args(Mode))
    choice("tiled", "extra", extra, get_args(Extra))
    whole("tiled", "batch_size", batch_size, 1)
    whole("tiled", "outside", outside, 0)
    whole("tiled", "threads", threads, 1)
    if len(set(flips)) != len(flips) or not set(flips) <= {0, 1}:
        raise ValueError(f"tiled: flips={tuple(flips)} must be different spatial axes, 0 (rows) or 1 (columns)")


def _planned(slide: Slide, mpp: float | None, size: int, overlap: float, convention: str, tissue: Tissue | bool) -> _Plan:
    """Where tiles lie on a slide."""
    whole("tiled", "size", size, 1)
    number("tiled", "overlap", overlap, 0, 1 - 1e-9)
    choice("tiled", "convention", convention, get_args(Convention))
    own = slide.mpp
    pixel = (1.0, 1.0)
    if mpp is not None:
        number("tiled", "mpp", mpp, 0, strict=True)
        if own is None:
            raise ValueError(f"{slide.path}: tiled: mpp={mpp:g} needs the slide's scale, which is not known; give it to open_slide (mpp=)")
        if mpp < 0.5 * max(own):
            raise ValueError(f"{slide.path}: tiled: mpp={mpp:g} must be at least half of the slide's {max(own):g} µm per pixel")
        pixel = (mpp / own[0], mpp / own[1])
    width, height = (max(1, math.ceil(side / cell - 1e-6)) for side, cell in zip(slide.dimensions, pixel, strict=True))
    rows, columns = (C.window_starts(max(side, size), size, float(overlap), convention) for side in (height, width))
    where = find(slide) if tissue is True else tissue or None
    tiles = [(i, x) for i, y in enumerate(rows) for x in _with_tissue(where, y, columns, size, pixel)]
    scale = None if own is None else (pixel[0] * own[0], pixel[1] * own[1])
    return _Plan(slide, pixel, scale, height, width, size, rows, tiles)


def _with_tissue(tissue: Tissue | None, row: int, columns: list[int], size: int, pixel: tuple[float, float]) -> list[int]:
    """Those of a row's tiles in which a pixel of the mask has tissue."""
    if tissue is None:
        return columns
    height, width = tissue.mask.shape
    y0, y1 = (min(height, max(0, at)) for at in _covered(row, size, pixel[1], tissue.pixel[1]))
    some = tissue.mask[y0:y1].any(0).numpy() if y1 > y0 else np.zeros(width, bool)
    found = []
    for x in columns:
        x0, x1 = _covered(x, size, pixel[0], tissue.pixel[0])
        if some[max(0, x0) : max(0, x1)].any():
            found.append(x)
    return found


def _covered(first: int, size: int, cell: float, pixel: float) -> tuple[int, int]:
    """The pixels of a mask that a tile touches along an axis."""
    return math.floor(first * cell / pixel + 1e-9), math.ceil((first + size) * cell / pixel - 1e-9)


def _predicted(
    plan: _Plan,
    predictor: Any,
    mode: Mode,
    convention: Convention,
    batch_size: int,
    flips: Sequence[int],
    extra: Extra,
    outside: int,
    preprocess: Callable[[torch.Tensor], torch.Tensor] | None,
    device: str,
    threads: int,
    classes: int = 2,
) -> Iterator[MapBand]:
    """The bands; of a slide without a tile to predict, ``classes`` says how many classes there are."""
    network = _network(predictor, preprocess)
    corners = [(x * plan.pixel[0], plan.rows[i] * plan.pixel[1]) for i, x in plan.tiles]
    reader = C.SlideTiles(plan.slide, corners, pixel=plan.pixel, size=plan.size, threads=threads, ahead=2 * batch_size + threads)
    blend = C.BandBlend(
        C.BandBlendOptions(
            height=plan.height,
            width=plan.width,
            tile=plan.size,
            rows=plan.rows,
            mode=mode,
            convention=convention,
            extra=extra,
            outside=outside,
        )
    )
    for first in range(0, len(plan.tiles), batch_size):
        part = plan.tiles[first : first + batch_size]
        tiles = reader.next(len(part)).to(device)
        with torch.no_grad():
            blend.add(_flipped(network, tiles, flips, plan.size), [i for i, _ in part], [x for _, x in part])
        yield from (MapBand(*band) for band in blend.take())
    blend.finish(max(2, classes, outside + 1))
    yield from (MapBand(*band) for band in blend.take())


def _network(predictor: Any, preprocess: Callable[[torch.Tensor], torch.Tensor] | None) -> Callable[[torch.Tensor], torch.Tensor]:
    """What bytes become, and then their prediction."""
    task = getattr(predictor, "task", predictor)
    if hasattr(task, "forward_dense") and not isinstance(task, C.Slide):
        return lambda tiles: task.forward_dense(tiles if preprocess is None else preprocess(tiles))
    if not callable(predictor):
        raise ValueError(f"tiled: predictor={predictor!r} must be a task, a module or a function, got {type(predictor).__name__}")
    if preprocess is None:
        return lambda tiles: predictor(tiles.float() / 255)
    return lambda tiles: predictor(preprocess(tiles))


def _flipped(network: Callable[[torch.Tensor], torch.Tensor], tiles: torch.Tensor, flips: Sequence[int], size: int) -> torch.Tensor:
    """Predictions [n, classes, size, size], averaged over flips."""
    total: torch.Tensor | None = None
    for subset in range(2 ** len(flips)):
        axes = [axis + 2 for i, axis in enumerate(flips) if subset >> i & 1]
        found = network(tiles.flip(axes) if axes else tiles)
        if found.dim() == 2:
            found = found[:, :, None, None].expand(-1, -1, size, size)
        if found.dim() != 4 or found.shape[0] != len(tiles) or tuple(found.shape[2:]) != (size, size):
            raise ValueError(f"tiled: the predictor must give [{len(tiles)}, classes, {size}, {size}] or [{len(tiles)}, classes], got {tuple(found.shape)}")
        if bool(torch.isnan(found).any()):
            raise ValueError("tiled: the predictor gave NaN, which is no class")
        found = found.flip(axes) if axes else found
        total = found if total is None else total + found
    assert total is not None
    mean: torch.Tensor = total / 2 ** len(flips)
    return mean


def _table(counts: Any, names: dict[int, str], mpp: tuple[float, float] | None) -> pd.DataFrame:
    last = max([*names, *np.flatnonzero(counts).tolist()], default=0)
    cells = counts[: last + 1]
    area = math.nan if mpp is None else mpp[0] * mpp[1] / 1e6
    return pd.DataFrame(
        {
            "class": np.arange(last + 1),
            "name": [names.get(value, str(value)) for value in range(last + 1)],
            "cells": cells,
            "share": cells / max(1, counts.sum()),
            "area_mm2": cells * area,
        }
    )
