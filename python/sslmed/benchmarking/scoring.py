"""Scores of one encoder on one column: by every protocol, in the same folds over people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from sslmed.benchmarking.cells import Cell
from sslmed.benchmarking.knn import best_k, knn_predict, usable
from sslmed.benchmarking.protocols import Linear, Neighbors, Protocol
from sslmed.benchmarking.sweep import Sweep, fit_sweep
from sslmed.evaluation.assess import metrics_of
from sslmed.evaluation.crossfit import Pipeline, Study
from sslmed.evaluation.intervals import Estimate, chance, paired
from sslmed.evaluation.seeds import Seeds, estimate_seeds, predictions, seeds_of

__all__ = ["COMPARED", "Score", "classical_scores", "difference_of", "dummy_scores", "encoder_scores", "scores_of"]

Array = np.ndarray[Any, Any]

COMPARED = {True: ("mae",), False: ("balanced_accuracy", "auroc")}
"""Scores that encoders are compared by, of values and of classes."""
_FIELDS = ("repeats", "left_out", "tested", "interplay")


@dataclass(frozen=True)
class Score:
    """A score that can be compared with another one of the same folds."""

    estimate: Estimate
    tested: Array
    """Numbers of the units that were tested."""
    both: bool
    """Whether people were left out of the training data too."""


def dummy_scores(study: Study) -> Cell:
    """Scores of predictions that know the training labels alone."""
    cell = Cell()
    _add(cell, study, "none", None)
    return cell


def classical_scores(study: Study, x: Array, probe: str, seed: int) -> Cell:
    """Scores of classical features [n, D], or of covariances [n, C, C], by the probe that suits them."""
    cell = Cell()
    _add(cell, study, "linear", Pipeline(x, probe, seed=seed))
    return cell


def encoder_scores(
    study: Study,
    protocols: Mapping[str, Protocol],
    pooled: Array,
    inputs: Mapping[str, Mapping[str, Array]],
    seed: int,
) -> Cell:
    """Scores an encoder's features by every protocol.

    Args:
        study: What is predicted of whom.
        protocols: Protocols by name. Sweeps use the first draw of the folds.
        pooled: Features of the rows [n, D], for nearest neighbors and linear probes.
        inputs: Features [n, D] of the inputs of heads, by protocol and input.
        seed: Seed of heads.

    Returns:
        Table "scores" (protocol, metric, value, low, high, n_subjects, sd_folds, sd_runs), "chosen" (protocol, draw,
        fold, choice), arrays for comparisons, and notes.
    """
    cell = Cell()
    for name, protocol in protocols.items():
        if isinstance(protocol, Linear):
            _add(cell, study, name, Pipeline(pooled, "linear", seed=seed))
        elif isinstance(protocol, Neighbors):
            _neighbors(cell, study, name, protocol, pooled)
        else:
            _sweep(cell, replace(study, repeats=study.repeats[:1]), name, protocol, inputs[name], seed)
    return cell


def scores_of(cell: Cell, protocol: str, metric: str) -> Score | None:
    """The score of a protocol, as :func:`encoder_scores` kept it for comparisons; None where there is none."""
    table = cell.tables["scores"]
    line = table[(table["protocol"] == protocol) & (table["metric"] == metric)]
    key = f"{protocol}\t{metric}"
    if not len(line) or f"{key}\trepeats" not in cell.arrays:
        return None
    value, low, high = (float(line[name].iloc[0]) for name in ("value", "low", "high"))
    parts: dict[str, Any] = {name: cell.arrays.get(f"{key}\t{name}") for name in _FIELDS}
    found = Estimate(metric, value, variance=np.nan, low=low, high=high, **parts)
    return Score(found, cell.arrays[f"{protocol}\ttested"], bool(cell.arrays[f"{protocol}\tboth"][0]))


def difference_of(study: Study, a: Score, b: Score) -> tuple[float, float, float, float]:
    """Difference of two scores of the same folds, the ends of its 95 % interval, and its p value."""
    draws = len(a.estimate.repeats)
    same = replace(study, repeats=study.repeats[:draws])
    return paired(same, a.estimate, b.estimate, a.tested, both=a.both and b.both)


def _add(cell: Cell, study: Study, name: str, how: Seeds | Pipeline | list[Array] | None) -> None:
    """Adds the lines of one protocol."""
    made = predictions(study, how)
    people = len(np.unique(study.person_of_unit[made[0].tested]))
    lines = []
    for metric in metrics_of(study, None):
        exact = _exact(study, metric) if how is None else None
        found, between = estimate_seeds(study, metric, made, seeds_of(how), exact=exact)
        spread = float(np.std(found.repeats, ddof=1)) if len(found.repeats) > 1 and exact is None else np.nan
        lines.append((name, metric, found.value, found.low, found.high, people, spread, between))
        if how is not None and metric in COMPARED[study.classes is None]:
            for part in _FIELDS:
                if (value := getattr(found, part)) is not None:
                    cell.arrays[f"{name}\t{metric}\t{part}"] = np.asarray(value)
    columns = ["protocol", "metric", "value", "low", "high", "n_subjects", "sd_folds", "sd_runs"]
    table = pd.DataFrame(lines, columns=columns)
    cell.add("scores", table)
    cell.arrays[f"{name}\ttested"] = made[0].tested
    cell.arrays[f"{name}\tboth"] = np.array([all(one.without is not None for one in made)])


def _exact(study: Study, metric: str) -> float | None:
    """What a dummy scores by definition."""
    level = chance("balanced_accuracy", study.classes)
    return {"balanced_accuracy": level, "auroc": 0.5, "r2": 0.0}.get(metric)


def _empty(study: Study) -> Array:
    return np.full((len(study.y),) if study.classes is None else (len(study.y), len(study.classes)), np.nan)


def _neighbors(cell: Cell, study: Study, name: str, protocol: Neighbors, x: Array) -> None:
    """Each k that all training parts have, and the one that training people choose."""
    classes = None if study.classes is None else len(study.classes)
    # Nobody is chosen by their own recordings.
    smallest = min(len(t) - int(np.bincount(study.person[t]).max()) for folds in study.repeats for t, _ in folds)
    fixed = usable(protocol.k, smallest)
    if left := sorted(set(protocol.k) - set(fixed)):
        text = ", ".join(map(str, left))
        cell.notes.append(f"{name}: k = {text} left out: a training part has {smallest} recordings of other people.")
    if not fixed:
        return
    made: dict[int, list[Array]] = {k: [] for k in fixed}
    best, chosen = [], []
    for draw, folds in enumerate(study.repeats):
        rows = {k: _empty(study) for k in fixed}
        own = _empty(study)
        for fold, (train, test) in enumerate(folds):
            found = knn_predict(x[train], study.y[train], x[test], classes, k=fixed, temperature=protocol.temperature)
            person = np.unique(study.person[train], return_inverse=True)[1]
            k, _ = best_k(x[train], study.y[train], person, classes, k=fixed, temperature=protocol.temperature)
            for one, predicted in found.items():
                rows[one][test] = predicted
            own[test] = found[k]
            chosen.append((name, draw, fold, f"k={k}"))
        best.append(own)
        for k in fixed:
            made[k].append(rows[k])
    _add(cell, study, name, best)
    for k in fixed:
        _add(cell, study, f"{name}, k={k}", made[k])
    _add_chosen(cell, chosen)


def _sweep(cell: Cell, study: Study, name: str, protocol: Sweep, inputs: Mapping[str, Array], seed: int) -> None:
    """Heads of each fold, chosen inside its training people."""
    classes = None if study.classes is None else len(study.classes)
    runs = [_empty(study) for _ in range(protocol.runs)]
    chosen: list[tuple[Any, ...]] = []
    for fold, (train, test) in enumerate(study.repeats[0]):
        own = {key: x[train] for key, x in inputs.items()}
        fitted = fit_sweep(own, study.y[train], study.person[train], protocol, classes=classes, seed=seed + fold)
        for run, predicted in enumerate(fitted.predict({key: x[test] for key, x in inputs.items()})):
            runs[run][test] = predicted
        for line in fitted.table[fitted.table["chosen"]].to_dict("records"):
            chosen.append((name, 0, fold, f"{line['input']}, lr={line['lr']:g}"))
    if any(np.isnan(one[test]).any() for one in runs for _, test in study.repeats[0]):
        cell.notes.append(f"{name}: no score: features are so large that heads diverge by every learning rate.")
    _add(cell, study, name, Seeds(tuple([one] for one in runs)) if len(runs) > 1 else runs)
    _add_chosen(cell, chosen)


def _add_chosen(cell: Cell, lines: Sequence[tuple[Any, ...]]) -> None:
    table = pd.DataFrame(lines, columns=["protocol", "draw", "fold", "choice"])
    cell.add("chosen", table)
