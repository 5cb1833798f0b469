"""What a cohort was read from, as a table and as a line, and which channels of its recordings are read."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from sslmed.bids import LeftOut
from sslmed.modalities import registry

if TYPE_CHECKING:
    from sslmed.cohort import Cohort

__all__ = ["channel_report", "report", "told", "with_choice"]


def report(cohort: Cohort) -> pd.DataFrame:
    """The table of :meth:`sslmed.Cohort.report`."""
    lines: list[tuple[str, str, int, str, str]] = []
    for kind in cohort.table["modality"].dropna().unique():
        rows = cohort.table[cohort.table["modality"] == kind]
        people = f"{rows['subject'].nunique()} subjects"
        lines.append(("read", registry.get(str(kind)).rows, len(rows), people, str(rows["path"].iloc[0])))
    lines += [("left out", one.what, one.count, one.why, one.example) for one in cohort.left_out]
    return pd.DataFrame(lines, columns=["outcome", "what", "count", "why", "example"])


def channel_report(cohort: Cohort) -> pd.DataFrame:
    """The table of :meth:`sslmed.Cohort.channel_report`."""
    return registry.get(cohort.modality).channel_report(cohort)


def told(cohort: Cohort, left_out: Sequence[LeftOut]) -> Cohort:
    """The cohort, after a line on standard error of what it was read from."""
    cohort.left_out = tuple(left_out)
    lines = report(cohort).itertuples(index=False)
    found = ", ".join(f"{count} {what} of {why}" for outcome, what, count, why, _ in lines if outcome == "read")
    besides = "; ".join(f"{one.count} {one.what} {one.why} (such as {one.example})" for one in left_out)
    print(f"{cohort.name}: {found}{f'; left out: {besides}' if besides else ''}", file=sys.stderr)
    return cohort


def with_choice(table: pd.DataFrame, channels: Sequence[str] | None, exclude: Sequence[str]) -> pd.DataFrame:
    """The table with the columns ``use_channels`` and ``exclude_channels``, JSON lists of names.

    Args:
        table: A cohort's table.
        channels: Names of the channels that are read; None: as before.
        exclude: Names of channels that are not read, besides those of the table.

    Raises:
        TypeError: A text is given in the place of a list.
    """
    for name, given in (("channels", channels), ("exclude", exclude)):
        if isinstance(given, str):
            raise TypeError(f"{name}={given!r} must be a list of names, such as [{given!r}]")
    if channels is not None:
        table = table.assign(use_channels=json.dumps(list(channels), ensure_ascii=False))
    if exclude:
        before = table["exclude_channels"] if "exclude_channels" in table else [None] * len(table)
        both = [[*(json.loads(text) if isinstance(text, str) else []), *exclude] for text in before]
        names = [json.dumps(list(dict.fromkeys(row)), ensure_ascii=False) for row in both]
        table = table.assign(exclude_channels=names)
    return table
