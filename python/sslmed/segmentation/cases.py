"""Label maps of a cohort, the classes in them, and scores case by case."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from sslmed.cohort import Cohort
from sslmed.modalities import registry
from sslmed.modalities.base import LabelMaps, StreamedLabelMaps

__all__ = ["CASES", "LABELS", "Truths", "classes_of", "maps_of", "scored"]

LABELS = "path_labels"
"""Column that modalities read label maps from."""
CASES = ["row", "path", "subject", "fold", "class", "dice", "reference", "prediction"]
"""Columns of the table of cases."""


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


def classes_of(cohort: Cohort, truths: Truths, values: Sequence[int] | None) -> list[int]:
    """What each class is in the label maps; all rows must have one.

    Raises:
        ValueError: A row has no label map, or there are fewer than two classes.
    """
    seen: set[int] = set()
    for row in range(len(truths)):
        truth = truths[row]
        if truth is None:
            path = cohort.table["path"].iloc[row]
            raise ValueError(f"{cohort.name}: row {row} ({path}) has no label map; leave it out")
        if values is None:
            seen.update(torch.unique(truth).tolist())
    found = sorted(seen - {-1}) if values is None else [int(value) for value in values]
    if len(found) < 2:
        raise ValueError(f"{cohort.name}: the label maps hold {found}, expected at least two classes")
    return found


def scored(
    cohort: Cohort,
    row: int,
    fold: int,
    classes: Sequence[int],
    labels: torch.Tensor,
    truths: Truths,
) -> list[list[Any]]:
    """A line a class: Dice of a case. Cells where nothing is known do not count."""
    truth, path = truths[row], cohort.table["path"].iloc[row]
    assert truth is not None
    if truth.shape != labels.shape:
        shapes = f"the label map is {tuple(truth.shape)}, expected {tuple(labels.shape)} like {path}"
        raise ValueError(f"{cohort.name}: row {row}: {shapes}")
    known = truth != -1
    lines = []
    for value in classes[1:]:
        reference, predicted = (truth == value) & known, (labels == value) & known
        counts = [int(x.sum()) for x in (reference, predicted, reference & predicted)]
        dice = 2 * counts[2] / (counts[0] + counts[1]) if counts[0] else math.nan
        lines.append([row, path, str(cohort.table["subject"].iloc[row]), fold, str(value), dice, counts[0], counts[1]])
    return lines
