"""What stores of converted copies share."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

__all__ = ["CACHE", "whole"]

CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "sslmed")
"""The folder of all stores, unless others are set."""


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary name beside a file, which becomes the file's when all went well: a copy is whole or not there."""
    part = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
