"""Pairs that should not be on two sides are listed, and refused."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest
import scipy.ndimage

import sslmed as sm
from sslmed.leakage import find, refuse_shared_files
from sslmed.near_duplicates import near_duplicates

X = np.random.default_rng(0).normal(size=(6, 2, 800))


def people(rows, subjects, name="here", **columns):
    table = pd.DataFrame({"subject": subjects, "y": [i % 2 for i in range(len(subjects))], **columns})
    return sm.Cohort.from_arrays(X[rows], 100, ["Cz", "Pz"], table, name=name)


def listed(table):
    return [tuple(line) for line in table[["cohort_a", "row_a", "cohort_b", "row_b", "kind"]].itertuples(index=False)]


def test_copies_links_and_headers_are_found(tiny_site, tmp_path):
    path = tiny_site.table["path"][0]
    shutil.copy(path, tmp_path / "copy.edf")
    os.symlink(path, tmp_path / "link.edf")
    data = bytearray((tmp_path / "copy.edf").read_bytes())
    data[8:88] = b"X X X somebody-else".ljust(80)
    (tmp_path / "renamed.edf").write_bytes(data)
    data[-1] ^= 1  # one bit of one sample
    (tmp_path / "other.edf").write_bytes(data)
    names = ["copy", "link", "renamed", "other"]
    other = sm.Cohort.from_table(pd.DataFrame({"path": [str(tmp_path / f"{n}.edf") for n in names], "subject": names}), name="other")
    found = find(tiny_site, other)
    assert listed(found) == [
        ("public", 0, "other", 0, "same content"),
        ("public", 0, "other", 1, "same file"),
        ("public", 0, "other", 2, "same content"),
        ("public", 0, "other", 3, "near duplicate"),
        ("other", 0, "other", 1, "same content"),
        ("other", 0, "other", 2, "same content"),
        ("other", 0, "other", 3, "near duplicate"),
        ("other", 1, "other", 2, "same content"),
        ("other", 1, "other", 3, "near duplicate"),
        ("other", 2, "other", 3, "near duplicate"),
    ]
    near = found["kind"] == "near duplicate"
    assert found["similarity"][~near].eq(1).all()
    assert found["similarity"][near].gt(0.99).all()
    exact = find(tiny_site, other, near=False)
    assert listed(exact) == [line for line in listed(found) if line[-1] != "near duplicate"]
    with pytest.raises(ValueError, match=r"subject 'sub-public000'\) and .*copy.edf \(subject 'copy'\) hold the same signal"):
        sm.transfer(None, tiny_site, "age", test=other.with_columns(age=40.0), baselines=["dummy"], bootstrap=5)
    with pytest.raises(ValueError, match=r"copy.edf \(subject 'copy'\) and .*link.edf \(subject 'link'\) hold the same signal"):
        other.split(0.5)
    assert not len(find(tiny_site))


def test_within_a_cohort_rows_of_one_subject_are_normal():
    assert listed(find(people([0, 0, 1, 1], ["a", "a", "b", "b"]))) == []
    assert listed(find(people([0, 0, 1, 0], ["a", "b", "b", "a"]))) == [("here", 0, "here", 1, "same content"), ("here", 1, "here", 3, "same content")]
    file = sm.Cohort.from_table(pd.DataFrame({"path": ["x.edf", "./x.edf", "y.edf"], "subject": ["a", "b", "b"]}), name="files")
    with pytest.warns(sm.LeftOutWarning, match=r"near duplicates: 3 of 3 rows are compared by file, content and subject only; the first: .*x.edf"):
        assert listed(find(file)) == [("files", 0, "files", 1, "same file")]


def test_between_cohorts_each_pair_is_listed_once():
    a, b = people([0, 1, 2], ["a", "b", "c"]), people([1, 2, 3], ["b", "x", "a"])
    found = find(a, b)
    assert listed(found) == [
        ("here", 0, "here (2)", 2, "same subject"),
        ("here", 1, "here (2)", 0, "same content"),
        ("here", 2, "here (2)", 1, "same content"),
    ]
    assert found["similarity"].isna().tolist() == [True, False, False]
    assert list(found.columns) == ["cohort_a", "row_a", "cohort_b", "row_b", "kind", "similarity"]
    elsewhere = people([3, 4], ["a", "b"], "there")
    assert not len(find(a, elsewhere)), "a subject alone is nobody"
    assert listed(find(a, elsewhere.with_columns(site="here"))) == [("here", 0, "there", 0, "same subject"), ("here", 1, "there", 1, "same subject")]
    assert len(find(a, a)) == 3
    train, test = people(list(range(6)), list("abcdef")).split(0.5)
    assert not len(find(train, test))


def test_what_is_no_cohort_is_refused():
    with pytest.raises(TypeError, match=r"find: cohorts\[1\]='x' must be a Cohort, got str"):
        find(people([0], ["a"]), "x")
    with pytest.raises(ValueError, match="cohorts is empty"):
        find()
    with pytest.raises(ValueError, match="threads=0"):
        find(people([0], ["a"]), threads=0)


def test_linked_subjects_are_one_group():
    here = people([0, 1, 0, 2, 1, 3], list("abcdeb"))
    found = find(here)
    assert listed(found) == [("here", 0, "here", 2, "same content"), ("here", 1, "here", 4, "same content")]
    assert sm.leakage.groups(here, found).tolist() == ["a", "b", "a", "d", "b", "b"]
    through = pd.DataFrame([("here", 0, "there", 7), ("there", 7, "here", 3)], columns=["cohort_a", "row_a", "cohort_b", "row_b"])
    assert sm.leakage.groups(here, through).tolist() == ["a", "b", "c", "a", "e", "b"]
    assert sm.leakage.groups(here, found.iloc[:0]).tolist() == list("abcdeb")
    for cv in (2, 3, "loso"):
        for train, test in sm.evaluation.splits(here, cv, duplicates=found):
            assert not {0, 2} & set(train) or not {0, 2} & set(test)
            assert not {1, 4, 5} & set(train) or not {1, 4, 5} & set(test)
    merged = here.with_columns(subject=sm.leakage.groups(here, found))
    assert not len(find(merged))
    assert len(list(merged.folds("loso"))) == 3
    with pytest.raises(ValueError, match=r"cv, fold 0: subject 'a' and 1 more in training and test data"):
        sm.evaluation.splits(here, [([0, 1], [2, 3, 4, 5])], duplicates=found)
    with pytest.raises(ValueError, match=r"lacks row_b"):
        sm.leakage.groups(here, found.drop(columns="row_b"))
    with pytest.raises(ValueError, match=r"row 9 of 'here', whose rows are 0 to 5"):
        sm.leakage.groups(here, pd.DataFrame([("here", 0, "here", 9)], columns=["cohort_a", "row_a", "cohort_b", "row_b"]))


@pytest.mark.parametrize("protocol", ["linear", "knn"])
def test_a_signal_of_two_subjects_is_refused(protocol):
    twice = people([0, 1, 2, 3, 4, 0], list("abcdef"))
    said = r"here\[0\] \(subject 'a'\) and here\[5\] \(subject 'f'\) hold the same signal"
    for cv in (2, "loso", [([0, 1, 2], [3, 4, 5])]):
        with pytest.raises(ValueError, match=said):
            sm.transfer(None, twice, "y", protocol, cv=cv, baselines=["band power"], bootstrap=5)
    with pytest.raises(ValueError, match=r"here\[1\] \(subject 'b'\) and there\[0\] \(subject 'z'\)"):
        sm.transfer(None, people([0, 1, 2, 3], list("abcd")), "y", protocol, test=people([1, 4], list("zy"), "there"), baselines=["band power"], bootstrap=5)
    with pytest.raises(ValueError, match=said):
        sm.few_shot(sm.Encoder("vit_tiny", sm.EegPreprocessing(sfreq=100, window=4, patch=1), depth=1), twice, "y", (1,))
    refuse_shared_files(people([0, 0, 1], ["a", "a", "b"]))


def test_only_files_of_equal_size_and_end_are_hashed(tiny_site, monkeypatch):
    from sslmed import digests

    hashed = []
    real = digests.of_file
    monkeypatch.setattr(digests, "of_file", lambda path, start=0: hashed.append(path) or real(path, start))
    refuse_shared_files(tiny_site.subset([0, 1, 2]).with_columns(subject=list("abc")))
    assert not hashed


def test_many_rows(tmp_path):
    """More than are looked at one after the other."""
    for i in range(100):
        (tmp_path / f"{i:03}.png").write_bytes(bytes([i % 90, 1, 2]))
    paths = [str(tmp_path / f"{i:03}.png") for i in range(100)]
    with pytest.warns(sm.LeftOutWarning, match="100 of 100 rows"):
        found = find(sm.Cohort.from_table(pd.DataFrame({"path": paths, "subject": [str(i) for i in range(100)]}), name="many"))
    assert listed(found) == [("many", i, "many", i + 90, "same content") for i in range(10)]


def test_what_is_kept_of_files_ends_when_they_change(tmp_path, monkeypatch):
    """The same relative path in two folders, and a file that is replaced with the times of the old one."""
    listing = pd.DataFrame({"path": ["0.edf", "1.edf"], "subject": ["a", "b"]})

    def write(folder, *numbers):
        for name, number in enumerate(numbers):
            sm.io.write_edf(folder / f"{name}.edf", X[number], 100, ["Cz", "Pz"])
            os.utime(folder / f"{name}.edf", (1e9, 1e9))

    for folder, numbers, kinds in (("one", (0, 1), []), ("two", (2, 2), ["same content"]), ("one", (1, 1), ["same content"]), ("two", (0, 2), [])):
        (tmp_path / folder).mkdir(exist_ok=True)
        write(tmp_path / folder, *numbers)
        monkeypatch.chdir(tmp_path / folder)
        cohort = sm.Cohort.from_table(listing)
        assert find(cohort, near=False)["kind"].tolist() == kinds, (folder, numbers)
        near = [pair.similarity > 0.9 for pair in near_duplicates([cohort])]
        assert near == [True] * len(kinds), (folder, numbers)


def test_fingerprints_are_of_the_channels_that_are_read(tmp_path):
    """Recordings that share one channel: choosing it, or leaving it out, is no other choice's fingerprint."""
    waves = np.random.default_rng(0).normal(size=(5, 3000)).cumsum(axis=1)
    waves = 20 * (waves - scipy.ndimage.uniform_filter1d(waves, 30, axis=1))
    for name, rows in (("a", [0, 1, 2]), ("b", [3, 1, 4])):
        sm.io.write_edf(tmp_path / f"{name}.edf", waves[rows], 100, ["Fp1", "Cz", "O1"])
    cohort = sm.Cohort.from_table(pd.DataFrame({"path": [str(tmp_path / "a.edf"), str(tmp_path / "b.edf")], "subject": ["a", "b"]}))
    assert len(find(cohort.choose_channels(["Cz"]))) == 1
    assert len(find(cohort.choose_channels(exclude=["Cz"]))) == 0
    assert len(find(cohort.choose_channels(["Cz", "O1"], exclude=["O1"]))) == 1


def test_groups_take_the_pairs_of_their_own_rows():
    one, other = people([0, 1, 2], list("abc"), "same"), people([2, 0, 3], list("xyz"), "same")
    found = find(one, other)
    assert listed(found) == [("same", 0, "same (2)", 1, "same content"), ("same", 2, "same (2)", 0, "same content")]
    linked = pd.concat([found, pd.DataFrame([("same (2)", 1, "same", 2, "by hand", 1.0)], columns=found.columns)])
    linked.attrs = found.attrs
    assert sm.leakage.groups(other, linked).tolist() == ["x", "x", "z"]
    assert sm.leakage.groups(one, linked).tolist() == ["a", "b", "a"]
    assert sm.leakage.groups(one.with_columns(subject=list("aab")), found).tolist() == ["a", "a", "b"]
    with pytest.raises(ValueError, match=r"either of which may be this cohort.*different names"):
        sm.leakage.groups(other, pd.DataFrame(linked.to_dict("list")))
    whole = people([0, 1, 2, 0], list("abcd"))
    found = find(whole)
    for part in (whole.subset([0, 1]), whole.subset([3, 2, 1, 0]), people([0], ["a"], "elsewhere")):
        with pytest.raises(ValueError, match=r"other rows than the \d of '.*' \(it is of 'here'\).*find\(cohort\)"):
            sm.leakage.groups(part, found)
    assert sm.leakage.groups(whole, found[found["similarity"] > 0.5]).tolist() == ["a", "b", "c", "a"]


def test_groups_take_rows_as_files_and_joins_leave_them():
    cohort = people([0, 1, 0, 2], list("abcd"))
    found = sm.leakage.find(cohort, near=False)
    for column in (found["row_a"].astype(float), found["row_a"].astype(str)):
        assert sm.leakage.groups(cohort, found.assign(row_a=column)).tolist() == list("abad")
    for wrong in (np.nan, 0.5, "first"):
        with pytest.raises(ValueError, match=r"row_a=.* must be a row's number"):
            sm.leakage.groups(cohort, found.assign(row_a=[wrong]))
    with pytest.raises(TypeError, match="must be the table of"):
        sm.leakage.groups(cohort, None)


def test_names_of_cohorts_stay_different():
    cohorts = [people([i], ["a"], name) for i, name in enumerate(["x", "x (2)", "x", "x", "x (2)"])]
    same = find(*cohorts, near=False)
    assert sorted({*same["cohort_a"], *same["cohort_b"]}) == ["x", "x (2)", "x (2) (2)", "x (3)", "x (4)"]


def test_pairs_of_very_large_groups_are_links():
    """Of 500 rows that hold the same signal, and of two people with 400 rows each in two cohorts."""
    blank = sm.Cohort.from_arrays(np.zeros((500, 1, 300)), 100, ["Cz"], pd.DataFrame({"subject": [str(i // 2) for i in range(500)]}))
    with pytest.warns(sm.LeftOutWarning, match="500 rows are linked by 'same content'"):
        found = find(blank, near=False)
    assert len(found) == 499
    assert set(sm.leakage.groups(blank, found)) == {"0"}
    many = sm.Cohort.from_arrays(np.arange(400 * 300).reshape(400, 1, 300), 100, ["Cz"], pd.DataFrame({"subject": ["p"] * 400, "site": ["s"] * 400}))
    other = sm.Cohort(many.table, "other", [(a[0] + 1, *a[1:]) if isinstance(a, tuple) else a for a in many.arrays])
    with pytest.warns(sm.LeftOutWarning, match="800 rows are linked by 'same subject'"):
        assert len(find(many, other, near=False)) < 2000
