"""BYOL: options and objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sslmed._core import C
from sslmed.encoders import CohortEncoder
from sslmed.methods.base import at_least_one, register
from sslmed.methods.joint_embedding import JointEmbedding, views_of

__all__ = ["Byol"]


@register
@dataclass(frozen=True)
class Byol:
    """Options of BYOL (Grill et al., arXiv 2006.07733), which predicts what an averaged twin makes of another view, without negatives.

    Examples:
        >>> import sslmed as sm
        >>> method = sm.methods.Byol(hidden=512, out_dim=128)
    """

    name: ClassVar[str] = "byol"
    class_token: ClassVar[bool] = True
    weight_decay: ClassVar[tuple[float, float]] = (1e-6, 1e-6)

    hidden: int = 4096
    """Width of the hidden layers of projector and predictor."""
    out_dim: int = 256
    """Width of what is predicted."""
    momentum: float = 0.99
    """Momentum of the twin at the start of a run; it rises to 1 by half a cosine."""
    views: Any = None
    """Views of each sample; by default two with the modality's changes."""

    def __post_init__(self) -> None:
        at_least_one(self, "hidden", "out_dim")

    def objective(self, encoder: CohortEncoder, seed: int) -> JointEmbedding:
        """Encoder, heads and the averaged twin."""
        options = C.ByolOptions(hidden=self.hidden, out=self.out_dim, momentum=self.momentum, seed=seed)
        recipe = views_of(encoder, "byol", self.views)
        return JointEmbedding(encoder, self, lambda handle, twin, how: C.Byol(handle, twin, options, how), recipe, twin=True)
