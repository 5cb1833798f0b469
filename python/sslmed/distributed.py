"""Training on several processes: torch.distributed carries it, ``torchrun`` starts and restarts it.

    torchrun --nproc-per-node 4 -m sslmed pretrain public-eeg --out runs/eeg --resume

Every process takes its share of each batch, and all take the step of the whole batch. The first one writes history and
checkpoints; a checkpoint can be resumed with any number of processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from sslmed._core import C

__all__ = ["is_first", "ranks", "under_torchrun"]


@contextmanager
def under_torchrun(device: str = "cpu", timeout: float = 600.0) -> Iterator[str]:
    """Joins the process group that ``torchrun`` has set up, NCCL for "cuda" and Gloo otherwise, and leaves it at the end.

    Without torchrun nothing happens.

    Args:
        device: "cpu" or "cuda"; each process of a machine then takes a GPU of its own.
        timeout: s after which a rank that does not answer is given up: DistributedError.

    Yields:
        The device of this process.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        yield device
        return
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    limit = timedelta(seconds=timeout)
    place: dict[str, Any] = {}
    if os.environ.get("GROUP_WORLD_SIZE") == "1":
        # torchrun keeps one store through all restarts, and in it the addresses of the dead. With one agent its count of
        # restarts tells the attempts apart; with several they count differently (docs/distributed.md).
        store, rank, size = next(rendezvous("env://", timeout=limit))
        place = {"store": torch._C._distributed_c10d.PrefixStore(f"sslmed/{os.environ['TORCHELASTIC_RESTART_COUNT']}", store), "rank": rank, "world_size": size}
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=limit, **place)
    try:
        yield device
    finally:
        dist.destroy_process_group()


def ranks(group: Any = None) -> C.Ranks | None:
    """The processes of ``group`` (by default all of them) for a Trainer or a layer; None in a run of one process."""
    if not dist.is_available() or not dist.is_initialized():
        return None
    group = group or dist.group.WORLD
    return C.Ranks(group) if dist.get_world_size(group) > 1 else None


def is_first() -> bool:
    """Whether this process writes files and reports: the only one, or rank 0."""
    return not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0
