"""Paired timing: the contestants take turns in one process, so that a noisy machine disturbs all of them alike."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def paired(contestants: dict[str, Callable[[], Any]], *, rounds: int = 15, seconds: float = 0.2) -> dict[str, dict[str, float]]:
    """Seconds a call: median, min and max over rounds; every round times each contestant once, in turning order."""
    return {name: summary(t) for name, t in interleaved(contestants, rounds=rounds, seconds=seconds).items()}


def summary(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratio_of(times: dict[str, list[float]], peer: str, ours: str = "sslmed") -> dict[str, float]:
    """How many times as fast ours is: the ratio of medians, and the least and the largest ratio within one round."""
    rounds = [theirs / own for theirs, own in zip(times[peer], times[ours], strict=True)]
    return {"median": statistics.median(times[peer]) / statistics.median(times[ours]), "min": min(rounds), "max": max(rounds)}


def interleaved(contestants: dict[str, Callable[[], Any]], *, rounds: int = 15, seconds: float = 0.2) -> dict[str, list[float]]:
    """Seconds a call in every round, which times each contestant once, in turning order."""
    repeats = {}
    for name, call in contestants.items():
        call()
        start, n = time.perf_counter(), 0
        while time.perf_counter() - start < seconds / 2:
            call()
            n += 1
        repeats[name] = max(1, round(seconds * n / (time.perf_counter() - start)))
    times: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for r in range(rounds):
        for name in names[r % len(names) :] + names[: r % len(names)]:
            start = time.perf_counter()
            for _ in range(repeats[name]):
                contestants[name]()
            times[name].append((time.perf_counter() - start) / repeats[name])
    return times


def in_turns(rivals: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call, one a round and no trial before: for calls that take many seconds."""
    times: dict[str, list[float]] = {name: [] for name in rivals}
    names = list(rivals)
    for r in range(rounds):
        for name in names[r % len(names) :] + names[: r % len(names)]:
            start = time.perf_counter()
            rivals[name]()
            times[name].append(time.perf_counter() - start)
    return times


def resident(name: str = "VmRSS") -> float:
    """MiB that the process has now (VmRSS), or had at most since its peak was set back (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def peak_above(call: Callable[[], Any]) -> float:
    """MiB that a call takes above what the process held before. ru_maxrss does not tell: a child has its parent's."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = resident()
    call()
    return resident("VmHWM") - before


def machine() -> dict[str, Any]:
    import torch

    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "unknown")
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    threads = {"threads": torch.get_num_threads(), "waiting threads": os.environ.get("OMP_WAIT_POLICY", "spin")}
    return {"cpu": model, "cores": os.cpu_count()} | versions | threads


def write(name: str, body: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({"machine": machine()} | body, indent=2) + "\n")
    for key, value in body.items():
        if not isinstance(value, dict):
            print(f"{name}: {key} = {value}")
        elif key == "ratios":
            for row, ratio in value.items():
                if isinstance(ratio, dict):
                    print(f"{name}: {row}: {ratio['median']:.2f}x ({ratio['min']:.2f} to {ratio['max']:.2f})")
                else:
                    print(f"{name}: {row}: {ratio:.2f}x")


def written(name: str) -> dict[str, Any]:
    """The rows that an earlier run wrote, for a run that measures some of them anew; of a first run, no ratios."""
    path = RESULTS / f"{name}.json"
    body: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"ratios": {}}
    body.pop("machine", None)
    return body


def known(name: str) -> dict[str, Any]:
    """What an earlier call wrote, to add to; empty if there is nothing."""
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    found.pop("machine", None)
    return found


def data_root() -> Path | None:
    root = os.environ.get("SSLMED_DATA")
    return Path(root) if root and Path(root).is_dir() else None


def lightly_losses() -> Any:
    """lightly.loss, beside a torch for which torchvision was not built too."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests/python"))
    import conftest  # noqa: F401  makes torchvision importable
    from lightly import loss

    return loss
