"""Encoders by name."""

from __future__ import annotations

import difflib
from typing import Any, Literal, overload

from sslmed._core import C
from sslmed.nn.dense import DenseNet
from sslmed.nn.vit import MODELS, VisionTransformer, create_vit

__all__ = ["create", "list_models"]


def list_models() -> list[str]:
    """Names that :func:`create` and ``encoder=`` take.

    Examples:
        >>> from sslmed import nn
        >>> "vit_small" in nn.list_models(), "resnet18" in nn.list_models()
        (True, True)
    """
    return [*MODELS, *C.dense_names()]


@overload
def create(name: Literal["vit_tiny", "vit_small", "vit_base", "vit_large"], *args: Any, **options: Any) -> VisionTransformer: ...
@overload
def create(name: str, *args: Any, **options: Any) -> Any: ...
def create(name: str, *args: Any, **options: Any) -> VisionTransformer | DenseNet:
    """An encoder by name: a vision transformer, or an encoder over dense inputs of rank 1, 2 or 3.

    Args:
        name: One of :func:`list_models`.
        *args: In the order of :func:`create_vit` ("vit_…": ``patch_size``, ``img_size``, ``in_chans``,
            ``num_classes``), or of :class:`DenseNet` (all others: ``rank``, ``in_chans``, ``num_classes``).
        **options: Of the same.

    Returns:
        A :class:`VisionTransformer` or a :class:`DenseNet`.

    Raises:
        ValueError: The name is unknown, or an option does not fit.

    Examples:
        >>> from sslmed import nn
        >>> nn.create("vit_tiny", patch_size=16, img_size=224).dim
        192
        >>> nn.create("resnet18", rank=1, in_chans=19).dim
        512
    """
    if name in MODELS:
        return create_vit(name, *args, **options)
    known = list_models()
    if name not in known:
        near = difflib.get_close_matches(name, known, 3)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"expected one of {', '.join(known)}"
        raise ValueError(f"create: name={name!r} is unknown, {hint}")
    return DenseNet(name, *args, **options)
