"""Folds of every kind: the same as before for numbers, and checked for leakage where they are handed in."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    LeaveOneGroupOut,
    LeavePGroupsOut,
    PredefinedSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
)

import sslmed as sm
from sslmed.evaluation import splits


def people(n=24, per=2, seed=0):
    rng = np.random.default_rng(seed)
    subjects = [f"s{i // per:02d}" for i in range(n)]
    table = pd.DataFrame({"subject": subjects, "y": np.repeat(["a", "b"], per).tolist() * (n // per // 2), "age": rng.uniform(20, 70, n)})
    return sm.Cohort.from_arrays(rng.normal(size=(n, 2, 800)), 100, ["Cz", "O2"], table, name="people")


def same(a, b):
    return len(a) == len(b) and all(np.array_equal(x, y) for one, two in zip(a, b, strict=True) for x, y in zip(one, two, strict=True))


@pytest.mark.parametrize("cv", [2, 5, "loso", np.int64(3)])
def test_numbers_and_loso_are_the_cohorts_folds(cv):
    cohort = people()
    for stratify in (None, "y"):
        assert same(splits(cohort, cv, stratify=stratify, seed=4), list(cohort.folds(cv if cv == "loso" else int(cv), stratify=stratify, seed=4)))


def test_splitters_and_pairs_equal_what_numbers_give():
    cohort = people()
    groups = np.unique(cohort.table["subject"], return_inverse=True)[1]
    assert same(splits(cohort, GroupKFold(4, shuffle=True, random_state=1)), splits(cohort, 4, seed=1))
    assert same(splits(cohort, StratifiedGroupKFold(4, shuffle=True, random_state=1), stratify="y"), splits(cohort, 4, stratify="y", seed=1))
    assert same(splits(cohort, LeaveOneGroupOut()), splits(cohort, "loso"))
    pairs = splits(cohort, 4)
    masks = [(np.isin(np.arange(24), train), np.isin(np.arange(24), test)) for train, test in pairs]
    for given in (pairs, iter(pairs), [list(pair) for pair in pairs], masks):
        assert same(splits(cohort, given), pairs)
    assert len(splits(cohort, PredefinedSplit(groups % 3))) == 3
    assert len(splits(people(per=1), KFold(3))) == 3  # nobody has two recordings, so that rows may be split


def test_splitters_are_options_of_transfer():
    cohort = people()
    options = {"baselines": ["dummy", "band power"], "repeats": 1, "seed": 1}
    by_number = sm.transfer(None, cohort, "age", cv=4, **options)
    by_splitter = sm.transfer(None, cohort, "age", cv=GroupKFold(4, shuffle=True, random_state=1), **options)
    pd.testing.assert_frame_equal(by_number.table, by_splitter.table)
    pd.testing.assert_frame_equal(by_number.predictions, by_splitter.predictions)
    classes = [sm.transfer(None, cohort, "y", cv=cv, **options).table for cv in (4, StratifiedGroupKFold(4, shuffle=True, random_state=1))]
    pd.testing.assert_frame_equal(*classes)


@pytest.mark.parametrize("target", ["y", "age"])
def test_what_is_never_tested_is_reported_and_not_scored(target):
    cohort = people()
    cv = splits(cohort, 4, stratify="y")[:2]
    tested = np.sort(np.concatenate([test for _, test in cv]))
    with pytest.warns(sm.UntestedWarning, match=rf"people: cv never tests {24 - len(tested)} of 24 recordings, such as row \d+"):
        result = sm.transfer(None, cohort, target, cv=cv, baselines=["dummy", "band power"], bootstrap=20)
    assert (result.table["n_subjects"] == len(tested) // 2).all()
    assert result.predictions["predicted"].notna().all()
    assert list(result.wide()["subject"]) == list(cohort.table["subject"].iloc[tested])
    assert len(result.people) == len(tested)
    fold = result.predictions.drop_duplicates("path").set_index("path")["fold"]
    for number, (_, test) in enumerate(cv):
        assert (fold[cohort.table["path"].iloc[test]] == number).all()


REFUSED = [
    (1, "cv=1 must be 'loso', a number of folds from 2 to 12"),
    (13, "cv=13 must be"),
    (2.5, "cv=2.5 must be"),
    (True, "cv=True must be"),
    (None, "cv=None must be"),
    ("recordings", "cv='recordings' must be"),
    ([], "cv gives no folds"),
    ([np.arange(3)], r"cv, fold 0: expected a pair \(train, test\)"),
    ([([], [0])], "cv, fold 0, train: expected row positions"),
    ([([[0]], [1])], r"cv, fold 0, train: expected row positions .* got shape \[1, 1\]"),
    ([([0.0], [2])], "cv, fold 0, train: expected whole numbers, got float64"),
    ([([0], [24])], "cv, fold 0, test: row 24 is not within 0 to 23"),
    ([([-1], [2])], "cv, fold 0, train: row -1 is not within"),
    ([([0, 0], [2])], "cv, fold 0, train: row 0 is listed twice"),
    ([(np.ones(3, bool), [2])], "cv, fold 0, train: expected a mask of 24 rows"),
    ([([0, 1, 2], [4]), ([0, 2], [1, 3])], "cv, fold 1: subject 's00' and 1 more in training and test data at once"),
    ([([0, 1], [2, 3]), ([4, 5], [2])], "cv, fold 1: row 2 was tested in fold 0 already"),
    (KFold(4, shuffle=True, random_state=0), "cv, fold 0: subject 's.*split over subjects, for example with GroupKFold"),
    (StratifiedKFold(4, shuffle=True, random_state=0), "cv, fold 0: subject 's"),
    (GroupKFold(20), r"cv=GroupKFold\(.* cannot split 24 recordings of 12 subjects"),
    (GroupShuffleSplit(8, test_size=0.5, random_state=0), "was tested in fold 0 already"),
    (LeavePGroupsOut(2), "was tested in fold 0 already"),
]


@pytest.mark.parametrize(("cv", "said"), REFUSED, ids=range(len(REFUSED)))
def test_refused(cv, said):
    with pytest.raises(ValueError, match=said):
        splits(people(), cv)


def test_files_and_classes_of_a_fold():
    cohort = people()
    with pytest.raises(ValueError, match="cv, fold 0: training rows have one value only of 'y'"):
        splits(cohort, [([0, 1], [2, 3])], stratify="y")
    table = pd.DataFrame({"path": ["a.edf", "b.edf", "a.edf"], "subject": ["x", "y", "z"]})
    with pytest.raises(ValueError, match=r"a\.edf is listed for 2 subjects"):
        splits(sm.Cohort.from_table(table), [([0], [1])])
    with pytest.raises(ValueError, match="stratify='z' is not a column"):
        splits(cohort, 3, stratify="z")
    with pytest.raises(TypeError, match="cohort='x' must be a Cohort"):
        splits("x", 3)
