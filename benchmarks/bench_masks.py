"""Claim: random masks at least 5 times NumPy's argsort of noise, one thread; the generator's own speed beside."""

import numpy as np
import torch
from common import paired, write

from sslmed import masking
from sslmed._core import C

torch.set_num_threads(1)
SEEDS = iter(range(10**12))


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
    write("masks", body)


if __name__ == "__main__":
    main()
