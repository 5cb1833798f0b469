"""Cox regression with a ridge penalty on a few hundred people with many features: the classical row beside networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize

from sslmed._core import C

__all__ = ["RidgeCox"]

Array = np.ndarray[Any, Any]

_STRENGTHS = 10.0 ** np.arange(-2.0, 3.0)


class RidgeCox:
    """Cox regression of standardized features with a ridge penalty, its strength chosen inside the people it is fitted on.

    The penalty is strength / 2 · |w|², beside the mean negative partial log-likelihood of an event. The strength with
    the lowest likelihood of left-out people (three parts) is taken, of .01, .1, 1, 10 and 100.

    Args:
        ties: "efron" or "breslow".
        strengths: Strengths to choose from.
        seed: Seed of the parts.

    Examples:
        >>> import numpy as np
        >>> from sslmed.bags import RidgeCox
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(80, 3))
        >>> time = rng.exponential(np.exp(-x[:, 0]))
        >>> fitted = RidgeCox().fit(x, time, np.ones(80), np.arange(80))
        >>> bool(np.corrcoef(fitted.predict(x), x[:, 0])[0, 1] > 0.9)
        True
    """

    def __init__(self, ties: str = "efron", strengths: Array = _STRENGTHS, *, seed: int = 0) -> None:
        self.ties, self.strengths, self.seed = ties, np.asarray(strengths, dtype=float), seed

    def fit(self, x: Array, time: Array, event: Array, subject: Array) -> RidgeCox:
        """Fits features [n, D] to times [n] and events [n] of people [n].

        Raises:
            ValueError: Nobody had the event.
        """
        x, time, event = (np.asarray(values, dtype=float) for values in (x, time, event))
        if not event.any():
            raise ValueError("RidgeCox: nobody of the training people had the event; there is nothing to learn")
        self.strength_ = self._chosen(x, time, event, np.asarray(subject)) if len(self.strengths) > 1 else float(self.strengths[0])
        self._mean, self._scale, self.coef_ = self._solved(x, time, event, self.strength_)
        return self

    def predict(self, x: Array) -> Array:
        """Log hazard ratios [n] against the mean of the people it was fitted on."""
        risk: Array = (np.asarray(x, dtype=float) - self._mean) / self._scale @ self.coef_
        return risk

    def _chosen(self, x: Array, time: Array, event: Array, subject: Array) -> float:
        people = np.unique(subject.astype(str), return_inverse=True)[1]
        seen = np.zeros(people.max() + 1)
        np.maximum.at(seen, people, event)
        order = np.random.default_rng(self.seed).permutation(len(seen))
        order = order[np.argsort(seen[order], kind="stable")]
        part = np.empty(len(seen), int)
        part[order] = np.arange(len(seen)) % 3  # events evenly over the parts
        costs = np.zeros(len(self.strengths))
        for number in range(3):
            test = part[people] == number
            if not event[test].any() or not event[~test].any():
                continue
            for i, strength in enumerate(self.strengths):
                mean, scale, w = self._solved(x[~test], time[~test], event[~test], strength)
                costs[i] += event[test].sum() * self._cost(((x[test] - mean) / scale) @ w, time[test], event[test])
        return float(self.strengths[int(np.argmin(costs))])

    def _cost(self, risk: Array, time: Array, event: Array) -> float:
        return float(C.cox(torch.from_numpy(risk), torch.from_numpy(time), torch.from_numpy(event), self.ties))

    def _solved(self, x: Array, time: Array, event: Array, strength: float) -> tuple[Array, Array, Array]:
        mean, scale = x.mean(axis=0), x.std(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        z = (x - mean) / scale
        u, s, vt = np.linalg.svd(z, full_matrices=False)  # the solution lies in the rows' span
        basis, t, e = torch.from_numpy(u * s), torch.from_numpy(time), torch.from_numpy(event)

        def cost(w: Array) -> tuple[float, Array]:
            v = torch.from_numpy(w).requires_grad_()
            loss = C.cox(basis @ v, t, e, self.ties) + 0.5 * strength * v.square().sum()
            (gradient,) = torch.autograd.grad(loss, v)
            return float(loss.detach()), gradient.numpy()

        found = minimize(cost, np.zeros(len(s)), jac=True, method="L-BFGS-B", options={"maxiter": 500})
        return mean, scale, vt.T @ found.x
