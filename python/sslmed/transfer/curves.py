"""Transfer as a function: of the number of labelled people, and of the cohort that was learned from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from sslmed.cohort import Cohort
from sslmed.encoders import CohortEncoder, resolve
from sslmed.labels import class_names, is_regression, labelled
from sslmed.leakage import refuse_shared_files
from sslmed.transfer import evaluate, features, transfer

__all__ = ["few_shot", "transfer_matrix"]

Array = np.ndarray[Any, Any]


def few_shot(
    encoder: CohortEncoder,
    cohort: Cohort,
    target: str,
    shots: Sequence[int] = (1, 2, 4, 8),
    *,
    protocol: str = "linear",
    repeats: int = 20,
    pooling: str = "mean",
    seed: int = 0,
    threads: int = 2,
    on_error: str = "raise",
) -> pd.DataFrame:
    """Scores of probes that were taught with few subjects of each class.

    In each repeat subjects are drawn, fewer of them within more, and the test subjects are all that the largest draw left: one and the same for
    every number of shots.

    Args:
        encoder: Pretrained; its features stand beside those of a random encoder and band power (of slides: colour).
        cohort: Recordings with a column ``target`` of classes, one class a subject.
        target: The column.
        shots: Subjects of each class to learn from.
        protocol: "linear" or "knn", on frozen features.
        repeats: Draws.
        pooling: As :func:`sslmed.transfer`.
        seed: Of the draws.
        threads: Loader threads.
        on_error: As :func:`sslmed.transfer`.

    Returns:
        row, shots, metric, value (mean over repeats), low, high (95 % of the repeats: how much one's luck with subjects matters, no interval of the mean).

    Raises:
        ValueError: A regressed target, a subject with two classes, a class with too few subjects for the largest draw and a test, or a file listed
            for two subjects.
    """
    cohort, y = labelled(cohort, target)
    encoder = resolve(encoder, cohort)
    refuse_shared_files(cohort)
    if is_regression(y):
        raise ValueError(f"{target!r} is regressed; few shots are counted in subjects of a class")
    y = class_names(y)
    classes = np.unique(y)
    groups = cohort.table["subject"].to_numpy()
    people = pd.DataFrame({"subject": groups, "class": y}).drop_duplicates()
    if people["subject"].duplicated().any():
        raise ValueError(f"{cohort.name}: subject {people['subject'][people['subject'].duplicated()].iloc[0]} has recordings of two classes")
    smallest = people["class"].value_counts().min()
    if not shots or min(shots) < 1 or max(shots) >= smallest:
        raise ValueError(f"shots must be within 1 and {smallest - 1}: the rarest class has {smallest} subjects, and some are to be tested; got {list(shots)}")
    simple = features.simple(cohort, on_error=on_error)
    rows = {simple[0]: simple[1][0]} if simple else {}
    for name, model in (("random encoder", encoder.randomized()), ("pretrained encoder", encoder)):
        rows[name] = features.encoder_features(model, cohort, pooling=pooling, threads=threads, on_error=on_error)
    lines = []
    for repeat in range(repeats):
        rng = np.random.default_rng((seed, repeat))
        drawn = [rng.permutation(people["subject"][people["class"] == c].to_numpy())[: max(shots)] for c in classes]
        test = ~np.isin(groups, np.concatenate(drawn))
        for k in shots:
            train = np.isin(groups, np.concatenate([subjects[:k] for subjects in drawn]))
            for name, x in rows.items():
                predicted = evaluate.fit_predict(x[train], y[train], groups[train], x[test], classes, protocol, False)
                for metric in ("balanced_accuracy", "auroc"):
                    lines.append((name, k, metric, evaluate.score(metric, y[test], predicted, classes)))
    table = pd.DataFrame(lines, columns=["row", "shots", "metric", "value"]).groupby(["row", "shots", "metric"], sort=False)["value"]
    out = pd.DataFrame({"value": table.mean(), "low": table.quantile(0.025), "high": table.quantile(0.975)})
    return out.reset_index()


def transfer_matrix(encoder: CohortEncoder | None, cohorts: Sequence[Cohort], target: str, protocol: str = "linear", **options: Any) -> pd.DataFrame:
    """Every cohort as the one that is learned from and as the one that is tested.

    Args:
        encoder: Pretrained; None: for the baselines that need none.
        cohorts: Of different names and people.
        target: A column of all.
        protocol: As :func:`sslmed.transfer`.
        **options: Of :func:`sslmed.transfer`, but for ``test``.

    Returns:
        train, test, and the columns of :attr:`sslmed.TransferResult.table`. Where train is test, folds over subjects.

    Raises:
        ValueError: Fewer than two cohorts, two of one name, or what :func:`sslmed.transfer` refuses.
    """
    names = [c.name for c in cohorts]
    if len(cohorts) < 2 or len(set(names)) < len(names):
        raise ValueError(f"expected at least two cohorts of different names, got {names}")
    parts = []
    for train in cohorts:
        for test in cohorts:
            result = transfer(encoder, train, target, protocol, test=None if test is train else test, **options)
            parts.append(result.table.assign(train=train.name, test=test.name))
    table = pd.concat(parts, ignore_index=True)
    return table[["train", "test", *[c for c in table.columns if c not in ("train", "test")]]]
