"""Windows of recordings as a C++ source."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from sslmed import tables
from sslmed._core import C
from sslmed.io import recording_store
from sslmed.modalities.base import Rows
from sslmed.modalities.eeg import index
from sslmed.modalities.eeg.preprocessing import EegPreprocessing
from sslmed.modalities.eeg.recordings import files, warn_of_scale

__all__ = ["source"]


def source(
    rows: Rows,
    preprocessing: EegPreprocessing,
    *,
    extra_channels: Sequence[str] = (),
    stride: float = 0.0,
    random: bool = False,
    targets: Mapping[str, Sequence[float]] | None = None,
    measured: bool = True,
) -> C.EegSource:
    """Windows of all recordings: of files, of an index without opening its files, or of arrays in memory.

    Args:
        rows: A cohort of EEG.
        preprocessing: Applied to every window.
        extra_channels: Names without a standard position for which the encoder has a learned row.
        stride: Time in s between windows; 0: the window's length.
        random: Move the starts of windows at random within the stride.
        targets: Numbers by name, one a recording.
        measured: Use measured places of electrodes where there are some, in the place of the 10-05 system's.

    Raises:
        FormatError, ReadError: A recording cannot be opened or has no usable channel.
        ValueError: No recording holds a window, or a column of the index does not fit.

    Warns:
        FormatWarning: Files were salvaged, or channels are left out.
    """
    options = preprocessing.options(stride=stride, random=random)
    recording_store.prepare(files(rows))
    numbers = {name: [float(v) for v in values] for name, values in (targets or {}).items()}
    if rows.arrays is None and (index.is_indexed(rows.table) or index.is_spans(rows.table)):
        indexed = _indexed(rows, options, extra_channels, numbers, measured)
        tables.trim()
        return indexed
    kept = rows.arrays or [None] * len(rows.table)
    specs = []
    whose = rows.table[["path", "subject", "site"]].itertuples(index=False)
    chosen = zip(*index.choices(rows.table), index.positions(rows.table), strict=True)
    for recording, (path, subject, site), (use, exclude, units, places) in zip(kept, whose, chosen, strict=True):
        given: dict[str, Any] = {"subject": str(subject), "site": str(site), "use": use, "exclude": exclude}
        given |= {"units": units, "positions": places if measured else {}}
        if recording is None:
            specs.append(C.RecordingSpec(str(path), **given))
        else:
            specs.append(C.RecordingSpec(str(path), recording.signal, recording.sfreq, recording.ch_names, **given))
    opened = C.EegSource(specs, options, list(extra_channels), numbers)
    warn_of_scale(rows)
    return opened


def _indexed(rows: Rows, options: C.EegOptions, extra_channels: Sequence[str], targets: dict[str, list[float]], measured: bool) -> C.EegSource:
    """Windows of an index's recordings, or of spans of them. No file of an index is opened: one that is not as the index says is
    a FormatError when it is read.
    """
    table = rows.table if index.is_indexed(rows.table) else index.describe(rows.table)
    for column in index.COLUMNS:
        if table[column].isna().any():
            row = int(table[column].isna().argmax())
            raise ValueError(f"{rows.name}: every recording of an index needs {column}; row {row} has none")
    codes, montages = index.codes_and_montages(table)
    places: list[Any] = [(rate, names, {}) for names, rate in montages]
    if measured and "electrode_positions" in table:
        codes, places = _placed(codes, montages, table)
    gappy = {}
    if "stretches" in table:
        with_gaps = np.flatnonzero(table["stretches"].notna())
        gappy = {int(i): [tuple(s) for s in json.loads(str(table["stretches"].iloc[i]))] for i in with_gaps}
    unit_codes, units = None, []
    if "channel_units" in table:
        texts, kinds = pd.factorize(table["channel_units"])
        unit_codes = torch.from_numpy(texts)
        units = index.parsed(pd.DataFrame({"channel_units": kinds}), "channel_units", dict, "objects")
    return C.EegSource.indexed(
        origins=tables.origins(table),
        montage_codes=torch.from_numpy(codes),
        montages=places,
        samples=torch.from_numpy(table["n_samples"].to_numpy(np.int64, copy=True)),
        gappy=gappy,
        options=options,
        extra_channels=list(extra_channels),
        targets=targets,
        parts=index.is_spans(table),
        unit_codes=unit_codes,
        units=units,
    )


def _placed(codes: Any, montages: Sequence[tuple[list[str], float]], table: pd.DataFrame) -> tuple[Any, list[Any]]:
    """Codes of montages that differ by measured places too, and the montages (Hz, names, places)."""
    texts, known = pd.factorize(table["electrode_positions"])
    places = [*index.positions(pd.DataFrame({"electrode_positions": known})), {}]  # code -1: none
    both, pairs = pd.factorize(codes * len(places) + np.where(texts < 0, len(places) - 1, texts))
    split = [divmod(int(pair), len(places)) for pair in pairs]
    return both, [(montages[montage][1], montages[montage][0], places[place]) for montage, place in split]
