"""MedMNIST files, trained on and scored by their official split, with the evaluator's two numbers for each row."""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from sslmed._checks import OnError, whole
from sslmed.benchmarking.tasks import encoders_of
from sslmed.cohort import Cohort
from sslmed.contents import equal_contents
from sslmed.encoders import EncoderLike, resolve
from sslmed.evaluation.rows import baselines_of
from sslmed.evaluation.transfer import Protocol, transfer
from sslmed.finetuning import FineTuning
from sslmed.io.stores import whole as whole_file
from sslmed.metrics import medmnist
from sslmed.reporting.escape import html_block, write_csv

__all__ = ["MedmnistResult", "score_medmnist"]

Array = np.ndarray[Any, Any]
Kind = Literal["multi-class", "binary-class", "multi-label, binary-class"]

_SEVERAL: Kind = "multi-label, binary-class"
_LEAST_DRAWS = 0.5  # of the draws that an interval needs


@dataclass(repr=False)
class MedmnistResult:
    """Scores of a MedMNIST file (:func:`score_medmnist`)."""

    table: pd.DataFrame
    """One line a row, metric and label: row, metric, label, value, n, low, high. ``auc`` and ``acc`` of the label "all" are the
    evaluator's; by class there is ``recall``, and ``auc`` or ``acc`` where the task has them. low and high: 95 % of draws of test
    images, which are too narrow where a patient has several; NaN where most draws lack a class."""
    predictions: pd.DataFrame
    """One line a row, test image and class: row, path, label, score (its probability), truth."""
    task: Kind
    """MedMNIST's name of the task, by the labels."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Arguments of the call, and the numbers of images."""

    def __repr__(self) -> str:
        return f"<MedmnistResult, {self.task}>\n{self.overview().to_string()}"

    def _repr_html_(self) -> str:
        return html_block("MedMNIST", self.overview().reset_index(), after=f", {self.task}")

    def overview(self) -> pd.DataFrame:
        """The evaluator's numbers, a line a row: auc, acc, and the recall of the class that is found least (``least_recall``)."""
        every = self.table[self.table["label"] == "all"].pivot(index="row", columns="metric", values="value")
        least = self.table[self.table["metric"] == "recall"].groupby("row")["value"].min()
        return every.assign(least_recall=least).loc[list(dict.fromkeys(self.table["row"])), ["auc", "acc", "least_recall"]].round(4)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes table.csv, predictions.csv and report.html into a folder, which is made where it is missing.

        Raises:
            WriteError: A file cannot be written.
        """
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_csv(self.table, Path(folder) / "table.csv")
        write_csv(self.predictions, Path(folder) / "predictions.csv")
        notes = "".join(f"<p>{text}</p>" for text in (*_NOTES, f"Settings: {html.escape(str(self.settings))}"))
        blocks = html_block("MedMNIST", self.overview().reset_index(), after=f", {self.task}"), html_block("By class", self.table)
        with whole_file(Path(folder) / "report.html") as part:
            part.write_text(f"<!doctype html><meta charset=utf-8><title>MedMNIST</title><h1>MedMNIST</h1>{''.join(blocks)}{notes}", encoding="utf-8")


_NOTES = (
    "The file does not say whose the images are: intervals are over images, and whether a patient is in two parts of the split cannot be told.",
    "The mean over classes hides one that is never found: see the recall of each.",
)


def score_medmnist(
    path: str | os.PathLike[str],
    encoders: EncoderLike | Sequence[EncoderLike] | Mapping[str, EncoderLike] = (),
    *,
    out: str | os.PathLike[str],
    protocol: Protocol | FineTuning = "linear",
    pooling: str = "mean",
    baselines: bool = True,
    random: bool = True,
    draws: int = 1000,
    seed: int = 0,
    threads: int = 2,
    on_error: OnError = "raise",
    progress: Callable[[str], None] | None = None,
) -> MedmnistResult:
    """Trains on the train and val parts of a MedMNIST file and scores its test part, once, by MedMNIST's evaluator.

    What a protocol chooses, such as the strength of a linear probe, is chosen within the train and val parts. Images of these that are
    in the test part, too, are left out of them (``settings["copies_left_out"]``); the test part stays as it is. Files of several labels
    (ChestMNIST) are one fit a label. RetinaMNIST's grades are scored as classes, as the evaluator does.

    Args:
        path: The .npz file, of pictures or volumes.
        encoders: What is scored, each a file, an object or a name of :func:`sslmed.nn.list_models`; a mapping names them. None of
            them: only the rows that need no encoder.
        out: Folder that the images are unpacked to (:meth:`sslmed.Cohort.from_medmnist`), once.
        protocol: As for :func:`sslmed.transfer`.
        pooling: As for :func:`sslmed.transfer`.
        baselines: Score the dummy and the modality's classical features, too.
        random: Score each trained encoder's untrained twin, too.
        draws: Draws of test images for the intervals; 0 gives none.
        seed: Seed of fits and draws.
        threads: Loader threads.
        on_error: "raise", or "skip" images that cannot be read.
        progress: Called with a text before each row's fit.

    Returns:
        The scores and predictions.

    Raises:
        FormatError, ReadError: The file cannot be read (:func:`sslmed.io.read_medmnist`).
        TypeError, ValueError: An argument is out of range, a label of the test part is in none of the others, or a class has no test
            image: the evaluator's AUC is not defined then.

    Examples:
        >>> import tempfile, numpy as np
        >>> from pathlib import Path
        >>> from sslmed.benchmarking import score_medmnist
        >>> rng, folder = np.random.default_rng(0), Path(tempfile.mkdtemp())
        >>> y = {part: np.arange(n)[:, None] % 2 for part, n in {"train": 24, "val": 8, "test": 12}.items()}
        >>> x = {part: (rng.integers(0, 90, (len(of), 28, 28)) + 120 * of[:, :, None]).astype(np.uint8) for part, of in y.items()}
        >>> arrays = {f"{part}_images": x[part] for part in x} | {f"{part}_labels": y[part].astype(np.uint8) for part in y}
        >>> np.savez(folder / "bright.npz", **arrays)
        >>> result = score_medmnist(folder / "bright.npz", out=folder / "bright", draws=20)
        >>> result.task, float(result.overview()["auc"].max())
        ('binary-class', 1.0)

    See Also:
        :func:`sslmed.metrics.medmnist`, :func:`sslmed.benchmark`
    """
    whole("score_medmnist", "draws", draws)
    is_empty = isinstance(encoders, (Mapping, Sequence)) and len(encoders) == 0
    named = {} if is_empty else encoders_of(encoders)
    if not baselines and not named:
        raise ValueError("score_medmnist: baselines=False and no encoders: there is nothing to score")
    cohort = Cohort.from_medmnist(path, out)
    parts = _parts(cohort)
    targets = [name for name in map(str, cohort.table) if name == "label" or name.startswith("label_")]
    labels = [_labels(parts, target) for target in targets]
    task: Kind = _SEVERAL if len(targets) > 1 else "binary-class" if len(labels[0]) == 2 else "multi-class"
    classical = ["dummy", *(name for name in baselines_of(cohort) if name not in ("dummy", "random encoder", "permuted labels"))]
    models: list[tuple[str, EncoderLike | None, list[str] | bool]] = [("", None, classical)] if baselines else []
    models += [(name, resolve(encoder, cohort), ["random encoder"] if random else False) for name, encoder in named.items()]
    made: list[pd.DataFrame] = []
    for target in targets:
        for name, model, beside in models:
            if progress is not None:
                progress(f"{cohort.name}: {target}, {name or 'rows without an encoder'}")
            result = transfer(
                model, parts[0], target, protocol, test=parts[1], regression=False, baselines=beside, pooling=pooling,
                level="recording", permutations=0, bootstrap=1, seed=seed, threads=threads, on_error=on_error,
            )  # fmt: skip
            made.append(_named(result.predictions, name).assign(target=target))
    predictions = pd.concat(made, ignore_index=True)
    table = _scored(predictions, task, draws, seed)
    if task == _SEVERAL:
        predictions = predictions[predictions["label"] == "1"].assign(label=lambda of: of["target"].str.removeprefix("label_"))
    settings = {
        "path": os.fspath(path), "encoders": list(named), "protocol": str(protocol), "pooling": pooling, "seed": seed, "draws": draws,
        "training_images": len(parts[0]), "test_images": len(parts[1]), "copies_left_out": len(cohort) - len(parts[0]) - len(parts[1]),
    }  # fmt: skip
    return MedmnistResult(table, predictions[["row", "path", "label", "score", "truth"]].reset_index(drop=True), task, settings)


def _parts(cohort: Cohort) -> tuple[Cohort, Cohort]:
    """What is trained on, and the test part: all of it, so that figures can be compared. Equal images are one subject, and those of the
    training parts that are in the test part too are left out."""
    table = cohort.table.reset_index(drop=True)
    subject, is_test = table["subject"].to_numpy(object).copy(), (table["split"] == "test").to_numpy()
    for group in equal_contents([cohort]):
        subject[[place.row for place in group]] = subject[group[0].row]
    table["subject"] = subject
    copied = ~is_test & np.isin(subject.astype(str), subject[is_test].astype(str))
    return Cohort(table[~is_test & ~copied], cohort.name), Cohort(table[is_test], f"{cohort.name}, test")


def _labels(parts: tuple[Cohort, Cohort], target: str) -> list[int]:
    """The classes of a column, 0 to K - 1."""
    here, there = ({int(of) for of in part.table[target].unique()} for part in parts)
    if there - here:
        raise ValueError(f"score_medmnist: class {min(there - here)} of {target!r} is in the test part only, and nothing can learn it")
    if sorted(here) != list(range(len(here))) or len(here) < 2:
        raise ValueError(f"score_medmnist: classes of {target!r} must be 0 to K - 1, K > 1, the training parts have {sorted(here)}")
    return sorted(here)


def _named(made: pd.DataFrame, name: str) -> pd.DataFrame:
    """Predictions of one transfer, with rows by the encoder's name."""
    own = made["row"].iloc[-1]
    rows = made["row"].map(lambda row: row if not name else name if row == own else f"{name}, untrained" if row == "random encoder" else f"{name}, {row}")
    return pd.DataFrame({"row": rows, "path": made["path"], "label": made["label"].map(_plain), "score": made["predicted"], "truth": made["truth"].map(_plain)})


def _plain(label: Any) -> str:
    return str(int(float(label)))


def _scored(predictions: pd.DataFrame, task: Kind, draws: int, seed: int) -> pd.DataFrame:
    """The evaluator's metrics of each row, with intervals."""
    found = []
    for row in dict.fromkeys(predictions["row"]):
        scores, labels = _arrays(predictions[predictions["row"] == row], task)
        table = medmnist(scores, labels, task)
        found.append(table.assign(row=row, **_interval(scores, labels, task, len(table), draws, seed)))
    return pd.concat(found, ignore_index=True)[["row", "metric", "label", "value", "n", "low", "high"]]


def _arrays(made: pd.DataFrame, task: Kind) -> tuple[Array, Array]:
    """Scores and labels of one row, as the evaluator takes them."""
    if task == _SEVERAL:
        ones = made[made["label"] == "1"]
        return tuple(  # type: ignore[return-value]
            ones.pivot(index="path", columns="target", values=value).sort_index(key=_number, axis=1).to_numpy(dtype)
            for value, dtype in (("score", np.float64), ("truth", np.int64))
        )
    wide = made.pivot(index="path", columns="label", values="score").sort_index(key=_number, axis=1)
    return wide.to_numpy(), made.drop_duplicates("path").set_index("path").loc[wide.index, "truth"].to_numpy(np.int64)


def _number(names: pd.Index[Any]) -> pd.Index[Any]:
    return pd.Index([int(str(name).removeprefix("label_")) for name in names])


def _interval(scores: Array, labels: Array, task: Kind, lines: int, draws: int, seed: int) -> dict[str, Array]:
    """low and high of each line [lines], of draws of images. Draws that lack a class have no AUC and are left out."""
    rng, kept = np.random.default_rng(seed), []
    full = np.arange(scores.shape[1])
    for _ in range(draws):
        rows = rng.integers(0, len(labels), len(labels))
        drawn = labels[rows]
        whole_draw = (np.ptp(drawn, axis=0) > 0).all() if task == _SEVERAL else np.isin(full, drawn).all()
        if whole_draw:
            kept.append(medmnist(scores[rows], drawn, task)["value"].to_numpy())
    if not kept or len(kept) < _LEAST_DRAWS * draws:
        return {"low": np.full(lines, np.nan), "high": np.full(lines, np.nan)}
    low, high = np.percentile(kept, [2.5, 97.5], axis=0)
    return {"low": low, "high": high}
