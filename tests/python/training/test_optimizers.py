"""Optimizers of the training loop, step by step in double precision, against torch's and timm's; and runs that are resumed."""

import copy

import pytest
import torch
from cohorts import PRE, cohort
from torch import nn as tnn

import sslmed as sm
from sslmed.methods import Loss, PythonObjective

STEP = sm.methods.Step
DECAY = 0.02


class Restore(PythonObjective):
    """Predicts each patch's own values from its features."""

    def __init__(self):
        super().__init__(sm.Encoder("vit_tiny", PRE, dim=32, heads=2, depth=1, seed=1))
        torch.manual_seed(0)
        self.head = tnn.Linear(32, PRE.patch_samples)
        with torch.no_grad():
            self.head.bias.zero_()  # its norm is no number to divide by

    def loss(self, batch, step):
        view = batch.views[0]
        values = view.values.to(self.head.weight.dtype)
        coords = None if view.coords is None else view.coords.to(values.dtype)
        tokens, pooled, lengths, _ = self.encoder.forward_tokens(values, view.lengths, coords, view.extra)
        tokens = torch.cat([part[len(part) - n :] for part, n in zip(tokens.split(lengths), view.lengths, strict=True)])
        return Loss((self.head(tokens) - values).square().mean(), features=pooled)


def loader(**options):
    return sm.Loader(cohort(8, 8), PRE, batch_size=4, order="shuffle", seed=2, drop_last=True, **options)


def reference(name, decay, groups):
    if name == "sgd":
        return torch.optim.SGD(groups, lr=1.0, momentum=0.8)
    optim = pytest.importorskip("timm.optim")
    if name == "lars":
        # timm scales what decays; without decay anywhere it scales nothing, unless asked, and ours still scales matrices.
        return optim.Lars(groups, lr=1.0, momentum=0.8, trust_coeff=1e-3, eps=1e-8)
    # timm clips gradients to a norm of one by default, which is the trainer's clip_norm here.
    return optim.Lamb(groups, lr=1.0, betas=(0.9, 0.95), eps=1e-6, max_grad_norm=None)


@pytest.mark.parametrize("name", ["sgd", "lars", "lamb"])
@pytest.mark.parametrize("decay", [DECAY, 0.0])
def test_equals_the_reference_step_by_step(name, decay):
    objective = Restore()
    twin = copy.deepcopy(objective).double()
    lr = {"sgd": 0.01, "lars": 10.0, "lamb": 0.01}[name]
    rows = []
    trainer = sm.Trainer(objective, loader(), epochs=3, lr=lr, optimizer=name, momentum=0.8, weight_decay=decay, fp64=True, collapse_std=0)
    named = dict(twin.named_parameters())
    names = [(found, decays) for found, _, decays in objective._handle.parameter_groups()]
    groups = []
    for found, decays in names:
        group = {"params": [named[n] for n in found], "weight_decay": decay if decays else 0.0}
        groups.append(group | ({"always_adapt": True} if decays and name != "sgd" else {}))
    optimizer = reference(name, decay, groups)
    for batch in loader(epochs=3):
        assert trainer.fit(lambda new: rows.extend(new), until=trainer.step + 1)
        for group in optimizer.param_groups:
            group["lr"] = rows[-1]["lr"]
        optimizer.zero_grad()
        twin.loss(batch, STEP).total.backward()
        optimizer.step()
        for key, mine in objective.named_parameters():
            assert torch.allclose(mine, named[key], rtol=1e-9, atol=1e-10), key
    assert trainer.step == trainer.total_steps


@pytest.mark.parametrize("name", ["adamw", "sgd", "lars", "lamb"])
def test_a_resumed_run_has_the_same_bits(name, tmp_path):
    def trainer(folder):
        objective = Restore()
        return objective, sm.Trainer(objective, loader(), epochs=2, lr=1e-2, optimizer=name, checkpoints=folder, checkpoint_every=1, collapse_std=0)

    whole, first = trainer(tmp_path / "whole")
    assert first.fit()
    cut, second = trainer(tmp_path / "cut")
    assert second.fit(until=second.total_steps // 2)
    saved = max((tmp_path / "cut").glob("step-*.safetensors"))
    del cut, second
    rest, third = trainer(tmp_path / "cut")
    third.resume(saved)
    assert third.fit()
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), rest.parameters(), strict=True))


def test_a_checkpoint_of_another_optimizer_is_refused(tmp_path):
    objective = Restore()
    assert sm.Trainer(objective, loader(), optimizer="lars", checkpoints=tmp_path, collapse_std=0).fit()
    with pytest.raises(ValueError, match="optimizer state exp_avg"):
        sm.Trainer(objective, loader(), optimizer="lamb", checkpoints=tmp_path).resume(max(tmp_path.glob("step-*.safetensors")))
    with pytest.raises(ValueError, match="optimizer='adam' must be one of 'adamw', 'lars', 'lamb', 'sgd'"):
        sm.Trainer(objective, loader(), optimizer="adam")
    with pytest.raises(ValueError, match="momentum=1"):
        sm.Trainer(objective, loader(), optimizer="sgd", momentum=1.0)


def test_pretraining_takes_an_optimizer(tmp_path):
    run = sm.pretrain(
        cohort(8, 8), "mae", sm.Encoder("vit_tiny", PRE, dim=32, heads=2, depth=1), tmp_path, optimizer="lamb", epochs=1, batch_size=4, mask="random",
        decoder_dim=16, decoder_depth=1, decoder_heads=2, progress=False, tensorboard=False,
    )  # fmt: skip
    assert run.history["loss"].notna().all()
