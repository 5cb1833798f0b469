"""Intensity transforms of a 128³ volume, one thread, against TorchIO, and MONAI where it has the transform: paired.

TorchIO's transforms are given their parameters, so that nothing is drawn but noise; theirs work on a Subject, which is
made beforehand. ITK uses one thread too. ``torchio`` and ``monai`` where they are installed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from common import paired, write

from sslmed.transforms import volume_contrast as vc
from sslmed.transforms import volume_intensity as vi

try:
    import monai.transforms as mt
    import SimpleITK as sitk
    import torchio as tio
except ImportError:
    raise SystemExit("bench_volume_intensity needs torchio and monai") from None

Job = Callable[[], Any]
SIDE = 128


def smooth(seed: int) -> torch.Tensor:
    """A volume of smooth structures and noise, standardized."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 1, 16, 16, 16, generator=draw)
    values = torch.nn.functional.interpolate(coarse, size=(SIDE,) * 3, mode="trilinear")[0, 0]
    values = values + 0.1 * torch.randn(values.shape, generator=draw)
    return (values - values.mean()) / values.std()


def steps(volume: torch.Tensor) -> dict[str, tuple[Job, tio.Transform, Job | None]]:
    """Name: ours, TorchIO's, MONAI's."""
    rng = np.random.default_rng(0)
    coefficients = rng.uniform(-0.5, 0.5, 20).tolist()
    times, degrees, shifts = np.array([0.3, 0.7]), rng.uniform(-10, 10, (2, 3)), rng.uniform(-10, 10, (2, 3))
    gamma, smoothing, noise = mt.AdjustContrast(1.2), mt.GaussianSmooth(1.0), mt.RandGaussianNoise(1.0, std=0.1)
    channel = volume[None]
    return {
        "bias field": (lambda: vi.bias_field(volume, coefficients), tio.BiasField(coefficients, 3), None),
        "gamma": (lambda: vi.gamma(volume, 1.2), tio.Gamma(1.2), lambda: gamma(channel)),
        "noise": (lambda: vi.noise(volume, 0.1), tio.Noise(0.0, 0.1, 0), lambda: noise(channel)),
        "blur, 1 mm": (lambda: vi.blur(volume, 1.0), tio.Blur((1.0, 1.0, 1.0)), lambda: smoothing(channel)),
        "blur, 2 mm": (lambda: vi.blur(volume, 2.0), tio.Blur((2.0, 2.0, 2.0)), None),
        "ghosting along x": (lambda: vi.ghosting(volume, 5, 0.7, 0), tio.Ghosting(5, 0, 0.7, None), None),
        "ghosting along z": (lambda: vi.ghosting(volume, 5, 0.7, 2), tio.Ghosting(5, 2, 0.7, None), None),
        "motion": (
            lambda: vi.motion(volume, times, degrees, shifts),
            tio.Motion(degrees, shifts, times, "linear"),
            None,
        ),
    }  # fmt: skip


def chain(volume: torch.Tensor, subject: tio.Subject) -> dict[str, Job]:
    """All steps one after the other, with strengths drawn in every call."""
    everything = vi.IntensityOptions(p_gamma=1, p_motion=1, p_ghosting=1, p_blur=1, p_bias=1, p_noise=1)
    theirs = tio.Compose(
        [
            tio.RandomGamma(),
            tio.RandomMotion(),
            tio.RandomGhosting(),
            tio.RandomBlur(),
            tio.RandomBiasField(),
            tio.RandomNoise(),
        ]
    )
    index = iter(range(1 << 40))
    return {
        "sslmed": lambda: vi.random_intensity(volume, everything, index=next(index)),
        "TorchIO": lambda: theirs(subject),
    }


def contrast(subject: tio.Subject, labels: torch.Tensor) -> dict[str, Job]:
    """Nine classes, then gamma, blur and a bias field; TorchIO has no parts of classes."""
    made = tio.RandomLabelsToImage(label_key="labels")
    theirs = tio.Compose([made, tio.RandomGamma(), tio.RandomBlur((0, 1)), tio.RandomBiasField()])
    divided, index = vc.ContrastOptions(subclusters=(1, 6)), iter(range(1 << 40))
    return {
        "sslmed": lambda: vc.random_contrast(labels, index=next(index)),
        "sslmed, 1 to 6 parts a class": lambda: vc.random_contrast(labels, divided, index=next(index)),
        "TorchIO": lambda: theirs(subject),
    }


def main() -> None:
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    volume = smooth(0)
    subject = tio.Subject(image=tio.ScalarImage(tensor=volume[None]))
    body: dict[str, Any] = {"ratios": {}}

    def compare(name: str, contestants: dict[str, Job], ours: str = "sslmed") -> None:
        times = paired(contestants, rounds=9)
        body[f"{name}, s"] = times
        for other in contestants:
            if not other.startswith(ours):
                body["ratios"][f"{name}, against {other}"] = times[other]["median"] / times[ours]["median"]

    for name, (ours, theirs, monai) in steps(volume).items():
        contestants: dict[str, Job] = {"sslmed": ours, "TorchIO": partial(theirs, subject)}
        compare(name, contestants | ({"MONAI": monai} if monai else {}))
    compare("all steps", chain(volume, subject))
    labels = (volume * 2 + 4).round().clip(0, 8).int()
    maps = tio.Subject(labels=tio.LabelMap(tensor=labels[None]))
    compare("image from labels", contrast(maps, labels))
    write("volume_intensity", body)


if __name__ == "__main__":
    main()
