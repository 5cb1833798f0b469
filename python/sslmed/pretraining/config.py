"""Settings of a pretraining that do not depend on the method, and what scores an encoder meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from sslmed._checks import choice, number, whole
from sslmed.encoders import CohortEncoder
from sslmed.modalities.base import OnError, Preprocessing
from sslmed.training.trainer import OPTIMIZERS

__all__ = ["PretrainConfig", "Probe"]


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of :func:`pretrain` that do not depend on the method.

    Examples:
        >>> import sslmed as sm
        >>> config = sm.PretrainConfig(epochs=50, lr=5e-4, order="subject")
    """

    epochs: int = 10
    """Number of passes over all samples; of slides over as many pictures as cover the tissue once."""
    batch_size: int = 64
    """Number of samples in a batch, of all ranks together."""
    lr: float = 1e-3
    """Peak learning rate."""
    min_lr: float = 0.0
    """Learning rate at the end, reached by half a cosine."""
    warmup: float = 0.1
    """Share of all steps in which the learning rate rises."""
    optimizer: Literal["adamw", "lars", "lamb", "sgd"] = "adamw"
    """"adamw", or for large batches "lars" or "lamb", or "sgd"."""
    optimizer_momentum: float = 0.9
    """Momentum of "lars" and "sgd"."""
    weight_decay: float | None = None
    """Weight decay of matrices at the start; by default the method's."""
    final_weight_decay: float | None = None
    """Weight decay at the end, reached by half a cosine; by default the method's, or none where ``weight_decay`` is given."""
    clip_norm: float = 1.0
    """Global norm to which gradients are clipped; 0: not clipped."""
    ema_decay: float = 0.0
    """Decay of an average of the encoder's weights, which is then what is saved; 0: none."""
    accumulate: int = 1
    """Number of batches in a step."""
    bf16: bool = False
    """Autocast to bfloat16."""
    device: str = "cpu"
    """"cpu", "cuda" or "cuda:1"."""
    preprocessing: Preprocessing | None = None
    """What happens to samples before the encoder sees them; by default that of the cohort's modality."""
    order: str = "shuffle"
    """"shuffle", or a column of the cohort's table, whose values come equally often: "subject", "site" …"""
    depth: int | None = None
    """Number of blocks of an encoder that is given by name, instead of the name's."""
    seed: int = 0
    """Seed of weights, order, samples and masks."""
    threads: int = 2
    """Number of loader threads; the result does not depend on them."""
    on_error: OnError = "raise"
    """"raise", or "skip" samples that cannot be read."""
    checkpoint_every: int = 0
    """Number of steps between checkpoints; 0: at the end of each epoch."""
    keep_last: int = 3
    """Number of checkpoints to keep."""
    tensorboard: bool = True
    """Write TensorBoard scalars."""
    probe_every: int = 1
    """Number of epochs between calls of the probe."""

    def __post_init__(self) -> None:
        """Checks what no later stage checks."""
        for name in ("epochs", "batch_size", "accumulate", "probe_every"):
            whole("PretrainConfig", name, getattr(self, name), 1)
        number("PretrainConfig", "lr", self.lr, 0, strict=True)
        choice("PretrainConfig", "optimizer", self.optimizer, OPTIMIZERS)
        number("PretrainConfig", "optimizer_momentum", self.optimizer_momentum, 0, 1)
        for name in ("weight_decay", "final_weight_decay"):
            if getattr(self, name) is not None:
                number("PretrainConfig", name, getattr(self, name), 0)
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"PretrainConfig: warmup={self.warmup!r} is a share of all steps, expected a number within [0, 1]")
        if self.on_error not in ("raise", "skip"):
            raise ValueError(f"PretrainConfig: on_error={self.on_error!r} must be 'raise' or 'skip'")


class Probe(Protocol):
    """Scores of an encoder while it trains, for example :class:`sslmed.evaluation.KnnProbe`."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that it adds to the history."""
        ...

    def describe(self) -> Any:
        """Plain values that tell it from another probe."""
        ...

    def check(self, encoder: CohortEncoder) -> None:
        """Raises before training where the encoder cannot be scored."""
        ...

    def __call__(self, encoder: CohortEncoder) -> Mapping[str, float]:
        """The scores by column."""
        ...
