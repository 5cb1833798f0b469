"""PNG files of whole numbers, one channel, as instance and class maps have them."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from sslmed._core import tensor

__all__ = ["write_label_png"]

_MOST = 65535


def write_label_png(labels: Any, path: str | os.PathLike[str], *, wide: bool | None = None) -> None:
    """Writes a map of whole numbers as a PNG of one channel.

    Args:
        labels: [height, width] whole numbers from 0 to 65535, a tensor or an array.
        path: File to write; it is complete or not there.
        wide: Write 16 bits a pixel; None: where a number is above 255.

    Raises:
        ValueError: The shape or a number does not fit.

    Examples:
        >>> import tempfile, torch, sslmed as sm
        >>> file = tempfile.mkdtemp() + "/cells.png"
        >>> sm.io.write_label_png(torch.tensor([[0, 300]]), file)
    """
    values = np.asarray(tensor(labels))
    if values.ndim != 2 or values.size == 0 or not np.issubdtype(values.dtype, np.integer):
        found = f"got {values.dtype} {values.shape}"
        raise ValueError(f"write_label_png: labels must be whole numbers [height, width], {found}")
    low, high = int(values.min()), int(values.max())
    wide = high > 255 if wide is None else wide
    most = _MOST if wide else 255
    if low < 0 or high > most:
        raise ValueError(f"write_label_png: labels must be within 0 and {most}, got {low if low < 0 else high}")
    pixels = values.astype(">u2" if wide else np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)  # no filter
    height, width = pixels.shape
    head = struct.pack(">IIBBBBB", width, height, 16 if wide else 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 6)), (b"IEND", b"")):
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    file = Path(path)
    temporary = file.with_name(f".{file.name}.tmp-{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(file)
