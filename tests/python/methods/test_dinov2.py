"""DINOv2: the whole loss in plain torch, masks, what is frozen and copied when, and the state of a run."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from ramps import RampPreprocessing, ramps
from torch.nn.functional import gelu, layer_norm, linear, normalize, pairwise_distance, scaled_dot_product_attention

import sslmed as sm
from sslmed import methods
from sslmed._core import C

SMALL = {"prototypes": 20, "hidden": 24, "bottleneck": 12, "local": 3, "freeze_last": 0.2, "p_mask": 0.8}
PRE = RampPreprocessing()


def encoder(seed=0, depth=1):
    return sm.Encoder("vit_tiny", PRE, depth=depth, dim=24, heads=2, seed=seed)


def objective(depth=1, **options):
    made = encoder(depth=depth)
    return methods.DinoV2(**(SMALL | options)).objective(made, seed=1), made


def loader():
    return sm.Loader(ramps(12, 1), PRE, batch_size=6, drop_last=True)


def batch_of(found, n=6):
    """A batch as a run sees it."""
    how = found.options
    recipe = found.preprocessing.recipe(views=how._masked(found.preprocessing.contrast("dino", how.local)))
    return next(iter(sm.Loader(ramps(n, 1), PRE, batch_size=n, seed=3, random=True, recipe=recipe)))


def vit(weights, prefix, view, token=None, heads=2):
    """[B, 1 + N, D] of a vision transformer of one block, in plain torch; hidden patches are the token."""
    w = {name.removeprefix(f"{prefix}."): value for name, value in weights.items() if name.startswith(f"{prefix}.")}
    dim, n = w["norm.weight"].shape[0], view.lengths[0]
    weight = w["patch_embed.proj.weight"].movedim(1, -1).reshape(dim, -1)
    x = linear(view.values.double(), weight, w["patch_embed.proj.bias"])
    if token is not None:
        hidden = torch.zeros(len(x), 1, dtype=torch.bool).index_fill(0, view.masked, True)
        x = torch.where(hidden, token, x)
    table = C.resample_positions(w["pos_embed"], [3, 3, 3], view.extents[0].tolist(), 1)
    x = x.view(-1, n, dim) + table[:, 1:]
    x = torch.cat([(w["cls_token"] + table[:, :1]).expand(len(x), 1, dim), x], 1)

    def norm(x, name):
        return layer_norm(x, (dim,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)

    def map_by(x, name):
        return linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    qkv = map_by(norm(x, "blocks.0.norm1"), "blocks.0.attn.qkv").unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    x = x + map_by(scaled_dot_product_attention(*qkv).transpose(1, 2).flatten(2), "blocks.0.attn.proj")
    x = x + map_by(gelu(map_by(norm(x, "blocks.0.norm2"), "blocks.0.mlp.fc1")), "blocks.0.mlp.fc2")
    return norm(x, "norm")


def logits(weights, prefix, x):
    for i in range(3):
        x = linear(x, weights[f"{prefix}.mlp.{i}.weight"], weights[f"{prefix}.mlp.{i}.bias"])
        x = gelu(x) if i < 2 else x
    return normalize(x, dim=1) @ normalize(weights[f"{prefix}.prototypes"], dim=1).T


def balanced(scores, temperature):
    """Sinkhorn-Knopp as the paper of SwAV writes it."""
    q = torch.exp(scores / temperature)
    for _ in range(3):
        q = q / q.sum(0) / q.shape[1]
        q = q / q.sum(1, keepdim=True) / q.shape[0]
    return q * q.shape[0]


def spread(x, kind):
    unit = normalize(x, dim=1)
    apart = ~torch.eye(len(x), dtype=torch.bool)
    if kind == "koleo":
        nearest = torch.cdist(unit, unit).masked_fill(~apart, math.inf).argmin(1)
        return -pairwise_distance(unit, unit[nearest], 2, 1e-8).add(1e-8).log().mean()
    return (5 * unit @ unit.T)[apart].view(len(x), -1).exp().mean(1).log().mean()


def expected_loss(found, batch, temperature):
    """The loss of the whole batch, and its parts."""
    weights, how = dict(found.named_parameters()) | dict(found.named_buffers()), found.options
    views = {role: [view for view in batch.views if view.role == role] for role in ("global", "local")}
    token = weights["mask_token"]
    student = [vit(weights, "encoder", view, token) for view in views["global"]]
    teacher = [vit(weights, "twin", view).detach() for view in views["global"]]

    def class_tokens(x, view):  # in the order of the batch: views are sorted by what is visible
        return x[torch.tensor(view.slots).argsort(), 0]

    crops = [class_tokens(x, view) for x, view in zip(student, views["global"], strict=True)]
    crops += [class_tokens(vit(weights, "encoder", view), view) for view in views["local"]]
    whole = torch.cat([class_tokens(x, view) for x, view in zip(teacher, views["global"], strict=True)])
    # Centers start at 0.
    answers = balanced if how.centering == "sinkhorn" else lambda scores, t: torch.softmax(scores / t, 1)
    given = answers(logits(weights, "twin_head", whole).detach(), temperature).chunk(2)

    def cross_entropy(p, scores):
        return -(p * torch.log_softmax(scores / 0.1, 1)).sum(1)

    said = [logits(weights, "head", crop) for crop in crops]
    pairs = [cross_entropy(given[i], said[j]).mean() for i in range(2) for j in range(len(crops)) if i != j]
    patches, of_teacher, share = [], [], []
    for view, x, y in zip(views["global"], student, teacher, strict=True):
        patches.append(x[:, 1:].flatten(0, 1)[view.masked])
        of_teacher.append(y[:, 1:].flatten(0, 1)[view.masked])
        share += [1 / count / (2 * len(batch)) for count in view.masked_lengths for _ in range(count)]
    prefix = "" if how.shared_head else "patch_"
    given = answers(logits(weights, f"twin_{prefix}head", torch.cat(of_teacher)).detach(), temperature)
    ibot = (cross_entropy(given, logits(weights, f"{prefix}head", torch.cat(patches))) * torch.tensor(share, dtype=torch.float64)).sum()
    total = sum(pairs) / len(pairs) + how.ibot_weight * ibot
    if how.regularizer != "none":
        total = total + how.regularizer_weight * sum(spread(crop, how.regularizer) for crop in crops[:2])
    if how.gram_weight:
        x, y = (normalize(torch.cat(crops)[:, 1:], dim=2) for crops in (student, teacher))
        total = total + how.gram_weight * (x @ x.mT - y @ y.mT).square().mean()
    return total


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"centering": "softmax", "regularizer": "uniformity", "shared_head": True, "ibot_weight": 0.7},
        {"regularizer": "none", "gram_weight": 2.0, "gram_start": 0.0},
    ],
)
def test_the_loss_of_a_batch_is_that_of_plain_torch(options):
    found, made = objective(**options)
    found.double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        found.mask_token.normal_(generator=generator)
        for name, p in found.named_parameters():  # not the student's, as later in a run
            if name.startswith("twin"):
                p.add_(0.1 * torch.randn(p.shape, generator=generator))
        if "gram_weight" in options:
            for name, p in found.named_parameters():
                if name.startswith("anchor."):
                    p.copy_(dict(found.named_parameters())[name.replace("anchor", "twin")])
    batch = batch_of(found)
    masked = [count for view in batch.views if view.role == "global" for count in view.masked_lengths]
    assert 0 in masked
    assert max(masked) > 1
    expected = expected_loss(found, batch, temperature=0.05)
    found.train()
    loss = found.loss(batch, 10, 100)  # a third of the warm-up
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
    chosen = [p for p in found.parameters() if p.requires_grad]
    mine, theirs = (torch.autograd.grad(x, chosen, allow_unused=True) for x in (loss, expected))
    assert sum(g is not None for g in mine) > 20
    for a, b in zip(mine, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)
    assert "mask_token" not in made.state_dict()


def run(out, stop=None, *, resume=False, **options):
    seen = []

    def callback(rows):
        seen.extend(rows)
        return stop is None or len(seen) < stop

    settings = {"batch_size": 4, "epochs": 4, "lr": 1e-2, "checkpoint_every": 1, "progress": False, "tensorboard": False}
    method = methods.DinoV2(**(SMALL | options))
    return sm.pretrain(ramps(8, 1), method, encoder(depth=2), out, callback=callback, resume=resume, **settings)


def test_a_resumed_run_has_the_bits_of_one_that_was_not_stopped(tmp_path):
    options = {"drop_path": 0.5, "gram_weight": 1.0, "gram_start": 0.25, "gram_refresh": 2, "centering": "softmax"}
    whole = run(tmp_path / "whole", **options)
    assert whole.history["loss"].notna().all()
    assert run(tmp_path / "parts", stop=3, **options).interrupted
    again = run(tmp_path / "parts", resume=True, **options)
    assert not again.interrupted
    assert all(torch.equal(value, again.encoder.state_dict()[key]) for key, value in whole.encoder.state_dict().items())
    before = encoder(depth=2).state_dict()
    assert any(not torch.equal(value, before[key]) for key, value in whole.encoder.state_dict().items())


def test_a_batch_of_which_nothing_is_masked_has_no_loss_of_patches():
    whole, _ = objective(p_mask=0.0)
    none, _ = objective(ibot_weight=0.0)
    batch = batch_of(whole)
    assert all(view.masked.numel() == 0 for view in batch.views if view.role == "global")
    torch.testing.assert_close(whole.loss(batch), none.loss(batch))


def test_views_without_a_mask_are_refused():
    found, _ = objective()
    plain, _ = objective(ibot_weight=0.0)
    with pytest.raises(ValueError, match="dinov2: needs views with a mask"):
        found.loss(batch_of(plain))


def test_dropped_paths_are_those_of_the_sample_and_the_view():
    found, _ = objective(depth=2, drop_path=0.9)
    off, _ = objective(depth=2)
    batch = batch_of(found)
    found.train()
    first = found.loss(batch)
    assert torch.equal(first, found.loss(batch))
    found.eval()
    torch.testing.assert_close(found.loss(batch), off.loss(batch))
    assert not torch.allclose(first, off.loss(batch))


def test_prototypes_stay_in_the_first_share_of_a_run_and_the_teacher_is_kept():
    found, made = objective(freeze_last=0.5)
    start = {name: value.clone() for name, value in found.state_dict().items()}
    trainer = sm.Trainer(found, loader(), epochs=4, lr=1e-2, weight_decay=0.0)
    trainer.fit(until=3)
    for name in ("head.prototypes", "patch_head.prototypes"):
        assert torch.equal(found.state_dict()[name], start[name])
    assert not torch.equal(found.state_dict()["head.mlp.0.weight"], start["head.mlp.0.weight"])
    trainer.fit()
    for name in ("head.prototypes", "patch_head.prototypes", "mask_token"):
        assert not torch.equal(found.state_dict()[name], start[name])
    trainer.keep_encoder(made)
    assert torch.equal(made.state_dict()["blocks.0.mlp.fc1.weight"], found.state_dict()["twin.blocks.0.mlp.fc1.weight"])


def test_the_anchor_is_copied_at_its_steps():
    found, _ = objective(gram_weight=1.0, gram_start=0.3, gram_refresh=4, momentum=0.0)
    weight = dict(found.named_parameters())
    copies = []
    for step in range(10):  # each ends with other weights of the student, which the teacher takes over
        with torch.no_grad():
            weight["encoder.norm.bias"].fill_(step)
        before = weight["anchor.norm.bias"].clone()
        found.after_step(step, 10)
        if not torch.equal(weight["anchor.norm.bias"], before):
            copies.append(step + 1)
    assert copies == [3, 7]


def test_learning_rates_fall_towards_the_input():
    found, _ = objective(depth=2, layer_decay=0.5, patch_embed_lr=0.2)
    rates = {name: (scale, decay) for names, scale, decay in found._handle.parameter_groups() for name in names}
    assert rates["encoder.patch_embed.proj.weight"] == (pytest.approx(0.2 * 0.5**3), True)
    assert rates["encoder.cls_token"] == (0.5**3, False)
    assert rates["encoder.blocks.0.mlp.fc1.weight"] == (0.5**2, True)
    assert rates["encoder.blocks.1.mlp.fc1.weight"] == rates["encoder.blocks.1.attn.qkv.weight"] == (0.5, True)
    assert rates["head.mlp.0.weight"] == (1, True)
    assert rates["mask_token"] == (1, False)
    assert not any(name.startswith(("twin", "anchor")) for name in rates)


def test_a_run_whose_loss_stays_at_ln_k_is_stopped():
    hot = dict.fromkeys(("student_temperature", "teacher_temperature", "teacher_temperature_start"), 1e6)
    found, _ = objective(**hot)
    with pytest.raises(sm.CollapseError, match="equal answers to all samples"):
        sm.Trainer(found, loader(), epochs=60, lr=1e-6, monitor_every=1).fit()
    found, _ = objective(**hot, dino_weight=0.0)  # a head that is not trained is no sign of a collapse
    assert sm.Trainer(found, loader(), epochs=8, lr=1e-6, monitor_every=1).fit()


def test_windows_of_eeg_train_it(tmp_path):
    """Tokens that are placed by coordinates, and sequences of several lengths."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"subject": list("abcdefgh")})
    cohort = sm.Cohort.from_arrays(rng.standard_normal((8, 4, 400)), 100, ["Fz", "Cz", "Pz", "Oz"], table)
    pre = sm.EegPreprocessing(sfreq=100, window=4, patch=0.5, h_freq=45)
    settings = {"depth": 1, "epochs": 2, "batch_size": 4, "preprocessing": pre, "progress": False, "tensorboard": False}
    done = sm.pretrain(cohort, "dinov2", "vit_tiny", tmp_path, **settings, **(SMALL | {"hidden": 16}))
    assert np.isfinite(done.history["loss"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"student_temperature": 0.0}, "dinov2: student_temperature=0 must be positive"),
        ({"momentum": 1.5}, r"dinov2: momentum=1.5 must be within \[0, 1\]"),
        ({"drop_path": 1.0}, r"dinov2: drop_path=1 must be within \[0, 1\)"),
        ({"iterations": 0}, "dinov2: iterations=0 must be at least 1"),
        ({"regularizer": "kde"}, "regularizer must be one of 'koleo', 'uniformity', 'none', got 'kde'"),
        ({"centering": "mean"}, "centering must be one of 'sinkhorn', 'softmax', got 'mean'"),
        ({"layer_decay": 2.0}, r"dinov2: layer_decay=2 must be within \[0, 1\]"),
        ({"gram_weight": -1.0}, "dinov2: gram_weight=-1 must be at least 0"),
        ({"mask_ratio": (0.5, 0.1)}, r"ratio=\(0.5, 0.1\) must be"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        objective(**options)


def test_other_encoders_are_refused():
    with pytest.raises(TypeError, match=r"method='dinov2' needs an sslmed.Encoder"):
        methods.DinoV2().objective(sm.ConvEncoder(RampPreprocessing(patch=None), (4,)), seed=0)
    plain = sm.Encoder("vit_tiny", PRE, depth=1, class_token=False)
    with pytest.raises(ValueError, match="dinov2: needs an encoder with a class token"):
        methods.DinoV2(**SMALL).objective(plain, seed=0)
