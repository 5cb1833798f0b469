"""Barlow Twins: options and objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sslmed._core import C
from sslmed.encoders import CohortEncoder
from sslmed.methods.base import at_least_one, register
from sslmed.methods.joint_embedding import JointEmbedding, views_of

__all__ = ["BarlowTwins"]


@register
@dataclass(frozen=True)
class BarlowTwins:
    """Options of Barlow Twins (Zbontar et al., arXiv 2103.03230): features of two views correlate one by one, and not with each other.

    Examples:
        >>> import sslmed as sm
        >>> method = sm.methods.BarlowTwins(hidden=512, out_dim=512)
    """

    name: ClassVar[str] = "barlow_twins"
    class_token: ClassVar[bool] = True
    weight_decay: ClassVar[tuple[float, float]] = (1.5e-6, 1.5e-6)
    least_batch: ClassVar[int] = 2

    off_diagonal: float = 5e-3
    """Weight of the squared correlations between different features."""
    hidden: int = 8192
    """Width of the hidden layers of the projector."""
    out_dim: int = 8192
    """Width of what is compared."""
    views: Any = None
    """Views of each sample; by default two with the modality's changes."""

    def __post_init__(self) -> None:
        at_least_one(self, "hidden", "out_dim")

    def objective(self, encoder: CohortEncoder, seed: int) -> JointEmbedding:
        """Encoder and projector."""
        options = C.BarlowTwinsOptions(off_diagonal=self.off_diagonal, hidden=self.hidden, out=self.out_dim, seed=seed)
        recipe = views_of(encoder, "byol", self.views)
        return JointEmbedding(encoder, self, lambda handle, how: C.BarlowTwins(handle, options, how), recipe, twin=False)
