"""Prediction of turns: options and objective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
    """Random changes of samples, which must not turn them; by default those of the preprocessing's modality without
    turns."""

    def objective(self, encoder: CohortEncoder, seed: int) -> Pretext:
        """Encoder and head.

        Raises:
            ValueError: The augmentation turns samples, so that nobody can tell how they were turned after it.
        """
        if self.augmentation is not None:
            _check_upright(self.augmentation)
        shown = replace(self, augmentation=_upright(encoder) if self.augmentation is None else self.augmentation)
        options = C.RotationOptions(all_turns=self.all_turns, seed=seed)
        rank = rank_of(encoder)
        return Pretext(encoder, shown, lambda handle, recipe: C.Rotation(handle, rank, options, recipe))


def _upright(encoder: CohortEncoder) -> Any:
    """Changes of the encoder's modality, or of each of its modalities, without turns; None where it has none."""

    def without_turns(how: Any) -> Any:
        if isinstance(how, Mapping):
            return {name: without_turns(own) for name, own in how.items()}
        return replace(how, p_turn=0.0) if getattr(how, "p_turn", 0) else how

    return without_turns(getattr(getattr(encoder, "preprocessing", None), "augmentation", None))


def _check_upright(how: Any) -> None:
    for own in how.values() if isinstance(how, Mapping) else [how]:
        if turned := getattr(own, "p_turn", 0):
            raise ValueError(f"rotation: augmentation has p_turn={turned!r}, after which no turn can be told; set it to 0")
        flips = getattr(own, "p_flip", 0)
        if isinstance(flips, tuple) and sum(p > 0 for p in flips) > 1:
            raise ValueError(f"rotation: augmentation has p_flip={flips!r}, but flips of two axes are half a turn; flip one at most")
