"""What the rows of cohorts hold, as digests: the same for copies under another file name or another person's name."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, NamedTuple, TypeVar

from sslmed import digests
from sslmed.modalities import registry
from sslmed.modalities.base import Rows

__all__ = ["Place", "contents", "equal_contents"]

_T = TypeVar("_T")

_THREADS = 8
_PART = 16  # rows of a task
_KEPT = 1 << 20  # digests of files that are kept in this process

_lock = Lock()
_known: dict[tuple[tuple[int, ...], str, bool], bytes] = {}


class Place(NamedTuple):
    """A row of one of several cohorts."""

    cohort: int
    """Number of the cohort."""
    row: int
    """Position in its table."""


class _Row(NamedTuple):
    path: str
    modality: str
    array: Any


def contents(cohort: Rows) -> list[bytes | None]:
    """Digest of the content of each row.

    A file's content is hashed once in a process, as long as it does not change
    (:meth:`sslmed.modalities.Modality.content`). Of arrays in memory type, shape and bytes are hashed.

    Args:
        cohort: A cohort.

    Returns:
        One digest a row; None for a file that cannot be read, and for a row in memory without an array.
    """
    return _each(_whole, _rows(cohort))


def equal_contents(cohorts: Sequence[Rows]) -> list[list[Place]]:
    """Groups of rows with the same content, within and between cohorts.

    Only rows of equal size are looked into, and only those with an equal end are hashed.

    Args:
        cohorts: Cohorts.

    Returns:
        Groups of at least two rows, each in the order of the cohorts and rows.
    """
    rows = {Place(c, r): row for c, cohort in enumerate(cohorts) for r, row in enumerate(_rows(cohort))}
    groups = [list(rows)]
    for key in (_size, _tail, _whole):
        places = [place for group in groups for place in group]
        found = dict(zip(places, _each(key, [rows[place] for place in places]), strict=True))
        groups = [part for group in groups for part in _parted(group, found)]
    return groups


def _parted(group: list[Place], found: dict[Place, Hashable]) -> Iterable[list[Place]]:
    parts: dict[Hashable, list[Place]] = {}
    for place in group:
        if found[place] is not None:
            parts.setdefault(found[place], []).append(place)
    return [part for part in parts.values() if len(part) > 1]


def _rows(cohort: Rows) -> list[_Row]:
    kept = cohort.arrays or [None] * len(cohort.table)
    columns = (cohort.table["path"].astype(str).tolist(), cohort.table["modality"].astype(str).tolist(), kept)
    return [_Row(*row) for row in zip(*columns, strict=True)]


def _each(make: Callable[[_Row], _T], rows: list[_Row]) -> list[_T]:
    if len(rows) < 4 * _THREADS:
        return [make(row) for row in rows]
    parts = [rows[at : at + _PART] for at in range(0, len(rows), _PART)]  # a task a row would cost more than a look at most files
    with ThreadPoolExecutor(_THREADS) as pool:  # reading and hashing let the interpreter go
        return [found for part in pool.map(lambda part: [make(row) for row in part], parts) for found in part]


def _data_file(row: _Row) -> str | os.PathLike[str]:
    return registry.get(row.modality).data_file(row.path) if row.modality in registry.names() else row.path


def _size(row: _Row) -> Hashable:
    if row.array is not None:
        return digests.shape_of(row.array) or None
    try:
        return row.modality, os.stat(_data_file(row)).st_size
    except OSError:
        return None


def _tail(row: _Row) -> bytes | None:
    return _of_file(row, quick=True) if row.array is None else digests.tail_of_array(row.array)


def _whole(row: _Row) -> bytes | None:
    return _of_file(row, quick=False) if row.array is None else digests.of_array(row.array)


def _of_file(row: _Row, quick: bool) -> bytes | None:
    """The file's digest, kept from the last time; None where it cannot be read."""
    try:
        key = (digests.state_of(_data_file(row)), row.modality, quick)
        if key in _known:
            return _known[key]
        if row.modality in registry.names():
            kind = registry.get(row.modality)
            digest = digests.tail_of_file(kind.data_file(row.path), kind.body(row.path)) if quick else kind.content(row.path)
        else:
            digest = digests.tail_of_file(row.path) if quick else digests.of_file(row.path)
    except OSError:
        return None
    with _lock:
        while len(_known) >= _KEPT:
            _known.pop(next(iter(_known)))
        _known[key] = digest
    return digest
