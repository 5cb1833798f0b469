"""Features of cohorts, kept for the next who asks: every target, protocol and report of a study wants the same ones."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np
import torch

from sslmed import digests
from sslmed.cohort import Cohort
from sslmed.encoders import CohortEncoder, SavedEncoder
from sslmed.modalities import described, registry

__all__ = ["LIMIT", "add_cohort", "forget", "kept", "key_of", "of_encoder"]

Array = np.ndarray[Any, Any]

LIMIT = 256 << 20
"""Bytes of all features that are kept; those used last stay."""

_lock = Lock()
_kept: OrderedDict[bytes, Array] = OrderedDict()


def kept(encoder: CohortEncoder, cohort: Cohort, pooling: str, make: Callable[[], Array]) -> Array:
    """What ``make`` gives, or gave for the same weights, options, all files of each row (as long as they do not change) and rows.

    Encoders written in Python are asked each time: what their features depend on cannot be known.
    """
    if not isinstance(encoder, SavedEncoder) or (key := key_of(encoder, cohort, pooling)) is None:
        return make()
    with _lock:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key].copy()
    made = make()
    with _lock:
        _kept[key] = made.copy()
        while sum(x.nbytes for x in _kept.values()) > LIMIT:
            _kept.popitem(last=False)
    return made


def forget() -> None:
    """Lets all of them go."""
    with _lock:
        _kept.clear()


def key_of(encoder: CohortEncoder, cohort: Cohort, pooling: str) -> bytes | None:
    """A hash of everything that the features depend on; None where a file cannot be looked at."""
    digest = of_encoder(encoder, pooling)
    digest.update(str(next((value.device for value in encoder.state_dict().values()), "cpu")).encode())  # type: ignore[attr-defined]
    out: bytes | None = digest.digest() if add_cohort(digest, cohort) else None
    return out


def add_cohort(digest: Any, cohort: Cohort) -> bool:
    """Adds the rows of a cohort to a hash: what features depend on, and the files by size and time of change. False where a file cannot be looked at."""
    # Other columns are labels, which features do not depend on.
    named = {column for name in cohort.modalities for column in registry.get(name).columns(cohort.table)}
    for column in sorted(named.intersection(cohort.table.columns)):
        digest.update(f"{column}\0".encode())
        for value in cohort.table[column]:
            digest.update(f"{value!r}\0".encode())
    listed = [column for column in cohort.table if column == "path" or (column in named and str(column).startswith("path_"))]
    values = zip(
        cohort.table["modality"], zip(*(cohort.table[column] for column in listed), strict=True), cohort.arrays or itertools.repeat(None), strict=False
    )
    for modality, paths, array in values:
        if array is not None:
            _digest_array(digest, array)
            continue
        try:
            # A column of one sequence has no value in rows without it.
            for path in (path for given in paths if isinstance(given, (str, os.PathLike)) for path in registry.get(modality).members(given)):
                digest.update(f"{digests.state_of(path)}\0".encode())
        except OSError:
            return False
    return True


def of_encoder(encoder: CohortEncoder, pooling: str) -> Any:
    """A hash (of hashlib, to go on with) of an encoder's weights, options and preprocessing, and of a pooling.

    Of an encoder written in Python its class counts by its name: what its methods do cannot be known.
    """
    digest = hashlib.blake2b(digest_size=32)
    kind = type(encoder).FORMAT if isinstance(encoder, SavedEncoder) else type(encoder).__qualname__
    options = [kind, encoder.config, encoder.extra_channels, described(encoder.preprocessing), pooling]
    digest.update(json.dumps(options, sort_keys=True, default=repr).encode())
    for name, value in sorted(encoder.state_dict().items()):  # type: ignore[attr-defined]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(_bytes(value))
    return digest


def _digest_array(digest: Any, array: Any) -> None:
    """Of what a modality keeps in memory of a row: tensors by shape and content, in tuples of plain values."""
    for part in array if isinstance(array, (tuple, list)) else (array,):
        if isinstance(part, np.ndarray):
            part = torch.from_numpy(np.ascontiguousarray(part))
        if isinstance(part, torch.Tensor):
            digest.update(f"{part.dtype} {tuple(part.shape)}".encode())
            digest.update(_bytes(part))
        else:
            digest.update(f"{part!r}\0".encode())


def _bytes(value: torch.Tensor) -> memoryview:
    """As they lie in memory, of any type."""
    return value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data
