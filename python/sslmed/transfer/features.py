"""What a probe sees of a recording: an encoder's features, or band power, the classical baseline."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.signal import welch

from sslmed.cohort import Cohort
from sslmed.data import EegPreprocessing
from sslmed.nn import Encoder
from sslmed.transforms import standard_name

__all__ = ["BANDS", "band_power", "common_channels", "encoder_features", "recording_means"]

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


def band_power(cohort: Cohort, channels: list[str] | None = None) -> Array:
    """[recordings, channels * bands]: log10 power in µV² of each band of :data:`BANDS` (Welch, 2 s segments).

    Args:
        cohort: The recordings.
        channels: 10-05 names to use; those that all recordings share when not given.

    Raises:
        ValueError: The recordings share no channel.
    """
    channels = common_channels(cohort) if channels is None else channels
    if not channels:
        raise ValueError(f"{cohort.name}: band power needs channels that all recordings share, and there are none")
    # As the signal is: no re-scaling, because power is what is measured. 100 Hz holds all bands.
    preprocessing = EegPreprocessing(sfreq=100.0, window=4.0, patch=1.0, low=0.5, high=48.0, scale="none", clip=0.0)
    source = cohort.source(preprocessing)
    recording = source.recording_of
    names = [[standard_name(c) for c in names] for names, _ in cohort.channels()]
    features = torch.full((len(source), len(channels) * len(BANDS)), float("nan"))
    for i in range(len(source)):
        values, _ = source.sample(i)
        present = [c for c in names[int(recording[i])] if c is not None]
        if values.shape[0] != len(present):
            continue  # a channel was flat in this window; the others describe the recording
        rows = [present.index(c) for c in channels]
        frequency, power = welch(values[rows].numpy(), fs=100.0, nperseg=200)
        bands = [power[:, (frequency >= low) & (frequency < high)].mean(axis=1) for low, high in BANDS.values()]
        features[i] = torch.as_tensor(np.log10(np.stack(bands, axis=1) + 1e-12).ravel())
    whole = ~features.isnan().any(dim=1)
    means = recording_means(features[whole], recording[whole], len(cohort))
    if np.isnan(means).any():
        bad = cohort.table["path"].iloc[int(np.isnan(means).any(axis=1).argmax())]
        raise ValueError(f"{bad}: no window in which all of {', '.join(channels)} carry a signal")
    return means
