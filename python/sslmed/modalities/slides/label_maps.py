"""Label maps of slides: areas that people drew, rasterized part by part, and predictions that are compared and written band by band."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args

import numpy as np
import torch

from sslmed._checks import choice
from sslmed.inference import SlideMap, tiled, tiled_bands
from sslmed.io import Slide, open_slide
from sslmed.modalities.base import Rows
from sslmed.modalities.slides.areas import COLUMN, Polygons, drawn
from sslmed.modalities.slides.index import tissue_of
from sslmed.modalities.slides.source import source
from sslmed.transforms.tissue import Tissue

__all__ = ["MapFormat", "SlideLabelMaps"]

MapFormat = Literal["ome-tiff", "geojson"]
"""How a slide's map is written."""


class SlideLabelMaps:
    """Slides with what was drawn on them, and their predictions.

    Args:
        rows: A cohort of indexed slides; files of annotations are listed in the column ``path_labels``, if there is one.
        preprocessing: A ``SlidePreprocessing`` with dense views and ``classes``.

    Attributes:
        names: Names of the classes.
        values: What each class is in label maps: its place in ``names``.
    """

    def __init__(self, rows: Rows, preprocessing: Any) -> None:
        self._table = rows.table.reset_index(drop=True)
        self._how = preprocessing
        self.names: tuple[str, ...] = tuple(preprocessing.classes)
        self.values = list(range(len(self.names)))
        self._drawn = drawn(rows, self.names) if COLUMN in rows.table else None
        self._source = source(rows, preprocessing) if self._drawn is not None else None

    def __len__(self) -> int:
        return len(self._table)

    def bands(self, row: int, predictor: Any, **how: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The prediction of a slide and its reference, band by band: [rows, W] int32 each.

        Tiles are predicted where the index has tissue; with ``unlabeled="ignore"`` only those that an area touches. The reference is -1 where nothing
        is known.

        Args:
            row: Row of the cohort.
            predictor: As in :func:`sslmed.inference.tiled`.
            **how: Options of :func:`sslmed.inference.tiled`.
        """
        if self._source is None or self._drawn is None:
            raise ValueError(f"{self._table['path'][row]}: there is no column {COLUMN} with annotations to compare with")
        slide, tissue = self._opened(row)
        if self._how.unlabeled == "ignore":
            tissue = _touched(tissue, self._drawn[row])
        cell = self._how.mpp / float(self._table["mpp_y"][row])
        for band in tiled_bands(slide, predictor, mpp=self._how.mpp, tissue=tissue, **how):
            height, width = band.classes.shape
            truth: torch.Tensor = self._source.labels(row, 0.0, band.row * cell, self._how.mpp, width, height)
            yield band.classes.to(torch.int32), truth

    def predict(self, row: int, predictor: Any, stem: str, form: MapFormat = "ome-tiff", **how: Any) -> SlideMap:
        """Writes the map of a slide to ``STEM_labels.ome.tiff`` or ``STEM_labels.geojson``."""
        choice("predict", "format", form, get_args(MapFormat))
        slide, tissue = self._opened(row)
        ending = ".ome.tiff" if form == "ome-tiff" else ".geojson"
        return tiled(slide, predictor, mpp=self._how.mpp, tissue=tissue, classes=self.names, out=f"{stem}_labels{ending}", **how)

    def _opened(self, row: int) -> tuple[Slide, Tissue]:
        line = self._table.iloc[row]
        return open_slide(str(line["path"]), mpp=(float(line["mpp_x"]), float(line["mpp_y"]))), tissue_of(line)


def _touched(tissue: Tissue, areas: Polygons) -> Tissue:
    """The cells of the tissue's grid that the box of an area touches."""
    points, first_point, first_ring, _, _ = (part.numpy() for part in areas)
    mask = torch.zeros_like(tissue.mask)
    height, width = mask.shape
    for a, b in zip(first_point[first_ring[:-1]], first_point[first_ring[1:]], strict=True):
        low = np.maximum(np.floor(points[a:b].min(0) / tissue.pixel), 0).astype(int)
        high = np.minimum(np.ceil(points[a:b].max(0) / tissue.pixel), (width, height)).astype(int)
        mask[low[1] : high[1], low[0] : high[0]] = True
    return Tissue(mask, tissue.pixel, tissue.mpp)
