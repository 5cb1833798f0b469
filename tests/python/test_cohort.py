import os
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, StratifiedGroupKFold

import sslmed as sm
from sslmed.leakage import refuse_overlap, refuse_shared_files


def people(n=12, **columns):
    table = pd.DataFrame({"subject": [f"s{i // 2}" for i in range(n)], **columns})
    return sm.Cohort.from_arrays(np.random.default_rng(0).normal(size=(n, 2, 500)), 100, ["Fp1", "Cz"], table)


def test_bids(tiny_clinic):
    assert len(tiny_clinic) == 15
    assert {"path", "subject", "task", "age", "sex", "site", "diagnosis"} <= set(tiny_clinic.table)
    assert set(tiny_clinic.table["sex"]) <= {"F", "M"}
    assert sm.modalities.eeg.channels(tiny_clinic)[0][1] == 256
    assert sm.modalities.eeg.unknown_channels(tiny_clinic) == []


def test_bids_refusals(tmp_path):
    with pytest.raises(sm.ReadError, match="nowhere"):
        sm.Cohort.from_bids(tmp_path / "nowhere")
    with pytest.raises(sm.FormatError, match="found none"):
        sm.Cohort.from_bids(tmp_path)
    (tmp_path / "x_eeg.edf").write_bytes(b"")
    with pytest.raises(sm.FormatError, match="sub-"):
        sm.Cohort.from_bids(tmp_path)
    (tmp_path / "x_eeg.edf").rename(tmp_path / "sub-01_task-rest_eeg.edf")
    (tmp_path / "participants.tsv").write_text("participant_id\tage\nsub-02\t50\n")
    with pytest.raises(sm.FormatError, match="sub-01"):
        sm.Cohort.from_bids(tmp_path)
    (tmp_path / "participants.tsv").write_text("id\tage\nsub-01\t50\n")
    with pytest.raises(sm.FormatError, match="participant_id"):
        sm.Cohort.from_bids(tmp_path)
    (tmp_path / "participants.tsv").write_text("participant_id\tage\tsex\nsub-01\tn/a\tfemale\n")
    cohort = sm.Cohort.from_bids(tmp_path)
    assert np.isnan(cohort.table["age"][0])
    assert cohort.table["sex"][0] == "F"
    with pytest.raises(sm.FormatError, match="task other"):
        sm.Cohort.from_bids(tmp_path, task="other")


def test_table(tmp_path, tiny_site):
    tiny_site.table[["path", "subject", "age"]].to_csv(tmp_path / "m.tsv", sep="\t", index=False)
    cohort = sm.Cohort.from_table(tmp_path / "m.tsv")
    assert len(cohort) == len(tiny_site)
    assert cohort.name == "m"
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="'path'"):
        sm.Cohort.from_table(tmp_path / "bad.csv")
    with pytest.raises(sm.ReadError):
        sm.Cohort.from_table(tmp_path / "none.tsv")
    (tmp_path / "empty.tsv").write_text("path\tsubject\n")
    with pytest.raises(ValueError, match="the table has no rows"):
        sm.Cohort.from_table(tmp_path / "empty.tsv")
    with pytest.raises(ValueError, match="needs a subject"):
        sm.Cohort.from_table(pd.DataFrame({"path": ["a"], "subject": [None]}))


def test_npz(tmp_path):
    np.savez(tmp_path / "a.npz", data=np.zeros((2, 300)), sfreq=250, channels=["Fp1", "Cz"], subject="s1")
    cohort = sm.Cohort.from_npz([tmp_path / "a.npz"])
    assert sm.modalities.eeg.channels(cohort) == [(["Fp1", "Cz"], 250.0)]
    assert cohort.table["subject"][0] == "s1"
    np.savez(tmp_path / "b.npz", data=np.zeros((2, 300)))
    with pytest.raises(sm.FormatError, match="sfreq"):
        sm.Cohort.from_npz([tmp_path / "b.npz"])
    np.savez(tmp_path / "c.npz", data=np.array([object()]), sfreq=1, channels=["a"], subject="s")
    with pytest.raises(sm.FormatError, match=r"c\.npz"):
        sm.Cohort.from_npz([tmp_path / "c.npz"])
    (tmp_path / "d.npz").write_bytes(b"no zip")
    with pytest.raises(sm.FormatError):
        sm.Cohort.from_npz([tmp_path / "d.npz"])
    with pytest.raises(sm.ReadError):
        sm.Cohort.from_npz([tmp_path / "none.npz"])


def test_arrays_refuse_mismatches():
    table = pd.DataFrame({"subject": ["a", "b"]})
    for values, sfreq, names in (
        (np.zeros((3, 2, 100)), 100, ["Fp1", "Cz"]),
        (np.zeros((2, 2, 100)), 100, ["Fp1"]),
        (np.zeros((2, 2, 100)), [100], ["Fp1", "Cz"]),
        (np.zeros((2, 100)), 100, ["Fp1"]),
    ):
        with pytest.raises(ValueError):
            sm.Cohort.from_arrays(values, sfreq, names, table)


@pytest.mark.parametrize("k", [2, 3, 6, "loso"])
def test_folds_keep_subjects_apart_and_cover_everything(k):
    cohort = people()
    seen = []
    for train, test in cohort.folds(k, seed=1):
        assert not set(cohort.table["subject"][train]) & set(cohort.table["subject"][test])
        seen += list(test)
    assert sorted(seen) == list(range(12))


def test_folds_equal_scikit_learn(rng):
    """And are found by number: with texts its search for 30,000 subjects takes minutes."""
    for n in (60, 90_000):
        subjects = [f"s{i}" for i in rng.integers(0, n // 3, n)]
        table = pd.DataFrame({"path": [f"{i}.edf" for i in range(n)], "subject": subjects, "y": [s[-1] > "4" for s in subjects]})
        cohort = sm.Cohort.from_table(table)
        numbers = np.unique(subjects, return_inverse=True)[1]
        pairs = [(cohort.folds(5, seed=3), GroupKFold(5, shuffle=True, random_state=3).split(numbers, None, numbers))]
        if n < 1000:
            pairs.append((cohort.folds(3, stratify="y", seed=3), StratifiedGroupKFold(3, shuffle=True, random_state=3).split(subjects, table["y"], subjects)))
            pairs.append((cohort.folds("loso"), LeaveOneGroupOut().split(subjects, None, subjects)))
        for ours, theirs in pairs:
            for (train, test), (their_train, their_test) in zip(ours, theirs, strict=True):
                assert np.array_equal(train, their_train)
                assert np.array_equal(test, their_test)


def test_folds_refuse_and_split(rng):
    cohort = people(y=list("aabb" * 3))
    for k in (1, 7, "x"):
        with pytest.raises(ValueError, match="folds"):
            list(cohort.folds(k))
    train, test = cohort.split(0.3, stratify="y", seed=2)
    assert len(train) + len(test) == 12
    refuse_overlap(train.table["subject"], test.table["subject"])
    with pytest.raises(ValueError):
        cohort.split(1.5)


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.7, 0.9])
def test_split_has_the_fraction_asked_for(fraction):
    cohort = people(80, y=np.repeat(["a", "b"], [60, 20]), z=[None] * 8 + ["c", "d"] * 36)
    for stratify in (None, "y"):
        train, test = cohort.split(fraction, stratify=stratify, seed=3)
        refuse_overlap(train.table["subject"], test.table["subject"])
        assert len(train) + len(test) == 80
        assert len(test.subjects) == np.ceil(round(40 * fraction, 6))
        if stratify:
            assert abs((test.subjects["y"] == "b").sum() - 10 * fraction) <= 1
    assert sum(len(side.subjects) for side in cohort.split(fraction, stratify="z")) == 36
    with pytest.raises(ValueError, match="'b' has one subject"):
        people(12, y=["a"] * 10 + ["b"] * 2).split(0.5, stratify="y")


def test_values_that_are_not_used_do_not_count():
    y = pd.Categorical(list("aabb" * 3), categories=list("abz"))
    assert len(list(people(y=y).folds(3, stratify="y"))) == 3
    with pytest.raises(ValueError, match="'b' has 1 subjects, and 'loso' needs two"):
        list(people(y=["a"] * 10 + ["b"] * 2).folds("loso", stratify="y"))


def test_what_is_not_understood_is_missing_and_told():
    with pytest.warns(sm.ValueWarning, match="2 of 4 values of 'age' are no numbers and count as missing, such as 'old'"):
        cohort = people(4, age=["old", "30", None, "young"])
    assert cohort.table["age"].tolist()[1] == 30
    assert cohort.table["age"].isna().sum() == 3
    with pytest.warns(sm.ValueWarning, match="3 of 4 values of 'sex' are neither F nor M .* such as '1.0'"):
        cohort = people(4, sex=[1, 2, 1, None])
    assert cohort.table["sex"].isna().all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        people(4, sex=["female", " m", None, "M"], age=["20", None, 3, 4.5]).subset([0, 1])


def test_subjects_are_texts(tmp_path):
    (tmp_path / "a.csv").write_text("path,subject,age,who\na.edf,001,nan,None\nb.edf,2,NaN,\n")
    cohort = sm.Cohort.from_table(tmp_path / "a.csv")
    assert cohort.table["subject"].tolist() == ["001", "2"]
    assert cohort.table["age"].isna().all()
    assert cohort.table["who"].tolist()[0] == "None"
    assert cohort.table["who"].isna().tolist() == [False, True]


def test_tables_as_spreadsheets_write_them(tmp_path):
    (tmp_path / "a.csv").write_bytes("\ufeffsubject,path\r\n001,a.edf\r\n".encode())
    assert sm.Cohort.from_table(tmp_path / "a.csv").table["subject"].tolist() == ["001"]
    (tmp_path / "d.csv").write_text("subject,path\n1,a.edf,\n2,b.edf,\n")
    assert sm.Cohort.from_table(tmp_path / "d.csv").table["subject"].tolist() == ["1", "2"]
    for text in ("subject,path\n1,a.edf,3\n2,b.edf,4\n", "subject,path\n1,a.edf\n2,b.edf,4\n"):
        (tmp_path / "b.csv").write_text(text)  # pandas would take the subjects for names of rows, and the paths for subjects
        with pytest.raises(sm.FormatError, match=r"b\.csv: expected"):
            sm.Cohort.from_table(tmp_path / "b.csv")
    (tmp_path / "c.csv").write_text("subject,path\n1,\n2,b.edf\n")
    with pytest.raises(ValueError, match="c: every row needs a path; row 0 has none"):
        sm.Cohort.from_table(tmp_path / "c.csv")


def test_arrays_that_cannot_be_right_are_refused():
    table = pd.DataFrame({"subject": ["a"]})
    for rate in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="sfreq"):
            sm.Cohort.from_arrays(np.ones((1, 1, 9)), rate, ["Cz"], table)
    for values in (np.full((1, 1, 9), "a"), np.ones((1, 1, 9), complex), np.full((1, 1, 9), None)):
        with pytest.raises(ValueError, match=r"arrays\[0\]: values must be real numbers"):
            sm.Cohort.from_arrays(values, 100, ["Cz"], table)
    with pytest.warns(sm.ValueWarning, match="multiply signals in V by 1e6"):
        sm.Cohort.from_arrays(np.full((1, 1, 9), 2e-5), 100, ["Cz"], table)
    for rate in (100, np.int64(100), np.float32(100), [100], np.array([100])):
        cohort = sm.Cohort.from_arrays(torch.ones(1, 1, 9, dtype=torch.int16), rate, ["Cz"], table)
        assert sm.modalities.eeg.channels(cohort) == [(["Cz"], 100.0)]
    frozen = np.ones((1, 1, 9), np.float32)
    frozen.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sm.Cohort.from_arrays(frozen, 100, ["Cz"], table)


def test_a_file_of_two_subjects_is_refused(tmp_path):
    cohort = sm.Cohort.from_table(pd.DataFrame({"path": ["a.edf", "b.edf", "a.edf", "c.edf"], "subject": list("abcd")}))
    for use in (lambda: list(cohort.folds(2)), lambda: cohort.split(0.5), lambda: refuse_shared_files(cohort.subset([0, 1]), cohort.subset([2, 3]))):
        with pytest.raises(ValueError, match=r"a\.edf is listed for 2 subjects"):
            use()
    refuse_shared_files(cohort.subset([0, 1]), cohort.subset([0, 3]), people())


def test_names_that_are_not_utf8_are_left_out_and_told(tmp_path, capsys):
    signal = np.random.default_rng(0).normal(size=(1, 400))
    sm.io.write_edf(tmp_path / "a.edf", signal, 100, ["Cz"])
    odd = os.path.join(os.fsencode(tmp_path), b"caf\xe9")
    os.mkdir(odd)
    with pytest.raises(sm.FormatError, match="found none"):
        sm.Cohort.from_folder(os.fsdecode(odd))
    os.rename(tmp_path / "a.edf", os.path.join(odd, b"a.edf"))
    with open(os.path.join(os.fsencode(tmp_path), b"x.\xe9"), "w"):
        pass
    for read in (sm.Cohort.open, sm.Cohort.from_folder):
        with pytest.raises(sm.FormatError, match="1 files are left out, with names that are not UTF-8"):
            read(tmp_path)
    sm.io.write_edf(tmp_path / "b.edf", signal, 100, ["Cz"])
    cohort = sm.Cohort.from_folder(tmp_path)
    assert cohort.table["subject"].tolist() == ["b"]
    assert cohort.report()["example"].tolist()[1:] == [rf"{tmp_path}/caf\xe9/a.edf", rf"{tmp_path}/x.\xe9"]
    assert r"caf\xe9/a.edf" in capsys.readouterr().err
    path = os.fsdecode(os.path.join(odd, b"a.edf"))
    table = pd.DataFrame({"subject": ["a"]}).assign(path=pd.Series([path], dtype=object))
    with pytest.raises(ValueError, match=r"expected a path in UTF-8, found other bytes in .*caf\\xe9/a.edf"):
        sm.Cohort.from_table(table)
    (tmp_path / "table.csv").write_text("path,subject\na.edf,a\n")
    with pytest.raises(sm.FormatError, match="expected a folder whose name is UTF-8"):
        sm.Cohort.from_table(tmp_path / "table.csv", root=os.fsdecode(odd))


def test_leakage_is_refused():
    with pytest.raises(ValueError, match="s1"):
        refuse_overlap(["s0", "s1"], ["s1", "s2"])


def test_subsets_keep_their_arrays():
    cohort = people(age=range(12))
    part = cohort.query("age >= 6")
    assert len(part) == 6
    assert part.arrays[0][0] is cohort.arrays[6][0]
    assert len(cohort.with_columns(z=1).table["z"]) == 12
    assert "12 recordings of 6 subjects" in repr(cohort)


def test_mne_objects_in_and_out(tiny_site):
    mne = pytest.importorskip("mne")
    raws = [sm.io.open_edf(path).to_mne() for path in tiny_site.table["path"]]
    cohort = sm.Cohort.from_mne(raws, tiny_site.table[["subject", "age"]])
    pre = sm.EegPreprocessing(sfreq=100, window=2, patch=0.5, h_freq=45)
    for i in (0, 5, 11):
        assert (cohort.source(pre).sample(i)[0] - tiny_site.source(pre).sample(i)[0]).abs().max() < 1e-3
    raws[0].info["bads"] = raws[0].ch_names[:2]
    assert sm.modalities.eeg.channels(cohort.from_mne(raws[:1], tiny_site.table[:1]))[0][0] == raws[0].ch_names[2:]
    stim = mne.io.RawArray(np.zeros((1, 100)), mne.create_info(["STI"], 100, "stim"), verbose="error")
    with pytest.raises(ValueError, match=r"sub-public000_task-rest_eeg\.edf: recording has no good EEG channel; it has stim"):
        sm.Cohort.from_mne([stim], tiny_site.table[:1])
