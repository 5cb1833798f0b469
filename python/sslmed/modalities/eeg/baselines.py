"""Classical features of EEG: band power, handcrafted ones, and covariances of channels."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from scipy.signal import welch

from sslmed._core import FormatError, LeftOutWarning, ReadError
from sslmed.modalities.base import Array, OnError, Rows
from sslmed.modalities.eeg.preprocessing import EegPreprocessing
from sslmed.modalities.eeg.recordings import common_channels, electrodes, montages
from sslmed.modalities.eeg.source import source
from sslmed.transforms import electrode_position

__all__ = ["BANDS", "FEATURES", "band_power", "covariances", "features", "handcrafted"]

BANDS = {"delta": (1.0, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 13.0), "beta": (13.0, 30.0), "gamma": (30.0, 45.0)}
"""Edges of the frequency bands in Hz."""

_SFREQ = 100.0  # Hz, holds all bands
_WINDOW = 4.0  # s


class _SilentError(Exception):
    """Channels that carry no signal in some recording, which has others."""

    def __init__(self, message: str, channels: set[str]) -> None:
        super().__init__(message)
        self.channels = channels


def features(cohorts: Sequence[Rows], names: Collection[str], channels: Sequence[str] | None = None, *, on_error: OnError = "raise") -> list[dict[str, Array]]:
    """Classical features of each cohort; each window is read once for all of them.

    The signal is taken at 100 Hz in µV without re-scaling, because power is what is measured, in windows of 4 s in which all channels carry a signal.
    It is referenced to the average of its recording's channels, unless some recording has only one.

    Args:
        cohorts: One or more; with several, features have the same columns.
        names: Names out of :data:`FEATURES`.
        channels: 10-05 names to use; by default those that all recordings share.
        on_error: "raise", or "skip": leave out windows that cannot be read or carry no signal, and, of all recordings, channels that have no signal in one
            of them.

    Returns:
        By name: "band power" [recordings, channels * 5], "handcrafted" [recordings, channels * 15], "riemann" [recordings, channels, channels].

    Raises:
        ValueError: The recordings share no channel, or one has no window in which all of them carry a signal.

    Warns:
        LeftOutWarning: Windows or channels were left out.
    """
    channels = common_channels(*cohorts) if channels is None else list(channels)
    known = [[c for c in electrodes(found) if c is not None] for rows in cohorts for found, _ in montages(rows)]
    reference = min(map(len, known)) > 1
    while channels:
        try:
            return [_features(rows, names, channels, reference, on_error) for rows in cohorts]
        except _SilentError as error:
            lost = ", ".join(sorted(error.channels))
            if on_error == "raise":
                raise ValueError(f"{error}; on_error='skip' leaves {lost} out of all recordings") from None
            warnings.warn(f"{error}; {lost} left out of {', '.join(names)}", LeftOutWarning, stacklevel=2)
            channels = [c for c in channels if c not in error.channels]
    who = " and ".join(c.name for c in cohorts)
    raise ValueError(f"{who}: {', '.join(names)} need channels that all recordings share, with a signal, and there are none; leave these rows out (baselines=)")


def _features(rows: Rows, names: Collection[str], channels: Sequence[str], reference: bool, on_error: OnError) -> dict[str, Array]:
    preprocessing = EegPreprocessing(sfreq=_SFREQ, window=_WINDOW, patch=1.0, l_freq=0.5, h_freq=48.0, scale="none", clip=0.0, average_reference=reference)
    windows = source(rows, preprocessing, measured=False)  # channels are known by their places
    recording = windows.recording_of.tolist()
    places = {tuple(np.asarray(electrode_position(c), np.float32).tolist()): i for i, c in enumerate(channels)}
    sums: dict[str, list[Any]] = {name: [0.0] * len(rows.table) for name in names}
    counts, carried = np.zeros(len(rows.table), int), np.zeros((len(rows.table), len(channels)), int)
    failures = []
    for i, r in enumerate(recording):
        try:
            values, positions = windows.sample(i)
        except (FormatError, ReadError) as error:
            if on_error == "raise":
                raise
            failures.append(str(error))
            continue
        found = {places[place]: row for row, place in reversed(list(enumerate(map(tuple, positions.tolist())))) if place in places}
        carried[r, list(found)] += 1
        if len(found) < len(channels):
            continue  # a channel was flat in this window; the others describe the recording
        x = values[[found[c] for c in range(len(channels))]].double().numpy()
        frequency, power = welch(x, fs=_SFREQ, nperseg=200)
        counts[r] += 1
        for name in names:
            sums[name][r] = sums[name][r] + FEATURES[name](x, frequency, power)
    if failures:
        text = f"{rows.name}: {len(failures)} windows left out of {', '.join(names)}; the first: {failures[0]}"
        warnings.warn(text, LeftOutWarning, stacklevel=4)
    _refuse_silent(rows, channels, recording, counts, carried)
    means = {name: np.stack([total / n for total, n in zip(sums[name], counts, strict=True)]) for name in names}
    if "riemann" in means:
        samples = round(_WINDOW * _SFREQ)
        means["riemann"] = np.stack([_shrunk(c, n * samples) for c, n in zip(means["riemann"], counts, strict=True)])
    return means


def _refuse_silent(rows: Rows, channels: Sequence[str], recording: list[int], counts: Array, carried: Array) -> None:
    """Raises where a recording has no window in which all channels carry a signal."""
    silent = counts == 0
    if not silent.any():
        return
    hopeless = silent & (carried.max(axis=1) == 0)
    first = int((hopeless if hopeless.any() else silent).argmax())
    path, windows = rows.table["path"].iloc[first], recording.count(first)
    if not windows:
        raise ValueError(f"{path}: is shorter than the 4 s of a window; leave it out of the cohort")
    found = f"{path}: none of its {windows} windows has a signal on all of {', '.join(channels)}"
    if hopeless.any():
        raise ValueError(f"{found}; leave it out of the cohort")
    # Where every channel has a signal at times, but never all of them together, the rarest one goes.
    raise _SilentError(found, {channels[int(c)] for seen in carried[silent] for c in np.flatnonzero(seen == seen.min())})


def band_power(rows: Rows, channels: Sequence[str] | None = None) -> Array:
    """[recordings, channels * bands]: log10 power in µV² of each band of :data:`BANDS` (Welch, 2 s segments). As :func:`features`."""
    return features([rows], ["band power"], channels)[0]["band power"]


def handcrafted(rows: Rows, channels: Sequence[str] | None = None) -> Array:
    """[recordings, channels * 15] by channel: log band powers and each band's share of their sum, spectral entropy, the frequency of the alpha band's
    peak, and Hjorth's activity (logarithm), mobility and complexity (Electroenceph. clin. Neurophysiol. 1970). As :func:`features`.
    """
    return features([rows], ["handcrafted"], channels)[0]["handcrafted"]


def covariances(rows: Rows, channels: Sequence[str] | None = None) -> Array:
    """[recordings, C, C] covariance of channels in µV², shrunk to full rank (oracle approximating shrinkage, Chen et al., arXiv 0907.4698). As
    :func:`features`.
    """
    return features([rows], ["riemann"], channels)[0]["riemann"]


def _log_bands(frequency: Array, power: Array) -> Array:
    bands = [power[:, (frequency >= low) & (frequency < high)].mean(axis=1) for low, high in BANDS.values()]
    logs: Array = np.log10(np.stack(bands, axis=1) + 1e-12)
    return logs


def _band_power(x: Array, frequency: Array, power: Array) -> Array:
    return _log_bands(frequency, power).ravel()


def _handcrafted(x: Array, frequency: Array, power: Array) -> Array:
    logs = _log_bands(frequency, power)
    share = 10**logs / (10**logs).sum(axis=1, keepdims=True)
    inside = (frequency >= 1) & (frequency < 45)
    p = power[:, inside] / power[:, inside].sum(axis=1, keepdims=True)
    entropy = -(p * np.log(p + 1e-12)).sum(axis=1)
    alpha = (frequency >= BANDS["alpha"][0]) & (frequency < BANDS["alpha"][1])
    peak = frequency[alpha][power[:, alpha].argmax(axis=1)]
    activity, slope, bend = (part.var(axis=1) + 1e-12 for part in (x, np.diff(x, axis=1), np.diff(x, n=2, axis=1)))
    mobility = np.sqrt(slope / activity)
    hjorth = [np.log10(activity), mobility, np.sqrt(bend / slope) / mobility]
    return np.column_stack([logs, share, entropy, peak, *hjorth]).ravel()


def _covariance(x: Array, frequency: Array, power: Array) -> Array:
    x = x - x.mean(axis=1, keepdims=True)
    return np.asarray(x @ x.T / x.shape[1])


def _shrunk(covariance: Array, n: int) -> Array:
    c, trace, square = len(covariance), np.trace(covariance), (covariance**2).sum()
    rho = min(1.0, ((1 - 2 / c) * square + trace**2) / ((n + 1 - 2 / c) * (square - trace**2 / c))) if c > 1 else 0.0
    return np.asarray((1 - rho) * covariance + rho * trace / c * np.eye(c))


FEATURES: dict[str, Callable[[Array, Array, Array], Array]] = {"band power": _band_power, "handcrafted": _handcrafted, "riemann": _covariance}
"""Functions of a window: of its signal [channels, samples], frequencies, and power [channels, frequencies]."""
