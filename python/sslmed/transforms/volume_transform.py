"""A spatial transform of 3-D volumes, with its inverse, its way of moving points, and composition."""

from __future__ import annotations

from typing import Literal

import torch

from sslmed._checks import choice, number
from sslmed._core import Array, C, tensor

__all__ = ["Fill", "Interpolation", "SpatialTransform"]

Interpolation = Literal["linear", "nearest", "label"]
Fill = float | Literal["minimum"]


class SpatialTransform:
    """A spatial transform of volumes of one shape and spacing; made by the functions of ``sslmed.volume``.

    Args:
        volume_map: Where the result's cells lie in the volume.
        anisotropy: Axis and factor of resolution that linear interpolation loses at the end, or None.
        fill: What lies outside of a float volume: a number, or "minimum" for the minimum of each volume. Label maps get
            0.

    Examples:
        >>> import torch, sslmed as sm
        >>> shape, spacing = (32, 40, 36), (1.0, 1.0, 1.2)
        >>> turn = sm.volume.affine(shape, spacing, degrees=(0, 0, 10))
        >>> crop = sm.volume.crop_or_pad(shape, spacing, (24, 24, 24))
        >>> both = crop @ turn  # turns, then crops, and interpolates once
        >>> both(torch.rand(shape)).shape
        torch.Size([24, 24, 24])
        >>> labels = torch.randint(0, 3, shape, dtype=torch.int32)
        >>> both.inverse(both(labels, "label"), "label").shape
        torch.Size([32, 40, 36])
        >>> both.points(torch.tensor([[16.0, 20.0, 18.0]]))  # the center stays the center
        tensor([[12., 12., 12.]])

    See Also:
        random_spatial: Draws a transform.
    """

    def __init__(
        self,
        volume_map: C.VolumeMap,
        anisotropy: tuple[int, float] | None = None,
        fill: Fill = "minimum",
    ) -> None:
        self._map = volume_map
        self.anisotropy = anisotropy
        self.fill = _fill("SpatialTransform", fill)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Cells of the volumes that are transformed."""
        x, y, z = self._map.shape
        return x, y, z

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Spacing in mm of the volumes that are transformed."""
        x, y, z = self._map.spacing
        return x, y, z

    @property
    def result_shape(self) -> tuple[int, int, int]:
        """Cells of the results."""
        x, y, z = self._map.result_shape
        return x, y, z

    @property
    def result_spacing(self) -> tuple[float, float, float]:
        """Spacing of the results in mm."""
        x, y, z = self._map.result_spacing
        return x, y, z

    def __call__(
        self,
        volume: Array,
        interpolation: Interpolation = "linear",
        *,
        fill: Fill | None = None,
    ) -> torch.Tensor:
        """Transforms a volume, on the device where it lies.

        Args:
            volume: [..., X, Y, Z] float32, int32 or uint8.
            interpolation: "linear" for float volumes; "nearest"; or "label" for label maps: the label with the largest
                linear weight around a place, the smaller one of equals. It moves smooth borders better than "nearest".
            fill: What lies outside of the volume; by default the transform's ``fill``, and 0 in label maps.

        Returns:
            [..., X', Y', Z'] of the same dtype.

        Raises:
            TypeError: The dtype is another one.
            ValueError: The shape is not the transform's, whole numbers are interpolated linearly, the fill is no value
                of the dtype, or the transform undoes an elastic displacement that folds space.
        """
        values = tensor(volume)
        own = self.fill if values.is_floating_point() else 0.0
        given = own if fill is None else _fill("SpatialTransform", fill)
        out = self._map.apply(values, interpolation, None if given == "minimum" else float(given))
        if self.anisotropy is not None and interpolation == "linear":
            out = C.lose_resolution(out, *self.anisotropy)
        return out

    @property
    def inverse(self) -> SpatialTransform:
        """The transform back. Resolution that was lost stays lost, and what a crop cut away is filled.

        An elastic displacement is inverted by iteration to less than .001 of a cell.
        """
        return SpatialTransform(self._map.inverse(), None, self.fill)

    def points(self, points: Array) -> torch.Tensor:
        """Where points of a volume lie in its result.

        Args:
            points: [N, 3] float32 or float64, in cells; they may lie outside.

        Returns:
            [N, 3] in cells of the result, of the same dtype.

        Raises:
            ValueError: The shape is another one, a coordinate is not finite, or the displacement folds space.

        Examples:
            >>> import torch, sslmed as sm
            >>> mirror = sm.volume.flip((10, 20, 30), (1.0, 1.0, 1.0), axes=0)
            >>> mirror.points(torch.tensor([[1.0, 2.0, 3.0]]))
            tensor([[9., 2., 3.]])
        """
        return self._map.move_points(tensor(points))

    def __matmul__(self, first: SpatialTransform) -> SpatialTransform:
        """This transform after ``first``, as one transform that interpolates once."""
        if not isinstance(first, SpatialTransform):
            return NotImplemented
        if first.anisotropy is not None:
            where = f"SpatialTransform: anisotropy={first.anisotropy!r}"
            raise ValueError(f"{where} must be lost at the end: it cannot come before another transform")
        return SpatialTransform(first._map.then(self._map), self.anisotropy, self.fill)

    def __repr__(self) -> str:
        lost = "" if self.anisotropy is None else f", anisotropy={self.anisotropy}"
        source, result = f"{self.shape} at {self.spacing} mm", f"{self.result_shape} at {self.result_spacing} mm"
        return f"SpatialTransform({source} to {result}{lost})"


def _fill(where: str, fill: Fill) -> Fill:
    if isinstance(fill, str):
        choice(where, "fill", fill, ["minimum"])
    else:
        number(where, "fill", fill, -float("inf"))
    return fill
