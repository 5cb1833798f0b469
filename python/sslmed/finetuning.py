"""Fine-tuning: a network trained on a cohort's labels by the C++ loop, and what it says of other people."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from sslmed import io
from sslmed._core import C, FormatError
from sslmed.cohort import Cohort
from sslmed.encoders import CohortEncoder, Encoder, PythonEncoder, resolve
from sslmed.labels import class_names, is_regression, labelled
from sslmed.leakage import refuse_overlap
from sslmed.methods import Supervised
from sslmed.modalities import Augmentation, described, preprocessing_from
from sslmed.modalities.base import OnError
from sslmed.sources import in_order
from sslmed.training import Interrupt, Loader, Trainer, recording_means
from sslmed.training.loader import warn_of_failures

__all__ = ["PROTOCOLS", "FineTuned", "FineTuning", "finetune"]

Array = np.ndarray[Any, Any]

_FORMAT = "sslmed-task-1"


@dataclass(frozen=True)
class FineTuning:
    """How a network is trained on labels. The defaults are those of ViT fine-tuning after MAE, with the epochs of a small cohort."""

    tuned: str = "encoder"
    """What is trained besides the head: the whole "encoder", "adapters" (LoRA) or "nothing" (a probe)."""
    readout: str = "mean"
    """What the head sees: the "mean" over patch tokens, the class token ("cls"), or what a learned query finds ("attentive")."""
    epochs: int = 20
    batch_size: int = 32
    lr: float = 1e-3
    """Peak; of the head, and of block b below it lr * layer_decay ** (blocks between)."""
    warmup: float = 0.1
    """Part of all steps."""
    weight_decay: float = 0.05
    layer_decay: float = 0.75
    drop_path: float | None = None
    """By default .1, and none of an encoder written in Python, whose branches are its own."""
    label_smoothing: float = 0.0
    balanced: bool = True
    """Weigh classes by the inverse of their frequency in the training part."""
    clip_norm: float = 1.0
    lora_rank: int = 8
    """With tuned="adapters"."""
    lora_alpha: float = 16.0
    groups: str = ""
    """A column of groups of people, of which those that do worst are weighed most (GroupDRO); empty: none."""
    group_step: float = 0.01
    """Of the groups' weights."""
    dann: float = 0.0
    """Weight of a domain classifier's reversed gradient (DANN; .1 is usual), against ``unlabelled``; 0: none."""
    augmentation: Augmentation | None = None
    """Of pictures, in training; None: none but the crop's place."""
    bf16: bool = False
    device: str = "cpu"


PROTOCOLS = {
    "finetune": FineTuning(),
    "lora": FineTuning(tuned="adapters", layer_decay=1.0, drop_path=0.0),
    "attentive": FineTuning(tuned="nothing", readout="attentive", drop_path=0.0, layer_decay=1.0),
}
"""Protocols of :func:`sslmed.transfer` that train a network, with their default options."""


class FineTuned:
    """A network with a head, fitted on a cohort's labels. Made by :func:`finetune` or :meth:`load`."""

    def __init__(self, task: Supervised, encoder: CohortEncoder, target: str, classes: Array, seen: frozenset[str], salt: str, options: dict[str, Any]) -> None:
        self.task, self.encoder, self.target = task, encoder, target
        self.classes = classes
        """[classes], in the order of the predictions' columns; empty: a regression."""
        # Who it was trained on: a file that is handed on must not name patients.
        self._seen, self._salt, self._options = seen, salt, options

    def __repr__(self) -> str:
        classes = f": {', '.join(map(str, self.classes))}" if len(self.classes) else ", regressed"
        return f"<FineTuned {self.target}{classes}; {self.encoder!r}>"

    def predict(self, cohort: Cohort, *, threads: int = 2, batch_size: int = 64, on_error: OnError = "raise") -> Array:
        """What the network says of each recording, windows averaged.

        Args:
            cohort: Recordings of any montage and rate, of nobody that the network was trained on.
            threads: Loader threads.
            batch_size: Windows in a batch; does not change the result beyond rounding.
            on_error: "raise" or "skip" unreadable windows.

        Returns:
            Probabilities [recordings, classes], or the regressed target [recordings]; NaN for a recording without a usable window.

        Raises:
            ValueError: A subject of the training data is in the cohort.
        """
        known = [s for s in cohort.table["subject"].unique() if _fingerprint(s, self._salt) in self._seen]
        refuse_overlap(known, known)
        preprocessing = self.encoder.preprocessing
        source = cohort.source(preprocessing, extra_channels=self.encoder.extra_channels)
        loader = in_order(source, preprocessing, threads=threads, batch_size=batch_size, on_error=on_error)
        values, ids = C.predict(self.task._handle, loader)
        warn_of_failures(cohort, loader.failures)
        if len(self.classes):
            values = values.double().softmax(1)
        means = recording_means(values, source.recording_of[ids], len(cohort))
        return means if len(self.classes) else means[:, 0]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes weights, architecture, preprocessing and classes to one safetensors file.

        Of our own encoders; where yours is written in Python, keep ``task.state_dict()`` beside your class.

        Training subjects are in it as salted hashes, by which :meth:`predict` knows them again: whoever has a name can check it, no name can be read.
        """
        if not isinstance(self.encoder, Encoder):
            raise TypeError(f"{type(self.encoder).__name__} is a class of yours, which no file can bring back: save task.state_dict()")
        metadata = {
            "format": _FORMAT,
            "encoder": json.dumps(self.encoder.config | {"extra_channels": list(self.encoder.extra_channels)}),
            "preprocessing": json.dumps(described(self.encoder.preprocessing)),
            "task": json.dumps(
                {"target": self.target, "classes": self.classes.tolist(), "seen": sorted(self._seen), "salt": self._salt, "options": self._options}
            ),
        }
        io.save_safetensors(self.task.state_dict(), path, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FineTuned:
        """Reads what :meth:`save` wrote.

        Raises:
            FormatError: The file is no fine-tuned network of ours, or its weights do not fit.
        """
        metadata = io.load_metadata(path, _FORMAT)
        try:
            saved = json.loads(metadata["task"])
            encoder = Encoder(preprocessing=preprocessing_from(json.loads(metadata["preprocessing"])), **json.loads(metadata["encoder"]))
            task = Supervised(encoder, **saved["options"])
            out = cls(task, encoder, saved["target"], np.array(saved["classes"]), frozenset(saved["seen"]), saved["salt"], saved["options"])
            task.load_state_dict(io.load_safetensors(path))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"{os.fspath(path)}: expected a fine-tuned network, found {error!r}") from error
        task.eval()
        return out


def finetune(
    encoder: CohortEncoder,
    cohort: Cohort,
    target: str,
    options: FineTuning | str = "finetune",
    *,
    unlabelled: Cohort | None = None,
    regression: bool | None = None,
    seed: int = 0,
    threads: int = 2,
    on_error: OnError = "raise",
    checkpoints: str | os.PathLike[str] | None = None,
    callback: Callable[[list[dict[str, float]]], bool | None] | None = None,
) -> FineTuned:
    """Trains an encoder and a head on a cohort's labels. All of the cohort is training data: scores come from :func:`sslmed.transfer`.

    Args:
        encoder: Where training starts; it is copied, and stays as it is.
        cohort: Recordings with a column ``target``; those without a value are left out.
        target: Classified or regressed as :func:`sslmed.transfer` has it.
        options: How; or the name of one of :data:`PROTOCOLS`: "finetune", "lora", "attentive".
        unlabelled: Another cohort, whose signals alone are used: with ``FineTuning(dann=…)`` features are learned that do not tell it apart.
        regression: Kind of target; None: as its values say.
        seed: Of the head, order, windows and dropped paths.
        threads: Loader threads; the result does not depend on them.
        on_error: "raise", or "skip" windows that cannot be read or carry no signal, with a warning.
        checkpoints: Folder for checkpoints; None: none are written.
        callback: Called with each report's rows (:meth:`sslmed.Trainer.fit`); False stops the training.

    Raises:
        ValueError: No such column, one class only, a missing group, options out of range, or ``dann`` without ``unlabelled`` and the other way round.
        FormatError, ReadError: A recording cannot be read.
        NonFiniteError: The loss or a gradient was not finite.
        KeyboardInterrupt: Ctrl-C.
    """
    cohort, y = labelled(cohort, target)
    encoder = resolve(encoder, cohort)
    options = named(options)
    regression = is_regression(y, regression)
    if not 0 <= options.warmup <= 1:
        raise ValueError(f"warmup is a part of all steps, within [0, 1], got {options.warmup}")
    classes = np.empty(0) if regression else np.unique(class_names(y))
    if not regression and len(classes) < 2:
        raise ValueError(f"{cohort.name}: column {target!r} has one value only, {str(classes[0])!r}")
    if (options.dann > 0) != (unlabelled is not None):
        raise ValueError("dann needs an unlabelled cohort, and an unlabelled cohort is for dann")
    numbers = y.astype(float) if regression else np.searchsorted(classes, class_names(y)).astype(float)
    model = encoder.with_adapters(options.lora_rank, options.lora_alpha) if options.tuned == "adapters" else copy.deepcopy(encoder)
    drop_path = (0.0 if isinstance(encoder, PythonEncoder) else 0.1) if options.drop_path is None else options.drop_path
    settings: dict[str, Any] = {
        "classes": len(classes), "readout": options.readout, "tuned": options.tuned, "layer_decay": options.layer_decay,
        "drop_path": drop_path, "label_smoothing": options.label_smoothing, "seed": seed,
    }  # fmt: skip
    if regression:
        settings |= {"mean": float(numbers.mean()), "scale": float(numbers.std()) or 1.0}
    elif options.balanced:
        settings["class_weights"] = (len(numbers) / (len(classes) * np.bincount(numbers.astype(int)))).tolist()
    targets = {"target": numbers.tolist()}
    if options.groups:
        if options.groups not in cohort.table or cohort.table[options.groups].isna().any():
            raise ValueError(f"{cohort.name}: column {options.groups!r} of groups is not there, or not known of everybody")
        codes, names = pd.factorize(cohort.table[options.groups], sort=True)
        settings |= {"groups": len(names), "group_step": options.group_step}
        targets["group"] = codes.astype(float).tolist()
    trained = cohort
    if unlabelled is not None:
        settings |= {"domains": 2, "domain_weight": options.dann}
        trained = cohort.joined(unlabelled)
        targets = {name: values + [math.nan] * len(unlabelled) for name, values in targets.items()}
        targets["domain"] = [0.0] * len(cohort) + [1.0] * len(unlabelled)
    task = Supervised(model, augmentation=options.augmentation, **settings)

    batches = Loader(
        trained, model.preprocessing, batch_size=options.batch_size, order="shuffle", threads=threads, on_error=on_error, seed=seed, random=True,
        extra_channels=model.extra_channels, drop_last=True, shrink=True, targets=targets,
    )  # fmt: skip
    steps = options.epochs * batches.sampler.batches_per_epoch
    config = json.dumps(settings | asdict(options) | {"drop_path": drop_path})
    trainer = Trainer(
        task, batches, epochs=options.epochs, lr=options.lr, warmup_steps=math.ceil(options.warmup * steps), weight_decay=options.weight_decay,
        clip_norm=options.clip_norm, bf16=options.bf16, device=options.device, checkpoints=checkpoints, config=config,
    )  # fmt: skip
    with Interrupt() as interrupt:
        trainer.fit(lambda rows: not interrupt.wanted and (callback is None or callback(rows) is not False))
    if interrupt.wanted:
        raise KeyboardInterrupt
    warn_of_failures(trained, trainer.failures)
    task.eval()
    salt = secrets.token_hex(16)
    seen = frozenset(_fingerprint(s, salt) for s in cohort.table["subject"].unique())
    return FineTuned(task, model, target, classes, seen, salt, settings)


def _fingerprint(subject: str, salt: str) -> str:
    return hashlib.sha256(f"{salt}{subject}".encode()).hexdigest()[:32]


def named(options: FineTuning | str) -> FineTuning:
    """Options, or those of a protocol by its name.

    Raises:
        ValueError: An unknown name.
    """
    if isinstance(options, FineTuning):
        return options
    if options not in PROTOCOLS:
        raise ValueError(f"unknown protocol {options!r}; there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[options]
