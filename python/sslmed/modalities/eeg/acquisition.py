"""How a recording was made, as far as its file tells: what predicts a target as well as this does may be the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sslmed._core import C, FormatError, ReadError
from sslmed.io import recording_store
from sslmed.modalities.base import Array, OnError, Rows
from sslmed.modalities.eeg import index
from sslmed.modalities.eeg.recordings import Recording, common_channels, electrodes

__all__ = ["acquisition"]

_MOST = 600.0  # s of a recording that are looked at


def acquisition(cohorts: Sequence[Rows], *, on_error: OnError = "raise") -> list[Array]:
    """[recordings, channels * 3 + 3] of each cohort: amplitude, offset and resolution of the signals as they are stored, before any filter.

    Of each channel that all recordings have: log10 of the variance in µV², the mean (in µV, its logarithm with its sign), and log10 of the smallest step
    between values in µV; then log10 of the length in s, number of signals, and log10 of the sampling rate in Hz. At most the first ten minutes are read.
    Channels, rates and units are those of a source, whatever the file's format.
    NaN for a recording that cannot be read (``on_error="skip"``).

    Raises:
        ValueError: The recordings share no channel.
        FormatError, ReadError: A file cannot be read (``on_error="raise"``).
    """
    shared = common_channels(*cohorts)
    if not shared:
        raise ValueError(f"{' and '.join(c.name for c in cohorts)}: acquisition needs channels that all recordings share, and there are none")
    return [np.stack([_recording(rows, i, shared, on_error) for i in range(len(rows.table))]) for rows in cohorts]


def _recording(rows: Rows, i: int, shared: Sequence[str], on_error: OnError) -> Array:
    kept: Recording | None = None if rows.arrays is None else rows.arrays[i]
    (use,), (exclude,), (units,) = index.choices(rows.table.iloc[[i]])
    try:
        stored = _stored(str(rows.table["path"].iloc[i]), use, exclude, units) if kept is None else _held(kept)
    except (FormatError, ReadError):
        if on_error == "raise":
            raise
        return np.full(3 * len(shared) + 3, np.nan)
    found: dict[str, Array] = {}
    for standard, x in zip(electrodes(stored.names), stored.values, strict=True):
        if standard is not None:
            found.setdefault(standard, x)
    parts = [_channel(found[name]) if name in found else (-9.0, 0.0, -9.0) for name in shared]
    return np.concatenate([np.ravel(np.array(parts).T), [np.log10(max(stored.length, 1e-3)), stored.signals, np.log10(stored.sfreq)]])


class _Stored(NamedTuple):
    names: list[str]
    sfreq: float
    """Hz."""
    length: float
    """s."""
    signals: int
    """Number of signals, EEG or not."""
    values: Array
    """[channels, samples] in µV."""


def _held(recording: Recording) -> _Stored:
    signal = recording.signal[:, : round(_MOST * recording.sfreq)].numpy().astype(float)
    length = recording.signal.shape[1] / recording.sfreq
    return _Stored(recording.ch_names, recording.sfreq, length, len(recording.ch_names), signal)


def _stored(path: str, use: list[str], exclude: list[str], units: dict[str, str]) -> _Stored:
    recording_store.prepare([path])
    names, sfreq, length, values = C.read_recording(path, use, exclude, units, _MOST)
    return _Stored(names, sfreq, length, len(C.recording_signals(path)), values.numpy().astype(float))


def _channel(x: Array) -> tuple[float, float, float]:
    x = x[np.isfinite(x)]
    if not len(x):
        return -9.0, 0.0, -9.0
    mean = float(x.mean())
    step = np.diff(np.unique(x))
    return float(np.log10(x.var() + 1e-9)), float(np.sign(mean) * np.log10(1 + abs(mean))), float(np.log10(step.min(initial=1e3) + 1e-9))
