"""Digests of files and arrays, by which copies under other names are found."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from sslmed._core import regular

__all__ = ["PIECE", "TAIL", "WHOLE", "of_array", "of_file", "shape_of", "state_of", "tail_of_array", "tail_of_file"]

PIECE = 1 << 20
"""Bytes of each of the three pieces that are read of a large file."""
WHOLE = 4 << 20
"""Bytes up to which a file is read whole."""
TAIL = 4096
"""Bytes at the end, which tell most contents of equal size apart."""

_SIZE = 16  # bytes of a digest


def of_file(path: str | os.PathLike[str], start: int = 0) -> bytes:
    """Digest of the content of a file.

    A file with more than :data:`WHOLE` bytes of content is known by its size and its first, middle and last :data:`PIECE` bytes, so that thousands of
    large files can be looked at.

    Args:
        path: File.
        start: Byte where the content starts, after a header that does not count.

    Raises:
        OSError: The file cannot be read.
    """
    with open(regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = size - start
        digest = hashlib.blake2b(str(length).encode(), digest_size=_SIZE)
        places = [start] if length <= WHOLE else [start, start + (length - PIECE) // 2, size - PIECE]
        for place in places:
            file.seek(place)
            digest.update(file.read(WHOLE if len(places) == 1 else PIECE))
    return digest.digest()


def tail_of_file(path: str | os.PathLike[str], start: int = 0) -> bytes:
    """Digest of the last :data:`TAIL` bytes of a file's content.

    Args:
        path: File.
        start: Byte where the content starts.

    Raises:
        OSError: The file cannot be read.
    """
    with open(regular(path), "rb") as file:
        file.seek(max(start, os.fstat(file.fileno()).st_size - TAIL))
        return hashlib.blake2b(file.read(TAIL), digest_size=_SIZE).digest()


def state_of(path: str | os.PathLike[str]) -> tuple[int, ...]:
    """What changes whenever a file does, for what is kept of it in a process: the same for all paths to the file.

    The time of its last change of any kind is part of it, since that of its content may be set to whatever it was, as archives and copies do.

    Args:
        path: File.

    Raises:
        OSError: The file cannot be looked at.
    """
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def of_array(value: Any) -> bytes | None:
    """Digest of the arrays and tensors that a modality keeps of a row: type, shape and bytes of each; None where it keeps none.

    Args:
        value: A tensor, an array, or a tuple of such and of other values, which do not count.
    """
    return _digest(value, None)


def tail_of_array(value: Any) -> bytes | None:
    """Digest of the last :data:`TAIL` bytes of each array.

    Args:
        value: As for :func:`of_array`.
    """
    return _digest(value, TAIL)


def shape_of(value: Any) -> str:
    """Types and shapes of the arrays, as a text; empty where there are none.

    Args:
        value: As for :func:`of_array`.
    """
    return "; ".join(_named(part) for part in _arrays(value))


def _digest(value: Any, last: int | None) -> bytes | None:
    digest = hashlib.blake2b(digest_size=_SIZE)
    found = False
    for part in _arrays(value):
        found = True
        digest.update(f"{_named(part)}\0".encode())
        if isinstance(part, torch.Tensor):
            flat = part.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
        else:
            flat = np.ascontiguousarray(part).reshape(-1).view(np.uint8)
        digest.update((flat if last is None else flat[-last:]).data)
    return digest.digest() if found else None


def _arrays(value: Any) -> Iterator[Any]:
    for part in value if isinstance(value, (tuple, list)) else (value,):
        if isinstance(part, torch.Tensor) or (isinstance(part, np.ndarray) and not part.dtype.hasobject):
            yield part


def _named(part: Any) -> str:
    return f"{str(part.dtype).removeprefix('torch.')} {list(part.shape)}"
