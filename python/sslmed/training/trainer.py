"""The C++ training loop."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal, Protocol

import torch

from sslmed._checks import choice, number
from sslmed._core import C
from sslmed._world import own_settings
from sslmed.distributed import ranks
from sslmed.modalities.joined import parts_of
from sslmed.training.loader import Loader

__all__ = ["OPTIMIZERS", "Objective", "Trainer"]

OPTIMIZERS = ("adamw", "lars", "lamb", "sgd")
"""Names of the optimizers that :class:`Trainer` knows."""


class Objective(Protocol):
    """What is learned: an objective in C++ or a :class:`sslmed.PythonObjective`."""

    @property
    def _handle(self) -> Any: ...


class Trainer:
    """The C++ training loop: ``Trainer(objective, loader, epochs=10, lr=1e-3).fit()``.

    Args:
        objective: What is learned, for example :class:`sslmed.methods.MaskedAutoencoder`, or a :class:`sslmed.PythonObjective` of yours.
        loader: Where samples come from; the objective's own recipe cuts and masks them.
        epochs: Number of passes over the data.
        accumulate: Number of batches in an optimizer step.
        lr: Peak learning rate, after a linear warm-up; half a cosine brings it to ``min_lr``.
        min_lr: Learning rate at the end.
        start_lr: Learning rate at the start of the warm-up.
        warmup_steps: Number of optimizer steps of the warm-up.
        optimizer: "adamw", or for large batches "lars" or "lamb", or "sgd". LARS and LAMB scale the step of each matrix by its
            norm, and not those of vectors, which have no weight decay.
        momentum: Momentum of "lars" and "sgd".
        weight_decay: Weight decay of matrices; vectors have none.
        final_weight_decay: Weight decay at the end, reached by half a cosine; None: it stays the same.
        clip_norm: Global norm to which gradients are clipped; 0: not clipped.
        ema_decay: Decay of an exponential average of the encoder; 0: none is kept.
        bf16: Autocast to bfloat16.
        fp64: Train in double precision.
        device: "cpu", "cuda" or "cuda:1"; the objective is moved there.
        checkpoints: Folder for checkpoints; None: none are written.
        checkpoint_every: Number of steps between checkpoints; 0: at the end of each epoch.
        keep_last: Number of checkpoints to keep, besides ``best.safetensors``.
        config: Text kept in the checkpoints; a resumed run must have the same.
        monitor_every: Number of steps between looks at the features' spread and rank (``feature_std``, ``effective_rank``); 0: none.
        collapse_std: The run stops where ``feature_std`` is below this at five looks in a row; 0: never.
        intra_op_threads: Number of torch's threads for this run; 0: as set. Stored in checkpoints and used again on resuming.
        group: A torch.distributed process group: each of its ranks takes its share of every batch (``batch_size`` is that of the whole), and all take the
            same step. None: all ranks, where torch.distributed is initialized; otherwise this process alone.

    Raises:
        ValueError: A number is out of range, or the device is not available.
    """

    def __init__(
        self,
        objective: Objective,
        loader: Loader,
        *,
        epochs: int = 1,
        accumulate: int = 1,
        lr: float = 1e-3,
        min_lr: float = 0.0,
        start_lr: float = 0.0,
        warmup_steps: int = 0,
        optimizer: Literal["adamw", "lars", "lamb", "sgd"] = "adamw",
        momentum: float = 0.9,
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
        if not isinstance(loader, Loader):
            raise TypeError(f"Trainer: loader={loader!r} must be an sslmed.Loader, got {type(loader).__name__}")
        own = getattr(objective, "preprocessing", None) or getattr(getattr(objective, "encoder", None), "preprocessing", None)
        if own is not None and any(parts_of(own).get(name) != part for name, part in parts_of(loader.preprocessing).items()):
            raise ValueError("Trainer: preprocessing of the loader is not that of the objective's encoder")
        if final_weight_decay is not None:
            number("Trainer", "final_weight_decay", final_weight_decay, 0)
        choice("Trainer", "optimizer", optimizer, OPTIMIZERS)
        options = C.TrainOptions(
            epochs=epochs,
            accumulate=accumulate,
            lr=lr,
            min_lr=min_lr,
            start_lr=start_lr,
            warmup_steps=warmup_steps,
            optimizer=optimizer,
            momentum=momentum,
            weight_decay=weight_decay,
            final_weight_decay=-1.0 if final_weight_decay is None else final_weight_decay,
            clip_norm=clip_norm,
            ema_decay=ema_decay,
            bf16=bf16,
            fp64=fp64,
            device=device,
            checkpoint_folder="" if checkpoints is None else os.fspath(checkpoints),
            checkpoint_every=checkpoint_every,
            keep_last=keep_last,
            config=config,
            monitor_every=monitor_every,
            collapse_std=collapse_std,
            intra_op_threads=intra_op_threads,
        )
        self.objective, self.loader = objective, loader
        self._core = C.Trainer(objective._handle, loader.plan(), options, ranks(group))

    @own_settings()
    def fit(self, callback: Callable[[list[dict[str, float]]], bool | None] | None = None, *, until: int | None = None) -> bool:
        """Trains from the present step on, without the interpreter lock.

        Several calls give the same bits as one (CPU), in one process or, through checkpoints, in several.

        Args:
            callback: Called at most twice a second with the steps since the last call (step, epoch, loss, lr, grad_norm,
                feature_std, effective_rank, seconds, samples). Any false answer but None asks to save and stop.
            until: Step of the schedule to stop before; None: its last.

        Returns:
            True when all these steps were done; False when the callback, or Ctrl-C, stopped the run after a checkpoint.

        Raises:
            NonFiniteError: A loss or gradient was not finite; names the step and the samples.
            CollapseError: The encoder gives every sample nearly the same features.
            DistributedError: Another rank is gone, or did not answer within the process group's time-out.
        """
        try:
            return bool(self._core.fit(callback, -1 if until is None else until))
        except KeyboardInterrupt:
            return False

    def resume(self, path: str | os.PathLike[str]) -> None:
        """Continues from a checkpoint of the same configuration, with the same bits as if it had never stopped (CPU)."""
        self._core.resume(os.fspath(path))

    def seek(self, step: int) -> None:
        """The next :meth:`fit` starts at this step of the schedule, with the weights and moments as they are.

        Raises:
            ValueError: The schedule has no such step.
        """
        self._core.seek(step)

    @property
    def step(self) -> int:
        """Number of optimizer steps done."""
        return self._core.step

    @property
    def gil_seconds(self) -> float:
        """Time in s that ``fit`` held the interpreter lock while it trained: for the callback, and to look for Ctrl-C."""
        return float(self._core.gil_seconds)

    @property
    def total_steps(self) -> int:
        """Number of optimizer steps of the whole run."""
        return self._core.total_steps

    @property
    def failures(self) -> list[tuple[int, str]]:
        """(sample, message) of what could not be read (``on_error="skip"``)."""
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
