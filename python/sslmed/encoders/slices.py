"""Encoders of two axes over the slices of samples of three."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from sslmed._checks import choice
from sslmed.encoders.base import CohortEncoder, SavedEncoder, description_of, from_description, load
from sslmed.modalities.base import Preprocessing
from sslmed.nn.slices import SliceNet, channels_of

__all__ = ["SliceEncoder", "SliceStrategy"]


SliceStrategy = Literal["axial", "coronal", "sagittal", "all", "triplanar"]
"""Which slices are seen: those of one direction, those of all three, or the middle ones of all three."""

# Axes of samples point to the right, to the front and up.
_AXES: dict[str, tuple[int, ...]] = {
    "axial": (2,), "coronal": (1,), "sagittal": (0,), "all": (2, 1, 0), "triplanar": (2, 1, 0),
}  # fmt: skip


class SliceEncoder(SliceNet, SavedEncoder):
    """A 2-D encoder over the slices of 3-D samples, with the preprocessing of these ("2.5-D").

    Its weights are those of the 2-D encoder, and what that has seen is its provenance.

    Args:
        encoder_2d: A 2-D encoder, the path of a saved one, or what :meth:`described` says of one, which then has its
            initial weights. Weights are shared, not copied.
        preprocessing: Preprocessing of the 3-D samples, which must give dense views.
        strategy: "axial", "coronal" or "sagittal" slices, "all" three, or "triplanar": the middle slices of all three.
        stride: Number of cells from one slice to the next.
        around: Number of slices on each side of the middle one ("triplanar").
        pool: "mean" over slices, or "attention", which must be trained.
        feature: What stands for a slice: "mean" over its patches or cells, or its "cls" token.
        join: Put the features of the directions side by side ("concat"), or take their "mean".
        slice_size: Rows and columns that slices are resampled to, such as (224, 224); None: as they are.
        chunk: Number of slices in one pass; 0: all.
        upright: Show slices with the front or the top up, as the samples' axes point to the right, to the front and up.
        seed: Seed of the attention pools' initial weights.

    Raises:
        TypeError: ``encoder_2d`` is neither an encoder nor a path.
        ValueError: The preprocessing gives patches or other channels, or patches of the encoder do not divide a slice.

    Examples:
        >>> import sslmed as sm
        >>> flat = sm.Encoder("vit_tiny", sm.ImagePreprocessing(size=64, patch=16), depth=1)
        >>> how = sm.VolumePreprocessing(spacing=2.0, patch=None, size=64)
        >>> encoder = sm.SliceEncoder(flat, how, "triplanar", around=2)
        >>> encoder.dim  # of three directions
        576

    See Also:
        :func:`sslmed.to_volumes`: Every way to use a 2-D encoder on volumes.
    """

    FORMAT = "sslmed-slice-encoder-1"
    extra_channels = ()

    def __init__(
        self,
        encoder_2d: CohortEncoder | str | os.PathLike[str] | Mapping[str, Any],
        preprocessing: Preprocessing,
        strategy: SliceStrategy = "axial",
        *,
        stride: int = 1,
        around: int = 1,
        pool: Literal["mean", "attention"] = "mean",
        feature: Literal["mean", "cls"] = "mean",
        join: Literal["concat", "mean"] = "concat",
        slice_size: Sequence[int] | None = None,
        chunk: int = 64,
        upright: bool = True,
        seed: int = 0,
    ) -> None:
        choice("SliceEncoder", "strategy", strategy, get_args(SliceStrategy))
        inner: Any = encoder_2d
        if isinstance(encoder_2d, (str, os.PathLike)):
            inner = load(encoder_2d)
        elif isinstance(encoder_2d, Mapping):
            inner = from_description(encoder_2d)
        if not isinstance(inner, CohortEncoder):
            raise TypeError(f"SliceEncoder: encoder_2d={inner!r} must be an encoder or the path of one")
        _check(inner, preprocessing, _AXES[strategy], slice_size, upright)
        options: dict[str, Any] = {
            "stride": stride,
            "pool": pool,
            "feature": feature,
            "join": join,
            "slice_size": None if slice_size is None else list(slice_size),
            "chunk": chunk,
            "upright": upright,
            "seed": seed,
        }
        super().__init__(inner, _AXES[strategy], around=around if strategy == "triplanar" else None, **options)
        self.preprocessing = preprocessing
        self.provenance = inner.provenance
        self.options = {"strategy": strategy, "around": around} | options
        self.inner = _description(inner)
        self.config = {"encoder_2d": self.inner} | self.options

    def __repr__(self) -> str:
        return f"<SliceEncoder {self.options['strategy']} over {self.inner['encoder']}; {self.preprocessing}>"

    def described(self) -> dict[str, Any]:
        """The architecture as plain values.

        Raises:
            TypeError: The 2-D encoder is written in Python.
        """
        if "format" not in self.inner:
            raise TypeError(f"SliceEncoder: encoder_2d is a {self.inner['encoder']}, written in Python: only its own class can save it")
        return dict(self.config)

    @property
    def encoder_2d(self) -> CohortEncoder:
        """A copy of the 2-D encoder with the present weights."""
        self.described()
        inner = from_description(self.inner)
        weights = {name.removeprefix("encoder."): w for name, w in self.state_dict().items() if name.startswith("encoder.")}
        inner.load_state_dict(weights)  # type: ignore[attr-defined]
        inner.provenance = self.provenance
        return inner

    def randomized(self) -> SliceEncoder:
        """The same architecture with fresh random weights: the baseline to beat."""
        self.described()
        options = self.options | {"seed": self.options["seed"] + 1_000_003}
        return SliceEncoder(from_description(self.inner).randomized(), self.preprocessing, **options)

    def with_adapters(self, rank: int = 8, alpha: float = 0.0) -> SliceEncoder:
        """A copy whose 2-D encoder has adapters (LoRA), which gives the same features until they are trained."""
        twin = SliceEncoder(self.encoder_2d.with_adapters(rank, alpha), self.preprocessing, **self.options)
        pools = {name: w for name, w in self.state_dict().items() if name.startswith("pools.")}
        twin.load_state_dict(pools, strict=False)
        twin.provenance = self.provenance
        return twin


def _description(inner: CohortEncoder) -> dict[str, Any]:
    try:
        return description_of(inner)
    except TypeError:
        return {"encoder": type(inner).__name__, "config": inner.config}


def _check(inner: CohortEncoder, preprocessing: Preprocessing, axes: Sequence[int], slice_size: Sequence[int] | None, upright: bool) -> None:
    """Whether slices of such samples fit the encoder."""
    theirs = inner.preprocessing.embedding()
    if len(theirs["img_size"]) != 2:
        raise ValueError(f"SliceEncoder: encoder_2d takes {inner.preprocessing!r}, expected one over dense inputs of two axes")
    own = preprocessing.embedding()
    if own["patch_size"] or len(own["img_size"]) != 3:
        raise ValueError(f"SliceEncoder: preprocessing={preprocessing!r} must give dense views of three axes and one size: patch=None, size=…")
    channels = channels_of(inner) or theirs["in_chans"]  # type: ignore[arg-type]
    if own["in_chans"] not in (1, channels):
        raise ValueError(f"SliceEncoder: preprocessing gives {own['in_chans']} channels, expected 1 or the encoder's {channels}")
    patch = theirs["patch_size"]
    for axis in axes if patch else ():
        rows_columns = [side for other, side in enumerate(own["img_size"]) if other != axis]
        size = list(slice_size) if slice_size is not None else rows_columns[::-1] if upright else rows_columns
        if any(side % cells for side, cells in zip(size, patch, strict=True)):
            text = f"slices of {size[0]} x {size[1]} cells, expected multiples of the encoder's patch {patch[0]} x {patch[1]}"
            raise ValueError(f"SliceEncoder: {text}: choose slice_size, such as ({4 * patch[0]}, {4 * patch[1]}), or another size")
