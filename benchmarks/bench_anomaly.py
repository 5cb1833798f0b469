"""The greedy coreset and nearest neighbors of PatchCore against plain loops, which give the same rows.

The plain coreset is anomalib's loop: the distance of every row to each new center. The plain neighbors are
``torch.cdist`` a thousand queries at a time. Features are those of patches of real anatomy in kind: clusters, of few
dimensions within many."""

import warnings
from typing import Any

import torch
from common import interleaved, ratio_of, summary, write

from sslmed.anomaly import k_center_greedy, nearest


def features(n: int, width: int, seed: int, clusters: int = 200, dimensions: int = 12) -> torch.Tensor:
    """Points around the middles of clusters, on a subspace, with a little noise in all directions."""
    draws = torch.Generator().manual_seed(seed)
    basis = torch.randn(dimensions, width, generator=torch.Generator().manual_seed(0))
    middles = 3 * torch.randn(clusters, dimensions, generator=torch.Generator().manual_seed(1))
    points = middles[torch.randint(clusters, (n,), generator=draws)] + torch.randn(n, dimensions, generator=draws)
    return points @ basis + 0.1 * torch.randn(n, width, generator=draws)


def plain_coreset(x: torch.Tensor, n: int) -> torch.Tensor:
    chosen = [0]
    distance = torch.linalg.norm(x - x[0], dim=1)
    for _ in range(n - 1):
        row = int(distance.argmax())
        chosen.append(row)
        distance = torch.minimum(distance, torch.linalg.norm(x - x[row], dim=1))
    return torch.tensor(chosen)


def plain_nearest(queries: torch.Tensor, bank: torch.Tensor, k: int) -> torch.Tensor:
    parts = [torch.cdist(part, bank, compute_mode="donot_use_mm_for_euclid_dist") for part in queries.split(1000)]
    return torch.cat([part.topk(k, largest=False).values for part in parts])


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    body: dict[str, Any] = {"ratios": {}}
    for n in (5_000, 20_000):
        x = features(n, 128, 2)
        share = n // 10
        assert torch.equal(k_center_greedy(x, share), plain_coreset(x, share))
        jobs = {"sslmed": lambda x=x, m=share: k_center_greedy(x, m), "plain": lambda x=x, m=share: plain_coreset(x, m)}
        times = interleaved(jobs, rounds=5 if n < 20_000 else 3, seconds=0.01)
        body[f"coreset of a tenth of {n:,} patches, s"] = {name: summary(values) for name, values in times.items()}
        body["ratios"][f"coreset of a tenth of {n:,} patches"] = ratio_of(times, "plain")
    bank, queries = features(5_000, 192, 3), features(2_000, 192, 4)
    for k in (1, 5):
        assert torch.allclose(nearest(queries, bank, k)[0], plain_nearest(queries, bank, k), atol=1e-3)
        both = {"sslmed": lambda k=k: nearest(queries, bank, k), "plain": lambda k=k: plain_nearest(queries, bank, k)}
        times = interleaved(both, rounds=3, seconds=0.01)
        body[f"{k} nearest of 5,000, s"] = {name: summary(values) for name, values in times.items()}
        body["ratios"][f"{k} nearest of 5,000 patches for 2,000"] = ratio_of(times, "plain")
    write("anomaly", body)


if __name__ == "__main__":
    main()
