"""Pieces of augmentations against Pillow and torchvision."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from slide_files import scene

from sslmed.transforms import image, stain, tissue

pytestmark = pytest.mark.oracle


@pytest.fixture
def rgb(rng):
    return torch.from_numpy(scene(97, 61, int(rng.integers(1 << 30))))


def test_resizing_is_pillows(rng):
    for _ in range(80):
        width, height, out_width, out_height = rng.integers(1, 130, 4).tolist()
        # Pillow keeps boxes in float32: whole sixty-fourths are exact there.
        x, y = rng.integers(0, 64 * (width - 1) + 1) / 64, rng.integers(0, 64 * (height - 1) + 1) / 64
        box = (x, y, *(rng.integers(64, 64 * side + 1) / 64 for side in (width - x, height - y)))
        axis = int(rng.integers(3))
        if axis == 0:  # one direction alone
            out_height, box = height, (box[0], 0.0, box[2], float(height))
        elif axis == 1:
            out_width, box = width, (0.0, box[1], float(width), box[3])
        values = rng.integers(0, 256, (height, width, int(rng.integers(1, 5))), dtype=np.uint8)
        got = image.resize(torch.from_numpy(values), out_height, out_width, box).numpy().astype(int)
        theirs = (box[0], box[1], box[0] + box[2], box[1] + box[3])
        for c in range(values.shape[2]):
            want = np.asarray(Image.fromarray(values[..., c]).resize((out_width, out_height), Image.Resampling.BICUBIC, theirs)).astype(int)
            # Byte for byte; but Pillow 13 goes down before it goes across where that is less work, and rounds to bytes and cuts off in between.
            assert np.abs(got[..., c] - want).max() <= (0 if axis < 2 else 64), (width, height, box, out_width, out_height)


def test_resizing_of_a_picture_is_pillows_within_two(rng):
    """Of pictures, whose neighbours are alike, and not of noise."""
    y, x = np.mgrid[:200, :260]
    for _ in range(20):
        phase = rng.uniform(0, 6, 3)
        smooth = np.stack([128 + 60 * np.sin(x / 9 + p) * np.cos(y / 11 - p) for p in phase], -1)
        values = (smooth + rng.normal(0, 4, smooth.shape)).clip(0, 255).round().astype(np.uint8)
        width, height = rng.integers(20, 200, 2).tolist()
        got = image.resize(torch.from_numpy(values), height, width).numpy().astype(int)
        want = np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC)).astype(int)
        assert np.abs(got - want).max() <= 2


@pytest.mark.parametrize("box", [(0, 0, 98, 10), (-1, 0, 10, 10), (0, 0, 0, 10), (90.5, 0, 7, 10), (float("nan"), 0, 5, 5)])
def test_boxes_that_leave_the_picture_are_refused(box, rgb):
    with pytest.raises(ValueError, match="not within a picture"):
        image.resize(rgb, 5, 5, box)


def torchvision_functional():
    return pytest.importorskip("torchvision.transforms.functional")


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_colours_are_torchvisions(name, rgb, rng):
    reference = getattr(torchvision_functional(), f"adjust_{name}")
    for _ in range(10):
        amount = float(rng.uniform(-0.5, 0.5) if name == "hue" else rng.uniform(0, 2))
        want = reference(rgb.permute(2, 0, 1), amount).permute(1, 2, 0)
        off = (getattr(image, name)(rgb, amount).int() - want.int()).abs()
        assert off.max() <= (2 if name == "hue" else 1)  # theirs are cut off, ours rounded
    assert torch.equal(getattr(image, name)(rgb, 0.0 if name == "hue" else 1.0), rgb)


@pytest.mark.parametrize(("side", "sigma"), [(1, 1.0), (3, 0.5), (23, 0.1), (23, 2.0), (9, 5.0), (101, 8.0), (121, 50.0)])
def test_blur_is_torchvisions(side, sigma, rgb):
    want = torchvision_functional().gaussian_blur(rgb.permute(2, 0, 1), [side, side], [sigma, sigma]).permute(1, 2, 0)
    assert (image.blur(rgb, side, sigma).int() - want.int()).abs().max() <= 1


def test_grey_and_solarise(rgb):
    reference = torchvision_functional()
    channels = rgb.permute(2, 0, 1)
    assert torch.equal(image.grayscale(rgb), reference.rgb_to_grayscale(channels, 3).permute(1, 2, 0))
    for threshold in (0, 1, 128, 255):
        assert torch.equal(image.solarize(rgb, threshold), reference.solarize(channels, threshold).permute(1, 2, 0))
    assert torch.equal(image.solarize(rgb, 256), rgb)


def test_flips_and_quarter_turns(rgb):
    assert torch.equal(image.flip(rgb), rgb.flip(1))
    assert torch.equal(image.flip(rgb, vertical=True), rgb.flip(0))
    for turns in range(-5, 6):
        assert torch.equal(image.rotate(rgb, turns), torch.rot90(rgb, turns))


def test_what_is_refused(rgb):
    for call in (
        lambda: image.brightness(rgb, -1),
        lambda: image.contrast(rgb, float("nan")),
        lambda: image.hue(rgb, 0.6),
        lambda: image.blur(rgb, 4, 1.0),
        lambda: image.blur(rgb, 3, 0.0),
        lambda: image.blur(rgb[:5], 23, 1.0),
        lambda: image.grayscale(rgb.float()),
        lambda: image.grayscale(rgb[..., :2]),
        lambda: image.resize(rgb, 0, 5),
    ):
        with pytest.raises(ValueError):
            call()


def test_arrays_are_taken_as_tensors_are(rng):
    """As PIL's are: read-only; as slices are: with gaps and backwards."""
    rgb = rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)
    frozen = rgb.copy()
    frozen.flags.writeable = False
    stains = stain.macenko_fit(frozen)
    functions = [
        image.grayscale, image.flip, lambda x: image.resize(x, 8, 9), lambda x: image.hue(x, 0.1), tissue.mask,
        lambda x: stain.macenko_normalize(x, stains), lambda x: stain.hed_jitter(x, (1, 1, 1), (0.1, 0, 0)),
        lambda x: stain.reinhard_normalize(x, stain.reinhard_fit(rgb)),
    ]  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for function in functions:
            for array in (frozen, rgb[::2, ::-1]):
                ours = function(array)
                assert isinstance(ours, torch.Tensor)
                assert torch.equal(ours, function(torch.from_numpy(array.copy())))
