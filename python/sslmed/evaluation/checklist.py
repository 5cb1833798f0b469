"""The reporting checklist TRIPOD+AI (Collins et al., BMJ 2024): what a result fills, and what its authors have to write."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sslmed.evaluation.facts import CONFOUNDERS, Facts, facts_of

if TYPE_CHECKING:
    from sslmed.evaluation.result import TransferResult

__all__ = ["checklist"]

_ITEMS = (
    ("1", "Title: prediction model, population, outcome"),
    ("2", "Abstract, by the checklist for abstracts"),
    ("3a", "Clinical context and reason for the model"),
    ("3b", "Target population, purpose and users"),
    ("3c", "Known inequalities in health"),
    ("4", "Objectives: development, evaluation or both"),
    ("5a", "Sources of the data"),
    ("5b", "Dates of the data"),
    ("6a", "Setting: kind, number and place of centers"),
    ("6b", "Who was eligible"),
    ("6c", "Treatments"),
    ("7", "Preparation of the data and checks of their quality"),
    ("8a", "Outcome: definition and time"),
    ("8b", "Who assessed the outcome"),
    ("8c", "Blinding of that assessment"),
    ("9a", "Choice of the predictors"),
    ("9b", "Definition and measurement of the predictors"),
    ("9c", "Who judged predictors that need judgment"),
    ("10", "Sample size"),
    ("11", "Missing data"),
    ("12a", "How the data were divided"),
    ("12b", "How predictors entered the model"),
    ("12c", "Kind of model, its building and tuning, internal validation"),
    ("12d", "Differences between centers or other groups"),
    ("12e", "Measures of performance"),
    ("12f", "Updating of the model"),
    ("12g", "How predictions were computed"),
    ("13", "Class imbalance"),
    ("14", "Fairness"),
    ("15", "What the model returns, and thresholds"),
    ("16", "Differences between training and test data"),
    ("17", "Approval by an ethics committee"),
    ("18a", "Funding"),
    ("18b", "Conflicts of interest"),
    ("18c", "Protocol"),
    ("18d", "Registration"),
    ("18e", "Sharing of data"),
    ("18f", "Sharing of code"),
    ("19", "Involvement of patients and the public"),
    ("20a", "Flow of participants"),
    ("20b", "Characteristics of participants"),
    ("20c", "Comparison of the training and test people"),
    ("21", "People and events in each analysis"),
    ("22", "The whole model"),
    ("23a", "Performance with intervals, also in subgroups"),
    ("23b", "Differences in performance between groups"),
    ("24", "Results of updating"),
    ("25", "Interpretation"),
    ("26", "Limitations"),
    ("27a", "Input of poor quality or missing input, in use"),
    ("27b", "What users must do and know"),
    ("27c", "Next steps"),
)


def checklist(result: TransferResult) -> pd.DataFrame:
    """Lists the items of TRIPOD+AI, with what a result says to them.

    Args:
        result: Result of :func:`sslmed.evaluate` or :func:`sslmed.transfer`.

    Returns:
        One line an item: item (its number), topic, by ("sslmed" or "authors"), text. A text of the package is a start:
        the authors have to check it.

    Examples:
        >>> import numpy as np, pandas as pd
        >>> import sslmed as sm
        >>> from sslmed.evaluation.checklist import checklist
        >>> x, table = np.random.default_rng(0).normal(size=(12, 3)), pd.DataFrame({"subject": range(12), "y": ["a", "b"] * 6})
        >>> items = checklist(sm.evaluate(x, table, "y", cv=3, repeats=2, permutations=0)).set_index("item")
        >>> items.loc["21", "text"], items.loc["17", "by"]
        ('12 people, 12 recordings: 6 a, 6 b.', 'authors')
    """
    facts = facts_of(result)
    lines = []
    for item, topic in _ITEMS:
        rule = _FILLED.get(item)
        text = "" if rule is None else rule(result, facts)
        lines.append((item, topic, "sslmed", text) if text else (item, topic, "authors", "To be written by the authors."))
    return pd.DataFrame(lines, columns=["item", "topic", "by", "text"])


def _outcome(result: TransferResult, facts: Facts) -> str:
    kind = "a number" if facts.regression else f"{len(facts.counts)} classes: {', '.join(facts.counts)}"
    return f"Column {result.target!r}, {kind}. Its definition and time are to be added."


def _predictors(result: TransferResult, facts: Facts) -> str:
    size = f", {facts.features} features" if facts.features else ""
    weights = f"; weights: {result.provenance['encoder']}" if result.provenance.get("encoder") else ""
    extra = f"; covariates: {', '.join(facts.covariates)}" if facts.covariates else ""
    return f"Row {facts.main!r}{size}{weights}{extra}."


def _size(result: TransferResult, facts: Facts) -> str:
    return f"{facts.people} people; what this number can show is in the section of the verdict."


def _missing(result: TransferResult, facts: Facts) -> str:
    left = [step for step in result.manifest.get("flow", []) if step["step"].startswith("left out: no value")]
    people = f"{left[0]['recordings']} recordings ({left[0]['people']} people) without a value of the target were left out. " if left else ""
    return f"{people}Features have no missing values; a missing covariate becomes the mean or the most frequent category, beside a column that says so."


def _divided(result: TransferResult, facts: Facts) -> str:
    if facts.fixed:
        return f"Trained on {facts.trained_on} people of one cohort, tested on another; no person, file or signal is in both."
    folds = result.manifest.get("folds", [])
    if not folds:
        return ""
    return f"Cross-validation over people: {len(folds[0])} folds, drawn {len(folds)} times; no person is in training and test data at once."


def _model(result: TransferResult, facts: Facts) -> str:
    if result.protocol == "linear":
        kind = "ridge" if facts.regression else "logistic"
        return f"Penalized {kind} regression of standardized features; its strength is chosen inside the training people, by leaving each out."
    return f"Protocol {result.protocol!r}."


def _measures(result: TransferResult, facts: Facts) -> str:
    return f"{', '.join(map(str, result.table['metric'].unique()))}, with 95 % intervals; areas and correlations within folds."


def _updating(result: TransferResult, facts: Facts) -> str:
    return "Predictions are corrected for their bias towards the mean in rows that say so." if any("corrected" in row for row in result.table["row"]) else ""


def _computed(result: TransferResult, facts: Facts) -> str:
    level = "averaged over a person's recordings" if result.manifest.get("level") == "person" else "of each recording"
    return f"Predictions of people whom the model has not seen, {level}."


def _imbalance(result: TransferResult, facts: Facts) -> str:
    if facts.regression:
        return "Values are regressed; there are no classes."
    weights = (
        "every class weighs alike in all fits"
        if result.manifest.get("balanced")
        else "fits are not weighted; decisions compare probabilities with training shares"
    )
    total = sum(facts.counts.values())
    return f"Shares: {', '.join(f'{c} {n / total:.2f}' for c, n in facts.counts.items())}; {weights}."


def _fairness(result: TransferResult, facts: Facts) -> str:
    there = [c for c in CONFOUNDERS if c in result.people]
    return f"Scores by group: result.subgroups(…) for {', '.join(there)}." if there else ""


def _returned(result: TransferResult, facts: Facts) -> str:
    if facts.regression:
        return "A value for each person."
    positive = f", positive class {facts.positive}" if facts.positive else ""
    return f"A probability of each class{positive}; a person gets the class whose probability is highest relative to its training share."


def _compared(result: TransferResult, facts: Facts) -> str:
    return "See sslmed.shift.report for differences between both cohorts." if facts.fixed else "Training and test people are from one cohort, by folds."


def _sharing(result: TransferResult, facts: Facts) -> str:
    return f"sslmed {result.manifest['sslmed']}; the manifest below makes the same table again." if result.manifest.get("folds") else ""


def _flow(result: TransferResult, facts: Facts) -> str:
    flow = result.manifest.get("flow", [])
    return "; ".join(f"{step['step']}: {step['people']} people" for step in flow) + "." if flow else ""


def _characteristics(result: TransferResult, facts: Facts) -> str:
    parts = []
    people = result.people.drop_duplicates("subject") if "subject" in result.people else result.people
    for column in CONFOUNDERS:
        if column not in people or not people[column].notna().any():
            continue
        values = people[column].dropna()
        if pd.api.types.is_numeric_dtype(values) and column == "age":
            parts.append(f"age {values.mean():.1f} years (standard deviation {values.std():.1f})")
        else:
            parts.append(f"{column}: " + ", ".join(f"{v} {n}" for v, n in values.astype(str).value_counts().items()))
    return "; ".join(parts) + "." if parts else ""


def _events(result: TransferResult, facts: Facts) -> str:
    classes = ": " + ", ".join(f"{n} {c}" for c, n in facts.counts.items()) if facts.counts else ""
    return f"{facts.people} people, {facts.recordings} recordings{classes}."


def _performance(result: TransferResult, facts: Facts) -> str:
    line = result.table[(result.table["row"] == facts.main) & (result.table["metric"] == facts.metric)].iloc[0]
    span = f" ({line['low']:.2f} to {line['high']:.2f})" if np.isfinite(line["low"]) else ""
    return f"{facts.main}: {facts.metric.replace('_', ' ')} {line['value']:.2f}{span}; the whole table and its comparisons are above."


_FILLED: dict[str, Callable[[Any, Facts], str]] = {
    "8a": _outcome, "9b": _predictors, "10": _size, "11": _missing, "12a": _divided, "12c": _model, "12e": _measures, "12f": _updating,
    "12g": _computed, "13": _imbalance, "14": _fairness, "15": _returned, "16": _compared, "18f": _sharing, "20a": _flow, "20b": _characteristics,
    "21": _events, "23a": _performance,
}  # fmt: skip
