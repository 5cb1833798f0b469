"""What a run is trained on, row by row, so that a run goes on with nothing else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch.distributed as dist

from sslmed import digests
from sslmed._core import FormatError, ReadError, regular
from sslmed.cohort import Cohort
from sslmed.distributed import ranks
from sslmed.modalities import registry
from sslmed.training.loader import Loader, groups_of

__all__ = ["differing_rows", "digest", "refuse_other_ranks", "rows_of"]

_LONG = 200  # characters of a value above which a digest stands for it


def rows_of(loader: Loader, order: str, columns: Sequence[str] = ()) -> pd.DataFrame:
    """The rows of a loader's cohort in their order, as texts.

    Args:
        loader: The loader.
        order: Its order; a column of the table gives each row a group.
        columns: Columns that count besides those by which samples differ, such as label maps.

    Returns:
        A table with the columns

        - ``path``: from the folder that all files have in common, so that a folder that is moved stays the same; the name
          of an array; with its seconds, of a span;
        - ``bytes``: size of the file, "" of an array;
        - ``end``: digest of the last bytes, which tell most contents of equal size apart;
        - ``subject``;
        - ``samples``: number of samples;
        - ``choices``: what of the file is read, by columns of the table: channels that were chosen, other sequences, scales;
        - ``group``: its number, "" without groups.

    Raises:
        ReadError: A file cannot be read.
    """
    cohort = loader.cohort
    arrays = cohort.arrays or [None] * len(cohort)
    paths = [str(path) for path in cohort.table["path"]]
    files = [path for path, array in zip(paths, arrays, strict=True) if array is None]
    common = os.path.commonpath([os.path.dirname(path) for path in files]) if files else ""
    groups = groups_of(cohort, order)
    spans = [""] * len(paths)
    if {"span_start", "span_stop"} <= set(cohort.table.columns):
        limits = zip(cohort.table["span_start"].tolist(), cohort.table["span_stop"].tolist(), strict=True)
        spans = [f" {start:g}-{stop:g} s" for start, stop in limits]
    ends = [
        _of_file(kind, path) if array is None else ("", _hex(digests.tail_of_array(array)))
        for kind, path, array in zip(cohort.table["modality"], paths, arrays, strict=True)
    ]
    return pd.DataFrame(
        {
            "path": [(os.path.relpath(path, common) if array is None else path) + span for path, array, span in zip(paths, arrays, spans, strict=True)],
            "bytes": [size for size, _ in ends],
            "end": [end for _, end in ends],
            "subject": cohort.table["subject"].astype(str).to_numpy(),
            "samples": [str(count) for count in loader.source.counts.tolist()],
            "choices": _choices(cohort, columns),
            "group": [""] * len(paths) if groups is None else [str(code) for code in groups.tolist()],
        }
    )


def _choices(cohort: Cohort, columns: Sequence[str]) -> list[str]:
    """What of each row's file is read: values of columns, long ones as digests, and files by their names, sizes and ends."""
    out = [""] * len(cohort)
    for kind in cohort.modalities:
        rows = np.flatnonzero((cohort.table["modality"] == kind).to_numpy()).tolist()
        for column in dict.fromkeys([*registry.get(kind).choices(cohort.table), *columns]):
            if column not in cohort.table:
                continue
            known: dict[Hashable, str] = {}
            values = cohort.table[column].astype(object).tolist()
            for row in rows:
                value = values[row]
                if value is None or value != value or value == "":
                    continue
                if value not in known:
                    text = _whole_file(value) if column in columns and column.startswith("path_") else _short(kind, column, value)
                    known[value] = f"{column}={text}"
                out[row] += f"{'; ' if out[row] else ''}{known[value]}"
    return out


def _short(modality: str, column: str, value: Any) -> str:
    if column.startswith("path_"):
        return " ".join([os.path.basename(value), *_of_file(modality, value)])
    if isinstance(value, bytes) or len(str(value)) > _LONG:
        data = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
        return hashlib.blake2b(data, digest_size=8).hexdigest()
    return str(value)


def _whole_file(path: str) -> str:
    """Name and digest of a label map: those of equal size that are not compressed may all end in background."""
    content = hashlib.blake2b(digest_size=16)
    try:
        with open(regular(path), "rb") as file:
            while piece := file.read(digests.PIECE):
                content.update(piece)
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}") from None
    return f"{os.path.basename(path)} {content.hexdigest()}"


def _of_file(modality: str, path: str) -> tuple[str, str]:
    try:
        signal = registry.get(modality).data_file(path)  # of a recording in several files
        return str(os.stat(signal).st_size), _hex(digests.tail_of_file(signal))
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}") from None


def _hex(value: bytes | None) -> str:
    return "" if value is None else value.hex()


def digest(rows: pd.DataFrame) -> str:
    """One text for all rows and their order."""
    out = hashlib.blake2b(digest_size=16)
    for row in rows.itertuples(index=False):
        out.update("\x1f".join([str(value) for value in row]).encode("utf-8", "surrogateescape") + b"\x1e")
    return out.hexdigest()


def differing_rows(path: Path, ours: pd.DataFrame) -> str:
    """In words, the first row in which the data of a run, kept in a file, is not ours.

    Raises:
        FormatError: The file is not one that a run keeps.
    """
    try:
        theirs = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise FormatError(f"{path}: expected the table of the run's samples, found {error}") from None
    if list(theirs) != list(ours):
        raise FormatError(f"{path}: expected the columns {', '.join(map(str, ours.columns))}, found {', '.join(map(str, theirs.columns))}")
    return _difference(theirs, ours)


def _difference(theirs: pd.DataFrame, ours: pd.DataFrame) -> str:
    for row, (one, other) in enumerate(zip(theirs.itertuples(index=False), ours.itertuples(index=False), strict=False)):
        for name, before, now in zip(ours, one, other, strict=True):
            if before != now:
                return f"row {row} has {name} {before!r} there, {now!r} here"
    return f"{len(theirs)} rows there, {len(ours)} here"


def refuse_other_ranks(rows: pd.DataFrame) -> None:
    """ValueError on every rank where one of them lists other samples than the first, with the first row that differs."""
    if ranks() is None:
        return
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, digest(rows))
    if len(set(found)) == 1:
        return
    first = [rows.astype(str)]
    dist.broadcast_object_list(first, src=0)
    ours = rows.astype(str)
    dist.all_gather_object(found, "" if ours.equals(first[0]) else _difference(first[0], ours))
    rank = next(rank for rank, text in enumerate(found) if text)
    text = f"pretrain: ranks list different data: of rank 0 (there) and rank {rank} (here), {found[rank]}"
    raise ValueError(f"{text}; give all ranks the same files, in the same order")
