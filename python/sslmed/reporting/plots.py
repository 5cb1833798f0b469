"""Figures of results. They need no display; every function returns what it drew."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sslmed.reporting.escape import plot_text

__all__ = ["plot_calibration", "plot_card", "plot_decision", "plot_history", "plot_learning", "plot_rows", "plot_shift"]

_CHANCE = {"auroc": 0.5, "r2": 0.0, "r": 0.0}
_COLORS = ("#3b6ea5", "#d1603d")
_LABELS = {
    "balanced_accuracy": "balanced accuracy",
    "auroc": "AUROC",
    "mae": "mean absolute error",
    "r2": "R²",
    "r": "r",
    "rank1": "rank-1 accuracy",
}


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    return Figure(figsize=size, layout="constrained").subplots() if ax is None else ax


def _need(where: str, name: str, table: pd.DataFrame, columns: tuple[str, ...]) -> None:
    if missing := [c for c in columns if c not in table]:
        raise ValueError(f"{where}: {name} must have the columns {', '.join(columns)}; {', '.join(missing)} is missing")


def plot_history(history: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draws the loss of a pretraining run over its steps, with a running mean.

    Args:
        history: History of a run, with the columns step and loss.
        ax: Axes to draw on; new ones by default.

    Raises:
        ValueError: A column is missing.
    """
    _need("plot_history", "history", history, ("step", "loss"))
    ax = _axes(ax, (6, 3))
    ax.plot(history["step"], history["loss"], color=_COLORS[0], alpha=0.3, lw=1)
    window = max(1, len(history) // 50)
    ax.plot(history["step"], history["loss"].rolling(window, min_periods=1).mean(), color=_COLORS[0], lw=2)
    ax.set_xlabel("step")
    ax.set_ylabel("loss")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def plot_rows(table: pd.DataFrame, metric: str, ax: Axes | None = None, *, interval: str = "95 % interval over people") -> Axes:
    """Draws each row of a result with its interval.

    Args:
        table: Lines of one metric: row, value, low, high.
        metric: Metric that they are of, for the label of the axis.
        ax: Axes to draw on; new ones by default.
        interval: What the lines are, for the label of the axis.

    Raises:
        ValueError: A column is missing.
    """
    _need("plot_rows", "table", table, ("row", "value", "low", "high"))
    ax = _axes(ax, (6, 0.45 * len(table) + 0.9))
    y = np.arange(len(table))[::-1]
    value, low, high = (table[c].to_numpy(float) for c in ("value", "low", "high"))
    colors = [_COLORS[1] if str(row).startswith("pretrained") else _COLORS[0] for row in table["row"]]
    for i in range(len(table)):
        ax.plot([low[i], high[i]], [y[i], y[i]], color=colors[i], lw=2)
        ax.plot(value[i], y[i], "o", color=colors[i])
    if metric in _CHANCE:
        ax.axvline(_CHANCE[metric], color="gray", lw=1, ls=":")
    ax.set_yticks(y, [plot_text(row) for row in table["row"]])
    ax.set_ylim(-0.6, len(table) - 0.4)
    ax.set_xlabel(plot_text(f"{_LABELS.get(metric, metric)} ({interval})"))
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return ax


def plot_card(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draws what an encoder's features tell, beside the untrained encoder and chance.

    Args:
        table: Lines of scores between 0 and 1: what, metric, value, low, high, chance, random.
        ax: Axes to draw on; new ones by default.

    Raises:
        ValueError: A column is missing.
    """
    _need("plot_card", "table", table, ("what", "metric", "value", "low", "high", "chance", "random"))
    ax = _axes(ax, (6, 0.4 * len(table) + 1.2))
    y = np.arange(len(table))[::-1]
    value, low, high, chance, random = (table[c].to_numpy(float) for c in ("value", "low", "high", "chance", "random"))
    for i in range(len(table)):
        ax.plot([low[i], high[i]], [y[i], y[i]], color=_COLORS[1], lw=2)
    ax.plot(value, y, "o", color=_COLORS[1], label="encoder")
    ax.plot(random, y, "o", color=_COLORS[0], mfc="white", label="untrained")
    ax.plot(chance, y, "|", color="gray", ms=12, label="chance")
    scores = zip(table["what"], table["metric"], strict=True)
    ax.set_yticks(y, [plot_text(f"{what}: {_LABELS.get(metric, metric)}") for what, metric in scores])
    ax.set_ylim(-0.6, max(len(table) - 0.4, 0.6))
    ax.set_xlabel("score (95 % interval over subjects)")
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return ax


def plot_shift(people: pd.DataFrame, embedding: pd.DataFrame | None = None) -> Figure:
    """Draws age and sex of two cohorts, and the first two components of their features.

    Args:
        people: One line a subject: cohort and, where they are known, age (years) and sex.
        embedding: One line a recording: pc1, pc2, cohort.

    Raises:
        ValueError: A column is missing.
    """
    _need("plot_shift", "people", people, ("cohort",))
    if embedding is not None:
        _need("plot_shift", "embedding", embedding, ("pc1", "pc2", "cohort"))
    panels = [c for c in ("age", "sex") if c in people and people[c].notna().any()]
    panels += ["features"] if embedding is not None else []
    figure = Figure(figsize=(3.6 * max(1, len(panels)), 3), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, max(1, len(panels))))
    names = list(dict.fromkeys(people["cohort"]))
    for ax, panel in zip(axes, panels, strict=False):
        for i, name in enumerate(names):
            rows = people[people["cohort"] == name]
            if panel == "age":
                edges = np.linspace(people["age"].min(), people["age"].max() + 1e-9, 16)
                ax.hist(rows["age"].dropna(), bins=edges, alpha=0.6, color=_COLORS[i % 2], label=f"cohort {i}")
            elif panel == "sex":
                share = [(rows["sex"] == s).mean() for s in ("F", "M")]
                ax.bar(np.arange(2) + 0.4 * i - 0.2, share, width=0.38, color=_COLORS[i % 2], label=f"cohort {i}")
            elif embedding is not None:
                points = embedding[embedding["cohort"] == name]
                ax.scatter(points["pc1"], points["pc2"], s=12, alpha=0.7, color=_COLORS[i % 2], label=f"cohort {i}")
        ax.set_xlabel({"age": "age (years)", "sex": "share of subjects by sex", "features": "features, component 1"}[panel])
        if panel == "sex":
            ax.set_xticks([0, 1], ["F", "M"])
        ax.spines[["top", "right"]].set_visible(False)
    # Labels that start with an underscore would be left out of a legend: names come afterwards.
    for text, name in zip(axes[0].legend(frameon=False, fontsize="small").get_texts(), names, strict=False):
        text.set_text(plot_text(name))
    return figure


def plot_learning(table: pd.DataFrame, metric: str, ax: Axes | None = None) -> Axes:
    """Draws a learning curve: scores, and what a law expects beyond them.

    Args:
        table: Lines of one metric: people, value, low, high, extrapolated.
        metric: Metric that they are of, for the label of the axis.
        ax: Axes to draw on; new ones by default.

    Raises:
        ValueError: A column is missing.
    """
    _need("plot_learning", "table", table, ("people", "value", "low", "high", "extrapolated"))
    ax = _axes(ax, (5, 3))
    beyond = table["extrapolated"].to_numpy(bool)
    n, value = table["people"].to_numpy(float), table["value"].to_numpy(float)
    ax.fill_between(n, table["low"].to_numpy(float), table["high"].to_numpy(float), color=_COLORS[0], alpha=0.15, lw=0)
    ax.plot(n[~beyond], value[~beyond], "o-", color=_COLORS[0], label="measured")
    last = max(int((~beyond).sum()) - 1, 0)
    ax.plot(n[last:], value[last:], "o--", color=_COLORS[0], mfc="white", label="expected by an inverse power law")
    ax.set_xlabel("training people")
    ax.set_ylabel(plot_text(_LABELS.get(metric, metric)))
    ax.legend(frameon=False, fontsize="small")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def plot_calibration(table: pd.DataFrame, label: str = "", ax: Axes | None = None) -> Axes:
    """Draws how often a class occurs against its predicted probability.

    Args:
        table: Lines of bins: predicted (mean probability), share (of people of the class), n.
        label: Name of the class.
        ax: Axes to draw on; new ones by default.

    Raises:
        ValueError: A column is missing.
    """
    _need("plot_calibration", "table", table, ("predicted", "share", "n"))
    ax = _axes(ax, (3.6, 3.4))
    n = table["n"].to_numpy(float)
    ax.plot([0, 1], [0, 1], color="gray", lw=1, ls=":")
    ax.plot(table["predicted"], table["share"], color=_COLORS[0], lw=1)
    ax.scatter(table["predicted"], table["share"], s=20 + 180 * n / max(n.sum(), 1), color=_COLORS[0])
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel(f"predicted probability{' of ' + plot_text(label) if label else ''}")
    ax.set_ylabel("share of people")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def plot_decision(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draws a decision curve: net benefit by the probability at which somebody is treated.

    Args:
        table: Lines of thresholds: threshold, model, treat_all, treat_none.
        ax: Axes to draw on; new ones by default.

    Raises:
        ValueError: A column is missing.
    """
    _need("plot_decision", "table", table, ("threshold", "model", "treat_all", "treat_none"))
    ax = _axes(ax, (4.6, 3.4))
    for column, color, style in (("model", _COLORS[1], "-"), ("treat_all", _COLORS[0], "-"), ("treat_none", "gray", ":")):
        ax.plot(table["threshold"], table[column], color=color, ls=style, label=column.replace("_", " "))
    top = max(float(table[["model", "treat_all"]].to_numpy().max()), 0.01)
    ax.set_ylim(-0.3 * top, 1.1 * top)
    ax.set_xlabel("threshold probability")
    ax.set_ylabel("net benefit")
    ax.legend(frameon=False, fontsize="small")
    ax.spines[["top", "right"]].set_visible(False)
    return ax
