"""AUPRO against plain references of its two definitions."""

import math

import numpy as np
import pytest
from masks import blob
from scipy import ndimage
from scipy.integrate import trapezoid

from sslmed import metrics

TOUCH = np.ones((3, 3), bool)


def roc(scores, positive):
    """Rates after each group of equal scores, highest first, and before the first."""
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    hits = np.cumsum(positive[order])[last]
    wrong = last + 1 - hits
    return np.append(0, wrong / max(1, (~positive).sum())), np.append(0, hits / max(1, positive.sum()))


def anomalib(scores, labels, limit):
    """anomalib's computation with exact thresholds, in double precision."""
    fpr, _ = roc(scores, labels > 0)
    size = int((fpr <= limit).sum())
    sums = np.zeros((2, size))
    names = [name for name in np.unique(labels) if name]
    for name in names:
        taken = (labels == 0) | (labels == name)
        f, t = roc(scores[taken], labels[taken] == name)
        places = np.arange(size, dtype=float)
        reach = limit if f[f <= limit].max() > 0 else f[f > limit].min()
        index = np.flatnonzero(f <= reach)
        between = not np.isclose(f[index].max(), limit, rtol=1e-5, atol=1e-8)
        if between:
            at = np.searchsorted(f, limit)
            index = np.append(index, at)
            slope = 1 - (f[at] - limit) / (f[at] - f[at - 1])
        x = index / index.max() * (size - 1)
        if between:
            places[-1] = x[-2] + (x[-1] - x[-2]) * slope
        left = np.clip(np.searchsorted(x, places) - 1, 0, len(x) - 2)
        width = np.where(x[left + 1] > x[left], x[left + 1] - x[left], 1)
        share = np.where(x[left + 1] > x[left], (places - x[left]) / width, 0)
        for row, values in enumerate((f[index], t[index])):
            sums[row] += values[left] + share * (values[left + 1] - values[left])
    fpr, tpr = sums / len(names)
    return trapezoid(tpr, fpr) / fpr[-1]


def mvtec(scores, labels, limit):
    """Mean overlap of regions against the false positive rate, threshold by threshold."""
    names = [name for name in np.unique(labels) if name]
    points = [(0.0, 0.0)]
    for threshold in np.unique(scores)[::-1]:
        above = scores >= threshold
        points.append((above[labels == 0].mean(), np.mean([above[labels == name].mean() for name in names])))
    fpr, pro = np.array(points).T
    inside = fpr <= limit
    x, y = fpr[inside], pro[inside]
    if x[-1] < limit:
        x, y = np.append(x, limit), np.append(y, np.interp(limit, fpr[inside.sum() - 1 :][:2], pro[inside.sum() - 1 :][:2]))
    return trapezoid(y, x) / limit


def case(rng, shape=(40, 50), ties=False):
    true = blob(rng, shape, 0.1, 2.5)
    scores = ndimage.gaussian_filter(true.astype(float), 1.5) + 0.15 * rng.standard_normal(shape)
    return (np.round(scores, 1) if ties else scores), true


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("limit", [0.3, 0.05, 1.0])
def test_equals_the_definitions(rng, ties, limit):
    scores, true = case(rng, ties=ties)
    labels = ndimage.label(true, TOUCH)[0].reshape(-1)
    flat = scores.reshape(-1)
    assert metrics.aupro(scores, true, fpr_limit=limit) == pytest.approx(anomalib(flat, labels, limit), rel=1e-9)
    ours = metrics.aupro(scores, true, convention="mvtec", fpr_limit=limit)
    assert ours == pytest.approx(mvtec(flat, labels, limit), rel=1e-9)
    assert ours.regions == labels.max()


def test_a_score_above_the_limit_for_all_of_the_background(rng):
    # The first threshold passes half of the background at once: the curve has one step beyond the limit.
    scores, true = np.zeros((20, 20)), np.zeros((20, 20), bool)
    true[3:6, 3:6], true[12:15, 12:15] = True, True
    scores[:, 10:] = 1
    labels = ndimage.label(true, TOUCH)[0].reshape(-1)
    assert metrics.aupro(scores, true, convention="mvtec") == pytest.approx(mvtec(scores.reshape(-1), labels, 0.3))
    assert math.isnan(metrics.aupro(scores, true))  # one point alone: anomalib's curve ends at 0 too


def test_several_images_are_one_curve(rng):
    cases = [case(rng) for _ in range(3)]
    scores, true = ([each[i] for each in cases] for i in range(2))
    labels, count = [], 0
    for mask in true:
        numbers, found = ndimage.label(mask, TOUCH)
        labels.append(np.where(numbers > 0, numbers + count, 0).reshape(-1))
        count += found
    flat = np.concatenate([each.reshape(-1) for each in scores])
    assert metrics.aupro(scores, true) == pytest.approx(anomalib(flat, np.concatenate(labels), 0.3), rel=1e-9)
    assert metrics.aupro(scores, true, convention="mvtec").regions == count


def test_perfect_useless_and_scaled(rng):
    scores, true = case(rng)
    for how in ("anomalib", "mvtec"):
        # Between the points that it resamples, anomalib's curve rises from 0 even for a perfect map.
        perfect = metrics.aupro(true + 0.1 * rng.random(true.shape), true, convention=how)
        assert perfect == pytest.approx(1, abs=1e-12 if how == "mvtec" else 0.02)
        value = metrics.aupro(scores, true, convention=how)
        assert metrics.aupro(3 * scores - 7, true, convention=how) == pytest.approx(value)
        assert metrics.aupro(scores.astype(np.float32), true, convention=how) == pytest.approx(value, abs=1e-3)
    random = [float(metrics.aupro(rng.random(true.shape), true, convention="mvtec")) for _ in range(20)]
    assert np.mean(random) == pytest.approx(0.15, abs=0.03)


def test_small_regions_count_as_much_as_large_ones():
    true = np.zeros((30, 30), bool)
    true[2:4, 2:4], true[10:25, 10:25] = True, True
    scores = np.random.default_rng(0).random((30, 30)) * 0.5
    scores[10:25, 10:25] += 1  # the large one is found, the small one as often as the background
    assert 0.5 < metrics.aupro(scores, true, convention="mvtec") < 0.65


def test_volumes(rng):
    true = blob(rng, (12, 14, 16), 0.1)
    scores = true + rng.standard_normal(true.shape)
    labels = ndimage.label(true, np.ones((3, 3, 3)))[0].reshape(-1)
    assert metrics.aupro(scores, true, spacing=(1, 2, 3)) == pytest.approx(anomalib(scores.reshape(-1), labels, 0.3), rel=1e-9)


def test_empty_cases(rng):
    scores = rng.random((8, 8))
    for how in ("anomalib", "mvtec"):
        assert math.isnan(metrics.aupro(scores, np.zeros((8, 8), bool), convention=how))
        assert math.isnan(metrics.aupro(scores, np.ones((8, 8), bool), convention=how))


def test_bad_input(rng):
    scores, true = case(rng)
    with pytest.raises(ValueError, match="of the shape of the reference"):
        metrics.aupro(scores[1:], true)
    with pytest.raises(ValueError, match="not finite"):
        metrics.aupro(np.full_like(scores, np.nan), true)
    with pytest.raises(ValueError, match="fpr_limit=0"):
        metrics.aupro(scores, true, fpr_limit=0)
    with pytest.raises(ValueError, match="convention='pro'"):
        metrics.aupro(scores, true, convention="pro")
    with pytest.raises(ValueError, match="has 2 images and reference 1"):
        metrics.aupro([scores, scores], [true])
    with pytest.raises(ValueError, match="lists of images"):
        metrics.aupro([scores], true)
    with pytest.raises(TypeError, match="whole numbers"):
        metrics.aupro(scores, true.astype(float))
