"""Inpainting: options and objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from sslmed._core import C
from sslmed.encoders import CohortEncoder
from sslmed.methods.base import register
from sslmed.methods.pretext import Reconstruction, bounds_of, scores_all

__all__ = ["Inpainting"]


@register
@dataclass(frozen=True)
class Inpainting:
    """Options of inpainting (context encoders: Pathak et al., arXiv 1604.07379; Models Genesis: Zhou et al., arXiv
    1908.06912).

    Boxes are hidden in the input and restored; with ``p_outer`` all but the boxes. ``Inpainting(p_outer=0.8,
    skips=True, score="all")`` is the painting of Models Genesis. Boxes of signals are segments of time, in all channels
    alike.

    Examples:
        >>> import sslmed as sm
        >>> method = sm.methods.Inpainting(boxes=3, size=(0.2, 0.4), fill="mean")
    """

    name: ClassVar[str] = "inpainting"
    class_token: ClassVar[bool] = False
    weight_decay: ClassVar[tuple[float, float]] = (1e-4, 1e-4)

    boxes: int = 5
    """Number of boxes of each sample. They may overlap."""
    size: tuple[float, float] = (1 / 6, 1 / 3)
    """Bounds of a box's share of each axis."""
    p_outer: float = 0.0
    """Probability that all but the boxes is hidden."""
    outer_size: tuple[float, float] = (3 / 7, 4 / 7)
    """Bounds of a box's share of each axis where all but the boxes is hidden."""
    fill: Literal["noise", "mean", "zeros"] = "noise"
    """What stands in hidden cells: normal "noise" of the mean and standard deviation of the sample's channel, that
    "mean", or "zeros"."""
    loss: Literal["mse", "l1"] = "mse"
    """Mean square ("mse") or absolute ("l1") difference."""
    score: Literal["hidden", "all"] = "hidden"
    """Which values the loss is the mean over."""
    skips: bool = False
    """Give all maps of the encoder to the decoder, as a U-Net does."""
    augmentation: Any = None
    """Random changes of samples; by default those of the preprocessing's modality."""

    def objective(self, encoder: CohortEncoder, seed: int) -> Reconstruction:
        """Encoder and decoder."""
        options = C.InpaintingOptions(
            boxes=self.boxes,
            size=bounds_of(self.name, "size", self.size),
            p_outer=self.p_outer,
            outer_size=bounds_of(self.name, "outer_size", self.outer_size),
            fill=self.fill,
            distance=self.loss,
            scored_all=scores_all(self.name, self.score),
            skips=self.skips,
            seed=seed,
        )
        return Reconstruction(encoder, self, lambda handle, recipe: C.Inpainting(handle, options, recipe))
