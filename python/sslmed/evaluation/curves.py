"""Transfer as a function of the number of labeled subjects, and of the cohort that is learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from sslmed._checks import OnError, choice, whole
from sslmed.cohort import Cohort
from sslmed.encoders import EncoderLike, resolve
from sslmed.evaluation import exposure, features, metrics, probes
from sslmed.evaluation.metrics import Metric
from sslmed.evaluation.transfer import Protocol, transfer
from sslmed.finetuning import FineTuning
from sslmed.labels import class_names, is_regression, labeled
from sslmed.leakage import refuse_shared_files

__all__ = ["few_shot", "over_draws", "shot_scores", "transfer_matrix"]

Array = np.ndarray[Any, Any]


def few_shot(
    encoder: EncoderLike,
    cohort: Cohort,
    target: str,
    shots: Sequence[int] = (1, 2, 4, 8),
    *,
    protocol: Literal["linear", "knn"] = "linear",
    repeats: int = 20,
    pooling: str = "mean",
    seed: int = 0,
    threads: int = 2,
    on_error: OnError = "raise",
) -> pd.DataFrame:
    """Scores probes that are fitted on a few subjects of each class.

    In each repeat subjects are drawn; smaller draws are part of larger ones. The test subjects are those that the
    largest draw leaves, the same for every number of shots.

    Args:
        encoder: Pretrained encoder; its features stand beside those of a random encoder and the plainest classical
            baseline.
        cohort: Recordings or images with a column ``target`` of classes, one class a subject.
        target: Column of the cohort's table.
        shots: Numbers of subjects of each class to learn from.
        protocol: "linear" or "knn", on frozen features.
        repeats: Number of draws.
        pooling: How the tokens of a sample become its features, as in :func:`sslmed.transfer`.
        seed: Seed of the draws.
        threads: Number of loader threads.
        on_error: "raise", or "skip" what cannot be read, as in :func:`sslmed.transfer`.

    Returns:
        row, shots, metric, value (mean over repeats), low, high (95 % of the repeats: how much the choice of subjects
        matters, not an interval of the mean).

    Raises:
        TypeError: ``encoder`` is not an encoder, or ``cohort`` not a cohort.
        ValueError: A regressed target, a subject with two classes, a class with too few subjects for the largest draw
            and a test, a file or signal that is listed for two subjects, or an encoder that was fine-tuned on labels of
            these people.

    Warns:
        TransductiveWarning: The encoder was pretrained on signals of these people.

    Examples:
        >>> import numpy as np, pandas as pd
        >>> import sslmed as sm
        >>> rng, y = np.random.default_rng(0), np.tile(["rest", "task"], 6)
        >>> table = pd.DataFrame({"subject": [f"s{i}" for i in range(12)], "y": y})
        >>> cohort = sm.Cohort.from_arrays(rng.normal(size=(12, 2, 800)), 100, ["Cz", "Pz"], table)
        >>> encoder = sm.Encoder("vit_tiny", sm.EegPreprocessing(sfreq=100, window=4, patch=1), depth=1)
        >>> scores = sm.few_shot(encoder, cohort, "y", shots=(1, 2), repeats=2)
        >>> scores["row"].unique().tolist()
        ['band power', 'random encoder', 'pretrained encoder']
    """
    choice("few_shot", "protocol", protocol, ("linear", "knn"))
    whole("few_shot", "repeats", repeats, 1)
    whole("few_shot", "seed", seed)
    whole("few_shot", "threads", threads, 1)
    choice("few_shot", "on_error", on_error, get_args(OnError))
    cohort, y = labeled(cohort, target)
    encoder = resolve(encoder, cohort)
    refuse_shared_files(cohort)
    exposure.check(encoder, cohort, target)
    if is_regression(y, groups=cohort.table["subject"].to_numpy()):
        raise ValueError(f"few_shot: target={target!r} is regressed; shots count subjects of a class")
    y = class_names(y)
    groups = cohort.table["subject"].to_numpy()
    people = _one_class_each(cohort, y, groups, shots)
    simple = features.simple(cohort, on_error=on_error)
    rows = {simple[0]: simple[1][0]} if simple else {}
    for name, model in (("random encoder", encoder.randomized()), ("pretrained encoder", encoder)):
        rows[name] = features.encoder_features(model, cohort, pooling=pooling, threads=threads, on_error=on_error)
    lines = shot_scores(rows, y, groups, people, shots, protocol=protocol, repeats=repeats, seed=seed)
    return over_draws(lines, ["row", "shots", "metric"])


def shot_scores(
    rows: Mapping[str, Array], y: Array, groups: Array, people: pd.DataFrame, shots: Sequence[int], *, protocol: probes.Probe, repeats: int, seed: int
) -> pd.DataFrame:
    """Scores of probes that are fitted on a few people of each class, of each draw.

    Args:
        rows: Features [recordings, D] by name.
        y: Classes [recordings].
        groups: Subject of each recording [recordings].
        people: One line a subject: subject, class.
        shots: Numbers of subjects of each class; the test people are those whom the largest number leaves.
        protocol: Name of the probe.
        repeats: Number of draws.
        seed: Seed of the draws; the same people are drawn for the same seed.

    Returns:
        row, shots, metric, repeat, value.
    """
    classes, lines = np.unique(y), []
    reported: tuple[Metric, ...] = ("balanced_accuracy", "auroc")
    for repeat in range(repeats):
        rng = np.random.default_rng((seed, repeat))
        drawn = [rng.permutation(people["subject"][people["class"] == c].to_numpy())[: max(shots)] for c in classes]
        test = ~np.isin(groups, np.concatenate(drawn))
        for k in shots:
            train = np.isin(groups, np.concatenate([subjects[:k] for subjects in drawn]))
            for name, x in rows.items():
                predicted = probes.fit_predict(x[train], y[train], groups[train], x[test], classes, protocol, False)
                lines += [(name, k, metric, repeat, metrics.score(metric, y[test], predicted, classes)) for metric in reported]
    return pd.DataFrame(lines, columns=["row", "shots", "metric", "repeat", "value"])


def over_draws(lines: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean and the range of 95 % of the draws (value, low, high) of what :func:`shot_scores` gives, by these columns."""
    values = lines.groupby(list(by), sort=False)["value"]
    return pd.DataFrame({"value": values.mean(), "low": values.quantile(0.025), "high": values.quantile(0.975)}).reset_index()


def _one_class_each(cohort: Cohort, y: Array, groups: Array, shots: Sequence[int]) -> pd.DataFrame:
    """Subjects and their classes; refuses shots that leave no one to test."""
    people = pd.DataFrame({"subject": groups, "class": y}).drop_duplicates()
    if people["subject"].duplicated().any():
        raise ValueError(f"{cohort.name}: target: subject {people['subject'][people['subject'].duplicated()].iloc[0]} has recordings of two classes")
    counts = people["class"].value_counts()
    if len(counts) < 2:
        raise ValueError(f"{cohort.name}: target has one class only, {str(counts.index[0])!r}; there is nothing to predict")
    smallest = counts.min()
    if not isinstance(shots, Sequence) or not shots:
        raise ValueError(f"few_shot: shots={shots!r} must be a list of at least one number of subjects")
    if min(shots) < 1 or max(shots) >= smallest:
        rarest = f"the rarest class has {smallest} subjects, and some must be left to test"
        raise ValueError(f"few_shot: shots={list(shots)} must be within 1 and {smallest - 1}: {rarest}")
    return people


def transfer_matrix(
    encoder: EncoderLike | None,
    cohorts: Sequence[Cohort],
    target: str,
    protocol: Protocol | FineTuning = "linear",
    **options: Any,
) -> pd.DataFrame:
    """Scores every cohort as the one that is learned from, on every cohort as the one that is tested.

    Args:
        encoder: Pretrained encoder; None computes the baselines that need none.
        cohorts: At least two cohorts of different names and subjects.
        target: Column of all of their tables.
        protocol: Protocol of :func:`sslmed.transfer`.
        **options: Other arguments of :func:`sslmed.transfer`, except ``test``.

    Returns:
        train, test, and the columns of :attr:`sslmed.TransferResult.table`. Where a cohort is both, scores come from
        folds over its subjects.

    Raises:
        ValueError: Fewer than two cohorts, two of the same name, or what :func:`sslmed.transfer` refuses.
    """
    if "test" in options:
        raise ValueError("transfer_matrix: test is taken from cohorts in turn; leave it out")
    for i, cohort in enumerate(cohorts):
        if not isinstance(cohort, Cohort):
            raise TypeError(f"transfer_matrix: cohorts[{i}] must be a Cohort, got {type(cohort).__name__}")
    names = [c.name for c in cohorts]
    if len(cohorts) < 2:
        raise ValueError(f"transfer_matrix: cohorts must be at least two, got {names}")
    if len(set(names)) < len(names):
        raise ValueError(f"transfer_matrix: cohorts must have different names, got {names}")
    parts = []
    for train in cohorts:
        for test in cohorts:
            result = transfer(encoder, train, target, protocol, test=None if test is train else test, **options)
            parts.append(result.table.assign(train=train.name, test=test.name))
    table = pd.concat(parts, ignore_index=True)
    return table[["train", "test", *[c for c in table.columns if c not in ("train", "test")]]]
