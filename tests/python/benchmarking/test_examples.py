"""Examples in docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

import sslmed.benchmarking
from sslmed.reporting import panels

NAMES = sorted(name for _, name, _ in pkgutil.iter_modules(sslmed.benchmarking.__path__))


@pytest.mark.parametrize("name", [*NAMES, "panels"])
def test_examples(name):
    module = panels if name == "panels" else importlib.import_module(f"sslmed.benchmarking.{name}")
    assert doctest.testmod(module).failed == 0


def test_the_function_is_not_hidden_by_a_module():
    import sslmed as sm

    assert callable(sm.benchmark)
    assert sm.benchmarking.benchmark is sm.benchmark
    assert sm.BenchmarkResult is sm.benchmarking.BenchmarkResult
    assert {"benchmark", "benchmarking", "BenchmarkResult"} <= set(dir(sm))
