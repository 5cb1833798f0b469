"""Where a slide has tissue: masks of any stain, without pen and what is out of focus, as pixels or as GeoJSON."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from sslmed._core import Array, C, FormatError, FormatWarning, tensor
from sslmed.annotations import Annotation, geometry_of, read_annotations

if TYPE_CHECKING:
    from sslmed.io import Slide

__all__ = ["Tissue", "find", "mask", "picture"]

_Ring = npt.NDArray[np.float64]  # [points, 2], x and y, closed: the last point is the first
_MAX_SIDE = 8192  # pixels of a mask


def mask(
    rgb: Array,
    method: str = "otsu",
    *,
    median: int = 7,
    close: int = 4,
    least: int = 64,
    hole: int = 64,
    pen: bool = True,
    margin: int = 8,
    sharpness: float = 2.0,
) -> torch.Tensor:
    """Which pixels of a picture show tissue.

    Saturation and luminance know no stain, so the brown of IHC counts as eosin does. Ink is told by colors that stains do not have; lenses that look at
    ink lying on the glass are out of focus on it, and so is the rest of a pen's mark. The limits were set on a few dozen pictures.

    Args:
        rgb: [H, W, 3] uint8. Meant for 1 to 10 µm per pixel.
        method: "otsu" (saturation above Otsu's threshold, kept within 8 and 20 of 255), "clam" (saturation above 8), or "luminance" (darker than Otsu's
            threshold; finds black and grey tissue too).
        median: Side in pixels of the window whose median is thresholded; 1: none.
        close: Side in pixels of the square that closes gaps; 1: none.
        least: Pixels that a piece has at least.
        hole: Pixels from which a hole stays open.
        pen: Leaves out ink, and ``margin`` pixels around it.
        margin: Pixels.
        sharpness: Mean absolute Laplacian of the luminance over 17 × 17 pixels that tissue has at least; 0: any.

    Returns:
        [H, W] bool.

    Raises:
        ValueError: The picture or an option is not as above.
    """
    return C.tissue_mask(tensor(rgb), method, median, close, least, hole, pen, margin, sharpness)


@dataclass(frozen=True)
class Tissue:
    """Where tissue is: ``mask`` [H, W] bool, whose pixels are ``pixel`` = (x, y) pixels of level 0 wide; ``mpp`` µm per pixel of level 0, or None."""

    mask: torch.Tensor
    pixel: tuple[float, float]
    mpp: tuple[float, float] | None = None

    @property
    def area(self) -> float:
        """mm² of tissue; ValueError where the slide's scale is not known."""
        if self.mpp is None:
            raise ValueError("the slide's scale is not known, and so no area is")
        return float(self.mask.sum()) * self.pixel[0] * self.pixel[1] * self.mpp[0] * self.mpp[1] / 1e6

    def to_geojson(self, path: str | os.PathLike[str] | None = None) -> dict[str, Any]:
        """A FeatureCollection of polygons in pixels of level 0, as QuPath reads it: the exact outlines of the mask. Written to ``path`` if given."""
        collection: dict[str, Any] = {"type": "FeatureCollection", "features": geometry_of(self.annotations())}
        if path is not None:
            with open(path, "w", encoding="utf-8") as file:
                json.dump(collection, file)
        return collection

    def annotations(self, label: str = "tissue") -> list[Annotation]:
        """The exact outlines of the mask in pixels of level 0, for :func:`sslmed.io.write_annotations`."""
        return [Annotation(label, tuple(ring * self.pixel for ring in (outer, *holes))) for outer, holes in _polygons(self.mask.numpy())]

    @classmethod
    def from_annotations(
        cls,
        source: str | os.PathLike[str] | dict[str, Any] | list[Any],
        slide: Slide,
        mpp: float = 8.0,
        *,
        classes: Sequence[str] | None = None,
        ignore: Sequence[str] = (),
    ) -> Tissue:
        """What people have drawn (:func:`sslmed.io.read_annotations`); a mask pixel is in where its middle is.

        Args:
            source: A file of GeoJSON, ASAP XML or Aperio XML, or what ``json.load`` gives.
            slide: The slide that it was drawn on.
            mpp: µm per pixel of the mask.
            classes: Labels of the areas to take; None: all, but those that end in an asterisk, which QuPath ignores.
            ignore: Labels of areas that are cut out of the others. Areas that end in an asterisk and negative ones always are.

        Raises:
            FormatError: The file is none of these, or nothing in it lies on the slide.
            ReadError: The file cannot be read.
            ValueError: A label of ``classes`` or ``ignore`` is not there.

        Warns:
            FormatWarning: Objects without an area were left out, or areas reach beyond the slide.
        """
        found = read_annotations(source)
        name = "GeoJSON" if isinstance(source, dict | list) else os.fspath(source)
        labels = {one.label for one in found}
        if missing := [label for label in classes or () if label not in labels]:
            raise ValueError(f"{name}: classes={missing[0]!r}, expected labels of the file: {', '.join(map(repr, sorted(labels)))}")
        cut = {label for label in labels if label.endswith("*") and label not in (classes or ())} | set(ignore)
        width, height, pixel = _grid(slide, mpp)
        _warn_of_edges([one.rings[0] for one in found], slide, name)
        inside, outside = np.zeros((2, height, width), bool)
        for one in found:
            if one.negative or one.label in cut:
                outside |= _fill([ring / pixel for ring in one.rings], width, height)
            elif classes is None or one.label in classes:
                inside |= _fill([ring / pixel for ring in one.rings], width, height)
        return cls(torch.from_numpy(inside & ~outside), pixel, slide.mpp)

    @classmethod
    def from_geojson(cls, source: str | os.PathLike[str] | dict[str, Any] | list[Any], slide: Slide, mpp: float = 8.0) -> Tissue:
        """Areas in GeoJSON of any form, see :meth:`from_annotations`.

        Raises:
            FormatError: It is no GeoJSON of polygons.
        """
        return cls.from_annotations(source, slide, mpp)


def find(slide: Slide, mpp: float = 8.0, **options: Any) -> Tissue:
    """The tissue of a slide, looked for at ``mpp`` µm per pixel; ``options`` are those of :func:`mask`.

    A slide larger than 8,192 pixels at that scale is looked at as coarsely as it takes.

    Raises:
        ValueError: The slide's scale is not known.
    """
    rgb, pixel = picture(slide, mpp)
    return Tissue(mask(rgb, **options), pixel, slide.mpp)


def picture(slide: Slide, mpp: float = 8.0) -> tuple[torch.Tensor, tuple[float, float]]:
    """The slide as :func:`find` looks at it, uint8 [H, W, 3], and how many pixels of level 0 one of its pixels is wide and high.

    Raises:
        ValueError: The slide's scale is not known.
    """
    width, height, pixel = _grid(slide, mpp)
    return slide.thumbnail((width, height)), pixel


def _warn_of_edges(rings: Sequence[_Ring], slide: Slide, name: str) -> None:
    """FormatError where no area lies on the slide, FormatWarning where some reach beyond it."""
    width, height = slide.dimensions
    low, high = np.array([ring.min(0) for ring in rings]), np.array([ring.max(0) for ring in rings])
    size = np.array([width, height])
    on = ((high > 0) & (low < size)).all(1)
    where = f"the {width} x {height} pixels of level 0 of {slide.path}"
    hint = "were they drawn on another slide, on another level, or in µm?"
    if not on.any():
        raise FormatError(f"{name}: expected areas within {where}, found all {len(rings)} outside; {hint}")
    beyond = ((low < -1) | (high > size + 1)).any(1)
    if beyond.any():
        text = f"{name}: {int(beyond.sum())} of {len(rings)} areas reach beyond {where}, and are cut there; {hint}"
        warnings.warn(text, FormatWarning, stacklevel=4)


def _grid(slide: Slide, mpp: float) -> tuple[int, int, tuple[float, float]]:
    if slide.mpp is None:
        raise ValueError(f"{slide.path}: its scale is not known; give its µm per pixel in a column mpp of the table to be indexed, or to open_slide (mpp=)")
    if not mpp > 0:
        raise ValueError(f"mpp must be a positive number of µm per pixel, got {mpp}")
    full_width, full_height = slide.dimensions
    shrink = max(mpp / slide.mpp[0], full_width / _MAX_SIDE, full_height / _MAX_SIDE, 1.0)
    small = slide.thumbnail_size(max(1, round(full_width / shrink)), max(1, round(full_height / shrink)))
    return small[0], small[1], (full_width / small[0], full_height / small[1])


def _polygons(inside: npt.NDArray[np.bool_]) -> Iterable[tuple[_Ring, list[_Ring]]]:
    """The outlines of a mask along pixel edges, each outer ring with its holes."""
    padded = np.pad(inside, 1)
    # Directed edges with the inside on the right (y downwards): outer rings turn one way, holes the other.
    step: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for dy, dx, (ax, ay), (bx, by) in ((-1, 0, (0, 0), (1, 0)), (0, 1, (1, 0), (1, 1)), (1, 0, (1, 1), (0, 1)), (0, -1, (0, 1), (0, 0))):
        neighbor = np.roll(padded, (-dy, -dx), (0, 1))
        for y, x in np.argwhere(padded & ~neighbor).tolist():
            step.setdefault((x - 1 + ax, y - 1 + ay), []).append((x - 1 + bx, y - 1 + by))
    rings = []
    while step:
        start = next(iter(step))
        ring, at, came = [start], start, (0, 0)
        while True:
            ways = step[at]
            # Where two pieces touch by a corner, a right turn keeps them apart.
            way = ways[0] if len(ways) == 1 else max(ways, key=lambda to: came[0] * (to[1] - at[1]) - came[1] * (to[0] - at[0]))
            ways.remove(way)
            if not ways:
                del step[at]
            came = (way[0] - at[0], way[1] - at[1])
            at = way
            ring.append(at)
            if at == start:
                break
        points = np.array(ring, dtype=np.float64)
        turns = np.any(np.diff(points, axis=0) != np.roll(np.diff(points, axis=0), 1, axis=0), axis=1)
        corners = points[:-1][turns]
        rings.append(np.concatenate([corners, corners[:1]]))
    outers = [ring for ring in rings if _signed_area(ring) > 0]
    holes = [ring for ring in rings if _signed_area(ring) < 0]
    outers.sort(key=_signed_area)  # a hole belongs to the smallest ring around it
    owned: list[list[_Ring]] = [[] for _ in outers]
    for hole in holes:
        # The middle of a pixel of the hole that lies along its first edge, on its inner side.
        (x0, y0), (x1, y1) = hole[0], hole[1]
        dx, dy = np.sign(x1 - x0), np.sign(y1 - y0)
        probe = (x0 + dx / 2 + dy / 2, y0 + dy / 2 - dx / 2)
        owner = next(i for i, outer in enumerate(outers) if _contains(outer, probe))
        owned[owner].append(hole)
    return list(zip(outers, owned, strict=True))


def _signed_area(ring: _Ring) -> float:
    x, y = ring[:, 0], ring[:, 1]
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


def _contains(ring: _Ring, point: tuple[float, float]) -> bool:
    (x0, y0), (x1, y1) = ring[:-1].T, ring[1:].T
    crosses = (y0 > point[1]) != (y1 > point[1])
    at = x0[crosses] + (point[1] - y0[crosses]) / (y1[crosses] - y0[crosses]) * (x1[crosses] - x0[crosses])
    return bool((at > point[0]).sum() % 2)


def _fill(rings: list[_Ring], width: int, height: int) -> npt.NDArray[np.bool_]:
    """Pixels whose middles are inside an odd number of rings."""
    change = np.zeros((height, width + 1), np.int64)
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring[:-1].tolist(), ring[1:].tolist(), strict=True):
            if y0 == y1:
                continue
            rows = np.arange(max(0, int(np.ceil(min(y0, y1) - 0.5))), min(height, int(np.ceil(max(y0, y1) - 0.5))))
            at = x0 + (rows + 0.5 - y0) / (y1 - y0) * (x1 - x0)
            np.add.at(change, (rows, np.clip(np.ceil(at - 0.5), 0, width).astype(int)), 1)
    return (change.cumsum(1)[:, :width] % 2).astype(bool)
