"""Training and scoring of detection, fold by fold."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from sslmed import io
from sslmed._checks import choice, whole
from sslmed._world import own_settings
from sslmed.cohort import Cohort
from sslmed.dense_tasks import Part, name_of, parts_of
from sslmed.dense_tasks.fitting import Callback
from sslmed.detection.baselines import classical, random_objects
from sslmed.detection.labels import Columns, coco_objects, read_objects
from sslmed.detection.networks import Learned, encoder_of, found_in, pictures_of, trained
from sslmed.detection.options import Detection
from sslmed.detection.result import OBJECTS, DetectionResult
from sslmed.detection.scoring import CASES, best_threshold, people_lines, scored
from sslmed.encoders import CohortEncoder, EncoderLike
from sslmed.methods.detect import Detect, Kind
from sslmed.nn.segmenter import DecoderName
from sslmed.objects import Objects

__all__ = ["detect"]

Array = np.ndarray[Any, Any]
BaselineName = Literal["random", "classical"]


@own_settings()
def detect(
    cohort: Cohort,
    target: str = OBJECTS,
    kind: Kind = "points",
    encoder: EncoderLike = "unet",
    decoder: DecoderName = "unet",
    *,
    out: str | os.PathLike[str] | None = None,
    folds: int | None = 5,
    classes: Sequence[str] | None = None,
    columns: Columns = None,
    microns_per_pixel: float | None = None,
    baselines: Sequence[BaselineName] = ("random", "classical"),
    preprocessing: Any = None,
    options: Detection | None = None,
    seed: int = 0,
    threads: int = 2,
    callback: Callback | None = None,
) -> DetectionResult:
    """Trains networks to find the objects of pictures, and scores them on people that they have not seen.

    In each fold a network is trained on the other folds' people and looks at the held-out ones by overlapping windows.
    Threshold, usual size, density and classes of the baselines come from the training people too. For pictures in files
    (2-D); :class:`sslmed.methods.Detect` itself takes points and boxes of any rank.

    Args:
        cohort: Images with a file of objects each.
        target: Column of the files, see :func:`sslmed.detection.read_objects`; or the path of one COCO file (.json).
        kind: "points", "boxes", or "stars" (star-convex shapes: nuclei).
        encoder: A name ("unet", "resnet18", "swin_tiny" …), a path or an encoder, see
            :func:`sslmed.encoders.resolve`. Its weights are copied.
        decoder: Decoder of its maps: "linear", "unet", "unetr" or "upernet", see :class:`sslmed.nn.Segmenter`.
        out: Folder for checkpoints of the training and, at the end, what :meth:`DetectionResult.save` writes. A fold
            that was interrupted goes on from its last checkpoint. None: nothing is written.
        folds: Number of folds over people; None: one network is trained on everybody, and nothing is scored.
        classes: Names of the classes; None: all that occur. An object of another class is an error.
        columns: Columns of tables, see :func:`sslmed.detection.read_objects`.
        microns_per_pixel: Size of a pixel where tables are in µm.
        baselines: Rows beside the network: "random" (objects at the training people's density), "classical" (color
            deconvolution, Otsu's threshold, components; for slides stained with hematoxylin and eosin).
        preprocessing: Preprocessing of an encoder that is given by name; ``region`` is the shorter side that pictures
            are brought to, ``size`` that of training crops.
        options: Options of training and prediction.
        seed: Seed of folds, weights, crops, random objects and intervals.
        threads: Number of loader threads.
        callback: Called with the records of new steps; the training stops where it returns False.

    Raises:
        TypeError: ``cohort`` is not a cohort.
        ValueError: An option is out of range, the column is missing, or there is no object at all.
        FormatError: A file holds no objects of this kind.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import torch, pandas as pd, sslmed as sm
        >>> folder, rows = Path(tempfile.mkdtemp()), []
        >>> for i in range(2):
        ...     labels = torch.zeros(64, 64, dtype=torch.int32)
        ...     labels[8:24, 8 + i : 24], labels[36:56, 30:48] = 1, 2
        ...     sm.io.write_label_png(labels, folder / f"{i}_cells.png")
        ...     sm.io.write_label_png(60000 * (labels == 0), folder / f"{i}.png", wide=True)
        ...     row = {"subject": f"s{i}", "path": str(folder / f"{i}.png")}
        ...     rows.append(row | {"cells": str(folder / f"{i}_cells.png")})
        >>> cohort = sm.Cohort.from_table(pd.DataFrame(rows))
        >>> how = sm.ImagePreprocessing(size=64, patch=None)
        >>> result = sm.detect(cohort, "cells", "stars", preprocessing=how, folds=2, options=sm.Detection(epochs=1))
        >>> result.table["row"].unique().tolist()
        ['unet + unet', 'random', 'classical']
    """
    if not isinstance(cohort, Cohort):
        raise TypeError(f"detect: cohort={cohort!r} must be a Cohort, got {type(cohort).__name__}")
    choice("detect", "kind", kind, get_args(Kind))
    choice("detect", "decoder", decoder, get_args(DecoderName))
    for name in baselines:
        choice("detect", "baselines", name, get_args(BaselineName))
    whole("detect", "seed", seed, 0)
    whole("detect", "threads", threads, 1)
    options = options or Detection()
    if kind != "points" and options.nms is not None and options.nms > 1:
        raise ValueError(f"detect: nms={options.nms} of {kind} must be a share within 0 and 1")
    model = encoder_of(encoder, cohort, preprocessing, seed)
    shapes = [tuple(map(int, io.read_image(str(path)).shape[:2])) for path in cohort.table["path"]]
    truths = _truths(cohort, target, kind, shapes, columns, microns_per_pixel)
    names = _classes(cohort, truths, classes)
    about = {
        "cohort": cohort.name, "target": target, "kind": kind, "encoder": repr(model), "decoder": decoder,
        "classes": names, "folds": folds, "seed": seed, "name": name_of(model, decoder),
    }  # fmt: skip
    job = _Job(cohort, kind, model, decoder, names, shapes, truths, options, tuple(baselines), about, seed, threads)
    learned, trained_on, cases, people = [], [], [], []
    for part in parts_of("detect", cohort, folds, seed):
        learned.append(job.learn(part, None if out is None else Path(out) / f"fold-{part.number}", callback))
        trained_on.append(part.people)
        lines, person_lines = job.test(part, learned[-1])
        cases += lines
        people += person_lines
    frames = [pd.DataFrame(lines, columns=CASES) for lines in (cases, people)]
    result = DetectionResult(learned, trained_on, frames[0], frames[1], options, about)
    if out is not None:
        result.save(out)
    return result


class _Job:
    """One call of :func:`detect`: what all folds share."""

    def __init__(
        self, cohort: Cohort, kind: Kind, model: CohortEncoder, decoder: DecoderName, classes: list[str],
        shapes: list[Any], truths: list[Objects], options: Detection, baselines: tuple[str, ...],
        about: dict[str, Any], seed: int, threads: int,
    ) -> None:  # fmt: skip
        self.cohort, self.kind, self.model, self.decoder = cohort, kind, model, decoder
        self.classes, self.shapes, self.truths = classes, shapes, truths
        self.options, self.baselines, self.about = options, baselines, about
        self.seed, self.threads = seed, threads
        self.pictures = pictures_of(cohort, model.preprocessing)

    def learn(self, part: Part, checkpoints: Path | None, callback: Callback | None) -> Learned:
        """What a fold's training people teach: a network, its threshold, and what baselines know."""
        rows = list(map(int, part.rows))
        truths, shapes = [self.truths[row] for row in rows], [self.shapes[row] for row in rows]
        size = _usual_size(truths, self.kind, self.options.match_radius)
        scale = self._picture_scale(rows, shapes)
        task: Detect = trained(
            part.train, truths, shapes, self.model, self.kind, self.decoder, self.classes,
            max(1.0, float(np.mean(size)) * scale / (2 if self.kind == "stars" else 1)), self.options, seed=self.seed,
            threads=self.threads, checkpoints=checkpoints, about=self.about | {"fold": part.number}, callback=callback,
        )  # fmt: skip
        threshold = self.options.threshold
        if threshold is None:
            found = [self._found(task, row) for row in rows]
            threshold = best_threshold(found, truths, self.options.match_radius)
        counts = np.array([sum(int((one.names == name).sum()) for one in truths) for name in self.classes], float)
        area = sum(height * width for height, width in shapes)
        shares = tuple(counts / max(counts.sum(), 1)) if counts.sum() else (1.0,) + (0.0,) * (len(counts) - 1)
        return Learned(task, tuple(self.classes), threshold, float(counts.sum() / area), shares, size)

    def test(self, part: Part, learned: Learned) -> tuple[list[list[Any]], list[list[Any]]]:
        """Lines of the held-out pictures, and of the held-out people."""
        rows = list(map(int, part.test))
        ranked = {self.about["name"]: [self._found(learned.task, row) for row in rows]}
        if "random" in self.baselines:
            seeds = {row: (self.seed, part.number, row) for row in rows}
            ranked["random"] = [random_objects(learned, self.kind, self.shapes[row], seeds[row]) for row in rows]
        if "classical" in self.baselines:
            given = [(self.pictures.read(row), self.shapes[row]) for row in rows]
            ranked["classical"] = [classical(learned, self.kind, picture, shape) for picture, shape in given]
        table = self.cohort.table
        subjects = [str(table["subject"].iloc[row]) for row in rows]
        lines: list[list[Any]] = []
        people: list[list[Any]] = []
        for by, found in ranked.items():
            for row, subject, objects in zip(rows, subjects, found, strict=True):
                head = [by, row, table["path"].iloc[row], subject, part.number]
                counted = objects.above(learned.threshold) if by == self.about["name"] else objects
                own = scored(counted, self.truths[row], self.kind, self.classes, self.options)
                lines += [head + line for line in own]
            for subject in dict.fromkeys(subjects) if self.kind == "boxes" else ():
                mine = [i for i, name in enumerate(subjects) if name == subject]
                said, true = [found[i] for i in mine], [self.truths[rows[i]] for i in mine]
                head = [by, -1, "", subject, part.number]
                people += [head + line for line in people_lines(said, true, self.classes, self.options)]
        return lines, people

    def _found(self, task: Detect, row: int) -> Objects:
        return found_in([task], self.pictures.read(row), self.shapes[row], self.classes, self.options)

    def _picture_scale(self, rows: Sequence[int], shapes: Sequence[Any]) -> float:
        """Pixels of the picture to a pixel of the file, in the middle of the training rows."""
        how: Any = self.model.preprocessing
        return float(np.median([how.training_size / min(shape) for shape in shapes]))


def _truths(
    cohort: Cohort,
    target: str,
    kind: Kind,
    shapes: list[Any],
    columns: Columns,
    microns: float | None,
) -> list[Objects]:
    """The objects of each row."""
    paths = [str(path) for path in cohort.table["path"]]
    if target not in cohort.table:
        if target.lower().endswith(".json"):
            return coco_objects(target, kind, paths, shapes)
        there = ", ".join(map(str, cohort.table.columns))
        raise ValueError(f"{cohort.name}: target={target!r} is neither a column nor a .json file; there are {there}")
    files = cohort.table[target]
    missing = [row for row, path in enumerate(files) if not isinstance(path, str) or not path]
    if missing:
        raise ValueError(f"{cohort.name}: row {missing[0]} has no file of objects in {target!r}; leave it out")
    how: dict[str, Any] = {"columns": columns, "microns_per_pixel": microns}
    return [read_objects(path, kind, shape, **how) for path, shape in zip(files, shapes, strict=True)]


def _classes(cohort: Cohort, truths: Sequence[Objects], classes: Sequence[str] | None) -> list[str]:
    seen = sorted({str(name) for truth in truths for name in truth.names})
    if not seen:
        raise ValueError(f"{cohort.name}: the files hold no object at all")
    names = seen if classes is None else [str(name) for name in classes]
    for name in ("all", "mean"):  # lines of the table
        if name in names:
            raise ValueError(f"{cohort.name}: a class must not be called {name!r}, which the table has lines of")
    if len(set(names)) < len(names):
        raise ValueError(f"{cohort.name}: classes={names} must be different ones")
    if unknown := sorted(set(seen) - set(names)):
        raise ValueError(f"{cohort.name}: classes={names} lacks {unknown[0]!r}, which the files hold")
    return names


def _usual_size(truths: Sequence[Objects], kind: Kind, radius: float) -> tuple[float, float]:
    """Median height and width of objects; of points the radius of matching."""
    if kind == "points" or not sum(map(len, truths)):
        return radius, radius
    if kind == "boxes":
        sizes = np.concatenate([one.boxes[:, 1] - one.boxes[:, 0] for one in truths if one.boxes is not None])
        height, width = np.median(sizes, axis=0)
        return float(height), float(width)
    areas = np.concatenate([np.bincount(one.instances.ravel())[1:] for one in truths if one.instances is not None])
    diameter = float(np.median(2 * np.sqrt(areas / np.pi)))
    return diameter, diameter
