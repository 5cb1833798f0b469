"""The base classes of encoders, and loading by the format of the file."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from sslmed import io
from sslmed._core import FormatError
from sslmed.modalities.base import Preprocessing
from sslmed.modalities.registry import described, preprocessing_from
from sslmed.provenance import Provenance

if TYPE_CHECKING:
    from typing import Self

__all__ = ["CohortEncoder", "SavedEncoder", "description_of", "from_description", "load"]


class CohortEncoder(ABC):
    """What encoders of a cohort's samples share, those in C++ and those written in Python."""

    preprocessing: Preprocessing
    extra_channels: tuple[str, ...]
    config: dict[str, Any]
    provenance: Provenance | None = None
    """Whom it has seen (:mod:`sslmed.provenance`), saved with the weights. None: nobody, or not known."""
    _handle: Any
    _build: Callable[[], Any]

    @abstractmethod
    def randomized(self) -> CohortEncoder:
        """The same architecture with fresh random weights."""

    def with_adapters(self, rank: int = 8, alpha: float = 0.0) -> CohortEncoder:
        """A copy with adapters (LoRA); TypeError where an encoder has none."""
        raise TypeError(f"{type(self).__name__} has no adapters: tune the whole encoder, or nothing of it")

    @abstractmethod
    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes weights and preprocessing."""

    def _write(self, path: str | os.PathLike[str], kind: str, config: Mapping[str, Any]) -> None:
        if bad := _not_finite(self.state_dict()):  # type: ignore[attr-defined]
            raise ValueError(f"{os.fspath(path)}: the encoder was not saved: {bad}")
        metadata = {"format": kind, "encoder": json.dumps(config), "preprocessing": json.dumps(described(self.preprocessing))}
        if self.provenance is not None:
            metadata["provenance"] = self.provenance.dumps()
        io.save_safetensors(self.state_dict(), path, metadata)  # type: ignore[attr-defined]

    def _load_weights(self, path: str | os.PathLike[str], weights: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
        if bad := _not_finite(weights):
            raise FormatError(f"{os.fspath(path)}: expected finite weights, found that {bad}")
        try:
            self.load_state_dict(weights)  # type: ignore[attr-defined]
        except RuntimeError as error:
            raise FormatError(f"{os.fspath(path)}: expected weights that cover the encoder fully, found {error}") from error
        try:
            self.provenance = Provenance.loads(metadata.get("provenance"))
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"{os.fspath(path)}: expected a provenance as it is saved, found {error!r}") from error


def _not_finite(weights: Mapping[str, torch.Tensor]) -> str:
    """In words, which weights are NaN or infinite; empty where all are finite."""
    bad = [name for name, value in weights.items() if value.is_floating_point() and not bool(value.isfinite().all())]
    return f"{len(bad)} of its {len(weights)} tensors have values that are NaN or infinite, such as {bad[0]}" if bad else ""


def _check_sizes(path: str | os.PathLike[str], weights: Mapping[str, torch.Tensor], described: Mapping[str, Any]) -> None:
    """Refuses a description that is larger than its file, before anything of that size is made."""
    values = sum(value.numel() for value in weights.values())
    for name, value in described.items():
        largest = len(weights) if name.startswith("depth") else max(values, 4096)  # a block has a tensor at least; sizes of inputs are in no tensor
        for number in value if isinstance(value, (list, tuple)) else [value]:
            if name != "seed" and isinstance(number, int) and number > largest:
                raise FormatError(f"{os.fspath(path)}: expected the description of an encoder, found {name}={number} in a file of {len(weights)} tensors")


_CLASSES: dict[str, type[SavedEncoder]] = {}  # by the format of their files


class SavedEncoder(CohortEncoder):
    """An encoder that a file can bring back: one with weights in C++, made of plain values."""

    FORMAT: ClassVar[str]
    """How files of this kind call themselves; a class is known by it, so that a path is enough to load an encoder."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "FORMAT" in cls.__dict__:
            _CLASSES[cls.FORMAT] = cls

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """The architecture as plain values: arguments of the class."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes weights, architecture, preprocessing and provenance to one safetensors file."""
        self._write(path, self.FORMAT, self.described())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads what :meth:`save` or a training run wrote. Every weight must be there, and no other.

        Raises:
            FormatError: The file is not a saved encoder of this kind, or its weights do not fit its architecture.
        """
        metadata, weights = io.load_metadata(path, cls.FORMAT), io.load_safetensors(path)
        try:
            preprocessing = preprocessing_from(json.loads(metadata["preprocessing"]))
            arguments = json.loads(metadata["encoder"])
            _check_sizes(path, weights, arguments)
            encoder = cls(preprocessing=preprocessing, **arguments)  # type: ignore[call-arg]
        except FormatError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise FormatError(f"{os.fspath(path)}: expected the description of an encoder, found {error!r}") from error
        encoder._load_weights(path, weights, metadata)
        return encoder


def load(path: str | os.PathLike[str]) -> SavedEncoder:
    """Reads a saved encoder of any class.

    Raises:
        FormatError: The file is not a saved encoder, or its weights do not fit its architecture.
    """
    return _CLASSES[io.load_metadata(path, *_CLASSES)["format"]].load(path)


def description_of(encoder: CohortEncoder) -> dict[str, Any]:
    """Class, architecture and preprocessing of an encoder as plain values, for :func:`from_description`.

    Raises:
        TypeError: The encoder is written in Python: its class is not in its file.
    """
    if not isinstance(encoder, SavedEncoder):
        raise TypeError(f"{type(encoder).__name__} is written in Python and cannot be described by plain values")
    return {"format": encoder.FORMAT, "encoder": encoder.described(), "preprocessing": described(encoder.preprocessing)}


def from_description(values: Mapping[str, Any]) -> SavedEncoder:
    """The encoder that :func:`description_of` was given, with its initial weights.

    Raises:
        KeyError, TypeError, ValueError: The values are not such a description.
    """
    kind: Any = _CLASSES[values["format"]]
    encoder: SavedEncoder = kind(preprocessing=preprocessing_from(values["preprocessing"]), **values["encoder"])
    return encoder
