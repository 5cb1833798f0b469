"""Reconstruction of a sequence from the other ones: options and objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from sslmed._core import C
from sslmed.encoders import CohortEncoder
from sslmed.methods.base import register
from sslmed.methods.pretext import Reconstruction, scores_all

__all__ = ["CrossSequence"]


@register
@dataclass(frozen=True)
class CrossSequence:
    """Options of the reconstruction of whole sequences: channels of a sample are hidden, and restored from the other
    ones.

    It is for volumes whose sequences (T1, T2, FLAIR …) are the channels of a dense view, aligned with each other. It
    takes the idea of a reconstruction across sequences from the winner of FOMO25, without its subject and modality
    latents.

    Examples:
        >>> import sslmed as sm
        >>> method = sm.methods.CrossSequence(hidden=1, loss="l1")
    """

    name: ClassVar[str] = "cross_sequence"
    class_token: ClassVar[bool] = False
    weight_decay: ClassVar[tuple[float, float]] = (1e-4, 1e-4)

    hidden: int = 1
    """Number of channels of each sample that are hidden."""
    fill: Literal["zeros", "mean", "noise"] = "zeros"
    """What stands in a hidden channel: "zeros", its "mean", or normal "noise" of its mean and standard deviation."""
    loss: Literal["l1", "mse"] = "l1"
    """Mean absolute ("l1") or square ("mse") difference."""
    score: Literal["hidden", "all"] = "hidden"
    """Which values the loss is the mean over."""
    skips: bool = True
    """Give all maps of the encoder to the decoder, as a U-Net does."""
    augmentation: Any = None
    """Random changes of samples; by default those of the preprocessing's modality."""

    def objective(self, encoder: CohortEncoder, seed: int) -> Reconstruction:
        """Encoder and decoder."""
        options = C.CrossSequenceOptions(
            hidden=self.hidden,
            fill=self.fill,
            distance=self.loss,
            scored_all=scores_all(self.name, self.score),
            skips=self.skips,
            seed=seed,
        )
        return Reconstruction(encoder, self, lambda handle, recipe: C.CrossSequence(handle, options, recipe))
