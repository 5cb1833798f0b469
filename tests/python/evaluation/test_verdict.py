import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

import sslmed as sm
from sslmed.evaluation import sample_size
from sslmed.evaluation.checklist import checklist
from sslmed.evaluation.facts import imbalances
from sslmed.evaluation.learning import learning_curve
from sslmed.evaluation.metrics import decision_curve
from sslmed.evaluation.stamps import stamps
from sslmed.evaluation.verdict import verdict


def people(n=40, effect=0.6, d=8, seed=0):
    rng, y = np.random.default_rng(seed), np.tile(["control", "pain"], n // 2)
    x = rng.normal(size=(n, d)) + effect * (y == "pain")[:, None]
    return x, pd.DataFrame({"subject": np.arange(n), "y": y, "age": rng.normal(50, 9, n), "sex": np.tile(["F", "F", "M", "M"], n // 4)})


# Sample sizes


def test_sample_sizes_are_those_of_the_published_examples():
    # Riley et al., Stat. Med. 2019 and BMJ 2020, as pmsampsize computes them.
    assert list(sample_size.for_classes(24, 0.174, r2=0.288).criteria.values()) == [623, 662, 221]
    found = sample_size.for_classes(24, 0.174, auroc=0.89)
    assert (list(found.criteria.values()), found.people) == ([615, 660, 221], 660)
    found = sample_size.for_values(25, 0.2, mean=1.9, sd=0.6)
    assert (found.criteria, found.people) == ({"shrinkage": 918, "optimism": 401, "residuals": 259, "mean": 918}, 918)


def test_without_a_guess_fifteen_percent_of_the_possible_r2_are_anticipated():
    most = 1 - (0.5**0.5 * 0.5**0.5) ** 2
    assert sample_size.for_classes(10, 0.5).r2 == pytest.approx(0.15 * most)
    assert sample_size.most_parameters(sample_size.for_classes(10, 0.5).criteria["shrinkage"], 0.15 * most) == 10


def test_r2_of_an_area_is_that_of_a_simulation():
    rng = np.random.default_rng(0)
    y = rng.random(400_000) < 0.3
    gap = np.sqrt(2) * 0.8416  # the area is 0.8
    x = rng.normal(size=len(y)) + gap * y
    p = 1 / (1 + np.exp(-(np.log(0.3 / 0.7) + gap * x - gap**2 / 2)))
    likelihood = np.log(np.where(y, p, 1 - p)).mean() - np.log(np.where(y, y.mean(), 1 - y.mean())).mean()
    assert sample_size.r2_of_auroc(0.8, 0.3) == pytest.approx(1 - np.exp(-2 * likelihood), abs=0.005)


def test_the_smallest_effect_is_found_in_four_of_five_cohorts():
    rng, n = np.random.default_rng(0), 30
    area = sample_size.smallest_auroc(n, n)
    gap = np.sqrt(2) * norm.ppf(area)
    null = np.sqrt((2 * n + 1) / (12 * n * n))
    found = [(((rng.normal(size=n) + gap)[:, None] > rng.normal(size=n)[None]).mean() - 0.5) / null > 1.96 for _ in range(2000)]
    assert 0.75 < np.mean(found) < 0.86
    r = sample_size.smallest_r(50)
    z = [np.arctanh(np.corrcoef(rng.multivariate_normal([0, 0], [[1, r], [r, 1]], 50).T)[0, 1]) * np.sqrt(47) > 1.96 for _ in range(2000)]
    assert 0.75 < np.mean(z) < 0.85


def test_a_wider_null_needs_a_larger_effect_and_few_people_show_none():
    assert sample_size.smallest_auroc(20, 20, null_sd=0.12) > sample_size.smallest_auroc(20, 20)
    assert np.isnan(sample_size.smallest_auroc(1, 2))
    assert sample_size.smallest_balanced_accuracy([20, 20, 20], null_sd=0.1) > sample_size.smallest_balanced_accuracy([20, 20, 20])
    assert np.isnan(sample_size.smallest_balanced_accuracy([1, 1]))


# Learning curves


def test_a_learning_curve_follows_its_law():
    x, table = people(60)
    curve = learning_curve(x, table, "y", repeats=4)
    assert curve.table["people"].tolist() == [20, 28, 38, 48, 72, 96, 192]
    assert curve.table["extrapolated"].tolist() == [False] * 4 + [True] * 3
    assert (curve.table["low"] < curve.table["value"]).all()
    assert (curve.table["value"] < curve.table["high"]).all()
    a, b, c = curve.law
    assert curve.at(72)[0] == pytest.approx(a - b * 72**-c)
    assert a <= 1
    assert 0.3 <= c <= 1.5
    again = learning_curve(x, table, "y", repeats=4)
    pd.testing.assert_frame_equal(again.table, curve.table, check_exact=True)


@pytest.mark.parametrize(("metric", "protocol"), [("mae", "linear"), ("r2", "linear"), ("mae", "knn")])
def test_a_learning_curve_of_numbers(metric, protocol):
    x, table = people(60)
    table["age"] += 9 * x[:, 0]
    curve = learning_curve(x, table, "age", protocol, repeats=3, metric=metric)
    expected = curve.table.loc[curve.table["extrapolated"], "value"].to_numpy()
    sign = -1 if metric == "mae" else 1
    assert (np.diff(sign * expected) >= 0).all()
    assert np.isfinite(curve.table[["low", "high"]].to_numpy()).all()


def test_the_law_is_found_again():
    from sslmed.evaluation.learning import _fit

    people_ = np.array([20.0, 40, 80, 160])
    law = _fit(people_, (0.9 - 2.0 * people_**-0.7)[None], 1.0)[0]
    assert law == pytest.approx([0.9, 2.0, 0.7], rel=1e-6)
    flat = _fit(people_, np.array([[0.7, 0.68, 0.66, 0.64]]), 1.0)[0]
    assert flat[:2] == pytest.approx([0.67, 0], abs=1e-9)  # no score gets worse with people
    capped = _fit(people_, np.array([[0.5, 0.7, 0.9, 1.0]]), 1.0)[0]
    assert capped[0] <= 1


# Verdicts


def test_rows_that_cannot_be_told_apart_are_not_ranked():
    x, table = people(40)
    found = sm.evaluate({"raw": x[:, :4], "features": x}, table, "y", permutations=49, repeats=4).verdict()
    text = str(found)
    assert "40 people with 40 recordings were scored: 20 control, 20 pain." in text
    assert "features and raw cannot be told apart at this number of people" in text
    assert "features is better than raw" not in text
    assert "2.50 a feature" in text
    lines = found.table.set_index("item")
    assert {"people", "smallest AUROC", "people to develop a model"} < set(lines.index)
    assert lines.loc["more people, features - raw", "value"] > 0
    assert "<li>" in found._repr_html_()


def test_a_clear_difference_is_said():
    x, table = people(80, effect=1.5)
    given = {"noise": np.random.default_rng(1).normal(size=(80, 8)), "features": x}
    result = sm.evaluate(given, table, "y", permutations=99, repeats=4)
    text = str(verdict(result))
    assert "features is better than noise" in text
    assert "features is better than chance" in text
    assert "The comparison with noise is settled" in text
    assert stamps(result) == []
    assert "noise is better" not in text
    other = str(sm.evaluate({"features": x, "noise": given["noise"]}, table, "y", permutations=0, repeats=4).verdict())
    assert "noise is worse than features" in other


def test_more_people_are_needed_by_the_square_of_the_error():
    x, table = people(40)
    result = sm.evaluate({"raw": x[:, :4], "features": x}, table, "y", permutations=0, repeats=2)
    line = result.comparisons.iloc[0]
    half = (line["high"] - line["low"]) / 2
    result.comparisons.loc[0, ["difference", "low", "high", "p_holm"]] = [half, 0.0, 2 * half, 0.05]
    more = result.verdict().table.set_index("item").loc["more people, features - raw", "value"]
    # The error is half / t(39); 80 % power needs 2.8 errors.
    assert more == np.ceil(40 * (((1.959964 + 0.841621) / 2.022691) ** 2 - 1))
    result.comparisons.loc[0, ["difference", "low", "high", "p_holm"]] = [half / 10, -0.9 * half, 1.1 * half, 0.9]
    lines = result.verdict().table.set_index("item")
    assert np.isinf(lines.loc["more people, features - raw", "value"])
    assert "More than 10 times as many people (400)" in lines.loc["more people, features - raw", "meaning"]


def test_numbers_and_several_classes_have_verdicts():
    x, table = people(40)
    assert "a correlation of 0.43 or more" in str(sm.evaluate(x, table, "age", permutations=19, repeats=2).verdict())
    table["y"] = np.tile(list("abcd"), 10)
    assert "a balanced accuracy of" in str(sm.evaluate(x, table, "y", permutations=19, repeats=2).verdict())


def test_a_curve_is_a_part_of_the_verdict():
    x, table = people(40)
    result = sm.evaluate(x, table, "y", permutations=0, repeats=2)
    curve = learning_curve(x, table, "y", repeats=2)
    assert "With 64 training people AUROC is expected to be" in str(result.verdict(curve))
    with pytest.raises(TypeError, match=r"verdict: curve=3 must be a learning curve"):
        result.verdict(3)


# Stamps and checklist


def test_classes_that_differ_in_age_are_stamped_unless_it_is_declared():
    x, table = people(40)
    table["age"] += 8 * (table["y"] == "pain")
    table["site"] = np.where(table["y"] == "pain", 1, 2)
    result = sm.evaluate(x, table, "y", permutations=19, repeats=2)
    found = [text for text in stamps(result) if text.startswith("CONFOUNDED")]
    assert ["differ in age" in found[0], "differ in site (standardized difference infinite" in found[1], len(found)] == [True, True, 2]
    assert imbalances(result)["imbalanced"].tolist() == [True, False, True]
    declared = sm.evaluate(x, table, "y", permutations=19, repeats=2, covariates=["age"])
    assert not [text for text in stamps(declared) if "differ in age" in text]


def test_what_is_known_of_the_encoder_and_of_the_choice_is_stamped():
    x, table = people(40)
    result = sm.evaluate(x, table, "y", permutations=0, repeats=2)
    result.provenance = {"transductive": 12, "people": 40, "probe": 0, "encoder": "unknown origin"}
    result.chosen_from = 7
    text = "\n".join(stamps(result))
    for said in ("pretrained on signals of 12 of 40 scored people", "UNKNOWN WEIGHTS", "picked from 7", "NO PERMUTED LABELS"):
        assert said in text


def test_what_explains_nothing_and_few_people_are_stamped():
    x, table = people(12)
    text = "\n".join(stamps(sm.evaluate(x, table, "y", permutations=0, cv=3, repeats=2)))
    assert "FEW PEOPLE: class control has 6 people and pain has 6; below 10" in text
    x, table = people(40)
    assert "NOTHING EXPLAINED: R² of features is -" in "\n".join(stamps(sm.evaluate(x, table, "age", permutations=19, repeats=2)))


def test_a_classical_row_that_is_as_good_is_stamped():
    rng, y = np.random.default_rng(0), np.tile(["a", "b"], 12)
    signals = rng.normal(size=(24, 2, 800)) * np.where(y == "b", 2.0, 1.0)[:, None, None]
    table = pd.DataFrame({"subject": [f"s{i}" for i in range(24)], "y": y})
    cohort = sm.Cohort.from_arrays(signals, 100, ["Cz", "O2"], table)
    encoder = sm.Encoder("vit_tiny", sm.EegPreprocessing(sfreq=100, window=4, patch=1), depth=1)
    result = sm.transfer(encoder, cohort, "y", baselines=["dummy", "band power"], cv=3, repeats=2)
    assert [text for text in stamps(result) if text.startswith("NOT BEATEN: band power scores 1.00")]
    assert result.manifest["flow"][0] == {"step": "in the table", "recordings": 24, "people": 24}


def test_the_checklist_says_what_the_package_knows():
    x, table = people(40)
    table.loc[:3, "y"] = None
    items = checklist(sm.evaluate(x, table, "y", permutations=0, repeats=2, covariates=["sex"], positive="pain")).set_index("item")
    assert items.loc["21", "text"] == "36 people, 36 recordings: 18 control, 18 pain."
    assert items.loc["11", "text"].startswith("4 recordings (4 people) without a value of the target were left out.")
    assert "5 folds, drawn 2 times" in items.loc["12a", "text"]
    assert "covariates: sex" in items.loc["9b", "text"]
    assert (items.loc[["1", "17", "25"], "by"] == "authors").all()
    assert (items["by"] == "sslmed").sum() >= 15


# Decision curves


def test_net_benefit_is_the_formula_of_vickers_and_elkin():
    rng = np.random.default_rng(0)
    positive, p = rng.random(60) < 0.4, rng.random(60).round(1)
    found = decision_curve(positive, p, np.array([0.1, 0.3, 0.5]))
    for line in found.itertuples():
        tp = sum(bool(y) and q >= line.threshold for y, q in zip(positive, p, strict=True))
        fp = sum(not y and q >= line.threshold for y, q in zip(positive, p, strict=True))
        odds = line.threshold / (1 - line.threshold)
        assert line.model == pytest.approx(tp / 60 - fp / 60 * odds)
        assert line.treat_all == pytest.approx(positive.mean() - (1 - positive.mean()) * odds)
        assert line.treat_none == 0
    assert len(decision_curve(positive, p)) == 99
