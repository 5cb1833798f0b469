"""Tests of what predictions depend on, with the target or the confounder held fixed, by conditional permutations."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from sslmed._checks import whole
from sslmed.labels import class_names, is_regression

__all__ = ["ConfounderTest", "full_confounder_test", "partial_confounder_test"]

Array = np.ndarray[Any, Any]

STEPS = 50
"""Steps of the pairwise sampler, as in Berrett et al.; each exchanges up to n / 2 pairs."""


class ConfounderTest(NamedTuple):
    """Result of :func:`partial_confounder_test` and :func:`full_confounder_test`."""

    p: float
    """One-sided p value; the smallest is 1 / (draws + 1)."""
    statistic: float
    """Share of the predictions' variance that is explained beyond what is held fixed (difference of two R²)."""
    expected: float
    """Median of the statistic over the draws: what chance explains."""
    upper: float
    """95th percentile of the statistic over the draws."""
    n: int
    """Number of people (rows without ``groups``)."""


def partial_confounder_test(
    target: Array, predicted: Array, confounder: Array, *, draws: int = 1000, seed: int = 0, groups: Array | None = None
) -> ConfounderTest:
    """Tests whether predictions depend on a confounder beyond what the target explains.

    A small p value says that the model uses the confounder: among people of the same target, predictions follow it. A
    large one does not say that the model is free of it.
    Source: Spisak, GigaScience 2022 (``mlconfound``); conditional permutations by Berrett et al., J. R. Stat. Soc. B 2020.

    The confounder is permuted so that its relation to the target stays. Within classes all orders are equally likely, so
    for a target of classes the test is exact. For a target of numbers the permutations follow a model of the confounder
    given the target, linear with normal errors or a multinomial logit, and the test is as good as that model.

    Args:
        target: True classes or values [n]. Up to ten whole numbers that repeat are classes (:mod:`sslmed.labels`).
        predicted: Predictions of people that the model did not learn from [n]: scores such as log odds, or classes as texts.
        confounder: Confounder [n]: numbers, or categories such as sex or site.
        draws: Number of permutations.
        seed: Seed of the permutations.
        groups: Subject of each row [n]. A person's rows are averaged first; categories must not vary within a person.

    Raises:
        ValueError: Lengths that differ, missing or infinite values, a target or a confounder with one value only, fewer
            than four people, or categories that vary within a person.

    Examples:
        >>> import numpy as np
        >>> from sslmed.evaluation.confounding import partial_confounder_test
        >>> rng = np.random.default_rng(0)
        >>> patient = np.repeat(["patient", "control"], 50)
        >>> age = np.where(patient == "patient", 60, 50) + rng.normal(0, 8, 100)
        >>> partial_confounder_test(patient, age + rng.normal(0, 5, 100), age).p < 0.01
        True
        >>> partial_confounder_test(patient, (patient == "patient") + rng.normal(size=100), age).p > 0.05
        True
    """
    rows = _rows("partial_confounder_test", {"target": target, "predicted": predicted, "confounder": confounder}, groups)
    return _tested("partial_confounder_test", rows, "confounder", "target", draws, seed)


def full_confounder_test(
    target: Array, predicted: Array, confounder: Array, *, draws: int = 1000, seed: int = 0, groups: Array | None = None
) -> ConfounderTest:
    """Tests whether predictions depend on the target beyond what a confounder explains.

    A small p value says that the model is not driven by this confounder alone. A large one says that the data do not show
    it. Source: Spisak, GigaScience 2022 (``mlconfound``). For a confounder of categories the test is exact; for numbers it
    is as good as the model of the target given the confounder (linear, or a multinomial logit).

    Args:
        target: True classes or values [n].
        predicted: Predictions of people that the model did not learn from [n].
        confounder: Confounder [n].
        draws: Number of permutations of the target.
        seed: Seed of the permutations.
        groups: Subject of each row [n]. A person's rows are averaged first; categories must not vary within a person.

    Raises:
        ValueError: As :func:`partial_confounder_test`.

    Examples:
        >>> import numpy as np
        >>> from sslmed.evaluation.confounding import full_confounder_test
        >>> rng = np.random.default_rng(0)
        >>> patient = np.repeat(["patient", "control"], 50)
        >>> age = np.where(patient == "patient", 60, 50) + rng.normal(0, 8, 100)
        >>> full_confounder_test(patient, age + rng.normal(0, 5, 100), age).p > 0.05  # knows the age alone
        True
    """
    rows = _rows("full_confounder_test", {"target": target, "predicted": predicted, "confounder": confounder}, groups)
    return _tested("full_confounder_test", rows, "target", "confounder", draws, seed)


def _rows(where: str, given: dict[str, Array], groups: Array | None) -> pd.DataFrame:
    """The three columns, one line a person; numbers as floats, categories as texts."""
    n, columns = len(np.asarray(given["target"])), {}
    for name, values in given.items():
        if np.shape(values) != (n,):
            raise ValueError(f"{where}: {name} must have one value for each of the {n} rows of target, got shape {list(np.shape(values))}")
        found = np.asarray(pd.Series(np.asarray(values)).infer_objects())
        numeric = np.issubdtype(found.dtype, np.number)
        if pd.isna(found).any() or (numeric and not np.isfinite(found).all()):
            raise ValueError(f"{where}: {name} has values that are missing or not finite; leave those rows out")
        columns[name] = found.astype(float) if numeric and (name == "predicted" or is_regression(found)) else class_names(found)
    rows = pd.DataFrame(columns)
    if groups is not None:
        if len(groups) != n:
            raise ValueError(f"{where}: groups must have one subject for each of {n} rows, got {len(groups)}")
        by = rows.groupby(np.asarray(groups), sort=False)
        for name in columns:
            if not pd.api.types.is_numeric_dtype(rows[name]) and (several := by[name].nunique() > 1).any():
                raise ValueError(f"{where}: groups: {name} varies within subject {str(several.idxmax())!r}; give one line a subject")
        rows = by.agg({name: "mean" if pd.api.types.is_numeric_dtype(rows[name]) else "first" for name in columns})
    if len(rows) < 4:
        raise ValueError(f"{where}: target has {len(rows)} people; the test needs at least four")
    for name in ("target", "confounder"):
        if rows[name].nunique() < 2:
            raise ValueError(f"{where}: {name} has one value only, {rows[name].iloc[0]!r}; nothing depends on it")
    return rows


def _tested(where: str, rows: pd.DataFrame, moved: str, fixed: str, draws: int, seed: int) -> ConfounderTest:
    """Compares what column ``moved`` explains of the predictions beyond ``fixed`` with what its conditional permutations do."""
    whole(where, "draws", draws, 1)
    whole(where, "seed", seed)
    # A stream of its own: data that were simulated from the same seed would otherwise depend on the permutations.
    rng = np.random.default_rng([seed, len(rows), draws])
    base = np.linalg.svd(np.column_stack([np.ones(len(rows)), _columns(rows[fixed])]), full_matrices=False)
    basis = base[0][:, base[1] > 1e-10 * base[1][0]]
    predicted = _columns(rows["predicted"])
    total = float(((predicted - predicted.mean(axis=0)) ** 2).sum())
    left = predicted - basis @ (basis.T @ predicted)
    moving = _columns(rows[moved])
    explained = [_explained(moving[None], basis, left)]
    for first in range(0, draws, 250):  # bounds memory
        orders = _orders(rows[moved], rows[fixed], min(250, draws - first), rng)
        explained.append(_explained(moving[orders], basis, left))
    shares = np.concatenate(explained) / total if total > 1e-300 else np.zeros(draws + 1)
    observed, null = float(shares[0]), shares[1:]
    reached = int((null >= observed - 1e-12).sum())  # the margin keeps rounding from making the observed order less extreme than itself
    return ConfounderTest((reached + 1) / (draws + 1), observed, float(np.median(null)), float(np.percentile(null, 95)), len(rows))


def _columns(values: pd.Series[Any]) -> Array:
    """Standardized numbers [n, 1], or categories but the first as 0 and 1 [n, k]."""
    if pd.api.types.is_numeric_dtype(values):
        x = values.to_numpy(float)
        spread = x.std()
        return np.asarray((x - x.mean()) / (spread if spread > 1e-12 * np.abs(x).max() else np.inf))[:, None]
    return np.asarray(values.to_numpy()[:, None] == np.unique(values.to_numpy())[None, 1:], float)


def _explained(x: Array, basis: Array, left: Array) -> Array:
    """Sum of squares of ``left`` [n, d] that each of ``x`` [m, n, k] explains beyond ``basis`` [n, b]."""
    own = x - basis @ (basis.T @ x)
    cross = own.transpose(0, 2, 1) @ left
    gram = own.transpose(0, 2, 1) @ own
    return np.asarray((cross * (np.linalg.pinv(gram, rcond=1e-10, hermitian=True) @ cross)).sum(axis=(1, 2)))


def _orders(moved: pd.Series[Any], fixed: pd.Series[Any], draws: int, rng: np.random.Generator) -> Array:
    """Conditional permutations [draws, n] of ``moved`` given ``fixed``."""
    n = len(moved)
    if not pd.api.types.is_numeric_dtype(fixed):
        # All orders within a class are equally likely, whatever the distribution: no model is needed.
        orders = np.tile(np.arange(n), (draws, 1))
        for value in np.unique(fixed.to_numpy()):
            rows = np.flatnonzero(fixed.to_numpy() == value)
            orders[:, rows] = rng.permuted(np.tile(rows, (draws, 1)), axis=1)
        return orders
    likelihood = _log_likelihood(moved, fixed)
    # Draws are exchangeable with the observed order if both are as many steps away from a common one.
    start = _exchanged(np.arange(n)[None], likelihood, rng)
    return _exchanged(np.repeat(start, draws, axis=0), likelihood, rng)


def _log_likelihood(moved: pd.Series[Any], fixed: pd.Series[Any]) -> Array:
    """log p(value of person a | what is fixed of person b) [n, n], up to a constant of each column."""
    z = _columns(fixed)
    if pd.api.types.is_numeric_dtype(moved):
        x = moved.to_numpy(float)
        design = np.column_stack([np.ones(len(x)), z])
        mean = design @ np.linalg.lstsq(design, x, rcond=None)[0]
        variance = max(float(((x - mean) ** 2).mean()), 1e-12 * float(x.var()))
        return np.asarray(-((x[:, None] - mean[None]) ** 2) / (2 * variance))
    classes, codes = np.unique(moved.to_numpy(), return_inverse=True)
    model = LogisticRegression(C=1e6, max_iter=2000).fit(z, codes)
    assert len(model.classes_) == len(classes)
    return np.asarray(model.predict_log_proba(z).T[codes])


def _exchanged(orders: Array, likelihood: Array, rng: np.random.Generator) -> Array:
    """Runs the parallelized pairwise sampler (Berrett et al., algorithm 1) from each of these orders [m, n]."""
    orders = orders.copy()
    m, n = orders.shape
    chain, half = np.arange(m)[:, None], n // 2
    places = np.tile(np.arange(n), (m, 1))
    for _ in range(STEPS):
        shuffled = rng.permuted(places, axis=1)
        i, j = shuffled[:, :half], shuffled[:, half : 2 * half]
        a, b = orders[chain, i], orders[chain, j]
        odds = likelihood[a, j] + likelihood[b, i] - likelihood[a, i] - likelihood[b, j]
        swap = rng.random(odds.shape) < 1 / (1 + np.exp(-np.clip(odds, -500, 500)))
        orders[chain, i], orders[chain, j] = np.where(swap, b, a), np.where(swap, a, b)
    return orders
