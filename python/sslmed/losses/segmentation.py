"""Losses over label maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sslmed._core import C

__all__ = ["dice_ce"]


def dice_ce(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    include_background: bool = True,
    squared: bool = False,
    batch: bool = False,
    smooth_nr: float = 1e-5,
    smooth_dr: float = 1e-5,
    dice_weight: float = 1.0,
    ce_weight: float = 1.0,
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
    ignore: int = -1,
) -> torch.Tensor:
    """Dice loss (Milletari et al., arXiv 1606.04797) plus cross-entropy, as MONAI's ``DiceCELoss`` with softmax has them.

    Args:
        logits: [B, K, spatial…] of one to three axes, floating point; K is at least 2.
        labels: [B, spatial…] whole numbers from 0 to K - 1, or ``ignore``.
        include_background: Count class 0 in the Dice loss.
        squared: Square the probabilities in the denominator of Dice.
        batch: One Dice of all samples together, instead of the mean over samples.
        smooth_nr: Constant added to the numerator of Dice.
        smooth_dr: Constant added to the denominator of Dice; positive.
        dice_weight: Factor of the Dice loss.
        ce_weight: Factor of the cross-entropy, a mean over all labeled cells.
        label_smoothing: Share of a label that the cross-entropy spreads over all classes, within [0, 1).
        class_weights: Weight of each class in both losses; None: all alike.
        ignore: Label whose cells count in neither loss.

    Returns:
        Scalar. Half precision is computed, and returned, in float32.

    Raises:
        ValueError: Shapes do not match, a label is out of range, or an option is.

    Examples:
        >>> import torch
        >>> from sslmed import losses
        >>> labels = torch.tensor([[[0, 1], [1, 0]]])
        >>> logits = 50.0 * torch.nn.functional.one_hot(labels, 2).movedim(-1, 1).float()
        >>> round(losses.dice_ce(logits, labels).item(), 4)
        0.0
    """
    options = C.DiceCeOptions(
        include_background=include_background,
        squared=squared,
        batch=batch,
        smooth_nr=smooth_nr,
        smooth_dr=smooth_dr,
        dice_weight=dice_weight,
        ce_weight=ce_weight,
        label_smoothing=label_smoothing,
        class_weights=[float(weight) for weight in class_weights or ()],
        ignore=ignore,
    )
    out: torch.Tensor = C.dice_ce(logits, labels, options)
    return out
