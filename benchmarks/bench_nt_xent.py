"""Claim: NT-Xent, forward and backward, takes at most half of lightly's time and a tenth of its memory at B = 4,096, D = 128, fp32, two threads.
Beside it, the time of its three matrix products alone where their results go to memory, as they do outside of a kernel."""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable

import torch
from common import interleaved, lightly_losses, peak_above, ratio_of, summary, write

from sslmed import losses

BATCH, DIM, TEMPERATURE = 4096, 128, 0.1


def contestant(name: str, batch: int = BATCH) -> Callable[[], torch.Tensor]:
    torch.manual_seed(0)
    a, b = torch.randn(batch, DIM, requires_grad=True), torch.randn(batch, DIM, requires_grad=True)
    loss = (lambda x, y: losses.nt_xent(x, y, TEMPERATURE)) if name == "sslmed" else lightly_losses().NTXentLoss(TEMPERATURE)

    def run() -> torch.Tensor:
        value = loss(a, b)
        a.grad = b.grad = None
        value.backward()
        return torch.stack([value.detach(), a.grad.norm(), b.grad.norm()])

    return run


def peak_of(name: str) -> float:
    """MiB that one call takes above what the process held before, in a process of its own."""
    out = subprocess.run([sys.executable, __file__, "--peak", name], check=True, capture_output=True, text=True)
    return float(json.loads(out.stdout.splitlines()[-1]))


def print_peak(name: str) -> None:
    contestant(name, 64)()  # what is loaded and allocated once
    run = contestant(name)
    print(json.dumps(peak_above(run)))


def main() -> None:
    torch.set_num_threads(2)
    names = ("sslmed", "lightly")
    runs = {name: contestant(name) for name in names}
    assert torch.allclose(runs["sslmed"](), runs["lightly"](), rtol=1e-4)
    rows, columns = torch.randn(2 * BATCH, DIM), torch.randn(DIM, 2048)
    runs["product"] = lambda: rows @ columns
    times = interleaved(runs, rounds=7, seconds=0.5)
    peaks = {name: peak_of(name) for name in names}
    flops = 2 * (2 * BATCH) ** 2 * DIM
    product = [t * 2 * BATCH / 2048 for t in times.pop("product")]
    # Similarities, once more for the backward pass, and their product with the rows.
    bound = {"product": [3 * t for t in product]} | times
    body = {
        f"s, B={BATCH}, D={DIM}, fp32, forward and backward": {name: summary(t) for name, t in times.items()},
        "peak MiB": peaks,
        "GFLOP/s of products": summary([flops / t / 1e9 for t in product]),
        "ratios": {
            "time, against lightly": ratio_of(times, "lightly"),
            "memory, against lightly": peaks["lightly"] / peaks["sslmed"],
            "time, against three products of all similarities, which these write to memory": ratio_of(bound, "product"),
        },
    }
    write("nt_xent", body)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--peak")
    asked = parser.parse_args().peak
    torch.set_num_threads(2)
    print_peak(asked) if asked else main()
