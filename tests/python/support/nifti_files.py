"""NIfTI files made byte by byte from the published layout, independently of any reader."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# name: (offset, struct format); a number before the letter repeats it.
FIELDS: dict[int, dict[str, tuple[int, str]]] = {
    1: {
        "sizeof_hdr": (0, "i"),
        "dim": (40, "8h"),
        "datatype": (70, "h"),
        "bitpix": (72, "h"),
        "pixdim": (76, "8f"),
        "vox_offset": (108, "f"),
        "scl_slope": (112, "f"),
        "scl_inter": (116, "f"),
        "xyzt_units": (123, "B"),
        "glmin": (144, "i"),
        "descrip": (148, "80s"),
        "qform_code": (252, "h"),
        "sform_code": (254, "h"),
        "quatern": (256, "3f"),
        "qoffset": (268, "3f"),
        "srow": (280, "12f"),
        "magic": (344, "4s"),
    },
    2: {
        "sizeof_hdr": (0, "i"),
        "magic": (4, "4s"),
        "eol_check": (8, "4s"),
        "datatype": (12, "h"),
        "bitpix": (14, "h"),
        "dim": (16, "8q"),
        "pixdim": (104, "8d"),
        "vox_offset": (168, "q"),
        "scl_slope": (176, "d"),
        "scl_inter": (184, "d"),
        "descrip": (240, "80s"),
        "qform_code": (344, "i"),
        "sform_code": (348, "i"),
        "quatern": (352, "3d"),
        "qoffset": (376, "3d"),
        "srow": (400, "12d"),
        "xyzt_units": (500, "i"),
    },
}
SIZES = {1: 348, 2: 540}
CODES = {
    "u1": 2,
    "i2": 4,
    "i4": 8,
    "f4": 16,
    "f8": 64,
    "rgb": 128,
    "i1": 256,
    "u2": 512,
    "u4": 768,
    "i8": 1024,
    "u8": 1280,
    "rgba": 2304,
}


@dataclass
class Nifti:
    """A file; ``fields`` replaces header fields last, whatever they are."""

    shape: Sequence[int] = (3, 4, 2)
    kind: str = "i2"
    values: np.ndarray[Any, Any] | None = None  # flat, the first axis fastest
    version: int = 1
    order: str = "<"
    pair: bool = False
    scale: tuple[float, float] = (1.0, 0.0)
    spacing: Sequence[float] = (1.0, 2.0, 3.0, 4.0, 1.0, 1.0, 1.0)
    qfac: float = 1.0
    quatern: Sequence[float] = (0.5, 0.5, 0.5)
    qoffset: Sequence[float] = (-1.0, -2.0, -3.0)
    srow: Sequence[float] = (0.0, 0.0, 3.0, -1.0, 1.0, 0.0, 0.0, -2.0, 0.0, 2.0, 0.0, -3.0)
    qform_code: int = 0
    sform_code: int = 1
    units: int = 10  # mm and s
    extensions: Sequence[tuple[int, bytes]] = ()
    fields: dict[str, Any] = field(default_factory=dict)

    def stored(self) -> bytes:
        colors = {"rgb": 3, "rgba": 4}.get(self.kind, 0)
        dtype = np.dtype(self.order + ("u1" if colors else self.kind))
        count = int(np.prod(self.shape)) * (colors or 1)
        values = np.arange(count) % 100 if self.values is None else self.values
        return values.astype(dtype).tobytes()

    def tail(self) -> bytes:
        out = b"\x01\0\0\0" if self.extensions else b"\0\0\0\0"
        for code, content in self.extensions:
            size = (len(content) + 8 + 15) // 16 * 16
            out += struct.pack(f"{self.order}ii", size, code) + content.ljust(size - 8, b"\0")
        return out

    def header(self) -> bytes:
        size, tail = SIZES[self.version], self.tail()
        colors = {"rgb": 24, "rgba": 32}
        magic = b"n%s%d\0" % (b"i" if self.pair else b"+", self.version)
        offset = 0 if self.pair else size + len(tail)
        values: dict[str, Any] = {
            "sizeof_hdr": size,
            "magic": magic,
            "eol_check": b"\r\n\x1a\n",
            "datatype": CODES[self.kind],
            "bitpix": colors.get(self.kind) or 8 * int(self.kind[1:]),
            "dim": [len(self.shape), *self.shape, *[1] * (7 - len(self.shape))],
            "pixdim": [self.qfac, *self.spacing, *[1.0] * (7 - len(self.spacing))],
            "vox_offset": offset,
            "scl_slope": self.scale[0],
            "scl_inter": self.scale[1],
            "xyzt_units": self.units,
            "qform_code": self.qform_code,
            "sform_code": self.sform_code,
            "quatern": self.quatern,
            "qoffset": self.qoffset,
            "srow": self.srow,
        } | self.fields
        out = bytearray(size)
        for name, value in values.items():
            if name not in FIELDS[self.version]:
                continue
            where, form = FIELDS[self.version][name]
            struct.pack_into(self.order + form, out, where, *(value if isinstance(value, list | tuple) else [value]))
        return bytes(out)

    def bytes(self) -> bytes:
        """The single file."""
        return self.header() + self.tail() + self.stored()
