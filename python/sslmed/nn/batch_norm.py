"""Batch normalization over the samples of all ranks."""

from __future__ import annotations

import torch

from sslmed._core import C
from sslmed.nn.mirror import Mirror

__all__ = ["BatchNorm"]


class BatchNorm(Mirror):
    """Batch normalization over the samples of all ranks, with torch's parameter and buffer names.

    Args:
        channels: Number C of channels of the inputs [B, C, spatial…].
        eps: Number added to the variance.
        momentum: Weight of a batch in the running statistics.

    Source: Ioffe and Szegedy, arXiv 1502.03167.
    """

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        def build() -> C.BatchNorm:
            return C.BatchNorm(channels, eps, momentum)

        super().__init__(build)

    def forward(self, x: torch.Tensor, comm: C.Comm | None = None) -> torch.Tensor:
        """[B, C, …] to [B, C, …].

        Args:
            x: Input; ranks may hold different numbers of samples.
            comm: Ranks (:func:`sslmed.distributed.ranks`) over whose samples statistics are taken in training; None: this process alone.

        Raises:
            ValueError: The number of channels differs, or a channel has fewer than two values in training.
        """
        out: torch.Tensor = self._handle.forward(x, comm)
        return out
