"""Transforms of 3-D volumes in C++.

Volumes are float32 tensors or NumPy arrays [..., X, Y, Z], label maps int32 or uint8, with axes RAS+ and a spacing in
mm along each axis. Places count in cells: cell i covers [i, i + 1), so its middle is at i + 0.5. Spatial transforms
have an inverse, move points, and interpolate once when they are composed with ``@``. Changes of intensities give a new
volume; :func:`random_contrast` makes one out of labels.
"""

from sslmed.transforms.volume_contrast import ContrastOptions, random_contrast
from sslmed.transforms.volume_intensity import (
    IntensityOptions,
    bias_field,
    blur,
    gamma,
    ghosting,
    inversion,
    motion,
    noise,
    random_intensity,
)
from sslmed.transforms.volume_spatial import (
    SpatialOptions,
    affine,
    crop_or_pad,
    elastic,
    flip,
    lose_resolution,
    random_spatial,
    resample,
    resample_volume,
    window,
)
from sslmed.transforms.volume_transform import SpatialTransform

__all__ = [
    "ContrastOptions",
    "IntensityOptions",
    "SpatialOptions",
    "SpatialTransform",
    "affine",
    "bias_field",
    "blur",
    "crop_or_pad",
    "elastic",
    "flip",
    "gamma",
    "ghosting",
    "inversion",
    "lose_resolution",
    "motion",
    "noise",
    "random_contrast",
    "random_intensity",
    "random_spatial",
    "resample",
    "resample_volume",
    "window",
]
