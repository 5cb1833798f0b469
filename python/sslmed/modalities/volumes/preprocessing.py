"""What happens to volumes before an encoder sees them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from sslmed._checks import choice, number
from sslmed._core import C
from sslmed.modalities.base import Mask, Ratio
from sslmed.modalities.views import Style, check_contrast, check_views, mask_options, view_mask

__all__ = ["HEAD_RADIUS", "VolumeAugmentation", "VolumePreprocessing", "VolumeView"]

HEAD_RADIUS = 100.0
"""Radius of a head in mm, by which positions are scaled: an eighth of the longest wave of their sines."""


@dataclass(frozen=True)
class VolumeAugmentation:
    """Random changes of volumes: all spatial ones at once, with one interpolation, then those of each sequence's intensities.

    Strengths are TorchIO's defaults; every probability is 0 by default.

    Examples:
        >>> import sslmed as sm
        >>> gentle = sm.VolumeAugmentation(p_flip=(0.5, 0.0, 0.0), p_affine=0.5, degrees=5.0, p_bias=0.3, p_gamma=0.3)
    """

    p_flip: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Probability of a flip left to right, back to front and upside down. An encoder that is trained with the first one
    does not tell the sides apart."""
    p_affine: float = 0.0
    """Probability that a volume is scaled, turned and moved."""
    scales: float = 0.1
    """Each axis is scaled by 1 ± scales."""
    degrees: float = 10.0
    """Turns about each axis are ± degrees."""
    translation: float = 0.0
    """Moves along each axis are ± translation mm."""
    p_elastic: float = 0.0
    """Probability of an elastic displacement."""
    max_displacement: float = 7.5
    """Largest displacement in mm of a control point along an axis; seven points span an axis."""
    p_anisotropy: float = 0.0
    """Probability that resolution is lost along one axis."""
    anisotropy: tuple[float, float] = (1.5, 5.0)
    """Smallest and largest factor by which cells are longer then."""
    p_inversion: float = 0.0
    """Probability that bright and dark change places."""
    p_gamma: float = 0.0
    """Probability of a change of contrast."""
    log_gamma: tuple[float, float] = (-0.3, 0.3)
    """Range of the exponent's logarithm."""
    p_motion: float = 0.0
    """Probability of movements during the acquisition."""
    p_ghosting: float = 0.0
    """Probability of ghosts along one axis."""
    p_blur: float = 0.0
    """Probability of a blur."""
    blur_sigma: tuple[float, float] = (0.0, 2.0)
    """Range of the blur's standard deviation in mm, drawn for each axis."""
    p_bias: float = 0.0
    """Probability of a bias field."""
    bias: float = 0.5
    """Coefficients of the field's polynomial of order 3 are ± bias."""
    p_noise: float = 0.0
    """Probability of noise."""
    noise_std: tuple[float, float] = (0.0, 0.25)
    """Range of the noise's standard deviation."""
    p_drop: float = 0.0
    """Probability that a sequence of a session is left out; one always stays."""

    def spatial(self) -> C.VolumeSpatialOptions:
        """The C++ options of spatial changes."""
        return C.VolumeSpatialOptions(**{name: getattr(self, name) for name in _SPATIAL})

    def intensity(self) -> C.VolumeIntensityOptions:
        """The C++ options of changes of intensities."""
        return C.VolumeIntensityOptions(**{name: getattr(self, name) for name in _INTENSITY})


GLOBAL_SHARE = 0.8
"""Part of each axis that global views show."""
_CHANGES = VolumeAugmentation(p_affine=0.75, p_gamma=0.5, p_bias=0.3, p_noise=0.3, p_blur=0.3)
_SPATIAL = ("p_flip", "p_affine", "scales", "degrees", "translation", "p_elastic", "max_displacement", "p_anisotropy", "anisotropy")
_INTENSITY = (
    "p_inversion", "p_gamma", "log_gamma", "p_motion", "p_ghosting", "p_blur", "blur_sigma", "p_bias", "bias", "p_noise", "noise_std",
)  # fmt: skip


@dataclass(frozen=True)
class VolumeView:
    """Views that a method sees of each sample, all from one read: SimCLR's two, DINO's global and local crops."""

    role: str = "tokens"
    """Name by which the method knows them; views of one role have one size."""
    count: int = 1
    """Number of views of each sample."""
    size: tuple[int, int, int] | None = None
    """Cells along each axis; None: ``share`` of what was read."""
    augmentation: VolumeAugmentation = VolumeAugmentation()
    """Random changes of each of them."""
    share: float = 1.0
    """Part of each axis of what was read that views without a ``size`` show."""
    mask: Mask | None = None
    """Which tokens of these views are hidden; None: what the recipe says."""
    ratio: Ratio | None = None
    """Share of tokens that ``mask`` hides, or the lowest and the highest; None: 0.75."""
    p_mask: float = 1.0
    """Probability that ``mask`` hides anything of a sample."""


@dataclass(frozen=True)
class VolumePreprocessing:
    """How volumes are prepared and cut into tokens. Saved with the encoder, and applied again with it.

    ``spacing``, ``crop``, ``margin``, ``clip``, ``normalize`` and ``storage`` are those of :func:`sslmed.prepare`: a prepared
    cohort must have been made with the same ones, and files that are not prepared yet are prepared by them when they are read.

    Examples:
        >>> import sslmed as sm
        >>> how = sm.VolumePreprocessing(spacing=2.0, patch=8, sequences=("T1w", "FLAIR?"))
        >>> how.names
        ('T1w', 'FLAIR')
    """

    modality: ClassVar[str] = "volumes"
    augmentation: ClassVar[VolumeAugmentation | None] = VolumeAugmentation()

    spacing: float | tuple[float, float, float] = 1.0
    """Distance in mm between cells, along all axes or each; 0: that of the file."""
    patch: int | tuple[int, int, int] | None = 16
    """Cells of a token along each axis; None: views are dense, for convolutional networks, and
    every session has all sequences."""
    size: int | tuple[int, int, int] | None = None
    """Cells of what training sees of a volume, drawn at random; None: all of it. Encoding sees all of it, and the middle
    where views are dense."""
    sequences: tuple[str, ...] = ()
    """Names of the sequences that tokens come from. One that ends with "?" may be missing. Empty: the first one of each
    session, which must be the same one."""
    labels: bool = False
    """Whether views carry the label map as the target "labels"; -1 where a session has none."""
    anatomy: float = 0.05
    """Share of a patch that the anatomy mask covers at least; other patches are no tokens."""
    crop: Literal["foreground", "none"] = "foreground"
    """Keep the box around the anatomy mask, or the whole field of view."""
    margin: float = 4.0
    """Distance in mm that is kept around the mask."""
    clip: tuple[float, float] = (0.5, 99.5)
    """Percentiles of the values within the mask beyond which values are clipped."""
    normalize: Literal["zscore", "none"] = "zscore"
    """Subtract the mean within the mask and divide by the standard deviation, or keep the file's values."""
    storage: Literal["int16", "uint8"] = "int16"
    """How a value is stored, between the two percentiles."""
    positions: Literal["coordinates", "grid"] = "coordinates"
    """Where an encoder sees its tokens: "coordinates" in mm from the middle, or cells of a "grid" with a table that is made
    for ``size``, as encoders of pictures have it (:func:`sslmed.to_volumes`)."""

    def __post_init__(self) -> None:
        _three("spacing", self.spacing)
        for name in ("patch", "size"):
            given = getattr(self, name)
            if given is not None:
                _cells("VolumePreprocessing", name, given)
        if isinstance(self.sequences, str) or len(set(self.names)) < len(self.sequences):
            raise ValueError(f"VolumePreprocessing: sequences={self.sequences!r} must be different names, such as ('T1w', 'FLAIR?')")
        if taken := [name for name in self.names if name in ("mask", "deface", "labels") or "," in name or not name]:
            raise ValueError(f"VolumePreprocessing: sequences={self.sequences!r}: {taken[0]!r} is no sequence's name")
        choice("VolumePreprocessing", "positions", self.positions, ("coordinates", "grid"))
        if self.positions == "grid" and (self.patch is None or self.size is None):
            raise ValueError(f"VolumePreprocessing: positions='grid' needs patch and size, got patch={self.patch!r} and size={self.size!r}")
        if self.patch is None and (optional := [name for name in self.sequences if name.endswith("?")]):
            told = "cannot be missing from a dense view, whose channels are fixed; leave out the '?' or the sequence"
            raise ValueError(f"VolumePreprocessing: patch=None, sequences={self.sequences!r}: {', '.join(optional)} {told}")

    @property
    def names(self) -> tuple[str, ...]:
        """The sequences without question marks."""
        return tuple(name.rstrip("?") for name in self.sequences)

    def preparation(self) -> C.PreparationOptions:
        """The C++ options of the preparation.

        Raises:
            ValueError: A value is out of range, or of another kind than expected.
        """
        _check_preparation(self)
        options = C.PreparationOptions(
            spacing=_three("spacing", self.spacing),
            crop=self.crop,
            margin=float(self.margin),
            clip=[float(percent) for percent in self.clip],
            normalize=self.normalize,
            storage=self.storage,
        )
        options.check()
        return options

    def region(self) -> list[int]:
        """Cells along each axis of what training sees; 0: all."""
        return [0, 0, 0] if self.size is None else [int(side) for side in _three("size", self.size)]

    def recipe(
        self,
        *,
        mask: Mask = "none",
        ratio: Ratio | None = None,
        block: int = 2,
        radius: float = 30.0,
        complementary: bool = False,
        augmentation: VolumeAugmentation | None = None,
        views: Sequence[VolumeView] | None = None,
        cell: int | tuple[int, int, int] = 16,
    ) -> C.Recipe:
        """How volumes are cut and masked.

        Args:
            mask: Which tokens are hidden. "space" hides balls, in all sequences alike; "channel" hides whole sequences;
                "multiblock" hides four neighborhoods, whose tokens I-JEPA predicts; "block" hides boxes (DINOv2), in all sequences alike.
            ratio: Share of tokens that are hidden, or the lowest and the highest; None: 0.75.
            block: Unused.
            radius: Radius in mm of the balls ("space").
            complementary: Two views of each volume; the second shows what the first one hides.
            augmentation: Random changes of one view.
            views: Several views, each with its own augmentation, instead of that one.
            cell: Cells along all axes, or each, of what is hidden together in dense views.

        Raises:
            TypeError: ``views`` or ``augmentation`` are of another type.
            ValueError: The mask does not suit volumes, or a number is out of range.
        """
        random = views is not None
        if views is None:
            # What the source reads in training is of this size already; dense views need it in encoding too.
            size = _sides(self.size) if self.patch is None else None
            views = [VolumeView(size=size, augmentation=augmentation or VolumeAugmentation())]
        else:
            check_views(views, VolumeView, augmentation)
        shared = mask_options(mask, ratio, 0.75, block=block, radius=radius, complementary=complementary)
        cells = _cells("recipe", "cell", cell)
        return C.VolumeRecipe(self._patch(), self.anatomy, [_view(view, view_mask(view, shared, 0.75), cells, random) for view in views])

    def contrast(self, style: Style = "simclr", local: int = 0, local_size: int | tuple[int, int, int] | None = None) -> list[VolumeView]:
        """Views of each volume for methods that compare them: crops with affine changes, contrast, bias field, noise and blur.

        Strengths are TorchIO's defaults. Volumes have no published pair of unlike views: "byol" and "dino" blur the first view twice as
        often as the second.

        Args:
            style: "simclr": two views of the role "global", drawn alike. "byol": two entries of it. "dino": the same, and ``local``
                small crops of the role "local".
            local: Number of local crops.
            local_size: Their cells along all axes, or each; None: half of the global crops'.

        Returns:
            Views for :meth:`recipe`. Global crops are 80 % of ``size`` along each axis, or, without a ``size``, of what was read.

        Raises:
            ValueError: The style is unknown, or a number is out of range.

        Examples:
            >>> import sslmed as sm
            >>> views = sm.VolumePreprocessing(size=96).contrast("dino", local=4)
            >>> [(view.role, view.count, view.size) for view in views]
            [('global', 1, (80, 80, 80)), ('global', 1, (80, 80, 80)), ('local', 4, (48, 48, 48))]
        """
        check_contrast(style, local)
        sides = _sides(self.size)
        steps = [int(side) for side in _three("patch", self.patch or 8)]
        size = None if sides is None else _crop(sides, GLOBAL_SHARE, steps)
        if style == "simclr":
            views = [VolumeView("global", 2, size, _CHANGES, GLOBAL_SHARE)]
        else:
            views = [VolumeView("global", 1, size, replace(_CHANGES, p_blur=p), GLOBAL_SHARE) for p in (0.4, 0.2)]
        if local:
            if local_size is not None:
                _cells("contrast", "local_size", local_size)
            small = _crop(size, 0.5, steps) if local_size is None and size is not None else _sides(local_size)
            views.append(VolumeView("local", local, small, _CHANGES, GLOBAL_SHARE / 2))
        return views

    def dense(self) -> VolumePreprocessing:
        """The same with dense views, for networks that take no patches.

        Raises:
            ValueError: There is no ``size``, or a sequence may be missing.
        """
        if self.size is None:
            raise ValueError("VolumePreprocessing: size=None, expected the cells of dense views along each axis, such as size=96")
        return replace(self, patch=None)

    def embedding(self) -> dict[str, Any]:
        """What an encoder must know of its tokens."""
        if self.positions == "grid":
            return {"patch_size": self._patch(), "img_size": list(_sides(self.size) or ()), "in_chans": 1, "positions": "sincos"}
        if self.patch is None:
            return {"patch_size": [], "img_size": list(_sides(self.size) or ()), "in_chans": max(1, len(self.sequences)), "positions": "sincos"}
        return {"patch_size": self._patch(), "img_size": [], "in_chans": 1, "positions": "coordinates", "radius": HEAD_RADIUS}

    @property
    def patch_samples(self) -> int:
        """Number of values in a token."""
        count = 1
        for side in self._patch():
            count *= side
        return count

    def _patch(self) -> list[int]:
        return [] if self.patch is None else [int(side) for side in _three("patch", self.patch)]

    @classmethod
    def from_settings(cls, text: str, **fields: Any) -> VolumePreprocessing:
        """The preprocessing of a prepared volume, from the settings that its store keeps.

        Args:
            text: JSON of the settings.
            **fields: The other fields.
        """
        settings = json.loads(text)
        spacing = settings.pop("spacing")
        own: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
        return cls(spacing=spacing[0] if len(set(spacing)) == 1 else tuple(spacing), **own, **fields)


def _check_preparation(how: VolumePreprocessing) -> None:
    """Each setting of the preparation by itself. The numbers' ranges are also checked in C++."""
    for name, choices in (("crop", ("foreground", "none")), ("normalize", ("zscore", "none")), ("storage", ("int16", "uint8"))):
        choice("prepare", name, getattr(how, name), choices)
    number("prepare", "margin", how.margin, 0, 1000)
    clip: Any = how.clip
    if not isinstance(clip, (tuple, list)) or len(clip) != 2:
        raise ValueError(f"prepare: clip={clip!r} must be two percentiles, the lower one first, such as (0.5, 99.5)")
    for percent in clip:
        number("prepare", "clip", percent, 0, 100)


def _view(view: VolumeView, mask: C.MaskOptions, cells: list[int], random: bool) -> C.VolumeView:
    if not isinstance(view.augmentation, VolumeAugmentation):
        raise TypeError(f"recipe: augmentation={view.augmentation!r} must be an sslmed.VolumeAugmentation")
    return C.VolumeView(
        role=view.role,
        count=view.count,
        size=list(view.size or (0, 0, 0)),
        random=random,
        spatial=view.augmentation.spatial(),
        intensity=view.augmentation.intensity(),
        p_drop=view.augmentation.p_drop,
        mask=mask,
        mask_cell=cells,
        share=float(view.share),
    )


def _crop(sides: tuple[int, int, int], share: float, steps: list[int]) -> tuple[int, int, int]:
    """About ``share`` of each side, as a whole number of steps where a side holds one."""
    made = (min(side, max(1, round(side * share / step)) * step) for side, step in zip(sides, steps, strict=True))
    return tuple(made)  # type: ignore[return-value]


def _sides(size: int | tuple[int, int, int] | None) -> tuple[int, int, int] | None:
    return None if size is None else tuple(int(side) for side in _three("size", size))  # type: ignore[return-value]


def _cells(where: str, name: str, given: Any) -> list[int]:
    """Cells along each axis; ValueError for what is no number of cells."""
    sides = _three(name, given)
    if any(isinstance(side, bool) or not isinstance(side, int) or side < 1 for side in sides):
        raise ValueError(f"{where}: {name}={given!r} must be whole numbers of at least 1 cell")
    return sides  # type: ignore[return-value]


def _three(name: str, value: Any) -> list[float]:
    """A number for all axes, or one for each."""
    numbers = list(value) if isinstance(value, (tuple, list)) else [value] * 3
    if len(numbers) != 3 or any(isinstance(number, bool) or not isinstance(number, (int, float)) for number in numbers):
        raise ValueError(f"VolumePreprocessing: {name}={value!r} must be a number, or one for each of three axes")
    return [float(number) for number in numbers] if name == "spacing" else numbers
