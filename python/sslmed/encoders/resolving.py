"""Encoders from whatever names one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias, Union

from sslmed.encoders.base import CohortEncoder, load
from sslmed.encoders.dense import DenseEncoder
from sslmed.encoders.transformer import Encoder
from sslmed.modalities.base import Preprocessing, Rows
from sslmed.modalities.joined import parts_of, whole_of
from sslmed.modalities.registry import get
from sslmed.nn import list_models
from sslmed.nn.vit import MODELS

__all__ = ["EncoderLike", "resolve"]


class _Cohort(Rows, Protocol):
    """What :func:`resolve` asks of a :class:`sslmed.Cohort`."""

    @property
    def modalities(self) -> tuple[str, ...]: ...

    def part(self, modality: str) -> Rows: ...


EncoderLike: TypeAlias = Union[str, "os.PathLike[str]", CohortEncoder]
"""What functions with an argument ``encoder`` take: a name, a path or an object (:func:`resolve`)."""


def resolve(
    encoder: EncoderLike,
    *cohorts: _Cohort,
    preprocessing: Preprocessing | Mapping[str, Preprocessing] | None = None,
    seed: int = 0,
    depth: int | None = None,
    class_token: bool = True,
) -> CohortEncoder:
    """An encoder from whatever names one, checked against the cohorts that it is for.

    Args:
        encoder: A name out of :func:`sslmed.nn.list_models` (untrained, for the modalities of the first cohort), the path of an
            ``encoder.safetensors``, or an encoder. By a name that is no vision transformer's, the preprocessing is made to give dense views.
        *cohorts: Cohorts that it will encode.
        preprocessing: Preprocessing of an encoder that is given by name; by default its modality's. Otherwise it must be the encoder's own.
        seed: Seed of the weights of an encoder that is given by name.
        depth: Number of blocks of a vision transformer that is given by name, instead of the name's.
        class_token: Whether a vision transformer that is given by name has a class token.

    Raises:
        TypeError: It is none of these.
        ValueError: The name is unknown, the encoder is for another modality than a cohort's, or it has another preprocessing.
        FormatError, ReadError: The file cannot be read, or is not a saved encoder.
    """
    for cohort in cohorts:
        if not hasattr(cohort, "modalities"):
            raise TypeError(f"cohort={cohort!r} must be a Cohort, got {type(cohort).__name__}")
    named = isinstance(encoder, str) and (encoder in list_models() or not (encoder.endswith(".safetensors") or Path(encoder).exists()))
    if named:
        if not cohorts:
            raise ValueError(f"encoder={encoder!r}: an encoder by name needs a cohort, whose modality decides on its inputs")
        first = cohorts[0].modalities
        chosen = whole_of({name: get(name).default(cohorts[0].part(name)) for name in first} if preprocessing is None else preprocessing)
        _check_modality(chosen, "preprocessing", *cohorts)
        for name in first:
            get(name).check([cohort.part(name) for cohort in cohorts if name in cohort.modalities], parts_of(chosen)[name])
        if encoder not in list_models():
            known = ", ".join(list_models())
            raise ValueError(f"encoder={encoder!r} is unknown, expected one of {known}, an encoder, or the path of an encoder.safetensors")
        if encoder not in MODELS:
            if depth is not None:
                raise ValueError(f"encoder={encoder!r}: depth={depth} is of vision transformers, expected None")
            return DenseEncoder(str(encoder), _dense(chosen, cohorts[0]), seed=seed)
        extra = [channel for name in first for channel in get(name).extra_channels(cohorts[0].part(name))]
        return Encoder(str(encoder), chosen, extra_channels=extra, seed=seed, depth=depth, class_token=class_token)
    if isinstance(encoder, (str, os.PathLike)):
        encoder = load(encoder)
    if not isinstance(encoder, CohortEncoder):
        hint = "; pass run.encoder" if hasattr(encoder, "encoder") else ""
        raise TypeError(f"encoder={encoder!r}: expected a name, an encoder or the path of an encoder.safetensors, got {type(encoder).__name__}{hint}")
    if preprocessing is not None and whole_of(preprocessing) != encoder.preprocessing:
        raise ValueError("preprocessing must be left out, or be the encoder's own: an encoder keeps the one it was made with")
    _check_modality(encoder.preprocessing, "encoder", *cohorts)
    return encoder


def _check_modality(preprocessing: Preprocessing, what: str, *cohorts: _Cohort) -> None:
    for cohort in cohorts:
        if any(name not in parts_of(preprocessing) for name in cohort.modalities):
            theirs = " and ".join(cohort.modalities)
            raise ValueError(f"{cohort.name}: {what} of modality {preprocessing.modality!r}, but the cohort is of {theirs!r}")


def _dense(preprocessing: Any, cohort: _Cohort) -> Any:
    """A preprocessing with dense views, as suits a cohort."""
    if len(parts_of(preprocessing)) > 1:
        return preprocessing.dense()
    modality = preprocessing.modality
    return get(modality).dense(cohort.part(modality), preprocessing)
