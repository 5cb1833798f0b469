"""Every parameter of the functions on confounding that can be wrong: one bad value each, as ``test_errors.py`` does for the rest."""

import inspect

import numpy as np
import pandas as pd
import pytest

from sslmed.evaluation import confounding as cf
from sslmed.evaluation import matching

RNG = np.random.default_rng(0)
N = 24
POSITIVE = np.arange(N) % 2 == 0
SCORES = RNG.normal(size=N)
AGE = RNG.normal(size=(N, 1))
X = RNG.normal(size=(N, 3))
TABLE = pd.DataFrame(
    {
        "subject": [f"s{i}" for i in range(N)],
        "y": np.where(POSITIVE, "b", "a"),
        "age": np.linspace(20.5, 70, N),
        "sex": np.tile(["F", "F", "M", "M"], N // 4),
        "site": np.repeat(["p", "q"], N // 2),
        "same": "x",
        "empty": np.nan,
        "infinite": np.inf,
        "three": np.tile(["u", "v", "w"], N // 3),
        "pair": np.arange(N) // 2,
    }
)
TWICE = pd.concat([TABLE, TABLE.iloc[:1].assign(y="a", site="q", pair=9)], ignore_index=True)
MODEL = cf.ConfoundRegression().fit(X, AGE)
TESTED = {"target": TABLE["y"].to_numpy(), "predicted": SCORES, "confounder": AGE[:, 0], "draws": 5}

CALLS = {
    cf.adjusted_auroc: {"positive": POSITIVE, "scores": SCORES, "covariates": AGE, "fold": np.arange(N) // 6},
    cf.log_odds: {"probability": [0.5]},
    cf.standardized_differences: {"table": TABLE, "target": "y", "columns": ["age"]},
    cf.covariate_levels: {"table": TABLE, "columns": ["age"]},
    cf.design: {"table": TABLE, "columns": ["age", "sex"]},
    cf.regress_out: {"train_features": X, "train_covariates": AGE, "features": X, "covariates": AGE, "controls": POSITIVE},
    MODEL.fit: {"x": X, "covariates": AGE},
    MODEL.transform: {"x": X, "covariates": AGE},
    cf.partial_confounder_test: TESTED,
    cf.full_confounder_test: TESTED,
    matching.assign: {"one": TABLE[::2], "two": TABLE[1::2], "on": {"age": 5.0}},
    matching.match_within: {"table": TABLE, "target": "y", "on": {"age": 5.0}},
    matching.paired_folds: {"table": TABLE, "pairs": "pair", "k": 3},
    matching.leave_one_out: {"table": TABLE, "column": "site", "target": "y"},
}

_TABLE = [("table", "x", "table='x' must be a DataFrame"), ("table", TABLE.drop(columns="subject"), "table has no column 'subject'")]
_COLUMNS = [
    ("columns", "age", "columns='age' must be a list of columns"),
    ("columns", ["x"], "columns: 'x' is not a column of table"),
    ("columns", [], r"columns=\[\] must name at least one"),
]
_TARGETS = [
    ("target", "x", "target: 'x' is not a column"),
    ("target", "same", "target='same' must have at least two classes, got 'x'"),
    ("target", "empty", "target='empty' must have at least two classes, got an empty column"),
    ("target", "age", "target='age' must be a column of classes, got numbers"),
]
_VALUES = [("columns", ["empty"], "columns: column 'empty' is empty"), ("columns", ["infinite"], "columns: column 'infinite' has infinite numbers")]
_TESTS = [
    ("draws", 0, "draws=0 must be a whole number of at least 1"),
    ("seed", -1, "seed=-1 must be a whole number"),
    ("target", ["a"] * N, "target has one value only, 'a'"),
    ("target", [None, *"ab" * (N // 2 - 1), "a"], "target has values that are missing"),
    ("target", list("aba"), "predicted must have one value for each of the 3 rows of target"),
    ("predicted", SCORES[:3], "predicted must have one value for each of the 24 rows"),
    ("predicted", SCORES * np.nan, "predicted has values that are missing or not finite"),
    ("confounder", np.ones(N), "confounder has one value only"),
    ("confounder", AGE, "confounder must have one value"),
    ("groups", [1], "groups must have one subject for each of 24 rows, got 1"),
    ("groups", np.zeros(N), "target varies within subject '0.0'"),
]
_ROWS = [
    ("x", X[:, 0], r"x must be \[n, columns\], got shape \[24\]"),
    ("x", X * np.nan, "x has values that are not finite"),
    ("covariates", AGE[:3], "covariates must have one row"),
]

BAD = {
    cf.adjusted_auroc: [
        ("positive", np.zeros((N, 1, 1)), r"positive must be \[n >= 1\]"),
        ("positive", POSITIVE | (np.arange(N) > 2), "positive leaves 1 controls for 1 covariates"),
        ("scores", SCORES[:3], r"scores must be \[24\] or \[24, m\], as positive has 24 rows"),
        ("scores", SCORES * np.nan, "scores has values that are not finite"),
        ("covariates", AGE[:, 0], r"covariates must be \[24, q\]"),
        ("covariates", AGE * np.inf, "covariates has values that are not finite"),
        ("fold", [1], "fold must have one entry for each of the 24 rows"),
    ],
    cf.log_odds: [("probability", [1.5], r"probability must lie within \[0, 1\]"), ("limit", 0.0, r"limit=0.0 must be a number within \(0, 0.5\)")],
    cf.standardized_differences: [*_TABLE, *_COLUMNS, *_TARGETS],
    cf.covariate_levels: [*_TABLE[:1], *_COLUMNS, *_VALUES],
    cf.design: [
        *_TABLE[:1],
        *_COLUMNS,
        *_VALUES,
        ("levels", {}, "levels has no entry for column 'age'"),
        ("levels", cf.covariate_levels(TABLE.assign(sex="F"), ["age", "sex"]), "levels: column 'sex' has the value 'M', but training rows only 'F'"),
        ("levels", cf.covariate_levels(TABLE.assign(sex=1.5), ["age", "sex"]), "levels: column 'sex' is made of numbers in training rows, got 'F'"),
    ],
    cf.regress_out: [
        ("train_features", X[:, 0], r"train_features must be \[n, columns\]"),
        ("train_covariates", AGE[:3], "train_covariates must have one row for each of the 24 rows of train_features, got 3"),
        ("features", X[:, :2], "features must have the 3 features of the training rows, got 2"),
        ("covariates", X, "covariates must have the 1 columns of the training rows, got 3"),
        ("controls", [0, 1], "controls must be a mask of 24 rows"),
        ("controls", POSITIVE & False, "controls has 0 rows"),
    ],
    MODEL.fit: [
        *_ROWS,
        ("controls", POSITIVE[:3], "controls must be a mask of 24 rows, got bool of shape"),
        ("covariates", AGE * np.nan, "covariates has values"),
    ],
    MODEL.transform: [*_ROWS, ("x", X[:, :2], "x must have the 3 features"), ("covariates", X, "covariates must have the 1 columns")],
    cf.partial_confounder_test: _TESTS,
    cf.full_confounder_test: _TESTS,
    matching.assign: [
        ("ratio", 0, "ratio=0 must be a whole number of at least 1"),
        ("on", {"age": -1.0}, r"on\['age'\]=-1.0 must be a number above 0"),
        ("on", {"sex": 1.0}, "on: column 'sex' must be numeric to have a caliper"),
    ],
    matching.match_within: [
        *_TABLE,
        *_TARGETS,
        ("table", TWICE, "target='y' varies within subject 's0'"),
        ("target", "three", "target='three' must have two classes, got 'u', 'v', 'w'"),
        ("on", "age", "on='age' must be a mapping"),
        ("on", {}, "on={} must name at least one column"),
        ("on", {"x": None}, "on: 'x' is not a column of table"),
        ("on", {"subject": None}, "on={'subject': None} allows no pair of 'b' and 'a'"),
        ("on", {"age": 0.0}, r"on\['age'\]=0.0 must be a number above 0"),
        ("ratio", 1.5, "ratio=1.5 must be a whole number"),
    ],
    matching.paired_folds: [
        *_TABLE,
        ("table", TWICE, "pairs: subject 's0' is in more than one pair"),
        ("pairs", "x", "pairs: 'x' is not a column"),
        ("pairs", 3, "pairs=3 must be a column of table, or a mapping"),
        ("k", 1, "k=1 must be a whole number of at least 2"),
        ("k", 13, "k=13 must be at most 12, the 12 pairs and 0 single people"),
        ("stratify", "x", "stratify: 'x' is not a column"),
        ("seed", -1, "seed=-1"),
    ],
    matching.leave_one_out: [
        *_TABLE,
        ("table", TWICE, "column='site': subject 's0' has two values"),
        ("column", "x", "column: 'x' is not a column"),
        ("column", "same", "column='same' has one value only, 'x'"),
        ("column", "empty", "column 'empty' has 24 missing values, such as row 0"),
        ("target", "x", "target: 'x' is not a column"),
        ("target", "site", "target='site': without site 'p' training rows have one class only, 'q'"),
    ],
}
# Any table with the columns of ``on`` is valid: match_within has checked it.
FREE = {"one", "two", "where"}
# An error may name the other of two parameters that do not fit.
OTHERWISE = {"table", "target"}

CASES = [(call, *case) for call, cases in BAD.items() for case in cases]


@pytest.mark.parametrize(("call", "parameter", "value", "said"), CASES, ids=[f"{c.__qualname__}-{p}-{i}" for i, (c, p, _, _) in enumerate(CASES)])
def test_a_bad_value_is_refused_by_name(call, parameter, value, said):
    with pytest.raises((ValueError, TypeError), match=said) as caught:
        call(**CALLS[call] | {parameter: value})
    assert parameter in str(caught.value) or parameter in OTHERWISE


@pytest.mark.parametrize("call", list(CALLS), ids=lambda call: call.__qualname__)
def test_a_valid_call_passes_and_every_parameter_is_walked(call):
    call(**CALLS[call])
    walked = {parameter for parameter, *_ in BAD[call]}
    assert not [p for p in inspect.signature(call).parameters if p not in walked | FREE]


def test_every_public_function_is_walked():
    functions = {value for module in (cf, matching) for name in module.__all__ if inspect.isfunction(value := getattr(module, name))}
    assert functions <= set(CALLS)
