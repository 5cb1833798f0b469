"""Whose a file is, by its name: the schemes of public archives, and a warning where names look as if several files were one person's."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

from sslmed._core import ValueWarning

__all__ = ["SUBJECT", "patient", "warn_of_families"]

_SCHEMES = (
    r"TCGA-\w\w-\w{4}",
    r"TARGET-\d\d-[A-Z]{6}",
    r"C3[LN]-\d{5}",  # CPTAC
    r"GTEX[-.][A-Z0-9]{4,5}(?=[-.])",
    r"HTA\d+[_-]\d+(?=[_-])",  # HTAN
    r"patient_\d+(?=_node_\d)",  # CAMELYON17
)
SUBJECT = rf"(?i:{'|'.join(_SCHEMES)})|.+"
"""Regular expression whose match, from the start of a file's name without its ending, says whose the file is."""

_KNOWN = re.compile(re.sub(r"\(\?=[^)]*\)", "", rf"(?i:{'|'.join(_SCHEMES)})"))  # of a match alone, without what follows it
# What tells files of one person apart: a last part after a separator, with at least one number left before it.
_LAST = re.compile(r"[-_. ](?:[A-Za-z]{0,8}[-_ ]?\d{1,3}|[A-Za-z]{1,2}|HE|IHC|left|right|pre|post)$", re.IGNORECASE)


def patient(match: str) -> str:
    """A subject's name in one spelling, whatever the case and the separators of the file's name: those of archives are in capitals."""
    if not _KNOWN.fullmatch(match):
        return match
    if match.lower().startswith("patient_"):
        return match.lower()
    return match.upper().replace(".", "-")


def warn_of_families(names: Sequence[str], cohort: str) -> None:
    """ValueWarning where files that count as a subject each have names that look like several of one subject.

    Args:
        names: Names of files without their endings, which are subjects of their own.
        cohort: Name of the cohort.
    """
    families: dict[str, list[str]] = {}
    for name in names:
        base = _LAST.sub("", name)
        if base != name and re.search(r"\d", base):
            families.setdefault(base, []).append(name)
    several = {base: own for base, own in families.items() if len(own) > 1}
    if not several:
        return
    base, own = next(iter(several.items()))
    count = sum(map(len, several.values()))
    text = (
        f"{cohort}: each of {len(names)} files counts as a subject of its own, but the names of {count} look like {len(several)} subjects, such as "
        f"{base!r} with {own[0]!r} and {own[1]!r}; say whose they are with from_folder(subject=…), or in a table with path and subject"
    )
    warnings.warn(text, ValueWarning, stacklevel=5)
