"""Values of kernels that take torch's threads: the same to the bit for any number of them."""

import numpy as np
import pytest
import torch

import sslmed as sm
from sslmed import losses, volume
from sslmed.transforms import image


@pytest.fixture
def in_threads():
    """Calls a function with one thread, two and three, and returns its lists of tensors."""
    before = torch.get_num_threads()

    def run(call):
        found = []
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            assert torch.get_num_threads() == n
            found.append(call())
        return found

    yield run
    torch.set_num_threads(before)


def same_bits(results):
    first = results[0]
    assert all(value.isfinite().all() for value in first if value.is_floating_point())
    for other in results[1:]:
        for a, b in zip(first, other, strict=True):
            assert a.shape == b.shape
            assert torch.equal(a, b)


def with_gradients(call, *leaves):
    """A function that gives a loss and its gradients."""

    def run():
        loss = call(*leaves)
        weights = torch.linspace(0.5, 1.5, loss.numel(), dtype=loss.dtype).view(loss.shape)
        return [loss.detach(), *torch.autograd.grad((loss * weights).sum(), leaves)]

    return run


def leaf(*shape, dtype=torch.float32):
    return torch.randn(*shape, dtype=torch.float32).to(dtype).requires_grad_()


DTYPES = [torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "dim"), [(700, 17), (100, 96), (12, 64), (129, 2048)])
def test_info_nce_among_queries(rng, in_threads, rows, dim, dtype):
    positive = torch.arange(rows).roll(1)
    queries = leaf(rows, dim, dtype=dtype)
    same_bits(in_threads(with_gradients(lambda q: torch.ops.sslmed.info_nce(q, None, positive, None, 0.5)[0], queries)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "keys"), [(300, 1500), (20, 5000), (1000, 7), (3, 3)])
def test_info_nce_against_keys(rng, in_threads, rows, keys, dtype):
    positive, own = torch.randint(keys, (rows,)), torch.randint(keys, (rows,))
    leaves = leaf(rows, 24, dtype=dtype), leaf(keys, 24, dtype=dtype)
    same_bits(in_threads(with_gradients(lambda q, k: torch.ops.sslmed.info_nce(q, k, positive, own, 2.0)[0], *leaves)))


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bfloat16])
@pytest.mark.parametrize(("rows", "columns"), [(5, 5000), (1, 300)])
def test_soft_cross_entropy(rng, in_threads, rows, columns, dtype):
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    targets = torch.randn(2, rows, columns, dtype=exact).softmax(-1)
    pairs = torch.tensor([[0, 1.0], [1.0, 0], [0.5, 0.5], [1.0, 2.0]], dtype=exact)
    logits = leaf(4, rows, columns, dtype=dtype)
    call = with_gradients(lambda x: torch.ops.sslmed.soft_cross_entropy(x, targets, pairs, 0.1)[0], logits)
    same_bits(in_threads(call))


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bfloat16])
@pytest.mark.parametrize("shape", [(8, 100, 64), (1, 1, 3), (3, 50, 257)])
def test_masked_mse(rng, in_threads, shape, dtype):
    mask = torch.rand(shape[:2]) < 0.6
    mask[0, 0] = True
    leaves = leaf(*shape, dtype=dtype), leaf(*shape, dtype=dtype)
    call = with_gradients(lambda pred, target: losses.masked_mse(pred, target, mask), *leaves)
    same_bits(in_threads(call))


def test_augment(rng, in_threads):
    pictures = [torch.from_numpy(rng.integers(0, 256, (90 + 7 * i, 120 - 5 * i, 3), dtype=np.uint8)) for i in range(7)]
    colors = {"hed": 0.1, "brightness": 0.4, "contrast": 0.4, "saturation": 0.3, "hue": 0.1, "p_grayscale": 0.3}
    how = sm.Augmentation(scale=(0.2, 1.0), p_blur=0.6, p_solarize=0.3, **colors)
    same_bits(in_threads(lambda: [image.augment(pictures, how, 48, seed=5)]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.int32, torch.uint8])
def test_warped_volumes(rng, in_threads, dtype):
    shape, spacing = (30, 34, 26), (1.2, 1.0, 1.7)
    values = torch.from_numpy(rng.normal(40, 10, (3, *shape))).to(dtype)
    options = volume.SpatialOptions(p_affine=1.0, p_elastic=1.0, translation=3.0, max_displacement=2.0)
    change = volume.random_spatial(shape, spacing, options, seed=int(rng.integers(1000)))
    how = "linear" if dtype == torch.float32 else "label"
    same_bits(in_threads(lambda: [change(values, how), change.inverse(values, how)]))


def test_volumes_that_lose_resolution(rng, in_threads):
    values = torch.from_numpy(rng.normal(size=(5, 20, 24, 18))).float()
    same_bits(in_threads(lambda: [torch.ops.sslmed.lose_resolution(values, axis, 2.5) for axis in range(3)]))
