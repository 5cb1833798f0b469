"""Encoders of one modality, each with its preprocessing: what a pretraining run gives, and what is saved."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from sslmed import io
from sslmed._core import C, FormatError
from sslmed.data import in_order, warn_of_failures
from sslmed.nn.vit import VisionTransformer
from sslmed.preprocessing import EegPreprocessing, Preprocessing, described, preprocessing_from

if TYPE_CHECKING:
    from sslmed.cohort import Cohort

__all__ = ["CohortEncoder", "Encoder", "refuse_other"]

_ENCODER_FORMAT = "sslmed-encoder-1"


class CohortEncoder(ABC):
    """What encoders of a cohort's samples share, ours and those written in Python."""

    preprocessing: Preprocessing
    extra_channels: tuple[str, ...]
    config: dict[str, Any]
    _handle: Any
    _build: Callable[[], Any]

    def encode(
        self, cohort: Cohort, *, pooling: str = "mean", threads: int = 2, batch_size: int = 64, on_error: str = "raise"
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of every window of a cohort's recordings, or of the pictures that cover its slides' tissue.

        Args:
            cohort: Recordings of any montage and rate, or slides of any scanner.
            pooling: "mean" over patch tokens, "cls", or "regions": means over six regions of the head side by side (left, middle, right; front,
                back), which keep where on the head something is; a region without an electrode takes the mean over all. EEG only.
            threads: Loader threads.
            batch_size: Windows in a batch; does not change the result beyond rounding.
            on_error: "raise", or "skip" what cannot be read or carries no signal, with a warning.

        Returns:
            Features [n, D] float32 ([n, 6 · D] with "regions"), and the number [n] int64 of the recording or slide of each.
        """
        if pooling == "regions" and self.preprocessing.modality != "eeg":
            raise ValueError("regions of the head are for EEG; pool pictures by 'mean' or 'cls'")
        source = cohort.source(self.preprocessing, extra_channels=self.extra_channels)
        loader = in_order(source, self.preprocessing, threads=threads, batch_size=batch_size, on_error=on_error)
        values, ids = C.encode(self._handle, loader, pooling)
        warn_of_failures(cohort, loader.failures)
        return values, source.recording_of[ids]

    @abstractmethod
    def randomised(self) -> CohortEncoder:
        """The same architecture with fresh random weights."""

    def with_adapters(self, rank: int = 8, alpha: float = 0.0) -> CohortEncoder:
        """A copy with adapters (LoRA); TypeError where an encoder has none."""
        raise TypeError(f"{type(self).__name__} has no adapters: tune the whole encoder, or nothing of it")

    @abstractmethod
    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes weights and preprocessing."""


def refuse_other(encoder: object, *cohorts: Cohort) -> None:
    """TypeError for what is no encoder (a run, a path), ValueError for cohorts of another modality than its own: before the work on them."""
    if not isinstance(encoder, CohortEncoder):
        raise TypeError(f"expected an encoder (run.encoder, or sslmed.nn.Encoder.load(path)), got {type(encoder).__name__}")
    for cohort in cohorts:
        if cohort.modality != (wanted := encoder.preprocessing.modality):
            raise ValueError(f"{cohort.name}: an encoder of {wanted} for a cohort of {cohort.modality}")


class Encoder(VisionTransformer, CohortEncoder):
    """An encoder with its preprocessing. Tokens of EEG are one channel's patch, placed by electrode position and time; those of pictures are squares.

    Args:
        name: "vit_tiny", "vit_small", "vit_base" or "vit_large".
        preprocessing: Applied to all that it encodes (:class:`sslmed.EegPreprocessing` by default, :class:`sslmed.SlidePreprocessing`).
        extra_channels: Channel names without a known position, which get a learned row each.
        seed: Of the initial weights.
        dim: Width, instead of the name's.
        depth: Blocks, instead of the name's.
        heads: Attention heads, instead of the name's.
        class_token: Put one in front of the tokens.
        lora_rank: Of adapters beside attention's matrices (Hu et al., arXiv 2106.09685); 0: none. They start as no change.
        lora_alpha: Their sum is scaled by lora_alpha / lora_rank; 0: by one.
    """

    def __init__(
        self,
        name: str = "vit_tiny",
        preprocessing: Preprocessing | None = None,
        *,
        extra_channels: Sequence[str] = (),
        seed: int = 0,
        dim: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
        class_token: bool = True,
        lora_rank: int = 0,
        lora_alpha: float = 0.0,
    ) -> None:
        preprocessing = preprocessing or EegPreprocessing()
        extra = tuple(extra_channels)

        def build() -> Any:
            return C.VisionTransformer(
                name, extra_channels=len(extra), seed=seed, dim=dim, depth=depth, heads=heads, class_token=class_token,
                lora_rank=lora_rank, lora_alpha=lora_alpha, **preprocessing.embedding(),
            )  # fmt: skip

        super().__init__(build(), build)
        self.preprocessing = preprocessing
        self.extra_channels = extra
        self.config: dict[str, Any] = {"name": name, "seed": seed, "dim": dim, "depth": depth, "heads": heads, "class_token": class_token}
        if lora_rank:
            self.config |= {"lora_rank": lora_rank, "lora_alpha": lora_alpha}

    def __repr__(self) -> str:
        weights = sum(p.numel() for p in self.parameters()) / 1e6
        return f"<Encoder {self.config['name']}: {self.dim} wide, {weights:.1f} million weights; {self.preprocessing}>"

    def forward(self, dense: torch.Tensor) -> torch.Tensor:
        """As :class:`VisionTransformer`'s, of pictures; an EEG encoder takes packed tokens: :meth:`forward_tokens` or :meth:`encode`."""
        if self.preprocessing.modality == "eeg":
            raise TypeError("an EEG encoder takes packed tokens: use forward_tokens() or encode()")
        return super().forward(dense)

    def randomised(self) -> Encoder:
        """The same architecture with fresh random weights: the baseline that pretraining has to beat."""
        # Its own seed, so that it is not the very start of the pretraining.
        config = self.config | {"seed": int(self.config["seed"]) + 1_000_003}
        return Encoder(preprocessing=self.preprocessing, extra_channels=self.extra_channels, **config)

    def with_adapters(self, rank: int = 8, alpha: float = 0.0) -> Encoder:
        """A copy with adapters of this rank beside attention's matrices, which gives the same features until they are trained."""
        twin = Encoder(preprocessing=self.preprocessing, extra_channels=self.extra_channels, **self.config | {"lora_rank": rank, "lora_alpha": alpha})
        missing = twin.load_state_dict(self.state_dict(), strict=False).missing_keys
        assert all("lora_" in name for name in missing)
        return twin

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes weights, architecture and preprocessing to one safetensors file."""
        metadata = {
            "format": _ENCODER_FORMAT,
            "encoder": json.dumps(self.config | {"extra_channels": list(self.extra_channels)}),
            "preprocessing": json.dumps(described(self.preprocessing)),
        }
        io.save_safetensors(self.state_dict(), path, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Encoder:
        """Reads what :meth:`save` or a pretraining run wrote. Every weight must be there, and no other.

        Raises:
            FormatError: The file is no encoder of ours, or its weights do not fit its architecture.
        """
        metadata = io.load_metadata(path, _ENCODER_FORMAT)
        try:
            config = json.loads(metadata["encoder"])
            preprocessing = preprocessing_from(json.loads(metadata["preprocessing"]))
            encoder = cls(preprocessing=preprocessing, **config)
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"{os.fspath(path)}: expected an encoder's description, found {error!r}") from error
        try:
            encoder.load_state_dict(io.load_safetensors(path))
        except RuntimeError as error:
            raise FormatError(f"{os.fspath(path)}: expected weights that cover the encoder fully, found {error}") from error
        return encoder
