"""Segmentation of volumes and pictures from files to scores and label maps."""

import dataclasses
import struct
import zlib

import numpy as np
import pandas as pd
import pytest
import torch
from heads import head_cohort

import sslmed as sm
from sslmed.io import write_label_png
from sslmed.modalities.images.label_maps import ImageLabelMaps
from sslmed.segmentation.baselines import BASELINES, Classical
from sslmed.segmentation.cases import CASES, maps_of, scored
from sslmed.segmentation.tables import summary
from sslmed.training.samples_of import rows_of

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


NAME = "unet + unet"


def lines_of(found, row=NAME, metric="dice"):
    table = found.table
    return table[(table["row"] == row) & (table["metric"] == metric)].set_index("class")


def test_scores_of_people_that_were_held_out(result, raw):
    found, out = result
    assert found.values_ == (0, 1, 2, 3)
    assert {"row", "metric", "value", "low", "high", "n_subjects", "convention"} <= set(found.table)
    assert list(found.table["row"].unique()) == [NAME, *BASELINES]
    own = lines_of(found)
    assert list(own.index) == ["1", "2", "3", "mean"]
    assert (own["n_subjects"] == 6).all()
    assert own["value"]["mean"] > 0.6
    assert (own["low"] <= own["value"]).all()
    assert (own["value"] <= own["high"]).all()
    network = found.cases[found.cases["model"] == NAME]
    assert len(network) == 18
    assert sorted(network.groupby("subject")["fold"].nunique().unique()) == [1]
    for metric in ("dice", "hausdorff_95", "surface_dice", "volume_similarity"):
        by_class = network.groupby("class")[metric].mean()
        for name in "123":
            assert lines_of(found, metric=metric)["value"][name] == pytest.approx(by_class[name])
    assert set(lines_of(found, metric="volume_similarity")["convention"]) == {"feta"}
    assert len(found.worst(2)) == 2
    assert found.worst(1)["dice"].iloc[0] == network["dice"].min()
    for name in ("table.csv", "cases.csv", "segmentation.json", "fold-0.safetensors", "fold-1.safetensors"):
        assert (out / name).exists()
    assert found.plot() is not None
    assert found.plot("hausdorff_95") is not None
    with pytest.raises(ValueError, match="expected one of dice"):
        found.plot("iou")
    with pytest.raises(ValueError, match="in training and test data at once"):
        found.predict(raw, out / "again")


def test_scores_are_those_of_the_metrics(result, raw):
    """Predictions of the saved networks, read from their files, have the Dice and HD95 that the tables say."""
    found, _ = result
    others = sm.Cohort.from_table(raw.table.assign(subject=[f"n{i}" for i in range(len(raw))]), name="others")
    with pytest.warns(sm.ValueWarning, match="prepared each time"):
        scored = found.score(others)
    with pytest.warns(sm.ValueWarning, match="prepared each time"):
        written = found.predict(others, result[1] / "scored")
    for row in (0, 3):
        said, truth = (sm.io.read_nifti(t["path_labels"].iloc[row]) for t in (written, others.table))
        spacing = tuple(truth.spacing)
        for label in (1, 2, 3):
            masks = (said.data == label).numpy(), (truth.data == label).numpy()
            case = scored.cases[(scored.cases["row"] == row) & (scored.cases["class"] == str(label))].iloc[0]
            assert case["dice"] == pytest.approx(sm.metrics.dice(*masks))
            assert case["hausdorff_95"] == pytest.approx(sm.metrics.hausdorff(*masks, spacing))
            assert case["surface_dice"] == pytest.approx(sm.metrics.surface_dice(*masks, spacing))


def test_rows_that_need_no_network(result):
    found, _ = result
    assert (lines_of(found, "dummy")["value"].dropna() == 0).all()
    assert lines_of(found, "dummy")["n_missed"]["mean"] == 18
    assert lines_of(found, "atlas")["value"]["mean"] > 0.6  # heads that lie alike
    assert (lines_of(found, "histogram")["value"][["2", "3"]] > 0.75).all()  # tissues have intensities of their own
    assert lines_of(found, "atlas + histogram")["value"]["mean"] > 0.85
    assert lines_of(found, "dummy", "hausdorff_95")["n_undefined"]["mean"] == 6


@pytest.mark.parametrize("side", ["labels", "intensities"])
def test_no_row_sees_people_that_are_tested(tmp_path, side):
    """With other labels and intensities of the people of one fold, every other row's prediction of them stays."""
    pre = sm.VolumePreprocessing(spacing=4.0, patch=None, size=16)
    cohort = sm.prepare(head_cohort(tmp_path / "raw", 4), tmp_path / "a", spacing=4.0, progress=False)
    test = next(iter(cohort.folds(2, seed=0)))[1]
    people = set(cohort.table["subject"].iloc[test])
    changed = head_cohort(tmp_path / "changed", 4)
    for _, line in changed.table[changed.table["subject"].isin(people)].iterrows():
        path = line["path_labels" if side == "labels" else "path"]
        volume = sm.io.read_nifti(path)
        sm.io.write_nifti(sm.io.Volume(volume.data.flip(0) * (1 if side == "labels" else -1), volume.affine), path)
    changed = sm.prepare(changed, tmp_path / "b", spacing=4.0, progress=False)
    options = sm.Segmentation(epochs=1, batch_size=2)
    one, two = (sm.segment(c, encoder=small_unet(pre), folds=2, options=options) for c in (cohort, changed))
    for name, value in one.tasks[0].state_dict().items():
        assert torch.equal(value, two.tasks[0].state_dict()[name])
    if side == "labels":
        column = "prediction"
        ours, theirs = (r.cases[r.cases["fold"] == 0].set_index(["model", "row", "class"])[column] for r in (one, two))
        pd.testing.assert_series_equal(ours, theirs)
    rows, how = np.setdiff1d(range(4), test), one.tasks[0].preprocessing
    fitted = [Classical(maps_of(c, how), rows, [0, 1, 2, 3], list(c.table["subject"])) for c in (cohort, changed)]
    assert torch.equal(fitted[0].votes, fitted[1].votes)
    assert torch.equal(fitted[0].means, fitted[1].means)


def test_people_with_many_scans_weigh_as_others(tmp_path):
    pre = sm.VolumePreprocessing(spacing=4.0, patch=None, size=16)
    once = head_cohort(tmp_path / "raw", 3)
    often = sm.Cohort.from_table(pd.concat([once.table, *[once.table.iloc[:1]] * 4], ignore_index=True), name="often")
    fitted = []
    for cohort in (once, often):
        ready = sm.prepare(cohort, tmp_path / cohort.name, spacing=4.0, progress=False)
        maps = maps_of(ready, dataclasses.replace(pre, labels=True))
        fitted.append(Classical(maps, range(len(ready)), [0, 1, 2, 3], list(ready.table["subject"])))
    torch.testing.assert_close(fitted[0].votes, fitted[1].votes)
    assert fitted[0].people == fitted[1].people == 3
    for name in ("means", "covariances", "counts"):
        torch.testing.assert_close(getattr(fitted[0], name), getattr(fitted[1], name), rtol=1e-10, atol=1e-10)


def test_a_saved_result_predicts_as_before(result, tmp_path):
    found, out = result
    loaded = sm.SegmentationResult.load(out)
    assert loaded.values_ == found.values_
    pd.testing.assert_frame_equal(loaded.table, found.table, check_dtype=False)
    others = head_cohort(tmp_path / "others", 1, seed=9, site="there")
    with pytest.warns(sm.ValueWarning, match="prepared each time"):
        one, two = (r.predict(others, tmp_path / name) for r, name in ((found, "a"), (loaded, "b")))
    first, second = (sm.io.read_nifti(t["path_labels"].iloc[0]).data for t in (one, two))
    assert torch.equal(first, second)
    assert "here0" not in (out / "segmentation.json").read_text()  # no training person's name
    with pytest.raises(ValueError, match="in training and test data at once"):
        loaded.predict(head_cohort(tmp_path / "same", 1), tmp_path / "c")
    with pytest.raises(sm.FormatError, match="SegmentationResult"):
        sm.SegmentationResult.load(tmp_path)


def test_a_saved_table_keeps_people_whose_names_look_like_nothing(result, tmp_path):
    found, _ = result
    names = dict(zip(sorted(found.cases["subject"].unique()), ["NA", "null", "None", "nan", "001", "1"], strict=True))
    cases = found.cases.assign(subject=found.cases["subject"].map(names))
    cases["class"] = cases["class"].replace("3", "NA")
    written = sm.SegmentationResult(found.tasks, found._people, cases, found.name, found._options, found._about)
    written.save(tmp_path)
    again = sm.SegmentationResult.load(tmp_path)
    pd.testing.assert_frame_equal(again.table, written.table, check_exact=True)
    assert (lines_of(again)["n_subjects"] == 6).all()
    assert list(lines_of(again).index) == ["1", "2", "NA", "mean"]


def test_a_result_of_another_device_predicts_on_the_cpu(result, raw, tmp_path):
    found, _ = result
    elsewhere = dataclasses.replace(found._options, device="cuda:7")
    sm.SegmentationResult(found.tasks, found._people, found.cases, found.name, elsewhere, found._about).save(tmp_path)
    other = sm.Cohort.from_table(raw.table.head(1).assign(subject=["other"]), name="others")
    with pytest.warns(sm.ValueWarning, match="prepared each time"):
        written = sm.SegmentationResult.load(tmp_path).predict(other, tmp_path / "predicted")
    assert sm.io.read_nifti(written["path_labels"].iloc[0]).data.unique().numel() > 1


def test_uncertainty_is_largest_between_classes(result, tmp_path):
    found, _ = result
    others = head_cohort(tmp_path / "others", 1, seed=9, site="there")
    with pytest.warns(sm.ValueWarning, match="prepared each time"):
        table = found.predict(others, tmp_path / "sure", uncertainty=True)
    entropy, apart = (sm.io.read_nifti(table[f"path_{name}"].iloc[0]) for name in ("entropy", "disagreement"))
    labels = sm.io.read_nifti(table["path_labels"].iloc[0])
    assert entropy.data.shape == labels.data.shape
    assert torch.allclose(entropy.affine, labels.affine)
    for values in (entropy.data, apart.data):
        assert float(values.min()) >= 0
        assert float(values.max()) <= 1
    assert (apart.data <= entropy.data + 1e-6).all()
    assert float(apart.data.max()) > 0  # two networks are never of one mind
    border = (labels.data[1:] != labels.data[:-1]).float()
    assert float((entropy.data[1:] * border).sum() / border.sum()) > 1.5 * float(entropy.data.mean())


def test_a_pretrained_encoder_stands_beside_random_weights(tmp_path):
    pre = sm.VolumePreprocessing(spacing=4.0, patch=None, size=16)
    cohort = sm.prepare(head_cohort(tmp_path / "raw", 4), tmp_path / "prepared", spacing=4.0, progress=False)
    options = sm.Segmentation(epochs=1, batch_size=2, metrics=("dice",))
    how = {"folds": 2, "options": options, "baselines": (), "random": True, "out": tmp_path / "out"}
    found = sm.segment(cohort, encoder=small_unet(pre), **how)
    assert list(found.table["row"].unique()) == [NAME, f"random {NAME}"]
    assert len(found.tasks) == 2
    values = [lines_of(found, row)["value"]["mean"] for row in (NAME, f"random {NAME}")]
    assert values[0] != values[1]


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
    with pytest.raises(ValueError, match="another configuration"):  # the same people and folds, in another order
        sm.segment(cohort.subset(range(len(cohort))[::-1]), encoder=small_unet(pre), folds=2, options=options, out=tmp_path / "run")
    again = sm.segment(cohort, encoder=small_unet(pre), folds=2, options=options, out=tmp_path / "run")
    pd.testing.assert_frame_equal(whole.cases, again.cases)


def test_labels_that_change_before_their_end_are_noticed(raw, tmp_path):
    """Files of equal size whose last bytes are background: a training would go on with other labels."""
    labels, found = torch.zeros(32, 32, 32, dtype=torch.int16), []
    table = raw.table.head(1).assign(path_labels=[str(tmp_path / "dseg.nii")])
    pre = sm.VolumePreprocessing(spacing=4.0, patch=None, size=16)
    for value in (1, 2, 2):
        labels[4:8] = value
        sm.io.write_nifti(sm.io.Volume(labels, torch.eye(4)), tmp_path / "dseg.nii")
        with pytest.warns(sm.ValueWarning, match="prepared each time"):
            loader = sm.Loader(sm.Cohort.from_table(table, name="heads"), pre, batch_size=1)
        found.append(rows_of(loader, "shuffle", ["path_labels"])["choices"].iloc[0])
    assert found[0] != found[1] == found[2]


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


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_labels_of_images_are_placed_where_their_files_have_them(pictures, fit):
    cohort = sm.Cohort.from_table(pictures.table.rename(columns={"mask": "path_labels"}), name="discs")
    maps = ImageLabelMaps(cohort, sm.ImagePreprocessing(size=48, patch=None, fit=fit))
    values = maps.read(0).float().mean(0)
    truth, placed = maps.truth(0), maps.placed(0, torch.where(values > 140, 7, 0), 0)
    assert placed.shape == truth.shape
    assert ((placed == 7) == (truth == 7)).float().mean() > 0.98
    border = torch.zeros(values.shape, dtype=torch.bool) if maps.inside(0) is None else ~maps.inside(0)
    assert border.any() == (fit == "pad")
    assert (values[border] == 0).all()


def test_pictures_are_segmented(pictures, tmp_path):
    pre = sm.ImagePreprocessing(size=48, patch=None)
    encoder = small_unet(pre)
    found = sm.segment(pictures, "mask", encoder, folds=2, options=sm.Segmentation(epochs=12, batch_size=3, lr=5e-3), out=tmp_path)
    assert found.values_ == (0, 7)
    assert lines_of(found)["value"]["7"] > 0.85
    assert lines_of(found, "histogram")["value"]["7"] > 0.85
    others = sm.Cohort.from_table(pictures.table.drop(columns=["mask"]).assign(subject=[f"o{i}" for i in range(6)]), name="others")
    written = found.predict(others, tmp_path / "predicted")
    for path, mask in zip(written["path_labels"], pictures.table["mask"], strict=True):
        said, truth = sm.io.read_image(path)[..., 0], sm.io.read_image(mask)[..., 0]
        assert said.shape == truth.shape == (60, 90)
        assert set(said.unique().tolist()) <= {0, 7}
        assert 2 * ((said == 7) & (truth == 7)).sum() / ((said == 7).sum() + (truth == 7).sum()) > 0.85


def test_a_value_that_the_loss_leaves_out_counts_in_no_score(pictures, tmp_path):
    """A border of 255 around each picture is no class, and what is predicted there is neither right nor wrong."""
    rows = []
    for i, path in enumerate(pictures.table["mask"][:4]):
        mask = sm.io.read_image(path)[..., 0].numpy().copy()
        mask[:, :8] = 255
        picture(tmp_path / f"{i}.png", mask)
        rows.append(str(tmp_path / f"{i}.png"))
    cohort = pictures.subset(range(4)).with_columns(void=rows)
    encoder = small_unet(sm.ImagePreprocessing(size=48, patch=None))
    options = sm.Segmentation(epochs=1, metrics=("dice",), loss={"ignore": 255})
    found = sm.segment(cohort, "void", encoder, folds=2, options=options, baselines=())
    assert found.values_ == (0, 7)
    maps = maps_of(cohort.with_columns(path_labels=rows), encoder.preprocessing)
    labels = torch.where(maps.truth(0) == 255, 7, maps.truth(0))  # right but in the border
    (line,) = scored(cohort, maps, 0, labels, (0, 7), options)
    assert line["dice"] == 1
    assert line["prediction"] == line["reference"]
    with pytest.raises(ValueError, match=r"the label map has 255, no class of \[0, 7\]"):
        sm.segment(cohort, "void", encoder, folds=2, values=[0, 7])


def test_empty_and_missed_cases_are_counted():
    nan = float("nan")
    lines = [
        ["x", 0, "a", "s0", 0, "1", 10, 12, 0.8, 2.0],
        ["x", 1, "b", "s1", 0, "1", 10, 0, 0.0, nan],  # missed
        ["x", 2, "c", "s2", 0, "1", 0, 4, nan, float("inf")],  # not there, but predicted
        ["x", 3, "d", "s3", 0, "1", 0, 0, nan, nan],
    ]
    options = sm.Segmentation(metrics=("dice", "hausdorff_95"))
    table = summary(pd.DataFrame(lines, columns=[*CASES, *options.metrics]), options, 0).set_index(["metric", "class"])
    line = table.loc["dice", "1"]
    counts = ["n_subjects", "n_cases", "n_undefined", "n_missed", "n_empty", "n_false"]
    assert [line["value"], *line[counts]] == [0.4, 2, 4, 2, 1, 2, 1]
    assert np.isnan(line["low"])
    assert list(table.loc["hausdorff_95", "1"][["value", "n_undefined", "n_missed"]]) == [2.0, 3, 1]


def test_label_maps_of_many_values_have_16_bits(tmp_path):
    labels = torch.tensor([[0, 255], [256, 65535]], dtype=torch.int32)
    write_label_png(labels, tmp_path / "wide.png")
    body = (tmp_path / "wide.png").read_bytes()
    assert body[24] == 16  # bits in the header
    found = np.array(pytest.importorskip("PIL.Image").open(tmp_path / "wide.png"))
    assert np.array_equal(found, labels.numpy())
    write_label_png(labels.clamp_max(255), tmp_path / "narrow.png")
    assert torch.equal(sm.io.read_image(tmp_path / "narrow.png")[..., 0].int(), labels.clamp_max(255))
    with pytest.raises(ValueError, match="within 0 and 65535, got 65536"):
        write_label_png(labels + 1, tmp_path / "too.png")


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
    for name, value in (("flips", (3,)), ("roi", (16, 16))):  # before anything is trained
        with pytest.raises(ValueError, match=f"{name}="):
            sm.segment(raw, encoder=small_unet(pre), options=sm.Segmentation(**{name: value}))
    bare = sm.Cohort.from_table(raw.table.drop(columns=["path_labels"]), name="bare")
    with pytest.raises(ValueError, match="has no label map"), pytest.warns(sm.ValueWarning):
        sm.segment(bare, encoder=small_unet(pre))
    for name, value in (
        ("epochs", 0),
        ("lr", 0.0),
        ("overlap", 1.0),
        ("tuned", "adapters"),
        ("convention", "torchio"),
        ("metrics", ("dice", "auc")),
        ("metrics", ("dice", "dice")),
        ("flips", (0, 0)),
        ("flips", (-1,)),
        ("roi", (16, 1.5)),
        ("tolerance", -1),
    ):
        with pytest.raises(ValueError, match=f"{name}="):
            sm.Segmentation(**{name: value})
    eeg = sm.Cohort.from_arrays(np.zeros((2, 2, 400)), 100.0, ["Cz", "Pz"], pd.DataFrame({"subject": ["a", "b"]}))
    with pytest.raises(ValueError, match="label maps"):
        sm.segment(eeg, encoder="vit_tiny")
