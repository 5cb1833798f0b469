"""Checks that keep a person's data out of training and test data at the same time."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import warnings
from collections.abc import Hashable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sslmed import digests
from sslmed._checks import whole
from sslmed._core import LeftOutWarning
from sslmed.contents import Place, equal_contents
from sslmed.near_duplicates import near_duplicates

if TYPE_CHECKING:
    from sslmed.cohort import Cohort

__all__ = ["find", "groups", "refuse_overlap", "refuse_shared_files"]

_COLUMNS = ["cohort_a", "row_a", "cohort_b", "row_b", "kind", "similarity"]
_ROWS = "sslmed rows"
"""Attribute of a table of pairs: by the names of cohorts what tells their rows from others."""
_PAIRS = 100_000  # pairs of one group that are all listed


def find(*cohorts: Cohort, near: bool = True, threads: int = 2) -> pd.DataFrame:
    """Lists pairs of rows that should not be in training and test data at the same time.

    Between two cohorts every such pair is listed. Within one cohort only pairs of different subjects are: folds keep the rows of one subject together.
    Of groups of equal rows with more than 100,000 pairs (thousands of blank images) only those that link each row to one other are listed.

    Args:
        *cohorts: Cohorts to look through, in files or in memory.
        near: Look for near duplicates too. Every file is then read once; otherwise only files of equal size are.
        threads: Number of files that are read at a time for near duplicates.

    Returns:
        One line a pair: ``cohort_a, row_a, cohort_b, row_b, kind, similarity``. Rows are positions in the cohorts' tables; of cohorts with the same name,
        the second is called "name (2)". ``kind`` is the first that holds of

        - "same file": both rows list one file, also by a link (``similarity`` 1);
        - "same content": the signals are equal, whatever the names of files and people (``similarity`` 1);
        - "near duplicate": one row is a copy of the other, or of a part of it, that was converted, resampled, cut, scaled, filtered or changed otherwise
          (``similarity``: the correlation of the two where they overlap; docs/leakage.md lists what is found);
        - "same subject": subject and site are the same, in two cohorts (``similarity`` NaN: the signals differ).

    Raises:
        TypeError: An argument is not a cohort.
        ValueError: There is no cohort, or ``threads`` is below 1.

    Warns:
        LeftOutWarning: Rows could not be compared for near duplicates, or pairs of a large group are not all listed.

    See Also:
        :func:`groups`: Keeps what was found on one side.
        :func:`sslmed.provenance.overlap`: Whom an encoder has seen.

    Examples:
        >>> import numpy as np, pandas as pd
        >>> import sslmed as sm
        >>> x = np.random.default_rng(0).normal(size=(3, 2, 800))
        >>> def people(rows, names, name):
        ...     return sm.Cohort.from_arrays(x[rows], 100, ["Cz", "Pz"], pd.DataFrame({"subject": names}), name=name)
        >>> sm.leakage.find(people([0, 1], ["a", "b"], "here"), people([1, 2], ["c", "d"], "there")).values.tolist()
        [['here', 1, 'there', 0, 'same content', 1.0]]
    """
    for number, cohort in enumerate(cohorts):
        if not hasattr(cohort, "modalities"):
            raise TypeError(f"find: cohorts[{number}]={cohort!r} must be a Cohort, got {type(cohort).__name__}")
    if not cohorts:
        raise ValueError("find: cohorts is empty, expected at least one cohort")
    whole("find", "threads", threads, 1)
    subjects = [cohort.table["subject"].astype(str).to_numpy() for cohort in cohorts]
    kinds: dict[tuple[Place, Place], tuple[str, float]] = {}
    for kind, several in (("same file", _same_files(cohorts)), ("same content", equal_contents(cohorts))):
        for group in several:
            for pair in _across(group, subjects, kind):
                kinds.setdefault(pair, (kind, 1.0))
    if near:
        for a, b, similarity in near_duplicates(cohorts, threads=threads):
            kinds.setdefault((a, b), ("near duplicate", similarity))
    for group in _same_people(cohorts):
        for pair in _across(group, subjects, "same subject"):
            kinds.setdefault(pair, ("same subject", np.nan))
    names = _different([cohort.name for cohort in cohorts])
    lines = [(names[a.cohort], a.row, names[b.cohort], b.row, *how) for (a, b), how in sorted(kinds.items(), key=_place)]
    found = pd.DataFrame(lines, columns=_COLUMNS)
    found.attrs[_ROWS] = {name: _rows_of(cohort) for name, cohort in zip(names, cohorts, strict=True)}
    return found


def groups(cohort: Cohort, found: pd.DataFrame) -> pd.Series[str]:
    """Subjects of which any rows are linked by pairs, as one: the connected components, named after the first subject of each.

    With these as the subjects, folds and splits keep copies on one side, and copies that are listed for two people are no longer refused.

    Args:
        cohort: A cohort.
        found: Pairs as :func:`find` lists them, or some of them; those of other cohorts count where they link rows of this one.

    Returns:
        A name for each row of the cohort's table.

    Raises:
        TypeError: ``found`` is no table.
        ValueError: ``found`` lacks a column, names a row that is no number or that the cohort does not have, or is of other rows: of a cohort before rows
            were taken out of it, or of two cohorts of this name.

    See Also:
        :func:`sslmed.evaluation.splits`: Folds, which take the pairs as ``duplicates``.

    Examples:
        >>> import numpy as np, pandas as pd
        >>> import sslmed as sm
        >>> x = np.random.default_rng(0).normal(size=(3, 2, 800))
        >>> cohort = sm.Cohort.from_arrays(x[[0, 1, 0, 2]], 100, ["Cz", "Pz"], pd.DataFrame({"subject": list("abcd")}), name="here")
        >>> sm.leakage.groups(cohort, sm.leakage.find(cohort)).tolist()
        ['a', 'b', 'a', 'd']
    """
    if not isinstance(found, pd.DataFrame):
        raise TypeError(f"groups: found={found!r} must be the table of sslmed.leakage.find, got {type(found).__name__}")
    if missing := [column for column in _COLUMNS[:4] if column not in found]:
        raise ValueError(f"groups: found needs the columns {', '.join(_COLUMNS[:4])} of sslmed.leakage.find, but lacks {', '.join(missing)}")
    for column in ("row_a", "row_b"):
        rows = pd.to_numeric(found[column], errors="coerce")
        if (wrong := (rows.isna() | (rows % 1 != 0)).to_numpy()).any():
            raise ValueError(f"groups: found: {column}={found[column].iloc[int(wrong.argmax())]!r} must be a row's number")
        found = found.assign(**{column: rows.astype("int64")})
    own = _name_in(found, cohort)
    subjects = cohort.table["subject"].astype(str).tolist()
    parents: dict[Hashable, Hashable] = {}

    def root(node: Hashable) -> Hashable:
        while (parent := parents.setdefault(node, node)) != node:
            parents[node] = node = parents[parent]
        return node

    def node_of(name: str, row: int) -> Hashable:
        if name != own:
            return name, row
        if not 0 <= row < len(subjects):
            raise ValueError(f"groups: found has row {row} of {name!r}, whose rows are 0 to {len(subjects) - 1}; give the pairs of this cohort")
        return subjects[row]

    for name, row, other, other_row in found[_COLUMNS[:4]].itertuples(index=False):
        parents[root(node_of(name, row))] = root(node_of(other, other_row))
    first: dict[Hashable, str] = {}
    return pd.Series([first.setdefault(root(subject), subject) for subject in subjects], index=cohort.table.index, name="subject", dtype=object)


def refuse_overlap(train: Any, test: Any, where: str = "") -> None:
    """Raises ValueError if a subject is in training and test data: its own signal would give the answer away.

    Args:
        train: Subjects of the training data.
        test: Subjects of the test data.
        where: Start of the message: which call, parameter or fold.
    """
    both = sorted(set(map(str, train)) & set(map(str, test)))
    if both:
        subjects = f"{len(both)} subject{'s are' if len(both) > 1 else ' is'}"
        raise ValueError(f"{where}{': ' if where else ''}{subjects} in training and test data at once: {', '.join(both[:5])}")


def refuse_shared_files(*cohorts: Cohort) -> None:
    """Raises ValueError if one file, or two rows with the same signal, are listed for two subjects: they could be in training and test data at the same time.

    Signals are compared as in :func:`find`: only files and arrays of equal size are looked into.

    Args:
        *cohorts: Cohorts to look through, in files or in memory.
    """
    tables = [cohort.table.loc[[array is None for array in cohort.arrays or [None] * len(cohort)], ["path", "subject"]] for cohort in cohorts]
    owners = pd.concat(tables).groupby("path")["subject"].nunique()
    if len(owners) and owners.max() > 1:
        raise ValueError(
            f"{owners.idxmax()} is listed for {owners.max()} subjects, so it would be in training and test data at once; list every file for one subject"
        )
    for group in equal_contents(cohorts):
        rows = [cohorts[place.cohort].table.iloc[place.row] for place in group]
        other = next((row for row in rows if row["subject"] != rows[0]["subject"]), None)
        if other is not None:
            a, b = (f"{row['path']} (subject {row['subject']!r})" for row in (rows[0], other))
            raise ValueError(
                f"{a} and {b} hold the same signal, which would be in training and test data at once; keep one of them, or give both to one subject "
                f"(sslmed.leakage.find lists all such pairs)"
            )


def _rows_of(cohort: Cohort) -> str:
    """What tells the rows of a cohort, and their order, from those of another one and of a part of it."""
    digest = hashlib.blake2b("\0".join(cohort.table["path"].astype(str)).encode("utf-8", "surrogateescape"), digest_size=16)
    for array in cohort.arrays or ():
        digest.update(b"" if array is None else digests.tail_of_array(array) or b"")
    return digest.hexdigest()


def _name_in(found: pd.DataFrame, cohort: Cohort) -> str:
    """What a cohort is called in a table of pairs.

    Raises:
        ValueError: The pairs are of other rows, or it cannot be said whether they are.
    """
    known = found.attrs.get(_ROWS)
    if known is None:  # from a file, or put together
        others = {name for name in (*found["cohort_a"], *found["cohort_b"]) if re.fullmatch(re.escape(cohort.name) + r" \(\d+\)", str(name))}
        if others:
            text = f"groups: found has pairs of {cohort.name!r} and of {min(others)!r}, either of which may be this cohort"
            raise ValueError(f"{text}; give cohorts different names before find, or groups the table that find returned")
        return cohort.name
    rows = _rows_of(cohort)
    named = next((name for name, others in known.items() if others == rows), None)
    if named is None:
        there = ", ".join(repr(name) for name in known)
        text = f"groups: found is of other rows than the {len(cohort)} of {cohort.name!r} (it is of {there})"
        raise ValueError(f"{text}; look for pairs in these rows: sslmed.leakage.find(cohort)")
    return str(named)


def _across(group: list[Place], subjects: list[Any], kind: str) -> Iterator[tuple[Place, Place]]:
    """Pairs of rows of different cohorts or different subjects; of very many only those of the first row of one side with all of the others."""
    sides: dict[Hashable, list[Place]] = {}
    for place in group:
        sides.setdefault((place.cohort, subjects[place.cohort][place.row]), []).append(place)
    if len(sides) < 2:
        return
    if (len(group) ** 2 - sum(len(side) ** 2 for side in sides.values())) // 2 > _PAIRS:
        text = f"find: {len(group)} rows are linked by {kind!r}: of their pairs only those that link each of them to one other are listed"
        warnings.warn(text, LeftOutWarning, stacklevel=3)
        first, second, *rest = sides.values()
        links = [*((first[0], place) for side in (second, *rest) for place in side), *((place, second[0]) for place in first[1:])]
        yield from ((a, b) if a < b else (b, a) for a, b in links)
        return
    for one, other in itertools.combinations(sides.values(), 2):
        for a, b in itertools.product(one, other):
            yield (a, b) if a < b else (b, a)


def _same_files(cohorts: Iterable[Cohort]) -> list[list[Place]]:
    """Groups of rows that list one file, by whatever path."""
    found: dict[Hashable, list[Place]] = {}
    for number, cohort in enumerate(cohorts):
        kept = cohort.arrays or [None] * len(cohort)
        for row, (path, array) in enumerate(zip(cohort.table["path"].astype(str), kept, strict=True)):
            if array is None:
                found.setdefault(_file(path), []).append(Place(number, row))
    return list(found.values())


def _file(path: str) -> Hashable:
    try:
        found = os.stat(path)
    except OSError:
        return os.path.abspath(path)
    return found.st_dev, found.st_ino


def _same_people(cohorts: Iterable[Cohort]) -> list[list[Place]]:
    """Groups of rows of one subject of one site."""
    found: dict[Hashable, list[Place]] = {}
    for number, cohort in enumerate(cohorts):
        for row, person in enumerate(zip(cohort.table["site"].astype(str), cohort.table["subject"].astype(str), strict=True)):
            found.setdefault(person, []).append(Place(number, row))
    return list(found.values())


def _different(names: list[str]) -> list[str]:
    """Names of cohorts, numbered where they repeat."""
    out: list[str] = []
    for place, name in enumerate(names):
        count = 1 + names[:place].count(name)
        one = name if count == 1 else f"{name} ({count})"
        while one in out or (count > 1 and one in names):
            count += 1
            one = f"{name} ({count})"
        out.append(one)
    return out


def _place(pair: tuple[tuple[Place, Place], Any]) -> tuple[Place, Place]:
    return pair[0]
