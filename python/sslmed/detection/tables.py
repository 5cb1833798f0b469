"""The table of a detection: means over people with their intervals, every network beside its baselines."""

from __future__ import annotations

from typing import Any

import pandas as pd

from sslmed.dense_tasks import over_people

__all__ = ["COLUMNS", "summary"]

COLUMNS = [
    "row", "metric", "class", "value", "low", "high", "n_subjects", "median", "n_cases", "n_missed", "n_empty",
    "n_false", "n_objects", "n_found",
]  # fmt: skip
"""Columns of the table."""


def summary(cases: pd.DataFrame, people: pd.DataFrame, seed: int) -> pd.DataFrame:
    """A line for each network or baseline, class and metric.

    Args:
        cases: Lines of pictures, see :data:`sslmed.detection.scoring.CASES`.
        people: The same of all pictures of a person together.
        seed: Seed of the intervals.
    """
    lines = []
    for table in (cases, people):
        groups: Any = table.groupby(["by", "class", "metric"], sort=False)
        for (by, label, metric), part in groups:
            line = {"row": by, "metric": metric, "class": label} | over_people(part, "value", seed)
            there, found = part["reference"] > 0, part["prediction"] > 0
            line |= {"n_cases": len(part), "n_missed": int((there & ~found).sum()), "n_empty": int((~there).sum())}
            line |= {"n_false": int((~there & found).sum()), "n_objects": int(part["reference"].sum())}
            lines.append(line | {"n_found": int(part["prediction"].sum())})
    table = pd.DataFrame(lines, columns=COLUMNS)
    order = {name: i for i, name in enumerate(dict.fromkeys([*cases["by"], *people["by"]]))}
    kinds = {name: i for i, name in enumerate(dict.fromkeys([*cases["class"], *people["class"]]))}
    keys = pd.DataFrame({"by": table["row"].map(order), "class": table["class"].map(kinds)})
    return table.iloc[keys.sort_values(["by", "class"], kind="stable").index].reset_index(drop=True)
