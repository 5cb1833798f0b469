"""Tensors of a file in the shapes of a module: joined, resampled, with fewer channels or one axis more."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from sslmed._core import C
from sslmed.nn.layouts.base import Entry, Facts
from sslmed.nn.layouts.offsets import resampled_offsets, side_of

__all__ = ["adapted"]

_Made = dict[str, torch.Tensor]
_Changes = dict[str, str]


def adapted(where: str, entries: Sequence[Entry], source: Mapping[str, torch.Tensor], facts: Facts, inflate: str | None) -> tuple[_Made, _Changes]:
    """Values of the module's tensors by name, and what was done to those that are not as in the file.

    Raises:
        ValueError: Shapes do not fit; the message names all that do not.
    """
    made: _Made = {}
    changes: _Changes = {}
    wrong: list[str] = []
    for entry in entries:
        joined, notes = _joined(entry, source, facts.shapes[entry.module], wrong)
        if joined is None:
            continue
        value = joined
        value = _fitted(value, entry, facts, inflate, notes)
        made[entry.module] = value
        changes[entry.module] = ", ".join(notes)
    positions = next((entry for entry in entries if entry.role == "positions" and entry.module in made), None)
    if positions is not None and made[positions.module].dim() == 3:
        # A file of pictures has a table of two axes, also where that has as many cells as the module's of three.
        axes = len(facts.grid) - any("inflated" in change for change in changes.values())
        _place(positions.module, made, changes, facts, axes)
    for entry in entries:
        found = made.get(entry.module)
        if found is not None and tuple(found.shape) != facts.shapes[entry.module]:
            label = " + ".join(entry.file)
            wrong.append(f"{label} {[list(source[name].shape) for name in entry.file if name in source]} for {entry.module} {list(facts.shapes[entry.module])}")
    if wrong:
        more = f" and {len(wrong) - 6} more" if len(wrong) > 6 else ""
        raise ValueError(f"{where}: {len(wrong)} tensors have another shape than the encoder's: {'; '.join(wrong[:6])}{more}")
    return made, changes


def _joined(entry: Entry, source: Mapping[str, torch.Tensor], shape: tuple[int, ...], wrong: list[str]) -> tuple[torch.Tensor | None, list[str]]:
    notes: list[str] = []
    absent = [name for name in entry.file if name not in source]
    present = [source[name] for name in entry.file if name in source]
    if not present:
        return torch.zeros(shape), ["zeros: the file has none"]
    parts = [source[name] if name in source else torch.zeros_like(present[0]) for name in entry.file]
    if any(part.shape[1:] != parts[0].shape[1:] for part in parts) or (len(parts) > 1 and parts[0].dim() == 0):
        wrong.append(" + ".join(f"{name} {list(part.shape)}" for name, part in zip(entry.file, parts, strict=True)))
        return None, []
    if len(parts) > 1:
        notes.append("q, k, v joined" if len(parts) == 3 else "gate and value joined")
    if absent:
        notes.append(f"zeros for {', '.join(absent)}")
    value = torch.cat([part.to(parts[0].dtype) for part in parts]) if len(parts) > 1 else parts[0]
    if entry.as_module is not None:
        value = entry.as_module(value)
        notes.append(entry.change)
    return value, notes


def _fitted(value: torch.Tensor, entry: Entry, facts: Facts, inflate: str | None, notes: list[str]) -> torch.Tensor:
    shape = facts.shapes[entry.module]
    if tuple(value.shape) == shape:
        return value
    if entry.role == "relative" and value.dim() == 2 and value.shape[1] == shape[1]:
        notes.append(f"relative positions {value.shape[0]} → {shape[0]}")
        return torch.nn.functional.interpolate(value.double().t()[None], shape[0], mode="linear")[0].t()
    if entry.role == "offsets" and value.dim() == 2 and value.shape[1] == shape[1]:
        side = side_of(int(value.shape[0]), len(facts.grid))
        if side == 0:
            return value  # the shape is refused with the others
        old = [side] * len(facts.grid)
        notes.append(f"offsets {'×'.join(map(str, old))} → {'×'.join(map(str, facts.grid))}")
        return resampled_offsets(value, old, facts.grid)
    if entry.role == "positions" and value.dim() >= 4 and value.shape[-1] == shape[-1]:
        return _map(value, facts, inflate, notes)
    if entry.role == "input" and value.dim() >= 3 and value.shape[1] == 3 and shape[1] == 1:
        value = value.sum(1, keepdim=True)
        notes.append("RGB summed to 1 channel")
    return _inflated(value, shape, inflate, notes) if value.dim() >= 4 and entry.role != "positions" else value


def _map(value: torch.Tensor, facts: Facts, inflate: str | None, notes: list[str]) -> torch.Tensor:
    """A position table [1, spatial…, D] on the module's grid."""
    grid, old = list(facts.grid), list(value.shape[1:-1])
    if len(old) + 1 == len(grid) and inflate is not None:
        value = value.unsqueeze(1).expand(-1, grid[0], *value.shape[1:])
        old = [grid[0], *old]
        notes.append(f"positions repeated {grid[0]} times along the first axis")
    if len(old) != len(grid):
        return value
    if old != grid:
        notes.append(f"positions {'×'.join(map(str, old))} → {'×'.join(map(str, grid))}")
        value = C.resample_positions(value.reshape(1, -1, value.shape[-1]).double(), old, grid, 0)
    return value.reshape(1, *grid, -1)


def _inflated(value: torch.Tensor, shape: tuple[int, ...], inflate: str | None, notes: list[str]) -> torch.Tensor:
    """A kernel [D, C, h, w] over [D, C, depth, h, w]."""
    if inflate is None or value.dim() + 1 != len(shape):
        return value
    depth = shape[2]
    notes.append(f"inflated over {depth} cells of the first axis ({inflate})")
    if inflate == "mean":
        return value.unsqueeze(2).expand(*value.shape[:2], depth, *value.shape[2:]) / depth
    out = value.new_zeros(*value.shape[:2], depth, *value.shape[2:])
    out[:, :, depth // 2] = value
    return out


def _root(cells: int, rank: int) -> int:
    """n where cells is n to the power of rank, or 0."""
    n = round(cells ** (1 / rank)) if cells > 0 else 0
    return n if n > 0 and n**rank == cells else 0


def _place(name: str, made: _Made, changes: _Changes, facts: Facts, axes: int) -> None:
    """Brings a position table of a grid of ``axes`` onto the module's, its first rows to the class token and the registers."""
    table, grid = made[name], list(facts.grid)
    classes, registers = int("cls_token" in made), made["reg_token"].shape[1] if "reg_token" in made else 0
    rows, rank = table.shape[1], len(grid)
    cells = math.prod(grid) if axes == rank else 0  # of a table that is on this grid already
    prefixes = sorted({classes, 0, classes + registers}, key=lambda k: (rows - k != cells, k != classes, k != 0))
    first, side = next(((k, _root(rows - k, axes)) for k in prefixes if rows - k == cells or _root(rows - k, axes)), (-1, 0))
    if first < 0 or table.shape[2] != facts.shapes[name][2]:
        return  # the shape is refused with the others
    notes = []
    old = grid if rows - first == cells else [side] * axes
    if old == grid and side and old != [side] * axes:
        notes.append(f"positions taken as {'×'.join(map(str, grid))}, not as {'×'.join([str(side)] * axes)}")
    if len(old) < rank:
        part = table[:, first:]
        table = torch.cat([table[:, :first], part.repeat(1, grid[0], 1)], 1)
        old = [grid[0], *old]
        notes.append(f"positions repeated {grid[0]} times along the first axis")
    if old != grid:
        notes.append(f"positions {'×'.join(map(str, old))} → {'×'.join(map(str, grid))}")
        table = C.resample_positions(table.double(), old, grid, first)
    leading, table = table[:, :first], table[:, first:]
    if first > classes:
        made["reg_token"] = made["reg_token"] + leading[:, classes:].to(made["reg_token"])
        changes["reg_token"] = "their positions added"
    if classes:
        own = leading[:, :1] if first else torch.zeros_like(table[:, :1])
        if not first:
            notes.append("a row of zeros for the class token")
        table = torch.cat([own, table], 1)
    made[name] = table
    changes[name] = ", ".join(notes)
