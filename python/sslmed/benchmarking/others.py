"""The tasks "segmentation" and "slides", and what can be told of people: what needs more than pooled features."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sslmed.bags import slide_level, store_features
from sslmed.benchmarking.cells import Cell, kept
from sslmed.benchmarking.columns import Seen
from sslmed.benchmarking.settings import Settings
from sslmed.benchmarking.tasks import Task
from sslmed.cohort import Cohort
from sslmed.evaluation import exposure
from sslmed.evaluation.card import Card, card
from sslmed.evaluation.statistics import bootstrap
from sslmed.segmentation import segment

__all__ = ["cards_of", "paired_means", "segmentation_task", "slides_task"]

Array = np.ndarray[Any, Any]

_FLIPS = 9999


def segmentation_task(
    cohort: Cohort,
    task: Task,
    seen: Sequence[Seen],
    settings: Settings,
    *,
    baselines: bool,
) -> tuple[dict[str, Cell], dict[str, str]]:
    """Trains a decoder on each encoder (:func:`sslmed.segment`), in the same folds over people.

    Args:
        cohort: Images or volumes with label maps.
        task: Column of the label maps, and options.
        seen: The encoders.
        settings: Settings.
        baselines: Whether rows that need no network are wanted, such as an atlas.

    Returns:
        For each row tables "scores" (protocol, metric, value, low, high, n_subjects; of each class and the mean over
        classes) and "cases" (subject, class, dice); and what the rows are: "encoder", "random", "classical", "dummy".
    """
    if not isinstance(settings.cv, Integral) and "folds" not in task.options:
        text = f"cv={settings.cv!r} is for columns and slides; give the task options={{'folds': …}}"
        raise ValueError(f"benchmark: {cohort.name}: {task.name}: {text}")
    given = {"folds": settings.cv, "seed": settings.seed, "threads": settings.threads, "decoder": "linear"}
    options: dict[str, Any] = given | {"random": False} | dict(task.options)
    first = seen[0].entry.name

    def make(one: Seen) -> Cell:
        settings.say(f"{cohort.name}: {task.name} by {one.entry.name}")
        plain = options if baselines and one.entry.name == first else options | {"baselines": ()}
        found = segment(cohort, task.target, one.entry.model, **plain)
        cell = Cell()
        for row in found.table["row"].unique():
            name, protocol = (one.entry.name, options["decoder"]) if row == found.name else (str(row), "none")
            cell.tables[f"scores of {name}"] = _scores(found.table[found.table["row"] == row], protocol)
            cell.tables[f"cases of {name}"] = found.cases.loc[found.cases["model"] == row, ["subject", "class", "dice"]]
        return cell

    described = {name: repr(value) for name, value in options.items()} | {"plain": str(baselines)}
    cells, kinds = {}, {}
    for encoder, cell in _each(cohort, task, seen, settings, make, described).items():
        for name in [key.removeprefix("scores of ") for key in cell.tables if key.startswith("scores of ")]:
            own = {"scores": cell.tables[f"scores of {name}"], "cases": cell.tables[f"cases of {name}"]}
            cells[name] = Cell({key: table.reset_index(drop=True) for key, table in own.items()})
            kinds[name] = "dummy" if name == "dummy" else "classical"
            if name == encoder:
                kinds[name] = next(str(one.entry.kind) for one in seen if one.entry.name == encoder)
    return cells, kinds


def _scores(table: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """Lines of one model of :func:`sslmed.segment`, as those of a benchmark."""
    pairs = zip(table["metric"], table["class"], strict=True)
    named = table.assign(protocol=protocol, metric=[m if c == "mean" else f"{m} of {c}" for m, c in pairs])
    return named[["protocol", "metric", "value", "low", "high", "n_subjects"]]


def slides_task(cohort: Cohort, task: Task, seen: Sequence[Seen], settings: Settings) -> dict[str, Cell]:
    """Joins the features of slides' tiles by an aggregator (:func:`sslmed.slide_level`).

    Args:
        cohort: Indexed slides.
        task: Column, and options (``aggregator``, ``event`` …).
        seen: The encoders.
        settings: Settings.

    Returns:
        For each encoder the table "scores", of which the protocols are the aggregator and "mean pooling".
    """
    given = {"cv": settings.cv, "seed": settings.seed, "threads": settings.threads}
    options: dict[str, Any] = given | dict(task.options)

    def make(one: Seen) -> Cell:
        settings.say(f"{cohort.name}: {task.name} by {one.entry.name}")
        with tempfile.TemporaryDirectory() as folder:
            place = settings.folder("tiles")
            key = settings.key("tiles", one.key, pd.DataFrame())
            tiles = Path(folder) if place is None or not key else place / key
            store = store_features(one.entry.model, cohort, tiles, **settings.reading)
            table = cohort.table.assign(slide=[Path(path).stem for path in cohort.table["path"]])
            found = slide_level(store, table, task.target, **options)
        lines = found.table.rename(columns={"row": "protocol"})
        return Cell({"scores": lines[["protocol", "metric", "value", "low", "high", "n_subjects"]]})

    return _each(cohort, task, seen, settings, make, {name: repr(value) for name, value in options.items()})


def _each(
    cohort: Cohort,
    task: Task,
    seen: Sequence[Seen],
    settings: Settings,
    make: Any,
    options: dict[str, str],
) -> dict[str, Cell]:
    """The cell of each encoder, made or read."""
    out = {}
    for one in seen:
        exposure.check(one.entry.model, cohort, task.target)
        key = settings.key(task.kind, one.key, cohort.table[["subject", task.target]], options=options)
        out[one.entry.name] = kept(settings.folder("cells"), key, partial(make, one))
    return out


def paired_means(a: pd.DataFrame, b: pd.DataFrame, *, seed: int = 0) -> tuple[float, float, float, float]:
    """Compares the Dice of two encoders person by person.

    Args:
        a: Cases of one encoder: subject, class, dice; cases without the class have no Dice.
        b: Cases of the other one.
        seed: Seed.

    Returns:
        Difference of the mean over people of the mean over their cases and classes, the ends of its 95 % interval
        (bootstrap over people), and its p value (signs of people's differences exchanged); NaN with fewer than two.

    Examples:
        >>> import pandas as pd
        >>> from sslmed.benchmarking.others import paired_means
        >>> cases = pd.DataFrame({"subject": list("abcdef"), "class": 1, "dice": [0.5, 0.6, 0.4, 0.7, 0.5, 0.6]})
        >>> round(paired_means(cases.assign(dice=cases["dice"] + 0.1), cases)[0], 3)
        0.1
    """
    means = [table.groupby("subject")["dice"].mean() for table in (a, b)]
    change = (means[0] - means[1]).dropna().to_numpy()
    if len(change) < 2:
        return (float(change.mean()) if len(change) else np.nan), np.nan, np.nan, np.nan
    low, high = bootstrap(lambda rows: float(change[rows].mean()), np.arange(len(change)), seed=seed)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(_FLIPS, len(change)))
    reached = np.abs(signs @ change) >= abs(change.sum()) - 1e-12
    return float(change.mean()), low, high, float((1 + reached.sum()) / (1 + _FLIPS))


def cards_of(cohort: Cohort, seen: Sequence[Seen], settings: Settings) -> dict[str, Card]:
    """What can be told from each encoder's features (:func:`sslmed.card`): person, and columns of the table.

    Args:
        cohort: The cohort.
        seen: The encoders; untrained twins have no card of their own, they stand in that of their encoder.
        settings: Settings.
    """
    columns = [name for name in settings.card if name in cohort.table]
    out = {}
    for one in seen:
        if one.entry.of:
            continue
        folder = settings.folder("cards")
        asked = cohort.table[["subject", *columns]]
        key = settings.key("card", one.key, asked, columns=columns, seed=settings.seed, repeats=settings.repeats)
        path = None if folder is None or not key else folder / f"{key}.json"
        if path is not None and path.exists():
            out[one.entry.name] = Card.load(path)
            continue
        settings.say(f"{cohort.name}: card of {one.entry.name}")
        how: dict[str, Any] = {"pooling": settings.pooling, "repeats": settings.repeats, "seed": settings.seed}
        made = card(one.entry.model, cohort, columns=columns, **how, **settings.reading)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.save(path.with_name(f"{key}.tmp.json")).replace(path)
        out[one.entry.name] = made
    return out
