"""Metrics of the same masks: MONAI, hover_net's formulas and pycocotools against ours; paired, one thread.

hover_net is no package: its panoptic quality and AJI are written down here as its code computes them, a mask for each
object. MONAI gets the tensors that its functions take; ours gets the same arrays. ``monai`` and ``pycocotools`` where
they are installed.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from common import interleaved, ratio_of, summary, write
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from sslmed import metrics

try:
    import monai.metrics as mm
    from monai.metrics.panoptic_quality import compute_panoptic_quality
except ImportError:
    raise SystemExit("bench_metrics needs monai") from None

Job = Callable[[], Any]
Values = np.ndarray[Any, Any]
SIDE = 192


def organs(rng: np.random.Generator) -> dict[str, tuple[Values, Values]]:
    """Pairs of masks of 192³: an organ, small lesions, and an organ with a false alarm far away."""
    noise = ndimage.gaussian_filter(rng.standard_normal((SIDE,) * 3), 12)
    grid = np.indices((SIDE,) * 3) - SIDE / 2
    far = np.sqrt((grid**2).sum(0)) + 600 * noise
    organ, found = far < 60, np.roll(far, 2, axis=0) < 61
    field = ndimage.gaussian_filter(rng.standard_normal((SIDE,) * 3), 3)
    lesions, some = field > np.quantile(field, 0.995), np.roll(field, 1, axis=1) > np.quantile(field, 0.996)
    alarm = found.copy()
    alarm[5:9, 5:9, 5:9] = True
    return {"organ": (found, organ), "lesions": (some, lesions), "organ and a false alarm": (alarm, organ)}


def nuclei(rng: np.random.Generator, side: int = 500, objects: int = 300) -> tuple[Values, Values]:
    """Label maps of ellipses, and the same ones moved, some missing."""
    true, found = np.zeros((2, side, side), np.int32)
    y, x = np.indices((41, 41)) - 20
    for name in range(1, objects + 1):
        a, b, turn = rng.uniform(5, 11), rng.uniform(5, 11), rng.uniform(0, np.pi)
        u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        cells = np.argwhere((u / a) ** 2 + (v / b) ** 2 <= 1) - 20
        center = rng.integers(20, side - 20, 2)
        true[tuple((cells + center).T)] = name
        if rng.random() < 0.9:
            found[tuple((cells + center + rng.integers(-2, 3, 2)).T)] = name
    return contiguous(found), contiguous(true)


def contiguous(labels: Values) -> Values:
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int32)


def hover_tables(true: Values, found: Values) -> tuple[Values, Values, Values, Values]:
    """hover_net's way: a mask for each object, and the sums of each pair that overlaps."""
    masks = [(true == name).astype(np.uint8) for name in range(1, true.max() + 1)]
    others = [(found == name).astype(np.uint8) for name in range(1, found.max() + 1)]
    inter, union = np.zeros((2, len(masks), len(others)))
    for i, mask in enumerate(masks):
        for name in np.unique(found[mask > 0]):
            if name == 0:
                continue
            other = others[name - 1]
            total, both = (mask + other).sum(), (mask * other).sum()
            inter[i, name - 1], union[i, name - 1] = both, total - both
    return inter, union, np.array([m.sum() for m in masks]), np.array([m.sum() for m in others])


def hover_pq(true: Values, found: Values) -> float:
    inter, union, sizes, others = hover_tables(true, found)
    iou = inter / np.maximum(union, 1)
    paired = iou[iou > 0.5]
    dq = len(paired) / (0.5 * (len(sizes) + len(others)))
    return float(dq * paired.sum() / (len(paired) + 1e-6))


def hover_aji(true: Values, found: Values, plus: bool) -> float:
    inter, union, sizes, others = hover_tables(true, found)
    iou = inter / (union + 1e-6)
    rows, columns = linear_sum_assignment(-iou) if plus else (np.arange(len(sizes)), iou.argmax(axis=1))
    kept = iou[rows, columns] > 0
    rows, columns = rows[kept], columns[kept]
    rest = np.delete(sizes, rows).sum() + np.delete(others, np.unique(columns)).sum()
    return float(inter[rows, columns].sum() / (union[rows, columns].sum() + rest))


def surfaces(found: Values, true: Values) -> dict[str, dict[str, Job]]:
    one, two = (torch.from_numpy(each)[None, None] for each in (found, true))
    floats = [each.float() for each in (one, two)]
    size = (1.0, 0.8, 0.8)
    kwargs = {"include_background": True, "spacing": list(size)}
    dice = {"include_background": True}
    return {
        "Dice": {"sslmed": lambda: metrics.dice(found, true), "MONAI": lambda: mm.compute_dice(*floats, **dice)},
        "HD95": {
            "sslmed": lambda: metrics.hausdorff(found, true, size),
            "MONAI": lambda: mm.compute_hausdorff_distance(one, two, percentile=95, **kwargs),
        },
        "ASSD": {
            "sslmed": lambda: metrics.average_surface_distance(found, true, size),
            "MONAI": lambda: mm.compute_average_surface_distance(one, two, symmetric=True, **kwargs),
        },
        "surface Dice": {
            "sslmed": lambda: metrics.surface_dice(found, true, size),
            "MONAI": lambda: mm.compute_surface_dice(one, two, [1.0], **kwargs),
        },
        "surface Dice, by area": {
            "sslmed": lambda: metrics.surface_dice(found, true, size, "monai_subvoxel"),
            "MONAI": lambda: mm.compute_surface_dice(one, two, [1.0], use_subvoxels=True, **kwargs),
        },
    }


def objects(found: Values, true: Values) -> dict[str, dict[str, Job]]:
    one, two = torch.from_numpy(found), torch.from_numpy(true)
    jobs: dict[str, dict[str, Job]] = {
        "panoptic quality": {
            "sslmed": lambda: metrics.panoptic_quality(found, true),
            "hover_net's formula": lambda: hover_pq(true, found),
            "MONAI": lambda: compute_panoptic_quality(one, two),
        },
        "AJI": {
            "sslmed": lambda: metrics.aji(found, true),
            "hover_net's formula": lambda: hover_aji(true, found, False),
        },
        "AJI+": {
            "sslmed": lambda: metrics.aji(found, true, plus=True),
            "hover_net's formula": lambda: hover_aji(true, found, True),
        },
    }
    coco = coco_job(found, true)
    if coco:
        scores = np.linspace(1, 0, int(found.max()))
        ours = lambda: metrics.average_precision(found, true, scores=scores)  # noqa: E731
        jobs["average precision"] = {"sslmed": ours, "pycocotools": coco}
    return jobs


def coco_job(found: Values, true: Values) -> Job | None:
    """From label maps to the average precision, the run-length codes included, as ours starts from label maps too."""
    try:
        from pycocotools import mask as codec
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        return None
    scores = np.linspace(1, 0, int(found.max()))

    def code(labels: Values, name: int) -> Any:
        return codec.encode(np.asfortranarray(labels == name, dtype=np.uint8))

    def run() -> None:
        base = {"image_id": 1, "category_id": 1}
        truth = [{"id": name, "iscrowd": 0, "area": 0.0, "segmentation": code(true, name), **base} for name in range(1, true.max() + 1)]
        for each in truth:
            each["area"] = float(codec.area(each["segmentation"]))
        data = COCO()
        data.dataset = {"images": [{"id": 1, "height": true.shape[0], "width": true.shape[1]}], "categories": [{"id": 1}], "annotations": truth}
        data.createIndex()
        detections = [{"score": scores[name - 1], "segmentation": code(found, name), **base} for name in range(1, found.max() + 1)]
        job = COCOeval(data, data.loadRes(detections), "segm")
        job.params.maxDets, job.params.areaRng, job.params.areaRngLbl = [1000], [[0, 1e10]], ["all"]
        job.evaluate()
        job.accumulate()

    def quiet() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            run()

    return quiet


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    body: dict[str, Any] = {"ratios": {}}

    def compare(name: str, jobs: dict[str, Job]) -> None:
        times = interleaved(jobs, rounds=7, seconds=0.1)
        body[f"{name}, s"] = {each: summary(values) for each, values in times.items()}
        for other in jobs:
            if other != "sslmed":
                body["ratios"][f"{name}, against {other}"] = ratio_of(times, other)

    for kind, (found, true) in organs(rng).items():
        for name, jobs in surfaces(found, true).items():
            compare(f"{name} of {kind}", jobs)
    for name, jobs in objects(*nuclei(rng)).items():
        compare(f"{name} of 300 nuclei", jobs)
    write("metrics", body)


if __name__ == "__main__":
    main()
