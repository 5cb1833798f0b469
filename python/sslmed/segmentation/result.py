"""The result of :func:`sslmed.segment`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from sslmed import io
from sslmed._world import own_settings
from sslmed.cohort import Cohort
from sslmed.leakage import refuse_overlap
from sslmed.methods import Segment
from sslmed.modalities.base import StreamedLabelMaps
from sslmed.reporting import plots
from sslmed.segmentation.cases import LABELS, maps_of
from sslmed.segmentation.networks import labels_of
from sslmed.segmentation.options import Segmentation
from sslmed.segmentation.streamed import MeanOfNetworks, tiles_of
from sslmed.segmentation.tables import summary

__all__ = ["SegmentationResult"]


class SegmentationResult:
    """What :func:`sslmed.segment` found.

    Attributes:
        table: A line a class, and "mean" over the classes: row, metric ("dice"), class, value (the mean over people),
            low, high (95 % bootstrap interval over people; NaN of fewer than five), n_subjects, median, p10 (the tenth
            percentile: the tail), n_cases, n_missed (cases whose reference has the class and whose prediction has none
            of it), n_empty (cases whose reference lacks the class: they count in no mean), n_false (those of them in
            which the prediction has it).
        cases: A line a case and class: row (of the cohort), path, subject, fold, class, dice (NaN where the reference
            lacks the class), cells of the reference and of the prediction. Dice is
            2 · overlap / (reference + prediction), on the grid of the label maps.
        tasks: The trained networks, one a fold.
        values_: What each class is in the label maps; the first one is the background.
    """

    def __init__(
        self,
        tasks: Sequence[Segment],
        folds: Sequence[frozenset[str]],
        cases: pd.DataFrame,
        name: str,
        options: Segmentation,
        about: dict[str, Any],
    ):
        self.tasks, self._trained_on, self.cases = list(tasks), list(folds), cases
        self.values_ = self.tasks[0].values
        self._name, self._options, self._about = name, options, about
        self.table = summary(cases, name, about["seed"])

    def __repr__(self) -> str:
        mean = self.table[self.table["class"] == "mean"]
        found = f": mean Dice {mean['value'].iloc[0]:.3f} of {mean['n_subjects'].iloc[0]} people" if len(mean) else ""
        return f"<SegmentationResult {self._name}{found}>"

    def worst(self, n: int = 5) -> pd.DataFrame:
        """The ``n`` cases and classes with the lowest Dice."""
        return self.cases.dropna(subset=["dice"]).sort_values("dice", kind="stable").head(n).reset_index(drop=True)

    @own_settings()
    def predict(self, cohort: Cohort, out: str | os.PathLike[str], format: str | None = None) -> pd.DataFrame:
        """Writes a label map for each row of a cohort.

        Volumes: NIfTI (``_dseg.nii.gz``) with the affine of the row's file. Images: PNG. Slides are predicted by tiles
        where they have tissue, and written band by band: pyramidal OME-TIFF at the scale of the training, or GeoJSON
        for QuPath with the outline of each connected area. Where several networks were trained (``folds``), their
        probabilities are averaged.

        Args:
            cohort: Rows of the encoder's modality, of people that no network was trained on.
            out: Folder to write to.
            format: Of slides "ome-tiff" (None) or "geojson"; None of all others, whose format is fixed.

        Returns:
            The cohort's table with the column ``path_labels`` of what was written.

        Raises:
            TypeError: ``cohort`` is not a cohort.
            ValueError: A person was in the training data, or the format is not one of the cohort's.
        """
        if not isinstance(cohort, Cohort):
            raise TypeError(f"predict: cohort={cohort!r} must be a Cohort, got {type(cohort).__name__}")
        refuse_overlap(set().union(*self._trained_on), cohort.table["subject"], f"predict: cohort={cohort.name!r}")
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        maps = maps_of(cohort, self.tasks[0].preprocessing)
        if format is not None and not isinstance(maps, StreamedLabelMaps):
            fixed = f"{cohort.name} is written in the format of its modality"
            raise ValueError(f"predict: format={format!r} must be None: {fixed}")
        written = []
        for row, subject in enumerate(cohort.table["subject"]):
            stem = str(folder / f"{row:04d}_{_plain(str(subject))}")
            if isinstance(maps, StreamedLabelMaps):
                how = tiles_of(self._options, self.tasks)
                done = maps.predict(row, MeanOfNetworks(self.tasks), stem, format or "ome-tiff", **how)
                written.append(done.files[0])
                continue
            labels = maps.placed(row, labels_of(self.tasks, maps.read(row), self._options), self.values_[0])
            written.append(maps.write(row, labels, stem))
        return cohort.table.assign(**{LABELS: written})

    def plot(self, ax: Any = None) -> Any:
        """Draws the mean Dice of each class with its interval."""
        lines = self.table.assign(row=[f"{name}" for name in self.table["class"]])
        return plots.plot_rows(lines, "dice", ax)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the tables, options and weights to a folder.

        Args:
            folder: Gets ``table.csv``, ``cases.csv``, ``segmentation.json`` (options) and the weights of each network
                (``fold-N.safetensors``).
        """
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        self.table.to_csv(path / "table.csv", index=False)
        self.cases.to_csv(path / "cases.csv", index=False)
        about = self._about | {"options": asdict(self._options)}
        (path / "segmentation.json").write_text(json.dumps(about, indent=1, default=str))
        for i, task in enumerate(self.tasks):
            weights = {name: value.detach().cpu().contiguous() for name, value in task.state_dict().items()}
            io.save_safetensors(weights, path / f"fold-{i}.safetensors")


def _plain(text: str) -> str:
    """A subject's name as part of a file name."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in text)
