import pytest
import torch

from sslmed.losses import masked_mse


def reference(pred, target, mask, norm):
    if norm:
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6) ** 0.5
    loss = ((pred - target) ** 2).mean(-1)
    return (loss * mask).sum() / mask.sum()


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("shape", [(2, 7, 12), (1, 300, 200), (3, 1, 2)])
def test_equals_reference(rng, norm, shape):
    pred, target = (
        torch.randn(shape, dtype=torch.float64, requires_grad=True),
        torch.randn(shape, dtype=torch.float64, requires_grad=True),
    )
    mask = (torch.rand(shape[:2]) > 0.4).double()
    mask[0, 0] = 1
    ours, theirs = masked_mse(pred, target, mask, norm), reference(pred, target, mask, norm)
    assert torch.allclose(ours, theirs, atol=1e-12, rtol=1e-12)
    for a, b in zip(torch.autograd.grad(ours * 3, (pred, target)), torch.autograd.grad(theirs * 3, (pred, target)), strict=True):
        assert torch.allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("norm", [True, False])
def test_gradcheck(norm):
    pred, target = (
        torch.randn(2, 5, 6, dtype=torch.float64, requires_grad=True),
        torch.randn(2, 5, 6, dtype=torch.float64, requires_grad=True),
    )
    mask = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 1, 0, 1]])
    assert torch.autograd.gradcheck(lambda p, t: masked_mse(p, t, mask, norm), (pred, target))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_accumulates_in_float(dtype):
    pred, target, mask = torch.randn(4, 64, 768).to(dtype), torch.randn(4, 64, 768).to(dtype), torch.ones(4, 64)
    loss = masked_mse(pred, target, mask)
    assert loss.dtype == torch.float32
    assert torch.allclose(loss, reference(pred.float(), target.float(), mask, True), rtol=1e-4)
    pred.requires_grad_()
    masked_mse(pred, target, mask).backward()
    assert pred.grad.dtype == dtype


def test_hidden_patches_do_not_matter():
    pred, target, mask = torch.randn(1, 3, 8), torch.randn(1, 3, 8), torch.tensor([[1, 0, 1]])
    a = masked_mse(pred, target, mask)
    target[0, 1] = float("nan")
    assert torch.equal(a, masked_mse(pred, target, mask))


def test_does_not_depend_on_threads():
    pred, target, mask = torch.randn(8, 100, 64), torch.randn(8, 100, 64), torch.ones(8, 100)
    before = torch.get_num_threads()
    results = []
    for n in (1, 2):
        torch.set_num_threads(n)
        results.append(masked_mse(pred, target, mask))
    torch.set_num_threads(before)
    assert torch.equal(*results)


@pytest.mark.parametrize(
    ("pred", "target", "mask", "norm", "error"),
    [
        ((2, 3, 4), (2, 3, 5), (2, 3), True, ValueError),
        ((2, 3, 4), (2, 3, 4), (2, 4), True, ValueError),
        ((2, 3), (2, 3), (2, 3), True, ValueError),
        ((2, 3, 1), (2, 3, 1), (2, 3), True, ValueError),
        ((2, 3, 4), (2, 3, 4), None, True, ValueError),
    ],
)
def test_refusals(pred, target, mask, norm, error):
    m = torch.zeros(2, 3) if mask is None else torch.ones(mask)
    with pytest.raises(error):
        masked_mse(torch.randn(pred), torch.randn(target), m, norm)


def test_dtype_refusal():
    with pytest.raises(TypeError):
        masked_mse(torch.ones(1, 1, 4, dtype=torch.int64), torch.ones(1, 1, 4, dtype=torch.int64), torch.ones(1, 1))
    with pytest.raises(TypeError):
        masked_mse(torch.ones(1, 1, 4), torch.ones(1, 1, 4).double(), torch.ones(1, 1))


def test_second_derivative_is_refused():
    pred = torch.randn(1, 2, 4, requires_grad=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(masked_mse(pred, torch.randn(1, 2, 4), torch.ones(1, 2)), pred, create_graph=True)[0].sum().backward()


def test_one_value_without_norm():
    assert masked_mse(torch.ones(1, 1, 1), torch.zeros(1, 1, 1), torch.ones(1, 1), norm=False) == 1
