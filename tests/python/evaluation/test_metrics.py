"""Scores against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics as sk

from sslmed.evaluation import metrics


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("ties", [False, True])
def test_metrics_equal_scikit_learn(rng, n_classes, ties):
    for _ in range(20):
        classes = np.array(list("abcde"[:n_classes]))
        y = np.concatenate([classes, rng.choice(classes, 60, p=np.arange(1, n_classes + 1) / np.arange(1, n_classes + 1).sum())])
        p = rng.dirichlet(np.ones(n_classes), len(y))
        if ties:
            p = np.round(p * 4) / 4 + 1e-9
            p /= p.sum(1, keepdims=True)
        onehot = (y[:, None] == classes).astype(int)
        guess = classes[p.argmax(1)]
        expected = {
            "balanced_accuracy": sk.balanced_accuracy_score(y, guess),
            "f1": sk.f1_score(y, guess, average="macro"),
            "auroc": sk.roc_auc_score(onehot[:, 1], p[:, 1]) if n_classes == 2 else sk.roc_auc_score(y, p, multi_class="ovr"),
            "auprc": sk.average_precision_score(onehot[:, 1], p[:, 1]) if n_classes == 2 else sk.average_precision_score(onehot, p),
            "brier": sk.brier_score_loss(onehot[:, 1], p[:, 1]) if n_classes == 2 else ((p - onehot) ** 2).sum(1).mean(),
        }
        for name, value in expected.items():
            assert metrics.score(name, y, p, classes) == pytest.approx(value, abs=1e-12), name
    age, predicted = rng.normal(50, 10, 40), rng.normal(50, 10, 40)
    assert metrics.score("mae", age, predicted) == pytest.approx(sk.mean_absolute_error(age, predicted))
    assert metrics.score("r2", age, predicted) == pytest.approx(sk.r2_score(age, predicted))


def test_calibration_and_confusion_equal_scikit_learn(rng):
    from sklearn.calibration import calibration_curve

    y, p = rng.integers(2, size=200), rng.random(200)
    truth, mean = calibration_curve(y, p, n_bins=8)
    table = metrics.calibration(y == 1, p, bins=8)
    assert np.allclose(table["share"], truth)
    assert np.allclose(table["predicted"], mean)
    assert table["n"].sum() == 200
    classes = np.array(["a", "b", "c"])
    truth = rng.choice(classes, 50)
    scores = rng.random((50, 3))
    expected = sk.confusion_matrix(truth, classes[scores.argmax(1)], labels=classes)
    assert (metrics.confusion(truth, scores, classes).to_numpy() == expected).all()
