"""What slides and images share: augmentation, views, and how pictures are cut into patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sslmed._core import C
from sslmed.modalities.base import Mask

__all__ = ["Augmentation", "PicturePreprocessing", "View"]


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a picture, in this order.

    Examples:
        >>> import sslmed as sm
        >>> simclr = sm.Augmentation(scale=(0.2, 1.0), brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, p_jitter=0.8, p_grayscale=0.2)
    """

    scale: tuple[float, float] = (1.0, 1.0)
    """Area of the random resized crop, as a share of the picture's. With (1, 1) pixels keep their size, and only the crop's place is random."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Aspect ratio of resized crops, width by height."""
    p_flip: float = 0.5
    """Probability of a flip left to right, and of one top to bottom; 0.5 or 0."""
    p_turn: float = 0.75
    """Probability of a turn by one, two or three quarters; 0.75 or 0."""
    macenko: float = 0.0
    """Strength: densities of the picture's own two stains times 1 ± macenko, plus 0 ± macenko / 2, on tissue (Macenko's separation; usual: 0.4)."""
    hed: float = 0.0
    """Strength: densities of hematoxylin, eosin and DAB times 1 ± hed, plus 0 ± hed (Tellez et al., 2018)."""
    brightness: float = 0.0
    """Strength: a factor of 1 ± brightness, as in torchvision's ColorJitter."""
    contrast: float = 0.0
    """Strength: a factor of 1 ± contrast."""
    saturation: float = 0.0
    """Strength: a factor of 1 ± saturation."""
    hue: float = 0.0
    """Strength: a turn of ± hue, as a share of the full circle."""
    p_jitter: float = 1.0
    """Probability of the last four."""
    p_grayscale: float = 0.0
    """Probability that the picture becomes gray."""
    p_blur: float = 0.0
    """Probability of a Gaussian blur over a tenth of the side."""
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Standard deviation of the blur in pixels, drawn from this range."""
    p_solarize: float = 0.0
    """Probability that values from 128 on are inverted."""
    on_device: bool = False
    """Draw changes in the loader's threads and make them where the model is, for GPUs whose processor cannot keep up. The pictures are the same, but for
    a value in a hundred that rounds the other way where densities or hues change."""

    def options(self) -> C.Augmentation:
        """The C++ options.

        Raises:
            ValueError: A number is out of range.
        """
        for name, usual in (("p_flip", 0.5), ("p_turn", 0.75)):
            if getattr(self, name) not in (0, usual):
                raise ValueError(f"Augmentation: {name}={getattr(self, name)!r} must be 0 or {usual}")
        return C.Augmentation(
            area=self.scale,
            aspect=self.ratio,
            flips=self.p_flip > 0,
            turns=self.p_turn > 0,
            macenko=self.macenko,
            hed=self.hed,
            brightness=self.brightness,
            contrast=self.contrast,
            saturation=self.saturation,
            hue=self.hue,
            jitter=self.p_jitter,
            grey=self.p_grayscale,
            blur=self.p_blur,
            blur_sigma=self.blur_sigma,
            solarise=self.p_solarize,
        )


_NONE = Augmentation(p_flip=0.0, p_turn=0.0)


@dataclass(frozen=True)
class View:
    """Pictures that a method sees of each sample, all from one decode: SimCLR's two, DINO's global and local crops."""

    role: str = "tokens"
    """Name by which the method knows them; views of one role have one size."""
    count: int = 1
    """Number of pictures of each sample."""
    size: int = 224
    """Side of the pictures in pixels, a multiple of the patch."""
    augmentation: Augmentation = Augmentation()
    """Random changes of each of them."""
    zoom: float = 1.0
    """Pixels of the region that one pixel of the view is wide: with 4 a view shows four times as much each way, four times as coarsely."""
    middle: bool = False
    """Take the middle of the region, so that views of several zooms are concentric; otherwise any part. Resized crops take neither."""


@dataclass(frozen=True)
class PicturePreprocessing:
    """What preprocessings of slides and images have in common."""

    size: int = 224
    """Side of a picture in pixels."""
    patch: int = 16
    """Side of a token in pixels."""
    region: int = 0
    """Side in pixels of the region that training crops are taken from; 0: ``size``."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Mean of R, G and B in [0, 1], which is subtracted (ImageNet's)."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Standard deviation of R, G and B, by which values are divided."""

    def recipe(
        self,
        *,
        mask: Mask = "none",
        ratio: float | None = None,
        block: int = 2,
        radius: float = 30.0,
        complementary: bool = False,
        augmentation: Augmentation | None = None,
        views: Sequence[View] | None = None,
    ) -> C.Recipe:
        """How pictures are augmented, cut and masked.

        Args:
            mask: Which tokens are hidden.
            ratio: Share of tokens that are hidden; None: 0.75.
            block: Unused.
            radius: Unused.
            complementary: Two views of each picture; the second shows what the first one hides.
            augmentation: Random changes of one view of ``size``.
            views: Several views, each with its own augmentation, instead of that one.
        """
        if views is not None and augmentation is not None:
            raise TypeError("recipe: views have their own augmentations; leave augmentation out")
        chosen = [View(size=self.size, augmentation=_NONE if augmentation is None else augmentation)] if views is None else views
        for view in chosen:
            if not isinstance(view.augmentation, Augmentation):
                raise TypeError(f"recipe: augmentation={view.augmentation!r} must be an sslmed.Augmentation")
        how = C.MaskOptions(mask=mask, ratio=0.75 if ratio is None else ratio, complementary=complementary)
        made = [(view.role, view.count, view.size, view.zoom, view.middle, view.augmentation.options(), view.augmentation.on_device, how) for view in chosen]
        return C.PictureRecipe(self.patch, made)

    def embedding(self) -> dict[str, Any]:
        """What an encoder must know of its tokens."""
        return {
            "patch_size": [self.patch] * 2,
            "img_size": [self.size] * 2,
            "in_chans": 3,
            "positions": "sincos",
            "pixel_mean": list(self.mean),
            "pixel_std": list(self.std),
        }

    @property
    def training_size(self) -> int:
        """Side in pixels of what is read of a picture for training."""
        return self.region or self.size
