"""Methods on features of patches: PatchCore and k nearest neighbors, Mahalanobis distance, one-class SVM.

A method is a frozen dataclass of options. ``fit`` makes a state, tensors by name, of healthy scans; ``detect`` scores
a scan by a state. So a fitted method is what a file of tensors holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
import torch
from torch.nn import functional as F

from sslmed._checks import choice, number, whole
from sslmed.anomaly.neighbors import k_center_greedy, nearest, random_projection
from sslmed.anomaly.patches import Patches
from sslmed.anomaly.scans import Detection, Scan, highest, paint

__all__ = ["AnomalyMethod", "LatentSvm", "Needs", "PatchCore", "State", "knn"]

State = Mapping[str, torch.Tensor]
"""What is fitted."""

Needs = Literal["patches", "array", "nothing"]


class AnomalyMethod(Protocol):
    """What :func:`sslmed.detect_anomalies` asks of a method."""

    needs: ClassVar[Needs]
    """What it sees of a scan: features of "patches", the "array", or "nothing"."""

    @property
    def name(self) -> str:
        """Its row in tables."""
        ...

    def fit(self, scans: Sequence[Scan], seed: int) -> State:
        """Fits it to healthy scans, of training people alone."""
        ...

    def detect(self, state: State, scan: Scan, seed: int) -> Detection:
        """Scores a scan."""
        ...


def detected(method: AnomalyMethod, state: State, scan: Scan, seed: int) -> Detection:
    """What a method says of a scan, in finite numbers: one that is not above a threshold only because it is NaN would
    pass for healthy.

    Raises:
        ValueError: A score is not finite.
    """
    found = method.detect(state, scan, seed)
    if math.isfinite(found.score) and (found.cells is None or bool(torch.isfinite(found.cells).all())):
        return found
    where = f"{scan.cohort.name}: row {scan.row}: {method.name}"
    why = "the scan, or one that the method was fitted to, may hold NaN or no anatomy"
    raise ValueError(f"{where}: scores must be finite, that of the scan is {found.score}; {why}")


def features_of(scan: Scan) -> Patches:
    """The patches of a scan of which a method needs the features."""
    if scan.patches is None:
        raise ValueError(f"{scan.cohort.name}: this method needs features of patches, and so an encoder")
    return scan.patches


def on_cells(patches: Patches, scores: torch.Tensor, score: float, smooth: float) -> Detection:
    """Scores of patches, with the map where the scan has a grid."""
    if patches.corners is None:
        return Detection(score, scores)
    cells, covered = paint(patches, scores, smooth)
    return Detection(score, scores, cells, covered)


@dataclass(frozen=True)
class PatchCore:
    """Distance of each patch to the nearest patches of healthy scans (PatchCore: Roth et al., CVPR 2022, arXiv
    2106.08265).

    Examples:
        >>> import sslmed as sm
        >>> method = sm.anomaly.PatchCore(coreset=0.05)
    """

    needs: ClassVar[Needs] = "patches"

    coreset: float = 0.1
    """Share of the training patches that is kept, chosen by :func:`sslmed.anomaly.k_center_greedy`; 1: all."""
    most: int = 20_000
    """Largest number of patches that is kept."""
    projection: int = 128
    """Dimensions of the random projection in which they are chosen; features that have no more are not projected."""
    k: int = 1
    """Number of neighbors whose distances are averaged; the paper takes one."""
    reweight: int = 9
    """Neighbors b of the paper's weight of a scan's score: with the highest patch's nearest neighbor m, 1 -
    exp(distance to m) / Σ exp(distance to the b neighbors of m, m included). 0: none."""
    smooth: float = 0.0
    """Standard deviation in cells of a Gaussian filter over maps."""
    name: str = "patchcore"
    """Row in tables."""

    def __post_init__(self) -> None:
        number("PatchCore", "coreset", self.coreset, 0, 1, strict=True)
        number("PatchCore", "smooth", self.smooth, 0)
        for option, least in (("most", 1), ("projection", 1), ("k", 1), ("reweight", 0)):
            whole("PatchCore", option, getattr(self, option), least)

    def fit(self, scans: Sequence[Scan], seed: int) -> State:
        """The coreset: ``bank`` [m, D]."""
        features = torch.cat([features_of(scan).features for scan in scans])
        n = min(self.most, max(self.k, int(len(features) * self.coreset)))
        if n >= len(features):
            return {"bank": features}
        start = int(np.random.Generator(np.random.Philox(key=[seed, 1])).integers(len(features)))
        return {"bank": features[k_center_greedy(random_projection(features, self.projection, seed), n, start)]}

    def detect(self, state: State, scan: Scan, seed: int) -> Detection:
        """Distances of the patches, and the weighted distance of the farthest one."""
        patches, bank = features_of(scan), state["bank"]
        distances, rows = nearest(patches.features, bank, min(self.k, len(bank)))
        scores = distances.mean(1)
        top = int(scores.argmax())
        score = float(scores[top])
        if self.reweight > 1 and len(bank) > 1:
            _, around = nearest(bank[rows[top, :1]], bank, min(self.reweight, len(bank)))
            far = torch.linalg.vector_norm((patches.features[top] - bank[around[0]]).double(), dim=1)
            score *= float(1 - F.softmax(far, 0)[0])
        return on_cells(patches, scores, score, self.smooth)


def knn(k: int = 5, most: int = 50_000) -> PatchCore:
    """Mean distance to the k nearest healthy patches, all of them where they are no more than ``most``: PatchCore
    without a coreset and without weights."""
    return PatchCore(coreset=1.0, most=most, k=k, reweight=0, name="knn")


@dataclass(frozen=True)
class LatentSvm:
    """A one-class SVM (Schölkopf et al., 2001; scikit-learn's) with a Gaussian kernel on standardized features.

    Anomaly detection on latents of siamese networks (Alaverdyan et al., Medical Image Analysis 2020) fits one to
    healthy people; here one for all places.

    Examples:
        >>> import sslmed as sm
        >>> method = sm.anomaly.LatentSvm(level="scan", nu=0.1)
    """

    needs: ClassVar[Needs] = "patches"

    level: Literal["patch", "scan"] = "patch"
    """Whether features are those of patches, or their mean over each scan, which gives no map."""
    nu: float = 0.1
    """Upper bound of the share of training points outside, within (0, 1]."""
    gamma: float | Literal["scale"] = "scale"
    """Factor of the squared distance in the kernel; "scale": 1 / (D · variance), which is 1 / D here."""
    most: int = 2_000
    """Largest number of patches that it is fitted to, drawn from all of them."""
    top: float = 0.01
    """Share of a scan's patches, the highest ones, whose mean score is the scan's."""
    smooth: float = 0.0
    """Standard deviation in cells of a Gaussian filter over maps."""
    name: str = "one-class svm"
    """Row in tables."""

    def __post_init__(self) -> None:
        choice("LatentSvm", "level", self.level, ("patch", "scan"))
        number("LatentSvm", "nu", self.nu, 0, 1, strict=True)
        number("LatentSvm", "top", self.top, 0, 1)
        number("LatentSvm", "smooth", self.smooth, 0)
        whole("LatentSvm", "most", self.most, 2)
        if self.gamma != "scale":
            number("LatentSvm", "gamma", self.gamma, 0, strict=True)

    def fit(self, scans: Sequence[Scan], seed: int) -> State:
        """``mean`` and ``std`` [D], ``support`` [m, D] standardized, ``weights`` [m] and ``gamma``, float64."""
        from sklearn.svm import OneClassSVM

        features = torch.cat([self._points(scan) for scan in scans])
        if len(features) > self.most:
            draws = np.random.Generator(np.random.Philox(key=[seed, 2]))
            features = features[torch.from_numpy(np.sort(draws.choice(len(features), self.most, replace=False)))]
        mean, std = features.mean(0), features.std(0, correction=0)
        std = torch.where(std > 1e-12 * std.max().clamp_min(1e-300), std, 1.0)
        model = OneClassSVM(nu=self.nu, gamma=self.gamma).fit(((features - mean) / std).numpy())
        return {
            "mean": mean,
            "std": std,
            "support": torch.from_numpy(np.ascontiguousarray(model.support_vectors_)),
            "weights": torch.from_numpy(np.ascontiguousarray(model.dual_coef_[0])),
            "gamma": torch.tensor(model._gamma, dtype=torch.float64),
        }

    def detect(self, state: State, scan: Scan, seed: int) -> Detection:
        """Scores Σ weights - Σ weights · kernel: scikit-learn's ``score_samples`` turned around, so that 0 is the
        least."""
        points = (self._points(scan) - state["mean"]) / state["std"]
        support, weights = state["support"], state["weights"]
        parts = [torch.cdist(part, support).square() for part in torch.split(points, 4096)]
        scores = torch.cat([weights.sum() - torch.exp(-state["gamma"] * part) @ weights for part in parts]).clamp_min(0)
        if self.level == "scan":
            return Detection(float(scores[0]))
        return on_cells(features_of(scan), scores, highest(scores, self.top), self.smooth)

    def _points(self, scan: Scan) -> torch.Tensor:
        features = features_of(scan).features.double()
        return features.mean(0, keepdim=True) if self.level == "scan" else features
