"""Small DICOM series."""

import locale
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def write_series(folder: Path, values: np.ndarray[Any, Any], uid: str, start: int = 0) -> None:
    """A file a slice of ``values`` [Z, Y, X]; the test is skipped without SimpleITK."""
    sitk = pytest.importorskip("SimpleITK")
    before = locale.setlocale(locale.LC_ALL)  # which ITK's writer of DICOM changes
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for z, plane in enumerate(values):
        image = sitk.GetImageFromArray(plane[None])
        image.SetSpacing((0.5, 0.75, 3.0))
        for key, value in {
            "0008|0060": "MR",
            "0008|0018": f"{uid}.{z + 1}",
            "0020|000e": uid,
            "0020|000d": "1.2.3",
            "0020|0013": str(z),
            "0020|0032": f"-10\\20\\{start + 3 * z}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }.items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{uid}-{z}.dcm"))
        writer.Execute(image)
    locale.setlocale(locale.LC_ALL, before)
