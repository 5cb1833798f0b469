"""Pictures of indexed slides as a C++ source."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from sslmed import tables
from sslmed._core import C, LeftOutWarning
from sslmed.io.slide import use_openslide
from sslmed.modalities.base import Rows
from sslmed.modalities.slides import findings
from sslmed.modalities.slides.areas import drawn
from sslmed.modalities.slides.index import COLUMNS
from sslmed.modalities.slides.preprocessing import SlidePreprocessing

__all__ = ["check_scale", "source"]

_TYPES = {
    "width": np.int64,
    "height": np.int64,
    "mpp_x": np.float64,
    "mpp_y": np.float64,
    "cell_x": np.float64,
    "cell_y": np.float64,
    "columns": np.int64,
    "rows": np.int64,
    "cells": np.int64,
}


def source(
    rows: Rows,
    preprocessing: SlidePreprocessing,
    *,
    stride: float = 0.0,
    random: bool = False,
    targets: Mapping[str, Sequence[float]] | None = None,
    open_slides: int = 64,
    fast: bool = True,
) -> C.SlideSource:
    """Pictures of indexed slides. No file is opened: one that is not as the index says is a FormatError when it is read.

    Args:
        rows: A cohort of indexed slides.
        preprocessing: Scale and size.
        stride: µm between pictures of the grid; 0: their sides.
        random: Draw the middles of pictures evenly over the tissue, as many as cover it once; otherwise pictures are those of a grid whose middles are in
            tissue.
        targets: Numbers by name, one a slide.
        open_slides: Number of slides that are kept open, those used last.
        fast: As in :func:`sslmed.io.open_slide`.

    Raises:
        ValueError: A column does not fit, no slide has tissue, a slide is too coarse for the scale, or labels are asked for and there are none.
        FormatError: Runs of tissue do not fit their grid.

    Warns:
        LeftOutWarning: Slides of the index have no tissue, and so give no pictures.
        ValueWarning: A scale of the index is implausible, and was not told when it was made.
    """
    table = rows.table
    for column in (*COLUMNS, "subject"):
        if column != "tissue_mm2" and table[column].isna().any():
            raise ValueError(f"{rows.name}: every slide of an index needs {column}; row {int(table[column].isna().argmax())} has none")
    findings.of_index(table, rows.name)
    check_scale(rows, preprocessing.mpp)
    if (empty := (table["cells"] == 0).to_numpy()).any() and not empty.all():
        first = table["path"].iloc[int(empty.argmax())]
        text = f"{rows.name}: {int(empty.sum())} of {len(table)} slides have no tissue in the index and give no pictures, such as {first}"
        warnings.warn(text, LeftOutWarning, stacklevel=3)
    use_openslide()
    return C.SlideSource(
        modality=preprocessing.modality,
        origins=tables.origins(table),
        tissue=tables.texts(table["tissue"], binary=True),
        columns={name: torch.from_numpy(table[name].to_numpy(kind, copy=True)) for name, kind in _TYPES.items()},
        mpp=preprocessing.mpp,
        mpp_high=preprocessing.mpp_high if random else 0.0,
        size=preprocessing.training_size if random else preprocessing.size,
        random=random,
        stride=stride,
        open=open_slides,
        fast=fast,
        targets={name: [float(v) for v in values] for name, values in (targets or {}).items()},
        drawn=drawn(rows, _classes(preprocessing, rows.name)) if preprocessing.labels else [],
        unlabeled=0 if preprocessing.unlabeled == "background" else -1,
    )


def _classes(preprocessing: SlidePreprocessing, name: str) -> tuple[str, ...]:
    if len(preprocessing.classes) < 2:
        raise ValueError(f"{name}: SlidePreprocessing: labels=True needs classes of at least two labels, the background first, got {preprocessing.classes}")
    return preprocessing.classes


def check_scale(rows: Rows, mpp: float) -> None:
    """Whether pictures of a scale can be read of all slides of an index that have tissue.

    Raises:
        ValueError: A slide was scanned more than twice as coarsely.
    """
    table = rows.table
    own = table[["mpp_x", "mpp_y"]].max(axis=1).to_numpy(np.float64)
    coarse = (table["cells"].to_numpy() > 0) & (mpp < 0.5 * own)
    if not coarse.any():
        return
    first, most = int(coarse.argmax()), float(own[coarse].max())
    raise ValueError(
        f"{rows.name}: {table['path'].iloc[first]}: mpp={mpp:g} µm per pixel, expected at least half of the slide's own {own[first]:g}, below which it has no "
        f"detail; so it is with {int(coarse.sum())} of {len(table)} slides. Take mpp={most / 2:g} or more, or leave them out: "
        f"cohort.query('mpp_x <= {2 * mpp:g} and mpp_y <= {2 * mpp:g}')"
    )
