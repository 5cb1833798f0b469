"""Copies of recordings: converted, resampled, scaled, filtered, re-referenced, with fewer channels, or cut."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import maximum_filter1d

from sslmed.modalities.base import Array, Copy, Rows
from sslmed.modalities.eeg.preprocessing import EegPreprocessing
from sslmed.modalities.eeg.recordings import channels, electrodes
from sslmed.modalities.eeg.source import source
from sslmed.modalities.matching import Match, bits_of, matches, normalized

__all__ = ["SIMILAR", "Waves", "copies", "fingerprint"]

SIMILAR = 0.5
"""Correlation of signals from which recordings count as copies."""

_SFREQ = 100.0  # Hz
_WINDOW = 2.0  # s
_BAND = (3.0, 20.0)  # Hz, which usual filters leave
_REFERENCED = 4  # channels from which an average reference is one
_APART = 0.7  # s on both sides of a wave in which its channel has no larger one
_AROUND = 1.0  # s on both sides of a wave that describe it
_PIECE = 480.0  # s of a recording that are held at a time
_DISTANCE = 14  # bits in which waves may differ
_LAG = 0.03  # s, within which they agree
_LAGS = 3  # lags of a pair that are looked at
_BLOCK = 12.0  # s of each of three blocks that are compared
_HOPELESS = 0.2  # correlation of a block after which no other is read
_LEAST = 5.0  # s that recordings share at least
_FEW = 4  # s that are compared at least
_SHORT = 1.5  # what the correlation must have besides, over the number of seconds: a rhythm agrees with another for a while
_SHIFT = 8  # samples by which a block is moved at most


@dataclass
class Waves:
    """What is kept of a recording."""

    hashes: Array
    """[n] uint64 of its largest waves."""
    times: Array
    """[n] float64: when they are, in s."""
    rows: Rows
    """The recording, which is read again where another one has the same waves."""
    extra: list[str]
    """Its channels without a place."""
    starts: Array = field(default_factory=lambda: np.zeros(0))
    """[windows] s at which its windows start."""


def fingerprint(rows: Rows) -> Waves:
    """What is kept of a recording, for :func:`copies`: the largest waves from 3 to 20 Hz of each channel.

    Waves are looked for in the channels as they are, so that some of them are enough, and, where there are four or more, in the channels referenced to
    their average, so that the reference of the file does not matter.

    Args:
        rows: A cohort with one recording.

    Raises:
        FormatError, ReadError: It cannot be read.
        ValueError: It has no channel, or is shorter than 5 s.
    """
    extra = [name for names, _ in channels(rows) for name, known in zip(names, electrodes(names), strict=True) if known is None]
    opened = _Recording(rows, extra)
    if (seconds := _WINDOW * len(opened.starts)) < _LEAST:
        raise ValueError(f"{rows.table['path'].iloc[0]}: expected at least {_LEAST:g} s of signal in one piece, found {seconds:g} s")
    size, hashes, times = round(_PIECE / _WINDOW), [], []
    for at in range(0, len(opened.starts), size):
        # Two windows more on each side, so that waves near the cut are seen whole.
        first, last = max(0, at - 2), min(len(opened.starts), at + size + 2)
        for values, start in opened.read(first, last):
            signals = np.stack(list(values.values()))
            for one in [signals] if len(signals) < _REFERENCED else [signals, signals - signals.mean(axis=0)]:
                found, when = _waves(one, start)
                mine = (when >= opened.starts[at]) & (when < opened.starts[min(at + size, len(opened.starts)) - 1] + _WINDOW)
                hashes.append(found[mine])
                times.append(when[mine])
    none = np.zeros(0)
    order = np.argsort(np.concatenate([*times, none]), kind="stable")
    return Waves(np.concatenate([*hashes, none.astype(np.uint64)])[order], np.concatenate([*times, none])[order], rows, extra, opened.starts)


def copies(recordings: Sequence[Waves], groups: Array, least: float = SIMILAR) -> Iterator[Copy]:
    """Pairs of recordings of different groups of which one is a copy of the other, or of a part of it.

    Pairs are looked for by waves that follow each other at the same times. Those found are read again: channels of the same place, referenced to their
    average, are correlated second by second, and half of the seconds must be alike.

    Args:
        recordings: Of :func:`fingerprint`.
        groups: Group of each recording.
        least: Similarity of the pairs that are listed.
    """
    opened: dict[int, _Recording] = {}
    for match in matches([one.hashes for one in recordings], groups, _DISTANCE, 1):
        a, b = recordings[match.a], recordings[match.b]
        lags = _lags(a, b, match)
        if not len(lags):
            continue
        for number in (match.a, match.b):
            if number not in opened:
                if len(opened) > 64:
                    opened.clear()
                opened[number] = _Recording(recordings[number].rows, recordings[number].extra)
        similarity = max(_similarity(opened[match.a], opened[match.b], lag) for lag in lags)
        if similarity >= least:
            yield Copy(match.a, match.b, similarity)


class _Recording:
    """A recording, read in windows."""

    def __init__(self, rows: Rows, extra: list[str]) -> None:
        low, high = _BAND
        how = EegPreprocessing(sfreq=_SFREQ, window=_WINDOW, l_freq=low, h_freq=high, scale="none", clip=0.0, average_reference=False)
        self._extra = extra
        self._windows = source(rows, how, extra_channels=extra)
        self.starts = np.array([self._windows.describe(i).place["start"] for i in range(len(self._windows))])

    def read(self, first: int, last: int) -> Iterator[tuple[dict[Hashable, Array], float]]:
        """Stretches without a gap of windows first to last: signals by channel, float32, and the second at which they start."""
        begun = first
        for i in range(first + 1, last + 1):
            if i == last or abs(self.starts[i] - self.starts[i - 1] - _WINDOW) > 1e-3:
                yield self._stretch(begun, i), float(self.starts[begun])
                begun = i

    def between(self, start: float, length: float) -> dict[Hashable, Array] | None:
        """Signals from a second on, by channel; None where there is a gap."""
        first = int(np.searchsorted(self.starts, start + 1e-6, side="right")) - 1
        last = int(np.searchsorted(self.starts, start + length - 1e-6, side="left"))
        if first < 0 or last <= first:
            return None
        found = list(self.read(first, last))
        at, n = round((start - self.starts[first]) * _SFREQ), round(length * _SFREQ)
        if len(found) != 1 or at + n > (last - first) * round(_WINDOW * _SFREQ):
            return None
        return {name: signal[at : at + n] for name, signal in found[0][0].items()}

    def _stretch(self, first: int, last: int) -> dict[Hashable, Array]:
        n = round(_WINDOW * _SFREQ)
        out: dict[Hashable, Array] = {}
        for i in range(first, last):
            values, positions = self._windows.sample(i)
            nameless = positions.isnan().any(dim=1).tolist()
            names: Iterator[Hashable] = iter(self._extra if sum(nameless) == len(self._extra) else [None] * len(values))
            for signal, position, none in zip(values.numpy(), positions.numpy(), nameless, strict=True):
                name = next(names) if none else tuple(np.round(position).astype(int).tolist())
                if name is not None:
                    out.setdefault(name, np.zeros((last - first) * n, np.float32))[(i - first) * n : (i - first + 1) * n] = signal
        return out


def _waves(values: Array, start: float) -> tuple[Array, Array]:
    """Hashes and times in s of the waves of [C, T] that are the largest of their channel for a while."""
    reach, half = round(_APART * _SFREQ), round(_AROUND * _SFREQ)
    size = np.abs(values)
    channel, at = np.nonzero((size == maximum_filter1d(size, 2 * reach + 1, axis=1)) & (size > 1e-3))
    inside = (at >= half + 2) & (at < values.shape[1] - half - 2)
    channel, at = channel[inside], at[inside]
    if not len(at):
        return np.zeros(0, np.uint64), np.zeros(0)
    before, top, after = (size[channel, at + step] for step in (-1, 0, 1))
    bend = before - 2 * top + after
    offset = np.where(bend < 0, 0.5 * (before - after) / np.where(bend < 0, bend, 1), 0)
    line = np.arange(-half, half + 1, 2)
    where = at[:, None] + line + np.floor(offset).astype(int)[:, None]
    share = (offset - np.floor(offset))[:, None].astype(np.float32)
    around = (1 - share) * values[channel[:, None], where] + share * values[channel[:, None], where + 1]
    return bits_of(normalized(around * np.sign(values[channel, at])[:, None]), 2), start + (at + offset) / _SFREQ


def _lags(a: Waves, b: Waves, match: Match) -> Array:
    """Seconds by which a wave of b comes earlier than the same of a: those on which most waves agree."""
    lag, when = a.times[match.of_a] - b.times[match.of_b], a.times[match.of_a]
    order = np.argsort(lag, kind="stable")
    lag, when = lag[order], when[order]
    stop = np.searchsorted(lag, lag + 2 * _LAG, side="right")
    counts = stop - np.arange(len(lag))
    found: list[float] = []
    few = min(len(a.hashes), len(b.hashes))
    chance = len(lag) * 2 * _LAG / max(lag[-1] - lag[0], 1.0)  # pairs of waves within such a span
    need = 1 if few < 8 else 2 if few < 50 else int(np.ceil(3 + chance + 5 * np.sqrt(chance)))
    for i in np.argsort(-counts, kind="stable")[:50]:
        votes = len(np.unique(np.round(when[i : stop[i]] / 0.1)))
        middle = float(np.median(lag[i : stop[i]]))
        if votes >= need and all(abs(middle - other) > 2 * _LAG for other in found):
            found.append(middle)
        if len(found) == _LAGS:
            break
    return np.array(found)


def _similarity(a: _Recording, b: _Recording, lag: float) -> float:
    """Correlation of what two recordings share at a lag: the median over seconds of three blocks."""
    first = max(a.starts[0], b.starts[0] + lag) + _LAG
    last = min(a.starts[-1], b.starts[-1] + lag) + _WINDOW - _LAG
    if last - first < _LEAST:
        return 0.0
    length = min(_BLOCK, last - first)
    found: list[float] = []
    blocks = np.array([0.5, 0.0, 1.0] if last - first > 2 * _BLOCK else [0.5])
    for start in np.round(first + blocks * (last - first - length), 2):
        for shorter in (length, length / 3):
            one, other = a.between(start, shorter), b.between(start - lag, shorter)
            if one is not None and other is not None:
                found += _seconds(one, other)
                break
        if found and abs(np.median(found)) < _HOPELESS:
            break
    similarity = float(abs(np.median(found))) if found else 0.0
    return similarity if len(found) >= _FEW and similarity >= SIMILAR + _SHORT / len(found) else 0.0


def _seconds(a: dict[Hashable, Array], b: dict[Hashable, Array]) -> list[float]:
    """Correlation of each second over the channels that both have, moved by the few samples that suit the block best."""
    shared = [name for name in a if name in b]
    if not shared:
        return []
    one, other = (np.stack([of[name] for name in shared]) for of in (a, b))
    if len(shared) >= 3:
        one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    one, other = (x / np.maximum(np.median(np.abs(x), axis=1, keepdims=True), 1e-6) for x in (one, other))
    n = one.shape[1] - 2 * _SHIFT
    core = one[:, _SHIFT : _SHIFT + n]
    moved = [other[:, step : step + n] for step in range(2 * _SHIFT + 1)]
    best = moved[int(np.argmax([abs(float((np.clip(core, -9, 9) * np.clip(x, -9, 9)).sum())) for x in moved]))]
    out = []
    for at in range(0, n - round(_SFREQ) // 2, round(_SFREQ)):
        p, q = core[:, at : at + round(_SFREQ)], best[:, at : at + round(_SFREQ)]
        length = float(np.linalg.norm(p) * np.linalg.norm(q))
        if length > 1e-6:
            out.append(float((p * q).sum()) / length)
    return out
