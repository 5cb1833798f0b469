import numpy as np
import pandas as pd
import pytest

from sslmed.reporting import plots


def test_history_is_drawn_with_its_running_mean():
    ax = plots.plot_history(pd.DataFrame({"step": range(100), "loss": np.linspace(2, 1, 100)}))
    assert [len(line.get_xdata()) for line in ax.lines] == [100, 100]
    assert ax.get_ylabel() == "loss"


def test_rows_are_drawn_in_the_order_of_the_table():
    table = pd.DataFrame({"row": ["dummy", "pretrained encoder"], "value": [0.5, 0.8], "low": [0.4, 0.7], "high": [0.6, 0.9]})
    ax = plots.plot_rows(table, "auroc")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["dummy", "pretrained encoder"]
    assert list(ax.get_yticks()) == [1, 0]
    assert plots.plot_rows(table, "auroc", ax) is ax


def test_shift_has_a_panel_for_whatever_is_known():
    people = pd.DataFrame({"cohort": ["a", "a", "b"], "age": [20.0, 30.0, 50.0], "sex": ["F", "M", "F"]})
    embedding = pd.DataFrame({"pc1": [0.0, 1.0], "pc2": [0.0, 1.0], "cohort": ["a", "b"]})
    assert len(plots.plot_shift(people, embedding).axes) == 3
    assert len(plots.plot_shift(people.drop(columns="age")).axes) == 1


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda t: plots.plot_history(t), "plot_history: history must have the columns step, loss; step, loss is missing"),
        (lambda t: plots.plot_rows(t, "auroc"), "plot_rows: table must have the columns"),
        (lambda t: plots.plot_shift(t), "plot_shift: people must have the columns cohort"),
        (lambda t: plots.plot_shift(t.assign(cohort="a"), t), "plot_shift: embedding must have the columns"),
    ],
)
def test_a_missing_column_is_named(call, said):
    with pytest.raises(ValueError, match=said):
        call(pd.DataFrame({"x": [1]}))
