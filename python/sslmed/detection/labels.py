"""Files of objects: tables of points and boxes, COCO, GeoJSON and ASAP, and instance label maps."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from sslmed import io
from sslmed._checks import choice, number
from sslmed._core import FormatError, ReadError
from sslmed.annotations import read_annotations
from sslmed.methods.detect import Kind
from sslmed.objects import Objects

__all__ = ["coco_objects", "read_objects"]

Array = np.ndarray[Any, Any]
Columns = Sequence[str] | Mapping[str, str] | None
_NAME = "object"  # class of what has none
_TABLES, _MAPS = (".csv", ".tsv", ".txt"), (".png", ".tif", ".tiff", ".npy")
_BOX = (("xmin", "ymin", "xmax", "ymax"), ("x", "y", "width", "height"))


def read_objects(
    path: str | os.PathLike[str],
    kind: Kind,
    shape: tuple[int, int],
    *,
    columns: Columns = None,
    microns_per_pixel: float | None = None,
) -> Objects:
    """Reads the objects of one picture, told apart by the file's ending.

    - CSV, TSV: points by the columns ``x`` and ``y``, boxes by ``xmin``, ``ymin``, ``xmax``, ``ymax`` or by ``x``,
      ``y`` (the corner), ``width``, ``height``; ``class`` where there are several.
    - GeoJSON (QuPath) and ASAP or Aperio XML: polygons; of GeoJSON points too.
    - PNG, TIFF (8 or 16 bits, one channel) and NumPy files of whole numbers: instance label maps, one number an object.

    Points of polygons and maps are their centers of mass, boxes the boxes around them. Stars need polygons or maps.

    Args:
        path: The file.
        kind: "points", "boxes" or "stars".
        shape: Height and width of the picture's file, in which polygons are drawn.
        columns: Names of a table's columns, for a file without a header; or how the file's columns are called by the
            names above, such as ``{"x": "X (px)"}``.
        microns_per_pixel: The table's numbers are in µm, and this is the size of a pixel; None: they are in pixels.

    Raises:
        FormatError: The file holds no such objects.
        ReadError: The file cannot be read.
        ValueError: ``kind`` or a number is out of range.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import sslmed as sm
        >>> path = Path(tempfile.mkdtemp()) / "cells.csv"
        >>> _ = path.write_text("46,7,2\\n191,100,2\\n")
        >>> sm.detection.read_objects(path, "points", (256, 256), columns=["x", "y", "class"]).places.tolist()
        [[7.0, 46.0], [100.0, 191.0]]
    """
    choice("read_objects", "kind", kind, ("points", "boxes", "stars"))
    name = os.fspath(path)
    ending = Path(name).suffix.lower()
    if ending in _TABLES:
        if kind == "stars":
            raise FormatError(f"{name}: kind='stars' needs polygons or an instance label map, found a table")
        scale = 1.0
        if microns_per_pixel is not None:
            number("read_objects", "microns_per_pixel", microns_per_pixel, 0, strict=True)
            scale = 1 / microns_per_pixel
        return _of_table(name, _table(name, columns), kind, scale)
    if ending in _MAPS:
        return _of_map(_map(name, shape), kind)
    if kind == "points" and (points := _geojson_points(name)) is not None:
        return points
    return _of_polygons(name, kind, shape)


def coco_objects(path: str | os.PathLike[str], kind: Kind, files: Sequence[str], shapes: Sequence[Any]) -> list[Objects]:
    """The objects of each picture in a COCO file; pictures are found by their file's name, without its folder.

    Args:
        path: A JSON file with ``images``, ``annotations`` (``bbox`` as x, y, width, height; ``segmentation`` as lists
            of polygons for stars) and ``categories``. Crowds are left out.
        kind: "points" (the middles of boxes), "boxes" or "stars".
        files: Paths of the pictures.
        shapes: Height and width of each.

    Raises:
        FormatError: It is no COCO file, a picture is not in it, or an object has no polygon.
    """
    name = os.fspath(path)
    try:
        content = json.loads(Path(name).read_text())
        numbers = {Path(str(image["file_name"])).name: image["id"] for image in content["images"]}
        names = {category["id"]: str(category["name"]) for category in content["categories"]}
        by_picture: dict[Any, list[dict[str, Any]]] = {}
        for one in content["annotations"]:
            if not one.get("iscrowd"):
                by_picture.setdefault(one["image_id"], []).append(one)
    except OSError as error:
        raise ReadError(f"{name}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{name}: expected COCO's images, annotations and categories, found {error!r}") from error
    out = []
    for file, shape in zip(files, shapes, strict=True):
        if Path(file).name not in numbers:
            raise FormatError(f"{name}: expected the picture {Path(file).name} among its images, found none")
        found = by_picture.get(numbers[Path(file).name], [])
        if kind == "stars":
            rings = [_coco_rings(name, one) for one in found]
            out.append(_drawn(rings, [names[one["category_id"]] for one in found], shape))
            continue
        edges = np.array([one["bbox"] for one in found], np.float64).reshape(-1, 4)
        boxes = np.stack([edges[:, 1::-1], edges[:, 1::-1] + edges[:, :1:-1]], axis=1)
        out.append(_of_boxes(boxes, np.array([names[one["category_id"]] for one in found], object), kind))
    return out


def _coco_rings(name: str, one: dict[str, Any]) -> list[Array]:
    rings = one.get("segmentation")
    if not isinstance(rings, list) or not rings:
        raise FormatError(f"{name}: annotation {one.get('id')}: kind='stars' needs polygons, found none")
    return [np.array(ring, np.float64).reshape(-1, 2) for ring in rings]


def _of_boxes(boxes: Array, names: Array, kind: Kind) -> Objects:
    return Objects(boxes.mean(1), names, np.ones(len(boxes)), boxes if kind == "boxes" else None)


def _table(name: str, columns: Columns) -> pd.DataFrame:
    try:
        first = Path(name).read_text(encoding="utf-8-sig")
        separator = "\t" if name.lower().endswith(".tsv") or "\t" in first.split("\n", 1)[0] else ","
        header: Any = "infer" if columns is None or isinstance(columns, Mapping) else None
        if not first.strip():
            return pd.DataFrame(columns=["x", "y", "xmin", "ymin", "xmax", "ymax"])
        table = pd.read_csv(name, sep=separator, header=header, encoding="utf-8-sig")
    except OSError as error:
        raise ReadError(f"{name}: cannot be read: {error.strerror}") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise FormatError(f"{name}: expected a table, found {error}") from error
    if isinstance(columns, Mapping):
        return table.rename(columns={theirs: ours for ours, theirs in columns.items()})
    if columns is not None:
        if len(columns) != table.shape[1]:
            raise FormatError(f"{name}: columns={list(columns)} for a table of {table.shape[1]} columns")
        table.columns = pd.Index(columns)
    return table


def _of_table(name: str, table: pd.DataFrame, kind: Kind, scale: float) -> Objects:
    def numbers(wanted: Sequence[str]) -> Array:
        try:
            values = table[list(wanted)].to_numpy(np.float64) * scale
        except (ValueError, TypeError) as error:
            raise FormatError(f"{name}: expected numbers in {', '.join(wanted)}, found {error}") from error
        if not np.isfinite(values).all():
            raise FormatError(f"{name}: expected a number in every row of {', '.join(wanted)}, found none in some")
        return values

    names = table["class"].astype(str).to_numpy(object) if "class" in table else np.full(len(table), _NAME, object)
    style = next((wanted for wanted in _BOX if set(wanted) <= set(table)), None)
    if kind == "points" and style is None:
        if not {"x", "y"} <= set(table):
            found = ", ".join(map(str, table.columns))
            raise FormatError(f"{name}: expected the columns x and y (see columns=), found {found}")
        return Objects(numbers(["y", "x"]), names, np.ones(len(table)))
    if style is None:
        found = ", ".join(map(str, table.columns))
        raise FormatError(f"{name}: expected xmin, ymin, xmax, ymax or x, y, width, height (see columns=), found {found}")
    edges = numbers(style)
    high = edges[:, 2:] if style == _BOX[0] else edges[:, :2] + edges[:, 2:]
    if not (high > edges[:, :2]).all():
        raise FormatError(f"{name}: expected boxes with a width and a height above 0, found one without")
    return _of_boxes(np.stack([edges[:, 1::-1], high[:, ::-1]], axis=1), names, kind)


def _map(name: str, shape: tuple[int, int]) -> Array:
    if name.lower().endswith(".npy"):
        try:
            values = np.load(name, allow_pickle=False)
        except OSError as error:
            raise ReadError(f"{name}: cannot be read: {error}") from error
        except ValueError as error:
            raise FormatError(f"{name}: expected an array of numbers, found {error}") from error
    else:
        read = io.read_image(name, torch.uint16)
        if read.shape[2] != 1:
            raise FormatError(f"{name}: expected a label map of one channel, found {read.shape[2]} channels")
        values = read[..., 0].numpy()
        if values.size and not (values % 257).any():  # a file of 8 bits
            values = values // 257
    if values.ndim != 2 or not np.issubdtype(values.dtype, np.integer):
        raise FormatError(f"{name}: expected whole numbers [height, width], found {values.dtype} {values.shape}")
    if values.shape != tuple(shape):
        raise FormatError(f"{name}: expected a label map {tuple(shape)} like its picture, found {values.shape}")
    if values.min() < 0:
        raise FormatError(f"{name}: expected labels from 0 on, found {values.min()}")
    labels, inverse = np.unique(values, return_inverse=True)
    first = 1 if labels[0] == 0 else 0
    return np.asarray(inverse.reshape(values.shape) + 1 - first, np.int32)


def _of_map(instances: Array, kind: Kind, names: Array | None = None) -> Objects:
    """Objects 1 … n of a label map."""
    n = int(instances.max(initial=0))
    y, x = np.nonzero(instances)
    own = instances[y, x] - 1
    cells = np.maximum(np.bincount(own, minlength=n), 1)
    places = np.stack([np.bincount(own, axis + 0.5, n) / cells for axis in (y, x)], axis=1).reshape(-1, 2)
    names = np.full(n, _NAME, object) if names is None else names
    boxes = None
    if kind == "boxes":
        boxes = np.zeros((n, 2, 2))
        boxes[:, 0] = np.inf
        for axis, values in enumerate((y, x)):
            np.minimum.at(boxes[:, 0, axis], own, values)
            np.maximum.at(boxes[:, 1, axis], own, values + 1)
    return Objects(places, names, np.ones(n), boxes, None, instances if kind == "stars" else None)


def _geojson_points(name: str) -> Objects | None:
    """Points of a GeoJSON file that holds nothing else; None for others."""
    try:
        content = json.loads(Path(name).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ReadError(f"{name}: cannot be read: {error.strerror}") from error
    except ValueError:
        return None
    features = content.get("features", [content]) if isinstance(content, dict) else content
    places: list[list[float]] = []
    names: list[str] = []
    for one in features:
        geometry = (one or {}).get("geometry") or {}
        if geometry.get("type") not in ("Point", "MultiPoint"):
            return None
        found = np.array(geometry["coordinates"], np.float64).reshape(-1, len(np.atleast_1d(geometry["coordinates"]).T))
        places += found[:, 1::-1].tolist()
        kind = ((one.get("properties") or {}).get("classification") or {}).get("name")
        names += [_NAME if kind is None else str(kind)] * len(found)
    return Objects(np.array(places, np.float64).reshape(-1, 2), np.array(names, object), np.ones(len(places)))


def _of_polygons(name: str, kind: Kind, shape: tuple[int, int]) -> Objects:
    found = [one for one in read_annotations(name) if not one.negative]
    drawn = _drawn([list(one.rings) for one in found], [one.label or _NAME for one in found], shape)
    assert drawn.instances is not None
    if kind == "stars":
        return drawn
    return _of_map(drawn.instances, kind, drawn.names)


def _drawn(shapes: Sequence[Sequence[Array]], names: Sequence[str], shape: tuple[int, int]) -> Objects:
    """Polygons with holes as an instance label map; later ones on top, and those without a pixel left out."""
    instances = np.zeros(shape, np.int32)
    for number_of, rings in enumerate(shapes, 1):
        low = np.floor(np.min([ring.min(0) for ring in rings], axis=0)).astype(int).clip(0)
        high = np.ceil(np.max([ring.max(0) for ring in rings], axis=0)).astype(int)
        part = instances[low[1] : high[1], low[0] : high[0]]
        if not part.size:
            continue
        x, y = (np.arange(part.shape[axis]) + low[1 - axis] + 0.5 for axis in (1, 0))
        inside = np.zeros(part.shape, bool)
        for ring in rings:
            for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
                if y0 == y1:
                    continue
                rows = (np.minimum(y0, y1) <= y) & (y < np.maximum(y0, y1))
                crossing = x0 + (y[rows] - y0) * (x1 - x0) / (y1 - y0)
                inside[rows] ^= x[None] < crossing[:, None]
        part[inside] = number_of
    kept = np.unique(instances)
    kept = kept[kept > 0]
    number_of_kept = np.zeros(len(shapes) + 1, np.int32)
    number_of_kept[kept] = np.arange(1, len(kept) + 1)
    return _of_map(number_of_kept[instances], "stars", np.array(names, object)[kept - 1])
