"""Large cohorts: what their files' headers say, kept in one table, so that a million recordings open without touching one."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from sslmed._core import C, FormatWarning

__all__ = ["COLUMNS", "channels", "describe", "is_indexed", "montages", "read", "source", "texts", "trim"]

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


def read(path: Path) -> pd.DataFrame:
    """A Parquet table, its texts in one piece each, so that the C++ side can use them where they lie."""
    with pa.memory_map(str(path)) as file:
        table: pd.DataFrame = pq.read_table(file, pre_buffer=False).combine_chunks().to_pandas(split_blocks=True, self_destruct=True)
    trim()
    return table


def trim() -> None:
    """Gives back what large temporary columns took."""
    pa.default_memory_pool().release_unused()
    C.trim_memory()


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
        origins=origins(table), montage_codes=torch.from_numpy(montage_codes), montages=[(rate, names) for names, rate in found],
        samples=torch.from_numpy(table["n_samples"].to_numpy(np.int64, copy=True)),
        gappy=gappy, options=options, extra_channels=list(extra_channels), targets=targets or {},
    )  # fmt: skip


def _montages(table: pd.DataFrame) -> tuple[np.ndarray[Any, Any], list[tuple[list[str], float]]]:
    """[recordings] int64 codes, and the montage of each code."""
    name_codes, names = pd.factorize(table["channels"])
    rate_codes, rates = pd.factorize(table["sfreq"])
    codes, pairs = pd.factorize(name_codes.astype(np.int64) * len(rates) + rate_codes)
    return codes, [(json.loads(str(names[pair // len(rates)])), float(rates[pair % len(rates)])) for pair in pairs.tolist()]


def origins(table: pd.DataFrame) -> tuple[Any, Any, Any, Any, list[str]]:
    """Paths, subjects and sites of a table's rows, as C++ sources take them."""
    subject_codes, subjects = pd.factorize(table["subject"])
    site_codes, sites = pd.factorize(table["site"].astype(str))
    whose = (torch.from_numpy(subject_codes), texts(pd.Series(subjects)), torch.from_numpy(site_codes), [str(s) for s in sites])
    return (texts(table["path"]), *whose)


def texts(column: pd.Series[Any], *, binary: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Arrow's own memory of a column of texts, or of bytes: int64 offsets and UTF-8 bytes, not copied where the column lies in one piece."""
    array = pa.array(column) if binary or isinstance(column.array, pd.arrays.ArrowStringArray) else pa.array(column.astype("str"))
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    array = array.cast(pa.large_binary() if binary else pa.large_string())
    _, offsets, data = array.buffers()
    at = np.frombuffer(offsets, np.int64, len(array) + 1, 8 * array.offset)
    text = np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(0, np.uint8)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")  # and C++ only reads
        return torch.from_numpy(at), torch.from_numpy(text)
