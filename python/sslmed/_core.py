"""Loads the compiled core, or says in one sentence why it cannot."""

import importlib
from typing import TYPE_CHECKING

import torch

_BUILT_FOR = "sslmed's compiled core was built for torch {built}, and torch {running} is running: {remedy}."
_REMEDY = "install the matching torch, or build sslmed again with 'pip install --no-build-isolation --no-deps .'"

try:
    _module = importlib.import_module("sslmed._C")
except ImportError as error:
    raise ImportError(f"sslmed's compiled core does not load with torch {torch.__version__}: {error}. If torch was changed, {_REMEDY}.") from error


def check_torch(built: str, running: str) -> None:
    """Raises ImportError unless both versions agree in major.minor: torch's C++ interface changes between minor versions."""
    if built.split(".")[:2] != running.split(".")[:2]:
        raise ImportError(_BUILT_FOR.format(built=built, running=running, remedy=_REMEDY))


check_torch(_module.TORCH_VERSION, torch.__version__)

if TYPE_CHECKING:
    from sslmed import _C as C
    from sslmed._C import CollapseError, DistributedError, FormatError, FormatWarning, NonFiniteError, ReadError
else:
    C = _module
    DistributedError = _module.DistributedError
    FormatError = _module.FormatError
    FormatWarning = _module.FormatWarning
    CollapseError = _module.CollapseError
    NonFiniteError = _module.NonFiniteError
    ReadError = _module.ReadError

__all__ = ["C", "CollapseError", "DistributedError", "FormatError", "FormatWarning", "NonFiniteError", "ReadError", "check_torch"]
