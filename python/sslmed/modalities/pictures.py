"""What happens to samples of each modality before an encoder sees them. Saved with the encoder, and applied again with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

from sslmed._core import C

__all__ = [
    "Augmentation", "EegPreprocessing", "ImagePreprocessing", "Preprocessing", "SlidePreprocessing", "View", "default_preprocessing", "described",
    "preprocessing_from",
]  # fmt: skip


class Preprocessing(Protocol):
    """What encoders, loaders and methods ask of a modality: a frozen dataclass."""

    modality: ClassVar[str]
    augmentation: ClassVar[Augmentation | None]
    """What pretraining does to samples unless somebody says otherwise."""

    def recipe(
        self, *, mask: str = "none", ratio: float | None = None, block: int = 2, radius: float = 30.0, complementary: bool = False,
        augmentation: Augmentation | None = None,
    ) -> C.Recipe:  # fmt: skip
        """How samples are cut and masked."""
        ...

    def embedding(self) -> dict[str, Any]:
        """What an encoder needs to know of its tokens: keywords of the C++ vision transformer."""
        ...


@dataclass(frozen=True)
class EegPreprocessing:
    """What happens to every window of EEG before an encoder sees it. Saved with the encoder, and applied again with it."""

    modality: ClassVar[str] = "eeg"
    augmentation: ClassVar[Augmentation | None] = None

    sfreq: float = 200.0
    """Hz after resampling."""
    window: float = 4.0
    """s, a whole number of patches."""
    patch: float = 1.0
    """s of one channel in a token."""
    overlap: float = 0.0
    """s that a token shares with the next one; what is hidden of one is then seen at the other's edge."""
    low: float = 0.5
    """Hz; 0: no lower edge."""
    high: float = 75.0
    """Hz; 0: no upper edge. Left out for recordings whose Nyquist rate is below it."""
    order: int = 4
    notch: float = 0.0
    """Hz; 0: none."""
    margin: float = 1.0
    """s read on each side so that filters settle outside the window."""
    average_reference: bool = True
    """The mean over a window's channels is subtracted from each; for two channels or more."""
    scale: str = "zscore"
    """"zscore" or "robust", per channel and window; "none": the signal in ``unit``."""
    clip: float = 15.0
    """In units of the scale; 0: none."""
    unit: float = 1.0
    """µV that count as one, with scale="none"."""
    align: str = "none"
    """"subject": windows by R^(-1/2), R the mean covariance of the subject's windows (at most 64 of them), before the scale (Euclidean alignment)."""

    @property
    def patch_samples(self) -> int:
        """Samples in a token."""
        return round(self.patch * self.sfreq)

    def options(self, *, stride: float = 0.0, jitter: bool = False) -> C.EegOptions:
        """The C++ options: ``stride`` s between windows (0: the window's length), starts moved at random or not."""
        values = asdict(self)
        del values["patch"], values["overlap"]
        return C.EegOptions(stride=stride, jitter=jitter, **values)

    def recipe(
        self, *, mask: str = "none", ratio: float | None = None, block: int = 2, radius: float = 30.0, complementary: bool = False,
        augmentation: Augmentation | None = None,
    ) -> C.Recipe:  # fmt: skip
        """How windows are cut and masked.

        Raises:
            ValueError: An unknown mask, numbers out of range, or a window that is not a whole number of patches.
        """
        if augmentation is not None:
            raise TypeError("augmentations are for pictures")
        overlap = round(self.overlap * self.sfreq)
        recipe = C.PatchRecipe(self.patch_samples, mask, 0.5 if ratio is None else ratio, block, radius, complementary, overlap)
        if left := (round(self.window * self.sfreq) - self.patch_samples) % (self.patch_samples - overlap):
            raise ValueError(
                f"patches of {self.patch:g} s{f' that overlap by {self.overlap:g} s' if overlap else ''} do not fill a window of {self.window:g} s: "
                f"{left / self.sfreq:g} s would be left out"
            )
        return recipe

    def embedding(self) -> dict[str, Any]:
        """What an encoder needs to know of its tokens."""
        return {"patch_size": [self.patch_samples], "img_size": [], "in_chans": 1, "positions": "electrode"}


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a picture, in this order."""

    area: tuple[float, float] = (1.0, 1.0)
    """Random resized crop: its share of the picture's area. With (1, 1) pixels keep their size, and the crop's place alone is random."""
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    """Of resized crops, width by height."""
    flips: bool = True
    """Left and right, top and bottom, half of the time each."""
    turns: bool = True
    """By quarters: tissue has no upside."""
    macenko: float = 0.0
    """Densities of the picture's own two stains times 1 ± macenko, plus 0 ± macenko / 2, on tissue (Macenko's separation; usual: .4)."""
    hed: float = 0.0
    """Densities of haematoxylin, eosin and DAB times 1 ± hed, plus 0 ± hed (Tellez et al., 2018)."""
    brightness: float = 0.0
    """Factor 1 ± brightness, as torchvision's ColorJitter; so are the next two."""
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    """Of a full turn, either way."""
    jitter: float = 1.0
    """How often those four come."""
    grey: float = 0.0
    """How often."""
    blur: float = 0.0
    """How often; Gaussian over a tenth of the side."""
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Pixels."""
    solarise: float = 0.0
    """How often."""
    on_device: bool = False
    """Changes are drawn in the loader's threads and made where the model is: for GPUs whose processor cannot keep up. The same pictures, but for a value in a
    hundred that rounds the other way where densities or hues change."""

    def options(self) -> C.Augmentation:
        """The C++ options; ValueError where a number is out of range."""
        return C.Augmentation(**{name: value for name, value in asdict(self).items() if name != "on_device"})


_NONE = Augmentation(flips=False, turns=False)


@dataclass(frozen=True)
class View:
    """Pictures that a method sees of each sample, all from one decode: SimCLR's two, DINO's global and local crops."""

    role: str = "tokens"
    """By which the method knows them; of one role all have one size."""
    count: int = 1
    size: int = 224
    """Pixels of their sides, a multiple of the patch."""
    augmentation: Augmentation = Augmentation()
    zoom: float = 1.0
    """Pixels of the region that one of theirs is wide: with 4 they show four times as much each way, four times as coarsely."""
    middle: bool = False
    """Taken from the middle of the region, so that views of several zooms are concentric; otherwise from anywhere. Resized crops take neither."""


@dataclass(frozen=True)
class _Pictures:
    """What preprocessings of pictures have in common."""

    size: int = 224
    """Pixels of a picture's sides."""
    patch: int = 16
    """Pixels of a token's sides."""
    region: int = 0
    """Training: pixels of the sides of what crops are taken from; 0: ``size``."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Of R, G and B in [0, 1], taken off (ImageNet's)."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """What they are divided by."""

    def recipe(
        self, *, mask: str = "none", ratio: float | None = None, block: int = 2, radius: float = 30.0, complementary: bool = False,
        augmentation: Augmentation | None = None, views: Sequence[View] | None = None,
    ) -> C.Recipe:  # fmt: skip
        """How pictures are augmented, cut and masked: one view of ``size`` with this augmentation, or these views."""
        if views is not None and augmentation is not None:
            raise TypeError("views have their own augmentations")
        chosen = [View(size=self.size, augmentation=_NONE if augmentation is None else augmentation)] if views is None else views
        for view in chosen:
            if not isinstance(view.augmentation, Augmentation):
                raise TypeError(f"augmentation: expected an sslmed.Augmentation, got {view.augmentation!r}")
        made = [(view.role, view.count, view.size, view.zoom, view.middle, view.augmentation.options(), view.augmentation.on_device) for view in chosen]
        return C.PictureRecipe(self.patch, made, mask, 0.75 if ratio is None else ratio, complementary)

    def embedding(self) -> dict[str, Any]:
        """What an encoder needs to know of its tokens."""
        return {
            "patch_size": [self.patch] * 2, "img_size": [self.size] * 2, "in_chans": 3, "positions": "sincos",
            "pixel_mean": list(self.mean), "pixel_std": list(self.std),
        }  # fmt: skip


@dataclass(frozen=True)
class SlidePreprocessing(_Pictures):
    """Pictures out of slides: their scale and size, and how an encoder sees them."""

    modality: ClassVar[str] = "slides"
    augmentation: ClassVar[Augmentation | None] = Augmentation()

    mpp: float = 0.5
    """µm per pixel, whatever the scanner's."""
    mpp_high: float = 0.0
    """Training: each picture's scale is drawn from [mpp, mpp_high], evenly in its logarithm; 0: all at ``mpp``."""


@dataclass(frozen=True)
class ImagePreprocessing(_Pictures):
    """Pictures out of image files (PNG, JPEG), brought to one size; grey ones get three equal channels."""

    modality: ClassVar[str] = "images"
    # Which side is which, and where up is, means something in most of medicine: nothing is flipped unless somebody asks.
    augmentation: ClassVar[Augmentation | None] = Augmentation(area=(0.2, 1.0), flips=False, turns=False)

    fit: str = "crop"
    """"crop": the shorter side gets the size, and of the longer one the middle is taken (in training any part); "pad": the longer side gets it, and black is
    added around the shorter one."""


_Known = EegPreprocessing | SlidePreprocessing | ImagePreprocessing
_MODALITIES: dict[str, type[_Known]] = {"eeg": EegPreprocessing, "slides": SlidePreprocessing, "images": ImagePreprocessing}


def default_preprocessing(modality: str) -> _Known:
    """Of a modality, by name."""
    return _MODALITIES[modality]()


def described(preprocessing: Preprocessing) -> dict[str, Any]:
    """All of it as plain values, for :func:`preprocessing_from`."""
    values: dict[str, Any] = asdict(preprocessing)  # type: ignore[call-overload]
    return {"modality": preprocessing.modality} | values


def preprocessing_from(values: Mapping[str, Any]) -> _Known:
    """What :func:`described` gave; without a modality, as files written before slides have it, EEG.

    Raises:
        KeyError, TypeError: Not as described.
    """
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items() if name != "modality"}
    return _MODALITIES[values.get("modality", "eeg")](**fields)
