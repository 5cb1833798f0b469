"""Recordings of formats that MNE reads, converted once into files of our own that are read natively."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sslmed._core import C, FormatError, FormatWarning, ReadError
from sslmed.io.stores import CACHE, whole

__all__ = ["ENDINGS", "convert_recordings", "microvolts", "prepare", "set_recording_store"]

ENDINGS = (".set", ".fif", ".fif.gz")
"""Endings of file names whose recordings are converted."""

_LAST = frozenset(ending[-4:] for ending in ENDINGS)
_PIECE = 1 << 22  # values of a piece that is converted at once
_BOUNDARIES = ("edge", "boundary", "bad boundary", "new segment")

C.set_recording_store(os.environ.get("SSLMED_RECORDINGS") or os.path.join(CACHE, "recordings"))


def set_recording_store(folder: str | os.PathLike[str]) -> None:
    """Sets where converted copies of recordings are kept, for this process.

    EEGLAB and FIF files are read through MNE once, and written as float32 to this folder, from where windows are read as
    fast as from any native format, without holding recordings in memory. A copy belongs to a file's path, size and time of
    change; it may be deleted at any time, and is then made again. By default the environment variable ``SSLMED_RECORDINGS``,
    or else ``sslmed/recordings`` in the user's cache folder (``XDG_CACHE_HOME``, ``~/.cache``).

    Args:
        folder: The folder; made when something is written to it.

    Examples:
        >>> import tempfile
        >>> import sslmed as sm
        >>> sm.io.set_recording_store(tempfile.mkdtemp())
    """
    C.set_recording_store(os.path.abspath(folder))


def convert_recordings(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Converts EEGLAB (.set) and FIF (.fif) recordings that have no copy yet; sources and indexes do it by themselves.

    EEG channels that are not marked bad are kept, in µV, and all annotations.

    Args:
        paths: The files.

    Returns:
        The copies: the ``.vhdr`` of a BrainVision recording a file, in the folder of :func:`set_recording_store`.

    Raises:
        FormatError: A file is not what MNE reads as a continuous recording, or has no good EEG channel.
        ReadError: A file cannot be read.
        ImportError: MNE is not installed.

    Warns:
        FormatWarning: MNE told of something odd in a file.

    Examples:
        >>> import sslmed as sm
        >>> sm.io.convert_recordings([])
        []
    """
    copies = []
    for path in paths:
        copies.append(copy := C.stored_recording(os.fspath(path)))
        if not os.path.exists(copy):
            _convert(os.fspath(path), Path(copy))
    return copies


def prepare(paths: Iterable[Any]) -> None:
    """Converts those of the files that need it and have no copy yet."""
    convert_recordings(path for path in map(str, paths) if path[-4:].lower() in _LAST and path.lower().endswith(ENDINGS))


def microvolts(raw: Any, channels: Sequence[str], where: str) -> npt.NDArray[Any]:
    """[C, T] µV of an MNE Raw; NaN where it is annotated as bad, and in the sample before a boundary.

    In memory where the Raw is loaded; else in a file that is mapped into memory, and that has no name.

    Raises:
        ReadError: Its file is gone; ``where`` names the recording.
    """
    try:
        return _microvolts(raw, channels)
    except OSError as error:
        raise ReadError(f"{where}: {error}") from error


def _microvolts(raw: Any, channels: Sequence[str]) -> npt.NDArray[Any]:
    if raw.preload:
        values: npt.NDArray[Any] = raw.get_data(picks=list(channels)) * 1e6
    else:
        folder = Path(C.recording_store())
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.truncate(4 * len(channels) * raw.n_times)
            values = np.memmap(file, np.float32, "r+", shape=(len(channels), raw.n_times))
        for first, piece in _pieces(raw, channels):
            values[:, first : first + piece.shape[1]] = piece
    for onset, duration, text in _annotations(raw):
        first, last = _samples(onset, duration, raw.info["sfreq"], raw.n_times)
        if _is_boundary(text) or (text.lower().startswith("bad") and first == last):
            values[:, max(0, first - 1) : first] = np.nan
        elif text.lower().startswith("bad"):
            values[:, first:last] = np.nan
    return values


def _is_boundary(text: str) -> bool:
    return text.lower() in _BOUNDARIES or text.lower().startswith(("edge", "new segment"))


def _samples(onset: float, duration: float, sfreq: float, n: int) -> tuple[int, int]:
    """[first, last) samples that a span touches, but for the rounding of its onset as a decimal."""
    if duration == 0:
        return (at := min(max(round(onset * sfreq), 0), n)), at
    first, last = np.floor(onset * sfreq + 1e-3), np.ceil((onset + duration) * sfreq - 1e-3)
    return int(np.clip(first, 0, n)), int(np.clip(last, 0, n))


def _annotations(raw: Any) -> list[tuple[float, float, str]]:
    """(onset, duration, text): seconds from the first sample."""
    found = raw.annotations
    return [
        (float(onset) - raw.first_time, float(np.nan_to_num(duration)), str(text))
        for onset, duration, text in zip(found.onset, found.duration, found.description, strict=True)
    ]


def _pieces(raw: Any, channels: Sequence[str]) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """First sample and [C, t] µV, so that a recording is never held in memory as a whole."""
    step = max(1, _PIECE // max(1, len(raw.ch_names)))
    for first in range(0, raw.n_times, step):
        yield first, (raw.get_data(picks=list(channels), start=first, stop=min(first + step, raw.n_times)) * 1e6).astype(np.float32)


def _open(path: str) -> Any:
    try:
        import mne
    except ImportError as error:
        raise ImportError(f"{path}: EEGLAB and FIF recordings are read through MNE: pip install 'sslmed[eeg]' (or mne and pymatreader)") from error
    read = mne.io.read_raw_eeglab if path.lower().endswith(".set") else mne.io.read_raw_fif
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            raw = read(path, preload=False, verbose="error")
        except Exception as error:  # MNE and SciPy raise all kinds of errors for files that they do not understand
            reason = " ".join(str(error).split())[:300]
            raise FormatError(f"{path}: expected a continuous recording that MNE reads, found {type(error).__name__}: {reason}") from error
    for text in dict.fromkeys(" ".join(str(one.message).split()) for one in told if not issubclass(one.category, DeprecationWarning)):
        warnings.warn(f"{path}: {text}", FormatWarning, stacklevel=5)
    return raw


def _convert(path: str, copy: Path) -> None:
    """Writes samples and markers first and the header last, each under another name before: a copy is whole or not there."""
    raw = _open(path)
    channels = [c for c, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True) if kind == "eeg" and c not in raw.info["bads"]]
    if not channels:
        found = ", ".join(sorted(set(raw.get_channel_types())))
        raise FormatError(f"{path}: expected at least one EEG channel that is not marked bad, found channels of types {found}")
    copy.parent.mkdir(parents=True, exist_ok=True)
    with whole(copy.with_suffix(".eeg")) as part, part.open("wb") as file:
        for _, piece in _pieces(raw, channels):
            np.ascontiguousarray(piece.T, "<f4").tofile(file)
    with whole(copy.with_suffix(".vmrk")) as part:
        part.write_text(_markers(raw), encoding="utf-8")
    with whole(copy) as part:
        part.write_text(_header(raw, channels, copy.stem), encoding="utf-8")


def _field(text: str) -> str:
    return " ".join(text.split()).replace(",", r"\1")


def _markers(raw: Any) -> str:
    lines = ["Brain Vision Data Exchange Marker File, Version 1.0", "[Common Infos]", "Codepage=UTF-8", "[Marker Infos]"]
    for number, (onset, duration, text) in enumerate(_annotations(raw), 1):
        first, last = _samples(onset, duration, raw.info["sfreq"], raw.n_times)
        lines.append(f"Mk{number}=Comment,{_field(text)},{first + 1},{last - first},0")
    return "\n".join([*lines, ""])


def _header(raw: Any, channels: Sequence[str], stem: str) -> str:
    common = {
        "Codepage": "UTF-8", "DataFile": f"{stem}.eeg", "MarkerFile": f"{stem}.vmrk", "DataFormat": "BINARY", "DataOrientation": "MULTIPLEXED",
        "NumberOfChannels": len(channels), "DataPoints": raw.n_times, "SamplingInterval": repr(1e6 / float(raw.info["sfreq"])),
    }  # fmt: skip
    lines = ["Brain Vision Data Exchange Header File Version 1.0", "[Common Infos]", *(f"{key}={value}" for key, value in common.items())]
    lines += ["[Binary Infos]", "BinaryFormat=IEEE_FLOAT_32", "[Channel Infos]"]
    return "\n".join([*lines, *(f"Ch{i}={_field(name)},,1,µV" for i, name in enumerate(channels, 1)), ""])
