"""BIDS folders as tables: files by the ending of their names, and participants.tsv."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sslmed import tables
from sslmed._core import FormatError, ReadError, ValueWarning

__all__ = ["is_bids", "read"]

_COLUMNS = (("session", "ses"), ("task", "task"), ("run", "run"))


def is_bids(root: str | os.PathLike[str], endings: Sequence[str]) -> bool:
    """Whether a folder has a participants.tsv, or a file with one of these endings."""
    return (Path(root) / "participants.tsv").exists() or any(path.name.lower().endswith(tuple(endings)) for path in Path(root).rglob("*"))


def read(root: str | os.PathLike[str], endings: Mapping[str, Sequence[str]], task: str | None = None) -> pd.DataFrame:
    """The files of a BIDS folder, one row each: ``path``, ``subject``, ``modality``, session, task, run, and the columns of participants.tsv.

    Args:
        root: The folder that holds participants.tsv.
        endings: Endings of file names by modality.
        task: Only files of this task.

    Raises:
        FormatError: There is no such file, or a subject that participants.tsv does not have.
        ReadError: The folder does not exist.

    Warns:
        ValueWarning: participants.tsv has rows for sessions of a person, but none for one of the folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise ReadError(f"{root}: no such folder")
    known = {ending: modality for modality, several in endings.items() for ending in several}
    rows = []
    for path in sorted(root.rglob("*_*")):
        modality = next((known[ending] for ending in known if path.name.lower().endswith(ending)), None)
        if modality is None or not path.is_file():
            continue
        entities = dict(re.findall(r"(?:^|_)([a-zA-Z]+)-([a-zA-Z0-9+]+)", path.stem))
        if "sub" not in entities:
            raise FormatError(f"{path}: expected a BIDS name that starts with sub-…, found {path.name!r}; Cohort.from_folder opens other folders")
        if task is None or entities.get("task") == task:
            row = {"path": str(path), "subject": "sub-" + entities["sub"]}
            rows.append(row | {column: entities[short] for column, short in _COLUMNS if short in entities} | {"modality": modality})
    if not rows:
        wanted = " or ".join(f"*{ending}" for ending in known)
        raise FormatError(f"{root}: expected {wanted} files{f' of task {task}' if task else ''}, found none")
    return _with_participants(pd.DataFrame(rows), root / "participants.tsv")


def _with_participants(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The table with the columns of participants.tsv, whose rows are people, or sessions where it has such a column."""
    if not path.exists():
        return table
    participants = tables.read_table(path, "\t")
    if "participant_id" not in participants:
        raise FormatError(f"{path}: expected a column participant_id, found {list(participants.columns)}")
    names = participants["participant_id"].astype(str).tolist()
    column = next((c for c in ("session", "session_id") if c in participants and "session" in table), None)
    sessions = [""] * len(names) if column is None else _sessions(participants[column])
    at = {key: row for row, key in enumerate(zip(names, sessions, strict=True))}
    if len(at) < len(names):
        raise FormatError(f"{path}: expected one row a participant{' and session' if column else ''}, found some twice")
    of_person: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        of_person.setdefault(name, []).append(row)
    if unknown := sorted(set(table["subject"]) - set(of_person)):
        raise FormatError(f"{path}: expected a row for every subject, found none for {', '.join(unknown[:5])}")
    rows = []
    lacking: list[tuple[str, str]] = []
    own = _sessions(table["session"]) if column else [""] * len(table)
    for subject, session in zip(table["subject"], own, strict=True):
        # A row without a session is for all of them, and so is a person's only row. Of other sessions nothing is known.
        only = of_person[subject][0] if len(of_person[subject]) == 1 else -1
        rows.append(at.get((subject, session), at.get((subject, ""), only)))
        if rows[-1] < 0:
            lacking.append((subject, session))
    if lacking:
        person, session = lacking[0]
        there = ", ".join(repr(sessions[row]) for row in of_person[person][:5])
        counts = f"{len(set(lacking))} sessions of {len({who for who, _ in lacking})} people have no row ({len(lacking)} of {len(table)} files)"
        text = f"{path}: {counts}: nothing is known of them, such as {person} in session {session!r}, who has rows for {there}"
        warnings.warn(text, ValueWarning, stacklevel=4)
    extra = participants[[c for c in participants.columns if c not in (*table.columns, "participant_id", column)]]
    known = extra.iloc[rows].reset_index(drop=True)
    return pd.concat([table, known.where(pd.Series(rows) >= 0) if -1 in rows else known], axis=1)


def _sessions(column: pd.Series[Any]) -> list[str]:
    """Labels of sessions as file names have them, without ``ses-``; empty texts where they are missing."""
    texts = [f"{value:g}" if isinstance(value, float) else str(value) for value in column]
    return ["" if missing else text.removeprefix("ses-") for text, missing in zip(texts, column.isna(), strict=True)]
