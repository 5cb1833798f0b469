"""Objects on slides (areas, cells, detections) as GeoJSON that QuPath opens: one feature each, with its class, color
and measurements."""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TextIO, get_args

import numpy as np
import numpy.typing as npt

from sslmed._checks import choice

__all__ = ["ObjectKind", "ObjectWriter", "SlideObject", "write_objects"]

Ring = npt.NDArray[np.float64]
ObjectKind = Literal["annotation", "detection", "cell"]
"""What QuPath takes objects for. Annotations can be edited one by one; detections and cells are made for 100,000 and
more."""

_NAMESPACE = uuid.UUID("6b9a4f2e-2f0e-5d55-9c3e-5f1d0a7c8e21")
# Colors of classes that were given none, in the order in which classes first occur.
_COLORS = (
    (31, 119, 180), (214, 39, 40), (44, 160, 44), (255, 127, 14), (148, 103, 189), (140, 86, 75), (227, 119, 194), (127, 127, 127),
    (188, 189, 34), (23, 190, 207),
)  # fmt: skip


@dataclass(frozen=True)
class SlideObject:
    """One object on a slide, in pixels of level 0.

    Examples:
        >>> import numpy as np, sslmed as sm
        >>> square = np.array([[0, 0], [8, 0], [8, 8], [0, 8], [0, 0]], float)
        >>> sm.io.SlideObject("Tumor", (square,), measurements={"Area µm^2": 16.0}).label
        'Tumor'
    """

    label: str
    """Class, "" where there is none."""
    rings: tuple[Ring, ...]
    """[points, 2] each, x and y, closed; the outline first, then its holes. One ring of one point [1, 2] is a point."""
    nucleus: tuple[Ring, ...] | None = None
    """Outline of a cell's nucleus."""
    measurements: Mapping[str, float] = field(default_factory=dict)
    """Numbers by name."""
    id: str | None = None
    """UUID; None: one that follows from the object's place in the file and its outline."""


def write_objects(
    path: str | os.PathLike[str],
    objects: Iterable[SlideObject],
    kind: ObjectKind = "detection",
    *,
    colors: Mapping[str, tuple[int, int, int]] | None = None,
) -> int:
    """Writes objects as a GeoJSON FeatureCollection for QuPath, one after the other: they are never all in memory.

    Each feature has a UUID, ``objectType``, ``classification`` with name and color, ``measurements`` (NaN as the text
    "NaN", as QuPath has it) and, of cells, ``nucleusGeometry``. Coordinates are pixels of level 0, whatever scale was
    predicted at.

    Args:
        path: The file; written under another name first, and then renamed.
        objects: What to write.
        kind: What QuPath takes them for. A "cell" without a nucleus is written with its outline as the nucleus.
        colors: (red, green, blue) from 0 to 255 by class; classes that are missing get one of ten colors, in the order
            of their first object.

    Returns:
        The number of objects.

    Raises:
        ValueError: The kind is unknown, a UUID is none, a ring is not closed, or a color is out of range.

    Examples:
        >>> import tempfile, numpy as np, sslmed as sm
        >>> square = np.array([[0, 0], [8, 0], [8, 8], [0, 8], [0, 0]], float)
        >>> file = tempfile.mkdtemp() + "/cells.geojson"
        >>> sm.io.write_objects(file, [sm.io.SlideObject("Tumor", (square,))], "cell")
        1
        >>> [one.label for one in sm.io.read_annotations(file)]
        ['Tumor']
    """
    with ObjectWriter(path, kind, colors=colors) as out:
        out.write(objects)
    return out.count


class ObjectWriter:
    """Writes objects as they come, see :func:`write_objects`.

    Args:
        path: The file; written under another name first, and renamed when it is complete.
        kind: What QuPath takes the objects for.
        colors: (red, green, blue) from 0 to 255 by class.

    Raises:
        ValueError: The kind is unknown, or a color is out of range.

    Attributes:
        count: Number of objects so far.

    Examples:
        >>> import tempfile, numpy as np, sslmed as sm
        >>> square = np.array([[0, 0], [8, 0], [8, 8], [0, 8], [0, 0]], float)
        >>> with sm.io.ObjectWriter(tempfile.mkdtemp() + "/cells.geojson", "detection") as out:
        ...     out.write([sm.io.SlideObject("Tumor", (square,))])
        >>> out.count
        1
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        kind: ObjectKind = "detection",
        *,
        colors: Mapping[str, tuple[int, int, int]] | None = None,
    ) -> None:
        choice("write_objects", "kind", kind, get_args(ObjectKind))
        self._kind, self.count = kind, 0
        self._colors = {name: _color(name, color) for name, color in (colors or {}).items()}
        self._path = Path(path)
        self._temporary = self._path.with_name(f".{self._path.name}.tmp-{os.getpid()}")
        self._file: TextIO | None = None

    def __enter__(self) -> ObjectWriter:
        self._file = self._temporary.open("w", encoding="utf-8")
        self._file.write('{"type": "FeatureCollection", "features": [')
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        assert self._file is not None
        if kind is None:
            self._file.write("\n]}\n")
        self._file.close()
        if kind is None:
            self._temporary.replace(self._path)
        else:
            self._temporary.unlink(missing_ok=True)

    def write(self, objects: Iterable[SlideObject]) -> None:
        """Writes some more objects.

        Raises:
            ValueError: A UUID is none, or a ring is not closed.
        """
        if self._file is None:
            raise ValueError(f"{self._path}: write: the file is not open; use the writer in a with statement")
        for one in objects:
            if one.label and one.label not in self._colors:
                self._colors[one.label] = list(_COLORS[len(self._colors) % len(_COLORS)])
            self._file.write(",\n" if self.count else "\n")
            json.dump(_feature(one, self._kind, self._colors, self.count), self._file, ensure_ascii=False, allow_nan=False)
            self.count += 1


def _feature(one: SlideObject, kind: str, colors: Mapping[str, list[int]], number: int) -> dict[str, Any]:
    properties: dict[str, Any] = {"objectType": kind}
    if one.label:
        properties["classification"] = {"name": one.label, "color": colors[one.label]}
    if one.measurements:
        properties["measurements"] = {name: _number(value) for name, value in one.measurements.items()}
    feature = {
        "type": "Feature",
        "id": _identity(one, number),
        "geometry": _geometry(one.rings, number),
        "properties": properties,
    }
    if kind == "cell":
        feature["nucleusGeometry"] = _geometry(one.rings if one.nucleus is None else one.nucleus, number)
    return feature


def _geometry(rings: tuple[Ring, ...], number: int) -> dict[str, Any]:
    coordinates = []
    if len(rings) == 1 and np.shape(rings[0]) == (1, 2) and np.isfinite(rings[0]).all():
        x, y = np.asarray(rings[0], dtype=np.float64)[0].tolist()
        return {"type": "Point", "coordinates": [_plain(x), _plain(y)]}
    for ring in rings:
        points = np.asarray(ring, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 4 or not np.isfinite(points).all() or (points[0] != points[-1]).any():
            raise ValueError(f"write_objects: object {number}: expected closed rings [4 or more points, 2] of finite numbers, got {points.shape}")
        coordinates.append([[_plain(x), _plain(y)] for x, y in points.tolist()])
    if not coordinates:
        raise ValueError(f"write_objects: object {number}: expected at least one ring, got none")
    return {"type": "Polygon", "coordinates": coordinates}


def _identity(one: SlideObject, number: int) -> str:
    if one.id is None:
        return str(uuid.uuid5(_NAMESPACE, f"{number} {one.label} {[np.asarray(ring).tolist() for ring in one.rings]}"))
    try:
        return str(uuid.UUID(one.id))
    except ValueError:
        raise ValueError(f"write_objects: object {number}: id={one.id!r} must be a UUID; QuPath gives others a new one") from None


def _color(name: str, color: tuple[int, int, int]) -> list[int]:
    parts = [int(part) for part in color]
    if len(parts) != 3 or not all(0 <= part <= 255 for part in parts):
        raise ValueError(f"write_objects: colors[{name!r}]={color!r} must be (red, green, blue) from 0 to 255")
    return parts


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return float(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _plain(value: float) -> float | int:
    """Whole numbers without a decimal point: half of a file of outlines."""
    return int(value) if value.is_integer() else round(value, 4)
