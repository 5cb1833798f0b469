"""Dice, IoU, volume similarity and Euler difference against the libraries whose definitions they use."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from masks import KINDS, pair

from sslmed import metrics

SHAPES = [(17, 33), (9, 14, 40), (1, 1, 3), (5, 70)]
EMPTY = [(False, False), (True, False), (False, True)]


def monai(function, prediction, reference):
    compute = pytest.importorskip("monai.metrics")
    one, two = (torch.from_numpy(each)[None, None].float() for each in (prediction, reference))
    return float(getattr(compute, function)(one, two, include_background=True))


def same(ours, theirs):
    return ours == pytest.approx(theirs, rel=1e-6, abs=1e-9, nan_ok=True)


def masks_of(present, shape=(6, 7, 8)):
    out = np.zeros((2, *shape), bool)
    for mask, there in zip(out, present, strict=True):
        mask[2:4, 2:5, 3] = there
    return out


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_dice_and_iou_equal_monai_and_medpy(rng, shape, kind):
    one, two = pair(rng, shape, kind if min(shape) > 4 else "full")
    if not (one.any() and two.any()):
        return
    assert same(metrics.dice(one, two), monai("compute_dice", one, two))
    assert same(metrics.iou(one, two), monai("compute_iou", one, two))
    counts = [int(each.sum()) for each in (one, two, one & two)]
    for how in metrics.CONVENTIONS["dice"]:
        assert same(metrics.dice(one, two, convention=how), 2 * counts[2] / (counts[0] + counts[1]))
    for how in metrics.CONVENTIONS["iou"]:
        assert same(metrics.iou(one, two, convention=how), counts[2] / (counts[0] + counts[1] - counts[2]))


@pytest.mark.parametrize("present", EMPTY)
def test_empty_cases_of_dice_and_iou(present):
    one, two = masks_of(present)
    assert same(metrics.dice(one, two), monai("compute_dice", one, two))
    assert same(metrics.iou(one, two), monai("compute_iou", one, two))
    binary = pytest.importorskip("medpy.metric.binary")
    if any(present):  # medpy means 1 where both are empty: NumPy 2 gives NaN instead of the ZeroDivisionError it expects
        assert same(metrics.dice(one, two, convention="medpy"), binary.dc(one, two))
    assert same(metrics.iou(one, two, convention="medpy"), binary.jc(one, two))


def test_empty_cases_that_the_libraries_document():
    both, missed = masks_of((False, False)), masks_of((False, True))
    values = {how: metrics.dice(*both, convention=how) for how in metrics.CONVENTIONS["dice"]}
    assert {how for how, value in values.items() if math.isnan(value)} == {"monai", "deepmind", "hovernet"}
    assert {how for how, value in values.items() if value == 1} == {"fomo26", "metricsreloaded", "medpy"}
    assert all(metrics.dice(*missed, convention=how) == 0 for how in values)
    assert math.isnan(metrics.iou(*both, convention="metricsreloaded"))
    assert math.isnan(metrics.volume_similarity(*both))
    assert metrics.volume_similarity(*missed) == 0
    assert metrics.volume_similarity(*missed, convention="simpleitk") == -2
    assert metrics.euler_difference(*both) == 0


@pytest.mark.parametrize("kind", ["blobs", "noise", "edge"])
def test_volume_similarity_equals_simpleitk(rng, kind):
    sitk = pytest.importorskip("SimpleITK")
    one, two = pair(rng, (9, 14, 20), kind)
    measure = sitk.LabelOverlapMeasuresImageFilter()
    measure.Execute(*(sitk.GetImageFromArray(each.astype(np.uint8)) for each in (one, two)))
    assert same(metrics.volume_similarity(one, two, convention="simpleitk"), measure.GetVolumeSimilarity())
    assert same(metrics.dice(one, two), measure.GetDiceCoefficient())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(17, 33), (9, 14, 40)])
@pytest.mark.parametrize("connectivity", ["full", "faces"])
def test_euler_characteristic_equals_scikit_image(rng, shape, kind, connectivity):
    measure = pytest.importorskip("skimage.measure")
    one, two = pair(rng, shape, kind)
    score = metrics.euler_difference(one, two, connectivity=connectivity)
    near = len(shape) if connectivity == "full" else 1
    assert [score.prediction, score.reference] == [measure.euler_number(each, connectivity=near) for each in (one, two)]
    assert score == abs(score.prediction - score.reference)


@pytest.mark.parametrize(
    ("build", "expected"),
    [("ball", 1), ("hollow", 2), ("ring", 0), ("two", 2), ("diagonal", 1)],
)
def test_euler_characteristic_of_known_shapes(build, expected):
    mask = np.zeros((7, 7, 7), bool)
    if build in ("ball", "hollow"):
        mask[1:6, 1:6, 1:6] = True
        mask[3, 3, 3] = build == "ball"
    elif build == "ring":
        mask[3, 1:6, 1:6] = True
        mask[3, 2:5, 2:5] = False
    elif build == "two":
        mask[0, 0, 0] = mask[6, 6, 6] = True
    else:
        mask[2, 2, 2] = mask[3, 3, 3] = True
    assert metrics.euler_difference(mask, np.zeros_like(mask)) == expected
    if build == "diagonal":
        assert metrics.euler_difference(mask, np.zeros_like(mask), connectivity="faces") == 2


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64, np.uint32])
def test_label_maps_of_every_type(rng, dtype):
    one, two = rng.integers(0, 4, (2, 12, 13, 14)).astype(dtype)
    found = metrics.dice(one, two)
    assert sorted(found) == [1, 2, 3]
    for label, value in found.items():
        assert same(value, metrics.dice(one == label, two == label))
        assert metrics.dice(one, two, label=label) == value
        assert metrics.dice(torch.from_numpy(one), torch.from_numpy(two), label=[label]) == {label: value}
    assert metrics.dice(one.astype(np.uint8), two.astype(np.int64)) == found
    assert metrics.dice(one.astype(np.int32), two.astype(np.uint8)) == found


def test_labels_that_bytes_cannot_have():
    small, large = np.ones((4, 4), np.uint8), np.full((4, 4), 257, np.int32)
    assert metrics.dice(small, large, label=257) == 0
    assert metrics.dice(large, small, label=257) != metrics.dice(large, large, label=257) == 1
    assert math.isnan(metrics.dice(large, small, label=257))
    assert metrics.dice(small, large) == {1: 0.0, 257: 0.0} or math.isnan(metrics.dice(small, large)[1])
    negative = np.full((4, 4), -3, np.int16)
    assert metrics.dice(negative, negative) == 1
    assert metrics.dice(negative, negative, label=-3) == 1


def test_views_of_memory_count_as_they_look(rng):
    one, two = rng.random((2, 20, 22, 24)) < 0.4
    assert metrics.dice(one[::2, ::-1, 3:], two[::2, ::-1, 3:]) == metrics.dice(one[::2, ::-1, 3:].copy(), two[::2, ::-1, 3:].copy())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(7, 9), (4, 5, 6), (3, 40, 1)]), st.floats(0, 1))
def test_symmetry_and_identity(seed, shape, share):
    rng = np.random.default_rng(seed)
    one, two = rng.random((2, *shape)) < share
    for how in ("deepmind", "medpy"):
        assert same(metrics.dice(one, two, convention=how), metrics.dice(two, one, convention=how))
    assert same(metrics.volume_similarity(one, two), metrics.volume_similarity(two, one))
    assert same(
        metrics.volume_similarity(one, two, convention="simpleitk"),
        -metrics.volume_similarity(two, one, convention="simpleitk"),
    )
    assert metrics.euler_difference(one, two) == metrics.euler_difference(two, one)
    assert metrics.euler_difference(one, one) == 0
    assert metrics.dice(one, one, convention="medpy") == 1
    d, j = metrics.dice(one, two, convention="medpy"), metrics.iou(one, two, convention="medpy")
    assert same(d, 2 * j / (1 + j))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"convention": "nobody"}, "convention='nobody' must be one of"),
        ({"label": 0}, "label=0 must not be 0"),
        ({"label": 1.5}, "label=1.5"),
        ({"spacing": (1.0, 2.0)}, "must have 3 numbers"),
        ({"spacing": 0}, "spacing=0"),
        ({"spacing": math.nan}, "spacing=nan"),
    ],
)
def test_bad_options(kwargs, message):
    mask = np.ones((3, 3, 3), bool)
    with pytest.raises(ValueError, match="dice: ") as error:
        metrics.dice(mask, mask, **kwargs)
    assert message in str(error.value)


def test_bad_maps():
    mask = np.ones((3, 3), bool)
    with pytest.raises(ValueError, match="expected one shape"):
        metrics.dice(mask, np.ones((3, 4), bool))
    with pytest.raises(TypeError, match="whole numbers"):
        metrics.dice(mask.astype(float), mask)
    with pytest.raises(TypeError, match="tensor or a NumPy array"):
        metrics.dice([[True]], mask)
    with pytest.raises(ValueError, match=r"\[H, W\] or \[D, H, W\]"):
        metrics.dice(np.ones(3, bool), np.ones(3, bool))
    with pytest.raises(ValueError, match="with cells"):
        metrics.dice(np.ones((0, 3), bool), np.ones((0, 3), bool))
    with pytest.raises(ValueError, match="int32"):
        metrics.dice(np.full((2, 2), 2**40), np.full((2, 2), 2**40))
