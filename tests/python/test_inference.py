"""Sliding windows against MONAI's and against nnU-Net's formulas."""

import itertools
import math

import numpy as np
import pytest
import torch

import sslmed as sm
from sslmed import nn
from sslmed._core import C
from sslmed.inference import sliding_window


def network(rank, channels=2, classes=3, seed=0):
    """A small network that looks at the neighbors of each cell, so that windows differ at their edges."""
    torch.manual_seed(seed)
    kind = {1: torch.nn.Conv1d, 2: torch.nn.Conv2d, 3: torch.nn.Conv3d}[rank]
    return torch.nn.Sequential(kind(channels, 6, 3, padding=1), torch.nn.Tanh(), kind(6, classes, 3, padding=1)).eval()


CASES = [
    ((23,), (8,), 0.25),
    ((40, 33), (16, 16), 0.25),
    ((40, 33), (16, 12), 0.5),
    ((31, 20), (10, 10), 0.3),
    ((12, 40), (16, 16), 0.25),  # smaller than a window along one axis
    ((9, 7), (16, 12), 0.5),  # and along both
    ((20, 17, 25), (8, 9, 10), 0.25),
    ((20, 17, 25), (8, 8, 8), 0.0),
    ((16, 9, 30), (16, 16, 16), 0.6),
    ((10, 11), (10, 11), 0.25),  # one window
]


@pytest.mark.parametrize(("size", "roi", "overlap"), CASES)
@pytest.mark.parametrize("mode", ["gaussian", "constant"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_equals_monai(size, roi, overlap, mode, batch_size, rng):
    inferers = pytest.importorskip("monai.inferers")
    image = torch.from_numpy(rng.standard_normal((2, *size)).astype(np.float32))
    net = network(len(size))
    with torch.no_grad():
        want = inferers.sliding_window_inference(image[None], roi, batch_size, net, overlap, mode)[0]
    got = sliding_window(image, net, roi, overlap, mode, batch_size=batch_size)
    assert got.shape == want.shape
    assert got.dtype == torch.float32
    assert float((got - want).abs().max()) <= 1e-5
    assert not got.requires_grad
    classes = sliding_window(image, net, roi, overlap, mode, argmax=True)
    assert classes.dtype == torch.uint8
    # Cells whose two best classes are as near as rounding may be either.
    best = want.topk(2, 0).values
    sure = best[0] - best[1] > 1e-5
    assert sure.float().mean() > 0.99
    assert torch.equal(classes[sure].long(), want.argmax(0)[sure])


def nnunet_reference(image, net, roi, overlap):
    """nnU-Net v2's windows and Gaussian in plain PyTorch, with sums in float64."""
    ndimage = pytest.importorskip("scipy.ndimage")
    rank = len(roi)
    pads = [max(r - s, 0) for r, s in zip(roi, image.shape[1:], strict=True)]
    padded = torch.nn.functional.pad(image, [side for p in reversed(pads) for side in (p // 2, p // 2 + p % 2)])
    steps = []
    for cells, tile in zip(padded.shape[1:], roi, strict=True):
        count = math.ceil((cells - tile) / (tile * (1 - overlap))) + 1
        width = (cells - tile) / (count - 1) if count > 1 else 99999999999
        steps.append([int(np.round(width * i)) for i in range(count)])
    delta = np.zeros(roi)
    delta[tuple(r // 2 for r in roi)] = 1
    gaussian = torch.from_numpy(ndimage.gaussian_filter(delta, [r / 8 for r in roi], 0, mode="constant", cval=0))
    gaussian = (gaussian / (gaussian.max() / 10)).half()
    gaussian[gaussian == 0] = gaussian[gaussian != 0].min()
    gaussian = gaussian.double()
    total = counts = 0
    for first in itertools.product(*steps):
        place = (slice(None), *(slice(f, f + r) for f, r in zip(first, roi, strict=True)))
        out = torch.zeros(3, *padded.shape[1:], dtype=torch.float64)
        weight = torch.zeros(1, *padded.shape[1:], dtype=torch.float64)
        with torch.no_grad():
            out[place] = net(padded[place][None])[0].double() * gaussian
        weight[place] = gaussian
        total, counts = total + out, counts + weight
    return (total / counts)[(slice(None), *(slice(p // 2, p // 2 + s) for p, s in zip(pads, image.shape[1:], strict=True)))], rank


@pytest.mark.parametrize(("size", "roi", "overlap"), [case for case in CASES if case[0] != (23,)])
def test_equals_nnunets_definition(size, roi, overlap, rng):
    image = torch.from_numpy(rng.standard_normal((2, *size)).astype(np.float32))
    net = network(len(size))
    want, rank = nnunet_reference(image, net, roi, overlap)
    got = sliding_window(image, net, roi, overlap, convention="nnunet")
    assert got.dim() == rank + 1
    assert float((got - want).abs().max()) <= 1e-5


def test_windows_of_both_conventions():
    assert C.window_starts(100, 40, 0.25, "monai") == [0, 30, 60]
    assert C.window_starts(101, 40, 0.25, "monai") == [0, 30, 60, 61]
    assert C.window_starts(101, 40, 0.25, "nnunet") == [0, 20, 41, 61]
    assert C.window_starts(40, 40, 0.9, "monai") == C.window_starts(40, 40, 0.9, "nnunet") == [0]


def test_flips_are_averaged(rng):
    image = torch.from_numpy(rng.standard_normal((2, 20, 14)).astype(np.float32))
    net = network(2)

    def mirrored(windows):
        return sum(net(windows.flip(axes)).flip(axes) for axes in ((), (2,), (3,), (2, 3))) / 4

    got = sliding_window(image, net, 8, flips=(0, 1))
    assert torch.allclose(got, sliding_window(image, mirrored, 8), atol=1e-6)
    assert not torch.allclose(got, sliding_window(image, net, 8), atol=1e-3)


def test_a_segmenter_is_called_in_cpp(rng):
    image = torch.from_numpy(rng.standard_normal((1, 24, 20, 18)).astype(np.float32))
    net = nn.Segmenter(nn.create("unet", 3, 1, filters=[4, 8]), 3).eval()
    native = sliding_window(image, net, 12, overlap=0.5, flips=(1,))
    assert torch.allclose(native, sliding_window(image, lambda windows: net(windows), 12, overlap=0.5, flips=(1,)), atol=1e-6)


def test_types_and_numbers_of_classes(rng):
    image = torch.from_numpy(rng.standard_normal((2, 9, 8)))
    assert sliding_window(image, network(2).double(), 4).dtype == torch.float64
    many = sliding_window(image.float(), network(2, classes=300), 4, argmax=True)
    assert many.dtype == torch.int32
    assert sliding_window(image.bfloat16(), network(2).bfloat16(), 4).dtype == torch.float32


def test_classes_need_the_rows_of_one_window_only():
    seen = []

    def predictor(windows):
        seen.append(windows.shape[2])
        return torch.zeros(windows.shape[0], 40, *windows.shape[2:])

    out = sm.inference.sliding_window(torch.zeros(1, 512, 32), predictor, (16, 32), argmax=True)
    assert out.shape == (512, 32)
    assert set(seen) == {16}


def test_a_prediction_of_nan_has_no_class():
    def network(windows):
        out = torch.stack([windows[:, 0], -windows[:, 0]], 1)
        return torch.where(windows == 7, torch.nan, out)

    image = torch.zeros(1, 6, 6)
    image[0, 4, 4] = 7
    with pytest.raises(ValueError, match="sliding_window: the network's prediction holds NaN"):
        sliding_window(image, network, roi=3, argmax=True)
    assert int(sliding_window(image, network, roi=3).isnan().sum()) == 2  # as it is, where nothing is decided
    infinite = lambda windows: torch.stack([windows[:, 0], windows[:, 0]], 1) * torch.tensor([torch.inf, -torch.inf])[:, None, None]  # noqa: E731
    assert (sliding_window(torch.ones(1, 6, 6), infinite, roi=3, argmax=True) == 0).all()


def test_errors_of_a_predictor_come_through():
    class Broken(Exception):
        pass

    def predictor(windows):
        raise Broken("here")

    with pytest.raises(Broken, match="here"):
        sliding_window(torch.zeros(1, 8, 8), predictor, 4)


def test_wrong_input_is_refused():
    image, net = torch.zeros(1, 8, 8), lambda windows: windows
    for wrong, message in [
        ({"image": torch.zeros(3)}, r"image must be \[C, 1 to 3 spatial axes\]"),
        ({"image": torch.zeros(1, 0, 3)}, "image is empty"),
        ({"roi": (4, 4, 4)}, "roi has 3 numbers"),
        ({"roi": -1}, "roi=-1 must not be negative"),
        ({"overlap": 1.0}, r"overlap=1 must be within \[0, 1\)"),
        ({"mode": "cosine"}, "mode="),
        ({"convention": "torchio"}, "convention="),
        ({"batch_size": 0}, "batch_size=0"),
        ({"flips": (2,)}, "flips=2 must be a spatial axis from 0 to 1"),
        ({"flips": (1, 1)}, "flips has axis 1 twice"),
        ({"predictor": lambda windows: windows[..., :2]}, r"predictor must give \[1, K, \[4, 4\]\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            sliding_window(**({"image": image, "predictor": net, "roi": 4} | wrong))
    with pytest.raises(TypeError, match="image must be a tensor, got list"):
        sliding_window([1], net, 4)
    with pytest.raises(TypeError, match="must be a function or a module, got int"):
        sliding_window(image, 3, 4)
