"""Training a network over bags, and what it says of bags that it has not seen."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from sslmed._core import C
from sslmed._world import own_settings
from sslmed.bags.store import FeatureStore
from sslmed.bags.task import AggregatorName, BagTask, BagTraining

__all__ = ["Bags", "Fitted", "fit_bags", "loader_of", "predict_bags"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Bags:
    """Bags of a store: which slides are in each, whose they are, and what is known of them."""

    store: FeatureStore
    slides: list[list[str]]
    """Names of the slides of each bag."""
    subjects: list[str]
    """Whose bag it is."""
    targets: Mapping[str, Array] = field(default_factory=dict)
    """Numbers by name, one a bag."""

    def __len__(self) -> int:
        return len(self.slides)

    def subset(self, rows: Sequence[int] | Array) -> Bags:
        """The bags at these positions."""
        index = np.asarray(rows, dtype=int)
        targets = {name: np.asarray(values)[index] for name, values in self.targets.items()}
        return Bags(self.store, [self.slides[i] for i in index], [self.subjects[i] for i in index], targets)

    def source(self, max_rows: int = 0) -> C.BagSource:
        """The bags as a C++ source; no file is opened.

        Args:
            max_rows: Most rows of a bag, drawn anew in each epoch; 0: all.
        """
        return C.BagSource(
            names=[", ".join(names) for names in self.slides],
            subjects=[str(s) for s in self.subjects],
            files=[[str(self.store.path(name)) for name in names] for names in self.slides],
            targets={name: [float(v) for v in values] for name, values in self.targets.items()},
            max_rows=max_rows,
        )


@dataclass
class Fitted:
    """A trained network, and how its training went."""

    task: BagTask
    history: list[dict[str, float]]
    """One entry an epoch: epoch, loss (of training), validation (NaN without), best (1 where its weights are kept)."""
    epochs: int
    """Epochs until the weights that are kept."""


def loader_of(bags: Bags, *, batch_size: int, threads: int = 2) -> C.Loader:
    """A running loader that gives each bag once, in order."""
    source = bags.source()
    sampler = C.Sampler(source, "sequential", batch_size, False, 0)
    return C.LoaderPlan(source, sampler, C.BagRecipe(), threads=threads, end=sampler.batches_per_epoch).open()


@own_settings()
def predict_bags(task: BagTask, bags: Bags, *, threads: int = 2) -> Array:
    """Outputs of a network [bags, classes or 1] float64: logits, values or log hazard ratios, without dropout."""
    training = task.training
    task.eval()
    try:
        values, ids = C.bag_answers(task._handle, loader_of(bags, batch_size=1, threads=threads))
    finally:
        task.train(training)
    assert ids.tolist() == list(range(len(bags)))
    found: Array = values.numpy()
    return found


@own_settings()
def fit_bags(
    aggregator: AggregatorName,
    train: Bags,
    validation: Bags | None,
    *,
    outcome: str,
    classes: int = 0,
    options: BagTraining | None = None,
    seed: int = 0,
    threads: int = 2,
) -> Fitted:
    """Trains an aggregator and a head on bags; the epoch with the lowest loss of ``validation`` is kept.

    Args:
        aggregator: Name of the aggregator.
        train: Bags with the target "target" (number of the class, value, or time) and, for survival, "event".
        validation: Bags by which the epoch is chosen; None: all epochs are done.
        outcome: "classes", "value" or "survival".
        classes: Number of classes.
        options: Network and training.
        seed: Seed of weights, order and dropout.
        threads: Loader threads; the result does not depend on them.

    Raises:
        FormatError, ReadError: A file of features cannot be read.
        NonFiniteError: The loss or a gradient was not finite.
    """
    how = BagTraining() if options is None else options
    values = np.asarray(train.targets["target"], dtype=float)
    known: dict[str, Any] = {"mean": float(values.mean()), "scale": float(values.std()) or 1.0} if outcome == "value" else {}
    width = train.store.read(train.slides[0][0]).features.shape[1]
    task = BagTask(aggregator, width, outcome=outcome, classes=classes, options=how, seed=seed, **known)  # type: ignore[arg-type]
    task.train()
    source = train.source(how.max_rows)
    wanted = how.batch_size or (32 if outcome == "survival" else 8)
    sampler = C.Sampler(source, "shuffle", min(wanted, len(train)), True, seed, None)
    per_epoch = sampler.batches_per_epoch
    trainer = C.Trainer(
        task._handle,
        C.LoaderPlan(source, sampler, threads=threads),
        C.TrainOptions(
            epochs=how.epochs, lr=how.lr, warmup_steps=math.ceil(how.warmup * how.epochs * per_epoch), weight_decay=how.weight_decay,
            clip_norm=how.clip_norm, bf16=how.bf16, device=how.device, monitor_every=0,
        ),
    )  # fmt: skip
    history: list[dict[str, float]] = []
    best, kept, best_epoch = math.inf, None, how.epochs
    for epoch in range(1, how.epochs + 1):
        lines: list[dict[str, float]] = []
        trainer.fit(lambda rows, into=lines: into.extend(rows), epoch * per_epoch)
        history.append({"epoch": epoch, "loss": float(np.mean([line["loss"] for line in lines])) if lines else math.nan, "validation": math.nan, "best": 0.0})
        if validation is None or how.patience == 0:
            continue
        loss = _loss(task, validation, outcome, how, threads, known)
        history[-1]["validation"] = loss
        if loss < best:
            best, best_epoch, kept = loss, epoch, copy.deepcopy(task.state_dict())
            history[-1]["best"] = 1.0
        elif epoch - best_epoch >= how.patience or (kept is None and epoch >= how.patience):
            break
    if kept is not None:
        task.load_state_dict(kept)
    task.eval()
    return Fitted(task, history, best_epoch if kept is not None else len(history))


def _loss(task: BagTask, bags: Bags, outcome: str, how: BagTraining, threads: int, known: Mapping[str, float]) -> float:
    """Mean loss of bags that are not trained on."""
    said = torch.from_numpy(predict_bags(task, bags, threads=threads))
    target = torch.from_numpy(np.asarray(bags.targets["target"], dtype=float))
    if outcome == "classes":
        return float(torch.nn.functional.cross_entropy(said, target.long()))
    if outcome == "value":
        return float((((said[:, 0] - target) / known["scale"]) ** 2).mean())
    return float(C.cox(said[:, 0], target, torch.from_numpy(np.asarray(bags.targets["event"], dtype=float)), how.ties))
