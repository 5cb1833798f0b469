"""Which tokens an encoder sees: exact counts, ascending indices, a pure function of the seed."""

from typing import Literal, NamedTuple

import torch

from sslmed._core import C

__all__ = ["Mask", "Multiblock", "block", "multiblock", "random"]


class Mask(NamedTuple):
    """Token indices of a batch of masks; together they are every token once."""

    visible: torch.Tensor
    """[B, K] int64, ascending."""
    masked: torch.Tensor
    """[B, M] int64, ascending."""


class Multiblock(NamedTuple):
    """Cell numbers of a batch of multi-block masks, row-major in (H, W)."""

    context: torch.Tensor
    """[B, K] int64: what the context encoder sees; no cell of any target."""
    targets: torch.Tensor
    """[B, 4, M] int64: blocks to predict; they may overlap each other."""


def random(n_tokens: int, ratio: float, batch: int, seed: int) -> Mask:
    """Uniformly random subsets (MAE). K = int(n_tokens * (1 - ratio)).

    Raises:
        ValueError: No token would be visible, or none masked.
    """
    return Mask(*C.random_mask(n_tokens, ratio, batch, seed))


def block(grid: tuple[int, int], ratio: float, batch: int, seed: int, axis: Literal["time", "channel"] = "time", block: int = 2) -> Mask:
    """Masks of whole blocks along one axis of a (channels, steps) grid, tokens in row-major order.

    Args:
        grid: (channels, steps).
        ratio: Share of the tokens that are hidden; met exactly, the last block is hidden in part.
        batch: Number of masks.
        seed: Seed of the draws.
        axis: "time": all channels of ``block`` consecutive steps; "channel": all steps of ``block`` consecutive channels.
        block: Length of a block.

    Raises:
        ValueError: No token would be visible, or none masked, or an argument is out of range.
    """
    return Mask(*C.block_mask(list(grid), ratio, batch, seed, axis, block))


def multiblock(grid: tuple[int, int], batch: int, seed: int, mode: Literal["exact", "unbiased"] = "exact") -> Multiblock:
    """I-JEPA's masks (Assran et al., arXiv 2301.08243): four target blocks, and a large context block without them.

    Targets have .15 to .2 of the area and an aspect of .75 to 1.5, both from one random number, once a batch; contexts .85 to 1.
    More than ten cells of context are left (on grids below 80 cells: more than an eighth).

    Args:
        grid: (H, W).
        batch: Number of masks.
        seed: Seed of the draws.
        mode: "exact" is the published distribution: no block ever holds a cell of the last row or column, and every context is cut
            to the smallest of the batch at its end, so that it depends on the batch size. "unbiased" places blocks everywhere, and
            leaves out random cells instead.

    Raises:
        ValueError: An unknown mode, or a grid too small for the blocks.
    """
    return Multiblock(*C.multiblock_mask(list(grid), batch, seed, mode))
