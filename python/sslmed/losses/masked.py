"""Losses, computed by C++ and CUDA kernels with their own gradients."""

import torch

from sslmed import _core as _core

__all__ = ["ijepa", "masked_mse"]


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


def ijepa(pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Smooth L1 (beta 1), the loss of I-JEPA (Assran et al., arXiv 2301.08243). The target is taken as given: normalise it before.

    Args:
        pred: Any shape, floating point.
        target: Of pred's shape.

    Returns:
        Scalar: the mean. Half precision is accumulated, and returned, in float32.

    Raises:
        ValueError: Shapes do not match, or are empty.
        TypeError: pred or target is not floating point.
    """
    if not (pred.is_floating_point() and target.is_floating_point()):
        raise TypeError(f"pred and target must be floating point, got {pred.dtype} and {target.dtype}")
    if pred.shape != target.shape or pred.numel() == 0:
        raise ValueError(f"pred and target must have one shape and hold something, got {list(pred.shape)} and {list(target.shape)}")
    if pred.dtype in (torch.float16, torch.bfloat16):
        pred, target = pred.float(), target.float()
    return torch.nn.functional.smooth_l1_loss(pred, target)
