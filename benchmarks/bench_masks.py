"""Claims, one thread: random masks at least 5 times NumPy's argsort of noise, the generator's own speed beside; multi-block masks at
least 50 times a collator in torch that draws blocks as I-JEPA's paper and published settings describe them."""

import math

import numpy as np
import torch
from common import paired, write

from sslmed import masking
from sslmed._core import C

torch.set_num_threads(1)
SEEDS = iter(range(10**12))


def collate(batch: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Multi-block masks of a 14 x 14 grid, tensor by tensor, as a data loader's collate function makes them."""
    side = 14

    def extent(low: float, high: float, flat: float, tall: float) -> tuple[int, int]:
        u = torch.rand(1, generator=generator).item()
        area, aspect = int(side * side * (low + u * (high - low))), flat + u * (tall - flat)
        return min(side - 1, round(math.sqrt(area * aspect))), min(side - 1, round(math.sqrt(area / aspect)))

    def block(size: tuple[int, int]) -> torch.Tensor:
        top, left = (int(torch.randint(0, side - n, (1,), generator=generator)) for n in size)
        mask = torch.zeros(side, side, dtype=torch.int32)
        mask[top : top + size[0], left : left + size[1]] = 1
        return mask

    target, context = extent(0.15, 0.2, 0.75, 1.5), extent(0.85, 1.0, 1.0, 1.0)
    contexts, targets = [], []
    for _ in range(batch):
        blocks = [block(target) for _ in range(4)]
        while True:
            seen = block(context)
            for b in blocks:
                seen = seen * (1 - b)
            kept = torch.nonzero(seen.flatten()).squeeze(1)
            if len(kept) > 10:
                break
        contexts.append(kept)
        targets.append(torch.stack([torch.nonzero(b.flatten()).squeeze(1) for b in blocks]))
    least = min(len(c) for c in contexts)
    return torch.stack([c[:least] for c in contexts]), torch.stack(targets)


def main() -> None:
    rng = np.random.default_rng(0)
    body: dict[str, dict] = {"ratios": {}}
    for n, ratio in ((196, 0.75), (84, 0.5), (1024, 0.75)):
        batch, keep = 256, int(n * (1 - ratio))

        def numpy(n: int = n, keep: int = keep, batch: int = batch) -> tuple[np.ndarray, np.ndarray]:
            order = np.argsort(rng.random((batch, n)), axis=1)
            return np.sort(order[:, :keep], axis=1), np.sort(order[:, keep:], axis=1)

        def numpy_unsorted(n: int = n, batch: int = batch) -> np.ndarray:
            return np.argsort(rng.random((batch, n)), axis=1)

        def ours(n: int = n, ratio: float = ratio, batch: int = batch) -> masking.Mask:
            return masking.random(n, ratio, batch, next(SEEDS))

        draws = batch * min(keep, n - keep)
        times = paired(
            {
                "sslmed": ours,
                "numpy, ascending indices": numpy,
                "numpy, argsort alone": numpy_unsorted,
                "philox words alone": lambda draws=draws: C.philox_sum(next(SEEDS), draws),
            }
        )
        body[f"{n} tokens, batch {batch}"] = times
        for peer in ("numpy, ascending indices", "numpy, argsort alone"):
            body["ratios"][f"{n} tokens, against {peer}"] = times[peer]["median"] / times["sslmed"]["median"]
        body["ratios"][f"{n} tokens, times the generator alone"] = times["sslmed"]["median"] / times["philox words alone"]["median"]
    generator = torch.Generator().manual_seed(0)
    times = paired(
        {
            "sslmed, exact": lambda: masking.multiblock((14, 14), 128, next(SEEDS)),
            "sslmed, unbiased": lambda: masking.multiblock((14, 14), 128, next(SEEDS), "unbiased"),
            "torch collator": lambda: collate(128, generator),
        }
    )
    body["multi-block, 14 x 14, batch 128"] = times
    for mode in ("exact", "unbiased"):
        body["ratios"][f"multi-block {mode}, against a torch collator"] = times["torch collator"]["median"] / times[f"sslmed, {mode}"]["median"]
    write("masks", body)


if __name__ == "__main__":
    main()
