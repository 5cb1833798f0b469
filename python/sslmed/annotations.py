"""Areas that people have drawn on slides: GeoJSON of QuPath, XML of ASAP, and XML of Aperio's ImageScope, in and out."""

from __future__ import annotations

import json
import os
import warnings
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sslmed._core import FormatError, FormatWarning, ReadError, regular

__all__ = ["Annotation", "read_annotations", "write_annotations"]

Ring = npt.NDArray[np.float64]  # [points, 2], x and y in pixels of level 0, closed: the last point is the first

_ELLIPSE = 64  # points of an ellipse's outline
_DEEPEST = 64  # collections within collections


@dataclass(frozen=True)
class Annotation:
    """One area, in pixels of level 0.

    Examples:
        >>> import numpy as np, sslmed as sm
        >>> square = np.array([[0, 0], [8, 0], [8, 8], [0, 8], [0, 0]], float)
        >>> sm.io.Annotation("Tumor", (square,)).label
        'Tumor'
    """

    label: str
    """Class that was given to it, "" where there is none."""
    rings: tuple[Ring, ...]
    """[points, 2] each, closed; a point is inside where it is inside an odd number of them, so that the second ring is a hole in the first."""
    negative: bool = False
    """What was drawn to be taken out of other areas."""


def read_annotations(source: str | os.PathLike[str] | dict[str, Any] | list[Any]) -> list[Annotation]:
    """Areas in a file of GeoJSON (QuPath), ASAP XML or Aperio XML, told apart by what it holds, or in what ``json.load`` gives.

    GeoJSON may be a FeatureCollection, a list of features, one feature, or geometries, nested or not. Labels are QuPath's classification, ASAP's
    group, and Aperio's name of the layer or text of the region. Points, lines, rulers and arrows have no area and are left out.

    Args:
        source: The file, or the object.

    Returns:
        One annotation a polygon, in the file's order.

    Raises:
        FormatError: It is none of these, a ring is too short, or there is no area in it.
        ReadError: The file cannot be read.

    Warns:
        FormatWarning: Objects without an area were left out.
    """
    name, content = _loaded(source)
    left_out: Counter[str] = Counter()
    if isinstance(content, ET.Element):
        read = {"ASAP_Annotations": _of_asap, "Annotations": _of_aperio}.get(content.tag)
        if read is None:
            raise FormatError(f"{name}: expected XML of ASAP (<ASAP_Annotations>) or Aperio (<Annotations>), found <{content.tag}>")
        found = list(read(content, name, left_out))
    else:
        found = list(_of_geojson(content, name, "", left_out, 0))
    if left_out:
        told = " and ".join(f"{count} {kind}" for kind, count in sorted(left_out.items()))
        if not found:
            raise FormatError(f"{name}: expected polygons, found only {told}")
        warnings.warn(f"{name}: {told} have no area and are left out; {len(found)} areas are read", FormatWarning, stacklevel=2)
    if not found:
        raise FormatError(f"{name}: expected polygons, found none")
    return found


def write_annotations(path: str | os.PathLike[str], annotations: Iterable[Annotation], form: Literal["geojson", "asap", "aperio"] | None = None) -> None:
    """Writes areas for QuPath, ASAP or Aperio's ImageScope.

    The two kinds of XML know no holes: ASAP gets them as polygons of the group ``LABEL hole``, Aperio as regions that are taken out.

    Args:
        path: The file; written under another name first, and then renamed.
        annotations: What to write.
        form: "geojson", "asap" or "aperio"; None: "geojson", or "asap" for a file that ends in .xml.

    Raises:
        ValueError: The form is unknown.
    """
    target = Path(path)
    form = form or ("asap" if target.suffix.lower() == ".xml" else "geojson")
    makers = {"geojson": _to_geojson, "asap": _to_asap, "aperio": _to_aperio}
    if form not in makers:
        raise ValueError(f"write_annotations: form={form!r}, expected 'geojson', 'asap' or 'aperio'")
    temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}")
    temporary.write_bytes(makers[form](list(annotations)))
    temporary.replace(target)


def geometry_of(annotations: Sequence[Annotation]) -> list[dict[str, Any]]:
    """GeoJSON features of areas, as QuPath reads them."""
    features = []
    for one in annotations:
        properties: dict[str, Any] = {"objectType": "annotation"}
        if one.label:
            properties |= {"name": one.label, "classification": {"name": one.label}}
        geometry = {"type": "Polygon", "coordinates": [ring.tolist() for ring in one.rings]}
        features.append({"type": "Feature", "properties": properties, "geometry": geometry})
    return features


def _loaded(source: Any) -> tuple[str, Any]:
    """The name for messages, and JSON's object or the root of XML."""
    if isinstance(source, dict | list):
        return "GeoJSON", source
    name = os.fspath(source)
    try:
        data = Path(regular(source)).read_bytes()
    except ReadError:
        raise
    except OSError as error:
        raise ReadError(f"{name}: cannot be read: {error.strerror}") from error
    text = data.removeprefix(b"\xef\xbb\xbf")
    try:
        if text.lstrip()[:1] == b"<":
            if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
                raise FormatError(f"{name}: expected XML of ASAP or Aperio without a document type, found one")
            return name, ET.fromstring(data)
        # Windows programs write UTF-16 with its mark.
        return name, json.loads(data.decode("utf-16") if data[:2] in (b"\xff\xfe", b"\xfe\xff") else text)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{name}: expected JSON, found {error}") from error
    except ET.ParseError as error:
        raise FormatError(f"{name}: expected XML, found {error}") from error
    except RecursionError:
        raise FormatError(f"{name}: expected JSON, found one that is nested too deeply") from None
    except ValueError as error:  # whole numbers of thousands of digits
        raise FormatError(f"{name}: expected JSON with numbers of ordinary length, found {error}") from error


def _of_geojson(content: Any, name: str, label: str, left_out: Counter[str], depth: int) -> Iterator[Annotation]:
    if depth > _DEEPEST:
        raise FormatError(f"{name}: expected at most {_DEEPEST} collections within each other, found more")
    if isinstance(content, list):
        for one in content:
            yield from _of_geojson(one, name, label, left_out, depth + 1)
        return
    if not isinstance(content, dict):
        raise FormatError(f"{name}: expected a GeoJSON object, found {type(content).__name__}")
    kind = content.get("type")
    if kind in ("FeatureCollection", "GeometryCollection"):
        inner = content.get("features" if kind == "FeatureCollection" else "geometries")
        if not isinstance(inner, list):
            raise FormatError(f"{name}: expected a list in a {kind}, found {type(inner).__name__}")
        yield from _of_geojson(inner, name, label, left_out, depth + 1)
    elif kind == "Feature":
        if content.get("geometry") is None:
            left_out["features without a geometry"] += 1
        else:
            yield from _of_geojson(content["geometry"], name, _label_of(content.get("properties")), left_out, depth + 1)
    elif kind in ("Polygon", "MultiPolygon"):
        for polygon in _polygons(content.get("coordinates"), kind, name):
            yield Annotation(label, polygon)
    elif kind in ("Point", "MultiPoint", "LineString", "MultiLineString"):
        left_out["lines" if "Line" in kind else "points"] += 1
    else:
        raise FormatError(f"{name}: expected polygons, found {kind!r}")


def _label_of(properties: Any) -> str:
    """QuPath's class: of version 0.4 a list of names, before that one name."""
    found = properties.get("classification") if isinstance(properties, dict) else None
    if isinstance(found, dict):
        names = found.get("names")
        found = ": ".join(map(str, names)) if isinstance(names, list) else found.get("name")
    return "" if found is None else str(found)


def _polygons(coordinates: Any, kind: str, name: str) -> list[tuple[Ring, ...]]:
    try:
        polygons = []
        for polygon in [coordinates] if kind == "Polygon" else coordinates:
            rings = tuple(np.array(ring, dtype=np.float64)[:, :2] for ring in polygon)
            if any(len(ring) < 4 or not np.isfinite(ring).all() or not (ring[0] == ring[-1]).all() for ring in rings):
                raise ValueError("a ring that is not closed, too short, or not finite")
            if rings:
                polygons.append(rings)
        return polygons
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise FormatError(f"{name}: expected rings of points, found {error}") from error


def _of_asap(root: ET.Element, name: str, left_out: Counter[str]) -> Iterator[Annotation]:
    for number, one in enumerate(root.iter("Annotation")):
        kind = one.get("Type", "Polygon")
        if kind not in ("Polygon", "Spline", "Rectangle"):
            left_out["dots" if kind in ("Dot", "PointSet") else "measurements"] += 1
            continue
        points = sorted(one.iter("Coordinate"), key=lambda point: int(point.get("Order", "0") or 0))
        group = one.get("PartOfGroup") or "None"
        label = group.removesuffix("hole").rstrip()
        ring = _closed(points, f"{name}: annotation {number}")
        yield Annotation("" if label == "None" else label, (ring,), negative=group != label and group.endswith("hole"))


def _of_aperio(root: ET.Element, name: str, left_out: Counter[str]) -> Iterator[Annotation]:
    for layer in root.iter("Annotation"):
        label = layer.get("Name") or next((a.get("Value") for a in layer.findall("Attributes/Attribute") if a.get("Name") == "Description"), "") or ""
        for region in layer.iter("Region"):
            where = f"{name}: region {region.get('Id', '?')}"
            kind = region.get("Type", "0")
            points = list(region.iter("Vertex"))
            if kind not in ("0", "1", "2"):
                left_out["arrows and rulers" if kind in ("3", "4") else "counts"] += 1
                continue
            ring = _between_corners(points, where, round_=kind == "2") if len(points) == 2 else _closed(points, where)
            yield Annotation(label or region.get("Text") or "", (ring,), negative=region.get("NegativeROA") == "1")


def _points(points: Sequence[ET.Element], where: str) -> Ring:
    try:
        # In countries that write 0,5 so does ASAP.
        found = np.array([[float((point.get(axis) or "").replace(",", ".")) for axis in "XY"] for point in points], dtype=np.float64)
    except ValueError as error:
        raise FormatError(f"{where}: expected X and Y as numbers, found {error}") from error
    if not np.isfinite(found).all():
        raise FormatError(f"{where}: expected X and Y as finite numbers, found others")
    return found.reshape(-1, 2)


def _closed(points: Sequence[ET.Element], where: str) -> Ring:
    found = _points(points, where)
    if len(found) < 3:
        raise FormatError(f"{where}: expected at least 3 points, found {len(found)}")
    return found if (found[0] == found[-1]).all() and len(found) > 3 else np.concatenate([found, found[:1]])


def _between_corners(points: Sequence[ET.Element], where: str, *, round_: bool) -> Ring:
    (x0, y0), (x1, y1) = _points(points, where).tolist()
    if not round_:
        return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]])
    turn = 2 * np.pi * np.arange(_ELLIPSE + 1) / _ELLIPSE
    ring = np.stack([(x0 + x1) / 2 + (x1 - x0) / 2 * np.cos(turn), (y0 + y1) / 2 + (y1 - y0) / 2 * np.sin(turn)], axis=1)
    ring[-1] = ring[0]
    return ring


def _to_geojson(annotations: Sequence[Annotation]) -> bytes:
    return json.dumps({"type": "FeatureCollection", "features": geometry_of(annotations)}).encode()


def _xml(root: ET.Element) -> bytes:
    ET.indent(root)
    out: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return out


def _to_asap(annotations: Sequence[Annotation]) -> bytes:
    root = ET.Element("ASAP_Annotations")
    listed, groups = ET.SubElement(root, "Annotations"), ET.SubElement(root, "AnnotationGroups")
    labels: dict[str, None] = {}
    for one in annotations:
        for number, ring in enumerate(one.rings):
            hole = number > 0 or one.negative
            label = f"{one.label} hole".strip() if hole else one.label or "None"
            labels[label] = None
            area = ET.SubElement(listed, "Annotation", Name=f"Annotation {len(listed)}", Type="Polygon", PartOfGroup=label, Color="#F4FA58")
            points = ET.SubElement(area, "Coordinates")
            for order, (x, y) in enumerate(ring[:-1].tolist()):
                ET.SubElement(points, "Coordinate", Order=str(order), X=repr(x), Y=repr(y))
    for label in labels:
        if label != "None":
            ET.SubElement(ET.SubElement(groups, "Group", Name=label, PartOfGroup="None", Color="#F4FA58"), "Attributes")
    return _xml(root)


def _to_aperio(annotations: Sequence[Annotation]) -> bytes:
    root = ET.Element("Annotations")
    layers: dict[str, ET.Element] = {}
    for one in annotations:
        if one.label not in layers:
            layer = ET.SubElement(root, "Annotation", Id=str(len(layers) + 1), Name=one.label, ReadOnly="0", Visible="1", Selected="0", LineColor="65280")
            layers[one.label] = ET.SubElement(layer, "Regions")
        regions = layers[one.label]
        for number, ring in enumerate(one.rings):
            hole = "1" if number > 0 or one.negative else "0"
            region = ET.SubElement(regions, "Region", Id=str(len(regions) + 1), Type="0", Text="", NegativeROA=hole)
            points = ET.SubElement(region, "Vertices")
            for x, y in ring[:-1].tolist():
                ET.SubElement(points, "Vertex", X=repr(x), Y=repr(y), Z="0")
    return _xml(root)
