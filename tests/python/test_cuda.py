"""CUDA equals CPU. Skips visibly without a GPU or without the kernels."""

import numpy as np
import pytest
import torch

import sslmed as sm
from sslmed._core import C
from sslmed.losses import masked_mse

pytestmark = pytest.mark.skipif(not (torch.cuda.is_available() and C.HAS_CUDA), reason="needs a GPU and a build with CUDA kernels")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 7, 200), (3, 50, 768), (1, 5, 4096), (4, 3, 2)])
@pytest.mark.parametrize("norm", [True, False])
def test_masked_mse(dtype, shape, norm):
    pred, target = torch.randn(shape, dtype=dtype), torch.randn(shape, dtype=dtype)
    mask = (torch.rand(shape[:2]) > 0.3).float()
    mask[0, 0] = 1
    results = []
    for device in ("cpu", "cuda"):
        p, t = pred.to(device).requires_grad_(), target.to(device).requires_grad_()
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
    for options in ({"brightness": 0.5}, {"contrast": 0.5}, {"saturation": 0.5}, {"hue": 0.5}, {"grey": 0.5}, {"hed": 0.1}, {"macenko": 0.4}):
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
