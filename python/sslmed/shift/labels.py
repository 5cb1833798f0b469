"""Label shift: how often each class occurs in a population without labels, from the predictions of a classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sslmed._checks import whole

__all__ = ["label_shift"]

Array = np.ndarray[Any, Any]


def label_shift(truth: Array, predicted: Array, predicted_elsewhere: Array, classes: Array, *, draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Estimates the prevalence of classes in a population without labels, if the classes look there as they do here.

    Source: black-box shift estimation, Lipton et al., arXiv 1802.03916.

    Args:
        truth: True classes here [n].
        predicted: Probabilities here [n, classes], out of fold (:meth:`sslmed.TransferResult.wide`): those of training
            data flatter.
        predicted_elsewhere: Probabilities of the same classifier there [m, classes].
        classes: Names of the classes, in the order of the columns.
        draws: Number of draws of the bootstrap over both populations.
        seed: Seed of the bootstrap.

    Returns:
        One line a class: class, here (share), elsewhere (estimated share), low, high, weight (elsewhere / here: weight
        of a training sample that gives the prevalence there). Negative estimates are set to zero and the rest scaled to
        one.

    Raises:
        ValueError: Shapes that do not fit, a class that does not occur here, or a classifier whose predictions do not
            depend on the class (a singular confusion matrix).

    Examples:
        >>> import numpy as np
        >>> from sslmed.shift import label_shift
        >>> truth, classes = np.repeat(["a", "b"], 50), np.array(["a", "b"])
        >>> perfect = (truth[:, None] == classes).astype(float)
        >>> label_shift(truth, perfect, perfect[25:60], classes, draws=20)["elsewhere"].round(2).tolist()
        [0.71, 0.29]
    """
    whole("label_shift", "draws", draws, 1)
    whole("label_shift", "seed", seed)
    truth, classes = np.asarray(truth), np.asarray(classes)
    k = len(classes)
    if predicted.shape != (len(truth), k):
        raise ValueError(f"label_shift: predicted must be probabilities [{len(truth)}, {k}], got {list(predicted.shape)}")
    if predicted_elsewhere.ndim != 2 or predicted_elsewhere.shape[1] != k or len(predicted_elsewhere) == 0:
        raise ValueError(f"label_shift: predicted_elsewhere must be probabilities [m >= 1, {k}], got {list(predicted_elsewhere.shape)}")
    if missing := [str(c) for c in classes if not (truth == c).any()]:
        raise ValueError(f"label_shift: classes: no sample of truth has the class {', '.join(missing)}")
    if unknown := sorted(set(truth) - set(classes)):
        raise ValueError(f"label_shift: truth has the class {unknown[0]!r}, which is not one of classes")
    label = np.searchsorted(classes, truth) if (np.sort(classes) == classes).all() else np.array([list(classes).index(t) for t in truth])
    said, said_elsewhere = predicted.argmax(1), predicted_elsewhere.argmax(1)

    def estimate(here: Array, elsewhere: Array) -> Array:
        confusion = np.zeros((k, k))  # P(said, true) here
        np.add.at(confusion, (said[here], label[here]), 1 / len(here))
        if np.linalg.cond(confusion) > 1e6:
            return np.full(k, np.nan)
        weights = np.linalg.solve(confusion, np.bincount(said_elsewhere[elsewhere], minlength=k) / len(elsewhere))
        shares = np.maximum(weights, 0) * np.bincount(label[here], minlength=k)
        return shares / shares.sum() if shares.sum() > 0 else np.full(k, np.nan)

    n, m = len(truth), len(predicted_elsewhere)
    shares = estimate(np.arange(n), np.arange(m))
    if np.isnan(shares).any():
        raise ValueError("label_shift: predicted does not depend enough on the class for an estimate: its confusion matrix is singular")
    rng = np.random.default_rng(seed)
    drawn = np.array([estimate(rng.integers(n, size=n), rng.integers(m, size=m)) for _ in range(draws)])
    low, high = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
    here = np.bincount(label, minlength=k) / n
    return pd.DataFrame({"class": classes, "here": here, "elsewhere": shares, "low": low, "high": high, "weight": shares / here})
