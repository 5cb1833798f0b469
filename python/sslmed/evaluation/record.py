"""Records: all that a table was made from, as plain values, so that the same table can be made again (:mod:`sslmed.evaluation.manifest`)."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sslmed.evaluation.crossfit import Pipeline, Study
from sslmed.evaluation.seeds import Seeds

if TYPE_CHECKING:
    from sslmed.evaluation.assess import Options

__all__ = ["digest", "flow", "record", "record_fixed"]

Array = np.ndarray[Any, Any]


def record(study: Study, rows: Mapping[str, Seeds | Pipeline | list[Array] | None], options: Options) -> dict[str, Any]:
    """Options, seeds, folds and hashes of a cross-validated table, as values that JSON can hold.

    Args:
        study: What was predicted of whom.
        rows: How each row was predicted.
        options: What was asked for.
    """
    trained = [len(np.unique(study.person[train])) for folds in study.repeats for train, _ in folds]
    plain = {
        **_common(study, options),
        "kind": "folds",
        "trained_on": float(np.mean(trained)),
        "rows": {name: _described(how) for name, how in rows.items()},
        "folds": [[np.asarray(test).tolist() for _, test in folds] for folds in study.repeats],
        "train": _other_training(study),
    }
    return {name: _plain(value) for name, value in plain.items()}


def record_fixed(study: Study, predicted: Mapping[str, Array], options: Options, *, draws: int) -> dict[str, Any]:
    """What a table of fitted models on another cohort was made from.

    Args:
        study: The tested people.
        predicted: Predictions of each row.
        options: What was asked for.
        draws: Draws of the bootstrap.
    """
    rows = {name: {"predictions": digest(values)} for name, values in predicted.items()}
    return {name: _plain(value) for name, value in {**_common(study, options), "kind": "fitted model", "bootstrap": draws, "rows": rows}.items()}


def flow(given: pd.DataFrame, target: str, scored: pd.DataFrame, tested: pd.DataFrame) -> list[dict[str, Any]]:
    """How many recordings and people were left at each step, and why the others were not.

    Args:
        given: The table as it was given.
        target: Column that is predicted.
        scored: The table after exclusions.
        tested: The table of the recordings that some fold tests.

    Returns:
        One entry a step: step, recordings, people.
    """
    labeled = given[given[target].notna()]
    steps: list[tuple[str, pd.DataFrame, pd.DataFrame | None]] = [
        ("in the table", given, None),
        (f"left out: no value of {target!r}", given, labeled),
        ("left out: in the encoder's training data", labeled, scored),
        ("left out: in no test part of the folds", scored, tested),
        ("scored", tested, None),
    ]
    out = []
    for step, before, after in steps:
        rows, people = len(before), int(before["subject"].nunique())
        if after is not None:
            rows, people = rows - len(after), people - int(after["subject"].nunique())
        out.append({"step": step, "recordings": rows, "people": people})
    return out


def digest(values: Array) -> str:
    """A hash of numbers and their shape. The same numbers in single and double precision have the same hash.

    Args:
        values: Numbers of any shape.
    """
    whole = np.ascontiguousarray(values, dtype=np.float64)
    return hashlib.blake2b(f"{whole.shape}".encode() + whole.tobytes(), digest_size=16).hexdigest()


def _common(study: Study, options: Options) -> dict[str, Any]:
    return {
        "sslmed": version("sslmed"),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "options": asdict(options),
        "balanced": study.balanced,
        "level": study.level,
        "classes": None if study.classes is None else [str(c) for c in study.classes],
        "recordings": len(study.y),
        "people": len(np.unique(study.person)),
        "target": digest(study.y),
        "persons": digest(study.person),
    }


def _other_training(study: Study) -> dict[str, list[int]]:
    """Training rows by "repeat, fold", where they are not all rows that the fold does not test."""
    out = {}
    for r, folds in enumerate(study.repeats):
        for f, (train, test) in enumerate(folds):
            if not np.array_equal(train, np.setdiff1d(np.arange(len(study.y)), test)):
                out[f"{r}, {f}"] = np.asarray(train).tolist()
    return out


def _described(how: Seeds | Pipeline | list[Array] | None) -> dict[str, Any]:
    if how is None:
        return {"probe": "dummy"}
    if isinstance(how, Seeds):
        return {"seeds": [_described(member) for member in how.members]}
    if not isinstance(how, Pipeline):
        return {"predictions": digest(np.stack(how))}
    return {
        "probe": how.probe,
        "features": digest(how.x),
        "shape": list(how.x.shape),
        "dtype": str(how.x.dtype),
        "adaptation": how.adaptation if isinstance(how.adaptation, str) else repr(how.adaptation),
        "named": isinstance(how.adaptation, str),
        "seed": how.seed,
        "corrected": how.correct,
        "line": None if how.line is None else np.flatnonzero(how.line).tolist(),
    }


def _plain(value: Any) -> Any:
    """A value as JSON holds it: no tuples, and no numbers of NumPy."""
    if isinstance(value, Mapping):
        return {str(name): _plain(v) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, str) else value
