"""Detection: a decoder and a head on an encoder, learned from points, boxes or instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from sslmed._core import C
from sslmed.encoders import CohortEncoder
from sslmed.methods.base import recipe_for
from sslmed.nn import Mirror
from sslmed.nn.segmenter import DecoderName

__all__ = ["Detect", "Kind"]

Kind = Literal["points", "boxes", "stars"]
"""What an object is."""


class Detect(Mirror):
    """A task: an encoder with a decoder and a head, learned from the objects that samples carry.

    Points and boxes (any rank) are learned as heat maps of their centers with the penalty-reduced focal loss, the
    offset of a center within its cell, and the sizes of boxes (CenterNet, arXiv 1904.07850). Stars (pictures) are
    StarDist's (arXiv 1806.03535): an object probability and distances to the edge along rays.

    Args:
        encoder: Encoder whose weights are shared, not copied.
        kind: "points", "boxes" or "stars".
        classes: Number of classes.
        target: Name of the samples' objects.
        decoder: As in :class:`sslmed.nn.Segmenter`.
        features: Channels of the decoder's result and of the head.
        layers: As in :class:`sslmed.nn.Segmenter`.
        groups: As in :class:`sslmed.nn.Segmenter`.
        residual: As in :class:`sslmed.nn.Segmenter`.
        attention: As in :class:`sslmed.nn.Segmenter`.
        stride: Cells of a sample to a cell of the maps, along every axis.
        rays: Number of directions of stars.
        scale: Cells that a size or distance of 1 in the network's output stands for: near the usual size of objects,
            the network has less to learn.
        radius: Radius of the Gaussian around a point, in cells of the sample.
        min_overlap: The Gaussian around a box's center reaches as far as the box may be moved with this IoU left.
        weights: Weights of the loss by name: score_weight 1, offset_weight 1, size_weight 0.1, distance_weight 0.2,
            class_weight 1, background 0.0001 (of distances outside of objects).
        tuned: What is trained besides the decoder and the head: the whole "encoder", or "nothing".
        layer_decay: Factor of the learning rate from the decoder down, block by block.
        drop_path: Rate at which residual branches of the last block are left out in training.
        augmentation: Random changes of samples in training, where the modality has any. Objects follow them.
        seed: Seed of initial weights and of dropped paths.

    Raises:
        TypeError: A weight has another name.
        ValueError: Options do not fit each other or the encoder.
    """

    def __init__(
        self,
        encoder: CohortEncoder | Mirror,
        kind: Kind = "points",
        *,
        classes: int = 1,
        target: str = "objects",
        decoder: DecoderName = "unet",
        features: int = 32,
        layers: Sequence[int] | None = None,
        groups: int = 0,
        residual: bool = False,
        attention: bool = False,
        stride: int = 1,
        rays: int = 32,
        scale: float = 1.0,
        radius: float = 3.0,
        min_overlap: float = 0.7,
        weights: dict[str, float] | None = None,
        tuned: Literal["encoder", "nothing"] = "encoder",
        layer_decay: float = 1.0,
        drop_path: float = 0.0,
        augmentation: Any = None,
        seed: int = 0,
    ) -> None:
        recipe = recipe_for(encoder, default_augmentation=False, augmentation=augmentation)

        def build_on(handle: Any) -> Any:
            options = C.DetectOptions(
                kind=kind, target=target, classes=classes, decoder=decoder, features=features, layers=list(layers or ()),
                groups=groups, residual=residual, attention=attention, stride=stride, rays=rays, scale=float(scale),
                radius=float(radius), min_overlap=min_overlap, tuned=tuned, layer_decay=layer_decay,
                drop_path=drop_path, seed=seed, **{name: float(value) for name, value in (weights or {}).items()},
            )  # fmt: skip
            return C.Detect(handle, options, recipe)

        super().__init__(lambda: build_on(encoder._build()), lambda: build_on(encoder._handle))
        self.preprocessing = getattr(encoder, "preprocessing", None)
        self.kind, self.classes, self.stride, self.rays = kind, classes, stride, rays

    def forward_dense(self, dense: torch.Tensor) -> torch.Tensor:
        """[B, C, spatial…] to maps [B, channels, spatial / stride…].

        Channels of points and boxes: scores of the classes, offsets along each axis in cells of the map, and sizes of
        boxes in cells of the input. Of stars: object probability, distances in cells of the input, and with several
        classes the probabilities of the background and of each.
        """
        out: torch.Tensor = self._handle.forward_dense(dense)
        return out

    def loss(self, batch: C.Batch, step: int = 0, total: int = 0) -> torch.Tensor:
        """The loss of a loader's batch at a step of ``total``; in training mode paths are dropped."""
        out: torch.Tensor = self._handle.loss(batch, step, total)
        return out

    def parameter_groups(self) -> list[tuple[list[str], float, bool]]:
        """(names, factor of the learning rate, whether weights decay) of each group of the trainer's optimizer."""
        return list(self._handle.parameter_groups())
