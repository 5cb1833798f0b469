"""Features of people, drawn from Gaussian models, for simulations of what a table says."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sslmed.cohort import Cohort
from sslmed.evaluation.crossfit import Pipeline, Study, cross_fit
from sslmed.evaluation.intervals import difference, estimate
from sslmed.evaluation.splits import repeated


def people(rng, n, *, recordings=1, dims=20, effect=0.0, regression=False):
    """Features [n · recordings, dims] and the table: classes in turn that differ by ``effect`` standard deviations, or a standard normal value."""
    of_person = rng.normal(size=n) if regression else (np.arange(n) % 2).astype(float)
    direction = np.zeros(dims)
    direction[:3] = effect / np.sqrt(3)
    share = 1.0 if recordings == 1 else 0.8
    x = share * rng.normal(size=(n, dims)) + np.outer(of_person - (0 if regression else 0.5), direction)
    x = np.repeat(x, recordings, axis=0) + (0 if recordings == 1 else 0.6) * rng.normal(size=(n * recordings, dims))
    y = np.repeat(of_person, recordings)
    target = y if regression else np.where(y > 0, "b", "a")
    return x, pd.DataFrame({"subject": np.repeat([f"p{i}" for i in range(n)], recordings), "y": target})


def study(table, *, regression=False, cv=5, repeats=10, seed=0):
    cohort = Cohort(table.assign(path=[f"row {i}" for i in range(len(table))]), "simulated", [()] * len(table))
    folds = repeated(cohort, cv, stratify=None if regression else "y", repeats=repeats, seed=seed)
    classes = None if regression else np.unique(table["y"].astype(str))
    y = table["y"].to_numpy(float) if regression else np.searchsorted(classes, table["y"].astype(str))
    return Study.of(y, table["subject"].to_numpy(), classes, folds)


def intervals(rng, draws, metrics, n, **how):
    """Value, low and high [draws, metrics, 3] of as many cohorts."""
    regression = how.get("regression", False)
    out = np.empty((draws, len(metrics), 3))
    for i in range(draws):
        x, table = people(rng, n, **how)
        s = study(table, regression=regression, seed=i)
        made = cross_fit(s, Pipeline(x))
        for j, metric in enumerate(metrics):
            found = estimate(s, metric, made)
            out[i, j] = found.value, found.low, found.high
    return out


def coverage(found):
    """Share [metrics] of intervals that hold the mean value, and their mean widths."""
    truth = np.nanmean(found[:, :, 0], axis=0)
    return ((found[:, :, 1] <= truth) & (truth <= found[:, :, 2])).mean(axis=0), (found[:, :, 2] - found[:, :, 1]).mean(axis=0), truth


def differences(rng, draws, metric, n, *, effect=0.0, regression=False, dims=20):
    """Difference, low, high and p [draws, 4] of two encoders that are equally good."""
    out = np.empty((draws, 4))
    for i in range(draws):
        x, table = people(rng, n, effect=effect, regression=regression, dims=dims)
        truth = table["y"].to_numpy(float) if regression else (table["y"] == "b").to_numpy(float) - 0.5
        other = rng.normal(size=x.shape)
        other[:, :3] += truth[:, None] * effect / np.sqrt(3)
        s = study(table, regression=regression, seed=i)
        a, b = cross_fit(s, Pipeline(x)), cross_fit(s, Pipeline(other))
        out[i] = difference(s, estimate(s, metric, a), estimate(s, metric, b), a, b)
    return out
