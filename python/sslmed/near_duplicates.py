"""Rows of cohorts that are copies of one another although their bytes differ, as their modalities tell them."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from sslmed import digests
from sslmed._core import FormatError, LeftOutWarning, ReadError
from sslmed.contents import Place
from sslmed.modalities import registry
from sslmed.modalities.base import OneRow, Rows

__all__ = ["Pair", "near_duplicates"]

_KEPT = 1 << 14  # fingerprints of files that are kept in this process

_lock = Lock()
_known: dict[Hashable, Any] = {}


class Pair(NamedTuple):
    """Two rows of which one is a copy of the other, or of a part of it."""

    a: Place
    b: Place
    similarity: float


def near_duplicates(cohorts: Sequence[Rows], *, threads: int = 2) -> list[Pair]:
    """Pairs of rows of different cohorts or subjects of which one is a copy of the other, or of a part of it.

    Each file is read once in a process, as long as it does not change.

    Args:
        cohorts: Cohorts.
        threads: Number of files that are read at a time.

    Warns:
        LeftOutWarning: Rows cannot be read, or hold too little to be compared.
    """
    found: list[Pair] = []
    kinds: dict[str, list[Place]] = {}
    for c, cohort in enumerate(cohorts):
        for r, modality in enumerate(cohort.table["modality"].astype(str)):
            if modality in registry.names() and (likeness := registry.get(modality).likeness):
                kinds.setdefault(likeness, []).append(Place(c, r))
    failed: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # told where the cohorts are used
        for places in kinds.values():
            failed += _compared(cohorts, places, threads, found)
    if failed:
        text = f"near duplicates: {len(failed)} of {sum(map(len, kinds.values()))} rows are compared by file, content and subject only"
        warnings.warn(f"{text}; the first: {failed[0]}", LeftOutWarning, stacklevel=3)
    return found


def _compared(cohorts: Sequence[Rows], places: list[Place], threads: int, found: list[Pair]) -> list[str]:
    """Adds the pairs of rows of one likeness to those that were found; what was wrong with rows that cannot be compared."""
    subjects = [cohort.table["subject"].astype(str).to_numpy() for cohort in cohorts]
    codes: dict[tuple[int, str], int] = {}
    groups = [codes.setdefault((place.cohort, subjects[place.cohort][place.row]), len(codes)) for place in places]
    if len(codes) < 2:
        return []

    def one(place: Place) -> Any:
        try:
            return _fingerprint(cohorts[place.cohort], place.row)
        except (FormatError, ReadError, ValueError) as error:
            if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):  # which says nothing of the file
                raise
            return str(error)

    with ThreadPoolExecutor(max(1, threads)) as pool:
        made = list(pool.map(one, places))
    good = [i for i, fingerprint in enumerate(made) if not isinstance(fingerprint, str)]
    if good:
        modality = registry.get(str(cohorts[places[0].cohort].table["modality"].iloc[places[0].row]))
        for a, b, similarity in modality.copies([made[i] for i in good], np.array([groups[i] for i in good])):
            found.append(Pair(places[good[a]], places[good[b]], similarity))
    return [fingerprint for fingerprint in made if isinstance(fingerprint, str)]


def _fingerprint(cohort: Rows, row: int) -> Any:
    """A row's fingerprint, of a file kept from the last time."""
    table = cohort.table.iloc[[row]]
    modality = registry.get(str(table["modality"].iloc[0]))
    array = None if cohort.arrays is None else cohort.arrays[row]
    rows = OneRow(table, cohort.name, None if array is None else [array])
    if array is not None:
        return modality.fingerprint(rows)
    path = str(table["path"].iloc[0])
    try:
        states = tuple(digests.state_of(member) for member in modality.members(path))
    except OSError:
        return modality.fingerprint(rows)  # which says what is wrong
    columns = [column for column in modality.columns(table) if column in table and column not in ("path", "subject")]
    key = (modality.name, states, *((column, str(table[column].iloc[0])) for column in columns))
    if key not in _known:
        made = modality.fingerprint(rows)
        with _lock:
            while len(_known) >= _KEPT:
                _known.pop(next(iter(_known)))
            _known[key] = made
    return _known[key]
