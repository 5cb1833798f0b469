"""Jigsaw puzzles: options and objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sslmed._core import C
from sslmed.encoders import CohortEncoder
from sslmed.methods.base import register
from sslmed.methods.pretext import Pretext, numbers_of, rank_of

__all__ = ["Jigsaw"]


@register
@dataclass(frozen=True)
class Jigsaw:
    """Options of jigsaw puzzles (Noroozi and Favaro, arXiv 1603.09246; in 3-D Taleb et al., arXiv 2006.03829).

    Tiles of a sample are shuffled by one of a few orders, and the encoder says by which. The orders are chosen one
    after the other, each with the largest mean Hamming distance to those before. Tiles come from places that are drawn
    within their cells, in validation too, so that their edges do not tell what is next to what. Signals are cut into
    segments, volumes into boxes.

    Examples:
        >>> import sslmed as sm
        >>> method = sm.methods.Jigsaw(grid=2, permutations=24)
    """

    name: ClassVar[str] = "jigsaw"
    class_token: ClassVar[bool] = True
    weight_decay: ClassVar[tuple[float, float]] = (1e-4, 1e-4)

    grid: int | tuple[int, ...] | None = None
    """Number of tiles along each axis, one number or one for each axis; by default 3, and 5 segments of signals."""
    permutations: int = 100
    """Number of orders, which are the classes. At most as many as the tiles have orders; of more than 50,000 orders as
    many are drawn."""
    gap: float = 0.15
    """Share of a cell's length that its tile leaves free."""
    norm_tiles: bool = True
    """Normalize each channel of each tile by its own mean and standard deviation, so that brightness does not tell the
    order."""
    tile_dim: int = 64
    """Width of what the head sees of each tile."""
    hidden: int = 256
    """Width of the head's hidden layer."""
    augmentation: Any = None
    """Random changes of samples; by default those of the preprocessing's modality."""

    def objective(self, encoder: CohortEncoder, seed: int) -> Pretext:
        """Encoder and head."""
        rank = rank_of(encoder)
        default = 5 if rank == 1 else 3
        options = C.JigsawOptions(
            grid=numbers_of(self.name, "grid", default if self.grid is None else self.grid),
            permutations=self.permutations,
            gap=self.gap,
            norm_tiles=self.norm_tiles,
            tile_dim=self.tile_dim,
            hidden=self.hidden,
            seed=seed,
        )
        return Pretext(encoder, self, lambda handle, recipe: C.Jigsaw(handle, rank, options, recipe))
