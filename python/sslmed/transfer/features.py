"""What a probe sees of a recording: an encoder's features, or band power, the classical baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from scipy.signal import welch

from sslmed.cohort import Cohort
from sslmed.data import EegPreprocessing
from sslmed.nn import Encoder
from sslmed.transforms import standard_name

__all__ = ["BANDS", "band_power", "common_channels", "covariances", "encoder_features", "handcrafted", "recording_means"]

Array = np.ndarray[Any, Any]

BANDS = {"delta": (1.0, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 13.0), "beta": (13.0, 30.0), "gamma": (30.0, 45.0)}
"""Hz."""


def recording_means(values: torch.Tensor, recording: torch.Tensor, n: int) -> Array:
    """Window features [m, D] to their mean by recording [n, D]; NaN for a recording without windows."""
    sums = torch.zeros(n, values.shape[1], dtype=torch.float64).index_add_(0, recording, values.double())
    counts = torch.bincount(recording, minlength=n).unsqueeze(1)
    return (sums / counts).numpy()


def encoder_features(encoder: Encoder, cohort: Cohort, *, pooling: str = "mean", threads: int = 2) -> Array:
    """[recordings, D]: the mean of a recording's window features."""
    values, recording = encoder.encode(cohort, pooling=pooling, threads=threads)
    return recording_means(values, recording, len(cohort))


def common_channels(*cohorts: Cohort) -> list[str]:
    """10-05 names that every recording of every cohort has, sorted."""
    sets = [{standard_name(c) for c in names} - {None} for cohort in cohorts for names, _ in cohort.montages()]
    return sorted(str(c) for c in set.intersection(*sets))


def _windows(cohort: Cohort, channels: list[str] | None, what: str) -> Iterator[tuple[int, Array]]:
    """(recording, [channels, 400] µV at 100 Hz) of every window of 4 s in which all channels carry a signal.

    The signal as it is, without re-scaling: power is what classical features measure.

    Raises:
        ValueError: No channel, or a recording without such a window.
    """
    channels = common_channels(cohort) if channels is None else channels
    if not channels:
        raise ValueError(f"{cohort.name}: {what} needs channels that all recordings share, and there are none")
    preprocessing = EegPreprocessing(sfreq=100.0, window=4.0, patch=1.0, low=0.5, high=48.0, scale="none", clip=0.0)
    source = cohort.source(preprocessing)
    recording = source.recording_of.tolist()
    names = [[standard_name(c) for c in names] for names, _ in cohort.channels()]
    seen = np.zeros(len(cohort), bool)
    for i in range(len(source)):
        values, _ = source.sample(i)
        present = [c for c in names[recording[i]] if c is not None]
        if values.shape[0] != len(present):
            continue  # a channel was flat in this window; the others describe the recording
        seen[recording[i]] = True
        yield recording[i], values[[present.index(c) for c in channels]].double().numpy()
    if not seen.all():
        bad = cohort.table["path"].iloc[int(np.argmin(seen))]
        raise ValueError(f"{bad}: no window in which all of {', '.join(channels)} carry a signal")


def _means(cohort: Cohort, channels: list[str] | None, what: str, feature: Callable[[Array], Array]) -> Array:
    """[recordings, …]: a feature of windows, averaged."""
    sums: dict[int, Array] = {}
    counts = np.zeros(len(cohort))
    for recording, x in _windows(cohort, channels, what):
        value = feature(x)
        sums[recording] = sums[recording] + value if recording in sums else value
        counts[recording] += 1
    return np.stack([sums[r] / counts[r] for r in range(len(cohort))])


def _band_powers(x: Array) -> Array:
    """[channels, bands] log10 µV² of [channels, 400] at 100 Hz."""
    frequency, power = welch(x, fs=100.0, nperseg=200)
    bands = [power[:, (frequency >= low) & (frequency < high)].mean(axis=1) for low, high in BANDS.values()]
    logs: Array = np.log10(np.stack(bands, axis=1) + 1e-12)
    return logs


def band_power(cohort: Cohort, channels: list[str] | None = None) -> Array:
    """[recordings, channels * bands]: log10 power in µV² of each band of :data:`BANDS` (Welch, 2 s segments).

    Args:
        cohort: The recordings.
        channels: 10-05 names to use; those that all recordings share when not given.

    Raises:
        ValueError: The recordings share no channel, or one has no window in which all of them carry a signal.
    """
    return _means(cohort, channels, "band power", lambda x: _band_powers(x).ravel())


def handcrafted(cohort: Cohort, channels: list[str] | None = None) -> Array:
    """[recordings, channels * 15] of classical features, by channel: log band powers and each band's share of their sum, spectral entropy, the
    frequency of the alpha band's peak, and Hjorth's activity (logarithm), mobility and complexity (Electroenceph. clin. Neurophysiol. 1970).

    Args:
        cohort: The recordings.
        channels: As :func:`band_power`.

    Raises:
        ValueError: As :func:`band_power`.
    """

    def of_window(x: Array) -> Array:
        powers = _band_powers(x)
        share = 10**powers / (10**powers).sum(axis=1, keepdims=True)
        frequency, power = welch(x, fs=100.0, nperseg=200)
        inside = (frequency >= 1) & (frequency < 45)
        p = power[:, inside] / power[:, inside].sum(axis=1, keepdims=True)
        entropy = -(p * np.log(p + 1e-12)).sum(axis=1)
        alpha = (frequency >= BANDS["alpha"][0]) & (frequency < BANDS["alpha"][1])
        peak = frequency[alpha][power[:, alpha].argmax(axis=1)]
        first, second = np.diff(x, axis=1), np.diff(x, n=2, axis=1)
        activity, slope, bend = (part.var(axis=1) + 1e-12 for part in (x, first, second))
        mobility = np.sqrt(slope / activity)
        hjorth = [np.log10(activity), mobility, np.sqrt(bend / slope) / mobility]
        return np.column_stack([powers, share, entropy, peak, *hjorth]).ravel()

    return _means(cohort, channels, "a handcrafted feature", of_window)


def covariances(cohort: Cohort, channels: list[str] | None = None) -> Array:
    """[recordings, C, C] covariance of channels in µV², shrunk to full rank (oracle approximating shrinkage, Chen et al., arXiv 0907.4698).

    Args:
        cohort: The recordings.
        channels: As :func:`band_power`.

    Raises:
        ValueError: As :func:`band_power`.
    """
    sums: dict[int, Array] = {}
    samples = np.zeros(len(cohort))
    for recording, x in _windows(cohort, channels, "a covariance"):
        x = x - x.mean(axis=1, keepdims=True)
        sums[recording] = sums.get(recording, 0) + x @ x.T
        samples[recording] += x.shape[1]
    out = []
    for recording, n in enumerate(samples):
        covariance = sums[recording] / n
        c, trace, square = len(covariance), np.trace(covariance), (covariance**2).sum()
        rho = min(1.0, ((1 - 2 / c) * square + trace**2) / ((n + 1 - 2 / c) * (square - trace**2 / c))) if c > 1 else 0.0
        out.append((1 - rho) * covariance + rho * trace / c * np.eye(c))
    return np.stack(out)
