"""Writing slides: pyramidal TIFF of JPEG tiles, which OpenSlide and QuPath read."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from sslmed._core import Array, tensor

__all__ = ["write_slide"]

_SHORT, _LONG, _RATIONAL, _ASCII = 3, 4, 5, 2
_MOST = 2**32 - 2**20  # bytes: a TIFF's offsets have 32 bits


def write_slide(path: str | os.PathLike[str], rgb: Array, mpp: float, *, tile: int = 256, quality: int = 80, description: str = "") -> None:
    """Writes a picture as a tiled pyramidal TIFF, each level half of the one before (exact means), down to a single tile.

    Args:
        path: The file; written under another name first, and then renamed.
        rgb: [H, W, 3] uint8.
        mpp: µm per pixel.
        tile: Pixels of a tile's sides, a multiple of 16.
        quality: Of JPEG (4:2:0).
        description: Put into the file.

    Raises:
        ValueError: Not a picture, or more than 4 GiB.
    """
    from PIL import Image

    rgb = tensor(rgb)
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != torch.uint8 or rgb.numel() == 0:
        raise ValueError(f"expected a picture [H, W, 3] of uint8, got {tuple(rgb.shape)} of {rgb.dtype}")
    if tile < 16 or tile % 16 or not mpp > 0:
        raise ValueError(f"tiles must be multiples of 16 and mpp positive, got {tile} and {mpp}")
    level: npt.NDArray[np.uint8] = rgb.numpy()
    levels = [level]
    while max(level.shape[:2]) > tile and min(level.shape[:2]) > 1:
        h, w = level.shape[0] // 2, level.shape[1] // 2
        level = (level[: 2 * h, : 2 * w].reshape(h, 2, w, 2, 3).sum((1, 3), dtype=np.uint16) + 2 >> 2).astype(np.uint8)
        levels.append(level)
    out = bytearray(b"II" + struct.pack("<HI", 42, 0))
    link = 4
    for number, level in enumerate(levels):
        height, width = level.shape[:2]
        offsets, sizes = [], []
        for y in range(0, height, tile):
            for x in range(0, width, tile):
                part = level[y : y + tile, x : x + tile]
                padded = np.pad(part, ((0, tile - part.shape[0]), (0, tile - part.shape[1]), (0, 0)), mode="edge")
                data = io.BytesIO()
                Image.fromarray(padded).save(data, "JPEG", quality=quality, subsampling=2)
                offsets.append(len(out))
                sizes.append(data.tell())
                out += data.getvalue() + b"\0" * (data.tell() % 2)
        if len(out) > _MOST:
            raise ValueError(f"{os.fspath(path)}: more than 4 GiB, which this kind of TIFF cannot hold")
        # Dots a centimetre, as a fraction of whole numbers.
        resolution = [round(1e4 * 1e4 / (mpp * 2**number)), 10_000]
        tags: dict[int, tuple[int, list[int]]] = {
            254: (_LONG, [int(number > 0)]), 256: (_LONG, [width]), 257: (_LONG, [height]), 258: (_SHORT, [8, 8, 8]), 259: (_SHORT, [7]), 262: (_SHORT, [6]),
            277: (_SHORT, [3]), 282: (_RATIONAL, resolution), 283: (_RATIONAL, resolution), 284: (_SHORT, [1]), 296: (_SHORT, [3]), 322: (_LONG, [tile]),
            323: (_LONG, [tile]), 324: (_LONG, offsets), 325: (_LONG, sizes), 530: (_SHORT, [2, 2]),
        }  # fmt: skip
        if description and number == 0:
            tags[270] = (_ASCII, [*description.encode(), 0])
        entries = b""
        for tag, (kind, values) in sorted(tags.items()):
            packed = bytes(values) if kind == _ASCII else struct.pack(f"<{len(values)}{'H' if kind == _SHORT else 'I'}", *values)
            count = len(values) // (2 if kind == _RATIONAL else 1)
            if len(packed) > 4:
                at = len(out)
                out += packed + b"\0" * (len(packed) % 2)
                packed = struct.pack("<I", at)
            entries += struct.pack("<HHI", tag, kind, count) + packed.ljust(4, b"\0")
        struct.pack_into("<I", out, link, len(out))
        out += struct.pack("<H", len(tags)) + entries
        link = len(out)
        out += b"\0\0\0\0"
    target = Path(path)
    temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}")
    temporary.write_bytes(out)
    temporary.replace(target)
