import json
import re

import numpy as np
import pandas as pd
import pytest

import sslmed as sm
from sslmed.evaluation.learning import learning_curve
from sslmed.reporting import plots
from sslmed.reporting.page import write_report


def people(n=40):
    rng, y = np.random.default_rng(0), np.tile(["control", "pain"], n // 2)
    table = pd.DataFrame(
        {"subject": np.arange(n) // 2, "y": np.repeat(y[: n // 2], 2), "age": rng.normal(50, 9, n) + 9 * (np.repeat(y[: n // 2], 2) == "pain")}
    )
    return rng.normal(size=(n, 4)), table


def page_of(result, tmp_path, **how):
    result.save(tmp_path / "transfer.html", **how)
    return (tmp_path / "transfer.html").read_text(encoding="utf-8")


def test_the_page_says_what_is_estimated_who_was_left_out_and_what_is_wrong(tmp_path):
    x, table = people()
    table.loc[:1, "y"] = None
    result = sm.evaluate(x, table, "y", positive="pain", cv=3, repeats=2, permutations=9, prevalence=0.1)
    page = page_of(result, tmp_path)
    for text in (
        "the performance of this procedure, trained on about 13 people, on other people of this population",
        "19 people, 38 recordings; classes: control 9, pain 10. Positive class: pain, prevalence 0.53",
        "meant for a prevalence of 0.1",
        "cv = 3, 2 repeats; seed 0",
        "FEW PEOPLE: class control has 9 people",
        "CONFOUNDED: the classes differ in age",
        "What this cohort can say",
        "Flow of participants",
        "Differences between the classes",
        "Decision curve",
        "Calibration",
        "TRIPOD+AI",
        "of the procedure: people are left out in turn",
        "<details><summary>Manifest",
    ):
        assert text in page, text
    held = re.search(r"<pre>(.*?)</pre>", page, re.S)[1].replace("&#34;", '"').replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">")
    assert json.loads(held) == result.manifest
    assert "http" not in page


def test_a_learning_curve_and_numbers_have_a_page(tmp_path):
    x, table = people()
    page = page_of(sm.evaluate(x, table, "age", repeats=2, permutations=9, cv=3), tmp_path, curve=learning_curve(x, table, "age", repeats=2, cv=3))
    assert "Learning curve" in page
    assert "Decision curve" not in page
    assert "Differences between the classes" not in page


def test_the_page_of_fitted_models_says_so(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"subject": [f"s{i}" for i in range(24)], "y": np.tile(["a", "b"], 12)})
    here, there = (
        sm.Cohort.from_arrays(rng.normal(size=(24, 2, 800)), 100, ["Cz", "O2"], table.assign(subject=table["subject"] + name), name=name)
        for name in ("here", "there")
    )
    result = sm.transfer(None, here, "y", baselines=["dummy", "band power"], test=there, bootstrap=20, positive="b")
    page = page_of(result, tmp_path)
    assert "the performance of this fitted model, trained on about 24 people, on other people like the tested ones" in page
    assert "percentiles of a bootstrap over the tested people" in page
    assert "NO PERMUTED LABELS" not in page
    assert result.plot().get_xlabel() == "balanced accuracy (95 % interval of fitted models)"


def test_several_stamps_sentences_and_details(tmp_path):
    write_report(tmp_path / "r.html", "t", [("Said", ["one <b>", "two"], [])], stamp=["A", "B"], details={"More": "x & y"}, intervals="Of nobody.")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert page.count('<p class="stamp">') == 2
    for text in ("<li>one &lt;b&gt;</li>", "<summary>More</summary><pre>x &amp; y</pre>", "Of nobody."):
        assert text in page


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (plots.plot_decision, "plot_decision: table must have the columns threshold, model"),
        (plots.plot_calibration, "plot_calibration: table must have the columns predicted, share, n"),
        (lambda t: plots.plot_learning(t, "auroc"), "plot_learning: table must have the columns people, value"),
    ],
)
def test_a_missing_column_is_named(call, said):
    with pytest.raises(ValueError, match=said):
        call(pd.DataFrame({"x": [1]}))
