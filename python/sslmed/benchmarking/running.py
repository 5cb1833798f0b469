"""One call from encoders, cohorts and tasks to one table."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from sslmed._checks import OnError, choice, whole
from sslmed._world import own_settings
from sslmed.benchmarking.cells import Cell, digest_of, kept
from sslmed.benchmarking.columns import Classical, ColumnTask, Seen, column_task
from sslmed.benchmarking.maps import MapName, embed, need, varies
from sslmed.benchmarking.others import cards_of, paired_means, segmentation_task, slides_task
from sslmed.benchmarking.protocols import Protocol, protocols_of
from sslmed.benchmarking.result import SCORES, BenchmarkResult
from sslmed.benchmarking.scoring import COMPARED, difference_of, scores_of
from sslmed.benchmarking.settings import Settings
from sslmed.benchmarking.similarity import cka_table
from sslmed.benchmarking.tasks import Task, cohorts_of, encoders_of, entries_of, tasks_of
from sslmed.cohort import Cohort
from sslmed.encoders import EncoderLike
from sslmed.evaluation.curves import over_draws
from sslmed.evaluation.splits import CV
from sslmed.evaluation.statistics import holm_within
from sslmed.provenance import origin, overlap

__all__ = ["benchmark"]

Array = np.ndarray[Any, Any]

_Tasks = Sequence[str | Task] | Mapping[str, Sequence[str | Task]] | str | Task | None


@own_settings()
def benchmark(
    encoders: EncoderLike | Sequence[EncoderLike] | Mapping[str, EncoderLike],
    cohorts: Cohort | Sequence[Cohort] | Mapping[str, Cohort],
    tasks: _Tasks = None,
    protocols: Sequence[str] | Mapping[str, Protocol | str] = ("knn", "linear", "sweep"),
    *,
    out: str | os.PathLike[str] | None = None,
    random: bool = True,
    baselines: bool = True,
    cv: CV = 5,
    repeats: int = 10,
    pooling: str = "mean",
    shots: Sequence[int] = (1, 2, 4, 8, 16),
    shot_repeats: int = 20,
    retrieval: bool = True,
    center: str | None = "site",
    card: Sequence[str] = ("sex", "site", "age"),
    maps: MapName | None = "tsne",
    seed: int = 0,
    threads: int = 2,
    on_error: OnError = "raise",
    progress: Callable[[str], None] | None = None,
) -> BenchmarkResult:
    """Scores several encoders on several cohorts and tasks, side by side: signals, slides, images or volumes.

    Each encoder is scored on the cohorts of its modality, beside the same architecture with untrained weights, the
    classical features of the modality and a dummy. Folds are over people and the same for all rows, so that encoders
    are compared person by person. All that is chosen or fitted (k, learning rate, input, epoch, strength) is chosen or
    fitted on training people alone. Every encoder also gets few-shot curves, retrieval, a map and a card: what can be
    told from its features of who people are.

    Args:
        encoders: Encoders by name: objects, paths of an ``encoder.safetensors``, or names out of
            :func:`sslmed.nn.list_models` (untrained). A list of names or paths names itself.
        cohorts: Cohorts, by name or with names of their own.
        tasks: Columns to predict, or :class:`sslmed.benchmarking.Task`, for every cohort that has the column; or lists
            of them by cohort. None: diagnosis, age and sex.
        protocols: Names out of "knn", "linear", "sweep", "dinov2", "fomo26" and "eva"; or protocols by names of your
            own (:class:`sslmed.benchmarking.Linear`, ``Neighbors``, ``Sweep``).
        out: Folder: cells that are made are kept there, and the same call goes on where it was stopped; at the end what
            :meth:`BenchmarkResult.save` writes. Cells of other weights, files, labels or settings are made anew.
        random: Score the same architectures with untrained weights, too.
        baselines: Score the classical features of the modality, too, by a linear probe or a forest.
        cv: Folds, as in :func:`sslmed.evaluate`.
        repeats: Number of draws of the folds; protocols that train heads use the first.
        pooling: How the tokens of a sample become its features, for "knn", "linear" and what is not a protocol.
        shots: Numbers of people of each class for few-shot curves; () for none.
        shot_repeats: Draws of these people.
        retrieval: Whether the nearest recordings of other people have the same class.
        center: Column of where a recording was made, for the robustness index.
        card: Columns of the card; () for no cards.
        maps: "tsne", "umap" (needs umap-learn), or None. No score depends on them.
        seed: Seed of folds, heads, draws and maps.
        threads: Number of loader threads.
        on_error: "raise", or "skip" samples that cannot be read.
        progress: Function that gets a line of text before each piece of work.

    Returns:
        The result: ``table``, ``comparisons``, ``shots``, ``similarity``, ``cards`` and a report.

    Raises:
        TypeError: An encoder or cohort is none.
        ValueError: An argument is out of range, a column is missing, an encoder fits no cohort or has seen labels of
            scored people, or folds leak.
        ImportError: ``maps="umap"`` without umap-learn.
        FormatError: A file in ``out`` cannot be read.

    Warns:
        TransductiveWarning: An encoder was pretrained on signals of scored people.

    See Also:
        :func:`sslmed.transfer`, :func:`sslmed.card`, :func:`sslmed.segment`

    Examples:
        >>> import numpy as np, pandas as pd
        >>> import sslmed as sm
        >>> rng, y = np.random.default_rng(0), np.tile(["rest", "task"], 12)
        >>> x = rng.normal(size=(24, 2, 800)) * np.where(y == "task", 3.0, 1.0)[:, None, None]
        >>> table = pd.DataFrame({"subject": [f"s{i}" for i in range(24)], "y": y})
        >>> cohort = sm.Cohort.from_arrays(x, 100, ["Cz", "Pz"], table, name="clinic")
        >>> found = sm.benchmark("vit_tiny", cohort, "y", ["knn"], baselines=False, card=(), shots=(1, 2), repeats=2)
        >>> found.table["protocol"].unique().tolist()
        ['none', 'knn', 'knn, k=10', 'retrieval']
    """
    _check(repeats, shots, shot_repeats, card, seed, threads, on_error)
    need(maps, "benchmark")
    named, people = encoders_of(encoders), cohorts_of(cohorts)
    work = tasks_of(tasks, people)
    settings = Settings(
        protocols=protocols_of(protocols), cv=cv, repeats=repeats, pooling=pooling, shots=tuple(sorted(shots)),
        shot_repeats=shot_repeats, retrieval=retrieval, center=center, card=tuple(card), maps=maps, seed=seed,
        threads=threads, on_error=on_error, out=None if out is None else Path(out), say=progress or (lambda text: None),
    )  # fmt: skip
    found = BenchmarkResult(settings=settings.plain() | {"random": random, "baselines": baselines})
    used: set[str] = set()
    for name, cohort in people.items():
        entries = entries_of(named, cohort, random=random)
        if not entries:
            kinds = " and ".join(cohort.modalities)
            raise ValueError(f"benchmark: cohort {name!r} is of {kinds}, which no encoder is for")
        used |= {entry.of or entry.name for entry in entries}
        seen = [Seen(entry, cohort, settings) for entry in entries]
        plain = Classical(cohort, settings) if baselines else None
        _check_names([entry.name for entry in entries], () if plain is None else tuple(plain.names))
        _cohort(found, name, cohort, work[name], seen, plain, settings)
    if unused := [name for name in named if name not in used]:
        raise ValueError(f"benchmark: encoders: {unused[0]!r} is for another modality than all cohorts; leave it out")
    _corrected(found)
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        found.save(out)
    return found


def _check(repeats: int, shots: Any, shot_repeats: int, card: Any, seed: int, threads: int, on_error: str) -> None:
    """Refuses arguments that are out of range."""
    counts = {"repeats": repeats, "shot_repeats": shot_repeats, "threads": threads}
    for name, value in counts.items():
        whole("benchmark", name, value, 1)
    whole("benchmark", "seed", seed)
    choice("benchmark", "on_error", on_error, get_args(OnError))
    for name, given in (("card", card), ("shots", shots)):
        if isinstance(given, (str, int)):
            raise TypeError(f"benchmark: {name}={given!r} must be a list, such as [{given!r}]")
    for k in shots:
        whole("benchmark", "shots", k, 1)


def _check_names(rows: Sequence[str], classical: Sequence[str]) -> None:
    """Refuses encoders whose scores would stand in the row of another one."""
    for number, row in enumerate(rows):
        if row in classical or row in rows[:number]:
            text = "is the name of another row; call the encoder something else"
            raise ValueError(f"benchmark: encoders: {row!r} {text}")


def _cohort(
    found: BenchmarkResult,
    name: str,
    cohort: Cohort,
    tasks: Sequence[Task],
    seen: Sequence[Seen],
    plain: Classical | None,
    settings: Settings,
) -> None:
    """Adds all that is known of one cohort."""
    found.add("encoders", pd.DataFrame([_about(name, one, cohort) for one in seen]))
    for task in tasks:
        if task.kind == "column":
            _add_column(found, name, task, column_task(cohort, task, seen, plain, settings))
        elif task.kind == "segmentation":
            made = segmentation_task(cohort, task, seen, settings, baselines=plain is not None)
            _add_segmentation(found, name, task, *made, settings)
        else:
            cells = slides_task(cohort, task, seen, settings)
            for one in seen:
                lines = cells[one.entry.name].tables["scores"]
                _add_lines(found, name, task.name, one.entry.name, one.entry.kind, lines)
    if any(task.kind == "column" for task in tasks):
        _add_views(found, name, cohort, tasks, seen, settings)
    if settings.card:
        for encoder, card in cards_of(cohort, seen, settings).items():
            found.cards[encoder, name] = card


def _about(name: str, one: Seen, cohort: Cohort) -> dict[str, Any]:
    """What an encoder is."""
    model: Any = one.entry.model
    return {
        "cohort": name,
        "row": one.entry.name,
        "kind": one.entry.kind,
        "weights": origin(model),
        "dim": int(model.dim),
        "parameters": sum(value.numel() for value in model.parameters()),
        "seen_people": overlap(model, cohort).people,
        "people": int(cohort.table["subject"].nunique()),
    }


def _add_lines(found: BenchmarkResult, cohort: str, task: str, row: str, kind: str, lines: pd.DataFrame) -> None:
    found.add("table", lines.assign(cohort=cohort, task=task, row=row, kind=kind).reindex(columns=list(SCORES)))


def _add_column(found: BenchmarkResult, cohort: str, task: Task, made: ColumnTask) -> None:
    """Scores, few shots, retrieval, robustness and comparisons of a column."""
    found.notes += [f"{cohort}, {task.name}: {text}" for text in made.notes]
    for row, cell in made.cells.items():
        kind = made.kinds[row]
        _add_lines(found, cohort, task.name, row, kind, cell.tables["scores"])
        if "chosen" in cell.tables:
            found.add("chosen", cell.tables["chosen"].assign(cohort=cohort, task=task.name, row=row))
        if "shots" in cell.tables:
            lines = over_draws(cell.tables["shots"], ["shots", "metric"])
            found.add("shots", lines.assign(cohort=cohort, task=task.name, row=row, kind=kind))
        if "retrieval" in cell.tables:
            lines = cell.tables["retrieval"].query("row == 'features'").assign(protocol="retrieval")
            _add_lines(found, cohort, task.name, row, kind, lines)
        if "robustness" in cell.tables:
            lines = cell.tables["robustness"].assign(protocol="robustness index", metric="robustness_index")
            _add_lines(found, cohort, task.name, row, kind, lines)
            named = lines.assign(cohort=cohort, task=task.name, row=row)
            found.add("robustness", named.drop(columns=["protocol", "metric"]))
    lines_ = []
    for a, b in _pairs(made.kinds):
        for protocol in made.cells[a].tables["scores"]["protocol"].unique():
            for metric in COMPARED[made.regression]:
                one, other = (scores_of(made.cells[row], protocol, metric) for row in (a, b))
                if one is not None and other is not None:
                    difference = difference_of(made.study, one, other)
                    lines_.append((cohort, task.name, protocol, metric, a, b, *difference, "left-out people, t"))
    found.add("comparisons", _compared(lines_))


def _pairs(kinds: Mapping[str, str]) -> list[tuple[str, str]]:
    """Rows to compare: those that the caller named with each other, their own twins and the classical ones."""
    twins = {f"{row}, random": row for row, kind in kinds.items() if kind == "encoder"}
    named = [row for row, kind in kinds.items() if kind in ("encoder", "random") and row not in twins]
    classical = [row for row, kind in kinds.items() if kind == "classical"]
    out = list(itertools.combinations(named, 2))
    for row in named:
        out += [(row, twin) for twin, owner in twins.items() if owner == row and twin in kinds]
        out += [(row, other) for other in classical]
    return out


def _compared(lines: list[tuple[Any, ...]]) -> pd.DataFrame:
    columns = ["cohort", "task", "protocol", "metric", "row", "against", "difference", "low", "high", "p", "test"]
    return pd.DataFrame(lines, columns=columns)


def _add_segmentation(
    found: BenchmarkResult,
    cohort: str,
    task: Task,
    cells: Mapping[str, Cell],
    kinds: Mapping[str, str],
    settings: Settings,
) -> None:
    """Scores of each row, and Dice compared person by person."""
    for row, cell in cells.items():
        _add_lines(found, cohort, task.name, row, kinds[row], cell.tables["scores"])
    lines: list[tuple[Any, ...]] = []
    for a, b in _pairs(kinds):
        protocol = str(cells[a].tables["scores"]["protocol"].iloc[0])
        difference = paired_means(cells[a].tables["cases"], cells[b].tables["cases"], seed=settings.seed)
        lines.append((cohort, task.name, protocol, "dice", a, b, *difference, "exchanged signs of people"))
    found.add("comparisons", _compared(lines))


def _add_views(
    found: BenchmarkResult,
    name: str,
    cohort: Cohort,
    tasks: Sequence[Task],
    seen: Sequence[Seen],
    settings: Settings,
) -> None:
    """How alike encoders are, and maps of their features."""
    keys = {one.entry.name: one.key for one in seen}
    whole_key = digest_of({"features": keys, "maps": settings.maps, "seed": settings.seed, "pooling": settings.pooling})

    def make() -> Cell:
        cell = Cell()
        matrices = {one.entry.name: one.pooled for one in seen}
        if len(cohort) >= 4:
            table = cka_table(matrices)
            values = table.to_numpy()
            lines = [(a, b, values[i, j]) for i, a in enumerate(table) for j, b in enumerate(table)]
            cell.tables["similarity"] = pd.DataFrame(lines, columns=["row", "against", "cka"])
        if settings.maps is not None and len(cohort) >= 5:
            for row, x in matrices.items():
                if not varies(x):
                    cell.notes.append(f"map of {row} left out: its features of all rows are alike.")
                    continue
                settings.say(f"{name}: map of {row}")
                cell.arrays[row] = embed(x, settings.maps, seed=settings.seed)  # type: ignore[arg-type]
        return cell

    cell = kept(settings.folder("views"), "" if None in keys.values() else whole_key, make)
    found.notes += [f"{name}: {text}" for text in cell.notes]
    if "similarity" in cell.tables:
        found.add("similarity", cell.tables["similarity"].assign(cohort=name))
    if cell.arrays:
        targets = [task.target for task in tasks if task.kind == "column"]
        columns = [name for name in dict.fromkeys([*targets, settings.center, *settings.card]) if name in cohort.table]
        found.maps[name] = (dict(cell.arrays), cohort.table[["subject", *columns]].reset_index(drop=True))


def _corrected(found: BenchmarkResult) -> None:
    """Corrects p values over all comparisons of one protocol and metric; k-NN of every k is one protocol."""
    table = found.comparisons
    if len(table):
        protocols = table["protocol"].str.partition(", k=")[0]
        families = np.array([json.dumps(one) for one in zip(protocols, table["metric"], strict=True)])
        table.insert(list(table).index("p") + 1, "p_holm", holm_within(table["p"].to_numpy(float), families))
