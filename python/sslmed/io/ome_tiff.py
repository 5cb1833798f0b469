"""Maps of slides (classes, probabilities) as pyramidal OME-TIFF, written band by band: QuPath, Bio-Formats, tifffile
and OpenSlide open them."""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import numpy.typing as npt

from sslmed._checks import number, whole
from sslmed._core import Array, tensor

__all__ = ["OmeTiffWriter", "write_ome_tiff"]

_SHORT, _LONG, _RATIONAL, _ASCII, _LONG8, _IFD, _IFD8 = 3, 4, 5, 2, 16, 13, 18
_SIZES = {_SHORT: 2, _LONG: 4, _RATIONAL: 8, _ASCII: 1, _LONG8: 8, _IFD: 4, _IFD8: 8}
_CODES = {_SHORT: "H", _LONG: "I", _LONG8: "Q", _IFD: "I", _IFD8: "Q"}
_TYPES = {"uint8": "uint8", "uint16": "uint16", "int32": "int32", "float32": "float"}  # NumPy's names, and OME's
_LEAST_MPP = 1e-5  # µm: with smaller ones the pixels of a centimeter have more than 32 bits
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CLASSIC = 2**32 - 2**24  # bytes: offsets of a classic TIFF have 32 bits
_SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


class OmeTiffWriter:
    """A pyramidal OME-TIFF of one or several channels, written from the first row to the last.

    Tiles are compressed with Deflate; each level has half the columns and rows of the one before, down to a single
    tile. The reduced levels are sub-images of each channel, as OME has it; those of the first channel are also listed
    after the full images, where OpenSlide looks for levels. Files that could grow beyond 4 GiB uncompressed are
    BigTIFF. OpenSlide opens files of "uint8" alone.

    Args:
        path: The file; written under another name first, and renamed when it is closed.
        shape: Rows and columns.
        mpp: µm per pixel in x and y.
        dtype: "uint8", "uint16", "int32" or "float32".
        channels: Names of the channels; one number a pixel for each of them.
        classes: What values stand for, kept in the OME-XML as an annotation.
        labels: Whether pixels are labels: reduced levels then take every other pixel, and otherwise the mean of four.
        tile: Pixels of a tile's sides, a multiple of 16.
        name: Name of the image; None: that of the file.
        bigtiff: Write a BigTIFF; None: where it could be needed.

    Raises:
        ValueError: An option is out of range.

    Examples:
        >>> import tempfile, torch, sslmed as sm
        >>> file = tempfile.mkdtemp() + "/labels.ome.tiff"
        >>> with sm.io.OmeTiffWriter(file, (300, 400), (0.5, 0.5)) as out:
        ...     for row in range(0, 300, 100):
        ...         out.write(torch.full((100, 400), row // 100, dtype=torch.uint8))
        >>> sm.io.open_slide(file).level_dimensions
        [(400, 300), (200, 150)]
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        shape: tuple[int, int],
        mpp: tuple[float, float],
        *,
        dtype: str = "uint8",
        channels: Sequence[str] = ("labels",),
        classes: Mapping[int, str] | None = None,
        labels: bool = True,
        tile: int = 256,
        name: str | None = None,
        bigtiff: bool | None = None,
    ) -> None:
        if dtype not in _TYPES:
            raise ValueError(f"OmeTiffWriter: dtype={dtype!r} must be one of {', '.join(_TYPES)}")
        for side in shape:
            whole("OmeTiffWriter", "shape", side, 1)
        for scale in mpp:
            number("OmeTiffWriter", "mpp", scale, _LEAST_MPP, 1e4)
        for text in (*channels, *(classes or {}).values(), *(() if name is None else (name,))):
            if found := _NOT_XML.search(text):
                raise ValueError(f"OmeTiffWriter: the name {text!r} holds {found[0]!r}, which XML cannot hold")
        if tile < 16 or tile % 16:
            raise ValueError(f"OmeTiffWriter: tile={tile} must be a multiple of 16 pixels")
        if not channels:
            raise ValueError("OmeTiffWriter: channels is empty, expected at least one name")
        self._path = Path(path)
        self._dtype, self._tile, self._labels = np.dtype(dtype).newbyteorder("<"), tile, labels
        self._channels, self._classes, self._mpp = list(channels), dict(classes or {}), (float(mpp[0]), float(mpp[1]))
        self._name = self._path.name if name is None else name
        height, width = shape
        self._levels = [_Level(height, width)]
        while max(self._levels[-1].height, self._levels[-1].width) > tile and min(self._levels[-1].height, self._levels[-1].width) > 1:
            self._levels.append(_Level(self._levels[-1].height // 2, self._levels[-1].width // 2))
        most = sum(-(-one.height // tile) * -(-one.width // tile) for one in self._levels) * (tile * tile * self._dtype.itemsize + 64) * len(channels)
        self._big = most > _CLASSIC if bigtiff is None else bigtiff
        self._temporary = self._path.with_name(f".{self._path.name}.tmp-{os.getpid()}")
        self._file = self._temporary.open("wb")
        self._file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0) if self._big else struct.pack("<2sHI", b"II", 42, 0))
        for level in self._levels:
            level.offsets, level.sizes = [[] for _ in channels], [[] for _ in channels]

    def __enter__(self) -> OmeTiffWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()
            self._temporary.unlink(missing_ok=True)

    def write(self, band: Array) -> None:
        """The next rows: [rows, W], or [channels, rows, W] of several channels.

        Raises:
            ValueError: The band does not fit the map, or holds values that the type of the file does not.
        """
        values = tensor(band).numpy()
        rows: npt.NDArray[Any] = values[None] if values.ndim == 2 else values
        first = self._levels[0]
        if rows.ndim != 3 or rows.shape[0] != len(self._channels) or rows.shape[2] != first.width or first.seen + rows.shape[1] > first.height:
            raise ValueError(
                f"{self._path}: a band must be [{len(self._channels)}, at most {first.height - first.seen} rows, {first.width}], got {tuple(values.shape)}"
            )
        if rows.size and np.issubdtype(self._dtype, np.integer):
            if np.issubdtype(rows.dtype, np.floating):
                raise ValueError(f"{self._path}: values must be whole numbers in a file of {self._dtype.name}, got {rows.dtype}")
            limits = np.iinfo(self._dtype)
            low, high = rows.min(), rows.max()
            if low < limits.min or high > limits.max:
                raise ValueError(f"{self._path}: values must be within {limits.min} and {limits.max}, got {low} to {high}")
        self._push(0, rows.astype(self._dtype, copy=False))

    def close(self) -> None:
        """Writes the directories. ValueError where rows are missing."""
        first = self._levels[0]
        if first.seen != first.height:
            self._file.close()
            self._temporary.unlink(missing_ok=True)
            raise ValueError(f"{self._path}: expected {first.height} rows, got {first.seen}")
        self._directories()
        self._file.close()
        self._temporary.replace(self._path)

    def _push(self, index: int, rows: npt.NDArray[Any]) -> None:
        """Rows of a level: whole rows of tiles are written, pairs of rows go on to the next level."""
        level = self._levels[index]
        rows = rows[:, : level.height - level.seen]
        level.seen += rows.shape[1]
        level.waiting.append(rows)
        while sum(part.shape[1] for part in level.waiting) >= self._tile or (level.seen == level.height and level.waiting):
            held = np.concatenate(level.waiting, axis=1)
            self._tiles(level, held[:, : self._tile])
            level.waiting = [held[:, self._tile :]] if held.shape[1] > self._tile else []
        if index + 1 < len(self._levels):
            pairs = rows if level.odd is None else np.concatenate([level.odd, rows], axis=1)
            even = pairs.shape[1] // 2 * 2
            level.odd = pairs[:, even:].copy() if pairs.shape[1] > even else None
            if even:
                self._push(index + 1, self._halved(pairs[:, :even], self._levels[index + 1].width))

    def _halved(self, rows: npt.NDArray[Any], width: int) -> npt.NDArray[Any]:
        rows = rows[:, :, : 2 * width]
        if self._labels:
            return np.ascontiguousarray(rows[:, ::2, ::2])
        four = rows.reshape(rows.shape[0], rows.shape[1] // 2, 2, width, 2).mean((2, 4), dtype=np.float64)
        out: npt.NDArray[Any] = (np.floor(four + 0.5) if np.issubdtype(self._dtype, np.integer) else four).astype(self._dtype)
        return out

    def _tiles(self, level: _Level, rows: npt.NDArray[Any]) -> None:
        side = self._tile
        for channel in range(len(self._channels)):
            for x in range(0, level.width, side):
                part = rows[channel, :, x : x + side]
                if part.shape != (side, side):
                    part = np.pad(part, ((0, side - part.shape[0]), (0, side - part.shape[1])))
                data = zlib.compress(np.ascontiguousarray(part).tobytes(), 4)
                level.offsets[channel].append(self._file.tell())
                level.sizes[channel].append(len(data))
                self._file.write(data + b"\0" * (len(data) % 2))

    def _directories(self) -> None:
        """Reduced levels first, because the full images point to them."""
        last = len(self._channels) - 1
        below: list[list[int]] = []
        chain = 0
        for channel in range(last, -1, -1):
            places: list[int] = []
            after = 0
            for below_it in range(len(self._levels) - 1, 0, -1):
                after = self._directory(channel, below_it, after if channel == 0 else 0, [])
                places.insert(0, after)
            below.insert(0, places)
            if channel == 0:
                chain = after
        for channel in range(last, -1, -1):
            chain = self._directory(channel, 0, chain, below[channel])
        self._file.seek(8 if self._big else 4)
        self._file.write(struct.pack("<Q" if self._big else "<I", chain))

    def _directory(self, channel: int, index: int, after: int, below: list[int]) -> int:
        """Writes an image's directory and gives its place."""
        level, word = self._levels[index], _LONG8 if self._big else _LONG
        kind = {"u": 1, "i": 2, "f": 3}[self._dtype.kind]
        resolution = [part for scale in self._mpp for part in _fraction(1e4 / (scale * 2**index))]  # pixels a centimeter
        tags: dict[int, tuple[int, list[int]]] = {
            254: (_LONG, [int(index > 0)]), 256: (_LONG, [level.width]), 257: (_LONG, [level.height]), 258: (_SHORT, [8 * self._dtype.itemsize]),
            259: (_SHORT, [8]), 262: (_SHORT, [1]), 277: (_SHORT, [1]), 282: (_RATIONAL, resolution[:2]), 283: (_RATIONAL, resolution[2:]),
            284: (_SHORT, [1]), 296: (_SHORT, [3]), 322: (_LONG, [self._tile]), 323: (_LONG, [self._tile]), 324: (word, level.offsets[channel]),
            325: (word, level.sizes[channel]), 339: (_SHORT, [kind]),
        }  # fmt: skip
        if below:
            tags[330] = (_IFD8 if self._big else _IFD, below)
        if channel == 0 and index == 0:
            tags[270] = (_ASCII, [*self._xml(), 0])
        room, entries = (8 if self._big else 4), b""
        for tag, (kind_of, values) in sorted(tags.items()):
            packed = bytes(values) if kind_of == _ASCII else struct.pack(f"<{len(values)}{'I' if kind_of == _RATIONAL else _CODES[kind_of]}", *values)
            count = len(packed) // _SIZES[kind_of]
            if len(packed) > room:
                at = self._file.tell()
                self._file.write(packed + b"\0" * (len(packed) % 2))
                packed = struct.pack("<Q" if self._big else "<I", at)
            entries += struct.pack("<HHQ" if self._big else "<HHI", tag, kind_of, count) + packed.ljust(room, b"\0")
        place = self._file.tell()
        self._file.write(struct.pack("<Q" if self._big else "<H", len(tags)) + entries + struct.pack("<Q" if self._big else "<I", after))
        return place

    def _xml(self) -> bytes:
        """OME-XML of the schema 2016-06, in ASCII."""
        level = self._levels[0]
        planes = "".join(f'<TiffData IFD="{c}" FirstC="{c}" FirstZ="0" FirstT="0" PlaneCount="1"/>' for c in range(len(self._channels)))
        channels = "".join(f'<Channel ID="Channel:0:{c}" Name={quoteattr(name)} SamplesPerPixel="1"/>' for c, name in enumerate(self._channels))
        reference = '<AnnotationRef ID="Annotation:0"/>' if self._classes else ""
        text = (
            f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{_SCHEMA}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
            f'xsi:schemaLocation="{_SCHEMA} {_SCHEMA}/ome.xsd" Creator="sslmed"><Image ID="Image:0" Name={quoteattr(self._name)}>'
            f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="{_TYPES[self._dtype.name]}" SizeX="{level.width}" SizeY="{level.height}" '
            f'SizeC="{len(self._channels)}" SizeZ="1" SizeT="1" BigEndian="false" Interleaved="false" '
            f'PhysicalSizeX="{self._mpp[0]!r}" PhysicalSizeXUnit="µm" PhysicalSizeY="{self._mpp[1]!r}" PhysicalSizeYUnit="µm">'
            f"{channels}{planes}</Pixels>{reference}</Image>{self._annotation()}</OME>"
        )
        return text.encode("ascii", "xmlcharrefreplace")

    def _annotation(self) -> str:
        if not self._classes:
            return ""
        entries = "".join(f'<M K="{value}">{escape(name)}</M>' for value, name in self._classes.items())
        return (
            '<StructuredAnnotations><MapAnnotation ID="Annotation:0" Namespace="sslmed/classes"><Value>'
            f"{entries}</Value></MapAnnotation></StructuredAnnotations>"
        )


class _Level:
    """What is known of one level while it is written."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width, self.seen = height, width, 0
        self.waiting: list[npt.NDArray[Any]] = []
        self.odd: npt.NDArray[Any] | None = None
        self.offsets: list[list[int]] = []
        self.sizes: list[list[int]] = []


def _fraction(value: float) -> tuple[int, int]:
    """Two whole numbers of 32 bits whose quotient is the value, as exactly as they allow."""
    scale = 1
    while scale < 10**7 and value * scale * 10 < 2**31:
        scale *= 10
    return round(value * scale), scale


def write_ome_tiff(path: str | os.PathLike[str], values: Array, mpp: tuple[float, float], **options: Any) -> None:
    """Writes a whole map as a pyramidal OME-TIFF.

    Args:
        path: The file.
        values: [H, W], or [channels, H, W]: uint8, uint16, int32 or float32.
        mpp: µm per pixel in x and y.
        **options: Of :class:`OmeTiffWriter`: ``channels``, ``classes``, ``labels``, ``tile``, ``name``, ``bigtiff``.

    Raises:
        ValueError: The shape, the type or an option does not fit.

    Examples:
        >>> import tempfile, torch, sslmed as sm
        >>> file = tempfile.mkdtemp() + "/labels.ome.tiff"
        >>> sm.io.write_ome_tiff(file, torch.zeros(40, 50, dtype=torch.uint8), (0.5, 0.5), classes={0: "background"})
        >>> sm.io.open_slide(file).mpp
        (0.5, 0.5)
    """
    given = tensor(values)
    if given.ndim not in (2, 3) or given.numel() == 0:
        raise ValueError(f"write_ome_tiff: values must be [H, W] or [channels, H, W], got {tuple(given.shape)}")
    array = given.numpy()
    channels = options.pop("channels", ["labels"] if array.ndim == 2 else [f"channel {c}" for c in range(len(array))])
    with OmeTiffWriter(path, (array.shape[-2], array.shape[-1]), mpp, dtype=str(array.dtype), channels=channels, **options) as out:
        out.write(given)
