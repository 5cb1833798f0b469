"""Transfer: what a pretrained encoder is worth on a labelled cohort, beside what it has to beat."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

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
        seed: Of the folds and the bootstrap.
        bootstrap: Draws of the intervals.
        threads: Loader threads.

    Raises:
        ValueError: No such column, fewer than two classes or subjects, or a subject in both cohorts.
    """
    cohort, y = _labelled(cohort, target)
    regression = evaluate.is_regression(y)
    if not regression:
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
        return evaluate.fit_predict(x, y, groups, x_test, classes, protocol, regression)

    rows: dict[str, Array] = {}
    if baselines or encoder is None:
        blank = np.zeros((len(cohort), 1))
        rows["dummy"] = predict("dummy", "dummy", blank, None if test is None else np.zeros((len(test), 1)))
        shared = features.common_channels(*([cohort] if test is None else [cohort, test]))
        bands = features.band_power(cohort, shared)
        rows["band power"] = predict("band power", protocol, bands, None if test is None else features.band_power(test, shared))
    if encoder is not None:
        models = {"random encoder": encoder.randomised()} if baselines else {}
        for name, model in (models | {"pretrained encoder": encoder}).items():
            x = features.encoder_features(model, cohort, threads=threads)
            x_test = None if test is None else features.encoder_features(model, test, threads=threads)
            rows[name] = predict(name, protocol, x, x_test)

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
    return TransferResult(table, target, protocol, predictions)


def _labelled(cohort: Cohort, target: str) -> tuple[Cohort, Array]:
    if target not in cohort.table:
        raise ValueError(f"{cohort.name}: no column {target!r}; there are {', '.join(cohort.table.columns)}")
    known = cohort.table[target].notna().to_numpy()
    if not known.any():
        raise ValueError(f"{cohort.name}: column {target!r} is empty")
    cohort = cohort if known.all() else cohort.subset(known)
    return cohort, cohort.table[target].to_numpy()
