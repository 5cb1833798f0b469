"""Images of random contrast from label maps, in C++ (domain randomization)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from sslmed._checks import whole
from sslmed._core import Array, C, tensor
from sslmed.transforms.volume_intensity import IntensityOptions, voxel_size

__all__ = ["SYNTHETIC", "ContrastOptions", "random_contrast"]


@dataclass(frozen=True)
class ContrastOptions:
    """How :func:`random_contrast` makes images from label maps.

    The ranges are those of SynthSeg (Billot et al., 2023). ``subclusters=(1, 6)`` is what fetalsyngen uses for fetal
    brains.

    Examples:
        >>> from sslmed.transforms.volume_contrast import ContrastOptions
        >>> fetal = ContrastOptions(subclusters=(1, 6), background="zero")
        >>> left_and_right = ContrastOptions(classes={41: 2, 42: 3})  # FreeSurfer's right hemisphere like the left one
    """

    mean: tuple[float, float] = (25.0, 225.0)
    """Range of a class's mean, of 255."""
    std: tuple[float, float] = (5.0, 25.0)
    """Range of a class's standard deviation, of 255."""
    subclusters: tuple[int, int] = (1, 1)
    """Range of the number of parts that a class is divided into by a smooth random field.

    Each part has a mean and a standard deviation of its own."""
    subcluster_scale: float = 20.0
    """Distance between the nodes of that field in mm."""
    background: Literal["mixed", "zero", "class"] = "mixed"
    """What label 0 looks like.

    "mixed": 0 in 5 % of images, dark in 25 %, a class like any other in 70 %. "zero": always 0. "class": a class
    like any other."""
    classes: Mapping[int, int] = field(default_factory=dict)
    """Class of each label. Labels of one class look alike; a label that is not here is a class of its own number."""

    def options(self) -> C.VolumeContrastOptions:
        """The C++ options.

        Raises:
            ValueError: A number is out of range.
        """
        options = C.VolumeContrastOptions(
            mean=self.mean,
            std=self.std,
            subclusters=self.subclusters,
            subcluster_scale=self.subcluster_scale,
            background=self.background,
            classes=[(int(label), int(its_class)) for label, its_class in self.classes.items()],
        )
        options.check()
        return options


SYNTHETIC = IntensityOptions(p_gamma=1.0, p_blur=1.0, blur_sigma=(0.0, 1.0), p_bias=1.0)
"""What :func:`random_contrast` does to an image after it is made, unless told otherwise."""


def random_contrast(
    labels: Array,
    options: ContrastOptions | None = None,
    *,
    then: IntensityOptions = SYNTHETIC,
    spacing: Sequence[float] = (1, 1, 1),
    seed: int = 0,
    index: int = 0,
) -> torch.Tensor:
    """Makes an image of random contrast from a label map (domain randomization).

    Networks that are trained on such images work on any contrast.

    Each class gets a random mean and standard deviation and Gaussian noise of these. They depend on the class, the seed
    and the index alone, so a crop of the label map has the contrast of the whole.

    Args:
        labels: [X, Y, Z] of any type of whole numbers.
        options: Ranges, classes, background; SynthSeg's ranges by default.
        then: What is done to the image afterwards; by default gamma, blur and a bias field.
        spacing: Size of a voxel in mm, for each axis.
        seed: Seed of all draws.
        index: Number of the draw, such as a sample's.

    Returns:
        [X, Y, Z] float32 from 0 to 1.

    Raises:
        ValueError: Labels are not [X, Y, Z] of whole numbers, the lowest and the highest are more than a million apart,
            or an option is out of range.

    See Also:
        volume_intensity.random_intensity: changes of an image that exists.

    Examples:
        >>> import torch
        >>> from sslmed.transforms.volume_contrast import ContrastOptions, random_contrast
        >>> labels = torch.zeros(32, 32, 32, dtype=torch.int32)
        >>> labels[8:24, 8:24, 8:24] = 2
        >>> image = random_contrast(labels, ContrastOptions(subclusters=(1, 6)), seed=7)
        >>> image.min(), image.max()
        (tensor(0.), tensor(1.))
    """
    whole("random_contrast", "seed", seed)
    whole("random_contrast", "index", index)
    made = (options or ContrastOptions()).options()
    return C.random_contrast(tensor(labels), voxel_size("random_contrast", spacing), made, then.options(), seed, index)
