"""Random changes of EEG, and the views that methods see of a window."""

from __future__ import annotations

from dataclasses import dataclass, fields

from sslmed._core import C
from sslmed.modalities.base import Mask, Ratio

__all__ = ["CHANGES", "EegAugmentation", "EegView"]


@dataclass(frozen=True)
class EegAugmentation:
    """Random changes of a window of EEG, in this order. Every probability is 0 by default.

    Ranges are those of Mohsenvand et al. (Contrastive representation learning for electroencephalogram classification,
    ML4H 2020); Rommel et al. (arXiv 2206.14483) compare such changes on sleep staging and motor imagery.

    Examples:
        >>> import sslmed as sm
        >>> gentle = sm.EegAugmentation(p_noise=0.5, noise_std=(0.0, 0.1), p_channel_drop=0.5)
    """

    p_band_stop: float = 0.0
    """Probability that a band of frequencies is filtered out of all channels."""
    band_width: float = 5.0
    """Width of the band in Hz, between the two frequencies at which 3 dB are lost in each direction of the filter."""
    band: tuple[float, float] = (2.8, 82.5)
    """Range in Hz of the band's middle, below the Nyquist rate."""
    p_shift: float = 0.0
    """Probability that all channels are shifted in time, around the end: what leaves there comes in at the other one."""
    max_shift: float = 0.25
    """Shifts are ± max_shift s."""
    p_scale: float = 0.0
    """Probability that amplitudes change."""
    scale: tuple[float, float] = (0.5, 2.0)
    """Range of the factor, drawn for each channel."""
    p_flip: float = 0.0
    """Probability that the sign of all channels changes."""
    p_noise: float = 0.0
    """Probability of Gaussian noise."""
    noise_std: tuple[float, float] = (0.0, 0.2)
    """Range of the noise's standard deviation, as a share of each channel's own in the window."""
    p_time_mask: float = 0.0
    """Probability that a stretch of time is set to 0 on all channels."""
    max_time_mask: float = 0.75
    """Longest stretch in s."""
    p_channel_drop: float = 0.0
    """Probability that channels are dropped: they are no tokens, and zero in dense views."""
    channel_drop: float = 0.2
    """Probability of each channel to be dropped then; one always stays."""

    def options(self) -> C.SignalAugmentation:
        """The C++ options."""
        return C.SignalAugmentation(**{field.name: getattr(self, field.name) for field in fields(self)})


CHANGES = EegAugmentation(p_shift=0.5, p_band_stop=0.5, p_scale=0.5, p_noise=0.5, p_time_mask=0.5, p_channel_drop=0.5)
"""What views of contrast() have in common: two or three changes a window."""


@dataclass(frozen=True)
class EegView:
    """Views that a method sees of each window, all from one read: SimCLR's two, DINO's global and local crops."""

    role: str = "tokens"
    """Name by which the method knows them; views of one role have one length."""
    count: int = 1
    """Number of views of each window."""
    length: float | None = None
    """Length in s of the part that a view shows, from anywhere of the window, filled by patches; None: all of it."""
    augmentation: EegAugmentation = EegAugmentation()
    """Random changes of each of them."""
    mask: Mask | None = None
    """Which tokens of these views are hidden; None: what the recipe says."""
    ratio: Ratio | None = None
    """Share of tokens that ``mask`` hides, or the lowest and the highest; None: 0.5."""
    p_mask: float = 1.0
    """Probability that ``mask`` hides anything of a window."""
