"""Prediction of turns: options and objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sslmed._core import C
from sslmed.encoders import CohortEncoder
from sslmed.methods.base import register
from sslmed.methods.pretext import Pretext, rank_of

__all__ = ["Rotation"]


@register
@dataclass(frozen=True)
class Rotation:
    """Options of the prediction of turns (RotNet: Gidaris et al., arXiv 1803.07728; in 3-D Taleb et al., arXiv
    2006.03829).

    A sample is turned, and the encoder says how. Classes of pictures: no to three quarter turns (4). Of volumes: as it
    is, then one to three quarter turns about each axis (10). Of signals: as it is, or reversed in time (2). Views with
    unequal sides are cut to the middle with equal ones.

    Examples:
        >>> import sslmed as sm
        >>> method = sm.methods.Rotation(all_turns=True)
    """

    name: ClassVar[str] = "rotation"
    class_token: ClassVar[bool] = True
    weight_decay: ClassVar[tuple[float, float]] = (1e-4, 1e-4)

    all_turns: bool = False
    """Show each sample in all turns at every step, as the paper does, instead of in one that is drawn."""
    augmentation: Any = None
    """Random changes of samples; by default those of the preprocessing's modality."""

    def objective(self, encoder: CohortEncoder, seed: int) -> Pretext:
        """Encoder and head."""
        options = C.RotationOptions(all_turns=self.all_turns, seed=seed)
        rank = rank_of(encoder)
        return Pretext(encoder, self, lambda handle, recipe: C.Rotation(handle, rank, options, recipe))
