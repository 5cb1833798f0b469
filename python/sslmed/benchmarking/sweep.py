"""Linear heads on cached features, trained by gradient descent, all of a sweep at once: DINOv2's, FOMO26's and eva's.

The heads of one input differ by their learning rate alone, so that one product [rows, D] × [D, heads · classes] is the
forward pass of all of them, and another one their gradient. Heads, epochs and learning rates are chosen on a part of
the training people that no head was trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from sslmed._checks import choice, number, whole
from sslmed._world import own_settings
from sslmed.benchmarking.choices import Choice, held_out, score_of
from sslmed.benchmarking.descent import Adam, Momentum, loss_of

__all__ = ["LEARNING_RATES", "Fitted", "Sweep", "fit_sweep"]

Array = np.ndarray[Any, Any]

LEARNING_RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1)
"""The 13 learning rates of DINOv2's linear evaluation (arXiv 2304.07193), which 3DINO and FOMO26 have, too."""


@dataclass(frozen=True)
class Sweep:
    """How linear heads are trained and chosen (:func:`fit_sweep`).

    Examples:
        >>> from sslmed.benchmarking import Sweep
        >>> len(Sweep().learning_rates), Sweep(steps=12_500).batch_size
        (13, 128)
    """

    learning_rates: tuple[float, ...] = LEARNING_RATES
    """One head each."""
    scale_lr: bool = True
    """Multiply learning rates by ``batch_size`` / 256."""
    blocks: tuple[int, ...] = (1, 4)
    """Numbers of last blocks whose features are an input."""
    tokens: tuple[Literal["cls", "cls+avg", "avg"], ...] = ("cls", "cls+avg")
    """Class tokens of the blocks; with the mean over the last block's patches beside them; or that mean alone."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum .9, or AdamW with betas .9 and .999; both without weight decay."""
    batch_size: int = 128
    """Rows in a batch; the last one of an epoch has what is left."""
    steps: int = 1250
    """Steps of the cosine schedule; 0: ``epochs``."""
    epochs: int = 0
    """Passes over the training part, with ``steps=0``."""
    validation: float = 0.2
    """Share of the training people that choices are made on."""
    choose: Choice = "accuracy"
    """Score that the choice is made by ("mae" of values, whatever this is); ties go to the smaller validation loss."""
    patience: float = 0.0
    """Share of all epochs after which heads that got no better stop; the best epoch is kept. 0: all steps."""
    runs: int = 1
    """Trainings from different initial weights and orders."""
    init: Literal["normal", "uniform"] = "normal"
    """Initial weights: "normal" with standard deviation .01 and no bias, or "uniform" as ``torch.nn.Linear``."""

    def __post_init__(self) -> None:
        for name, values in (("learning_rates", self.learning_rates), ("blocks", self.blocks), ("tokens", self.tokens)):
            if not values:
                raise ValueError(f"Sweep: {name}=() must hold at least one")
        for lr in self.learning_rates:
            number("Sweep", "learning_rates", lr, 0, strict=True)
        for one in self.blocks:
            whole("Sweep", "blocks", one, 1)
        for token in self.tokens:
            choice("Sweep", "tokens", token, ("cls", "cls+avg", "avg"))
        choice("Sweep", "optimizer", self.optimizer, ("sgd", "adamw"))
        choice("Sweep", "choose", self.choose, ("accuracy", "balanced_accuracy", "auroc", "mae"))
        choice("Sweep", "init", self.init, ("normal", "uniform"))
        for name, least in (("batch_size", 1), ("steps", 0), ("epochs", 0), ("runs", 1)):
            whole("Sweep", name, getattr(self, name), least)
        if bool(self.steps) == bool(self.epochs):
            raise ValueError(f"Sweep: steps={self.steps}, epochs={self.epochs}: one of the two must be 0")
        number("Sweep", "validation", self.validation, 0, 0.5, strict=True)
        number("Sweep", "patience", self.patience, 0, 1)


@dataclass(frozen=True)
class Fitted:
    """Chosen heads of a sweep, one a run."""

    table: pd.DataFrame
    """Every head: run, input, lr, epoch (that was kept), score and loss (of the validation part), chosen."""
    heads: list[tuple[str, Array, Array]]
    """Input, weights [D, K] and bias [K] of the chosen head of each run."""
    classes: int | None
    center: float = 0.0
    scale: float = 1.0
    """Of regressed values, in the part that heads were trained on."""

    def predict(self, inputs: Mapping[str, Array]) -> list[Array]:
        """Predicts rows with the chosen head of each run.

        Args:
            inputs: Features [m, D] by input.

        Returns:
            For each run shares [m, classes], or values [m].
        """
        out = []
        for name, weight, bias in self.heads:
            answer = np.asarray(inputs[name], dtype=np.float64) @ weight + bias
            if self.classes is None:
                out.append(answer[:, 0] * self.scale + self.center)
            else:
                out.append(torch.from_numpy(answer).softmax(1).numpy())
        return out


@own_settings()
def fit_sweep(
    inputs: Mapping[str, Array],
    y: Array,
    person: Array,
    how: Sweep | None = None,
    *,
    classes: int | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Fitted:
    """Trains all heads of a sweep and chooses one of them on people whom none was trained on.

    Args:
        inputs: Features of the training rows [n, D] by input, such as "1 block, cls".
        y: Numbers of classes, or values [n].
        person: Number of the person of each row [n].
        how: Options.
        classes: Number of classes; None: values, whose squared error is minimized.
        seed: Seed of the validation part, the initial weights and the order.
        dtype: Type of weights and features in training.

    Returns:
        The chosen heads, and how all of them did on the validation part.

    Raises:
        ValueError: Lengths do not fit, or there are fewer than four people.

    Examples:
        >>> import numpy as np
        >>> from sslmed.benchmarking import Sweep, fit_sweep
        >>> rng, y = np.random.default_rng(0), np.tile([0, 1], 30)
        >>> x = rng.normal(size=(60, 4)) + 3.0 * y[:, None]
        >>> fitted = fit_sweep({"features": x}, y, np.arange(60), Sweep(steps=100), classes=2)
        >>> bool((fitted.predict({"features": x})[0].argmax(axis=1) == y).mean() > 0.9), len(fitted.table)
        (True, 13)
    """
    how = Sweep() if how is None else how
    whole("fit_sweep", "seed", seed)
    for name, x in inputs.items():
        if x.ndim != 2 or len(x) != len(y) or len(person) != len(y):
            shapes = f"got {list(x.shape)}, {len(y)} targets and {len(person)} persons"
            raise ValueError(f"fit_sweep: inputs[{name!r}] must be [n, D] with n targets and persons, {shapes}")
    if len(np.unique(person)) < 4:
        raise ValueError(f"fit_sweep: person: expected four people or more, got {len(np.unique(person))}")
    codes = np.unique(person, return_inverse=True)[1]
    valid = held_out(y, codes, how.validation, (seed, 0), classes)
    center, scale = (0.0, 1.0) if classes is not None else (float(y[~valid].mean()), float(y[~valid].std()) or 1.0)
    target = y if classes is not None else (y - center) / scale
    lines: list[dict[str, Any]] = []
    weights: list[tuple[str, Array, Array]] = []
    for run in range(how.runs):
        batches = list(_batches(int((~valid).sum()), how, (seed, 1, run)))
        for number_, (name, x) in enumerate(inputs.items()):
            rows = torch.from_numpy(np.ascontiguousarray(x[~valid])).to(dtype)
            checks = torch.from_numpy(np.ascontiguousarray(x[valid])).to(dtype)
            trained = _Heads(rows.shape[1], classes, how, (seed, 2, run, number_), dtype)
            found = trained.fit(rows, target[~valid], batches, checks, target[valid], codes[valid])
            lines += [{"run": run, "input": name} | line for line in found]
            weights += [(name, w, b) for w, b in trained.weights()]
    table = pd.DataFrame(lines)
    chosen = _chosen(table, "mae" if classes is None else how.choose)
    table["chosen"] = [row in chosen for row in range(len(table))]
    return Fitted(table, [weights[row] for row in chosen], classes, center, scale)


def _chosen(table: pd.DataFrame, metric: Choice) -> list[int]:
    """The best head of each run."""
    sign = 1.0 if metric == "mae" else -1.0
    order = pd.DataFrame({"run": table["run"], "score": sign * table["score"].round(12), "loss": table["loss"]})
    ordered = order.sort_values(["run", "score", "loss"], kind="stable", na_position="last")
    return [int(row) for row in ordered.drop_duplicates("run").index]


def _batches(n: int, how: Sweep, seed: tuple[int, ...]) -> Iterator[tuple[Array, bool]]:
    """Rows of each step, and whether it ends an epoch or the training."""
    rng = np.random.default_rng(seed)
    per_epoch = -(-n // how.batch_size)
    total, done = how.steps or how.epochs * per_epoch, 0
    while done < total:
        order = rng.permutation(n)
        for start in range(0, n, how.batch_size):
            done += 1
            yield order[start : start + how.batch_size], done == total or start + how.batch_size >= n
            if done == total:
                return


class _Heads:
    """The heads of one input and run: one matrix for all learning rates."""

    def __init__(self, dim: int, classes: int | None, how: Sweep, seed: tuple[int, ...], dtype: torch.dtype) -> None:
        self.classes, self.how = classes, how
        self.heads, self.wide = len(how.learning_rates), classes or 1
        rng = np.random.default_rng(seed)
        shape = (dim, self.heads, self.wide)
        if how.init == "normal":
            weight, bias = rng.normal(0.0, 0.01, shape), np.zeros(shape[1:])
        else:
            edge = 1 / np.sqrt(dim)
            weight, bias = rng.uniform(-edge, edge, shape), rng.uniform(-edge, edge, shape[1:])
        self.weight = torch.from_numpy(weight.reshape(dim, -1)).to(dtype)
        self.bias = torch.from_numpy(bias.reshape(-1)).to(dtype)
        factor = how.batch_size / 256 if how.scale_lr else 1.0
        self.lr = torch.tensor(how.learning_rates, dtype=torch.float64).repeat_interleave(self.wide).to(dtype) * factor
        self.kept = (self.weight.clone(), self.bias.clone())

    def fit(
        self,
        x: torch.Tensor,
        y: Array,
        batches: list[tuple[Array, bool]],
        x_valid: torch.Tensor,
        y_valid: Array,
        person: Array,
    ) -> list[dict[str, Any]]:
        """Trains the heads; one line a head: lr, epoch, score, loss."""
        kind = Momentum if self.how.optimizer == "sgd" else Adam
        optimizer = kind(self.weight, self.bias)
        target = torch.from_numpy(np.asarray(y))
        last, epoch = len(batches), 0
        epochs = sum(ends for _, ends in batches)
        best: list[tuple[float, float, int]] = [(np.inf, np.inf, 0)] * self.heads
        for step, (rows, ends) in enumerate(batches):
            index = torch.from_numpy(rows)
            part = x[index]
            _, slope = loss_of(part @ self.weight + self.bias, target[index], self.heads, self.classes)
            rate = self.lr * 0.5 * (1 + np.cos(np.pi * step / last))
            optimizer.step(part.T @ slope, slope.sum(0), rate)
            epoch += ends
            if step + 1 == last or (ends and self.how.patience):
                self._look(x_valid, y_valid, person, epoch, best)
            if self.how.patience and epoch - max(e for _, _, e in best) >= max(1.0, self.how.patience * epochs):
                break
        sign = 1.0 if self.classes is None else -1.0
        return [
            {"lr": lr, "epoch": e, "score": sign * s if np.isfinite(s) else np.nan, "loss": loss}
            for lr, (s, loss, e) in zip(self.how.learning_rates, best, strict=True)
        ]

    def weights(self) -> list[tuple[Array, Array]]:
        """Weights [D, K] and bias [K] of each head, of the epoch that is kept."""
        weight, bias = (value.double().numpy() for value in self.kept)
        cut = [slice(h * self.wide, (h + 1) * self.wide) for h in range(self.heads)]
        return [(weight[:, one].copy(), bias[one].copy()) for one in cut]

    def _look(self, x: torch.Tensor, y: Array, person: Array, epoch: int, best: list[tuple[float, float, int]]) -> None:
        """Scores all heads on the validation part, and keeps those that are better than before."""
        answers = x @ self.weight + self.bias
        losses, _ = loss_of(answers, torch.from_numpy(np.asarray(y)), self.heads, self.classes)
        made = answers.view(len(x), self.heads, self.wide).double()
        for head in range(self.heads):
            said = made[:, head, 0].numpy() if self.classes is None else made[:, head].softmax(1).numpy()
            metric: Choice = "mae" if self.classes is None else self.how.choose
            score = score_of(metric, said, y, person, self.classes)
            # Smaller is better; a score that is not defined is the worst.
            key = (score if self.classes is None else -score) if np.isfinite(score) else np.inf
            if not self.how.patience or (key, float(losses[head])) < best[head][:2]:
                best[head] = (key, float(losses[head]), epoch)
                columns = slice(head * self.wide, (head + 1) * self.wide)
                self.kept[0][:, columns] = self.weight[:, columns]
                self.kept[1][columns] = self.bias[columns]
