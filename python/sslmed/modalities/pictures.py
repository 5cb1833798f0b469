"""What slides and images share: augmentation, views, and how pictures are cut into patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from sslmed._checks import whole
from sslmed._core import C
from sslmed.modalities.base import Mask, Ratio
from sslmed.modalities.views import Style, check_contrast, check_views, local_side, mask_options, view_mask

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
    mask: Mask | None = None
    """Which tokens of these views are hidden; None: what the recipe says."""
    ratio: Ratio | None = None
    """Share of tokens that ``mask`` hides, or the lowest and the highest; None: 0.75."""
    p_mask: float = 1.0
    """Probability that ``mask`` hides anything of a sample."""


@dataclass(frozen=True)
class PicturePreprocessing:
    """What preprocessings of slides and images have in common."""

    changes: ClassVar[Augmentation] = Augmentation(p_flip=0.0, p_turn=0.0)
    """Flips, turns and changes of color that views of :meth:`contrast` have in common."""

    size: int = 224
    """Side of a picture in pixels."""
    patch: int | None = 16
    """Side of a token in pixels; None: views are dense, [3, size, size] uint8, for networks that take no patches."""
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
        ratio: Ratio | None = None,
        block: int = 2,
        radius: float = 30.0,
        complementary: bool = False,
        augmentation: Augmentation | None = None,
        views: Sequence[View] | None = None,
        cell: int = 32,
    ) -> C.Recipe:
        """How pictures are augmented, cut and masked.

        Args:
            mask: Which tokens are hidden. "block" hides rectangles (DINOv2).
            ratio: Share of tokens that are hidden, or the lowest and the highest; None: 0.75.
            block: Unused.
            radius: Unused.
            complementary: Two views of each picture; the second shows what the first one hides.
            augmentation: Random changes of one view of ``size``.
            views: Several views, each with its own augmentation, instead of that one.
            cell: Side in pixels of what is hidden together in dense views.

        Raises:
            TypeError: ``views`` or ``augmentation`` are of another type.
            ValueError: A number is out of range, or the mask does not suit pictures.
        """
        if views is None:
            if augmentation is not None and not isinstance(augmentation, Augmentation):
                raise TypeError(f"recipe: augmentation={augmentation!r} must be an sslmed.Augmentation")
            views = [View(size=self.size, augmentation=_NONE if augmentation is None else augmentation)]
        else:
            check_views(views, View, augmentation)
        shared = mask_options(mask, ratio, 0.75, complementary=complementary)
        return C.PictureRecipe(self._pixels(), [_view(view, view_mask(view, shared, 0.75), cell) for view in views])

    def contrast(self, style: Style = "simclr", local: int = 0, local_size: int | None = None) -> list[View]:
        """Views of each picture for methods that compare them.

        Crops and blurs are those of SimCLR (arXiv 2002.05709), BYOL (arXiv 2006.07733) and DINO (arXiv 2104.14294); flips, turns and
        colors are the modality's own.

        Args:
            style: "simclr": two views of the role "global", drawn alike. "byol": two, of which the first is always blurred and the second
                nearly never. "dino": the same with larger crops, and ``local`` small crops of the role "local".
            local: Number of local crops.
            local_size: Their side in pixels; None: 96 of 224, as a whole number of patches.

        Returns:
            Views for :meth:`recipe`.

        Raises:
            ValueError: The style is unknown, or a number is out of range.

        Examples:
            >>> import sslmed as sm
            >>> views = sm.SlidePreprocessing().contrast("dino", local=6)
            >>> [(view.role, view.count, view.size) for view in views]
            [('global', 1, 224), ('global', 1, 224), ('local', 6, 96)]
        """
        check_contrast(style, local)
        changes = self._changes(style)
        if style == "simclr":
            views = [View("global", 2, self.size, replace(changes, scale=(0.2, 1.0), p_blur=0.5))]
        else:
            wide = replace(changes, scale=(0.4, 1.0) if style == "dino" else (0.2, 1.0))
            sun = self._solarizes()
            views = [View("global", 1, self.size, replace(wide, p_blur=p, p_solarize=s)) for p, s in ((1.0, 0.0), (0.1, sun))]
        if local:
            side = local_side(self.size, self.patch or 16) if local_size is None else local_size
            whole("contrast", "local_size", side, 1)
            if side % (self.patch or 1):
                raise ValueError(f"contrast: local_size={side} pixels must be a multiple of patch={self.patch}")
            views.append(View("local", local, side, replace(changes, scale=(0.05, 0.4), p_blur=0.5)))
        return views

    def _changes(self, style: Style) -> Augmentation:
        """Flips, turns and changes of color that views of a style have in common."""
        return self.changes

    def _solarizes(self) -> float:
        """Probability that the second view of an asymmetric pair is solarized: BYOL's."""
        return 0.2

    def dense(self) -> Any:
        """The same with dense views, [3, size, size] uint8, for networks that take no patches."""
        return replace(self, patch=None)

    def embedding(self) -> dict[str, Any]:
        """What an encoder must know of its tokens, or of dense inputs."""
        return {
            "patch_size": [] if self.patch is None else [self.patch] * 2,
            "img_size": [self.size] * 2,
            "in_chans": 3,
            "positions": "sincos",
            "pixel_mean": list(self.mean),
            "pixel_std": list(self.std),
        }

    def _pixels(self) -> int:
        """The patch as the C++ recipe takes it: 0 for dense views.

        Raises:
            ValueError: It is no side of a patch.
        """
        if self.patch is None:
            return 0
        if self.patch < 1:
            raise ValueError(f"{type(self).__name__}: patch={self.patch} must be at least 1 pixel, or None for dense views")
        return self.patch

    @property
    def training_size(self) -> int:
        """Side in pixels of what is read of a picture for training."""
        return self.region or self.size


def _view(view: View, mask: C.MaskOptions, cell: int) -> C.PictureView:
    if not isinstance(view.augmentation, Augmentation):
        raise TypeError(f"recipe: augmentation={view.augmentation!r} must be an sslmed.Augmentation")
    return C.PictureView(
        role=view.role,
        count=view.count,
        size=view.size,
        zoom=float(view.zoom),
        middle=view.middle,
        augmentation=view.augmentation.options(),
        on_device=view.augmentation.on_device,
        mask=mask,
        mask_cell=cell,
    )
