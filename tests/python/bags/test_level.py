"""Slide-level scores: what is found where there is something, fusion, attention, and paths by which test people could leak."""

import numpy as np
import pandas as pd
import pytest
import torch

import sslmed as sm
from sslmed.bags import Bags, RidgeCox, fit_bags, predict_bags

HOW = sm.BagTraining(hidden=16, attention=8, heads=2, landmarks=8, epochs=40, patience=15, batch_size=6, lr=1e-2, instance_count=3)


def cohort(folder, *, people=24, slides=1, tiles=40, width=8, seed=0):
    """Slides of which patients of class "high" have 4 tiles unlike the others, at both ends of one axis: no mean shows them."""
    store, rng = sm.FeatureStore(folder), np.random.default_rng(seed)
    lines = []
    for p in range(people):
        high = p % 2 == 1
        for s in range(slides):
            x = rng.normal(size=(tiles, width))
            x[:, 0] = 0
            if high:
                x[:4, 0] = [5, -5, 5, -5]
            cells = rng.permutation(100)[:tiles]
            name = f"p{p}-{s}"
            store.write(name, torch.from_numpy(x), np.stack([cells % 10, cells // 10], 1) * 256, mpp=0.5, tile=256, dtype="float32")
            lines.append({"subject": f"p{p}", "slide": name, "grade": "high" if high else "low", "score": 10.0 * high + rng.normal()})
    table = pd.DataFrame(lines)
    first = table.drop_duplicates("subject")
    time = dict(zip(first["subject"], rng.exponential(np.where(first["grade"] == "high", 1.0, 12.0)) + 0.01, strict=True))
    table["months"] = table["subject"].map(time)
    table["died"] = table["subject"].map({s: int(i % 5 != 0) for i, s in enumerate(first["subject"])})
    table["score"] = table.groupby("subject")["score"].transform("first")
    return store, table


def values(result):
    return result.table.set_index(["row", "metric"])["value"]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    store, table = cohort(tmp_path_factory.mktemp("store"), people=40)
    return store, table, sm.slide_level(store, table, "grade", "abmil", HOW, cv=4, positive="high")


def test_attention_finds_what_the_mean_does_not_show(found):
    _, table, result = found
    scores = values(result)
    assert list(result.table["row"].unique()) == ["dummy", "mean pooling", "abmil"]
    assert {"row", "metric", "value", "low", "high", "n_subjects"} <= set(result.table)
    assert scores["dummy", "balanced_accuracy"] == 0.5
    assert scores["abmil", "auroc"] > 0.9
    assert scores["abmil", "auroc"] > scores["mean pooling", "auroc"] + 0.1
    assert set(result.table["n_subjects"]) == {40}
    assert result.comparisons["against"].tolist()[:1] == ["mean pooling"]
    assert len(result.predictions) == 3 * 40 * 2
    assert result.evaluation.verdict() is not None
    assert table["slide"].isin(result.owner).all()


def test_attention_maps_come_from_networks_that_have_not_seen_the_patient(found, tmp_path):
    store, table, result = found
    for _, row in table[table["grade"] == "high"].iloc[:6].iterrows():
        tiles = result.attention(row["slide"])
        assert tiles["attention"].sum() == pytest.approx(1, abs=1e-5)
        assert np.array_equal(tiles[["x", "y"]].to_numpy(), store.read(row["slide"]).coords.numpy())
        assert tiles["percentile"][:4].max() == 100
        (network,) = [n for n in result.networks if row["subject"] in n.tested]
        assert row["subject"] not in network.chosen_by
    figure = result.heatmap(table["slide"][1], tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 5000
    assert figure.axes[0].get_title() == table["slide"][1]
    with pytest.raises(ValueError, match="slide='other' is not one of the 40"):
        result.attention("other")
    result.save(tmp_path / "t.csv")
    assert len(pd.read_csv(tmp_path / "t.csv")) == len(result.table)


def test_a_heat_map_lies_over_its_slide(tmp_path, found):
    store, table, _ = found
    name = table["slide"][1]
    sm.io.write_slide(tmp_path / "s.tif", torch.full((2560, 2560, 3), 230, dtype=torch.uint8), 0.5)
    figure = found[2].heatmap(name, image=tmp_path / "s.tif")
    assert figure.axes[0].get_images()[0].get_extent() == [0.0, 2560.0, 2560.0, 0.0]
    assert store.read(name).tile == 256


def test_the_same_bits_for_any_number_of_threads(tmp_path):
    store, table = cohort(tmp_path, people=16)
    short = sm.BagTraining(hidden=16, attention=8, epochs=3, patience=2, batch_size=4, max_rows=20)
    one, other = (sm.slide_level(store, table, "grade", "abmil", short, cv=2, threads=t).predictions["predicted"] for t in (1, 3))
    assert np.array_equal(one, other)


def test_labels_of_test_people_reach_nothing_that_is_fitted(tmp_path):
    """Training, the choice of the epoch, the strength of the linear rows: all as they were when test people's labels are turned round."""
    store, table = cohort(tmp_path, people=24)
    test = np.arange(8)
    folds = [(np.arange(8, 24), test)]
    turned = table.copy()
    turned.loc[test, "grade"] = turned.loc[test, "grade"].map({"low": "high", "high": "low"})
    with pytest.warns(sm.UntestedWarning):
        a, b = (sm.slide_level(store, t, "grade", "abmil", HOW, cv=folds) for t in (table, turned))
    for name, x in a.networks[0].fitted.task.state_dict().items():
        assert torch.equal(x, b.networks[0].fitted.task.state_dict()[name])
    assert a.history.equals(b.history)
    assert np.array_equal(a.predictions["predicted"], b.predictions["predicted"])
    network = a.networks[0]
    assert network.chosen_by
    assert not network.chosen_by & network.tested
    # Features of test people as well.
    for name in table["slide"][:8]:
        slide = store.read(name)
        store.write(name, 100 * slide.features, slide.coords, mpp=0.5, tile=256, dtype="float32")
    with pytest.warns(sm.UntestedWarning):
        c = sm.slide_level(store, table, "grade", "abmil", HOW, cv=folds)
    assert all(torch.equal(x, c.networks[0].fitted.task.state_dict()[n]) for n, x in network.fitted.task.state_dict().items())


def test_survival_rows_do_not_see_test_people(tmp_path):
    store, table = cohort(tmp_path, people=30)
    folds = [(np.arange(10, 30), np.arange(10))]
    turned = table.copy()
    turned.loc[:9, "months"] = turned.loc[:9, "months"].to_numpy()[::-1]
    turned.loc[:9, "died"] = 1
    with pytest.warns(sm.UntestedWarning):
        a, b = (sm.slide_level(store, t, "months", "abmil", HOW, event="died", cv=folds, draws=0) for t in (table, turned))
    assert np.array_equal(a.predictions["risk"], b.predictions["risk"])


def test_patients_are_on_one_side(tmp_path):
    store, table = cohort(tmp_path, people=8, slides=2)
    with pytest.raises(ValueError, match=r"subject 'p0' .*in training and test data at once"):
        sm.slide_level(store, table, "grade", "abmil", HOW, fusion="none", cv=[(np.arange(1, 16), np.array([0]))])


def test_fusion_of_several_slides(tmp_path):
    store, table = cohort(tmp_path, people=16, slides=2, tiles=12)
    how = sm.BagTraining(hidden=8, attention=4, epochs=2, patience=0, batch_size=4)
    folds = [(np.arange(8, 16), np.arange(8)), (np.arange(8), np.arange(8, 16))]
    early, late = (sm.slide_level(store, table, "grade", "abmil", how, fusion=f, cv=folds) for f in ("early", "late"))
    assert set(early.table["n_subjects"]) == set(late.table["n_subjects"]) == {16}
    for result, fusion in ((early, "early"), (late, "late")):
        network = result.networks[0]
        names = [["p0-0", "p0-1"]] if fusion == "early" else [["p0-0"], ["p0-1"]]
        logits = predict_bags(network.fitted.task, Bags(store, names, ["p0"] * len(names))).mean(0)
        wanted = torch.from_numpy(logits).softmax(0).numpy()
        block = result.predictions.query("row == 'abmil' and subject == 'p0'")
        assert np.allclose(block.set_index("label")["predicted"][["high", "low"]], wanted, atol=1e-12)
    single = sm.slide_level(store, table, "grade", "abmil", how, fusion="none", cv=2)
    assert len(single.predictions.query("row == 'abmil' and label == 'high'")) == 32
    assert set(single.table["n_subjects"]) == {16}
    mixed = table.assign(grade=["high", "low"] * 16)
    with pytest.raises(ValueError, match="slides of subject 'p0' differ in 'grade'"):
        sm.slide_level(store, mixed, "grade", "abmil", how)


@pytest.mark.parametrize("name", ["mean", "clam_sb", "clam_mb", "transmil"])
def test_every_aggregator_trains(tmp_path, name):
    store, table = cohort(tmp_path, people=12, tiles=20)
    result = sm.slide_level(store, table, "grade", name, sm.BagTraining(hidden=16, attention=8, heads=2, landmarks=4, epochs=2, patience=1), cv=2)
    row = "mean pooling network" if name == "mean" else name
    assert row in set(result.table["row"])
    tiles = result.attention("p1-0")
    columns = ["attention_0", "attention_1"] if name == "clam_mb" else ["attention"]
    assert np.allclose(tiles[columns].sum(), 1, atol=1e-5)
    assert len(result.history) >= 2


def test_survival(tmp_path):
    store, table = cohort(tmp_path, people=60)
    how = sm.BagTraining(hidden=16, attention=8, epochs=20, patience=8, batch_size=16, lr=1e-2)
    result = sm.slide_level(store, table, "months", "abmil", how, event="died", cv=3, draws=200)
    scores = values(result)
    assert set(result.table["metric"]) == {"c_index", "c_uno"}
    assert scores["dummy", "c_index"] == 0.5
    assert scores["abmil", "c_index"] > scores["mean pooling", "c_index"] + 0.05
    line = result.table.set_index(["row", "metric"]).loc[("abmil", "c_index")]
    assert line["low"] < line["value"] < line["high"]
    assert result.comparisons["against"].tolist() == ["mean pooling"] * 2
    assert result.evaluation is None
    # The value is that of pairs within a fold.
    block, pairs = result.predictions.query("row == 'abmil'"), [0.0, 0.0]
    for _, part in block.groupby("fold"):
        one = sm.evaluation.concordance.concordance_index(part["risk"], part["time"], part["event"], draws=0)
        pairs[0] += one.value * one.pairs
        pairs[1] += one.pairs
    assert scores["abmil", "c_index"] == pytest.approx(pairs[0] / pairs[1], abs=1e-12)
    with pytest.raises(ValueError, match="comparable"):
        sm.slide_level(store, table.iloc[:6], "months", "abmil", sm.BagTraining(epochs=1, patience=0), event="died", cv="loso")


def test_regression(tmp_path):
    store, table = cohort(tmp_path, people=30)
    result = sm.slide_level(store, table, "score", "abmil", HOW, cv=3, regression=True)
    assert values(result)["abmil", "r2"] > 0.5


def test_training_keeps_the_best_epoch(tmp_path):
    store, table = cohort(tmp_path, people=20)
    target = {"target": (table["grade"] == "high").to_numpy(float)}
    bags = Bags(store, [[n] for n in table["slide"]], list(table["subject"]), target)
    fitted = fit_bags("abmil", bags.subset(range(12)), bags.subset(range(12, 20)), outcome="classes", classes=2, options=HOW, seed=1)
    losses = [line["validation"] for line in fitted.history]
    assert fitted.epochs == int(np.argmin(losses)) + 1
    said = torch.from_numpy(predict_bags(fitted.task, bags.subset(range(12, 20))))
    truth = torch.from_numpy(target["target"][12:]).long()
    assert float(torch.nn.functional.cross_entropy(said, truth)) == pytest.approx(min(losses), abs=1e-12)


def test_ridge_cox_chooses_its_strength_inside():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 200))
    time = rng.exponential(np.exp(-2 * x[:, 0]))
    fitted = RidgeCox().fit(x, time, np.ones(90), np.arange(90))
    noise = RidgeCox().fit(x[:, 1:], time, np.ones(90), np.arange(90))
    assert noise.strength_ > fitted.strength_ > 1e-2
    fresh = rng.normal(size=(2000, 200))
    assert np.corrcoef(fitted.predict(fresh), fresh[:, 0])[0, 1] > 0.4
    with pytest.raises(ValueError, match="nobody of the training people had the event"):
        RidgeCox().fit(x, time, np.zeros(90), np.arange(90))


def test_ridge_cox_without_a_penalty_is_cox():
    phreg = pytest.importorskip("statsmodels.duration.hazard_regression").PHReg
    rng = np.random.default_rng(1)
    x = rng.normal(size=(150, 3))
    time, event = rng.exponential(np.exp(-x[:, 0])), (rng.random(150) < 0.7).astype(float)
    fitted = RidgeCox(strengths=np.array([1e-9])).fit(x, time, event, np.arange(150))
    assert np.allclose(fitted.coef_ / x.std(axis=0), phreg(time, x, status=event, ties="efron").fit().params, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"aggregator": "max"}, "aggregator='max' must be one of"),
        ({"fusion": "both"}, "fusion='both' must be one of 'early', 'late', 'none'"),
        ({"target": "stage"}, "table needs a column 'stage'"),
        ({"slide": "file"}, "table needs a column 'file'"),
        ({"event": "grade", "target": "months"}, "event='grade' must hold 1"),
        ({"event": "died", "target": "grade"}, "target='grade' must hold times as numbers"),
        ({"repeats": 0}, "repeats=0 must be"),
        ({"cv": 1}, "cv=1 must be"),
    ],
)
def test_refuses(found, change, text):
    store, table, _ = found
    given = {"target": "grade", "aggregator": "abmil", "options": HOW} | change
    with pytest.raises(ValueError, match=text):
        sm.slide_level(store, table, **given)


def test_refuses_tables_that_do_not_fit(found):
    store, table, _ = found
    with pytest.raises(ValueError, match=r"1 of 41 slides have no features in .*, such as 'x'"):
        sm.slide_level(store, pd.concat([table, table.iloc[:1].assign(slide="x", subject="x")]), "grade")
    with pytest.raises(ValueError, match="slide 'p0-0' is listed twice"):
        sm.slide_level(store, pd.concat([table, table.iloc[:1]]), "grade")
    with pytest.raises(ValueError, match="has one value only, 'low'"):
        sm.slide_level(store, table[table["grade"] == "low"], "grade")
    with pytest.raises(ValueError, match="no row of the table has a value"):
        sm.slide_level(store, table.assign(grade=None), "grade")
    with pytest.raises(ValueError, match="must hold positive times, found -1"):
        sm.slide_level(store, table.assign(months=-1.0), "months", event="died")
    with pytest.raises(TypeError, match="must be a pandas DataFrame"):
        sm.slide_level(store, "table", "grade")
