"""Supervised tasks: a head on an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from sslmed._core import C
from sslmed.encoders import CohortEncoder
from sslmed.methods.base import recipe_for
from sslmed.nn import Mirror, VisionTransformer

__all__ = ["Supervised"]


class Supervised(Mirror):
    """A task: an encoder with a head, learned from the targets that samples carry.

    Args:
        encoder: Encoder whose weights are shared, not copied.
        classes: Number of classes; 0: a regression.
        target: Name of the samples' target: the number of the class from 0, or what is regressed.
        class_weights: Weight of each class in the loss; None: all alike.
        label_smoothing: Label smoothing of the cross-entropy.
        mean: Mean of a regressed target.
        scale: Standard deviation of a regressed target: the network learns (target - mean) / scale by squares, and answers in the target's unit.
        readout: What the head sees: the "mean" over patch tokens, the class token ("cls"), or what a learned query finds ("attentive").
        readout_heads: Number of heads of the query; 0: as many as the encoder's.
        tuned: What is trained besides the head (and query): the whole "encoder", its "adapters" (LoRA) or "nothing".
        layer_decay: Factor of the learning rate from the head down, block by block (Clark et al., arXiv 2003.10555; timm's numbering of layers).
        drop_path: Rate at which residual branches of the last block are left out in training, rising in a line from none at the first (Huang et al.,
            arXiv 1603.09382). Drawn by sample and batch: the same in any thread, rank or resumed run.
        groups: Number of groups in the target "group": their mean losses are weighed, most those that do worst (GroupDRO, Sagawa et al., arXiv
            1911.08731); 0: none.
        group_step: Step of the weights' exponentiated ascent.
        domains: Number of domains in the target "domain" that features are to be alike in (DANN, Ganin et al., arXiv 1505.07818); 0: none. Samples whose
            own target is NaN take part in this only.
        domain_weight: Weight of the reversed gradient; it rises from 0 as in the paper.
        augmentation: Random changes of samples in training, where the modality has any.
        seed: Seed of the head's initial weights and of dropped paths.

    Raises:
        ValueError: Options do not fit each other or the encoder.
    """

    def __init__(
        self,
        encoder: VisionTransformer | CohortEncoder,
        *,
        classes: int,
        target: str = "target",
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        mean: float = 0.0,
        scale: float = 1.0,
        readout: Literal["mean", "cls", "attentive"] = "mean",
        readout_heads: int = 0,
        tuned: Literal["encoder", "adapters", "nothing"] = "encoder",
        layer_decay: float = 1.0,
        drop_path: float = 0.0,
        groups: int = 0,
        group_step: float = 0.01,
        domains: int = 0,
        domain_weight: float = 0.1,
        augmentation: Any = None,
        seed: int = 0,
    ) -> None:
        recipe = recipe_for(encoder, default_augmentation=False, augmentation=augmentation)

        def build_on(handle: Any) -> Any:
            options = C.SupervisedOptions(
                target=target,
                classes=classes,
                class_weights=list(class_weights or ()),
                label_smoothing=label_smoothing,
                mean=mean,
                scale=scale,
                readout=readout,
                readout_heads=readout_heads,
                tuned=tuned,
                layer_decay=layer_decay,
                drop_path=drop_path,
                groups=groups,
                group_step=group_step,
                domains=domains,
                domain_weight=domain_weight,
                seed=seed,
            )
            return C.Supervised(handle, options, recipe)

        super().__init__(lambda: build_on(encoder._build()), lambda: build_on(encoder._handle))
        self.preprocessing = getattr(encoder, "preprocessing", None)

    def forward_tokens(
        self,
        values: torch.Tensor,
        lengths: Sequence[int],
        coords: torch.Tensor | None = None,
        extra: torch.Tensor | None = None,
        drop_path: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Logits [B, classes], or the regressed target [B, 1], of packed tokens (:meth:`VisionTransformer.forward_tokens`).

        Args:
            values: [ΣN, P] patches.
            lengths: Number of tokens of each sequence.
            coords: [ΣN, 4], for encoders with electrode positions.
            extra: [ΣN] int64 rows of the learned table of extra channels, or -1.
            drop_path: [2 · depth, B] factors of the residual branches; None: all ones.
        """
        out: torch.Tensor = self._handle.forward_tokens(values, list(lengths), coords, extra, drop_path)
        return out

    def forward_dense(self, dense: torch.Tensor) -> torch.Tensor:
        """Logits [B, classes], or the regressed target [B, 1], of dense inputs [B, C, spatial…]."""
        out: torch.Tensor = self._handle.forward_dense(dense)
        return out

    def loss(self, batch: C.Batch, step: int = 0, total: int = 0) -> torch.Tensor:
        """The loss of a loader's batch at a step of ``total``; in training mode paths are dropped and the groups' weights move."""
        out: torch.Tensor = self._handle.loss(batch, step, total)
        return out

    def parameter_groups(self) -> list[tuple[list[str], float, bool]]:
        """(names, factor of the learning rate, whether weights decay) of each group that the trainer's optimiser takes."""
        return list(self._handle.parameter_groups())
