"""Images of random contrast from label maps."""

import doctest

import numpy as np
import pytest
import torch

from sslmed.transforms import volume_contrast
from sslmed.transforms.volume_contrast import ContrastOptions, random_contrast
from sslmed.transforms.volume_intensity import IntensityOptions


def blocks(rng, shape=(40, 40, 40), labels=(0, 2, 3, 17, 1001)):
    coarse = rng.choice(np.array(labels, dtype=np.int32), [side // 4 for side in shape])
    return torch.from_numpy(coarse.repeat(4, 0).repeat(4, 1).repeat(4, 2))


RAW = IntensityOptions()


def test_contrast_is_of_each_class(rng):
    labels = blocks(rng)
    options = ContrastOptions(std=(0, 0), background="class", classes={1001: 3})
    image = random_contrast(labels, options, then=RAW, seed=int(rng.integers(1 << 30)))
    levels = {int(label): image[labels == label].unique() for label in labels.unique()}
    assert all(len(values) == 1 for values in levels.values())
    assert levels[3] == levels[1001]
    assert len({values.item() for values in levels.values()}) == 4
    assert (image.min(), image.max()) == (0, 1)


def test_contrast_of_a_crop_is_that_of_the_whole(rng):
    labels = torch.zeros(16, 16, 16, dtype=torch.int64)
    labels[4:] = 5
    labels[8:] = 7
    options = ContrastOptions(std=(0, 0), background="zero")
    whole = random_contrast(labels, options, then=RAW, seed=9)
    part = random_contrast(labels[2:9], options, then=RAW, seed=9)
    assert torch.equal(part, whole[2:9])


def test_contrast_has_the_spread_that_is_asked_for(rng):
    labels = torch.zeros(2, 100, 100, dtype=torch.uint8)
    labels[1] = 1
    # Means of 0 and 255·k with spreads of a tenth: after scaling to [0, 1] the ratio of spread and distance stays.
    image = random_contrast(
        labels,
        ContrastOptions(mean=(200, 200), std=(10, 10), background="zero"),
        then=RAW,
        seed=int(rng.integers(1 << 30)),
    )
    assert image[0].unique().tolist() == [0]
    assert abs(image[1].std() / image[1].mean() - 0.05) < 0.003


def test_background_is_zero_dark_or_a_class():
    labels = torch.zeros(6, 6, 6, dtype=torch.int32)
    labels[3:] = 1
    kinds = ("mixed", "zero", "class")
    options = {kind: ContrastOptions(mean=(100, 100), std=(0, 0), background=kind) for kind in kinds}
    assert random_contrast(labels, options["class"], then=RAW).max() == 0  # everything alike
    assert random_contrast(labels, options["zero"], then=RAW).sum() == 108
    images = [random_contrast(labels, options["mixed"], then=RAW, seed=2, index=i) for i in range(600)]
    alike = sum(image.max() == 0 for image in images)
    zero = sum(bool(image.max() > 0 and (image[:3] == 0).all()) for image in images)
    assert abs(alike / 600 - 0.7) < 0.1
    assert abs(zero / 600 - 0.05) < 0.05
    assert alike + zero < 600


def test_subclusters_divide_a_class_smoothly():
    labels = torch.ones(64, 64, 64, dtype=torch.int32)
    options = ContrastOptions(std=(0, 0), subclusters=(4, 4), subcluster_scale=10)
    image = random_contrast(labels, options, then=RAW, seed=4)
    values, counts = image.unique(return_counts=True)
    assert len(values) == 4
    assert counts.min() > 0.1 * labels.numel()  # nearly equal shares
    # Neighbors are mostly of one part.
    assert (image[1:] == image[:-1]).double().mean() > 0.8
    small, options = labels[::4, ::4, ::4], ContrastOptions(std=(0, 0), subclusters=(1, 6))
    images = [random_contrast(small, options, then=RAW, spacing=(20, 20, 20), index=i) for i in range(40)]
    numbers = {len(image.unique()) for image in images}
    assert numbers == {1, 2, 3, 4, 5, 6}


def test_random_contrast_is_reproducible_and_whole(rng):
    labels = blocks(rng)
    one = random_contrast(labels, ContrastOptions(subclusters=(1, 6)), seed=3, index=8)
    small = labels.numpy().astype(np.int16)
    assert torch.equal(one, random_contrast(small, ContrastOptions(subclusters=(1, 6)), seed=3, index=8))
    assert not torch.equal(one, random_contrast(labels, ContrastOptions(subclusters=(1, 6)), seed=3, index=9))
    assert one.isfinite().all()
    assert (one.min(), one.max()) == (0, 1)


VOLUME = torch.zeros(4, 5, 6)
LABELS = torch.zeros(4, 5, 6, dtype=torch.int32)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: ContrastOptions(mean=(-1, 5)).options(), r"mean=\(-1, 5\)"),
        (lambda: ContrastOptions(subclusters=(0, 5)).options(), r"subclusters=\(0, 5\)"),
        (lambda: ContrastOptions(background="black").options(), "background must be one of"),
        (lambda: random_contrast(VOLUME), "labels: expected .* whole numbers"),
        (lambda: random_contrast(LABELS[0]), "labels: expected"),
        (lambda: random_contrast(torch.tensor([[[0, 1 << 40]]])), "fit int32"),
        (lambda: random_contrast(torch.tensor([[[0, 1 << 21]]])), "at most 1,048,576"),
        (lambda: random_contrast(LABELS.to(torch.uint32)), "labels: expected .* whole numbers .* found"),
    ],
)
def test_what_is_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_examples():
    found = doctest.testmod(volume_contrast)
    assert found.attempted > 6
    assert found.failed == 0
