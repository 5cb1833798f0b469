"""Scores on another cohort: of one fitted model, with intervals over the people that it is tested on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.stats import norm, t

from sslmed.evaluation import statistics
from sslmed.evaluation.assess import Options, metrics_of
from sslmed.evaluation.crossfit import Study
from sslmed.evaluation.intervals import LEAST, proportion
from sslmed.evaluation.record import record_fixed
from sslmed.evaluation.result import TransferResult, predictions_table
from sslmed.evaluation.scoring import CLASSIFICATION, POSITIVE, OutOfFold, scores

__all__ = ["assess_fixed"]

Array = np.ndarray[Any, Any]

_PROPORTIONS = tuple(name for name in CLASSIFICATION + POSITIVE if name != "brier" and not name.startswith("calibration"))


def assess_fixed(study: Study, predicted: dict[str, Array], prior: Array, table: pd.DataFrame, options: Options, *, draws: int) -> TransferResult:
    """Scores predictions of fitted models.

    Intervals are of these fitted models, on other people like the tested ones: people are drawn with replacement, and
    no model is fitted anew.

    Args:
        study: The tested people; its folds are not used.
        predicted: Probabilities [recordings, classes] or values [recordings] by row.
        prior: Shares of the classes in the training data [classes], or the mean of their values.
        table: One row a recording.
        options: What is asked for.
        draws: Number of draws of the people.
    """
    asked = metrics_of(study, options.positive)
    person = study.person_of_unit
    people = len(np.unique(person))
    rng = np.random.default_rng(options.seed)
    drawn = rng.multinomial(people, np.full(people, 1 / people), size=draws)[:, person].astype(float)
    enough = _least(study) >= LEAST
    lines: list[tuple[Any, ...]] = []
    units = {name: _units(study, values, prior) for name, values in predicted.items()}
    for name, made in units.items():
        for metric in asked:
            value = scores(metric, made, np.ones((1, len(person))), prevalence=options.prevalence)[0]
            low = high = np.nan
            if enough and np.isfinite(value):
                low, high = _percentiles(scores(metric, made, drawn, prevalence=options.prevalence), people)
                if np.isnan(low) and metric in _PROPORTIONS and np.ptp(made.predicted, axis=1).max() > 1e-12:
                    # A perfect score is the same in every draw; what predicts the same of everybody is known exactly.
                    low, high = proportion(metric, float(value), 0.0, _counts(study), float(t.ppf(0.975, people - 1)))
            lines.append((name, metric, float(value), low, high, people, np.nan))
    columns = ["row", "metric", "value", "low", "high", "n_subjects", "sd_folds"]
    predictions = predictions_table(
        predicted, table, np.zeros(len(table), int), study.y if study.classes is None else study.classes[study.y], study.classes,
        np.broadcast_to(prior, (len(table), *np.shape(prior))),
    )  # fmt: skip
    compared = _compared(study, units, options, draws=draws)
    result = TransferResult(pd.DataFrame(lines, columns=columns), options.target, options.protocol, predictions, compared, table)
    result.manifest = record_fixed(study, predicted, options, draws=draws)
    return result


def _counts(study: Study) -> Array:
    """Number of people of each class; a person of two classes is half of each."""
    person = study.person_of_unit
    return np.bincount(study.truth, 1 / np.bincount(person)[person], len(study.classes))  # type: ignore[arg-type]


def _least(study: Study) -> int:
    person, truth = study.person_of_unit, study.truth
    if study.classes is None:
        return len(np.unique(person))
    return min(len(np.unique(person[truth == c])) for c in np.unique(truth))


def _percentiles(values: Array, people: int) -> tuple[float, float]:
    """Percentiles of the draws, set further apart for few people (Hesterberg, Am. Stat. 2015); NaN where they are all alike."""
    finite = values[np.isfinite(values)]
    if len(finite) < max(1, len(values) // 2) or np.ptp(finite) < 1e-12 or people < 2:
        return np.nan, np.nan
    tail = 100 * norm.cdf(-np.sqrt(people / (people - 1)) * t.ppf(0.975, people - 1))
    low, high = np.percentile(finite, [tail, 100 - tail])
    return float(low), float(high)


def _units(study: Study, values: Array, prior: Array) -> OutOfFold:
    count = np.bincount(study.unit)
    # Sparse: with tens of thousands of recordings that each count once, the matrix itself would be gigabytes.
    mean = csr_array((1 / count[study.unit], (study.unit, np.arange(len(study.unit)))), shape=(len(count), len(study.unit)))
    share = np.broadcast_to(prior, (1, len(count), *np.shape(prior)))
    return OutOfFold(study.truth, (mean @ values)[None], share, np.zeros(len(count), int), study.positive)


def _compared(study: Study, units: dict[str, OutOfFold], options: Options, *, draws: int) -> pd.DataFrame:
    """The declared comparisons of fitted models, on the same people."""
    metric = metrics_of(study, None)[0]
    person, truth = study.person_of_unit, study.truth
    lines: list[tuple[Any, ...]] = []
    for other in options.compare:
        a, b = units[options.main], units[other]

        def statistic(predicted: Array, a: OutOfFold = a) -> float:
            made = OutOfFold(truth, predicted[None], a.prior, a.fold, a.positive)
            return float(scores(metric, made, np.ones((1, len(truth))))[0])

        one, two = a.predicted[0], b.predicted[0]
        p = statistics.paired_permutation(statistic, one, two, person, draws=draws, seed=options.seed)
        lines.append((options.main, other, metric, statistic(one) - statistic(two), np.nan, np.nan, p, "exchanged predictions, these fitted models"))
        if study.classes is not None and len(study.classes) == 2 and len(np.unique(person)) == len(person):
            positive = truth == study.positive % 2
            if 2 <= positive.sum() <= len(truth) - 2:
                found = statistics.delong(positive, one[:, study.positive], two[:, study.positive])
                lines.append((options.main, other, "auroc", found.difference, found.low, found.high, found.p, "DeLong, these fitted models"))
    table = pd.DataFrame(lines, columns=["row", "against", "metric", "difference", "low", "high", "p", "test"])
    table.insert(7, "p_holm", statistics.holm_within(table["p"].to_numpy(float), table["metric"].to_numpy(str)))
    return table
