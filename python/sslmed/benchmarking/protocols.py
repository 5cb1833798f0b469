"""How features are scored: named protocols, and which inputs of an encoder each of them reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from sslmed._checks import choice, number, whole
from sslmed.benchmarking.knn import NEIGHBORS, TEMPERATURE
from sslmed.benchmarking.sweep import LEARNING_RATES, Sweep

__all__ = ["NAMED", "Linear", "Neighbors", "Protocol", "described", "protocols_of"]


@dataclass(frozen=True)
class Linear:
    """The linear probe of :func:`sslmed.evaluate`: logistic or ridge regression, as strong as training people choose.

    Examples:
        >>> from sslmed.benchmarking import Linear
        >>> Linear()
        Linear()
    """


@dataclass(frozen=True)
class Neighbors:
    """Nearest neighbors by cosine similarity (:func:`sslmed.benchmarking.knn_predict`).

    Examples:
        >>> from sslmed.benchmarking import Neighbors
        >>> Neighbors().k
        (10, 20, 100, 200)
    """

    k: tuple[int, ...] = NEIGHBORS
    """Numbers of neighbors; those that a training part does not have are left out."""
    temperature: float = TEMPERATURE
    """Similarities are divided by it before the softmax."""

    def __post_init__(self) -> None:
        if not self.k:
            raise ValueError("Neighbors: k=() must hold at least one number")
        for one in self.k:
            whole("Neighbors", "k", one, 1)
        number("Neighbors", "temperature", self.temperature, 0, strict=True)


Protocol: TypeAlias = Linear | Neighbors | Sweep
"""How features are scored."""

NAMED: dict[str, Protocol] = {
    "knn": Neighbors(),
    "linear": Linear(),
    "sweep": Sweep(),
    "dinov2": Sweep(steps=12_500),
    "fomo26": Sweep(
        learning_rates=LEARNING_RATES, scale_lr=False, blocks=(1,), tokens=("avg",), batch_size=64, steps=0, epochs=20,
        choose="auroc",
    ),
    "eva": Sweep(
        learning_rates=(3e-4,), scale_lr=False, blocks=(1,), tokens=("cls",), optimizer="adamw", batch_size=256,
        steps=12_500, choose="balanced_accuracy", patience=0.2, runs=5, init="uniform",
    ),
}  # fmt: skip
"""Protocols by name. "dinov2" is DINOv2's linear evaluation (arXiv 2304.07193) at batches of 128; "sweep" is the same
with a tenth of the steps; "fomo26" that of the FOMO26 challenge's linear probe; "eva" that of kaiko's eva leaderboard
for patches, as far as its table says it: the cosine schedule is that of its configuration files."""


def protocols_of(given: Sequence[str] | Mapping[str, Protocol | str]) -> dict[str, Protocol]:
    """Protocols by name.

    Args:
        given: Names out of :data:`NAMED`; or protocols, or such names, by a name of one's own.

    Raises:
        TypeError, ValueError: A name is unknown, or there is none.

    Examples:
        >>> from sslmed.benchmarking.protocols import protocols_of
        >>> list(protocols_of({"mine": "fomo26"}))
        ['mine']
    """
    if isinstance(given, str):
        given = [given]
    named: Mapping[str, Any] = given if isinstance(given, Mapping) else {name: name for name in given}
    if not named:
        raise ValueError("benchmark: protocols must hold at least one")
    out: dict[str, Protocol] = {}
    for name, one in named.items():
        if isinstance(one, str):
            choice("benchmark", "protocols", one, NAMED)
            one = NAMED[one]
        if not isinstance(one, (Linear, Neighbors, Sweep)):
            kinds = "a name, Linear, Neighbors or Sweep"
            raise TypeError(f"benchmark: protocols[{name!r}] must be {kinds}, got {type(one).__name__}")
        out[str(name)] = one
    return out


def described(protocol: Protocol) -> dict[str, Any]:
    """A protocol as plain values."""
    return {"kind": type(protocol).__name__} | asdict(protocol)
