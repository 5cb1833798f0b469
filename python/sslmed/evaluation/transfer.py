"""Transfer: how well a pretrained encoder predicts a column of a cohort, beside the rows that it has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np

from sslmed._checks import OnError, choice, number, whole
from sslmed._world import own_settings
from sslmed.cohort import Cohort
from sslmed.encoders import CohortEncoder, EncoderLike, resolve
from sslmed.evaluation import exposure
from sslmed.evaluation.adaptation import Adaptation, AdaptationName
from sslmed.evaluation.adaptation import resolve as resolve_adaptation
from sslmed.evaluation.assess import Options, assess, metrics_of
from sslmed.evaluation.crossfit import Pipeline, Study, cross_fit
from sslmed.evaluation.evaluate import Level, covariate_pipelines, named_folds, positive_class
from sslmed.evaluation.external import assess_fixed
from sslmed.evaluation.record import flow
from sslmed.evaluation.result import TransferResult
from sslmed.evaluation.rows import Row, Task, baselines_of, rows_of
from sslmed.evaluation.scoring import scores
from sslmed.evaluation.seeds import Seeds, features_of, members
from sslmed.evaluation.splits import CV, repeated
from sslmed.finetuning import PROTOCOLS, FineTuning
from sslmed.labels import class_names, is_regression, labeled
from sslmed.leakage import refuse_overlap, refuse_shared_files
from sslmed.modalities import registry
from sslmed.modalities.base import Baseline

__all__ = ["Protocol", "knn_score", "plan", "transfer"]

Array = np.ndarray[Any, Any]

Protocol = Literal["linear", "knn", "finetune", "lora", "attentive"]
"""The name of a protocol."""


@own_settings()
def transfer(
    encoder: EncoderLike | Sequence[EncoderLike] | Any | None,
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
    controls: str | None = None,
    positive: str | None = None,
    covariates: Sequence[str] = (),
    compare: Sequence[str] | None = None,
    balanced: bool = False,
    level: Level = "person",
    prevalence: float | None = None,
    repeats: int | None = None,
    permutations: int = 199,
    seed: int = 0,
    bootstrap: int = 1000,
    threads: int = 2,
    on_error: OnError = "raise",
    transductive: exposure.Transductive = "tell",
) -> TransferResult:
    """Scores an encoder on a labeled cohort; no subject is ever in training and test data at the same time.

    Beside the row ``pretrained encoder`` stand the rows that it has to beat: ``dummy`` knows the frequencies of the
    labels alone; the classical baselines of the cohort's modality need no network; ``random encoder`` is the same
    architecture and protocol with untrained weights; ``permuted labels`` is what the encoder's features reach when
    labels are exchanged between people: its mean and the range of 95 % of the draws. The encoder's own row is named by
    where its weights come from: an encoder that was never trained is a ``random encoder``.

    What is estimated is the performance of the whole procedure, trained on about as many people as a training part has
    (with ``test``: of the one model that is fitted on ``cohort``). Scores count people, not recordings.

    Args:
        encoder: Pretrained encoder; None computes the baselines that need none. Several encoders that differ by their seed
            alone (``sslmed.pretrain(seeds=).encoders``, or what it returns) are scored together on frozen features: the
            row's value is the mean over them, its interval that of this mean, and ``sd_seeds`` their deviation.
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
        bias_correction: For a regressed target: also score predictions that are corrected for their bias towards the
            mean, each in a row below its uncorrected one. A network is trained twice more for it in each fold.
        controls: Condition, such as "diagnosis == 'control'", of the recordings that the line of ``bias_correction`` is
            fitted on; all training recordings by default.
        positive: Class that sensitivity, predictive values, precision and calibration are of, with two classes.
        covariates: Columns such as age, sex and site that could explain the target by themselves: adds the rows
            ``covariates``, the encoder's with covariates, and with two classes its area adjusted for them. For
            "linear" and "knn", without ``test``.
        compare: Rows that the encoder's is compared with; p values are corrected over these and chance. By default the
            random encoder, the covariates, and the row that tells how recordings were made ("acquisition"). Without an
            encoder the last row of the others is compared.
        balanced: Weight every class alike in all fits of frozen features.
        level: "person": predictions of a person's recordings are averaged, and the person counts once; "recording".
        prevalence: Share of the positive class that predictive values are meant for; by default the cohort's.
        repeats: Number of draws of the folds; by default 10, and 1 where a network is trained in each fold.
        permutations: Number of permuted label vectors of the row ``permuted labels`` and the test against chance.
        seed: Seed of folds, forests, permuted labels, fine-tuning and the bootstrap.
        bootstrap: Number of draws of people with ``test``.
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
        ['row', 'subject', 'path', 'fold', 'truth', 'label', 'predicted', 'prior']
    """
    whole("transfer", "bootstrap", bootstrap, 1)
    whole("transfer", "permutations", permutations)
    choice("transfer", "level", level, get_args(Level))
    if prevalence is not None:
        number("transfer", "prevalence", prevalence, 0, 1, strict=True)
    network = isinstance(protocol, FineTuning) or protocol in PROTOCOLS
    _check_protocol(protocol, test, adaptation, bias_correction)
    if covariates and (network or test is not None):
        raise ValueError(f"transfer: covariates={list(covariates)!r} needs frozen features (protocol 'linear' or 'knn') and folds; leave out test")
    several = members(encoder)
    encoder = several[0] if several else encoder
    if len(several) > 1 and (network or test is not None or covariates or bias_correction):
        raise ValueError("transfer: encoder=[…] needs frozen features (protocol 'linear' or 'knn') and folds; leave out test, covariates and bias_correction")
    if encoder is not None and isinstance(cohort, Cohort):
        encoder = resolve(encoder, cohort)  # type: ignore[arg-type]
    given = cohort if test is None else test
    cohort, test, seen = exposure.settle(encoder, cohort, test, target, transductive, cv)
    for other in several[1:]:
        cohort, test, also = exposure.settle(other, cohort, test, target, transductive, cv)
        # What any of the encoders has seen counts.
        seen |= {name: max(seen[name], also[name]) for name in ("transductive", "probe")} | {"people": also["people"]}
        if also["encoder"] == "unknown origin":
            seen["encoder"] = also["encoder"]
        if "excluded" in seen:
            seen["excluded"] += also["excluded"]
    drawn = repeats if repeats is not None else (1 if network else 10)
    how: dict[str, Any] = {"regression": regression, "repeats": drawn, "seed": seed, "threads": threads, "on_error": on_error}
    task = replace(plan(encoder, cohort, target, cv=cv, test=test, **how), balanced=balanced)
    model: CohortEncoder | None = None if encoder is None else resolve(encoder, task.cohort)
    if bias_correction and not task.regression:
        raise ValueError(f"transfer: bias_correction=True needs a regressed target, and target={target!r} is made of classes")
    chosen = _chosen(task, model, baselines)
    line = _controls(task, controls, bias_correction)
    rows = rows_of(task, model, protocol, chosen, pooling=pooling, adaptation=adaptation, bias_correction=bias_correction, controls=line)
    if not rows:
        raise ValueError(f"transfer: baselines={baselines!r} computes nothing without an encoder; name a row that needs none, such as 'dummy'")
    shown = protocol.tuned if isinstance(protocol, FineTuning) else protocol
    kinds = registry.get(task.cohort.modality).baselines
    plain = [name for name in rows if not name.endswith(", bias-corrected")]
    main = ([name for name in plain if name not in kinds or not kinds[name].acquisition] or plain)[-1]
    declared = _declared(rows, main, compare, covariates, model is not None, kinds)
    wanted = permutations if "permuted labels" in chosen else 0
    recorded = tuple(name for name in plain if name in kinds and kinds[name].acquisition)
    options = Options(target, shown, main, declared, positive, prevalence, wanted, seed, named_folds(cv), tuple(covariates), recorded)
    more = features_of(several, task.cohort, target, pooling=pooling, threads=threads, on_error=on_error)
    result = _scored(task, rows, options, level, covariates, bootstrap, more)
    result.provenance = seen
    result.manifest["flow"] = flow(given.table, target, (task.cohort if task.test is None else task.test).table, result.people)
    result.manifest.setdefault("trained_on", len(np.unique(task.groups)))
    return result


def _chosen(task: Task, encoder: CohortEncoder | None, baselines: bool | str | Sequence[str]) -> tuple[str, ...]:
    """The baselines by name."""
    named = (baselines,) if isinstance(baselines, str) else baselines  # a grid gives one name after the other
    known = baselines_of(task.cohort)
    chosen = known if named is True or (named is False and encoder is None) else tuple(named or ())
    if unknown := [name for name in chosen if name not in known]:
        raise ValueError(f"transfer: baselines={baselines!r} has the unknown row {unknown[0]!r}; for this cohort there are {', '.join(known)}")
    return chosen


def _controls(task: Task, controls: str | None, bias_correction: bool) -> Array | None:
    """Recordings for which the condition holds [recordings]."""
    if controls is None:
        return None
    if not bias_correction:
        raise ValueError(f"transfer: controls={controls!r} needs bias_correction=True, whose line is fitted on them")
    table = task.cohort.table
    try:
        found = table.index.isin(table.query(controls).index)
    except Exception as error:  # pandas raises errors of many classes, of its own and of the parser
        raise ValueError(f"transfer: controls={controls!r} must be a condition on columns of the table, such as \"diagnosis == 'control'\": {error}") from error
    if not found.any():
        raise ValueError(f"transfer: controls={controls!r} holds for no recording of {task.cohort.name}")
    return np.asarray(found)


def _declared(
    rows: dict[str, Row], main: str, compare: Sequence[str] | None, covariates: Sequence[str], encoder: bool, kinds: Mapping[str, Baseline]
) -> tuple[str, ...]:
    """Rows that the main one is compared with."""
    known = [name for name in rows if name != main and not name.endswith(", bias-corrected")] + (["covariates"] if covariates else [])
    if compare is None:
        recorded = [name for name in kinds if kinds[name].acquisition and name in known]
        return tuple(name for name in ("random encoder", "covariates") if encoder and name in known) + tuple(recorded)
    given = (compare,) if isinstance(compare, str) else tuple(compare)
    if unknown := [name for name in given if name not in known]:
        raise ValueError(f"transfer: compare={compare!r}: {unknown[0]!r} is not another row; there are {', '.join(known)}")
    return given


def _scored(
    task: Task, rows: dict[str, Row], options: Options, level: Level, covariates: Sequence[str], bootstrap: int, more: Sequence[Array]
) -> TransferResult:
    """The result, by folds or on the other cohort; ``more`` are features of the encoder's other seeds."""
    scored = task.cohort if task.test is None else task.test
    classes = None if task.regression else task.classes
    truth = task.truth if task.regression else np.searchsorted(task.classes, task.truth)
    positive = positive_class("transfer", options.positive, classes)
    subjects = scored.table["subject"].to_numpy()
    study = Study.of(truth, subjects, classes, task.repeats, level=level, balanced=task.balanced, positive=positive)
    if task.test is not None:
        if task.regression:
            prior: Array = np.asarray(task.y.mean())
        else:
            prior = np.full(len(task.classes), 1 / len(task.classes)) if task.balanced else np.array([(task.y == c).mean() for c in task.classes])
        return assess_fixed(study, {name: row.elsewhere(task) for name, row in rows.items()}, prior, scored.table, options, draws=bootstrap)
    pipelines: dict[str, Any] = {name: row.predictions(task) if row.network is not None else row.here for name, row in rows.items()}
    if more:
        first = pipelines[options.main]
        pipelines[options.main] = Seeds((first, *(replace(first, x=x) for x in more)))
    design = None
    if covariates:
        main = rows[options.main].here
        assert main is not None
        extra, design = covariate_pipelines("transfer", task.cohort.table, covariates, main, options.main, options.target)
        pipelines = {"dummy": pipelines.pop("dummy", None), "covariates": extra.pop("covariates")} | pipelines | extra
    return assess(study, pipelines, task.cohort.table, options, design)


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

    The score is the one that ``transfer(encoder, cohort, target, "knn", repeats=1)`` has first in its table: balanced
    accuracy, or mean absolute error of a regressed target. It watches a pretraining run.

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
    row = list(rows_of(task, resolve(encoder, task.cohort), "knn", ()).values())[-1]
    assert isinstance(row.here, Pipeline)
    classes = None if task.regression else task.classes
    truth = task.y if task.regression else np.searchsorted(task.classes, task.y)
    study = Study.of(truth, task.groups, classes, task.repeats)
    made = cross_fit(study, row.here)[0].units
    return float(scores(metrics_of(study, None)[0], made, np.ones((1, len(made.truth))))[0])


def plan(
    encoder: EncoderLike | None,
    cohort: Cohort,
    target: str,
    *,
    cv: CV = 5,
    test: Cohort | None = None,
    regression: bool | None = None,
    repeats: int = 1,
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
        repeats: As in :func:`transfer`.
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
        folds = repeated(cohort, cv, stratify=None if regression else target, repeats=repeats, seed=seed)
        return Task(cohort, y, target, regression, classes, folds, None, y, seed, threads, on_error)
    test, truth = labeled(test, target, name="test")
    if encoder is not None:
        exposure.check(resolve(encoder, test), test, target)
    try:
        refuse_overlap(cohort.table["subject"], test.table["subject"], f"test={test.name!r}")
    except ValueError as error:
        way = "if they are different people with the same names, pass cohort.qualified() and test.qualified(), whose names are those of cohort and subject"
        raise ValueError(f"{error}; {way}") from None
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
        if adapter is not None:
            raise ValueError(f"transfer: adaptation={adaptation!r} needs frozen features, protocol 'linear' or 'knn', got protocol={shown}")
    if bias_correction and adapter is not None:
        raise ValueError(f"transfer: bias_correction=True cannot be combined with adaptation={adaptation!r}; choose one of the two")
    if isinstance(protocol, FineTuning) and protocol.dann > 0 and test is None:
        raise ValueError(f"transfer: protocol: FineTuning(dann={protocol.dann}) needs a cohort to adapt to: pass it as test")
