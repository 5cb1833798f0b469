"""EDF and BDF recordings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

import numpy as np
import torch

from sslmed._core import C

__all__ = ["EdfFile", "open_edf", "validate", "write_edf"]

_Path = str | os.PathLike[str]
_MNE_TYPES = {"ecg": "ecg", "ekg": "ecg", "eog": "eog", "emg": "emg", "status": "stim", "trigger": "stim"}


class EdfFile(C.EdfFile):
    """An open EDF, EDF+C, EDF+D or BDF file. Values are physical; times count from the first sample; gaps are NaN.

    ``ch_names``, ``units``, ``sfreq`` (Hz) and ``n_samples`` are lists with one entry a signal, annotation signals
    excluded. See :func:`open_edf`.
    """

    def to_mne(self, channels: Sequence[int] | None = None) -> Any:
        """This recording as an ``mne.io.RawArray``: volts, annotations and measurement date.

        A channel whose unit is no voltage, such as a heart rate in bpm, is of type "misc" and keeps its unit, whatever its name.
        Gaps of a discontinuous file become zeros under a ``BAD_ACQ_SKIP`` annotation, as MNE has it.

        Args:
            channels: Channel numbers; by default all. They must share one sampling rate.

        Raises:
            ValueError: The channels have different sampling rates.
        """
        import mne

        picked = list(range(len(self.ch_names))) if channels is None else list(channels)
        rates = {self.sfreq[i] for i in picked}
        if len(rates) != 1:
            raise ValueError(f"{self.path}: channels with {len(rates)} sampling rates cannot be one RawArray; pick some")
        data = self.read(0.0, self.duration, picked).double().numpy()
        types = [self._mne_type(i) for i in picked]
        for row, i in enumerate(picked):
            if types[row] != "misc" and types[row] != "stim":
                data[row] *= cast("float", _volts(self.units[i]))
        gaps = np.isnan(data).all(axis=0)
        data[:, gaps] = 0.0
        labels = [self.ch_names[i] for i in picked]
        # MNE needs unique names.
        names = [n if labels.count(n) == 1 else f"{n}-{labels[:k].count(n)}" for k, n in enumerate(labels)]
        info = mne.create_info(names, rates.pop(), types)
        raw = mne.io.RawArray(data, info, verbose="error")
        if self.start_time is not None:
            from datetime import timezone

            raw.set_meas_date(self.start_time.replace(tzinfo=timezone.utc))
        notes = [(onset, duration, text) for onset, duration, text in self.annotations]
        edges = np.flatnonzero(np.diff(np.concatenate([[0], gaps.astype(int), [0]])))
        rate = raw.info["sfreq"]
        notes += [(a / rate, (b - a) / rate, "BAD_ACQ_SKIP") for a, b in zip(edges[::2], edges[1::2], strict=True)]
        if notes:
            onset, duration, text = zip(*notes, strict=True)
            raw.set_annotations(mne.Annotations(onset, duration, text, orig_time=raw.info["meas_date"]), verbose="error")
        return raw

    def _mne_type(self, i: int) -> str:
        label = self.ch_names[i].lower()
        for prefix, kind in _MNE_TYPES.items():
            if label.startswith(prefix) and (kind == "stim" or _volts(self.units[i]) is not None):
                return kind
        return "misc" if _volts(self.units[i]) is None else "eeg"

    def __repr__(self) -> str:
        return f"<EdfFile {self.path}: {len(self.ch_names)} channels, {self.duration:g} s>"


def _volts(unit: str) -> float | None:
    """Volts in one ``unit``, in any spelling; µV where it is empty, as many files mean it; None where it is no voltage."""
    factor = C.microvolts(unit)
    return None if factor is None else factor * 1e-6


class _EdflibFile(EdfFile):
    """The same file with the samples and annotations that EDFlib reads, for cross-checks."""

    def read_channel(self, i: int, start: int = 0, stop: int | None = None, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        return C.edflib_read_channel(self.path, i)[start:stop].to(dtype)

    def read(self, start_s: float, stop_s: float, channels: Sequence[int] | None = None) -> torch.Tensor:
        picked = list(range(len(self.ch_names))) if channels is None else list(channels)
        first, last = (round(s * self.sfreq[picked[0]]) for s in (start_s, stop_s))
        return torch.stack([C.edflib_read_channel(self.path, i)[first:last] for i in picked]).float()

    @property
    def annotations(self) -> list[tuple[float, float, str]]:
        return C.edflib_annotations(self.path)


def open_edf(path: _Path, backend: str = "native") -> EdfFile:
    """Opens an EDF, EDF+C, EDF+D or BDF file.

    Args:
        path: The file.
        backend: "native", or "edflib" for the samples as EDFlib reads them (slower, refuses EDF+D; for cross-checks).

    Raises:
        FormatError: The bytes are not a sound EDF or BDF file.
        ReadError: The file cannot be read.

    Warns:
        FormatWarning: Something was wrong and could be salvaged.
    """
    if backend == "native":
        return EdfFile(os.fspath(path))
    if backend == "edflib":
        C.edflib_validate(os.fspath(path))
        return _EdflibFile(os.fspath(path))
    raise ValueError(f"backend must be 'native' or 'edflib', got {backend!r}")


def validate(path: _Path, strict: bool = False) -> list[str]:
    """What is wrong with an EDF or BDF file but could be salvaged; empty when nothing is.

    Args:
        path: The file.
        strict: Ask EDFlib as well, which refuses what it does not find fully conforming.

    Raises:
        FormatError: The file cannot be used or, with ``strict``, EDFlib refuses it.
    """
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = list(EdfFile(os.fspath(path)).warnings)
    if strict:
        C.edflib_validate(os.fspath(path))
    return found


def write_edf(
    path: _Path,
    data: Any,
    sfreq: int | Sequence[int],
    ch_names: Sequence[str],
    units: str | Sequence[str] = "uV",
    *,
    ranges: Sequence[tuple[float, float]] | None = None,
    annotations: Sequence[tuple[float, float, str]] = (),
    start_time: datetime | None = None,
    patient: str = "",
    bdf: bool = False,
) -> None:
    """Writes EDF+ (or BDF+) through EDFlib, atomically, in records of one second.

    Args:
        path: The file to write.
        data: One array [n] a channel in physical units; all of the same whole number of seconds.
        sfreq: Samples a second, one for all or one a channel.
        ch_names: Labels, at most 16 bytes.
        units: Physical dimension, one for all or one a channel, at most 8 bytes.
        ranges: (minimum, maximum) a channel; by default just wide enough, which sets the resolution.
        annotations: (onset s, duration s, text).
        start_time: Of the first sample; 1985-01-01 when not given, the convention for anonymous files.
        patient: Patient code.
        bdf: 24 bits instead of 16.

    Raises:
        ValueError: The format cannot hold this.
    """
    rows = [torch.as_tensor(np.asarray(row, dtype=np.float64)) for row in data]
    n = len(rows)
    rates = [sfreq] * n if isinstance(sfreq, int) else [int(f) for f in sfreq]
    dims = [units] * n if isinstance(units, str) else list(units)
    if ranges is None:
        ranges = [_outward(float(row.min()), float(row.max())) for row in rows]
    when = start_time or datetime(1985, 1, 1)
    C.write_edf(
        os.fspath(path),
        rows,
        rates,
        list(ch_names),
        dims,
        list(ranges),
        list(annotations),
        [when.year, when.month, when.day, when.hour, when.minute, when.second],
        patient,
        bdf,
    )


def _outward(low: float, high: float) -> tuple[float, float]:
    # The header has eight characters for each limit: round outwards to four significant digits, so that none is cut.
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("the data hold non-finite values")
    bound = max(abs(low), abs(high), 1e-3)
    step = 10.0 ** (np.floor(np.log10(bound)) - 2)
    limit = float(np.ceil(bound / step) * step)
    return -limit, limit
