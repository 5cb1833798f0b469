"""Fine-tuning: a network is trained on the labels of a cohort by the C++ loop, and predicts other subjects."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from sslmed import io
from sslmed._checks import OnError, choice, number, whole
from sslmed._core import FormatError
from sslmed._world import own_settings
from sslmed.cohort import Cohort
from sslmed.encoders import CohortEncoder, Encoder, EncoderLike, resolve
from sslmed.encoders.base import description_of, from_description
from sslmed.labels import class_names, is_regression, labeled
from sslmed.leakage import refuse_overlap
from sslmed.methods import Supervised
from sslmed.modalities import Augmentation
from sslmed.provenance import Provenance, overlap, record
from sslmed.training import Interrupt, Loader, Trainer, predict, recording_means
from sslmed.training.loader import warn_of_failures

__all__ = ["PROTOCOLS", "FineTuned", "FineTuning", "TrainedProtocol", "finetune"]

Array = np.ndarray[Any, Any]

TrainedProtocol = Literal["finetune", "lora", "attentive"]
"""The name of a protocol that trains a network."""
Tuned = Literal["encoder", "adapters", "nothing"]
Readout = Literal["mean", "cls", "attentive"]

_FORMAT = "sslmed-task-1"


@dataclass(frozen=True)
class FineTuning:
    """Options of fine-tuning.

    The defaults are those of a ViT that is fine-tuned after MAE, with the epochs of a small cohort.

    Examples:
        >>> import sslmed as sm
        >>> sm.FineTuning(epochs=50, lr=5e-4).epochs
        50
    """

    tuned: Tuned = "encoder"
    """What is trained besides the head: the whole "encoder", "adapters" (LoRA), or "nothing" (a probe)."""
    readout: Readout = "mean"
    """What the head sees: the "mean" over patch tokens, the class token ("cls"), or a learned query ("attentive")."""
    epochs: int = 20
    """Number of epochs."""
    batch_size: int = 32
    """Samples in a batch."""
    lr: float = 1e-3
    """Peak learning rate of the head. Block b below it has lr · layer_decay ** (number of blocks between)."""
    warmup: float = 0.1
    """Share of all steps over which the learning rate rises, within [0, 1]."""
    weight_decay: float = 0.05
    """Weight decay of AdamW."""
    layer_decay: float = 0.75
    """Factor of the learning rate from one block to the one before it, within (0, 1]."""
    drop_path: float | None = None
    """Share of dropped paths in the last block, within [0, 1). None: 0.1, or 0 for encoders written in Python."""
    label_smoothing: float = 0.0
    """Share of a label that is spread over all classes, within [0, 1)."""
    balanced: bool = True
    """Weight classes by the inverse of their frequency in the training data."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; 0 does not clip."""
    lora_rank: int = 8
    """Rank of the adapters (tuned="adapters")."""
    lora_alpha: float = 16.0
    """Scale of the adapters: their output is multiplied by lora_alpha / lora_rank."""
    groups: str = ""
    """Column of groups of people; the groups with the largest loss are weighted most (GroupDRO). Empty: no groups."""
    group_step: float = 0.01
    """Step size of the weights of the groups."""
    dann: float = 0.0
    """Weight of a domain classifier's reversed gradient (DANN; 0.1 is usual), against an unlabeled cohort; 0: none."""
    augmentation: Augmentation | None = None
    """Augmentation of pictures in training. None: only the place of a crop is random."""
    bf16: bool = False
    """Compute in bfloat16."""
    device: str = "cpu"
    """Device of the training: "cpu", "cuda" …"""

    def __post_init__(self) -> None:
        choice("FineTuning", "tuned", self.tuned, get_args(Tuned))
        choice("FineTuning", "readout", self.readout, get_args(Readout))
        for name in ("epochs", "batch_size", "lora_rank"):
            whole("FineTuning", name, getattr(self, name), 1)
        for name, low, high, strict in _RANGES:
            number("FineTuning", name, getattr(self, name), low, high, strict=strict)
        if self.drop_path is not None:
            number("FineTuning", "drop_path", self.drop_path, 0, 1 - 1e-9)
        if not isinstance(self.groups, str):
            raise ValueError(f"FineTuning: groups={self.groups!r} must be the name of a column, or '' for none")


_RANGES: tuple[tuple[str, float, float, bool], ...] = (
    ("lr", 0, math.inf, True),
    ("warmup", 0, 1, False),
    ("weight_decay", 0, math.inf, False),
    ("layer_decay", 0, 1, True),
    ("label_smoothing", 0, 1 - 1e-9, False),
    ("clip_norm", 0, math.inf, False),
    ("lora_alpha", 0, math.inf, False),
    ("group_step", 0, math.inf, False),
    ("dann", 0, math.inf, False),
)

PROTOCOLS: dict[str, FineTuning] = {
    "finetune": FineTuning(),
    "lora": FineTuning(tuned="adapters", layer_decay=1.0, drop_path=0.0),
    "attentive": FineTuning(tuned="nothing", readout="attentive", drop_path=0.0, layer_decay=1.0),
}
"""Default options of the protocols of :func:`sslmed.transfer` that train a network."""


class FineTuned:
    """A network with a head that :func:`finetune` fitted on the labels of a cohort.

    It is an estimator as scikit-learn has them: predict, predict_proba, score.

    Attributes:
        encoder: The trained encoder.
        task: Encoder and head as one module.
        target_: Column that was learned.
        classes_: Names of the classes, in the order of the columns of :meth:`predict_proba`; empty for a regressed
            target.
        provenance: What the network has seen (:mod:`sslmed.provenance`): what the encoder had seen, and the cohort with
            its labels. The encoder's own lacks the latter where it was not tuned. None of a file written before this was kept.
    """

    def __init__(
        self,
        task: Supervised,
        encoder: CohortEncoder,
        target: str,
        classes: Array,
        seen: frozenset[str],
        salt: str,
        options: dict[str, Any],
        provenance: Provenance | None = None,
    ) -> None:
        self.task, self.encoder, self.target_, self.classes_, self.provenance = task, encoder, target, classes, provenance
        # Hashes of the training subjects: a file that is handed on must not name patients.
        self._seen, self._salt, self._options = seen, salt, options

    def __repr__(self) -> str:
        classes = f": {', '.join(map(str, self.classes_))}" if len(self.classes_) else ", regressed"
        return f"<FineTuned {self.target_}{classes}; {self.encoder!r}>"

    @own_settings()
    def predict(self, cohort: Cohort, *, threads: int = 2, batch_size: int = 64, on_error: OnError = "raise") -> Array:
        """Predicts the class or the value of each recording.

        Args:
            cohort: Recordings of any montage and rate, of subjects that the network was not trained on.
            threads: Number of loader threads.
            batch_size: Samples in a batch; does not change the result beyond rounding.
            on_error: "raise", or "skip" samples that cannot be read, with a warning.

        Returns:
            Names of classes [recordings], or regressed values [recordings]; NaN for a recording without a usable
            sample.

        Raises:
            TypeError: ``cohort`` is not a cohort.
            ValueError: A subject of the training data, or a recording without a usable sample whose class is asked for.
        """
        values = self._means(cohort, "predict", threads=threads, batch_size=batch_size, on_error=on_error)
        if not len(self.classes_):
            return values[:, 0]
        if (bad := ~np.isfinite(values).all(axis=1)).any():
            path = cohort.table["path"].to_numpy()[bad][0]
            raise ValueError(f"{cohort.name}: {int(bad.sum())} recordings have no usable sample, such as {path}; predict_proba gives NaN for them")
        return np.asarray(self.classes_[values.argmax(axis=1)])

    @own_settings()
    def predict_proba(self, cohort: Cohort, *, threads: int = 2, batch_size: int = 64, on_error: OnError = "raise") -> Array:
        """Predicts the probabilities of the classes, averaged over the samples of each recording.

        Args:
            cohort: As in :meth:`predict`.
            threads: As in :meth:`predict`.
            batch_size: As in :meth:`predict`.
            on_error: As in :meth:`predict`.

        Returns:
            Probabilities [recordings, classes], in the order of ``classes_``; NaN for a recording without a usable
            sample.

        Raises:
            TypeError: ``cohort`` is not a cohort.
            ValueError: The target is regressed, or a subject of the training data.
        """
        if not len(self.classes_):
            raise ValueError(f"predict_proba: target_={self.target_!r} is regressed and has no classes; use predict")
        return self._means(cohort, "predict_proba", threads=threads, batch_size=batch_size, on_error=on_error)

    @own_settings()
    def score(self, cohort: Cohort, *, threads: int = 2, batch_size: int = 64, on_error: OnError = "raise") -> float:
        """Scores the predictions of a labeled cohort.

        Args:
            cohort: As in :meth:`predict`, with the column ``target_``; recordings without a value are left out.
            threads: As in :meth:`predict`.
            batch_size: As in :meth:`predict`.
            on_error: As in :meth:`predict`.

        Returns:
            Balanced accuracy of classes, or R² of a regressed target (NaN if all values are equal).

        Raises:
            TypeError: ``cohort`` is not a cohort.
            ValueError: No such column, or a subject of the training data.
        """
        cohort, y = labeled(cohort, self.target_)
        predicted = self.predict(cohort, threads=threads, batch_size=batch_size, on_error=on_error)
        if len(self.classes_):
            right, truth = predicted == class_names(y), class_names(y)
            return float(np.mean([right[truth == c].mean() for c in np.unique(truth)]))
        y = y.astype(float)
        spread = ((y - y.mean()) ** 2).sum()
        return float(1 - ((y - predicted) ** 2).sum() / spread) if spread > 0 else float("nan")

    def _means(self, cohort: Cohort, where: str, *, threads: int, batch_size: int, on_error: OnError) -> Array:
        """Probabilities or values [recordings, n], averaged over samples."""
        if not isinstance(cohort, Cohort):
            raise TypeError(f"{where}: cohort={cohort!r} must be a Cohort, got {type(cohort).__name__}")
        whole(where, "threads", threads, 1)
        whole(where, "batch_size", batch_size, 1)
        choice(where, "on_error", on_error, get_args(OnError))
        renamed = set(cohort.table["subject"][overlap(self, cohort).label_rows])
        known = {s for s in cohort.table["subject"].unique() if _fingerprint(s, self._salt) in self._seen}
        refuse_overlap(known, known, f"{where}: cohort={cohort.name!r}")
        refuse_overlap(renamed, renamed, f"{where}: cohort={cohort.name!r}, recognized by their signals")
        values, recording = predict(self.task, self.encoder, cohort, threads=threads, batch_size=batch_size, on_error=on_error)
        if len(self.classes_):
            values = values.double().softmax(1)
        return recording_means(values, recording, len(cohort))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes weights, architecture, preprocessing and classes to one safetensors file.

        The file holds salted hashes of the training subjects, by which :meth:`predict` recognizes them: a name can be
        checked, none can be read.

        Args:
            path: File.

        Raises:
            TypeError: The encoder is written in Python; save ``task.state_dict()`` beside its class.
        """
        try:
            description = description_of(self.encoder)
        except TypeError as error:
            raise TypeError(f"save: encoder is a {type(self.encoder).__name__}: {error}; save task.state_dict() beside the class") from None
        task = {"target": self.target_, "classes": self.classes_.tolist(), "seen": sorted(self._seen), "salt": self._salt, "options": self._options}
        metadata = {
            "format": _FORMAT,
            "encoder": json.dumps(description),
            "task": json.dumps(task),
        }
        if self.provenance is not None:
            metadata["provenance"] = self.provenance.dumps()
        if (own := self.encoder.provenance) != self.provenance:
            metadata["encoder_provenance"] = "" if own is None else own.dumps()
        io.save_safetensors(self.task.state_dict(), path, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FineTuned:
        """Reads a file that :meth:`save` wrote.

        Args:
            path: File.

        Raises:
            FormatError: The file holds no fine-tuned network, or its weights do not fit.
        """
        metadata = io.load_metadata(path, _FORMAT)
        try:
            saved = json.loads(metadata["task"])
            encoder = from_description(json.loads(metadata["encoder"]))
            task = Supervised(encoder, **saved["options"])
            seen = Provenance.loads(metadata.get("provenance"))
            encoder.provenance = Provenance.loads(metadata["encoder_provenance"] or None) if "encoder_provenance" in metadata else seen
            out = cls(task, encoder, saved["target"], np.array(saved["classes"]), frozenset(saved["seen"]), saved["salt"], saved["options"], seen)
            task.load_state_dict(io.load_safetensors(path))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"{os.fspath(path)}: expected a fine-tuned network, found {error!r}") from error
        task.eval()
        return out


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
    seen = frozenset(_fingerprint(s, salt) for s in cohort.table["subject"].unique())
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


def _fingerprint(subject: str, salt: str) -> str:
    return hashlib.sha256(f"{salt}{subject}".encode()).hexdigest()[:32]


def named(options: FineTuning | str) -> FineTuning:
    """Returns options as they are, or those of a protocol by its name.

    Raises:
        ValueError: An unknown name.
    """
    if isinstance(options, FineTuning):
        return options
    if not isinstance(options, str) or options not in PROTOCOLS:
        raise ValueError(f"finetune: options={options!r} must be a FineTuning or one of {', '.join(map(repr, PROTOCOLS))}")
    return PROTOCOLS[options]
