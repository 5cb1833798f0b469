"""What happens to windows of EEG before an encoder sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

from sslmed._checks import number
from sslmed._core import C
from sslmed.modalities.base import Mask, Ratio
from sslmed.modalities.eeg.views import CHANGES, EegAugmentation, EegView
from sslmed.modalities.views import Style, check_contrast, check_views, local_side, mask_options, view_mask

__all__ = ["HEAD_RADIUS", "EegPreprocessing"]


HEAD_RADIUS = 95.0
"""Radius in mm of the sphere that electrodes lie on."""


@dataclass(frozen=True)
class EegPreprocessing:
    """What happens to every window of EEG before an encoder sees it. Saved with the encoder, and applied again with it.

    Examples:
        >>> import sslmed as sm
        >>> sm.EegPreprocessing(sfreq=100.0, window=2.0, patch=0.5, h_freq=45.0).patch_samples
        50
    """

    modality: ClassVar[str] = "eeg"
    augmentation: ClassVar[EegAugmentation | None] = None

    sfreq: float = 200.0
    """Sampling rate in Hz after resampling."""
    window: float = 4.0
    """Length of a window in s, a whole number of patches."""
    patch: float | None = 1.0
    """Length in s of one channel in a token; None: views are dense, [channels, samples], for networks that take no patches."""
    overlap: float = 0.0
    """Time in s that a token shares with the next one; a masked token's ends are then visible in its neighbors."""
    l_freq: float = 0.5
    """Lower edge of the band-pass filter in Hz; 0: none."""
    h_freq: float = 75.0
    """Upper edge of the band-pass filter in Hz; 0: none. Left out for recordings whose Nyquist rate is below it."""
    order: int = 4
    """Order of the Butterworth filter."""
    notch: float = 0.0
    """Frequency in Hz that is notched out; 0: none."""
    margin: float = 1.0
    """Time in s read on each side of a window, so that filters settle outside of it."""
    average_reference: bool = True
    """Subtract the mean over a window's channels from each channel; for two channels or more."""
    scale: Literal["zscore", "robust", "none"] = "zscore"
    """"zscore" or "robust", per channel and window; "none": the signal in ``unit``."""
    clip: float = 15.0
    """Limit in units of the scale beyond which values are clipped; 0: none."""
    unit: float = 1.0
    """µV that count as one, with scale="none"."""
    align: Literal["none", "subject"] = "none"
    """"subject": multiply windows by R^(-1/2) before the scale, R being the mean covariance of at most 64 of the subject's windows (Euclidean alignment)."""
    montage: tuple[str, ...] = ()
    """Channels that are read, in this order, which every recording must have; names of the 10-05 system in any spelling, or a recording's own. A window in
    which one of them carries no signal is left out. Empty: all channels that have a place. Dense views need one."""
    channels: tuple[str, ...] = ()
    """Channels that are read where a recording has them, named as in ``montage``; empty: all EEG."""
    exclude: tuple[str, ...] = ()
    """Channels that are never read, such as ("A1", "A2"); named as in ``montage``."""
    flat_gap: float = 0.5
    """Time in s. Where none of several channels changes for so long, as where a writer filled a gap with zeros, is a gap, and no window is taken; 0: none
    are looked for. An index has found its gaps already."""

    def __post_init__(self) -> None:
        if isinstance(self.montage, str) or len(set(self.montage)) < len(self.montage):
            raise ValueError(f"EegPreprocessing: montage={self.montage!r} must be different names of channels, such as ('Fp1', 'Fp2')")
        for name in ("channels", "exclude"):
            if isinstance(getattr(self, name), str):
                raise ValueError(f"EegPreprocessing: {name}={getattr(self, name)!r} must be a tuple of names, such as ('Fp1', 'Fp2')")
        if self.patch is None and not self.montage:
            raise ValueError("EegPreprocessing: montage=() must name the channels of dense views (patch=None), such as ('Fp1', 'Fp2')")
        if self.patch is None and self.overlap:
            raise ValueError(f"EegPreprocessing: overlap={self.overlap} must be 0 with dense views (patch=None)")

    @property
    def patch_samples(self) -> int:
        """Number of samples in a token; 0 of dense views."""
        return 0 if self.patch is None else round(self.patch * self.sfreq)

    def options(self, *, stride: float = 0.0, random: bool = False) -> C.EegOptions:
        """The C++ options: ``stride`` in s between windows (0: the window's length), and whether starts are moved at random."""
        values = asdict(self)
        del values["patch"], values["overlap"]
        for name in ("montage", "channels", "exclude"):
            values[name] = list(values[name])
        return C.EegOptions(modality=self.modality, stride=stride, jitter=random, **values)

    def recipe(
        self,
        *,
        mask: Mask = "none",
        ratio: Ratio | None = None,
        block: int = 2,
        radius: float = 30.0,
        complementary: bool = False,
        augmentation: EegAugmentation | None = None,
        views: Sequence[EegView] | None = None,
        cell: float = 1.0,
    ) -> C.Recipe:
        """How windows are changed, cut and masked.

        Args:
            mask: Which tokens are hidden. "block" hides rectangles of channels and steps, channels from the front to the back.
            ratio: Share of tokens that are hidden, or the lowest and the highest; None: 0.5.
            block: Number of steps ("time", "space") or channels ("channel") hidden together.
            radius: Distance in mm over the head that a region reaches from its center ("space").
            complementary: Two views of each window; the second shows what the first one hides.
            augmentation: Random changes of one view of the whole window.
            views: Several views, each with its own augmentation, instead of that one.
            cell: Length in s of what is hidden together in dense views.

        Raises:
            TypeError: ``views`` or ``augmentation`` are of another type.
            ValueError: The mask is unknown, a number is out of range, or patches do not fill the window.
        """
        if views is None:
            if augmentation is not None and not isinstance(augmentation, EegAugmentation):
                raise TypeError(f"recipe: augmentation={augmentation!r} must be an sslmed.EegAugmentation")
            views = [EegView(augmentation=augmentation or EegAugmentation())]
        else:
            check_views(views, EegView, augmentation)
        shared = mask_options(mask, ratio, 0.5, block=block, radius=radius, complementary=complementary)
        made = [self._view(view, view_mask(view, shared, 0.5)) for view in views]
        overlap = round(self.overlap * self.sfreq)
        if self.patch is not None and self.patch_samples < 2:
            raise ValueError(f"EegPreprocessing: patch={self.patch:g} s must hold at least 2 samples")
        recipe = C.EegRecipe(self.patch_samples, overlap, made, round(cell * self.sfreq))
        if self.patch is not None and (left := (round(self.window * self.sfreq) - self.patch_samples) % (self.patch_samples - overlap)):
            raise ValueError(
                f"patches of {self.patch:g} s{f' that overlap by {self.overlap:g} s' if overlap else ''} do not fill a window of {self.window:g} s: "
                f"{left / self.sfreq:g} s would be left out"
            )
        return recipe

    def _view(self, view: EegView, mask: C.MaskOptions) -> C.EegView:
        if not isinstance(view.augmentation, EegAugmentation):
            raise TypeError(f"recipe: augmentation={view.augmentation!r} must be an sslmed.EegAugmentation")
        if view.length is not None and not 0 < view.length <= self.window:
            raise ValueError(f"recipe: length={view.length!r} s of a view must be above 0 and at most the window's {self.window:g} s")
        length = 0 if view.length is None else round(view.length * self.sfreq)
        return C.EegView(role=view.role, count=view.count, length=length, augmentation=view.augmentation.options(), mask=mask)

    def contrast(self, style: Style = "simclr", local: int = 0, local_size: float | None = None) -> list[EegView]:
        """Views of each window for methods that compare them: the window, changed as by Mohsenvand et al. (ML4H 2020).

        EEG has no published pair of unlike views: with "byol" and "dino" the second one has a band filtered out twice as often.

        Args:
            style: "simclr": two views of the role "global", drawn alike. "byol": two entries of it. "dino": the same, and ``local``
                short parts of the role "local".
            local: Number of local views.
            local_size: Their length in s; None: 96 of 224 of the window's, as a whole number of patches.

        Returns:
            Views for :meth:`recipe`.

        Raises:
            ValueError: The style is unknown, or a number is out of range.

        Examples:
            >>> import sslmed as sm
            >>> views = sm.EegPreprocessing(window=8.0).contrast("dino", local=4)
            >>> [(view.role, view.count, view.length) for view in views]
            [('global', 1, None), ('global', 1, None), ('local', 4, 3.0)]
        """
        check_contrast(style, local)
        if style == "simclr":
            views = [EegView("global", 2, None, CHANGES)]
        else:
            views = [EegView("global", 1, None, replace(CHANGES, p_band_stop=p)) for p in (0.35, 0.7)]
        if local:
            if local_size is not None:
                number("contrast", "local_size", local_size, 0, self.window, strict=True)
            views.append(EegView("local", local, self._local() if local_size is None else local_size, CHANGES))
        return views

    def _local(self) -> float:
        """Length in s of local views, which whole patches fill."""
        window = round(self.window * self.sfreq)
        overlap = round(self.overlap * self.sfreq)
        step = (self.patch_samples or 8) - overlap
        return (local_side(window - overlap, step) + overlap) / self.sfreq

    def dense(self) -> EegPreprocessing:
        """The same with dense views, for networks that take no patches.

        Raises:
            ValueError: There is no ``montage``.
        """
        return replace(self, patch=None, overlap=0.0)

    def embedding(self) -> dict[str, Any]:
        """What an encoder must know of its tokens, or of dense inputs, whose channels are those of the montage."""
        if self.patch is None:
            samples = round(self.window * self.sfreq)
            return {"patch_size": [], "img_size": [samples], "in_chans": len(self.montage), "positions": "sincos"}
        return {"patch_size": [self.patch_samples], "img_size": [], "in_chans": 1, "positions": "coordinates", "radius": HEAD_RADIUS}
