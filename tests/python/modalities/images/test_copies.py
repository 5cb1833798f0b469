"""Copies of pictures are found, and pictures of their own are not."""

import io

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageFilter
from scipy.ndimage import gaussian_filter

import sslmed as sm
from sslmed.leakage import find
from sslmed.modalities.matching import bits_of, matches
from sslmed.modalities.picture_copies import copies, fingerprint


def textures(n=4, size=(240, 320), seed=0):
    """RGB pictures of blobs of all sizes."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n):
        gray = sum(s * gaussian_filter(rng.normal(size=size), s) for s in (1, 2, 4, 8, 16))
        tint = rng.uniform(0.5, 1, 3)
        out.append(np.clip(128 + 45 * gray[..., None] / gray.std() * tint, 0, 255).astype(np.uint8))
    return out


def jpeg(x, quality):
    file = io.BytesIO()
    Image.fromarray(x).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def scaled(x, width, height):
    return np.asarray(Image.fromarray(x).resize((width, height), Image.BICUBIC))


CHANGES = {
    "JPEG 90": lambda x: jpeg(x, 90),
    "JPEG 10": lambda x: jpeg(x, 10),
    "half": lambda x: scaled(x, 160, 120),
    "a quarter": lambda x: scaled(x, 80, 60),
    "double": lambda x: scaled(x, 640, 480),
    "square": lambda x: scaled(x, 224, 224),
    "a part of 80 %": lambda x: x[20:230, 20:310],
    "a part of 50 %": lambda x: x[50:220, 80:306],
    "a part of 36 %": lambda x: x[80:224, 60:252],
    "a part of 50 %, smaller, JPEG 30": lambda x: jpeg(scaled(x[50:220, 80:306], 113, 85), 30),
    "mirrored": lambda x: x[:, ::-1],
    "turned by a quarter": lambda x: np.rot90(x),
    "turned by 10 degrees": lambda x: np.asarray(Image.fromarray(x).rotate(10, Image.BICUBIC)),
    "inverted": lambda x: 255 - x,
    "channels in another order": lambda x: x[..., ::-1],
    "gray": lambda x: np.asarray(Image.fromarray(x).convert("L")),
    "gamma 2": lambda x: (255 * (x / 255.0) ** 2).astype(np.uint8),
    "less contrast": lambda x: (60 + x // 3).astype(np.uint8),
    "noise": lambda x: np.clip(x + np.random.default_rng(1).normal(0, 20, x.shape), 0, 255).astype(np.uint8),
    "blurred": lambda x: np.asarray(Image.fromarray(x).filter(ImageFilter.GaussianBlur(2))),
    "in a black frame": lambda x: np.pad(x, ((60, 60), (20, 20), (0, 0))),
}
PICTURES = textures()


def written(pictures, folder, name):
    folder.mkdir(exist_ok=True)
    paths = []
    for i, picture in enumerate(pictures):
        paths.append(str(folder / f"{i}.png"))
        Image.fromarray(np.ascontiguousarray(picture)).save(paths[-1])
    return sm.Cohort.from_table(pd.DataFrame({"path": paths, "subject": [f"{name}{i}" for i in range(len(paths))]}), name=name)


def of(pictures):
    return [fingerprint(torch.from_numpy(np.array(x[..., None] if x.ndim == 2 else x))) for x in pictures]


BASE = of(PICTURES)


@pytest.mark.parametrize("change", list(CHANGES))
def test_a_changed_copy_is_found_and_nothing_else(change):
    changed = of([CHANGES[change](x) for x in PICTURES])
    found = list(copies(BASE + changed, np.repeat([0, 1], len(PICTURES))))
    assert [(pair.a, pair.b) for pair in found] == [(i, i + len(PICTURES)) for i in range(len(PICTURES))]
    assert all(0.7 <= pair.similarity <= 1 + 1e-6 for pair in found)


def test_pictures_of_their_own_are_not_found():
    marked = textures(12, seed=2)
    for x in marked:  # the letter and the frame that a device burns into all of them
        x[:6], x[-6:], x[:, :6], x[:, -6:] = 0, 0, 0, 0
        x[20:40, 20:24], x[36:40, 20:34] = 255, 255
    assert not list(copies(BASE + of(marked), np.arange(len(BASE) + len(marked))))


def test_pictures_without_structure_are_nobodys_copies():
    flat = of([np.full((64, 64, 3), 255, np.uint8), np.full((64, 64, 3), 255, np.uint8), np.full((2, 200, 1), 9, np.uint8), np.zeros((1, 1, 3), np.uint8)])
    assert not list(copies(flat, np.arange(4)))
    ramp = np.tile(np.arange(64, dtype=np.uint8), (64, 1))
    assert not len(of([ramp])[0].hashes), "no blobs"
    assert not list(copies([], np.zeros(0)))


def test_files_of_cohorts(tmp_path):
    here = written(PICTURES, tmp_path / "here", "here")
    there = written([PICTURES[2][:200, :250], *textures(2, seed=5), 255 - PICTURES[0]], tmp_path / "there", "there")
    found = find(here, there)
    assert found[["cohort_a", "row_a", "cohort_b", "row_b", "kind"]].values.tolist() == [
        ["here", 0, "there", 3, "near duplicate"],
        ["here", 2, "there", 0, "near duplicate"],
    ]
    assert not len(find(here, there, near=False))
    both = here.joined(there)
    one = both.with_columns(subject=sm.leakage.groups(both, find(both)))
    assert one.table["subject"].nunique() == 6
    assert not len(find(one)), "copies of one subject are normal"


def test_a_feature_counts_with_its_nearest_only():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 16))
    near = values + 0.05 * rng.normal(size=values.shape)
    rows = [bits_of(values, 3), bits_of(near, 3), bits_of(rng.normal(size=(40, 16)), 3)]
    found = {(match.a, match.b): match for match in matches(rows, np.arange(3), 12, 4)}
    assert set(found) == {(0, 1)}
    assert (found[0, 1].of_a == found[0, 1].of_b).sum() > 35
    assert not list(matches(rows, np.zeros(3), 12)), "one group"
