"""Stain normalisation and jitter, one thread, against OpenCV, scikit-image and NumPy: the same work on the same picture of 512 pixels, paired.

Reinhard: OpenCV's L*a*b* in float32 (``cvtColor``, ``meanStdDev``). Macenko: the published steps in NumPy. HED: scikit-image's ``rgb2hed`` and ``hed2rgb``.
The limit beside them is the time of copying the picture. ``opencv-python-headless`` and ``scikit-image`` where they are installed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from common import paired, write

import sslmed as sm

try:
    import cv2
    from skimage import color
except ImportError:
    raise SystemExit("bench_stain needs opencv-python-headless and scikit-image") from None

Picture = np.ndarray[Any, Any]
VECTORS = np.array([[0.65, 0.70, 0.29], [0.09, 0.95, 0.28]])


def tissue(side: int, seed: int) -> Picture:
    """Two stains of smoothly changing amounts, noise, a quarter of glass."""
    rng = np.random.default_rng(seed)
    amounts = cv2.resize(rng.gamma(2, 0.4, (side // 8, side // 8, 2)), (side, side), interpolation=cv2.INTER_CUBIC).clip(0)
    amounts[: side // 2, : side // 2] = 0.02
    light = 255 * np.exp(-amounts @ VECTORS) + rng.normal(0, 2, (side, side, 3))
    return light.clip(0, 255).astype(np.uint8)


def reinhard(rgb: Picture, mean: Picture, spread: Picture) -> Picture:
    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    own_mean, own_spread = (m[:, 0].astype(np.float32) for m in cv2.meanStdDev(lab))
    out = cv2.cvtColor((lab - own_mean) * (spread / own_spread) + mean, cv2.COLOR_LAB2RGB)
    return (out.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def stains(rgb: Picture) -> tuple[Picture, Picture]:
    od = -np.log(np.maximum(rgb.reshape(-1, 3), 1) / 255)
    inside = od[cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)[..., 0].ravel() < 204]
    plane = np.linalg.eigh(np.cov(inside.T))[1][:, [2, 1]]
    plane = plane * np.where(plane[0] < 0, -1, 1)
    angles = np.arctan2(*(inside @ plane).T[::-1])
    vectors = np.array([plane @ [np.cos(a), np.sin(a)] for a in np.percentile(angles, [1, 99])])
    vectors = vectors[np.argsort(-vectors[:, 0])]
    return vectors, np.linalg.lstsq(vectors.T, od.T, rcond=None)[0]


def macenko(rgb: Picture, vectors: Picture, most: Picture) -> Picture:
    _, amounts = stains(rgb)
    amounts = amounts * (most / np.percentile(amounts, 99, axis=1))[:, None]
    return (255 * np.exp(-amounts.T @ vectors)).clip(0, 255).astype(np.uint8).reshape(rgb.shape)


def hed(rgb: Picture, scale: Picture) -> Picture:
    return (color.hed2rgb(color.rgb2hed(rgb) * scale) * 255 + 0.5).astype(np.uint8)


def main() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rgb, other = tissue(512, 1), tissue(512, 2)
    picture, target = torch.from_numpy(rgb), torch.from_numpy(other)
    lab, fitted = sm.transforms.stain.reinhard_fit(target), sm.transforms.stain.macenko_fit(target)
    assert lab is not None
    assert fitted is not None
    mean, spread = np.array(lab.mean, np.float32), np.array(lab.spread, np.float32)
    vectors, amounts = stains(other)
    most, scale = np.percentile(amounts, 99, axis=1), np.array([1.05, 0.95, 1.0])
    jobs: dict[str, tuple[Callable[[], Any], str, Callable[[], Any]]] = {
        "Reinhard": (lambda: sm.transforms.stain.reinhard_normalize(picture, lab), "OpenCV, float32", lambda: reinhard(rgb, mean, spread)),
        "Macenko": (lambda: sm.transforms.stain.macenko_normalize(picture, fitted), "NumPy", lambda: macenko(rgb, vectors, most)),
        "HED": (lambda: sm.transforms.stain.hed_jitter(picture, scale.tolist(), [0, 0, 0]), "scikit-image", lambda: hed(rgb, scale)),
    }
    body: dict[str, Any] = {"ratios": {}}
    for name, (ours, whose, theirs) in jobs.items():
        times = paired({"sslmed": ours, whose: theirs, "copy": lambda: picture.clone()}, rounds=9)
        body[f"{name}, s"] = times
        body["ratios"] |= {f"{name}, against {whose}": times[whose]["median"] / times["sslmed"]["median"]}
        body["ratios"] |= {f"{name}, times copying the picture": times["sslmed"]["median"] / times["copy"]["median"]}
    for name, got, want in (
        ("Reinhard", jobs["Reinhard"][0](), jobs["Reinhard"][2]()), ("Macenko", jobs["Macenko"][0](), jobs["Macenko"][2]()),
    ):  # fmt: skip
        body[f"{name}, mean difference of bytes"] = float(np.abs(got.numpy().astype(int) - want.astype(int)).mean())
    write("stain", body)


if __name__ == "__main__":
    main()
