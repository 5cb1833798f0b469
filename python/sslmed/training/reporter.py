"""What watches the training loop: Ctrl-C, history, TensorBoard, progress bar."""

from __future__ import annotations

import csv
import math
import signal
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sslmed._core import FormatError
from sslmed.training.trainer import Trainer

__all__ = ["COLUMNS", "Interrupt", "Reporter"]

COLUMNS = ["step", "epoch", "loss", "lr", "grad_norm", "feature_std", "effective_rank", "seconds", "samples"]
"""Columns of every history."""


class Interrupt:
    """Notes SIGINT (Ctrl-C), SIGTERM and SIGHUP, so that a run ends after a checkpoint; a second Ctrl-C is an exception as usual.

    A SIGHUP that was ignored (``nohup``) stays ignored. A SIGTERM or SIGHUP that nobody handles ends the process at the
    exit, when everything has been saved.
    """

    def __enter__(self) -> Interrupt:
        self.wanted = False
        self._last: int | None = None
        self._usual: dict[int, Any] = {}
        # Python handles signals in the main thread only.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                    self._usual[number] = signal.signal(number, self._want)
        return self

    def _want(self, number: int, frame: Any) -> None:
        if self.wanted and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.wanted, self._last = True, number

    def __exit__(self, *_: object) -> None:
        for number, usual in self._usual.items():
            # None: set by somebody who is not Python, which signal() cannot put back.
            signal.signal(number, signal.SIG_DFL if usual is None else usual)
        if self._last not in (None, signal.SIGINT) and self._usual[self._last] == signal.SIG_DFL:
            signal.raise_signal(self._last)


class Reporter:
    """Receives the loop's reports and writes history.csv, TensorBoard's files and the progress bar."""

    def __init__(self, folder: Path, trainer: Trainer, progress: bool, tensorboard: bool, callback: Any, columns: Sequence[str] = COLUMNS) -> None:
        self._columns = list(columns)
        self._callback = callback
        self._history = folder / "history.csv"
        kept: list[list[str]] = []
        if trainer.step > 0 and self._history.exists():
            # Steps that were done after the checkpoint are done again.
            kept = self._rows_before(trainer.step)
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

    def _rows_before(self, step: int) -> list[list[str]]:
        """The history's rows up to a step. A last line that was cut in the middle is left out."""
        with self._history.open(newline="", encoding="utf-8", errors="replace") as file:
            rows = list(csv.reader(file))[1:]
        for number, row in enumerate(rows, start=2):
            if row and not row[0].isdigit() and number <= len(rows):
                raise FormatError(f"{self._history}: line {number}: expected the number of a step first, found {row[0]!r}")
        return [row for row in rows if len(row) == len(self._columns) and row[0].isdigit() and int(row[0]) < step]

    def _show(self, change: str, *arguments: Any, **values: Any) -> None:
        """Changes the bar. Where standard output is gone or full, there is no bar from then on."""
        if self._bar is None:
            return
        try:
            getattr(self._bar, change)(*arguments, **values)
        except (OSError, SystemExit) as error:  # rich leaves by SystemExit where a pipe is closed
            self._bar = None
            warnings.warn(f"standard output cannot be written ({error}): no progress bar from here on", UserWarning, stacklevel=2)

    def __enter__(self) -> Reporter:
        self._show("start")
        return self

    def __exit__(self, *_: object) -> None:
        self._show("stop")
        if self._board is not None:
            self._board.close()
        self._file.close()

    def __call__(self, rows: list[dict[str, float]]) -> bool:
        """Takes the steps since the last call; False where the callback asks to stop, by any false answer but None."""
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
            self._show("update", self._task, completed=last["step"] + 1, loss=last["loss"], rate=rate)
        answer = None if self._callback is None else self._callback(rows)
        return answer is None or bool(answer)
