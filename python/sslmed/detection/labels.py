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
    - GeoJSON (QuPath) and ASAP or Aperio XML: polygons; a GeoJSON file that holds points alone, for points. QuPath's
      ignored classes (``NAME*``) are left out, and so are polygons beside the picture. A GeoJSON file without features
      says that there is no object.
    - PNG, TIFF (8 or 16 bits, one channel) and NumPy files of whole numbers: instance label maps, one number an object.

    Points of polygons and maps are their centers of mass, boxes the boxes around them. Stars need polygons or maps; of
    overlapping polygons the later one has the shared pixels, for stars alone.

    Args:
        path: The file.
        kind: "points", "boxes" or "stars".
        shape: Height and width of the picture's file, in which polygons are drawn.
        columns: Names of a table's columns, for a file without a header; or how the file's columns are called by the
            names above, such as ``{"x": "X (px)"}``.
        microns_per_pixel: The table's numbers are in µm, and this is the size of a pixel; None: they are in pixels.

    Raises:
        FormatError: The file holds no such objects, or a point or a box's middle is beside the picture.
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
        return _within(name, _of_table(name, _table(name, columns), kind, scale), shape)
    if ending in _MAPS:
        return _of_map(_map(name, shape), kind)
    if ending.endswith("json"):
        features = _geojson_features(name)
        if features == []:
            return _of_map(np.zeros(shape, np.int32), kind)
        if kind == "points" and features and (points := _geojson_points(name, features)) is not None:
            return _within(name, points, shape)
    return _of_polygons(name, kind, shape)


def coco_objects(
    path: str | os.PathLike[str],
    kind: Kind,
    files: Sequence[str],
    shapes: Sequence[Any],
) -> list[Objects]:
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
        content = json.loads(Path(name).read_text(encoding="utf-8-sig"))
        numbers = [(str(image["file_name"]), image["id"]) for image in content["images"]]
        names = {category["id"]: str(category["name"]) for category in content["categories"]}
        by_picture: dict[Any, list[dict[str, Any]]] = {}
        for one in content["annotations"]:
            if not one.get("iscrowd"):
                by_picture.setdefault(one["image_id"], []).append(one | {"name": names[one["category_id"]]})
    except OSError as error:
        raise ReadError(f"{name}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{name}: expected COCO's images, annotations and categories, found {error!r}") from error
    out = []
    for number_of, shape in zip(_coco_pictures(name, numbers, files), shapes, strict=True):
        found = by_picture.get(number_of, [])
        if kind == "stars":
            rings = [_coco_rings(name, one) for one in found]
            out.append(_drawn(rings, [one["name"] for one in found], shape))
            continue
        boxes = np.array([_coco_box(name, one) for one in found], np.float64).reshape(-1, 2, 2)
        objects = _of_boxes(boxes, np.array([one["name"] for one in found], object), kind)
        out.append(_within(name, objects, shape))
    return out


def _coco_pictures(name: str, numbers: Sequence[tuple[str, Any]], files: Sequence[str]) -> list[Any]:
    """The number of each file's image: the one with its name, of several the one whose folders are the file's too."""
    out: list[Any] = []
    taken: dict[Any, str] = {}
    for file in files:
        parts = Path(file).parts
        found = [(Path(own).parts, number_of) for own, number_of in numbers if Path(own).name == parts[-1]]
        if not found:
            raise FormatError(f"{name}: expected the picture {parts[-1]} among its images, found none")
        if len(found) > 1:
            found = [one for one in found if parts[-len(one[0]) :] == one[0]]
        if len(found) != 1:
            raise FormatError(f"{name}: expected one image for {file}, found several of the name {parts[-1]}")
        own = found[0][1]
        if taken.setdefault(own, file) != file:
            raise FormatError(f"{name}: expected an image for each picture, found one for {taken[own]} and {file}")
        out.append(own)
    return out


def _coco_box(name: str, one: dict[str, Any]) -> Array:
    """[2, 2]: the lowest and the highest row and column."""
    where = f"{name}: annotation {one.get('id')}"
    try:
        x, y, width, height = map(float, one["bbox"])
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{where}: expected a bbox of 4 numbers, found {error!r}") from error
    if not (width > 0 and height > 0 and np.isfinite([x, y, width, height]).all()):
        raise FormatError(f"{where}: expected a bbox with a width and a height above 0")
    return np.array([[y, x], [y + height, x + width]])


def _coco_rings(name: str, one: dict[str, Any]) -> list[Array]:
    rings = one.get("segmentation")
    if not isinstance(rings, list) or not rings:
        raise FormatError(f"{name}: annotation {one.get('id')}: kind='stars' needs polygons, found none")
    return [np.array(ring, np.float64).reshape(-1, 2) for ring in rings]


def _within(name: str, objects: Objects, shape: tuple[int, int]) -> Objects:
    """The objects, whose centers must not be more than a pixel beside the picture."""
    outside = ~((objects.places >= -1) & (objects.places <= np.array(shape) + 1)).all(1)
    if outside.any():
        y, x = objects.places[int(outside.argmax())]
        raise FormatError(
            f"{name}: expected centers within the picture of {shape[1]} x {shape[0]} pixels, found "
            f"{int(outside.sum())} of {len(objects)} beside it, the first at x={x:g}, y={y:g}"
        )
    return objects


def _of_boxes(boxes: Array, names: Array, kind: Kind) -> Objects:
    return Objects(boxes.mean(1), names, np.ones(len(boxes)), boxes if kind == "boxes" else None)


def _table(name: str, columns: Columns) -> pd.DataFrame:
    try:
        first = Path(name).read_text(encoding="utf-8-sig")
        separator = "\t" if name.lower().endswith(".tsv") or "\t" in first.split("\n", 1)[0] else ","
        header: Any = "infer" if columns is None or isinstance(columns, Mapping) else None
        if not first.strip():
            return pd.DataFrame(columns=["x", "y", "xmin", "ymin", "xmax", "ymax"])
        # As text: a class "2" is not 2.0 where another one is missing, and "NA" is a name.
        table = pd.read_csv(name, sep=separator, header=header, encoding="utf-8-sig", dtype=str, keep_default_na=False)
    except OSError as error:
        raise ReadError(f"{name}: cannot be read: {error.strerror}") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise FormatError(f"{name}: expected a table, found {error}") from error
    if isinstance(columns, Mapping):
        # A column that happens to have one of our names makes way for the one that is meant.
        meant = set(columns.values())
        taken = [ours for ours, theirs in columns.items() if theirs in table and ours in set(table) - meant]
        return table.drop(columns=taken).rename(columns={theirs: ours for ours, theirs in columns.items()})
    if columns is not None:
        if len(columns) != table.shape[1]:
            raise FormatError(f"{name}: columns={list(columns)} for a table of {table.shape[1]} columns")
        table.columns = pd.Index(columns)
    return table


def _of_table(name: str, table: pd.DataFrame, kind: Kind, scale: float) -> Objects:
    def numbers(wanted: Sequence[str]) -> Array:
        try:
            values = table[list(wanted)].replace("", "nan").to_numpy(np.float64) * scale
        except (ValueError, TypeError) as error:
            raise FormatError(f"{name}: expected numbers in {', '.join(wanted)}, found {error}") from error
        if not np.isfinite(values).all():
            raise FormatError(f"{name}: expected a number in every row of {', '.join(wanted)}, found none in some")
        return values

    names = np.full(len(table), _NAME, object)
    if "class" in table:
        names = table["class"].str.strip().replace("", _NAME).to_numpy(object)
    style = next((wanted for wanted in _BOX if set(wanted) <= set(table)), None)
    if kind == "points" and style is None:
        if not {"x", "y"} <= set(table):
            found = ", ".join(map(str, table.columns))
            raise FormatError(f"{name}: expected the columns x and y (see columns=), found {found}")
        return Objects(numbers(["y", "x"]), names, np.ones(len(table)))
    if style is None:
        found = ", ".join(map(str, table.columns))
        wanted = "xmin, ymin, xmax, ymax or x, y, width, height (see columns=)"
        raise FormatError(f"{name}: expected {wanted}, found {found}")
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


def _geojson_features(name: str) -> list[Any] | None:
    """What a GeoJSON file lists; None of what is none, which the reader of polygons tells."""
    try:
        content = json.loads(Path(name).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ReadError(f"{name}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError):
        return None
    features = content.get("features", [content]) if isinstance(content, dict) else content
    return features if isinstance(features, list) else None


def _geojson_points(name: str, features: list[Any]) -> Objects | None:
    """Points of a GeoJSON file that holds nothing else; None for others."""
    places: list[list[float]] = []
    names: list[str] = []
    try:
        types = {one["geometry"]["type"] for one in features}
        if not types & {"Point", "MultiPoint"}:
            return None
        if left := types - {"Point", "MultiPoint"}:
            others = ", ".join(sorted(map(str, left)))
            raise FormatError(f"{name}: expected points alone or polygons alone, found points and {others}")
        for one in features:
            coordinates = one["geometry"]["coordinates"]
            given = [coordinates] if one["geometry"]["type"] == "Point" else coordinates
            found = np.array([[place[1], place[0]] for place in given], np.float64).reshape(-1, 2)
            kind = ((one.get("properties") or {}).get("classification") or {}).get("name")
            if kind is not None and str(kind).endswith("*"):
                continue
            places += found.tolist()
            names += [str(kind or _NAME)] * len(found)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        if isinstance(error, FormatError):
            raise
        return None  # told by the reader of polygons
    if not np.isfinite(np.array(places, np.float64)).all():
        raise FormatError(f"{name}: expected finite coordinates, found others")
    return Objects(np.array(places, np.float64).reshape(-1, 2), np.array(names, object), np.ones(len(places)))


def _of_polygons(name: str, kind: Kind, shape: tuple[int, int]) -> Objects:
    found = [one for one in read_annotations(name) if not one.negative and not one.label.endswith("*")]
    names = [one.label or _NAME for one in found]
    if kind == "stars":
        return _drawn([list(one.rings) for one in found], names, shape)
    # One by one: what lies on top of a polygon takes nothing from its box and its center.
    kept, places, boxes = [], [], []
    for own, one in zip(names, found, strict=True):
        (top, left), inside = _inside(one.rings, shape)
        y, x = np.nonzero(inside)
        if len(y):
            kept.append(own)
            places.append([top + y.mean() + 0.5, left + x.mean() + 0.5])
            boxes.append([[top + y.min(), left + x.min()], [top + y.max() + 1, left + x.max() + 1]])
    edges = np.array(boxes, np.float64).reshape(-1, 2, 2) if kind == "boxes" else None
    centers = np.array(places, np.float64).reshape(-1, 2)
    return Objects(centers, np.array(kept, object), np.ones(len(kept)), edges)


def _inside(rings: Sequence[Array], shape: tuple[int, int]) -> tuple[tuple[int, int], Array]:
    """The pixels of a picture whose middles are inside an odd number of rings: the first row and column of the box
    around them, and a mask of the box."""
    lowest = np.floor(np.min([ring.min(0) for ring in rings], axis=0)).astype(int)
    highest = np.ceil(np.max([ring.max(0) for ring in rings], axis=0)).astype(int)
    left, top = lowest.clip(0)
    right, bottom = np.minimum(highest, shape[::-1])
    inside = np.zeros((max(bottom - top, 0), max(right - left, 0)), bool)
    y, x = (np.arange(inside.shape[axis]) + low + 0.5 for axis, low in enumerate((top, left)))
    for ring in rings if inside.size else ():
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if y0 == y1:
                continue
            rows = (np.minimum(y0, y1) <= y) & (y < np.maximum(y0, y1))
            crossing = x0 + (y[rows] - y0) * (x1 - x0) / (y1 - y0)
            inside[rows] ^= x[None] < crossing[:, None]
    return (int(top), int(left)), inside


def _drawn(shapes: Sequence[Sequence[Array]], names: Sequence[str], shape: tuple[int, int]) -> Objects:
    """Polygons with holes as an instance label map; later ones on top, and those without a pixel left out."""
    instances = np.zeros(shape, np.int32)
    for number_of, rings in enumerate(shapes, 1):
        (top, left), inside = _inside(rings, shape)
        instances[top : top + inside.shape[0], left : left + inside.shape[1]][inside] = number_of
    kept = np.unique(instances)
    kept = kept[kept > 0]
    number_of_kept = np.zeros(len(shapes) + 1, np.int32)
    number_of_kept[kept] = np.arange(1, len(kept) + 1)
    return _of_map(number_of_kept[instances], "stars", np.array(names, object)[kept - 1])
