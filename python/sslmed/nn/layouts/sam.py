"""Layouts of Segment Anything's image encoder: timm, Facebook's files, transformers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sslmed.nn.layouts.base import Entry, Extra, Facts, Flavor, Role

__all__ = ["FLAVORS"]


def _named(swaps: Mapping[str, str]) -> Callable[[Facts], list[Entry]]:
    """The module's names with parts of them replaced. A third table of relative positions is zeros where a file has none."""

    def entries(facts: Facts) -> list[Entry]:
        out = []
        for name in facts.shapes:
            file = name
            for ours, theirs in swaps.items():
                file = file.replace(ours, theirs)
            role: Role = "positions" if name == "pos_embed" else "input" if name == "patch_embed.proj.weight" else "plain"
            if ".rel_pos_" in name:
                role = "relative"
            out.append(Entry(name, (file,), role, zeros=(file,) if name.endswith("rel_pos_d") else ()))
        return out

    return entries


_REST = (
    Extra(r"(prompt_encoder|mask_decoder|shared_image_embedding)\.", "prompts and mask decoder"),
    Extra(r"pixel_(mean|std)$", "mean and deviation of pixels: arguments of the encoder"),
)
_FACEBOOK = {".mlp.fc1.": ".mlp.lin1.", ".mlp.fc2.": ".mlp.lin2."}
_TRANSFORMERS = _FACEBOOK | {
    "blocks.": "layers.",
    ".norm1.": ".layer_norm1.",
    ".norm2.": ".layer_norm2.",
    "patch_embed.proj.": "patch_embed.projection.",
    "neck.0.": "neck.conv1.",
    "neck.1.": "neck.layer_norm1.",
    "neck.2.": "neck.conv2.",
    "neck.3.": "neck.layer_norm2.",
}

FLAVORS: dict[str, list[Flavor]] = {
    "timm": [Flavor("timm", _named({}))],
    "sam": [Flavor("Facebook's SAM", _named(_FACEBOOK), _REST)],
    "transformers": [Flavor("SamVisionModel", _named(_TRANSFORMERS), _REST)],
}
