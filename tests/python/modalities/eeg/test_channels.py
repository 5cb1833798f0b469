"""What channels' names mean among the others, which signals are read, and that files,
arrays and MNE's objects are told alike."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from edf_files import Edf, Signal

import sslmed as sm
from sslmed._core import C
from sslmed.modalities.eeg import channels, common_channels, unknown_channels
from sslmed.modalities.eeg.recordings import electrodes

PRE = sm.EegPreprocessing(sfreq=100, window=4, patch=1, h_freq=40)
RAW = sm.EegPreprocessing(sfreq=100, window=4, patch=1, h_freq=40, scale="none", clip=0)
TEN20 = ["Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2", "F7", "F8", "T7", "T8", "P7", "P8", "Fz", "Cz", "Pz"]
BIPOLAR = [
    "FP1-F7",
    "F7-T7",
    "T7-P7",
    "P7-O1",
    "FP1-F3",
    "F3-C3",
    "C3-P3",
    "P3-O1",
    "FP2-F4",
    "F4-C4",
    "C4-P4",
    "P4-O2",
    "FP2-F8",
    "F8-T8",
    "T8-P8",
    "P8-O2",
    "FZ-CZ",
    "CZ-PZ",
]


def signal(seed, n, scale=20.0):
    return scale * np.random.default_rng(seed).normal(size=n)


def edf(path, labels, *, rate=100, seconds=12, unit="uV", rates=None, scale=20.0, **options):
    signals = []
    for i, label in enumerate(labels):
        own = (rates or {}).get(label, rate)
        values = np.clip(np.round(signal(i, own * seconds, scale) * 10), -32768, 32767)
        signals.append(Signal(label, unit[i] if isinstance(unit, list) else unit, per_record=own, samples=values))
    return Edf(signals, n_records=seconds, **options).write(path)


def files(*paths):
    return sm.Cohort.from_table(pd.DataFrame({"path": [str(p) for p in paths], "subject": [f"s{i}" for i in range(len(paths))]}))


@pytest.mark.parametrize(
    "form",
    ["EEG {}-CPz", "EEG {} - Pz", "EEG {}-A1A2", "{}:A2", "POL {}", "EEG {}-LER", "{}-AV", "PSG_{}",
    "EEG {}-FCz", "{}-Ref1", "{}REF", "Raw_{}", "EEG {}-(A1+A2)/2",
     "EEG {}_M1M2", "eeg {}.."],
)  # fmt: skip
def test_what_all_names_share_is_a_common_reference(form):
    names = ["Fp1", "F4", "T3", "C3", "O2"]
    assert electrodes([form.format(name) for name in names]) == ["Fp1", "F4", "T7", "C3", "O2"]


@pytest.mark.parametrize(
    "labels",
    [
        BIPOLAR,
        ["EEG Fpz-Cz", "EEG Pz-Oz"],
        ["FP1_F7", "F7_T3"],
        ["Fp1:F7", "Fz:Cz"],
        ["T8-P8-0", "T8-P8-1", "FZ-CZ"],
        ["A2-A1", "M1-M2", "EEG A1-A2"],
        ["FZ-CZ"],
    ],
)
def test_bipolar_derivations_are_no_electrodes(labels, tmp_path):
    assert electrodes(labels) == [None] * len(labels)
    cohort = files(edf(tmp_path / "a.edf", labels))
    assert unknown_channels(cohort) == sorted(labels)
    with pytest.raises(sm.FormatError, match="bipolar"):
        cohort.source(PRE)


def test_derivations_are_read_as_they_are_and_never_averaged(tmp_path):
    labels = ["FP1-F7", "FZ-CZ", "C3", "C4", "Pz"]
    source = files(edf(tmp_path / "a.edf", labels)).source(RAW, extra_channels=["fp1-f7", "FZ-CZ"])
    alone = files(edf(tmp_path / "b.edf", labels[2:])).source(RAW)
    # The same values, but for their places in the file.
    values, _ = source.sample(0)
    assert values.shape[0] == 5
    assert values[2:].mean(0).abs().max() < 1e-4  # the three electrodes' own average is taken off
    assert values[:2].std() > 5
    assert alone.sample(0)[0].shape[0] == 3


@pytest.mark.parametrize(
    "label",
    ["ECG", "EEG EKG1-REF", "VEOG", "HEOG", "LEOG", "X EOG", "EOG-L", "LOC", "ROC-A1", "E1-M2", "chin1",
    "EMG Chin", "L Leg", "Trigger", "STATUS", "DC01", "SpO2", "HR",
     "Position", "Light", "COUNTER", "GYROX", "RAW_CQ", "CQ_AF3", "Thor", "Abdomen", "Airflow", "AccX", "EXG1",
     "Event", "ECGII", "horizontalEOG", "Snore", "Pleth"],
)  # fmt: skip
def test_what_is_no_eeg_by_its_name_is_not_read(label, tmp_path, rng):
    labels = ["Fp1", "Cz", label, "O1"]
    cohort = files(edf(tmp_path / "a.edf", labels))
    assert channels(cohort)[0][0] == ["Fp1", "Cz", "O1"]
    array = sm.Cohort.from_arrays(20 * rng.normal(size=(1, 4, 1200)), 100, labels, pd.DataFrame({"subject": ["a"]}))
    assert channels(array) == channels(cohort)
    assert array.source(PRE).sample(0)[0].shape[0] == 3


def test_a_learned_channel_does_not_change_the_others(tmp_path):
    cohort = files(edf(tmp_path / "a.edf", [*TEN20, "FDI5"], scale=20.0))
    without, with_ = (cohort.source(RAW, extra_channels=extra).sample(0)[0] for extra in ([], ["FDI5"]))
    assert torch.equal(without, with_[:-1])


@pytest.mark.parametrize("labels", [[*TEN20, "Fp1", "Cz"], ["EEG C3-A2", "EEG C3-A1", "EEG C4-A1", "EEG O1-A2"], ["T3", "T7", "Cz"], ["Fp1-0", "Fp1-1", "Cz"]])
def test_an_electrode_is_read_once(labels, tmp_path):
    with pytest.warns(sm.FormatWarning, match="repeats"):
        source = files(edf(tmp_path / "a.edf", labels)).source(PRE)
    places = [tuple(p) for p in source.sample(0)[1].tolist()]
    assert len(places) == len(set(places)) == len({name for name in electrodes(labels) if name})


def test_older_names_are_the_same_electrodes(tmp_path):
    new, old = files(edf(tmp_path / "new.edf", ["T7", "T8", "P7", "P8"])), files(edf(tmp_path / "old.edf", ["T3", "T4", "T5", "T6"]))
    assert common_channels(new, old) == ["P7", "P8", "T7", "T8"]
    assert torch.equal(new.source(PRE).sample(0)[1], old.source(PRE).sample(0)[1])
    mixed = files(edf(tmp_path / "m.edf", ["EEG T3-REF", "EEG T6-REF"]))
    assert common_channels(new, mixed) == ["P8", "T7"]


def test_biosemi_names_are_no_electrodes(tmp_path):
    labels = [f"{bank}{i}" for bank in "ABCD" for i in range(1, 9)] + ["EXG1", "Status"]
    cohort = files(edf(tmp_path / "a.edf", labels))
    names = channels(cohort)[0][0]
    assert len(names) == 32
    assert names[0] == "BioSemi A1"
    assert electrodes(names) == [None] * 32
    with pytest.raises(sm.FormatError, match="BioSemi's own names"):
        cohort.source(PRE)
    indexed = cohort.index()
    assert indexed.source(PRE, extra_channels=names[:4]).sample(0)[0].shape[0] == 4
    # C3 and C4 among names of the 10-05 system are electrodes.
    assert electrodes(["C3", "C4", "A1", "A2", "F3"]) == ["C3", "C4", "A1", "A2", "F3"]
    assert electrodes([f"E{i}" for i in range(1, 9)]) == [None] * 8


@pytest.mark.parametrize("slow", [1, 10, 50])
def test_the_rate_is_that_of_electrodes(slow, tmp_path):
    labels = ["EEG C3-A2", "EEG C4-A1", "X1", "X2", "X3", "X4"]
    cohort = files(edf(tmp_path / "a.edf", labels, rate=128, seconds=20, rates=dict.fromkeys(labels[2:], slow)))
    assert channels(cohort) == [(["EEG C3-A2", "EEG C4-A1"], 128.0)]


@pytest.mark.parametrize("unit", ["uv", "UV", "mv", "microV", "Volt", "V", b"\x83\xcaV", b"\xb5v", "", "nV"])
def test_units_in_any_spelling(unit, tmp_path):
    assert channels(files(edf(tmp_path / "a.edf", ["Fp1", "Cz"], unit=unit)))[0][0] == ["Fp1", "Cz"]


@pytest.mark.parametrize("unit", ["DegC", "MV", "arb"])
def test_a_unit_that_is_no_voltage_is_named(unit, tmp_path):
    with pytest.raises(sm.FormatError, match=f"(?s)a.edf.*{unit}"):
        files(edf(tmp_path / "a.edf", ["Fp1", "Cz"], unit=unit)).source(PRE)
    with pytest.warns(sm.FormatWarning, match=f"'Cz' has the unit '{unit}'"):
        files(edf(tmp_path / "a.edf", ["Fp1", "Cz", "O1"], unit=["uV", unit, "uV"])).source(PRE)


def test_units_are_those_of_each_channel(tmp_path):
    values = np.round(signal(0, 1200) * 10)
    ranges = [("Fp1", "uV", "-3276.8", "3276.7"), ("Cz", "mV", "-3.2768", "3.2767"), ("O1", "nV", "-3276800", "3276700")]
    signals = [Signal(*each, per_record=100, samples=values) for each in ranges]
    how = sm.EegPreprocessing(sfreq=100, window=4, patch=1, l_freq=0, h_freq=0, scale="none", clip=0, average_reference=False)
    read, _ = files(Edf(signals, n_records=12).write(tmp_path / "a.edf")).source(how).sample(0)
    assert torch.allclose(read[0], read[1], atol=1e-2)
    assert torch.allclose(read[0], read[2], atol=1e-2)


@pytest.mark.parametrize(("unit", "scale"), [("V", 20), ("mV", 2000), ("nV", 3)])
def test_an_implausible_scale_of_files_is_told(unit, scale, tmp_path):
    with pytest.warns(sm.ValueWarning, match="(?s)a.edf.*unit"):
        files(edf(tmp_path / "a.edf", ["Fp1", "Cz"], unit=unit, scale=scale)).source(PRE)


@pytest.mark.parametrize("factor", [1e-6, 1e-3, 1e3])
def test_an_implausible_scale_of_any_array_is_told(factor, rng):
    x = 20 * rng.normal(size=(2, 4, 800))
    with pytest.warns(sm.ValueWarning, match=r"such as arrays\[1\]"):
        sm.Cohort.from_arrays([x[0], x[1] * factor], 100, TEN20[:4], pd.DataFrame({"subject": ["a", "b"]}))


@pytest.mark.parametrize("record", [1.0002, 0.9998, 1.002, 1.00009, 0.7919])
def test_any_rate_is_resampled(record, tmp_path):
    rate, seconds = 100 / record, 40
    times = np.arange(100 * seconds) / rate
    signals = [Signal(name, per_record=100, samples=np.round(500 * np.sin(2 * np.pi * 10 * times + i))) for i, name in enumerate(("Fp1", "Cz"))]
    how = sm.EegPreprocessing(sfreq=100, window=4, patch=1, l_freq=0, h_freq=0, scale="none", clip=0, average_reference=False)
    source = files(Edf(signals, n_records=seconds, duration=f"{record:g}").write(tmp_path / "a.edf")).source(how)
    for i in (0, 3):
        start = source.describe(i).place["start"]
        read = source.sample(i)[0][0, 20:-20].numpy()
        t = start + np.arange(20, 380) / 100
        found = 2 * np.mean(read * np.exp(-2j * np.pi * 10 * t)) / -1j / 50
        assert abs(found) == pytest.approx(1, abs=0.02)
        assert abs(np.angle(found)) < 2 * np.pi * 10 * 0.0052  # the window starts within half a sample


def test_channels_are_chosen_and_excluded(tmp_path, rng):
    path = edf(tmp_path / "a.edf", ["EEG FP1-REF", "EEG T3-REF", "EEG CZ-REF", "EEG O1-REF"])
    array = sm.Cohort.from_arrays(20 * rng.normal(size=(1, 4, 1200)), 100, ["Fp1", "T7", "Cz", "O1"], pd.DataFrame({"subject": ["a"]}))
    for cohort in (files(path), files(path).index(), array):
        everything = cohort.source(PRE).sample(0)[1]
        how = sm.EegPreprocessing(sfreq=100, window=4, patch=1, h_freq=40, exclude=("t7", "nowhere"))
        assert torch.equal(cohort.source(how).sample(0)[1], everything[[0, 2, 3]])
        how = sm.EegPreprocessing(sfreq=100, window=4, patch=1, h_freq=40, channels=("O1", "T3"))
        assert torch.equal(cohort.source(how).sample(0)[1], everything[[1, 3]])
    with pytest.raises(ValueError, match="exclude='Cz'"):
        sm.EegPreprocessing(exclude="Cz")
    chosen = files(path).with_columns(exclude_channels=json.dumps(["Cz"]))
    assert channels(chosen)[0][0] == ["EEG FP1-REF", "EEG T3-REF", "EEG O1-REF"]
    assert chosen.index().source(PRE).sample(0)[0].shape[0] == 3
    assert array.with_columns(exclude_channels=json.dumps(["Cz"])).source(PRE).sample(0)[0].shape[0] == 3
    with pytest.raises(ValueError, match="JSON"):
        channels(files(path).with_columns(exclude_channels="Cz"))


def test_mne_objects_have_the_channels_of_their_file(tmp_path):
    mne = pytest.importorskip("mne")
    labels = ["EEG FP1-REF", "EEG CZ-REF", "EEG EKG1-REF", "VEOG", "X9", "EEG T3-REF"]
    path = edf(tmp_path / "a.edf", labels)
    raw = mne.io.read_raw_edf(path, preload=True, verbose="error")
    cohort = sm.Cohort.from_mne([raw], pd.DataFrame({"subject": ["a"]}))
    assert channels(cohort)[0][0] == channels(files(path))[0][0]
    assert unknown_channels(cohort) == unknown_channels(files(path)) == ["X9"]


def test_all_signals_of_a_file_are_listed(tmp_path):
    path = edf(tmp_path / "a.edf", ["Fp1", "ECG", "X1"], unit=["uV", "mV", ""])
    assert C.recording_signals(str(path)) == [("Fp1", "uV", 100.0, True), ("ECG", "mV", 100.0, True), ("X1", "", 100.0, True)]
