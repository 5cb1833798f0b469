"""What segmentation reaches on real files in short runs on two busy cores: tissue, white-matter lesions, nuclei.

Every network stands beside the most frequent class, an atlas, intensities, and (volumes) the same network from random
weights; the encoder was pretrained on IXI by reconstructing what was masked. Writes
results/study_segmentation_PART.json.
"""

import argparse
import gzip
import json
import os
import re
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import real_mri
import torch
from common import write

import sslmed as sm
from sslmed.dense_tasks import parts_of, renamed_target
from sslmed.io import write_label_png
from sslmed.segmentation.baselines import BASELINES, Classical
from sslmed.segmentation.cases import Truths, classes_of, maps_of, scored
from sslmed.segmentation.tables import summary

FILTERS = [8, 16, 32]
COLUMNS = [
    "row", "metric", "class", "value", "low", "high", "n_subjects", "worst_decile", "n_undefined", "n_missed",
    "n_empty", "n_false", "convention",
]  # fmt: skip


def volumes(size: int) -> sm.VolumePreprocessing:
    return sm.VolumePreprocessing(spacing=2.0, size=size, patch=None)


def pretrained(root: Path, work: Path, epochs: int) -> sm.DenseEncoder:
    """A U-Net's contracting half that has learned to fill in masked parts of IXI's brains (SimMIM)."""
    encoder = sm.DenseEncoder("unet", volumes(32), filters=FILTERS)
    if epochs:
        cohort = sm.prepare(real_mri.ixi(root), work / "ixi", spacing=2.0, progress=False)
        file = work / "simmim" / "encoder.safetensors"
        if not file.exists():
            config = sm.PretrainConfig(epochs=epochs, batch_size=8, lr=1e-3, tensorboard=False)
            run = sm.pretrain(cohort, "simmim", encoder, work / "simmim", config=config)
            print(f"pretrained: loss {run.history['loss'].iloc[0]:.3f} to {run.history['loss'].iloc[-1]:.3f}")
        return sm.DenseEncoder.load(file)
    return encoder


def tissue(root: Path, work: Path) -> sm.Cohort:
    return sm.prepare(real_mri.oasis(root), work / "oasis", spacing=2.0, progress=False)


def lesions(root: Path, work: Path) -> sm.Cohort:
    """FLAIR with white-matter lesions: labels that a program made, and a person checked."""
    folder = root / "mri/nichart_elderly"
    table = pd.read_csv(folder / "participants.tsv", sep="\t").rename(columns={"participant_id": "subject"})
    table["path"] = [str(folder / f"{subject}_FLAIR.nii.gz") for subject in table["subject"]]
    table["path_labels"] = [str(folder / f"{subject}_wmh.nii.gz") for subject in table["subject"]]
    table = table[[Path(path).exists() for path in table["path"]]].reset_index(drop=True)
    raw = sm.Cohort.from_table(table[["subject", "path", "path_labels"]].assign(sequence="FLAIR"), name="elderly")
    return sm.prepare(raw, work / "elderly", spacing=2.0, progress=False)


def filled(rings: list[np.ndarray], size: tuple[int, int]) -> torch.Tensor:
    """1 inside of rings [n, 2] (x, y), by the crossings of each row of pixels."""
    out = np.zeros(size, bool)
    for ring in rings:
        x, y = ring[:, 0], ring[:, 1]
        for row in range(max(int(y.min()), 0), min(int(y.max()) + 1, size[0])):
            crossing = (y <= row + 0.5) != (np.roll(y, -1) <= row + 0.5)
            i = np.flatnonzero(crossing)
            j = (i + 1) % len(y)
            edges = np.sort(x[i] + (row + 0.5 - y[i]) * (x[j] - x[i]) / (y[j] - y[i]))
            for a, b in zip(edges[::2], edges[1::2], strict=True):
                out[row, max(int(np.ceil(a - 0.5)), 0) : max(int(np.ceil(b - 0.5)), 0)] = True
    return torch.from_numpy(out.astype(np.uint8))


def nuclei(root: Path, work: Path) -> sm.Cohort:
    """H&E patches with drawn nuclei; folds are over the three patients."""
    rows = []
    for path in sorted((root / "pathology/tcga_lgg_patches").glob("*.png")):
        contours = path.with_name(f"{path.stem}_contours.xml.gz")
        if not contours.exists():
            continue
        with gzip.open(contours, "rt", encoding="utf-8-sig") as file:
            parts = re.findall(r"<Points>(.*?)</Points>", file.read(), re.S)
        point = re.compile(r'<Point X="([-\d.eE]+)" Y="([-\d.eE]+)"')
        rings = [np.array(point.findall(part), float) for part in parts]
        height, width = sm.io.read_image(path).shape[:2]
        labels = work / f"{path.stem}_nuclei.png"
        write_label_png(filled([ring for ring in rings if len(ring) > 2], (int(height), int(width))), labels)
        rows.append({"subject": path.stem.split("_")[0], "path": str(path), "mask": str(labels)})
    return sm.Cohort.from_table(pd.DataFrame(rows), name="lgg")


def without_network(cohort: sm.Cohort, pre: Any, how: sm.Segmentation, folds: int) -> pd.DataFrame:
    """The table of rows that need no network."""
    maps = maps_of(cohort, replace(pre, labels=True))
    classes = classes_of(cohort, Truths(maps), None)
    cases: list[dict] = []
    for part in parts_of("study", cohort, folds, 0):
        fitted = Classical(maps, part.rows, classes, list(cohort.table["subject"]))
        for row in map(int, part.test):
            for name in BASELINES:
                labels = fitted.labels(name, maps, row)
                cases += scored(cohort, maps, row, labels, classes, how, model=name, fold=part.number)
    return summary(pd.DataFrame(cases), how, 0)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("part", choices=["tissue", "lesions", "nuclei"])
    options.add_argument("--epochs", type=int, default=40)
    options.add_argument("--work", type=Path, help="folder of what is prepared and trained: a second call goes on")
    options.add_argument("--classical", action="store_true", help="only the rows that need no network")
    options.add_argument("--pretraining", type=int, default=6, help="epochs over IXI; 0: none")
    given = options.parse_args()
    warnings.simplefilter("ignore")
    root, start = Path(os.environ["SSLMED_DATA"]), time.perf_counter()
    work = given.work or Path(tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    if given.part == "nuclei" and given.classical:
        cohort = renamed_target(nuclei(root, work), "mask", "path_labels")
        how = sm.Segmentation(metrics=("dice",))
        result = without_network(cohort, sm.ImagePreprocessing(size=256, patch=None), how, folds=3)
    elif given.part == "nuclei":
        pre = sm.ImagePreprocessing(size=256, patch=None)
        encoder = sm.DenseEncoder("unet", pre, filters=FILTERS)
        how = sm.Segmentation(epochs=given.epochs, batch_size=4, lr=3e-3, flips=(0, 1), metrics=("dice",))
        result = sm.segment(nuclei(root, work), "mask", encoder, folds=3, options=how, out=work / "nuclei")
    elif given.classical:
        cohort = {"tissue": tissue, "lesions": lesions}[given.part](root, work)
        result = without_network(cohort, volumes(32), sm.Segmentation(), folds=5)
    else:
        cohort = {"tissue": tissue, "lesions": lesions}[given.part](root, work)
        encoder = pretrained(root, work, given.pretraining)
        how = sm.Segmentation(epochs=given.epochs, batch_size=4, lr=3e-3, overlap=0.25)
        also = {"random": given.pretraining > 0, "out": work / given.part}
        result = sm.segment(cohort, encoder=encoder, folds=5, options=how, **also)
    table = result if isinstance(result, pd.DataFrame) else result.table
    print(table[COLUMNS].to_string(index=False, float_format="%.3f"))
    took = round(time.perf_counter() - start)
    body = {
        "rows": json.loads(table.to_json(orient="records")),
        "seconds": took,
        "options": {name: value for name, value in vars(given).items() if name != "work"},
    }
    write(f"study_segmentation_{given.part}", body)


if __name__ == "__main__":
    main()
