"""A small convolutional network over dense inputs of any rank."""

from __future__ import annotations

import torch

from sslmed._core import C
from sslmed.nn.features import Features
from sslmed.nn.mirror import Mirror

__all__ = ["ConvNet"]


class ConvNet(Mirror):
    """Stages of a convolution of 3 cells along each axis with stride 2, batch normalization over all ranks, and ReLU.

    Args:
        rank: Number of spatial axes, 1 to 3.
        in_chans: Number of input channels.
        widths: Number of channels of each stage; every stage halves the map.
        seed: Seed of the initial weights.

    Raises:
        ValueError: A number is out of range.

    Examples:
        >>> import torch
        >>> from sslmed import nn
        >>> net = nn.ConvNet(3, widths=(8, 16))
        >>> [tuple(x.shape) for x in net(torch.zeros(2, 1, 12, 12, 12)).pyramid]
        [(2, 8, 6, 6, 6), (2, 16, 3, 3, 3)]
    """

    def __init__(self, rank: int, in_chans: int = 1, widths: tuple[int, ...] = (16, 32, 64), *, seed: int = 0) -> None:
        def build() -> C.DenseEncoder:
            return C.create_dense("convnet", rank=rank, in_chans=in_chans, seed=seed, options={"widths": list(widths)})

        super().__init__(build)
        self.rank, self.in_chans, self.widths, self.seed = rank, in_chans, tuple(widths), seed

    @property
    def dim(self) -> int:
        """Width D of the features."""
        return int(self._handle.dim)

    def forward(self, dense: torch.Tensor) -> Features:
        """Features of dense inputs [B, C, spatial…]; ``pyramid`` has the map of each stage."""
        return Features(*self._handle.forward_dense(dense))
