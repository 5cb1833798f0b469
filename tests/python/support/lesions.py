"""Lesions with known masks in the demo's synthetic brains. The generator was fixed before any method was run on it.

A lesion is a ball of 7 to 12 mm in white or deep gray matter with a soft edge, darker (.45) or brighter (1.6) than what it
replaces; a sick scan has one to three. Healthy scans are those of the demo's public site, without its white-matter lesions
of age, at 4 mm.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import sslmed as sm
from sslmed.demo import mri

SPACING = 4.0
SITE = replace(mri.PUBLIC, spacing=(SPACING,) * 3, flair=0.0, age=(30, 4, 20, 40))
RADII, FACTORS, COUNTS = (7.0, 12.0), (0.45, 1.6), (1, 3)


def healthy(folder: Path, people: int, seed: int, site: mri.Site = SITE) -> sm.Cohort:
    """Prepared healthy volumes, one a person but for every sixth, who has two. Their label maps are empty."""
    return _written(folder, people, seed, site, sick=False)


def sick(folder: Path, people: int, seed: int, site: mri.Site = SITE) -> sm.Cohort:
    """Prepared volumes with lesions, and their masks as labels. Nobody in them is in a healthy cohort of another seed."""
    return _written(folder, people, seed, site, sick=True)


def _written(folder: Path, people: int, seed: int, site: mri.Site, *, sick: bool) -> sm.Cohort:
    cohort = mri.write_cohort(folder / "raw", site, people, seed=seed)
    for number, (path, labels) in enumerate(zip(cohort.table["path"], cohort.table["path_labels"], strict=True)):
        tissue = sm.io.read_nifti(labels)
        mask = torch.zeros_like(tissue.data, dtype=torch.int16)
        if sick:
            volume = sm.io.read_nifti(path)
            draws = np.random.Generator(np.random.Philox(key=[seed, 7_000_000 + number]))
            values, mask = with_lesions(volume.data.numpy(), tissue.data.numpy(), draws)
            sm.io.write_nifti(sm.io.Volume(torch.from_numpy(values), volume.affine), path)
        sm.io.write_nifti(sm.io.Volume(torch.as_tensor(mask), tissue.affine), labels)
    named = cohort.with_columns(subject=[f"{seed}-{subject}" for subject in cohort.table["subject"]], sick=sick)
    prepared = sm.prepare(named, folder / "prepared", spacing=SPACING, progress=False)
    assert prepared is not None
    return prepared


def with_lesions(values: np.ndarray, tissue: np.ndarray, draws: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A volume with lesions, and their mask (int16)."""
    deep = np.argwhere((tissue == 3) | (tissue == 4))
    out, mask = values.astype(np.float64), np.zeros(values.shape, np.int16)
    places = np.stack(np.meshgrid(*[np.arange(side) for side in values.shape], indexing="ij"), -1) * SPACING
    for _ in range(draws.integers(COUNTS[0], COUNTS[1] + 1)):
        middle = deep[draws.integers(len(deep))] * SPACING
        radius, factor = draws.uniform(*RADII), FACTORS[draws.integers(2)]
        depth = radius - np.linalg.norm(places - middle, axis=-1)
        share = 1 / (1 + np.exp(-depth / 1.5))
        out *= 1 + (factor - 1) * share
        mask[(depth > 0) & (tissue > 0)] = 1
    return np.where(tissue > 0, np.maximum(np.rint(out), 1), 0).astype(np.int16), mask
