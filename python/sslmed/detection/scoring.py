"""Scores of the objects found in one picture, or in all pictures of a person, under named conventions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sslmed.detection.options import Detection
from sslmed.methods.detect import Kind
from sslmed.metrics import aji, average_precision, detection_f1, panoptic_quality
from sslmed.objects import Objects

__all__ = ["CASES", "best_threshold", "people_lines", "scored"]

Array = np.ndarray[Any, Any]
CASES = ["by", "row", "path", "subject", "fold", "class", "metric", "value", "reference", "prediction"]
"""Columns of the cases of a detection."""
_GRID = np.round(np.arange(0.1, 0.91, 0.05), 2)


def best_threshold(found: Sequence[Objects], truths: Sequence[Objects], radius: float) -> float:
    """The threshold of 0.1, 0.15 … 0.9 with the best F1 over all pictures together; of equal ones the lowest."""
    best, best_f1 = 0.5, -1.0
    for threshold in map(float, _GRID):
        counts = np.zeros(3)
        for said, truth in zip(found, truths, strict=True):
            score: Any = detection_f1(said.above(threshold).places, truth.places, radius=radius)
            counts += score.tp, score.fp, score.fn
        f1 = 2 * counts[0] / max(2 * counts[0] + counts[1] + counts[2], 1)
        if f1 > best_f1:
            best, best_f1 = threshold, float(f1)
    return best


def scored(found: Objects, truth: Objects, kind: Kind, classes: Sequence[str], options: Detection) -> list[list[Any]]:
    """Lines [class, metric, value, reference, prediction] of a picture: all objects together, then each class.

    A picture that has no object of a class and in which none is found scores NaN.
    """
    lines: list[list[Any]] = []
    qualities = []
    for name in ["all", *classes] if len(classes) > 1 else ["all"]:
        said, true = _of_class(found, name), _of_class(truth, name)
        counts = [len(true), len(said)]
        score = float(detection_f1(said.places, true.places, radius=options.match_radius))
        lines.append([name, "f1", score, *counts])
        if kind == "stars":
            quality = float(panoptic_quality(_map(said), _map(true)))
            lines.append([name, "pq", quality, *counts])
            lines.append([name, "aji", float(aji(_map(said), _map(true))), *counts])
            if name != "all":
                qualities.append(quality)
    if qualities:
        known = [value for value in qualities if not np.isnan(value)]
        mean = float(np.mean(known)) if known else float("nan")
        lines.append(["mean", "pq", mean, len(truth), len(found)])
    return lines


def people_lines(found: Sequence[Objects], truths: Sequence[Objects], classes: Sequence[str], options: Detection) -> list[list[Any]]:
    """Lines [class, metric, value, reference, prediction] of average precision over all pictures of one person.

    NaN where the person has no object of the class.
    """
    lines: list[list[Any]] = []
    for name in ["all", *classes] if len(classes) > 1 else ["all"]:
        said, true = ([_of_class(one, name) for one in each] for each in (found, truths))
        counts = [sum(map(len, true)), sum(map(len, said))]
        if counts[0] == 0:
            lines += [[name, metric, float("nan"), *counts] for metric in ("ap", "ap50")]
            continue
        score: Any = average_precision(
            [_edges(one) for one in said], [_edges(one) for one in true], scores=[one.scores for one in said],
            max_detections=options.max_detections,
        )  # fmt: skip
        lines += [[name, "ap", float(score), *counts], [name, "ap50", float(score.ap50), *counts]]
    return lines


def _of_class(objects: Objects, name: str) -> Objects:
    return objects if name == "all" else objects.of(objects.names == name)


def _map(objects: Objects) -> Array:
    assert objects.instances is not None
    return objects.instances


def _edges(objects: Objects) -> Array:
    """[n, 4]: x, y, width, height."""
    assert objects.boxes is not None
    low, high = objects.boxes[:, 0], objects.boxes[:, 1]
    return np.concatenate([low[:, ::-1], (high - low)[:, ::-1]], axis=1)
