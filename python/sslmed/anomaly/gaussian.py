"""Mahalanobis distance of patches to those of healthy scans, one Gaussian for all places or one a place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch

from sslmed._checks import choice, number, whole
from sslmed.anomaly.methods import Needs, State, features_of, on_cells
from sslmed.anomaly.patches import Patches
from sslmed.anomaly.scans import Detection, Scan, highest

__all__ = ["Mahalanobis", "shrunk_covariance"]

_GATHERED = 1 << 23
"""Numbers of matrices that are held for patches at a time."""


def shrunk_covariance(x: torch.Tensor, shrinkage: float | str = "ledoit_wolf", ridge: float = 0.0) -> torch.Tensor:
    """Covariance of features, drawn towards a multiple of the identity.

    (1 - λ) S + λ · trace(S) / D · I + ridge · I, with the unbiased S. PaDiM's (Defard et al., arXiv 2011.08785) is λ
    = 0, ridge 0.01.

    Args:
        x: [n, D] float, n of at least 2.
        shrinkage: λ within [0, 1], or "ledoit_wolf": the one that Ledoit and Wolf (2004) estimate.
        ridge: Number added to the diagonal.

    Returns:
        [D, D] float64.

    Raises:
        ValueError: There are fewer than two rows.

    Examples:
        >>> import torch
        >>> from sslmed.anomaly import shrunk_covariance
        >>> shrunk_covariance(torch.tensor([[0.0, 0.0], [2.0, 0.0]]), shrinkage=0.5, ridge=0.01).tolist()
        [[1.51, 0.0], [0.0, 0.51]]
    """
    if x.ndim != 2 or len(x) < 2:
        raise ValueError(f"shrunk_covariance: x must be [n, D] with at least two rows, got {list(x.shape)}")
    centered = x.double() - x.double().mean(0)
    sample = centered.T @ centered / (len(x) - 1)
    if shrinkage == "ledoit_wolf":
        from sklearn.covariance import ledoit_wolf_shrinkage

        amount = float(ledoit_wolf_shrinkage(centered.numpy(), assume_centered=True))
    else:
        amount = float(shrinkage)
    width = x.shape[1]
    eye = torch.eye(width, dtype=torch.float64)
    return (1 - amount) * sample + (amount * float(sample.trace()) / width + ridge) * eye


@dataclass(frozen=True)
class Mahalanobis:
    """Mahalanobis distance of each patch to the healthy ones. PaDiM (Defard et al., arXiv 2011.08785) has a Gaussian
    at each place of aligned images: ``Mahalanobis("place", shrinkage=0.0, ridge=0.01, dimensions=100)``.

    Examples:
        >>> import sslmed as sm
        >>> method = sm.anomaly.Mahalanobis(gaussians="place")
    """

    needs: ClassVar[Needs] = "patches"

    gaussians: Literal["global", "place"] = "global"
    """One Gaussian for all patches, or one for each place (of volumes: cells of ``pitch`` patches around the middle
    of the volume, so that scans need to be aligned only that well)."""
    shrinkage: float | Literal["ledoit_wolf"] = "ledoit_wolf"
    """Part of the covariance that is replaced by a multiple of the identity, see :func:`shrunk_covariance`."""
    ridge: float = 0.0
    """Number added to the diagonal of the covariance."""
    dimensions: int = 0
    """Number of features that are used, drawn from all of them as PaDiM does; 0: all."""
    pitch: float = 1.0
    """Extent of a place, in patches."""
    least: int = 10
    """A place with fewer training scans has the Gaussian of all places."""
    top: float = 0.01
    """Share of a scan's patches, the highest ones, whose mean distance is the scan's score."""
    smooth: float = 0.0
    """Standard deviation in cells of a Gaussian filter over maps."""
    name: str = "mahalanobis"
    """Row in tables."""

    def __post_init__(self) -> None:
        choice("Mahalanobis", "gaussians", self.gaussians, ("global", "place"))
        if self.shrinkage != "ledoit_wolf":
            number("Mahalanobis", "shrinkage", self.shrinkage, 0, 1)
        number("Mahalanobis", "pitch", self.pitch, 0, strict=True)
        number("Mahalanobis", "top", self.top, 0, 1)
        for option in ("ridge", "smooth"):
            number("Mahalanobis", option, getattr(self, option), 0)
        whole("Mahalanobis", "dimensions", self.dimensions)
        whole("Mahalanobis", "least", self.least, 2)

    def fit(self, scans: Sequence[Scan], seed: int) -> State:
        """``chosen`` [d] features, ``means`` [G, d], ``whitening`` [G, d, d] (row 0: all places) and ``places`` [G -
        1, P].

        A distance is the norm of (x - mean) · whitening, the inverse of the covariance's Cholesky factor, turned."""
        patches = [features_of(scan) for scan in scans]
        width = patches[0].features.shape[1]
        chosen = torch.arange(width)
        if 0 < self.dimensions < width:
            draws = np.random.Generator(np.random.Philox(key=[seed, 3]))
            chosen = torch.from_numpy(np.sort(draws.choice(width, self.dimensions, replace=False)))
        features = torch.cat([part.features[:, chosen] for part in patches])
        groups = [self._gaussian(features)]
        places = torch.zeros(0, patches[0].places.shape[1], dtype=torch.int64)
        if self.gaussians == "place":
            keys = torch.cat([self._places(part) for part in patches])
            owner = torch.cat([torch.full((len(part),), number) for number, part in enumerate(patches)])
            places, at = _different(keys)
            counts = torch.bincount(at, minlength=len(places)).tolist()
            rows_at = torch.split(torch.argsort(at, stable=True), counts)
            enough = torch.tensor([len(set(owner[rows].tolist())) >= self.least for rows in rows_at], dtype=torch.bool)
            groups += [self._gaussian(features[rows_at[place]]) for place in enough.nonzero().flatten().tolist()]
            places = places[enough]
        return {
            "chosen": chosen,
            "means": torch.stack([mean for mean, _ in groups]),
            "whitening": torch.stack([matrix for _, matrix in groups]),
            "places": places,
        }

    def detect(self, state: State, scan: Scan, seed: int) -> Detection:
        """Distances of the patches, and the mean of the highest."""
        patches = features_of(scan)
        x = patches.features[:, state["chosen"]].double()
        group = torch.zeros(len(x), dtype=torch.int64)
        if len(state["places"]):
            known = {tuple(place): number for number, place in enumerate(state["places"].tolist(), 1)}
            group = torch.tensor([known.get(tuple(place), 0) for place in self._places(patches).tolist()])
        step = max(1, _GATHERED // x.shape[1] ** 2)
        parts = []
        for mine, at in zip(torch.split(x, step), torch.split(group, step), strict=True):
            off = (mine - state["means"][at])[:, None]
            parts.append(torch.linalg.vector_norm(torch.bmm(off, state["whitening"][at])[:, 0], dim=1))
        scores = torch.cat(parts)
        return on_cells(patches, scores, highest(scores, self.top), self.smooth)

    def _gaussian(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        covariance = shrunk_covariance(x, self.shrinkage, self.ridge)
        factor, failed = torch.linalg.cholesky_ex(covariance)
        if int(failed):
            told = f"the covariance of {len(x)} patches in {x.shape[1]} dimensions is singular"
            options = f"shrinkage={self.shrinkage!r}, ridge={self.ridge!r}"
            raise ValueError(f"Mahalanobis: {options}: {told}; raise shrinkage or ridge")
        eye = torch.eye(len(factor), dtype=torch.float64)
        return x.double().mean(0), torch.linalg.solve_triangular(factor, eye, upper=False).T

    def _places(self, patches: Patches) -> torch.Tensor:
        """[N, P] int64: the place of each patch."""
        return torch.round(patches.places / (self.pitch * patches.unit)).long()


def _different(keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The different rows of [N, P], in order, and the number of each row among them."""
    found, at = np.unique(keys.numpy(), axis=0, return_inverse=True)
    return torch.from_numpy(found), torch.from_numpy(at.reshape(-1))
