"""Label maps as DICOM segmentation objects of the series or slide that they belong to, through highdicom."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sslmed._core import Array, FormatError, ReadError, tensor
from sslmed.io.nifti import Volume

__all__ = ["write_dicom_seg"]

_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image Storage
_EXPLICIT = "1.2.840.10008.1.2.1"
_Path = str | os.PathLike[str]


def write_dicom_seg(
    path: _Path,
    labels: Volume | Array,
    source: _Path | Sequence[_Path],
    segments: Mapping[int, str],
    *,
    algorithm: str = "sslmed",
    version: str = "0.1.0",
) -> None:
    """Writes a label map as a DICOM segmentation (binary frames, one segment a label) that refers to its source images.

    Needs highdicom: ``pip install 'sslmed[dicom-seg]'``. Of a volume each pixel of the source's slices gets the label
    of the nearest cell, whatever the axes and the spacing of the volume; 0 where the volume does not reach. Of a slide
    the map is brought to the pixels of the source's level, by the nearest cell. Segments are coded as tissue that an
    algorithm has found; patient and study are those of the source.

    Args:
        path: The file to write.
        labels: A :class:`Volume` of labels whose affine is in the same space as the source's patient coordinates; of a
            slide [H, W], over the whole slide.
        source: The DICOM files that were segmented: a folder with one series, a list of its files, or one file of a
            slide's level.
        segments: Name of each label that is written. Other labels, such as 0, are background.
        algorithm: Name of what has made the labels.
        version: Its version.

    Raises:
        ImportError: highdicom is not installed.
        ReadError: A source cannot be read.
        FormatError: A source is no DICOM image, or lacks what a segmentation refers to.
        ValueError: ``segments`` is empty, or the labels do not suit the source.
    """
    hd, pydicom = _packages()
    if not segments or min(segments) < 1:
        raise ValueError(f"write_dicom_seg: segments={dict(segments)} must name labels of at least 1")
    files = _files(source)
    images = [_opened(pydicom, file) for file in files]
    slide = str(images[0].get("SOPClassUID")) == _SLIDE
    if slide:
        pixels = _on_slide(labels, images, files)
    else:
        images.sort(key=_height)
        _with_thickness(images)
        pixels = _on_slices(labels, images, files)
    values = sorted(segments)
    numbered = np.zeros(pixels.shape, dtype=np.uint16)
    for number, value in enumerate(values, 1):
        numbered[pixels == value] = number
    made = hashlib.sha256(numbered.tobytes() + repr([sorted(segments.items()), algorithm, version]).encode()).hexdigest()
    seed = [str(images[0].get("SOPInstanceUID")), made]
    try:
        out = hd.seg.Segmentation(
            images, numbered, "BINARY", [_description(hd, number, segments[value], algorithm, version) for number, value in enumerate(values, 1)],
            series_instance_uid=pydicom.uid.generate_uid("2.25.", entropy_srcs=[*seed, "series"]), series_number=900,
            sop_instance_uid=pydicom.uid.generate_uid("2.25.", entropy_srcs=[*seed, "instance"]), instance_number=1, manufacturer="sslmed",
            manufacturer_model_name=algorithm, software_versions=version, device_serial_number="0", transfer_syntax_uid=_EXPLICIT,
            tile_pixel_array=slide, omit_empty_frames=bool(numbered.any()),
        )  # fmt: skip
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise FormatError(f"{files[0]}: expected a DICOM image that a segmentation can refer to, found {type(error).__name__}: {error}") from error
    target = Path(path)
    temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}")
    try:
        out.save_as(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _packages() -> tuple[Any, Any]:
    try:
        import highdicom
        import pydicom
    except ImportError as error:
        raise ImportError("DICOM segmentations are written through highdicom: pip install 'sslmed[dicom-seg]'") from error
    return highdicom, pydicom


def _files(source: _Path | Sequence[_Path]) -> list[Path]:
    if not isinstance(source, str | os.PathLike):
        found = [Path(file) for file in source]
    else:
        found = sorted(file for file in Path(source).iterdir() if file.is_file()) if Path(source).is_dir() else [Path(source)]
    if not found:
        raise ReadError(f"write_dicom_seg: source={source!r} holds no files")
    return found


def _opened(pydicom: Any, file: Path) -> Any:
    try:
        return pydicom.dcmread(file)
    except OSError as error:
        raise ReadError(f"{file}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # pydicom raises many kinds
        raise FormatError(f"{file}: expected a DICOM image, found {type(error).__name__}: {error}") from error


def _description(hd: Any, number: int, name: str, algorithm: str, version: str) -> Any:
    from pydicom.sr.codedict import codes

    made_by = hd.AlgorithmIdentificationSequence(name=algorithm, version=version, family=codes.cid7162.ArtificialIntelligence)
    return hd.seg.SegmentDescription(number, name, codes.SCT.Tissue, codes.SCT.Tissue, "AUTOMATIC", made_by)


def _axes(image: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Of a slice in LPS mm: where its first pixel is, and the ways to the next column and the next row."""
    try:
        turn = np.array(image.ImageOrientationPatient, dtype=np.float64)
        down, right = (float(step) for step in image.PixelSpacing)
        return np.array(image.ImagePositionPatient, dtype=np.float64), turn[:3] * right, turn[3:] * down
    except (AttributeError, TypeError, ValueError) as error:
        where = image.get("SOPInstanceUID", "a source")
        raise FormatError(f"write_dicom_seg: {where}: expected a slice with its position, orientation and spacing, found {error}") from error


def _with_thickness(images: Sequence[Any]) -> None:
    """Gives slices without a thickness, which segmentations must name, the distance of the slices."""
    if all(image.get("SliceThickness") for image in images):
        return
    heights = [_height(image) / float(np.linalg.norm(np.cross(*_axes(image)[1:]))) for image in images]
    apart = float(np.median(np.diff(heights))) if len(heights) > 1 else 1.0
    for image in images:
        image.SliceThickness = image.get("SliceThickness") or apart


def _height(image: Any) -> float:
    """Of a slice along its normal, in mm."""
    corner, right, down = _axes(image)
    return float(corner @ np.cross(right, down))


def _on_slices(labels: Volume | Array, images: Sequence[Any], files: Sequence[Path]) -> npt.NDArray[Any]:
    """[slices, rows, columns] by the nearest cell of the volume."""
    if not isinstance(labels, Volume):
        raise ValueError(f"write_dicom_seg: labels must be a Volume for the series of {files[0]}, got {type(labels).__name__}")
    values = labels.data.numpy()
    if values.ndim != 3:
        raise ValueError(f"write_dicom_seg: labels must have three axes, got {values.shape}")
    to_cells = np.linalg.inv(labels.affine.numpy()) @ np.diag([-1.0, -1.0, 1.0, 1.0])  # from LPS
    out = []
    for image in images:
        corner, right, down = _axes(image)
        row, column = np.mgrid[: int(image.Rows), : int(image.Columns)]
        places = corner + row[..., None] * down + column[..., None] * right
        cells = np.rint(places @ to_cells[:3, :3].T + to_cells[:3, 3]).astype(np.int64)
        known = ((cells >= 0) & (cells < values.shape)).all(-1)
        i, j, k = np.moveaxis(np.where(known[..., None], cells, 0), -1, 0)
        out.append(np.where(known, values[i, j, k], 0))
    return np.stack(out)


def _on_slide(labels: Volume | Array, images: Sequence[Any], files: Sequence[Path]) -> npt.NDArray[Any]:
    """[1, rows, columns] of the level's whole pixel matrix, by the nearest cell of the map."""
    if len(images) > 1:
        raise ValueError(f"write_dicom_seg: source must be one file of a slide's level, got {len(images)}")
    values = None if isinstance(labels, Volume) else tensor(labels).numpy()
    if values is None or values.ndim != 2 or values.size == 0:
        raise ValueError(f"write_dicom_seg: labels must be [H, W] for the slide {files[0]}")
    rows, columns = int(images[0].TotalPixelMatrixRows), int(images[0].TotalPixelMatrixColumns)
    y = ((np.arange(rows) + 0.5) * values.shape[0] / rows).astype(np.int64)
    x = ((np.arange(columns) + 0.5) * values.shape[1] / columns).astype(np.int64)
    out: npt.NDArray[Any] = values[y][:, x][None]
    return out
