"""Transforms of a 128³ float32 volume against TorchIO and MONAI, in turns, with as many threads for each.

A case is what the three do to the same volume; where a library has no such transform, its callable is None. Random
transforms get fixed parameters, so that only the work on the volume is timed. MONAI's elastic deformation smooths noise
of full size instead of a spline's control points; its low resolution resizes along all axes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import monai.transforms as mt
import numpy as np
import SimpleITK as sitk
import torch
import torchio as tio
from common import paired, write

import sslmed as sm

Call = Callable[[], Any]
SHAPE, SPACING = (128, 128, 128), (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Case:
    name: str
    sslmed: Call
    torchio: Call | None
    monai: Call | None


def smooth_volume(seed: int) -> torch.Tensor:
    """Noise of several scales above a background of zero, like a head: values from 0 to 1."""
    draw = torch.Generator().manual_seed(seed)
    total = torch.zeros(1, 1, *SHAPE)
    for side in (8, 32, 128):
        noise = torch.rand(1, 1, side, side, side, generator=draw)
        total += torch.nn.functional.interpolate(noise, size=SHAPE, mode="trilinear", align_corners=False)
    x = torch.linspace(-1, 1, 128)
    ball = (x[:, None, None] ** 2 + x[:, None] ** 2 + x**2) < 0.8
    return (total[0, 0] / total.max() * ball).contiguous()


def label_map() -> torch.Tensor:
    cell = torch.arange(128) // 16
    return ((cell[:, None, None] + 2 * cell[:, None] + 3 * cell) % 4).to(torch.int32)


def spatial_cases(values: torch.Tensor, labels: torch.Tensor) -> list[Case]:
    batch, label_batch = values[None], labels[None]
    label_image = tio.Subject(image=tio.LabelMap(tensor=label_batch))
    scales, degrees, translation = (1.08, 0.93, 1.04), (7.0, -5.0, 9.0), (2.0, -1.0, 3.0)
    turn = sm.volume.affine(SHAPE, SPACING, scales=scales, degrees=degrees, translation=translation)
    tio_turn = tio.Affine(scales=scales, degrees=degrees, translation=translation)
    radians = np.radians(degrees).tolist()
    monai_turn = mt.Affine(radians, None, translation, scales, padding_mode="zeros", image_only=True)
    displacement = np.random.default_rng(0).uniform(-7.5, 7.5, (7, 7, 7, 3)).astype(np.float32)
    for side in (0, 1, -1, -2):
        displacement[side] = displacement[:, side] = displacement[:, :, side] = 0
    bend = sm.volume.elastic(SHAPE, SPACING, displacement)
    lps = displacement[::-1, ::-1] * np.float32([-1, -1, 1])
    tio_bend = tio.ElasticDeformation(lps, max_displacement=(7.5, 7.5, 7.5))
    monai_bend = mt.Rand3DElastic((8, 8), (200, 200), prob=1.0, padding_mode="zeros")
    both = bend @ turn
    tio_both = tio.Compose([tio_turn, tio_bend])
    back = both.inverse
    crop, pad = sm.volume.crop_or_pad(SHAPE, SPACING, 96, fill=0), sm.volume.crop_or_pad(SHAPE, SPACING, 160, fill=0)
    flips = sm.volume.flip(SHAPE, SPACING, (0, 2))
    tio_flips, monai_flips = tio.Flip((0, 2)), mt.Flip((0, 2))
    shrink, grow = (sm.volume.resample(SHAPE, SPACING, to) for to in (1.5, 0.8))
    tio_thick = tio.RandomAnisotropy(axes=2, downsampling=(3, 3))
    modes = {"downsample_mode": "trilinear", "upsample_mode": "trilinear"}
    monai_thick = mt.RandSimulateLowResolution(prob=1.0, zoom_range=(1 / 3, 1 / 3), **modes)
    return [
        Case("affine", lambda: turn(values), lambda: tio_turn(batch), lambda: monai_turn(batch)),
        Case("affine, label map, nearest", lambda: turn(labels, "nearest"), lambda: tio_turn(label_image), None),
        Case("affine, label map, linear vote", lambda: turn(labels, "label"), None, None),
        Case("elastic", lambda: bend(values), lambda: tio_bend(batch), lambda: monai_bend(batch)),
        Case("affine and elastic", lambda: both(values), lambda: tio_both(batch), None),
        Case("affine and elastic, inverse", lambda: back(values), None, None),
        Case("flip", lambda: flips(values), lambda: tio_flips(batch), lambda: monai_flips(batch)),
        Case("crop", lambda: crop(values), lambda: tio.CropOrPad(96)(batch), lambda: mt.CenterSpatialCrop(96)(batch)),
        Case("pad", lambda: pad(values), lambda: tio.CropOrPad(160)(batch), lambda: mt.SpatialPad((160,) * 3)(batch)),
        Case(
            "resample 1.5 mm",
            lambda: shrink(values),
            lambda: tio.Resample(1.5)(batch),
            lambda: mt.Spacing((1.5,) * 3)(batch),
        ),
        Case(
            "resample 0.8 mm",
            lambda: grow(values),
            lambda: tio.Resample(0.8)(batch),
            lambda: mt.Spacing((0.8,) * 3)(batch),
        ),
        Case(
            "anisotropy 3",
            lambda: sm.volume.lose_resolution(values, 2, 3.0),
            lambda: tio_thick(batch),
            lambda: monai_thick(batch),
        ),
    ]


def all_cases() -> list[Case]:
    """Further families of transforms are appended here."""
    return spatial_cases(smooth_volume(1), label_map())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="threads of torch and of ITK")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", help="run the cases whose name contains this, and write no results")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(given.threads)
    body: dict[str, Any] = {"threads_each": given.threads, "ratios": {}, "ratio_ranges": {}}
    for case in all_cases():
        if given.only not in case.name:
            continue
        contestants = {"sslmed": case.sslmed, "TorchIO": case.torchio, "MONAI": case.monai}
        present = {name: call for name, call in contestants.items() if call is not None}
        times = paired(present, rounds=given.rounds, seconds=0.1)
        body[f"{case.name}, s"] = times
        ours = times["sslmed"]
        for name in ("TorchIO", "MONAI"):
            if name not in times:
                continue
            theirs = times[name]
            row = f"{case.name}, against {name}"
            body["ratios"][row] = theirs["median"] / ours["median"]
            body["ratio_ranges"][row] = [theirs["min"] / ours["max"], theirs["max"] / ours["min"]]
        if given.only:
            for name, t in times.items():
                print(f"{case.name}: {name} {1e3 * t['median']:.2f} ms ({1e3 * t['min']:.2f} to {1e3 * t['max']:.2f})")
    if not given.only:
        write("volume_transforms", body)


if __name__ == "__main__":
    main()
