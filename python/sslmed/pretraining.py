"""Pretraining: the C++ loop with a folder of results around it."""

from __future__ import annotations

import copy
import json
import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sslmed import io
from sslmed._core import FormatError, FormatWarning
from sslmed.cohort import Cohort
from sslmed.data import Loader, describe, warn_of_failures
from sslmed.distributed import is_first
from sslmed.methods import Method, resolve
from sslmed.nn import CohortEncoder, Encoder
from sslmed.preprocessing import Preprocessing, default_preprocessing, described
from sslmed.training import COLUMNS, Interrupt, Reporter, Trainer

__all__ = ["Run", "pretrain"]


@dataclass(repr=False)
class Run:
    """What a pretraining run left."""

    out: Path
    encoder: CohortEncoder
    history: pd.DataFrame
    """One row a step: step, epoch, loss, lr, grad_norm, seconds, samples, and every ten steps how far features vary over the samples
    of the batch relative to their size (feature_std), and in how many directions (effective_rank, at most the batch size)."""
    interrupted: bool = False
    """Stopped by Ctrl-C after a checkpoint; call again with ``resume=True``."""
    failures: tuple[tuple[int, str], ...] = ()

    def __repr__(self) -> str:
        loss = f", loss {self.history['loss'].iloc[-1]:.4g}" if len(self.history) else ""
        return f"<Run {self.out}: {len(self.history)} steps{loss}{', interrupted' if self.interrupted else ''}; {self.encoder!r}>"

    def plot(self, ax: Any = None) -> Any:
        """The loss over steps; returns the matplotlib axes."""
        from sslmed.reporting.plots import plot_history

        return plot_history(self.history, ax)


def pretrain(
    cohort: Cohort,
    method: str | Method = "mae",
    encoder: str | CohortEncoder = "vit_small",
    out: str | os.PathLike[str] = "runs/pretrain",
    *,
    epochs: int = 10,
    batch_size: int = 64,
    lr: float = 1e-3,
    min_lr: float = 0.0,
    warmup: float = 0.1,
    weight_decay: float | None = None,
    final_weight_decay: float | None = None,
    clip_norm: float = 1.0,
    ema_decay: float = 0.0,
    accumulate: int = 1,
    bf16: bool = False,
    device: str = "cpu",
    preprocessing: Preprocessing | None = None,
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
    probe: tuple[Cohort, str] | None = None,
    probe_every: int = 1,
    **options: Any,
) -> Run:
    """Pretrains an encoder on a cohort's signals or slides, without labels.

    Writes to ``out``: ``history.csv``, ``checkpoints/``, ``tensorboard/`` and, at the end, ``encoder.safetensors``.
    Ctrl-C saves and returns a run that says ``interrupted``. Where torch.distributed is initialised (:mod:`sslmed.distributed`),
    all ranks train together, and the first one writes.

    Args:
        cohort: The recordings or slides.
        method: "mae" or "ijepa", or an object of :mod:`sslmed.methods` with its options.
        encoder: A size ("vit_tiny", "vit_small", "vit_base", "vit_large"), or an encoder to go on with.
        out: Folder for the results.
        epochs: Passes over all windows; of slides over as many pictures as cover the tissue once.
        batch_size: Windows (pictures) in a batch, of all ranks together.
        lr: Peak learning rate.
        min_lr: Where half a cosine brings it.
        warmup: Part of all steps in which it rises.
        weight_decay: Of matrices; by default the method's.
        final_weight_decay: Reached by half a cosine at the end.
        clip_norm: Gradients are clipped to this global norm; 0: not.
        ema_decay: Average the encoder's weights; the average is what is saved.
        accumulate: Batches a step.
        bf16: Autocast.
        device: "cpu", "cuda" or "cuda:1".
        preprocessing: Window, rate, filters, scale; or scale and size of pictures.
        order: "shuffle", or a column of the cohort's table: every "subject", "site", "stain" … equally often.
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
        probe: A labelled cohort and a column of it: while training, nearest neighbours on the encoder's features predict it, by folds over subjects. Column
            ``knn`` of the history: balanced accuracy, or mean absolute error. To watch, not to choose by: who picks a run by it has used the labels.
        probe_every: Epochs between probes.
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
    if not 0 <= warmup <= 1:
        raise ValueError(f"warmup is a part of all steps, within [0, 1], got {warmup}")
    folder = Path(out)
    checkpoints = folder / "checkpoints"
    # Of several ranks only the first looks at the folder: the others get its state, and need not share its disk.
    found = sorted(checkpoints.glob("step-*.safetensors")) if is_first() else []
    if found and not resume:
        raise ValueError(f"{folder}: already holds a run; pass resume=True (--resume) to go on, or choose another folder")
    if resume and is_first() and not found and checkpoints.exists() and any(checkpoints.iterdir()):
        raise FormatError(f"{checkpoints}: expected step-*.safetensors to resume from, found none")
    if isinstance(encoder, str):
        preprocessing = preprocessing or default_preprocessing(cohort.modality)
        extra = cohort.unknown_channels() if preprocessing.modality == "eeg" else []
        if extra:
            warnings.warn(
                f"{cohort.name}: {len(extra)} channel names have no known position and get learned ones: {', '.join(extra[:8])}",
                FormatWarning,
                stacklevel=2,
            )
        model: CohortEncoder = Encoder(encoder, preprocessing, extra_channels=extra, seed=seed, depth=depth, class_token=chosen.class_token)
    else:
        model = encoder
        if preprocessing is not None and preprocessing != model.preprocessing:
            raise ValueError("the encoder has its own preprocessing; leave preprocessing out")
        preprocessing = model.preprocessing
    objective = chosen.objective(model, seed)
    if weight_decay is None:
        weight_decay, default = chosen.weight_decay
        final_weight_decay = default if final_weight_decay is None else final_weight_decay
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
    if options.get("augmentation"):  # where it is computed is no part of what a run is, as little as threads are
        options = options | {"augmentation": {name: value for name, value in options["augmentation"].items() if name != "on_device"}}
    config = {
        "method": chosen.name, "options": options, "encoder": model.config, "extra_channels": list(model.extra_channels),
        "epochs": epochs, "batch_size": batch_size, "lr": lr, "min_lr": min_lr, "warmup": warmup, "weight_decay": weight_decay,
        "final_weight_decay": final_weight_decay, "clip_norm": clip_norm, "ema_decay": ema_decay, "accumulate": accumulate,
        "bf16": bf16, "order": order, "seed": seed, "preprocessing": described(preprocessing), "data": describe(loader.source),
    }  # fmt: skip
    if probe is not None:
        config["probe"] = [probe[0].name, probe[1], probe_every]
    steps = epochs * (loader.sampler.batches_per_epoch // accumulate)
    trainer = Trainer(
        objective,
        loader,
        epochs=epochs,
        accumulate=accumulate,
        lr=lr,
        min_lr=min_lr,
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
        _resume_newest(trainer, found, config)
    if is_first():
        folder.mkdir(parents=True, exist_ok=True)
        every = probe_every * (loader.sampler.batches_per_epoch // accumulate)
        watch = None if probe is None else _Probe(trainer, model, *probe, every=every, threads=threads, on_error=on_error)
        columns = [*COLUMNS, "knn"] if watch else COLUMNS
        with Reporter(folder, trainer, progress, tensorboard, callback, columns) as reporter, Interrupt() as interrupt:
            finished = trainer.fit(lambda new: reporter(watch(new) if watch else new) and not interrupt.wanted)
        history = pd.read_csv(folder / "history.csv")
    else:
        rows: list[dict[str, float]] = []

        def collect(new: list[dict[str, float]]) -> bool:
            rows.extend(new)
            return (callback is None or callback(new) is not False) and not interrupt.wanted

        with Interrupt() as interrupt:
            finished = trainer.fit(collect)
        history = pd.DataFrame(rows, columns=COLUMNS)
    trainer.keep_encoder(model)
    if finished and is_first():
        model.save(folder / "encoder.safetensors")
    warn_of_failures(cohort, trainer.failures)
    return Run(folder, model, history, not finished, tuple(trainer.failures))


class _Probe:
    """Adds to the loop's reports what nearest neighbours make of the encoder's features."""

    def __init__(self, trainer: Trainer, model: CohortEncoder, cohort: Cohort, target: str, *, every: int, threads: int, on_error: str) -> None:
        from sslmed.evaluation.transfer import plan, transfer

        plan(model, cohort, target)  # what cannot be is told now, and not after the first epoch
        if every < 1:
            raise ValueError("probe_every must be at least 1")
        self._trainer, self._twin, self._cohort, self._target = trainer, copy.deepcopy(model), cohort, target
        self._every, self._threads, self._on_error, self._transfer = every, threads, on_error, transfer

    def __call__(self, rows: list[dict[str, float]]) -> list[dict[str, float]]:
        for row in rows:
            row["knn"] = math.nan
        due = [row for row in rows if (row["step"] + 1) % self._every == 0]
        if due:
            self._trainer.keep_encoder(self._twin)
            options: dict[str, Any] = {"bootstrap": 10, "threads": self._threads, "on_error": self._on_error}
            result = self._transfer(self._twin, self._cohort, self._target, "knn", baselines=False, **options)
            due[-1]["knn"] = float(result.table["value"].iloc[0])
        return rows


def _resume_newest(trainer: Trainer, found: list[Path], config: dict[str, Any]) -> None:
    """The newest checkpoint that is sound; a damaged one is passed over with a warning."""
    for path in reversed(found):
        try:
            trainer.resume(path)
            return
        except FormatError as error:
            warnings.warn(f"checkpoint passed over: {error}", FormatWarning, stacklevel=3)
        except ValueError:
            theirs = json.loads(io.load_metadata(path, "sslmed-checkpoint-1")["config"])
            if changed := _differences(theirs, json.loads(json.dumps(config))):
                raise ValueError(f"{path}: was written by a run of another configuration: {'; '.join(changed)}") from None
            raise
    raise FormatError(f"{found[0].parent}: expected a sound checkpoint, found {len(found)} damaged ones")


def _differences(theirs: Any, ours: Any, name: str = "") -> list[str]:
    """What two configurations have otherwise, by name."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        keys = sorted(theirs.keys() | ours.keys())
        return [line for key in keys for line in _differences(theirs.get(key), ours.get(key), f"{name}.{key}" if name else key)]
    return [] if theirs == ours else [f"{name} {json.dumps(theirs)} there, {json.dumps(ours)} here"]
