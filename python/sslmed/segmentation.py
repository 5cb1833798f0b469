"""Segmentation: networks are trained on the label maps of a cohort by the C++ loop, and scored on people that they have not seen."""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch

from sslmed import io
from sslmed._checks import choice, number, whole
from sslmed._world import own_settings
from sslmed.cohort import Cohort
from sslmed.encoders import CohortEncoder, EncoderLike, resolve
from sslmed.inference import sliding_window
from sslmed.leakage import refuse_overlap
from sslmed.methods import Segment
from sslmed.modalities import registry
from sslmed.modalities.base import LabelMaps, StreamedLabelMaps
from sslmed.nn.segmenter import DecoderName
from sslmed.reporting import plots
from sslmed.training import Interrupt, Loader, Trainer

__all__ = ["Segmentation", "SegmentationResult", "segment"]

Array = np.ndarray[Any, Any]
_COLUMN = "path_labels"
_RESAMPLES = 2000
_LEAST = 5  # people that a bootstrap interval is given of


@dataclass(frozen=True)
class Segmentation:
    """Options of :func:`segment`.

    Examples:
        >>> import sslmed as sm
        >>> sm.Segmentation(epochs=50, lr=5e-4).overlap
        0.5
    """

    tuned: Literal["encoder", "nothing"] = "encoder"
    """What is trained besides the decoder: the whole "encoder", or "nothing" (a probe)."""
    epochs: int = 50
    """Number of epochs."""
    batch_size: int = 2
    """Samples in a batch."""
    lr: float = 1e-3
    """Peak learning rate of the decoder."""
    warmup: float = 0.1
    """Share of all steps over which the learning rate rises, within [0, 1]."""
    weight_decay: float = 0.01
    """Weight decay of AdamW."""
    layer_decay: float = 1.0
    """Factor of the learning rate from one block of the encoder to the one before it, within (0, 1]."""
    clip_norm: float = 12.0
    """Largest norm of the gradient; 0 does not clip."""
    features: int = 32
    """Channels of the decoders "unetr" and "upernet"."""
    groups: int = 0
    """Groups of the decoder's normalization; 0: instance normalization."""
    residual: bool = False
    """Shortcuts in the decoder's blocks."""
    attention: bool = False
    """Attention gates on the skip connections."""
    loss: Mapping[str, Any] = field(default_factory=dict)
    """Options of :func:`sslmed.losses.dice_ce` by name."""
    augmentation: Any = None
    """Random changes in training, such as a ``VolumeAugmentation``; None: only the place of a crop is random."""
    roi: int | tuple[int, ...] | None = None
    """Cells of a window in prediction; None: those of a training sample."""
    overlap: float = 0.5
    """Share of a window that the next one covers in prediction, within [0, 1)."""
    flips: tuple[int, ...] = ()
    """Spatial axes, from 0: predictions of all flips along them are averaged."""
    convention: Literal["monai", "nnunet"] = "monai"
    """Where windows lie, see :func:`sslmed.inference.sliding_window`."""
    bf16: bool = False
    """Train in bfloat16."""
    device: str = "cpu"
    """Device of training and prediction: "cpu", "cuda" …"""

    def __post_init__(self) -> None:
        choice("Segmentation", "tuned", self.tuned, ("encoder", "nothing"))
        choice("Segmentation", "convention", self.convention, ("monai", "nnunet"))
        for name in ("epochs", "batch_size", "features"):
            whole("Segmentation", name, getattr(self, name), 1)
        whole("Segmentation", "groups", self.groups, 0)
        number("Segmentation", "lr", self.lr, 0, strict=True)
        number("Segmentation", "warmup", self.warmup, 0, 1)
        number("Segmentation", "layer_decay", self.layer_decay, 0, 1, strict=True)
        number("Segmentation", "overlap", self.overlap, 0, 1 - 1e-9)
        for name in ("weight_decay", "clip_norm"):
            number("Segmentation", name, getattr(self, name), 0)


class SegmentationResult:
    """What :func:`segment` found.

    Attributes:
        table: A line a class, and "mean" over the classes: row, metric ("dice"), class, value (the mean over people), low, high (95 % bootstrap interval
            over people; NaN of fewer than five), n_subjects, median, p10 (the tenth percentile: the tail), n_cases, n_missed (cases whose reference has the
            class and whose prediction has none of it), n_empty (cases whose reference lacks the class: they count in no mean), n_false (those of them in
            which the prediction has it).
        cases: A line a case and class: row (of the cohort), path, subject, fold, class, dice (NaN where the reference lacks the class), cells of the reference
            and of the prediction. Dice is 2 · overlap / (reference + prediction), on the grid of the label maps.
        tasks: The trained networks, one a fold.
        values_: What each class is in the label maps; the first one is the background.
    """

    def __init__(self, tasks: Sequence[Segment], folds: Sequence[frozenset[str]], cases: pd.DataFrame, name: str, options: Segmentation, about: dict[str, Any]):
        self.tasks, self._trained_on, self.cases = list(tasks), list(folds), cases
        self.values_ = self.tasks[0].values
        self._name, self._options, self._about = name, options, about
        self.table = _summary(cases, name, about["seed"])

    def __repr__(self) -> str:
        mean = self.table[self.table["class"] == "mean"]
        found = f": mean Dice {mean['value'].iloc[0]:.3f} of {mean['n_subjects'].iloc[0]} people" if len(mean) else ""
        return f"<SegmentationResult {self._name}{found}>"

    def worst(self, n: int = 5) -> pd.DataFrame:
        """The ``n`` cases and classes with the lowest Dice."""
        return self.cases.dropna(subset=["dice"]).sort_values("dice", kind="stable").head(n).reset_index(drop=True)

    @own_settings()
    def predict(self, cohort: Cohort, out: str | os.PathLike[str], format: str | None = None) -> pd.DataFrame:
        """Writes a label map for each row of a cohort: NIfTI (``_dseg.nii.gz``) with the affine of the row's file for volumes, PNG for images.

        Slides are predicted by tiles where they have tissue, and written band by band: pyramidal OME-TIFF at the scale of the training, or GeoJSON for
        QuPath with the outline of each connected area.

        Where several networks were trained (``folds``), their probabilities are averaged.

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
        maps = _maps(cohort, self.tasks[0].preprocessing)
        if format is not None and not isinstance(maps, StreamedLabelMaps):
            raise ValueError(f"predict: format={format!r} must be None: {cohort.name} is written in the format of its modality")
        written = []
        for row, subject in enumerate(cohort.table["subject"]):
            stem = str(folder / f"{row:04d}_{_plain(str(subject))}")
            if isinstance(maps, StreamedLabelMaps):
                written.append(maps.predict(row, self, stem, format or "ome-tiff", **_tiles(self._options, self.tasks)).files[0])
                continue
            labels = maps.placed(row, self._labels(self.tasks, maps, row), self.values_[0])
            written.append(maps.write(row, labels, stem))
        return cohort.table.assign(**{_COLUMN: written})

    def forward_dense(self, dense: torch.Tensor) -> torch.Tensor:
        """Predictions of dense inputs: [B, C, spatial…] to logits [B, classes, spatial…], of several networks to the mean of their probabilities."""
        if len(self.tasks) == 1:
            return self.tasks[0].forward_dense(dense)
        return torch.stack([task.forward_dense(dense).softmax(1) for task in self.tasks]).mean(0)

    def plot(self, ax: Any = None) -> Any:
        """Draws the mean Dice of each class with its interval."""
        lines = self.table.assign(row=[f"{name}" for name in self.table["class"]])
        return plots.plot_rows(lines, "dice", ax)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes ``table.csv``, ``cases.csv``, ``segmentation.json`` (options) and the weights of each network (``fold-N.safetensors``)."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        self.table.to_csv(path / "table.csv", index=False)
        self.cases.to_csv(path / "cases.csv", index=False)
        (path / "segmentation.json").write_text(json.dumps(self._about | {"options": asdict(self._options)}, indent=1, default=str))
        for i, task in enumerate(self.tasks):
            io.save_safetensors({name: value.detach().cpu().contiguous() for name, value in task.state_dict().items()}, path / f"fold-{i}.safetensors")

    def _labels(self, tasks: Sequence[Segment], maps: LabelMaps, row: int) -> torch.Tensor:
        return _labels(tasks, maps.read(row), self._options)


@own_settings()
def segment(
    cohort: Cohort,
    target: str = _COLUMN,
    encoder: EncoderLike = "unet",
    decoder: DecoderName = "unet",
    *,
    out: str | os.PathLike[str] | None = None,
    folds: int | None = 5,
    values: Sequence[int] | None = None,
    preprocessing: Any = None,
    options: Segmentation | None = None,
    seed: int = 0,
    threads: int = 2,
    callback: Callable[[list[dict[str, float]]], bool | None] | None = None,
) -> SegmentationResult:
    """Trains networks to give every cell of an image or volume its class, and scores them on people that they have not seen.

    In each fold a network is trained on the other folds' people and predicts the held-out ones by overlapping windows; nothing of the held-out people takes
    part in training. Dice is computed case by case on the grid of the label maps (of volumes that were prepared, on the grid of the store).

    Args:
        cohort: Images, volumes or slides with label maps. Volumes: NIfTI files, prepared ones (:func:`sslmed.prepare`) hold their labels. Images: PNG of
            one channel. Indexed slides: files of annotations (GeoJSON, ASAP or Aperio XML), whose areas are rasterized tile by tile at the scale of the
            preprocessing; its ``classes`` and ``unlabeled`` say how.
        target: Column of the label maps; of a prepared cohort the labels that were prepared with it, "path_labels".
        encoder: A name ("unet", "resnet18", "swin_tiny" …), a path or an encoder, see :func:`sslmed.encoders.resolve`. Its weights are copied.
        decoder: Decoder of its maps: "linear", "unet", "unetr" or "upernet", see :class:`sslmed.nn.Segmenter`.
        out: Folder for checkpoints of the training and, at the end, what :meth:`SegmentationResult.save` writes. A fold that was interrupted goes on from its
            last checkpoint. None: nothing is written.
        folds: Number of folds over people; None: one network is trained on everybody, and nothing is scored.
        values: What each class is in the label maps, the background first; None: all that occur.
        preprocessing: Preprocessing of an encoder that is given by name; it needs a ``size``, the cells of training samples.
        options: Options of training and prediction.
        seed: Seed of folds, weights, crops and intervals.
        threads: Number of loader threads.
        callback: Called with the records of new steps; the training stops where it returns False.

    Raises:
        TypeError: ``cohort`` is not a cohort.
        ValueError: An option is out of range, the column is missing, label maps hold fewer than two classes, or no ``size`` is known.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import torch, pandas as pd, sslmed as sm
        >>> folder, rows = Path(tempfile.mkdtemp()), []
        >>> for i in range(2):
        ...     labels = torch.zeros(16, 16, 16, dtype=torch.int16)
        ...     labels[4:12, 4:12, 4 + i : 12] = 1
        ...     row = {"subject": f"s{i}", "path": str(folder / f"{i}_T1w.nii.gz"), "path_labels": str(folder / f"{i}_dseg.nii.gz")}
        ...     sm.io.write_nifti(sm.io.Volume(labels + torch.rand(16, 16, 16), torch.eye(4)), row["path"])
        ...     sm.io.write_nifti(sm.io.Volume(labels, torch.eye(4)), row["path_labels"])
        ...     rows.append(row)
        >>> raw = sm.Cohort.from_table(pd.DataFrame(rows))
        >>> cohort = sm.prepare(raw, folder / "prepared", spacing=1.0, crop="none", progress=False)
        >>> how = sm.VolumePreprocessing(spacing=1.0, crop="none", size=16, patch=None)
        >>> result = sm.segment(cohort, preprocessing=how, folds=2, options=sm.Segmentation(epochs=1))
        >>> result.table["class"].tolist()
        ['1', 'mean']
    """
    if not isinstance(cohort, Cohort):
        raise TypeError(f"segment: cohort={cohort!r} must be a Cohort, got {type(cohort).__name__}")
    choice("segment", "decoder", decoder, get_args(DecoderName))
    whole("segment", "seed", seed, 0)
    whole("segment", "threads", threads, 1)
    options = options or Segmentation()
    cohort = _with_target(cohort, target)
    model = _encoder(encoder, cohort, preprocessing, seed)
    maps = _maps(cohort, model.preprocessing)
    classes = _streamed_classes(cohort, maps, values) if isinstance(maps, StreamedLabelMaps) else _classes(cohort, _Truths(maps), values)
    parts = [(np.arange(len(cohort)), np.arange(0))] if folds is None else list(cohort.folds(folds, seed=seed))
    name = f"{model.config['name'] if isinstance(getattr(model, 'config', None), dict) and 'name' in model.config else type(model).__name__} + {decoder}"
    about = {"cohort": cohort.name, "target": target, "encoder": repr(model), "decoder": decoder, "values": classes, "folds": folds, "seed": seed}
    tasks, people, cases = [], [], []
    for fold, (train, test) in enumerate(parts):
        checkpoints = None if out is None else Path(out) / f"fold-{fold}"
        part = cohort.subset(train)
        refuse_overlap(part.table["subject"], cohort.table["subject"].iloc[test], f"segment: fold {fold}")
        task = _trained(part, model, decoder, classes, options, seed, threads, checkpoints, about | {"fold": fold}, callback)
        tasks.append(task)
        people.append(frozenset(map(str, part.table["subject"])))
        for row in test:
            cases += _scored(cohort, int(row), fold, classes, maps, task, options)
    result = SegmentationResult(tasks, people, pd.DataFrame(cases, columns=_CASES), name, options, about)
    if out is not None:
        result.save(out)
    return result


_CASES = ["row", "path", "subject", "fold", "class", "dice", "reference", "prediction"]


class _Truths:
    """Label maps, read again each time: all of them would not fit into memory."""

    def __init__(self, maps: LabelMaps) -> None:
        self._maps = maps

    def __len__(self) -> int:
        return len(self._maps)

    def __getitem__(self, row: int) -> torch.Tensor | None:
        return self._maps.truth(row)


def _with_target(cohort: Cohort, target: str) -> Cohort:
    """The cohort with the target in the column that modalities read label maps from."""
    if target == _COLUMN:
        return cohort
    if target not in cohort.table:
        raise ValueError(f"{cohort.name}: target={target!r} is not a column of the table; there are {', '.join(map(str, cohort.table.columns))}")
    values = cohort.table[target].tolist()
    return Cohort(cohort.table.drop(columns=[target]).assign(**{_COLUMN: values}), cohort.name, cohort.arrays)


def _encoder(encoder: EncoderLike, cohort: Cohort, preprocessing: Any, seed: int) -> CohortEncoder:
    """A copy of the encoder whose samples carry their label maps."""
    model = resolve(encoder, cohort, preprocessing=preprocessing, seed=seed)
    model = copy.deepcopy(model)
    if not hasattr(model.preprocessing, "labels"):
        raise ValueError(f"{cohort.name}: segment: samples of {model.preprocessing.modality!r} carry no label maps; it is for images and volumes")
    if getattr(model.preprocessing, "size", None) is None:
        raise ValueError("segment: preprocessing: size=None, expected the cells of training samples along each axis, such as size=96")
    if model.preprocessing.embedding().get("positions") == "coordinates" and model.preprocessing.embedding()["patch_size"]:
        raise ValueError("segment: an encoder with positions='coordinates' is not supported: windows of a volume have none; use positions='grid'")
    how: Any = model.preprocessing
    whole_grid = {"anatomy": 0.0} if how.embedding()["patch_size"] and hasattr(how, "anatomy") else {}  # a decoder needs all patches
    model.preprocessing = registry.get(cohort.modality).labeled(cohort, replace(how, **whole_grid))
    return model


def _maps(cohort: Cohort, preprocessing: Any) -> LabelMaps | StreamedLabelMaps:
    return registry.get(cohort.modality).label_maps(cohort, preprocessing)


def _classes(cohort: Cohort, truths: _Truths, values: Sequence[int] | None) -> list[int]:
    """What each class is in the label maps; all rows must have one."""
    seen: set[int] = set()
    for row in range(len(truths)):
        truth = truths[row]
        if truth is None:
            raise ValueError(f"{cohort.name}: row {row} ({cohort.table['path'].iloc[row]}) has no label map; leave it out")
        if values is None:
            seen.update(torch.unique(truth).tolist())
    found = sorted(seen - {-1}) if values is None else [int(value) for value in values]
    if len(found) < 2:
        raise ValueError(f"{cohort.name}: the label maps hold {found}, expected at least two classes")
    return found


def _trained(
    cohort: Cohort,
    encoder: CohortEncoder,
    decoder: DecoderName,
    classes: Sequence[int],
    options: Segmentation,
    seed: int,
    threads: int,
    checkpoints: Path | None,
    about: dict[str, Any],
    callback: Callable[[list[dict[str, float]]], bool | None] | None,
) -> Segment:
    task = Segment(
        copy.deepcopy(encoder), values=classes, decoder=decoder, features=options.features, groups=options.groups, residual=options.residual,
        attention=options.attention, loss=dict(options.loss), tuned=options.tuned, layer_decay=options.layer_decay, augmentation=options.augmentation,
        seed=seed,
    )  # fmt: skip
    loader = Loader(
        cohort, encoder.preprocessing, batch_size=options.batch_size, order="shuffle", threads=threads, seed=seed, random=True, drop_last=True, shrink=True,
        extra_channels=encoder.extra_channels,
    )  # fmt: skip
    steps = options.epochs * loader.sampler.batches_per_epoch
    trainer = Trainer(
        task, loader, epochs=options.epochs, lr=options.lr, warmup_steps=math.ceil(options.warmup * steps), weight_decay=options.weight_decay,
        clip_norm=options.clip_norm, bf16=options.bf16, device=options.device, checkpoints=checkpoints,
        config=json.dumps(about | asdict(options), default=str),
    )  # fmt: skip
    if checkpoints is not None and (found := sorted(checkpoints.glob("step-*.safetensors"))):
        trainer.resume(found[-1])
    with Interrupt() as interrupt:
        trainer.fit(lambda rows: not interrupt.wanted and (callback is None or callback(rows) is not False))
    if interrupt.wanted:
        raise KeyboardInterrupt
    task.eval()
    return task


def _labels(tasks: Sequence[Segment], values: torch.Tensor, options: Segmentation) -> torch.Tensor:
    """The labels that networks give an array [C, spatial…], by windows."""
    first: Any = tasks[0].preprocessing
    roi = options.roi if options.roi is not None else first.embedding()["img_size"]
    how: dict[str, Any] = {"overlap": options.overlap, "convention": options.convention, "flips": options.flips, "argmax": True}
    values = values.to(options.device)
    if len(tasks) == 1:
        found = sliding_window(values, tasks[0], roi, **how)
    else:
        found = sliding_window(values, lambda windows: torch.stack([task.forward_dense(windows).softmax(1) for task in tasks]).mean(0), roi, **how)
    return torch.tensor(tasks[0].values, dtype=torch.int32)[found.cpu().long()]


def _streamed_classes(cohort: Cohort, maps: StreamedLabelMaps, values: Sequence[int] | None) -> list[int]:
    """What each class is in label maps that come in bands: their own numbers."""
    if values is not None and [int(value) for value in values] != maps.values:
        raise ValueError(f"{cohort.name}: values={list(values)} must be None: the classes are {', '.join(map(repr, maps.names))} in this order")
    return list(maps.values)


def _tiles(options: Segmentation, tasks: Sequence[Segment]) -> dict[str, Any]:
    """Options of prediction by tiles."""
    first: Any = tasks[0].preprocessing
    size = first.size if options.roi is None else options.roi
    if not isinstance(size, int):
        raise ValueError(f"Segmentation: roi={size!r} must be one number of pixels where predictions come by tiles")
    return {"size": size, "overlap": options.overlap, "convention": options.convention, "flips": options.flips, "device": options.device}


def _compared(
    cohort: Cohort, row: int, classes: Sequence[int], maps: LabelMaps | StreamedLabelMaps, task: Segment, options: Segmentation
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Labels that were predicted and those of the reference: of a whole case, or band by band."""
    if isinstance(maps, StreamedLabelMaps):
        yield from maps.bands(row, task, **_tiles(options, [task]))
        return
    labels = maps.placed(row, _labels([task], maps.read(row), options), classes[0])
    truth = maps.truth(row)
    assert truth is not None
    if truth.shape != labels.shape:
        found = f"{cohort.name}: row {row}: the label map is {tuple(truth.shape)}"
        raise ValueError(f"{found}, expected {tuple(labels.shape)} like {cohort.table['path'].iloc[row]}")
    yield labels, truth


def _scored(
    cohort: Cohort, row: int, fold: int, classes: Sequence[int], maps: LabelMaps | StreamedLabelMaps, task: Segment, options: Segmentation
) -> list[list[Any]]:
    """A line a class: Dice of a case. Cells where nothing is known do not count."""
    counts = np.zeros((len(classes), 3), dtype=np.int64)
    for labels, truth in _compared(cohort, row, classes, maps, task, options):
        known = truth != -1
        for i, value in enumerate(classes):
            reference, predicted = (truth == value) & known, (labels == value) & known
            counts[i] += [int(x.sum()) for x in (reference, predicted, reference & predicted)]
    names = dict(zip(maps.values, maps.names, strict=True)) if isinstance(maps, StreamedLabelMaps) else {}
    lines = []
    for value, (reference, predicted, both) in zip(classes[1:], counts[1:].tolist(), strict=True):
        dice = 2 * both / (reference + predicted) if reference else math.nan
        where = [row, cohort.table["path"].iloc[row], str(cohort.table["subject"].iloc[row])]
        lines.append([*where, fold, names.get(value, str(value)), dice, reference, predicted])
    return lines


def _summary(cases: pd.DataFrame, name: str, seed: int) -> pd.DataFrame:
    """A line a class, and one of their mean; intervals over people."""
    columns = ["row", "metric", "class", "value", "low", "high", "n_subjects", "median", "p10", "n_cases", "n_missed", "n_empty", "n_false"]
    if cases.empty:
        return pd.DataFrame(columns=columns)
    lines = []
    groups: list[tuple[Any, pd.DataFrame]] = list(cases.groupby("class", sort=False))
    mean: Any = cases.groupby(["row", "subject"], as_index=False)["dice"].mean()
    for label, part in [*groups, ("mean", mean)]:
        known = part.dropna(subset=["dice"])
        people = known.groupby("subject")["dice"].mean().to_numpy()
        low, high = _interval(people, seed)
        line: dict[str, Any] = {
            "row": name,
            "metric": "dice",
            "class": str(label),
            "value": people.mean() if len(people) else math.nan,
            "low": low,
            "high": high,
        }
        line |= {"n_subjects": len(people), "median": float(np.median(people)) if len(people) else math.nan}
        line |= {"p10": float(np.quantile(known["dice"], 0.1)) if len(known) else math.nan, "n_cases": len(part)}
        if label != "mean":
            empty, found = part["reference"] == 0, part["prediction"] > 0
            line |= {"n_missed": int((~empty & ~found).sum()), "n_empty": int(empty.sum()), "n_false": int((empty & found).sum())}
        lines.append(line)
    counted = pd.DataFrame(lines, columns=columns)
    for column in ("n_missed", "n_empty", "n_false"):
        counted.loc[counted["class"] == "mean", column] = counted.loc[counted["class"] != "mean", column].sum()
        counted[column] = counted[column].astype(int)
    return counted


def _interval(people: Array, seed: int) -> tuple[float, float]:
    """95 % percentile bootstrap of a mean over people."""
    if len(people) < _LEAST:
        return math.nan, math.nan
    draw = np.random.default_rng(seed)
    means = people[draw.integers(0, len(people), (_RESAMPLES, len(people)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _plain(text: str) -> str:
    """A subject's name as part of a file name."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in text)
