"""Pyramids of label maps: read again by tifffile and OpenSlide, their OME-XML checked against the schema."""

import importlib.util
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

import sslmed as sm


@pytest.fixture
def labels(rng):
    coarse = rng.integers(0, 5, (20, 30), dtype=np.uint8)
    return np.kron(coarse, np.ones((37, 41), np.uint8))  # 740 x 1230


def pyramid(array, count):
    out = [array]
    for _ in range(count - 1):
        h, w = out[-1].shape[-2] // 2, out[-1].shape[-1] // 2
        out.append(out[-1][..., : 2 * h : 2, : 2 * w : 2])
    return out


def write(path, array, step, mpp=(0.25, 0.5), **options):
    with sm.io.OmeTiffWriter(path, array.shape[-2:], mpp, dtype=str(array.dtype), **options) as out:
        for row in range(0, array.shape[-2], step):
            out.write(array[..., row : row + step, :])


@pytest.mark.parametrize("step", [1, 100, 128, 1000])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_tifffile_and_openslide_read_every_level(tmp_path, labels, step, bigtiff):
    tifffile = pytest.importorskip("tifffile")
    openslide = pytest.importorskip("openslide")
    path = tmp_path / "labels.ome.tiff"
    write(path, labels, step, tile=128, bigtiff=bigtiff)
    want = pyramid(labels, 5)
    with tifffile.TiffFile(path) as file:
        assert file.is_ome
        assert file.is_bigtiff == bigtiff
        assert len(file.series) == 1
        levels = file.series[0].levels
        assert [level.shape for level in levels] == [array.shape for array in want]
        for level, array in zip(levels, want, strict=True):
            assert level.pages[0].is_tiled
            assert level.pages[0].tile == (128, 128)
            assert np.array_equal(level.asarray(), array)
    with openslide.OpenSlide(path) as slide:
        assert slide.level_dimensions == tuple((array.shape[1], array.shape[0]) for array in want)
        for i, array in enumerate(want):
            pixels = np.asarray(slide.read_region((0, 0), i, slide.level_dimensions[i]))
            assert np.array_equal(pixels[..., 0], array)
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.25)
        assert float(slide.properties["openslide.mpp-y"]) == pytest.approx(0.5)
    ours = sm.io.open_slide(path)
    assert ours.mpp == pytest.approx((0.25, 0.5))
    assert torch.equal(ours.read(0, 0, 0, 1230, 740)[..., 0], torch.from_numpy(labels))


def test_xml_follows_the_schema(tmp_path, labels):
    tifffile = pytest.importorskip("tifffile")
    xmlschema = pytest.importorskip("xmlschema")
    package = importlib.util.find_spec("ome_types")  # holds the schema; importing it needs more packages
    if package is None or package.origin is None:
        pytest.skip("ome_types is not installed")
    schema = xmlschema.XMLSchema(str(Path(package.origin).parent / "ome-2016-06.xsd"))
    for options in ({"classes": {0: "glass", 1: "tumor & <stroma>", 2: "Ödem"}}, {"name": 'a "name"'}, {"channels": ["é & ü"]}):
        write(tmp_path / "a.ome.tiff", labels, 64, **options)
        with tifffile.TiffFile(tmp_path / "a.ome.tiff") as file:
            text = file.pages[0].description
        schema.validate(text)
        assert "PhysicalSizeX" in text
    found = tifffile.xml2dict(text)["OME"]["Image"]["Pixels"]
    assert (found["PhysicalSizeX"], found["PhysicalSizeY"]) == (0.25, 0.5)
    assert found["PhysicalSizeXUnit"] == "µm"
    assert (found["SizeX"], found["SizeY"]) == (1230, 740)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32"])
def test_several_channels_are_means_below(tmp_path, rng, dtype):
    tifffile = pytest.importorskip("tifffile")
    values = (rng.random((3, 300, 401)) * 200).astype(dtype)
    write(tmp_path / "p.ome.tiff", values, 77, tile=64, labels=False, channels=["a", "b", "c"])
    with tifffile.TiffFile(tmp_path / "p.ome.tiff") as file:
        series = file.series[0]
        assert len(file.series) == 1
        assert series.axes == "CYX"
        assert np.array_equal(series.asarray(), values)
        want = values
        for level in series.levels[1:]:
            h, w = want.shape[1] // 2, want.shape[2] // 2
            means = want[:, : 2 * h, : 2 * w].reshape(3, h, 2, w, 2).mean((2, 4), dtype=np.float64)
            want = np.floor(means + 0.5).astype(dtype) if dtype != "float32" else means.astype(dtype)
            assert np.array_equal(level.asarray(), want)
    if dtype == "uint8":
        slide = sm.io.open_slide(tmp_path / "p.ome.tiff")
        assert slide.level_count == 4
        assert torch.equal(slide.read(0, 0, 0, 401, 300)[..., 0], torch.from_numpy(values[0]))


def test_large_maps_are_bigtiff(tmp_path):
    """Decided from the size alone: nothing of 4 GiB is written."""
    writer = sm.io.OmeTiffWriter(tmp_path / "a.ome.tiff", (70_000, 70_000), (0.5, 0.5))
    writer.__exit__(ValueError, ValueError(), None)
    small = sm.io.OmeTiffWriter(tmp_path / "b.ome.tiff", (40_000, 40_000), (0.5, 0.5))
    small.__exit__(ValueError, ValueError(), None)
    assert (writer._big, small._big) == (True, False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [np.float64, np.float32, Fraction])
def test_the_scale_is_written_as_a_number(tmp_path, number):
    sm.io.write_ome_tiff(tmp_path / "a.ome.tiff", torch.zeros(4, 5, dtype=torch.uint8), (number(0.25), number(0.5)))
    data = (tmp_path / "a.ome.tiff").read_bytes()
    assert b'PhysicalSizeX="0.25"' in data
    assert b'PhysicalSizeY="0.5"' in data


def test_what_is_wrong_is_told(tmp_path):
    path = tmp_path / "a.ome.tiff"
    for options, words in (({"dtype": "float64"}, "dtype='float64'"), ({"tile": 100}, "tile=100"), ({"channels": []}, "channels is empty")):
        with pytest.raises(ValueError, match=words):
            sm.io.OmeTiffWriter(path, (10, 10), (0.5, 0.5), **options)
    with pytest.raises(ValueError, match="mpp=0"):
        sm.io.OmeTiffWriter(path, (10, 10), (0, 0.5))
    with pytest.raises(ValueError, match="expected 10 rows, got 5"), sm.io.OmeTiffWriter(path, (10, 10), (0.5, 0.5)) as out:
        out.write(torch.zeros(5, 10, dtype=torch.uint8))
    with pytest.raises(ValueError, match="at most 10 rows, 10"), sm.io.OmeTiffWriter(path, (10, 10), (0.5, 0.5)) as out:
        out.write(torch.zeros(5, 9, dtype=torch.uint8))
    with pytest.raises(ValueError, match="within 0 and 255"), sm.io.OmeTiffWriter(path, (10, 10), (0.5, 0.5)) as out:
        out.write(torch.full((5, 10), 300))
    with pytest.raises(ValueError, match="whole numbers in a file of uint8"), sm.io.OmeTiffWriter(path, (10, 10), (0.5, 0.5)) as out:
        out.write(torch.full((10, 10), 0.7))
    with pytest.raises(ValueError, match=r"\[H, W\]"):
        sm.io.write_ome_tiff(path, torch.zeros(4), (0.5, 0.5))
    assert not list(tmp_path.iterdir())


def test_sizes_and_names_that_no_file_can_hold_are_refused(tmp_path, labels):
    for mpp in (1e-7, 2e4):
        with pytest.raises(ValueError, match=r"OmeTiffWriter: mpp=.* must be a number at least 1e-05 and at most 10000"):
            write(tmp_path / "a.ome.tiff", labels, 64, mpp=(mpp, 0.5))
    for options in ({"classes": {0: "a\x00b"}}, {"channels": ["\x1b"]}, {"name": "\ud800"}):
        with pytest.raises(ValueError, match="which XML cannot hold"):
            write(tmp_path / "a.ome.tiff", labels, 64, **options)
    assert list(tmp_path.iterdir()) == []
    tifffile = pytest.importorskip("tifffile")
    write(tmp_path / "a.ome.tiff", labels, 64, mpp=(1e-5, 1e4))
    with tifffile.TiffFile(tmp_path / "a.ome.tiff") as file:
        per_cm = [file.pages[0].tags[name].value for name in ("XResolution", "YResolution")]
    assert [a / b for a, b in per_cm] == pytest.approx([1e9, 1.0])
