"""Scores of anomaly detection: of scans, of cells, of lesions, with intervals over people."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import beta

from sslmed._core import C
from sslmed.metrics import aupro

__all__ = ["Areas", "Case", "areas", "clopper_pearson", "lesions_of", "table_of"]

Array = np.ndarray[Any, Any]
_RESAMPLES = 1000
_LEAST = 5  # people that a bootstrap interval is given of
_BINS = 2000
_RANKS = 1000  # scores of lesions that have a bin of their own

COLUMNS = ["row", "metric", "threshold", "value", "low", "high", "n_subjects", "n", "note"]


@dataclass(frozen=True)
class Areas:
    """Areas under curves, and the best Dice."""

    auroc: float
    """Area under the ROC curve."""
    auprc: float
    """Average precision."""
    best_dice: float
    """Largest Dice over all thresholds."""


def areas(scores: Any, truth: Any, weights: Any = None) -> Areas:
    """AUROC, average precision (as scikit-learn's) and the best Dice, by one sort; equal scores count together.

    Args:
        scores: [n] finite numbers.
        truth: [n] bool.
        weights: [n] of at least 0; None: 1.

    Returns:
        NaN where there is one class alone.

    Examples:
        >>> from sslmed.anomaly.scoring import areas
        >>> areas([0.1, 0.4, 0.35, 0.8], [False, False, True, True]).auroc
        0.75
    """
    values: Array = np.asarray(scores).ravel()
    positive: Array = np.asarray(truth, bool).ravel()
    weight = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64).ravel()
    order = np.argsort(-values, kind="stable")
    last = np.append(np.flatnonzero(np.diff(values[order]) != 0), len(values) - 1) if len(values) else np.zeros(0, int)
    weighted = weight[order]
    hits = np.cumsum(weighted * positive[order])[last]
    alarms = np.cumsum(weighted)[last]
    return _areas(hits, alarms - hits)


def _areas(hits: Array, false: Array) -> Areas:
    """Of true and false positives at falling thresholds, [..., thresholds], of one curve."""
    if len(hits) == 0 or hits[-1] <= 0 or false[-1] <= 0:
        return Areas(np.nan, np.nan, np.nan)
    recall, fall_out = np.append(0.0, hits) / hits[-1], np.append(0.0, false) / false[-1]
    auroc = float(np.sum(np.diff(fall_out) * (recall[1:] + recall[:-1]) / 2))
    alarms = hits + false
    precision = np.divide(hits, alarms, out=np.zeros_like(hits), where=alarms > 0)
    return Areas(auroc, float(np.sum(np.diff(recall) * precision)), float((2 * hits / (alarms + hits[-1])).max()))


@dataclass
class Case:
    """What a tested scan was given, on the grid of its file."""

    subject: str
    anomalous: bool
    score: float
    threshold: float
    scores: Array | None = None
    """[spatial…] float32 scores of cells; None: there is no map."""
    looked: Array | None = None
    """[spatial…] bool: cells that count, those that were looked at and those of lesions."""
    truth: Array | None = None
    """[spatial…] bool: lesions; None: there is no label map."""
    spacing: tuple[float, ...] | None = None
    """mm of a cell along each axis; None where it is not known."""

    @property
    def alarm(self) -> bool:
        """Whether the score is above the threshold."""
        return bool(self.score > self.threshold)


def lesions_of(scan: Case, limit: float, name: str) -> pd.DataFrame:
    """A line a lesion (region of the truth whose cells touch at faces, edges or corners): its size in mm³ (cells
    where the spacing is not known), and whether a cell of it is above a threshold."""
    assert scan.scores is not None
    assert scan.truth is not None
    numbers = C.connected_components(torch.from_numpy(scan.truth.astype(np.int32)), 3).numpy()
    sizes = np.bincount(numbers.ravel(), minlength=1)[1:]
    peaks = np.zeros(len(sizes) + 1, np.float64)
    np.maximum.at(peaks, numbers.ravel(), scan.scores.ravel())
    cell = float(np.prod(scan.spacing)) if scan.spacing is not None else 1.0
    return pd.DataFrame({"subject": scan.subject, "threshold": name, "size": sizes * cell, "found": peaks[1:] > limit})


def false_alarms(scan: Case, limit: float) -> int:
    """Number of regions above a threshold of which no cell is of a lesion."""
    assert scan.scores is not None
    assert scan.looked is not None
    above = (scan.scores > limit) & scan.looked
    numbers = C.connected_components(torch.from_numpy(above.astype(np.int32)), 3).numpy()
    hit = np.unique(numbers[scan.truth]) if scan.truth is not None else np.zeros(0, np.int64)
    return int(numbers.max(initial=0)) - int((hit > 0).sum())


def clopper_pearson(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of a proportion."""
    if n == 0:
        return np.nan, np.nan
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, n - hits + 1))
    return low, 1.0 if hits == n else float(beta.ppf(1 - tail, hits + 1, n - hits))


def table_of(
    name: str,
    tested: Sequence[Case],
    limits: dict[str, float | Array],
    sizes: Sequence[float],
    seed: int,
) -> pd.DataFrame:
    """The table of a method.

    Args:
        name: Its row.
        tested: What each tested scan was given.
        limits: For each kind of threshold of cells, "share" and "any cell", that of each scan.
        sizes: Limits in mm³ between groups of lesions.
        seed: Seed of the bootstrap over people.
    """
    lines = _of_scans(tested, seed)
    if any(scan.scores is not None for scan in tested):
        lines += _of_cells(tested, seed)
        for kind, limit in limits.items():
            each = np.broadcast_to(np.asarray(limit, float), len(tested))
            lines += _at_threshold(tested, kind, each, seed) + _of_lesions(tested, kind, each, sizes, seed)
    return pd.DataFrame([{"row": name} | line for line in lines], columns=COLUMNS)


def _line(
    metric: str,
    value: float,
    low: float,
    high: float,
    people: int,
    n: int,
    threshold: str = "",
    note: str = "",
) -> dict[str, Any]:
    return dict(zip(COLUMNS[1:], (metric, threshold, value, low, high, people, n, note), strict=True))


def _draws(groups: Array, seed: int) -> Array:
    """Counts [resamples, people] of a bootstrap over people, drawn separately from the anomalous and the healthy ones."""
    draw = np.random.default_rng(seed)
    out = np.zeros((_RESAMPLES, len(groups)))
    for group in np.unique(groups):
        mine = np.flatnonzero(groups == group)
        out[:, mine] = draw.multinomial(len(mine), np.full(len(mine), 1 / len(mine)), size=_RESAMPLES)
    return out


def _interval(values: Sequence[float] | Array, people: int) -> tuple[float, float]:
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    if people < _LEAST or len(known) == 0:
        return np.nan, np.nan
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def _people(tested: Sequence[Case]) -> tuple[Array, Array]:
    """[scans] number of each scan's person, and [people] whether a scan of theirs is anomalous."""
    _, person = np.unique([scan.subject for scan in tested], return_inverse=True)
    sick = np.zeros(int(person.max()) + 1, bool)
    np.logical_or.at(sick, person, [scan.anomalous for scan in tested])
    return person, sick


def _of_scans(tested: Sequence[Case], seed: int) -> list[dict[str, Any]]:
    person, sick = _people(tested)
    scores, truth = np.array([scan.score for scan in tested]), np.array([scan.anomalous for scan in tested])
    found = areas(scores, truth)
    times = _draws(sick, seed)
    drawn = [areas(scores, truth, row[person]) for row in times] if 0 < truth.sum() < len(truth) else []
    least = int(min(sick.sum(), (~sick).sum()))
    lines = []
    for metric, value, values in (
        ("AUROC of scans", found.auroc, [one.auroc for one in drawn]),
        ("AUPRC of scans", found.auprc, [one.auprc for one in drawn]),
    ):
        low, high = _interval(values, least)
        lines.append(_line(metric, value, low, high, len(sick), len(tested)))
    alarm = np.zeros(len(sick), bool)
    np.logical_or.at(alarm, person, [scan.alarm for scan in tested])
    for metric, group in (("false-alarm rate", ~sick), ("sensitivity", sick)):
        hits, n = int(alarm[group].sum()), int(group.sum())
        low, high = clopper_pearson(hits, n)
        value = hits / n if n else np.nan
        note = "people with an alarm in any scan; exact binomial interval"
        lines.append(_line(metric, value, low, high, n, n, "scan", note))
    return lines


def _of_cells(tested: Sequence[Case], seed: int) -> list[dict[str, Any]]:
    """Areas over the cells of all scans together."""
    scans = [scan for scan in tested if scan.truth is not None]
    positives = sum(int(scan.truth.sum()) for scan in scans if scan.truth is not None)
    if not scans or positives == 0:
        return []
    parts = [_counted(scan) for scan in scans]
    scores, truth = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    found = areas(scores, truth)
    person, sick = _people(scans)
    edges = _edges(scores, scores[truth])
    counts = np.zeros((2, len(sick), len(edges) + 1))
    for number, (values, mask) in zip(person, parts, strict=True):
        bins = np.searchsorted(edges, values, side="right")
        for kind, mine in ((0, mask), (1, ~mask)):
            counts[kind, number] += np.bincount(bins[mine], minlength=len(edges) + 1)
    falling = counts[:, :, ::-1]
    drawn = [_areas(np.cumsum(row @ falling[0]), np.cumsum(row @ falling[1])) for row in _draws(sick, seed)]
    n_sick, lines = int(sick.sum()), []
    bound = "upper bound: the threshold is chosen on the tested scans"
    for metric, value, resampled, kind_of, note in (
        ("AUROC of cells", found.auroc, [one.auroc for one in drawn], "", ""),
        ("AUPRC of cells", found.auprc, [one.auprc for one in drawn], "", f"chance: {truth.mean():.2g}"),
        ("best Dice", found.best_dice, [one.best_dice for one in drawn], "best", bound),
    ):
        low, high = _interval(resampled, n_sick)
        lines.append(_line(metric, value, low, high, len(sick), len(scans), kind_of, note))
    boxes = [_boxed(scan) for scan in scans]
    pro = aupro([box[0] for box in boxes], [box[1] for box in boxes], convention="mvtec")
    note = "up to a false positive rate of .3, over the box around what was looked at"
    return [*lines, _line("AUPRO", float(pro), np.nan, np.nan, len(sick), len(scans), "", note)]


def _edges(scores: Array, lesions: Array) -> Array:
    """Lower ends of bins that curves are drawn by. Cells of lesions may be fewer than a bin of equal shares has, so
    that their scores have bins of their own: with up to ``_RANKS`` different ones, areas of bins are those of cells."""
    shares = np.quantile(scores[:: max(1, len(scores) // 1_000_000)], np.linspace(0, 1, _BINS + 1)[1:-1])
    ranks = np.unique(lesions)
    if len(ranks) > _RANKS:
        ranks = np.unique(np.quantile(lesions, np.linspace(0, 1, _RANKS), method="nearest"))
    return np.unique(np.concatenate([shares, ranks, np.nextafter(ranks, ranks.dtype.type(np.inf))]))


def _counted(scan: Case) -> tuple[Array, Array]:
    """Scores and truth of the cells that count."""
    assert scan.scores is not None
    assert scan.looked is not None
    assert scan.truth is not None
    return scan.scores[scan.looked], scan.truth[scan.looked]


def _boxed(scan: Case) -> tuple[Array, Array]:
    """Scores and truth in the box around the cells that count."""
    assert scan.scores is not None
    assert scan.looked is not None
    assert scan.truth is not None
    box = []
    for axis in range(scan.looked.ndim):
        there = np.flatnonzero(scan.looked.any(axis=tuple(a for a in range(scan.looked.ndim) if a != axis)))
        box.append(slice(int(there[0]), int(there[-1]) + 1) if len(there) else slice(0, 0))
    return scan.scores[tuple(box)], scan.truth[tuple(box)]


def _mean_over_people(values: Sequence[float], people: Sequence[str], seed: int) -> tuple[float, float, float, int]:
    """Mean over people of the means over their scans, its interval, and their number."""
    table = pd.DataFrame({"subject": people, "value": values}).groupby("subject")["value"].mean().to_numpy(float)
    if len(table) == 0:
        return np.nan, np.nan, np.nan, 0
    drawn = _draws(np.zeros(len(table)), seed) @ table / len(table)
    return float(table.mean()), *_interval(drawn, len(table)), len(table)


def _at_threshold(tested: Sequence[Case], kind: str, limits: Array, seed: int) -> list[dict[str, Any]]:
    """Dice, shares of cells and false alarms at a promised threshold."""
    lines = []
    mapped = [(scan, limit) for scan, limit in zip(tested, limits, strict=True) if scan.scores is not None]
    sick = [(scan, limit) for scan, limit in mapped if scan.anomalous and scan.truth is not None]
    healthy = [(scan, limit) for scan, limit in mapped if not scan.anomalous]
    measures: list[tuple[str, list[tuple[Case, float]], Callable[[Case, float], float], str]] = [
        ("Dice", sick, _dice, "mean over anomalous people"),
        ("share of cells above, healthy", healthy, _share, ""),
        ("scans with a cell above, healthy", healthy, lambda scan, limit: float(_share(scan, limit) > 0), ""),
        ("false alarms a scan, healthy", healthy, false_alarms, "regions above the threshold"),
        ("false alarms a scan, anomalous", sick, false_alarms, "regions above the threshold that touch no lesion"),
    ]
    for metric, group, measure, note in measures:
        if group:
            values = [float(measure(scan, limit)) for scan, limit in group]
            value, low, high, people = _mean_over_people(values, [scan.subject for scan, _ in group], seed)
            lines.append(_line(metric, value, low, high, people, len(group), kind, note))
    return lines


def _dice(scan: Case, limit: float) -> float:
    scores, truth = _counted(scan)
    above = scores > limit
    total = int(above.sum()) + int(truth.sum())
    return 2 * int((above & truth).sum()) / total if total else np.nan


def _share(scan: Case, limit: float) -> float:
    assert scan.scores is not None
    assert scan.looked is not None
    return float((scan.scores[scan.looked] > limit).mean())


def _of_lesions(
    tested: Sequence[Case],
    kind: str,
    limits: Array,
    sizes: Sequence[float],
    seed: int,
) -> list[dict[str, Any]]:
    """Share of lesions that are found, of all and by size."""
    parts = [
        lesions_of(scan, float(limit), kind)
        for scan, limit in zip(tested, limits, strict=True)
        if scan.scores is not None and scan.truth is not None and scan.anomalous
    ]
    if not parts:
        return []
    lesions = pd.concat(parts, ignore_index=True)
    unit = "mm³" if all(scan.spacing is not None for scan in tested) else "cells"
    edges = [0.0, *map(float, sizes), np.inf]
    groups = [("lesion sensitivity", lesions)]
    for low, high in itertools.pairwise(edges):
        label = f"{low:g} to {high:g}" if np.isfinite(high) else f"from {low:g}"
        groups.append(
            (f"lesion sensitivity, {label} {unit}", lesions[(lesions["size"] >= low) & (lesions["size"] < high)]),
        )
    lines = []
    for metric, part in groups:
        if len(part):
            people = part.groupby("subject")["found"].agg(["sum", "count"]).to_numpy(float)
            drawn = _draws(np.zeros(len(people)), seed) @ people
            low, high = _interval(drawn[:, 0] / drawn[:, 1], len(people))
            note = "a lesion is found if a cell of it is above the threshold"
            lines.append(_line(metric, float(part["found"].mean()), low, high, len(people), len(part), kind, note))
    return lines
