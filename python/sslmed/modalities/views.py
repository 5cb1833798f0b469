"""Several views of one sample: their masks, and what the styles of contrastive methods have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from sslmed._checks import choice, whole
from sslmed._core import C
from sslmed.modalities.base import Mask, Ratio

__all__ = ["STYLES", "Style", "check_contrast", "check_views", "local_side", "mask_options", "view_mask"]

Style = Literal["simclr", "byol", "dino"]
"""How views of one sample differ: as those of SimCLR (Chen et al., arXiv 2002.05709), BYOL (Grill et al., arXiv
2006.07733) or DINO (Caron et al., arXiv 2104.14294)."""

STYLES: tuple[Style, ...] = ("simclr", "byol", "dino")

LOCAL_SHARE = 96 / 224
"""Side of DINO's local crops as a share of its global ones."""


def mask_options(
    mask: Mask,
    ratio: Ratio | None,
    default: float,
    *,
    block: int = 2,
    radius: float = 30.0,
    complementary: bool = False,
    p_mask: float = 1.0,
) -> C.MaskOptions:
    """The C++ options of a mask.

    Args:
        mask: Which tokens are hidden.
        ratio: Share of tokens that are hidden, or the lowest and the highest, from which each mask draws its own;
            None: ``default``.
        default: The modality's ratio.
        block: Number of steps or channels hidden together.
        radius: Distance in mm that a region reaches from its center ("space").
        complementary: Two views of each sample; the second shows what the first one hides.
        p_mask: Probability that anything is hidden of a sample.

    Raises:
        ValueError: The mask is unknown, or a pair of ratios is not in order.
    """
    given = {"mask": mask, "block": block, "radius": radius, "complementary": complementary, "p_mask": p_mask}
    if not isinstance(ratio, (tuple, list)):
        return C.MaskOptions(ratio=default if ratio is None else ratio, **given)
    if len(ratio) != 2 or not 0 < ratio[0] <= ratio[1] < 1:
        raise ValueError(f"recipe: ratio={ratio!r} must be a number within (0, 1), or two of them, the lower one first")
    return C.MaskOptions(ratio=ratio[0], ratio_high=ratio[1], **given)


def view_mask(view: Any, shared: C.MaskOptions, default: float) -> C.MaskOptions:
    """The mask of a view, or the recipe's where the view has none."""
    if view.mask is None:
        return shared
    return mask_options(view.mask, view.ratio, default, block=shared.block, radius=shared.radius, p_mask=view.p_mask)


def check_views(views: Any, kind: type[Any], augmentation: Any) -> Sequence[Any]:
    """The views of a recipe.

    Raises:
        TypeError: They are no sequence of ``kind``, or an augmentation is given beside them.
    """
    if augmentation is not None:
        raise TypeError("recipe: views have their own augmentations; leave augmentation out")
    if not isinstance(views, Sequence):
        raise TypeError(f"recipe: views={views!r} must be a list of sslmed.{kind.__name__}")
    for view in views:
        if not isinstance(view, kind):
            raise TypeError(f"recipe: views must hold sslmed.{kind.__name__}, found {view!r}")
    return views


def check_contrast(style: Style, local: int) -> None:
    """Checks the arguments that contrast() of all modalities has.

    Raises:
        ValueError: The style is unknown, or local views are asked of a style that has none.
    """
    choice("contrast", "style", style, STYLES)
    whole("contrast", "local", local)


def local_side(side: int, step: int) -> int:
    """Side of local crops of a view of ``side``: DINO's share of it, as the nearest multiple of ``step``, and at least one."""
    return max(1, round(side * LOCAL_SHARE / step)) * step
