"""The methods of self-supervised training by name, with their options."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Protocol

from sslmed.nn import CohortEncoder, Encoder, JointEmbeddingPredictor, MaskedAutoencoder, Mirror, PythonObjective
from sslmed.preprocessing import Augmentation

__all__ = ["METHODS", "IJepa", "Mae", "Method", "resolve"]


class Method(Protocol):
    """What :func:`sslmed.pretrain` asks of a method: a frozen dataclass of its options."""

    name: ClassVar[str]
    class_token: ClassVar[bool]
    """Whether encoders made for it have one."""
    weight_decay: ClassVar[tuple[float, float]]
    """At the start and the end of a run, unless the caller says otherwise."""

    def objective(self, encoder: CohortEncoder, seed: int) -> Mirror | PythonObjective:
        """What is trained, around the encoder."""
        ...


@dataclass(frozen=True)
class Mae:
    """Masked auto-encoder (He et al., arXiv 2111.06377)."""

    name: ClassVar[str] = "mae"
    class_token: ClassVar[bool] = True
    weight_decay: ClassVar[tuple[float, float]] = (0.05, 0.05)

    mask: str = "random"
    """"random" (an exact number), "bernoulli" (each token by itself),
    whole blocks in "time" or over "channel", or regions of the head over ``block`` steps ("space")."""
    ratio: float | None = None
    """Of the tokens masked; by default half of a window's, three quarters of a picture's."""
    block: int = 2
    """Steps or channels masked together."""
    radius: float = 30.0
    """mm from its centre to which a region reaches ("space")."""
    complementary: bool = False
    """Each window twice a step: the second view sees what the first one hides."""
    target: str = "signal"
    """What the decoder restores of a masked patch: the "signal" (the paper's MAE), or its log power "spectrum"."""
    target_bins: int = 1
    """Neighbouring coefficients of the spectrum that are averaged to one band, against the noise of single ones."""
    augmentation: Augmentation | None = None
    """Of pictures; by default flips and quarter turns of slides, resized crops of images."""
    norm_target: bool | None = None
    """Normalise each target by its own mean and variance; by default for "signal" only."""
    decoder_dim: int | None = None
    """Width of the decoder; half of the encoder's when not given."""
    decoder_depth: int = 2
    """Its blocks."""

    def objective(self, encoder: CohortEncoder, seed: int) -> MaskedAutoencoder:
        """Encoder and decoder."""
        vit = _ours(encoder, self.name)
        width = self.decoder_dim or max(64, vit.dim // 2)
        return MaskedAutoencoder(
            vit,
            decoder_dim=width,
            decoder_depth=self.decoder_depth,
            decoder_heads=max(1, width // 32),
            target=self.target,
            target_bins=self.target_bins,
            norm_target=self.target == "signal" if self.norm_target is None else self.norm_target,
            mask=self.mask,
            ratio=self.ratio,
            block=self.block,
            radius=self.radius,
            complementary=self.complementary,
            augmentation=_augmentation(self.augmentation, vit),
            seed=seed,
        )


@dataclass(frozen=True)
class IJepa:
    """I-JEPA (Assran et al., arXiv 2301.08243): predicts, in feature space, four blocks from a context. Keeps the averaged encoder."""

    name: ClassVar[str] = "ijepa"
    class_token: ClassVar[bool] = False
    weight_decay: ClassVar[tuple[float, float]] = (0.04, 0.4)

    mask: str = "multiblock"
    """"multiblock", or "multiblock_exact" for the published distribution (see :func:`sslmed.masking.multiblock`)."""
    augmentation: Augmentation | None = None
    """Of pictures; by default flips and quarter turns of slides, resized crops of images."""
    predictor_dim: int | None = None
    """Width of the predictor; half of the encoder's when not given."""
    predictor_depth: int = 4
    """Its blocks."""
    ema_start: float = 0.996
    """Momentum of the target encoder, rising in a line from here"""
    ema_end: float = 1.0
    """to here."""

    def objective(self, encoder: CohortEncoder, seed: int) -> JointEmbeddingPredictor:
        """Encoder, predictor and averaged encoder."""
        vit = _ours(encoder, self.name)
        width = self.predictor_dim or max(64, vit.dim // 2)
        return JointEmbeddingPredictor(
            vit,
            predictor_dim=width,
            predictor_depth=self.predictor_depth,
            predictor_heads=max(1, width // 32),
            ema=(self.ema_start, self.ema_end),
            mask=self.mask,
            augmentation=_augmentation(self.augmentation, vit),
            seed=seed,
        )


def _ours(encoder: CohortEncoder, method: str) -> Encoder:
    if not isinstance(encoder, Encoder):
        raise TypeError(f"{method} takes an encoder of ours, which embeds only the patches it sees; {type(encoder).__name__} is written in Python")
    return encoder


def _augmentation(chosen: Augmentation | None, encoder: Encoder) -> Augmentation | None:
    return encoder.preprocessing.augmentation if chosen is None else chosen


METHODS: dict[str, type[Mae] | type[IJepa]] = {"mae": Mae, "ijepa": IJepa}


def resolve(method: str | Method, options: dict[str, Any]) -> tuple[Method, dict[str, Any]]:
    """A method by name with its options, and all of them as they are kept in a checkpoint's configuration.

    Raises:
        ValueError: An unknown name.
        TypeError: An option that the method does not have, or options beside a method that has them already.
    """
    if not isinstance(method, str):
        if options:
            raise TypeError(f"give {', '.join(options)} to the method itself")
        return method, asdict(method)  # type: ignore[call-overload]
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; there are {', '.join(METHODS)}")
    kind = METHODS[method]
    known = [f.name for f in fields(kind)]
    if unknown := [name for name in options if name not in known]:
        raise TypeError(f"{method} has no option {', '.join(unknown)}; it has {', '.join(known)}")
    chosen = kind(**options)
    return chosen, asdict(chosen)
