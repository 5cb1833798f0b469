"""Pairs of patients and controls within one table, folds that keep pairs together, and folds that leave a site out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from sslmed._checks import number, whole
from sslmed.cohort import Cohort
from sslmed.evaluation._tables import check_table, classes_of, people
from sslmed.evaluation.confounding.balance import standardized_differences
from sslmed.evaluation.splits import Fold

__all__ = ["WithinMatch", "assign", "leave_one_out", "match_within", "paired_folds"]

Array = np.ndarray[Any, Any]


def assign(one: pd.DataFrame, two: pd.DataFrame, on: Mapping[str, float | None], *, ratio: int = 1, where: str = "assign") -> tuple[Array, Array, Array]:
    """Pairs rows of two tables: as many pairs as the calipers allow, and among those the closest.

    With a ratio above 1, as many rows of ``one`` as possible get a first partner before any gets a second.

    Args:
        one: One line a person, with the columns of ``on`` and no missing values in them.
        two: The people to pair them with.
        on: Columns to match on. The value is the largest allowed difference of a numeric column (its caliper); None:
            values must be equal.
        ratio: Most partners that a row of ``one`` gets.
        where: Start of the message of an error.

    Returns:
        Positions in ``one`` and in ``two`` of each pair, and its distance (sum over numeric columns of the difference / the
        caliper).

    Raises:
        ValueError: A caliper is not positive, or its column is not numeric.

    Examples:
        >>> import pandas as pd
        >>> from sslmed.evaluation.matching import assign
        >>> rows, partners, _ = assign(pd.DataFrame({"age": [20.0, 30.0]}), pd.DataFrame({"age": [31.0, 22.0, 50.0]}), {"age": 2.0})
        >>> rows.tolist(), partners.tolist()
        ([0, 1], [1, 0])
    """
    whole(where, "ratio", ratio, 1)
    distance = np.zeros((len(one), len(two)))
    allowed = np.ones(distance.shape, bool)
    for column, caliper in on.items():
        x, y = one[column].to_numpy(), two[column].to_numpy()
        if caliper is None:
            allowed &= x[:, None] == y[None]
            continue
        number(where, f"on[{column!r}]", caliper, 0, strict=True)
        if not all(pd.api.types.is_numeric_dtype(t[column]) for t in (one, two)):
            raise ValueError(f"{where}: on: column {column!r} must be numeric to have a caliper, got on[{column!r}]={caliper!r}; None matches equal values")
        difference = np.abs(x.astype(float)[:, None] - y.astype(float)[None])
        allowed &= difference <= caliper
        distance += difference / caliper
    # A row's next partner costs more than all distances together, so that no first partner is given up for a shorter
    # distance; and a forbidden pair costs more than all allowed ones, so that no pair is given up at all.
    pairs = min(len(one) * ratio, len(two)) + 1
    step = float(distance[allowed].max(initial=0.0) + 1) * pairs
    cost = np.where(allowed, distance, step * (ratio + 1) * pairs)
    rows, columns = linear_sum_assignment(np.concatenate([cost + turn * step for turn in range(ratio)]))
    rows = rows % max(len(one), 1)
    order = np.lexsort((columns, rows))
    rows, columns = rows[order], columns[order]
    kept = allowed[rows, columns]
    return rows[kept], columns[kept], distance[rows[kept], columns[kept]]


@dataclass
class WithinMatch:
    """Matched people of one table (:func:`match_within`)."""

    table: pd.DataFrame
    """Recordings of matched people in their order, with the number of the pair in column ``pair``."""
    rows: Array
    """Positions of these recordings in the table that was given: ``cohort.subset(rows)`` takes them."""
    pairs: pd.DataFrame
    """One line a matched control: pair, case, control (subjects), distance."""
    balance: pd.DataFrame
    """column, before, after: the standardized difference between the classes before and after matching."""
    kept: pd.DataFrame
    """class, people, matched: how many people of each class there were, and how many are left."""


def match_within(table: pd.DataFrame | Cohort, target: str, on: Mapping[str, float | None], ratio: int = 1) -> WithinMatch:
    """Pairs people of the smaller class with alike people of the larger one, within one table or cohort.

    As many people as the calipers allow get a partner, and among those choices the pairs are the closest. What is learned
    and scored on matched people says nothing of those left out: ``kept`` counts them.

    Args:
        table: Recordings with ``subject``, or a cohort of them.
        target: Column of two classes, one for each person.
        on: Columns to match on. The value is the largest allowed difference of a numeric column (its caliper); None:
            values must be equal. People without a value are not matched.
        ratio: Most people of the larger class for one of the smaller.

    Raises:
        TypeError: ``table`` is neither a DataFrame nor a cohort, or ``on`` not a mapping.
        ValueError: A column is missing, ``target`` has not two classes or varies within a person, a caliper is not
            positive or its column not numeric, or no pair is possible.

    See Also:
        :func:`paired_folds`: Folds that keep pairs together.
        :func:`sslmed.shift.match`: Pairs between two cohorts.

    Examples:
        >>> import pandas as pd
        >>> from sslmed.evaluation.matching import match_within
        >>> table = pd.DataFrame({"subject": list("abcdef"), "group": ["patient", "patient"] + ["control"] * 4, "age": [60.0, 70, 40, 61, 50, 69]})
        >>> matched = match_within(table, "group", {"age": 2.0})
        >>> matched.pairs[["case", "control", "distance"]].values.tolist()
        [['a', 'd', 0.5], ['b', 'f', 0.5]]
        >>> matched.table["subject"].tolist(), matched.table["pair"].tolist()
        (['a', 'b', 'd', 'f'], [0, 1, 0, 1])
    """
    where = "match_within"
    given = table.table if isinstance(table, Cohort) else table
    if not isinstance(on, Mapping):
        raise TypeError(f"{where}: on={on!r} must be a mapping of columns to calipers, such as {{'age': 2.0, 'sex': None}}")
    columns = check_table(where, given, "on", on)
    known = classes_of(where, given, target)
    if (several := known.groupby("subject", observed=True)[target].nunique() > 1).any():
        raise ValueError(f"{where}: target={target!r} varies within subject {str(several.idxmax())!r}; matching needs one class a person")
    persons = people(known, [target, *columns])
    counts = persons[target].value_counts()
    if len(counts) != 2:
        raise ValueError(f"{where}: target={target!r} must have two classes, got {', '.join(map(repr, sorted(counts.index)))}; select two of them")
    # Of classes of one size the later name is matched, which is fixed and does not matter.
    small, large = sorted(sorted(counts.index, reverse=True), key=lambda c: int(counts[c]))
    one, two = (persons[persons[target] == c].dropna(subset=columns) for c in (small, large))
    rows, partners, distance = assign(one, two, on, ratio=ratio, where=where)
    if not len(rows):
        raise ValueError(f"{where}: on={dict(on)!r} allows no pair of {small!r} and {large!r}; widen a caliper")
    numbers = np.unique(rows, return_inverse=True)[1]
    cases, controls = one["subject"].to_numpy()[rows], two["subject"].to_numpy()[partners]
    pairs = pd.DataFrame({"pair": numbers, "case": cases, "control": controls, "distance": distance})
    pair_of = dict(zip([*cases, *controls], [*numbers, *numbers], strict=True))
    position = np.flatnonzero(given["subject"].isin(list(pair_of)) & given[target].notna())
    matched = given.iloc[position].assign(pair=lambda t: t["subject"].map(pair_of).astype(int))
    before, after = (standardized_differences(t, target, columns) for t in (given, matched))
    balance = pd.DataFrame({"column": columns, "before": before["difference"], "after": after["difference"]})
    left = [(c, int(counts[c]), len(set(who))) for c, who in ((small, cases), (large, controls))]
    return WithinMatch(matched, position, pairs, balance, pd.DataFrame(left, columns=["class", "people", "matched"]))


def paired_folds(
    table: pd.DataFrame, pairs: str | Mapping[Any, Any] | pd.Series[Any] = "pair", k: int = 5, *, stratify: str | None = None, seed: int = 0
) -> list[Fold]:
    """Makes folds that keep the people of a pair together, and spread people without a pair evenly.

    Args:
        table: Recordings with ``subject``.
        pairs: Column with the number of each person's pair, as :func:`match_within` gives it, or a mapping of subjects to
            it. People without a value have no pair.
        k: Number of folds.
        stratify: Column of classes whose people without a pair are spread evenly.
        seed: Seed of the folds.

    Returns:
        Pairs (train, test) of row positions, for ``cv=``.

    Raises:
        TypeError: ``table`` is not a DataFrame, or ``pairs`` neither a column nor a mapping.
        ValueError: A column is missing, a person is in two pairs, or there are fewer pairs and single people than folds.

    Examples:
        >>> import pandas as pd
        >>> from sslmed.evaluation.matching import paired_folds
        >>> table = pd.DataFrame({"subject": list("abcd"), "pair": [0, 1, 1, 0]})
        >>> sorted(test.tolist() for _, test in paired_folds(table, "pair", 2))
        [[0, 3], [1, 2]]
    """
    where = "paired_folds"
    if stratify is not None:
        check_table(where, table, "stratify", [stratify])
    if isinstance(pairs, str):
        check_table(where, table, "pairs", [pairs])
        found = table[pairs].to_numpy()
    elif isinstance(pairs, (Mapping, pd.Series)):
        check_table(where, table, "table", ["subject"])
        found = table["subject"].map(pairs if isinstance(pairs, pd.Series) else dict(pairs)).to_numpy()
    else:
        raise TypeError(f"{where}: pairs={pairs!r} must be a column of table, or a mapping of subjects to pairs")
    rows = pd.DataFrame({"subject": table["subject"].to_numpy(), "pair": found, "class": "" if stratify is None else table[stratify].astype(str).to_numpy()})
    if (several := rows.groupby("subject", observed=True)["pair"].nunique() > 1).any():
        raise ValueError(f"{where}: pairs: subject {str(several.idxmax())!r} is in more than one pair")
    persons = people(rows, ["pair", "class"])
    paired = persons["pair"].notna()
    units, singles = np.unique(persons.loc[paired, "pair"].to_numpy()), persons[~paired]
    whole(where, "k", k, 2)
    whole(where, "seed", seed)
    if k > len(units) + len(singles):
        raise ValueError(f"{where}: k={k} must be at most {len(units) + len(singles)}, the {len(units)} pairs and {len(singles)} single people")
    rng = np.random.default_rng(seed)
    # Dealt in turn: folds differ by one pair at most, and by one single person of each class.
    fold_of_pair = dict(zip(rng.permutation(units), np.arange(len(units)) % k, strict=True))
    singles = singles.iloc[rng.permutation(len(singles))].sort_values("class", kind="stable")
    fold_of = dict(zip(singles["subject"], (len(units) + np.arange(len(singles))) % k, strict=True))
    fold_of |= {subject: fold_of_pair[pair] for subject, pair in persons.loc[paired, ["subject", "pair"]].itertuples(index=False)}
    numbers = np.array([fold_of[subject] for subject in rows["subject"]])
    return [(np.flatnonzero(numbers != fold), np.flatnonzero(numbers == fold)) for fold in range(k)]


def leave_one_out(table: pd.DataFrame, column: str, *, target: str | None = None) -> list[Fold]:
    """Makes a fold of each value of a column: leave-one-site-out, leave-one-device-out.

    Args:
        table: Recordings with ``subject``.
        column: Column whose values are left out in turn, in the order of their names; every recording needs one.
        target: Column of classes that every training part must have at least two of.

    Returns:
        Pairs (train, test) of row positions, for ``cv=``.

    Raises:
        TypeError: ``table`` is not a DataFrame.
        ValueError: A column is missing, a value is missing, there is one value only, a person has two values, or a training
            part has one class.

    Examples:
        >>> import pandas as pd
        >>> from sslmed.evaluation.matching import leave_one_out
        >>> table = pd.DataFrame({"subject": list("aabc"), "site": ["Bonn", "Bonn", "Oslo", "Oslo"]})
        >>> [test.tolist() for _, test in leave_one_out(table, "site")]
        [[0, 1], [2, 3]]
    """
    where = "leave_one_out"
    check_table(where, table, "column", [column], needs=("subject", column))
    if (several := table.groupby("subject", observed=True)[column].nunique() > 1).any():
        raise ValueError(f"{where}: column={column!r}: subject {str(several.idxmax())!r} has two values, and would be in training and test data at once")
    names = table[column].astype(str).to_numpy()
    if len(values := np.unique(names)) < 2:
        raise ValueError(f"{where}: column={column!r} has one value only, {str(values[0])!r}; nothing is left to learn from")
    folds = [(np.flatnonzero(names != value), np.flatnonzero(names == value)) for value in values]
    if target is not None:
        check_table(where, table, "target", [target])
        for value, (train, _) in zip(values, folds, strict=True):
            if len(left := table[target].iloc[train].dropna().unique()) < 2:
                raise ValueError(
                    f"{where}: target={target!r}: without {column} {str(value)!r} training rows have one class only, {', '.join(map(repr, map(str, left)))}; "
                    f"this {column} and {target} cannot be told apart"
                )
    return folds
