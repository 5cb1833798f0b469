"""Random changes of pictures against torchvision and the pieces they are made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy import stats

import sslmed as sm
from sslmed._core import C


def test_resized_crops_are_torchvisions(rng: np.random.Generator) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    picture = torch.from_numpy(rng.integers(0, 256, (60, 90, 3), dtype=np.uint8))
    how = sm.Augmentation(scale=(0.1, 0.9), ratio=(0.6, 1.5), p_flip=0.0, p_turn=0.0).options()
    seed = int(rng.integers(2**31))
    torch.manual_seed(seed)
    ours, theirs = [], []
    for i in range(1500):
        crop, (width, _, x, _, height, y) = C.augment(picture, how, 16, seed, i)
        ours.append((x, y, 16 * width, 16 * height))
        top, left, h, w = transforms.RandomResizedCrop.get_params(picture.permute(2, 0, 1), (0.1, 0.9), (0.6, 1.5))
        theirs.append((left, top, w, h))
        if i < 5:
            assert torch.equal(crop, sm.transforms.image.resize(picture, 16, 16, ours[-1]))
    for a, b in zip(np.array(ours).T, np.array(theirs).T, strict=True):
        assert stats.ks_2samp(a, b).pvalue > 1e-5


def test_augmentations_are_made_of_the_pieces(rng: np.random.Generator) -> None:
    picture = torch.from_numpy(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))

    def one(**options: object) -> torch.Tensor:
        return C.augment(picture, sm.Augmentation(p_flip=0.0, p_turn=0.0, **options).options(), 32, 1, int(rng.integers(2**31)))[0]  # type: ignore[arg-type]

    assert torch.equal(one(), picture)
    assert torch.equal(one(p_grayscale=1.0), sm.transforms.image.grayscale(picture))
    assert torch.equal(one(p_solarize=1.0), sm.transforms.image.solarize(picture))
    assert torch.equal(one(brightness=0.5, p_jitter=0.0), picture)
    assert torch.equal(one(macenko=0.4), picture) == (sm.transforms.stain.macenko_fit(picture) is None)
    assert torch.equal(one(p_blur=1.0, blur_sigma=(0.7, 0.7)), sm.transforms.image.blur(picture, 3, 0.7))
    turned = C.augment(picture, sm.Augmentation(p_flip=0.0, p_turn=0.75).options(), 32, 1, 7)[0]
    assert any(torch.equal(turned, sm.transforms.image.rotate(picture, k)) for k in range(4))
    with pytest.raises(ValueError, match="hue"):
        sm.Augmentation(hue=0.6).options()
    with pytest.raises(ValueError, match="no part of 64 x 64"):
        C.augment(picture, sm.Augmentation().options(), 64, 0, 0)


ALL = {
    "scale": (0.3, 1.0), "macenko": 0.3, "hed": 0.05, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1, "p_jitter": 0.8, "p_grayscale": 0.2,
    "p_blur": 0.5, "p_solarize": 0.2,
}  # fmt: skip


def test_pictures_made_on_the_device_are_those_of_the_loader(rng: np.random.Generator, tmp_path: Path) -> None:
    paths = []
    for i in range(6):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(rng.integers(0, 256, (40 + 3 * i, 60, 3), dtype=np.uint8)).save(paths[-1])
    cohort = sm.Cohort(pd.DataFrame({"subject": [f"s{i}" for i in range(6)], "path": paths}), name="made")
    pre = sm.ImagePreprocessing(size=32, patch=8)

    def batches(on_device: bool, threads: int) -> list[object]:
        views = [
            sm.View("large", 2, 32, sm.Augmentation(**ALL, on_device=on_device)),  # type: ignore[arg-type]
            sm.View("small", 3, 16, sm.Augmentation(scale=(0.05, 0.3))),
        ]
        return list(sm.Loader(cohort, pre, batch_size=3, recipe=pre.recipe(views=views), threads=threads, seed=4))

    for a, b in zip(batches(False, 1), batches(True, 3), strict=True):
        for x, y in zip(a.views, b.views, strict=True):  # type: ignore[attr-defined]
            assert (x.role, x.lengths, x.slots) == (y.role, y.lengths, y.slots)
            for name in ("values", "coords", "grid"):
                torch.testing.assert_close(getattr(x, name), getattr(y, name), rtol=0, atol=0, equal_nan=True)
    with pytest.raises(ValueError, match="on_device must be the same for all views"):
        pre.recipe(views=[sm.View("a", 1, 32, sm.Augmentation(on_device=True)), sm.View("a", 1, 32)])


def test_a_run_learns_the_same_from_pictures_made_on_the_device(rng: np.random.Generator, tmp_path: Path) -> None:
    paths = []
    for i in range(8):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(rng.integers(0, 256, (40, 44, 3), dtype=np.uint8)).save(paths[-1])
    cohort = sm.Cohort(pd.DataFrame({"subject": [f"s{i}" for i in range(8)], "path": paths}), name="made")

    def pretrained(name: str, *, on_device: bool, resume: bool = False) -> sm.Run:
        return sm.pretrain(
            cohort, encoder="vit_tiny", depth=1, batch_size=4, epochs=3, preprocessing=sm.ImagePreprocessing(size=32, patch=8), out=tmp_path / name,
            augmentation=sm.Augmentation(**ALL, on_device=on_device), resume=resume, checkpoint_every=2, progress=False, tensorboard=False,  # type: ignore[arg-type]
        )  # fmt: skip

    losses = [pretrained(f"run{on_device}", on_device=on_device).history["loss"].to_list() for on_device in (False, True)]
    assert losses[0] == losses[1]
    # Where pictures are made is no part of what a run is.
    last = max((tmp_path / "runTrue" / "checkpoints").iterdir())
    last.unlink()
    assert pretrained("runTrue", on_device=False, resume=True).history["loss"].to_list() == losses[0]


def test_augmented_pictures_to_look_at(rng: np.random.Generator) -> None:
    pictures = [rng.integers(0, 256, (40, 50 + i, 3), dtype=np.uint8) for i in range(3)]
    how = sm.Augmentation(**ALL)  # type: ignore[arg-type]
    out = sm.transforms.image.augment(pictures, how, 24, seed=3)
    assert out.shape == (3, 24, 24, 3)
    assert out.dtype == torch.uint8
    for i, picture in enumerate(pictures):
        assert torch.equal(out[i], C.augment(torch.from_numpy(picture), how.options(), 24, 3, i)[0])
        assert torch.equal(out[i], sm.transforms.image.augment([picture], how, 24, seed=3, first=i)[0])
    assert sm.transforms.image.augment([], how, 24).shape == (0, 24, 24, 3)
    with pytest.raises(ValueError, match="no part of 24 x 24"):
        sm.transforms.image.augment([pictures[0][:20]], sm.Augmentation(), 24)
    with pytest.raises(ValueError, match="a list of pictures"):
        sm.transforms.image.augment(pictures[0], how, 24)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"augmentation=\{'hue': 0\.1\} must be an sslmed\.Augmentation"):
        sm.ImagePreprocessing().recipe(augmentation={"hue": 0.1})  # type: ignore[arg-type]
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="device='cuda' is not available"):
            sm.transforms.image.augment(pictures, how, 24, device="cuda")
