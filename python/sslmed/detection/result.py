"""What a detection found: scores over people, cases, predictions for other cohorts."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sslmed import io
from sslmed._world import own_settings
from sslmed.cohort import Cohort
from sslmed.detection.networks import Learned, found_in, pictures_of
from sslmed.detection.options import Detection
from sslmed.detection.tables import summary
from sslmed.leakage import refuse_overlap
from sslmed.methods.detect import Kind
from sslmed.objects import Objects, slide_objects
from sslmed.reporting import plots

__all__ = ["DetectionResult"]

OBJECTS = "path_objects"
"""Column of files of objects."""


class DetectionResult:
    """What :func:`detect` found.

    Attributes:
        table: A line for the network and each baseline (``row``), ``class`` ("all" objects without their class, each
            class, and "mean": mPQ) and ``metric``: "f1" (pairs gated at ``match_radius``), of boxes "ap" and "ap50"
            (COCO's, of all pictures of a person together, with ``max_detections``), of stars "pq" and "aji"
            (hover_net's); value (the mean over people), low, high (95 % bootstrap interval over people; NaN of fewer
            than five), n_subjects, median (over people), n_cases (pictures; of "ap" people), n_missed (with objects and
            nothing found), n_empty (without objects), n_false (those of them with something found), n_objects, n_found.
        cases: A line for each picture, class and metric; NaN where neither has an object.
        learned: What each fold has learned: network, threshold and the like.
        classes_: Names of the classes.
        kind: "points", "boxes" or "stars".
    """

    def __init__(
        self,
        learned: Sequence[Learned],
        trained_on: Sequence[frozenset[str]],
        cases: pd.DataFrame,
        people: pd.DataFrame,
        options: Detection,
        about: dict[str, Any],
    ):
        self.learned, self._trained_on, self.cases = list(learned), list(trained_on), cases
        self._people, self._options, self._about = people, options, about
        self.kind: Kind = about["kind"]
        self.classes_ = tuple(about["classes"])
        self.table = summary(cases, people, about["seed"])

    def __repr__(self) -> str:
        found = self.table[(self.table["class"] == "all") & (self.table["metric"] == "f1")]
        scores = ", ".join(f"{row} {value:.3f}" for row, value in zip(found["row"], found["value"], strict=True))
        return f"<DetectionResult of {self.kind}{': F1 ' + scores if scores else ''}>"

    def worst(self, n: int = 5) -> pd.DataFrame:
        """The ``n`` pictures with the lowest F1 of the network over all classes."""
        own = self.cases[(self.cases["metric"] == "f1") & (self.cases["class"] == "all")]
        own = own[own["by"] == self._about["name"]].dropna(subset=["value"])
        out: pd.DataFrame = own.sort_values("value", kind="stable").head(n).reset_index(drop=True)
        return out

    @own_settings()
    def found(self, cohort: Cohort) -> list[Objects]:
        """The objects of each picture of a cohort, in pixels of its file, above the folds' mean threshold.

        Where several networks were trained (``folds``), their maps are averaged.

        Raises:
            TypeError: ``cohort`` is not a cohort.
            ValueError: A person was in the training data.
        """
        if not isinstance(cohort, Cohort):
            raise TypeError(f"predict: cohort={cohort!r} must be a Cohort, got {type(cohort).__name__}")
        people = frozenset().union(*self._trained_on)
        refuse_overlap(set(people), cohort.table["subject"], f"predict: cohort={cohort.name!r}")
        tasks = [one.task for one in self.learned]
        threshold = float(np.mean([one.threshold for one in self.learned]))
        pictures = pictures_of(cohort, tasks[0].preprocessing)
        out = []
        for row, path in enumerate(cohort.table["path"]):
            height, width = io.read_image(str(path)).shape[:2]
            found = found_in(tasks, pictures.read(row), (int(height), int(width)), self.classes_, self._options)
            out.append(found.above(threshold))
        return out

    def predict(self, cohort: Cohort, out: str | os.PathLike[str]) -> pd.DataFrame:
        """Writes the objects of each row of a cohort.

        CSV (x, y, score, class; of boxes xmin, ymin, xmax, ymax too), GeoJSON for QuPath (detections), and of stars a
        16-bit PNG with one number an object.

        Args:
            cohort: Rows of the encoder's modality, of people that no network was trained on.
            out: Folder to write to.

        Returns:
            The cohort's table with the columns ``path_objects`` (CSV), ``path_geojson`` and, of stars,
            ``path_instances``.

        Raises:
            TypeError: ``cohort`` is not a cohort.
            ValueError: A person was in the training data.
        """
        found = self.found(cohort)
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        written: dict[str, list[str]] = {OBJECTS: [], "path_geojson": []}
        for row, (subject, objects) in enumerate(zip(cohort.table["subject"], found, strict=True)):
            stem = str(folder / f"{row:04d}_{''.join(c if c.isalnum() or c in '-_' else '-' for c in str(subject))}")
            _frame(objects).to_csv(f"{stem}_objects.csv", index=False)
            io.write_objects(f"{stem}_objects.geojson", slide_objects(objects), "detection")
            written[OBJECTS].append(f"{stem}_objects.csv")
            written["path_geojson"].append(f"{stem}_objects.geojson")
            if objects.instances is not None:
                io.write_label_png(objects.instances, f"{stem}_instances.png", wide=True)
                written.setdefault("path_instances", []).append(f"{stem}_instances.png")
        return cohort.table.assign(**written)

    def plot(self, metric: str = "f1", ax: Any = None) -> Any:
        """Draws a metric of all objects, network and baselines, with its interval."""
        lines = self.table[(self.table["metric"] == metric) & (self.table["class"] == "all")]
        if lines.empty:
            known = ", ".join(dict.fromkeys(self.table["metric"]))
            raise ValueError(f"plot: metric={metric!r}, expected one of {known}")
        return plots.plot_rows(lines, metric, ax)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes ``table.csv``, ``cases.csv``, ``people.csv``, ``detection.json`` and each network's weights."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        self.table.to_csv(path / "table.csv", index=False)
        self.cases.to_csv(path / "cases.csv", index=False)
        self._people.to_csv(path / "people.csv", index=False)
        thresholds = [one.threshold for one in self.learned]
        about = self._about | {"thresholds": thresholds, "options": asdict(self._options)}
        (path / "detection.json").write_text(json.dumps(about, indent=1, default=str))
        for i, one in enumerate(self.learned):
            weights = {name: value.detach().cpu().contiguous() for name, value in one.task.state_dict().items()}
            io.save_safetensors(weights, path / f"fold-{i}.safetensors")


def _frame(objects: Objects) -> pd.DataFrame:
    """A line an object."""
    columns: dict[str, Any] = {"x": objects.places[:, 1], "y": objects.places[:, 0]}
    if objects.boxes is not None:
        for name, (corner, axis) in {"xmin": (0, 1), "ymin": (0, 0), "xmax": (1, 1), "ymax": (1, 0)}.items():
            columns[name] = objects.boxes[:, corner, axis]
    return pd.DataFrame(columns | {"score": objects.scores, "class": objects.names})
