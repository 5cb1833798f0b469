"""Which files belong to each session of a cohort's table."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from sslmed._core import C

__all__ = ["ENDING", "NIFTI", "SessionFiles", "columns", "is_prepared", "of_table", "prepared_mask", "prepared_names", "sequences_of"]

ENDING = ".smv"
"""Ending of prepared volumes."""
NIFTI = (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz")
"""Endings that the C++ reader takes."""

_PREFIX = "path_"
_OTHERS = ("path_mask", "path_deface", "path_labels")


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
    """Names of the columns of sequences without their prefix, in the table's order."""
    return [str(column)[len(_PREFIX) :] for column in table if str(column).startswith(_PREFIX) and column not in _OTHERS]


def columns(table: pd.DataFrame) -> list[str]:
    """Columns of the table that hold paths, and the names of sequences."""
    return [str(column) for column in table if column in ("path", "sequence", "sequences") or str(column).startswith(_PREFIX)]


def of_table(table: pd.DataFrame) -> list[SessionFiles]:
    """The files of each row: those of its columns ``path_NAME``, or its one ``path``."""
    return [_of_row(row, sequences_of(table)) for row in table.to_dict("records")]


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


def _of_row(row: Mapping[Any, Any], names: list[str]) -> SessionFiles:
    found = [(name, str(row[_PREFIX + name])) for name in names if _known(row[_PREFIX + name])]
    if not found:
        named = row.get("sequence")
        found = [(str(named) if _known(named) else _suffix(str(row["path"])), str(row["path"]))]
    mask, deface, labels = (str(row[column]) if column in row and _known(row[column]) else "" for column in _OTHERS)
    return SessionFiles(tuple(found), mask, deface, labels)


def _known(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and value != value) and str(value) not in ("", "nan", "<NA>")


def _suffix(path: str) -> str:
    """The suffix of a BIDS name ("sub-1_T1w.nii.gz": T1w), or "volume"."""
    found = re.fullmatch(r".*_([a-zA-Z0-9]+)\.[a-zA-Z.]+", Path(path).name)
    return found[1] if found else "volume"
