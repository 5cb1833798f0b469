"""The task "column": what encoders' features tell of a column of a cohort's table."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd

from sslmed.benchmarking.cells import Cell, kept
from sslmed.benchmarking.inputs import head_inputs, inputs_of
from sslmed.benchmarking.robustness import robustness_index
from sslmed.benchmarking.scoring import classical_scores, dummy_scores, encoder_scores
from sslmed.benchmarking.settings import Settings
from sslmed.benchmarking.tasks import Entry, Task
from sslmed.cohort import Cohort
from sslmed.encoders import SavedEncoder
from sslmed.evaluation import exposure
from sslmed.evaluation.crossfit import Study
from sslmed.evaluation.curves import shot_scores
from sslmed.evaluation.feature_cache import add_cohort, key_of
from sslmed.evaluation.features import classical, encoder_features
from sslmed.evaluation.retrieval import retrieval
from sslmed.evaluation.splits import repeated
from sslmed.labels import class_names, is_regression, labeled
from sslmed.modalities import registry

__all__ = ["Classical", "ColumnTask", "Seen", "column_task"]

Array = np.ndarray[Any, Any]

_ROBUSTNESS = 1000  # draws of its bootstrap


@dataclass
class Seen:
    """An encoder's features of a cohort, computed when they are first asked for, and kept."""

    entry: Entry
    cohort: Cohort
    settings: Settings

    @cached_property
    def key(self) -> bytes | None:
        """Digest of encoder, files and rows; None of an encoder written in Python: what its methods do is not known."""
        if not isinstance(self.entry.model, SavedEncoder):
            return None
        return key_of(self.entry.model, self.cohort, self.settings.pooling)

    @cached_property
    def cell(self) -> Cell:
        """Arrays "pooled" and "input: …", [rows, D]."""
        sweeps = self.settings.sweeps.values()
        wanted = sorted({name for sweep in sweeps for name in inputs_of(self.entry.model, sweep)})
        return kept(
            self.settings.folder("features"),
            self.settings.key("features", self.key, pd.DataFrame(), inputs=wanted, on_error=self.settings.on_error),
            self._make,
        )

    @property
    def pooled(self) -> Array:
        """[rows, D]"""
        return self.cell.arrays["pooled"]

    def inputs(self, rows: Array) -> dict[str, dict[str, Array]]:
        """Features of the heads' inputs of some rows, by protocol and input."""
        model, found = self.entry.model, self.settings.sweeps
        out: dict[str, dict[str, Array]] = {}
        for protocol, sweep in found.items():
            out[protocol] = {name: self.cell.arrays[f"input: {name}"][rows] for name in inputs_of(model, sweep)}
        return out

    def _make(self) -> Cell:
        self.settings.say(f"{self.cohort.name}: features of {self.entry.name}")
        how = self.settings.reading
        pooled = encoder_features(self.entry.model, self.cohort, pooling=self.settings.pooling, **how)
        heads = head_inputs(self.entry.model, self.cohort, self.settings.sweeps.values(), **how)
        return Cell(arrays={"pooled": pooled} | {f"input: {name}": x for name, x in heads.items()})


@dataclass
class Classical:
    """Classical features of a cohort, as :class:`Seen`; those of how a recording was made are of no encoder's kind."""

    cohort: Cohort
    settings: Settings

    @cached_property
    def names(self) -> dict[str, str]:
        """Probe of each baseline of the modality by name."""
        if len(self.cohort.modalities) > 1:
            return {}
        kinds = registry.get(self.cohort.modality).baselines
        return {name: kind.probe or "linear" for name, kind in kinds.items() if not kind.acquisition}

    @cached_property
    def key(self) -> bytes | None:
        """Digest of files and rows."""
        digest = hashlib.blake2b("\0".join(self.names).encode(), digest_size=16)
        return digest.digest() if add_cohort(digest, self.cohort) else None

    @cached_property
    def cell(self) -> Cell:
        """An array [rows, …] a baseline."""
        key = self.settings.key("classical features", self.key, pd.DataFrame(), on_error=self.settings.on_error)
        return kept(self.settings.folder("features"), key, self._make)

    def _make(self) -> Cell:
        self.settings.say(f"{self.cohort.name}: {', '.join(self.names)}")
        return Cell(arrays=classical([self.cohort], list(self.names), **self.settings.reading)[0])

    def scores(self, name: str, study: Study, rows: Array) -> Cell:
        """Scores of one of them."""
        return classical_scores(study, self.cell.arrays[name][rows], self.names[name], self.settings.seed)


@dataclass
class ColumnTask:
    """A column with the cells of all rows."""

    study: Study
    regression: bool
    cells: dict[str, Cell] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    """"encoder", "random", "classical" or "dummy", by row."""
    notes: list[str] = field(default_factory=list)


def column_task(
    cohort: Cohort,
    task: Task,
    seen: Sequence[Seen],
    plain: Classical | None,
    settings: Settings,
) -> ColumnTask:
    """Scores all encoders on a column, beside the classical baselines of the modality and a dummy.

    Args:
        cohort: The cohort.
        task: The column.
        seen: Features of the encoders.
        plain: Classical features; None: no rows of them.
        settings: Settings.

    Raises:
        ValueError: The target has one value only, folds leak, or an encoder has seen labels of these people.
    """
    people, y = labeled(cohort, task.target)
    rows = cohort.table[task.target].notna().to_numpy()
    regression = is_regression(y, task.regression, people.table["subject"].to_numpy())
    names = None if regression else class_names(y)
    classes = None if names is None else np.unique(names)
    if classes is not None and len(classes) < 2:
        only = f"has one value only, {str(classes[0])!r}; there is nothing to predict"
        raise ValueError(f"{cohort.name}: target={task.target!r} {only}")
    stratify = None if regression else task.target
    folds = repeated(people, settings.cv, stratify=stratify, repeats=settings.repeats, seed=settings.seed)
    values = y.astype(float) if names is None or classes is None else np.searchsorted(classes, names)
    study = Study.of(values, people.table["subject"].to_numpy(), classes, folds)
    out = ColumnTask(study, regression, {"dummy": dummy_scores(study)}, {"dummy": "dummy"})
    columns = ["subject", task.target, *([settings.center] if settings.center in people.table else [])]
    labels = people.table[columns]
    more = {"task": task.target, "regression": task.regression, "rows": rows.tolist(), "settings": settings.plain()}
    more["folds"] = _digest_of_folds(study.repeats)
    for name in plain.names if plain is not None else ():
        assert plain is not None
        key = settings.key("classical", plain.key, labels, row=name, **more)
        out.cells[name] = kept(settings.folder("cells"), key, partial(plain.scores, name, study, rows))
        out.kinds[name] = "classical"
    for one in seen:
        exposure.check(one.entry.model, people, task.target)
        key = settings.key("column", one.key, labels, **more)
        cell = kept(settings.folder("cells"), key, partial(_cell, study, people, task, one, rows, settings))
        out.cells[one.entry.name], out.kinds[one.entry.name] = cell, one.entry.kind
        out.notes += [f"{one.entry.name}: {text}" for text in cell.notes]
    return out


def _digest_of_folds(repeats: Sequence[Sequence[tuple[Array, Array]]]) -> str:
    """Of rows themselves: how a splitter or a list of folds calls itself does not say which they are."""
    digest = hashlib.blake2b(digest_size=16)
    for folds in repeats:
        for rows in (rows for fold in folds for rows in fold):
            digest.update(f"{len(rows)}\0".encode() + np.ascontiguousarray(rows, np.int64).tobytes())
    return digest.hexdigest()


def _cell(study: Study, people: Cohort, task: Task, one: Seen, rows: Array, settings: Settings) -> Cell:
    """All scores of one encoder."""
    settings.say(f"{people.name}: {task.target} by {one.entry.name}")
    x = one.pooled[rows]
    cell = encoder_scores(study, settings.protocols, x, one.inputs(rows), settings.seed)
    if study.classes is None:
        return cell
    names = study.classes[study.y]
    subjects = people.table["subject"].to_numpy()
    _add_shots(cell, x, names, subjects, settings)
    _add_retrieval(cell, x, names, subjects, settings)
    if settings.center in people.table and settings.center != task.target:
        _add_robustness(cell, x, names, people.table, settings)
    return cell


def _add_shots(cell: Cell, x: Array, names: Array, subjects: Array, settings: Settings) -> None:
    """A learning curve over a few people of each class."""
    people = pd.DataFrame({"subject": subjects, "class": names}).drop_duplicates()
    if not settings.shots:
        return
    if people["subject"].duplicated().any():
        cell.notes.append("few shots left out: some people have recordings of two classes.")
        return
    smallest = int(people["class"].value_counts().min())
    shots = [k for k in settings.shots if k < smallest]
    if len(shots) < len(settings.shots):
        left = ", ".join(str(k) for k in settings.shots if k not in shots)
        why = f"the rarest class has {smallest} people, and some must be left to test"
        cell.notes.append(f"{left} shots left out: {why}.")
    if shots:
        how: dict[str, Any] = {"protocol": "linear", "repeats": settings.shot_repeats, "seed": settings.seed}
        cell.tables["shots"] = shot_scores({"": x}, names, subjects, people, shots, **how).drop(columns="row")


def _add_retrieval(cell: Cell, x: Array, names: Array, subjects: Array, settings: Settings) -> None:
    if not settings.retrieval:
        return
    alone = [str(c) for c in np.unique(names) if len(set(subjects[names == c])) < 2]
    if alone or not x.any(axis=1).all():
        why = f"class {alone[0]!r} is of one person" if alone else "features of a recording are zero"
        cell.notes.append(f"retrieval left out: {why}.")
        return
    cell.tables["retrieval"] = retrieval(x, names, subjects, permutations=0, seed=settings.seed)


def _add_robustness(cell: Cell, x: Array, names: Array, table: pd.DataFrame, settings: Settings) -> None:
    """The robustness index of rows whose center is known."""
    assert settings.center is not None
    known = table[settings.center].notna().to_numpy()
    sites, subjects = table[settings.center].to_numpy()[known], table["subject"].to_numpy()[known]
    if len(set(map(str, sites))) < 2 or len(set(names[known])) < 2 or not x[known].any(axis=1).all():
        return
    if int(known.sum()) - int(pd.Series(subjects).value_counts().max()) < 1:
        return
    how = {"draws": _ROBUSTNESS, "seed": settings.seed}
    cell.tables["robustness"] = robustness_index(x[known], names[known], sites, subjects, **how)
