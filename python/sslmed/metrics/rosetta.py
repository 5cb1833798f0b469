"""Every metric under every convention in one table, and what a table of many cases says."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import torch

from sslmed._checks import choice, number
from sslmed._core import Array, C
from sslmed.metrics import anomaly, instances, overlap, precision, surfaces
from sslmed.metrics.inputs import Spacing, cell_size, label_map, label_maps, labels_of

__all__ = ["CONVENTIONS", "evaluate", "summarize"]

Kind: TypeAlias = Literal["labels", "instances", "scores"]

CONVENTIONS: dict[str, dict[str, str]] = {
    "dice": overlap.DICE,
    "iou": overlap.IOU,
    "volume_similarity": overlap.VOLUME,
    "euler_difference": overlap.EULER,
    "hausdorff": surfaces.HAUSDORFF,
    "average_surface_distance": surfaces.AVERAGE,
    "surface_dice": surfaces.SURFACE_DICE,
    "panoptic_quality": instances.PANOPTIC,
    "aji": instances.AJI,
    "detection_f1": {name: text for name, text in instances.DETECTION.items() if name != "hover"},
    "average_precision": precision.PRECISION,
    "aupro": anomaly.AUPRO,
}
"""The conventions of each metric, and what each one gives for empty cases."""

# Metrics of which less is better; of these two the distance from 0 counts.
_LESS = ("hausdorff", "average_surface_distance", "euler_difference")
_COLUMNS = ("label", "metric", "convention", "value", "empty", "empty_policy")

Row: TypeAlias = tuple[str, str, str, float]


def evaluate(
    prediction: Array,
    reference: Array,
    spacing: Spacing = None,
    conventions: Literal["all"] | str | Iterable[str] = "all",
    *,
    kind: Kind = "labels",
    labels: Iterable[int] | None = None,
    tolerance: float = 1.0,
    radius: float = 12.0,
    scores: Any = None,
) -> pd.DataFrame:
    """Computes every metric under every convention: what a paper's number would be had another library computed it.

    Args:
        prediction: Mask or label map, bool or whole numbers [H, W] or [D, H, W]; with ``kind="scores"`` floating
            anomaly scores.
        reference: Mask or label map of the truth, of the same shape.
        spacing: Size of a cell along each axis, mm; None: 1.
        conventions: Names of conventions, or one; "all".
        kind: What the maps are: ``"labels"`` of classes, each compared by itself (Dice, IoU, HD95 and the largest
            distance, surface Dice, average distance, volume similarity, Euler difference); ``"instances"``, one label
            an object (panoptic quality, AJI, AJI+, F1 of detections, average precision); ``"scores"`` (AUPRO).
        labels: Labels of ``kind="labels"`` that get rows, even if neither map has them. None: those that a map has,
            or 1 where there are none. Give them for tables that are to be summarized: what is in neither map would
            otherwise be missing.
        tolerance: Of the surface Dice, mm.
        radius: Of the F1 of detections, in the unit of the spacing.
        scores: Confidence of each predicted object, in the order of the labels, for the average precision.

    Returns:
        Rows with ``label`` (0 for all objects), ``metric``, ``convention``, ``value``, ``empty`` (which maps are:
        ``""``, ``"prediction"``, ``"reference"`` or ``"both"``) and ``empty_policy``, what the convention gives then.

    Raises:
        TypeError: Maps that are not arrays of whole numbers.
        ValueError: Shapes that differ, or an unknown convention, kind, label or option.

    Examples:
        >>> import numpy as np
        >>> from sslmed.metrics import evaluate
        >>> a, b = np.zeros((2, 24, 24), bool)
        >>> a[4:12, 4:12], b[4:12, 5:13], b[20, 20] = True, True, True
        >>> table = evaluate(a, b, spacing=0.5)
        >>> table[table.metric == "hausdorff_95"][["convention", "value"]].round(2).values.tolist()
        [['monai', 0.5], ['deepmind', 6.02], ['metricsreloaded', 0.5], ['medpy', 0.5]]
    """
    choice("evaluate", "kind", kind, ("labels", "instances", "scores"))
    number("evaluate", "tolerance", tolerance, 0)
    number("evaluate", "radius", radius, 0, 1e6)
    wanted = _wanted(conventions, kind)
    if kind == "scores":
        mask = label_map("evaluate", "reference", reference)
        score = [("aupro", "aupro", c, float(anomaly.aupro(prediction, reference, spacing, c))) for c in wanted["aupro"]]  # type: ignore[arg-type]
        return _table(0, score, (False, not bool(mask.any())))
    one, two = label_maps("evaluate", prediction, reference)
    size = cell_size("evaluate", spacing, one.ndim)
    if kind == "instances":
        objects = instances.objects_of(one, two)
        rows = list(_object_rows(objects, wanted, radius, np.array(size), scores))
        return _table(0, rows, instances.nothing_in(objects))
    binary = one.dtype == two.dtype == torch.bool
    names = list(labels) if labels is not None else ([1] if binary else labels_of(one, two) or [1])
    tables = []
    for name in names:
        counts = C.mask_counts(one, two, int(name))
        rows = list(_label_rows(one, two, int(name), counts, wanted, size, tolerance))
        tables.append(_table(int(name), rows, (counts[0] == 0, counts[1] == 0)))
    empty = pd.DataFrame(columns=list(_COLUMNS))
    return pd.concat(tables, ignore_index=True) if tables else empty


_METRICS = {
    "labels": (
        "dice", "iou", "volume_similarity", "euler_difference", "hausdorff", "average_surface_distance", "surface_dice"
    ),
    "instances": ("panoptic_quality", "aji", "detection_f1", "average_precision"),
    "scores": ("aupro",),
}  # fmt: skip


def _wanted(conventions: Literal["all"] | str | Iterable[str], kind: Kind) -> dict[str, list[str]]:
    """The conventions of each metric of a kind that are asked for."""
    metrics = {name: list(CONVENTIONS[name]) for name in _METRICS[kind]}
    if isinstance(conventions, str) and conventions == "all":
        return metrics
    names = [conventions] if isinstance(conventions, str) else list(conventions)
    known = sorted({name for each in metrics.values() for name in each})
    for name in names:
        choice("evaluate", "conventions", name, [*known, "all"])
    return {metric: [name for name in has if name in names] for metric, has in metrics.items()}


def _table(label: int, rows: Sequence[Row], empty: tuple[bool, bool]) -> pd.DataFrame:
    which = {(False, False): "", (True, False): "prediction", (False, True): "reference", (True, True): "both"}[empty]
    full = [(label, name, how, value, which, CONVENTIONS[metric][how]) for metric, name, how, value in rows]
    return pd.DataFrame(full, columns=list(_COLUMNS))


def _label_rows(
    one: torch.Tensor,
    two: torch.Tensor,
    label: int,
    counts: Any,
    wanted: Mapping[str, list[str]],
    size: list[float],
    tolerance: float,
) -> Iterator[Row]:
    """Rows of (metric, its name in the table, convention, value)."""
    for metric, value_of in (("dice", overlap.dice_of), ("iou", overlap.iou_of), ("volume_similarity", overlap.volume_of)):
        for how in wanted[metric]:
            yield metric, metric, how, value_of(how, tuple(counts))
    for how in wanted["euler_difference"]:
        one_euler, two_euler = (C.euler_characteristic(each, label, True) for each in (one, two))
        yield "euler_difference", "euler_difference", how, float(abs(one_euler - two_euler))
    known: dict[bool, surfaces.Distances] = {}

    def distances(how: str) -> surfaces.Distances:
        corners = how in surfaces.CORNERS
        if corners not in known:
            known[corners] = surfaces.distances_of(one, two, label, corners, size)
        return known[corners]

    for name, percentile in (("hausdorff_95", 95.0), ("hausdorff_100", 100.0)):
        for how in wanted["hausdorff"]:
            yield "hausdorff", name, how, surfaces.hausdorff_of(how, distances(how), percentile)
    for how in wanted["average_surface_distance"]:
        metric = "average_surface_distance"
        yield metric, metric, how, float(surfaces.average_of(how, distances(how), symmetric=True))
    for how in wanted["surface_dice"]:
        yield "surface_dice", "surface_dice", how, surfaces.surface_dice_of(how, distances(how), tolerance)


def _object_rows(objects: instances.Objects, wanted: Mapping[str, list[str]], radius: float, size: Any, scores: Any) -> Iterator[Row]:
    """Rows of (metric, its name in the table, convention, value)."""
    for how in wanted["panoptic_quality"]:
        score = instances.panoptic_of(how, objects, 0.5)
        for name, value in (("panoptic_quality", float(score)), ("detection_quality", score.dq), ("segmentation_quality", score.sq)):
            yield "panoptic_quality", name, how, float(value)
    for how in wanted["aji"]:
        yield "aji", "aji", how, float(instances.aji_of(objects, plus=False))
        yield "aji", "aji_plus", how, float(instances.aji_of(objects, plus=True))
    for how in wanted["detection_f1"]:
        found = instances.detection_of(how, objects.centers * size, objects.true_centers * size, radius)
        yield "detection_f1", "detection_f1", how, float(found)
    for how in wanted["average_precision"]:
        picture = precision.picture_of(objects, scores, None)
        found = precision.average_of([picture], precision.THRESHOLDS, 1000, (0.0, 1e10))
        for name, value in (("average_precision", float(found)), ("average_precision_50", found.ap50)):
            yield "average_precision", name, how, float(value)


def summarize(cases: pd.DataFrame | Mapping[Any, pd.DataFrame] | Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Summarizes tables of :func:`evaluate` over cases: never a mean alone.

    A mean over the cases that have a value hides those that have none: MONAI's reduction leaves NaN out, and a missed
    structure is NaN in its HD95, and a false alarm in its Dice. It keeps infinity, so that one missed structure makes
    a mean Hausdorff distance infinite. This table has their numbers beside every mean.

    Args:
        cases: Tables of :func:`evaluate`, by case or in a list, or one table of all with a column ``case``.

    Returns:
        A row for each ``label``, ``metric`` and ``convention``, with ``mean`` and ``median`` (over finite values),
        ``worst_decile`` (nine tenths of the cases that have a value are at least as good; infinite ones are the
        worst), ``n`` cases, ``n_finite``, ``n_nan``, ``n_inf``, ``n_zero`` (values of exactly 0), ``n_missed`` (only
        the prediction is empty), ``n_false_alarm`` (only the reference is), ``n_both_empty``, and ``empty_policy``.

    Raises:
        ValueError: No case, or tables without the columns of :func:`evaluate`.

    Examples:
        >>> import numpy as np
        >>> from sslmed.metrics import evaluate, summarize
        >>> true = np.zeros((8, 8), bool)
        >>> true[2:6, 2:6] = True
        >>> tables = [evaluate(found, true, conventions="monai") for found in (true, ~true, np.zeros_like(true))]
        >>> table = summarize(tables).set_index("metric")
        >>> table.loc[["hausdorff_95", "hausdorff_100"], ["n", "n_finite", "n_nan", "n_inf", "n_missed"]].values.tolist()
        [[3, 2, 1, 0, 1], [3, 2, 0, 1, 1]]
    """
    table = _joined(cases)
    missing = [name for name in _COLUMNS if name not in table]
    if missing or table.empty:
        raise ValueError(f"summarize: cases must have rows and the columns of evaluate, missing: {missing or 'rows'}")
    rows = []
    for (label, metric, convention), group in table.groupby(["label", "metric", "convention"], sort=False):
        values = group["value"].to_numpy(np.float64)
        finite = values[np.isfinite(values)]
        empty = group["empty"].value_counts()
        rows.append(
            {
                "label": label,
                "metric": metric,
                "convention": convention,
                "mean": float(finite.mean()) if len(finite) else math.nan,
                "median": float(np.median(finite)) if len(finite) else math.nan,
                "worst_decile": _worst_decile(str(metric), str(convention), values[~np.isnan(values)]),
                "n": len(values),
                "n_finite": len(finite),
                "n_nan": int(np.isnan(values).sum()),
                "n_inf": int(np.isinf(values).sum()),
                "n_zero": int((values == 0).sum()),
                "n_missed": int(empty.get("prediction", 0)),
                "n_false_alarm": int(empty.get("reference", 0)),
                "n_both_empty": int(empty.get("both", 0)),
                "empty_policy": group["empty_policy"].iloc[0],
            }
        )
    return pd.DataFrame(rows)


def _joined(cases: pd.DataFrame | Mapping[Any, pd.DataFrame] | Iterable[pd.DataFrame]) -> pd.DataFrame:
    if isinstance(cases, pd.DataFrame):
        return cases
    tables = list(cases.values()) if isinstance(cases, Mapping) else list(cases)
    if not tables or not all(isinstance(each, pd.DataFrame) for each in tables):
        raise ValueError("summarize: cases must be tables of evaluate, at least one")
    joined: pd.DataFrame = pd.concat(tables, ignore_index=True)
    return joined


def _worst_decile(metric: str, convention: str, values: Any) -> float:
    if len(values) == 0:
        return math.nan
    signed = metric == "volume_similarity" and convention == "simpleitk"
    if signed or metric.startswith(_LESS):
        return float(np.quantile(np.abs(values), 0.9, method="higher"))
    return float(np.quantile(values, 0.1, method="lower"))
