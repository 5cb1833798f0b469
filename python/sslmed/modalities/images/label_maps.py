"""Whole images with their label maps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from sslmed import io
from sslmed._core import FormatError
from sslmed.modalities.base import Rows
from sslmed.modalities.images.preprocessing import ImagePreprocessing
from sslmed.modalities.images.source import label_paths, source

__all__ = ["ImageLabelMaps"]

_MOST = 65535


class ImageLabelMaps:
    """Images whose shorter side has the size of training, and labels on the grid of their files.

    Args:
        rows: A cohort of images; label maps are listed in the column ``path_labels``, if there is one.
        preprocessing: One that gives dense views.
    """

    def __init__(self, rows: Rows, preprocessing: ImagePreprocessing) -> None:
        self._source = source(rows, replace(preprocessing, labels=False), random=True)
        self._padded = preprocessing.fit == "pad"
        self._paths = [str(path) for path in rows.table["path"]]
        self._labels = label_paths(rows) if "path_labels" in rows.table else [""] * len(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, row: int) -> torch.Tensor:
        """[3, height, width] uint8."""
        picture: torch.Tensor = self._source.sample(row)
        return picture.permute(2, 0, 1).contiguous()

    def inside(self, row: int) -> torch.Tensor | None:
        """[height, width] bool, False in the border of ``fit="pad"``; None without one: all of an image counts."""
        if not self._padded:
            return None
        height, width = io.read_image(self._paths[row]).shape[:2]
        out = torch.zeros(self.read(row).shape[1:], dtype=torch.bool)
        self._without_border(out, int(height), int(width)).fill_(True)
        return out

    def truth(self, row: int) -> torch.Tensor | None:
        """[height, width] int32, or None.

        Raises:
            FormatError, ReadError: The file of labels cannot be read, or has several channels.
        """
        path = self._labels[row]
        if not path:
            return None
        labels = io.read_image(path)
        if labels.shape[2] != 1:
            raise FormatError(f"{path}: expected a label map of one channel, found {labels.shape[2]} channels")
        return labels[..., 0].to(torch.int32)

    def placed(self, row: int, labels: torch.Tensor, outside: int) -> torch.Tensor:
        """Labels at the size of the image's file, by the nearest pixel, without the border of ``fit="pad"``."""
        height, width = io.read_image(self._paths[row]).shape[:2]
        own = self._without_border(labels, int(height), int(width)).float()[None, None]
        return torch.nn.functional.interpolate(own, (int(height), int(width)), mode="nearest-exact")[0, 0].to(labels.dtype)

    def _without_border(self, cells: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """The part of [rows, columns] that shows an image of this size; a view of its memory."""
        if not self._padded:
            return cells
        longer = max(height, width)
        inner = [max(1, int(side * own / longer + 0.5)) for side, own in zip((height, width), cells.shape, strict=True)]
        first = [(own - side) // 2 for own, side in zip(cells.shape, inner, strict=True)]
        return cells[first[0] : first[0] + inner[0], first[1] : first[1] + inner[1]]

    def spacing(self, row: int) -> None:
        """Not known."""
        return None

    def write(self, row: int, labels: torch.Tensor, stem: str) -> str:
        """``<stem>_labels.png``, whose gray levels are the labels."""
        path = f"{stem}_labels.png"
        io.write_label_png(labels, path)
        return path

    def write_scores(self, row: int, scores: torch.Tensor, stem: str) -> str:
        """``<stem>.npy``, float32 [height, width]."""
        path = f"{stem}.npy"
        np.save(path, scores.float().numpy())
        return path
