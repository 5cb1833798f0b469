"""Measured places of electrodes: electrodes.tsv and coordsystem.json of a BIDS folder."""

from __future__ import annotations

import json
import math
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sslmed import tables
from sslmed._core import C, FormatError, ReadError, ValueWarning
from sslmed.modalities.base import Array
from sslmed.modalities.eeg.preprocessing import HEAD_RADIUS
from sslmed.modalities.eeg.sidecars import Nearest

__all__ = ["COORDINATES", "ELECTRODES", "measured", "on_the_head"]

ELECTRODES = "_electrodes.tsv"
COORDINATES = "_coordsystem.json"

_TO_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
_FRONT_LEFT_UP = ("ctf", "eeglab", "eeglabhj", "4dbti", "kityokogawa", "chietiitab")
"""Systems whose first axis points to the front and second one to the left; x of all others that are known is right, y front."""
_RIGHT_FRONT_UP = ("captrak", "elektaneuromag", "neuromag", "acpc", "mni", "icbm", "fsaverage", "individual", "talairach", "scanras")
_SPACES = ("captrak", "eeglab", "ctf", "elektaneuromag")
"""Systems of measurements on the head come before those of templates of brains."""
_LEAST = 4
"""Electrodes of the 10-05 system that a fit to their usual places needs."""
_FAR = 30.0
"""mm between measured and usual places, as root of the mean square, above which names or places must be wrong."""


_MOST = 1e6
"""Coordinates are below, in m, cm and mm."""


class _Found(NamedTuple):
    names: list[str]
    places: Array
    """[n, 3]."""


def measured(recordings: Sequence[str], sidecars: Mapping[str, Sequence[str]]) -> list[str | None]:
    """For each recording a JSON object of its electrodes' places [x, y, z], by name; None where they were not measured.

    Places are in mm on a sphere of :data:`HEAD_RADIUS`; x points to the right, y to the front, z up. Of several spaces the one that was
    measured on the head is taken.

    Args:
        recordings: Paths of recordings.
        sidecars: Paths of electrodes.tsv and coordsystem.json files, by their endings.

    Raises:
        FormatError: A file is not as BIDS has it.
        ReadError: A file cannot be read.

    Warns:
        ValueWarning: Places are not used, as they do not fit the names, or their coordinate system is not known.
    """
    if not sidecars.get(ELECTRODES):
        return [None] * len(recordings)
    files = _nearest(recordings, sidecars[ELECTRODES], ELECTRODES)
    wanted = list(dict.fromkeys(file for file in files if file is not None))
    beside = dict(zip(wanted, _nearest(wanted, sidecars.get(COORDINATES, ()), COORDINATES), strict=True))
    found: dict[str, str | None] = {}
    refused: list[tuple[str, str]] = []
    for path, table in zip(wanted, tables.read_many(wanted, _read), strict=True):
        where = beside[path]
        system = _system(where) if where is not None else {}
        name = str(system.get("EEGCoordinateSystem") or _space(path))
        places, why = on_the_head(table.names, table.places, name, str(system.get("EEGCoordinateUnits") or ""))
        if places is None:
            refused.append((path, why))
        elif why:
            warnings.warn(f"{path}: {why}", ValueWarning, stacklevel=6)
        rounded = {} if places is None else {k: [round(float(v), 2) for v in xyz] for k, xyz in zip(table.names, places, strict=True)}
        found[path] = json.dumps(rounded, ensure_ascii=False) if rounded else None
    if refused:
        path, why = refused[0]
        text = f"{len(refused)} of {len(wanted)} electrodes.tsv are not used, such as {path}: {why}; places are those of the 10-05 system"
        warnings.warn(text, ValueWarning, stacklevel=6)
    return [None if file is None else found[file] for file in files]


def _nearest(recordings: Sequence[str], paths: Sequence[str], ending: str) -> list[str | None]:
    """The sidecar of each recording, in the first space that has one."""
    spaces: dict[str, list[str]] = {}
    for path in paths:
        spaces.setdefault(_space(path), []).append(path)
    order = sorted(spaces, key=lambda space: (_rank(space), space))
    found: list[str | None] = [None] * len(recordings)
    for space in order:
        of = Nearest(spaces[space], ending, ignored="space-").of_all(recordings)
        same = [f"_space-{space}_" in os.path.basename(path) or ending == ELECTRODES for path in recordings]
        found = [now or (new if fits else None) for now, new, fits in zip(found, of, same, strict=True)]
    if ending == COORDINATES and "" in spaces:  # one for all
        alone = Nearest(spaces[""], ending).of_all(recordings)
        found = [now or new for now, new in zip(found, alone, strict=True)]
    return found


def _space(path: str) -> str:
    """The label of a file's space; empty where its name has none."""
    found = re.search(r"_space-([a-zA-Z0-9+]+)", os.path.basename(path))
    return found[1] if found else ""


def _rank(space: str) -> int:
    key = _key(space)
    if key in _SPACES:
        return _SPACES.index(key)
    return len(_SPACES) + (0 if not key else 1 if key.startswith(_RIGHT_FRONT_UP + _FRONT_LEFT_UP) else 2)


def _key(system: str) -> str:
    return re.sub(r"[^a-z0-9]", "", system.lower())


def _read(found: tables.Texts, path: str) -> _Found:
    found = found.named("name", "x", "y", "z")
    if missing := [name for name in ("name", "x", "y", "z") if name not in found.columns]:
        raise FormatError(f"{path}: expected columns name, x, y and z, found {', '.join(found.columns)} without {missing[0]}")
    names: list[str] = []
    places = []
    for line, row in enumerate(found.rows, 2):
        if row["name"] is None or any(row[axis] is None for axis in "xyz"):
            continue  # n/a: not measured
        try:
            place = [float(row[axis] or "") for axis in "xyz"]
        except ValueError:
            text = ", ".join(repr(row[axis]) for axis in "xyz")
            raise FormatError(f"{path}: line {line}: expected numbers or n/a in x, y and z, found {text}") from None
        if row["name"].strip() in names:
            raise FormatError(f"{path}: line {line}: expected each electrode once, found {row['name'].strip()!r} again")
        if all(map(math.isfinite, place)):
            names.append(row["name"].strip())
            places.append(place)
    return _Found(names, np.array(places, float).reshape(-1, 3))


def _system(path: str) -> dict[str, Any]:
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise FormatError(f"{path}: expected a JSON object, found {error}") from None
    if not isinstance(found, dict):
        raise FormatError(f"{path}: expected a JSON object, found {type(found).__name__}")
    return found


def on_the_head(names: Sequence[str], places: Array, system: str, unit: str) -> tuple[Array | None, str]:
    """Places on the sphere that the 10-05 system's are on, and what is wrong with them.

    Where four and more electrodes have names of that system, all places are turned, moved and scaled so that these come closest to
    their usual ones (Umeyama 1991); else a sphere is fitted to them, and the coordinate system says where the front is.

    Args:
        names: Names of n electrodes.
        places: [n, 3] in the coordinate system.
        system: Its name, as BIDS has it; empty: not known.
        unit: Of the places: m, cm or mm; by the fit it does not matter, but a head that is much too large or small is told.

    Returns:
        [n, 3] mm, or None where they cannot be used; and why, or a warning.
    """
    usual = [C.electrode_position(name) for name in names]
    known = [i for i, place in enumerate(usual) if place is not None]
    if len(places) == 0:
        return None, "all places are n/a"
    if np.abs(places).max() > _MOST:
        return None, f"a coordinate is {np.abs(places).max():.3g}, which is none of a head in any unit"
    targets = np.array([usual[i] for i in known], float).reshape(-1, 3)
    if len(known) >= _LEAST and np.linalg.matrix_rank(targets - targets.mean(0), tol=1.0) >= 2:
        moved, scale, error = _fitted(places[known], targets, places)
        if error > _FAR:
            return None, f"the places do not fit the names: after the best fit they are {error:.0f} mm from those of the 10-05 system"
    else:
        axes = _axes(system)
        if axes is None:
            text = f"the coordinate system {system!r} is not known" if system else "there is no EEGCoordinateSystem in a coordsystem.json"
            return None, f"{text}, and fewer than {_LEAST} electrodes have names of the 10-05 system"
        center, radius = _sphere(places)
        if radius is None:
            return None, "the places lie on no sphere"
        moved, scale = (places - center) @ axes.T, HEAD_RADIUS / radius
    lengths = np.linalg.norm(moved, axis=1)
    if not (lengths > 0).all():
        return None, "a place is in the middle of the head"
    return moved * (HEAD_RADIUS / lengths)[:, None], _wrong_unit(unit, HEAD_RADIUS / scale)


def _wrong_unit(unit: str, radius: float) -> str:
    key = unit.strip().lower()
    if key in _TO_MM and not 50 <= radius * _TO_MM[key] <= 160:
        mm = radius * _TO_MM[key]
        return f"EEGCoordinateUnits is {unit!r}, by which the head's radius is {mm:.3g} mm; places are scaled to the head all the same"
    return ""


def _fitted(some: Array, targets: Array, every: Array) -> tuple[Array, float, float]:
    """All places after the rotation, scale and shift that bring some to their targets; the scale, and the error left."""
    a, b = some - some.mean(0), targets - targets.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt)) or 1.0])
    rotation, spread = u @ flip @ vt, float((a**2).sum())
    scale = float((s * np.diag(flip)).sum()) / spread if spread > 0 else 0.0
    if scale <= 0:
        return every, 1.0, math.inf
    moved = scale * (every - some.mean(0)) @ rotation.T + targets.mean(0)
    error = scale * (some - some.mean(0)) @ rotation.T + targets.mean(0) - targets
    return moved, scale, float(np.sqrt((error**2).sum(1).mean()))


def _sphere(places: Array) -> tuple[Array, float | None]:
    """Center and radius of the sphere that is closest to places, by least squares; no radius of places in a plane."""
    center = places.mean(0)
    a = np.c_[2 * (places - center), np.ones(len(places))]
    if len(places) < 4 or np.linalg.matrix_rank(a, tol=1e-3 * np.abs(a).max()) < 4:
        return center, None
    found = np.linalg.lstsq(a, ((places - center) ** 2).sum(1), rcond=None)[0]
    return center + found[:3], float(np.sqrt(found[3] + found[:3] @ found[:3]))


def _axes(system: str) -> Array | None:
    """[3, 3] from a coordinate system's axes to right, front and up; None of one that is not known."""
    key = _key(system)
    if key.startswith(_FRONT_LEFT_UP):
        return np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    return np.eye(3) if key.startswith(_RIGHT_FRONT_UP) else None
