"""From cohorts to batches, in C++ threads."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from sslmed._core import C, FormatWarning
from sslmed.preprocessing import Augmentation, Preprocessing, default_preprocessing

if TYPE_CHECKING:
    from sslmed.cohort import Cohort

__all__ = ["Loader", "groups_of"]


class Loader:
    """Windows of a cohort's recordings, or pictures of its slides, as packed batches, made by C++ threads and iterable from Python.

    The stream is a pure function of (seed, batch number): it does not depend on ``threads``, and ``start`` is its whole state.

    Args:
        cohort: Where the recordings or slides are.
        preprocessing: Filters, rate, scale, window; or scale and size of pictures. By default the one that fits the cohort.
        batch_size: Windows (pictures) in a batch.
        order: "shuffle" (every window once an epoch), "sequential", or a column of the cohort's table: every "subject", "site", "stain" … equally often.
        mask: "none", "random", "bernoulli" (each token by itself), "time", "channel" or "space"; of pictures one of the first three, or a multi-block one.
        ratio: Of the tokens masked; by default half of a window's, three quarters of a picture's.
        block: Steps ("time", "space") or channels ("channel") masked together.
        radius: mm over the head from a block's centre ("space").
        complementary: Two views of each window; the second sees what the first one hides.
        epochs: How often to go through.
        threads: C++ threads that read, filter, mask and pack.
        on_error: "raise", or "skip": an unreadable window leaves its place empty and is listed in ``failures``.
        seed: Of every draw.
        jitter: Move window starts at random within the stride; pictures: drawn evenly over the tissue, instead of a grid.
        augmentation: Of pictures.
        recipe: How samples are cut and masked, instead of the options above: ``preprocessing.recipe(views=[…])``.
        extra_channels: Names without a known position that the encoder has a learned row for.
        drop_last: Leave out an incomplete last batch.
        shrink: Take smaller batches where there are fewer samples than one holds, instead of refusing.
        targets: Numbers by name, one a recording, that come with its windows (``batch.targets``).
        start: Number of the first batch, to continue a stream.
        rank: Gives only this rank's share of each batch,
        ranks: of so many.

    Raises:
        FormatError, ReadError: While iterating, with ``on_error="raise"``.
    """

    def __init__(
        self,
        cohort: Cohort,
        preprocessing: Preprocessing | None = None,
        *,
        batch_size: int = 64,
        order: str = "shuffle",
        mask: str = "none",
        ratio: float | None = None,
        block: int = 2,
        radius: float = 30.0,
        complementary: bool = False,
        epochs: int = 1,
        threads: int = 2,
        on_error: str = "raise",
        seed: int = 0,
        jitter: bool = False,
        augmentation: Augmentation | None = None,
        recipe: C.Recipe | None = None,
        extra_channels: tuple[str, ...] = (),
        drop_last: bool = False,
        shrink: bool = False,
        targets: Mapping[str, Sequence[float]] | None = None,
        start: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.cohort = cohort
        self.preprocessing = preprocessing or default_preprocessing(cohort.modality)
        self.source = cohort.source(self.preprocessing, extra_channels=extra_channels, jitter=jitter, targets=targets)
        if shrink:
            batch_size = min(batch_size, len(self.source))
        groups = groups_of(cohort, order)
        self.sampler = C.Sampler(self.source, order if groups is None else "groups", batch_size, drop_last, seed, groups)
        options = {"mask": mask, "ratio": ratio, "block": block, "radius": radius, "complementary": complementary, "augmentation": augmentation}
        self.recipe = recipe or self.preprocessing.recipe(**options)  # type: ignore[arg-type]
        self.batch_size, self.epochs, self.threads, self.on_error = batch_size, epochs, threads, on_error
        self.seed, self.start, self.rank, self.ranks = seed, start, rank, ranks
        self._running: C.Loader | None = None

    def __len__(self) -> int:
        return self.sampler.batches_per_epoch * self.epochs - self.start

    def open(self) -> C.Loader:
        """Starts the threads; the C++ loader that comes back gives batches by ``next()``."""
        end = self.sampler.batches_per_epoch * self.epochs
        self._running = C.Loader(self.source, self.recipe, self.sampler, self.threads, 2, self.on_error, self.start, end, self.rank, self.ranks)
        return self._running

    def __iter__(self) -> Iterator[C.Batch]:
        loader = self.open()
        while (batch := loader.next()) is not None:
            yield batch

    @property
    def position(self) -> int:
        """Number of the batch that comes next in the iteration under way: pass it as ``start`` to continue there."""
        return self.start if self._running is None else int(self._running.position)

    @property
    def failures(self) -> list[tuple[int, str]]:
        """(window, message) of what could not be read in the iteration under way (``on_error="skip"``)."""
        return [] if self._running is None else list(self._running.failures)


def groups_of(cohort: Cohort, order: str) -> torch.Tensor | None:
    """[recordings] int32 number of each one's group, where an order is a column of the cohort's table.

    Raises:
        ValueError: No such column, or a recording without a value.
    """
    if order in ("shuffle", "sequential"):
        return None
    if order not in cohort.table:
        raise ValueError(f"order must be 'shuffle', 'sequential' or a column of the cohort's table, got {order!r}")
    codes = pd.factorize(cohort.table[order])[0].astype(np.int32)
    if (codes < 0).any():
        raise ValueError(f"{cohort.name}: recordings are taken by {order!r}, which row {int((codes < 0).argmax())} has not")
    return torch.from_numpy(codes)


def in_order(source: C.Source, preprocessing: Preprocessing, *, threads: int, batch_size: int, on_error: str) -> C.Loader:
    """A loader that gives every window of a source once, in order."""
    sampler = C.Sampler(source, "sequential", batch_size, False, 0)
    return C.Loader(source, preprocessing.recipe(), sampler, threads, 2, on_error, 0, sampler.batches_per_epoch)


def recording_means(values: torch.Tensor, recording: torch.Tensor, n: int) -> np.ndarray[Any, Any]:
    """Rows of windows [m, D] to their mean by recording [n, D]; NaN for a recording without windows."""
    sums = torch.zeros(n, values.shape[1], dtype=torch.float64).index_add_(0, recording, values.double())
    counts = torch.bincount(recording, minlength=n).unsqueeze(1)
    return (sums / counts).numpy()


def warn_of_failures(cohort: Cohort, failures: Sequence[tuple[int, str]]) -> None:
    """A FormatWarning where something was left out."""
    if failures:
        warnings.warn(f"{cohort.name}: {len(failures)} of its samples left out; the first: {failures[0][1]}", FormatWarning, stacklevel=3)


def describe(source: C.Source) -> dict[str, Any]:
    """What identifies a source's content, for a checkpoint's configuration."""
    if isinstance(source, C.ImageSource):
        return {"images": len(source)}
    first, last = source.describe(0), source.describe(len(source) - 1)
    if isinstance(source, C.SlideSource):
        return {"pictures": len(source), "first": [first.x, first.y], "last": [last.x, last.y]}
    return {"windows": len(source), "first": first.start, "last": last.start}
