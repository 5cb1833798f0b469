"""Average precision of detected objects, as COCO's evaluation has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch

from sslmed._checks import number, whole
from sslmed._core import Array, C
from sslmed.metrics.inputs import Score, Spacing, cell_size, known_convention, label_maps
from sslmed.metrics.instances import Objects, objects_of

__all__ = ["average_precision"]

PRECISION = {"coco": "no object in the reference: -1; no detection: 0"}

Images: TypeAlias = Array | Sequence[Array]
Values: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

RECALLS = np.linspace(0.0, 1.0, 101)
THRESHOLDS = np.linspace(0.5, 0.95, 10)


@dataclass(frozen=True)
class Picture:
    """Detections and objects of one picture.

    Attributes:
        scores: Of the detections [d].
        areas: Of the detections [d].
        true_areas: Of the objects [g].
        crowd: Objects that stand for many [g], bool.
        pairs: Detections and objects that overlap [k, 2].
        shared: Areas that they share [k].
    """

    scores: Values
    areas: Values
    true_areas: Values
    crowd: Values
    pairs: Values
    shared: Values


@dataclass(frozen=True)
class Found:
    """What became of the detections of one picture that count, best first.

    Attributes:
        scores: [d].
        hits: Whether each detection has an object, at each threshold [t, d].
        ignored: Whether it counts neither way [t, d].
        objects: Number of objects that count.
        dropped: Number of detections beyond the largest number.
    """

    scores: Values
    hits: Values
    ignored: Values
    objects: int
    dropped: int


def average_precision(
    prediction: Images,
    reference: Images,
    spacing: Spacing = None,
    convention: Literal["coco"] = "coco",
    *,
    scores: Any = None,
    crowd: Any = None,
    thresholds: Sequence[float] | None = None,
    max_detections: int = 1000,
    area_range: tuple[float, float] = (0.0, 1e10),
) -> Score:
    """Computes average precision of one class of objects over images, as COCO's evaluation has it.

    The mean over ten IoU thresholds (0.50, 0.55 … 0.95) of the precision at 101 recalls. COCO takes the best 100
    detections of an image. A 256 px tile can hold more nuclei than that, and the result is then capped without a word:
    ours takes 1,000 and says how many were dropped (``score.dropped``).

    Args:
        prediction: One image or several: label maps of whole numbers [H, W] or [D, H, W], one label an object, or
            boxes [d, 4], floating: x, y, width, height.
        reference: The same of the truth.
        spacing: Not used: the size of a cell cancels. Checked only.
        convention: "coco", the only one.
        scores: Confidence of each detection [d], of several images a list of them: in the order of the labels, or of
            the boxes' rows. None: all the same, which says nothing about the ranking.
        crowd: Objects of the reference that stand for many [g], bool; of several images a list. Detections inside
            are neither right nor wrong.
        thresholds: IoU thresholds; None: COCO's ten.
        max_detections: Largest number of detections of an image that count, the best ones first.
        area_range: Least and largest area of objects, in cells or squared units of boxes; others are ignored.

    Returns:
        The average precision, -1 without objects, with ``by_threshold``, ``ap50`` and ``ap75`` (None where the
        threshold is not among them), ``recall``, ``max_detections``, ``dropped``, ``objects`` and ``detections`` as
        attributes.

    Raises:
        TypeError: Neither label maps nor boxes.
        ValueError: Images, scores or crowds that do not fit together, or an unknown convention or option.

    Examples:
        >>> import numpy as np
        >>> from sslmed.metrics import average_precision
        >>> a, b = np.zeros((2, 32, 32), np.int32)
        >>> a[1:9, 1:9], b[1:9, 1:9], a[20:24, 20:24], b[12:20, 12:20] = 1, 1, 2, 2
        >>> score = average_precision(a, b, scores=[0.9, 0.4])
        >>> round(score, 4), round(score.ap50, 4), score.dropped
        (0.505, 0.505, 0)
    """
    known_convention("average_precision", convention, PRECISION)
    whole("average_precision", "max_detections", max_detections, 1)
    levels = THRESHOLDS if thresholds is None else np.asarray(list(thresholds), np.float64)
    if len(levels) == 0:
        raise ValueError("average_precision: thresholds=[] must have at least one IoU")
    for level in levels:
        number("average_precision", "thresholds", float(level), 0, 1, strict=True)
    pictures = _pictures(prediction, reference, spacing, scores, crowd)
    return average_of(pictures, levels, max_detections, area_range)


def average_of(pictures: list[Picture], levels: Values, most: int, area_range: tuple[float, float]) -> Score:
    """Average precision of pictures that are counted already."""
    found = [_matched(picture, levels, most, area_range) for picture in pictures]
    objects = sum(each.objects for each in found)
    details: dict[str, Any] = {
        "objects": objects,
        "detections": sum(len(each.scores) for each in found),
        "dropped": sum(each.dropped for each in found),
        "max_detections": most,
    }
    if objects == 0:
        return Score(-1.0, by_threshold=np.full(len(levels), -1.0), ap50=-1.0, ap75=-1.0, recall=-1.0, **details)
    order = np.argsort(-np.concatenate([each.scores for each in found]), kind="stable")
    hits = np.concatenate([each.hits for each in found], axis=1)[:, order]
    ignored = np.concatenate([each.ignored for each in found], axis=1)[:, order]
    curves = [_precision(hit & ~skip, ~hit & ~skip, objects) for hit, skip in zip(hits, ignored, strict=True)]
    by_threshold = np.array([precision.mean() for precision, _ in curves])
    at = {round(float(level), 6): float(value) for level, value in zip(levels, by_threshold, strict=True)}
    recall = float(np.mean([value for _, value in curves]))
    value = float(np.mean([precision for precision, _ in curves]))
    return Score(value, by_threshold=by_threshold, ap50=at.get(0.5), ap75=at.get(0.75), recall=recall, **details)


def _precision(right: Values, wrong: Values, objects: int) -> tuple[Values, float]:
    """Precision at each of the 101 recalls, and the largest recall."""
    tp, fp = np.cumsum(right, dtype=np.float64), np.cumsum(wrong, dtype=np.float64)
    if len(tp) == 0:
        return np.zeros(len(RECALLS)), 0.0
    recall = tp / objects
    precision = np.maximum.accumulate((tp / (tp + fp + np.spacing(1.0)))[::-1])[::-1]
    place = np.searchsorted(recall, RECALLS, side="left")
    return np.where(place < len(tp), precision[np.minimum(place, len(tp) - 1)], 0.0), float(recall[-1])


def _matched(picture: Picture, levels: Values, most: int, area_range: tuple[float, float]) -> Found:
    low, high = area_range
    outside = (picture.true_areas < low) | (picture.true_areas > high)
    ignored = picture.crowd | outside
    objects = np.argsort(ignored, kind="stable")  # those that are ignored come last
    detections = np.argsort(-picture.scores, kind="stable")[:most]
    rank = np.full(len(picture.scores), -1)
    rank[detections] = np.arange(len(detections))
    place = np.empty(len(objects), np.int64)
    place[objects] = np.arange(len(objects))
    i, j = picture.pairs.T
    union = np.where(picture.crowd[j], 0, picture.true_areas[j] - picture.shared) + picture.areas[i]
    first, order = _candidates(rank[i], place[j], len(detections))
    matches = C.match_detections(
        torch.from_numpy(first),
        torch.from_numpy(place[j][order]),
        torch.from_numpy((picture.shared / union)[order].astype(np.float64)),
        torch.from_numpy(ignored[objects]),
        torch.from_numpy(picture.crowd[objects]),
        levels.tolist(),
    ).numpy()
    hits = matches >= 0
    areas = picture.areas[detections]
    skip = np.append(ignored[objects], False)[matches] | (~hits & ((areas < low) | (areas > high)))
    dropped = len(picture.scores) - len(detections)
    return Found(picture.scores[detections], hits, skip, int((~ignored).sum()), dropped)


def _candidates(rank: Values, place: Values, n: int) -> tuple[Values, Values]:
    """Where each detection's candidates start [n + 1], and the order that brings them there."""
    order = np.lexsort((place, rank))
    order = order[rank[order] >= 0]
    return np.searchsorted(rank[order], np.arange(n + 1)), order


def _pictures(prediction: Images, reference: Images, spacing: Spacing, scores: Any, crowd: Any) -> list[Picture]:
    several = isinstance(prediction, (list, tuple))
    if several != isinstance(reference, (list, tuple)):
        raise TypeError("average_precision: prediction and reference must both be one image, or lists of images")
    ours, theirs = (list(prediction), list(reference)) if several else ([prediction], [reference])
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"average_precision: prediction has {len(ours)} images and reference {len(theirs)}")
    out = []
    for index, (p, r) in enumerate(zip(ours, theirs, strict=True)):
        mine = (scores[index] if several else scores) if scores is not None else None
        crowds = (crowd[index] if several else crowd) if crowd is not None else None
        out.append(_picture(p, r, spacing, mine, crowds))
    return out


def _picture(prediction: Array, reference: Array, spacing: Spacing, scores: Any, crowd: Any) -> Picture:
    if not all(isinstance(each, (np.ndarray, torch.Tensor)) for each in (prediction, reference)):
        raise TypeError("average_precision: an image must be a tensor or a NumPy array")
    boxes = [np.asarray(each) for each in (prediction, reference)]
    floating = [np.issubdtype(each.dtype, np.floating) for each in boxes]
    if floating[0] != floating[1]:
        raise TypeError("average_precision: prediction and reference must both be boxes (floating) or label maps (whole)")
    if floating[0]:
        areas, true_areas, pairs, shared = _shared_boxes(*boxes)
    else:
        one, two = label_maps("average_precision", prediction, reference)
        cell_size("average_precision", spacing, one.ndim)
        return picture_of(objects_of(one, two), scores, crowd)
    return _checked(areas, true_areas, pairs, shared, scores, crowd)


def picture_of(objects: Objects, scores: Any, crowd: Any) -> Picture:
    """The picture of label maps that are counted already."""
    return _checked(objects.cells, objects.true_cells, objects.pairs, objects.shared, scores, crowd)


def _checked(areas: Values, true_areas: Values, pairs: Values, shared: Values, scores: Any, crowd: Any) -> Picture:
    values = np.ones(len(areas)) if scores is None else np.asarray(scores, np.float64)
    many = np.zeros(len(true_areas), bool) if crowd is None else np.asarray(crowd, bool)
    if values.shape != (len(areas),) or not np.isfinite(values).all():
        raise ValueError(f"average_precision: scores must be {len(areas)} finite numbers, got {list(values.shape)}")
    if many.shape != (len(true_areas),):
        raise ValueError(f"average_precision: crowd must be {len(true_areas)} booleans, got {list(many.shape)}")
    return Picture(values, areas, true_areas, many, pairs, shared)


def _shared_boxes(prediction: Values, reference: Values) -> tuple[Values, Values, Values, Values]:
    """Areas of both, pairs that overlap, and the areas that they share."""
    for name, boxes in (("prediction", prediction), ("reference", reference)):
        if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all() or (boxes[:, 2:] <= 0).any():
            raise ValueError(f"average_precision: {name} must be boxes [n, 4]: x, y, width > 0, height > 0")
    a, b = prediction.astype(np.float64)[:, None], reference.astype(np.float64)[None]
    sides = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(np.clip(sides, 0, None), axis=2)
    pairs = np.argwhere(shared > 0)
    return a[:, 0, 2] * a[:, 0, 3], b[0, :, 2] * b[0, :, 3], pairs, shared[shared > 0]
