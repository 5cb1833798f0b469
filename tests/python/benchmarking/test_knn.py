import numpy as np
import pytest
import torch

from sslmed.benchmarking import best_k, knn_predict
from sslmed.benchmarking.choices import held_out, score_of
from sslmed.benchmarking.knn import usable


def rng_of(seed):
    return np.random.default_rng(seed)


def dinov2(x, y, x_test, classes, k, temperature):
    """The module of DINOv2's evaluation in its own steps: top neighbors, softmax over the most of them, sums of the first k."""
    unit = torch.nn.functional.normalize
    similarity = unit(torch.from_numpy(x_test), dim=1) @ unit(torch.from_numpy(x), dim=1).T
    top, index = similarity.topk(max(k), largest=True, sorted=True)
    weights = (top / temperature).softmax(1)
    votes = torch.nn.functional.one_hot(torch.from_numpy(y)[index], classes) * weights[..., None]
    return {one: votes[:, :one].sum(1) for one in k}


@pytest.mark.parametrize("seed", range(3))
def test_votes_are_those_of_dinov2(seed):
    rng = rng_of(seed)
    x, x_test, y = rng.normal(size=(300, 16)), rng.normal(size=(70, 16)), rng.integers(0, 5, 300)
    found = knn_predict(x, y, x_test, 5)
    expected = dinov2(x, y, x_test, 5, (10, 20, 100, 200), 0.07)
    assert list(found) == [10, 20, 100, 200]
    for k, shares in found.items():
        np.testing.assert_allclose(shares, (expected[k] / expected[k].sum(1, keepdim=True)).numpy(), atol=1e-12)
        np.testing.assert_array_equal(shares.argmax(1), expected[k].argmax(1).numpy())


def test_values_are_weighted_means():
    rng = rng_of(0)
    x, x_test, y = rng.normal(size=(40, 4)), rng.normal(size=(3, 4)), rng.normal(size=40)
    found = knn_predict(x, y, x_test, k=[7], temperature=0.2)[7]
    for row, value in zip(x_test, found, strict=True):
        cosine = x @ row / np.linalg.norm(x, axis=1) / np.linalg.norm(row)
        near = np.argsort(-cosine)[:7]
        weights = np.exp(cosine[near] / 0.2)
        assert value == pytest.approx((weights * y[near]).sum() / weights.sum())


def test_many_rows_are_taken_in_parts(monkeypatch):
    from sslmed.benchmarking import knn

    rng = rng_of(1)
    x, x_test, y = rng.normal(size=(50, 4)), rng.normal(size=(23, 4)), rng.integers(0, 2, 50)
    whole = knn_predict(x, y, x_test, 2, k=[5])[5]
    monkeypatch.setattr(knn, "_ROWS", 4)
    np.testing.assert_array_equal(knn_predict(x, y, x_test, 2, k=[5])[5], whole)


def test_k_is_chosen_without_the_persons_own_rows():
    """Everybody has two equal rows: one that counts itself or its twin finds its own label."""
    rng = rng_of(2)
    y = np.repeat(rng.integers(0, 2, 40), 2)
    x = np.repeat(rng.normal(size=(40, 8)), 2, axis=0)
    _, found = best_k(x, y, np.repeat(np.arange(40), 2), 2, k=(1, 5))
    assert found[1] < 0.75
    assert best_k(x, y, np.arange(80), 2, k=(1,))[1][1] == 1.0
    values, scores = best_k(x, x[:, 0], np.repeat(np.arange(40), 2), k=(1, 3, 10))
    assert values == min(scores, key=lambda k: scores[k])


def test_too_large_k():
    rng = rng_of(3)
    x, y = rng.normal(size=(12, 3)), np.tile([0, 1], 6)
    assert usable((10, 20, 100), 12) == [10]
    with pytest.raises(ValueError, match=r"knn_predict: k=200 is larger than the training set of 12 rows"):
        knn_predict(x, y, x, 2)
    with pytest.raises(ValueError, match="best_k: k="):
        best_k(x, y, np.repeat([0, 1], 6), 2)
    for bad in ({"k": [0]}, {"k": [1.5]}, {"temperature": 0}):
        with pytest.raises(ValueError):
            knn_predict(x, y, x, 2, **bad)
    with pytest.raises(ValueError, match=r"\[n, D\]"):
        knn_predict(x, y, x[:, :2], 2, k=[1])


def test_scores_of_choices_are_those_of_scikit_learn():
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

    rng = rng_of(4)
    y, logits = rng.integers(0, 3, 60), rng.normal(size=(60, 3))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    each = np.arange(60)
    assert score_of("accuracy", p, y, each, 3) == pytest.approx(accuracy_score(y, p.argmax(1)))
    assert score_of("balanced_accuracy", p, y, each, 3) == pytest.approx(balanced_accuracy_score(y, p.argmax(1)))
    assert score_of("auroc", p, y, each, 3) == pytest.approx(roc_auc_score(y, p, multi_class="ovr"))
    # Rows of a person are averaged.
    assert score_of("mae", np.array([1.0, 3.0, 5.0]), np.array([2.0, 2.0, 4.0]), np.array([0, 0, 1]), None) == 0.5


def test_people_who_are_held_out():
    rng = rng_of(5)
    person = np.repeat(np.arange(30), 3)
    y = np.repeat(np.r_[np.zeros(20, int), np.ones(9, int), 2], 3)
    rows = held_out(y, person, 0.2, 7, 3)
    assert len(set(person[rows]) & set(person[~rows])) == 0
    assert [len(set(person[rows & (y == c)])) for c in range(3)] == [4, 2, 0]  # the only one of a class is trained on
    np.testing.assert_array_equal(rows, held_out(y, person, 0.2, 7, 3))
    assert held_out(rng.normal(size=90), person, 0.2, 0, None).sum() == 18
