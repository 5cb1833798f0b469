"""Short runs of detection on real H&E patches: nuclei (TCGA-LGG, 3 patients) and cells (NuCLS); needs SSLMED_DATA.

    python benchmarks/study_detection.py --only nuclei-stars --runs study-detection

Not a benchmark of speed. Nobody who is scored was trained on: nuclei leave one of three patients out; the ten NuCLS
patches say nothing of patients, so that each patch stands for one. Adds to results/study_detection.json.
"""

import argparse
import gzip
import json
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import data_root

import sslmed as sm

NAMES = {"0": "tumor", "1": "stroma", "2": "lymphocyte", "3": "other"}  # NuCLS's label_map.yaml
CHANGES = sm.Augmentation(p_flip=0.5, p_turn=0.75, hed=0.02, brightness=0.1, contrast=0.1)
RESULTS = Path(__file__).parent / "results" / "study_detection.json"


def outlines(path: Path) -> list[np.ndarray]:
    """The drawn nuclei of a patch: closed rings [n, 2] of x and y."""
    root = ET.fromstring(gzip.decompress(path.read_bytes()).decode("utf-8-sig"))
    rings = []
    for shape in root.iter("Shape"):
        points = [(float(p.attrib["X"]), float(p.attrib["Y"])) for p in shape.iter("Point") if "X" in p.attrib]
        if len(points) >= 3:
            rings.append(np.array([*points, points[0]]))
    return rings


def nuclei(folder: Path) -> sm.Cohort:
    """TCGA-LGG patches of 512² with their nuclei as GeoJSON."""
    rows = []
    for path in sorted((data_root() / "pathology/tcga_lgg_patches").glob("*.png")):
        drawn = path.with_name(f"{path.stem}_contours.xml.gz")
        target = folder / f"{path.stem}.geojson"
        sm.io.write_annotations(target, [sm.io.Annotation("nucleus", (ring,)) for ring in outlines(drawn)])
        rows.append({"subject": path.stem[:12], "path": str(path), "path_objects": str(target)})
    return sm.Cohort.from_table(pd.DataFrame(rows), name="tcga_lgg_patches")


def cells(folder: Path) -> sm.Cohort:
    """NuCLS patches of 256² with their cells as points."""
    rows = []
    for path in sorted((data_root() / "pathology/nucls_detection").glob("*.png")):
        table = pd.read_csv(path.with_suffix(".csv"), header=None, names=["x", "y", "class"], dtype={"class": str})
        table["class"] = table["class"].map(NAMES)
        table.to_csv(folder / f"{path.stem}.csv", index=False)
        rows.append({"subject": path.stem, "path": str(path), "path_objects": str(folder / f"{path.stem}.csv")})
    return sm.Cohort.from_table(pd.DataFrame(rows), name="nucls_detection")


def run(name: str, runs: Path, epochs: int) -> dict[str, Any]:
    """One task: its table and what it took."""
    folder = runs / name
    folder.mkdir(parents=True, exist_ok=True)
    source, kind = name.split("-")
    large = source == "nuclei"
    cohort = nuclei(folder) if large else cells(folder)
    how = sm.ImagePreprocessing(size=128, region=256, patch=None)  # nuclei at half of their size
    encoder = sm.DenseEncoder("unet", how, filters=[8, 16, 32, 48], seed=0)
    options = sm.Detection(epochs=epochs, batch_size=4, lr=5e-3, features=16, radius=4.0, augmentation=CHANGES)
    start = time.time()
    result = sm.detect(cohort, "path_objects", kind, encoder, folds=3 if large else 5, options=options, out=folder / "run", seed=0)
    table = result.table.round(3)
    print(table.to_string(), flush=True)
    thresholds = [one.threshold for one in result.learned]
    told = {"epochs": epochs, "pictures": len(cohort), "thresholds": thresholds, "minutes": (time.time() - start) / 60}
    return told | {"table": json.loads(table.to_json(orient="records"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", required=True, choices=("nuclei-stars", "nuclei-boxes", "cells-points"))
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=60)
    given = parser.parse_args()
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known[given.only] = run(given.only, given.runs, given.epochs)
    RESULTS.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
