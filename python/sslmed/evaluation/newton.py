"""Newton's method for many small penalized logistic regressions at once: binary (sigmoid) and multinomial (softmax)."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit, softmax

__all__ = ["curvature", "deviance", "hessian", "probabilities", "solve"]

Array = np.ndarray[Any, Any]

_STEPS = 100
_CHUNK = 32 << 20  # numbers in the Hessians of one batch


def probabilities(eta: Array) -> Array:
    """Probabilities [B, n, K] of linear predictors [B, n, K]; of one column the sigmoid, of several the softmax."""
    return np.asarray(expit(eta) if eta.shape[-1] == 1 else softmax(eta, axis=-1))


def deviance(eta: Array, truth: Array, weights: Array) -> Array:
    """Weighted negative log-likelihood [B] of linear predictors [B, n, K], for one-hot labels [B, n, K] (or 0 and 1 in one column)."""
    if eta.shape[-1] == 1:
        loss = np.logaddexp(0, eta[..., 0]) - truth[..., 0] * eta[..., 0]
    else:
        top = eta.max(axis=-1)
        loss = top + np.log(np.exp(eta - top[..., None]).sum(axis=-1)) - (truth * eta).sum(axis=-1)
    return np.asarray((loss * weights).sum(axis=-1))


def curvature(p: Array) -> Array:
    """Second derivatives [B, n, K, K] of the loss by the linear predictors."""
    if p.shape[-1] == 1:
        return np.asarray((p * (1 - p))[..., None])
    out = -p[..., :, None] * p[..., None, :]
    k = np.arange(p.shape[-1])
    out[..., k, k] += p
    return np.asarray(out)


def hessian(z: Array, p: Array, weights: Array, penalty: Array) -> Array:
    """Hessians [B, K r, K r] of the penalized loss.

    Args:
        z: Features with a last column of ones, the intercept's [n, r].
        p: Probabilities [B, n, K].
        weights: Weights of the rows [B, n].
        penalty: Factor of half the squared coefficients [B]; the intercept has none.
    """
    b, k, r = len(p), p.shape[2], z.shape[1]
    m = np.moveaxis(curvature(p) * weights[..., None, None], 1, -1)  # [B, K, K, n]
    out = np.empty((b, k, r, k, r))
    for i in range(k):
        for j in range(i, k):
            out[:, i, :, j] = (z.T * m[:, i, j, None, :]) @ z
            if i != j:
                out[:, j, :, i] = np.swapaxes(out[:, i, :, j], 1, 2)
    inner = np.arange(r - 1)
    for i in range(k):
        out[:, i, inner, i, inner] += penalty[:, None]
        # The loss of a softmax does not change if all intercepts do: this makes the direction definite, and moves nothing.
        if k > 1:
            out[:, :, -1, i, -1] += weights.sum(axis=1)[:, None] / k
        else:
            out[:, i, -1, i, -1] += 1e-12
    return out.reshape(b, k * r, k * r)


def solve(z: Array, truth: Array, weights: Array, penalty: Array, *, tolerance: float = 1e-10) -> Array:
    """Coefficients [B, K, r] that minimize Σ weight · loss + penalty / 2 · |coefficients|², the intercept left out of the second term.

    Args:
        z: Features with a last column of ones [n, r].
        truth: One-hot labels [B, n, K], or 0 and 1 in one column. Every class must occur.
        weights: Weights of the rows [B, n].
        penalty: [B].
        tolerance: Largest slope at the end, relative to the weights' sum.
    """
    b, _, k = truth.shape
    size = max(1, _CHUNK // max(1, (k * z.shape[1]) ** 2))
    if b > size:
        parts = [slice(i, i + size) for i in range(0, b, size)]
        return np.concatenate([solve(z, truth[s], weights[s], penalty[s], tolerance=tolerance) for s in parts])
    beta = _start(z, truth, weights)
    open_ = np.arange(b)
    loss = _objective(z, beta, truth, weights, penalty)
    for _ in range(_STEPS):
        p = probabilities(np.swapaxes(beta[open_] @ z.T, 1, 2))
        slope = np.swapaxes((p - truth[open_]) * weights[open_, :, None], 1, 2) @ z
        slope[..., :-1] += penalty[open_, None, None] * beta[open_][..., :-1]
        going = np.abs(slope).max(axis=(1, 2)) > tolerance * weights[open_].sum(axis=1)
        open_, p, slope = open_[going], p[going], slope[going]
        if not len(open_):
            return beta
        step = np.linalg.solve(hessian(z, p, weights[open_], penalty[open_]), slope.reshape(len(open_), -1, 1)).reshape(slope.shape)
        beta, loss, stuck = _halved(z, beta, loss, step, open_, truth, weights, penalty)
        open_ = open_[~stuck]
        if not len(open_):
            return beta
    return beta


def _start(z: Array, truth: Array, weights: Array) -> Array:
    """No effect of any feature, and the intercepts of the classes' shares."""
    share = np.einsum("bnk,bn->bk", truth, weights) / weights.sum(axis=1)[:, None]
    beta = np.zeros((len(truth), truth.shape[2], z.shape[1]))
    beta[..., -1] = np.log(share / (1 - share)) if truth.shape[2] == 1 else np.log(share)
    return np.asarray(beta)


def _objective(z: Array, beta: Array, truth: Array, weights: Array, penalty: Array) -> Array:
    eta = np.swapaxes(beta @ z.T, 1, 2)
    return np.asarray(deviance(eta, truth, weights) + penalty / 2 * (beta[..., :-1] ** 2).sum(axis=(1, 2)))


def _halved(z: Array, beta: Array, loss: Array, step: Array, open_: Array, truth: Array, weights: Array, penalty: Array) -> tuple[Array, Array, Array]:
    """Takes the step, or the largest half of it that lowers the loss; and who cannot be lowered any more."""
    length = np.ones(len(open_))
    left = np.arange(len(open_))
    for _ in range(30):
        rows = open_[left]
        tried = beta[rows] - length[left, None, None] * step[left]
        value = _objective(z, tried, truth[rows], weights[rows], penalty[rows])
        good = value <= loss[rows] + 1e-13 * np.abs(loss[rows])
        beta[rows[good]], loss[rows[good]] = tried[good], value[good]
        left = left[~good]
        if not len(left):
            break
        length[left] /= 2
    stuck = np.zeros(len(open_), bool)
    stuck[left] = True
    return beta, loss, stuck
