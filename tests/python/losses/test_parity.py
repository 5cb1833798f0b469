"""Values and gradients against lightly, in double precision, from fresh random inputs."""

import pytest
import torch

from sslmed import losses

pytest.importorskip("lightly")
from lightly import loss as lightly


def rows(rng, count=2):
    b, d = int(rng.integers(2, 40)), int(rng.integers(2, 50))
    return [torch.randn(b, d, dtype=torch.float64, requires_grad=True) for _ in range(count)]


def check(ours, theirs, inputs, tolerance=1e-8):
    assert abs(ours.item() - theirs.item()) <= tolerance * max(1, abs(theirs.item()))
    for a, b in zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(theirs, inputs), strict=True):
        assert (a - b).abs().max().item() <= tolerance


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent(rng, temperature):
    a, b = rows(rng)
    check(losses.nt_xent(a, b, temperature), lightly.NTXentLoss(temperature)(a, b), (a, b))


def test_byol(rng):
    # lightly's is -cos: 2 - 2 cos is two and twice that.
    p, z = rows(rng)
    check(losses.byol(p, z), 2 + 2 * lightly.NegativeCosineSimilarity()(p, z), (p, z))


def test_koleo(rng):
    # lightly leaves a row itself out by a cosine of -2, DINOv2 and we by -1: the same unless all others are opposite.
    (x,) = rows(rng, 1)
    check(losses.koleo(x), lightly.KoLeoLoss()(x), (x,))


def test_vicreg(rng):
    # As the paper's code, lightly halves the two variance terms, which the paper's text does not.
    a, b = rows(rng)
    check(losses.vicreg(a, b), lightly.VICRegLoss()(a, b), (a, b))
    theirs = lightly.VICRegLoss(lambda_param=3, mu_param=5, nu_param=2)(a, b)
    check(losses.vicreg(a, b, invariance=3, variance=5, covariance=2), theirs, (a, b))


def test_barlow_twins(rng):
    a, b = rows(rng)
    check(losses.barlow_twins(a, b), lightly.BarlowTwinsLoss()(a, b), (a, b))
    check(losses.barlow_twins(a, b, 0.3), lightly.BarlowTwinsLoss(lambda_param=0.3)(a, b), (a, b))


@pytest.mark.parametrize("views", [2, 3, 7])
def test_dino_with_a_center_that_moves_after_the_loss(rng, views):
    # lightly keeps the teacher's temperature in float32, so the test's is one that float32 holds exactly.
    b, k = int(rng.integers(1, 6)), int(rng.integers(2, 90))
    theirs = lightly.DINOLoss(output_dim=k, teacher_temp=0.0625, warmup_teacher_temp_epochs=1).double()
    center = torch.zeros(k, dtype=torch.float64)
    for _ in range(3):
        student = torch.randn(views, b, k, dtype=torch.float64, requires_grad=True)
        teacher = torch.randn(2, b, k, dtype=torch.float64)
        ours = losses.dino(student, teacher, center, 0.1, 0.0625)
        check(ours, theirs(list(teacher), list(student), teacher_temp=0.0625), (student,))
        center = 0.9 * center + 0.1 * teacher.mean((0, 1))
        assert torch.allclose(center, theirs.center.flatten(), atol=1e-12)


def test_ibot(rng):
    b, n, k = 3, 5, int(rng.integers(2, 50))
    mask = torch.rand(b, n, n) < 0.4
    mask[0, 0, 0], mask[2] = True, False  # lightly divides by all images, those without masked patches too
    m = int(mask.sum())
    student = torch.randn(m, k, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(m, k, dtype=torch.float64)
    weights = (1.0 / mask.sum((1, 2)).clamp(min=1).double() / b)[:, None, None].expand(mask.shape)[mask]
    theirs = lightly.IBOTPatchLoss(output_dim=k, teacher_temp=0.0625).double()(teacher, student, mask)
    check(losses.ibot(student, torch.softmax(teacher / 0.0625, -1), weights, 0.1), theirs, (student,))
