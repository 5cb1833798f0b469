"""How sure networks are of each cell: entropy over the classes, and how far networks and flips disagree."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from sslmed.inference import sliding_window
from sslmed.methods import Segment
from sslmed.segmentation.options import Segmentation

__all__ = ["uncertainty_of"]

Maps = tuple[torch.Tensor, torch.Tensor]


def uncertainty_of(tasks: Sequence[Segment], values: torch.Tensor, options: Segmentation) -> Maps:
    """The entropy of the mean prediction, and the disagreement of those that it is the mean of, [spatial…] each.

    Members are all networks with all flips of ``options.flips``. The entropy of their mean is, in parts of that of a
    coin of as many sides as there are classes: 0 sure, 1 not the least idea. The disagreement is that entropy minus the
    mean entropy of the members (mutual information): 0 where all say the same, however unsure they are.

    Args:
        tasks: Networks.
        values: Sample [C, spatial…].
        options: Windows, flips and device.
    """
    mean, entropy, count = torch.zeros(()), torch.zeros(()), 0
    for member in _members(tasks, values.to(options.device), options):
        mean, entropy, count = mean + member.cpu(), entropy + _entropy(member.cpu()), count + 1
    total = _entropy(mean / count)
    scale = math.log(mean.shape[0])
    return total / scale, (total - entropy / count).clamp_min(0) / scale


def _members(tasks: Sequence[Segment], values: torch.Tensor, options: Segmentation) -> Iterator[torch.Tensor]:
    """Probabilities [classes, spatial…] of each network and flip."""
    first: Any = tasks[0].preprocessing
    roi = options.roi if options.roi is not None else first.embedding()["img_size"]
    how: dict[str, Any] = {"overlap": options.overlap, "convention": options.convention}
    flips = [axes for n in range(len(options.flips) + 1) for axes in itertools.combinations(options.flips, n)]
    for task, axes in itertools.product(tasks, flips):
        turned = [axis + 2 for axis in axes]

        def member(windows: torch.Tensor, task: Segment = task, turned: list[int] = turned) -> torch.Tensor:
            return task.forward_dense(windows.flip(turned)).softmax(1).flip(turned)

        yield sliding_window(values, member, roi, **how)


def _entropy(probabilities: torch.Tensor) -> torch.Tensor:
    return -torch.xlogy(probabilities, probabilities).sum(0)
