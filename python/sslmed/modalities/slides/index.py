"""Cohorts of slides: an index says of each whose it is, its scale, and where its tissue is; pictures are then read while training."""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from sslmed import index as recordings
from sslmed import tables, tissue
from sslmed._core import C, FormatError, FormatWarning
from sslmed.io import open_slide
from sslmed.preprocessing import SlidePreprocessing

if TYPE_CHECKING:
    from sslmed.cohort import Cohort

__all__ = ["COLUMNS", "SUFFIXES", "are_listed", "are_slides", "describe", "index", "is_indexed", "source", "tissue_of"]

COLUMNS = {
    "width": "pixels of level 0",
    "height": "pixels of level 0",
    "mpp_x": "µm per pixel of level 0",
    "mpp_y": "µm per pixel of level 0",
    "cell_x": "pixels of level 0 that a cell of the tissue's grid is wide",
    "cell_y": "and high",
    "columns": "cells in a row",
    "rows": "of cells",
    "cells": "that have tissue",
    "tissue": "which ones: lengths of stretches without and with tissue by turns, row by row, 7 bits a byte, least first",
    "tissue_mm2": "their area",
}
"""What an index has beside ``path``, ``subject`` and what else was known."""

SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".scn", ".mrxs", ".vms", ".vmu", ".bif", ".svslide", ".czi")
"""Of files that count as slides in a folder. DICOM slides are many files each: list one of each in a table."""

_PART = 64  # slides that are written at a time


def is_indexed(table: pd.DataFrame) -> bool:
    """Whether a cohort's table is an index of slides."""
    return set(COLUMNS) - {"tissue_mm2"} <= set(table.columns)


def are_listed(table: pd.DataFrame) -> bool:
    """Whether a table lists slides (its first file is one) without being an index of them."""
    return not is_indexed(table) and not recordings.is_indexed(table) and Path(str(table["path"].iloc[0])).suffix.lower() in (*SUFFIXES, ".dcm")


def are_slides(cohort: str | os.PathLike[str]) -> bool:
    """Whether a folder holds slides (and no recordings in BIDS form), or a table lists them first: what an index is to be made of."""
    from sslmed.cohort import Cohort

    path = Path(cohort)
    if path.is_dir():
        return any(file.suffix.lower() in SUFFIXES for file in path.rglob("*")) and not (path / "participants.tsv").exists()
    table = Cohort.from_table(path).table
    return is_indexed(table) or are_listed(table)


def describe(path: str | os.PathLike[str], scale: float | None = None, *, mpp: float = 8.0, cell: float = 32.0, **options: Any) -> dict[str, Any]:
    """An index's columns of one slide.

    Args:
        path: The file.
        scale: µm per pixel of level 0, where the file does not say, or says nonsense.
        mpp: Scale at which tissue is looked for.
        cell: µm that a cell of the grid is about wide: it has tissue where at least half of it has.
        **options: Of :func:`sslmed.tissue.mask`.

    Raises:
        FormatError, ReadError: The file cannot be read.
        ValueError: Its scale is not known.
    """
    slide = open_slide(path, mpp=scale, cached=False)
    found = tissue.find(slide, mpp, **options)
    assert found.mpp is not None
    height, width = found.mask.shape
    side = max(1, round(cell / (found.pixel[0] * found.mpp[0])))
    rows, columns = -(-height // side), -(-width // side)
    padded = torch.nn.functional.pad(found.mask.float(), (0, columns * side - width, 0, rows * side - height))
    cells = padded.view(rows, side, columns, side).mean((1, 3)) >= 0.5
    cell_x, cell_y = found.pixel[0] * side, found.pixel[1] * side
    n = int(cells.sum())
    return {
        "width": slide.dimensions[0], "height": slide.dimensions[1], "mpp_x": found.mpp[0], "mpp_y": found.mpp[1], "cell_x": cell_x, "cell_y": cell_y,
        "columns": columns, "rows": rows, "cells": n, "tissue": C.tissue_runs(cells),
        "tissue_mm2": n * cell_x * cell_y * found.mpp[0] * found.mpp[1] / 1e6,
    }  # fmt: skip


def tissue_of(row: Mapping[str, Any] | pd.Series[Any]) -> tissue.Tissue:
    """Where an index's slide has tissue, a mask pixel a cell."""
    mask = C.tissue_of_runs(row["tissue"], int(row["rows"]), int(row["columns"]))
    return tissue.Tissue(mask, (float(row["cell_x"]), float(row["cell_y"])), (float(row["mpp_x"]), float(row["mpp_y"])))


def index(
    slides: str | os.PathLike[str] | pd.DataFrame | Cohort,
    out: str | os.PathLike[str],
    *,
    subject: str = r"TCGA-\w\w-\w{4}|.+",
    mpp: float = 8.0,
    cell: float = 32.0,
    shard: tuple[int, int] = (0, 1),
    threads: int = 2,
    on_error: str = "raise",
    progress: bool = False,
    name: str | None = None,
    **options: Any,
) -> Cohort | None:
    """Looks for the tissue of many slides and writes an index of them, as Parquet: a :class:`sslmed.Cohort` to train on.

    What is done is kept beside ``out`` in ``OUT.parts``: the same call goes on where an earlier one ended, and calls with other shards, on any machine,
    add theirs. Whoever adds the last one writes ``out``. Slides that ``out`` has already are not looked at again.

    Args:
        slides: A folder with slides (:data:`SUFFIXES`, also in folders within), or a table (.tsv, .csv, .parquet, DataFrame, a cohort's) with ``path``,
            ``subject`` (the patient) and what is known: ``stain``, ``site``, ``mpp`` where the file does not say it, labels.
        out: The index to write, .parquet.
        subject: Of a folder: regular expression whose match, from the start of a file's name without suffix, says who it is of. By default a TCGA
            patient, or else the whole name.
        mpp: µm per pixel at which tissue is looked for.
        cell: µm of a cell of the tissue's grid.
        shard: (k, n): only every n-th slide from the k-th on.
        threads: Slides at a time.
        on_error: "raise", or "skip" slides that cannot be read, with a warning each; they are tried again by the next call.
        progress: Show a progress bar.
        name: Of the cohort.
        **options: Of :func:`sslmed.tissue.mask`.

    Returns:
        The cohort; None where other shards are not done yet.

    Raises:
        FormatError, ReadError: A slide cannot be read, or there are none.
        ValueError: A scale that is not known, or what is there was made with other options.
    """
    from sslmed.cohort import Cohort

    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}")
    if not 0 <= shard[0] < shard[1]:
        raise ValueError(f"expected a shard (k, n) with 0 <= k < n, found {shard}")
    wanted = _listed(slides, subject)
    target = Path(out)
    parts = target.with_name(target.name + ".parts")
    settings = {"mpp": mpp, "cell": cell} | options
    known = _known(target, parts, settings)
    mine = wanted.iloc[shard[0] :: shard[1]]
    todo = mine[~mine["path"].isin(known["path"])] if len(known) else mine
    parts.mkdir(parents=True, exist_ok=True)

    def one(row: Any) -> dict[str, Any] | None:
        scale = getattr(row, "mpp", None)
        try:
            return {"path": row.path} | describe(row.path, None if pd.isna(scale) else float(scale), mpp=mpp, cell=cell, **options)
        except (ValueError, OSError) as error:
            if on_error == "raise":
                raise
            warnings.warn(f"left out: {error}", FormatWarning, stacklevel=2)
            return None

    from rich.progress import Progress

    failed: list[str] = []
    with ThreadPoolExecutor(threads) as pool, Progress(disable=not progress) as bar:
        task = bar.add_task("slides", total=len(todo))
        for first in range(0, len(todo), _PART):
            piece = list(todo.iloc[first : first + _PART].itertuples(index=False))
            futures = [pool.submit(one, row) for row in piece]
            found: list[dict[str, Any]] = []
            try:
                for row, future in zip(piece, futures, strict=True):
                    described = future.result()
                    if described is None:
                        failed.append(str(row.path))
                    else:
                        found.append(described)
                    bar.advance(task)
            finally:
                for future in futures:
                    future.cancel()
                if found:  # what is done is kept, whatever the next slide does
                    parts.mkdir(exist_ok=True)  # another shard may have found everything there, and finished
                    _write(pd.DataFrame(found), parts / f"part-{uuid.uuid4().hex}.parquet", settings)
    parts.mkdir(exist_ok=True)
    (parts / f"failed-{shard[0]}-of-{shard[1]}.json").write_text(json.dumps(failed))
    known = _known(target, parts, settings)
    table = wanted.drop(columns=[c for c in (*COLUMNS, "mpp") if c in wanted]).merge(known, on="path", how="inner")
    given_up = {path for file in parts.glob("failed-*.json") for path in json.loads(_read(file) or "[]")}
    if not set(wanted["path"]) <= set(known["path"]) | given_up:
        return None
    if not len(table):
        raise FormatError(f"{target}: expected slides that can be read, found none of {len(wanted)}")
    _write(table, target, settings)
    shutil.rmtree(parts, ignore_errors=True)  # another shard may be doing the same
    return Cohort.from_table(target, name=name)


def _listed(slides: str | os.PathLike[str] | pd.DataFrame | Cohort, subject: str) -> pd.DataFrame:
    """The slides with absolute paths and their subjects."""
    from sslmed.cohort import Cohort

    if isinstance(slides, Cohort):
        slides = slides.table
    if isinstance(slides, pd.DataFrame) or not Path(slides).is_dir():
        table = Cohort.from_table(slides).table
        table["path"] = [os.path.abspath(path) for path in table["path"]]
    else:
        files = sorted(path for path in Path(slides).rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        if not files:
            raise FormatError(f"{os.fspath(slides)}: expected slides ({', '.join(SUFFIXES)}), found none")
        rows = []
        for path in files:
            match = re.match(subject, path.stem)
            if match is None:
                raise FormatError(f"{path}: expected a name that starts with {subject!r}, found {path.stem!r}")
            rows.append({"path": os.path.abspath(path), "subject": match[0]})
        table = Cohort(pd.DataFrame(rows), Path(slides).resolve().name).table
    if table["path"].duplicated().any():
        raise ValueError(f"{table['path'][table['path'].duplicated()].iloc[0]}: listed twice")
    return table


def _known(target: Path, parts: Path, settings: dict[str, Any]) -> pd.DataFrame:
    """Columns of an index that are there already; ValueError where they were made with other options."""
    found = []
    # The target last: a shard that finishes meanwhile writes it before it takes the parts away.
    for path in [*sorted(parts.glob("part-*.parquet")), target]:
        try:
            table = tables.read(path)
        except FileNotFoundError:
            continue
        if table.attrs.get("tissue") != settings:
            raise ValueError(f"{path}: was made with the options {table.attrs.get('tissue')}, not with {settings}; choose another file, or those options")
        found.append(table[["path", *COLUMNS]])
    return pd.concat(found, ignore_index=True).drop_duplicates("path") if found else pd.DataFrame({"path": []})


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def _write(table: pd.DataFrame, path: Path, settings: dict[str, Any]) -> None:
    table.attrs["tissue"] = settings
    temporary = path.with_name(f".{path.name}.tmp-{uuid.uuid4().hex}")
    table.to_parquet(temporary, index=False, row_group_size=max(1, len(table)))
    temporary.replace(path)


def source(
    table: pd.DataFrame,
    name: str,
    preprocessing: SlidePreprocessing,
    *,
    stride: float = 0.0,
    random: bool = False,
    targets: Mapping[str, Sequence[float]] | None = None,
    open_slides: int = 64,
    fast: bool = True,
) -> C.SlideSource:
    """Pictures of an index's slides. No file is opened: one that is not as described is a FormatError when it is read.

    Args:
        table: The index.
        name: Of the cohort.
        preprocessing: Scale and size.
        stride: µm between pictures of the grid; 0: their sides.
        random: Middles are drawn evenly over the tissue, as many as cover it once; otherwise pictures are those of a grid whose middles are in tissue.
        targets: Numbers by name, one a slide.
        open_slides: Open at a time, those used last.
        fast: As :func:`sslmed.io.open_slide` has it.

    Raises:
        ValueError: A column that does not fit, or no tissue.
        FormatError: Runs of tissue that do not fit their grid.
    """
    from sslmed.io.slide import use_openslide

    for column in (*COLUMNS, "subject"):
        if column != "tissue_mm2" and table[column].isna().any():
            raise ValueError(f"{name}: every slide of an index needs {column}; row {int(table[column].isna().argmax())} has none")
    use_openslide()
    numbers = {c: torch.from_numpy(np.array(table[c])) for c in ("width", "height", "mpp_x", "mpp_y", "cell_x", "cell_y", "columns", "rows", "cells")}
    return C.SlideSource(
        origins=tables.origins(table), tissue=tables.texts(table["tissue"], binary=True), columns=numbers,
        mpp=preprocessing.mpp, mpp_high=preprocessing.mpp_high if random else 0.0,
        size=(preprocessing.region or preprocessing.size) if random else preprocessing.size, random=random, stride=stride, open=open_slides, fast=fast,
        targets=targets or {},
    )  # fmt: skip
