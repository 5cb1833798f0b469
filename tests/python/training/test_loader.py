import os
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import signal

import sslmed as sm
from sslmed._core import C
from sslmed.demo import eeg as demo

PRE = sm.EegPreprocessing(sfreq=100, window=4, patch=1, h_freq=45)
SINGLE = replace(PRE, average_reference=False)  # a single channel is its own average


def flat(batch):
    view = batch.views[0]
    parts = [
        view.values,
        view.coords,
        view.grid,
        view.extra,
        torch.tensor(view.lengths),
        torch.tensor(view.slots),
        torch.tensor(batch.sample_ids),
    ]
    return parts + [t for t in (view.visible, view.masked) if t is not None]


@pytest.mark.parametrize("mask", ["none", "random", "time", "channel"])
@pytest.mark.parametrize("order", ["shuffle", "subject", "sequential"])
def test_stream_does_not_depend_on_threads(tiny_site, mask, order):
    streams = []
    for threads in (1, 2, 8):
        loader = sm.Loader(tiny_site, PRE, batch_size=5, mask=mask, order=order, threads=threads, epochs=2, seed=4, random=True)
        streams.append([flat(b) for b in loader])
    assert len(streams[0]) == len(loader)
    for other in streams[1:]:
        assert all(torch.equal(x, y) for a, b in zip(streams[0], other, strict=True) for x, y in zip(a, b, strict=True))


def test_state_is_one_integer(tiny_site):
    def make(start=0):
        return sm.Loader(tiny_site, PRE, batch_size=4, mask="random", threads=3, epochs=3, seed=1, random=True, start=start)

    whole = [flat(b) for b in make()]
    half = make()
    iterator = iter(half)
    for _ in range(5):
        next(iterator)
    assert half.position == 5
    rest = [flat(b) for b in make(half.position)]
    assert len(rest) == len(whole) - 5
    assert all(torch.equal(x, y) for a, b in zip(whole[5:], rest, strict=True) for x, y in zip(a, b, strict=True))


def test_every_window_once_an_epoch_and_epochs_differ(tiny_site):
    loader = sm.Loader(tiny_site, PRE, batch_size=5, epochs=2)
    ids = [i for b in loader for i in b.sample_ids]
    n = len(loader.source)
    assert sorted(ids[:n]) == sorted(ids[n:]) == list(range(n))
    assert ids[:n] != ids[n:]


def test_subject_order_is_balanced(tiny_site):
    table = tiny_site.table
    uneven = sm.Cohort.from_table(pd.concat([table, table.iloc[[0]].assign(subject="other"), table.iloc[[0]].assign(subject="other")]))
    loader = sm.Loader(uneven, PRE, batch_size=7, order="subject", epochs=1)
    subjects = [loader.source.describe(i).subject for b in loader for i in b.sample_ids]
    counts = pd.Series(subjects).value_counts()
    assert counts.max() - counts.min() <= 1


def test_a_window_is_what_scipy_makes_of_it(tiny_site):
    """Filter, resample, re-reference and scale of the loader's threads, with the same steps in SciPy."""
    pre = sm.EegPreprocessing(sfreq=100, window=4, patch=1, l_freq=1, h_freq=40, notch=50, scale="robust", clip=5)
    source = tiny_site.source(pre)
    values, positions = source.sample(1)
    edf = sm.io.open_edf(tiny_site.table["path"][0])
    rate = edf.sfreq[0]
    # 4 s window at 4 s, margin 1 s plus the resampler's reach, in front a whole number of resampling periods (5 samples).
    margin = int(np.ceil(rate)) + 26
    first = 1000 - margin // 5 * 5
    x = edf.read(first / rate, (1000 + 1000 + margin) / rate).double().numpy()
    x = signal.sosfiltfilt(signal.butter(4, [1, 40], "bandpass", fs=rate, output="sos"), x)
    b, a = signal.iirnotch(50, 30, fs=rate)
    x = signal.filtfilt(b, a, x)
    x = signal.resample_poly(x, 2, 5, axis=1)
    start = margin // 5 * 2
    x = x[:, start : start + 400]
    x -= x.mean(0)
    q1, q2, q3 = np.percentile(x, [25, 50, 75], axis=1, keepdims=True)
    x = np.clip((x - q2) / ((q3 - q1) / 1.349), -5, 5)
    assert values.shape == x.shape
    assert np.abs(values.numpy() - x).max() < 1e-4
    assert positions.shape == (len(x), 3)


def array_cohort(values, names=("Fp1", "Cz", "O2"), sfreq=100.0, **columns):
    table = pd.DataFrame({"subject": [f"s{i}" for i in range(len(values))]} | columns)
    return sm.Cohort.from_arrays(values, sfreq, list(names), table)


def test_mixed_montages_and_rates_share_batches(rng):
    values = [rng.normal(size=(3, 1000)), rng.normal(size=(2, 2000)), rng.normal(size=(1, 777))]
    cohort = sm.Cohort.from_arrays(values, [100, 250, 128], [["Fp1", "Cz", "O2"], ["C3", "C4"], ["Pz"]], pd.DataFrame({"subject": list("abc")}))
    batches = list(sm.Loader(cohort, SINGLE, batch_size=100, order="sequential"))
    view = batches[0].views[0]
    assert sorted(view.lengths) == view.lengths
    assert {n // 4 for n in view.lengths} == {1, 2, 3}
    assert view.values.shape == (sum(view.lengths), 100)


def test_flat_and_non_finite_channels_are_dropped_from_windows(rng):
    x = rng.normal(size=(1, 3, 800))
    x[0, 1, :] = 5.0
    x[0, 2, 500] = np.nan
    source = array_cohort(x).source(SINGLE)
    # The margin of the first window reaches the NaN as well.
    assert source.sample(0)[0].shape[0] == 2 or source.sample(0)[0].shape[0] == 1
    assert source.sample(1)[0].shape[0] == 1
    assert source.sample(1)[0].isfinite().all()
    assert source.sample(1)[0].std() > 0.5


def test_an_average_reference_needs_two_channels(rng):
    """The average of one channel is the channel: what would be left is zero, and zero would be learned."""
    with pytest.raises(ValueError, match=r"arrays\[0\]: has one channel .*average_reference=False"):
        array_cohort(rng.normal(size=(1, 2, 800)), ("Cz", "X1")).source(PRE)
    x = rng.normal(size=(1, 2, 1200))
    x[0, 1, 600:] = 0
    source = array_cohort(x, ("Cz", "Pz")).source(replace(PRE, margin=0))
    assert source.sample(0)[0].abs().sum() > 0
    with pytest.raises(sm.FormatError, match=r"at least two channels, for their average, from 8\.0"):
        source.sample(2)
    assert array_cohort(x, ("Cz", "Pz")).source(replace(SINGLE, margin=0)).sample(2)[0].shape[0] == 1


def test_unreadable_windows(rng):
    x = rng.normal(size=(2, 3, 1600))
    x[1, [0, 1, 2], [850, 851, 852]] = np.nan  # at the same time it would be a gap
    cohort = array_cohort(x)
    with pytest.raises(sm.FormatError, match=r"arrays\[1\]"):
        list(sm.Loader(cohort, PRE, batch_size=3))
    for threads in (1, 4):
        loader = sm.Loader(cohort, PRE, batch_size=4, order="sequential", on_error="skip", threads=threads)
        batches = list(loader)
        lost = [i for b in batches for i in b.sample_ids].count(-1)
        assert lost == len(loader.failures) > 0
        assert sum(len(b) for b in batches) == len(loader.source) - lost
        for b in batches:
            assert all(b.sample_ids[s] >= 0 for s in b.views[0].slots)


def test_a_file_that_vanishes_mid_epoch(tmp_path):
    cohort = demo.write_cohort(tmp_path / "p", demo.PUBLIC, 3, seconds=12)
    loader = sm.Loader(cohort, PRE, batch_size=1, order="sequential", epochs=200)
    from pathlib import Path

    path = Path(cohort.table["path"][1])
    path.write_bytes(path.read_bytes()[:6000])
    with pytest.raises(sm.ReadError, match=path.name):
        list(loader)


def test_gaps_never_enter_a_window(tmp_path):
    from edf_files import Edf, Signal

    x = np.random.default_rng(0).integers(-1000, 1000, 1200)
    Edf([Signal("Cz", per_record=100, samples=x)], n_records=12, kind="EDF+D", onsets=[*range(6), *range(20, 26)]).write(tmp_path / "d.edf")
    cohort = sm.Cohort.from_table(pd.DataFrame({"path": [str(tmp_path / "d.edf")], "subject": ["a"]}))
    source = cohort.source(replace(SINGLE, h_freq=40))
    assert len(source) == 2
    assert [source.describe(i).place["start"] for i in range(2)] == [0.0, 20.0]
    assert all(source.sample(i)[0].isfinite().all() for i in range(2))


def test_unknown_channels_are_named(rng):
    cohort = array_cohort(rng.normal(size=(1, 3, 800)), ("Fp1", "X1", "X2"))
    assert sm.modalities.eeg.unknown_channels(cohort) == ["X1", "X2"]
    with pytest.warns(sm.FormatWarning) as caught:
        source = cohort.source(SINGLE)
    assert len(caught) == 2
    assert [str(w.message).split("channel ")[1][:4] for w in caught] == ["'X1'", "'X2'"]
    assert source.sample(0)[0].shape[0] == 1
    source = cohort.source(PRE, extra_channels=["X1", "X2"])
    values, positions = source.sample(0)
    assert values.shape[0] == 3
    assert positions.isnan().any(1).tolist() == [False, True, True]


@pytest.mark.parametrize(
    "kwargs",
    [
        {"threads": 0},
        {"batch_size": 0},
        {"order": "x"},
        {"mask": "x"},
        {"ratio": 1.5, "mask": "random"},
        {"on_error": "x"},
    ],
)
def test_loader_refuses(tiny_site, kwargs):
    with pytest.raises(ValueError):
        list(sm.Loader(tiny_site, PRE, **kwargs))


def test_windows_longer_than_every_recording(tiny_site):
    with pytest.raises(ValueError, match="no recording holds"):
        tiny_site.source(sm.EegPreprocessing(window=60))


def test_an_abandoned_loader_ends_its_threads(tiny_site):
    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    list(sm.Loader(tiny_site, PRE, threads=1))  # whatever starts once has started
    before = threads()
    started = time.time()
    for _ in range(20):
        iterator = iter(sm.Loader(tiny_site, PRE, batch_size=2, threads=8, epochs=1000))
        next(iterator)
        del iterator
    assert time.time() - started < 20
    assert threads() == before


def test_sampler_is_a_pure_function(tiny_site):
    source = tiny_site.source(PRE)
    a, b = C.Sampler(source, "shuffle", 4, False, 9), C.Sampler(source, "shuffle", 4, False, 9)
    far = [a.batch(k) for k in (100, 3, 7, 0)]
    assert far == [b.batch(k) for k in (100, 3, 7, 0)]


def test_windows_hold_whole_patches():
    for window, patch, overlap, left in ((4, 1.5, 0, "1 s"), (2, 0.75, 0.25, "0.25 s")):
        with pytest.raises(ValueError, match=f"window of {window} s: {left} would be left out"):
            sm.EegPreprocessing(window=window, patch=patch, overlap=overlap).recipe()
    for window, patch, overlap in ((10, 1, 0.1), (2, 0.75, 0.125), (4, 4, 0)):
        sm.EegPreprocessing(window=window, patch=patch, overlap=overlap).recipe()
