"""Repeated cross-fitting: predictions of people by probes that have not seen them, and what they would be without each other person."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold
from threadpoolctl import ThreadpoolController

from sslmed.evaluation import probes
from sslmed.evaluation.brain_age import BiasCorrection
from sslmed.evaluation.linear import fit_linear
from sslmed.evaluation.scoring import OutOfFold
from sslmed.evaluation.splits import Fold

__all__ = ["GROUPS", "Made", "Pipeline", "Study", "cross_fit", "dummy", "given"]

Array = np.ndarray[Any, Any]

_LARGE = 1 << 20  # bytes of features from which on repeats are computed side by side
GROUPS = 200
"""Largest number of groups of people that are left out in turn; with fewer people each is a group."""


@dataclass(frozen=True)
class Study:
    """What is predicted of whom, by which folds."""

    y: Array
    """Numbers of classes, or values [rows]."""
    person: Array
    """Number of the person of each row [rows]."""
    classes: Array | None
    """Names of the classes; None: values are regressed."""
    repeats: list[list[Fold]]
    """Folds (train, test) of rows, of each repeat."""
    unit: Array
    """Number of the unit that each row counts in [rows]: a person, a person's label, or the row itself."""
    group: Array
    """Number of the group of people that each row is left out with [rows]."""
    positive: int = -1
    """Number of the class that precision, sensitivity and the like are of."""
    balanced: bool = False
    """Whether every class weighs alike in all fits, instead of every row."""
    level: str = "person"
    """What a unit is: "person" (each of a person's labels) or "recording"."""

    @property
    def truth(self) -> Array:
        """[units]"""
        return self._of_unit(self.y)

    @property
    def group_of_unit(self) -> Array:
        """[units]"""
        return self._of_unit(self.group)

    @property
    def person_of_unit(self) -> Array:
        """[units]"""
        return self._of_unit(self.person)

    def _of_unit(self, values: Array) -> Array:
        return np.asarray(values[np.unique(self.unit, return_index=True)[1]])

    @classmethod
    def of(cls, y: Array, subjects: Array, classes: Array | None, repeats: list[list[Fold]], *, level: str = "person", **how: Any) -> Study:
        """A study of rows by the names of their subjects."""
        person = np.unique(np.asarray(subjects).astype(str), return_inverse=True)[1]
        keys = np.stack([person, np.unique(y, return_inverse=True)[1]], axis=1)
        unit = np.arange(len(y)) if level == "recording" else np.unique(keys, axis=0, return_inverse=True)[1].ravel()
        first = np.unique(person, return_index=True)[1]
        group = person
        if len(first) > GROUPS:  # alike in the target, so that no group is all of one class
            order = np.lexsort((first, y[first]))
            of_person = np.empty(len(first), int)
            of_person[order] = np.arange(len(first)) % GROUPS
            group = of_person[person]
        return cls(y, person, classes, repeats, unit, group, level=level, **how)


@dataclass(frozen=True)
class Pipeline:
    """How a row of a table is predicted from features."""

    x: Array
    """Features [rows, D], or covariances [rows, C, C]."""
    probe: str = "linear"
    adaptation: Any = "none"
    emphasis: Array | None = None
    """Factor of each standardized column [D]."""
    seed: int = 0
    correct: bool = False
    """Correct regressed values for their bias towards the mean."""
    line: Array | None = None
    """Rows that the line of that correction is fitted on [rows], bool; all by default."""


@dataclass(frozen=True)
class Made:
    """Predictions of one repeat."""

    rows: Array
    """Predictions [rows, K] or [rows]; NaN of rows that no fold tests."""
    prior: Array
    """What the training part alone says [rows, K] or [rows]."""
    units: OutOfFold
    """Predictions of the units that were tested."""
    without: OutOfFold | None
    """The same without each group of people; None where that would need a fit for each."""
    tested: Array
    """Numbers of the units that were tested."""


def cross_fit(study: Study, pipeline: Pipeline) -> list[Made]:
    """Predicts all units in each repeat."""

    def one(folds: list[Fold]) -> Made:
        return _repeat(study, folds, lambda train, test: _fit(study, pipeline, train, test))

    # One thread of BLAS: a thousand small products would mostly wait for each other; large features share the repeats.
    with ThreadpoolController().limit(limits=1, user_api="blas"):
        if pipeline.x.nbytes < _LARGE or len(study.repeats) == 1:
            return [one(folds) for folds in study.repeats]
        with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
            return list(pool.map(one, study.repeats))


def dummy(study: Study) -> list[Made]:
    """Predictions that know the training labels alone."""

    def fit(train: Array, test: Array) -> tuple[Array, Array | None]:
        prior, without = _prior(study, train)
        return np.repeat(prior[None], len(test), axis=0), np.repeat(without[:, None], len(test), axis=1)

    return [_repeat(study, folds, fit) for folds in study.repeats]


def given(study: Study, predicted: Sequence[Array]) -> list[Made]:
    """Predictions that somebody else made, [rows, K] or [rows] of each repeat."""
    made = zip(study.repeats, predicted, strict=True)
    return [_repeat(study, folds, lambda train, test, p=p: (p[test], None)) for folds, p in made]  # type: ignore[misc]


def _prior(study: Study, train: Array) -> tuple[Array, Array]:
    """Shares of the classes [K] or the mean in a training part, and without each group [G, …]."""
    groups = int(study.group.max()) + 1
    g = study.group[train]
    if study.classes is None:
        total, size = np.bincount(g, study.y[train], groups), np.bincount(g, minlength=groups)
        return study.y[train].mean(), (total.sum() - total) / np.maximum(size.sum() - size, 1)
    if study.balanced:
        share = np.full(len(study.classes), 1 / len(study.classes))
        return share, np.repeat(share[None], groups, axis=0)
    counts = np.zeros((groups, len(study.classes)))
    np.add.at(counts, (g, study.y[train]), 1)
    left = counts.sum(axis=0) - counts
    return counts.sum(axis=0) / counts.sum(), left / np.maximum(left.sum(axis=1, keepdims=True), 1)


def _repeat(study: Study, folds: list[Fold], fit: Callable[[Array, Array], tuple[Array, Array | None]]) -> Made:
    """Collects the folds' predictions, by rows and by units."""
    n, groups = len(study.y), int(study.group.max()) + 1
    units = int(study.unit.max()) + 1
    wide = () if study.classes is None else (len(study.classes),)
    rows, prior_of_row = np.full((n, *wide), np.nan), np.full((n, *wide), np.nan)
    of_unit, prior, fold = np.full((units, *wide), np.nan), np.full((units, *wide), np.nan), np.full(units, -1)
    without, prior_without, complete = np.empty((groups, units, *wide)), np.empty((groups, units, *wide)), True
    for number, (train, test) in enumerate(folds):
        predicted, left = fit(train, test)
        there, code = np.unique(study.unit[test], return_inverse=True)
        mean = np.zeros((len(there), len(test)))
        mean[code, np.arange(len(test))] = 1 / np.bincount(code)[code]
        share, share_without = _prior(study, train)
        rows[test], prior_of_row[test] = predicted, share
        of_unit[there], prior[there], fold[there] = mean @ predicted, share, number
        if left is None:
            complete = False
            continue
        # Groups beyond the last one of this training part change nothing.
        left = np.concatenate([left, np.repeat(predicted[None], groups - len(left), axis=0)])
        without[:, there] = mean @ left if wide else left @ mean.T
        prior_without[:, there] = share_without[:, None]
    tested = np.flatnonzero(fold >= 0)
    truth = study.truth[tested]
    full = OutOfFold(truth, of_unit[None, tested], prior[None, tested], fold[tested], study.positive)
    parts = OutOfFold(truth, without[:, tested], prior_without[:, tested], fold[tested], study.positive) if complete else None
    return Made(rows, prior_of_row, full, parts, tested)


def _fit(study: Study, how: Pipeline, train: Array, test: Array) -> tuple[Array, Array | None]:
    """Predictions of test rows by a probe of the training rows, and without each group."""
    x, x_test, y, person = how.x[train], how.x[test], study.y[train], study.person[train]
    regression = study.classes is None
    if how.probe != "linear" or how.adaptation != "none":
        classes = None if regression else np.arange(len(study.classes))  # type: ignore[arg-type]
        predicted = probes.fit_predict(
            x, y, person, x_test, classes, how.probe, regression, adaptation=how.adaptation, seed=how.seed, balanced=study.balanced  # type: ignore[arg-type]
        )  # fmt: skip
        return (_corrected_by_folds(how, train, person, x, y, predicted) if how.correct else predicted), None
    if x.ndim == 3:
        x, x_test = probes.tangent(x, x_test)
    codes = np.unique(person, return_inverse=True)[1]
    k = None if regression else len(study.classes)  # type: ignore[arg-type]
    fit = fit_linear(x, y, x_test, codes, classes=k, balanced=study.balanced, left_out=study.group[train], emphasis=how.emphasis)
    if not how.correct:
        return fit.predicted[0], fit.without
    assert fit.out_of_person is not None
    correction = _line(how, train, person, y, fit.out_of_person)
    return correction.transform(fit.predicted[0]), None if fit.without is None else correction.transform(fit.without)


def _line(how: Pipeline, train: Array, person: Array, y: Array, predicted: Array) -> BiasCorrection:
    """The line of regression to the mean, of predictions of training people that have not seen the person."""
    return BiasCorrection().fit(predicted, y, person, fitted_on=None if how.line is None else how.line[train])


def _corrected_by_folds(how: Pipeline, train: Array, person: Array, x: Array, y: Array, predicted: Array) -> Array:
    inner = GroupKFold(min(5, len(np.unique(person)))).split(x, y, person)
    out = probes.cross_predict(x, y, person, inner, how.probe, True, adaptation=how.adaptation, seed=how.seed)  # type: ignore[arg-type]
    return _line(how, train, person, y, out).transform(predicted)
