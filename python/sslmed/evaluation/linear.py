"""Ridge and logistic regression over a path of strengths, with the effect of leaving each group of rows out.

A small cohort is scored by thousands of fits of a few dozen rows: folds, repeats, strengths, people left out, permuted
labels. Here all strengths and label vectors of one training part are solved together by Newton's method, in the span
of its rows, and leaving a group out is one more linear solve (exact for ridge, one Newton step for logistic
regression: Rahnama Rad & Maleki, JRSS-B 2020). The solutions are those of scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sslmed.evaluation import newton, wide

__all__ = ["ALPHAS", "STRENGTHS", "LinearFit", "fit_linear"]

Array = np.ndarray[Any, Any]

STRENGTHS = np.logspace(-4, 0, 5)
"""Inverse strengths C of logistic regression, the strongest regularization first."""
ALPHAS = np.logspace(4, 0, 5)
"""Strengths alpha of ridge regression, the strongest first."""


_FEW = 4  # label vectors that are solved one by one where features are many


@dataclass(frozen=True)
class LinearFit:
    """A fitted linear probe and its predictions of test rows, for each of B label vectors."""

    predicted: Array
    """Probabilities [B, m, classes], or regressed values [B, m]."""
    without: Array | None
    """The same if a group of training rows is left out: [G, m, classes] or [G, m]; of the first label vector alone."""
    strength: Array
    """Chosen C or alpha [B]."""
    out_of_person: Array | None = None
    """Regressed values of the training rows by a fit without their person [n], of the first label vector; None of classes."""


def fit_linear(
    x: Array,
    y: Array,
    x_test: Array,
    groups: Array,
    *,
    classes: int | None = None,
    balanced: bool = False,
    weights: Array | None = None,
    left_out: Array | None = None,
    emphasis: Array | None = None,
    strengths: Array | None = None,
) -> LinearFit:
    """Fits a linear probe on standardized features; its strength is chosen by leaving each person out.

    Args:
        x: Features of the training rows [n, D].
        y: Numbers of classes, or values, [n]; or many label vectors [B, n].
        x_test: Features of the test rows [m, D].
        groups: Person of each training row, numbered from 0 [n]: the strength is chosen by leaving persons out.
        classes: Number of classes; None: ridge regression.
        balanced: Weight every class alike.
        weights: Weight of each training row [n].
        left_out: Number of the group of each training row [n], whose effect on the predictions is wanted; -1: of none.
        emphasis: Factor of each standardized column [D]: with 10 it is shrunk a hundred times less.
        strengths: C or alpha to choose from; :data:`STRENGTHS` or :data:`ALPHAS` by default.

    Returns:
        The fit.
    """
    many = np.atleast_2d(y)
    z, z_test = _standardized(x, x_test, emphasis)
    z, z_test = _reduced(z, z_test)
    if classes is None:
        return _ridge(z, many.astype(float), z_test, groups, ALPHAS if strengths is None else strengths, weights, left_out)
    return _classifier(z, many, z_test, groups, classes, STRENGTHS if strengths is None else strengths, balanced, weights, left_out)


def _standardized(x: Array, x_test: Array, emphasis: Array | None) -> tuple[Array, Array]:
    x, x_test = np.asarray(x, float), np.asarray(x_test, float)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    # As scikit-learn: a column that is constant but for rounding is left at zero.
    scale[scale <= 10 * np.finfo(float).eps * np.maximum(np.abs(mean), 1e-300)] = 1.0
    factor = 1 / scale if emphasis is None else emphasis / scale
    return (x - mean) * factor, (x_test - mean) * factor


def _reduced(z: Array, z_test: Array) -> tuple[Array, Array]:
    """Coordinates in the span of the training rows, where there are fewer rows than columns: the penalty sees no other."""
    n, d = z.shape
    if n >= d:
        return z, z_test
    # By the rows' inner products, which cost n² D; a singular value decomposition costs several times as much.
    values, vectors = np.linalg.eigh(z @ z.T)
    good = values > 1e-12 * max(values[-1], 1e-300)
    if not good.any():
        return np.zeros((n, 1)), np.zeros((len(z_test), 1))
    root = np.sqrt(values[good])
    return vectors[:, good] * root, z_test @ (z.T @ (vectors[:, good] / root))


def _blocks(groups: Array) -> tuple[Array, Array]:
    """Rows of each group as [G, most], padded with -1; and which are padding. Group -1 is left aside."""
    known = np.flatnonzero(groups >= 0)
    order = known[np.argsort(groups[known], kind="stable")]
    numbers, start, count = np.unique(groups[order], return_index=True, return_counts=True)
    total = int(groups.max(initial=-1)) + 1
    rows = np.full((total, int(count.max(initial=0))), -1)
    for g, s, c in zip(numbers, start, count, strict=True):
        rows[g, :c] = order[s : s + c]
    return rows, rows < 0


def _leverage(rows: Array, padding: Array, a: Array) -> Array:
    """Blocks [G, b, b] of a matrix [n, n] at the groups' rows; zero where a row is padding."""
    block = a[rows[:, :, None], rows[:, None, :]]
    block[padding[:, :, None] | padding[:, None, :]] = 0
    return np.asarray(block)


def _ridge(z: Array, y: Array, z_test: Array, groups: Array, alphas: Array, weights: Array | None, left_out: Array | None) -> LinearFit:
    w = np.ones(len(z)) if weights is None else weights
    center, mean = (w @ z) / w.sum(), (y @ w) / w.sum()
    root = np.sqrt(w)
    zc, yc = (z - center) * root[:, None], (y - mean[:, None]) * root
    values, vectors = np.linalg.eigh(zc.T @ zc)
    values = np.maximum(values, 0)
    u = zc @ vectors  # [n, r]
    uy = yc @ u  # [B, r]
    rows, padding = _blocks(groups)
    losses = []
    for alpha in alphas:
        # With the intercept: the hat matrix of the weighted, centered rows has root rootᵀ / Σw added.
        hat = (u / (values + alpha)) @ u.T + np.outer(root, root) / w.sum()
        residual = yc - (uy / (values + alpha)) @ u.T  # weighted by its root
        out = _solve_blocks(np.eye(rows.shape[1]) - _leverage(rows, padding, hat), _at(residual, rows, padding))
        losses.append((out**2).sum(axis=(1, 2)))
    chosen = np.argmin(np.stack(losses), axis=0)
    picked = np.asarray(alphas)[chosen]
    t = (z_test - center) @ vectors
    predicted = mean[:, None] + (uy / (values + picked[:, None])) @ t.T
    without = None
    if left_out is not None:
        alpha = picked[0]
        rows, padding = _blocks(left_out)
        hat = (u / (values + alpha)) @ u.T + np.outer(root, root) / w.sum()
        residual = yc[:1] - (uy[:1] / (values + alpha)) @ u.T
        out = _solve_blocks(np.eye(rows.shape[1]) - _leverage(rows, padding, hat), _at(residual, rows, padding))[0]  # [G, b]
        reach = (t / (values + alpha)) @ u.T + root / w.sum()  # [m, n]
        without = predicted[0] - np.einsum("mgb,gb->gm", _columns(reach, rows, padding), out)
    return LinearFit(predicted, without, picked, _out_of_person(u, uy, values, picked[0], yc, y, root, w, groups))


def _out_of_person(u: Array, uy: Array, values: Array, alpha: float, yc: Array, y: Array, root: Array, w: Array, groups: Array) -> Array:
    """Values of the first label vector, predicted without each person."""
    rows, padding = _blocks(groups)
    hat = (u / (values + alpha)) @ u.T + np.outer(root, root) / w.sum()
    residual = yc[:1] - (uy[:1] / (values + alpha)) @ u.T
    out = _solve_blocks(np.eye(rows.shape[1]) - _leverage(rows, padding, hat), _at(residual, rows, padding))[0]
    predicted = np.empty(len(root))
    predicted[rows[~padding]] = out[~padding]
    return np.asarray(y[0] - predicted / root)


def _at(values: Array, rows: Array, padding: Array) -> Array:
    """[B, G, b] of [B, n]; zero where a row is padding."""
    out = values[:, rows]
    out[:, padding] = 0
    return np.asarray(out)


def _columns(reach: Array, rows: Array, padding: Array) -> Array:
    """[m, G, b] of [m, n]."""
    out = reach[:, rows]
    out[:, padding] = 0
    return np.asarray(out)


def _solve_blocks(matrix: Array, values: Array) -> Array:
    """Solves [G, b, b] for [B, G, b]."""
    if matrix.shape[-1] == 1:
        return np.asarray(values / np.maximum(matrix[:, :, 0], 1e-9))
    try:
        out = np.linalg.solve(matrix, np.moveaxis(values, 0, -1))
    except np.linalg.LinAlgError:  # nothing is left without a group that is the whole training part
        out = np.linalg.pinv(matrix, hermitian=True) @ np.moveaxis(values, 0, -1)
    return np.moveaxis(out, -1, 0)


def _classifier(
    z: Array, y: Array, z_test: Array, groups: Array, classes: int, strengths: Array, balanced: bool, weights: Array | None, left_out: Array | None
) -> LinearFit:
    """Logistic regression of each label vector; of those that hold the same classes together."""
    b, n = y.shape
    counts = np.stack([(y == c).sum(axis=1) for c in range(classes)], axis=1)
    base = np.ones(n) if weights is None else np.asarray(weights, float)
    predicted, picked = np.zeros((b, len(z_test), classes)), np.full(b, float(strengths[0]))
    without = None
    patterns, which = np.unique(counts > 0, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        members, present = np.flatnonzero(which.ravel() == number), np.flatnonzero(pattern)
        if len(present) == 1:
            predicted[np.ix_(members, np.arange(len(z_test)), present)] = 1  # nothing to tell apart
            left = None if left_out is None else np.ones((int(left_out.max()) + 1, len(z_test), 1))
        else:
            truth = _one_hot(y[members], present)
            w = np.repeat(base[None], len(members), axis=0)
            if balanced:
                # As scikit-learn's class_weight="balanced": weight of all rows / (classes · weight of the class's rows).
                of_class = (y[members][..., None] == present).astype(float)
                w *= np.einsum("bnk,bk->bn", of_class, base.sum() / (len(present) * np.einsum("bnk,n->bk", of_class, base)))
            out, chosen, left = _path(z, truth, z_test, groups, strengths, w, left_out if 0 in members else None)
            predicted[np.ix_(members, np.arange(len(z_test)), present)] = out
            picked[members] = np.asarray(strengths)[chosen]
        if left_out is not None and 0 in members and left is not None:
            without = np.zeros((len(left), len(z_test), classes))
            without[..., present] = left
    return LinearFit(predicted, without, picked)


def _one_hot(y: Array, present: Array) -> Array:
    """[B, n, K], or of two classes one column that is 1 for the second."""
    if len(present) == 2:
        return np.asarray((y == present[1])[..., None].astype(float))
    return np.asarray((y[..., None] == present).astype(float))


def _both(p: Array) -> Array:
    """Probabilities of all classes, where one column stands for two of them."""
    return np.concatenate([1 - p, p], axis=-1) if p.shape[-1] == 1 else p


def _path(z: Array, truth: Array, z_test: Array, groups: Array, strengths: Array, w: Array, left_out: Array | None) -> tuple[Array, Array, Array | None]:
    """Probabilities [B, m, K] by the strength whose predictions of left-out persons are best, its number [B], and without each group [G, m, K]."""
    ones, b, s = np.ones((len(z), 1)), len(truth), len(strengths)
    z, z_test = np.concatenate([z, ones], axis=1), np.concatenate([z_test, np.ones((len(z_test), 1))], axis=1)
    if z.shape[1] * truth.shape[2] > wide.LIMIT and b <= _FEW:
        return _each(z, truth, z_test, groups, strengths, w, left_out)
    many, weights = np.repeat(truth, s, axis=0), np.repeat(w, s, axis=0)
    penalty = np.tile(1 / np.asarray(strengths), b)
    beta = newton.solve(z, many, weights, penalty)
    chosen = np.zeros(b, int)
    if s > 1:
        chosen = _without(z, beta, many, weights, penalty, *_blocks(groups)).reshape(b, s).argmin(axis=1)
    at = np.arange(b) * s + chosen
    predicted = _both(newton.probabilities(np.swapaxes(beta[at] @ z_test.T, 1, 2)))
    if left_out is None:
        return predicted, chosen, None
    one = slice(at[0], at[0] + 1)
    moved = _moved(z, beta[one], many[one], weights[one], penalty[one], z_test, *_blocks(left_out))
    eta = np.swapaxes(beta[one] @ z_test.T, 1, 2) + moved
    return predicted, chosen, _both(newton.probabilities(eta))


def _each(z: Array, truth: Array, z_test: Array, groups: Array, strengths: Array, w: Array, left_out: Array | None) -> tuple[Array, Array, Array | None]:
    """As :func:`_path`, one label vector after the other."""
    blocks = _blocks(groups)
    found = [
        wide.path(z, truth[i], z_test, *blocks, strengths, w[i], _blocks(left_out) if left_out is not None and i == 0 else None) for i in range(len(truth))
    ]
    predicted = _both(newton.probabilities(np.stack([eta for eta, _, _ in found])))
    moved = found[0][2]
    return predicted, np.array([chosen for _, chosen, _ in found]), None if moved is None else _both(newton.probabilities(moved))


def _parts(z: Array, beta: Array, truth: Array, w: Array, penalty: Array, rows: Array, padding: Array) -> tuple[Array, Array]:
    """Inverse Hessians [B, K r, K r], and (I - M A)⁻¹ w (p - y) of each group's rows [B, G, b K]."""
    p = newton.probabilities(np.swapaxes(beta @ z.T, 1, 2))
    inverse = np.linalg.inv(newton.hessian(z, p, w, penalty))
    b, k, r = beta.shape
    g, most = rows.shape
    zg = np.where(padding[..., None], 0, z[rows])  # [G, b, r]
    cube = inverse.reshape(b, k, r, k, r)
    a = np.empty((b, g, most, k, most, k))
    for i in range(k):
        for j in range(k):
            a[..., i, :, j] = np.einsum("gxr,bgyr->bgxy", zg, np.einsum("gyq,brq->bgyr", zg, cube[:, i, :, j]))
    m = newton.curvature(p)[:, rows] * w[:, rows][..., None, None]  # [B, G, b, K, K]
    ma = np.einsum("bgxij,bgxjyl->bgxiyl", m, a).reshape(b, g, most * k, most * k)
    slope = ((p - truth) * w[..., None])[:, rows]
    slope[:, padding] = 0
    return inverse, np.linalg.solve(np.eye(most * k) - ma, slope.reshape(b, g, most * k, 1))[..., 0]


def _without(z: Array, beta: Array, truth: Array, w: Array, penalty: Array, rows: Array, padding: Array) -> Array:
    """Loss [B] of predictions of each group's rows by a fit without them."""
    size = max(1, (8 << 20) // max(1, (beta.shape[1] * beta.shape[2]) ** 2))
    out = []
    for i in range(0, len(beta), size):
        s = slice(i, i + size)
        inverse, pull = _parts(z, beta[s], truth[s], w[s], penalty[s], rows, padding)
        b, k, r = beta[s].shape
        pull = pull.reshape(b, *rows.shape, k)
        zg = np.where(padding[..., None], 0, z[rows])
        force = np.einsum("gxr,bgxk->bgkr", zg, pull).reshape(b, len(rows), k * r)
        change = (force @ np.swapaxes(inverse, 1, 2)).reshape(b, len(rows), k, r)
        eta = (np.swapaxes(beta[s] @ z.T, 1, 2))[:, rows] + np.einsum("gxr,bgkr->bgxk", zg, change)
        flat = eta.reshape(b, -1, k)
        weight = np.where(padding, 0, w[s][:, rows]).reshape(b, -1)
        out.append(newton.deviance(flat, truth[s][:, rows].reshape(b, -1, k), weight))
    return np.concatenate(out)


def _moved(z: Array, beta: Array, truth: Array, w: Array, penalty: Array, z_test: Array, rows: Array, padding: Array) -> Array:
    """Change [G, m, K] of the test rows' linear predictors if a group is left out."""
    inverse, pull = _parts(z, beta, truth, w, penalty, rows, padding)
    _, k, r = beta.shape
    zg = np.where(padding[..., None], 0, z[rows])
    force = np.einsum("gxr,gxk->gkr", zg, pull[0].reshape(*rows.shape, k)).reshape(len(rows), k * r)
    change = (force @ inverse[0].T).reshape(len(rows), k, r)
    return np.asarray(np.einsum("mr,gkr->gmk", z_test, change))
