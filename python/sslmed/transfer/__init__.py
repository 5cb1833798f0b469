"""Transfer: what a pretrained encoder is worth on a labelled cohort, beside what it has to beat."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from sslmed import stats
from sslmed.cohort import Cohort, refuse_overlap
from sslmed.nn import Encoder
from sslmed.transfer import evaluate, features

__all__ = ["TransferResult", "transfer"]

Array = np.ndarray[Any, Any]


@dataclass
class TransferResult:
    """Scores of a transfer, one line a row and metric."""

    table: pd.DataFrame
    """row, metric, value, low, high (95 % over subjects), n_subjects."""
    target: str
    protocol: str
    predictions: pd.DataFrame = field(repr=False)
    """Out-of-fold predictions: subject, truth, and a column a row of the table (and class)."""
    comparisons: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    """The last row against each other one: against, metric, difference, p, p_holm (over all of them), test. By exchange of predictions
    between subjects; areas under the ROC curve of two classes, one recording a subject, by DeLong's test."""

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
    encoder: Encoder | None,
    cohort: Cohort,
    target: str,
    protocol: str = "linear",
    *,
    folds: int | str = 5,
    test: Cohort | None = None,
    baselines: bool = True,
    pooling: str = "mean",
    adaptation: str = "none",
    bias_correction: bool = False,
    seed: int = 0,
    bootstrap: int = 1000,
    threads: int = 2,
) -> TransferResult:
    """Scores frozen features of ``encoder`` on a labelled cohort, with every subject in training or test but never in both.

    Rows: ``dummy`` (knows the labels' frequencies alone), ``band power`` + the same probe (the classical pipeline),
    ``random encoder`` (the same architecture, untrained) and ``pretrained encoder``.

    Args:
        encoder: Pretrained; None for the baselines that need none.
        cohort: Recordings with a column ``target``; those without a value are left out.
        target: A column of the cohort's table: a numeric one is regressed, unless it is made of at most
            ten whole numbers that repeat; anything else is classified.
        protocol: "linear" (logistic or ridge regression, its strength chosen inside the training subjects) or "knn".
        folds: Number of folds over subjects, or "loso" to leave one out at a time. Unused with ``test``.
        test: Another cohort to test on; the probe is then fitted on all of ``cohort``.
        baselines: Also compute the other rows.
        pooling: How a window's tokens become its features, of both encoders (:meth:`sslmed.nn.Encoder.encode`).
        adaptation: How features are brought towards those of ``test``, without its labels: "normalise" (each cohort by its own mean and
            deviation), "coral" (its covariance), "importance" (training recordings weighed by how much they look like it) or "none".
        bias_correction: For a regressed target, also score predictions freed of their pull to the mean, each row below its uncorrected one.
        seed: Of the folds and the bootstrap.
        bootstrap: Draws of the intervals.
        threads: Loader threads.

    Raises:
        ValueError: No such column, fewer than two classes or subjects, a subject in both cohorts, an adaptation without a cohort to adapt
            to, or a bias correction of classes.
    """
    if adaptation != "none" and test is None:
        raise ValueError("an adaptation needs a cohort to adapt to: pass test=")
    cohort, y = _labelled(cohort, target)
    regression = evaluate.is_regression(y)
    if not regression:
        if bias_correction:
            raise ValueError(f"{target!r} is made of classes; a bias correction is for a regressed target")
        y = y.astype(str)
    classes = np.unique(y)
    if len(classes) < 2:
        raise ValueError(f"{cohort.name}: column {target!r} has one value only, {classes[0]!r}")
    y_test = y
    if test is not None:
        refuse_overlap(cohort.table["subject"], test.table["subject"])
        test, y_test = _labelled(test, target)
        if not regression:
            y_test = y_test.astype(str)
            unseen = sorted(set(y_test) - set(classes))
            if unseen:
                raise ValueError(f"{test.name}: {target!r} has values that {cohort.name} has not: {', '.join(unseen)}")
    groups = cohort.table["subject"].to_numpy()
    plan = [] if test is not None else list(cohort.folds(folds, stratify=None if regression else target, seed=seed))
    scored = cohort if test is None else test
    subjects = scored.table["subject"].to_numpy()

    def predict(name: str, protocol: str, x: Array, x_test: Array | None) -> Array:
        for part in (x, x_test):
            if part is not None and not np.isfinite(part).all():
                raise ValueError(f"{name}: a recording has no usable window, so it cannot be scored; leave it out of the cohort")
        if x_test is None:
            return evaluate.cross_predict(x, y, groups, plan, protocol, regression)
        return evaluate.fit_predict(x, y, groups, x_test, classes, protocol, regression, adaptation="none" if protocol == "dummy" else adaptation)

    rows: dict[str, Array] = {}

    def score(name: str, x: Array, x_test: Array | None) -> None:
        rows[name] = predict(name, protocol, x, x_test)
        if bias_correction:
            rows[f"{name}, bias-corrected"] = evaluate.corrected_predict(x, y, groups, plan, protocol, x_test, subjects)

    if baselines or encoder is None:
        blank = np.zeros((len(cohort), 1))
        rows["dummy"] = predict("dummy", "dummy", blank, None if test is None else np.zeros((len(test), 1)))
        shared = features.common_channels(*([cohort] if test is None else [cohort, test]))
        bands = features.band_power(cohort, shared)
        score("band power", bands, None if test is None else features.band_power(test, shared))
    if encoder is not None:
        models = {"random encoder": encoder.randomised()} if baselines else {}
        for name, model in (models | {"pretrained encoder": encoder}).items():
            x = features.encoder_features(model, cohort, pooling=pooling, threads=threads)
            x_test = None if test is None else features.encoder_features(model, test, pooling=pooling, threads=threads)
            score(name, x, x_test)

    lines = []
    for name, predicted in rows.items():
        for metric in evaluate.METRICS["regression" if regression else "classification"]:

            def statistic(index: Array, metric: str = metric, predicted: Array = predicted) -> float:
                return evaluate.score(metric, y_test[index], predicted[index], classes)

            low, high = evaluate.bootstrap(statistic, subjects, draws=bootstrap, seed=seed)
            value = statistic(np.arange(len(subjects)))
            lines.append((name, metric, value, low, high, len(np.unique(subjects))))
    predictions = pd.DataFrame({"subject": subjects, "truth": y_test})
    for name, predicted in rows.items():
        if regression:
            predictions[name] = predicted
        else:
            for i, label in enumerate(classes):
                predictions[f"{name}: {label}"] = predicted[:, i]
    table = pd.DataFrame(lines, columns=["row", "metric", "value", "low", "high", "n_subjects"])
    compared = _compare(rows, y_test, subjects, classes, regression, draws=bootstrap, seed=seed)
    return TransferResult(table, target, protocol, predictions, compared)


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


def _labelled(cohort: Cohort, target: str) -> tuple[Cohort, Array]:
    if target not in cohort.table:
        raise ValueError(f"{cohort.name}: no column {target!r}; there are {', '.join(cohort.table.columns)}")
    known = cohort.table[target].notna().to_numpy()
    if not known.any():
        raise ValueError(f"{cohort.name}: column {target!r} is empty")
    cohort = cohort if known.all() else cohort.subset(known)
    return cohort, cohort.table[target].to_numpy()
