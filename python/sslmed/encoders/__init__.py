"""Encoders with the preprocessing of their inputs: what a pretraining run gives, and what is saved."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, Union

import torch

from sslmed import io
from sslmed._core import C, FormatError
from sslmed.encoders.base import CohortEncoder, load, saved_as
from sslmed.encoders.slices import SliceEncoder
from sslmed.modalities.base import Preprocessing, Rows
from sslmed.modalities.joined import embeddings_of, parts_of, whole_of
from sslmed.modalities.registry import default_preprocessing, described, get, names, preprocessing_from
from sslmed.nn import ConvNet, Features, VisionTransformer, list_models

__all__ = ["CohortEncoder", "ConvEncoder", "Encoder", "EncoderLike", "PythonEncoder", "SliceEncoder", "resolve"]

_FORMAT = "sslmed-encoder-1"
_CONV_FORMAT = "sslmed-conv-encoder-1"
_PYTHON_FORMAT = "sslmed-python-encoder-1"


class _Cohort(Rows, Protocol):
    """What :func:`resolve` asks of a :class:`sslmed.Cohort`."""

    @property
    def modalities(self) -> tuple[str, ...]: ...

    def part(self, modality: str) -> Rows: ...


@saved_as(_FORMAT)
class Encoder(VisionTransformer, CohortEncoder):
    """A vision transformer with the preprocessing of its inputs.

    Args:
        name: One of :func:`sslmed.nn.list_models`.
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

        if name not in list_models():
            raise ValueError(f"Encoder: name={name!r} is unknown, expected one of {', '.join(list_models())}")

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

        super().__init__(build(), build)
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

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes weights, architecture, preprocessing and provenance to one safetensors file."""
        self._write(path, _FORMAT, self.described())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Encoder:
        """Reads what :meth:`save` or a pretraining run wrote. Every weight must be there, and no other.

        Raises:
            FormatError: The file is not a saved encoder, or its weights do not fit its architecture.
        """
        metadata = io.load_metadata(path, _FORMAT)
        try:
            config = json.loads(metadata["encoder"])
            preprocessing = preprocessing_from(json.loads(metadata["preprocessing"]))
            encoder = cls(preprocessing=preprocessing, **config)
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"{os.fspath(path)}: expected the description of an encoder, found {error!r}") from error
        encoder._load_weights(path, metadata)
        return encoder


@saved_as(_CONV_FORMAT)
def _placed(embeddings: list[C.EmbeddingConfig], positions: str | None) -> list[C.EmbeddingConfig]:
    """The embeddings with other positions than those that their preprocessing chose."""
    if positions is not None:
        for embedding in embeddings:
            if embedding.positions == "coordinates":
                raise ValueError(f"Encoder: positions={positions!r} needs tokens on a grid; those of {embedding.modality!r} are placed by coordinates")
            embedding.positions = positions
    return embeddings
class ConvEncoder(ConvNet, CohortEncoder):
    """A small convolutional network with the preprocessing of its inputs, which must give dense views.

    Args:
        preprocessing: Applied to all that it encodes. Its ``embedding()`` has an ``img_size`` along each axis, and no ``patch_size``.
        widths: Number of channels of each stage; every stage halves the map.
        seed: Seed of the initial weights.

    Raises:
        ValueError: The preprocessing gives patches, or a number is out of range.
    """

    extra_channels = ()

    def __init__(self, preprocessing: Preprocessing, widths: Sequence[int] = (16, 32, 64), *, seed: int = 0) -> None:
        embedding = preprocessing.embedding()
        if embedding["patch_size"] or not embedding["img_size"]:
            raise ValueError(f"ConvEncoder: preprocessing={preprocessing!r} gives patches, expected one that gives dense views")
        super().__init__(len(embedding["img_size"]), embedding["in_chans"], tuple(widths), seed=seed)
        self.preprocessing = preprocessing
        self.config = {"widths": list(widths), "seed": seed}

    def __repr__(self) -> str:
        return f"<ConvEncoder {' '.join(map(str, self.widths))}; {self.preprocessing}>"

    def described(self) -> dict[str, Any]:
        """The architecture as plain values: arguments of the class."""
        return dict(self.config)

    def randomized(self) -> ConvEncoder:
        """The same architecture with fresh random weights: the baseline to beat."""
        return ConvEncoder(self.preprocessing, self.widths, seed=self.seed + 1_000_003)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes weights, architecture, preprocessing and provenance to one safetensors file."""
        self._write(path, _CONV_FORMAT, self.described())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ConvEncoder:
        """Reads what :meth:`save` or a training run wrote. Every weight must be there, and no other.

        Raises:
            FormatError: The file is not a saved encoder of this kind, or its weights do not fit its architecture.
        """
        metadata = io.load_metadata(path, _CONV_FORMAT)
        try:
            encoder = cls(preprocessing_from(json.loads(metadata["preprocessing"])), **json.loads(metadata["encoder"]))
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"{os.fspath(path)}: expected the description of an encoder, found {error!r}") from error
        encoder._load_weights(path, metadata)
        return encoder


class PythonEncoder(torch.nn.Module, CohortEncoder):
    """Base of encoders written in Python, for :func:`sslmed.finetune`, :func:`sslmed.transfer` and objectives written in Python.

    Derive, make layers in ``__init__`` after ``super().__init__()``, and define :meth:`encode_tokens`, or :meth:`encode_dense` where the preprocessing gives
    dense views. Change buffers in place, do not replace them.

    Args:
        dim: Width D of the features.
        preprocessing: Applied to every sample; by default that of the modality registered first.
        extra_channels: Channel names without a known position, by number in ``extra``.
    """

    def __init__(self, dim: int, preprocessing: Preprocessing | None = None, *, extra_channels: Sequence[str] = ()) -> None:
        own = type(self)
        if own.encode_tokens is PythonEncoder.encode_tokens and own.encode_dense is PythonEncoder.encode_dense:
            raise TypeError(f"{own.__name__} must define encode_tokens() or encode_dense()")
        super().__init__()
        self.dim = dim
        self.preprocessing = default_preprocessing(names()[0]) if preprocessing is None else preprocessing
        self.extra_channels = tuple(extra_channels)
        self.config = {"python": type(self).__qualname__, "dim": dim}

    def encode_tokens(self, values: torch.Tensor, lengths: list[int], coords: torch.Tensor | None, extra: torch.Tensor | None) -> torch.Tensor:
        """Features of packed tokens: what a derived class defines.

        Args:
            values: [ΣN, P] patches, all of a sample together in row-major order of its grid. Of pictures they are uint8.
            lengths: Number N of tokens of each sample.
            coords: [ΣN, 4] x, y, z in mm (NaN where unknown) and t in s.
            extra: [ΣN] int64 number in ``extra_channels``, or -1.

        Returns:
            [ΣN, D].
        """
        raise TypeError(f"{type(self).__name__} defines no encode_tokens(), but the preprocessing gives patches")

    def encode_dense(self, values: torch.Tensor) -> torch.Tensor:
        """Features of dense views: what a derived class defines whose preprocessing gives them.

        Args:
            values: [B, C, spatial…]. Of pictures they are uint8.

        Returns:
            [B, D, spatial…], or [B, D] of a network that pools by itself.
        """
        raise TypeError(f"{type(self).__name__} defines no encode_dense(), but the preprocessing gives dense views")

    def forward_tokens(self, values: torch.Tensor, lengths: Sequence[int], coords: torch.Tensor | None = None, extra: torch.Tensor | None = None) -> Features:
        """Features of packed tokens, as :meth:`sslmed.nn.VisionTransformer.forward_tokens` gives them."""
        tokens = self.encode_tokens(values, list(lengths), coords, extra)
        pooled = torch.stack([part.mean(0) for part in torch.split(tokens, list(lengths))]) if len(lengths) else tokens.new_zeros(0, self.dim)
        return Features(tokens, pooled, list(lengths))

    @property
    def _handle(self) -> C.PythonEncoder:
        # Made anew for everybody who asks: kept here, the two would hold each other for ever.
        return C.PythonEncoder(self, self.dim)

    def _build(self) -> C.PythonEncoder:
        return copy.deepcopy(self)._handle

    def randomized(self) -> PythonEncoder:
        """A copy with fresh random weights, by ``reset_parameters`` of every layer: the baseline that pretraining has to beat.

        Raises:
            TypeError: A layer with parameters has no ``reset_parameters``; override this method.
        """
        twin = copy.deepcopy(self)
        twin.provenance = None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1_000_003)
            for name, layer in twin.named_modules():
                if hasattr(layer, "reset_parameters"):
                    layer.reset_parameters()
                elif any(True for _ in layer.parameters(recurse=False)):
                    raise TypeError(f"{name or type(self).__name__} has parameters but no reset_parameters(): override randomized()")
        return twin

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes weights, preprocessing and provenance to a safetensors file. The class itself is not in it."""
        self._write(path, _PYTHON_FORMAT, self.config)

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Reads what :meth:`save` or a pretraining run of this class wrote.

        Raises:
            FormatError: The file is of another class or preprocessing, or the weights do not fit.
        """
        metadata = io.load_metadata(path, _PYTHON_FORMAT)
        for key, mine in (("encoder", self.config), ("preprocessing", described(self.preprocessing))):
            if metadata.get(key) != json.dumps(mine):
                raise FormatError(f"{os.fspath(path)}: expected {key} {json.dumps(mine)}, found {metadata.get(key)}")
        self._load_weights(path, metadata)


EncoderLike: TypeAlias = Union[str, "os.PathLike[str]", CohortEncoder]
"""What functions with an argument ``encoder`` take: a name, a path or an object (:func:`resolve`)."""


def resolve(
    encoder: EncoderLike,
    *cohorts: _Cohort,
    preprocessing: Preprocessing | Mapping[str, Preprocessing] | None = None,
    seed: int = 0,
    depth: int | None = None,
    class_token: bool = True,
) -> CohortEncoder:
    """An encoder from whatever names one, checked against the cohorts that it is for.

    Args:
        encoder: A name out of :func:`sslmed.nn.list_models` (untrained, for the modalities of the first cohort), the path of an ``encoder.safetensors``, or
            an encoder.
        *cohorts: Cohorts that it will encode.
        preprocessing: Preprocessing of an encoder that is given by name; by default its modality's. Otherwise it must be the encoder's own.
        seed: Seed of the weights of an encoder that is given by name.
        depth: Number of blocks of an encoder that is given by name, instead of the name's.
        class_token: Whether an encoder that is given by name has a class token.

    Raises:
        TypeError: It is none of these.
        ValueError: The name is unknown, the encoder is for another modality than a cohort's, or it has another preprocessing.
        FormatError, ReadError: The file cannot be read, or is not a saved encoder.
    """
    for cohort in cohorts:
        if not hasattr(cohort, "modalities"):
            raise TypeError(f"cohort={cohort!r} must be a Cohort, got {type(cohort).__name__}")
    named = isinstance(encoder, str) and (encoder in list_models() or not (encoder.endswith(".safetensors") or Path(encoder).exists()))
    if named:
        if not cohorts:
            raise ValueError(f"encoder={encoder!r}: an encoder by name needs a cohort, whose modality decides on its inputs")
        first = cohorts[0].modalities
        chosen = whole_of({name: get(name).default(cohorts[0].part(name)) for name in first} if preprocessing is None else preprocessing)
        _check_modality(chosen, "preprocessing", *cohorts)
        if encoder not in list_models():
            known = ", ".join(list_models())
            raise ValueError(f"encoder={encoder!r} is unknown, expected one of {known}, an encoder, or the path of an encoder.safetensors")
        extra = [channel for name in first for channel in get(name).extra_channels(cohorts[0].part(name))]
        return Encoder(str(encoder), chosen, extra_channels=extra, seed=seed, depth=depth, class_token=class_token)
    if isinstance(encoder, (str, os.PathLike)):
        encoder = load(encoder)
    if not isinstance(encoder, CohortEncoder):
        hint = "; pass run.encoder" if hasattr(encoder, "encoder") else ""
        raise TypeError(f"encoder={encoder!r}: expected a name, an encoder or the path of an encoder.safetensors, got {type(encoder).__name__}{hint}")
    if preprocessing is not None and whole_of(preprocessing) != encoder.preprocessing:
        raise ValueError("preprocessing must be left out, or be the encoder's own: an encoder keeps the one it was made with")
    _check_modality(encoder.preprocessing, "encoder", *cohorts)
    return encoder


def _check_modality(preprocessing: Preprocessing, what: str, *cohorts: _Cohort) -> None:
    for cohort in cohorts:
        if any(name not in parts_of(preprocessing) for name in cohort.modalities):
            theirs = " and ".join(cohort.modalities)
            raise ValueError(f"{cohort.name}: {what} of modality {preprocessing.modality!r}, but the cohort is of {theirs!r}")
