"""SparK: options and objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from sslmed._core import C
from sslmed.encoders import CohortEncoder
from sslmed.methods.base import register
from sslmed.methods.pretext import Reconstruction, scores_all

__all__ = ["Spark"]


@register
@dataclass(frozen=True)
class Spark:
    """Options of SparK (Tian et al., arXiv 2301.03580): masked image modeling of convolutional networks.

    Cells of the encoder's last map are hidden. In the encoder they are as if they were not there: zero after every
    convolution and norm, and not counted by batch normalization. A decoder over all maps, with a learned vector in each
    hidden cell, restores them. The sides of views must be multiples of the encoder's stride (32 for a ResNet).

    Examples:
        >>> import sslmed as sm
        >>> method = sm.methods.Spark(ratio=0.6)
    """

    name: ClassVar[str] = "spark"
    class_token: ClassVar[bool] = False
    weight_decay: ClassVar[tuple[float, float]] = (0.04, 0.2)

    ratio: float = 0.6
    """Share of cells that is hidden; of n cells exactly int(n · (1 - ratio)) are visible."""
    norm_target: bool = True
    """Normalize each channel of each cell by its own mean and variance before it is compared."""
    score: Literal["hidden", "all"] = "hidden"
    """Which values the loss is the mean over."""
    augmentation: Any = None
    """Random changes of samples; by default those of the preprocessing's modality."""

    def objective(self, encoder: CohortEncoder, seed: int) -> Reconstruction:
        """Encoder and decoder."""
        options = C.SparkOptions(
            ratio=self.ratio,
            norm_target=self.norm_target,
            scored_all=scores_all(self.name, self.score),
            seed=seed,
        )
        return Reconstruction(encoder, self, lambda handle, recipe: C.Spark(handle, options, recipe))
