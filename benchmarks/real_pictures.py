"""The real slides, patches of tissue and chest X-rays under SSLMED_DATA as cohorts."""

import gzip
import re
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

import sslmed as sm

TILE = 128
"""Side of a tile in pixels of the patches, which are of 40x slides, about 0.25 µm."""


def slide(root: Path, out: Path) -> sm.Cohort:
    """One slide of skin, H&E at 0.5 µm per pixel, of one person."""
    table = pd.DataFrame({"path": [str(root / "pathology/wsi/CMU-1-Small-Region.svs")], "subject": ["CMU-1"]})
    out.mkdir(parents=True, exist_ok=True)
    cohort = sm.Cohort.from_table(table, name="cmu-1").index(out / "index.parquet", threads=1)
    assert cohort is not None
    return cohort


def tissue(root: Path, out: Path) -> sm.Cohort:
    """Tiles of H&E patches, of glioma (3 people) and breast cancer (10), with the number of nuclei in each."""
    folder = out / "tiles"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    found = [(p, p.name[:12], "glioma", _contours(p)) for p in sorted((root / "pathology/tcga_lgg_patches").glob("*.png"))]
    found += [(p, p.stem, "breast", _points(p)) for p in sorted((root / "pathology/nucls_detection").glob("*.png"))]
    for path, subject, tissue_of, middles in found:
        picture = Image.open(path).convert("RGB")
        for x in range(0, picture.width - TILE + 1, TILE):
            for y in range(0, picture.height - TILE + 1, TILE):
                tile = folder / f"{path.stem}-{x}-{y}.png"
                picture.crop((x, y, x + TILE, y + TILE)).save(tile)
                inside = ((middles >= (x, y)) & (middles < (x + TILE, y + TILE))).all(axis=1)
                rows.append((str(tile), subject, tissue_of, float(inside.sum())))
    return sm.Cohort.from_table(pd.DataFrame(rows, columns=["path", "subject", "tissue", "nuclei"]), name="tissue")


def xrays(root: Path, out: Path) -> tuple[sm.Cohort, sm.Cohort]:
    """Chest X-rays of 64 pixels: those of every other patient to pretrain on, those of the others to score."""
    folder, gray = root / "2d/nih_cxr64", out / "xrays"
    gray.mkdir(parents=True, exist_ok=True)
    table = pd.read_csv(folder / "metadata.tsv", sep="\t", dtype={"patient_id": str})
    for name in table["image"]:  # some have an alpha channel
        if not (gray / name).exists():  # a file that is written again is another one to what is kept of it
            Image.open(folder / "images" / name).convert("RGB").save(gray / name)
    table = table.assign(path=[str(gray / name) for name in table["image"]], subject=table["patient_id"])
    rank = table["subject"].map({name: number for number, name in enumerate(sorted(set(table["subject"])))})
    columns = ["path", "subject", "sex", "view"]
    halves = (table.loc[rank % 2 == half, columns].reset_index(drop=True) for half in (0, 1))
    first, second = (sm.Cohort.from_table(half, name=name) for half, name in zip(halves, ("xrays-a", "xrays-b"), strict=True))
    return first, second


def _contours(path: Path) -> np.ndarray:
    """[nuclei, 2]: middles of the drawn outlines, x and y in pixels."""
    text = gzip.decompress(path.with_name(f"{path.stem}_contours.xml.gz").read_bytes()).decode("utf-8-sig")
    middles = []
    for shape in text.split("<Shape Type")[1:]:
        points = re.findall(r'<Point X="([-\d.]+)" Y="([-\d.]+)"', shape)
        if len(points) > 2:
            middles.append(np.array(points, float).mean(axis=0))
    return np.array(middles)


def _points(path: Path) -> np.ndarray:
    """[cells, 2]: x and y in pixels."""
    return np.loadtxt(path.with_suffix(".csv"), delimiter=",", ndmin=2)[:, :2]
