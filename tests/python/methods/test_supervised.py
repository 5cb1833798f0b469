"""GroupDRO and DANN against their definitions, and through finetune and transfer."""

import numpy as np
import pandas as pd
import pytest
import torch
from cohorts import PRE, batch_of, cohort
from torch import nn as tnn

import sslmed as sm
from sslmed.encoders import Encoder
from sslmed.methods import Supervised


def grouped(**extra):
    """Groups of one cohort; in group "b" the classes are hard to tell apart."""
    easy, hard = cohort(16), cohort(16, seed=2, name="h")
    x = np.concatenate([np.stack([v.numpy() for v, _, _ in easy.arrays]), np.random.default_rng(0).normal(size=(16, 3, 1200)) * 10])
    table = pd.concat([easy.table.assign(group="a"), hard.table.assign(group="b")], ignore_index=True)
    return sm.Cohort.from_arrays(x, 100, ["Fp1", "Cz", "O2"], table, name="grouped")


def test_group_weights_move_as_the_paper_has_it():
    people, step = grouped(), 0.5
    encoder = Encoder("vit_tiny", PRE, depth=1)
    task = Supervised(encoder, classes=2, groups=2, group_step=step)
    with torch.no_grad():
        task.get_parameter("head.weight").mul_(100)
    targets = {"target": (people.table["y"] == "fast").astype(float).tolist(), "group": (people.table["group"] == "b").astype(float).tolist()}
    batch = batch_of(encoder, people, n=24, **targets)
    view = batch.views[0]
    logits = task.forward_tokens(view.values, view.lengths, view.coords, view.extra)
    truth, group = batch.targets["target"][view.slots].long(), batch.targets["group"][view.slots].long()
    each = tnn.functional.cross_entropy(logits, truth, reduction="none")
    means = torch.stack([each[group == g].mean() for g in (0, 1)])
    weights = torch.softmax(step * means.detach().double(), 0)  # from 1/2 each: q exp(step loss), normalised
    got = task.train().loss(batch)
    assert torch.allclose(task.get_buffer("group_weights"), weights, atol=1e-6)
    want = (weights * means).sum().float()
    assert abs(got - want) < 1e-5
    parameters = list(task.parameters())
    ours, theirs = (torch.autograd.grad(loss, parameters, allow_unused=True) for loss in (got, want))
    for p, q in zip(ours, theirs, strict=True):
        assert p is None or (p - q).abs().max() < 1e-5
    before = task.get_buffer("group_weights").clone()
    task.eval().loss(batch)
    assert torch.equal(task.get_buffer("group_weights"), before)
    bad = batch_of(encoder, people, n=24, **(targets | {"group": [2.0] * 32}))
    with pytest.raises(ValueError, match="must number 2 groups"):
        task.loss(bad)


def test_reversed_gradients_equal_their_definition():
    people, other = cohort(12), cohort(12, seed=3, name="o")
    encoder = Encoder("vit_tiny", PRE, depth=1)
    both = people.joined(other)
    task = Supervised(encoder, classes=2, domains=2, domain_weight=0.3)
    numbers = (people.table["y"] == "fast").astype(float).tolist() + [float("nan")] * 12
    batch = batch_of(encoder, both, n=20, target=numbers, domain=[0.0] * 12 + [1.0] * 12)
    view = batch.views[0]
    loss = task.loss(batch, step=30, total=100)
    strength = 0.3 * (2 / (1 + np.exp(-10 * 0.3)) - 1)
    state = dict(task.named_parameters())
    pooled = encoder.forward_tokens(view.values, view.lengths, view.coords, view.extra).pooled
    truth, domain = batch.targets["target"][view.slots], batch.targets["domain"][view.slots].long()
    known = truth.isfinite()
    assert 0 < known.sum() < 20
    logits = tnn.functional.linear(pooled, state["head.weight"], state["head.bias"])
    task_loss = tnn.functional.cross_entropy(logits[known], truth[known].long())

    def domain_loss(x):
        hidden = tnn.functional.gelu(tnn.functional.linear(x, state["domain_hidden.weight"], state["domain_hidden.bias"]))
        return tnn.functional.cross_entropy(tnn.functional.linear(hidden, state["domain_head.weight"], state["domain_head.bias"]), domain)

    told = domain_loss(pooled)
    assert abs(loss - task_loss - told) < 1e-5
    got = torch.autograd.grad(loss, list(state.values()), allow_unused=True)
    plain = torch.autograd.grad(task_loss, list(state.values()), allow_unused=True, retain_graph=True)
    domains = torch.autograd.grad(told, list(state.values()), allow_unused=True)
    for name, g, a, b in zip(state, got, plain, domains, strict=True):
        if g is None:
            continue
        zero = torch.zeros_like(g)
        sign = 1.0 if name.startswith("domain") else -strength
        assert (g - ((zero if a is None else a) + sign * (zero if b is None else b))).abs().max() < 1e-5, name


def test_robust_and_adversarial_training_through_finetune_and_transfer():
    encoder = Encoder("vit_tiny", PRE, depth=1, seed=1)
    robust = sm.finetune(encoder, grouped(), "y", sm.FineTuning(epochs=6, lr=3e-3, batch_size=16, groups="group", group_step=0.1))
    assert robust.task.get_buffer("group_weights")[1] > 0.55  # the hard group weighs more
    options = sm.FineTuning(epochs=4, lr=3e-3, batch_size=16, dann=0.1)
    other = cohort(10, seed=5, name="other")
    result = sm.transfer(encoder, cohort(), "y", options, test=other, baselines=False, bootstrap=20)
    assert result.table["value"].iloc[0] > 0.8
    for call in (
        lambda: sm.finetune(encoder, cohort(), "y", options),
        lambda: sm.finetune(encoder, cohort(), "y", unlabeled=other),
        lambda: sm.transfer(encoder, cohort(), "y", options),
        lambda: sm.finetune(encoder, cohort(), "y", sm.FineTuning(groups="x")),
    ):
        with pytest.raises(ValueError, match=r"unlabeled|cohort to adapt to|groups="):
            call()
