"""Scores by group, and the test that they differ: exact on all exchanges, its level and power by simulation."""

import itertools

import numpy as np
import pandas as pd
import pytest
from soak import WHEN_SOAKED, near, simulations

from sslmed.evaluation.subgroups import binned, interaction_test, subgroups

CLASSES = np.array(["a", "b"])


def test_the_worst_group_is_marked_only_where_groups_differ():
    rng = np.random.default_rng(0)
    age, site = rng.uniform(20, 80, 90), pd.Series(np.repeat(["x", "y", "z"], 30))
    error = rng.normal(size=90)
    rows = {"alike": (age + error, None), "apart": (age + error * np.where(site == "y", 4, 1), None)}
    table = subgroups(rows, age, np.arange(90), site, metric="mae", draws=200).set_index(["row", "group"])
    assert list(table.columns) == ["value", "low", "high", "n_subjects", "p_interaction", "worst"]
    assert table.loc["apart", "worst"].tolist() == [False, True, False]
    assert (table.loc["apart", "p_interaction"] < 0.01).all()
    assert not table.loc["alike", "worst"].any()
    assert (table.loc["alike", "p_interaction"] > 0.05).all()
    assert table.loc[("alike", "x"), "value"] == pytest.approx(np.abs(error[:30]).mean())
    assert (table["n_subjects"] == 30).all()
    r2 = subgroups(rows, age, np.arange(90), site, metric="r2", draws=200).set_index(["row", "group"])
    assert r2.loc[("apart", "y"), "worst"]  # the lowest r2, the highest error
    # Whoever has no group is left out of the scores and of the test.
    some = site.where(np.arange(90) % 3 > 0)
    assert subgroups(rows, age, np.arange(90), some, metric="mae", draws=20)["n_subjects"].tolist() == [20] * 6


def test_a_group_that_lacks_a_class_has_no_score_and_no_part_in_the_test():
    y = np.array(["a", "b"] * 10 + ["a"] * 10)
    predicted = np.tile([0.6, 0.4], (30, 1))
    groups = pd.Series(np.repeat(["x", "y", "z"], 10))
    table = subgroups({"model": (predicted, CLASSES)}, y, np.arange(30), groups, metric="auroc", draws=20)
    assert table["value"].isna().tolist() == [False, False, True]
    assert (table["p_interaction"] == 1).all()  # the scores of the two others are the same
    alone = subgroups({"model": (predicted, CLASSES)}, y, np.arange(30), groups.where(groups != "y"), metric="auroc", draws=20)
    assert alone["p_interaction"].isna().all()
    assert not alone["worst"].any()


def test_interaction_test_equals_all_exchanges_of_people():
    rng = np.random.default_rng(1)
    truth, predicted = rng.normal(size=14), rng.normal(size=14)
    people = np.repeat(np.arange(7), 2)
    of_person = np.array(["x", "x", "x", "y", "y", "y", "y"])

    def spread(of_person):
        groups = of_person[people]
        score = np.array([np.abs(truth - predicted)[groups == g].mean() for g in ("x", "y")])
        return np.average((score - np.average(score, weights=[3, 4])) ** 2, weights=[3, 4])

    every = [np.where(np.isin(np.arange(7), chosen), "x", "y") for chosen in itertools.combinations(range(7), 3)]
    exact = np.mean([spread(e) >= spread(of_person) - 1e-12 for e in every])
    assert interaction_test(predicted, truth, people, of_person[people], "mae", draws=4000) == pytest.approx(exact, abs=0.03)


def test_a_grouping_within_people_is_exchanged_within_them():
    """Two states of each person; people differ by far more than the states do, and only pairs show it."""
    rng = np.random.default_rng(2)
    person, state = np.repeat(np.arange(30), 2), np.tile(["closed", "open"], 30)
    error = np.repeat(rng.uniform(0, 50, 30), 2) + np.where(state == "open", 2.0, 0.0) + rng.uniform(0, 1, 60)
    assert interaction_test(error, np.zeros(60), person, state, "mae", draws=200) < 0.01
    assert interaction_test(error, np.zeros(60), np.arange(60), state, "mae", draws=200) > 0.2


def test_bins():
    assert binned(pd.Series(range(20)), [-1, 9, 19]).nunique() == 2
    assert binned(pd.Series(list("abc"))).tolist() == ["a", "b", "c"]
    assert binned(pd.Series(range(30)), 3).value_counts().tolist() == [10, 10, 10]


def draw(rng, metric, worse=0.0):
    """Sixty people of one to three recordings in three groups of different sizes, ages and shares of a class."""
    groups = np.repeat(["x", "y", "z"], [30, 20, 10])
    of = np.repeat(np.arange(60), rng.integers(1, 4, 60))
    harm = np.where(groups == "z", 1 + worse, 1.0)
    if metric == "mae":
        age = rng.normal(np.repeat([30, 50, 70], [30, 20, 10]), 8)
        return (age + harm * rng.normal(size=60) * 5)[of] + rng.normal(size=len(of)), age[of], of, groups[of], metric, None
    sick = rng.random(60) < np.repeat([0.3, 0.5, 0.7], [30, 20, 10])
    sick[[0, 1, 30, 31, 50, 51]] = [True, False] * 3  # both classes in every group
    signal = (sick[of] - 0.5) * 2 / harm[of] + rng.normal(size=60)[of] + rng.normal(size=len(of)) * 0.5
    p = 1 / (1 + np.exp(-signal))
    return np.stack([1 - p, p], axis=1), np.where(sick, "b", "a")[of], of, groups[of], metric, CLASSES


@simulations(150, 1500)
@pytest.mark.parametrize("metric", ["mae", "balanced_accuracy", pytest.param("auroc", marks=WHEN_SOAKED), pytest.param("brier", marks=WHEN_SOAKED)])
def test_interaction_test_holds_its_level(simulations, metric):
    """Groups of different sizes, ages and prevalence that are predicted equally well: at .05 it rejects in .03 to .07."""
    rng = np.random.default_rng(3)
    draws = 59 if simulations < 500 else 199
    p = [interaction_test(*draw(rng, metric), draws=draws, seed=i) for i in range(simulations)]
    assert near(np.mean(np.array(p) <= 0.05), 0.05, simulations)


def test_interaction_test_finds_a_group_that_is_predicted_worse():
    rng = np.random.default_rng(4)
    assert np.mean([interaction_test(*draw(rng, "mae", worse=3.0), draws=99) < 0.05 for _ in range(20)]) > 0.9
