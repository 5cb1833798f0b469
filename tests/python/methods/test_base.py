"""The registry of methods, and what pretrain says of options."""

import inspect
from dataclasses import dataclass, fields
from typing import ClassVar

import pytest
import torch
from cohorts import cohort

import sslmed as sm
from sslmed import methods
from sslmed.methods import base

QUIET = {"progress": False, "tensorboard": False, "encoder": "vit_tiny", "depth": 1, "batch_size": 8, "epochs": 1}


class Nearer(sm.PythonObjective):
    def __init__(self, encoder, power):
        super().__init__(encoder)
        self.power, self.scale = power, torch.nn.Parameter(torch.ones(()))

    def loss(self, batch, step):
        view = batch.views[0]
        found = self.encoder.forward_tokens(view.values, view.lengths, view.coords, view.extra)
        return sm.methods.Loss((self.scale * found.pooled).abs().pow(self.power).mean(), features=torch.randn(len(found.lengths), 8))


@pytest.fixture
def nearer(monkeypatch):
    monkeypatch.setattr(base, "_METHODS", dict(base._METHODS))

    @sm.methods.register
    @dataclass(frozen=True)
    class Options:
        name: ClassVar[str] = "nearer"
        class_token: ClassVar[bool] = True
        weight_decay: ClassVar[tuple[float, float]] = (0.0, 0.0)
        power: float = 2.0

        def objective(self, encoder, seed):
            return Nearer(encoder, self.power)

    return Options


def test_a_method_of_a_user_is_known_by_its_name(nearer, tmp_path):
    assert "nearer" in sm.methods.names()
    run = sm.pretrain(cohort(8), "nearer", out=tmp_path / "a", power=3.0, **QUIET)
    assert len(run.history) > 0
    config = sm.PretrainConfig(batch_size=8, epochs=1, depth=1, tensorboard=False)
    again = sm.pretrain(cohort(8), nearer(power=3.0), "vit_tiny", tmp_path / "b", config=config, progress=False)
    assert again.history["loss"].tolist() == run.history["loss"].tolist()


def test_options_that_nobody_has_name_the_nearest(tmp_path):
    people = cohort(8)
    with pytest.raises(TypeError, match=r"pretrain: 'epoch' is neither .* did you mean epochs"):
        sm.pretrain(people, out=tmp_path / "a", epoch=3)
    with pytest.raises(TypeError, match=r"'reconstruction'.*did you mean reconstruct"):
        sm.pretrain(people, out=tmp_path / "a", reconstruction="spectrum")
    with pytest.raises(TypeError, match="has its options already"):
        sm.pretrain(people, sm.methods.Mae(), out=tmp_path / "a", ratio=0.5)
    with pytest.raises(ValueError, match="method='maee' is unknown, expected one of"):
        sm.pretrain(people, "maee", out=tmp_path / "a")
    with pytest.raises(ValueError, match="warmup=2"):
        sm.PretrainConfig(warmup=2)
    with pytest.raises(ValueError, match="accumulate=0"):
        sm.PretrainConfig(accumulate=0)


def test_what_is_no_method_is_refused(nearer):
    with pytest.raises(TypeError, match="must be a dataclass"):
        sm.methods.register(object)

    @dataclass
    class Another:
        name: ClassVar[str] = "nearer"

        def objective(self, encoder, seed): ...

    with pytest.raises(ValueError, match="name='nearer' is taken"):
        sm.methods.register(Another)


def test_no_option_of_a_method_has_the_name_of_an_argument_of_pretrain():
    taken = {*inspect.signature(sm.pretrain).parameters, *(field.name for field in fields(sm.PretrainConfig))} - {"options"}
    for name in methods.names():
        assert not taken & set(methods.options_of(name)), name
