"""The table of all metrics under all conventions, and its summary over cases."""

import doctest
import importlib
import math
import pkgutil
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from masks import instances, moved, pair

from sslmed import metrics

CALLS = {
    "hausdorff_95": ("hausdorff", {"percentile": 95}),
    "hausdorff_100": ("hausdorff", {"percentile": 100}),
    "aji_plus": ("aji", {"plus": True}),
}


def value_of(name, convention, prediction, reference, spacing, **kwargs):
    function, more = CALLS.get(name, (name, {}))
    return getattr(metrics, function)(prediction, reference, spacing, convention, **more, **kwargs)


@pytest.mark.parametrize("shape", [(30, 40), (10, 12, 14)])
def test_every_row_is_what_its_function_gives(rng, shape):
    one, two = pair(rng, shape, "blobs")
    labels = [each.astype(np.int32) * (1 + (np.indices(shape)[0] > shape[0] // 2)) for each in (one, two)]
    spacing = (0.5, 1.5, 2.0)[: len(shape)]
    table = metrics.evaluate(*labels, spacing, tolerance=1.4)
    assert set(table.label) == {1, 2}
    for row in table.itertuples():
        kwargs = {"tolerance": 1.4} if row.metric == "surface_dice" else {}
        expected = value_of(row.metric, row.convention, *labels, spacing, label=row.label, **kwargs)
        assert row.value == pytest.approx(expected, nan_ok=True)
    wanted = {(name, how) for name in ("dice", "iou", "surface_dice") for how in metrics.CONVENTIONS[name]}
    assert wanted <= set(zip(table.metric, table.convention, strict=True))
    assert (table.empty_policy != "").all()
    assert (table["empty"] == "").all()


def test_every_object_row_is_what_its_function_gives(rng):
    true = instances(rng, (80, 90), 20)
    found = moved(rng, true)
    scores = rng.random(len(np.unique(found)) - 1)
    table = metrics.evaluate(found, true, kind="instances", scores=scores, radius=5).set_index(["metric", "convention"]).value
    for how in metrics.CONVENTIONS["panoptic_quality"]:
        score = metrics.panoptic_quality(found, true, convention=how)
        assert table["panoptic_quality", how] == score
        assert table["detection_quality", how] == score.dq
        assert table["segmentation_quality", how] == score.sq
    assert table["aji", "hovernet"] == metrics.aji(found, true)
    assert table["aji_plus", "hovernet"] == metrics.aji(found, true, plus=True)
    for how in ("gated", "hovernet"):
        assert table["detection_f1", how] == metrics.detection_f1(found, true, convention=how, radius=5)
    precision = metrics.average_precision(found, true, scores=scores)
    assert table["average_precision", "coco"] == precision
    assert table["average_precision_50", "coco"] == precision.ap50


def test_anomaly_rows(rng):
    true = instances(rng, (40, 40), 4) > 0
    scores = true + rng.standard_normal(true.shape)
    table = metrics.evaluate(scores, true, kind="scores").set_index("convention").value
    assert table.to_dict() == {how: metrics.aupro(scores, true, convention=how) for how in ("anomalib", "mvtec")}


def test_empty_cases_are_named_and_raise_nothing():
    none, some = np.zeros((2, 8, 8, 8), bool)
    some[2:5, 2:5, 2:5] = True
    for prediction, reference, which in ((none, none, "both"), (none, some, "prediction"), (some, none, "reference")):
        table = metrics.evaluate(prediction, reference)
        assert set(table["empty"]) == {which}
        medpy = table[(table.convention == "medpy") & (table.metric == "hausdorff_95")].iloc[0]
        assert math.isnan(medpy.value)
        assert "raises" in medpy.empty_policy
        if which != "both":
            values = table.set_index(["metric", "convention"]).value
            assert math.isinf(values["hausdorff_100", "monai"])
            assert math.isnan(values["hausdorff_95", "monai"])
            assert math.isinf(values["hausdorff_95", "deepmind"])
        objects = metrics.evaluate(prediction.astype(int), reference.astype(int), kind="instances")
        assert set(objects["empty"]) == {which}


def test_conventions_and_labels_that_are_asked_for(rng):
    one, two = pair(rng, (20, 20), "blobs")
    assert set(metrics.evaluate(one, two, conventions="monai").convention) == {"monai"}
    table = metrics.evaluate(one, two, conventions=["medpy", "deepmind"], labels=[1, 5])
    assert set(table.convention) == {"medpy", "deepmind"}
    assert set(table[table.label == 5]["empty"]) == {"both"}
    blank = np.zeros((4, 4), np.int16)
    assert set(metrics.evaluate(blank, blank).label) == {1}
    with pytest.raises(ValueError, match="conventions='coco' must be one of"):
        metrics.evaluate(one, two, conventions="coco")
    with pytest.raises(ValueError, match="kind='boxes'"):
        metrics.evaluate(one, two, kind="boxes")
    with pytest.raises(ValueError, match="expected one shape"):
        metrics.evaluate(one, two[1:])


def cases(shift):
    true = np.zeros((20, 20), bool)
    true[4:12, 4:12] = True
    found = [np.roll(true, s, axis=0) for s in shift]
    none = np.zeros_like(true)
    return {f"case {i}": metrics.evaluate(f, true) for i, f in enumerate(found)} | {
        "missed": metrics.evaluate(none, true),
        "false alarm": metrics.evaluate(true, none),
        "nothing": metrics.evaluate(none, none),
    }


def test_summary_counts_what_a_mean_hides():
    tables = cases(range(6))
    summary = metrics.summarize(tables).set_index(["metric", "convention"])
    row = summary.loc[("hausdorff_100", "monai")]
    assert (row.n, row.n_finite, row.n_nan, row.n_inf) == (9, 6, 1, 2)
    assert (row.n_missed, row.n_false_alarm, row.n_both_empty) == (1, 1, 1)
    assert math.isinf(row.worst_decile)
    found = [t.set_index(["metric", "convention"]).value["hausdorff_100", "monai"] for name, t in tables.items() if "case" in name]
    assert row["mean"] == pytest.approx(np.mean(found))
    hidden = summary.loc[("hausdorff_95", "monai")]
    assert (hidden.n_nan, hidden.n_inf, hidden.n_missed) == (3, 0, 1)
    dice = summary.loc[("dice", "monai")]
    assert (dice.n_nan, dice.n_zero, dice.worst_decile) == (2, 1, 0)
    # The same cases have another mean where both being empty counts as right.
    assert summary.loc[("dice", "medpy")].n_nan == 0
    assert summary.loc[("dice", "medpy"), "mean"] != dice["mean"]


def test_summary_of_each_label_and_of_one_table(rng):
    one, two = rng.integers(0, 4, (2, 15, 16))
    table = metrics.evaluate(one, two)
    both = pd.concat([table.assign(case="a"), table.assign(case="b")])
    summary = metrics.summarize(both)
    assert len(summary) == len(table)
    assert (summary.n == 2).all()
    assert summary["mean"].to_numpy() == pytest.approx(table.value.to_numpy(), nan_ok=True)
    assert metrics.summarize([table]).label.tolist() == table.label.tolist()


def test_worst_decile_is_on_the_bad_side():
    true = np.zeros((10, 40), bool)
    true[2:8, 2:12] = True
    tables = [metrics.evaluate(np.roll(true, s, axis=1), true) for s in range(12)]
    summary = metrics.summarize(tables).set_index(["metric", "convention"])
    for metric, convention in (("dice", "monai"), ("surface_dice", "deepmind")):
        assert summary.loc[(metric, convention)].worst_decile < summary.loc[(metric, convention), "median"]
    assert summary.loc[("hausdorff_95", "medpy")].worst_decile == 10
    assert summary.loc[("dice", "monai")].worst_decile == 0


def test_bad_cases():
    with pytest.raises(ValueError, match="at least one"):
        metrics.summarize([])
    with pytest.raises(ValueError, match="at least one"):
        metrics.summarize([1])
    with pytest.raises(ValueError, match="missing"):
        metrics.summarize(pd.DataFrame({"value": [1.0]}))


@pytest.mark.parametrize("name", [name for _, name, _ in pkgutil.iter_modules(metrics.__path__)])
def test_examples(name):
    result = doctest.testmod(importlib.import_module(f"sslmed.metrics.{name}"))
    assert result.failed == 0


def test_the_page_is_true(capsys):
    page = (Path(__file__).parents[3] / "docs/metrics.md").read_text(encoding="utf-8")
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(code, {})
    printed = capsys.readouterr().out.splitlines()[: len(metrics.CONVENTIONS["hausdorff"])]
    values = {name: float(value) for name, value in (line.split() for line in printed)}
    assert values["monai"] - values["medpy"] > 10
    for metric, conventions in metrics.CONVENTIONS.items():
        assert f"`{metric}`" in page
        assert all(f"`{name}`" in page for name in conventions)
