"""Checks of arguments: each message names the function, the parameter, its value and what was expected."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from typing import Any, Literal

__all__ = ["OnError", "choice", "is_text", "number", "readable", "whole"]

OnError = Literal["raise", "skip"]
"""What happens to a sample that cannot be read: an error, or a warning and a result without it."""


def choice(where: str, name: str, value: Any, choices: Iterable[str]) -> None:
    """Raises ValueError unless ``value`` is one of ``choices``."""
    known = list(choices)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{where}: {name}={value!r} must be one of {', '.join(map(repr, known))}")


def whole(where: str, name: str, value: Any, least: int = 0) -> None:
    """Raises ValueError unless ``value`` is a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"{where}: {name}={value!r} must be a whole number of at least {least}")


def number(where: str, name: str, value: Any, low: float, high: float = math.inf, *, strict: bool = False) -> None:
    """Raises ValueError unless ``value`` is a finite number within [low, high], or above ``low`` with ``strict``."""
    good = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(float(value))
    if good and (low < value if strict else low <= value) and value <= high:
        return
    least = f"{'above' if strict else 'at least'} {low:g}"
    raise ValueError(f"{where}: {name}={value!r} must be a number {least}{'' if math.isinf(high) else f' and at most {high:g}'}")


def is_text(path: str) -> bool:
    """Whether a path is UTF-8: tables hold no others."""
    if path.isascii():
        return True
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def readable(path: str) -> str:
    """A path as text, with its bytes that are not UTF-8 as codes."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
