"""Stamps: what a reviewer would reject a result for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from sslmed.evaluation.facts import Facts, decided, facts_of, imbalances, lines_of
from sslmed.evaluation.intervals import LEAST

if TYPE_CHECKING:
    from sslmed.evaluation.result import TransferResult

__all__ = ["stamps"]


def stamps(result: TransferResult) -> list[str]:
    """Lists what a reviewer would reject a result for, one sentence each.

    Args:
        result: Result of :func:`sslmed.evaluate` or :func:`sslmed.transfer`. Set ``result.chosen_from`` where it was
            picked from several.

    Returns:
        The sentences; none where nothing was found. What the package cannot see is not among them.

    Examples:
        >>> import numpy as np, pandas as pd
        >>> import sslmed as sm
        >>> from sslmed.evaluation.stamps import stamps
        >>> x, table = np.random.default_rng(0).normal(size=(12, 3)), pd.DataFrame({"subject": range(12), "y": ["a", "b"] * 6})
        >>> stamps(sm.evaluate(x, table, "y", cv=3, repeats=2, permutations=0))[0]
        'FEW PEOPLE: class a has 6 people and b has 6; below 10 people a class no interval is given.'
    """
    facts = facts_of(result)
    return [text for rule in _RULES for text in rule(result, facts)]


def _few(result: TransferResult, facts: Facts) -> Iterator[str]:
    if few := {c: n for c, n in facts.counts.items() if n < LEAST}:
        said = " and ".join(f"{'class ' if i == 0 else ''}{c} has {n}{' people' if i == 0 else ''}" for i, (c, n) in enumerate(few.items()))
        yield f"FEW PEOPLE: {said}; below {LEAST} people a class no interval is given."
    if facts.regression and facts.people < LEAST:
        yield f"FEW PEOPLE: {facts.people} people were scored; below {LEAST} no interval is given."


def _confounded(result: TransferResult, facts: Facts) -> Iterator[str]:
    found = imbalances(result)
    for line in lines_of(found[found["imbalanced"].astype(bool)]):
        if line.column not in facts.covariates:
            size = f"{abs(line.difference):.2f}" if np.isfinite(line.difference) else "infinite"
            yield (
                f"CONFOUNDED: the classes differ in {line.column} (standardized difference {size}, {line.classes}), which was not declared in covariates; "
                f"the score may be of {line.column}."
            )


def _transductive(result: TransferResult, facts: Facts) -> Iterator[str]:
    if seen := result.provenance.get("transductive", 0):
        yield f"TRANSDUCTIVE: the encoder was pretrained on signals of {seen} of {result.provenance['people']} scored people."


def _unknown(result: TransferResult, facts: Facts) -> Iterator[str]:
    if result.provenance.get("encoder") == "unknown origin":
        yield "UNKNOWN WEIGHTS: nothing is recorded of whom the encoder was trained on; the scored people may be among them."


def _chosen(result: TransferResult, facts: Facts) -> Iterator[str]:
    if result.chosen_from > 1:
        yield f"CHOSEN: this result was picked from {result.chosen_from}; the best of several is too good on average, and no p value here knows of it."


def _recorded(result: TransferResult, facts: Facts) -> Iterator[str]:
    """Rows that tell how recordings were made, and predict the target."""
    name = "auroc" if len(facts.counts) == 2 else facts.metric
    lines = result.table[result.table["metric"] == name].drop_duplicates("row").set_index("row")
    chance = 0.5 if name == "auroc" else 1 / max(1, len(facts.counts))
    for row in result.manifest.get("options", {}).get("acquisition", ()):
        if facts.regression or row not in lines.index or row == facts.main:
            continue
        value, low = float(lines.loc[row, "value"]), float(lines.loc[row, "low"])
        if not (low > chance if np.isfinite(low) else value > (1 + chance) / 2):
            continue
        compared = [c for c in lines_of(result.comparisons) if c.row == facts.main and c.against == row and c.metric == name]
        better = bool(compared) and decided(compared[0]) and compared[0].difference > 0
        then = "" if better else f", and {facts.main} is not shown to be better: what it tells may be the device or the day, and not the disease"
        yield f"ACQUISITION: how the recordings were made tells the classes by itself ({name} {value:.2f}){then}."


def _chance(result: TransferResult, facts: Facts) -> Iterator[str]:
    own = [line for line in lines_of(result.comparisons) if line.against == "chance" and line.row == facts.main]
    if "permuted labels" not in set(result.table["row"]) and not facts.fixed:
        yield "NO PERMUTED LABELS: chance was not measured by permuting the labels; a leak in the procedure would not be seen."
    if own and np.isfinite(own[0].p) and not decided(own[0]):
        yield f"CHANCE: {facts.main} cannot be told from chance."


def _explained(result: TransferResult, facts: Facts) -> Iterator[str]:
    found = result.table[(result.table["row"] == facts.main) & (result.table["metric"] == "r2")]["value"]
    if len(found) and (value := float(found.iloc[0])) <= 0:
        yield f"NOTHING EXPLAINED: R² of {facts.main} is {value:.2f}; the mean of the training people predicts as well or better."


def _beaten(result: TransferResult, facts: Facts) -> Iterator[str]:
    declared: set[str] = set()
    for line in lines_of(result.comparisons):
        if line.row != facts.main or line.against == "chance" or line.metric != facts.metric:
            continue
        declared.add(line.against)
        better = (line.difference > 0) == facts.higher
        if not (decided(line) and better):
            yield f"NOT BEATEN: {facts.main} is not shown to be better than {line.against}."
    if not result.provenance:  # without an encoder there is nothing that classical rows must be beaten by
        return
    first = result.table[result.table["metric"] == facts.metric]
    scores = dict(zip(first["row"].astype(str), first["value"].astype(float), strict=True))
    plain = [r for r in scores if r not in declared | {facts.main, "dummy", "permuted labels", "random encoder"} and not r.startswith(facts.main)]
    sign = 1 if facts.higher else -1
    for row in plain:
        if sign * scores[row] >= sign * scores[facts.main]:
            yield f"NOT BEATEN: {row} scores {scores[row]:.2f}, no worse than {facts.main} with {scores[facts.main]:.2f}."


_RULES: tuple[Callable[[Any, Facts], Iterator[str]], ...] = (
    _few, _confounded, _recorded, _transductive, _unknown, _chosen, _chance, _explained, _beaten,
)  # fmt: skip
