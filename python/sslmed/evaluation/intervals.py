"""Intervals of cross-validated scores: how far the performance of a procedure may be from its score in one cohort.

What is estimated is the expected performance of the procedure, trained on about as many people as a training part has,
on other people of the same population. Its estimate varies because the test people do and because the training people
do; an interval of the former alone holds the truth in 70 to 90 % of cohorts of a few dozen (Bates, Hastie & Tibshirani,
JASA 2024). Here each person is left out in turn, of test and training parts alike: the jackknife, whose variance is too
large on average (Efron & Stein, Ann. Stat. 1981), by the pairwise interplay that it counts twice. That interplay, of
each training person with each test person, is known from the same fits and is taken off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import t

from sslmed.evaluation.crossfit import Made, Study
from sslmed.evaluation.scoring import CHANCE, OutOfFold, credits, scores

__all__ = ["LEAST", "Estimate", "chance", "difference", "estimate", "from_scores", "least", "paired", "proportion"]

Array = np.ndarray[Any, Any]

LEAST = 10
"""Fewest people, of each class, of whom an interval is given."""
_FLOOR = 0.4  # of the jackknife's variance: the most that is taken off for interplay
_LOGARITHM = ("mae", "brier")
_PROPORTIONS = ("balanced_accuracy", "auroc", "auprc", "f1", "sensitivity", "specificity", "ppv", "npv")
_PLAIN = ("calibration_intercept", "calibration_slope")


@dataclass(frozen=True)
class Estimate:
    """A score over all repeats, and what its interval is made of."""

    metric: str
    value: float
    repeats: Array
    """Score of each repeat [R]."""
    variance: float
    """Of the value, over cohorts; NaN where none is given."""
    left_out: Array
    """Score without each group of people [G]: of its test data, and where known of its training data too."""
    tested: Array
    """Score without each group's test data [G]."""
    interplay: Array | None
    """Change of each group's part of the score [G, G] by leaving out each group of the training people."""
    low: float
    high: float


def estimate(study: Study, metric: str, made: Sequence[Made], *, prevalence: float | None = None, exact: float | None = None) -> Estimate:
    """Computes a score and its 95 % interval.

    Args:
        study: What was predicted.
        metric: Name of the score.
        made: Predictions of each repeat.
        prevalence: Share of the positive class for "ppv" and "npv".
        exact: Value that is known without data, such as a dummy's area of one half: it has no interval.
    """
    group = study.group_of_unit
    groups = int(group.max()) + 1
    values, left_out, tested, interplay = [], [], [], []
    for one in made:
        units = group[one.tested]
        weights = (units[None] != np.arange(groups)[:, None]).astype(float)
        values.append(scores(metric, one.units, np.ones((1, len(units))), prevalence=prevalence)[0])
        tested.append(scores(metric, one.units, weights, prevalence=prevalence))
        if one.without is None:
            continue
        left_out.append(scores(metric, one.without, weights, prevalence=prevalence))
        if (whole := _parts(metric, one.units)) is not None:
            change = whole - _parts(metric, one.without)
            interplay.append(np.stack([np.bincount(units, row, groups) for row in change]))
    value = float(np.mean(values)) if exact is None else exact
    both = bool(left_out)
    found = Estimate(
        metric, value, np.array(values), np.nan, np.mean(left_out if both else tested, axis=0), np.mean(tested, axis=0),
        np.mean(interplay, axis=0) if interplay else None, np.nan, np.nan,
    )  # fmt: skip
    if exact is not None or not np.isfinite(value) or _too_few(study, made):
        return found
    variance = _variance(found, both, _ratio(study)) + (np.var(values, ddof=1) / len(values) if len(values) > 1 else 0)
    if not variance > 1e-18 and metric not in _PROPORTIONS:
        return found  # the same for everybody, such as the Brier score of a dummy
    low, high = _interval(study, metric, value, variance, groups)
    return Estimate(metric, value, found.repeats, variance, found.left_out, found.tested, found.interplay, low, high)


def from_scores(study: Study, metric: str, values: Array, left_out: Array, made: Sequence[Made]) -> Estimate:
    """A score that was computed elsewhere, of each repeat [R] and without each group of people [R, G], with its interval."""
    value, left = float(values.mean()), left_out.mean(axis=0)
    bare = Estimate(metric, value, values, np.nan, left, left, None, np.nan, np.nan)
    if not np.isfinite(value) or not np.isfinite(left).all() or _too_few(study, made):
        return bare
    factor = 1.0 if made[0].without is not None else 1 + _ratio(study)
    variance = factor * _jackknife(left) + (float(np.var(values, ddof=1)) / len(values) if len(values) > 1 else 0)
    low, high = _interval(study, metric, value, variance, len(left))
    return Estimate(metric, value, values, variance, left, left, None, low, high)


def difference(study: Study, a: Estimate, b: Estimate, made_a: Sequence[Made], made_b: Sequence[Made]) -> tuple[float, float, float, float]:
    """Difference of two scores of the same folds, the ends of its 95 % interval, and its p value (Student's t); NaN where they cannot be told."""
    both = all(one.without is not None for one in (*made_a, *made_b))
    return paired(study, a, b, made_a[0].tested, both=both)


def paired(study: Study, a: Estimate, b: Estimate, tested: Array, *, both: bool) -> tuple[float, float, float, float]:
    """As :func:`difference`, of two scores whose predictions are no longer at hand.

    Args:
        study: What was predicted.
        a: The one score.
        b: The other one, of the same folds.
        tested: Numbers of the units that were tested.
        both: Whether ``left_out`` of both leaves people out of the training data too.
    """
    value = a.value - b.value
    if not np.isfinite(value) or _few(study, tested):
        return value, np.nan, np.nan, np.nan
    left = (a.left_out - b.left_out) if both else (a.tested - b.tested)
    interplay = None if a.interplay is None or b.interplay is None or not both else a.interplay - b.interplay
    repeats = a.repeats - b.repeats
    made = Estimate(a.metric, value, repeats, np.nan, left, a.tested - b.tested, interplay, np.nan, np.nan)
    variance = _variance(made, both, _ratio(study)) + (np.var(repeats, ddof=1) / len(repeats) if len(repeats) > 1 else 0)
    if not variance > 1e-18 and abs(value) > 1e-9:  # such as a perfect score and a dummy's
        variance = least(study, a.metric, a.value) + least(study, b.metric, b.value)
    if not variance > 1e-18:
        return value, np.nan, np.nan, np.nan
    freedom = int(study.group.max())
    spread = float(np.sqrt(variance))
    half = float(t.ppf(0.975, freedom)) * spread
    return value, value - half, value + half, float(2 * t.sf(abs(value) / spread, freedom))


def _too_few(study: Study, made: Sequence[Made]) -> bool:
    """Whether there are fewer people than an interval needs, in all or of a class."""
    return _few(study, made[0].tested)


def _few(study: Study, units: Array) -> bool:
    person = study.person_of_unit[units]
    if study.classes is None:
        return len(np.unique(person)) < LEAST
    truth = study.truth[units]
    return min(len(np.unique(person[truth == c])) for c in range(len(study.classes))) < LEAST


def _ratio(study: Study) -> float:
    """Test rows per training row, times the number of folds."""
    folds = study.repeats[0]
    return float(np.mean([len(test) / len(train) for train, test in folds]) * len(folds))


def _jackknife(values: Array) -> float:
    g = len(values)
    return float((g - 1) / g * ((values - values.mean()) ** 2).sum())


def _variance(found: Estimate, both: bool, ratio: float) -> float:
    test = _jackknife(found.tested)
    if not both:
        # The test people alone were left out: set wider for the training people, as Nadeau & Bengio (Mach. Learn. 2003) do.
        return (1 + ratio) * test
    all_ = _jackknife(found.left_out)
    if found.interplay is None:
        return max(all_, test)
    pairs = found.interplay + found.interplay.T
    g = len(pairs)
    np.fill_diagonal(pairs, 0)
    if g < 4:
        return max(all_, test)
    mean, row = pairs.sum() / (g * (g - 1)), pairs.sum(axis=1) / (g - 1)
    own = pairs - (row[:, None] + row) * (g - 1) / (g - 2) + mean * g / (g - 2)
    np.fill_diagonal(own, 0)
    return max(all_ - float((own**2).sum()) / 2, _FLOOR * all_, test)


def _parts(metric: str, made: OutOfFold) -> Array | None:
    """Part [B, units] that each unit has in a score that is a sum; None for scores that are none."""
    y, p = made.truth, made.predicted
    if metric == "mae":
        return np.asarray(np.abs(y - p) / len(y))
    if metric in ("balanced_accuracy", "sensitivity", "specificity"):
        credit = credits(p, made.prior)
        right = np.take_along_axis(credit, np.broadcast_to(y[None, :, None], (*credit.shape[:2], 1)), axis=2)[..., 0]
        right = right / np.bincount(y, minlength=credit.shape[-1])[y]
        if metric == "balanced_accuracy":
            return np.asarray(right / len(np.unique(y)))
        return np.asarray(right * ((y == made.positive % 2) == (metric == "sensitivity")))
    if metric == "auroc":
        k = p.shape[-1]
        columns = [made.positive % 2] if k == 2 else list(range(k))
        return np.asarray(np.mean([_area_parts(y == c, p[..., c], made.fold) for c in columns], axis=0))
    return None


def _area_parts(positive: Array, p: Array, fold: Array) -> Array:
    """Pairs in order that each unit has a part in, over all pairs of a fold."""
    out, total = np.zeros(p.shape), 0
    for f in np.unique(fold):
        yes, no = np.flatnonzero((fold == f) & positive), np.flatnonzero((fold == f) & ~positive)
        if not len(yes) or not len(no):
            continue
        total += len(yes) * len(no)
        size = max(1, (16 << 20) // (len(yes) * len(no)))
        for i in range(0, len(p), size):
            s = slice(i, i + size)
            apart = p[s][:, yes][:, :, None] - p[s][:, no][:, None, :]
            ahead = np.where(apart > 1e-12, 1.0, np.where(apart < -1e-12, 0.0, 0.5))
            out[s, yes], out[s, no] = ahead.sum(axis=2), ahead.sum(axis=1)
    return out / max(total, 1)


def _interval(study: Study, metric: str, value: float, variance: float, groups: int) -> tuple[float, float]:
    """Ends of the interval, on a scale where the score has no bound."""
    half = float(t.ppf(0.975, groups - 1)) if groups > 1 else np.nan
    spread = float(np.sqrt(variance))
    of_class = _people(study)
    n = float(of_class.sum())
    if metric in _PLAIN:
        return value - half * spread, value + half * spread
    if metric in _LOGARITHM:
        if value <= 0:
            return 0.0, half * spread
        width = np.exp(half * spread / value)
        return value / width, value * width
    if metric == "r2":
        # Near zero the strongest regularization was chosen everywhere: the variance says nothing of what other cohorts would have.
        rest = max(1 - value, 1e-3)
        width = np.exp(half * max(spread / rest, np.sqrt(1 / n)))
        return float(1 - rest * width), float(1 - rest / width)
    if metric == "r":
        z = np.arctanh(np.clip(value, -1 + 1 / n, 1 - 1 / n))
        width = half * spread / (1 - np.tanh(z) ** 2)
        return float(min(value, np.tanh(z - width))), float(max(value, np.tanh(z + width)))
    return proportion(metric, value, variance, of_class, half)


def proportion(metric: str, value: float, variance: float, counts: Array, half: float) -> tuple[float, float]:
    """Ends of the interval of a score between 0 and 1.

    Args:
        metric: Name of the score.
        value: Score.
        variance: Its variance.
        counts: Number of people of each class.
        half: Quantile that stands for half the interval.
    """
    # As a proportion of which two more were right and two more wrong (Agresti & Coull, Am. Stat. 1998): a perfect score has an interval too.
    n = float(counts.sum())
    center = (n * value + 2) / (n + 4)
    spread = float(np.sqrt(max(variance, _least(counts, metric, center))))
    width = half * spread / (center * (1 - center))
    middle = np.log(center / (1 - center))
    return float(min(value, expit(middle - width))), float(max(value, expit(middle + width)))


def least(study: Study, metric: str, value: float) -> float:
    """Smallest variance that a score can have with this number of people: a perfect one has no spread, but is not known exactly.

    Args:
        study: What was predicted.
        metric: Name of the score; zero of one that is no proportion.
        value: Score.
    """
    if metric not in _PROPORTIONS:
        return 0.0
    counts = _people(study)
    n = float(counts.sum())
    return _least(counts, metric, (n * value + 2) / (n + 4))


def _people(study: Study) -> Array:
    """Number of tested people of each class, or of all where values are regressed; a person of two classes is half of each."""
    tested = np.unique(np.concatenate([study.unit[test] for _, test in study.repeats[0]]))
    person, truth = study.person_of_unit[tested], study.truth[tested]
    share = 1 / np.bincount(person)[person]
    return np.bincount(np.zeros(len(tested), int) if study.classes is None else truth, share, 1 if study.classes is None else len(study.classes))


def _least(counts: Array, metric: str, center: float) -> float:
    """Variance of a fixed classifier of that score, by the number of people of each class."""
    if len(counts) == 1:
        return 0.0
    if metric == "balanced_accuracy":
        return float((center * (1 - center) / (counts + 2)).sum() / len(counts) ** 2)
    if metric == "auroc" and len(counts) == 2:
        m, n = counts
        # Hanley & McNeil, Radiology 1982; their two probabilities in the mean, so that it does not matter which class is the positive one.
        pairs = (center / (2 - center) + 2 * center**2 / (1 + center)) / 2 - center**2
        return float((center * (1 - center) + (m + n - 2) * pairs) / (m * n))
    return float(center * (1 - center) / (counts.sum() + 4))


def chance(metric: str, classes: Array | None) -> float | None:
    """What predictions without information reach; None where that is not one number."""
    if metric == "balanced_accuracy" and classes is not None:
        return 1 / len(classes)
    return CHANCE.get(metric)
