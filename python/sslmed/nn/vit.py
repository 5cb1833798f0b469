"""Vision transformers over dense inputs and packed tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from sslmed._core import C
from sslmed.nn.features import Features
from sslmed.nn.mirror import Mirror

__all__ = ["MODELS", "VisionTransformer", "create_vit"]

MODELS = ("vit_tiny", "vit_small", "vit_base", "vit_large")


class VisionTransformer(Mirror):
    """A vision transformer with timm's parameter names (see :func:`create`)."""

    @property
    def dim(self) -> int:
        """Width D of the features."""
        return int(self._handle.dim)

    def forward(self, dense: torch.Tensor) -> torch.Tensor:
        """[B, C, spatial…] to [B, num_classes]; without a head, to the class token [B, D], or the mean over patches where there is none."""
        out: torch.Tensor = self._handle.forward(dense)
        return out

    def forward_features(self, dense: torch.Tensor) -> torch.Tensor:
        """[B, C, spatial…] to [B, 1+N, D]: the class token (if there is one), then the patches in row-major order, after the last norm.

        Of another size than the encoder's, positions are resampled as timm does (bicubic, antialiased).
        """
        out: torch.Tensor = self._handle.forward_features(dense)
        return out

    def forward_tokens(
        self,
        values: torch.Tensor,
        lengths: Sequence[int],
        coords: torch.Tensor | None = None,
        extra: torch.Tensor | None = None,
        modality: str = "",
    ) -> Features:
        """Features of packed tokens of several sequences, without padding.

        Args:
            values: [ΣN, P] patches.
            lengths: Number of tokens of each sequence.
            coords: [ΣN, 4] x, y, z in mm and t in s, for encoders that place tokens by coordinates.
            extra: [ΣN] int64 rows of the learned table of extra channels, or -1.
            modality: Modality of the tokens, of an encoder for several; empty: its first.
        """
        return Features(*self._handle.forward_tokens(values, list(lengths), coords, extra, modality))

    def forward_views(self, views: Sequence[C.ViewBatch]) -> Features:
        """Features of views of one batch in one pass, of several modalities or sizes: the sequences of all views, view after view."""
        return Features(*self._handle.forward_views(list(views)))


def create_vit(
    name: str,
    patch_size: int | Sequence[int] = 16,
    img_size: int | Sequence[int] = 224,
    in_chans: int = 3,
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
        name: One of ``MODELS``.
        patch_size: Size of a patch along each axis; one number means a square in 2-D.
        img_size: Size of the input along each axis, a multiple of ``patch_size``.
        in_chans: Number of input channels.
        num_classes: Size of the linear head on the class token; 0: no head.
        positions: "learned" positions as timm has them, or fixed "sincos" ones as MAE has them.
        seed: Seed of the initial weights.
        dim: Width, instead of the name's.
        depth: Number of blocks, instead of the name's.
        heads: Number of attention heads, instead of the name's.
        class_token: Put a class token in front of the patches; I-JEPA's encoders have none.

    Raises:
        ValueError: The name is unknown, or sizes do not fit.
    """
    if name not in MODELS:
        raise ValueError(f"create_vit: name={name!r} is unknown, expected one of {', '.join(MODELS)}")
    patch = [patch_size] * 2 if isinstance(patch_size, int) else list(patch_size)
    image = [img_size] * len(patch) if isinstance(img_size, int) else list(img_size)

    def build() -> Any:
        embedding = C.EmbeddingConfig(patch_size=patch, img_size=image, in_chans=in_chans, positions=positions)
        return C.VisionTransformer(name, [embedding], num_classes=num_classes, seed=seed, dim=dim, depth=depth, heads=heads, class_token=class_token)

    return VisionTransformer(build(), build)
