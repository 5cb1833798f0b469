"""Nested selection: what the best of many candidates is worth, when the choice is made inside the training people alone.

The best of k scores is too high, because it is the best partly by luck: among 24 candidates that know nothing, the best area
under the ROC curve of 40 people is about .75 by five folds. Here each fold chooses by folds inside its training people, and its choice
predicts the people of its test part, whom the choice has not seen (Varma & Simon, BMC Bioinformatics 2006).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from sslmed._checks import choice, number, whole
from sslmed.evaluation import probes
from sslmed.evaluation.assess import Options, assess, metrics_of
from sslmed.evaluation.crossfit import Pipeline, Study, given
from sslmed.evaluation.evaluate import Level, named_folds, positive_class, prepared
from sslmed.evaluation.linear import fit_linear
from sslmed.evaluation.result import TransferResult
from sslmed.evaluation.scoring import HIGHER, scores
from sslmed.evaluation.seeds import Seeds
from sslmed.evaluation.splits import CV, Fold, repeated

__all__ = ["SELECTED", "Selection", "select"]

Array = np.ndarray[Any, Any]

SELECTED = "selected by nested folds"
"""Name of the row that chooses inside the training people."""

_Probe = Literal["linear", "knn", "forest"]
_SHARED = range(5, 11)  # numbers of folds of which two at a time can be left out


@dataclass(repr=False)
class Selection(TransferResult):
    """Scores of candidates and of the choice among them (:func:`select`)."""

    chosen: pd.Series[Any] = field(default_factory=lambda: pd.Series(dtype=int))
    """Number of folds, over all repeats, that chose each candidate [candidates]."""
    best: str = ""
    """Candidate with the best score of its own, which is too high: it is the best of all."""
    by: str = ""
    """Score that candidates are chosen by."""

    @property
    def note(self) -> str:
        """What the best and the selected row are, in one sentence each."""
        scores_ = self.table[self.table["metric"] == self.by].set_index("row")["value"]
        often = ", ".join(f"{name} in {n}" for name, n in self.chosen[self.chosen > 0].sort_values(ascending=False).head(3).items())
        return (
            f"{self.best!r} is the best of {len(self.chosen)} candidates by {self.by} ({scores_[self.best]:.3f}), which was picked for it and so is too high. "
            f"Chosen inside the training people, the score is {scores_[SELECTED]:.3f}; of {int(self.chosen.sum())} folds, candidates were chosen: {often}."
        )


def select(
    features: Mapping[str, Array | Sequence[Array]],
    table: pd.DataFrame,
    target: str,
    protocol: _Probe | Mapping[str, _Probe] = "linear",
    *,
    by: str | None = None,
    cv: CV = 5,
    repeats: int = 10,
    regression: bool | None = None,
    positive: str | None = None,
    balanced: bool = False,
    level: Level = "person",
    prevalence: float | None = None,
    seed: int = 0,
) -> Selection:
    """Scores candidates, and the choice among them by folds inside the training people.

    The row ``selected by nested folds`` is what an honest report of the best candidate says. Its interval leaves the test people out in turn, and is set
    wider for the training people, because the choice would have to be made anew without each of them.

    Args:
        features: Features of each candidate by name, [rows, D]. A list of arrays holds those of several pretraining seeds, over which scores are
            averaged: no seed is chosen.
        table: One row a recording, with ``subject`` and the target.
        target: Column to predict; rows without a value are left out.
        protocol: "linear", "knn" or "forest", for all candidates or by name.
        by: Score that candidates are chosen by; by default "auroc" ("balanced_accuracy" with "loso"), or "mae" of a regressed target.
        cv: Outer folds, as in :func:`sslmed.evaluate`. The inner folds are the other outer ones where there are 5 to 10, and five folds otherwise.
        repeats: Number of draws of the folds.
        regression: True to regress the target, False to classify it, None to decide by its values.
        positive: Class that sensitivity, predictive values and calibration are of, with two classes.
        balanced: Weight every class alike in all fits.
        level: "person" or "recording": what counts once in a score.
        prevalence: Share of the positive class that predictive values are meant for; by default the cohort's.
        seed: Seed of folds and forests.

    Returns:
        Rows ``dummy``, each candidate and ``selected by nested folds``; ``chosen`` counts the folds that chose each candidate.

    Raises:
        ValueError: Fewer than two candidates, or as :func:`sslmed.evaluate`.

    See Also:
        :func:`sslmed.grid.run`, which calls it for the runs of a grid.

    Examples:
        >>> import numpy as np, pandas as pd
        >>> import sslmed as sm
        >>> rng, y = np.random.default_rng(0), np.tile(["control", "pain"], 15)
        >>> features = {f"noise {i}": rng.normal(size=(30, 4)) for i in range(5)}
        >>> features["signal"] = rng.normal(size=(30, 4)) + 2.0 * (y == "pain")[:, None]
        >>> table = pd.DataFrame({"subject": np.arange(30), "diagnosis": y})
        >>> result = sm.evaluation.select(features, table, "diagnosis", repeats=2)
        >>> result.best, int(result.chosen["signal"])
        ('signal', 10)
    """
    choice("select", "level", level, get_args(Level))
    whole("select", "repeats", repeats, 1)
    whole("select", "seed", seed)
    if prevalence is not None:
        number("select", "prevalence", prevalence, 0, 1, strict=True)
    if not isinstance(features, Mapping) or len(features) < 2:
        raise ValueError(f"select: features must hold at least two candidates by name, got {len(features) if isinstance(features, Mapping) else features!r}")
    if reserved := [name for name in features if name in (SELECTED, "dummy")]:
        raise ValueError(f"select: features: {reserved[0]!r} is the name of another row; call the candidate something else")
    lists = {str(name): list(x) if isinstance(x, (list, tuple)) else [x] for name, x in features.items()}
    if empty := [name for name, xs in lists.items() if not xs]:
        raise ValueError(f"select: features[{empty[0]!r}]=[] must hold an array for at least one seed")
    flat = {(name, i): x for name, xs in lists.items() for i, x in enumerate(xs)}
    named = {f"{name}: {i}" if len(lists[name]) > 1 else name: x for (name, i), x in flat.items()}
    data = prepared("select", named, table, target, regression)
    matrices, people, values, classes = data.matrices, data.people, data.values, data.classes
    folds = repeated(people, cv, stratify=None if classes is None else target, repeats=repeats, seed=seed)
    place = positive_class("select", positive, classes)
    study = Study.of(values, people.table["subject"].to_numpy(), classes, folds, level=level, balanced=balanced, positive=place)
    # Areas are computed within folds, and need two people in one.
    metric = by or ("mae" if classes is None else "balanced_accuracy" if cv == "loso" else "auroc")
    choice("select", "by", metric, metrics_of(study, positive))
    probe_of = _probes(protocol, list(lists))
    arrays = dict(zip(flat, matrices.values(), strict=True))
    candidates = {name: tuple(Pipeline(arrays[name, i], probe_of[name], seed=seed) for i in range(len(xs))) for name, xs in lists.items()}
    rows: dict[str, Any] = {"dummy": None} | {name: Seeds(many) if len(many) > 1 else many[0] for name, many in candidates.items()}
    picked = [_choices(study, candidates, one, metric) for one in study.repeats]
    rows[SELECTED] = _selected(study, candidates, picked)
    shown = protocol if isinstance(protocol, str) else ", ".join(dict.fromkeys(probe_of.values()))
    result = assess(study, rows, people.table, Options(target, shown, SELECTED, (), positive, prevalence, 0, seed, named_folds(cv)))
    names = [name for one in picked for name in one]
    own = result.table[(result.table["metric"] == metric) & result.table["row"].isin(list(lists))].set_index("row")["value"]
    if own.isna().all():
        raise ValueError(f"select: by={metric!r} is not defined in these folds, such as an area where a fold tests one person; choose another score")
    best = str(own.idxmax() if HIGHER.get(metric, True) else own.idxmin())
    return Selection(**vars(result), chosen=pd.Series({name: names.count(name) for name in lists}, name="folds"), best=best, by=metric)


def _probes(protocol: _Probe | Mapping[str, _Probe], names: list[str]) -> dict[str, _Probe]:
    of: dict[str, _Probe] = dict.fromkeys(names, protocol) if isinstance(protocol, str) else {str(k): v for k, v in protocol.items()}
    if not isinstance(protocol, str) and (missing := [name for name in names if name not in of]):
        raise ValueError(f"select: protocol has no entry for the candidate {missing[0]!r}")
    for value in of.values():
        choice("select", "protocol", value, get_args(_Probe))
    return of


def _choices(study: Study, candidates: Mapping[str, Sequence[Pipeline]], folds: list[Fold], metric: str) -> list[str]:
    """The candidate that each fold of one repeat chooses, by the mean over its seeds."""
    sign = 1 if HIGHER.get(metric, True) else -1
    found = {}
    for name, many in candidates.items():
        found[name] = np.mean([_inner_scores(study, one, folds, metric) for one in many], axis=0)
    table = sign * np.stack(list(found.values()))  # [candidates, folds]
    names = list(found)
    # A score that is not defined in a training part chooses nothing.
    return [names[int(i)] for i in np.where(np.isfinite(table), table, -np.inf).argmax(axis=0)]


def _inner_scores(study: Study, how: Pipeline, folds: list[Fold], metric: str) -> Array:
    """Score [folds] of predictions of each fold's training people by fits that leave its test people out."""
    cache: dict[tuple[int, int], Array] = {}
    out = np.full(len(folds), np.nan)
    for i, (train, _) in enumerate(folds):
        wide = () if study.classes is None else (len(study.classes),)
        predicted = np.full((len(study.y), *wide), np.nan)
        inner: list[Fold] = []
        if len(folds) in _SHARED:
            for j, (other, test) in enumerate(folds):
                if i == j:
                    continue
                key = (min(i, j), max(i, j))
                both = np.intersect1d(train, other)
                if key not in cache:  # one fit without two parts predicts both of them
                    ends = np.concatenate([folds[key[0]][1], folds[key[1]][1]])
                    cache[key] = np.full((len(study.y), *wide), np.nan)
                    cache[key][ends] = _fit(study, how, both, ends)
                asked = np.intersect1d(test, train)
                predicted[asked] = cache[key][asked]
                inner.append((both, asked))
        else:
            for part, rest in _inner_folds(study, train, how.seed):
                predicted[rest] = _fit(study, how, part, rest)
                inner.append((part, rest))
        if not inner:
            continue
        made = given(replace(study, repeats=[inner]), [predicted])[0].units
        out[i] = scores(metric, made, np.ones((1, len(made.truth))))[0]
    return out


def _inner_folds(study: Study, train: Array, seed: int) -> list[Fold]:
    """Five folds over the training people, or as many as their classes have people for."""
    y, person = study.y[train], study.person[train]
    if study.classes is None:
        splitter = GroupKFold(min(5, len(np.unique(person))), shuffle=True, random_state=seed)
    else:
        least = min(len(np.unique(person[y == c])) for c in np.unique(y))
        if least < 2:
            return []
        splitter = StratifiedGroupKFold(min(5, least), shuffle=True, random_state=seed)
    return [(train[a], train[b]) for a, b in splitter.split(train, y, person)]


def _fit(study: Study, how: Pipeline, train: Array, test: Array) -> Array:
    """Predictions of test rows, without what leaving people out would change."""
    x, x_test, y, person = how.x[train], how.x[test], study.y[train], study.person[train]
    classes = None if study.classes is None else len(study.classes)
    if how.probe == "linear" and x.ndim == 2:
        codes = np.unique(person, return_inverse=True)[1]
        return np.asarray(fit_linear(x, y, x_test, codes, classes=classes, balanced=study.balanced).predicted[0])
    names = None if classes is None else np.arange(classes)
    return probes.fit_predict(x, y, person, x_test, names, how.probe, classes is None, seed=how.seed, balanced=study.balanced)  # type: ignore[arg-type]


def _selected(study: Study, candidates: Mapping[str, Sequence[Pipeline]], picked: list[list[str]]) -> Seeds | list[Array]:
    """Predictions of each fold's test people by its choice, for each seed; candidates with fewer seeds use them in turn."""
    wide = () if study.classes is None else (len(study.classes),)
    members: list[list[Array]] = []
    for s in range(max(len(many) for many in candidates.values())):
        repeats = []
        for folds, names in zip(study.repeats, picked, strict=True):
            predicted = np.full((len(study.y), *wide), np.nan)
            for (train, test), name in zip(folds, names, strict=True):
                predicted[test] = _fit(study, candidates[name][s % len(candidates[name])], train, test)
            repeats.append(predicted)
        members.append(repeats)
    return Seeds(tuple(members)) if len(members) > 1 else members[0]
