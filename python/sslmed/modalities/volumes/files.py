"""Which files belong to each session of a cohort's table."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from sslmed._core import C, FormatError, LeftOutWarning, ReadError
from sslmed.modalities.volumes.sessions import SEQUENCES, sequence_of

__all__ = ["ENDING", "NIFTI", "SessionFiles", "columns", "held", "is_prepared", "listed", "of_table", "prepared_mask", "prepared_names", "sequences_of"]

ENDING = ".smv"
"""Ending of prepared volumes."""
NIFTI = (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz")
"""Endings that the C++ reader takes."""

# What the last part of a name is ("sub-1_dseg", "patient_wmh") of what was drawn or computed on an image.
_DERIVED = re.compile(r".*mask|.*seg|labels?|tissues?|lesions?(\d+mm)?|wmh|dlmuse|dlicv|.*multiclass", re.IGNORECASE)
_PREFIX = "path_"
_OTHERS = ("path_mask", "path_deface", "path_labels")
_NO_SEQUENCES = ("mask", "deface", "labels", "seg", "lesion", "original", "raw", "brain")


class SessionFiles(NamedTuple):
    """The files of a session."""

    sequences: tuple[tuple[str, str], ...]
    """(name, path), the reference first."""
    mask: str
    """Of the anatomy; empty: none."""
    deface: str
    """Of what was changed for anonymity; empty: none."""
    labels: str
    """Of classes; empty: none."""

    @property
    def paths(self) -> list[str]:
        """All files."""
        return [path for _, path in self.sequences] + [path for path in self[1:] if path]

    @property
    def native(self) -> bool:
        """Whether the C++ reader takes all of them."""
        return all(path.lower().endswith(NIFTI) for path in self.paths)


def is_prepared(path: object) -> bool:
    """Whether a path is of a prepared session."""
    return str(path).endswith(ENDING)


def sequences_of(table: pd.DataFrame) -> list[str]:
    """Names of the columns of sequences without their prefix, in the table's order.

    Raises:
        ValueError: A column's name is none of a sequence.
    """
    names = [str(column)[len(_PREFIX) :] for column in table if str(column).startswith(_PREFIX) and column not in _OTHERS]
    for name in names:
        if refused := _refused(name):
            known = ", ".join(_PREFIX + known for known in (*SEQUENCES, "mask", "deface", "labels"))
            raise ValueError(f"column {_PREFIX + name!r}: {refused}; rename or drop it. Known are {known}, and others that you choose")
    return names


def listed(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a folder's files that are sessions: no masks, labels and prepared volumes, and each pair of files once.

    Args:
        table: A row a file, with ``path``.

    Raises:
        FormatError: All files are prepared volumes.

    Warns:
        LeftOutWarning: Files are left out.
    """
    paths = [str(path) for path in table["path"]]
    prepared = [is_prepared(path) for path in paths]
    if all(prepared):
        told = "whose people and ages are in a table; open cohort.parquet, or the whole folder that sslmed.prepare wrote with Cohort.open"
        raise FormatError(f"{os.path.dirname(paths[0])}: expected images, found {len(paths)} prepared volumes ({ENDING}), {told}")
    names = {path.lower() for path in paths}
    pairs = [not names.isdisjoint(_headers(path.lower())) for path in paths]
    derived = [_DERIVED.fullmatch(os.path.basename(path).split(".")[0].rsplit("_", 1)[-1]) is not None for path in paths]
    reasons = {"prepared volumes, which a table lists": prepared, "masks and labels by their names": derived}
    for reason, out in reasons.items():
        if any(out):
            text = f"{sum(out)} of {len(paths)} files left out: {reason}; such as {paths[out.index(True)]}"
            warnings.warn(text, LeftOutWarning, stacklevel=4)
    return table[[not any(out) for out in zip(prepared, derived, pairs, strict=True)]]


def _headers(path: str) -> list[str]:
    """The headers that may belong to an .img file; none for other files."""
    pair = re.fullmatch(r"(.*)\.img(\.gz)?", path)
    return [f"{pair[1]}.hdr", f"{pair[1]}.hdr.gz"] if pair else []


def columns(table: pd.DataFrame) -> list[str]:
    """Columns of the table that hold paths, and the names of sequences."""
    return [str(column) for column in table if column in ("path", "sequence", "sequences") or str(column).startswith(_PREFIX)]


def of_table(table: pd.DataFrame) -> list[SessionFiles]:
    """The files of each row: those of its columns ``path_NAME``, the one that is its ``path`` first; or its one ``path``.

    Raises:
        ValueError: A ``path`` is none of the row's sequences, or a name is none of a sequence.
    """
    names = sequences_of(table)
    return [_of_row(number, row, names) for number, row in enumerate(table.to_dict("records"))]


def held(table: pd.DataFrame) -> list[tuple[str, ...]]:
    """Names of the sequences of each row, the first one first; none of a prepared session whose file cannot be read.

    Raises:
        ValueError: A ``path`` is none of the row's sequences, or a name is none of a sequence.
    """
    known = table["sequences"] if "sequences" in table else [None] * len(table)
    prepared = [is_prepared(path) for path in table["path"]]
    files = [None] * len(table) if all(prepared) else of_table(table)
    found = []
    for path, done, names, one in zip(table["path"], prepared, known, files, strict=True):
        if not done and one is not None:
            found.append(tuple(name for name, _ in one.sequences))
        elif _known(names):
            found.append(tuple(str(names).split(",")))
        else:
            try:
                found.append(tuple(prepared_names(str(path))))
            except (FormatError, ReadError):  # raised again when its turn comes
                found.append(())
    return found


def prepared_names(path: str) -> list[str]:
    """Names of the sequences of a prepared session.

    Raises:
        FormatError, ReadError: The file cannot be read, or is not one.
    """
    return [name for name in C.VolumeStore(path).channels if name not in ("mask", "deface", "labels")]


def prepared_mask(path: str) -> str:
    """ "given" where a prepared session's mask is a file of its own, "found" where it was made from the image.

    Raises:
        FormatError, ReadError: The file cannot be read, or is not one.
    """
    return str(json.loads(C.VolumeStore(path).facts)["mask"])


def _of_row(number: int, row: Mapping[Any, Any], names: list[str]) -> SessionFiles:
    path = str(row["path"])
    if is_prepared(path):
        return SessionFiles((("", path),), "", "", "")
    found = [(name, str(row[_PREFIX + name])) for name in names if _known(row[_PREFIX + name])]
    where = f"row {number} (subject {row.get('subject')!r})"
    if not found:
        named = str(row["sequence"]) if _known(row.get("sequence")) else sequence_of(path) or "volume"
        if refused := _refused(named):
            raise ValueError(f"{where}: sequence={named!r}: {refused}")
        found = [(named, path)]
    first = next((i for i, (_, other) in enumerate(found) if other == path or os.path.abspath(other) == os.path.abspath(path)), None)
    if first is None:
        listed = ", ".join(_PREFIX + name for name, _ in found)
        own = _PREFIX + (sequence_of(path) or "T1w")
        raise ValueError(f"{where}: path={path!r} is none of its files in {listed}; add it as a column of its sequence, such as {own}")
    found.insert(0, found.pop(first))
    mask, deface, labels = (str(row[column]) if column in row and _known(row[column]) else "" for column in _OTHERS)
    return SessionFiles(tuple(found), mask, deface, labels)


def _refused(name: str) -> str:
    """Why a name cannot be a sequence's; an empty text where it can."""
    if name.lower() in _NO_SEQUENCES:
        return "masks, labels and derived files are no sequences"
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", name):
        return "a sequence's name must be letters, digits and '-', the first a letter"
    return ""


def _known(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and value != value) and str(value) not in ("", "nan", "<NA>")
