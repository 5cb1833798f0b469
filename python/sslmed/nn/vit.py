"""Vision transformers over dense inputs and packed tokens, and what else layers are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from sslmed._core import C
from sslmed.nn.mirror import Mirror

__all__ = ["BatchNorm", "VisionTransformer", "create"]


class VisionTransformer(Mirror):
    """A vision transformer with timm's parameter names (see :func:`create`)."""

    @property
    def dim(self) -> int:
        """Width of the features."""
        return int(self._handle.dim)

    def forward(self, dense: torch.Tensor) -> torch.Tensor:
        """[B, C, spatial…] to [B, num_classes]; without a head, to the class token [B, D], or the mean over patches where there is none."""
        out: torch.Tensor = self._handle.forward(dense)
        return out

    def forward_features(self, dense: torch.Tensor) -> torch.Tensor:
        """[B, C, spatial…] to [B, 1+N, D]: the class token (if there is one), then the patches in row-major order, after the last norm."""
        out: torch.Tensor = self._handle.forward_features(dense)
        return out

    def forward_tokens(
        self,
        values: torch.Tensor,
        lengths: Sequence[int],
        coords: torch.Tensor | None = None,
        extra: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
        """Packed tokens of several sequences, without padding.

        Args:
            values: [ΣN, P] patches.
            lengths: Tokens of each sequence.
            coords: [ΣN, 4] x, y, z in mm and t in s, for encoders with electrode positions.
            extra: [ΣN] int64 rows of the learned channel table, or -1.

        Returns:
            Tokens [Σ(1+N), D] with the class token first in each sequence, the mean over each sequence's patch tokens
            [B, D], and the lengths 1+N.
        """
        out: tuple[torch.Tensor, torch.Tensor, list[int]] = self._handle.forward_tokens(values, coords, extra, list(lengths))
        return out


class BatchNorm(Mirror):
    """Batch normalisation over the samples of all ranks, with torch's parameter and buffer names.

    Args:
        channels: C of the inputs [B, C, spatial…].
        eps: Added to the variance.
        momentum: Of the running statistics.

    Source: Ioffe and Szegedy, arXiv 1502.03167.
    """

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        def build() -> C.BatchNorm:
            return C.BatchNorm(channels, eps, momentum)

        super().__init__(build(), build)

    def forward(self, x: torch.Tensor, comm: C.Comm | None = None) -> torch.Tensor:
        """[B, C, …] to [B, C, …].

        Args:
            x: Ranks may hold different numbers of samples.
            comm: The ranks (:func:`sslmed.distributed.ranks`) over whose samples statistics are taken in training; None: this process's.

        Raises:
            ValueError: Another number of channels, or fewer than two values a channel in training.
        """
        out: torch.Tensor = self._handle.forward(x, comm)
        return out


def create(
    name: str,
    patch_size: int | Sequence[int],
    img_size: int | Sequence[int],
    in_chans: int,
    num_classes: int = 0,
    *,
    positions: Literal["learned", "sincos"] = "learned",
    seed: int = 0,
    dim: int | None = None,
    depth: int | None = None,
    heads: int | None = None,
    class_token: bool = True,
) -> VisionTransformer:
    """A vision transformer over dense inputs of any rank.

    Args:
        name: "vit_tiny", "vit_small", "vit_base" or "vit_large".
        patch_size: One entry an axis; an int means a square in 2-D.
        img_size: As patch_size, a multiple of it.
        in_chans: Input channels.
        num_classes: Size of the linear head on the class token; 0: none.
        positions: "learned" as timm has them, or "sincos", fixed as MAE has them.
        seed: Of the initial weights.
        dim: Width, instead of the name's.
        depth: Blocks, instead of the name's.
        heads: Attention heads, instead of the name's.
        class_token: Put one in front of the patches; I-JEPA's encoders have none.

    Raises:
        ValueError: An unknown name, or sizes that do not fit.
    """
    patch = [patch_size] * 2 if isinstance(patch_size, int) else list(patch_size)
    image = [img_size] * len(patch) if isinstance(img_size, int) else list(img_size)

    def build() -> Any:
        return C.VisionTransformer(name, patch, image, in_chans, num_classes, positions, 0, seed, dim, depth, heads, class_token)

    return VisionTransformer(build(), build)
