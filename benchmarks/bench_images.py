"""Image files for training: our loader, and torchvision's transforms of Pillow's pictures in PyTorch's DataLoader.

Radiograph-like JPEG and PNG files of 1,024 pixels are brought to a random resized crop of 224, on as many threads (processes) as there are cores.
Pillow is tried as people use it, and with ``draft``, which decodes JPEG at a fraction as we do. The limit beside them is decoding alone. Needs
torchvision.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from common import write
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import sslmed as sm
from sslmed._core import C

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "python" / "support"))
import conftest  # noqa: F401  makes torchvision importable beside a torch that it was not built for
from torchvision import transforms

BATCH, WORKERS, FILES, SIDE, SIZE = 32, 2, 256, 1024, 224


class Files(Dataset[Any]):
    """As people write it."""

    def __init__(self, paths: list[str], draft: bool) -> None:
        self.paths, self.draft = paths, draft
        self.change = transforms.Compose(
            [
                transforms.Resize(SIZE, transforms.InterpolationMode.BICUBIC),
                transforms.RandomResizedCrop(SIZE, (0.2, 1.0), interpolation=transforms.InterpolationMode.BICUBIC),
                transforms.PILToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Any:
        image = Image.open(self.paths[i])
        if self.draft:
            image.draft("RGB", (2 * SIZE, 2 * SIZE))
        return self.change(image.convert("RGB"))


def radiograph(seed: int) -> Image.Image:
    """Bones of light on dark, with grain: what compresses as a radiograph does."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    light = 90 + 60 * np.sin(8 * x + rng.normal()) * np.cos(6 * y + rng.normal()) + 30 * np.sin(60 * y + 10 * x)
    return Image.fromarray((light + rng.normal(0, 4, (SIDE, SIDE))).clip(0, 255).astype(np.uint8))


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp())
    results: dict[str, Any] = {}
    ratios: dict[str, float] = {}
    for suffix in ("jpg", "png"):
        paths = [str(folder / f"{i}.{suffix}") for i in range(FILES)]
        for i, path in enumerate(paths):
            radiograph(i % 16).save(path)
        cohort = sm.Cohort(pd.DataFrame({"path": paths, "subject": range(FILES)}), "files")
        how = sm.Augmentation(scale=(0.2, 1.0), p_flip=0.0, p_turn=0.0)

        def ours(cohort: sm.Cohort = cohort, how: sm.Augmentation = how) -> Iterator[Any]:
            loader = sm.Loader(cohort, sm.ImagePreprocessing(size=SIZE), batch_size=BATCH, threads=WORKERS, random=True, augmentation=how, epochs=2)
            return iter(loader)

        def peer(draft: bool, paths: list[str] = paths) -> Callable[[], Iterator[Any]]:
            return lambda: iter(DataLoader(Files(paths * 2, draft), BATCH, shuffle=True, num_workers=WORKERS, multiprocessing_context="fork"))

        def decoded(cohort: sm.Cohort = cohort) -> Iterator[Any]:
            for _ in range(2 * FILES // BATCH // 4):
                yield [C.read_image(cohort.table["path"][i], torch.uint8) for i in range(BATCH)]

        runs: dict[str, Callable[[], Iterator[Any]]] = {"sslmed": ours, "torchvision": peer(False), "decoding alone, one thread": decoded}
        if suffix == "jpg":
            runs["torchvision with draft"] = peer(True)
        rates: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(3):
            for name, run in runs.items():
                batches, n = run(), 0
                next(batches)
                start = time.perf_counter()
                for _ in batches:
                    n += BATCH
                rates[name].append(n / (time.perf_counter() - start))
        results[suffix] = {f"{name}, images/s": {"median": statistics.median(r), "min": min(r), "max": max(r)} for name, r in rates.items()}
        for name in rates:
            if name != "sslmed":
                ratios[f"{suffix}: {name}"] = statistics.median(rates["sslmed"]) / statistics.median(rates[name])
    write("images", results | {"ratios": ratios})


if __name__ == "__main__":
    main()
