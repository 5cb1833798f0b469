"""Thresholds hold what they promise, by counting and by simulation."""

import numpy as np
import pandas as pd
import pytest
from soak import at_most, simulations

from sslmed.anomaly import conformal_threshold, least_people, share_threshold
from sslmed.anomaly.calibration import Summary, calibrate
from sslmed.anomaly.conformal import Adjustment


def test_threshold_is_the_quantile_of_n_plus_one(rng):
    for n, rate in ((9, 0.1), (19, 0.1), (20, 0.1), (99, 0.05), (40, 0.3)):
        scores = rng.normal(size=n)
        k = int(np.ceil(np.round((n + 1) * (1 - rate), 9)))
        assert conformal_threshold(scores, rate) == np.sort(scores)[k - 1]


def test_too_few_people_are_told_how_many():
    assert [least_people(rate) for rate in (0.5, 0.1, 0.05, 0.01)] == [1, 9, 19, 99]
    with pytest.raises(ValueError, match=r"8 healthy validation people cannot promise a rate of 0.1: at least 9"):
        conformal_threshold(np.arange(8.0), 0.1)
    with pytest.raises(ValueError, match="at least 19"):
        share_threshold([np.arange(5.0)] * 18, 0.05)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, "a"])
def test_rates_out_of_range(rate):
    with pytest.raises(ValueError, match="rate="):
        conformal_threshold(np.arange(50.0), rate)


def test_scores_must_be_finite():
    with pytest.raises(ValueError, match="1 of 20 are not"):
        conformal_threshold([*range(19), np.nan], 0.1)


@simulations(200, 4000)
def test_a_healthy_person_is_an_alarm_as_often_as_promised(rng, simulations):
    """Over draws of validation and new person; scores of any distribution, with ties."""
    rate, n = 0.2, 15
    hits = 0
    for _ in range(simulations):
        scores = np.round(rng.gamma(1.5, size=n + 1), 1)
        hits += scores[-1] > conformal_threshold(scores[:-1], rate)
    assert at_most(hits, rate, simulations)


def test_without_ties_the_rate_is_not_far_below(rng):
    n, rate = 19, 0.1
    alarms = [np.sum(scores[n:] > conformal_threshold(scores[:n], rate)) for scores in rng.normal(size=(400, n + 50))]
    assert 0.08 < np.sum(alarms) / (400 * 50) < 0.12  # (n + 1 - k) / (n + 1) = 0.1


def plain_share(maps, rate):
    """The smallest score that holds the promise, one by one."""
    n = len(maps)
    for limit in np.unique(np.concatenate(maps)):
        risk = sum(np.mean(one > limit) for one in maps)
        if (risk + 1) / (n + 1) <= rate + 1e-9:
            return limit
    raise AssertionError


def test_share_threshold_equals_a_search(rng):
    for _ in range(20):
        n = int(rng.integers(5, 12))
        maps = [np.round(rng.normal(size=rng.integers(3, 40)), 1) for _ in range(n)]
        rate = float(rng.uniform(1 / (n + 1) + 1e-6, 0.9))
        assert share_threshold(maps, rate) == plain_share(maps, rate)


@simulations(200, 2000)
def test_share_of_cells_is_held_in_the_mean(rng, simulations):
    """Cells of a person depend on each other: each has a level of their own."""
    rate, n, shares = 0.15, 12, []
    for _ in range(simulations):
        maps = rng.normal(size=(n + 1, 60)) + 1.5 * rng.normal(size=(n + 1, 1))
        shares.append(np.mean(maps[-1] > share_threshold(list(maps[:-1]), rate)))
    assert np.mean(shares) <= rate + 3 * np.std(shares) / np.sqrt(simulations)


def made(rng, n, *, age_effect=0.0, group_effect=0.0):
    table = pd.DataFrame({"subject": [f"s{i}" for i in range(n)], "age": rng.uniform(20, 80, n), "sex": rng.choice(["F", "M"], n)})
    level = age_effect * table["age"] + group_effect * (table["sex"] == "M")
    summaries = []
    for i in range(n):
        cells = (rng.normal(size=30) + 5 + level[i]).astype(np.float32)
        summaries.append(Summary(float(rng.normal() + level[i]), float(cells.mean(dtype=float)), cells))
    return table, summaries


def thresholds(rng, *, groups=(), covariates=(), n=60, **effects):
    validation, found = made(rng, n, **effects)
    training, expected = made(rng, 80, **effects)
    return calibrate(
        "here", validation, found, rate=0.1, cell_rate=0.1, groups=groups, covariates=covariates, training=training, expected=expected,
    )  # fmt: skip


def test_groups_have_thresholds_of_their_own(rng):
    """Each sex keeps the rate, where one threshold for all gives one of them every alarm."""
    rates = {"own": {"F": [], "M": []}, "one": {"F": [], "M": []}}
    for _ in range(15):
        tested, found = made(rng, 400, group_effect=4.0)
        for name, groups in (("own", ["sex"]), ("one", [])):
            limits = thresholds(rng, groups=groups, group_effect=4.0).scan.of(tested, "here")
            alarm = np.array([one.score for one in found]) > limits
            for sex in "FM":
                rates[name][sex].append(alarm[tested["sex"] == sex].mean())
    assert all(np.mean(rates["own"][sex]) < 0.13 for sex in "FM")
    assert np.mean(rates["one"]["M"]) > 0.15
    assert np.mean(rates["one"]["F"]) < 0.02


def test_age_is_taken_out_by_the_training_people(rng):
    tested, found = made(rng, 2000, age_effect=0.2)
    made_by = thresholds(rng, covariates=["age"], n=300, age_effect=0.2)
    scores, old = np.array([one.score for one in found]), tested["age"] > 65
    for limits, most in ((made_by.scan.of(tested, "here"), 0.17), (thresholds(rng, n=300, age_effect=0.2).scan.of(tested, "here"), 1)):
        alarm = scores > limits
        assert alarm[old].mean() <= most
    assert alarm[old].mean() > 0.25  # without: the old have the alarms
    share = np.mean([np.mean(one.cells > limit) for one, limit in zip(found, made_by.share.of(tested, "here"), strict=True)])
    assert share < 0.12


def test_a_group_without_validation_people_is_an_error(rng):
    limits = thresholds(rng, groups=["sex"]).scan
    with pytest.raises(ValueError, match="no healthy validation person has sex=X"):
        limits.of(pd.DataFrame({"sex": ["X"]}), "here")


def test_a_small_group_is_an_error_that_names_it(rng):
    validation, found = made(rng, 40)
    validation["sex"] = ["F"] * 36 + ["M"] * 4
    with pytest.raises(ValueError, match=r"scans \(sex=M\): 4 healthy validation people"):
        calibrate("here", validation, found, rate=0.1, cell_rate=0.1, groups=["sex"], covariates=[], training=validation, expected=[])


def test_a_person_counts_once_with_the_highest_scan():
    table = pd.DataFrame({"subject": [f"s{i // 2}" for i in range(20)]})
    found = [Summary(float(i)) for i in range(20)]
    kept = calibrate("here", table, found, rate=0.1, cell_rate=0.1, groups=[], covariates=[], training=table, expected=[])
    assert kept.scan.of(table, "here").tolist() == [19.0] * 20  # 10 people: ⌈11 · .9⌉ = the largest of 1, 3 … 19
    assert kept.scan.n == {(): 10}
    assert kept.share is None


def test_a_regression_needs_people():
    with pytest.raises(ValueError, match="5 training scans are too few, expected 11"):
        Adjustment.fit(pd.DataFrame({"age": range(5)}), ["age"], np.zeros(5))
