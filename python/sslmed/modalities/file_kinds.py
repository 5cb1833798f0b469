"""What a picture's file is, by its first bytes: a slide or an image. Endings such as .tif, .dcm, or none, do not say."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import Literal

from sslmed.io import dicom, picture_store

__all__ = ["UNSURE", "picture_of", "pictures_of"]

UNSURE = (".tif", ".tiff", ".dcm", ".dicom", "")
"""Endings that slides and images have in common."""

_IMAGES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM")
_TIFFS = {b"II*\0": ("<", 4), b"MM\0*": (">", 4), b"II+\0": ("<", 8), b"MM\0+": (">", 8)}
_SLIDE_DICOM = b"1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image Storage
_TILE_WIDTH = 322
_LOOKED_AT = 256  # files of a table that are all looked at; of more, some

Kind = Literal["slides", "images"]


def picture_of(path: str | os.PathLike[str]) -> Kind | None:
    """ "slides" for tiled TIFF and DICOM of whole slides, "images" for other TIFF and DICOM and for PNG, JPEG, BMP, WebP, GIF and the like; else None."""
    if not os.path.isfile(path):  # a pipe would be waited for
        return None
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
            if head[:4] in _TIFFS:
                file.seek(0)
                return "slides" if _tiled(file.read(1 << 16), path) else "images"
    except OSError:
        return None
    if dicom.is_dicom(head):
        return "slides" if _SLIDE_DICOM in head else "images"
    return "images" if head.startswith(_IMAGES) or picture_store.foreign_kind(path) else None


def pictures_of(paths: Sequence[str]) -> list[Kind | None]:
    """:func:`picture_of` of many files of one ending. Of more than 256 a few are looked at, and all only where those are not of one kind."""
    if len(paths) > _LOOKED_AT:
        few = {picture_of(paths[at * (len(paths) - 1) // 15]) for at in range(16)}
        if len(few) == 1:
            return [few.pop()] * len(paths)
    return [picture_of(path) for path in paths]


def _tiled(head: bytes, path: str | os.PathLike[str]) -> bool:
    """Whether the first directory of a TIFF file has tiles. Slides are written with theirs at either end of the file."""
    order, width = _TIFFS[head[:4]]
    entry, count_size = (20, 8) if width == 8 else (12, 2)
    word = {2: "H", 4: "I", 8: "Q"}
    try:
        (at,) = struct.unpack_from(order + word[width], head, 8 if width == 8 else 4)
        with open(path, "rb") as file:
            file.seek(at)
            (count,) = struct.unpack(order + word[count_size], file.read(count_size))
            entries = file.read(min(count, 4096) * entry)
        return any(struct.unpack_from(order + "H", entries, i)[0] == _TILE_WIDTH for i in range(0, len(entries) - 1, entry))
    except (struct.error, OSError, OverflowError, ValueError):
        return True  # damaged: the reader of slides says what is wrong
