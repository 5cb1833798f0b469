"""What happens to windows of EEG before an encoder sees them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from sslmed._core import C
from sslmed.modalities.base import Mask

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
    augmentation: ClassVar[None] = None

    sfreq: float = 200.0
    """Sampling rate in Hz after resampling."""
    window: float = 4.0
    """Length of a window in s, a whole number of patches."""
    patch: float = 1.0
    """Length in s of one channel in a token."""
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

    @property
    def patch_samples(self) -> int:
        """Number of samples in a token."""
        return round(self.patch * self.sfreq)

    def options(self, *, stride: float = 0.0, random: bool = False) -> C.EegOptions:
        """The C++ options: ``stride`` in s between windows (0: the window's length), and whether starts are moved at random."""
        values = asdict(self)
        del values["patch"], values["overlap"]
        return C.EegOptions(modality=self.modality, stride=stride, jitter=random, **values)

    def recipe(
        self,
        *,
        mask: Mask = "none",
        ratio: float | None = None,
        block: int = 2,
        radius: float = 30.0,
        complementary: bool = False,
        augmentation: Any = None,
    ) -> C.Recipe:
        """How windows are cut and masked.

        Args:
            mask: Which tokens are hidden.
            ratio: Share of tokens that are hidden; None: 0.5.
            block: Number of steps ("time", "space") or channels ("channel") hidden together.
            radius: Distance in mm over the head that a region reaches from its center ("space").
            complementary: Two views of each window; the second shows what the first one hides.
            augmentation: Must be None.

        Raises:
            ValueError: The mask is unknown, a number is out of range, or patches do not fill the window.
        """
        if augmentation is not None:
            raise TypeError(f"recipe: augmentation={augmentation!r} must be None, augmentations are for pictures")
        overlap = round(self.overlap * self.sfreq)
        how = C.MaskOptions(mask=mask, ratio=0.5 if ratio is None else ratio, block=block, radius=radius, complementary=complementary)
        recipe = C.EegRecipe(self.patch_samples, how, overlap)
        if left := (round(self.window * self.sfreq) - self.patch_samples) % (self.patch_samples - overlap):
            raise ValueError(
                f"patches of {self.patch:g} s{f' that overlap by {self.overlap:g} s' if overlap else ''} do not fill a window of {self.window:g} s: "
                f"{left / self.sfreq:g} s would be left out"
            )
        return recipe

    def embedding(self) -> dict[str, Any]:
        """What an encoder must know of its tokens; inputs are never dense."""
        return {"patch_size": [self.patch_samples], "img_size": [], "in_chans": 1, "positions": "coordinates", "radius": HEAD_RADIUS}
