"""Slides and tables as archives have them: nothing is overwritten, kept although it changed, or left out without a word."""

from __future__ import annotations

import gc
import os
import resource
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter
from slide_files import APERIO, Level, blob, halved, pyramid, write_slide

import sslmed as sm
from sslmed.modalities.slides import findings

PREPROCESSING = sm.SlidePreprocessing(mpp=1.0, size=64, patch=16)


def one(tmp_path: Path, name: str = "a.tif", mpp: float = 0.5, side: int = 512, seed: int = 0) -> str:
    sm.io.write_slide(tmp_path / name, blob(side, seed), mpp)
    return str(tmp_path / name)


def indexed(table: pd.DataFrame | str | Path, out: Path, **options: Any) -> pd.DataFrame:
    found = sm.Cohort.from_table(table).index(out, **options)
    assert found is not None
    return found.table


def row(path: str, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"path": [path], "subject": ["p"]} | {name: [value] for name, value in columns.items()})


@pytest.mark.parametrize("column", ["tissue", "rows", "width", "cells", "tissue_mm2", "index_note"])
def test_columns_of_the_caller_are_never_overwritten(column: str, tmp_path: Path) -> None:
    table = row(one(tmp_path), **{column: "lung"})
    with pytest.raises(ValueError, match=rf"the table has a column '{column}', which the index would overwrite; rename it, such as to '{column}_given'"):
        indexed(table, tmp_path / "i.parquet")
    assert not (tmp_path / "i.parquet").exists()
    renamed = indexed(table.rename(columns={column: "organ"}), tmp_path / "i.parquet")
    assert renamed["organ"].tolist() == ["lung"]
    again = sm.Cohort(renamed, "again").index(tmp_path / "i.parquet")  # an index's own columns are its own
    assert again is not None
    pd.testing.assert_frame_equal(again.table, renamed)


def test_a_scale_is_one_column_or_two(tmp_path: Path) -> None:
    path = one(tmp_path)
    assert indexed(row(path, mpp_x=0.25, mpp_y=0.26), tmp_path / "i.parquet")[["mpp_x", "mpp_y"]].iloc[0].tolist() == [0.25, 0.26]
    assert indexed(row(path, mpp="0.3"), tmp_path / "i.parquet")["mpp_x"][0] == 0.3
    assert indexed(row(path, mpp=None), tmp_path / "i.parquet")["mpp_x"][0] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="needs 'mpp_y' too"):
        indexed(row(path, mpp_x=0.25), tmp_path / "i.parquet")
    with pytest.raises(ValueError, match=r"a\.tif: row 0 has only one of mpp_x and mpp_y"):
        indexed(row(path, mpp_x=0.25, mpp_y=np.nan), tmp_path / "i.parquet")


@pytest.mark.parametrize(("value", "hint"), [("0,5", "write a decimal point: 0.5"), ("40x", ""), (0, ""), (500.0, ""), ("inf", "")])
def test_a_scale_that_is_none_is_named(value: Any, hint: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"a\.tif: column 'mpp' has {value!r} in row 0, expected µm per pixel.*{hint}"):
        indexed(row(one(tmp_path), mpp=value), tmp_path / "i.parquet")


def test_a_slide_without_a_scale_is_told_where_to_put_one(tmp_path: Path) -> None:
    levels = pyramid()
    levels[0].description = APERIO.replace("|MPP = 0.5", "")
    path = str(write_slide(tmp_path / "n.svs", levels))
    with pytest.raises(ValueError, match=r"n\.svs: its scale is not known; give its µm per pixel in a column mpp"):
        indexed(row(path), tmp_path / "i.parquet")
    assert indexed(row(path, mpp=0.25), tmp_path / "i.parquet")["mpp_x"][0] == 0.25


def test_what_changed_is_looked_at_again(tmp_path: Path) -> None:
    path, out = one(tmp_path), tmp_path / "i.parquet"
    first = indexed(row(path), out)
    assert indexed(row(path, mpp=0.25), out)["mpp_x"][0] == 0.25
    back = indexed(row(path), out)
    assert back["mpp_x"][0] == pytest.approx(0.5)
    assert back["tissue_mm2"][0] == first["tissue_mm2"][0]
    assert indexed(row(path), out, cell=64.0)["cell_x"][0] == 2 * first["cell_x"][0]
    one(tmp_path, side=700)
    assert indexed(row(path), out)["width"][0] == 700
    os.utime(path, ns=(1, 1))  # written anew with the same size
    assert '"file"' in indexed(row(path), out)["index_state"][0]
    os.remove(path)
    with pytest.raises((sm.ReadError, sm.FormatError), match=r"a\.tif"):
        indexed(row(path), out)


def test_the_scale_that_was_given_survives_another_index(tmp_path: Path) -> None:
    path = one(tmp_path)
    given = indexed(row(path, mpp=0.25), tmp_path / "i.parquet")
    again = sm.Cohort(given, "again").index(tmp_path / "j.parquet", cell=64.0)
    assert again is not None
    assert again.table["mpp_x"][0] == 0.25


@pytest.mark.parametrize(
    ("resolution", "message"),
    [((300, 1, 2), "84.67 x 84.67 µm per pixel of level 0, expected 0.05 to 10"), ((72, 1, 3), "138.9"), ((1000000, 1, 3), "0.01 x 0.01")],
)
def test_scales_that_cannot_be_are_told(resolution: tuple[int, int, int], message: str, tmp_path: Path) -> None:
    path = str(write_slide(tmp_path / "a.tif", pyramid(600, 600, resolution=resolution)))
    if message == "138.9":
        with pytest.warns(sm.FormatWarning, match="138.88"), pytest.raises(ValueError, match="column mpp"):
            indexed(row(path), tmp_path / "i.parquet")
        return
    with pytest.warns(sm.ValueWarning, match=rf"1 of 1 slides: implausible scale: {message}.*column mpp.*a\.tif"):
        indexed(row(path), tmp_path / "i.parquet")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        indexed(row(path, mpp=0.5), tmp_path / "i.parquet")


def test_glass_has_a_size_and_pixels_are_square() -> None:
    assert findings.of_scale(100_000, 80_000, (0.25, 0.25)) == ""
    assert "500 mm long" in findings.of_scale(1_000_000, 80_000, (0.5, 0.5))
    assert "the same in x and y" in findings.of_scale(1000, 1000, (0.25, 0.5))


def picture_of(kind: str) -> np.ndarray[Any, Any]:
    pink = blob(1024).numpy()
    rng = np.random.default_rng(0)
    if kind == "gray":
        return np.repeat(pink.mean(2, keepdims=True).astype(np.uint8), 3, 2)
    if kind == "fluorescence":
        return np.where(pink.min(2, keepdims=True) > 235, 6, (255 - pink) // 2).astype(np.uint8)
    if kind == "blurred":
        smooth = np.full((1024, 1024, 3), 243.0)
        smooth[200:700, 200:700] = (200, 150, 190)
        return np.asarray(Image.fromarray(smooth.astype(np.uint8)).filter(ImageFilter.GaussianBlur(60)))
    if kind == "inked":
        smooth = np.full((1024, 1024, 3), 243.0)
        smooth[200:700, 200:700] = np.array([60, 160, 80]) + rng.normal(0, 15, (500, 500, 1))
        return np.clip(smooth, 0, 255).astype(np.uint8)
    return np.full((1024, 1024, 3), 243, np.uint8)


@pytest.mark.parametrize(
    ("kind", "advice"),
    [("gray", "the slide is gray; try method='luminance'"), ("fluorescence", "dark background: as of fluorescence"), ("blurred", "sharpness=0.0 finds more"),
     ("inked", "pen=False finds more"), ("blank", "the slide looks blank; leave it out")],
)  # fmt: skip
def test_slides_without_tissue_are_told_with_what_to_try(kind: str, advice: str, tmp_path: Path) -> None:
    sm.io.write_slide(tmp_path / f"{kind}.tif", picture_of(kind), 0.5)
    table = pd.concat([row(str(tmp_path / f"{kind}.tif")), row(one(tmp_path)).assign(subject="q")], ignore_index=True)
    with pytest.warns(sm.ValueWarning, match=rf"1 of 2 slides: .*{advice}.*{kind}\.tif"):
        found = indexed(table, tmp_path / "i.parquet")
    assert advice in found["index_note"][0]
    assert found["index_note"][1] == ""
    with pytest.warns(sm.ValueWarning, match="1 of 2 slides"):  # told again by whoever opens the index again
        indexed(table, tmp_path / "i.parquet")
    if found["cells"][0] == 0:
        with pytest.warns(sm.LeftOutWarning, match=rf"1 of 2 slides have no tissue in the index and give no pictures, such as .*{kind}\.tif"):
            sm.Loader(sm.Cohort(found, "both"), PREPROCESSING, batch_size=1)


def test_many_slides_of_one_finding_are_one_warning(tmp_path: Path) -> None:
    sm.io.write_slide(tmp_path / "x.tif", picture_of("blank"), 0.5)
    for i in range(5):
        os.link(tmp_path / "x.tif", tmp_path / f"x{i}.tif")
    table = pd.DataFrame({"path": [str(tmp_path / f"x{i}.tif") for i in range(5)], "subject": list("abcde")})
    with pytest.warns(sm.ValueWarning) as told:
        indexed(table, tmp_path / "i.parquet")
    assert [str(w.message).split(" slides")[0] for w in told] == ["cohort: 5 of 5"]


def test_a_slide_too_coarse_is_refused_before_the_first_picture(tmp_path: Path) -> None:
    rows = [row(one(tmp_path, f"{i}.tif", seed=i)) for i in range(3)] + [row(one(tmp_path, "z.tif", 2.5, 150))]
    cohort = sm.Cohort(indexed(pd.concat(rows, ignore_index=True), tmp_path / "i.parquet"), "mixed")
    with pytest.raises(ValueError, match=r"mixed: .*z\.tif: mpp=1 µm per pixel, expected at least half of the slide's own 2\.5.*1 of 4 slides"):
        sm.Loader(cohort, PREPROCESSING, batch_size=1)
    kept = cohort.query("mpp_x <= 2 and mpp_y <= 2")  # what the message says
    assert len(kept) == 3
    assert len(sm.Loader(kept, PREPROCESSING, batch_size=1).source) > 0
    assert len(sm.Loader(cohort, sm.SlidePreprocessing(mpp=1.25, size=64, patch=16), batch_size=1).source) > 0


@pytest.mark.parametrize("scales", [{"mpp_x": 0.5, "mpp_y": 2.5}, {"mpp_x": 2.5, "mpp_y": 0.5}])
@pytest.mark.parametrize("random", [True, False])
def test_the_coarser_side_counts(scales: dict[str, float], random: bool, tmp_path: Path) -> None:
    with pytest.warns(sm.ValueWarning, match="about the same in x and y"):
        cohort = sm.Cohort(indexed(row(one(tmp_path), **scales), tmp_path / "i.parquet"), "wide")
    with pytest.raises(ValueError, match=r"wide: .*a\.tif: mpp=1 µm per pixel, expected at least half of the slide's own 2\.5"):
        sm.slides.source(cohort, PREPROCESSING, random=random)


def test_an_archive_with_its_index_may_move(tmp_path: Path) -> None:
    (tmp_path / "A" / "deep").mkdir(parents=True)
    one(tmp_path / "A" / "deep", "s.tif")
    (tmp_path / "A" / "l.csv").write_text("path,subject\ndeep/s.tif,p1\n")
    found = indexed(tmp_path / "A" / "l.csv", tmp_path / "A" / "i.parquet")
    assert found["path"][0] == str(tmp_path / "A" / "deep" / "s.tif")
    os.rename(tmp_path / "A", tmp_path / "B")
    moved = sm.Cohort.from_table(tmp_path / "B" / "i.parquet")
    assert sum(len(batch) for batch in sm.Loader(moved, PREPROCESSING, batch_size=1)) > 0


def test_an_index_elsewhere_is_relative_to_a_root(tmp_path: Path) -> None:
    (tmp_path / "A").mkdir()
    (tmp_path / "index").mkdir()
    table = row(one(tmp_path / "A", "s.tif"))
    outside = row(one(tmp_path, "o.tif")).assign(subject="q")
    found = indexed(pd.concat([table, outside], ignore_index=True), tmp_path / "index" / "i.parquet", root=tmp_path / "A")
    assert [Path(path).name for path in found["path"]] == ["s.tif", "o.tif"]
    os.rename(tmp_path / "A", tmp_path / "B")
    again = sm.Cohort.from_table(tmp_path / "index" / "i.parquet", root=tmp_path / "B")
    assert again.table["path"].tolist() == [str(tmp_path / "B" / "s.tif"), str(tmp_path / "o.tif")]
    assert sum(len(batch) for batch in sm.Loader(again, PREPROCESSING, batch_size=1)) > 0


def test_annotations_say_where_pictures_are_taken(tmp_path: Path) -> None:
    path = one(tmp_path)
    (tmp_path / "drawn").mkdir()
    with pytest.raises(ValueError, match=r"a\.tif: expected one file of annotations \(a\.geojson, \.json or \.xml\) in .*drawn, found 0"):
        indexed(row(path), tmp_path / "i.parquet", annotations=tmp_path / "drawn")
    square = np.array([[128, 128], [384, 128], [384, 384], [128, 384], [128, 128]], float)
    both = [sm.io.Annotation("Tumor", (square,)), sm.io.Annotation("Stroma", (square / 2,))]
    sm.io.write_annotations(tmp_path / "drawn" / "a.xml", both)
    found = indexed(row(path), tmp_path / "i.parquet", annotations=tmp_path / "drawn", classes=["Tumor"])
    assert found["tissue_mm2"][0] == pytest.approx(0.128**2)
    assert sm.slides.tissue_of(found.iloc[0]).mask.nonzero().min() == 2  # cells of 64 pixels
    by_column = indexed(row(path, drawn=str(tmp_path / "drawn" / "a.xml")), tmp_path / "j.parquet", annotations="drawn", classes="Stroma")
    assert by_column["tissue_mm2"][0] == pytest.approx(0.064**2)
    sm.io.write_annotations(tmp_path / "drawn" / "a.xml", [sm.io.Annotation("Tumor", (square / 2,))])
    changed = indexed(row(path), tmp_path / "i.parquet", annotations=tmp_path / "drawn", classes=["Tumor"])
    assert changed["tissue_mm2"][0] == pytest.approx(0.064**2)
    with pytest.raises(ValueError, match="column 'drawn' names no annotations in row 0"):
        indexed(row(path, drawn=None), tmp_path / "k.parquet", annotations="drawn")
    with pytest.raises(ValueError, match="annotations='nowhere', expected a folder, or a column"):
        indexed(row(path), tmp_path / "k.parquet", annotations="nowhere")


def test_folders_by_any_link_and_without_what_systems_leave(tmp_path: Path) -> None:
    (tmp_path / "slides").mkdir()
    (tmp_path / "nas" / "deep").mkdir(parents=True)
    one(tmp_path / "slides", "a.tif")
    one(tmp_path / "nas" / "deep", "b.tif", seed=1)
    os.symlink(tmp_path / "nas", tmp_path / "slides" / "linked")
    os.symlink(tmp_path / "slides", tmp_path / "nas" / "round")  # in a circle
    for junk in ("._a.tif", ".hidden.tif"):
        (tmp_path / "slides" / junk).write_bytes(b"\0\5\x16\7" + b"\0" * 4000)
    (tmp_path / "slides" / ".Trash").mkdir()
    one(tmp_path / "slides" / ".Trash", "c.tif")
    found = sm.Cohort.from_folder(tmp_path / "slides")
    assert [Path(path).name for path in found.table["path"]] == ["a.tif", "b.tif"]


@pytest.fixture
def few_files() -> Any:
    """This process may open no more than 30 further files; put back afterwards."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def limit() -> None:
        gc.collect()  # what is closed later would make room
        taken = {int(name) for name in os.listdir("/proc/self/fd")}
        free = [number for number in range(len(taken) + 31) if number not in taken]
        resource.setrlimit(resource.RLIMIT_NOFILE, (free[30], before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_limit_of_open_files_is_no_slides_fault(on_error: str, fast: bool, tmp_path: Path, few_files: Any) -> None:
    one(tmp_path, "c.tif", side=256)
    for i in range(70):
        os.link(tmp_path / "c.tif", tmp_path / f"c{i}.tif")
    table = pd.DataFrame({"path": [str(tmp_path / f"c{i}.tif") for i in range(70)], "subject": [f"s{i}" for i in range(70)]})
    cohort = sm.Cohort(indexed(table, tmp_path / "i.parquet"), "many")
    preprocessing = sm.SlidePreprocessing(mpp=1.0, size=32, patch=16)
    source = sm.slides.source(cohort, preprocessing, fast=fast, open_slides=70)
    sampler = sm._C.Sampler(source, "sequential", 8, False, 0)
    plan = sm._C.LoaderPlan(source, sampler, preprocessing.recipe(), threads=2, on_error=on_error, end=sampler.batches_per_epoch)
    few_files()
    loader = plan.open()
    with pytest.raises(sm.ReadError, match="Too many open files"):
        list(iter(loader.next, None))
    assert not loader.failures


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_limit_of_open_files_stops_an_index(on_error: str, tmp_path: Path) -> None:
    table = row(one(tmp_path))
    indexed(table, tmp_path / "warm.parquet")  # libraries are loaded
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, before[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            indexed(table, tmp_path / "i.parquet", on_error=on_error)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert not (tmp_path / "i.parquet").exists()


def test_a_tile_that_openslide_reads_is_read_fast_too(tmp_path: Path) -> None:
    image = np.asarray(blob(512))

    def before_the_end(i: int, data: bytes) -> bytes:
        return data[:-2] + b"\0\0\0\0" + data[-2:] if i == 5 else data

    def after_the_end(i: int, data: bytes) -> bytes:
        return data + b"\xff\xff" if i == 5 else data

    def without_an_end(i: int, data: bytes) -> bytes:
        return data[:-2] if i == 5 else data

    for damage in (before_the_end, after_the_end, without_an_end):
        levels = [Level(image, damage=damage, resolution=(20000, 1, 3)), Level(halved(image))]
        path = write_slide(tmp_path / f"{damage.__name__}.tif", levels)
        read = []
        for fast in (False, True):
            slide = sm.io.open_slide(path, fast=fast)
            assert slide.fast_levels[0] == fast
            try:
                read.append(slide.read(0, 0, 0, 512, 512).numpy().tobytes())
            except sm.FormatError as error:
                read.append(type(error))
        assert read[0] == read[1], damage.__name__
