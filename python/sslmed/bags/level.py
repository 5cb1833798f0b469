"""One call from features of slides to scores of patients."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, get_args

import numpy as np
import pandas as pd
import torch

from sslmed._checks import choice, whole
from sslmed._world import own_settings
from sslmed.bags.fitting import Bags
from sslmed.bags.networks import answers_of, events_of, outcome_of, trained_on
from sslmed.bags.result import FoldNetwork, SlideLevelResult
from sslmed.bags.store import FeatureStore
from sslmed.bags.survival import score_survival
from sslmed.bags.task import AGGREGATORS, AggregatorName, BagTraining
from sslmed.bags.units import Fusion, Units, units_of
from sslmed.evaluation.assess import Options, assess
from sslmed.evaluation.crossfit import Pipeline, Study
from sslmed.evaluation.evaluate import named_folds, positive_class
from sslmed.evaluation.splits import CV, Fold, repeated

__all__ = ["MEAN_POOLING", "slide_level"]

Array = np.ndarray[Any, Any]

MEAN_POOLING = "mean pooling"
"""Row of a linear model (logistic, ridge or Cox with a ridge penalty) on the mean of the features."""


@own_settings()
def slide_level(
    store: FeatureStore | str | os.PathLike[str],
    table: pd.DataFrame,
    target: str,
    aggregator: AggregatorName = "abmil",
    options: BagTraining | None = None,
    *,
    event: str | None = None,
    slide: str = "slide",
    fusion: Fusion = "early",
    cv: CV = 5,
    repeats: int = 1,
    regression: bool | None = None,
    positive: str | None = None,
    draws: int = 1000,
    seed: int = 0,
    threads: int = 2,
    progress: Callable[[str], None] | None = None,
) -> SlideLevelResult:
    """Trains an aggregator on features of slides, and scores people whom it has not seen.

    Folds are over subjects. In each of them the epoch is chosen by a part of the training subjects; nobody of the test part takes part in
    that. Beside the aggregator stand a dummy and a linear model on the mean of the features ("mean pooling"), whose
    strength is chosen inside the training subjects too: attention that does not beat it has found nothing more.

    Args:
        store: Features of the slides (:func:`sslmed.store_features`), or the store's folder.
        table: One row a slide, with ``subject``, the slide's name in the store, and the target.
        target: Column to predict: classes, numbers, or with ``event`` times. Rows without a value are left out.
        aggregator: "mean", "abmil", "clam_sb", "clam_mb" or "transmil" (:class:`sslmed.bags.BagTask`).
        options: Network and training.
        event: Column with 1 where the event was seen and 0 where the time is censored: survival (Cox).
        slide: Column of the slides' names.
        fusion: Several slides of a patient: "early" joins their tiles to one bag; "late" trains on slides, and a patient's
            logits (values, log hazard ratios) are the mean over slides; "none" scores each slide.
        cv: Number of folds over subjects, "loso", a splitter of scikit-learn, or pairs (train, test) of positions of the
            patients (or slides) in the order in which they come first in the table.
        repeats: Number of draws of the folds.
        regression: True to regress the target, False to classify it, None to decide by its values.
        positive: Class that sensitivity and the like are of, with two classes.
        draws: Draws of the bootstrap (survival).
        seed: Seed of folds, weights, order and dropout.
        threads: Loader threads; the result does not depend on them.
        progress: Function that gets a line of text after each fold.

    Returns:
        Scores with 95 % intervals, predictions, and the networks of the first draw of folds for attention maps. For
        survival the metrics are "c_index" (Harrell) and "c_uno", over pairs within a fold; their interval is a bootstrap of the
        test people, which does not know that training people vary too.

    Raises:
        TypeError: ``table`` is not a table.
        ValueError: A column or a slide's features are missing, slides of a patient differ in the target, an argument is out of
            range, or folds leak.
        FormatError, ReadError: A file of features cannot be read.

    See Also:
        :func:`sslmed.store_features`, :func:`sslmed.evaluate`

    Examples:
        >>> import tempfile, numpy as np, pandas as pd, torch
        >>> import sslmed as sm
        >>> store, rng = sm.FeatureStore(tempfile.mkdtemp()), np.random.default_rng(0)
        >>> table = pd.DataFrame({"subject": np.arange(20), "slide": [f"s{i}" for i in range(20)], "tumor": ["no", "yes"] * 10})
        >>> for name, label in zip(table["slide"], table["tumor"]):
        ...     x = rng.normal(size=(30, 8)) + 3.0 * (label == "yes") * (np.arange(30) < 5)[:, None]
        ...     _ = store.write(name, torch.from_numpy(x), np.stack([np.arange(30) * 512, np.zeros(30)], 1), mpp=0.25, tile=512)
        >>> how = sm.BagTraining(hidden=16, attention=8, epochs=5, patience=0, batch_size=4, lr=1e-2)
        >>> result = sm.slide_level(store, table, "tumor", "abmil", how, cv=2)
        >>> result.table["row"].unique().tolist()
        ['dummy', 'mean pooling', 'abmil']
        >>> result.attention("s1").columns.tolist()
        ['x', 'y', 'attention', 'percentile']
    """
    where = "slide_level"
    choice(where, "aggregator", aggregator, AGGREGATORS)
    choice(where, "fusion", fusion, get_args(Fusion))
    for name, value, least in (("repeats", repeats, 1), ("draws", draws, 0), ("seed", seed, 0), ("threads", threads, 1)):
        whole(where, name, value, least)
    how = BagTraining() if options is None else options
    store = store if isinstance(store, FeatureStore) else FeatureStore(store)
    units = units_of(where, store, table, [target] if event is None else [target, event], slide, fusion)
    outcome, values, classes = outcome_of(where, units, target, event, regression)
    stratify = target if outcome == "classes" else event
    folds = repeated(units.people, cv, stratify=stratify, repeats=repeats, seed=seed)
    targets = {"target": values} if event is None else {"target": values, "event": events_of(where, units, event)}
    made: list[Array] = []
    networks: list[FoldNetwork] = []
    for draw, parts in enumerate(folds):
        said = np.full((len(values), len(classes) if outcome == "classes" else 1), np.nan)
        for number, (train, test) in enumerate(parts):
            trained = trained_on(units, train, targets, outcome, len(classes), aggregator, how, stratify, (seed, draw, number), threads)
            said[test] = answers_of(units, trained[0].task, test, targets, threads)
            if draw == 0:
                subjects = units.people.table["subject"].to_numpy()
                networks.append(FoldNetwork(trained[0], frozenset(subjects[test]), trained[1]))
            if progress is not None:
                progress(f"draw {draw + 1} of {len(folds)}, fold {number + 1} of {len(parts)}: {trained[0].epochs} epochs kept")
        made.append(said)
    settings = {"aggregator": aggregator, "fusion": fusion, "cv": named_folds(cv), "repeats": repeats, "seed": seed, "draws": draws} | asdict(how)
    common: dict[str, Any] = {
        "target": target, "aggregator": aggregator, "fusion": fusion, "networks": networks, "settings": settings,
        "bags": Bags(store, units.slides, units.people.table["subject"].tolist()),
        "owner": {name: subject for names, subject in zip(units.slides, units.people.table["subject"], strict=True) for name in names},
    }  # fmt: skip
    name = "mean pooling network" if aggregator == "mean" else aggregator
    if outcome == "survival":
        risks = {name: [said[:, 0] for said in made]}
        scored = score_survival(units.people, units.means(), targets, folds, risks, MEAN_POOLING, how.ties, draws=draws, seed=seed)
        return SlideLevelResult(*scored, **common)
    found = _assessed(units, values, classes, outcome, folds, made, name, fusion, target, positive, cv, seed)
    return SlideLevelResult(found.table, found.predictions, found.comparisons, evaluation=found, **common)


def _assessed(
    units: Units, values: Array, classes: Array, outcome: str, folds: list[list[Fold]], made: list[Array], name: str, fusion: str, target: str,
    positive: str | None, cv: CV, seed: int,
) -> Any:  # fmt: skip
    """The table of classes or values, by the evaluation that features go through too."""
    regressed = outcome == "value"
    known = None if regressed else classes
    number = positive_class("slide_level", positive, known)
    level = "recording" if fusion == "none" else "person"
    study = Study.of(values, units.people.table["subject"].to_numpy(), known, folds, level=level, positive=number)
    said = [out[:, 0] if regressed else torch.from_numpy(out).softmax(1).numpy() for out in made]
    rows: dict[str, Any] = {"dummy": None, MEAN_POOLING: Pipeline(units.means(), "linear", seed=seed), name: said}
    asked = Options(target, name, name, (MEAN_POOLING,), positive, None, 0, seed, named_folds(cv))
    found = assess(study, rows, units.people.table, asked)
    return replace(found, protocol=name)
