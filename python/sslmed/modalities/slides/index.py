"""The index of slides: whose each is, its scale, and where its tissue is."""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from sslmed import tables
from sslmed._core import C, FormatError, LeftOutWarning
from sslmed.io import open_slide
from sslmed.modalities.base import OnError, Rows
from sslmed.modalities.slides import findings, given
from sslmed.modalities.slides.columns import COLUMNS, KEPT, SUFFIXES, is_indexed
from sslmed.transforms import tissue

__all__ = ["COLUMNS", "KEPT", "SUFFIXES", "describe", "is_indexed", "tissue_of", "write"]

_PART = 64  # slides that are written at a time


def describe(
    path: str | os.PathLike[str],
    scale: float | tuple[float, float] | None = None,
    *,
    drawn: str | os.PathLike[str] | None = None,
    mpp: float = 8.0,
    cell: float = 32.0,
    classes: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
    **options: Any,
) -> dict[str, Any]:
    """An index's columns of one slide.

    Args:
        path: The slide's file.
        scale: µm per pixel of level 0, one or (x, y), where the file does not say, or is wrong.
        drawn: File of annotations to take for the tissue, see :func:`sslmed.io.read_annotations`.
        mpp: µm per pixel at which tissue is looked for.
        cell: Width of a cell of the grid in µm, about; a cell has tissue where at least half of it has.
        classes: Labels of annotations to take, see :meth:`sslmed.transforms.tissue.Tissue.from_annotations`.
        ignore: Labels of annotations to cut out.
        **options: Options of :func:`sslmed.transforms.tissue.mask`.

    Raises:
        FormatError, ReadError: A file cannot be read.
        ValueError: The slide's scale is not known, or a label is not in the annotations.
    """
    slide = open_slide(path, mpp=scale, cached=False)
    rgb = None
    if drawn is None:
        rgb, pixel = tissue.picture(slide, mpp)
        found = tissue.Tissue(tissue.mask(rgb, **options), pixel, slide.mpp)
    else:
        found = tissue.Tissue.from_annotations(drawn, slide, mpp, classes=classes, ignore=ignore)
    assert found.mpp is not None
    height, width = found.mask.shape
    side = max(1, round(cell / (found.pixel[0] * found.mpp[0])))
    rows, columns = -(-height // side), -(-width // side)
    padded = torch.nn.functional.pad(found.mask.float(), (0, columns * side - width, 0, rows * side - height))
    cells = padded.view(rows, side, columns, side).mean((1, 3)) >= 0.5
    cell_x, cell_y = found.pixel[0] * side, found.pixel[1] * side
    n = int(cells.sum())
    note = findings.of_scale(*slide.dimensions, found.mpp)
    if not note:
        note = findings.of_tissue(rgb, cells, options) if rgb is not None else "" if n else "no tissue: the annotations cover no cell of the grid"
    return {
        "width": slide.dimensions[0], "height": slide.dimensions[1], "mpp_x": found.mpp[0], "mpp_y": found.mpp[1], "cell_x": cell_x, "cell_y": cell_y,
        "columns": columns, "rows": rows, "cells": n, "tissue": C.tissue_runs(cells),
        "tissue_mm2": n * cell_x * cell_y * found.mpp[0] * found.mpp[1] / 1e6, "index_note": note,
    }  # fmt: skip


def tissue_of(row: Mapping[str, Any] | pd.Series[Any]) -> tissue.Tissue:
    """Where an index's slide has tissue, a mask pixel a cell."""
    mask = C.tissue_of_runs(row["tissue"], int(row["rows"]), int(row["columns"]))
    return tissue.Tissue(mask, (float(row["cell_x"]), float(row["cell_y"])), (float(row["mpp_x"]), float(row["mpp_y"])))


@dataclass
class _Job:
    """One call of :func:`write`: what is wanted, and where results are kept."""

    wanted: pd.DataFrame
    """Slides by absolute path, with the columns ``_scale``, ``_drawn`` and ``_state``."""
    target: Path
    shard: tuple[int, int]
    settings: dict[str, Any]
    """Options that tissue is looked for with."""
    on_error: OnError
    root: Path
    """Folder that paths beneath it are written relative to."""
    failed: list[str] = field(default_factory=list)

    @property
    def parts(self) -> Path:
        return self.target.with_name(self.target.name + ".parts")

    def one(self, row: Any) -> dict[str, Any] | None:
        """The columns of one slide; None where it cannot be read."""
        try:
            return {"path": row["path"], "index_state": row["_state"]} | describe(row["path"], row["_scale"], drawn=row["_drawn"], **self.settings)
        except (ValueError, OSError) as error:
            # That no more files may be open says nothing of the slide.
            if self.on_error == "raise" or getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
                raise
            warnings.warn(f"slide left out: {error}", LeftOutWarning, stacklevel=2)
            return None

    def keep(self, piece: list[Any], futures: list[Future[dict[str, Any] | None]], advance: Any) -> None:
        """Writes what is found of a piece, whatever its other slides do."""
        found: list[dict[str, Any]] = []
        try:
            for row, future in zip(piece, futures, strict=True):
                columns = future.result()
                if columns is None:
                    self.failed.append(str(row["path"]))
                else:
                    found.append(columns)
                advance()
        finally:
            for future in futures:
                future.cancel()
            if found:
                self.parts.mkdir(exist_ok=True)  # another shard may have found everything there, and finished
                _write(pd.DataFrame(found), self.parts / f"part-{uuid.uuid4().hex}.parquet")

    def known(self) -> pd.DataFrame:
        """Columns of slides that were looked at already, and have not changed since, nor has what is asked of them."""
        found = []
        # The target last: a shard that finishes meanwhile writes it before it takes the parts away.
        for path in [*sorted(self.parts.glob("part-*.parquet")), self.target]:
            try:
                table = tables.read(path)
            except FileNotFoundError:
                continue
            if set(COLUMNS) | set(KEPT) <= set(table.columns):
                found.append(table.assign(path=_absolute(table["path"], self.root))[["path", *COLUMNS, *KEPT]])
        if not found:
            return pd.DataFrame({"path": []})
        known = pd.concat(found, ignore_index=True)
        states = self.wanted.drop_duplicates("path").set_index("path")["_state"]
        return known[known["index_state"] == known["path"].map(states)].drop_duplicates("path")


def write(
    rows: Rows,
    out: str | os.PathLike[str],
    *,
    mpp: float = 8.0,
    cell: float = 32.0,
    shard: tuple[int, int] = (0, 1),
    threads: int = 2,
    on_error: OnError = "raise",
    progress: bool = False,
    annotations: str | os.PathLike[str] | None = None,
    classes: str | Sequence[str] | None = None,
    ignore: str | Sequence[str] = (),
    root: str | os.PathLike[str] | None = None,
    **options: Any,
) -> pd.DataFrame | None:
    """Looks for the tissue of many slides and writes an index of them, as Parquet.

    What is done is kept beside ``out`` in ``OUT.parts``: the same call goes on where an earlier one ended, and calls with other shards, on any machine,
    add theirs. Whoever adds the last one writes ``out``. Slides that ``out`` has already are not looked at again, unless their file, the scale or
    annotations given for them, or the options have changed.

    Args:
        rows: Slides; a column ``mpp``, or ``mpp_x`` and ``mpp_y``, gives the scale in µm per pixel of level 0 where the file does not, or is wrong.
        out: The index to write, .parquet.
        mpp: µm per pixel at which tissue is looked for.
        cell: µm of a cell of the tissue's grid.
        shard: (k, n): only every n-th slide from the k-th on.
        threads: Number of slides at a time.
        on_error: "raise", or "skip" slides that cannot be read, with a warning each; they are tried again by the next call.
        progress: Show a progress bar.
        annotations: Where pictures are taken instead of where tissue is found: a folder with a file of the name of each slide (.geojson, .json or .xml),
            or the name of a column with such files.
        classes: Labels of annotations to take, a list or a text with commas; None: all.
        ignore: Labels of annotations to cut out, likewise.
        root: Folder beneath which slides are: their paths are written relative to it, for ``Cohort.from_table(out, root=…)``. By default the index's
            own folder, so that an archive that holds its index may move. Slides elsewhere have absolute paths.
        **options: Options of :func:`sslmed.transforms.tissue.mask`.

    Returns:
        The index; None where other shards are not done yet.

    Raises:
        FormatError, ReadError: A slide, or its annotations, cannot be read.
        ValueError: A slide's scale is not known or no number, it has no annotations, or a column of the table has the name of one of the index.

    Warns:
        LeftOutWarning: Slides cannot be read.
        ValueWarning: Something looks wrong with slides, such as their scale, or that no tissue was found.
    """
    from rich.progress import Progress

    if on_error not in ("raise", "skip"):
        raise ValueError(f"index: on_error={on_error!r} must be 'raise' or 'skip'")
    if not 0 <= shard[0] < shard[1]:
        raise ValueError(f"index: shard={shard} must be (k, n) with 0 <= k < n")
    settings = {"mpp": mpp, "cell": cell, "classes": None if classes is None else _listed(classes), "ignore": _listed(ignore)} | options
    wanted = given.slides(rows, annotations, settings)
    if wanted["path"].duplicated().any():
        raise ValueError(f"index: {wanted['path'][wanted['path'].duplicated()].iloc[0]} is listed twice")
    job = _Job(wanted, Path(out), shard, settings, on_error, Path(root) if root is not None else Path(out).absolute().parent)
    known = job.known()
    mine = wanted.iloc[shard[0] :: shard[1]]
    todo = mine[~mine["path"].isin(known["path"])] if len(known) else mine
    job.parts.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(threads) as pool, Progress(disable=not progress) as bar:
        task = bar.add_task("slides", total=len(todo))
        for first in range(0, len(todo), _PART):
            piece = todo[["path", "_scale", "_drawn", "_state"]].iloc[first : first + _PART].to_dict("records")
            job.keep(piece, [pool.submit(job.one, row) for row in piece], lambda: bar.advance(task))
    return _finish(job, rows.name)


def _finish(job: _Job, name: str) -> pd.DataFrame | None:
    """Writes the index where nothing is left to do by any shard."""
    job.parts.mkdir(exist_ok=True)
    (job.parts / f"failed-{job.shard[0]}-of-{job.shard[1]}.json").write_text(json.dumps(job.failed))
    known = job.known()
    table = job.wanted.drop(columns=[c for c in (*COLUMNS, *KEPT, *given.OWN, "mpp") if c in job.wanted]).merge(known, on="path", how="inner")
    given_up = {path for file in job.parts.glob("failed-*.json") for path in json.loads(_read(file) or "[]")}
    if not set(job.wanted["path"]) <= set(known["path"]) | given_up:
        return None
    if not len(table):
        raise FormatError(f"{job.target}: expected slides that can be read, found none of {len(job.wanted)}")
    findings.told(table, name)
    _write(table.assign(path=_relative(table["path"], job.root)), job.target)
    shutil.rmtree(job.parts, ignore_errors=True)  # another shard may be doing the same
    written = tables.read(job.target)
    return written.assign(path=_absolute(written["path"], job.root))


def _listed(labels: str | Sequence[str]) -> list[str]:
    return [label.strip() for label in labels.split(",")] if isinstance(labels, str) else list(labels)


def _relative(paths: pd.Series[Any], root: Path) -> pd.Series[Any]:
    """Paths beneath a folder as they are seen from it; others as they are."""
    start = os.path.join(os.path.abspath(root), "")
    return paths.map(lambda path: path[len(start) :] if path.startswith(start) else path)


def _absolute(paths: pd.Series[Any], root: Path) -> pd.Series[Any]:
    start = os.path.abspath(root)
    return paths.where(paths.str.startswith("/"), start + "/" + paths)


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def _write(table: pd.DataFrame, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.tmp-{uuid.uuid4().hex}")
    table.to_parquet(temporary, index=False, row_group_size=max(1, len(table)))
    temporary.replace(path)
