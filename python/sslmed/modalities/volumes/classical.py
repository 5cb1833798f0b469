"""Classical features of a cohort of volumes: reads its sessions, and asks :mod:`sslmed.modalities.volumes.baselines`."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from sslmed._core import C, FormatError, ReadError, ValueWarning
from sslmed.modalities.base import Array, OnError, Rows
from sslmed.modalities.volumes import baselines, files
from sslmed.modalities.volumes.baselines import Scan
from sslmed.modalities.volumes.preprocessing import VolumePreprocessing
from sslmed.modalities.volumes.source import source

__all__ = ["features"]


def _acquisition(store: C.VolumeStore) -> list[float]:
    """How the first sequence was stored: cells and mm along each axis, which way the axes point, and its intensities."""
    facts = next(iter(json.loads(store.facts)["sequences"].values()))
    axes = [float(letter in facts["orientation"]) for letter in "RAS"]
    first = [float(facts["orientation"][0] in pair) for pair in ("LR", "AP", "SI")]
    scale = [float(np.sign(facts[name]) * np.log1p(abs(facts[name]))) for name in ("low", "high", "mean", "std")]
    return [*map(float, facts["shape"]), *map(float, facts["spacing"]), *axes, *first, *scale]


_OF_SCAN: dict[str, Callable[[Scan], Array]] = {
    "histogram": lambda scan: baselines.histogram([scan])[0],
    "smoothed": lambda scan: baselines.smoothed([scan])[0],
    "head size": lambda scan: baselines.volume([scan])[0],
}


def features(rows: Rows, names: Collection[str], *, threads: int = 2, on_error: OnError = "raise") -> dict[str, Array]:
    """Classical features of every session, of its first sequence.

    Args:
        rows: A cohort of volumes, prepared or not.
        names: Of the modality's baselines.
        threads: Number of sessions at a time.
        on_error: "raise", or "skip": NaN for a session that cannot be read.

    Returns:
        [sessions, …] float64 by name.

    Raises:
        FormatError, ReadError: A file cannot be read (``on_error="raise"``).

    Warns:
        ValueWarning: Sessions begin with different sequences.
    """
    paths = [str(path) for path in rows.table["path"]]
    known = files.is_prepared(paths[0])
    how = VolumePreprocessing.from_settings(C.VolumeStore(paths[0]).settings) if known else VolumePreprocessing(spacing=2.0)
    firsts = Counter(held[0] for held in files.held(rows.table) if held)
    if len(firsts) > 1:
        counts = ", ".join(f"{name} ({count})" for name, count in firsts.most_common())
        warnings.warn(f"{rows.name}: classical features are of each session's first sequence, which differs: {counts}", ValueWarning, stacklevel=4)
    opened = source(rows, replace(how, sequences=tuple(f"{name}?" for name in firsts)))  # whose stores are read whole

    def one(index: int) -> dict[str, Any] | None:
        try:
            store = opened.store(index)
            found: dict[str, Any] = {}
            if set(names) - {"acquisition"}:
                values, mask = store.read(store.channels[0]).numpy(), store.read("mask").numpy()
                labels = store.read("labels").numpy() if "labels" in store.channels else None
                x, y, z = store.spacing
                scan = Scan(values, mask, (x, y, z), labels)
                found = {name: of(scan) for name, of in _OF_SCAN.items() if name in names}
                if "tissue volumes" in names:
                    found["tissue volumes"] = baselines.regions([scan._replace(labels=None)])[0]
            if "acquisition" in names:
                found["acquisition"] = np.array(_acquisition(store))
            return found
        except (FormatError, ReadError):
            if on_error == "raise":
                raise
            return None

    with ThreadPoolExecutor(max(1, threads)) as pool:
        all_found = list(pool.map(one, range(len(paths))))
    out = {}
    for name in names:
        width = next((len(found[name]) for found in all_found if found is not None), 1)
        out[name] = np.stack([np.full(width, np.nan) if found is None else np.asarray(found[name], float) for found in all_found])
    return out
