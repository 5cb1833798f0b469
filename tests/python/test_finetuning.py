"""Tasks against plain PyTorch and published definitions, and training on labels end to end."""

import copy
import dataclasses
import functools

import numpy as np
import pytest
import torch
from cohorts import PRE, batch_of, cohort
from sklearn import metrics
from torch import nn as tnn
from weights import changed

import sslmed as sm
from sslmed import finetuning
from sslmed.encoders import Encoder
from sslmed.methods import Supervised

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def plain_logits(task, encoder, batch, readout="mean", keep=None):
    """The same network, one sequence at a time, from PyTorch's own layers. In the order of batch.views."""
    view, state, out, row = batch.views[0], dict(task.named_parameters()), [], 0
    heads, depth = encoder._handle.dim // 64, 2
    dtype = state["head.weight"].dtype

    def linear(x, name):
        y = tnn.functional.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])
        if f"{name}.lora_a" in state:
            scale = encoder.config["lora_alpha"] / encoder.config["lora_rank"]
            y = y + scale * (x @ state[f"{name}.lora_a"].T @ state[f"{name}.lora_b"].T)
        return y

    def norm(x, name):
        return tnn.functional.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    def split(x, n=1):
        return x.view(len(x), n, heads, -1).permute(1, 2, 0, 3)

    def mlp(x, name):
        return linear(tnn.functional.gelu(linear(x, f"{name}.fc1")), f"{name}.fc2")

    for i, length in enumerate(view.lengths):
        rows = slice(row, row + length)
        row += length
        # What the embedding makes of single tokens is covered elsewhere; here it is asked for with no block in between.
        x = _embedded(encoder, view, rows, dtype)
        for b in range(depth):
            name = f"encoder.blocks.{b}"
            factor = (1.0, 1.0) if keep is None else (keep[2 * b, i], keep[2 * b + 1, i])
            q, k, v = split(linear(norm(x, f"{name}.norm1"), f"{name}.attn.qkv"), 3)
            a = ((q @ k.transpose(1, 2)) / q.shape[-1] ** 0.5).softmax(-1) @ v
            x = x + factor[0] * linear(a.transpose(0, 1).reshape(len(x), -1), f"{name}.attn.proj")
            x = x + factor[1] * mlp(norm(x, f"{name}.norm2"), f"{name}.mlp")
        x = norm(x, "encoder.norm")
        if readout == "cls":
            pooled = x[0]
        elif readout == "mean":
            pooled = x[1:].mean(0)
        else:  # timm's AttentionPoolLatent with one latent
            q = split(linear(state["pool.latent"][0], "pool.q"))[0]
            k, v = split(linear(x[1:], "pool.kv"), 2)
            a = ((q @ k.transpose(1, 2)) / q.shape[-1] ** 0.5).softmax(-1) @ v
            pooled = linear(a.transpose(0, 1).reshape(1, -1), "pool.proj")
            pooled = (pooled + mlp(norm(pooled, "pool.norm"), "pool.mlp"))[0]
        out.append(linear(pooled, "head"))
    return torch.stack(out)


def _embedded(encoder, view, rows, dtype):
    """Patches with positions, and the class token in front: the encoder without blocks."""
    state = dict(encoder.named_parameters())
    patches = tnn.functional.linear(view.values[rows].to(dtype), state["patch_embed.proj.weight"].flatten(1), state["patch_embed.proj.bias"])
    coords = view.coords[rows].to(dtype)
    octave = torch.arange(8, dtype=dtype)
    space = 2.0**octave * (np.pi / 4 / 95)
    time = torch.exp(octave * (np.log(64 / 0.5) / 7)) * (2 * np.pi / 64)
    angles = coords.unsqueeze(-1) * torch.stack([space, space, space, time])
    features = torch.cat([angles.sin(), angles.cos()], -1).flatten(1)
    places = tnn.functional.linear(features, state["pos_embed.proj.weight"], state["pos_embed.proj.bias"])
    return torch.cat([state["cls_token"][0], patches + places])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("readout", ["mean", "cls", "attentive"])
def test_logits_loss_and_gradients_equal_plain_pytorch(readout, dtype):
    people = cohort()
    encoder = Encoder("vit_tiny", PRE, depth=2, seed=4)
    weights = [0.5, 2.0]
    task = Supervised(encoder, classes=2, class_weights=weights, label_smoothing=0.1, readout=readout, seed=1).to(dtype)
    with torch.no_grad():
        for name, p in task.named_parameters():
            if name.startswith(("head", "pool")):
                p.add_(0.1 * torch.randn_like(p))
    numbers = (people.table["y"] == "fast").astype(float).tolist()
    batch = batch_of(encoder, people, target=numbers)
    view = batch.views[0]
    ours = task.forward_tokens(view.values.to(dtype), view.lengths, view.coords.to(dtype), view.extra)
    theirs = plain_logits(task, encoder, batch, readout)
    assert (ours - theirs).abs().max() < TOLERANCE[dtype]
    truth = torch.tensor([int(numbers[people_of(people, batch, i)]) for i in view.slots])
    expected = tnn.functional.cross_entropy(theirs, truth, torch.tensor(weights, dtype=dtype), label_smoothing=0.1)
    task.eval()
    if dtype == torch.float32:
        loss = task.loss(batch)  # batches are float32
        assert abs(loss - expected) < 1e-5
    else:
        loss = tnn.functional.cross_entropy(ours, truth, torch.tensor(weights, dtype=dtype), label_smoothing=0.1)
    parameters = dict(task.named_parameters())
    got = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, retain_graph=True)
    want = torch.autograd.grad(expected, list(parameters.values()), allow_unused=True)
    for name, a, b in zip(parameters, got, want, strict=True):
        assert (a is None or not a.any()) if b is None else (a - b).abs().max() < TOLERANCE[dtype], name


def people_of(people, batch, slot):
    """The recording of a batch's sample."""
    return int(people.source(PRE).recording_of[batch.sample_ids[slot]])


def test_targets_travel_with_their_samples():
    people = cohort()
    encoder = Encoder("vit_tiny", PRE, depth=1)
    batch = batch_of(encoder, people, n=12, number=list(range(len(people))), age=people.table["age"].tolist())
    recording = people.source(PRE).recording_of[batch.sample_ids]
    assert torch.equal(batch.targets["number"], recording.double())
    assert np.allclose(batch.targets["age"], people.table["age"].to_numpy()[recording])
    with pytest.raises(ValueError, match="targets: 'number' has 3 values, expected one for each of 24 recordings"):
        batch_of(encoder, people, number=[1, 2, 3])


def test_regression_learns_in_units_of_its_spread():
    people = cohort()
    encoder = Encoder("vit_tiny", PRE, depth=2)
    task = Supervised(encoder, classes=0, mean=45.0, scale=15.0)
    batch = batch_of(encoder, people, target=people.table["age"].tolist())
    view = batch.views[0]
    out = task.forward_tokens(view.values, view.lengths, view.coords, view.extra)
    truth = batch.targets["target"][view.slots].float()
    assert abs(task.eval().loss(batch) - (((out[:, 0] - truth) / 15) ** 2).mean()) < 1e-5
    assert abs(out.mean() - 45) < 3  # nearly the mean for everybody, before anything is learned


@pytest.mark.parametrize("positions", ["electrode", "learned"])
def test_layer_decay_groups_are_timms(positions):
    """timm.optim.param_groups_layer_decay of a ViT: blocks and stem as there, the norm with the last block, the head alone at the top."""
    depth, decay = 3, 0.7
    encoder = Encoder("vit_tiny", PRE, depth=depth) if positions == "electrode" else sm.nn.create("vit_tiny", 16, 32, 1, depth=depth)
    groups = Supervised(encoder, classes=2, layer_decay=decay).parameter_groups()
    found = {name: (scale, decays) for names, scale, decays in groups for name in names}
    assert set(found) == {n for n, _ in Supervised(encoder, classes=2).named_parameters()}
    for name, (scale, decays) in found.items():
        layer = depth + 1
        if name.startswith("encoder."):
            layer = int(name.split(".")[2]) + 1 if ".blocks." in name else depth if name.startswith("encoder.norm") else 0
        assert scale == pytest.approx(decay ** (depth + 1 - layer)), name
        assert decays == (not name.endswith("bias") and "norm" not in name and name not in ("encoder.cls_token", "encoder.pos_embed")), name


def test_layer_decay_groups_equal_timm():
    timm = pytest.importorskip("timm")
    from timm.optim import param_groups_layer_decay

    model = timm.create_model("vit_tiny_patch16_224", depth=3, num_classes=2)
    theirs = {}
    names = {id(p): n for n, p in model.named_parameters()}
    for group in param_groups_layer_decay(model, weight_decay=0.05, layer_decay=0.7, no_weight_decay_list=model.no_weight_decay()):
        theirs |= {names[id(p)]: (group["lr_scale"], group["weight_decay"] > 0) for p in group["params"]}
    groups = Supervised(sm.nn.create("vit_tiny", 16, 224, 3, depth=3), classes=2, layer_decay=0.7).parameter_groups()
    ours = {name.removeprefix("encoder."): (scale, decays) for names, scale, decays in groups for name in names}
    assert set(ours) == set(theirs)
    for name, (scale, decays) in theirs.items():
        assert ours[name] == (pytest.approx(scale), decays), name


def test_attentive_readout_equals_timms_pool():
    pytest.importorskip("timm")
    from timm.layers import AttentionPoolLatent

    people, encoder = cohort(), Encoder("vit_tiny", PRE, depth=1)
    task = Supervised(encoder, classes=2, readout="attentive").double()
    theirs = AttentionPoolLatent(192, num_heads=3, mlp_ratio=4.0, norm_layer=functools.partial(tnn.LayerNorm, eps=1e-6)).double()
    theirs.load_state_dict({k.removeprefix("pool."): v for k, v in task.state_dict().items() if k.startswith("pool.")})
    view = batch_of(encoder, people, target=[0.0] * len(people)).views[0]
    tokens, _, lengths, _ = encoder.forward_tokens(view.values.double(), view.lengths, view.coords.double(), view.extra)
    patches = tokens.view(len(lengths), lengths[0], -1)[:, 1:]
    want = tnn.functional.linear(theirs(patches), task.get_parameter("head.weight"), task.get_parameter("head.bias"))
    got = task.forward_tokens(view.values.double(), view.lengths, view.coords.double(), view.extra)
    assert (got - want).abs().max() < 1e-10


def test_dropped_paths_are_drawn_by_sample_and_batch():
    people = cohort(48, 20)
    encoder = Encoder("vit_tiny", PRE, depth=2, seed=2)
    task = Supervised(encoder, classes=2, drop_path=0.5, seed=9)
    with torch.no_grad():
        task.get_parameter("head.weight").mul_(100)
    numbers = (people.table["y"] == "fast").astype(float).tolist()
    batch = batch_of(encoder, people, n=40, target=numbers)
    dropped = task.train().loss(batch)
    assert torch.equal(dropped, task.loss(batch))  # nothing hidden in a generator
    assert not torch.equal(dropped, task.eval().loss(batch))
    # Only the last block drops (rates rise from none): each sample has one of four pairs of factors, and the loss is one of their means.
    view = batch.views[0]
    truth = batch.targets["target"][view.slots].long()
    per_pair = []
    for a in (0.0, 2.0):
        for b in (0.0, 2.0):
            keep = torch.ones(4, len(view.lengths))
            keep[2], keep[3] = a, b
            logits = plain_logits(task, encoder, batch, keep=keep)
            assert torch.allclose(task.forward_tokens(view.values, view.lengths, view.coords, view.extra, keep), logits, atol=1e-4)
            per_pair.append(tnn.functional.cross_entropy(logits, truth, reduction="none"))
    options = torch.stack(per_pair)  # [4, B]
    low, high = options.min(0).values.mean(), options.max(0).values.mean()
    assert low - 1e-5 <= dropped <= high + 1e-5
    with pytest.raises(ValueError, match="drop_path must be"):
        task.forward_tokens(view.values, view.lengths, view.coords, view.extra, torch.ones(3, 2))


def test_adapters_start_as_no_change_and_equal_their_definition():
    people = cohort()
    encoder = Encoder("vit_tiny", PRE, depth=2, seed=4)
    adapted = encoder.with_adapters(4, 8.0)
    before, _ = sm.encode(encoder, people)
    assert torch.equal(before, sm.encode(adapted, people)[0])
    task = Supervised(adapted, classes=2, tuned="adapters")
    trained = {n for n, p in task.named_parameters() if p.requires_grad}
    assert trained == {n for n, _ in task.named_parameters() if "lora_" in n or n.startswith("head")}
    assert sum("lora_a" in n for n in trained) == 4  # qkv and proj of two blocks
    with torch.no_grad():
        for name, p in task.named_parameters():
            if "lora" in name or "head" in name:
                p.add_(0.05 * torch.randn_like(p))
    batch = batch_of(adapted, people, target=[0.0] * len(people))
    view = batch.views[0]
    ours = task.forward_tokens(view.values, view.lengths, view.coords, view.extra)
    assert (ours - plain_logits(task, adapted, batch)).abs().max() < 1e-5
    with pytest.raises(ValueError, match="needs an encoder with adapters"):
        Supervised(encoder, classes=2, tuned="adapters")


def test_a_saved_adapted_encoder_comes_back(tmp_path):
    adapted = Encoder("vit_tiny", PRE, depth=1).with_adapters(2, 4.0)
    with torch.no_grad():
        adapted.get_parameter("blocks.0.attn.qkv.lora_b").normal_()
    adapted.save(tmp_path / "e.safetensors")
    again = Encoder.load(tmp_path / "e.safetensors")
    assert torch.equal(sm.encode(again, cohort())[0], sm.encode(adapted, cohort())[0])


@pytest.mark.parametrize("protocol", ["finetune", "lora", "attentive"])
def test_each_protocol_learns_and_leaves_the_encoder_alone(protocol, tmp_path):
    encoder = Encoder("vit_tiny", PRE, depth=1, seed=1)
    before = copy.deepcopy(encoder.state_dict())
    options = dataclasses.replace(finetuning.PROTOCOLS[protocol], epochs=8, lr=3e-3, batch_size=16)
    losses = []
    fitted = sm.finetune(encoder, cohort(), "y", options, callback=lambda rows: losses.extend(r["loss"] for r in rows))
    assert losses[-1] < 0.5 * losses[0]
    assert all(torch.equal(before[k], v) for k, v in encoder.state_dict().items())
    others = cohort(10, seed=5, name="other")
    p = fitted.predict_proba(others)
    assert p.shape == (10, 2)
    assert np.allclose(p.sum(1), 1)
    assert fitted.target_ == "y"
    assert list(fitted.classes_) == ["fast", "slow"]
    assert np.array_equal(fitted.predict(others), fitted.classes_[p.argmax(1)])
    assert fitted.score(others) == metrics.balanced_accuracy_score(others.table["y"], fitted.predict(others)) >= 0.9
    again = sm.finetune(encoder, cohort(), "y", options, threads=3).predict_proba(others)
    assert np.array_equal(p, again)  # whatever the threads
    fitted.save(tmp_path / "t.safetensors")
    assert np.array_equal(sm.FineTuned.load(tmp_path / "t.safetensors").predict_proba(others), p)


def test_regression_end_to_end():
    options = sm.FineTuning(epochs=12, lr=3e-3, batch_size=16)
    fitted = sm.finetune(Encoder("vit_tiny", PRE, depth=1), cohort(), "age", options)
    others = cohort(10, seed=5, name="other")
    predicted = fitted.predict(others)
    assert np.abs(predicted - others.table["age"]).mean() < 7  # the mean's own is 15
    assert fitted.score(others) == pytest.approx(metrics.r2_score(others.table["age"], predicted))
    assert len(fitted.classes_) == 0
    with pytest.raises(ValueError, match="target_='age' is regressed"):
        fitted.predict_proba(others)


def test_predicting_whom_it_was_trained_on_is_refused(tmp_path):
    fitted = sm.finetune(Encoder("vit_tiny", PRE, depth=1), cohort(), "y", sm.FineTuning(epochs=1))
    with pytest.raises(ValueError, match="24 subjects are in training and test data at once"):
        fitted.predict(cohort())
    fitted.save(tmp_path / "t.safetensors")
    assert '"s3"' not in str(sm.io.load_metadata(tmp_path / "t.safetensors", finetuning.fitted._FORMAT))  # a file that is handed on names nobody
    with pytest.raises(ValueError, match="training and test data at once: s3"):
        sm.FineTuned.load(tmp_path / "t.safetensors").predict(cohort().subset([3]))


def test_what_is_refused(tmp_path):
    encoder = Encoder("vit_tiny", PRE, depth=1)
    for options, said in (
        ({"classes": 1}, "classes must be 0"),
        ({"classes": 2, "class_weights": [1.0]}, "class_weights has 1 entries, expected one for each of 2 classes"),
        ({"classes": 2, "readout": "x"}, "readout must be"),
        ({"classes": 2, "tuned": "x"}, "tuned must be"),
        ({"classes": 2, "layer_decay": 0.0}, "layer_decay"),
        ({"classes": 2, "drop_path": 1.0}, "drop_path"),
        ({"classes": 2, "label_smoothing": 1.0}, "label_smoothing"),
        ({"classes": 0, "scale": 0.0}, "scale must be positive"),
        ({"classes": 2, "readout": "attentive", "readout_heads": 5}, "readout_heads=5 must divide"),
    ):
        with pytest.raises(ValueError, match=said):
            Supervised(encoder, **options)
    with pytest.raises(ValueError, match="needs an encoder with a class token"):
        Supervised(Encoder("vit_tiny", PRE, depth=1, class_token=False), classes=2, readout="cls")
    task = Supervised(encoder, classes=2)
    for numbers, said in (({}, "no target 'target'"), ({"target": [2.0] * 24}, "must number 2 classes"), ({"target": [float("nan")] * 24}, "without a value")):
        with pytest.raises(ValueError, match=said):
            task.loss(batch_of(encoder, cohort(), **numbers))
    with pytest.raises(ValueError, match="options='x' must be a FineTuning or one of"):
        sm.finetune(encoder, cohort(), "y", "x")
    with pytest.raises(ValueError, match="target='x' is not a column"):
        sm.finetune(encoder, cohort(), "x")
    encoder.save(tmp_path / "e.safetensors")
    with pytest.raises(sm.FormatError):
        sm.FineTuned.load(tmp_path / "e.safetensors")


def test_transfer_by_training_a_network():
    encoder = changed(Encoder("vit_tiny", PRE, depth=1, seed=1))
    options = sm.FineTuning(epochs=6, lr=3e-3, batch_size=16)
    result = sm.transfer(encoder, cohort(), "y", options, cv=2, bootstrap=50, baselines=["dummy", "random encoder", "permuted labels"])
    scores = result.table[result.table["metric"] == "balanced_accuracy"].set_index("row")["value"]
    assert list(scores.index) == ["dummy", "permuted labels", "random encoder", "pretrained encoder"]
    assert scores["pretrained encoder"] >= 0.9
    assert scores["permuted labels"] < 0.8
    assert np.allclose(result.wide().filter(like="pretrained").sum(axis=1), 1)
    groups = result.subgroups("age", bins=[0, 45, 90], draws=50)
    assert list(groups[groups["row"] == "dummy"]["n_subjects"]) == [12, 12]
    moved = sm.transfer(encoder, cohort(), "y", options, test=cohort(8, seed=5, name="t"), bootstrap=50, baselines=False)
    assert list(moved.table["row"].unique()) == ["pretrained encoder"]
    with pytest.raises(ValueError, match="frozen features"):
        sm.transfer(encoder, cohort(), "age", options, adaptation="coral", test=cohort(8, name="t"))
    for wrong, said in (({"protocol": "x"}, "protocol='x'"), ({"baselines": ["x"]}, "baseline")):
        with pytest.raises(ValueError, match=said):
            sm.transfer(encoder, cohort(), "y", **wrong)


def test_fewer_windows_than_a_batch():
    few = cohort(6, seconds=4)  # two windows each
    encoder = Encoder("vit_tiny", PRE, depth=1)
    fitted = sm.finetune(encoder, few, "y", sm.FineTuning(epochs=2, batch_size=32))
    assert repr(fitted).startswith("<FineTuned y: fast, slow; <Encoder")
    whole = sm.finetune(encoder, few, "y", sm.FineTuning(epochs=2, batch_size=12))
    assert all(torch.equal(a, b) for a, b in zip(fitted.task.parameters(), whole.task.parameters(), strict=True))
    values = [np.zeros((3, 400)) if i == 0 else np.random.default_rng(i).normal(size=(3, 400)) for i in range(6)]
    part = sm.Cohort.from_arrays(values, 100, ["Fp1", "Cz", "O2"], few.table.drop(columns="path"))
    with pytest.warns(sm.LeftOutWarning, match="of its samples left out"):
        sm.finetune(encoder, part, "y", sm.FineTuning(epochs=1, batch_size=12), on_error="skip")
