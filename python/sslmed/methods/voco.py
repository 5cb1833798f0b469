"""VoCo: options and objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sslmed._core import C
from sslmed.encoders import CohortEncoder
from sslmed.methods.base import at_least_one, register
from sslmed.methods.pretext import Pretext, numbers_of, rank_of

__all__ = ["VoCo"]


@register
@dataclass(frozen=True)
class VoCo:
    """Options of VoCo (Wu et al., arXiv 2402.17300): the similarity of a crop from anywhere to each crop on a grid is
    their overlap.

    With p = relu(cos) of two crops and the share y of cells that they have in common, the loss is the mean of -log(1 -
    |y - p|) weighted by y, plus the mean of p² over crops without overlap, plus ``regularization`` times the mean of p²
    between crops on the grid. It is for volumes, whose anatomy is in the same place in everybody, and runs on pictures
    and signals too.

    Examples:
        >>> import sslmed as sm
        >>> method = sm.methods.VoCo(grid=(1, 4, 4), crops=2)
    """

    name: ClassVar[str] = "voco"
    class_token: ClassVar[bool] = True
    weight_decay: ClassVar[tuple[float, float]] = (1e-4, 1e-4)

    grid: int | tuple[int, ...] = 3
    """Number of base crops along each axis, one number or one for each axis."""
    crops: int = 4
    """Number of crops that are drawn of each sample at each step."""
    hidden: int | None = None
    """Width of the projector's hidden layer; by default the encoder's."""
    out_dim: int = 128
    """Width of what is compared."""
    regularization: float = 1.0
    """Weight of the term that keeps base crops apart."""
    stop_bases: bool = True
    """Learn the overlaps by the drawn crops alone, without gradient through the base crops."""
    augmentation: Any = None
    """Random changes of samples; by default those of the preprocessing's modality."""

    def __post_init__(self) -> None:
        at_least_one(self, "hidden", "out_dim")

    def objective(self, encoder: CohortEncoder, seed: int) -> Pretext:
        """Encoder and projector."""
        options = C.VoCoOptions(
            grid=numbers_of(self.name, "grid", self.grid),
            crops=self.crops,
            hidden=self.hidden or 0,
            out=self.out_dim,
            regularization=self.regularization,
            stop_bases=self.stop_bases,
            seed=seed,
        )
        rank = rank_of(encoder)
        return Pretext(encoder, self, lambda handle, recipe: C.VoCo(handle, rank, options, recipe))
