"""Two synthetic sites of EEG, written as real EDF+ files. Nothing here is a recording of a person.

The effects of group and age were fixed before any model was trained on them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sslmed import io
from sslmed.cohort import Cohort
from sslmed.demo.job import STAMP, Job
from sslmed.modalities.eeg import EegPreprocessing
from sslmed.transforms import electrode_position

__all__ = ["CLINIC", "EFFECTS", "GROUPS", "PUBLIC", "Site", "make", "write_cohort"]

Array = np.ndarray[Any, Any]

GROUPS = ("control", "back", "widespread", "joint", "neuropathic")

EFFECTS = {
    "control": {},
    "back": {"gamma": 1.5, "alpha": 0.85},
    "widespread": {"beta": 1.7, "theta": 1.3},
    "joint": {"left_alpha": 0.6},
    "neuropathic": {"theta": 1.8, "alpha_hz": -0.8},
}
"""Per group: factors on a rhythm's amplitude, and a shift of the alpha peak in Hz."""

AGE_ALPHA_HZ = -0.025
"""Alpha peak, Hz a year."""
AGE_ALPHA = -0.005
"""Alpha amplitude, relative, a year."""
AGE_SLOPE = -0.006
"""Exponent of the 1/f background, a year."""


@dataclass(frozen=True)
class Site:
    """How a site records, and whom."""

    name: str
    channels: tuple[str, ...]
    label: str
    sfreq: int
    line: float
    noise: float
    age: tuple[float, float, float, float]
    """Mean, standard deviation, lowest, highest."""
    female: float
    groups: tuple[str, ...]


_TEN_TWENTY = (
    "Fp1",
    "Fp2",
    "F7",
    "F3",
    "Fz",
    "F4",
    "F8",
    "T7",
    "C3",
    "Cz",
    "C4",
    "T8",
    "P7",
    "P3",
    "Pz",
    "P4",
    "P8",
    "O1",
    "O2",
)
PUBLIC = Site("public", (*_TEN_TWENTY, "Fpz", "Oz"), "{}", 250, 50.0, 1.0, (38, 13, 18, 75), 0.45, ("control",))
CLINIC = Site("clinic", _TEN_TWENTY[:8] + _TEN_TWENTY[9:17], "EEG {}-REF", 256, 60.0, 1.6, (54, 10, 30, 80), 0.70, GROUPS)


def _spectrum(n: int, sfreq: int, rng: np.random.Generator, shape: Callable[[Array], Array], rows: int) -> Array:
    """Noise [rows, n] of unit variance whose amplitude spectrum has the given shape over Hz."""
    frequency = np.fft.rfftfreq(n, 1 / sfreq)
    bins = len(frequency)
    noise = rng.standard_normal((rows, bins)) + 1j * rng.standard_normal((rows, bins))
    signal = np.fft.irfft(noise * shape(frequency), n)
    return np.asarray(signal / signal.std(axis=1, keepdims=True))


def _topography(positions: Array, center: tuple[float, float, float], width: float) -> Array:
    c = np.asarray(center) / np.linalg.norm(center) * 95.0
    return np.asarray(np.exp(-(((positions - c) ** 2).sum(axis=1)) / (2 * width**2)))


def _recording(site: Site, age: float, group: str, seconds: int, rng: np.random.Generator) -> Array:
    """[C, T] in µV: 1/f background, rhythms with their topographies, blinks, mains hum."""
    effect = EFFECTS[group]
    positions = np.array([electrode_position(c) for c in site.channels])
    channels, n = len(positions), seconds * site.sfreq
    years = age - 20.0

    def rhythm(hz: float, width: float, amplitude: float, topography: Array) -> Array:
        wave = _spectrum(n, site.sfreq, rng, lambda f: np.exp(-((f - hz) ** 2) / (2 * width**2)), 2)
        # Two generators with slightly different fields, so that a rhythm is not one number times a map.
        mix = 0.85 * topography[:, None] * wave[:1] + 0.35 * (topography * rng.uniform(0.5, 1.5, channels))[:, None] * wave[1:]
        return np.asarray(amplitude * mix)

    def spread() -> float:
        return float(np.exp(rng.normal(0, 0.2)))

    slope = 1.6 + AGE_SLOPE * years + rng.normal(0, 0.08)
    background = _spectrum(n, site.sfreq, rng, lambda f: np.where(f > 0.3, np.maximum(f, 0.3) ** (-slope / 2), 0.0), channels)
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    signal = 9.0 * np.linalg.cholesky(np.exp(-distance / 80.0) + 1e-6 * np.eye(channels)) @ background
    posterior = _topography(positions, (0, -80, 35), 60)
    posterior = np.where(positions[:, 0] < -5, posterior * effect.get("left_alpha", 1.0), posterior)
    alpha_hz = 11.0 + AGE_ALPHA_HZ * years + effect.get("alpha_hz", 0.0) + rng.normal(0, 0.25)
    alpha = 14.0 * (1 + AGE_ALPHA * years) * effect.get("alpha", 1.0) * spread()
    signal += rhythm(alpha_hz, 0.6, alpha, posterior)
    signal += rhythm(6.0, 0.8, 4.5 * effect.get("theta", 1.0) * spread(), _topography(positions, (0, 60, 75), 55))
    signal += rhythm(20.0, 2.5, 3.0 * effect.get("beta", 1.0) * spread(), _topography(positions, (0, 0, 95), 60))
    signal += rhythm(35.0, 4.0, 1.5 * effect.get("gamma", 1.0) * spread(), _topography(positions, (0, 80, 40), 70))
    t = np.arange(n) / site.sfreq
    frontal = _topography(positions, (0, 95, 5), 40)
    for at in np.cumsum(rng.exponential(6.0, size=seconds)):
        if at < seconds:
            signal += rng.uniform(40, 90) * frontal[:, None] * np.exp(-((t - at) ** 2) / (2 * 0.09**2))
    hum = np.sin(2 * np.pi * site.line * t + rng.uniform(0, 6.28))
    signal += site.noise * rng.uniform(0.5, 2.0, channels)[:, None] * hum
    signal += site.noise * 1.2 * rng.standard_normal((channels, n))
    return np.asarray(np.clip(signal, -3000, 3000))


def write_cohort(root: Path, site: Site, subjects: int, *, seconds: int = 60, seed: int = 0) -> Cohort:
    """Writes one synthetic site as a BIDS folder of EDF+ files.

    Args:
        root: Folder to make.
        site: How the site records, and whom.
        subjects: Number of subjects; groups take turns.
        seconds: Length of each recording in s.
        seed: Seed of all draws.

    Raises:
        RuntimeError: sslmed was built without EDFlib, which writes the files.
    """
    root.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(subjects):
        # One stream a subject, so that a cohort's first subjects do not depend on its size.
        rng = np.random.Generator(np.random.Philox(key=[seed, 1000 * (site is CLINIC) + i]))
        mean, std, low, high = site.age
        age = float(np.clip(rng.normal(mean, std), low, high))
        group = site.groups[i % len(site.groups)]
        subject = f"sub-{site.name}{i:03d}"
        folder = root / subject / "eeg"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{subject}_task-rest_eeg.edf"
        io.write_edf(
            path,
            _recording(site, age, group, seconds, rng),
            site.sfreq,
            [site.label.format(c) for c in site.channels],
            "uV",
            annotations=[(0.0, 0.0, "SYNTHETIC")],
            start_time=datetime(2000, 1, 1),
            patient="SYNTHETIC",
        )
        sex = "F" if rng.random() < site.female else "M"
        rows.append((subject, round(age, 1), sex, site.name, group))
    table = pd.DataFrame(rows, columns=["participant_id", "age", "sex", "site", "diagnosis"])
    table.to_csv(root / "participants.tsv", sep="\t", index=False)
    description = {
        "Name": f"SYNTHETIC {site.name}",
        "BIDSVersion": "1.9.0",
        "DatasetType": "raw",
        "Acknowledgements": STAMP,
    }
    (root / "dataset_description.json").write_text(json.dumps(description, indent=2) + "\n")
    (root / "README").write_text(STAMP + "\n")
    return Cohort.from_bids(root, name=site.name)


def make(out: Path, subjects: tuple[int, int], seed: int, threads: int) -> Job:
    """Writes both sites."""
    public = write_cohort(out / "data" / "public", PUBLIC, subjects[0], seed=seed)
    clinic = write_cohort(out / "data" / "clinic", CLINIC, subjects[1], seed=seed)
    settings = {
        "batch_size": 16,
        "reconstruct": "spectrum",
        "reconstruct_bins": 3,
        "decoder_depth": 1,
        "decoder_dim": 64,
        "preprocessing": EegPreprocessing(sfreq=100.0, l_freq=0.5, h_freq=45.0),
    }
    note = (
        f"Masked auto-encoder pretrained on {len(public)} recordings of the public site, then frozen; linear probes, on features "
        f"pooled by six regions of the head, of {len(clinic)} recordings of the clinic in five groups. Chance for the diagnosis is 0.2 balanced accuracy."
    )
    return Job(public, clinic, settings, "regions", ["age", "sex", "site"], note)
