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

__all__ = ["channel_report", "choose_channels", "report", "told"]


_USED = {
    "electrode_positions": "measured places of electrodes (electrodes.tsv) instead of the 10-05 system's",
    "channel_units": "units of channels.tsv, where the file has none or others",
}
"""What is used of sidecars, by columns of the table."""


def report(cohort: Cohort) -> pd.DataFrame:
    """The table of :meth:`sslmed.Cohort.report`."""
    lines: list[tuple[str, str, int, str, str]] = []
    for kind in cohort.table["modality"].dropna().unique():
        rows = cohort.table[cohort.table["modality"] == kind]
        people = f"{rows['subject'].nunique()} subjects"
        lines.append(("read", registry.get(str(kind)).rows, len(rows), people, str(rows["path"].iloc[0])))
    for column, why in _USED.items():
        if column in cohort.table and (given := cohort.table[column].notna()).any():
            lines.append(("used", "recordings", int(given.sum()), why, str(cohort.table["path"][given].iloc[0])))
    if "subject_from" in cohort.table and (given := cohort.table["subject_from"].notna()).any():
        source = str(cohort.table["subject_from"][given].iloc[0])
        why = f"each row counts as its own subject ({source}): rows of one person may be on both sides of a split"
        lines.append(("not known", "people", int(given.sum()), why, str(cohort.table["path"][given].iloc[0])))
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


def choose_channels(cohorts: Sequence[Cohort], channels: Sequence[str] | None, exclude: Sequence[str]) -> list[Cohort]:
    """The cohorts, of which only some channels are read, see :meth:`sslmed.Cohort.choose_channels`.

    Args:
        cohorts: One or more; a name may be of a channel of one of them alone.
        channels: Names of the channels that are read; None: as before.
        exclude: Names of channels that are not read, besides those of the tables.

    Raises:
        TypeError: A text is given in the place of a list.
        ValueError: A name is no channel's, ``channels`` is empty, or the rows have no channels.
    """
    for name, given in (("channels", channels), ("exclude", exclude)):
        if isinstance(given, str) or not all(isinstance(one, str) for one in given or ()):
            raise TypeError(f"{name}={given!r} must be a list of names, such as ['Fp1', 'Cz']")
    if channels is None and not exclude:
        return list(cohorts)
    if channels is not None and not len(channels):
        raise ValueError("channels=[] must name at least one channel; None: all that are read")
    for kind in dict.fromkeys(str(kind) for cohort in cohorts for kind in cohort.table["modality"].dropna().unique()):
        parts = [cohort.part(kind) for cohort in cohorts if (cohort.table["modality"] == kind).any()]
        registry.get(kind).check_channels(parts, channels or (), exclude)
    return [_chosen(cohort, channels, exclude) for cohort in cohorts]


def _chosen(cohort: Cohort, channels: Sequence[str] | None, exclude: Sequence[str]) -> Cohort:
    """With the columns ``use_channels`` and ``exclude_channels``, JSON lists of names."""
    columns: dict[str, object] = {}
    if channels is not None:
        columns["use_channels"] = json.dumps(list(channels), ensure_ascii=False)
    if exclude:
        before = cohort.table["exclude_channels"] if "exclude_channels" in cohort.table else [None] * len(cohort)
        both = [[*(json.loads(text) if isinstance(text, str) else []), *exclude] for text in before]
        columns["exclude_channels"] = [json.dumps(list(dict.fromkeys(row)), ensure_ascii=False) for row in both]
    chosen = cohort.with_columns(**columns)
    chosen.left_out = cohort.left_out
    for kind in chosen.table["modality"].dropna().unique():
        chosen.table = registry.get(str(kind)).with_chosen_channels(chosen.table, channels or (), exclude)
    return chosen
