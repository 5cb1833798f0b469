"""BIDS folders as tables: the raw files, and what participants.tsv, sessions.tsv and scans.tsv say of them."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from sslmed import tables
from sslmed._core import FormatError, LeftOutWarning, ReadError, ValueWarning

__all__ = ["Kind", "LeftOut", "Listing", "files_below", "is_bids", "read", "scan"]

_COLUMNS = (("session", "ses"), ("task", "task"), ("run", "run"))
_OTHER = ("derivatives", "sourcedata", "code", "stimuli", "phenotype")
"""Folders of a data set that hold no raw data."""
_SIDECARS = (".json", ".tsv", ".gz", ".txt", ".md", ".png", ".pdf")


@dataclass(frozen=True)
class Kind:
    """What a modality's files are called in a BIDS folder."""

    endings: Sequence[str]
    """Endings of names, in lower case."""
    folders: Sequence[str] = ()
    """Names of the data type's folders, where only raw files are of it; empty: files anywhere are, as masks in derivatives/."""
    parts: Sequence[str] = ()
    """Endings of files that belong to others."""
    hint: str = ""
    """What to do with files of another format."""


@dataclass(frozen=True)
class LeftOut:
    """Files of a folder that are not read, and why."""

    what: str
    why: str
    count: int
    example: str


@dataclass
class Listing:
    """The files of a BIDS folder."""

    table: pd.DataFrame
    """One row a file."""
    left_out: list[LeftOut] = field(default_factory=list)
    """What is not read."""


@dataclass
class _Walk:
    """What is in a folder: files of a known ending by their folders, tables, and what is left out by (what, why)."""

    root: Path
    kinds: Mapping[str, Kind]
    files: list[tuple[str, tuple[str, ...], str]] = field(default_factory=list)
    tables: dict[str, list[str]] = field(default_factory=lambda: {"_sessions.tsv": [], "_scans.tsv": []})
    left_out: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def run(self) -> _Walk:
        """Looks through the folder, following links."""
        known = {ending: modality for modality, kind in self.kinds.items() for ending in kind.endings}
        stems = {ending.partition(".")[0] + ".": kind for kind in self.kinds.values() for ending in kind.endings if ending.startswith("_")}
        for path, parts, name in _entries(str(self.root), (), (), self):
            lower = name.lower()
            modality = next((known[ending] for ending in known if lower.endswith(ending)), None)
            if modality is None:
                for ending, paths in self.tables.items():
                    if lower.endswith(ending) and not name.startswith("."):
                        paths.append(path)
                kind = next((stems[stem] for stem in stems if stem in lower), None)
                if kind is not None and not lower.endswith((*_SIDECARS, *kind.parts)) and not name.startswith("."):
                    self.leave("files", f"{os.path.splitext(lower)[1]} is no format that is read{'; ' if kind.hint else ''}{kind.hint}", path)
            elif name.startswith("."):
                self.leave("files", "hidden", path)
            elif parts and parts[0] in _OTHER and self.kinds[modality].folders:
                self.leave("files", f"in {parts[0]}/, not raw data", path)
            elif not os.path.isfile(path):
                self.leave("files", "a link to a file that is not there; get it first (datalad get)", path)
            else:
                self.files.append((path, parts, modality))
        return self

    def leave(self, what: str, why: str, path: str) -> None:
        """Notes that a file is left out."""
        self.left_out.setdefault((what, why), []).append(path)


def _entries(folder: str, parts: tuple[str, ...], above: tuple[tuple[int, int], ...], walk: _Walk) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """(path, folders, name) of all files, sorted; links to folders are followed, but not back to one that they are in."""
    found = os.stat(folder)
    here = (*above, (found.st_dev, found.st_ino))
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        if not entry.is_dir():
            yield entry.path, parts, entry.name
        elif entry.name.startswith("."):
            continue
        elif entry.is_symlink() and (linked := entry.stat()) and (linked.st_dev, linked.st_ino) in here:
            walk.leave("folders", "a link to a folder around it", entry.path)
        else:
            yield from _entries(entry.path, (*parts, entry.name), here, walk)


def files_below(root: str | os.PathLike[str]) -> list[str]:
    """All files in a folder and in folders within, but not in hidden ones. Links are followed, but not back to a folder that they are in."""
    return [path for path, _, _ in _entries(os.fspath(root), (), (), _Walk(Path(root), {}))]


def is_bids(root: str | os.PathLike[str], endings: Sequence[str]) -> bool:
    """Whether a folder has a participants.tsv, a folder sub-…, or a file with one of these endings."""
    root = Path(root)
    if (root / "participants.tsv").exists() or _subjects_in(root):
        return True
    return any(path.name.lower().endswith(tuple(endings)) for path in root.rglob("*"))


def _subjects_in(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(entry.name.startswith("sub-") and entry.is_dir() for entry in entries)
    except OSError:
        return False


def read(root: str | os.PathLike[str], endings: Mapping[str, Sequence[str]], task: str | None = None) -> pd.DataFrame:
    """The table of :func:`scan`, of files with these endings by modality."""
    return scan(root, {modality: Kind(several) for modality, several in endings.items()}, task).table


def scan(root: str | os.PathLike[str], kinds: Mapping[str, Kind], task: str | None = None) -> Listing:
    """The raw files of a BIDS folder, one row each: ``path``, ``subject``, ``modality``, session, task, run, and what tables say of them.

    Raw files are in ``sub-*/[ses-*/]<data type>/``. Where a modality has raw files only, what is in derivatives/ or sourcedata/, or elsewhere, is left out;
    hidden files always are. Links are followed. Columns of
    sessions.tsv come before those of participants.tsv; columns of scans.tsv are added.

    Args:
        root: The folder that holds participants.tsv.
        kinds: Names of files by modality.
        task: Only files of this task.

    Raises:
        FormatError: There is no such file, a subject that participants.tsv does not have, or a file in another subject's folder; or the folder
            holds several data sets.
        ReadError: The folder does not exist.

    Warns:
        LeftOutWarning: Files are of a format that is not read, or links to nothing.
        ValueWarning: participants.tsv has rows for sessions of a person, but none for one of the folder; or the folder is one subject's.
    """
    root = Path(root)
    if not root.is_dir():
        raise ReadError(f"{root}: no such folder")
    walk = _Walk(root, kinds).run()
    strict = _subjects_in(root)
    if not strict:
        _refuse_level(root)
    rows = [row for file in walk.files if (row := _row(*file, strict, walk)) and (task is None or row.get("task") == task)]
    if not rows:
        wanted = " or ".join(f"*{ending}" for kind in kinds.values() for ending in kind.endings)
        raise FormatError(f"{root}: expected {wanted} files{f' of task {task}' if task else ''}, found none{_besides(walk)}")
    table = pd.DataFrame(rows)
    table = _with_participants(table, root / "participants.tsv", walk)
    table = _with_tables(table, walk)
    left_out = [LeftOut(what, why, len(paths), paths[0]) for (what, why), paths in walk.left_out.items()]
    for one in left_out:
        if one.why.startswith(".") or "link to a file" in one.why:  # people may be missing
            warnings.warn(f"{root}: {one.count} {one.what} left out: {one.why}; such as {one.example}", LeftOutWarning, stacklevel=4)
    return Listing(table, left_out)


def _besides(walk: _Walk) -> str:
    told = [f"{len(paths)} {what}: {why} (such as {paths[0]})" for (what, why), paths in walk.left_out.items()]
    return f"; left out: {'; '.join(told)}" if told else ""


def _refuse_level(root: Path) -> None:
    """FormatError for a folder of data sets; ValueWarning for a folder within one."""
    below = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and entry.name not in _OTHER and _subjects_in(Path(entry.path)))
    if below:
        named = ", ".join(str(root / name) for name in below[:3])
        raise FormatError(f"{root}: expected folders sub-…, found them one level deeper; open {named}{' …' if len(below) > 3 else ''} each by itself")
    if (inner := re.match(r"(sub|ses)-", root.resolve().name)) is not None:
        above = root.resolve().parent if inner[1] == "sub" else root.resolve().parent.parent
        text = f"{root}: is one {'subject' if inner[1] == 'sub' else 'session'}'s folder of a data set; open {above} to have everybody, and participants.tsv"
        warnings.warn(text, ValueWarning, stacklevel=5)


def _row(path: str, parts: tuple[str, ...], modality: str, strict: bool, walk: _Walk) -> dict[str, str] | None:
    """A file's row of the table; None where it is no raw file."""
    name = os.path.basename(path)
    entities = dict(re.findall(r"(?:^|_)([a-zA-Z]+)-([a-zA-Z0-9+]+)", name))
    folders = [part for part in parts if not part.startswith("ses-")][1:]
    usual = walk.kinds[modality].folders
    strict = strict and bool(usual)
    if strict and (not parts or not parts[0].startswith("sub-") or len(folders) > 1 or not set(folders) <= set(usual)):
        walk.leave("files", "not in sub-*/[ses-*/]<data type>/", path)
        return None
    if "sub" not in entities:
        raise FormatError(f"{path}: expected a BIDS name that starts with sub-…, found {name!r}; Cohort.from_folder opens other folders")
    if strict and parts[0] != f"sub-{entities['sub']}":
        raise FormatError(f"{path}: expected a file of {parts[0]}, in whose folder it is, found sub-{entities['sub']}; move or rename it")
    row = {"path": path, "subject": "sub-" + entities["sub"]}
    return row | {column: entities[short] for column, short in _COLUMNS if short in entities} | {"modality": modality}


def _with_participants(table: pd.DataFrame, path: Path, walk: _Walk) -> pd.DataFrame:
    """The table with the columns of participants.tsv, whose rows are people, or sessions where it has such a column."""
    if not path.exists():
        walk.left_out[("tables", "there is no participants.tsv: nothing is known of the people")] = [str(path)]
        return table
    participants = tables.read_table(path, "\t")
    if "participant_id" not in participants:
        raise FormatError(f"{path}: expected a column participant_id, found {list(participants.columns)}")
    names = [_participant(name) for name in participants["participant_id"]]
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
    if absent := sorted(set(of_person) - set(table["subject"])):
        walk.left_out[("participants", "in participants.tsv, but without a file")] = absent
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
        warnings.warn(text, ValueWarning, stacklevel=5)
    extra = participants[[c for c in participants.columns if c not in (*table.columns, "participant_id", column)]]
    known = extra.iloc[rows].reset_index(drop=True)
    return pd.concat([table, known.where(pd.Series(rows) >= 0) if -1 in rows else known], axis=1)


def _participant(name: Any) -> str:
    """A participant's name as folders have it: "sub-01", also of "01" and " sub-01"."""
    text = str(name).strip()
    return text if text.startswith("sub-") else "sub-" + (text[4:] if text[:4].lower() == "sub-" else text)


def _with_tables(table: pd.DataFrame, walk: _Walk) -> pd.DataFrame:
    """The table with the columns of sessions.tsv, by subject and session, and of scans.tsv, by file."""
    sessions: dict[tuple[str, str], dict[str, Any]] = {}
    for path in walk.tables["_sessions.tsv"]:
        found = tables.read_table(Path(path), "\t")
        column = next((c for c in ("session_id", "session") if c in found), None)
        if column is None:
            raise FormatError(f"{path}: expected a column session_id, found {list(found.columns)}")
        subject = os.path.basename(path)[: -len("_sessions.tsv")]
        for session, row in zip(_sessions(found[column]), found.drop(columns=column).to_dict("records"), strict=True):
            sessions[subject, session] = {str(key): value for key, value in row.items()}
    scans: dict[str, dict[str, Any]] = {}
    for path in walk.tables["_scans.tsv"]:
        found = tables.read_table(Path(path), "\t")
        if "filename" not in found:
            raise FormatError(f"{path}: expected a column filename, found {list(found.columns)}")
        for name, row in zip(found["filename"].astype(str), found.drop(columns="filename").to_dict("records"), strict=True):
            scans[os.path.join(os.path.dirname(path), *name.split("/"))] = {str(key): value for key, value in row.items()}
    if "session" in table and sessions:
        own = [sessions.get(key, {}) for key in zip(table["subject"], _sessions(table["session"]), strict=True)]
        table = _filled(table, own, over=True)
    return _filled(table, [scans.get(path, {}) for path in table["path"]], over=False) if scans else table


def _filled(table: pd.DataFrame, values: list[dict[str, Any]], over: bool) -> pd.DataFrame:
    """The table with values of rows: new columns, and in the place of what is there with ``over``."""
    for column in dict.fromkeys(name for row in values for name in row):
        if column in ("path", "subject", "modality", *(c for c, _ in _COLUMNS)) or (column in table and not over):
            continue
        new = pd.Series([row.get(column) for row in values], index=table.index)
        table = table.assign(**{column: new if column not in table else new.where(new.notna(), table[column])})
    return table


def _sessions(column: pd.Series[Any]) -> list[str]:
    """Labels of sessions as file names have them, without ``ses-``; empty texts where they are missing."""
    texts = [f"{value:g}" if isinstance(value, float) else str(value).strip() for value in column]
    return ["" if missing else text.removeprefix("ses-") for text, missing in zip(texts, column.isna(), strict=True)]
