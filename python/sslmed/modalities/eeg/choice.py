"""Which channels are read: names that a person gives, checked against the recordings."""

from __future__ import annotations

import difflib
import itertools
import json
from collections.abc import Iterator, Sequence

import pandas as pd

from sslmed._core import C, FormatError, ReadError
from sslmed.io import recording_store
from sslmed.modalities.base import Rows
from sslmed.modalities.eeg import index
from sslmed.modalities.eeg.recordings import files

__all__ = ["check_names", "with_choice"]

_LISTED = 12  # channels that an error names


def check_names(rows: Sequence[Rows], channels: Sequence[str], exclude: Sequence[str]) -> None:
    """Raises ValueError for a name that is no channel's of any recording, with those nearest to it.

    Headers are read until all names are found, so most often that of one recording. Names of what is no EEG by itself (ECG …) may be excluded without
    being there: they are not read anyway.
    """
    left = dict.fromkeys(channels, "channels")
    left |= {name: "exclude" for name in exclude if C.recognize_channels([name])[0][0] != "auxiliary"}
    seen: dict[str, None] = {}
    for labels in _labels(rows):
        if not left:
            return
        seen |= dict.fromkeys(labels)
        left = {name: left[name] for name in C.names_without_channel(labels, list(left))}
    if left:
        name, where = next(iter(left.items()))
        near = difflib.get_close_matches(name, seen, 3, 0.5)
        if not near and name not in C.standard_names():
            near = difflib.get_close_matches(name.title(), C.standard_names(), 3, 0.5)
        others = f", nor {', '.join(repr(other) for other in list(left)[1:])}" if len(left) > 1 else ""
        hint = f"did you mean {' or '.join(repr(one) for one in near)}? " if near else ""
        known = ", ".join(list(seen)[:_LISTED]) + (f" and {len(seen) - _LISTED} more" if len(seen) > _LISTED else "")
        who = " and ".join(dict.fromkeys(one.name for one in rows))
        raise ValueError(f"{who}: {where}: no recording has a channel {name!r}{others}; {hint}There are {known}")


def _labels(rows: Sequence[Rows]) -> Iterator[tuple[str, ...]]:
    """The names of each recording's signals, each list once."""
    known: set[tuple[str, ...]] = set()
    for one in rows:
        if one.arrays is None and index.is_indexed(one.table):
            found: Iterator[list[str]] = (names for names, _ in index.montages(one.table))
        else:
            held = (recording.ch_names for recording in one.arrays or () if recording is not None)
            found = itertools.chain(held, (_of_file(str(path)) for path in dict.fromkeys(files(one))))
        for names in map(tuple, found):
            if names and names not in known:
                known.add(names)
                yield names


def _of_file(path: str) -> list[str]:
    """None of a file that cannot be read, which is told where its windows are."""
    try:
        recording_store.prepare([path])
        return [label for label, *_ in C.recording_signals(path)]
    except (FormatError, ReadError):
        return []


def with_choice(table: pd.DataFrame, channels: Sequence[str], exclude: Sequence[str]) -> pd.DataFrame:
    """An index whose montages are what is left of them; another table as it is.

    Raises:
        ValueError: A recording is left without channels.
    """
    if not index.is_indexed(table):
        return table
    chosen: dict[tuple[str, float], str] = {}
    montages = list(zip(table["channels"].astype(object), table["sfreq"], strict=True))
    for row, (text, sfreq) in enumerate(montages):
        if not isinstance(text, str) or (text, sfreq) in chosen:
            continue
        signals = [(name, "uV", float(sfreq), True) for name in json.loads(text)]
        names = [label for label, used, _ in C.choose_channels(signals, list(channels), list(exclude)) if used]
        if not names:
            where = f"{table['path'].iloc[row]}: channels={list(channels)}, exclude={list(exclude)}"
            raise ValueError(f"{where} leave none of its channels {', '.join(name for name, *_ in signals)}")
        chosen[text, sfreq] = json.dumps(names, ensure_ascii=False)
    return table.assign(channels=pd.Categorical([chosen.get(montage) for montage in montages]))
