"""Small cohorts in memory that several tests share."""

from pathlib import Path

import numpy as np
import pandas as pd

import sslmed as sm

PRE = sm.EegPreprocessing(sfreq=100, window=2, patch=0.5, h_freq=45)


def cohort(n=24, seconds=12, *, effect=True, seed=0, name="s"):
    """Recordings whose class is which of two rhythms they have; age goes with how regular it is."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * 100)) / 100
    labels = np.array(["slow", "fast"])[np.arange(n) % 2]
    rate = np.where(labels == "slow", 6.0, 12.0) if effect else np.full(n, 9.0)
    x = np.sin(2 * np.pi * rate[:, None, None] * t + rng.uniform(0, 6, (n, 3, 1))) * 10 + rng.normal(size=(n, 3, len(t)))
    table = pd.DataFrame({"subject": [f"{name}{i}" for i in range(n)], "y": labels, "age": 30 + 30 * (labels == "fast") + rng.normal(size=n)})
    return sm.Cohort.from_arrays(x, 100, ["Fp1", "Cz", "O2"], table, name=name)


def batch_of(encoder, people, n=6, **targets):
    loader = sm.Loader(people, encoder.preprocessing, batch_size=n, order="shuffle", seed=3, targets=targets)
    return next(iter(loader))


def site_root(people):
    """The folder of a synthetic site."""
    return Path(people.table["path"][0]).parents[2]
