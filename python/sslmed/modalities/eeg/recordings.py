"""Recordings in memory, and the channels of recordings wherever they are."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import torch

from sslmed._core import C, FormatError, ReadError, ValueWarning
from sslmed.io import recording_store
from sslmed.modalities.base import Rows
from sslmed.modalities.eeg import index

__all__ = ["Recording", "channels", "common_channels", "files", "from_arrays", "from_mne", "from_npz", "montages", "unknown_channels"]

_Path = str | os.PathLike[str]


class Recording(NamedTuple):
    """A recording in memory."""

    signal: torch.Tensor
    """[C, T] float32 in µV."""
    sfreq: float
    """Sampling rate in Hz."""
    ch_names: list[str]
    """Names of the C channels."""


def channels(rows: Rows) -> list[tuple[list[str], float]]:
    """(names, Hz) of the EEG channels of each recording; reads the headers once."""
    if "channels" not in rows.cache:
        if rows.arrays is None and index.is_indexed(rows.table):
            rows.cache["channels"] = index.channels(rows.table)
        else:
            kept = rows.arrays or [None] * len(rows.table)
            recording_store.prepare(files(rows))
            rows.cache["channels"] = [
                C.recording_info(str(path))[:2] if recording is None else (recording.ch_names, recording.sfreq)
                for path, recording in zip(rows.table["path"], kept, strict=True)
            ]
    return cast("list[tuple[list[str], float]]", rows.cache["channels"])


def files(rows: Rows) -> Iterable[Any]:
    """Paths of the recordings that are not in memory."""
    if rows.arrays is None:
        return cast("Iterable[Any]", rows.table["path"])
    return [path for path, array in zip(rows.table["path"], rows.arrays, strict=True) if array is None]


def montages(rows: Rows) -> list[tuple[list[str], float]]:
    """(names, Hz) that occur; from an index each once."""
    return index.montages(rows.table) if rows.arrays is None and index.is_indexed(rows.table) else channels(rows)


def unknown_channels(rows: Rows) -> list[str]:
    """Channel names without a position in the 10-05 system, sorted."""
    return sorted({c for names, _ in montages(rows) for c in names if C.standard_name(c) is None})


def common_channels(*cohorts: Rows) -> list[str]:
    """10-05 names that every recording of every cohort has, sorted."""
    sets = [{C.standard_name(c) for c in names} - {None} for rows in cohorts for names, _ in montages(rows)]
    return sorted(str(c) for c in set.intersection(*sets))


def from_arrays(
    values: Any, sfreq: float | Sequence[float], ch_names: Sequence[str] | Sequence[Sequence[str]], table: pd.DataFrame, *, name: str
) -> tuple[pd.DataFrame, list[Recording]]:
    """Table and recordings of arrays in memory; as :meth:`sslmed.Cohort.from_arrays` takes them."""
    found = _recordings(values, sfreq, ch_names, len(table), name)
    table = table.reset_index(drop=True).copy()
    if "path" not in table:
        table["path"] = [f"{name}[{i}]" for i in range(len(found))]
    return table, found


def from_mne(raws: Sequence[Any], table: pd.DataFrame, *, name: str) -> tuple[pd.DataFrame, list[Recording]]:
    """Table and recordings of MNE's Raw objects; as :meth:`sslmed.Cohort.from_mne` takes them."""
    values, rates, names = [], [], []
    for i, raw in enumerate(raws):
        kinds = raw.get_channel_types()
        good = [c for c, kind in zip(raw.ch_names, kinds, strict=True) if kind == "eeg" and c not in raw.info["bads"]]
        if not good:
            raise ValueError(f"{name}: recording {i} has no good EEG channel; it has {', '.join(sorted(set(kinds)))}")
        values.append(recording_store.microvolts(raw, good))
        rates.append(float(raw.info["sfreq"]))
        names.append(good)
    return from_arrays(values, rates, names, table, name=name)


def from_npz(paths: Sequence[_Path], *, data: str, sfreq: str, ch_names: str, columns: Sequence[str], name: str) -> tuple[pd.DataFrame, list[Recording]]:
    """Table and recordings of .npz files; as :meth:`sslmed.Cohort.from_npz` takes them."""
    values, rates, names, rows = [], [], [], []
    for path in map(Path, paths):
        try:
            with np.load(path, allow_pickle=False) as archive:
                missing = [k for k in (data, sfreq, ch_names, *columns) if k not in archive]
                if missing:
                    raise FormatError(f"{path}: expected the keys {', '.join(missing)}, found {', '.join(archive.files)}")
                values.append(archive[data])
                rates.append(float(archive[sfreq]))
                names.append([str(c) for c in archive[ch_names]])
                rows.append({"path": str(path)} | {c: str(archive[c]) for c in columns})
        except FileNotFoundError:
            raise ReadError(f"{path}: no such file") from None
        except (ValueError, OSError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"{path}: expected a .npz of plain arrays, found {error}") from error
    return from_arrays(values, rates, names, pd.DataFrame(rows), name=name)


def _recordings(values: Any, sfreq: Any, ch_names: Any, rows: int, name: str) -> list[Recording]:
    """Checks arrays, rates and names against each other and against the number of rows."""
    signals = [_floats(v, f"{name}: recording {i}") for i, v in enumerate(values)]
    n = len(signals)
    if rows != n:
        raise ValueError(f"{name}: values has {n} recordings, expected one for each of the table's {rows} rows")
    rates = [float(sfreq)] * n if np.ndim(sfreq) == 0 else [float(f) for f in sfreq]
    shared = not len(ch_names) or isinstance(ch_names[0], str)
    names = [[str(c) for c in ch_names]] * n if shared else [[str(c) for c in row] for row in ch_names]
    if len(rates) != n or len(names) != n:
        raise ValueError(f"{name}: sfreq and ch_names must be one for all or one a recording ({n})")
    if wrong := [rate for rate in rates if not 0 < rate < np.inf]:
        raise ValueError(f"{name}: sfreq must be positive, got {wrong[0]}")
    for i, (signal, channels) in enumerate(zip(signals, names, strict=True)):
        if signal.ndim != 2 or signal.shape[0] != len(channels):
            raise ValueError(f"{name}: values: recording {i} is {tuple(signal.shape)}, expected [{len(channels)}, samples] for its ch_names")
    some = signals[0].flatten()[:: max(1, signals[0].numel() // 100_000)] if signals else torch.zeros(0)
    if len(some) and 0 < (typical := float(some.nan_to_num().abs().median())) < 0.01:
        text = f"{name}: recording 0 is typically of {typical:.1e} µV; multiply signals in V by 1e6"
        warnings.warn(text, ValueWarning, stacklevel=5)
    return [Recording(*recording) for recording in zip(signals, rates, names, strict=True)]


def _floats(values: Any, what: str) -> torch.Tensor:
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if array.dtype.kind not in "iufb":
        raise ValueError(f"{what} must be real numbers, got {array.dtype}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")  # a file mapped into memory: C++ only reads
        return torch.as_tensor(np.ascontiguousarray(array, np.float32))
