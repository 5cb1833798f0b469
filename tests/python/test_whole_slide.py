"""Whole slides by tiles: against a plain blend of all tiles in memory, over tissue, written band by band."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from slide_files import blob, scene

import sslmed as sm
from sslmed._core import C
from sslmed.inference import tiled, tiled_bands


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    path = tmp_path_factory.mktemp("slide") / "slide.tif"
    sm.io.write_slide(path, torch.from_numpy(scene(700, 500, 3)), 0.5, tile=128)
    return sm.io.open_slide(path)


def network(classes=3, seed=0):
    torch.manual_seed(seed)
    layers = torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.Tanh(), torch.nn.Conv2d(6, classes, 3, padding=1)
    return torch.nn.Sequential(*layers).eval()


def weights(size, mode):
    if mode == "constant":
        return torch.ones(size, size, dtype=torch.float64)
    axis = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    line = torch.exp(-(axis**2) / (2 * (size / 8) ** 2))
    return (line[:, None] * line).float().double().clamp_min(1e-3)


def plain(slide, net, mpp, size, overlap, mode):
    """Sums of all tiles over the whole map, read one by one."""
    own = slide.mpp
    width, height = (math.ceil(side * o / mpp - 1e-6) for side, o in zip(slide.dimensions, own, strict=True))
    rows, columns = (C.window_starts(max(side, size), size, overlap, "monai") for side in (height, width))
    h, w = max(height, size), max(width, size)
    sums, counts = None, torch.zeros(h, w, dtype=torch.float64)
    weight = weights(size, mode)
    for y in rows:
        for x in columns:
            rgb = slide.read_mpp(x * mpp / own[0], y * mpp / own[1], mpp, size, size)
            with torch.no_grad():
                found = net(rgb.permute(2, 0, 1)[None].float() / 255)[0].double()
            if sums is None:
                sums = torch.zeros(len(found), h, w, dtype=torch.float64)
            sums[:, y : y + size, x : x + size] += found * weight
            counts[y : y + size, x : x + size] += weight
    return (sums / counts)[:, :height, :width]


@pytest.mark.parametrize(
    ("mpp", "size", "overlap", "mode"),
    [(0.5, 96, 0.25, "gaussian"), (0.5, 128, 0.6, "gaussian"), (0.8, 100, 0.0, "constant"), (1.0, 512, 0.25, "gaussian"), (2.0, 64, 0.5, "constant")],
)
def test_equals_a_blend_of_all_tiles(slide, mpp, size, overlap, mode):
    net = network()
    want = plain(slide, net, mpp, size, overlap, mode)
    found = tiled(slide, net, mpp=mpp, size=size, overlap=overlap, mode=mode, extra="probabilities", batch_size=3)
    assert found.shape == tuple(want.shape[1:])
    best = want.topk(2, 0).values
    sure = best[0] - best[1] > 1e-5
    assert sure.double().mean() > 0.99
    assert torch.equal(found.classes[sure].long(), want.argmax(0)[sure])
    probabilities = want.softmax(0) * 255
    assert float((found.extra.double() - probabilities).abs().max()) <= 0.5 + 1e-3  # rounded to bytes
    uncertain = tiled(slide, net, mpp=mpp, size=size, overlap=overlap, mode=mode, extra="uncertainty").extra[0].double()
    share = want.softmax(0)
    entropy = -(share * share.log()).sum(0) / math.log(3) * 255
    assert float((uncertain - entropy).abs().max()) <= 0.5 + 1e-3


@pytest.mark.data
def test_a_real_slide(data_root, tmp_path):
    slide = sm.io.open_slide(data_root / "pathology/wsi/CMU-1-Small-Region.svs")
    net = network()
    want = plain(slide, net, 2.0, 128, 0.25, "gaussian")
    found = tiled(slide, net, mpp=2.0, size=128, classes=["a", "b", "c"])
    best = want.topk(2, 0).values
    sure = best[0] - best[1] > 1e-5
    assert torch.equal(found.classes[sure].long(), want.argmax(0)[sure])
    tiled(slide, net, mpp=2.0, size=128, classes=["a", "b", "c"], out=tmp_path / "map.ome.tiff")
    again = sm.io.open_slide(tmp_path / "map.ome.tiff")
    assert again.mpp == pytest.approx((2.0, 2.0))
    assert torch.equal(again.read(0, 0, 0, *again.dimensions)[..., 0], found.classes)
    # The same width in µm, to a cell of the map.
    assert again.dimensions[0] * 2.0 == pytest.approx(slide.dimensions[0] * slide.mpp[0], abs=2.0)


def test_bands_have_no_gaps_and_threads_change_nothing(slide):
    net = network()
    bands = list(tiled_bands(slide, net, mpp=1.0, size=64, threads=1))
    assert len(bands) > 3
    assert [band.row for band in bands] == np.cumsum([0, *(len(band.classes) for band in bands[:-1])]).tolist()
    other = list(tiled_bands(slide, net, mpp=1.0, size=64, threads=4, batch_size=1))
    assert torch.equal(torch.cat([band.classes for band in bands]), torch.cat([band.classes for band in other]))


def test_flips_are_averaged(slide):
    def left(tiles):  # a prediction that depends on the place within the tile alone
        ramp = torch.linspace(0, 1, tiles.shape[-1]).expand(len(tiles), tiles.shape[-2], -1)
        return torch.stack([ramp, torch.full_like(ramp, 0.25)], 1)

    once = tiled(slide, left, size=128, overlap=0, extra="probabilities").extra[0]
    both = tiled(slide, left, size=128, overlap=0, flips=[1], extra="probabilities").extra[0]
    assert once[0, 0] != once[0, 127]
    expected = round(float(torch.tensor([0.5, 0.25]).softmax(0)[0]) * 255)
    assert (both.int() - expected).abs().max() <= 1


def test_only_tiles_with_tissue_are_predicted(tmp_path):
    sm.io.write_slide(tmp_path / "blob.tif", blob(1200), 0.5, tile=128)
    slide = sm.io.open_slide(tmp_path / "blob.tif")
    seen = []

    def net(tiles):
        seen.append(len(tiles))
        return torch.stack([torch.zeros(tiles.shape[0], *tiles.shape[2:]), torch.ones(tiles.shape[0], *tiles.shape[2:])], 1)

    everywhere = tiled(slide, net, mpp=0.5, size=128, overlap=0)
    assert sum(seen) == everywhere.tiles == 100
    assert (everywhere.classes == 1).all()
    seen.clear()
    tissue = sm.transforms.tissue.find(slide, mpp=8.0)
    found = tiled(slide, net, mpp=0.5, size=128, overlap=0, tissue=tissue)
    assert sum(seen) == found.tiles < 80
    mask = torch.nn.functional.interpolate(tissue.mask[None, None].float(), found.shape, mode="nearest")[0, 0] > 0
    assert (found.classes[mask] == 1).all()
    assert (found.classes == 0).any()
    assert torch.equal(found.classes, tiled(slide, net, mpp=0.5, size=128, overlap=0, tissue=True).classes)
    no_tissue = sm.transforms.tissue.Tissue(torch.zeros(10, 10, dtype=torch.bool), (120.0, 120.0), slide.mpp)
    empty = tiled(slide, net, mpp=0.5, size=128, tissue=no_tissue, outside=2, extra="probabilities")
    assert empty.tiles == 0
    assert (empty.classes == 2).all()
    assert (empty.extra[2] == 255).all()


def test_table_and_a_class_for_each_tile(slide):
    found = tiled(slide, lambda tiles: torch.tensor([[0.0, 1.0]]).expand(len(tiles), 2), mpp=1.0, size=64, classes=["a", "b"])
    assert found.table["cells"].tolist() == [0, 350 * 250]
    assert found.table["share"].tolist() == [0.0, 1.0]
    assert found.table["area_mm2"].iloc[1] == pytest.approx(350 * 250 / 1e6)
    assert found.plot() is not None


def test_native_tasks_get_bytes(slide):
    from sslmed import nn

    net = nn.Segmenter(nn.create("unet", rank=2, in_chans=3, filters=[8, 16], strides=[1, 2]), classes=2).eval()
    by_module = tiled(slide, net, mpp=1.0, size=64).classes

    class Task:
        def forward_dense(self, dense):
            assert dense.dtype == torch.uint8
            return net(dense.float() / 255)

    assert torch.equal(tiled(slide, Task(), mpp=1.0, size=64).classes, by_module)
    assert torch.equal(tiled(slide, net, mpp=1.0, size=64, preprocess=lambda tiles: tiles.double().div(255).float()).classes, by_module)


@pytest.mark.parametrize("mpp", [0.25, 0.5])
def test_objects_are_where_they_are_at_any_scale(tmp_path, mpp):
    """Dark squares at known places of level 0, found at another scale than the slide's."""
    rgb = np.full((1024, 1024, 3), 240, np.uint8)
    squares = [(64, 128, 128), (512, 256, 64), (640, 896, 128)]  # x, y, side
    for x, y, side in squares:
        rgb[y : y + side, x : x + side] = 40
    levels = sm.io.write_slide
    levels(tmp_path / "s.tif", torch.from_numpy(rgb), mpp, tile=128, quality=95)

    def dark(tiles):
        grey = tiles.mean(1)
        return torch.stack([grey, 1 - grey], 1)

    found = tiled(
        tmp_path / "s.tif", dark, mpp=4 * mpp, size=64, classes=["glass", "dark"],
        out=[tmp_path / "s.geojson", tmp_path / "s.ome.tiff"], objects="cell", extra="probabilities",
    )  # fmt: skip
    assert found.objects == 3
    assert found.classes is None
    areas = sm.io.read_annotations(tmp_path / "s.geojson")
    boxes = sorted((*one.rings[0].min(0), *one.rings[0].max(0)) for one in areas)
    assert boxes == sorted((x, y, x + side, y + side) for x, y, side in squares)
    assert {one.label for one in areas} == {"dark"}
    check_qupath(json.loads((tmp_path / "s.geojson").read_text()), "cell", (1024, 1024))
    feature = json.loads((tmp_path / "s.geojson").read_text())["features"][0]
    side = (feature["geometry"]["coordinates"][0][2][0] - feature["geometry"]["coordinates"][0][0][0]) * mpp
    assert feature["properties"]["measurements"]["Area µm^2"] == pytest.approx(side**2)
    label_map = sm.io.open_slide(tmp_path / "s.ome.tiff")
    assert label_map.mpp == pytest.approx((4 * mpp, 4 * mpp))
    assert label_map.dimensions == (256, 256)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.geojson", "s.ome.tiff", "s.probabilities.ome.tiff", "s.tif"]


def check_qupath(collection, kind, size):
    """What QuPath's reader asks of a collection (qupath, QuPathTypeAdapters.java)."""
    jsonschema = pytest.importorskip("jsonschema")
    point = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    ring = {"type": "array", "items": point, "minItems": 4}
    polygon = {
        "type": "object",
        "required": ["type", "coordinates"],
        "properties": {"type": {"const": "Polygon"}, "coordinates": {"type": "array", "items": ring, "minItems": 1}},
    }
    uuid = {"type": "string", "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"}
    byte = {"type": "integer", "minimum": 0, "maximum": 255}
    color = {"type": "array", "items": byte, "minItems": 3, "maxItems": 3}
    classification = {"type": "object", "required": ["name", "color"], "properties": {"name": {"type": "string"}, "color": color}}
    measured = {"type": "object", "additionalProperties": {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}}
    properties = {
        "type": "object",
        "required": ["objectType"],
        "properties": {"objectType": {"const": kind}, "classification": classification, "measurements": measured},
    }
    feature = {
        "type": "object",
        "required": ["type", "id", "geometry", "properties", *(["nucleusGeometry"] if kind == "cell" else [])],
        "properties": {"type": {"const": "Feature"}, "id": uuid, "geometry": polygon, "nucleusGeometry": polygon, "properties": properties},
        "additionalProperties": False,
    }
    schema = {
        "type": "object",
        "required": ["type", "features"],
        "properties": {"type": {"const": "FeatureCollection"}, "features": {"type": "array", "items": feature}},
    }
    jsonschema.validate(collection, schema)
    ids = [one["id"] for one in collection["features"]]
    assert len(set(ids)) == len(ids)
    for one in collection["features"]:
        for ring in one["geometry"]["coordinates"]:
            assert ring[0] == ring[-1]
            points = np.array(ring)
            assert (points >= 0).all()
            assert (points <= size).all()


def test_outlines_drawn_again_are_the_same_map(rng):
    ndimage = pytest.importorskip("scipy.ndimage")
    for _ in range(40):
        height, width = rng.integers(1, 25, 2).tolist()
        labels = rng.integers(0, rng.integers(2, 5), (height, width)).astype(np.int32)
        found = sm.inference.outline(labels)
        names = [str(value) for value in range(5)]
        areas = [sm.io.Annotation(one.label, one.rings) for one in found]
        assert np.array_equal(sm.slides.rasterized(areas, names, (height, width)).numpy(), labels)
        assert len(found) == sum(ndimage.label(labels == value)[1] for value in range(1, 5))
        for one in found:
            for ring in one.rings:
                assert len({tuple(point) for point in ring[:-1].tolist()}) == len(ring) - 1  # no ring passes a place twice


def test_outlines_are_valid_polygons(rng):
    shapely = pytest.importorskip("shapely")
    labels = (torch.nn.functional.avg_pool2d(torch.rand(1, 1, 80, 90), 5, 1)[0, 0] > 0.5).to(torch.int32)
    found = sm.inference.outline(labels, downsample=(2.0, 3.0), mpp=(0.5, 0.25))
    for one in found:
        polygon = shapely.Polygon(one.rings[0], one.rings[1:])
        assert polygon.is_valid
        assert one.measurements["Area µm^2"] == pytest.approx(polygon.area * 0.5 * 0.25)
    assert sum(one.measurements["Area µm^2"] for one in found) == pytest.approx(int(labels.sum()) * 2 * 3 * 0.5 * 0.25)


def test_a_stream_gives_what_the_whole_gives(rng):
    labels = torch.from_numpy(rng.integers(0, 3, (60, 40)).astype(np.int32))
    whole = sm.inference.outline(labels)
    stream = sm.inference.ObjectStream(40)
    parts = [one for first in range(0, 60, 7) for one in stream.add(labels[first : first + 7])] + stream.finish()
    assert [(one.label, one.rings[0].tolist()) for one in parts] == [(one.label, one.rings[0].tolist()) for one in whole]
    few = sm.inference.outline(labels, min_area=3)
    assert 0 < len(few) < len(whole)


def test_what_is_wrong_is_told(slide, tmp_path):
    net = network()
    cases = [
        ({"size": 0}, "size=0"), ({"overlap": 1.0}, "overlap=1.0"), ({"mode": "flat"}, "mode='flat'"), ({"batch_size": 0}, "batch_size=0"),
        ({"flips": [2]}, "flips"), ({"mpp": 0.1}, "at least half"), ({"out": tmp_path / "a.png"}, r"\.geojson"), ({"threads": 0}, "threads=0"),
        ({"extra": "all"}, "extra='all'"), ({"objects": "tile", "out": tmp_path / "a.geojson"}, "objects='tile'"), ({"outside": 5, "size": 64}, "outside=5"),
    ]  # fmt: skip
    for options, words in cases:
        with pytest.raises(ValueError, match=words):
            tiled(slide, net, **({"mpp": 1.0} | options))
    with pytest.raises(ValueError, match="must give"):
        tiled(slide, lambda tiles: tiles[:, :, ::2], mpp=1.0, size=64)
    with pytest.raises(ValueError, match="2 to 255 classes"):
        tiled(slide, lambda tiles: tiles[:, :1], mpp=1.0, size=64)
    with pytest.raises(ValueError, match="must be a task"):
        tiled(slide, 3, mpp=1.0)
    with pytest.raises(ValueError, match="not in memory"):
        tiled(slide, net, mpp=1.0, size=64, out=tmp_path / "a.ome.tiff").save(tmp_path / "b.ome.tiff")
    with pytest.raises(ValueError, match="whole numbers"):
        sm.inference.outline(torch.rand(3, 3))
    with pytest.raises(ValueError, match="must have 32 bits, got 1099511627776"):
        sm.inference.outline(torch.full((3, 3), 2**40))
    with pytest.raises(ValueError, match="gave NaN"):
        tiled(slide, lambda tiles: tiles * float("nan"), mpp=1.0, size=64)
    with pytest.raises(ValueError, match="must be different files"):
        tiled(slide, net, mpp=1.0, size=64, out=[tmp_path / "a.geojson"] * 2)
    with pytest.raises(ValueError, match="beside an OME-TIFF, and out= has none"):
        tiled(slide, net, mpp=1.0, size=64, out=tmp_path / "a.geojson", extra="uncertainty")


def test_nothing_is_left_of_a_prediction_that_fails(slide, tmp_path):
    calls = []

    def net(tiles):
        calls.append(0)
        if len(calls) > 3:
            raise RuntimeError("the network fails")
        return tiles

    with pytest.raises(RuntimeError, match="the network fails"):
        tiled(slide, net, mpp=1.0, size=64, out=[tmp_path / "a.ome.tiff", tmp_path / "a.geojson"])
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError):
        tiled(slide, network(), mpp=1.0, size=64, out=[tmp_path / "a.ome.tiff", tmp_path / "missing" / "a.geojson"])
    assert not list(tmp_path.iterdir())


def test_a_damaged_tile_names_the_slide(tmp_path):
    from slide_files import Level, write_slide

    broken = Level(scene(512, 512), damage=lambda i, data: b"\xff\xd8" + bytes(len(data) - 2) if i == 5 else data, resolution=(20000, 1, 3))
    write_slide(tmp_path / "broken.tif", [broken])
    with pytest.raises(sm.FormatError, match=r"broken\.tif"):
        tiled(tmp_path / "broken.tif", network(), size=128)


def test_saved_maps_equal_streamed_ones(slide, tmp_path):
    net = network()
    found = tiled(slide, net, mpp=1.0, size=64, classes=["a", "b", "c"])
    tiled(slide, net, mpp=1.0, size=64, classes=["a", "b", "c"], out=[tmp_path / "1.ome.tiff", tmp_path / "1.geojson"])
    found.save(tmp_path / "2.ome.tiff")
    found.save(tmp_path / "2.geojson")
    assert (tmp_path / "1.geojson").read_bytes() == (tmp_path / "2.geojson").read_bytes()
    one, two = (sm.io.open_slide(tmp_path / f"{i}.ome.tiff").read(0, 0, 0, 350, 250) for i in (1, 2))
    assert torch.equal(one, two)
    assert torch.equal(one[..., 0], found.classes)
    assert isinstance(found.table, pd.DataFrame)


def test_a_slide_without_tissue_has_all_named_classes(slide):
    where = sm.transforms.tissue.find(slide)
    none = replace(where, mask=torch.zeros_like(where.mask))
    found = tiled(slide, network(4), mpp=1.0, size=64, tissue=none, extra="probabilities", classes=["a", "b", "c", "d"])
    assert found.tiles == 0
    assert found.extra.flatten(1).unique(dim=1).tolist() == [[255], [0], [0], [0]]


def test_cells_outside_of_tiles_are_no_objects_of_saved_maps(slide, tmp_path):
    where = sm.transforms.tissue.find(slide)
    mask = torch.zeros_like(where.mask)
    mask[0, 0] = True
    how = {"mpp": 1.0, "size": 64, "tissue": replace(where, mask=mask), "outside": 2, "classes": ["a", "b", "glass"]}

    def second(tiles):
        return torch.stack([0 * tiles[:, 0], 0 * tiles[:, 0] + 1, 0 * tiles[:, 0]], dim=1)

    tiled(slide, second, **how, out=tmp_path / "1.geojson")
    tiled(slide, second, **how).save(tmp_path / "2.geojson")
    assert [one.label for one in sm.io.read_annotations(tmp_path / "1.geojson")] == ["b"]
    assert (tmp_path / "1.geojson").read_bytes() == (tmp_path / "2.geojson").read_bytes()
