"""Encoders: C++ modules that look, train and save like any ``torch.nn.Module``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import torch

from sslmed import io
from sslmed._core import C, FormatError
from sslmed.data import EegPreprocessing

if TYPE_CHECKING:
    from sslmed.cohort import Cohort

__all__ = ["BatchNorm", "Encoder", "JointEmbeddingPredictor", "MaskedAutoencoder", "Mirror", "VisionTransformer", "create"]

_ENCODER_FORMAT = "sslmed-encoder-1"


class Mirror(torch.nn.Module):
    """A C++ module as a Python one: its leaves are registered here under their C++ names, sharing their storage.

    ``state_dict``, ``load_state_dict``, ``to``, ``deepcopy`` and optimisers work, and what they change the C++ side sees.
    """

    def __init__(self, handle: Any, build: Callable[[], Any]) -> None:
        super().__init__()
        self._handle, self._build = handle, build
        for name, tensor in handle.named_parameters():
            tensor._is_param = True  # what makes a tensor a Parameter to torch, without a second tensor
            self._leaf(name).register_parameter(name.rpartition(".")[2], tensor)
        for name, tensor in handle.named_buffers():
            self._leaf(name).register_buffer(name.rpartition(".")[2], tensor)

    def _leaf(self, name: str) -> torch.nn.Module:
        module: torch.nn.Module = self
        for part in name.split(".")[:-1]:
            if part not in module._modules:
                module.add_module(part, torch.nn.Module())
            module = module._modules[part]  # type: ignore[assignment]
        return module

    def _apply(self, fn: Any, recurse: bool = True) -> Mirror:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        # torch replaces buffers by new tensors; parameters keep theirs and change its data.
        for name, buffer in self.named_buffers():
            self._handle.set_buffer(name, buffer)
        return self

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """As torch's; ``assign=True`` is refused, because it would cut the tie to the C++ module."""
        if assign:
            raise ValueError("load_state_dict(assign=True) would replace the tensors that the C++ module holds")
        return super().load_state_dict(state_dict, strict)

    def train(self, mode: bool = True) -> Mirror:
        """As torch's, on both sides."""
        self._handle.train(mode)
        return super().train(mode)

    def __deepcopy__(self, memo: dict[int, Any]) -> Mirror:
        twin = type(self).__new__(type(self))
        extras = {k: v for k, v in self.__dict__.items() if not k.startswith("_") and k != "training"}
        Mirror.__init__(twin, self._build(), self._build)
        for key, value in extras.items():
            setattr(twin, key, value)
        reference = next(iter(self.parameters()))
        twin.to(reference.device, reference.dtype)
        twin.load_state_dict(self.state_dict())
        for mine, theirs in zip(self.parameters(), twin.parameters(), strict=True):
            theirs.requires_grad_(mine.requires_grad)
        twin.train(self.training)
        return twin

    def __reduce__(self) -> Any:
        raise TypeError("a C++ module is not pickled: save its state_dict() or use Encoder.save()")


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


class Encoder(VisionTransformer):
    """An EEG encoder with its preprocessing: tokens are one channel's patch, placed by electrode position and time.

    Args:
        name: "vit_tiny", "vit_small", "vit_base" or "vit_large".
        preprocessing: Applied to every recording that it encodes.
        extra_channels: Channel names without a known position, which get a learned row each.
        seed: Of the initial weights.
        dim: Width, instead of the name's.
        depth: Blocks, instead of the name's.
        heads: Attention heads, instead of the name's.
    """

    def __init__(
        self,
        name: str = "vit_tiny",
        preprocessing: EegPreprocessing | None = None,
        *,
        extra_channels: Sequence[str] = (),
        seed: int = 0,
        dim: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
        class_token: bool = True,
    ) -> None:
        preprocessing = preprocessing or EegPreprocessing()
        extra = tuple(extra_channels)

        def build() -> Any:
            return C.VisionTransformer(name, [preprocessing.patch_samples], [], 1, 0, "electrode", len(extra), seed, dim, depth, heads, class_token)

        super().__init__(build(), build)
        self.preprocessing = preprocessing
        self.extra_channels = extra
        self.config: dict[str, Any] = {"name": name, "seed": seed, "dim": dim, "depth": depth, "heads": heads, "class_token": class_token}

    def forward(self, dense: torch.Tensor) -> torch.Tensor:
        """Refused: an EEG encoder takes packed tokens."""
        raise TypeError("an EEG encoder takes packed tokens: use forward_tokens() or encode()")

    def randomised(self) -> Encoder:
        """The same architecture with fresh random weights: the baseline that pretraining has to beat."""
        # Its own seed, so that it is not the very start of the pretraining.
        config = self.config | {"seed": int(self.config["seed"]) + 1_000_003}
        return Encoder(preprocessing=self.preprocessing, extra_channels=self.extra_channels, **config)

    def encode(
        self, cohort: Cohort, *, pooling: str = "mean", threads: int = 2, batch_size: int = 64, on_error: str = "raise"
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of every window of a cohort.

        Args:
            cohort: Recordings of any montage and rate.
            pooling: "mean" over patch tokens, "cls", or "regions": means over six regions of the head side by side (left, middle, right; front,
                back), which keep where on the head something is; a region without an electrode takes the mean over all.
            threads: Loader threads.
            batch_size: Windows in a batch; does not change the result beyond rounding.
            on_error: "raise" or "skip".

        Returns:
            Features [n, D] float32 ([n, 6 · D] with "regions"), and the recording number [n] int64 of each window.
        """
        source = cohort.source(self.preprocessing, extra_channels=self.extra_channels)
        sampler = C.Sampler(source, "sequential", batch_size, False, 0)
        recipe = C.PatchRecipe(self.preprocessing.patch_samples)
        loader = C.Loader(source, recipe, sampler, threads, 2, on_error, 0, sampler.batches_per_epoch)
        values, ids = C.encode(self._handle, loader, pooling)
        return values, source.recording_of[ids]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes weights, architecture and preprocessing to one safetensors file."""
        save_encoder(self.state_dict(), self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Encoder:
        """Reads what :meth:`save` or a pretraining run wrote. Every weight must be there, and no other.

        Raises:
            FormatError: The file is no encoder of ours, or its weights do not fit its architecture.
        """
        metadata = io.load_metadata(path, _ENCODER_FORMAT)
        try:
            config = json.loads(metadata["encoder"])
            preprocessing = EegPreprocessing(**json.loads(metadata["preprocessing"]))
            encoder = cls(preprocessing=preprocessing, **config)
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"{os.fspath(path)}: expected an encoder's description, found {error!r}") from error
        try:
            encoder.load_state_dict(io.load_safetensors(path))
        except RuntimeError as error:
            raise FormatError(f"{os.fspath(path)}: expected weights that cover the encoder fully, found {error}") from error
        return encoder


def save_encoder(weights: dict[str, torch.Tensor], encoder: Encoder, path: str | os.PathLike[str]) -> None:
    """Writes ``weights`` as those of ``encoder``'s architecture."""
    metadata = {
        "format": _ENCODER_FORMAT,
        "encoder": json.dumps(encoder.config | {"extra_channels": list(encoder.extra_channels)}),
        "preprocessing": json.dumps(asdict(encoder.preprocessing)),
    }
    io.save_safetensors(weights, path, metadata)


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
        mask: "random", "time" or "channel", drawn in the loader's threads.
        ratio: Of the tokens masked.
        block: Steps or channels masked together.
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
        ratio: float = 0.75,
        block: int = 2,
        seed: int = 0,
    ) -> None:
        def build_on(handle: Any) -> Any:
            return C.Mae(handle, decoder_dim, decoder_depth, decoder_heads, target, target_bins, norm_target, mask, ratio, block, seed)

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
        seed: int = 0,
    ) -> None:
        def build_on(handle: Any) -> Any:
            return C.IJepa(handle, predictor_dim, predictor_depth, predictor_heads, ema[0], ema[1], mask, seed)

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
