"""Scores of predictions: of classes by their probabilities, and of regressed values."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from sslmed._checks import choice, whole

__all__ = ["METRICS", "Metric", "auprc", "auroc", "calibration", "confusion", "decision_curve", "score"]

Array = np.ndarray[Any, Any]

Metric = Literal["balanced_accuracy", "auroc", "auprc", "f1", "brier", "mae", "r2", "r"]
"""The name of a score."""

METRICS: dict[str, tuple[Metric, ...]] = {
    "classification": ("balanced_accuracy", "auroc", "auprc", "f1", "brier"),
    "regression": ("mae", "r2", "r"),
}
"""The scores of a result, in the order of its table."""

_KNOWN = get_args(Metric)


def score(metric: Metric, y: Array, predicted: Array, classes: Array | None = None) -> float:
    """Computes one score.

    Args:
        metric: Name of the score, one of :data:`METRICS`.
        y: True classes or values [n].
        predicted: Probabilities [n, classes], or regressed values [n].
        classes: Names of the classes [classes], in the order of the columns; not used by a regression.

    Returns:
        The score; NaN where it is not defined (a class has no row, or all values are equal).

    Raises:
        ValueError: An unknown metric, classes that are missing, or shapes that do not fit.

    Examples:
        >>> import numpy as np
        >>> from sslmed.evaluation.metrics import score
        >>> score("mae", np.array([20.0, 30.0]), np.array([22.0, 31.0]))
        1.5
        >>> score("balanced_accuracy", np.array(["a", "b"]), np.array([[0.9, 0.1], [0.6, 0.4]]), np.array(["a", "b"]))
        0.5
    """
    choice("score", "metric", metric, _KNOWN)
    _same_length("score", "predicted", predicted, "y", y)
    if metric in METRICS["regression"]:
        return _regression_score(metric, y, predicted)
    if classes is None:
        raise ValueError(f"score: classes=None, but metric={metric!r} needs the names of the classes")
    _one_column_each("score", predicted, classes)
    return _classification_score(metric, y, predicted, classes)


def _same_length(where: str, name: str, values: Array, other: str, others: Array) -> None:
    if len(values) != len(others):
        raise ValueError(f"{where}: {name} must have one entry for each of the {len(others)} rows of {other}, got {len(values)}")


def _one_column_each(where: str, predicted: Array, classes: Array) -> None:
    if predicted.ndim != 2 or predicted.shape[1] != len(classes):
        raise ValueError(f"{where}: predicted must be [n, {len(classes)}], one column a class, got {list(predicted.shape)}")


def _regression_score(metric: str, y: Array, predicted: Array) -> float:
    if metric == "mae":
        return float(np.abs(y - predicted).mean())
    if metric == "r2":
        spread = ((y - y.mean()) ** 2).sum()
        return float(1 - ((y - predicted) ** 2).sum() / spread) if spread > 0 else float("nan")
    constant = np.ptp(predicted) == 0 or np.ptp(y) == 0
    return float("nan") if constant else float(np.corrcoef(y, predicted)[0, 1])


def _classification_score(metric: str, y: Array, predicted: Array, classes: Array) -> float:
    if metric == "balanced_accuracy":
        right = classes[np.argmax(predicted, axis=1)] == y
        return float(np.mean([right[y == c].mean() for c in np.unique(y)]))
    if metric == "f1":
        guess = classes[np.argmax(predicted, axis=1)]
        present = [c for c in classes if (y == c).any() or (guess == c).any()]
        return float(np.mean([2 * ((guess == c) & (y == c)).sum() / ((guess == c).sum() + (y == c).sum()) for c in present]))
    columns = [1] if len(classes) == 2 else list(range(len(classes)))
    if metric == "brier":
        truth = (y[:, None] == classes[columns]).astype(float)
        return float(((predicted[:, columns] - truth) ** 2).sum(axis=1).mean())
    if len(np.unique(y)) < len(classes):
        return float("nan")
    area = auroc if metric == "auroc" else auprc
    return float(np.mean([area(y == classes[i], predicted[:, i]) for i in columns]))


def auroc(positive: Array, scores: Array) -> float:
    """Area under the ROC curve, by ranks.

    Args:
        positive: True for rows of the positive class [n], bool.
        scores: Scores [n], higher for positive rows; ties count half.

    Returns:
        The area; NaN unless both classes have rows.

    Raises:
        ValueError: Lengths that differ.
    """
    _same_length("auroc", "scores", scores, "positive", positive)
    n = int(positive.sum())
    if n == 0 or n == len(positive):
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(positive) - n)))


def auprc(positive: Array, scores: Array) -> float:
    """Average precision: the precision at each threshold, weighted by the gain in recall.

    Args:
        positive: True for rows of the positive class [n], bool.
        scores: Scores [n], higher for positive rows; tied rows are one threshold.

    Returns:
        The average precision; NaN without a positive row.

    Raises:
        ValueError: Lengths that differ.
    """
    _same_length("auprc", "scores", scores, "positive", positive)
    total = int(positive.sum())
    if total == 0:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order])
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # ties are one threshold
    return float((np.diff(hits[last], prepend=0) / total * hits[last] / (last + 1)).sum())


def calibration(positive: Array, probability: Array, *, bins: int = 10) -> pd.DataFrame:
    """Compares predicted probabilities with how often the class occurs.

    Args:
        positive: True for rows of the class [n], bool.
        probability: Predicted probabilities of the class [n].
        bins: Number of bins of equal width over [0, 1].

    Returns:
        One line a bin that has rows: predicted (mean probability), share (of positive rows), n.

    Raises:
        ValueError: Fewer than one bin, or probabilities outside [0, 1].
    """
    whole("calibration", "bins", bins, 1)
    positive, probability = np.asarray(positive, bool), np.asarray(probability, float)
    _same_length("calibration", "probability", probability, "positive", positive)
    if not ((probability >= -1e-9) & (probability <= 1 + 1e-9)).all():
        raise ValueError(f"calibration: probability must lie within [0, 1], got {probability.min():g} to {probability.max():g}")
    where = np.minimum((probability * bins).astype(int), bins - 1)
    table = pd.DataFrame({"bin": where, "predicted": probability, "share": positive.astype(float)})
    out = table.groupby("bin").agg(predicted=("predicted", "mean"), share=("share", "mean"), n=("share", "size"))
    return out.reset_index(drop=True)


def decision_curve(positive: Array, probability: Array, thresholds: Array | None = None) -> pd.DataFrame:
    """Computes the net benefit of treating whoever a model gives a high probability (Vickers & Elkin, Med. Decis. Making 2006).

    With a threshold p, whoever has a probability of p or more is treated: net benefit = TP / n - FP / n · p / (1 - p).

    Args:
        positive: True for rows of the class [n], bool.
        probability: Predicted probabilities of the class [n].
        thresholds: Probabilities at which somebody is treated, above 0 and below 1; by default 0.01 to 0.99.

    Returns:
        One line a threshold: threshold, model, treat_all, treat_none (0).

    Raises:
        ValueError: Lengths that differ, no rows, or thresholds or probabilities out of range.

    Examples:
        >>> import numpy as np
        >>> from sslmed.evaluation.metrics import decision_curve
        >>> decision_curve(np.array([True, False, False, True]), np.array([0.9, 0.6, 0.1, 0.7]), np.array([0.2, 0.5]))
           threshold   model  treat_all  treat_none
        0        0.2  0.4375      0.375         0.0
        1        0.5  0.2500      0.000         0.0
    """
    positive, probability = np.asarray(positive, bool), np.asarray(probability, float)
    _same_length("decision_curve", "probability", probability, "positive", positive)
    if not len(positive):
        raise ValueError("decision_curve: positive is empty; it must have at least one row")
    if not ((probability >= -1e-9) & (probability <= 1 + 1e-9)).all():
        raise ValueError(f"decision_curve: probability must lie within [0, 1], got {probability.min():g} to {probability.max():g}")
    at = np.linspace(0.01, 0.99, 99) if thresholds is None else np.asarray(thresholds, float)
    if at.ndim != 1 or not len(at) or not ((at > 0) & (at < 1)).all():
        raise ValueError(f"decision_curve: thresholds={thresholds!r} must be probabilities above 0 and below 1")
    treated = probability[None] >= at[:, None]
    odds = at / (1 - at)
    model = (treated & positive).mean(axis=1) - (treated & ~positive).mean(axis=1) * odds
    return pd.DataFrame({"threshold": at, "model": model, "treat_all": positive.mean() - (~positive).mean() * odds, "treat_none": 0.0})


def confusion(y: Array, predicted: Array, classes: Array) -> pd.DataFrame:
    """Counts how often each class is predicted as each other one.

    Args:
        y: True classes [n].
        predicted: Probabilities [n, classes].
        classes: Names of the classes, in the order of the columns.

    Returns:
        Counts, with true classes in rows and predicted classes in columns.

    Raises:
        ValueError: Shapes that do not fit.
    """
    _same_length("confusion", "predicted", predicted, "y", y)
    _one_column_each("confusion", predicted, classes)
    guess = classes[np.argmax(predicted, axis=1)]
    counts = [[int(((y == a) & (guess == b)).sum()) for b in classes] for a in classes]
    return pd.DataFrame(counts, index=pd.Index(classes, name="true"), columns=pd.Index(classes, name="predicted"))
