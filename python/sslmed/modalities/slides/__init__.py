"""Whole-slide images: an index says of each slide whose it is, its scale, and where its tissue is; pictures are read while training."""

from __future__ import annotations

import inspect
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from sslmed._core import C
from sslmed.io import open_slide
from sslmed.modalities.base import Array, Baseline, Copy, Modality, OnError, Rows
from sslmed.modalities.slides.areas import names_of, rasterized
from sslmed.modalities.slides.baselines import color
from sslmed.modalities.slides.index import COLUMNS, SUFFIXES, describe, is_indexed, tissue_of, write
from sslmed.modalities.slides.label_maps import MapFormat, SlideLabelMaps
from sslmed.modalities.slides.preprocessing import SlidePreprocessing
from sslmed.modalities.slides.source import source
from sslmed.transforms import tissue

__all__ = [
    "COLUMNS", "SLIDES", "SUFFIXES", "MapFormat", "SlideLabelMaps", "SlidePreprocessing", "Slides", "color", "describe", "is_indexed", "rasterized",
    "source", "tissue_of",
]  # fmt: skip

_OVERVIEW = 1024  # pixels of the longer side of a slide's picture in which copies are looked for


class Slides(Modality):
    """Slides, from which pictures of tissue are drawn."""

    name = "slides"
    preprocessing = SlidePreprocessing
    rows = "slides"
    samples = "pictures"
    likeness = "pictures"
    baselines: ClassVar[Mapping[str, Baseline]] = {"color": Baseline()}
    files = (*SUFFIXES, ".dcm")
    index_options = (
        *("threads", "shard", "on_error", "progress", "mpp", "cell", "annotations", "classes", "ignore", "root"),
        *list(inspect.signature(tissue.mask).parameters)[1:],
    )

    def recognizes(self, table: pd.DataFrame) -> bool:
        """By an index's columns, or the ending of the first path."""
        return is_indexed(table) or Path(str(table["path"].iloc[0])).suffix.lower() in self.files

    def refuse(self, table: pd.DataFrame, name: str) -> None:
        """ValueError for slides without an index."""
        if not is_indexed(table):
            raise ValueError(f"{name}: slides must be indexed first: cohort.index('index.parquet'), or the command `sslmed index` (docs/slides.md)")

    def columns(self, table: pd.DataFrame) -> list[str]:
        """The paths and the index."""
        return ["path", *COLUMNS]

    def choices(self, table: pd.DataFrame) -> list[str]:
        """The scale and the tissue. Their sizes are in the files."""
        return ["mpp_x", "mpp_y", "cell_x", "cell_y", "tissue"]

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
        """Pictures of the tissue, see :func:`source`."""
        return source(rows, preprocessing, stride=stride, random=random, targets=targets)

    def labeled(self, rows: Rows, preprocessing: Any) -> Any:
        """The preprocessing with ``labels=True`` and, where it has none, the classes that occur in the files of annotations."""
        return replace(preprocessing, labels=True, classes=preprocessing.classes or names_of(rows))

    def label_maps(self, rows: Rows, preprocessing: Any) -> SlideLabelMaps:
        """Slides with what was drawn on them, see :class:`SlideLabelMaps`."""
        return SlideLabelMaps(rows, preprocessing)

    def describe(self, source: C.Source) -> dict[str, Any]:
        """Number of pictures, and where the first and the last one are."""
        first, last = source.describe(0), source.describe(len(source) - 1)
        return {"pictures": len(source), "first": [first.place["x"], first.place["y"]], "last": [last.place["x"], last.place["y"]]}

    def index(self, rows: Rows, out: str | os.PathLike[str] | None, **options: Any) -> pd.DataFrame | None:
        """Looks for the tissue, see :func:`sslmed.modalities.slides.index.write`."""
        if out is None:
            raise ValueError(f"{rows.name}: out=None, expected the .parquet file to write the index of slides to")
        return write(rows, out, **options)

    def summary(self, table: pd.DataFrame) -> str:
        """The area of tissue."""
        return f"{table['tissue_mm2'].sum():.2f} mm² of tissue"

    def fingerprint(self, rows: Rows) -> Any:
        """Fine structure of the slide as a small picture, see :func:`sslmed.modalities.picture_copies.fingerprint`."""
        from sslmed.modalities import picture_copies  # needs SciPy's image processing, which takes long to load

        return picture_copies.fingerprint(open_slide(str(rows.table["path"].iloc[0])).thumbnail(_OVERVIEW))

    def copies(self, fingerprints: Sequence[Any], groups: Array) -> Iterable[Copy]:
        """Copies of pictures, see :func:`sslmed.modalities.picture_copies.copies`."""
        from sslmed.modalities import picture_copies

        return picture_copies.copies(fingerprints, groups)

    def features(self, cohorts: Sequence[Rows], names: Collection[str], *, threads: int = 2, on_error: OnError = "raise") -> list[dict[str, Array]]:
        """Color of the tissue, see :func:`color`."""
        return [{name: color(rows, on_error=on_error) for name in names} for rows in cohorts]


SLIDES = Slides()
