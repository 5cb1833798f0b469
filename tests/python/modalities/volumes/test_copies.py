"""Copies of volumes are found on other grids and of other numbers; different volumes are no copies."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.ndimage import gaussian_filter, zoom

import sslmed as sm
from sslmed.modalities.volumes import copies as volumes


def made(number: int, shape: tuple[int, int, int] = (60, 72, 54)) -> np.ndarray:
    """A head of its own: folds of several sizes in an ellipsoid, with dark around."""
    draw = np.random.default_rng(number)
    folds = sum(s * gaussian_filter(draw.normal(size=shape).astype(np.float32), s) for s in (1.5, 2.5, 5.0))
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    inside = sum((x / r) ** 2 for x, r in zip(axes, draw.uniform(0.6, 0.75, 3), strict=True)) < 1
    return np.where(inside, 100 + 40 * folds / folds.std(), 0).clip(0).astype(np.float32)


def cropped(x: np.ndarray) -> np.ndarray:
    """Without its empty borders."""
    full = np.argwhere(x > x.min() + 0.02 * np.ptp(x))
    return x[tuple(slice(first, last + 1) for first, last in zip(full.min(0), full.max(0), strict=True))]


def resampled(by):
    return lambda x: zoom(x, by, order=1, grid_mode=True, mode="nearest")


CHANGES = {
    "cells of 1.3": resampled(1 / 1.3),
    "cells of 1.7": resampled(0.6),
    "cells of .7": resampled(1.4),
    "thick slices": resampled((1, 1, 0.6)),
    "blurred, cells of 2": lambda x: resampled(0.5)(gaussian_filter(x, 1)),
    "8 bits": lambda x: np.round(255 * np.clip(x / np.percentile(x, 99.8), 0, 1)),
    "other units": lambda x: 37.5 * x - 1000,
    "without borders": cropped,
    "with wide borders": lambda x: np.pad(x, ((20, 3), (0, 9), (40, 40)), constant_values=x.min()),
    "noise of 3 %": lambda x: x + 0.03 * np.percentile(x, 99) * np.random.default_rng(1).normal(size=x.shape).astype(np.float32),
    "other axes": lambda x: x.transpose(2, 0, 1)[:, ::-1],
    "mirrored": lambda x: x[::-1],
}


def of(values: list[np.ndarray]) -> list[volumes.Whole]:
    return [volumes.fingerprint(np.ascontiguousarray(x, dtype=np.float32), "made") for x in values]


@pytest.fixture(scope="module")
def heads():
    return [made(i) for i in range(5)]


@pytest.fixture(scope="module")
def known(heads):
    return of(heads[:3])


@pytest.mark.parametrize("name", CHANGES)
def test_changed_copies_are_found(heads, known, name):
    found = list(volumes.copies(known + of([CHANGES[name](heads[1])]), np.array([0, 0, 0, 1])))
    assert [(pair.a, pair.b) for pair in found] == [(1, 3)]
    assert all(0.94 <= pair.similarity <= 1.0 for pair in found)


def test_different_heads_are_no_copies(heads):
    alone = list(volumes.copies(of(heads), np.arange(5), least=0.0))
    assert all(pair.similarity < 0.9 for pair in alone)
    assert not list(volumes.copies([], np.zeros(0)))
    twice = of([heads[0], heads[0]])
    assert not list(volumes.copies(twice, np.zeros(2)))
    assert [pair[:2] for pair in volumes.copies(twice, np.arange(2))] == [(0, 1)]


def test_of_many_copies_each_is_linked(heads):
    many = of([heads[0] * gain for gain in np.linspace(1, 3, 10)] + heads[1:3])
    found = list(volumes.copies(many, np.arange(12)))
    linked = {0}
    for _ in range(10):
        linked |= {number for pair in found if {pair.a, pair.b} & linked for number in (pair.a, pair.b)}
    assert linked == set(range(10))


def test_copies_of_files_are_found(heads, tmp_path):
    def write(x, name, affine=None, dtype=torch.float32):
        sm.io.write_nifti(
            sm.io.Volume(torch.from_numpy(np.ascontiguousarray(x)).to(dtype), torch.eye(4) if affine is None else affine),
            tmp_path / name,
        )
        return str(tmp_path / name)

    turned = torch.tensor([[0.0, 0, -2, 90], [1, 0, 0, -50], [0, 1, 0, 3], [0, 0, 0, 1]])
    frames = np.stack([heads[3], heads[4]], axis=-1)
    files = {
        "a": write(heads[0], "a_T1w.nii.gz"),
        "b": write(heads[1], "b_T1w.nii"),
        "c": write(resampled(0.6)(heads[0] * 11), "c_T1w.nii.gz", turned, torch.int16),
        "d": write(heads[1], "d_T1w.nii.gz"),
        "e": write(frames, "e_bold.nii.gz"),
        "f": write(CHANGES["8 bits"](heads[3]), "f_T1w.nii", None, torch.uint8),
        "g": write(np.full((9, 9, 9), 7.0), "g_T1w.nii"),
        "h": write(np.full((9, 9, 9), np.nan), "h_T1w.nii"),
    }
    cohort = sm.Cohort.from_table(pd.DataFrame({"path": list(files.values()), "subject": list(files)}), name="here")
    with pytest.warns(sm.LeftOutWarning, match=r"2 of 8 rows.*g_T1w.nii: expected a volume with some content"):
        found = sm.leakage.find(cohort)
    assert found[["row_a", "row_b", "kind"]].values.tolist() == [
        [0, 2, "near duplicate"],
        [1, 3, "near duplicate"],
        [4, 5, "near duplicate"],
    ]
    some = cohort.subset([0, 1])
    prepared = sm.prepare(some, tmp_path / "prepared", spacing=1.3, progress=False)
    found = sm.leakage.find(some, sm.Cohort(prepared.table.assign(subject=["x", "y"]), "prepared"))
    assert [line[1::2][:2] for line in found.values.tolist() if line[4] != "same subject"] == [[0, 0], [1, 1]]


@pytest.mark.skipif("SSLMED_DATA" not in os.environ, reason="SSLMED_DATA does not name a folder with real volumes")
def test_people_are_no_copies_of_each_other():
    paths = sorted((Path(os.environ["SSLMED_DATA"]) / "mri/ixi_hh_2mm").glob("*_T1w_brain.nii.gz"))[:12]
    cohort = sm.Cohort.from_table(pd.DataFrame({"path": list(map(str, paths)), "subject": [path.name[:6] for path in paths]}), name="ixi")
    assert len(sm.leakage.find(cohort)) == 0
