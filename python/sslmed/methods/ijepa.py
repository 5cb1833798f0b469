"""I-JEPA: options and objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from sslmed._core import C
from sslmed.encoders import CohortEncoder
from sslmed.methods.base import needs_encoder, recipe_for, register
from sslmed.nn import Mirror, VisionTransformer

__all__ = ["IJepa", "JointEmbeddingPredictor"]


@register
@dataclass(frozen=True)
class IJepa:
    """Options of I-JEPA (Assran et al., arXiv 2301.08243), which predicts four blocks from a context, in feature space.

    The run keeps the averaged encoder.

    Examples:
        >>> import sslmed as sm
        >>> method = sm.methods.IJepa(mask="multiblock_exact", predictor_depth=6)
    """

    name: ClassVar[str] = "ijepa"
    class_token: ClassVar[bool] = False
    weight_decay: ClassVar[tuple[float, float]] = (0.04, 0.4)

    mask: Literal["multiblock", "multiblock_exact"] = "multiblock"
    """"multiblock", or "multiblock_exact" for the published distribution (see :func:`sslmed.masking.multiblock`)."""
    augmentation: Any = None
    """Random changes of samples; by default those of the preprocessing's modality."""
    predictor_dim: int | None = None
    """Width of the predictor; by default half of the encoder's."""
    predictor_depth: int = 4
    """Number of blocks of the predictor."""
    predictor_heads: int | None = None
    """Number of attention heads of the predictor; by default one for 32 of its width."""
    ema_start: float = 0.996
    """Momentum of the target encoder at the start of a run."""
    ema_end: float = 1.0
    """Momentum of the target encoder at the end, reached in a line."""

    def objective(self, encoder: CohortEncoder, seed: int) -> JointEmbeddingPredictor:
        """Encoder, predictor and averaged encoder."""
        return JointEmbeddingPredictor(needs_encoder(encoder, self.name), self, seed=seed)


class JointEmbeddingPredictor(Mirror):
    """I-JEPA (Assran et al., arXiv 2301.08243): an encoder of contexts, an averaged encoder of whole samples, and a predictor between them.

    Args:
        encoder: Encoder whose weights are shared, not copied; the averaged encoder starts as its copy.
        options: Options of the method.
        seed: Seed of the predictor's initial weights.

    Raises:
        ValueError: An option is out of range.
    """

    def __init__(self, encoder: VisionTransformer, options: IJepa | None = None, *, seed: int = 0) -> None:
        chosen = options or IJepa()
        if chosen.mask not in ("multiblock", "multiblock_exact"):
            raise ValueError(f"IJepa: mask={chosen.mask!r} must be 'multiblock' or 'multiblock_exact'")
        width = chosen.predictor_dim or max(64, encoder.dim // 2)
        heads = chosen.predictor_heads or max(1, width // 32)
        exact = chosen.mask == "multiblock_exact"
        recipe = recipe_for(encoder, mask=chosen.mask, augmentation=chosen.augmentation)

        def build_on(handle: Any) -> Any:
            options = C.IJepaOptions(
                predictor_dim=width,
                predictor_depth=chosen.predictor_depth,
                predictor_heads=heads,
                ema_start=chosen.ema_start,
                ema_end=chosen.ema_end,
                cut_contexts=exact,
                seed=seed,
            )
            return C.IJepa(handle, options, recipe)

        super().__init__(lambda: build_on(encoder._build()), lambda: build_on(encoder._handle))
        self.preprocessing = getattr(encoder, "preprocessing", None)
        self.options = chosen

    def forward(self, dense: torch.Tensor, context: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Loss, predictions and targets [B·blocks·M, D] for dense [B, C, spatial…].

        Args:
            dense: Inputs of one size.
            context: [B, K] int64 numbers of the patches that are visible to the encoder.
            targets: [B, blocks, M] int64 numbers of the patches to predict, as :func:`sslmed.masking.multiblock` gives them.
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
            values, list(lengths), context, targets, list(context_lengths), list(block_lengths), coords, extra
        )
        return out

    def update_target(self, step: int, total: int) -> None:
        """Moves the averaged encoder towards the encoder, as the training loop does after every step."""
        self._handle.after_step(step, total)
