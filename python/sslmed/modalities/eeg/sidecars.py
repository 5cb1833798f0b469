"""What channels.tsv of a BIDS folder says of a recording's channels."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pandas as pd

from sslmed import tables
from sslmed._core import FormatError

__all__ = ["with_sidecars"]

_ENDING = "_channels.tsv"


def with_sidecars(table: pd.DataFrame) -> pd.DataFrame:
    """The table of recordings with a column ``exclude_channels``: those that channels.tsv calls bad, or of another type than EEG.

    The file is the nearest one, beside a recording or in a folder above it, all of whose entities (task, run …) the recording's name has too.

    Raises:
        FormatError: A channels.tsv has no column ``name``.
    """
    folders: dict[str, list[tuple[str, set[str]]]] = {}
    known: dict[str, list[str]] = {}
    excluded: list[str | None] = []
    for path in table["path"].astype(str):
        file = _file_of(path, folders)
        if file is None:
            excluded.append(None)
            continue
        if file not in known:
            known[file] = _unwanted(Path(file))
        excluded.append(json.dumps(known[file], ensure_ascii=False) if known[file] else None)
    return table.assign(exclude_channels=pd.Series(excluded, index=table.index, dtype=object)) if any(excluded) else table


def _file_of(path: str, folders: dict[str, list[tuple[str, set[str]]]]) -> str | None:
    own = _entities(os.path.basename(path))
    folder = os.path.dirname(path)
    while True:
        if folder not in folders:
            names = sorted(name for name in os.listdir(folder or ".") if name.endswith(_ENDING) and not name.startswith("."))
            folders[folder] = [(os.path.join(folder, name), _entities(name)) for name in names]
        fitting = [(len(entities), file) for file, entities in folders[folder] if entities <= own]
        if fitting:
            return max(fitting)[1]
        inner = os.path.basename(folder)
        if not (inner.startswith(("sub-", "ses-")) or inner == "eeg"):
            return None
        folder = os.path.dirname(folder)


def _entities(name: str) -> set[str]:
    return set(re.findall(r"(?:^|_)([a-zA-Z]+-[a-zA-Z0-9+]+)", name))


def _unwanted(path: Path) -> list[str]:
    found = tables.read_table(path, "\t")
    if "name" not in found:
        raise FormatError(f"{path}: expected a column name, found {list(found.columns)}")
    unwanted = pd.Series(False, index=found.index)
    if "type" in found:
        kinds = found["type"].astype(str).str.strip().str.upper()
        unwanted |= found["type"].notna() & (kinds != "EEG")
    if "status" in found:
        unwanted |= found["status"].astype(str).str.strip().str.lower() == "bad"
    return [str(name).strip() for name in found.loc[unwanted, "name"].dropna()]
