"""Panoptic quality, AJI and detection F1 against plain references of the published formulas, and MONAI."""

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from masks import instances, moved
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from sslmed import metrics
from sslmed._core import C


def tables(prediction, reference):
    """Shared cells and unions of all objects [m, n], and their sizes, by masks."""
    ours = [prediction == name for name in np.unique(prediction) if name]
    theirs = [reference == name for name in np.unique(reference) if name]
    shared = np.array([[(p & r).sum() for p in ours] for r in theirs]).reshape(len(theirs), len(ours))
    cells, true_cells = (np.array([each.sum() for each in group]) for group in (ours, theirs))
    return shared, true_cells[:, None] + cells[None] - shared, cells, true_cells


def panoptic(prediction, reference, match=0.5):
    """(tp, fp, fn, sum of the IoUs) as hover_net and MONAI count them."""
    shared, union, cells, true_cells = tables(prediction, reference)
    iou = shared / union
    if match >= 0.5:
        paired = iou[iou > match]
    else:
        rows, columns = linear_sum_assignment(-iou)
        paired = iou[rows, columns][iou[rows, columns] > match]
    return len(paired), len(cells) - len(paired), len(true_cells) - len(paired), paired.sum()


def jaccard(prediction, reference, plus):
    shared, union, cells, true_cells = tables(prediction, reference)
    iou = shared / (union + 1e-6)
    if plus:
        rows, columns = linear_sum_assignment(-iou)
    else:
        rows, columns = np.arange(len(true_cells)), iou.argmax(axis=1)
    kept = iou[rows, columns] > 0
    rows, columns = rows[kept], columns[kept]
    whole = union[rows, columns].sum()
    whole += sum(size for i, size in enumerate(true_cells) if i not in rows)
    whole += sum(size for j, size in enumerate(cells) if j not in columns)
    return shared[rows, columns].sum() / whole


@pytest.mark.parametrize("shape", [(90, 80), (20, 30, 40)])
@pytest.mark.parametrize("match", [0.5, 0.7, 0.3, 0.05])
def test_panoptic_quality_equals_the_formula_and_monai(rng, shape, match):
    true = instances(rng, shape, 30)
    found = moved(rng, true)
    tp, fp, fn, total = panoptic(found, true, match)
    score = metrics.panoptic_quality(found, true, match_iou=match)
    assert (score.tp, score.fp, score.fn) == (tp, fp, fn)
    assert score.iou_sum == pytest.approx(total)
    dq, sq = tp / (tp + fp / 2 + fn / 2), total / (tp + 1e-6)
    assert [score.dq, score.sq, score] == pytest.approx([dq, sq, dq * sq])
    small = tp / (tp + fp / 2 + fn / 2 + 1e-6)
    assert metrics.panoptic_quality(found, true, convention="cellvit", match_iou=match) == pytest.approx(small * sq)
    monai = pytest.importorskip("monai.metrics.panoptic_quality")
    theirs = monai.compute_panoptic_quality(torch.from_numpy(found), torch.from_numpy(true), match_iou_threshold=match)
    assert metrics.panoptic_quality(found, true, convention="monai", match_iou=match) == pytest.approx(float(theirs), rel=1e-5)


@pytest.mark.parametrize("shape", [(90, 80), (20, 30, 40)])
@pytest.mark.parametrize("plus", [False, True])
def test_aji_equals_the_formula(rng, shape, plus):
    true = instances(rng, shape, 30)
    found = moved(rng, true)
    assert metrics.aji(found, true, plus=plus) == pytest.approx(jaccard(found, true, plus), rel=1e-12)


def test_noise_of_labels(rng):
    # Every object overlaps with all others: one block of the assignment.
    one, two = rng.integers(0, 12, (2, 40, 40)).astype(np.int64)
    for plus in (False, True):
        assert metrics.aji(one, two, plus=plus) == pytest.approx(jaccard(one, two, plus), rel=1e-12)
    assert metrics.panoptic_quality(one, two, match_iou=0.001).tp == panoptic(one, two, 0.001)[0]


def test_empty_cases():
    none, some = np.zeros((20, 20), np.int32), np.zeros((20, 20), np.int32)
    some[3:6, 3:6], some[10:14, 10:14] = 4, 9
    assert math.isnan(metrics.panoptic_quality(none, none))
    assert metrics.panoptic_quality(none, none, convention="monai") == 0
    assert metrics.panoptic_quality(none, none, convention="cellvit") == 0
    for how in metrics.CONVENTIONS["panoptic_quality"]:
        assert metrics.panoptic_quality(none, some, convention=how) == metrics.panoptic_quality(some, none, convention=how) == 0
    for plus in (False, True):
        assert math.isnan(metrics.aji(none, none, plus=plus))
        assert metrics.aji(none, some, plus=plus) == metrics.aji(some, none, plus=plus) == 0
    assert math.isnan(metrics.detection_f1(none, none))
    assert metrics.detection_f1(none, some) == metrics.detection_f1(some, none) == 0
    # hover_net's script has a point at the origin where an image has none.
    assert metrics.detection_f1(none, none, convention="hovernet") == 1
    assert metrics.detection_f1(some, none, convention="hovernet", radius=3) == 0
    assert metrics.detection_f1(some, none, convention="hovernet").tp == 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.sampled_from([(30, 30), (12, 13, 14)]))
def test_identity_and_bounds(seed, count, shape):
    rng = np.random.default_rng(seed)
    true = instances(rng, shape, count)
    found = moved(rng, true)
    if true.any():
        same = metrics.panoptic_quality(true, true)
        assert same == pytest.approx(1, abs=1e-5)
        assert metrics.aji(true, true) == metrics.aji(true, true, plus=True) == 1
        assert metrics.detection_f1(true, true, radius=0.0) == 1
    forth, back = metrics.panoptic_quality(found, true), metrics.panoptic_quality(true, found)
    assert forth == pytest.approx(back, nan_ok=True)
    assert (forth.fp, forth.fn) == (back.fn, back.fp)
    plus, twice = metrics.aji(found, true, plus=True), metrics.aji(true, found, plus=True)
    assert plus == pytest.approx(twice, nan_ok=True, rel=1e-9)


def test_labels_need_not_be_contiguous(rng):
    true = instances(rng, (60, 60), 12)
    found = moved(rng, true)
    names = np.append(0, np.sort(rng.choice(100000, found.max(), replace=False) + 1))
    renamed = names[found]
    assert metrics.panoptic_quality(renamed, true) == metrics.panoptic_quality(found, true)
    assert metrics.aji(renamed, true) == metrics.aji(found, true)
    assert metrics.panoptic_quality(-renamed, true) == pytest.approx(metrics.panoptic_quality(found, true))


def hover(found, true, radius):
    far = cdist(true, found)
    rows, columns = linear_sum_assignment(far)
    tp = int((far[rows, columns] <= radius).sum())
    return 2 * tp / (len(found) + len(true))


def most_pairs(found, true, radius):
    """As many pairs as there can be, then the least sum of distances, by one dense assignment."""
    far = cdist(true, found)
    bonus = radius * (min(far.shape) + 1)
    weight = np.where(far <= radius, bonus - far, 0)
    rows, columns = linear_sum_assignment(-weight)
    kept = weight[rows, columns] > 0
    return int(kept.sum()), far[rows, columns][kept].sum()


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize(("count", "other"), [(40, 55), (90, 30), (1, 7)])
def test_detection_equals_the_assignments(rng, rank, count, other):
    found, true = rng.uniform(0, 100, (count, rank)), rng.uniform(0, 100, (other, rank))
    assert metrics.detection_f1(found, true, convention="hovernet") == pytest.approx(hover(found, true, 12))
    assert metrics.detection_f1(found, true, convention="hover") == pytest.approx(hover(found, true, 12))
    for radius in (3.0, 12.0, 60.0):
        score = metrics.detection_f1(found, true, radius=radius)
        far = np.linalg.norm(found[score.pairs[:, 0]] - true[score.pairs[:, 1]], axis=1)
        assert (score.tp, far.sum()) == pytest.approx(most_pairs(found, true, radius))
        assert (far <= radius).all()
        assert score == pytest.approx(2 * score.tp / (count + other))
        assert score.precision == score.tp / count
        assert score.recall == score.tp / other
        assert score >= metrics.detection_f1(found, true, convention="hovernet", radius=radius)


def test_a_far_point_takes_a_near_partner_only_in_hover_mode():
    # All pairs: 11 + 0 crosses less than 10 + 30, so that hover_net keeps one of two possible pairs.
    true, found = np.array([[0.0, 0.0], [0.0, 20.0]]), np.array([[0.0, 11.0], [0.0, -50.0]])
    gated, all_pairs = metrics.detection_f1(found, true), metrics.detection_f1(found, true, convention="hovernet")
    assert gated.tp == 1
    assert all_pairs.tp <= 1
    true, found = np.array([[0.0, 0.0], [0.0, 14.0]]), np.array([[0.0, 11.0], [0.0, 26.5]])
    assert metrics.detection_f1(found, true, radius=11.5).tp == 1
    assert metrics.detection_f1(found, true, radius=12.5).tp == 2


def test_centers_of_label_maps(rng):
    true = instances(rng, (20, 30, 40), 9)
    found = moved(rng, true)
    ndimage = pytest.importorskip("scipy.ndimage")

    def centers(labels):
        names = [name for name in np.unique(labels) if name]
        return np.array(ndimage.center_of_mass(labels > 0, labels, names)).reshape(-1, 3)

    spacing = (2.0, 0.5, 0.7)
    for how in ("gated", "hovernet"):
        score = metrics.detection_f1(found, true, spacing, how, radius=2.0)
        points = [centers(each) * spacing for each in (found, true)]
        assert score == pytest.approx(metrics.detection_f1(*points, convention=how, radius=2.0))


def test_best_pairs_of_one_large_block(rng):
    weights = rng.uniform(0.1, 1, (30, 45))
    edges = [(i, j, weights[i, j]) for i in range(30) for j in range(45) if rng.random() < 0.8]
    found = C.best_pairs(torch.tensor(edges, dtype=torch.float64), 30, 45).numpy()
    dense = np.zeros_like(weights)
    for i, j, weight in edges:
        dense[int(i), int(j)] = weight
    rows, columns = linear_sum_assignment(-dense)
    kept = found >= 0
    assert len(set(found[kept])) == kept.sum()
    assert dense[np.flatnonzero(kept), found[kept]].sum() == pytest.approx(dense[rows, columns].sum())


def test_a_score_is_a_number_with_parts():
    score = metrics.Score(0.25, tp=3)
    assert score == 0.25
    assert pickle.loads(pickle.dumps(score)).tp == 3
    with pytest.raises(AttributeError, match="Score has no 'fp'; it has 'tp'"):
        _ = score.fp


@pytest.mark.parametrize(
    ("found", "true", "kwargs", "message"),
    [
        (np.zeros((2, 4)), np.zeros((2, 4)), {}, r"must be points \[n, 2\] or \[n, 3\]"),
        (np.zeros((2, 2)), np.zeros((2, 3)), {}, r"must be points"),
        (np.full((2, 2), math.nan), np.zeros((2, 2)), {}, "not finite"),
        (np.zeros((2, 2)), np.zeros((2, 2)), {"radius": -1}, "radius=-1"),
        (np.zeros((2, 2)), np.zeros((2, 2)), {"spacing": (1, 1, 1)}, "must have 2 numbers"),
        (np.zeros((2, 2)), np.zeros((2, 2)), {"convention": "coco"}, "convention='coco'"),
    ],
)
def test_bad_points(found, true, kwargs, message):
    with pytest.raises(ValueError, match=message):
        metrics.detection_f1(found, true, **kwargs)


def test_bad_maps():
    with pytest.raises(TypeError, match="both be points"):
        metrics.detection_f1(np.zeros((2, 2)), np.zeros((2, 2), int))
    with pytest.raises(ValueError, match="match_iou=2"):
        metrics.panoptic_quality(np.zeros((2, 2), int), np.zeros((2, 2), int), match_iou=2)
    with pytest.raises(ValueError, match="expected one shape"):
        metrics.aji(np.zeros((2, 2), int), np.zeros((2, 3), int))
    with pytest.raises(ValueError, match="weights above 0"):
        C.best_pairs(torch.tensor([[0.0, 0.0, -1.0]], dtype=torch.float64), 1, 1)
    with pytest.raises(ValueError, match="rows, columns"):
        C.best_pairs(torch.tensor([[0.0, 5.0, 1.0]], dtype=torch.float64), 1, 1)
