"""What the rows of a table are worth: scores with intervals, declared comparisons, chance, and predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sslmed.evaluation import statistics
from sslmed.evaluation.confounding import adjusted_auroc, log_odds
from sslmed.evaluation.crossfit import Made, Pipeline, Study
from sslmed.evaluation.intervals import Estimate, chance, difference, from_scores, least
from sslmed.evaluation.permutation import Chance, chance_level
from sslmed.evaluation.record import record
from sslmed.evaluation.result import TransferResult, predictions_table
from sslmed.evaluation.scoring import CLASSIFICATION, POSITIVE, REGRESSION
from sslmed.evaluation.seeds import Seeds, estimate_seeds, predictions, seeds_of

__all__ = ["Options", "assess", "metrics_of"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Options:
    """What a table is asked for."""

    target: str
    protocol: str
    main: str
    """Row that is compared with the others."""
    compare: tuple[str, ...]
    """Rows that it is compared with."""
    positive: str | None = None
    prevalence: float | None = None
    permutations: int = 199
    seed: int = 0
    cv: int | str | None = None
    """Number of folds or "loso"; None: folds of the caller."""
    covariates: tuple[str, ...] = ()
    acquisition: tuple[str, ...] = ()
    """Rows that tell how recordings were made."""


def metrics_of(study: Study, positive: str | None) -> tuple[str, ...]:
    """Scores of a table, in its order."""
    if study.classes is None:
        return REGRESSION
    return CLASSIFICATION + (POSITIVE if positive is not None else ())


def assess(
    study: Study, rows: Mapping[str, Seeds | Pipeline | list[Array] | None], table: pd.DataFrame, options: Options, design: Array | None = None
) -> TransferResult:
    """Cross-fits and scores each row.

    Args:
        study: What is predicted of whom.
        rows: How each row is predicted; a list holds predictions of each repeat that somebody else made, None is the dummy, and
            :class:`sslmed.evaluation.seeds.Seeds` holds one of them for each pretraining seed: their mean is scored.
        table: One row a recording.
        options: What is asked for.
        design: Covariates as numbers [rows, q], to adjust for.
    """
    made = {name: predictions(study, how) for name, how in rows.items()}
    metrics = metrics_of(study, options.positive)
    people = _people(study, made[options.main])
    lines: list[tuple[Any, ...]] = []
    found: dict[tuple[str, str], Estimate] = {}
    sd_seeds: list[float] = []
    for name, parts in made.items():
        for metric in metrics:
            exact = _exact(study, metric) if name == "dummy" else None
            one, between = estimate_seeds(study, metric, parts, seeds_of(rows[name]), prevalence=options.prevalence, exact=exact)
            found[name, metric] = one
            sd_seeds.append(between)
            spread = float(np.std(one.repeats, ddof=1)) if len(one.repeats) > 1 and exact is None else np.nan
            lines.append((name, metric, one.value, one.low, one.high, people, spread))
    adjusted = None
    if design is not None and study.classes is not None and len(study.classes) == 2:
        adjusted = _adjusted(study, made[options.main], design)
        spread = float(np.std(adjusted.repeats, ddof=1)) if len(adjusted.repeats) > 1 else np.nan
        lines.append((f"{options.main}, adjusted", "auroc", adjusted.value, adjusted.low, adjusted.high, people, spread))
    level = _chance(study, rows[options.main], metrics, options)
    if level is not None:
        for metric in metrics:
            draws = level.permuted[metric][np.isfinite(level.permuted[metric])]
            low, high = np.percentile(draws, [2.5, 97.5]) if len(draws) else (np.nan, np.nan)
            lines.append(("permuted labels", metric, float(draws.mean()) if len(draws) else np.nan, float(low), float(high), people, np.nan))
    lines_table = pd.DataFrame(lines, columns=["row", "metric", "value", "low", "high", "n_subjects", "sd_folds"])
    if any(isinstance(how, Seeds) for how in rows.values()):
        lines_table["sd_seeds"] = sd_seeds + [np.nan] * (len(lines) - len(sd_seeds))
    compared = _comparisons(study, made, found, level, adjusted, options)
    predicted = _predictions(study, made, table)
    result = TransferResult(lines_table, options.target, options.protocol, predicted, compared, _scored(study, made, options.main, table))
    result.manifest = record(study, rows, options)
    return result


def _people(study: Study, made: list[Made]) -> int:
    return len(np.unique(study.person_of_unit[made[0].tested]))


def _exact(study: Study, metric: str) -> float | None:
    """What a dummy scores by definition, whatever the folds are."""
    level = chance("balanced_accuracy", study.classes)
    return {"balanced_accuracy": level, "auroc": 0.5, "r2": 0.0, "calibration_slope": np.nan}.get(metric)


def _chance(study: Study, how: Seeds | Pipeline | list[Array] | None, metrics: tuple[str, ...], options: Options) -> Chance | None:
    if not options.permutations or not isinstance(how, Pipeline) or (options.cv is None and len(study.repeats) != 1):
        return None
    folds = len(study.repeats[0])
    if folds < 2:
        return None  # one split of the caller's says nothing of how others would be drawn
    return chance_level(study, how, metrics, folds=folds, draws=options.permutations, seed=options.seed)


def _adjusted(study: Study, made: list[Made], design: Array) -> Estimate:
    """Area under the ROC curve among people of the same covariates; NaN with too few people without the disease for a model of the covariates."""
    covariates = np.zeros((int(study.unit.max()) + 1, design.shape[1]))
    np.add.at(covariates, study.unit, design)  # means over a person's recordings, as predictions are
    covariates /= np.bincount(study.unit)[:, None]
    group = study.group_of_unit
    case_is = study.positive % 2
    groups = int(group.max()) + 1
    values, left_out = [], []
    for one in made:
        units = one.tested
        case, z, fold = one.units.truth == case_is, covariates[units], one.units.fold
        controls = np.bincount(group[units], ~case, groups)
        if controls.sum() - controls.max() <= z.shape[1] + 1:
            return from_scores(study, "auroc", np.full(len(made), np.nan), np.full((len(made), groups), np.nan), made)
        values.append(adjusted_auroc(case, log_odds(one.units.predicted[0][:, case_is]), z, fold=fold))
        each = []
        for g in range(groups):
            kept = group[units] != g
            p = one.units.predicted[0] if one.without is None else one.without.predicted[g]
            each.append(adjusted_auroc(case[kept], log_odds(p[kept][:, case_is]), z[kept], fold=fold[kept]))
        left_out.append(each)
    return from_scores(study, "auroc", np.array(values), np.array(left_out), made)


def _comparisons(
    study: Study, made: dict[str, list[Made]], found: dict[tuple[str, str], Estimate], level: Chance | None, adjusted: Estimate | None, options: Options
) -> pd.DataFrame:
    """The declared comparisons, with p values corrected for their number."""
    main = options.main
    metric = metrics_of(study, None)[0]
    lines: list[tuple[Any, ...]] = []
    for other in options.compare:
        names = [metric] if study.classes is None else [metric, "auroc"]
        for name in names:
            d, low, high, p = difference(study, found[main, name], found[other, name], made[main], made[other])
            lines.append((main, other, name, d, low, high, p, "left-out people, t"))
    if level is not None:
        observed, null = level.observed[metric], level.permuted[metric]
        lines.append((main, "chance", metric, observed - float(np.nanmean(null)), np.nan, np.nan, level.p(metric), "permuted labels, refitted"))
    elif (at := chance(metric if study.classes is not None else "r2", study.classes)) is not None:
        name = metric if study.classes is not None else "r2"
        value, low, high, p = _against(study, found[main, name], at)
        lines.append((main, "chance", name, value, low, high, p, "left-out people, t"))
    if adjusted is not None:
        value, low, high, p = _against(study, adjusted, 0.5)
        lines.append((f"{main}, adjusted", "chance", "auroc", value, low, high, p, "left-out people, t"))
    table = pd.DataFrame(lines, columns=["row", "against", "metric", "difference", "low", "high", "p", "test"])
    table.insert(7, "p_holm", statistics.holm_within(table["p"].to_numpy(float), table["metric"].to_numpy(str)))
    return table


def _against(study: Study, one: Estimate, level: float) -> tuple[float, float, float, float]:
    """Difference of a score from a number, with interval and p value."""
    from scipy.stats import t

    value = one.value - level
    variance = one.variance if np.isnan(one.variance) else max(one.variance, least(study, one.metric, one.value))
    if not variance > 0:
        return value, np.nan, np.nan, np.nan
    freedom, spread = int(study.group.max()), float(np.sqrt(variance))
    half = float(t.ppf(0.975, freedom)) * spread
    return value, value - half, value + half, float(2 * t.sf(abs(value) / spread, freedom))


def _scored(study: Study, made: dict[str, list[Made]], main: str, table: pd.DataFrame) -> pd.DataFrame:
    return table.iloc[_rows(study, made[main])].reset_index(drop=True)


def _rows(study: Study, made: list[Made]) -> Array:
    """Rows that are tested."""
    return np.flatnonzero(np.isfinite(made[0].rows.reshape(len(study.y), -1)).all(axis=1))


def _predictions(study: Study, made: dict[str, list[Made]], table: pd.DataFrame) -> pd.DataFrame:
    """Predictions of recordings, means over the repeats."""
    rows = _rows(study, next(iter(made.values())))
    fold = np.zeros(len(study.y), int)
    for number, (_, test) in enumerate(study.repeats[0]):
        fold[test] = number
    truth = study.y if study.classes is None else study.classes[study.y]
    predicted = {name: np.mean([one.rows[rows] for one in parts], axis=0) for name, parts in made.items()}
    prior = np.mean([one.prior[rows] for one in next(iter(made.values()))], axis=0)
    return predictions_table(predicted, table.iloc[rows].reset_index(drop=True), fold[rows], truth[rows], study.classes, prior)
