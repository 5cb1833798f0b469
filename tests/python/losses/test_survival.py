"""Cox's partial likelihood against statsmodels, the definition, and numerical gradients."""

import math

import numpy as np
import pytest
import torch

from sslmed.losses import cox


def people(n=60, seed=0, ties=True):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    time = rng.exponential(np.exp(-x[:, 0]))
    time = np.ceil(time * 4) if ties else time
    return x, time, (rng.random(n) < 0.7).astype(float)


def by_definition(risk, time, event, ties):
    total = 0.0
    for t in np.unique(time[event == 1]):
        dead = (time == t) & (event == 1)
        at_risk, own = np.exp(risk[time >= t]).sum(), np.exp(risk[dead]).sum()
        total += risk[dead].sum()
        for place in range(dead.sum()):
            total -= math.log(at_risk - (place / dead.sum() * own if ties == "efron" else 0.0))
    return -total / event.sum()


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_equals_the_definition_and_statsmodels(ties):
    phreg = pytest.importorskip("statsmodels.duration.hazard_regression").PHReg
    x, time, event = people()
    model = phreg(time, x, status=event, ties=ties)
    beta = np.array([0.7, -0.2, 0.1])
    w = torch.from_numpy(beta).requires_grad_()
    loss = cox(torch.from_numpy(x) @ w, torch.from_numpy(time), torch.from_numpy(event), ties=ties)
    assert abs(float(loss.detach()) - by_definition(x @ beta, time, event, ties)) < 1e-12
    assert abs(float(loss.detach()) * event.sum() + model.loglike(beta)) < 1e-9
    (gradient,) = torch.autograd.grad(loss, w)
    assert np.allclose(gradient.numpy() * event.sum(), -model.score(beta), rtol=0, atol=1e-9)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_a_fitted_model_has_the_coefficients_of_statsmodels(ties):
    phreg = pytest.importorskip("statsmodels.duration.hazard_regression").PHReg
    x, time, event = people(120, 1)
    w = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([w], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14, line_search_fn="strong_wolfe")

    def step():
        solver.zero_grad()
        loss = cox(torch.from_numpy(x) @ w, torch.from_numpy(time), torch.from_numpy(event), ties=ties)
        loss.backward()
        return loss

    solver.step(step)
    assert np.allclose(w.detach().numpy(), phreg(time, x, status=event, ties=ties).fit().params, rtol=0, atol=1e-6)


def test_equals_lifelines():
    fitter = pytest.importorskip("lifelines").CoxPHFitter
    import pandas as pd

    x, time, event = people(120, 2)
    found = fitter().fit(pd.DataFrame(x, columns=list("abc")).assign(t=time, e=event), "t", "e")
    risk = torch.from_numpy(x @ found.params_.to_numpy())
    assert abs(float(cox(risk, torch.from_numpy(time), torch.from_numpy(event))) * event.sum() + found.log_likelihood_) < 1e-8


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_gradients(ties):
    _, time, event = people(12)
    risk = torch.randn(12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda r: cox(r, torch.from_numpy(time), torch.from_numpy(event), ties=ties), risk)


def test_without_ties_both_are_one_and_order_does_not_matter():
    _, time, event = people(30, 3, ties=False)
    risk, t, e = torch.randn(30, generator=torch.Generator().manual_seed(1)).double(), torch.from_numpy(time), torch.from_numpy(event)
    value = cox(risk, t, e)
    assert torch.allclose(value, cox(risk, t, e, ties="breslow"), rtol=0, atol=1e-14)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(value, cox(risk[order], t[order], e[order]), rtol=0, atol=1e-12)
    assert torch.allclose(value, cox(risk + 700, t, e), rtol=0, atol=1e-10)  # exp(700) would be the end of single precision


def test_half_precision_and_nobody_with_the_event():
    _, time, event = people(30)
    risk = torch.randn(30, generator=torch.Generator().manual_seed(1)).half()
    assert cox(risk, torch.from_numpy(time), torch.from_numpy(event)).dtype == torch.float32
    risk = torch.randn(3, requires_grad=True)
    nothing = cox(risk, torch.ones(3), torch.zeros(3))
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert not risk.grad.any()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ((torch.ones(2, 2), torch.ones(2), torch.ones(2)), r"risk must be \[B\]"),
        ((torch.ones(0), torch.ones(0), torch.ones(0)), "at least one row"),
        ((torch.ones(2), torch.ones(3), torch.ones(2)), "time must have the shape of risk"),
        ((torch.ones(2), torch.ones(2), torch.ones(3)), "event must have the shape of risk"),
        ((torch.ones(2), torch.tensor([1.0, math.nan]), torch.ones(2)), "time must be finite"),
        ((torch.ones(2), torch.ones(2), torch.tensor([1.0, 2.0])), "event must be 0"),
    ],
)
def test_refuses(given, text):
    with pytest.raises(ValueError, match=text):
        cox(*given)
    with pytest.raises(TypeError, match="floating point"):
        cox(torch.ones(2, dtype=torch.long), torch.ones(2), torch.ones(2))
    with pytest.raises(ValueError, match="ties must be one of"):
        cox(torch.ones(2), torch.ones(2), torch.ones(2), ties="exact")
