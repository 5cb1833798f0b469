"""What could pass for a healthy scan without a word: numbers that are not known, lesions that nobody drew."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import sslmed as sm
from sslmed.anomaly import Atlas, Detection, Dummy, Mahalanobis
from sslmed.anomaly.detect import _tested_lines
from sslmed.anomaly.scoring import Case


def people(first, n, sick=0):
    """Recordings of noise of people 001, 002 …"""
    numbers = range(first, first + n)
    table = pd.DataFrame({"subject": [f"{i:03d}" for i in numbers], "age": [20.0 + i for i in numbers]})
    table = table.assign(sick=[i < first + sick for i in numbers])
    x = np.random.default_rng(first).normal(size=(n, 2, 400))
    return sm.Cohort.from_arrays(x, 100.0, ["Cz", "Pz"], table, name=f"from {first}")


@dataclasses.dataclass(frozen=True)
class Unknown:
    """A method that does not know what to say of some people."""

    needs = "nothing"
    silent: tuple[str, ...] = ()
    name: str = "unknown"

    def fit(self, scans, seed):
        return {}

    def detect(self, state, scan, seed):
        return Detection(float("nan") if scan.subject in self.silent else float(scan.subject))


@pytest.fixture(scope="module")
def adjusted():
    how = {"methods": ["dummy"], "validation": people(21, 12), "target": "sick", "covariates": ["age"]}
    return sm.detect_anomalies(people(1, 20), people(40, 4, 2), **how)


@pytest.mark.parametrize("silent", ["021", "041"])
def test_a_score_that_is_not_finite_is_an_error(silent):
    """A comparison with NaN is no alarm."""
    how = {"methods": [Unknown((silent,))], "validation": people(21, 12), "target": "sick"}
    with pytest.raises(ValueError, match=r"row \d: unknown: scores must be finite"):
        sm.detect_anomalies(people(1, 20), people(40, 4, 2), **how)


def test_predict_needs_the_columns_of_thresholds(adjusted):
    new = people(60, 3)
    assert np.isfinite(adjusted.predict(new)["threshold"]).all()
    with pytest.raises(ValueError, match="covariates: row 1 has no 'age'"):
        adjusted.predict(new.with_columns(age=[20.0, np.nan, 30.0]))
    with pytest.raises(ValueError, match="must hold finite numbers"):
        adjusted.predict(new.with_columns(age=[20.0, np.inf, 30.0]))
    table = new.table.drop(columns="age")
    bare = sm.Cohort.from_arrays(np.zeros((3, 2, 400)), 100.0, ["Cz", "Pz"], table[["subject"]])
    with pytest.raises(ValueError, match="covariates: the table has no column 'age'"):
        adjusted.predict(bare)


def test_names_that_look_like_numbers_stay_names(adjusted, tmp_path):
    adjusted.save(tmp_path)
    again = sm.AnomalyResult.load(tmp_path)
    pd.testing.assert_frame_equal(again.scores, adjusted.scores, check_dtype=False)
    assert again.scores["subject"].iloc[0] == "021"


def test_false_alarms_of_unknown_lesions_are_not_known():
    scores, looked = np.zeros((4, 4), np.float32), np.ones((4, 4), bool)
    scores[1, 1] = 1.0
    cohort = people(1, 2, 1)
    cases = [Case(name, name == "001", 1.0, 0.5, scores, looked, None) for name in ("001", "002")]
    cases[1].truth = np.zeros((4, 4), bool)
    lines = _tested_lines("a", cohort, cases, {"share": np.array([0.5, 0.5])})
    assert np.isnan(lines["false_share"].iloc[0])
    assert lines["false_share"].iloc[1] == 1


def test_no_value_of_lesions_is_an_error():
    how = {"methods": [Dummy()], "validation": people(21, 12), "target": "sick"}
    with pytest.raises(ValueError, match=r"lesions=\[\] must hold at least one value"):
        sm.detect_anomalies(people(1, 20), people(40, 4, 2), lesions=[], **how)


@pytest.mark.parametrize("method", [Atlas, Mahalanobis])
def test_a_share_is_at_most_one(method):
    with pytest.raises(ValueError, match=r"top=1\.5"):
        method(top=1.5)
