"""What an encoder has seen of the people that it is scored on. Seen labels are an error; seen signals are a warning, or the people are left out."""

from __future__ import annotations

import warnings
from numbers import Integral
from typing import Any, Literal, get_args

from sslmed._checks import choice
from sslmed._core import TransductiveWarning
from sslmed.cohort import Cohort
from sslmed.encoders import CohortEncoder, EncoderLike, resolve
from sslmed.labels import labeled
from sslmed.provenance import origin, overlap

__all__ = ["Transductive", "check", "settle"]

Transductive = Literal["tell", "exclude", "raise"]
"""What happens to people whose signals the encoder was pretrained on."""


def check(encoder: CohortEncoder, cohort: Cohort, target: str) -> None:
    """Checks an encoder against the people that it is to be scored on.

    Args:
        encoder: Encoder.
        cohort: People who are scored: the tested cohort, or the one that folds are made of.
        target: Column that is predicted.

    Raises:
        ValueError: The encoder was fine-tuned on labels of some of these people, of this or another column.

    Warns:
        TransductiveWarning: The encoder was pretrained on signals of some of these people.
    """
    found = overlap(encoder, cohort)
    if found.labels:
        learned = " and ".join(map(repr, found.targets))
        raise ValueError(
            f"{cohort.name}: target={target!r}: the encoder was fine-tuned on the labels ({learned}) of {found.labels} of {found.of} people; "
            f"score the encoder as it was before fine-tuning, or score other people"
        )
    if found.people:
        text = (
            f"transductive pretraining: {found.people} of {found.of} people of {cohort.name} were in the encoder's training data, with their signals and "
            f"without labels; a score on people it has never seen may be lower"
        )
        warnings.warn(text, TransductiveWarning, stacklevel=4)


def settle(
    encoder: EncoderLike | None, cohort: Cohort, test: Cohort | None, target: str, transductive: Transductive, cv: Any
) -> tuple[Cohort, Cohort | None, dict[str, Any]]:
    """Decides who is scored by an encoder that may have seen some of them.

    Args:
        encoder: Encoder; None: nothing is asked.
        cohort: Cohort of a transfer.
        test: Its test cohort; None: ``cohort`` itself is scored, in folds.
        target: Column that is predicted.
        transductive: "tell", "exclude" people whose signals it has seen, or "raise".
        cv: Folds of the transfer.

    Returns:
        ``cohort`` and ``test``, the scored one without whom is left out, and the numbers of people: ``transductive`` (signals seen in training), ``people``
        (all who are scored), ``probe`` (labels seen by a probe), with "exclude" also ``excluded``; and ``encoder``, where its weights come from. Empty
        without an encoder.

    Raises:
        TypeError, ValueError: The cohort cannot be scored; or "raise", and somebody was seen; or "exclude", and nobody is left.
    """
    choice("transfer", "transductive", transductive, get_args(Transductive))
    if encoder is None:
        return cohort, test, {}
    scored, _ = labeled(cohort, target) if test is None else labeled(test, target, name="test")
    model = resolve(encoder, scored)
    found = overlap(model, scored)
    told = {"transductive": found.people, "people": found.of, "probe": found.probe, "encoder": origin(model)}
    if transductive == "tell" or (transductive == "exclude" and not found.people):
        return cohort, test, told | ({"excluded": 0} if transductive == "exclude" else {})
    seen = f"the encoder was trained on signals of {found.people} of {found.of} people of {scored.name}"
    if transductive == "raise":
        if found.people:
            raise ValueError(f"transfer: transductive='raise': {seen}; leave them out with transductive='exclude', or pretrain on other people")
        return cohort, test, told
    if found.people == found.of:
        raise ValueError(f"transfer: transductive='exclude': {seen}, so nobody is left to score; score other people")
    if test is None and not isinstance(cv, (Integral, str)) and not hasattr(cv, "split"):
        raise ValueError(f"transfer: transductive='exclude': {seen}, and cv lists row positions that would no longer fit; leave these people out of cohort")
    left = scored.subset(~found.rows)
    told |= {"transductive": 0, "people": found.of - found.people, "probe": overlap(model, left).probe, "excluded": found.people}
    return (left, None, told) if test is None else (cohort, left, told)
