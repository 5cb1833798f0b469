"""Values and gradients against plain references written here, in double precision, from fresh random inputs."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from sslmed import losses


def random(*shape):
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def check(ours, theirs, inputs, tolerance=1e-10):
    assert abs(ours.item() - theirs.item()) <= tolerance * max(1, abs(theirs.item()))
    for a, b in zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(theirs, inputs), strict=True):
        assert (a - b).abs().max().item() <= tolerance


def similarity(a, b, temperature):
    z = torch.cat([normalize(a), normalize(b)])
    return z @ z.T / temperature, torch.eye(len(z), dtype=torch.bool)


def kernel(metadata, sigma):
    """Weights of pairs of the 2B rows by their metadata, none of a row with itself."""
    y = torch.cat([metadata, metadata]).double().reshape(2 * len(metadata), -1)
    weights = torch.exp(-((y[:, None] - y[None]) ** 2).sum(-1) / (2 * sigma**2))
    return weights.masked_fill(torch.eye(len(y), dtype=torch.bool), 0)


def reference_y_aware(a, b, metadata, sigma, temperature):
    logits, self = similarity(a, b, temperature)
    log_p = logits.masked_fill(self, -torch.inf).log_softmax(1).masked_fill(self, 0)
    weights = kernel(metadata, sigma)
    return -(weights / weights.sum(1, keepdim=True) * log_p).sum(1).mean()


def reference_l_exp(a, b, metadata, sigma, temperature):
    logits, self = similarity(a, b, temperature)
    weights = kernel(metadata, sigma)
    total = 0
    for i in range(len(logits)):
        others = ~self[i]
        repulsion = torch.log(torch.exp(logits[i, others] * (1 - weights[i, others])).sum())
        total = total - (weights[i, others] * (logits[i, others] - repulsion)).sum() / weights[i, others].sum()
    return total / len(logits)


@pytest.mark.parametrize("columns", [None, 1, 3])
def test_metadata_aware_losses(rng, columns):
    b = int(rng.integers(1, 20))
    x, y = random(b, 7), random(b, 7)
    metadata = 20 + 10 * torch.rand(b if columns is None else (b, columns))
    check(losses.y_aware(x, y, metadata, 5.0, 0.1), reference_y_aware(x, y, metadata, 5.0, 0.1), (x, y))
    check(losses.l_exp(x, y, metadata, 5.0, 0.1), reference_l_exp(x, y, metadata, 5.0, 0.1), (x, y))


def test_narrow_kernels_give_nt_xent_and_wide_ones_supervised_contrast(rng):
    a, b, ages = random(6, 5), random(6, 5), torch.arange(6) * 10.0
    check(losses.y_aware(a, b, ages, 1e-2, 0.2), losses.nt_xent(a, b, 0.2), (a, b))
    logits, self = similarity(a, b, 0.2)
    alike = -logits.masked_fill(self, -torch.inf).log_softmax(1)[~self].mean()
    check(losses.y_aware(a, b, ages, 1e6, 0.2), alike, (a, b), 1e-7)
    # In public code, weights are divided by sums of columns: rows do not sum to one there.
    weights = kernel(torch.tensor([20.0, 26, 32, 33]), 5.0)
    assert (weights / weights.sum(0)).sum(1).sub(1).abs().max() > 0.05


def test_info_nce_is_scaled_cross_entropy(rng):
    q, k = random(9, 6), random(9, 6)
    logits = normalize(q) @ normalize(k).T / 0.2
    reference = torch.nn.functional.cross_entropy(logits, torch.arange(9)) * 0.4
    check(losses.info_nce(q, k, 0.2), reference, (q, k))


def test_uniformity(rng):
    x = random(int(rng.integers(2, 30)), 8)
    z = normalize(x)
    others = ~torch.eye(len(x), dtype=torch.bool)
    kernels = torch.exp(5 * z @ z.T)[others].view(len(x), -1)
    check(losses.uniformity(x), kernels.mean(1).log().mean(), (x,))
    # With one sample more, the Wang-Isola form is the same up to its constant: |u - v|^2 = 2 - 2 cos.
    squared = torch.cdist(z, z)[others].view(len(x), -1) ** 2
    assert abs(losses.uniformity(x).item() - (5 + (-2.5 * squared).exp().mean(1).log().mean()).item()) < 1e-8


def reference_sinkhorn(logits, temperature, iterations):
    q = torch.exp(logits / temperature).T
    k, b = q.shape
    q = q / q.sum()
    for _ in range(iterations):
        q = q / q.sum(1, keepdim=True) / k
        q = q / q.sum(0, keepdim=True) / b
    return (q * b).T


@pytest.mark.parametrize("iterations", [1, 3, 8])
def test_sinkhorn(rng, iterations):
    logits = torch.randn(int(rng.integers(1, 20)), int(rng.integers(1, 40)), dtype=torch.float64)
    ours = losses.sinkhorn(logits, 0.3, iterations)
    assert torch.allclose(ours, reference_sinkhorn(logits, 0.3, iterations), atol=1e-12)
    assert torch.allclose(ours.sum(1), torch.ones(len(logits), dtype=torch.float64))


def test_sinkhorn_neither_overflows_nor_loses_a_sample():
    logits = torch.tensor([[300.0, 0.0, -300.0], [-900.0, -901.0, -902.0]])
    ours = losses.sinkhorn(logits, 0.04, 3)
    assert ours.isfinite().all()
    assert torch.allclose(ours.sum(1), torch.ones(2))
    assert losses.sinkhorn(logits.bfloat16(), 0.04).dtype == torch.float32
    many = losses.sinkhorn(torch.randn(64, 8), 0.5, 200)
    assert torch.allclose(many.sum(0), torch.full((8,), 8.0), atol=1e-2)


@pytest.mark.parametrize("clip", [False, True])
def test_gram(rng, clip):
    student, teacher = random(3, 6, 5), torch.randn(3, 6, 9, dtype=torch.float64)
    s, t = normalize(student, dim=-1), normalize(teacher, dim=-1)
    s, t = s @ s.transpose(1, 2), t @ t.transpose(1, 2)
    if clip:
        s = torch.where((s < 0) & (t < 0), torch.zeros_like(s), s)
        t = t.clamp(min=0)
    check(losses.gram(student, teacher, clip), ((s - t) ** 2).mean(), (student,))


@pytest.mark.parametrize(("views", "others"), [(1, 2), (2, 1), (2, 2), (5, 2), (3, 3)])
def test_dino_pairs_leave_equal_indices_out(rng, views, others):
    student, teacher = random(views, 3, 11), torch.softmax(torch.randn(others, 3, 11, dtype=torch.float64), -1)
    total, count = 0, 0
    for v in range(views):
        for g in range(others):
            if v != g:
                total = total - (teacher[g] * (student[v] / 0.1).log_softmax(-1)).sum(-1).mean()
                count += 1
    check(losses.dino_pairs(student, teacher, 0.1), total / count, (student,))


def test_ibot_weighs_patches(rng):
    student = random(7, 5)
    teacher, weights = torch.rand(7, 5, dtype=torch.float64), torch.rand(7, dtype=torch.float64)
    reference = -(weights * (teacher * (student / 0.1).log_softmax(-1)).sum(-1)).sum()
    check(losses.ibot(student, teacher, weights, 0.1), reference, (student,))


def test_koleo_of_known_points():
    x = torch.tensor([[2.0, 0], [0, 3.0], [0, 5.0]], dtype=torch.float64)
    expected = -(math.log(math.sqrt(2)) + 2 * math.log(2e-8 * 1.0)) / 3
    assert losses.koleo(x).item() == pytest.approx(expected, abs=0.5)
    assert losses.koleo(torch.eye(2, dtype=torch.float64)).item() == pytest.approx(-math.log(math.sqrt(2)), abs=1e-7)


@pytest.mark.parametrize("name", ["koleo", "uniformity", "vicreg", "barlow_twins"])
def test_a_collapsed_batch_costs_more_than_a_spread_one(rng, name):
    loss = getattr(losses, name)
    spread = torch.randn(64, 16, dtype=torch.float64)
    collapsed = torch.randn(1, 16, dtype=torch.float64) + 1e-6 * torch.randn(64, 16, dtype=torch.float64)
    views = 2 if name in ("vicreg", "barlow_twins") else 1
    assert loss(*[collapsed] * views) > loss(*[spread] * views)
    if name == "barlow_twins":  # of two collapsed views the correlations are noise, so that the diagonal is no one either
        other = collapsed[torch.randperm(64)]
        assert loss(collapsed, other) > loss(spread, spread)


def test_an_untrained_student_costs_ln_k():
    teacher, center = torch.randn(2, 3, 64), torch.zeros(64)
    assert losses.dino(torch.zeros(4, 3, 64), teacher, center, 0.1, 0.04).item() == pytest.approx(math.log(64), rel=1e-6)


@pytest.mark.parametrize("loss", [losses.y_aware, losses.l_exp])
def test_dates_are_told_apart_however_late_they_are(loss):
    a, b = (torch.randn(4, 8) for _ in range(2))
    seconds = torch.arange(4, dtype=torch.float64)
    assert torch.equal(loss(a, b, seconds + 1e9, 1.0, 0.1), loss(a, b, seconds, 1.0, 0.1))


@pytest.mark.parametrize("temperature", [math.inf, math.nan, 0.0])
def test_a_temperature_that_is_no_positive_number_is_refused(temperature):
    a = torch.randn(4, 8)
    with pytest.raises(ValueError, match=r"nt_xent: temperature=.* must be positive"):
        losses.nt_xent(a, a, temperature)
