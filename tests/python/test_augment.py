"""Random changes of pictures against torchvision and the pieces they are made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

import sslmed as sm
from sslmed._core import C


def test_resized_crops_are_torchvisions(rng: np.random.Generator) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    picture = torch.from_numpy(rng.integers(0, 256, (60, 90, 3), dtype=np.uint8))
    how = sm.Augmentation(area=(0.1, 0.9), aspect=(0.6, 1.5), flips=False, turns=False).options()
    seed = int(rng.integers(2**31))
    torch.manual_seed(seed)
    ours, theirs = [], []
    for i in range(1500):
        crop, (width, _, x, _, height, y) = C.augment(picture, how, 16, seed, i)
        ours.append((x, y, 16 * width, 16 * height))
        top, left, h, w = transforms.RandomResizedCrop.get_params(picture.permute(2, 0, 1), (0.1, 0.9), (0.6, 1.5))
        theirs.append((left, top, w, h))
        if i < 5:
            assert torch.equal(crop, sm.image.resize(picture, 16, 16, ours[-1]))
    for a, b in zip(np.array(ours).T, np.array(theirs).T, strict=True):
        assert stats.ks_2samp(a, b).pvalue > 1e-5


def test_augmentations_are_made_of_the_pieces(rng: np.random.Generator) -> None:
    picture = torch.from_numpy(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))

    def one(**options: object) -> torch.Tensor:
        return C.augment(picture, sm.Augmentation(flips=False, turns=False, **options).options(), 32, 1, int(rng.integers(2**31)))[0]  # type: ignore[arg-type]

    assert torch.equal(one(), picture)
    assert torch.equal(one(grey=1.0), sm.image.grey(picture))
    assert torch.equal(one(solarise=1.0), sm.image.solarise(picture))
    assert torch.equal(one(brightness=0.5, jitter=0.0), picture)
    assert torch.equal(one(macenko=0.4), picture) == (sm.stain.macenko_fit(picture) is None)
    assert torch.equal(one(blur=1.0, blur_sigma=(0.7, 0.7)), sm.image.blur(picture, 3, 0.7))
    turned = C.augment(picture, sm.Augmentation(flips=False, turns=True).options(), 32, 1, 7)[0]
    assert any(torch.equal(turned, sm.image.rotate(picture, k)) for k in range(4))
    with pytest.raises(ValueError, match="hue"):
        sm.Augmentation(hue=0.6).options()
    with pytest.raises(ValueError, match="no part of 64 x 64"):
        C.augment(picture, sm.Augmentation().options(), 64, 0, 0)
