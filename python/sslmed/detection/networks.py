"""The networks of a detection: how one is made, trained, and asked for objects."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sslmed._core import C
from sslmed.cohort import Cohort
from sslmed.dense_tasks.fitting import Callback, fitted
from sslmed.detection.options import Detection
from sslmed.encoders import CohortEncoder, EncoderLike, resolve
from sslmed.methods.detect import Detect, Kind
from sslmed.modalities import registry
from sslmed.nn.segmenter import DecoderName
from sslmed.objects import Objects, draw_stars, star_polygons
from sslmed.training import Loader

__all__ = ["Learned", "encoder_of", "found_in", "pictures_of", "trained"]

Array = np.ndarray[Any, Any]
LOWEST = 0.05
"""Score from which on objects are ranked."""


@dataclass(frozen=True)
class Learned:
    """What one fold has learned of its training people, and of nobody else."""

    task: Detect
    classes: tuple[str, ...]
    threshold: float
    density: float
    """Objects to a pixel."""
    shares: tuple[float, ...]
    """Share of each class among them."""
    size: tuple[float, float]
    """Median height and width of an object in pixels of the file; of points the matching radius."""


def encoder_of(encoder: EncoderLike, cohort: Cohort, preprocessing: Any, seed: int) -> CohortEncoder:
    """A copy of the encoder, for pictures in files.

    Raises:
        ValueError: The samples carry no objects, or are fitted with a border.
    """
    model = copy.deepcopy(resolve(encoder, cohort, preprocessing=preprocessing, seed=seed))
    how: Any = model.preprocessing
    if not hasattr(how, "fit"):
        raise ValueError(f"{cohort.name}: detect: samples of {how.modality!r} carry no objects; it is for images")
    if how.fit != "crop":
        raise ValueError(f"detect: preprocessing: fit={how.fit!r} is not supported, expected 'crop'")
    return model


def pictures_of(cohort: Cohort, preprocessing: Any) -> Any:
    """The pictures of all rows, whole, at the size of training."""
    return registry.get(cohort.modality).label_maps(cohort, preprocessing)


def trained(
    cohort: Cohort,
    truths: Sequence[Objects],
    shapes: Sequence[tuple[int, int]],
    encoder: CohortEncoder,
    kind: Kind,
    decoder: DecoderName,
    classes: Sequence[str],
    scale: float,
    options: Detection,
    *,
    seed: int,
    threads: int,
    checkpoints: Path | None,
    about: dict[str, Any],
    callback: Callback | None,
) -> Detect:
    """A network that is trained on all rows of a cohort, whose objects and file shapes are given in their order."""
    task = Detect(
        copy.deepcopy(encoder), kind, classes=len(classes), decoder=decoder, features=options.features,
        groups=options.groups, residual=options.residual, attention=options.attention, stride=options.stride,
        rays=options.rays, scale=scale, radius=options.radius, weights=dict(options.weights), tuned=options.tuned,
        layer_decay=options.layer_decay, augmentation=options.augmentation, seed=seed,
    )  # fmt: skip
    entries = [_entry(truth, shape, kind, classes) for truth, shape in zip(truths, shapes, strict=True)]
    targets: dict[str, Any] = {"objects": entries}
    loader = Loader(
        cohort, encoder.preprocessing, batch_size=options.batch_size, order="shuffle", threads=threads, seed=seed,
        random=True, drop_last=True, shrink=True, extra_channels=encoder.extra_channels,
        targets=targets,
    )  # fmt: skip
    fitted(task, loader, options, checkpoints=checkpoints, about=about | asdict(options), callback=callback)
    return task


def _entry(truth: Objects, shape: tuple[int, int], kind: Kind, classes: Sequence[str]) -> dict[str, Any]:
    """Objects as the C++ source takes them."""
    number_of = {name: i for i, name in enumerate(classes)}
    labels = np.array([number_of[str(name)] for name in truth.names], np.int32)
    own: Any
    if kind == "stars":
        assert truth.instances is not None
        if len(truth) > 65535:
            raise ValueError(f"detect: a picture has {len(truth)} instances, expected at most 65535")
        values = np.concatenate([[0], labels * 65536 + np.arange(1, len(truth) + 1)])[truth.instances].ravel()
        starts = np.concatenate([[0], np.flatnonzero(np.diff(values)) + 1])
        lengths = np.diff(np.concatenate([starts, [len(values)]]))
        own = ("runs", torch.from_numpy(np.stack([values[starts], lengths], axis=1).astype(np.int32)))
    elif kind == "boxes":
        assert truth.boxes is not None
        own = ("boxes", torch.from_numpy(truth.boxes.astype(np.float32)), torch.from_numpy(labels))
    else:
        own = ("points", torch.from_numpy(truth.places.astype(np.float32)), torch.from_numpy(labels))
    return {"shape": tuple(map(int, shape)), "objects": own}


def found_in(
    tasks: Sequence[Detect],
    picture: torch.Tensor,
    shape: tuple[int, int],
    classes: Sequence[str],
    options: Detection,
) -> Objects:
    """Objects of a score above :data:`LOWEST` in a picture [3, height, width], in pixels of its file of ``shape``.

    The maps of several networks are averaged. Windows overlap; an object is taken from the window in whose core its
    center lies.
    """
    first: Any = tasks[0]
    kind: Kind = first.kind
    roi = options.roi if options.roi is not None else first.preprocessing.embedding()["img_size"]
    nms = options.nms if options.nms is not None else 2 * options.radius if kind == "points" else 0.5
    how = C.ObjectOptions(
        kind=kind, classes=len(classes), stride=options.stride, rays=options.rays, threshold=LOWEST,
        distance=float(nms), overlap=float(min(nms, 1.0)),
    )  # fmt: skip

    def mean(windows: torch.Tensor) -> torch.Tensor:
        return torch.stack([task.forward_dense(windows) for task in tasks]).mean(0)

    windows = [int(roi)] if isinstance(roi, int) else [int(cells) for cells in roi]
    predictor = first._handle if len(tasks) == 1 else mean
    given = picture.to(options.device)
    found = C.detect_objects(given, predictor, windows, [float(options.overlap)], options.batch_size, 0.0, how)
    places, scores, labels, numbers = (part.numpy() for part in found)
    factor = np.array(shape, np.float64) / np.array(picture.shape[1:], np.float64)
    inside: Array = np.all((places >= 0) & (places <= np.array(picture.shape[1:])), axis=1)  # offsets have no bounds
    places, scores, labels, numbers = (part[inside] for part in (places, scores, labels, numbers))
    names = np.array(list(classes), object)[labels]
    if kind == "points":
        return Objects(places * factor, names, scores)
    if kind == "boxes":
        boxes = np.stack([places - numbers / 2, places + numbers / 2], axis=1) * factor
        boxes = boxes.clip(0, np.array(shape, np.float64))
        whole: Array = np.all(boxes[:, 1] > boxes[:, 0], axis=1)  # sizes may be 0
        return Objects(places * factor, names, scores, boxes).of(whole)
    return stars_of(places, numbers, names, scores, factor, shape)


def stars_of(places: Array, far: Array, names: Array, scores: Array, factor: Array, shape: tuple[int, int]) -> Objects:
    """Stars, best first, with their polygons and their map in pixels of the file; better ones lie on top."""
    polygons = star_polygons(places, far) * factor
    n, scale = len(places), float(np.sqrt(factor.prod()))
    drawn = draw_stars((places * factor)[::-1].copy(), (far * scale)[::-1].copy(), shape).numpy() if n else None
    instances = np.zeros(shape, np.int32) if drawn is None else np.where(drawn > 0, n + 1 - drawn, 0).astype(np.int32)
    return Objects(places * factor, names, scores, None, tuple(polygons), instances)
