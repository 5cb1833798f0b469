"""What of a BIDS folder is read, what its tables say of it, and what is told."""

import json
import os
import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from edf_files import Edf, Signal

import sslmed as sm
from sslmed.modalities.eeg import channels

PRE = sm.EegPreprocessing(sfreq=100, window=4, patch=1, h_freq=40)
NAMES = ["Fp1", "Cz", "Pz", "O1"]


def recording(path, seed=0, names=NAMES, seconds=12):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    return Edf([Signal(name, per_record=100, samples=np.round(200 * rng.normal(size=100 * seconds))) for name in names], n_records=seconds).write(path)


def folder(root, n=3, participants="participant_id\tage\tsex\n", sessions=("",)):
    for i in range(1, n + 1):
        for session in sessions:
            name = f"sub-{i:02d}{'_' + session if session else ''}_task-rest_eeg.edf"
            recording((root / f"sub-{i:02d}" / session / "eeg" if session else root / f"sub-{i:02d}" / "eeg") / name, i)
        participants += f"sub-{i:02d}\t{30 + i}\t{'FM'[i % 2]}\n"
    (root / "participants.tsv").write_text(participants)
    return root


@pytest.mark.parametrize(
    "place",
    ["derivatives/clean/sub-01/eeg", "sourcedata/sub-01/eeg", "sub-01/eeg/old", "sub-01/backup", "sub-01/ses-1/backup/eeg", 
     "code", "sub-01/eeg/.datalad", ".git", ""],
)  # fmt: skip
def test_only_raw_files_are_read_and_the_rest_is_counted(place, tmp_path, capsys):
    folder(tmp_path / "set")
    for run in (1, 2):
        recording(tmp_path / "set" / place / f"sub-01_task-rest_run-{run}_eeg.edf")
    cohort = sm.Cohort.from_bids(tmp_path / "set")
    told = capsys.readouterr().err
    assert len(cohort) == 3
    assert told.count("\n") == 1
    assert "3 recordings of 3 subjects" in told
    report = cohort.report()
    assert report["count"].tolist()[0] == 3
    if not place.endswith((".git", ".datalad")):
        assert report["count"].tolist() == [3, 2]
        assert "2 files" in told
        assert report["example"].iloc[1].endswith("sub-01_task-rest_run-1_eeg.edf")


@pytest.mark.parametrize("name", ["._sub-01_task-rest_eeg.edf", ".sub-01_task-rest_eeg.edf"])
def test_hidden_files_are_no_recordings(name, tmp_path):
    root = folder(tmp_path / "set")
    (root / "sub-01" / "eeg" / name).write_bytes(b"\x00\x05\x16\x07" + bytes(4092))
    (root / "._participants.tsv").write_bytes(b"\x00\x05\x16\x07")
    cohort = sm.Cohort.from_bids(root)
    assert len(cohort) == 3
    assert cohort.report()["why"].tolist() == ["3 subjects", "hidden"]
    assert len(sm.Cohort.from_folder(root)) == 3


@pytest.mark.parametrize("what", ["subject", "session", "file", "loop"])
def test_links_are_followed(what, tmp_path):
    store, view = folder(tmp_path / "store", sessions=("ses-1",)), tmp_path / "view"
    view.mkdir()
    (view / "participants.tsv").write_text((store / "participants.tsv").read_text())
    for person in ("sub-01", "sub-02", "sub-03"):
        if what in ("subject", "loop"):
            (view / person).symlink_to(store / person)
        elif what == "session":
            (view / person).mkdir()
            (view / person / "ses-1").symlink_to(store / person / "ses-1")
        else:
            (view / person / "ses-1" / "eeg").mkdir(parents=True)
            name = f"{person}_ses-1_task-rest_eeg.edf"
            (view / person / "ses-1" / "eeg" / name).symlink_to(store / person / "ses-1" / "eeg" / name)
    if what == "loop":
        (store / "sub-01" / "all").symlink_to(view)
    cohort = sm.Cohort.from_bids(view)
    assert cohort.table["subject"].tolist() == ["sub-01", "sub-02", "sub-03"]
    assert cohort.source(PRE).sample(0)[0].shape[0] == 4
    assert len(sm.Cohort.from_folder(view)) >= 3


def test_a_link_to_nothing_is_told(tmp_path):
    root = folder(tmp_path / "set")
    (root / "sub-02" / "eeg" / "sub-02_task-eyes_eeg.edf").symlink_to(tmp_path / "annex" / "nothing")
    with pytest.warns(sm.LeftOutWarning, match="1 files left out: a link"):
        cohort = sm.Cohort.from_bids(root)
    assert len(cohort) == 3
    assert "datalad get" in cohort.report()["why"].iloc[1]


def test_the_level_of_the_folder_is_told(tmp_path):
    folder(tmp_path / "all" / "a")
    folder(tmp_path / "all" / "b")
    with pytest.raises(sm.FormatError, match="one level deeper"):
        sm.Cohort.from_bids(tmp_path / "all")
    with pytest.raises(sm.FormatError, match="one level deeper"):
        sm.Cohort.open(tmp_path / "all")
    with pytest.warns(sm.ValueWarning, match="one subject's folder"):
        assert len(sm.Cohort.from_bids(tmp_path / "all" / "a" / "sub-01")) == 1
    (tmp_path / "all" / "a" / "participants.tsv").unlink()
    cohort = sm.Cohort.from_bids(tmp_path / "all" / "a")
    assert "no participants.tsv" in cohort.report()["why"].iloc[1]


def test_a_file_in_another_persons_folder_is_refused(tmp_path):
    root = folder(tmp_path / "set")
    (root / "sub-02" / "eeg" / "sub-02_task-rest_eeg.edf").rename(root / "sub-01" / "eeg" / "sub-02_task-rest_eeg.edf")
    with pytest.raises(sm.FormatError, match=r"expected a file of sub-01.*found sub-02"):
        sm.Cohort.from_bids(root)


def test_other_formats_are_named(tmp_path):
    root = tmp_path / "set"
    (root / "sub-01" / "eeg").mkdir(parents=True)
    (root / "sub-01" / "eeg" / "sub-01_task-rest_eeg.cnt").write_bytes(b"")
    with pytest.raises(sm.FormatError, match=r"\.cnt.*from_mne"):
        sm.Cohort.from_bids(root)
    folder(root)
    with pytest.warns(sm.LeftOutWarning, match=r"1 files left out: \.cnt"):
        assert len(sm.Cohort.from_bids(root)) == 3


def test_channels_of_other_types_and_bad_ones_are_not_read(tmp_path):
    root = folder(tmp_path / "set")
    side = root / "sub-01" / "eeg" / "sub-01_task-rest_channels.tsv"
    side.write_text("name\ttype\tunits\tstatus\nFp1\tEEG\tuV\tgood\nCz\tEEG\tuV\tBad\nPz\tEOG\tuV\tgood\nO1\teeg\tuV\tn/a\n")
    # One for all recordings of the task; the nearer one comes first.
    (root / "task-rest_channels.tsv").write_text("name\tstatus\nO1\tbad\nnone\tbad\n")
    (root / "task-other_channels.tsv").write_text("name\tstatus\nFp1\tbad\n")
    cohort = sm.Cohort.from_bids(root)
    assert [names for names, _ in channels(cohort)] == [["Fp1", "O1"], ["Fp1", "Cz", "Pz"], ["Fp1", "Cz", "Pz"]]
    assert channels(cohort.index()) == channels(cohort)
    assert cohort.index().source(PRE).sample(0)[0].shape[0] == 2
    more = sm.Cohort.from_bids(root, exclude=["fp1"])
    assert [names for names, _ in channels(more)] == [["O1"], ["Cz", "Pz"], ["Cz", "Pz"]]
    only = sm.Cohort.from_bids(root, channels=["Cz", "O1"])
    assert [names for names, _ in channels(only)] == [["O1"], ["Cz"], ["Cz"]]
    with pytest.raises(TypeError, match="exclude='Cz'"):
        sm.Cohort.from_bids(root, exclude="Cz")
    side.write_text("label\tstatus\nFp1\tbad\n")
    with pytest.raises(sm.FormatError, match="column name"):
        sm.Cohort.from_bids(root)


def test_what_a_channel_is_taken_for(tmp_path):
    root = tmp_path / "set"
    for i, names in enumerate((["EEG T3-REF", "ECG", "FZ-CZ", "X1"], ["EEG T3-REF", "ECG", "FZ-CZ", "EEG T7-REF"]), 1):
        recording(root / f"sub-0{i}" / "eeg" / f"sub-0{i}_eeg.edf", names=names)
    table = sm.Cohort.from_bids(root).channel_report().set_index("channel")
    assert table.loc["EEG T3-REF", ["name", "kind", "reference", "used", "recordings"]].tolist() == ["T7", "electrode", "ref", True, 2]
    assert table.loc["ECG", ["kind", "used"]].tolist() == ["auxiliary", False]
    assert table.loc["FZ-CZ", ["name", "kind"]].tolist() == ["Fz-Cz", "derivation"]
    assert table.loc["EEG T7-REF", ["used", "why"]].tolist() == [False, "repeats T7"]
    assert table.loc["X1", "kind"] == "unplaced"


def test_sessions_and_scans_are_read(tmp_path):
    root = folder(tmp_path / "set", n=2, sessions=("ses-1", "ses-2"))
    for i in (1, 2):
        (root / f"sub-0{i}" / f"sub-0{i}_sessions.tsv").write_text("session_id\tage\tstate\nses-1\t30\twell\nses-2\t40\till\n")
        (root / f"sub-0{i}" / f"sub-0{i}_scans.tsv").write_text(f"filename\tquality\nses-1/eeg/sub-0{i}_ses-1_task-rest_eeg.edf\tgood\n")
    table = sm.Cohort.from_bids(root).table
    assert table["age"].tolist() == [30, 40, 30, 40]
    assert table["state"].tolist() == ["well", "ill"] * 2
    assert table["quality"].tolist() == ["good", None, "good", None] or table["quality"].isna().tolist() == [False, True] * 2
    assert table["sex"].tolist() == ["M", "M", "F", "F"]
    (root / "sub-01" / "sub-01_sessions.tsv").write_text("visit\tage\n1\t30\n")
    with pytest.raises(sm.FormatError, match="session_id"):
        sm.Cohort.from_bids(root)
    (root / "sub-01" / "sub-01_sessions.tsv").unlink()
    (root / "sub-01" / "sub-01_scans.tsv").write_text("file\tquality\n")
    with pytest.raises(sm.FormatError, match="filename"):
        sm.Cohort.from_bids(root)


@pytest.mark.parametrize("header", ["participant_id\tage \t sex", "participant_id\tAge\tGender", "participant_id \tAGE\tSex", "participant_id\tage\tGENDER"])
def test_headers_in_other_cases(header, tmp_path):
    root = folder(tmp_path / "set", participants=header + "\n")
    table = sm.Cohort.from_bids(root).table
    assert table["age"].tolist() == [31, 32, 33]
    assert table["sex"].tolist() == ["M", "F", "M"]


@pytest.mark.parametrize("names", [["01", "02", "03"], [" sub-01", "sub-02 ", "SUB-03"]])
def test_participants_in_other_spellings(names, tmp_path):
    root = folder(tmp_path / "set")
    (root / "participants.tsv").write_text("participant_id\tage\n" + "".join(f"{name}\t{i}\n" for i, name in enumerate([*names, "sub-99"])))
    cohort = sm.Cohort.from_bids(root)
    assert cohort.table["age"].tolist() == [0, 1, 2]
    assert cohort.report()["example"].iloc[1] == "sub-99"


def test_short_recordings_are_told(tmp_path):
    root = folder(tmp_path / "set")
    for i in (1, 3):
        recording(root / f"sub-0{i}" / "eeg" / f"sub-0{i}_task-rest_eeg.edf", seconds=3)
    for cohort in (sm.Cohort.from_bids(root), sm.Cohort.from_bids(root).index()):
        with pytest.warns(sm.FormatWarning, match="sub-01.*takes no part, as 1 other recordings of 3"):
            cohort.source(PRE)


@pytest.mark.parametrize("entry", ["4", "Fp1,Cz", '{"a": 1}'])
def test_a_manifest_with_columns_of_an_index_is_none(entry, tmp_path):
    recording(tmp_path / "a.edf")
    table = pd.DataFrame({"path": [str(tmp_path / "a.edf")], "subject": ["s"], "sfreq": [100], "n_samples": [1200], "channels": [entry]})
    assert len(sm.Cohort.from_table(table).source(PRE)) == 3
    table["channels"] = json.dumps([1, 2])
    with pytest.raises(sm.FormatError, match="JSON list of names"):
        sm.Cohort.from_table(table).source(PRE)


def test_a_plain_folder_counts_what_it_does_not_read(tmp_path, capsys):
    recording(tmp_path / "in" / "a.edf")
    for name in ("b.docx", "c.DOCX", "in/d.cnt", "Thumbs", "in/a.eeg"):
        (tmp_path / name).write_text("x")
    (tmp_path / "lost.edf").symlink_to(tmp_path / "nowhere")
    lines = sm.Cohort.from_folder(tmp_path).report().set_index("why")["count"].to_dict()
    assert lines["of ending .docx, which no modality reads"] == 2
    assert lines["of ending .cnt, which no modality reads"] == lines["without an ending"] == 1
    assert lines["links to files that are not there; get them first (datalad get)"] == 1
    assert not any(".eeg" in why for why in lines)  # of a recording in several files
    assert "2 files of ending .docx" in capsys.readouterr().err


def test_bids_folders_that_are_opened_as_plain_ones_are_told(tmp_path):
    for name in ("a", "b"):
        folder(tmp_path / "all" / name, n=1)
    with pytest.warns(sm.ValueWarning, match=r"2 BIDS data sets \(.*all/a, .*all/b\) are opened as plain folders.*from_bids"):
        sm.Cohort.from_folder(tmp_path / "all")
    with pytest.warns(sm.ValueWarning, match=r"1 BIDS data sets"):
        sm.Cohort.from_folder(tmp_path / "all" / "a")
    recording(tmp_path / "plain" / "sub-01_rest.edf")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sm.Cohort.from_folder(tmp_path / "plain")


def test_sidecars_of_many_recordings_are_read_once(tmp_path):
    """Equal ones, ones of one recording, and one of a task above all."""
    root = folder(tmp_path / "set", n=12)
    for i in range(1, 13):
        if i % 3:
            side = root / f"sub-{i:02d}" / "eeg" / f"sub-{i:02d}_task-rest_channels.tsv"
            side.write_text(f'\ufeffname\tstatus\r\n"{NAMES[i % 3]}"\tbad\r\n\r\n')
    (root / "task-rest_channels.tsv").write_text("name\tstatus\nFp1\tbad\n")
    found = [names for names, _ in channels(sm.Cohort.from_bids(root))]
    assert found == [[name for name in NAMES if name != NAMES[i % 3]] for i in range(1, 13)]


@pytest.mark.parametrize("content", [b"name\tstatus\nFp1\tbad\tmore\n", b"name\xff\tstatus\n", b""])
def test_a_sidecar_that_is_no_table_is_refused(content, tmp_path):
    root = folder(tmp_path / "set")
    (root / "sub-01" / "eeg" / "sub-01_task-rest_channels.tsv").write_bytes(content)
    with pytest.raises(sm.FormatError, match=r"sub-01_task-rest_channels\.tsv: expected"):
        sm.Cohort.from_bids(root)


def test_scans_of_many_people_keep_numbers_and_names(tmp_path):
    root = folder(tmp_path / "set")
    for i, (dose, code) in enumerate((("1.5", "x"), ("n/a", "1"), ("2", "2")), 1):
        text = f"filename\tdose\tcode\nother.edf\t9\ty\neeg/sub-{i:02d}_task-rest_eeg.edf\t{dose}\t{code}\n"
        (root / f"sub-{i:02d}" / f"sub-{i:02d}_scans.tsv").write_text(text)
    table = sm.Cohort.from_bids(root).table
    assert table["dose"].tolist()[0] == 1.5
    assert table["dose"].isna().tolist() == [False, True, False]
    assert table["code"].astype(str).tolist() == ["x", "1", "2"]


def test_units_of_channels_tsv_come_before_those_of_the_header(tmp_path):
    root = folder(tmp_path / "set", n=2)
    side = root / "sub-01" / "eeg" / "sub-01_task-rest_channels.tsv"
    side.write_text("name\ttype\tunits\nFp1\tEEG\tmV\nCz\tEEG\t\u00b5V\nPz\tEEG\tn/a\nO1\tEEG\tfurlong\n")
    cohort = sm.Cohort.from_bids(root)
    raw = sm.EegPreprocessing(sfreq=100, window=4, patch=1, l_freq=0, h_freq=0, margin=0, average_reference=False, scale="none", clip=0)
    with pytest.warns(sm.FormatWarning, match="'Fp1' is in 'mV' by channels.tsv, and in 'uV' by its own header; channels.tsv is believed"):
        found = cohort.source(raw).sample(0)[0].numpy()
    plain = cohort.table.drop(columns="channel_units")
    stored = sm.Cohort.from_table(plain).source(raw).sample(0)[0].numpy()
    np.testing.assert_allclose(found, stored * np.array([[1000], [1], [1], [1]]), rtol=1e-6)
    with pytest.warns(sm.FormatWarning, match="channels.tsv is believed"):
        indexed = cohort.index()
    np.testing.assert_array_equal(indexed.source(raw).sample(0)[0].numpy(), found)
    report = cohort.report().set_index("outcome")
    assert report.loc["used", "count"] == 1
    assert "units of channels.tsv" in report.loc["used", "why"]
    with pytest.raises(ValueError, match="'channel_units' must hold JSON objects"):
        channels(cohort.with_columns(channel_units="uV"))


def test_headers_of_sidecars_in_other_cases(tmp_path):
    root = folder(tmp_path / "set", n=1, participants="Participant_ID\tage\tsex\n", sessions=("ses-1",))
    eeg, name = root / "sub-01" / "ses-1" / "eeg", "sub-01_ses-1_task-rest"
    (eeg / f"{name}_channels.tsv").write_text("Name\tType\tStatus\nFp1\tEEG\tbad\nO1\tEOG\tgood\n")
    (eeg / f"{name}_events.tsv").write_text("Onset\tDuration\tTrial_Type\n0\t4\trest\n")
    (root / "sub-01" / "ses-1" / "sub-01_ses-1_scans.tsv").write_text(f"Filename\tacq_time\neeg/{name}_eeg.edf\t2020-01-01T00:00:00\n")
    (root / "sub-01" / "sub-01_sessions.tsv").write_text("Session_ID\tscore\nses-1\t7\n")
    cohort = sm.Cohort.from_bids(root)
    assert channels(cohort) == [(["Cz", "Pz"], 100.0)]
    assert cohort.table[["age", "score", "acq_time"]].values.tolist() == [[31, 7, "2020-01-01T00:00:00"]]
    assert cohort.epochs("rest").table["span_stop"].tolist() == [4.0]


def test_people_who_are_listed_twice_or_not_at_all_are_named(tmp_path):
    root = folder(tmp_path / "set")
    for text, message in (
        ("sub-01\nsub-02\nsub-01\n", "found several for sub-01"),
        ("1\n2\n3\n", "none for sub-01, sub-02, sub-03; there are sub-1, sub-2, sub-3"),
    ):
        (root / "participants.tsv").write_text(f"participant_id\n{text}")
        with pytest.raises(sm.FormatError, match=message):
            sm.Cohort.from_bids(root)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet", ".txt"])
def test_an_index_opens_as_it_was_written(ending, tmp_path):
    cohort = sm.Cohort.from_bids(folder(tmp_path / "set", n=2))
    cohort.index(tmp_path / f"index{ending}")
    opened = sm.Cohort.from_table(tmp_path / f"index{ending}")
    assert channels(opened) == channels(cohort)
    assert opened.table["age"].tolist() == cohort.table["age"].tolist()
    with pytest.raises(sm.ReadError, match=r"there is no folder .*nowhere to write it to"):
        cohort.index(tmp_path / "nowhere" / f"index{ending}")


def test_units_under_other_spellings_of_a_channel(tmp_path):
    """A bad channel is known in any spelling, and so are units."""
    root = folder(tmp_path / "set", n=1)
    side = root / "sub-01" / "eeg" / "sub-01_task-rest_channels.tsv"
    raw = sm.EegPreprocessing(sfreq=100, window=4, patch=1, l_freq=0, h_freq=0, margin=0, average_reference=False, scale="none", clip=0)
    stored = sm.Cohort.from_bids(root).source(raw).sample(0)[0].numpy()
    side.write_text("name\ttype\tunits\nfp1\tEEG\tmV\nEEG Cz-Ref\tEEG\tmV\nPz\tEEG\tuV\npz\tEEG\tV\nT7\tEEG\tV\n")
    with pytest.warns(sm.FormatWarning, match="'Fp1' is in 'mV' by channels.tsv, and in 'uV' by its own header, and so are 1 more"):
        found = sm.Cohort.from_bids(root).source(raw).sample(0)[0].numpy()
    np.testing.assert_allclose(found, stored * np.array([[1000], [1000], [1], [1]]), rtol=1e-6)


def test_names_that_are_not_utf8_are_left_out(tmp_path):
    anat = tmp_path / "sub-01/anat"
    anat.mkdir(parents=True)
    sm.io.write_nifti(sm.io.Volume(torch.rand(4, 4, 4), torch.eye(4)), anat / "sub-01_T1w.nii.gz")
    other = os.path.join(os.fsencode(tmp_path), b"sub-\xe9")
    os.mkdir(other)
    shutil.copy(anat / "sub-01_T1w.nii.gz", os.path.join(other, b"sub-\xe9_T1w.nii.gz"))
    with pytest.warns(sm.LeftOutWarning, match=r"1 files left out: with names that are not UTF-8.*sub-\\xe9_T1w"):
        cohort = sm.Cohort.from_bids(tmp_path)
    assert cohort.table["subject"].tolist() == ["sub-01"]
