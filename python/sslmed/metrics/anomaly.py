"""Anomaly maps against masks of the truth: the area under the per-region overlap curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from scipy.integrate import trapezoid

from sslmed._checks import number
from sslmed._core import Array, C, tensor
from sslmed.metrics.inputs import Score, Spacing, cell_size, known_convention, label_map

__all__ = ["aupro"]

AuproConvention: TypeAlias = Literal["anomalib", "mvtec"]

AUPRO = {
    "anomalib": "no region, or no cell outside of regions: NaN",
    "mvtec": "no region, or no cell outside of regions: NaN",
}

Values: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


def aupro(
    prediction: Array | Sequence[Array],
    reference: Array | Sequence[Array],
    spacing: Spacing = None,
    convention: AuproConvention = "anomalib",
    *,
    fpr_limit: float = 0.3,
) -> Score:
    """Computes the area under the per-region overlap curve (PRO; Bergmann et al., IJCV 2021) up to a false positive rate.

    Each connected region of the truth counts the same, large or small. Regions touch at faces, edges or corners.

    - ``"mvtec"``: the mean share of each region that is above a threshold, against the share of all other cells
      that are; the area up to ``fpr_limit``, divided by it.
    - ``"anomalib"``: each region's own curve, of its cells and the background alone, is resampled by the number of its
      point to as many points as the curve of all cells has; the area under their mean, divided by its last false
      positive rate. Thresholds are exact, as with ``num_thresholds=None``.

    Args:
        prediction: Anomaly scores, floating [H, W] or [D, H, W], higher is more anomalous; of several images a list.
        reference: Mask of the truth, bool or whole numbers, of the same shape; of several images a list.
        spacing: Not used: shares of cells need no size. Checked only.
        convention: Library whose definition is used.
        fpr_limit: Largest false positive rate, in (0, 1].

    Returns:
        The area, with ``fpr`` and ``tpr``, the curve, and ``regions``, their number, as attributes.

    Raises:
        TypeError: A reference that is not an array of whole numbers.
        ValueError: Shapes that differ, scores that are not finite, or an unknown convention, fpr_limit or spacing.

    Examples:
        >>> import numpy as np
        >>> from sslmed.metrics import aupro
        >>> true = np.zeros((16, 16), bool)
        >>> true[2:4, 2:4], true[8:14, 8:14] = True, True
        >>> scores = true + np.linspace(0, 0.5, 256).reshape(16, 16)
        >>> score = aupro(scores, true, convention="mvtec")
        >>> round(score, 3), score.regions, round(aupro(scores, true), 3)  # anomalib's curve starts at 0 all the same
        (1.0, 2, 0.967)
    """
    known_convention("aupro", convention, AUPRO)
    number("aupro", "fpr_limit", fpr_limit, 0, 1, strict=True)
    scores, regions = _cells(prediction, reference, spacing)
    count = int(regions.max(initial=0))
    if count == 0 or not (regions == 0).any():
        return Score(math.nan, fpr=np.zeros(0), tpr=np.zeros(0), regions=count)
    fpr, tpr = (_region_curve if convention == "anomalib" else _overlap_curve)(scores, regions, float(fpr_limit))
    area = float(trapezoid(tpr, fpr))
    return Score(area / float(fpr[-1]) if fpr[-1] > 0 else math.nan, fpr=fpr, tpr=tpr, regions=count)


def _region_curve(scores: Values, regions: Values, limit: float) -> tuple[Values, Values]:
    fpr, tpr = C.region_curve(torch.from_numpy(scores), torch.from_numpy(regions), limit)
    return fpr.numpy(), tpr.numpy()


def _overlap_curve(scores: Values, regions: Values, limit: float) -> tuple[Values, Values]:
    """False positive rate and mean overlap after each group of equal scores, up to the limit, interpolated there."""
    sizes = np.bincount(regions)
    order = np.argsort(-scores, kind="stable")
    sorted_scores, sorted_regions = scores[order], regions[order]
    share = 1 / (sizes * (len(sizes) - 1))
    share[0] = 0
    last = np.flatnonzero(np.append(np.diff(sorted_scores) != 0, True))
    fpr = np.append(0.0, np.cumsum(sorted_regions == 0)[last] / sizes[0])
    tpr = np.append(0.0, np.cumsum(share[sorted_regions])[last])
    stop = int(np.searchsorted(fpr, limit, side="right"))
    if fpr[stop - 1] == limit:
        return fpr[:stop], tpr[:stop]
    height = np.interp(limit, fpr[stop - 1 : stop + 1], tpr[stop - 1 : stop + 1])
    return np.append(fpr[:stop], limit), np.append(tpr[:stop], height)


def _cells(prediction: Any, reference: Any, spacing: Spacing) -> tuple[Values, Values]:
    """Scores and numbers of regions of all cells of all images."""
    several = isinstance(prediction, (list, tuple))
    if several != isinstance(reference, (list, tuple)):
        raise ValueError("aupro: prediction and reference must both be one image, or lists of images")
    ours, theirs = (prediction, reference) if several else ([prediction], [reference])
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"aupro: prediction has {len(ours)} images and reference {len(theirs)}")
    scores, regions, count = [], [], 0
    for p, r in zip(ours, theirs, strict=True):
        mask = label_map("aupro", "reference", r)
        cell_size("aupro", spacing, mask.ndim)
        values = tensor(p).detach().cpu().double() if isinstance(p, (np.ndarray, torch.Tensor)) else None
        if values is None or values.shape != mask.shape:
            raise ValueError(f"aupro: prediction must be scores of the shape of the reference, {list(mask.shape)}")
        if not bool(torch.isfinite(values).all()):
            raise ValueError("aupro: prediction has scores that are not finite")
        numbers = C.connected_components(mask, 3)
        regions.append(torch.where(numbers > 0, numbers + count, 0).numpy().reshape(-1))
        count += int(numbers.max())
        scores.append(values.numpy().reshape(-1))
    return np.concatenate(scores), np.concatenate(regions).astype(np.int32)
