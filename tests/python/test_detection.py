"""Detection from files to scores, predictions and baselines; and that nothing of the tested people is learned from."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import sslmed as sm
from sslmed import objects
from sslmed.detection import baselines, labels, networks, run, scoring

QUICK = sm.Detection(epochs=60, batch_size=2, lr=1e-2, features=8, match_radius=5.0, radius=2.0)


def how():
    return sm.ImagePreprocessing(size=48, region=60, patch=None)


def small_unet():
    return sm.DenseEncoder("unet", how(), filters=[8, 16, 16])


def cells(folder, n, seed=0):
    """Pictures of 60 × 80 pixels with four dark discs, the objects of which are in all kinds of files."""
    rows = []
    for i in range(n):
        rng = np.random.default_rng(seed + i)
        y, x = np.mgrid[:60, :80] + 0.5
        instances, lines = np.zeros((60, 80), np.int32), []
        for j in range(4):
            cy, cx, r = 15 + 30 * (j // 2) + rng.uniform(-4, 4), 18 + 42 * (j % 2) + rng.uniform(-6, 6), (5, 8)[(i + j) % 2]
            instances[(y - cy) ** 2 + (x - cx) ** 2 < r**2] = j + 1
            name = "small" if r == 5 else "large"
            lines.append({"x": cx, "y": cy, "xmin": cx - r, "ymin": cy - r, "xmax": cx + r, "ymax": cy + r, "class": name})
        picture = 60000 - 35000 * (instances > 0) - rng.integers(0, 4000, (60, 80))
        paths = {name: str(folder / f"{i}_{name}") for name in ("picture.png", "instances.png", "objects.csv")}
        sm.io.write_label_png(picture, paths["picture.png"], wide=True)
        sm.io.write_label_png(instances, paths["instances.png"], wide=True)
        pd.DataFrame(lines).to_csv(paths["objects.csv"], index=False)
        row = {"subject": f"s{seed + i}", "path": paths["picture.png"]}
        rows.append(row | {"path_objects": paths["objects.csv"], "maps": paths["instances.png"]})
    return sm.Cohort.from_table(pd.DataFrame(rows), name="cells")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return cells(tmp_path_factory.mktemp("cells"), 8)


@pytest.fixture(scope="module")
def results(cohort, tmp_path_factory):
    out = {}
    for kind, target in (("points", "path_objects"), ("boxes", "path_objects"), ("stars", "maps")):
        folder = tmp_path_factory.mktemp(kind)
        out[kind] = sm.detect(cohort, target, kind, small_unet(), folds=2, options=QUICK, out=folder, seed=1), folder
    return out


@pytest.mark.parametrize("kind", ["points", "boxes", "stars"])
def test_discs_are_found_by_networks_that_have_not_seen_them(results, cohort, kind):
    found, out = results[kind]
    rows = found.table.set_index(["row", "metric", "class"])["value"]
    assert {"row", "metric", "value", "low", "high", "n_subjects"} <= set(found.table)
    network = found.table["row"].iloc[0]
    assert rows[network, "f1", "all"] > 0.8
    assert rows[network, "f1", "all"] > rows["random", "f1", "all"] + 0.3
    metrics = {"points": {"f1"}, "boxes": {"f1", "ap", "ap50"}, "stars": {"f1", "pq", "aji"}}[kind]
    assert set(found.table["metric"]) == metrics
    assert found.classes_ == (("object",) if kind == "stars" else ("large", "small"))
    assert set(found.table["row"]) == {network, "random", "classical"}
    assert (found.table["n_subjects"] == 8).all()
    if kind == "stars":
        assert rows[network, "pq", "all"] > 0.5
        assert rows["classical", "pq", "all"] > 0.5  # dark discs are easy
    if kind == "boxes":
        assert rows[network, "ap50", "all"] > 0.5
    assert sorted(found.cases.groupby("subject")["fold"].nunique().unique()) == [1]
    for name in ("table.csv", "cases.csv", "people.csv", "detection.json", "fold-0.safetensors", "fold-1.safetensors"):
        assert (out / name).exists()
    assert json.loads((out / "detection.json").read_text())["kind"] == kind
    assert found.plot() is not None
    assert len(found.worst(2)) == 2
    assert network in repr(found)
    with pytest.raises(ValueError, match="metric='dice', expected one of f1"):
        found.plot("dice")
    with pytest.raises(ValueError, match="in training and test data at once"):
        found.predict(cohort, out / "again")


@pytest.mark.parametrize("kind", ["points", "boxes", "stars"])
def test_predictions_are_read_again(results, kind, tmp_path):
    found, _ = results[kind]
    (tmp_path / "others").mkdir()
    others = cells(tmp_path / "others", 2, seed=50)
    table = found.predict(others, tmp_path / "predicted")
    for row in range(2):
        truth = sm.detection.read_objects(others.table["path_objects"][row], "points", (60, 80))
        said = sm.detection.read_objects(table["path_objects"][row], "boxes" if kind == "boxes" else "points", (60, 80))
        assert float(sm.metrics.detection_f1(said.places, truth.places, radius=5.0)) > 0.6
        collection = json.loads(Path(table["path_geojson"][row]).read_text())
        assert len(collection["features"]) == len(said)
        again = sm.detection.read_objects(table["path_geojson"][row], "points", (60, 80))
        assert len(again) == len(said)
        if kind == "points":
            assert np.allclose(again.places, said.places)
            assert set(again.names) <= {"large", "small"}
        if kind == "stars":
            drawn = sm.io.read_image(table["path_instances"][row], torch.uint16)[..., 0].int().numpy()
            reference = sm.io.read_image(others.table["maps"][row], torch.uint16)[..., 0].int().numpy()
            assert float(sm.metrics.panoptic_quality(drawn, reference)) > 0.4


def test_an_interrupted_fold_goes_on(cohort, tmp_path):
    options = sm.Detection(epochs=3, batch_size=2, features=4, threshold=0.3)
    whole = sm.detect(cohort, encoder=small_unet(), folds=2, options=options)

    class Stopped(Exception):
        pass

    def stop(rows):
        raise Stopped

    with pytest.raises(Stopped):
        sm.detect(cohort, encoder=small_unet(), folds=2, options=options, out=tmp_path, callback=stop)
    again = sm.detect(cohort, encoder=small_unet(), folds=2, options=options, out=tmp_path)
    pd.testing.assert_frame_equal(whole.cases, again.cases)


@pytest.mark.parametrize("kind", ["points", "boxes"])
def test_nothing_of_the_tested_people_is_learned(cohort, kind, tmp_path):
    """Other objects of the held-out people change their scores, and nothing that a fold has learned."""
    options = sm.Detection(epochs=2, batch_size=2, features=4)
    honest = sm.detect(cohort, "path_objects", kind, small_unet(), folds=2, options=options)
    tested = honest.cases[honest.cases["fold"] == 0]["subject"].unique()
    table = cohort.table.copy()
    for row in table.index[table["subject"].isin(tested)]:
        lines = pd.read_csv(table["path_objects"][row]).iloc[:1]
        lines[["xmax", "ymax"]] += 9
        table.loc[row, "path_objects"] = str(tmp_path / f"{row}.csv")
        lines.to_csv(table["path_objects"][row], index=False)
    changed = sm.detect(sm.Cohort.from_table(table, name="cells"), "path_objects", kind, small_unet(), folds=2, options=options)
    one, two = honest.learned[0], changed.learned[0]
    assert (one.threshold, one.density, one.shares, one.size) == (two.threshold, two.density, two.shares, two.size)
    for (name, x), y in zip(one.task.state_dict().items(), two.task.state_dict().values(), strict=True):
        assert torch.equal(x, y), name
    assert honest.learned[1].density != changed.learned[1].density  # these people teach the other fold
    own = honest.cases["fold"] == 0
    assert not np.array_equal(honest.cases["value"][own], changed.cases["value"][own])


def test_the_threshold_is_the_best_one_of_all_pictures():
    rng = np.random.default_rng(0)
    truths, found = [], []
    for _ in range(4):
        true = rng.uniform(0, 100, (10, 2))
        false = rng.uniform(200, 300, (15, 2))
        scores = np.r_[rng.uniform(0.52, 1, 10), rng.uniform(0, 0.48, 15)]
        truths.append(objects.Objects(true, np.full(10, "a", object), np.ones(10)))
        found.append(objects.Objects(np.r_[true, false], np.full(25, "a", object), scores))
    assert scoring.best_threshold(found, truths, 5.0) == 0.5


def write(path, text):
    path.write_text(text)
    return path


def test_tables_of_points_and_boxes(tmp_path):
    read = sm.detection.read_objects
    points = read(write(tmp_path / "a.csv", "x,y\n1,2\n3.5,4\n"), "points", (9, 9))
    assert points.places.tolist() == [[2, 1], [4, 3.5]]
    assert set(points.names) == {"object"}
    bare = read(write(tmp_path / "b.csv", "46,7,2\n191,100,3\n"), "points", (200, 200), columns=["x", "y", "class"])
    assert bare.places.tolist() == [[7, 46], [100, 191]]
    assert bare.names.tolist() == ["2", "3"]
    named = read(write(tmp_path / "c.tsv", "X um\tY um\n1\t2\n"), "points", (9, 9), columns={"x": "X um", "y": "Y um"}, microns_per_pixel=0.5)
    assert named.places.tolist() == [[4, 2]]
    for text in ("xmin,ymin,xmax,ymax,class\n1,2,5,8,b\n", "x,y,width,height,class\n1,2,4,6,b\n"):
        boxes = read(write(tmp_path / "d.csv", text), "boxes", (9, 9))
        assert boxes.boxes.tolist() == [[[2, 1], [8, 5]]]
        assert boxes.places.tolist() == [[5, 3]]
        assert read(tmp_path / "d.csv", "points", (9, 9)).places.tolist() == [[5, 3]]
    assert len(read(write(tmp_path / "none.csv", "x,y\n"), "points", (9, 9))) == 0
    for text, kind, message in [
        ("a,b\n1,2\n", "points", "expected the columns x and y"),
        ("x,y\n1,2\n", "boxes", "expected xmin, ymin, xmax, ymax"),
        ("x,y\n1,foo\n", "points", "expected numbers in y, x"),
        ("x,y\n1,\n", "points", "expected a number in every row"),
        ("x,y,width,height\n1,2,0,3\n", "boxes", "with a width and a height above 0"),
        ("x,y\n1,2\n", "stars", "needs polygons or an instance label map"),
    ]:
        with pytest.raises(sm.FormatError, match=message):
            read(write(tmp_path / "wrong.csv", text), kind, (9, 9))
    with pytest.raises(sm.FormatError, match=r"columns=\['x'\] for a table of 2 columns"):
        read(tmp_path / "a.csv", "points", (9, 9), columns=["x"])
    with pytest.raises(sm.ReadError, match="cannot be read"):
        read(tmp_path / "missing.csv", "points", (9, 9))


def test_classes_of_tables_are_text(tmp_path):
    """A class is the same one whether another row lacks its class or not, and "NA" is a name."""
    read = sm.detection.read_objects
    for text, names in [("1\n3,4,2", ["1", "2"]), ("1\n3,4,", ["1", "object"]), ("01\n3,4,NA", ["01", "NA"])]:
        assert read(write(tmp_path / "a.csv", f"x,y,class\n1,2,{text}\n"), "points", (9, 9)).names.tolist() == names
    other = read(write(tmp_path / "b.csv", "x,y,X\n1,2,3\n"), "points", (9, 9), columns={"x": "X"})
    assert other.places.tolist() == [[2, 3]]
    swapped = read(tmp_path / "b.csv", "points", (9, 9), columns={"x": "y", "y": "x"})
    assert swapped.places.tolist() == [[1, 2]]


def test_objects_beside_the_picture_are_refused(tmp_path):
    """Numbers in µm, or of another level, must not pass as pixels."""
    point = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [40, 2]}, "properties": {}}
    for name, text, kind in [
        ("a.csv", "x,y\n1,2\n40,2\n", "points"),
        ("b.csv", "xmin,ymin,xmax,ymax\n38,1,42,3\n", "boxes"),
        ("c.geojson", json.dumps({"type": "FeatureCollection", "features": [point]}), "points"),
    ]:
        with pytest.raises(sm.FormatError, match=r"1 of \d beside it, the first at x=40, y=2"):
            sm.detection.read_objects(write(tmp_path / name, text), kind, (9, 12))


def square_feature(x, y, side, name):
    ring = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"classification": {"name": name}},
    }


def test_boxes_of_polygons_do_not_depend_on_what_lies_on_top(tmp_path):
    squares = [square_feature(4, 4, 4, "a"), square_feature(2, 2, 8, "b"), square_feature(9, 2, 2, "c"), square_feature(1, 1, 3, "Ignore*")]
    path = write(tmp_path / "a.geojson", json.dumps({"type": "FeatureCollection", "features": squares}))
    boxes = sm.detection.read_objects(path, "boxes", (12, 12))
    assert boxes.boxes.tolist() == [[[4, 4], [8, 8]], [[2, 2], [10, 10]], [[2, 9], [4, 11]]]
    assert boxes.names.tolist() == ["a", "b", "c"]
    assert sm.detection.read_objects(path, "points", (12, 12)).places.tolist() == [[6, 6], [6, 6], [3, 10]]
    stars = sm.detection.read_objects(path, "stars", (12, 12))
    assert stars.names.tolist() == ["b", "c"]  # the later one has the shared pixels
    assert np.bincount(stars.instances.ravel()).tolist() == [144 - 66, 62, 4]


@pytest.mark.parametrize("kind", ["points", "boxes", "stars"])
def test_a_geojson_file_without_features_has_no_objects(kind, tmp_path):
    path = write(tmp_path / "none.geojson", '{"type": "FeatureCollection", "features": []}')
    none = sm.detection.read_objects(path, kind, (9, 12))
    assert len(none) == 0
    assert (none.boxes is not None, none.instances is not None) == (kind == "boxes", kind == "stars")


def test_geojson_of_other_things_is_told(tmp_path):
    point = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [4, 2]}, "properties": {}}
    nan = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [float("nan"), 2]}, "properties": {}}
    for content, message in [
        ({"type": "FeatureCollection", "features": [point, square_feature(1, 1, 3, "a")]}, "found points and Polygon"),
        ({"type": "FeatureCollection", "features": [nan]}, "expected finite coordinates"),
        ({"type": "Feature", "geometry": {"type": "Point"}, "properties": {}}, "expected polygons"),
        (3, "expected a GeoJSON object"),
        ([3], "expected a GeoJSON object"),
    ]:
        with pytest.raises(sm.FormatError, match=message):
            sm.detection.read_objects(write(tmp_path / "a.geojson", json.dumps(content)), "points", (9, 12))


def test_maps_and_polygons(tmp_path):
    read = sm.detection.read_objects
    instances = np.zeros((12, 16), np.int64)
    instances[2:6, 3:9], instances[8:11, 10:14] = 40000, 7
    np.save(tmp_path / "m.npy", instances)
    sm.io.write_label_png(instances, tmp_path / "m.png", wide=True)
    for name in ("m.npy", "m.png"):
        stars = read(tmp_path / name, "stars", (12, 16))
        assert np.array_equal(stars.instances > 0, instances > 0)
        assert len(stars) == stars.instances.max() == 2
        assert stars.places.tolist() == [[9.5, 12], [4, 6]]  # in the order of the labels
        assert read(tmp_path / name, "boxes", (12, 16)).boxes.tolist() == [[[8, 10], [11, 14]], [[2, 3], [6, 9]]]
    square = [[3, 2], [9, 2], [9, 6], [3, 6], [3, 2]]
    hole = [[4, 3], [6, 3], [6, 5], [4, 5], [4, 3]]
    rings = [[np.array(square, float), np.array(hole, float)], [np.array(square, float) + np.array([0, 20])]]
    sm.io.write_annotations(tmp_path / "p.geojson", [sm.io.Annotation("a", tuple(rings[0])), sm.io.Annotation("b", tuple(rings[1]))])
    stars = read(tmp_path / "p.geojson", "stars", (12, 16))
    assert stars.names.tolist() == ["a"]  # the other one is beside the picture
    want = np.zeros((12, 16), bool)
    want[2:6, 3:9], want[3:5, 4:6] = True, False
    assert np.array_equal(stars.instances == 1, want)
    boxes = read(tmp_path / "p.geojson", "boxes", (12, 16))
    assert boxes.boxes.tolist() == [[[2, 3], [6, 9]]]
    feature = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [5, 6]}, "properties": {"classification": {"name": "t"}}}
    several = feature | {"geometry": {"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]}, "properties": {}}
    write(tmp_path / "q.geojson", json.dumps({"type": "FeatureCollection", "features": [feature, several]}))
    points = read(tmp_path / "q.geojson", "points", (12, 16))
    assert points.places.tolist() == [[6, 5], [2, 1], [4, 3]]
    assert points.names.tolist() == ["t", "object", "object"]
    for values, message in [(np.zeros((3, 3), int), r"expected a label map \(12, 16\)"), (np.zeros((12, 16)), "expected whole numbers")]:
        np.save(tmp_path / "wrong.npy", values)
        with pytest.raises(sm.FormatError, match=message):
            read(tmp_path / "wrong.npy", "stars", (12, 16))


def test_coco(tmp_path):
    content = {
        "images": [{"id": 5, "file_name": "some/a.png"}, {"id": 6, "file_name": "b.png"}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [
            {"id": 1, "image_id": 5, "category_id": 1, "bbox": [2, 3, 4, 6], "segmentation": [[2, 3, 6, 3, 6, 9, 2, 9]]},
            {"id": 2, "image_id": 5, "category_id": 1, "bbox": [0, 0, 9, 9], "iscrowd": 1, "segmentation": {}},
        ],
    }
    path = write(tmp_path / "c.json", json.dumps(content))
    files, shapes = ["x/a.png", "x/b.png"], [(12, 12)] * 2
    one, none = labels.coco_objects(path, "boxes", files, shapes)
    assert one.boxes.tolist() == [[[3, 2], [9, 6]]]
    assert one.names.tolist() == ["cell"]
    assert len(none) == 0
    star = labels.coco_objects(path, "stars", files, shapes)[0]
    assert star.instances.sum() == 24
    with pytest.raises(sm.FormatError, match=r"expected the picture z.png among its images"):
        labels.coco_objects(path, "boxes", ["z.png"], shapes[:1])
    with pytest.raises(sm.FormatError, match="expected COCO's images"):
        labels.coco_objects(write(tmp_path / "d.json", "{}"), "boxes", files, shapes)
    for wrong, message in [({"bbox": [2, 3, 0, 6]}, "annotation 1: expected a bbox with a width"), ({"bbox": None}, "expected a bbox of 4"),
                           ({"category_id": 7}, "expected COCO's images"), ({"bbox": [20, 3, 4, 6]}, "1 of 1 beside it")]:  # fmt: skip
        changed = content | {"annotations": [content["annotations"][0] | wrong]}
        with pytest.raises(sm.FormatError, match=message):
            labels.coco_objects(write(tmp_path / "d.json", json.dumps(changed)), "boxes", files, shapes)


def test_coco_pictures_of_one_name_are_told_apart_by_their_folders(tmp_path):
    content = {
        "images": [{"id": 1, "file_name": "p1/a.png"}, {"id": 2, "file_name": "p2/a.png"}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 3, 4, 6]}],
    }
    path = write(tmp_path / "c.json", json.dumps(content))
    found = labels.coco_objects(path, "boxes", ["x/p2/a.png", "x/p1/a.png"], [(12, 12)] * 2)
    assert [len(one) for one in found] == [0, 1]
    with pytest.raises(sm.FormatError, match=r"found several of the name a.png"):
        labels.coco_objects(path, "boxes", ["x/p3/a.png"], [(12, 12)])
    write(path, json.dumps(content | {"images": [{"id": 1, "file_name": "a.png"}]}))
    with pytest.raises(sm.FormatError, match=r"found one for x/p1/a.png and x/p2/a.png"):
        labels.coco_objects(path, "boxes", ["x/p1/a.png", "x/p2/a.png"], [(12, 12)] * 2)


def test_the_classical_baseline_is_color_deconvolution_and_otsu():
    color, filters = pytest.importorskip("skimage.color"), pytest.importorskip("skimage.filters")
    rgb = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    ours, theirs = baselines.hematoxylin(rgb).ravel(), color.rgb2hed(rgb)[..., 0].ravel()
    kept = theirs > 0  # skimage cuts what is below 0, and its third stain is another one
    assert np.corrcoef(ours[kept], theirs[kept])[0, 1] > 0.98
    values = np.r_[np.random.default_rng(1).normal(0, 1, 4000), np.random.default_rng(2).normal(6, 1, 1000)]
    assert baselines.otsu(values) == pytest.approx(filters.threshold_otsu(values), abs=1e-9)


@pytest.mark.parametrize("value", [0, 255])
def test_an_empty_picture_has_no_dark_nuclei(value):
    known = networks.Learned(None, ("a",), 0.5, 0.001, (1.0,), (12.0, 12.0))
    for kind in ("points", "boxes", "stars"):
        assert len(baselines.classical(known, kind, torch.full((3, 64, 64), value, dtype=torch.uint8), (64, 64))) == 0


@pytest.mark.parametrize("offset", [-3.0, 3.0])
def test_centers_beyond_the_picture_are_no_objects(monkeypatch, offset):
    """Offsets have no bounds: an object beside the picture is dropped at each of its ends."""
    maps = torch.zeros(1, 3, 16, 16)
    maps[0, 0, 0, 0] = maps[0, 0, 8, 8] = maps[0, 0, 15, 15] = 0.9
    maps[0, 1:, 0, 0] = maps[0, 1:, 15, 15] = offset
    maps[0, 1:, 8, 8] = 0.5

    class Fixed:
        kind = "points"

        def forward_dense(self, windows):
            return maps.expand(len(windows), -1, -1, -1)

    options = sm.Detection(roi=16, nms=0)
    found = networks.found_in([Fixed(), Fixed()], torch.zeros(3, 16, 16), (32, 32), ["a"], options)
    kept = {-3.0: [[17, 17], [24, 24]], 3.0: [[6, 6], [17, 17]]}[offset]
    assert sorted(found.places.tolist()) == kept


def test_touching_nuclei_are_split():
    y, x = np.mgrid[:40, :60]
    mask = ((y - 20) ** 2 + (x - 20) ** 2 < 100) | ((y - 20) ** 2 + (x - 36) ** 2 < 100)
    rgb = torch.where(torch.from_numpy(mask), torch.tensor([90, 60, 140]).view(3, 1, 1), torch.tensor([235, 220, 235]).view(3, 1, 1))
    task = None
    learned = networks.Learned(task, ("nucleus",), 0.5, 0.001, (1.0,), (18.0, 18.0))
    for kind in ("points", "boxes", "stars"):
        found = baselines.classical(learned, kind, rgb.byte(), (40, 60))
        assert len(found) == 2
        assert sorted(found.places[:, 1].round().tolist()) == pytest.approx([20, 37], abs=2)
    random = baselines.random_objects(learned, "stars", (100, 200), (1, 2))
    assert len(random) == 20
    assert random.instances.shape == (100, 200)
    assert np.array_equal(random.places, baselines.random_objects(learned, "stars", (100, 200), (1, 2)).places)


def test_mean_panoptic_quality_leaves_out_absent_classes():
    maps = np.zeros((20, 20), np.int32)
    maps[1:6, 1:6], maps[10:15, 10:15] = 1, 2
    truth = objects.Objects(np.array([[3.5, 3.5], [12.5, 12.5]]), np.array(["a", "b"], object), np.ones(2), None, None, maps)
    said = truth.of(np.array([True, False]))
    lines = {(line[0], line[1]): line[2] for line in scoring.scored(said, truth, "stars", ["a", "b", "c"], QUICK)}
    assert lines["mean", "pq"] == pytest.approx((lines["a", "pq"] + 0) / 2, abs=1e-6)
    assert np.isnan(lines["c", "pq"])
    assert lines["all", "f1"] == pytest.approx(2 / 3)


def test_what_does_not_fit_is_refused(cohort):
    with pytest.raises(TypeError, match="must be a Cohort, got DataFrame"):
        sm.detect(cohort.table)
    for wrong, message in [
        ({"kind": "masks"}, "kind='masks'"),
        ({"target": "nowhere"}, "target='nowhere' is neither a column nor a .json file"),
        ({"classes": ["large"]}, "lacks 'small'"),
        ({"classes": ["large", "small", "all"]}, "must not be called 'all'"),
        ({"classes": ["large", "small", "small"]}, "must be different ones"),
        ({"kind": "boxes", "options": sm.Detection(nms=3)}, "nms=3 of boxes must be a share"),
        ({"baselines": ["none"]}, "baselines='none'"),
        ({"preprocessing": sm.ImagePreprocessing(size=48, patch=None, fit="pad")}, "fit='pad' is not supported"),
    ]:
        with pytest.raises(ValueError, match=message):
            sm.detect(cohort, **{"encoder": "unet", "preprocessing": how()} | wrong)
    for option, message in [({"epochs": 0}, "epochs=0"), ({"threshold": 0.01}, "threshold"), ({"rays": 2}, "rays=2"), ({"features": 1}, "features=1"),
                            ({"roi": 0}, "roi=0"), ({"weights": {"size": 1}}, "weights has 'size'")]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            sm.Detection(**option)
    table = cohort.table.assign(path_objects=[None, *cohort.table["path_objects"][1:]])
    with pytest.raises(ValueError, match="row 0 has no file of objects"):
        sm.detect(sm.Cohort.from_table(table), encoder=small_unet())
    assert run.detect is sm.detect
