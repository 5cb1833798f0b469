"""Codecs of updates against the plain PyTorch way of the same, and against copying the bytes; paired, one thread.

The peers are written down as people write them: whole-tensor operations of torch with its own generator, packed with
shifts. They do the same arithmetic with other random numbers, and their results are compared by error and size first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from common import interleaved, ratio_of, summary, write

from sslmed.federated import Compressed, compress, decompress

N = 2**22
BLOCK = 4096
Job = Callable[[], Any]


def pack4(codes: torch.Tensor) -> torch.Tensor:
    pairs = codes.view(-1, 2)
    return pairs[:, 0] | (pairs[:, 1] << 4)


def unpack4(packed: torch.Tensor) -> torch.Tensor:
    return torch.stack([packed & 15, packed >> 4], dim=1).view(-1)


def qsgd(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    rows = x.view(-1, 512)
    step = rows.norm(dim=1, keepdim=True) / 7
    levels = rows.abs() / step
    low = levels.floor()
    low += torch.rand_like(levels) < levels - low
    return step, pack4((low * rows.sign() + 7).to(torch.uint8).view(-1))


def from_qsgd(step: torch.Tensor, packed: torch.Tensor) -> torch.Tensor:
    return ((unpack4(packed).float() - 7).view(-1, 512) * step).view(-1)


def transform(x: torch.Tensor) -> torch.Tensor:
    """The usual loop over halves, for rows."""
    rows, n = x.shape
    h = 1
    while h < n:
        x = x.view(rows, n // (2 * h), 2, h)
        x = torch.stack([x[:, :, 0] + x[:, :, 1], x[:, :, 0] - x[:, :, 1]], dim=2)
        h *= 2
    return x.view(rows, n) / math.sqrt(n)


def signs(seed: int, rows: int) -> torch.Tensor:
    return torch.randint(0, 2, (rows, BLOCK), generator=torch.Generator().manual_seed(seed)).mul_(2).sub_(1).float()


def hadamard(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rows = x.view(-1, BLOCK)
    rotated = transform(rows * signs(0, len(rows)))
    low, high = rotated.amin(1, keepdim=True), rotated.amax(1, keepdim=True)
    step = (high - low) / 15
    levels = (rotated - low) / step
    return low, step, pack4((levels + torch.rand_like(levels)).floor().clamp_(max=15).to(torch.uint8).view(-1))


def from_hadamard(low: torch.Tensor, step: torch.Tensor, packed: torch.Tensor) -> torch.Tensor:
    rotated = unpack4(packed).float().view(-1, BLOCK) * step + low
    return (transform(rotated) * signs(0, len(rotated))).view(-1)


def drive(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    rotated = transform(x.view(-1, BLOCK) * signs(0, x.numel() // BLOCK))
    scale = rotated.square().sum(1, keepdim=True) / rotated.abs().sum(1, keepdim=True)
    bits = (rotated >= 0).view(-1, 8).to(torch.uint8)
    return scale, (bits << torch.arange(8, dtype=torch.uint8)).sum(1, dtype=torch.uint8)


def from_drive(scale: torch.Tensor, packed: torch.Tensor) -> torch.Tensor:
    bits = (packed[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
    rotated = (bits.float() * 2 - 1).view(-1, BLOCK) * scale
    return (transform(rotated) * signs(0, len(rotated))).view(-1)


def top_k(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    places = x.abs().topk(math.ceil(0.01 * x.numel()), sorted=False).indices
    return x[places], places.int()


def from_top_k(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    out = torch.zeros(N)
    out[places.long()] = values
    return out


def random_mask(x: torch.Tensor) -> tuple[torch.Tensor]:
    return (x[torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.1],)


def from_random_mask(values: torch.Tensor) -> torch.Tensor:
    out = torch.zeros(N)
    out[torch.rand(N, generator=torch.Generator().manual_seed(0)) < 0.1] = values / 0.1
    return out


def low_rank(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    m = x.view(2048, -1)
    left, _ = torch.linalg.qr(m @ torch.randn(m.shape[1], 4))
    return left, m.T @ left


def from_low_rank(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return (left @ right.T).view(-1)


PEERS: dict[str, tuple[Callable[..., Any], Callable[..., torch.Tensor]]] = {
    "qsgd": (qsgd, from_qsgd),
    "hadamard": (hadamard, from_hadamard),
    "drive": (drive, from_drive),
    "topk": (top_k, from_top_k),
    "randmask": (random_mask, from_random_mask),
    "lowrank": (low_rank, from_low_rank),
}


def error(found: torch.Tensor, true: torch.Tensor) -> float:
    return float((found.view(-1) - true).double().square().sum() / true.double().square().sum())


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(12345)  # another seed than the masks of the peers, which would else choose small values
    x = torch.randn(N)
    into = torch.empty_like(x)
    body: dict[str, Any] = {"values": N, "ratios": {}, "memcpy ratios": {}}
    for method, (encode, decode) in PEERS.items():
        ours = x.view(2048, -1) if method == "lowrank" else x
        made, theirs = compress(ours, method, seed=1), encode(x)
        sizes = {"sslmed": made.nbytes, "torch": sum(t.numel() * t.element_size() for t in theirs)}
        errors = {"sslmed": error(decompress(made), x), "torch": error(decode(*theirs), x)}
        assert abs(errors["sslmed"] - errors["torch"]) < 0.05 * errors["torch"], (method, errors)
        body[f"{method}: bytes, squared error over squared norm"] = {"bytes": sizes, "error": errors}
        jobs: dict[str, dict[str, Job]] = {
            "compress": {"sslmed": lambda m=method, v=ours: compress(v, m, seed=1), "torch": lambda e=encode: e(x)},
            "decompress": {"sslmed": lambda c=made: decompress(c), "torch": lambda d=decode, t=theirs: d(*t)},
        }
        for name, contestants in jobs.items():
            times = interleaved({**contestants, "memcpy": lambda: into.copy_(x)}, rounds=7, seconds=0.1)
            body[f"{name} {method}, s"] = {each: summary(values) for each, values in times.items()}
            body["ratios"][f"{name} {method}, against torch"] = ratio_of(times, "torch")
            body["memcpy ratios"][f"{name} {method}"] = ratio_of(times, "sslmed", ours="memcpy")
    made = compress(x, "qsgd", seed=1)
    sent = made.to_bytes()
    times = interleaved({"to_bytes": made.to_bytes, "from_bytes": lambda: Compressed.from_bytes(sent)}, rounds=7, seconds=0.1)
    body["bytes of qsgd, s"] = {each: summary(values) for each, values in times.items()}
    write("compress", body)


if __name__ == "__main__":
    main()
