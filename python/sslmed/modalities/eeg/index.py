"""The index of recordings: what their files' headers say, kept in one table, so that a million recordings open without touching one."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sslmed._checks import number
from sslmed._core import C, FormatError, FormatWarning
from sslmed.io import recording_store

__all__ = [
    "CHOICES",
    "COLUMNS",
    "SPAN",
    "channels",
    "choices",
    "codes_and_montages",
    "describe",
    "is_indexed",
    "is_spans",
    "montages",
    "parsed",
    "positions",
    "write",
]

COLUMNS = {
    "sfreq": "sampling rate in Hz of the recording's EEG channels",
    "n_samples": "number of stored samples of each channel",
    "channels": "JSON list of the channels' names",
}
"""Columns of an index beside ``path`` and ``subject``. Where recordings have gaps there is also ``stretches``, JSON of [first, last) samples."""


SPAN = ("span_start", "span_stop")
"""Columns of rows that are spans of recordings: s from the recording's first sample."""

CHOICES = ("use_channels", "exclude_channels", "channel_units")
"""Columns of JSON that say how a recording's channels are read."""


def is_indexed(table: pd.DataFrame) -> bool:
    """Whether a cohort's table is an index of recordings."""
    if not set(COLUMNS) <= set(table.columns):
        return False
    # A manifest may have columns of these names.
    some = table["channels"].dropna()
    return len(some) == 0 or str(some.iloc[0]).lstrip().startswith("[")


def describe(table: pd.DataFrame, threads: int = 8, flat_gap: float = 0.5) -> pd.DataFrame:
    """The table with an index's columns, read from the files' headers, their annotations, and their signals as far as gaps need it.

    Of spans (:data:`SPAN`) what they hold.

    Args:
        table: Rows with ``path``.
        threads: Number of files that are read at a time.
        flat_gap: Time in s for which no channel changes that is a gap, such as one that was filled with zeros; 0: none are looked for.
            Sources of the index have its gaps, whatever their preprocessing says.

    Raises:
        FormatError, ReadError: A recording cannot be opened.
        ValueError: ``flat_gap`` is negative.

    Warns:
        FormatWarning: A file was salvaged.
    """
    number("index", "flat_gap", flat_gap, 0)
    recording_store.prepare(table["path"])
    of_file, files = _distinct_files(table)
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(C.recording_info, files["path"].astype(str), *choices(files), [flat_gap] * len(files)))
    for _, _, _, notes in found:
        for note in notes:
            warnings.warn(note, FormatWarning, stacklevel=3)
    names = [json.dumps(channels, ensure_ascii=False) for channels, _, _, _ in found]
    stretches = [found[file][2] for file in of_file]
    if is_spans(table):
        limits = zip(table[SPAN[0]].tolist(), table[SPAN[1]].tolist(), strict=True)
        stretches = [
            _within(there, first * found[file][1], last * found[file][1]) for there, file, (first, last) in zip(stretches, of_file, limits, strict=True)
        ]
    columns: dict[str, Any] = {
        "sfreq": [found[file][1] for file in of_file],
        "n_samples": [sum(last - first for first, last in there) for there in stretches],
        "channels": pd.Categorical([names[file] for file in of_file]),
    }
    gaps = [None if len(there) == 1 and there[0][0] == 0 else json.dumps(there) for there in stretches]
    if any(gaps):
        columns["stretches"] = gaps
    return table.assign(**columns)


def is_spans(table: pd.DataFrame) -> bool:
    """Whether the rows of a cohort's table are spans of recordings, see :data:`SPAN`."""
    return set(SPAN) <= set(table.columns)


def _distinct_files(table: pd.DataFrame) -> tuple[list[int], pd.DataFrame]:
    """Of each row which of the files it is of, and a table of these: spans of one file open it once."""
    if not is_spans(table):
        return list(range(len(table))), table
    columns = ["path", *(column for column in CHOICES if column in table)]
    codes = table.groupby(columns, sort=False, dropna=False, observed=True).ngroup().tolist()
    return codes, table[columns].drop_duplicates().reset_index(drop=True)


def _within(stretches: list[tuple[int, int]], first: float, last: float) -> list[tuple[int, int]]:
    """What of stretches is in a span; an onset that is a decimal number may be half a sample off."""
    low, high = round(first), round(last)
    return [(max(a, low), min(b, high)) for a, b in stretches if min(b, high) > max(a, low)]


def choices(table: pd.DataFrame) -> tuple[list[list[str]], list[list[str]], list[dict[str, str]]]:
    """What columns say of each row's channels: wanted (none: all), not wanted, and units in the place of the file's.

    Raises:
        ValueError: An entry of ``use_channels`` or ``exclude_channels`` is no JSON list of names, or one of ``channel_units`` no
            JSON object.
    """
    units = [dict(value) for value in parsed(table, "channel_units", dict, 'objects, such as {"Fp1": "uV"}')]
    names = 'lists of channel names, such as ["Fp1", "Cz"]'
    return parsed(table, "use_channels", list, names), parsed(table, "exclude_channels", list, names), units


def parsed(table: pd.DataFrame, column: str, kind: type[Any], example: str) -> list[Any]:
    """The values of a column of JSON, equal ones the same object; empty ones where the column or a value is missing.

    Raises:
        ValueError: A value is no JSON of this kind, of texts.
    """
    if column not in table:
        return [kind()] * len(table)
    known: dict[Any, Any] = {}
    for value in table[column].dropna().unique():
        try:
            found = json.loads(str(value))
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, kind) or not all(isinstance(name, str) for name in found):
            row = int((table[column] == value).to_numpy().argmax())
            where = f"{table['path'].iloc[row]}: " if "path" in table else ""
            raise ValueError(f"{where}column {column!r} must hold JSON {example}, found {str(value)!r} in row {row}")
        known[value] = found
    empty = kind()
    return [known.get(value, empty) for value in table[column].tolist()]


def write(table: pd.DataFrame, out: str | os.PathLike[str]) -> None:
    """Writes an index with absolute paths, as Parquet (.parquet), or as text separated by tabs, or by commas (.csv)."""
    path = Path(out)
    table = table.assign(path=[os.path.abspath(p) for p in table["path"]])
    if path.suffix.lower() == ".parquet":
        table.to_parquet(path, index=False, row_group_size=max(1, len(table)))
    else:
        table.to_csv(path, sep="," if Path(out).suffix.lower() == ".csv" else "\t", index=False)


def channels(table: pd.DataFrame) -> list[tuple[list[str], float]]:
    """(names, Hz) of every recording in an index."""
    codes, montages = codes_and_montages(table)
    return [montages[code] for code in codes]


def montages(table: pd.DataFrame) -> list[tuple[list[str], float]]:
    """(names, Hz) of every montage in an index, each once."""
    return codes_and_montages(table)[1]


def codes_and_montages(table: pd.DataFrame) -> tuple[np.ndarray[Any, Any], list[tuple[list[str], float]]]:
    """[recordings] int64 codes, and the montage of each code."""
    name_codes, names = pd.factorize(table["channels"])
    rate_codes, rates = pd.factorize(table["sfreq"])
    for column, codes_of in (("channels", name_codes), ("sfreq", rate_codes)):
        if (missing := codes_of < 0).any():
            row = int(missing.argmax())
            raise FormatError(
                f"index: {table['path'].iloc[row]}: expected a value in column {column!r} of every row, found none in {int(missing.sum())} of {len(table)} "
                f"rows, row {row} first; index the recordings again"
            )
    codes, pairs = pd.factorize(name_codes.astype(np.int64) * len(rates) + rate_codes)

    def where(code: int) -> str:
        return f"{table['path'].iloc[int((codes == code).argmax())]}"

    return codes, [(_names(names[pair // len(rates)], code, where), float(rates[pair % len(rates)])) for code, pair in enumerate(pairs.tolist())]


def positions(table: pd.DataFrame) -> list[dict[str, tuple[float, float, float]]]:
    """Measured places of electrodes of each row in mm, by their names: the column ``electrode_positions``."""
    return parsed(table, "electrode_positions", dict, 'objects, such as {"E1": [0, 80, 51]}')


def _names(text: Any, code: int, where: Callable[[int], str]) -> list[str]:
    try:
        names = json.loads(str(text))
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        found = f"found {str(text)[:80]!r}; index the recordings again"
        raise FormatError(f"{where(code)}: expected a JSON list of names in the index's column 'channels', {found}")
    return names
