"""Slides and images."""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch

from sslmed._core import C
from sslmed.io.dicom import Voi
from sslmed.io.picture_store import convert_pictures, foreign_kind

__all__ = ["Slide", "open_slide", "openslide_version", "read_image", "set_slide_cache"]

_Path = str | os.PathLike[str]


@cache
def use_openslide() -> None:
    """Has the core load the wheel's library, where there is one, when the first slide is opened."""
    # The wheel's library before the system's, which may be a version without the cache that slides share.
    found = find_spec("openslide_bin")
    if found is not None and found.origin is not None:
        libraries = sorted(path for path in Path(found.origin).parent.iterdir() if path.name.startswith("libopenslide") and path.suffix not in {".py", ".pyi"})
        if libraries:
            C.use_openslide(os.fspath(libraries[0]))


class Slide(C.Slide):
    """An open slide. Any number of threads may read it at a time; regions are uint8 [H, W, 3], and what was not scanned is white.

    ``dimensions`` (width, height), ``level_count``, ``level_dimensions``, ``level_downsamples``, ``mpp`` ((x, y) in µm per pixel, or None),
    ``properties`` and ``fast_levels`` (those read without OpenSlide). See :func:`open_slide`.
    """

    def thumbnail(self, max_size: int | tuple[int, int]) -> torch.Tensor:  # type: ignore[override]
        """The whole slide, shrunk by area to at most ``max_size`` (of its longer side, or (width, height)), never grown: uint8 [H, W, 3]."""
        width, height = (max_size, max_size) if isinstance(max_size, int) else max_size
        return super().thumbnail(width, height)

    def __repr__(self) -> str:
        width, height = self.dimensions
        scale = "scale unknown" if self.mpp is None else f"{self.mpp[0]:g} µm/px"
        return f"<Slide {self.path}: {width} x {height}, {self.level_count} levels, {scale}>"


def open_slide(path: _Path, *, mpp: float | tuple[float, float] | None = None, fast: bool = True, cached: bool = True) -> Slide:
    """Opens a slide of any format that OpenSlide 4 reads: Aperio, Hamamatsu, Leica, MIRAX, Philips, Sakura, Trestle, Ventana, Zeiss, DICOM, tiled TIFF.

    TIFF directories are checked before OpenSlide sees the file, which ends the process on some that are damaged. Hamamatsu's ``.ndpi`` keeps its
    offsets in a way of its own and is not checked.

    Args:
        path: The file.
        mpp: µm per pixel of level 0, one or (x, y), in place of what the file says.
        fast: Reads JPEG tiles of Aperio and plain tiled TIFF files directly, with the same bytes as OpenSlide's. False: OpenSlide alone.
        cached: Keeps tiles that are wanted again in the memory that all slides share (:func:`set_slide_cache`); fast path only.

    Raises:
        FormatError: The file is damaged, or no slide.
        ReadError: The file cannot be read.
        RuntimeError: OpenSlide 4 is not there.

    Warns:
        FormatWarning: The file's scale cannot be a slide's; ``mpp`` is then None.
    """
    use_openslide()
    scale = None if mpp is None else (mpp, mpp) if isinstance(mpp, int | float) else tuple(mpp)
    return Slide(os.fspath(path), scale, fast, cached)


def openslide_version() -> str | None:
    """The version of the OpenSlide library that slides are read with, or None where there is none from version 4 on."""
    use_openslide()
    try:
        return C.openslide_version()
    except RuntimeError:
        return None


def set_slide_cache(size: int) -> None:
    """Bytes of decoded tiles that all slides together may hold: 128 MiB unless set.

    Half of them are OpenSlide's, of slides opened from now on, once a region was read that it alone can read.
    """
    if size < 0:
        raise ValueError(f"a cache holds no fewer than 0 bytes, got {size}")
    use_openslide()
    C.set_slide_cache(size)


def read_image(path: _Path, dtype: torch.dtype = torch.uint8, *, voi: Voi = "auto") -> torch.Tensor:
    """A PNG, JPEG, TIFF or BMP image, told apart by their bytes; or a DICOM radiograph, WebP, GIF, JPEG 2000 or AVIF picture by its converted copy.

    Pictures are upright: they are turned as EXIF (or TIFF's orientation) says. A cut file is refused, as is a PNG with a wrong checksum. Palettes become
    RGB, or RGBA where entries are transparent, and four inks (CMYK) RGB. Of TIFF the first page is read: 8 or 16 bits, without compression or with LZW,
    Deflate, PackBits or JPEG. Color profiles and gamma are not applied. Copies are made where there are none (:func:`convert_pictures`).

    Args:
        path: The file.
        dtype: ``torch.uint8``, or ``torch.uint16`` (16-bit values as they are stored, 8-bit values times 257). 16-bit values become 8 by their range:
            where the largest is below 2^15, the file holds 8, 10, 12, 14 or 15 bits, and that range becomes 0 to 255, with a warning.
        voi: How gray values of DICOM radiographs become light, see :func:`convert_pictures`.

    Returns:
        [H, W, C]; C is 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGBA).

    Raises:
        FormatError: The file is damaged, cut, or of another format; the message says what to do about those that are common (CT series, Git LFS).
        ReadError: The file cannot be read.
        ImportError: The file is DICOM, and pydicom is not installed.
        RuntimeError: This build has no libpng and libjpeg-turbo.

    Warns:
        FormatWarning: Values of fewer bits were stretched, only the first of several pages was read, something was wrong that does not touch the pixels, or
            a radiograph was converted.
    """
    if foreign_kind(path):
        convert_pictures([path], voi=voi)
    return C.read_image(os.fspath(path), dtype, voi)
