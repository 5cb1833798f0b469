"""Objectives and encoders written in Python, in the C++ loop: against the same in plain PyTorch, and what goes wrong."""

import copy
import gc
import re
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from cohorts import PRE, cohort
from torch import nn as tnn

import sslmed as sm
from sslmed.encoders import Encoder, PythonEncoder
from sslmed.methods import Loss, PythonObjective

QUIET = {"progress": False, "tensorboard": False}


class Restore(PythonObjective):
    """Predicts each patch's own values from its features: anything that exercises encoder, head, mask and buffers will do."""

    def __init__(self, encoder, **mask):
        super().__init__(encoder, **mask)
        torch.manual_seed(0)
        self.head = tnn.Linear(encoder.dim, encoder.preprocessing.patch_samples)
        self.register_buffer("seen", torch.zeros((), dtype=torch.float64))
        self.modes, self.after = [], []

    def loss(self, batch, step):
        view = batch.views[0]
        self.modes.append(self.training)
        tokens, pooled, lengths, _ = self.encoder.forward_tokens(view.values, view.lengths, view.coords, view.extra)
        tokens = torch.cat([part[len(part) - n :] for part, n in zip(tokens.split(lengths), view.lengths, strict=True)])
        self.seen += len(view.lengths)
        error = (self.head(tokens) - view.values.to(tokens.dtype)).square().mean()
        return Loss(error, features=pooled, parts={"error": error})

    def after_step(self, step):
        self.after.append(step.number)


class Conv(PythonEncoder):
    """One token a channel's step: a convolution along the patch."""

    def __init__(self, preprocessing=PRE):
        super().__init__(16, preprocessing)
        self.conv = tnn.Conv1d(1, 16, 9, padding=4)
        self.norm = tnn.LayerNorm(16)

    def encode_tokens(self, values, lengths, coords, extra):
        return self.norm(self.conv(values.unsqueeze(1)).relu().mean(2))


def ours(seed=1, **options):
    return Encoder("vit_tiny", PRE, dim=32, heads=2, depth=1, seed=seed, **options)


def loader(**options):
    return sm.Loader(cohort(8, 8), PRE, **({"batch_size": 4, "order": "shuffle", "seed": 2, "drop_last": True} | options))


@pytest.mark.parametrize("make", [ours, Conv])
def test_trains_as_plain_pytorch_does(make):
    torch.manual_seed(4)
    objective = Restore(make())
    twin = copy.deepcopy(objective)
    rows = []
    trainer = sm.Trainer(objective, loader(), epochs=2, lr=1e-3, weight_decay=0.05, clip_norm=0.5, fp64=True, ema_decay=0.5)
    assert trainer.fit(lambda new: rows.extend(new))
    assert objective.modes == [True] * trainer.total_steps
    assert objective.after == list(range(trainer.total_steps))
    assert [row["error"] for row in rows] == [row["loss"] for row in rows]

    twin.double()
    average = {k: v.clone() for k, v in twin.encoder.named_parameters()}
    matrices = [p for p in twin.parameters() if p.dim() > 1 and p.numel() != p.shape[-1]]
    vectors = [p for p in twin.parameters() if not any(p is m for m in matrices)]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}], betas=(0.9, 0.95))
    step = sm.methods.Step
    for row, batch in zip(rows, loader(epochs=2), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = row["lr"]
        optimizer.zero_grad()
        loss = twin.loss(Doubled(batch), step).total
        loss.backward()
        norm = tnn.utils.clip_grad_norm_(twin.parameters(), 0.5)
        optimizer.step()
        assert row["loss"] == pytest.approx(loss.item(), rel=1e-10)
        assert row["grad_norm"] == pytest.approx(norm.item(), rel=1e-9)
        for k, v in twin.encoder.named_parameters():
            average[k].lerp_(v.detach(), 0.5)
    for (name, mine), theirs in zip(objective.named_parameters(), twin.parameters(), strict=True):
        assert torch.allclose(mine, theirs, rtol=0, atol=1e-10), name
    assert objective.seen == twin.seen == 4 * len(rows)
    kept = trainer.encoder_weights()
    assert all(torch.allclose(kept[k], v, rtol=0, atol=1e-10) for k, v in average.items())


class Doubled:
    """A loader's batch with its numbers in double precision, as the trainer hands it on with fp64."""

    def __init__(self, batch):
        view = batch.views[0]
        double = lambda t: t.double() if t is not None and t.is_floating_point() else t  # noqa: E731
        self.views = [type("View", (), {k: double(getattr(view, k)) for k in ("values", "coords", "extra")} | {"lengths": view.lengths})]


@pytest.mark.parametrize("make", [ours, Conv])
def test_stopping_and_resuming_gives_the_same_bits(make, tmp_path):
    def run(folder, stop_after=None):
        torch.manual_seed(4)
        objective = Restore(make(), mask="random")
        trainer = sm.Trainer(objective, loader(), epochs=4, checkpoints=tmp_path / folder, checkpoint_every=1, keep_last=20)
        if stop_after is not None:
            trainer.resume(sorted((tmp_path / "whole").glob("step-*"))[stop_after])
        assert trainer.fit()
        return objective.state_dict()

    whole, resumed = run("whole"), run("rest", 3)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


@dataclass(frozen=True)
class RestoreMethod:
    """Options of Restore, as pretrain() wants a method."""

    name: ClassVar[str] = "restore"
    class_token: ClassVar[bool] = True
    weight_decay: ClassVar[tuple[float, float]] = (0.05, 0.05)
    ratio: float = 0.5

    def objective(self, encoder, seed):
        return Restore(encoder, mask="random", ratio=self.ratio)


def test_pretrain_and_transfer_with_an_encoder_in_python(tmp_path):
    torch.manual_seed(0)
    people = cohort()
    run = sm.pretrain(people, RestoreMethod(), Conv(), tmp_path / "run", epochs=3, batch_size=8, **QUIET)
    fresh = Conv()
    fresh.load_weights(tmp_path / "run" / "encoder.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), run.encoder.parameters(), strict=True))
    features, recording = sm.encode(run.encoder, people)
    assert features.shape == (len(recording), 16)
    source = people.source(PRE)
    rows = torch.stack([source.sample(i)[0] for i in range(3)]).reshape(3 * 3 * 4, -1)
    with torch.no_grad():
        plain = run.encoder.forward_tokens(rows, [12] * 3).pooled
    assert torch.allclose(features[:3], plain, atol=1e-6)
    # Two rhythms are easy; what counts is that every protocol goes through.
    table = sm.transfer(run.encoder, people, "y", baselines=("dummy", "random encoder"), bootstrap=50).table
    assert sm.transfer(run.encoder, people, "y", sm.FineTuning(epochs=1), cv=2, baselines=False, bootstrap=20).protocol == "encoder"
    assert table.set_index(["row", "metric"])["value"]["pretrained encoder", "balanced_accuracy"] > 0.8
    task = sm.finetune(run.encoder, people, "y", sm.FineTuning(epochs=10, drop_path=0.0, readout="attentive", lr=3e-3))
    answers = task.predict_proba(cohort(10, seed=9, name="other"))
    assert (answers[:, 0] > 0.5).tolist() == (cohort(10, seed=9).table["y"] == "fast").tolist()
    with pytest.raises(TypeError, match="encoder is a Conv"):
        task.save(tmp_path / "task.safetensors")


def test_what_does_not_fit_is_refused(tmp_path):
    people, encoder = cohort(4, 6), Conv()
    with pytest.raises(TypeError, match=r"method='mae' needs an sslmed.Encoder.*Conv"):
        sm.pretrain(people, "mae", encoder, tmp_path / "a", **QUIET)
    with pytest.raises(ValueError, match="needs an encoder with residual branches"):
        sm.finetune(encoder, people, "y", sm.FineTuning(drop_path=0.1))
    with pytest.raises(TypeError, match="no adapters"):
        sm.finetune(encoder, people, "y", "lora")
    encoder.save(tmp_path / "c.safetensors")
    with pytest.raises(sm.FormatError, match=r"c\.safetensors: expected preprocessing"):
        Conv(sm.EegPreprocessing(sfreq=100, window=2, patch=0.25, h_freq=45)).load_weights(tmp_path / "c.safetensors")
    with pytest.raises(sm.FormatError, match=r"c\.safetensors"):
        Encoder.load(tmp_path / "c.safetensors")

    with pytest.raises(TypeError, match="encode_tokens"):
        type("Nothing", (PythonEncoder,), {})(16)
    with pytest.raises(TypeError, match="loss"):
        PythonObjective(encoder)

    class Bare(Conv):
        def __init__(self):
            super().__init__()
            self.scale = tnn.Parameter(torch.ones(16))

    with pytest.raises(TypeError, match=r"override randomized"):
        Bare().randomized()


@pytest.mark.parametrize(
    ("answer", "error", "match"),
    [
        (lambda loss: None, TypeError, "must return a tensor or a Loss, got NoneType"),
        (lambda loss: loss.repeat(2), ValueError, r"one number, got \[2\]"),
        (lambda loss: loss.detach(), ValueError, "does not depend on any parameter"),
        (lambda loss: loss * float("nan"), sm.NonFiniteError, "step 0"),
        (lambda loss: 1 / 0, ZeroDivisionError, "division"),
    ],
)
def test_a_loss_that_is_none(answer, error, match):
    class Odd(Restore):
        def loss(self, batch, step):
            return answer(super().loss(batch, step).total)

    with pytest.raises(error, match=match):
        sm.Trainer(Odd(ours()), loader()).fit()


@pytest.mark.parametrize(
    ("answer", "error", "match"),
    [(lambda x: x[1:], ValueError, r"must return \[\d+, 16\], got \[\d+, 16\]"), (lambda x: x.tolist(), TypeError, "must return a tensor, got list")],
)
def test_features_that_are_none(answer, error, match):
    class Odd(Conv):
        def encode_tokens(self, *tokens):
            return answer(super().encode_tokens(*tokens))

    with pytest.raises(error, match=match):
        sm.encode(Odd(), cohort(4, 6))


def test_groups_by_name_and_collapse():
    class Grouped(Restore):
        def parameter_groups(self):
            return [(["head.weight", "head.bias"], 0.0, False), (self.more, 1.0, True)]

    objective = Grouped(ours())
    objective.more = [n for n, _ in objective.encoder.named_parameters(prefix="encoder")]
    before = {k: v.clone() for k, v in objective.state_dict().items()}
    sm.Trainer(objective, loader()).fit()
    moved = {k for k, v in objective.state_dict().items() if not torch.equal(v, before[k])}
    assert not any(k.startswith("head.") for k in moved)
    assert "encoder.patch_embed.proj.weight" in moved
    objective.more = ["encoder.nothing"]
    with pytest.raises(ValueError, match=r"encoder\.nothing"):
        sm.Trainer(objective, loader())

    class Constant(Restore):
        def loss(self, batch, step):
            loss = super().loss(batch, step)
            return Loss(loss.total, features=torch.ones(4, 8))

    with pytest.raises(sm.CollapseError):
        sm.Trainer(Constant(ours()), loader(), epochs=9, monitor_every=1).fit()


def test_a_step_that_is_kept_and_nothing_that_holds_itself():
    class Keeps(Restore):
        def loss(self, batch, step):
            self.step = step
            return super().loss(batch, step)

    objective = Keeps(ours())
    sm.Trainer(objective, loader()).fit()
    assert (objective.step.rank, objective.step.ranks) == (0, 1)
    assert torch.equal(objective.step.all_gather(torch.ones(2)), torch.ones(2))
    gone = weakref.ref(objective)
    del objective
    gc.collect()
    assert gone() is None


def test_the_example_of_the_docs_runs(tmp_path, monkeypatch):
    page = (Path(__file__).parents[3] / "docs" / "adding.md").read_text()
    code = re.search(r"```python\n(class Denoise.*?)```", page, re.DOTALL)[1]
    code = code.replace('"vit_small", "runs/denoise"', 'ours(), "run", epochs=8, batch_size=4, **QUIET')
    monkeypatch.chdir(tmp_path)
    names = {"sm": sm, "torch": torch, "dataclass": dataclass, "ClassVar": ClassVar, "cohort": cohort(8, 8), "ours": ours, "QUIET": QUIET}
    exec(code, names)
    loss = names["run"].history["loss"]
    assert loss.tail(4).mean() < loss.head(4).mean()
