"""Networks over dense views with the preprocessing of their inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sslmed.encoders.base import SavedEncoder
from sslmed.modalities.base import Preprocessing
from sslmed.nn import ConvNet, DenseNet

__all__ = ["ConvEncoder", "DenseEncoder", "dense_inputs"]


class DenseEncoder(DenseNet, SavedEncoder):
    """A convolutional network or hierarchical transformer with the preprocessing of its inputs.

    Args:
        name: One of :func:`sslmed.nn.list_models` that is no vision transformer, such as "resnet18".
        preprocessing: Applied to all that it encodes: one that gives dense views (``patch=None``). It says how many
            axes and channels inputs have, and by which mean and standard deviation pixels are standardized.
        seed: Seed of the initial weights.
        **options: Options of the network, see :class:`sslmed.nn.DenseNet`.

    Raises:
        ValueError: The preprocessing gives patches, the name or an option is unknown, or a number is out of range.

    Examples:
        >>> import sslmed as sm
        >>> encoder = sm.DenseEncoder("resnet18", sm.SlidePreprocessing(size=96, patch=None))
        >>> encoder.dim
        512
    """

    FORMAT = "sslmed-dense-encoder-1"
    extra_channels = ()

    def __init__(self, name: str, preprocessing: Preprocessing, *, seed: int = 0, **options: Any) -> None:
        embedding = dense_inputs("DenseEncoder", preprocessing)
        super().__init__(
            name,
            len(embedding["img_size"]),
            embedding["in_chans"],
            seed=seed,
            pixel_mean=embedding.get("pixel_mean"),
            pixel_std=embedding.get("pixel_std"),
            **options,
        )
        self.preprocessing = preprocessing
        self.config = {"name": name, "seed": seed} | options

    def __repr__(self) -> str:
        weights = sum(p.numel() for p in self.parameters()) / 1e6
        return f"<DenseEncoder {self.config['name']}: {self.dim} wide, {weights:.1f} million weights; {self.preprocessing}>"

    def described(self) -> dict[str, Any]:
        """The architecture as plain values: arguments of the class."""
        return dict(self.config)

    def randomized(self) -> DenseEncoder:
        """The same architecture with fresh random weights: the baseline to beat."""
        return DenseEncoder(preprocessing=self.preprocessing, **self.config | {"seed": int(self.config["seed"]) + 1_000_003})


class ConvEncoder(ConvNet, SavedEncoder):
    """A small convolutional network with the preprocessing of its inputs, which must give dense views.

    Args:
        preprocessing: Applied to all that it encodes. Its ``embedding()`` has an ``img_size`` along each axis, and no ``patch_size``.
        widths: Number of channels of each stage; every stage halves the map.
        seed: Seed of the initial weights.

    Raises:
        ValueError: The preprocessing gives patches, or a number is out of range.
    """

    FORMAT = "sslmed-conv-encoder-1"
    extra_channels = ()

    def __init__(self, preprocessing: Preprocessing, widths: Sequence[int] = (16, 32, 64), *, seed: int = 0) -> None:
        embedding = dense_inputs("ConvEncoder", preprocessing)
        super().__init__(len(embedding["img_size"]), embedding["in_chans"], tuple(widths), seed=seed)
        self.preprocessing = preprocessing
        self.config = {"widths": list(widths), "seed": seed}

    def __repr__(self) -> str:
        return f"<ConvEncoder {' '.join(map(str, self.widths))}; {self.preprocessing}>"

    def described(self) -> dict[str, Any]:
        """The architecture as plain values: arguments of the class."""
        return dict(self.config)

    def randomized(self) -> ConvEncoder:
        """The same architecture with fresh random weights: the baseline to beat."""
        return ConvEncoder(self.preprocessing, self.widths, seed=self.seed + 1_000_003)


def dense_inputs(who: str, preprocessing: Preprocessing) -> dict[str, Any]:
    """What a network must know of dense views: their extents and channels.

    Raises:
        ValueError: The preprocessing gives patches.
    """
    embedding = preprocessing.embedding()
    if embedding["patch_size"] or not embedding["img_size"]:
        raise ValueError(f"{who}: preprocessing={preprocessing!r} gives patches, expected one that gives dense views (patch=None)")
    return embedding
