"""Networks of two axes over the slices of volumes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from sslmed._checks import choice, whole
from sslmed._core import C
from sslmed.nn.dense import DenseNet
from sslmed.nn.features import Features
from sslmed.nn.mirror import Mirror

__all__ = ["SliceNet"]


class SliceNet(Mirror):
    """Runs a 2-D network over the slices of volumes and pools the features of the slices ("2.5-D").

    Nothing but the optional attention pools is new: all weights are those of the network.

    Args:
        network: A network over dense inputs [B, C, H, W], such as :class:`DenseNet`, :class:`ConvNet` or
            :class:`VisionTransformer`. Its weights are shared, not copied.
        axes: Axes of the volume that slices are perpendicular to, out of 0, 1 and 2.
        stride: Number of cells from one slice to the next.
        around: Take only the middle slice and this number of slices on each side of it; None: all slices.
        pool: "mean" over slices, or "attention" (a learned query, one for each axis).
        feature: What stands for a slice: "mean" over its patches or cells, or its "cls" token.
        join: Put the features of several axes side by side ("concat"), or take their "mean".
        slice_size: Rows and columns that slices are resampled to, by antialiased bilinear interpolation; None: as they
            are.
        chunk: Number of slices in one pass of the network, which bounds memory where no gradients are kept; 0: all.
            Networks with batch normalization take all slices of an axis in one pass while they train.
        upright: Transpose slices and turn their rows over: volumes with axes to the right, to the front and up (RAS+)
            then show the front or the top of the head up, as pictures of slices do.
        seed: Seed of the attention pools' initial weights.

    Raises:
        TypeError: The network is none.
        ValueError: A number is out of range.

    Examples:
        >>> import torch
        >>> from sslmed import nn
        >>> net = nn.SliceNet(nn.DenseNet("resnet10", in_chans=3), axes=(2, 1, 0), around=1)
        >>> features = net(torch.zeros(2, 1, 32, 32, 32))
        >>> features.pooled.shape, features.lengths
        (torch.Size([2, 1536]), [9, 9])

    See Also:
        :class:`sslmed.SliceEncoder`: The same with the preprocessing of a cohort.
        :func:`inflate`: Weights of a 2-D network in a 3-D one.
    """

    def __init__(
        self,
        network: Any,
        axes: Sequence[int] = (0,),
        *,
        stride: int = 1,
        around: int | None = None,
        pool: Literal["mean", "attention"] = "mean",
        feature: Literal["mean", "cls"] = "mean",
        join: Literal["concat", "mean"] = "concat",
        slice_size: Sequence[int] | None = None,
        chunk: int = 64,
        upright: bool = False,
        seed: int = 0,
    ) -> None:
        if not isinstance(network, torch.nn.Module) or not hasattr(network, "_handle"):
            raise TypeError(f"SliceNet: network={network!r} must be a network of sslmed.nn or an encoder")
        choice("SliceNet", "pool", pool, ("mean", "attention"))
        choice("SliceNet", "feature", feature, ("mean", "cls"))
        choice("SliceNet", "join", join, ("concat", "mean"))
        if around is not None:
            whole("SliceNet", "around", around, 0)
        options: dict[str, Any] = {
            "axes": list(axes),
            "stride": stride,
            "around": -1 if around is None else around,
            "upright": upright,
            "slice_size": list(slice_size or ()),
            "in_chans": channels_of(network),
            "chunk": chunk,
            "feature": feature,
            "attention": pool == "attention",
            "join": join == "concat",
            "seed": seed,
        }

        def build_on(handle: Any) -> C.SliceEncoder:
            return C.SliceEncoder(handle, C.SliceConfig(**options))

        inner: Any = network
        super().__init__(lambda: build_on(inner._build()), lambda: build_on(inner._handle))
        self.axes = tuple(axes)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} over axes {', '.join(map(str, self.axes))}, {self.dim} wide>"

    @property
    def dim(self) -> int:
        """Width D of the features."""
        return int(self._handle.dim)

    def forward(self, dense: torch.Tensor, comm: C.Comm | None = None) -> Features:
        """Features of volumes.

        Args:
            dense: [B, C, depth, height, width]. A single channel is repeated for a network of several.
            comm: Ranks (:func:`sslmed.distributed.ranks`) that batch normalization takes statistics over in training.

        Returns:
            ``tokens``: features of the slices of each volume, axis by axis and ascending along each. Of several axes
            side by side, those of an axis fill its own columns, and others are 0. ``pooled``: [B, D].

        Raises:
            ValueError: The input is not one of three axes, or an axis has too few cells.
        """
        return Features(*self._handle.forward_dense(dense, comm))

    def places(self, cells: int) -> list[int]:
        """Numbers of the slices that are seen along an axis.

        Args:
            cells: Number of cells of the axis.
        """
        return list(self._handle.places(cells))


def channels_of(network: torch.nn.Module) -> int:
    """Number of input channels of a 2-D network: what it says, or those of its first kernel [D, C, h, w]; 0 without one."""
    own: Any = network
    if isinstance(own, DenseNet):
        return own.in_chans
    if hasattr(own, "preprocessing"):
        return int(own.preprocessing.embedding()["in_chans"])
    return next((int(p.shape[1]) for p in network.parameters() if p.dim() == 4), 0)
