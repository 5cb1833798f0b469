"""Loads the compiled core, or says in one sentence why it cannot."""

from __future__ import annotations

import importlib
import os
import stat
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
import torch

Array: TypeAlias = Union[torch.Tensor, "np.ndarray[Any, Any]"]
"""A tensor or a NumPy array, as functions on images and signals take it."""

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


class SslmedWarning(UserWarning):
    """Base of the warnings that Python code of sslmed gives. The core gives :class:`FormatWarning`."""


class LeftOutWarning(SslmedWarning):
    """Samples, channels or files were left out; the message counts and names them."""


class ValueWarning(SslmedWarning):
    """Values of a table or of a signal were not understood, or look wrong."""


class ChannelWarning(SslmedWarning):
    """Channel names have no known position."""


def regular(path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """The path. A pipe, socket or device is refused before it is opened, because opening it may wait for ever; what else is wrong says whoever opens it.

    Raises:
        ReadError: The path is neither a file nor a folder.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return path
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        kind = "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
        raise ReadError(f"{os.fspath(path)}: is not a regular file: expected a file, found {kind}; leave it out, or copy its content to a file")
    return path


def tensor(array: Array) -> torch.Tensor:
    """A NumPy array as a tensor; tensors as they are."""
    if not isinstance(array, np.ndarray):
        return array
    return torch.from_numpy(array if array.flags.writeable and array.flags.c_contiguous else array.copy(order="C"))


class OverlapWarning(SslmedWarning):
    """Two cohorts have subjects of the same names."""


class TransductiveWarning(SslmedWarning):
    """An encoder is scored on people whose signals it was pretrained on."""


class UntestedWarning(SslmedWarning):
    """Folds leave recordings that are in no test part."""


class WeakFitWarning(SslmedWarning):
    """A fit rests on little: a model explains next to nothing, or people or ages are too few for what is estimated."""


__all__ = [
    "Array",
    "C",
    "ChannelWarning",
    "CollapseError",
    "DistributedError",
    "FormatError",
    "FormatWarning",
    "LeftOutWarning",
    "NonFiniteError",
    "OverlapWarning",
    "ReadError",
    "SslmedWarning",
    "TransductiveWarning",
    "UntestedWarning",
    "ValueWarning",
    "WeakFitWarning",
    "check_torch",
    "regular",
    "tensor",
]
