"""Auto-encoders: options and objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from sslmed._core import C
from sslmed.encoders import CohortEncoder
from sslmed.methods.base import register
from sslmed.methods.pretext import Reconstruction

__all__ = ["Autoencoder"]


@register
@dataclass(frozen=True)
class Autoencoder:
    """Options of the auto-encoder, and with ``noise`` of the denoising one (Vincent et al., ICML 2008): the sample is
    restored from its features.

    Examples:
        >>> import sslmed as sm
        >>> method = sm.methods.Autoencoder(noise=0.3)
    """

    name: ClassVar[str] = "autoencoder"
    class_token: ClassVar[bool] = False
    weight_decay: ClassVar[tuple[float, float]] = (1e-4, 1e-4)

    loss: Literal["mse", "l1"] = "mse"
    """Mean square ("mse") or absolute ("l1") difference."""
    noise: float = 0.0
    """Standard deviation of normal noise that is added to the input, in units of what the encoder sees."""
    skips: bool = False
    """Give all maps of the encoder to the decoder, as a U-Net does. Without noise the finest map alone restores the
    input then."""
    augmentation: Any = None
    """Random changes of samples; by default those of the preprocessing's modality."""

    def objective(self, encoder: CohortEncoder, seed: int) -> Reconstruction:
        """Encoder and decoder."""
        options = C.AutoencoderOptions(distance=self.loss, noise=self.noise, skips=self.skips, seed=seed)
        return Reconstruction(encoder, self, lambda handle, recipe: C.Autoencoder(handle, options, recipe))
