import numpy as np
import pandas as pd
import pytest
from cohorts import PRE, cohort
from simulate import people
from soak import simulations

import sslmed as sm
from sslmed.evaluation import over_seeds, select, selection
from sslmed.evaluation.crossfit import Pipeline, Study
from sslmed.evaluation.intervals import estimate
from sslmed.evaluation.seeds import predictions
from sslmed.evaluation.selection import SELECTED
from sslmed.evaluation.splits import repeated


def candidates(rng, n=40, noise=5, effect=0.0):
    y = np.tile(["a", "b"], n // 2)
    features = {f"noise {i}": rng.normal(size=(n, 6)) for i in range(noise)}
    if effect:
        features["signal"] = rng.normal(size=(n, 6)) + effect * (y == "b")[:, None]
    return features, pd.DataFrame({"subject": np.arange(n), "y": y})


def scores(result, metric="auroc"):
    return result.table[result.table["metric"] == metric].set_index("row")


@pytest.mark.timeout(3000)
@simulations(6, 400)
def test_the_best_of_24_candidates_that_know_nothing_is_worth_nothing(rng, simulations):
    nested, best = [], []
    for i in range(simulations):
        features, table = candidates(rng, noise=24)
        y = (table["y"] == "b").to_numpy().astype(int)
        rows = sm.Cohort(table.assign(path=table["subject"].astype(str)), "t", [()] * len(table))
        study = Study.of(y, table["subject"].to_numpy(), np.array(["a", "b"]), repeated(rows, 5, stratify="y", repeats=1, seed=i))
        pipelines = {name: (Pipeline(x),) for name, x in features.items()}
        chosen = selection._choices(study, pipelines, study.repeats[0], "auroc")
        made = predictions(study, selection._selected(study, pipelines, [chosen]))
        nested.append(estimate(study, "auroc", made).value)
        best.append(max(estimate(study, "auroc", predictions(study, [_plain(study, one[0])])).value for one in list(pipelines.values())[:6]))
    assert abs(np.mean(nested) - 0.5) < max(0.02, 3 * np.std(nested) / np.sqrt(simulations))
    assert np.mean(best) > 0.55


def _plain(study, pipeline):
    """Out-of-fold predictions of the first repeat."""
    out = np.full((len(study.y), 2), np.nan)
    for train, test in study.repeats[0]:
        out[test] = selection._fit(study, pipeline, train, test)
    return out


def test_a_signal_is_chosen_in_every_fold_and_keeps_its_score(rng):
    features, table = candidates(rng, effect=2.0)
    result = select(features, table, "y", repeats=2)
    assert result.best == "signal"
    assert result.chosen["signal"] == result.chosen.sum() == 10
    found = scores(result)
    assert np.isclose(found.loc[SELECTED, "value"], found.loc["signal", "value"])
    assert found.loc[SELECTED, "low"] > 0.5
    assert "is the best of 6 candidates by auroc" in result.note
    assert list(result.table["row"].unique()) == ["dummy", *features, SELECTED]
    assert result.comparisons[["row", "against"]].values.tolist() == [[SELECTED, "chance"]]
    assert "sd_seeds" not in result.table


def test_the_choice_never_sees_the_test_people(rng):
    """Labels of a fold's test people do not change what the fold chooses."""
    features, table = candidates(rng, noise=2)
    rows = sm.Cohort(table.assign(path=table["subject"].astype(str)), "t", [()] * len(table))
    for k in (5, 3):
        folds = repeated(rows, k, stratify="y", repeats=1)[0]
        y = (table["y"] == "b").to_numpy().astype(int)
        pipelines = {name: (Pipeline(x),) for name, x in features.items()}
        for i, (_, test) in enumerate(folds):
            other = y.copy()
            other[test] = 1 - other[test]
            study, changed = (Study.of(v, table["subject"].to_numpy(), np.array(["a", "b"]), [folds]) for v in (y, other))
            for name, (one,) in pipelines.items():
                a, b = (selection._inner_scores(s, one, folds, "auroc")[i] for s in (study, changed))
                assert a == b, name


@pytest.mark.parametrize(("cv", "protocol", "level"), [(3, "linear", "person"), (5, "knn", "recording"), ("loso", "linear", "person")])
def test_other_folds_protocols_and_levels(rng, cv, protocol, level):
    n = 16 if cv == "loso" else 24
    x, table = people(rng, n, recordings=2, effect=6.0)
    result = select({"noise": rng.normal(size=x.shape), "signal": x}, table, "y", protocol, cv=cv, repeats=1, level=level)
    assert result.chosen["signal"] > result.chosen["noise"]


def test_numbers_are_regressed_and_by_decides(rng):
    x, table = people(rng, 30, regression=True, effect=6.0)
    result = select({"noise": rng.normal(size=x.shape), "signal": x}, table, "y", {"noise": "knn", "signal": "linear"}, repeats=1)
    assert (result.by, result.best, result.chosen["signal"]) == ("mae", "signal", 5)
    assert select({"noise": rng.normal(size=x.shape), "signal": x}, table, "y", by="r2", repeats=1).by == "r2"


def test_seeds_are_averaged_and_never_chosen(rng):
    features, table = candidates(rng, noise=1)
    y = (table["y"] == "b").to_numpy()
    features = {"noise": [features["noise 0"], rng.normal(size=(40, 6))], "signal": [rng.normal(size=(40, 6)) + e * y[:, None] for e in (0.5, 1.5, 3.0)]}
    result = select(features, table, "y", repeats=2)
    assert set(result.chosen.index) == {"noise", "signal"}
    found = scores(result)
    alone = [sm.evaluate(x, table, "y", repeats=2, permutations=0) for x in features["signal"]]
    values = [scores(one).loc["features", "value"] for one in alone]
    assert np.isclose(found.loc["signal", "value"], np.mean(values))
    assert np.isclose(found.loc["signal", "sd_seeds"], np.std(values, ddof=1))
    summary = over_seeds(alone).set_index(["row", "metric"])
    assert np.isclose(summary.loc[("features", "auroc"), "sd_seeds"], np.std(values, ddof=1))
    assert found.loc["signal", "low"] < found.loc["signal", "value"] < found.loc["signal", "high"]
    assert np.isnan(found.loc["dummy", "sd_seeds"])


def test_transfer_of_several_encoders_is_the_mean_over_them():
    clinic = cohort(n=24)
    encoders = [sm.Encoder("vit_tiny", PRE, depth=1, seed=s) for s in range(3)]
    for one in encoders:
        one.provenance = sm.provenance.record(None, "pretraining", cohort(n=4, seed=9, name="public"))
        for weight in one.parameters():
            weight.data += 1e-6  # trained, if only a little
    how = {"cv": 3, "repeats": 2, "permutations": 0}
    both = sm.transfer(encoders, clinic, "y", baselines=["dummy", "random encoder"], **how)
    alone = [scores(sm.transfer(one, clinic, "y", baselines=False, **how), "brier").loc["pretrained encoder", "value"] for one in encoders]
    line = scores(both, "brier").loc["pretrained encoder"]
    assert np.isclose(line["value"], np.mean(alone))
    assert np.isclose(line["sd_seeds"], np.std(alone, ddof=1))
    assert np.isnan(scores(both, "brier").loc["random encoder", "sd_seeds"])
    assert both.comparisons["against"].tolist() == ["random encoder", "random encoder", "chance"]
    assert len(both.manifest["rows"]["pretrained encoder"]["seeds"]) == 3
    one = sm.transfer(encoders[:1], clinic, "y", baselines=False, **how)
    assert "sd_seeds" not in one.table
    other = sm.Encoder("vit_tiny", PRE, depth=2)
    for change, said in (
        ({"encoder": []}, r"encoder=\[\]"),
        ({"encoder": [encoders[0], other]}, r"encoder\[1\] has another architecture"),
        ({"protocol": "finetune"}, "needs frozen features"),
        ({"covariates": ["age"]}, "needs frozen features"),
        ({"encoder": [encoders[0], 3]}, "encoder=3"),
    ):
        with pytest.raises((ValueError, TypeError), match=said):
            sm.transfer(**({"encoder": encoders, "cohort": clinic, "target": "y", "baselines": False} | change))
    taught = sm.Encoder("vit_tiny", PRE, depth=1, seed=5)
    taught.provenance = sm.provenance.record(None, "finetuning", clinic, "y")
    with pytest.raises(ValueError, match="fine-tuned on the labels"):
        sm.transfer([encoders[0], taught], clinic, "y", baselines=False, **how)
    met = sm.Encoder("vit_tiny", PRE, depth=1, seed=6)
    met.provenance = sm.provenance.record(None, "pretraining", clinic.subset([0, 1]))
    seen = sm.transfer([encoders[0], met], clinic, "y", baselines=False, **how).provenance
    assert seen["transductive"] == sm.provenance.overlap(met, clinic).people > 0
    seen = sm.transfer([encoders[0], met], clinic, "y", baselines=False, transductive="exclude", **how).provenance
    assert seen["excluded"] > 0 == seen["transductive"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"features": {"a": np.zeros((40, 2))}}, "at least two candidates by name, got 1"),
        ({"features": {"a": np.zeros((40, 2)), SELECTED: np.zeros((40, 2))}}, "is the name of another row"),
        ({"features": {"a": np.zeros((40, 2)), "b": []}}, r"features\['b'\]=\[\]"),
        ({"features": {"a": np.zeros((40, 2)), "b": np.zeros((3, 2))}}, r"select: features\['b'\] must be \[40, D >= 1\]"),
        ({"table": 3}, "select: table must be"),
        ({"target": "x"}, "target='x'"),
        ({"protocol": "x"}, "protocol='x'"),
        ({"protocol": {"a": "knn"}}, "protocol has no entry for the candidate 'noise 0'"),
        ({"by": "mae"}, "by='mae'"),
        ({"cv": 1}, "cv=1"),
        ({"repeats": 0}, "repeats=0"),
        ({"positive": "x"}, "positive='x'"),
        ({"level": "x"}, "level='x'"),
        ({"regression": True}, "regression=True"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_what_is_refused(rng, change, said):
    features, table = candidates(rng)
    with pytest.raises((ValueError, TypeError), match=said):
        select(**({"features": features, "table": table, "target": "y"} | change))


def test_over_seeds_refuses_what_cannot_be_compared(rng):
    features, table = candidates(rng)
    one, other = (sm.evaluate(features["noise 0"], table, "y", repeats=1, permutations=0, seed=s) for s in (0, 1))
    with pytest.raises(ValueError, match="at least two"):
        over_seeds([one])
    with pytest.raises(ValueError, match=r"results\[1\] has other folds"):
        over_seeds([one, other])


def test_a_score_that_no_fold_defines_chooses_nothing(rng):
    features, table = candidates(rng, n=12)
    with pytest.raises(ValueError, match="by='auroc' is not defined in these folds"):
        select(features, table, "y", by="auroc", cv="loso")
