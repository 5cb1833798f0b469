"""Vision transformers with the preprocessing of their inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from sslmed._core import C
from sslmed.encoders.base import SavedEncoder
from sslmed.modalities.base import Preprocessing
from sslmed.modalities.joined import embeddings_of, whole_of
from sslmed.modalities.registry import default_preprocessing, names
from sslmed.nn import VisionTransformer, list_models
from sslmed.nn.vit import MODELS

__all__ = ["Encoder"]


class Encoder(VisionTransformer, SavedEncoder):
    """A vision transformer with the preprocessing of its inputs.

    Args:
        name: "vit_tiny", "vit_small", "vit_base" or "vit_large".
        preprocessing: Applied to all that it encodes; by default that of the modality registered first. Of several modalities a mapping by name, or a
            :class:`sslmed.modalities.JoinedPreprocessing`: each has a patch embedding of its own, and all share the blocks.
        extra_channels: Channel names without a known position, which get a learned row each.
        seed: Seed of the initial weights.
        dim: Width, instead of the name's.
        depth: Number of blocks, instead of the name's.
        heads: Number of attention heads, instead of the name's.
        class_token: Put a class token in front of the others.
        lora_rank: Rank of adapters beside attention's matrices (Hu et al., arXiv 2106.09685); 0: none. At first they change nothing.
        lora_alpha: The adapters' sum is scaled by lora_alpha / lora_rank; 0: by one.
        positions: "learned", "sincos" or "rope" positions (:func:`sslmed.nn.create`), instead of what the preprocessing chose for tokens on a grid.
        registers: Number of register tokens after the class token.
        layer_scale: Initial value of the layer scale; 0: none.
        mlp: "gelu", "quick_gelu" or "swiglu"; None: the name's.
        mlp_dim: Hidden units of the MLP; 0: by the width.
        norm_eps: Number added to the variance in layer norms; None: the name's.
    """

    FORMAT = "sslmed-encoder-1"

    def __init__(
        self,
        name: str = "vit_tiny",
        preprocessing: Preprocessing | Mapping[str, Preprocessing] | None = None,
        *,
        extra_channels: Sequence[str] = (),
        seed: int = 0,
        dim: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
        class_token: bool = True,
        lora_rank: int = 0,
        lora_alpha: float = 0.0,
        positions: Literal["learned", "sincos", "rope"] | None = None,
        registers: int = 0,
        layer_scale: float = 0.0,
        mlp: Literal["gelu", "quick_gelu", "swiglu"] | None = None,
        mlp_dim: int = 0,
        norm_eps: float | None = None,
    ) -> None:
        whole = default_preprocessing(names()[0]) if preprocessing is None else whole_of(preprocessing)
        extra = tuple(extra_channels)

        if name not in MODELS:
            other = "; networks of dense views are sslmed.DenseEncoder" if name in list_models() else ""
            raise ValueError(f"Encoder: name={name!r} is unknown, expected one of {', '.join(MODELS)}{other}")

        def build() -> Any:
            return C.VisionTransformer(
                name,
                _placed(embeddings_of(whole, len(extra)), positions),
                seed=seed,
                dim=dim,
                depth=depth,
                heads=heads,
                class_token=class_token,
                lora_rank=lora_rank,
                lora_alpha=lora_alpha,
                registers=registers,
                layer_scale=layer_scale,
                mlp=mlp,
                mlp_dim=mlp_dim,
                norm_eps=norm_eps,
            )

        super().__init__(build)
        self.preprocessing = whole
        self.extra_channels = extra
        self.config: dict[str, Any] = {"name": name, "seed": seed, "dim": dim, "depth": depth, "heads": heads, "class_token": class_token}
        if lora_rank:
            self.config |= {"lora_rank": lora_rank, "lora_alpha": lora_alpha}
        # Only what was asked for, so that files of encoders without have the bytes that they had.
        chosen = {"positions": (positions, None), "registers": (registers, 0), "layer_scale": (layer_scale, 0.0), "mlp": (mlp, None)}
        chosen |= {"mlp_dim": (mlp_dim, 0), "norm_eps": (norm_eps, None)}
        self.config |= {key: value for key, (value, usual) in chosen.items() if value != usual}

    def __repr__(self) -> str:
        weights = sum(p.numel() for p in self.parameters()) / 1e6
        return f"<Encoder {self.config['name']}: {self.dim} wide, {weights:.1f} million weights; {self.preprocessing}>"

    def forward(self, dense: torch.Tensor) -> torch.Tensor:
        """As :class:`sslmed.nn.VisionTransformer`'s, of dense inputs; TypeError for a modality whose inputs are never dense."""
        if not self.preprocessing.embedding()["img_size"]:
            kind = self.preprocessing.modality
            raise TypeError(f"Encoder: inputs of modality {kind!r} are packed tokens: use forward_tokens(), or sslmed.encode() for a cohort")
        return super().forward(dense)

    def randomized(self) -> Encoder:
        """The same architecture with fresh random weights: the baseline to beat."""
        # Its own seed, so that it is not the very start of the pretraining.
        config = self.config | {"seed": int(self.config["seed"]) + 1_000_003}
        return Encoder(preprocessing=self.preprocessing, extra_channels=self.extra_channels, **config)

    def with_adapters(self, rank: int = 8, alpha: float = 0.0) -> Encoder:
        """A copy with adapters of this rank beside attention's matrices, which gives the same features until they are trained."""
        config = self.config | {"lora_rank": rank, "lora_alpha": alpha}
        twin = Encoder(preprocessing=self.preprocessing, extra_channels=self.extra_channels, **config)
        missing = twin.load_state_dict(self.state_dict(), strict=False).missing_keys
        assert all("lora_" in name for name in missing)
        twin.provenance = self.provenance
        return twin

    def with_preprocessing(self, preprocessing: Preprocessing) -> Encoder:
        """A copy with the same weights, for inputs that come from fewer sources.

        Raises:
            RuntimeError: The weights do not fit.
        """
        twin = Encoder(preprocessing=preprocessing, extra_channels=self.extra_channels, **self.config)
        twin.load_state_dict(self.state_dict())
        twin.provenance = self.provenance
        return twin

    def described(self) -> dict[str, Any]:
        """The architecture as plain values: arguments of the class."""
        return self.config | {"extra_channels": list(self.extra_channels)}


def _placed(embeddings: list[C.EmbeddingConfig], positions: str | None) -> list[C.EmbeddingConfig]:
    """The embeddings with other positions than those that their preprocessing chose."""
    if positions is not None:
        for embedding in embeddings:
            if embedding.positions == "coordinates":
                raise ValueError(f"Encoder: positions={positions!r} needs tokens on a grid; those of {embedding.modality!r} are placed by coordinates")
            embedding.positions = positions
    return embeddings
