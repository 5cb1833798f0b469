"""Segmentation: a decoder on an encoder, learned from label maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from sslmed._core import C
from sslmed.encoders import CohortEncoder
from sslmed.methods.base import recipe_for
from sslmed.nn import Mirror
from sslmed.nn.segmenter import DecoderName

__all__ = ["Segment"]


class Segment(Mirror):
    """A task: an encoder with a decoder, learned from the label maps that samples carry, by Dice and cross-entropy (:func:`sslmed.losses.dice_ce`).

    The loss is a mean over samples, each with the Dice of its classes and the mean cross-entropy of its cells; samples without a labeled cell do not count.

    Args:
        encoder: Encoder whose weights are shared, not copied.
        values: What each class is in the label maps, in the order of the outputs; at least two, the background first.
        target: Name of the samples' label maps.
        decoder: As in :class:`sslmed.nn.Segmenter`.
        features: As in :class:`sslmed.nn.Segmenter`.
        layers: As in :class:`sslmed.nn.Segmenter`.
        groups: As in :class:`sslmed.nn.Segmenter`.
        residual: As in :class:`sslmed.nn.Segmenter`.
        attention: As in :class:`sslmed.nn.Segmenter`.
        loss: Options of :func:`sslmed.losses.dice_ce` by name. ``batch=True`` takes one Dice of all samples of a batch, over all ranks; ``ignore`` is a
            value of the label maps.
        tuned: What is trained besides the decoder: the whole "encoder", or "nothing".
        layer_decay: Factor of the learning rate from the decoder down, block by block.
        drop_path: Rate at which residual branches of the last block are left out in training.
        augmentation: Random changes of samples in training, where the modality has any. Label maps follow the spatial ones.
        seed: Seed of the decoder's initial weights and of dropped paths.

    Raises:
        ValueError: Options do not fit each other or the encoder.
    """

    def __init__(
        self,
        encoder: CohortEncoder | Mirror,
        *,
        values: Sequence[int],
        target: str = "labels",
        decoder: DecoderName = "unet",
        features: int = 32,
        layers: Sequence[int] | None = None,
        groups: int = 0,
        residual: bool = False,
        attention: bool = False,
        loss: dict[str, Any] | None = None,
        tuned: Literal["encoder", "nothing"] = "encoder",
        layer_decay: float = 1.0,
        drop_path: float = 0.0,
        augmentation: Any = None,
        seed: int = 0,
    ) -> None:
        recipe = recipe_for(encoder, default_augmentation=False, augmentation=augmentation)

        def build_on(handle: Any) -> Any:
            options = C.SegmentOptions(
                target=target, values=[int(value) for value in values], decoder=decoder, features=features, layers=list(layers or ()), groups=groups,
                residual=residual, attention=attention, loss=C.DiceCeOptions(**(loss or {})), tuned=tuned, layer_decay=layer_decay, drop_path=drop_path,
                seed=seed,
            )  # fmt: skip
            return C.Segment(handle, options, recipe)

        super().__init__(lambda: build_on(encoder._build()), lambda: build_on(encoder._handle))
        self.preprocessing = getattr(encoder, "preprocessing", None)
        self.values = tuple(int(value) for value in values)

    def forward_dense(self, dense: torch.Tensor) -> torch.Tensor:
        """[B, C, spatial…] to logits [B, classes, spatial…]."""
        out: torch.Tensor = self._handle.forward_dense(dense)
        return out

    def loss(self, batch: C.Batch, step: int = 0, total: int = 0) -> torch.Tensor:
        """The loss of a loader's batch at a step of ``total``; in training mode paths are dropped."""
        out: torch.Tensor = self._handle.loss(batch, step, total)
        return out

    def parameter_groups(self) -> list[tuple[list[str], float, bool]]:
        """(names, factor of the learning rate, whether weights decay) of each group that the trainer's optimizer takes."""
        return list(self._handle.parameter_groups())
