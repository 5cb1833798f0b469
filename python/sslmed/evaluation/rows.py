"""The rows of a transfer: predictions of each pipeline for subjects that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sslmed.cohort import Cohort
from sslmed.encoders import CohortEncoder
from sslmed.evaluation import features
from sslmed.evaluation import probes as evaluate
from sslmed.finetuning import PROTOCOLS, FineTuning, finetune, named
from sslmed.modalities import registry

__all__ = ["Task", "baselines_of", "predict_rows"]

Array = np.ndarray[Any, Any]


def baselines_of(cohort: Cohort) -> tuple[str, ...]:
    """What an encoder of the cohort's modality is scored beside."""
    return ("dummy", *registry.get(cohort.modality).baselines, "random encoder", "permuted labels")


@dataclass(frozen=True)
class Task:
    """What is predicted of whom."""

    cohort: Cohort
    y: Array
    """[recordings]"""
    target: str
    regression: bool
    classes: Array
    plan: list[tuple[Array, Array]]
    """(train, test) rows of the cohort; none where another cohort is tested."""
    test: Cohort | None
    truth: Array
    """[scored recordings]"""
    seed: int
    threads: int
    on_error: str

    @property
    def groups(self) -> Array:
        """[recordings] subjects of the cohort."""
        subjects: Array = self.cohort.table["subject"].to_numpy()
        return subjects

    @property
    def test_groups(self) -> Array:
        """[scored recordings] subjects."""
        subjects: Array = (self.cohort if self.test is None else self.test).table["subject"].to_numpy()
        return subjects

    def shuffled(self, rows: Array) -> Array:
        """The labels of these training rows, dealt out anew among them."""
        dealt: Array = np.random.default_rng((self.seed, int(rows[0]), len(rows))).permutation(self.y[rows])
        return dealt


def predict_rows(
    task: Task, encoder: CohortEncoder | None, protocol: str | FineTuning, baselines: Sequence[str], *, pooling: str, adaptation: Any, bias_correction: bool
) -> dict[str, Array]:
    """Predictions by row, the pretrained encoder's last: probabilities [scored recordings, classes], or regressed values [scored recordings].

    Raises:
        ValueError: An unknown baseline, or a recording that cannot be scored.
    """
    known = baselines_of(task.cohort)
    if unknown := [name for name in baselines if name not in known]:
        raise ValueError(f"unknown baseline {', '.join(unknown)}; of {task.cohort.modality} there are {', '.join(known)}")
    rows: dict[str, Array] = {}
    # Pipelines that are no networks go with the linear probe where a network is trained.
    classical = "linear" if isinstance(protocol, FineTuning) or protocol in PROTOCOLS else protocol

    def both(make: Callable[[Cohort], Array]) -> tuple[Array, Array | None]:
        return make(task.cohort), None if task.test is None else make(task.test)

    def score(name: str, protocol: Any, x: Array, x_test: Array | None, *, adapt: Any = "none", corrected: bool = False) -> None:
        rows[name] = _probed(task, name, protocol, x, x_test, adapt)
        if corrected:
            rows[f"{name}, bias-corrected"] = evaluate.corrected_predict(x, task.y, task.groups, task.plan, protocol, x_test, task.test_groups)

    if "dummy" in baselines:
        score("dummy", "dummy", *both(lambda c: np.zeros((len(c), 1))))
    kinds = registry.get(task.cohort.modality).baselines
    if wanted := [name for name in kinds if name in baselines]:
        cohorts = [task.cohort] if task.test is None else [task.cohort, task.test]
        here, *others = features.classical(cohorts, wanted, threads=task.threads, on_error=task.on_error)
        there = others[0] if others else None
        for name in wanted:
            kind = kinds[name]
            adapt, corrected = adaptation if kind.adapts else "none", bias_correction and kind.corrects
            score(name, kind.probe or classical, here[name], None if there is None else there[name], adapt=adapt, corrected=corrected)
    if encoder is None:
        return rows
    if not isinstance(protocol, FineTuning) and protocol not in PROTOCOLS:
        how: dict[str, Any] = {"pooling": pooling, "threads": task.threads, "on_error": task.on_error}
        if "random encoder" in baselines:
            x = both(lambda c: features.encoder_features(encoder.randomized(), c, **how))
            score("random encoder", protocol, *x, adapt=adaptation, corrected=bias_correction)
        x = both(lambda c: features.encoder_features(encoder, c, **how))
        if "permuted labels" in baselines:
            rows["permuted labels"] = _probed(task, "permuted labels", protocol, *x, adaptation, shuffled=True)
        score("pretrained encoder", protocol, *x, adapt=adaptation, corrected=bias_correction)
        return rows
    options = named(protocol)
    if "random encoder" in baselines:
        rows["random encoder"] = _trained(task, encoder.randomized(), options)
    if "permuted labels" in baselines:
        rows["permuted labels"] = _trained(task, encoder, options, shuffled=True)
    rows["pretrained encoder"] = _trained(task, encoder, options)
    return rows


def _probed(task: Task, name: str, protocol: Any, x: Array, x_test: Array | None, adaptation: Any, *, shuffled: bool = False) -> Array:
    """A scikit-learn probe on features."""
    if x_test is None:
        labels = task.shuffled if shuffled else None
        return evaluate.cross_predict(x, task.y, task.groups, task.plan, protocol, task.regression, labels=labels, adaptation=adaptation, seed=task.seed)
    y = task.shuffled(np.arange(len(task.y))) if shuffled else task.y
    return evaluate.fit_predict(x, y, task.groups, x_test, task.classes, protocol, task.regression, adaptation=adaptation, seed=task.seed)


def _trained(task: Task, encoder: CohortEncoder, options: FineTuning, *, shuffled: bool = False) -> Array:
    """A network trained anew for every fold."""
    everybody = np.arange(len(task.cohort))
    plan = task.plan if task.test is None else [(everybody, np.arange(len(task.test)))]
    n = len(task.test_groups)
    out = np.full(n, np.nan) if task.regression else np.zeros((n, len(task.classes)))
    for train, test in plan:
        part = task.cohort.subset(train)
        if shuffled:
            part = part.with_columns(**{task.target: task.shuffled(train)})
        elsewhere = task.test if options.dann > 0 else None
        how: dict[str, Any] = {"threads": task.threads, "on_error": task.on_error}
        fitted = finetune(encoder, part, task.target, options, unlabeled=elsewhere, regression=task.regression, seed=task.seed, **how)
        asked = task.test if task.test is not None else task.cohort.subset(test)
        predicted = fitted.predict(asked, **how) if task.regression else fitted.predict_proba(asked, **how)
        predicted = features.scorable(predicted, asked)
        if task.regression:
            out[test] = predicted
        else:
            # A fold may lack a class: nobody is then said to have it.
            out[np.ix_(test, np.searchsorted(task.classes, fitted.classes_))] = predicted
    return out
