"""BIDS folders as tables: the raw files, and what participants.tsv, sessions.tsv and scans.tsv say of them."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from sslmed import tables
from sslmed._checks import is_text, readable
from sslmed._core import C, FormatError, LeftOutWarning, ReadError, ValueWarning

__all__ = ["NOT_TEXT", "Kind", "LeftOut", "Listing", "holds_subjects", "is_bids", "read", "scan"]

_COLUMNS = (("session", "ses"), ("task", "task"), ("run", "run"))
_OTHER = ("derivatives", "sourcedata", "code", "stimuli", "phenotype")
"""Folders of a data set that hold no raw data."""
_TASK = 1 + [name for name, _ in _COLUMNS].index("task")
_TABLES = ("_sessions.tsv", "_scans.tsv")
_NO_TARGET = "a link to a file that is not there; get it first (datalad get)"
NOT_TEXT = "with names that are not UTF-8, which tables cannot hold; rename them (convmv)"
"""Why files are left out whose names, or whose folders', have other bytes."""
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
    sidecars: Sequence[str] = ()
    """Endings of files that tell of others, which :meth:`sslmed.modalities.Modality.gather` is given."""


@dataclass(frozen=True)
class LeftOut:
    """Files of a folder that are not read, and why."""

    what: str
    why: str
    count: int
    example: str

    def __post_init__(self) -> None:
        for name in ("what", "why", "example"):
            object.__setattr__(self, name, readable(getattr(self, name)))


@dataclass
class Listing:
    """The files of a BIDS folder."""

    table: pd.DataFrame
    """One row a file."""
    left_out: list[LeftOut] = field(default_factory=list)
    """What is not read."""
    sidecars: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Paths of files that tell of others, by ending."""


@dataclass
class _Walk:
    """What is in a folder: files of a known ending, tables and sidecars by ending, and what is left out by (what, why)."""

    root: str
    kinds: Mapping[str, Kind]
    paths: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    """Of each path, below the root. Columns, as the interpreter's collector looks at a hundred thousand tuples again and again."""
    modalities: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    """Of each path, into the columns of labels."""
    labels: list[list[str]] = field(default_factory=list)
    """Of subjects, sessions, tasks and runs; empty texts where a name has none."""
    sidecars: dict[str, list[str]] = field(default_factory=dict)
    left_out: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def run(self) -> _Walk:
        """Looks through the folder, following links."""
        endings = [(ending, modality) for modality, kind in self.kinds.items() for ending in kind.endings]
        tables_ = [*_TABLES, *dict.fromkeys(ending for kind in self.kinds.values() for ending in kind.sidecars)]
        self.sidecars = {ending: [] for ending in tables_}
        stems = {e.partition(".")[0] + ".": kind for kind in self.kinds.values() for e in kind.endings if e.startswith("_")}
        known = [*(ending for ending, _ in endings), *tables_]
        parts = [*_SIDECARS, *dict.fromkeys(part for kind in self.kinds.values() for part in kind.parts)]
        entities = ["sub", *(short for _, short in _COLUMNS)]
        root = os.fsencode(self.root or "/")
        folders, files, loops, unreadable, _ = C.walk_folder(root, known, list(stems), parts, entities)
        full = [f"{self.root}/{folder}" if folder else self.root for folder in folders]
        n, raw = len(endings), [modality for _, modality in endings]
        other = [folder.partition("/")[0] in _OTHER for folder in folders]
        sidecars = [self.sidecars[ending] for ending in tables_]
        *columns, self.labels = files
        for i, (folder, name, ending, missing) in enumerate(zip(*columns, strict=True)):
            path = f"{full[folder]}/{name}"
            if not is_text(path):
                self.leave("files", NOT_TEXT, path)
            elif ending >= n:
                if name[0] != "." and not missing:
                    sidecars[ending - n].append(path)
            elif ending < 0:
                self._refuse_format(path, name, stems)
            elif name[0] == ".":
                self.leave("files", "hidden", path)
            elif other[folder] and self.kinds[raw[ending]].folders:
                self.leave("files", f"in {folders[folder].partition('/')[0]}/, not raw data", path)
            elif missing:
                self.leave("files", _NO_TARGET, path)
            else:
                self.numbers.append(i)
                self.folders.append(folders[folder])
                self.paths.append(path)
                self.modalities.append(raw[ending])
        for path in loops:
            self.leave("folders", "a link to a folder around it", path)
        for path, why in unreadable:
            self.leave("folders", f"cannot be listed ({why}); see its permissions", path)
        return self

    def _refuse_format(self, path: str, name: str, stems: Mapping[str, Kind]) -> None:
        lower = name.lower()
        kind = next(stems[stem] for stem in stems if stem in lower)
        if not name.startswith("."):
            what = f"{os.path.splitext(lower)[1]} is no format that is read{'; ' if kind.hint else ''}{kind.hint}"
            self.leave("files", what, path)

    def leave(self, what: str, why: str, path: str) -> None:
        """Notes that a file is left out."""
        self.left_out.setdefault((what, why), []).append(path)


def is_bids(root: str | os.PathLike[str], endings: Sequence[str]) -> bool:
    """Whether a folder has a participants.tsv, a folder sub-…, or a file with one of these endings."""
    if (Path(root) / "participants.tsv").exists() or holds_subjects(Path(root)):
        return True
    return bool(C.walk_folder(os.fsencode(root), list(endings))[1][0])


def holds_subjects(folder: str | os.PathLike[str]) -> bool:
    """Whether there are folders sub-… in a folder."""
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
        LeftOutWarning: Files are of a format that is not read, links to nothing, or have names that are not UTF-8.
        ValueWarning: participants.tsv has rows for sessions of a person, but none for one of the folder; or the folder is one subject's.
    """
    root = Path(root)
    if not root.is_dir():
        raise ReadError(f"{root}: no such folder")
    walk = _Walk(os.fspath(root).rstrip("/"), kinds).run()
    strict = holds_subjects(root)
    if not strict:
        _refuse_level(root)
    table = _rows(walk, strict, task)
    if table.empty:
        wanted = " or ".join(f"*{ending}" for kind in kinds.values() for ending in kind.endings)
        raise FormatError(f"{root}: expected {wanted} files{f' of task {task}' if task else ''}, found none{_besides(walk)}")
    table = _with_participants(table, root / "participants.tsv", walk)
    table = _with_tables(table, walk)
    left_out = [LeftOut(what, why, len(paths), paths[0]) for (what, why), paths in walk.left_out.items()]
    for one in left_out:
        if one.why.startswith((".", "cannot be")) or one.why in (_NO_TARGET, NOT_TEXT):  # people may be missing
            text = f"{root}: {one.count} {one.what} left out: {one.why}; such as {one.example}"
            warnings.warn(text, LeftOutWarning, stacklevel=4)
    return Listing(table, left_out, walk.sidecars)


def _besides(walk: _Walk) -> str:
    told = [f"{len(paths)} {what}: {why} (such as {readable(paths[0])})" for (what, why), paths in walk.left_out.items()]
    return f"; left out: {'; '.join(told)}" if told else ""


def _refuse_level(root: Path) -> None:
    """FormatError for a folder of data sets; ValueWarning for a folder within one."""
    below = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and entry.name not in _OTHER and holds_subjects(Path(entry.path)))
    if below:
        named = ", ".join(str(root / name) for name in below[:3])
        raise FormatError(f"{root}: expected folders sub-…, found them one level deeper; open {named}{' …' if len(below) > 3 else ''} each by itself")
    if (inner := re.match(r"(sub|ses)-", root.resolve().name)) is not None:
        above = root.resolve().parent if inner[1] == "sub" else root.resolve().parent.parent
        text = f"{root}: is one {'subject' if inner[1] == 'sub' else 'session'}'s folder of a data set; open {above} to have everybody, and participants.tsv"
        warnings.warn(text, ValueWarning, stacklevel=5)


def _rows(walk: _Walk, strict: bool, task: str | None) -> pd.DataFrame:
    """The raw files, one a row: path, subject, session, task, run where they have them, modality."""
    subjects, tasks = walk.labels[0], walk.labels[_TASK]
    wrong: dict[tuple[str, str], bool] = {}
    kept: list[int] = []
    for at, (i, folder, modality) in enumerate(zip(walk.numbers, walk.folders, walk.modalities, strict=True)):
        if (misplaced := wrong.get((folder, modality))) is None:
            misplaced = wrong[folder, modality] = strict and _misplaced(folder, walk.kinds[modality].folders)
        if misplaced:
            walk.leave("files", "not in sub-*/[ses-*/]<data type>/", walk.paths[at])
        elif not (subject := subjects[i]):
            text = f"{walk.paths[at]}: expected a BIDS name that starts with sub-…, found {os.path.basename(walk.paths[at])!r}"
            raise FormatError(f"{text}; Cohort.from_folder opens other folders")
        elif strict and not f"{folder}/".startswith(f"sub-{subject}/") and walk.kinds[modality].folders:
            _refuse_place(walk.paths[at], folder, subject)
        elif task is None or tasks[i] == task:
            kept.append(at)
    numbers = [walk.numbers[at] for at in kept]
    table: dict[str, Any] = {"path": [walk.paths[at] for at in kept], "subject": ["sub-" + subjects[i] for i in numbers]}
    for (column, _), labels in zip(_COLUMNS, walk.labels[1:], strict=True):
        if any(own := [labels[i] or None for i in numbers]):
            table[column] = own
    table["modality"] = pd.Categorical([walk.modalities[at] for at in kept], categories=list(walk.kinds))
    return pd.DataFrame(table)


def _refuse_place(path: str, folder: str, subject: str) -> None:
    above = folder.partition("/")[0]
    text = f"{path}: expected a file of {above}, in whose folder it is, found sub-{subject}"
    raise FormatError(f"{text}; move or rename it")


def _misplaced(folder: str, usual: Sequence[str]) -> bool:
    """Whether a folder is not sub-*/[ses-*/]<one of the usual names>, where there are usual ones."""
    parts = folder.split("/")
    inner = [part for part in parts[1:] if not part.startswith("ses-")]
    return bool(usual) and (not parts[0].startswith("sub-") or len(inner) > 1 or not set(inner) <= set(usual))


def _with_participants(table: pd.DataFrame, path: Path, walk: _Walk) -> pd.DataFrame:
    """The table with the columns of participants.tsv, whose rows are people, or sessions where it has such a column."""
    if not path.exists():
        walk.left_out[("tables", "there is no participants.tsv: nothing is known of the people")] = [str(path)]
        return table
    participants = tables.read_table(path, "\t")
    participants = participants.rename(columns=tables.spelled(list(participants), ("participant_id", "session", "session_id")))
    if "participant_id" not in participants:
        raise FormatError(f"{path}: expected a column participant_id, found {list(participants.columns)}")
    names = [_participant(name) for name in participants["participant_id"].tolist()]
    whose = table["subject"].tolist()
    column = next((c for c in ("session", "session_id") if c in participants and "session" in table), None)
    sessions = [""] * len(names) if column is None else _sessions(participants[column])
    at = {key: row for row, key in enumerate(zip(names, sessions, strict=True))}
    if len(at) < len(names):
        twice = next(key for key in at if list(zip(names, sessions, strict=True)).count(key) > 1)
        raise FormatError(f"{path}: expected one row a participant{' and session' if column else ''}, found several for {' '.join(twice).strip()}")
    of_person: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        of_person.setdefault(name, []).append(row)
    people = dict.fromkeys(whose)
    if unknown := sorted(set(people) - set(of_person)):
        there = f"{', '.join(list(of_person)[:3])}{' …' if len(of_person) > 3 else ''}"
        raise FormatError(f"{path}: expected a row for every subject, found none for {', '.join(unknown[:5])}; there are {there or 'no rows'}")
    if absent := sorted(set(of_person) - set(people)):
        walk.left_out[("participants", "in participants.tsv, but without a file")] = absent
    rows = [of_person[subject][0] for subject in whose] if column is None else []
    lacking: list[tuple[str, str]] = []
    own = _sessions(table["session"]) if column else []
    for subject, session in zip(whose, own, strict=True) if column else ():
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
    paths = walk.sidecars["_sessions.tsv"]
    for path, rows in zip(paths, tables.read_many(paths, _session_rows), strict=True):
        subject = os.path.basename(path)[: -len("_sessions.tsv")]
        sessions |= {(subject, session): row for session, row in rows}
    scans: dict[str, dict[str, Any]] = {}
    paths = walk.sidecars["_scans.tsv"]
    for path, rows in zip(paths, tables.read_many(paths, _scan_rows), strict=True):
        folder = os.path.dirname(path)
        scans |= {f"{folder}/{name}": row for name, row in rows}
    if "session" in table and sessions:
        keys = zip(table["subject"].tolist(), _sessions(table["session"]), strict=True)
        table = _filled(table, [sessions.get(key, {}) for key in keys], over=True)
    return _filled(table, [scans.get(path, {}) for path in table["path"].tolist()], over=False) if scans else table


def _session_rows(found: tables.Texts, path: str) -> list[tuple[str, dict[str, Any]]]:
    found = found.named("session_id", "session")
    column = next((c for c in ("session_id", "session") if c in found.columns), None)
    if column is None:
        raise FormatError(f"{path}: expected a column session_id, found {found.columns}")
    return [((row.pop(column) or "").strip().removeprefix("ses-"), row) for row in found.rows]


def _scan_rows(found: tables.Texts, path: str) -> list[tuple[str, dict[str, Any]]]:
    found = found.named("filename")
    if "filename" not in found.columns:
        raise FormatError(f"{path}: expected a column filename, found {found.columns}")
    return [(row.pop("filename") or "", row) for row in found.rows]


def _filled(table: pd.DataFrame, values: list[dict[str, Any]], over: bool) -> pd.DataFrame:
    """The table with values of rows: new columns, and in the place of what is there with ``over``."""
    for column in dict.fromkeys(name for row in values for name in row):
        if column in ("path", "subject", "modality", *(c for c, _ in _COLUMNS)) or (column in table and not over):
            continue
        new = tables.typed([row.get(column) for row in values], str(column)).set_axis(table.index)
        table = table.assign(**{column: new if column not in table else new.where(new.notna(), table[column])})
    return table


def _sessions(column: pd.Series[Any]) -> list[str]:
    """Labels of sessions as file names have them, without ``ses-``; empty texts where they are missing."""
    missing = column.isna().tolist()
    texts = [f"{value:g}" if isinstance(value, float) else str(value).strip() for value in column.tolist()]
    return ["" if lost else text.removeprefix("ses-") for text, lost in zip(texts, missing, strict=True)]
