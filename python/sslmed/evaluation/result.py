"""The result of a transfer: scores, predictions and comparisons, and what is computed from them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sslmed._checks import choice
from sslmed.evaluation import metrics
from sslmed.evaluation.metrics import Metric
from sslmed.evaluation.subgroups import subgroups
from sslmed.reporting.escape import html_block, write_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sslmed.evaluation.learning import LearningCurve
    from sslmed.evaluation.verdict import Verdict

__all__ = ["TransferResult", "predictions_table"]

Array = np.ndarray[Any, Any]


@dataclass(repr=False)
class TransferResult:
    """Scores of a transfer (:func:`sslmed.transfer`), with its predictions and comparisons."""

    table: pd.DataFrame
    """One line a row and metric: row, metric, value, low, high (95 %), n_subjects, sd_folds (over the draws of folds)."""
    target: str
    """Column that was predicted."""
    protocol: str
    """Name of the protocol; for a trained network, which part of it was tuned."""
    predictions: pd.DataFrame
    """Out-of-fold predictions, one line a row, recording and class: row, subject, path, fold, truth, label, predicted, prior.

    ``label`` is the class whose probability ``predicted`` is; for a regressed target it is NaN and ``predicted`` the
    value. ``prior`` is what the training part alone says: the share of the class, or the mean. All three are means over
    the draws of folds; ``fold`` is that of the first draw, and 0 where another cohort is tested.
    """
    comparisons: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The declared comparisons of the main row: row, against, metric, difference, low, high, p, p_holm, test.

    ``p_holm`` is corrected over the lines of the same metric. "left-out people, t": by leaving each person out of test and training parts.
    "permuted labels, refitted": how many permutations of the labels score as well. With ``test=``, of fitted models:
    predictions exchanged between two models, subject by subject, or DeLong's test.
    """
    people: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The table of the scored recordings, line by line with :meth:`wide`."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """What the encoder had seen of the scored ``people``: numbers of people whose signals it was trained on
    (``transductive``) and whose labels a probe looked at (``probe``), how many were ``excluded`` if that was asked, and
    where its weights come from (``encoder``). Empty without an encoder."""
    manifest: dict[str, Any] = field(default_factory=dict)
    """Options, seeds, folds and hashes from which the same table is made again (:func:`sslmed.evaluation.manifest.remake`)."""
    chosen_from: int = 1
    """Number of results that this one was picked from, such as the cells of a grid. Set it: reports and stamps say it."""

    def __repr__(self) -> str:
        return f"<TransferResult {self.target}, {self.protocol}>\n{self.table.to_string(index=False)}"

    def _repr_html_(self) -> str:
        return html_block(self.target, self.table, after=f", {self.protocol}")

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
        """Scores each row within groups of people, and marks the worst group where a test says that they differ.

        Args:
            by: Column of the cohort's table, or a series by subject (:func:`sslmed.shift.distance_from`). A numeric one
                with more than ten values is cut into bins.
            bins: Number of bins of equal size, or their edges.
            metric: Metric of the table; the first by default.
            draws: Draws of the bootstrap over subjects, and of the test.
            seed: Seed of both.

        Returns:
            row, group, value, low, high, n_subjects, p_interaction, worst
            (:func:`sslmed.evaluation.subgroups.subgroups`). NaN where a group lacks a class that the metric needs.

        Raises:
            ValueError: No such column or metric, a subject that is not in the series, or fewer than two edges.
        """
        known = [str(m) for m in self.table["metric"].unique() if m in (*metrics.METRICS["classification"], *metrics.METRICS["regression"])]
        choice("subgroups", "metric", metric or known[0], known)
        wide = self.wide()
        chosen: Metric = metric or known[0]  # type: ignore[assignment]
        rows = {row: self._decisions(row) if chosen in ("balanced_accuracy", "f1") else self._predicted(row) for row in self._rows()}
        values = self._values(by, wide["subject"])
        return subgroups(rows, wide["truth"].to_numpy(), wide["subject"].to_numpy(), values, metric=chosen, bins=bins, draws=draws, seed=seed)

    def confusion(self, row: str) -> pd.DataFrame:
        """Counts how often each class is decided for, by how far it is raised above its share in the training parts.

        Args:
            row: Row of the table.

        Returns:
            Counts, with true classes in rows and predicted classes in columns.

        Raises:
            ValueError: No such row, or a regressed target.
        """
        self._probabilities("confusion", row)
        raised, classes = self._decisions(row)
        assert classes is not None
        return metrics.confusion(self._truth(row), raised, classes)

    def stamps(self) -> list[str]:
        """Returns what a reviewer would reject this result for, one sentence each (:func:`sslmed.evaluation.stamps.stamps`)."""
        from sslmed.evaluation.stamps import stamps

        return stamps(self)

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
        what = "fitted models" if self.manifest.get("kind") == "fitted model" else "the procedure"
        return plot_rows(self.table[self.table["metric"] == (metric or known[0])], metric or known[0], ax, interval=f"95 % interval of {what}")

    def verdict(self, curve: LearningCurve | None = None) -> Verdict:
        """Says in sentences what this number of people can show and what it cannot.

        Args:
            curve: Learning curve of the same features and people (:func:`sslmed.evaluation.learning.learning_curve`).

        Returns:
            The statements: the smallest effect that could be shown, what is better than what, how many more people would
            settle it (:func:`sslmed.evaluation.verdict.verdict`).

        Raises:
            TypeError: ``curve`` is not a learning curve.
        """
        from sslmed.evaluation.verdict import verdict

        return verdict(self, curve)

    def save(self, path: str | os.PathLike[str], *, curve: LearningCurve | None = None) -> None:
        """Writes the table as CSV, or a self-contained page: what is estimated, who was left out, the verdict, figures.

        Args:
            path: File; a page if its name ends in .html.
            curve: Learning curve for the page.

        Raises:
            TypeError: ``curve`` is not a learning curve.
        """
        if os.fspath(path).endswith(".html"):
            from sslmed.evaluation.report import write

            write(self, path, curve)
        else:
            write_csv(self.table, path)

    def save_manifest(self, path: str | os.PathLike[str]) -> None:
        """Writes the manifest as JSON, from which :func:`sslmed.evaluation.manifest.remake` makes the same table again.

        Args:
            path: File (.json).
        """
        Path(path).write_text(json.dumps(self.manifest, indent=1), encoding="utf-8")

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

    def _decisions(self, row: str) -> tuple[Array, Array | None]:
        """As :meth:`_predicted`, with each class in relation to its share in the training parts: the largest one is decided for."""
        predicted, classes = self._predicted(row)
        if classes is None:
            return predicted, None
        raised = predicted / np.maximum(self._block(row)["prior"].to_numpy().reshape(predicted.shape), 1e-12)
        return raised / raised.sum(axis=1, keepdims=True), classes

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


def predictions_table(
    rows: dict[str, Array], people: pd.DataFrame, fold: Array, truth: Array, classes: Array | None, prior: Array | None = None
) -> pd.DataFrame:
    """Arranges predictions with one line a row, recording and class.

    Args:
        rows: Probabilities [n, classes] or regressed values [n], by row.
        people: Table of the recordings [n] with ``subject`` and ``path``.
        fold: Number of the fold that tested each recording [n].
        truth: True classes or values [n].
        classes: Names of the classes; None for regressed values.
        prior: Share of each class in the training parts [n, classes], or their mean [n].
    """
    n, k = len(people), 1 if classes is None else len(classes)
    parts = []
    for name, predicted in rows.items():
        columns = {"subject": people["subject"].to_numpy(), "path": people["path"].to_numpy(), "fold": fold, "truth": truth}
        part = pd.DataFrame({"row": name} | {column: np.repeat(values, k) for column, values in columns.items()})
        label = np.nan if classes is None else np.tile(classes, n)
        parts.append(part.assign(label=label, predicted=predicted.ravel(), prior=np.nan if prior is None else prior.ravel()))
    return pd.concat(parts, ignore_index=True)
