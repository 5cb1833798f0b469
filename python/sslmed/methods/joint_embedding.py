"""What methods of several views of each sample share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from sslmed._core import C
from sslmed.encoders import CohortEncoder
from sslmed.nn import Mirror, VisionTransformer

__all__ = ["JointEmbedding", "Style", "views_of"]

Style = Literal["simclr", "byol", "dino"]


def views_of(encoder: CohortEncoder, style: Style, views: Any, *, local: int = 0, local_size: int | None = None) -> Any:
    """The recipe of several views: those that are given, or the modality's own.

    Args:
        encoder: Encoder, whose preprocessing makes the views.
        style: Which published set of random changes.
        views: Views of the preprocessing's recipe, instead of its own.
        local: Number of local crops.
        local_size: Size of a local crop; None: the modality's.
    """
    if not isinstance(encoder, CohortEncoder):
        return None
    how = encoder.preprocessing
    return how.recipe(views=how.contrast(style, local, local_size) if views is None else views)


class JointEmbedding(Mirror):
    """The objective of a method that compares several views: an encoder with heads, and in some methods an averaged twin.

    Args:
        encoder: Encoder whose weights are shared, not copied.
        options: Options of the method.
        build: Makes the C++ objective from the encoder's handle, that of its twin (None of methods without one) and the recipe.
        recipe: How samples become views.
        twin: Whether there is an averaged twin.
    """

    def __init__(
        self,
        encoder: VisionTransformer | CohortEncoder,
        options: Any,
        build: Callable[..., Any],
        recipe: C.Recipe | None,
        *,
        twin: bool,
    ) -> None:
        def build_on(handle: Any) -> Any:
            return build(handle, encoder._build(), recipe) if twin else build(handle, recipe)

        super().__init__(lambda: build_on(encoder._build()), lambda: build_on(encoder._handle))
        self.preprocessing = getattr(encoder, "preprocessing", None)
        self.options = options

    def loss(self, batch: C.Batch, step: int = 0, total: int = 0) -> Any:
        """The loss of a loader's batch at a step of ``total``."""
        return self._handle.loss(batch, step, total)

    def after_step(self, step: int, total: int) -> None:
        """Moves the averaged twin towards the encoder, as the training loop does after every step."""
        self._handle.after_step(step, total)
