"""What counts once in a slide-level score, and which bags a network sees of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from sslmed.bags.fitting import Bags
from sslmed.bags.store import FeatureStore
from sslmed.cohort import Cohort

__all__ = ["Fusion", "Units", "units_of"]

Array = np.ndarray[Any, Any]
Fusion = Literal["early", "late", "none"]


@dataclass(frozen=True)
class Units:
    """Patients (or slides, with fusion="none") that are scored."""

    people: Cohort
    """One row a unit: subject, path (a name), and the columns of the table."""
    slides: list[list[str]]
    """Slides of each unit."""
    store: FeatureStore
    fusion: str

    def bags(self, rows: Array, targets: dict[str, Array]) -> tuple[Bags, Array]:
        """Bags of some units with their targets (given for all units), and the position in ``rows`` of the unit of each bag."""
        if self.fusion == "late":
            pairs = [(place, [name]) for place, row in enumerate(rows) for name in self.slides[row]]
        else:
            pairs = [(place, self.slides[row]) for place, row in enumerate(rows)]
        unit = np.array([place for place, _ in pairs], dtype=int)
        subjects = self.people.table["subject"].astype(str).to_numpy()[rows]
        known = {name: np.asarray(values)[rows][unit] for name, values in targets.items()}
        return Bags(self.store, [names for _, names in pairs], subjects[unit].tolist(), known), unit

    def means(self) -> Array:
        """Mean features [units, D]: over all tiles of a unit, or with late fusion over its slides' means."""
        out = []
        for names in self.slides:
            sums = [self.store.read(name).features.double() for name in names]
            parts = [part.mean(0).numpy() for part in sums]
            weights = np.ones(len(sums)) if self.fusion == "late" else np.array([len(part) for part in sums], dtype=float)
            out.append(np.average(parts, axis=0, weights=weights))
        return np.stack(out)


def units_of(where: str, store: FeatureStore, table: pd.DataFrame, columns: list[str], slide: str, fusion: str) -> Units:
    """Checks a table of slides against a store, and puts slides of a patient together.

    Args:
        where: Name of the function, for messages.
        store: Features.
        table: One row a slide, with ``subject``, the names of the slides and ``columns``.
        columns: Columns that a unit must have one value of; rows without a value of any are left out.
        slide: Column of the names.
        fusion: "early" or "late": a unit is a patient; "none": a slide.

    Raises:
        TypeError: ``table`` is not a table.
        ValueError: A column or a slide is missing, a slide is listed twice, or slides of a patient differ in a column.
    """
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"{where}: table must be a pandas DataFrame with a row a slide, got {type(table).__name__}")
    for column in ("subject", slide, *columns):
        if column not in table:
            raise ValueError(f"{where}: table needs a column {column!r}, found {', '.join(map(str, table.columns))}")
    known = table[table[columns].notna().all(axis=1)].reset_index(drop=True)
    if not len(known):
        raise ValueError(f"{where}: no row of the table has a value of {' and '.join(map(repr, columns))}")
    names = known[slide].astype(str)
    if names.duplicated().any():
        raise ValueError(f"{where}: slide {names[names.duplicated()].iloc[0]!r} is listed twice in column {slide!r}")
    there = set(store.names())
    if missing := [name for name in names if name not in there]:
        raise ValueError(f"{where}: {len(missing)} of {len(names)} slides have no features in {os.fspath(store.folder)}, such as {missing[0]!r}")
    groups = [[i] for i in range(len(known))] if fusion == "none" else [list(rows) for _, rows in known.groupby("subject", sort=False).indices.items()]
    for rows in groups:
        for column in columns:
            if known[column].iloc[rows].nunique() > 1:
                subject = known["subject"].iloc[rows[0]]
                raise ValueError(f"{where}: slides of subject {subject!r} differ in {column!r}; score slides by fusion='none', or correct the table")
    first = known.iloc[[rows[0] for rows in groups]].reset_index(drop=True)
    slides = [[names.iloc[i] for i in rows] for rows in groups]
    made = first.assign(path=[", ".join(own) for own in slides], subject=first["subject"].astype(str)).drop(columns="modality", errors="ignore")
    return Units(Cohort(made, "slides", [()] * len(made)), slides, store, fusion)
