"""Encoders written in Python."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Sequence

import torch

from sslmed import io
from sslmed._core import C, FormatError
from sslmed.encoders.base import CohortEncoder
from sslmed.modalities.base import Preprocessing
from sslmed.modalities.registry import default_preprocessing, described, names
from sslmed.nn import Features

__all__ = ["PythonEncoder"]

_FORMAT = "sslmed-python-encoder-1"


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
        self._write(path, _FORMAT, self.config)

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Reads what :meth:`save` or a pretraining run of this class wrote.

        Raises:
            FormatError: The file is of another class or preprocessing, or the weights do not fit.
        """
        metadata = io.load_metadata(path, _FORMAT)
        for key, mine in (("encoder", self.config), ("preprocessing", described(self.preprocessing))):
            if metadata.get(key) != json.dumps(mine):
                raise FormatError(f"{os.fspath(path)}: expected {key} {json.dumps(mine)}, found {metadata.get(key)}")
        self._load_weights(path, io.load_safetensors(path), metadata)
