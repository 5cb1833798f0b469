"""What happens to pictures of slides before an encoder sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sslmed.modalities.pictures import Augmentation, PicturePreprocessing

__all__ = ["SlidePreprocessing"]


@dataclass(frozen=True)
class SlidePreprocessing(PicturePreprocessing):
    """Pictures out of slides: their scale and size, and how an encoder sees them."""

    modality: ClassVar[str] = "slides"
    augmentation: ClassVar[Augmentation | None] = Augmentation()

    mpp: float = 0.5
    """µm per pixel, whatever the scanner's."""
    mpp_high: float = 0.0
    """Training: µm per pixel of each picture are drawn from [mpp, mpp_high], evenly in their logarithm; 0: always ``mpp``."""
