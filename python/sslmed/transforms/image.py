"""The single steps of image augmentation, in C++. Images are [H, W, 3] uint8 tensors or NumPy arrays; results are new tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from sslmed._core import Array, C, tensor

__all__ = ["augment", "blur", "brightness", "contrast", "flip", "grayscale", "hue", "resize", "rotate", "saturation", "solarize"]


class _Augmentation(Protocol):
    """:class:`sslmed.Augmentation`, or anything else that gives C++ options."""

    def options(self) -> C.Augmentation: ...


def augment(
    pictures: Sequence[Array],
    how: _Augmentation,
    size: int,
    *,
    seed: int = 0,
    first: int = 0,
    zoom: float = 1.0,
    middle: bool = False,
    device: str = "cpu",
) -> torch.Tensor:
    """Augmented pictures, to look at or for a training loop of your own. The same draws give the same pictures on every device.

    Args:
        pictures: Images [H, W, 3] uint8 of any sizes.
        how: The augmentation, :class:`sslmed.Augmentation`.
        size: Side of the results in pixels.
        seed: Seed of all draws.
        first: Number of the first picture's draw; the others follow.
        zoom: As in :class:`sslmed.View`.
        middle: As in :class:`sslmed.View`.
        device: Where the work is done; "cuda" is worth it for many pictures.

    Returns:
        [N, size, size, 3] uint8 on the device. On CUDA crops, flips, turns and blur equal the CPU's to the bit; colors may differ by one of 255
        before the steps that follow, in about one value of ten thousand.

    Raises:
        ValueError: A picture is smaller than the crop, or the device is not available.
    """
    if not callable(getattr(how, "options", None)):
        raise TypeError(f"augment: how={how!r} must be an sslmed.Augmentation")
    return C.augment_all([tensor(picture) for picture in pictures], how.options(), size, seed, first, zoom, middle, device)


def resize(image: Array, height: int, width: int, box: tuple[float, float, float, float] | None = None) -> torch.Tensor:
    """Antialiased bicubic resampling, as Pillow's ``Image.resize((width, height), BICUBIC, box)``: across, then down.

    Byte for byte where one direction changes; in both, Pillow may go down first, which makes up to 2 of 255 on pictures (more on noise).

    Args:
        image: [H, W, C] uint8, any number of channels.
        height: Height of the result in pixels.
        width: Width of the result in pixels.
        box: Part (x, y, width, height) of the image to resample, in pixels, fractions allowed; by default all of it.

    Raises:
        ValueError: The box is not within the image.
    """
    return C.resize_bicubic(tensor(image), height, width, box)


def brightness(rgb: Array, factor: float) -> torch.Tensor:
    """Light times ``factor``: 0 is black, 1 changes nothing."""
    return C.adjust_brightness(tensor(rgb), factor)


def contrast(rgb: Array, factor: float) -> torch.Tensor:
    """Distances from the picture's mean gray times ``factor``."""
    return C.adjust_contrast(tensor(rgb), factor)


def saturation(rgb: Array, factor: float) -> torch.Tensor:
    """Distances of each pixel from its gray times ``factor``."""
    return C.adjust_saturation(tensor(rgb), factor)


def hue(rgb: Array, turn: float) -> torch.Tensor:
    """Hues turned by ``turn`` of a full turn, -0.5 to 0.5."""
    return C.adjust_hue(tensor(rgb), turn)


def grayscale(rgb: Array) -> torch.Tensor:
    """Gray in all three channels: .2989 R + .587 G + .114 B."""
    return C.to_grey(tensor(rgb))


def solarize(rgb: Array, threshold: int = 128) -> torch.Tensor:
    """Values from ``threshold`` on are inverted."""
    return C.solarise(tensor(rgb), threshold)


def blur(rgb: Array, side: int, sigma: float) -> torch.Tensor:
    """Gaussian of ``side`` (odd) taps, edges mirrored, as ``torchvision.transforms.functional.gaussian_blur``."""
    return C.gaussian_blur(tensor(rgb), side, sigma)


def flip(rgb: Array, *, vertical: bool = False) -> torch.Tensor:
    """Left and right, or top and bottom, exchanged."""
    return C.flip_vertically(tensor(rgb)) if vertical else C.flip_horizontally(tensor(rgb))


def rotate(rgb: Array, turns: int) -> torch.Tensor:
    """``turns`` quarters of a turn, counter-clockwise, as ``torch.rot90``."""
    return C.rotate_quarters(tensor(rgb), turns)
