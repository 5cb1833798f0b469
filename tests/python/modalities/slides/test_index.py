"""The index of slides: where tissue is, kept, gone on with, and shared between shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from slide_files import blob

import sslmed as sm
from sslmed.modalities import slides
from sslmed.modalities.slides import index as slide_index


def indexed(table: pd.DataFrame, out: Path, **options: Any) -> sm.Cohort | None:
    return sm.Cohort.from_table(table).index(out, **options)


def test_a_written_slide_reads_back_elsewhere_too(tmp_path: Path) -> None:
    openslide = pytest.importorskip("openslide")
    image = blob(700)
    sm.io.write_slide(tmp_path / "a.tif", image, 0.2425, quality=95)
    slide, theirs = sm.io.open_slide(tmp_path / "a.tif"), openslide.OpenSlide(str(tmp_path / "a.tif"))
    assert slide.level_dimensions == [(700, 700), (350, 350), (175, 175)] == list(theirs.level_dimensions)
    assert slide.mpp == pytest.approx((0.2425, 0.2425), rel=1e-4)
    assert all(slide.fast_levels)
    assert (slide.read(0, 0, 0, 700, 700).float() - image.float()).abs().mean() < 3
    with pytest.raises(ValueError, match="uint8"):
        sm.io.write_slide(tmp_path / "b.tif", image.float(), 0.5)
    with pytest.raises(ValueError, match="multiples of 16"):
        sm.io.write_slide(tmp_path / "b.tif", image, 0.5, tile=100)


def test_an_index_says_where_tissue_is(slide_cohort: sm.Cohort, slide_table: pd.DataFrame) -> None:
    assert slide_cohort.modality == "slides"
    assert list(slide_cohort.table["stain"]) == list(slide_table["stain"])
    for _, row in slide_cohort.table.iterrows():
        found = slides.tissue_of(row)
        assert found.area == pytest.approx(row["tissue_mm2"])
        # The disc and the bar, and what a median and closing at 8 µm and cells of 32 µm make of edges on so small a slide.
        expected = (np.pi * 0.07 + 0.12 * 0.9) * (900 * row["mpp_x"] / 1000) ** 2
        assert row["tissue_mm2"] == pytest.approx(expected, rel=0.3)
        whole = sm.transforms.tissue.find(sm.io.open_slide(row["path"]))
        assert row["tissue_mm2"] == pytest.approx(whole.area, rel=0.25)


def test_a_cohort_that_lists_slides_is_indexed_too(slide_table: pd.DataFrame, slide_cohort: sm.Cohort, tmp_path: Path) -> None:
    listed = sm.Cohort(slide_table, "listed")
    assert f"{len(slide_table)} slides of" in repr(listed)
    made = listed.index(tmp_path / "made.parquet")
    assert made is not None
    pd.testing.assert_frame_equal(made.table, slide_cohort.table)


def test_an_index_goes_on_where_it_ended_and_shards_add_up(slide_table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []
    real = slide_index.describe

    def counting(path: str, *args: object, **kwargs: object) -> dict[str, object]:
        looked_at.append(str(path))
        return real(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(slide_index, "describe", counting)
    monkeypatch.setattr(slide_index, "_PART", 1)
    out = tmp_path / "index.parquet"
    broken = pd.concat([slide_table, slide_table.iloc[:1].assign(path=str(tmp_path / "no.tif"))])
    with pytest.raises((sm.ReadError, sm.FormatError), match=r"no\.tif"):
        indexed(broken, out, threads=1)
    assert not out.exists()
    assert len(looked_at) == 7
    with pytest.warns(sm.LeftOutWarning, match=r"left out.*no\.tif"):
        found = indexed(broken, out, on_error="skip")
    assert found is not None
    assert len(found) == 6
    assert len(looked_at) == 8  # the broken one alone was tried again
    assert not out.with_name("index.parquet.parts").exists()
    assert indexed(slide_table, out) is not None
    assert len(looked_at) == 8
    finer = indexed(slide_table, out, mpp=4.0)  # other options: all are looked at again
    assert finer is not None
    assert len(looked_at) == 8 + 6
    assert (finer.table["cells"] > 0).all()

    sharded = tmp_path / "sharded.parquet"
    assert indexed(slide_table, sharded, shard=(1, 2)) is None
    both = indexed(slide_table, sharded, shard=(0, 2))
    assert both is not None
    pd.testing.assert_frame_equal(both.table, found.table)
    with pytest.raises(ValueError, match="shard"):
        indexed(slide_table, sharded, shard=(2, 2))


def test_a_shard_that_ends_last_finds_all_done(slide_table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "index.parquet"
    real = slide_index.describe

    def slow(path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if path == slide_table["path"].iloc[-1]:  # of this shard the last: meanwhile somebody does everything
            monkeypatch.setattr(slide_index, "describe", real)
            assert indexed(slide_table, out) is not None
            assert not out.with_name("index.parquet.parts").exists()
        return real(path, *args, **kwargs)

    monkeypatch.setattr(slide_index, "describe", slow)
    found = indexed(slide_table, out, shard=(1, 2), threads=1)
    assert found is not None
    assert len(found) == 6
    assert not out.with_name("index.parquet.parts").exists()


def test_a_folder_names_its_patients(slide_table: pd.DataFrame, tmp_path: Path) -> None:
    folder = Path(slide_table["path"][0]).parent
    found = sm.Cohort.open(folder).index(tmp_path / "a.parquet")
    assert found is not None
    assert sorted(found.table["subject"].unique()) == ["TCGA-AA-0000", "TCGA-AA-0001", "TCGA-AA-0002"]
    with pytest.raises(sm.FormatError, match="starts with"):
        sm.Cohort.from_folder(folder, subject="XX")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(sm.FormatError, match="found none"):
        sm.Cohort.from_folder(tmp_path / "nothing")


def test_a_scale_may_come_from_the_table(slide_table: pd.DataFrame, tmp_path: Path) -> None:
    found = indexed(slide_table.assign(mpp=[0.25, None, None, None, None, None]), tmp_path / "a.parquet")
    assert found is not None
    assert found.table["mpp_x"].tolist()[:2] == [0.25, pytest.approx(0.5)]
    assert "mpp" not in found.table
