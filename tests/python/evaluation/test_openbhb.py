import doctest

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import balanced_accuracy_score, mean_absolute_error, r2_score
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

import sslmed as sm
from sslmed.evaluation import openbhb

SITES = ("x", "y", "z")


def board(rng, n=120, m=30, noise=1.0, strength=1.0, dim=6):
    """Features that hold the age and the site of internal people, and external people of one more site."""
    ages = rng.uniform(20, 80, n + m)
    site = np.concatenate([np.array(SITES)[np.arange(n) % 3], np.full(m, "w")])
    x = 0.3 * noise * rng.normal(size=(n + m, dim))
    x[:, 0] += ages / 20
    x[:, 1] += strength * np.select([site == "x", site == "y"], [2.0, -2.0], 0.0)
    table = pd.DataFrame({"subject": [f"s{i}" for i in range(n + m)], "age": ages, "site": site})
    return x[:n], table[:n], x[n:], table[n:]


def values(found, row="features"):
    return found[found["row"] == row].set_index("metric")["value"]


def test_a_case_by_hand(monkeypatch):
    # Fits that predict 50 years and the site "a": what is left is arithmetic.
    class Fifty:
        def predict(self, x):
            return np.full(len(x), 50.0)

    class First:
        def predict(self, x):
            return np.zeros(len(x), int)

    monkeypatch.setattr(openbhb, "_age", lambda *args: Fifty())
    monkeypatch.setattr(openbhb, "_site", lambda *args: First())
    ages = [40.0, 60.0, 70.0, 50.0, 50.0, 44.0, 54.0, 52.0]
    internal = pd.DataFrame({"subject": list("pqrstuvw"), "age": ages, "site": list("aabbaabb")})
    external = pd.DataFrame({"subject": ["k", "k", "l"], "age": [58.0, 58.0, 46.0]})
    test = np.arange(8) < 3
    found = openbhb.openbhb_score(np.zeros((8, 1)), internal, np.zeros((3, 1)), external, test=test, draws=10)
    features = values(found)
    assert features["mae_internal"] == pytest.approx((10 + 10 + 20) / 3)
    assert features["mae_external"] == pytest.approx((8 + 4) / 2)  # two rows of k are one vote
    assert features["site_balanced_accuracy"] == pytest.approx(0.5)  # all of a, none of b
    assert features["openbhb"] == pytest.approx(6 * 0.5**0.3)
    dummy = values(found, "dummy")  # the mean of 50, 50, 44, 54 and 52
    assert dummy["mae_internal"] == pytest.approx((10 + 10 + 20) / 3)
    assert dummy["site_balanced_accuracy"] == 0.5
    assert found["n_subjects"].tolist() == [3, 2, 3, 5] * 2


def picked(models, score, x, y, folds):
    """The model with the best mean score over folds, by plain loops."""
    best = max(models, key=lambda model: np.mean([score(y[b], model.fit(x[a], y[a]).predict(x[b])) for a, b in folds]))
    return best.fit(x, y)


def reference(x, table, x_external, table_external, seed):
    """The two scores by scikit-learn alone, over five folds."""
    ages, site, who = table["age"].to_numpy(), table["site"].to_numpy(), table["subject"].to_numpy()
    who = np.unique(who, return_inverse=True)[1]
    ridges = [Ridge(alpha) for alpha in (0.01, 0.1, 1, 10, 100)]
    logistics = [LogisticRegression(C=c, max_iter=10_000) for c in (0.01, 0.1, 1, 10, 100)]
    grouped = GroupKFold(5, shuffle=True, random_state=seed)
    stratified = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    years, place = np.zeros(len(x)), np.empty(len(x), object)
    for a, b in stratified.split(x, site, who):
        years[b] = picked(ridges, r2_score, x[a], ages[a], list(grouped.split(x[a], None, who[a]))).predict(x[b])
        inner = list(stratified.split(x[a], site[a], who[a]))
        place[b] = picked(logistics, balanced_accuracy_score, x[a], site[a], inner).predict(x[b])
    model = picked(ridges, r2_score, x, ages, list(grouped.split(x, None, who)))
    outside = mean_absolute_error(table_external["age"], model.predict(x_external))
    balanced = balanced_accuracy_score(site, place.astype(str))
    return mean_absolute_error(ages, years), outside, balanced, outside * balanced**0.3


@pytest.mark.parametrize("strength", [0.0, 0.3, 2.0])
def test_scikit_learn_alone_gives_the_same(rng, strength):
    given = board(rng, strength=strength)
    found = values(openbhb.openbhb_score(*given, seed=3, draws=2))
    np.testing.assert_allclose(found.to_numpy(), reference(*given, seed=3), rtol=1e-9)


def test_an_internal_test_set_is_never_fitted(rng):
    x, table, x_external, external = board(rng)
    test = np.arange(len(x)) % 4 == 0
    found = openbhb.openbhb_score(x, table, x_external, external, test=test)
    assert found["n_subjects"].tolist() == [30, 30, 30, 60] * 2
    strange = table.assign(age=table["age"].where(~test, 20 + 60 * rng.random(len(x))))
    again = values(openbhb.openbhb_score(x, strange, x_external, external, test=test))
    assert again["mae_external"] == values(found)["mae_external"]
    assert again["mae_internal"] > values(found)["mae_internal"]


def test_what_the_score_is_for(rng):
    # The same ages with and without the scanner; noise alone is worth a dummy.
    given = [board(np.random.default_rng(7), strength=strength) for strength in (0, 2)]
    clean, scanner = (values(openbhb.openbhb_score(*one, draws=2)) for one in given)
    assert clean["openbhb"] < scanner["openbhb"]
    assert scanner["site_balanced_accuracy"] > 0.95
    assert abs(clean["site_balanced_accuracy"] - 1 / 3) < 0.15
    x, table, x_external, external = board(rng)
    noise = openbhb.openbhb_score(rng.normal(size=x.shape), table, rng.normal(size=x_external.shape), external, draws=2)
    assert values(noise)["mae_external"] == pytest.approx(values(noise, "dummy")["mae_external"], rel=0.15)


def test_rows_of_a_person_share_a_vote_and_a_side(rng):
    x, table, x_external, external = board(rng)
    twice = pd.concat([table, table.iloc[:30]], ignore_index=True)
    found = openbhb.openbhb_score(np.concatenate([x, x[:30]]), twice, x_external, external, draws=2)
    assert found["n_subjects"].tolist() == [120, 30, 120, 150] * 2
    with pytest.raises(ValueError, match="openbhb_score: test: 1 subject is in training and test data at once: s0"):
        openbhb.openbhb_score(np.concatenate([x, x[:30]]), twice, x_external, external, test=np.arange(150) == 0)


def test_intervals_hold_the_score_and_narrow_with_people(rng):
    few = openbhb.openbhb_score(*board(rng, n=60, m=12))
    many = openbhb.openbhb_score(*board(rng, n=300, m=200))
    for found in (few, many):
        known = found[found["low"].notna()]
        assert (known["low"] <= known["value"]).all()
        assert (known["value"] <= known["high"]).all()
    width = [found.set_index(["row", "metric"]).loc[("features", "openbhb"), ["low", "high"]] for found in (few, many)]
    assert width[1]["high"] - width[1]["low"] < width[0]["high"] - width[0]["low"]
    assert few.set_index(["row", "metric"]).loc[("dummy", "site_balanced_accuracy"), ["low", "high"]].isna().all()


def test_the_same_seed_gives_the_same_table(rng):
    given = board(rng)
    pd.testing.assert_frame_equal(openbhb.openbhb_score(*given, seed=4), openbhb.openbhb_score(*given, seed=4))
    assert sm.evaluation.openbhb_score is openbhb.openbhb_score


def test_examples_run():
    assert doctest.testmod(openbhb).failed == 0
