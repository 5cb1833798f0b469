"""The C++ loop, and what watches it: Ctrl-C, history, TensorBoard, progress bar."""

from __future__ import annotations

import csv
import math
import os
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from sslmed._core import C
from sslmed.data import Loader
from sslmed.distributed import ranks
from sslmed.nn import Mirror, PythonObjective

__all__ = ["COLUMNS", "Interrupt", "Reporter", "Trainer"]

COLUMNS = ["step", "epoch", "loss", "lr", "grad_norm", "feature_std", "effective_rank", "seconds", "samples"]
"""Of every history."""


class Trainer:
    """The C++ training loop: ``Trainer(objective, loader, epochs=10, lr=1e-3).fit()``.

    Args:
        objective: What is learned, for example :class:`sslmed.nn.MaskedAutoencoder`, or a :class:`sslmed.nn.PythonObjective` of yours.
        loader: Where samples come from; the objective's own recipe cuts and masks them.
        epochs: Passes over the data.
        accumulate: Batches an optimiser step.
        lr: Peak learning rate, after a linear warm-up; half a cosine brings it to ``min_lr``.
        min_lr: Where it ends.
        start_lr: Where the warm-up comes from.
        warmup_steps: Optimiser steps of the warm-up.
        weight_decay: Of matrices; vectors have none.
        final_weight_decay: Reached by half a cosine; None: it stays the same.
        clip_norm: Global gradient norm to clip to; 0: not clipped.
        ema_decay: Keep an exponential average of the encoder; 0: none.
        bf16: Autocast to bfloat16.
        fp64: Train in double precision.
        device: "cpu", "cuda" or "cuda:1"; the objective is moved there.
        checkpoints: Folder for checkpoints; None: none are written.
        checkpoint_every: Steps; 0: at the end of each epoch.
        keep_last: Checkpoints to keep, besides ``best.safetensors``.
        config: Kept in the checkpoints; a resumed run must have the same.
        monitor_every: Steps between looks at the features' spread and rank (``feature_std``, ``effective_rank``); 0: none.
        collapse_std: The run stops where ``feature_std`` is below this at five looks in a row; 0: never.
        intra_op_threads: torch's threads for this run; 0: as set. Stored in checkpoints and used again on resuming.
        group: A torch.distributed process group: each of its ranks takes its share of every batch (``batch_size`` is that of
            the whole), and all take the same step. None: all ranks, where torch.distributed is initialised; otherwise this process alone.
    """

    def __init__(
        self,
        objective: Mirror | PythonObjective,
        loader: Loader,
        *,
        epochs: int = 1,
        accumulate: int = 1,
        lr: float = 1e-3,
        min_lr: float = 0.0,
        start_lr: float = 0.0,
        warmup_steps: int = 0,
        weight_decay: float = 0.05,
        final_weight_decay: float | None = None,
        clip_norm: float = 0.0,
        ema_decay: float = 0.0,
        bf16: bool = False,
        fp64: bool = False,
        device: str = "cpu",
        checkpoints: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 0,
        keep_last: int = 3,
        config: str = "",
        monitor_every: int = 10,
        collapse_std: float = 1e-3,
        intra_op_threads: int = 0,
        group: Any = None,
    ) -> None:
        options = C.TrainOptions()
        options.epochs, options.accumulate, options.lr, options.min_lr = epochs, accumulate, lr, min_lr
        options.warmup_steps, options.weight_decay, options.clip_norm = warmup_steps, weight_decay, clip_norm
        options.start_lr, options.monitor_every, options.collapse_std = start_lr, monitor_every, collapse_std
        options.final_weight_decay = -1.0 if final_weight_decay is None else final_weight_decay
        options.ema_decay, options.bf16, options.fp64, options.intra_op_threads = ema_decay, bf16, fp64, intra_op_threads
        options.device = device
        options.checkpoint_folder = "" if checkpoints is None else os.fspath(checkpoints)
        options.checkpoint_every, options.keep_last, options.config = checkpoint_every, keep_last, config
        self.objective, self.loader = objective, loader
        self._core = C.Trainer(objective._handle, loader.source, loader.sampler, loader.threads, 2, loader.on_error, options, ranks(group))

    def fit(self, callback: Callable[[list[dict[str, float]]], bool | None] | None = None) -> bool:
        """Trains without the interpreter lock.

        Args:
            callback: Called at most twice a second with the steps since the last call (step, epoch, loss, lr, grad_norm,
                feature_std, effective_rank, seconds, samples). False asks to save and stop.

        Returns:
            True when all steps were done; False when the callback, or Ctrl-C, stopped the run after a checkpoint.

        Raises:
            NonFiniteError: A loss or gradient was not finite; names the step and the samples.
            CollapseError: The encoder gives every sample nearly the same features.
            DistributedError: Another rank is gone, or did not answer within the process group's time-out.
        """
        try:
            return bool(self._core.fit(callback))
        except KeyboardInterrupt:
            return False

    def resume(self, path: str | os.PathLike[str]) -> None:
        """Continues from a checkpoint of the same configuration, with the same bits as if it had never stopped (CPU)."""
        self._core.resume(os.fspath(path))

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        return self._core.step

    @property
    def gil_seconds(self) -> float:
        """How long ``fit`` held the interpreter lock while it trained: the callback, and looking for Ctrl-C."""
        return float(self._core.gil_seconds)

    @property
    def total_steps(self) -> int:
        """Of the whole run."""
        return self._core.total_steps

    @property
    def failures(self) -> list[tuple[int, str]]:
        """(window, message) of what could not be read (``on_error="skip"``)."""
        return list(self._core.failures)

    def keep_encoder(self, encoder: Any) -> None:
        """Gives an encoder of the same architecture the weights of :meth:`encoder_weights`."""
        weights = self._core.encoder_weights()
        with torch.no_grad():
            for name, tensor in (*encoder.named_parameters(), *encoder.named_buffers()):
                tensor.copy_(weights[name])

    def encoder_weights(self) -> dict[str, Any]:
        """The encoder's weights by name; averaged ones with ``ema_decay``."""
        return dict(self._core.encoder_weights())


class Interrupt:
    """Ctrl-C as a wish, so that it does not cut a line of the history in two; the second one is an exception as usual."""

    def __enter__(self) -> Interrupt:
        self.wanted = False
        self._usual: Any = None
        # Elsewhere than in the main thread Python lets nobody handle signals.
        if threading.current_thread() is threading.main_thread():
            self._usual = signal.signal(signal.SIGINT, self._want)
        return self

    def _want(self, number: int, frame: Any) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True

    def __exit__(self, *_: object) -> None:
        if self._usual is not None:
            signal.signal(signal.SIGINT, self._usual)


class Reporter:
    """Receives the loop's reports: history.csv, TensorBoard, progress bar."""

    def __init__(self, folder: Path, trainer: Trainer, progress: bool, tensorboard: bool, callback: Any, columns: Sequence[str] = COLUMNS) -> None:
        self._columns = list(columns)
        self._callback = callback
        self._history = folder / "history.csv"
        kept: list[list[str]] = []
        if trainer.step > 0 and self._history.exists():
            # Steps that were done after the checkpoint are done again.
            with self._history.open(newline="") as file:
                kept = [row for row in list(csv.reader(file))[1:] if len(row) == len(self._columns) and int(row[0]) < trainer.step]
        with self._history.open("w", newline="") as file:
            csv.writer(file).writerows([self._columns, *kept])
        self._file = self._history.open("a", newline="")
        self._writer = csv.writer(self._file)
        self._board: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=trainer.step)
        self._bar: Any = None
        self._reported = 0.0
        if progress:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("pretrain"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("loss {task.fields[loss]:.4f}  {task.fields[rate]:.0f} windows/s"),
                TimeRemainingColumn(),
                refresh_per_second=2,
            )
            self._task = self._bar.add_task("", total=trainer.total_steps, completed=trainer.step, loss=math.nan, rate=0.0)

    def __enter__(self) -> Reporter:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._board is not None:
            self._board.close()
        self._file.close()

    def __call__(self, rows: list[dict[str, float]]) -> bool:
        """Takes the steps since the last call; False where the callback asks to stop."""
        # repr, so that a loss reads back as the same bits.
        self._writer.writerows([[repr(row[c]) for c in self._columns] for row in rows])
        self._file.flush()
        if self._board is not None:
            for row in rows:
                for key, value in row.items():
                    if key not in ("step", "epoch", "seconds", "samples") and not math.isnan(value):
                        self._board.add_scalar(key, value, int(row["step"]))
        if self._bar is not None and rows:
            last = rows[-1]
            span = last["seconds"] - self._reported
            rate = sum(row["samples"] for row in rows) / span if span > 0 else 0.0
            self._reported = last["seconds"]
            self._bar.update(self._task, completed=last["step"] + 1, loss=last["loss"], rate=rate)
        return self._callback is None or self._callback(rows) is not False
