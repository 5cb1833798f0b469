"""Transforms in C++ as functions on tensors and NumPy arrays: signals here, and the modules ``image``, ``stain``
and ``tissue`` for pictures, ``volume`` for volumes."""

from sslmed.transforms import image, stain, tissue, volume
from sslmed.transforms.signal import (
    average_reference,
    bandpass,
    electrode_position,
    good_channels,
    notch,
    resample,
    robust_scale,
    standard_name,
    zscore,
)

__all__ = [
    "average_reference",
    "bandpass",
    "electrode_position",
    "good_channels",
    "image",
    "notch",
    "resample",
    "robust_scale",
    "stain",
    "standard_name",
    "tissue",
    "volume",
    "zscore",
]
