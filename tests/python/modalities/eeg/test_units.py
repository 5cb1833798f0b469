"""Units and scales: one table of units for all that reads files, and signals of implausible amplitude."""

import numpy as np
import pandas as pd
import pytest
from brainvision_files import BrainVision
from edf_files import Edf, Signal

import sslmed as sm
from sslmed._core import C
from sslmed.modalities.eeg.acquisition import acquisition

NAMES = ["Fp1", "Cz", "O1"]
RATE = 100
HOW = sm.EegPreprocessing(sfreq=100, window=2.0, h_freq=40)


@pytest.fixture
def store(tmp_path):
    before = C.recording_store()
    sm.io.set_recording_store(tmp_path / "store")
    yield tmp_path / "store"
    sm.io.set_recording_store(before)


def stored(rng, seconds=20):
    """[3, T] whole numbers, which stand for tenths of µV where the file is right."""
    return rng.integers(-500, 500, (3, seconds * RATE))


def edf(path, x, unit, factor, bdf=False):
    """``factor``: what the header's range is multiplied by."""
    limit = {"pmin": f"{-3200 * factor:.7g}", "pmax": f"{3200 * factor:.7g}", "dmin": "-32000", "dmax": "32000"}
    signals = [Signal(name, unit, per_record=RATE, samples=row, **limit) for name, row in zip(NAMES, x, strict=True)]
    return Edf(signals, n_records=x.shape[1] // RATE, version=b"\xffBIOSEMI" if bdf else b"0       ").write(path)


def brainvision(path, x, unit, factor):
    return BrainVision(x, names=NAMES, units=[unit], resolutions=[f"{0.1 * factor:.6g}"], interval="10000").write(path.with_suffix(".vhdr"))


def fif(path, x, unit, factor):
    mne = pytest.importorskip("mne")
    path = path.with_name(f"{path.stem}_raw.fif")
    volts = x * 0.1 * factor * C.microvolts(unit) * 1e-6
    mne.io.RawArray(volts, mne.create_info(NAMES, RATE, "eeg"), verbose="error").save(path, fmt="double", verbose="error")
    return path


WRITERS = {"edf": edf, "bdf": lambda *a: edf(*a, bdf=True), "vhdr": brainvision, "store": fif}


def files(*paths):
    return sm.Cohort.from_table(pd.DataFrame({"path": [str(p) for p in paths], "subject": [f"s{i}" for i in range(len(paths))]}))


def scale_warnings(caught):
    return [str(one.message) for one in caught if issubclass(one.category, sm.ValueWarning)]


WRONG = [
    ("V", 1.0, "µV stored as V"),
    ("mV", 1.0, "µV stored as mV"),
    ("uV", 1e-6, "V stored as µV"),
    ("uV", 1e-3, "mV stored as µV"),
    ("mV", 1e-6, "V stored as mV"),
]


@pytest.mark.parametrize("how", ["source", "index", "several"])
@pytest.mark.parametrize(("unit", "factor"), [w[:2] for w in WRONG], ids=[w[2] for w in WRONG])
@pytest.mark.parametrize("format", WRITERS)
def test_an_implausible_scale_is_told_of_every_format(tmp_path, rng, store, format, unit, factor, how):
    good = [WRITERS[format](tmp_path / f"good{i}.edf", stored(rng), "uV", 1.0) for i in range(3 if how == "several" else 0)]
    wrong = WRITERS[format](tmp_path / "wrong.edf", stored(rng), unit, factor)
    cohort = files(*good[:1], wrong, *good[1:])
    with pytest.warns(sm.ValueWarning, match=rf"1 of {len(cohort)} recordings .* implausible amplitude for EEG, such as .*wrong.*check the unit in its header"):
        _ = cohort.index() if how == "index" else cohort.source(HOW)


@pytest.mark.parametrize("format", WRITERS)
def test_a_plausible_scale_is_not_told(tmp_path, rng, store, recwarn, format):
    for number, (unit, factor) in enumerate([("uV", 1.0), ("mV", 1e-3), ("V", 1e-6), ("nV", 1e3)]):
        cohort = files(WRITERS[format](tmp_path / f"good{number}.edf", stored(rng), unit, factor))
        cohort.source(HOW)
        cohort.index()
    assert scale_warnings(recwarn) == []


def test_it_is_told_once_and_of_an_index_of_every_file(tmp_path, rng, recwarn):
    paths = [edf(tmp_path / f"{i}.edf", stored(rng, 2), "uV", 1.0 if i != 98 else 1e-6) for i in range(100)]
    cohort = files(*paths)
    cohort.index()
    cohort.source(HOW)
    assert len(scale_warnings(recwarn)) == 1
    assert "1 of 100 recordings" in scale_warnings(recwarn)[0]
    assert "98.edf" in scale_warnings(recwarn)[0]


def test_files_beside_arrays_are_looked_at(tmp_path, rng):
    made = sm.Cohort.from_arrays([0.1 * stored(rng)], RATE, NAMES, pd.DataFrame({"subject": ["a"]}))
    both = made.joined(files(edf(tmp_path / "wrong.edf", stored(rng), "uV", 1e-6)))
    with pytest.warns(sm.ValueWarning, match=r"1 of 1 recordings .*wrong\.edf"):
        both.source(HOW)


@pytest.mark.parametrize("unit", ["uV", "mV", "V", "nV", "µV", "μV", "microV", "UV", "mv", "", "mVolt"])
def test_one_table_of_units(tmp_path, unit):
    factor = C.microvolts(unit)
    x = np.full((3, 2 * RATE), 100)
    path = edf(tmp_path / "a.edf", x, unit if unit.isascii() else unit.encode("utf-8"), 1.0)
    names, sfreq, seconds, values = C.read_recording(str(path))
    assert (names, sfreq, seconds) == (NAMES, RATE, 2.0)
    np.testing.assert_allclose(values.numpy(), 10 * factor, rtol=1e-3)
    mne = pytest.importorskip("mne")
    raw = sm.io.open_edf(path).to_mne()
    assert isinstance(raw, mne.io.BaseRaw)
    np.testing.assert_allclose(raw.get_data(), 10e-6 * factor, rtol=1e-3)


@pytest.mark.parametrize("unit", ["bpm", "%", "MV", "Ohm", "T"])
def test_what_is_no_voltage(tmp_path, unit):
    assert C.microvolts(unit) is None
    x = np.full((3, 2 * RATE), 100)
    pytest.importorskip("mne")
    assert set(sm.io.open_edf(edf(tmp_path / "a.edf", x, unit, 1.0)).to_mne().get_channel_types()) == {"misc"}


def test_acquisition_is_that_of_the_signal_whatever_its_file(tmp_path, rng, store):
    x = stored(rng)
    made = sm.Cohort.from_arrays([(0.1 * x).astype(np.float32)], RATE, NAMES, pd.DataFrame({"subject": ["a"]}))
    (expected,) = acquisition([made])
    for unit, factor in (("uV", 1.0), ("mV", 1e-3), ("nV", 1e3)):
        for name, write in WRITERS.items():
            (found,) = acquisition([files(write(tmp_path / f"{unit}.edf", x, unit, factor))])
            np.testing.assert_allclose(found, expected, atol=5e-3, err_msg=f"{name} {unit}")


def test_acquisition_takes_the_rate_and_the_channels_of_a_source(tmp_path, rng):
    x = stored(rng)
    signals = [Signal(name, per_record=RATE, samples=row) for name, row in zip(NAMES, x, strict=True)]
    fast = Signal("EMG chin", per_record=5 * RATE, samples=rng.integers(-9, 9, 100 * RATE))
    path = Edf([*signals, fast], n_records=20).write(tmp_path / "a.edf")
    (plain,) = acquisition([files(Edf(signals, n_records=20).write(tmp_path / "b.edf"))])
    (found,) = acquisition([files(path)])
    np.testing.assert_allclose(np.delete(found[0], -2), np.delete(plain[0], -2))
    assert found[0, -2] == plain[0, -2] + 1 == 4  # signals
    assert found[0, -1] == np.log10(RATE)
    (fewer,) = acquisition([files(path).choose_channels(exclude=["O1"])])
    assert fewer.shape == (1, 2 * 3 + 3)
