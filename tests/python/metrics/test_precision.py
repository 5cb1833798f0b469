"""Average precision against pycocotools, and a plain reference where it is not installed."""

import contextlib
import io

import numpy as np
import pytest
from masks import instances, moved

from sslmed import metrics


def boxes(rng, count, side=200.0):
    return np.concatenate([rng.uniform(0, side, (count, 2)), rng.uniform(4, 40, (count, 2))], axis=1)


def near(rng, true, drop=0.3):
    """Boxes that find most of the true ones, and some of nothing."""
    kept = true[rng.random(len(true)) > drop]
    found = kept + rng.normal(0, 2, kept.shape)
    found[:, 2:] = np.maximum(found[:, 2:], 1)
    return np.concatenate([found, boxes(rng, int(rng.integers(0, 8)))])


def coco(images, kind, most=1000, area=(0, 1e10), thresholds=None):
    """pycocotools on (detections, scores, objects, crowd) of several images."""
    api, evaluation = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    mask = pytest.importorskip("pycocotools.mask")
    truth = {"images": [{"id": i + 1, "height": 70, "width": 60} for i in range(len(images))], "categories": [{"id": 1}], "annotations": []}
    found = []
    for index, (detections, scores, objects, crowd) in enumerate(images):
        for thing, many in zip(objects, crowd, strict=True):
            shape = (
                {"bbox": list(map(float, thing)), "area": float(thing[2] * thing[3])}
                if kind == "bbox"
                else {"segmentation": mask.encode(np.asfortranarray(thing.astype(np.uint8))), "area": float(thing.sum())}
            )
            truth["annotations"].append({"id": len(truth["annotations"]) + 1, "image_id": index + 1, "category_id": 1, "iscrowd": int(many), **shape})
        for thing, score in zip(detections, scores, strict=True):
            key = {"bbox": list(map(float, thing))} if kind == "bbox" else {"segmentation": mask.encode(np.asfortranarray(thing.astype(np.uint8)))}
            found.append({"image_id": index + 1, "category_id": 1, "score": float(score), **key})
    with contextlib.redirect_stdout(io.StringIO()):
        data = api.COCO()
        data.dataset = truth
        data.createIndex()
        run = evaluation.COCOeval(data, data.loadRes(found) if found else api.COCO(), kind)
        run.params.maxDets, run.params.areaRng, run.params.areaRngLbl = [most], [list(area)], ["all"]
        if thresholds is not None:
            run.params.iouThrs = np.asarray(thresholds)
        run.evaluate()
        run.accumulate()
    return run.eval["precision"][:, :, 0, 0, 0], run.eval["recall"][:, 0, 0, 0]


def check(score, precision, recall):
    assert score.by_threshold == pytest.approx(precision.mean(axis=1), abs=1e-12)
    assert score == pytest.approx(precision.mean(), abs=1e-12)
    assert score.recall == pytest.approx(recall.mean(), abs=1e-12)


@pytest.mark.parametrize("crowds", [0.0, 0.3])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("most", "area"), [(1000, (0, 1e10)), (5, (0, 1e10)), (1000, (100, 600))])
def test_boxes_equal_pycocotools(rng, crowds, ties, most, area):
    images = []
    for _ in range(6):
        true = boxes(rng, int(rng.integers(0, 25)))
        found = near(rng, true)
        scores = rng.integers(0, 4, len(found)) / 4 if ties else rng.random(len(found))
        images.append((found, scores, true, rng.random(len(true)) < crowds))
    found, scores, true, crowd = (list(each) for each in zip(*images, strict=True))
    if not any(len(each) for each in found):
        return
    score = metrics.average_precision(found, true, scores=scores, crowd=crowd, max_detections=most, area_range=area)
    check(score, *coco(images, "bbox", most, area))
    assert score.dropped == sum(max(0, len(each) - most) for each in found)


@pytest.mark.parametrize("most", [1000, 4])
def test_label_maps_equal_pycocotools(rng, most):
    images, maps = [], []
    for _ in range(4):
        true = instances(rng, (70, 60), int(rng.integers(1, 20)))
        found = moved(rng, true)
        names, true_names = ([name for name in np.unique(each) if name] for each in (found, true))
        scores = rng.random(len(names))
        maps.append((found, true, scores))
        images.append(([found == n for n in names], scores, [true == n for n in true_names], [False] * len(true_names)))
    found, true, scores = (list(each) for each in zip(*maps, strict=True))
    score = metrics.average_precision(found, true, scores=scores, max_detections=most)
    check(score, *coco(images, "segm", most))


def test_thresholds_equal_pycocotools(rng):
    true = boxes(rng, 20)
    found = near(rng, true)
    scores = rng.random(len(found))
    levels = [0.3, 0.5, 1.0]
    score = metrics.average_precision(found, true, scores=scores, thresholds=levels)
    check(score, *coco([(found, scores, true, [False] * 20)], "bbox", thresholds=levels))
    assert score.ap50 == score.by_threshold[1]
    assert score.ap75 is None


def test_a_ranking_that_is_worked_out_by_hand():
    # Right, wrong, right: precision 1, 1/2, 2/3 at recalls 1/2, 1/2, 1; recalls above 1/2 have 2/3.
    true = np.array([[0.0, 0, 10, 10], [50, 50, 10, 10]])
    found = np.array([[0.0, 0, 10, 10], [100, 0, 10, 10], [50, 50, 10, 10]])
    score = metrics.average_precision(found, true, scores=[0.9, 0.8, 0.7])
    assert score == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)
    assert (score.recall, score.objects, score.detections) == (1, 2, 3)
    assert metrics.average_precision(found, true, scores=[0.9, 0.8, 0.7], max_detections=2) == pytest.approx(51 / 101)


def test_one_hundred_detections_hide_the_rest():
    true = np.array([[20.0 * i, 20.0 * j, 10, 10] for i in range(20) for j in range(20)])
    full, cut = metrics.average_precision(true, true), metrics.average_precision(true, true, max_detections=100)
    assert (full, full.dropped) == (1, 0)
    assert (round(cut, 2), cut.dropped) == (0.26, 300)


def test_empty_cases():
    none, some = np.zeros((0, 4)), np.array([[0.0, 0, 5, 5]])
    assert metrics.average_precision(none, none) == -1
    assert metrics.average_precision(some, none) == -1
    assert metrics.average_precision(none, some) == 0
    blank = np.zeros((8, 8), np.int32)
    assert metrics.average_precision(blank, blank) == -1
    assert metrics.average_precision([blank, some], [blank, some]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"scores": [1.0]}, "scores must be 2 finite numbers"),
        ({"scores": [1.0, np.nan]}, "scores must be 2 finite numbers"),
        ({"crowd": [True]}, "crowd must be 2 booleans"),
        ({"max_detections": 0}, "max_detections=0"),
        ({"thresholds": []}, "at least one IoU"),
        ({"thresholds": [0.0]}, "thresholds=0.0"),
        ({"convention": "voc"}, "convention='voc'"),
    ],
)
def test_bad_options(kwargs, message):
    some = np.array([[0.0, 0, 5, 5], [9, 9, 5, 5]])
    with pytest.raises(ValueError, match=message):
        metrics.average_precision(some, some, **kwargs)


def test_bad_images():
    some = np.array([[0.0, 0, 5, 5]])
    with pytest.raises(ValueError, match="has 1 images and reference 2"):
        metrics.average_precision([some], [some, some])
    with pytest.raises(TypeError, match="both be one image, or lists"):
        metrics.average_precision([some], some)
    with pytest.raises(TypeError, match="both be boxes"):
        metrics.average_precision(some, np.zeros((3, 3), int))
    with pytest.raises(ValueError, match="width > 0"):
        metrics.average_precision(np.array([[0.0, 0, 0, 5]]), some)
