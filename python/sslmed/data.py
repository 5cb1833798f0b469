"""From cohorts to batches: preprocessing options, and the loader that runs them in C++ threads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sslmed._core import C

if TYPE_CHECKING:
    from sslmed.cohort import Cohort

__all__ = ["EegPreprocessing", "Loader"]


@dataclass(frozen=True)
class EegPreprocessing:
    """What happens to every window of EEG before an encoder sees it. Saved with the encoder, and applied again with it."""

    sfreq: float = 200.0
    """Hz after resampling."""
    window: float = 4.0
    """s."""
    patch: float = 1.0
    """s of one channel in a token."""
    low: float = 0.5
    """Hz; 0: no lower edge."""
    high: float = 75.0
    """Hz; 0: no upper edge. Left out for recordings whose Nyquist rate is below it."""
    order: int = 4
    notch: float = 0.0
    """Hz; 0: none."""
    margin: float = 1.0
    """s read on each side so that filters settle outside the window."""
    average_reference: bool = True
    scale: str = "zscore"
    """"zscore" or "robust", per channel and window; "none": the signal in ``unit``."""
    clip: float = 15.0
    """In units of the scale; 0: none."""
    unit: float = 1.0
    """µV that count as one, with scale="none"."""
    align: str = "none"
    """"subject": windows by R^(-1/2), R the mean covariance of the subject's windows (at most 64 of them), before the scale (Euclidean alignment)."""

    @property
    def patch_samples(self) -> int:
        """Samples in a token."""
        return round(self.patch * self.sfreq)

    def options(self, *, stride: float = 0.0, jitter: bool = False) -> C.EegOptions:
        """The C++ options: ``stride`` s between windows (0: the window's length), starts moved at random or not."""
        values = asdict(self)
        del values["patch"]
        return C.EegOptions(stride=stride, jitter=jitter, **values)


class Loader:
    """Windows of a cohort as packed batches, made by C++ threads and iterable from Python.

    The stream is a pure function of (seed, batch number): it does not depend on ``threads``, and ``start`` is its whole state.

    Args:
        cohort: Where the recordings are.
        preprocessing: Filters, rate, scale, window.
        batch_size: Windows in a batch.
        order: "shuffle" (every window once an epoch), "subject" (every subject equally often) or "sequential".
        mask: "none", "random", "bernoulli" (each token by itself), "time", "channel" or "space".
        ratio: Of the tokens masked.
        block: Steps ("time", "space") or channels ("channel") masked together.
        radius: mm over the head from a block's centre ("space").
        complementary: Two views of each window; the second sees what the first one hides.
        epochs: How often to go through.
        threads: C++ threads that read, filter, mask and pack.
        on_error: "raise", or "skip": an unreadable window leaves its place empty and is listed in ``failures``.
        seed: Of every draw.
        jitter: Move window starts at random within the stride.
        extra_channels: Names without a known position that the encoder has a learned row for.
        drop_last: Leave out an incomplete last batch.
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
        preprocessing: EegPreprocessing | None = None,
        *,
        batch_size: int = 64,
        order: str = "shuffle",
        mask: str = "none",
        ratio: float = 0.5,
        block: int = 2,
        radius: float = 30.0,
        complementary: bool = False,
        epochs: int = 1,
        threads: int = 2,
        on_error: str = "raise",
        seed: int = 0,
        jitter: bool = False,
        extra_channels: tuple[str, ...] = (),
        drop_last: bool = False,
        targets: Mapping[str, Sequence[float]] | None = None,
        start: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.cohort = cohort
        self.preprocessing = preprocessing or EegPreprocessing()
        self.source = cohort.source(self.preprocessing, extra_channels=extra_channels, jitter=jitter, targets=targets)
        self.sampler = C.Sampler(self.source, order, batch_size, drop_last, seed)
        self.recipe = C.PatchRecipe(self.preprocessing.patch_samples, mask, ratio, block, radius, complementary)
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


def in_order(source: C.EegSource, preprocessing: EegPreprocessing, *, threads: int, batch_size: int, on_error: str) -> C.Loader:
    """A loader that gives every window of a source once, in order."""
    sampler = C.Sampler(source, "sequential", batch_size, False, 0)
    return C.Loader(source, C.PatchRecipe(preprocessing.patch_samples), sampler, threads, 2, on_error, 0, sampler.batches_per_epoch)


def recording_means(values: torch.Tensor, recording: torch.Tensor, n: int) -> np.ndarray[Any, Any]:
    """Rows of windows [m, D] to their mean by recording [n, D]; NaN for a recording without windows."""
    sums = torch.zeros(n, values.shape[1], dtype=torch.float64).index_add_(0, recording, values.double())
    counts = torch.bincount(recording, minlength=n).unsqueeze(1)
    return (sums / counts).numpy()


def describe(source: C.Source) -> dict[str, Any]:
    """What identifies a source's content, for a checkpoint's configuration."""
    first, last = source.describe(0), source.describe(len(source) - 1)
    return {"windows": len(source), "first": first.start, "last": last.start}
