"""From detections of validation scans to thresholds: one score a person, groups, and what is expected of an age."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sslmed.anomaly.conformal import (
    Adjustment,
    Thresholds,
    conformal_threshold,
    group_keys,
    share_threshold,
)
from sslmed.anomaly.methods import AnomalyMethod, detected
from sslmed.anomaly.scans import Detection, Scan

__all__ = ["Calibration", "Summary", "calibrate", "out_of_fold", "summary_of"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Summary:
    """Of a detection, what thresholds are made of."""

    score: float
    """Of the scan."""
    mean: float = np.nan
    """Mean score of the cells that were looked at; NaN: there is no map."""
    cells: Array | None = None
    """Scores of the cells that were looked at."""


@dataclass(frozen=True)
class Calibration:
    """Thresholds of a method."""

    scan: Thresholds
    """Of scores of scans, at the promised rate of false alarms."""
    share: Thresholds | None = None
    """Of cells: at most the promised share of a healthy scan's cells is above, in the mean."""
    any_cell: Thresholds | None = None
    """Of cells: healthy people have a cell above with at most the promised rate."""


def summary_of(found: Detection, *, keep: bool) -> Summary:
    """The summary of a detection, with its cells where ``keep``."""
    if found.cells is None or found.covered is None:
        return Summary(found.score)
    cells = found.cells[found.covered].numpy().astype(np.float32)
    return Summary(found.score, float(cells.mean(dtype=np.float64)), cells if keep else None)


def out_of_fold(method: AnomalyMethod, scans: Sequence[Scan], folds: int, seed: int) -> list[Summary]:
    """Training scans scored by fits to the other people, for what is expected of an age."""
    names = np.array([scan.subject for scan in scans])
    people = np.unique(names)
    order = np.random.Generator(np.random.Philox(key=[seed, 5])).permutation(len(people))
    part_of = dict(zip(people[order], np.arange(len(people)) % folds, strict=True))
    parts = np.array([part_of[name] for name in names])
    out: list[Summary | None] = [None] * len(scans)
    for part in range(folds):
        state = method.fit([scan for scan, mine in zip(scans, parts, strict=True) if mine != part], seed)
        for number in np.flatnonzero(parts == part):
            out[int(number)] = summary_of(detected(method, state, scans[int(number)], seed), keep=False)
    return [one for one in out if one is not None]


def calibrate(
    where: str,
    validation: pd.DataFrame,
    found: Sequence[Summary],
    *,
    rate: float,
    cell_rate: float,
    groups: Sequence[str],
    covariates: Sequence[str],
    training: pd.DataFrame,
    expected: Sequence[Summary],
) -> Calibration:
    """Thresholds of a method.

    Args:
        where: Start of messages.
        validation: Table of the validation scans.
        found: What the method says of each of them.
        rate: Promised rate of false alarms among people.
        cell_rate: Promised share of cells above a threshold.
        groups: Columns whose values have thresholds of their own.
        covariates: Columns of numbers by which scores are adjusted.
        training: Table of the training scans.
        expected: Out-of-fold summaries of the training scans; empty without covariates.

    Raises:
        ValueError: A group has too few people for the rate.
    """

    def adjusted(values: Sequence[float]) -> Adjustment:
        return Adjustment.fit(training, covariates, np.asarray(values, float)) if covariates else Adjustment()

    by_scan = adjusted([one.score for one in expected])
    scores = np.array([one.score for one in found]) - by_scan.expected(validation)
    scan = _thresholds(f"{where}: scans", validation, scores, rate, groups, by_scan)
    if any(one.cells is None for one in found):
        return Calibration(scan)
    by_mean = adjusted([one.mean for one in expected])
    lowered = by_mean.expected(validation)
    cells = [one.cells - offset for one, offset in zip(found, lowered, strict=True) if one.cells is not None]
    highest = np.array([one.max(initial=-np.inf) for one in cells])
    any_cell = _thresholds(f"{where}: any cell", validation, highest, rate, groups, by_mean)
    share: dict[Any, float] = {}
    for key, people in _by_group(validation, groups).items():
        maps = [np.concatenate([cells[row] for row in rows]) for rows in people.values()]
        share[key] = share_threshold(maps, cell_rate, _named(f"{where}: share of cells", groups, key))
    return Calibration(scan, Thresholds(tuple(groups), share, by_mean, any_cell.n), any_cell)


def _thresholds(
    where: str,
    table: pd.DataFrame,
    scores: Array,
    rate: float,
    groups: Sequence[str],
    adjustment: Adjustment,
) -> Thresholds:
    """A conformal threshold a group. A person's score is that of their highest scan."""
    limits, counts = {}, {}
    for key, people in _by_group(table, groups).items():
        highest = [float(scores[rows].max()) for rows in people.values()]
        limits[key] = conformal_threshold(highest, rate, _named(where, groups, key))
        counts[key] = len(highest)
    return Thresholds(tuple(groups), limits, adjustment, counts)


def _by_group(table: pd.DataFrame, groups: Sequence[str]) -> dict[Any, dict[str, list[int]]]:
    """Rows of each person of each group."""
    out: dict[Any, dict[str, list[int]]] = {}
    for row, (key, subject) in enumerate(zip(group_keys(table, groups), table["subject"].astype(str), strict=True)):
        out.setdefault(key, {}).setdefault(subject, []).append(row)
    return out


def _named(where: str, groups: Sequence[str], key: Any) -> str:
    told = ", ".join(f"{column}={value}" for column, value in zip(groups, key, strict=True))
    return f"{where} ({told})" if told else where
