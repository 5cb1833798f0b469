"""The rows of two cohorts as those of one."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pandas as pd

from sslmed._core import OverlapWarning

if TYPE_CHECKING:
    from sslmed.cohort import Cohort

__all__ = ["joined"]


def joined(cohort: Cohort, other: Cohort, name: str | None, same_people: bool | None) -> Cohort:
    """The cohort of :meth:`sslmed.Cohort.joined`."""
    if same_people is False or (same_people is None and _strangers(cohort, other)):
        shared = set(cohort.table["subject"]) & set(other.table["subject"])
        if shared and cohort.name == other.name:
            counts = f"{len(shared)} names of subjects in common"
            raise ValueError(f"joined: both cohorts are called {cohort.name!r} and have {counts}; give one another name")
        if shared and same_people is None:
            both_names = f"{len(shared)} subjects of {cohort.name} and {other.name} have the same name, such as {min(shared)!r}"
            text = f"{both_names}: they become different people ({cohort.name}/{min(shared)})"
            warnings.warn(f"{text}; joined(…, same_people=True) keeps them one", OverlapWarning, stacklevel=3)
        mine, theirs = ([f"{c.name}/{s}" if s in shared else s for s in c.table["subject"]] for c in (cohort, other))
        return cohort.with_columns(subject=mine).joined(other.with_columns(subject=theirs), name=name, same_people=True)
    arrays = None
    if cohort.arrays is not None or other.arrays is not None:
        arrays = [*(cohort.arrays or [None] * len(cohort)), *(other.arrays or [None] * len(other))]
    both = [cohort.table, other.table]
    if cohort._listed() != other._listed():
        both = [table.astype({"modality": object}) for table in both]
    return type(cohort)(pd.concat(both, ignore_index=True), name or f"{cohort.name} and {other.name}", arrays)


def _strangers(a: Cohort, b: Cohort) -> bool:
    """Whether subjects of the same name are of different sites, and the cohorts of the same modalities."""
    both = set(a.table["subject"]) & set(b.table["subject"])
    if not both or set(a._listed()).isdisjoint(b._listed()):
        return False
    sites = [set(c.table.loc[c.table["subject"].isin(both), "site"].astype(str)) for c in (a, b)]
    return sites[0].isdisjoint(sites[1])
