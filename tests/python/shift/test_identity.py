import numpy as np
import pandas as pd
import pytest

import sslmed as sm
from sslmed.evaluation import metrics, probes
from sslmed.evaluation.adaptation import RemoveIdentity
from sslmed.shift import identity_variance


def people(rng, n=12, rows=10, spread=2.0):
    """Features with one direction that tells people apart, and one that a condition within people moves."""
    subjects = np.repeat(np.arange(n), rows)
    condition = np.tile([0, 1], n * rows // 2)
    x = rng.normal(size=(n * rows, 6))
    x[:, 0] += spread * rng.normal(size=n)[subjects]
    x[:, 1] += 2 * condition
    return x, subjects, condition


def test_identity_is_between_subjects_variance(rng):
    x, subjects, _ = people(rng, spread=4.0)
    share, by_chance, p = identity_variance(x, subjects)
    z = (x - x.mean(0)) / x.std(0)
    between = sum(len(z[subjects == s]) * (z[subjects == s].mean(0) ** 2).sum() for s in range(12))
    assert share == pytest.approx(between / (z**2).sum())
    assert share > by_chance
    assert p < 0.05
    # By chance: (groups - 1) / (rows - 1) of it.
    assert by_chance == pytest.approx(11 / 119, abs=0.01)
    nobody = identity_variance(rng.normal(size=(120, 6)), subjects)
    assert nobody[2] > 0.001


def test_removing_identity_leaves_what_varies_within(rng):
    x, subjects, condition = people(rng, n=40, spread=5.0)
    other, others, their_condition = people(rng, n=40, spread=5.0)
    fitted = RemoveIdentity().fit(x, groups=subjects)
    clean, moved = fitted.transform(x), fitted.transform(other)
    assert identity_variance(clean, subjects)[0] < 0.5 * identity_variance(x, subjects)[0]
    assert identity_variance(moved, others)[0] < 0.7 * identity_variance(other, others)[0]  # who was never seen
    for features, labels in ((clean, condition), (moved, their_condition)):
        assert features[labels == 1].mean(0)[1] - features[labels == 0].mean(0)[1] > 1.0  # of 2, with a standard error of .1
    # Test rows have no say in it.
    assert np.array_equal(clean, RemoveIdentity().fit(x, other + 1000, groups=subjects).transform(x))


@pytest.mark.parametrize(
    ("subjects", "directions"), [(np.zeros(20), 1), (np.arange(20), 1), (np.repeat([0, 1], 10), 2), (np.repeat([0, 1], 10), 0), (np.arange(3), 1)]
)
def test_refusals(rng, subjects, directions):
    with pytest.raises(ValueError):
        RemoveIdentity(directions).fit(rng.normal(size=(20, 3)), groups=subjects)


def test_a_probe_that_does_not_look_at_who_it_is(rng):
    # Who somebody is and what the condition does go through all features, and the first is much larger.
    subjects, condition = np.repeat(np.arange(20), 4), np.tile([0, 1], 40)
    labels, folds = condition.astype(str), [(np.flatnonzero(subjects % 4 != k), np.flatnonzero(subjects % 4 == k)) for k in range(4)]
    found = np.zeros(2)
    for _ in range(10):
        who, what = rng.normal(size=(2, 10))
        x = np.outer(15 * rng.normal(size=20)[subjects], who) + np.outer(condition, what) + 0.5 * rng.normal(size=(80, 10))
        for i, adaptation in enumerate(("none", "identity")):
            out = probes.cross_predict(x, labels, subjects, folds, "knn", False, adaptation=adaptation)
            found[i] += metrics.score("balanced_accuracy", labels, out, np.array(["0", "1"])) / 10
    assert found[1] > found[0] + 0.05, found


def test_it_is_an_option_of_transfer_where_people_come_more_than_once(rng):
    x = rng.normal(size=(24, 2, 400))
    table = pd.DataFrame({"subject": np.repeat([f"s{i}" for i in range(12)], 2), "y": ["a", "b"] * 12})
    cohort = sm.Cohort.from_arrays(x, 100, ["Cz", "O2"], table, name="c")
    rows = {a: sm.transfer(None, cohort, "y", baselines=("band power", "riemann"), adaptation=a, bootstrap=20).wide() for a in ("none", "identity")}
    assert not np.allclose(rows["none"]["band power: a"], rows["identity"]["band power: a"])
    assert np.allclose(rows["none"]["riemann: a"], rows["identity"]["riemann: a"])  # covariances have no such direction
    once = sm.Cohort.from_arrays(x, 100, ["Cz", "O2"], table.assign(subject=range(24)), name="once")
    with pytest.raises(ValueError, match="more than one row of some"):
        sm.transfer(None, once, "y", baselines=("band power",), adaptation="identity")
    with pytest.raises(ValueError, match="bias_correction=True cannot be combined"):
        sm.transfer(None, cohort.with_columns(age=range(24)), "age", adaptation="identity", bias_correction=True)
