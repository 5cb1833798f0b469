"""Modules of anomalib that need torch alone, without the package around them, which asks for Lightning."""

import importlib
import importlib.util
import sys
import types
from pathlib import Path

import pytest

_PACKAGES = ("", "models", "models.components", "models.components.base", "models.image", "models.image.patchcore", "models.image.padim")
# Names that modules import, and that what is tested does not use.
_UNUSED = {"data": ("InferenceBatch",), "models.components": ("KCenterGreedy", "TimmFeatureExtractor", "GaussianBlur2d"), "utils": ()}


def module(name: str) -> types.ModuleType:
    """A module by its name below ``anomalib``; skips the test where the package is not installed."""
    found = importlib.util.find_spec("anomalib")
    if found is None or not found.submodule_search_locations:
        pytest.skip("anomalib is not installed")
    root = Path(next(iter(found.submodule_search_locations)))
    before = {key: value for key, value in sys.modules.items() if key == "anomalib" or key.startswith("anomalib.")}
    for key in before:
        del sys.modules[key]
    try:
        for package in _PACKAGES:
            full = f"anomalib.{package}".rstrip(".")
            made = types.ModuleType(full)
            made.__path__ = [str(root.joinpath(*package.split(".")) if package else root)]
            sys.modules[full] = made
        for package, names in _UNUSED.items():
            held = sys.modules.setdefault(f"anomalib.{package}", types.ModuleType(f"anomalib.{package}"))
            for unused in names:
                setattr(held, unused, type(unused, (), {}))
        sys.modules["anomalib.utils"].deprecate = lambda **_: lambda function: function
        mixin = importlib.import_module("anomalib.models.components.base.dynamic_buffer").DynamicBufferMixin
        sys.modules["anomalib.models.components.base"].DynamicBufferMixin = mixin
        sys.modules["anomalib.models.components"].DynamicBufferMixin = mixin
        return importlib.import_module(f"anomalib.{name}")
    except ImportError as error:
        pytest.skip(f"anomalib.{name} needs {error.name}")
    finally:
        for key in [key for key in sys.modules if key == "anomalib" or key.startswith("anomalib.")]:
            del sys.modules[key]
        sys.modules.update(before)
