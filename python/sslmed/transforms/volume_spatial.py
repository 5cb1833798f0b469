"""Functions that make spatial transforms of 3-D volumes: affine, flips, crops, resampling, elastic displacements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from sslmed._checks import number, whole
from sslmed._core import Array, C, tensor
from sslmed.transforms.volume_transform import Fill, SpatialTransform

__all__ = [
    "SpatialOptions",
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

SpatialOptions = C.VolumeSpatialOptions


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
    factors, angles = _three("affine", "scales", scales), _three("affine", "degrees", degrees)
    return SpatialTransform(made.affine(factors, angles, _three("affine", "translation", translation)), fill=fill)


def elastic(
    shape: Sequence[int],
    spacing: Sequence[float],
    displacement: Array,
    *,
    fill: Fill = "minimum",
) -> SpatialTransform:
    """Displaces a volume smoothly by a cubic B-spline, as ``torchio.ElasticDeformation``.

    Args:
        shape: Cells of the volume along X, Y and Z.
        spacing: Spacing of the volume in mm.
        displacement: [cx, cy, cz, 3] mm along X, Y and Z at control points, at least 4 along each axis: where a place
            of the result comes from, less that place. The points are evenly spaced, from one mesh before the volume to
            one behind it.
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


def crop_or_pad(
    shape: Sequence[int],
    spacing: Sequence[float],
    to: int | Sequence[int],
    *,
    fill: Fill = "minimum",
) -> SpatialTransform:
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


def window(
    shape: Sequence[int],
    spacing: Sequence[float],
    first: Sequence[int],
    to: Sequence[int],
    *,
    fill: Fill = "minimum",
) -> SpatialTransform:
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
    if len(first) != 3:
        raise ValueError(f"window: first={tuple(first)!r} must be three numbers of cells")
    x, y, z = (int(cell) for cell in first)
    made = _identity("window", shape, spacing).window((x, y, z), _cells("window", "to", to))
    return SpatialTransform(made, fill=fill)


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

    ``torchio.RandomAnisotropy`` takes the nearest cell on the way down, and fills with 0 beyond the outermost coarse
    cells, where here the edge goes on.

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


def resample_volume(
    volume: Array,
    spacing: Sequence[float],
    to: float | Sequence[float],
    *,
    antialias: bool = True,
) -> torch.Tensor:
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
    mm, target = _three("resample_volume", "spacing", spacing), _three("resample_volume", "to", to)
    return C.resample_volume(tensor(volume), mm, target, antialias)


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
