"""Logistic regression of hundreds of features, one label vector at a time, along a path of strengths.

Each strength takes steps of L-BFGS, preconditioned by the second derivatives at the strength before, and one
factorization of its own, of each class by itself. Of two classes the effect of leaving rows out is as in :mod:`sslmed.evaluation.linear`; of more,
what the classes' curvatures have in common is left out of it (not of the solution).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from sslmed.evaluation.newton import deviance, probabilities

__all__ = ["LIMIT", "path"]

Array = np.ndarray[Any, Any]

LIMIT = 192
"""Number of coefficients from which on this is faster than Newton's method for all strengths at once."""
_MEMORY = 12
_STEPS = 200


def path(
    z: Array, truth: Array, z_test: Array, rows: Array, padding: Array, strengths: Array, weights: Array, left_out: tuple[Array, Array] | None
) -> tuple[Array, int, Array | None]:
    """Linear predictors [m, K] at the strength whose predictions of left-out groups are best, its number, and the predictors without each group.

    Args:
        z: Features with a last column of ones [n, r].
        truth: One-hot labels [n, K], or 0 and 1 in one column.
        z_test: Test features with a last column of ones [m, r].
        rows: Rows of each person, padded [G, b].
        padding: Where they are padding [G, b].
        strengths: C, the strongest regularization first.
        weights: Weights of the rows [n].
        left_out: Rows and padding of groups whose effect on the test rows is wanted.
    """
    share = (truth * weights[:, None]).sum(axis=0) / weights.sum()
    beta = np.zeros((truth.shape[1], z.shape[1]))
    beta[:, -1] = np.log(share / (1 - share)) if len(share) == 1 else np.log(share)
    losses, found = [], []
    factors = _factors(z, beta, weights, 1 / float(strengths[0]))
    for strength in strengths:
        penalty = 1 / float(strength)
        beta = _minimum(z, truth, weights, penalty, beta, factors)  # by the factors of the strength before
        factors = _factors(z, beta, weights, penalty)
        found.append((beta, factors))
        if len(strengths) > 1:
            losses.append(_without(z, truth, weights, beta, factors, rows, padding))
    chosen = int(np.argmin(losses)) if losses else 0
    beta, factors = found[chosen]
    eta = z_test @ beta.T
    if left_out is None:
        return eta, chosen, None
    return eta, chosen, eta + _moved(z, truth, weights, beta, factors, z_test, *left_out)


def _factors(z: Array, beta: Array, weights: Array, penalty: float) -> list[Array]:
    """Lower Cholesky factors of the second derivatives, of each class by itself."""
    out = []
    p = probabilities((z @ beta.T)[None])[0]
    for k in range(beta.shape[0]):
        root = np.sqrt(np.maximum(weights * p[:, k] * (1 - p[:, k]), 1e-12))
        matrix = (z * root[:, None]).T @ (z * root[:, None])
        matrix[np.arange(z.shape[1] - 1), np.arange(z.shape[1] - 1)] += penalty
        matrix[-1, -1] += 1e-9 * weights.sum()
        out.append(np.tril(cho_factor(matrix, lower=True, check_finite=False)[0]))
    return out


def _minimum(z: Array, truth: Array, weights: Array, penalty: float, beta: Array, factors: list[Array]) -> Array:
    """Coefficients [K, r] of the smallest penalized loss, by L-BFGS."""

    def value(beta: Array) -> tuple[float, Array]:
        eta = z @ beta.T
        slope = ((probabilities(eta[None])[0] - truth) * weights[:, None]).T @ z
        slope[:, :-1] += penalty * beta[:, :-1]
        return float(deviance(eta[None], truth[None], weights[None])[0] + penalty / 2 * (beta[:, :-1] ** 2).sum()), slope

    def solve(slope: Array) -> Array:
        return np.stack([cho_solve((factor, True), slope[k], check_finite=False) for k, factor in enumerate(factors)])

    loss, slope = value(beta)
    steps: list[tuple[Array, Array, float]] = []
    for _ in range(_STEPS):
        if np.abs(slope).max() <= 1e-9 * weights.sum():
            break
        q, alphas = slope.copy(), []
        for s, y, rho in reversed(steps):
            alphas.append(rho * (s * q).sum())
            q -= alphas[-1] * y
        q = solve(q)
        for (s, y, rho), a in zip(steps, reversed(alphas), strict=True):
            q += s * (a - rho * (y * q).sum())
        length, fall = 1.0, float((q * slope).sum())
        for _ in range(30):
            new, new_slope = value(beta - length * q)
            if new <= loss - 1e-4 * length * fall + 1e-13 * abs(loss):
                break
            length /= 2
        else:
            break
        s, y = -length * q, new_slope - slope
        if (curve := float((s * y).sum())) > 1e-300:
            steps = [*steps[-_MEMORY + 1 :], (s, y, 1 / curve)]
        beta, loss, slope = beta + s, new, new_slope
    return beta


def _pulls(z: Array, truth: Array, weights: Array, beta: Array, factors: list[Array], rows: Array, padding: Array) -> tuple[Array, list[Array], list[Array]]:
    """Predictors [n, K]; and of each class L⁻¹ zᵀ [r, n], and (I - M A)⁻¹ w (p - y) of each group's rows [G, b]."""
    eta = z @ beta.T
    p = probabilities(eta[None])[0]
    reach, pulls = [], []
    for k, factor in enumerate(factors):
        v = solve_triangular(factor, z.T, lower=True, check_finite=False)
        curve, slope = weights * p[:, k] * (1 - p[:, k]), weights * (p[:, k] - truth[:, k])
        if rows.shape[1] == 1:
            a = (v**2).sum(axis=0)
            pulls.append((slope / np.maximum(1 - curve * a, 1e-9))[rows])
        else:
            vg = np.where(padding[..., None], 0, v.T[rows])  # [G, b, r]
            a = vg @ np.swapaxes(vg, 1, 2)
            s = np.where(padding, 0, slope[rows])
            pulls.append(np.linalg.solve(np.eye(rows.shape[1]) - curve[rows][..., None] * a, s[..., None])[..., 0])
        reach.append(v)
    return eta, reach, pulls


def _without(z: Array, truth: Array, weights: Array, beta: Array, factors: list[Array], rows: Array, padding: Array) -> float:
    """Loss of predictions of each group's rows by a fit without them."""
    eta, reach, pulls = _pulls(z, truth, weights, beta, factors, rows, padding)
    out = eta.copy()
    for k, (v, pull) in enumerate(zip(reach, pulls, strict=True)):
        if rows.shape[1] == 1:
            out[rows[:, 0], k] += (v[:, rows[:, 0]] ** 2).sum(axis=0) * pull[:, 0]
            continue
        vg = np.where(padding[..., None], 0, v.T[rows])
        change = (vg @ np.swapaxes(vg, 1, 2) @ pull[..., None])[..., 0]
        out[rows[~padding], k] += change[~padding]
    used = rows[~padding]
    return float(deviance(out[None, used], truth[None, used], weights[None, used])[0])


def _moved(z: Array, truth: Array, weights: Array, beta: Array, factors: list[Array], z_test: Array, rows: Array, padding: Array) -> Array:
    """Change [G, m, K] of the test rows' predictors if a group is left out."""
    _, reach, pulls = _pulls(z, truth, weights, beta, factors, rows, padding)
    out = np.empty((len(rows), len(z_test), len(factors)))
    for k, (factor, v, pull) in enumerate(zip(factors, reach, pulls, strict=True)):
        force = np.zeros((len(rows), z.shape[0]))
        force[np.nonzero(~padding)[0], rows[~padding]] = pull[~padding]
        out[..., k] = (force @ v.T) @ solve_triangular(factor, z_test.T, lower=True, check_finite=False)
    return out
