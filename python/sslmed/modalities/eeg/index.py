"""Large cohorts: what their files' headers say, kept in one table, so that a million recordings open without touching one."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import torch

from sslmed import tables
from sslmed._core import C, FormatWarning

__all__ = ["COLUMNS", "channels", "describe", "is_indexed", "montages", "source"]

COLUMNS = {
    "sfreq": "Hz of the recording's EEG channels",
    "n_samples": "stored samples of each channel",
    "channels": "JSON list of their names",
}
"""What an index has beside ``path`` and ``subject``; ``stretches``, JSON of [first, last) samples, where recordings have gaps."""


def is_indexed(table: pd.DataFrame) -> bool:
    """Whether a cohort's table says what its files hold."""
    return set(COLUMNS) <= set(table.columns)


def describe(table: pd.DataFrame, threads: int = 8) -> pd.DataFrame:
    """The table with an index's columns, read from the files' headers.

    Raises:
        FormatError, ReadError: A recording cannot be opened.

    Warns:
        FormatWarning: What was salvaged.
    """
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(C.recording_info, table["path"].astype(str)))
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


def channels(table: pd.DataFrame) -> list[tuple[list[str], float]]:
    """(names, Hz) of every recording in an index."""
    codes, montages = _montages(table)
    return [montages[code] for code in codes]


def montages(table: pd.DataFrame) -> list[tuple[list[str], float]]:
    """(names, Hz) of every montage in an index, each once."""
    return _montages(table)[1]


def source(table: pd.DataFrame, name: str, options: C.EegOptions, extra_channels: Sequence[str], targets: dict[str, list[float]] | None = None) -> C.EegSource:
    """Windows of an index's recordings. No file is opened: one that is not as described is a FormatError when it is read.

    Raises:
        ValueError: A column that does not fit.
    """
    for column in COLUMNS:
        if table[column].isna().any():
            raise ValueError(f"{name}: every recording of an index needs {column}; row {int(table[column].isna().argmax())} has none")
    montage_codes, found = _montages(table)
    gappy = {}
    if "stretches" in table:
        rows = np.flatnonzero(table["stretches"].notna())
        gappy = {int(i): [tuple(s) for s in json.loads(str(table["stretches"].iloc[i]))] for i in rows}
    return C.EegSource.indexed(
        origins=tables.origins(table), montage_codes=torch.from_numpy(montage_codes), montages=[(rate, names) for names, rate in found],
        samples=torch.from_numpy(table["n_samples"].to_numpy(np.int64, copy=True)),
        gappy=gappy, options=options, extra_channels=list(extra_channels), targets=targets or {},
    )  # fmt: skip


def _montages(table: pd.DataFrame) -> tuple[np.ndarray[Any, Any], list[tuple[list[str], float]]]:
    """[recordings] int64 codes, and the montage of each code."""
    name_codes, names = pd.factorize(table["channels"])
    rate_codes, rates = pd.factorize(table["sfreq"])
    codes, pairs = pd.factorize(name_codes.astype(np.int64) * len(rates) + rate_codes)
    return codes, [(json.loads(str(names[pair // len(rates)])), float(rates[pair % len(rates)])) for pair in pairs.tolist()]
