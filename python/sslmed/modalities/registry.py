"""The modalities by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from sslmed.modalities import file_kinds
from sslmed.modalities.base import Modality, Preprocessing
from sslmed.modalities.joined import JoinedPreprocessing

__all__ = [
    "default_preprocessing",
    "described",
    "get",
    "names",
    "preprocessing_from",
    "reader",
    "recognize",
    "recognize_rows",
    "register",
    "settled",
    "table_of",
]

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


def recognize_rows(table: pd.DataFrame) -> str | list[str | None] | None:
    """The modality of each row of a table without a column ``modality``: by the columns of an index, or by the endings of its files, and by their bytes
    where endings do not say. One name, or None, stands for all rows.

    Files of one ending are of one modality, but for those that slides and images have in common (:data:`sslmed.modalities.file_kinds.UNSURE`).
    """
    if (all_rows := recognize(table.head(1).assign(path=""))) is not None:  # an index, of whatever files
        return all_rows
    paths = table["path"].astype(str)
    endings = paths.str.extract(r"(\.[^./]*(?:\.gz)?)$", expand=False).fillna("").str.lower()
    rows: list[str | None] = [None] * len(table)
    for ending, own in paths.groupby(endings, sort=False).indices.items():
        one = recognize(table.iloc[own[:1]])
        kinds = file_kinds.pictures_of([paths.iloc[int(row)] for row in own]) if one is None or ending in file_kinds.UNSURE else [None] * len(own)
        for row, kind in zip(own, kinds, strict=True):
            rows[row] = kind or one
    return rows[0] if len(set(rows)) == 1 else rows


def settled(table: pd.DataFrame) -> list[str]:
    """The modality of the rows of a table with a column ``modality`` that was guessed by endings, where files of an ending may be of several."""
    rows: list[str] = table["modality"].astype(str).tolist()
    unsure = [row for row, path in enumerate(table["path"]) if str(path).lower().endswith(tuple(ending for ending in file_kinds.UNSURE if ending))]
    for row, kind in zip(unsure, file_kinds.pictures_of([str(table["path"].iloc[row]) for row in unsure]), strict=True):
        rows[row] = kind or rows[row]
    return rows


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
