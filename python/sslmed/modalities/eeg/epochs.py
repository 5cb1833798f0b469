"""Spans of recordings that events name: conditions of an experiment, eyes open and closed, stages of sleep."""

from __future__ import annotations

import math
import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from sslmed import tables
from sslmed._core import C, FormatError, FormatWarning, LeftOutWarning, ValueWarning
from sslmed.bids import LeftOut
from sslmed.io import recording_store
from sslmed.modalities.base import Rows
from sslmed.modalities.eeg import index
from sslmed.modalities.eeg.sidecars import Nearest, sidecars_near

__all__ = ["Event", "epochs", "events"]

_EVENTS = "_events.tsv"


class Event(NamedTuple):
    """What happened in a recording, and when."""

    onset: float
    """s from the recording's first sample."""
    duration: float
    """s; 0 where it is not known."""
    name: str


def events(paths: Sequence[str], column: str = "trial_type") -> list[list[Event]]:
    """The events of recordings: of the nearest events.tsv of a BIDS folder, or else the annotations of the file.

    Args:
        paths: The recordings.
        column: Column of events.tsv with their names.

    Raises:
        FormatError: An events.tsv lacks a column, or has an onset that is no number.
        ReadError: A file cannot be read.

    Warns:
        FormatWarning: Annotations of a file cannot be read.
    """
    of_tables = Nearest(sidecars_near(paths, _EVENTS), _EVENTS).of_all(paths)
    wanted = list(dict.fromkeys(file for file in of_tables if file is not None))
    read = dict(zip(wanted, tables.read_many(wanted, lambda found, path: _of_table(found, path, column)), strict=True))
    alone = dict.fromkeys(path for path, file in zip(paths, of_tables, strict=True) if file is None)
    recording_store.prepare(alone)
    annotated: dict[str, list[Event]] = {}
    for path in alone:
        annotations, notes = C.recording_annotations(os.fsencode(path))
        for note in notes:
            warnings.warn(note, FormatWarning, stacklevel=4)
        annotated[path] = [Event(onset, duration, _name(text)) for onset, duration, text in annotations]
    return [annotated[path] if file is None else read[file] for path, file in zip(paths, of_tables, strict=True)]


def _name(text: str) -> str:
    """An annotation's text, without what BrainVision, and stores, put before those that people wrote."""
    return text.strip().removeprefix("Comment/").strip()


def _of_table(found: tables.Texts, path: str, column: str) -> list[Event]:
    found = found.named("onset", "duration", column)
    if missing := [name for name in ("onset", column) if name not in found.columns]:
        hint = "; epochs(column=…) names the column that says what an event is" if column in missing else ""
        raise FormatError(f"{path}: expected a column {missing[0]}, found {', '.join(found.columns)}{hint}")
    return [
        Event(_seconds(row, "onset", path, line), _seconds(row, "duration", path, line) if row.get("duration") else 0.0, name)
        for line, row in enumerate(found.rows, 2)
        if (name := (row[column] or "").strip()) and row["onset"] is not None
    ]


def _seconds(row: Mapping[str, str | None], column: str, path: str, line: int) -> float:
    try:
        value = float(row[column] or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FormatError(f"{path}: line {line}: expected a number of seconds in column {column}, found {row[column]!r}")
    return value


def epochs(rows: Rows, names: Sequence[str], *, column: str, tmin: float, tmax: float | None) -> tuple[pd.DataFrame, list[LeftOut]]:
    """The table of :meth:`sslmed.Cohort.epochs`, and what is left out.

    Raises:
        FormatError: An events.tsv is not as it must be.
        ReadError: A file cannot be read.
        ValueError: An argument is out of range, there is no such event, or events have no duration.
    """
    _check(rows, names, column, tmin, tmax)
    paths = [str(path) for path in rows.table["path"].tolist()]
    found = events(paths, column)
    counts = Counter(event.name for one in found for event in one)
    if unknown := [name for name in names if name not in counts]:
        raise ValueError(f"{rows.name}: epochs: {_unknown(unknown, counts)}")
    if not names:
        raise ValueError(f"{rows.name}: epochs: names of events are missing; there are {_listed(counts)}")
    left_out: list[LeftOut] = []
    spans = [_spans(one, set(names), tmin, tmax) for one in found]
    _refuse_points(rows.name, found, set(names), tmin, tmax)
    number = [row for row, several in enumerate(spans) for _ in several]
    table = rows.table.iloc[number].reset_index(drop=True)
    flat = [span for several in spans for span in several]
    starts, stops, kinds = ([span[i] for span in flat] for i in range(3))
    spanned: dict[str, Any] = {index.SPAN[0]: starts, index.SPAN[1]: stops, column: kinds}
    table = table.assign(**spanned)
    table = index.describe(table.drop(columns=[*index.COLUMNS, "stretches"], errors="ignore"))
    _note(left_out, "spans", "of 0 s", [paths[row] for row, one in enumerate(found) for e in one if _is_point(e, names, tmin, tmax)])
    empty = table["n_samples"] == 0
    _note(left_out, "spans", "outside of the recording, or in its gaps", table["path"][empty].tolist())
    without = [path for path, several in zip(paths, spans, strict=True) if not several]
    _note(left_out, "recordings", f"without {' or '.join(map(repr, names))}", without)
    for one in left_out:
        text = f"{rows.name}: epochs: {one.count} {one.what} {one.why}: left out, such as of {one.example}"
        warnings.warn(text, LeftOutWarning, stacklevel=4)
    _warn_of_overlap(rows.name, spans, paths)
    if empty.all():
        raise ValueError(f"{rows.name}: epochs: no span of {' or '.join(map(repr, names))} lies in its recording; check onsets, which are in s")
    return table[~empty].reset_index(drop=True), left_out


def _check(rows: Rows, names: Sequence[str], column: str, tmin: float, tmax: float | None) -> None:
    if rows.arrays is not None:
        raise ValueError(f"{rows.name}: epochs: recordings in memory have no events; cut them into one array a span")
    if index.is_spans(rows.table):
        raise ValueError(f"{rows.name}: epochs: the rows are spans already; take them of the cohort of recordings")
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise TypeError(f"{rows.name}: epochs: names must be texts, got {wrong[0]!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"{rows.name}: epochs: names={list(names)!r} must be different")
    if column in rows.table:
        raise ValueError(f"{rows.name}: epochs: column={column!r} is a column of the cohort already; rename it there")
    if not math.isfinite(tmin) or (tmax is not None and not math.isfinite(tmax)):
        raise ValueError(f"{rows.name}: epochs: tmin={tmin!r} and tmax={tmax!r} must be finite numbers of seconds")
    if tmax is not None and tmax <= tmin:
        raise ValueError(f"{rows.name}: epochs: tmax={tmax!r} s must be above tmin={tmin!r} s")


def _spans(found: Sequence[Event], names: set[str], tmin: float, tmax: float | None) -> list[tuple[float, float, str]]:
    """(start, stop, name) of the events of these names, each once, in their order."""
    ends = (e.duration if tmax is None else tmax for e in found)
    spans = [(e.onset + tmin, e.onset + end, e.name) for e, end in zip(found, ends, strict=True) if e.name in names and end > tmin]
    return list(dict.fromkeys(spans))


def _is_point(event: Event, names: Sequence[str], tmin: float, tmax: float | None) -> bool:
    return event.name in names and tmax is None and event.duration <= tmin


def _refuse_points(name: str, found: list[list[Event]], names: set[str], tmin: float, tmax: float | None) -> None:
    """ValueError where none of one name's events lasts."""
    lasting = {event.name for one in found for event in one if not _is_point(event, [event.name], tmin, tmax)}
    if points := sorted(names - lasting):
        text = f"{name}: epochs: no event {points[0]!r} lasts longer than tmin={tmin:g} s (many have no duration)"
        raise ValueError(f"{text}; say how long with tmax=, in s from the onset")


def _unknown(unknown: Sequence[str], counts: Counter[str]) -> str:
    if not counts:
        return f"no event {unknown[0]!r}: there are no events at all, in events.tsv or as annotations"
    return f"no event {unknown[0]!r}; there are {_listed(counts)}"


def _listed(counts: Counter[str]) -> str:
    shown = ", ".join(f"{name!r} ({count})" for name, count in counts.most_common(20))
    return f"{shown}{' …' if len(counts) > 20 else ''}" if counts else "none"


def _note(left_out: list[LeftOut], what: str, why: str, examples: Sequence[str]) -> None:
    if examples:
        left_out.append(LeftOut(what, why, len(examples), examples[0]))


def _warn_of_overlap(name: str, spans: list[list[tuple[float, float, str]]], paths: Sequence[str]) -> None:
    """ValueWarning where the same signal is in several spans."""
    count, first = 0, ""
    for several, path in zip(spans, paths, strict=True):
        reached, before = -math.inf, ""
        for start, stop, kind in sorted(several):
            if start < reached:
                count += 1
                first = first or f"{kind!r} from {start:g} s on, and {before!r}, of {path}"
            if stop > reached:
                reached, before = stop, kind
    if count:
        text = f"{name}: epochs: {count} spans overlap with others, such as {first}: the same signal is in several"
        warnings.warn(f"{text}; tmin= and tmax= keep them apart", ValueWarning, stacklevel=5)
