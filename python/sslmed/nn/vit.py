"""Vision transformers over dense inputs and packed tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from sslmed._core import C
from sslmed.nn.features import Features
from sslmed.nn.mirror import Mirror

__all__ = ["MODELS", "VisionTransformer", "create_vit"]

MODELS = tuple(C.vit_names())


class VisionTransformer(Mirror):
    """A vision transformer with timm's parameter names (see :func:`create`)."""

    @property
    def dim(self) -> int:
        """Width D of the features."""
        return int(self._handle.dim)

    def layout_facts(self) -> tuple[str, tuple[int, ...]]:
        """As :meth:`Mirror.layout_facts`: "vit"."""
        return "vit", tuple(self._handle.grid) if "pos_embed" in self.state_dict() else ()

    def forward(self, dense: torch.Tensor) -> torch.Tensor:
        """[B, C, spatial…] to [B, num_classes]; without a head, to the class token [B, D], or the mean over patches where there is none."""
        out: torch.Tensor = self._handle.forward(dense)
        return out

    @property
    def prefix(self) -> int:
        """Number of tokens in front of the patches: the class token and the registers."""
        return int(self._handle.prefix)

    def forward_features(self, dense: torch.Tensor) -> torch.Tensor:
        """[B, C, spatial…] to [B, prefix + N, D]: class token and registers (if there are any), then the patches in row-major order, after the last norm.

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
    patch_size: int | Sequence[int] | None = None,
    img_size: int | Sequence[int] = 224,
    in_chans: int = 3,
    num_classes: int = 0,
    *,
    positions: Literal["learned", "sincos", "rope"] = "learned",
    seed: int = 0,
    dim: int | None = None,
    depth: int | None = None,
    heads: int | None = None,
    class_token: bool = True,
    registers: int = 0,
    layer_scale: float = 0.0,
    mlp: Literal["gelu", "quick_gelu", "swiglu"] | None = None,
    mlp_dim: int = 0,
    norm_eps: float | None = None,
) -> VisionTransformer:
    """A vision transformer over dense inputs of any rank.

    Args:
        name: One of ``MODELS``. The "clip_vit_…" are the vision towers of CLIP (Radford et al., arXiv 2103.00020): a layer norm before the blocks,
            no bias of the patches, ``quick_gelu``.
        patch_size: Size of a patch along each axis; one number means a square in 2-D. None: the name's, or 16.
        img_size: Size of the input along each axis, a multiple of ``patch_size``.
        in_chans: Number of input channels.
        num_classes: Size of the linear head on the class token; 0: no head.
        positions: "learned" positions as timm has them, fixed "sincos" ones as MAE has them, or rotary ones ("rope") as DINOv3 has them: queries and keys
            are turned by their cell along each axis, and ``dim / heads`` must be a multiple of twice the number of axes.
        seed: Seed of the initial weights.
        dim: Width, instead of the name's.
        depth: Number of blocks, instead of the name's.
        heads: Number of attention heads, instead of the name's.
        class_token: Put a class token in front of the patches; I-JEPA's encoders have none.
        registers: Number of register tokens (Darcet et al., arXiv 2309.16588) after the class token. They are no patches, and count for no mean.
        layer_scale: Initial value of the layer scale (Touvron et al., arXiv 2103.17239) of each residual branch; 0: none.
        mlp: "gelu", "quick_gelu" (x·σ(1.702 x), as in CLIP), or "swiglu" (Shazeer, arXiv 2002.05202) as in DINOv2's giant and Virchow. None: the name's.
        mlp_dim: Hidden units of the MLP, of SwiGLU those after the gate. 0: 4 ``dim``, of SwiGLU two thirds of that, rounded up to a multiple of 8.
        norm_eps: Number added to the variance in layer norms. None: 1e-6, of CLIP 1e-5.

    Raises:
        ValueError: The name is unknown, or sizes do not fit.

    Examples:
        >>> import torch
        >>> from sslmed import nn
        >>> vit = nn.create("vit_tiny", patch_size=8, img_size=32, depth=1, registers=4, mlp="swiglu", positions="rope")
        >>> vit.forward_features(torch.zeros(2, 3, 32, 32)).shape  # a class token, 4 registers and 16 patches
        torch.Size([2, 21, 192])
    """
    if name not in MODELS:
        raise ValueError(f"create_vit: name={name!r} is unknown, expected one of {', '.join(MODELS)}")
    if patch_size is None:
        patch_size = int(name.rpartition("_patch")[2]) if "_patch" in name else 16
    patch = [patch_size] * 2 if isinstance(patch_size, int) else list(patch_size)
    image = [img_size] * len(patch) if isinstance(img_size, int) else list(img_size)

    def build() -> Any:
        embedding = C.EmbeddingConfig(patch_size=patch, img_size=image, in_chans=in_chans, positions=positions)
        return C.VisionTransformer(
            name,
            [embedding],
            num_classes=num_classes,
            seed=seed,
            dim=dim,
            depth=depth,
            heads=heads,
            class_token=class_token,
            registers=registers,
            layer_scale=layer_scale,
            mlp=mlp,
            mlp_dim=mlp_dim,
            norm_eps=norm_eps,
        )

    return VisionTransformer(build)
