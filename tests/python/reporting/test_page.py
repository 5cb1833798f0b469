import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from sslmed.reporting.page import write_report


def test_a_page_holds_everything_and_loads_nothing(tmp_path):
    figure = Figure()
    figure.subplots().plot([0, 1])
    table = pd.DataFrame({"row": ["dummy", "pretrained encoder"], "n_subjects": [3, 4], "value": [0.25, 0.00002], "p": [np.nan, 1.0]})
    write_report(tmp_path / "r.html", "A <title>", [("Scores", table, [figure]), ("None", None, [])], notes=["A note & more"], stamp="SYNTHETIC")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    cells = ("<td>0.250</td>", "<td>2.0e-05</td>", "<td></td>")
    for part in ("A &lt;title&gt;", "n subjects", *cells, "A note &amp; more", "SYNTHETIC", "data:image/png;base64,"):
        assert part in page
    assert page.count('class="pretrained"') == 1
    assert "http" not in page


def test_a_section_must_be_a_triple(tmp_path):
    with pytest.raises(ValueError, match=r"write_report: sections\[0\] must be \(title, table or None, figures\), got 2 entries"):
        write_report(tmp_path / "r.html", "t", [("a", None)])
