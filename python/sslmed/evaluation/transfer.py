"""Transfer: how well a pretrained encoder predicts a column of a cohort, beside the rows that it has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from sslmed._checks import OnError, choice, whole
from sslmed.cohort import Cohort
from sslmed.encoders import EncoderLike, resolve
from sslmed.evaluation import exposure, metrics, statistics
from sslmed.evaluation.adaptation import Adaptation, AdaptationName
from sslmed.evaluation.adaptation import resolve as resolve_adaptation
from sslmed.evaluation.metrics import Metric
from sslmed.evaluation.result import TransferResult, predictions_table
from sslmed.evaluation.rows import Task, baselines_of, predict_rows
from sslmed.evaluation.splits import CV, splits
from sslmed.finetuning import PROTOCOLS, FineTuning
from sslmed.labels import class_names, is_regression, labeled
from sslmed.leakage import refuse_overlap, refuse_shared_files

__all__ = ["Protocol", "knn_score", "plan", "transfer"]

Array = np.ndarray[Any, Any]

Protocol = Literal["linear", "knn", "finetune", "lora", "attentive"]
"""The name of a protocol."""


def transfer(
    encoder: EncoderLike | None,
    cohort: Cohort,
    target: str,
    protocol: Protocol | FineTuning = "linear",
    *,
    cv: CV = 5,
    test: Cohort | None = None,
    regression: bool | None = None,
    baselines: bool | str | Sequence[str] = True,
    pooling: str = "mean",
    adaptation: AdaptationName | Adaptation | Any = "none",
    bias_correction: bool = False,
    seed: int = 0,
    bootstrap: int = 1000,
    threads: int = 2,
    on_error: OnError = "raise",
    transductive: exposure.Transductive = "tell",
) -> TransferResult:
    """Scores an encoder on a labeled cohort; no subject is ever in training and test data at the same time.

    Beside the row ``pretrained encoder`` stand the rows that it has to beat: ``dummy`` knows the frequencies of the
    labels alone; the classical baselines of the cohort's modality need no network; ``random encoder`` is the same
    architecture and protocol with untrained weights; ``permuted labels`` is the pretrained encoder with permuted
    training labels, which must score at chance.

    Args:
        encoder: Pretrained encoder; None computes the baselines that need none.
        cohort: Recordings or images with a column ``target``; those without a value are left out.
        target: Column of the cohort's table. Numbers are regressed, unless they are at most ten whole numbers that
            repeat (three times as many people as values); anything else is classified.
        protocol: On frozen features: "linear" (logistic or ridge regression, its strength chosen inside the training
            subjects) or "knn" (five nearest neighbors). Networks that are trained in each fold: "finetune", "lora",
            "attentive", or their options (:class:`sslmed.FineTuning`).
        cv: Folds: a number of them over subjects, "loso" (leave one subject out), a splitter of scikit-learn, or pairs
            (train, test) of row positions, which are checked for leakage (:func:`sslmed.evaluation.splits`). Not used
            with ``test``.
        test: Another cohort to test on; the probe is then fitted on all of ``cohort``.
        regression: True to regress the target, False to classify it, None to decide by its values.
        baselines: Other rows to compute: True for all, False for none, or their names.
        pooling: How the tokens of a sample become its features (:func:`sslmed.encode`); for "linear" and
            "knn".
        adaptation: How features are brought towards those of ``test``, without its labels: "none", "normalize" (each
            cohort by its own mean and deviation), "coral" (the test cohort's covariance), "importance" (training
            recordings weighted by how much they look like the test cohort), "optimal_transport" (needs skada), or an
            object (:mod:`sslmed.evaluation.adaptation`, or an adapter of skada). "identity" removes the direction in
            which training subjects differ most, and needs no ``test``. Covariances are recentered by their cohort's
            Riemannian mean instead.
        bias_correction: For a regressed target on frozen features: also score predictions that are corrected for their
            bias towards the mean, each in a row below its uncorrected one.
        seed: Seed of folds, forests, permuted labels, fine-tuning and the bootstrap.
        bootstrap: Number of draws of the intervals and of the permutation tests.
        threads: Number of loader threads.
        on_error: "raise", or "skip": samples that cannot be read or carry no signal are left out with a warning, and so
            are channels that some recording lacks in the classical rows. A recording of which nothing is left is
            refused.
        transductive: What happens to scored people whose signals the encoder was pretrained on, which its provenance
            says (:mod:`sslmed.provenance`): "tell" in a warning and in ``result.provenance``, "exclude" them from the
            scored cohort, or "raise". Labels that it has seen are always refused.

    Returns:
        The scores, predictions and comparisons.

    Raises:
        TypeError: ``encoder`` is not an encoder, or ``cohort`` or ``test`` not a cohort.
        ValueError: An argument that is out of range or does not fit the others, a target with one value only, folds
            that leak, a subject, file or signal in both cohorts, or an encoder that was fine-tuned on labels of the
            scored people.

    Warns:
        TransductiveWarning: The encoder was pretrained on signals of some of the scored people.
        UntestedWarning: ``cv`` leaves recordings that are in no test part; they are not scored.

    See Also:
        :func:`sslmed.few_shot`, :func:`sslmed.transfer_matrix`, :func:`sslmed.finetune`

    Examples:
        >>> import numpy as np, pandas as pd
        >>> import sslmed as sm
        >>> rng, y = np.random.default_rng(0), np.tile(["rest", "task"], 6)
        >>> x = rng.normal(size=(12, 2, 800)) * np.where(y == "task", 3.0, 1.0)[:, None, None]
        >>> table = pd.DataFrame({"subject": [f"s{i}" for i in range(12)], "y": y})
        >>> cohort = sm.Cohort.from_arrays(x, 100, ["Cz", "Pz"], table)
        >>> result = sm.transfer(None, cohort, "y", cv=3, baselines=["dummy", "band power"], bootstrap=20)
        >>> scores = result.table.set_index(["row", "metric"])["value"]
        >>> float(scores["band power", "balanced_accuracy"]), float(scores["dummy", "balanced_accuracy"])
        (1.0, 0.5)
        >>> result.predictions.columns.tolist()
        ['row', 'subject', 'path', 'fold', 'truth', 'label', 'predicted']
    """
    whole("transfer", "bootstrap", bootstrap, 1)
    _check_protocol(protocol, test, adaptation, bias_correction)
    if encoder is not None and isinstance(cohort, Cohort):
        encoder = resolve(encoder, cohort)
    cohort, test, seen = exposure.settle(encoder, cohort, test, target, transductive, cv)
    task = plan(encoder, cohort, target, cv=cv, test=test, regression=regression, seed=seed, threads=threads, on_error=on_error)
    if bias_correction and not task.regression:
        raise ValueError(f"transfer: bias_correction=True needs a regressed target, and target={target!r} is made of classes")
    named = (baselines,) if isinstance(baselines, str) else baselines  # a grid gives one name after the other
    chosen = baselines_of(task.cohort) if named is True or (named is False and encoder is None) else tuple(named or ())
    if unknown := [name for name in chosen if name not in baselines_of(task.cohort)]:
        known = ", ".join(baselines_of(task.cohort))
        raise ValueError(f"transfer: baselines={baselines!r} has the unknown row {unknown[0]!r}; for this cohort there are {known}")
    rows = predict_rows(task, encoder, protocol, chosen, pooling=pooling, adaptation=adaptation, bias_correction=bias_correction)
    if not rows:
        raise ValueError(f"transfer: baselines={baselines!r} computes nothing without an encoder; name a row that needs none, such as 'dummy'")
    result = _result(task, rows, protocol, bootstrap)
    result.provenance = seen
    return result


def knn_score(
    encoder: EncoderLike,
    cohort: Cohort,
    target: str,
    *,
    cv: CV = 5,
    seed: int = 0,
    threads: int = 2,
    on_error: OnError = "raise",
) -> float:
    """Scores the features of an encoder by their nearest neighbors, quickly and without intervals or baselines.

    The score is the one that ``transfer(encoder, cohort, target, "knn")`` has first in its table: balanced accuracy, or
    mean absolute error of a regressed target. It watches a pretraining run.

    Args:
        encoder: Encoder.
        cohort: Recordings or images with a column ``target``.
        target: Column of the cohort's table.
        cv: Folds (:func:`sslmed.evaluation.splits`).
        seed: Seed of the folds.
        threads: Number of loader threads.
        on_error: "raise", or "skip" samples that cannot be read, with a warning.

    Raises:
        TypeError, ValueError: As :func:`sslmed.transfer`; :func:`plan` raises them before any work is done.
    """
    encoder = resolve(encoder, cohort)
    task = plan(encoder, cohort, target, cv=cv, seed=seed, threads=threads, on_error=on_error)
    predicted = predict_rows(task, encoder, "knn", (), pooling="mean", adaptation="none", bias_correction=False)["pretrained encoder"]
    tested = _tested(task)
    metric: Metric = metrics.METRICS["regression" if task.regression else "classification"][0]
    return metrics.score(metric, task.truth[tested], predicted[tested], task.classes)


def plan(
    encoder: EncoderLike | None,
    cohort: Cohort,
    target: str,
    *,
    cv: CV = 5,
    test: Cohort | None = None,
    regression: bool | None = None,
    seed: int = 0,
    threads: int = 2,
    on_error: OnError = "raise",
) -> Task:
    """Checks what :func:`transfer` is to predict of whom, before any work is done.

    Args:
        encoder: As in :func:`transfer`.
        cohort: As in :func:`transfer`.
        target: As in :func:`transfer`.
        cv: As in :func:`transfer`.
        test: As in :func:`transfer`.
        regression: As in :func:`transfer`.
        seed: As in :func:`transfer`.
        threads: As in :func:`transfer`.
        on_error: As in :func:`transfer`.

    Returns:
        The recordings that have a value, their target, and the folds.

    Raises:
        TypeError, ValueError: As :func:`transfer`.
    """
    whole("transfer", "seed", seed)
    whole("transfer", "threads", threads, 1)
    choice("transfer", "on_error", on_error, get_args(OnError))
    cohort, y = labeled(cohort, target)
    if encoder is not None:
        encoder = resolve(encoder, cohort)
    regression = is_regression(y, regression, cohort.table["subject"].to_numpy())
    y = y if regression else class_names(y)
    classes = np.unique(y)
    if len(classes) < 2:
        raise ValueError(f"{cohort.name}: target={target!r} has one value only, {str(classes[0])!r}; there is nothing to predict")
    if test is None:
        if encoder is not None:
            exposure.check(encoder, cohort, target)
        folds = splits(cohort, cv, stratify=None if regression else target, seed=seed)
        return Task(cohort, y, target, regression, classes, folds, None, y, seed, threads, on_error)
    test, truth = labeled(test, target, name="test")
    if encoder is not None:
        exposure.check(resolve(encoder, test), test, target)
    refuse_overlap(cohort.table["subject"], test.table["subject"], f"test={test.name!r}")
    refuse_shared_files(cohort, test)
    if regression and not np.issubdtype(truth.dtype, np.number):
        raise ValueError(f"{test.name}: target={target!r} is regressed, and test has values that are not numbers, such as {str(truth[0])!r}")
    truth = truth if regression else class_names(truth)
    if not regression and (unseen := sorted(set(truth) - set(classes))):
        raise ValueError(f"{test.name}: target={target!r} has values in test that {cohort.name} has not: {', '.join(unseen)}")
    return Task(cohort, y, target, regression, classes, [], test, truth, seed, threads, on_error)


def _check_protocol(protocol: Protocol | FineTuning, test: Cohort | None, adaptation: Any, bias_correction: bool) -> None:
    """Refuses combinations of options before hours of work."""
    if not isinstance(protocol, FineTuning):
        choice("transfer", "protocol", protocol, get_args(Protocol))
    adapter = resolve_adaptation(adaptation)
    if adapter is not None and adapter.needs_target and test is None:
        raise ValueError(f"transfer: adaptation={adaptation!r} needs a cohort to adapt to: pass it as test")
    if isinstance(protocol, FineTuning) or protocol in PROTOCOLS:
        shown = "FineTuning(…)" if isinstance(protocol, FineTuning) else repr(protocol)
        if bias_correction:
            raise ValueError(f"transfer: bias_correction=True needs frozen features, protocol 'linear' or 'knn', got protocol={shown}")
        if adapter is not None:
            raise ValueError(f"transfer: adaptation={adaptation!r} needs frozen features, protocol 'linear' or 'knn', got protocol={shown}")
    if bias_correction and adapter is not None:
        raise ValueError(f"transfer: bias_correction=True cannot be combined with adaptation={adaptation!r}; choose one of the two")
    if isinstance(protocol, FineTuning) and protocol.dann > 0 and test is None:
        raise ValueError(f"transfer: protocol: FineTuning(dann={protocol.dann}) needs a cohort to adapt to: pass it as test")


def _tested(task: Task) -> Array:
    """Positions of the recordings that are scored."""
    return np.arange(len(task.truth)) if task.test is not None else np.sort(np.concatenate([test for _, test in task.plan]))


def _result(task: Task, rows: dict[str, Array], protocol: Protocol | FineTuning, draws: int) -> TransferResult:
    """Scores with intervals, comparisons and the table of predictions."""
    tested = _tested(task)
    people = (task.cohort if task.test is None else task.test).table.iloc[tested].reset_index(drop=True)
    fold = np.zeros(len(task.truth), int)
    for number, (_, test) in enumerate(task.plan):
        fold[test] = number
    rows = {name: predicted[tested] for name, predicted in rows.items()}
    truth, subjects, classes = task.truth[tested], people["subject"].to_numpy(), task.classes
    lines = []
    for name, predicted in rows.items():
        for metric in metrics.METRICS["regression" if task.regression else "classification"]:

            def statistic(index: Array, metric: Metric = metric, predicted: Array = predicted) -> float:
                return metrics.score(metric, truth[index], predicted[index], classes)

            low, high = statistics.bootstrap(statistic, subjects, draws=draws, seed=task.seed)
            value = statistic(np.arange(len(subjects)))
            lines.append((name, metric, value, low, high, len(np.unique(subjects))))
    table = pd.DataFrame(lines, columns=["row", "metric", "value", "low", "high", "n_subjects"])
    compared = _compare(rows, truth, subjects, classes, task.regression, draws=draws, seed=task.seed)
    predictions = predictions_table(rows, people, fold[tested], truth, None if task.regression else classes)
    shown = protocol.tuned if isinstance(protocol, FineTuning) else protocol
    return TransferResult(table, task.target, shown, predictions, compared, people)


def _compare(rows: dict[str, Array], y: Array, subjects: Array, classes: Array, regression: bool, *, draws: int, seed: int) -> pd.DataFrame:
    """The last row (uncorrected) against the others."""
    names = [name for name in rows if not name.endswith(", bias-corrected")]
    last = names[-1]
    metric: Metric = "mae" if regression else "balanced_accuracy"

    def statistic(predicted: Array) -> float:
        return metrics.score(metric, y, predicted, classes)

    lines: list[tuple[Any, ...]] = []
    for name in names[:-1]:
        p = statistics.paired_permutation(statistic, rows[last], rows[name], subjects, draws=draws, seed=seed)
        lines.append((last, name, metric, statistic(rows[last]) - statistic(rows[name]), np.nan, np.nan, p, "permutation"))
        positive = y == classes[-1]
        if not regression and len(classes) == 2 and len(np.unique(subjects)) == len(subjects) and 2 <= positive.sum() <= len(y) - 2:
            test = statistics.delong(positive, rows[last][:, 1], rows[name][:, 1])
            lines.append((last, name, "auroc", test.difference, test.low, test.high, test.p, "DeLong"))
    table = pd.DataFrame(lines, columns=["row", "against", "metric", "difference", "low", "high", "p", "test"])
    table.insert(7, "p_holm", statistics.holm(table["p"].to_numpy(float)))
    return table
