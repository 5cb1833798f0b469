"""Options of fine-tuning, and those of the protocols by name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from sslmed._checks import choice, number, whole
from sslmed.modalities import Augmentation

__all__ = ["PROTOCOLS", "FineTuning", "TrainedProtocol", "named"]

TrainedProtocol = Literal["finetune", "lora", "attentive"]
"""The name of a protocol that trains a network."""
Tuned = Literal["encoder", "adapters", "nothing"]
Readout = Literal["mean", "cls", "attentive"]


@dataclass(frozen=True)
class FineTuning:
    """Options of fine-tuning.

    The defaults are those of a ViT that is fine-tuned after MAE, with the epochs of a small cohort.

    Examples:
        >>> import sslmed as sm
        >>> sm.FineTuning(epochs=50, lr=5e-4).epochs
        50
    """

    tuned: Tuned = "encoder"
    """What is trained besides the head: the whole "encoder", "adapters" (LoRA), or "nothing" (a probe)."""
    readout: Readout = "mean"
    """What the head sees: the "mean" over patch tokens, the class token ("cls"), or a learned query ("attentive")."""
    epochs: int = 20
    """Number of epochs."""
    batch_size: int = 32
    """Samples in a batch."""
    lr: float = 1e-3
    """Peak learning rate of the head. Block b below it has lr · layer_decay ** (number of blocks between)."""
    warmup: float = 0.1
    """Share of all steps over which the learning rate rises, within [0, 1]."""
    weight_decay: float = 0.05
    """Weight decay of AdamW."""
    layer_decay: float = 0.75
    """Factor of the learning rate from one block to the one before it, within (0, 1]."""
    drop_path: float | None = None
    """Share of dropped paths in the last block, within [0, 1). None: 0.1, or 0 for encoders written in Python."""
    label_smoothing: float = 0.0
    """Share of a label that is spread over all classes, within [0, 1)."""
    balanced: bool = True
    """Weight classes by the inverse of their frequency in the training data."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; 0 does not clip."""
    lora_rank: int = 8
    """Rank of the adapters (tuned="adapters")."""
    lora_alpha: float = 16.0
    """Scale of the adapters: their output is multiplied by lora_alpha / lora_rank."""
    groups: str = ""
    """Column of groups of people; the groups with the largest loss are weighted most (GroupDRO). Empty: no groups."""
    group_step: float = 0.01
    """Step size of the weights of the groups."""
    dann: float = 0.0
    """Weight of a domain classifier's reversed gradient (DANN; 0.1 is usual), against an unlabeled cohort; 0: none."""
    augmentation: Augmentation | None = None
    """Augmentation of pictures in training. None: only the place of a crop is random."""
    bf16: bool = False
    """Compute in bfloat16."""
    device: str = "cpu"
    """Device of the training: "cpu", "cuda" …"""

    def __post_init__(self) -> None:
        choice("FineTuning", "tuned", self.tuned, get_args(Tuned))
        choice("FineTuning", "readout", self.readout, get_args(Readout))
        for name in ("epochs", "batch_size", "lora_rank"):
            whole("FineTuning", name, getattr(self, name), 1)
        for name, low, high, strict in _RANGES:
            number("FineTuning", name, getattr(self, name), low, high, strict=strict)
        if self.drop_path is not None:
            number("FineTuning", "drop_path", self.drop_path, 0, 1 - 1e-9)
        if not isinstance(self.groups, str):
            raise ValueError(f"FineTuning: groups={self.groups!r} must be the name of a column, or '' for none")


_RANGES: tuple[tuple[str, float, float, bool], ...] = (
    ("lr", 0, math.inf, True),
    ("warmup", 0, 1, False),
    ("weight_decay", 0, math.inf, False),
    ("layer_decay", 0, 1, True),
    ("label_smoothing", 0, 1 - 1e-9, False),
    ("clip_norm", 0, math.inf, False),
    ("lora_alpha", 0, math.inf, False),
    ("group_step", 0, math.inf, False),
    ("dann", 0, math.inf, False),
)

PROTOCOLS: dict[str, FineTuning] = {
    "finetune": FineTuning(),
    "lora": FineTuning(tuned="adapters", layer_decay=1.0, drop_path=0.0),
    "attentive": FineTuning(tuned="nothing", readout="attentive", drop_path=0.0, layer_decay=1.0),
}
"""Default options of the protocols of :func:`sslmed.transfer` that train a network."""


def named(options: FineTuning | str) -> FineTuning:
    """Returns options as they are, or those of a protocol by its name.

    Raises:
        ValueError: An unknown name.
    """
    if isinstance(options, FineTuning):
        return options
    if not isinstance(options, str) or options not in PROTOCOLS:
        raise ValueError(f"finetune: options={options!r} must be a FineTuning or one of {', '.join(map(repr, PROTOCOLS))}")
    return PROTOCOLS[options]
