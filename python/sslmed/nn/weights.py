"""Weights of other libraries, in and out."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch

from sslmed._core import C, ReadError
from sslmed._world import own_settings
from sslmed.nn.checkpoints import read_tensors
from sslmed.nn.layouts import Entry, Facts, Flavor, flavors, layouts
from sslmed.nn.layouts.adapt import adapted
from sslmed.nn.layouts.base import COMMON_EXTRAS
from sslmed.nn.mirror import Mirror

__all__ = ["load_weights", "save_weights"]

_Path = str | os.PathLike[str]
_SHOWN = 6  # names in a message
_KINDS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@own_settings()
def load_weights(module: Mirror, path: _Path, layout: str, *, inflate: Literal["mean", "center"] | None = None) -> pd.DataFrame:
    """Fills every tensor of an encoder from a file of another library or of sslmed.

    Nothing is loaded in part: all names, shapes and values are checked first. Every tensor of the encoder must be in the file; every tensor of the file must
    be used, or be known not to belong to an encoder (heads, decoders, mask tokens). A common prefix such as ``module.`` or ``teacher.backbone.`` is found. No
    network is used, and no pickled code is run.

    Positions of another grid are resampled (bicubic, antialiased), and tables of Swin's windows of another size as timm does it. Colors are summed for an
    encoder of one channel. Other differences of shape are refused.

    Args:
        module: An encoder of :func:`create`, an :class:`sslmed.Encoder` or a :class:`DenseNet`.
        path: A .safetensors, .pth, .pt or .bin file, or a folder as ``save_pretrained`` writes it.
        layout: "sslmed", "timm", "transformers" or "monai"; of vision transformers also "dinov2" and "mae" (Facebook's own files) or a published encoder:
            "uni", "virchow", "phikon", "midnight"; of SAM also "sam" (Facebook's).
        inflate: How weights of pictures fill an encoder of volumes: "mean" spreads a kernel evenly over the new first axis, "center" puts it in the middle.
            Position tables are repeated along that axis. None: refused. Swin takes None alone: load a network of rank 2, then use :func:`inflate`.

    Returns:
        One row a tensor of the file: ``file_key``, ``module_key`` ("" where it is left out), ``shape``, and ``change``: what was done to it, or why it is left
        out.

    Raises:
        ValueError: The layout is unknown, or tensors are missing, not used, of another shape, quantized, or not finite; the message names them.
        FormatError, ReadError: The file is damaged, holds other things than tensors, or cannot be read.

    Examples:
        >>> import tempfile
        >>> from sslmed import nn
        >>> vit = nn.create("vit_tiny", patch_size=8, img_size=32, depth=1)
        >>> folder = tempfile.TemporaryDirectory()
        >>> nn.save_weights(vit, folder.name + "/vit.safetensors", "transformers")
        >>> other = nn.create("vit_tiny", patch_size=8, img_size=32, depth=1, seed=1)
        >>> told = nn.load_weights(other, folder.name + "/vit.safetensors", "transformers")
        >>> told.change.value_counts()["q, k, v joined"]
        np.int64(6)

    See Also:
        :func:`save_weights`.
    """
    facts = _facts(module, "load_weights")
    ways = _flavors(facts, layout, "load_weights")
    if inflate not in (None, "mean", "center"):
        raise ValueError(f"load_weights: inflate={inflate!r}, expected None, 'mean' or 'center'")
    if inflate is not None and facts.kind == "swin":
        text = "expected None for Swin: load the file into a network of rank 2, and use sslmed.nn.inflate"
        raise ValueError(f"load_weights: inflate={inflate!r}, {text}")
    tensors = read_tensors(path)
    where = f"load_weights: {os.fspath(path)}: layout={layout!r}"
    match = _matched(facts, ways, tensors)
    if not match.found:
        raise ValueError(
            f"{where}: the file holds no tensor of the encoder by this layout's names; its tensors are {_names(list(tensors))}{_advice(facts, tensors, layout)}"
        )
    told = _told(match, facts, tensors)
    _check_complete(where, match, told, tensors, facts, layout)
    used = [key for key, (module_key, _) in told.items() if module_key]
    _check_kinds(where, tensors, used)
    made, changes = adapted(where, match.entries, match.source(tensors), facts, inflate)
    _check_values(where, tensors, used)
    state = module.state_dict()
    too_large = [name for name, value in made.items() if not bool(torch.isfinite(value.to(state[name].dtype)).all())]
    if too_large:
        kinds = {str(state[name].dtype).removeprefix("torch.") for name in too_large}
        raise ValueError(f"{where}: {len(too_large)} tensors have values that are too large for {' and '.join(sorted(kinds))}: {_names(too_large)}")
    with torch.no_grad():
        for name, value in made.items():
            state[name].copy_(value)
    rows = [
        {"file_key": key, "module_key": name, "shape": tuple(tensors[key].shape), "change": changes.get(name, "") if name else why}
        for key, (name, why) in told.items()
    ]
    table = pd.DataFrame(rows, columns=["file_key", "module_key", "shape", "change"])
    table.attrs |= {"layout": layout, "flavor": match.flavor.name, "prefix": match.prefix}
    return table


@own_settings()
def save_weights(module: Mirror, path: _Path, layout: str) -> None:
    """Writes an encoder's weights under the names of another library, which loads them with ``strict=True``.

    Args:
        module: The encoder, as in :func:`load_weights`.
        path: A .safetensors file, or a .pth, .pt or .bin file as ``torch.save`` writes it.
        layout: As in :func:`load_weights`. "transformers" has the names of the files on its hub, which ``from_pretrained`` takes.

    Raises:
        ValueError: The layout is unknown, has no place for a part of this encoder, or the ending is another one.
        ReadError: The file cannot be written.

    Examples:
        >>> import tempfile
        >>> from sslmed import io, nn
        >>> folder = tempfile.TemporaryDirectory()
        >>> nn.save_weights(nn.create("vit_tiny", depth=1), folder.name + "/vit.safetensors", "timm")
        >>> len(io.load_safetensors(folder.name + "/vit.safetensors"))
        18
    """
    facts = _facts(module, "save_weights")
    ways = [flavor for flavor in _flavors(facts, layout, "save_weights") if flavor.fits(facts)]
    if not ways:
        raise ValueError(f"save_weights: layout={layout!r} has no model with the parts of this encoder: {_parts(facts)}")
    ending = Path(path).suffix
    if ending not in (".safetensors", ".pth", ".pt", ".bin"):
        raise ValueError(f"save_weights: path={os.fspath(path)!r}, expected an ending .safetensors, .pth, .pt or .bin")
    tensors = _as_file(module, ways[0], facts, layout)
    if ending == ".safetensors":
        C.save_safetensors(os.fspath(path), tensors, {"format": "pt"})
    else:
        _save_pickle(tensors, Path(path))


def _save_pickle(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """As ``torch.save``; complete under its name, or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        torch.save(tensors, unfinished)
        unfinished.replace(path)
    except (OSError, RuntimeError) as error:
        raise ReadError(f"{path}: cannot be written: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _as_file(module: Mirror, flavor: Flavor, facts: Facts, layout: str) -> dict[str, torch.Tensor]:
    state = {name: value.detach().cpu() for name, value in module.state_dict().items()}
    if flavor.name == "timm" and "reg_token" in state and "pos_embed" in state and "cls_token" in state:
        # timm's models with registers have positions of patches alone (no_embed_class).
        state["cls_token"] = state["cls_token"] + state["pos_embed"][:, :1]
        state["pos_embed"] = state["pos_embed"][:, 1:]
    out: dict[str, torch.Tensor] = {name: torch.zeros(shape) for name, shape in flavor.fills(facts).items()}
    out |= {name: value.clone() for name, value in flavor.adds(facts).items()}
    entries = flavor.entries(facts)
    for entry in entries:
        value = state[entry.module] if entry.as_file is None else entry.as_file(state[entry.module])
        parts = value.chunk(len(entry.file)) if len(entry.file) > 1 else (value,)
        for name, part in zip(entry.file, parts, strict=True):
            if name in entry.zeros:
                if part.abs().max() > 0:
                    raise ValueError(
                        f"save_weights: layout={layout!r} has no place for {entry.module}: {name} is not zero, and {flavor.name} has no such tensor"
                    )
                continue
            out[name] = part.contiguous().clone()
    for name in [name for name in out if name.endswith(".running_var")]:  # a counter that torch's batch normalization has
        out[name.removesuffix("running_var") + "num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
    return out


@dataclass
class _Match:
    """The way in which a file's names fit a module best."""

    flavor: Flavor
    entries: Sequence[Entry]
    prefix: str
    found: int
    others: list[str] = field(default_factory=list)  # prefixes under which there is another copy

    def source(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Tensors under the prefix, without it."""
        return {key.removeprefix(self.prefix): value for key, value in tensors.items() if key.startswith(self.prefix)}


def _facts(module: Any, where: str) -> Facts:
    if not isinstance(module, Mirror):
        raise TypeError(f"{where}: module={type(module).__name__}, expected an encoder of sslmed.nn.create(), an sslmed.Encoder or a DenseNet")
    shapes = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    kind, grid = module.layout_facts()
    return Facts(kind, shapes, getattr(module, "config", {}), grid)


def _flavors(facts: Facts, layout: str, where: str) -> list[Flavor]:
    ways = flavors(facts.kind, layout)
    if not ways:
        raise ValueError(f"{where}: layout={layout!r} is unknown for this encoder, expected one of {', '.join(layouts(facts.kind))}")
    for why in (flavor.refuses(facts) for flavor in ways):
        if why:
            raise ValueError(f"{where}: layout={layout!r}: {why}")
    return ways


def _parts(facts: Facts) -> str:
    if facts.kind == "swin":
        style = "timm" if facts.has("norm.weight") else "monai"
        head = "a head" if facts.has("head.fc.weight") else "no head"
        return f"{len(facts.grid)} axes, style={style!r}, {head}"
    names = {"registers": "reg_token", "layer scale": "blocks.0.ls1.gamma", "a position table": "pos_embed", "a class token": "cls_token"}
    return ", ".join(f"{'' if facts.has(key) else 'no '}{what}" for what, key in names.items())


def _matched(facts: Facts, ways: Sequence[Flavor], tensors: Mapping[str, torch.Tensor]) -> _Match:
    """The flavor and prefix under which most names fit."""
    best: tuple[tuple[int, int, int, int], _Match] | None = None
    for order, flavor in enumerate(ways):
        entries = flavor.entries(facts)
        counts: dict[str, int] = {}
        for name in {name for entry in entries for name in entry.file}:
            for key in tensors:
                if key == name or key.endswith("." + name):
                    counts[key.removesuffix(name)] = counts.get(key.removesuffix(name), 0) + 1
        top = max(counts.values(), default=0)
        full = [prefix for prefix, count in counts.items() if count == top]
        for prefix, count in counts.items():
            # Of two copies the averaged one; then the shortest name.
            averaged = any(word in prefix for word in ("teacher", "target", "ema"))
            match = _Match(flavor, entries, prefix, count, [other for other in full if other != prefix])
            rank = (count, int(averaged), -len(prefix), -order)
            if best is None or rank > best[0]:
                best = rank, match
    return best[1] if best else _Match(ways[0], ways[0].entries(facts), "", 0)


def _told(match: _Match, facts: Facts, tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[str, str]]:
    """For each tensor of the file the module's, or why it is left out; neither where it is not known."""
    places = {match.prefix + name: entry.module for entry in match.entries for name in entry.file}
    extras = [(re.compile(extra.pattern), extra.why) for extra in (*match.flavor.extras, *COMMON_EXTRAS)]
    fills = match.flavor.fills(facts)
    words = match.prefix.split(".")[:-1]
    starts = ["".join(f"{word}." for word in words[:count]) for count in range(len(words) + 1)]  # "", "model.", "model.encoder."
    out: dict[str, tuple[str, str]] = {}
    for key in tensors:
        if key in places:
            out[key] = places[key], ""
            continue
        bare = key.removeprefix(match.prefix)
        shorter = [key.removeprefix(start) for start in starts]
        why = next((why for pattern, why in extras if any(pattern.match(name) for name in shorter)), "")
        if not why and bare in fills:
            why = "not used by the features"
        if not why and any(other and key.startswith(other) for other in match.others):
            why = "another copy of the encoder"
        out[key] = "", f"left out: {why}" if why else ""
    return out


def _check_complete(where: str, match: _Match, told: Mapping[str, tuple[str, str]], tensors: Mapping[str, torch.Tensor], facts: Facts, layout: str) -> None:
    missing = [match.prefix + name for entry in match.entries for name in entry.file if match.prefix + name not in tensors and name not in entry.zeros]
    unused = [key for key, (name, why) in told.items() if not name and not why]
    if not missing and not unused:
        return
    problems = []
    if missing:
        problems.append(f"the encoder needs {len(missing)} tensors that the file has not: {_names(missing, unused or list(tensors))}")
    if unused:
        problems.append(f"the file has {len(unused)} tensors that the encoder has not: {_names(unused, missing)}")
    raise ValueError(f"{where}: {'; '.join(problems)}{_advice(facts, tensors, layout) or _hint(missing, unused)}")


def _hint(missing: Sequence[str], unused: Sequence[str]) -> str:
    for words, argument in (
        (("reg_token", "register_tokens"), "registers"), (("ls1.gamma", "layer_scale1"), "layer_scale"), (("cls_token",), "class_token"),
        (("mlp.w12", "weights_in", "gate_proj", "fc1_g"), "mlp='swiglu'"), (("head.", "classifier."), "num_classes"), (("lora_",), "lora_rank"),
    ):  # fmt: skip
        if any(word in name for word in words for name in (*missing, *unused)):
            return f". Look at the encoder's {argument}"
    return ". Look at the encoder's depth and name, and at the layout"


def _advice(facts: Facts, tensors: Mapping[str, torch.Tensor], layout: str) -> str:
    """The layout under which more of the names fit, if there is one."""
    counts = {name: _matched(facts, flavors(facts.kind, name), tensors).found for name in layouts(facts.kind)}
    best = max(counts, key=lambda name: (counts[name], name != "sslmed"))
    return f". More of the names fit layout={best!r}" if counts[best] > counts[layout] else ""


def _names(names: Sequence[str], near: Sequence[str] = ()) -> str:
    out = []
    for name in names[:_SHOWN]:
        close = difflib.get_close_matches(name, near, 1, 0.8)
        out.append(f"{name} (like {close[0]})" if close else name)
    return ", ".join(out) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _check_kinds(where: str, tensors: Mapping[str, torch.Tensor], used: Sequence[str]) -> None:
    """Whether tensors hold plain numbers: what is quantized says nothing without its scale."""
    bad = {}
    for key in used:
        tensor = tensors[key]
        if tensor.dtype not in _KINDS or tensor.layout != torch.strided or tensor.is_meta:
            layout = "" if tensor.layout == torch.strided else f" {tensor.layout}"
            bad[key] = f"{key} ({tensor.dtype}{layout}{' without values' if tensor.is_meta else ''})".replace("torch.", "")
        elif tensor.numel() > tensor.untyped_storage().nbytes() // tensor.element_size():
            bad[key] = f"{key} ({list(tensor.shape)} with {tensor.untyped_storage().nbytes()} bytes)"
    if bad:
        raise ValueError(f"{where}: {len(bad)} tensors are no dense tensors of float16, bfloat16, float32 or float64: {_names(list(bad.values()))}")


def _check_values(where: str, tensors: Mapping[str, torch.Tensor], used: Sequence[str]) -> None:
    bad = [key for key in used if not bool(torch.isfinite(tensors[key]).all())]
    if bad:
        raise ValueError(f"{where}: {len(bad)} tensors hold NaN or infinity: {_names(bad)}")
