"""Suppression of many candidates and star distances: StarDist's compiled routines and plain NumPy beside ours, one thread.

StarDist's module is loaded without the packages that its Python code needs (``stardist``, installed without
dependencies). Candidates are those of a network: all pixels of 200 nuclei of a 512² picture. Boxes are compared with
the vectorized NumPy loop that many repositories carry.
"""

from __future__ import annotations

import importlib.util
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import interleaved, ratio_of, summary, write

from sslmed import objects

Values = np.ndarray[Any, Any]
SIDE, RAYS = 512, 32


def stardist() -> Any:
    """StarDist's compiled module."""
    spec = importlib.util.find_spec("stardist")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("bench_detection needs stardist (installed without its dependencies)")
    path = next(Path(spec.submodule_search_locations[0]).glob("lib/stardist2d*.so"))
    loader = ExtensionFileLoader("stardist2d", str(path))
    found = importlib.util.spec_from_file_location("stardist2d", path, loader=loader)
    assert found is not None
    module = importlib.util.module_from_spec(found)
    loader.exec_module(module)
    return module


def nuclei(count: int = 200) -> Values:
    """A label map of discs that overlap a little."""
    rng, labels = np.random.default_rng(0), np.zeros((SIDE, SIDE), np.int32)
    y, x = np.mgrid[:SIDE, :SIDE]
    for name in range(1, count + 1):
        (cy, cx), r = rng.uniform(0, SIDE, 2), rng.uniform(6, 12)
        labels[(y - cy) ** 2 + (x - cx) ** 2 < r**2] = name
    return labels


def numpy_nms(boxes: Values, scores: Values, iou: float) -> Values:
    """The loop that many repositories carry: one row against all the rest."""
    areas, order, kept = (boxes[:, 1] - boxes[:, 0]).prod(1), np.argsort(-scores), []
    while order.size:
        i, rest = order[0], order[1:]
        kept.append(i)
        low = np.maximum(boxes[i, 0], boxes[rest, 0])
        shared = np.maximum(0, np.minimum(boxes[i, 1], boxes[rest, 1]) - low).prod(1)
        order = rest[shared / (areas[i] + areas[rest] - shared) <= iou]
    return np.array(kept)


def main() -> None:
    torch.set_num_threads(1)
    theirs, body, rng = stardist(), {"ratios": {}}, np.random.default_rng(1)
    labels = nuclei()
    narrow = labels.astype(np.uint16)
    one = np.int32(1)

    def compare(name: str, jobs: dict[str, Any]) -> None:
        times = interleaved(jobs, rounds=5, seconds=0.05)
        body[f"{name}, s"] = {each: summary(values) for each, values in times.items()}
        for other in jobs:
            if other != "sslmed":
                body["ratios"][f"{name}, against {other}"] = ratio_of(times, other)

    compare("star distances of 512²", {
        "sslmed": lambda: objects.star_distances(labels, RAYS),
        "StarDist": lambda: theirs.c_star_dist(narrow, np.int32(RAYS), one, one),
    })  # fmt: skip
    far = objects.star_distances(labels, RAYS).numpy()
    score = objects.object_probability(labels).numpy() + rng.uniform(0, 0.01, labels.shape)
    y, x = np.nonzero(score > 0.3)
    order = np.argsort(-score[y, x])
    centers, distances = np.stack([y, x], 1)[order].astype(np.float32), far[y, x][order]
    scores = score[y, x][order]
    print(len(scores), "candidates", flush=True)
    limit = np.float32(0.4)
    compare("suppression of stars", {
        "sslmed": lambda: objects.nms_stars(centers, distances, scores, 0.4),
        "StarDist": lambda: theirs.c_non_max_suppression_inds(distances, centers, one, one, np.int32(0), limit),
    })  # fmt: skip
    low = rng.uniform(0, 2500, (5_000, 2))
    boxes, ranks = np.stack([low, low + rng.uniform(10, 40, (5_000, 2))], 1), rng.uniform(0, 1, 5_000)
    assert np.array_equal(objects.nms_boxes(boxes, ranks, 0.3).numpy(), numpy_nms(boxes, ranks, 0.3))
    compare("suppression of 5,000 boxes", {
        "sslmed": lambda: objects.nms_boxes(boxes, ranks, 0.3),
        "NumPy": lambda: numpy_nms(boxes, ranks, 0.3),
    })  # fmt: skip
    write("detection", body)


if __name__ == "__main__":
    main()
