"""Scoring on another cohort takes memory of its recordings, not of their square."""

import tracemalloc

import numpy as np

from sslmed.evaluation.crossfit import Study
from sslmed.evaluation.external import _units


def test_units_of_many_recordings_are_means_without_a_dense_matrix(rng):
    n = 20_000
    truth, subjects = rng.integers(0, 2, n), np.array([f"s{i}" for i in range(n)])
    study = Study.of(truth, subjects, np.array(["a", "b"]), [], level="recording")
    values = rng.random((n, 2))
    tracemalloc.start()
    made = _units(study, values, np.full(2, 0.5))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6  # the dense matrix would be 3.2 GB
    assert np.array_equal(made.predicted[0], values)
