"""Features of the tiles of a slide, with their places."""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["SlideFeatures"]


@dataclass(frozen=True)
class SlideFeatures:
    """Features of the tiles of one slide, and where the tiles are."""

    features: torch.Tensor
    """[N, D] float16 or float32."""
    coords: torch.Tensor
    """[N, 2] int64: x, y of each tile's top left corner, in pixels of level 0."""
    mpp: float
    """µm of a pixel of level 0."""
    tile: float
    """Side of a tile in pixels of level 0."""
    step: float
    """Pixels of level 0 from one tile to the next: the side, without the overlap."""
    encoder: str = ""
    """Digest or name of the encoder that made them."""
    size: tuple[int, int] | None = None
    """Width and height of level 0, if they are known."""

    def __len__(self) -> int:
        return len(self.features)

    @property
    def mm(self) -> torch.Tensor:
        """[N, 2] float64 x, y of the tiles' middles in mm from the slide's top left corner."""
        return (self.coords.double() + self.tile / 2) * (self.mpp / 1000)
