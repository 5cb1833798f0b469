"""Methods that need no encoder: an atlas of mean and standard deviation, a histogram of intensities, and a dummy."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from sslmed._checks import number, whole
from sslmed.anomaly.methods import Needs, State
from sslmed.anomaly.scans import Detection, Scan, box_of, highest, resized, smoothed

__all__ = ["Atlas", "Dummy", "Histogram"]


@dataclass(frozen=True)
class Atlas:
    """|value - mean| / standard deviation of healthy people at each place. Boxes around the anatomy are brought to
    one grid.

    Examples:
        >>> import sslmed as sm
        >>> method = sm.anomaly.Atlas(grid=32)
    """

    needs: ClassVar[Needs] = "array"

    grid: int = 48
    """Cells of the common grid along each axis."""
    blur: float = 1.0
    """Standard deviation in cells of the grid of a Gaussian filter over values, against what is not aligned."""
    floor: float = 0.25
    """Least standard deviation, as a share of its mean over the places inside."""
    top: float = 0.01
    """Share of a scan's cells, the highest ones, whose mean is the scan's score."""
    name: str = "atlas"
    """Row in tables."""

    def __post_init__(self) -> None:
        whole("Atlas", "grid", self.grid, 2)
        number("Atlas", "top", self.top, 0, 1)
        for option in ("blur", "floor"):
            number("Atlas", option, getattr(self, option), 0)

    def fit(self, scans: Sequence[Scan], seed: int) -> State:
        """``mean`` and ``std`` [C, grid…], float32."""
        if len(scans) < 2:
            raise ValueError(f"Atlas: fit: needs at least 2 scans, got {len(scans)}")
        total = squares = share = torch.zeros(())
        for scan in scans:
            values, inside = self._on_grid(scan)
            total, squares, share = total + values, squares + values.square(), share + inside
        n = len(scans)
        mean = total / n
        std = ((squares / n - mean.square()).clamp_min(0) * n / (n - 1)).sqrt()
        known = share / n > 0.5
        typical = std[:, known].mean() if bool(known.any()) else std.mean()
        return {"mean": mean.float(), "std": std.clamp_min(float(typical) * self.floor + 1e-12).float()}

    def detect(self, state: State, scan: Scan, seed: int) -> Detection:
        """The mean over sequences of |z|, brought back to the scan."""
        values, _ = self._on_grid(scan)
        z = ((values.float() - state["mean"]) / state["std"]).abs().mean(0, keepdim=True)
        inside = scan.inside()
        box = box_of(inside)
        cells = torch.zeros(inside.shape)
        cells[box] = resized(z, [part.stop - part.start for part in box])[0]
        cells = torch.where(inside, cells, 0.0)
        return Detection(highest(cells[inside], self.top), None, cells, inside)

    def _on_grid(self, scan: Scan) -> tuple[torch.Tensor, torch.Tensor]:
        """[C, grid…] float64 values and [grid…] whether a place is inside."""
        array, inside = scan.array(), scan.inside()
        box = box_of(inside)
        size = [self.grid] * (array.ndim - 1)
        mask = resized(inside[box].float()[None], size)[0]
        values = resized(torch.where(inside[box], array[(slice(None), *box)], 0.0), size)
        every = torch.ones(size, dtype=torch.bool)
        if self.blur > 0:
            values = torch.stack([_filtered(one, every, self.blur) for one in values])
        return values.double(), (mask > 0.5).double()


def _filtered(values: torch.Tensor, every: torch.Tensor, sigma: float) -> torch.Tensor:
    """A Gaussian filter that keeps signs."""
    low = values.min()
    return smoothed(values - low, every, sigma) + low


@dataclass(frozen=True)
class Histogram:
    """How rare a cell's intensity is among healthy people: -log of its share in their mean histogram.

    Examples:
        >>> import sslmed as sm
        >>> method = sm.anomaly.Histogram(bins=32)
    """

    needs: ClassVar[Needs] = "array"

    bins: int = 64
    """Number of bins between the percentiles 0.1 and 99.9 of the training scans; two more are for what lies outside."""
    least: float = 1e-4
    """Share that is added to each bin."""
    smooth: float = 1.0
    """Standard deviation in cells of a Gaussian filter over maps."""
    name: str = "histogram"
    """Row in tables."""

    def __post_init__(self) -> None:
        whole("Histogram", "bins", self.bins, 2)
        number("Histogram", "least", self.least, 0, strict=True)
        number("Histogram", "smooth", self.smooth, 0)

    def fit(self, scans: Sequence[Scan], seed: int) -> State:
        """``edges`` [C, bins + 1] and ``rarity`` [C, bins + 2], -log of the shares."""
        inside = [(scan.array()[:, scan.inside()]) for scan in scans]
        edges, rarity = [], []
        for channel in range(inside[0].shape[0]):
            ends = torch.tensor([0.001, 0.999], dtype=torch.float64)
            bounds = [torch.quantile(_few(values[channel]).double(), ends) for values in inside]
            low, high = torch.stack(bounds).mean(0).tolist()
            cuts = torch.linspace(low, max(high, low + 1e-6), self.bins + 1, dtype=torch.float64)
            found = [_bins(values[channel], cuts) for values in inside]
            counts = [torch.bincount(bins, minlength=self.bins + 2).double() for bins in found]
            share = torch.stack([count / count.sum() for count in counts]).mean(0) + self.least
            edges.append(cuts)
            rarity.append(-(share / share.sum()).log())
        return {"edges": torch.stack(edges), "rarity": torch.stack(rarity)}

    def detect(self, state: State, scan: Scan, seed: int) -> Detection:
        """Rarity of the cells, a mean over sequences, and their mean over the scan (a cross entropy)."""
        array, inside = scan.array(), scan.inside()
        cells = torch.zeros(inside.shape, dtype=torch.float64)
        for channel, values in enumerate(array):
            cells += state["rarity"][channel][_bins(values, state["edges"][channel])].reshape(inside.shape) / len(array)
        score = float(cells[inside].mean())
        return Detection(score, None, smoothed(cells.float(), inside, self.smooth), inside)


def _few(values: torch.Tensor) -> torch.Tensor:
    """Every so many of the values: quantiles of a million are those of all."""
    return values[:: max(1, len(values) // 1_000_000)]


def _bins(values: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    return torch.bucketize(values.double().flatten(), edges, right=True)


@dataclass(frozen=True)
class Dummy:
    """Random scores that know nothing of a scan: what chance gives.

    Examples:
        >>> import sslmed as sm
        >>> method = sm.anomaly.Dummy()
    """

    needs: ClassVar[Needs] = "nothing"

    name: str = "dummy"
    """Row in tables."""

    def fit(self, scans: Sequence[Scan], seed: int) -> State:
        """Nothing."""
        return {}

    def detect(self, state: State, scan: Scan, seed: int) -> Detection:
        """Uniform numbers, a pure function of the seed, the subject and the path."""
        draws = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(scan.key.encode())]))
        score = float(draws.random())
        if scan.maps is None:
            return Detection(score)
        inside = scan.inside()
        cells = torch.from_numpy(draws.random(tuple(inside.shape), np.float32))
        return Detection(score, None, torch.where(inside, cells, 0.0), inside)
