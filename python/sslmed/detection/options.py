"""Options of detection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sslmed._checks import choice, number, whole

__all__ = ["Detection"]

_WEIGHTS = ("score_weight", "offset_weight", "size_weight", "distance_weight", "class_weight", "background")


@dataclass(frozen=True)
class Detection:
    """Options of :func:`detect`.

    Examples:
        >>> import sslmed as sm
        >>> sm.Detection(epochs=20, radius=4).match_radius
        12.0
    """

    tuned: Literal["encoder", "nothing"] = "encoder"
    """What is trained besides the decoder and the head: the whole "encoder", or "nothing" (a probe)."""
    epochs: int = 50
    """Number of epochs."""
    batch_size: int = 4
    """Samples in a batch."""
    lr: float = 1e-3
    """Peak learning rate of the decoder and the head."""
    warmup: float = 0.1
    """Share of all steps over which the learning rate rises, within [0, 1]."""
    weight_decay: float = 0.01
    """Weight decay of AdamW."""
    layer_decay: float = 1.0
    """Factor of the learning rate from one block of the encoder to the one before it, within (0, 1]."""
    clip_norm: float = 12.0
    """Largest norm of the gradient; 0 does not clip."""
    features: int = 32
    """Channels of the decoder's result and of the head."""
    groups: int = 0
    """Groups of the decoder's normalization; 0: instance normalization."""
    residual: bool = False
    """Shortcuts in the decoder's blocks."""
    attention: bool = False
    """Attention gates on the skip connections."""
    stride: int = 1
    """Pixels of a training sample to a cell of the maps."""
    rays: int = 32
    """Directions of stars."""
    radius: float = 3.0
    """Radius of the Gaussian around a point, in pixels of a training sample."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Weights of the loss by name, see :class:`sslmed.methods.Detect`."""
    augmentation: Any = None
    """Random changes in training, an :class:`sslmed.Augmentation`; None: only the place of a crop is random."""
    roi: int | tuple[int, ...] | None = None
    """Pixels of a window in prediction; None: those of a training sample."""
    overlap: float = 0.25
    """Share of a window that the next one covers in prediction, within [0, 1)."""
    threshold: float | None = None
    """Score above which an object counts as found; None: the one of 0.1, 0.15 … 0.9 with the best F1 on the training
    people, for each network. Average precision ranks all scores above 0.05."""
    nms: float | None = None
    """What is a double. Points: distance in pixels of a training sample, by default twice ``radius``; boxes: IoU;
    stars: shared area by the smaller of both areas, both 0.5 by default."""
    match_radius: float = 12.0
    """Largest distance of a found center from a true one, in pixels of the file (12 at 40x is usual)."""
    max_detections: int = 1000
    """Objects of a picture that average precision takes; COCO's own limit of 100 would hide that it ran out."""
    bf16: bool = False
    """Train in bfloat16."""
    device: str = "cpu"
    """Device of training and prediction: "cpu", "cuda" …"""

    def __post_init__(self) -> None:
        choice("Detection", "tuned", self.tuned, ("encoder", "nothing"))
        for name in ("epochs", "batch_size", "stride", "max_detections"):
            whole("Detection", name, getattr(self, name), 1)
        whole("Detection", "features", self.features, 2)
        whole("Detection", "rays", self.rays, 3)
        whole("Detection", "groups", self.groups, 0)
        number("Detection", "lr", self.lr, 0, strict=True)
        number("Detection", "warmup", self.warmup, 0, 1)
        number("Detection", "layer_decay", self.layer_decay, 0, 1, strict=True)
        number("Detection", "overlap", self.overlap, 0, 1 - 1e-9)
        for name in ("weight_decay", "clip_norm", "radius"):
            number("Detection", name, getattr(self, name), 0)
        number("Detection", "match_radius", self.match_radius, 0, strict=True)
        if self.threshold is not None:
            number("Detection", "threshold", self.threshold, 0.05, 1)
        if self.nms is not None:
            number("Detection", "nms", self.nms, 0)
        for cells in () if self.roi is None else (self.roi,) if isinstance(self.roi, int) else self.roi:
            whole("Detection", "roi", cells, 1)
        if unknown := sorted(set(self.weights) - set(_WEIGHTS)):
            raise ValueError(f"Detection: weights has {unknown[0]!r}, expected one of {', '.join(_WEIGHTS)}")
