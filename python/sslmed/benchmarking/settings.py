"""Settings of a benchmark, and what is written where."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from sslmed._checks import OnError
from sslmed.benchmarking.cells import digest_of
from sslmed.benchmarking.protocols import Protocol, described
from sslmed.benchmarking.sweep import Sweep
from sslmed.evaluation.evaluate import named_folds
from sslmed.evaluation.splits import CV

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """Checked arguments of :func:`sslmed.benchmark` that all cells share."""

    protocols: Mapping[str, Protocol]
    cv: CV
    repeats: int
    pooling: str
    shots: tuple[int, ...]
    shot_repeats: int
    retrieval: bool
    center: str | None
    card: tuple[str, ...]
    maps: str | None
    seed: int
    threads: int
    on_error: OnError
    out: Path | None
    say: Callable[[str], None]

    @property
    def sweeps(self) -> dict[str, Sweep]:
        """The protocols that train heads, by name."""
        return {name: one for name, one in self.protocols.items() if isinstance(one, Sweep)}

    @property
    def reading(self) -> dict[str, Any]:
        """How features are computed."""
        return {"threads": self.threads, "on_error": self.on_error}

    def folder(self, kind: str) -> Path | None:
        """The folder of a kind of cells; None where nothing is written."""
        return None if self.out is None else self.out / kind

    def key(self, what: str, features: bytes | None, table: pd.DataFrame, **more: Any) -> str:
        """The name of a cell's file: a digest of all that the cell depends on; empty where that is not known.

        Args:
            what: Kind of the cell.
            features: Digest of encoder and cohort.
            table: Columns of the cohort that decide on the cell: subject, target …
            **more: Other plain values.
        """
        if features is None:
            return ""
        labels = json.dumps([[str(name), *map(repr, table[name].tolist())] for name in table.columns])
        return digest_of({"what": what, "features": features, "labels": labels, "sslmed": version("sslmed")} | more)

    def plain(self) -> dict[str, Any]:
        """The settings as plain values: what the numbers depend on."""
        names = (
            "repeats",
            "pooling",
            "shots",
            "shot_repeats",
            "retrieval",
            "center",
            "card",
            "maps",
            "seed",
            "on_error",
        )
        own = {name: getattr(self, name) for name in names}
        folds = named_folds(self.cv)
        cv = repr(self.cv) if folds is None else folds
        return own | {"cv": cv, "protocols": {name: described(one) for name, one in self.protocols.items()}}
