"""The result of :func:`sslmed.slide_level`: scores, predictions, and where each network looked."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sslmed import io
from sslmed._world import own_settings
from sslmed.bags.fitting import Bags, Fitted, loader_of
from sslmed.evaluation import TransferResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FoldNetwork", "SlideLevelResult"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class FoldNetwork:
    """A network of one fold of the first draw, and the people whom it has not seen."""

    fitted: Fitted
    tested: frozenset[str]
    """Subjects of the test part."""
    chosen_by: frozenset[str]
    """Subjects of the training part by whom the epoch was chosen."""


@dataclass(repr=False)
class SlideLevelResult:
    """Scores of an aggregator over slides (:func:`sslmed.slide_level`)."""

    table: pd.DataFrame
    """One line a row and metric: row, metric, value, low, high (95 %), n_subjects, sd_folds."""
    predictions: pd.DataFrame
    """Out-of-fold predictions, as those of :class:`sslmed.TransferResult`; for survival row, subject, fold, time, event, risk."""
    comparisons: pd.DataFrame
    """The aggregator against mean pooling: row, against, metric, difference, low, high, p."""
    target: str
    """Column that was predicted."""
    aggregator: str
    """Name of the aggregator."""
    fusion: str
    """How slides of a patient came together: "early", "late" or "none"."""
    networks: list[FoldNetwork] = field(default_factory=list)
    """Networks of the first draw of folds."""
    bags: Bags | None = None
    """The slides that were scored."""
    owner: dict[str, str] = field(default_factory=dict)
    """Subject of each slide."""
    evaluation: TransferResult | None = None
    """The same scores with all that a transfer result does (figures, verdict, reports); None for survival."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Options of the call."""

    def __repr__(self) -> str:
        return f"<SlideLevelResult {self.target}, {self.aggregator}, fusion={self.fusion!r}>\n{self.table.to_string(index=False)}"

    @property
    def history(self) -> pd.DataFrame:
        """One line a fold (of the first draw) and epoch: fold, epoch, loss, validation, best."""
        parts = [pd.DataFrame(network.fitted.history).assign(fold=number) for number, network in enumerate(self.networks)]
        return pd.concat(parts, ignore_index=True)[["fold", "epoch", "loss", "validation", "best"]]

    @own_settings()
    def attention(self, slide: str) -> pd.DataFrame:
        """What the network attends to on a slide of a patient whom it has not seen in training.

        Args:
            slide: Name of the slide in the store.

        Returns:
            One line a tile: x, y (top left corner in pixels of level 0), attention (sums to one over the slide) and
            percentile (0 to 100, its rank on the slide); with an attention for each class, columns attention_0 … and the
            percentile of their mean. With aggregator="mean" all tiles have the same.

        Raises:
            ValueError: The slide is not one of those that were scored.
        """
        network = self._network(slide)
        assert self.bags is not None
        one = Bags(self.bags.store, [[slide]], [self.owner[slide]])
        batch = loader_of(one, batch_size=1, threads=1).next()
        assert batch is not None
        view = batch.views[0]
        assert view.grid is not None
        device = next(network.fitted.task.parameters()).device
        _, attention = network.fitted.task(view.values.to(device), view.lengths, view.grid.to(device), view.extents)
        weights = attention.detach().cpu().double().numpy()
        coords = self.bags.store.read(slide).coords.numpy()
        out = pd.DataFrame({"x": coords[:, 0], "y": coords[:, 1]})
        if weights.shape[1] == 1:
            out["attention"] = weights[:, 0]
        else:
            for c in range(weights.shape[1]):
                out[f"attention_{c}"] = weights[:, c]
        out["percentile"] = pd.Series(weights.mean(axis=1)).rank(pct=True).to_numpy() * 100
        return out

    def heatmap(self, slide: str, path: str | os.PathLike[str] | None = None, *, image: str | os.PathLike[str] | None = None, max_size: int = 1024) -> Figure:
        """Draws the attention of a slide over its thumbnail.

        Args:
            slide: Name of the slide in the store.
            path: Picture to write (.png, .svg …); None: none is written.
            image: File of the slide, whose thumbnail lies beneath; None: tiles alone are drawn.
            max_size: Longer side of the thumbnail in pixels.

        Returns:
            The figure.

        Raises:
            ValueError: The slide is not one of those that were scored.
            FormatError, ReadError: ``image`` cannot be read.
        """
        from matplotlib.collections import PatchCollection
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle

        tiles = self.attention(slide)
        assert self.bags is not None
        side = self.bags.store.read(slide).tile
        figure = Figure(figsize=(8, 6), layout="constrained")
        axes = figure.add_subplot()
        right, low = float(tiles["x"].max() + side), float(tiles["y"].max() + side)
        if image is not None:
            opened = io.open_slide(image)
            right, low = (float(v) for v in opened.dimensions)
            axes.imshow(np.asarray(opened.thumbnail(max_size)), extent=(0.0, right, low, 0.0))
        squares = [Rectangle((x, y), side, side) for x, y in zip(tiles["x"], tiles["y"], strict=True)]
        drawn = PatchCollection(squares, cmap="magma", alpha=0.55 if image is not None else 1.0, linewidths=0)
        drawn.set_array(tiles["percentile"].to_numpy())
        drawn.set_clim(0, 100)
        axes.add_collection(drawn)
        axes.set(xlim=(0, right), ylim=(low, 0), aspect="equal", xlabel="x (px of level 0)", ylabel="y (px of level 0)", title=slide)
        figure.colorbar(drawn, label="attention, percentile on the slide")
        if path is not None:
            figure.savefig(os.fspath(path), dpi=120)
        return figure

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the table as CSV.

        Args:
            path: File (.csv).
        """
        self.table.to_csv(path, index=False)

    def _network(self, slide: str) -> FoldNetwork:
        if slide not in self.owner:
            raise ValueError(f"attention: slide={slide!r} is not one of the {len(self.owner)} that were scored")
        for network in self.networks:
            if self.owner[slide] in network.tested:
                return network
        raise ValueError(f"attention: slide={slide!r}: no fold of the first draw tests subject {self.owner[slide]!r}")
