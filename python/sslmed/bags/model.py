"""A slide-level network that is fitted once and applied to other cohorts."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from sslmed import io
from sslmed._checks import whole
from sslmed._core import FormatError
from sslmed._world import own_settings
from sslmed.bags.networks import answers_of, events_of, outcome_of, trained_on
from sslmed.bags.store import FeatureStore
from sslmed.bags.task import AggregatorName, BagTask, BagTraining
from sslmed.bags.units import Fusion, units_of
from sslmed.evaluation import TransferResult
from sslmed.evaluation.assess import Options
from sslmed.evaluation.concordance import concordance_index
from sslmed.evaluation.crossfit import Study
from sslmed.evaluation.evaluate import positive_class
from sslmed.evaluation.external import assess_fixed
from sslmed.labels import class_names
from sslmed.leakage import refuse_overlap

__all__ = ["SlideModel", "fit_slide_level"]

Array = np.ndarray[Any, Any]

_FORMAT = "sslmed-slide-model-1"


@dataclass
class SlideModel:
    """An aggregator that was fitted on all people of a cohort (:func:`fit_slide_level`)."""

    task: BagTask
    """The network."""
    facts: dict[str, Any]
    """What the file says beside the weights: target, event, outcome, classes, fusion, encoder, options, who was trained on."""

    @own_settings()
    def predict(self, store: FeatureStore | str | os.PathLike[str], table: pd.DataFrame, *, slide: str = "slide", threads: int = 2) -> pd.DataFrame:
        """Predicts people whom it was not fitted on; their target need not be known.

        Args:
            store: Features by the encoder of the training.
            table: One row a slide, with ``subject`` and the slide's name.
            slide: Column of the names.
            threads: Loader threads.

        Returns:
            One line a person (a slide, with fusion="none"): subject, slides; and the probability of each class and
            ``predicted``, or ``value``, or ``risk`` (log hazard ratio).

        Raises:
            ValueError: A subject was trained on, a slide has no features, or they are of another encoder.
        """
        return self._said("predict", store, table, [], slide, threads)[0]

    @own_settings()
    def score(
        self, store: FeatureStore | str | os.PathLike[str], table: pd.DataFrame, *, slide: str = "slide", positive: str | None = None, draws: int = 1000,
        seed: int = 0, threads: int = 2,
    ) -> pd.DataFrame:  # fmt: skip
        """Scores the predictions of an external cohort, whose table has the target of the training (and its event).

        Args:
            store: As in :meth:`predict`.
            table: As in :meth:`predict`; rows without a target are left out.
            slide: As in :meth:`predict`.
            positive: Class that sensitivity and the like are of, with two classes.
            draws: Draws of the bootstrap over people.
            seed: Seed of the draws.
            threads: As in :meth:`predict`.

        Returns:
            row ("dummy" and the aggregator's name), metric, value, low, high, n_subjects, sd_folds (NaN). Intervals are of this
            fitted model, on other people like these. Uno's weights are by the censoring of these people. The dummy is what the training labels alone say.

        Raises:
            ValueError: As :meth:`predict`; or a class that the training did not have.
        """
        facts = self.facts
        columns = [facts["target"]] + ([facts["event"]] if facts["event"] else [])
        said, units, out = self._said("score", store, table, columns, slide, threads)
        people = units.people.table
        if facts["outcome"] == "survival":
            _, time, _ = outcome_of("score", units, facts["target"], facts["event"], None)
            event, lines = events_of("score", units, facts["event"]), []
            for row, risk in (("dummy", np.zeros(len(out))), (facts["aggregator"], out[:, 0])):
                for metric, kind in (("c_index", "harrell"), ("c_uno", "uno")):
                    given: dict[str, Any] = {"kind": kind, "draws": 0 if row == "dummy" else draws, "seed": seed}
                    found = concordance_index(risk, time, event, subject=people["subject"].to_numpy(), **given)
                    lines.append((row, metric, found.value, found.low, found.high, found.n_subjects, np.nan))
            return pd.DataFrame(lines, columns=["row", "metric", "value", "low", "high", "n_subjects", "sd_folds"])
        return self._assessed(said, people, out, positive, draws, seed).table

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes weights, options and salted hashes of the training subjects to one safetensors file.

        Args:
            path: File.
        """
        io.save_safetensors(self.task.state_dict(), path, {"format": _FORMAT, "facts": json.dumps(self.facts)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SlideModel:
        """Reads a file that :meth:`save` wrote.

        Args:
            path: File.

        Raises:
            FormatError: The file holds no such network, or its weights do not fit.
        """
        try:
            facts = json.loads(io.load_metadata(path, _FORMAT)["facts"])
            out = cls(_network(facts), facts)
            out.task.load_state_dict(io.load_safetensors(path))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"{os.fspath(path)}: expected a slide-level network, found {error!r}") from error
        out.task.eval()
        return out

    def _said(self, where: str, store: Any, table: pd.DataFrame, columns: list[str], slide: str, threads: int) -> tuple[pd.DataFrame, Any, Array]:
        whole(where, "threads", threads, 1)
        facts = self.facts
        known = store if isinstance(store, FeatureStore) else FeatureStore(store)
        units = units_of(where, known, table, columns, slide, facts["fusion"])
        subjects = units.people.table["subject"].astype(str)
        seen = [s for s in subjects.unique() if _fingerprint(s, facts["salt"]) in facts["seen"]]
        refuse_overlap(seen, seen, where)
        _check_encoder(where, known, [name for names in units.slides for name in names], facts["encoder"])
        out = answers_of(units, self.task, np.arange(len(units.slides)), {}, threads)
        said = pd.DataFrame({"subject": subjects.to_numpy(), "slides": [", ".join(names) for names in units.slides]})
        if facts["outcome"] != "classes":
            said["value" if facts["outcome"] == "value" else "risk"] = out[:, 0]
            return said, units, out
        p = torch.from_numpy(out).softmax(1).numpy()
        for number, name in enumerate(facts["classes"]):
            said[name] = p[:, number]
        said["predicted"] = np.array(facts["classes"])[p.argmax(axis=1)]
        return said, units, out

    def _assessed(self, said: pd.DataFrame, people: pd.DataFrame, out: Array, positive: str | None, draws: int, seed: int) -> TransferResult:
        facts, name = self.facts, self.facts["aggregator"]
        y = people[facts["target"]].infer_objects().to_numpy()
        prior = np.asarray(facts["prior"], dtype=float)
        classes = np.array(facts["classes"]) if facts["outcome"] == "classes" else None
        if classes is not None:
            names = class_names(y)
            if unknown := sorted(set(names) - set(classes)):
                raise ValueError(f"score: {facts['target']!r} has the class {str(unknown[0])!r}, which the training did not have; leave its rows out")
            values, predicted = np.searchsorted(classes, names), said[facts["classes"]].to_numpy(float)
        else:
            values, predicted = y.astype(float), out[:, 0]
        level = "recording" if facts["fusion"] == "none" else "person"
        study = Study.of(values, people["subject"].to_numpy(), classes, [], level=level, positive=positive_class("score", positive, classes))
        rows = {"dummy": np.broadcast_to(prior, predicted.shape).copy(), name: predicted}
        return assess_fixed(study, rows, prior, people, Options(facts["target"], name, name, (), positive, None, 0, seed), draws=draws)


@own_settings()
def fit_slide_level(
    store: FeatureStore | str | os.PathLike[str],
    table: pd.DataFrame,
    target: str,
    aggregator: AggregatorName = "abmil",
    options: BagTraining | None = None,
    *,
    event: str | None = None,
    slide: str = "slide",
    fusion: Fusion = "early",
    regression: bool | None = None,
    seed: int = 0,
    threads: int = 2,
) -> SlideModel:
    """Fits an aggregator on all people of a table, to be applied to other cohorts.

    Args:
        store: As in :func:`sslmed.slide_level`, which scores the same procedure by cross-validation.
        table: As there.
        target: As there.
        aggregator: As there.
        options: As there; a part of the people chooses the epoch (``validation``), unless ``patience`` is 0.
        event: As there.
        slide: As there.
        fusion: As there.
        regression: As there.
        seed: Seed of weights, order and dropout.
        threads: Loader threads.

    Returns:
        The fitted model, which refuses to predict the people whom it was fitted on.

    Raises:
        TypeError, ValueError: As :func:`sslmed.slide_level`; or slides are of several encoders.

    Examples:
        >>> import tempfile, numpy as np, pandas as pd, torch
        >>> import sslmed as sm
        >>> from sslmed.bags import fit_slide_level
        >>> store, rng = sm.FeatureStore(tempfile.mkdtemp()), np.random.default_rng(0)
        >>> table = pd.DataFrame({"subject": np.arange(12), "slide": [f"s{i}" for i in range(12)], "tumor": ["no", "yes"] * 6})
        >>> for name in table["slide"]:
        ...     _ = store.write(name, torch.from_numpy(rng.normal(size=(9, 4))), np.zeros((9, 2)), mpp=0.25, tile=512)
        >>> model = fit_slide_level(store, table[:8], "tumor", "abmil", sm.BagTraining(hidden=4, attention=4, epochs=1, patience=0))
        >>> model.predict(store, table[8:]).columns.tolist()
        ['subject', 'slides', 'no', 'yes', 'predicted']
    """
    where = "fit_slide_level"
    how = BagTraining() if options is None else options
    store = store if isinstance(store, FeatureStore) else FeatureStore(store)
    units = units_of(where, store, table, [target] if event is None else [target, event], slide, fusion)
    outcome, values, classes = outcome_of(where, units, target, event, regression)
    targets = {"target": values} if event is None else {"target": values, "event": events_of(where, units, event)}
    names = [name for slides in units.slides for name in slides]
    encoder = store.described(names[0]).get("encoder", "")
    _check_encoder(where, store, names, encoder)
    stratify = target if outcome == "classes" else event
    rows = np.arange(len(values))
    fitted, _ = trained_on(units, rows, targets, outcome, len(classes), aggregator, how, stratify, (seed, 0, 0), threads)
    salt = secrets.token_hex(16)
    prior = (np.bincount(values, minlength=len(classes)) / len(values)).tolist() if outcome == "classes" else float(values.mean())
    facts = {
        "aggregator": aggregator, "in_dim": fitted.task.in_dim, "outcome": outcome, "classes": [str(c) for c in classes], "target": target,
        "event": event, "fusion": fusion, "encoder": encoder, "options": asdict(how), "known": fitted.task.known, "seed": seed, "prior": prior,
        "salt": salt, "seen": sorted(_fingerprint(s, salt) for s in units.people.table["subject"].astype(str).unique()),
    }  # fmt: skip
    return SlideModel(fitted.task, facts)


def _network(facts: dict[str, Any]) -> BagTask:
    how, classes = BagTraining(**facts["options"]), len(facts["classes"])
    return BagTask(facts["aggregator"], facts["in_dim"], outcome=facts["outcome"], classes=classes, options=how, seed=facts["seed"], **facts["known"])


def _check_encoder(where: str, store: FeatureStore, names: list[str], encoder: str) -> None:
    for name in names:
        if (found := store.described(name).get("encoder", "")) != encoder:
            raise ValueError(f"{where}: features of {name!r} are by the encoder {found!r}, expected {encoder!r}; features of two encoders do not compare")


def _fingerprint(subject: str, salt: str) -> str:
    return hashlib.sha256(f"{salt}{subject}".encode()).hexdigest()[:32]
