"""The page of a benchmark: what to take away, one table, a section a task, and what the encoders know of people."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sslmed.reporting.page import Section, write_report
from sslmed.reporting.panels import label_of

if TYPE_CHECKING:
    from sslmed.benchmarking.result import BenchmarkResult

__all__ = ["findings", "sections", "write"]

_LOWER = ("mae", "brier")
_INTERVALS = (
    "Intervals are 95 %, of the procedure: people are left out in turn. p_holm is corrected over all comparisons of "
    "one protocol and score. Bands of few-shot curves are 95 % of the draws of people."
)


def write(result: BenchmarkResult, path: str | os.PathLike[str]) -> None:
    """Writes the page of a benchmark.

    Args:
        result: Result of :func:`sslmed.benchmark`.
        path: File (.html).
    """
    rows = result.encoders
    names = list(dict.fromkeys(rows["row"])) if len(rows) else []
    cohorts = list(dict.fromkeys(rows["cohort"])) if len(rows) else []
    what = f"{len(names)} encoders ({'; '.join(names)}) on {'; '.join(cohorts)}."
    notes = [what, "The best of several is the best partly by luck: read the differences.", *findings(result)]
    stamp = []
    if len(rows) and len(seen := rows[rows["seen_people"] > 0]):
        for line in seen.to_dict("records"):
            people = f"{line['seen_people']} of {line['people']} people of {line['cohort']}"
            text = "its scores there may be lower on people whom it has never seen"
            stamp.append(f"{line['row']} was pretrained on signals of {people}: {text}.")
    details = {"Settings": json.dumps(result.settings, indent=1, default=str)}
    title = "What these encoders are worth"
    write_report(path, title, sections(result), notes=notes, stamp=stamp, details=details, intervals=_INTERVALS)


def findings(result: BenchmarkResult) -> list[str]:
    """Gives a sentence for each task: the best encoder, and whether it differs significantly from the others.

    Args:
        result: Result of :func:`sslmed.benchmark`.
    """
    out = []
    for cohort, task in result.tasks():
        metric = result.metric_of(cohort, task)
        lines = result.table[(result.table["cohort"] == cohort) & (result.table["task"] == task)]
        for protocol in _shown_protocols(lines, metric):
            found = result.best(cohort, task, protocol, metric)
            encoders = found[found["kind"].isin(["encoder", "random"])]
            if not len(encoders):
                continue
            best = encoders.iloc[0]
            ends = "" if pd.isna(best["low"]) else f" (95 % interval {best['low']:.3g} to {best['high']:.3g})"
            score = f"the best {label_of(metric)} of the encoders, {best['value']:.3g}{ends}"
            said = f"{cohort}, {task}, {protocol}: {best['row']} has {score}."
            told = _told(result.comparisons, cohort, task, protocol, metric, str(best["row"]))
            out.append(" ".join(text for text in (said, told, _classical(lines, protocol, metric)) if text))
    return out


def sections(result: BenchmarkResult) -> list[Section]:
    """Makes the sections of the page of a benchmark, for pages of your own.

    Args:
        result: Result of :func:`sslmed.benchmark`.
    """
    found: list[Section] = [("One table", result.overview().reset_index(), [])]
    for cohort, task in result.tasks():
        metric = result.metric_of(cohort, task)
        figures = [result.plot(cohort, task, metric)]
        if len(result.shots) and len(_of(result.shots, cohort, task)):
            figures.append(result.plot_shots(cohort, task))
        found.append((f"{cohort}: {task}", None, figures))
        if len(result.comparisons) and len(lines := _of(result.comparisons, cohort, task)):
            shown = lines[(lines["metric"] == metric) & ~lines["protocol"].str.contains(", k=")]
            found.append((f"{cohort}: {task}, paired differences", _tidy(shown), []))
    if len(result.robustness):
        title = "Robustness index: neighbors of the same class elsewhere against those of another class here"
        found.append((title, _tidy(result.robustness, keep=True), []))
    for cohort in dict.fromkeys(c for c, _ in result.tasks()):
        figures = []
        if len(result.similarity) and (result.similarity["cohort"] == cohort).any():
            figures.append(result.plot_similarity(cohort))
        if cohort in result.maps:
            figures.append(result.plot_map(cohort))
        if figures:
            found.append((f"{cohort}: how encoders place people", None, figures))
    for (encoder, cohort), card in result.cards.items():
        found.append((f"What does it know? {encoder}, {cohort}", card.sentences, [card.plot().figure]))
    if len(result.encoders):
        found.append(("Encoders", result.encoders, []))
    if result.notes:
        found.append(("Left out", result.notes, []))
    found.append(("All scores", _tidy(result.table, keep=True), []))
    return found


def _of(table: pd.DataFrame, cohort: str, task: str) -> pd.DataFrame:
    return table[(table["cohort"] == cohort) & (table["task"] == task)]


def _shown_protocols(lines: pd.DataFrame, metric: str) -> list[str]:
    of_metric = lines[lines["metric"] == metric]["protocol"].unique()
    return [str(name) for name in of_metric if name != "none" and ", k=" not in name]


def _tidy(table: pd.DataFrame, *, keep: bool = False) -> pd.DataFrame:
    """Without what the heading says, and without columns that hold nothing."""
    left = table.drop(columns=[] if keep else ["cohort", "task"])
    return left.loc[:, left.notna().any(axis=0)]


def _classical(lines: pd.DataFrame, protocol: str, metric: str) -> str:
    """The best row without a network, where there is one."""
    plain = lines[(lines["kind"] == "classical") & (lines["metric"] == metric)]
    plain = plain[plain["protocol"].isin([protocol, "none"])]
    if not len(plain):
        return ""
    first = plain.sort_values("value", ascending=metric in _LOWER, kind="stable").iloc[0]
    return f"Without any network, {first['row']} reaches {first['value']:.3g}."


def _told(comparisons: pd.DataFrame, cohort: str, task: str, protocol: str, metric: str, best: str) -> str:
    """Rows from which the best one differs significantly, by corrected p values."""
    if not len(comparisons):
        return ""
    lines = _of(comparisons, cohort, task)
    lines = lines[(lines["protocol"] == protocol) & (lines["metric"] == metric)]
    sign = -1.0 if metric in _LOWER else 1.0
    better: list[str] = []
    alike: list[str] = []
    for line in lines.to_dict("records"):
        if best not in (line["row"], line["against"]):
            continue
        other = line["against"] if line["row"] == best else line["row"]
        ahead = sign * line["difference"] * (1 if line["row"] == best else -1) > 0
        certain = np.isfinite(line["p_holm"]) and line["p_holm"] < 0.05
        (better if certain and ahead else alike).append(str(other))
    parts = [f"It is better than: {'; '.join(better)}." if better else ""]
    parts += [f"It is not told from: {'; '.join(alike)}." if alike else ""]
    return " ".join(part for part in parts if part)
