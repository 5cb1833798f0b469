"""Gradients and steps of many linear heads at once, without a graph: each column of the weights belongs to one head."""

from __future__ import annotations

import torch

__all__ = ["Adam", "Momentum", "loss_of"]


def loss_of(
    answers: torch.Tensor,
    target: torch.Tensor,
    heads: int,
    classes: int | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of each head, and its gradient by the answers.

    Args:
        answers: [n, heads · K] logits, or predicted values.
        target: [n] numbers of classes, or values.
        heads: Number of heads.
        classes: Number of classes: mean cross-entropy; None: mean squared error.

    Returns:
        [heads] and [n, heads · K].
    """
    n = len(answers)
    if classes is None:
        error = answers - target.to(answers.dtype)[:, None]
        return (error**2).mean(0), 2 * error / n
    logits = answers.view(n, heads, classes)
    log_share = logits.log_softmax(2)
    index = target.to(torch.int64)
    slope = log_share.exp()
    slope[torch.arange(n), :, index] -= 1
    losses = -log_share[torch.arange(n), :, index].mean(0)
    return losses, slope.reshape(n, -1) / n


class Momentum:
    """SGD with momentum .9, as ``torch.optim.SGD``; the learning rate is one a column."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self._values = (weight, bias)
        self._moving = tuple(torch.zeros_like(value) for value in self._values)

    def step(self, weight: torch.Tensor, bias: torch.Tensor, rate: torch.Tensor) -> None:
        """Changes weights [D, columns] and bias [columns] by their gradients, in place."""
        for value, moving, slope in zip(self._values, self._moving, (weight, bias), strict=True):
            moving.mul_(0.9).add_(slope)
            value.sub_(moving * rate)


class Adam:
    """Adam without weight decay, as ``torch.optim.AdamW(weight_decay=0)``; the learning rate is one a column."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self._values = (weight, bias)
        self._first = tuple(torch.zeros_like(value) for value in self._values)
        self._second = tuple(torch.zeros_like(value) for value in self._values)
        self._count = 0

    def step(self, weight: torch.Tensor, bias: torch.Tensor, rate: torch.Tensor) -> None:
        """Changes weights [D, columns] and bias [columns] by their gradients, in place."""
        self._count += 1
        left = (1 - 0.9**self._count, 1 - 0.999**self._count)
        for value, first, second, slope in zip(self._values, self._first, self._second, (weight, bias), strict=True):
            first.mul_(0.9).add_(slope, alpha=0.1)
            second.mul_(0.999).addcmul_(slope, slope, value=0.001)
            value.sub_(rate * (first / left[0]) / ((second / left[1]).sqrt() + 1e-8))
