"""Layouts of shifted-window transformers: timm, Microsoft's files, transformers, MONAI and its self-supervised checkpoints."""

from __future__ import annotations

import re
from collections.abc import Callable

from sslmed.nn.layouts.base import Entry, Extra, Facts, Flavor, Role

__all__ = ["FLAVORS"]

_BLOCK = re.compile(r"layers\.(\d+)\.blocks\.(\d+)\.(.+)$")
_MERGE = re.compile(r"layers\.(\d+)\.downsample\.(.+)$")
_INDEX = Extra(r"(.*\.)?(relative_position_index|attn_mask)$", "computed from the window")


def _named(block: Callable[[str, str, str], tuple[str, ...]], merge: Callable[[int, str], str], stem: dict[str, str]) -> Callable[[Facts], list[Entry]]:
    """Entries from rules for names in blocks (stage, block, rest) and mergings (stage, rest), and a table for all others."""

    def entries(facts: Facts) -> list[Entry]:
        out = []
        for name in facts.shapes:
            role: Role = "input" if name == "patch_embed.proj.weight" else "plain"
            if match := _BLOCK.match(name):
                out.append(Entry(name, block(*match.groups())))
            elif match := _MERGE.match(name):
                out.append(Entry(name, (merge(int(match[1]), match[2]),)))
            else:
                out.append(Entry(name, (stem.get(name, name),), role))
        return out

    return entries


def _own_block(stage: str, block: str, rest: str) -> tuple[str, ...]:
    return (f"layers.{stage}.blocks.{block}.{rest}",)


_TABLE = {
    "norm1": "layernorm_before", "norm2": "layernorm_after", "attn.proj": "attention.output.dense", "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense",
}  # fmt: skip


def _hub_block(stage: str, block: str, rest: str) -> tuple[str, ...]:
    start = f"encoder.layers.{stage}.blocks.{block}"
    if rest == "attn.relative_position_bias_table":
        return (f"{start}.attention.self.relative_position_bias_table",)
    layer, _, leaf = rest.rpartition(".")
    if layer == "attn.qkv":
        return tuple(f"{start}.attention.self.{name}.{leaf}" for name in ("query", "key", "value"))
    return (f"{start}.{_TABLE[layer]}.{leaf}",)


def _monai_block(mlp: str) -> Callable[[str, str, str], tuple[str, ...]]:
    return lambda stage, block, rest: (f"layers{int(stage) + 1}.0.blocks.{block}.{rest.replace('mlp.fc', f'mlp.{mlp}')}",)


def _monai_merge(stage: int, rest: str) -> str:
    return f"layers{stage + 1}.0.downsample.{rest}"


_HUB_STEM = {
    f"{ours}.{leaf}": f"{theirs}.{leaf}"
    for ours, theirs in (
        ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
        ("patch_embed.norm", "embeddings.norm"),
        ("norm", "layernorm"),
        ("head.fc", "classifier"),
    )
    for leaf in ("weight", "bias")
}
_OLD_STEM = {f"head.fc.{leaf}": f"head.{leaf}" for leaf in ("weight", "bias")}
_REST = (
    _INDEX,
    Extra(r"(rotation_head|contrastive_head|rotation_pre|contrastive_pre|conv)\.", "head of the pretraining"),
    Extra(r"(encoder\d+|decoder\d+|out)\.", "other parts of SwinUNETR"),
    Extra(r"norm\.", "final norm, which MONAI's features do not use"),
)


def _is_monai(facts: Facts) -> bool:
    return not facts.has("norm.weight")


FLAVORS: dict[str, list[Flavor]] = {
    "timm": [
        Flavor("timm", _named(_own_block, lambda stage, rest: f"layers.{stage}.downsample.{rest}", {}), [_INDEX], fits=lambda f: not _is_monai(f)),
        Flavor("Microsoft's Swin", _named(_own_block, lambda stage, rest: f"layers.{stage - 1}.downsample.{rest}", _OLD_STEM), [_INDEX], fits=lambda f: False),
    ],
    "transformers": [
        Flavor(
            "SwinModel",
            _named(_hub_block, lambda stage, rest: f"encoder.layers.{stage - 1}.downsample.{rest}", _HUB_STEM),
            [_INDEX, Extra(r"pooler\.", "pooler")],
            fits=lambda f: not _is_monai(f),
        ),
    ],
    "monai": [
        Flavor("MONAI's SwinTransformer", _named(_monai_block("linear"), _monai_merge, {}), _REST, fits=_is_monai),
        Flavor("MONAI's self-supervised Swin", _named(_monai_block("fc"), _monai_merge, {}), _REST, fits=lambda f: False),
    ],
}
