"""The index of recordings: what their files' headers say, kept in one table, so that a million recordings open without touching one."""

from __future__ import annotations

import json
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sslmed._core import C, FormatError, FormatWarning
from sslmed.io import recording_store

__all__ = ["COLUMNS", "channels", "choices", "codes_and_montages", "describe", "is_indexed", "montages", "write"]

COLUMNS = {
    "sfreq": "sampling rate in Hz of the recording's EEG channels",
    "n_samples": "number of stored samples of each channel",
    "channels": "JSON list of the channels' names",
}
"""Columns of an index beside ``path`` and ``subject``. Where recordings have gaps there is also ``stretches``, JSON of [first, last) samples."""


def is_indexed(table: pd.DataFrame) -> bool:
    """Whether a cohort's table is an index of recordings."""
    if not set(COLUMNS) <= set(table.columns):
        return False
    # A manifest may have columns of these names.
    some = table["channels"].dropna()
    return len(some) == 0 or str(some.iloc[0]).lstrip().startswith("[")


def describe(table: pd.DataFrame, threads: int = 8) -> pd.DataFrame:
    """The table with an index's columns, read from the files' headers.

    Raises:
        FormatError, ReadError: A recording cannot be opened.

    Warns:
        FormatWarning: A file was salvaged.
    """
    recording_store.prepare(table["path"])
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(C.recording_info, table["path"].astype(str), *choices(table)))
    for _, _, _, notes in found:
        for note in notes:
            warnings.warn(note, FormatWarning, stacklevel=3)
    columns: dict[str, Any] = {
        "sfreq": [rate for _, rate, _, _ in found],
        "n_samples": [sum(last - first for first, last in stretches) for _, _, stretches, _ in found],
        "channels": pd.Categorical([json.dumps(names, ensure_ascii=False) for names, _, _, _ in found]),
    }
    gaps = [None if len(stretches) == 1 and stretches[0][0] == 0 else json.dumps(stretches) for _, _, stretches, _ in found]
    if any(gaps):
        columns["stretches"] = gaps
    return table.assign(**columns)


def choices(table: pd.DataFrame) -> tuple[list[list[str]], list[list[str]]]:
    """Of each row the channels that are wanted (none: all) and those that are not: the columns ``use_channels`` and ``exclude_channels``.

    Raises:
        ValueError: An entry is no JSON list of names.
    """
    return _lists(table, "use_channels"), _lists(table, "exclude_channels")


def _lists(table: pd.DataFrame, column: str) -> list[list[str]]:
    if column not in table:
        return [[]] * len(table)
    known: dict[Any, list[str]] = {}
    for value in table[column].dropna().unique():
        try:
            names = json.loads(str(value))
        except (ValueError, RecursionError):
            names = None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f'column {column!r} must hold JSON lists of channel names, such as ["Fp1", "Cz"], found {str(value)!r}')
        known[value] = names
    return [known.get(value, []) for value in table[column]]


def write(table: pd.DataFrame, out: str | os.PathLike[str]) -> None:
    """Writes an index with absolute paths, as Parquet (.parquet) or as text separated by tabs."""
    path = Path(out)
    table = table.assign(path=[os.path.abspath(p) for p in table["path"]])
    if path.suffix.lower() == ".parquet":
        table.to_parquet(path, index=False, row_group_size=max(1, len(table)))
    else:
        table.to_csv(path, sep="\t", index=False)


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
    return codes, [(_names(names[pair // len(rates)]), float(rates[pair % len(rates)])) for pair in pairs.tolist()]


def _names(text: Any) -> list[str]:
    try:
        names = json.loads(str(text))
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FormatError(f"index: expected a JSON list of names in column 'channels', found {str(text)[:80]!r}; index the recordings again")
    return names
