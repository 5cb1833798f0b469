"""GeoJSON of objects, as QuPath has it."""

import json
import math
import uuid

import numpy as np
import pytest

import sslmed as sm

SQUARE = np.array([[0, 0], [8, 0], [8, 8], [0, 8], [0, 0]], float)
HOLE = np.array([[2, 2], [2, 4], [4, 4], [4, 2], [2, 2]], float)


def test_cells_have_nuclei_colors_and_measurements(tmp_path):
    own = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
    objects = [
        sm.io.SlideObject("tumor", (SQUARE + 0.125, HOLE + 0.125), (HOLE,), {"Area µm^2": 16.0, "Broken": math.nan}, own),
        sm.io.SlideObject("stroma", (SQUARE,)),
        sm.io.SlideObject("", (SQUARE,)),
    ]
    assert sm.io.write_objects(tmp_path / "c.geojson", objects, "cell", colors={"tumor": (200, 0, 0)}) == 3
    first, second, third = json.loads((tmp_path / "c.geojson").read_text())["features"]
    assert first["id"] == own
    assert first["properties"]["objectType"] == "cell"
    assert first["properties"]["classification"] == {"name": "tumor", "color": [200, 0, 0]}
    assert first["properties"]["measurements"] == {"Area µm^2": 16.0, "Broken": "NaN"}
    assert first["nucleusGeometry"]["coordinates"] == [HOLE.tolist()]
    assert len(first["geometry"]["coordinates"]) == 2
    assert second["nucleusGeometry"] == second["geometry"]
    assert "classification" not in third["properties"]
    assert len({uuid.UUID(one["id"]) for one in (first, second, third)}) == 3
    read = sm.io.read_annotations(tmp_path / "c.geojson")
    assert [one.label for one in read] == ["tumor", "stroma", ""]
    assert np.array_equal(read[0].rings[1], HOLE + 0.125)


def test_the_same_objects_have_the_same_ids(tmp_path):
    objects = [sm.io.SlideObject("a", (SQUARE,)), sm.io.SlideObject("a", (SQUARE,))]
    for name in "xy":
        sm.io.write_objects(tmp_path / name, objects)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()
    found = [one["id"] for one in json.loads((tmp_path / "x").read_text())["features"]]
    assert found[0] != found[1]


@pytest.mark.parametrize("kind", ["annotation", "detection", "cell"])
def test_no_objects_are_a_collection_too(tmp_path, kind):
    assert sm.io.write_objects(tmp_path / "e.geojson", [], kind) == 0
    assert json.loads((tmp_path / "e.geojson").read_text()) == {"type": "FeatureCollection", "features": []}


def test_what_is_wrong_is_told(tmp_path):
    path = tmp_path / "a.geojson"
    cases = [
        (sm.io.SlideObject("a", (SQUARE[:-1],)), "closed rings"),
        (sm.io.SlideObject("a", (SQUARE * np.nan,)), "finite"),
        (sm.io.SlideObject("a", ()), "at least one ring"),
        (sm.io.SlideObject("a", (SQUARE,), id="7"), "must be a UUID"),
    ]
    for one, words in cases:
        with pytest.raises(ValueError, match=words):
            sm.io.write_objects(path, [one])
    with pytest.raises(ValueError, match="kind='tile'"):
        sm.io.write_objects(path, [], "tile")
    with pytest.raises(ValueError, match="from 0 to 255"):
        sm.io.write_objects(path, [], colors={"a": (0, 0, 256)})
    with pytest.raises(ValueError, match="not open"):
        sm.io.ObjectWriter(path).write([])
    assert not list(tmp_path.iterdir())
