"""MedMNIST's scores beside medmnist.evaluator, and where that one collapses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import sslmed as sm


def numbers(table: Any) -> tuple[float, float]:
    rows = table[table["label"] == "all"].set_index("metric")["value"]
    return float(rows["auc"]), float(rows["acc"])


def values(table: Any, metric: str) -> list[float]:
    return [float(value) for value in table[(table["metric"] == metric) & (table["label"] != "all")]["value"]]


def drawn(task: str, rng: Any) -> tuple[Any, Any]:
    """Scores with ties, some of them at .5, and labels of which each class is there."""
    n, k = int(rng.integers(20, 200)), int(rng.integers(2, 9))
    if task == "binary-class":
        labels = rng.permutation(np.arange(n) % 2)
        scores = np.round(rng.random(n), 1)
        shape = rng.integers(3)
        return (scores if shape == 0 else scores[:, None] if shape == 1 else np.stack([1 - scores, scores], 1)), labels[:, None].astype(np.uint8)
    if task == "multi-label, binary-class":
        labels = np.stack([rng.permutation(np.arange(n) < rng.integers(1, n)) for _ in range(k)], 1)
        return np.round(rng.random((n, k)), 1), labels.astype(np.uint8)
    # Classes of very different sizes, some of one sample.
    labels = rng.permutation(np.concatenate([np.arange(k), np.minimum(rng.geometric(0.5, n) - 1, k - 1)]))
    scores = np.round(rng.dirichlet(np.ones(k), len(labels)), 1)
    return scores, labels[:, None].astype(np.uint8)


@pytest.mark.oracle
@pytest.mark.parametrize("task", ["multi-class", "binary-class", "multi-label, binary-class", "ordinal-regression"])
def test_both_numbers_are_those_of_the_evaluator(task: str) -> None:
    evaluator = pytest.importorskip("medmnist.evaluator")
    rng = np.random.default_rng()
    for _ in range(50):
        scores, labels = drawn(task, rng)
        for given in (scores, scores.astype(np.float32), torch.from_numpy(scores)):
            auc, acc = numbers(sm.metrics.medmnist(given, labels, task))  # type: ignore[arg-type]
            theirs = np.asarray(given)
            assert auc == pytest.approx(evaluator.getAUC(labels, theirs, task), abs=1e-12)
            assert acc == pytest.approx(evaluator.getACC(labels, theirs, task), abs=1e-12)


def test_classes_one_by_one_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import recall_score, roc_auc_score

    rng = np.random.default_rng()
    scores, labels = drawn("multi-class", rng)
    table = sm.metrics.medmnist(scores, labels, "multi-class")
    true, k = labels[:, 0], scores.shape[1]
    assert values(table, "recall") == pytest.approx(recall_score(true, scores.argmax(1), average=None, labels=range(k)))
    assert values(table, "auc") == pytest.approx([roc_auc_score(true == c, scores[:, c]) for c in range(k)])
    assert table[table["metric"] == "recall"]["n"].tolist() == np.bincount(true, minlength=k).tolist()
    scores, labels = drawn("multi-label, binary-class", rng)
    table = sm.metrics.medmnist(scores, labels, "multi-label, binary-class")
    assert values(table, "recall") == pytest.approx(recall_score(labels, scores > 0.5, average=None, zero_division=0))
    assert values(table, "acc") == pytest.approx(((scores > 0.5) == labels).mean(0))
    scores, labels = drawn("binary-class", rng)
    table = sm.metrics.medmnist(scores, labels, "binary-class")
    found = (scores if scores.ndim == 1 else scores[:, -1]) > 0.5
    assert values(table, "recall") == pytest.approx(recall_score(labels[:, 0], found, average=None, labels=[0, 1], zero_division=0))


def test_a_class_that_is_never_found_stands_beside_a_good_mean() -> None:
    labels = np.array([0] * 95 + [1] * 5)
    scores = np.stack([np.full(100, 0.6), np.full(100, 0.4)], 1)
    scores[95:] = 0.55, 0.45
    table = sm.metrics.medmnist(scores, labels, "multi-class")
    assert numbers(table) == (1.0, 0.95)
    assert values(table, "recall") == [1.0, 0.0]


N = np.arange(6) % 3
GOOD = np.eye(3)[N]


@pytest.mark.parametrize(
    ("scores", "labels", "task", "said"),
    [
        (GOOD, N, "regression", "task='regression' must be one of 'multi-class'"),
        (GOOD[:1], N[:1], "multi-class", "scores has 1 samples, AUC needs two"),
        (GOOD[:1, :2], N[:1, None], "binary-class", "scores has 1 samples"),
        (GOOD[:2], N[:2], "multi-class", "class 2 has no sample"),
        (np.ones(3) / 2, np.zeros(3), "binary-class", "class 1 has no sample"),
        (np.ones(3) / 2, np.ones(3), "binary-class", "class 0 has no sample"),
        (np.ones((3, 2)), np.array([[0, 1], [1, 1], [0, 1]]), "multi-label, binary-class", "label 1 has all 3 samples"),
        (np.ones((3, 2)), np.array([[0, 1], [0, 1], [0, 0]]), "multi-label, binary-class", "label 0 has no sample"),
        (GOOD, N[:5], "multi-class", r"scores \[6, 3\] and labels \[5\] must have one row a sample"),
        (GOOD, np.stack([N, N], 1), "multi-class", r"labels \[6, 2\] must be \[n\] or \[n, 1\]"),
        (GOOD, N, "binary-class", r"scores \[6, 3\] must be \[n\], \[n, 1\] or \[n, 2\]"),
        (GOOD[:, 0], N, "multi-class", r"scores \[6\] must be \[n, K\]"),
        (GOOD[:, :1], N[:, None] > 0, "multi-label, binary-class", "one label is task='binary-class'"),
        (GOOD, N + 1, "multi-class", "whole numbers from 0 to 2, row 2 has 3"),
        (GOOD, N + 0.5, "ordinal-regression", "whole numbers from 0 to 2, row 0 has 0.5"),
        (GOOD, N - 1, "multi-class", "row 0 has -1"),
        (np.where(GOOD == 1, np.nan, GOOD), N, "multi-class", "scores must be finite, row 0 is not"),
    ],
)
def test_what_has_no_score_is_refused_by_name(scores: Any, labels: Any, task: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        sm.metrics.medmnist(scores, labels, task)


def test_lists_and_texts_are_no_scores() -> None:
    with pytest.raises(TypeError, match="scores must be a tensor or a NumPy array, got list"):
        sm.metrics.medmnist([[0.5, 0.5]], N, "multi-class")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="labels must be numbers, got <U"):
        sm.metrics.medmnist(GOOD, N.astype(str), "multi-class")
