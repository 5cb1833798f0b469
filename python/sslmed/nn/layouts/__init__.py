"""Names of tensors in files of other libraries."""

from __future__ import annotations

from sslmed.nn.layouts import resnet, sam, swin, vit
from sslmed.nn.layouts.base import Entry, Extra, Facts, Flavor, identity

__all__ = ["NAMED", "Entry", "Extra", "Facts", "Flavor", "flavors", "layouts"]

NAMED = {"uni": "timm", "virchow": "timm", "phikon": "transformers", "midnight": "transformers"}
"""Published encoders, by the layout that their files have."""

_SSLMED = [
    Flavor("sslmed", identity, [Extra(r"(target|teacher|student|predictor|pool|domain\w*|embeddings)\.", "other parts of the training")]),
]
_KINDS = {"vit": vit.FLAVORS, "resnet": resnet.FLAVORS, "sam": sam.FLAVORS, "swin": swin.FLAVORS}


def layouts(kind: str) -> list[str]:
    """Names of layouts for modules of a kind."""
    known = _KINDS.get(kind, {})
    return ["sslmed", *known, *(name for name, of in NAMED.items() if of in known and kind == "vit")]


def flavors(kind: str, layout: str) -> list[Flavor]:
    """What files of a layout may look like; empty for a layout that is unknown."""
    if layout == "sslmed":
        return _SSLMED
    known = _KINDS.get(kind, {})
    return known.get(NAMED.get(layout, layout) if kind == "vit" else layout, [])
