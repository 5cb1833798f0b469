"""Files of a BIDS folder as sessions: one row a scan of a person, its sequences, masks and labels side by side."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sslmed._core import LeftOutWarning, ValueWarning

__all__ = ["ENDINGS", "SEQUENCES", "gather", "order_of", "sequence_of"]

SEQUENCES = ("T1w", "T2w", "FLAIR", "PDw", "T2starw", "UNIT1", "angio", "ceT1w", "FA", "MD", "ADC", "pet")
"""Names of sequences, in the order in which the first one of a session is taken. ``ceT1w`` is T1w with a contrast agent
(``ce-`` in the file's name). A PET image with a tracer in its name (``trc-`` or ``acq-``) is another sequence than one of
another tracer, such as ``pet-FDG``."""

_SUFFIXES = ("T1w", "T2w", "FLAIR", "PDw", "T2starw", "UNIT1", "angio", "FA", "MD", "ADC", "dwimap", "pet")
_EXTRAS = {"mask": "path_mask", "dseg": "path_labels", "defacemask": "path_deface"}
_NAMES = (*_SUFFIXES, *_EXTRAS)
ENDINGS = tuple(f"_{name.lower()}{ending}" for name in _NAMES for ending in (".nii.gz", ".nii"))
"""Endings of file names in a BIDS folder, in lower case."""

_KNOWN = {name.lower(): name for name in _NAMES}
_ANATOMY = ("", "brain", "head")  # desc- of masks of the anatomy; others are of lesions, of tissues, of one structure
# space- of what lies where the scanner put it
_NATIVE = ("", "T1w", "T2w", "orig", "scanner", "native", "individual")
_ELSEWHERE = ("func", "dwi", "fmap", "perf")  # folders whose masks and labels have a grid of their own
_APPENDED = ("brain", "bet", "stripped", "masked", "defaced", "n4", "reg")  # what derivatives append to a name
_PREFERRED = ("", "preproc", "brain")  # desc- of images, the first one first


@dataclass(frozen=True)
class _File:
    """What the name of a file says."""

    row: int
    """Row of the table."""
    kind: str
    """A sequence's name, or a column of masks and labels."""
    run: str
    """Empty where the name has none."""
    space: str
    """Empty for the scanner's own."""
    scheme: str
    """Of labels: whose numbers these are."""
    derived: bool
    """Whether it was computed from the images of a scanner."""
    rank: tuple[Any, ...]
    """The smallest is taken where several files are of the same kind."""


def gather(table: pd.DataFrame) -> pd.DataFrame:
    """Puts the files of a session side by side, from a table with a row a file (:func:`sslmed.bids.read`).

    A row of the result is a run of a session of a subject:

    - ``path``: its first sequence, in the order of :data:`SEQUENCES`;
    - ``path_T1w``, ``path_FLAIR`` …: its sequences, where the table has several; missing where a session lacks one;
    - ``path_mask``, ``path_deface``, ``path_labels``: the anatomy, voxels that were changed for anonymity, and tissues
      or regions;
    - ``session`` and ``run``, where there are any, and the other columns of the table.

    Raw files go before derivatives, and of these ``desc-preproc`` before ``desc-brain``. Where a sequence has several
    runs, each is a row; a sequence with one file in the session is in all of them. Masks and labels must be in the
    space that the images are in. A derivative without a session belongs to the subject's only one.

    Args:
        table: A row a file, with ``path`` and ``subject``, and ``session`` and ``run`` where known.

    Returns:
        A row a session or run, in the order of their first files.

    Raises:
        ValueError: A name says nothing that is known, or no row is an image.

    Warns:
        ValueWarning: Files are in another space than the images of their session, or nothing tells which run or session
            they belong to.
        LeftOutWarning: Files were left out because a session has others of the same kind, or because they are masks of
            something else.

    Examples:
        >>> import pandas as pd
        >>> from sslmed.modalities.volumes.sessions import gather
        >>> names = ["sub-1_T1w.nii", "sub-1_FLAIR.nii", "sub-1_desc-brain_mask.nii", "sub-2_T1w.nii"]
        >>> table = pd.DataFrame({"path": names, "subject": ["sub-1"] * 3 + ["sub-2"]})
        >>> gather(table)[["path", "path_FLAIR", "path_mask"]].fillna("-").iloc[0].tolist()
        ['sub-1_T1w.nii', 'sub-1_FLAIR.nii', 'sub-1_desc-brain_mask.nii']
        >>> gather(table)[["path", "path_FLAIR", "path_mask"]].fillna("-").iloc[1].tolist()
        ['sub-2_T1w.nii', '-', '-']
    """
    paths = [str(path) for path in table["path"]]
    told = _Told(paths)
    files = _of_one_scheme(_named(paths, told), told)
    homes: dict[tuple[str, str], list[_File]] = {}
    for home, file in _homes(files, table, told):
        homes.setdefault(home, []).append(file)
    rows = [row for own in homes.values() for row in _rows_of(own, told)]
    told.warn()
    if not rows:
        wanted = f"expected names that end in {', '.join(_SUFFIXES)}"
        raise ValueError(f"gather: table: none of its {len(paths)} files is an image, {wanted}")
    return _assembled(table, rows, paths)


class _Told:
    """Files that were left out, by reason."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = paths
        self.reasons: dict[tuple[type[Warning], str], list[int]] = {}

    def add(self, kind: type[Warning], reason: str, files: Iterable[_File]) -> None:
        """Notes that files are left out."""
        if rows := [file.row for file in files]:
            self.reasons.setdefault((kind, reason), []).extend(rows)

    def warn(self) -> None:
        """One warning a reason, with the number of files and the first one."""
        for (kind, reason), rows in self.reasons.items():
            variants = Counter(acq for row in rows if (acq := _entities(Path(self.paths[row]).name.split(".")[0]).get("acq")))
            named = f" ({', '.join(f'{count} acq-{acq}' for acq, count in sorted(variants.items()))})" if variants else ""
            text = f"gather: {len(rows)} of {len(self.paths)} files left out: {reason}{named}; such as {self.paths[rows[0]]}"
            warnings.warn(text, kind, stacklevel=3)


def _named(paths: Sequence[str], told: _Told) -> list[_File]:
    """What the names say. Masks of something else than the anatomy are left out."""
    files = []
    for row, path in enumerate(paths):
        name = Path(path).name.split(".")[0]
        suffix = _KNOWN.get(name.rsplit("_", 1)[-1].lower())
        if suffix is None:
            wanted = f"expected a name that ends in one of {', '.join(_NAMES)} before .nii or .nii.gz"
            raise ValueError(f"gather: path={path!r}, {wanted}")
        has = _entities(name)
        kind = _EXTRAS.get(suffix) or _sequence(suffix, has)
        desc, space = has.get("desc", ""), has.get("space", "")
        derived = bool(desc or space) or "derivatives" in Path(path).parts or kind.startswith("path_")
        order = _PREFERRED.index(desc) if desc in _PREFERRED else len(_PREFERRED)
        rank = (derived, order, has.get("mod", "T1w") != "T1w", len(has), path)
        scheme = "_".join(f"{key}-{has[key]}" for key in ("seg", "atlas", "desc") if key in has)
        file = _File(row, kind, has.get("run", ""), "" if space in _NATIVE else space, scheme, derived, rank)
        if not kind:
            told.add(LeftOutWarning, "phase images and maps that are no sequence of their own", [file])
        elif kind.startswith("path_") and ("task" in has or Path(path).parent.name in _ELSEWHERE):
            told.add(LeftOutWarning, "masks and labels of functional and diffusion images", [file])
        elif suffix == "mask" and (desc not in _ANATOMY or has.get("label", "brain") != "brain"):
            told.add(LeftOutWarning, "masks of something else than the anatomy", [file])
        else:
            files.append(file)
    return files


def sequence_of(path: str) -> str:
    """The sequence that a file's name ends with, whatever a derivative has appended; an empty text where it says none.

    Args:
        path: A file whose name ends with a suffix of BIDS, in any case, such as ``x_T1w_brain.nii.gz``.

    Examples:
        >>> from sslmed.modalities.volumes.sessions import sequence_of
        >>> [sequence_of(name) for name in ("a_T1w_brain.nii.gz", "sub-1_trc-FDG_pet.nii", "a_n4.nii", "a.nii")]
        ['T1w', 'pet-FDG', '', '']
    """
    tokens = Path(path).name.split(".")[0].split("_")
    while len(tokens) > 1 and tokens[-1].lower() in _APPENDED:
        tokens.pop()
    suffix = _KNOWN.get(tokens[-1].lower(), "")
    return "" if suffix in _EXTRAS else _sequence(suffix, _entities("_".join(tokens)))


def order_of(sequence: str) -> tuple[int, str]:
    """Where a sequence stands among others: as in :data:`SEQUENCES`, tracers by name."""
    base = sequence.partition("-")[0]
    return (SEQUENCES.index(base) if base in SEQUENCES else len(SEQUENCES), sequence)


def _entities(name: str) -> dict[str, str]:
    return dict(re.findall(r"(?:^|_)([a-zA-Z]+)-([a-zA-Z0-9+]+)", name))


def _sequence(suffix: str, has: dict[str, str]) -> str:
    """The sequence of an image; an empty text where it is none."""
    if has.get("part", "mag") != "mag":
        return ""
    if suffix == "pet" and (tracer := has.get("trc") or has.get("acq")):
        return f"pet-{tracer.replace('+', '-')}"
    if suffix == "dwimap":
        return has["param"] if has.get("param") in ("FA", "MD", "ADC") else ""
    return "ceT1w" if suffix == "T1w" and "ce" in has else suffix


def _of_one_scheme(files: list[_File], told: _Told) -> list[_File]:
    """The files without labels of all schemes but the most common one: the number 3 must mean the same everywhere."""
    schemes = Counter(file.scheme for file in files if file.kind == "path_labels")
    if len(schemes) < 2:
        return files
    kept = min(schemes, key=lambda scheme: (-schemes[scheme], scheme))
    other = {file.row: file for file in files if file.kind == "path_labels" and file.scheme != kept}
    told.add(LeftOutWarning, f"labels of other schemes than {kept or 'those without desc-'}", other.values())
    return [file for file in files if file.row not in other]


def _homes(files: list[_File], table: pd.DataFrame, told: _Told) -> Iterator[tuple[tuple[str, str], _File]]:
    """Subject and session that each file belongs to; an empty text for no session."""
    subjects = table["subject"].astype(str).tolist()
    given = table["session"] if "session" in table else pd.Series([np.nan] * len(table), dtype=object)
    sessions = ["" if missing else str(value) for value, missing in zip(given, given.isna(), strict=True)]
    of_subject: dict[str, dict[str, None]] = {}
    for file in files:
        known = of_subject.setdefault(subjects[file.row], {})
        if sessions[file.row]:
            known[sessions[file.row]] = None
    for file in files:
        subject, session = subjects[file.row], sessions[file.row]
        known = of_subject[subject]
        if session or not file.derived or not known:
            yield (subject, session), file
        elif len(known) == 1:
            yield (subject, next(iter(known))), file
        else:
            told.add(ValueWarning, "derivatives without a session, of subjects with several", [file])


def _rows_of(files: list[_File], told: _Told) -> list[dict[str, Any]]:
    """The rows of one session: a file's row in the table by sequence and column, and ``run``."""
    images = [file for file in files if not file.kind.startswith("path_")]
    if not images:
        told.add(ValueWarning, "masks and labels of sessions without an image", files)
        return []
    spaces = Counter(file.space for file in images)
    space = min(spaces, key=lambda name: (name != "", -spaces[name], name))
    elsewhere = [file for file in files if file.space != space]
    own = _place(space)
    for other in sorted({file.space for file in elsewhere}):
        reason = f"{_place(other)}, where the session's images are {own}"
        told.add(ValueWarning, reason, [file for file in elsewhere if file.space == other])
    here = sorted((file for file in files if file.space == space), key=lambda file: file.rank)
    kinds: dict[str, list[_File]] = {}
    for file in here:
        kinds.setdefault(file.kind, []).append(file)
    sequences = sorted((kind for kind in kinds if not kind.startswith("path_")), key=order_of)
    runs = _runs(kinds, sequences)
    rows: list[dict[str, Any]] = [{"run": run} for run in runs]
    for row in rows:
        for kind, several in kinds.items():
            chosen = _chosen(several, row["run"], len(runs) > 1, kind in sequences)
            if chosen is not None:
                row[kind] = chosen.row
    used = {row[kind] for row in rows for kind in kinds if kind in row}
    unused = [file for file in here if file.row not in used]
    of_no_run = [file for file in unused if file.kind not in sequences and file.run not in runs]
    told.add(ValueWarning, "masks and labels of which nothing tells the run", of_no_run)
    unneeded = [file for file in unused if file not in of_no_run]
    told.add(LeftOutWarning, "another file of the same kind and run is taken", unneeded)
    return rows


def _place(space: str) -> str:
    return f"in space {space!r}" if space else "where the scanner put them"


def _runs(kinds: dict[str, list[_File]], sequences: list[str]) -> list[str]:
    """The runs of a session that are rows: those of the sequences that have several, or one for all."""
    found = [sorted({file.run for file in kinds[name] if file.run}, key=_number) for name in sequences]
    several = {run for runs in found if len(runs) > 1 for run in runs}
    return sorted(several, key=_number) or found[0] or [""]


def _number(run: str) -> tuple[int, str]:
    return (int(run) if run.isdigit() else 1 << 30, run)


def _chosen(files: list[_File], run: str, several: bool, image: bool) -> _File | None:
    """The file of a kind that belongs to a run, out of one or several; None where there is none."""
    if own := [file for file in files if file.run == run]:
        return own[0]
    if image:  # one file is of all runs
        return files[0] if not several or len(files) == 1 else None
    loose = [file for file in files if not file.run or not run]
    return loose[0] if loose and not several else None


def _assembled(table: pd.DataFrame, rows: list[dict[str, Any]], paths: Sequence[str]) -> pd.DataFrame:
    """The table of sessions, with the other columns of each row's first sequence."""
    present = sorted({kind for row in rows for kind in row if kind != "run" and not kind.startswith("path_")}, key=order_of)
    out = table.iloc[[next(row[name] for name in present if name in row) for row in rows]].reset_index(drop=True)
    columns: dict[str, list[Any]] = {"run": [row["run"] or np.nan for row in rows]}
    kinds = {f"path_{name}": name for name in present} if len(present) > 1 else {}
    for column, kind in (kinds | {name: name for name in _EXTRAS.values()}).items():
        columns[column] = [paths[row[kind]] if kind in row else np.nan for row in rows]
    for column, values in columns.items():
        if any(isinstance(value, str) for value in values):
            out[column] = pd.Series(values, dtype=object)
        elif column in out:
            out = out.drop(columns=column)
    return out
