"""2-D encoders on volumes."""

from __future__ import annotations

import os
from typing import Any, Literal, get_args

from sslmed._checks import choice
from sslmed._world import own_settings
from sslmed.encoders import CohortEncoder, DenseEncoder, SavedEncoder, SliceEncoder
from sslmed.encoders.base import load
from sslmed.modalities.base import Preprocessing
from sslmed.modalities.volumes import VolumePreprocessing
from sslmed.nn import inflate

__all__ = ["LiftStrategy", "to_volumes"]

LiftStrategy = Literal["mean", "center", "axial", "coronal", "sagittal", "all", "triplanar", "adapters"]
"""How a 2-D encoder is used on volumes."""


@own_settings()
def to_volumes(
    encoder_2d: CohortEncoder | str | os.PathLike[str],
    strategy: LiftStrategy = "mean",
    preprocessing: Preprocessing | None = None,
    **options: Any,
) -> CohortEncoder:
    """A 2-D encoder as an encoder of volumes.

    - "mean", "center": its weights in a 3-D network of the same architecture (:func:`sslmed.nn.inflate`), the axis from
      bottom to top being depth; three color channels are summed for one sequence. Sizes of a Swin are those of its
      pictures, its windows and patches being as deep as they are wide.
    - "axial", "coronal", "sagittal", "all", "triplanar": the 2-D encoder itself, slice by slice
      (:class:`sslmed.SliceEncoder`).
    - "adapters": all axial slices, with adapters (LoRA) in the 2-D encoder. They change nothing until they are trained:
      ``sslmed.finetune(…, sslmed.FineTuning(tuned="adapters", readout="attentive"))`` trains them and an attention pool
      over slices, and nothing else.

    Args:
        encoder_2d: A 2-D encoder, or the path of a saved one. Slice-wise strategies share its weights, the others copy.
        strategy: One of those above.
        preprocessing: Preprocessing of the volumes. Slice-wise strategies and convolutional networks need dense views
            (``patch=None``), inflated transformers patches on a grid (``positions="grid"``). By default dense views of
            cells of 2 mm, of which the middle 96 along each axis are seen.
        **options: Of :class:`sslmed.SliceEncoder`, and ``lora_rank`` (8) and ``lora_alpha`` (0: the sum of the adapters
            is not scaled) of "adapters".

    Raises:
        TypeError: It is no encoder, has no adapters, or an option does not suit the strategy.
        ValueError: The preprocessing does not fit, or weights do not fit.

    Examples:
        >>> import sslmed as sm
        >>> flat = sm.Encoder("vit_tiny", sm.ImagePreprocessing(size=64, patch=16), depth=1)
        >>> encoder = sm.to_volumes(flat, "triplanar")
        >>> encoder.dim
        576
        >>> sm.transfer(encoder, sm.Cohort.open("clinic-mri"), "diagnosis")  # doctest: +SKIP

    See Also:
        :func:`sslmed.transfer`: What the encoder is worth on a cohort.
    """
    choice("to_volumes", "strategy", strategy, get_args(LiftStrategy))
    inner = load(encoder_2d) if isinstance(encoder_2d, (str, os.PathLike)) else encoder_2d
    if not isinstance(inner, CohortEncoder):
        raise TypeError(f"to_volumes: encoder_2d={encoder_2d!r} must be an encoder or the path of one")
    how = VolumePreprocessing(spacing=2.0, patch=None, size=96) if preprocessing is None else preprocessing
    if strategy in ("mean", "center"):
        if options:
            raise TypeError(f"to_volumes: strategy={strategy!r} takes no options, got {', '.join(options)}")
        return _inflated(inner, strategy, how)
    if strategy == "adapters":
        rank, alpha = options.pop("lora_rank", 8), options.pop("lora_alpha", 0.0)
        return SliceEncoder(inner.with_adapters(rank, alpha), how, "axial", **options)
    slices: Any = strategy
    return SliceEncoder(inner, how, slices, **options)


def _inflated(inner: CohortEncoder, strategy: Literal["mean", "center"], how: Preprocessing) -> CohortEncoder:
    """An encoder of the same class over volumes."""
    if how.embedding()["positions"] == "coordinates" and inner.preprocessing.embedding()["positions"] != "coordinates":
        text = f"{how!r} places patches by coordinates, but this encoder has a table over a grid"
        raise ValueError(f"to_volumes: strategy={strategy!r}: preprocessing={text}: choose positions='grid', or a slice-wise strategy")
    if not isinstance(inner, SavedEncoder):
        raise TypeError(f"to_volumes: strategy={strategy!r} cannot rebuild a {type(inner).__name__}: use a slice-wise strategy")
    options = inner.described() | (inner.volume_options() if isinstance(inner, DenseEncoder) else {})
    twin = type(inner)(preprocessing=how, **options)  # type: ignore[call-arg]
    inflate(inner, twin, strategy, axis=2)  # type: ignore[arg-type]
    twin.provenance = inner.provenance
    return twin
