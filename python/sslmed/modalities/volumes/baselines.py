"""Classical features of prepared volumes: intensities, sizes of regions, and the volume itself, smoothed and small."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from sslmed._checks import number, whole
from sslmed.modalities.base import Array

__all__ = ["FEATURES", "QUANTILES", "Scan", "histogram", "mixture", "regions", "smoothed", "volume"]

QUANTILES = (0.01, 0.02, 0.05, *np.arange(0.1, 0.95, 0.05).round(2).tolist(), 0.95, 0.98, 0.99)
"""Shares of the mask's voxels that are below the intensities of :func:`histogram`."""

_BINS = 256  # of intensities, on which a mixture is fitted
_STEPS = 200
_CLOSE = 1e-7  # change of the mean log-likelihood at which a mixture has converged
_DARK = -2.5  # intensity outside the mask
_FWHM = 2.3548  # standard deviations of a Gaussian in its full width at half maximum


class Scan(NamedTuple):
    """A prepared volume, as the classical features take it."""

    values: Array
    """Intensities [X, Y, Z] float32, RAS+, z-scored inside the mask."""
    mask: Array
    """Which voxels are anatomy [X, Y, Z] bool."""
    spacing: tuple[float, float, float]
    """Size of a voxel in mm, by axis."""
    labels: Array | None = None
    """Number of each voxel's region [X, Y, Z], whole numbers, 0 for none; None where it is not known."""


def volume(scans: Sequence[Scan]) -> Array:
    """The volume of the mask alone, in ml: what the size of a head says of a person.

    Args:
        scans: n prepared volumes.

    Returns:
        [n, 1] float64.

    Raises:
        ValueError: A mask is empty, or shapes differ.

    Examples:
        >>> import numpy as np
        >>> from sslmed.modalities.volumes.baselines import Scan, volume
        >>> cube = np.ones((10, 10, 10), np.float32)
        >>> volume([Scan(cube, cube > 0, (2.0, 2.0, 2.0))]).tolist()
        [[8.0]]
    """
    _check("volume", scans)
    return np.array([[scan.mask.sum() * _ml(scan)] for scan in scans])


def histogram(scans: Sequence[Scan]) -> Array:
    """Intensities inside the mask at :data:`QUANTILES`, and the mask's volume in ml.

    Intensities are z-scored, so that only the shape of their distribution counts: contrast between tissues, their
    shares, lesions, noise.

    Args:
        scans: n prepared volumes.

    Returns:
        [n, len(QUANTILES) + 1] float64.

    Raises:
        ValueError: A mask is empty, or shapes differ.

    Examples:
        >>> import numpy as np
        >>> from sslmed.modalities.volumes.baselines import Scan, histogram
        >>> ramp = np.linspace(-1, 1, 1000, dtype=np.float32).reshape(10, 10, 10)
        >>> found = histogram([Scan(ramp, ramp > -2, (1.0, 1.0, 1.0))])
        >>> found.shape, round(float(found[0, 0]), 2), float(found[0, -1])
        ((1, 24), -0.98, 1.0)
    """
    _check("histogram", scans)
    quantiles = [np.quantile(scan.values[scan.mask].astype(float), QUANTILES) for scan in scans]
    return np.concatenate([np.stack(quantiles), volume(scans)], axis=1)


def regions(scans: Sequence[Scan], labels: Sequence[int] | None = None) -> Array:
    """Volumes of regions, in ml and as shares of the mask.

    Where every scan has labels, the regions are these. Otherwise they are three classes of intensity of every scan
    (:func:`mixture`), in T1-weighted images about fluid, gray and white matter: all rows need the same columns.

    Args:
        scans: n prepared volumes.
        labels: Numbers of the regions; by default all that occur in these scans, 0 excepted.

    Returns:
        [n, 2 * regions] float64: volumes in ml, then shares.

    Raises:
        ValueError: A mask is empty, shapes differ, or there is no region.

    Examples:
        >>> import numpy as np
        >>> from sslmed.modalities.volumes.baselines import Scan, regions
        >>> cube = np.ones((10, 10, 10), np.float32)
        >>> halves = np.repeat([1, 2], 500).reshape(10, 10, 10)
        >>> regions([Scan(cube, cube > 0, (1.0, 1.0, 1.0), halves)]).tolist()
        [[0.5, 0.5, 0.5, 0.5]]
    """
    _check("regions", scans)
    labeled = [scan.labels for scan in scans if scan.labels is not None]
    if len(labeled) == len(scans):
        occurring = {int(label) for one in labeled for label in np.unique(one)} - {0}
        known = sorted(occurring) if labels is None else [int(label) for label in labels]
        if not known:
            raise ValueError("regions: labels: there is no region, expected at least one that is not 0")
        counts = [_counts(one, known) for one in labeled]
    else:
        counts = [mixture(scan).tolist() for scan in scans]
    ml = np.array(counts, float) * np.array([[_ml(scan)] for scan in scans])
    return np.concatenate([ml, ml / volume(scans)], axis=1)


def mixture(scan: Scan) -> Array:
    """Voxels in each of three classes of intensity, the darkest first: Gaussians, fitted by EM on a histogram.

    Args:
        scan: A prepared volume.

    Returns:
        [3] float64: expected numbers of voxels, whose sum is the mask's.

    Raises:
        ValueError: The mask is empty, or shapes differ.

    Examples:
        >>> import numpy as np
        >>> from sslmed.modalities.volumes.baselines import Scan, mixture
        >>> rng = np.random.default_rng(0)
        >>> values = np.repeat([-2.0, 0.0, 1.5], [100, 500, 400]) + 0.1 * rng.normal(size=1000)
        >>> values = values.reshape(10, 10, 10)
        >>> mixture(Scan(values, values > -9, (1.0, 1.0, 1.0))).round().tolist()
        [100.0, 500.0, 400.0]
    """
    _check("mixture", [scan])
    inside = scan.values[scan.mask].astype(float)
    low, high = np.quantile(inside, [0.002, 0.998])  # a few bright vessels must not take all bins
    if not high - low > 1e-9:
        return np.array([0.0, len(inside), 0.0])
    counts, edges = np.histogram(np.clip(inside, low, high), _BINS, (low, high))
    at, width = (edges[:-1] + edges[1:]) / 2, edges[1] - edges[0]
    shares, means = np.full(3, 1 / 3), np.quantile(inside, [0.08, 0.4, 0.8])
    deviations = np.full(3, inside.std() / 3)
    before = -np.inf
    for _ in range(_STEPS):
        z = (at - means[:, None]) / deviations[:, None]
        density = np.maximum(shares / deviations, 1e-300)[:, None] * np.exp(-0.5 * z**2)
        total = np.maximum(density.sum(axis=0), 1e-300)
        weight = counts * density / total  # [3, bins]
        mass = weight.sum(axis=1)
        some = np.maximum(mass, 1e-9)
        shares, means = mass / mass.sum(), weight @ at / some
        deviations = np.sqrt((weight * (at - means[:, None]) ** 2).sum(axis=1) / some + width**2 / 12)
        likelihood = float((counts * np.log(total)).sum()) / len(inside)
        if likelihood - before < _CLOSE:
            break
        before = likelihood
    return np.asarray(mass[np.argsort(means)])


def smoothed(scans: Sequence[Scan], *, side: int = 20, fwhm: float = 8.0) -> Array:
    """Smoothed volumes, the box around their mask brought to few cells: the usual baseline for brain age.

    With the linear probe this is the "PCA and ridge" of the literature, without a number of components to choose: ridge
    regression sees only the span of the training rows, whose coordinates are all of their principal components, and
    shrinks those of small variance most. Probes standardize columns and find that span inside each fold, so that no
    component is fitted on people who are tested.

    Outside the mask, volumes are 2.5 deviations below the mask's mean, as dark as fluid, and so are cells whose middle
    is outside of it. Were those smoothed too, a column of standardized features could be made of the faint edge of one
    brain, and would outweigh everything else in whoever has more of a brain there.

    Args:
        scans: n prepared volumes.
        side: Number of cells along each axis.
        fwhm: Full width at half maximum of the smoothing in mm; 0 for none.

    Returns:
        [n, side³] float32, the last axis fastest.

    Raises:
        ValueError: A mask is empty, shapes differ, or a number is out of range.

    Examples:
        >>> import numpy as np
        >>> from sslmed.modalities.volumes.baselines import Scan, smoothed
        >>> ramp = np.linspace(-1, 1, 1000, dtype=np.float32).reshape(10, 10, 10)
        >>> found = smoothed([Scan(ramp, ramp > -2, (1.0, 1.0, 1.0))], side=2, fwhm=0.0).reshape(2, 2, 2)
        >>> [round(float(value), 2) for value in found[:, 0, 0]]
        [-0.56, 0.45]
    """
    whole("smoothed", "side", side, 2)
    number("smoothed", "fwhm", fwhm, 0)
    _check("smoothed", scans)
    out = np.empty((len(scans), side**3), np.float32)
    for i, scan in enumerate(scans):
        box = _box(scan.mask)
        sigma = [fwhm / _FWHM / size for size in scan.spacing]
        filled = np.where(scan.mask, scan.values, np.float32(_DARK)).astype(np.float32, copy=False)
        blurred = gaussian_filter(filled, sigma, mode="constant", cval=_DARK)
        inside = _cells(scan.mask.astype(np.float32), box, side) > 0.5
        out[i] = np.where(inside, _cells(blurred, box, side), np.float32(_DARK)).ravel()
    return out


def _box(mask: Array) -> list[tuple[int, int]]:
    """First and one after the last voxel of a mask, by axis."""
    planes = [np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis))) for axis in range(3)]
    return [(int(one[0]), int(one[-1]) + 1) for one in planes]


def _cells(values: Array, box: list[tuple[int, int]], side: int) -> Array:
    """[side, side, side]: a box of a volume at the middles of cells, linearly between voxels."""
    for axis, (first, last) in enumerate(box):
        at = np.clip(first + (np.arange(side) + 0.5) * (last - first) / side - 0.5, 0, values.shape[axis] - 1)
        below = np.minimum(at.astype(int), max(values.shape[axis] - 2, 0))
        above = np.minimum(below + 1, values.shape[axis] - 1)
        part = (at - below).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        values = np.take(values, below, axis) * (1 - part) + np.take(values, above, axis) * part
    return values


def _counts(labels: Array, known: Sequence[int]) -> list[int]:
    """Voxels of each label."""
    values, counts = np.unique(labels, return_counts=True)
    found = dict(zip(values.tolist(), counts.tolist(), strict=True))
    return [found.get(label, 0) for label in known]


def _ml(scan: Scan) -> float:
    """Volume of a voxel in ml."""
    return float(np.prod(scan.spacing)) / 1000


def _check(where: str, scans: Sequence[Scan]) -> None:
    if not len(scans):
        raise ValueError(f"{where}: scans=[] must hold at least one prepared volume")
    for i, scan in enumerate(scans):
        for name, array in (("mask", scan.mask), ("labels", scan.labels)):
            if array is not None and array.shape != scan.values.shape:
                shapes = f"is {list(array.shape)}, expected {list(scan.values.shape)} as its values"
                raise ValueError(f"{where}: scans[{i}].{name} {shapes}")
        if scan.values.ndim != 3:
            raise ValueError(f"{where}: scans[{i}].values is {list(scan.values.shape)}, expected [X, Y, Z]")
        if not scan.mask.any():
            raise ValueError(f"{where}: scans[{i}].mask is empty, expected a voxel of anatomy; leave out the scan")


FEATURES: dict[str, Callable[[Sequence[Scan]], Array]] = {
    "volume": volume,
    "histogram": histogram,
    "regions": regions,
    "smoothed": smoothed,
}
"""Functions of prepared volumes by the name of their row, the plainest first."""
