"""What encoders of a cohort's samples share, and how saved ones are told apart."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from sslmed import io
from sslmed._core import FormatError
from sslmed.modalities.base import Preprocessing
from sslmed.modalities.registry import described, preprocessing_from
from sslmed.provenance import Provenance

__all__ = ["CohortEncoder", "description_of", "from_description", "load", "saved_as"]


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
        metadata = {"format": kind, "encoder": json.dumps(config), "preprocessing": json.dumps(described(self.preprocessing))}
        if self.provenance is not None:
            metadata["provenance"] = self.provenance.dumps()
        io.save_safetensors(self.state_dict(), path, metadata)  # type: ignore[attr-defined]

    def _load_weights(self, path: str | os.PathLike[str], metadata: Mapping[str, str]) -> None:
        try:
            self.load_state_dict(io.load_safetensors(path))  # type: ignore[attr-defined]
        except RuntimeError as error:
            raise FormatError(f"{os.fspath(path)}: expected weights that cover the encoder fully, found {error}") from error
        try:
            self.provenance = Provenance.loads(metadata.get("provenance"))
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"{os.fspath(path)}: expected a provenance as it is saved, found {error!r}") from error


_Kind = TypeVar("_Kind", bound=type[CohortEncoder])
_CLASSES: dict[str, Any] = {}  # by the format of their files


def saved_as(kind: str) -> Callable[[_Kind], _Kind]:
    """Makes a class of encoders known by the format of its files, so that a path is enough to load one.

    Args:
        kind: Value of ``format`` in the metadata of its files.
    """

    def register(cls: _Kind) -> _Kind:
        _CLASSES[kind] = cls
        return cls

    return register


def load(path: str | os.PathLike[str]) -> CohortEncoder:
    """Reads a saved encoder of any class.

    Raises:
        FormatError: The file is not a saved encoder, or its weights do not fit its architecture.
    """
    encoder: CohortEncoder = _CLASSES[io.load_metadata(path, *_CLASSES)["format"]].load(path)
    return encoder


def description_of(encoder: CohortEncoder) -> dict[str, Any]:
    """Class, architecture and preprocessing of an encoder as plain values, for :func:`from_description`.

    Raises:
        TypeError: The encoder is written in Python: its class is not in its file.
    """
    kind = next((kind for kind, cls in _CLASSES.items() if type(encoder) is cls), None)
    if kind is None:
        raise TypeError(f"{type(encoder).__name__} is written in Python and cannot be described by plain values")
    architecture = encoder.described()  # type: ignore[attr-defined]
    return {"format": kind, "encoder": architecture, "preprocessing": described(encoder.preprocessing)}


def from_description(values: Mapping[str, Any]) -> CohortEncoder:
    """The encoder that :func:`description_of` was given, with its initial weights.

    Raises:
        KeyError, TypeError, ValueError: The values are not such a description.
    """
    preprocessing = preprocessing_from(values["preprocessing"])
    encoder: CohortEncoder = _CLASSES[values["format"]](preprocessing=preprocessing, **values["encoder"])
    return encoder
