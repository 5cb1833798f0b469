"""Single images: a table with a PNG, JPEG, TIFF or BMP file a row. Nothing is indexed beforehand."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import pandas as pd

from sslmed._core import C
from sslmed.modalities.base import Array, Baseline, Modality, OnError, Rows
from sslmed.modalities.images.baselines import color
from sslmed.modalities.images.label_maps import ImageLabelMaps
from sslmed.modalities.images.preprocessing import ImagePreprocessing
from sslmed.modalities.images.source import source

__all__ = ["IMAGES", "ImagePreprocessing", "Images", "color", "source"]


class Images(Modality):
    """Images, one sample a row."""

    name = "images"
    preprocessing = ImagePreprocessing
    rows = "images"
    samples = "images"
    baselines: ClassVar[Mapping[str, Baseline]] = {"color": Baseline()}
    files = (".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".bmp", ".webp")

    def label_maps(self, rows: Rows, preprocessing: Any) -> ImageLabelMaps:
        """Whole images with their label maps, see :class:`ImageLabelMaps`."""
        return ImageLabelMaps(rows, preprocessing)

    def columns(self, table: pd.DataFrame) -> list[str]:
        """The paths alone."""
        return ["path"]

    def source(
        self,
        rows: Rows,
        preprocessing: Any,
        *,
        extra_channels: Sequence[str] = (),
        stride: float = 0.0,
        random: bool = False,
        targets: Mapping[str, Sequence[float]] | None = None,
    ) -> C.Source:
        """One picture of each image, see :func:`source`."""
        return source(rows, preprocessing, random=random, targets=targets)

    def features(self, cohorts: Sequence[Rows], names: Collection[str], *, threads: int = 2, on_error: OnError = "raise") -> list[dict[str, Array]]:
        """Color, see :func:`color`."""
        return [{name: color(rows, threads=threads, on_error=on_error) for name in names} for rows in cohorts]


IMAGES = Images()
