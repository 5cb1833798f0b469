"""Spatial transforms of 3-D volumes in C++: affine changes, flips, crops, resampling, elastic displacements, and back.

Volumes are float32 tensors or NumPy arrays [..., X, Y, Z], label maps int32 or uint8, with axes RAS+ and a spacing in mm
along each axis. Places count in cells: cell i covers [i, i + 1), so its middle is at i + 0.5. Transforms that are
composed with ``@`` interpolate once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from sslmed._checks import choice, number, whole
from sslmed._core import Array, C, tensor

__all__ = [
    "SpatialOptions",
    "SpatialTransform",
    "affine",
    "crop_or_pad",
    "elastic",
    "flip",
    "lose_resolution",
    "random_spatial",
    "resample",
    "resample_volume",
    "window",
]

Interpolation = Literal["linear", "nearest", "label"]
Fill = float | Literal["minimum"]

SpatialOptions = C.VolumeSpatialOptions


class SpatialTransform:
    """A spatial transform of volumes of one shape and spacing; made by the functions of this module.

    Args:
        volume_map: Where the result's cells lie in the volume.
        anisotropy: Axis and factor of resolution that linear interpolation loses at the end, or None.
        fill: What lies outside of the volume: a number, or "minimum" for the minimum of a float volume and 0 of a label map.

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

    def __init__(self, volume_map: C.VolumeMap, anisotropy: tuple[int, float] | None = None, fill: Fill = "minimum") -> None:
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

    def __call__(self, volume: Array, interpolation: Interpolation = "linear", *, fill: Fill | None = None) -> torch.Tensor:
        """Transforms a volume, on the device where it lies.

        Args:
            volume: [..., X, Y, Z] float32, int32 or uint8.
            interpolation: "linear" for float volumes; "nearest"; or "label" for label maps: the label with the largest
                linear weight around a place, the smaller one of equals, which moves smooth borders better than "nearest".
            fill: What lies outside of the volume; by default the transform's ``fill``.

        Returns:
            [..., X', Y', Z'] of the same dtype.

        Raises:
            TypeError: The dtype is another one.
            ValueError: The shape is not the transform's, whole numbers are interpolated linearly, or the transform undoes
                an elastic displacement that folds space.
        """
        given = self.fill if fill is None else _fill("SpatialTransform", fill)
        values = tensor(volume)
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
            raise ValueError(f"SpatialTransform: anisotropy={first.anisotropy!r} must be lost at the end: it cannot come before another transform")
        return SpatialTransform(first._map.then(self._map), self.anisotropy, self.fill)

    def __repr__(self) -> str:
        lost = "" if self.anisotropy is None else f", anisotropy={self.anisotropy}"
        return f"SpatialTransform({self.shape} at {self.spacing} mm to {self.result_shape} at {self.result_spacing} mm{lost})"


def affine(
    shape: Sequence[int],
    spacing: Sequence[float],
    *,
    scales: float | Sequence[float] = 1.0,
    degrees: float | Sequence[float] = 0.0,
    translation: float | Sequence[float] = 0.0,
    fill: Fill = "minimum",
) -> SpatialTransform:
    """Turns, moves and scales a volume about its center, as ``torchio.Affine``.

    Args:
        shape: Cells of the volume along X, Y and Z.
        spacing: Spacing of the volume in mm.
        scales: Factors along the axes, or one for all; 1.5 makes things 1.5 times larger. Applied last.
        degrees: Rotation about each axis (first Y, then X, then Z); one number is for all three.
        translation: Shift along each axis in mm; one number is for all three.
        fill: What lies outside of the volume.

    Raises:
        ValueError: A number is out of range.

    Examples:
        >>> import torch, sslmed as sm
        >>> larger = sm.volume.affine((16, 16, 16), (1, 1, 1), scales=1.2, degrees=(0, 0, 15))
        >>> larger(torch.rand(16, 16, 16)).shape
        torch.Size([16, 16, 16])
    """
    made = _identity("affine", shape, spacing)
    three = [_three("affine", *given) for given in (("scales", scales), ("degrees", degrees), ("translation", translation))]
    return SpatialTransform(made.affine(*three), fill=fill)


def elastic(shape: Sequence[int], spacing: Sequence[float], displacement: Array, *, fill: Fill = "minimum") -> SpatialTransform:
    """Displaces a volume smoothly by a cubic B-spline, as ``torchio.ElasticDeformation``.

    Args:
        shape: Cells of the volume along X, Y and Z.
        spacing: Spacing of the volume in mm.
        displacement: [cx, cy, cz, 3] mm along X, Y and Z at control points, at least 4 along each axis: where a place of the
            result comes from, less that place. The points are evenly spaced from one mesh before the volume to one behind it.
        fill: What lies outside of the volume.

    Raises:
        ValueError: The shape is another one, or a number is not finite.

    Examples:
        >>> import torch, sslmed as sm
        >>> displacement = 2 * torch.rand(7, 7, 7, 3) - 1
        >>> bent = sm.volume.elastic((16, 16, 16), (1, 1, 1), displacement)
        >>> bent(torch.rand(16, 16, 16)).shape
        torch.Size([16, 16, 16])
    """
    return SpatialTransform(_identity("elastic", shape, spacing).elastic(tensor(displacement)), fill=fill)


def flip(shape: Sequence[int], spacing: Sequence[float], axes: int | Sequence[int]) -> SpatialTransform:
    """Mirrors a volume along one axis or several. Cells are copied.

    Args:
        shape: Cells of the volume along X, Y and Z.
        spacing: Spacing of the volume in mm.
        axes: 0 (left and right), 1 (back and front), 2 (down and up), or several of them.

    Raises:
        ValueError: An axis is not 0, 1 or 2.

    Examples:
        >>> import torch, sslmed as sm
        >>> sm.volume.flip((1, 1, 3), (1, 1, 1), axes=2)(torch.tensor([[[1.0, 2.0, 3.0]]]))
        tensor([[[3., 2., 1.]]])
    """
    made = _identity("flip", shape, spacing)
    for axis in [axes] if isinstance(axes, int) else axes:
        _axis("flip", axis)
        made = made.flip(axis)
    return SpatialTransform(made)


def crop_or_pad(shape: Sequence[int], spacing: Sequence[float], to: int | Sequence[int], *, fill: Fill = "minimum") -> SpatialTransform:
    """Cuts or adds cells on both sides of each axis, as ``torchio.CropOrPad``. Cells are copied.

    Args:
        shape: Cells of the volume along X, Y and Z.
        spacing: Spacing of the volume in mm.
        to: Cells of the result, or one number for all axes. Of an odd number of cells the first side has one more.
        fill: The value of added cells.

    Raises:
        ValueError: A number of cells is not positive.

    Examples:
        >>> import torch, sslmed as sm
        >>> sm.volume.crop_or_pad((1, 1, 3), (1, 1, 1), (1, 1, 5), fill=0)(torch.tensor([[[1.0, 2.0, 3.0]]]))
        tensor([[[0., 1., 2., 3., 0.]]])
    """
    cells = _cells("crop_or_pad", "to", [to] * 3 if isinstance(to, int) else to)
    return SpatialTransform(_identity("crop_or_pad", shape, spacing).crop_or_pad(cells), fill=fill)


def window(shape: Sequence[int], spacing: Sequence[float], first: Sequence[int], to: Sequence[int], *, fill: Fill = "minimum") -> SpatialTransform:
    """Cuts a window out of a volume, which may reach beyond it. Cells are copied.

    Args:
        shape: Cells of the volume along X, Y and Z.
        spacing: Spacing of the volume in mm.
        first: The window's first cell along each axis; may be negative.
        to: Cells of the window.
        fill: The value of cells outside of the volume.

    Raises:
        ValueError: A number of cells is not positive.

    Examples:
        >>> import torch, sslmed as sm
        >>> sm.volume.window((1, 1, 3), (1, 1, 1), (0, 0, 1), (1, 1, 3), fill=0)(torch.tensor([[[1.0, 2.0, 3.0]]]))
        tensor([[[2., 3., 0.]]])
    """
    x, y, z = first
    return SpatialTransform(_identity("window", shape, spacing).window((int(x), int(y), int(z)), _cells("window", "to", to)), fill=fill)


def resample(shape: Sequence[int], spacing: Sequence[float], to: float | Sequence[float]) -> SpatialTransform:
    """Brings a volume to another spacing and keeps its center, as ``torchio.Resample``.

    Args:
        shape: Cells of the volume along X, Y and Z.
        spacing: Spacing of the volume in mm.
        to: Spacing of the result in mm, or one number for all axes. The result has as many whole cells as fit.

    Raises:
        ValueError: A spacing is not positive, or no cell fits along an axis.

    Examples:
        >>> import torch, sslmed as sm
        >>> half = sm.volume.resample((16, 16, 10), (1, 1, 2), 2.0)
        >>> half(torch.rand(16, 16, 10)).shape
        torch.Size([8, 8, 10])

    See Also:
        resample_volume: With antialiasing, for a volume that shrinks.
    """
    return SpatialTransform(_identity("resample", shape, spacing).resample(_three("resample", "to", to)))


def random_spatial(
    shape: Sequence[int],
    spacing: Sequence[float],
    options: C.VolumeSpatialOptions | None = None,
    *,
    seed: int = 0,
    epoch: int = 0,
    index: int = 0,
) -> SpatialTransform:
    """Draws a transform: flips, an affine change, an elastic displacement, a window and lost resolution, in this order.

    Args:
        shape: Cells of the volume along X, Y and Z.
        spacing: Spacing of the volume in mm.
        options: ``sslmed.volume.SpatialOptions``: probabilities and ranges; by default its own.
        seed: Seed of all draws.
        epoch: Number of the epoch.
        index: Number of the sample. One seed, epoch and index always give the same transform.

    Raises:
        ValueError: An option is out of range.

    Examples:
        >>> import torch, sslmed as sm
        >>> options = sm.volume.SpatialOptions(p_affine=1.0, p_elastic=1.0, degrees=15.0, window=(24, 24, 24))
        >>> change = sm.volume.random_spatial((32, 32, 32), (1, 1, 1), options, seed=7)
        >>> image, labels = torch.rand(32, 32, 32), torch.zeros(32, 32, 32, dtype=torch.uint8)
        >>> change(image).shape, change(labels, "label").shape
        (torch.Size([24, 24, 24]), torch.Size([24, 24, 24]))
    """
    for name, value in (("seed", seed), ("epoch", epoch), ("index", index)):
        whole("random_spatial", name, value)
    how = SpatialOptions() if options is None else options
    cells = _cells("random_spatial", "shape", shape)
    made, axis, factor = C.plan_volume(cells, _three("random_spatial", "spacing", spacing), how, seed, epoch, index)
    return SpatialTransform(made, None if axis < 0 else (axis, factor), "minimum" if how.fill is None else how.fill)


def lose_resolution(volume: Array, axis: int, factor: float) -> torch.Tensor:
    """A volume as if its cells were longer along one axis: linear to the coarse grid and back.

    ``torchio.RandomAnisotropy`` takes the nearest cell on the way down, and fills with 0 beyond the outermost coarse cells,
    where here the edge goes on.

    Args:
        volume: [..., X, Y, Z] float32.
        axis: 0, 1 or 2.
        factor: How many times longer the cells are, at least 1.

    Returns:
        A volume of the same shape.

    Raises:
        ValueError: The axis or the factor is out of range.

    Examples:
        >>> import torch, sslmed as sm
        >>> sm.volume.lose_resolution(torch.rand(8, 8, 8), axis=2, factor=3.0).shape
        torch.Size([8, 8, 8])
    """
    _axis("lose_resolution", axis)
    return C.lose_resolution(tensor(volume), axis, factor)


def resample_volume(volume: Array, spacing: Sequence[float], to: float | Sequence[float], *, antialias: bool = True) -> torch.Tensor:
    """Resamples a volume linearly to another spacing on the grid of :func:`resample`.

    Args:
        volume: [..., X, Y, Z] float32.
        spacing: Spacing of the volume in mm.
        to: Spacing of the result in mm, or one number for all axes.
        antialias: Whether a result's cell averages all that it covers, with a triangle as wide, along axes that shrink.

    Returns:
        [..., X', Y', Z'] float32.

    Raises:
        TypeError: The dtype is another one.
        ValueError: A spacing is not positive, or no cell fits along an axis.

    Examples:
        >>> import torch, sslmed as sm
        >>> sm.volume.resample_volume(torch.rand(12, 12, 6), (1, 1, 2), 2.0).shape
        torch.Size([6, 6, 6])
    """
    return C.resample_volume(tensor(volume), _three("resample_volume", "spacing", spacing), _three("resample_volume", "to", to), antialias)


def _axis(where: str, axis: int) -> None:
    if isinstance(axis, bool) or axis not in (0, 1, 2):
        raise ValueError(f"{where}: axis={axis!r} must be 0, 1 or 2")


def _identity(where: str, shape: Sequence[int], spacing: Sequence[float]) -> C.VolumeMap:
    return C.VolumeMap(_cells(where, "shape", shape), _three(where, "spacing", spacing))


def _cells(where: str, name: str, given: Sequence[int]) -> tuple[int, int, int]:
    if len(given) != 3:
        raise ValueError(f"{where}: {name}={tuple(given)!r} must be three numbers of cells")
    for value in given:
        whole(where, name, value, 1)
    x, y, z = given
    return int(x), int(y), int(z)


def _three(where: str, name: str, given: float | Sequence[float]) -> tuple[float, float, float]:
    values = list(given) if isinstance(given, (Sequence, np.ndarray)) else [given] * 3
    if len(values) != 3:
        raise ValueError(f"{where}: {name}={given!r} must be one number or three")
    for value in values:
        number(where, name, value, -float("inf"))
    x, y, z = (float(value) for value in values)
    return x, y, z


def _fill(where: str, fill: Fill) -> Fill:
    if isinstance(fill, str):
        choice(where, "fill", fill, ["minimum"])
    else:
        number(where, "fill", fill, -float("inf"))
    return fill
