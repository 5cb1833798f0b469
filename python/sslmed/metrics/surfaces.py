"""Distances between surfaces: Hausdorff, average distance, and surface Dice."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch

from sslmed._checks import number
from sslmed._core import Array, C
from sslmed.metrics.inputs import Result, Score, Spacing, cell_size, each_label, known_convention, ratio

__all__ = ["average_surface_distance", "hausdorff", "surface_dice"]

HausdorffConvention: TypeAlias = Literal["monai", "deepmind", "metricsreloaded", "medpy"]
AverageConvention: TypeAlias = Literal["monai", "deepmind", "metricsreloaded", "medpy"]
SurfaceDiceConvention: TypeAlias = Literal["monai", "monai_subvoxel", "deepmind", "fomo26", "metricsreloaded"]

HAUSDORFF = {
    "monai": "both empty: NaN; one empty: inf as the largest distance, and NaN as a percentile (torch.quantile of inf)",
    "deepmind": "any empty: inf",
    "metricsreloaded": "both empty: 0; one empty: NaN",
    "medpy": "any empty: raises",
}
AVERAGE = {
    "monai": "both empty: NaN; one empty: inf",
    "deepmind": "both empty: NaN; one empty: inf from the other one, NaN from it, and NaN as their mean",
    "metricsreloaded": "both empty: 0; one empty: NaN",
    "medpy": "any empty: raises",
}
SURFACE_DICE = {
    "monai": "both empty: NaN; one empty: 0",
    "monai_subvoxel": "both empty: NaN; one empty: 0",
    "deepmind": "both empty: NaN; one empty: 0",
    "fomo26": "any empty: 0, both as well",
    "metricsreloaded": "both empty: NaN; one empty: 0",
}
# Those that weight places of the surface by area take corners of cells; the others take cells.
CORNERS = ("deepmind", "fomo26", "monai_subvoxel")

Values: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"


@dataclass(frozen=True)
class Distances:
    """Distances from each place of one surface to the other surface, both ways, and the areas of the places.

    Attributes:
        there: From the prediction's surface [n], mm.
        back: From the reference's surface [m], mm.
        areas: Of the prediction's places [n], mm²; empty where places are cells.
        true_areas: Of the reference's places [m].
    """

    there: Values
    back: Values
    areas: Values
    true_areas: Values

    @property
    def empty(self) -> tuple[bool, bool]:
        """Whether the prediction and the reference are empty."""
        return self.there.size == 0, self.back.size == 0


def distances_of(prediction: torch.Tensor, reference: torch.Tensor, label: int | None, corners: bool, spacing: list[float]) -> Distances:
    """Distances between the surfaces of two masks."""
    found = C.surface_distances(prediction, reference, label, corners, spacing, torch.get_num_threads())
    there, areas, back, true_areas = (each.numpy() for each in found)
    return Distances(there, back, areas, true_areas)


def hausdorff_of(convention: str, distances: Distances, percentile: float) -> float:
    """The Hausdorff distance, or its percentile; NaN where the library raises."""
    none, nothing = distances.empty
    if convention == "deepmind":
        ways = ((distances.there, distances.areas), (distances.back, distances.true_areas))
        return max(_weighted_percentile(*way, percentile) for way in ways)
    if none and nothing:
        return 0.0 if convention == "metricsreloaded" else math.nan
    if none or nothing:
        return math.inf if convention == "monai" and percentile == 100 else math.nan
    if convention == "medpy":
        return float(np.percentile(np.hstack([distances.there, distances.back]), percentile))
    return max(float(np.percentile(way, percentile)) for way in (distances.there, distances.back))


def _weighted_percentile(distances: Values, areas: Values, percentile: float) -> float:
    if distances.size == 0:
        return math.inf
    order = np.lexsort((areas, distances))
    share = np.cumsum(areas[order]) / np.sum(areas[order])
    return float(distances[order][min(int(np.searchsorted(share, percentile / 100)), distances.size - 1)])


def average_of(convention: str, distances: Distances, symmetric: bool) -> float:
    """The average surface distance, with both directions; NaN where the library raises."""
    none, nothing = distances.empty
    there, back = distances.there, distances.back
    if convention == "deepmind":
        ways = ((there, distances.areas), (back, distances.true_areas))
        one, two = (float(np.average(d, weights=a)) if d.size else math.nan for d, a in ways)
        value = (one + two) / 2 if symmetric else one
    elif none or nothing:
        if convention == "monai":
            return math.nan if none and nothing else math.inf
        return 0.0 if convention == "metricsreloaded" and none and nothing else math.nan
    else:
        one, two = float(there.mean()), float(back.mean())
        value = float(np.concatenate([there, back]).mean()) if symmetric else one
    return Score(value, prediction_to_reference=one, reference_to_prediction=two)


def surface_dice_of(convention: str, distances: Distances, tolerance: float) -> float:
    """The share of both surfaces that is within the tolerance of the other one."""
    none, nothing = distances.empty
    if none and nothing:
        return 0.0 if convention == "fomo26" else math.nan
    if none or nothing:
        return 0.0
    there, back = distances.there, distances.back
    if convention in ("monai", "monai_subvoxel"):  # compares in single precision
        within, within_back = (d.astype(np.float32) <= np.float32(tolerance) for d in (there, back))
    else:
        within, within_back = there <= tolerance, back <= tolerance
    if convention not in CORNERS:
        return float((within.sum() + within_back.sum()) / (there.size + back.size))
    close = distances.areas[within].sum() + distances.true_areas[within_back].sum()
    return float(ratio(close, distances.areas.sum() + distances.true_areas.sum()))


def _refuse_empty(where: str, convention: str, distances: Distances) -> None:
    for name, empty in zip(("prediction", "reference"), distances.empty, strict=True):
        if empty and convention == "medpy":
            raise ValueError(f"{where}: {name} is empty, for which convention='medpy' has no value: it raises too")


def hausdorff(
    prediction: Array,
    reference: Array,
    spacing: Spacing = None,
    convention: HausdorffConvention = "monai",
    *,
    percentile: float = 95.0,
    label: int | Iterable[int] | None = None,
) -> Result:
    """Computes the Hausdorff distance between the surfaces of two masks, or a percentile of it (HD95).

    Libraries differ in three ways, by 10 mm and more for the same masks (MetricsReloaded#41, medpy#138):

    - ``"monai"`` and ``"metricsreloaded"``: surfaces are cells with a neighbor outside; the percentile of each
      direction, interpolated linearly, and then the larger one.
    - ``"medpy"``: the same cells; one percentile of the distances of both directions together.
    - ``"deepmind"``: surfaces are corners of cells, weighted by their area; the larger one of both directions.

    Args:
        prediction: Mask or label map, bool or whole numbers [H, W] or [D, H, W]; 0 is the background.
        reference: The same of the truth.
        spacing: Size of a cell along each axis, mm; None: 1.
        convention: Library whose definition is used.
        percentile: Percentile in [0, 100]; 100 for the largest distance, as MONAI's None. (MONAI's own 0 means the
            largest distance too; ours means 0.)
        label: As in :func:`sslmed.metrics.dice`.

    Returns:
        The distance, mm; a dictionary by label where there are several. A structure that was missed is infinite
        under ``"deepmind"``, and under ``"monai"`` NaN, or infinite with ``percentile=100``; ``docs/metrics.md`` has
        all empty cases.

    Raises:
        TypeError: Maps that are not arrays of whole numbers.
        ValueError: Shapes that differ, a mask that is empty under ``"medpy"``, or an unknown convention, percentile,
            label or spacing.

    Examples:
        >>> import numpy as np
        >>> from sslmed.metrics import hausdorff
        >>> a, b = np.zeros((2, 32, 32), bool)
        >>> a[4:20, 4:20], b[4:20, 4:20], b[29, 29] = True, True, True
        >>> hausdorff(a, b), round(hausdorff(a, b, percentile=100), 3)
        (0.0, 14.142)
        >>> [hausdorff(a, np.zeros_like(a), convention=name) for name in ("monai", "deepmind")]
        [nan, inf]
    """
    known_convention("hausdorff", convention, HAUSDORFF)
    number("hausdorff", "percentile", percentile, 0, 100)

    def one(p: torch.Tensor, r: torch.Tensor, name: int | None) -> float:
        distances = distances_of(p, r, name, convention in CORNERS, cell_size("hausdorff", spacing, p.ndim))
        _refuse_empty("hausdorff", convention, distances)
        return hausdorff_of(convention, distances, percentile)

    return each_label("hausdorff", one, prediction, reference, label)


def average_surface_distance(
    prediction: Array,
    reference: Array,
    spacing: Spacing = None,
    convention: AverageConvention = "monai",
    *,
    symmetric: bool = True,
    label: int | Iterable[int] | None = None,
) -> Result:
    """Computes the average distance between the surfaces of two masks (ASSD; one direction: ASD).

    ``"monai"``, ``"metricsreloaded"`` and ``"medpy"`` average the distances of all cells of both surfaces, so that the
    larger surface counts for more. ``"deepmind"`` weights by area and gives one average for each direction; this is
    their mean. MetricsReloaded's MASD is the mean of the attributes ``prediction_to_reference`` and
    ``reference_to_prediction``.

    Args:
        prediction: Mask or label map, bool or whole numbers [H, W] or [D, H, W]; 0 is the background.
        reference: The same of the truth.
        spacing: Size of a cell along each axis, mm; None: 1.
        convention: Library whose definition is used.
        symmetric: Both directions; otherwise from the prediction to the reference alone.
        label: As in :func:`sslmed.metrics.dice`.

    Returns:
        The distance, mm, with ``prediction_to_reference`` and ``reference_to_prediction`` as attributes where neither
        mask is empty; a dictionary by label where there are several.

    Raises:
        TypeError: Maps that are not arrays of whole numbers.
        ValueError: Shapes that differ, a mask that is empty under ``"medpy"``, or an unknown convention, label or
            spacing.

    Examples:
        >>> import numpy as np
        >>> from sslmed.metrics import average_surface_distance
        >>> a, b = np.zeros((2, 16, 16), bool)
        >>> a[8, 2:14], b[10, 2:14] = True, True
        >>> average_surface_distance(a, b, spacing=(0.5, 1.0))
        1.0
    """
    known_convention("average_surface_distance", convention, AVERAGE)

    def one(p: torch.Tensor, r: torch.Tensor, name: int | None) -> float:
        sizes = cell_size("average_surface_distance", spacing, p.ndim)
        distances = distances_of(p, r, name, convention in CORNERS, sizes)
        _refuse_empty("average_surface_distance", convention, distances)
        return average_of(convention, distances, symmetric)

    return each_label("average_surface_distance", one, prediction, reference, label)


def surface_dice(
    prediction: Array,
    reference: Array,
    spacing: Spacing = None,
    convention: SurfaceDiceConvention = "monai",
    *,
    tolerance: float = 1.0,
    label: int | Iterable[int] | None = None,
) -> Result:
    """Computes the surface Dice at a tolerance, also called normalized surface distance (NSD).

    The share of both surfaces that is no farther from the other surface than the tolerance (Nikolov et al.,
    arXiv 1809.04430). ``"deepmind"`` and ``"fomo26"`` weight places by area; ``"monai"`` and ``"metricsreloaded"``
    count cells at the surface; ``"monai_subvoxel"`` is MONAI with ``use_subvoxels=True``, which weights by area.

    Args:
        prediction: Mask or label map, bool or whole numbers [H, W] or [D, H, W]; 0 is the background.
        reference: The same of the truth.
        spacing: Size of a cell along each axis, mm; None: 1.
        convention: Library whose definition is used.
        tolerance: Distance that is still right, mm.
        label: As in :func:`sslmed.metrics.dice`.

    Returns:
        The share, in [0, 1]; a dictionary by label where there are several.

    Raises:
        TypeError: Maps that are not arrays of whole numbers.
        ValueError: Shapes that differ, or an unknown convention, tolerance, label or spacing.

    Examples:
        >>> import numpy as np
        >>> from sslmed.metrics import surface_dice
        >>> a, b = np.zeros((2, 16, 16), bool)
        >>> a[2:10, 2:10], b[2:10, 4:12] = True, True
        >>> round(surface_dice(a, b), 3), round(surface_dice(a, b, convention="deepmind"), 3)
        (0.571, 0.565)
    """
    known_convention("surface_dice", convention, SURFACE_DICE)
    number("surface_dice", "tolerance", tolerance, 0)

    def one(p: torch.Tensor, r: torch.Tensor, name: int | None) -> float:
        distances = distances_of(p, r, name, convention in CORNERS, cell_size("surface_dice", spacing, p.ndim))
        return surface_dice_of(convention, distances, tolerance)

    return each_label("surface_dice", one, prediction, reference, label)
