"""What is learned, around an encoder: self-supervised methods and supervised tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sslmed._core import C
from sslmed.nn.encoder import CohortEncoder
from sslmed.nn.mirror import Mirror
from sslmed.nn.vit import VisionTransformer
from sslmed.preprocessing import Augmentation

__all__ = ["JointEmbeddingPredictor", "MaskedAutoencoder", "Supervised"]


def _recipe(encoder: VisionTransformer | CohortEncoder, **options: Any) -> Any:
    # An encoder of dense inputs knows no samples: a loader refuses its objectives.
    return encoder.preprocessing.recipe(**options) if isinstance(encoder, CohortEncoder) else None


class MaskedAutoencoder(Mirror):
    """MAE (He et al., arXiv 2111.06377): an encoder that sees kept patches, and a decoder that restores the masked ones.

    Args:
        encoder: Its weights are shared, not copied.
        decoder_dim: Width of the decoder.
        decoder_depth: Its blocks.
        decoder_heads: Its attention heads.
        target: "signal" restores the patch (the paper), "spectrum" the log power of its Fourier coefficients (EEG).
        target_bins: Neighbouring coefficients whose power is averaged before the logarithm ("spectrum"); more than 1 leaves the constant out.
        norm_target: Predict targets normalised by their own mean and variance.
        mask: "random", "bernoulli", "time", "channel", or "space" (regions of the head over ``block`` steps, REVE), drawn in the loader's threads.
        ratio: Of the tokens masked; None: half of a window's, three quarters of a picture's.
        block: Steps or channels masked together.
        radius: mm from its centre to which a block reaches over the head ("space").
        complementary: Each sample twice: the second view sees what the first one hides (LaBraM).
        augmentation: Of pictures.
        seed: Of the decoder's initial weights.
    """

    def __init__(
        self,
        encoder: VisionTransformer,
        *,
        decoder_dim: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
        target: str = "signal",
        target_bins: int = 1,
        norm_target: bool = True,
        mask: str = "random",
        ratio: float | None = 0.75,
        block: int = 2,
        radius: float = 30.0,
        complementary: bool = False,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        recipe = _recipe(encoder, mask=mask, ratio=ratio, block=block, radius=radius, complementary=complementary, augmentation=augmentation)

        def build_on(handle: Any) -> Any:
            return C.Mae(handle, recipe, decoder_dim, decoder_depth, decoder_heads, target, target_bins, norm_target, seed)

        super().__init__(build_on(encoder._handle), lambda: build_on(encoder._build()))

    def forward(self, dense: torch.Tensor, keep: torch.Tensor, masked: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Loss, predictions of the masked patches [ΣM, P] and encoder tokens [Σ(1+K), D] for dense [B, C, spatial…].

        Args:
            dense: The images.
            keep: [B, K] int64 patch numbers that the encoder sees.
            masked: [B, M] int64, the others.
        """
        out: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = self._handle.forward_dense(dense, keep, masked)
        return out

    def forward_tokens(
        self,
        values: torch.Tensor,
        lengths: Sequence[int],
        keep: torch.Tensor,
        masked: torch.Tensor,
        keep_lengths: Sequence[int],
        coords: torch.Tensor | None = None,
        extra: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """As :meth:`forward` on packed tokens; keep and masked are rows of ``values``."""
        out: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = self._handle.forward_tokens(
            values, coords, extra, list(lengths), keep, masked, list(keep_lengths)
        )
        return out


class JointEmbeddingPredictor(Mirror):
    """I-JEPA (Assran et al., arXiv 2301.08243): an encoder of contexts, an averaged encoder of whole samples, and a predictor between them.

    Args:
        encoder: Its weights are shared, not copied; the averaged encoder starts as its copy.
        predictor_dim: Width of the predictor.
        predictor_depth: Its blocks.
        predictor_heads: Its attention heads; 0: as many as the encoder.
        ema: Momentum of the averaged encoder at the start and the end of a run.
        mask: "multiblock" or "multiblock_exact", drawn in the loader's threads.
        augmentation: Of pictures.
        seed: Of the predictor's initial weights.
    """

    def __init__(
        self,
        encoder: VisionTransformer,
        *,
        predictor_dim: int = 384,
        predictor_depth: int = 6,
        predictor_heads: int = 0,
        ema: tuple[float, float] = (0.996, 1.0),
        mask: str = "multiblock",
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        if mask not in ("multiblock", "multiblock_exact"):
            raise ValueError(f"I-JEPA's mask must be 'multiblock' or 'multiblock_exact', got {mask!r}")
        recipe = _recipe(encoder, mask=mask, augmentation=augmentation)

        def build_on(handle: Any) -> Any:
            return C.IJepa(handle, recipe, predictor_dim, predictor_depth, predictor_heads, ema[0], ema[1], mask == "multiblock_exact", seed)

        super().__init__(build_on(encoder._handle), lambda: build_on(encoder._build()))

    def forward(self, dense: torch.Tensor, context: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Loss, predictions and targets [B·blocks·M, D] for dense [B, C, spatial…].

        Args:
            dense: The images.
            context: [B, K] int64 patch numbers that the encoder sees.
            targets: [B, blocks, M] int64 patch numbers to predict, as :func:`sslmed.masking.multiblock` gives them.
        """
        out: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = self._handle.forward_dense(dense, context, targets)
        return out

    def forward_tokens(
        self,
        values: torch.Tensor,
        lengths: Sequence[int],
        context: torch.Tensor,
        targets: torch.Tensor,
        context_lengths: Sequence[int],
        block_lengths: Sequence[int],
        coords: torch.Tensor | None = None,
        extra: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """As :meth:`forward` on packed tokens: context and targets are rows of ``values``, targets block after block."""
        out: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = self._handle.forward_tokens(
            values, coords, extra, list(lengths), context, targets, list(context_lengths), list(block_lengths)
        )
        return out

    def update_target(self, step: int, total: int) -> None:
        """Moves the averaged encoder towards the encoder, as the training loop does after every step."""
        self._handle.after_step(step, total)


class Supervised(Mirror):
    """A task: an encoder with a head, learned from the targets that samples carry.

    Args:
        encoder: Its weights are shared, not copied.
        classes: Number of classes; 0: a regression.
        target: The samples' target by name: the number of the class from 0, or what is regressed.
        class_weights: One a class; None: all alike.
        label_smoothing: Of the cross-entropy.
        mean: Of a regressed target,
        scale: and its spread: the network learns (target - mean) / scale by squares, and answers in the target's unit.
        readout: What the head sees: the "mean" over patch tokens, the class token ("cls"), or what a learned query finds ("attentive").
        readout_heads: Heads of the query; 0: as many as the encoder.
        tuned: What is trained besides the head (and query): the whole "encoder", its "adapters" (LoRA) or "nothing".
        layer_decay: Factor of the learning rate from the head down, block by block (Clark et al., arXiv 2003.10555; timm's numbering of layers).
        drop_path: Rate at which residual branches of the last block are left out in training, rising in a line from none at the first (Huang et al.,
            arXiv 1603.09382). Drawn by sample and batch: the same in any thread, rank or resumed run.
        groups: Number of groups in the target "group": their mean losses are weighed, and those that do worst most (GroupDRO, Sagawa et al., arXiv
            1911.08731); 0: none.
        group_step: Of the weights' exponentiated ascent.
        domains: Number of domains in the target "domain", which features are to be alike in (DANN, Ganin et al., arXiv 1505.07818); 0: none. Samples
            whose own target is NaN take part in this alone.
        domain_weight: Of the reversed gradient; it rises from 0 as in the paper.
        augmentation: Of pictures, in training.
        seed: Of the head's initial weights and of dropped paths.

    Raises:
        ValueError: Options that do not fit each other or the encoder.
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
        readout: str = "mean",
        readout_heads: int = 0,
        tuned: str = "encoder",
        layer_decay: float = 1.0,
        drop_path: float = 0.0,
        groups: int = 0,
        group_step: float = 0.01,
        domains: int = 0,
        domain_weight: float = 0.1,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        recipe = _recipe(encoder, augmentation=augmentation)

        def build_on(handle: Any) -> Any:
            return C.Supervised(
                encoder=handle, recipe=recipe, target=target, classes=classes, class_weights=list(class_weights or ()),
                label_smoothing=label_smoothing, mean=mean, scale=scale,
                readout=readout, readout_heads=readout_heads, tuned=tuned, layer_decay=layer_decay, drop_path=drop_path, groups=groups,
                group_step=group_step, domains=domains, domain_weight=domain_weight, seed=seed,
            )  # fmt: skip

        super().__init__(build_on(encoder._handle), lambda: build_on(encoder._build()))

    def forward_tokens(
        self,
        values: torch.Tensor,
        lengths: Sequence[int],
        coords: torch.Tensor | None = None,
        extra: torch.Tensor | None = None,
        keep: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Logits [B, classes], or the regressed target [B, 1], of packed tokens (:meth:`VisionTransformer.forward_tokens`).

        Args:
            values: [ΣN, P] patches.
            lengths: Tokens of each sequence.
            coords: [ΣN, 4], for encoders with electrode positions.
            extra: [ΣN] int64 rows of the learned channel table, or -1.
            keep: [2 · depth, B] factors of the residual branches; None: all ones.
        """
        out: torch.Tensor = self._handle.forward_tokens(values, coords, extra, list(lengths), keep)
        return out

    def loss(self, batch: C.Batch, step: int = 0, total: int = 0) -> torch.Tensor:
        """Of a loader's batch with the task's target, at a step of so many; in training mode with dropped paths, and groups' weights move."""
        out: torch.Tensor = self._handle.loss(batch, step, total)
        return out

    def parameter_groups(self) -> list[tuple[list[str], float, bool]]:
        """(names, factor of the learning rate, whether weights decay) of each group that the trainer's optimiser takes."""
        return list(self._handle.parameter_groups())
