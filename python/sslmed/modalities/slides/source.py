"""Pictures of indexed slides as a C++ source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from sslmed import tables
from sslmed._core import C
from sslmed.io.slide import use_openslide
from sslmed.modalities.base import Rows
from sslmed.modalities.slides.index import COLUMNS
from sslmed.modalities.slides.preprocessing import SlidePreprocessing

__all__ = ["source"]

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
        ValueError: A column does not fit, or no slide has tissue.
        FormatError: Runs of tissue do not fit their grid.
    """
    table = rows.table
    for column in (*COLUMNS, "subject"):
        if column != "tissue_mm2" and table[column].isna().any():
            raise ValueError(f"{rows.name}: every slide of an index needs {column}; row {int(table[column].isna().argmax())} has none")
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
    )
