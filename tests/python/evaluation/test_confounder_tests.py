"""Conditional permutation tests against mlconfound, against enumeration, and their level."""

import itertools

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from sslmed.evaluation.confounding import full_confounder_test, partial_confounder_test, permutation


def drawn(case, n=120):
    """Target, predictions that follow the confounder ever more, and confounder; what mlconfound 0.21.3 says of them is below."""
    rng = np.random.default_rng(case)
    strength = [0.05, 0.15, 0.25, 0.4][case % 4]
    if case < 4:
        y = rng.integers(2, size=n)
        c = 10 * y + rng.normal(0, 8, n)
        return np.where(y > 0, "b", "a"), y + strength * c / 8 + rng.normal(size=n), c
    y = rng.normal(size=n)
    c = 0.5 * y + rng.normal(size=n)
    return y, y + strength * c + rng.normal(size=n), c


# partial_confound_test(…, num_perms=2000, cond_dist_method="linear", cat_y=case < 4, random_state=1).p
MLCONFOUND = [0.4225, 0.0025, 0.008, 0.0005, 0.081, 0.019, 0.218, 0.0025]


@pytest.mark.parametrize("case", range(8))
def test_p_values_are_of_the_size_of_mlconfounds(case):
    # Its statistic is the whole R² of predictions and confounder, which sees one direction; ours sees both, so p may be twice as large.
    assert partial_confounder_test(*drawn(case)).p == pytest.approx(MLCONFOUND[case], abs=0.02 + MLCONFOUND[case])


def test_the_statistic_is_the_difference_of_two_r2():
    y, predicted, c = drawn(0)
    rows = pd.DataFrame({"y": y, "p": predicted, "c": c})
    both, alone = (smf.ols(formula, rows).fit().rsquared for formula in ("p ~ C(y) + c", "p ~ C(y)"))
    assert partial_confounder_test(y, predicted, c, draws=9).statistic == pytest.approx(both - alone)
    site = np.array(list("uvw"))[np.digitize(c, [0, 10])]
    both = smf.ols("p ~ C(y) + C(s)", rows.assign(s=site)).fit().rsquared
    found = partial_confounder_test(y, predicted, site, draws=99)
    assert found.statistic == pytest.approx(both - alone)
    assert found.n == 120
    assert found.expected < found.upper
    kinds = np.array(list("uvw"))[np.digitize(predicted, [0, 1])]
    assert partial_confounder_test(y, kinds, c, draws=99).statistic > 0


def test_permutations_within_classes_equal_enumeration():
    rng = np.random.default_rng(1)
    y, c = np.repeat(["a", "b"], 4), rng.normal(size=8)
    predicted = c + 0.7 * rng.normal(size=8)

    def explained(values):
        x = np.column_stack([y == "a", y == "b"]).astype(float)
        left = predicted - x @ np.linalg.lstsq(x, predicted, rcond=None)[0]
        own = values - x @ np.linalg.lstsq(x, values, rcond=None)[0]
        return (own @ left) ** 2 / (own @ own)

    null = [explained(c[[*a, *(4 + np.array(b))]]) for a in itertools.permutations(range(4)) for b in itertools.permutations(range(4))]
    exact = np.mean(np.array(null) >= explained(c) - 1e-12)
    assert partial_confounder_test(y, predicted, c, draws=5000).p == pytest.approx(exact, abs=0.02)


def test_permutations_keep_the_relation_to_what_is_held_fixed():
    rng = np.random.default_rng(0)
    z = pd.Series(rng.normal(size=150))
    for moved in (0.8 * z + 0.6 * rng.normal(size=150), pd.Series(np.where(z + rng.normal(size=150) > 0, "x", "y"))):
        orders = permutation._orders(moved, z, 200, rng)
        assert (np.sort(orders, axis=1) == np.arange(150)).all()
        values = moved.to_numpy() if moved.dtype == float else (moved == "x").to_numpy(float)
        kept = np.array([np.corrcoef(values[order], z)[0, 1] for order in orders])
        assert kept.mean() == pytest.approx(np.corrcoef(values, z)[0, 1], abs=0.05)
        assert (orders != np.arange(150)).mean() > 0.9


def level(kind, runs, n=60, draws=99, effect=0.0):
    """Share of runs with p <= .05 where predictions follow the target, and the confounder by ``effect``."""
    small = []
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        if kind == "classes":
            y = rng.integers(2, size=n)
            target, c = np.where(y > 0, "a", "b"), 1.2 * y + rng.normal(size=n) * np.where(y > 0, 0.5, 1.5)
        else:
            target = y = rng.normal(size=n)
            c = 0.7 * y + rng.normal(size=n)
        predicted = y + effect * c + rng.normal(size=n)
        if kind == "categories":
            c = np.array(["p", "q", "r"])[np.digitize(c, [-0.5, 0.5])]
        small.append(partial_confounder_test(target, predicted, c, draws=draws, seed=seed).p <= 0.05)
    return np.mean(small)


@pytest.mark.parametrize("kind", ["classes", "numbers", "categories"])
def test_level_and_power(kind):
    assert level(kind, 40) < 0.15
    assert level(kind, 10, effect=1.5) > 0.5


def test_the_full_test_tells_a_model_of_the_confounder_from_one_of_the_target():
    found = {0.0: [], 1.0: []}
    for effect, p in found.items():
        for seed in range(25):
            rng = np.random.default_rng(seed)
            y = rng.integers(2, size=80)
            c = y + rng.normal(size=80)
            p.append(full_confounder_test(np.where(y > 0, "a", "b"), c + effect * y + rng.normal(size=80), c, draws=99).p <= 0.05)
    assert np.mean(found[0.0]) < 0.17
    assert np.mean(found[1.0]) > 0.6


def test_rows_of_a_person_count_once_and_the_seed_fixes_the_result():
    y, predicted, c = drawn(1, 40)
    once = partial_confounder_test(y, predicted, c, draws=99, seed=3)
    who = np.repeat(np.arange(40), 3)
    thrice = partial_confounder_test(np.repeat(y, 3), np.repeat(predicted, 3), np.repeat(c, 3), draws=99, seed=3, groups=who)
    assert thrice.n == 40
    assert thrice.statistic == pytest.approx(once.statistic)
    assert thrice.p == once.p
    assert partial_confounder_test(y, predicted, c, draws=99, seed=4) != once
    assert partial_confounder_test(y, np.full(40, 0.3), c, draws=9).p == 1
