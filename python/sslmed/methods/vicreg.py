"""VICReg: options and objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sslmed._core import C
from sslmed.encoders import CohortEncoder
from sslmed.methods.base import at_least_one, register
from sslmed.methods.joint_embedding import JointEmbedding, views_of

__all__ = ["VicReg"]


@register
@dataclass(frozen=True)
class VicReg:
    """Options of VICReg (Bardes et al., arXiv 2105.04906): views agree, while features vary over samples and do not repeat each other.

    Examples:
        >>> import sslmed as sm
        >>> method = sm.methods.VicReg(hidden=512, out_dim=512)
    """

    name: ClassVar[str] = "vicreg"
    class_token: ClassVar[bool] = True
    weight_decay: ClassVar[tuple[float, float]] = (1e-6, 1e-6)
    least_batch: ClassVar[int] = 2

    invariance: float = 25.0
    """Weight of the squared distance of two views."""
    variance: float = 25.0
    """Weight of the standard deviations that are below 1."""
    covariance: float = 1.0
    """Weight of the squared covariances between features."""
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
        options = C.VicRegOptions(
            invariance=self.invariance,
            variance=self.variance,
            covariance=self.covariance,
            hidden=self.hidden,
            out=self.out_dim,
            seed=seed,
        )
        recipe = views_of(encoder, "byol", self.views)
        return JointEmbedding(encoder, self, lambda handle, how: C.VicReg(handle, options, how), recipe, twin=False)
