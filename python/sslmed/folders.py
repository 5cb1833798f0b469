"""Folders of files, BIDS or not, as a cohort's table."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

import pandas as pd

from sslmed import bids, naming
from sslmed._core import FormatError, ValueWarning
from sslmed.modalities import registry

__all__ = ["files_of", "table_of"]


def files_of(root: Path, hidden: list[str] | None = None) -> list[tuple[Path, str, str]]:
    """The files in a folder that a modality knows by their endings, the modality, and the ending, sorted by path.

    Links to folders are followed.

    Args:
        root: The folder.
        hidden: Gets the paths of hidden files, which are left out.
    """
    known = {ending: kind for kind in registry.names() for ending in registry.get(kind).files}
    found = []
    for path in map(Path, bids.files_below(root)):
        ending = next((ending for ending in known if path.name.lower().endswith(ending)), None)
        if ending is None or not path.is_file():
            continue
        if path.name.startswith("."):
            if hidden is not None:
                hidden.append(str(path))
            continue
        found.append((path, known[ending], ending))
    return sorted(found)


def table_of(root: Path, subject: str, name: str) -> tuple[pd.DataFrame, list[bids.LeftOut]]:
    """The table of :meth:`sslmed.Cohort.from_folder`, and what is left out.

    Args:
        root: The folder.
        subject: Regular expression of a subject's name at the start of a file's.
        name: Name of the cohort, for messages.

    Raises:
        FormatError: There are no files, or a name does not match.
    """
    rows, whole = [], []
    hidden: list[str] = []
    for path, modality, ending in files_of(root, hidden):
        stem = path.name[: -len(ending)] or path.name
        match = re.match(subject, stem)
        if match is None:
            raise FormatError(f"{path}: expected a name that starts with {subject!r}, found {stem!r}")
        whose = naming.patient(match[0]) if subject == naming.SUBJECT else match[0]
        rows.append({"path": os.path.abspath(path), "subject": whose, "modality": modality})
        whole.append(subject == naming.SUBJECT and match[0] == stem)
    table = pd.DataFrame(rows, columns=["path", "subject", "modality"])
    if rows:
        table["modality"] = registry.settled(table)
        parts = [registry.get(str(kind)).listed(part) for kind, part in table.groupby("modality", sort=False)]
        table = pd.concat(parts).sort_index()
    if table.empty:
        known = sorted({ending for kind in registry.names() for ending in registry.get(kind).files})
        raise FormatError(f"{os.fspath(root)}: expected files ({', '.join(known)}), found none")
    alone = table[[whole[int(row)] for row in table.index]]
    _warn_of_equal_names(alone, name)
    naming.warn_of_families(alone["subject"].drop_duplicates().tolist(), name)
    return table, [bids.LeftOut("files", "hidden", len(hidden), hidden[0])] if hidden else []


def _warn_of_equal_names(table: pd.DataFrame, name: str) -> None:
    """ValueWarning where files of one name in several folders, and so one subject's, may be of different people."""
    folders = table["path"].map(os.path.dirname).groupby(table["subject"]).nunique()
    if (several := folders[folders > 1]).empty:
        return
    count = int(table["subject"].isin(several.index).sum())
    told = f"{count} files in different folders have {len(several)} names in common, such as {several.index[0]!r}"
    text = f"{name}: {told}, and count as one subject's each; if they are of different people, list them in a table"
    warnings.warn(text, ValueWarning, stacklevel=4)
