"""Learning curves: what a procedure scores with fewer people to train on, and what it may score with more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import t

from sslmed._checks import choice, number, whole
from sslmed.evaluation.crossfit import Pipeline, Study, cross_fit
from sslmed.evaluation.evaluate import Level, prepared
from sslmed.evaluation.intervals import estimate
from sslmed.evaluation.scoring import CLASSIFICATION, HIGHER, REGRESSION
from sslmed.evaluation.splits import CV, Fold, repeated

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LearningCurve", "learning_curve"]

Array = np.ndarray[Any, Any]

_POWERS = np.linspace(0.3, 1.5, 61)
_DRAWS = 200
_AHEAD = (1.5, 2.0, 4.0)


@dataclass(repr=False)
class LearningCurve:
    """Scores by the number of training people, with an inverse power law a - b n^-c through them."""

    table: pd.DataFrame
    """One line a number of people: people (in training), value (score; beyond the cohort, of the law), low, high (95 %,
    of the law), extrapolated."""
    metric: str
    """Name of the score."""
    law: tuple[float, float, float]
    """(a, b, c): a is the score with endless people; of an error the law is a + b n^-c."""
    total: int
    """People of the cohort."""
    _repeats: Array
    """Laws [draws, 3] of draws of the repeats."""
    _people: Array
    """Laws [G, 3] without each group of people."""
    _wider: float
    """Factor of the variance over people, where the training people could not be left out."""

    def __repr__(self) -> str:
        return f"<LearningCurve {self.metric}>\n{self.table.to_string(index=False)}"

    def at(self, people: float) -> tuple[float, float, float]:
        """Gives the law's score with a number of training people, and its 95 % interval.

        The interval is of the law as it was fitted: over draws of the folds and over the people, each left out in turn.
        It does not hold what the law may be wrong about.

        Args:
            people: Number of training people.

        Returns:
            Value, low, high.

        Raises:
            ValueError: A number below 1.
        """
        number("at", "people", people, 1)
        sign = 1.0 if HIGHER.get(self.metric, True) else -1.0
        value = float(_law(np.array([self.law]), people, sign)[0])
        of_people, of_repeats = _law(self._people, people, sign), _law(self._repeats, people, sign)
        groups = len(of_people)
        variance = self._wider * (groups - 1) / groups * float(((of_people - of_people.mean()) ** 2).sum()) + float(of_repeats.var())
        half = float(t.ppf(0.975, groups - 1)) * float(np.sqrt(variance))
        low, high = value - half, value + half
        if self.metric in CLASSIFICATION:
            low, high = max(low, 0.0), min(high, 1.0)
        return value, max(low, 0.0) if self.metric == "mae" else low, high

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the scores and the law.

        Args:
            ax: Axes to draw on; new ones by default.
        """
        from sslmed.reporting.plots import plot_learning

        return plot_learning(self.table, self.metric, ax)


def learning_curve(
    features: Array | pd.DataFrame | Mapping[str, Array | pd.DataFrame],
    table: pd.DataFrame,
    target: str,
    protocol: Literal["linear", "knn", "forest"] = "linear",
    *,
    sizes: Sequence[float] = (0.4, 0.6, 0.8, 1.0),
    metric: str | None = None,
    cv: CV = 5,
    repeats: int = 10,
    regression: bool | None = None,
    balanced: bool = False,
    level: Level = "person",
    seed: int = 0,
) -> LearningCurve:
    """Scores features with fewer training people, and extrapolates to more by an inverse power law.

    The test people are the same for every size; a smaller training part is inside the larger one and has the same
    shares of the classes. The law has its power c within 0.3 and 1.5 (Figueroa et al., BMC Med. Inform. Decis. Mak. 2012).

    Args:
        features: As in :func:`sslmed.evaluate`; of several, the last.
        table: As in :func:`sslmed.evaluate`.
        target: As in :func:`sslmed.evaluate`.
        protocol: As in :func:`sslmed.evaluate`.
        sizes: Shares of the training people of each fold, at least three.
        metric: Score; by default the area under the ROC curve, or the mean absolute error.
        cv: As in :func:`sslmed.evaluate`.
        repeats: Number of draws of folds and of training people.
        regression: As in :func:`sslmed.evaluate`.
        balanced: As in :func:`sslmed.evaluate`.
        level: As in :func:`sslmed.evaluate`.
        seed: Seed of folds and of training people.

    Returns:
        The curve, for ``result.verdict(curve=…)``.

    Raises:
        TypeError, ValueError: As :func:`sslmed.evaluate`; or fewer than three sizes, or a size out of range.

    Examples:
        >>> import numpy as np, pandas as pd
        >>> from sslmed.evaluation.learning import learning_curve
        >>> rng, y = np.random.default_rng(0), np.tile(["control", "pain"], 20)
        >>> x = rng.normal(size=(40, 8)) + 0.7 * (y == "pain")[:, None]
        >>> curve = learning_curve(x, pd.DataFrame({"subject": np.arange(40), "y": y}), "y", repeats=3)
        >>> curve.table["people"].tolist()
        [12, 20, 26, 32, 48, 64, 128]
    """
    where = "learning_curve"
    choice(where, "protocol", protocol, ("linear", "knn", "forest"))
    choice(where, "level", level, ("person", "recording"))
    whole(where, "repeats", repeats, 1)
    whole(where, "seed", seed)
    shares = sorted({float(s) for s in sizes})
    if len(shares) < 3 or not 0 < shares[0] <= shares[-1] <= 1:
        raise ValueError(f"{where}: sizes={tuple(sizes)} must be at least three different shares above 0 and at most 1")
    data = prepared(where, features, table, target, regression)
    known = REGRESSION if data.classes is None else CLASSIFICATION
    chosen = metric or ("mae" if data.classes is None else "auroc")
    choice(where, "metric", chosen, known)
    folds = repeated(data.people, cv, stratify=None if data.classes is None else target, repeats=repeats, seed=seed)
    study = Study.of(data.values, data.people.table["subject"].to_numpy(), data.classes, folds, level=level, balanced=balanced)
    pipeline = Pipeline(list(data.matrices.values())[-1], protocol, seed=seed)
    found = [_score(study, pipeline, share, chosen, seed) for share in shares]
    return _fitted(study, chosen, *(np.array(part) for part in zip(*found, strict=True)))


def _score(study: Study, pipeline: Pipeline, share: float, metric: str, seed: int) -> tuple[float, Array, Array, bool]:
    """Training people, scores of the repeats [R] and without each group of people [G], and whether the latter were left out of training too."""
    parts, people = [], []
    for r, folds in enumerate(study.repeats):
        fewer: list[Fold] = []
        for f, (train, test) in enumerate(folds):
            kept = _subset(study, train, share, np.random.default_rng((seed, 5, r, f)))
            people.append(len(np.unique(study.person[kept])))
            fewer.append((kept, test))
        parts.append(fewer)
    made = cross_fit(replace(study, repeats=parts), pipeline)
    one = estimate(study, metric, made)
    return float(np.mean(people)), one.repeats, one.left_out, made[0].without is not None


def _subset(study: Study, train: Array, share: float, rng: np.random.Generator) -> Array:
    """Training rows of a share of the people, of each class alike; a smaller share is inside a larger one."""
    people, first = np.unique(study.person[train], return_index=True)
    stratum = np.zeros(len(people), int) if study.classes is None else study.y[train][first]
    kept: list[Array] = []
    for value in np.unique(stratum):
        members = rng.permutation(people[stratum == value])
        kept.append(members[: max(min(2, len(members)), round(share * len(members)))])
    return np.asarray(train[np.isin(study.person[train], np.concatenate(kept))])


def _fitted(study: Study, metric: str, people: Array, repeats: Array, left_out: Array, both: Array) -> LearningCurve:
    """The law through scores [S, R] and [S, G]."""
    if not np.isfinite(repeats).all():
        raise ValueError(f"learning_curve: metric={metric!r} is not defined in some folds; ask for fewer folds")
    sign = 1.0 if HIGHER.get(metric, True) else -1.0
    upper = 1.0 if sign > 0 else 0.0  # no score is better than 1, and no error than 0
    rng = np.random.default_rng(0)
    drawn = repeats[:, rng.integers(repeats.shape[1], size=(_DRAWS, repeats.shape[1]))].mean(axis=2).T
    good = np.isfinite(left_out).all(axis=0)
    law = _fit(people, sign * repeats.mean(axis=1)[None], upper)[0]
    folds = study.repeats[0]
    ratio = 1.0 if both.all() else 1 + float(np.mean([len(test) / len(train) for train, test in folds])) * len(folds)
    total = len(np.unique(study.person))
    curve = LearningCurve(
        pd.DataFrame(), metric, (sign * law[0], law[1], law[2]), total, _fit(people, sign * drawn, upper) * [sign, 1, 1],
        _fit(people, sign * left_out[:, good].T, upper) * [sign, 1, 1], ratio,
    )  # fmt: skip
    lines: list[tuple[int, float, float, float, bool]] = []
    for n, value in zip(people, repeats.mean(axis=1), strict=True):
        lines.append((round(n), float(value), *curve.at(n)[1:], False))
    for factor in _AHEAD:
        lines.append((round(factor * people[-1]), *curve.at(factor * people[-1]), True))
    curve.table = pd.DataFrame(lines, columns=["people", "value", "low", "high", "extrapolated"])
    return curve


def _law(laws: Array, people: float, sign: float) -> Array:
    return np.asarray(laws[:, 0] - sign * laws[:, 1] * people ** -laws[:, 2])


def _fit(people: Array, y: Array, upper: float) -> Array:
    """(a, b, c) [B, 3] of a - b n^-c with the least squares to y [B, S], where a is at most ``upper`` and b at least 0."""
    best = np.full(len(y), np.inf)
    out = np.zeros((len(y), 3))
    for c in _POWERS:
        x = (people / people[-1]) ** -c
        centered = x - x.mean()
        b = np.maximum(-(y @ centered) / (centered @ centered), 0)
        a = y.mean(axis=1) + b * x.mean()
        over = a > upper
        b = np.where(over, np.maximum((upper - y) @ x / (x @ x), 0), b)
        a = np.minimum(a, upper)
        error = ((y - a[:, None] + b[:, None] * x) ** 2).sum(axis=1)
        better = error < best - 1e-15
        best[better] = error[better]
        out[better] = np.stack([a, b * people[-1] ** c, np.full(len(a), c)], axis=1)[better]
    return out
