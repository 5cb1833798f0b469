"""Noise for a promised epsilon: many steps by an accountant, a single release in closed form."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable

from scipy import integrate, optimize

from sslmed import _checks
from sslmed.privacy.accounting import Accountant, Relation, check_accountant, check_delta, epsilon_of

__all__ = ["gaussian_sigma", "last_below", "noise_multiplier"]

_LARGEST = 1e6  # of a noise multiplier


def noise_multiplier(
    epsilon: float,
    delta: float,
    sampling_rate: float,
    steps: int,
    *,
    relation: Relation = "add_or_remove_one",
    accountant: Accountant = "pld",
) -> float:
    """The smallest noise multiplier for which steps of DP-SGD stay within (epsilon, delta).

    Args:
        epsilon: Largest epsilon, above 0.
        delta: Delta, between 0 and 1; below one over the number of units.
        sampling_rate: Probability with which each unit is in a batch, above 0 and at most 1, drawn anew for each unit
            and step.
        steps: Number of steps.
        relation: What neighboring data sets differ by: "add_or_remove_one" unit, or "replace_one".
        accountant: "pld" or "rdp" (see :meth:`sslmed.privacy.Ledger.epsilon`).

    Returns:
        Standard deviation of the noise, in units of the clipping norm. At this value epsilon holds; it is within 1e-6
        (relative) of the least one.

    Raises:
        ValueError: An argument is out of range, or even a noise multiplier of a million is too small.
        ImportError: dp-accounting is not installed (the extra ``privacy``).

    Examples:
        >>> round(noise_multiplier(epsilon=3.0, delta=1e-5, sampling_rate=0.01, steps=1_000), 3)
        0.814

    See Also:
        :func:`gaussian_sigma`: One release without sampling.
    """
    where = "noise_multiplier"
    _checks.number(where, "epsilon", epsilon, 0, strict=True)
    check_delta(where, delta)
    _checks.number(where, "sampling_rate", sampling_rate, 0, 1, strict=True)
    _checks.whole(where, "steps", steps, 1)
    check_accountant(where, accountant, relation)

    def excess(log_sigma: float, accountant: str, relation: str) -> float:
        spent = epsilon_of({(math.exp(log_sigma), float(sampling_rate)): int(steps)}, delta, relation, accountant)
        return math.log(spent / epsilon) if spent > 0 else -math.inf

    # Rényi's answer takes no time, and the one that is asked for is near it.
    start = _least(lambda log_sigma: excess(log_sigma, "rdp", "add_or_remove_one"), 0.0)
    if accountant == "rdp" and start is not None:
        return math.exp(start)
    least = _least(lambda log_sigma: excess(log_sigma, accountant, relation), 0.0 if start is None else start)
    if least is None:
        raise ValueError(
            f"{where}: epsilon={epsilon!r} at delta={delta!r} cannot be kept by a noise multiplier up to {_LARGEST:g} "
            f"over steps={steps!r} of sampling_rate={sampling_rate!r}; take fewer steps or a larger epsilon"
        )
    return math.exp(least)


def _least(excess: Callable[[float], float], start: float) -> float | None:
    """Where a falling function is just at most 0, to 2e-7; None where it is above 0 for all noise that is allowed."""
    excess = functools.cache(excess)
    low = high = start
    step = 0.1
    while excess(high) > 0:
        if high > math.log(_LARGEST):
            return None
        low, high, step = high, high + step, 2 * step
    step = 0.1
    while excess(low) <= 0:
        low, high, step = low - step, low, 2 * step
    # Where epsilon is 0 or infinite, Brent's method cannot use its logarithm; the sign is what counts.
    root = float(optimize.brentq(lambda x: min(max(excess(x), -1e3), 1e3), low, high, xtol=1e-7, rtol=1e-12))
    while excess(root) > 0:
        root += 2e-7
    return root


def gaussian_sigma(epsilon: float, delta: float, sensitivity: float = 1.0) -> float:
    """The smallest standard deviation of Gaussian noise that makes one release (epsilon, delta)-private.

    This is the analytic Gaussian mechanism (Balle and Wang 2018, https://arxiv.org/abs/1805.06530). It holds for every
    epsilon; the classical ``sensitivity * sqrt(2 ln(1.25 / delta)) / epsilon`` holds only below 1, and is larger there.

    Args:
        epsilon: Epsilon, at least 0.
        delta: Delta, between 0 and 1.
        sensitivity: Largest L2 distance between the results of two neighboring data sets, in the unit of the result.

    Returns:
        Standard deviation of the noise of each number released, in the unit of the result.

    Raises:
        ValueError: An argument is out of range.

    Examples:
        >>> round(gaussian_sigma(1.0, 1e-5), 4)
        3.7306

    See Also:
        :func:`noise_multiplier`: Many steps over sampled batches.
    """
    where = "gaussian_sigma"
    _checks.number(where, "epsilon", epsilon, 0)
    check_delta(where, delta)
    _checks.number(where, "sensitivity", sensitivity, 0, strict=True)
    low = high = 0.0
    while gaussian_delta(epsilon, math.exp(high)) > delta:
        high += 1
    while gaussian_delta(epsilon, math.exp(low)) <= delta:
        low -= 1

    def excess(log_sigma: float) -> float:
        return gaussian_delta(epsilon, math.exp(log_sigma)) - delta

    root = float(optimize.brentq(excess, low, high, xtol=1e-14, rtol=1e-14))
    while excess(root) > 0:
        root += 1e-14
    return math.exp(root) * float(sensitivity)


def gaussian_delta(epsilon: float, sigma: float) -> float:
    """Delta of Gaussian noise of standard deviation ``sigma`` on a result of sensitivity 1."""
    # Balle and Wang give a difference of two normal probabilities, which cancel for small deltas. Its derivative by m =
    # 1 / sigma is the normal density at m / 2 - epsilon / m, so delta is the integral of a positive function; over log
    # m, because it rises from 0 within a few epsilon.
    scale = 1 / sigma
    if epsilon == 0:
        return math.erf(scale / math.sqrt(8))

    def density(log_m: float) -> float:
        m = math.exp(log_m)
        return m * math.exp(-0.5 * (m / 2 - epsilon / m) ** 2)

    # Where m / 2 - epsilon / m is beyond 40 on either side the density is under e^-799. Its peak divides what is smooth
    # but narrow on both sides.
    reach = math.sqrt(1600 + 2 * epsilon)
    low, peak, high = math.log(2 * epsilon / (reach + 40)), math.log(2 * epsilon) / 2, math.log(min(scale, reach + 40))
    if high <= low:
        return 0.0
    ends = [low, peak, high] if low < peak < high else [low, high]
    parts = [integrate.quad(density, a, b, epsabs=0, epsrel=1e-12, limit=500)[0] for a, b in itertools.pairwise(ends)]
    return min(float(sum(parts)) / math.sqrt(2 * math.pi), 1.0)


def last_below(excess: Callable[[int], float], most: int) -> int:
    """The largest whole number up to ``most`` whose excess is at most 0; the excess grows.

    It is 0 where the excess of 1 is above 0.

    False position after Illinois, because each call takes about a second and the excess is smooth; bisection where that
    does not halve what is left.
    """
    low, high, below, above = 0, 1, -math.inf, math.inf
    while (value := excess(high)) <= 0:
        if high == most:
            return most
        low, high, below = high, min(16 * high, most), value
    above = value
    halve, side = False, 0
    while high - low > 1:
        width = high - low
        smooth = math.isfinite(below) and math.isfinite(above) and below < 0
        share = below / (below - above) if smooth and not halve else 0.5
        middle = min(max(low + int(share * width), low + 1), high - 1)
        value = excess(middle)
        if value <= 0:
            above = above / 2 if side < 0 else above
            low, below, side = middle, value, -1
        else:
            below = below / 2 if side > 0 else below
            high, above, side = middle, value, 1
        halve = 2 * (high - low) > width
    return low
