"""Channels that a person chooses, in every loader, in the preprocessing and on the command line."""

import json
import zlib

import numpy as np
import pandas as pd
import pytest
from brainvision_files import BrainVision
from click.testing import CliRunner
from edf_files import Edf, Signal
from typer.main import get_command

import sslmed as sm
from sslmed._core import C
from sslmed.cli import app
from sslmed.modalities.eeg import EEG, channels

LABELS = ["EEG FP1-REF", "EEG T3-REF", "EEG CZ-REF", "EEG X9-REF", "EEG EKG1-REF"]
HOW = sm.EegPreprocessing(sfreq=100, window=2.0, h_freq=40)


@pytest.fixture
def store(tmp_path):
    before = C.recording_store()
    sm.io.set_recording_store(tmp_path / "store")
    yield tmp_path / "store"
    sm.io.set_recording_store(before)


def edf(path, labels=LABELS):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(path.name.encode()))
    return Edf([Signal(label, per_record=100, samples=rng.integers(-900, 900, 800)) for label in labels], n_records=8).write(path)


def people(n, **columns):
    return pd.DataFrame({"subject": [f"s{i}" for i in range(n)], **columns})


def arrays(**options):
    return sm.Cohort.from_arrays(20 * np.random.default_rng(0).normal(size=(2, 5, 800)), 100, LABELS, people(2), **options)


def loaders(folder):
    """Each loader as a function of its options, over recordings of one content."""
    paths = [edf(folder / "bids" / f"sub-0{i}" / "eeg" / f"sub-0{i}_task-rest_eeg.edf") for i in (1, 2)]
    table = people(2, path=[str(path) for path in paths])
    table.to_csv(folder / "table.csv", index=False)
    sm.Cohort.from_table(table).index(folder / "index.parquet")
    flat = [edf(folder / "flat" / f"{i}.edf") for i in (1, 2)]
    np.savez(folder / "a.npz", data=20 * np.random.default_rng(0).normal(size=(5, 800)), sfreq=100.0, channels=LABELS, subject="a")
    assert flat[0].exists()

    def mne(**options):
        raws = [pytest.importorskip("mne").io.RawArray(1e-6 * r.signal.numpy(), _info(), verbose="error") for r in arrays().arrays]
        return sm.Cohort.from_mne(raws, people(2), **options)

    return {
        "from_bids": lambda **options: sm.Cohort.from_bids(folder / "bids", **options),
        "from_folder": lambda **options: sm.Cohort.from_folder(folder / "flat", **options),
        "from_table": lambda **options: sm.Cohort.from_table(table, **options),
        "from_table, a file": lambda **options: sm.Cohort.from_table(folder / "table.csv", **options),
        "from_table, an index": lambda **options: sm.Cohort.from_table(folder / "index.parquet", **options),
        "open, bids": lambda **options: sm.Cohort.open(folder / "bids", **options),
        "open, a folder": lambda **options: sm.Cohort.open(folder / "flat", **options),
        "open, a table": lambda **options: sm.Cohort.open(folder / "table.csv", **options),
        "from_arrays": arrays,
        "from_mne": mne,
        "from_npz": lambda **options: sm.Cohort.from_npz([folder / "a.npz"]).choose_channels(**options),
    }


def _info():
    return pytest.importorskip("mne").create_info(LABELS, 100, "eeg")


LOADERS = ["from_bids", "from_folder", "from_table", "from_table, a file", "from_table, an index", "open, bids", "open, a folder", "open, a table"]
LOADERS += ["from_arrays", "from_mne", "from_npz"]


@pytest.mark.parametrize("loader", LOADERS)
def test_every_loader_takes_channels(tmp_path, loader):
    load = loaders(tmp_path)[loader]
    for options, expected in (
        ({}, ["EEG FP1-REF", "EEG T3-REF", "EEG CZ-REF", "EEG X9-REF"]),
        ({"channels": ["cz", "T7"]}, ["EEG T3-REF", "EEG CZ-REF"]),
        ({"exclude": ["T7", "eeg x9-ref"]}, ["EEG FP1-REF", "EEG CZ-REF"]),
        ({"channels": ["Fp1", "T3", "Cz"], "exclude": ("CZ",)}, ["EEG FP1-REF", "EEG T3-REF"]),
        ({"exclude": ["ECG", "EKG1"]}, ["EEG FP1-REF", "EEG T3-REF", "EEG CZ-REF", "EEG X9-REF"]),  # what is not read anyway
    ):
        cohort = load(**options)
        assert all(names == expected for names, _ in channels(cohort)), options
        placed = [name for name in expected if "X9" not in name]
        assert cohort.source(HOW).sample(0)[0].shape == (len(placed), 200)
        if not cohort.in_memory:
            assert all(names == expected for names, _ in channels(cohort.index())), options


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("what", ["channels", "exclude"])
def test_a_name_that_no_recording_has_is_refused(tmp_path, loader, what):
    load = loaders(tmp_path)[loader]
    with pytest.raises(ValueError, match=rf"{what}: no recording has a channel 'Fp11'.*did you mean .*'Fp1'.*There are EEG FP1-REF, EEG T3-REF"):
        load(**{what: ["Cz", "Fp11"]})
    with pytest.raises(ValueError, match=rf"{what}: no recording has a channel 'EEG X8-REF', nor 'O1'; did you mean 'EEG X9-REF'"):
        load(**{what: ["EEG X8-REF", "O1"]})
    with pytest.raises(TypeError, match=rf"{what}='Cz' must be a list of names"):
        load(**{what: "Cz"})
    with pytest.raises(TypeError, match=rf"{what}=\[3\] must be a list of names"):
        load(**{what: [3]})
    with pytest.raises(ValueError, match=r"channels=\[\] must name at least one channel"):
        load(channels=[])


def test_a_name_of_one_recording_among_many_is_known(tmp_path):
    paths = [edf(tmp_path / f"{i}.edf", LABELS if i < 3 else [*LABELS, "EEG O2-REF"]) for i in range(4)]
    cohort = sm.Cohort.from_table(people(4, path=[str(path) for path in paths]), exclude=["O2"])
    assert {len(names) for names, _ in channels(cohort)} == {4}
    assert len(cohort.subset([0, 1]).source(HOW)) == 8  # of which none has it
    (tmp_path / "broken.edf").write_text("x")
    table = people(2, path=[str(tmp_path / "broken.edf"), str(paths[0])])
    assert len(sm.Cohort.from_table(table, exclude=["Cz"])) == 2  # the file is told where it is read
    with pytest.raises(ValueError, match="no recording has a channel 'O2'"):
        sm.Cohort.from_table(table, exclude=["O2"])


def test_channels_of_other_formats(tmp_path, store):
    x = np.random.default_rng(0).integers(-900, 900, (5, 800))
    header = BrainVision(x, names=["Fp1", "T7", "Cz", "X9", "ECG"], interval="10000").write(tmp_path / "a.vhdr")
    paths = [header]
    if mne := pytest.importorskip("mne"):
        mne.io.RawArray(1e-7 * x, mne.create_info(["Fp1", "T7", "Cz", "X9", "O2"], 100, "eeg"), verbose="error").save(tmp_path / "a_raw.fif", verbose="error")
        paths.append(tmp_path / "a_raw.fif")
    for path in paths:
        found = sm.Cohort.from_table(people(1, path=[str(path)]), channels=["fp1", "t3"])
        assert channels(found)[0][0] == ["Fp1", "T7"]
        with pytest.raises(ValueError, match="no recording has a channel 'Oz'"):
            sm.Cohort.from_table(people(1, path=[str(path)]), exclude=["Oz"])


def test_an_index_chosen_from_is_read_as_it_says(tmp_path):
    index = sm.Cohort.from_table(people(1, path=[str(edf(tmp_path / "a.edf"))])).index()
    chosen = index.choose_channels(exclude=["Cz"])
    plain = sm.Cohort.from_table(people(1, path=[str(tmp_path / "a.edf")]), exclude=["Cz"])
    np.testing.assert_array_equal(chosen.source(HOW).sample(1)[0], plain.source(HOW).sample(1)[0])
    assert list(chosen.channel_report().query("used")["channel"]) == ["EEG FP1-REF", "EEG T3-REF", "EEG X9-REF"]
    with pytest.raises(ValueError, match=r"a\.edf: channels=\[\], exclude=.* leave none of its channels"):
        index.choose_channels(exclude=["Fp1", "T3", "Cz", "EEG X9-REF"])


def test_bad_channels_of_a_folder_stay_excluded(tmp_path):
    edf(tmp_path / "sub-01" / "eeg" / "sub-01_task-rest_eeg.edf")
    sidecar = tmp_path / "sub-01" / "eeg" / "sub-01_task-rest_channels.tsv"
    sidecar.write_text("name\ttype\tstatus\nEEG CZ-REF\tEEG\tbad\nnowhere\tEEG\tbad\n")
    found = sm.Cohort.from_bids(tmp_path, exclude=["T7"])
    assert channels(found)[0][0] == ["EEG FP1-REF", "EEG X9-REF"]
    assert json.loads(found.table["exclude_channels"].iloc[0]) == ["EEG CZ-REF", "nowhere", "T7"]


def test_cohorts_without_channels_refuse(tmp_path):
    table = people(1, path=[str(tmp_path / "a.png")], modality=["images"])
    with pytest.raises(ValueError, match=r"channels=\['Cz'\], exclude=\[\]: .* have no channels"):
        sm.Cohort.from_table(table, channels=["Cz"])


def test_features_depend_on_the_choice():
    assert {"use_channels", "exclude_channels"} <= set(EEG.columns(arrays().table))


@pytest.mark.parametrize("what", ["channels", "exclude"])
def test_the_preprocessing_of_a_new_encoder_names_channels_that_are_there(tmp_path, what):
    wrong = sm.EegPreprocessing(sfreq=100, window=2.0, h_freq=40, **{what: ("Cz", "Fp11")})
    with pytest.raises(ValueError, match=rf"arrays: {what}: no recording has a channel 'Fp11'; did you mean .*'Fp1'"):
        sm.pretrain(arrays(), "mae", "vit_tiny", tmp_path / "run", preprocessing=wrong, depth=1, epochs=1)
    assert not (tmp_path / "run" / "history.csv").exists()


def command(*arguments):
    """Exit code and last line of standard error of the command."""
    result = CliRunner().invoke(get_command(app), list(map(str, arguments)))
    return result.exit_code, str(result.exception or "")


def test_the_command_line_takes_channels(tmp_path):
    for i in range(6):
        edf(tmp_path / "bids" / f"sub-0{i}" / "eeg" / f"sub-0{i}_task-rest_eeg.edf")
    sexes = "".join(f"sub-0{i}\t{'FM'[i % 2]}\n" for i in range(6))
    (tmp_path / "bids" / "participants.tsv").write_text("participant_id\tsex\n" + sexes)
    fast = ["--encoder", "vit_tiny", "--depth", 1, "--batch-size", 4, "--epochs", 1, "--sfreq", 100, "--window", 2, "--h-freq", 40, "--no-tensorboard"]
    code, told = command("pretrain", tmp_path / "bids", "--out", tmp_path / "run", "--channels", "Fp1,Cz9", *fast)
    assert code != 0
    assert "channels: no recording has a channel 'Cz9'" in told
    code, told = command("pretrain", tmp_path / "bids", "--out", tmp_path / "run", "--channels", "Fp1,T3,Cz", "--exclude", "T7", *fast)
    assert code == 0, told
    encoder = sm.Encoder.load(tmp_path / "run" / "encoder.safetensors")
    assert encoder.preprocessing.channels == ("Fp1", "T3", "Cz")
    assert encoder.preprocessing.exclude == ("T7",)
    for name, rest in (("transfer", ["--target", "sex", "--cv", 2]), ("shift", [])):
        first = [tmp_path / "run" / "encoder.safetensors", tmp_path / "bids"] if name == "transfer" else [tmp_path / "bids", tmp_path / "bids"]
        code, told = command(name, *first, *rest, "--out", tmp_path / name, "--exclude", "Fp11")
        assert code != 0
        assert "exclude: no recording has a channel 'Fp11'" in told
        assert not (tmp_path / name).exists()
        code, told = command(name, *first, *rest, "--out", tmp_path / name, "--channels", "Fp1, Cz, T7", "--exclude", "EEG X9-REF")
        assert code == 0, told
        assert (tmp_path / name / f"{name}.csv").exists()


def test_a_channel_of_one_of_two_cohorts_is_known(tmp_path):
    from sslmed.cohort_report import choose_channels

    one = sm.Cohort.from_table(people(1, path=[str(edf(tmp_path / "a.edf"))]), name="one")
    other = sm.Cohort.from_table(people(1, path=[str(edf(tmp_path / "b.edf", [*LABELS, "EEG O2-REF"]))]), name="other")
    first, second = choose_channels([one, other], None, ["O2", "T3"])
    assert channels(first)[0][0] == channels(second)[0][0] == ["EEG FP1-REF", "EEG CZ-REF", "EEG X9-REF"]
    with pytest.raises(ValueError, match="one and other: exclude: no recording has a channel 'O1'"):
        choose_channels([one, other], None, ["O1"])
