"""Every parameter that can be wrong: one bad value each, and an error that names the parameter.

``CALLS`` holds a valid call of each public function, ``BAD`` one bad value (or more) for each of its parameters. A parameter that has neither a bad value
nor a place in ``FREE`` fails the test, so that a new one is not forgotten.
"""

import inspect
import os
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest

import sslmed as sm
from sslmed import Encoder, labels, leakage, provenance
from sslmed.evaluation import adaptation, brain_age, identification, learning, manifest, metrics, probes, sample_size, statistics, subgroups
from sslmed.evaluation.openbhb import openbhb_score
from sslmed.evaluation.transfer import knn_score, plan


@lru_cache
def people(n=8, name="here", per=1):
    """Recordings of two classes; ages, sexes, and columns that nothing can be learned from."""
    rng = np.random.default_rng(len(name))
    table = pd.DataFrame(
        {
            "subject": [f"{name}{i // per}" for i in range(n)],
            "y": np.tile(["a", "b"], n // 2),
            "age": np.linspace(20.5, 70.5, n),
            "sex": np.tile(["F", "F", "M", "M"], n // 4),
            "same": "x",
            "empty": np.nan,
            "some": [1.5, None] * (n // 2),
        }
    )
    return sm.Cohort.from_arrays(rng.normal(size=(n, 2, 800)), 100, ["Cz", "O2"], table, name=name)


@lru_cache
def encoder():
    return Encoder("vit_tiny", sm.EegPreprocessing(sfreq=100, window=4, patch=1), depth=1)


@lru_cache
def result(target="y"):
    return sm.transfer(None, people(), target, cv=2, baselines=["dummy", "band power"], bootstrap=5)


@lru_cache
def fitted(target="y"):
    return sm.finetune(encoder(), people(), target, sm.FineTuning(epochs=1, batch_size=8))


X = np.random.default_rng(0).normal(size=(12, 3))
Z = np.random.default_rng(1).normal(size=(10, 3))
WHO = np.repeat(np.arange(6), 2)
POSITIVE = np.arange(12) % 2 == 0
CLASSES = np.array(["a", "b"])
HALVES = pd.Series(np.repeat(["x", "y"], 6))
Y = np.where(POSITIVE, "a", "b")
P = np.stack([np.linspace(0, 1, 12), 1 - np.linspace(0, 1, 12)], axis=1)
COVARIANCES = np.stack([np.cov(np.random.default_rng(i).normal(size=(3, 50))) for i in range(6)])
NORMALIZE, CORAL, WEIGHTS = adaptation.Normalize().fit(X, Z), adaptation.Coral(), adaptation.ImportanceWeights()
IDENTITY, RECENTER = adaptation.RemoveIdentity(), adaptation.Recenter()
CORRECTION = brain_age.BiasCorrection().fit(X[:, 0], 20 + X[:, 0], WHO)

TABLE = pd.DataFrame({"subject": np.arange(12), "y": Y, "age": 20.5 + X[:, 1], "three": list("abc") * 4, "same": "x", "empty": np.nan})

SITES = TABLE[["subject", "age"]].assign(site=["p", "q"] * 6, word="x", same="p")
ELSEWHERE = pd.DataFrame({"subject": np.arange(20, 30), "age": 20.5 + Z[:, 1], "site": "r"})

CALLS = {
    sm.evaluate: lambda: {"features": X, "table": TABLE, "target": "y", "cv": 2, "repeats": 1, "permutations": 3},
    sm.transfer: lambda: {"encoder": encoder(), "cohort": people(), "target": "y", "cv": 2, "bootstrap": 5, "baselines": ["dummy"], "repeats": 1},
    plan: lambda: {"encoder": encoder(), "cohort": people(), "target": "y", "cv": 2},
    knn_score: lambda: {"encoder": encoder(), "cohort": people(), "target": "y", "cv": 2},
    sm.few_shot: lambda: {"encoder": encoder(), "cohort": people(), "target": "y", "shots": (1,), "repeats": 1},
    sm.transfer_matrix: lambda: {"encoder": None, "cohorts": [people(), people(name="there")], "target": "y", "cv": 2, "bootstrap": 5, "baselines": "dummy"},
    sm.evaluation.splits: lambda: {"cohort": people(), "cv": 2, "stratify": "y"},
    sm.finetune: lambda: {"encoder": encoder(), "cohort": people(), "target": "y", "options": sm.FineTuning(epochs=1, batch_size=8)},
    sm.FineTuning: lambda: {},
    sm.FineTuned.predict: lambda: {"self": fitted(), "cohort": people(name="there")},
    sm.FineTuned.predict_proba: lambda: {"self": fitted(), "cohort": people(name="there")},
    sm.FineTuned.score: lambda: {"self": fitted(), "cohort": people(name="there")},
    sm.TransferResult.subgroups: lambda: {"self": result(), "by": "sex", "draws": 5},
    sm.TransferResult.confusion: lambda: {"self": result(), "row": "dummy"},
    sm.TransferResult.calibration: lambda: {"self": result(), "row": "dummy", "label": "a"},
    sm.TransferResult.plot: lambda: {"self": result()},
    metrics.score: lambda: {"metric": "auroc", "y": Y, "predicted": P, "classes": CLASSES},
    metrics.auroc: lambda: {"positive": POSITIVE, "scores": P[:, 0]},
    metrics.auprc: lambda: {"positive": POSITIVE, "scores": P[:, 0]},
    metrics.calibration: lambda: {"positive": POSITIVE, "probability": P[:, 0]},
    metrics.confusion: lambda: {"y": Y, "predicted": P, "classes": CLASSES},
    statistics.bootstrap: lambda: {"statistic": lambda rows: float(rows.sum()), "groups": WHO, "draws": 5},
    statistics.delong: lambda: {"positive": POSITIVE, "a": P[:, 0], "b": P[:, 1]},
    statistics.paired_permutation: lambda: {"statistic": lambda p: float(p.sum()), "a": P, "b": P + 1, "groups": WHO, "draws": 5},
    statistics.holm: lambda: {"p": [0.1, 0.2]},
    statistics.holm_within: lambda: {"p": [0.1, 0.2], "families": ["a", "b"]},
    statistics.tail: lambda: {"n": 20},
    subgroups.subgroups: lambda: {"rows": {"model": (P, CLASSES)}, "truth": Y, "subjects": WHO, "values": HALVES, "metric": "auroc", "draws": 5},
    subgroups.interaction_test: lambda: {"predicted": P, "truth": Y, "subjects": WHO, "groups": HALVES, "metric": "brier", "classes": CLASSES, "draws": 5},
    subgroups.binned: lambda: {"values": pd.Series(X[:, 0])},
    probes.probe: lambda: {"protocol": "linear", "regression": True},
    probes.fit_predict: lambda: {"x": X, "y": Y, "groups": WHO, "x_test": Z, "classes": CLASSES, "protocol": "knn", "regression": False},
    adaptation.Coral: lambda: {},
    adaptation.ImportanceWeights: lambda: {},
    adaptation.RemoveIdentity: lambda: {},
    adaptation.resolve: lambda: {"adaptation": "coral"},
    NORMALIZE.fit: lambda: {"source": X, "target": Z},
    CORAL.fit: lambda: {"source": X, "target": Z},
    WEIGHTS.fit: lambda: {"source": X, "target": Z, "groups": WHO},
    IDENTITY.fit: lambda: {"source": X, "groups": WHO},
    RECENTER.fit: lambda: {"source": COVARIANCES, "target": COVARIANCES},
    NORMALIZE.transform: lambda: {"features": Z},
    adaptation.euclidean_alignment: lambda: {"windows": np.random.default_rng(0).normal(size=(4, 2, 50)), "groups": [0, 0, 1, 1]},
    adaptation.log_vectors: lambda: {"covariances": COVARIANCES},
    CORRECTION.fit: lambda: {"predictions": X[:, 0], "age": 20 + X[:, 0], "groups": WHO},
    CORRECTION.transform: lambda: {"predictions": Z[:, 0], "groups": np.arange(10, 20)},
    brain_age.held_out_line: lambda: {"predict": lambda train, held: 20 + X[held, 0], "age": 20 + X[:, 0], "groups": np.arange(12), "share": 0.5},
    brain_age.weak_slope: lambda: {"slope": 0.2},
    openbhb_score: lambda: {
        "features_internal": X,
        "table_internal": SITES,
        "features_external": Z,
        "table_external": ELSEWHERE,
        "draws": 3,
    },
    probes.corrected_predict: lambda: {
        "x": X,
        "y": 20 + X[:, 0],
        "groups": WHO,
        "folds": [(np.arange(8), np.arange(8, 12))],
        "protocol": "linear",
    },
    brain_age.gaps: lambda: {
        "predictions": result("age").predictions,
        "people": people().subjects,
        "row": "band power",
        "group": "y",
        "reference": "a",
        "covariates": ["age"],
    },
    sm.shift.report: lambda: {"public": people(), "clinic": people(name="there"), "encoder": None, "by": ["age"], "bootstrap": 5, "permutations": 1},
    sm.shift.distance_from: lambda: {"reference": people(), "cohort": people(name="there")},
    sm.shift.mmd: lambda: {"x": X, "y": Z},
    sm.shift.coral_distance: lambda: {"x": X, "y": Z},
    sm.shift.frechet_distance: lambda: {"x": X, "y": Z},
    sm.shift.identity_variance: lambda: {"features": X, "subjects": WHO, "draws": 5},
    sm.shift.label_shift: lambda: {"truth": Y, "predicted": np.eye(2)[(Y == "b").astype(int)], "predicted_elsewhere": P, "classes": CLASSES, "draws": 5},
    sm.shift.match: lambda: {"a": people(), "b": people(name="there"), "on": {"age": 5.0}},
    sm.shift.balance: lambda: {"a": people(), "b": people(name="there"), "columns": ["age"]},
    labels.is_regression: lambda: {"target": np.array(["a"])},
    labels.labeled: lambda: {"cohort": people(), "target": "y"},
    leakage.refuse_overlap: lambda: {"train": ["a"], "test": ["b"]},
    provenance.record: lambda: {"provenance": None, "kind": "finetuning", "cohort": people(), "target": "y"},
    provenance.overlap: lambda: {"encoder": encoder(), "cohort": people()},
}

_ENCODER = ("encoder", 3, "encoder=3: expected a name")
_COHORT = ("cohort", "cohort.tsv", r"cohort='cohort\.tsv' must be a Cohort")
_TARGETS = [
    ("target", "x", "target='x' is not a column of the table; there are"),
    ("target", "same", "target='same' has one value only, 'x'"),
    ("target", "empty", "target='empty' is an empty column"),
]
_THREADS = ("threads", 0, "threads=0 must be a whole number of at least 1")
_SEED = ("seed", -1, "seed=-1 must be a whole number of at least 0")
_DRAWS = ("draws", 0, "draws=0 must be a whole number of at least 1")
_ON_ERROR = ("on_error", "ignore", "on_error='ignore' must be one of 'raise', 'skip'")
_RUN = [_THREADS, _SEED, _ON_ERROR]
_PLANNED = [
    _ENCODER,
    _COHORT,
    *_TARGETS,
    *_RUN,
    ("cv", 1, "cv=1 must be"),
    ("cv", [([0], [0])], "cv, fold 0: subject 'here0'"),
    ("regression", True, "regression=True needs numbers"),
    ("regression", "yes", "regression='yes' must be True, False"),
    ("test", "there.tsv", r"test='there\.tsv' must be a Cohort"),
    ("test", people(), "test='here': 8 subjects are in training and test data at once"),
    ("test", people(name="there").with_columns(y="c"), "values in test that here has not: c"),
]
_FEATURES = [("x", X[:1], r"x must be features \[n >= 2, D\]"), ("x", X * np.nan, "x has values that are not finite"), ("y", Z[:, :2], "y must have the 3")]
_SOURCES = [
    ("source", X[0], r"source must be features \[n >= 2, D\], got shape \[3\]"),
    ("source", X * np.inf, "source has values that are not finite"),
    ("target", None, r"target must be features \[n >= 2, D\], got None"),
    ("target", Z[:, :2], "target must have the 3 features of source, got 2"),
]
_PREDICT = [_COHORT, ("cohort", people(), "cohort='here': 8 subjects are in training"), _THREADS, _ON_ERROR, ("batch_size", 0, "batch_size=0 must be")]

_COMPARED = [
    ("positive", "c", "positive='c' must be one of 'a', 'b'"),
    ("compare", ["x"], r"compare=\['x'\]: 'x' is not another row; there are dummy"),
    ("compare", "x", "'x' is not another row; there are dummy"),
    ("covariates", "age", r"covariates='age' must be a list of columns, such as \['age'\]"),
    ("covariates", ["x"], "covariates: 'x' is not a column of the table; there are"),
    ("covariates", ["age", "y"], "covariates=.* must not hold the target 'y'"),
    ("covariates", ["subject"], "covariates=.* must not hold the column 'subject'"),
    ("level", "people", "level='people' must be one of 'person', 'recording'"),
    ("prevalence", 0, "prevalence=0 must be a number above 0 and at most 1"),
    ("prevalence", 10, "prevalence=10 must be a number above 0 and at most 1"),
    ("repeats", 0, "repeats=0 must be a whole number of at least 1"),
    ("repeats", 2.5, "repeats=2.5 must be a whole number of at least 1"),
    ("permutations", -1, "permutations=-1 must be a whole number of at least 0"),
]

BAD = {
    openbhb_score: [
        ("features_internal", X[0], r"features_internal must be features \[n >= 2, D\], got shape \[3\]"),
        ("features_internal", X[:7], "table_internal has 12 rows, expected one for each of the 7 rows of features"),
        ("features_external", Z[:, :2], "features_external must have the 3 features of features_internal, got 2"),
        ("features_external", Z * np.nan, "features_external has values that are not finite"),
        ("table_internal", "sites.tsv", "table_internal: table='sites.tsv' must be a DataFrame"),
        ("table_internal", SITES.assign(age="old"), "table_internal: age='age' must be a column of numbers, got"),
        ("table_internal", SITES.drop(columns="subject"), "table_internal: table has no column 'subject'"),
        ("table_internal", SITES.assign(site=["p"] * 8 + ["q"] * 4), "site 'q' has 4 people, expected at"),
        ("table_external", ELSEWHERE.assign(age=None), "table_external: table: column 'age' has 10 missing values"),
        ("table_external", ELSEWHERE.assign(subject=np.arange(10)), "table_external: 10 subjects are in"),
        ("table_external", ELSEWHERE.assign(site="q"), "table_external: site 'q' is internal too"),
        ("age", "years", "table_internal: age: 'years' is not a column of table"),
        ("age", "word", "age='word' must be a column of numbers, got values such as 'x'"),
        ("site", "scanner", "table_internal: site: 'scanner' is not a column of table"),
        ("site", "same", "site='same' must have at least two sites in table_internal, got one"),
        ("test", np.ones(12, bool), r"test must be \[12\] bool with rows of both kinds, got bool \[12\]"),
        ("test", np.arange(12), r"test must be \[12\] bool with rows of both kinds, got int64 \[12\]"),
        ("test", np.arange(12) % 2 == 0, "test: site 'p' has 0 people in the training rows, expected at least 2"),
        ("test", np.arange(12) == 0, "test: site 'q' has 0 people in the test rows, expected at least 1"),
        _DRAWS,
        _SEED,
    ],
    sm.evaluate: [
        *_COMPARED,
        *_TARGETS,
        _SEED,
        ("cv", 1, "cv=1 must be"),
        ("cv", [([0], [0])], "cv, fold 0: subject '0' in training and test data at once"),
        ("regression", True, "regression=True needs numbers"),
        ("regression", "yes", "regression='yes' must be True, False"),
        ("protocol", "finetune", "protocol='finetune' must be one of 'linear', 'knn', 'forest'"),
        ("table", {"subject": [1]}, "table must be a pandas DataFrame with a row a recording, got dict"),
        ("table", TABLE.drop(columns="subject"), "table needs a column 'subject', found y, age"),
        ("table", TABLE.assign(subject=None), "every row needs a subject"),
        ("features", X[:3], r"features must be \[12, D >= 1\], or covariances \[12, C, C\], one row a row of the table, got \[3, 3\]"),
        ("features", X[:, 0], r"features must be .*, got \[12\]"),
        ("features", X[:, :0], r"features must be .*, got \[12, 0\]"),
        ("features", X[:, None], r"features must be .*, got \[12, 1, 3\]"),
        ("features", X.astype(str) + "x", "features must be numbers, got"),
        ("features", np.where(np.arange(12)[:, None] == 4, np.nan, X), "features has 1 rows that are not finite, such as row 4; leave them out"),
        ("features", {}, "features={} must hold at least one array"),
        ("features", {"a": X, "b": X[:3]}, r"features\['b'\] must be \[12"),
        ("features", {"dummy": X}, r"features\['dummy'\] has the name of another row of the table"),
    ],
    sm.transfer: [
        *_PLANNED,
        *_COMPARED,
        ("controls", "age > 30", "controls='age > 30' needs bias_correction=True"),
        ("protocol", "forest", "protocol='forest' must be one of 'linear'"),
        ("baselines", ["x"], r"baselines=\['x'\] has the unknown row 'x'"),
        ("baselines", "x", "baselines='x' has the unknown row"),
        ("pooling", "x", "pooling"),
        ("adaptation", "magic", "adaptation='magic' must be one of"),
        ("adaptation", 3, "adaptation=3 must be one of"),
        ("adaptation", "coral", "adaptation='coral' needs a cohort to adapt to: pass it as test"),
        ("bias_correction", True, "bias_correction=True needs a regressed target"),
        ("bootstrap", 0, "bootstrap=0 must be"),
        ("transductive", "forgive", "transductive='forgive' must be one of 'tell', 'exclude', 'raise'"),
    ],
    plan: [*_PLANNED, ("repeats", 0, "repeats=0 must be a whole number of at least 1")],
    knn_score: [case for case in _PLANNED if case[0] in ("encoder", "cohort", "target", "cv", "seed", "threads", "on_error")],
    sm.few_shot: [
        _ENCODER,
        _COHORT,
        *_TARGETS[:1],
        ("target", "same", "target has one class only, 'x'"),
        *_RUN,
        ("target", "age", "target='age' is regressed"),
        ("protocol", "lora", "protocol='lora' must be one of 'linear', 'knn'"),
        ("repeats", 0, "repeats=0"),
        ("pooling", "x", "pooling"),
        ("shots", (), r"shots=\(\) must be a list"),
        ("shots", (4,), r"shots=\[4\] must be within 1 and 3"),
        ("shots", 3, "shots=3 must be a list"),
        ("cohort", people(per=2), "subject here0 has recordings of two classes"),
    ],
    sm.transfer_matrix: [
        _ENCODER,
        *_TARGETS[:1],
        ("cohorts", [people()], "cohorts must be at least two"),
        ("cohorts", [people()] * 2, "cohorts must have different names"),
        ("cohorts", [people(), "x"], r"cohorts\[1\] must be a Cohort"),
        ("protocol", "x", "protocol='x'"),
        ("options", {"test": 1}, "test is taken from cohorts"),
    ],
    sm.evaluation.splits: [
        _COHORT,
        _SEED,
        ("cv", 9, "cv=9 must be"),
        ("stratify", "x", "stratify='x' is not a column"),
        ("duplicates", pd.DataFrame({"x": [1]}), "found needs the columns cohort_a"),
    ],
    sm.finetune: [
        _ENCODER,
        _COHORT,
        *_TARGETS,
        *_RUN,
        ("options", "x", "options='x' must be a FineTuning or one of"),
        ("regression", True, "regression=True needs"),
        ("unlabeled", people(name="there"), "unlabeled is used by"),
        ("options", sm.FineTuning(dann=0.1), "unlabeled=None, but"),
        ("options", sm.FineTuning(groups="x"), r"FineTuning\(groups='x'\) is not a column"),
        ("options", sm.FineTuning(groups="some"), r"FineTuning\(groups='some'\) has 4 missing values, such as row 1"),
    ],
    sm.FineTuning: [
        ("tuned", "x", "tuned='x' must be one of 'encoder'"),
        ("readout", "x", "readout='x' must be one of 'mean'"),
        ("epochs", 0, "epochs=0"),
        ("batch_size", 2.5, "batch_size=2.5"),
        ("lr", -1.0, "lr=-1.0 must be a number above 0"),
        ("warmup", 2, "warmup=2 must be .* at most 1"),
        ("weight_decay", -1, "weight_decay=-1"),
        ("layer_decay", 0.0, "layer_decay=0.0 must be a number above 0"),
        ("drop_path", 1.0, "drop_path=1.0"),
        ("label_smoothing", 1.0, "label_smoothing=1.0"),
        ("clip_norm", -1, "clip_norm=-1"),
        ("lora_rank", 0, "lora_rank=0"),
        ("lora_alpha", -1, "lora_alpha=-1"),
        ("groups", None, "groups=None must be the name"),
        ("group_step", -1, "group_step=-1"),
        ("dann", -0.1, "dann=-0.1"),
        ("lr", float("nan"), "lr=nan"),
    ],
    sm.FineTuned.predict: _PREDICT,
    sm.FineTuned.predict_proba: [*_PREDICT, ("self", lambda: fitted("age"), "target_='age' is regressed")],
    sm.FineTuned.score: _PREDICT,
    sm.TransferResult.subgroups: [
        ("by", "x", "by='x' is not a column"),
        ("by", pd.Series({"here0": 1}), "by has no value of subject 'here1'"),
        ("bins", 0, "bins=0"),
        ("bins", [1], r"bins=\[1\] must be at least two ascending edges"),
        ("metric", "mae", "metric='mae' must be one of"),
        _DRAWS,
        _SEED,
    ],
    sm.TransferResult.confusion: [("row", "x", "row='x' must be one of 'dummy', 'band power'"), ("self", lambda: result("age"), "'age' is regressed")],
    sm.TransferResult.calibration: [("row", "x", "row='x'"), ("label", "c", "label='c' must be one of 'a', 'b'"), ("bins", 0, "bins=0")],
    sm.TransferResult.plot: [("metric", "x", "metric='x' must be one of")],
    metrics.score: [
        ("metric", "x", "metric='x' must be one of"),
        ("y", Y[:3], "predicted must have one entry for each of the 3 rows of y, got 12"),
        ("predicted", P[:, :1], r"predicted must be \[n, 2\]"),
        ("classes", None, "classes=None"),
    ],
    metrics.auroc: [("scores", P[:3, 0], "scores must have one entry for each of the 12 rows of positive")],
    metrics.auprc: [("scores", P[:3, 0], "scores must have")],
    metrics.calibration: [
        ("probability", P[:, 0] * 2, r"probability must lie within \[0, 1\]"),
        ("probability", P[:2, 0], "probability must have"),
        ("bins", 0, "bins=0"),
    ],
    metrics.confusion: [("predicted", P[:2], "predicted must have"), ("classes", np.array(["a"]), r"predicted must be \[n, 1\]")],
    statistics.bootstrap: [_DRAWS, _SEED, ("groups", [], "groups is empty")],
    statistics.delong: [
        ("positive", POSITIVE & False, "positive must have at least two rows of each class"),
        ("a", P[:3, 0], "a must have one score for each of 12 rows"),
        ("b", P[:, 1] * np.nan, "b has scores that are not finite"),
    ],
    statistics.paired_permutation: [
        _DRAWS,
        _SEED,
        ("a", P[:3], "b must have the shape of a"),
        ("b", P[:3], "b must have the shape of a"),
        ("groups", WHO[:3], "groups must have one subject"),
    ],
    statistics.holm: [("p", [2.0], r"p must lie within \[0, 1\]")],
    statistics.holm_within: [
        ("p", [2.0, 0.1], r"p must lie within \[0, 1\]"),
        ("families", ["a"], "families must have one entry for each of 2 p values, got 1"),
    ],
    statistics.tail: [("n", 0, "n=0 must be a whole number of at least 1")],
    subgroups.subgroups: [
        _DRAWS,
        _SEED,
        ("truth", Y[:3], "truth must have one entry for each of 12 recordings"),
        ("subjects", WHO[:3], "subjects must have one entry for each of 12 recordings"),
        ("rows", {"model": (P[:3], CLASSES)}, r"rows\['model'\] must have one entry for each of 12 recordings"),
        ("metric", "x", "metric='x' must be one of"),
        ("bins", 0, "bins=0 must be"),
    ],
    subgroups.interaction_test: [
        _DRAWS,
        _SEED,
        ("predicted", P[:3], "truth must have one entry for each of 3 rows of predicted, got 12"),
        ("truth", Y[:3], "truth must have one entry for each of 12 rows of predicted, got 3"),
        ("subjects", WHO[:3], "subjects must have one entry"),
        ("groups", HALVES[:3], "groups must have one entry"),
        ("metric", "x", "metric='x' must be one of"),
        ("classes", None, "classes=None"),
    ],
    subgroups.binned: [("bins", 0, "bins=0 must be"), ("bins", [2, 1], r"bins=\[2, 1\] must be at least two ascending edges")],
    probes.probe: [("protocol", "lora", "protocol='lora' must be one of")],
    probes.fit_predict: [
        ("protocol", "x", "protocol='x' must be one of"),
        ("classes", None, "classes=None"),
        ("adaptation", "x", "adaptation='x'"),
        ("adaptation", "importance", "adaptation='importance' gives; use protocol='linear'"),
    ],
    adaptation.Coral: [("regularization", -1, "regularization=-1 must be a number at least 0")],
    adaptation.ImportanceWeights: [("limit", 0.5, "limit=0.5 must be a number at least 1")],
    adaptation.RemoveIdentity: [("directions", 0, "directions=0 must be a whole number of at least 1")],
    adaptation.resolve: [("adaptation", None, "adaptation=None must be one of")],
    NORMALIZE.fit: _SOURCES,
    CORAL.fit: _SOURCES,
    WEIGHTS.fit: [
        *_SOURCES,
        ("groups", WHO[:3], "groups must have one subject for each of 12 source rows, got 3"),
        ("groups", WHO * 0, "groups must have at least two"),
    ],
    IDENTITY.fit: [
        ("groups", None, "groups=None, but"),
        ("groups", WHO[:3], "subjects must name one subject for each row"),
        ("groups", WHO * 0, "subjects must be at least two"),
        ("groups", np.arange(12), "subjects must have more than one row of some subject"),
        ("source", X[:, 0], "features"),
    ],
    RECENTER.fit: [
        ("source", X, r"source must be covariances \[n, C, C\]"),
        ("target", None, "target=None"),
        ("target", X, "target must be covariances"),
    ],
    NORMALIZE.transform: [("domain", "there", "domain='there' must be one of 'source', 'target'")],
    adaptation.euclidean_alignment: [
        ("windows", X, r"windows must be \[n, C, T\]"),
        ("windows", np.ones((4, 2, 50)), "windows of group '0' have a singular mean covariance"),
        ("groups", [0], "groups must have one entry for each of 4 windows, got 1"),
    ],
    adaptation.log_vectors: [("covariances", X, r"covariances must be \[n, C, C\]")],
    CORRECTION.fit: [
        ("predictions", X, "predictions must be finite numbers"),
        ("age", X[:, 0] * np.nan, "age must be finite numbers"),
        ("age", X[:3, 0], "age must have one value for each of 12 predictions, got 3"),
        ("age", X[:, 0] * 0, "age must have at least three different values, got 1"),
        ("groups", WHO[:3], "groups must have one subject for each of 12"),
        ("fitted_on", WHO, "fitted_on must be True or False for each of 12 rows, got int64"),
        ("fitted_on", POSITIVE[:3], r"fitted_on must be True or False for each of 12 rows, got bool of shape \[3\]"),
        ("fitted_on", WHO == 0, "three different values among the rows of fitted_on, got 1"),
    ],
    CORRECTION.transform: [("groups", WHO[:10], "groups: 5 subjects are in training")],
    brain_age.held_out_line: [
        ("age", X[:, 0] * np.nan, "age must be finite numbers"),
        ("groups", WHO[:3], "groups must have one subject for each of 12 ages, got 3"),
        ("fitted_on", POSITIVE[:3], "fitted_on must be True or False for each of 12 rows"),
        ("share", 0, "share=0 must be a number above 0 and at most 1"),
        ("share", 0.1, "share=0.1 must hold out at least three of 12 people"),
        ("share", 1, "share=1 must hold out at least three of 12 people and leave some to train on, got 12"),
        ("predict", lambda train, held: X, "predict must return one value for each of 6 held-out rows"),
        _SEED,
    ],
    brain_age.weak_slope: [],
    probes.corrected_predict: [
        ("folds", None, "folds=None, but without x_test folds are needed"),
        ("x_test", Z, "test_groups=None, but x_test needs the subject of each row"),
        ("protocol", "x", "protocol='x' must be one of"),
        ("fitted_on", POSITIVE.astype(int), "fitted_on must be True or False for each of 8 rows"),
    ],
    brain_age.gaps: [
        ("people", pd.DataFrame({"y": ["a"]}), "people has no column 'subject'"),
        ("row", "x", "row='x' is not in predictions"),
        ("group", "x", "group: people has no column 'x'"),
        ("group", "same", "reference='a' is no group of column 'same'"),
        ("reference", "x", "reference='x' is no group"),
        ("covariates", ["x"], "covariates: people has no column 'x'"),
        ("covariates", ["age", "y"], "covariates=.* must not have the group's own column 'y'"),
        ("covariates", ["y"], "covariates=.* must not have the group's own column 'y'"),
        ("row", [], r"row=\[\] must name at least one row"),
        ("row", ["band power", "x"], "row='x' is not in predictions"),
        ("people", pd.concat([people().subjects] * 2), "people must have one line a subject, and 'here0' has several"),
        ("people", people().subjects[:5].assign(y=list("aaaab")), "group='y' must have at least two people in every group, and 'b' has one"),
        ("people", people().subjects[:4], "4 people are too few for 5 coefficients"),
        ("age_df", 0, "age_df=0 must be a whole number of at least 1"),
        ("predictions", pd.DataFrame({"subject": []}), "predictions has no column 'row'"),
    ],
    sm.shift.report: [
        _ENCODER,
        *_RUN,
        ("public", "x", "public='x' must be a Cohort"),
        ("clinic", "x", "clinic='x' must be a Cohort"),
        ("by", ["x"], "by: 'x' is not a column"),
        ("by", "age", "by='age' must be a list of columns"),
        ("by", ["empty"], "by: column 'empty' is empty"),
        ("bootstrap", 0, "bootstrap=0"),
        ("permutations", 0, "permutations=0 must be a whole number of at least 1"),
        ("target", "x", "target='x' is not a column"),
    ],
    sm.shift.distance_from: [
        _ENCODER,
        _THREADS,
        _ON_ERROR,
        ("reference", "x", "reference='x' must be a Cohort"),
        ("cohort", "x", "cohort='x' must be a Cohort"),
        ("reference", people(name="one").subset([0]), "reference 'one' must have at least two subjects, got 1"),
    ],
    sm.shift.mmd: [*_FEATURES, ("gamma", 0, "gamma=0 must be a number above 0")],
    sm.shift.coral_distance: _FEATURES,
    sm.shift.frechet_distance: _FEATURES,
    sm.shift.identity_variance: [
        _DRAWS,
        _SEED,
        ("features", X[:, 0], "subjects must name one subject for each row of features"),
        ("subjects", WHO * 0, "subjects must be at least two"),
    ],
    sm.shift.label_shift: [
        _DRAWS,
        _SEED,
        ("truth", np.full(12, "a"), "no sample of truth has the class b"),
        ("predicted", P[:3], "predicted must be probabilities"),
        ("predicted_elsewhere", P[:, :1], "predicted_elsewhere must be"),
        ("classes", np.array(["a", "c"]), "no sample of truth has the class c"),
        ("groups", WHO[:3], "groups must have one subject for each of 12 rows, got 3"),
        ("groups_elsewhere", WHO[:3], "groups_elsewhere must have one subject for each of 12 rows, got 3"),
        ("predicted", np.tile([1.0, 0.0], (12, 1)), "predicted does not depend enough on the class"),
    ],
    sm.shift.match: [
        ("a", "x", "a='x' must be a Cohort"),
        ("b", "x", "b='x' must be a Cohort"),
        ("on", {}, "on={} must name at least one column"),
        ("on", "age", "on='age' must be a mapping"),
        ("on", {"x": None}, "on: 'x' is not a column of here"),
        ("on", {"age": -1.0}, r"on\['age'\]=-1.0 must be a number above 0"),
        ("on", {"sex": 1.0}, "on: column 'sex' must be numeric"),
        ("on", {"subject": None}, "on={'subject': None} allows no pair of here and there"),
    ],
    sm.shift.balance: [
        ("a", "x", "a='x' must be"),
        ("b", "x", "b='x' must be"),
        ("columns", ["x"], "columns: 'x' is not a column"),
        ("columns", [], r"columns=\[\]"),
    ],
    labels.is_regression: [
        ("wanted", True, "regression=True needs numbers"),
        ("wanted", "yes", "regression='yes'"),
        ("groups", ["a", "b"], "groups must have one subject for each of 1 values, got 2"),
    ],
    labels.labeled: [_COHORT, ("target", "x", "target='x'"), ("target", "empty", "target='empty' is an empty column")],
    leakage.refuse_overlap: [("test", ["a"], "1 subject is in training and test data at once: a")],
    provenance.record: [_COHORT, ("kind", "x", "kind='x' must be one of 'pretraining', 'probe', 'finetuning'")],
    provenance.overlap: [_COHORT, ("encoder", "e.safetensors", r"encoder='e\.safetensors' must be an encoder")],
}

# Verdicts, learning curves, sample sizes and manifests.
PEOPLE24 = pd.DataFrame({"subject": np.arange(24), "y": np.tile(["a", "b"], 12), "age": np.linspace(20.5, 70.5, 24), "same": "x", "empty": np.nan})
FEATURES24 = np.random.default_rng(0).normal(size=(24, 3))


@lru_cache
def evaluated():
    return sm.evaluate(FEATURES24, PEOPLE24, "y", cv=3, repeats=2, permutations=0)


_EVALUATED = [
    ("features", FEATURES24[:3], r"features must be \[24, D >= 1\], or covariances \[24, C, C\], one row a row of the table, got \[3, 3\]"),
    ("features", FEATURES24 * np.nan, "features has 24 rows that are not finite"),
    ("features", {}, "features={} must hold at least one array"),
    ("table", "x.csv", "table must be a pandas DataFrame"),
]
_OF_POWER = [("power", 1.0, "power=1.0 must be a number"), ("alpha", 0.0, "alpha=0.0 must be a number")]
_SHRINKAGE = ("shrinkage", 1.0, "shrinkage=1.0 must be a number at least 0.5 and at most 0.999")
_PARAMETERS = ("parameters", 0, "parameters=0 must be a whole number of at least 1")
CALLS |= {
    learning.learning_curve: lambda: {"features": FEATURES24, "table": PEOPLE24, "target": "y", "cv": 3, "repeats": 2},
    sm.TransferResult.verdict: lambda: {"self": evaluated()},
    sm.TransferResult.save: lambda: {"self": evaluated(), "path": os.devnull},
    manifest.remake: lambda: {"manifest": evaluated().manifest, "features": FEATURES24, "table": PEOPLE24},
    metrics.decision_curve: lambda: {"positive": POSITIVE, "probability": P[:, 0]},
    sample_size.for_classes: lambda: {"parameters": 5, "prevalence": 0.3},
    sample_size.for_values: lambda: {"parameters": 5, "r2": 0.3},
    sample_size.most_parameters: lambda: {"people": 100, "r2": 0.3},
    sample_size.r2_of_auroc: lambda: {"auroc": 0.8, "prevalence": 0.3},
    sample_size.smallest_auroc: lambda: {"positive": 20, "negative": 20},
    sample_size.smallest_balanced_accuracy: lambda: {"counts": [20, 20, 20]},
    sample_size.smallest_r: lambda: {"people": 20},
}
BAD |= {
    learning.learning_curve: [
        *_EVALUATED,
        *_TARGETS,
        _SEED,
        ("protocol", "lora", "protocol='lora' must be one of"),
        ("sizes", (0.5, 1.0), r"sizes=\(0.5, 1.0\) must be at least three different shares"),
        ("sizes", (0, 0.5, 1.0), "sizes=.* must be at least three different shares above 0"),
        ("metric", "mae", "metric='mae' must be one of 'balanced_accuracy'"),
        ("cv", 1, "cv=1 must be"),
        ("repeats", 0, "repeats=0 must be"),
        ("level", "cell", "level='cell' must be one of"),
        ("regression", True, "regression=True needs numbers"),
    ],
    sm.TransferResult.verdict: [("curve", 3, "curve=3 must be a learning curve")],
    sm.TransferResult.save: [],
    manifest.remake: [
        *_EVALUATED[:2],
        _EVALUATED[3],
        ("manifest", {}, "manifest must be the manifest of a result of sslmed.evaluate or sslmed.transfer; it is empty"),
        ("manifest", {"kind": "folds"}, "manifest must be .* options, rows, target, persons is missing"),
        ("features", FEATURES24 + 1, r"features\['features'\] \[24, 3\] differ from those of the manifest"),
        ("table", PEOPLE24[::-1], "table: the values of target='y', or their order, differ"),
    ],
    metrics.decision_curve: [
        ("probability", P[:3, 0], "probability must have one entry"),
        ("probability", P[:, 0] * 2, r"probability must lie within \[0, 1\]"),
        ("thresholds", [0.0], r"thresholds=\[0.0\] must be probabilities above 0 and below 1"),
    ],
    sample_size.for_classes: [
        _SHRINKAGE,
        _PARAMETERS,
        ("prevalence", 1, "prevalence=1 must be a number above 0 and below 1"),
        ("auroc", 0.5, "auroc=0.5 must be a number above 0.5"),
        ("r2", 0.8, "r2=0.8 must be below 0.705"),
    ],
    sample_size.for_values: [
        _SHRINKAGE,
        _PARAMETERS,
        ("r2", 0, "r2=0 must be a number above 0"),
        ("mean", "x", "mean='x' must be a number"),
        ("sd", -1, "sd=-1 must be a number at least 0"),
    ],
    sample_size.most_parameters: [_SHRINKAGE, ("people", -1, "people=-1 must be a number at least 0"), ("r2", 0.9, "r2=0.9 must be a number")],
    sample_size.r2_of_auroc: [("auroc", 0.5, "auroc=0.5 must be a number above 0.5"), ("prevalence", 0, "prevalence=0 must be a number")],
    sample_size.smallest_auroc: [
        *_OF_POWER,
        ("positive", 0, "positive=0 must be a whole number"),
        ("negative", 0, "negative=0 must be a whole number"),
        ("null_sd", -1.0, "null_sd=-1.0 must be a number above 0"),
    ],
    sample_size.smallest_balanced_accuracy: [
        *_OF_POWER,
        ("counts", [20], r"counts=\[20\] must be the people of two or more classes"),
        ("null_sd", 0, "null_sd=0 must be a number above 0"),
    ],
    sample_size.smallest_r: [*_OF_POWER, ("people", 3, "people=3 must be a whole number of at least 4")],
}

# The card, the choice among candidates and several seeds.
_CANDIDATES = {"a": np.repeat(X, 2, axis=0), "b": np.repeat(X, 2, axis=0) + 1}
_PEOPLE_TABLE = pd.DataFrame({"subject": np.arange(24), "y": np.tile(["a", "b"], 12)})
_RESULTS = [result(), result()]
SIMILAR = np.random.default_rng(2).normal(size=(4, 5))
CALLS |= {
    sm.card: lambda: {"encoder": encoder(), "cohort": people(), "columns": ["sex"], "repeats": 1, "permutations": 0},
    sm.features: lambda: {"encoder": encoder(), "cohort": people()},
    sm.evaluation.select: lambda: {"features": _CANDIDATES, "table": _PEOPLE_TABLE, "target": "y", "repeats": 1},
    sm.evaluation.over_seeds: lambda: {"results": _RESULTS},
    identification.cosine: lambda: {"gallery": X, "probes": X},
    identification.rank_one: lambda: {"similarity": SIMILAR, "owner": np.arange(4), "draws": 5},
    identification.verification: lambda: {"similarity": SIMILAR, "owner": np.arange(4), "draws": 5},
}
_OWNED = [
    _DRAWS,
    _SEED,
    ("similarity", SIMILAR[:, :1], r"similarity must be \[m >= 1, n >= 2\]"),
    ("owner", np.zeros(4, int), "owner must name a place in the gallery for each of 4 probes"),
]
BAD |= {
    sm.card: [
        _ENCODER,
        ("cohort", "x", "cohort='x' must be a Cohort"),
        *_RUN[:2],
        ("on_error", "ignore", "on_error"),
        ("columns", "sex", "columns='sex' must be a list"),
        ("columns", ["subject"], "columns: 'subject' is always part"),
        ("session", "x", "session='x' is not a column"),
        ("out", "card.txt", "out='card.txt' must end in"),
        ("pooling", "x", "pooling='x'"),
        ("cv", 1, "cv=1 must be a whole number"),
        ("repeats", 0, "repeats=0"),
        ("permutations", -1, "permutations=-1"),
    ],
    sm.features: [
        _ENCODER,
        ("cohort", "x", "cohort='x' must be a Cohort"),
        ("level", "x", "level='x' must be one of 'recording', 'sample'"),
        ("pooling", "x", "pooling='x'"),
        ("threads", 0, "threads"),
        ("on_error", "ignore", "on_error"),
    ],
    sm.evaluation.select: [
        ("features", {}, "features must hold at least two candidates"),
        ("table", 3, "table must be a pandas DataFrame"),
        ("target", "x", "target='x'"),
        ("protocol", "lora", "protocol='lora' must be one of"),
        ("by", "mae", "by='mae' must be one of"),
        ("cv", 1, "cv=1 must be"),
        ("repeats", 0, "repeats=0"),
        ("positive", "x", "positive='x' must be one of"),
        ("level", "x", "level='x'"),
        ("prevalence", 2, "prevalence=2"),
        _SEED,
    ],
    sm.evaluation.over_seeds: [("results", [result()], "results must be at least two"), ("results", [result(), result("age")], r"results\[1\].target='age'")],
    identification.cosine: [("gallery", X[:, :1], "gallery and probes must be"), ("probes", X[:, 0], "gallery and probes must be")],
    identification.rank_one: _OWNED,
    identification.verification: _OWNED,
}

FREE = {
    # Any value is valid, the type is checked elsewhere, or a wrong one is an error of NumPy, pandas or matplotlib that says so.
    "regression",
    "balanced",
    "bf16",
    "covariances",
    "standardize",
    "where",
    "name",
    "ax",
    "labels",
    "statistic",
    "x_test",
    "self",
    "checkpoints",
    "callback",
    "augmentation",
    "device",
    "test_groups",
    "x",
    "y",
    "groups",
    "positive",
    "train",
    "features",
    "seed",
    "pooling",
    "target",
    "predictions",
    "slope",
    "values",
    "provenance",
    "curve",
    "path",
}

OTHERWISE = {
    # An error may name the other of two parameters that do not fit, or, of a cohort, the subject, the row or the option of the protocol.
    "self",
    "options",
    "wanted",
    "y",
    "a",
    "truth",
    "classes",
    "groups",
    "train",
    "test",
    "cohort",
    "features",
    "source",
}


def named(call):
    return call.__qualname__


CASES = [(call, *case) for call, cases in BAD.items() for case in cases]


@pytest.mark.parametrize(("call", "parameter", "value", "said"), CASES, ids=[f"{named(c)}-{p}-{i}" for i, (c, p, _, _) in enumerate(CASES)])
def test_a_bad_value_is_refused_by_name(call, parameter, value, said):
    arguments = CALLS[call]()
    if call is sm.transfer_matrix and parameter == "options":
        arguments |= value
    else:
        arguments[parameter] = value() if parameter == "self" else value
    with pytest.raises((ValueError, TypeError), match=said) as caught:
        call(**arguments)
    assert parameter in str(caught.value) or parameter in OTHERWISE


OPTIONS = [
    ({"target": "age", "positive": "a"}, "positive='a' needs a target of two classes, got a regressed one"),
    ({"target": "three", "positive": "a"}, "positive='a' needs a target of two classes, got 3"),
    ({"target": "age", "covariates": ["age"]}, "must not hold the target 'age'"),
]


@pytest.mark.parametrize(("options", "said"), OPTIONS, ids=range(len(OPTIONS)))
def test_options_that_do_not_fit_the_target(options, said):
    with pytest.raises(ValueError, match=said):
        sm.evaluate(**CALLS[sm.evaluate]() | options)
    cohort = people().with_columns(three=list("abca") * 2)
    with pytest.raises(ValueError, match=said):
        sm.transfer(None, cohort, cv=2, baselines=["band power"], **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"covariates": ["age"], "test": people(name="there")}, "covariates=.* needs frozen features .* and folds; leave out test"),
        ({"covariates": ["age"], "protocol": "finetune"}, "covariates=.* needs frozen features"),
        ({"target": "age", "bias_correction": True, "controls": "age >"}, "controls='age >' must be a condition on columns of the table"),
        ({"target": "age", "bias_correction": True, "controls": "x > 3"}, "controls='x > 3' must be a condition on columns of the table"),
        ({"target": "age", "bias_correction": True, "controls": "age > 300"}, "controls='age > 300' holds for no recording of here"),
    ],
)
def test_options_of_transfer_that_do_not_fit_each_other(options, said):
    with pytest.raises(ValueError, match=said):
        sm.transfer(**CALLS[sm.transfer]() | options)


@pytest.mark.parametrize("call", list(CALLS), ids=named)
def test_a_valid_call_passes_and_every_parameter_is_walked(call):
    call(**CALLS[call]())
    walked = {parameter for parameter, *_ in BAD[call]}
    assert not [p for p in inspect.signature(call).parameters if p not in walked | FREE]
