"""Folders of files, BIDS or not, as a cohort's table."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

import pandas as pd

from sslmed import bids, naming
from sslmed._checks import is_text, readable
from sslmed._core import C, FormatError, ValueWarning
from sslmed.modalities import registry

__all__ = ["files_of", "table_of"]


def files_of(root: Path, left_out: list[bids.LeftOut] | None = None) -> list[tuple[Path, str, str]]:
    """The files in a folder that a modality knows by their endings, the modality, and the ending, sorted by path.

    Links to folders are followed.

    Args:
        root: The folder.
        left_out: Gets what is left out.
    """
    known = {ending: kind for kind in registry.names() for ending in registry.get(kind).files}
    endings = list(known)
    below, files, loops, unreadable, other = C.walk_folder(os.fsencode(root), endings)
    found = []
    hidden: list[str] = []
    lost: list[str] = []
    unnamed: list[str] = []
    for folder, name, ending, missing in zip(*files[:4], strict=True):
        path = os.path.join(root, below[folder], name)
        if missing:
            lost.append(path)
            continue
        if name.startswith("."):
            hidden.append(path)
            continue
        if not is_text(path):
            unnamed.append(path)
            continue
        found.append((Path(path), known[endings[ending]], endings[ending]))
    if left_out is not None:
        notes = [
            ("files", "hidden", hidden),
            ("files", "links to files that are not there; get them first (datalad get)", lost),
            ("files", bids.NOT_TEXT, unnamed),
            ("folders", "links to a folder around them", loops),
            ("folders", "cannot be listed; see their permissions", [path for path, _ in unreadable]),
        ]
        left_out += [bids.LeftOut(what, why, len(paths), paths[0]) for what, why, paths in notes if paths]
        parts = {part for kind in registry.names() for part in registry.get(kind).bids_parts}
        for unknown, (count, example) in sorted(other.items()):
            if unknown in parts:
                continue
            what = f"of ending {unknown}, which no modality reads" if unknown else "without an ending"
            left_out.append(bids.LeftOut("files", what, count, example))
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
    left_out: list[bids.LeftOut] = []
    for path, modality, ending in files_of(root, left_out):
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
        besides = [f"; {one.count} {one.what} are left out, {one.why}" for one in left_out if one.why == bids.NOT_TEXT]
        where = readable(os.fspath(root))
        raise FormatError(f"{where}: expected files ({', '.join(known)}), found none{''.join(besides)}")
    if subject == naming.SUBJECT:
        _warn_of_data_sets(root, name)
    alone = table[[whole[int(row)] for row in table.index]]
    _warn_of_equal_names(alone, name)
    naming.warn_of_families(alone["subject"].drop_duplicates().tolist(), name)
    return table, left_out


def _warn_of_data_sets(root: Path, name: str) -> None:
    """ValueWarning where a folder is, or holds, BIDS folders, whose tables and names of people would not be read."""
    sets = [root] if bids.holds_subjects(root) else sorted(Path(p.path) for p in os.scandir(root) if bids.holds_subjects(p.path))
    if sets:
        shown = ", ".join(map(str, sets[:3]))
        text = f"{name}: {len(sets)} BIDS data sets ({shown}{' …' if len(sets) > 3 else ''}) are opened as plain folders"
        hint = "Cohort.from_bids opens each with its participants.tsv, and joined() puts them together"
        warnings.warn(f"{text}: each file's name counts as a subject, and derivatives as recordings; {hint}", ValueWarning, stacklevel=4)


def _warn_of_equal_names(table: pd.DataFrame, name: str) -> None:
    """ValueWarning where files of one name in several folders, and so one subject's, may be of different people."""
    folders = table["path"].map(os.path.dirname).groupby(table["subject"]).nunique()
    if (several := folders[folders > 1]).empty:
        return
    count = int(table["subject"].isin(several.index).sum())
    told = f"{count} files in different folders have {len(several)} names in common, such as {several.index[0]!r}"
    text = f"{name}: {told}, and count as one subject's each; if they are of different people, list them in a table"
    warnings.warn(text, ValueWarning, stacklevel=4)
