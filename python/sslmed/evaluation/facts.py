"""Facts of a result that its verdict, its stamps and its report share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sslmed.evaluation.confounding import standardized_differences
from sslmed.evaluation.scoring import HIGHER
from sslmed.labels import class_names

if TYPE_CHECKING:
    from sslmed.evaluation.result import TransferResult

__all__ = ["CONFOUNDERS", "Facts", "decided", "facts_of", "imbalances", "lines_of"]

Array = np.ndarray[Any, Any]

CONFOUNDERS = ("age", "sex", "site")
"""Columns that could explain a score without the disease."""


@dataclass(frozen=True)
class Facts:
    """What a result is of."""

    main: str
    """Row that is compared with the others."""
    metric: str
    """The first score of the table."""
    people: int
    recordings: int
    counts: dict[str, int]
    """People of each class; empty where values are regressed."""
    features: int | None
    """Number of features of the main row."""
    positive: str | None
    """Class that is named as positive."""
    fixed: bool
    """Whether fitted models were tested on another cohort."""
    trained_on: int | None
    """People that a model was trained on, on average."""
    covariates: tuple[str, ...]

    @property
    def regression(self) -> bool:
        """Whether values are regressed."""
        return not self.counts

    @property
    def higher(self) -> bool:
        """Whether a higher score is better."""
        return HIGHER.get(self.metric, True)


def facts_of(result: TransferResult) -> Facts:
    """Reads the facts of a result.

    Args:
        result: Result of :func:`sslmed.evaluate` or :func:`sslmed.transfer`.
    """
    manifest, predictions = result.manifest, result.predictions
    options = manifest.get("options", {})
    main = str(options.get("main") or predictions["row"].iloc[-1])
    block = predictions[predictions["row"] == main]
    counts: dict[str, int] = {}
    if block["label"].notna().any():
        truth = block.drop_duplicates(["subject", "truth"])["truth"].astype(str)
        counts = {str(c): int((truth == str(c)).sum()) for c in block["label"].unique()}
    shape = manifest.get("rows", {}).get(main, {}).get("shape")
    features = None if shape is None else int(shape[1]) if len(shape) == 2 else int(shape[1] * (shape[1] + 1) // 2)
    trained = manifest.get("trained_on")
    return Facts(
        main, str(result.table["metric"].iloc[0]), int(block["subject"].nunique()), len(block) // max(1, len(counts)), counts, features,
        options.get("positive"), manifest.get("kind") == "fitted model", None if trained is None else round(trained), tuple(options.get("covariates", ())),
    )  # fmt: skip


def imbalances(result: TransferResult) -> pd.DataFrame:
    """Standardized differences between the classes in age, sex and site, where the table has them.

    Args:
        result: Result of a target of classes; of another the table is empty.
    """
    table = result.people
    columns = [c for c in CONFOUNDERS if c in table and table[c].notna().any()]
    columns = [c for c in columns if table[c].nunique() > 1]
    if not columns or not facts_of(result).counts or result.target not in table:
        return pd.DataFrame(columns=["column", "difference", "imbalanced", "classes", "n", "missing"])
    named = table.assign(**{result.target: class_names(table[result.target].infer_objects().to_numpy())})
    if "site" in columns:  # codes of sites are no numbers
        named["site"] = named["site"].astype(object).where(named["site"].isna(), named["site"].astype(str))
    return standardized_differences(named, result.target, columns)


def lines_of(table: pd.DataFrame) -> list[Any]:
    """Lines of a table, with the columns as attributes.

    Args:
        table: Table, which may be empty.
    """
    return list(table.itertuples(index=False)) if len(table) else []


def decided(line: Any) -> bool:
    """Whether a line of comparisons tells two rows apart: its interval leaves zero and its corrected p value is below 0.05.

    Args:
        line: Line of ``result.comparisons``.
    """
    crosses = np.isfinite(line.low) and np.isfinite(line.high) and line.low <= 0 <= line.high
    return bool(np.isfinite(line.p_holm) and line.p_holm < 0.05 and not crosses)
