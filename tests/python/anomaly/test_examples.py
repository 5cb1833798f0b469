"""The examples in docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

import sslmed.anomaly


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(sslmed.anomaly.__path__)])
def test_examples(name):
    assert doctest.testmod(importlib.import_module(f"sslmed.anomaly.{name}")).failed == 0
