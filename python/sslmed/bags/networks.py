"""What is predicted of units, the network of a training part, and what it says of others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sslmed.bags.fitting import Fitted, fit_bags, predict_bags
from sslmed.bags.task import AggregatorName, BagTask, BagTraining
from sslmed.bags.units import Units
from sslmed.labels import class_names, is_regression

__all__ = ["answers_of", "events_of", "outcome_of", "trained_on"]

Array = np.ndarray[Any, Any]

_PLACE = "sslmed_unit"  # column of the positions of units while a training part is split


def outcome_of(where: str, units: Units, target: str, event: str | None, regression: bool | None) -> tuple[str, Array, Array]:
    """What is predicted, its numbers [units], and the classes."""
    y = units.people.table[target].infer_objects().to_numpy()
    if event is not None:
        try:
            times = y.astype(float)
        except (TypeError, ValueError):
            raise ValueError(f"{where}: target={target!r} must hold times as numbers, found {y[0]!r}") from None
        if (bad := ~((times > 0) & np.isfinite(times))).any():
            raise ValueError(f"{where}: target={target!r} must hold positive times, found {times[int(bad.argmax())]}")
        return "survival", times, np.empty(0)
    if is_regression(y, regression, units.people.table["subject"].to_numpy()):
        return "value", y.astype(float), np.empty(0)
    classes, codes = np.unique(class_names(y), return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"{where}: target={target!r} has one value only, {str(classes[0])!r}; there is nothing to predict")
    return "classes", codes, classes


def events_of(where: str, units: Units, event: str) -> Array:
    """[units] 1 where the event was seen, 0 where the time is censored."""
    values = units.people.table[event]
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(float)
    if not np.isin(numbers, (0, 1)).all():
        raise ValueError(f"{where}: event={event!r} must hold 1 (seen) or 0 (censored), found {values.iloc[int((~np.isin(numbers, (0, 1))).argmax())]!r}")
    return numbers


def trained_on(
    units: Units,
    train: Array,
    targets: dict[str, Array],
    outcome: str,
    classes: int,
    aggregator: AggregatorName,
    how: BagTraining,
    stratify: str | None,
    seeds: tuple[int, int, int],
    threads: int,
) -> tuple[Fitted, frozenset[str]]:
    """A network of the training units, and the subjects by whom its epoch was chosen."""
    seed = int(np.random.SeedSequence(seeds).generate_state(1)[0])
    fitted_on, chosen_by = np.asarray(train), np.empty(0, int)
    if how.patience > 0:
        part = units.people.subset(train).with_columns(**{_PLACE: [int(row) for row in train]})
        inner, outer = part.split(how.validation, stratify=stratify, seed=seed)
        fitted_on, chosen_by = (side.table[_PLACE].to_numpy(int) for side in (inner, outer))
    bags, _ = units.bags(fitted_on, targets)
    checked = units.bags(chosen_by, targets)[0] if len(chosen_by) else None
    fitted = fit_bags(aggregator, bags, checked, outcome=outcome, classes=classes, options=how, seed=seed, threads=threads)
    subjects = units.people.table["subject"].to_numpy()
    return fitted, frozenset(subjects[chosen_by])


def answers_of(units: Units, task: BagTask, rows: Array, targets: dict[str, Array], threads: int) -> Array:
    """Outputs [rows, K]; with late fusion the mean over the slides of each patient."""
    bags, unit = units.bags(np.asarray(rows), targets)
    said = predict_bags(task, bags, threads=threads)
    sums = np.zeros((len(rows), said.shape[1]))
    np.add.at(sums, unit, said)
    return np.asarray(sums / np.bincount(unit, minlength=len(rows))[:, None])
