"""Distillation: the loss in plain torch, a teacher that stays as it is, and the state of a run."""

import copy
import json

import numpy as np
import pytest
import torch
from ramps import RampPreprocessing, ramps

import sslmed as sm
from sslmed import methods
from sslmed._core import C

PATCHES, DENSE = RampPreprocessing(), RampPreprocessing(patch=None)


def student(kind="vit", seed=0):
    return sm.Encoder("vit_tiny", PATCHES, depth=1, dim=24, heads=2, seed=seed) if kind == "vit" else sm.ConvEncoder(DENSE, (8, 12), seed=seed)


def teacher(kind="vit", seed=5, patch=4):
    if kind == "cnn":
        return sm.ConvEncoder(DENSE, (16, 32), seed=seed)
    return sm.Encoder("vit_tiny", RampPreprocessing(patch=patch), depth=2, dim=48, heads=2, seed=seed)


def objective(mine, theirs, **options):
    return methods.Distill(theirs, **options).objective(mine, seed=1)


def batch_for(found, mine, n=6):
    loader = sm.Loader(ramps(n, 1), mine.preprocessing, batch_size=n, seed=1, recipe=found._recipe)
    return next(iter(loader))


def summary(encoder, view):
    if view.is_dense:
        return encoder(view.values.double()).pooled
    out = encoder.forward_views([view])
    return out.tokens.view(len(out.lengths), -1, encoder.dim)[:, 0]


def project(weights, x, prefix, layers):
    for i in range(layers):
        x = torch.nn.functional.linear(x, weights[f"{prefix}.mlp.{i}.weight"], weights[f"{prefix}.mlp.{i}.bias"])
        x = torch.relu(x) if i + 1 < layers else x
    return x


def apart(x, y, loss):
    if loss == "cosine":
        return 1 - torch.cosine_similarity(x, y, dim=-1)
    return (x - torch.nn.functional.layer_norm(y, y.shape[-1:])).square().mean(-1)


@pytest.mark.parametrize("loss", ["cosine", "mse"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("of_student", "of_teacher"), [("vit", "vit"), ("cnn", "cnn"), ("vit", "cnn"), ("cnn", "vit")])
def test_the_loss_of_a_batch_is_that_of_plain_torch(of_student, of_teacher, layers, loss):
    mine, theirs = student(of_student), teacher(of_teacher)
    found = objective(mine, theirs, loss=loss, layers=layers, hidden=20)
    found.double()
    theirs = copy.deepcopy(theirs).double().eval()
    batch = batch_for(found, mine)
    assert len(batch.views) == (1 if of_student == of_teacher else 2)
    value = found.loss(batch)
    roles = {view.role: view for view in batch.views}
    weights = dict(found.named_parameters())
    seen = project(weights, summary(mine, batch.views[0] if len(roles) == 1 else next(v for v in batch.views if v.role != "teacher")), "projection", layers)
    expected = apart(seen, summary(theirs, roles.get("teacher", batch.views[0])).detach(), loss).mean()
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)
    chosen = list(found.parameters())
    for a, b in zip(torch.autograd.grad(value, chosen), torch.autograd.grad(expected, chosen), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)


def test_tokens_are_compared_where_they_are():
    mine, theirs = student(), teacher(patch=2)  # 3³ tokens and 6³
    found = objective(mine, theirs, token_weight=0.5).double()
    theirs = copy.deepcopy(theirs).double().eval()
    batch = batch_for(found, mine)
    own, other = sorted(batch.views, key=lambda view: view.role == "teacher")
    a, b = mine.forward_views([own]), theirs.forward_views([other])
    weights = dict(found.named_parameters())
    summaries = apart(project(weights, a.tokens.view(6, 28, -1)[:, 0], "projection", 1), b.tokens.view(6, 217, -1)[:, 0], "cosine").mean()
    maps = b.tokens.view(6, 217, -1)[:, 1:].transpose(1, 2).reshape(6, 48, 6, 6, 6)
    wanted = torch.nn.functional.interpolate(maps, (3, 3, 3), mode="trilinear", align_corners=False).flatten(2).transpose(1, 2)
    tokens = apart(project(weights, a.tokens.view(6, 28, -1)[:, 1:], "token_projection", 1), wanted, "cosine").mean()
    torch.testing.assert_close(found.loss(batch), summaries + 0.5 * tokens, rtol=1e-10, atol=1e-12)


def test_both_see_the_same_crop():
    recipe = objective(student(), teacher("cnn"))._recipe
    loader = sm.Loader(ramps(4, 1), PATCHES, batch_size=4, random=True, seed=3, recipe=recipe)
    for batch in loader:
        patches, dense = sorted(batch.views, key=lambda view: view.is_dense)
        cells = patches.values.view(4, 3, 3, 3, 4, 4, 4).permute(0, 1, 4, 2, 5, 3, 6).reshape(4, 1, 12, 12, 12)
        assert torch.equal(cells, dense.values)


def test_the_teacher_is_neither_trained_nor_kept(tmp_path):
    mine, theirs = student("cnn"), teacher("cnn")
    before = {name: value.clone() for name, value in theirs.state_dict().items()}
    run = sm.pretrain(ramps(12, 1), methods.Distill(theirs), mine, tmp_path, epochs=3, batch_size=6, lr=1e-2, progress=False, tensorboard=False)
    assert all(torch.equal(value, before[name]) for name, value in theirs.state_dict().items())
    assert all(p.requires_grad for p in theirs.parameters())  # the run has a copy
    names = sm.io.load_safetensors(next((tmp_path / "checkpoints").glob("step-*"))).keys()
    assert not any("teacher" in name for name in names)
    assert run.history["loss"].notna().all()


def nearest(encoder, train, test):
    """Share of rows whose nearest neighbor in features has the same diagnosis."""
    a, b = (torch.nn.functional.normalize(sm.encode(encoder, cohort)[0], dim=1) for cohort in (train, test))
    found = train.table["diagnosis"].to_numpy()[(b @ a.T).argmax(1).numpy()]
    return float(np.mean(found == test.table["diagnosis"].to_numpy()))


def hidden_in_noise(n, seed, site="a"):
    """Ramps that no eye sees in a cell."""
    easy, draw = ramps(n, seed, site=site), torch.Generator().manual_seed(seed)
    return sm.Cohort(easy.table, easy.name, [values + 3 * torch.randn(values.shape, generator=draw) for values in easy.arrays])


def test_a_student_approaches_its_teacher(tmp_path):
    train, test = hidden_in_noise(96, 1), hidden_in_noise(60, 2, site="b")
    large = sm.finetune(teacher(), train, "diagnosis", sm.FineTuning(epochs=30, batch_size=16, lr=2e-3)).encoder
    path = tmp_path / "large.safetensors"
    large.save(path)
    mine = student()
    options = {"epochs": 25, "batch_size": 16, "lr": 3e-3, "progress": False, "tensorboard": False}
    run = sm.pretrain(train, "distill", copy.deepcopy(mine), tmp_path / "run", teacher=str(path), **options)
    loss = run.history["loss"].to_numpy()
    assert loss[-4:].mean() < 0.5 * loss[:4].mean()
    scores = [nearest(encoder, train, test) for encoder in (mine, run.encoder, large)]
    print("random, student, teacher:", scores)
    assert scores[2] > 0.85
    assert scores[1] > scores[0] + 0.1
    assert run.encoder.provenance is not None
    assert [stage.kind for stage in run.encoder.provenance.stages] == ["finetuning", "pretraining"]


@pytest.mark.parametrize("kind", ["vit", "cnn"])
def test_a_resumed_run_has_the_bits_of_one_that_was_not_stopped(kind, tmp_path):
    theirs = teacher(kind)

    def run(out, stop=None, of=theirs):
        seen = []

        def callback(rows):
            seen.extend(rows)
            return stop is None or len(seen) < stop

        options = {"epochs": 4, "batch_size": 4, "lr": 1e-2, "checkpoint_every": 1, "progress": False, "tensorboard": False}
        return sm.pretrain(ramps(8, 1), methods.Distill(of, token_weight=0.1), student(kind), out, callback=callback, resume=stop is None, **options)

    whole = run(tmp_path / "whole")
    assert run(tmp_path / "parts", stop=3).interrupted
    with pytest.raises(ValueError, match=r"options.teacher.weights"):
        run(tmp_path / "parts", of=teacher(kind, seed=6))
    again = run(tmp_path / "parts")
    assert not again.interrupted
    assert all(torch.equal(value, again.encoder.state_dict()[key]) for key, value in whole.encoder.state_dict().items())


def test_the_teacher_is_described_by_plain_values():
    described = methods.Distill(teacher()).described()
    assert json.loads(json.dumps(described)) == described
    assert described["teacher"]["weights"] != methods.Distill(teacher(seed=6)).described()["teacher"]["weights"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "Distill: teacher is missing"),
        ({"teacher": 3}, TypeError, "teacher=3 must be an encoder or the path"),
        ({"teacher": teacher(), "loss": "l1"}, ValueError, "loss='l1'"),
        ({"teacher": teacher(), "layers": 0}, ValueError, "layers=0"),
        ({"teacher": teacher(), "token_weight": -1.0}, ValueError, "token_weight=-1"),
        ({"teacher": sm.Encoder("vit_tiny", RampPreprocessing(size=8), depth=1)}, ValueError, "size=8 of the teacher, 12 of the student"),
    ],
)
def test_options_out_of_range_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        methods.Distill(**options).objective(student(), seed=0)


def test_tokens_without_a_common_grid_are_refused():
    with pytest.raises(ValueError, match="grids of 2 and 3 axes"):
        C.resample_tokens(torch.zeros(4, 2), [2, 2], [1, 2, 2])
