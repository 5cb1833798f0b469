"""Recordings of one content in several formats."""

import warnings
from datetime import datetime, timezone

import numpy as np
import pandas as pd
import pytest
import scipy.io
from brainvision_files import BrainVision
from edf_files import Edf, Signal

import sslmed as sm
from sslmed import contents
from sslmed._core import C
from sslmed.io import write_edf
from sslmed.modalities.eeg import EegPreprocessing
from sslmed.training.samples_of import rows_of

NAMES = ["Fp1", "Fp2", "C3", "C4", "O1", "O2", "Cz"]
RATE = 200
PREPROCESSING = EegPreprocessing(sfreq=100, window=2.0, patch=1.0, h_freq=40)


def signal(rng, seconds=12):
    """[C, T] whole numbers of 1/8 µV, which every format holds as they are."""
    return rng.integers(-900, 900, (len(NAMES), seconds * RATE))


def edf(path, stored, bdf=False):
    signals = [Signal(name, pmin="-4096", pmax="4095.875", per_record=RATE, samples=row) for name, row in zip(NAMES, stored, strict=True)]
    return Edf(signals, n_records=stored.shape[1] // RATE, version=b"\xffBIOSEMI" if bdf else b"0       ").write(path)


def annotated(path, stored, notes):
    write_edf(path, stored / 8, RATE, NAMES, annotations=notes)
    return path


def brainvision(path, stored, **options):
    return BrainVision(stored, **({"names": NAMES, "interval": str(1e6 / RATE), "resolutions": ["0.125"]} | options)).write(path)


def cohort(*paths):
    return sm.Cohort.from_table(pd.DataFrame({"path": [str(p) for p in paths], "subject": [f"s{i}" for i in range(len(paths))]}))


def windows(source):
    return np.stack([source.sample(i)[0].numpy() for i in range(len(source))])


@pytest.mark.parametrize("options", [{"number": "INT_16"}, {"orientation": "VECTORIZED", "number": "IEEE_FLOAT_32"}, {"number": "INT_32"}])
def test_windows_of_brainvision_are_those_of_edf(tmp_path, rng, options):
    x = signal(rng)
    expected = cohort(edf(tmp_path / "a.edf", x)).source(PREPROCESSING)
    found = cohort(brainvision(tmp_path / "a.vhdr", x, **options)).source(PREPROCESSING)
    assert len(found) == len(expected) == 6
    np.testing.assert_allclose(windows(found), windows(expected), atol=1e-6)
    indexed = cohort(tmp_path / "a.vhdr").index()
    np.testing.assert_array_equal(windows(indexed.source(PREPROCESSING)), windows(found))


def test_units_of_brainvision(tmp_path, rng):
    x = signal(rng)
    reference = windows(cohort(brainvision(tmp_path / "a.vhdr", x)).source(PREPROCESSING))
    for name, unit, resolution in (("m", "mV", "0.000125"), ("n", "nV", "125"), ("v", "V", "1.25e-7")):
        other = cohort(brainvision(tmp_path / f"{name}.vhdr", x, units=[unit], resolutions=[resolution]))
        np.testing.assert_allclose(windows(other.source(PREPROCESSING)), reference, atol=1e-5)


def test_brainvision_in_folders(tmp_path, rng):
    for i in (1, 2):
        brainvision(tmp_path / f"sub-0{i}" / "eeg" / f"sub-0{i}_task-rest_eeg.vhdr", signal(rng))
    found = sm.Cohort.from_bids(tmp_path)
    assert list(found.table["subject"]) == ["sub-01", "sub-02"]
    assert len(found.source(PREPROCESSING)) == 12
    assert len(sm.Cohort.from_folder(tmp_path)) == 2


def test_copies_of_brainvision_are_found_by_their_samples(tmp_path, rng):
    x = signal(rng)
    both = cohort(brainvision(tmp_path / "a.vhdr", x), brainvision(tmp_path / "renamed_copy.vhdr", x), brainvision(tmp_path / "c.vhdr", signal(rng)))
    assert contents.equal_contents([both]) == [[contents.Place(0, 0), contents.Place(0, 1)]]
    first, second, third = contents.contents(both)
    assert first == second != third


@pytest.mark.parametrize("ending", [".eeg", ".vmrk"])
def test_other_files_of_a_brainvision_recording_name_the_header(tmp_path, rng, ending):
    brainvision(tmp_path / "a.vhdr", signal(rng))
    table = pd.DataFrame({"path": [str(tmp_path / f"a{ending}")], "subject": ["a"], "modality": ["eeg"]})
    with pytest.raises(sm.FormatError, match=r"give the .vhdr beside it"):
        sm.Cohort.from_table(table).source(PREPROCESSING)


def starts(source):
    return [source.describe(i).place["start"] for i in range(len(source))]


@pytest.mark.parametrize("text", ["BAD_movement", "bad blink", "Bad"])
def test_spans_annotated_as_bad_are_gaps(tmp_path, rng, text):
    x = signal(rng, 20)
    noted = annotated(tmp_path / "a.edf", x, [(5.0, 3.0, text), (12.0, 1.0, "good")])
    marked = brainvision(tmp_path / "a.vhdr", x, markers=[f"Comment,{text},{5 * RATE + 1},{3 * RATE},0", f"Comment,good,{12 * RATE},{RATE},0"])
    for path in (noted, marked):
        with pytest.warns(sm.FormatWarning, match=r"3\.0+ s of 20\.0+ s are in spans annotated as bad"):
            source = cohort(path).source(PREPROCESSING)
        assert starts(source) == [0.0, 2.0, 8.0, 10.0, 12.0, 14.0, 16.0, 18.0]
        with pytest.warns(sm.FormatWarning, match="annotated as bad"):
            indexed = cohort(path).index()
        assert starts(indexed.source(PREPROCESSING)) == starts(source)
        np.testing.assert_array_equal(windows(indexed.source(PREPROCESSING)), windows(source))


@pytest.mark.parametrize("text", ["boundary", "EDGE boundary", "BAD boundary", "New Segment/"])
def test_no_window_goes_across_a_boundary(tmp_path, rng, text):
    source = cohort(annotated(tmp_path / "a.edf", signal(rng, 10), [(5.0, 0.0, text)])).source(PREPROCESSING)
    assert starts(source) == [0.0, 2.0, 5.0, 7.0]


def test_a_new_segment_of_brainvision_is_a_boundary(tmp_path, rng):
    path = brainvision(tmp_path / "a.vhdr", signal(rng, 10), markers=["New Segment,,1,1,0", f"New Segment,,{5 * RATE + 1},1,0"])
    assert starts(cohort(path).source(PREPROCESSING)) == [0.0, 2.0, 5.0, 7.0]


def test_overlapping_spans_and_a_span_to_the_end(tmp_path, rng):
    notes = [(1.0, 3.0, "BAD_a"), (3.0, 2.0, "BAD_b"), (8.5, 60.0, "BAD_c")]
    with pytest.warns(sm.FormatWarning, match=r"5\.5"):
        source = cohort(annotated(tmp_path / "a.edf", signal(rng, 10), notes)).source(PREPROCESSING)
    assert starts(source) == [5.0]


def test_gaps_of_arrays_are_nan(rng):
    x = signal(rng, 10) * 0.1
    x[:, 3 * RATE : 4 * RATE] = np.nan
    x[0, 4 * RATE : 5 * RATE] = np.nan  # of one channel alone: the others are there
    made = sm.Cohort.from_arrays([x], RATE, NAMES, pd.DataFrame({"subject": ["a"]}))
    with pytest.warns(sm.FormatWarning, match=r"arrays\[0\]: 1\.0+ s of 10\.0+ s are gaps"):
        source = made.source(PREPROCESSING)
    assert starts(source) == [0.0, 4.0, 6.0, 8.0]


@pytest.fixture
def store(tmp_path):
    """A folder of converted recordings of this test's own."""
    before = C.recording_store()
    sm.io.set_recording_store(tmp_path / "store")
    yield tmp_path / "store"
    sm.io.set_recording_store(before)


def raw_of(stored, notes=(), first_samp=0, date=None):
    mne = pytest.importorskip("mne")
    raw = mne.io.RawArray(stored / 8 * 1e-6, mne.create_info(NAMES, RATE, "eeg"), first_samp=first_samp, verbose="error")
    if date:
        raw.set_meas_date(date)
    if notes:
        raw.set_annotations(mne.Annotations(*zip(*notes, strict=True)), verbose="error")
    return raw


def fif(path, stored, **options):
    raw_of(stored, **options).save(path, verbose="error")
    return path


def eeglab(path, stored, events=(), separate=True, **fields):
    """A .set, with its samples in an .fdt beside it or in the file."""
    x = (stored / 8).astype(np.float32)
    if separate:
        np.ascontiguousarray(x.T).tofile(path.with_suffix(".fdt"))
    kinds = [("type", object), ("latency", object), ("duration", object)]
    eeg = {
        "setname": path.stem, "filename": path.name, "filepath": "", "subject": "", "group": "", "condition": "", "session": "", "comments": "",
        "nbchan": float(len(x)), "trials": 1.0, "pnts": float(x.shape[1]), "srate": float(RATE), "xmin": 0.0, "xmax": (x.shape[1] - 1) / RATE,
        "times": np.arange(x.shape[1]) * 1000.0 / RATE, "data": path.with_suffix(".fdt").name if separate else x,
        "icaact": [], "icawinv": [], "icasphere": [], "icaweights": [], "icachansind": [],
        "chanlocs": np.array([(name, "EEG") for name in NAMES], dtype=[("labels", object), ("type", object)]),
        "urchanlocs": [], "chaninfo": {"plotrad": [], "shrink": []}, "ref": "common", "epoch": [],
        "event": np.array([(text, onset * RATE + 1.0, duration * RATE) for onset, duration, text in events], dtype=kinds),
    }  # fmt: skip
    scipy.io.savemat(path, {"EEG": eeg | fields}, appendmat=False)
    return path


def test_five_formats_give_one_result(tmp_path, rng, store):
    pytest.importorskip("mne")
    formats = {
        "edf": edf, "bdf": lambda p, x: edf(p, x, bdf=True), "vhdr": brainvision, "set": eeglab, "raw.fif": fif,
    }  # fmt: skip
    signals = [signal(rng) for _ in range(6)]
    by_format = {
        ending: cohort(*(write(tmp_path / ending.replace(".", "_") / f"{i}{'_' if '.' in ending else '.'}{ending}", x) for i, x in enumerate(signals)))
        for ending, write in formats.items()
        if (tmp_path / ending.replace(".", "_")).mkdir() is None
    }
    expected = windows(by_format["edf"].source(PREPROCESSING))
    folds = [(a.tolist(), b.tolist()) for a, b in by_format["edf"].folds(3)]
    for ending, one in by_format.items():
        assert one.modality == "eeg", ending
        np.testing.assert_allclose(windows(one.source(PREPROCESSING)), expected, atol=1e-6, err_msg=ending)
        np.testing.assert_allclose(windows(one.index().source(PREPROCESSING)), expected, atol=1e-6, err_msg=ending)
        assert [(a.tolist(), b.tolist()) for a, b in one.folds(3)] == folds
    assert len(list(store.glob("*.vhdr"))) == 12  # of the FIF and the EEGLAB files


def test_samples_within_the_set_file(tmp_path, rng, store):
    pytest.importorskip("mne")
    x = signal(rng)
    inside = cohort(eeglab(tmp_path / "a.set", x, separate=False)).source(PREPROCESSING)
    np.testing.assert_allclose(windows(inside), windows(cohort(edf(tmp_path / "a.edf", x)).source(PREPROCESSING)), atol=1e-6)


def test_annotations_of_every_format(tmp_path, rng, store):
    pytest.importorskip("mne")
    x, notes = signal(rng, 20), [(5.0, 3.0, "BAD_movement"), (12.0, 1.0, "good"), (15.0, 0.0, "boundary")]
    expected = [0.0, 2.0, 8.0, 10.0, 12.0, 15.0, 17.0]
    files = [
        annotated(tmp_path / "a.edf", x, notes),
        eeglab(tmp_path / "a.set", x, notes),
        fif(tmp_path / "a_raw.fif", x, notes=notes),
        fif(tmp_path / "late_raw.fif", x, notes=notes, first_samp=1234),
        fif(tmp_path / "dated_raw.fif", x, notes=notes, first_samp=1234, date=datetime(2020, 1, 2, tzinfo=timezone.utc)),
    ]
    for path in files:
        with pytest.warns(sm.FormatWarning, match=r"3\.0+ s of 20\.0+ s are in spans annotated as bad"):
            source = cohort(path).source(PREPROCESSING)
        assert starts(source) == expected, path


def test_a_copy_is_made_once_and_again_for_a_changed_file(tmp_path, rng, store):
    pytest.importorskip("mne")
    path = eeglab(tmp_path / "a.set", signal(rng))
    windows(cohort(path).source(PREPROCESSING))
    (copy,) = store.glob("*.vhdr")
    before = copy.stat().st_mtime_ns
    cohort(path).index()
    assert copy.stat().st_mtime_ns == before
    x = signal(rng, 8)
    eeglab(path, x)
    changed = cohort(path).source(PREPROCESSING)
    np.testing.assert_allclose(windows(changed), windows(cohort(edf(tmp_path / "a.edf", x)).source(PREPROCESSING)), atol=1e-6)
    assert len(list(store.glob("*.vhdr"))) == 2
    assert not list(store.glob(".*"))


def test_what_mne_cannot_read_is_refused(tmp_path, rng, store):
    pytest.importorskip("mne")
    (tmp_path / "a.set").write_text("x")
    (tmp_path / "a_raw.fif").write_text("x")
    for name in ("a.set", "a_raw.fif"):
        with pytest.raises(sm.FormatError, match=rf"{name}: expected a continuous recording that MNE reads, found"):
            cohort(tmp_path / name).source(PREPROCESSING)
    path = eeglab(tmp_path / "epochs.set", signal(rng), separate=False, trials=4.0)
    with pytest.raises(sm.FormatError, match=r"epochs\.set: expected a continuous recording"):
        cohort(path).source(PREPROCESSING)
    assert not list(store.glob("*"))


@pytest.mark.parametrize("preload", [True, False])
def test_raws_with_annotated_spans(tmp_path, rng, store, preload):
    mne = pytest.importorskip("mne")
    x, notes = signal(rng, 20), [(5.0, 3.0, "BAD_movement"), (15.0, 0.0, "EDGE boundary"), (12.0, 1.0, "good")]
    path = fif(tmp_path / "a_raw.fif", x, notes=notes, first_samp=777)
    raw = mne.io.read_raw_fif(path, preload=preload, verbose="error")
    made = sm.Cohort.from_mne([raw], pd.DataFrame({"subject": ["a"]}))
    assert raw.preload is preload
    assert starts(made.source(PREPROCESSING)) == [0.0, 2.0, 8.0, 10.0, 12.0, 15.0, 17.0]
    with pytest.warns(sm.FormatWarning, match="annotated as bad"):
        expected = windows(cohort(path).source(PREPROCESSING))
    # The sample before a boundary is left out of an array, which moves what a filter sees at that end.
    keep = [0, 1, 2, 3, 5, 6]
    np.testing.assert_allclose(windows(made.source(PREPROCESSING))[keep], expected[keep], atol=1e-6)
    assert not list(store.glob(".*"))


def test_raws_that_are_not_loaded_stay_so(tmp_path, rng, store):
    mne = pytest.importorskip("mne")
    x = signal(rng, 30)
    raw = mne.io.read_raw_fif(fif(tmp_path / "a_raw.fif", x), preload=False, verbose="error")
    made = sm.Cohort.from_mne([raw], pd.DataFrame({"subject": ["a"]}))
    assert not raw.preload
    np.testing.assert_allclose(made.arrays[0].signal.numpy(), x / 8, atol=1e-5)
    assert not list(store.glob("*"))  # the file has no name
    np.testing.assert_allclose(windows(made.source(PREPROCESSING)), windows(cohort(edf(tmp_path / "a.edf", x)).source(PREPROCESSING)), atol=1e-6)


def test_a_gap_through_mne_is_the_gap_of_the_file(tmp_path, rng):
    pytest.importorskip("mne")
    signals = [Signal(name, per_record=RATE, samples=row) for name, row in zip(NAMES, signal(rng, 20), strict=True)]
    path = Edf(signals, n_records=20, kind="EDF+D", onsets=[i + (6 if i >= 10 else 0) for i in range(20)]).write(tmp_path / "a.edf")
    through = sm.Cohort.from_mne([sm.io.open_edf(path).to_mne()], pd.DataFrame({"subject": ["a"]}))
    assert starts(through.source(PREPROCESSING)) == starts(cohort(path).source(PREPROCESSING))


@pytest.mark.parametrize(("seconds", "expected"), [(2.0, [0.0, 5.0, 7.0]), (0.5, [0.0, 3.5, 5.5, 7.5]), (0.1, [0.0, 2.0, 4.0, 6.0, 8.0])])
def test_zeros_of_all_channels_are_a_gap(rng, seconds, expected):
    x = signal(rng, 10) / 8 + 0.01
    x[:, 3 * RATE : round((3 + seconds) * RATE)] = 0.0
    x[2, 6 * RATE : 8 * RATE] = 0.0  # of one channel alone: no gap
    source = sm.Cohort.from_arrays([x], RATE, NAMES, pd.DataFrame({"subject": ["a"]})).source(PREPROCESSING)
    assert starts(source) == expected


def test_a_bids_folder_of_mixed_formats(tmp_path, rng, store):
    pytest.importorskip("mne")
    for i, (ending, write) in enumerate({"edf": edf, "vhdr": brainvision, "set": eeglab, "fif": fif}.items()):
        folder = tmp_path / "set" / f"sub-0{i}" / "eeg"
        folder.mkdir(parents=True)
        write(folder / f"sub-0{i}_task-rest_eeg.{ending}", signal(rng))
    found = sm.Cohort.from_bids(tmp_path / "set")
    assert list(found.table["subject"]) == ["sub-00", "sub-01", "sub-02", "sub-03"]
    source = found.source(PREPROCESSING)
    assert [source.describe(i).subject for i in range(0, len(source), 6)] == list(found.table["subject"])


def test_a_broken_file_among_others_is_named(tmp_path, rng, store):
    pytest.importorskip("mne")
    good = brainvision(tmp_path / "a.vhdr", signal(rng))
    for name in ("b.vhdr", "c.set"):
        (tmp_path / name).write_text("x")
        with pytest.raises(sm.FormatError, match=rf"{name[0]}\.{name[2:]}: expected"):
            cohort(good, tmp_path / name).source(PREPROCESSING)


def test_copies_of_converted_formats_are_found(tmp_path, rng, store):
    x = signal(rng)
    files = [eeglab(tmp_path / f"{name}.set", x, subject=name) for name in ("a", "copy_under_another_name")]
    other = eeglab(tmp_path / "c.set", signal(rng))
    assert contents.equal_contents([cohort(*files, other)]) == [[contents.Place(0, 0), contents.Place(0, 1)]]


def test_real_recordings_in_every_format(tmp_path, data_root, store):
    mne = pytest.importorskip("mne")
    written = {"edf": [], "vhdr": [], "set": [], "raw.fif": []}
    for source in sorted((data_root / "eeg" / "eegmat").rglob("*_task-rest_eeg.edf"))[:3]:
        file = sm.io.open_edf(source)
        rows = [i for i, name in enumerate(file.ch_names) if name.startswith("EEG")]
        names, rate = [file.ch_names[i].removeprefix("EEG ").replace("A2-A1", "M1") for i in rows], file.sfreq[rows[0]]
        x = file.read(0, 60, rows).numpy()  # µV in float32
        header = tmp_path / f"{source.stem}.vhdr"
        written["edf"].append(header.with_suffix(".edf"))
        grid = np.round(x * 8).clip(-32768, 32767)  # 1/8 µV
        limits = {"pmin": "-4096", "pmax": "4095.875", "per_record": int(rate)}
        signals = [Signal(name, samples=row, **limits) for name, row in zip(names, grid, strict=True)]
        Edf(signals, n_records=60).write(written["edf"][-1])
        x = sm.io.open_edf(written["edf"][-1]).read(0, 60).numpy()
        floats = BrainVision(x, "IEEE_FLOAT_32", names=names, interval=str(1e6 / rate), resolutions=["1"])
        written["vhdr"].append(floats.write(header))
        places = np.array([(name, "EEG") for name in names], dtype=[("labels", object), ("type", object)])
        written["set"].append(eeglab(header.with_suffix(".set"), x * 8, srate=rate, chanlocs=places))
        raw = mne.io.RawArray(x.astype(float) * 1e-6, mne.create_info(names, rate, "eeg"), verbose="error")
        raw.save(tmp_path / f"{source.stem}_raw.fif", fmt="double", verbose="error")
        written["raw.fif"].append(tmp_path / f"{source.stem}_raw.fif")
    expected = windows(cohort(*written["edf"]).source(PREPROCESSING))
    for ending, paths in written.items():
        np.testing.assert_allclose(windows(cohort(*paths).source(PREPROCESSING)), expected, atol=1e-6, err_msg=ending)


def test_a_run_knows_brainvision_by_its_samples(tmp_path, rng):
    path = brainvision(tmp_path / "a.vhdr", signal(rng))
    before = rows_of(sm.Loader(cohort(path), PREPROCESSING, batch_size=1), "shuffle")
    data = tmp_path / "a.eeg"
    data.write_bytes(data.read_bytes()[:-4] + b"\1\2\3\4")
    after = rows_of(sm.Loader(cohort(path), PREPROCESSING, batch_size=1), "shuffle")
    assert before["bytes"].tolist() == [str(data.stat().st_size)]
    assert before["end"].tolist() != after["end"].tolist()


@pytest.mark.parametrize("flat_gap", [40.0, 1e30, float("inf")])
def test_a_gap_longer_than_any_is_none(flat_gap):
    values = np.random.default_rng(0).normal(0, 20, (1, 2, 4000))
    values[..., 1000:2000] = 0
    cohort = sm.Cohort.from_arrays(values, 100.0, ["Cz", "Pz"], pd.DataFrame({"subject": ["a"]}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(cohort.source(sm.EegPreprocessing(sfreq=100, window=2, h_freq=40, flat_gap=flat_gap))) == 20
