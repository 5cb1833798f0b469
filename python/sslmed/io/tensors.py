"""Tensors in safetensors files."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch

from sslmed._core import C, FormatError

__all__ = ["load_metadata", "load_safetensors", "save_safetensors"]

_Path = str | os.PathLike[str]


def save_safetensors(tensors: Mapping[str, torch.Tensor], path: _Path, metadata: Mapping[str, str] | None = None) -> None:
    """Writes tensors to one safetensors file: complete under its name, or not at all.

    Raises:
        ReadError: The file cannot be written.
    """
    C.save_safetensors(os.fspath(path), dict(tensors), dict(metadata or {}))


def load_safetensors(path: _Path) -> dict[str, torch.Tensor]:
    """Reads all tensors of a safetensors file.

    Raises:
        FormatError: The header is malformed, or tensors overlap, leave holes or do not fit the file.
        ReadError: The file cannot be read.
    """
    tensors: dict[str, torch.Tensor] = C.load_safetensors(os.fspath(path))[0]
    return tensors


def load_metadata(path: _Path, *formats: str) -> dict[str, str]:
    """The metadata of a safetensors file of ours; FormatError when its ``format`` is none of these."""
    metadata: dict[str, str] = C.load_safetensors(os.fspath(path))[1]
    if metadata.get("format") not in formats:
        raise FormatError(f"{os.fspath(path)}: expected format {' or '.join(map(repr, formats))}, found {metadata.get('format')!r}")
    return metadata
