"""Several modalities at once: a preprocessing of each, as one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sslmed._core import C
from sslmed.modalities.base import Mask, Ratio
from sslmed.modalities.views import Style

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
        ratio: Ratio | None = None,
        block: int = 2,
        radius: float = 30.0,
        complementary: bool = False,
        augmentation: Mapping[str, Any] | None = None,
        views: Mapping[str, Any] | None = None,
    ) -> C.Recipe:
        """How samples are cut and masked: by the recipe of their modality.

        Args:
            mask: Which tokens are hidden; must suit all modalities.
            ratio: Share of tokens that are hidden; None: each modality's own.
            block: Number of steps or channels hidden together.
            radius: Distance in mm that a region reaches from its center ("space").
            complementary: Two views of each sample; the second shows what the first one hides.
            augmentation: Random changes by modality; None: none.
            views: Several views of each sample by modality, as :meth:`contrast` gives them; a modality that is not there has one.

        Raises:
            TypeError: ``augmentation`` or ``views`` are no mapping by modality.
            ValueError: ``views`` name a modality that is not here.
        """
        if views is not None:
            if not isinstance(views, Mapping):
                raise TypeError(f"recipe: views={views!r} must be a mapping by modality, {self.modality}")
            if unknown := set(views) - {part.modality for part in self.parts}:
                raise ValueError(f"recipe: views of {', '.join(sorted(unknown))}, expected some of {self.modality}")
        if augmentation is not None and not isinstance(augmentation, Mapping):
            raise TypeError(f"recipe: augmentation={augmentation!r} must be a mapping by modality, {self.modality}")
        how: dict[str, Any] = {"mask": mask, "ratio": ratio, "block": block, "radius": radius, "complementary": complementary}
        given, several = augmentation or {}, views or {}

        def recipe(part: Any) -> C.Recipe:
            own = {"views": several[part.modality]} if part.modality in several else {}
            made: C.Recipe = part.recipe(augmentation=given.get(part.modality), **own, **how)
            return made

        return C.JoinedRecipe({part.modality: recipe(part) for part in self.parts})

    def contrast(self, style: Style = "simclr", local: int = 0, local_size: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Views of each sample for methods that compare them, by modality; see the ``contrast`` of each.

        Args:
            style: "simclr", "byol" or "dino".
            local: Number of local views.
            local_size: Their size by modality, in the modality's unit; a modality that is not there has its default.

        Raises:
            TypeError: ``local_size`` is no mapping by modality.
            ValueError: The style is unknown, or a number is out of range.

        Examples:
            >>> import sslmed as sm
            >>> both = sm.modalities.JoinedPreprocessing((sm.EegPreprocessing(), sm.SlidePreprocessing()))
            >>> {name: len(views) for name, views in both.contrast("byol").items()}
            {'eeg': 2, 'slides': 2}
        """
        if local_size is not None and not isinstance(local_size, Mapping):
            raise TypeError(f"contrast: local_size={local_size!r} must be a mapping by modality, {self.modality}")
        sizes = local_size or {}
        return {part.modality: part.contrast(style, local, sizes.get(part.modality)) for part in self.parts}

    def dense(self) -> JoinedPreprocessing:
        """A ValueError: networks of dense views have one shape of input."""
        raise ValueError(f"JoinedPreprocessing: {self.modality} have no dense views in common; networks of dense views take one modality")

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
