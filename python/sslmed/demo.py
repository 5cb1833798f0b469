"""The embedded cohorts: two synthetic sites written as real files (EEG here, slides in demo_slides), and the main job run on them.

Nothing here is a recording of a person. The effects below were fixed before any model was trained on them, and every
output says SYNTHETIC.
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
from sslmed.preprocessing import EegPreprocessing, SlidePreprocessing
from sslmed.transforms import electrode_position

__all__ = ["CLINIC", "EFFECTS", "GROUPS", "PUBLIC", "Site", "run_demo", "write_cohort"]

Array = np.ndarray[Any, Any]
STAMP = "SYNTHETIC: generated data, nothing of any person. The figures show that the tools work, not a clinical finding."

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
        site: How to record.
        subjects: How many; groups take turns.
        seconds: Of each recording.
        seed: Of everything.

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


@dataclass(frozen=True)
class _Job:
    """A modality's cohorts, and what is done with them."""

    public: Cohort
    clinic: Cohort
    settings: dict[str, Any]
    """Of the pretraining."""
    pooling: str
    by: list[str]
    note: str


def _eeg(out: Path, subjects: tuple[int, int], seed: int, threads: int) -> _Job:
    public = write_cohort(out / "data" / "public", PUBLIC, subjects[0], seed=seed)
    clinic = write_cohort(out / "data" / "clinic", CLINIC, subjects[1], seed=seed)
    settings = {
        "batch_size": 16, "target": "spectrum", "target_bins": 3, "decoder_depth": 1, "decoder_dim": 64,
        "preprocessing": EegPreprocessing(sfreq=100.0, low=0.5, high=45.0),
    }  # fmt: skip
    note = (
        f"Masked auto-encoder pretrained on {len(public)} recordings of the public site, then frozen; linear probes, on features "
        f"pooled by six regions of the head, of {len(clinic)} recordings of the clinic in five groups. Chance for the diagnosis is 0.2 balanced accuracy."
    )
    return _Job(public, clinic, settings, "regions", ["age", "sex", "site"], note)


def _slides(out: Path, subjects: tuple[int, int], seed: int, threads: int) -> _Job:
    from sslmed import demo_slides

    public = demo_slides.write_archive(out / "data" / "public", demo_slides.PUBLIC, subjects[0], seed=seed, threads=threads)
    clinic = demo_slides.write_archive(out / "data" / "clinic", demo_slides.CLINIC, subjects[1], seed=seed, threads=threads)
    # Chosen on seeds 11 to 13, not on those that anybody is shown. At 1 µm per pixel a nucleus is three pixels wide, and little is learned of it.
    settings = {
        "batch_size": 64, "norm_target": False, "decoder_depth": 1, "decoder_dim": 64,
        "preprocessing": SlidePreprocessing(mpp=0.5, size=64, patch=8), "order": "shuffle",
    }  # fmt: skip
    note = (
        f"Masked auto-encoder pretrained on pictures drawn from {len(public)} slides of an archive, H&E and IHC, then frozen; linear probes, on the mean "
        f"features of {len(clinic)} slides of another scanner, scale and staining. Chance for the diagnosis is 0.33 balanced accuracy."
    )
    return _Job(public, clinic, settings, "mean", ["age", "sex", "site", "stain"], note)


_MODALITIES: dict[str, tuple[Callable[[Path, tuple[int, int], int, int], _Job], tuple[int, int], int]] = {
    "eeg": (_eeg, (48, 60), 30),
    "slides": (_slides, (20, 30), 10),
}
"""Cohorts, and by default how many subjects at the two sites, and epochs."""


def run_demo(
    out: Path,
    *,
    modality: str = "eeg",
    seed: int = 0,
    subjects: tuple[int, int] | None = None,
    epochs: int | None = None,
    threads: int = 2,
    progress: bool = True,
) -> Path:
    """Writes both cohorts, pretrains, transfers and reports; returns the path of the page.

    Leaves in ``out``: ``data/``, ``run/``, ``transfer.csv``, ``shift.csv`` and ``report.html``.

    Args:
        out: Folder to make.
        modality: "eeg" or "slides".
        seed: Of the cohorts and the run.
        subjects: Of the public site and of the clinic.
        epochs: Of the pretraining.
        threads: Loader threads.
        progress: Show progress.

    Raises:
        ValueError: An unknown modality.
    """
    from sslmed import shift
    from sslmed.evaluation.transfer import transfer
    from sslmed.pretraining import pretrain
    from sslmed.reporting.page import write_report

    if modality not in _MODALITIES:
        raise ValueError(f"modality must be one of {', '.join(_MODALITIES)}, got {modality!r}")
    write, default_subjects, default_epochs = _MODALITIES[modality]
    subjects = subjects or default_subjects

    def say(text: str) -> None:
        if progress:
            from rich.console import Console

            Console().print(text, highlight=False)

    say(f"[bold]{STAMP}[/bold]")
    say(f"1/4 writing the files of {subjects[0]} + {subjects[1]} subjects")
    job = write(out, subjects, seed, threads)
    say("2/4 pretraining on the public site, without labels")
    run = pretrain(
        job.public,
        encoder="vit_tiny",
        out=out / "run",
        epochs=default_epochs if epochs is None else epochs,
        depth=4,
        seed=seed,
        threads=threads,
        progress=progress,
        resume=(out / "run" / "checkpoints").exists(),
        **job.settings,
    )
    if run.interrupted:
        raise KeyboardInterrupt
    say("3/4 transfer to the clinic: diagnosis, then age as positive control")
    results = {target: transfer(run.encoder, job.clinic, target, pooling=job.pooling, seed=seed, threads=threads) for target in ("diagnosis", "age")}
    say("4/4 shift between the sites")
    shifted = shift.report(job.public, job.clinic, run.encoder, by=job.by, target="age", seed=seed, threads=threads)

    transferred = pd.concat([r.table.assign(target=name, data="SYNTHETIC") for name, r in results.items()], ignore_index=True)
    transferred.to_csv(out / "transfer.csv", index=False)
    shifted.table.assign(data="SYNTHETIC").to_csv(out / "shift.csv", index=False)
    sections = [("Pretraining loss (public site)", None, [run.plot().figure])]
    for target, result in results.items():
        metric = "balanced_accuracy" if target == "diagnosis" else "mae"
        sections.append((f"Transfer to the clinic: {target}", result.table, [result.plot(metric=metric).figure]))  # type: ignore[arg-type]
    sections.append(("Shift from the public site to the clinic", shifted.table, [shifted.plot()]))  # type: ignore[arg-type]
    page = out / "report.html"
    write_report(page, f"sslmed demo: {job.public.name} → {job.clinic.name}", sections, notes=[job.note], stamp=STAMP)
    for name, result in results.items():
        say(f"\n{name} (SYNTHETIC)\n{result.table.to_string(index=False, float_format='%.3f')}")
    say(f"\nreport: {page}")
    return page
