"""Label maps larger than memory: predicted, scored and written band by band."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sslmed.cohort import Cohort
from sslmed.methods import Segment
from sslmed.modalities.base import LabelMaps, StreamedLabelMaps
from sslmed.segmentation.cases import Truths, classes_of
from sslmed.segmentation.options import Segmentation

__all__ = ["MeanOfNetworks", "known_classes", "scored_bands", "tiles_of"]


class MeanOfNetworks:
    """Several networks as one, whose probabilities are averaged; of one network, its logits."""

    def __init__(self, tasks: Sequence[Segment]) -> None:
        self.tasks = tasks

    def forward_dense(self, dense: torch.Tensor) -> torch.Tensor:
        """[B, C, spatial…] to [B, classes, spatial…]."""
        if len(self.tasks) == 1:
            return self.tasks[0].forward_dense(dense)
        return torch.stack([task.forward_dense(dense).softmax(1) for task in self.tasks]).mean(0)


def known_classes(cohort: Cohort, maps: LabelMaps | StreamedLabelMaps, values: Sequence[int] | None) -> list[int]:
    """What each class is: in label maps that come in bands their own numbers, otherwise what occurs.

    Raises:
        ValueError: ``values`` are others than those of the bands, or as in :func:`sslmed.segmentation.cases.classes_of`.
    """
    if not isinstance(maps, StreamedLabelMaps):
        return classes_of(cohort, Truths(maps), values)
    if values is not None and [int(value) for value in values] != maps.values:
        names = ", ".join(map(repr, maps.names))
        raise ValueError(f"{cohort.name}: values={list(values)} must be None: the classes are {names} in this order")
    return list(maps.values)


def tiles_of(options: Segmentation, tasks: Sequence[Segment]) -> dict[str, Any]:
    """Options of prediction by tiles.

    Raises:
        ValueError: ``roi`` is not one number.
    """
    first: Any = tasks[0].preprocessing
    size = first.size if options.roi is None else options.roi
    if not isinstance(size, int):
        raise ValueError(f"Segmentation: roi={size!r} must be one number of pixels where predictions come by tiles")
    return {
        "size": size, "overlap": options.overlap, "convention": options.convention, "flips": options.flips,
        "device": options.device,
    }  # fmt: skip


def scored_bands(cohort: Cohort, row: int, fold: int, classes: Sequence[int], maps: StreamedLabelMaps, task: Segment, options: Segmentation) -> list[list[Any]]:
    """A line a class, as :func:`sslmed.segmentation.cases.scored` gives it: Dice of a case from its bands."""
    counts = np.zeros((len(classes), 3), dtype=np.int64)
    for labels, truth in maps.bands(row, task, **tiles_of(options, [task])):
        known = truth != -1
        for i, value in enumerate(classes):
            reference, predicted = (truth == value) & known, (labels == value) & known
            counts[i] += [int(x.sum()) for x in (reference, predicted, reference & predicted)]
    names = dict(zip(maps.values, maps.names, strict=True))
    where = [row, cohort.table["path"].iloc[row], str(cohort.table["subject"].iloc[row]), fold]
    lines = []
    for value, (reference, predicted, both) in zip(classes[1:], counts[1:].tolist(), strict=True):
        dice = 2 * both / (reference + predicted) if reference else math.nan
        lines.append([*where, names[value], dice, reference, predicted])
    return lines
