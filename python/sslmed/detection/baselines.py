"""What every detector stands beside: random objects, and dark nuclei found without learning."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from sslmed.detection.networks import Learned, stars_of
from sslmed.methods.detect import Kind
from sslmed.metrics import connected_components, distance_transform
from sslmed.objects import Objects, nms_points

__all__ = ["classical", "hematoxylin", "otsu", "random_objects"]

Array = np.ndarray[Any, Any]
_RAYS = 32
# Ruifrok and Johnston (2001): optical densities of hematoxylin, eosin and DAB in red, green and blue.
_STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])


def random_objects(learned: Learned, kind: Kind, shape: tuple[int, int], seed: tuple[int, ...]) -> Objects:
    """Objects anywhere, as many to a pixel, as large and of the classes as those of the training people.

    Args:
        learned: What is known of the training people.
        kind: "points", "boxes" or "stars".
        shape: Height and width of the picture's file.
        seed: Seeds of the draws.
    """
    draw = np.random.default_rng(seed)
    n = round(learned.density * shape[0] * shape[1])
    places = draw.uniform(0, 1, (n, 2)) * np.array(shape, np.float64)
    names = np.array(learned.classes, object)[draw.choice(len(learned.classes), n, p=np.array(learned.shares))]
    # Baselines draw no line between what counts and what is only ranked: all of these count.
    scores = 0.95 + 0.05 * draw.uniform(0, 1, n)
    return _shaped(places, np.tile(np.array(learned.size), (n, 1)), names, scores, kind, shape)


def classical(learned: Learned, kind: Kind, picture: torch.Tensor, shape: tuple[int, int]) -> Objects:
    """Nuclei of a picture stained with hematoxylin and eosin, without a network.

    The density of hematoxylin is cut at Otsu's threshold of the picture; components are split at the peaks of their
    distance transform, which are at least half a usual object apart. Parts smaller than a quarter of a usual object are
    left out. All get the class that most training objects have; the score is the mean density.

    Args:
        learned: What is known of the training people: the usual size and class.
        kind: "points", "boxes" or "stars".
        picture: [3, height, width] uint8.
        shape: Height and width of its file.
    """
    density = hematoxylin(picture.numpy().transpose(1, 2, 0))
    mask = density > otsu(density)
    factor = np.array(shape, np.float64) / np.array(density.shape, np.float64)
    usual = float(np.mean(np.array(learned.size) / factor))  # diameter in pixels of the picture
    parts = _split(mask, usual / 2)
    n = int(parts.max(initial=0))
    cells = np.bincount(parts.ravel(), minlength=n + 1)[1:]
    strength = np.bincount(parts.ravel(), density.ravel(), n + 1)[1:] / np.maximum(cells, 1)
    kept = np.flatnonzero(cells >= 0.25 * np.pi / 4 * usual**2)
    kept = kept[np.argsort(-strength[kept], kind="stable")]
    number_of = np.zeros(n + 1, np.int32)
    number_of[kept + 1] = np.arange(1, len(kept) + 1)
    parts = number_of[parts]
    y, x = np.nonzero(parts)
    own = parts[y, x] - 1
    sizes = np.bincount(own, minlength=len(kept))
    places = np.stack([np.bincount(own, at + 0.5, len(kept)) / sizes for at in (y, x)], axis=1).reshape(-1, 2)
    names = np.full(len(kept), learned.classes[int(np.argmax(learned.shares))], object)
    top = max(float(strength.max(initial=0)), 1e-9)
    scores = 0.95 + 0.05 * strength[kept] / top
    if kind != "boxes":
        given = torch.from_numpy(parts).float()[None, None]
        drawn = torch.nn.functional.interpolate(given, shape, mode="nearest-exact")[0, 0].int().numpy()
        return Objects(places * factor, names, scores, None, None, drawn if kind == "stars" else None)
    boxes = np.zeros((len(kept), 2, 2))
    boxes[:, 0] = np.inf
    for axis, values in enumerate((y, x)):
        np.minimum.at(boxes[:, 0, axis], own, values)
        np.maximum.at(boxes[:, 1, axis], own, values + 1)
    return Objects(places * factor, names, scores, boxes * factor)


def hematoxylin(rgb: Array) -> Array:
    """Density of hematoxylin [height, width] of a picture [height, width, 3] uint8 (color deconvolution, Ruifrok and
    Johnston, 2001)."""
    light = np.maximum(np.asarray(rgb, np.float64) / 255, 1e-6)
    stains = _STAINS / np.linalg.norm(_STAINS, axis=1, keepdims=True)
    out: Array = (-np.log(light) @ np.linalg.inv(stains))[..., 0]
    return out


def otsu(values: Array) -> float:
    """The threshold between two groups of values that are farthest apart for their spread (Otsu, 1979), of 256 bins;
    of equal values that value: none is above it."""
    if np.ptp(values) == 0:
        return float(values.flat[0])
    counts, edges = np.histogram(values, 256)
    middles = (edges[1:] + edges[:-1]) / 2
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
    low = np.cumsum(counts * middles) / np.maximum(below, 1)
    high = (np.cumsum((counts * middles)[::-1]) / np.maximum(above[::-1], 1))[::-1]
    return float(middles[np.argmax(below[:-1] * above[1:] * (low[:-1] - high[1:]) ** 2)])


def _split(mask: Array, distance: float) -> Array:
    """Components of a mask, in parts nearest to the peaks of their distance transform; numbered from 1."""
    depth = distance_transform(torch.from_numpy(mask)).float()
    if not mask.any() or torch.isinf(depth).any():
        return mask.astype(np.int32)
    smooth = torch.nn.functional.avg_pool2d(depth[None, None], 3, 1, 1)
    peak = (smooth == torch.nn.functional.max_pool2d(smooth, 3, 1, 1))[0, 0] & torch.from_numpy(mask)
    peaks = torch.nonzero(peak)
    seeds = peaks[nms_points(peaks.double(), depth[peak], distance)].numpy()
    component = connected_components(torch.from_numpy(mask)).numpy()
    # Components are far apart along a third axis, so that no pixel goes to the seed of another one.
    apart = float(sum(mask.shape))

    def lifted(places: Array) -> Array:
        return np.concatenate([places, apart * component[tuple(places.T)][:, None]], axis=1)

    _, own = cKDTree(lifted(seeds)).query(lifted(np.argwhere(mask)))
    out = np.zeros(mask.shape, np.int32)
    out[mask] = own + 1
    return out


def _shaped(places: Array, sizes: Array, names: Array, scores: Array, kind: Kind, shape: tuple[int, int]) -> Objects:
    """Objects of these sizes around places."""
    if kind == "points":
        return Objects(places, names, scores)
    if kind == "boxes":
        boxes = np.stack([places - sizes / 2, places + sizes / 2], axis=1).clip(0, np.array(shape, np.float64))
        return Objects(places, names, scores, boxes)
    order = np.argsort(-scores, kind="stable")
    far = np.repeat(sizes.mean(1, keepdims=True) / 2, _RAYS, axis=1)
    return stars_of(places[order], far[order], names[order], scores[order], np.ones(2), shape)
