"""Adjusted areas, differences between classes, covariates and confound regression against naive versions and known values."""

import doctest
import importlib
import pkgutil
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.linear_model import LinearRegression

from sslmed._core import ValueWarning
from sslmed.evaluation import confounding as cf
from sslmed.evaluation.confounding.adjusted import SHRINKAGE
from sslmed.evaluation.metrics import auroc


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def people(rng, n, *, gap=10.0, effect=0.0, slope=0.1):
    """Cases that are older by ``gap`` years; scores that follow age, the disease's own ``effect`` and a noise of deviation 1."""
    patient = np.arange(n) % 2 == 0
    age = 50 + gap * patient + rng.normal(0, 8, n)
    return patient, slope * age + effect * patient + rng.normal(size=n), age[:, None]


def naive(positive, scores, covariates, fold=None):
    """The definition, with loops: slopes of each fold's controls, drawn to the common ones; all pairs of a fold."""
    fold = np.zeros(len(scores), int) if fold is None else fold
    names = np.unique(fold)
    centered = {f: covariates[fold == f] - covariates[(fold == f) & ~positive].mean(axis=0) for f in names if ((fold == f) & ~positive).any()}
    left = {f: scores[fold == f] - scores[(fold == f) & ~positive].mean() for f in centered}
    x, s = (np.concatenate([v[f][~positive[fold == f]] for f in centered]) for v in (centered, left))
    common = np.linalg.lstsq(x, s, rcond=1e-10)[0]
    informed = sum((~positive[fold == f]).sum() > 1 for f in names)
    won = pairs = 0.0
    for f in centered:
        mine = positive[fold == f]
        residual = left[f] - centered[f] @ common
        own = centered[f][~mine]
        residual = residual - centered[f] @ np.linalg.pinv(own.T @ own + SHRINKAGE * x.T @ x / informed, rcond=1e-12) @ own.T @ residual[~mine]
        for case in residual[mine]:
            for control in residual[~mine]:
                won += (case > control) + 0.5 * (case == control)
                pairs += 1
    return won / pairs


def test_one_model_equals_placement_among_control_residuals(rng):
    patient, scores, age = people(rng, 90, effect=1)
    covariates = np.column_stack([age, rng.normal(size=90)])
    left = scores - LinearRegression().fit(covariates[~patient], scores[~patient]).predict(covariates)
    assert cf.adjusted_auroc(patient, scores, covariates) == pytest.approx(auroc(patient, left))
    assert cf.adjusted_auroc(patient, scores, covariates) == pytest.approx(naive(patient, scores, covariates))


def test_folds_equal_the_definition(rng):
    for q in (1, 3):
        patient, scores, age = people(rng, 60, effect=1)
        covariates = np.column_stack([age, rng.normal(size=(60, q - 1))])
        fold = rng.permutation(np.arange(60) % 5)
        scores = scores + 100 * fold  # models of other folds have other offsets
        assert cf.adjusted_auroc(patient, scores, covariates, fold=fold) == pytest.approx(naive(patient, scores, covariates, fold))


def test_folds_without_controls_or_cases_contribute_nothing(rng):
    patient, scores, age = people(rng, 40, effect=1)
    fold = np.arange(40) // 2 % 4
    more = np.r_[fold, 4, 4, 5], np.r_[patient, True, True, False], np.r_[scores, 9, 8, 7], np.vstack([age, [[50], [60], [70]]])
    assert cf.adjusted_auroc(more[1], more[2], more[3], fold=more[0]) == pytest.approx(cf.adjusted_auroc(patient, scores, age, fold=fold))
    assert np.isnan(cf.adjusted_auroc(patient, scores, age, fold=patient))


def test_sets_of_scores_and_of_labels_equal_one_by_one(rng):
    patient, scores, age = people(rng, 60)
    fold, many = np.arange(60) % 5, rng.normal(size=(60, 4))
    labels = np.stack([rng.permutation(patient) for _ in range(4)], axis=1)
    for given, areas in (
        ((patient, many), [(patient, many[:, i]) for i in range(4)]),
        ((labels, scores), [(labels[:, i], scores) for i in range(4)]),
        ((labels, many), [(labels[:, i], many[:, i]) for i in range(4)]),
    ):
        found = cf.adjusted_auroc(*given, age, fold=fold)
        np.testing.assert_allclose(found, [cf.adjusted_auroc(*pair, age, fold=fold) for pair in areas], atol=1e-12)


def test_scores_without_order_give_a_half_and_collinear_covariates_change_nothing(rng):
    patient, scores, age = people(rng, 60)
    fold = np.arange(60) % 5
    for constant in (0.0, 0.3, -1e6 / 3):
        assert cf.adjusted_auroc(patient, np.full(60, constant), age, fold=fold) == 0.5
        assert cf.adjusted_auroc(patient, np.full(60, constant), age) == 0.5
    twice = np.column_stack([age, 2 * age + 1, np.ones(60)])
    assert cf.adjusted_auroc(patient, scores, twice, fold=fold) == pytest.approx(cf.adjusted_auroc(patient, scores, age, fold=fold))
    assert cf.adjusted_auroc(patient, scores, np.zeros((60, 0))) == pytest.approx(auroc(patient, scores))


def test_a_true_effect_has_its_analytic_area():
    for effect in (0.5, 1.0):
        areas = []
        for seed in range(10):
            patient, scores, age = people(np.random.default_rng(seed), 2000, effect=effect)
            areas.append(cf.adjusted_auroc(patient, scores, age))
        assert np.mean(areas) == pytest.approx(norm.cdf(effect / np.sqrt(2)), abs=0.01)


def test_no_trace_of_the_disease_beyond_age_gives_a_half():
    areas = []
    for seed in range(200):
        patient, scores, age = people(np.random.default_rng(seed), 60)
        areas.append((auroc(patient, scores), cf.adjusted_auroc(patient, scores, age, fold=np.arange(60) // 2 % 5)))
    raw, adjusted = np.mean(areas, axis=0)
    assert raw > 0.65
    assert adjusted == pytest.approx(0.5, abs=0.02)


def test_log_odds_undo_the_logistic_function():
    values = np.array([-3.0, 0, 4])
    np.testing.assert_allclose(cf.log_odds(1 / (1 + np.exp(-values))), values)
    assert np.isfinite(cf.log_odds(np.array([0.0, 1.0]))).all()


def table(rng, n=40):
    group = np.repeat(["control", "patient"], n // 2)
    return pd.DataFrame(
        {
            "subject": [f"s{i}" for i in range(n)],
            "group": group,
            "age": np.where(group == "patient", 60, 50) + rng.normal(0, 8, n),
            "sex": rng.choice(["F", "M"], n),
            "site": rng.choice(["a", "b", "c"], n),
        }
    )


def test_differences_equal_their_formulas(rng):
    people = table(rng)
    found = cf.standardized_differences(people, "group", ["age", "sex", "site"]).set_index("column")
    x, y = (people[people["group"] == g] for g in ("control", "patient"))
    assert found.loc["age", "difference"] == pytest.approx((y["age"].mean() - x["age"].mean()) / np.sqrt((x["age"].var() + y["age"].var()) / 2))
    p, q = (float((t["sex"] == "M").mean()) for t in (x, y))
    assert found.loc["sex", "difference"] == pytest.approx(abs(p - q) / np.sqrt((p * (1 - p) + q * (1 - q)) / 2))
    # The distance of Yang and Dalton does not depend on which level is left out.
    renamed = people.assign(site=people["site"].map({"a": "z", "b": "y", "c": "x"}))
    assert found.loc["site", "difference"] == pytest.approx(cf.standardized_differences(renamed, "group", ["site"])["difference"][0])
    assert found.loc["age", "imbalanced"]
    assert found["classes"].tolist() == ["patient - control"] * 3
    assert found["n"].tolist() == [40] * 3


def test_differences_count_people_and_not_recordings(rng):
    people = table(rng)
    again = pd.concat([people, *[people[people["age"] > 60]] * 3], ignore_index=True)
    pd.testing.assert_frame_equal(cf.standardized_differences(again, "group", ["age", "sex"]), cf.standardized_differences(people, "group", ["age", "sex"]))


def test_differences_of_three_classes_name_the_worst_pair_and_count_what_is_missing(rng):
    people = pd.DataFrame({"subject": range(9), "dx": list("aaabbbccc"), "age": [1.0, 2, 3, 2, 3, 4, 9, 10, 11], "all": 1.0, "split": list("xxxxxxyyy")})
    people["some"] = [np.nan, 2, 3, 2, 3, np.nan, 9, 10, 11]
    people["none"] = np.nan
    found = cf.standardized_differences(people, "dx", ["age", "all", "split", "some", "none"]).set_index("column")
    assert found.loc["age", "classes"] == "c - a"
    assert found.loc["age", "difference"] == pytest.approx(8)
    assert found.loc["all", "difference"] == 0
    assert found.loc["split", "difference"] == np.inf
    assert found.loc["some", ["missing", "n"]].tolist() == [2, 5]
    assert np.isnan(found.loc["none", "difference"])
    assert found["imbalanced"].tolist() == [True, False, True, True, False]


def test_a_design_has_the_columns_of_training_rows():
    train = pd.DataFrame({"age": [60.0, np.nan, 70.0], "sex": ["M", "F", "F"], "left": [True, False, True]})
    levels = cf.covariate_levels(train, ["age", "sex", "left"])
    values, names = cf.design(train, ["age", "sex", "left"], levels=levels)
    assert names == ["age", "age missing", "sex: M", "left: True"]
    assert values.tolist() == [[60, 0, 1, 1], [65, 1, 0, 0], [70, 0, 0, 1]]
    same, _ = cf.design(train, ["age", "sex", "left"])
    assert same.tolist() == values.tolist()
    test = pd.DataFrame({"age": [np.nan, 50], "sex": [None, "M"], "left": [False, True]})
    with pytest.warns(ValueWarning, match="'sex' has 1 missing values"):
        values, again = cf.design(test, ["age", "sex", "left"], levels=levels)
    assert again == names
    assert values.tolist() == [[65, 1, 0, 0], [50, 0, 1, 1]]  # the most frequent sex stands for the missing one
    assert cf.design(train.assign(sex="F"), ["sex"])[0].shape == (3, 0)


def test_regress_out_removes_what_training_rows_show_and_nothing_else(rng):
    age, disease = rng.normal(size=(200, 2)), np.arange(200) % 2 == 0
    clean = rng.normal(size=(200, 4))
    x = clean + age @ rng.normal(size=(2, 4)) + 3
    train = np.arange(200) < 150
    found = cf.regress_out(x[train], age[train], x[~train], age[~train])
    model = LinearRegression().fit(age[train], x[train])
    np.testing.assert_allclose(found, x[~train] - model.predict(age[~train]))
    found = cf.regress_out(x[train], age[train], x, age, controls=~disease[train])
    model = LinearRegression().fit(age[train & ~disease], x[train & ~disease])
    np.testing.assert_allclose(found, x - model.predict(age))
    twice = np.column_stack([age, age[:, :1] * 1e6, np.ones(200)])
    np.testing.assert_allclose(cf.ConfoundRegression().fit(x, twice).transform(x, twice), cf.regress_out(x, age, x, age), atol=1e-6)


def test_controls_alone_keep_what_disease_shares_with_age(rng):
    patient, scores, age = people(rng, 400, effect=1.0)
    kept, lost = (cf.regress_out(scores[:, None], age, scores[:, None], age, controls=c)[:, 0] for c in (~patient, None))
    assert kept[patient].mean() - kept[~patient].mean() == pytest.approx(1, abs=0.25)
    assert lost[patient].mean() - lost[~patient].mean() < 0.8


MODULES = ["sslmed.evaluation.matching", *(f"{cf.__name__}.{m.name}" for m in pkgutil.iter_modules(cf.__path__))]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = doctest.testmod(importlib.import_module(name))
    assert found.failed == 0
    assert found.attempted > 0
