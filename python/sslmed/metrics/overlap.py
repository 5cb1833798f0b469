"""Overlap of masks: Dice, IoU, volume similarity, and the difference of Euler characteristics."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, TypeAlias, get_args

import torch

from sslmed._checks import choice
from sslmed._core import Array, C
from sslmed.metrics.inputs import Result, Score, Spacing, cell_size, each_label, known_convention, ratio

__all__ = ["dice", "euler_difference", "iou", "volume_similarity"]

DiceConvention: TypeAlias = Literal["monai", "deepmind", "fomo26", "metricsreloaded", "medpy", "hovernet"]
IouConvention: TypeAlias = Literal["monai", "metricsreloaded", "medpy"]
VolumeConvention: TypeAlias = Literal["feta", "simpleitk"]
Connectivity: TypeAlias = Literal["full", "faces"]

# What a library gives where the reference, the prediction or both are empty.
DICE = {
    "monai": "reference empty: NaN; prediction empty: 0",
    "deepmind": "both empty: NaN; one empty: 0",
    "fomo26": "both empty: 1; one empty: 0",
    "metricsreloaded": "both empty: 1; one empty: 0",
    "medpy": "both empty: 1; one empty: 0",
    "hovernet": "both empty: NaN; one empty: 0",
}
IOU = {
    "monai": "reference empty: NaN; prediction empty: 0",
    "metricsreloaded": "both empty: NaN; one empty: 0",
    "medpy": "both empty: 1; one empty: 0",
}
VOLUME = {
    "feta": "both empty: NaN; one empty: 0",
    "simpleitk": "both empty: NaN; reference empty: 2; prediction empty: -2",
}
EULER = {"feta": "an empty mask has the Euler characteristic 0"}

Counts: TypeAlias = tuple[int, int, int]


def _counts(prediction: torch.Tensor, reference: torch.Tensor, label: int | None) -> Counts:
    found = C.mask_counts(prediction, reference, label)
    return found[0], found[1], found[2]


def dice_of(convention: str, counts: Counts) -> float:
    """Dice of (cells predicted, cells of the reference, cells of both)."""
    predicted, true, both = counts
    if convention == "monai" and true == 0:
        return math.nan
    if predicted + true == 0:
        return 1.0 if convention in ("fomo26", "metricsreloaded", "medpy") else math.nan
    return 2 * both / (predicted + true)


def iou_of(convention: str, counts: Counts) -> float:
    """Intersection over union of (cells predicted, cells of the reference, cells of both)."""
    predicted, true, both = counts
    if convention == "monai" and true == 0:
        return math.nan
    if predicted + true == 0:
        return 1.0 if convention == "medpy" else math.nan
    return both / (predicted + true - both)


def volume_of(convention: str, counts: Counts) -> float:
    """Volume similarity of (cells predicted, cells of the reference, cells of both)."""
    predicted, true, _ = counts
    if convention == "simpleitk":
        return ratio(2 * (predicted - true), predicted + true)
    return 1 - ratio(abs(predicted - true), predicted + true)


def dice(
    prediction: Array,
    reference: Array,
    spacing: Spacing = None,
    convention: DiceConvention = "monai",
    *,
    label: int | Iterable[int] | None = None,
) -> Result:
    """Computes the Dice coefficient of two masks: twice what they share, divided by the sum of their sizes.

    All libraries agree where neither mask is empty. ``"monai"`` gives NaN where the reference is empty, even if the
    prediction is not, so that false alarms do not count; ``"deepmind"`` and ``"hovernet"`` give NaN where both are
    empty; ``"fomo26"``, ``"metricsreloaded"`` and ``"medpy"`` give 1 there.

    Args:
        prediction: Mask or label map, bool or whole numbers [H, W] or [D, H, W]; 0 is the background.
        reference: The same of the truth.
        spacing: Not used: the volume of a cell cancels. Checked only.
        convention: Library whose definition is used.
        label: Label that is compared, or several. None: all cells that are not 0, where the maps have one label at
            most; otherwise each label by itself.

    Returns:
        The coefficient; a dictionary by label where there are several.

    Raises:
        TypeError: Maps that are not arrays of whole numbers.
        ValueError: Shapes that differ, or an unknown convention, label or spacing.

    Examples:
        >>> import numpy as np
        >>> from sslmed.metrics import dice
        >>> a, b = np.zeros((2, 8, 8), np.uint8)
        >>> a[2:6, 2:6], b[2:6, 3:7] = 1, 1
        >>> dice(a, b)
        0.75
        >>> dice(a, np.zeros_like(a), convention="monai"), dice(a, np.zeros_like(a), convention="medpy")
        (nan, 0.0)
        >>> dice(a + 2 * (1 - a), b + 2 * (1 - b), label=(1, 2))
        {1: 0.75, 2: 0.9166666666666666}
    """
    known_convention("dice", convention, DICE)

    def one(p: torch.Tensor, r: torch.Tensor, name: int | None) -> float:
        cell_size("dice", spacing, p.ndim)
        return dice_of(convention, _counts(p, r, name))

    return each_label("dice", one, prediction, reference, label)


def iou(
    prediction: Array,
    reference: Array,
    spacing: Spacing = None,
    convention: IouConvention = "monai",
    *,
    label: int | Iterable[int] | None = None,
) -> Result:
    """Computes intersection over union (Jaccard index) of two masks.

    ``"monai"`` gives NaN where the reference is empty, ``"metricsreloaded"`` NaN where both are, ``"medpy"`` 1 there.

    Args:
        prediction: Mask or label map, bool or whole numbers [H, W] or [D, H, W]; 0 is the background.
        reference: The same of the truth.
        spacing: Not used: the volume of a cell cancels. Checked only.
        convention: Library whose definition is used.
        label: As in :func:`dice`.

    Returns:
        The index; a dictionary by label where there are several.

    Raises:
        TypeError: Maps that are not arrays of whole numbers.
        ValueError: Shapes that differ, or an unknown convention, label or spacing.

    Examples:
        >>> import numpy as np
        >>> from sslmed.metrics import iou
        >>> a, b = np.zeros((2, 8, 8), bool)
        >>> a[2:6, 2:6], b[2:6, 3:7] = True, True
        >>> iou(a, b)
        0.6
    """
    known_convention("iou", convention, IOU)

    def one(p: torch.Tensor, r: torch.Tensor, name: int | None) -> float:
        cell_size("iou", spacing, p.ndim)
        return iou_of(convention, _counts(p, r, name))

    return each_label("iou", one, prediction, reference, label)


def volume_similarity(
    prediction: Array,
    reference: Array,
    spacing: Spacing = None,
    convention: VolumeConvention = "feta",
    *,
    label: int | Iterable[int] | None = None,
) -> Result:
    """Compares the volumes of two masks, wherever they lie.

    ``"feta"`` is 1 - |Vp - Vr| / (Vp + Vr), 1 at best (Taha and Hanbury, BMC Medical Imaging 2015, and the FeTA
    challenge). ``"simpleitk"`` is 2 (Vp - Vr) / (Vp + Vr), 0 at best and negative where too little was predicted
    (LabelOverlapMeasuresImageFilter with the prediction as its source).

    Args:
        prediction: Mask or label map, bool or whole numbers [H, W] or [D, H, W]; 0 is the background.
        reference: The same of the truth.
        spacing: Not used: the volume of a cell cancels. Checked only.
        convention: Definition that is used.
        label: As in :func:`dice`.

    Returns:
        The similarity; a dictionary by label where there are several.

    Raises:
        TypeError: Maps that are not arrays of whole numbers.
        ValueError: Shapes that differ, or an unknown convention, label or spacing.

    Examples:
        >>> import numpy as np
        >>> from sslmed.metrics import volume_similarity
        >>> a, b = np.zeros((2, 8, 8), bool)
        >>> a[:2, :3], b[4:6, :5] = True, True
        >>> volume_similarity(a, b), volume_similarity(a, b, convention="simpleitk")
        (0.75, -0.5)
    """
    known_convention("volume_similarity", convention, VOLUME)

    def one(p: torch.Tensor, r: torch.Tensor, name: int | None) -> float:
        cell_size("volume_similarity", spacing, p.ndim)
        return volume_of(convention, _counts(p, r, name))

    return each_label("volume_similarity", one, prediction, reference, label)


def euler_difference(
    prediction: Array,
    reference: Array,
    spacing: Spacing = None,
    convention: Literal["feta"] = "feta",
    *,
    label: int | Iterable[int] | None = None,
    connectivity: Connectivity = "full",
) -> Result:
    """Computes the absolute difference of the Euler characteristics of two masks: topology, wherever they lie.

    The Euler characteristic is the number of components, minus tunnels, plus cavities. A mask that overlaps well may
    still be in pieces; the FeTA challenge reports this difference for each label beside the Dice coefficient.

    Args:
        prediction: Mask or label map, bool or whole numbers [H, W] or [D, H, W]; 0 is the background.
        reference: The same of the truth.
        spacing: Not used. Checked only.
        convention: "feta", the only one.
        label: As in :func:`dice`.
        connectivity: Cells that touch: ``"full"``, at faces, edges and corners, or ``"faces"`` alone.

    Returns:
        The difference, with ``prediction`` and ``reference``, the characteristics, as attributes; a dictionary by
        label where there are several.

    Raises:
        TypeError: Maps that are not arrays of whole numbers.
        ValueError: Shapes that differ, or an unknown convention, connectivity, label or spacing.

    Examples:
        >>> import numpy as np
        >>> from sslmed.metrics import euler_difference
        >>> a, b = np.zeros((2, 8, 8), bool)
        >>> a[2:7, 2:7], b[2:7, 2:7] = True, True
        >>> b[4, 4] = False
        >>> score = euler_difference(a, b)
        >>> score, score.prediction, score.reference
        (1.0, 1, 0)
    """
    known_convention("euler_difference", convention, EULER)
    choice("euler_difference", "connectivity", connectivity, get_args(Connectivity))

    def one(p: torch.Tensor, r: torch.Tensor, name: int | None) -> float:
        cell_size("euler_difference", spacing, p.ndim)
        first, second = (C.euler_characteristic(each, name, connectivity == "full") for each in (p, r))
        return Score(abs(first - second), prediction=first, reference=second)

    return each_label("euler_difference", one, prediction, reference, label)
