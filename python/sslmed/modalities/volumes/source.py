"""Sessions of volumes as a C++ source."""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence

from sslmed import tables
from sslmed._core import C, FormatError, ReadError, ValueWarning
from sslmed.modalities.base import Rows
from sslmed.modalities.volumes import files
from sslmed.modalities.volumes.preprocessing import VolumePreprocessing

__all__ = ["source"]


def source(
    rows: Rows,
    preprocessing: VolumePreprocessing,
    *,
    extra_channels: Sequence[str] = (),
    random: bool = False,
    targets: Mapping[str, Sequence[float]] | None = None,
) -> C.VolumeSource:
    """The volumes of each session. Of files that are not prepared the headers are read, and nothing else: one that cannot
    be read is an error when its turn comes.

    Args:
        rows: A cohort of volumes, prepared (:func:`sslmed.prepare`) or as files, which are then prepared each time that
            they are read.
        preprocessing: Applied to every session.
        extra_channels: Names of sequences for which an encoder has a learned row.
        random: Draw regions of the preprocessing's size.
        targets: Numbers by name, one a session.

    Raises:
        ValueError: A number is out of range, a file is of another format than NIfTI, the encoder does not know a sequence, or
            the preprocessing names none and sessions begin with different ones.

    Warns:
        FormatWarning: A header was repaired, or says two different things.
        ValueWarning: Sessions are prepared each time that they are read.
    """
    if not preprocessing.sequences:
        _refuse_mixed(rows)
    prepared = [files.is_prepared(path) for path in rows.table["path"]]
    sessions = []
    if not all(prepared):
        for done, one in zip(prepared, files.of_table(rows.table), strict=True):
            if not done and not one.native:
                raise ValueError(f"{rows.name}: {one.paths[0]}: is no NIfTI file; prepare the cohort first: sslmed.prepare(cohort, folder)")
            sessions.append(((), "", "", "") if done else (one.sequences, one.mask, one.deface, one.labels))
            _read_headers([] if done else one.paths)
        text = f"{rows.name}: {len(prepared) - sum(prepared)} sessions are prepared each time that they are read; sslmed.prepare(cohort, folder) does it once"
        warnings.warn(text, ValueWarning, stacklevel=4)
    names = preprocessing.names
    if extra_channels and (unknown := [name for name in names if name not in extra_channels]):
        raise ValueError(f"{rows.name}: sequences={preprocessing.sequences}, but the encoder knows {', '.join(extra_channels)}, not {', '.join(unknown)}")
    return C.VolumeSource(
        modality=preprocessing.modality,
        origins=tables.origins(rows.table),
        files=sessions,
        sequences=list(names),
        optional=[name.endswith("?") for name in preprocessing.sequences],
        extra=[list(extra_channels).index(name) for name in names] if extra_channels else [],
        region=preprocessing.region(),
        labels=preprocessing.labels,
        random=random,
        preparation=preprocessing.preparation(),
        targets={name: [float(v) for v in values] for name, values in (targets or {}).items()},
    )


def _refuse_mixed(rows: Rows) -> None:
    """ValueError where the first sequence of each session, which is taken without a name, is not the same one."""
    firsts = Counter(names[0] for names in files.held(rows.table) if names)
    if len(firsts) > 1:
        found = ", ".join(f"{name} ({count})" for name, count in firsts.most_common())
        example = tuple(f"{name}?" for name in firsts)
        told = f"sequences=() takes the first one of each session, but these are {found}; name those that are meant, such as sequences={example}"
        raise ValueError(f"{rows.name}: {told}")


def _read_headers(paths: Sequence[str]) -> None:
    """Warns of what is wrong with headers of NIfTI files."""
    for path in paths:
        with contextlib.suppress(FormatError, ReadError):  # an error when its turn comes, which may be skipped
            C.read_nifti_header(path)
