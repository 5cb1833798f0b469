"""Bias correction and brain-age gaps on data whose bias and gaps are known."""

import numpy as np
import pandas as pd
import pytest

import sslmed as sm
from sslmed.evaluation import brain_age


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
    with pytest.warns(sm.WeakFitWarning, match="hardly follow age"):
        flat = brain_age.BiasCorrection().fit(np.full(400, 50.0), age)
    assert flat.slope_ == 0.1
    assert np.isfinite(flat.transform(np.array([50.0]))).all()


def test_gaps_equal_the_regression_that_made_them(rng):
    n = 300
    group = np.array(["control", "back", "joint"] * (n // 3))
    age, sex = rng.uniform(30, 70, n), rng.choice(["F", "M"], n)
    gap = 3.0 * (group == "back") - 0.2 * (age - 50) + 1.5 * (sex == "M") + rng.normal(size=n)
    people = pd.DataFrame({"subject": [f"s{i}" for i in range(n)], "diagnosis": group, "age": age, "sex": sex})
    predictions = pd.DataFrame({"row": "model", "subject": people["subject"], "truth": age, "label": np.nan, "predicted": age + gap})
    predictions = pd.concat([predictions, predictions.assign(row="other", predicted=0.0)])
    table = brain_age.gaps(predictions, people, row="model", group="diagnosis", reference="control").set_index("group")
    assert table.index[0] == "control"
    assert table.loc["back", "difference"] == pytest.approx(3, abs=0.5)
    assert table.loc["back", "low"] < 3 < table.loc["back", "high"]
    assert table.loc["back", "p_holm"] < 1e-6
    assert table.loc["joint", "p"] > 0.001
    # The same by hand: least squares on the design matrix.
    x = np.column_stack([np.ones(n), group == "back", group == "joint", age, sex == "M"]).astype(float)
    beta = np.linalg.lstsq(x, gap, rcond=None)[0]
    assert table.loc["back", "difference"] == pytest.approx(beta[1])
