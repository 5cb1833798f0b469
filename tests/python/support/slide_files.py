"""Tiled TIFF files of every kind, written byte by byte so that tests know what is in them, and damaged ones can be made."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

SHORT, LONG, RATIONAL, ASCII, UNDEFINED, LONG8 = 3, 4, 5, 2, 7, 16
SIZES = {SHORT: 2, LONG: 4, RATIONAL: 8, ASCII: 1, UNDEFINED: 1, LONG8: 8}


def scene(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Smooth colours with fine grain: [height, width, 3] uint8."""
    rng = np.random.default_rng(seed)
    small = rng.integers(40, 230, size=(height // 16 + 2, width // 16 + 2, 3), dtype=np.uint8)
    large = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return np.clip(large + rng.integers(-12, 13, size=(height, width, 3)), 0, 255).astype(np.uint8)


def blob(side: int, seed: int = 0) -> torch.Tensor:
    """Pink tissue with grain on white glass: a disc in the upper left, and a bar."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:side, :side] / side
    inside = ((xx - 0.35) ** 2 + (yy - 0.35) ** 2 < 0.07) | ((yy > 0.8) & (yy < 0.92) & (xx > 0.1))
    rgb = np.full((side, side, 3), 243.0)
    rgb[inside] = (200, 120, 180)
    rgb += rng.normal(0, 12, (side, side, 1)) * inside[..., None]
    return torch.from_numpy(np.clip(rgb, 0, 255).astype(np.uint8))


def halved(image: np.ndarray) -> np.ndarray:
    h, w = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    return image[:h, :w].reshape(h // 2, 2, w // 2, 2, 3).mean((1, 3)).round().astype(np.uint8)


@dataclass
class Level:
    image: np.ndarray
    tile: tuple[int, int] = (128, 128)  # width, height
    subsampling: int = 2  # Pillow's: 0: 4:4:4, 1: 4:2:2, 2: 4:2:0
    quality: int = 80
    rgb: bool = False  # components stored as RGB
    tables: bool = True  # in the directory, not in each tile
    progressive: bool = False
    description: str = ""
    resolution: tuple[int, int, int] | None = None  # numerator, denominator, unit (2: inch, 3: cm)
    missing: tuple[int, ...] = ()  # tiles that are not stored
    change: dict[int, tuple[int, list[int]]] = field(default_factory=dict)  # tags put in place of what belongs there
    damage: Callable[[int, bytes], bytes] | None = None  # of each tile's bytes


def _jpeg(image: Image.Image, level: Level, streamtype: int) -> bytes:
    out = io.BytesIO()
    options = {"keep_rgb": True, "subsampling": 0} if level.rgb else {"subsampling": level.subsampling}
    image.save(out, "JPEG", quality=level.quality, streamtype=streamtype, progressive=level.progressive, **options)
    return out.getvalue()


def write_slide(path: Path, levels: list[Level], *, big_endian: bool = False, big: bool = False) -> Path:
    """One directory a level, in order."""
    order = ">" if big_endian else "<"
    word = LONG8 if big else LONG
    out = bytearray()
    out += b"MM" if big_endian else b"II"
    out += struct.pack(order + "HHHQ", 43, 8, 0, 0) if big else struct.pack(order + "HI", 42, 0)
    link = 8 if big else 4

    def pack(kind: int, values: list[int]) -> bytes:
        if kind in (ASCII, UNDEFINED):
            return bytes(values)
        return struct.pack(order + "".join({SHORT: "H", LONG: "I", RATIONAL: "I", LONG8: "Q"}[kind] for _ in values), *values)

    for number, level in enumerate(levels):
        height, width = level.image.shape[:2]
        tw, th = level.tile
        offsets, sizes = [], []
        for i, (y, x) in enumerate((y, x) for y in range(0, height, th) for x in range(0, width, tw)):
            tile = np.full((th, tw, 3), 128, np.uint8)
            part = level.image[y : y + th, x : x + tw]
            tile[: part.shape[0], : part.shape[1]] = part
            stored = b"" if i in level.missing else _jpeg(Image.fromarray(tile), level, 2 if level.tables else 0)
            if level.damage:
                stored = level.damage(i, stored)
            offsets.append(len(out) if stored else 0)
            sizes.append(len(stored))
            out += stored + b"\0" * (len(stored) % 2)
        tags: dict[int, tuple[int, list[int]]] = {
            254: (LONG, [int(number > 0)]), 256: (LONG, [width]), 257: (LONG, [height]), 258: (SHORT, [8, 8, 8]), 259: (SHORT, [7]),
            262: (SHORT, [2 if level.rgb else 6]), 277: (SHORT, [3]), 284: (SHORT, [1]), 322: (LONG, [tw]), 323: (LONG, [th]),
            324: (word, offsets), 325: (word, sizes),
        }  # fmt: skip
        if not level.rgb:
            tags[530] = (SHORT, {0: [1, 1], 1: [2, 1], 2: [2, 2]}[level.subsampling])
        if level.description:
            tags[270] = (ASCII, [*level.description.encode(), 0])
        if level.resolution:
            n, d, unit = level.resolution
            tags |= {282: (RATIONAL, [n, d]), 283: (RATIONAL, [n, d]), 296: (SHORT, [unit])}
        if level.tables:
            tags[347] = (UNDEFINED, list(_jpeg(Image.new("RGB", (16, 16)), level, 1)))
        tags |= level.change
        entries = b""
        for tag, (kind, values) in sorted(tags.items()):
            data = pack(kind, values)
            count = len(data) // SIZES[kind]
            if len(data) > (8 if big else 4):
                at = len(out)
                out += data + b"\0" * (len(data) % 2)
                data = struct.pack(order + ("Q" if big else "I"), at)
            entries += struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, count) + data.ljust(8 if big else 4, b"\0")
        out[link : link + (8 if big else 4)] = struct.pack(order + ("Q" if big else "I"), len(out))
        out += struct.pack(order + ("Q" if big else "H"), len(tags)) + entries
        link = len(out)
        out += b"\0" * (8 if big else 4)
    path.write_bytes(out)
    return path


def pyramid(width: int = 700, height: int = 500, count: int = 3, seed: int = 0, **options: object) -> list[Level]:
    levels = [Level(scene(width, height, seed), **options)]  # type: ignore[arg-type]
    for _ in range(count - 1):
        levels.append(Level(halved(levels[-1].image), **options))  # type: ignore[arg-type]
    return levels


APERIO = "Aperio Image Library v12.0.0\r\n700x500 (128x128) JPEG/RGB Q=80|AppMag = 20|MPP = 0.5"
