"""Errors that come from one recording of several name it."""

import json

import numpy as np
import pandas as pd
import pytest
from edf_files import Edf, Signal

import sslmed as sm
from sslmed._core import C
from sslmed.modalities.eeg import channels

NAMES = ["Fp1", "Cz", "O1"]


def people(n, **columns):
    return pd.DataFrame({"subject": [f"s{i}" for i in range(n)], **columns})


def arrays(rng, *rates, seconds=12.0):
    """One recording of each rate."""
    return sm.Cohort.from_arrays([20 * rng.normal(size=(3, round(seconds * rate))) for rate in rates], rates, NAMES, people(len(rates)))


def edf(path, rate, seconds=12, rng=None):
    """A file of this rate in Hz, in records of as many seconds as it needs."""
    record = max(1, round(1 / rate))
    samples = (rng or np.random.default_rng(0)).integers(-900, 900, (3, round(seconds * rate)))
    signals = [Signal(name, per_record=round(rate * record), samples=row) for name, row in zip(NAMES, samples, strict=True)]
    return Edf(signals, n_records=seconds // record, duration=str(record)).write(path)


def files(*paths):
    return sm.Cohort.from_table(people(len(paths), path=[str(path) for path in paths]))


SLOW = [
    (1.0, {"sfreq": 100}, r"l_freq=0\.5 Hz must be below half the recording's sampling rate of 1 Hz; set a lower l_freq"),
    (10.0, {"sfreq": 100, "l_freq": 8.0, "h_freq": 0}, r"l_freq=8 Hz must be below half the recording's sampling rate of 10 Hz"),
    (5.0, {"sfreq": 100, "window": 1.0, "order": 16}, r"window=1 s with margins are 37 samples at the recording's 5 Hz, but the filter needs more than"),
    (1.0, {"sfreq": 20000.5, "window": 2.0, "l_freq": 0, "h_freq": 0}, r"resampl|factor"),
]


@pytest.mark.parametrize(("rate", "options", "told"), SLOW, ids=["half", "edge", "short", "factor"])
@pytest.mark.parametrize("kind", ["arrays", "files", "index", "mne"])
def test_a_recording_of_another_rate_is_named(tmp_path, rng, kind, rate, options, told):
    how = sm.EegPreprocessing(**options)
    if kind == "arrays":
        cohort, name = arrays(rng, 100, rate, 100), r"arrays\[1\]"
    elif kind == "mne":
        mne = pytest.importorskip("mne")
        raws = [mne.io.RawArray(1e-6 * r.signal.numpy(), mne.create_info(NAMES, r.sfreq, "eeg"), verbose="error") for r in arrays(rng, 100, rate).arrays]
        cohort, name = sm.Cohort.from_mne(raws, people(2)), r"mne\[1\]"
    else:
        cohort, name = files(edf(tmp_path / "good.edf", 100), edf(tmp_path / "slow.edf", rate), edf(tmp_path / "also.edf", 100)), r"slow\.edf"
        cohort = cohort.index() if kind == "index" else cohort
    with pytest.raises(ValueError, match=rf"{name}: .*({told})"):
        cohort.source(how)


def test_a_wrong_option_is_no_recordings_fault(rng):
    for options, told in (({"order": 17}, "order=17"), ({"notch": -50.0}, "notch=-50"), ({"l_freq": -1.0}, "l_freq=-1"), ({"flat_gap": -1.0}, "flat_gap=-1")):
        with pytest.raises(ValueError, match=f"^{told} "):
            arrays(rng, 100, 100).source(sm.EegPreprocessing(sfreq=100, window=4, **options))


def test_windows_longer_than_all_recordings_name_the_longest(tmp_path, rng):
    told = r"no recording holds a window of 40 s; the longest stretch without a gap is {} s, of .*{}"
    how = sm.EegPreprocessing(sfreq=100, window=40)
    with pytest.raises(ValueError, match=told.format("12", r"arrays\[0\]")):
        arrays(rng, 100, 100).source(how)
    with pytest.raises(ValueError, match=told.format("30", r"b\.edf")):
        files(edf(tmp_path / "a.edf", 100), edf(tmp_path / "b.edf", 100, 30)).source(how)


def test_subjects_aligned_by_a_flat_channel_name_the_recording(rng):
    x = 20 * rng.normal(size=(2, 3, 1200))
    x[1, 0, :600] = 0.0
    x[1, 1:, 600:] = np.nan
    how = sm.EegPreprocessing(sfreq=100, window=4, l_freq=0, h_freq=0, align="subject", montage=tuple(NAMES))
    source = sm.Cohort.from_arrays(x, 100, NAMES, people(2)).source(how)
    source.sample(0)
    with pytest.raises(sm.FormatError, match=r"arrays\[1\]: expected a signal .*channel 'Fp1'"):
        source.sample(3)


@pytest.mark.parametrize(
    ("values", "rates", "told"),
    [
        ([np.zeros((3, 10)), [[1.0, 2.0], [3.0], [1.0]]], 100, r"a\[1\]: values must be an array \[channels, samples\]"),
        ([np.zeros((3, 10)), np.zeros((3, 10), complex)], 100, r"a\[1\]: values must be real numbers, got complex128"),
        ([np.zeros((3, 10)), np.zeros((2, 10))], 100, r"a\[1\]: values are \(2, 10\), expected \[3, samples\]"),
        ([np.zeros((3, 10)), np.zeros(10)], 100, r"a\[1\]: values are \(10,\), expected \[3, samples\]"),
        ([np.zeros((3, 10)), np.zeros((3, 0))], 100, r"a\[1\]: values are \(3, 0\), expected at least one sample"),
        ([np.zeros((3, 10)), np.zeros((3, 10))], [100, -1], r"a\[1\]: sfreq must be positive, got -1"),
        ([np.zeros((3, 10)), np.zeros((3, 10))], [100, np.nan], r"a\[1\]: sfreq must be positive, got nan"),
        ([np.zeros((3, 10)), np.zeros((3, 10))], [100, 100, 100], r"a: sfreq must be one for all or one a recording \(2\), found 3"),
    ],
)
def test_arrays_that_do_not_fit_are_named(values, rates, told):
    with pytest.raises(ValueError, match=told):
        sm.Cohort.from_arrays(values, rates, NAMES, people(2), name="a")


def test_arrays_are_named_by_their_paths(rng):
    with pytest.raises(ValueError, match=r"second: values must be real numbers"):
        sm.Cohort.from_arrays([np.zeros((3, 10)), np.full((3, 10), "x")], 100, NAMES, people(2, path=["first", "second"]))
    npz = sm.Cohort.from_arrays([20 * rng.normal(size=(3, 40)), 20 * rng.normal(size=(3, 40))], [100, 1], NAMES, people(2, path=["first", "second"]))
    with pytest.raises(ValueError, match="second: l_freq"):
        npz.source(sm.EegPreprocessing(sfreq=100, window=0.2))


def test_what_is_no_raw_is_named(tmp_path, rng):
    mne = pytest.importorskip("mne")
    raw = mne.io.RawArray(1e-5 * rng.normal(size=(3, 800)), mne.create_info(NAMES, 100, "eeg"), verbose="error")
    epochs = mne.make_fixed_length_epochs(raw, 2, verbose="error")
    for wrong, what in ((epochs, "Epochs"), (str(tmp_path / "a.fif"), "str"), (raw.get_data(), "ndarray")):
        with pytest.raises(TypeError, match=rf"mne\[1\]: expected a continuous recording of MNE .* found {what}"):
            sm.Cohort.from_mne([raw, wrong], people(2))
    with pytest.raises(ValueError, match="raws has 1 recordings, expected one for each of the table's 2 rows"):
        sm.Cohort.from_mne([raw], people(2))


def test_a_raw_whose_file_is_gone_is_named(tmp_path, rng):
    mne = pytest.importorskip("mne")
    before = C.recording_store()
    sm.io.set_recording_store(tmp_path / "store")
    try:
        raw = mne.io.RawArray(1e-5 * rng.normal(size=(3, 800)), mne.create_info(NAMES, 100, "eeg"), verbose="error")
        raw.save(tmp_path / "a_raw.fif", verbose="error")
        lazy = mne.io.read_raw_fif(tmp_path / "a_raw.fif", preload=False, verbose="error")
        (tmp_path / "a_raw.fif").unlink()
        with pytest.raises(sm.ReadError, match=r"mne\[1\]: .*a_raw\.fif"):
            sm.Cohort.from_mne([raw, lazy], people(2))
    finally:
        sm.io.set_recording_store(before)


@pytest.mark.parametrize("column", ["use_channels", "exclude_channels"])
def test_a_wrong_list_of_channels_names_its_row(tmp_path, column):
    cohort = files(edf(tmp_path / "a.edf", 100), edf(tmp_path / "b.edf", 100)).with_columns(**{column: [json.dumps(["Cz"]), "Cz"]})
    with pytest.raises(ValueError, match=rf"b\.edf: column '{column}' must hold JSON lists .* found 'Cz' in row 1"):
        channels(cohort)


def test_a_wrong_montage_of_an_index_names_its_row(tmp_path):
    indexed = files(edf(tmp_path / "a.edf", 100), edf(tmp_path / "b.edf", 100)).index()
    table = indexed.table.assign(channels=[indexed.table["channels"].iloc[0], "[1, 2]"])
    with pytest.raises(sm.FormatError, match=r"b\.edf: expected a JSON list of names in the index's column 'channels', found '\[1, 2\]'"):
        sm.Cohort(table, "again").source(sm.EegPreprocessing(sfreq=100, window=4))
