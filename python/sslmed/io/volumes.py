"""Volumes of other formats than NIfTI, through the packages that read them."""

from __future__ import annotations

import contextlib
import importlib
import locale
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sslmed._core import FormatError, regular
from sslmed.io.nifti import Volume, read_nifti

__all__ = ["dicom_files", "read_volume"]

_NIFTI = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz")
_FREESURFER = (".mgh", ".mgz", ".mgh.gz")
_ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_volume(path: str | os.PathLike[str]) -> Volume:
    """Reads a volume of any format that is known.

    NIfTI is read natively; FreeSurfer's ``.mgh`` and ``.mgz`` through nibabel; ``.nrrd``, ``.nhdr``, ``.mha``, ``.mhd``
    and DICOM series through SimpleITK. Both packages come with ``pip install 'sslmed[mri]'``.

    Args:
        path: A file; or for DICOM a folder with one series, or any file of the series.

    Returns:
        The volume: values in the file's axis order as float32 where that is exact, else float64; vectors of 3 or 4 as a
        trailing axis; the affine in RAS+ mm whatever the format's own convention is.

    Raises:
        FormatError: The file is damaged, or a folder holds no DICOM series or several.
        ReadError: A NIfTI file cannot be read.
        OSError: The file is not there.
        ImportError: The format needs a package that is not installed.

    Warns:
        FormatWarning: A NIfTI file was wrong and could be repaired.

    Examples:
        >>> import tempfile, torch
        >>> import sslmed as sm
        >>> path = f"{tempfile.mkdtemp()}/brain.nii.gz"
        >>> sm.io.write_nifti(sm.io.Volume(torch.zeros(2, 3, 4), torch.eye(4)), path)
        >>> sm.io.read_volume(path)
        <Volume 2 x 3 x 4 (float32), cells of 1 x 1 x 1, aligned>

    See Also:
        read_nifti: NIfTI alone, with a choice of dtype.
    """
    file = Path(path)
    name = file.name.lower()
    if name.endswith(_NIFTI):
        return read_nifti(path)
    if not file.exists():
        raise FileNotFoundError(f"read_volume: {file} does not exist")
    regular(file)
    if file.is_dir():
        return _read_series(file)
    if name.endswith(_FREESURFER):
        return _read_freesurfer(file)
    if name.endswith(_ITK):
        return _read_itk(file)
    return _read_series(file)


def _package(name: str, path: Path) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"read_volume: {path} needs the package {name}: pip install 'sslmed[mri]' (or {name})") from error


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM" or path.suffix.lower() in (".dcm", ".ima")


def _as_floats(values: np.ndarray[Any, Any]) -> torch.Tensor:
    """float32 where that changes nothing, else float64."""
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    wide = values.astype(np.float64)
    return torch.from_numpy(single if np.array_equal(single.astype(np.float64), wide, equal_nan=True) else wide)


def _read_freesurfer(path: Path) -> Volume:
    nibabel = _package("nibabel", path)
    try:
        image = nibabel.load(path)
        values = np.asanyarray(image.dataobj)
    except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError, ValueError, EOFError, OSError) as error:
        raise FormatError(f"{path}: expected an MGH or MGZ volume, found {error}") from error
    sizes = [float(size) for size in image.header.get_zooms()]
    if len(sizes) == 4:
        sizes[3] /= 1000  # ms
    return Volume(_as_floats(values), torch.from_numpy(np.array(image.affine, dtype=np.float64)), sizes, "scanner")


@contextlib.contextmanager
def _same_locale() -> Iterator[None]:
    """ITK's reader of DICOM sets the whole process to the locale "C", where texts are ASCII: sets it back."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        yield
    finally:
        locale.setlocale(locale.LC_ALL, before)


@_same_locale()
def _read_itk(path: Path) -> Volume:
    sitk = _package("SimpleITK", path)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise FormatError(f"{path}: expected a volume that SimpleITK reads, found {_reason(error)}") from error
    return _from_itk(sitk, image, str(path))


def dicom_files(path: Path) -> list[str]:
    """Files of the only DICOM series in a folder, or of the series that a file belongs to, in the order of slices.

    Raises:
        FormatError: The folder holds no series or several, or the file belongs to none.
        OSError: The file cannot be read.
        ImportError: SimpleITK is not installed.
    """
    if path.is_dir():
        return _series(path, None)
    if not _is_dicom(path):
        known = ", ".join((*_NIFTI, *_FREESURFER, *_ITK))
        raise FormatError(f"{path}: expected a volume ({known}, or DICOM), found another ending and no DICOM header")
    return _series(path.parent, path)


@_same_locale()
def _series(folder: Path, file: Path | None) -> list[str]:
    """The series of ``file`` in a folder, or the only one there."""
    sitk = _package("SimpleITK", file or folder)
    reader = sitk.ImageSeriesReader()
    found = reader.GetGDCMSeriesIDs(str(folder))
    if file is None:
        if len(found) != 1:
            told = f"{len(found)} of them: give a file of the series that is wanted" if found else "none"
            raise FormatError(f"{folder}: expected a folder with one DICOM series, found {told}")
        return list(reader.GetGDCMSeriesFileNames(str(folder), found[0]))
    series = [reader.GetGDCMSeriesFileNames(str(folder), uid) for uid in found]
    files = next((names for names in series if str(file) in names), None)
    if files is None:
        raise FormatError(f"{file}: expected a file of a DICOM image series, found none in {folder} that it belongs to")
    return list(files)


@_same_locale()
def _read_series(where: Path) -> Volume:
    """The series in a folder, or of one of its files."""
    files = dicom_files(where)
    sitk = _package("SimpleITK", where)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise FormatError(f"{where}: expected a DICOM series that SimpleITK reads, found {_reason(error)}") from error
    return _from_itk(sitk, image, str(where))


def _reason(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "an unknown error"


def _from_itk(sitk: Any, image: Any, where: str) -> Volume:
    rank, vector = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    if vector not in (1, 3, 4):
        raise FormatError(f"{where}: expected one value a cell, or 3 or 4 colors, found vectors of {vector}")
    values = sitk.GetArrayFromImage(image)  # the last axis of ITK comes first
    values = values.transpose([*range(rank)[::-1], *([rank] if vector > 1 else [])])
    if np.iscomplexobj(values):
        raise FormatError(f"{where}: expected real values, found complex ones")
    spacing, space = list(image.GetSpacing()), min(rank, 3)
    affine = np.eye(4)
    direction = np.reshape(image.GetDirection(), (rank, rank))[:space, :space]
    affine[:space, :space] = direction * spacing[:space]
    affine[:space, 3] = image.GetOrigin()[:space]
    return Volume(_as_floats(values), torch.from_numpy(_LPS_TO_RAS @ affine), spacing, "scanner")
