"""Texts of callers come out as they are, in pages, notebooks, plots and spreadsheets, and are never run or typeset."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

import sslmed as sm
from sslmed.evaluation.card import card
from sslmed.evaluation.learning import learning_curve
from sslmed.reporting import plots
from sslmed.reporting.escape import csv_cell, encodable, plot_text, write_csv
from sslmed.reporting.page import write_report

TAG = "<script>alert('1')</script>&amp;"
MATH = r"$\undefined{$ costs $5_x^$"
FORMULA = '=HYPERLINK("http://x","y")'
HOSTILE = (TAG, MATH, FORMULA, "_clinic", "@SUM(A1)", "+a", "-b", "\tc", "{{ 7*7 }}", "[bold]x[/bold]", "%s {0}")


def shown(figure: Figure) -> str:
    """Every text of a figure as it is drawn: without formulas, and with dollars for escaped ones."""
    figure.canvas.draw()  # raises where a text is taken for a formula that is wrong
    found = []
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        plain, math = text._preprocess_math(text.get_text())
        assert math is False, text.get_text()
        found.append(plain)
    return "\n".join(found)


def cells(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return [cell for row in csv.reader(file) for cell in row]


def is_run(cell: str) -> bool:
    """Whether a spreadsheet would take a cell for a formula."""
    try:
        float(cell)
    except ValueError:
        return cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    return False


def check_page(path: Path, *names: str) -> None:
    page = path.read_text(encoding="utf-8")
    assert "<script" not in page
    for name in names:
        assert encodable(name).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("'", "&#39;").replace('"', "&#34;") in page


@pytest.mark.parametrize("name", HOSTILE)
def test_every_plot_shows_names_as_they_are(name: str) -> None:
    rows = pd.DataFrame({"row": [name, "b"], "value": [0.5, 0.6], "low": [0.4, 0.5], "high": [0.6, 0.7]})
    assert encodable(name) in shown(plots.plot_rows(rows, "auroc").figure)
    assert encodable(name) in shown(plots.plot_rows(rows, name).figure)
    scores = rows.assign(what=name, metric="auroc", chance=0.5, random=0.5)
    assert f"{encodable(name)}: AUROC" in shown(plots.plot_card(scores).figure)
    people = pd.DataFrame({"cohort": [name, name, f"{name} 2"], "age": [20.0, 30.0, 50.0], "sex": ["F", "M", "F"]})
    embedding = pd.DataFrame({"pc1": [0.0, 1.0], "pc2": [0.0, 1.0], "cohort": [name, f"{name} 2"]})
    for given in ({"embedding": embedding}, {}):
        text = shown(plots.plot_shift(people, **given))
        assert text.count(encodable(name)) == 2  # both are in the legend
    assert encodable(name) in shown(plots.plot_shift(people.drop(columns=["age", "sex"]), embedding))
    bins = pd.DataFrame({"predicted": [0.2], "share": [0.3], "n": [4]})
    assert f"of {encodable(name)}" in shown(plots.plot_calibration(bins, name).figure)
    curve = pd.DataFrame({"people": [4, 8], "value": [0.5, 0.6], "low": [0.4, 0.5], "high": [0.6, 0.7], "extrapolated": [False, True]})
    assert encodable(name) in shown(plots.plot_learning(curve, name).figure)


def test_dollars_that_are_escaped_already_stay_as_they_are() -> None:
    for text in (r"a\$b$c", r"\\$x$", "$", "$$", "a$b"):
        figure = Figure()
        figure.subplots().set_xlabel(plot_text(text))
        assert text in shown(figure)


@pytest.mark.parametrize("name", HOSTILE)
def test_cells_of_spreadsheets_are_texts(name: str, tmp_path: Path) -> None:
    write_csv(pd.DataFrame({name: [name, "x", None], "value": [-0.5, np.nan, 2.0], "kind": pd.Categorical([name, "y", "y"])}), tmp_path / "t.csv")
    found = cells(tmp_path / "t.csv")
    assert not any(map(is_run, found))
    assert "-0.5" in found
    assert sum(encodable(name) in cell for cell in found) == 3
    again = pd.read_csv(tmp_path / "t.csv")
    assert again["value"].tolist()[0] == -0.5
    assert again.iloc[:, 0].isna().tolist() == [False, False, True]


def test_numbers_written_as_texts_stay_numbers() -> None:
    assert [csv_cell(value) for value in ("-1", "+4.5", "-1e-3", -3, None, True)] == ["-1", "+4.5", "-1e-3", -3, None, True]
    assert csv_cell("-") == "'-"
    assert csv_cell("＝1+1") == "'＝1+1"


def test_a_page_takes_any_text(tmp_path: Path) -> None:
    table = pd.DataFrame({"row": list(HOSTILE), f"column {TAG}": range(len(HOSTILE))})
    details = {TAG: TAG}
    write_report(tmp_path / "r.html", TAG, [(TAG, table, []), ("b", list(HOSTILE), [])], notes=HOSTILE, stamp=TAG, details=details, intervals=TAG)
    check_page(tmp_path / "r.html", *HOSTILE)


def test_names_that_were_not_utf_8_are_written_with_escapes(tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", "d\udcfc", [])
    assert "<h1>d\\udcfc</h1>" in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert csv_cell("d\udcfc") == "d\\udcfc"
    figure = Figure()
    figure.subplots().set_xlabel(plot_text("d\udcfc"))
    assert "d\\udcfc" in shown(figure)


def cohort(name: str, seed: int, labels: tuple[str, str]) -> sm.Cohort:
    rng, n = np.random.default_rng(seed), 24
    table = pd.DataFrame(
        {
            "subject": [f"{name} {i}" for i in range(n)],
            "age": rng.normal(40 + seed, 9, n),
            "site": np.tile([TAG, MATH, "=1+1"], n // 3),
            f"{MATH} label {TAG}": np.tile(labels, n // 2),
            "=2+2": rng.normal(size=n),
        }
    )
    return sm.Cohort.from_arrays(20 * rng.normal(size=(n, 2, 800)), 100, ["Cz", "O2"], table, name=name)


@pytest.fixture(scope="module")
def transferred() -> Any:
    here = cohort(f"{TAG}$a$", 0, ("=case", "-control"))
    target = f"{MATH} label {TAG}"
    return sm.transfer(None, here, target, baselines=["dummy", "band power"], bootstrap=20, permutations=9, cv=3, positive="=case")


def test_the_report_of_a_transfer(transferred: Any, tmp_path: Path) -> None:
    transferred.save(tmp_path / "t.html")
    check_page(tmp_path / "t.html", f"{MATH} label {TAG}", "=case", "-control")
    transferred.save(tmp_path / "t.csv")
    assert not any(map(is_run, cells(tmp_path / "t.csv")))
    for html in (transferred._repr_html_(), transferred.verdict()._repr_html_()):
        assert "<script" not in html
        assert html.startswith('<div class="tex2jax_ignore mathjax_ignore">')
    shown(transferred.plot().figure)


def test_the_report_of_a_learning_curve(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"subject": range(24), MATH: np.tile(["=a", TAG], 12)})
    result = sm.evaluate(rng.normal(size=(24, 3)), table, MATH, repeats=2, permutations=9, cv=3, positive="=a")
    result.save(tmp_path / "c.html", curve=learning_curve(rng.normal(size=(24, 3)), table, MATH, repeats=2, cv=3))
    check_page(tmp_path / "c.html", MATH, "=a", TAG)


def test_the_report_of_a_shift(tmp_path: Path) -> None:
    report = sm.shift.report(cohort(f"_a {TAG}", 0, ("x", "y")), cohort(f"b {MATH}", 5, ("x", "z")), by=["age", "=2+2", "site"], bootstrap=20, permutations=9)
    report.save(tmp_path / "s.html")
    check_page(tmp_path / "s.html", f"_a {TAG}", "=2+2")
    report.save(tmp_path / "s.csv")
    found = cells(tmp_path / "s.csv")
    assert "'=2+2" in found
    assert not any(map(is_run, found))
    assert "<script" not in report._repr_html_()
    text = shown(report.plot())
    assert f"_a {TAG}" in text
    assert f"b {MATH}" in text


def test_the_card_of_an_encoder(tmp_path: Path) -> None:
    people = cohort(f"{FORMULA} {TAG}", 0, ("=case", "-control"))
    people = people.with_columns(**{FORMULA: np.tile(["u", MATH], 12)})
    encoder = sm.Encoder("vit_tiny", sm.EegPreprocessing(sfreq=100, window=4.0), depth=1)
    found = card(encoder, people, columns=[FORMULA, f"{MATH} label {TAG}"])
    assert "<script" not in found._repr_html_()
    for kind in ("html", "csv", "json"):
        found.save(tmp_path / f"card.{kind}")
    check_page(tmp_path / "card.html", f"{FORMULA} {TAG}", f"{MATH} label {TAG}")
    assert not any(map(is_run, cells(tmp_path / "card.csv")))
    assert f"{MATH} label {TAG}" in shown(found.plot().figure)
