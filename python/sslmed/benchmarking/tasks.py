"""Tasks of a benchmark, and which encoder and cohort each of them is for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from sslmed._checks import choice
from sslmed.cohort import Cohort
from sslmed.encoders import CohortEncoder, EncoderLike, resolve
from sslmed.modalities.joined import parts_of
from sslmed.nn import list_models
from sslmed.provenance import row_name
from sslmed.segmentation.baselines import BASELINES

__all__ = ["Entry", "Kind", "Task", "cohorts_of", "encoders_of", "entries_of", "tasks_of"]

Kind = Literal["column", "segmentation", "slides"]
"""What a task is: a column that is predicted from features; label maps that a decoder predicts; slides whose tiles an
aggregator joins."""

_COLUMNS = ("diagnosis", "age", "sex")


@dataclass(frozen=True)
class Task:
    """What is predicted of a cohort (:func:`sslmed.benchmark`).

    Examples:
        >>> from sslmed.benchmarking import Task
        >>> Task("diagnosis").kind
        'column'
    """

    target: str
    """Column of the cohort's table; for "segmentation" that of the label maps."""
    kind: Kind = "column"
    regression: bool | None = None
    """True to regress the target, False to classify it, None to decide by its values."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Other arguments of :func:`sslmed.segment` ("segmentation") or :func:`sslmed.slide_level` ("slides")."""

    def __post_init__(self) -> None:
        choice("Task", "kind", self.kind, get_args(Kind))
        if self.kind == "column" and self.options:
            raise ValueError(f"Task: options={dict(self.options)!r} are for kind 'segmentation' and 'slides'")

    @property
    def name(self) -> str:
        """The target, with the kind where it is not a plain column."""
        return self.target if self.kind == "column" else f"{self.target} ({self.kind})"


@dataclass(frozen=True)
class Entry:
    """One row of a benchmark: an encoder, or its architecture with untrained weights."""

    name: str
    kind: Literal["encoder", "random"]
    model: CohortEncoder
    of: str = ""
    """Encoder whose untrained twin it is."""


def cohorts_of(given: Cohort | Sequence[Cohort] | Mapping[str, Cohort]) -> dict[str, Cohort]:
    """Cohorts by name.

    Raises:
        TypeError: One is not a cohort.
        ValueError: There is none, or two have one name.
    """
    if isinstance(given, Cohort):
        given = [given]
    pairs = list(given.items()) if isinstance(given, Mapping) else [(getattr(one, "name", ""), one) for one in given]
    for name, cohort in pairs:
        if not isinstance(cohort, Cohort):
            raise TypeError(f"benchmark: cohorts: {name or cohort!r} must be a Cohort, got {type(cohort).__name__}")
    names = [str(name) for name, _ in pairs]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"benchmark: cohorts must be some of different names, got {names}; pass a mapping by name")
    return {str(name): cohort for name, cohort in pairs}


def encoders_of(given: EncoderLike | Sequence[EncoderLike] | Mapping[str, EncoderLike]) -> dict[str, EncoderLike]:
    """Encoders by name: a name of :func:`sslmed.nn.list_models`, or a file's name, is its own.

    Raises:
        TypeError, ValueError: There is none, two have one name, or an object has no name.
    """
    if isinstance(given, Mapping):
        named = {str(name): encoder for name, encoder in given.items()}
    else:
        several = [given] if isinstance(given, (str, os.PathLike, CohortEncoder)) else list(given)
        named = {}
        for number, one in enumerate(several):
            if not isinstance(one, (str, os.PathLike)):
                text = "is an object without a name: pass a mapping {name: encoder}"
                raise TypeError(f"benchmark: encoders[{number}] {text}")
            name = str(one) if one in list_models() else _stem(Path(one))
            if name in named:
                raise ValueError(f"benchmark: encoders: two are called {name!r}; pass a mapping by name")
            named[name] = one
    if not named:
        raise ValueError("benchmark: encoders must hold at least one")
    if reserved := [name for name in named if name in BASELINES or not name]:
        text = "is the name of another row; call the encoder something else"
        raise ValueError(f"benchmark: encoders: {reserved[0]!r} {text}")
    return named


def entries_of(encoders: Mapping[str, EncoderLike], cohort: Cohort, *, random: bool) -> list[Entry]:
    """The encoders that take a cohort's modality, each followed by its untrained twin where it was trained.

    Args:
        encoders: Encoders by name.
        cohort: Cohort.
        random: Whether twins are wanted.

    Raises:
        ValueError: An encoder cannot be made for the cohort.
    """
    out: list[Entry] = []
    for name, one in encoders.items():
        by_name = isinstance(one, str) and one in list_models()
        model = resolve(one, cohort) if by_name else resolve(one)
        if any(kind not in parts_of(model.preprocessing) for kind in cohort.modalities):
            continue
        untrained = row_name(model) == "random encoder"
        out.append(Entry(name, "random" if untrained else "encoder", model))
        if random and not untrained:
            out.append(Entry(f"{name}, random", "random", model.randomized(), name))
    return out


def tasks_of(
    given: Sequence[str | Task] | Mapping[str, Sequence[str | Task]] | str | Task | None,
    cohorts: Mapping[str, Cohort],
) -> dict[str, list[Task]]:
    """Tasks by cohort.

    Args:
        given: Columns or tasks, for every cohort that has the column; or the same by cohort; None: diagnosis, age and
            sex, where a cohort has them.
        cohorts: Cohorts by name.

    Raises:
        ValueError: No cohort has a column, or a cohort is left without a task.
    """
    if isinstance(given, (str, Task)):
        given = [given]
    if isinstance(given, Mapping):
        if unknown := [name for name in given if name not in cohorts]:
            raise ValueError(f"benchmark: tasks[{unknown[0]!r}] is of no cohort; there are {', '.join(cohorts)}")
        out = {name: [_task(one) for one in given.get(name, ())] for name in cohorts}
        for name, own in out.items():
            for task in own:
                if task.target not in cohorts[name].table:
                    raise ValueError(_missing(task, {name: cohorts[name]}))
    else:
        asked = [_task(one) for one in (_COLUMNS if given is None else given)]
        out = {name: [task for task in asked if _known(cohort, task)] for name, cohort in cohorts.items()}
        for task in asked if given is not None else ():
            if not any(task in own for own in out.values()):
                raise ValueError(_missing(task, cohorts))
    for name, own in out.items():
        if not own:
            raise ValueError(f"benchmark: tasks: there is none for cohort {name!r}; name a column of its table")
        if len({task.name for task in own}) < len(own):
            raise ValueError(f"benchmark: tasks: one of cohort {name!r} is listed twice")
    return out


def _task(given: str | Task) -> Task:
    if not isinstance(given, (str, Task)):
        raise TypeError(f"benchmark: tasks: expected a column or a Task, got {type(given).__name__}")
    return Task(given) if isinstance(given, str) else given


def _known(cohort: Cohort, task: Task) -> bool:
    return task.target in cohort.table and bool(cohort.table[task.target].notna().any())


def _missing(task: Task, cohorts: Mapping[str, Cohort]) -> str:
    columns = sorted({str(column) for cohort in cohorts.values() for column in cohort.table.columns})
    return f"benchmark: tasks: no cohort has values in column {task.target!r}; there are {', '.join(columns)}"


def _stem(path: Path) -> str:
    """encoder.safetensors is called by its folder, other files by themselves."""
    return path.parent.name if path.stem == "encoder" and path.parent.name else path.stem
