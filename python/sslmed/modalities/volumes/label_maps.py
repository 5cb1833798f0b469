"""Whole volumes with their label maps."""

from __future__ import annotations

import numpy as np
import torch

from sslmed import io
from sslmed.modalities.base import Array, Rows
from sslmed.modalities.volumes import files
from sslmed.modalities.volumes.preprocessing import VolumePreprocessing
from sslmed.modalities.volumes.source import source

__all__ = ["VolumeLabelMaps"]


class VolumeLabelMaps:
    """The volumes of sessions as they were prepared, and labels on the grid of their files.

    Labels of a prepared cohort are on the grid of its stores, because the files are not there. Otherwise they are on the grid of the first sequence's file:
    a prediction is brought there by the nearest cell, and label maps are read from their own files.

    Args:
        rows: A cohort of volumes.
        preprocessing: One that gives dense views.
    """

    def __init__(self, rows: Rows, preprocessing: VolumePreprocessing) -> None:
        self._source = source(rows, preprocessing)
        self._paths = [str(path) for path in rows.table["path"]]
        self._names = preprocessing.names
        self._files = files.of_table(rows.table)

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, row: int) -> torch.Tensor:
        """[C, X, Y, Z] float32, a channel a sequence."""
        store = self._source.store(row)
        names = self._names or [name for name in store.channels if name not in ("mask", "deface", "labels")][:1]
        return torch.stack([store.read(name) for name in names])

    def inside(self, row: int) -> torch.Tensor | None:
        """[X, Y, Z] bool: the anatomy mask; None: the session has none."""
        store = self._source.store(row)
        return store.read("mask").bool() if "mask" in store.channels else None

    def truth(self, row: int) -> torch.Tensor | None:
        """[X, Y, Z] int32, or None.

        Raises:
            FormatError, ReadError: The file of labels cannot be read.
            ValueError: It has another shape than the session's volume.
        """
        if self._prepared(row):
            store = self._source.store(row)
            return store.read("labels") if "labels" in store.channels else None
        path = self._files[row].labels
        if not path:
            return None
        labels, shape = io.read_nifti(path), self._grid(row)[0]
        if tuple(labels.data.shape) != shape:
            raise ValueError(f"{path}: labels of shape {tuple(labels.data.shape)}, expected {shape}, that of {self._paths[row]}")
        return labels.data.round().to(torch.int32)

    def placed(self, row: int, labels: torch.Tensor, outside: int) -> torch.Tensor:
        """Labels on the store's grid to that of the file, by the nearest cell."""
        if self._prepared(row):
            return labels
        shape, affine = self._grid(row)
        to_store = np.linalg.inv(self._source.store(row).affine.numpy()) @ affine
        cells = labels.numpy()
        out: Array = np.full(shape, outside, cells.dtype)
        j, k = np.meshgrid(np.arange(shape[1]), np.arange(shape[2]), indexing="ij")
        for i in range(shape[0]):
            at = np.rint(to_store[:3, :1] * i + to_store[:3, 1:2] * j.ravel() + to_store[:3, 2:3] * k.ravel() + to_store[:3, 3:]).astype(np.int64)
            inside = ((at >= 0) & (at < np.array(cells.shape)[:, None])).all(0)
            plane: Array = np.full(at.shape[1], outside, cells.dtype)
            plane[inside] = cells[tuple(at[:, inside])]
            out[i] = plane.reshape(shape[1:])
        return torch.from_numpy(out)

    def spacing(self, row: int) -> tuple[float, ...]:
        """Size of a cell in mm along each axis."""
        affine = self._grid(row)[1]
        return tuple(float(length) for length in np.linalg.norm(affine[:3, :3], axis=0))

    def write(self, row: int, labels: torch.Tensor, stem: str) -> str:
        """``<stem>_dseg.nii.gz`` with the affine of the file."""
        path = f"{stem}_dseg.nii.gz"
        kind = torch.uint8 if int(labels.max()) < 256 and int(labels.min()) >= 0 else torch.int32
        io.write_nifti(io.Volume(labels.to(kind), torch.from_numpy(self._grid(row)[1])), path)
        return path

    def write_scores(self, row: int, scores: torch.Tensor, stem: str) -> str:
        """``<stem>.nii.gz``, float32, with the affine of the file."""
        path = f"{stem}.nii.gz"
        io.write_nifti(io.Volume(scores.float(), torch.from_numpy(self._grid(row)[1])), path)
        return path

    def _prepared(self, row: int) -> bool:
        return files.is_prepared(self._paths[row])

    def _grid(self, row: int) -> tuple[tuple[int, ...], Array]:
        """Shape and affine of the grid that labels are on."""
        if self._prepared(row):
            store = self._source.store(row)
            return tuple(store.shape), store.affine.numpy()
        volume = io.read_nifti(self._paths[row])
        return tuple(volume.data.shape[:3]), volume.affine.numpy()
