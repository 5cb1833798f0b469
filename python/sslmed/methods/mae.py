"""Masked auto-encoders: options and objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from sslmed._core import C
from sslmed.encoders import CohortEncoder
from sslmed.methods.base import needs_encoder, recipe_for, register
from sslmed.nn import Mirror, VisionTransformer

__all__ = ["Mae", "MaskedAutoencoder"]


@register
@dataclass(frozen=True)
class Mae:
    """Options of the masked auto-encoder (He et al., arXiv 2111.06377).

    Examples:
        >>> import sslmed as sm
        >>> method = sm.methods.Mae(mask="time", ratio=0.6, reconstruct="spectrum", reconstruct_bins=3)
    """

    name: ClassVar[str] = "mae"
    class_token: ClassVar[bool] = True
    weight_decay: ClassVar[tuple[float, float]] = (0.05, 0.05)

    mask: Literal["random", "bernoulli", "time", "channel", "space"] = "random"
    """"random" (an exact number of tokens), "bernoulli" (each token by itself), whole blocks in "time" or over "channel", or regions of the head over
    ``block`` steps ("space")."""
    ratio: float | None = None
    """Share of tokens that are masked; by default the modality's."""
    block: int = 2
    """Number of steps or channels that are masked together."""
    radius: float = 30.0
    """Distance in mm that a region reaches from its center ("space")."""
    complementary: bool = False
    """Use each sample twice a step: the second view shows what the first one hides."""
    reconstruct: Literal["signal", "spectrum"] = "signal"
    """What the decoder restores of a masked patch: the "signal" (the paper's MAE), or its log power "spectrum"."""
    reconstruct_bins: int = 1
    """Number of neighboring coefficients of the spectrum that are averaged to one band, against the noise of single ones."""
    augmentation: Any = None
    """Random changes of samples; by default those of the preprocessing's modality."""
    norm_target: bool | None = None
    """Normalize what is restored by its own mean and variance; by default for "signal" only."""
    decoder_dim: int | None = None
    """Width of the decoder; by default half of the encoder's."""
    decoder_depth: int = 2
    """Number of blocks of the decoder."""
    decoder_heads: int | None = None
    """Number of attention heads of the decoder; by default one for 32 of its width."""

    def objective(self, encoder: CohortEncoder, seed: int) -> MaskedAutoencoder:
        """Encoder and decoder."""
        return MaskedAutoencoder(needs_encoder(encoder, self.name), self, seed=seed)


class MaskedAutoencoder(Mirror):
    """MAE (He et al., arXiv 2111.06377): an encoder that sees the visible patches, and a decoder that restores the masked ones.

    Args:
        encoder: Encoder whose weights are shared, not copied.
        options: Options of the method.
        seed: Seed of the decoder's initial weights.

    Raises:
        ValueError: An option is out of range.
    """

    def __init__(self, encoder: VisionTransformer, options: Mae | None = None, *, seed: int = 0) -> None:
        chosen = options or Mae()
        width = chosen.decoder_dim or max(64, encoder.dim // 2)
        heads = chosen.decoder_heads or max(1, width // 32)
        norm = chosen.reconstruct == "signal" if chosen.norm_target is None else chosen.norm_target
        recipe = recipe_for(
            encoder,
            mask=chosen.mask,
            ratio=chosen.ratio,
            block=chosen.block,
            radius=chosen.radius,
            complementary=chosen.complementary,
            augmentation=chosen.augmentation,
        )

        def build_on(handle: Any) -> Any:
            options = C.MaeOptions(
                decoder_dim=width,
                decoder_depth=chosen.decoder_depth,
                decoder_heads=heads,
                reconstruct=chosen.reconstruct,
                reconstruct_bins=chosen.reconstruct_bins,
                norm_target=norm,
                seed=seed,
            )
            return C.Mae(handle, options, recipe)

        super().__init__(lambda: build_on(encoder._build()), lambda: build_on(encoder._handle))
        self.preprocessing = getattr(encoder, "preprocessing", None)
        self.options = chosen

    def forward(self, dense: torch.Tensor, visible: torch.Tensor, masked: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Loss, predictions of the masked patches [ΣM, P] and encoder tokens [Σ(1+K), D] for dense [B, C, spatial…].

        Args:
            dense: Inputs of one size.
            visible: [B, K] int64 numbers of the patches that are visible to the encoder.
            masked: [B, M] int64 numbers of the other patches.
        """
        out: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = self._handle.forward_dense(dense, visible, masked)
        return out

    def forward_tokens(
        self,
        values: torch.Tensor,
        lengths: Sequence[int],
        visible: torch.Tensor,
        masked: torch.Tensor,
        visible_lengths: Sequence[int],
        coords: torch.Tensor | None = None,
        extra: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """As :meth:`forward` on packed tokens; visible and masked are rows of ``values``."""
        out: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = self._handle.forward_tokens(
            values, list(lengths), visible, masked, list(visible_lengths), coords, extra
        )
        return out
