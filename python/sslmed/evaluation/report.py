"""The page of a result: what is estimated, what a reviewer would reject, who was left out, scores, verdict, checklist, manifest."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sslmed.evaluation import metrics
from sslmed.evaluation.checklist import checklist
from sslmed.evaluation.facts import Facts, facts_of, imbalances
from sslmed.evaluation.stamps import stamps
from sslmed.reporting.page import Section, write_report
from sslmed.reporting.plots import plot_calibration, plot_decision

if TYPE_CHECKING:
    from sslmed.evaluation.learning import LearningCurve
    from sslmed.evaluation.result import TransferResult

__all__ = ["sections", "write"]

Array = np.ndarray[Any, Any]

_INTERVALS = "Intervals are 95 %, of the procedure: people are left out in turn, of training and test data alike."
_FIXED = "Intervals are 95 %, of these fitted models: percentiles of a bootstrap over the tested people."


def write(result: TransferResult, path: str | os.PathLike[str], curve: LearningCurve | None = None) -> None:
    """Writes the page of a result.

    Args:
        result: Result of :func:`sslmed.evaluate` or :func:`sslmed.transfer`.
        path: File (.html).
        curve: Learning curve of the same features and people.

    Raises:
        TypeError: ``curve`` is not a learning curve.

    Examples:
        >>> import pathlib, tempfile
        >>> import numpy as np, pandas as pd
        >>> import sslmed as sm
        >>> from sslmed.evaluation.report import write
        >>> x, table = np.random.default_rng(0).normal(size=(24, 3)), pd.DataFrame({"subject": range(24), "y": ["a", "b"] * 12})
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "transfer.html"
        >>> write(sm.evaluate(x, table, "y", repeats=2, permutations=19), path)
        >>> "performance of this procedure, trained on about 19 people" in path.read_text(encoding="utf-8")
        True
    """
    facts = facts_of(result)
    details = {"Manifest (makes the same table again)": json.dumps(result.manifest, indent=1)} if result.manifest else {}
    intervals = _FIXED if facts.fixed else _INTERVALS
    write_report(
        path, f"Transfer: {result.target}", sections(result, curve), notes=_notes(result, facts), stamp=stamps(result), details=details, intervals=intervals
    )


def sections(result: TransferResult, curve: LearningCurve | None = None) -> list[Section]:
    """Makes the sections of the page of a result, for pages of your own (:func:`sslmed.reporting.page.write_report`).

    Args:
        result: Result of :func:`sslmed.evaluate` or :func:`sslmed.transfer`.
        curve: Learning curve of the same features and people.
    """
    facts = facts_of(result)
    found: list[Section] = [
        ("Scores", result.table, [result.plot().figure]),
        ("What this cohort can say", list(result.verdict(curve).table["meaning"]), []),
    ]
    if len(result.comparisons):
        found.append(("Comparisons", result.comparisons, []))
    if curve is not None:
        found.append(("Learning curve", curve.table, [curve.plot().figure]))
    if result.manifest.get("flow"):
        found.append(("Flow of participants", pd.DataFrame(result.manifest["flow"]), []))
    if len(balance := imbalances(result)):
        found.append(("Differences between the classes", balance, []))
    found += _probabilities(result, facts)
    found.append(("Reporting checklist (TRIPOD+AI, Collins et al., BMJ 2024)", checklist(result), []))
    return found


def _notes(result: TransferResult, facts: Facts) -> list[str]:
    """What is estimated, of whom, and how."""
    trained = f"trained on about {facts.trained_on} people, " if facts.trained_on else ""
    if facts.fixed:
        estimand = f"What is estimated: the performance of this fitted model, {trained}on other people like the tested ones."
    else:
        estimand = f"What is estimated: the performance of this procedure, {trained}on other people of this population."
    classes = "" if facts.regression else "; classes: " + ", ".join(f"{c} {n}" for c, n in facts.counts.items())
    people = f"{facts.people} people, {facts.recordings} recordings{classes}."
    if facts.positive:
        share = facts.counts[facts.positive] / sum(facts.counts.values())
        people += f" Positive class: {facts.positive}, prevalence {share:.2f} in the cohort."
        if (meant := result.manifest["options"].get("prevalence")) is not None:
            people += f" Predictive values are meant for a prevalence of {meant:g}."
    how = [f"Protocol {result.protocol}"]
    if folds := result.manifest.get("folds"):
        cv = result.manifest["options"].get("cv")
        how.append(f"cv = {f'{len(folds[0])} folds of the caller' if cv is None else cv}, {len(folds)} repeat{'' if len(folds) == 1 else 's'}")
    if "options" in result.manifest:
        how.append(f"seed {result.manifest['options']['seed']}")
    if facts.covariates:
        how.append(f"covariates: {', '.join(facts.covariates)}")
    if result.provenance.get("encoder"):
        how.append(f"weights of the encoder: {result.provenance['encoder']}")
    return [estimand, people, "; ".join(how) + "."]


def _probabilities(result: TransferResult, facts: Facts) -> list[Section]:
    """Calibration and net benefit, of two classes of which one is named as positive."""
    if len(facts.counts) != 2 or not facts.positive:
        return []
    block = result.predictions[(result.predictions["row"] == facts.main) & (result.predictions["label"].astype(str) == facts.positive)]
    if result.manifest.get("level") == "person":
        block = block.groupby(["subject", "truth"], sort=False, observed=True)["predicted"].mean().reset_index()
    positive = block["truth"].astype(str).to_numpy() == facts.positive
    probability = block["predicted"].to_numpy(float)
    found = metrics.calibration(positive, probability, bins=5 if len(positive) < 100 else 10)
    # Beyond twice the share of the positive class nobody would treat in practice, and few people are left.
    top = min(0.99, max(0.5, 2 * float(positive.mean())))
    curve = metrics.decision_curve(positive, probability, np.linspace(0.01, top, 99))
    return [
        ("Calibration", found, [plot_calibration(found, facts.positive).figure]),
        (
            "Decision curve",
            [f"Net benefit of treating whoever {facts.main} gives a probability of {facts.positive} above a threshold (Vickers & Elkin 2006)."],
            [plot_decision(curve).figure],
        ),
    ]
