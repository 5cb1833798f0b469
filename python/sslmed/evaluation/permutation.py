"""Chance, by permuting the labels of people and fitting everything anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sslmed.evaluation import probes
from sslmed.evaluation.crossfit import Pipeline, Study
from sslmed.evaluation.linear import fit_linear
from sslmed.evaluation.scoring import HIGHER, OutOfFold, scores

__all__ = ["Chance", "chance_level"]

Array = np.ndarray[Any, Any]

_REPEATS = 2
_MANY = 60  # rows from which on one draw of the folds is enough
_ROWS = 160  # up to which all label vectors are solved together in seconds
_FITS = 800  # folds times rows


@dataclass(frozen=True)
class Chance:
    """What a pipeline scores on permuted labels."""

    observed: dict[str, float]
    """Scores of the labels as they are, by the folds of the permutations."""
    permuted: dict[str, Array]
    """Scores [draws] of permuted labels."""

    def p(self, metric: str) -> float:
        """Share of the label vectors, the true one among them, that score at least as well."""
        sign = 1 if HIGHER.get(metric, True) else -1
        permuted = self.permuted[metric]
        if not np.isfinite(self.observed[metric]):
            return np.nan
        reached = sign * permuted[np.isfinite(permuted)] >= sign * self.observed[metric] - 1e-12
        return float((1 + reached.sum()) / (1 + len(reached)))


def chance_level(study: Study, how: Pipeline, metrics: tuple[str, ...], *, folds: int, draws: int = 199, seed: int = 0) -> Chance | None:
    """Permutes labels at the level of people and refits the pipeline, the choice of its strength included.

    A person's label goes to another person; classes that vary within a person are exchanged within that person. Of values
    that vary within people, such as ages at several visits, people exchange their means, and the rest is exchanged within
    each person. The folds are drawn without a look at the labels, because folds that are stratified by the true ones would tell them from
    permuted ones. More than two classes are fitted one against the rest, for the true labels as for permuted ones.

    Args:
        study: What is predicted.
        how: A linear pipeline.
        metrics: Names of the scores.
        folds: Number of folds; as many as people leaves one out at a time.
        draws: Number of permutations.
        seed: Seed of folds and permutations.

    Returns:
        The scores; None of a pipeline whose refits take too long.
    """
    rng = np.random.default_rng((seed, 3))
    people = int(study.person.max()) + 1
    if how.probe != "linear" or how.adaptation != "none" or how.correct or len(study.y) > _ROWS or min(folds, people) * len(study.y) > _FITS:
        return None
    labels = np.stack([study.y, *(_permuted(study, rng) for _ in range(draws))])
    several = study.classes is not None and len(study.classes) > 2
    repeats = 1 if folds >= people or len(study.y) > _MANY or several else _REPEATS
    found: dict[str, list[Array]] = {metric: [] for metric in metrics}
    for _ in range(repeats):
        part = (rng.permutation(people) % min(folds, people))[study.person]
        made = _predict(study, how, labels, part)
        for metric in metrics:
            found[metric].append(np.array([scores(metric, one, np.ones((1, len(one.truth))))[0] for one in made]))
    mean = {metric: np.mean(values, axis=0) for metric, values in found.items()}
    return Chance({m: float(v[0]) for m, v in mean.items()}, {m: v[1:] for m, v in mean.items()})


def _permuted(study: Study, rng: np.random.Generator) -> Array:
    """Labels [rows] that people exchange with each other, and that are dealt out anew within people of several."""
    if study.classes is None:
        return _permuted_values(study, rng)
    first = np.unique(study.person, return_index=True)[1]
    of_person = study.y[first]
    constant = np.bincount(study.person, study.y != of_person[study.person]) == 0
    of_person[constant] = rng.permutation(of_person[constant])
    out = np.where(constant[study.person], of_person[study.person], study.y)
    for i in np.flatnonzero(~constant):
        rows = np.flatnonzero(study.person == i)
        out[rows] = rng.permutation(out[rows])
    return out


def _permuted_values(study: Study, rng: np.random.Generator) -> Array:
    """Values [rows]: people exchange their means, and what rows are above their person's mean is dealt out anew within the person."""
    first = np.unique(study.person, return_index=True)[1]
    level = np.bincount(study.person, study.y) / np.bincount(study.person)
    constant = np.bincount(study.person, study.y != study.y[first][study.person]) == 0
    level[constant] = study.y[first][constant]
    rest = study.y - level[study.person]
    for i in np.flatnonzero(~constant):
        rows = np.flatnonzero(study.person == i)
        rest[rows] = rng.permutation(rest[rows])
    return np.asarray(rng.permutation(level)[study.person] + rest)


def _predict(study: Study, how: Pipeline, labels: Array, part: Array) -> list[OutOfFold]:
    """Out-of-fold predictions of each label vector."""
    regression = study.classes is None
    k = None if regression else len(study.classes)  # type: ignore[arg-type]
    n, b = len(study.y), len(labels)
    predicted = np.empty((b, n) if k is None else (b, n, k))
    prior = np.empty_like(predicted)
    for f in range(int(part.max()) + 1):
        train, test = np.flatnonzero(part != f), np.flatnonzero(part == f)
        x, x_test = (how.x[train], how.x[test]) if how.x.ndim == 2 else probes.tangent(how.x[train], how.x[test])
        codes = np.unique(study.person[train], return_inverse=True)[1]
        predicted[:, test] = _fitted(x, labels[:, train], x_test, codes, k, study.balanced, how.emphasis)
        if k is None:
            prior[:, test] = labels[:, train].mean(axis=1)[:, None]
        elif study.balanced:
            prior[:, test] = 1 / k
        else:
            prior[:, test] = np.stack([(labels[:, train] == c).mean(axis=1) for c in range(k)], axis=1)[:, None]
    return [_units(study, labels[i], predicted[i], prior[i], part) for i in range(b)]


def _fitted(x: Array, labels: Array, x_test: Array, codes: Array, k: int | None, balanced: bool, emphasis: Array | None) -> Array:
    """Predictions of each label vector. More than two classes are fitted one against the rest: a joint fit of K classes takes about K² times as long."""
    if k is None or k == 2:
        return fit_linear(x, labels, x_test, codes, classes=k, balanced=balanced, emphasis=emphasis).predicted
    one = [fit_linear(x, (labels == c).astype(int), x_test, codes, classes=2, balanced=balanced, emphasis=emphasis).predicted[..., 1] for c in range(k)]
    whole = np.stack(one, axis=-1)
    return np.asarray(whole / np.maximum(whole.sum(axis=-1, keepdims=True), 1e-12))


def _units(study: Study, y: Array, predicted: Array, prior: Array, part: Array) -> OutOfFold:
    """Means over the rows of each unit: of a person, or of each of a person's labels."""
    if (np.bincount(study.unit) == 1).all():
        return OutOfFold(y, predicted[None], prior[None], part, study.positive)
    value = np.unique(y, return_inverse=True)[1]
    key = study.person * (int(value.max()) + 1) + value
    _, first, code = np.unique(key, return_index=True, return_inverse=True)
    mean = np.zeros((len(first), len(y)))
    mean[code, np.arange(len(y))] = 1 / np.bincount(code)[code]
    return OutOfFold(y[first], (mean @ predicted)[None], prior[first][None], part[first], study.positive)
