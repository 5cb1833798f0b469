"""Pretraining: the C++ loop with a folder of results around it."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import threading
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sslmed._core import C, FormatError, FormatWarning
from sslmed.cohort import Cohort
from sslmed.data import EegPreprocessing, Loader, describe
from sslmed.distributed import is_first, ranks
from sslmed.methods import Method, resolve
from sslmed.nn import Encoder, Mirror, save_encoder

__all__ = ["Run", "Trainer", "pretrain"]

_COLUMNS = ["step", "epoch", "loss", "lr", "grad_norm", "feature_std", "effective_rank", "seconds", "samples"]


class Trainer:
    """The C++ training loop: ``Trainer(objective, loader, epochs=10, lr=1e-3).fit()``.

    Args:
        objective: What is learned, for example :class:`sslmed.nn.MaskedAutoencoder`.
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
        objective: Mirror,
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

    def encoder_weights(self) -> dict[str, Any]:
        """The encoder's weights by name; averaged ones with ``ema_decay``."""
        return dict(self._core.encoder_weights())


@dataclass
class Run:
    """What a pretraining run left."""

    out: Path
    encoder: Encoder
    history: pd.DataFrame
    """One row a step: step, epoch, loss, lr, grad_norm, seconds, samples, and every ten steps how far features vary over the samples
    of the batch relative to their size (feature_std), and in how many directions (effective_rank, at most the batch size)."""
    interrupted: bool = False
    """Stopped by Ctrl-C after a checkpoint; call again with ``resume=True``."""
    failures: tuple[tuple[int, str], ...] = ()

    def plot(self, ax: Any = None) -> Any:
        """The loss over steps; returns the matplotlib axes."""
        from sslmed.plots import plot_history

        return plot_history(self.history, ax)


def pretrain(
    cohort: Cohort,
    method: str | Method = "mae",
    encoder: str | Encoder = "vit_small",
    out: str | os.PathLike[str] = "runs/pretrain",
    *,
    epochs: int = 10,
    batch_size: int = 64,
    lr: float = 1e-3,
    warmup: float = 0.1,
    weight_decay: float | None = None,
    final_weight_decay: float | None = None,
    clip_norm: float = 1.0,
    ema_decay: float = 0.0,
    accumulate: int = 1,
    bf16: bool = False,
    device: str = "cpu",
    preprocessing: EegPreprocessing | None = None,
    order: str = "shuffle",
    depth: int | None = None,
    seed: int = 0,
    threads: int = 2,
    on_error: str = "raise",
    checkpoint_every: int = 0,
    keep_last: int = 3,
    resume: bool = False,
    progress: bool = True,
    tensorboard: bool = True,
    callback: Callable[[list[dict[str, float]]], bool | None] | None = None,
    **options: Any,
) -> Run:
    """Pretrains an encoder on a cohort's signals, without labels.

    Writes to ``out``: ``history.csv``, ``checkpoints/``, ``tensorboard/`` and, at the end, ``encoder.safetensors``.
    Ctrl-C saves and returns a run that says ``interrupted``. Where torch.distributed is initialised (:mod:`sslmed.distributed`),
    all ranks train together, and the first one writes.

    Args:
        cohort: The recordings.
        method: "mae" or "ijepa", or an object of :mod:`sslmed.methods` with its options.
        encoder: A size ("vit_tiny", "vit_small", "vit_base", "vit_large"), or an encoder to go on with.
        out: Folder for the results.
        epochs: Passes over all windows.
        batch_size: Windows in a batch, of all ranks together.
        lr: Peak learning rate.
        warmup: Part of all steps in which it rises.
        weight_decay: Of matrices; by default the method's.
        final_weight_decay: Reached by half a cosine at the end.
        clip_norm: Gradients are clipped to this global norm; 0: not.
        ema_decay: Average the encoder's weights; the average is what is saved.
        accumulate: Batches a step.
        bf16: Autocast.
        device: "cpu", "cuda" or "cuda:1".
        preprocessing: Window, rate, filters, scale.
        order: "shuffle", or "subject" for every subject equally often.
        depth: Encoder blocks, instead of the size's.
        seed: Of weights, order, windows and masks.
        threads: Loader threads; the result does not depend on them.
        on_error: "raise", or "skip" unreadable windows.
        checkpoint_every: Steps; 0: each epoch.
        keep_last: Checkpoints to keep.
        resume: Go on from the newest sound checkpoint in ``out``.
        progress: Show a progress bar.
        tensorboard: Write scalars.
        callback: Also called with each report's rows; False stops the run.
        **options: Of the method, where it is given by name: the fields of :class:`sslmed.methods.Mae` or :class:`sslmed.methods.IJepa`.

    Raises:
        TypeError: An option that the method does not have.
        ValueError: An argument is out of range, or ``out`` already holds a run and ``resume`` is False.
        FormatError, ReadError: A recording cannot be read.
        NonFiniteError: The loss or a gradient was not finite.
        CollapseError: The encoder gives every sample nearly the same features.
        DistributedError: Another rank is lost.
    """
    chosen, options = resolve(method, options)
    folder = Path(out)
    checkpoints = folder / "checkpoints"
    # Of several ranks only the first looks at the folder: the others get its state, and need not share its disk.
    found = sorted(checkpoints.glob("step-*.safetensors")) if is_first() else []
    if found and not resume:
        raise ValueError(f"{folder}: already holds a run; pass resume=True (--resume) to go on, or choose another folder")
    if resume and is_first() and not found and checkpoints.exists() and any(checkpoints.iterdir()):
        raise FormatError(f"{checkpoints}: expected step-*.safetensors to resume from, found none")
    if isinstance(encoder, str):
        preprocessing = preprocessing or EegPreprocessing()
        extra = cohort.unknown_channels()
        if extra:
            warnings.warn(
                f"{cohort.name}: {len(extra)} channel names have no known position and get learned ones: {', '.join(extra[:8])}",
                FormatWarning,
                stacklevel=2,
            )
        model = Encoder(encoder, preprocessing, extra_channels=extra, seed=seed, depth=depth, class_token=chosen.class_token)
    else:
        model = encoder
        if preprocessing is not None and preprocessing != model.preprocessing:
            raise ValueError("the encoder has its own preprocessing; leave preprocessing out")
        preprocessing = model.preprocessing
    objective = chosen.objective(model, seed)
    if weight_decay is None:
        weight_decay, final_weight_decay = chosen.weight_decay[0], final_weight_decay or chosen.weight_decay[1]
    loader = Loader(
        cohort,
        preprocessing,
        batch_size=batch_size,
        order=order,
        threads=threads,
        on_error=on_error,
        seed=seed,
        jitter=True,
        extra_channels=model.extra_channels,
        drop_last=True,
    )
    config = {
        "method": chosen.name, "options": options, "encoder": model.config, "extra_channels": list(model.extra_channels),
        "epochs": epochs, "batch_size": batch_size, "lr": lr, "warmup": warmup, "weight_decay": weight_decay,
        "final_weight_decay": final_weight_decay, "clip_norm": clip_norm, "ema_decay": ema_decay, "accumulate": accumulate,
        "bf16": bf16, "order": order, "seed": seed, "preprocessing": asdict(preprocessing), "data": describe(loader.source),
    }  # fmt: skip
    steps = epochs * (loader.sampler.batches_per_epoch // accumulate)
    trainer = Trainer(
        objective,
        loader,
        epochs=epochs,
        accumulate=accumulate,
        lr=lr,
        warmup_steps=math.ceil(warmup * steps),
        weight_decay=weight_decay,
        final_weight_decay=final_weight_decay,
        clip_norm=clip_norm,
        ema_decay=ema_decay,
        bf16=bf16,
        device=device,
        checkpoints=checkpoints,
        checkpoint_every=checkpoint_every,
        keep_last=keep_last,
        config=json.dumps(config, sort_keys=True),
    )
    if resume and found:
        _resume_newest(trainer, found)
    if is_first():
        folder.mkdir(parents=True, exist_ok=True)
        with _Reporter(folder, trainer, progress, tensorboard, callback) as reporter, _Interrupt() as interrupt:
            finished = trainer.fit(lambda new: reporter(new) and not interrupt.wanted)
        history = pd.read_csv(folder / "history.csv")
    else:
        rows: list[dict[str, float]] = []

        def collect(new: list[dict[str, float]]) -> bool:
            rows.extend(new)
            return (callback is None or callback(new) is not False) and not interrupt.wanted

        with _Interrupt() as interrupt:
            finished = trainer.fit(collect)
        history = pd.DataFrame(rows, columns=_COLUMNS)
    weights = trainer.encoder_weights()
    model.load_state_dict(weights)
    if finished and is_first():
        save_encoder(weights, model, folder / "encoder.safetensors")
    return Run(folder, model, history, not finished, tuple(trainer.failures))


def _resume_newest(trainer: Trainer, found: list[Path]) -> None:
    """The newest checkpoint that is sound; a damaged one is passed over with a warning."""
    for path in reversed(found):
        try:
            trainer.resume(path)
            return
        except FormatError as error:
            warnings.warn(f"checkpoint passed over: {error}", FormatWarning, stacklevel=3)
    raise FormatError(f"{found[0].parent}: expected a sound checkpoint, found {len(found)} damaged ones")


class _Interrupt:
    """Ctrl-C as a wish, so that it does not cut a line of the history in two; the second one is an exception as usual."""

    def __enter__(self) -> _Interrupt:
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


class _Reporter:
    """Receives the loop's reports: history.csv, TensorBoard, progress bar."""

    def __init__(self, folder: Path, trainer: Trainer, progress: bool, tensorboard: bool, callback: Any) -> None:
        self._callback = callback
        self._history = folder / "history.csv"
        kept: list[list[str]] = []
        if trainer.step > 0 and self._history.exists():
            # Steps that were done after the checkpoint are done again.
            with self._history.open(newline="") as file:
                kept = [row for row in list(csv.reader(file))[1:] if len(row) == len(_COLUMNS) and int(row[0]) < trainer.step]
        with self._history.open("w", newline="") as file:
            csv.writer(file).writerows([_COLUMNS, *kept])
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

    def __enter__(self) -> _Reporter:
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
        # repr, so that a loss reads back as the same bits.
        self._writer.writerows([[repr(row[c]) for c in _COLUMNS] for row in rows])
        self._file.flush()
        if self._board is not None:
            for row in rows:
                for key, value in row.items():
                    if key not in ("step", "epoch", "seconds", "samples"):
                        self._board.add_scalar(key, value, int(row["step"]))
        if self._bar is not None and rows:
            last = rows[-1]
            span = last["seconds"] - self._reported
            rate = sum(row["samples"] for row in rows) / span if span > 0 else 0.0
            self._reported = last["seconds"]
            self._bar.update(self._task, completed=last["step"] + 1, loss=last["loss"], rate=rate)
        return self._callback is None or self._callback(rows) is not False
