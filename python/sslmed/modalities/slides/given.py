"""What a caller's table says of slides that are to be indexed: their scale and annotations, checked before any slide is opened."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pandas as pd

from sslmed.modalities.base import Rows
from sslmed.modalities.slides.columns import COLUMNS, KEPT, is_indexed
from sslmed.modalities.slides.findings import LEAST, MOST

__all__ = ["OWN", "slides"]

OWN = ("_scale", "_drawn", "_state")
"""Columns that :func:`slides` adds."""

_ENDINGS = (".geojson", ".json", ".xml")

Scale = tuple[float, float] | None


def slides(rows: Rows, annotations: str | os.PathLike[str] | None, settings: dict[str, Any]) -> pd.DataFrame:
    """The table with absolute paths, and what an index is to be made of: ``_scale`` ((x, y) or None), ``_drawn`` (a file or None) and ``_state``, which
    changes with any of it.

    Raises:
        ValueError: A column has the name of one of the index, a scale is no number, or a slide has no annotations.
    """
    table = rows.table
    earlier = is_indexed(table) and isinstance(table["tissue"].iloc[0], bytes)
    taken = [column for column in (*COLUMNS, *KEPT, *OWN) if column in table and column not in ("mpp_x", "mpp_y")]
    if taken and not earlier:
        names = ", ".join(map(repr, taken))
        raise ValueError(
            f"{rows.name}: index: the table has {'columns' if len(taken) > 1 else 'a column'} {names}, which the index would overwrite; "
            f"rename {'them' if len(taken) > 1 else 'it'}, such as to '{taken[0]}_given'"
        )
    scales = _scales(table, rows.name, earlier=earlier)
    paths = [os.path.abspath(path) for path in table["path"]]
    drawn = _drawn(table, paths, annotations, rows.name)
    states = [_state(*one, settings) for one in zip(paths, scales, drawn, strict=True)]
    own = {name: pd.Series(values, index=table.index, dtype=object) for name, values in zip(OWN, (scales, drawn, states), strict=True)}
    return table.assign(path=paths, **own)


def _scales(table: pd.DataFrame, name: str, *, earlier: bool) -> list[Scale]:
    """What the columns mpp, or else mpp_x and mpp_y, say; of an earlier index what it was made with."""
    if "mpp" in table:
        one = _numbers(table, "mpp", name)
        x = y = one
    elif earlier:
        if "index_state" not in table:
            return [None] * len(table)
        return [_kept(state) for state in table["index_state"]]
    elif "mpp_x" in table or "mpp_y" in table:
        for column, other in (("mpp_x", "mpp_y"), ("mpp_y", "mpp_x")):
            if column not in table:
                raise ValueError(f"{name}: index: the table has a column {other!r}, and so needs {column!r} too; or give one scale in a column 'mpp'")
        x, y = _numbers(table, "mpp_x", name), _numbers(table, "mpp_y", name)
        for row, (a, b) in enumerate(zip(x, y, strict=True)):
            if (a is None) != (b is None):
                raise ValueError(f"{name}: {table['path'].iloc[row]}: row {row} has only one of mpp_x and mpp_y, expected both or none")
    else:
        return [None] * len(table)
    return [None if a is None or b is None else (a, b) for a, b in zip(x, y, strict=True)]


def _kept(state: Any) -> Scale:
    """The scale that a row of an earlier index was made with; None where its state is missing or no such text: the slide is looked at again."""
    try:
        x, y = json.loads(state)["mpp"]
        return float(x), float(y)
    except (TypeError, ValueError, KeyError, RecursionError):
        return None


def _numbers(table: pd.DataFrame, column: str, name: str) -> list[float | None]:
    out: list[float | None] = []
    for row, value in enumerate(table[column]):
        if pd.isna(value):
            out.append(None)
            continue
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not LEAST <= number <= MOST:
            hint = f"; write a decimal point: {str(value).replace(',', '.')}" if "," in str(value) else ""
            where = f"{name}: {table['path'].iloc[row]}: column {column!r} has {value!r} in row {row}"
            raise ValueError(f"{where}, expected µm per pixel of level 0 within [{LEAST:g}, {MOST:g}], such as 0.25, or nothing{hint}")
        out.append(number)
    return out


def _drawn(table: pd.DataFrame, paths: list[str], annotations: str | os.PathLike[str] | None, name: str) -> list[str | None]:
    """The file of annotations of each slide."""
    if annotations is None:
        return [None] * len(paths)
    if isinstance(annotations, str) and annotations in table:
        column = table[annotations]
        if (missing := column.isna()).any():
            row = int(missing.to_numpy().argmax())
            raise ValueError(
                f"{name}: {paths[row]}: column {annotations!r} names no annotations in row {row} ({int(missing.sum())} of {len(paths)} rows have none); "
                "index these slides by themselves, or leave them out"
            )
        return [os.path.abspath(path) for path in column]
    folder = Path(annotations)
    if not folder.is_dir():
        raise ValueError(f"{name}: index: annotations={os.fspath(annotations)!r}, expected a folder, or a column of the table")
    found = []
    for path in paths:
        own = [file for stem in (Path(path).stem, Path(path).name) for ending in _ENDINGS if (file := folder / f"{stem}{ending}").is_file()]
        if len(own) != 1:
            expected = f"{Path(path).stem}.geojson, .json or .xml"
            hint = "index it by itself, or leave it out"
            raise ValueError(f"{name}: {path}: expected one file of annotations ({expected}) in {folder}, found {len(own)}; {hint}")
        found.append(os.path.abspath(own[0]))
    return list(found)


def _state(path: str, scale: Scale, drawn: str | None, settings: dict[str, Any]) -> str:
    return json.dumps({"file": _stamp(path), "mpp": scale, "annotations": None if drawn is None else _stamp(drawn), "options": settings}, sort_keys=True)


def _stamp(path: str) -> list[int]:
    """Size and time of a file; nothing where there is none, which is told when it is opened."""
    try:
        found = os.stat(path)
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]
