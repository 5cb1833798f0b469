"""Objects in pictures: what an object is, and what detectors do with many of them.

Suppression of boxes and points works in any rank; star-convex shapes (StarDist, arXiv 1806.03535) are for pictures.
Places are in cells along each axis (rows, then columns): cell i covers [i, i + 1), and its middle is at i + 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from sslmed._checks import choice, number, whole
from sslmed._core import C
from sslmed.io.qupath import SlideObject

__all__ = [
    "Objects",
    "draw_stars",
    "nms_boxes",
    "nms_points",
    "nms_stars",
    "object_probability",
    "slide_objects",
    "star_distances",
    "star_polygons",
]

Array = np.ndarray[Any, Any]
Given = torch.Tensor | Array


@dataclass(frozen=True)
class Objects:
    """The objects of one picture, in pixels of its file.

    Examples:
        >>> import numpy as np
        >>> from sslmed.objects import Objects
        >>> found = Objects(np.array([[4.0, 6.0], [9.0, 2.0]]), np.array(["cell", "cell"]), np.array([0.9, 0.2]))
        >>> len(found), len(found.above(0.5))
        (2, 1)
    """

    places: Array
    """[n, 2] rows and columns of the centers."""
    names: Array
    """[n] the class of each."""
    scores: Array
    """[n] within [0, 1]; 1 for objects of a reference."""
    boxes: Array | None = None
    """[n, 2, 2] lowest and highest corner of each, row and column."""
    polygons: tuple[Array, ...] | None = None
    """[k, 2] rows and columns of the corners of each."""
    instances: Array | None = None
    """[height, width] int32: i + 1 where object i is, 0 elsewhere. An object may be hidden by others."""

    def __len__(self) -> int:
        return len(self.places)

    def of(self, keep: Array) -> Objects:
        """Those that a mask [n] or a list of numbers keeps.

        Raises:
            IndexError: A number is of no object.
        """
        index = np.flatnonzero(keep) if np.asarray(keep).dtype == bool else np.asarray(keep, np.int64)
        if len(index) and not 0 <= index.min() <= index.max() < len(self):
            raise IndexError(f"Objects.of: there are {len(self)} objects, got numbers {index.min()} to {index.max()}")
        out = replace(self, places=self.places[index], names=self.names[index], scores=self.scores[index])
        if self.boxes is not None:
            out = replace(out, boxes=self.boxes[index])
        if self.polygons is not None:
            out = replace(out, polygons=tuple(self.polygons[i] for i in index))
        if self.instances is not None:
            number_of = np.zeros(len(self) + 1, np.int32)
            number_of[index + 1] = np.arange(1, len(index) + 1)
            out = replace(out, instances=number_of[self.instances])
        return out

    def above(self, threshold: float) -> Objects:
        """Those with a score above a threshold."""
        return self.of(self.scores > threshold)


def nms_boxes(boxes: Given, scores: Given, iou: float = 0.5, labels: Given | None = None) -> torch.Tensor:
    """Drops boxes that overlap a better one (non-maximum suppression), in any rank.

    Args:
        boxes: [n, 2, rank] lowest and highest corner of each.
        scores: [n]; of equal ones the first is the better.
        iou: A box is dropped where its intersection over union with a kept one is above this.
        labels: [n] whole numbers: only boxes of one label drop each other. None: all do.

    Returns:
        [k] int64 numbers of the kept boxes, best first.

    Raises:
        ValueError: Shapes do not fit, or an option is out of range.

    Examples:
        >>> import torch
        >>> from sslmed.objects import nms_boxes
        >>> boxes = torch.tensor([[[0.0, 0], [10, 10]], [[1, 1], [10, 10]], [[20, 20], [30, 30]]])
        >>> nms_boxes(boxes, torch.tensor([0.5, 0.9, 0.3])).tolist()
        [1, 2]
    """
    number("nms_boxes", "iou", iou, 0, 1)
    edges = _finite("nms_boxes", "boxes", boxes)
    if edges.dim() == 3 and edges.shape[1] == 2 and bool((edges[:, 0] > edges[:, 1]).any()):
        raise ValueError("nms_boxes: boxes must have their lowest corner first, one has not")
    out: torch.Tensor = C.nms_boxes(edges, _tensor(scores), _maybe("nms_boxes", labels), float(iou))
    return out


def nms_points(points: Given, scores: Given, distance: float, labels: Given | None = None) -> torch.Tensor:
    """Drops points that are nearer than ``distance`` to a better one, in any rank.

    Args:
        points: [n, rank].
        scores: [n]; of equal ones the first is the better.
        distance: In the unit of the points.
        labels: [n] whole numbers: only points of one label drop each other. None: all do.

    Returns:
        [k] int64 numbers of the kept points, best first.

    Raises:
        ValueError: Shapes do not fit, or an option is out of range.

    Examples:
        >>> import torch
        >>> from sslmed.objects import nms_points
        >>> nms_points(torch.tensor([[0.0, 0], [0, 3], [0, 9]]), torch.tensor([0.5, 0.9, 0.3]), 4).tolist()
        [1, 2]
    """
    number("nms_points", "distance", distance, 0, float("inf"))
    places = _finite("nms_points", "points", points)
    out: torch.Tensor = C.nms_points(places, _tensor(scores), _maybe("nms_points", labels), float(distance))
    return out


def nms_stars(
    centers: Given,
    distances: Given,
    scores: Given,
    overlap: float = 0.5,
    labels: Given | None = None,
    by: Literal["smaller", "iou"] = "smaller",
) -> torch.Tensor:
    """Drops star-convex shapes that overlap a better one. Shared areas are exact, not counted in pixels.

    Args:
        centers: [n, 2] rows and columns.
        distances: [n, rays] from the center to the edge, see :func:`star_polygons`.
        scores: [n]; of equal ones the first is the better.
        overlap: A shape is dropped where its overlap with a kept one is above this.
        labels: [n] whole numbers: only shapes of one label drop each other. None: all do.
        by: "smaller": overlap is the shared area divided by the smaller of both areas, as in StarDist; "iou": by the
            area of both together.

    Returns:
        [k] int64 numbers of the kept shapes, best first.

    Raises:
        ValueError: Shapes do not fit, or an option is out of range.

    Examples:
        >>> import torch
        >>> from sslmed.objects import nms_stars
        >>> discs = torch.full((3, 32), 5.0)
        >>> nms_stars(torch.tensor([[0.0, 0], [0, 2], [0, 20]]), discs, torch.tensor([0.5, 0.9, 0.3])).tolist()
        [1, 2]
    """
    number("nms_stars", "overlap", overlap, 0, 1)
    choice("nms_stars", "by", by, ("smaller", "iou"))
    places, far = _stars("nms_stars", centers, distances)
    out: torch.Tensor = C.nms_stars(places, far, _tensor(scores), _maybe("nms_stars", labels), float(overlap), by)
    return out


def star_distances(labels: Given, rays: int = 32, stride: int = 1) -> torch.Tensor:
    """Distances from each cell to the edge of its object along rays, as StarDist's ``star_dist`` computes them.

    Args:
        labels: [height, width] whole numbers, one an object; 0 is the background.
        rays: Number of directions, at least 3. Ray k goes by the angle 2πk / rays: sin along the rows, cos along the
            columns.
        stride: Distances of every ``stride``-th cell.

    Returns:
        [height // stride, width // stride, rays] float32 in cells, 0 in the background.

    Raises:
        ValueError: The shape or an option does not fit.

    Examples:
        >>> import torch
        >>> from sslmed.objects import star_distances
        >>> labels = torch.zeros(9, 9, dtype=torch.int32)
        >>> labels[2:7, 2:7] = 1
        >>> star_distances(labels, rays=4)[4, 4].tolist()
        [2.5, 2.5, 2.5, 2.5]
    """
    whole("star_distances", "rays", rays, 3)
    whole("star_distances", "stride", stride, 1)
    out: torch.Tensor = C.star_distances(_numbered("star_distances", labels), rays, stride)
    return out


def object_probability(labels: Given) -> torch.Tensor:
    """Depth of each cell in its object: the distance to the nearest other cell, divided by the object's largest one.

    Args:
        labels: [height, width] whole numbers, one an object; 0 is the background.

    Returns:
        [height, width] float32 within [0, 1], StarDist's ``edt_prob``.

    Raises:
        ValueError: The shape does not fit.

    Examples:
        >>> import torch
        >>> from sslmed.objects import object_probability
        >>> object_probability(torch.tensor([[0, 1, 1, 1, 1, 0]]))[0].tolist()
        [0.0, 0.5, 1.0, 1.0, 0.5, 0.0]
    """
    out: torch.Tensor = C.object_probability(_numbered("object_probability", labels))
    return out


def star_polygons(centers: Given, distances: Given) -> Array:
    """Corners of star-convex shapes.

    Args:
        centers: [n, 2] rows and columns.
        distances: [n, rays].

    Returns:
        [n, rays, 2] rows and columns.

    Examples:
        >>> import numpy as np
        >>> from sslmed.objects import star_polygons
        >>> star_polygons(np.array([[5.0, 5.0]]), np.full((1, 4), 2.0)).round(6).tolist()
        [[[5.0, 7.0], [7.0, 5.0], [5.0, 3.0], [3.0, 5.0]]]
    """
    places, far = np.asarray(centers, np.float64), np.asarray(distances, np.float64)
    angles = 2 * np.pi * np.arange(far.shape[1]) / far.shape[1]
    out: Array = places[:, None] + far[..., None] * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    return out


def draw_stars(centers: Given, distances: Given, shape: tuple[int, int]) -> torch.Tensor:
    """An instance label map of star-convex shapes: i + 1 in the cells whose middle lies in shape i; later ones on top.

    Args:
        centers: [n, 2] rows and columns.
        distances: [n, rays].
        shape: Height and width of the map.

    Returns:
        [height, width] int32.

    Raises:
        ValueError: Shapes do not fit.

    Examples:
        >>> import torch
        >>> from sslmed.objects import draw_stars
        >>> draw_stars(torch.tensor([[2.0, 2.0]]), torch.full((1, 32), 2.5), (5, 5)).unique().tolist()
        [0, 1]
    """
    out: torch.Tensor = C.draw_stars(*_stars("draw_stars", centers, distances), int(shape[0]), int(shape[1]))
    return out


def slide_objects(objects: Objects) -> list[SlideObject]:
    """Objects as :func:`sslmed.io.write_objects` takes them: x and y of their polygons, boxes or centers, and scores.

    Examples:
        >>> import numpy as np
        >>> from sslmed.objects import Objects, slide_objects
        >>> found = Objects(np.array([[4.0, 6.0]]), np.array(["cell"]), np.array([0.9]))
        >>> slide_objects(found)[0].rings[0].tolist()
        [[6.0, 4.0]]
    """
    out = []
    for i in range(len(objects)):
        if objects.polygons is not None:
            ring = objects.polygons[i][:, ::-1]
            ring = np.concatenate([ring, ring[:1]])
        elif objects.boxes is not None:
            (top, left), (bottom, right) = objects.boxes[i]
            ring = np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]])
        else:
            ring = objects.places[i : i + 1, ::-1]
        score = {"score": float(objects.scores[i])}
        out.append(SlideObject(str(objects.names[i]), (np.asarray(ring, np.float64),), measurements=score))
    return out


def _tensor(given: Given) -> torch.Tensor:
    return given.detach() if isinstance(given, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(given))


def _finite(where: str, name: str, given: Given) -> torch.Tensor:
    out = _tensor(given)
    if not bool(torch.isfinite(out).all()):
        raise ValueError(f"{where}: {name} must be finite, got others")
    return out


def _stars(where: str, centers: Given, distances: Given) -> tuple[torch.Tensor, torch.Tensor]:
    places, far = _finite(where, "centers", centers), _finite(where, "distances", distances)
    if bool((far < 0).any()):
        raise ValueError(f"{where}: distances must be at least 0, got {float(far.min()):g}")
    return places, far


def _numbered(where: str, labels: Given) -> torch.Tensor:
    """Labels, whose numbers must have 32 bits."""
    out = _tensor(labels)
    if out.dtype == torch.int64 and out.numel() and not (-(2**31) <= int(out.min()) <= int(out.max()) < 2**31):
        raise ValueError(f"{where}: labels must have 32 bits, got {int(out.min())} to {int(out.max())}")
    return out


def _maybe(where: str, given: Given | None) -> torch.Tensor | None:
    return None if given is None else _numbered(where, given)
