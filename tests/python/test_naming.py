"""Patients by the names of files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image
from slide_files import blob

import sslmed as sm

SCHEMES = {
    "TCGA": ("tcga-aa-3812-01z-00-dx1", "TCGA-AA-3812-01Z-00-DX2.1234"),
    "CPTAC": ("C3L-00004-21", "C3L-00004-22"),
    "GTEx": ("GTEX-1117F-0126", "GTEX.1117F.0226"),
    "CAMELYON17": ("patient_004_node_0", "patient_004_node_1"),
    "TARGET": ("TARGET-20-PASFGA-09A", "target-20-pasfga-03a"),
    "HTAN": ("HTA1_200_1101", "HTA1_200_1102"),
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_slides_of_an_archive_are_of_their_patients(scheme: str, tmp_path: Path) -> None:
    sm.io.write_slide(tmp_path / "x.tif", blob(256), 0.5)
    (tmp_path / "s").mkdir()
    for name in SCHEMES[scheme]:
        os.link(tmp_path / "x.tif", tmp_path / "s" / f"{name}.tif")
    found = sm.Cohort.from_folder(tmp_path / "s")
    assert found.table["subject"].nunique() == 1
    assert len(found) == 2


def folder_of(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        Image.new("RGB", (8, 8)).save(folder / f"{name}.png")
    return folder


@pytest.mark.parametrize("names", [("case07_1", "case07_2"), ("S12-345 A", "S12-345 B"), ("P001_HE", "P001_IHC"), ("0012_left", "0012_right")])
def test_names_that_look_like_one_persons_are_told(names: tuple[str, str], tmp_path: Path) -> None:
    with pytest.warns(sm.ValueWarning, match=rf"each of 3 files counts as a subject.*names of 2 look like 1 subjects.*{names[0]}"):
        found = sm.Cohort.from_folder(folder_of(tmp_path / "f", *names, "other"))
    assert found.table["subject"].nunique() == 3
    named = sm.Cohort.from_folder(tmp_path / "f", subject=r"[A-Za-z]*\d*-?\d*")  # what the message says to do
    assert named.table["subject"].nunique() == 2


def test_other_names_are_not_told(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    sm.Cohort.from_folder(folder_of(tmp_path / "f", "tumor_001", "tumor_002", "normal_003", "a", "b12"))
    assert not recwarn
