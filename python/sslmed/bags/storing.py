"""From slides to a store of their features."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from sslmed._checks import OnError, choice, whole
from sslmed._core import FormatError, LeftOutWarning, ReadError
from sslmed.bags.store import FeatureStore, Precision
from sslmed.cohort import Cohort
from sslmed.encoders import CohortEncoder, resolve
from sslmed.evaluation.feature_cache import of_encoder
from sslmed.training import encode_samples

__all__ = ["store_features"]

_ASPECT = 0.02  # how far µm per pixel may differ between the axes


def store_features(
    encoder: str | CohortEncoder,
    cohort: Cohort,
    folder: str | os.PathLike[str],
    *,
    name: str | None = None,
    pooling: str = "mean",
    dtype: Precision = "float16",
    threads: int = 2,
    batch_size: int = 64,
    on_error: OnError = "raise",
    progress: Callable[[str], None] | None = None,
) -> FeatureStore:
    """Computes features of all tiles of each slide of a cohort, one file a slide.

    The same call goes on where it was stopped: a slide whose file is complete, made by this encoder of this state of the
    slide, is passed over. Tiles are those of :func:`sslmed.encode`: side by side, their middles in tissue.

    Args:
        encoder: An encoder, a name or a path (:func:`sslmed.encoders.resolve`).
        cohort: Indexed slides (:meth:`sslmed.Cohort.index`).
        folder: Folder of the store.
        name: Column of the slides' names; None: the names of their files without the ending.
        pooling: "mean" over a tile's patch tokens, or "cls".
        dtype: Type in the files, "float16" or "float32".
        threads: Loader threads.
        batch_size: Tiles in a batch.
        on_error: "raise", or "skip" slides that cannot be read, with a warning.
        progress: Function that gets a line of text after each slide.

    Returns:
        The store.

    Raises:
        ValueError: The cohort is not one of slides, two slides have one name, pixels are not square, or the store holds
            features of another encoder.
        FormatError, ReadError: A slide cannot be read.

    Warns:
        LeftOutWarning: Slides were skipped.

    See Also:
        :func:`sslmed.slide_level`

    Examples:
        >>> import tempfile
        >>> import numpy as np, pandas as pd, torch
        >>> import sslmed as sm
        >>> folder = tempfile.mkdtemp()
        >>> rgb = np.full((600, 600, 3), 240, np.uint8)
        >>> rgb[100:500, 100:500] = np.random.default_rng(0).integers(90, 170, (400, 400, 3)) - [0, 60, 0]
        >>> sm.io.write_slide(f"{folder}/a.tif", torch.from_numpy(rgb), mpp=0.5)
        >>> cohort = sm.Cohort.from_table(pd.DataFrame({"path": [f"{folder}/a.tif"], "subject": ["a"]})).index(f"{folder}/i.parquet")
        >>> encoder = sm.Encoder("vit_tiny", sm.SlidePreprocessing(mpp=0.5, size=64, patch=16), depth=1)
        >>> store = sm.store_features(encoder, cohort, f"{folder}/features")
        >>> store.names(), store.read("a").features.shape[1], store.read("a").tile
        (['a'], 192, 64.0)
    """
    where = "store_features"
    choice(where, "on_error", on_error, get_args(OnError))
    whole(where, "threads", threads, 1)
    whole(where, "batch_size", batch_size, 1)
    if not isinstance(cohort, Cohort):
        raise TypeError(f"{where}: cohort={cohort!r} must be a Cohort, got {type(cohort).__name__}")
    if cohort.modality != "slides":
        raise ValueError(f"{where}: {cohort.name} has rows of the modality {cohort.modality!r}, expected slides")
    model = resolve(encoder, cohort)
    names = _names(where, cohort.table, name)
    store, digest, failed = FeatureStore(folder), of_encoder(model, pooling).hexdigest(), []
    for place, slide in enumerate(names):
        row = cohort.table.iloc[place]
        state = _state(str(row["path"]))
        if slide in store:
            said = store.described(slide)
            if said.get("encoder") != digest:
                raise ValueError(f"{where}: folder={os.fspath(folder)!r} holds features of {slide!r} by another encoder; take another folder")
            if said.get("source") == state:
                continue
        try:
            scale = _scale(where, row)
            features, tiles = encode_samples(model, cohort.subset([place]), pooling=pooling, threads=threads, batch_size=batch_size)
        except (FormatError, ReadError) as error:
            if on_error == "raise":
                raise
            failed.append(str(error))
            continue
        coords = np.rint(tiles[["x", "y"]].to_numpy(float)).astype(np.int64)
        preprocessing: Any = model.preprocessing
        tile = float(preprocessing.size) * float(preprocessing.mpp) / scale
        size = (int(row["width"]), int(row["height"]))
        store.write(slide, features, coords, mpp=scale, tile=tile, encoder=digest, size=size, source=state, dtype=dtype)
        if progress is not None:
            progress(f"{place + 1} of {len(names)}: {slide}, {len(coords)} tiles")
    if failed:
        warnings.warn(f"{cohort.name}: {len(failed)} of {len(names)} slides left out; the first: {failed[0]}", LeftOutWarning, stacklevel=2)
    return store


def _names(where: str, table: pd.DataFrame, column: str | None) -> list[str]:
    if column is not None and column not in table:
        raise ValueError(f"{where}: name={column!r} is not a column of the table; there are {', '.join(map(str, table.columns))}")
    names = [Path(str(path)).stem for path in table["path"]] if column is None else [str(value) for value in table[column]]
    twice = pd.Series(names).duplicated()
    if twice.any():
        raise ValueError(f"{where}: two slides have the name {names[int(twice.argmax())]!r}; give a column of names by name=")
    return names


def _state(path: str) -> str:
    """Which state of its file a slide is in; empty where it cannot be looked at, which reading will say better."""
    try:
        found = os.stat(path)
    except OSError:
        return ""
    return f"{found.st_size} {found.st_mtime_ns}"


def _scale(where: str, row: Any) -> float:
    x, y = float(row["mpp_x"]), float(row["mpp_y"])
    if abs(x / y - 1) > _ASPECT:
        raise ValueError(f"{where}: {row['path']} has pixels of {x:g} x {y:g} µm; features are stored of slides with square ones")
    return (x + y) / 2
