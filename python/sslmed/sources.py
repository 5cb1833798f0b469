"""C++ sources: several as one, and a loader that reads one in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from sslmed._core import C

__all__ = ["in_order", "joined", "recipe_of"]


def joined(parts: Sequence[C.Source], order: torch.Tensor) -> C.Source:
    """Several sources as one, with the rows of a cohort in their order.

    Args:
        parts: Sources of M modalities.
        order: [R, 2] int64; for each row of the cohort the number of its part, and its row in that part.

    Raises:
        NotImplementedError: This build of the core cannot join sources.
    """
    make = getattr(C, "JoinedSource", None)
    if make is None:
        raise NotImplementedError("a cohort of several modalities needs a core with JoinedSource: build sslmed again from the newest sources")
    return make(list(parts), order)  # type: ignore[no-any-return]


def recipe_of(preprocessing: Any, **options: Any) -> C.Recipe:
    """How samples are cut and masked: the recipe of a preprocessing, or of several by modality name as one.

    Raises:
        NotImplementedError: This build of the core cannot join recipes.
    """
    if not isinstance(preprocessing, Mapping):
        recipe: C.Recipe = preprocessing.recipe(**options)
        return recipe
    make = getattr(C, "JoinedRecipe", None)
    if make is None:
        raise NotImplementedError("samples of several modalities need a core with JoinedRecipe: build sslmed again from the newest sources, or pass recipe=")
    return make([one.recipe(**options) for one in preprocessing.values()])  # type: ignore[no-any-return]


def in_order(source: C.Source, preprocessing: Any, *, threads: int, batch_size: int, on_error: str) -> C.Loader:
    """A loader that gives every sample of a source once, in order, without masks or augmentation."""
    sampler = C.Sampler(source, "sequential", batch_size, False, 0)
    return C.Loader(source, recipe_of(preprocessing), sampler, threads, 2, on_error, 0, sampler.batches_per_epoch)
