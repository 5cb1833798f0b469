"""Random changes of EEG against SciPy's and NumPy's formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import signal as scipy_signal
from scipy import stats

import sslmed as sm
from sslmed._core import C


def changed(values: np.ndarray, seed: int, index: int = 0, **options: object) -> tuple[np.ndarray, ...]:
    out = C.augment_signal(torch.from_numpy(values), 200.0, sm.EegAugmentation(**options).options(), seed, index)  # type: ignore[arg-type]
    return out[0].numpy(), *out[1:]


def test_all_changes_together_are_their_formulas(rng: np.random.Generator) -> None:
    values = rng.normal(size=(6, 800)).astype(np.float32)
    for index in range(20):
        out, shift, stop, factors, noise, (first, last), kept = changed(
            values, int(rng.integers(2**31)), index, p_band_stop=0.7, p_shift=0.7, p_scale=0.7, p_flip=0.5, p_time_mask=0.7, p_channel_drop=0.7
        )
        expected = values.astype(np.float64)
        if stop:
            b, a = scipy_signal.iirnotch(stop, stop / 5.0, 200.0)
            sections = scipy_signal.tf2sos(b, a)
            expected = scipy_signal.sosfiltfilt(sections, expected, axis=1)
        expected = np.roll(expected, shift, axis=1) * np.array(factors)[:, None]
        expected[:, first:last] = 0
        expected[np.array(kept) == 0] = 0
        assert noise == 0
        np.testing.assert_allclose(out, expected, atol=2e-5)


def test_a_stopped_band_loses_what_is_in_it(rng: np.random.Generator) -> None:
    values = rng.normal(size=(4, 8000)).astype(np.float32)
    out, _, stop, *_ = changed(values, 3, p_band_stop=1.0, band=(30.0, 30.0))
    assert stop == 30
    frequencies, before = scipy_signal.welch(values, 200.0, nperseg=800)
    _, after = scipy_signal.welch(out, 200.0, nperseg=800)
    share = (after / before).mean(0)
    _, gain = scipy_signal.freqz(*scipy_signal.iirnotch(30.0, 30.0 / 5.0, 200.0), worN=frequencies, fs=200.0)
    far = np.abs(frequencies - 30) > 3
    np.testing.assert_allclose(share[far], np.abs(gain[far]) ** 4, atol=0.03)  # power, forward and backward
    assert share[np.abs(frequencies - 30) < 0.5].max() < 0.001


def test_strengths_are_drawn_evenly_from_their_ranges(rng: np.random.Generator) -> None:
    values = rng.normal(size=(3, 400)).astype(np.float32)
    seed = int(rng.integers(2**31))
    shifts, stops, factors, noises, lengths = [], [], [], [], []
    for index in range(600):
        _, shift, stop, factor, noise, (first, last), _ = changed(values, seed, index, p_band_stop=1.0, p_shift=1.0, p_scale=1.0, p_noise=1.0, p_time_mask=1.0)
        shifts.append(shift / 200)
        stops.append(stop)
        factors.extend(factor)
        noises.append(noise)
        lengths.append((last - first) / 200)
    for drawn, low, high in (
        (shifts, -0.25, 0.25), (stops, 2.8, 82.5), (factors, 0.5, 2.0), (noises, 0.0, 0.2), (lengths, 0.0, 0.75),
    ):  # fmt: skip
        assert min(drawn) >= low
        assert max(drawn) <= high
        assert stats.kstest(drawn, "uniform", (low, high - low)).pvalue > 1e-4


def test_the_same_draw_makes_the_same_changes(rng: np.random.Generator) -> None:
    values = rng.normal(size=(3, 400)).astype(np.float32)
    how = {"p_noise": 1.0, "p_shift": 1.0}
    assert np.array_equal(changed(values, 1, 2, **how)[0], changed(values, 1, 2, **how)[0])
    assert not np.array_equal(changed(values, 1, 2, **how)[0], changed(values, 1, 3, **how)[0])
    with pytest.raises(ValueError, match="signal must be"):
        C.augment_signal(torch.zeros(3), 200.0, sm.EegAugmentation().options(), 0, 0)
