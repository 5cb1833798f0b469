"""CUDA equals CPU. Skips visibly without a GPU or without the kernels."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from ramps import RampPreprocessing, ramps

import sslmed as sm
from sslmed._core import C
from sslmed.losses import masked_mse

pytestmark = pytest.mark.skipif(not (torch.cuda.is_available() and C.HAS_CUDA), reason="needs a GPU and a build with CUDA kernels")


def leaf(x, device):
    """A copy on the device, whose gradient is kept."""
    return x.detach().clone().to(device).requires_grad_()


def agree(on_cpu, on_cuda, tolerance):
    for a, b in zip(on_cpu, on_cuda, strict=True):
        a, b = a.detach().cpu().double(), b.detach().cpu().double()
        assert (a - b).norm() <= tolerance * a.norm() + 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 7, 200), (3, 50, 768), (1, 5, 4096), (4, 3, 2)])
@pytest.mark.parametrize("norm", [True, False])
def test_masked_mse(dtype, shape, norm):
    pred, target = torch.randn(shape, dtype=dtype), torch.randn(shape, dtype=dtype)
    mask = (torch.rand(shape[:2]) > 0.3).float()
    mask[0, 0] = 1
    results = []
    for device in ("cpu", "cuda"):
        p, t = leaf(pred, device), leaf(target, device)
        loss = masked_mse(p, t, mask.to(device), norm)
        loss.backward()
        results.append([x.detach().cpu().double() for x in (loss, p.grad, t.grad)])
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5}.get(dtype, 1e-2)
    for a, b in zip(*results, strict=True):
        assert (a - b).norm() <= tolerance * b.norm() + 1e-12


def test_masked_mse_refuses_an_empty_mask():
    x = torch.randn(1, 2, 8, device="cuda")
    with pytest.raises(ValueError):
        masked_mse(x, x, torch.zeros(1, 2, device="cuda"))


@pytest.mark.parametrize(("rows", "keys", "dim"), [(5, 9, 3), (130, 70, 64), (257, 1030, 33)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["keys", "keys but one's own", "each other"])
def test_info_nce(rows, keys, dim, dtype, kind):
    queries, others = torch.randn(rows, dim, dtype=dtype), torch.randn(keys, dim, dtype=dtype)
    positive, weights = torch.randint(keys, (rows,)), torch.randn(rows, dtype=dtype)
    own = (positive + 1) % keys if kind == "keys but one's own" else None
    if kind == "each other":
        positive = torch.arange(rows).roll(1)
    results = []
    for device in ("cpu", "cuda"):
        q, k = leaf(queries, device), None if kind == "each other" else leaf(others, device)
        own_there = None if own is None else own.to(device)
        losses, sums = torch.ops.sslmed.info_nce(q, k, positive.to(device), own_there, 0.3)
        (losses * weights.to(device)).sum().backward()
        results.append([losses, sums, q.grad] + ([] if k is None else [k.grad]))
    agree(*results, 1e-12 if dtype == torch.float64 else 2e-5)


@pytest.mark.parametrize(("views", "others", "rows", "classes"), [(2, 2, 3, 5), (6, 2, 7, 4097), (1, 1, 65, 300)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_soft_cross_entropy(views, others, rows, classes, dtype):
    logits = 3 * torch.randn(views, rows, classes, dtype=dtype)
    targets = torch.randn(others, rows, classes, dtype=dtype).softmax(-1)
    pairs = torch.rand(views, others, dtype=dtype)
    results = []
    for device in ("cpu", "cuda"):
        x = leaf(logits, device)
        loss, sums, mass = torch.ops.sslmed.soft_cross_entropy(x, targets.to(device), pairs.to(device), 0.1)
        loss.sum().backward()
        results.append([loss, sums, mass, x.grad])
    agree(*results, 1e-12 if dtype == torch.float64 else 2e-5)


@pytest.mark.parametrize("kind", ["vit", "cnn", "swin"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("simclr", {"hidden": 24, "out_dim": 12}),
        ("dino", {"prototypes": 48, "hidden": 24, "bottleneck": 12, "local": 2, "freeze_last": 0.0}),
    ],
)
def test_one_step_of_a_method_of_several_views(name, options, kind):
    dense = RampPreprocessing(patch=None)
    if kind == "vit":
        encoder = sm.Encoder("vit_tiny", RampPreprocessing(), depth=1, dim=24, heads=2)
    elif kind == "cnn":
        encoder = sm.ConvEncoder(dense, (8, 12))
    else:
        encoder = sm.DenseEncoder("swin_tiny", dense, embed_dim=12, depths=[1, 1, 1, 1], num_heads=[1, 2, 3, 4], window_size=4)
    results, losses = [], []
    for device in ("cpu", "cuda"):
        objective = sm.methods.get(name)(**options).objective(deepcopy(encoder), seed=1)
        loader = sm.Loader(ramps(6, 1), encoder.preprocessing, batch_size=6, seed=1, random=True)
        trainer = sm.Trainer(objective, loader, epochs=1, lr=1e-3, fp64=True, device=device)
        assert trainer.fit(lambda rows: losses.extend((row["loss"], row["grad_norm"]) for row in rows))
        results.append(objective.state_dict())
    assert len(losses) == 2
    assert losses[1] == pytest.approx(losses[0], rel=1e-9)
    assert results[0].keys() == results[1].keys()
    agree(results[0].values(), results[1].values(), 1e-7)  # Adam divides by the size of small gradients


def test_training_on_the_gpu_follows_the_cpu(tiny_site, tmp_path):
    pre = sm.EegPreprocessing(sfreq=100, window=2, patch=0.5, h_freq=45)
    runs = [
        sm.pretrain(
            tiny_site, encoder="vit_tiny", depth=2, batch_size=4, epochs=2, preprocessing=pre, out=tmp_path / d, device=d, progress=False, tensorboard=False
        )
        for d in ("cpu", "cuda")
    ]
    assert (runs[0].history["loss"] - runs[1].history["loss"]).abs().max() < 1e-2


def test_augmentation(rng):
    pictures = [rng.integers(0, 256, (60 + 7 * i, 80, 3), dtype=np.uint8).repeat(2, 0).repeat(2, 1) for i in range(12)]
    geometry = sm.Augmentation(scale=(0.1, 1.0), p_blur=0.5, p_solarize=0.3)
    assert torch.equal(sm.transforms.image.augment(pictures, geometry, 64), sm.transforms.image.augment(pictures, geometry, 64, device="cuda").cpu())
    for options in ({"brightness": 0.5}, {"contrast": 0.5}, {"saturation": 0.5}, {"hue": 0.5}, {"p_grayscale": 0.5}, {"hed": 0.1}, {"macenko": 0.4}):
        how = sm.Augmentation(**options)
        apart = (sm.transforms.image.augment(pictures, how, 64).int() - sm.transforms.image.augment(pictures, how, 64, device="cuda").cpu().int()).abs()
        assert apart.max() <= 1
        assert (apart > 0).float().mean() < 0.01


def test_spatial_transforms_of_volumes(rng):
    shape, spacing = (40, 36, 44), (1.0, 1.2, 0.9)
    options = sm.volume.SpatialOptions(p_affine=1.0, p_elastic=1.0, p_anisotropy=1.0, max_displacement=2.0, window=(30, 40, 44))
    change = sm.volume.random_spatial(shape, spacing, options, seed=int(rng.integers(1 << 30)))
    values = torch.rand(2, *shape)
    for transform in (change, change.inverse, sm.volume.flip(change.shape, spacing, (0, 2))):
        volumes = values if transform.shape == shape else change(values)
        labels = (4 * volumes).to(torch.int32)
        apart = (transform(volumes) - transform(volumes.cuda()).cpu()).abs()
        assert (apart > 1e-3).float().mean() < 1e-4  # but for places a rounding error from the volume's edge
        for how in ("nearest", "label"):
            assert (transform(labels, how) != transform(labels.cuda(), how).cpu()).float().mean() < 1e-3
