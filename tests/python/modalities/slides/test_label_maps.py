"""Drawn areas as label maps of slides: rasterized exactly, carried by samples, learned by segmentation, and leaked nowhere."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
import torch
from slide_files import blob

import sslmed as sm
from sslmed.inference import outline
from sslmed.modalities.slides import areas


def ring(*points):
    return np.array([*points, points[0]], float)


def inside(rings, x, y):
    """Whether a point is inside an odd number of rings, edge by edge."""
    crossings = 0
    for one in rings:
        for (x0, y0), (x1, y1) in itertools.pairwise(one):
            if (y0 > y) != (y1 > y) and x < x0 + (y - y0) / (y1 - y0) * (x1 - x0):
                crossings += 1
    return crossings % 2 == 1


def test_cells_are_in_where_their_middles_are(rng):
    classes = ("background", "a", "b")
    for _ in range(10):
        drawn = []
        for label in rng.choice([*classes, "other"], 6):
            middle, sides = rng.uniform(0, 40, 2), int(rng.integers(3, 9))
            turn = np.sort(rng.uniform(0, 2 * np.pi, sides))
            points = middle + rng.uniform(2, 20) * np.stack([np.cos(turn), np.sin(turn)], 1)
            hole = middle + (points - middle) * 0.4
            rings = tuple(ring(*part.astype(np.float32)) for part in (points, hole))
            drawn.append(sm.io.Annotation(label, rings, negative=bool(rng.random() < 0.3)))
        corner, cell, shape = tuple(rng.uniform(-5, 10, 2)), tuple(rng.uniform(0.5, 3, 2)), (17, 23)
        found = sm.slides.rasterized(drawn, classes, shape, corner=corner, cell=cell, unlabeled=-1)
        want = np.full(shape, -1)
        for row in range(shape[0]):
            for column in range(shape[1]):
                x, y = corner[0] + (column + 0.5) * cell[0], corner[1] + (row + 0.5) * cell[1]
                for value, label in enumerate(classes):
                    mine = [one for one in drawn if one.label == label and inside(one.rings, x, y)]
                    if mine and not any(one.negative for one in mine):
                        want[row, column] = value
        assert np.array_equal(found.numpy(), want)


def test_holes_order_and_negative_areas():
    big, small = ring((0, 0), (6, 0), (6, 6), (0, 6)), ring((2, 2), (4, 2), (4, 4), (2, 4))
    classes = ("background", "a", "b")
    holed = sm.slides.rasterized([sm.io.Annotation("a", (big, small))], classes, (6, 6))
    assert holed.sum() == 36 - 4
    # The order of the classes counts, not that of the file.
    over = sm.slides.rasterized([sm.io.Annotation("b", (small,)), sm.io.Annotation("a", (big,))], classes, (6, 6))
    under = sm.slides.rasterized([sm.io.Annotation("b", (small,)), sm.io.Annotation("a", (big,))], ("background", "b", "a"), (6, 6))
    assert (over == 2).sum() == 4
    assert (under == 2).sum() == 36
    # A negative area is taken out of its own class alone.
    cut = [sm.io.Annotation("a", (small,), negative=True), sm.io.Annotation("a", (big,)), sm.io.Annotation("b", (small,))]
    assert (sm.slides.rasterized(cut, classes, (6, 6)) == 2).sum() == 4
    assert (sm.slides.rasterized(cut[:2], classes, (6, 6)) == 0).sum() == 4


@pytest.mark.parametrize("mpp", [0.25, 0.5])
def test_what_is_written_comes_back_to_the_same_place(tmp_path, mpp, rng):
    """A map at 1 µm per cell, written as objects in pixels of level 0, and rasterized again."""
    labels = (torch.rand(30, 40) > 0.6).int()
    scale = 1.0 / mpp
    sm.io.write_objects(tmp_path / "a.geojson", outline(labels, downsample=(scale, scale), names={1: "cell"}), "cell")
    drawn = sm.io.read_annotations(tmp_path / "a.geojson")
    assert torch.equal(sm.slides.rasterized(drawn, ("background", "cell"), (30, 40), cell=(scale, scale)), labels)
    fine = sm.slides.rasterized(drawn, ("background", "cell"), (round(30 * scale), round(40 * scale)))
    assert torch.equal(fine, labels.repeat_interleave(round(scale), 0).repeat_interleave(round(scale), 1))


DISC = 0.35, 0.35, 0.07**0.5  # where blob() has tissue, as shares of its side


def polygon(side, x, y, radius):
    turn = 2 * np.pi * np.arange(64) / 64
    return ring(*(side * np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], 1)))


@pytest.fixture(scope="module")
def drawn_slides(tmp_path_factory):
    """Four slides of four patients whose disc of tissue is drawn as "disc"; the bar below is tissue too, and not drawn."""
    folder = tmp_path_factory.mktemp("drawn")
    rows = []
    for i in range(4):
        side = 640
        sm.io.write_slide(folder / f"{i}.tif", blob(side, i), 0.5, tile=128)
        form = ("geojson", "asap", "aperio", "geojson")[i]
        name = folder / f"{i}.{'geojson' if form == 'geojson' else 'xml'}"
        sm.io.write_annotations(name, [sm.io.Annotation("disc", (polygon(side, *DISC),))], form)
        rows.append({"path": str(folder / f"{i}.tif"), "subject": f"p{i}", "path_labels": str(name)})
    cohort = sm.Cohort.from_table(pd.DataFrame(rows))
    return cohort.index(folder / "index.parquet", mpp=2.0, cell=16.0, close=1, least=1)


def how(**options):
    return sm.SlidePreprocessing(**({"mpp": 1.0, "size": 64, "patch": None, "classes": ("background", "disc")} | options))


def small_unet(preprocessing):
    return sm.DenseEncoder("unet", preprocessing, filters=[8, 16])


def test_samples_carry_what_is_drawn_there(drawn_slides):
    source = sm.slides.source(drawn_slides, how(labels=True))
    middle = DISC[0] * 640
    full = sm.slides.rasterized(sm.io.read_annotations(drawn_slides.table["path_labels"].iloc[0]), ("background", "disc"), (320, 320), cell=(2, 2))
    part = source.labels(0, 200.0, 100.0, 1.0, 64, 48)
    assert torch.equal(part, full[50:98, 100:164])
    beyond = source.labels(0, -4.0, 632.0, 1.0, 8, 8)
    assert beyond[:4, 2:].tolist() == [[0] * 6] * 4
    assert (beyond[4:] == -1).all()
    assert (beyond[:, :2] == -1).all()
    assert source.labels(0, middle, middle, 1.0, 1, 1).item() == 1


@pytest.mark.parametrize("unlabeled", ["background", "ignore"])
def test_batches_have_label_maps_that_follow_the_views(drawn_slides, unlabeled):
    preprocessing = how(labels=True, unlabeled=unlabeled)
    loader = sm.Loader(drawn_slides, preprocessing, batch_size=4, order="shuffle", threads=1, seed=1, random=True)
    other = {"background": 0, "ignore": -1}[unlabeled]
    dark, labels = [], []
    for batch in loader:
        view = batch.views[0]
        labels += view.targets["labels"]
        dark += list(view.values[:, 1] < 200)  # green of tissue
    labels, dark = torch.stack(labels).reshape(-1, 64, 64), torch.stack(dark)
    assert set(labels.unique().tolist()) <= {1, other, -1}
    assert (labels == 1).any()
    assert dark[labels == 1].float().mean() > 0.97  # labels lie where the tissue is, in every view


def test_segmentation_of_slides(drawn_slides, tmp_path):
    options = sm.Segmentation(epochs=16, batch_size=4, lr=5e-3, overlap=0.25)
    result = sm.segment(drawn_slides, encoder=small_unet(how(classes=())), folds=2, options=options, seed=3, out=tmp_path / "run")
    table = result.table[(result.table["metric"] == "dice") & (result.table["row"] == result.table["row"].iloc[0])]
    assert table["class"].tolist() == ["disc", "mean"]
    assert table["n_cases"].iloc[0] == 4
    reference = result.cases["reference"].tolist()
    expected = np.pi * (DISC[2] * 320) ** 2
    assert all(abs(cells - expected) < 0.02 * expected for cells in reference)
    assert table["value"].iloc[0] > 0.6
    new = drawn_slides.subset([0, 1])
    new.table["subject"] = ["new-0", "new-1"]
    maps = result.predict(new, tmp_path / "maps")
    slide = sm.io.open_slide(maps["path_labels"].iloc[0])
    assert slide.dimensions == (320, 320)
    assert slide.mpp == pytest.approx((1.0, 1.0))
    found = slide.read(0, 0, 0, 320, 320)[..., 0]
    where = sm.slides.tissue_of(new.table.iloc[0])
    by_tiles = sm.inference.tiled(new.table["path"].iloc[0], result, mpp=1.0, size=64, overlap=0.25, tissue=where)
    assert torch.equal(by_tiles.classes, found)
    truth = sm.slides.rasterized(sm.io.read_annotations(new.table["path_labels"].iloc[0]), ("background", "disc"), (320, 320), cell=(2, 2))
    overlap = 2 * int(((found == 1) & (truth == 1)).sum()) / int((found == 1).sum() + (truth == 1).sum())
    assert overlap > 0.6
    outlines = result.predict(new, tmp_path / "outlines", format="geojson")
    again = sm.slides.rasterized(sm.io.read_annotations(outlines["path_labels"].iloc[0]), ("background", "disc"), (320, 320), cell=(2, 2))
    assert torch.equal(again, found.int())
    unlabeled = sm.Cohort(new.table.assign(path_labels=None), "unlabeled")  # what is predicted needs no labels
    assert len(result.predict(unlabeled, tmp_path / "unlabeled")) == 2
    with pytest.raises(ValueError, match="format='png'"):
        result.predict(new, tmp_path / "maps", format="png")
    with pytest.raises(ValueError, match="p0"):
        result.predict(drawn_slides, tmp_path / "maps")


def test_labels_of_test_people_do_not_reach_the_weights(drawn_slides, tmp_path):
    options = sm.Segmentation(epochs=1, batch_size=4)
    before = sm.segment(drawn_slides, encoder=small_unet(how()), folds=2, options=options, seed=3)
    test = sorted(before.cases.loc[before.cases["fold"] == 0, "row"].unique())
    changed = drawn_slides.table["path_labels"].tolist()
    for row in test:
        changed[row] = str(tmp_path / f"{row}.geojson")
        sm.io.write_annotations(changed[row], [sm.io.Annotation("disc", (ring((0, 0), (600, 0), (600, 600), (0, 600)),))])
    other = drawn_slides.subset(range(4))
    other.table["path_labels"] = changed
    after = sm.segment(other, encoder=small_unet(how()), folds=2, options=options, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(before.tasks[0].state_dict().values(), after.tasks[0].state_dict().values(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(before.tasks[1].state_dict().values(), after.tasks[1].state_dict().values(), strict=True))
    assert before.cases.loc[before.cases["fold"] == 0, "reference"].tolist() != after.cases.loc[after.cases["fold"] == 0, "reference"].tolist()


def test_only_annotated_parts_count_where_the_rest_is_unknown(drawn_slides, tmp_path):
    """A region of interest is the background class, drawn first; what lies outside of it counts in no score."""
    files = []
    for row in range(4):
        region = ring((100, 100), (400, 100), (400, 400), (100, 400))
        files.append(str(tmp_path / f"{row}.geojson"))
        sm.io.write_annotations(files[-1], [sm.io.Annotation("region", (region,)), sm.io.Annotation("disc", (polygon(640, 0.35, 0.35, 0.1),))])
    cohort = drawn_slides.subset(range(4))
    cohort.table["path_labels"] = files
    preprocessing = how(classes=("region", "disc"), unlabeled="ignore")
    result = sm.segment(cohort, encoder=small_unet(preprocessing), folds=2, options=sm.Segmentation(epochs=1, batch_size=4), seed=0)
    assert (result.cases["prediction"] <= 150 * 150).all()
    assert (result.cases["reference"] > 0).all()


def test_what_is_wrong_is_told(drawn_slides, tmp_path):
    table = drawn_slides.table
    with pytest.raises(ValueError, match="needs a column path_labels"):
        sm.slides.source(sm.Cohort(table.drop(columns=["path_labels"]), "c"), how(labels=True))
    with pytest.raises(ValueError, match="at least two labels"):
        sm.slides.source(drawn_slides, how(labels=True, classes=()))
    with pytest.raises(ValueError, match="no file of the column path_labels"):
        sm.slides.source(drawn_slides, how(labels=True, classes=("background", "other")))
    missing = table["path_labels"].tolist()
    missing[2] = None
    with pytest.raises(ValueError, match="row 2"):
        sm.slides.source(sm.Cohort(table.assign(path_labels=missing), "c"), how(labels=True))
    with pytest.raises(ValueError, match="unlabeled='none'"):
        how(unlabeled="none")
    with pytest.raises(ValueError, match="different labels"):
        how(classes=("a", "a"))
    with pytest.raises(ValueError, match="values"):
        sm.segment(drawn_slides, preprocessing=how(), values=[1, 0])
    (tmp_path / "none.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": []}))
    some = [str(tmp_path / "none.geojson"), *missing[:1] * 3]
    assert len(areas.drawn(sm.Cohort(table.assign(path_labels=some), "c"), ("background", "disc"))[0][3]) == 0
    with pytest.raises(sm.ReadError, match=r"gone\.geojson"):
        areas.names_of(sm.Cohort(table.assign(path_labels=[str(tmp_path / "gone.geojson")] * 4), "c"))
