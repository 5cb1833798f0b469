"""MoCo v3: options and objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sslmed._core import C
from sslmed.encoders import CohortEncoder
from sslmed.methods.base import at_least_one, register
from sslmed.methods.joint_embedding import JointEmbedding, views_of

__all__ = ["Moco"]


@register
@dataclass(frozen=True)
class Moco:
    """Options of MoCo v3 (Chen et al., arXiv 2104.02057): a view finds what an averaged twin makes of its sample's other view.

    Examples:
        >>> import sslmed as sm
        >>> method = sm.methods.Moco(hidden=512, out_dim=128)
    """

    name: ClassVar[str] = "moco"
    class_token: ClassVar[bool] = True
    weight_decay: ClassVar[tuple[float, float]] = (0.1, 0.1)
    least_batch: ClassVar[int] = 2

    temperature: float = 0.2
    """Temperature of the softmax over similarities."""
    hidden: int = 4096
    """Width of the hidden layers of projector (three layers) and predictor (two)."""
    out_dim: int = 256
    """Width of what is compared."""
    momentum: float = 0.99
    """Momentum of the twin at the start of a run; it rises to 1 by half a cosine."""
    freeze_patches: bool = True
    """Leave the patch embedding of a transformer as it was drawn, against unstable training."""
    views: Any = None
    """Views of each sample; by default two with the modality's changes."""

    def __post_init__(self) -> None:
        at_least_one(self, "hidden", "out_dim")

    def objective(self, encoder: CohortEncoder, seed: int) -> JointEmbedding:
        """Encoder, heads and the averaged twin."""
        options = C.MocoOptions(
            temperature=self.temperature,
            hidden=self.hidden,
            out=self.out_dim,
            momentum=self.momentum,
            freeze_patches=self.freeze_patches,
            seed=seed,
        )
        recipe = views_of(encoder, "byol", self.views)
        return JointEmbedding(encoder, self, lambda handle, twin, how: C.Moco(handle, twin, options, how), recipe, twin=True)
