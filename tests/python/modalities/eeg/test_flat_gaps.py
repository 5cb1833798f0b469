"""Gaps that were filled with one value, in files and arrays."""

import warnings

import numpy as np
import pandas as pd
import pytest
from brainvision_files import BrainVision
from edf_files import Edf, Signal

import sslmed as sm
from sslmed._core import C

NAMES = ["Fp1", "Cz", "O1", "O2"]
RATE = 100
HOW = sm.EegPreprocessing(sfreq=100, window=2.0, patch=1.0, h_freq=40)


@pytest.fixture
def store(tmp_path):
    before = C.recording_store()
    sm.io.set_recording_store(tmp_path / "store")
    yield tmp_path / "store"
    sm.io.set_recording_store(before)


def stored(rng, seconds=20, channels=4):
    """[C, T] whole numbers, of which no two neighbors are equal in all channels."""
    x = rng.integers(-900, 900, (channels, seconds * RATE))
    x[0] = 2 * (x[0] // 2) + np.arange(x.shape[1]) % 2
    return x


def filled(x, *spans, value=0):
    for first, last in spans:
        x[:, round(first * RATE) : round(last * RATE)] = np.reshape(value, (-1, 1))
    return x


def edf(path, x, bdf=False, **options):
    signals = [Signal(name, per_record=RATE, samples=row) for name, row in zip(NAMES, x, strict=False)]
    return Edf(signals, n_records=x.shape[1] // RATE, version=b"\xffBIOSEMI" if bdf else b"0       ", **options).write(path)


def vectorized(path, x):
    return BrainVision(x, orientation="VECTORIZED", names=NAMES[: len(x)], interval="10000").write(path.with_suffix(".vhdr"))


def multiplexed(path, x):
    return BrainVision(x, names=NAMES[: len(x)], interval="10000").write(path.with_suffix(".vhdr"))


def fif(path, x):
    mne = pytest.importorskip("mne")
    path = path.with_name(path.stem + "_raw.fif")
    mne.io.RawArray(1e-7 * x, mne.create_info(NAMES[: len(x)], RATE, "eeg"), verbose="error").save(path, verbose="error")
    return path


WRITERS = {"edf": edf, "edf+": lambda p, x: edf(p, x, kind="EDF+C"), "bdf": lambda p, x: edf(p, x, bdf=True), "multiplexed": multiplexed}
WRITERS |= {"vectorized": vectorized, "store": fif}


def files(*paths):
    return sm.Cohort.from_table(pd.DataFrame({"path": [str(p) for p in paths], "subject": [f"s{i}" for i in range(len(paths))]}))


def array(x):
    return sm.Cohort.from_arrays([0.1 * x], RATE, NAMES[: len(x)], pd.DataFrame({"subject": ["a"]}))


def starts(source):
    return [source.describe(i).place["start"] for i in range(len(source))]


def quiet(cohort, how=HOW):
    with warnings.catch_warnings():
        warnings.simplefilter("error", sm.FormatWarning)
        return cohort.source(how)


@pytest.mark.parametrize("write", WRITERS)
def test_zeros_in_every_format_are_gaps_as_in_arrays(tmp_path, rng, store, write):
    x = filled(stored(rng), (5, 8), (12.5, 13))
    cohort = files(WRITERS[write](tmp_path / "a.edf", x))
    with pytest.warns(sm.FormatWarning, match=r"a.*: 3\.5\d* s of 20\.0+ s are in 2 gaps in which no channel changes for 0\.5\d* s or longer, and left out"):
        source = cohort.source(HOW)
    with pytest.warns(sm.FormatWarning, match=r"3\.5\d* s of 20\.0+ s are gaps"):
        other = array(x).source(HOW)
    assert starts(source) == starts(other) == [0.0, 2.0, 8.0, 10.0, 13.0, 15.0, 17.0]
    for i in range(len(source)):
        np.testing.assert_allclose(source.sample(i)[0], other.sample(i)[0], atol=1e-3)


@pytest.mark.parametrize("write", ["edf", "multiplexed", "store"])
def test_an_index_has_the_gaps(tmp_path, rng, store, write):
    x = filled(stored(rng), (0, 1), (5, 8), (19, 20))
    cohort = files(WRITERS[write](tmp_path / "a.edf", x))
    with pytest.warns(sm.FormatWarning, match="in 3 gaps"):
        indexed = cohort.index()
    source = quiet(indexed)
    assert starts(source) == [1.0, 3.0, 8.0, 10.0, 12.0, 14.0, 16.0]
    with pytest.warns(sm.FormatWarning, match="in 3 gaps"):
        opened = cohort.source(HOW)
    for i in range(len(source)):
        np.testing.assert_array_equal(source.sample(i)[0], opened.sample(i)[0])
    kept = cohort.index(flat_gap=0)
    assert starts(quiet(kept)) == [2.0 * i for i in range(10)]


def test_a_file_that_is_not_as_its_index_says_is_refused(tmp_path, rng):
    x = filled(stored(rng), (5, 8))
    cohort = files(edf(tmp_path / "a.edf", x))
    with pytest.warns(sm.FormatWarning):
        indexed = cohort.index()
    indexed.source(HOW).sample(0)
    edf(tmp_path / "a.edf", stored(rng))  # the gap is filled with signal
    with pytest.raises(sm.FormatError, match=r"a\.edf: expected .* with 1700 samples, as the index says, found .* with 2000 samples"):
        indexed.source(HOW).sample(0)


@pytest.mark.parametrize("value", [np.array([[7], [7], [7], [7]]), np.array([[-3], [0], [12], [900]])], ids=["one value", "the last values"])
def test_any_value_that_all_channels_keep(tmp_path, rng, value):
    x = filled(stored(rng), (5, 8), value=value)
    for cohort in (files(edf(tmp_path / "a.edf", x)), array(x)):
        with pytest.warns(sm.FormatWarning, match="gap"):
            assert starts(cohort.source(HOW)) == [0.0, 2.0, 8.0, 10.0, 12.0, 14.0, 16.0, 18.0]


def test_two_fills_in_a_row(tmp_path, rng):
    x = filled(filled(stored(rng), (5, 7)), (7, 8), value=5)
    cohort = files(edf(tmp_path / "a.edf", x))
    with pytest.warns(sm.FormatWarning, match="in 2 gaps"):
        indexed = cohort.index()
    assert starts(quiet(indexed)) == [0.0, 2.0, 8.0, 10.0, 12.0, 14.0, 16.0, 18.0]
    quiet(indexed).sample(3)


@pytest.mark.parametrize("kind", ["edf", "array"])
def test_what_is_no_gap(tmp_path, rng, kind):
    def cohort(x):
        return files(edf(tmp_path / "a.edf", x)) if kind == "edf" else array(x)

    whole = [2.0 * i for i in range(10)]
    one_lives = filled(stored(rng), (5, 8))
    one_lives[3, 500:800] = stored(rng)[0, 500:800]
    one_dead = stored(rng)
    one_dead[2] = 0
    short = filled(stored(rng), (5, 5.49))
    held = np.repeat(stored(rng)[:, ::10], 10, axis=1)  # ten equal samples each
    for x in (one_lives, one_dead, short, held):
        assert starts(quiet(cohort(x))) == whole
    alone = filled(stored(rng, channels=1), (5, 8))
    assert starts(quiet(cohort(alone), sm.EegPreprocessing(sfreq=100, window=2.0, h_freq=40, average_reference=False))) == whole


def test_a_flat_channel_of_a_montage_and_a_flat_recording(tmp_path, rng):
    flat = np.zeros((4, 2000), int)
    for cohort in (files(edf(tmp_path / "flat.edf", flat)), array(flat)):
        source = quiet(cohort)  # no gap of it all: its windows say what is wrong
        with pytest.raises(sm.FormatError, match="only flat or non-finite ones"):
            source.sample(0)
    dead = stored(rng)
    dead[1] = 0
    for cohort in (files(edf(tmp_path / "dead.edf", dead)), array(dead)):
        source = quiet(cohort, sm.EegPreprocessing(sfreq=100, window=2.0, h_freq=40, montage=("Fp1", "Cz", "O1")))
        with pytest.raises(sm.FormatError, match="channel 'Cz' of the montage"):
            source.sample(0)


@pytest.mark.parametrize(
    ("flat_gap", "expected"),
    [(0.0, [0.0, 2.0, 4.0, 6.0, 8.0]), (0.2, [0.0, 2.2, 4.2, 7.0]), (0.5, [0.0, 2.0, 4.0, 7.0]), (1.5, [0.0, 2.0, 4.0, 6.0, 8.0])],
)
def test_the_shortest_gap_is_an_option(tmp_path, rng, flat_gap, expected):
    x = filled(stored(rng, seconds=10), (2, 2.2), (6.2, 7))
    for cohort in (files(edf(tmp_path / "a.edf", x)), array(x)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert starts(cohort.source(sm.EegPreprocessing(sfreq=100, window=2.0, h_freq=40, flat_gap=flat_gap))) == expected
            if not cohort.in_memory:
                assert starts(cohort.index(flat_gap=flat_gap).source(HOW)) == expected
    with pytest.raises(ValueError, match="index: flat_gap=-1"):
        files(tmp_path / "a.edf").index(flat_gap=-1)


def test_slow_recordings_are_not_gaps_sample_by_sample(tmp_path, rng):
    x = stored(rng, seconds=2)
    signals = [Signal(name, per_record=2, samples=row) for name, row in zip(NAMES, x, strict=True)]
    path = Edf(signals, n_records=100).write(tmp_path / "slow.edf")
    how = sm.EegPreprocessing(sfreq=2, window=10.0, patch=2.0, l_freq=0, h_freq=0, scale="none")
    made = sm.Cohort.from_arrays([x * 0.1], 2, NAMES, pd.DataFrame({"subject": ["a"]}))
    for cohort in (files(path), made):
        assert len(quiet(cohort, how)) == 10


def test_gaps_of_discontinuous_files_and_of_annotations_remain(tmp_path, rng):
    x = filled(stored(rng), (15, 18))
    path = edf(tmp_path / "a.edf", x, kind="EDF+D", onsets=[i + (6 if i >= 10 else 0) for i in range(20)], notes={2: b"+2\x152\x14BAD_x\x14\x00"})
    with pytest.warns(sm.FormatWarning, match="in 1 gap ") as told:
        source = files(path).source(HOW)
    assert any("2.000000 s of 20.000000 s are in spans annotated as bad" in str(one.message) for one in told)
    assert starts(source) == [0.0, 4.0, 6.0, 8.0, 16.0, 18.0, 24.0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        indexed = files(path).index()
    assert starts(quiet(indexed)) == starts(source)
    quiet(indexed).sample(5)


def test_channels_that_are_not_read_do_not_fill_gaps(tmp_path, rng):
    x = filled(stored(rng), (5, 8))
    x[3, 500:800] = stored(rng)[0, 500:800]
    cohort = files(edf(tmp_path / "a.edf", x)).choose_channels(exclude=["O2"])
    with pytest.warns(sm.FormatWarning, match="in 1 gap "):
        assert starts(cohort.source(HOW)) == [0.0, 2.0, 8.0, 10.0, 12.0, 14.0, 16.0, 18.0]
