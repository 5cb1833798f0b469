"""Several modalities at once: a preprocessing of each, as one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sslmed._core import C
from sslmed.modalities.base import Mask

__all__ = ["JoinedPreprocessing", "embeddings_of", "parts_of", "whole_of"]


@dataclass(frozen=True)
class JoinedPreprocessing:
    """The preprocessing of samples of several modalities: each is treated by the one of its own.

    Examples:
        >>> import sslmed as sm
        >>> both = sm.modalities.JoinedPreprocessing((sm.EegPreprocessing(), sm.SlidePreprocessing()))
        >>> both.modality
        'eeg and slides'
    """

    parts: tuple[Any, ...]
    """One preprocessing a modality."""

    def __post_init__(self) -> None:
        names = [part.modality for part in self.parts]
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError(f"JoinedPreprocessing: parts must be of two or more different modalities, got {names}")

    @property
    def modality(self) -> str:
        """The names of the modalities."""
        return " and ".join(part.modality for part in self.parts)

    @property
    def augmentation(self) -> dict[str, Any]:
        """What pretraining does to samples of each modality by default."""
        return {part.modality: part.augmentation for part in self.parts}

    def recipe(
        self,
        *,
        mask: Mask = "none",
        ratio: float | None = None,
        block: int = 2,
        radius: float = 30.0,
        complementary: bool = False,
        augmentation: Mapping[str, Any] | None = None,
    ) -> C.Recipe:
        """How samples are cut and masked: by the recipe of their modality.

        Args:
            mask: Which tokens are hidden; must suit all modalities.
            ratio: Share of tokens that are hidden; None: each modality's own.
            block: Number of steps or channels hidden together.
            radius: Distance in mm that a region reaches from its center ("space").
            complementary: Two views of each sample; the second shows what the first one hides.
            augmentation: Random changes by modality; None: none.
        """
        if augmentation is not None and not isinstance(augmentation, Mapping):
            raise TypeError(f"recipe: augmentation={augmentation!r} must be a mapping by modality, {self.modality}")
        how: dict[str, Any] = {"mask": mask, "ratio": ratio, "block": block, "radius": radius, "complementary": complementary}
        given = augmentation or {}
        return C.JoinedRecipe({part.modality: part.recipe(augmentation=given.get(part.modality), **how) for part in self.parts})

    def embedding(self) -> dict[str, Any]:
        """What an encoder must know of the first modality's tokens; see :func:`embeddings_of` for all of them."""
        first: dict[str, Any] = self.parts[0].embedding()
        return first


def parts_of(preprocessing: Any) -> dict[str, Any]:
    """The preprocessing of each modality by name."""
    return {part.modality: part for part in getattr(preprocessing, "parts", (preprocessing,))}


def whole_of(preprocessing: Any) -> Any:
    """A preprocessing as it is, and a mapping of several by modality as one."""
    if not isinstance(preprocessing, Mapping):
        if not hasattr(preprocessing, "recipe"):
            raise TypeError(f"preprocessing={preprocessing!r} must be a preprocessing, or a mapping of several by modality, got {type(preprocessing).__name__}")
        return preprocessing
    for name, part in preprocessing.items():
        if not hasattr(part, "modality"):
            raise TypeError(f"preprocessing[{name!r}]={part!r} must be a preprocessing, got {type(part).__name__}")
        if part.modality != name:
            raise ValueError(f"preprocessing[{name!r}] is of modality {part.modality!r}")
    parts = tuple(preprocessing.values())
    return parts[0] if len(parts) == 1 else JoinedPreprocessing(parts)


def embeddings_of(preprocessing: Any, extra_channels: int = 0) -> list[C.EmbeddingConfig]:
    """What an encoder must know of the tokens of each modality, for the C++ vision transformer.

    Args:
        preprocessing: One, or several as one.
        extra_channels: Number of channels without a position that have a learned row.
    """
    made = []
    for name, part in parts_of(preprocessing).items():
        options = part.embedding()
        extra = extra_channels if options["positions"] == "coordinates" else 0
        made.append(C.EmbeddingConfig(modality=name, extra_channels=extra, **options))
    return made
