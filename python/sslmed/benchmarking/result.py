"""The result of :func:`sslmed.benchmark`: one table, what stands beside it, and how it is saved."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sslmed._checks import choice
from sslmed._core import FormatError, regular
from sslmed.benchmarking.cells import plain_table, table_from
from sslmed.evaluation.card import COLUMNS, Card
from sslmed.reporting import panels
from sslmed.reporting.escape import html_block, write_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MAIN", "SCORES", "BenchmarkResult"]

Array = np.ndarray[Any, Any]

SCORES = (
    "cohort", "task", "protocol", "row", "kind", "metric", "value", "low", "high", "n_subjects", "sd_folds", "sd_runs",
)  # fmt: skip
"""Columns of the table."""
MAIN = ("balanced_accuracy", "mae", "dice", "c_index")
"""The first of these that a task has is the score of overviews."""
_FORMAT = "sslmed-benchmark-1"
_TABLES = ("table", "comparisons", "shots", "similarity", "robustness", "encoders", "chosen")
_LOWER = ("mae", "brier")


@dataclass(repr=False)
class BenchmarkResult:
    """Scores of encoders, side by side (:func:`sslmed.benchmark`)."""

    table: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(SCORES)))
    """One line a cohort, task, protocol, row and metric: value, low, high (95 %), n_subjects, sd_folds (over draws
    of folds), sd_runs (over trainings of heads), kind ("encoder", "random", "classical", "dummy"). Protocols are those
    that were asked for; "knn, k=20" (a fixed k), "retrieval", "robustness index", a decoder or an aggregator; "none"
    of rows that have none, such as the dummy."""
    comparisons: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Paired differences: cohort, task, protocol, metric, row, against, difference, low, high, p, p_holm, test. Each
    encoder stands against the others, its own untrained twin, and rows that were never trained. ``p_holm`` is corrected
    over all lines of the same protocol and metric; k-NN of every k is one protocol."""
    shots: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Few-shot curves: cohort, task, row, kind, shots, metric, value (mean over draws of people), low, high (95 % of
    the draws)."""
    similarity: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Unbiased linear CKA of each two rows: cohort, row, against, cka."""
    robustness: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Robustness index: cohort, task, row, k, value, low, high, chance, balanced_accuracy, n_subjects."""
    encoders: pd.DataFrame = field(default_factory=pd.DataFrame)
    """What the rows are: cohort, row, kind, weights (where they come from), dim, parameters, seen_people (whose signals
    they were trained on), people."""
    chosen: pd.DataFrame = field(default_factory=pd.DataFrame)
    """What training people chose in each fold: cohort, task, row, protocol, draw, fold, choice."""
    cards: dict[tuple[str, str], Card] = field(default_factory=dict)
    """What each encoder's features tell of people, by encoder and cohort."""
    maps: dict[str, tuple[dict[str, Array], pd.DataFrame]] = field(default_factory=dict)
    """By cohort: places of the rows [n, 2] by encoder, and the columns to color them by [n rows]."""
    notes: list[str] = field(default_factory=list)
    """What was left out, and why."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Arguments of the call."""

    def __repr__(self) -> str:
        return f"<BenchmarkResult of {len(self.rows())} rows>\n{self.overview().to_string()}"

    def _repr_html_(self) -> str:
        return html_block("Benchmark", self.overview().reset_index(), after=f" of {len(self.rows())} rows")

    def add(self, name: str, lines: pd.DataFrame) -> None:
        """Adds lines to a table by name."""
        old = getattr(self, name)
        if len(lines):
            both = pd.concat([old, lines], ignore_index=True) if len(old) else lines.reset_index(drop=True)
            setattr(self, name, both)

    def rows(self) -> list[str]:
        """Names of the rows that were scored, in their order."""
        return [str(row) for row in self.table["row"].unique()]

    def metric_of(self, cohort: str, task: str) -> str:
        """The score of a task in overviews.

        Raises:
            ValueError: No such cohort or task.
        """
        lines = self._lines(cohort, task)
        known = [str(metric) for metric in lines["metric"].unique()]
        return next((metric for metric in MAIN if metric in known), known[0])

    def overview(self) -> pd.DataFrame:
        """One line a row and one column a cohort, task and protocol: the main score with its interval, as text."""
        parts: dict[str, dict[str, str]] = {}
        for cohort, task in self.tasks():
            metric = self.metric_of(cohort, task)
            lines = self._lines(cohort, task)
            # Rows without a protocol, such as the dummy, stand in the column of linear probes, or in the first.
            own = [name for name in lines["protocol"].unique() if name != "none" and ", k=" not in name]
            lines = lines[(lines["metric"] == metric) & ~lines["protocol"].str.contains(", k=")]
            digits = 1 if lines["value"].abs().max() >= 10 else 3
            for line in lines.to_dict("records"):
                protocol = ("linear" if "linear" in own else own[0]) if line["protocol"] == "none" else line["protocol"]
                column = f"{cohort}: {task}, {protocol} ({panels.label_of(metric)})"
                parts.setdefault(column, {})[line["row"]] = _shown(line, digits)
        table = pd.DataFrame(parts, index=pd.Index(self.rows(), name="row"))
        return table.fillna("")

    def tasks(self) -> list[tuple[str, str]]:
        """(cohort, task) in their order."""
        found = self.table[["cohort", "task"]].drop_duplicates()
        return [(str(a), str(b)) for a, b in found.itertuples(index=False)]

    def best(self, cohort: str, task: str, protocol: str, metric: str | None = None) -> pd.DataFrame:
        """The rows of one task, protocol and metric, the best first.

        Raises:
            ValueError: No such cohort, task, protocol or metric.
        """
        metric = metric or self.metric_of(cohort, task)
        lines = self._lines(cohort, task)
        for column, value in (("protocol", protocol), ("metric", metric)):
            choice("best", column, value, [str(one) for one in lines[column].unique()])
        found = lines[(lines["protocol"] == protocol) & (lines["metric"] == metric)]
        return found.sort_values("value", ascending=metric in _LOWER, kind="stable").reset_index(drop=True)

    @property
    def card(self) -> pd.DataFrame:
        """What does each encoder know: all cards in one table, with columns encoder and cohort first."""
        parts = [one.table.assign(encoder=encoder, cohort=cohort) for (encoder, cohort), one in self.cards.items()]
        columns = ["encoder", "cohort", *COLUMNS]
        return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)

    def plot(self, cohort: str | None = None, task: str | None = None, metric: str | None = None) -> Figure:
        """Draws all rows of a task with their intervals, a panel a protocol.

        Args:
            cohort: Name of the cohort; the first by default.
            task: Name of the task; the first of the cohort by default.
            metric: Score; the main one by default.

        Raises:
            ValueError: No such cohort, task or score.
        """
        known = self.tasks()
        cohort = known[0][0] if cohort is None else cohort
        task = next((t for c, t in known if c == cohort), "") if task is None else task
        metric = self.metric_of(cohort, task) if metric is None else metric
        lines = self._lines(cohort, task)
        choice("plot", "metric", metric, [str(one) for one in lines["metric"].unique()])
        lines = lines[(lines["metric"] == metric) & ~lines["protocol"].str.contains(", k=")]
        rest = lines[lines["protocol"] != "none"]
        every = [lines[lines["protocol"] == "none"].assign(protocol=name) for name in rest["protocol"].unique()]
        return panels.plot_side_by_side(pd.concat([*every, rest]) if every else lines, metric)

    def plot_shots(self, cohort: str, task: str, metric: str = "auroc") -> Figure:
        """Draws the few-shot curves of a task.

        Raises:
            ValueError: There are none of this cohort, task and score.
        """
        lines = self.shots
        if len(lines):
            lines = lines[(lines["cohort"] == cohort) & (lines["task"] == task) & (lines["metric"] == metric)]
        if not len(lines):
            raise ValueError(f"plot_shots: there are no few-shot curves of {cohort!r}, {task!r}, {metric!r}")
        return panels.plot_shots(lines, metric).figure  # type: ignore[return-value]

    def plot_similarity(self, cohort: str) -> Figure:
        """Draws how alike the encoders see a cohort (CKA).

        Raises:
            ValueError: Nothing is known of this cohort.
        """
        lines = self.similarity[self.similarity["cohort"] == cohort] if len(self.similarity) else self.similarity
        if not len(lines):
            raise ValueError(f"plot_similarity: nothing is known of cohort {cohort!r}")
        order = list(dict.fromkeys(lines["row"]))
        table = lines.pivot(index="row", columns="against", values="cka").loc[order, order]
        return panels.plot_matrix(table, "CKA (linear, unbiased)").figure  # type: ignore[return-value]

    def plot_map(self, cohort: str, columns: list[str] | pd.DataFrame | None = None) -> Figure:
        """Draws the rows of a cohort in the plane, as each encoder places them.

        Args:
            cohort: Name of the cohort.
            columns: Columns to color by: names of those that were kept, or a table [n rows] of any others; by default
                those that were kept.

        Raises:
            ValueError: There is no map, or no such column.
        """
        if cohort not in self.maps:
            known = ", ".join(self.maps) or "none"
            raise ValueError(f"plot_map: there is no map of cohort {cohort!r}; there are {known}")
        points, kept = self.maps[cohort]
        own = kept.drop(columns="subject")
        if isinstance(columns, pd.DataFrame):
            if len(columns) != len(kept):
                raise ValueError(f"plot_map: columns has {len(columns)} rows, expected {len(kept)} of the cohort")
            return panels.plot_map(points, columns.reset_index(drop=True))
        for name in columns or ():
            choice("plot_map", "columns", name, [str(column) for column in own])
        return panels.plot_map(points, own if columns is None else own[columns])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the result.

        Args:
            path: A page (.html), the table (.csv), or a folder: report.html, benchmark.json (for :meth:`load`), and a
                CSV file a table.
        """
        file = Path(path)
        if file.suffix == ".html":
            from sslmed.benchmarking.report import write

            write(self, file)
        elif file.suffix == ".csv":
            write_csv(self.table, file)
        else:
            file.mkdir(parents=True, exist_ok=True)
            for name in _TABLES:
                if len(table := getattr(self, name)):
                    write_csv(table, file / f"{name}.csv")
            if self.cards:
                write_csv(self.card, file / "card.csv")
            (file / "benchmark.json").write_text(json.dumps(self._plain(), indent=1), encoding="utf-8")
            self.save(file / "report.html")

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> BenchmarkResult:
        """Reads what :meth:`save` wrote to a folder.

        Raises:
            FormatError: The folder's benchmark.json is something else.
        """
        path = Path(folder) / "benchmark.json"
        try:
            values = json.loads(Path(regular(path)).read_text(encoding="utf-8"))
            if values["format"] != _FORMAT:
                raise KeyError(values["format"])
            tables = {name: table_from(values["tables"][name]) for name in _TABLES}
            cards = {(a, b): Card(**one | {"table": table_from(one["table"])}) for a, b, one in values["cards"]}
            maps = {}
            for name, (points, columns) in values["maps"].items():
                maps[name] = ({row: np.array(p, float) for row, p in points.items()}, table_from(columns))
            return cls(**tables, cards=cards, maps=maps, notes=values["notes"], settings=values["settings"])
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise FormatError(f"{path}: expected a benchmark that was saved, found {error!r}") from error

    def _plain(self) -> dict[str, Any]:
        cards = [(a, b, dict(vars(one)) | {"table": plain_table(one.table)}) for (a, b), one in self.cards.items()]
        maps = {
            name: ({row: np.round(p, 4).tolist() for row, p in points.items()}, plain_table(columns.astype(object)))
            for name, (points, columns) in self.maps.items()
        }
        tables = {name: plain_table(getattr(self, name)) for name in _TABLES}
        plain = {"format": _FORMAT, "tables": tables, "cards": cards, "maps": maps}
        more = {"notes": self.notes, "settings": self.settings}
        out: dict[str, Any] = json.loads(json.dumps(plain | more, default=str))
        return out

    def _lines(self, cohort: str, task: str) -> pd.DataFrame:
        found = self.table[(self.table["cohort"] == cohort) & (self.table["task"] == task)]
        if not len(found):
            known = "; ".join(f"{a}: {b}" for a, b in self.tasks())
            raise ValueError(f"benchmark: there is no task {task!r} of cohort {cohort!r}; there are {known}")
        return found


def _shown(line: Mapping[Any, Any], digits: int) -> str:
    """A score with its interval, as text."""
    text = f"{line['value']:.{digits}f}"
    return text if pd.isna(line["low"]) else f"{text} ({line['low']:.{digits}f} to {line['high']:.{digits}f})"
