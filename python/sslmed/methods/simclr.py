"""SimCLR: options and objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sslmed._core import C
from sslmed.encoders import CohortEncoder
from sslmed.methods.base import at_least_one, register
from sslmed.methods.joint_embedding import JointEmbedding, views_of

__all__ = ["SimClr"]


@register
@dataclass(frozen=True)
class SimClr:
    """Options of SimCLR (Chen et al., arXiv 2002.05709): two views of a sample attract each other, those of other samples repel.

    Examples:
        >>> import sslmed as sm
        >>> method = sm.methods.SimClr(temperature=0.2)
    """

    name: ClassVar[str] = "simclr"
    class_token: ClassVar[bool] = True
    weight_decay: ClassVar[tuple[float, float]] = (1e-4, 1e-4)
    least_batch: ClassVar[int] = 2

    temperature: float = 0.1
    """Temperature of the softmax over similarities."""
    hidden: int | None = None
    """Width of the projector's hidden layers; by default the encoder's."""
    out_dim: int = 128
    """Width of what is compared."""
    layers: int = 2
    """Number of layers of the projector."""
    views: Any = None
    """Views of each sample; by default two with the modality's changes of contrastive learning."""

    def __post_init__(self) -> None:
        at_least_one(self, "hidden", "out_dim", "layers")

    def objective(self, encoder: CohortEncoder, seed: int) -> JointEmbedding:
        """Encoder and projector."""
        options = C.SimClrOptions(temperature=self.temperature, hidden=self.hidden or 0, out=self.out_dim, layers=self.layers, seed=seed)
        recipe = views_of(encoder, "simclr", self.views)
        return JointEmbedding(encoder, self, lambda handle, how: C.SimClr(handle, options, how), recipe, twin=False)
