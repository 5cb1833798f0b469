"""How a recording was made, as far as its file tells: what predicts a target as well as this does may be the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sslmed._core import FormatError, ReadError
from sslmed.io import open_edf
from sslmed.modalities.base import Array, OnError, Rows
from sslmed.modalities.eeg.recordings import Recording, common_channels, electrodes

__all__ = ["acquisition"]

_MOST = 600.0  # s of a recording that are looked at


def acquisition(cohorts: Sequence[Rows], *, on_error: OnError = "raise") -> list[Array]:
    """[recordings, channels * 3 + 3] of each cohort: amplitude, offset and resolution of the signals as they are stored, before any filter.

    Of each channel that all recordings have: log10 of the variance in µV², the mean (in µV, its logarithm with its sign), and log10 of the smallest step
    between values in µV; then log10 of the length in s, number of signals, and log10 of the sampling rate in Hz. At most the first ten minutes are read.
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
    try:
        names, sfreq, length, values = _stored(str(rows.table["path"].iloc[i])) if kept is None else _held(kept)
    except (FormatError, ReadError):
        if on_error == "raise":
            raise
        return np.full(3 * len(shared) + 3, np.nan)
    found: dict[str, Array] = {}
    for standard, x in zip(electrodes(names), values, strict=True):
        if standard is not None:
            found.setdefault(standard, x)
    parts = [_channel(found[name]) if name in found else (-9.0, 0.0, -9.0) for name in shared]
    return np.concatenate([np.ravel(np.array(parts).T), [np.log10(max(length, 1e-3)), len(names), np.log10(sfreq)]])


def _held(recording: Recording) -> tuple[list[str], float, float, list[Array]]:
    signal = recording.signal.numpy().astype(float)
    return recording.ch_names, recording.sfreq, signal.shape[1] / recording.sfreq, list(signal[:, : round(_MOST * recording.sfreq)])


def _stored(path: str) -> tuple[list[str], float, float, list[Array]]:
    file: Any = open_edf(path)
    rate = max(file.sfreq)
    chosen = [i for i, sfreq in enumerate(file.sfreq) if sfreq == rate]
    scale = [1e6 if file.units[i] == "V" else 1e3 if file.units[i] == "mV" else 1.0 for i in chosen]
    n = [min(file.n_samples[i], round(_MOST * rate)) for i in chosen]
    values = [np.asarray(file.read_channel(i, 0, stop)) * factor for i, factor, stop in zip(chosen, scale, n, strict=True)]
    return [file.ch_names[i] for i in chosen], rate, file.n_samples[chosen[0]] / rate, values


def _channel(x: Array) -> tuple[float, float, float]:
    x = x[np.isfinite(x)]
    if not len(x):
        return -9.0, 0.0, -9.0
    mean = float(x.mean())
    step = np.diff(np.unique(x))
    return float(np.log10(x.var() + 1e-9)), float(np.sign(mean) * np.log10(1 + abs(mean))), float(np.log10(step.min(initial=1e3) + 1e-9))
