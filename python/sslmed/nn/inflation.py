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

__all__ = ["inflate"]

Strategy = Literal["mean", "center"]
_Change = tuple[torch.Tensor, str]
_HEADS = ("fc.", "head.", "head_dist.")
_TABLE, _BIAS, _MERGE, _MERGE_NORM = "pos_embed", "relative_position_bias_table", "downsample.reduction.weight", "downsample.norm."


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
    - Tables of positions are resampled over height and width where grids differ, and repeated along depth.
    - Everything else keeps its shape.

    A "mean" network gives on a volume that is constant along depth what the 2-D network gives on its slice, away from
    the ends of depth, where padding is seen. A "center" network gives what the 2-D network gives on single slices, if
    nothing else mixes slices: no pooling over depth, and no attention between slices.

    Args:
        source: The 2-D network, or its ``state_dict``. Grids of tables are then square.
        module: The network that the weights are written to. One of rank 2 changes its number of channels alone.
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
    side, wide = math.isqrt(int(weight.shape[0])), round(int(target.shape[0]) ** (1 / 3))
    if side * side != int(weight.shape[0]) or wide**3 != int(target.shape[0]) or weight.shape[1] != target.shape[1]:
        raise ValueError(f"has the shape {list(weight.shape)}, which does not fit {list(target.shape)}: windows must be squares and cubes")
    plane = C.resample_positions(weight.unsqueeze(0), [side, side], [wide, wide], 0)[0]
    steps = [] if side == wide else [f"offsets {side}×{side} → {wide}×{wide}"]
    cube = plane.view(1, wide, wide, -1).repeat(wide, 1, 1, 1).movedim(0, how.axis)
    return cube.reshape(wide**3, -1), "; ".join([*steps, f"repeated {wide} times along depth"])


def _merged(weight: torch.Tensor, target: torch.Tensor, how: _How) -> _Change:
    """The matrix behind merged cells, [2C, 4C] of 2 × 2 cells to [2C, 8C] of 2 × 2 × 2, the first axis fastest."""
    _check_timm(weight, target, how)
    # Cells are width, then height, the fastest; among three axes the first one is the fastest.
    blocks = weight.view(weight.shape[0], 2, 2, 1, weight.shape[1] // 4)
    spread = _along_depth(blocks, 3, 2, 1, how.strategy).movedim(3, 3 - how.axis)
    return spread.reshape(weight.shape[0], -1), "merged cells along depth: " + ("half of the weights each" if how.strategy == "mean" else "the second one")


def _merged_norm(weight: torch.Tensor, target: torch.Tensor, how: _How) -> _Change:
    _check_timm(weight, target, how)
    return weight.view(2, 2, 1, -1).repeat(1, 1, 2, 1).movedim(2, 2 - how.axis).reshape(-1), "repeated along depth"


def _check_timm(weight: torch.Tensor, target: torch.Tensor, how: _How) -> None:
    if 2 * weight.shape[-1] != target.shape[-1]:
        raise ValueError(f"has the shape {list(weight.shape)}, expected half of the columns of {list(target.shape)}")
    options = getattr(how.module, "config", {})
    if options.get("style") != "timm" or options.get("merging", "timm") != "timm":
        raise ValueError("merges cells in timm's order: build the 3-D network with style='timm'")
