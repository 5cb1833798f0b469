"""Claim: SimCLR from files to updated weights, in small networks, is at least twice as fast as with a plain DataLoader.

The peer reads slides with openslide-python and torchvision, volumes with nibabel and MONAI, and has lightly's head and
loss. Both sides have the same files, views, sizes of networks, optimizer, and number of threads or workers. Ours reads
prepared volumes, as documented; the seconds that preparing a volume takes, once, are reported. So are the rates of
loading alone and of steps alone, each on all cores: the time of a sample is about the sum of the two.
Needs openslide-python, torchvision, lightly, timm, nibabel and MONAI.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from bench_volumes import volumes
from common import ratio_of, summary, write, written
from torch.utils.data import ConcatDataset, DataLoader, Dataset

import sslmed as sm
from sslmed.demo import slides

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "python"))
import conftest  # noqa: F401  makes torchvision importable beside a torch that it was not built for
import monai.data
import monai.transforms as mt
import openslide
import timm
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from torchvision import transforms

WORKERS = 2
METHOD = sm.methods.SimClr(hidden=256, out_dim=64)  # as sslmed.presets.small has it
COLORS = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.1, "hue": 0.05}
PICTURES = sm.Augmentation(scale=(0.2, 1.0), p_turn=0.0, p_jitter=0.8, p_grayscale=0.2, p_blur=0.5, **COLORS)


def convolutions(rank: int, channels: int, widths: tuple[int, ...] = (16, 32, 64)) -> torch.nn.Module:
    """The layers of :class:`sslmed.ConvEncoder`, in plain PyTorch."""
    convolution = (torch.nn.Conv2d, torch.nn.Conv3d)[rank - 2]
    norm = (torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)[rank - 2]
    pool = (torch.nn.AdaptiveAvgPool2d, torch.nn.AdaptiveAvgPool3d)[rank - 2]
    layers: list[torch.nn.Module] = []
    for width in widths:
        layers += [convolution(channels, width, 3, 2, 1, bias=False), norm(width), torch.nn.ReLU()]
        channels = width
    return torch.nn.Sequential(*layers, pool(1), torch.nn.Flatten())


def stepper(loss: Callable[[Any], torch.Tensor], module: torch.nn.Module) -> Callable[[Any], float]:
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-3, fused=True)
    module.train()

    def step(batch: Any) -> float:
        value = loss(batch)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return value.item()

    return step


def step_of_ours(encoder: Any) -> Callable[[Any], float]:
    objective = METHOD.objective(encoder, seed=0)
    return stepper(objective.loss, objective)


def step_of_lightly(backbone: torch.nn.Module, dim: int) -> Callable[[Any], float]:
    model = torch.nn.Sequential(backbone, SimCLRProjectionHead(dim, METHOD.hidden, METHOD.out_dim))
    criterion = NTXentLoss(METHOD.temperature)
    return stepper(lambda views: criterion(model(views[0]), model(views[1])), model)


class Tiles(Dataset[Any]):
    """Two views of a tile of a slide, as people write it: handles opened by each worker, tiles as Pillow pictures."""

    def __init__(self, paths: list[str], places: list[tuple[int, int, int]], region: int, size: int) -> None:
        self.paths, self.places, self.region, self.open = paths, places, region, {}
        how = PICTURES
        self.view = transforms.Compose(
            [
                transforms.RandomResizedCrop(size, how.scale, interpolation=transforms.InterpolationMode.BICUBIC),
                transforms.RandomHorizontalFlip(),
                transforms.RandomVerticalFlip(),
                transforms.RandomApply([transforms.ColorJitter(**COLORS)], how.p_jitter),
                transforms.RandomGrayscale(how.p_grayscale),
                transforms.RandomApply([transforms.GaussianBlur(size // 10 | 1, how.blur_sigma)], how.p_blur),
                transforms.ToTensor(),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, i: int) -> list[torch.Tensor]:
        slide, x, y = self.places[i]
        if slide not in self.open:
            self.open[slide] = openslide.OpenSlide(self.paths[slide])
        picture = self.open[slide].read_region((x, y), 0, (self.region, self.region)).convert("RGB")
        return [self.view(picture), self.view(picture)]


def volume_reader() -> Any:
    """Reads and standardizes a volume, as ``VolumePreprocessing`` does when it prepares one."""
    read = mt.LoadImage(image_only=True, reader="NibabelReader")
    return [read, mt.EnsureChannelFirst(), mt.Orientation("RAS"), mt.NormalizeIntensity(nonzero=True)]


def volume_view(size: int) -> Any:
    """The crop and the changes of ``VolumePreprocessing.contrast("simclr")`` in MONAI's transforms."""
    turn, blur = (0.175,) * 3, {f"sigma_{axis}": (0.0, 2.0) for axis in "xyz"}
    return mt.Compose(
        [
            mt.SpatialPad((size,) * 3),
            mt.RandSpatialCrop((size,) * 3, random_size=False),
            mt.RandAffine(prob=0.75, rotate_range=turn, scale_range=(0.1,) * 3, padding_mode="border"),
            mt.RandAdjustContrast(prob=0.5, gamma=(0.74, 1.35)),
            mt.RandBiasField(prob=0.3, degree=3, coeff_range=(-0.5, 0.5)),
            mt.RandGaussianNoise(prob=0.3, std=0.25),
            mt.RandGaussianSmooth(prob=0.3, **blur),
            mt.ToTensor(track_meta=False),
        ]
    )


class TwoViews(mt.RandomizableTransform):
    """Two random views of a volume, drawn anew each time, so that a cache keeps what is before them."""

    def __init__(self, view: Any) -> None:
        super().__init__()
        self.view = view

    def __call__(self, image: Any) -> list[torch.Tensor]:
        return [self.view(image), self.view(image)]


@dataclass
class Side:
    """One side of a comparison: how its loader is opened, and its step."""

    batches: Callable[[], Iterator[Any]]
    step: Callable[[Any], float]

    def endless(self) -> Iterator[Any]:
        while True:
            yield from self.batches()

    def trained(self, seconds: float) -> float:
        """Seconds a batch, from files to updated weights, with a loader that is opened anew."""
        stream = self.endless()
        for _ in range(2):
            self.step(next(stream))
        spent = per_call(lambda: self.step(next(stream)), seconds)
        stream.close()
        return spent

    def parts(self, seconds: float) -> tuple[float, float]:
        """Seconds a batch of loading alone, and of steps alone."""
        stream = self.endless()
        batch = next(stream)
        loading = per_call(lambda: next(stream), seconds)
        stream.close()
        return loading, per_call(lambda: self.step(batch), seconds / 2)


def per_call(call: Callable[[], Any], seconds: float) -> float:
    start, n = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        call()
        n += 1
    return (time.perf_counter() - start) / n


def loaded(dataset: Dataset[Any], batch: int) -> Callable[[], Iterator[Any]]:
    loader = DataLoader(dataset, batch, shuffle=True, num_workers=WORKERS, drop_last=True)
    return lambda: iter(loader)


def loaded_by_ours(cohort: sm.Cohort, how: Any, batch: int, views: list[Any]) -> Callable[[], Iterator[Any]]:
    options: dict[str, Any] = {"random": True, "threads": WORKERS, "drop_last": True, "epochs": 100_000}
    return lambda: iter(sm.Loader(cohort, how, batch_size=batch, recipe=how.recipe(views=views), **options))


def slide_cases(folder: Path) -> Iterator[tuple[str, int, Side, Side]]:
    cohort = slides.write_archive(folder, slides.PUBLIC, 12, seed=1, threads=WORKERS)
    networks = (("ConvNet, views of 224", 224, 256, 0), ("ViT-Ti of 2 blocks, views of 64", 64, 96, 2))
    for name, size, region, depth in networks:
        batch = 64 if depth else 32
        how = sm.SlidePreprocessing(mpp=slides.PUBLIC.mpp, size=size, region=region, patch=8 if depth else None)
        source = cohort.source(how, random=True)
        places = [source.describe(i) for i in range(len(source))]
        drawn = [(info.recording, int(info.place["x"]), int(info.place["y"])) for info in places]
        drawn *= -(-16 * batch // len(drawn))
        encoder: Any = sm.Encoder("vit_tiny", how, depth=depth) if depth else sm.ConvEncoder(how)
        shape = {"img_size": size, "patch_size": 8, "depth": depth, "num_classes": 0}
        backbone = timm.create_model("vit_tiny_patch16_224", **shape) if depth else convolutions(2, 3)
        ours = Side(loaded_by_ours(cohort, how, batch, [sm.View("global", 2, size, PICTURES)]), step_of_ours(encoder))
        tiles = Tiles(list(cohort.table["path"]), drawn, region, size)
        yield f"slides, {name} pixels", batch, ours, Side(loaded(tiles, batch), step_of_lightly(backbone, encoder.dim))


def volume_cases(raw: sm.Cohort, prepared: sm.Cohort) -> Iterator[tuple[str, int, Side, Side]]:
    batch, size = 4, 96
    how = sm.VolumePreprocessing(spacing=1.0, size=size, patch=None)
    views = how.contrast("simclr")
    side = views[0].size[0]
    ours = Side(loaded_by_ours(prepared, how, batch, views), step_of_ours(sm.ConvEncoder(how)))
    paths = list(raw.table["path"])
    change = mt.Compose([*volume_reader(), TwoViews(volume_view(side))])
    for name, dataset in (
        ("read each time", monai.data.Dataset(paths, change)),
        ("cached in memory", monai.data.CacheDataset(paths, change, progress=False)),
    ):
        repeated = ConcatDataset([dataset] * 8)  # an epoch is long enough for its workers to be worth their start
        peer = Side(loaded(repeated, batch), step_of_lightly(convolutions(3, 1), 64))
        yield f"volumes, ConvNet, views of {side}³, {name}", batch, ours, peer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="part of a row's name; the other rows are kept")
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(WORKERS)
    body = written("contrast_end_to_end") if arguments.only else {"ratios": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw = volumes(folder, 8)
        start = time.perf_counter()
        prepared = sm.prepare(raw, folder / "prepared", spacing=1.0)
        body["seconds to prepare one volume"] = (time.perf_counter() - start) / len(raw)
        assert prepared is not None
        for row, batch, ours, peer in itertools.chain(slide_cases(folder / "slides"), volume_cases(raw, prepared)):
            if arguments.only not in row:
                continue
            sides = {"sslmed": ours, "peer": peer}
            spent: dict[str, list[float]] = {key: [] for key in sides}
            for number in range(arguments.rounds):
                for key in sorted(sides, reverse=number % 2 == 1):
                    spent[key].append(sides[key].trained(arguments.seconds))
            found: dict[str, Any] = {key: summary([batch / t for t in times]) for key, times in spent.items()}
            for key, side in sides.items():
                loading, steps = side.parts(arguments.seconds)
                found |= {f"{key}, loading alone": batch / loading, f"{key}, steps alone": batch / steps}
            body[f"{row}, samples a second"] = found
            body["ratios"][row] = ratio_of(spent, "peer")
            print(row, body["ratios"][row], found, flush=True)
    write("contrast_end_to_end", body)


if __name__ == "__main__":
    main()
