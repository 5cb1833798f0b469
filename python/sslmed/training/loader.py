"""From cohorts to batches, in C++ threads."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, get_args

import numpy as np
import pandas as pd
import torch

from sslmed._checks import choice, whole
from sslmed._core import C, LeftOutWarning
from sslmed.cohort import Cohort
from sslmed.modalities.base import Mask, OnError, Preprocessing
from sslmed.modalities.joined import whole_of
from sslmed.modalities.registry import get
from sslmed.sources import warn_of_samples

__all__ = ["Loader", "groups_of", "warn_of_failures"]

# What a loader is told of masks and augmentation by default: nothing.
_PLAIN = {"mask": "none", "ratio": None, "block": 2, "radius": 30.0, "complementary": False, "augmentation": None}


class Loader:
    """The samples of a cohort as packed batches, made by C++ threads and iterable from Python.

    The stream is a pure function of (seed, batch number): it does not depend on ``threads``, and ``start`` is its whole state.

    Args:
        cohort: Where samples come from.
        preprocessing: Applied to every sample; by default that of the cohort's modality. For a cohort of several modalities one each, by name.
        batch_size: Number of samples in a batch.
        order: "shuffle" (every sample once an epoch), "sequential", or a column of the cohort's table, whose values come equally often ("subject", "site").
        mask: Which tokens are hidden: "none", "random" (an exact number), "bernoulli" (each token by itself), or what else the modality has.
        ratio: Share of tokens that are hidden; by default the modality's.
        block: Number of steps ("time", "space") or channels ("channel") hidden together.
        radius: Distance in mm that a region reaches from its center ("space").
        complementary: Two views of each sample; the second shows what the first one hides.
        epochs: Number of passes over the cohort.
        threads: Number of C++ threads that read, transform, mask and pack.
        on_error: "raise", or "skip": an unreadable sample leaves its place empty and is listed in ``failures``.
        seed: Seed of every draw.
        random: Draw the places of samples at random, for training.
        augmentation: Random changes of samples, where the modality has any.
        recipe: How samples are cut and masked, instead of the options above: ``preprocessing.recipe(views=[…])``.
        extra_channels: Channel names without a known position for which the encoder has a learned row.
        drop_last: Leave out an incomplete last batch.
        shrink: Take smaller batches where there are fewer samples than one holds, instead of refusing.
        targets: Numbers by name, one a row of the cohort, that come with its samples (``batch.targets``).
        start: Number of the first batch, to continue a stream.
        rank: Number of this rank, which gets its share of each batch only.
        ranks: Number of ranks.

    Raises:
        ValueError: A number is out of range, or ``order`` is not a column.
        FormatError, ReadError: While iterating, with ``on_error="raise"``.

    Examples:
        >>> import numpy as np, pandas as pd, sslmed as sm
        >>> cohort = sm.Cohort.from_arrays(np.random.randn(4, 2, 800), 100.0, ["Cz", "Pz"], pd.DataFrame({"subject": list("abcd")}))
        >>> batch = next(iter(sm.Loader(cohort, batch_size=2, mask="random")))
        >>> len(batch)
        2
    """

    def __init__(
        self,
        cohort: Cohort,
        preprocessing: Preprocessing | Mapping[str, Preprocessing] | None = None,
        *,
        batch_size: int = 64,
        order: str = "shuffle",
        mask: Mask = "none",
        ratio: float | None = None,
        block: int = 2,
        radius: float = 30.0,
        complementary: bool = False,
        epochs: int = 1,
        threads: int = 2,
        on_error: OnError = "raise",
        seed: int = 0,
        random: bool = False,
        augmentation: Any = None,
        recipe: C.Recipe | None = None,
        extra_channels: tuple[str, ...] = (),
        drop_last: bool = False,
        shrink: bool = False,
        targets: Mapping[str, Sequence[float]] | None = None,
        start: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        if not isinstance(cohort, Cohort):
            raise TypeError(f"Loader: cohort={cohort!r} must be a Cohort, got {type(cohort).__name__}")
        for name, value, least in (("batch_size", batch_size, 1), ("epochs", epochs, 1), ("threads", threads, 1), ("seed", seed, 0), ("start", start, 0)):
            whole("Loader", name, value, least)
        choice("Loader", "on_error", on_error, get_args(OnError))
        self.cohort = cohort
        if preprocessing is None:
            preprocessing = {name: get(name).default(cohort.part(name)) for name in cohort.modalities}
        self.preprocessing = whole_of(preprocessing)
        self.source = cohort.source(self.preprocessing, extra_channels=extra_channels, random=random, targets=targets)
        if shrink:
            batch_size = min(batch_size, len(self.source))
        groups = groups_of(cohort, order)
        self.sampler = C.Sampler(self.source, order if groups is None else "groups", batch_size, drop_last, seed, groups)
        self._given = recipe
        self._options = {
            "mask": mask, "ratio": ratio, "block": block, "radius": radius, "complementary": complementary, "augmentation": augmentation,
        }  # fmt: skip
        self.batch_size, self.epochs, self.threads, self.on_error = batch_size, epochs, threads, on_error
        self.seed, self.start, self.rank, self.ranks = seed, start, rank, ranks
        self._running: C.Loader | None = None

    def __len__(self) -> int:
        return self.sampler.batches_per_epoch * self.epochs - self.start

    @cached_property
    def recipe(self) -> C.Recipe:
        """How samples are cut and masked where the loader is iterated; a trainer uses its objective's."""
        made: C.Recipe = self._given or self.preprocessing.recipe(**self._options)
        return made

    def open(self) -> C.Loader:
        """Starts the threads; the C++ loader that comes back gives batches by ``next()``."""
        end = self.sampler.batches_per_epoch * self.epochs
        self._running = self._plan(self.recipe, first=self.start, end=end).open()
        return self._running

    def plan(self) -> C.LoaderPlan:
        """What a trainer opens: this loader without an end of its own. Options that a run cannot honor are refused there."""
        end = 0 if self.epochs == 1 else self.sampler.batches_per_epoch * self.epochs
        own = self._given is not None or self._options != _PLAIN
        return self._plan(self.recipe if own else None, first=self.start, end=end)

    def _plan(self, recipe: C.Recipe | None, *, first: int, end: int) -> C.LoaderPlan:
        return C.LoaderPlan(
            self.source, self.sampler, recipe, threads=self.threads, on_error=self.on_error, first=first, end=end, rank=self.rank, ranks=self.ranks,
        )  # fmt: skip

    def __iter__(self) -> Iterator[C.Batch]:
        loader = self.open()
        while (batch := loader.next()) is not None:
            yield batch
        warn_of_samples(self.source)

    @property
    def position(self) -> int:
        """Number of the batch that comes next in the iteration under way: pass it as ``start`` to continue there."""
        return self.start if self._running is None else int(self._running.position)

    @property
    def failures(self) -> list[tuple[int, str]]:
        """(sample, message) of what could not be read in the iteration under way (``on_error="skip"``)."""
        return [] if self._running is None else list(self._running.failures)


def groups_of(cohort: Cohort, order: str) -> torch.Tensor | None:
    """[rows] int32 number of each row's group, where an order is a column of the cohort's table.

    Raises:
        ValueError: There is no such column, or a row has no value.
    """
    if order in ("shuffle", "sequential"):
        return None
    if order not in cohort.table:
        raise ValueError(f"order={order!r} must be 'shuffle', 'sequential' or a column of the cohort's table")
    codes = pd.factorize(cohort.table[order])[0].astype(np.int32)
    if (codes < 0).any():
        raise ValueError(f"order={order!r}: row {int((codes < 0).argmax())} of the table of {cohort.name} has no value in that column")
    return torch.from_numpy(codes)


def warn_of_failures(cohort: Cohort, failures: Sequence[tuple[int, str]]) -> None:
    """A LeftOutWarning where samples could not be read."""
    if failures:
        text = f"{cohort.name}: {len(failures)} of its samples left out; the first: {failures[0][1]}"
        warnings.warn(text, LeftOutWarning, stacklevel=3)
