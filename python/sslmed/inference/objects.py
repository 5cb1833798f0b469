"""Objects in label maps: connected cells of one value, as outlines on the slide."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from sslmed._checks import number
from sslmed._core import Array, C, tensor
from sslmed.io.qupath import SlideObject

__all__ = ["ObjectStream", "outline"]


class ObjectStream:
    """Outlines of connected cells of a label map that comes band by band; only objects that may still grow are held.

    Cells are connected by their sides. Outlines follow the edges of cells, so a map that is drawn from them again is
    the same map.

    Args:
        width: Cells of a row.
        downsample: How many pixels of level 0 a cell is wide and high.
        mpp: µm per pixel of level 0 in x and y, for measurements; None: there are none.
        background: The value that is no object.
        names: Class of each value; values that are missing have their number for a name.
        min_area: Least area of an object: µm² where ``mpp`` is given, else cells.

    Raises:
        ValueError: A number is out of range.

    Examples:
        >>> import torch, sslmed as sm
        >>> stream = sm.inference.ObjectStream(4, downsample=(2, 2), names={1: "nucleus"})
        >>> found = [*stream.add(torch.tensor([[0, 1, 1, 0]])), *stream.finish()]
        >>> found[0].label, found[0].rings[0].tolist()
        ('nucleus', [[2.0, 0.0], [6.0, 0.0], [6.0, 2.0], [2.0, 2.0], [2.0, 0.0]])
    """

    def __init__(
        self,
        width: int,
        *,
        downsample: tuple[float, float] = (1.0, 1.0),
        mpp: tuple[float, float] | None = None,
        background: int = 0,
        names: Mapping[int, str] | Sequence[str] | None = None,
        min_area: float = 0.0,
    ) -> None:
        number("ObjectStream", "min_area", min_area, 0)
        for scale in (*downsample, *(mpp or ())):
            number("ObjectStream", "downsample and mpp", scale, 0, strict=True)
        self._outliner = C.Outliner(width, background)
        self._scale = np.array(downsample, dtype=np.float64)
        self._cell = None if mpp is None else downsample[0] * mpp[0] * downsample[1] * mpp[1]
        self._names = dict(names) if isinstance(names, Mapping) else dict(enumerate(names or ()))
        self._least = min_area

    def add(self, rows: Array) -> list[SlideObject]:
        """The objects that are complete with these rows [n, width] of whole numbers, the next ones of the map.

        Raises:
            ValueError: A value has more than 32 bits, or the width is another one.
        """
        cells = tensor(rows)
        if cells.dtype == torch.int64 and cells.numel() and not (-(2**31) <= int(cells.min()) <= int(cells.max()) < 2**31):
            raise ValueError(f"ObjectStream: values must have 32 bits, got {int(cells.min())} to {int(cells.max())}")
        self._outliner.add(cells)
        return list(self._taken())

    def finish(self) -> list[SlideObject]:
        """The objects that were open when the map ended."""
        self._outliner.finish()
        return list(self._taken())

    def _taken(self) -> Iterator[SlideObject]:
        for value, cells, _, rings in self._outliner.take():
            area = cells * (1.0 if self._cell is None else self._cell)
            if area < self._least:
                continue
            measured = {} if self._cell is None else {"Area µm^2": area, "Equivalent diameter µm": 2 * math.sqrt(area / math.pi)}
            yield SlideObject(
                self._names.get(value, str(value)),
                tuple(ring.numpy() * self._scale for ring in rings),
                measurements=measured,
            )


def outline(
    labels: Array,
    *,
    downsample: tuple[float, float] = (1.0, 1.0),
    mpp: tuple[float, float] | None = None,
    background: int = 0,
    names: Mapping[int, str] | Sequence[str] | None = None,
    min_area: float = 0.0,
) -> list[SlideObject]:
    """The objects of a whole label map or instance map, see :class:`ObjectStream`.

    Args:
        labels: [H, W] whole numbers: classes, or a number for each instance, whose class ``names`` says.
        downsample: How many pixels of level 0 a cell is wide and high.
        mpp: µm per pixel of level 0 in x and y, for measurements; None: there are none.
        background: The value that is no object.
        names: Class of each value; values that are missing have their number for a name.
        min_area: Least area of an object: µm² where ``mpp`` is given, else cells.

    Raises:
        ValueError: ``labels`` has another shape, or a number is out of range.

    Examples:
        >>> import torch, sslmed as sm
        >>> [(one.label, one.rings[0].tolist()) for one in sm.inference.outline(torch.tensor([[0, 3]]))]
        [('3', [[1.0, 0.0], [2.0, 0.0], [2.0, 1.0], [1.0, 1.0], [1.0, 0.0]])]
    """
    cells = tensor(labels)
    if cells.ndim != 2 or cells.numel() == 0 or cells.is_floating_point():
        raise ValueError(f"outline: labels must be whole numbers [H, W], got {cells.dtype} {tuple(cells.shape)}")
    stream = ObjectStream(cells.shape[1], downsample=downsample, mpp=mpp, background=background, names=names, min_area=min_area)
    return [*stream.add(cells), *stream.finish()]
