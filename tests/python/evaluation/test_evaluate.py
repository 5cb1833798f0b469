"""Features from anywhere, scored on a table: its rows, what they promise, and the same figures as a transfer's."""

import json

import numpy as np
import pandas as pd
import pytest
from soak import at_most, simulations

import sslmed as sm


def people(rng, n=24, per=1, **columns):
    """A table of two classes in turn."""
    y = np.repeat(np.where(np.arange(n) % 2, "pain", "control"), per)
    return pd.DataFrame({"subject": np.repeat([f"p{i}" for i in range(n)], per), "y": y, "age": np.repeat(rng.normal(50, 10, n), per)} | columns)


def values(result):
    return result.table.set_index(["row", "metric"])["value"]


@pytest.mark.parametrize("cv", ["loso", 5])
def test_a_dummy_is_at_chance_exactly(rng, cv):
    x, table = rng.normal(size=(24, 4)), people(rng)
    result = sm.evaluate(x, table, "y", cv=cv, repeats=2, permutations=0)
    assert values(result)["dummy", "balanced_accuracy"] == values(result)["dummy", "auroc"] == 0.5
    assert np.isnan(values(result)["features", "auroc"]) == (cv == "loso")  # one person a fold makes no pair
    result = sm.evaluate(x, table, "age", cv=cv, repeats=2, permutations=0)
    assert values(result)["dummy", "r2"] == 0
    assert np.isnan(values(result)["dummy", "r"])
    unequal = table.assign(y=np.where(np.arange(24) < 6, "rare", "usual"))
    result = sm.evaluate(x, unequal, "y", cv=cv, repeats=2, permutations=0)
    assert values(result)["dummy", "balanced_accuracy"] == values(result)["dummy", "auroc"] == 0.5


def test_rows_and_what_is_compared(rng):
    x, table = rng.normal(size=(40, 5)), people(rng, 40)
    result = sm.evaluate({"old": x, "new": x + 1e-3 * rng.normal(size=x.shape)}, table, "y", covariates=["age"], repeats=2, permutations=9, positive="pain")
    rows = ["dummy", "covariates", "old", "new", "new + covariates", "new, adjusted", "permuted labels"]
    assert list(dict.fromkeys(result.table["row"])) == rows
    assert list(dict.fromkeys(result.table["metric"])) == [*(["balanced_accuracy", "auroc", "auprc", "f1", "brier"]), *POSITIVE]
    assert list(result.comparisons[["row", "against", "metric"]].itertuples(index=False, name=None)) == [
        ("new", "old", "balanced_accuracy"),
        ("new", "old", "auroc"),
        ("new", "covariates", "balanced_accuracy"),
        ("new", "covariates", "auroc"),
        ("new", "chance", "balanced_accuracy"),
        ("new, adjusted", "chance", "auroc"),
    ]
    assert (result.comparisons["p_holm"].dropna() >= result.comparisons["p"].dropna()).all()
    assert result.table["n_subjects"].eq(40).all()
    assert list(dict.fromkeys(result.predictions["row"])) == rows[:5]
    prior = result.predictions[result.predictions["label"] == "pain"]["prior"]
    np.testing.assert_allclose(prior, 0.5, atol=0.05)
    only = sm.evaluate({"old": x, "new": x}, table, "y", repeats=1, permutations=0, compare="dummy")
    assert list(only.comparisons["against"]) == ["dummy", "dummy", "chance"]
    assert sm.evaluate({"old": x, "new": x}, table, "y", repeats=1, permutations=0, compare=["old", "old"]).comparisons["against"].tolist() == [
        "old",
        "old",
        "chance",
    ]


POSITIVE = ["sensitivity", "specificity", "ppv", "npv", "calibration_intercept", "calibration_slope"]


def test_the_same_call_gives_the_same_table_and_other_seeds_other_folds(rng):
    x, table = rng.normal(size=(24, 3)), people(rng)
    how = {"repeats": 2, "permutations": 9}
    a, b, c = (sm.evaluate(x, table, "y", seed=seed, **how) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(a.table, b.table)
    pd.testing.assert_frame_equal(a.predictions, b.predictions)
    assert a.manifest == b.manifest != c.manifest
    assert len(a.manifest["folds"]) == 2


def test_order_names_and_index_of_rows_change_nothing(rng):
    """With folds that are given, nothing is left to the order of the rows."""
    x, table = rng.normal(size=(24, 3)), people(rng)
    order = rng.permutation(24)
    part = np.arange(24) // 2 % 4
    folds = [(np.flatnonzero(part != f), np.flatnonzero(part == f)) for f in range(4)]
    moved = [(np.flatnonzero(part[order] != f), np.flatnonzero(part[order] == f)) for f in range(4)]
    how = {"repeats": 1, "permutations": 0}
    plain = sm.evaluate(x, table, "y", cv=folds, **how).table
    shuffled = sm.evaluate(x[order], table.iloc[order], "y", cv=moved, **how).table
    pd.testing.assert_frame_equal(plain, shuffled, atol=1e-8)
    named = sm.evaluate(pd.DataFrame(x, index=order), table.set_index(order).assign(subject=[f"z{i}" for i in range(24)]), "y", cv=folds, **how).table
    pd.testing.assert_frame_equal(plain, named, atol=1e-8)
    # Columns in other units are the same columns.
    scaled = sm.evaluate(x * [1e-3, 1.0, 1e4] + [5, -1e3, 0], table, "y", cv=folds, **how).table
    pd.testing.assert_frame_equal(plain, scaled, atol=1e-6)


def test_rows_without_a_value_are_left_out(rng):
    x, table = rng.normal(size=(26, 3)), people(rng, 26)
    some = table.assign(y=table["y"].where(np.arange(26) >= 2))
    how = {"repeats": 1, "permutations": 0}
    pd.testing.assert_frame_equal(sm.evaluate(x, some, "y", **how).table, sm.evaluate(x[2:], table.iloc[2:].reset_index(drop=True), "y", **how).table)
    assert (sm.evaluate(x, some, "y", **how).table["n_subjects"] == 24).all()


def test_a_manifest_is_plain_json(rng):
    x, table = rng.normal(size=(24, 3)), people(rng, sex=rng.permutation(list("FM") * 12))
    how = {"cv": np.int64(3), "seed": np.int64(1), "permutations": np.int64(3), "prevalence": np.float64(0.1), "repeats": 2}
    result = sm.evaluate(x, table, "y", positive="pain", covariates=("age", "sex"), **how)
    read = json.loads(json.dumps(result.manifest))
    assert read["options"]["cv"] == 3
    assert read["options"]["prevalence"] == 0.1
    assert read["level"] == "person"
    assert read["classes"] == ["control", "pain"]
    assert sorted(row for fold in read["folds"][0] for row in fold) == list(range(24))
    assert (result.comparisons["test"] == "permuted labels, refitted").any()  # folds of a NumPy number are drawn anew as well
    other = sm.evaluate(x + 1e-9, table, "y", repeats=1, permutations=0, level="recording").manifest
    assert other["level"] == "recording"
    assert other["rows"]["features"]["features"] != result.manifest["rows"]["features"]["features"]


def test_one_split_of_the_callers(rng):
    """A hold-out has scores and an interval, and no permutation test: nothing says how other splits would be drawn."""
    x, table = rng.normal(size=(60, 3)), people(rng, 60)
    with pytest.warns(sm.UntestedWarning):
        result = sm.evaluate(x, table, "y", cv=[(np.arange(30), np.arange(30, 60))], permutations=9)
    assert "permuted labels" not in set(result.table["row"])
    assert (result.table["n_subjects"] == 30).all()
    assert result.comparisons["test"].tolist() == ["left-out people, t"]
    assert len(result.predictions) == 2 * 30 * 2


@pytest.mark.parametrize("cv", [2, "loso"])
def test_two_people(rng, cv):
    table = pd.DataFrame({"subject": list("aaabbb"), "age": [30.5] * 3 + [60.5] * 3})
    result = sm.evaluate(rng.normal(size=(6, 2)), table, "age", cv=cv, repeats=1, permutations=3)
    assert values(result)["features", "mae"] == pytest.approx(30)  # each gets the other's age


def test_few_controls_for_many_covariates_have_no_adjusted_area(rng):
    table = people(rng, 12, site=list("abcdef") * 2)
    result = sm.evaluate(rng.normal(size=(12, 3)), table, "y", covariates=["age", "site"], cv=3, repeats=1, permutations=0)
    assert np.isnan(values(result)["features, adjusted", "auroc"])
    assert np.isfinite(values(result)["covariates", "balanced_accuracy"])


def test_levels_count_people_or_recordings(rng):
    """By hand, from the predictions: people of one to six recordings count once, or as often as they were recorded."""
    per = np.arange(24) % 6 + 1
    person = np.repeat(np.arange(24), per)
    y = np.where(person % 2, "b", "a")
    x = np.where(y == "b", 0.5, -0.5)[:, None] + rng.normal(size=(len(y), 3))
    table = pd.DataFrame({"subject": person, "y": y})
    found = {}
    for level in ("person", "recording"):
        result = sm.evaluate(x, table, "y", repeats=1, permutations=0, level=level)
        told = result.predictions[(result.predictions["row"] == "features") & (result.predictions["label"] == "b")]
        by = told.groupby("subject")[["predicted", "prior"]].mean() if level == "person" else told[["predicted", "prior"]]
        truth = told.groupby("subject")["truth"].first() if level == "person" else told["truth"]
        right = (by["predicted"] > by["prior"]).to_numpy() == (truth == "b").to_numpy()
        found[level] = values(result)["features", "balanced_accuracy"]
        assert found[level] == pytest.approx(np.mean([right[(truth == c).to_numpy()].mean() for c in "ab"]), abs=1e-12)
        assert (result.table["n_subjects"] == 24).all()


def test_transfer_and_evaluate_agree(rng):
    """The same features give the same table, whoever computes them."""
    from sslmed.modalities.eeg import baselines

    table = people(rng, 24)
    cohort = sm.Cohort.from_arrays(rng.normal(size=(24, 2, 800)), 100, ["Cz", "O2"], table)
    how = {"cv": 4, "repeats": 2, "positive": "pain", "covariates": ["age"]}
    one = sm.transfer(None, cohort, "y", baselines=["dummy", "band power"], **how).table
    other = sm.evaluate({"band power": baselines.band_power(cohort)}, cohort.table, "y", permutations=0, **how).table
    pd.testing.assert_frame_equal(one, other, atol=1e-9)


@simulations(1, 10)
def test_probabilities_are_those_of_the_cohort(rng, simulations):
    """Two thousand people of whom a tenth has the disease."""
    n, mean, slopes = (1000 if simulations == 1 else 2000), [], []
    for _ in range(simulations):
        sick = rng.permutation(np.arange(n) % 10 == 0)
        x = rng.normal(size=(n, 8))
        x[sick, :2] += 1.0
        table = pd.DataFrame({"subject": np.arange(n), "y": np.where(sick, "sick", "well")})
        result = sm.evaluate(x, table, "y", positive="sick", repeats=1, permutations=0)
        told = result.predictions[(result.predictions["row"] == "features") & (result.predictions["label"] == "sick")]["predicted"]
        mean, slopes = [*mean, told.mean()], [*slopes, values(result)["features", "calibration_slope"]]
        assert values(result)["features", "brier"] <= values(result)["dummy", "brier"]
        assert values(result)["features", "balanced_accuracy"] > 0.7
        assert abs(values(result)["features", "sensitivity"] - values(result)["features", "specificity"]) < 0.15
    print(f"prevalence .1: mean prediction {np.mean(mean):.4f}, calibration slope {np.mean(slopes):.3f} of {np.round(slopes, 2)}")
    assert np.abs(np.array(mean) - 0.1).max() <= 0.01
    assert 0.9 <= np.mean(slopes) <= 1.1 or simulations == 1
    assert 0.7 <= np.mean(slopes) <= 1.3


@simulations(6, 500)
def test_a_disease_that_is_only_age(rng, simulations):
    """Patients are ten years older, and features know the age: their area is high, and adjusted for age it is one half."""
    areas, p, plain = [], [], []
    for seed in range(simulations):
        sick = np.arange(60) % 2 == 1
        age = 50 + 10 * sick + 8 * rng.normal(size=60)
        x = rng.normal(size=(60, 10))
        x[:, 0] += (age - 55) / 5
        table = pd.DataFrame({"subject": np.arange(60), "y": np.where(sick, "sick", "well"), "age": age})
        result = sm.evaluate(x, table, "y", covariates=["age"], repeats=2, permutations=0, seed=seed)
        found = result.comparisons.set_index(["row", "against"]).loc[("features, adjusted", "chance")]
        areas, p, plain = [*areas, 0.5 + found["difference"]], [*p, found["p"]], [*plain, values(result)["features", "auroc"]]
    print(f"age alone: area {np.mean(plain):.3f}, adjusted {np.mean(areas):.3f}, rejected {np.mean(np.array(p) <= 0.05):.3f} of {simulations}")
    assert np.mean(plain) > 0.6
    # One area has a standard deviation of .13, and noise that is cross-validated lies a little below chance.
    assert abs(np.mean(areas) - 0.5) <= (0.035 if simulations >= 300 else 0.035 + 4 * 0.13 / np.sqrt(simulations))
    assert at_most(int((np.array(p) <= 0.05).sum()), 0.07, simulations)


def test_balanced_neighbors_vote_alike_for_every_class(rng):
    """Neighbors of a rare class are few: without weights, "balanced" decisions would be those of the majority."""
    y = np.array(["rare"] * 10 + ["usual"] * 40)
    x = rng.normal(size=(50, 3)) + 1.5 * (y == "rare")[:, None]
    table = pd.DataFrame({"subject": np.arange(50), "y": y})
    how = {"repeats": 2, "permutations": 0, "positive": "rare"}
    plain, balanced = (values(sm.evaluate(x, table, "y", "knn", balanced=b, **how)) for b in (False, True))
    for metric in ("balanced_accuracy", "sensitivity", "specificity"):
        assert balanced["features", metric] == pytest.approx(plain["features", metric], abs=1e-9)


def test_covariates_that_vary_within_people_are_averaged(rng):
    """Which recording of a person comes first says nothing."""
    table = people(rng, 40, 2)
    table["age"] += np.tile([0.0, 20.0], 40) * rng.random(80)
    x, part = rng.normal(size=(80, 3)), np.arange(80) // 4 % 4
    order = np.arange(80).reshape(40, 2)[:, ::-1].ravel()  # the same people, their recordings the other way round
    folds = [(np.flatnonzero(part != f), np.flatnonzero(part == f)) for f in range(4)]
    how = {"covariates": ["age"], "cv": folds, "permutations": 0}
    plain, turned = sm.evaluate(x, table, "y", **how), sm.evaluate(x[order], table.iloc[order], "y", **how)
    assert "features, adjusted" in set(plain.table["row"])
    pd.testing.assert_frame_equal(plain.table, turned.table, atol=1e-8)


def test_a_perfect_score_is_better_than_chance(rng):
    """No person left out changes it, which is no reason to say nothing."""
    table = people(rng, 40)
    x = np.where(table["y"] == "pain", 5.0, -5.0)[:, None] + rng.normal(0, 0.1, (40, 2))
    result = sm.evaluate(x, table, "y", repeats=2, permutations=0, compare=["dummy"])
    assert values(result)["features", "auroc"] == values(result)["features", "balanced_accuracy"] == 1
    assert list(result.comparisons["against"]) == ["dummy", "dummy", "chance"]
    assert (result.comparisons["p"] < 0.01).all()
    assert (result.comparisons["low"] > 0).all()
    assert "features is better than chance" in str(result.verdict())
    same = sm.evaluate({"a": x, "b": x}, table, "y", repeats=2, permutations=0)
    assert same.comparisons.loc[same.comparisons["against"] == "a", "p"].isna().all()


def test_numbers_as_texts_are_refused(rng):
    """They would be a category each, which adjusts for nothing."""
    table = people(rng, 40)
    table["score"] = table["age"].round(1).astype(str)  # texts in "age" are read as numbers
    with pytest.raises(ValueError, match="'score' holds numbers as texts"):
        sm.evaluate(rng.normal(size=(40, 3)), table, "y", covariates=["score"], repeats=1, permutations=0)
    table["site"] = np.tile(["1", "2"], 20)  # codes of sites are categories
    sm.evaluate(rng.normal(size=(40, 3)), table, "y", covariates=["site"], repeats=1, permutations=0)
