"""Networks that learn from bags of features: an aggregator with a head, in C++."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from sslmed._checks import choice, number, whole
from sslmed._core import C
from sslmed.nn import Mirror

__all__ = ["AGGREGATORS", "AggregatorName", "BagTask", "BagTraining", "Outcome"]

AggregatorName = Literal["mean", "abmil", "clam_sb", "clam_mb", "transmil"]
AGGREGATORS: tuple[str, ...] = get_args(AggregatorName)
"""Names of the aggregators."""
Outcome = Literal["classes", "value", "survival"]


@dataclass(frozen=True)
class BagTraining:
    """Options of a network over bags, and of its training.

    The network has the sizes of CLAM (Lu et al., Nat. Biomed. Eng. 2021); AdamW and batches are ours.

    Examples:
        >>> import sslmed as sm
        >>> sm.BagTraining(epochs=20, hidden=128).hidden
        128
    """

    hidden: int = 512
    """Units of the first layer, which every row goes through."""
    attention: int = 256
    """Units of the gated attention."""
    heads: int = 8
    """Heads of "transmil"."""
    landmarks: int = 256
    """Landmarks of Nyström attention ("transmil"); 0: exact attention, whose cost grows with the square of the rows."""
    dropout: float = 0.25
    """Share of units that are dropped in training, within [0, 1)."""
    instance_weight: float = 0.3
    """Share of the instance loss of "clam_sb" and "clam_mb", within [0, 1)."""
    instance_count: int = 8
    """Rows with most and rows with least attention that the instance loss takes; fewer in smaller bags."""
    subtyping: bool = False
    """Classes exclude each other, so that rows with most attention for another class are none of this one (CLAM)."""
    epochs: int = 50
    """Largest number of epochs."""
    patience: int = 10
    """Epochs without a lower validation loss after which training stops; 0: all epochs are done, and the last weights kept."""
    validation: float = 0.2
    """Share of the training people by whom the epoch is chosen; they are in no test part. Not used with patience=0."""
    batch_size: int = 0
    """Bags in a batch; 0: 8, and 32 for survival, where the bags of a batch are compared."""
    lr: float = 3e-4
    """Peak learning rate."""
    warmup: float = 0.05
    """Share of all steps over which the learning rate rises, within [0, 1]."""
    weight_decay: float = 1e-4
    """Weight decay of AdamW."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; 0 does not clip."""
    max_rows: int = 0
    """Rows of a bag in training, drawn anew in each epoch; 0: all. Prediction takes all rows."""
    ties: Literal["efron", "breslow"] = "efron"
    """Ties of survival times."""
    bf16: bool = False
    """Compute in bfloat16."""
    device: str = "cpu"
    """Device of the training: "cpu", "cuda" …"""

    def __post_init__(self) -> None:
        where = "BagTraining"
        for name, least in (("hidden", 1), ("attention", 1), ("heads", 1), ("landmarks", 0), ("instance_count", 1), ("epochs", 1), ("patience", 0)):
            whole(where, name, getattr(self, name), least)
        for name in ("batch_size", "max_rows"):
            whole(where, name, getattr(self, name), 0)
        for name in ("dropout", "instance_weight"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{where}: {name}={getattr(self, name)!r} must be within [0, 1)")
        number(where, "validation", self.validation, 0, 1, strict=True)
        number(where, "lr", self.lr, 0, strict=True)
        number(where, "warmup", self.warmup, 0, 1)
        for name in ("weight_decay", "clip_norm"):
            number(where, name, getattr(self, name), 0)
        choice(where, "ties", self.ties, ("efron", "breslow"))


class BagTask(Mirror):
    """An aggregator with a head, learned from labels of bags.

    Rows of a bag are packed one after the other, whatever their number: nothing is padded. The aggregators:

    - "mean": the mean of relu(fc(x)).
    - "abmil": gated attention (Ilse et al., arXiv 1802.04712).
    - "clam_sb": the same with CLAM's instance loss (Lu et al., arXiv 2004.09666); "clam_mb": an attention for each class.
    - "transmil": a transformer with a class token (Shao et al., arXiv 2106.00908) whose place encoding is a convolution over
      the tiles' real places on the slide, where the published one folds the list of tiles into a square. Attention is
      Nyström's with ``landmarks`` (means of runs of consecutive rows), as published, or exact with 0.

    Args:
        aggregator: Name of the aggregator.
        in_dim: Width of a row.
        outcome: "classes", "value" (a number) or "survival" (log hazard ratio).
        classes: Number of classes.
        options: Sizes and losses; those of the training are not used here.
        mean: Mean of a regressed target.
        scale: Standard deviation of a regressed target: the network learns (target - mean) / scale by squares.
        seed: Seed of the weights and of dropout.

    Raises:
        ValueError: Options do not fit each other.

    Examples:
        >>> import torch
        >>> from sslmed.bags import BagTask
        >>> task = BagTask("abmil", 16, outcome="classes", classes=2)
        >>> out, attention = task(torch.randn(30, 16), [10, 20])
        >>> out.shape, attention.shape, round(float(attention[:10].sum()), 4)
        (torch.Size([2, 2]), torch.Size([30, 1]), 1.0)
    """

    def __init__(
        self,
        aggregator: AggregatorName,
        in_dim: int,
        *,
        outcome: Outcome,
        classes: int = 0,
        options: BagTraining | None = None,
        mean: float = 0.0,
        scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        choice("BagTask", "aggregator", aggregator, AGGREGATORS)
        choice("BagTask", "outcome", outcome, get_args(Outcome))
        whole("BagTask", "in_dim", in_dim, 1)
        how = BagTraining() if options is None else options
        clam = aggregator.startswith("clam")
        if clam and outcome != "classes":
            raise ValueError(f"BagTask: aggregator={aggregator!r} tells classes apart; outcome={outcome!r} needs 'abmil', 'transmil' or 'mean'")

        def build() -> Any:
            config = C.AggregatorConfig(
                kind={"mean": "mean", "transmil": "transformer"}.get(aggregator, "attention"),
                in_dim=in_dim,
                hidden=how.hidden,
                attention=how.attention,
                branches=classes if aggregator == "clam_mb" else 1,
                heads=how.heads,
                landmarks=how.landmarks,
                seed=seed,
            )
            task = C.BagTaskOptions(
                outcome=outcome,
                classes=classes,
                mean=mean,
                scale=scale,
                ties=how.ties,
                dropout=how.dropout,
                instance_weight=how.instance_weight if clam else 0.0,
                instance_count=how.instance_count,
                subtyping=how.subtyping,
                seed=seed,
            )
            return C.BagTask(C.Aggregator(config), task)

        super().__init__(build)
        self.aggregator, self.outcome, self.in_dim = aggregator, outcome, in_dim
        self.known = {"mean": mean, "scale": scale}

    def forward(
        self, values: torch.Tensor, lengths: Sequence[int], grid: torch.Tensor | None = None, extents: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs and attention of packed bags, without dropout.

        Args:
            values: [ΣN, D] rows of all bags; or bytes [ΣN, 2 · D] that hold half-precision numbers, as a loader gives them.
            lengths: Rows of each bag.
            grid: [ΣN, 2] int32 row and column of each tile on its bag's grid ("transmil").
            extents: [B, 2] int32 rows and columns of each bag's grid.

        Returns:
            Logits [B, classes], values or log hazard ratios [B, 1]; and attention [ΣN, 1 or classes], which sums to one
            in each bag. Of "transmil" it is that of the class token in the last layer, mean over heads.
        """
        out: tuple[torch.Tensor, torch.Tensor] = self._handle.forward(values, list(lengths), grid, extents)
        return out

    def loss_of(
        self,
        values: torch.Tensor,
        lengths: Sequence[int],
        target: torch.Tensor,
        event: torch.Tensor | None = None,
        grid: torch.Tensor | None = None,
        extents: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The loss of packed bags, without dropout.

        Args:
            values: As in :meth:`forward`.
            lengths: As in :meth:`forward`.
            target: [B] number of the class, value, or time.
            event: [B] 1 where an event was seen, 0 where the time is censored (survival).
            grid: As in :meth:`forward`.
            extents: As in :meth:`forward`.
        """
        out: torch.Tensor = self._handle.loss_of(values, list(lengths), target, event, grid, extents)
        return out

    def loss(self, batch: C.Batch, step: int = 0, total: int = 0) -> torch.Tensor:
        """The loss of a loader's batch at a step of ``total``; in training mode units are dropped."""
        out: torch.Tensor = self._handle.loss(batch, step, total)
        return out
