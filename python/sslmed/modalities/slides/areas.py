"""Areas that people drew on slides, as the polygons of samples' label maps."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import torch

from sslmed._core import C, ReadError
from sslmed.annotations import Annotation, read_annotations
from sslmed.modalities.base import Rows

__all__ = ["COLUMN", "Polygons", "drawn", "names_of", "rasterized"]

COLUMN = "path_labels"
"""The column that names a file of annotations for each slide."""
Polygons = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
"""(points [n, 2], first point of each ring and their number, first ring of each polygon and their number, values, negative)."""


def drawn(rows: Rows, classes: Sequence[str]) -> list[Polygons]:
    """What is drawn on each slide, for the C++ source: the areas of the classes, whose values are their places in ``classes``.

    Args:
        rows: A cohort whose column ``path_labels`` names a file of GeoJSON, ASAP XML or Aperio XML for each slide.
        classes: Labels of areas, the background first. Areas of other labels are left out.

    Raises:
        ValueError: A row has no file, or no file has an area of any class.
        FormatError, ReadError: A file cannot be read.
    """
    found = [_polygons(_read(path), classes) for path in _paths(rows)]
    if not any(len(values) for *_, values, _ in found):
        raise ValueError(f"{rows.name}: classes={tuple(classes)}: no file of the column {COLUMN} has an area with one of these labels")
    return found


def names_of(rows: Rows) -> tuple[str, ...]:
    """The labels that occur in the files of annotations, in alphabetical order, after "background". QuPath's ignored classes (``NAME*``) are left out.

    Raises:
        ValueError: There are none.
        FormatError, ReadError: A file cannot be read.
    """
    labels = {one.label for path in _paths(rows) for one in _read(path)}
    found = sorted(label for label in labels if label and not label.endswith("*") and label != "background")
    if not found:
        raise ValueError(f"{rows.name}: the files of the column {COLUMN} have no labeled areas")
    return ("background", *found)


def rasterized(
    areas: Sequence[Annotation],
    classes: Sequence[str],
    shape: tuple[int, int],
    *,
    corner: tuple[float, float] = (0.0, 0.0),
    cell: tuple[float, float] = (1.0, 1.0),
    unlabeled: int = 0,
) -> torch.Tensor:
    """The label map of areas on a part of a slide.

    A cell is in an area where its middle is inside an odd number of the area's rings, so that holes are outside. Areas are drawn in the order of
    ``classes``, later classes over earlier ones, whatever their order in the file; negative areas are taken out of those of their own class.

    Args:
        areas: What was drawn, in pixels of level 0.
        classes: Labels; the first one has the value 0. Areas of other labels are left out.
        shape: Rows and columns.
        corner: (x, y) of the first cell's corner in pixels of level 0.
        cell: How many pixels of level 0 a cell is wide and high.
        unlabeled: Value of cells in no area.

    Returns:
        [rows, columns] int32.

    Examples:
        >>> import numpy as np, sslmed as sm
        >>> square = np.array([[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]], float)
        >>> sm.modalities.slides.rasterized([sm.io.Annotation("tumor", (square,))], ("background", "tumor"), (1, 3)).tolist()
        [[1, 1, 0]]
    """
    out = torch.full(shape, unlabeled, dtype=torch.int32)
    C.rasterize(_polygons(areas, classes), corner, cell, out)
    return out


def _paths(rows: Rows) -> list[str]:
    if COLUMN not in rows.table:
        raise ValueError(f"{rows.name}: labels=True needs a column {COLUMN} with a file of annotations (GeoJSON, ASAP or Aperio XML) for each slide")
    missing = rows.table[COLUMN].isna().to_numpy()
    if missing.any():
        row = int(missing.argmax())
        raise ValueError(f"{rows.name}: row {row} ({rows.table['path'].iloc[row]}) has no file in the column {COLUMN}; leave it out")
    return [str(path) for path in rows.table[COLUMN]]


def _read(path: str) -> list[Annotation]:
    """Areas of a file; none of a GeoJSON file that says so."""
    if path.lower().endswith("json"):
        try:
            with open(path, "rb") as file:
                content = json.load(file)
        except OSError as error:
            raise ReadError(f"{path}: cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError):
            content = None  # another encoding, or no JSON: told below
        if content == [] or (isinstance(content, dict) and content.get("features") == []):
            return []
    return read_annotations(path)


def _polygons(areas: Sequence[Annotation], classes: Sequence[str]) -> Polygons:
    """Areas by class, as the C++ core takes them."""
    values = {label: value for value, label in enumerate(classes)}
    kept = sorted((one for one in areas if one.label in values), key=lambda one: values[one.label])
    rings = [ring for one in kept for ring in one.rings]
    points = np.concatenate(rings) if rings else np.zeros((0, 2))
    return (
        torch.from_numpy(points.astype(np.float32)),
        torch.tensor([0, *np.cumsum([len(ring) for ring in rings]).tolist()], dtype=torch.int64),
        torch.tensor([0, *np.cumsum([len(one.rings) for one in kept]).tolist()], dtype=torch.int64),
        torch.tensor([values[one.label] for one in kept], dtype=torch.int32),
        torch.tensor([one.negative for one in kept], dtype=torch.uint8),
    )
