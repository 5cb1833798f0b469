"""BIDS folders as tables: files by the ending of their names, and participants.tsv."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from sslmed import tables
from sslmed._core import FormatError, ReadError

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
            raise FormatError(f"{path}: expected a BIDS name that starts with sub-…, found {path.name!r}")
        if task is None or entities.get("task") == task:
            row = {"path": str(path), "subject": "sub-" + entities["sub"]}
            rows.append(row | {column: entities[short] for column, short in _COLUMNS if short in entities} | {"modality": modality})
    if not rows:
        wanted = " or ".join(f"*{ending}" for ending in known)
        raise FormatError(f"{root}: expected {wanted} files{f' of task {task}' if task else ''}, found none")
    return _with_participants(pd.DataFrame(rows), root / "participants.tsv")


def _with_participants(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    if not path.exists():
        return table
    participants = tables.read_table(path, "\t")
    if "participant_id" not in participants:
        raise FormatError(f"{path}: expected a column participant_id, found {list(participants.columns)}")
    named = next((column for column in ("session", "session_id") if column in participants), None)
    if named is not None and "session" in table and participants["participant_id"].duplicated().any():
        # A row a session, or for people without sessions a row alone.
        participants = participants.assign(session=participants[named].astype(object).map(lambda one: re.sub("^ses-", "", str(one)), na_action="ignore"))
        keys = ["participant_id", "session"]
    else:
        keys = ["participant_id"]
    if participants[keys].duplicated().any():
        raise FormatError(f"{path}: expected one row a participant{' and session' if len(keys) > 1 else ''}, found some twice")
    unknown = sorted(set(table["subject"]) - set(participants["participant_id"].astype(str)))
    if unknown:
        raise FormatError(f"{path}: expected a row for every subject, found none for {', '.join(unknown[:5])}")
    extra = [c for c in participants.columns if c not in table.columns]
    if len(keys) == 1:
        return table.merge(participants[extra], left_on="subject", right_on="participant_id", how="left").drop(columns="participant_id")
    by_session = table.merge(participants[[*extra, "session"]], left_on=["subject", "session"], right_on=keys, how="left")
    return by_session.drop(columns="participant_id")
