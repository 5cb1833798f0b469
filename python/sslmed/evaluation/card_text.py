"""Sentences of a card: each line of its table in plain English."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["of_people", "sentence"]


def of_people(share: float) -> str:
    """Says a share as a number of people.

    Args:
        share: Within 0 and 1.

    Examples:
        >>> from sslmed.evaluation.card_text import of_people
        >>> of_people(0.8), of_people(1.0), of_people(0.004)
        ('4 of 5 people', 'all people', 'hardly any person')
    """
    if share > 0.975:
        return "all people" if share > 0.999 else "nearly all people"
    if share < 0.025:
        return "no person" if share < 0.001 else "hardly any person"
    size = min((2, 3, 4, 5, 10, 20), key=lambda n: (round(abs(round(share * n) / n - share), 2), n))
    return f"{round(share * size)} of {size} people"


def sentence(line: Mapping[str, Any], *, other: str = "", gallery: int = 0, rare: int = 0, classes: int | None = None) -> str:
    """Says a line of a card's table in words.

    Args:
        line: The line, by column.
        other: What a person is found again by.
        gallery: Number of persons among whom one is found.
        rare: Number of people who were left out because their class has one person.
        classes: Number of classes; None of numbers.

    Examples:
        >>> from sslmed.evaluation.card_text import sentence
        >>> line = {"what": "site", "metric": "balanced_accuracy", "value": 0.8, "low": 0.7, "high": 0.9, "chance": 0.5, "p_chance": 0.005, "random": 0.6,
        ...         "random_low": 0.5, "random_high": 0.7, "difference": 0.2, "p": 0.01, "n_subjects": 40}
        >>> sentence(line, classes=2)[:54]
        'From these features one can tell the site of 4 of 5 pe'
    """
    what, metric, value = line["what"], line["metric"], float(line["value"])
    if metric == "rank1":
        n = line["n_subjects"]
        said = f"From these features one can find {round(value * n)} of {n} people again among {gallery} by {other}"
        rest = f"chance: 1 of {gallery}; untrained: {round(line['random'] * n)} of {n}"
    elif metric == "auroc" and what == "person":
        said = f"Two recordings of one person are more alike than those of two persons in {value:.0%} of pairs"
        said = said.replace("Two recordings of one person", "Two halves of a recording") if "half" in other else said
        rest = f"chance: 50%; untrained: {line['random']:.0%}"
    elif metric == "balanced_accuracy":
        said = f"From these features one can tell the {what} of {of_people(value)}, all {classes} values of it counted alike"
        rest = f"chance: {of_people(line['chance'])}; untrained: {of_people(line['random'])}"
    elif metric == "auroc":
        said = f"Of two people who differ in {what}, the features put {value:.0%} in the right order"
        rest = f"chance: 50%; untrained: {line['random']:.0%}"
    elif metric == "mae":
        said = f"From these features one can tell the {what} to within {value:.3g} on average"
        rest = f"without them: {line['chance']:.3g}; untrained: {line['random']:.3g}"
    else:
        said = f"The features explain {max(value, 0):.0%} of the variance of {what}"
        rest = f"chance: 0%; untrained: {max(line['random'], 0):.0%}"
    left = f" {rare} people with a value that nobody else has were left out." if rare else ""
    return f"{said} ({rest}). {_verdict(line)}{left}"


def _verdict(line: Mapping[str, Any]) -> str:
    """Whether that is more than chance and more than an untrained encoder gives, as far as the interval and the tests say."""
    if np.isnan(line["low"]):
        return "There are fewer than ten people in all or of one value, too few for an interval."
    better = line["difference"] < 0 if line["metric"] == "mae" else line["difference"] > 0
    more = line["value"] < line["chance"] if line["metric"] == "mae" else line["value"] > line["chance"]
    known = more and not line["p_chance"] >= 0.05
    chance = "This is more than chance" if known else "This is not told from chance"
    chance += f" (95 % interval {line['low']:.3g} to {line['high']:.3g})"
    if np.isnan(line["p"]):
        return f"{chance}."
    if line["p"] >= 0.05:
        return f"{chance}, and not told from the untrained encoder."
    return f"{chance}, and {'more' if better else 'less'} than the untrained encoder gives (p = {line['p']:.2g})."
