"""What a probe sees of a recording or slide: an encoder's features, or the classical baselines: band power, colour."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import torch
from scipy.signal import welch

from sslmed._core import C, FormatError, FormatWarning, ReadError
from sslmed.cohort import Cohort
from sslmed.data import in_order, recording_means
from sslmed.evaluation.feature_cache import kept
from sslmed.io import open_slide
from sslmed.nn import CohortEncoder
from sslmed.preprocessing import EegPreprocessing, ImagePreprocessing
from sslmed.slides import tissue_of
from sslmed.transforms import electrode_position, standard_name

__all__ = ["BANDS", "CLASSICAL", "band_power", "classical", "colour", "common_channels", "covariances", "encoder_features", "handcrafted", "scorable", "simple"]

Array = np.ndarray[Any, Any]

BANDS = {"delta": (1.0, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 13.0), "beta": (13.0, 30.0), "gamma": (30.0, 45.0)}
"""Hz."""

_SFREQ = 100.0  # holds all bands


def encoder_features(encoder: CohortEncoder, cohort: Cohort, *, pooling: str = "mean", threads: int = 2, on_error: str = "raise") -> Array:
    """[recordings, D]: the mean of a recording's window features. Computed once for the same encoder and files (:mod:`sslmed.transfer.kept`).

    Raises:
        ValueError: A recording has no usable window.
    """

    def make() -> Array:
        values, recording = encoder.encode(cohort, pooling=pooling, threads=threads, on_error=on_error)
        return scorable(recording_means(values, recording, len(cohort)), cohort)

    # What is left out is told each time.
    return make() if on_error == "skip" else kept(encoder, cohort, pooling, make)


def scorable(rows: Array, cohort: Cohort) -> Array:
    """Rows of recordings as they are; ValueError naming those that are not finite, which nothing can be said of."""
    if (bad := ~np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)).any():
        names = ", ".join(str(path) for path in cohort.table["path"].to_numpy()[bad][:5])
        raise ValueError(f"{cohort.name}: {int(bad.sum())} recordings have no usable window and cannot be scored; leave them out of the cohort: {names}")
    return rows


def common_channels(*cohorts: Cohort) -> list[str]:
    """10-05 names that every recording of every cohort has, sorted."""
    sets = [{standard_name(c) for c in names} - {None} for cohort in cohorts for names, _ in cohort.montages()]
    return sorted(str(c) for c in set.intersection(*sets))


class _SilentError(Exception):
    """Channels that carry no signal in some recording, which has others."""

    def __init__(self, message: str, channels: set[str]) -> None:
        super().__init__(message)
        self.channels = channels


def classical(cohorts: Sequence[Cohort], names: Collection[str], channels: Sequence[str] | None = None, *, on_error: str = "raise") -> list[dict[str, Array]]:
    """The classical rows' features of each cohort, each window read once for all of them.

    The signal is taken at 100 Hz in µV without re-scaling, because power is what is measured, in windows of 4 s in which all channels carry one; to the
    average of its recording's channels, unless some recording has one alone.

    Args:
        cohorts: One or more, of the same channels then.
        names: Of :data:`CLASSICAL`.
        channels: 10-05 names to use; those that all recordings share when not given.
        on_error: "raise", or "skip": windows that cannot be read or carry no signal are left out, and so are, of all recordings, channels that one of them
            has no signal of.

    Returns:
        By name: "band power" [recordings, channels * 5], "handcrafted" [recordings, channels * 15], "riemann" [recordings, channels, channels].

    Raises:
        ValueError: The recordings share no channel, or one has no window in which all of them carry a signal.

    Warns:
        FormatWarning: What was left out.
    """
    channels = common_channels(*cohorts) if channels is None else list(channels)
    known = [[c for c in map(standard_name, found) if c is not None] for cohort in cohorts for found, _ in cohort.montages()]
    reference = min(map(len, known)) > 1
    while channels:
        try:
            return [_classical(cohort, names, channels, reference, on_error) for cohort in cohorts]
        except _SilentError as error:
            lost = ", ".join(sorted(error.channels))
            if on_error == "raise":
                raise ValueError(f"{error}; on_error='skip' does without {lost}, of all recordings") from None
            warnings.warn(f"{error}; {lost} left out of {', '.join(names)}", FormatWarning, stacklevel=2)
            channels = [c for c in channels if c not in error.channels]
    who = " and ".join(c.name for c in cohorts)
    raise ValueError(f"{who}: {', '.join(names)} need channels that all recordings share, with a signal, and there are none; leave these rows out (baselines=)")


def _classical(cohort: Cohort, names: Collection[str], channels: Sequence[str], reference: bool, on_error: str) -> dict[str, Array]:
    source = cohort.source(EegPreprocessing(sfreq=_SFREQ, window=4.0, patch=1.0, low=0.5, high=48.0, scale="none", clip=0.0, average_reference=reference))
    assert isinstance(source, C.EegSource)
    recording = source.recording_of.tolist()
    places = {tuple(np.asarray(electrode_position(c), np.float32).tolist()): i for i, c in enumerate(channels)}
    sums: dict[str, list[Any]] = {name: [0.0] * len(cohort) for name in names}
    counts, carried = np.zeros(len(cohort), int), np.zeros((len(cohort), len(channels)), int)
    failures = []
    for i, r in enumerate(recording):
        try:
            values, positions = source.sample(i)
        except (FormatError, ReadError) as error:
            if on_error == "raise":
                raise
            failures.append(str(error))
            continue
        rows = {places[place]: row for row, place in reversed(list(enumerate(map(tuple, positions.tolist())))) if place in places}
        carried[r, list(rows)] += 1
        if len(rows) < len(channels):
            continue  # a channel was flat in this window; the others describe the recording
        x = values[[rows[c] for c in range(len(channels))]].double().numpy()
        frequency, power = welch(x, fs=_SFREQ, nperseg=200)
        counts[r] += 1
        for name in names:
            sums[name][r] = sums[name][r] + CLASSICAL[name](x, frequency, power)
    if failures:
        warnings.warn(f"{cohort.name}: {len(failures)} windows left out of {', '.join(names)}; the first: {failures[0]}", FormatWarning, stacklevel=3)
    if (silent := counts == 0).any():
        hopeless = silent & (carried.max(axis=1) == 0)
        first = int((hopeless if hopeless.any() else silent).argmax())
        path, windows = cohort.table["path"].iloc[first], recording.count(first)
        if not windows:
            raise ValueError(f"{path}: is shorter than the 4 s of a window; leave it out of the cohort")
        found = f"{path}: none of its {windows} windows has a signal on all of {', '.join(channels)}"
        if hopeless.any():
            raise ValueError(f"{found}; leave it out of the cohort")
        # Where every channel has a signal at times, but never all of them together, the rarest one goes.
        raise _SilentError(found, {channels[int(c)] for seen in carried[silent] for c in np.flatnonzero(seen == seen.min())})
    means = {name: np.stack([total / n for total, n in zip(sums[name], counts, strict=True)]) for name in names}
    if "riemann" in means:
        samples = round(4.0 * _SFREQ)
        means["riemann"] = np.stack([_shrunk(c, n * samples) for c, n in zip(means["riemann"], counts, strict=True)])
    return means


def band_power(cohort: Cohort, channels: Sequence[str] | None = None) -> Array:
    """[recordings, channels * bands]: log10 power in µV² of each band of :data:`BANDS` (Welch, 2 s segments). As :func:`classical`."""
    return classical([cohort], ["band power"], channels)[0]["band power"]


def handcrafted(cohort: Cohort, channels: Sequence[str] | None = None) -> Array:
    """[recordings, channels * 15] by channel: log band powers and each band's share of their sum, spectral entropy, the frequency of the alpha band's
    peak, and Hjorth's activity (logarithm), mobility and complexity (Electroenceph. clin. Neurophysiol. 1970). As :func:`classical`.
    """
    return classical([cohort], ["handcrafted"], channels)[0]["handcrafted"]


def covariances(cohort: Cohort, channels: Sequence[str] | None = None) -> Array:
    """[recordings, C, C] covariance of channels in µV², shrunk to full rank (oracle approximating shrinkage, Chen et al., arXiv 0907.4698). As
    :func:`classical`.
    """
    return classical([cohort], ["riemann"], channels)[0]["riemann"]


def colour(cohort: Cohort, *, threads: int = 2, on_error: str = "raise") -> Array:
    """[slides or images, 6]: mean and standard deviation of R, G and B.

    Of images, in [0, 1], at 224 pixels; of slides, of the optical density over the tissue, at the scale of the index's cells over four.

    Raises:
        ValueError: A slide has no tissue; with ``on_error="skip"`` files that cannot be read, all of them by name.
        FormatError, ReadError: A file cannot be read (``on_error="raise"``).
    """
    rows = np.full((len(cohort), 6), np.nan)
    if cohort.modality == "images":
        preprocessing = ImagePreprocessing()
        loader = in_order(cohort.source(preprocessing), preprocessing, threads=threads, batch_size=16, on_error=on_error)
        while (batch := loader.next()) is not None:
            if not batch.patches:
                continue
            light = batch.patches[0].values.view(len(batch), -1, 3).double() / 255  # pixels are in the patches' order
            images = [batch.sample_ids[slot] for slot in batch.patches[0].slots]
            rows[images] = torch.cat([light.mean(1), light.std(1, correction=0)], dim=1).numpy()
        return scorable(rows, cohort)
    for i, (_, row) in enumerate(cohort.table.iterrows()):
        mask = tissue_of(row).mask
        if not mask.any():
            raise ValueError(f"{row['path']}: no tissue in the index; leave it out of the cohort")
        try:
            picture = open_slide(row["path"], mpp=(row["mpp_x"], row["mpp_y"])).thumbnail((4 * mask.shape[1], 4 * mask.shape[0]))
        except (FormatError, ReadError):
            if on_error == "raise":
                raise
            continue
        height, width = picture.shape[:2]
        # The grid goes on beyond the slide's edge, the picture does not: each pixel looks up the cell that its middle is in.
        line = ((np.arange(height) + 0.5) * row["height"] / height / row["cell_y"]).astype(int)
        column = ((np.arange(width) + 0.5) * row["width"] / width / row["cell_x"]).astype(int)
        density = -np.log((picture.numpy()[mask.numpy()[line[:, None], column]] + 1.0) / 256)
        rows[i] = np.concatenate([density.mean(0), density.std(0)])
    return scorable(rows, cohort)


def simple(*cohorts: Cohort, on_error: str = "raise") -> tuple[str, list[Array]] | None:
    """Name and features by cohort of the plainest classical baseline of their modality: band power of the channels that all share, or colour.

    None where recordings share no channel.
    """
    if all(cohort.modality != "eeg" for cohort in cohorts):
        return "colour", [colour(cohort, on_error=on_error) for cohort in cohorts]
    if not common_channels(*cohorts):
        return None
    return "band power", [found["band power"] for found in classical(cohorts, ["band power"], on_error=on_error)]


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
