"""Nearest neighbors by blocks of a matrix product, and the greedy coreset of PatchCore."""

from __future__ import annotations

import numpy as np
import torch

from sslmed._checks import whole

__all__ = ["k_center_greedy", "nearest", "random_projection"]

_BLOCK = 1 << 24
"""Distances that are held at a time."""


def nearest(queries: torch.Tensor, bank: torch.Tensor, k: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Euclidean distances to the k nearest rows of a bank, and which rows they are.

    Candidates are found by |q|² - 2 q·b + |b|², around the mean of the bank; the distances that are returned are those of
    the differences themselves, so that a query that is in the bank has the distance 0.

    Args:
        queries: [n, D] float.
        bank: [m, D] float of the same type.
        k: Number of neighbors, at most m.

    Returns:
        [n, k] distances, ascending, and [n, k] int64 rows of the bank.

    Raises:
        ValueError: Shapes or types differ, or the bank has fewer than k rows.

    Examples:
        >>> import torch
        >>> from sslmed.anomaly import nearest
        >>> distance, row = nearest(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [1.0, 0.0]]))
        >>> distance.tolist(), row.tolist()
        ([[1.0]], [[1]])
    """
    whole("nearest", "k", k, 1)
    if queries.ndim != 2 or bank.ndim != 2 or queries.shape[1] != bank.shape[1] or queries.dtype != bank.dtype:
        raise ValueError(
            f"nearest: queries {list(queries.shape)} {queries.dtype} and bank {list(bank.shape)} {bank.dtype} must be [n, D] and [m, D] of one type"
        )
    if k > len(bank):
        raise ValueError(f"nearest: k={k} must be at most the {len(bank)} rows of the bank")
    middle = bank.mean(0)
    around = bank - middle
    squares = (around * around).sum(1)
    distances = queries.new_empty(len(queries), k)
    rows = torch.empty(len(queries), k, dtype=torch.int64, device=queries.device)
    step = max(1, _BLOCK // len(bank))
    for first in range(0, len(queries), step):
        mine = slice(first, first + step)
        part = queries[mine] - middle
        found = torch.addmm(squares, part, around.T, alpha=-2)  # but for |q|², which changes no order
        row = found.argmin(1, keepdim=True) if k == 1 else found.topk(k, dim=1, largest=False).indices
        distance = (part[:, None] - around[row]).square().sum(2).sqrt()
        distances[mine], order = distance.sort(dim=1, stable=True)
        rows[mine] = row.gather(1, order)
    return distances, rows


def k_center_greedy(features: torch.Tensor, n: int, start: int = 0) -> torch.Tensor:
    """Chooses rows one after the other, each the farthest from those before it (Sener & Savarese, arXiv 1708.00489).

    The same rows as by all distances, with fewer of them: a row that is nearer to its center than half of the distance
    between that center and a new one cannot be nearer to the new one, by the triangle inequality.

    Args:
        features: [N, D] float.
        n: Number of rows to choose, at most N.
        start: Row that is chosen first.

    Returns:
        [n] int64 rows in the order in which they were chosen.

    Raises:
        ValueError: ``features`` is no matrix, or a number is out of range.

    Examples:
        >>> import torch
        >>> from sslmed.anomaly import k_center_greedy
        >>> k_center_greedy(torch.tensor([[0.0], [1.0], [10.0], [4.0]]), 3).tolist()
        [0, 2, 3]
    """
    whole("k_center_greedy", "n", n, 1)
    whole("k_center_greedy", "start", start)
    if features.ndim != 2 or n > len(features) or start >= len(features):
        raise ValueError(f"k_center_greedy: n={n} and start={start} must be at most the rows of features [N, D], got {list(features.shape)}")
    chosen = torch.empty(n, dtype=torch.int64, device=features.device)
    centers = features.new_empty(n, features.shape[1])
    chosen[0], centers[0] = start, features[start]
    distance = torch.linalg.vector_norm(features - centers[0], dim=1)
    owner = torch.zeros(len(features), dtype=torch.int64, device=features.device)
    distance[start] = 0
    slack = 1 - 1e-4  # what rounding may change of a distance
    for i in range(1, n):
        row = distance.argmax()
        chosen[i], centers[i] = row, features[row]
        half = torch.linalg.vector_norm(centers[:i] - centers[i], dim=1).mul_(0.5 * slack)
        near = (distance > half[owner]).nonzero().squeeze(1)
        if 2 * len(near) > len(features):
            new = torch.linalg.vector_norm(features - centers[i], dim=1)
            better = new < distance
            distance = torch.minimum(distance, new)
            owner.masked_fill_(better, i)
        else:
            new = torch.linalg.vector_norm(features[near] - centers[i], dim=1)
            better = new < distance[near]
            distance[near[better]] = new[better]
            owner[near[better]] = i
        distance[row], owner[row] = 0, i
    return chosen


def random_projection(features: torch.Tensor, dimensions: int, seed: int) -> torch.Tensor:
    """Features in fewer dimensions, which keeps distances in the mean (Johnson & Lindenstrauss): Gaussian numbers of
    variance 1 / dimensions, a pure function of the seed.

    Args:
        features: [N, D] float.
        dimensions: Number of dimensions; features that have no more stay as they are.
        seed: Seed of the draw.

    Returns:
        [N, dimensions].
    """
    width = features.shape[1]
    if dimensions >= width:
        return features
    draws = np.random.Generator(np.random.Philox(key=[seed, width])).standard_normal((width, dimensions))
    matrix = torch.from_numpy(draws / np.sqrt(dimensions)).to(features.dtype).to(features.device)
    return features @ matrix
