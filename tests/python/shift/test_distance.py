"""Distances against their definitions."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from sslmed.shift import distance


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_distances_equal_their_definitions(rng):
    x, y = rng.normal(size=(30, 4)), rng.normal(0.5, 2, size=(40, 4))

    def kernel(u, v):
        return np.mean([[np.exp(-0.3 * ((p - q) ** 2).sum()) for q in v] for p in u])

    assert distance.mmd(x, y, 0.3) == pytest.approx(kernel(x, x) + kernel(y, y) - 2 * kernel(x, y))
    assert distance.mmd(x, x) == pytest.approx(0, abs=1e-12)
    a, b = np.cov(x.T), np.cov(y.T)
    assert distance.coral_distance(x, y) == pytest.approx(((a - b) ** 2).sum() / 64)
    frechet = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b - 2 * np.real(sqrtm(a @ b)))
    assert distance.frechet_distance(x, y) == pytest.approx(frechet)
    assert distance.frechet_distance(x, x) == pytest.approx(0, abs=1e-10)
    for bad in ((x, y[:, :3]), (x[:1], y), (x * np.nan, y)):
        with pytest.raises(ValueError):
            distance.mmd(*bad)
