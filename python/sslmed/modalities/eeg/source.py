"""Windows of recordings as a C++ source."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
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
) -> C.EegSource:
    """Windows of all recordings: of files, of an index without opening its files, or of arrays in memory.

    Args:
        rows: A cohort of EEG.
        preprocessing: Applied to every window.
        extra_channels: Names without a standard position for which the encoder has a learned row.
        stride: Time in s between windows; 0: the window's length.
        random: Move the starts of windows at random within the stride.
        targets: Numbers by name, one a recording.

    Raises:
        FormatError, ReadError: A recording cannot be opened or has no usable channel.
        ValueError: No recording holds a window, or a column of the index does not fit.

    Warns:
        FormatWarning: Files were salvaged, or channels are left out.
    """
    options = preprocessing.options(stride=stride, random=random)
    recording_store.prepare(files(rows))
    numbers = {name: [float(v) for v in values] for name, values in (targets or {}).items()}
    if rows.arrays is None and index.is_indexed(rows.table):
        indexed = _indexed(rows, options, extra_channels, numbers)
        tables.trim()
        return indexed
    kept = rows.arrays or [None] * len(rows.table)
    specs = []
    whose = rows.table[["path", "subject", "site"]].itertuples(index=False)
    for recording, (path, subject, site), use, exclude in zip(kept, whose, *index.choices(rows.table), strict=True):
        chosen: dict[str, Any] = {"subject": str(subject), "site": str(site), "use": use, "exclude": exclude}
        if recording is None:
            specs.append(C.RecordingSpec(str(path), **chosen))
        else:
            specs.append(C.RecordingSpec(str(path), recording.signal, recording.sfreq, recording.ch_names, **chosen))
    opened = C.EegSource(specs, options, list(extra_channels), numbers)
    warn_of_scale(rows)
    return opened


def _indexed(rows: Rows, options: C.EegOptions, extra_channels: Sequence[str], targets: dict[str, list[float]]) -> C.EegSource:
    """Windows of an index's recordings. No file is opened: one that is not as the index says is a FormatError when it is read."""
    table = rows.table
    for column in index.COLUMNS:
        if table[column].isna().any():
            raise ValueError(f"{rows.name}: every recording of an index needs {column}; row {int(table[column].isna().argmax())} has none")
    montage_codes, found = index.codes_and_montages(table)
    gappy = {}
    if "stretches" in table:
        with_gaps = np.flatnonzero(table["stretches"].notna())
        gappy = {int(i): [tuple(s) for s in json.loads(str(table["stretches"].iloc[i]))] for i in with_gaps}
    return C.EegSource.indexed(
        origins=tables.origins(table),
        montage_codes=torch.from_numpy(montage_codes),
        montages=[(rate, names) for names, rate in found],
        samples=torch.from_numpy(table["n_samples"].to_numpy(np.int64, copy=True)),
        gappy=gappy,
        options=options,
        extra_channels=list(extra_channels),
        targets=targets,
    )
