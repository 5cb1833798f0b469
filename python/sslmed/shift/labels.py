"""How often each class occurs in a population without labels, from what a classifier says there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

__all__ = ["label_shift"]

Array = np.ndarray[Any, Any]


def label_shift(truth: Array, predicted: Array, predicted_elsewhere: Array, classes: Array, *, draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Black-box shift estimation (Lipton et al., arXiv 1802.03916): class prevalences elsewhere, if the classes look there as they do here.

    Args:
        truth: [n] classes here.
        predicted: [n, classes] probabilities here, out of fold (:attr:`sslmed.TransferResult.predictions`): those of the training data flatter.
        predicted_elsewhere: [m, classes] probabilities of the same classifier there.
        classes: In the order of the columns.
        draws: Of the bootstrap over both populations.
        seed: Of it.

    Returns:
        One row a class: class, here (share), elsewhere (estimated share), low, high, weight (elsewhere over here: of a training sample, to meet the
        prevalence there). Negative estimates are set to zero and the rest scaled to one.

    Raises:
        ValueError: Shapes do not fit, a class that does not occur here, or a classifier whose answers say nothing of the class (a singular confusion matrix).
    """
    truth, classes = np.asarray(truth), np.asarray(classes)
    k = len(classes)
    if predicted.shape != (len(truth), k) or predicted_elsewhere.ndim != 2 or predicted_elsewhere.shape[1] != k or len(predicted_elsewhere) == 0:
        raise ValueError(f"expected probabilities [{len(truth)}, {k}] and [m, {k}], got {predicted.shape} and {predicted_elsewhere.shape}")
    if missing := [str(c) for c in classes if not (truth == c).any()]:
        raise ValueError(f"no sample here has the class {', '.join(missing)}")
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
        raise ValueError("the classifier's answers say too little of the class for an estimate: its confusion matrix is singular")
    rng = np.random.default_rng(seed)
    drawn = np.array([estimate(rng.integers(n, size=n), rng.integers(m, size=m)) for _ in range(draws)])
    low, high = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
    here = np.bincount(label, minlength=k) / n
    return pd.DataFrame({"class": classes, "here": here, "elsewhere": shares, "low": low, "high": high, "weight": shares / here})
