"""Single DICOM images, such as radiographs, as they are to be shown, and what their headers say of people."""

from __future__ import annotations

import contextlib
import datetime
import math
import re
import warnings
import zlib
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from sslmed._core import FormatError, ReadError

__all__ = ["COLUMNS", "WORDS", "Voi", "header", "is_dicom", "pixels_start", "read"]

Voi: TypeAlias = Literal["auto", "lut", "window", "range"]
"""How gray values become light: by the VOI LUT, by the first window, from the lowest to the highest value (of files of
8 bits: 0 to 255), or by the first of these that a file has."""

WORDS = {"lut": "the VOI LUT", "window": "the window", "range": "the lowest and highest value (of 8 bits: 0 and 255), without a VOI LUT or window"}

COLUMNS = {
    "age": "age in years, by the header's age, or birth date and study date",
    "sex": "F or M, as the header says",
    "view": "view position: PA, AP, LL, MLO, CC …",
    "laterality": "side: L, R or B",
    "spacing_x": "mm from a pixel's column to the next, at the detector where nothing better is known",
    "spacing_y": "mm from a pixel's row to the next",
    "voi": "by what gray values become light: lut, window or range; color for images in color",
}
"""What :func:`header` gives."""

_MOST = 1 << 28
_DEFLATED = "1.2.840.10008.1.2.1.99"
_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", _DEFLATED)
_CLASS = "1.2.840.10008.5.1.4.1.1."
_SERIES = {"2": "CT", "2.1": "CT", "2.2": "CT", "4": "MR", "4.1": "MR", "4.3": "MR", "128": "PET", "130": "PET", "20": "NM", "481.2": "radiotherapy dose"}
_COLORS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")


def is_dicom(head: bytes) -> bool:
    """Whether a file starts as DICOM does, with or without its preamble of 128 bytes."""
    if head[128:132] == b"DICM":
        return True
    return len(head) > 132 and head[0] in (2, 8) and head[1] == 0 and head[2] <= 0x18 and head[3] == 0 and head[7] == 0


def read(path: str, voi: Voi = "auto") -> tuple[npt.NDArray[Any], str]:
    """Pixels of a single image as they are to be shown: [H, W] uint16 over the whole range, or [H, W, 3] uint8; and how
    they became so.

    Raises:
        FormatError: The file is damaged or no single image, or has not what ``voi`` asks for.
        ReadError: The file cannot be read.
        ImportError: pydicom is not installed.
    """
    with _understood(path):
        ds = _open(path)
        _refuse_others(path, ds)
        how = _how(path, ds, voi)
        pixels = _pixels(path, ds)
        if how == "color":
            return _color(path, ds, pixels), how
        stored, values = _values(path, ds, pixels)
        light = _light(path, ds, values, how, _padding(ds, stored))
        return np.round(light * 65535).astype(np.uint16), how


def header(path: str) -> dict[str, Any]:
    """The :data:`COLUMNS` of a file; None for what its header does not say.

    Raises:
        FormatError, ReadError, ImportError: As :func:`read`, of the header alone.
    """
    with _understood(path):
        ds = _open(path, pixels=False)
        sex = str(ds.get("PatientSex") or "").strip().upper()
        spacing = next((found for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing") if (found := _numbers(ds, name))), [])
        rows, columns = spacing if len(spacing) == 2 and min(spacing) > 0 else (None, None)
        return {
            "age": _age(ds),
            "sex": sex if sex in ("F", "M") else None,
            "view": str(ds.get("ViewPosition") or "").strip().upper() or None,
            "laterality": str(ds.get("ImageLaterality") or ds.get("Laterality") or "").strip().upper() or None,
            "spacing_x": columns,
            "spacing_y": rows,
            "voi": _how(path, ds, "auto"),
        }


def pixels_start(path: str) -> int:
    """Byte of a file where its pixels start, after a header that may name a person.

    Raises:
        FormatError, ImportError: As :func:`read`.
        OSError: The file cannot be read.
    """
    pydicom = _pydicom(path)
    with _understood(path), open(path, "rb") as file:
        pydicom.dcmread(file, stop_before_pixels=True, force=True)
        return int(file.tell())


@contextlib.contextmanager
def _understood(path: str) -> Iterator[None]:
    """Errors of all kinds that pydicom raises for damaged files, also when a value is first asked for, as a
    FormatError.

    It warns of values that break the standard, which nothing here depends on.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error}") from error
    except (FormatError, ReadError, ImportError, MemoryError):
        raise
    except Exception as error:
        raise FormatError(f"{path}: expected a whole DICOM image, found {_reason(error)}") from error


def _pydicom(path: str) -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise ImportError(f"{path}: DICOM images are read through pydicom: pip install 'sslmed[dicom]' (or pydicom)") from error
    return pydicom


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _open(path: str, *, pixels: bool = True) -> Any:
    pydicom = _pydicom(path)
    meta = pydicom.filereader.read_file_meta_info(path) if _has_preamble(path) else {}
    if str(meta.get("TransferSyntaxUID", "")) == _DEFLATED:
        _check_deflated(path)
    return pydicom.dcmread(path, force=True, stop_before_pixels=not pixels)


def _has_preamble(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def _check_deflated(path: str) -> None:
    """FormatError where a deflated file becomes larger than any image: it would be inflated whole."""
    with open(path, "rb") as file:
        data = file.read()
    # The deflated part follows group 2, whose length its first element has.
    start = 144 + int.from_bytes(data[140:144], "little")
    inflate, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    rest = data[start:]
    while rest and not inflate.eof and size <= 4 * _MOST:
        size += len(inflate.decompress(rest, 1 << 20))
        rest = inflate.unconsumed_tail
    if size > 4 * _MOST:
        raise FormatError(f"{path}: expected a deflated DICOM image of at most 2^30 bytes, found more")


def _refuse_others(path: str, ds: Any) -> None:
    """FormatError, with what to do, for all that is no single image."""
    uid = str(ds.get("SOPClassUID") or getattr(ds, "file_meta", {}).get("MediaStorageSOPClassUID") or "")
    series = _SERIES.get(uid.removeprefix(_CLASS)) if uid.startswith(_CLASS) else None
    if series is None and not uid and str(ds.get("Modality") or "") in ("CT", "MR", "PT", "NM"):
        series = str(ds.Modality)
    if series is not None:
        raise FormatError(
            f"{path}: expected a single image such as a radiograph, found a slice of a {series} series; convert the series to NIfTI (dcm2niix) and open "
            "the volumes (docs/mri.md)"
        )
    name = getattr(ds.get("SOPClassUID"), "name", "") or "no class"
    if "PixelData" not in ds and "FloatPixelData" not in ds and "DoubleFloatPixelData" not in ds:
        raise FormatError(f"{path}: expected a DICOM image, found a file without pixels ({name}); leave it out of the cohort")
    frames = ds.get("NumberOfFrames")
    if frames is not None and int(frames or 1) > 1:
        raise FormatError(
            f"{path}: expected a single image, found {int(frames)} frames ({name}); write the frames that are wanted as PNG files, or tomosynthesis as a "
            "NIfTI volume"
        )
    rows, columns, samples = (_whole(ds, tag) for tag in ("Rows", "Columns", "SamplesPerPixel"))
    if rows < 1 or columns < 1 or rows * columns > _MOST or samples not in (1, 3):
        raise FormatError(f"{path}: expected an image of 1 to 2^28 pixels of 1 or 3 samples, found {rows} x {columns} of {samples}")
    if (allocated := _whole(ds, "BitsAllocated")) not in (8, 16) or "PixelData" not in ds:
        raise FormatError(f"{path}: expected 8 or 16 bits a value, found {allocated}{'' if 'PixelData' in ds else ' of floating point'}; convert it to PNG")


def _whole(ds: Any, tag: str) -> int:
    try:
        return int(ds.get(tag) or (1 if tag == "SamplesPerPixel" else 0))
    except (TypeError, ValueError):
        return 0


def _numbers(ds: Any, tag: str) -> list[float]:
    value = ds.get(tag)
    if value is None or value == "":
        return []
    try:
        found = [float(one) for one in (value if hasattr(value, "__iter__") and not isinstance(value, str) else [value])]
    except (TypeError, ValueError):
        return []
    return found if all(math.isfinite(one) for one in found) else []


def _first_window(ds: Any) -> tuple[float, float] | None:
    """Center and width of the first window; None where there is none, or its width is none."""
    center, width = _numbers(ds, "WindowCenter"), _numbers(ds, "WindowWidth")
    exact = str(ds.get("VOILUTFunction") or "LINEAR").upper() != "LINEAR"
    if not center or not width or (width[0] <= 0 if exact else width[0] < 1):
        return None
    return center[0], width[0]


def _has_lut(ds: Any) -> bool:
    found = ds.get("VOILUTSequence")
    return bool(found) and "LUTDescriptor" in found[0] and "LUTData" in found[0]


def _how(path: str, ds: Any, voi: Voi) -> str:
    photometric = str(ds.get("PhotometricInterpretation") or "").strip().upper()
    if photometric in _COLORS:
        return "color"
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise FormatError(f"{path}: expected MONOCHROME1, MONOCHROME2, {', '.join(_COLORS)}, found photometric interpretation {photometric!r}")
    there = {"lut": _has_lut(ds), "window": _first_window(ds) is not None, "range": True}
    if voi == "auto":
        return next(how for how, has in there.items() if has)
    if not there[voi]:
        has = " and ".join(how for how, has in there.items() if has)
        raise FormatError(f"{path}: voi={voi!r} needs {WORDS[voi]} in the file, found only what voi={has} needs; use voi='auto'")
    return voi


def _pixels(path: str, ds: Any) -> npt.NDArray[Any]:
    pydicom = _pydicom(path)
    if not getattr(ds, "file_meta", None) or "TransferSyntaxUID" not in ds.file_meta:
        if not hasattr(ds, "file_meta"):
            ds.file_meta = pydicom.dataset.FileMetaDataset()
        explicit = ds.original_encoding[0] is False
        ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian if explicit else pydicom.uid.ImplicitVRLittleEndian
    syntax = ds.file_meta.TransferSyntaxUID
    try:
        pixels: npt.NDArray[Any] = pydicom.pixels.pixel_array(ds)
    except Exception as error:  # pydicom and its decoders raise all kinds of errors
        hint = ""
        if str(syntax) not in _UNCOMPRESSED and isinstance(error, (RuntimeError, NotImplementedError, ImportError)):
            hint = "; pydicom needs a decoder for it: pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg, or python-gdcm"
        raise FormatError(f"{path}: expected pixels that pydicom decodes ({syntax.name}), found {_reason(error)}{hint}") from error
    expected = (_whole(ds, "Rows"), _whole(ds, "Columns"))
    if pixels.shape[:2] != expected or pixels.ndim > 3:
        raise FormatError(f"{path}: expected pixels of {expected[0]} rows and {expected[1]} columns, found {list(pixels.shape)}")
    return pixels


def _color(path: str, ds: Any, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """[H, W, 3] uint8. pydicom has made RGB of YBR."""
    if str(ds.PhotometricInterpretation).upper() == "PALETTE COLOR":
        try:
            pixels = _pydicom(path).pixels.apply_color_lut(pixels, ds)[..., :3]
        except Exception as error:
            raise FormatError(f"{path}: expected a palette of red, green and blue, found {_reason(error)}") from error
        # Entries of 16 bits whose high bytes are all zero hold 8 bits, as older devices write them.
        most = 65535 if pixels.dtype == np.uint16 and pixels.max(initial=0) > 255 else 255
    else:
        most = (1 << (_whole(ds, "BitsStored") or 8 * pixels.itemsize)) - 1
    if pixels.ndim != 3:
        raise FormatError(f"{path}: expected three samples a pixel ({ds.PhotometricInterpretation}), found one")
    return pixels if most == 255 and pixels.dtype == np.uint8 else np.round(np.clip(pixels / most, 0, 1) * 255).astype(np.uint8)


def _values(path: str, ds: Any, pixels: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Stored values, without what older devices keep in unused bits, and values after the modality LUT or rescaling."""
    stored, bits = pixels.astype(np.int32), _whole(ds, "BitsStored") or 8 * pixels.itemsize
    high = _whole(ds, "HighBit") or bits - 1
    if stored.ndim != 2 or not 1 <= bits <= 16:
        raise FormatError(f"{path}: expected one sample of 1 to 16 stored bits a pixel, found {list(stored.shape)}, {bits} bits")
    stored = stored >> max(0, high - bits + 1)
    if pixels.dtype.kind == "u":
        stored &= (1 << bits) - 1
    if ds.get("ModalityLUTSequence"):
        return stored, _looked_up(path, ds, ds.ModalityLUTSequence[0], stored)[0]
    slope, intercept = _numbers(ds, "RescaleSlope"), _numbers(ds, "RescaleIntercept")
    return stored, stored * (slope[0] if slope and slope[0] != 0 else 1.0) + (intercept[0] if intercept else 0.0)


def _looked_up(path: str, ds: Any, item: Any, values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], int]:
    """Values by a table, and the highest that its bits allow."""
    try:
        count, first, bits = (int(one) for one in item.LUTDescriptor)
        raw = item.LUTData
        little = ds.original_encoding[1] is not False
        count = count or 1 << 16
        if isinstance(raw, bytes):
            table = np.frombuffer(raw, np.uint8 if len(raw) < 2 * count else ("<u2" if little else ">u2"))[:count]
        else:
            table = np.asarray(raw, np.int64)[:count]
    except (TypeError, ValueError, AttributeError) as error:
        raise FormatError(f"{path}: expected a table of gray values (LUT descriptor and data), found {_reason(error)}") from error
    if len(table) < count or not 1 <= bits <= 16:
        raise FormatError(f"{path}: expected a table of {count} gray values of 1 to 16 bits, found {len(table)} of {bits} bits")
    # Some devices write 16 bits for tables of fewer.
    bits = max(8, int(table.max()).bit_length()) if bits == 16 else bits
    at = np.clip(np.floor(values).astype(np.int64) - first, 0, count - 1)
    return table[at].astype(np.float64), (1 << bits) - 1


def _padding(ds: Any, stored: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
    """Pixels beside the image: of PixelPaddingValue, or up to PixelPaddingRangeLimit."""
    value = _numbers(ds, "PixelPaddingValue")
    if not value:
        return None
    limit = _numbers(ds, "PixelPaddingRangeLimit")
    low, high = sorted((value[0], limit[0] if limit else value[0]))
    beside = (stored >= low) & (stored <= high)
    return None if beside.all() or not beside.any() else beside


def _light(path: str, ds: Any, values: npt.NDArray[Any], how: str, beside: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.float64]:
    """[H, W] from 0 (black) to 1."""
    if how == "lut":
        table, most = _looked_up(path, ds, ds.VOILUTSequence[0], values)
        light = table / most
    elif how == "window" and (window := _first_window(ds)) is not None:
        (center, width), shape = window, str(ds.get("VOILUTFunction") or "LINEAR").upper()
        if shape == "SIGMOID":
            light = 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
        elif shape == "LINEAR_EXACT":
            light = (values - center) / width + 0.5
        else:  # the standard's LINEAR: the width counts values, so the last one is at width - 1
            light = (values - (center - 0.5)) / (width - 1) + 0.5 if width > 1 else (values > center - 0.5).astype(np.float64)
    else:
        shown = values if beside is None else values[~beside]
        # Files of 8 bits hold light already, as secondary captures do.
        low, high = (0.0, 255.0) if _holds_light(ds) else (float(shown.min()), float(shown.max()))
        light = (values - low) / (high - low) if high > low else np.zeros(values.shape)
    light = np.clip(light, 0, 1).astype(np.float64)
    if str(ds.PhotometricInterpretation).strip().upper() == "MONOCHROME1":
        light = 1 - light
    if beside is not None:
        light[beside] = 0
    return light


def _holds_light(ds: Any) -> bool:
    rescaled = ds.get("ModalityLUTSequence") or _numbers(ds, "RescaleSlope") not in ([], [1.0]) or _numbers(ds, "RescaleIntercept") not in ([], [0.0])
    return _whole(ds, "BitsStored") == 8 and not _whole(ds, "PixelRepresentation") and not rescaled


def _age(ds: Any) -> float | None:
    """Years, by "045Y", "006M", "002W", "010D", or else by the dates of birth and study."""
    if found := re.fullmatch(r"(\d{1,3})\s*([DWMY])", str(ds.get("PatientAge") or "").strip().upper()):
        per_year = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}[found[2]]
        return round(int(found[1]) / per_year, 3)
    dates = []
    for tag in ("PatientBirthDate", "StudyDate"):
        text = re.sub(r"[.\-]", "", str(ds.get(tag) or "").strip())
        try:
            dates.append(datetime.datetime.strptime(text, "%Y%m%d"))
        except ValueError:
            return None
    years = (dates[1] - dates[0]).days / 365.25
    return round(years, 1) if 0 <= years <= 130 else None
