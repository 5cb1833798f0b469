"""Suppression and star-convex shapes against torchvision, StarDist's compiled routines, SciPy and plain references."""

import doctest
import importlib.util
import json
import uuid
from importlib.machinery import ExtensionFileLoader
from pathlib import Path

import numpy as np
import pytest
import torch

import sslmed as sm
from sslmed import objects
from sslmed._core import C


def stardist():
    """StarDist's compiled module, without the packages that its Python code needs."""
    spec = importlib.util.find_spec("stardist")
    if spec is None:
        pytest.skip("stardist is not installed")
    path = next(Path(spec.submodule_search_locations[0]).glob("lib/stardist2d*.so"))
    loader = ExtensionFileLoader("stardist2d", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_file_location("stardist2d", path, loader=loader))
    loader.exec_module(module)
    return module


def blobs(seed=0, n=25, size=96):
    """Overlapping ellipses, one number each."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    labels = np.zeros((size, size), np.int32)
    for i in range(1, n + 1):
        a, b = rng.uniform(3, 9, 2)
        angle, (cy, cx) = rng.uniform(0, np.pi), rng.uniform(0, size, 2)
        u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        labels[(u / a) ** 2 + (v / b) ** 2 < 1] = i
    return labels


def greedy(order, overlaps):
    kept = []
    for i in order:
        if not any(overlaps(i, j) for j in kept):
            kept.append(int(i))
    return kept


@pytest.mark.parametrize("iou", [0.0, 0.3, 0.5, 0.9])
def test_boxes_are_suppressed_as_by_torchvision(iou):
    ops = pytest.importorskip("torchvision.ops")
    if not pytest.importorskip("torchvision.extension")._has_ops():
        pytest.skip("torchvision has no compiled operators for this torch")
    draw = torch.Generator().manual_seed(1)
    low = torch.rand(600, 2, generator=draw, dtype=torch.float64) * 100
    size = torch.rand(600, 2, generator=draw, dtype=torch.float64) ** 3 * 60 + 0.1  # of very different sizes
    scores = torch.rand(600, generator=draw, dtype=torch.float64)
    labels = torch.randint(0, 3, (600,), generator=draw)
    boxes = torch.stack([low, low + size], 1)
    theirs = torch.cat([low.flip(1), (low + size).flip(1)], 1)
    assert torch.equal(objects.nms_boxes(boxes, scores, iou), ops.nms(theirs, scores, iou))
    assert torch.equal(objects.nms_boxes(boxes, scores, iou, labels), ops.batched_nms(theirs, scores, labels, iou))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_points_and_boxes_of_any_rank_equal_a_plain_reference(rank):
    rng = np.random.default_rng(rank)
    places, scores = rng.uniform(-20, 20, (300, rank)), rng.uniform(0, 1, 300).round(2)  # with equal scores
    order = np.argsort(-scores, kind="stable")
    plain = greedy(order, lambda i, j: np.linalg.norm(places[i] - places[j]) < 4)
    assert objects.nms_points(places, scores, 4).tolist() == plain
    sizes = rng.uniform(0.1, 9, (300, rank))
    boxes = np.stack([places - sizes, places + sizes], 1)

    def iou(i, j):
        shared = np.maximum(0, np.minimum(boxes[i, 1], boxes[j, 1]) - np.maximum(boxes[i, 0], boxes[j, 0])).prod()
        return shared / ((2 * sizes[i]).prod() + (2 * sizes[j]).prod() - shared) > 0.2

    assert objects.nms_boxes(boxes, scores, 0.2).tolist() == greedy(order, iou)


def test_nothing_and_one_giant():
    none = torch.zeros(0)
    assert objects.nms_boxes(torch.zeros(0, 2, 2), none).shape == (0,)
    assert objects.nms_points(torch.zeros(0, 3), none, 1).shape == (0,)
    assert objects.nms_stars(torch.zeros(0, 2), torch.zeros(0, 8), none).shape == (0,)
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 1e4, (500, 2))
    boxes = np.concatenate([np.stack([low, low + 1], 1), [[[0, 0], [1e4, 1e4]]]])
    assert len(objects.nms_boxes(boxes, np.ones(501), 0.0)) < 501
    assert objects.nms_boxes(boxes, np.r_[np.zeros(500), 1], 0.0).tolist()[0] == 500


@pytest.mark.parametrize("rays", [3, 8, 32])
def test_star_distances_are_those_of_stardist(rays):
    labels = blobs()
    want = stardist().c_star_dist(labels.astype(np.uint16), np.int32(rays), np.int32(1), np.int32(1))
    assert np.array_equal(objects.star_distances(labels, rays).numpy(), want)
    coarse = objects.star_distances(labels, rays, stride=3).numpy()
    assert np.array_equal(coarse, want[1::3, 1::3])


def test_star_distances_by_hand():
    labels = torch.zeros(7, 9, dtype=torch.int32)
    labels[2:5, 3:8] = 7
    right, down, left, up = objects.star_distances(labels, 4)[3, 4].tolist()
    assert (right, down, left, up) == pytest.approx((3.5, 1.5, 1.5, 1.5))
    assert objects.star_distances(labels, 4)[0].abs().sum() == 0


def test_object_probability_is_the_distance_transform_of_each_object():
    ndimage = pytest.importorskip("scipy.ndimage")
    labels = blobs(3)
    want = np.zeros(labels.shape)
    for i in np.unique(labels[labels > 0]):
        depth = ndimage.distance_transform_edt(labels == i)
        want += np.where(labels == i, depth / depth.max(), 0)
    assert np.abs(objects.object_probability(labels).numpy() - want).max() <= 1e-6
    full = objects.object_probability(np.ones((5, 5), np.int32)).numpy()
    assert full[2, 2] == 1
    assert full[0, 0] == pytest.approx(1 / 3)


def stars(seed, n, size=60.0, rays=16):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, size, (n, 2)), rng.uniform(2, 10, (n, rays))


def test_shared_areas_are_exact():
    shapely = pytest.importorskip("shapely")
    centers, far = stars(0, 40)
    polygons = [shapely.Polygon(ring) for ring in objects.star_polygons(centers, far)]
    for i in range(40):
        for j in range(i, 40):
            want = polygons[i].intersection(polygons[j]).area
            got = C.star_overlap(torch.from_numpy(centers), torch.from_numpy(far), i, j)
            assert got == pytest.approx(want, abs=1e-8)


def test_shared_areas_by_counting():
    centers, far = stars(5, 12, size=20)
    fine = 40
    maps = [objects.draw_stars(centers[i : i + 1] * fine, far[i : i + 1] * fine, (1200, 1200)).numpy() > 0 for i in range(12)]
    for i in range(12):
        inside = centers[i].min() - far[i].max() > 0 and centers[i].max() + far[i].max() < 1200 / fine
        for j in range(12):
            if inside:
                got = C.star_overlap(torch.from_numpy(centers), torch.from_numpy(far), i, j)
                assert got == pytest.approx((maps[i] & maps[j]).sum() / fine**2, rel=0.01, abs=0.1)


@pytest.mark.parametrize("overlap", [0.2, 0.5])
def test_stars_are_suppressed_as_by_stardist(overlap):
    centers, far = stars(2, 300, size=120)
    # StarDist's corners are whole numbers: large shapes leave nothing to the rounding.
    centers, far = (centers * 1000).round(), (far * 1000).astype(np.float32)
    scores = np.random.default_rng(1).uniform(0, 1, 300)
    order = np.argsort(-scores)
    args = (far[order], centers[order].astype(np.float32), np.int32(1), np.int32(1), np.int32(0), np.float32(overlap))
    kept = order[stardist().c_non_max_suppression_inds(*args)]
    assert objects.nms_stars(centers, far, scores, overlap).tolist() == kept.tolist()


def test_stars_by_intersection_over_union():
    centers, far = stars(4, 80)
    scores = np.random.default_rng(2).uniform(0, 1, 80)
    t_centers, t_far = torch.from_numpy(centers), torch.from_numpy(far)
    area = [C.star_overlap(t_centers, t_far, i, i) for i in range(80)]

    def iou(i, j):
        shared = C.star_overlap(t_centers, t_far, int(i), int(j))
        return shared / (area[i] + area[j] - shared) > 0.3

    want = greedy(np.argsort(-scores, kind="stable"), iou)
    assert objects.nms_stars(centers, far, scores, 0.3, by="iou").tolist() == want
    labels = np.arange(80)
    assert len(objects.nms_stars(centers, far, scores, 0.0, labels)) == 80


def test_drawn_stars_are_polygons():
    draw = pytest.importorskip("skimage.draw")
    centers, far = stars(6, 8)
    for center, distances in zip(centers, far, strict=True):
        polygon = objects.star_polygons(center[None], distances[None])[0]
        want = np.zeros((70, 70), bool)
        rows, columns = draw.polygon(polygon[:, 0] - 0.5, polygon[:, 1] - 0.5, (70, 70))  # its pixels are points
        want[rows, columns] = True
        got = objects.draw_stars(center[None], distances[None], (70, 70)).numpy() == 1
        assert (got != want).sum() <= 1
    both = objects.draw_stars(centers[:2] * 0 + 30, np.full((2, 16), 5.0), (70, 70))
    assert both.unique().tolist() == [0, 2]


def test_stars_of_distances_are_the_objects():
    labels = blobs(7, n=6)
    far = objects.star_distances(labels, 64).numpy()
    for i in np.unique(labels[labels > 0]):
        probability = np.where(labels == i, objects.object_probability(labels).numpy(), 0)
        y, x = np.unravel_index(probability.argmax(), labels.shape)
        drawn = objects.draw_stars(np.array([[y + 0.5, x + 0.5]]), far[y, x][None], labels.shape).numpy() == 1
        assert (drawn & (labels == i)).sum() / (drawn | (labels == i)).sum() > 0.85 or (labels == i).sum() < 40


def test_instances_are_written_in_16_bits(tmp_path):
    labels = np.arange(70000).reshape(250, 280) % 65536
    sm.io.write_label_png(labels, tmp_path / "i.png", wide=True)
    assert torch.equal(sm.io.read_image(tmp_path / "i.png", torch.uint16)[..., 0], torch.from_numpy(labels.astype(np.uint16)))
    for wrong in (np.full((2, 2), 65536), np.full((2, 2), -1), np.zeros((2, 2)), np.zeros(4, int)):
        with pytest.raises(ValueError, match="write_label_png: labels must be"):
            sm.io.write_label_png(wrong, tmp_path / "wrong.png", wide=True)


def test_a_subset_of_objects():
    found = objects.Objects(np.zeros((3, 2)), np.array(["a", "b", "a"]), np.array([0.9, 0.5, 0.1]), None, None, np.array([[1, 2], [3, 0]]))
    some = found.above(0.3)
    assert some.instances.tolist() == [[1, 2], [0, 0]]
    assert found.of(found.names == "a").instances.tolist() == [[1, 0], [2, 0]]
    for numbers in ([-1], [0, 3]):
        with pytest.raises(IndexError, match=r"Objects\.of: there are 3 objects"):
            found.of(np.array(numbers))


@pytest.mark.parametrize("shape", ["points", "boxes", "polygons"])
def test_objects_for_qupath(tmp_path, shape):
    places, names, scores = np.array([[2.0, 7.5], [4, 1]]), np.array(["a", "b"]), np.array([0.9, 0.25])
    corners = np.array([[[1.0, 6], [3, 9]], [[3, 0], [5, 2]]])
    polygons = tuple(np.array([[a, b], [a, d], [c, d]]) for (a, b), (c, d) in corners)
    more = {"points": {}, "boxes": {"boxes": corners}, "polygons": {"boxes": corners, "polygons": polygons}}[shape]
    found = objects.Objects(places, names, scores, **more)
    sm.io.write_objects(tmp_path / "o.geojson", objects.slide_objects(found))
    features = json.loads((tmp_path / "o.geojson").read_text())["features"]
    assert [one["properties"]["objectType"] for one in features] == ["detection"] * 2
    assert [one["properties"]["classification"]["name"] for one in features] == ["a", "b"]
    assert features[1]["properties"]["measurements"] == {"score": 0.25}
    assert len({uuid.UUID(one["id"]) for one in features}) == 2
    expected = {
        "points": {"type": "Point", "coordinates": [7.5, 2]},
        "boxes": {"type": "Polygon", "coordinates": [[[6, 1], [9, 1], [9, 3], [6, 3], [6, 1]]]},
        "polygons": {"type": "Polygon", "coordinates": [[[6, 1], [9, 1], [9, 3], [6, 1]]]},
    }
    assert features[0]["geometry"] == expected[shape]


def test_labels_of_more_than_32_bits_are_refused():
    wide = torch.tensor([0, 2**32])
    with pytest.raises(ValueError, match="nms_points: labels must have 32 bits"):
        objects.nms_points(torch.zeros(2, 2), torch.ones(2), 1.0, wide)
    with pytest.raises(ValueError, match="nms_boxes: labels must have 32 bits"):
        objects.nms_boxes(torch.tensor([[[0.0, 0], [1, 1]]] * 2), torch.ones(2), 0.5, wide)
    with pytest.raises(ValueError, match="nms_stars: labels must have 32 bits"):
        objects.nms_stars(torch.zeros(2, 2), torch.ones(2, 8), torch.ones(2), 0.5, labels=wide)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"boxes must be \[n, 2, rank\], got \[3, 4\]"):
        objects.nms_boxes(torch.zeros(3, 4), torch.zeros(3))
    with pytest.raises(ValueError, match=r"scores must be \[3\], got \[2\]"):
        objects.nms_points(torch.zeros(3, 2), torch.zeros(2), 1)
    with pytest.raises(ValueError, match="scores must be numbers, got NaN"):
        objects.nms_points(torch.zeros(1, 2), torch.tensor([float("nan")]), 1)
    with pytest.raises(ValueError, match=r"distances must be \[2, rays\] of at least 3 rays"):
        objects.nms_stars(torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2))
    with pytest.raises(ValueError, match=r"nms_boxes: iou=1\.5"):
        objects.nms_boxes(torch.zeros(1, 2, 2), torch.zeros(1), 1.5)
    with pytest.raises(ValueError, match="nms_stars: by='area'"):
        objects.nms_stars(torch.zeros(1, 2), torch.ones(1, 3), torch.zeros(1), by="area")
    with pytest.raises(ValueError, match="star_distances: rays=2"):
        objects.star_distances(torch.zeros(2, 2, dtype=torch.int32), 2)
    with pytest.raises(ValueError, match="labels must be whole numbers"):
        objects.object_probability(torch.zeros(2, 2))


def test_what_is_not_finite_is_refused():
    one, nan = torch.ones(1), float("nan")
    for call, message in [
        (lambda: objects.nms_boxes(torch.tensor([[[0, nan], [1, 1]]]), one), "nms_boxes: boxes must be finite"),
        (lambda: objects.nms_boxes(torch.tensor([[[5.0, 5.0], [1.0, 9.0]]]), one), "lowest corner first"),
        (lambda: objects.nms_points(torch.tensor([[0.0, nan]]), one, 2), "nms_points: points must be finite"),
        (lambda: objects.nms_stars(torch.zeros(1, 2), torch.full((1, 8), nan), one), "nms_stars: distances must be finite"),
        (lambda: objects.nms_stars(torch.zeros(1, 2), torch.full((1, 8), -1.0), one), "at least 0, got -1"),
        (lambda: objects.draw_stars(torch.full((1, 2), nan), torch.ones(1, 8), (4, 4)), "draw_stars: centers must be finite"),
        (lambda: objects.star_distances(torch.full((3, 3), 2**32 + 1)), "labels must have 32 bits, got 4294967297"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_examples_run():
    found = doctest.testmod(objects)
    assert found.attempted > 20
    assert found.failed == 0
