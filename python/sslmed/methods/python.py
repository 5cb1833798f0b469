"""Objectives written in Python, to try an idea out before it is worth C++. The loop, loader and checkpoints are the same."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch

from sslmed._core import C
from sslmed.encoders import CohortEncoder
from sslmed.modalities.base import Mask

__all__ = ["Loss", "PythonObjective", "Step"]

Loss = C.Loss
Step = C.Step


class PythonObjective(torch.nn.Module, ABC):
    """Base of objectives written in Python: derive, make heads in ``__init__`` after ``super().__init__()``, and define :meth:`loss`.

    Give it to :class:`sslmed.Trainer`, or to :func:`sslmed.pretrain` through an options class (docs/adding.md). Parameters and buffers are its whole
    state, in checkpoints too; change buffers in place. Random numbers that are drawn outside of the loader differ after resuming, unless their seed is
    made from ``step.number``.

    May also define ``after_step(step)``, where an averaged teacher moves; ``parameter_groups()``: a list of (names, factor of the learning rate,
    whether weights decay); and, where :meth:`loss` calls ``step.all_gather``, ``absent(step)``: what a rank without samples gathers, so that the others
    do not wait for it.

    Args:
        encoder: What the run is for, an encoder in C++ or a :class:`sslmed.PythonEncoder`. Shared, not copied.
        mask: Which tokens the loader's threads hide.
        ratio: Share of tokens that are hidden; by default the modality's.
        block: Number of steps or channels hidden together.
        radius: Distance in mm that a region reaches from its center ("space").
        complementary: Two views of each sample; the second shows what the first one hides.
        augmentation: Random changes of samples, where the modality has any.
        recipe: How samples are cut and masked, instead of all these: ``encoder.preprocessing.recipe(views=[…])``.
    """

    def __init__(
        self,
        encoder: CohortEncoder,
        *,
        mask: Mask = "none",
        ratio: float | None = None,
        block: int = 2,
        radius: float = 30.0,
        complementary: bool = False,
        augmentation: Any = None,
        recipe: C.Recipe | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self._recipe = recipe or encoder.preprocessing.recipe(
            mask=mask, ratio=ratio, block=block, radius=radius, complementary=complementary, augmentation=augmentation
        )

    @abstractmethod
    def loss(self, batch: C.Batch, step: C.Step) -> torch.Tensor | C.Loss:
        """The loss of a batch, with gradients: a tensor [], the mean over the samples, or a :class:`Loss`.

        Args:
            batch: Batch on the run's device: views in ``batch.views``, labels by name in ``batch.targets``.
            step: Position in the run, and its other ranks.
        """

    @property
    def _handle(self) -> C.PythonObjective:
        return C.PythonObjective(self, self.encoder._handle, self._recipe)
