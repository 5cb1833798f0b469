"""What encoders give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

__all__ = ["Features"]


class Features(NamedTuple):
    """What an encoder makes of a view."""

    tokens: torch.Tensor
    """[Σ(prefix + N), D] features of every token, in each sequence class token and registers (if there are any) first; of a convolutional encoder the cells
    of its last map, row-major."""
    pooled: torch.Tensor
    """[B, D] mean over each sequence's patch tokens."""
    lengths: list[int]
    """Number of tokens of each sequence, class token and registers included."""
    pyramid: Sequence[torch.Tensor] = ()
    """[B, D_i, spatial…] maps from fine to coarse, of encoders that have any."""
