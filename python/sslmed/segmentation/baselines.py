"""What needs no network: the most frequent class, an atlas, and the intensities of each class.

All of them are fitted on training people only. They work on the grid of the label maps; people's grids may differ in
size, and are laid over each other by their extents, so that an atlas is worth something where heads lie alike.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from sslmed.modalities.label_maps import LabelMaps

__all__ = ["BASELINES", "Classical", "placed_numbers", "values_on_labels"]

BASELINES = ("dummy", "atlas", "histogram", "atlas + histogram")
"""Rows beside a network. "dummy": the most frequent class everywhere. "atlas": the majority of the training people's
label maps at each place. "histogram": a normal distribution of the intensities of each class. "atlas + histogram": the
same with the atlas's share of each class as its prior."""

_LEAST_VARIANCE = 1e-4
"""Added to the variance of intensities, as a share of their variance over all classes."""


def values_on_labels(maps: LabelMaps, row: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The sample of a row on the grid of its label map: values [C, spatial…] float32, and which cells have any."""
    values = maps.read(row).float()
    places = _places(maps, row, values.shape[1:])
    found = values.flatten(1)[:, places.clamp_min(0).flatten().long()].view(-1, *places.shape)
    return found, places >= 0


def placed_numbers(maps: LabelMaps, row: int, numbers: torch.Tensor) -> torch.Tensor:
    """Numbers [spatial…] on the grid of the sample brought to that of its file, by the nearest cell; 0 outside."""
    places = _places(maps, row, numbers.shape)
    found = numbers.flatten()[places.clamp_min(0).flatten().long()].view(places.shape)
    return torch.where(places >= 0, found, 0)


def _places(maps: LabelMaps, row: int, shape: Sequence[int]) -> torch.Tensor:
    """The cell of the sample, counted row by row, at each cell of the label map; -1: none."""
    numbers = torch.arange(math.prod(shape), dtype=torch.int32).view(*shape)
    return maps.placed(row, numbers, -1)


class Classical:
    """Counts, label votes and intensities of training people, each of whom weighs the same, however many scans there are.

    Args:
        maps: Rows of a cohort with their label maps.
        rows: Rows of the training people.
        classes: What each class is in the label maps.
        subjects: The person of each row of the cohort.
    """

    def __init__(self, maps: LabelMaps, rows: Iterable[int], classes: Sequence[int], subjects: Sequence[object]) -> None:
        self.classes = list(classes)
        rows, count = [int(row) for row in rows], len(self.classes)
        shapes = torch.tensor([list(self._numbered(maps, row).shape) for row in rows], dtype=torch.float64)
        self.shape = tuple(int(size) for size in shapes.median(dim=0).values.round().tolist())
        self.votes = torch.zeros(count, *self.shape)
        scans = Counter(subjects[row] for row in rows)
        self.people = len(scans)
        sums: list[Any] = []
        for row in rows:
            truth, weight = self._numbered(maps, row), 1 / scans[subjects[row]]
            self._vote(truth, weight)
            values, inside = values_on_labels(maps, row)
            own = self._sums(values.double(), torch.where(inside, truth, -1))
            sums.append(tuple(weight * each for each in own))
        self.counts, first, second = (torch.stack(each).sum(0) for each in zip(*sums, strict=True))
        known = self.counts.clamp_min(1)
        self.means = first / known[:, None]  # [K, C]
        spread = second / known[:, None, None] - self.means[:, :, None] * self.means[:, None, :]
        total = self.counts.sum().clamp_min(1)
        whole = second.sum(0) / total - torch.outer(first.sum(0) / total, first.sum(0) / total)
        least = whole.diagonal().clamp_min(1e-12) * _LEAST_VARIANCE
        self.covariances = spread + torch.diag(least)  # [K, C, C]

    def labels(self, name: str, maps: LabelMaps, row: int) -> torch.Tensor:
        """The labels of a row [spatial…] int32 on the grid of its label map, by one of :data:`BASELINES`."""
        values, inside = values_on_labels(maps, row)
        shape = tuple(values.shape[1:])
        table = torch.tensor(self.classes, dtype=torch.int32)
        if name == "dummy":
            return torch.full(shape, self.classes[int(self.counts.argmax())], dtype=torch.int32)
        if name == "atlas":
            return table[self._spread(self.votes.argmax(0), shape)]
        frequency = self.counts / self.counts.sum().clamp_min(1)
        best = torch.full(shape, -math.inf, dtype=torch.float64)
        found = torch.zeros(shape, dtype=torch.int64)
        for k in range(len(self.classes)):
            if self.counts[k] == 0:
                continue
            prior = frequency[k]
            if name == "atlas + histogram":  # the frequency counts like one person more: no class is impossible
                prior = (self._spread(self.votes[k], shape).double() + frequency[k]) / (self.people + 1)
            score = self._log_density(values.double(), k) + prior.log()
            better = score > best
            best, found = torch.where(better, score, best), torch.where(better, k, found)
        return torch.where(inside, table[found], self.classes[0])

    def _numbered(self, maps: LabelMaps, row: int) -> torch.Tensor:
        """Classes [spatial…] from 0, -1 where nothing is known or a value is no class."""
        truth = maps.truth(row)
        assert truth is not None
        out = torch.full_like(truth, -1, dtype=torch.int64)
        for number, value in enumerate(self.classes):
            out[truth == value] = number
        return out

    def _vote(self, truth: torch.Tensor, weight: float) -> None:
        common = _laid_over(truth, self.shape)
        for k in range(len(self.classes)):
            self.votes[k] += weight * (common == k)

    def _sums(self, values: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Cells, sums and sums of products of each class: [K], [K, C], [K, C, C]."""
        counts, first, second = [], [], []
        for k in range(len(self.classes)):
            own = values[:, truth == k]  # [C, cells]
            counts.append(torch.tensor(float(own.shape[1]), dtype=torch.float64))
            first.append(own.sum(1))
            second.append(own @ own.T)
        return torch.stack(counts), torch.stack(first), torch.stack(second)

    def _log_density(self, values: torch.Tensor, k: int) -> torch.Tensor:
        """Of the normal distribution of class k, but for a constant."""
        apart = values.flatten(1) - self.means[k][:, None]
        inverse = torch.linalg.inv(self.covariances[k])
        distance = ((inverse @ apart) * apart).sum(0)
        out: torch.Tensor = -0.5 * (distance + torch.logdet(self.covariances[k]))
        return out.view(values.shape[1:])

    def _spread(self, common: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        return _laid_over(common, shape)


def _laid_over(x: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """x [spatial…] at another size, by the nearest cell."""
    for axis, cells in enumerate(shape):
        places = ((torch.arange(cells, dtype=torch.float64) + 0.5) * x.shape[axis] / cells).long()
        x = x.index_select(axis, places.clamp_max(x.shape[axis] - 1))
    return x
