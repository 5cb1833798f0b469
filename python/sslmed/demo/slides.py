"""Two synthetic archives of slides, written as real pyramidal TIFF files. Nothing here is tissue of a person.

What a diagnosis, age and stain do to a picture was fixed before any model was trained on it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from sslmed import io
from sslmed.cohort import Cohort
from sslmed.demo.job import Job
from sslmed.modalities.slides import SlidePreprocessing

__all__ = ["CLINIC", "DIAGNOSES", "PUBLIC", "Archive", "make", "write_archive"]

Array = np.ndarray[Any, Any]
STAMP = "SYNTHETIC: generated pictures, no tissue of any person. The figures show that the tools work, not a clinical finding."

DIAGNOSES = {
    "normal": {"density": 1.0, "radius": 3.2, "spread": 0.10, "brown": 0.05},
    "inflamed": {"density": 2.2, "radius": 2.6, "spread": 0.08, "brown": 0.10},
    "tumor": {"density": 1.7, "radius": 4.4, "spread": 0.30, "brown": 0.60},
}
"""Nuclei: how many, their radius in µm, its relative spread, and how many of them DAB stains."""

AGE_FAT = 0.004
"""Share of the tissue that is fat, a year above 20."""

# Density of R, G and B of one unit of each stain.
_HEMATOXYLIN, _EOSIN, _DAB = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]], np.float32)


@dataclass(frozen=True)
class Archive:
    """How a site scans and stains, and whom."""

    name: str
    mpp: float
    quality: int
    light: tuple[float, float, float]
    """Of the empty glass, R, G and B."""
    strength: tuple[float, float]
    """Of hematoxylin and of eosin."""
    age: tuple[float, float, float, float]
    """Mean, standard deviation, lowest, highest."""
    female: float


PUBLIC = Archive("archive", 0.5, 85, (245, 243, 246), (1.0, 1.0), (55, 16, 20, 90), 0.5)
CLINIC = Archive("clinic", 0.4, 70, (238, 240, 232), (0.8, 1.25), (64, 9, 35, 90), 0.6)


def _smooth(rng: np.random.Generator, side: int, cells: int) -> Array:
    """[side, side] in [0, 1], smooth over about a cell."""
    from PIL import Image

    small = Image.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8))
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC), np.float32) / 255


def _discs(side: int, centers: Array, radii: Array, stretch: Array) -> Array:
    """[side, side] in [0, 1]: soft ellipses."""
    from PIL import Image, ImageDraw, ImageFilter

    canvas = Image.new("L", (side, side))
    draw = ImageDraw.Draw(canvas)
    for (x, y), r, s in zip(centers.tolist(), radii.tolist(), stretch.tolist(), strict=True):
        draw.ellipse((x - r * s, y - r / s, x + r * s, y + r / s), fill=255)
    return np.asarray(canvas.filter(ImageFilter.GaussianBlur(1.2)), np.float32) / 255


def _picture(archive: Archive, diagnosis: str, age: float, stain: str, millimeters: float, rng: np.random.Generator) -> torch.Tensor:
    """[side, side, 3] uint8."""
    kind = DIAGNOSES[diagnosis]
    side = round(1000 * millimeters / archive.mpp)
    yy, xx = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j].astype(np.float32)
    edge = 0.75 + 0.35 * (_smooth(rng, side, 5) - 0.5)
    tissue = np.clip((edge - np.sqrt(xx**2 + (yy * rng.uniform(0.9, 1.3)) ** 2)) * 40, 0, 1)
    fat_share = AGE_FAT * (age - 20) * float(np.exp(rng.normal(0, 0.15)))
    scale = 1 / archive.mpp
    area = (1000 * millimeters) ** 2
    n_fat = rng.poisson(fat_share * area / (np.pi * 22**2))
    fat = _discs(side, rng.uniform(0, side, (n_fat, 2)), scale * 22 * np.exp(rng.normal(0, 0.2, n_fat)), np.ones(n_fat))
    n = rng.poisson(kind["density"] * area / 700)
    centers = rng.uniform(0, side, (n, 2))
    radii, stretch = scale * kind["radius"] * np.exp(rng.normal(0, kind["spread"], n)), np.exp(rng.normal(0, 0.15, n))
    solid = tissue * (1 - fat)
    fibers = 0.35 + 0.3 * _smooth(rng, side, 24) + 0.35 * _smooth(rng, side, side // 12)
    strong, pale = (s * float(np.exp(rng.normal(0, 0.08))) for s in archive.strength)
    if stain == "H&E":
        nuclei = _discs(side, centers, radii, stretch)
        density = (0.75 * pale * solid * fibers)[..., None] * _EOSIN + (0.95 * strong * solid * nuclei)[..., None] * _HEMATOXYLIN
    else:
        brown = rng.random(n) < kind["brown"]
        counter = _discs(side, centers[~brown], radii[~brown], stretch[~brown])
        stained = _discs(side, centers[brown], radii[brown], stretch[brown])
        density = (0.35 * solid * fibers + 0.55 * strong * solid * counter)[..., None] * _HEMATOXYLIN + (1.1 * pale * solid * stained)[..., None] * _DAB
    rgb = np.array(archive.light, np.float32) * np.exp(-density)
    rgb += rng.standard_normal(rgb.shape[:2], np.float32)[..., None] * 2
    return torch.from_numpy(np.clip(rgb + 0.5, 0, 255).astype(np.uint8))


def write_archive(root: Path, archive: Archive, subjects: int, *, millimeters: float = 0.6, seed: int = 0, threads: int = 2) -> Cohort:
    """Writes one synthetic archive, a slide of each stain a subject, and its index.

    Args:
        root: Folder to make.
        archive: How the site scans and stains, and whom.
        subjects: Number of subjects; diagnoses take turns.
        millimeters: Side of a slide in mm.
        seed: Seed of all draws.
        threads: Number of slides at a time.
    """
    root.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(subjects):
        rng = np.random.Generator(np.random.Philox(key=[seed, 1000 * (archive is CLINIC) + i]))
        mean, std, low, high = archive.age
        age = round(float(np.clip(rng.normal(mean, std), low, high)), 1)
        sex = "F" if rng.random() < archive.female else "M"
        for number, stain in enumerate(("H&E", "IHC")):
            path = root / f"{archive.name}{i:03d}-{stain.replace('&', '')}.tif"
            rows.append((str(path), f"{archive.name}{i:03d}", stain, archive.name, age, sex, list(DIAGNOSES)[i % len(DIAGNOSES)], number))
    table = pd.DataFrame(rows, columns=["path", "subject", "stain", "site", "age", "sex", "diagnosis", "number"])

    def write(row: Any) -> None:
        key = [seed, 1_000_000 + 10_000 * (archive is CLINIC) + 10 * int(row.subject[-3:]) + row.number]
        picture = _picture(archive, row.diagnosis, row.age, row.stain, millimeters, np.random.Generator(np.random.Philox(key=key)))
        io.write_slide(row.path, picture, archive.mpp, quality=archive.quality, description=STAMP)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(write, table.itertuples(index=False)))
    (root / "README").write_text(STAMP + "\n")
    listed = Cohort.from_table(table.drop(columns="number"), name=archive.name)
    cohort = listed.index(root / "index.parquet", threads=threads)
    assert cohort is not None
    return cohort


def make(out: Path, subjects: tuple[int, int], seed: int, threads: int) -> Job:
    """Writes both archives."""
    public = write_archive(out / "data" / "public", PUBLIC, subjects[0], seed=seed, threads=threads)
    clinic = write_archive(out / "data" / "clinic", CLINIC, subjects[1], seed=seed, threads=threads)
    # Chosen on seeds 11 to 13, not on those that anybody is shown. At 1 µm per pixel a nucleus is three pixels wide, and little is learned of it.
    settings = {
        "batch_size": 64,
        "norm_target": False,
        "decoder_depth": 1,
        "decoder_dim": 64,
        "preprocessing": SlidePreprocessing(mpp=0.5, size=64, patch=8),
        "order": "shuffle",
    }
    note = (
        f"Masked auto-encoder pretrained on pictures drawn from {len(public)} slides of an archive, H&E and IHC, then frozen; linear probes, on the mean "
        f"features of {len(clinic)} slides of another scanner, scale and staining. Chance for the diagnosis is 0.33 balanced accuracy."
    )
    return Job(public, clinic, settings, "mean", ["age", "sex", "site", "stain"], note)
