"""C++ loaders that read a source in order."""

from __future__ import annotations

import warnings
from typing import Any

from sslmed._core import C, FormatWarning

__all__ = ["in_order", "warn_of_samples"]


def in_order(source: C.Source, preprocessing: Any, *, threads: int, batch_size: int, on_error: str) -> C.Loader:
    """A loader that gives every sample of a source once, in order, without masks or augmentation."""
    sampler = C.Sampler(source, "sequential", batch_size, False, 0)
    return C.LoaderPlan(source, sampler, preprocessing.recipe(), threads=threads, on_error=on_error, end=sampler.batches_per_epoch).open()


def warn_of_samples(source: C.Source) -> None:
    """Warns of what was found in samples that were read since the last call. Only some sources find something.

    Warns:
        FormatWarning: One for each file and finding.
    """
    take = getattr(source, "take_warnings", None)
    for text in take() if take is not None else ():
        warnings.warn(text, FormatWarning, stacklevel=4)
