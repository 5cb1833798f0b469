"""The result of :func:`sslmed.segment`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from sslmed import io
from sslmed._core import FormatError
from sslmed._world import own_settings
from sslmed.cohort import Cohort
from sslmed.dense_tasks import renamed_target
from sslmed.dense_tasks.people import SeenPeople
from sslmed.methods import Segment
from sslmed.modalities.label_maps import StreamedLabelMaps
from sslmed.reporting import plots
from sslmed.segmentation.baselines import placed_numbers
from sslmed.segmentation.cases import CASES, LABELS, maps_of, scored
from sslmed.segmentation.networks import labels_of, loaded_task, options_from, plain_options
from sslmed.segmentation.options import Segmentation
from sslmed.segmentation.streamed import MeanOfNetworks, known_classes, scored_bands, tiles_of
from sslmed.segmentation.tables import summary
from sslmed.segmentation.uncertainty import uncertainty_of

__all__ = ["SegmentationResult"]

_FORMAT = "sslmed-segmentation-1"


class SegmentationResult:
    """What :func:`sslmed.segment` found.

    Attributes:
        table: A line a model ("row"), metric and class, and "mean" over the classes: value (the mean over people, of
            the cases that have a value), low, high (95 % bootstrap interval over people; NaN of fewer than five),
            n_subjects, median, worst_decile (a tenth of the cases are worse), n_cases, n_undefined (cases without a
            finite value), n_missed (cases whose reference has the class and whose prediction has none of it), n_empty
            (cases whose reference lacks the class), n_false (those of them in which the prediction has it), and the
            convention, the library whose definition of the metric is used (:mod:`sslmed.metrics`).
        cases: A line a model, case and class: model, row (of the cohort), path, subject, fold, class, cells of the
            reference and of the prediction, and each metric, on the grid of the label maps.
        tasks: The trained networks, one a fold.
        values_: What each class is in the label maps; the first one is the background.
        name: What the network is called in the tables.
    """

    def __init__(
        self,
        tasks: Sequence[Segment],
        people: SeenPeople,
        cases: pd.DataFrame,
        name: str,
        options: Segmentation,
        about: dict[str, Any],
    ):
        self.tasks, self.cases, self.name = list(tasks), cases, name
        self.values_ = self.tasks[0].values
        self._people, self._options, self._about = people, options, about
        self.table = summary(cases, options, about["seed"])

    def __repr__(self) -> str:
        mean = self._of(self.name, "dice", "mean")
        found = f": mean Dice {mean['value'].iloc[0]:.3f} of {mean['n_subjects'].iloc[0]} people" if len(mean) else ""
        return f"<SegmentationResult {self.name}{found}>"

    def worst(self, n: int = 5) -> pd.DataFrame:
        """The ``n`` cases and classes with the network's lowest Dice."""
        own = self.cases[self.cases["model"] == self.name].dropna(subset=["dice"])
        return own.sort_values("dice", kind="stable").head(n).reset_index(drop=True)

    @own_settings()
    def predict(self, cohort: Cohort, out: str | os.PathLike[str], format: str | None = None, *, uncertainty: bool = False) -> pd.DataFrame:
        """Writes a label map for each row of a cohort.

        Volumes: NIfTI (``_dseg.nii.gz``) with the affine of the row's file. Images: PNG. Slides are predicted by tiles
        where they have tissue, and written band by band: pyramidal OME-TIFF at the scale of the training, or GeoJSON
        for QuPath with the outline of each connected area. Where several networks were trained (``folds``), their
        probabilities are averaged.

        Args:
            cohort: Rows of the encoder's modality, of people that no network was trained on.
            out: Folder to write to.
            format: Of slides "ome-tiff" (None) or "geojson"; None of all others, whose format is fixed.
            uncertainty: Of volumes and images: also write, beside each label map, the entropy of the prediction (``_entropy``, 0 sure, 1 not
                the least idea) and the disagreement of networks and flips (``_disagreement``).

        Returns:
            The cohort's table with the column ``path_labels`` of what was written, and with ``uncertainty`` also
            ``path_entropy`` and ``path_disagreement``.

        Raises:
            TypeError: ``cohort`` is not a cohort.
            ValueError: A person was in the training data, the format is not one of the cohort's, or ``uncertainty``
                is asked of slides.
        """
        self._check("predict", cohort)
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        maps = maps_of(cohort, self.tasks[0].preprocessing)
        if isinstance(maps, StreamedLabelMaps):
            if uncertainty:
                raise ValueError("predict: uncertainty=True is for volumes and images; slides are predicted band by band")
            return self._predict_bands(cohort, maps, folder, format or "ome-tiff")
        if format is not None:
            fixed = f"{cohort.name} is written in the format of its modality"
            raise ValueError(f"predict: format={format!r} must be None: {fixed}")
        columns = (LABELS, *_UNSURE) if uncertainty else (LABELS,)
        written: dict[str, list[str]] = {name: [] for name in columns}
        for row, subject in enumerate(cohort.table["subject"]):
            stem = _stem(folder, row, subject)
            values = maps.read(row)
            labels = maps.placed(row, labels_of(self.tasks, values, self._options), self.values_[0])
            written[LABELS].append(maps.write(row, labels, stem))
            if uncertainty:
                for column, found in zip(_UNSURE, uncertainty_of(self.tasks, values, self._options), strict=True):
                    name = column.removeprefix("path_")
                    written[column].append(maps.write_scores(row, placed_numbers(maps, row, found), f"{stem}_{name}"))
        return cohort.table.assign(**written)

    def _predict_bands(self, cohort: Cohort, maps: StreamedLabelMaps, folder: Path, form: str) -> pd.DataFrame:
        network, written = MeanOfNetworks(self.tasks), []
        how = tiles_of(self._options, network)
        for row, subject in enumerate(cohort.table["subject"]):
            written.append(maps.predict(row, network, _stem(folder, row, subject), form, **how).files[0])
        return cohort.table.assign(**{LABELS: written})

    @own_settings()
    def score(self, cohort: Cohort, target: str = LABELS) -> SegmentationResult:
        """Scores the networks on people that they have not seen, such as another hospital's.

        Where several networks were trained (``folds``), their probabilities are averaged. Nothing is fitted.

        Args:
            cohort: Rows with label maps.
            target: Column of the label maps.

        Returns:
            The same networks with the tables of this cohort.

        Raises:
            TypeError: ``cohort`` is not a cohort.
            ValueError: A person was in the training data, or a row has no label map.
        """
        self._check("score", cohort)
        cohort = renamed_target(cohort, target, LABELS)
        maps = maps_of(cohort, self.tasks[0].preprocessing)
        known_classes(cohort, maps, self.values_, self._options)
        network, cases = MeanOfNetworks(self.tasks), []
        for row in range(len(cohort)):
            if isinstance(maps, StreamedLabelMaps):
                cases += scored_bands(cohort, maps, row, network, self.values_, self._options, model=self.name, fold=-1)
                continue
            labels = maps.placed(row, labels_of(self.tasks, maps.read(row), self._options), self.values_[0])
            cases += scored(cohort, maps, row, labels, self.values_, self._options, model=self.name, fold=-1)
        table = pd.DataFrame(cases, columns=[*CASES, *self._options.metrics])
        about = self._about | {"cohort": cohort.name}
        return SegmentationResult(self.tasks, self._people, table, self.name, self._options, about)

    def forward_dense(self, dense: torch.Tensor) -> torch.Tensor:
        """Predictions of dense inputs, for :func:`sslmed.inference.tiled`: [B, C, spatial…] to [B, classes, spatial…].

        Of one network logits, of several the mean of their probabilities.
        """
        return MeanOfNetworks(self.tasks).forward_dense(dense)

    def plot(self, metric: str = "dice", ax: Any = None) -> Any:
        """Draws a metric with its interval: the mean over classes of every row, and each class of the network.

        Args:
            metric: Metric of the table.
            ax: Axes to draw on; new ones by default.

        Raises:
            ValueError: There are no scores, or not this metric.
        """
        if self.table.empty:
            raise ValueError("plot: there are no scores, because nobody was held out (folds=None)")
        lines = self.table[self.table["metric"] == metric]
        if lines.empty:
            raise ValueError(f"plot: metric={metric!r}, expected one of {', '.join(self.table['metric'].unique())}")
        lines = lines[(lines["class"] == "mean") | (lines["row"] == self.name)]
        names = [f"{row}: {label}" for row, label in zip(lines["row"], lines["class"], strict=True)]
        return plots.plot_rows(lines.assign(row=names), metric, ax)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the tables, options and weights to a folder.

        Args:
            folder: Gets ``table.csv``, ``cases.csv``, ``segmentation.json`` (options, and salted hashes of the training
                people) and the weights of each network (``fold-N.safetensors``).
        """
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        self.table.to_csv(path / "table.csv", index=False)
        self.cases.to_csv(path / "cases.csv", index=False)
        for i, task in enumerate(self.tasks):
            weights = {name: value.detach().cpu().contiguous() for name, value in task.state_dict().items()}
            io.save_safetensors(weights, path / f"fold-{i}.safetensors")
        about = self._about | {"format": _FORMAT, "name": self.name, "networks": len(self.tasks)}
        about |= {"options": plain_options(self._options)} | self._people.saved()
        (path / "segmentation.json").write_text(json.dumps(about, indent=1, default=str))

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> SegmentationResult:
        """Reads a folder that :meth:`save` wrote; it predicts on the CPU, wherever it was trained.

        Args:
            folder: Folder.

        Raises:
            FormatError: The folder holds no segmentation, or its encoder is written in Python and cannot be built.
        """
        path = Path(folder)
        try:
            about = json.loads((path / "segmentation.json").read_text())
            if about.get("format") != _FORMAT:
                raise ValueError(f"format {about.get('format')!r}")
            if about["described"] is None:
                raise ValueError("an encoder written in Python, which is not in its files")
            options = replace(options_from(about["options"]), device="cpu")  # where networks are loaded
            tasks = [loaded_task(about, options, path / f"fold-{i}.safetensors") for i in range(about["networks"])]
            cases = _cases_from(path / "cases.csv", options)
        except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"{path}: expected a folder of SegmentationResult.save, found {error!r}") from error
        return cls(tasks, SeenPeople.loaded(about), cases, about["name"], options, about)

    def _check(self, where: str, cohort: Cohort) -> None:
        if not isinstance(cohort, Cohort):
            raise TypeError(f"{where}: cohort={cohort!r} must be a Cohort, got {type(cohort).__name__}")
        self._people.refuse(cohort.table["subject"], f"{where}: cohort={cohort.name!r}")

    def _of(self, row: str, metric: str, label: str) -> pd.DataFrame:
        table = self.table
        return table[(table["row"] == row) & (table["metric"] == metric) & (table["class"] == label)]


def _cases_from(path: Path, options: Segmentation) -> pd.DataFrame:
    """The table of cases as it was written: "NA" may be the name of a person or class."""
    texts = dict.fromkeys(("model", "path", "subject", "class"), str)
    missing: dict[Any, Any] = {name: [""] for name in options.metrics}
    return pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=missing)


_UNSURE = ("path_entropy", "path_disagreement")


def _stem(folder: Path, row: int, subject: object) -> str:
    return str(folder / f"{row:04d}_{_plain(str(subject))}")


def _plain(text: str) -> str:
    """A subject's name as part of a file name."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in text)
