"""Segmentation of volumes and pictures from files to scores and label maps."""

import struct
import zlib

import numpy as np
import pandas as pd
import pytest
import torch
from heads import head_cohort

import sslmed as sm

QUICK = sm.Segmentation(epochs=60, batch_size=3, lr=1e-2)


def small_unet(pre):
    return sm.DenseEncoder("unet", pre, filters=[8, 16])


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return head_cohort(tmp_path_factory.mktemp("heads") / "raw", 6)


@pytest.fixture(scope="module")
def result(raw, tmp_path_factory):
    """Trained on files of 3 mm at 4 mm, two folds."""
    pre = sm.VolumePreprocessing(spacing=4.0, patch=None, size=16)
    out = tmp_path_factory.mktemp("out")
    with pytest.warns(sm.ValueWarning, match="prepared each time"):
        return sm.segment(raw, encoder=small_unet(pre), out=out, folds=2, options=QUICK, seed=1), out


def test_scores_of_people_that_were_held_out(result, raw):
    found, out = result
    assert found.values_ == (0, 1, 2, 3)
    assert list(found.table["class"]) == ["1", "2", "3", "mean"]
    assert {"row", "metric", "value", "low", "high", "n_subjects"} <= set(found.table)
    assert (found.table["n_subjects"] == 6).all()
    assert found.table["value"].iloc[-1] > 0.6
    assert (found.table["low"] <= found.table["value"]).all()
    assert (found.table["value"] <= found.table["high"]).all()
    assert len(found.cases) == 18
    assert sorted(found.cases.groupby("subject")["fold"].nunique().unique()) == [1]
    by_class = found.cases.groupby("class")["dice"].mean()
    for name in "123":
        assert found.table.set_index("class")["value"][name] == pytest.approx(by_class[name])
    assert len(found.worst(2)) == 2
    assert found.worst(1)["dice"].iloc[0] == found.cases["dice"].min()
    for name in ("table.csv", "cases.csv", "segmentation.json", "fold-0.safetensors", "fold-1.safetensors"):
        assert (out / name).exists()
    assert found.plot() is not None
    with pytest.raises(ValueError, match="in training and test data at once"):
        found.predict(raw, out / "again")


def test_predictions_lie_where_their_files_do(result, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    found, _ = result
    others = head_cohort(tmp_path / "others", 2, seed=9, site="there")
    with pytest.warns(sm.ValueWarning, match="prepared each time"):
        table = found.predict(others, tmp_path / "predicted")
    for path, truth, image in zip(table["path_labels"], others.table["path_labels"], others.table["path"], strict=True):
        written, reference, source = (nibabel.load(p) for p in (path, truth, image))
        assert written.shape == source.shape
        assert np.allclose(written.affine, source.affine)
        said, labels = np.asarray(written.dataobj), np.asarray(reference.dataobj)
        assert set(np.unique(said)) <= {0, 1, 2, 3}
        head = 2 * ((said > 0) & (labels > 0)).sum() / ((said > 0).sum() + (labels > 0).sum())
        assert head > 0.8
        # Turned round it fits worse: left is left.
        assert path.endswith("_dseg.nii.gz")


def test_an_interrupted_fold_goes_on(raw, tmp_path):
    pre = sm.VolumePreprocessing(spacing=4.0, patch=None, size=16)
    cohort = sm.prepare(raw, tmp_path / "prepared", spacing=4.0, progress=False)
    options = sm.Segmentation(epochs=3, batch_size=3)
    whole = sm.segment(cohort, encoder=small_unet(pre), folds=2, options=options)

    class Stopped(Exception):
        pass

    def stop(rows):
        raise Stopped

    with pytest.raises(Stopped):
        sm.segment(cohort, encoder=small_unet(pre), folds=2, options=options, out=tmp_path / "run", callback=stop)
    again = sm.segment(cohort, encoder=small_unet(pre), folds=2, options=options, out=tmp_path / "run")
    pd.testing.assert_frame_equal(whole.cases, again.cases)


def picture(path, pixels):
    """Writes a PNG of one or three channels."""
    height, width, *rest = pixels.shape
    color = 2 if rest else 0
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    path.write_bytes(data)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Bright discs (label 7) on a dark ground of 60 × 90 pixels."""
    folder, rows = tmp_path_factory.mktemp("pictures"), []
    for i in range(6):
        rng = np.random.default_rng(i)
        y, x = np.mgrid[:60, :90]
        disc = (y - rng.uniform(20, 40)) ** 2 + (x - rng.uniform(25, 65)) ** 2 < 180
        pixels = (60 + 120 * disc[..., None] + rng.integers(0, 40, (60, 90, 3))).astype(np.uint8)
        picture(folder / f"{i}.png", pixels)
        picture(folder / f"{i}_mask.png", (7 * disc).astype(np.uint8))
        rows.append({"subject": f"s{i}", "path": str(folder / f"{i}.png"), "mask": str(folder / f"{i}_mask.png")})
    return sm.Cohort.from_table(pd.DataFrame(rows), name="discs")


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_label_maps_of_images_follow_their_pixels(pictures, fit):
    table = pictures.table.rename(columns={"mask": "path_labels"})
    pre = sm.ImagePreprocessing(size=48, patch=None, labels=True, fit=fit)
    cohort = sm.Cohort.from_table(table, name="discs")
    for random in (False, True):
        view = next(iter(sm.Loader(cohort, pre, batch_size=6, order="sequential", random=random))).views[0]
        labels, values = torch.stack(view.targets["labels"]), view.values.float().mean(1)
        assert labels.shape == values.shape
        assert set(labels.unique().tolist()) == ({-1, 0, 7} if fit == "pad" else {0, 7})
        assert ((values > 140) == (labels == 7)).float().mean() > 0.98
        if fit == "pad":
            assert (values[labels == -1] == 0).all()


def test_pictures_are_segmented(pictures, tmp_path):
    pre = sm.ImagePreprocessing(size=48, patch=None)
    encoder = small_unet(pre)
    found = sm.segment(pictures, "mask", encoder, folds=2, options=sm.Segmentation(epochs=12, batch_size=3, lr=5e-3), out=tmp_path)
    assert found.values_ == (0, 7)
    assert found.table["value"].iloc[0] > 0.85
    others = sm.Cohort.from_table(pictures.table.drop(columns=["mask"]).assign(subject=[f"o{i}" for i in range(6)]), name="others")
    written = found.predict(others, tmp_path / "predicted")
    for path, mask in zip(written["path_labels"], pictures.table["mask"], strict=True):
        said, truth = sm.io.read_image(path)[..., 0], sm.io.read_image(mask)[..., 0]
        assert said.shape == truth.shape == (60, 90)
        assert set(said.unique().tolist()) <= {0, 7}
        assert 2 * ((said == 7) & (truth == 7)).sum() / ((said == 7).sum() + (truth == 7).sum()) > 0.85


def test_empty_and_missed_cases_are_counted():
    from sslmed.segmentation.cases import CASES
    from sslmed.segmentation.tables import summary

    cases = pd.DataFrame(
        [
            [0, "a", "s0", 0, "1", 0.8, 10, 12],
            [1, "b", "s1", 0, "1", 0.0, 10, 0],  # missed
            [2, "c", "s2", 0, "1", float("nan"), 0, 4],  # not there, but predicted
            [3, "d", "s3", 0, "1", float("nan"), 0, 0],
        ],
        columns=CASES,
    )
    line = summary(cases, "x", 0).iloc[0]
    assert (line["value"], line["n_subjects"], line["n_cases"], line["n_missed"], line["n_empty"], line["n_false"]) == (0.4, 2, 4, 1, 2, 1)
    assert np.isnan(line["low"])


def test_what_does_not_fit_is_refused(raw, pictures):
    pre = sm.VolumePreprocessing(spacing=4.0, patch=None, size=16)
    with pytest.raises(TypeError, match="must be a Cohort"):
        sm.segment("cohort")
    with pytest.raises(ValueError, match="target='lesions' is not a column"):
        sm.segment(raw, "lesions", small_unet(pre))
    with pytest.raises(ValueError, match="size=None, expected the cells"):
        sm.segment(raw, encoder="vit_tiny")
    with pytest.raises(ValueError, match="decoder="):
        sm.segment(raw, encoder=small_unet(pre), decoder="deeplab")
    with pytest.raises(ValueError, match="positions='coordinates' is not supported"):
        sm.segment(raw, encoder=sm.Encoder("vit_tiny", sm.VolumePreprocessing(spacing=4.0, patch=8, size=16), depth=1))
    bare = sm.Cohort.from_table(raw.table.drop(columns=["path_labels"]), name="bare")
    with pytest.raises(ValueError, match="has no label map"), pytest.warns(sm.ValueWarning):
        sm.segment(bare, encoder=small_unet(pre))
    for name, value in (("epochs", 0), ("lr", 0.0), ("overlap", 1.0), ("tuned", "adapters"), ("convention", "torchio")):
        with pytest.raises(ValueError, match=f"{name}="):
            sm.Segmentation(**{name: value})
    eeg = sm.Cohort.from_arrays(np.zeros((2, 2, 400)), 100.0, ["Cz", "Pz"], pd.DataFrame({"subject": ["a", "b"]}))
    with pytest.raises(ValueError, match="label maps"):
        sm.segment(eeg, encoder="vit_tiny")
