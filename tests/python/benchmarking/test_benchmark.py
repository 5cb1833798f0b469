import numpy as np
import pandas as pd
import pytest
import torch
from cohorts import PRE, cohort

import sslmed as sm
from sslmed.benchmarking import BenchmarkResult, Linear, Neighbors, Sweep, Task
from sslmed.benchmarking import running as running_module
from sslmed.benchmarking.inputs import head_inputs, inputs_of, truncated

QUICK = {"knn": Neighbors(k=(3, 10, 50)), "linear": Linear(), "sweep": Sweep(steps=60, batch_size=16)}


def clinic(n=40, name="clinic", seed=0):
    made = cohort(n, seconds=6, seed=seed, name=name)
    return made.with_columns(site=["p", "q"] * (n // 2), sex=["F", "F", "M", "M"] * (n // 4))


@pytest.fixture(scope="module")
def encoder():
    made = sm.Encoder("vit_tiny", PRE, depth=2)
    with torch.no_grad():
        for value in made.parameters():
            value.mul_(1.01)  # of unknown origin: not the weights that it starts with
    return made


@pytest.fixture(scope="module")
def made(encoder, tmp_path_factory):
    out = tmp_path_factory.mktemp("benchmark")
    options = {"repeats": 2, "shot_repeats": 3, "shots": (1, 2, 64), "out": out}
    return sm.benchmark({"mine": encoder, "resnet": "resnet10"}, clinic(), ["y", "age"], QUICK, **options), out


def test_every_row_has_its_lines(made):
    result, _ = made
    assert result.rows() == ["dummy", "band power", "handcrafted", "riemann", "mine", "mine, random", "resnet"]
    kinds = result.table.drop_duplicates("row").set_index("row")["kind"]
    assert kinds.to_dict() == {
        "dummy": "dummy", "band power": "classical", "handcrafted": "classical", "riemann": "classical",
        "mine": "encoder", "mine, random": "random", "resnet": "random",
    }  # fmt: skip
    own = result.table[result.table["row"] == "mine"]
    assert list(own[own["task"] == "y"]["protocol"].unique()) == ["knn", "knn, k=3", "knn, k=10", "linear", "sweep", "retrieval", "robustness index"]
    assert list(own[own["task"] == "age"]["protocol"].unique()) == ["knn", "knn, k=3", "knn, k=10", "linear", "sweep"]
    assert (result.table["n_subjects"] == 40).all()
    main = own[(own["task"] == "y") & (own["metric"] == "balanced_accuracy")]
    assert ((main["low"] <= main["value"]) & (main["value"] <= main["high"])).all()
    assert any("k = 50 left out: a training part has 31 recordings" in text for text in result.notes)
    assert any("64 shots left out: the rarest class has 20 people" in text for text in result.notes)
    assert result.encoders["weights"].tolist() == ["unknown origin", "untrained", "untrained"]


def test_the_linear_probe_is_that_of_evaluate(made, encoder):
    result, _ = made
    people = clinic()
    for target in ("y", "age"):
        expected = sm.evaluate(sm.features(encoder, people).filter(regex=r"^f\d+$"), people.table, target, repeats=2, permutations=0)
        rows = expected.table[expected.table["row"] == "features"].set_index("metric")
        found = result.table.query("row == 'mine' and protocol == 'linear' and task == @target").set_index("metric")
        for column in ("value", "low", "high"):
            np.testing.assert_allclose(found[column].astype(float), rows[column], rtol=1e-9)
        dummy = expected.table[expected.table["row"] == "dummy"].set_index("metric")["value"]
        np.testing.assert_allclose(result.table.query("row == 'dummy' and task == @target").set_index("metric")["value"].astype(float), dummy)


def test_differences_are_those_of_evaluate(made, encoder):
    result, _ = made
    people = clinic()
    matrices = {name: sm.features(model, people).filter(regex=r"^f\d+$") for name, model in (("mine, random", encoder.randomized()), ("mine", encoder))}
    expected = sm.evaluate(matrices, people.table, "age", repeats=2, permutations=0).comparisons.query("against == 'mine, random'").iloc[0]
    found = result.comparisons.query("row == 'mine' and against == 'mine, random' and protocol == 'linear' and metric == 'mae'").iloc[0]
    for column in ("difference", "low", "high", "p"):
        assert found[column] == pytest.approx(expected[column], rel=1e-8)
    family = result.comparisons.query("protocol == 'linear' and metric == 'mae'")
    np.testing.assert_allclose(family["p_holm"], sm.evaluation.statistics.holm(family["p"].to_numpy()))
    # k-NN of any k is one family: choosing the k that came out best is no way around the correction.
    family = result.comparisons.query("protocol.str.startswith('knn') and metric == 'mae'")
    assert family["protocol"].nunique() == 3
    np.testing.assert_allclose(family["p_holm"], sm.evaluation.statistics.holm(family["p"].to_numpy()))
    assert set(result.comparisons.query("protocol == 'knn'")["against"]) == {"resnet", "mine, random"}


def test_few_shots_are_those_of_few_shot(made, encoder):
    result, _ = made
    expected = sm.few_shot(encoder, clinic(), "y", (1, 2), repeats=3).query("row == 'pretrained encoder'")
    found = result.shots.query("row == 'mine'")
    assert sorted(found["shots"].unique()) == [1, 2]
    for column in ("value", "low", "high"):
        np.testing.assert_allclose(found.set_index(["shots", "metric"])[column].astype(float), expected.set_index(["shots", "metric"])[column])


def test_what_is_chosen_is_said(made):
    result, _ = made
    assert set(result.chosen["protocol"]) == {"knn", "sweep"}
    assert set(result.chosen.query("protocol == 'knn'")["choice"]) <= {"k=3", "k=10"}
    assert result.chosen.query("protocol == 'sweep' and row == 'resnet'")["choice"].str.startswith("1 block, avg, lr=").all()
    assert len(result.chosen.query("protocol == 'sweep' and row == 'mine' and task == 'y'")) == 5


def test_a_benchmark_goes_on_where_it_was_stopped(made, encoder, monkeypatch):
    result, out = made
    said = []
    options = {"repeats": 2, "shot_repeats": 3, "shots": (1, 2, 64), "out": out, "progress": said.append}
    again = sm.benchmark({"mine": encoder, "resnet": "resnet10"}, clinic(), ["y", "age"], QUICK, **options)
    assert said == []
    pd.testing.assert_frame_equal(again.table, result.table)
    pd.testing.assert_frame_equal(again.comparisons, result.comparisons)
    # One cell is lost: it alone is made anew, from features that are kept.
    cells = sorted((out / "cells").iterdir())
    newest = [path for path in cells if "sweep" in str(sm.benchmarking.cells.Cell.load(path).tables["scores"]["protocol"].tolist())]
    newest[0].unlink()
    once = sm.benchmark({"mine": encoder, "resnet": "resnet10"}, clinic(), ["y", "age"], QUICK, **options)
    assert len(said) == 1
    assert said[0].split(": ")[1].split(" by ")[0] in ("y", "age")
    pd.testing.assert_frame_equal(once.table, result.table)
    # Killed in the middle: what was made stays.
    monkeypatch.setattr(running_module, "cards_of", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        sm.benchmark({"mine": encoder}, clinic(seed=5), ["y"], {"linear": Linear()}, repeats=1, shots=(), out=out)
    monkeypatch.undo()
    said.clear()
    sm.benchmark({"mine": encoder}, clinic(seed=5), ["y"], {"linear": Linear()}, repeats=1, shots=(), out=out, progress=said.append)
    assert [text for text in said if "card" not in text] == []


def test_other_labels_files_or_weights_are_other_cells(encoder, tmp_path):
    def run(model, people, **options):
        said = []
        how = {"repeats": 1, "shots": (), "card": (), "maps": None, "baselines": False, "random": False, "out": tmp_path}
        sm.benchmark({"mine": model}, people, ["y"], {"linear": Linear()}, **how | options, progress=said.append)
        return [text.split(": ")[1].split(" ")[0] for text in said]

    assert run(encoder, clinic()) == ["y", "features"]
    assert run(encoder, clinic()) == []
    assert run(encoder, clinic(), seed=1) == ["y"]
    labels = clinic().table["y"].tolist()
    assert run(encoder, clinic().with_columns(y=labels[::-1])) == ["y"]
    assert run(encoder, clinic(seed=3)) == ["y", "features"]
    assert run(encoder.randomized(), clinic()) == ["y", "features"]
    for path in (tmp_path / "cells").iterdir():
        path.write_bytes(b"PK nothing")
    with pytest.raises(sm.FormatError, match="expected a cell of a benchmark"):
        run(encoder, clinic())


def test_saved_and_read_again(made, tmp_path):
    result, _ = made
    result.save(tmp_path / "again")
    found = BenchmarkResult.load(tmp_path / "again")
    for name in ("table", "comparisons", "shots", "similarity", "robustness", "encoders", "chosen"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(result, name), check_dtype=False)
    assert found.overview().equals(result.overview())
    assert list(found.cards) == [("mine", "clinic"), ("resnet", "clinic")]
    pd.testing.assert_frame_equal(found.card, result.card, check_dtype=False)
    np.testing.assert_allclose(found.maps["clinic"][0]["mine"], result.maps["clinic"][0]["mine"], atol=1e-4)
    assert found.plot_map("clinic", ["age"]) is not None
    result.save(tmp_path / "t.csv")
    assert len(pd.read_csv(tmp_path / "t.csv")) == len(result.table)
    (tmp_path / "again/benchmark.json").write_text("[]")
    with pytest.raises(sm.FormatError, match="expected a benchmark that was saved"):
        BenchmarkResult.load(tmp_path / "again")


def test_the_page_says_what_was_found(made, tmp_path):
    result, _ = made
    result.save(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    for part in ("has the best balanced accuracy", "What does it know? mine, clinic", "paired differences", "robustness", "Left out", "data:image/png"):
        assert part in text
    assert "clinic: y, linear (balanced accuracy)" in result.overview().columns
    assert result.best("clinic", "age", "linear")["value"].is_monotonic_increasing
    assert "<BenchmarkResult of 7 rows>" in repr(result)
    assert "<table" in result._repr_html_()
    assert result.card["encoder"].unique().tolist() == ["mine", "resnet"]
    assert {"person", "sex", "site", "age"} == set(result.card["what"])


def test_texts_of_callers_are_escaped(tmp_path):
    people = clinic(24, name="<b>c</b>").with_columns(**{"<i>t</i>": ["x <u>", "$y$"] * 12})
    how = {"repeats": 1, "card": (), "shots": (1,), "shot_repeats": 1, "baselines": False}
    result = sm.benchmark({"<script>alert(1)</script>": "vit_tiny"}, people, ["<i>t</i>"], {"<p>": Linear()}, **how)
    result.save(tmp_path / "out")
    text = (tmp_path / "out/report.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    for bad in ("<script>", "<b>c", "<i>t", "<u>", "<p>:"):
        assert bad not in text
    assert "<script>" not in result._repr_html_()


def test_truncated_encoders_are_intermediate_layers():
    """Blocks are those of a deeper encoder, after the last norm: DINOv2's n = 4 with norm."""
    people = clinic(12)
    deep = sm.Encoder("vit_tiny", PRE, depth=3)
    found = head_inputs(deep, people, [Sweep(blocks=(1, 2), tokens=("cls", "cls+avg"))], threads=1)
    assert list(found) == ["1 block, cls", "1 block, cls+avg", "2 blocks, cls", "2 blocks, cls+avg"]
    mean = sm.features(deep, people).filter(regex=r"^f\d+$").to_numpy()
    last = sm.features(deep, people, pooling="cls").filter(regex=r"^f\d+$").to_numpy()
    before = sm.features(truncated(deep, 2), people, pooling="cls").filter(regex=r"^f\d+$").to_numpy()
    np.testing.assert_array_equal(found["2 blocks, cls+avg"], np.concatenate([before, last, mean], axis=1))
    np.testing.assert_array_equal(found["1 block, cls"], last)
    state, less = deep.state_dict(), truncated(deep, 2).state_dict()
    assert all((state[name] == value).all() for name, value in less.items())
    assert set(state) - set(less) == {name for name in state if name.startswith("blocks.2.")}
    with pytest.raises(ValueError, match="truncated: depth=4"):
        truncated(deep, 4)
    assert list(inputs_of(deep, Sweep())) == ["1 block, cls", "1 block, cls+avg", "3 blocks, cls", "3 blocks, cls+avg"]


def test_protocols_of_others():
    from sslmed.benchmarking import LEARNING_RATES, NAMED

    fomo, eva, dino = NAMED["fomo26"], NAMED["eva"], NAMED["dinov2"]
    assert len(LEARNING_RATES) == 13
    assert (fomo.learning_rates, fomo.epochs, fomo.batch_size, fomo.optimizer, fomo.choose) == (LEARNING_RATES, 20, 64, "sgd", "auroc")
    assert (fomo.scale_lr, fomo.tokens, fomo.blocks) == (False, ("avg",), (1,))
    assert (eva.learning_rates, eva.steps, eva.batch_size, eva.optimizer, eva.patience, eva.runs) == ((3e-4,), 12_500, 256, "adamw", 0.2, 5)
    assert (dino.steps, dino.blocks, dino.tokens, dino.scale_lr) == (12_500, (1, 4), ("cls", "cls+avg"), True)
    quick = Sweep(learning_rates=(3e-3,), scale_lr=False, tokens=("cls",), optimizer="adamw", steps=80, runs=3, patience=0.2, init="uniform")
    how = {"repeats": 1, "card": (), "shots": (), "baselines": False, "maps": None, "retrieval": False}
    result = sm.benchmark("vit_tiny", clinic(), ["y"], {"fomo26": NAMED["fomo26"], "runs": quick}, **how)
    found = result.table.query("protocol == 'runs' and metric == 'auroc'").iloc[0]
    assert found["sd_runs"] >= 0
    assert np.isnan(result.table.query("protocol == 'fomo26' and metric == 'auroc'").iloc[0]["sd_runs"])


def test_several_cohorts_and_modalities():
    signals, other = clinic(24), clinic(24, "other", seed=1)
    result = sm.benchmark(
        {"vit": "vit_tiny", "eeg": sm.Encoder("vit_tiny", PRE, depth=1)}, {"a": signals, "b": other}, {"a": ["y"], "b": [Task("age"), "sex"]},
        {"linear": Linear()}, repeats=1, card=(), shots=(), baselines=False, maps=None, retrieval=False,
    )  # fmt: skip
    assert result.tasks() == [("a", "y"), ("b", "age"), ("b", "sex")]
    assert result.plot("b", "age") is not None


def test_what_is_refused(encoder):
    people = clinic(24)
    refused = {
        "protocols='forest'": ({}, {"protocols": ["forest"]}),
        "encoders must hold at least one": ({"encoders": {}}, {}),
        "is the name of another row": ({"encoders": {"dummy": encoder}}, {}),
        "'atlas' is the name of another row": ({"encoders": {"atlas": encoder}}, {}),
        "no cohort has values in column 'nothing'": ({"tasks": ["nothing"]}, {}),
        "is of no cohort": ({"tasks": {"x": ["y"]}}, {}),
        "there is none for cohort 's'": ({"tasks": {}}, {}),
        "is listed twice": ({"tasks": ["y", "y"]}, {}),
        "maps='pca'": ({}, {"maps": "pca"}),
        "repeats=0": ({}, {"repeats": 0}),
        "shots=0": ({}, {"shots": (0,)}),
        "on_error='ignore'": ({}, {"on_error": "ignore"}),
        "of different names": ({"cohorts": [people, people]}, {}),
        "has one value only": ({"cohorts": people.with_columns(y="a")}, {}),
    }
    for match, (places, options) in refused.items():
        given = {"encoders": {"mine": encoder}, "cohorts": cohort(24, seconds=6), "tasks": ["y"]} | places
        with pytest.raises(ValueError, match=match):
            sm.benchmark(**given, **options)
    with pytest.raises(TypeError, match="is an object without a name"):
        sm.benchmark([encoder], people, ["y"])
    with pytest.raises(TypeError, match="must be a Cohort"):
        sm.benchmark({"mine": encoder}, {"c": 3}, ["y"])
    with pytest.raises(TypeError, match="card='sex' must be a list"):
        sm.benchmark({"mine": encoder}, people, ["y"], card="sex")
    with pytest.raises(TypeError, match="Linear, Neighbors or Sweep"):
        sm.benchmark({"mine": encoder}, people, ["y"], {"x": 3})
    with pytest.raises(ValueError, match="options"):
        Task("y", options={"decoder": "unet"})
    with pytest.raises(ValueError, match="which no encoder is for"):
        sm.benchmark({"mine": sm.Encoder("vit_tiny", sm.SlidePreprocessing(size=32, patch=16), depth=1)}, people, ["y"])
