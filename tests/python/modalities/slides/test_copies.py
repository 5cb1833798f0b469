"""Copies of slides are found by their overviews, and pictures of slides too."""

import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import gaussian_filter

import sslmed as sm
from sslmed.io.slide_writer import write_slide
from sslmed.leakage import find


def scene(seed):
    rng = np.random.default_rng(seed)
    gray = sum(s * gaussian_filter(rng.normal(size=(512, 640)), s) for s in (2, 4, 8, 16, 32))
    tissue = gaussian_filter(rng.normal(size=(512, 640)), 60)
    tissue = (tissue > np.quantile(tissue, 0.4))[..., None]
    pink = np.clip(np.array([190, 90, 150]) + 40 * gray[..., None] / gray.std(), 0, 255)
    return np.where(tissue, pink, 243).astype(np.uint8)


def test_a_slide_saved_anew_or_as_a_picture(tmp_path):
    scenes = [scene(i) for i in range(3)]
    names = []
    for i, (picture, quality) in enumerate([(scenes[0], 90), (scenes[1], 90), (scenes[0], 40), (scenes[1][:400, 100:], 80), (scenes[2], 80)]):
        names.append(str(tmp_path / f"{i}.tif"))
        write_slide(names[-1], picture, 0.5, quality=quality)
    slides = sm.Cohort.from_table(pd.DataFrame({"path": names, "subject": list("abcde"), "modality": "slides"}), name="slides").index(
        tmp_path / "index.parquet", cell=32.0
    )
    found = find(slides)
    assert found[["row_a", "row_b", "kind"]].values.tolist() == [[0, 2, "near duplicate"], [1, 3, "near duplicate"]]
    Image.fromarray(scenes[2]).resize((320, 256)).save(tmp_path / "figure.jpg")
    figure = sm.Cohort.from_table(pd.DataFrame({"path": [str(tmp_path / "figure.jpg")], "subject": ["x"], "modality": "images"}), name="figure")
    assert find(slides, figure).query("cohort_b == 'figure'")["row_a"].tolist() == [4]
