"""Manifests: all that a table was made from, so that the same table can be made again."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from sslmed.evaluation.crossfit import Pipeline, Study
from sslmed.evaluation.seeds import Seeds

if TYPE_CHECKING:
    from sslmed.evaluation.assess import Options

__all__ = ["manifest"]

Array = np.ndarray[Any, Any]


def manifest(study: Study, rows: Mapping[str, Seeds | Pipeline | list[Array] | None], options: Options) -> dict[str, Any]:
    """Options, seeds, folds and hashes as plain values, which JSON can hold."""
    return {
        "sslmed": version("sslmed"),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "options": {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(options).items()},
        "balanced": study.balanced,
        "level": "recording" if len(np.unique(study.unit)) == len(study.unit) else "person",
        "classes": None if study.classes is None else [str(c) for c in study.classes],
        "target": _digest(study.y),
        "persons": _digest(study.person),
        "rows": {name: _described(how) for name, how in rows.items()},
        "folds": [[np.asarray(test).tolist() for _, test in folds] for folds in study.repeats],
    }


def _described(how: Seeds | Pipeline | list[Array] | None) -> dict[str, Any]:
    if how is None:
        return {"probe": "dummy"}
    if isinstance(how, Seeds):
        return {"seeds": [_described(member) for member in how.members]}
    if not isinstance(how, Pipeline):
        return {"predictions": _digest(np.stack(how))}
    return {"probe": how.probe, "features": _digest(how.x), "shape": list(how.x.shape), "adaptation": str(how.adaptation), "corrected": how.correct}


def _digest(values: Array) -> str:
    whole = np.ascontiguousarray(values)
    return hashlib.blake2b(f"{whole.dtype} {whole.shape}".encode() + whole.tobytes(), digest_size=16).hexdigest()
