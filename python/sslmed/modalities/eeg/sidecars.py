"""What channels.tsv of a BIDS folder says of a recording's channels."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import cached_property

import pandas as pd

from sslmed import tables
from sslmed._core import C, FormatError

__all__ = ["CHANNELS", "Nearest", "sidecars_near", "with_sidecars"]

_CHANNELS = "_channels.tsv"

_ENTITY = re.compile(r"(?:^|_)([a-zA-Z]+-[a-zA-Z0-9+]+)")

CHANNELS = "_channels.tsv"


def with_sidecars(table: pd.DataFrame, sidecars: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The table of recordings with what channels.tsv says.

    Columns are ``exclude_channels``, those that are bad or of another type than EEG, and ``channel_units``, voltages that come before those
    of the file's header. The file is the nearest one, beside a recording or in a folder above it, all of whose entities (task, run …) the
    recording's name has too.

    Args:
        table: One recording a row.
        sidecars: Paths of the data set's sidecars, by ending.

    Raises:
        FormatError: A channels.tsv has no column ``name``.
    """
    paths = table["path"].tolist()
    files = Nearest(sidecars.get(CHANNELS, ()), CHANNELS).of_all(paths)
    wanted = list(dict.fromkeys(file for file in files if file is not None))
    said = dict(zip(wanted, tables.read_many(wanted, _said), strict=True))
    unwanted = [None if file is None else said[file][0] for file in files]
    # MNE's own format knows its units; EEGLAB's has none.
    units = [None if file is None or path.lower().endswith((".fif", ".fif.gz")) else said[file][1] for file, path in zip(files, paths, strict=True)]
    columns = {"exclude_channels": unwanted, "channel_units": units}
    given = {name: pd.Series(values, index=table.index, dtype=object) for name, values in columns.items() if any(values)}
    return table.assign(**given) if given else table


def sidecars_near(recordings: Sequence[str], ending: str) -> list[str]:
    """Sidecars in the folders of recordings, and in those above them up to the data set's."""
    folders: dict[str, None] = {}
    for folder in dict.fromkeys(os.path.dirname(path) for path in recordings):
        above = folder
        while above not in folders:
            folders[above] = None
            inner = os.path.basename(above)
            if not (inner.startswith(("sub-", "ses-")) or inner == "eeg"):
                break
            above = os.path.dirname(above)
    found = []
    for folder in folders:
        names = sorted(os.listdir(folder or ".")) if os.path.isdir(folder or ".") else []
        found += [os.path.join(folder, name) for name in names if name.endswith(ending) and name[0] != "."]
    return found


class Nearest:
    """Sidecars of one ending, by the recordings that they are for.

    Args:
        paths: All of a data set.
        ending: Their ending.
        ignored: Start of an entity that recordings do not have, such as "space-".
    """

    def __init__(self, paths: Sequence[str], ending: str, ignored: str = "") -> None:
        self.ending = ending
        self.ignored = ignored
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
                levels.append([(self._own(path), path) for path in self.by_folder[folder]])
            inner = os.path.basename(folder)
            if not (inner.startswith(("sub-", "ses-")) or inner == "eeg"):
                return levels
            folder = os.path.dirname(folder)

    def _own(self, path: str) -> frozenset[str]:
        entities = _entities(os.path.basename(path))
        return frozenset(e for e in entities if not e.startswith(self.ignored)) if self.ignored else entities


def _entities(name: str) -> frozenset[str]:
    return frozenset(_ENTITY.findall(name))


def _said(found: tables.Texts, path: str) -> tuple[str | None, str | None]:
    """JSON of the channels that are bad or of another type, and of the units of the others."""
    found = found.named("name", "type", "status", "units")
    if "name" not in found.columns:
        raise FormatError(f"{path}: expected a column name, found {found.columns}")
    unwanted: list[str] = []
    units: dict[str, str] = {}
    for row in found.rows:
        if row["name"] is None:
            continue
        name, kind, status, unit = row["name"].strip(), row.get("type"), row.get("status"), row.get("units")
        other = kind is not None and kind.strip().upper() != "EEG"
        if other or (status or "").strip().lower() == "bad":
            unwanted.append(name)
        if not other and unit is not None and unit.strip() and C.microvolts(unit) is not None:
            units[name] = unit.strip()
    texts = [json.dumps(value, ensure_ascii=False) if value else None for value in (unwanted, units)]
    return texts[0], texts[1]
