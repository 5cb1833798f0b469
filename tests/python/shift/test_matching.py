"""Matching against brute force."""

import itertools

import numpy as np
import pandas as pd
import pytest

import sslmed as sm
from sslmed.shift import matching


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def cohort(name, ages, sexes):
    table = pd.DataFrame({"subject": [f"{name}{i}" for i in range(len(ages))], "age": ages, "sex": sexes})
    return sm.Cohort.from_arrays([np.zeros((2, 500))] * len(ages), 100, ["Cz", "Pz"], table, name=name)


def test_matching_equals_brute_force(rng):
    for _ in range(15):
        a = cohort("a", rng.uniform(20, 40, 4).round(1), rng.choice(["F", "M"], 4))
        b = cohort("b", rng.uniform(20, 40, 6).round(1), rng.choice(["F", "M"], 6))
        x, y = a.subjects, b.subjects
        best = (0, 0.0)
        for order in itertools.permutations(range(6), 4):
            cost = [abs(x["age"][i] - y["age"][j]) / 3 for i, j in enumerate(order) if x["sex"][i] == y["sex"][j] and abs(x["age"][i] - y["age"][j]) <= 3]
            best = max(best, (len(cost), -sum(cost)))
        if best[0] == 0:
            with pytest.raises(ValueError, match="no two subjects"):
                matching.match(a, b, {"age": 3.0, "sex": None})
            continue
        result = matching.match(a, b, {"age": 3.0, "sex": None})
        assert len(result.pairs) == best[0]
        assert result.pairs["distance"].sum() == pytest.approx(-best[1])
        assert len(result.a) == len(result.b) == best[0]


def test_balance_before_and_after(rng):
    a = cohort("a", rng.normal(35, 8, 60), rng.choice(["F", "M"], 60, p=[0.3, 0.7]))
    b = cohort("b", rng.normal(50, 10, 80), rng.choice(["F", "M"], 80, p=[0.7, 0.3]))
    table = sm.shift.match(a, b, {"age": 2.0, "sex": None}).balance.set_index("column")
    x, y = a.subjects["age"], b.subjects["age"]
    assert table.loc["age", "before"] == pytest.approx((y.mean() - x.mean()) / np.sqrt((x.var() + y.var()) / 2))
    assert abs(table.loc["age", "after"]) < 0.2 < table.loc["age", "before"]
    assert table.loc["sex", "after"] == 0
    for on in ({}, {"nothing": None}, {"age": -1.0}, {"sex": 2.0}):
        with pytest.raises(ValueError):
            sm.shift.match(a, b, on)
