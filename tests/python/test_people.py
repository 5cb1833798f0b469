"""Subjects, sex, ages and marks of missing values, as tables have them."""

import numpy as np
import pandas as pd
import pytest

import sslmed as sm


def opened(**columns):
    n = len(next(iter(columns.values())))
    return sm.Cohort.from_table(pd.DataFrame({"path": [f"{i}.edf" for i in range(n)], "subject": [f"s{i}" for i in range(n)]} | columns))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["p1", "p1 ", "p2", " p2"], ["p1", "p1", "p2", "p2"]),
        (["P1", "p1", "p2", "P2"], ["P1", "P1", "p2", "p2"]),
        (["p1", "p1\u00a0", "p2", "p2\t"], ["p1", "p1", "p2", "p2"]),
    ],
)
def test_one_person_in_several_spellings(names, expected):
    with pytest.warns(sm.ValueWarning, match="same person"):
        cohort = opened(subject=names)
    assert cohort.table["subject"].tolist() == expected
    for train, test in cohort.folds(2):
        assert not set(cohort.table["subject"][train]) & set(cohort.table["subject"][test])


def test_whole_numbers_are_names_of_subjects():
    assert opened(subject=[1.0, 2.0, 10.0]).table["subject"].tolist() == ["1", "2", "10"]
    assert opened(subject=[1.5, 2.0]).table["subject"].tolist() == ["1.5", "2.0"]


@pytest.mark.parametrize("value", ["missing", "masked", "Mujer", "MtF", "F?", "fetal", "1"])
def test_sex_is_a_whole_word(value):
    with pytest.warns(sm.ValueWarning, match="neither F nor M"):
        table = opened(sex=[value, "Female", " male "]).table
    assert table["sex"].isna().tolist() == [True, False, False]
    assert table["sex"].tolist()[1:] == ["F", "M"]


def test_an_m_beside_an_h_may_be_a_mujer():
    with pytest.warns(sm.ValueWarning, match="neither F nor M"):
        assert opened(sex=["M", "H", "M"]).table["sex"].isna().all()


@pytest.mark.parametrize(
    ("text", "age"), [("30-35", 32.5), ("30\u201334", 32), ("[20, 30)", 25), ("89+", 89), (">90", 90), 
     ("035Y", 35), ("35,5", 35.5), ("41 years", 41), ("20 to 24", 22)]
)  # fmt: skip
def test_ages_that_are_texts_are_told(text, age):
    with pytest.warns(sm.ValueWarning, match="read as numbers"):
        table = opened(age=[text, "50"]).table
    assert table["age"].tolist() == [age, 50]


@pytest.mark.parametrize("text", ["old", "35-30", "2001-03-04"])
def test_ages_that_are_none_are_missing(text):
    with pytest.warns(sm.ValueWarning, match="no numbers"):
        assert opened(age=[text, "50"]).table["age"].isna().tolist() == [True, False]


@pytest.mark.parametrize("mark", ["-", "?", "n/a", "NA", ".", "unknown"])
def test_marks_in_a_column_of_numbers_are_missing_values(mark):
    values = np.random.default_rng(0).integers(24, 28, 80).astype(str).astype(object)
    values[::8] = mark
    with pytest.warns(sm.ValueWarning, match="'moca': 10 of 80"):
        table = opened(moca=values).table
    assert table["moca"].isna().sum() == 10
    assert table["moca"].dtype == float


def test_texts_among_numbers_are_told_and_names_are_left_alone(recwarn):
    assert opened(code=["01", "02", "-"], group=["a", "b", "-"], run=["1", "n/a", "2"]).table["code"].tolist() == ["01", "02", "-"]
    assert not recwarn.list
    with pytest.warns(sm.ValueWarning, match=r"'score' holds numbers and 1 texts, such as '25\*'"):
        assert opened(score=["24", "25*", "26", "27"]).table["score"].tolist() == ["24", "25*", "26", "27"]
    with pytest.warns(sm.ValueWarning, match="'group'"):
        assert opened(group=["a", "n/a", "b"]).table["group"].isna().tolist() == [False, True, False]


def arrays(names, name, **columns):
    x = np.random.default_rng(ord(name[0])).normal(size=(len(names), 2, 800)) * 20
    return sm.Cohort.from_arrays(x, 100, ["Fp1", "Cz"], pd.DataFrame({"subject": names, **columns}), name=name)


def test_people_of_two_data_sets_are_different_people():
    a, b = arrays(["sub-01", "sub-02", "x"], "public"), arrays(["sub-01", "sub-02"], "clinic")
    with pytest.warns(sm.OverlapWarning, match="2 subjects of public and clinic"):
        both = a.joined(b)
    assert both.table["subject"].tolist() == ["public/sub-01", "public/sub-02", "x", "clinic/sub-01", "clinic/sub-02"]
    assert a.joined(b, same_people=True).table["subject"].nunique() == 3
    assert a.joined(b.with_columns(site="public")).table["subject"].nunique() == 3
    assert a.qualified().table["subject"].tolist()[0] == "public/sub-01"
    with pytest.raises(ValueError, match="give one another name"):
        a.joined(a, same_people=False)


def test_the_way_out_is_named():
    names = [f"sub-{i}" for i in range(12)]
    a, b = arrays(names, "public", y=list("ab") * 6), arrays(names, "clinic", y=list("ab") * 6)
    with pytest.raises(ValueError, match=r"qualified\(\)"):
        sm.transfer(None, a, "y", test=b, baselines=["dummy"], bootstrap=20, threads=1)
    sm.transfer(None, a.qualified(), "y", test=b.qualified(), baselines=["dummy"], bootstrap=20, threads=1)
    with pytest.warns(sm.OverlapWarning):
        sm.shift.report(a, b, target="y", bootstrap=20, permutations=1, threads=1)


@pytest.mark.parametrize("blank", ["", " ", "\t", "\u00a0"])
def test_blank_names_are_not_one_person(blank, tmp_path):
    files = [str(tmp_path / f"{i}.png") for i in range(3)]
    with pytest.raises(ValueError, match=r"every row needs a subject; that of row 1 \(.*1\.png\) is blank"):
        sm.Cohort.from_table(pd.DataFrame({"path": files, "subject": ["a", blank, blank]}))
    (tmp_path / f"{blank or ' '}.png").touch()
    with pytest.raises(ValueError, match="is blank"):
        sm.Cohort.from_folder(tmp_path)
