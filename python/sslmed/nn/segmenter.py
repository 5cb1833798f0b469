"""Encoders with decoders: a class for every cell of the input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch

from sslmed._core import C
from sslmed.nn.mirror import Mirror

__all__ = ["DecoderName", "Segmenter"]

DecoderName = Literal["linear", "unet", "unetr", "upernet"]
"""The name of a decoder."""


class Segmenter(Mirror):
    """An encoder with a decoder of its maps: [B, C, spatial…] to logits [B, classes, spatial…].

    ``nn.create("unet", …)`` with the decoder "unet" is the U-Net of nnU-Net (arXiv 1809.10486). Its parameters have the names of MONAI's DynUNet, after
    "encoder." (the input block, the downsamples and the bottleneck) and "decoder." (the upsamples and the output block).

    Args:
        encoder: A :class:`DenseNet`, :class:`ConvNet` or :class:`VisionTransformer`, whose weights are shared, not copied.
        classes: Number of classes, at least 2.
        decoder: How maps become classes.

            - "linear": a linear map of each cell of the last map, interpolated to the input;
            - "unet": transposed convolutions and skip connections (Ronneberger et al., arXiv 1505.04597). Where the finest map is coarser than the
              input, the input itself is one level more;
            - "unetr": UNETR's (Hatamizadeh et al., arXiv 2103.10504): a level for each power of two, and MONAI's parameter names. Strides must be powers
              of two, equal along all axes;
            - "upernet": UPerNet's (Xiao et al., arXiv 1807.10221): pyramid pooling of the last map and a feature pyramid, with group normalization in the
              place of batch normalization.
        features: Channels of the decoder: of "unetr" at the resolution of the input, doubled at each coarser level; of "upernet" at every level.
        layers: Blocks of a vision transformer whose tokens become maps, numbered from 0; None: four, evenly (2, 5, 8, 11 of 12). All of them go through the
            last norm.
        groups: Groups of the decoder's group normalization, as many as divide the channels; 0: instance normalization ("upernet": 32 groups).
        residual: Shortcuts in the decoder's blocks of the input ("unet"); "unetr" has them always.
        attention: Attention gates on the skip connections (Oktay et al., arXiv 1804.03999).
        seed: Seed of the decoder's weights.

            ``groups``, ``residual`` and ``attention`` are not used for an encoder "unet" with a decoder "unet": they are the encoder's options.

    Raises:
        ValueError: An option is out of range, or the decoder does not fit the encoder's maps.

    Examples:
        >>> import torch
        >>> from sslmed import nn
        >>> encoder = nn.create("unet", rank=3, in_chans=1, filters=[8, 16, 32])
        >>> net = nn.Segmenter(encoder, classes=4)
        >>> net(torch.zeros(1, 1, 16, 16, 16)).shape
        torch.Size([1, 4, 16, 16, 16])
    """

    def __init__(
        self,
        encoder: Any,
        classes: int = 2,
        decoder: DecoderName = "unet",
        *,
        features: int = 32,
        layers: Sequence[int] | None = None,
        groups: int = 0,
        residual: bool = False,
        attention: bool = False,
        seed: int = 0,
    ) -> None:
        if not isinstance(encoder, Mirror):
            raise TypeError(f"Segmenter: encoder={encoder!r} must be an encoder of sslmed.nn, got {type(encoder).__name__}")
        if decoder not in get_args(DecoderName):
            raise ValueError(f"Segmenter: decoder={decoder!r} must be one of {', '.join(map(repr, get_args(DecoderName)))}")

        def build_on(handle: Any) -> C.Segmenter:
            return C.Segmenter(
                handle, decoder=decoder, classes=classes, features=features, layers=list(layers or ()), groups=groups, residual=residual,
                attention=attention, seed=seed,
            )  # fmt: skip

        super().__init__(lambda: build_on(encoder._build()), lambda: build_on(encoder._handle))
        self.classes, self.decoder_name = classes, decoder

    def forward(self, dense: torch.Tensor) -> torch.Tensor:
        """[B, C, spatial…] numbers, or bytes that are standardized as the encoder does it, to logits [B, classes, spatial…].

        Raises:
            ValueError: The number of axes or channels differs, or the maps do not fit each other.
        """
        out: torch.Tensor = self._handle.forward(dense)
        return out
