"""The area under the ROC curve with covariates held fixed: what scores say of the disease beyond, for example, age."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.stats import rankdata

__all__ = ["adjusted_auroc", "log_odds"]

Array = np.ndarray[Any, Any]

SHRINKAGE = 0.1
"""Weight of the common slopes in a fold's own, in average folds with two controls or more. 0.03 to 0.25 were simulated (page "Confounding")."""


def adjusted_auroc(positive: Array, scores: Array, covariates: Array, *, fold: Array | None = None) -> Any:
    """Covariate-adjusted area under the ROC curve: the chance that a case scores above a control of the same covariates.

    A linear model of the scores on the covariates is fitted to the controls. Each case is then placed among the
    controls by what the model leaves of its score. No distribution is assumed for what is left.
    Source: Janes and Pepe, Biometrika 2009; Janes, Longton and Pepe, Stata J. 2009 (``comproc``).

    The controls' residuals come from the fit itself. Those of a model fitted without the control, and studentized
    ones, draw the area of a true effect further towards .5 with few controls (page "Confounding"), so neither is used.

    Args:
        positive: True for cases and False for controls [n], bool; [n, m] for m sets of labels, such as permutations.
        scores: Scores [n], higher for cases; [n, m] for m sets. Ties count half. The model is linear, so give log odds
            (:func:`log_odds`) and not probabilities.
        covariates: Covariates [n, q], such as those of :func:`design`. A covariate that does not vary among controls has
            no slope and is not adjusted for.
        fold: Fold whose model gave the score [n]; None where one model gave all. Each fold then has an intercept and
            slopes of its own, drawn a little towards the common slopes, and cases are compared with the controls of their
            fold alone, pooled over all pairs. A fold without a case or without a control contributes nothing.

    Returns:
        The area, as a float; an array [m] where ``positive`` or ``scores`` has columns. NaN where no fold has a case and
        a control.

    Raises:
        ValueError: Shapes that do not fit, values that are not finite, or no more controls than covariates plus one.

    See Also:
        :func:`sslmed.evaluation.metrics.auroc`: The same area without covariates.

    Examples:
        >>> import numpy as np
        >>> from sslmed.evaluation.confounding import adjusted_auroc
        >>> from sslmed.evaluation.metrics import auroc
        >>> rng = np.random.default_rng(0)
        >>> patient = np.repeat([True, False], 500)
        >>> age = np.where(patient, 60, 50) + rng.normal(0, 8, 1000)
        >>> scores = 0.1 * age + rng.normal(size=1000)  # they know the age, and nothing of the disease
        >>> round(auroc(patient, scores), 2), round(adjusted_auroc(patient, scores, age[:, None]), 2)
        (0.73, 0.5)
    """
    cases, values, x, codes = _checked(positive, scores, covariates, fold)
    # Comparisons within folds do not see a fold's intercept, so rows are centered by fold, and only slopes are fitted.
    folds = [np.flatnonzero(codes == number) for number in range(codes.max() + 1)]
    # Rounding below this size must not order scores that are equal.
    unit = 1e-10 * np.maximum(np.abs(values).max(axis=0), 1e-300)
    values, x = values.copy(), x.copy()
    for rows in folds:
        values[rows] -= values[rows].mean(axis=0)
        x[rows] -= x[rows].mean(axis=0)
    spread = np.sqrt((x**2).mean(axis=0))
    x = x / np.where(spread > 0, spread, 1)
    won, pairs = np.zeros(max(cases.shape[1], values.shape[1])), np.zeros(cases.shape[1])
    for rows, slopes in zip(folds, _slopes(~cases, values, x, folds), strict=True):
        left, mine = np.round((values[rows] - x[rows] @ slopes) / unit), cases[rows]
        n = mine.sum(axis=0)
        won += (rankdata(left, axis=0) * mine).sum(axis=0) - n * (n + 1) / 2
        pairs += n * (len(rows) - n)
    pairs = np.broadcast_to(pairs, won.shape)
    area = np.divide(won, pairs, out=np.full(len(won), np.nan), where=pairs > 0)
    return float(area[0]) if np.ndim(positive) == np.ndim(scores) == 1 else area


def log_odds(probability: Array, *, limit: float = 1e-6) -> Array:
    """Log odds of probabilities: scores that a linear model of covariates suits.

    Args:
        probability: Probabilities of the positive class, of any shape.
        limit: Probabilities closer to 0 or 1 than this are moved to it, so that every value is finite.

    Returns:
        Log odds of the same shape.

    Raises:
        ValueError: Probabilities outside [0, 1], or a limit outside (0, 0.5).

    Examples:
        >>> import numpy as np
        >>> from sslmed.evaluation.confounding import log_odds
        >>> log_odds(np.array([0.5, 0.9])).round(2).tolist()
        [0.0, 2.2]
    """
    if not 0 < limit < 0.5:
        raise ValueError(f"log_odds: limit={limit!r} must be a number within (0, 0.5)")
    p = np.asarray(probability, float)
    if not ((p >= -1e-9) & (p <= 1 + 1e-9)).all():
        raise ValueError(f"log_odds: probability must lie within [0, 1], got {p.min():g} to {p.max():g}")
    p = np.clip(p, limit, 1 - limit)
    return np.asarray(np.log(p) - np.log1p(-p))


def _checked(positive: Array, scores: Array, covariates: Array, fold: Array | None) -> tuple[Array, Array, Array, Array]:
    """Labels [n, 1 or m], scores [n, 1 or m], covariates [n, q] and the number of each row's fold [n]."""
    cases, values, x = np.asarray(positive, bool), np.asarray(scores, float), np.asarray(covariates, float)
    if cases.ndim not in (1, 2) or len(cases) == 0:
        raise ValueError(f"adjusted_auroc: positive must be [n >= 1] or [n >= 1, m], got shape {list(cases.shape)}")
    n = len(cases)
    if values.ndim not in (1, 2) or len(values) != n:
        raise ValueError(f"adjusted_auroc: scores must be [{n}] or [{n}, m], as positive has {n} rows, got shape {list(values.shape)}")
    if x.ndim != 2 or len(x) != n:
        raise ValueError(f"adjusted_auroc: covariates must be [{n}, q], as positive has {n} rows, got shape {list(x.shape)}")
    for name, given in (("scores", values), ("covariates", x)):
        if not np.isfinite(given).all():
            raise ValueError(f"adjusted_auroc: {name} has values that are not finite")
    cases, values = cases.reshape(n, -1), values.reshape(n, -1)
    if 1 not in (cases.shape[1], values.shape[1]) and cases.shape[1] != values.shape[1]:
        raise ValueError(f"adjusted_auroc: scores has {values.shape[1]} columns, but positive has {cases.shape[1]}; give one of them for all, or as many")
    if (fewest := int((~cases).sum(axis=0).min())) <= x.shape[1] + 1:
        raise ValueError(f"adjusted_auroc: positive leaves {fewest} controls for {x.shape[1]} covariates; it needs more controls than covariates plus one")
    if fold is None:
        return cases, values, x, np.zeros(n, int)
    if np.shape(fold) != (n,):
        raise ValueError(f"adjusted_auroc: fold must have one entry for each of the {n} rows of positive, got shape {list(np.shape(fold))}")
    return cases, values, x, np.unique(np.asarray(fold), return_inverse=True)[1]


def _slopes(controls: Array, values: Array, x: Array, folds: list[Array]) -> Iterator[Array]:
    """Slopes [q, m] of each fold among controls, with an intercept a fold; the shortest ones where covariates are collinear."""
    grams, crosses = zip(*(_products(controls[rows].astype(float), values[rows], x[rows]) for rows in folds), strict=True)
    gram, cross = np.sum(grams, axis=0), np.sum(crosses, axis=0)
    common = _solved(gram, cross)
    informed = np.maximum(sum(controls[rows].sum(axis=0) > 1 for rows in folds), 1)[:, None, None]
    for own, mine in zip(grams, crosses, strict=True):
        # One model a fold, so one slope a fold: common slopes alone are those of models that learned from this fold, and put areas below .5.
        # A fold's few controls do not determine all slopes; what they leave open comes from the common ones.
        away = mine - (own @ common[..., None])[..., 0]
        yield (common + _solved(own + SHRINKAGE / informed * gram, away)).T


def _products(controls: Array, values: Array, x: Array) -> tuple[Array, Array]:
    """Sums of squares [m, q, q] of the covariates and of their products with the scores [m, q], about the means of a fold's controls."""
    n, q = np.maximum(controls.sum(axis=0), 1), x.shape[1]  # without a control all sums are 0
    mean = (controls.T @ x) / n[:, None]
    squares = (controls.T @ (x[:, :, None] * x[:, None]).reshape(len(x), q * q)).reshape(len(n), q, q)
    weighted = controls * values
    return squares - n[:, None, None] * mean[:, :, None] * mean[:, None], weighted.T @ x - weighted.sum(axis=0)[:, None] * mean


def _solved(gram: Array, cross: Array) -> Array:
    return np.asarray((np.linalg.pinv(gram, rcond=1e-10, hermitian=True) @ cross[..., None])[..., 0])
