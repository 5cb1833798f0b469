"""What watches the training loop: Ctrl-C, history, TensorBoard, progress bar."""

from __future__ import annotations

import csv
import math
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sslmed.training.trainer import Trainer

__all__ = ["COLUMNS", "Interrupt", "Reporter"]

COLUMNS = ["step", "epoch", "loss", "lr", "grad_norm", "feature_std", "effective_rank", "seconds", "samples"]
"""Columns of every history."""


class Interrupt:
    """Notes the first Ctrl-C, so that it does not cut a line of the history in two; the second one is an exception as usual."""

    def __enter__(self) -> Interrupt:
        self.wanted = False
        self._usual: Any = None
        # Python handles signals in the main thread only.
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
    """Receives the loop's reports and writes history.csv, TensorBoard's files and the progress bar."""

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
                TextColumn("loss {task.fields[loss]:.4f}  {task.fields[rate]:.0f} samples/s"),
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
