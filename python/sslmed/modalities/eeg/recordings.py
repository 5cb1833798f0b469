"""Recordings in memory: what arrays have to be before C++ reads them where they lie."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sslmed._core import FormatWarning

__all__ = ["recordings"]


def recordings(values: Any, sfreq: Any, ch_names: Sequence[str] | Sequence[Sequence[str]], rows: int, name: str) -> list[tuple[torch.Tensor, float, list[str]]]:
    """Signal [C, T] float32, Hz and channel names of each recording; as :meth:`sslmed.Cohort.from_arrays` takes them.

    Raises:
        ValueError: Counts do not match, or what is no number or no rate.

    Warns:
        FormatWarning: Signals so small that they are in V.
    """
    signals = [_floats(v, f"{name}: recording {i}") for i, v in enumerate(values)]
    n = len(signals)
    if rows != n:
        raise ValueError(f"{name}: {n} recordings but {rows} rows in the table")
    rates = [float(sfreq)] * n if np.ndim(sfreq) == 0 else [float(f) for f in sfreq]
    shared = not len(ch_names) or isinstance(ch_names[0], str)
    names = [[str(c) for c in ch_names]] * n if shared else [[str(c) for c in row] for row in ch_names]
    if len(rates) != n or len(names) != n:
        raise ValueError(f"{name}: sfreq and ch_names must be one for all or one a recording ({n})")
    if wrong := [rate for rate in rates if not 0 < rate < np.inf]:
        raise ValueError(f"{name}: sfreq must be positive, got {wrong[0]}")
    for i, (signal, channels) in enumerate(zip(signals, names, strict=True)):
        if signal.ndim != 2 or signal.shape[0] != len(channels):
            raise ValueError(f"{name}: recording {i} must be [channels, samples] with {len(channels)} channels, got {tuple(signal.shape)}")
    some = signals[0].flatten()[:: max(1, signals[0].numel() // 100_000)] if signals else torch.zeros(0)
    if len(some) and 0 < (typical := float(some.nan_to_num().abs().median())) < 0.01:
        warnings.warn(f"{name}: recording 0 is typically of {typical:.1e} µV; signals in V are to be multiplied by 1e6", FormatWarning, stacklevel=3)
    return list(zip(signals, rates, names, strict=True))


def _floats(values: Any, what: str) -> torch.Tensor:
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if array.dtype.kind not in "iufb":
        raise ValueError(f"{what} must be real numbers, got {array.dtype}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")  # a file mapped into memory: C++ only reads
        return torch.as_tensor(np.ascontiguousarray(array, np.float32))
