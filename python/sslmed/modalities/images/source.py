"""Cohorts of single images: a table with a PNG or JPEG file a row. Nothing is indexed beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from sslmed import tables
from sslmed._core import C
from sslmed.preprocessing import ImagePreprocessing

__all__ = ["SUFFIXES", "are_images", "source"]

SUFFIXES = (".png", ".jpg", ".jpeg")
"""Of files that count as images."""


def are_images(table: pd.DataFrame) -> bool:
    """Whether a cohort's table lists images: by its first file's name."""
    return Path(str(table["path"].iloc[0])).suffix.lower() in SUFFIXES


def source(
    table: pd.DataFrame, preprocessing: ImagePreprocessing, *, random: bool = False, targets: Mapping[str, Sequence[float]] | None = None
) -> C.ImageSource:
    """Images of a table, one picture each. No file is opened: one that cannot be read is a FormatError or ReadError when its turn comes.

    JPEG files that are more than twice as large as asked for are decoded at a half, a quarter or an eighth, as Pillow's ``draft`` does.

    Args:
        table: ``path``, ``subject``, ``site``.
        preprocessing: Size, and how images are brought to it.
        random: For recipes that crop at random: the shorter side gets the region's size, and the longer one stays whole.
        targets: Numbers by name, one an image.

    Raises:
        ValueError: A number out of range.
    """
    return C.ImageSource(
        origins=tables.origins(table), size=(preprocessing.region or preprocessing.size) if random else preprocessing.size,
        fit=preprocessing.fit, whole=random, targets=targets or {},
    )  # fmt: skip
