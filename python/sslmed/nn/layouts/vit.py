"""Layouts of vision transformers: timm, Facebook's MAE and DINOv2, transformers, MONAI."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch

from sslmed.nn.layouts.base import Entry, Extra, Facts, Flavor, Role, identity

__all__ = ["FLAVORS"]

_POOLER = Extra(r"pooler\.", "pooler, not used by the features")
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)\.(weight|bias|gamma)$")


def _is_swiglu(facts: Facts) -> bool:
    return facts.has("blocks.0.mlp.fc1.weight") and facts.shapes["blocks.0.mlp.fc1.weight"][0] == 2 * facts.shapes["blocks.0.mlp.fc2.weight"][1]


def _named(stem: Mapping[str, tuple[str, Role]], blocks: Callable[[str, str, str], Entry | None]) -> Callable[[Facts], list[Entry]]:
    """Entries from a table of names outside the blocks and a rule for names inside: (block, layer, leaf)."""

    def entries(facts: Facts) -> list[Entry]:
        out = []
        for name in facts.shapes:
            match = _BLOCK.match(name)
            if match:
                out.append(blocks(*match.groups()) or Entry(name, (name,)))
            else:
                theirs, role = stem.get(name, (name, "plain"))
                out.append(Entry(name, (theirs,), role))
        return out

    return entries


def _parts(block: str, layer: str, leaf: str, start: str, names: tuple[str, ...]) -> Entry:
    return Entry(f"blocks.{block}.{layer}.{leaf}", tuple(f"{start}.{name}.{leaf}" for name in names))


# --- timm, and what Facebook's code calls alike -------------------------------------------------------------------------------------------------------------


def _renamed(swaps: Mapping[str, tuple[str, ...]]) -> Callable[[Facts], list[Entry]]:
    """The module's own names, but for endings of names."""

    def entries(facts: Facts) -> list[Entry]:
        out = []
        for entry in identity(facts):
            for ending, others in swaps.items():
                if entry.module == ending or entry.module.endswith("." + ending):
                    start = entry.module.removesuffix(ending)
                    entry = Entry(entry.module, tuple(start + other for other in others), entry.role)
                    break
            out.append(entry)
        return out

    return entries


_FACEBOOK = {
    "mlp.fc1.weight": ("mlp.w12.weight",),
    "mlp.fc1.bias": ("mlp.w12.bias",),
    "mlp.fc2.weight": ("mlp.w3.weight",),
    "mlp.fc2.bias": ("mlp.w3.bias",),
}
_SPLIT_GLU = {f"mlp.fc1.{leaf}": (f"mlp.fc1_g.{leaf}", f"mlp.fc1_x.{leaf}") for leaf in ("weight", "bias")}


def _facebook(facts: Facts) -> list[Entry]:
    return _renamed({"reg_token": ("register_tokens",)} | (_FACEBOOK if _is_swiglu(facts) else {}))(facts)


def _mask_token(name: str, *leading: int) -> Callable[[Facts], dict[str, tuple[int, ...]]]:
    return lambda facts: {name: (*leading, facts.shapes["norm.weight"][0])}


_TIMM = [
    Flavor("timm", identity),
    Flavor("timm, split gates", _renamed(_SPLIT_GLU), fits=lambda facts: False),
]
_DINOV2 = [
    Flavor("Facebook's DINOv2", _facebook, fills=_mask_token("mask_token", 1)),
]
_MAE = [Flavor("Facebook's MAE", identity)]

# --- transformers -------------------------------------------------------------------------------------------------------------------------------------------

_OLD_QKV = tuple(f"attention.attention.{name}" for name in ("query", "key", "value"))
_NEW_QKV = tuple(f"attention.{name}_proj" for name in "qkv")
_STEM: dict[str, tuple[str, Role]] = {
    "cls_token": ("embeddings.cls_token", "class"),
    "reg_token": ("embeddings.register_tokens", "registers"),
    "pos_embed": ("embeddings.position_embeddings", "positions"),
    "patch_embed.proj.weight": ("embeddings.patch_embeddings.projection.weight", "input"),
    "patch_embed.proj.bias": ("embeddings.patch_embeddings.projection.bias", "plain"),
    "norm.weight": ("layernorm.weight", "plain"),
    "norm.bias": ("layernorm.bias", "plain"),
    "head.weight": ("classifier.weight", "plain"),
    "head.bias": ("classifier.bias", "plain"),
}


def _transformers(start: str, table: Mapping[str, tuple[str, ...]]) -> Callable[[Facts], list[Entry]]:
    def blocks(block: str, layer: str, leaf: str) -> Entry | None:
        names = table.get(layer)
        if names is None:
            return None
        if leaf == "gamma":
            return Entry(f"blocks.{block}.{layer}.gamma", (f"{start}.{block}.{names[0]}",))
        return _parts(block, layer, leaf, f"{start}.{block}", names)

    return _named(_STEM, blocks)


_OLD_VIT = {
    "norm1": ("layernorm_before",), "norm2": ("layernorm_after",), "attn.qkv": _OLD_QKV, "attn.proj": ("attention.output.dense",),
    "mlp.fc1": ("intermediate.dense",), "mlp.fc2": ("output.dense",),
}  # fmt: skip
_NEW_VIT = _OLD_VIT | {"attn.qkv": _NEW_QKV, "attn.proj": ("attention.o_proj",), "mlp.fc1": ("mlp.fc1",), "mlp.fc2": ("mlp.fc2",)}
_SCALED = {"norm1": ("norm1",), "norm2": ("norm2",), "ls1": ("layer_scale1.lambda1",), "ls2": ("layer_scale2.lambda1",)}
_OLD_DINOV2 = _SCALED | {"attn.qkv": _OLD_QKV, "attn.proj": ("attention.output.dense",), "mlp.fc1": ("mlp.fc1",), "mlp.fc2": ("mlp.fc2",)}
_NEW_DINOV2 = _OLD_DINOV2 | {"attn.qkv": _NEW_QKV, "attn.proj": ("attention.o_proj",)}
_PACKED = {"mlp.fc1": ("mlp.weights_in",), "mlp.fc2": ("mlp.weights_out",)}
_GATED = {"mlp.fc1": ("mlp.gate_proj", "mlp.up_proj"), "mlp.fc2": ("mlp.down_proj",)}


def _by_mlp(start: str, table: Mapping[str, tuple[str, ...]], gated: Mapping[str, tuple[str, ...]]) -> Callable[[Facts], list[Entry]]:
    return lambda facts: _transformers(start, {**table, **(gated if _is_swiglu(facts) else {})})(facts)


def _dinov3(start: str) -> Callable[[Facts], list[Entry]]:
    names = _by_mlp(start, {**_NEW_DINOV2, "mlp.fc1": ("mlp.up_proj",), "mlp.fc2": ("mlp.down_proj",)}, _GATED)
    stem = {f"embeddings.patch_embeddings.projection.{leaf}": f"embeddings.patch_embeddings.{leaf}" for leaf in ("weight", "bias")}
    stem |= {f"layernorm.{leaf}": f"norm.{leaf}" for leaf in ("weight", "bias")}

    def entries(facts: Facts) -> list[Entry]:
        out = []
        for entry in names(facts):
            file = tuple(stem.get(name, name) for name in entry.file)
            keys = tuple(name for name in file if name.endswith("attention.k_proj.bias"))  # DINOv3's keys have no bias
            out.append(Entry(entry.module, file, entry.role, zeros=keys))
        return out

    return entries


def _with_axes(count: int) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: x[(None,) * count]


def _without_axes(count: int) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: x[(0,) * count]


def _clip(facts: Facts) -> list[Entry]:
    stem: dict[str, tuple[str, Role]] = {
        "patch_embed.proj.weight": ("embeddings.patch_embedding.weight", "input"),
        "norm_pre.weight": ("pre_layrnorm.weight", "plain"),  # spelled so in the files
        "norm_pre.bias": ("pre_layrnorm.bias", "plain"),
        "norm.weight": ("post_layernorm.weight", "plain"),
        "norm.bias": ("post_layernorm.bias", "plain"),
    }
    table = {
        "norm1": ("layer_norm1",), "norm2": ("layer_norm2",), "attn.qkv": tuple(f"self_attn.{name}_proj" for name in "qkv"),
        "attn.proj": ("self_attn.out_proj",), "mlp.fc1": ("mlp.fc1",), "mlp.fc2": ("mlp.fc2",),
    }  # fmt: skip
    leading: dict[str, tuple[str, Role, int]] = {
        "cls_token": ("embeddings.class_embedding", "class", 2),
        "pos_embed": ("embeddings.position_embedding.weight", "positions", 1),
    }

    def blocks(block: str, layer: str, leaf: str) -> Entry | None:
        return _parts(block, layer, leaf, f"encoder.layers.{block}", table[layer]) if layer in table else None

    out = []
    for entry in _named(stem, blocks)(facts):
        if entry.module in leading:
            name, role, axes = leading[entry.module]
            entry = Entry(entry.module, (name,), role, as_module=_with_axes(axes), as_file=_without_axes(axes))
        out.append(entry)
    return out


_CLIP_EXTRAS = (
    Extra(r"(text_model\.|text_projection\.|visual_projection\.|logit_scale$)", "text tower and projections"),
    Extra(r"(vision_model\.)?embeddings\.position_ids$", "counter of positions"),
)


def _is_plain(facts: Facts) -> bool:
    return not (facts.has("norm_pre.weight") or facts.has("blocks.0.ls1.gamma") or facts.has("reg_token") or _is_swiglu(facts)) and facts.has("pos_embed")


_TRANSFORMERS = [
    Flavor("CLIPVisionModel", _clip, _CLIP_EXTRAS, fits=lambda facts: facts.has("norm_pre.weight")),
    Flavor("ViTModel", _transformers("encoder.layer", _OLD_VIT), [_POOLER], fits=_is_plain),
    Flavor("ViTModel, names of transformers 5", _transformers("layers", _NEW_VIT), [_POOLER], fits=lambda facts: False),
    Flavor("Dinov2Model", _by_mlp("encoder.layer", _OLD_DINOV2, _PACKED), fits=lambda f: f.has("pos_embed") and f.has("blocks.0.ls1.gamma"),
           fills=_mask_token("embeddings.mask_token", 1)),
    Flavor("Dinov2Model, names of transformers 5", _by_mlp("encoder.layer", _NEW_DINOV2, _GATED), fits=lambda facts: False),
    Flavor("DINOv3ViTModel", _dinov3("layer"), fits=lambda f: not f.has("pos_embed") and f.has("blocks.0.ls1.gamma") and f.has("reg_token"),
           fills=_mask_token("embeddings.mask_token", 1, 1)),
    Flavor("DINOv3ViTModel, names of transformers 5", _dinov3("model.layer"), fits=lambda facts: False),
]  # fmt: skip

# --- MONAI --------------------------------------------------------------------------------------------------------------------------------------------------


def _monai(perceptron: bool) -> Callable[[Facts], list[Entry]]:
    stem: dict[str, tuple[str, Role]] = {
        "cls_token": ("cls_token", "class"),
        "pos_embed": ("patch_embedding.position_embeddings", "positions"),
        "patch_embed.proj.weight": ("patch_embedding.patch_embeddings.weight", "input"),
        "patch_embed.proj.bias": ("patch_embedding.patch_embeddings.bias", "plain"),
    }
    layers = {"norm1": "norm1", "norm2": "norm2", "attn.qkv": "attn.qkv", "attn.proj": "attn.out_proj", "mlp.fc1": "mlp.linear1", "mlp.fc2": "mlp.linear2"}

    def blocks(block: str, layer: str, leaf: str) -> Entry | None:
        if layer not in layers:
            return None
        name = f"blocks.{block}.{layers[layer]}.{leaf}"
        return Entry(f"blocks.{block}.{layer}.{leaf}", (name,), zeros=(name,) if name.endswith("attn.qkv.bias") else ())

    names = _named(stem, blocks)

    def entries(facts: Facts) -> list[Entry]:
        out = names(facts)
        if not perceptron:
            return out
        shape = facts.shapes["patch_embed.proj.weight"]
        matrix = Entry("patch_embed.proj.weight", ("patch_embedding.patch_embeddings.1.weight",), as_module=lambda x: _unflattened(x, shape),
                       as_file=lambda x: x.movedim(1, -1).flatten(1), change="matrix as a convolution")  # fmt: skip
        bias = Entry("patch_embed.proj.bias", ("patch_embedding.patch_embeddings.1.bias",))
        own = {entry.module: entry for entry in (matrix, bias)}
        return [own.get(entry.module, entry) for entry in out]

    return entries


def _unflattened(matrix: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    cells = (*shape[2:], shape[1])
    if matrix.dim() != 2 or matrix.shape[1] != torch.Size(cells).numel():
        return matrix  # whose shape is refused later
    return matrix.reshape(-1, *cells).movedim(-1, 1)


_MONAI_EXTRAS = (
    Extra(r"blocks\.\d+\.(norm_cross_attn|cross_attn)\.", "cross attention, not used without a context"),
    Extra(r"classification_head\.", "head"),
    Extra(r"(conv3d_transpose\w*|conv_transpose\w*)\.", "decoder of the pretraining"),
)
_MONAI = [Flavor("MONAI's ViT", _monai(False), _MONAI_EXTRAS), Flavor("MONAI's ViT, perceptron", _monai(True), _MONAI_EXTRAS, fits=lambda facts: False)]

FLAVORS: dict[str, list[Flavor]] = {"timm": _TIMM, "transformers": _TRANSFORMERS, "monai": _MONAI, "dinov2": _DINOV2, "mae": _MAE}
