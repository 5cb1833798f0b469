"""A modality in one folder and one row of the registry: 3-D ramps with a label map. It is the worked example of docs/adding.md."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch

import sslmed as sm
from sslmed.modalities import Baseline, Modality, register

# The core is reached through one name; a modality of your own that needs its own C++ binds it there.
from sslmed._core import C  # isort: skip


@dataclass(frozen=True)
class RampPreprocessing:
    """How ramps are cut: into patches for a vision transformer, or left dense for a convolutional network."""

    modality: ClassVar[str] = "ramps"
    augmentation: ClassVar[float] = 0.5
    """Pretraining flips each axis with this probability, and crops at random places."""

    size: int = 12
    """Cells of the crop along each axis."""
    patch: int | None = 4
    """Cells of a patch along each axis; None: views are dense."""

    def recipe(
        self,
        *,
        mask: str = "none",
        ratio: float | None = None,
        block: int = 2,
        radius: float = 30.0,
        complementary: bool = False,
        augmentation: float | None = None,
        views: Sequence[Any] | None = None,
    ) -> Any:
        """Views of the crop: in the middle and as it is without augmentation."""
        if views is not None:
            return C.GridRecipe(list(views))
        how = C.MaskOptions(mask=mask, ratio=0.75 if ratio is None else ratio, block=block, complementary=complementary)
        flips = [] if augmentation is None else [augmentation] * 3
        return C.GridRecipe([C.GridView(patch=self._patch(), crop=[self.size] * 3, random=augmentation is not None, p_flip=flips, mask=how)])

    def contrast(self, style: str = "simclr", local: int = 0, local_size: int | None = None) -> list[Any]:
        """Two flipped crops of four fifths, and local ones of half the size."""
        sides = {"global": self._side(0.8), "local": local_size or self._side(0.5)}
        counts = {"global": 2} | ({"local": local} if local else {})
        return [
            C.GridView(role=role, count=count, patch=self._patch(), crop=[sides[role]] * 3, random=True, p_flip=[0.5] * 3) for role, count in counts.items()
        ]

    def _side(self, share: float) -> int:
        cell = self.patch or 2
        return max(cell, round(share * self.size / cell) * cell)

    def embedding(self) -> dict[str, Any]:
        """One channel on a grid of three axes; positions are fixed sines and cosines."""
        return {"patch_size": self._patch(), "img_size": [self.size] * 3, "in_chans": 1, "positions": "sincos"}

    def _patch(self) -> list[int]:
        return [] if self.patch is None else [self.patch] * 3


class Ramps(Modality):
    """Volumes in memory, one sample a row."""

    name = "ramps"
    preprocessing = RampPreprocessing
    rows = "volumes"
    samples = "volumes"
    baselines: ClassVar[Mapping[str, Baseline]] = {"moments": Baseline()}

    def recognizes(self, table: pd.DataFrame) -> bool:
        """By its paths, which are no files."""
        return str(table["path"].iloc[0]).startswith("ramp:")

    def columns(self, table: pd.DataFrame) -> list[str]:
        """Features depend on what is in memory alone."""
        return []

    def source(
        self,
        rows: Any,
        preprocessing: Any,
        *,
        extra_channels: Sequence[str] = (),
        stride: float = 0.0,
        random: bool = False,
        targets: Mapping[str, Sequence[float]] | None = None,
    ) -> Any:
        """The volumes as they are, with a label map of the cells above zero."""
        table = rows.table
        numbers = [{name: values[i] for name, values in (targets or {}).items()} for i in range(len(table))]
        return C.ArraySource(
            modality=self.name,
            values=[values[..., None] for values in rows.arrays],
            names=table["path"].tolist(),
            subjects=table["subject"].tolist(),
            sites=table["site"].tolist() if "site" in table else [""] * len(table),
            spacing=[[1.0, 1.0, 1.0]] * len(table),
            targets=[named | {"above": ("map", None, (values > 0).to(torch.int32))} for named, values in zip(numbers, rows.arrays, strict=True)],
        )

    def features(self, cohorts: Sequence[Any], names: Collection[str], *, threads: int = 2, on_error: str = "raise") -> list[dict[str, Any]]:
        """Mean and standard deviation of the cells."""
        return [{name: np.array([[float(x.mean()), float(x.std())] for x in rows.arrays]) for name in names} for rows in cohorts]


register(Ramps())


def ramps(n: int, seed: int, *, site: str = "a", gain: float = 1.0, shape: tuple[int, int, int] = (14, 13, 15)) -> sm.Cohort:
    """A cohort of ``n`` volumes of ``n`` subjects: steep ramps are of the old, and rise along the first axis or the last by diagnosis."""
    rng = np.random.default_rng(seed)
    arrays, rows = [], []
    for i in range(n):
        age, diagnosis = rng.uniform(20, 80), "first" if i % 2 else "last"
        axis = np.linspace(-1, 1, shape[0 if diagnosis == "first" else 2])
        ramp = age / 40 * (axis[:, None, None] if diagnosis == "first" else axis[None, None, :])
        values = gain * (ramp + rng.normal(0, 0.2, shape))
        arrays.append(torch.tensor(values, dtype=torch.float32))
        rows.append({"path": f"ramp:{site}{i}", "subject": f"{site}{i}", "site": site, "age": age, "diagnosis": diagnosis, "sex": "FM"[i // 2 % 2]})
    return sm.Cohort(pd.DataFrame(rows), f"ramps {site}", arrays)
