"""Transfer: what a pretrained encoder is worth on a labelled cohort, beside what it has to beat."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from sslmed import stats
from sslmed.adaptation import kind_of
from sslmed.cohort import Cohort
from sslmed.encoders import CohortEncoder, resolve
from sslmed.finetuning import PROTOCOLS, FineTuning
from sslmed.labels import class_names, is_regression, labelled
from sslmed.leakage import refuse_overlap, refuse_shared_files
from sslmed.transfer import evaluate
from sslmed.transfer.rows import Task, baselines_of, predict_rows

__all__ = ["TransferResult", "transfer"]

Array = np.ndarray[Any, Any]


@dataclass(repr=False)
class TransferResult:
    """Scores of a transfer, one line a row and metric."""

    table: pd.DataFrame
    """row, metric, value, low, high (95 % over subjects), n_subjects."""
    target: str
    protocol: str
    predictions: pd.DataFrame
    """Out-of-fold predictions: subject, truth, and a column a row of the table (and class)."""
    comparisons: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The last row against each other one: against, metric, difference, p, p_holm (over all of them), test. By exchange of predictions
    between subjects; areas under the ROC curve of two classes, one recording a subject, by DeLong's test."""
    people: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The cohort's table, row by row with ``predictions``."""

    def __repr__(self) -> str:
        return f"<TransferResult {self.target}, {self.protocol}>\n{self.table.to_string(index=False)}"

    def _repr_html_(self) -> str:
        return f"<b>{html.escape(self.target)}</b>, {html.escape(self.protocol)}{self.table.to_html(index=False)}"

    def subgroups(
        self, by: str | pd.Series[Any], *, bins: int | Sequence[float] = 3, metric: str | None = None, draws: int = 1000, seed: int = 0
    ) -> pd.DataFrame:
        """Scores of each row within groups of people, the worst of them marked.

        Args:
            by: A column of the cohort's table, or a series by subject (:func:`sslmed.shift.distance_from`); a numeric one with more than ten values is cut
                into ``bins`` of equal size, or at these edges.
            bins: Number of groups, or edges.
            metric: One of the table's; its first by default.
            draws: Of the bootstrap over subjects.
            seed: Of it.

        Returns:
            row, group, value, low, high, n_subjects, worst. NaN where a group lacks a class that the metric needs.

        Raises:
            ValueError: No such column, or a subject that the series does not know.
        """
        metric = metric or str(self.table["metric"].iloc[0])
        if isinstance(by, str):
            if by not in self.people:
                raise ValueError(f"no column {by!r}; there are {', '.join(map(str, self.people.columns))}")
            values = self.people[by].reset_index(drop=True)
        else:
            if len(unknown := sorted(set(self.predictions["subject"]) - set(by.index))) > 0:
                raise ValueError(f"the series knows nothing of subject {unknown[0]!r}")
            values = self.predictions["subject"].map(by)
        if pd.api.types.is_numeric_dtype(values) and values.nunique() > 10:
            values = pd.qcut(values, bins, duplicates="drop") if isinstance(bins, int) else pd.cut(values, list(bins))
        truth, subjects = self.predictions["truth"].to_numpy(), self.predictions["subject"].to_numpy()
        lower_is_worse = metric not in ("mae", "brier")
        lines = []
        for row in self.table["row"].unique():
            columns = [c for c in self.predictions if str(c).startswith(f"{row}: ")]
            predicted = self.predictions[columns].to_numpy() if columns else self.predictions[row].to_numpy()
            classes = np.array([str(c)[len(row) + 2 :] for c in columns])
            found = []
            for group in sorted(values.dropna().unique()):
                members = np.flatnonzero((values == group).to_numpy())

                def statistic(index: Array, members: Array = members, predicted: Array = predicted, classes: Array = classes) -> float:
                    return evaluate.score(metric, truth[members[index]], predicted[members[index]], classes)

                low, high = evaluate.bootstrap(statistic, subjects[members], draws=draws, seed=seed)
                found.append([row, str(group), statistic(np.arange(len(members))), low, high, len(np.unique(subjects[members])), False])
            scores = np.array([line[2] for line in found], float)
            if np.isfinite(scores).any():
                found[int(np.nanargmin(scores if lower_is_worse else -scores))][-1] = True
            lines += found
        return pd.DataFrame(lines, columns=["row", "group", "value", "low", "high", "n_subjects", "worst"])

    def confusion(self, row: str) -> pd.DataFrame:
        """Counts of a classification, true classes in rows, predicted ones in columns."""
        scores, classes = self._scores(row)
        return evaluate.confusion(self.predictions["truth"].to_numpy(), scores, classes)

    def calibration(self, row: str, label: str, *, bins: int = 10) -> pd.DataFrame:
        """Whether the predicted probabilities of a class are met: predicted (mean of a bin), share (of it that has the class), n."""
        scores, classes = self._scores(row)
        if label not in classes:
            raise ValueError(f"no class {label!r}; there are {', '.join(classes)}")
        return evaluate.calibration(self.predictions["truth"].to_numpy() == label, scores[:, list(classes).index(label)], bins=bins)

    def _scores(self, row: str) -> tuple[Array, Array]:
        columns = [c for c in self.predictions if str(c).startswith(f"{row}: ")]
        if not columns:
            raise ValueError(f"no row {row!r} of a classification; there are {', '.join(self.table['row'].unique())}")
        return self.predictions[columns].to_numpy(), np.array([str(c)[len(row) + 2 :] for c in columns])

    def plot(self, ax: Any = None, metric: str | None = None) -> Any:
        """Rows with their intervals; returns the matplotlib axes."""
        from sslmed.plots import plot_rows

        metric = metric or str(self.table["metric"].iloc[0])
        return plot_rows(self.table[self.table["metric"] == metric], metric, ax)

    def save(self, path: str) -> None:
        """Writes the table as CSV, or as a self-contained page when the name ends in .html."""
        if str(path).endswith(".html"):
            from sslmed.report import write_report

            write_report(path, f"Transfer: {self.target}", [(f"Transfer: {self.target}", self.table, [self.plot().figure])])
        else:
            self.table.to_csv(path, index=False)


def transfer(
    encoder: CohortEncoder | None,
    cohort: Cohort,
    target: str,
    protocol: str | FineTuning = "linear",
    *,
    folds: int | str = 5,
    test: Cohort | None = None,
    regression: bool | None = None,
    baselines: bool | str | Sequence[str] = True,
    pooling: str = "mean",
    adaptation: Any = "none",
    bias_correction: bool = False,
    seed: int = 0,
    bootstrap: int = 1000,
    threads: int = 2,
    on_error: str = "raise",
) -> TransferResult:
    """Scores ``encoder`` on a labelled cohort, with every subject in training or test but never in both.

    Beside the ``pretrained encoder``, what it has to beat (:data:`sslmed.transfer.BASELINES`): ``dummy`` knows the labels' frequencies alone; ``band
    power`` + the linear probe and ``handcrafted`` + random forest are the classical pipelines, ``riemann`` the tangent space of channel covariances
    (of pictures, :data:`PICTURE_BASELINES`, ``colour`` + the linear probe);
    ``random encoder`` is the same architecture and protocol, untrained; ``shuffled labels`` is the pretrained encoder taught nonsense: chance.

    Args:
        encoder: Pretrained; None for the baselines that need none.
        cohort: Recordings or slides with a column ``target``; those without a value are left out.
        target: A column of the cohort's table: a numeric one is regressed, unless it is made of at most ten whole numbers that repeat (three times as
            many recordings as values); anything else is classified. A score from 0 to 10 may be either: say ``regression``.
        protocol: On frozen features: "linear" (logistic or ridge regression, its strength chosen inside the training subjects) or "knn". Networks
            trained anew in each fold: "finetune", "lora", "attentive", or their options (:class:`sslmed.FineTuning`).
        folds: Number of folds over subjects, or "loso" to leave one out at a time. Unused with ``test``.
        test: Another cohort to test on; the probe is then fitted on all of ``cohort``.
        regression: Whether the target is regressed (True) or made of classes (False), instead of by its values.
        baselines: Also compute the other rows: all, none, or those named.
        pooling: How a window's tokens become its features, of both encoders (:meth:`sslmed.nn.Encoder.encode`); for "linear" and "knn".
        adaptation: How features are brought towards those of ``test``, without its labels: "normalise" (each cohort by its own mean and
            deviation), "coral" (its covariance), "importance" (training recordings weighed by how much they look like it) or "none". Covariances are
            recentred by their cohort's Riemannian mean instead of the first two. Or "identity", without ``test`` too: the direction in which training
            subjects differ most is taken out of features. By skada (``pip install 'sslmed[adaptation]'``): "optimal_transport", or any of its
            adapters as an object (:func:`sslmed.adaptation.adapt_with`); covariances are recentred instead.
        bias_correction: For a regressed target and a protocol on frozen features, also score predictions freed of their pull to the mean, each row
            below its uncorrected one.
        seed: Of folds, forests, shuffled labels, fine-tuning and the bootstrap.
        bootstrap: Draws of the intervals.
        threads: Loader threads.
        on_error: "raise", or "skip" windows (pictures) that cannot be read or carry no signal, with a warning; a recording without any is refused. Of
            the classical rows also channels that some recording has no signal of.

    Raises:
        ValueError: No such column, fewer than two classes or subjects, a subject or file in both cohorts, an unknown protocol or baseline, an adaptation
            without a cohort to adapt to or of a trained network, or a bias correction of classes, of a trained network or beside an adaptation.
    """
    kind = kind_of(adaptation)
    if kind not in ("none", "identity") and test is None:
        raise ValueError("an adaptation needs a cohort to adapt to: pass test=")
    trained = isinstance(protocol, FineTuning) or protocol in PROTOCOLS
    if trained and (bias_correction or kind != "none"):
        raise ValueError("bias_correction and adaptation are for frozen features: use the protocol 'linear' or 'knn'")
    if bias_correction and kind != "none":
        raise ValueError("a bias correction is fitted on predictions that are not adapted: choose one of the two")
    if isinstance(protocol, FineTuning) and protocol.dann > 0 and test is None:
        raise ValueError("an adaptation needs a cohort to adapt to: pass test=")
    if not trained:
        evaluate.probe(str(protocol), False)  # an unknown name is told before hours of work
    task = plan(encoder, cohort, target, folds=folds, test=test, regression=regression, seed=seed, threads=threads, on_error=on_error)
    regressed, classes, truth = task.regression, task.classes, task.truth
    if bias_correction and not regressed:
        raise ValueError(f"{target!r} is made of classes; a bias correction is for a regressed target")
    named = (baselines,) if isinstance(baselines, str) else baselines  # a grid's list of names is one after the other
    chosen = baselines_of(task.cohort) if named is True or (named is False and encoder is None) else tuple(named or ())
    rows = predict_rows(task, encoder, protocol, chosen, pooling=pooling, adaptation=adaptation, bias_correction=bias_correction)

    people = (task.cohort if task.test is None else task.test).table
    subjects = people["subject"].to_numpy()
    lines = []
    for name, predicted in rows.items():
        for metric in evaluate.METRICS["regression" if regressed else "classification"]:

            def statistic(index: Array, metric: str = metric, predicted: Array = predicted) -> float:
                return evaluate.score(metric, truth[index], predicted[index], classes)

            low, high = evaluate.bootstrap(statistic, subjects, draws=bootstrap, seed=seed)
            value = statistic(np.arange(len(subjects)))
            lines.append((name, metric, value, low, high, len(np.unique(subjects))))
    predictions = pd.DataFrame({"subject": subjects, "truth": truth})
    for name, predicted in rows.items():
        if regressed:
            predictions[name] = predicted
        else:
            for i, label in enumerate(classes):
                predictions[f"{name}: {label}"] = predicted[:, i]
    table = pd.DataFrame(lines, columns=["row", "metric", "value", "low", "high", "n_subjects"])
    compared = _compare(rows, truth, subjects, classes, regressed, draws=bootstrap, seed=seed)
    shown = protocol.tuned if isinstance(protocol, FineTuning) else protocol
    return TransferResult(table, target, shown, predictions, compared, people)


def plan(
    encoder: CohortEncoder | None,
    cohort: Cohort,
    target: str,
    *,
    folds: int | str = 5,
    test: Cohort | None = None,
    regression: bool | None = None,
    seed: int = 0,
    threads: int = 2,
    on_error: str = "raise",
) -> Task:
    """What :func:`transfer` is to predict of whom, looked at before any work is done; raises what it raises."""
    cohort, y = labelled(cohort, target)
    if encoder is not None:
        resolve(encoder, cohort, *([] if test is None else [test]))
    regression = is_regression(y, regression)
    y = y if regression else class_names(y)
    classes = np.unique(y)
    if len(classes) < 2:
        raise ValueError(f"{cohort.name}: column {target!r} has one value only, {str(classes[0])!r}")
    truth = y
    if test is not None:
        refuse_overlap(cohort.table["subject"], test.table["subject"])
        refuse_shared_files(cohort, test)
        test, truth = labelled(test, target)
        if regression and not np.issubdtype(truth.dtype, np.number):
            raise ValueError(f"{test.name}: {target!r} is regressed, and has values that are no numbers, such as {str(truth[0])!r}")
        truth = truth if regression else class_names(truth)
        if not regression and (unseen := sorted(set(truth) - set(classes))):
            raise ValueError(f"{test.name}: {target!r} has values that {cohort.name} has not: {', '.join(unseen)}")
    parts = [] if test is not None else list(cohort.folds(folds, stratify=None if regression else target, seed=seed))
    return Task(cohort, y, target, regression, classes, parts, test, truth, seed, threads, on_error)


def _compare(rows: dict[str, Array], y: Array, subjects: Array, classes: Array, regression: bool, *, draws: int, seed: int) -> pd.DataFrame:
    """The last row (uncorrected) against the others."""
    names = [name for name in rows if not name.endswith(", bias-corrected")]
    last, metric = names[-1], "mae" if regression else "balanced_accuracy"

    def statistic(predicted: Array) -> float:
        return evaluate.score(metric, y, predicted, classes)

    lines = []
    for name in names[:-1]:
        p = stats.paired_permutation(statistic, rows[last], rows[name], subjects, draws=draws, seed=seed)
        lines.append((last, name, metric, statistic(rows[last]) - statistic(rows[name]), p, "permutation"))
        positive = y == classes[-1]
        if not regression and len(classes) == 2 and len(np.unique(subjects)) == len(subjects) and 2 <= positive.sum() <= len(y) - 2:
            test = stats.delong(positive, rows[last][:, 1], rows[name][:, 1])
            lines.append((last, name, "auroc", test.difference, test.p, "DeLong"))
    table = pd.DataFrame(lines, columns=["row", "against", "metric", "difference", "p", "test"])
    return table.assign(p_holm=stats.holm(table["p"].to_numpy(float)))
