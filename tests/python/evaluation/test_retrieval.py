"""Retrieval against a loop over queries, scikit-learn's average precision, and what chance gives."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from sslmed.evaluation.retrieval import retrieval


def rows(n=60, seed=0, signal=1.0):
    rng = np.random.default_rng(seed)
    subject = rng.integers(0, 20, n)
    label = subject % 3
    return rng.normal(size=(n, 6)) + signal * np.eye(6)[label], label, subject


def values(table, row="features"):
    return table[table["row"] == row].set_index("metric")["value"]


def test_equals_a_loop():
    x, label, subject = rows()
    table = values(retrieval(x, label, subject, k=(1, 5), draws=0, permutations=0))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    people: dict[int, list[tuple[float, ...]]] = {}
    for i in range(len(x)):
        others = np.flatnonzero(subject != subject[i])
        similar = unit[others] @ unit[i]
        order = others[np.argsort(-similar, kind="stable")]
        hit = label[order] == label[i]
        first = list(label[order][:5])
        vote = max(first, key=lambda c, first=first: (first.count(c), -first.index(c)))
        hits = [hit[: j + 1].mean() for j in range(5) if hit[j]]
        full = average_precision_score(label[others] == label[i], similar)
        people.setdefault(int(subject[i]), []).append((hit[0], hit[:5].any(), vote == label[i], sum(hits) / min(5, hit.sum()), full))
    wanted = np.mean([np.mean(own, axis=0) for own in people.values()], axis=0)
    assert np.allclose([table[m] for m in ("top_1", "top_5", "vote_5", "map_5", "map")], wanted, atol=1e-12)
    assert table["top_1"] == table["vote_1"] == table["map_1"]


def test_rows_of_the_same_person_are_never_found():
    x, label, subject = rows(signal=0.0)
    own = np.random.default_rng(1).normal(size=(20, 6))[subject] * 50  # everybody is like himself alone
    table = retrieval(x + own, label, subject)
    assert abs(values(table)["map"] - values(table, "chance")["map"]) < 0.15


def test_signal_is_above_chance_with_its_interval():
    table = retrieval(*rows(200, signal=3.0)).set_index(["row", "metric"])
    assert table.loc[("features", "map"), "low"] > table.loc[("chance", "map"), "high"]
    line = table.loc[("features", "top_1")]
    assert line["low"] <= line["value"] <= line["high"]
    assert line["n_subjects"] == 20


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"features": np.ones(3)}, r"features must be \[n >= 2, D\]"),
        ({"features": np.zeros((4, 2))}, "4 rows that are zero or not finite"),
        ({"labels": [0, 1]}, "labels must have 4 entries"),
        ({"subject": [1, 1, 2, 2]}, "label '0' is of one person alone"),
        ({"k": (0,)}, "k=0 must be"),
        ({"draws": -1}, "draws=-1 must be"),
    ],
)
def test_refuses(change, text):
    given = {"features": np.eye(4), "labels": [0, 0, 1, 1], "subject": [1, 2, 3, 4]} | change
    with pytest.raises(ValueError, match=text):
        retrieval(**given)
