"""The score of the OpenBHB challenge: the error of age at other sites, and how much of the site features give away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from sslmed._checks import whole
from sslmed.evaluation._arrays import feature_pair
from sslmed.evaluation._tables import check_table, is_number
from sslmed.evaluation.statistics import tail
from sslmed.labels import class_names
from sslmed.leakage import refuse_overlap

__all__ = ["EXPONENT", "STRENGTHS", "openbhb_score"]

Array = np.ndarray[Any, Any]
Fold = tuple[Array, Array]
Score = Callable[[Array, Array], float]

EXPONENT = 0.3
"""Power of the balanced accuracy of the site in the score."""
STRENGTHS = tuple(10.0**power for power in range(-2, 3))
"""Alphas of ridge regression, and C of logistic regression, that are chosen from."""
_FOLDS = 5


def openbhb_score(
    features_internal: Array,
    table_internal: pd.DataFrame,
    features_external: Array,
    table_external: pd.DataFrame,
    age: str = "age",
    site: str = "site",
    *,
    test: Array | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Scores features as the OpenBHB challenge does: age at other sites, punished by what they tell of the site.

    The score is the mean absolute error of age in people of external sites, times the balanced accuracy of the site
    within internal ones to the power of 0.3. Lower is better. Features that know nothing of the site have a balanced
    accuracy of one over the number of sites, not zero.

    Ridge regression of age and logistic regression of the site are fitted on features as they are, without scaling.
    Their strengths are chosen from :data:`STRENGTHS` by five folds over people (fewer where a site has fewer people):
    by R², and by balanced accuracy.

    The challenge has an internal test set, for ``test``. Without it each person of the internal sites is predicted by
    fits that have not seen them, over five folds, and people of the external sites by a fit on all internal ones.

    Source: the scores and estimators of github.com/ramp-kits/brain_age_with_site_removal. Unlike there, folds are over
    people, and logistic regression runs until it has converged.

    Args:
        features_internal: Features [n, D] of people at the sites that are trained on.
        table_internal: n rows with ``subject``, age and site. The rows of a person share one vote.
        features_external: Features [m, D] of people at other sites.
        table_external: m rows with ``subject`` and age.
        age: Column of ages in years.
        site: Column of sites.
        test: True for the rows of the internal test set [n], bool; None for five folds.
        draws: Number of draws of people for the intervals.
        seed: Seed of folds and draws.

    Returns:
        ``row, metric, value, low, high, n_subjects``: the rows "dummy" (the mean age, and no idea of the site) and
        "features", and of each the metrics "mae_internal" and "mae_external" in years, "site_balanced_accuracy" and
        "openbhb". Intervals (95 %) are over the people who are tested, drawn within sites, and take the fits as given:
        those of another cohort to train on would be wider.

    Raises:
        TypeError: A table is not a DataFrame.
        ValueError: Shapes that do not fit, missing values, subjects on both sides, a site with fewer than five people,
            or an external site that is an internal one.

    See Also:
        :func:`sslmed.evaluate`, :func:`sslmed.card`

    Examples:
        >>> import numpy as np, pandas as pd
        >>> import sslmed as sm
        >>> rng, years = np.random.default_rng(0), np.linspace(20, 80, 60)
        >>> x = np.stack([years, rng.normal(size=60)], axis=1)
        >>> table = pd.DataFrame({"subject": np.arange(60), "age": years, "site": ["a", "b", "c"] * 20})
        >>> found = sm.evaluation.openbhb_score(x[:45], table[:45], x[45:], table[45:].assign(site="d"), draws=50)
        >>> scores = found.set_index(["row", "metric"])["value"]
        >>> bool(scores["features", "openbhb"] < 1), round(float(scores["dummy", "site_balanced_accuracy"]), 2)
        (True, 0.33)
    """
    where = "openbhb_score"
    whole(where, "draws", draws, 1)
    whole(where, "seed", seed)
    names = ("features_internal", "features_external")
    x, x_external = feature_pair(features_internal, features_external, where, names)
    internal = _Part(f"{where}: table_internal", table_internal, len(x), names[0], age, site)
    external = _Part(f"{where}: table_external", table_external, len(x_external), names[1], age, None)
    refuse_overlap(internal.subjects, external.subjects, f"{where}: table_external")
    _check_sites(where, internal, table_external, site)
    folds = _folds(where, internal, test, seed)
    years, means, place = np.full(len(x), np.nan), np.full(len(x), np.nan), np.full(len(x), -1)
    for train, held in folds:
        means[held] = internal.ages[train].mean()
        years[held] = _age(x[train], internal.ages[train], internal.person[train], seed).predict(x[held])
        place[held] = _site(x[train], internal.site[train], internal.person[train], seed).predict(x[held])
    fitted = np.arange(len(x)) if test is None else folds[0][0]
    model = _age(x[fitted], internal.ages[fitted], internal.person[fitted], seed)
    known, mean = np.flatnonzero(np.isfinite(years)), float(internal.ages[fitted].mean())
    rows = {
        "dummy": (means, np.full(len(x), 1 / len(internal.sites)), np.full(len(x_external), mean)),
        "features": (years, (place == internal.site).astype(float), model.predict(x_external)),
    }
    drawn = _Draws(internal, external, known, draws, seed)
    lines = [line for row, (inner, right, outer) in rows.items() for line in drawn.lines(row, inner, right, outer)]
    return pd.DataFrame(lines, columns=["row", "metric", "value", "low", "high", "n_subjects"])


class _Part:
    """Checked columns of a table of people."""

    def __init__(self, where: str, table: Any, rows: int, features: str, age: str, site: str | None) -> None:
        columns = {"age": age} | ({"site": site} if site is not None else {})
        for parameter, column in columns.items():
            check_table(where, table, parameter, [column], needs=("subject", column))
        if len(table) != rows:
            raise ValueError(f"{where} has {len(table)} rows, expected one for each of the {rows} rows of {features}")
        if not is_number(table[age]):
            found = f"got values such as {table[age].iloc[0]!r}"
            raise ValueError(f"{where}: age={age!r} must be a column of numbers, {found}")
        self.ages = table[age].to_numpy(float)
        self.subjects, self.person = np.unique(table["subject"].astype(str).to_numpy(), return_inverse=True)
        codes = class_names(table[site].to_numpy()) if site is not None else np.full(rows, "")
        self.sites, self.site = np.unique(codes, return_inverse=True)


def _check_sites(where: str, internal: _Part, external: pd.DataFrame, site: str) -> None:
    if len(internal.sites) < 2:
        raise ValueError(f"{where}: site={site!r} must have at least two sites in table_internal, got one")
    other = set(class_names(external[site].dropna().to_numpy()) if site in external else ())
    if both := sorted(set(internal.sites) & other):
        raise ValueError(f"{where}: table_external: site {str(both[0])!r} is internal too, expected other sites")


def _people(site: Array, person: Array, sites: int) -> Array:
    """Number of people of each site [sites]."""
    pairs = np.unique(np.stack([site, person], axis=1), axis=0)
    return np.bincount(pairs[:, 0], minlength=sites)


def _folds(where: str, internal: _Part, test: Array | None, seed: int) -> list[Fold]:
    """Training and test rows of the internal people."""

    def refuse_few(rows: Array, least: int, parameter: str, what: str = "") -> None:
        people = _people(internal.site[rows], internal.person[rows], len(internal.sites))
        if people.min() < least:
            found = f"site {str(internal.sites[people.argmin()])!r} has {people.min()} people{what}"
            raise ValueError(f"{where}: {parameter}: {found}, expected at least {least}; leave the site out")

    if test is None:
        refuse_few(np.arange(len(internal.site)), _FOLDS, "table_internal")
        split = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed)
        return list(split.split(internal.site, internal.site, internal.person))
    held = np.asarray(test)
    if held.dtype != bool or held.shape != internal.ages.shape or held.all() or not held.any():
        wanted = f"[{len(internal.ages)}] bool with rows of both kinds"
        raise ValueError(f"{where}: test must be {wanted}, got {held.dtype} {list(held.shape)}")
    train, rows = np.flatnonzero(~held), np.flatnonzero(held)
    names = internal.subjects[internal.person]
    refuse_overlap(names[train], names[rows], f"{where}: test")
    refuse_few(train, 2, "test", " in the training rows")
    refuse_few(rows, 1, "test", " in the test rows")
    return [(train, rows)]


def _age(x: Array, y: Array, person: Array, seed: int) -> Any:
    """Ridge regression of age."""
    people = len(np.unique(person))
    splitter = GroupKFold(min(_FOLDS, people // 2), shuffle=True, random_state=seed)
    return _best(lambda strength: Ridge(strength), r2_score, x, y, list(splitter.split(x, y, person)))


def _site(x: Array, y: Array, person: Array, seed: int) -> Any:
    """Logistic regression of the site."""
    fewest = int(_people(y, person, int(y.max()) + 1).min())
    splitter = StratifiedGroupKFold(min(_FOLDS, fewest), shuffle=True, random_state=seed)
    folds = list(splitter.split(x, y, person))
    return _best(lambda strength: LogisticRegression(C=strength, max_iter=10_000), _balanced, x, y, folds)


def _best(make: Callable[[float], Any], score: Score, x: Array, y: Array, folds: list[Fold]) -> Any:
    """The model of the strength with the best mean score over folds, fitted on all rows."""
    means = []
    for strength in STRENGTHS:
        made = [score(y[test], make(strength).fit(x[train], y[train]).predict(x[test])) for train, test in folds]
        means.append(np.mean(made))
    return make(STRENGTHS[int(np.argmax(means))]).fit(x, y)


def _balanced(truth: Array, predicted: Array) -> float:
    right = (truth == predicted).astype(float)
    return float(np.mean([right[truth == code].mean() for code in np.unique(truth)]))


class _Draws:
    """Scores, and their intervals over people."""

    def __init__(self, internal: _Part, external: _Part, known: Array, draws: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.internal, self.external, self.known = internal, external, known
        self.inner, self.n_inner = _drawn(rng, internal.person[known], internal.site[known], draws)
        self.outer, self.n_outer = _drawn(rng, external.person, external.site, draws)

    def lines(self, row: str, years: Array, right: Array, outer: Array) -> list[tuple[Any, ...]]:
        """Lines of the table: of ages [n] and [m] that are predicted, and of how right the site is [n] from 0 to 1."""
        known, site = self.known, self.internal.site[self.known]
        person = self.internal.person[known]
        inside = _means(self.inner, person, np.abs(years[known] - self.internal.ages[known]))
        outside = _means(self.outer, self.external.person, np.abs(outer - self.external.ages))
        rows = [np.flatnonzero(site == code) for code in np.unique(site)]
        of_site = [_means(self.inner[:, own], person[own], right[known][own]) for own in rows]
        balanced = np.nanmean(of_site, axis=0)
        both = self.n_inner + self.n_outer
        found: dict[str, tuple[Array, int]] = {
            "mae_internal": (inside, self.n_inner),
            "mae_external": (outside, self.n_outer),
            "site_balanced_accuracy": (balanced, self.n_inner),
            "openbhb": (outside * balanced**EXPONENT, both),
        }
        return [(row, metric, float(x[0]), *_interval(x[1:], people), people) for metric, (x, people) in found.items()]


def _drawn(rng: np.random.Generator, person: Array, strata: Array, draws: int) -> tuple[Array, int]:
    """Weights of the rows [1 + draws, rows], and the number of people: all ones first, then one line a bootstrap draw of people."""
    first, codes = np.unique(person, return_index=True, return_inverse=True)[1:]
    counts = np.ones((1 + draws, len(first)))
    for code in np.unique(strata[first]):
        members = np.flatnonzero(strata[first] == code)
        counts[1:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), draws)
    return counts[:, codes], len(first)


def _means(counts: Array, person: Array, values: Array) -> Array:
    """Means over people, whose rows share one vote; NaN where nobody is drawn."""
    weights = counts / np.bincount(person)[person]
    total = weights.sum(axis=1)
    return np.asarray(weights @ values / np.where(total > 0, total, np.nan))


def _interval(values: Array, people: int) -> tuple[float, float]:
    if np.ptp(values) < 1e-12:  # nothing that depends on people
        return float("nan"), float("nan")
    cut = 100 * tail(people)
    low, high = np.percentile(values, [cut, 100 - cut])
    return float(low), float(high)
