"""Which tokens an encoder sees: exact counts, ascending indices, a pure function of the seed."""

from typing import NamedTuple

import torch

from sslmed._core import C

__all__ = ["Mask", "block", "random"]


class Mask(NamedTuple):
    """Token indices of a batch of masks; together they are every token once."""

    keep: torch.Tensor
    """[B, K] int64, ascending."""
    masked: torch.Tensor
    """[B, M] int64, ascending."""


def random(n_tokens: int, ratio: float, batch: int, seed: int) -> Mask:
    """Uniformly random subsets (MAE). K = int(n_tokens * (1 - ratio)).

    Raises:
        ValueError: Nothing would be kept or masked.
    """
    return Mask(*C.random_mask(n_tokens, ratio, batch, seed))


def block(grid: tuple[int, int], ratio: float, batch: int, seed: int, axis: str = "time", block: int = 2) -> Mask:
    """Masks of whole blocks along one axis of a (channels, steps) grid, tokens in row-major order.

    Args:
        grid: (channels, steps).
        ratio: Of the tokens hidden; met exactly, the last block is hidden in part.
        batch: Number of masks.
        seed: Of the draws.
        axis: "time": all channels of ``block`` consecutive steps; "channel": all steps of ``block`` consecutive channels.
        block: Length of a block.

    Raises:
        ValueError: Nothing would be kept or masked, or an argument is out of range.
    """
    return Mask(*C.block_mask(list(grid), ratio, batch, seed, axis, block))
