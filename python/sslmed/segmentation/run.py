"""Training and scoring of segmentation, fold by fold."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from sslmed._checks import choice, whole
from sslmed._world import own_settings
from sslmed.cohort import Cohort
from sslmed.dense_tasks import Part, name_of, parts_of, renamed_target
from sslmed.dense_tasks.fitting import Callback
from sslmed.dense_tasks.people import SeenPeople
from sslmed.encoders import EncoderLike
from sslmed.modalities.label_maps import LabelMaps, StreamedLabelMaps
from sslmed.nn.segmenter import DecoderName
from sslmed.segmentation.baselines import BASELINES, Classical
from sslmed.segmentation.cases import CASES, LABELS, maps_of, scored
from sslmed.segmentation.networks import described_encoder, encoder_of, labels_of, trained
from sslmed.segmentation.options import Segmentation
from sslmed.segmentation.result import SegmentationResult
from sslmed.segmentation.streamed import counted, known_classes, scored_bands

__all__ = ["segment"]


@own_settings()
def segment(
    cohort: Cohort,
    target: str = LABELS,
    encoder: EncoderLike = "unet",
    decoder: DecoderName = "unet",
    *,
    out: str | os.PathLike[str] | None = None,
    folds: int | None = 5,
    values: Sequence[int] | None = None,
    preprocessing: Any = None,
    options: Segmentation | None = None,
    baselines: Sequence[str] = BASELINES,
    random: bool | None = None,
    seed: int = 0,
    threads: int = 2,
    callback: Callback | None = None,
) -> SegmentationResult:
    """Trains networks to give every cell its class, and scores them on people that they have not seen.

    In each fold a network is trained on the other folds' people and predicts the held-out ones by overlapping windows;
    nothing of the held-out people takes part in training. Scores are computed case by case on the grid of the label
    maps (of volumes that were prepared, on the grid of the store), under the conventions of the options.

    Args:
        cohort: Images, volumes or slides with label maps. Volumes: NIfTI files, prepared ones (:func:`sslmed.prepare`)
            hold their labels. Images: PNG of one channel. Indexed slides: files of annotations (GeoJSON, ASAP or Aperio
            XML), whose areas are rasterized tile by tile at the scale of the preprocessing; its ``classes`` and
            ``unlabeled`` say how. They have no classical rows, and no metrics of distances.
        target: Column of the label maps; of a prepared cohort the labels that were prepared with it, "path_labels".
        encoder: A name ("unet", "resnet18", "swin_tiny" …), a path or an encoder, see
            :func:`sslmed.encoders.resolve`. Its weights are copied.
        decoder: Decoder of its maps: "linear", "unet", "unetr" or "upernet", see :class:`sslmed.nn.Segmenter`.
        out: Folder for checkpoints of the training and, at the end, what :meth:`SegmentationResult.save` writes. A fold
            that was interrupted goes on from its last checkpoint. None: nothing is written.
        folds: Number of folds over people; None: one network is trained on everybody, and nothing is scored.
        values: What each class is in the label maps, the background first; None: all that occur.
        preprocessing: Preprocessing of an encoder that is given by name; it needs a ``size``, the cells of training
            samples.
        options: Options of training, prediction and scores.
        baselines: Rows that need no network, fitted on the training people of each fold: "dummy" (the most frequent
            class everywhere), "atlas" (the majority of the label maps at each place), "histogram" (a normal
            distribution of the intensities of each class) and "atlas + histogram" (the same with the atlas as its
            prior).
        random: Train the same network from random weights of the encoder too, in a row of its own. None: where the
            encoder has been trained on something.
        seed: Seed of folds, weights, crops and intervals.
        threads: Number of loader threads.
        callback: Called with the records of new steps; the training stops where it returns False.

    Raises:
        TypeError: ``cohort`` is not a cohort.
        ValueError: An option is out of range, the column is missing, label maps hold fewer than two classes, or no
            ``size`` is known.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import torch, pandas as pd, sslmed as sm
        >>> folder, rows = Path(tempfile.mkdtemp()), []
        >>> for i in range(2):
        ...     labels = torch.zeros(16, 16, 16, dtype=torch.int16)
        ...     labels[4:12, 4:12, 4 + i : 12] = 1
        ...     row = {"subject": f"s{i}", "path": str(folder / f"{i}_T1w.nii.gz")}
        ...     row["path_labels"] = str(folder / f"{i}_dseg.nii.gz")
        ...     sm.io.write_nifti(sm.io.Volume(labels + torch.rand(16, 16, 16), torch.eye(4)), row["path"])
        ...     sm.io.write_nifti(sm.io.Volume(labels, torch.eye(4)), row["path_labels"])
        ...     rows.append(row)
        >>> raw = sm.Cohort.from_table(pd.DataFrame(rows))
        >>> cohort = sm.prepare(raw, folder / "prepared", spacing=1.0, crop="none", progress=False)
        >>> how = sm.VolumePreprocessing(spacing=1.0, crop="none", size=16, patch=None)
        >>> result = sm.segment(cohort, preprocessing=how, folds=2, options=sm.Segmentation(epochs=1))
        >>> result.table["row"].unique().tolist()
        ['unet + unet', 'dummy', 'atlas', 'histogram', 'atlas + histogram']
    """
    if not isinstance(cohort, Cohort):
        raise TypeError(f"segment: cohort={cohort!r} must be a Cohort, got {type(cohort).__name__}")
    choice("segment", "decoder", decoder, get_args(DecoderName))
    whole("segment", "seed", seed, 0)
    whole("segment", "threads", threads, 1)
    options = options or Segmentation()
    for name in baselines:
        choice("segment", "baselines", name, BASELINES)
    cohort = renamed_target(cohort, target, LABELS)
    model = encoder_of(encoder, cohort, preprocessing, seed)
    options.check_windows(len(model.preprocessing.embedding()["img_size"]))
    maps = maps_of(cohort, model.preprocessing)
    classes = known_classes(cohort, maps, values, options)
    options = counted(options) if isinstance(maps, StreamedLabelMaps) else options
    name = name_of(model, decoder)
    about = {
        "cohort": cohort.name, "target": target, "encoder": repr(model), "decoder": decoder, "values": classes,
        "folds": folds, "seed": seed,
    }  # fmt: skip
    networks = {name: model}
    if folds is not None and (model.provenance is not None if random is None else random):
        networks[f"random {name}"] = encoder_of(model.randomized(), cohort, None, seed)
    tasks, cases = [], []
    for part in parts_of("segment", cohort, folds, seed):
        for row_name, network in networks.items():
            folder = f"fold-{part.number}" if row_name == name else f"random-{part.number}"
            task = trained(
                part.train, network, decoder, classes, options, seed=seed, threads=threads, callback=callback,
                checkpoints=None if out is None else Path(out) / folder,
                about=about | {"fold": part.number, "row": row_name},
            )  # fmt: skip
            tasks += [task] if row_name == name else []
            for row in map(int, part.test):
                line = {"model": row_name, "fold": part.number}
                if isinstance(maps, StreamedLabelMaps):
                    cases += scored_bands(cohort, maps, row, task, classes, options, **line)
                    continue
                labels = maps.placed(row, labels_of([task], maps.read(row), options), classes[0])
                cases += scored(cohort, maps, row, labels, classes, options, **line)
        if not isinstance(maps, StreamedLabelMaps):
            cases += _classical(cohort, maps, part, classes, baselines, options)
    table = pd.DataFrame(cases, columns=[*CASES, *options.metrics])
    seen = SeenPeople.of(sorted(set(cohort.table["subject"].astype(str))))
    result = SegmentationResult(tasks, seen, table, name, options, about | {"described": described_encoder(model)})
    if out is not None:
        result.save(out)
    return result


def _classical(
    cohort: Cohort,
    maps: LabelMaps,
    part: Part,
    classes: Sequence[int],
    baselines: Sequence[str],
    options: Segmentation,
) -> list[dict[str, Any]]:
    """Scores of what needs no network, fitted on the training people of a fold."""
    if not len(part.test) or not baselines:
        return []
    fitted = Classical(maps, part.rows, classes, list(cohort.table["subject"]))
    cases = []
    for row in map(int, part.test):
        for name in baselines:
            line = {"model": name, "fold": part.number}
            cases += scored(cohort, maps, row, fitted.labels(name, maps, row), classes, options, **line)
    return cases
