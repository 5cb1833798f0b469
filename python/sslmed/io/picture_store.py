"""Pictures of formats that pydicom and Pillow read, converted once into files of our own that are read natively."""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from sslmed._core import C, FormatError, FormatWarning, ReadError, regular
from sslmed.io import dicom
from sslmed.io.dicom import Voi
from sslmed.io.stores import CACHE, whole

__all__ = ["NATIVE", "Foreign", "check_voi", "convert_pictures", "foreign_kind", "prepare", "set_picture_store"]

NATIVE = (".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".bmp", ".tif", ".tiff")
"""Endings of files that are not looked at before they are read: their formats need no copies."""

Foreign = Literal["DICOM", "WebP", "GIF", "HEIF or AVIF", "JPEG 2000"]

_MOST_PIXELS = 1 << 28
_MODES = {"1": "L", "P": "RGB", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB", "RGBX": "RGB", "RGBa": "RGBA", "La": "LA"}

C.set_picture_store(os.environ.get("SSLMED_PICTURES") or os.path.join(CACHE, "pictures"))


def set_picture_store(folder: str | os.PathLike[str]) -> None:
    """Sets where converted copies of pictures are kept, for this process.

    DICOM radiographs are read through pydicom once, and WebP, GIF, JPEG 2000, AVIF and HEIF pictures through Pillow,
    and written as TIFF to this folder, from where they are read as fast as from any native format. A copy belongs to a
    file's path, size and time of change; it may be deleted at any time, and is then made again. By default the
    environment variable ``SSLMED_PICTURES``, or else ``sslmed/pictures`` in the user's cache folder
    (``XDG_CACHE_HOME``, ``~/.cache``).

    Args:
        folder: The folder; made when something is written to it.

    Examples:
        >>> import tempfile
        >>> import sslmed as sm
        >>> sm.io.set_picture_store(tempfile.mkdtemp())
    """
    C.set_picture_store(os.path.abspath(folder))


def foreign_kind(path: str | os.PathLike[str]) -> Foreign | None:
    """Format of a picture that is read through a copy, by its first bytes; None for all other files, and those that
    cannot be read."""
    if not os.path.isfile(path):  # a pipe would be waited for
        return None
    try:
        with open(path, "rb") as file:
            head = file.read(256)
    except OSError:
        return None
    if dicom.is_dicom(head):
        return "DICOM"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[:4] == b"GIF8":
        return "GIF"
    if head[4:11] in (b"ftyphei", b"ftypavi") or head[4:12] == b"ftypmif1":
        return "HEIF or AVIF"
    return "JPEG 2000" if head[4:8] == b"jP  " or head[:4] == b"\xff\x4f\xff\x51" else None


def convert_pictures(paths: Iterable[str | os.PathLike[str]], *, voi: Voi = "auto") -> list[str]:
    """Converts DICOM radiographs, WebP, GIF, JPEG 2000, AVIF and HEIF pictures that have no copy yet; sources and
    indexes do it by themselves.

    Radiographs become gray as DICOM says that they are to be shown: rescaled, with their VOI LUT or window, MONOCHROME1
    inverted, with values that are padding black. Of animations the first picture is taken.

    Args:
        paths: The files.
        voi: How gray values of radiographs become light: "lut" by the file's VOI LUT, "window" by its first window
            (center and width), "range" from the lowest to the highest value (of 8 bits: 0 to 255), "auto" by the first
            of these that the file has.

    Returns:
        The copies, a TIFF file each, in the folder of :func:`set_picture_store`; of a file that needs none, the file
        itself.

    Raises:
        FormatError: A file is damaged; a DICOM file is no single image, or has not what ``voi`` asks for.
        ReadError: A file cannot be read.
        ImportError: pydicom is not installed.
        ValueError: ``voi`` is unknown.

    Warns:
        FormatWarning: How gray values of radiographs became light (``voi="auto"``), or a file holds several pictures.

    Examples:
        >>> import sslmed as sm
        >>> sm.io.convert_pictures([])
        []
    """
    check_voi("convert_pictures", voi)
    copies: list[str] = []
    used: dict[str, list[str]] = {}
    for path in [os.fspath(one) for one in paths]:
        if not os.path.exists(regular(path)):
            raise ReadError(f"{path}: no such file")
        kind = foreign_kind(path)
        copies.append(copy := C.stored_picture(path, voi) if kind else path)
        if kind and not os.path.exists(copy):
            if kind == "DICOM":
                values, how = dicom.read(path, voi)
                used.setdefault(how, []).append(path)
            else:
                values = _pillow(path, kind)
            Path(copy).parent.mkdir(parents=True, exist_ok=True)
            with whole(Path(copy)) as part:
                _write_tiff(part, values)
    if voi == "auto" and (gray := {how: files for how, files in used.items() if how != "color"}):
        told = "; ".join(f"{len(files)} by {dicom.WORDS[how]}, such as {files[0]}" for how, files in gray.items())
        text = f"{sum(map(len, gray.values()))} DICOM images converted; their gray values became light: {told} (option voi)"
        warnings.warn(text, FormatWarning, stacklevel=2)
    return copies


def prepare(paths: Iterable[Any], voi: Voi = "auto") -> None:
    """Converts those of the files that need it and have no copy yet; files whose endings are :data:`NATIVE` are not
    looked at."""
    few = [path for path in map(str, paths) if not path.lower().endswith(NATIVE)]
    if few:
        convert_pictures([path for path in few if foreign_kind(path)], voi=voi)


def check_voi(where: str, voi: str) -> None:
    """ValueError for a way to show gray values that is unknown."""
    if voi not in get_args(Voi):
        raise ValueError(f"{where}: voi={voi!r} must be one of {', '.join(get_args(Voi))}")


def _pillow(path: str, kind: str) -> npt.NDArray[Any]:
    from PIL import Image, ImageOps

    expected = f"expected a whole {kind} picture of at most 2^28 pixels that Pillow reads"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                if image.width * image.height > _MOST_PIXELS:
                    raise FormatError(f"{path}: {expected}, found {image.width} x {image.height}")
                frames = int(getattr(image, "n_frames", 1))
                palette = image.mode == "P" and "transparency" in image.info
                upright = ImageOps.exif_transpose(image)
                mode = "RGBA" if palette else _MODES.get(upright.mode, upright.mode)
                values = np.asarray(upright if upright.mode == mode else upright.convert(mode))
    except FormatError:
        raise
    except Exception as error:  # Pillow's plugins raise all kinds of errors for files that they do not understand
        hint = "; HEIC needs the package pillow-heif, registered before" if kind.startswith("HEIF") else ""
        raise FormatError(f"{path}: {expected}, found {type(error).__name__}: {' '.join(str(error).split())[:300]}{hint}") from error
    if frames > 1:
        warnings.warn(f"{path}: {frames} pictures in one {kind} file, of which the first is read", FormatWarning, stacklevel=3)
    if values.dtype == np.uint16:  # of 9 to 16 bits, in the low ones
        most = (1 << max(8, int(values.max()).bit_length())) - 1
        return np.round(values * (65535 / most)).astype(np.uint16)
    if values.dtype != np.uint8:
        raise FormatError(f"{path}: expected 8 or 16 bits a value, found {values.dtype} (Pillow's mode {mode}); convert it to PNG")
    return values


def _write_tiff(path: Path, values: npt.NDArray[Any]) -> None:
    """One strip without compression, [H, W] or [H, W, C], uint8 or uint16."""
    height, width = values.shape[:2]
    channels = values.shape[2] if values.ndim == 3 else 1
    bits, size = 8 * values.itemsize, values.nbytes
    tags = [(256, 4, [width]), (257, 4, [height]), (258, 3, [bits] * channels), (259, 3, [1]), (262, 3, [2 if channels > 2 else 1]), (273, 4, [0])]
    tags += [(277, 3, [channels]), (278, 4, [height]), (279, 4, [size]), (284, 3, [1])]
    if channels in (2, 4):
        tags.append((338, 3, [2]))
    start = 8 + 2 + 12 * len(tags) + 4
    entries, besides = b"", b""
    for tag, kind, numbers in tags:
        filled = [start + 8] if tag == 273 else numbers
        raw = struct.pack(f"<{len(filled)}{'H' if kind == 3 else 'I'}", *filled)
        if len(raw) > 4:
            besides, raw = raw, struct.pack("<I", start)
        entries += struct.pack("<HHI", tag, kind, len(filled)) + raw.ljust(4, b"\0")
    with path.open("wb") as file:
        file.write(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0\0\0\0" + besides.ljust(8, b"\0"))
        file.write(np.ascontiguousarray(values, f"<u{values.itemsize}").data)
