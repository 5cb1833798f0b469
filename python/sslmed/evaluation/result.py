"""The result of a transfer: scores, predictions and comparisons, and what is computed from them."""

from __future__ import annotations

import html
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sslmed._checks import choice, whole
from sslmed.evaluation import metrics
from sslmed.evaluation.metrics import Metric
from sslmed.evaluation.statistics import bootstrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["TransferResult", "predictions_table"]

Array = np.ndarray[Any, Any]


@dataclass(repr=False)
class TransferResult:
    """Scores of a transfer (:func:`sslmed.transfer`), with its predictions and comparisons."""

    table: pd.DataFrame
    """One line a row and metric: row, metric, value, low, high (95 % over subjects), n_subjects."""
    target: str
    """Column that was predicted."""
    protocol: str
    """Name of the protocol; for a trained network, which part of it was tuned."""
    predictions: pd.DataFrame
    """Out-of-fold predictions, one line a row, recording and class: row, subject, path, fold, truth, label, predicted.

    ``label`` is the class whose probability ``predicted`` is; for a regressed target it is NaN and ``predicted`` the
    value. ``fold`` is 0 where another cohort is tested.
    """
    comparisons: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The last row against each other one: row, against, metric, difference, low, high, p, p_holm, test.

    ``p_holm`` is corrected over all lines. The permutation test exchanges predictions between the two models, subject
    by subject, and has no interval. Areas under the ROC curve of two classes, one recording a subject, are compared by
    DeLong's test, with its 95 % interval.
    """
    people: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The table of the scored recordings, line by line with :meth:`wide`."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """What the encoder had seen of the scored ``people``: numbers of people whose signals it was trained on
    (``transductive``) and whose labels a probe looked at (``probe``), how many were ``excluded`` if that was asked, and
    where its weights come from (``encoder``). Empty without an encoder."""

    def __repr__(self) -> str:
        return f"<TransferResult {self.target}, {self.protocol}>\n{self.table.to_string(index=False)}"

    def _repr_html_(self) -> str:
        return f"<b>{html.escape(self.target)}</b>, {html.escape(self.protocol)}{self.table.to_html(index=False)}"

    def wide(self) -> pd.DataFrame:
        """Returns the predictions with one line a recording.

        Returns:
            subject, truth, and a column for each row of the result (for each "row: class" of a classification).
        """
        rows = self._rows()
        out = self._block(rows[0]).drop_duplicates("_recording")[["subject", "truth"]].reset_index(drop=True)
        for row in rows:
            predicted, classes = self._predicted(row)
            if classes is None:
                out[row] = predicted
            else:
                for i, label in enumerate(classes):
                    out[f"{row}: {label}"] = predicted[:, i]
        return out

    def subgroups(
        self,
        by: str | pd.Series[Any],
        *,
        bins: int | Sequence[float] = 3,
        metric: Metric | None = None,
        draws: int = 1000,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Scores each row within groups of people, and marks the worst group.

        Args:
            by: Column of the cohort's table, or a series by subject (:func:`sslmed.shift.distance_from`). A numeric one
                with more than ten values is cut into bins.
            bins: Number of bins of equal size, or their edges.
            metric: Metric of the table; the first by default.
            draws: Draws of the bootstrap over subjects.
            seed: Seed of the bootstrap.

        Returns:
            row, group, value, low, high, n_subjects, worst. NaN where a group lacks a class that the metric needs.

        Raises:
            ValueError: No such column or metric, a subject that is not in the series, or fewer than two edges.
        """
        known = [str(m) for m in self.table["metric"].unique()]
        metric = metric or known[0]  # type: ignore[assignment]
        choice("subgroups", "metric", metric, known)
        whole("subgroups", "draws", draws, 1)
        whole("subgroups", "seed", seed)
        wide = self.wide()
        truth, subjects = wide["truth"].to_numpy(), wide["subject"].to_numpy()
        values = _binned(self._values(by, wide["subject"]), bins)
        lines: list[list[Any]] = []
        for row in self._rows():
            predicted, classes = self._predicted(row)
            found = []
            for group in sorted(values.dropna().unique()):
                members = np.flatnonzero((values == group).to_numpy())

                def statistic(index: Array, members: Array = members, predicted: Array = predicted, classes: Array | None = classes) -> float:
                    return metrics.score(metric, truth[members[index]], predicted[members[index]], classes)  # type: ignore[arg-type]

                low, high = bootstrap(statistic, subjects[members], draws=draws, seed=seed)
                found.append([row, str(group), statistic(np.arange(len(members))), low, high, len(np.unique(subjects[members])), False])
            scores = np.array([line[2] for line in found], float)
            if np.isfinite(scores).any():
                found[int(np.nanargmin(-scores if metric in ("mae", "brier") else scores))][-1] = True
            lines += found
        return pd.DataFrame(lines, columns=["row", "group", "value", "low", "high", "n_subjects", "worst"])

    def confusion(self, row: str) -> pd.DataFrame:
        """Counts how often each class is predicted as each other one.

        Args:
            row: Row of the table.

        Returns:
            Counts, with true classes in rows and predicted classes in columns.

        Raises:
            ValueError: No such row, or a regressed target.
        """
        predicted, classes = self._probabilities("confusion", row)
        return metrics.confusion(self._truth(row), predicted, classes)

    def calibration(self, row: str, label: str, *, bins: int = 10) -> pd.DataFrame:
        """Compares the predicted probabilities of a class with how often it occurs.

        Args:
            row: Row of the table.
            label: Class.
            bins: Number of bins of equal width over [0, 1].

        Returns:
            One line a bin that has recordings: predicted (mean probability), share (of recordings of the class), n.

        Raises:
            ValueError: No such row or class, or a regressed target.
        """
        predicted, classes = self._probabilities("calibration", row)
        choice("calibration", "label", label, [str(c) for c in classes])
        return metrics.calibration(self._truth(row) == label, predicted[:, list(classes).index(label)], bins=bins)

    def plot(self, ax: Axes | None = None, metric: Metric | None = None) -> Axes:
        """Draws the rows with their intervals.

        Args:
            ax: Axes to draw on; new ones by default.
            metric: Metric of the table; the first by default.

        Returns:
            The matplotlib axes.

        Raises:
            ValueError: No such metric.
        """
        from sslmed.reporting.plots import plot_rows

        known = [str(m) for m in self.table["metric"].unique()]
        choice("plot", "metric", metric or known[0], known)
        return plot_rows(self.table[self.table["metric"] == (metric or known[0])], metric or known[0], ax)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the table as CSV, or a self-contained page with the table and a plot.

        Args:
            path: File; a page if its name ends in .html.
        """
        if os.fspath(path).endswith(".html"):
            from sslmed.reporting.page import write_report

            write_report(path, f"Transfer: {self.target}", [(f"Transfer: {self.target}", self.table, [self.plot().figure])])
        else:
            self.table.to_csv(path, index=False)

    def _rows(self) -> list[str]:
        return [str(row) for row in self.predictions["row"].unique()]

    def _block(self, row: str) -> pd.DataFrame:
        """Lines of one row, with the number of the recording of each."""
        block = self.predictions[self.predictions["row"] == row]
        k = max(1, block["label"].nunique())
        return block.assign(_recording=np.arange(len(block)) // k)

    def _truth(self, row: str) -> Array:
        return self._block(row).drop_duplicates("_recording")["truth"].to_numpy()

    def _predicted(self, row: str) -> tuple[Array, Array | None]:
        """Probabilities [n, classes] and classes, or values [n] and None."""
        block = self._block(row)
        predicted = block["predicted"].to_numpy()
        if block["label"].isna().all():
            return predicted, None
        classes = np.array([str(c) for c in block["label"].unique()])
        return predicted.reshape(-1, len(classes)), classes

    def _probabilities(self, where: str, row: str) -> tuple[Array, Array]:
        choice(where, "row", row, self._rows())
        predicted, classes = self._predicted(row)
        if classes is None:
            raise ValueError(f"{where}: {self.target!r} is regressed; {where} is for classes")
        return predicted, classes

    def _values(self, by: str | pd.Series[Any], subjects: pd.Series[Any]) -> pd.Series[Any]:
        """What recordings are grouped by."""
        if isinstance(by, pd.Series):
            if unknown := sorted(set(subjects) - set(by.index)):
                raise ValueError(f"subgroups: by has no value of subject {unknown[0]!r}; its index must be the subjects")
            return subjects.map(by)
        if by not in self.people:
            raise ValueError(f"subgroups: by={by!r} is not a column of the cohort's table; there are {', '.join(map(str, self.people.columns))}")
        return self.people[by].reset_index(drop=True)


def _binned(values: pd.Series[Any], bins: int | Sequence[float]) -> pd.Series[Any]:
    if not isinstance(bins, Sequence):
        whole("subgroups", "bins", bins, 1)
    elif len(bins) < 2 or not all(a < b for a, b in itertools.pairwise(bins)):
        raise ValueError(f"subgroups: bins={list(bins)!r} must be at least two ascending edges, or a number of bins")
    if not pd.api.types.is_numeric_dtype(values) or values.nunique() <= 10:
        return values
    return pd.cut(values, list(bins)) if isinstance(bins, Sequence) else pd.qcut(values, bins, duplicates="drop")


def predictions_table(rows: dict[str, Array], people: pd.DataFrame, fold: Array, truth: Array, classes: Array | None) -> pd.DataFrame:
    """Arranges predictions with one line a row, recording and class.

    Args:
        rows: Probabilities [n, classes] or regressed values [n], by row.
        people: Table of the recordings [n] with ``subject`` and ``path``.
        fold: Number of the fold that tested each recording [n].
        truth: True classes or values [n].
        classes: Names of the classes; None for regressed values.
    """
    n, k = len(people), 1 if classes is None else len(classes)
    parts = []
    for name, predicted in rows.items():
        columns = {"subject": people["subject"].to_numpy(), "path": people["path"].to_numpy(), "fold": fold, "truth": truth}
        part = pd.DataFrame({"row": name} | {column: np.repeat(values, k) for column, values in columns.items()})
        parts.append(part.assign(label=np.nan if classes is None else np.tile(classes, n), predicted=predicted.ravel()))
    return pd.concat(parts, ignore_index=True)
