"""Methods of several views: their losses in plain torch, learning, collapse, and the state of a run."""

import math

import pytest
import torch
from ramps import RampPreprocessing, ramps

import sslmed as sm
from sslmed import methods

PATCHES, DENSE = RampPreprocessing(), RampPreprocessing(patch=None)
SMALL = {
    "simclr": {"hidden": 24, "out_dim": 12},
    "byol": {"hidden": 24, "out_dim": 12},
    "moco": {"hidden": 24, "out_dim": 12},
    "vicreg": {"hidden": 24, "out_dim": 24},
    "barlow_twins": {"hidden": 24, "out_dim": 24},
    "dino": {"prototypes": 48, "hidden": 24, "bottleneck": 12, "local": 3, "freeze_last": 0.2},
}
NAMES = sorted(SMALL)


def encoder(kind, seed=0):
    return sm.Encoder("vit_tiny", PATCHES, depth=1, dim=24, heads=2, seed=seed) if kind == "vit" else sm.ConvEncoder(DENSE, (8, 12), seed=seed)


def objective(name, kind="vit", **options):
    made = encoder(kind)
    return methods.get(name)(**(SMALL[name] | options)).objective(made, seed=1), made


def loader(made, n=12, batch=6, **options):
    return sm.Loader(ramps(n, 1), made.preprocessing, batch_size=batch, seed=1, drop_last=True, **options)


def recipe_of(made, options):
    style = "dino" if options.name == "dino" else "simclr"
    return made.preprocessing.recipe(views=made.preprocessing.contrast(style, getattr(options, "local", 0)))


def head(weights, x, prefix, layers, last_norm=False):
    """Matrices, batch normalization of this batch and ReLU, in plain torch."""
    for i in range(layers):
        x = torch.nn.functional.linear(x, weights[f"{prefix}.mlp.{i}.weight"], weights[f"{prefix}.mlp.{i}.bias"])
        if f"{prefix}.norms.{i}.weight" in weights:
            x = torch.nn.functional.batch_norm(x, None, None, weights[f"{prefix}.norms.{i}.weight"], weights[f"{prefix}.norms.{i}.bias"], training=True)
        if i + 1 < layers:
            x = torch.relu(x)
    return x


def seen(made, batch, role):
    """[B, D] of each view of a role, by the encoder alone."""
    out = []
    for view in batch.views:
        if view.role == role:
            assert list(view.slots) == list(range(len(view.slots)))
            out.append(made.forward_views([view]))
    return [found.tokens.view(len(found.lengths), -1, made.dim)[:, 0] for found in out]


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_of_a_batch_is_that_of_plain_torch(name):
    found, made = objective(name)
    found.double()
    batch = next(iter(loader(made, recipe=recipe_of(made, found.options))))
    weights = dict(found.named_parameters()) | dict(found.named_buffers())
    a, b = seen(made, batch, "global")
    unit = torch.nn.functional.normalize
    if name == "simclr":
        rows = unit(head(weights, torch.cat([a, b]), "projector", 2), dim=1)
        scores = (rows @ rows.T / 0.1).masked_fill(torch.eye(12, dtype=torch.bool), -math.inf)
        expected = torch.nn.functional.cross_entropy(scores, torch.arange(12).roll(6))
    elif name in ("byol", "moco"):
        layers = 3 if name == "moco" else 2
        keys = head(weights, torch.cat([a, b]), "twin_projector", layers).detach().chunk(2)
        asked = head(weights, head(weights, torch.cat([a, b]), "projector", layers), "predictor", 2).chunk(2)
        if name == "byol":
            expected = sum((2 - 2 * torch.cosine_similarity(asked[i], keys[1 - i])).mean() for i in range(2))
        else:
            expected = sum(2 * 0.2 * torch.nn.functional.cross_entropy(unit(asked[i]) @ unit(keys[1 - i]).T / 0.2, torch.arange(6)) for i in range(2))
    elif name == "dino":
        crops = [a, b, *seen(made, batch, "local")]

        def logits(x, prefix):
            for i in range(3):
                x = torch.nn.functional.linear(x, weights[f"{prefix}.mlp.{i}.weight"], weights[f"{prefix}.mlp.{i}.bias"])
                x = torch.nn.functional.gelu(x) if i < 2 else x
            return unit(x, dim=1) @ unit(weights[f"{prefix}.prototypes"], dim=1).T

        teacher = [torch.softmax(logits(x, "twin_head").detach() / 0.04, 1) for x in (a, b)]
        pairs = [-(teacher[i] * torch.log_softmax(logits(crop, "head") / 0.1, 1)).sum(1).mean() for i in range(2) for j, crop in enumerate(crops) if i != j]
        expected = sum(pairs) / len(pairs)
    else:
        left, right = (head(weights, x, "projector", 3) for x in (a, b))
        expected = (sm.losses.vicreg if name == "vicreg" else sm.losses.barlow_twins)(left, right)
    found.train()
    loss = found.loss(batch)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
    chosen = [p for p in found.parameters() if p.requires_grad]
    for mine, theirs in zip(torch.autograd.grad(loss, chosen, allow_unused=True), torch.autograd.grad(expected, chosen, allow_unused=True), strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", ["vit", "cnn"])
@pytest.mark.parametrize("name", NAMES)
def test_every_method_trains_every_kind_of_encoder_and_keeps_it(name, kind, tmp_path):
    made = encoder(kind)
    before = {key: value.clone() for key, value in made.state_dict().items()}
    run = sm.pretrain(ramps(12, 1), methods.get(name)(**SMALL[name]), made, tmp_path, epochs=3, batch_size=6, lr=1e-2, progress=False, tensorboard=False)
    assert run.history["loss"].notna().all()
    again = sm.encoders.resolve(tmp_path / "encoder.safetensors")
    moved = [key for key, value in again.state_dict().items() if value.is_floating_point() and not torch.equal(value, before[key])]
    assert moved
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in run.encoder.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_has_the_bits_of_one_that_was_not_stopped(name, tmp_path):
    def run(out, stop=None):
        seen = []

        def callback(rows):
            seen.extend(rows)
            return stop is None or len(seen) < stop

        options = {"epochs": 4, "batch_size": 4, "lr": 1e-2, "checkpoint_every": 1, "progress": False, "tensorboard": False}
        return sm.pretrain(ramps(8, 1), methods.get(name)(**SMALL[name]), encoder("cnn"), out, callback=callback, resume=stop is None, **options)

    whole = run(tmp_path / "whole")
    assert run(tmp_path / "parts", stop=3).interrupted
    again = run(tmp_path / "parts")
    assert not again.interrupted
    assert all(torch.equal(value, again.encoder.state_dict()[key]) for key, value in whole.encoder.state_dict().items())


def test_the_twin_follows_the_encoder_by_half_a_cosine():
    found, _ = objective("byol", momentum=0.5)
    with torch.no_grad():
        for p in found.encoder.parameters():
            p.add_(1.0)
    before = [p.clone() for p in found.twin.parameters()]
    found.after_step(5, 10)  # half of the way: 1 - .5 · .5
    for old, new, target in zip(before, found.twin.parameters(), found.encoder.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.25 * (target - old))


def test_dino_moves_its_center_after_the_loss_and_keeps_the_teacher():
    found, made = objective("dino")
    batch = next(iter(loader(made, recipe=recipe_of(made, found.options))))
    found.train()
    found.loss(batch)
    moved = found.center.clone()
    assert moved.abs().sum() > 0
    found.eval()
    found.loss(batch)
    assert torch.equal(found.center, moved)


def test_prototypes_stay_in_the_first_share_of_a_run():
    found, made = objective("dino", freeze_last=0.5)
    start = found.head.prototypes.clone()
    trainer = sm.Trainer(found, loader(made), epochs=4, lr=1e-2, weight_decay=0.0)
    trainer.fit(until=3)
    assert torch.equal(found.head.prototypes, start)
    trainer.fit()
    assert not torch.equal(found.head.prototypes, start)


def test_a_run_whose_loss_stays_at_ln_k_is_stopped():
    found, made = objective("dino", student_temperature=1e6, teacher_temperature=1e6, teacher_temperature_start=1e6)
    with pytest.raises(sm.CollapseError, match="equal answers to all samples"):
        sm.Trainer(found, loader(made), epochs=60, lr=1e-6, monitor_every=1).fit()


def test_a_run_whose_features_become_equal_is_stopped():
    found, made = objective("byol", kind="cnn")
    with torch.no_grad():
        for p in made.parameters():
            p.zero_()
    with pytest.raises(sm.CollapseError, match="the features have collapsed"):
        sm.Trainer(found, loader(made), epochs=60, lr=1e-9, monitor_every=1).fit()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("simclr", {"temperature": 0.0}, "simclr: temperature=0 must be positive"),
        ("byol", {"momentum": 1.5}, r"byol: momentum=1.5 must be within \[0, 1\]"),
        ("dino", {"prototypes": 1}, "prototypes must be at least 2, got 1"),
        ("dino", {"freeze_last": -0.1}, r"dino: freeze_last=-0.1 must be within \[0, 1\]"),
        ("vicreg", {"variance": -1.0}, "vicreg: weights must not be negative"),
        ("barlow_twins", {"off_diagonal": -1.0}, "barlow_twins: off_diagonal=-1 must not be negative"),
        ("moco", {"temperature": -1.0}, "moco: temperature=-1 must be positive"),
        ("simclr", {"out_dim": 0}, "simclr: out_dim=0 must be a whole number of at least 1"),
        ("simclr", {"hidden": -1}, "simclr: hidden=-1 must be a whole number of at least 1"),
        ("simclr", {"layers": "2"}, "simclr: layers='2' must be a whole number of at least 1"),
        ("byol", {"hidden": 2.5}, "byol: hidden=2.5 must be a whole number of at least 1"),
        ("dino", {"local": None}, "dino: local=None must be a whole number of at least 0"),
        ("dino", {"local_size": 0}, "dino: local_size=0 must be a whole number of at least 1"),
    ],
)
def test_options_out_of_range_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        objective(name, **options)


def test_a_batch_with_one_view_is_refused():
    found, made = objective("simclr")
    with pytest.raises(ValueError, match="simclr: needs 2 views of the role 'global' of each sample, got 0"):
        found.loss(next(iter(loader(made))))


@pytest.mark.parametrize("name", ["simclr", "moco", "vicreg", "barlow_twins", "y_aware", "dinov2"])
def test_a_batch_of_one_sample_is_refused_where_samples_are_compared(name, tmp_path):
    message = f"pretrain: batch_size=1 must be at least 2: method='{name}' compares the samples of a batch"
    with pytest.raises(ValueError, match=message):
        sm.pretrain(ramps(4, 1), name, encoder("vit"), tmp_path, batch_size=1, progress=False)


def test_an_encoder_with_fixed_weights_is_refused(tmp_path):
    frozen = sm.FrozenEncoder(torch.nn.Conv3d(1, 4, 3), DENSE)
    with pytest.raises(ValueError, match="pretrain: encoder=FrozenEncoder has fixed weights"):
        sm.pretrain(ramps(4, 1), "simclr", frozen, tmp_path, batch_size=4, progress=False)
