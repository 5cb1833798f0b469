"""Prediction of arrays that are larger than what a network takes at once, by overlapping windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch

from sslmed._checks import choice, number, whole
from sslmed._core import C
from sslmed.nn import Mirror

__all__ = ["sliding_window"]

Mode = Literal["gaussian", "constant"]
Convention = Literal["monai", "nnunet"]
Predictor = Callable[[torch.Tensor], torch.Tensor]


def sliding_window(
    image: torch.Tensor,
    predictor: Predictor | Mirror,
    roi: int | Sequence[int],
    overlap: float | Sequence[float] = 0.25,
    mode: Mode = "gaussian",
    convention: Convention = "monai",
    *,
    batch_size: int = 1,
    flips: Sequence[int] = (),
    argmax: bool = False,
    fill: float = 0.0,
) -> torch.Tensor:
    """Predicts an image by overlapping windows, whose predictions are averaged with weights.

    With ``argmax=True`` the rows of the first axis are finished one after the other, and no more than the rows of one window are held for all classes: the
    first axis should be the longest one where memory is short.

    Args:
        image: [C, spatial…] of one to three axes. An image that is smaller than a window is padded on both sides, and the prediction cropped.
        predictor: Network that gives [n, K, roi…] for windows [n, C, roi…]: any function of a tensor, or a :class:`sslmed.nn.Segmenter`, which is called
            without the interpreter. It is called without gradients; ``eval()`` is the caller's.
        roi: Cells of a window along all axes or each; 0: the whole axis.
        overlap: Share of a window that the next one covers, within [0, 1), along all axes or each.
        mode: Weights of a window's cells: "gaussian", which counts the edges less, or "constant".
        convention: Where windows lie, and what the Gaussian is. "monai": steps of int(roi · (1 - overlap)), the last window moved back to the border; σ is
            roi / 8 around the middle, and no weight is below 0.001. "nnunet": windows are spread evenly, at least roi · overlap wide in common; σ is roi / 8
            around the cell roi // 2, and weights have half precision. nnU-Net itself takes overlap=0.5.
        batch_size: Windows that the predictor is given at once.
        flips: Spatial axes, from 0. The predictions of all flips along them are averaged (test-time augmentation, 2^n calls).
        argmax: Return the class of each cell instead of the averaged predictions.
        fill: Value of what is padded.

    Returns:
        [K, spatial…] float32 (float64 of a float64 prediction); with ``argmax`` [spatial…] uint8, or int32 of more than 256 classes.

    Raises:
        TypeError: ``image`` is no tensor, or ``predictor`` cannot be called.
        ValueError: An option is out of range, or the predictor gives another shape.

    Examples:
        >>> import torch, sslmed as sm
        >>> image = torch.arange(12.0).reshape(1, 3, 4)
        >>> double = sm.inference.sliding_window(image, lambda windows: 2 * windows, roi=2)
        >>> torch.allclose(double, 2 * image)
        True
    """
    if not isinstance(image, torch.Tensor):
        raise TypeError(f"sliding_window: image must be a tensor, got {type(image).__name__}")
    if not callable(predictor):
        raise TypeError(f"sliding_window: predictor={predictor!r} must be a function or a module, got {type(predictor).__name__}")
    choice("sliding_window", "mode", mode, get_args(Mode))
    choice("sliding_window", "convention", convention, get_args(Convention))
    whole("sliding_window", "batch_size", batch_size, 1)
    number("sliding_window", "fill", fill, -float("inf"), float("inf"))
    options = C.SlidingWindowOptions(
        roi=[int(roi)] if isinstance(roi, int) else [int(cells) for cells in roi],
        overlap=[float(overlap)] if isinstance(overlap, int | float) else [float(share) for share in overlap],
        mode=mode,
        convention=convention,
        batch=batch_size,
        flips=[int(axis) for axis in flips],
        fill=float(fill),
        argmax=argmax,
    )
    handle: Any = getattr(predictor, "_handle", None)
    native = isinstance(handle, C.Segmenter | C.Segment)
    out: torch.Tensor = C.sliding_window(image, handle if native else predictor, options)
    return out
