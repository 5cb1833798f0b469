"""The rows of a transfer: what each pipeline sees of a cohort, and what it predicts of people whom it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sslmed.cohort import Cohort
from sslmed.encoders import CohortEncoder, Encoder
from sslmed.evaluation import features, probes
from sslmed.evaluation.brain_age import held_out_line
from sslmed.evaluation.crossfit import Pipeline
from sslmed.evaluation.splits import Fold
from sslmed.finetuning import PROTOCOLS, FineTuning, finetune, named
from sslmed.modalities import JoinedPreprocessing, registry
from sslmed.provenance import row_name

__all__ = ["Row", "Task", "baselines_of", "rows_of"]

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
    repeats: list[list[Fold]]
    """(train, test) rows of the cohort, for each draw of the folds; none where another cohort is tested."""
    test: Cohort | None
    truth: Array
    """[scored recordings]"""
    seed: int
    threads: int
    on_error: str
    balanced: bool = False

    @property
    def groups(self) -> Array:
        """[recordings] subjects of the cohort."""
        subjects: Array = self.cohort.table["subject"].to_numpy()
        return subjects

    def permuted(self, rows: Array) -> Array:
        """The labels of these training rows, dealt out anew among them."""
        dealt: Array = np.random.default_rng((self.seed, int(rows[0]), len(rows))).permutation(self.y[rows])
        return dealt


@dataclass(frozen=True)
class Row:
    """How one row is predicted: by a probe of features, or by a network that is trained in each fold."""

    here: Pipeline | None
    """Probe of the cohort's features; None: a network, or the dummy."""
    there: Array | None = None
    """Features of the tested cohort."""
    network: Callable[[Array, Cohort], Array] | None = None
    """Predictions of a cohort by a network that is trained on these rows."""

    def predictions(self, task: Task) -> list[Array]:
        """Predictions of a network in each repeat, [recordings, classes] or [recordings]."""
        assert self.network is not None
        out = []
        for folds in task.repeats:
            predicted = np.full(len(task.y), np.nan) if task.regression else np.full((len(task.y), len(task.classes)), np.nan)
            for train, test in folds:
                predicted[test] = self.network(train, task.cohort.subset(test))
            out.append(predicted)
        return out

    def elsewhere(self, task: Task) -> Array:
        """Predictions of the tested cohort after one fit on all of the other."""
        assert task.test is not None
        if self.network is not None:
            return self.network(np.arange(len(task.y)), task.test)
        if self.here is None:
            return _prior(task)
        assert self.there is not None
        how = self.here
        if how.correct:
            return probes.corrected_predict(
                how.x, task.y, task.groups, None, how.probe, self.there, task.test.table["subject"].to_numpy(), fitted_on=how.line  # type: ignore[arg-type]
            )  # fmt: skip
        given: dict[str, Any] = {"adaptation": how.adaptation, "seed": how.seed, "balanced": task.balanced}
        return probes.fit_predict(how.x, task.y, task.groups, self.there, task.classes, how.probe, task.regression, **given)  # type: ignore[arg-type]


def _prior(task: Task) -> Array:
    """What the training labels alone say of everybody."""
    if task.regression:
        return np.full(len(task.truth), task.y.mean())
    share = np.full(len(task.classes), 1 / len(task.classes)) if task.balanced else np.array([(task.y == c).mean() for c in task.classes])
    return np.repeat(share[None], len(task.truth), axis=0)


def rows_of(
    task: Task,
    encoder: CohortEncoder | None,
    protocol: str | FineTuning,
    baselines: Sequence[str],
    *,
    pooling: str = "mean",
    adaptation: Any = "none",
    bias_correction: bool = False,
    controls: Array | None = None,
) -> dict[str, Row]:
    """All rows by name, the encoder's last.

    Raises:
        ValueError: An unknown baseline, or a recording that cannot be scored.
    """
    known = baselines_of(task.cohort)
    if unknown := [name for name in baselines if name not in known]:
        raise ValueError(f"unknown baseline {', '.join(unknown)}; of {task.cohort.modality} there are {', '.join(known)}")
    network = isinstance(protocol, FineTuning) or protocol in PROTOCOLS
    rows: dict[str, Row] = {}

    def add(name: str, probe: str, here: Array, there: Array | None, *, adapt: Any = "none", corrects: bool = True) -> None:
        how = Pipeline(here, probe, adapt, seed=task.seed)
        rows[name] = Row(how, there)
        if bias_correction and corrects:
            rows[f"{name}, bias-corrected"] = Row(replace(how, correct=True, line=controls), there)

    if "dummy" in baselines:
        rows["dummy"] = Row(None)
    kinds = registry.get(task.cohort.modality).baselines
    if wanted := [name for name in kinds if name in baselines]:
        cohorts = [task.cohort] if task.test is None else [task.cohort, task.test]
        here, *others = features.classical(cohorts, wanted, threads=task.threads, on_error=task.on_error)
        for name in wanted:
            # Pipelines that are no networks go with the linear probe where a network is trained.
            probe = kinds[name].probe or ("linear" if network else str(protocol))
            there = others[0][name] if others else None
            add(name, probe, here[name], there, adapt=adaptation if kinds[name].adapts else "none", corrects=kinds[name].corrects)
    if encoder is None:
        return rows
    main = row_name(encoder)
    how: dict[str, Any] = {"pooling": pooling, "threads": task.threads, "on_error": task.on_error}
    # An encoder that was never trained is the random one.
    models = {"random encoder": encoder.randomized()} if "random encoder" in baselines and main != "random encoder" else {}
    if network:
        options = named(protocol)
        if "permuted labels" in baselines:
            rows["permuted labels"] = _network(task, encoder, options, permuted=True)
        for name, model in (models | {main: encoder}).items():
            rows[name] = _network(task, model, options)
            if bias_correction:
                rows[f"{name}, bias-corrected"] = _corrected(task, rows[name], controls)
        return rows
    # What each source contributes: the same weights without it.
    kind = registry.get(task.cohort.modality)
    fewer = kind.without(encoder.preprocessing) if isinstance(encoder, Encoder) and not isinstance(encoder.preprocessing, JoinedPreprocessing) else {}
    for source, less in fewer.items():
        assert isinstance(encoder, Encoder)
        models[f"{main}, without {source}"] = encoder.with_preprocessing(less)
    for name, model in (models | {main: encoder}).items():
        there = None if task.test is None else features.encoder_features(model, task.test, **how)
        add(name, str(protocol), features.encoder_features(model, task.cohort, **how), there, adapt=adaptation)
    return rows


def _network(task: Task, encoder: CohortEncoder, options: FineTuning, *, permuted: bool = False) -> Row:
    """A network that is trained anew for every fold."""
    how: dict[str, Any] = {"threads": task.threads, "on_error": task.on_error}

    def predict(train: Array, asked: Cohort) -> Array:
        part = task.cohort.subset(train)
        if permuted:
            part = part.with_columns(**{task.target: task.permuted(train)})
        elsewhere = task.test if options.dann > 0 else None
        fitted = finetune(encoder, part, task.target, options, unlabeled=elsewhere, regression=task.regression, seed=task.seed, **how)
        predicted = fitted.predict(asked, **how) if task.regression else fitted.predict_proba(asked, **how)
        predicted = features.scorable(predicted, asked)
        if task.regression:
            return predicted
        # A fold may lack a class: nobody is then said to have it.
        out = np.zeros((len(asked), len(task.classes)))
        out[:, np.searchsorted(task.classes, fitted.classes_)] = predicted
        if options.balanced == task.balanced:
            return out
        # Decisions are made by how far probabilities are above the shares that the fit has weighted the classes by: those of the training part, or all alike.
        share = np.array([(task.y[train] == c).mean() for c in task.classes])
        out *= share if options.balanced else 1 / np.maximum(share, 1e-12)
        return np.asarray(out / out.sum(axis=1, keepdims=True))

    return Row(None, network=predict)


def _corrected(task: Task, row: Row, controls: Array | None) -> Row:
    """A network's values, corrected by a line that is fitted on people whom one more training leaves out."""
    train_and_predict = row.network
    assert train_and_predict is not None

    def predict(train: Array, asked: Cohort) -> Array:
        def held_out(some: Array, others: Array) -> Array:
            return train_and_predict(train[some], task.cohort.subset(train[others]))

        line = held_out_line(held_out, task.y[train], task.groups[train], fitted_on=None if controls is None else controls[train], seed=task.seed)
        return line.transform(train_and_predict(train, asked))

    return Row(None, network=predict)
