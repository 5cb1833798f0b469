"""The detection task: targets and losses against plain references, resumed runs, and objects out of maps."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

import sslmed as sm
from sslmed import objects
from sslmed._core import C
from sslmed.methods import Detect
from sslmed.modalities import registry


def runs_of(labels):
    """Values and lengths of a label map, row by row."""
    flat = labels.ravel()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1])
    return torch.from_numpy(np.stack([flat[starts], np.diff(np.r_[starts, len(flat)])], 1).astype(np.int32))


@pytest.fixture(scope="module")
def discs(tmp_path_factory):
    """Six pictures of 48 × 64 pixels with three bright discs each, of two classes by their size."""
    folder, rows, entries = tmp_path_factory.mktemp("discs"), [], []
    for i in range(6):
        rng = np.random.default_rng(i)
        y, x = np.mgrid[:48, :64] + 0.5
        labels, points, boxes, classes = np.zeros((48, 64), np.int64), [], [], []
        for j in range(3):
            cy, cx, r = rng.uniform(10, 38), 11 + 21 * j + rng.uniform(-2, 2), (4, 7)[(i + j) % 2]
            labels[(y - cy) ** 2 + (x - cx) ** 2 < r**2] = (r == 7) * 65536 + j + 1
            points.append([cy, cx])
            boxes.append([[cy - r, cx - r], [cy + r, cx + r]])
            classes.append(int(r == 7))
        picture = 40000 * (labels > 0) + rng.integers(0, 12000, (48, 64))
        sm.io.write_label_png(picture, folder / f"{i}.png", wide=True)
        rows.append({"subject": f"s{i}", "path": str(folder / f"{i}.png")})
        classes = torch.tensor(classes)
        targets = {"points": ("points", torch.tensor(points), classes), "boxes": ("boxes", torch.tensor(boxes), classes)}
        entries.append(targets | {"stars": ("runs", runs_of(labels))})
    return sm.Cohort.from_table(pd.DataFrame(rows), name="discs"), entries


def how(**options):
    return sm.ImagePreprocessing(**{"size": 32, "region": 48, "patch": None} | options)


def loader_of(discs, kind, batch_size=3, pre=None, **options):
    cohort, entries = discs
    targets = {"objects": [{"shape": (48, 64), "objects": entry[kind]} for entry in entries]}
    return sm.Loader(cohort, pre or how(), batch_size=batch_size, random=True, targets=targets, **options)


def task_of(kind, **options):
    encoder = sm.DenseEncoder("unet", how(), filters=[4, 8], seed=1)
    return Detect(encoder, kind, **{"classes": 2, "features": 6, "seed": 2, "rays": 8, "scale": 3.0} | options)


def plain_focal(logits, heat):
    """CenterNet's, with the sigmoid as it is written in the paper."""
    p = logits.sigmoid()
    positive = -torch.log(p) * (1 - p) ** 2 * (heat == 1)
    negative = -torch.log(1 - p) * p**2 * (1 - heat) ** 4 * (heat < 1)
    return (positive + negative).flatten(1).sum(1)


def test_the_focal_loss_is_the_papers():
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 2, 7, 9, generator=draw, dtype=torch.float64, requires_grad=True)
    heat = torch.rand(3, 2, 7, 9, generator=draw, dtype=torch.float64)
    heat[:, 0, 2, 3] = heat[1, 1, 0, 8] = 1
    got, want = C.heat_focal(logits, heat, 2.0, 4.0), plain_focal(logits, heat)
    assert torch.allclose(got, want, atol=1e-12)
    weights = torch.tensor([1.0, 2, 3], dtype=torch.float64)
    one, two = (torch.autograd.grad((x * weights).sum(), logits)[0] for x in (got, want))
    assert torch.allclose(one, two, atol=1e-12)


def test_the_losses_of_stars_are_stardists():
    draw = torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    object_, far, kinds = random(1, 6, 8).requires_grad_(), random(1, 5, 6, 8).requires_grad_(), random(1, 4, 6, 8).requires_grad_()
    prob, true_far = random(1, 6, 8).sigmoid() * (random(1, 6, 8) > 0), random(1, 5, 6, 8).abs()
    classes = torch.randint(0, 4, (1, 6, 8), generator=draw)
    got = C.star_losses(object_, far, kinds, prob, true_far, classes, 1e-4)
    # Keras's means over everything, as stardist/models/base.py and model2d.py have them.
    bce = F.binary_cross_entropy(object_.sigmoid(), prob)
    mask = prob[:, None]
    mae = (mask * (true_far - far).abs()).mean(1) / (mask.mean() + 1e-7) + 1e-4 * ((1 - mask) * far.abs()).mean(1)
    want = (bce, mae.mean(), F.cross_entropy(kinds, classes))
    for x, y in zip(got, want, strict=True):
        assert abs((x[0] - y).item()) <= 1e-12
    leaves = (object_, far, kinds)
    ours = torch.autograd.grad(got[0][0] + 0.2 * got[1][0] + got[2][0], leaves)
    theirs = torch.autograd.grad(want[0] + 0.2 * want[1] + want[2], leaves)
    assert all(torch.allclose(x, y, atol=1e-12) for x, y in zip(ours, theirs, strict=True))
    unknown = classes.clone()
    unknown[:, :3] = -1
    cut = C.star_losses(object_, far, None, prob, true_far, unknown, 1e-4)
    half = C.star_losses(object_[:, 3:], far[:, :, 3:], None, prob[:, 3:], true_far[:, :, 3:], classes[:, 3:], 1e-4)
    assert cut[2] is None
    assert torch.allclose(torch.stack(cut[:2]), torch.stack(half[:2]), atol=1e-12)


def test_the_radius_of_a_box_leaves_the_overlap():
    def corrected(h, w, o):
        """The smallest root of each of the three cases, with the divisor that CornerNet's own code lacks."""
        one = (h + w - np.sqrt((h + w) ** 2 - 4 * w * h * (1 - o) / (1 + o))) / 2
        two = (2 * (h + w) - np.sqrt(4 * (h + w) ** 2 - 16 * (1 - o) * w * h)) / 8
        three = (-2 * o * (h + w) + np.sqrt((2 * o * (h + w)) ** 2 - 16 * o * (o - 1) * w * h)) / (8 * o)
        return min(one, two, three)

    for h, w, o in [(10, 20, 0.7), (3, 3, 0.5), (40, 4, 0.3), (7.5, 9, 0.9)]:
        assert C.gaussian_radius([h, w], o) == pytest.approx(corrected(h, w, o), rel=1e-9)
    r = C.gaussian_radius([10, 20, 30], 0.7)
    grown = 6000 / ((10 + 2 * r) * (20 + 2 * r) * (30 + 2 * r))
    shrunk = (10 - 2 * r) * (20 - 2 * r) * (30 - 2 * r) / 6000
    shared = (10 - r) * (20 - r) * (30 - r)
    assert min(grown, shrunk, shared / (12000 - shared)) == pytest.approx(0.7, rel=1e-9)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_heat_maps_of_any_rank_equal_a_plain_reference(rank):
    rng = np.random.default_rng(rank)
    cells, stride, radius, n = (9, 11, 8)[:rank], 2, 4, 5
    places, classes = rng.uniform(0, 1, (n, rank)) * np.array(cells) * stride, rng.integers(0, 3, n)
    given = torch.tensor(np.c_[places, classes], dtype=torch.float32)
    heat, index, offsets, sizes = C.center_targets(given, list(cells), 3, stride, radius, 0.7)
    want, middle = np.zeros((3, *cells)), np.floor(places / stride)
    grid = np.stack(np.meshgrid(*map(np.arange, cells), indexing="ij"), -1)
    for i in range(n):
        away = grid - middle[i]
        bump = np.exp(-(away**2).sum(-1) / (2 * (5 / 6) ** 2)) * (np.abs(away) <= 2).all(-1)  # radius 2 cells
        want[classes[i]] = np.maximum(want[classes[i]], bump)
    assert np.abs(heat.numpy() - want).max() <= 1e-6
    assert index.tolist() == np.ravel_multi_index(middle.astype(int).T, cells).tolist()
    assert np.abs(offsets.numpy() - (places / stride - middle)).max() <= 1e-5
    assert sizes is None
    half = rng.uniform(1, 4, (n, rank))
    boxes = torch.tensor(np.c_[places - half, places + half, classes], dtype=torch.float32)
    _, same, _, sizes = C.center_targets(boxes, list(cells), 3, stride, radius, 0.7)
    assert torch.equal(same, index)
    assert np.abs(sizes.numpy() - 2 * half).max() <= 1e-4
    with pytest.raises(ValueError, match="the target holds class 3, expected one of 3 classes"):
        C.center_targets(torch.tensor([[0.0] * rank + [3]]), list(cells), 3, 1, 1.0, 0.7)


def test_star_targets_come_from_the_moved_instances():
    labels = np.zeros((12, 16), np.int32)
    labels[2:8, 3:9], labels[5:11, 10:15] = 1, 65536 + 2
    labels[:, 0] = -1
    probability, far, classes = C.star_targets(torch.from_numpy(labels), 1, 8)
    assert classes.unique().tolist() == [-1, 0, 1, 2]
    assert torch.equal(classes == 1, torch.from_numpy(labels == 1))
    assert torch.equal(far.permute(1, 2, 0), objects.star_distances(labels, 8))
    assert torch.equal(probability, objects.object_probability(labels))
    every_other = C.star_targets(torch.from_numpy(labels), 2, 8)
    assert torch.equal(every_other[2], classes[1::2, 1::2])
    assert torch.equal(every_other[0], probability[1::2, 1::2])
    assert torch.equal(every_other[1], far[:, 1::2, 1::2])


@pytest.mark.parametrize("kind", ["points", "boxes"])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_loss_of_centers_is_a_plain_one(discs, kind, stride):
    task = task_of(kind, stride=stride, weights={"size_weight": 0.3, "offset_weight": 0.7}).double()
    dict(task.named_parameters())["head.out.bias"].data[4:] = 3.0  # sizes below 0 are cut in the maps
    view = next(iter(loader_of(discs, kind))).views[0]
    got = task.loss(next(iter(loader_of(discs, kind))))
    maps = task.forward_dense(view.values)
    logits = torch.logit(maps[:, :2])
    total, n = torch.zeros((), dtype=torch.float64), 0
    for b, given in enumerate(view.targets["objects"]):
        heat, index, offsets, sizes = C.center_targets(given, list(maps.shape[2:]), 2, stride, 3.0, 0.7)
        total = total + plain_focal(logits[b : b + 1], heat[None].double()).sum()
        at = maps[b, 2:].flatten(1)[:, index].T
        total = total + 0.7 * (at[:, :2] - offsets).abs().sum()
        if kind == "boxes":
            total = total + 0.3 * (at[:, 2:] - sizes).abs().sum()
            assert (maps[b, 4:].flatten(1)[:, index] > 0).all()
        n += max(len(index), 1)
    assert abs((got - total / n).item()) <= 1e-6
    if kind == "points":
        parameters = list(task.parameters())
        for p, q in zip(torch.autograd.grad(got, parameters), torch.autograd.grad(total / n, parameters), strict=True):
            assert float((p - q).abs().max()) <= 1e-5


def test_the_loss_of_stars_is_a_mean_over_samples(discs):
    task = task_of("stars").double()
    view = next(iter(loader_of(discs, "stars"))).views[0]
    got = task.loss(next(iter(loader_of(discs, "stars"))))
    maps = task.forward_dense(view.values)
    want = torch.zeros((), dtype=torch.float64)
    for b, labels in enumerate(view.targets["objects"]):
        prob, far, classes = C.star_targets(labels, 1, 8)
        mask = prob.double()
        # Distances below 0.001 are cut in the maps: none are here.
        mae = (mask * (far - maps[b, 1:9]).abs().mean(0)).mean() / (mask.mean() + 1e-7)
        own = F.binary_cross_entropy(maps[b, 0], mask) + F.nll_loss(maps[b, 9:].log()[None], classes[None])
        want = want + own + 0.2 * mae
    assert abs((got - want / 3).item()) <= 0.05 * abs(got.item())
    assert torch.isfinite(got)


def test_objects_follow_crops_flips_and_turns(discs):
    changes = sm.Augmentation(p_flip=0.5, p_turn=0.75)
    for kind in ("points", "boxes", "stars"):
        batch = next(iter(loader_of(discs, kind, batch_size=6, recipe=how().recipe(augmentation=changes))))
        view = batch.views[0]
        for picture, found in zip(view.values.float().mean(1), view.targets["objects"], strict=True):
            if kind == "stars":
                assert found.shape == (32, 32)
                assert ((picture > 110) == (found > 0)).float().mean() > 0.98
                continue
            for row in found.tolist():
                if kind == "boxes" and not all(2 < x < 30 for x in row[:4]):
                    continue  # cut at the border
                center = row[:2] if kind == "points" else [(row[0] + row[2]) / 2, (row[1] + row[3]) / 2]
                y, x = (min(int(c), 31) for c in center)
                assert picture[y, x] > 110
                if kind == "boxes":
                    assert row[2] - row[0] == pytest.approx((8, 14)[int(row[4])], abs=1e-3)


@pytest.mark.parametrize("kind", ["points", "boxes", "stars"])
def test_it_learns_and_resumes_with_the_same_bits(discs, kind, tmp_path):
    def run(folder, until=None, resume=None):
        task, losses = task_of(kind, seed=3), []
        trainer = sm.Trainer(task, loader_of(discs, kind, batch_size=2, seed=1, order="shuffle"), epochs=12, lr=1e-2, checkpoints=folder, checkpoint_every=1)
        if resume is not None:
            trainer.resume(resume)
        trainer.fit(lambda rows: losses.extend(row["loss"] for row in rows), until=until)
        return {name: value.detach().clone() for name, value in task.state_dict().items()}, losses

    whole, losses = run(tmp_path / "whole")
    assert np.mean(losses[-3:]) < 0.85 * np.mean(losses[:3])
    run(tmp_path / "part", until=25)
    again, _ = run(tmp_path / "part", resume=sorted((tmp_path / "part").glob("step-*"))[-1])
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def objects_of(maps, kind, **options):
    """Of maps [1, channels, cells…], as one window."""
    given = C.ObjectOptions(kind=kind, **options)
    return C.detect_objects(torch.zeros(1, *maps.shape[2:]), lambda x: maps, [0], [0.25], 1, 0.0, given)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_objects_are_the_peaks_of_their_maps(rank):
    cells = (10, 12, 9)[:rank]
    maps = torch.zeros(1, 2 + 2 * rank, *cells)
    one, two = (3, 4, 5)[:rank], (8, 9, 2)[:rank]
    maps[(0, 0, *one)], maps[(0, 1, *two)] = 0.9, 0.8
    maps[(0, 0, *(c + 1 for c in one))] = 0.6  # next to a peak
    maps[(0, 1, *(0,) * rank)] = 0.2  # below the threshold
    maps[0, 2 : 2 + rank] = 0.25
    maps[0, 2 + rank :] = 4.0
    places, scores, classes, sizes = objects_of(maps, "boxes", classes=2)
    assert places.tolist() == [[c + 0.25 for c in one], [c + 0.25 for c in two]]
    assert scores.tolist() == pytest.approx([0.9, 0.8])
    assert classes.tolist() == [0, 1]
    assert sizes.tolist() == [[4.0] * rank] * 2
    places, *_ = objects_of(maps[:, : 2 + rank], "points", classes=2, distance=100.0)
    assert len(places) == 1
    places, *_ = objects_of(maps[:, : 2 + rank], "points", classes=2, distance=100.0, per_class=True)
    assert len(places) == 2


@pytest.mark.parametrize("overlap", [0.1, 0.25, 0.5, 0.8])
@pytest.mark.parametrize("rank", [2, 3])
def test_windows_find_what_one_look_at_everything_finds(overlap, rank):
    rng = np.random.default_rng(rank)
    size = (70, 55, 40)[:rank]
    # Bright cells, at least 3 apart: the "network" calls every bright cell an object.
    places = rng.integers(0, size, (400, rank))
    places = places[objects.nms_points(places.astype(float), rng.uniform(0, 1, 400), 3.5)]
    image = torch.zeros(1, *size)
    image[(0, *places.T)] = torch.from_numpy(rng.uniform(0.5, 1, len(places))).float()

    def network(windows):
        return torch.cat([windows, torch.full((len(windows), rank, *windows.shape[2:]), 0.5)], 1)

    given = C.ObjectOptions(kind="points", classes=1, distance=2.0)
    whole = C.detect_objects(image, network, [0], [0.25], 1, 0.0, given)
    parts = C.detect_objects(image, network, [16], [overlap], 4, 0.0, given)
    assert len(whole[0]) == len(places)
    for x, y in zip(whole, parts, strict=True):
        assert torch.equal(x, y)
    small = C.detect_objects(image[..., :7], network, [16], [overlap], 4, 0.0, given)
    assert len(small[0]) == (places[:, -1] < 7).sum()


def test_stars_over_windows_have_no_doubles():
    size, rng = 80, np.random.default_rng(0)
    centers = np.array([[y, x] for y in range(8, 80, 16) for x in range(8, 80, 16)]) + rng.integers(-2, 3, (25, 2))
    y, x = np.mgrid[:size, :size]
    labels = np.zeros((size, size), np.int32)
    for i, (cy, cx) in enumerate(centers, 1):
        labels[(y - cy) ** 2 + (x - cx) ** 2 < 25] = i
    full = torch.cat([objects.object_probability(labels)[None], objects.star_distances(labels, 16).permute(2, 0, 1)])
    image = torch.arange(size * size).view(1, size, size).double()  # says to the network where a window is

    def network(windows):
        return torch.stack([full[:, int(w[0, 0, 0]) // size :, int(w[0, 0, 0]) % size :][:, : w.shape[1], : w.shape[2]] for w in windows])

    given = C.ObjectOptions(kind="stars", classes=1, rays=16)
    places, _, _, far = C.detect_objects(image, network, [32], [0.3], 2, 0.0, given)
    assert len(places) == 25
    drawn = objects.draw_stars(places, far, (size, size)).numpy()
    assert float(sm.metrics.panoptic_quality(drawn, labels)) > 0.9


def test_what_does_not_fit_is_refused(discs):
    for wrong, message in [
        ({"classes": 0}, "classes=0 must be within 1 and 32767"),
        ({"rays": 2}, "rays=2 must be at least 3"),
        ({"stride": 0}, "stride=0 must be at least 1"),
        ({"scale": 0}, "scale=0 must be positive"),
        ({"features": 1}, "features=1 must be at least 2"),
        ({"min_overlap": 1.0}, r"min_overlap=1 must be within \(0, 1\)"),
        ({"weights": {"background": -1}}, "background=-1 must not be negative"),
        ({"drop_path": 0.1}, "detect: drop_path=0.1 needs an encoder with residual branches"),
    ]:
        with pytest.raises(ValueError, match=message):
            task_of("stars", **wrong)
    with pytest.raises(TypeError, match="no option 'gamma'"):
        task_of("points", weights={"gamma": 1})
    volumes = sm.DenseEncoder("unet", sm.VolumePreprocessing(spacing=4.0, patch=None, size=16), filters=[4, 8])
    with pytest.raises(ValueError, match="kind='stars' is for pictures"):
        Detect(volumes, "stars")
    assert Detect(volumes, "boxes").forward_dense(torch.zeros(1, 1, 8, 8, 8)).shape == (1, 7, 8, 8, 8)
    with pytest.raises(ValueError, match="the views have no target 'cells'"):
        task_of("points", target="cells").loss(next(iter(loader_of(discs, "points"))))
    with pytest.raises(ValueError, match="the target 'objects' must be points of rank 2"):
        task_of("points").loss(next(iter(loader_of(discs, "boxes"))))
    with pytest.raises(ValueError, match="must have a multiple of stride=3"):
        task_of("points", stride=3).loss(next(iter(loader_of(discs, "points"))))
    with pytest.raises(ValueError, match="expected one of 1 classes"):
        task_of("points", classes=1).loss(next(iter(loader_of(discs, "points", batch_size=6))))
    cohort, _ = discs
    empty = {"shape": (48, 64), "map": ("runs", torch.zeros(1, 2))}
    for given, message in [([{"shape": (48, 64)}], "objects: has 1 entries"), ([empty] * 6, "fill 0 pixels")]:
        with pytest.raises(ValueError, match=message):
            registry.get("images").source(cohort, how(), targets={"objects": given})
