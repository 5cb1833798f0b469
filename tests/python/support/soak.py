"""Simulations in two lengths: a thin one for every commit, and one of enough draws for ``make soak``."""

from __future__ import annotations

import os

import numpy as np
import pytest
from scipy.stats import binom

WHEN_SOAKED = pytest.mark.skipif(not os.environ.get("SSLMED_SOAK"), reason="takes minutes; make soak sets SSLMED_SOAK")


def simulations(thin: int, many: int) -> pytest.MarkDecorator:
    """Runs a test with ``simulations`` set to a few, and under ``make soak`` to many."""
    return pytest.mark.parametrize("simulations", [thin, pytest.param(many, id=f"soak-{many}", marks=WHEN_SOAKED)])


def near(rate: float, expected: float, simulations: int, margin: float = 0.02) -> bool:
    """Whether a simulated rate is within ``margin`` of what is expected, three standard errors of the simulation aside if those are more."""
    return abs(rate - expected) <= max(margin, 3 * np.sqrt(expected * (1 - expected) / simulations))


def at_most(count: int, rate: float, simulations: int) -> bool:
    """Whether an event came in at most this share of many simulations; for fewer than 300, whether a binomial test at 1e-4 allows that share."""
    if simulations >= 300:
        return count / simulations <= rate
    return bool(binom.sf(count - 1, simulations, rate) > 1e-4)
