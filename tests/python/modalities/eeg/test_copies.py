"""Copies of recordings are found, and recordings of their own are not."""

import itertools

import numpy as np
import pandas as pd
import pytest
from brainvision_files import BrainVision
from scipy.signal import butter, resample_poly, sosfilt, sosfiltfilt

import sslmed as sm
from sslmed.leakage import find

NAMES = ["Fp1", "F3", "C3", "P3", "O1", "T3", "Cz", "Pz"]
RATE = 250.0


def signals(n=6, seconds=40, seed=0):
    """Noise whose power falls with frequency, with a rhythm of 10 Hz that comes and goes, the same for all channels in part."""
    rng = np.random.default_rng(seed)
    t = int(seconds * RATE)
    power = 1 / np.maximum(np.fft.rfftfreq(t, 1 / RATE), 0.5)
    out = []
    for _ in range(n):
        noise = np.fft.irfft(np.fft.rfft(rng.normal(size=(9, t))) * power, t)
        alpha = sosfiltfilt(butter(2, [9, 11], "bandpass", fs=RATE, output="sos"), rng.normal(size=t))
        mixed = noise[:8] / noise[:8].std() + noise[8] / noise[8].std() + alpha / alpha.std() * np.linspace(0.3, 1.5, 8)[:, None]
        out.append((15 * mixed).astype(np.float32))
    return out


def cohort(values, rates=RATE, names=NAMES, name="here"):
    rows = pd.DataFrame({"subject": [f"{name}{i}" for i in range(len(values))]})
    return sm.Cohort.from_arrays(values, rates, names, rows, name=name)


def filtered(x, low, high):
    return sosfiltfilt(butter(4, [low, high], "bandpass", fs=RATE, output="sos"), x, axis=1)


SIGNALS = signals()

CHANGES = {
    "steps of 2 µV": lambda x: (np.round(x / 2) * 2, RATE, NAMES),
    "another gain of each channel": lambda x: (x * np.linspace(0.5, 3, 8)[:, None], RATE, NAMES),
    "another sign": lambda x: (-x, RATE, NAMES),
    "100 Hz": lambda x: (resample_poly(x, 2, 5, axis=1), 100.0, NAMES),
    "500 Hz": lambda x: (resample_poly(x, 2, 1, axis=1), 500.0, NAMES),
    "0.5 to 45 Hz": lambda x: (filtered(x, 0.5, 45), RATE, NAMES),
    "4 to 13 Hz": lambda x: (filtered(x, 4, 13), RATE, NAMES),
    "a causal filter": lambda x: (sosfilt(butter(2, [1, 40], "bandpass", fs=RATE, output="sos"), x, axis=1), RATE, NAMES),
    "15 s of it": lambda x: (x[:, 3333:7083], RATE, NAMES),
    "7 s of it": lambda x: (x[:, 5001:6751], RATE, NAMES),
    "channels in another order": lambda x: (x[::-1], RATE, NAMES[::-1]),
    "T3 as T7": lambda x: (1.5 * x, RATE, [{"T3": "T7"}.get(name, name) for name in NAMES]),
    "two channels": lambda x: (x[[2, 6]], RATE, ["C3", "Cz"]),
    "average reference": lambda x: (x - x.mean(axis=0), RATE, NAMES),
    "reference Cz": lambda x: (np.delete(x - x[6], 6, axis=0), RATE, [name for name in NAMES if name != "Cz"]),
    "a fifth of noise": lambda x: (x + 0.2 * x.std() * np.random.default_rng(5).normal(size=x.shape), RATE, NAMES),
    "cut, resampled, filtered and referenced": lambda x: (resample_poly(filtered(x - x.mean(axis=0), 1, 40)[:, 2000:7000], 128, 250, axis=1), 128.0, NAMES),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_a_changed_copy_is_found_and_nothing_else(change):
    values, rate, names = zip(*(CHANGES[change](x) for x in SIGNALS[:3]), strict=True)
    there = cohort([np.ascontiguousarray(x, np.float32) for x in values], list(rate), names[0], "there")
    found = find(cohort(SIGNALS), there)
    assert found[["row_a", "row_b"]].values.tolist() == [[0, 0], [1, 1], [2, 2]]
    assert set(found["kind"]) == {"near duplicate"}
    assert found["similarity"].between(0.5, 1).all()


def test_recordings_of_their_own_are_not_found():
    assert not len(find(cohort(SIGNALS), cohort(signals(8, seed=1), name="there")))
    blinks = [x.copy() for x in SIGNALS]
    for x in blinks:  # the same blink in all of them
        x[:2, 4000:4100] += 300 * np.hanning(100)
    assert not len(find(cohort(blinks)))


def test_what_is_not_found():
    """Differences of neighboring channels are signals of other places; a page of the documentation says so."""
    derived = [f"{a}-{b}" for a, b in itertools.pairwise(NAMES)]
    assert not len(find(cohort(SIGNALS[:2]), cohort([x[:-1] - x[1:] for x in SIGNALS[:2]], names=derived, name="bipolar")))


def test_files_of_three_formats_hold_copies(tmp_path):
    stored = np.round(SIGNALS[0] * 8).astype(int)
    sm.io.write_edf(tmp_path / "a.edf", stored / 8, int(RATE), NAMES)
    sm.io.write_edf(tmp_path / "b.bdf", stored / 8 * 0.7, int(RATE), NAMES, bdf=True)
    BrainVision(stored, names=NAMES, interval=str(1e6 / RATE), resolutions=["0.125"]).write(tmp_path / "c.vhdr")
    paths = [str(tmp_path / name) for name in ("a.edf", "b.bdf", "c.vhdr")]
    found = find(sm.Cohort.from_table(pd.DataFrame({"path": paths, "subject": list("abc")}), name="files"))
    assert found[["row_a", "row_b", "kind"]].values.tolist() == [[0, 1, "near duplicate"], [0, 2, "near duplicate"], [1, 2, "near duplicate"]]
    assert found["similarity"].gt(0.98).all()


def test_gaps_and_short_recordings():
    gap = SIGNALS[0].copy()
    gap[:, 4000:5000] = np.nan
    assert find(cohort(SIGNALS), cohort([gap], name="gap"))[["row_a", "row_b"]].values.tolist() == [[0, 0]]
    with pytest.warns(sm.LeftOutWarning, match=r"near duplicates: 1 of 7 rows .* short\[0\]: expected at least 5 s .*, found 2 s"):
        assert not len(find(cohort(SIGNALS), cohort([SIGNALS[0][:, :500]], name="short")))
