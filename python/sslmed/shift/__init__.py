"""Population shift: how two cohorts differ, in their people and in an encoder's features, and what that costs."""

from __future__ import annotations

import html
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.model_selection import StratifiedGroupKFold

from sslmed.cohort import Cohort
from sslmed.encoders import CohortEncoder, resolve
from sslmed.shift.distance import coral_distance, distance_from, frechet_distance, mmd
from sslmed.shift.identity import identity_variance
from sslmed.shift.labels import label_shift
from sslmed.shift.matching import Match, balance, match
from sslmed.transfer import evaluate, features, transfer
from sslmed.transfer.rows import baselines_of

__all__ = ["Match", "ShiftReport", "balance", "distance_from", "identity_variance", "label_shift", "match", "report"]

Array = np.ndarray[Any, Any]

_LEFT_OUT = ("handcrafted", "riemann", "shuffled labels")
_SPLITS = 10


@dataclass(repr=False)
class ShiftReport:
    """What differs between two cohorts."""

    table: pd.DataFrame
    """row, metric, value, low, high (95 % over subjects, of random splits their range; a distance has none, because its resampled values lie above it),
    n_subjects, p (of a test of no difference, where there is one)."""
    names: tuple[str, str]
    people: pd.DataFrame
    """One row a subject of both cohorts, with a column ``cohort``."""
    embedding: pd.DataFrame | None = None
    """First two principal components of the features, one row a recording."""

    def __repr__(self) -> str:
        return f"<ShiftReport {self.names[0]} → {self.names[1]}>\n{self.table.to_string(index=False)}"

    def _repr_html_(self) -> str:
        return f"<b>{html.escape(' → '.join(self.names))}</b>{self.table.to_html(index=False)}"

    def plot(self) -> Any:
        """Distributions of the people and, with an encoder, the first two components of the features; returns the figure."""
        from sslmed.plots import plot_shift

        return plot_shift(self.people, self.embedding)

    def save(self, path: str) -> None:
        """Writes a self-contained page (.html) or the table (.csv)."""
        if str(path).endswith(".html"):
            from sslmed.report import write_report

            title = f"Population shift: {self.names[0]} → {self.names[1]}"
            write_report(path, title, [(title, self.table, [self.plot()])])
        else:
            self.table.to_csv(path, index=False)


def report(
    public: Cohort,
    clinic: Cohort,
    encoder: CohortEncoder | None = None,
    by: Sequence[str] | None = None,
    *,
    target: str | None = None,
    seed: int = 0,
    bootstrap: int = 1000,
    threads: int = 2,
    on_error: str = "raise",
) -> ShiftReport:
    """Measures the shift between two cohorts.

    Numeric columns get the difference in means with Welch's test, the standardised difference (Cohen's d) and the
    Kolmogorov-Smirnov distance; others the total variation distance with a chi-squared test. With an encoder, a linear
    classifier tells the cohorts apart from its features (AUC, subject-level folds; .5 is no visible shift), beside the same
    on band power (of slides on colour). Each has a row *random split*: the mean of ten classifiers of people exchanged between the cohorts at random, which
    must be near .5, and as interval all that they reach. The subjects' mean features have distances
    (squared MMD, CORAL, Fréchet; standardised features) with a test by exchanging subjects between the cohorts. With ``target``, the score of a probe
    trained on ``public`` and tested on ``clinic`` stands beside its score within ``public``.

    Args:
        public: Where the encoder comes from.
        clinic: Where it goes.
        encoder: Whose features to compare.
        by: Columns to compare; one that a cohort lacks is an error. By default those of age, sex and site that both know.
        target: A column of both cohorts, for the cross-cohort score.
        seed: Of folds and bootstrap.
        bootstrap: Draws of the intervals.
        threads: Loader threads.
        on_error: As :func:`sslmed.transfer`.

    Raises:
        ValueError: A column is missing or empty in one cohort.

    Warns:
        UserWarning: A subject's name is in both cohorts. Tests and intervals are those of different people.
    """
    if encoder is not None:
        encoder = resolve(encoder, public, clinic)  # before the work on people
    names = (public.name, clinic.name) if public.name != clinic.name else (f"{public.name} (a)", f"{clinic.name} (b)")
    if both := sorted(set(public.table["subject"]) & set(clinic.table["subject"])):
        warnings.warn(f"{len(both)} subjects are in both cohorts by name, such as {both[0]!r}: they are taken for different people", UserWarning, stacklevel=2)
    people = pd.concat([public.subjects.assign(cohort=names[0]), clinic.subjects.assign(cohort=names[1])], ignore_index=True)
    lines: list[dict[str, Any]] = []
    if by is None:
        by = [c for c in ("age", "sex", "site") if all(c in cohort.table and cohort.table[c].notna().any() for cohort in (public, clinic))]
    for column in by:
        a, b = (_column(c, column) for c in (public, clinic))
        numeric = pd.api.types.is_numeric_dtype(a) and pd.api.types.is_numeric_dtype(b)
        lines += _numeric(column, a, b, seed, bootstrap) if numeric else _categorical(column, a, b)
    embedding = None
    if encoder is not None:
        x = np.concatenate([features.encoder_features(encoder, c, threads=threads, on_error=on_error) for c in (public, clinic)])
        embedding = _components(x, public, clinic, names)
        lines += _domain("domain classifier: features", x, public, clinic, seed, bootstrap)
        lines += _feature_shift(x, public, clinic, seed, bootstrap)
    if simple := features.simple(public, clinic, on_error=on_error):
        lines += _domain(f"domain classifier: {simple[0]}", np.concatenate(simple[1]), public, clinic, seed, bootstrap)
    if target is not None:
        baselines = [name for name in baselines_of(public) if name not in _LEFT_OUT]
        for row, kwargs in (
            (f"{target}: within {names[0]}", {}),
            (f"{target}: {names[0]} → {names[1]}", {"test": clinic}),
        ):
            result = transfer(encoder, public, target, baselines=baselines, seed=seed, bootstrap=bootstrap, threads=threads, on_error=on_error, **kwargs)  # type: ignore[arg-type]
            for _, line in result.table.iterrows():
                lines.append({str(k): v for k, v in line.items()} | {"row": f"{row}: {line['row']}"})
    table = pd.DataFrame(lines, columns=["row", "metric", "value", "low", "high", "n_subjects", "p"])
    return ShiftReport(table, names, people, embedding)


def _column(cohort: Cohort, column: str) -> pd.Series[Any]:
    if column not in cohort.subjects:
        raise ValueError(f"{cohort.name}: no column {column!r} to compare; there are {', '.join(cohort.subjects.columns)}")
    values = cohort.subjects[column].dropna()
    if values.empty:
        raise ValueError(f"{cohort.name}: column {column!r} is empty")
    return values


def _interval(statistic: Any, a: Array, b: Array, seed: int, draws: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    values = [statistic(rng.choice(a, len(a)), rng.choice(b, len(b))) for _ in range(draws)]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def _numeric(column: str, a: Any, b: Any, seed: int, draws: int) -> list[dict[str, Any]]:
    x, y = a.to_numpy(float), b.to_numpy(float)

    def cohen(x: Array, y: Array) -> float:
        pooled = np.sqrt(((len(x) - 1) * x.var(ddof=1) + (len(y) - 1) * y.var(ddof=1)) / max(1, len(x) + len(y) - 2))
        return float((y.mean() - x.mean()) / pooled) if pooled > 0 else float("nan")

    welch, smirnov = stats.ttest_ind(y, x, equal_var=False), stats.ks_2samp(x, y)
    interval = welch.confidence_interval(0.95)
    lines = [
        ("difference", float(y.mean() - x.mean()), float(interval.low), float(interval.high), float(welch.pvalue)),
        ("cohen_d", cohen(x, y), *_interval(cohen, x, y, seed, draws), np.nan),
        ("ks", float(smirnov.statistic), np.nan, np.nan, float(smirnov.pvalue)),
    ]
    names = ("metric", "value", "low", "high", "p")
    return [{"row": column, "n_subjects": len(x) + len(y)} | dict(zip(names, line, strict=True)) for line in lines]


def _categorical(column: str, a: Any, b: Any) -> list[dict[str, Any]]:
    x, y = a.astype(str).to_numpy(), b.astype(str).to_numpy()
    levels = np.unique(np.concatenate([x, y]))

    distance = float(sum(abs((x == v).mean() - (y == v).mean()) for v in levels) / 2)
    counts = np.array([[(x == v).sum() for v in levels], [(y == v).sum() for v in levels]])
    p = float(stats.chi2_contingency(counts).pvalue) if len(levels) > 1 else 1.0
    return [{"row": column, "metric": "total_variation", "value": distance, "low": np.nan, "high": np.nan, "n_subjects": len(x) + len(y), "p": p}]


def _domain(row: str, x: Array, public: Cohort, clinic: Cohort, seed: int, draws: int) -> list[dict[str, Any]]:
    """How well a linear classifier tells the cohorts apart, and cohorts of the same people, exchanged at random."""
    # Prefixed: two cohorts may both have a "sub-01", and they are two people.
    groups = np.concatenate([["a:" + s for s in public.table["subject"]], ["b:" + s for s in clinic.table["subject"]]])
    domain = np.concatenate([np.zeros(len(public), int), np.ones(len(clinic), int)])
    subjects, of_row = np.unique(groups, return_inverse=True)
    sizes = np.bincount([s.startswith("b:") for s in subjects], minlength=2)
    if min(sizes) < 2:
        raise ValueError(f"{row}: each cohort needs at least two subjects")

    def predict(y: Array) -> Array:
        folds = StratifiedGroupKFold(min(5, *sizes), shuffle=True, random_state=seed).split(x, y, groups)
        return evaluate.cross_predict(x, y, groups, folds, "linear", False)[:, 1]

    predicted = predict(domain)

    def auc(index: Array) -> float:
        return evaluate.auroc(domain[index] == 1, predicted[index])

    value = auc(np.arange(len(domain)))
    low, high = evaluate.bootstrap(auc, groups, draws=draws, seed=seed)
    rng, exchanged = np.random.default_rng(seed), []
    for _ in range(_SPLITS):
        y = rng.permutation(np.repeat((0, 1), sizes))[of_row]
        exchanged.append(evaluate.auroc(y == 1, predict(y)))
    line = {"metric": "auroc", "n_subjects": len(subjects)}
    return [
        line | {"row": row, "value": value, "low": low, "high": high},
        line | {"row": row + ", random split", "value": float(np.mean(exchanged)), "low": min(exchanged), "high": max(exchanged)},
    ]


def _feature_shift(x: Array, public: Cohort, clinic: Cohort, seed: int, draws: int) -> list[dict[str, Any]]:
    """Distances between the cohorts' subjects in feature space, standardised over all; p by exchanging subjects between the cohorts."""
    means, domains = [], []
    for part, cohort, domain in ((x[: len(public)], public, 0), (x[len(public) :], clinic, 1)):
        for _, rows in cohort.table.reset_index(drop=True).groupby("subject").groups.items():
            means.append(part[np.asarray(rows)].mean(axis=0))
            domains.append(domain)
    z, domain_of = np.stack(means), np.array(domains)
    z = (z - z.mean(0)) / np.maximum(z.std(0), 1e-12)
    rng = np.random.default_rng(seed)
    exchanged = [rng.permutation(domain_of) for _ in range(min(draws, 200))]
    lines = []
    for name, distance in (("mmd", mmd), ("coral", coral_distance), ("frechet", frechet_distance)):
        value = distance(z[domain_of == 0], z[domain_of == 1])
        beyond = sum(distance(z[d == 0], z[d == 1]) >= value for d in exchanged)
        lines.append({"row": "features", "metric": name, "value": value, "n_subjects": len(z), "p": (beyond + 1) / (len(exchanged) + 1)})
    return lines


def _components(x: Array, public: Cohort, clinic: Cohort, names: tuple[str, str]) -> pd.DataFrame:
    z = (x - x.mean(0)) / np.maximum(x.std(0), 1e-12)
    u, s, _ = np.linalg.svd(z, full_matrices=False)
    pc = u[:, :2] * s[:2]
    return pd.DataFrame({"pc1": pc[:, 0], "pc2": pc[:, 1], "cohort": [names[0]] * len(public) + [names[1]] * len(clinic)})
