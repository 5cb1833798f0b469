"""What people drew on slides, in every form that QuPath, ASAP and Aperio write it."""

import json

import numpy as np
import pytest
from slide_files import Level, write_slide

import sslmed as sm
from sslmed.io import Annotation, read_annotations, write_annotations

SQUARE = [[512, 512], [1024, 512], [1024, 1024], [512, 1024], [512, 512]]
HOLE = [[640, 640], [768, 640], [768, 768], [640, 768], [640, 640]]
POLYGON = {"type": "Polygon", "coordinates": [SQUARE]}
AREA = 512 * 512 * 0.25 / 1e6  # mm²


def feature(geometry, **properties):
    return {"type": "Feature", "geometry": geometry, "properties": {"objectType": "annotation"} | properties}


@pytest.fixture
def slide(tmp_path):
    return sm.io.open_slide(write_slide(tmp_path / "s.tiff", [Level(np.full((2048, 2048, 3), 244, np.uint8), resolution=(20000, 1, 3))]))


def area(source, slide, **options):
    return sm.transforms.tissue.Tissue.from_annotations(source, slide, **options).area


FORMS = {
    "a geometry": POLYGON,
    "a feature": feature(POLYGON),
    "a list": [feature(POLYGON)],
    "a list of lists": [[feature(POLYGON)]],
    "a collection": {"type": "FeatureCollection", "features": [feature(POLYGON)]},
    "a collection in a list": [{"type": "FeatureCollection", "features": [feature(POLYGON)]}],
    "a collection of geometries": feature({"type": "GeometryCollection", "geometries": [POLYGON]}),
    "several polygons": feature({"type": "MultiPolygon", "coordinates": [[SQUARE]]}),
    "a third coordinate": feature({"type": "Polygon", "coordinates": [[[x, y, 0] for x, y in SQUARE]]}),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", None])
def test_geojson_of_every_form(form, encoding, slide, tmp_path):
    source = FORMS[form]
    if encoding is not None:
        (tmp_path / "x.geojson").write_text(json.dumps(source), encoding=encoding)
        source = tmp_path / "x.geojson"
    assert area(source, slide) == pytest.approx(AREA)


def test_what_has_no_area_is_told_and_left_out(slide):
    others = [
        {"type": "Point", "coordinates": [3, 3]},
        {"type": "MultiPoint", "coordinates": [[3, 3]]},
        {"type": "LineString", "coordinates": [[3, 3], [4, 4]]},
        None,
    ]
    with pytest.warns(sm.FormatWarning, match=r"1 features without a geometry and 1 lines and 2 points have no area.*1 areas are read"):
        assert area([feature(POLYGON), *map(feature, others)], slide) == pytest.approx(AREA)
    with pytest.raises(sm.FormatError, match="only 1 points"):
        read_annotations(feature(others[0]))
    with pytest.raises(sm.FormatError, match="expected a list in a FeatureCollection, found NoneType"):
        read_annotations({"type": "FeatureCollection"})
    deep: object = POLYGON
    for _ in range(100):
        deep = {"type": "GeometryCollection", "geometries": [deep]}
    with pytest.raises(sm.FormatError, match="within each other"):
        read_annotations(deep)


def test_classes_are_chosen_and_ignored(slide):
    inner = {"type": "Polygon", "coordinates": [HOLE]}
    hole = 128 * 128 * 0.25 / 1e6
    for classification in ({"name": "Tumor"}, {"names": ["Tumor"]}, "Tumor"):
        both = [feature(POLYGON, classification=classification), feature(inner, classification={"name": "Necrosis"})]
        assert [one.label for one in read_annotations(both)] == ["Tumor", "Necrosis"]
        assert area(both, slide, classes=["Necrosis"]) == pytest.approx(hole)
        assert area(both, slide, classes=["Tumor"]) == pytest.approx(AREA)
        assert area(both, slide, ignore=["Necrosis"]) == pytest.approx(AREA - hole)
    ignored = [feature(POLYGON), feature(inner, classification={"name": "Ignore*"})]
    assert area(ignored, slide) == pytest.approx(AREA - hole)
    with pytest.raises(ValueError, match=r"classes='Tumour', expected labels of the file: 'Necrosis', 'Tumor'"):
        area(both, slide, classes=["Tumour"])


def test_what_lies_beyond_the_slide_is_told(slide):
    wide = {"type": "Polygon", "coordinates": [[[1024, 1024], [9000, 1024], [9000, 2048], [1024, 2048], [1024, 1024]]]}
    with pytest.warns(sm.FormatWarning, match=r"1 of 2 areas reach beyond the 2048 x 2048 pixels.*on another level"):
        assert area([POLYGON, wide], slide) == pytest.approx(AREA + 1024 * 1024 * 0.25 / 1e6)
    far = {"type": "Polygon", "coordinates": [[[x + 9000, y] for x, y in SQUARE]]}
    with pytest.raises(sm.FormatError, match="found all 1 outside"):
        area(far, slide)


ASAP = """<?xml version="1.0"?>
<ASAP_Annotations><Annotations>
<Annotation Name="Annotation 0" Type="Polygon" PartOfGroup="Tumor" Color="#F4FA58"><Coordinates>
<Coordinate Order="1" X="1024" Y="512" /><Coordinate Order="0" X="512{dot}0" Y="512" /><Coordinate Order="2" X="1024" Y="1024" />
<Coordinate Order="3" X="512" Y="1024" /></Coordinates></Annotation>
<Annotation Name="Annotation 1" Type="Dot" PartOfGroup="None"><Coordinates><Coordinate Order="0" X="1" Y="2" /></Coordinates></Annotation>
</Annotations><AnnotationGroups><Group Name="Tumor" PartOfGroup="None" Color="#F4FA58"><Attributes /></Group></AnnotationGroups></ASAP_Annotations>"""

APERIO = """<Annotations MicronsPerPixel="0.5"><Annotation Id="1" Name="" LineColor="65280">
<Attributes><Attribute Name="Description" Id="0" Value="Tumor" /></Attributes><Regions><RegionAttributeHeaders />
<Region Id="1" Type="0" NegativeROA="0"><Vertices><Vertex X="512" Y="512" Z="0" /><Vertex X="1024" Y="512" Z="0" /><Vertex X="1024" Y="1024" Z="0" />
<Vertex X="512" Y="1024" Z="0" /></Vertices></Region>
<Region Id="2" Type="1" NegativeROA="1"><Vertices><Vertex X="640" Y="640" Z="0" /><Vertex X="768" Y="768" Z="0" /></Vertices></Region>
<Region Id="3" Type="2" NegativeROA="0"><Vertices><Vertex X="1500" Y="100" Z="0" /><Vertex X="1700" Y="300" Z="0" /></Vertices></Region>
<Region Id="4" Type="4"><Vertices><Vertex X="1" Y="1" /><Vertex X="9" Y="9" /></Vertices></Region></Regions></Annotation></Annotations>"""


@pytest.mark.parametrize("dot", [".", ","])
def test_xml_of_asap(dot, slide, tmp_path):
    (tmp_path / "a.xml").write_text(ASAP.format(dot=dot))
    with pytest.warns(sm.FormatWarning, match=r"a\.xml: 1 dots have no area"):
        found = read_annotations(tmp_path / "a.xml")
    assert [one.label for one in found] == ["Tumor"]
    assert found[0].rings[0].tolist() == SQUARE


def test_xml_of_aperio(slide, tmp_path):
    (tmp_path / "a.xml").write_text(APERIO)
    with pytest.warns(sm.FormatWarning, match="1 arrows and rulers"):
        found = read_annotations(tmp_path / "a.xml")
    assert [(one.label, one.negative) for one in found] == [("Tumor", False), ("Tumor", True), ("Tumor", False)]
    with pytest.warns(sm.FormatWarning):
        got = area(tmp_path / "a.xml", slide, mpp=1.0)
    assert got == pytest.approx(AREA - 128 * 128 * 0.25e-6 + np.pi * 100**2 * 0.25e-6, rel=0.01)


@pytest.mark.parametrize("form", ["geojson", "asap", "aperio"])
def test_areas_survive_each_form(form, slide, tmp_path):
    rings = (np.array(SQUARE, float), np.array(HOLE, float))
    path = tmp_path / ("x.geojson" if form == "geojson" else "x.xml")
    write_annotations(path, [Annotation("Tumor", rings), Annotation("", (np.array(SQUARE, float) + 600,))], form)
    hole = 128 * 128 * 0.25 / 1e6
    assert area(path, slide) == pytest.approx(2 * AREA - hole, rel=0.01)
    assert area(path, slide, classes=["Tumor"]) == pytest.approx(AREA - hole)
    assert {one.label for one in read_annotations(path)} == {"Tumor", ""}
    mask = sm.transforms.tissue.Tissue.from_annotations(path, slide)
    write_annotations(path, mask.annotations(), form)
    assert sm.transforms.tissue.Tissue.from_annotations(path, slide).mask.equal(mask.mask)


def test_files_that_are_none_of_these(tmp_path):
    short = APERIO[: APERIO.index('<Vertex X="1024"')] + "</Vertices></Region></Regions></Annotation></Annotations>"
    for text, message in (
        ("<a/>", "found <a>"),
        ("<a", "expected XML"),
        ("{", "expected JSON"),
        ('{"type": 3}', "expected polygons, found 3"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><Annotations/>', "document type"),
        ("<Annotations/>", "found none"),
        ("[" * 100_000, "expected"),
        (ASAP.format(dot=".").replace('X="512.0"', 'X="left"'), "X and Y as numbers"),
        (short, "at least 3 points, found 1"),
    ):
        (tmp_path / "bad.xml").write_text(text)
        with pytest.raises(sm.FormatError, match=rf"bad\.xml.*{message}"):
            read_annotations(tmp_path / "bad.xml")
    with pytest.raises(sm.ReadError, match=r"no\.xml"):
        read_annotations(tmp_path / "no.xml")
    with pytest.raises(ValueError, match="form='svg'"):
        write_annotations(tmp_path / "x", [], "svg")  # type: ignore[arg-type]
