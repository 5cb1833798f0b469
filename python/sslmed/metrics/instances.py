"""Objects against objects: panoptic quality, the aggregated Jaccard index, and F1 of detections."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from sslmed._checks import number
from sslmed._core import Array, C
from sslmed.metrics.inputs import Score, Spacing, cell_size, known_convention, label_maps, ratio

__all__ = ["aji", "detection_f1", "panoptic_quality"]

PanopticConvention: TypeAlias = Literal["hovernet", "monai", "cellvit"]
DetectionConvention: TypeAlias = Literal["gated", "hovernet", "hover"]

PANOPTIC = {
    "hovernet": "no object in either: NaN; none in one: 0",
    "monai": "no object in either: 0; none in one: 0",
    "cellvit": "no object in either: 0; none in one: 0",
}
AJI = {"hovernet": "no object in either: NaN; none in one: 0"}
DETECTION = {
    "gated": "no object in either: NaN; none in one: 0",
    "hovernet": "an image without objects has one at the origin: 1 where neither has any",
    "hover": "as hovernet",
}

Values: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


@dataclass(frozen=True)
class Objects:
    """Objects of two label maps, and what they share.

    Attributes:
        labels: Of the predicted objects [n], ascending.
        true_labels: Of the objects of the reference [m].
        cells: Of each predicted object [n].
        true_cells: Of each object of the reference [m].
        centers: Of each predicted object [n, 3], in cells; the first is 0 in pictures.
        true_centers: Of each object of the reference [m, 3].
        pairs: Positions of objects that share cells [k, 2]: predicted, reference.
        shared: Cells that they share [k].
    """

    labels: Values
    true_labels: Values
    cells: Values
    true_cells: Values
    centers: Values
    true_centers: Values
    pairs: Values
    shared: Values

    @cached_property
    def unions(self) -> Values:
        """Cells of either object of each pair [k]."""
        i, j = self.pairs.T
        return np.asarray(self.cells[i] + self.true_cells[j] - self.shared)

    def best_pairs(self, weights: Values) -> Values:
        """Pairs, one to one, whose weights add up to the most: their numbers."""
        i, j = self.pairs.T
        edges = np.stack([j, i, weights], axis=1).astype(np.float64)
        column = C.best_pairs(torch.from_numpy(edges), len(self.true_cells), len(self.cells)).numpy()
        return np.flatnonzero(column[j] == i)


def objects_of(prediction: torch.Tensor, reference: torch.Tensor) -> Objects:
    """Counts both maps in one pass."""
    one, two, pairs = (each.numpy() for each in C.label_overlaps(prediction, reference))

    def parts(rows: Values) -> tuple[Values, Values, Values]:
        cells = rows[:, 1].astype(np.int64)
        return rows[:, 0].astype(np.int64), cells, rows[:, 2:] / np.maximum(cells, 1)[:, None]

    (labels, cells, centers), (true_labels, true_cells, true_centers) = parts(one), parts(two)
    return Objects(labels, true_labels, cells, true_cells, centers, true_centers, pairs[:, :2], pairs[:, 2])


def panoptic_of(convention: str, objects: Objects, match_iou: float) -> Score:
    """Panoptic quality of objects that are counted already."""
    iou = objects.shared / objects.unions
    kept = np.flatnonzero(iou > match_iou)
    if match_iou < 0.5:
        best = objects.best_pairs(iou)
        kept = best[iou[best] > match_iou]
    tp, fp, fn = len(kept), len(objects.cells) - len(kept), len(objects.true_cells) - len(kept)
    total = float(iou[kept].sum())
    least = 1e-6
    sq = total / (tp + least)
    dq = ratio(tp, tp + (fp + fn) / 2 + (0 if convention == "hovernet" else least))
    value = total / (tp + (fp + fn) / 2 + least) if convention == "monai" else dq * sq
    return Score(value, dq=dq, sq=sq, tp=tp, fp=fp, fn=fn, iou_sum=total)


def aji_of(objects: Objects, plus: bool) -> Score:
    """The aggregated Jaccard index of objects that are counted already."""
    iou = objects.shared / (objects.unions + 1e-6)
    if plus:
        kept = objects.best_pairs(iou) if len(iou) else np.zeros(0, np.int64)
    else:  # the best prediction of each object of the reference: the first one of equal ones
        order = np.lexsort((objects.pairs[:, 0], -iou, objects.pairs[:, 1]))
        _, first = np.unique(objects.pairs[order, 1], return_index=True)
        kept = order[first]
    i, j = objects.pairs[kept].T
    shared = int(objects.shared[kept].sum())
    alone = np.delete(objects.cells, np.unique(i)).sum() + np.delete(objects.true_cells, np.unique(j)).sum()
    return Score(ratio(shared, int(objects.unions[kept].sum() + alone)), pairs=len(kept))


def panoptic_quality(
    prediction: Array,
    reference: Array,
    spacing: Spacing = None,
    convention: PanopticConvention = "hovernet",
    *,
    match_iou: float = 0.5,
) -> Score:
    """Computes panoptic quality: the F1 of objects that are found, times the mean IoU of those (arXiv 1801.00868).

    ``"hovernet"`` has 1e-6 in the denominator of the mean IoU; ``"cellvit"`` in that of the F1 too; ``"monai"`` in
    that of the product. Labels need not be contiguous, and a map without background loses no object (hover_net's own
    code drops the first label there).

    Args:
        prediction: Label map, whole numbers [H, W] or [D, H, W]: one label an object, 0 is the background.
        reference: The same of the truth.
        spacing: Not used: the size of a cell cancels. Checked only.
        convention: Library whose definition is used.
        match_iou: An object is found where the IoU is above this. Below 0.5 pairs are chosen one to one, so that
            their IoUs add up to the most.

    Returns:
        The quality, with ``dq``, ``sq``, ``tp``, ``fp``, ``fn`` and ``iou_sum`` as attributes.

    Raises:
        TypeError: Maps that are not arrays of whole numbers.
        ValueError: Shapes that differ, or an unknown convention, match_iou or spacing.

    Examples:
        >>> import numpy as np
        >>> from sslmed.metrics import panoptic_quality
        >>> a, b = np.zeros((2, 16, 16), np.int32)
        >>> a[1:5, 1:5], b[1:5, 1:5], b[8:12, 8:12] = 3, 1, 2
        >>> score = panoptic_quality(a, b)
        >>> round(score, 4), score.tp, score.fp, score.fn
        (0.6667, 1, 0, 1)
    """
    known_convention("panoptic_quality", convention, PANOPTIC)
    number("panoptic_quality", "match_iou", match_iou, 0, 1)
    one, two = label_maps("panoptic_quality", prediction, reference)
    cell_size("panoptic_quality", spacing, one.ndim)
    return panoptic_of(convention, objects_of(one, two), match_iou)


def aji(
    prediction: Array,
    reference: Array,
    spacing: Spacing = None,
    convention: Literal["hovernet"] = "hovernet",
    *,
    plus: bool = False,
) -> Score:
    """Computes the aggregated Jaccard index, AJI (Kumar et al., IEEE TMI 2017) or AJI+ (hover_net).

    Shared cells of all pairs, divided by the cells of either object of a pair and of all objects without one. AJI
    gives each object of the reference its best prediction, even if another one has it too; AJI+ pairs one to one.

    Args:
        prediction: Label map, whole numbers [H, W] or [D, H, W]: one label an object, 0 is the background.
        reference: The same of the truth.
        spacing: Not used: the size of a cell cancels. Checked only.
        convention: "hovernet", the only one.
        plus: AJI+.

    Returns:
        The index, with the number of ``pairs`` as an attribute.

    Raises:
        TypeError: Maps that are not arrays of whole numbers.
        ValueError: Shapes that differ, or an unknown convention or spacing.

    Examples:
        >>> import numpy as np
        >>> from sslmed.metrics import aji
        >>> a, b = np.zeros((2, 16, 16), np.int32)
        >>> a[2:4, 2:10], b[2:4, 2:6], b[2:4, 6:10] = 1, 1, 2  # two objects predicted as one
        >>> aji(a, b), round(aji(a, b, plus=True), 4)
        (0.5, 0.3333)
    """
    known_convention("aji", convention, AJI)
    one, two = label_maps("aji", prediction, reference)
    cell_size("aji", spacing, one.ndim)
    return aji_of(objects_of(one, two), plus)


def detection_of(convention: str, points: Values, true_points: Values, radius: float) -> Score:
    """F1 of points [n, 3] against [m, 3]."""
    if convention == "gated":
        column = C.near_pairs(torch.from_numpy(true_points), torch.from_numpy(points), radius).numpy()
        true_index = np.flatnonzero(column >= 0)
        index = column[true_index]
    else:
        points, true_points = (each if len(each) else np.zeros((1, 3)) for each in (points, true_points))
        far = cdist(true_points, points)
        true_index, index = linear_sum_assignment(far)
        near = far[true_index, index] <= radius
        true_index, index = true_index[near], index[near]
    tp, fp, fn = len(index), len(points) - len(index), len(true_points) - len(index)
    pairs = np.stack([index, true_index], axis=1)
    value = ratio(2 * tp, 2 * tp + fp + fn)
    precision, recall = ratio(tp, tp + fp), ratio(tp, tp + fn)
    return Score(value, precision=precision, recall=recall, tp=tp, fp=fp, fn=fn, pairs=pairs)


def detection_f1(
    prediction: Array,
    reference: Array,
    spacing: Spacing = None,
    convention: DetectionConvention = "gated",
    *,
    radius: float = 12.0,
) -> Score:
    """Computes F1 of points that are detected within a radius, as for cells in pathology.

    ``"gated"`` pairs points within the radius alone: as many pairs as there can be, and of those the nearest.
    ``"hovernet"`` (or ``"hover"``) pairs all points so that the sum of all distances is the least, and then drops pairs
    beyond the radius: a point far away may take a near one's partner. hover_net's script also cuts coordinates to whole
    pixels first. Its radius is 12 px at 40x, and 6 px at 20x.

    Args:
        prediction: Points, floating [n, 2] or [n, 3], or a label map of whole numbers, whose objects' centers are
            taken.
        reference: The same of the truth.
        spacing: Size of a pixel along each axis, in the unit of ``radius``; None: 1.
        convention: How points are paired.
        radius: Largest distance of a pair.

    Returns:
        F1, with ``precision``, ``recall``, ``tp``, ``fp``, ``fn`` and ``pairs`` [tp, 2] (rows of the prediction and of
        the reference) as attributes.

    Raises:
        TypeError: Neither points nor label maps.
        ValueError: Shapes that do not fit, points that are not finite, or an unknown convention, radius or spacing.

    Examples:
        >>> import numpy as np
        >>> from sslmed.metrics import detection_f1
        >>> found, true = np.array([[10.0, 12.0], [50.0, 50.0]]), np.array([[10.0, 10.0]])
        >>> score = detection_f1(found, true)
        >>> round(score, 4), score.precision, score.recall
        (0.6667, 0.5, 1.0)
    """
    known_convention("detection_f1", convention, DETECTION)
    number("detection_f1", "radius", radius, 0, 1e6)
    points, true_points = _points(prediction, reference, spacing)
    return detection_of(convention, points, true_points, float(radius))


def _points(prediction: Array, reference: Array, spacing: Spacing) -> tuple[Values, Values]:
    """Both sets of points [n, 3], in the unit of the spacing."""
    if not all(isinstance(each, (np.ndarray, torch.Tensor)) for each in (prediction, reference)):
        raise TypeError("detection_f1: prediction and reference must be tensors or NumPy arrays")
    given = [each.detach().cpu().numpy() if isinstance(each, torch.Tensor) else each for each in (prediction, reference)]
    floating = [np.issubdtype(each.dtype, np.floating) for each in given]
    if floating[0] != floating[1]:
        raise TypeError("detection_f1: prediction and reference must both be points (floating) or label maps (whole)")
    if not floating[0]:
        one, two = label_maps("detection_f1", prediction, reference)
        objects = objects_of(one, two)
        size = np.array(cell_size("detection_f1", spacing, one.ndim))
        return objects.centers * size, objects.true_centers * size
    rank = given[0].shape[-1] if given[0].ndim == 2 else 0
    for name, each in zip(("prediction", "reference"), given, strict=True):
        if each.ndim != 2 or each.shape[1] not in (2, 3) or each.shape[1] != rank:
            raise ValueError(f"detection_f1: {name} must be points [n, 2] or [n, 3] as the other, got {list(each.shape)}")
        if not (np.abs(each) <= 1e9).all():
            raise ValueError(f"detection_f1: {name} has points that are not finite, or beyond 1e9")
    size = np.array(cell_size("detection_f1", spacing, rank))
    one3, two3 = (np.concatenate([np.zeros((len(p), 3 - rank)), p.astype(np.float64)], axis=1) for p in given)
    return one3 * size, two3 * size


def nothing_in(objects: Objects) -> tuple[bool, bool]:
    """Whether the prediction and the reference have no object."""
    return len(objects.cells) == 0, len(objects.true_cells) == 0
