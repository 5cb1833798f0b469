"""Recordings in memory, and the channels of recordings wherever they are."""

from __future__ import annotations

import math
import os
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import torch

from sslmed._core import C, FormatError, ReadError, ValueWarning, regular
from sslmed.io import recording_store
from sslmed.modalities.base import Rows
from sslmed.modalities.eeg import index

__all__ = [
    "Recording",
    "channel_report",
    "channels",
    "common_channels",
    "electrodes",
    "files",
    "from_arrays",
    "from_mne",
    "from_npz",
    "montages",
    "unknown_channels",
]

_Path = str | os.PathLike[str]

_DAMAGED = (
    *(ValueError, TypeError, OSError, EOFError, SyntaxError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)  # what NumPy and zipfile raise for damaged archives
_MOST_UNPACKED = 1 << 30  # bytes above which an array may not be packed more than 200 times


_LEAST, _MOST = 0.05, 5000.0
"""µV between which the standard deviation of EEG lies."""
_LOOKED_AT = 64
"""Files whose amplitude is looked at when they are opened; an index looks at all."""


class Recording(NamedTuple):
    """A recording in memory."""

    signal: torch.Tensor
    """[C, T] float32 in µV."""
    sfreq: float
    """Sampling rate in Hz."""
    ch_names: list[str]
    """Names of the C channels."""


def channels(rows: Rows) -> list[tuple[list[str], float]]:
    """(names, Hz) of the EEG channels of each recording that a source would read; reads the headers once."""
    if "channels" not in rows.cache:
        if rows.arrays is None and index.is_indexed(rows.table):
            rows.cache["channels"] = index.channels(rows.table)
        else:
            kept = rows.arrays or [None] * len(rows.table)
            recording_store.prepare(files(rows))
            rows.cache["channels"] = [
                C.recording_info(str(path), use, exclude, units)[:2] if recording is None else (_chosen(recording, use, exclude), recording.sfreq)
                for path, recording, use, exclude, units in zip(rows.table["path"], kept, *index.choices(rows.table), strict=True)
            ]
    return cast("list[tuple[list[str], float]]", rows.cache["channels"])


def files(rows: Rows) -> Iterable[Any]:
    """Paths of the recordings that are not in memory."""
    if rows.arrays is None:
        return cast("Iterable[Any]", rows.table["path"])
    return [path for path, array in zip(rows.table["path"], rows.arrays, strict=True) if array is None]


def _chosen(recording: Recording, use: list[str], exclude: list[str]) -> list[str]:
    signals = [(name, "uV", recording.sfreq, True) for name in recording.ch_names]
    return [label for label, used, _ in C.choose_channels(signals, use, exclude) if used]


def montages(rows: Rows) -> list[tuple[list[str], float]]:
    """(names, Hz) that occur; from an index each once."""
    return index.montages(rows.table) if rows.arrays is None and index.is_indexed(rows.table) else channels(rows)


def electrodes(names: Sequence[str]) -> list[str | None]:
    """The 10-05 name of each channel of a recording; None of bipolar derivations, and of names that the system does not have.

    What a name means depends on the others: "FZ-CZ" is Fz where all channels are referenced to Cz.

    Examples:
        >>> from sslmed.modalities.eeg.recordings import electrodes
        >>> electrodes(["EEG FP1-CPz", "EEG T3-CPz"]), electrodes(["FP1-F7", "FZ-CZ"])
        (['Fp1', 'T7'], [None, None])
    """
    return [name if kind == "electrode" else None for kind, name, _, _ in C.recognize_channels(list(names))]


def unknown_channels(rows: Rows) -> list[str]:
    """Channel names without a position, in the 10-05 system or measured, sorted."""
    found: set[str] = set()
    seen: set[tuple[Any, ...]] = set()
    measured = index.positions(rows.table) if "electrode_positions" in rows.table else None
    pairs = zip(channels(rows), measured, strict=True) if measured else ((montage, {}) for montage in montages(rows))
    for (names, _), places in pairs:
        if (key := (tuple(names), frozenset(places))) in seen:
            continue
        seen.add(key)
        for label, (kind, name, _, _) in zip(names, C.recognize_channels(list(names)), strict=True):
            if kind != "electrode" and not has_own_place(label, name, kind, places):
                found.add(label)
    return sorted(found)


def common_channels(*cohorts: Rows) -> list[str]:
    """10-05 names that every recording of every cohort has, sorted. T3, T4, T5 and T6 are T7, T8, P7 and P8."""
    sets = [set(electrodes(names)) - {None} for rows in cohorts for names in _distinct(rows)]
    return sorted(str(c) for c in set.intersection(*sets))


def channel_report(rows: Rows) -> pd.DataFrame:
    """One line a channel name and meaning; as :meth:`sslmed.Cohort.channel_report` gives it. Of an index the channels that are read are known."""
    kept = rows.arrays or [None] * len(rows.table)
    indexed = rows.arrays is None and index.is_indexed(rows.table)
    known = index.channels(rows.table) if indexed else [None] * len(rows.table)
    counts: dict[tuple[Any, ...], int] = {}
    lines: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    chosen = zip(*index.choices(rows.table), index.positions(rows.table), strict=True)
    for path, recording, montage, (use, exclude, units, places) in zip(rows.table["path"], kept, known, chosen, strict=True):
        if montage is not None:
            signals = [(label, "uV", montage[1], True) for label in montage[0]]
            use, exclude = list(montage[0]), []
        elif recording is not None:
            signals = [(label, "uV", recording.sfreq, True) for label in recording.ch_names]
        else:
            found = C.recording_signals(str(path))
            signals = [(label, units.get(label, unit), rate, scaled) for label, unit, rate, scaled in found]
        key = (tuple(signals), tuple(use), tuple(exclude), frozenset(places))
        if key not in lines:
            lines[key] = _meanings(signals, use, exclude, places)
        counts[key] = counts.get(key, 0) + 1
    totals: dict[tuple[Any, ...], int] = {}
    for key, several in lines.items():
        for line in several:
            totals[line] = totals.get(line, 0) + counts[key]
    columns = ["channel", "name", "kind", "reference", "position", "used", "why", "recordings"]
    return pd.DataFrame([(*line, count) for line, count in totals.items()], columns=columns)


def _meanings(signals: list[tuple[str, str, float, bool]], use: list[str], exclude: list[str], places: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    uses = C.choose_channels(signals, use, exclude)
    read = iter(C.recognize_channels([label for label, used, _ in uses if used]))
    every = C.recognize_channels([signal[0] for signal in signals])
    out: list[tuple[Any, ...]] = []
    for (label, used, why), whole in zip(uses, every, strict=True):
        kind, name, reference, repeated = next(read) if used else whole
        if used and repeated:
            used, why = False, f"repeats {name}"
        position = "template" if kind == "electrode" else ""
        if has_own_place(label, name, kind, places):
            position = "measured"
        out.append((label, name, kind, reference, position, used, why))
    return out


def has_own_place(label: str, name: str, kind: str, places: Mapping[str, Any]) -> bool:
    """Whether a channel's place was measured; as the C++ source decides it."""
    return kind != "derivation" and any(known in places for known in (label, name, label.removeprefix("BioSemi ")))


def _distinct(rows: Rows) -> list[tuple[str, ...]]:
    """Lists of names that occur, each once."""
    return list(dict.fromkeys(tuple(names) for names, _ in montages(rows)))


def from_arrays(
    values: Any, sfreq: float | Sequence[float], ch_names: Sequence[str] | Sequence[Sequence[str]], table: pd.DataFrame, *, name: str
) -> tuple[pd.DataFrame, list[Recording]]:
    """Table and recordings of arrays in memory; as :meth:`sslmed.Cohort.from_arrays` takes them."""
    table = table.reset_index(drop=True).copy()
    if "path" not in table:
        table["path"] = [f"{name}[{i}]" for i in range(len(table))]
    return table, _recordings(values, sfreq, ch_names, [str(path) for path in table["path"]], name)


def from_mne(raws: Sequence[Any], table: pd.DataFrame, *, name: str) -> tuple[pd.DataFrame, list[Recording]]:
    """Table and recordings of MNE's Raw objects; as :meth:`sslmed.Cohort.from_mne` takes them."""
    values, rates, names = [], [], []
    paths = [str(path) for path in table["path"]] if "path" in table else [f"{name}[{i}]" for i in range(len(table))]
    if len(raws) != len(table):
        raise ValueError(f"{name}: raws has {len(raws)} recordings, expected one for each of the table's {len(table)} rows")
    for where, raw in zip(paths, raws, strict=True):
        if not all(hasattr(raw, part) for part in ("get_channel_types", "get_data", "info", "n_times", "first_time", "annotations", "preload")):
            raise TypeError(f"{where}: expected a continuous recording of MNE (mne.io.Raw …), found {type(raw).__name__}")
        kinds = raw.get_channel_types()
        eeg = [(str(c), "uV", float(raw.info["sfreq"]), kind == "eeg") for c, kind in zip(raw.ch_names, kinds, strict=True)]
        used = C.choose_channels(eeg, [], list(raw.info["bads"]))
        good = [name for (name, *_), (_, is_used, _) in zip(eeg, used, strict=True) if is_used]
        if not good:
            raise ValueError(f"{where}: recording has no good EEG channel; it has {', '.join(sorted(set(kinds)))}")
        values.append(recording_store.microvolts(raw, good, where))
        rates.append(float(raw.info["sfreq"]))
        names.append(good)
    return from_arrays(values, rates, names, table, name=name)


def from_npz(paths: Sequence[_Path], *, data: str, sfreq: str, ch_names: str, columns: Sequence[str], name: str) -> tuple[pd.DataFrame, list[Recording]]:
    """Table and recordings of .npz files; as :meth:`sslmed.Cohort.from_npz` takes them."""
    values, rates, names, rows = [], [], [], []
    for path in map(Path, paths):
        try:
            archive = np.load(regular(path), allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise FormatError(f"{path}: expected a .npz with the keys {', '.join((data, sfreq, ch_names, *columns))}, found a single array (.npy)")
            with archive:
                missing = [k for k in (data, sfreq, ch_names, *columns) if k not in archive]
                if missing:
                    raise FormatError(f"{path}: expected the keys {', '.join(missing)}, found {', '.join(archive.files)}")
                for key in (data, sfreq, ch_names, *columns):
                    _check_size(archive, key, path)
                values.append(archive[data])
                rates.append(float(archive[sfreq]))
                names.append([str(c) for c in archive[ch_names]])
                rows.append({"path": str(path)} | {c: str(archive[c]) for c in columns})
        except FileNotFoundError:
            raise ReadError(f"{path}: no such file") from None
        except (FormatError, ReadError):
            raise
        except _DAMAGED as error:
            raise FormatError(f"{path}: expected a .npz of plain arrays, found {error}") from error
    return from_arrays(values, rates, names, pd.DataFrame(rows), name=name)


def _check_size(archive: Any, key: str, path: Path) -> None:
    """FormatError for an array that claims more values than its file holds, or that unpacks to more than a thousand times that: it would fill the memory."""
    entry = next(one for one in archive.zip.infolist() if one.filename in (key, f"{key}.npy"))
    if entry.file_size > _MOST_UNPACKED and entry.file_size > 200 * entry.compress_size:
        raise FormatError(f"{path}: expected recordings, found {entry.compress_size} bytes of {key!r} that unpack to {entry.file_size}")
    with archive.zip.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize > entry.file_size:
        raise FormatError(f"{path}: expected an array {key!r} that {entry.file_size} bytes hold, found a shape of {_short(shape)}")


def _short(shape: tuple[int, ...]) -> str:
    return str(list(shape)) if len(shape) <= 8 else f"{len(shape)} axes"


def _recordings(values: Any, sfreq: Any, ch_names: Any, paths: Sequence[str], name: str) -> list[Recording]:
    """Checks arrays, rates and names against each other and against the rows of the table, whose ``paths`` name them in errors."""
    values = list(values)
    n = len(values)
    if len(paths) != n:
        raise ValueError(f"{name}: values has {n} recordings, expected one for each of the table's {len(paths)} rows")
    signals = [_floats(v, path) for v, path in zip(values, paths, strict=True)]
    rates = [float(sfreq)] * n if np.ndim(sfreq) == 0 else [float(f) for f in sfreq]
    shared = not len(ch_names) or isinstance(ch_names[0], str)
    names = [[str(c) for c in ch_names]] * n if shared else [[str(c) for c in row] for row in ch_names]
    for given, what in ((rates, "sfreq"), (names, "ch_names")):
        if len(given) != n:
            raise ValueError(f"{name}: {what} must be one for all or one a recording ({n}), found {len(given)}")
    for path, signal, rate, channels in zip(paths, signals, rates, names, strict=True):
        if not 0 < rate < np.inf:
            raise ValueError(f"{path}: sfreq must be positive, got {rate}")
        if signal.ndim != 2 or signal.shape[0] != len(channels):
            raise ValueError(f"{path}: values are {tuple(signal.shape)}, expected [{len(channels)}, samples] for its ch_names")
        if signal.shape[1] == 0:
            raise ValueError(f"{path}: values are {tuple(signal.shape)}, expected at least one sample")
    odd = [(path, scale) for path, signal in zip(paths, signals, strict=True) if _implausible(scale := _typical(signal))]
    if odd:
        told = f"{len(odd)} of {n} recordings are of implausible amplitude for EEG in µV, such as {odd[0][0]}, typically of {odd[0][1]:.1e} µV"
        warnings.warn(f"{name}: {told}; multiply signals in V by 1e6", ValueWarning, stacklevel=5)
    return [Recording(*recording) for recording in zip(signals, rates, names, strict=True)]


def _floats(values: Any, where: str) -> torch.Tensor:
    try:
        array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    except ValueError as error:  # rows of several lengths
        raise ValueError(f"{where}: values must be an array [channels, samples]: {error}") from None
    if array.dtype.kind not in "iufb":
        raise ValueError(f"{where}: values must be real numbers, got {array.dtype}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")  # a file mapped into memory: C++ only reads
        return torch.as_tensor(np.ascontiguousarray(array, np.float32))


def _typical(signal: torch.Tensor) -> float:
    """The median over channels of their standard deviation, by at most some thousand samples of each; of flat ones their value."""
    some = signal[:, :: max(1, signal.shape[1] // 4000)].double().nan_to_num()
    deviations = some.std(dim=1, correction=0) if some.numel() else some.new_zeros(0)
    deviations = deviations[deviations > 0]
    if len(deviations):
        return float(deviations.median())
    return float(some.abs().median()) if some.numel() else 0.0


def _implausible(scale: float) -> bool:
    return 0 < scale < _LEAST or scale > _MOST


def warn_of_scale(rows: Rows, looked_at: int = _LOOKED_AT) -> None:
    """ValueWarning where files are of an implausible amplitude: a header that says V, or mV, over values in µV.

    At most ``looked_at`` files, evenly spread, are looked at, once.
    """
    if rows.cache.get("scale", 0) >= min(looked_at, len(rows.table)):
        return
    kept = rows.arrays or [None] * len(rows.table)
    files = np.flatnonzero([recording is None for recording in kept] & ~rows.table["path"].duplicated().to_numpy())  # arrays were looked at when taken
    at = files[np.unique(np.linspace(0, len(files) - 1, min(len(files), looked_at)).astype(int))] if len(files) else files
    paths = [str(rows.table["path"].iloc[i]) for i in at]
    with ThreadPoolExecutor(4) as pool:
        scales = list(pool.map(_amplitude, paths, *index.choices(rows.table.iloc[at])))
    rows.cache["scale"] = min(looked_at, len(rows.table))
    odd = [(path, scale) for path, scale in zip(paths, scales, strict=True) if _implausible(scale)]
    if odd:
        text = f"{len(odd)} of {len(at)} recordings that were looked at are of implausible amplitude for EEG"
        path, scale = odd[0]
        told = f"{rows.name}: {text}, such as {path}, whose channels deviate by typically {scale:.1e} µV; check the unit in its header"
        warnings.warn(told, ValueWarning, stacklevel=4)


def _amplitude(path: str, use: list[str], exclude: list[str], units: dict[str, str]) -> float:
    """Typical deviation in µV; 0 of a file that cannot be read, which is told where its windows are."""
    try:
        return C.typical_amplitude(path, use, exclude, units)
    except (FormatError, ReadError):
        return 0.0
