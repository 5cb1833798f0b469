"""What a file is by its bytes, whatever its name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from slide_files import blob, pyramid, scene, write_slide

import sslmed as sm
from sslmed.modalities.file_kinds import picture_of, pictures_of

PREPROCESSING = sm.ImagePreprocessing(size=32, patch=16)


def dicom(path: Path, uid: str) -> Path:
    """A header as far as the class of what is stored."""
    value = uid.encode() + b"\0" * (len(uid) % 2)
    path.write_bytes(b"\0" * 128 + b"DICM" + b"\2\0\2\0UI" + len(value).to_bytes(2, "little") + value + b"\0" * 64)
    return path


def listed(paths: list[Path]) -> sm.Cohort:
    return sm.Cohort.from_table(pd.DataFrame({"path": [str(path) for path in paths], "subject": [f"p{i}" for i in range(len(paths))]}))


@pytest.mark.parametrize(
    ("ending", "form"), [(".jfif", "JPEG"), ("", "PNG"), (".bmp", "BMP"), (".tif", "TIFF"), (".PNG", "PNG"), (".photo", "JPEG"), (".tiff", "TIFF")]
)
def test_images_of_any_name_are_images(ending: str, form: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"a{i}{ending}" for i in range(4)]
    for i, path in enumerate(paths):
        Image.fromarray(scene(48, 40, i)).save(path, form)
    cohort = listed(paths)
    assert cohort.modality == "images"
    batches = list(sm.Loader(cohort, PREPROCESSING, batch_size=4, order="sequential"))
    assert [len(batch) for batch in batches] == [4]


def test_a_folder_of_images_is_one(tmp_path: Path) -> None:
    for ending, form in ((".png", "PNG"), (".bmp", "BMP"), (".tif", "TIFF"), (".jpe", "JPEG")):
        Image.fromarray(scene(48, 40)).save(tmp_path / f"a{ending}", form)
    cohort = sm.Cohort.from_folder(tmp_path, subject="a")
    assert cohort.modality == "images"
    assert len(cohort) == 4
    command = [sys.executable, "-m", "sslmed", "index", str(tmp_path), "--out", str(tmp_path / "i.parquet")]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert "images need no index" in found.stderr


def test_a_table_of_slides_and_images_is_told_apart(tmp_path: Path) -> None:
    slide = write_slide(tmp_path / "slide.tif", pyramid())
    Image.fromarray(scene(48, 40)).save(tmp_path / "tile.tif")
    Image.fromarray(scene(48, 40)).save(tmp_path / "photo.png")
    (tmp_path / "r.edf").write_bytes(b"0" + b" " * 255)
    (tmp_path / "notes.txt").write_text("nothing")
    cohort = listed([slide, tmp_path / "tile.tif", tmp_path / "photo.png", tmp_path / "r.edf", tmp_path / "notes.txt"])
    assert cohort.table["modality"].tolist()[:4] == ["slides", "images", "images", "eeg"]
    with pytest.raises(ValueError, match=r"notes\.txt: no modality recognizes this file"):
        _ = cohort.modalities
    assert cohort.part("images").modality == "images"


def test_big_tiff_and_either_order(tmp_path: Path) -> None:
    for big in (False, True):
        for big_endian in (False, True):
            assert picture_of(write_slide(tmp_path / "s.tif", pyramid(), big=big, big_endian=big_endian)) == "slides"
    sm.io.write_slide(tmp_path / "w.tif", blob(600), 0.5)
    assert picture_of(tmp_path / "w.tif") == "slides"
    assert picture_of(tmp_path / "no.tif") is None
    (tmp_path / "cut.tif").write_bytes(b"II*\0")
    assert picture_of(tmp_path / "cut.tif") == "slides"  # whose reader says what is wrong


def test_dicom_of_slides_and_of_radiographs(tmp_path: Path) -> None:
    assert picture_of(dicom(tmp_path / "s.dcm", "1.2.840.10008.5.1.4.1.1.77.1.6")) == "slides"
    radiograph = dicom(tmp_path / "r.dcm", "1.2.840.10008.5.1.4.1.1.1.1")
    assert listed([radiograph]).modality == "images"
    with pytest.raises(sm.FormatError, match=r"r\.dcm: .*a DICOM image without a copy: convert it first \(sslmed\.io\.convert_pictures\)"):
        sm._C.read_image(str(radiograph), torch.uint8)


def test_of_many_files_a_few_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(scene(48, 40)).save(tmp_path / "tile.tif")
    slide = write_slide(tmp_path / "slide.tif", pyramid())
    many = [str(tmp_path / "tile.tif")] * 1000
    looked_at: list[object] = []
    real = picture_of
    monkeypatch.setattr("sslmed.modalities.file_kinds.picture_of", lambda path: looked_at.append(path) or real(path))
    assert pictures_of(many) == ["images"] * 1000
    assert len(looked_at) == 16
    assert pictures_of([*many, str(slide)])[-1] == "slides"


def test_twelve_bits_reach_the_encoder_and_are_told_once(tmp_path: Path) -> None:
    values = np.tile(np.arange(64, dtype=np.uint16) * 64, (64, 1))
    for i in range(3):
        Image.fromarray(values).save(tmp_path / f"x{i}.png")
    loader = sm.Loader(listed([tmp_path / f"x{i}.png" for i in range(3)]), PREPROCESSING, batch_size=1, threads=1)
    with pytest.warns(sm.FormatWarning, match="taken for 12 bits") as told:
        most = [int(batch.views[0].values.max()) for batch in loader]
    assert min(most) > 240
    assert len(told) == 1
    again = sm.Loader(listed([tmp_path / "x0.png"]), PREPROCESSING, batch_size=1, threads=1)
    with pytest.warns(sm.FormatWarning, match="taken for 12 bits"):
        list(again)
