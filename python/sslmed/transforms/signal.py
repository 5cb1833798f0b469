"""Signal transforms in C++: what the loader's threads apply, as functions on [channels, samples] tensors or NumPy arrays.

Results are new tensors without gradients.
"""

from __future__ import annotations

import torch

from sslmed._core import Array, C, tensor

__all__ = [
    "average_reference",
    "bandpass",
    "electrode_position",
    "good_channels",
    "notch",
    "resample",
    "robust_scale",
    "standard_name",
    "zscore",
]


def bandpass(x: Array, sfreq: float, l_freq: float, h_freq: float, order: int = 4) -> torch.Tensor:
    """Zero-phase Butterworth filter, as ``scipy.signal.sosfiltfilt`` of ``butter(order, …, output="sos")``.

    Args:
        x: [C, T] float32 or float64.
        sfreq: Sampling rate in Hz.
        l_freq: Lower edge in Hz; 0 for a low-pass filter.
        h_freq: Upper edge in Hz; 0 for a high-pass filter.
        order: Order of the prototype.

    Raises:
        ValueError: Edges out of order or beyond sfreq/2, or too few samples for the filter's padding.
    """
    return C.bandpass(tensor(x), sfreq, l_freq, h_freq, order)


def notch(x: Array, sfreq: float, freq: float, quality: float = 30.0) -> torch.Tensor:
    """Zero-phase notch at ``freq`` Hz, as ``scipy.signal.filtfilt`` of ``iirnotch``. x is [C, T]."""
    return C.notch(tensor(x), sfreq, freq, quality)


def resample(x: Array, sfreq: float, to: float) -> torch.Tensor:
    """Polyphase resampling of x [C, T] from ``sfreq`` to ``to`` Hz, as ``scipy.signal.resample_poly``."""
    return C.resample(tensor(x), sfreq, to)


def good_channels(x: Array, flat: float = 0.0) -> torch.Tensor:
    """[C] bool: False where a channel of x [C, T] is flat (peak to peak not above ``flat``) or not finite."""
    return C.good_channels(tensor(x), flat)


def average_reference(x: Array, good: torch.Tensor | None = None) -> torch.Tensor:
    """Subtracts the mean over good channels from each good channel of x [C, T]. ``good`` [C] is found when not given."""
    return C.average_reference(tensor(x), good)


def zscore(x: Array, clip: float = 15.0, good: torch.Tensor | None = None) -> torch.Tensor:
    """Each good channel of x [C, T] to mean 0 and standard deviation 1, clipped to ±clip (0: not). Bad ones become 0."""
    return C.zscore(tensor(x), clip, good)


def robust_scale(x: Array, clip: float = 15.0, good: torch.Tensor | None = None) -> torch.Tensor:
    """As :func:`zscore` with the median and IQR / 1.349."""
    return C.robust_scale(tensor(x), clip, good)


def electrode_position(name: str) -> tuple[float, float, float] | None:
    """(x right, y front, z up) in mm on a 95 mm sphere of a 10-05 electrode, or None for an unknown name."""
    position = C.electrode_position(name)
    return None if position is None else (position[0], position[1], position[2])


def standard_name(name: str) -> str | None:
    """The 10-05 spelling of a channel's label ("EEG FP1-REF" is "Fp1"), or None."""
    return C.standard_name(name)
