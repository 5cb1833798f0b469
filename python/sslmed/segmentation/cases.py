"""Label maps of a cohort, the classes in them, and scores case by case."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sslmed import metrics
from sslmed.cohort import Cohort
from sslmed.modalities import registry
from sslmed.modalities.label_maps import LabelMaps, StreamedLabelMaps
from sslmed.segmentation.options import Segmentation

__all__ = ["CASES", "LABELS", "Truths", "classes_of", "maps_of", "scored"]

Array = np.ndarray[Any, Any]

LABELS = "path_labels"
"""Column that modalities read label maps from."""
CASES = ["model", "row", "path", "subject", "fold", "class", "reference", "prediction"]
"""Columns of the table of cases, before one for each metric."""


class Truths:
    """Label maps, read again each time: all of them would not fit into memory."""

    def __init__(self, maps: LabelMaps) -> None:
        self._maps = maps

    def __len__(self) -> int:
        return len(self._maps)

    def __getitem__(self, row: int) -> torch.Tensor | None:
        return self._maps.truth(row)


def maps_of(cohort: Cohort, preprocessing: Any) -> LabelMaps | StreamedLabelMaps:
    """The rows of a cohort with their label maps: whole arrays, or bands of what is larger than memory."""
    return registry.get(cohort.modality).label_maps(cohort, preprocessing)


def classes_of(cohort: Cohort, truths: Truths, values: Sequence[int] | None, options: Segmentation) -> list[int]:
    """What each class is in the label maps; all rows must have one.

    Args:
        cohort: All rows.
        truths: Their label maps.
        values: What each class is; None: what occurs, but for the value that the loss leaves out.
        options: Options with those of the loss.

    Raises:
        ValueError: A row has no label map or a value that is no class, or there are fewer than two classes.
    """
    listed = None if values is None else [int(value) for value in values]
    seen: set[int] = set()
    for row in range(len(truths)):
        truth = truths[row]
        if truth is None:
            path = cohort.table["path"].iloc[row]
            raise ValueError(f"{cohort.name}: row {row} ({path}) has no label map; leave it out")
        own = set(torch.unique(truth).tolist()) - {-1, options.unlabeled}
        if listed is not None and (other := sorted(own - set(listed))):
            path = cohort.table["path"].iloc[row]
            hint = "list it in values=, or leave one value out with loss={'ignore': value}"
            raise ValueError(f"{cohort.name}: row {row} ({path}): the label map has {other[0]}, no class of {listed}; {hint}")
        seen |= own
    found = sorted(seen) if listed is None else listed
    if len(found) < 2:
        raise ValueError(f"{cohort.name}: the label maps hold {found}, expected at least two classes")
    return found


def scored(
    cohort: Cohort,
    maps: LabelMaps,
    row: int,
    labels: torch.Tensor,
    classes: Sequence[int],
    options: Segmentation,
    **line: Any,
) -> list[dict[str, Any]]:
    """A line a class with every metric of a case. Cells where nothing is known, or that the loss leaves out, do not count.

    Args:
        cohort: All rows.
        maps: Their label maps.
        row: Row that is scored.
        labels: Prediction on the grid of the label map.
        classes: What each class is in the label maps, the background first.
        options: Metrics and their conventions.
        line: Further columns.
    """
    truth, path = maps.truth(row), cohort.table["path"].iloc[row]
    assert truth is not None
    if truth.shape != labels.shape:
        shapes = f"the label map is {tuple(truth.shape)}, expected {tuple(labels.shape)} like {path}"
        raise ValueError(f"{cohort.name}: row {row}: {shapes}")
    known, spacing = (truth != -1) & (truth != options.unlabeled), maps.spacing(row)
    line = {"row": row, "path": path, "subject": str(cohort.table["subject"].iloc[row])} | line
    lines = []
    for value in classes[1:]:
        masks = ((labels == value) & known).numpy(), ((truth == value) & known).numpy()
        own = {name: _metric(name, *masks, spacing, options) for name in options.metrics}
        counts = {"class": str(value), "reference": int(masks[1].sum()), "prediction": int(masks[0].sum())}
        lines.append(line | counts | own)
    return lines


def _metric(name: str, prediction: Array, reference: Array, spacing: Any, options: Segmentation) -> float:
    how: dict[str, Any] = {"convention": options.convention_of(name)}
    if name == "surface_dice":
        how["tolerance"] = options.tolerance
    try:
        found: Any = _FUNCTIONS[name](prediction, reference, spacing, **how)
    except ValueError:
        if prediction.any() and reference.any():
            raise
        return math.nan  # some libraries raise for an empty mask
    return float(found)


_FUNCTIONS: dict[str, Any] = {
    "dice": metrics.dice,
    "hausdorff_95": metrics.hausdorff,
    "surface_dice": metrics.surface_dice,
    "volume_similarity": metrics.volume_similarity,
}
