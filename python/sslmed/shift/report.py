"""The report of a population shift: differences between two cohorts, with intervals and tests."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.model_selection import StratifiedGroupKFold

from sslmed._checks import OnError, choice, whole
from sslmed._core import OverlapWarning
from sslmed._world import own_settings
from sslmed.cohort import Cohort
from sslmed.encoders import EncoderLike, resolve
from sslmed.evaluation import features, metrics, probes, statistics
from sslmed.evaluation.crossfit import Pipeline, Study
from sslmed.evaluation.permutation import chance_level
from sslmed.evaluation.rows import baselines_of
from sslmed.evaluation.transfer import transfer
from sslmed.leakage import refuse_shared_files
from sslmed.reporting.escape import html_block, write_csv
from sslmed.shift.distance import coral_distance, frechet_distance, mmd

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ShiftReport", "report"]

Array = np.ndarray[Any, Any]

_FEW = 20  # exchanges where each is fitted by itself
_LEFT_OUT = ("handcrafted", "riemann", "permuted labels")
_DISTANCES = ("mmd", "coral", "frechet")
_COLUMNS = ["row", "metric", "value", "low", "high", "n_subjects", "p", "p_holm", "random", "random_low", "random_high"]


@dataclass(repr=False)
class ShiftReport:
    """Differences between two cohorts (:func:`sslmed.shift.report`)."""

    table: pd.DataFrame
    """One line a row and metric: row, metric, value, low, high, n_subjects, p, p_holm, random, random_low, random_high.

    ``low`` and ``high`` are a 95 % interval over subjects; a distance has none, because its resampled values lie above
    it. ``p`` is that of a test of no difference, where there is one, and ``p_holm`` is corrected over the tests of
    people's columns and of the domain classifiers. ``random`` is the mean of domain classifiers of people who are
    exchanged between the cohorts at random, and ``random_low`` to ``random_high`` all that they reach: what chance does.
    """
    names: tuple[str, str]
    """Names of the cohorts."""
    people: pd.DataFrame
    """One line a subject of both cohorts, with a column ``cohort``."""
    embedding: pd.DataFrame | None = None
    """First two principal components of the features (pc1, pc2, cohort), one line a recording."""

    def __repr__(self) -> str:
        return f"<ShiftReport {self.names[0]} → {self.names[1]}>\n{self.table.to_string(index=False)}"

    def _repr_html_(self) -> str:
        return html_block(" → ".join(self.names), self.table)

    def plot(self) -> Figure:
        """Draws the distributions of age and sex and, with an encoder, the first two components of the features.

        Returns:
            The matplotlib figure.
        """
        from sslmed.reporting.plots import plot_shift

        return plot_shift(self.people, self.embedding)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the table as CSV, or a self-contained page with the table and a plot.

        Args:
            path: File; a page if its name ends in .html.
        """
        if os.fspath(path).endswith(".html"):
            from sslmed.reporting.page import write_report

            title = f"Population shift: {self.names[0]} → {self.names[1]}"
            write_report(path, title, [(title, self.table, [self.plot()])])
        else:
            write_csv(self.table, path)


@own_settings()
def report(
    public: Cohort,
    clinic: Cohort,
    encoder: EncoderLike | None = None,
    by: Sequence[str] | None = None,
    *,
    target: str | None = None,
    seed: int = 0,
    bootstrap: int = 1000,
    permutations: int = 199,
    threads: int = 2,
    on_error: OnError = "raise",
) -> ShiftReport:
    """Measures the shift between two cohorts.

    - Numeric columns: the difference in means with Welch's test, the standardized difference (Cohen's d), and the
      Kolmogorov-Smirnov distance. Other columns: the total variation distance with a chi-squared test.
    - How well a linear classifier tells the cohorts apart (AUC with subject-level folds; 0.5 means no visible shift),
      from the features of the encoder and from the plainest classical baseline. Beside it stands what the same
      classifier reaches for people who are exchanged between the cohorts at random: the mean, which must be near 0.5,
      the range, and the p value of the permutation test.
    - With an encoder, distances between the subjects' mean features (squared MMD, CORAL, Fréchet; standardized
      features), with a test by exchanging subjects between the cohorts.
    - With ``target``, the score of a probe that is trained on ``public`` and tested on ``clinic``, beside its score
      within ``public``.

    Every column and every classifier is a test, and of twenty tests of cohorts that are alike one is below 0.05: read
    ``p_holm`` (Holm, Scand. J. Stat. 1979). The distances between features have p values of their own, which do not
    count among them.

    Args:
        public: Cohort that the encoder comes from.
        clinic: Cohort that it is used on.
        encoder: Encoder whose features are compared.
        by: Columns to compare, which both cohorts must have. By default those of age, sex and site that both have.
        target: Column of both cohorts for the score across cohorts.
        seed: Seed of folds and bootstrap.
        bootstrap: Number of draws of the intervals.
        permutations: Number of exchanges of people between the cohorts, each of which fits a domain classifier anew.
            The smallest p value is 1 / (permutations + 1). With more than 160 recordings at most 20 are made.
        threads: Number of loader threads.
        on_error: "raise", or "skip" what cannot be read, as in :func:`sslmed.transfer`.

    Raises:
        TypeError: ``public`` or ``clinic`` is not a cohort, or ``encoder`` not an encoder.
        ValueError: A column is missing or empty in one cohort, or a number is out of range.

    Warns:
        OverlapWarning: The cohorts have subjects of the same names. Tests and intervals treat them as different people.

    Examples:
        >>> import numpy as np, pandas as pd
        >>> import sslmed as sm
        >>> def people(name, age):
        ...     rng = np.random.default_rng(age)
        ...     table = pd.DataFrame({"subject": [f"{name}{i}" for i in range(6)], "age": age + np.arange(6)})
        ...     return sm.Cohort.from_arrays(rng.normal(size=(6, 2, 800)), 100, ["Cz", "Pz"], table, name=name)
        >>> report = sm.shift.report(people("a", 30), people("b", 50), by=["age"], bootstrap=20)
        >>> float(report.table["value"].iloc[0])
        20.0
    """
    for name, cohort in (("public", public), ("clinic", clinic)):
        if not isinstance(cohort, Cohort):
            raise TypeError(f"report: {name}={cohort!r} must be a Cohort, got {type(cohort).__name__}")
    if isinstance(by, str):
        raise TypeError(f"report: by={by!r} must be a list of columns, such as [{by!r}]")
    whole("report", "seed", seed)
    whole("report", "bootstrap", bootstrap, 1)
    whole("report", "permutations", permutations, 1)
    whole("report", "threads", threads, 1)
    choice("report", "on_error", on_error, get_args(OnError))
    if encoder is not None:
        encoder = resolve(encoder, public, clinic)  # before the work on people
    names = (public.name, clinic.name) if public.name != clinic.name else (f"{public.name} (a)", f"{clinic.name} (b)")
    if both := sorted(set(public.table["subject"]) & set(clinic.table["subject"])):
        text = f"{len(both)} subjects have the same name in both cohorts, such as {both[0]!r}: they are treated as different people"
        warnings.warn(text, OverlapWarning, stacklevel=2)
    people = pd.concat([public.subjects.assign(cohort=names[0]), clinic.subjects.assign(cohort=names[1])], ignore_index=True)
    lines = _people(public, clinic, by, seed, bootstrap)
    embedding = None
    if encoder is not None:
        x = np.concatenate([features.encoder_features(encoder, c, threads=threads, on_error=on_error) for c in (public, clinic)])
        embedding = _components(x, public, clinic, names)
        lines += _domain("domain classifier: features", x, public, clinic, seed, bootstrap, permutations)
        lines += _feature_shift(x, public, clinic, seed, bootstrap)
    if simple := features.simple(public, clinic, on_error=on_error):
        lines += _domain(f"domain classifier: {simple[0]}", np.concatenate(simple[1]), public, clinic, seed, bootstrap, permutations)
    if target is not None:
        baselines = [name for name in baselines_of(public) if name not in _LEFT_OUT]
        options: dict[str, Any] = {"baselines": baselines, "seed": seed, "bootstrap": bootstrap, "threads": threads, "on_error": on_error}
        others = clinic.with_columns(subject=[f"{names[1]}/{subject}" for subject in clinic.table["subject"]]) if both else clinic
        for row, test in ((f"{target}: within {names[0]}", None), (f"{target}: {names[0]} → {names[1]}", others)):
            try:
                refuse_shared_files(public, *([] if test is None else [test]))
            except ValueError as error:
                warnings.warn(f"row {row!r} is left out: {error}", OverlapWarning, stacklevel=2)
                continue
            result = transfer(encoder, public, target, test=test, **options)
            for _, line in result.table.iterrows():
                lines.append({str(k): v for k, v in line.items()} | {"row": f"{row}: {line['row']}"})
    table = pd.DataFrame(lines, columns=_COLUMNS)
    figures = [column for column in _COLUMNS if column not in ("row", "metric", "n_subjects")]
    table[figures] = table[figures].astype(float)
    table["p_holm"] = statistics.holm(table["p"].mask(table["metric"].isin(_DISTANCES)).to_numpy())
    return ShiftReport(table, names, people, embedding)


def _people(public: Cohort, clinic: Cohort, by: Sequence[str] | None, seed: int, draws: int) -> list[dict[str, Any]]:
    """Differences in the columns of the tables."""
    if by is None:
        by = [c for c in ("age", "sex", "site") if all(c in cohort.table and cohort.table[c].notna().any() for cohort in (public, clinic))]
    lines: list[dict[str, Any]] = []
    for column in by:
        a, b = (_column(c, column) for c in (public, clinic))
        numeric = pd.api.types.is_numeric_dtype(a) and pd.api.types.is_numeric_dtype(b)
        lines += _numeric(column, a, b, seed, draws) if numeric else _categorical(column, a, b)
    return lines


def _column(cohort: Cohort, column: str) -> pd.Series[Any]:
    if column not in cohort.subjects:
        raise ValueError(f"{cohort.name}: by: {column!r} is not a column of the table; there are {', '.join(cohort.subjects.columns)}")
    values = cohort.subjects[column].dropna()
    if values.empty:
        raise ValueError(f"{cohort.name}: by: column {column!r} is empty: no subject has a value")
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


def _domain(row: str, x: Array, public: Cohort, clinic: Cohort, seed: int, draws: int, permutations: int) -> list[dict[str, Any]]:
    """How well a linear classifier tells the cohorts apart, beside cohorts of the same people, exchanged at random."""
    # Prefixed: two cohorts may both have a "sub-01", and they are two people.
    groups = np.concatenate([["a:" + s for s in public.table["subject"]], ["b:" + s for s in clinic.table["subject"]]])
    domain = np.concatenate([np.zeros(len(public), int), np.ones(len(clinic), int)])
    subjects, of_row = np.unique(groups, return_inverse=True)
    sizes = np.bincount([s.startswith("b:") for s in subjects], minlength=2)
    if min(sizes) < 2:
        small = public if sizes[0] < 2 else clinic
        raise ValueError(f"{row}: cohort {small.name!r} must have at least two subjects, got {min(sizes)}")

    def predict(y: Array) -> Array:
        folds = StratifiedGroupKFold(min(5, *sizes), shuffle=True, random_state=seed).split(x, y, groups)
        return probes.cross_predict(x, y, groups, folds, "linear", False)[:, 1]

    predicted = predict(domain)

    def auc(index: Array) -> float:
        return metrics.auroc(domain[index] == 1, predicted[index])

    value = auc(np.arange(len(domain)))
    low, high = statistics.bootstrap(auc, groups, draws=draws, seed=seed)
    study = Study.of(domain, groups, np.array(["public", "clinic"]), [])
    level = chance_level(study, Pipeline(x), ("auroc",), folds=min(5, *sizes), draws=permutations, seed=seed)
    if level is not None:
        exchanged, p = level.permuted["auroc"], level.p("auroc")
    else:  # too many rows to solve all exchanges together
        rng, found = np.random.default_rng(seed), []
        for _ in range(min(permutations, _FEW)):
            y = rng.permutation(np.repeat((0, 1), sizes))[of_row]
            found.append(metrics.auroc(y == 1, predict(y)))
        exchanged = np.array(found)
        p = float((1 + (exchanged >= value).sum()) / (1 + len(exchanged)))
    chance = {"random": float(np.nanmean(exchanged)), "random_low": float(np.nanmin(exchanged)), "random_high": float(np.nanmax(exchanged))}
    return [{"row": row, "metric": "auroc", "value": value, "low": low, "high": high, "n_subjects": len(subjects), "p": p} | chance]


def _feature_shift(x: Array, public: Cohort, clinic: Cohort, seed: int, draws: int) -> list[dict[str, Any]]:
    """Distances between the cohorts' subjects in standardized features, with p by exchanging subjects between them."""
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
    for name, distance in zip(_DISTANCES, (mmd, coral_distance, frechet_distance), strict=True):
        value = distance(z[domain_of == 0], z[domain_of == 1])
        beyond = sum(distance(z[d == 0], z[d == 1]) >= value for d in exchanged)
        lines.append({"row": "features", "metric": name, "value": value, "n_subjects": len(z), "p": (beyond + 1) / (len(exchanged) + 1)})
    return lines


def _components(x: Array, public: Cohort, clinic: Cohort, names: tuple[str, str]) -> pd.DataFrame:
    z = (x - x.mean(0)) / np.maximum(x.std(0), 1e-12)
    u, s, _ = np.linalg.svd(z, full_matrices=False)
    pc = u[:, :2] * s[:2]
    return pd.DataFrame({"pc1": pc[:, 0], "pc2": pc[:, 1], "cohort": [names[0]] * len(public) + [names[1]] * len(clinic)})
