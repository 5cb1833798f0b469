"""Tensors of files that other libraries wrote, without running what is in them."""

from __future__ import annotations

import json
import os
import pickle
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from sslmed._core import C, FormatError, ReadError, regular

__all__ = ["read_tensors"]

_PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".tar")
_INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
# What torch.load raises of damaged files.
_DAMAGED = (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError, AssertionError, OverflowError, MemoryError, struct.error)
_DEEPEST = 20  # dictionaries inside of each other
_SINGLE = ("model.safetensors", "pytorch_model.bin")


def read_tensors(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Tensors by name, from a safetensors file, a file of ``torch.save`` or a folder with either.

    Nested dictionaries get names with dots. What is no tensor is left out.

    Raises:
        ReadError: A file is missing or cannot be read.
        FormatError: A file is damaged, of another kind, or holds objects other than tensors and plain values.
    """
    where = Path(path)
    if where.is_dir():
        return _read_folder(where)
    if not where.exists():
        raise ReadError(f"{where}: no such file or folder")
    if where.suffix == ".safetensors":
        tensors: dict[str, torch.Tensor] = C.load_safetensors(os.fspath(where))[0]
        return tensors
    if where.suffix in _PICKLES:
        return _read_pickle(where)
    raise FormatError(f"{where}: expected a .safetensors, .pth, .pt, .bin, .ckpt or .tar file or a folder with one, found {where.suffix or 'no ending'!r}")


def _read_folder(folder: Path) -> dict[str, torch.Tensor]:
    for name in _INDICES:
        if (folder / name).is_file():
            return _read_shards(folder / name)
    for name in _SINGLE:
        if (folder / name).is_file():
            return read_tensors(folder / name)
    found = sorted(file for file in folder.iterdir() if file.suffix in (".safetensors", *_PICKLES))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise FormatError(f"{folder}: expected one file of weights or an index of several, found {names}")
    return read_tensors(found[0])


def _read_shards(index: Path) -> dict[str, torch.Tensor]:
    try:
        places = json.loads(Path(regular(index)).read_text())["weight_map"]
        names = {str(key): str(file) for key, file in places.items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise FormatError(f"{index}: expected an index with a 'weight_map', found {error!r}") from error
    out: dict[str, torch.Tensor] = {}
    for file in sorted(set(names.values())):
        if Path(file).name != file:
            raise FormatError(f"{index}: expected names of files beside it, found {file!r}")
        if not (index.parent / file).is_file():
            raise ReadError(f"{index.parent / file}: the index lists this file, and it is missing")
        out |= read_tensors(index.parent / file)
    if set(out) != set(names):
        odd = sorted(set(out) ^ set(names))
        raise FormatError(f"{index}: expected the tensors that it lists, found {len(odd)} that differ: {', '.join(odd[:5])}")
    return out


def _read_pickle(path: Path) -> dict[str, torch.Tensor]:
    try:
        content = torch.load(regular(path), map_location="cpu", weights_only=True)
    except ReadError:
        raise
    except OSError as error:
        raise ReadError(f"{path}: {error}") from error
    except pickle.UnpicklingError as error:
        # torch's own message recommends to run what is in the file.
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f"the object {found[1]}" if found else "other objects, or damaged bytes"
        raise FormatError(f"{path}: expected tensors and plain values only, found {what}. Save the state_dict alone, or as safetensors.") from error
    except _DAMAGED as error:
        raise FormatError(f"{path}: expected a file of torch.save(), found {str(error).splitlines()[0] if str(error) else error!r}") from error
    out: dict[str, torch.Tensor] = {}
    try:
        _flatten(content, "", out, _DEEPEST)
    except RecursionError as error:
        raise FormatError(f"{path}: expected at most {_DEEPEST} dictionaries inside of each other, found more, or one that holds itself") from error
    if not out:
        raise FormatError(f"{path}: expected a dictionary of tensors, found {type(content).__name__} without any")
    return out


def _flatten(content: Any, prefix: str, out: dict[str, torch.Tensor], levels: int) -> None:
    if isinstance(content, torch.Tensor) and prefix:
        out[prefix] = content
    elif isinstance(content, Mapping):
        if levels == 0:
            raise RecursionError
        for key, value in content.items():
            _flatten(value, f"{prefix}.{key}" if prefix else str(key), out, levels - 1)
