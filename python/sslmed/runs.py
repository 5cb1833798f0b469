"""What pretraining runs leave: one run, or one for each seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import pandas as pd

from sslmed._checks import whole
from sslmed.encoders import CohortEncoder

__all__ = ["Run", "Runs", "by_seed"]


@dataclass(repr=False)
class Run:
    """What a pretraining run left."""

    out: Path
    """Folder with the results."""
    encoder: CohortEncoder
    """The pretrained encoder."""
    history: pd.DataFrame
    """One row a step: step, epoch, loss, lr, grad_norm, seconds, samples, and every ten steps how far features vary over the samples
    of the batch relative to their size (feature_std), and in how many directions (effective_rank, at most the batch size)."""
    interrupted: bool = False
    """Whether Ctrl-C stopped the run after a checkpoint; call again with ``resume=True``."""
    failures: tuple[tuple[int, str], ...] = ()
    """(sample, message) of what could not be read."""

    def __repr__(self) -> str:
        loss = f", loss {self.history['loss'].iloc[-1]:.4g}" if len(self.history) else ""
        return f"<Run {self.out}: {len(self.history)} steps{loss}{', interrupted' if self.interrupted else ''}; {self.encoder!r}>"

    def plot(self, ax: Any = None) -> Any:
        """Plots the loss over steps; returns the matplotlib axes."""
        from sslmed.reporting.plots import plot_history

        return plot_history(self.history, ax)


class Runs(Sequence[Run]):
    """The runs of one pretraining by several seeds, as a list.

    Args:
        runs: Runs, in the order of the seeds.
        seeds: Seed of each.

    Examples:
        >>> import sslmed as sm
        >>> runs = sm.pretrain(sm.Cohort.open("public-eeg"), out="runs/eeg", seeds=[0, 1, 2])  # doctest: +SKIP
        >>> sm.transfer(runs, sm.Cohort.open("clinic"), "diagnosis").table["sd_seeds"]  # doctest: +SKIP
    """

    def __init__(self, runs: Iterable[Run], seeds: Iterable[int]) -> None:
        self._runs, self.seeds = list(runs), list(seeds)
        if len(self._runs) != len(self.seeds):
            raise ValueError(f"Runs: seeds must have one number for each of {len(self._runs)} runs, got {len(self.seeds)}")

    @overload
    def __getitem__(self, place: int) -> Run: ...

    @overload
    def __getitem__(self, place: slice) -> Runs: ...

    def __getitem__(self, place: int | slice) -> Run | Runs:
        return Runs(self._runs[place], self.seeds[place]) if isinstance(place, slice) else self._runs[place]

    def __len__(self) -> int:
        return len(self._runs)

    def __repr__(self) -> str:
        return "<Runs\n" + "\n".join(f"  seed {seed}: {run!r}" for seed, run in zip(self.seeds, self._runs, strict=True)) + ">"

    @property
    def encoders(self) -> list[CohortEncoder]:
        """The encoders, in the order of the seeds: what :func:`sslmed.transfer` takes together."""
        return [run.encoder for run in self._runs]

    @property
    def history(self) -> pd.DataFrame:
        """The histories one below the other, with the column ``seed`` first."""
        parts = [run.history.assign(seed=seed) for seed, run in zip(self.seeds, self._runs, strict=True)]
        table = pd.concat(parts, ignore_index=True)
        return table[["seed", *(c for c in table.columns if c != "seed")]]

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C stopped a run: call again with ``resume=True``."""
        return any(run.interrupted for run in self._runs)


def by_seed(seeds: Sequence[int], options: Mapping[str, Any], run: Callable[[int], Run]) -> Runs:
    """Runs a pretraining once for each seed; after one that was interrupted no other starts.

    Args:
        seeds: Different whole numbers.
        options: Options of each run, which must not have a seed.
        run: Runs one of them.

    Raises:
        ValueError: Seeds that are none, or ``seed`` beside them.
    """
    if "seed" in options:
        raise ValueError(f"pretrain: seed={options['seed']!r} and seeds={seeds!r} were both given; leave out seed")
    if isinstance(seeds, (str, int)) or not len(seeds) or len(set(seeds)) < len(seeds):
        raise ValueError(f"pretrain: seeds={seeds!r} must be a list of different whole numbers")
    for seed in seeds:
        whole("pretrain", "seeds", seed)
    runs: list[Run] = []
    for seed in seeds:
        runs.append(run(seed))
        if runs[-1].interrupted:
            break
    return Runs(runs, list(seeds)[: len(runs)])
