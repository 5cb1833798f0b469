"""y-Aware and L^exp: options and objective of contrastive learning by metadata."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Literal

from sslmed._core import C
from sslmed.encoders import CohortEncoder
from sslmed.methods.base import at_least_one, register
from sslmed.methods.joint_embedding import JointEmbedding, views_of

__all__ = ["YAware"]


@register
@dataclass(frozen=True)
class YAware:
    """Options of contrastive learning by metadata: SimCLR in which samples of similar age, say, attract each other too.

    The weight of two samples is exp(-|y_i - y_j|² / (2 σ²)). With ``kernel="y_aware"`` (Dufumier et al., arXiv
    2106.08808) weights are the targets of the softmax (:func:`sslmed.losses.y_aware`); with "l_exp" (Barbano et al.,
    arXiv 2211.08326) samples are also repelled less the more similar they are (:func:`sslmed.losses.l_exp`).

    A sample without a value of a column attracts its own other view alone and is repelled by all others, as in SimCLR:
    it is used, and nothing is assumed of its metadata.

    Examples:
        >>> import sslmed as sm
        >>> by_age = sm.methods.YAware(target="age", sigma=2.0, kernel="l_exp")
        >>> by_both = sm.methods.YAware(target=("age", "volume"), sigma=(5.0, 120.0))

    See Also:
        :class:`SimClr`: without metadata.
    """

    name: ClassVar[str] = "y_aware"
    class_token: ClassVar[bool] = True
    weight_decay: ClassVar[tuple[float, float]] = (5e-5, 5e-5)
    least_batch: ClassVar[int] = 2

    target: str | tuple[str, ...] = "age"
    """Column of the cohort's table, of numbers, or several of them."""
    sigma: float | tuple[float, ...] = 5.0
    """Width σ of the kernel in the column's unit, or one for each column."""
    kernel: Literal["y_aware", "l_exp"] = "y_aware"
    """How weights enter the loss."""
    temperature: float = 0.1
    """Temperature of the softmax over similarities."""
    hidden: int | None = None
    """Width of the projector's hidden layers; by default the encoder's."""
    out_dim: int = 128
    """Width of what is compared."""
    layers: int = 2
    """Number of layers of the projector."""
    views: Any = None
    """Views of each sample; by default two with the modality's changes of contrastive learning."""

    def __post_init__(self) -> None:
        at_least_one(self, "hidden", "out_dim", "layers")

    @property
    def targets(self) -> tuple[str, ...]:
        """Columns that come with the samples."""
        return (self.target,) if isinstance(self.target, str) else tuple(self.target)

    def objective(self, encoder: CohortEncoder, seed: int) -> JointEmbedding:
        """Encoder and projector.

        Raises:
            ValueError: ``sigma`` has not one number for each column, or an option is out of range.
        """
        columns = self.targets
        sigmas = list(self.sigma) if isinstance(self.sigma, (tuple, list)) else [self.sigma] * len(columns)
        for sigma in sigmas:
            if isinstance(sigma, bool) or not isinstance(sigma, Real):
                raise ValueError(f"y_aware: sigma={self.sigma!r} must be a number in the column's unit, or one for each column")
        options = C.MetadataContrastOptions(
            targets=list(columns),
            sigmas=[float(sigma) for sigma in sigmas],
            kernel=self.kernel,
            temperature=self.temperature,
            hidden=self.hidden or 0,
            out=self.out_dim,
            layers=self.layers,
            seed=seed,
        )
        recipe = views_of(encoder, "simclr", self.views)

        def build(handle: Any, recipe: C.Recipe | None) -> Any:
            return C.MetadataContrast(handle, options, recipe)

        return JointEmbedding(encoder, self, build, recipe, twin=False)
