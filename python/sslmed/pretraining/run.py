"""``pretrain``: the C++ loop with a folder of results around it."""

from __future__ import annotations

import copy
import difflib
import json
import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal, overload

import pandas as pd

from sslmed import io, methods
from sslmed._core import FormatError, FormatWarning
from sslmed._world import own_settings
from sslmed.cohort import Cohort
from sslmed.distributed import is_first
from sslmed.encoders import CohortEncoder, resolve
from sslmed.labels import numbers_of
from sslmed.methods.base import check_run
from sslmed.modalities import registry
from sslmed.pretraining.config import PretrainConfig, Probe
from sslmed.provenance import after_pretraining
from sslmed.runs import Run, Runs, by_seed
from sslmed.sources import warn_of_samples
from sslmed.training import COLUMNS, Interrupt, Loader, Reporter, Trainer
from sslmed.training.loader import warn_of_failures
from sslmed.training.run_folder import RunFolder, checkpoints_of
from sslmed.training.samples_of import differing_rows, digest, refuse_other_ranks, rows_of

__all__ = ["pretrain"]

_Callback = Callable[[list[dict[str, float]]], bool | None]


@overload
def pretrain(
    cohort: Cohort, method: str | methods.Method = ..., encoder: str | os.PathLike[str] | CohortEncoder = ..., out: str | os.PathLike[str] = ...,
    *, seeds: None = None, **options: Any,
) -> Run: ...  # fmt: skip


@overload
def pretrain(
    cohort: Cohort, method: str | methods.Method = ..., encoder: str | os.PathLike[str] | CohortEncoder = ..., out: str | os.PathLike[str] = ...,
    *, seeds: Sequence[int], **options: Any,
) -> Runs: ...  # fmt: skip


@own_settings()
def pretrain(
    cohort: Cohort,
    method: Literal["mae", "ijepa"] | str | methods.Method = "mae",
    encoder: str | os.PathLike[str] | CohortEncoder = "vit_small",
    out: str | os.PathLike[str] = "runs/pretrain",
    *,
    config: PretrainConfig | None = None,
    resume: bool = False,
    progress: bool = True,
    callback: _Callback | None = None,
    probe: Probe | None = None,
    seeds: Sequence[int] | None = None,
    **options: Any,
) -> Run | Runs:
    """Pretrains an encoder on a cohort, without labels.

    Writes to ``out``: ``history.csv``, ``samples.csv``, ``checkpoints/``, ``tensorboard/`` and, at the end, ``encoder.safetensors``. The folder is one
    run's: a second one there is refused. Ctrl-C, SIGTERM and SIGHUP save; after Ctrl-C a run comes back that says ``interrupted``. The result does not
    depend on torch's defaults and contexts (dtype, device, autocast, gradients, threads), and leaves them as they were. The encoder records whom it
    has seen (:mod:`sslmed.provenance`). Where torch.distributed is initialized (:mod:`sslmed.distributed`), all ranks train together, and the first one
    writes.

    Args:
        cohort: What to train on.
        method: Name of a method (:func:`sslmed.methods.names`), or its options, such as :class:`sslmed.methods.Mae`.
        encoder: Name of an architecture (:func:`sslmed.nn.list_models`), an encoder to go on with, or the path of one.
        out: Folder for the results.
        config: Settings of the run.
        resume: Go on from the newest sound checkpoint in ``out``.
        progress: Show a progress bar.
        callback: Called with each report's rows; any false answer but None stops the run.
        probe: Scores the encoder while it trains; its columns are added to the history.
        seeds: Seeds of several runs, one after the other, each in ``out/seed-<seed>``; a list of runs comes back (:class:`sslmed.pretraining.Runs`). An
            encoder that is given as an object is copied: its runs differ in order, samples and masks alone.
        **options: Fields of :class:`PretrainConfig`, which replace those of ``config``, and of the method where it is given by name.

    Raises:
        TypeError: An option is neither a setting of the run nor one of the method.
        ValueError: An argument is out of range, ``out`` already holds a run and ``resume`` is False, another process
            trains there, or the run to resume had other samples.
        FormatError, ReadError: A file cannot be read.
        NonFiniteError: The loss or a gradient was not finite.
        CollapseError: The encoder gives every sample nearly the same features.
        DistributedError: Another rank is lost.

    Examples:
        >>> import sslmed as sm
        >>> run = sm.pretrain(sm.Cohort.open("public-eeg"), "mae", "vit_small", "runs/eeg", epochs=50, mask="time")  # doctest: +SKIP

    See Also:
        :func:`sslmed.transfer`: What the encoder is worth on a labelled cohort.
    """
    if seeds is not None:
        given: dict[str, Any] = {"config": config, "resume": resume, "progress": progress, "callback": callback, "probe": probe} | options
        return by_seed(seeds, options, lambda seed: pretrain(cohort, method, copy.deepcopy(encoder), Path(out) / f"seed-{seed}", **given, seed=seed))
    config, chosen, method_options = _split(method, config or PretrainConfig(), options)
    folder = Path(out)
    if is_first() and not resume:
        checkpoints_of(folder, resume)  # told before anything is computed
    model = resolve(encoder, cohort, preprocessing=config.preprocessing, seed=config.seed, depth=config.depth, class_token=chosen.class_token)
    _check_probe(probe, model)
    check_run(chosen, model, config.batch_size)
    objective = chosen.objective(model, config.seed)
    config = _with_decay(config, chosen)
    loader = _loader(cohort, model, config, chosen)
    rows = rows_of(loader, config.order)
    refuse_other_ranks(rows)
    description = _description(chosen, method_options, model, config, loader, probe) | {"rows": digest(rows)}
    trainer = _trainer(objective, loader, config, folder, description)
    # Of several ranks only the first has a folder: the others get its state, and need not share its disk.
    with RunFolder(folder) if is_first() else nullcontext():
        if resume and is_first() and (found := checkpoints_of(folder, resume)):
            _resume_newest(trainer, found, description, rows)
        elif is_first():
            checkpoints_of(folder, resume)  # another run may have ended meanwhile
            rows.to_csv(folder / _SAMPLES, index=False)
        model.provenance = after_pretraining(model.provenance, cohort, probe)  # before any step changes the weights
        watch = None if probe is None or not is_first() else _Watch(trainer, model, probe, config.probe_every * _steps_per_epoch(loader, config))
        history, finished = _fit(trainer, folder, config, progress=progress, callback=callback, watch=watch)
        trainer.keep_encoder(model)
        if finished and is_first():
            model.save(folder / "encoder.safetensors")
    warn_of_failures(cohort, trainer.failures)
    warn_of_samples(loader.source)
    return Run(folder, model, history, not finished, tuple(trainer.failures))


def _split(method: str | methods.Method, config: PretrainConfig, options: Mapping[str, Any]) -> tuple[PretrainConfig, methods.Method, dict[str, Any]]:
    """The run's settings, the method, and the method's options as plain values."""
    settings = [field.name for field in fields(PretrainConfig)]
    known = settings + (methods.options_of(method) if isinstance(method, str) else [])
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, 3, 0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
            what = f"method {method!r}" if isinstance(method, str) else f"method given as an object ({type(method).__name__}), which has its options already"
            raise TypeError(f"pretrain: {name!r} is neither a field of PretrainConfig nor an option of the {what}; {hint}")
    config = replace(config, **{name: value for name, value in options.items() if name in settings})
    chosen, described = methods.resolve(method, {name: value for name, value in options.items() if name not in settings})
    return config, chosen, described


def _check_probe(probe: Probe | None, model: CohortEncoder) -> None:
    if probe is None:
        return
    if not callable(getattr(probe, "check", None)):
        raise TypeError(f"pretrain: probe={probe!r} must follow sslmed.pretraining.Probe, for example sslmed.evaluation.KnnProbe(cohort, target)")
    probe.check(model)


def _with_decay(config: PretrainConfig, method: methods.Method) -> PretrainConfig:
    """The settings with the method's weight decay where none is given."""
    if config.weight_decay is not None:
        return config
    start, end = method.weight_decay
    return replace(config, weight_decay=start, final_weight_decay=end if config.final_weight_decay is None else config.final_weight_decay)


def _loader(cohort: Cohort, model: CohortEncoder, config: PretrainConfig, method: methods.Method) -> Loader:
    return Loader(
        cohort,
        model.preprocessing,
        batch_size=config.batch_size,
        order=config.order,
        threads=config.threads,
        on_error=config.on_error,
        seed=config.seed,
        random=True,
        extra_channels=model.extra_channels,
        drop_last=True,
        targets={name: numbers_of(cohort, name) for name in getattr(method, "targets", ())} or None,
    )


def _steps_per_epoch(loader: Loader, config: PretrainConfig) -> int:
    return loader.sampler.batches_per_epoch // config.accumulate


_SAMPLES = "samples.csv"
"""What a run is trained on, in its folder."""

# Settings that do not change what a run computes, or that are described otherwise.
_NOT_DESCRIBED = ("preprocessing", "depth", "threads", "on_error", "device", "checkpoint_every", "keep_last", "tensorboard", "probe_every")


def _description(
    method: methods.Method, options: Mapping[str, Any], model: CohortEncoder, config: PretrainConfig, loader: Loader, probe: Probe | None
) -> dict[str, Any]:
    """Everything that tells this run from another, as plain values: a resumed run must have the same."""
    settings = {field.name: getattr(config, field.name) for field in fields(config) if field.name not in _NOT_DESCRIBED}
    out = {
        "method": method.name,
        "options": {name: _without_device(value) for name, value in options.items()},
        "encoder": model.config,
        "extra_channels": list(model.extra_channels),
        "preprocessing": registry.described(model.preprocessing),
        "data": _data(loader),
    } | settings
    if probe is not None:
        out["probe"] = [probe.describe(), config.probe_every]
    return out


def _data(loader: Loader) -> dict[str, Any]:
    """What identifies the samples."""
    found = loader.cohort.modalities
    if len(found) == 1:
        return registry.get(found[0]).describe(loader.source)
    return {"samples": len(loader.source), "rows": loader.cohort.table["modality"].value_counts().to_dict()}


def _without_device(value: Any) -> Any:
    """Where an augmentation is computed is no part of what a run is, as little as the number of threads."""
    return {name: part for name, part in value.items() if name != "on_device"} if isinstance(value, dict) else value


def _trainer(objective: Any, loader: Loader, config: PretrainConfig, folder: Path, description: Mapping[str, Any]) -> Trainer:
    assert config.weight_decay is not None
    return Trainer(
        objective,
        loader,
        epochs=config.epochs,
        accumulate=config.accumulate,
        lr=config.lr,
        min_lr=config.min_lr,
        warmup_steps=math.ceil(config.warmup * (config.epochs * _steps_per_epoch(loader, config))),
        optimizer=config.optimizer,
        momentum=config.optimizer_momentum,
        weight_decay=config.weight_decay,
        final_weight_decay=config.final_weight_decay,
        clip_norm=config.clip_norm,
        ema_decay=config.ema_decay,
        bf16=config.bf16,
        device=config.device,
        checkpoints=folder / "checkpoints",
        checkpoint_every=config.checkpoint_every,
        keep_last=config.keep_last,
        config=json.dumps(description, sort_keys=True),
    )


def _fit(
    trainer: Trainer, folder: Path, config: PretrainConfig, *, progress: bool, callback: _Callback | None, watch: _Watch | None
) -> tuple[pd.DataFrame, bool]:
    """Trains; returns the history, and whether all steps were done. The first rank also writes and shows it."""
    if is_first():
        folder.mkdir(parents=True, exist_ok=True)
        columns = [*COLUMNS, *(watch.probe.columns if watch else ())]
        with Interrupt() as interrupt, Reporter(folder, trainer, progress, config.tensorboard, callback, columns) as reporter:
            finished = trainer.fit(lambda new: reporter(watch(new) if watch else new) and not interrupt.wanted)
        return pd.read_csv(folder / "history.csv"), finished
    rows: list[dict[str, float]] = []

    def collect(new: list[dict[str, float]]) -> bool:
        rows.extend(new)
        answer = None if callback is None else callback(new)
        return (answer is None or bool(answer)) and not interrupt.wanted

    with Interrupt() as interrupt:
        finished = trainer.fit(collect)
    return pd.DataFrame(rows, columns=COLUMNS), finished


class _Watch:
    """Adds a probe's scores to the loop's reports."""

    def __init__(self, trainer: Trainer, model: CohortEncoder, probe: Probe, every: int) -> None:
        self.probe = probe
        self._trainer, self._twin, self._every = trainer, copy.deepcopy(model), every
        self._twin.provenance = None  # it may be scored: that is recorded of the model

    def __call__(self, rows: list[dict[str, float]]) -> list[dict[str, float]]:
        for row in rows:
            row.update(dict.fromkeys(self.probe.columns, math.nan))
        due = [row for row in rows if (row["step"] + 1) % self._every == 0]
        if due:
            self._trainer.keep_encoder(self._twin)
            due[-1].update(self.probe(self._twin))
        return rows


def _resume_newest(trainer: Trainer, found: list[Path], description: Mapping[str, Any], rows: pd.DataFrame) -> None:
    """Resumes from the newest checkpoint that is sound; a damaged one is passed over with a warning."""
    for path in reversed(found):
        try:
            trainer.resume(path)
            return
        except FormatError as error:
            warnings.warn(f"checkpoint passed over: {error}", FormatWarning, stacklevel=3)
        except ValueError:
            theirs = json.loads(io.load_metadata(path, "sslmed-checkpoint-1")["config"])
            if changed := _differences(theirs, json.loads(json.dumps(description))):
                if theirs.get("rows") != description["rows"]:
                    changed = [
                        f"other samples: {differing_rows(path.parents[1] / _SAMPLES, rows)}",
                        *(text for text in changed if not text.startswith("rows ")),
                    ]
                raise ValueError(f"{path}: was written by a run of another configuration: {'; '.join(changed)}") from None
            raise
    raise FormatError(f"{found[0].parent}: expected a sound checkpoint, found {len(found)} damaged ones")


def _differences(theirs: Any, ours: Any, name: str = "") -> list[str]:
    """Where two configurations differ, by name."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        keys = sorted(theirs.keys() | ours.keys())
        return [line for key in keys for line in _differences(theirs.get(key), ours.get(key), f"{name}.{key}" if name else key)]
    return [] if theirs == ours else [f"{name} {json.dumps(theirs)} there, {json.dumps(ours)} here"]
