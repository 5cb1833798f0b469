"""Training of one network by the C++ loop, to be continued where it was interrupted."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from sslmed.training import Interrupt, Loader, Trainer
from sslmed.training.samples_of import digest, rows_of

__all__ = ["Callback", "Schedule", "fitted"]

Callback = Callable[[list[dict[str, float]]], bool | None]


class Schedule(Protocol):
    """Options of a training; the dataclasses of options of each task follow it."""

    @property
    def epochs(self) -> int:
        """Number of epochs."""
        ...

    @property
    def lr(self) -> float:
        """Peak learning rate."""
        ...

    @property
    def warmup(self) -> float:
        """Share of all steps over which the learning rate rises."""
        ...

    @property
    def weight_decay(self) -> float:
        """Weight decay of AdamW."""
        ...

    @property
    def clip_norm(self) -> float:
        """Largest norm of the gradient; 0 does not clip."""
        ...

    @property
    def bf16(self) -> bool:
        """Train in bfloat16."""
        ...

    @property
    def device(self) -> str:
        """Device of the training."""
        ...


def fitted(
    task: Any,
    loader: Loader,
    options: Schedule,
    *,
    checkpoints: Path | None = None,
    about: dict[str, Any] | None = None,
    labels: Sequence[str] = (),
    callback: Callback | None = None,
) -> None:
    """Trains a task on a loader's batches and leaves it in evaluation mode.

    Args:
        task: Task with parameters that the trainer knows.
        loader: Training samples in a random order.
        options: Epochs, learning rate and the like.
        checkpoints: Folder of checkpoints; a training that was interrupted goes on from the last one. None: none are
            kept.
        about: What the checkpoints say of the run; one of another run is refused.
        labels: Columns of the cohort with the labels' files: a training goes on with the same labels only.
        callback: Called with the records of new steps; the training stops where it returns False.

    Raises:
        KeyboardInterrupt: The run was interrupted, after its state was saved.
    """
    about = dict(about or {})
    if checkpoints is not None:
        about["rows"] = digest(rows_of(loader, "shuffle", labels))
    steps = options.epochs * loader.sampler.batches_per_epoch
    trainer = Trainer(
        task, loader, epochs=options.epochs, lr=options.lr, warmup_steps=math.ceil(options.warmup * steps),
        weight_decay=options.weight_decay, clip_norm=options.clip_norm, bf16=options.bf16, device=options.device,
        checkpoints=checkpoints, config=json.dumps(about, default=str),
    )  # fmt: skip
    if checkpoints is not None and (found := sorted(checkpoints.glob("step-*.safetensors"))):
        trainer.resume(found[-1])
    with Interrupt() as interrupt:
        trainer.fit(lambda rows: not interrupt.wanted and (callback is None or callback(rows) is not False))
    if interrupt.wanted:
        raise KeyboardInterrupt
    task.eval()
