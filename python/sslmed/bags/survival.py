"""Scores of predicted risks: C-indices over pairs within a fold, with bootstrap intervals over people."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sslmed.bags.ridge_cox import RidgeCox
from sslmed.cohort import Cohort
from sslmed.evaluation.concordance import bootstrap, censoring_weights, pairs_of, resampled
from sslmed.evaluation.splits import Fold

__all__ = ["score_survival"]

Array = np.ndarray[Any, Any]

_KINDS = ("c_index", "c_uno")


def score_survival(
    people: Cohort, means: Array, targets: dict[str, Array], folds: list[list[Fold]], risks: dict[str, list[Array]], pooled: str, ties: str, *,
    draws: int, seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """Table, predictions and comparisons of risks.

    Args:
        people: One row a unit.
        means: Mean features [units, D].
        targets: "target" (times) and "event" [units].
        folds: (train, test) units of each draw.
        risks: Out-of-fold log hazard ratios [units] of each draw, by row.
        pooled: Name of the row of the mean features.
        ties: "efron" or "breslow".
        draws: Draws of the bootstrap.
        seed: Seed.

    Raises:
        ValueError: No pair within a fold is comparable.
    """
    time, event = targets["target"], targets["event"]
    subject = np.unique(people.table["subject"].to_numpy(str), return_inverse=True)[1]
    linear = [_linear(means, time, event, subject, parts, ties, seed) for parts in folds]
    rows = {"dummy": [np.where(np.isfinite(r), 0.0, np.nan) for r in linear], pooled: linear} | risks
    lines, found = [], {}
    tested = len(np.unique(subject[np.isfinite(linear[0])]))
    for name, made in rows.items():
        for kind in _KINDS:
            pairs = [_pairs(kind, risk, time, event, subject, parts) for risk, parts in zip(made, folds, strict=True)]
            if not all(weight.sum() > 0 for _, weight in pairs):
                raise ValueError("slide_level: no two people of a test part are comparable; take fewer folds (cv), or more people with the event")
            right, all_ = [p[0] for p in pairs], [p[1] for p in pairs]
            found[name, kind] = (right, all_)
            values = [float(r.sum() / w.sum()) for r, w in pairs]
            low, high = (np.nan, np.nan) if name == "dummy" else bootstrap(right, all_, subject, draws=draws, seed=seed)
            spread = float(np.std(values, ddof=1)) if len(values) > 1 and name != "dummy" else np.nan
            lines.append((name, kind, float(np.mean(values)), low, high, tested, spread))
    table = pd.DataFrame(lines, columns=["row", "metric", "value", "low", "high", "n_subjects", "sd_folds"])
    return table, _predictions(people, rows, time, event, folds), _comparisons(found, list(risks), pooled, subject, draws, seed)


def _linear(x: Array, time: Array, event: Array, subject: Array, parts: list[Fold], ties: str, seed: int) -> Array:
    """Out-of-fold risks of a ridge-penalized Cox regression of the mean features."""
    out = np.full(len(time), np.nan)
    for train, test in parts:
        fitted = RidgeCox(ties, seed=seed).fit(x[train], time[train], event[train], subject[train])
        out[test] = fitted.predict(x[test])
    return out


def _pairs(kind: str, risk: Array, time: Array, event: Array, subject: Array, parts: list[Fold]) -> tuple[Array, Array]:
    fold, weights = np.full(len(time), -1), np.ones(len(time))
    for number, (train, test) in enumerate(parts):
        fold[test] = number
        if kind == "c_uno":
            weights[test] = censoring_weights(time[train], event[train], time[test])
    known = fold >= 0
    right, all_ = pairs_of(np.where(known, risk, 0.0), time, event, weights=weights, apart=subject, within=fold)
    both = known[:, None] & known[None]
    return right * both, all_ * both


def _predictions(people: Cohort, rows: dict[str, list[Array]], time: Array, event: Array, folds: list[list[Fold]]) -> pd.DataFrame:
    fold = np.full(len(time), -1)
    for number, (_, test) in enumerate(folds[0]):
        fold[test] = number
    known = fold >= 0
    parts = []
    for name, made in rows.items():
        columns = {"subject": people.table["subject"], "path": people.table["path"], "fold": fold, "time": time, "event": event}
        part = pd.DataFrame({"row": name} | {column: np.asarray(values)[known] for column, values in columns.items()})
        parts.append(part.assign(risk=np.mean([risk[known] for risk in made], axis=0)))
    return pd.concat(parts, ignore_index=True)


def _comparisons(found: dict[tuple[str, str], Any], names: list[str], pooled: str, subject: Array, draws: int, seed: int) -> pd.DataFrame:
    """Differences from the mean features, over the same draws of people."""
    lines = []
    for name in names:
        for kind in _KINDS:
            mine, theirs = found[name, kind], found[pooled, kind]
            value = float(np.mean([r.sum() / w.sum() for r, w in zip(*mine, strict=True)]) - np.mean([r.sum() / w.sum() for r, w in zip(*theirs, strict=True)]))
            low = high = p = np.nan
            if draws:
                drawn = resampled(mine[0], mine[1], subject, draws=draws, seed=seed) - resampled(theirs[0], theirs[1], subject, draws=draws, seed=seed)
                drawn = drawn[np.isfinite(drawn)]
                low, high = (float(v) for v in np.quantile(drawn, [0.025, 0.975]))
                p = float(min(1.0, 2 * (1 + min((drawn <= 0).sum(), (drawn >= 0).sum())) / (1 + len(drawn))))
            lines.append((name, pooled, kind, value, low, high, p, "people drawn with replacement"))
    return pd.DataFrame(lines, columns=["row", "against", "metric", "difference", "low", "high", "p", "test"])
