"""What happens to pictures of slides before an encoder sees them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from sslmed._checks import choice
from sslmed.modalities.pictures import Augmentation, PicturePreprocessing
from sslmed.modalities.views import Style

__all__ = ["SlidePreprocessing"]


@dataclass(frozen=True)
class SlidePreprocessing(PicturePreprocessing):
    """Pictures out of slides: their scale and size, and how an encoder sees them."""

    modality: ClassVar[str] = "slides"
    augmentation: ClassVar[Augmentation | None] = Augmentation()
    # Stains instead of strong hues, which would turn one stain into another.
    changes: ClassVar[Augmentation] = Augmentation(hed=0.05, brightness=0.2, contrast=0.2, saturation=0.1, hue=0.05, p_jitter=0.8, p_grayscale=0.2)

    mpp: float = 0.5
    """µm per pixel, whatever the scanner's."""
    mpp_high: float = 0.0
    """Training: µm per pixel of each picture are drawn from [mpp, mpp_high], evenly in their logarithm; 0: always ``mpp``."""
    labels: bool = False
    """Whether views carry what is drawn on the slide (column ``path_labels``: GeoJSON, ASAP or Aperio XML) as the target "labels"."""
    classes: tuple[str, ...] = ()
    """Labels of areas in the order of their values, 0 for the first one, the background. A pixel has the value of the last class in this order in whose
    area its middle is. Areas of other labels are left out. Empty in :func:`sslmed.segment`: all labels that occur, after "background"."""
    unlabeled: Literal["background", "ignore"] = "background"
    """What pixels in no area are: the "background" (0), or unknown ("ignore": -1, which counts in no loss and no score)."""

    def __post_init__(self) -> None:
        choice("SlidePreprocessing", "unlabeled", self.unlabeled, ("background", "ignore"))
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"SlidePreprocessing: classes={self.classes} must be different labels")

    def _changes(self, style: Style) -> Augmentation:
        """SimCLR's views, which have nothing but their changes to tell them apart, vary the stains strongly."""
        return replace(self.changes, hed=0.2) if style == "simclr" else self.changes

    def _solarizes(self) -> float:
        """0: an inverted stain is none that exists."""
        return 0.0
