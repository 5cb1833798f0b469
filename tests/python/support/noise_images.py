"""Gray pictures of noise as a cohort of images."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

import sslmed as sm
from sslmed.io import write_label_png


def images(
    folder: Path,
    rng: np.random.Generator,
    sides: tuple[tuple[int, int], ...] = ((40, 48), (48, 40)),
) -> sm.Cohort:
    """One picture of each size, [height, width]."""
    rows = []
    for number, side in enumerate(sides):
        path = str(folder / f"{number}.png")
        write_label_png(torch.from_numpy(rng.integers(0, 256, side)), path)
        rows.append({"subject": f"s{number}", "path": path})
    return sm.Cohort.from_table(pd.DataFrame(rows), name="pictures")
