"""Label maps larger than memory: predicted, scored and written band by band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from sslmed.cohort import Cohort
from sslmed.methods import Segment
from sslmed.metrics.overlap import dice_of, volume_of
from sslmed.modalities.label_maps import LabelMaps, StreamedLabelMaps
from sslmed.segmentation.cases import Truths, classes_of
from sslmed.segmentation.options import Segmentation

__all__ = ["MeanOfNetworks", "counted", "known_classes", "scored_bands", "tiles_of"]


class MeanOfNetworks:
    """Several networks as one, whose probabilities are averaged; of one network, its logits."""

    def __init__(self, tasks: Sequence[Segment]) -> None:
        self.tasks = tasks
        self.preprocessing = tasks[0].preprocessing

    def forward_dense(self, dense: torch.Tensor) -> torch.Tensor:
        """[B, C, spatial…] to [B, classes, spatial…]."""
        if len(self.tasks) == 1:
            return self.tasks[0].forward_dense(dense)
        return torch.stack([task.forward_dense(dense).softmax(1) for task in self.tasks]).mean(0)


def known_classes(cohort: Cohort, maps: LabelMaps | StreamedLabelMaps, values: Sequence[int] | None, options: Segmentation) -> list[int]:
    """What each class is: in label maps that come in bands their own numbers, otherwise what occurs.

    Raises:
        ValueError: ``values`` are others than those of the bands, or as in :func:`sslmed.segmentation.cases.classes_of`.
    """
    if not isinstance(maps, StreamedLabelMaps):
        return classes_of(cohort, Truths(maps), values, options)
    if values is not None and [int(value) for value in values] != maps.values:
        names = ", ".join(map(repr, maps.names))
        raise ValueError(f"{cohort.name}: values={list(values)} must be None: the classes are {names} in this order")
    return list(maps.values)


def tiles_of(options: Segmentation, network: Segment | MeanOfNetworks) -> dict[str, Any]:
    """Options of prediction by tiles.

    Raises:
        ValueError: ``roi`` is not one number.
    """
    first: Any = network.preprocessing
    size = first.size if options.roi is None else options.roi
    if not isinstance(size, int):
        raise ValueError(f"Segmentation: roi={size!r} must be one number of pixels where predictions come by tiles")
    return {
        "size": size, "overlap": options.overlap, "convention": options.convention, "flips": options.flips,
        "device": options.device,
    }  # fmt: skip


def counted(options: Segmentation) -> Segmentation:
    """The options with those metrics that follow from numbers of cells, which can be summed over bands."""
    return replace(options, metrics=tuple(name for name in options.metrics if name in _OF_COUNTS))


def scored_bands(
    cohort: Cohort,
    maps: StreamedLabelMaps,
    row: int,
    network: Segment | MeanOfNetworks,
    classes: Sequence[int],
    options: Segmentation,
    **line: Any,
) -> list[dict[str, Any]]:
    """A line a class of one case, as :func:`sslmed.segmentation.cases.scored` gives it, from counts of cells."""
    counts = np.zeros((len(classes), 3), dtype=np.int64)
    for labels, truth in maps.bands(row, network, **tiles_of(options, network)):
        known = (truth != -1) & (truth != options.unlabeled)
        for i, value in enumerate(classes):
            predicted, reference = (labels == value) & known, (truth == value) & known
            counts[i] += [int(x.sum()) for x in (predicted, reference, predicted & reference)]
    names = dict(zip(maps.values, maps.names, strict=True))
    table = cohort.table.iloc[row]
    line = {"row": row, "path": table["path"], "subject": str(table["subject"])} | line
    lines = []
    for value, (predicted, reference, both) in zip(classes[1:], counts[1:].tolist(), strict=True):
        own = {name: _OF_COUNTS[name](options.convention_of(name), (predicted, reference, both)) for name in counted(options).metrics}
        lines.append(line | {"class": names[value], "reference": reference, "prediction": predicted} | own)
    return lines


_OF_COUNTS = {"dice": dice_of, "volume_similarity": volume_of}
