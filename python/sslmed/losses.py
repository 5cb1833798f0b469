"""Losses, computed by C++ and CUDA kernels with their own gradients."""

import torch

from sslmed import _core as _core

__all__ = ["masked_mse"]


def masked_mse(pred: torch.Tensor, target: torch.Tensor, mask: torch.Tensor, norm: bool = True) -> torch.Tensor:
    """Mean squared error over masked patches, the loss of masked auto-encoders (He et al., arXiv 2111.06377).

    Args:
        pred: [B, N, P], floating point.
        target: [B, N, P], of pred's dtype.
        mask: [B, N], 1 where a patch counts.
        norm: Normalise each target patch first: (x - mean) / sqrt(var + 1e-6), unbiased variance.

    Returns:
        Scalar: the mean over counted patches of their mean squared error. Half precision is accumulated, and returned,
        in float32.

    Raises:
        ValueError: Shapes do not match, the mask is empty, or P < 2 with ``norm``.
        TypeError: pred and target are not floating point of one dtype.
    """
    loss: torch.Tensor = torch.ops.sslmed.masked_mse(pred, target, mask, norm)
    return loss
