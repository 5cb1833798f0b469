"""Matching within a table against brute force; folds that keep pairs together and leave sites out."""

import itertools

import numpy as np
import pandas as pd
import pytest

import sslmed as sm
from sslmed.evaluation import splits
from sslmed.evaluation.matching import assign, leave_one_out, match_within, paired_folds


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def people(rng, cases=10, controls=30, per=1):
    """Patients who are older than controls; ``per`` recordings each."""
    n = cases + controls
    table = pd.DataFrame(
        {
            "subject": [f"s{i}" for i in range(n)],
            "group": ["patient"] * cases + ["control"] * controls,
            "age": np.r_[rng.uniform(45, 75, cases), rng.uniform(35, 70, controls)].round(1),
            "sex": rng.choice(["F", "M"], n),
        }
    )
    return table.loc[np.repeat(np.arange(n), per)].sample(frac=1, random_state=0).reset_index(drop=True)


def best(one, two, caliper, ratio):
    """(first partners, partners, -distance) of the best assignment, by trying all."""
    found = (0, 0, 0.0)
    for owners in itertools.product([None, *range(len(one))], repeat=len(two)):
        pairs = [(i, j) for j, i in enumerate(owners) if i is not None]
        counts = np.bincount([i for i, _ in pairs], minlength=len(one))
        if counts.max(initial=0) > ratio or any(abs(one[i] - two[j]) > caliper for i, j in pairs):
            continue
        found = max(found, (int((counts > 0).sum()), len(pairs), -sum(abs(one[i] - two[j]) for i, j in pairs) / caliper))
    return found


@pytest.mark.parametrize("ratio", [1, 2])
def test_assignment_equals_brute_force(rng, ratio):
    for _ in range(12):
        one, two = rng.uniform(20, 32, 3), rng.uniform(20, 32, 6)
        rows, partners, distance = assign(pd.DataFrame({"age": one}), pd.DataFrame({"age": two}), {"age": 3.0}, ratio=ratio)
        firsts, pairs, total = best(one, two, 3.0, ratio)
        assert (len(set(rows)), len(rows)) == (firsts, pairs)
        assert len(set(partners)) == pairs
        assert -distance.sum() == pytest.approx(total)


def test_matched_people_are_alike_and_counted(rng):
    table = people(rng, per=2)
    found = match_within(table, "group", {"age": 3.0, "sex": None}, ratio=2)
    first = table.drop_duplicates("subject").set_index("subject")
    for _, case, control, distance in found.pairs.itertuples(index=False):
        assert first.loc[case, "group"] == "patient"
        assert first.loc[case, "sex"] == first.loc[control, "sex"]
        assert abs(first.loc[case, "age"] - first.loc[control, "age"]) == pytest.approx(3 * distance)
        assert distance <= 1
    assert found.pairs["control"].is_unique
    assert found.pairs["case"].value_counts().max() <= 2
    assert abs(found.balance.set_index("column").loc["age", "after"]) < 0.25 < abs(found.balance.set_index("column").loc["age", "before"])
    kept = found.kept.set_index("class")
    assert kept.loc["control", ["people", "matched"]].tolist() == [30, found.pairs["control"].nunique()]
    assert len(found.table) == 2 * kept["matched"].sum()  # both recordings of each
    pd.testing.assert_frame_equal(found.table.drop(columns="pair"), table.iloc[found.rows])
    assert found.table.groupby("pair")["group"].nunique().eq(2).all()


def test_cohorts_are_matched_as_their_tables(rng):
    table = people(rng, 4, 8)
    table.loc[0, "age"] = np.nan
    cohort = sm.Cohort.from_arrays(rng.normal(size=(12, 2, 200)), 100, ["Cz", "Pz"], table)
    found = match_within(cohort, "group", {"age": 10.0})
    assert table["subject"][0] not in set(found.table["subject"])
    assert cohort.subset(found.rows).table["subject"].tolist() == found.table["subject"].tolist()
    cv = paired_folds(found.table, "pair", 2)
    assert len(splits(cohort.subset(found.rows), cv, stratify="group")) == 2


def test_paired_folds_never_split_a_pair(rng):
    table = people(rng, per=3)
    found = match_within(table, "group", {"age": 3.0, "sex": None}, ratio=2)
    pairs = found.table.drop_duplicates("subject").set_index("subject")["pair"]
    for given in (pairs, pairs.to_dict()):
        folds = paired_folds(table, given, 4, stratify="group", seed=1)
        assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(table)))
        for train, test in folds:
            assert not set(train) & set(test)
            assert not set(table["subject"].iloc[train]) & set(table["subject"].iloc[test])
            assert not set(table["subject"].iloc[train].map(pairs).dropna()) & set(table["subject"].iloc[test].map(pairs).dropna())
    units = [table.iloc[test].drop_duplicates("subject") for _, test in folds]
    for column in ("patient", "control"):
        single = [int((~u["subject"].isin(pairs.index) & (u["group"] == column)).sum()) for u in units]
        assert max(single) - min(single) <= 1
    dealt = [u["subject"].map(pairs).nunique() for u in units]
    assert max(dealt) - min(dealt) <= 1
    again = paired_folds(table, pairs, 4, stratify="group", seed=1)
    assert all((a[1] == b[1]).all() for a, b in zip(folds, again, strict=True))
    assert any(len(a[1]) != len(b[1]) or (a[1] != b[1]).any() for a, b in zip(folds, paired_folds(table, pairs, 4, stratify="group", seed=2), strict=True))


def test_each_site_is_left_out_once():
    table = pd.DataFrame({"subject": list("aabbcd"), "site": [1, 1, 2, 2, 3, 3], "group": list("xxyyxy")})
    folds = leave_one_out(table, "site", target="group")
    assert [test.tolist() for _, test in folds] == [[0, 1], [2, 3], [4, 5]]
    assert [train.tolist() for train, _ in folds] == [[2, 3, 4, 5], [0, 1, 4, 5], [0, 1, 2, 3]]
