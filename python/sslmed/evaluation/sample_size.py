"""How many people a prediction model needs (Riley et al., BMJ 2020), and how small an effect a cohort can show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm, t

from sslmed._checks import number, whole

__all__ = ["SampleSize", "for_classes", "for_values", "most_parameters", "r2_of_auroc", "smallest_auroc", "smallest_balanced_accuracy", "smallest_r"]

_OPTIMISM = 0.05
_MARGIN = 0.05


@dataclass(frozen=True)
class SampleSize:
    """Smallest number of people for the development of a model, and why."""

    people: int
    """The largest of the criteria."""
    criteria: dict[str, int]
    """People by criterion."""
    r2: float
    """Anticipated R² (of classes: Cox and Snell's)."""


def for_classes(parameters: int, prevalence: float, *, auroc: float | None = None, r2: float | None = None, shrinkage: float = 0.9) -> SampleSize:
    """Computes how many people a model of two classes needs.

    The criteria: predictions are shrunk by at most 10 %, the optimism of Nagelkerke's R² is at most 0.05, and the
    overall share is known within 0.05 (Riley et al., Stat. Med. 2019; BMJ 2020). They are meant for regression without
    penalty; a penalized probe of many features may do with fewer people, but nobody can promise that it does.

    Args:
        parameters: Number of candidate predictors.
        prevalence: Share of the positive class.
        auroc: Anticipated area under the ROC curve, from which R² is computed (Riley et al., Stat. Med. 2021).
        r2: Anticipated R² of Cox and Snell. Without both, 15 % of the largest that is possible.
        shrinkage: Least factor that predictors may have to be shrunk by.

    Raises:
        ValueError: A number out of range, or an R² that is not possible at this prevalence.

    Examples:
        >>> from sslmed.evaluation.sample_size import for_classes
        >>> for_classes(24, 0.174, r2=0.288).criteria
        {'shrinkage': 623, 'optimism': 662, 'prevalence': 221}
    """
    where = "for_classes"
    whole(where, "parameters", parameters, 1)
    number(where, "prevalence", prevalence, 0, 1, strict=True)
    number(where, "shrinkage", shrinkage, 0.5, 0.999)
    if not 0 < prevalence < 1:
        raise ValueError(f"{where}: prevalence={prevalence!r} must be a number above 0 and below 1")
    most = 1 - math.exp(2 * (prevalence * math.log(prevalence) + (1 - prevalence) * math.log(1 - prevalence)))
    if r2 is None:
        r2 = 0.15 * most if auroc is None else r2_of_auroc(auroc, prevalence)
    number(where, "r2", r2, 0, strict=True)
    if r2 >= min(most, shrinkage):
        raise ValueError(f"{where}: r2={r2:g} must be below {min(most, shrinkage):.3f}, the largest that is possible at prevalence={prevalence:g}")
    allowed = r2 / (r2 + _OPTIMISM * most)
    criteria = {
        "shrinkage": math.ceil(parameters / ((shrinkage - 1) * math.log(1 - r2 / shrinkage))),
        "optimism": math.ceil(parameters / ((allowed - 1) * math.log(1 - r2 / allowed))),
        "prevalence": math.ceil((1.96 / _MARGIN) ** 2 * prevalence * (1 - prevalence)),
    }
    return SampleSize(max(criteria.values()), criteria, r2)


def for_values(parameters: int, r2: float, *, mean: float | None = None, sd: float | None = None, shrinkage: float = 0.9) -> SampleSize:
    """Computes how many people a model of a number, such as age, needs.

    The criteria: predictions are shrunk by at most 10 %, the optimism of R² is at most 0.05, the residuals' deviation is
    known within 10 %, and so is the mean (Riley et al., Stat. Med. 2019). The last one needs ``mean`` and ``sd``.

    Args:
        parameters: Number of candidate predictors.
        r2: Anticipated R².
        mean: Mean of the values; far from 0, or the criterion makes no sense.
        sd: Their standard deviation.
        shrinkage: Least factor that predictors may have to be shrunk by.

    Raises:
        ValueError: A number out of range.

    Examples:
        >>> from sslmed.evaluation.sample_size import for_values
        >>> for_values(25, 0.2, mean=1.9, sd=0.6).criteria
        {'shrinkage': 918, 'optimism': 401, 'residuals': 259, 'mean': 918}
    """
    where = "for_values"
    whole(where, "parameters", parameters, 1)
    number(where, "r2", r2, 0, 0.99, strict=True)
    number(where, "shrinkage", shrinkage, 0.5, 0.999)
    for name, value in (("mean", mean), ("sd", sd)):
        if value is not None:
            number(where, name, value, -math.inf if name == "mean" else 0)

    def reached(n: float) -> float:
        apparent = (r2 * (n - parameters - 1) + parameters) / (n - 1)
        return 1 + (parameters - 2) / (n * math.log(1 - apparent)) - shrinkage

    low = parameters + 2
    high = low
    while reached(high) < 0:
        high *= 2
    criteria = {
        "shrinkage": low if high == low else math.ceil(brentq(reached, low, high, xtol=1e-6) - 1e-6),
        "optimism": math.ceil(1 + parameters * (1 - r2) / _OPTIMISM),
        "residuals": 234 + parameters,
    }
    if mean and sd:
        n = max(criteria.values())
        while t.ppf(0.975, n - parameters - 1) * sd * math.sqrt((1 - r2) / n) > 0.1 * abs(mean) and n < 10**6:
            n += max(1, n // 1000)
        criteria["mean"] = n
    return SampleSize(max(criteria.values()), criteria, r2)


def most_parameters(people: int, r2: float, *, shrinkage: float = 0.9) -> int:
    """Computes how many candidate predictors a number of people suffices for, by the criterion of shrinkage.

    Args:
        people: Number of people.
        r2: Anticipated R² (of classes: Cox and Snell's).
        shrinkage: Least factor that predictors may have to be shrunk by.

    Examples:
        >>> from sslmed.evaluation.sample_size import most_parameters
        >>> most_parameters(623, 0.288)
        24
    """
    number("most_parameters", "people", people, 0)
    number("most_parameters", "shrinkage", shrinkage, 0.5, 0.999)
    number("most_parameters", "r2", r2, 0, shrinkage - 1e-6)
    return int(people * (shrinkage - 1) * math.log(1 - r2 / shrinkage))


def r2_of_auroc(auroc: float, prevalence: float) -> float:
    """Computes Cox and Snell's R² that goes with an area under the ROC curve, for normal linear predictors.

    Args:
        auroc: Area, above 0.5.
        prevalence: Share of the positive class.

    Examples:
        >>> from sslmed.evaluation.sample_size import r2_of_auroc
        >>> round(r2_of_auroc(0.89, 0.174), 2)
        0.29
    """
    number("r2_of_auroc", "auroc", auroc, 0.5, 0.9999, strict=True)
    number("r2_of_auroc", "prevalence", prevalence, 1e-6, 1 - 1e-6)
    gap = math.sqrt(2) * float(norm.ppf(auroc))
    x = np.linspace(-9, 9 + gap, 20001)
    eta = math.log(prevalence / (1 - prevalence)) + gap * x - gap**2 / 2
    of = prevalence * norm.pdf(x, gap) * -np.logaddexp(0, -eta) + (1 - prevalence) * norm.pdf(x) * -np.logaddexp(0, eta)
    null = prevalence * math.log(prevalence) + (1 - prevalence) * math.log(1 - prevalence)
    return float(1 - math.exp(-2 * (float(of.sum() * (x[1] - x[0])) - null)))


def smallest_auroc(positive: int, negative: int, *, null_sd: float | None = None, power: float = 0.8, alpha: float = 0.05) -> float:
    """Computes the smallest area under the ROC curve that a cohort shows to be above one half, with a given power.

    Args:
        positive: People of the positive class.
        negative: People of the other class.
        null_sd: Standard deviation of the area under permuted labels; by default Hanley & McNeil's (Radiology 1982),
            which is that of a model fitted elsewhere.
        power: Share of cohorts that show it.
        alpha: Error of the first kind, two-sided.

    Returns:
        The area; NaN where not even a perfect one would be shown.

    Examples:
        >>> from sslmed.evaluation.sample_size import smallest_auroc
        >>> round(smallest_auroc(20, 20), 2), round(smallest_auroc(200, 200), 2)
        (0.75, 0.58)
    """
    where = "smallest_auroc"
    whole(where, "positive", positive, 1)
    whole(where, "negative", negative, 1)
    _power(where, power, alpha, null_sd)
    null = _hanley_mcneil(0.5, positive, negative)
    wider = 1.0 if null_sd is None else max(null_sd / null, 0.1)
    a, b = float(norm.isf(alpha / 2)), float(norm.isf(1 - power))

    def gap(area: float) -> float:
        return area - 0.5 - wider * (a * null + b * _hanley_mcneil(area, positive, negative))

    return float("nan") if gap(1.0) < 0 else float(brentq(gap, 0.5, 1.0))


def smallest_r(people: int, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """Computes the smallest correlation that a cohort shows to be above zero, by Fisher's z.

    Args:
        people: Number of people.
        power: Share of cohorts that show it.
        alpha: Error of the first kind, two-sided.

    Examples:
        >>> from sslmed.evaluation.sample_size import smallest_r
        >>> round(smallest_r(40), 2)
        0.43
    """
    whole("smallest_r", "people", people, 4)
    _power("smallest_r", power, alpha)
    return float(np.tanh((norm.isf(alpha / 2) + norm.isf(1 - power)) / math.sqrt(people - 3)))


def smallest_balanced_accuracy(counts: Sequence[int], *, null_sd: float | None = None, power: float = 0.8, alpha: float = 0.05) -> float:
    """Computes the smallest balanced accuracy that a cohort shows to be above chance.

    Args:
        counts: People of each class.
        null_sd: Standard deviation of the balanced accuracy under permuted labels; by default the binomial one.
        power: Share of cohorts that show it.
        alpha: Error of the first kind, two-sided.

    Returns:
        The balanced accuracy; NaN where not even a perfect one would be shown.

    Examples:
        >>> from sslmed.evaluation.sample_size import smallest_balanced_accuracy
        >>> round(smallest_balanced_accuracy([20, 20, 20]), 2)
        0.51
    """
    where = "smallest_balanced_accuracy"
    n = np.asarray(counts, float)
    if n.ndim != 1 or len(n) < 2 or not (n >= 1).all():
        raise ValueError(f"{where}: counts={counts!r} must be the people of two or more classes, each at least 1")
    _power(where, power, alpha, null_sd)
    chance = 1 / len(n)

    def sd(level: float) -> float:
        return float(np.sqrt((level * (1 - level) / n).sum()) / len(n))

    wider = 1.0 if null_sd is None else max(null_sd / sd(chance), 0.1)
    a, b = float(norm.isf(alpha / 2)), float(norm.isf(1 - power))

    def gap(level: float) -> float:
        return level - chance - wider * (a * sd(chance) + b * sd(level))

    return float("nan") if gap(1.0) < 0 else float(brentq(gap, chance, 1.0))


def _power(where: str, power: float, alpha: float, null_sd: float | None = None) -> None:
    if null_sd is not None:
        number(where, "null_sd", null_sd, 0, strict=True)
    number(where, "power", power, 0.5, 0.999)
    number(where, "alpha", alpha, 1e-6, 0.5)


def _hanley_mcneil(area: float, m: int, n: int) -> float:
    if area == 0.5:
        return math.sqrt((m + n + 1) / (12 * m * n))
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    return math.sqrt(max(area * (1 - area) + (m - 1) * (one - area**2) + (n - 1) * (two - area**2), 0.0) / (m * n))
