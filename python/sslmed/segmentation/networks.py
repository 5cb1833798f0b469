"""The networks of a segmentation: how one is made, trained, and asked for labels."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch

from sslmed import io
from sslmed.cohort import Cohort
from sslmed.dense_tasks.fitting import Callback, fitted
from sslmed.encoders import CohortEncoder, EncoderLike, resolve
from sslmed.encoders.base import description_of, from_description
from sslmed.inference import sliding_window
from sslmed.methods import Segment
from sslmed.modalities import registry
from sslmed.nn.segmenter import DecoderName
from sslmed.segmentation.cases import LABELS
from sslmed.segmentation.options import Segmentation
from sslmed.training import Loader

__all__ = [
    "described_encoder", "encoder_of", "labels_of", "loaded_task", "options_from", "plain_options",
    "trained",
]  # fmt: skip


def encoder_of(encoder: EncoderLike, cohort: Cohort, preprocessing: Any, seed: int) -> CohortEncoder:
    """A copy of the encoder whose samples carry their label maps.

    Raises:
        ValueError: The modality has no label maps, no size of samples is known, or the encoder has positions in mm.
    """
    model = copy.deepcopy(resolve(encoder, cohort, preprocessing=preprocessing, seed=seed))
    how: Any = model.preprocessing
    if not hasattr(how, "labels"):
        kind = f"samples of {how.modality!r} carry no label maps"
        raise ValueError(f"{cohort.name}: segment: {kind}; it is for images, slides and volumes")
    if getattr(how, "size", None) is None:
        expected = "expected the cells of training samples along each axis, such as size=96"
        raise ValueError(f"segment: preprocessing: size=None, {expected}")
    if how.embedding().get("positions") == "coordinates" and how.embedding()["patch_size"]:
        why = "windows of a volume have none; use positions='grid'"
        raise ValueError(f"segment: an encoder with positions='coordinates' is not supported: {why}")
    # A decoder needs all patches.
    whole_grid = {"anatomy": 0.0} if how.embedding()["patch_size"] and hasattr(how, "anatomy") else {}
    model.preprocessing = registry.get(cohort.modality).labeled(cohort, replace(how, **whole_grid))
    return model


def trained(
    cohort: Cohort,
    encoder: CohortEncoder,
    decoder: DecoderName,
    classes: Sequence[int],
    options: Segmentation,
    *,
    seed: int,
    threads: int,
    checkpoints: Path | None,
    about: dict[str, Any],
    callback: Callback | None,
) -> Segment:
    """A network that is trained on all rows of a cohort."""
    task = _task(copy.deepcopy(encoder), decoder, classes, options, seed)
    loader = Loader(
        cohort, encoder.preprocessing, batch_size=options.batch_size, order="shuffle", threads=threads, seed=seed,
        random=True, drop_last=True, shrink=True, extra_channels=encoder.extra_channels,
    )  # fmt: skip
    fitted(task, loader, options, checkpoints=checkpoints, about=about | asdict(options), labels=[LABELS], callback=callback)
    return task


def _task(
    encoder: CohortEncoder, decoder: DecoderName, classes: Sequence[int], options: Segmentation, seed: int
) -> Segment:  # fmt: skip
    return Segment(
        encoder, values=classes, decoder=decoder, features=options.features, groups=options.groups,
        residual=options.residual, attention=options.attention, loss=dict(options.loss), tuned=options.tuned,
        layer_decay=options.layer_decay, augmentation=options.augmentation, seed=seed,
    )  # fmt: skip


def described_encoder(encoder: CohortEncoder) -> dict[str, Any] | None:
    """An encoder as plain values for a file; None: it is written in Python."""
    try:
        return description_of(encoder)
    except TypeError:
        return None


def loaded_task(about: Mapping[str, Any], options: Segmentation, path: Path) -> Segment:
    """The network of a saved segmentation, with the weights of a file.

    Raises:
        KeyError, TypeError, ValueError, RuntimeError, OSError: The values or weights do not fit.
    """
    task = _task(from_description(about["described"]), about["decoder"], about["values"], options, about["seed"])
    task.load_state_dict(io.load_safetensors(path))
    task.eval()
    return task


def plain_options(options: Segmentation) -> dict[str, Any]:
    """Options as plain values; random changes in training, which prediction does not need, are left out."""
    return {f.name: getattr(options, f.name) for f in fields(options) if f.name != "augmentation"}


def options_from(values: Mapping[str, Any]) -> Segmentation:
    """The options that :func:`plain_options` gave, read from a file."""
    lists: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return Segmentation(**lists)


def labels_of(tasks: Sequence[Segment], values: torch.Tensor, options: Segmentation) -> torch.Tensor:
    """The labels that networks give an array [C, spatial…], by windows; the probabilities of several are averaged."""
    first: Any = tasks[0].preprocessing
    roi = options.roi if options.roi is not None else first.embedding()["img_size"]
    how: dict[str, Any] = {
        "overlap": options.overlap, "convention": options.convention, "flips": options.flips, "argmax": True
    }  # fmt: skip
    values = values.to(options.device)
    if len(tasks) == 1:
        found = sliding_window(values, tasks[0], roi, **how)
    else:

        def mean(windows: torch.Tensor) -> torch.Tensor:
            return torch.stack([task.forward_dense(windows).softmax(1) for task in tasks]).mean(0)

        found = sliding_window(values, mean, roi, **how)
    return torch.tensor(tasks[0].values, dtype=torch.int32)[found.cpu().long()]
