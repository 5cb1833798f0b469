"""What was fitted, applied to an external cohort: predictions, and scores where the target is known."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from sslmed import io
from sslmed._checks import OnError, choice
from sslmed.bags.model import SlideModel
from sslmed.cohort import Cohort
from sslmed.dense_tasks import renamed_target
from sslmed.finetuning import FineTuned
from sslmed.modalities.label_maps import StreamedLabelMaps
from sslmed.reporting import plots
from sslmed.segmentation import SegmentationResult
from sslmed.segmentation.cases import LABELS, maps_of
from sslmed.tables import read_table

__all__ = ["Deployment", "deploy"]


@dataclass
class Deployment:
    """What :func:`deploy` found."""

    predictions: pd.DataFrame
    """One line a row of the cohort (a patient, of a slide-level network): what was predicted, or the path of it."""
    table: pd.DataFrame | None
    """Scores: row, metric, value, low, high, n_subjects and more, as the training's; None: the target is not known."""

    def plot(self, metric: str | None = None, ax: Any = None) -> Any:
        """Draws a metric of the scores with its interval.

        Args:
            metric: Metric of the table; None: the first one.
            ax: Axes to draw on; new ones by default.

        Raises:
            ValueError: There are no scores, or not this metric.
        """
        if self.table is None or self.table.empty:
            raise ValueError("plot: there are no scores, because the target of the cohort is not known")
        metric = str(self.table["metric"].iloc[0]) if metric is None else metric
        lines = self.table[self.table["metric"] == metric]
        if lines.empty:
            raise ValueError(f"plot: metric={metric!r}, expected one of {', '.join(self.table['metric'].unique())}")
        if "class" in lines:
            lines = lines.assign(row=[f"{row}: {name}" for row, name in zip(lines["row"], lines["class"], strict=True)])
        return plots.plot_rows(lines, metric, ax)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes ``predictions.csv`` and, where there are scores, ``scores.csv``.

        Args:
            path: Folder.
        """
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        self.predictions.to_csv(folder / "predictions.csv", index=False)
        if self.table is not None:
            self.table.to_csv(folder / "scores.csv", index=False)


def deploy(
    fitted: str | os.PathLike[str],
    cohort: Cohort | pd.DataFrame | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    features: str | os.PathLike[str] | None = None,
    target: str | None = None,
    uncertainty: bool = False,
    threads: int = 2,
    on_error: OnError = "raise",
) -> Deployment:
    """Applies what was fitted and saved to a cohort of other people. Nothing is fitted.

    Args:
        fitted: Folder of :meth:`sslmed.SegmentationResult.save`, or file of :meth:`sslmed.FineTuned.save` or
            :meth:`sslmed.bags.SlideModel.save`.
        cohort: A cohort, or its path; of a slide-level network a table of slides (a frame, or a .csv or .tsv file).
        out: Folder for ``predictions.csv``, ``scores.csv`` and label maps.
        features: Store of the slides' features, for a slide-level network.
        target: Column to score against; None: that of the training, where the cohort has it.
        uncertainty: Of a segmentation: write maps of the uncertainty too.
        threads: Loader threads.
        on_error: Of a fine-tuned network: "raise", or "skip" samples that cannot be read or carry no signal. A recording
            without any is predicted to be missing, and left out of the scores (``n_left_out``).

    Raises:
        FormatError: ``fitted`` is none of these.
        ValueError: A person was trained on, a slide-level network has no ``features``, or the target is missing.

    See Also:
        :func:`sslmed.segment`, :func:`sslmed.finetune`, :func:`sslmed.bags.fit_slide_level`

    Examples:
        >>> import tempfile, numpy as np, pandas as pd, torch
        >>> import sslmed as sm
        >>> from sslmed.bags import fit_slide_level
        >>> folder, rng = tempfile.mkdtemp(), np.random.default_rng(0)
        >>> store, slides = sm.FeatureStore(f"{folder}/features"), [f"s{i}" for i in range(12)]
        >>> table = pd.DataFrame({"subject": slides, "slide": slides, "tumor": ["no", "yes"] * 6})
        >>> for name in slides:
        ...     _ = store.write(name, torch.randn(9, 4), np.full((9, 2), 0), mpp=0.5, tile=512)
        >>> how = sm.BagTraining(hidden=8, attention=4, epochs=2, batch_size=4)
        >>> fit_slide_level(store, table[:8], "tumor", "abmil", how).save(f"{folder}/model.safetensors")
        >>> found = sm.deploy(f"{folder}/model.safetensors", table[8:], f"{folder}/out", features=f"{folder}/features")
        >>> found.predictions["subject"].tolist()
        ['s8', 's9', 's10', 's11']
    """
    choice("deploy", "on_error", on_error, get_args(OnError))
    path = Path(fitted)
    if not path.exists():
        raise ValueError(f"deploy: fitted={os.fspath(fitted)!r} does not exist")
    asked: dict[str, Any] = {"out": Path(out), "features": features, "target": target, "threads": threads}
    asked |= {"uncertainty": uncertainty, "on_error": on_error}
    if path.is_dir():
        found = _segmentation(SegmentationResult.load(path), cohort, **asked)
    else:
        form = io.load_metadata(path, *_APPLIED)["format"]
        found = _APPLIED[form](path, cohort, **asked)
    found.save(out)
    return found


def _segmentation(
    model: SegmentationResult,
    cohort: Any,
    out: Path,
    target: str | None,
    uncertainty: bool,
    **_: Any,
) -> Deployment:
    people = cohort if isinstance(cohort, Cohort) else Cohort.open(cohort)
    if target is not None:
        people = renamed_target(people, target, LABELS)
    maps = maps_of(people, model.tasks[0].preprocessing)
    if isinstance(maps, StreamedLabelMaps):  # what they are drawn from is a column
        known = LABELS in people.table and bool(people.table[LABELS].notna().all())
    else:
        known = all(maps.truth(row) is not None for row in range(len(people)))
    if target is not None and not known:
        raise ValueError(f"deploy: target={target!r}: rows of {people.name} have no label map there; leave them out")
    said = model.predict(people, out / "predicted", uncertainty=uncertainty)
    return Deployment(said, model.score(people).table if known else None)


def _finetuned(path: Path, cohort: Any, target: str | None, threads: int, on_error: OnError, **_: Any) -> Deployment:
    model = FineTuned.load(path)
    people = cohort if isinstance(cohort, Cohort) else Cohort.open(cohort)
    column = model.target_ if target is None else target
    table, classes = people.table, len(model.classes_) > 0
    said = table[["subject", "path"]].reset_index(drop=True)
    if classes:
        chances = model.predict_proba(people, threads=threads, on_error=on_error)
        said = pd.concat([said, pd.DataFrame(chances, columns=[str(name) for name in model.classes_])], axis=1)
        usable = np.asarray(np.isfinite(chances).all(axis=1))
        best = np.where(usable, np.nan_to_num(chances).argmax(axis=1), 0)
        said["predicted"] = pd.Series(np.asarray(model.classes_, dtype=object)[best]).where(usable)
    else:
        said["predicted"] = model.predict(people, threads=threads, on_error=on_error)
        usable = np.asarray(np.isfinite(said["predicted"]))
    if column not in table or not table[column].notna().any():
        if target is not None:
            raise ValueError(f"deploy: target={target!r} is not a column of {people.name} with a value")
        return Deployment(said, None)
    truth = people if column == model.target_ else people.with_columns(**{model.target_: table[column]})
    scored = usable & np.asarray(table[column].notna())
    if not scored.any():
        return Deployment(said, None)
    value = model.score(truth.subset(np.flatnonzero(scored)), threads=threads, on_error=on_error)
    line = {
        "row": "fine-tuned", "metric": "balanced_accuracy" if classes else "r2", "value": value, "low": np.nan,
        "high": np.nan, "n_subjects": int(table.loc[scored, "subject"].nunique()), "n_left_out": int((~scored).sum()),
    }  # fmt: skip
    return Deployment(said, pd.DataFrame([line]))


def _slides(path: Path, cohort: Any, features: Any, target: str | None, threads: int, **_: Any) -> Deployment:
    model = SlideModel.load(path)
    if features is None:
        raise ValueError("deploy: features=None: a slide-level network needs the folder of the slides' features")
    table = cohort if isinstance(cohort, pd.DataFrame) else cohort.table if isinstance(cohort, Cohort) else None
    if table is None:
        table = read_table(Path(cohort), "\t" if str(cohort).endswith(".tsv") else ",")
    column = str(model.facts["target"])
    if target is not None:
        if target not in table:
            there = ", ".join(map(str, table.columns))
            raise ValueError(f"deploy: target={target!r} is not a column; there are {there}")
        table = table.assign(**{column: table[target]})
    said = model.predict(features, table, threads=threads)
    needed = [column] + ([model.facts["event"]] if model.facts["event"] else [])
    known = all(name in table and table[name].notna().any() for name in needed)
    return Deployment(said, model.score(features, table, threads=threads) if known else None)


_APPLIED: dict[str, Callable[..., Deployment]] = {"sslmed-task-1": _finetuned, "sslmed-slide-model-1": _slides}
