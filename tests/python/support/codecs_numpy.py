"""The codecs of sslmed.federated in plain NumPy: the same random words, the definitions of the papers."""

from __future__ import annotations

from typing import Any

import numpy as np

Values = np.ndarray[Any, Any]
U64 = np.uint64


def philox(blocks: Values, group: int, key: tuple[int, int]) -> Values:
    """Philox4x32-10 (Salmon et al., SC 2011): four words a block, [4 n], uint32."""
    mask = U64(0xFFFFFFFF)
    blocks = blocks.astype(U64)
    c = [blocks & mask, blocks >> U64(32), np.full_like(blocks, group & 0xFFFFFFFF), np.full_like(blocks, group >> 32)]
    k0, k1 = key
    for _ in range(10):
        p0, p1 = U64(0xD2511F53) * c[0], U64(0xCD9E8D57) * c[2]
        c = [(p1 >> U64(32)) ^ c[1] ^ U64(k0), p1 & mask, (p0 >> U64(32)) ^ c[3] ^ U64(k1), p0 & mask]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack(c, axis=1).reshape(-1).astype(np.uint32)


SIGNS, ROUNDING, MASK, START = range(4)


def words(seed: int, purpose: int, group: int, n: int) -> Values:
    key = philox(np.array([seed]), (1 << 32) | purpose, (0, 0))
    return philox(np.arange(-(-n // 4)), group, (int(key[0]), int(key[1])))[:n]


def uniform(drawn: Values) -> Values:
    return (drawn >> 8).astype(np.float32) * np.float32(2.0**-24)


def up(value: float) -> np.float32:
    """The least float32 that is not below."""
    near = np.float32(value)
    return np.nextafter(near, np.float32(np.inf)) if float(near) < value else near


def packed(codes: Values, bits: int) -> bytes:
    return np.packbits((codes[:, None] >> np.arange(bits) & 1).astype(np.uint8).reshape(-1), bitorder="little").tobytes()


def transform(x: Values) -> Values:
    """The Walsh-Hadamard transform in float64, without a scale."""
    x = x.astype(np.float64)
    h = 1
    while h < x.size:
        pairs = x.reshape(-1, 2, h)
        x = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).reshape(-1)
        h *= 2
    return x


def qsgd(x: Values, bits: int, seed: int, bucket: int) -> tuple[bytes, Values]:
    """Payload and what it stands for."""
    s = 2 ** (bits - 1) - 1
    draws = np.concatenate([words(seed, ROUNDING, c, min(4096, x.size - 4096 * c)) for c in range(-(-x.size // 4096))])
    steps, codes, out = [], [], []
    for at in range(0, x.size, bucket):
        part = x[at : at + bucket]
        step = up(np.sqrt((part.astype(np.float64) ** 2).sum()) / s)
        exact = np.abs(part) * (np.float32(1) / step)
        low = np.floor(exact)
        level = np.minimum(low + (uniform(draws[at : at + bucket]) < exact - low), s).astype(np.int64) * np.where(part < 0, -1, 1)
        steps.append(step)
        codes.append(level + s)
        out.append(level.astype(np.float32) * step)
    return np.array(steps, np.float32).tobytes() + packed(np.concatenate(codes), bits), np.concatenate(out)


def signs(seed: int, block: int, n: int) -> Values:
    drawn = words(seed, SIGNS, block, -(-n // 32))
    return 1.0 - 2.0 * (drawn[:, None] >> np.arange(32, dtype=np.uint32) & 1).reshape(-1)[:n]


def rotated(x: Values, seed: int, block: int) -> list[Values]:
    """Blocks, rotated, in float64."""
    blocks = []
    for number, at in enumerate(range(0, x.size, block)):
        part = x[at : at + block].astype(np.float64)
        d = max(8, 1 << (part.size - 1).bit_length())
        turned = np.zeros(d)
        turned[: part.size] = part * signs(seed, number, part.size)
        blocks.append(transform(turned) / np.sqrt(d))
    return blocks


def turned_back(blocks: list[Values], seed: int, block: int, n: int) -> Values:
    out = []
    for number, values in enumerate(blocks):
        count = min(block, n - number * block)
        out.append((transform(values) / np.sqrt(values.size))[:count] * signs(seed, number, count))
    return np.concatenate(out)


def random_mask(n: int, seed: int, threshold: int) -> Values:
    drawn = np.concatenate([words(seed, MASK, c, min(4096, n - 4096 * c)) for c in range(-(-n // 4096))])
    return drawn.astype(np.int64) < threshold


def low_rank(matrix: Values, rank: int, seed: int, iterations: int) -> Values:
    """The projection that power iterations find, in float64."""
    m = matrix.astype(np.float64)
    right = np.stack([words(seed, START, r, m.shape[1]).view(np.int32) * 2.0**-31 for r in range(rank)], axis=1)
    for _ in range(iterations):
        left, _ = np.linalg.qr(m @ right)
        right = m.T @ left
    return left @ right.T
