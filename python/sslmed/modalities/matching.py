"""Pairs of rows that share local features: signs of random projections in hash tables, as in locality-sensitive hashing (Charikar, STOC 2002)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from sslmed.modalities.base import Array

__all__ = ["Match", "bits_of", "matches", "normalized"]

BITS = 64
"""Bits of a hash."""

_TABLES = 5
_NEAREST = 4  # pairs of a feature that count
_RUN = 32  # neighbors of a feature in a table that are compared with it


class Match(NamedTuple):
    """Local features that two rows share."""

    a: int
    """Number of the one row."""
    b: int
    """Number of the other row, a < b."""
    of_a: Array
    """[n] features of a, by their numbers in it."""
    of_b: Array
    """[n] the same features of b."""


def bits_of(values: Array, seed: int) -> Array:
    """Hashes [n] uint64 of vectors [n, D]: which sides of 64 fixed random planes they lie on. Vectors at an angle φ differ in 64 φ / π bits on average."""
    planes = np.random.default_rng(seed).normal(size=(values.shape[1], BITS)).astype(np.float32)
    sides = (values.astype(np.float32) @ planes) > 0
    return np.packbits(sides, axis=1, bitorder="little").view(np.uint64)[:, 0] if len(values) else np.zeros(0, np.uint64)


def normalized(values: Array) -> Array:
    """The rows of [n, D] without their means, of length 1; constant ones are 0."""
    centered = values - values.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centered, axis=1, keepdims=True)
    out: Array = np.divide(centered, length, out=np.zeros_like(centered), where=length > 1e-12)
    return out


def matches(hashes: Sequence[Array], groups: Array, distance: int, least: int = 1) -> Iterator[Match]:
    """Pairs of rows of different groups with similar features.

    Features are compared where they agree in 12 to 20 neighboring bits, more the more there are, each with 32 of the same key at most, of which the
    nearest count: time grows with the number of features, not with its square, and a feature that everybody has costs no more than others.

    Args:
        hashes: Of each row, its features' hashes [n] uint64.
        groups: Group of each row; rows of one group are not compared.
        distance: Bits in which features may differ.
        least: Number of features that a pair shares at least.
    """
    counts = np.array([len(one) for one in hashes], np.int64)
    if not counts.sum():
        return
    every, row = np.concatenate(list(hashes)), np.repeat(np.arange(len(hashes)), counts)
    first = np.cumsum(counts) - counts
    bits = int(np.clip(np.log2(len(every)) - 2, 12, 20))
    shifts = np.linspace(0, BITS - bits, _TABLES).astype(int).tolist()
    found = [_of_table(every, row, groups, distance, shift, bits) for shift in shifts]
    one, other, differ = (np.concatenate(side) for side in zip(*found, strict=True))
    keys, where = np.unique(one * len(every) + other, return_index=True)
    one, other, differ = keys // len(every), keys % len(every), differ[where]
    kept = np.minimum(_ranks(one, differ), _ranks(other, differ)) < _NEAREST
    one, other = one[kept], other[kept]
    pair = row[one] * len(hashes) + row[other]
    order = np.argsort(pair, kind="stable")
    pair, one, other = pair[order], one[order], other[order]
    edges = np.r_[0, np.flatnonzero(np.diff(pair)) + 1, len(pair)]
    for start, stop in itertools.pairwise(edges.tolist()):
        if stop - start >= max(1, least):
            a, b = divmod(int(pair[start]), len(hashes))
            yield Match(a, b, one[start:stop] - first[a], other[start:stop] - first[b])


def _ranks(feature: Array, differ: Array) -> Array:
    """Place of each pair among those of its feature, the nearest first."""
    order = np.lexsort((differ, feature))
    sorted_ = feature[order]
    first = np.searchsorted(sorted_, sorted_, side="left")
    out = np.empty(len(feature), np.int64)
    out[order] = np.arange(len(feature)) - first
    return out


def _of_table(every: Array, row: Array, groups: Array, distance: int, shift: int, bits: int) -> tuple[Array, Array, Array]:
    """Numbers of features, the smaller row's first, that agree in the key of one table and nearly in the rest, and in how many bits they differ."""
    key = (every >> np.uint64(shift)) & np.uint64((1 << bits) - 1)
    order = np.argsort(key, kind="stable")
    key, value, group = key[order], every[order], groups[row[order]]
    ones, others, bits_off = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    at = np.arange(len(order))
    for step in range(1, _RUN + 1):
        at = at[at + step < len(order)]
        at = at[key[at] == key[at + step]]
        if not len(at):
            break
        differ = _differences(value[at], value[at + step])
        close = (group[at] != group[at + step]) & (differ <= distance)
        near = at[close]
        a, b = order[near], order[near + step]
        bits_off.append(differ[close])
        ones.append(np.minimum(a, b))
        others.append(np.maximum(a, b))
    return np.concatenate(ones), np.concatenate(others), np.concatenate(bits_off)


def _differences(a: Array, b: Array) -> Array:
    """Number of bits in which hashes differ."""
    x: Array = a ^ b
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    with np.errstate(over="ignore"):
        out: Array = ((x * np.uint64(0x0101010101010101)) >> np.uint64(56)).astype(np.int64)
    return out
