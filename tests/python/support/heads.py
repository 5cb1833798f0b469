"""Small synthetic heads as NIfTI files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import sslmed as sm

Array = np.ndarray[Any, Any]


def head(rng: np.random.Generator, age: float, shape: tuple[int, int, int] = (32, 38, 30)) -> tuple[Array, Array]:
    """(values, labels): a ball of three tissues whose inner one grows with age, in a background of zeros."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    radius = np.sqrt((grid**2).sum(0)) * (1 + 0.05 * rng.standard_normal())
    labels = np.where(radius < 0.2 + age / 250, 1, np.where(radius < 0.65, 2, np.where(radius < 0.85, 3, 0)))
    texture = rng.standard_normal(shape) * 0.1
    values = np.select([labels == 1, labels == 2, labels == 3], [30 + texture, 100 + texture * 5, 70 + texture * 5], 0.0)
    return values.astype(np.float32), labels.astype(np.int16)


def head_cohort(folder: Path, n: int, *, flair_of: Sequence[int] = (), seed: int = 0, site: str = "here") -> sm.Cohort:
    """``n`` people with T1w at 3 mm stored as LAS, and labels; some with FLAIR."""
    folder.mkdir(parents=True)
    affine = torch.diag(torch.tensor([-3.0, 3, 3, 1], dtype=torch.float64))
    rows: list[dict[str, Any]] = []
    for i in range(n):
        rng = np.random.default_rng([seed, i])
        age = float(rng.uniform(20, 80))
        values, labels = head(rng, age)
        row: dict[str, Any] = {"subject": f"{site}{i}", "age": round(age, 1), "sex": "FM"[i % 2], "site": site}
        images = {"path_T1w": values, "path_labels": labels}
        if i in flair_of:
            images["path_FLAIR"] = np.where(values > 0, 120 - values + 20 * (labels == 2), 0).astype(np.float32)
        for column, image in images.items():
            path = folder / f"{site}{i}_{column.removeprefix('path_')}.nii.gz"
            sm.io.write_nifti(sm.io.Volume(torch.from_numpy(image), affine), path)
            row[column] = str(path)
        rows.append({"path": row["path_T1w"]} | row)
    return sm.Cohort.from_table(pd.DataFrame(rows), name="heads")
