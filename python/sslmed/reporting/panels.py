"""Figures that compare several encoders. They need no display; every function returns what it drew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sslmed.reporting.escape import plot_text

__all__ = ["COLORS", "plot_map", "plot_matrix", "plot_shots", "plot_side_by_side"]

Array = np.ndarray[Any, Any]

COLORS = ("#3b6ea5", "#d1603d", "#4f9d69", "#8d6cab", "#c2a13a", "#4aa3b5", "#b5557b", "#7a7a7a", "#9bb53b", "#5b4a3b")
_KINDS = {"encoder": "#d1603d", "random": "#3b6ea5", "classical": "#4f9d69", "dummy": "#7a7a7a"}
_CHANCE = {"auroc": 0.5, "r2": 0.0, "r": 0.0}
_LABELS = {
    "balanced_accuracy": "balanced accuracy", "auroc": "AUROC", "mae": "mean absolute error", "dice": "Dice",
    "map": "mean average precision", "robustness_index": "robustness index", "c_index": "C-index",
}  # fmt: skip


def label_of(metric: str) -> str:
    """A score's name as figures and pages show it."""
    return _LABELS.get(metric, metric.replace("_", " "))


def plot_side_by_side(table: pd.DataFrame, metric: str) -> Figure:
    """Draws every row with its interval, a panel a protocol.

    Args:
        table: Lines of one task and metric: protocol, row, kind, value, low, high.
        metric: Metric that they are of, for the label of the axis.

    Examples:
        >>> import pandas as pd
        >>> from sslmed.reporting.panels import plot_side_by_side
        >>> line = {"protocol": "knn", "row": "a", "kind": "encoder", "value": 0.7, "low": 0.6, "high": 0.8}
        >>> len(plot_side_by_side(pd.DataFrame([line]), "auroc").axes)
        1
    """
    panels = list(dict.fromkeys(table["protocol"])) or ["none"]
    tallest = max((int((table["protocol"] == name).sum()) for name in panels), default=1)
    figure = Figure(figsize=(1.6 + 3.1 * len(panels), 0.34 * tallest + 1.1), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(panels), sharex=True))
    for ax, name in zip(axes, panels, strict=True):
        lines = table[table["protocol"] == name]
        y = np.arange(len(lines))[::-1]
        for place, line in zip(y, lines.itertuples(), strict=True):
            color = _KINDS.get(str(line.kind), COLORS[7])
            ax.plot([line.low, line.high], [place, place], color=color, lw=2.2, solid_capstyle="round")
            ax.plot(line.value, place, "o", color=color, mfc="white" if line.kind == "random" else color, ms=6)
        if metric in _CHANCE:
            ax.axvline(_CHANCE[metric], color="gray", lw=1, ls=":")
        ax.set_yticks(y, [plot_text(row) for row in lines["row"]])
        ax.set_ylim(-0.7, max(tallest, 1) - 0.3)
        ax.set_title(plot_text(name), fontsize=10)
        ax.set_xlabel(plot_text(label_of(metric)))
        _bare(ax)
    return figure


def plot_shots(table: pd.DataFrame, metric: str, ax: Axes | None = None) -> Axes:
    """Draws few-shot curves.

    Args:
        table: Lines of one task and metric: row, kind, shots, value, low, high.
        metric: Metric that they are of.
        ax: Axes to draw on; new ones by default.
    """
    if ax is None:
        ax = Figure(figsize=(5.4, 3.4), layout="constrained").subplots()
    names = list(dict.fromkeys(table["row"]))
    for i, name in enumerate(names):
        lines = table[table["row"] == name]
        color = COLORS[i % len(COLORS)]
        dashed = str(lines["kind"].iloc[0]) == "random"
        ax.plot(lines["shots"], lines["value"], marker="o", ms=4, color=color, ls="--" if dashed else "-")
        ax.fill_between(lines["shots"], lines["low"], lines["high"], color=color, alpha=0.08, lw=0)
    shots = sorted(set(table["shots"]))
    ax.set_xscale("log", base=2)
    ax.set_xticks(shots, [str(k) for k in shots])
    ax.minorticks_off()
    ax.set_xlabel("people of each class to learn from")
    ax.set_ylabel(plot_text(label_of(metric)))
    legend = ax.legend(ax.get_lines(), [str(i) for i in range(len(names))], frameon=False, fontsize="small")
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(plot_text(name))
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def plot_matrix(table: pd.DataFrame, label: str, ax: Axes | None = None) -> Axes:
    """Draws a square table of numbers between 0 and 1.

    Args:
        table: Square, by name.
        label: What the numbers are.
        ax: Axes to draw on; new ones by default.
    """
    n = len(table)
    if ax is None:
        ax = Figure(figsize=(1.8 + 0.75 * n, 1.2 + 0.6 * n), layout="constrained").subplots()
    values = table.to_numpy(float)
    ax.imshow(values, vmin=0, vmax=1, cmap="Blues")
    for i in range(n):
        for j in range(n):
            color = "white" if values[i, j] > 0.6 else "#222"
            ax.text(j, i, f"{values[i, j]:.2f}", ha="center", va="center", color=color)
    names = [plot_text(name) for name in table.index]
    ax.set_xticks(range(n), names, rotation=30, ha="right")
    ax.set_yticks(range(n), names)
    ax.set_title(plot_text(label), fontsize=10)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return ax


def plot_map(points: Mapping[str, Array], columns: pd.DataFrame) -> Figure:
    """Draws people in the plane, a row an encoder and a panel a column that colors them.

    Args:
        points: [n, 2] places by encoder.
        columns: Columns to color by [n rows]: numbers by a scale, other values by color (the ten most frequent ones).

    Examples:
        >>> import numpy as np, pandas as pd
        >>> from sslmed.reporting.panels import plot_map
        >>> figure = plot_map({"a": np.zeros((4, 2))}, pd.DataFrame({"sex": list("FMFM"), "age": [1.5, 2, 3, None]}))
        >>> len(figure.axes) >= 2
        True
    """
    names, shown = list(points), list(columns.columns)
    figure = Figure(figsize=(0.6 + 3.0 * max(len(shown), 1), 0.5 + 2.7 * max(len(names), 1)), layout="constrained")
    grid = figure.subplots(max(len(names), 1), max(len(shown), 1), squeeze=False)
    for i, name in enumerate(names):
        for j, column in enumerate(shown):
            ax = grid[i][j]
            _scatter(figure, ax, points[name], columns[column], legend=i == 0)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_color("#ccc")
            if i == 0:
                ax.set_title(plot_text(column), fontsize=10)
            if j == 0:
                ax.set_ylabel(plot_text(name))
    return figure


def _scatter(figure: Figure, ax: Axes, places: Array, values: pd.Series[Any], *, legend: bool) -> None:
    known = values.notna().to_numpy()
    ax.scatter(places[~known, 0], places[~known, 1], s=10, color="#dddddd", lw=0)
    numeric = pd.api.types.is_numeric_dtype(values) and values.nunique() > len(COLORS)
    if numeric:
        shades = values[known].to_numpy(float)
        drawn = ax.scatter(places[known, 0], places[known, 1], s=12, c=shades, cmap="viridis", lw=0)
        if legend:
            figure.colorbar(drawn, ax=ax, shrink=0.7)
        return
    texts = values[known].astype(str)
    frequent = list(texts.value_counts().index[: len(COLORS)])
    for number, value in enumerate(frequent):
        rows = np.flatnonzero(known)[(texts == value).to_numpy()]
        ax.scatter(places[rows, 0], places[rows, 1], s=12, color=COLORS[number], alpha=0.8, lw=0, label=str(number))
    rest = np.flatnonzero(known)[(~texts.isin(frequent)).to_numpy()]
    ax.scatter(places[rest, 0], places[rest, 1], s=12, color="#dddddd", lw=0)
    if legend and frequent:
        for text, value in zip(ax.legend(frameon=False, fontsize="x-small").get_texts(), frequent, strict=True):
            text.set_text(plot_text(value))


def _bare(ax: Axes) -> None:
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#eeeeee", lw=0.8)
    ax.set_axisbelow(True)
