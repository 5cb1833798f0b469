"""The modalities by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from sslmed.modalities.base import Modality, Preprocessing
from sslmed.modalities.joined import JoinedPreprocessing

__all__ = ["default_preprocessing", "described", "get", "names", "preprocessing_from", "reader", "recognize", "register", "table_of"]

_MODALITIES: dict[str, Modality] = {}


def register(modality: Modality) -> Modality:
    """Makes a modality known to cohorts, encoders, training and evaluation. One registered later is asked first.

    Args:
        modality: An instance of a class derived from :class:`Modality`.

    Raises:
        TypeError: It is not one.
        ValueError: Its name is taken, or its preprocessing names another modality.
    """
    if not isinstance(modality, Modality):
        raise TypeError(f"register: modality={modality!r} must be an instance of a class derived from sslmed.modalities.Modality")
    if modality.name in _MODALITIES and type(_MODALITIES[modality.name]) is not type(modality):
        raise ValueError(f"register: name={modality.name!r} is taken by {type(_MODALITIES[modality.name]).__name__}")
    if modality.preprocessing.modality != modality.name:
        raise ValueError(f"register: {modality.preprocessing.__name__}.modality={modality.preprocessing.modality!r}, expected {modality.name!r}")
    _MODALITIES[modality.name] = modality
    return modality


def get(name: str) -> Modality:
    """A modality by name.

    Raises:
        ValueError: There is none of this name.
    """
    if name not in _MODALITIES:
        raise ValueError(f"modality: name={name!r} is unknown, expected one of {', '.join(_MODALITIES)}")
    return _MODALITIES[name]


def names() -> list[str]:
    """All registered modalities, in the order of registration."""
    return list(_MODALITIES)


def recognize(table: pd.DataFrame) -> str | None:
    """The modality that a table without a column ``modality`` lists; None where no modality recognizes it."""
    return next((name for name in reversed(_MODALITIES) if _MODALITIES[name].recognizes(table)), None)


def table_of(folder: Path) -> Path | None:
    """The table of a folder that a modality's preparation wrote; None for any other folder.

    Raises:
        ReadError: The table is missing.
    """
    found = (modality.opens(folder) for modality in reversed(_MODALITIES.values()))
    return next((table for table in found if table is not None), None)


def reader(name: str) -> Modality:
    """The modality whose ``readers`` have this name.

    Raises:
        ValueError: None has.
    """
    found = next((modality for modality in _MODALITIES.values() if name in modality.readers), None)
    if found is None:
        raise ValueError(f"no registered modality reads {name!r}")
    return found


def default_preprocessing(modality: str) -> Any:
    """A modality's preprocessing with the defaults of all fields."""
    return get(modality).preprocessing()


def described(preprocessing: Preprocessing) -> dict[str, Any]:
    """A preprocessing as plain values, for :func:`preprocessing_from`."""
    if isinstance(preprocessing, JoinedPreprocessing):
        return {"parts": [described(part) for part in preprocessing.parts]}
    values: dict[str, Any] = asdict(preprocessing)  # type: ignore[call-overload]
    return {"modality": preprocessing.modality} | values


def preprocessing_from(values: Mapping[str, Any]) -> Any:
    """The preprocessing that :func:`described` was given.

    Raises:
        KeyError, TypeError, ValueError: The values are not such a description.
    """
    if "parts" in values:
        return JoinedPreprocessing(tuple(preprocessing_from(part) for part in values["parts"]))
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items() if name != "modality"}
    return get(values["modality"]).preprocessing(**fields)
