"""Prepares the sessions of a cohort, once: a store a session, and a table."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from sslmed import io, tables
from sslmed._checks import choice, whole
from sslmed._core import C, FormatError, LeftOutWarning, ReadError, ValueWarning
from sslmed.modalities.base import OnError, Rows
from sslmed.modalities.volumes import files, members
from sslmed.modalities.volumes.files import SessionFiles
from sslmed.modalities.volumes.preprocessing import VolumePreprocessing
from sslmed.modalities.volumes.shared_folder import SETTINGS, SharedFolder, temporary_name

__all__ = ["TABLE", "prepare", "table_of"]

TABLE = "cohort.parquet"
"""Name of the table in a folder of prepared volumes."""

_STORE = re.compile(r"(.*)_[0-9a-f]{16}((?:_\d+)?\.smv)", re.DOTALL)
_NAMED = 5
"""Sessions that a warning tells of one by one."""


def prepare(
    rows: Rows,
    out: str | os.PathLike[str],
    *,
    threads: int = 2,
    shard: tuple[int, int] = (0, 1),
    on_error: OnError = "raise",
    progress: bool = False,
    **settings: Any,
) -> pd.DataFrame | None:
    """Brings each session to one orientation (RAS+), grid and scale, and writes it to a store of its own.

    Args:
        rows: A cohort of volumes.
        out: Folder of the stores. Sessions that are there already stay as they are.
        threads: Number of sessions at a time.
        shard: (k, n): only every n-th session from the k-th on; the one that finds all of them done writes the table.
        on_error: "raise", or "skip" sessions that cannot be read: ``failed/`` in the folder says why, and the next call
            tries them again.
        progress: Show a progress bar.
        **settings: ``spacing``, ``crop``, ``margin``, ``clip``, ``normalize`` and ``storage`` of
            :class:`sslmed.VolumePreprocessing`.

    Returns:
        The table of the prepared cohort, with columns ``sequences`` (names, separated by commas) and ``mask`` ("given" by
        ``path_mask``, or "found" in the image); None where other shards are not done yet.

    Raises:
        FormatError, ReadError: A file cannot be read.
        ValueError: A parameter is out of range, or the folder holds volumes that were prepared with other settings.

    Warns:
        ValueWarning: Some masks were given and some found; columns of mixed types were written as texts.
        LeftOutWarning: Sessions cannot be read, with ``on_error="skip"``.
    """
    from rich.progress import Progress

    choice("prepare", "on_error", on_error, ("raise", "skip"))
    whole("prepare", "threads", threads, 1)
    _check_shard(shard)
    options = _options(settings)
    if any(prepared := [files.is_prepared(path) for path in rows.table["path"]]):
        raise ValueError(f"prepare: {rows.name}: row {prepared.index(True)} is prepared already")
    kept = rows.table.drop(columns=[column for column in files.columns(rows.table) if column != "path"])
    kept = tables.storable(kept, f"prepare: {rows.name}")  # before hours of work, not after
    sessions = _sessions(rows.table)
    mine = sessions[shard[0] :: shard[1]]
    job = _Job(SharedFolder(Path(out), options.text, alone=shard[1] == 1), options, on_error, shard)
    for session in mine:
        job.folder.try_again(session.key)
    with ThreadPoolExecutor(threads) as pool, Progress(disable=not progress) as bar:
        task = bar.add_task("sessions", total=len(mine))
        futures = [pool.submit(job.one, session) for session in mine]
        try:
            for future in futures:
                future.result()
                bar.advance(task)
        finally:
            for future in futures:
                future.cancel()
    return job.finish(rows.name, kept, sessions, mine)


def _check_shard(shard: object) -> None:
    pair = isinstance(shard, (tuple, list)) and len(shard) == 2 and all(isinstance(n, Integral) and not isinstance(n, bool) for n in shard)
    if not pair or not 0 <= shard[0] < shard[1]:  # type: ignore[index]
        raise ValueError(f"prepare: shard={shard!r} must be (k, n), whole numbers with 0 <= k < n")


def _options(settings: Mapping[str, Any]) -> C.PreparationOptions:
    try:
        how = VolumePreprocessing(**settings)
    except ValueError as error:
        raise ValueError(str(error).replace(VolumePreprocessing.__name__, "prepare", 1)) from None
    return how.preparation()


class _Session(NamedTuple):
    files: SessionFiles
    whose: str
    """Subject, session and run, as they stand in the name of the store."""
    ending: str
    """Of the store's name: "_2.smv" for the second of equal rows."""
    key: str
    """Which row this is, whatever the files hold: by whose it is, its paths, and the rows before that are equal."""


def _sessions(table: pd.DataFrame) -> list[_Session]:
    """What the table alone says of its rows: the same for all shards."""
    out, seen = [], Counter[tuple[str, SessionFiles]]()
    for row, of in zip(table.to_dict("records"), files.of_table(table), strict=True):
        parts = [str(row[column]) for column in ("subject", "session", "run") if column in row and pd.notna(row[column])]
        whose = "_".join(re.sub(r"[^\w.+-]", "-", part) for part in parts)
        seen[whose, of] += 1
        number = "" if seen[whose, of] == 1 else f"_{seen[whose, of]}"
        paths = blake2b(json.dumps(of).encode(), digest_size=8).hexdigest()
        out.append(_Session(of, whose, number + files.ENDING, f"{whose}_{paths}{number}"))
    return out


@dataclass
class _Job:
    folder: SharedFolder
    options: C.PreparationOptions
    on_error: OnError
    shard: tuple[int, int]
    names: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Name of the store by key, and stamps of the files that it was hashed from where other shards need them."""

    def name(self, session: _Session) -> str:
        """Of a session's store: whose it is, and a digest of all that it is made of."""
        if session.key not in self.names:
            # Stamps first: a file that changes while it is hashed has other ones afterwards.
            stamps = members.stamps(session.files.paths) if self.shard[1] > 1 else []
            self.names[session.key] = {"name": self._name(session), "stamps": stamps}
        return str(self.names[session.key]["name"])

    def _name(self, session: _Session) -> str:
        of, whole = session.files, blake2b(self.options.text.encode(), digest_size=8)
        for sequence, path in (*of.sequences, *zip(("", "", ""), of[1:], strict=True)):
            whole.update(sequence.encode() + b"\0" + (members.content(path) if path else b""))
        return f"{session.whose}_{whole.hexdigest()}{session.ending}"

    def one(self, session: _Session) -> None:
        """Prepares a session, unless its store is there and whole."""
        target = None
        try:
            target = self.folder.out / self.name(session)
            if not _is_whole(target):
                self._prepare(session.files, target)
        except (FormatError, ReadError) as error:
            # An error of the store, such as a full disk, is none of the session.
            if self.on_error == "raise" or (target is not None and str(target) in str(error)):
                raise
            self.folder.fail(session.key, str(error))

    def _prepare(self, of: SessionFiles, target: Path) -> None:
        if of.native:
            C.prepare_files(of.sequences[0][1], of, self.options, str(target))
            return

        def tensors(path: str) -> Any:
            if not path:
                return None
            volume = io.read_volume(path)
            if volume.data.ndim != 3:
                raise FormatError(f"{path}: expected one volume of three dimensions, found shape {list(volume.data.shape)}")
            return volume.data, volume.affine

        sequences = [(name, tensors(path)) for name, path in of.sequences]
        others = [tensors(path) for path in (of.mask, of.deface, of.labels)]
        C.prepare_tensors(of.sequences[0][1], sequences, others[0], others[1], others[2], self.options, str(target), of)

    def finish(self, cohort: str, kept: pd.DataFrame, sessions: Sequence[_Session], mine: Sequence[_Session]) -> pd.DataFrame | None:
        """Writes the table where every session has its store, or is known to have none."""
        if self.shard[1] > 1:
            self.folder.tell(self.shard, self.names)
        failed = {session.key: message for session in sessions if (message := self.folder.failure(session.key)) is not None}
        stores = self._stores([session for session in sessions if session.key not in failed])
        told = [failed[session.key] for session in (mine if stores is None else sessions) if session.key in failed]
        if told:
            names = "; ".join(told[:_NAMED]) + (f"; and {len(told) - _NAMED} more" if len(told) > _NAMED else "")
            text = f"prepare: {cohort}: {len(told)} of {len(sessions)} sessions left out: {names}"
            warnings.warn(text, LeftOutWarning, stacklevel=5)
        if stores is None:
            return None
        if not stores:
            raise FormatError(f"{self.folder.out}: expected sessions that can be read, found none of {len(sessions)}")
        held = [number for number, session in enumerate(sessions) if session.key in stores]
        return self._table(cohort, kept.iloc[held].reset_index(drop=True), [stores[sessions[number].key] for number in held])

    def _stores(self, sessions: Sequence[_Session]) -> dict[str, str] | None:
        """Names of stores by key; None where one is missing."""
        there = {path.name for path in self.folder.out.glob(f"*{files.ENDING}")}
        told = self.folder.told() | self.names
        # Without a look at files first: most often a shard that has just begun has not even a name.
        begun = {(found[1], found[2]) for name in there if (found := _STORE.fullmatch(name))}
        if not all(session.key in told or (session.whose, session.ending) in begun for session in sessions):
            return None
        out = {}
        for session in sessions:
            try:
                out[session.key] = self._told_name(session, told)
            except (FormatError, ReadError):  # whose turn it is will say so
                return None
            if out[session.key] not in there:
                return None
        return out

    def _told_name(self, session: _Session, told: Mapping[str, Mapping[str, Any]]) -> str:
        """As another shard has found it, where no file has changed since."""
        known = told.get(session.key)
        if session.key not in self.names and known is not None and known["stamps"] == members.stamps(session.files.paths):
            return str(known["name"])
        return self.name(session)

    def _table(self, cohort: str, table: pd.DataFrame, stores: Sequence[str]) -> pd.DataFrame:
        """Writes the table of all that could be read, and reads it again."""
        out = self.folder.out
        masks = [files.prepared_mask(str(out / name)) for name in stores]
        if "mask" in table:
            warnings.warn(f"prepare: {cohort}: column 'mask' of the cohort is replaced: how each mask came about", ValueWarning, stacklevel=6)
        if len(set(masks)) > 1:
            text = f"{masks.count('given')} sessions have a mask that was given, {masks.count('found')} one that was found in the image"
            remedy = "what lies outside of it is removed, so that both kinds look different; give masks to all or to none"
            warnings.warn(f"prepare: {cohort}: {text}: {remedy}", ValueWarning, stacklevel=6)
        table = table.assign(path=stores, sequences=[",".join(files.prepared_names(str(out / name))) for name in stores], mask=masks)
        temporary = temporary_name(out / TABLE)
        table.to_parquet(temporary, index=False)
        temporary.replace(out / TABLE)
        self.folder.finish()
        found = tables.read(out / TABLE)
        return found.assign(path=[str(out.resolve() / name) for name in found["path"]])


def table_of(folder: Path) -> Path | None:
    """The table of a folder of prepared volumes; None for any other folder.

    Raises:
        ReadError: The table is missing.
    """
    if not (folder / SETTINGS).is_file():
        return None
    if not (path := folder / TABLE).is_file():
        raise ReadError(f"{path}: no such table, though {SETTINGS} says that the folder holds prepared volumes; finish sslmed.prepare(cohort, folder)")
    return path


def _is_whole(path: Path) -> bool:
    """Whether a store is there, without damage."""
    if not path.exists():
        return False
    try:
        C.VolumeStore(str(path)).verify()
    except FormatError as error:
        warnings.warn(f"prepared again: {error}", ValueWarning, stacklevel=3)
        return False
    return True
