"""Attempts to let test subjects have a say, through the public interface: each is refused, or shown to have no effect."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import KFold

import sslmed as sm
from sslmed.evaluation import probes

CLASSICAL = ["dummy", "band power"]


def cohort(name, n=24, gain=1.0, seed=0):
    rng = np.random.default_rng(seed)
    age = rng.uniform(20, 70, n)
    x = rng.normal(size=(n, 3, 1200)) * gain * np.exp(age / 100)[:, None, None]
    table = pd.DataFrame({"subject": [f"{name}{i}" for i in range(n)], "age": age, "y": rng.choice(["a", "b"], n)})
    return sm.Cohort.from_arrays(x, 100, ["Fp1", "Cz", "O2"], table, name=name)


def test_a_subject_on_both_sides_is_refused():
    a = cohort("s")
    with pytest.raises(ValueError, match="24 subjects are in training and test data at once"):
        sm.transfer(None, a, "age", test=a, bootstrap=10)
    with pytest.raises(ValueError, match="at once: s0"):
        sm.transfer(None, a, "age", test=a.subset(np.arange(24) == 0), bootstrap=10)


def test_folds_that_leak_are_refused():
    """Folds over recordings share subjects where these have several."""
    for cv in ([(np.arange(12), np.arange(24))], 1, "recordings"):
        with pytest.raises(ValueError, match="cv"):
            sm.transfer(None, cohort("s"), "age", cv=cv, bootstrap=10)
    twice = cohort("s").with_columns(subject=np.repeat([f"s{i}" for i in range(12)], 2))
    with pytest.raises(ValueError, match=r"cv, fold 0: subject 's.*in training and test data at once"):
        sm.transfer(None, twice, "age", cv=KFold(4, shuffle=True, random_state=0), bootstrap=10)


def test_several_recordings_of_a_subject_stay_together():
    a = cohort("s")
    doubled = sm.Cohort.from_arrays(
        np.random.default_rng(1).normal(size=(48, 3, 1200)), 100, ["Fp1", "Cz", "O2"], pd.concat([a.table, a.table], ignore_index=True)[["subject", "age", "y"]]
    )
    for k in (2, 5, "loso"):
        for train, test in doubled.folds(k):
            assert not set(doubled.table["subject"].iloc[train]) & set(doubled.table["subject"].iloc[test])


@pytest.mark.parametrize("protocol", ["linear", "knn"])
def test_a_subjects_own_label_and_features_change_nothing_for_the_others_fit(protocol):
    """What is fitted for a fold (scaling, strength, probe, bias correction) does not move when its test subjects are changed."""
    rng = np.random.default_rng(0)
    x, y, groups = rng.normal(size=(40, 5)), rng.uniform(20, 70, 40), np.arange(40).astype(str)
    folds = [(np.arange(10, 40), np.arange(10)), (np.arange(10), np.arange(10, 40))]
    spoiled_x, spoiled_y = x.copy(), y.copy()
    spoiled_x[:9] += 1000.0
    spoiled_y[:10] += 1000.0
    for predict in (
        lambda x, y: probes.cross_predict(x, y, groups, folds[:1], protocol, True),
        lambda x, y: probes.corrected_predict(x, y, groups, folds[:1], protocol),
    ):
        # Row 9 is in the test part with its own features: its prediction comes from subjects 10 to 39 alone.
        assert predict(spoiled_x, spoiled_y)[9] == predict(x, y)[9]


def test_a_bias_correction_cannot_be_applied_to_whom_it_was_fitted_on():
    ages = np.arange(20.0, 40.0)
    correction = sm.evaluation.brain_age.BiasCorrection().fit(ages, ages, groups=[f"s{i}" for i in range(20)])
    with pytest.raises(ValueError, match="training and test data at once"):
        correction.transform(ages, groups=[f"s{i}" for i in range(20)])


def test_an_adaptation_inside_one_cohort_is_refused():
    """Within a cohort the test part of a fold is not a population that one has: its statistics would come from test subjects."""
    with pytest.raises(ValueError, match="needs a cohort to adapt to"):
        sm.transfer(None, cohort("s"), "age", adaptation="normalize", bootstrap=10)


def test_adaptations_and_corrections_through_transfer():
    a, b = cohort("a", 40), cohort("b", 40, gain=10.0, seed=1)
    plain = sm.transfer(None, a, "age", test=b, bootstrap=50, bias_correction=True, baselines=CLASSICAL)
    rows = plain.table.set_index(["row", "metric"])["value"]
    assert list(dict.fromkeys(plain.table["row"])) == ["dummy", "band power", "band power, bias-corrected"]
    adapted = sm.transfer(None, a, "age", test=b, bootstrap=50, adaptation="normalize", baselines=CLASSICAL).table.set_index(["row", "metric"])["value"]
    assert adapted["band power", "mae"] < 0.5 * rows["band power", "mae"]
    for how in ("coral", "importance"):
        assert np.isfinite(sm.transfer(None, a, "age", test=b, bootstrap=20, adaptation=how).table["value"].dropna()).all()
    with pytest.raises(ValueError, match="protocol='knn' takes no weights"):
        sm.transfer(None, a, "age", test=b, protocol="knn", adaptation="importance", bootstrap=10)
    with pytest.raises(ValueError, match="made of classes"):
        sm.transfer(None, a, "y", bias_correction=True, bootstrap=10)
    within = sm.transfer(None, a, "age", repeats=2, bias_correction=True, baselines=CLASSICAL, compare="dummy")
    assert list(within.comparisons["against"]) == ["dummy", "chance"]
    assert (within.comparisons["p_holm"] >= within.comparisons["p"]).all()
    assert within.wide()["band power, bias-corrected"].notna().all()
    elsewhere = sm.transfer(None, a, "age", test=b, bootstrap=50, baselines=CLASSICAL, compare="dummy").comparisons
    assert list(elsewhere["against"]) == ["dummy"]
    assert elsewhere[["low", "high"]].isna().all(axis=None)  # a permutation test has no interval


def test_comparisons_confusion_and_calibration():
    elsewhere = sm.transfer(None, cohort("s", 40), "y", test=cohort("t", 40, seed=1), bootstrap=100, baselines=CLASSICAL, compare="dummy").comparisons
    assert list(elsewhere["test"]) == ["exchanged predictions, these fitted models", "DeLong, these fitted models"]
    result = sm.transfer(None, cohort("s", 40), "y", repeats=2, baselines=CLASSICAL, compare="dummy")
    assert list(result.comparisons["test"]) == ["left-out people, t"] * 3
    assert list(result.comparisons["against"]) == ["dummy", "dummy", "chance"]
    for compared in (elsewhere, result.comparisons):
        assert list(compared.columns) == ["row", "against", "metric", "difference", "low", "high", "p", "p_holm", "test"]
        area = compared.iloc[1]
        assert area["low"] < area["difference"] < area["high"]
    counts = result.confusion("band power")
    assert counts.to_numpy().sum() == 40
    assert result.calibration("band power", "b", bins=4)["n"].sum() == 40
    for call in (lambda: result.confusion("none"), lambda: result.calibration("band power", "c")):
        with pytest.raises(ValueError):
            call()
