"""The table of a segmentation: a line a model, metric and class, with what a mean hides beside it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from sslmed.dense_tasks.tables import over_people
from sslmed.segmentation.options import Segmentation

__all__ = ["summary"]

_COLUMNS = [
    "row", "metric", "class", "value", "low", "high", "n_subjects", "median", "worst_decile", "n_cases", "n_undefined",
    "n_missed", "n_empty", "n_false", "convention",
]  # fmt: skip
_LESS = ("hausdorff_95",)
"""Metrics of which less is better."""


def summary(cases: pd.DataFrame, options: Segmentation, seed: int) -> pd.DataFrame:
    """A line a model, metric and class, and one of the mean over classes; intervals over people.

    Args:
        cases: A line a model, case and class.
        options: Metrics and their conventions.
        seed: Seed of the intervals.
    """
    if cases.empty:
        return pd.DataFrame(columns=_COLUMNS)
    lines = []
    for model, own in cases.groupby("model", sort=False):
        for metric in options.metrics:
            finite = own.assign(**{metric: own[metric].where(np.isfinite(own[metric]))})
            groups: list[tuple[Any, pd.DataFrame]] = list(finite.groupby("class", sort=False))
            for label, part in groups:
                lines.append(_line(part, metric, seed) | {"row": model, "class": str(label)} | _counts(part))
            mean: Any = finite.groupby(["row", "subject"], as_index=False)[metric].mean()
            counts = pd.DataFrame([_counts(part) for _, part in groups]).sum().astype(int)
            line = _line(mean, metric, seed) | {"row": model, "class": "mean"}
            lines.append(line | {str(name): int(count) for name, count in counts.items()})
    table = pd.DataFrame(lines)
    return table.assign(convention=[options.convention_of(metric) for metric in table["metric"]])[_COLUMNS]


def _line(cases: pd.DataFrame, metric: str, seed: int) -> dict[str, Any]:
    known = cases[metric].dropna()
    worst = known.quantile(0.9 if metric in _LESS else 0.1) if len(known) else math.nan
    counts = {"worst_decile": float(worst), "n_cases": len(cases), "n_undefined": len(cases) - len(known)}
    return {"metric": metric} | over_people(cases, metric, seed) | counts


def _counts(cases: pd.DataFrame) -> dict[str, int]:
    """Cases in which a class was missed, was not there, and was found though it was not there."""
    empty, found = cases["reference"] == 0, cases["prediction"] > 0
    return {
        "n_missed": int((~empty & ~found).sum()),
        "n_empty": int(empty.sum()),
        "n_false": int((empty & found).sum()),
    }
