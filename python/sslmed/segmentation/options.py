"""Options of segmentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sslmed._checks import choice, number, whole
from sslmed.metrics import CONVENTIONS

__all__ = ["Segmentation"]


@dataclass(frozen=True)
class Segmentation:
    """Options of :func:`segment`.

    Examples:
        >>> import sslmed as sm
        >>> sm.Segmentation(epochs=50, lr=5e-4).overlap
        0.5
    """

    tuned: Literal["encoder", "nothing"] = "encoder"
    """What is trained besides the decoder: the whole "encoder", or "nothing" (a probe)."""
    epochs: int = 50
    """Number of epochs."""
    batch_size: int = 2
    """Samples in a batch."""
    lr: float = 1e-3
    """Peak learning rate of the decoder."""
    warmup: float = 0.1
    """Share of all steps over which the learning rate rises, within [0, 1]."""
    weight_decay: float = 0.01
    """Weight decay of AdamW."""
    layer_decay: float = 1.0
    """Factor of the learning rate from one block of the encoder to the one before it, within (0, 1]."""
    clip_norm: float = 12.0
    """Largest norm of the gradient; 0 does not clip."""
    features: int = 32
    """Channels of the decoders "unetr" and "upernet"."""
    groups: int = 0
    """Groups of the decoder's normalization; 0: instance normalization."""
    residual: bool = False
    """Shortcuts in the decoder's blocks."""
    attention: bool = False
    """Attention gates on the skip connections."""
    loss: Mapping[str, Any] = field(default_factory=dict)
    """Options of :func:`sslmed.losses.dice_ce` by name; ``ignore``, a value of the label maps, counts in no score either."""
    augmentation: Any = None
    """Random changes in training, such as a ``VolumeAugmentation``; None: only the place of a crop is random."""
    roi: int | tuple[int, ...] | None = None
    """Cells of a window in prediction, along all axes or each, 0: the whole axis; None: those of a training sample."""
    overlap: float = 0.5
    """Share of a window that the next one covers in prediction, within [0, 1)."""
    flips: tuple[int, ...] = ()
    """Spatial axes, from 0: predictions of all flips along them are averaged."""
    convention: Literal["monai", "nnunet"] = "monai"
    """Where windows lie, see :func:`sslmed.inference.sliding_window`."""
    metrics: tuple[str, ...] = ("dice", "hausdorff_95", "surface_dice", "volume_similarity")
    """What is scored: "dice", "hausdorff_95" (mm), "surface_dice", "volume_similarity" (:mod:`sslmed.metrics`); of slides the
    two without distances."""
    conventions: Mapping[str, str] = field(default_factory=dict)
    """Library whose definition is used, by the metric's name. Others: "monai", and of the volume similarity "feta"."""
    tolerance: float = 1.0
    """Distance that the surface Dice takes for the same place, mm (pixels of images without a known size)."""
    bf16: bool = False
    """Train in bfloat16."""
    device: str = "cpu"
    """Device of training and prediction: "cpu", "cuda" …"""

    def __post_init__(self) -> None:
        choice("Segmentation", "tuned", self.tuned, ("encoder", "nothing"))
        choice("Segmentation", "convention", self.convention, ("monai", "nnunet"))
        if not self.metrics or self.metrics[0] != "dice":
            raise ValueError(f"Segmentation: metrics={self.metrics!r} must begin with 'dice'")
        for name in self.metrics:
            choice("Segmentation", "metrics", name, tuple(_DEFAULTS))
        if len(set(self.metrics)) != len(self.metrics):
            raise ValueError(f"Segmentation: metrics={self.metrics!r} must be different ones")
        for name, convention in self.conventions.items():
            choice("Segmentation", "conventions", name, tuple(_DEFAULTS))
            choice("Segmentation", f"conventions[{name!r}]", convention, tuple(CONVENTIONS[name.removesuffix("_95")]))
        number("Segmentation", "tolerance", self.tolerance, 0)
        for name in ("epochs", "batch_size", "features"):
            whole("Segmentation", name, getattr(self, name), 1)
        whole("Segmentation", "groups", self.groups, 0)
        number("Segmentation", "lr", self.lr, 0, strict=True)
        number("Segmentation", "warmup", self.warmup, 0, 1)
        number("Segmentation", "layer_decay", self.layer_decay, 0, 1, strict=True)
        number("Segmentation", "overlap", self.overlap, 0, 1 - 1e-9)
        if len(set(self.flips)) != len(self.flips):
            raise ValueError(f"Segmentation: flips={self.flips!r} must be different axes")
        for axis in self.flips:
            whole("Segmentation", "flips", axis, 0)
        for cells in self.roi if isinstance(self.roi, tuple | list) else () if self.roi is None else (self.roi,):
            whole("Segmentation", "roi", cells, 0)
        for name in ("weight_decay", "clip_norm"):
            number("Segmentation", name, getattr(self, name), 0)

    def check_windows(self, rank: int) -> None:
        """Raises ValueError unless windows and flips are of samples with so many spatial axes."""
        if isinstance(self.roi, tuple | list) and len(self.roi) != rank:
            raise ValueError(f"Segmentation: roi={self.roi!r} must be one number, or {rank} for as many spatial axes")
        if any(axis >= rank for axis in self.flips):
            raise ValueError(f"Segmentation: flips={self.flips!r} must be spatial axes from 0 to {rank - 1}")

    @property
    def unlabeled(self) -> int:
        """Value of the label maps that counts in no loss and no score; -1: none besides what is not known."""
        return int(self.loss.get("ignore", -1))

    def convention_of(self, metric: str) -> str:
        """The library whose definition of a metric is used."""
        return str(self.conventions.get(metric, _DEFAULTS[metric]))


_DEFAULTS = {"dice": "monai", "hausdorff_95": "monai", "surface_dice": "monai", "volume_similarity": "feta"}
