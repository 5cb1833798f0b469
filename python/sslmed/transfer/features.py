"""What a probe sees of a recording or slide: an encoder's features, or the classical baselines: band power, colour."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch
from scipy.signal import welch

from sslmed._core import C
from sslmed.cohort import Cohort
from sslmed.data import in_order, recording_means
from sslmed.io import open_slide
from sslmed.nn import CohortEncoder
from sslmed.preprocessing import EegPreprocessing, ImagePreprocessing
from sslmed.slides import tissue_of
from sslmed.transforms import standard_name

__all__ = ["BANDS", "CLASSICAL", "band_power", "classical", "colour", "common_channels", "covariances", "encoder_features", "handcrafted", "simple"]

Array = np.ndarray[Any, Any]

BANDS = {"delta": (1.0, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 13.0), "beta": (13.0, 30.0), "gamma": (30.0, 45.0)}
"""Hz."""

_SFREQ = 100.0  # holds all bands


def encoder_features(encoder: CohortEncoder, cohort: Cohort, *, pooling: str = "mean", threads: int = 2) -> Array:
    """[recordings, D]: the mean of a recording's window features."""
    values, recording = encoder.encode(cohort, pooling=pooling, threads=threads)
    return recording_means(values, recording, len(cohort))


def common_channels(*cohorts: Cohort) -> list[str]:
    """10-05 names that every recording of every cohort has, sorted."""
    sets = [{standard_name(c) for c in names} - {None} for cohort in cohorts for names, _ in cohort.montages()]
    return sorted(str(c) for c in set.intersection(*sets))


def classical(cohort: Cohort, names: Collection[str], channels: list[str] | None = None) -> dict[str, Array]:
    """The classical rows' features, each window read once for all of them.

    The signal is taken at 100 Hz in µV without re-scaling, because power is what is measured, in windows of 4 s in which all channels carry one.

    Args:
        cohort: The recordings.
        names: Of :data:`CLASSICAL`.
        channels: 10-05 names to use; those that all recordings share when not given.

    Returns:
        By name: "band power" [recordings, channels * 5], "handcrafted" [recordings, channels * 15], "riemann" [recordings, channels, channels].

    Raises:
        ValueError: The recordings share no channel, or one has no window in which all of them carry a signal.
    """
    channels = common_channels(cohort) if channels is None else channels
    if not channels:
        raise ValueError(f"{cohort.name}: {', '.join(names)} needs channels that all recordings share, and there are none")
    source = cohort.source(EegPreprocessing(sfreq=_SFREQ, window=4.0, patch=1.0, low=0.5, high=48.0, scale="none", clip=0.0))
    assert isinstance(source, C.EegSource)
    recording = source.recording_of.tolist()
    present_in = [[c for c in map(standard_name, found) if c is not None] for found, _ in cohort.channels()]
    sums: dict[str, list[Any]] = {name: [0.0] * len(cohort) for name in names}
    counts = [0] * len(cohort)
    for i, r in enumerate(recording):
        values, _ = source.sample(i)
        if values.shape[0] != len(present_in[r]):
            continue  # a channel was flat in this window; the others describe the recording
        x = values[[present_in[r].index(c) for c in channels]].double().numpy()
        frequency, power = welch(x, fs=_SFREQ, nperseg=200)
        counts[r] += 1
        for name in names:
            sums[name][r] = sums[name][r] + CLASSICAL[name](x, frequency, power)
    if 0 in counts:
        bad = cohort.table["path"].iloc[counts.index(0)]
        raise ValueError(f"{bad}: no window in which all of {', '.join(channels)} carry a signal")
    means = {name: np.stack([total / n for total, n in zip(sums[name], counts, strict=True)]) for name in names}
    if "riemann" in means:
        samples = round(4.0 * _SFREQ)
        means["riemann"] = np.stack([_shrunk(c, n * samples) for c, n in zip(means["riemann"], counts, strict=True)])
    return means


def band_power(cohort: Cohort, channels: list[str] | None = None) -> Array:
    """[recordings, channels * bands]: log10 power in µV² of each band of :data:`BANDS` (Welch, 2 s segments). As :func:`classical`."""
    return classical(cohort, ["band power"], channels)["band power"]


def handcrafted(cohort: Cohort, channels: list[str] | None = None) -> Array:
    """[recordings, channels * 15] by channel: log band powers and each band's share of their sum, spectral entropy, the frequency of the alpha band's
    peak, and Hjorth's activity (logarithm), mobility and complexity (Electroenceph. clin. Neurophysiol. 1970). As :func:`classical`.
    """
    return classical(cohort, ["handcrafted"], channels)["handcrafted"]


def covariances(cohort: Cohort, channels: list[str] | None = None) -> Array:
    """[recordings, C, C] covariance of channels in µV², shrunk to full rank (oracle approximating shrinkage, Chen et al., arXiv 0907.4698). As
    :func:`classical`.
    """
    return classical(cohort, ["riemann"], channels)["riemann"]


def colour(cohort: Cohort, *, threads: int = 2) -> Array:
    """[slides or images, 6]: mean and standard deviation of R, G and B.

    Of images, in [0, 1], at 224 pixels; of slides, of the optical density over the tissue, at the scale of the index's cells over four.

    Raises:
        ValueError: A slide has no tissue.
        FormatError, ReadError: A file cannot be read.
    """
    rows = []
    if cohort.modality == "images":
        preprocessing = ImagePreprocessing()
        loader = in_order(cohort.source(preprocessing), preprocessing, threads=threads, batch_size=16, on_error="raise")
        while (batch := loader.next()) is not None:
            light = batch.patches[0].values.view(len(batch), -1, 3).double() / 255  # pixels are in the patches' order
            rows.append(torch.cat([light.mean(1), light.std(1, correction=0)], dim=1).numpy())
        return np.concatenate(rows)
    for _, row in cohort.table.iterrows():
        mask = tissue_of(row).mask
        if not mask.any():
            raise ValueError(f"{row['path']}: no tissue in the index; leave it out of the cohort")
        picture = open_slide(row["path"], mpp=(row["mpp_x"], row["mpp_y"])).thumbnail((4 * mask.shape[1], 4 * mask.shape[0]))
        height, width = picture.shape[:2]
        # The grid goes on beyond the slide's edge, the picture does not: each pixel looks up the cell that its middle is in.
        line = ((np.arange(height) + 0.5) * row["height"] / height / row["cell_y"]).astype(int)
        column = ((np.arange(width) + 0.5) * row["width"] / width / row["cell_x"]).astype(int)
        density = -np.log((picture.numpy()[mask.numpy()[line[:, None], column]] + 1.0) / 256)
        rows.append(np.concatenate([density.mean(0), density.std(0)]))
    return np.stack(rows)


def simple(*cohorts: Cohort) -> tuple[str, list[Array]] | None:
    """Name and features by cohort of the plainest classical baseline of their modality: band power of the channels that all share, or colour.

    None where recordings share no channel.
    """
    if all(cohort.modality != "eeg" for cohort in cohorts):
        return "colour", [colour(cohort) for cohort in cohorts]
    shared = common_channels(*cohorts)
    return ("band power", [band_power(cohort, shared) for cohort in cohorts]) if shared else None


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


CLASSICAL: dict[str, Callable[[Array, Array, Array], Array]] = {"band power": _band_power, "handcrafted": _handcrafted, "riemann": _covariance}
"""Of a window: signal [channels, samples], frequencies, and power [channels, frequencies]."""
