"""What segmentation and detection of anomalies need of a modality: rows as arrays with their label maps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import torch

__all__ = ["LabelMaps", "StreamedLabelMaps"]


class LabelMaps(Protocol):
    """Rows of a cohort as whole arrays with their label maps: what segmentation is evaluated on."""

    def __len__(self) -> int: ...

    def read(self, row: int) -> torch.Tensor:
        """The sample of a row as an encoder of dense inputs takes it, [C, spatial…]."""
        ...

    def inside(self, row: int) -> torch.Tensor | None:
        """Cells of :meth:`read` that hold anatomy, [spatial…] bool; None: all that there are."""
        ...

    def truth(self, row: int) -> torch.Tensor | None:
        """The label map of a row [spatial…] int32, on the grid of :meth:`placed`; -1 where nothing is known; None: the row has none."""
        ...

    def placed(self, row: int, labels: torch.Tensor, outside: int) -> torch.Tensor:
        """Labels [spatial…] on the grid of :meth:`read` brought to the grid of the row's file; ``outside`` where that reaches further."""
        ...

    def spacing(self, row: int) -> tuple[float, ...] | None:
        """Size in mm of a cell of the row's file along each axis; None where it is not known."""
        ...

    def write(self, row: int, labels: torch.Tensor, stem: str) -> str:
        """Writes labels on the grid of :meth:`placed` to a file whose path begins with ``stem``, and gives its path."""
        ...

    def write_scores(self, row: int, scores: torch.Tensor, stem: str) -> str:
        """Writes float32 scores on the grid of :meth:`placed` to a file whose path begins with ``stem``, and gives its path."""
        ...


@runtime_checkable
class StreamedLabelMaps(Protocol):
    """Rows that are too large for :class:`LabelMaps`: predictions and references come band by band."""

    values: list[int]
    """What each class is in the label maps, the background first."""
    names: tuple[str, ...]
    """Names of the classes."""

    def __len__(self) -> int: ...

    def bands(self, row: int, predictor: Any, **how: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Prediction and reference of a row, [rows, W] int32 each, from top to bottom; -1 in the reference where nothing is known.

        ``how``: size, overlap, convention, flips, device, as in :func:`sslmed.inference.tiled`.
        """
        ...

    def predict(self, row: int, predictor: Any, stem: str, form: Any, **how: Any) -> Any:
        """Writes the prediction of a row to files whose paths begin with ``stem``; what it gives has their paths as ``files``."""
        ...
