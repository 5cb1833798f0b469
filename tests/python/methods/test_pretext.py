"""Pretext tasks: their losses in plain torch, learning, and the state of a run."""

import itertools
import math

import numpy as np
import pytest
import torch
from pretext_tasks import DENSE, NAMES, SIZES, SMALL, WHOLE, on_ramps, samples, task
from ramps import RampPreprocessing, ramps
from torch.nn import functional

import sslmed as sm
from sslmed import methods


def cells_of(hidden, size):
    """What is visible of a map of `size`, [B, 1, size…] of 1 and 0, out of hidden values of the input."""
    seen = ~hidden
    for axis, extent in enumerate(size, start=2):
        seen = seen.index_select(axis, torch.arange(extent) * (seen.shape[axis] // extent))
    return seen.double()


def features(found, x, hidden=None):
    """Maps of a ConvNet from its weights, with the batch's statistics; hidden cells are zero, and not counted."""
    maps = []
    weights = dict(found.named_parameters())
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[x.dim() - 3]
    for i in range(2):
        x = convolve(x, weights[f"encoder.stages.{i}.conv.weight"], stride=2, padding=1)
        norm = f"encoder.stages.{i}.norm"
        scale, shift = weights[f"{norm}.weight"], weights[f"{norm}.bias"]
        if hidden is None:
            x = functional.relu(functional.batch_norm(x, None, None, scale, shift, training=True))
        else:
            seen, axes = cells_of(hidden, x.shape[2:]), [0, *range(2, x.dim())]
            mean = (x * seen).sum(axes, keepdim=True) / seen.sum()
            var = ((x - mean).square() * seen).sum(axes, keepdim=True) / seen.sum()
            broadcast = [1, -1] + [1] * (x.dim() - 2)
            x = functional.relu((x - mean) / (var + 1e-5).sqrt() * scale.view(broadcast) + shift.view(broadcast)) * seen
        maps.append(x)
    return maps


def matrix(found, name, x):
    weights = dict(found.named_parameters())
    return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def decoded(found, maps, sizes, skips=False):
    """The convolutional decoder in plain torch."""
    weights = dict(found.named_parameters())
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[len(sizes) - 1]
    x = maps[-1]
    for i, finer in enumerate([maps[0], None]):
        x = functional.interpolate(x, size=sizes if finer is None else finer.shape[2:], mode="nearest")
        if skips and finer is not None:
            x = torch.cat([x, finer], 1)
        x = convolve(x, weights[f"decoder.blocks.{i}.conv.weight"], padding=1)
        scale, shift = weights[f"decoder.blocks.{i}.norm.weight"], weights[f"decoder.blocks.{i}.norm.bias"]
        x = functional.gelu(functional.group_norm(x, math.gcd(x.shape[1], 8), scale, shift))
    return convolve(x, weights["decoder.head.weight"], weights["decoder.head.bias"])


def cells(found, maps, sizes):
    """The light decoder of SimMIM in plain torch: [B, C, spatial…] out of cells of four."""
    rank = len(sizes)
    grid = maps[-1].shape[2:]
    out = matrix(found, "decoder", maps[-1].movedim(1, -1)).unflatten(-1, [4] * rank + [2])
    order = [0, 1 + 2 * rank] + [axis for a in range(rank) for axis in (1 + a, 1 + rank + a)]
    out = out.permute(order).reshape(len(out), 2, *(4 * extent for extent in grid))
    for a, size in enumerate(sizes):
        out = out.narrow(a + 2, 0, size)
    return out


def normalized(dense, cell):
    """Each channel of each cell of `cell` cells by its own mean and unbiased variance."""
    rank = dense.dim() - 2
    split = dense.reshape(*dense.shape[:2], *(number for size in dense.shape[2:] for number in (size // cell, cell)))
    inner = [3 + 2 * axis for axis in range(rank)]
    return ((split - split.mean(inner, keepdim=True)) / (split.var(inner, keepdim=True) + 1e-6).sqrt()).view_as(dense)


def reference(name, found, dense, ids, step):
    """The loss of a task by plain torch from what the encoder is shown."""
    shown, answer = found.exercise(dense, ids, step)
    maps = features(found, shown)
    pooled = maps[-1].flatten(2).mean(2)
    if name == "jigsaw":
        seen = functional.relu(matrix(found, "tile", pooled)).reshape(len(dense), -1)
        scores = matrix(found, "head.mlp.1", functional.relu(matrix(found, "head.mlp.0", seen)))
        return functional.cross_entropy(scores, answer)
    if name == "rotation":
        return functional.cross_entropy(matrix(found, "head", pooled), answer)
    if name == "voco":
        rows = functional.normalize(matrix(found, "projector.mlp.1", functional.relu(matrix(found, "projector.mlp.0", pooled))), dim=1)
        rows = rows.unflatten(0, (len(dense), -1))
        bases, crops = rows[:, :-3], rows[:, -3:]
        total = 0.0
        for b in range(len(dense)):
            p, y = functional.relu(crops[b] @ bases[b].detach().T), answer[b]
            near = -(y * torch.log(1 - (y - p).abs() + 1e-6)).sum() / (y.sum() + 1e-6)
            apart = p.square()[y == 0].sum() / ((y == 0).to(y).sum() + 1e-6)
            pairs = [functional.relu(bases[b, i] @ bases[b, j]) ** 2 for i, j in itertools.combinations(range(bases.shape[1]), 2)]
            total = total + (near + apart + torch.stack(pairs).mean()) / len(dense)
        return total
    sizes = dense.shape[2:]
    if name == "spark":
        weights = dict(found.named_parameters())
        maps = features(found, shown, answer)
        seen = [cells_of(answer, x.shape[2:]) for x in maps]
        tokens = [weights[f"mask_tokens.{i}"].view([1, -1] + [1] * (x.dim() - 2)) for i, x in enumerate(maps)]
        maps = [x * s + token * (1 - s) for x, s, token in zip(maps, seen, tokens, strict=True)]
        off = (decoded(found, maps, sizes, skips=True) - normalized(dense, 4)).square()
        return off[answer.expand_as(off)].mean()
    restored = cells(found, maps, sizes) if name == "simmim" else decoded(found, maps, sizes, skips=name == "cross_sequence")
    off = restored - dense
    error = off.abs() if name in ("simmim", "cross_sequence") else off.square()
    return error.mean() if answer is None else error[answer.expand_as(error)].mean()


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_loss_and_gradients_are_those_of_plain_torch(name, rank):
    found = task(name, rank)
    found.train()
    dense, ids = samples(rank, sizes=WHOLE.get(name, {}).get(rank)), [5, 2, 9, 11]
    loss, parts = found(dense, ids, 3)
    expected = reference(name, found, dense, ids, 3)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-10)
    chosen = list(found.parameters())
    mine, theirs = (torch.autograd.grad(value, chosen) for value in (loss, expected))
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)
    assert all(torch.isfinite(value) for value in parts.values())
    again, _ = found(dense, ids, 3)
    assert torch.equal(again, loss)
    assert not torch.equal(found(dense, ids, 4)[0], loss) or (name == "autoencoder" and not found.options.noise)


def test_the_target_of_simmim_is_normalized_by_cell():
    found = task("simmim", 2, mask_cell=4, norm_target=True)
    found.train()
    dense = samples(2)
    shown, hidden = found.exercise(dense, range(4), 0)
    off = (cells(found, features(found, shown), SIZES[2]) - normalized(dense, 4)).abs()
    torch.testing.assert_close(found(dense, range(4))[0], off[hidden.expand_as(off)].mean())


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in SMALL for kind in ("cnn", "vit") if (name, kind) != ("spark", "vit")])
def test_every_task_trains_every_kind_of_encoder_and_keeps_it(name, kind, tmp_path):
    options, encoder = on_ramps(name, kind)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    run = sm.pretrain(ramps(12, 1), options, encoder, tmp_path, epochs=3, batch_size=6, lr=1e-2, progress=False, tensorboard=False)
    assert run.history["loss"].notna().all()
    again = sm.encoders.resolve(tmp_path / "encoder.safetensors")
    assert any(not torch.equal(value, before[key]) for key, value in again.state_dict().items() if value.is_floating_point())
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in run.encoder.state_dict().items())


@pytest.mark.parametrize("method", [methods.Jigsaw(grid=2, permutations=4), methods.Rotation()], ids=lambda method: method.name)
@pytest.mark.parametrize("how", [sm.ImagePreprocessing(size=16, patch=None), sm.VolumePreprocessing(size=16, patch=None)], ids=lambda how: how.modality)
def test_networks_with_a_preprocessing_are_asked_at_their_own_rank(method, how):
    encoder = sm.DenseEncoder("resnet10", how)
    found = method.objective(encoder, seed=0)
    dense = torch.rand(2, encoder.in_chans, *[16] * encoder.rank)
    assert found.exercise(dense, sample_ids=[0, 1])[0].dim() == 2 + encoder.rank


@pytest.mark.parametrize("name", list(SMALL))
def test_a_resumed_run_has_the_bits_of_one_that_was_not_stopped(name, tmp_path):
    def run(out, stop=None):
        seen = []

        def callback(rows):
            seen.extend(rows)
            return stop is None or len(seen) < stop

        options, encoder = on_ramps(name)
        how = {"epochs": 4, "batch_size": 4, "lr": 1e-2, "checkpoint_every": 1, "progress": False, "tensorboard": False}
        return sm.pretrain(ramps(8, 1), options, encoder, out, callback=callback, resume=stop is None, **how)

    whole = run(tmp_path / "whole")
    assert run(tmp_path / "parts", stop=3).interrupted
    again = run(tmp_path / "parts")
    assert not again.interrupted
    assert all(torch.equal(value, again.encoder.state_dict()[key]) for key, value in whole.encoder.state_dict().items())


@pytest.mark.parametrize("name", list(SMALL))
def test_the_loss_of_a_batch_is_that_of_its_dense_view(name):
    options, encoder = on_ramps(name)
    found = options.objective(encoder, seed=3)
    batch = next(iter(sm.Loader(ramps(6, 1), encoder.preprocessing, batch_size=4, seed=1)))
    (view,) = batch.views
    ids = [batch.sample_ids[slot] for slot in view.slots]
    found.train()
    torch.testing.assert_close(found.loss(batch, 2), found(view.values, ids, 2)[0])


@pytest.mark.parametrize("name", [name for name in SMALL if name != "spark"])
def test_patches_that_fill_their_grid_are_a_dense_view(name):
    options, encoder = on_ramps(name, "vit")
    found = options.objective(encoder, seed=3)
    packed, dense = (next(iter(sm.Loader(ramps(6, 1), how, batch_size=4, seed=1))) for how in (encoder.preprocessing, DENSE))
    found.train()
    torch.testing.assert_close(found.loss(packed, 2), found(dense.views[0].values, [dense.sample_ids[slot] for slot in dense.views[0].slots], 2)[0])


def accuracies(found, dense, steps):
    """The accuracy at each step of a training on the same samples."""
    optimizer = torch.optim.Adam(found.parameters(), lr=3e-3)
    found.train()
    seen = []
    for step in range(steps):
        loss, parts = found(dense, range(len(dense)), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(float(parts["accuracy"]))
    return seen


def test_turns_are_learned_and_those_of_noise_are_not():
    ramp = torch.linspace(-1, 1, 16)[:, None].expand(16, 16)
    for dense, low, high in ((ramp + 0.1 * torch.randn(32, 1, 16, 16), 0.9, 1.0), (torch.randn(32, 1, 16, 16), 0.0, 0.5)):
        found = methods.Rotation().objective(sm.nn.ConvNet(2, 1, (16, 32)), seed=0)
        accuracies(found, dense, 60)
        fresh = dense[:1].mean(0) + 0.1 * torch.randn(64, 1, 16, 16) if high == 1 else torch.randn(64, 1, 16, 16)
        _, parts = found(fresh, range(100, 164), 1000)
        assert low <= float(parts["accuracy"]) <= high  # chance is 1 / 4


def test_orders_of_tiles_are_learned():
    found = methods.Jigsaw(grid=2, permutations=24, gap=0.1, tile_dim=16, hidden=64).objective(sm.nn.ConvNet(2, 1, (16, 32)), seed=0)
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 20), torch.linspace(-1, 1, 20), indexing="ij")
    seen = accuracies(found, torch.sin(3 * rows**2 + 2 * columns) + 0.05 * torch.randn(16, 1, 20, 20), 150)
    assert sum(seen[:5]) / 5 < 0.25  # chance is 1 / 24
    assert sum(seen[-20:]) / 20 > 0.8


def test_spark_needs_a_network_that_can_leave_out_cells():
    for encoder in (
        sm.Encoder("vit_tiny", RampPreprocessing(), depth=1, dim=24, heads=2),
        sm.nn.DenseNet("swin_tiny", in_chans=1, embed_dim=12, depths=(1, 1, 1, 1)),
    ):
        with pytest.raises(ValueError, match="spark: the encoder cannot leave out cells; it must be convolutional"):
            methods.Spark().objective(encoder, seed=0)
    with pytest.raises(ValueError, match="spark: axis 1 of the views has 18 cells, expected a multiple of the encoder's stride 4"):
        task("spark", 2)(samples(2, sizes=(24, 18)), range(4))


@pytest.mark.parametrize("name", ["autoencoder", "inpainting", "simmim", "spark", "voco"])
def test_the_loss_of_ramps_falls(name, tmp_path):
    options, encoder = on_ramps(name)
    run = sm.pretrain(ramps(24, 1), options, encoder, tmp_path, epochs=20, batch_size=8, lr=1e-2, progress=False, tensorboard=False)
    losses = run.history["loss"].to_numpy()
    assert losses[-10:].mean() < 0.8 * losses[:5].mean()


@pytest.mark.parametrize("name", ["autoencoder", "inpainting", "simmim", "spark", "cross_sequence"])
def test_samples_are_reconstructed_by_networks_of_every_rank(name):
    for rank, size in ((1, 100), (2, 45), (3, 33)) if name != "spark" else ((1, 96), (2, 64), (3, 64)):
        found = methods.get(name)(**({"decoder": "conv"} if name == "simmim" else {})).objective(sm.nn.DenseNet("resnet10", rank=rank, in_chans=2), seed=0)
        dense = torch.rand(2, 2, *[size] * rank)
        assert found.reconstruct(dense).shape == dense.shape
        assert found(dense, [0, 1])[0].isfinite()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("jigsaw", {"grid": 0}, "jigsaw: grid=0 must be at least 1"),
        ("jigsaw", {"grid": (2, 2, 2)}, "jigsaw: grid has 3 numbers, expected one, or one for each of 2 axes"),
        ("jigsaw", {"grid": 1}, r"jigsaw: grid=\[1\] gives 1 tiles, expected 2 to 255"),
        ("jigsaw", {"permutations": 25}, "permutations=25 must be within 2 and 24"),
        ("jigsaw", {"gap": 1.0}, r"jigsaw: gap=1 must be within \[0, 1\)"),
        ("jigsaw", {"tile_dim": 0}, "jigsaw: tile_dim=0 must be at least 1"),
        ("voco", {"grid": 1}, r"voco: grid=\[1\] gives 1 base crop, expected at least 2"),
        ("voco", {"crops": 0}, "voco: crops=0 must be at least 1"),
        ("voco", {"regularization": -1.0}, "voco: regularization=-1 must not be negative"),
        ("autoencoder", {"noise": -1.0}, "autoencoder: noise=-1 must not be negative"),
        ("autoencoder", {"loss": "huber"}, "loss must be one of 'l1', 'mse', got 'huber'"),
        ("inpainting", {"boxes": 0}, "inpainting: boxes=0 must be at least 1"),
        ("inpainting", {"p_outer": 1.5}, r"inpainting: p_outer=1.5 must be within \[0, 1\]"),
        ("inpainting", {"size": (0.5, 0.2)}, r"inpainting: size=\(0.5, 0.2\) must rise within \(0, 1\)"),
        ("inpainting", {"fill": "black"}, "fill must be one of 'noise', 'mean', 'zeros', got 'black'"),
        ("inpainting", {"score": "none"}, "inpainting: score='none' must be one of 'hidden', 'all'"),
        ("simmim", {"ratio": 1.0}, r"simmim: ratio=1 must be within \(0, 1\)"),
        ("simmim", {"mask_cell": (3, 0)}, "simmim: mask_cell=0 must be at least 1"),
        ("simmim", {"skips": True}, "simmim: skips=True needs decoder='conv'"),
        ("simmim", {"decoder": "unet"}, "simmim: decoder='unet' must be one of 'light', 'conv'"),
        ("spark", {"ratio": 0.0}, r"spark: ratio=0 must be within \(0, 1\)"),
        ("spark", {"score": "none"}, "spark: score='none' must be one of 'hidden', 'all'"),
        ("cross_sequence", {"hidden": 2}, "cross_sequence: hidden=2 must be within 1 and 1"),
    ],
)
def test_options_out_of_range_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        task(name, 2, **options)


@pytest.mark.parametrize("name", sorted(set(SMALL) - {"spark"}))
def test_networks_by_name_solve_every_task(name, tmp_path):
    """Of cohorts: encoders by name carry a preprocessing, and other facts than networks alone."""
    cohort = sm.Cohort.from_table(_pictures(tmp_path))
    how = sm.ImagePreprocessing(size=64, patch=None)
    run = sm.pretrain(cohort, name, "resnet10", tmp_path / "run", preprocessing=how, batch_size=2, epochs=1, progress=False, threads=1, **SMALL[name])
    assert run.history["loss"].notna().all()


def _pictures(folder):
    from PIL import Image

    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 255, (70, 70, 3), dtype="uint8")
        Image.fromarray(pixels).save(folder / f"{i}.png")
    rows = "".join(f"{i}.png\ts{i}\n" for i in range(4))
    (folder / "table.tsv").write_text("path\tsubject\n" + rows)
    return folder / "table.tsv"
