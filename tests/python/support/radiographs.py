"""Small DICOM files of single images; the test is skipped without pydicom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

DX = "1.2.840.10008.5.1.4.1.1.1.1"
SECONDARY = "1.2.840.10008.5.1.4.1.1.7"
CT = "1.2.840.10008.5.1.4.1.1.2"


def dataset(values: np.ndarray[Any, Any], *, bits: int | None = None, photometric: str = "MONOCHROME2", sop: str = DX, syntax: str = "", **tags: Any) -> Any:
    """``values`` [H, W] or [H, W, 3], uint8, uint16 or int16; further tags by their keywords."""
    pydicom = pytest.importorskip("pydicom")
    ds = pydicom.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = sop
    ds.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    ds.file_meta.TransferSyntaxUID = syntax or pydicom.uid.ExplicitVRLittleEndian
    ds.SOPClassUID = sop
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID
    ds.Modality = "DX"
    ds.Rows, ds.Columns = values.shape[:2]
    ds.SamplesPerPixel = 3 if values.ndim == 3 else 1
    if values.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = 8 * values.itemsize
    ds.BitsStored = bits or ds.BitsAllocated
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(values.dtype.kind == "i")
    ds.PhotometricInterpretation = photometric
    for name, value in tags.items():
        setattr(ds, name, value)
    ds.PixelData = values.astype(f"<{values.dtype.kind}{values.itemsize}").tobytes()
    if len(ds.PixelData) % 2:
        ds.PixelData += b"\0"
    ds["PixelData"].VR = "OW" if values.itemsize == 2 else "OB"
    return ds


def table_of(data: list[int], first: int, bits: int) -> Any:
    """A sequence of one table of gray values, for VOILUTSequence or ModalityLUTSequence."""
    pydicom = pytest.importorskip("pydicom")
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", [len(data), first, bits])
    item.add_new("LUTData", "US", data)
    item.LUTExplanation = "NORMAL"
    return pydicom.Sequence([item])


def save(path: Path, ds: Any, *, preamble: bool = True) -> Path:
    """Writes a file, or one without the preamble and group 2."""
    if preamble:
        ds.save_as(path, enforce_file_format=True)
    else:
        meta = ds.file_meta
        del ds.file_meta
        ds.save_as(path, implicit_vr=meta.TransferSyntaxUID.is_implicit_VR, little_endian=True, enforce_file_format=False)
        ds.file_meta = meta
    return path
