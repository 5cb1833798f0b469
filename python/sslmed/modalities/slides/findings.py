"""What looks wrong with a slide when it is indexed: its scale, its background, no tissue. Each is a sentence with what
to try."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch

from sslmed._core import ValueWarning
from sslmed.transforms import tissue

__all__ = ["LEAST", "MOST", "of_index", "of_scale", "of_tissue", "told"]

LEAST, MOST = 0.01, 100.0
"""µm per pixel of level 0 that :func:`sslmed.io.open_slide` takes."""


_FINEST, _COARSEST = 0.05, 10.0  # µm per pixel of level 0: lenses of 200x and 1x
_LONGEST = 160.0  # mm: the largest glass in use is 152 mm long
_RATIO = 1.1  # of the scales of both sides
_DARK = 80  # luminance (0-255) that most of a slide of transmitted light exceeds
_GRAY = 12  # saturation (0-255) that no pixel of a gray slide exceeds, but for JPEG's noise
_FEW = 0.005  # share of cells with tissue below which other options are tried

_TRIES: tuple[dict[str, Any], ...] = (
    {"sharpness": 0.0},
    {"method": "luminance"},
    {"method": "luminance", "sharpness": 0.0},
    {"pen": False},
    {"median": 1, "least": 4},
)


def of_scale(width: int, height: int, mpp: tuple[float, float]) -> str:
    """What is implausible about a slide's size and µm per pixel of level 0; "" where nothing is."""
    x, y = mpp
    longest = max(width * x, height * y) / 1000
    if longest > _LONGEST:
        found = f"would be {longest:.0f} mm long, glass is at most {_LONGEST:.0f} mm"
    elif max(x, y) > _COARSEST or min(x, y) < _FINEST:
        found = f"expected {_FINEST:g} to {_COARSEST:g}"
    elif max(x, y) > _RATIO * min(x, y):
        found = "expected about the same in x and y"
    else:
        return ""
    return f"implausible scale: {x:.4g} x {y:.4g} µm per pixel of level 0, {found}; give the right one in a column mpp of the table"


def of_index(table: pd.DataFrame, name: str) -> None:
    """Whether the scales of an index, which anybody may have changed, can be true.

    Raises:
        ValueError: A scale is none.

    Warns:
        ValueWarning: A scale is implausible, and was not told when the slide was indexed.
    """
    mpp = table[["mpp_x", "mpp_y"]].to_numpy(np.float64)
    bad = ~((mpp >= LEAST) & (mpp <= MOST)).all(axis=1)
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"{name}: {table['path'].iloc[row]}: mpp_x={mpp[row, 0]:g} and mpp_y={mpp[row, 1]:g} in row {row} of the index, expected µm per pixel of level 0 "
            f"within [{LEAST:g}, {MOST:g}], such as 0.25; so it is with {int(bad.sum())} of {len(table)} slides. Index them again, with the right scale in a "
            "column mpp"
        )
    longest = (table[["width", "height"]].to_numpy(np.float64) * mpp).max(axis=1) / 1000
    odd = (longest > _LONGEST) | (mpp.max(axis=1) > _COARSEST) | (mpp.min(axis=1) < _FINEST) | (mpp.max(axis=1) > _RATIO * mpp.min(axis=1))
    if "index_note" in table:
        odd &= ~table["index_note"].astype(str).str.startswith("implausible scale").to_numpy(bool)
    if odd.any():
        row = int(odd.argmax())
        found = of_scale(int(table["width"].iloc[row]), int(table["height"].iloc[row]), (mpp[row, 0], mpp[row, 1]))
        warnings.warn(f"{name}: {int(odd.sum())} of {len(table)} slides of the index: {found} ({table['path'].iloc[row]})", ValueWarning, stacklevel=4)


def of_tissue(rgb: torch.Tensor, cells: torch.Tensor, options: Mapping[str, Any]) -> str:
    """Why little or no tissue was found in a slide's picture; "" where there is enough.

    Args:
        rgb: [H, W, 3] uint8, what tissue was looked for in.
        cells: [rows, columns] bool, where it was found.
        options: Options of :func:`sslmed.transforms.tissue.mask` that it was found with.
    """
    light = rgb.float().mean(2)
    share = float(cells.float().mean())
    if float(light.median()) < _DARK:
        return "dark background: as of fluorescence, for which the tissue mask is not made; give annotations=, or leave the slide out"
    if share >= _FEW:
        return ""
    what = "no tissue found" if share == 0 else "next to no tissue found"
    spread = rgb.amax(2).float() - rgb.amin(2).float()
    if float(torch.quantile(spread.flatten()[:: max(1, spread.numel() // 100_000)], 0.999)) <= _GRAY and float(light.amin()) < 200:
        found = float(tissue.mask(rgb, **{**options, "method": "luminance"}).float().mean())
        if found > 0:
            return f"{what}: the slide is gray; try method='luminance'"
    before = float(tissue.mask(rgb, **options).float().mean()) if share > 0 else 0.0
    for change in _TRIES:
        if {**options, **change} != dict(options) and float(tissue.mask(rgb, **{**options, **change}).float().mean()) > max(2 * before, 0.0005):
            tried = ", ".join(f"{name}={value!r}" for name, value in change.items())
            return f"{what}: a pale, blurred or sparse slide; {tried} finds more, or give annotations="
    return f"{what}: the slide looks blank; leave it out, or give annotations="


def told(table: pd.DataFrame, name: str) -> None:
    """Warns of the findings of an index, each kind once with its count.

    Warns:
        ValueWarning: Something looks wrong with slides of the index.
    """
    notes = table["index_note"][table["index_note"] != ""]
    for _, own in notes.groupby(notes.str.replace(r"[\d.]+", "", regex=True), sort=False):  # alike but for their numbers
        first = own.index[0]
        text = f"{name}: {len(own)} of {len(table)} slides: {own.iloc[0]} ({table['path'].loc[first]}{', …' if len(own) > 1 else ''})"
        warnings.warn(text, ValueWarning, stacklevel=5)
