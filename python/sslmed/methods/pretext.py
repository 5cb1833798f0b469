"""What pretext tasks share: a sample is changed, and asked something of which the answer is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

import torch

from sslmed._checks import choice
from sslmed._core import C
from sslmed.encoders import CohortEncoder
from sslmed.methods.base import recipe_for
from sslmed.nn import ConvNet, DenseNet, Mirror, VisionTransformer

__all__ = ["Pretext", "Reconstruction", "bounds_of", "numbers_of", "rank_of", "scores_all"]


def rank_of(encoder: CohortEncoder | VisionTransformer | DenseNet | ConvNet) -> int:
    """Number of spatial axes of the views that an encoder takes.

    Args:
        encoder: Encoder, with or without a preprocessing.

    Raises:
        TypeError: The encoder has neither a rank nor a preprocessing that says it.
    """
    if isinstance(encoder, CohortEncoder):
        embedding = encoder.preprocessing.embedding()
        return len(embedding["img_size"] or embedding["patch_size"])
    if isinstance(encoder, DenseNet):
        return encoder.rank
    if isinstance(encoder, ConvNet):
        return encoder.rank
    raise TypeError(f"encoder={encoder!r} must be an sslmed encoder or an sslmed.nn.DenseNet, got {type(encoder).__name__}")


def numbers_of(name: str, option: str, given: Any) -> list[int]:
    """One whole number for all axes, or one for each, as the core takes them.

    Raises:
        ValueError: ``given`` is neither.
    """
    numbers = list(given) if isinstance(given, (tuple, list)) else [given]
    if not numbers or any(isinstance(value, bool) or not isinstance(value, Integral) for value in numbers):
        raise ValueError(f"{name}: {option}={given!r} must be a whole number, or one for each axis")
    return [int(value) for value in numbers]


def bounds_of(name: str, option: str, given: Any) -> list[float]:
    """A lower and an upper bound, as the core takes them.

    Raises:
        ValueError: ``given`` is no pair of numbers.
    """
    if not isinstance(given, (tuple, list)) or len(given) != 2 or not all(isinstance(value, Real) for value in given):
        raise ValueError(f"{name}: {option}={given!r} must be a lower and an upper bound, such as (0.2, 0.4)")
    return [float(value) for value in given]


def scores_all(name: str, score: str) -> bool:
    """Whether the loss of a method is over all values, not over the hidden ones alone.

    Raises:
        ValueError: ``score`` is neither "hidden" nor "all".
    """
    choice(name, "score", score, ("hidden", "all"))
    return score == "all"


class Pretext(Mirror):
    """The objective of a pretext task: an encoder, and a head that answers.

    Args:
        encoder: Encoder whose weights are shared, not copied.
        options: Options of the method.
        build: Makes the C++ objective from the encoder's handle and the recipe.

    Examples:
        >>> import torch
        >>> import sslmed as sm
        >>> task = sm.methods.Rotation().objective(sm.nn.DenseNet("resnet10", in_chans=1), seed=0)
        >>> turned, turns = task.exercise(torch.rand(3, 1, 32, 32), sample_ids=[0, 1, 2])
        >>> turned.shape, turns.shape
        (torch.Size([3, 1, 32, 32]), torch.Size([3]))
    """

    def __init__(
        self,
        encoder: CohortEncoder | VisionTransformer | DenseNet | ConvNet,
        options: Any,
        build: Callable[[Any, C.Recipe | None], Any],
    ) -> None:
        recipe = recipe_for(encoder, augmentation=options.augmentation)
        super().__init__(lambda: build(encoder._build(), recipe), lambda: build(encoder._handle, recipe))
        self.preprocessing = getattr(encoder, "preprocessing", None)
        self.options = options

    def forward(self, dense: torch.Tensor, sample_ids: Sequence[int], step: int = 0) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss of samples at a step, and what is logged beside it, such as the accuracy.

        Args:
            dense: [B, C, spatial…] float, or uint8 of pictures.
            sample_ids: [B] numbers of the samples in their cohort, by which random numbers are drawn.
            step: Number of the step, by which random numbers are drawn.

        Raises:
            ValueError: The shape does not fit the task.
        """
        loss, _, parts, _ = self._handle.forward_dense(dense, list(sample_ids), step)
        return loss, parts

    def loss(self, batch: C.Batch, step: int = 0, total: int = 0) -> Any:
        """The loss of a loader's batch at a step of ``total``."""
        return self._handle.loss(batch, step, total)

    def exercise(self, dense: torch.Tensor, sample_ids: Sequence[int], step: int = 0) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What the encoder is shown of samples at a step, and what is asked of it.

        The same samples at the same step get the same exercise, in training and in validation.

        Args:
            dense: [B, C, spatial…] float, or uint8 of pictures.
            sample_ids: [B] numbers of the samples in their cohort.
            step: Number of the step.

        Returns:
            Input of the encoder, [B · copies, C, spatial…] float, and the answer: classes [B · copies] int64, hidden
            cells (bool, broadcastable to ``dense``), or overlaps [B, crops, bases]; None where all of the sample is to
            be restored.

        Raises:
            ValueError: The shape does not fit the task.
        """
        out: tuple[torch.Tensor, torch.Tensor | None] = self._handle.exercise(dense, list(sample_ids), step)
        return out


class Reconstruction(Pretext):
    """The objective of a task that restores a sample: an encoder, and a decoder back to the resolution of the input.

    Examples:
        >>> import torch
        >>> import sslmed as sm
        >>> task = sm.methods.Autoencoder().objective(sm.nn.DenseNet("resnet10", rank=3, in_chans=2), seed=0)
        >>> task = task.eval()
        >>> task.reconstruct(torch.rand(1, 2, 32, 32, 32)).shape
        torch.Size([1, 2, 32, 32, 32])
    """

    def reconstruct(self, dense: torch.Tensor) -> torch.Tensor:
        """What the decoder makes of inputs that are shown as they are.

        Args:
            dense: [B, C, spatial…] float, or uint8 of pictures.

        Returns:
            [B, C, spatial…] float; of pictures in the standardized values that the encoder sees.

        Raises:
            ValueError: The number of axes or channels differs from the encoder's.
        """
        out: torch.Tensor = self._handle.reconstruct(dense)
        return out
