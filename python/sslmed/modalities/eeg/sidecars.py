"""What channels.tsv of a BIDS folder says of a recording's channels."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import cached_property

import pandas as pd

from sslmed import tables
from sslmed._core import FormatError

__all__ = ["ENDINGS", "Nearest", "with_sidecars"]

_CHANNELS = "_channels.tsv"

_ENTITY = re.compile(r"(?:^|_)([a-zA-Z]+-[a-zA-Z0-9+]+)")

ENDINGS = (_CHANNELS,)
"""Endings of the files that are read."""


def with_sidecars(table: pd.DataFrame, sidecars: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The table of recordings with a column ``exclude_channels``: those that channels.tsv calls bad, or of another type than EEG.

    The file is the nearest one, beside a recording or in a folder above it, all of whose entities (task, run …) the recording's name has too.

    Args:
        table: One recording a row.
        sidecars: Paths of the data set's sidecars, by ending.

    Raises:
        FormatError: A channels.tsv has no column ``name``.
    """
    files = Nearest(sidecars.get(_CHANNELS, ()), _CHANNELS).of_all(table["path"].tolist())
    wanted = list(dict.fromkeys(file for file in files if file is not None))
    excluded = dict(zip(wanted, tables.read_many(wanted, _unwanted), strict=True))
    names = [None if file is None else excluded[file] for file in files]
    return table.assign(exclude_channels=pd.Series(names, index=table.index, dtype=object)) if any(names) else table


class Nearest:
    """Sidecars of one ending, by the recordings that they are for.

    Args:
        paths: All of a data set.
        ending: Their ending.
    """

    def __init__(self, paths: Sequence[str], ending: str) -> None:
        self.ending = ending
        self.paths = dict.fromkeys(paths)
        self.levels: dict[str, list[list[tuple[frozenset[str], str]]]] = {}
        """By folder of recordings the sidecars there and above, with the entities of their names, the nearest first."""

    @cached_property
    def by_folder(self) -> dict[str, list[str]]:
        """The sidecars in each folder."""
        found: dict[str, list[str]] = {}
        for path in self.paths:
            found.setdefault(os.path.dirname(path), []).append(path)
        return found

    def of_all(self, recordings: Sequence[str]) -> list[str | None]:
        """The sidecar of each recording; None where it has none."""
        return [self.of(path) for path in recordings] if self.paths else [None] * len(recordings)

    def of(self, recording: str) -> str | None:
        """The nearest sidecar all of whose entities the recording's name has too, the one with most of them."""
        own = recording.rpartition("_")[0] + self.ending
        if own in self.paths:
            return own
        folder, _, name = recording.rpartition("/")
        if (levels := self.levels.get(folder)) is None:
            levels = self.levels[folder] = self._levels(folder)
        if not levels:
            return None
        entities = _entities(name)
        for level in levels:
            if fitting := [(len(these), path) for these, path in level if these <= entities]:
                return max(fitting)[1]
        return None

    def _levels(self, folder: str) -> list[list[tuple[frozenset[str], str]]]:
        levels = []
        while True:
            if folder in self.by_folder:
                levels.append([(_entities(os.path.basename(path)), path) for path in self.by_folder[folder]])
            inner = os.path.basename(folder)
            if not (inner.startswith(("sub-", "ses-")) or inner == "eeg"):
                return levels
            folder = os.path.dirname(folder)


def _entities(name: str) -> frozenset[str]:
    return frozenset(_ENTITY.findall(name))


def _unwanted(found: tables.Texts, path: str) -> str | None:
    """A JSON list of the channels that are bad or of another type."""
    if "name" not in found.columns:
        raise FormatError(f"{path}: expected a column name, found {found.columns}")
    unwanted = []
    for row in found.rows:
        kind, status, name = row.get("type"), row.get("status"), row["name"]
        other = kind is not None and kind.strip().upper() != "EEG"
        if name is not None and (other or (status or "").strip().lower() == "bad"):
            unwanted.append(name.strip())
    return json.dumps(unwanted, ensure_ascii=False) if unwanted else None
