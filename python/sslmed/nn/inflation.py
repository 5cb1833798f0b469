"""Weights of 2-D networks in 3-D ones of the same architecture."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import torch

from sslmed._checks import choice
from sslmed._core import C
from sslmed._world import own_settings
from sslmed.nn.layouts.offsets import resampled_offsets, side_of
from sslmed.nn.mirror import Mirror

__all__ = ["inflate"]

Strategy = Literal["mean", "center"]
_Change = tuple[torch.Tensor, str]
_HEADS = ("fc.", "head.", "head_dist.")
_TABLE, _BIAS, _MERGE, _MERGE_NORM = "pos_embed", "relative_position_bias_table", "downsample.reduction.weight", "downsample.norm."


@own_settings()
def inflate(
    source: torch.nn.Module | Mapping[str, torch.Tensor],
    module: torch.nn.Module,
    strategy: Strategy = "mean",
    channels: Literal["sum", "keep"] = "sum",
    axis: Literal[0, 1, 2] = 0,
) -> pd.DataFrame:
    """Copies weights of a 2-D network into a 3-D network of the same architecture, in place.

    One spatial axis of ``module`` is new ("depth"); the others are height and width, in this order. All weights are
    checked before the first one is copied, and every weight must find its place.

    - Kernels [D, C, h, w] become [D, C, d, h, w]: d copies, each divided by d ("mean": Carreira and Zisserman, arXiv
      1705.07750), or one copy in the middle and zeros elsewhere ("center").
    - Tables of positions are resampled over height and width where grids differ, and repeated along depth; those of
      Swin's windows too. Its mergings take eight cells instead of four: both neighbors in depth with half of the weights
      each ("mean") or the second one ("center").
    - Everything else keeps its shape.

    A "mean" network gives on a volume that is constant along depth what the 2-D network gives on its slice, away from
    the ends of depth, where padding is seen. A "center" network gives what the 2-D network gives on single slices, if
    nothing else mixes slices: no pooling over depth, and no attention between slices. Swin's mergings are such a mix,
    because the norm before them takes both slices (``docs/natural_weights.md`` says what is kept).

    Args:
        source: The 2-D network, or its ``state_dict``. Grids of tables are then square.
        module: The network that the weights are written to. One of rank 2 changes its number of channels alone. A Swin
            of volumes needs ``style="timm"`` for the weights of a picture's default.
        strategy: "mean" or "center".
        channels: "sum" the input channels where ``module`` has one, so that a gray image is seen as before; "keep"
            their number.
        axis: Which spatial axis is depth. Of RAS+ volumes, 0 stands for sagittal slices and 2 for axial ones.

    Returns:
        One line a weight: ``file_key``, ``module_key``, ``shape``, ``change``.

    Raises:
        ValueError: A weight is missing, is not used, or does not fit; all of them are named.

    Examples:
        >>> from sslmed import nn
        >>> flat = nn.DenseNet("resnet10", rank=2, in_chans=3)
        >>> table = nn.inflate(flat, nn.DenseNet("resnet10", rank=3, in_chans=1))
        >>> table.loc[0, ["module_key", "shape", "change"]].tolist()
        ['conv1.weight', [64, 1, 7, 7, 7], '3 channels summed; 7 copies along depth, each divided by 7']

    See Also:
        :class:`SliceNet`: The 2-D network itself, slice by slice.
    """
    choice("inflate", "strategy", strategy, ("mean", "center"))
    choice("inflate", "channels", channels, ("sum", "keep"))
    if axis not in (0, 1, 2):
        raise ValueError(f"inflate: axis={axis!r} must be 0, 1 or 2")
    given = dict(source.state_dict() if isinstance(source, torch.nn.Module) else source)
    wanted = module.state_dict()
    how = _How(strategy, channels, axis, source, module)
    rows: list[dict[str, Any]] = []
    made: dict[str, torch.Tensor] = {}
    problems = [f"{name} {list(w.shape)} of the 3-D network has no counterpart" for name, w in wanted.items() if name not in given]
    for name, weight in given.items():
        if name in wanted:
            try:
                made[name], change = _changed(name, weight.detach(), wanted[name], how)
            except ValueError as error:
                problems.append(f"{name}: {error}")
                continue
            rows.append({"file_key": name, "module_key": name, "shape": list(wanted[name].shape), "change": change})
        elif name.startswith(_HEADS):
            rows.append({"file_key": name, "module_key": "", "shape": list(weight.shape), "change": "left out: the module has no head"})
        else:
            problems.append(f"{name} {list(weight.shape)} is not used: the 3-D network has no such weight")
    if problems and _offsets_of(module) and ("norm.weight" in given) != ("norm.weight" in wanted):
        style = "timm" if "norm.weight" in given else "monai"
        problems.insert(0, f"the 2-D network is a Swin of another style: build the 3-D network with style={style!r}")
    if problems:
        raise ValueError(f"inflate: {'; '.join(problems)}")
    with torch.no_grad():
        for name, value in made.items():
            wanted[name].copy_(value)
    return pd.DataFrame(rows, columns=["file_key", "module_key", "shape", "change"])


@dataclass(frozen=True)
class _How:
    strategy: Strategy
    channels: str
    axis: int
    source: Any
    module: Any


def _changed(name: str, weight: torch.Tensor, target: torch.Tensor, how: _How) -> _Change:
    """A weight in the shape of the 3-D network's, and what was done to it."""
    if not bool(torch.isfinite(weight).all()):
        raise ValueError("has values that are not finite")
    rules: list[tuple[bool, Callable[[torch.Tensor, torch.Tensor, _How], _Change]]] = [
        (name.rpartition(".")[2] == _TABLE, _positions),
        (name.endswith(_BIAS), _relative),
        (name.endswith(_MERGE), _merged),
        (_MERGE_NORM in name, _merged_norm),
        (weight.dim() >= 4 and target.dim() >= 4, _kernel),
    ]
    for applies, rule in rules:
        if applies:
            return rule(weight, target, how)
    if weight.shape != target.shape:
        raise ValueError(f"has the shape {list(weight.shape)}, expected {list(target.shape)}")
    return weight, "as it is"


def _kernel(weight: torch.Tensor, target: torch.Tensor, how: _How) -> _Change:
    steps: list[str] = []
    if weight.shape[1] != target.shape[1]:
        if how.channels == "keep" or target.shape[1] != 1:
            text = f"has {weight.shape[1]} input channels and the 3-D network {target.shape[1]}"
            raise ValueError(f"{text}; channels='sum' needs a network with 1, channels='keep' equal numbers")
        steps.append(f"{weight.shape[1]} channels summed")
        weight = weight.sum(1, keepdim=True)
    if weight.dim() == target.dim():
        out = weight
    elif weight.dim() + 1 == target.dim():
        deep = int(target.shape[2 + how.axis])
        out = _along_depth(weight.unsqueeze(2), 2, deep, deep // 2, how.strategy).movedim(2, 2 + how.axis)
        if deep > 1:
            copies = f"{deep} copies along depth, each divided by {deep}"
            steps.append(copies if how.strategy == "mean" else f"in cell {deep // 2} of {deep} along depth, zeros elsewhere")
    else:
        raise ValueError(f"has {weight.dim() - 2} spatial axes and the 3-D network {target.dim() - 2}")
    if out.shape != target.shape:
        raise ValueError(f"has the shape {list(out.shape)} after all changes, expected {list(target.shape)}")
    return out, "; ".join(steps) or "as it is"


def _along_depth(weight: torch.Tensor, axis: int, deep: int, middle: int, strategy: Strategy) -> torch.Tensor:
    """A weight with one cell along an axis, spread over ``deep`` cells."""
    if strategy == "mean":
        return weight.repeat_interleave(deep, axis) / deep
    shape = list(weight.shape)
    shape[axis] = deep
    out = weight.new_zeros(shape)
    out.narrow(axis, middle, 1).copy_(weight)
    return out


def _positions(weight: torch.Tensor, target: torch.Tensor, how: _How) -> _Change:
    """A table [1, first + cells, D]: resampled over height and width, repeated along depth."""
    deep = grid_of(how.module)
    if deep is None:
        raise ValueError("is a table of positions, but the grid of the 3-D network is not known")
    first = int(target.shape[1]) - math.prod(deep)
    flat = grid_of(how.source)
    if flat is None:
        side = math.isqrt(int(weight.shape[1]) - first)
        if side * side != int(weight.shape[1]) - first:
            raise ValueError(f"has {int(weight.shape[1]) - first} cells, which are no square: give the network instead of its state_dict")
        flat = [side, side]
    if int(weight.shape[1]) - math.prod(flat) != first or weight.shape[2] != target.shape[2]:
        raise ValueError(f"has the shape {list(weight.shape)}, expected [1, {first} + {math.prod(flat)} cells, {target.shape[2]}]")
    plane = [side for number, side in enumerate(deep) if len(deep) == 2 or number != how.axis]
    table = C.resample_positions(weight, flat, plane, first)
    steps = [] if flat == plane else [f"positions {flat[0]}×{flat[1]} → {plane[0]}×{plane[1]}"]
    if len(deep) == 3:
        cells = table[0, first:].reshape(1, *plane, -1).repeat(deep[how.axis], 1, 1, 1).movedim(0, how.axis)
        table = torch.cat([table[:, :first], cells.reshape(1, -1, table.shape[2])], 1)
        steps.append(f"repeated {deep[how.axis]} times along depth")
    return table, "; ".join(steps) or "as it is"


def grid_of(module: Any) -> list[int] | None:
    """Cells along each axis of a vision transformer's table of positions; None where it is not known."""
    handle = getattr(module, "_handle", None)
    grid = C.position_grid(handle) if isinstance(handle, C.VisionTransformer) else []
    return list(grid) or None


def _relative(weight: torch.Tensor, target: torch.Tensor, how: _How) -> _Change:
    """Rows for every pair of offsets [(2w - 1)², heads], repeated for every offset along depth."""
    new, old = _offsets_of(how.module), _offsets_of(how.source)
    if new is None:
        raise ValueError("is a table of relative positions, but the windows of the 3-D network are not known")
    side = side_of(int(weight.shape[0]), 2)
    if old is None and side == 0:
        raise ValueError(f"has {weight.shape[0]} offsets, which are no square: give the network instead of its state_dict")
    old = old or [side, side]
    if len(old) != 2 or math.prod(old) != weight.shape[0] or weight.shape[1] != target.shape[1]:
        raise ValueError(f"has the shape {list(weight.shape)}, expected {[math.prod(old), int(target.shape[1])]}")
    plane = [extent for number, extent in enumerate(new) if len(new) == 2 or number != how.axis]
    table = weight if old == plane else resampled_offsets(weight, old, plane)
    steps = [] if old == plane else [f"offsets {old[0]}×{old[1]} → {plane[0]}×{plane[1]}"]
    if len(new) == 3:
        deep = new[how.axis]
        table = table.reshape(1, *plane, -1).repeat(deep, 1, 1, 1).movedim(0, how.axis).reshape(target.shape)
        steps.append(f"repeated {deep} times along depth")
    return table, "; ".join(steps) or "as it is"


def _offsets_of(module: Any) -> list[int] | None:
    """Number of offsets (2 * window - 1) along each axis of a Swin; None where it is not known."""
    family, offsets = module.layout_facts() if isinstance(module, Mirror) else ("", ())
    return list(offsets) if family == "swin" else None


def _merged(weight: torch.Tensor, target: torch.Tensor, how: _How) -> _Change:
    """The matrix behind merged cells, [2C, 4C] of 2 × 2 cells to [2C, 8C] of 2 × 2 × 2."""
    if weight.shape == target.shape:
        return weight, "as it is"
    cells, second = _neighbors(weight, target, how)
    blocks = weight.view(weight.shape[0], 4, -1)[:, cells]
    if how.strategy == "mean":
        return (blocks / 2).flatten(1), "merged cells along depth: half of the weights each"
    return (blocks * second.view(1, 8, 1).to(blocks)).flatten(1), "merged cells along depth: the second one"


def _merged_norm(weight: torch.Tensor, target: torch.Tensor, how: _How) -> _Change:
    if weight.shape == target.shape:
        return weight, "as it is"
    cells, _ = _neighbors(weight, target, how)
    return weight.view(4, -1)[cells].flatten(), "repeated along depth"


def _neighbors(weight: torch.Tensor, target: torch.Tensor, how: _How) -> tuple[torch.Tensor, torch.Tensor]:
    """For each of the eight merged cells its number among the four of a picture, and whether it is the second in depth."""
    if 2 * weight.shape[-1] != target.shape[-1]:
        raise ValueError(f"has the shape {list(weight.shape)}, expected half of the columns of {list(target.shape)}")
    options = getattr(how.module, "config", {})
    order = options.get("merging", options.get("style", "monai"))
    if order not in _ORDERS:
        raise ValueError(f"cannot be merged in the order merging={order!r}: expected one of {', '.join(_ORDERS)}")
    cells, second = [], []
    for cell in _ORDERS[order]:
        places = [int(bit) for bit in cell]
        second.append(bool(places.pop(how.axis)))
        cells.append(places[0] + 2 * places[1])  # pictures join the first axis fastest
    return torch.tensor(cells), torch.tensor(second)


# Order of the eight neighbors that are merged, each as its place along the three axes.
_ORDERS = {
    "timm": ("000", "100", "010", "110", "001", "101", "011", "111"),
    "monai": ("000", "100", "010", "001", "110", "101", "011", "111"),
    "mergingv2": ("000", "001", "010", "011", "100", "101", "110", "111"),
}
