"""What metrics take and give: label maps, labels, spacing, and numbers that say how they came about."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

from sslmed._checks import choice, number, whole
from sslmed._core import Array, tensor

__all__ = ["Metric", "Result", "Score", "Spacing"]

Spacing: TypeAlias = float | Sequence[float] | None
"""Size of a cell along each axis, in the order of the axes (mm, or µm); one number for all axes; None for 1."""


class Score(float):
    """A number, with the counts and parts that it was computed from as attributes.

    Attributes:
        details: The parts by name; each is an attribute too.

    Examples:
        >>> from sslmed.metrics import Score
        >>> score = Score(0.5, precision=1.0, recall=1 / 3)
        >>> score + 0.25, score.precision
        (0.75, 1.0)
    """

    details: dict[str, Any]

    def __new__(cls, value: float, **details: Any) -> Score:
        """Makes a number with parts."""
        self = super().__new__(cls, value)
        self.details = details
        return self

    def __getattr__(self, name: str) -> Any:
        details = self.__dict__.get("details", {})
        if name in details:
            return details[name]
        raise AttributeError(f"Score has no {name!r}; it has {', '.join(map(repr, details)) or 'no parts'}")

    def __reduce__(self) -> tuple[Callable[..., Score], tuple[float, dict[str, Any]]]:
        return _restored, (float(self), self.details)


def _restored(value: float, details: dict[str, Any]) -> Score:
    return Score(value, **details)


Result: TypeAlias = float | dict[int, float]
"""One number, or one for each label."""

Metric: TypeAlias = Callable[[torch.Tensor, torch.Tensor, int | None], float]
"""A number for the cells of a label, or for all that are not 0."""


def label_map(where: str, name: str, given: Array) -> torch.Tensor:
    """A mask or label map as a tensor of whole numbers on the CPU, [H, W] or [D, H, W]."""
    if not isinstance(given, (np.ndarray, torch.Tensor)):
        raise TypeError(f"{where}: {name} must be a tensor or a NumPy array, got {type(given).__name__}")
    found = tensor(given).detach().cpu()
    if found.is_floating_point() or found.is_complex():
        raise TypeError(f"{where}: {name} must be a mask or a label map of whole numbers, got {found.dtype}")
    if found.dtype in (torch.uint32, torch.uint64):
        found = found.to(torch.int64)
    if found.ndim not in (2, 3) or found.numel() == 0:
        raise ValueError(f"{where}: {name} must be [H, W] or [D, H, W] with cells, got {list(found.shape)}")
    return found


def label_maps(where: str, prediction: Array, reference: Array) -> tuple[torch.Tensor, torch.Tensor]:
    """Both maps, of one shape."""
    one, two = label_map(where, "prediction", prediction), label_map(where, "reference", reference)
    if one.shape != two.shape:
        raise ValueError(f"{where}: prediction is {list(one.shape)} and reference {list(two.shape)}, expected one shape")
    return one, two


def cell_size(where: str, spacing: Spacing, rank: int) -> list[float]:
    """Three numbers, of which the first is 1 for pictures."""
    if spacing is None:
        spacing = 1.0
    sizes = [spacing] * rank if np.ndim(spacing) == 0 else list(spacing)  # type: ignore[arg-type]
    if len(sizes) != rank:
        raise ValueError(f"{where}: spacing={sizes!r} must have {rank} numbers, one for each axis")
    for size in sizes:
        number(where, "spacing", size if not isinstance(size, np.generic) else size.item(), 0, 1e6, strict=True)
    return [1.0] * (3 - rank) + [float(size) for size in sizes]  # type: ignore[arg-type]


def labels_of(*maps: torch.Tensor) -> list[int]:
    """Labels other than 0 that any of the maps has, ascending."""
    found: set[int] = set()
    for each in maps:
        if each.dtype == torch.bool:
            found |= {1} if bool(each.any()) else set()
        elif each.dtype == torch.uint8:
            counts = np.bincount(each.numpy().reshape(-1), minlength=256)
            found |= {int(label) for label in np.flatnonzero(counts)}
        else:
            found |= {int(label) for label in torch.unique(each)}
    return sorted(found - {0})


def each_label(where: str, metric: Metric, prediction: Array, reference: Array, label: int | Iterable[int] | None) -> Result:
    """The metric of one label, of several, or of what is not 0 where the maps have one label at most."""
    one, two = label_maps(where, prediction, reference)
    if label is None:
        binary = all(each.dtype == torch.bool for each in (one, two))
        known = [] if binary else labels_of(one, two)
        return metric(one, two, None) if len(known) < 2 else {name: metric(one, two, name) for name in known}
    if isinstance(label, Iterable) and not isinstance(label, str):
        return {name: metric(one, two, name) for name in [_known_label(where, given) for given in label]}
    return metric(one, two, _known_label(where, label))


def _known_label(where: str, label: Any) -> int:
    whole(where, "label", label, -(2**31))
    if label == 0 or label >= 2**31:
        raise ValueError(f"{where}: label={label!r} must not be 0, which is the background, and must fit int32")
    return int(label)


def known_convention(where: str, convention: str, conventions: Mapping[str, str]) -> None:
    """Raises ValueError unless the convention is one that the metric has."""
    choice(where, "convention", convention, conventions)


def ratio(numerator: float, denominator: float) -> float:
    """The quotient; 0/0 is NaN, as NumPy has it."""
    if denominator == 0:
        return math.nan if numerator == 0 else math.inf
    return numerator / denominator
