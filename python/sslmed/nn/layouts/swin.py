"""Layouts of shifted-window transformers: timm, Microsoft's files, transformers, MONAI and its pretraining."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch

from sslmed.nn.layouts.base import Entry, Extra, Facts, Flavor, Role
from sslmed.nn.layouts.offsets import relative_rows

__all__ = ["FLAVORS"]

_Block = Callable[[str, str, str], tuple[str, ...]]
_Merge = Callable[[int, str], str]

_BLOCK = re.compile(r"layers\.(\d+)\.blocks\.(\d+)\.(.+)$")
_MERGE = re.compile(r"layers\.(\d+)\.downsample\.(.+)$")
_TABLE = "relative_position_bias_table"
_INDEX = Extra(r"(.*\.)?(relative_position_index|attn_mask)$", "computed from the window")


def _named(block: _Block, merge: _Merge, stem: dict[str, str], start: str = "") -> Callable[[Facts], list[Entry]]:
    """Entries from rules for names in blocks (stage, block, rest) and mergings (stage, rest), and a table for others.

    ``start`` comes before all names but that of the head.
    """

    def entries(facts: Facts) -> list[Entry]:
        out = []
        for name in facts.shapes:
            role: Role = "offsets" if name.endswith(_TABLE) else "plain"
            if name == "patch_embed.proj.weight":
                role = "input"
            if match := _BLOCK.match(name):
                file = block(*match.groups())
            elif match := _MERGE.match(name):
                file = (merge(int(match[1]), match[2]),)
            else:
                file = (stem.get(name, name),)
            if not name.startswith("head."):
                file = tuple(start + part for part in file)
            out.append(Entry(name, file, role))
        return out

    return entries


def _own_block(stage: str, block: str, rest: str) -> tuple[str, ...]:
    return (f"layers.{stage}.blocks.{block}.{rest}",)


def _own_merge(stage: int, rest: str) -> str:
    return f"layers.{stage}.downsample.{rest}"


def _hub_block(table: dict[str, tuple[str, ...]], offsets: str) -> _Block:
    """Names in the blocks of transformers, from those of layers and of the table of relative positions."""

    def block(stage: str, number: str, rest: str) -> tuple[str, ...]:
        start = f"encoder.layers.{stage}.blocks.{number}"
        if rest == f"attn.{_TABLE}":
            return (f"{start}.{offsets}.{_TABLE}",)
        layer, _, leaf = rest.rpartition(".")
        return tuple(f"{start}.{name}.{leaf}" for name in table[layer])

    return block


def _merge_after(start: str) -> _Merge:
    """Cells merged at the end of a stage, which are merged before the next one here."""
    return lambda stage, rest: f"{start}layers.{stage - 1}.downsample.{rest}"


_HUB = {
    "norm1": ("layernorm_before",), "norm2": ("layernorm_after",),
    "mlp.fc1": ("intermediate.dense",), "mlp.fc2": ("output.dense",),
    "attn.qkv": tuple(f"attention.self.{name}" for name in ("query", "key", "value")),
    "attn.proj": ("attention.output.dense",),
}  # fmt: skip
_NEW = _HUB | {
    "mlp.fc1": ("mlp.fc1",), "mlp.fc2": ("mlp.fc2",),
    "attn.qkv": tuple(f"attention.{name}_proj" for name in "qkv"), "attn.proj": ("attention.o_proj",),
}  # fmt: skip
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


def _hub(name: str, *, new: bool, head: bool, fits: Callable[[Facts], bool]) -> Flavor:
    block = _hub_block(_NEW, "attention.relative_position_bias") if new else _hub_block(_HUB, "attention.self")
    entries = _named(block, _merge_after("encoder."), _HUB_STEM, "swin." if head else "")
    return Flavor(name, entries, [_INDEX, Extra(r"pooler\.", "pooler")], fits=fits)


def _monai_block(mlp: str) -> _Block:
    def block(stage: str, number: str, rest: str) -> tuple[str, ...]:
        return (f"layers{int(stage) + 1}.0.blocks.{number}.{rest.replace('mlp.fc', f'mlp.{mlp}')}",)

    return block


def _monai_merge(stage: int, rest: str) -> str:
    return f"layers{stage + 1}.0.downsample.{rest}"


def _monai_indices(facts: Facts) -> dict[str, torch.Tensor]:
    """The index of each table, which MONAI's modules have as a buffer."""
    rows = relative_rows([(side + 1) // 2 for side in facts.grid])
    return {
        _monai_block("linear")(match[1], match[2], "attn.relative_position_index")[0]: rows
        for name in facts.shapes
        if name.endswith(_TABLE) and (match := _BLOCK.match(name))
    }


_MONAI = _named(_monai_block("linear"), _monai_merge, {})
_REST = (
    _INDEX,
    Extra(r"(rotation_head|contrastive_head|rotation_pre|contrastive_pre|conv)\.", "head of the pretraining"),
    Extra(r"(encoder\d+|decoder\d+|out)\.", "other parts of SwinUNETR"),
    Extra(r"norm\.", "final norm, which MONAI's features do not use"),
)


def _is_timm(facts: Facts) -> bool:
    return facts.has("norm.weight") and len(facts.grid) == 2


def _is_headless(facts: Facts) -> bool:
    return _is_timm(facts) and not facts.has("head.fc.weight")


def _is_monai(facts: Facts) -> bool:
    return not facts.has("norm.weight") and not facts.has("head.fc.weight") and len(facts.grid) in (2, 3)


def _order_of_monai(facts: Facts) -> str:
    """Eight neighbors may be merged in orders that MONAI has not: columns of the matrix would be mixed up."""
    if len(facts.grid) != 3 or facts.options.get("merging") != "timm":
        return ""
    return "merging='timm' is no order of MONAI's, expected 'monai', 'mergingv2' or 'monai_legacy'"


def _is_never(facts: Facts) -> bool:
    return False


FLAVORS: dict[str, list[Flavor]] = {
    "timm": [
        Flavor("timm", _named(_own_block, _own_merge, {}), [_INDEX], fits=_is_timm),
        Flavor("Microsoft's Swin", _named(_own_block, _merge_after(""), _OLD_STEM), [_INDEX], fits=_is_never),
    ],
    "transformers": [
        _hub("SwinModel", new=False, head=False, fits=_is_headless),
        _hub("SwinForImageClassification", new=False, head=True, fits=_is_timm),
        _hub("SwinModel, names of transformers 5", new=True, head=False, fits=_is_never),
        _hub("SwinForImageClassification, names of transformers 5", new=True, head=True, fits=_is_never),
    ],
    "monai": [
        Flavor("MONAI's SwinTransformer", _MONAI, _REST, fits=_is_monai, adds=_monai_indices, refuses=_order_of_monai),
        Flavor("MONAI's self-supervised Swin", _named(_monai_block("fc"), _monai_merge, {}), _REST, fits=_is_never),
    ],
}
