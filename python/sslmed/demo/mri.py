"""Two synthetic sites of brain MRI, written as real .nii.gz files in BIDS folders. Nothing here is a scan of a person.

Heads are ellipsoids with a folded cortex, ventricles and deep gray matter. What age and a diagnosis do to them, and how
the two scanners differ, was fixed before any model was trained on them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from sslmed import io
from sslmed.cohort import Cohort
from sslmed.demo.job import STAMP, Job
from sslmed.modalities.volumes import VolumePreprocessing
from sslmed.preparation import prepare

__all__ = [
    "CLINIC",
    "EFFECTS",
    "LABELS",
    "PUBLIC",
    "SPACING",
    "Anatomy",
    "Site",
    "Volumes",
    "make",
    "scan",
    "write_cohort",
    "write_files",
]

Array = np.ndarray[Any, Any]

LABELS = ("fluid", "cortex", "white matter", "deep gray matter", "lesion")
"""Tissues, from label 1 on."""

EFFECTS: dict[str, dict[str, float]] = {
    "control": {},
    "sclerosis": {"lesions": 16.0, "ventricles": 1.10},
    "dementia": {"hippocampus": 0.70, "ventricles": 1.20, "cortex": -0.35},
}
"""Per diagnosis: mean number of lesions, factors on lengths of hippocampus and ventricles, and mm of cortex."""

AGE_VENTRICLES = 0.012
"""Length of the ventricles, relative, a year above 20."""
AGE_CORTEX = -0.020
"""Thickness of the cortex, mm a year above 20."""
CORTEX = 4.6
"""Thickness of the cortex at 20 in mm: twice the real one, because voxels are large."""

SPACING = 3.0
"""Of the prepared volumes in mm."""

_SHAPE = (144.0, 183.0, 150.0)  # of the field of view in mm, from left to right, back to front, down to up
_SOFT = 1.2  # mm over which tissues mix in a voxel
_SULCUS = 14.0  # depth in mm
_PLACES = {  # middle and half axes in mm; of pairs the right one
    "cerebrum": ((0.0, 0.0, 5.0), (63.0, 80.0, 56.0)),
    "cerebellum": ((0.0, -50.0, -40.0), (46.0, 29.0, 22.0)),
    "brainstem": ((0.0, -20.0, -46.0), (11.0, 12.0, 26.0)),
    "ventricle": ((11.0, -4.0, 12.0), (5.5, 24.0, 8.0)),
    "nuclei": ((23.0, 4.0, 6.0), (9.0, 18.0, 9.0)),
    "hippocampus": ((28.0, -18.0, -16.0), (8.0, 18.0, 7.0)),
}


@dataclass(frozen=True)
class Site:
    """How a site scans, and whom."""

    name: str
    tesla: float
    spacing: tuple[float, float, float]
    """Of voxels in mm, from left to right, back to front, down to up."""
    axes: str
    """Where each axis of a file points to: letters of L/R, A/P and S/I."""
    contrast: Mapping[str, tuple[float, ...]]
    """By sequence the brightness of each of :data:`LABELS`."""
    gain: float
    noise: float
    """Relative to white matter in T1w."""
    bias: float
    """Size of the slow change of brightness over the head."""
    flair: float
    """Share of sessions with a FLAIR."""
    age: tuple[float, float, float, float]
    """Mean, standard deviation, lowest, highest."""
    female: float
    diagnoses: tuple[str, ...]


_FLAIR = (0.15, 0.85, 0.65, 0.75, 1.50)
_T1W = {3.0: (0.25, 0.62, 1.00, 0.76, 0.55), 1.5: (0.32, 0.68, 1.00, 0.80, 0.62)}  # by field strength in T
PUBLIC = Site(
    "public", 3.0, (3.0, 3.0, 3.0), "LAS", {"T1w": _T1W[3.0], "FLAIR": _FLAIR}, 900.0, 0.04, 0.06, 0.75,
    (46, 17, 20, 85), 0.5, ("control",),
)  # fmt: skip
CLINIC = Site(
    "clinic", 1.5, (3.0, 3.0, 3.6), "PSR", {"T1w": _T1W[1.5], "FLAIR": _FLAIR}, 350.0, 0.07, 0.10, 0.0,
    (58, 15, 25, 88), 0.6, tuple(EFFECTS),
)  # fmt: skip


class Volumes(NamedTuple):
    """A scan, in the axes of its site's files."""

    images: dict[str, Array]
    """By sequence [I, J, K] int16, without the skull."""
    mask: Array
    """[I, J, K] uint8."""
    labels: Array
    """[I, J, K] uint8: 0, or 1 and more for :data:`LABELS`."""
    affine: Array
    """[4, 4] float64, from voxels to mm in RAS+."""


class Anatomy:
    """A person's head, the same in every scan."""

    def __init__(self, age: float, sex: str, diagnosis: str, rng: np.random.Generator) -> None:
        effect, years = EFFECTS[diagnosis], age - 20.0
        self.size = (1.03 if sex == "M" else 0.97) * float(np.exp(rng.normal(0, 0.03)))
        self.cortex = CORTEX + AGE_CORTEX * years + effect.get("cortex", 0.0) + rng.normal(0, 0.15)
        own = float(np.exp(rng.normal(0, 0.07)))
        self.ventricles = own * (1 + AGE_VENTRICLES * years) * effect.get("ventricles", 1.0)
        self.hippocampus = effect.get("hippocampus", 1.0) * float(np.exp(rng.normal(0, 0.05)))
        directions = rng.normal(size=(8, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        self.waves = (2 * np.pi / rng.uniform(26, 38, (8, 1)) * directions).astype(np.float32)
        self.phases = rng.uniform(0, 2 * np.pi, 8).astype(np.float32)
        n = rng.poisson(effect.get("lesions", 0.0) + 0.02 * max(years - 30, 0))
        middle, axes = (np.array(part) for part in _PLACES["ventricle"])
        around = rng.normal(size=(n, 3))
        around /= np.linalg.norm(around, axis=1, keepdims=True)
        self.lesions = middle + around * (axes + rng.uniform(4, 12, (n, 1)))
        self.lesions[:, 0] *= rng.choice([-1.0, 1.0], n)
        self.radii = rng.uniform(3.0, 6.0, n)

    def tissues(self, places: Array) -> tuple[Array, Array]:
        """Shares of tissues [5, X, Y, Z] at places [3, X, Y, Z] in mm, and how far they are inside the head in mm."""
        x, y, z = places / np.float32(self.size)
        x = x - 0.03 * y  # as in people, the right front and the left back reach out further
        parts = ("cerebrum", "cerebellum", "brainstem")
        cerebrum, cerebellum, stem = (_inside(x, y, z, *_PLACES[part]) for part in parts)
        folds = zip(self.waves, self.phases, strict=True)
        waves = (np.sin(a * x + b * y + c * z + phase) for (a, b, c), phase in folds)
        fold = np.sum(list(waves), axis=0) ** 2  # 0 along the bottoms of sulci
        fissure = _step(1.8 - np.abs(x), 0.8) * _step(z - 24, 2.0)
        surface = cerebrum - _SULCUS * np.exp(-fold / 0.4**2)
        inner = cerebrum - self.cortex - _SULCUS * np.exp(-fold / (0.3 * self.cortex) ** 2)
        head = np.maximum(np.maximum(cerebrum, cerebellum), stem)
        pair = np.abs(x)
        # One tissue after the other replaces what lies there.
        shares = np.zeros((len(LABELS), *x.shape), np.float32)
        shares[0] = 1
        _paint(shares, 1, np.maximum(_step(surface) * (1 - fissure), _step(cerebellum)))
        white = np.maximum(_step(inner) * (1 - fissure), _step(cerebellum - 9))
        _paint(shares, 2, np.maximum(white, _step(stem)))
        _paint(shares, 3, _step(_inside(pair, y, z, *_PLACES["nuclei"])))
        middle, axes = _PLACES["hippocampus"]
        _paint(shares, 0, _step(_inside(pair, y, z, middle, axes)))
        _paint(shares, 3, _step(_inside(pair, y, z, middle, [self.hippocampus * axis for axis in axes])))
        middle, axes = _PLACES["ventricle"]
        fluid = _step(_inside(pair, y, z, middle, [self.ventricles * axis for axis in axes]))
        for center, radius in zip(self.lesions, self.radii, strict=True):
            _paint(shares, 4, _step(_inside(x, y, z, center, [radius] * 3)) * (shares[2] > 0.5))
        _paint(shares, 0, fluid)
        return shares, head


def _inside(x: Array, y: Array, z: Array, middle: Sequence[float], axes: Sequence[float]) -> Array:
    """About how far places are inside an ellipsoid in mm; negative outside."""
    a, b, c = (((place - m) / axis) ** 2 for place, m, axis in zip((x, y, z), middle, axes, strict=True))
    return np.asarray((1 - np.sqrt(a + b + c)) * np.float32(np.cbrt(np.prod(axes))), np.float32)


def _step(depth: Array, soft: float = _SOFT) -> Array:
    """0 outside, 1 inside, and between the two a mixture."""
    return np.asarray(1 / (1 + np.exp(np.clip(-depth / np.float32(soft), -30, 30))), np.float32)


def _paint(shares: Array, tissue: int, share: Array) -> None:
    shares *= 1 - share
    shares[tissue] += share


def scan(anatomy: Anatomy, site: Site, sequences: Sequence[str], rng: np.random.Generator) -> Volumes:
    """A scan of a head: how it lies, noise and bias are of this session alone.

    Args:
        anatomy: The head.
        site: The scanner.
        sequences: Names out of ``site.contrast``.
        rng: Draws of this session.
    """
    shape = [round(side / size) for side, size in zip(_SHAPE, site.spacing, strict=True)]
    affine = np.diag([*site.spacing, 1.0])
    affine[:3, 3] = [-size * (n - 1) / 2 for n, size in zip(shape, site.spacing, strict=True)]
    affine[2, 3] -= 5  # there is more of a head below its middle
    grid = [affine[a, 3] + site.spacing[a] * np.arange(n) for a, n in enumerate(shape)]
    fixed = np.stack(np.meshgrid(*grid, indexing="ij")).astype(np.float32)
    turn, shift = _rotation(rng.normal(0, np.deg2rad(4), 3)), rng.normal(0, 2, 3)
    moved = np.tensordot(turn.astype(np.float32), fixed - shift.astype(np.float32)[:, None, None, None], 1)
    shares, head = anatomy.tissues(moved)
    mask = head > 0
    labels = np.where(mask, shares.argmax(axis=0) + 1, 0).astype(np.uint8)
    unit = [place / (side / 2) for place, side in zip(fixed, _SHAPE, strict=True)]
    images = {}
    for sequence in sequences:
        linear, bent = rng.normal(0, site.bias, 3), rng.normal(0, site.bias / 2, 3)
        slow = sum(a * u + b * (u**2 - 0.3) for a, b, u in zip(linear, bent, unit, strict=True))
        bright = np.tensordot(np.array(site.contrast[sequence], np.float32), shares, 1)
        signal = bright * np.exp(np.asarray(slow, np.float32))
        noise = site.noise * rng.standard_normal((2, *shape), np.float32)
        magnitude = np.hypot(signal + noise[0], noise[1])  # Rician, as magnitudes are
        images[sequence] = np.where(mask, np.maximum(np.rint(site.gain * magnitude), 1), 0).astype(np.int16)
    stored = {name: _reordered(values, affine, site.axes) for name, values in images.items()}
    file_mask, file_affine = _reordered(mask.astype(np.uint8), affine, site.axes)
    file_labels, _ = _reordered(labels, affine, site.axes)
    return Volumes({name: values for name, (values, _) in stored.items()}, file_mask, file_labels, file_affine)


def _rotation(angles: Array) -> Array:
    """[3, 3] of angles about x, y and z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        one = np.eye(3)
        a, b = (other for other in range(3) if other != axis)
        one[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        matrix = matrix @ one
    return matrix


def _reordered(values: Array, affine: Array, axes: str) -> tuple[Array, Array]:
    """A volume in RAS order, with axes that point where the letters say, and the affine that goes with them."""
    order = [next(a for a, pair in enumerate(("LR", "PA", "IS")) if letter in pair) for letter in axes]
    out, matrix = values.transpose(order), affine[:, [*order, 3]].copy()
    for axis, letter in enumerate(axes):
        if letter in "LPI":
            out = np.flip(out, axis)
            matrix[:3, 3] += matrix[:3, axis] * (out.shape[axis] - 1)
            matrix[:3, axis] *= -1
    return np.ascontiguousarray(out), matrix


def _write(path: Path, values: Array, affine: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    io.write_nifti(io.Volume(torch.from_numpy(values), torch.from_numpy(affine)), path)


def write_files(root: Path, site: Site, subjects: int, *, seed: int = 0, threads: int = 2) -> None:
    """Writes one synthetic site as a BIDS folder of .nii.gz files; masks and tissue labels are under ``derivatives/``.

    Every sixth person is scanned twice.

    Args:
        root: Folder to make.
        site: How the site scans, and whom.
        subjects: Number of subjects; diagnoses take turns.
        seed: Seed of all draws.
        threads: Number of people at a time.
    """
    root.mkdir(parents=True, exist_ok=True)

    def write(i: int) -> tuple[Any, ...]:
        # One stream a subject and one a session, so that a cohort's first subjects do not depend on its size.
        number = 1000 * (site is CLINIC) + i
        rng = np.random.Generator(np.random.Philox(key=[seed, number]))
        mean, std, low, high = site.age
        age = round(float(np.clip(rng.normal(mean, std), low, high)), 1)
        sex = "F" if rng.random() < site.female else "M"
        diagnosis, subject = site.diagnoses[i % len(site.diagnoses)], f"sub-{site.name}{i:03d}"
        anatomy = Anatomy(age, sex, diagnosis, rng)
        for session in range(1, 2 + (i % 6 == 5)):
            own = np.random.Generator(np.random.Philox(key=[seed, 1_000_000 + 10 * number + session]))
            sequences = ["T1w", "FLAIR"] if own.random() < site.flair else ["T1w"]
            _write_session(root, subject, f"ses-{session}", scan(anatomy, site, sequences, own), site.tesla)
        return subject, age, sex, site.name, diagnosis, site.tesla

    with ThreadPoolExecutor(threads) as pool:
        rows = list(pool.map(write, range(subjects)))
    columns = ["participant_id", "age", "sex", "site", "diagnosis", "tesla"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "participants.tsv", sep="\t", index=False)
    description: dict[str, Any] = {"Name": f"SYNTHETIC {site.name}", "BIDSVersion": "1.9.0", "Acknowledgements": STAMP}
    text = json.dumps(description | {"DatasetType": "raw"}, indent=2)
    (root / "dataset_description.json").write_text(text + "\n")
    (root / "README").write_text(STAMP + "\n")
    derived = root / "derivatives" / "phantom"
    text = json.dumps(description | {"DatasetType": "derivative", "GeneratedBy": [{"Name": "sslmed demo"}]}, indent=2)
    (derived / "dataset_description.json").write_text(text + "\n")
    names = [f"{number}\t{name}\n" for number, name in enumerate(LABELS, 1)]
    (derived / "dseg.tsv").write_text("index\tname\n" + "".join(names))


def _write_session(root: Path, subject: str, session: str, made: Volumes, tesla: float) -> None:
    stem, folder = f"{subject}_{session}", Path(subject, session, "anat")
    for sequence, values in made.images.items():
        path = root / folder / f"{stem}_{sequence}.nii.gz"
        _write(path, values, made.affine)
        text = json.dumps({"MagneticFieldStrength": tesla, "Manufacturer": "SYNTHETIC"}, indent=2)
        path.with_name(f"{stem}_{sequence}.json").write_text(text + "\n")
    derived = root / "derivatives" / "phantom" / folder
    _write(derived / f"{stem}_desc-brain_mask.nii.gz", made.mask, made.affine)
    _write(derived / f"{stem}_dseg.nii.gz", made.labels, made.affine)


def write_cohort(root: Path, site: Site, subjects: int, *, seed: int = 0, threads: int = 2) -> Cohort:
    """Writes one synthetic site (:func:`write_files`) and opens it.

    Args:
        root: Folder to make.
        site: How the site scans, and whom.
        subjects: Number of subjects; diagnoses take turns.
        seed: Seed of all draws.
        threads: Number of people at a time.
    """
    write_files(root, site, subjects, seed=seed, threads=threads)
    return Cohort.from_bids(root, name=site.name)


def make(out: Path, subjects: tuple[int, int], seed: int, threads: int) -> Job:
    """Writes both sites, and prepares them."""
    prepared = []
    for site, n in zip((PUBLIC, CLINIC), subjects, strict=True):
        raw = write_cohort(out / "data" / site.name, site, n, seed=seed, threads=threads)
        prepared.append(prepare(raw, out / "prepared" / site.name, spacing=SPACING, threads=threads))
    public, clinic = prepared
    assert public is not None
    assert clinic is not None
    settings = {
        "batch_size": 8,
        "decoder_depth": 1,
        "decoder_dim": 64,
        "preprocessing": VolumePreprocessing(spacing=SPACING, patch=8),
    }
    note = (
        f"Masked auto-encoder pretrained on the T1w of {len(public)} sessions of the public site, then frozen; linear "
        f"probes on the mean features of {len(clinic)} sessions of the clinic, whose scanner has another field "
        "strength and contrast. Chance for the diagnosis is 0.33 balanced accuracy."
    )
    return Job(public, clinic, settings, "mean", ["age", "sex", "site"], note)
