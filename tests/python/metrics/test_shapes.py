"""Distance transforms and connected components against SciPy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from masks import KINDS, instances, moved, pair
from scipy import ndimage

from sslmed import metrics
from sslmed._core import C


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("shape", "spacing"), [((17, 33), (1.0, 1.0)), ((9, 14, 40), (3.0, 0.7, 1.1)), ((1, 200), (0.3, 0.4)), ((70, 3, 2), (1, 2, 3))])
def test_distance_transform_equals_scipy(rng, shape, spacing, kind):
    if kind in ("thin", "outlier") and min(shape) < 3:
        kind = "noise"
    for mask in (each for one in pair(rng, shape, kind) for each in (one, ~one)):
        found = metrics.distance_transform(mask, spacing).numpy()
        if mask.all():
            assert np.isinf(found).all()
            continue
        assert found == pytest.approx(ndimage.distance_transform_edt(mask, sampling=spacing), rel=1e-12)
        assert np.array_equal(found == 0, ~mask)


def test_distance_transform_does_not_depend_on_threads(rng):
    mask = torch.from_numpy(rng.random((90, 80, 70)) < 0.99)
    one = C.distance_transform(mask, [1.0, 0.5, 2.0], 1)
    assert torch.equal(one, C.distance_transform(mask, [1.0, 0.5, 2.0], 3))
    assert torch.equal(one, C.distance_transform(mask.int(), [1.0, 0.5, 2.0], 2))


@pytest.mark.parametrize(("touch", "steps"), [("faces", 1), ("edges", 2), ("full", 3)])
@pytest.mark.parametrize("shape", [(40, 50), (12, 15, 20), (1, 30), (3, 1, 4)])
def test_connected_components_equal_scipy(rng, touch, steps, shape):
    for share in (0.1, 0.4, 0.7, 1.0):
        mask = rng.random(shape) < share
        rank = len(shape)
        expected, count = ndimage.label(mask, ndimage.generate_binary_structure(rank, min(steps, rank)))
        found = metrics.connected_components(mask, touch).numpy()
        assert found.max(initial=0) == count
        assert np.array_equal(found, expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([np.uint8, np.int32]), st.sampled_from([np.uint8, np.int64]))
def test_overlaps_count_every_cell_once(seed, first, second):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 40, int(rng.integers(2, 4))))
    one = instances(rng, shape, 12).astype(first)
    two = moved(rng, one.astype(np.int32), 0.3).astype(second)
    labels, true_labels, pairs = (each.numpy() for each in C.label_overlaps(torch.from_numpy(one), torch.from_numpy(two)))
    for found, given_map in ((labels, one), (true_labels, two)):
        names, counts = np.unique(given_map[given_map != 0], return_counts=True)
        assert np.array_equal(found[:, 0], names)
        assert np.array_equal(found[:, 1], counts)
        for row in found:
            places = np.argwhere(given_map == row[0])
            sums = places.sum(axis=0)
            assert row[2 + (3 - len(shape)) :] == pytest.approx(sums)
    both = (one != 0) & (two != 0)
    assert pairs[:, 2].sum() == both.sum()
    for i, j, cells in pairs:
        assert ((one == labels[i, 0]) & (two == true_labels[j, 0])).sum() == cells


def test_bad_input():
    with pytest.raises(ValueError, match="connectivity='corners'"):
        metrics.connected_components(np.ones((3, 3), bool), "corners")
    with pytest.raises(TypeError, match="distance_transform: mask"):
        metrics.distance_transform(np.ones((3, 3)))
    with pytest.raises(ValueError, match="must have 2 numbers"):
        metrics.distance_transform(np.ones((3, 3), bool), (1, 1, 1))
    with pytest.raises(ValueError, match="numbers from 0 on"):
        C.region_curve(torch.zeros(3), torch.tensor([0, -1, 2]), 0.3)
    flags = torch.zeros(1, dtype=torch.bool)
    with pytest.raises(ValueError, match="do not fit"):
        C.match_detections(torch.tensor([0, 1]), torch.tensor([3]), torch.tensor([0.9]), flags, flags, [0.5])
