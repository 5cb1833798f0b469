"""Verdicts: what a small cohort can say, and what it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import norm, t

from sslmed.evaluation import sample_size
from sslmed.evaluation.facts import Facts, decided, facts_of, lines_of
from sslmed.evaluation.scoring import CHANCE, HIGHER
from sslmed.reporting.escape import html_block

if TYPE_CHECKING:
    from sslmed.evaluation.learning import LearningCurve
    from sslmed.evaluation.result import TransferResult

__all__ = ["Verdict", "verdict"]

_NAMES = {"balanced_accuracy": "balanced accuracy", "auroc": "AUROC", "mae": "mean absolute error", "r2": "R²", "r": "correlation"}
_MOST = 10
Line = tuple[str, float, float, float, str]


@dataclass(repr=False)
class Verdict:
    """What a cohort can say of a target (:meth:`sslmed.TransferResult.verdict`)."""

    target: str
    """Column that was predicted."""
    table: pd.DataFrame
    """One line a statement: item, value, low, high (95 %), meaning (a sentence)."""

    def __str__(self) -> str:
        return "\n".join([f"What this cohort can say of {self.target!r}", *(f"- {text}" for text in self.table["meaning"])])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return html_block(f"What this cohort can say of {self.target}", items=list(self.table["meaning"]))


def verdict(result: TransferResult, curve: LearningCurve | None = None) -> Verdict:
    """Says what a result can and cannot show with its number of people.

    Args:
        result: Result of :func:`sslmed.evaluate` or :func:`sslmed.transfer`.
        curve: Learning curve of the same features and people (:func:`sslmed.evaluation.learning.learning_curve`).

    Returns:
        The statements.

    Raises:
        TypeError: ``curve`` is not a learning curve.

    Examples:
        >>> import numpy as np, pandas as pd
        >>> import sslmed as sm
        >>> from sslmed.evaluation.verdict import verdict
        >>> rng, y = np.random.default_rng(0), np.tile(["control", "pain"], 12)
        >>> x = rng.normal(size=(24, 8)) + 1.0 * (y == "pain")[:, None]
        >>> found = verdict(sm.evaluate(x, pd.DataFrame({"subject": range(24), "y": y}), "y", permutations=19))
        >>> found.table.loc[found.table["item"] == "smallest AUROC", "meaning"].item()[:72]
        'With this number of people an AUROC of 0.88 or more is shown to be above'
    """
    if curve is not None and not hasattr(curve, "at"):
        raise TypeError(f"verdict: curve={curve!r} must be a learning curve (sslmed.evaluation.learning.learning_curve), got {type(curve).__name__}")
    facts = facts_of(result)
    lines = [*_people(facts), *_smallest(result, facts), *_score(result, facts), *_compared(result, facts), *_needed(result, facts)]
    lines += [*_development(result, facts), *([] if curve is None else _curve(curve))]
    return Verdict(result.target, pd.DataFrame(lines, columns=["item", "value", "low", "high", "meaning"]))


def _line(item: str, value: float, meaning: str, low: float = np.nan, high: float = np.nan) -> Line:
    return item, float(value), float(low), float(high), meaning


def _people(facts: Facts) -> Iterator[Line]:
    classes = ": " + ", ".join(f"{n} {c}" for c, n in facts.counts.items()) if facts.counts else ""
    yield _line("people", facts.people, f"{facts.people} people with {facts.recordings} recordings were scored{classes}.")
    if facts.features:
        least, what = (min(facts.counts.values()), "people of the smallest class") if facts.counts else (facts.people, "people")
        ratio = least / facts.features
        shown = f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"
        yield _line("people per feature", ratio, f"There are {least} {what} for the {facts.features} features of the row {facts.main!r}: {shown} a feature.")


def _null_sd(result: TransferResult, metric: str) -> float | None:
    """Standard deviation of a score under permuted labels."""
    found = result.table[(result.table["row"] == "permuted labels") & (result.table["metric"] == metric)]
    if not len(found) or not np.isfinite(found["high"].iloc[0] - found["low"].iloc[0]):
        return None
    spread = float(found["high"].iloc[0] - found["low"].iloc[0]) / (2 * 1.96)
    return spread if spread > 0 else None


def _smallest(result: TransferResult, facts: Facts) -> Iterator[Line]:
    """The smallest effect that this number of people shows."""
    counts = list(facts.counts.values())
    if facts.regression:
        if facts.people < 4:
            return
        name, article, value, zero = "correlation", "a", sample_size.smallest_r(facts.people), "zero"
    elif min(counts) < 1:
        return
    elif len(counts) == 2:
        name, article, zero = "AUROC", "an", "0.5"
        value = sample_size.smallest_auroc(*counts, null_sd=_null_sd(result, "auroc"))
    else:
        name, article, zero = "balanced accuracy", "a", f"{1 / len(counts):.2f}"
        value = sample_size.smallest_balanced_accuracy(counts, null_sd=_null_sd(result, "balanced_accuracy"))
    if np.isnan(value):
        meaning = f"With this number of people not even a perfect {name} is shown to be above {zero} in four of five cohorts."
    else:
        meaning = (
            f"With this number of people {article} {name} of {value:.2f} or more is shown to be above {zero} in four of five cohorts (two-sided, alpha 0.05); "
            f"a smaller one is more often missed."
        )
    yield _line(f"smallest {name}", value, meaning)


def _score(result: TransferResult, facts: Facts) -> Iterator[Line]:
    """The first score, and whether it is chance."""
    scores = {line.metric: line for line in lines_of(result.table) if line.row == facts.main}
    shown = [facts.metric, *[m for m in ("auroc", "r2") if m in scores and m != facts.metric]]
    for metric in shown:
        value, low, high = scores[metric].value, scores[metric].low, scores[metric].high
        span = f" (95 % interval {low:.2f} to {high:.2f})" if np.isfinite(low) else " (too few people for an interval)"
        yield _line(f"score, {_NAMES.get(metric, metric)}", value, f"{facts.main} has {_article(metric)}{value:.2f}{span}.", low, high)
    lines = [line for line in lines_of(result.comparisons) if line.against == "chance"]
    for line in lines:
        if not np.isfinite(line.p):
            yield _line(f"{line.row} against chance", line.difference, f"{line.row} is not tested against chance: there are too few people.")
            continue
        differs = decided(line) and (line.difference > 0) == HIGHER.get(line.metric, True)
        said = "is better than chance" if differs else "cannot be told from chance at this number of people"
        yield _line(f"{line.row} against chance", line.difference, f"{line.row} {said} (p = {_p(line)}, {line.test}).", line.low, line.high)
    if lines or not facts.fixed:
        return
    metric = "auroc" if "auroc" in scores else "r2"
    value, low, high = scores[metric].value, scores[metric].low, scores[metric].high
    level = CHANCE[metric] or 0.0
    said = "is better than chance" if low > level else "cannot be told from chance at this number of people"
    yield _line(f"{facts.main} against chance", value - level, f"{facts.main} {said}, by the interval of its {_NAMES[metric]}.", low - level, high - level)


def _article(metric: str) -> str:
    return f"{'an' if metric == 'auroc' else 'a'} {_NAMES.get(metric, metric)} of " if metric != "r2" else "an R² of "


def _p(line: Any) -> str:
    return "unknown" if not np.isfinite(line.p_holm) else f"{line.p_holm:.3f}" if line.p_holm >= 0.001 else "below 0.001"


def _compared(result: TransferResult, facts: Facts) -> Iterator[Line]:
    """Each declared comparison; rows that are not told apart are not ranked."""
    for line in lines_of(result.comparisons):
        if line.against == "chance":
            continue
        name = _NAMES.get(line.metric, line.metric)
        if decided(line):
            better = (line.difference > 0) == HIGHER.get(line.metric, True)
            said = f"{line.row} is {'better' if better else 'worse'} than {line.against}"
        else:
            said = f"{line.row} and {line.against} cannot be told apart at this number of people"
        span = f", 95 % interval {line.low:+.2f} to {line.high:+.2f}" if np.isfinite(line.low) else ""
        meaning = f"{said} (difference in {name} {line.difference:+.2f}{span}; p = {_p(line)}, corrected for the number of comparisons)."
        yield _line(f"{line.row} - {line.against}, {name}", line.difference, meaning, line.low, line.high)


def _needed(result: TransferResult, facts: Facts) -> Iterator[Line]:
    """How many more people settle each declared comparison in the first score, if the difference is as it was seen."""
    for line in lines_of(result.comparisons):
        if line.against == "chance" or line.metric != facts.metric:
            continue
        spread = _spread(line, facts.people)
        if not np.isfinite(spread) or spread <= 0:
            continue
        ratio = np.inf if line.difference == 0 else ((norm.isf(0.025) + norm.isf(0.2)) * spread / line.difference) ** 2
        item = f"more people, {line.row} - {line.against}"
        if decided(line):
            yield _line(item, 0, f"The comparison with {line.against} is settled: no more people are needed to tell which is better.")
        elif ratio > _MOST:
            meaning = (
                f"More than {_MOST} times as many people ({_MOST * facts.people}) are needed to tell {line.row} from {line.against}, "
                f"if the difference is as it was seen."
            )
            yield _line(item, np.inf, meaning)
        else:
            more = max(int(np.ceil(facts.people * (ratio - 1))), 1)
            meaning = (
                f"About {more} more people are needed to tell {line.row} from {line.against} in four of five cohorts, if the difference is as it was seen. "
                f"The seen difference is itself uncertain."
            )
            yield _line(item, more, meaning)


def _spread(line: Any, people: int) -> float:
    """Standard error of a difference, by its interval or else by its p value."""
    if np.isfinite(line.low) and np.isfinite(line.high):
        return float((line.high - line.low) / 2 / t.ppf(0.975, max(people - 1, 1)))
    if np.isfinite(line.p) and 0 < line.p < 1 and line.difference:
        return float(abs(line.difference) / norm.isf(line.p / 2))
    return float("nan")


def _development(result: TransferResult, facts: Facts) -> Iterator[Line]:
    """How many people a regression without penalty of as many predictors would need (Riley et al.)."""
    if not facts.features or len(facts.counts) not in (0, 2) or facts.trained_on is None:
        return
    scores = {line.metric: line.value for line in lines_of(result.table) if line.row == facts.main}
    if facts.regression:
        anticipated = float(np.clip(scores["r2"], 0.02, 0.95)) if np.isfinite(scores["r2"]) else 0.02
        values = result.predictions.loc[result.predictions["row"] == facts.main, "truth"].astype(float)
        needed = sample_size.for_values(facts.features, anticipated, mean=float(values.mean()), sd=float(values.std()))
        said = f"an R² of {anticipated:.2f}"
    else:
        area = float(scores["auroc"])
        low, high = sorted(facts.counts.values())
        prevalence = low / (low + high)
        if not low:
            return
        anticipated_area = float(np.clip(area, 0.55, 0.95)) if np.isfinite(area) else None
        needed = sample_size.for_classes(facts.features, prevalence, auroc=anticipated_area)
        said = f"an AUROC of {anticipated_area:.2f}" if anticipated_area else "15 % of the possible R²"
    most = sample_size.most_parameters(facts.trained_on, min(needed.r2, 0.85))
    meaning = (
        f"A regression without penalty of {facts.features} predictors needs {needed.people} people to train on, expecting {said} (Riley et al., BMJ 2020); "
        f"the {facts.trained_on} here suffice for {most} predictor{'' if most == 1 else 's'}. A penalized probe may need fewer, but that is not guaranteed."
    )
    yield _line("people to develop a model", needed.people, meaning)


def _curve(curve: LearningCurve) -> Iterator[Line]:
    """What the learning curve says of more people."""
    name = _NAMES.get(curve.metric, curve.metric)
    measured = curve.table[~curve.table["extrapolated"]]
    first, last = measured.iloc[0], measured.iloc[-1]
    meaning = f"With {first['people']:.0f} instead of {last['people']:.0f} training people {name} is {first['value']:.2f} instead of {last['value']:.2f}."
    yield _line("learning curve, fewest people", first["value"], meaning, first["low"], first["high"])
    for line in lines_of(curve.table[curve.table["extrapolated"]]):
        meaning = (
            f"With {line.people} training people {name} is expected to be {line.value:.2f} ({line.low:.2f} to {line.high:.2f}), "
            f"if the learning curve goes on as an inverse power law."
        )
        yield _line(f"learning curve, {line.people} people", line.value, meaning, line.low, line.high)
