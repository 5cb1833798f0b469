"""Single images: a table with a PNG, JPEG, TIFF, BMP, WebP or DICOM file a row. Only of DICOM is there something to index: what headers say of people."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import pandas as pd

from sslmed import io
from sslmed._core import C, regular
from sslmed.io import dicom
from sslmed.modalities.base import Array, Baseline, Copy, Modality, OnError, Rows
from sslmed.modalities.images.baselines import color
from sslmed.modalities.images.index import describe, write
from sslmed.modalities.images.label_maps import ImageLabelMaps
from sslmed.modalities.images.preprocessing import ImagePreprocessing
from sslmed.modalities.images.source import source

__all__ = ["IMAGES", "ImagePreprocessing", "Images", "color", "describe", "source"]


class Images(Modality):
    """Images, one sample a row."""

    name = "images"
    preprocessing = ImagePreprocessing
    rows = "images"
    samples = "images"
    likeness = "pictures"
    baselines: ClassVar[Mapping[str, Baseline]] = {"color": Baseline()}
    files = (".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".bmp", ".webp", ".dicom")

    has_label_maps = True

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

    def fingerprint(self, rows: Rows) -> Any:
        """Fine structure of the picture, see :func:`sslmed.modalities.picture_copies.fingerprint`."""
        from sslmed.modalities import picture_copies  # needs SciPy's image processing, which takes long to load

        return picture_copies.fingerprint(io.read_image(str(rows.table["path"].iloc[0])))

    def copies(self, fingerprints: Sequence[Any], groups: Array) -> Iterable[Copy]:
        """Copies of pictures, see :func:`sslmed.modalities.picture_copies.copies`."""
        from sslmed.modalities import picture_copies

        return picture_copies.copies(fingerprints, groups)

    def features(self, cohorts: Sequence[Rows], names: Collection[str], *, threads: int = 2, on_error: OnError = "raise") -> list[dict[str, Array]]:
        """Color, see :func:`color`."""
        return [{name: color(rows, threads=threads, on_error=on_error) for name in names} for rows in cohorts]

    def body(self, path: str | os.PathLike[str]) -> int:
        """Where the pixels of a DICOM file start; 0 for all others."""
        with open(regular(path), "rb") as file:
            foreign = dicom.is_dicom(file.read(256))
        return dicom.pixels_start(os.fspath(path)) if foreign else 0

    def index(self, rows: Rows, out: str | os.PathLike[str] | None, **options: Any) -> pd.DataFrame | None:
        """What headers of DICOM files say, see :func:`describe`. A ValueError where there are no such files."""
        table = describe(rows, **options)
        if out is not None:
            write(table, out)
        return table


IMAGES = Images()
