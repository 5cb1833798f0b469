"""``finetune``: a network is trained on the labels of a cohort by the C++ loop."""

from __future__ import annotations

import copy
import json
import math
import os
import secrets
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, get_args

import numpy as np
import pandas as pd

from sslmed._checks import OnError, choice, whole
from sslmed._world import own_settings
from sslmed.cohort import Cohort
from sslmed.encoders import CohortEncoder, Encoder, EncoderLike, resolve
from sslmed.finetuning.fitted import FineTuned, fingerprint
from sslmed.finetuning.options import FineTuning, TrainedProtocol, named
from sslmed.labels import class_names, is_regression, labeled
from sslmed.methods import Supervised
from sslmed.provenance import record
from sslmed.training import Interrupt, Loader, Trainer
from sslmed.training.loader import warn_of_failures

__all__ = ["finetune"]

Array = np.ndarray[Any, Any]


@own_settings()
def finetune(
    encoder: EncoderLike,
    cohort: Cohort,
    target: str,
    options: FineTuning | TrainedProtocol = "finetune",
    *,
    unlabeled: Cohort | None = None,
    regression: bool | None = None,
    seed: int = 0,
    threads: int = 2,
    on_error: OnError = "raise",
    checkpoints: str | os.PathLike[str] | None = None,
    callback: Callable[[list[dict[str, float]]], bool | None] | None = None,
) -> FineTuned:
    """Trains an encoder and a head on the labels of a cohort.

    All of the cohort is training data; :func:`sslmed.transfer` gives scores. The network and its encoder record whose
    signals and labels they have seen (:mod:`sslmed.provenance`).

    Args:
        encoder: Encoder where training starts; it is copied and stays as it is.
        cohort: Recordings or images with a column ``target``; those without a value are left out.
        target: Column that is learned: classes, or numbers to regress, as in :func:`sslmed.transfer`.
        options: Options, or the name of a protocol with its defaults: "finetune", "lora", "attentive".
        unlabeled: Another cohort, of which only the signals are used: with ``FineTuning(dann=…)`` features are learned
            that do not tell the two apart.
        regression: True to regress the target, False to classify it, None to decide by its values.
        seed: Seed of the head, the order, the windows and dropped paths.
        threads: Number of loader threads; the result does not depend on it.
        on_error: "raise", or "skip" samples that cannot be read or carry no signal, with a warning.
        checkpoints: Folder for checkpoints; None writes none.
        callback: Function that gets the lines of each report (:meth:`sslmed.Trainer.fit`); training stops if it returns
            False.

    Returns:
        The fitted network.

    Raises:
        TypeError: ``encoder`` is not an encoder, or ``cohort`` not a cohort.
        ValueError: No such column, one class only, a missing group, options out of range, or ``dann`` without
            ``unlabeled`` or the other way round.
        FormatError, ReadError: A recording cannot be read.
        NonFiniteError: The loss or a gradient was not finite.
        KeyboardInterrupt: Ctrl-C.

    See Also:
        :func:`sslmed.transfer`

    Examples:
        >>> import numpy as np, pandas as pd
        >>> import sslmed as sm
        >>> rng, y = np.random.default_rng(0), np.tile(["rest", "task"], 6)
        >>> table = pd.DataFrame({"subject": [f"s{i}" for i in range(12)], "y": y})
        >>> cohort = sm.Cohort.from_arrays(rng.normal(size=(12, 2, 800)), 100, ["Cz", "Pz"], table)
        >>> encoder = sm.Encoder("vit_tiny", sm.EegPreprocessing(sfreq=100, window=4, patch=1), depth=1)
        >>> fitted = sm.finetune(encoder, cohort.subset(range(8)), "y", sm.FineTuning(epochs=1, batch_size=8))
        >>> fitted.classes_.tolist(), fitted.predict_proba(cohort.subset(range(8, 12))).shape
        (['rest', 'task'], (4, 2))
    """
    whole("finetune", "seed", seed)
    whole("finetune", "threads", threads, 1)
    choice("finetune", "on_error", on_error, get_args(OnError))
    options = named(options)
    cohort, y = labeled(cohort, target)
    encoder = resolve(encoder, cohort)
    regression = is_regression(y, regression, cohort.table["subject"].to_numpy())
    classes = np.empty(0) if regression else np.unique(class_names(y))
    if not regression and len(classes) < 2:
        raise ValueError(f"{cohort.name}: target={target!r} has one value only, {str(classes[0])!r}; there is nothing to learn")
    if options.dann > 0 and unlabeled is None:
        raise ValueError(f"finetune: unlabeled=None, but FineTuning(dann={options.dann}) needs an unlabeled cohort")
    if unlabeled is not None and options.dann <= 0:
        raise ValueError("finetune: unlabeled is used by FineTuning(dann=…) alone, got dann=0")
    if (options.groups or options.dann > 0) and len(cohort.modalities) > 1:
        raise ValueError(f"{cohort.name}: FineTuning(groups=…) and FineTuning(dann=…) take rows of one modality, got {' and '.join(cohort.modalities)}")
    numbers = y.astype(float) if regression else np.searchsorted(classes, class_names(y)).astype(float)
    model = encoder.with_adapters(options.lora_rank, options.lora_alpha) if options.tuned == "adapters" else copy.deepcopy(encoder)
    settings, targets = _settings(encoder, cohort, options, numbers, classes, regression, seed)
    trained = cohort
    if unlabeled is not None:
        if not isinstance(unlabeled, Cohort):
            raise TypeError(f"finetune: unlabeled={unlabeled!r} must be a Cohort, got {type(unlabeled).__name__}")
        settings |= {"domains": 2, "domain_weight": options.dann}
        trained = cohort.joined(unlabeled, same_people=True)
        targets = {name: values + [math.nan] * len(unlabeled) for name, values in targets.items()}
        targets["domain"] = [0.0] * len(cohort) + [1.0] * len(unlabeled)
    task = Supervised(model, augmentation=options.augmentation, **settings)
    batches = Loader(
        trained, model.preprocessing, batch_size=options.batch_size, order="shuffle", threads=threads, on_error=on_error, seed=seed, random=True,
        extra_channels=model.extra_channels, drop_last=True, shrink=True, targets=targets,
    )  # fmt: skip
    _train(task, batches, options, settings, checkpoints, callback)
    provenance = record(model.provenance if unlabeled is None else record(model.provenance, "pretraining", unlabeled), "finetuning", cohort, target)
    if options.tuned != "nothing":
        model.provenance = provenance
    salt = secrets.token_hex(16)
    seen = frozenset(fingerprint(s, salt) for s in cohort.table["subject"].unique())
    return FineTuned(task, model, target, classes, seen, salt, settings, provenance)


def _settings(
    encoder: CohortEncoder, cohort: Cohort, options: FineTuning, numbers: Array, classes: Array, regression: bool, seed: int
) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Arguments of the task, and the targets of each recording by name."""
    drop_path = (0.1 if isinstance(encoder, Encoder) else 0.0) if options.drop_path is None else options.drop_path
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
        if options.groups not in cohort.table:
            raise ValueError(f"{cohort.name}: FineTuning(groups={options.groups!r}) is not a column of the table; there are {', '.join(cohort.table.columns)}")
        if (missing := cohort.table[options.groups].isna()).any():
            raise ValueError(
                f"{cohort.name}: FineTuning(groups={options.groups!r}) has {int(missing.sum())} missing values, such as row {int(missing.argmax())}"
            )
        codes, names = pd.factorize(cohort.table[options.groups], sort=True)
        settings |= {"groups": len(names), "group_step": options.group_step}
        targets["group"] = codes.astype(float).tolist()
    return settings, targets


def _train(
    task: Supervised,
    batches: Loader,
    options: FineTuning,
    settings: dict[str, Any],
    checkpoints: str | os.PathLike[str] | None,
    callback: Callable[[list[dict[str, float]]], bool | None] | None,
) -> None:
    steps = options.epochs * batches.sampler.batches_per_epoch
    config = json.dumps(settings | asdict(options) | {"drop_path": settings["drop_path"]})
    trainer = Trainer(
        task, batches, epochs=options.epochs, lr=options.lr, warmup_steps=math.ceil(options.warmup * steps), weight_decay=options.weight_decay,
        clip_norm=options.clip_norm, bf16=options.bf16, device=options.device, checkpoints=checkpoints, config=config,
    )  # fmt: skip
    with Interrupt() as interrupt:
        trainer.fit(lambda rows: not interrupt.wanted and (callback is None or callback(rows) is not False))
    if interrupt.wanted:
        raise KeyboardInterrupt
    warn_of_failures(batches.cohort, trainer.failures)
    task.eval()
