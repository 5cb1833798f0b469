"""A sweep of 52 linear heads: ours, all heads of an input as one matrix, against one torch.nn.Linear a head as DINOv2 has them.

    python benchmarks/bench_sweep.py

400 rows, two classes, inputs as those of a ViT-Ti (192 to 960 wide), batches of 128, one thread. Writes results/bench_sweep.json.
"""

import numpy as np
import torch
from common import interleaved, ratio_of, summary, write

from sslmed.benchmarking import LEARNING_RATES, Sweep
from sslmed.benchmarking.sweep import _batches, _Heads

STEPS = 50


def ours(inputs: dict[str, torch.Tensor], y: np.ndarray, how: Sweep) -> None:
    batches = list(_batches(len(y), how, (0,)))
    for number, x in enumerate(inputs.values()):
        _Heads(x.shape[1], 2, how, (number,), torch.float32).fit(x, y, batches, x[:32], y[:32], np.arange(32))


def linears(inputs: dict[str, torch.Tensor], y: np.ndarray, how: Sweep) -> None:
    """A torch.nn.Linear, a loss and a parameter group for each head, one optimizer, one schedule."""
    target = torch.from_numpy(y)
    heads = {(name, lr): torch.nn.Linear(x.shape[1], 2) for name, x in inputs.items() for lr in how.learning_rates}
    optimizer = torch.optim.SGD([{"params": head.parameters(), "lr": lr / 2} for (_, lr), head in heads.items()], momentum=0.9, weight_decay=0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, how.steps, eta_min=0)
    for rows, _ in _batches(len(y), how, (0,)):
        index = torch.from_numpy(rows)
        parts = {name: x[index] for name, x in inputs.items()}
        loss = sum(torch.nn.functional.cross_entropy(head(parts[name]), target[index]) for (name, _), head in heads.items())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    widths = {"1 block, cls": 192, "1 block, cls+avg": 384, "4 blocks, cls": 768, "4 blocks, cls+avg": 960}
    inputs = {name: torch.from_numpy(rng.normal(size=(400, width))).float() for name, width in widths.items()}
    how = Sweep(steps=STEPS)
    assert len(LEARNING_RATES) * len(inputs) == 52
    times = interleaved({"sslmed": lambda: ours(inputs, y, how), "a module a head": lambda: linears(inputs, y, how)}, rounds=7, seconds=0.5)
    body = {name: {key: 1e3 * value / STEPS for key, value in summary(t).items()} for name, t in times.items()}
    write("bench_sweep", {"ms a step": body, "ratios": {"a module a head": ratio_of(times, "a module a head")}})


if __name__ == "__main__":
    main()
