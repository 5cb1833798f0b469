"""Intensities of volumes, in C++: artifacts of magnetic resonance imaging, changes of contrast.

Volumes are [X, Y, Z] float32 tensors or NumPy arrays with finite values, in RAS+ axes; results are new float32 tensors.
Steps without randomness of their own give the values of TorchIO 1.2.1, up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sslmed._checks import whole
from sslmed._core import Array, C, tensor

__all__ = [
    "IntensityOptions",
    "bias_field",
    "blur",
    "gamma",
    "ghosting",
    "inversion",
    "motion",
    "noise",
    "random_intensity",
]

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class IntensityOptions:
    """Random changes of a volume's intensities, in the order of the fields: first contrast, noise last.

    By default nothing changes.

    Examples:
        >>> from sslmed.transforms.volume_intensity import IntensityOptions
        >>> options = IntensityOptions(p_gamma=0.3, p_bias=0.5, p_noise=0.3)
    """

    p_inversion: float = 0.0
    """Probability that a value becomes max + min - value."""
    p_gamma: float = 0.0
    """Probability of a gamma change, sign(value) · abs(value) ** gamma."""
    log_gamma: tuple[float, float] = (-0.3, 0.3)
    """Range of the logarithm of gamma."""
    p_motion: float = 0.0
    """Probability of motion during the acquisition, along a random axis of k-space."""
    degrees: float = 10.0
    """Largest rotation about each axis, in degrees."""
    translation: float = 10.0
    """Largest translation along each axis, in mm."""
    movements: int = 2
    """Number of movements."""
    p_ghosting: float = 0.0
    """Probability of ghosting, along a random axis."""
    ghosts: tuple[int, int] = (4, 10)
    """Range of the number of ghosts."""
    ghosting: tuple[float, float] = (0.5, 1.0)
    """Range of the intensity of ghosting; 1 removes planes of k-space."""
    p_blur: float = 0.0
    """Probability of a Gaussian blur."""
    blur_sigma: tuple[float, float] = (0.0, 2.0)
    """Range of the standard deviation of the blur in mm, drawn for each axis."""
    p_bias: float = 0.0
    """Probability of a bias field."""
    bias: float = 0.5
    """Largest coefficient of the bias field's polynomial of order 3."""
    p_noise: float = 0.0
    """Probability of Gaussian noise."""
    noise_std: tuple[float, float] = (0.0, 0.25)
    """Range of the standard deviation of the noise, in the volume's unit: the default is for standardized volumes."""

    def options(self) -> C.VolumeIntensityOptions:
        """The C++ options.

        Raises:
            ValueError: A number is out of range.
        """
        options = C.VolumeIntensityOptions(**{name: getattr(self, name) for name in self.__dataclass_fields__})
        options.check()
        return options


def bias_field(volume: Array, coefficients: Sequence[float]) -> torch.Tensor:
    """Multiplies a volume by the exponential of a polynomial: the slow change of sensitivity over an MR image.

    Args:
        volume: [X, Y, Z] float32.
        coefficients: 1, 4, 10 or 20 numbers, for a polynomial of order 0 to 3 over axes from -1 to 1. The powers of z
            change fastest, then those of y.

    Returns:
        [X, Y, Z] float32.

    Raises:
        ValueError: The volume is not [X, Y, Z] float32, or the number of coefficients is none of these.

    Examples:
        >>> import torch
        >>> from sslmed.transforms.volume_intensity import bias_field
        >>> bias_field(torch.ones(3, 1, 1), [0, 0, 0, 1])[:, 0, 0]  # e ** x
        tensor([0.3679, 1.0000, 2.7183])
    """
    return C.volume_bias(tensor(volume), list(coefficients))


def gamma(volume: Array, gamma: float) -> torch.Tensor:
    """Raises magnitudes to a power and keeps signs: sign(value) · abs(value) ** gamma.

    Args:
        volume: [X, Y, Z] float32.
        gamma: The exponent, above 0. Below 1 it brightens values within 0 and 1.

    Returns:
        [X, Y, Z] float32.

    Raises:
        ValueError: The volume is not [X, Y, Z] float32, or gamma is not above 0.

    Examples:
        >>> import torch
        >>> from sslmed.transforms.volume_intensity import gamma
        >>> gamma(torch.tensor([[[-4.0, 9.0]]]), 0.5)
        tensor([[[-2.,  3.]]])
    """
    return C.volume_gamma(tensor(volume), gamma)


def noise(volume: Array, std: float, *, seed: int = 0) -> torch.Tensor:
    """Adds Gaussian noise. A voxel's noise depends on its number in the volume and the seed alone.

    Args:
        volume: [X, Y, Z] float32.
        std: Standard deviation, in the volume's unit.
        seed: Seed of the noise.

    Returns:
        [X, Y, Z] float32.

    Raises:
        ValueError: The volume is not [X, Y, Z] float32, or the standard deviation is negative.

    Examples:
        >>> import torch
        >>> from sslmed.transforms.volume_intensity import noise
        >>> noise(torch.zeros(64, 64, 64), 2.0).std().round()
        tensor(2.)
    """
    whole("noise", "seed", seed)
    return C.volume_noise(tensor(volume), std, seed)


def blur(volume: Array, sigma: float | Sequence[float], spacing: Sequence[float] = (1, 1, 1)) -> torch.Tensor:
    """Blurs a volume with a Gaussian, as ``scipy.ndimage.gaussian_filter`` does with its defaults.

    Args:
        volume: [X, Y, Z] float32.
        sigma: Standard deviation in mm, for all axes or for each.
        spacing: Size of a voxel in mm, for each axis.

    Returns:
        [X, Y, Z] float32.

    Raises:
        ValueError: The volume is not [X, Y, Z] float32, or a standard deviation is negative or above 1,000 voxels.

    Examples:
        >>> import torch
        >>> from sslmed.transforms.volume_intensity import blur
        >>> blur(torch.ones(4, 4, 4), 2.0, spacing=(1, 1, 3)).mean().round(decimals=3)
        tensor(1.)
    """
    return C.volume_blur(
        tensor(volume),
        triple("blur", "sigma", [sigma] * 3 if isinstance(sigma, (int, float)) else sigma),
        voxel_size("blur", spacing),
    )


def ghosting(
    volume: Array,
    ghosts: int,
    intensity: float,
    axis: int = 0,
    *,
    restore: float | None = None,
) -> torch.Tensor:
    """Adds faint copies of the image along an axis, as pulsation and breathing do.

    Every ``ghosts``-th plane of k-space is weakened.

    Args:
        volume: [X, Y, Z] float32.
        ghosts: Number of copies; 0 changes nothing.
        intensity: How much of the planes is taken away; 1 is all.
        axis: Axis of the copies, 0 to 2.
        restore: Share of k-space about its center that stays; by default the central plane alone.

    Returns:
        [X, Y, Z] float32.

    Raises:
        ValueError: The volume is not [X, Y, Z] float32, or a number is out of range.

    Examples:
        >>> import torch
        >>> from sslmed.transforms.volume_intensity import ghosting
        >>> image = torch.zeros(32, 8, 8)
        >>> image[10:14] = 1
        >>> (ghosting(image, 4, 1.0) - image).abs().max() > 0.1
        tensor(True)
    """
    return C.volume_ghosting(tensor(volume), ghosts, intensity, axis, restore)


def motion(
    volume: Array,
    times: Sequence[float],
    degrees: Sequence[Sequence[float]],
    translation: Sequence[Sequence[float]],
    spacing: Sequence[float] = (1, 1, 1),
    *,
    axis: int = 2,
    center: Sequence[float] | None = None,
) -> torch.Tensor:
    """Combines slabs of k-space of a volume before and after rigid movements (Shaw et al., 2019).

    The slab with the center of k-space is that of the volume as it is, so the image stays in its place.

    Args:
        volume: [X, Y, Z] float32.
        times: When each movement happens, from 0 to 1 of the acquisition, in order.
        degrees: Rotations of each movement about the axes x, y and z, in degrees; y first, then x, then z.
        translation: Translation of each movement, in mm.
        spacing: Size of a voxel in mm, for each axis.
        axis: Axis of k-space that is acquired in time.
        center: Point that rotations leave in place, in mm from the center of the first voxel; by default the middle of
            the volume. TorchIO rotates about the origin of the image's world, in LPS axes.

    Returns:
        [X, Y, Z] float32.

    Raises:
        ValueError: The volume is not [X, Y, Z] float32, lengths differ, or times are not in order within 0 and 1.

    Examples:
        >>> import torch
        >>> from sslmed.transforms.volume_intensity import motion
        >>> image = torch.rand(16, 16, 16)
        >>> motion(image, [0.3], [(0, 0, 5)], [(2, 0, 0)]).shape
        torch.Size([16, 16, 16])
    """
    turns = [triple("motion", "degrees", angles) for angles in degrees]
    shifts = [triple("motion", "translation", mm) for mm in translation]
    about = None if center is None else triple("motion", "center", center)
    return C.volume_motion(tensor(volume), voxel_size("motion", spacing), list(times), turns, shifts, axis, about)


def inversion(volume: Array) -> torch.Tensor:
    """Turns dark into bright: max + min - value.

    Args:
        volume: [X, Y, Z] float32.

    Returns:
        [X, Y, Z] float32.

    Raises:
        ValueError: The volume is not [X, Y, Z] float32.

    Examples:
        >>> import torch
        >>> from sslmed.transforms.volume_intensity import inversion
        >>> inversion(torch.tensor([[[1.0, 2.0, 4.0]]]))
        tensor([[[4., 3., 1.]]])
    """
    return C.volume_inversion(tensor(volume))


def random_intensity(
    volume: Array,
    options: IntensityOptions,
    *,
    spacing: Sequence[float] = (1, 1, 1),
    seed: int = 0,
    index: int = 0,
) -> torch.Tensor:
    """Changes a volume's intensities at random. The same seed and index give the same result.

    Args:
        volume: [X, Y, Z] float32.
        options: Probabilities and strengths.
        spacing: Size of a voxel in mm, for each axis.
        seed: Seed of all draws.
        index: Number of the draw, such as a sample's.

    Returns:
        [X, Y, Z] float32.

    Raises:
        ValueError: The volume is not [X, Y, Z] float32, or an option is out of range.

    See Also:
        volume_contrast.random_contrast: an image from a label map.

    Examples:
        >>> import torch
        >>> from sslmed.transforms.volume_intensity import IntensityOptions, random_intensity
        >>> image = torch.rand(16, 16, 16)
        >>> options = IntensityOptions(p_gamma=0.5, p_bias=0.5, p_noise=0.5)
        >>> torch.equal(random_intensity(image, options, seed=1), random_intensity(image, options, seed=1))
        True
    """
    whole("random_intensity", "seed", seed)
    whole("random_intensity", "index", index)
    return C.random_intensity(tensor(volume), voxel_size("random_intensity", spacing), options.options(), seed, index)


def triple(where: str, name: str, values: Sequence[float]) -> Triple:
    """Three numbers, one for each axis, or a ValueError."""
    if len(values) != 3:
        raise ValueError(f"{where}: {name}={values!r} must have three numbers, one for each axis")
    x, y, z = (float(value) for value in values)
    return x, y, z


def voxel_size(where: str, spacing: Sequence[float]) -> Triple:
    """The size of a voxel in mm, or a ValueError."""
    return triple(where, "spacing", spacing)
