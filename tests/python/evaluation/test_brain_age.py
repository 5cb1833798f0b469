"""Bias correction and brain-age gaps on data whose bias and gaps are known."""

import warnings

import numpy as np
import pandas as pd
import pytest
from soak import near, simulations

import sslmed as sm
from sslmed.evaluation import brain_age, probes


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_bias_correction_frees_predictions_of_their_pull_to_the_mean(rng):
    age = rng.uniform(20, 80, 400)
    predicted = 50 + 0.5 * (age - 50) + rng.normal(size=400)
    subjects = np.array([f"s{i}" for i in range(400)])
    correction = brain_age.BiasCorrection().fit(predicted[:200], age[:200], groups=subjects[:200])
    corrected = correction.transform(predicted[200:], subjects[200:])
    assert np.polyfit(age[200:], corrected, 1)[0] == pytest.approx(1, abs=0.03)
    assert abs(np.corrcoef(corrected - age[200:], age[200:])[0, 1]) < 0.2
    assert np.corrcoef(predicted - age, age)[0, 1] < -0.9
    with pytest.raises(ValueError, match="training and test data at once: s0"):
        correction.transform(predicted[:1], subjects[:1])
    assert np.array_equal(correction.transform(predicted[:1]), correction.transform(predicted[:1], ["new"]))  # without names nobody is refused
    assert correction.slope_ == pytest.approx(0.5, abs=0.03)
    assert correction.intercept_ == pytest.approx(25, abs=1.5)
    assert correction.n_subjects_ == 200
    with pytest.warns(sm.WeakFitWarning, match="hardly follow age"):
        flat = brain_age.BiasCorrection().fit(np.full(400, 50.0), age)
    assert flat.slope_ == 0.1
    assert np.isfinite(flat.transform(np.array([50.0]))).all()
    with pytest.warns(sm.WeakFitWarning, match=r"slope 0\.200\): the correction spreads them, noise included, 5\.0 times"):
        brain_age.BiasCorrection().fit(40 + 0.2 * age, age)


def test_the_line_is_that_of_the_controls_and_of_people(rng):
    age, sick = rng.uniform(20, 80, 60), np.arange(60) % 2 == 0
    predicted = np.where(sick, 60.0, 25 + 0.5 * age)
    subjects = np.array([f"s{i}" for i in range(60)])
    correction = brain_age.BiasCorrection().fit(predicted, age, subjects, fitted_on=~sick)
    assert (correction.slope_, correction.intercept_, correction.n_subjects_) == pytest.approx((0.5, 25, 30))
    assert np.isfinite(correction.transform(predicted[sick], subjects[sick])).all()  # the line knows nothing of patients
    # One person of a hundred recordings is one person.
    noisy = predicted + rng.normal(size=60)
    rows = np.concatenate([np.arange(60), np.zeros(100, int)])
    once, often = (brain_age.BiasCorrection().fit(noisy[i], age[i], subjects[i]) for i in (np.arange(60), rows))
    assert (once.slope_, once.intercept_, once.n_subjects_) == pytest.approx((often.slope_, often.intercept_, often.n_subjects_))
    assert brain_age.BiasCorrection().fit(noisy[rows], age[rows]).n_subjects_ == 160


def test_corrected_predict_fits_its_line_on_controls_and_warns_once(rng):
    n = 80
    age, sick = rng.uniform(20, 80, n), rng.random(n) < 0.5
    x = np.column_stack([age + rng.normal(size=n) * 15, rng.normal(size=n)])
    subjects = np.arange(n)
    folds = [(np.flatnonzero(subjects % 4 != f), np.flatnonzero(subjects % 4 == f)) for f in range(4)]
    controls = probes.corrected_predict(x, age, subjects, folds, "linear", fitted_on=~sick)
    # By hand, for the first fold: the line of the training controls' out-of-fold predictions.
    train, test = folds[0]
    inner = list(probes.GroupKFold(5).split(x[train], age[train], train))
    inside = probes.cross_predict(x[train], age[train], train, inner, "linear", True)
    line = np.polyfit(age[train][~sick[train]], inside[~sick[train]], 1)
    plain = probes.fit_predict(x[train], age[train], train, x[test], None, "linear", True)
    assert controls[test] == pytest.approx((plain - line[1]) / line[0])
    assert not np.allclose(controls, probes.corrected_predict(x, age, subjects, folds, "linear"))
    with pytest.warns(sm.WeakFitWarning) as caught:
        probes.corrected_predict(rng.normal(size=(n, 2)), age, subjects, folds, "linear")
    assert len([w for w in caught if w.category is sm.WeakFitWarning]) == 1


def test_a_held_out_line_corrects_a_model_that_knows_its_training_data(rng):
    n = 120
    age, sick = np.repeat(rng.uniform(20, 80, n), 2), np.repeat(np.arange(n) % 3 == 0, 2)
    subjects = np.repeat([f"s{i}" for i in range(n)], 2)
    asked = []

    def predict(train, held):
        asked.append((train, held))
        return 25 + 0.5 * age[held] + rng.normal(size=len(held))

    line = brain_age.held_out_line(predict, age, subjects, fitted_on=~sick, share=0.25)
    (train, held) = asked.pop()
    assert not set(subjects[train]) & set(subjects[held])
    assert not sick[held].any()
    assert sorted([*train, *held]) == list(range(2 * n))
    assert line.n_subjects_ == 20 == len(np.unique(subjects[held]))
    assert age[held].min() < 35 < 65 < age[held].max()
    assert line.slope_ == pytest.approx(0.5, abs=0.05)
    assert line.transform(np.array([45.0, 55.0])) == pytest.approx([40, 60], abs=3)
    with pytest.raises(ValueError, match=f"training and test data at once: {subjects[held][0]}"):
        line.transform(np.array([45.0]), subjects[held][:1])
    other = brain_age.held_out_line(predict, age, subjects, fitted_on=~sick, share=0.25, seed=1)
    assert set(subjects[asked.pop()[1]]) != set(subjects[held])
    assert other.slope_ == pytest.approx(line.slope_, abs=0.05)
    with pytest.warns(sm.WeakFitWarning, match="rests on 4 people"):
        brain_age.held_out_line(predict, age[:40], subjects[:40])


def simulated(rng, n=60, gap=0.0, bent=False, patients=0.5, apart=20.0, spread=10.0, per=2, noise=4.0):
    """Predictions of people of two groups, ``apart`` years from each other, by a model whose bias depends on age; a gap of the patients' brains."""
    sick = np.arange(n) < round(n * patients)
    age = rng.normal(50 + apart * (sick - 0.5), spread)
    people = pd.DataFrame({"subject": [f"s{i}" for i in range(n)], "diagnosis": np.where(sick, "back", "control"), "sex": rng.choice(["F", "M"], n)})
    brain = age + gap * sick
    predicted = 50 + 22 * np.tanh((age - 50) / 22) + gap * sick if bent else 25 + 0.5 * brain
    person = predicted + rng.normal(size=n) * noise * np.where(sick, 1.5, 1.0)
    of = np.repeat(np.arange(n), per)
    predictions = {"row": "model", "subject": people["subject"].to_numpy()[of], "truth": age[of], "predicted": person[of] + rng.normal(size=n * per)}
    return pd.DataFrame(predictions), people


def compare(predictions, people, **options):
    return brain_age.gaps(predictions, people, **({"row": "model", "group": "diagnosis", "reference": "control"} | options))


def test_gaps_equal_the_regression_that_made_them(rng):
    n = 300
    group = np.array(["control", "back", "joint"] * (n // 3))
    age, sex = rng.uniform(30, 70, n), rng.choice(["F", "M"], n)
    gap = 3.0 * (group == "back") - 0.2 * (age - 50) + 1.5 * (sex == "M") + rng.normal(size=n)
    people = pd.DataFrame({"subject": [f"s{i}" for i in range(n)], "diagnosis": group, "age": age, "sex": sex})
    predictions = pd.DataFrame({"row": "model", "subject": people["subject"], "truth": age, "label": np.nan, "predicted": age + gap})
    predictions = pd.concat([predictions, predictions.assign(row="other", predicted=0.0)])
    table = compare(predictions, people, age_df=1).set_index("group")
    assert table.index[0] == "control"
    assert table.loc["back", "difference"] == pytest.approx(3, abs=0.5)
    assert table.loc["back", "low"] < 3 < table.loc["back", "high"]
    assert table.loc["back", "p_holm"] < 1e-6
    assert table.loc["joint", "p"] > 0.001
    # The same by hand: least squares on the design matrix, and the sandwich of HC3.
    x = np.column_stack([np.ones(n), group == "back", group == "joint", age, sex == "M"]).astype(float)
    inverse = np.linalg.inv(x.T @ x)
    beta = inverse @ x.T @ gap
    left = (gap - x @ beta) / (1 - np.einsum("ij,jk,ik->i", x, inverse, x))
    error = np.sqrt((inverse @ (x * left[:, None] ** 2).T @ x @ inverse)[1, 1])
    assert table.loc["back", "difference"] == pytest.approx(beta[1])
    assert table.loc["back", "high"] - table.loc["back", "difference"] == pytest.approx(1.968 * error, rel=1e-3)


def test_the_spline_is_the_natural_cubic_one_of_patsy(rng):
    from statsmodels.formula.api import ols

    predictions, people = simulated(rng, bent=True, per=1)
    table = compare(predictions, people)
    data = people.assign(age=predictions["truth"], gap=predictions["predicted"] - predictions["truth"])
    data["sick"] = (data["diagnosis"] == "back").astype(float)
    weight = 1 / data.groupby("diagnosis")["age"].transform("size").to_numpy()
    order = np.argsort(data["age"].to_numpy())
    reached = (np.cumsum(weight[order]) - weight[order] / 2) / weight.sum()
    inner = np.interp([1 / 3, 2 / 3], reached, data["age"].to_numpy()[order]).tolist()
    model = ols(f"gap ~ sick + cr(age, knots={inner}, constraints='center') + sex", data).fit(cov_type="HC3", use_t=True)
    assert table.loc[1, ["difference", "p"]].tolist() == pytest.approx([model.params["sick"], model.pvalues["sick"]])
    assert table.loc[1, ["low", "high"]].tolist() == pytest.approx(model.conf_int().loc["sick"].tolist())


def test_rows_stand_side_by_side_and_people_count_once(rng):
    predictions, people = simulated(rng, gap=5.0)
    corrected = predictions.assign(row="model, bias-corrected", predicted=(predictions["predicted"] - 25) / 0.5)
    table = compare(pd.concat([predictions, corrected]), people, row=["model", "model, bias-corrected"])
    assert table["row"].tolist() == ["model"] * 2 + ["model, bias-corrected"] * 2
    assert table["n_subjects"].tolist() == [30] * 4
    plain, twice = table.loc[[1, 3], "difference"]
    assert twice == pytest.approx(2 * plain)  # age is held constant, so that the correction scales the difference by 1 / slope
    assert table["p_holm"].max() == pytest.approx(min(1, 2 * table["p"].min()), abs=1e-6)
    rows = np.concatenate([np.arange(len(predictions)), np.tile([0, 1], 50)])  # a person of a hundred and two recordings
    assert compare(predictions.iloc[rows], people)["difference"].tolist() == pytest.approx(compare(predictions, people)["difference"].tolist())


def test_sex_may_be_the_group_and_the_group_no_covariate(rng):
    predictions, people = simulated(rng)
    table = compare(predictions, people, group="sex", reference="F")
    assert table["group"].tolist() == ["F", "M"]
    with pytest.raises(ValueError, match=r"covariates=\['age', 'diagnosis'\] must not have the group's own column 'diagnosis'"):
        compare(predictions, people, covariates=["age", "diagnosis"])
    with pytest.raises(ValueError, match="clinic tells the group 'back' exactly"):
        compare(predictions, people.assign(clinic=people["diagnosis"]), covariates=["age", "clinic"])
    # One person alone in a level of a covariate changes nothing but is no reason for a NaN.
    alone = people.assign(sex=np.where(np.arange(60) == 3, "other", people["sex"]))
    assert compare(predictions, alone).loc[1].notna().all()


def test_groups_whose_ages_hardly_overlap_are_named(rng):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        near_enough = compare(*simulated(rng, apart=5))
    assert near_enough.loc[1, "overlap"] > 0.7
    with pytest.warns(sm.WeakFitWarning, match=r"ages of 'back' and 'control' hardly overlap \(0\.0. of people\)"):
        far = compare(*simulated(rng, apart=40, spread=5))
    assert far.loc[1, "high"] - far.loc[1, "low"] > 2 * (near_enough.loc[1, "high"] - near_enough.loc[1, "low"])


@simulations(150, 2000)
@pytest.mark.parametrize(("n", "patients"), [(20, 0.5), (40, 0.25), (60, 0.5)])
def test_gaps_hold_their_level_where_bias_bends_with_age(simulations, n, patients):
    """Groups 20 years apart, patients who vary more, and no gap: at .05 the test rejects in .03 to .07."""
    rng = np.random.default_rng(n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sm.WeakFitWarning)
        p = [compare(*simulated(rng, n, bent=True, patients=patients)).loc[1, "p"] for _ in range(simulations)]
    assert near(np.mean(np.array(p) < 0.05), 0.05, simulations)


@simulations(150, 2000)
@pytest.mark.parametrize("bent", [False, True])
def test_gaps_find_a_gap_of_five_years(simulations, bent):
    """Of 60 people, with the line of 40 other controls: 5 ± .3 years, and intervals that hold it in .93 to .97."""
    rng, found, held = np.random.default_rng(1), [], 0
    for _ in range(simulations):
        predictions, people = simulated(rng, 60, gap=5.0, bent=bent)
        if not bent:
            others, them = simulated(rng, 80, apart=0, spread=15)
            controls = others["subject"].isin(them.loc[them["diagnosis"] == "control", "subject"]).to_numpy()
            line = brain_age.BiasCorrection().fit(others["predicted"], others["truth"], others["subject"].to_numpy(), fitted_on=controls)
            predictions["predicted"] = line.transform(predictions["predicted"].to_numpy())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", sm.WeakFitWarning)
            line = compare(predictions, people).loc[1]
        found.append(line["difference"])
        held += line["low"] <= 5 <= line["high"]
    assert abs(np.mean(found) - 5) < max(0.3, 3 * np.std(found) / np.sqrt(simulations))
    assert near(held / simulations, 0.95, simulations)
