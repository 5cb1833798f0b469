"""C++ loaders that read a source in order."""

from __future__ import annotations

from typing import Any

from sslmed._core import C

__all__ = ["in_order"]


def in_order(source: C.Source, preprocessing: Any, *, threads: int, batch_size: int, on_error: str) -> C.Loader:
    """A loader that gives every sample of a source once, in order, without masks or augmentation."""
    sampler = C.Sampler(source, "sequential", batch_size, False, 0)
    return C.LoaderPlan(source, sampler, preprocessing.recipe(), threads=threads, on_error=on_error, end=sampler.batches_per_epoch).open()
