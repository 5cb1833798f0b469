"""Scores within groups of people, and a test of whether they differ between groups."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sslmed._checks import choice, whole
from sslmed.evaluation import metrics
from sslmed.evaluation.metrics import Metric
from sslmed.evaluation.statistics import bootstrap

__all__ = ["binned", "interaction_test", "subgroups"]

Array = np.ndarray[Any, Any]

_LESS_IS_BETTER = ("mae", "brier")


def subgroups(
    rows: Mapping[str, tuple[Array, Array | None]],
    truth: Array,
    subjects: Array,
    values: pd.Series[Any],
    *,
    metric: Metric,
    bins: int | Sequence[float] = 3,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Scores predictions within groups of people, and marks the worst group where the groups differ.

    Some group is always the lowest. It is marked only where a test says that scores differ between groups at all
    (:func:`interaction_test`, p < 0.05).

    Args:
        rows: For each row its probabilities [n, classes] and the names of the classes, or its values [n] and None.
        truth: True classes or values [n].
        subjects: Subject of each recording [n].
        values: What recordings are grouped by [n]; those without a value are left out. Numbers of more than ten values
            are cut into bins.
        metric: Metric of the scores.
        bins: Number of bins of equal size, or their edges.
        draws: Draws of the bootstrap over subjects, and of the test.
        seed: Seed of both.

    Returns:
        row, group, value, low, high, n_subjects, p_interaction (one for each row, not corrected for several rows),
        worst. NaN where a group lacks a class that the metric needs.

    Raises:
        ValueError: Lengths differ, an unknown metric, fewer than one draw, or fewer than two edges.

    Examples:
        >>> import numpy as np, pandas as pd
        >>> from sslmed.evaluation.subgroups import subgroups
        >>> rng, site = np.random.default_rng(0), pd.Series(np.repeat(["a", "b"], 30))
        >>> age = rng.uniform(20, 80, 60)
        >>> predicted = age + rng.normal(size=60) * np.where(site == "a", 2, 12)
        >>> table = subgroups({"model": (predicted, None)}, age, np.arange(60), site, metric="mae", draws=200)
        >>> table["group"][table["worst"]].tolist(), bool(table["p_interaction"][0] < 0.05)
        (['b'], True)
    """
    whole("subgroups", "draws", draws, 1)
    whole("subgroups", "seed", seed)
    for name, given in (("truth", truth), ("subjects", subjects), *((f"rows[{row!r}]", predicted) for row, (predicted, _) in rows.items())):
        if len(given) != len(values):
            raise ValueError(f"subgroups: {name} must have one entry for each of {len(values)} recordings, got {len(given)}")
    groups = binned(values.reset_index(drop=True), bins)
    known = groups.notna().to_numpy()
    names = sorted(groups.dropna().unique())
    codes = np.full(len(groups), -1)
    for i, name in enumerate(names):
        codes[(groups == name).to_numpy()] = i
    lines: list[list[Any]] = []
    for row, (predicted, classes) in rows.items():
        found = []
        for i, name in enumerate(names):
            members = np.flatnonzero(codes == i)

            def statistic(index: Array, members: Array = members, predicted: Array = predicted, classes: Array | None = classes) -> float:
                return metrics.score(metric, truth[members[index]], predicted[members[index]], classes)

            low, high = bootstrap(statistic, subjects[members], draws=draws, seed=seed)
            found.append([row, str(name), statistic(np.arange(len(members))), low, high, len(np.unique(subjects[members])), np.nan, False])
        p = interaction_test(predicted[known], truth[known], subjects[known], codes[known], metric, classes, draws=draws, seed=seed)
        scores = np.array([line[2] for line in found], float)
        for line in found:
            line[6] = p
        if p < 0.05:
            found[int(np.nanargmin(-scores if metric in _LESS_IS_BETTER else scores))][-1] = True
        lines += found
    return pd.DataFrame(lines, columns=["row", "group", "value", "low", "high", "n_subjects", "p_interaction", "worst"])


def interaction_test(
    predicted: Array,
    truth: Array,
    subjects: Array,
    groups: Array,
    metric: Metric,
    classes: Array | None = None,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> float:
    """Tests whether a score differs between groups of people, by exchanging people between the groups.

    The statistic is the variance of the groups' scores, weighted by their numbers of people. People are exchanged with
    all their recordings, and where classes are predicted only among people of the same class: a group keeps its
    numbers of each class, so that a different prevalence alone is no difference. A grouping that varies within people,
    such as eyes open and closed, is exchanged among each person's own recordings instead.

    Args:
        predicted: Probabilities [n, classes], or values [n].
        truth: True classes or values [n].
        subjects: Subject of each recording [n].
        groups: Group of each recording [n].
        metric: Metric of the scores.
        classes: Names of the classes, in the order of the columns; None for values.
        draws: Number of exchanges; the smallest p value is 1 / (draws + 1).
        seed: Seed of the exchanges.

    Returns:
        The p value of no difference; NaN where fewer than two groups have a score.

    Raises:
        ValueError: Lengths differ, an unknown metric, or fewer than one draw.

    Examples:
        >>> import numpy as np
        >>> from sslmed.evaluation.subgroups import interaction_test
        >>> error, site = np.repeat([1.0, 9.0], 10), np.repeat(["a", "b"], 10)
        >>> interaction_test(50 + error, np.full(20, 50.0), np.arange(20), site, "mae", draws=99)
        0.01
    """
    whole("interaction_test", "draws", draws, 1)
    whole("interaction_test", "seed", seed)
    choice("interaction_test", "metric", metric, [m for kind in metrics.METRICS.values() for m in kind])
    for name, given in (("truth", truth), ("subjects", subjects), ("groups", groups)):
        if len(given) != len(predicted):
            raise ValueError(f"interaction_test: {name} must have one entry for each of {len(predicted)} rows of predicted, got {len(given)}")
    _, person = np.unique(np.asarray(subjects).astype(str), return_inverse=True)
    names, group = np.unique(np.asarray(groups), return_inverse=True)

    def spread(group: Array) -> float:
        scored = []
        for i in range(len(names)):
            rows = np.flatnonzero(group == i)
            scored.append((metrics.score(metric, truth[rows], predicted[rows], classes), len(np.unique(person[rows]))))
        score, people = np.array(scored, float).T
        score, people = score[np.isfinite(score)], people[np.isfinite(score)]
        return float(np.average((score - np.average(score, weights=people)) ** 2, weights=people)) if len(score) > 1 else float("nan")

    observed = spread(group) if len(names) > 1 else float("nan")
    if np.isnan(observed):
        return float("nan")
    exchange = _exchange(person, group, None if classes is None else truth)
    rng = np.random.default_rng(seed)
    # The margin keeps rounding from making the observed grouping less extreme than itself. An exchange without a score counts as reached.
    least = observed * (1 - 1e-9) - 1e-12
    reached = sum(not spread(exchange(rng)) < least for _ in range(draws))
    return (reached + 1) / (draws + 1)


def _exchange(person: Array, group: Array, truth: Array | None) -> Any:
    """A function of a random generator that returns groups of rows, exchanged as the null hypothesis allows."""
    rows_of = [np.flatnonzero(person == i) for i in range(person.max() + 1)]
    steady = np.array([len(np.unique(group[rows])) == 1 for rows in rows_of])
    kinds = np.zeros(len(group), int) if truth is None else np.unique(truth, return_inverse=True)[1]
    # Groups that vary within a person are exchanged among the person's rows of a class; people of one group each, among people of the same classes.
    varying = [rows for rows, one in zip(rows_of, steady, strict=True) if not one]
    blocks = [block for rows in varying for kind in np.unique(kinds[rows]) if len(block := rows[kinds[rows] == kind]) > 1]
    patterns = np.array([repr(sorted(set(kinds[rows].tolist()))) for rows in rows_of])
    strata = [members for pattern in np.unique(patterns) if len(members := np.flatnonzero((patterns == pattern) & steady)) > 1]
    of_person = np.array([group[rows[0]] for rows in rows_of])

    def exchange(rng: np.random.Generator) -> Array:
        dealt = of_person.copy()
        for members in strata:
            dealt[members] = rng.permutation(of_person[members])
        out = np.where(steady[person], dealt[person], group)
        for block in blocks:
            out[block] = rng.permutation(group[block])
        return out

    return exchange


def binned(values: pd.Series[Any], bins: int | Sequence[float] = 3) -> pd.Series[Any]:
    """Cuts numbers of more than ten values into bins; other values stay as they are.

    Args:
        values: Values [n].
        bins: Number of bins of equal size, or their edges.

    Raises:
        ValueError: Fewer than one bin, or edges that do not ascend.

    Examples:
        >>> import pandas as pd
        >>> from sslmed.evaluation.subgroups import binned
        >>> binned(pd.Series(range(20)), [-1, 9, 19]).astype(str).value_counts().to_dict()
        {'(-1, 9]': 10, '(9, 19]': 10}
    """
    if not isinstance(bins, Sequence):
        whole("subgroups", "bins", bins, 1)
    elif len(bins) < 2 or not all(a < b for a, b in itertools.pairwise(bins)):
        raise ValueError(f"subgroups: bins={list(bins)!r} must be at least two ascending edges, or a number of bins")
    if not pd.api.types.is_numeric_dtype(values) or values.nunique() <= 10:
        return values
    return pd.cut(values, list(bins)) if isinstance(bins, Sequence) else pd.qcut(values, bins, duplicates="drop")
