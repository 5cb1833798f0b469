"""Prepares the sessions of a cohort, once: a store a session, and a table."""

from __future__ import annotations

import json
import os
import re
import uuid
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pandas as pd

from sslmed import io, tables
from sslmed._core import C, FormatError, LeftOutWarning, ReadError, ValueWarning
from sslmed.modalities.base import OnError, Rows
from sslmed.modalities.volumes import files
from sslmed.modalities.volumes.files import SessionFiles
from sslmed.modalities.volumes.preprocessing import VolumePreprocessing

__all__ = ["TABLE", "prepare"]

TABLE = "cohort.parquet"
"""Name of the table in a folder of prepared volumes."""

_SETTINGS = "prepare.json"
_VERSION = 2


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
        on_error: "raise", or "skip" sessions that cannot be read, with a warning each.
        progress: Show a progress bar.
        **settings: ``spacing``, ``crop``, ``margin``, ``clip``, ``normalize`` and ``storage`` of
            :class:`sslmed.VolumePreprocessing`.

    Returns:
        The table of the prepared cohort; None where other shards are not done yet.

    Raises:
        FormatError, ReadError: A file cannot be read.
        ValueError: The folder holds volumes that were prepared with other settings.
    """
    from rich.progress import Progress

    if on_error not in ("raise", "skip"):
        raise ValueError(f"prepare: on_error={on_error!r} must be 'raise' or 'skip'")
    if not 0 <= shard[0] < shard[1]:
        raise ValueError(f"prepare: shard={shard} must be (k, n) with 0 <= k < n")
    if any(files.is_prepared(path) for path in rows.table["path"]):
        raise ValueError(f"prepare: {rows.name}: row {[files.is_prepared(p) for p in rows.table['path']].index(True)} is prepared already")
    options = VolumePreprocessing(**settings).preparation()
    job = _Job(Path(out), options, on_error)
    job.claim()
    sessions = list(zip(rows.table.to_dict("records"), files.of_table(rows.table), strict=True))
    mine = sessions[shard[0] :: shard[1]]
    with ThreadPoolExecutor(threads) as pool, Progress(disable=not progress) as bar:
        task = bar.add_task("sessions", total=len(mine))
        futures = [pool.submit(job.one, row, of) for row, of in mine]
        try:
            for future in futures:
                future.result()
                bar.advance(task)
        finally:
            for future in futures:
                future.cancel()
    return job.finish(rows, sessions, alone=shard[1] == 1)


@dataclass
class _Job:
    out: Path
    options: C.PreparationOptions
    on_error: OnError
    names: dict[SessionFiles, str] = field(default_factory=dict)
    """Of stores; files are hashed once."""

    def claim(self) -> None:
        """Makes the folder; ValueError where it was made with other settings."""
        self.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"version": _VERSION, "settings": json.loads(self.options.text)}, indent=1) + "\n"
        path = self.out / _SETTINGS
        if not path.exists():
            _write_text(path, text)
        elif (found := path.read_text()) != text:
            raise ValueError(f"prepare: out={str(self.out)!r} holds volumes prepared with {' '.join(found.split())}, not {' '.join(text.split())}")

    def name(self, row: Mapping[Any, Any], of: SessionFiles) -> str:
        """Of a session's store: whose it is, and a digest of all that it is made of."""
        if of not in self.names:
            self.names[of] = self._name(row, of)
        return self.names[of]

    def _name(self, row: Mapping[Any, Any], of: SessionFiles) -> str:
        whole = blake2b(self.options.text.encode(), digest_size=8)
        for sequence, path in (*of.sequences, *zip(("", "", ""), of[1:], strict=True)):
            whole.update(sequence.encode() + b"\0" + (_content(path) if path else b""))
        parts = [str(row[column]) for column in ("subject", "session", "run") if column in row and pd.notna(row[column])]
        return "_".join(re.sub(r"[^\w.+-]", "-", part) for part in parts) + f"_{whole.hexdigest()}{files.ENDING}"

    def one(self, row: Mapping[Any, Any], of: SessionFiles) -> None:
        """Prepares a session, unless its store is there and whole."""
        try:
            target = self.out / self.name(row, of)
            if target.exists():
                try:
                    C.VolumeStore(str(target)).verify()
                    return
                except FormatError as error:
                    warnings.warn(f"prepared again: {error}", ValueWarning, stacklevel=2)
            if of.native:
                C.prepare_files(of.sequences[0][1], of, self.options, str(target))
            else:
                self._other_formats(of, target)
        except (FormatError, ReadError) as error:
            if self.on_error == "raise":
                raise
            warnings.warn(f"session left out: {error}", LeftOutWarning, stacklevel=2)

    def _other_formats(self, of: SessionFiles, target: Path) -> None:
        def tensors(path: str) -> Any:
            if not path:
                return None
            volume = io.read_volume(path)
            return volume.data, volume.affine

        sequences = [(name, tensors(path)) for name, path in of.sequences]
        others = [tensors(path) for path in (of.mask, of.deface, of.labels)]
        C.prepare_tensors(of.sequences[0][1], sequences, others[0], others[1], others[2], self.options, str(target), of)

    def finish(self, rows: Rows, sessions: Sequence[tuple[Mapping[Any, Any], SessionFiles]], *, alone: bool) -> pd.DataFrame | None:
        """Writes the table where every session has its store."""
        readable = []
        for number, (row, of) in enumerate(sessions):
            try:
                name = self.name(row, of)
            except OSError:
                if self.on_error == "raise":
                    raise
                continue
            if (self.out / name).exists():
                readable.append((number, name))
            elif not alone:
                return None
        if not readable:
            raise FormatError(f"{self.out}: expected sessions that can be read, found none of {len(sessions)}")
        held = [number for number, _ in readable]
        table = rows.table.iloc[held].reset_index(drop=True)
        table = table.drop(columns=[column for column in files.columns(table) if column != "path"])
        table["path"] = [name for _, name in readable]
        table["sequences"] = [",".join(files.prepared_names(str(self.out / name))) for _, name in readable]
        path = self.out / TABLE
        temporary = path.with_name(f".{path.name}.tmp-{uuid.uuid4().hex}")
        table.to_parquet(temporary, index=False)
        temporary.replace(path)
        found = tables.read(path)
        return found.assign(path=[str(self.out.resolve() / name) for name in found["path"]])


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp-{uuid.uuid4().hex}")
    temporary.write_text(text)
    temporary.replace(path)


def _content(path: str) -> bytes:
    """Digest of a file, with the other one of a pair, or of all files of a folder."""
    start = Path(path)
    members = sorted(start.iterdir()) if start.is_dir() else [start]
    if pair := re.fullmatch(r"(.*)\.(hdr|img)(\.gz)?", str(start)):
        members = [found for end in ("hdr", "img", "hdr.gz", "img.gz") if (found := Path(f"{pair[1]}.{end}")).exists()]
    digest = blake2b(digest_size=16)
    try:
        for member in members:
            with open(member, "rb") as file:
                while piece := file.read(1 << 20):
                    digest.update(piece)
    except FileNotFoundError as error:
        raise ReadError(f"{path}: no such file") from error
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error}") from error
    return digest.digest()
