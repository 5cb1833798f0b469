"""The table of a segmentation: a line a class."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from sslmed.dense_tasks.tables import over_people

__all__ = ["summary"]

_COLUMNS = [
    "row", "metric", "class", "value", "low", "high", "n_subjects", "median", "p10", "n_cases", "n_missed", "n_empty",
    "n_false",
]  # fmt: skip


def summary(cases: pd.DataFrame, name: str, seed: int) -> pd.DataFrame:
    """A line a class, and one of their mean; intervals over people."""
    if cases.empty:
        return pd.DataFrame(columns=_COLUMNS)
    lines = []
    groups: list[tuple[Any, pd.DataFrame]] = list(cases.groupby("class", sort=False))
    mean: Any = cases.groupby(["row", "subject"], as_index=False)["dice"].mean()
    for label, part in [*groups, ("mean", mean)]:
        known = part["dice"].dropna()
        line: dict[str, Any] = {"row": name, "metric": "dice", "class": str(label)} | over_people(part, "dice", seed)
        line |= {"p10": float(known.quantile(0.1)) if len(known) else math.nan, "n_cases": len(part)}
        if label != "mean":
            empty, found = part["reference"] == 0, part["prediction"] > 0
            line |= {
                "n_missed": int((~empty & ~found).sum()),
                "n_empty": int(empty.sum()),
                "n_false": int((empty & found).sum()),
            }
        lines.append(line)
    counted = pd.DataFrame(lines, columns=_COLUMNS)
    for column in ("n_missed", "n_empty", "n_false"):
        counted.loc[counted["class"] == "mean", column] = counted.loc[counted["class"] != "mean", column].sum()
        counted[column] = counted[column].astype(int)
    return counted
