"""SimMIM: options and objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from sslmed._checks import choice
from sslmed._core import C
from sslmed.encoders import CohortEncoder
from sslmed.methods.base import register
from sslmed.methods.pretext import Reconstruction, numbers_of, scores_all

__all__ = ["SimMim"]


@register
@dataclass(frozen=True)
class SimMim:
    """Options of SimMIM (Xie et al., arXiv 2111.09886): cells of a grid are hidden in the input and restored.

    Unlike MAE, the encoder sees the whole grid, so convolutional and hierarchical networks learn by it too.

    Examples:
        >>> import sslmed as sm
        >>> method = sm.methods.SimMim(mask_cell=32, ratio=0.6)
    """

    name: ClassVar[str] = "simmim"
    class_token: ClassVar[bool] = False
    weight_decay: ClassVar[tuple[float, float]] = (0.05, 0.05)

    ratio: float = 0.6
    """Share of cells that is hidden; of n cells exactly int(n · (1 - ratio)) are visible."""
    mask_cell: int | tuple[int, ...] | None = None
    """Side of a cell of the mask in samples, pixels or voxels, one number or one for each axis; by default what a cell
    of the encoder's last map covers."""
    fill: Literal["learned", "zeros"] = "learned"
    """What stands in hidden cells: a "learned" number for each channel, or "zeros"."""
    decoder: Literal["light", "conv"] = "light"
    """"light": a linear map of each cell of the last map to the input that it covers, as in the paper; "conv": a
    convolutional decoder."""
    skips: bool = False
    """Give all maps of the encoder to the decoder, as a U-Net does; for decoder="conv"."""
    loss: Literal["l1", "mse"] = "l1"
    """Mean absolute ("l1") or square ("mse") difference."""
    score: Literal["hidden", "all"] = "hidden"
    """Which values the loss is the mean over."""
    norm_target: bool = False
    """Normalize each channel of each cell by its own mean and variance before it is compared."""
    augmentation: Any = None
    """Random changes of samples; by default those of the preprocessing's modality."""

    def objective(self, encoder: CohortEncoder, seed: int) -> Reconstruction:
        """Encoder and decoder."""
        choice(self.name, "fill", self.fill, ("learned", "zeros"))
        choice(self.name, "decoder", self.decoder, ("light", "conv"))
        options = C.SimMimOptions(
            ratio=self.ratio,
            mask_cell=[] if self.mask_cell is None else numbers_of(self.name, "mask_cell", self.mask_cell),
            learned_fill=self.fill == "learned",
            norm_target=self.norm_target,
            distance=self.loss,
            light=self.decoder == "light",
            skips=self.skips,
            scored_all=scores_all(self.name, self.score),
            seed=seed,
        )
        return Reconstruction(encoder, self, lambda handle, recipe: C.SimMim(handle, options, recipe))
