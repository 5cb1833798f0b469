"""Epsilon of steps that add Gaussian noise to Poisson-sampled batches, by dp-accounting."""

from __future__ import annotations

import functools
import importlib
import logging
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np

from sslmed import _checks

__all__ = ["ACCOUNTANTS", "RELATIONS", "Accountant", "Relation", "check_accountant", "check_delta", "epsilon_of"]

Relation = Literal["add_or_remove_one", "replace_one"]
Accountant = Literal["pld", "rdp"]
RELATIONS = ("add_or_remove_one", "replace_one")
"""What neighboring data sets may differ by."""
ACCOUNTANTS = ("pld", "rdp")
"""Privacy loss distributions, and Rényi differential privacy."""

_LEAST_NOISE = 1e-3
_MOST_NOISE = 1e50  # more counts as this, because dp-accounting squares it
_INTERVAL = 1e-4  # of privacy losses, dp-accounting's default
_SPAN, _SPAN_OF_ONE = 400.0, 100.0  # losses of all steps and of one step up to here are taken in steps of _INTERVAL
_POINTS = 200_000  # of wider ones
_WIDEST = 1e6  # more than this overflows, and is no privacy
# Rounding errors of a power by Fourier transforms: this, for each step, times the length of the result. Phases of up to
# pi are multiplied by the number of steps.
_ROUNDING = 4 * sys.float_info.epsilon


def epsilon_of(steps: Mapping[tuple[float, float], int], delta: float, relation: str, accountant: str) -> float:
    """Epsilon of all steps together.

    Args:
        steps: Number of steps by (noise multiplier, sampling rate). Equal steps are composed at once, so their number
            costs next to nothing.
        delta: Delta, between 0 and 1.
        relation: One of :data:`RELATIONS`.
        accountant: One of :data:`ACCOUNTANTS`; "rdp" has "add_or_remove_one" alone.

    Returns:
        An upper bound of epsilon; 0 without steps, infinite where a step has no noise, or less than 1e-3 (its epsilon
        is in the hundred thousands). "pld" is infinite too for losses of about a million, and where rounding in its
        Fourier transforms may reach delta.

    Raises:
        ImportError: dp-accounting is not installed.
    """
    if not steps:
        return 0.0
    if any(sigma < _LEAST_NOISE for sigma, _ in steps):
        return math.inf
    # In one order, so that equal ledgers give equal bits.
    parts = sorted((min(sigma, _MOST_NOISE), rate, count) for (sigma, rate), count in steps.items())
    if accountant == "rdp":
        return _rdp(parts, delta)
    interval = _interval(parts, relation)
    if interval > _WIDEST / _POINTS:
        return math.inf
    total, error = None, 0.0
    for sigma, rate, count in parts:
        # Gaussian noise without sampling composes to less Gaussian noise, exactly.
        once = rate == 1
        part = _loss(sigma / math.sqrt(count) if once else sigma, rate, relation, interval)
        if not once and count > 1:
            part = part.self_compose(count)
            error += _rounding(part, count)
        if total is None:
            total = part
        else:
            total = total.compose(part)
            error += _rounding(total, 1)
    assert total is not None
    # The errors may be of either sign, and would make a small delta's epsilon too small. Where they reach delta nothing
    # is known of epsilon.
    return float(total.get_epsilon_for_delta(delta - error)) if delta > error else math.inf


def check_accountant(where: str, accountant: Any, relation: Any) -> None:
    """Raises ValueError unless the accountant is known and can account for the relation."""
    _checks.choice(where, "relation", relation, RELATIONS)
    _checks.choice(where, "accountant", accountant, ACCOUNTANTS)
    if accountant == "rdp" and relation != "add_or_remove_one":
        # dp-accounting refuses Poisson samples here, and counts noise without sampling as if the sensitivity did not
        # double.
        needed = f"needs relation='add_or_remove_one', found relation={relation!r}; use accountant='pld'"
        raise ValueError(f"{where}: accountant='rdp' {needed}")


def check_delta(where: str, delta: Any) -> None:
    """Raises ValueError unless delta is above 0 and below 1."""
    _checks.number(where, "delta", delta, 0, 1, strict=True)
    if delta == 1:
        raise ValueError(f"{where}: delta={delta!r} must be below 1")


def _package(name: str) -> Any:
    """A module of dp-accounting, which takes seconds to import and is needed only when an epsilon is asked for."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "dp_accounting":
            raise
        text = "sslmed.privacy needs dp-accounting to compute epsilon: pip install 'sslmed[privacy]'"
        raise ImportError(text) from error


@functools.lru_cache(maxsize=8)
def _loss(sigma: float, rate: float, relation: str, interval: float) -> Any:
    """The privacy loss distribution of one step, rounded so that epsilon is never too small."""
    # Replacing one unit is covered with sampling too. Its pair (1-q)N(0) + qN(1) against (1-q)N(0) + qN(-1) is the
    # worst there is: of all contributions within the clipping norm these move any set of results of given probability
    # under N(0) furthest up and down (Neyman and Pearson), both at once.
    members = _package("dp_accounting").NeighboringRelation
    return _package("dp_accounting.pld.privacy_loss_distribution").from_gaussian_mechanism(
        standard_deviation=sigma,
        sampling_prob=rate,
        value_discretization_interval=interval,
        neighboring_relation=members.REPLACE_ONE if relation == "replace_one" else members.ADD_OR_REMOVE_ONE,
    )


def _rounding(composed: Any, count: int) -> float:
    """By how much rounding in Fourier transforms may change all probabilities of ``count`` composed steps together.

    dp-accounting composes by them and does not count their errors, which are not relative to each probability but to
    the largest ones. In the mean square they are at most those of the transform's result, by Parseval; together at most
    that times the root of their number, by Cauchy and Schwarz.
    """
    most = 0.0
    for each in (composed._pmf_remove, composed._pmf_add):
        probabilities = each.to_dense_pmf()._probs
        size = len(probabilities)
        length = math.sqrt(size) * float(np.linalg.norm(probabilities))
        most = max(most, _ROUNDING * (count + math.log2(size + 1)) * length)
    return most


def _interval(parts: list[tuple[float, float, int]], relation: str) -> float:
    """The step in which losses are rounded: :data:`_INTERVAL`, and more where losses would take gigabytes.

    It never becomes smaller when steps are added, so that these cannot make epsilon smaller either.
    """
    mean = widest = 0.0
    for sigma, rate, count in parts:
        shift = (2 if relation == "replace_one" else 1) / sigma
        # The mean loss of a step is at most its chi-squared divergence, and at most that of the noise without sampling.
        spread = math.log1p(rate**2 * math.expm1(shift**2)) if shift**2 < 700 else math.inf
        mean += count * min(rate * shift**2 / 2, spread)
        widest = max(widest, shift**2 / 2 + 10 * shift)
    span = mean + 10 * math.sqrt(2 * mean) + widest
    return _INTERVAL if span <= _SPAN and widest <= _SPAN_OF_ONE else span / _POINTS


def _rdp(parts: list[tuple[float, float, int]], delta: float) -> float:
    package = _package("dp_accounting")
    accountant = _package("dp_accounting.rdp").RdpAccountant()
    with _quiet():
        for sigma, rate, count in parts:
            event = package.GaussianDpEvent(sigma)
            accountant.compose(event if rate == 1 else package.PoissonSampledDpEvent(rate, event), count)
        return float(accountant.get_epsilon(delta))


@contextmanager
def _quiet() -> Iterator[None]:
    """Drops what dp-accounting logs of fractional orders whose series do not converge: the bound holds without them."""

    def keep(record: logging.LogRecord) -> bool:
        return "failed to converge" not in str(record.msg)

    logger = logging.getLogger("absl")
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
