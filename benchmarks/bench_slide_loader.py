"""Pictures of slides for training: our loader, and what people build from openslide-python, PyTorch's DataLoader, torchvision and albumentations.

Places are drawn over the tissue, and both sides use as many threads (processes) as there are cores. The slide is on disk twenty times under other
names, so that there is more than one to open. It is small: each handle of the peer soon holds all of it decoded. So tiles are also drawn from twenty
slides of sixteen times the area, which are the same one side by side. Needs SSLMED_DATA, openslide-python, torchvision and psutil, and compares with
albumentations and wsistream (0.1.6, installed with --no-deps beside scikit-image and opencv-python-headless) where they are installed.
"""

from __future__ import annotations

import gc
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pandas as pd
import psutil
import torch
from common import data_root, write
from torch.utils.data import DataLoader, Dataset

import sslmed as sm
from sslmed._core import C

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "python"))
import conftest  # noqa: F401  makes torchvision importable beside a torch that it was not built for
from torchvision import transforms

try:
    import albumentations
    import cv2
except ImportError:
    albumentations = None

try:
    import wsistream.torch
    from wsistream.backends import OpenSlideBackend
    from wsistream.sampling import RandomSampler
    from wsistream.tissue import OtsuTissueDetector
except ImportError:
    wsistream = None

COPIES, BATCH, WORKERS = 20, 64, 2
Peers = dict[str, list[Callable[[Any], Any]] | None]  # by name, the views of each; None: wsistream
SIMCLR = sm.Augmentation(scale=(0.2, 1.0), p_turn=0.0, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, p_jitter=0.8, p_grayscale=0.2, p_blur=0.5)


def torchvision_of(size: int, area: tuple[float, float], blur: float) -> Callable[[Any], Any]:
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(size, area, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.RandomHorizontalFlip(),
            transforms.RandomVerticalFlip(),
            transforms.RandomApply([transforms.ColorJitter(0.8, 0.8, 0.8, 0.2)], 0.8),
            transforms.RandomGrayscale(0.2),
            transforms.RandomApply([transforms.GaussianBlur(size // 10 | 1, (0.1, 2.0))], blur),
            transforms.PILToTensor(),
        ]
    )


def albumentations_of(size: int, area: tuple[float, float], blur: float) -> Callable[[Any], Any]:
    if albumentations is None:
        return lambda image: image
    side, jitter = size // 10 | 1, (0.2, 1.8)
    made = albumentations.Compose(
        [
            albumentations.RandomResizedCrop((size, size), scale=area, interpolation=cv2.INTER_CUBIC),
            albumentations.HorizontalFlip(p=0.5),
            albumentations.VerticalFlip(p=0.5),
            albumentations.ColorJitter(jitter, jitter, jitter, (-0.2, 0.2), p=0.8),
            albumentations.ToGray(p=0.2),
            albumentations.GaussianBlur(blur_limit=(side, side), sigma_limit=(0.1, 2.0), p=blur),
        ]
    )
    return lambda image: torch.from_numpy(made(image=np.asarray(image))["image"])


class Slides(Dataset[Any]):
    """As people write it: handles opened by each worker, tiles as Pillow pictures."""

    def __init__(self, cohort: sm.Cohort, places: list[tuple[int, int, int]], size: int, views: list[Callable[[Any], Any]]) -> None:
        self.paths, self.places, self.size, self.views = list(cohort.table["path"]), places, size, views
        self.open: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, i: int) -> Any:
        if albumentations is not None:
            cv2.setNumThreads(1)
        slide, x, y = self.places[i]
        if slide not in self.open:
            self.open[slide] = openslide.OpenSlide(self.paths[slide])
        picture = self.open[slide].read_region((x, y), 0, (self.size, self.size)).convert("RGB")
        return [torch.from_numpy(np.array(picture))] if not self.views else [view(picture) for view in self.views]


def streamed(paths: list[str], size: int, mpp: float) -> Iterator[Any]:
    """wsistream as its documentation shows it, with all slides open and pictures left as bytes where it allows that."""
    dataset = wsistream.torch.WsiStreamDataset(
        slide_paths=paths, backend=OpenSlideBackend(), tissue_detector=OtsuTissueDetector(), pool_size=COPIES // WORKERS, patches_per_slide=1_000_000,
        cycle=True, sampler=RandomSampler(patch_size=size, num_patches=-1, target_mpp=mpp),
    )  # fmt: skip
    return iter(DataLoader(dataset, BATCH, num_workers=WORKERS, drop_last=True, multiprocessing_context="fork"))


def copies(slide: Path, folder: Path) -> sm.Cohort:
    folder.mkdir()
    paths = [shutil.copy(slide, folder / f"{i}{slide.suffix}") for i in range(COPIES)]
    listed = sm.Cohort.from_table(pd.DataFrame({"path": [str(p) for p in paths], "subject": [str(i) for i in range(COPIES)]}))
    cohort = listed.index(folder / "index.parquet")
    assert cohort is not None
    return cohort


def used() -> float:
    """MB of this process and its children, pages that they share counted once."""
    process = psutil.Process()
    return sum(p.memory_full_info().pss for p in [process, *process.children(recursive=True)]) / 1e6


def run(batches: Iterator[Any], samples: int, skip: int = 4) -> tuple[float, float]:
    """Pictures a second after the first batches, and MB near the end, while workers live."""
    for _ in range(skip):
        next(batches)
    start, n = time.perf_counter(), 0
    megabytes = 0.0
    for _ in range(samples // BATCH - skip):
        next(batches)
        n += BATCH
        if n == BATCH * (samples // BATCH - skip - 3):
            pause = time.perf_counter()
            megabytes = used()
            start += time.perf_counter() - pause
    return n / (time.perf_counter() - start), megabytes


def main() -> None:
    root = data_root()
    if root is None:
        sys.exit("SSLMED_DATA does not name a folder with the real recordings")
    warnings.simplefilter("ignore")
    folder = Path(tempfile.mkdtemp())
    real = root / "pathology/wsi/CMU-1-Small-Region.svs"
    cohort = copies(real, folder / "real")
    mpp = float(cohort.table["mpp_x"][0])
    slide = sm.io.open_slide(real)
    picture = slide.read(0, 0, 0, *slide.dimensions)
    sm.io.write_slide(folder / "large.tiff", picture.repeat(4, 4, 1), mpp, tile=240)
    large_ones = copies(folder / "large.tiff", folder / "large")
    del picture
    before, cache = used(), C.tile_cache()[1]

    def compare(cohort: sm.Cohort, name: str, size: int, views: list[sm.View] | None, peers: Peers, samples: int) -> dict[str, Any]:
        preprocessing = sm.SlidePreprocessing(mpp=mpp, size=views[0].size if views else size, region=size, patch=16)
        source = cohort.source(preprocessing, random=True)
        places = []
        for i in torch.randperm(len(source), generator=torch.Generator().manual_seed(0)).tolist():
            info = source.describe(i)
            places.append((info.recording, int(info.place["x"]), int(info.place["y"])))
        places = (places * (samples // len(places) + 1))[:samples]

        def ours() -> Iterator[Any]:
            sm.io.set_slide_cache(0)  # the peer's processes begin with nothing cached either
            sm.io.set_slide_cache(cache)
            recipe = preprocessing.recipe() if views is None else preprocessing.recipe(views=views)
            sampler = C.Sampler(source, "shuffle", BATCH, True, 0)
            loader = C.LoaderPlan(source, sampler, recipe, threads=WORKERS, end=samples // BATCH).open()
            while (batch := loader.next()) is not None:
                yield batch

        def peer(made: list[Callable[[Any], Any]] | None) -> Iterator[Any]:
            if made is None:
                return streamed(list(cohort.table["path"]), size, mpp)
            return iter(DataLoader(Slides(cohort, places, size, made), BATCH, num_workers=WORKERS, drop_last=True, multiprocessing_context="fork"))

        for module, key in ((albumentations, "albumentations"), (wsistream, "wsistream")):
            if module is None and key in peers:
                peers.pop(key)
                print(f"SKIPPED: {key} is not installed")
        rates: dict[str, list[float]] = {"sslmed": []} | {key: [] for key in peers}
        memory: dict[str, list[float]] = {key: [] for key in rates}
        for _ in range(3):
            for key in rates:
                gc.collect()
                rate, megabytes = run(ours() if key == "sslmed" else peer(peers[key]), samples)
                rates[key].append(rate)
                memory[key].append(megabytes - before)
        out: dict[str, Any] = {f"{key}, samples/s": {"median": statistics.median(r), "min": min(r), "max": max(r)} for key, r in rates.items()}
        out |= {f"{key}, MB more than before": round(statistics.median(m), 1) for key, m in memory.items()}
        ratios = {f"{name}: {key}": statistics.median(rates["sslmed"]) / statistics.median(r) for key, r in rates.items() if key != "sslmed"}
        return {"results": out, "ratios": ratios}

    plain = compare(cohort, "random 256-pixel tiles, against a DataLoader with", 256, None, {"openslide-python": [], "wsistream": None}, 4096)
    wide = compare(large_ones, "the same of slides of 105 megapixels", 256, None, {"openslide-python": []}, 4096)
    simclr = [sm.View("view", 2, 224, SIMCLR)]
    two = compare(
        cohort, "SimCLR's two views", 256, simclr,
        {"torchvision": [torchvision_of(224, (0.2, 1.0), 0.5)] * 2, "albumentations": [albumentations_of(224, (0.2, 1.0), 0.5)] * 2}, 1024,
    )  # fmt: skip
    crops = [
        sm.View("global", 2, 224, sm.Augmentation(**{**SIMCLR.__dict__, "area": (0.4, 1.0), "blur": 0.5})),
        sm.View("local", 8, 96, sm.Augmentation(**{**SIMCLR.__dict__, "area": (0.05, 0.4), "blur": 0.5})),
    ]
    multi = compare(
        cohort, "DINO's 2 + 8 crops", 256, crops,
        {"torchvision": [torchvision_of(224, (0.4, 1.0), 0.5)] * 2 + [torchvision_of(96, (0.05, 0.4), 0.5)] * 8,
         "albumentations": [albumentations_of(224, (0.4, 1.0), 0.5)] * 2 + [albumentations_of(96, (0.05, 0.4), 0.5)] * 8}, 1024,
    )  # fmt: skip

    many = pd.concat([cohort.table] * (100_000 // COPIES), ignore_index=True)
    many.attrs = {}
    many.to_parquet(folder / "many.parquet", index=False)
    start = time.perf_counter()
    large = sm.Cohort.from_table(folder / "many.parquet").source(sm.SlidePreprocessing(mpp=mpp), random=True)
    opened = time.perf_counter() - start
    small = cohort.source(sm.SlidePreprocessing(mpp=mpp), random=True)

    def draw(source: Any) -> float:
        sampler = C.Sampler(source, "shuffle", BATCH, True, 0)
        start = time.perf_counter()
        for number in range(100):
            for i in sampler.batch(number % sampler.batches_per_epoch):
                source.describe(i)
        return (time.perf_counter() - start) / 100 / BATCH * 1e6

    cost = {"µs to draw a place of 20 slides": draw(small), "µs to draw a place of 100,000 slides": draw(large)}
    write(
        "slide_loader",
        {"plain": plain["results"], "large": wide["results"], "simclr": two["results"], "dino": multi["results"]}
        | {"seconds to open 100,000 slides": round(opened, 2)}
        | {key: round(value, 2) for key, value in cost.items()}
        | {"ratios": plain["ratios"] | wide["ratios"] | two["ratios"] | multi["ratios"]},
    )
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
