"""Anomalies from end to end on embedded brains: promises are held, lesions are found, and nothing leaks."""

import dataclasses
import warnings

import lesions
import numpy as np
import pandas as pd
import pytest
import torch
from noise_images import images
from scipy.stats import betabinom
from soak import WHEN_SOAKED

import sslmed as sm
from sslmed.anomaly import Atlas, LatentSvm, Mahalanobis, PatchCore, Reconstruction, knn, patch_features
from sslmed.anomaly.scoring import clopper_pearson
from sslmed.io import write_label_png

PADIM = Mahalanobis("place", ridge=0.01, name="padim")


@pytest.fixture(scope="module")
def parts(healthy):
    return healthy.split(0.5, seed=0)


@pytest.fixture(scope="module")
def found(parts, tested, encoder):
    methods = [PatchCore(coreset=0.05), PADIM, "one-class svm", "atlas", "histogram", "dummy"]
    return sm.detect_anomalies(parts[0], tested, encoder, validation=parts[1], methods=methods, sizes=(3000.0,))


def value(result, row, metric, threshold=None):
    table = result.table[(result.table["row"] == row) & (result.table["metric"] == metric)]
    return float((table if threshold is None else table[table["threshold"] == threshold])["value"].iloc[0])


def test_every_method_has_every_score(found, tested):
    metrics = {row: set(part["metric"]) for row, part in found.table.groupby("row")}
    assert len(metrics) == 6
    for names in metrics.values():
        assert {
            "AUROC of scans",
            "AUPRC of cells",
            "best Dice",
            "Dice",
            "AUPRO",
            "lesion sensitivity",
            "false-alarm rate",
        } <= names
        assert any("from 3000 mm³" in name for name in names)
    assert set(found.table.columns) >= {"row", "metric", "value", "low", "high", "n_subjects"}
    scores = found.scores
    assert len(scores[(scores["part"] == "tested") & (scores["method"] == "atlas")]) == len(tested)
    assert scores["anomalous"].sum() == 6 * tested.table["sick"].sum()
    assert value(found, "atlas", "best Dice") >= value(found, "atlas", "Dice", "share")


def test_the_atlas_finds_lesions_and_the_dummy_none(found):
    assert value(found, "atlas", "AUROC of cells") > 0.85
    assert 0.45 < value(found, "dummy", "AUROC of cells") < 0.55


def test_thresholds_are_those_of_validation_people(found, parts):
    for method, part in found.scores[found.scores["part"] == "validation"].groupby("method"):
        people = part.groupby("subject")["score"].max().sort_values().to_numpy()
        k = int(np.ceil((len(people) + 1) * 0.9 - 1e-9))
        assert part["threshold"].unique().tolist() == [people[k - 1]], method
    assert set(found.scores[found.scores["part"] == "validation"]["subject"]) == set(parts[1].table["subject"])


@pytest.mark.parametrize("people", [40, pytest.param(240, id="soak-240", marks=WHEN_SOAKED)])
def test_the_promised_rate_holds_on_healthy_people_held_out(tmp_path, parts, tested, encoder, people):
    """All of them are new, and so are their scans: alarms are beta-binomial, given how many validation people there
    are."""
    training, validation = parts
    new = lesions.healthy(tmp_path / "new", people, 21).joined(tested.query("sick").subset([0]), same_people=True)
    for rate in (0.1, 0.25):
        result = sm.detect_anomalies(
            training,
            new,
            encoder,
            validation=validation,
            methods=[knn(most=500), "atlas"],
            target="sick",
            rate=rate,
        )
        n = validation.table["subject"].nunique()
        k = int(np.ceil((n + 1) * (1 - rate) - 1e-9))
        for method in ("knn", "atlas"):
            table = result.table[result.table["row"] == method]
            line = table[table["metric"] == "false-alarm rate"].iloc[0]
            alarms = round(line["value"] * people)
            assert line["n_subjects"] == people
            assert betabinom.sf(alarms - 1, people, n + 1 - k, k) > 1e-3, (method, alarms)
            assert clopper_pearson(alarms, people, 0.999)[0] <= rate + 0.1
            above = table[table["metric"] == "share of cells above, healthy"]
            assert above["value"].iloc[0] < rate + 0.03  # in the mean; it hardly varies over people


def test_lesions_are_found_by_features_of_an_encoder(tmp_path, healthy, tested):
    """Cells of 8 mm of a convolutional network with random weights: a Gaussian at each place."""
    how = sm.VolumePreprocessing(spacing=lesions.SPACING, patch=None, size=32)
    encoder = sm.DenseEncoder("convnet", how, widths=(16, 32), seed=1)
    validation = lesions.healthy(tmp_path, 10, 14)
    result = sm.detect_anomalies(healthy, tested, encoder, validation=validation, methods=[PADIM], levels=[0])
    assert value(result, "padim", "AUROC of cells") >= 0.85


@WHEN_SOAKED
def test_soak_lesions_are_found_by_a_masked_auto_encoder(tmp_path):
    """New people of a seed that no setting was chosen on; the encoder is trained on the training people alone."""
    training = lesions.healthy(tmp_path / "training", 60, 31)
    validation, sick = lesions.healthy(tmp_path / "validation", 40, 32), lesions.sick(tmp_path / "sick", 24, 33)
    tested = sick.joined(lesions.healthy(tmp_path / "others", 24, 34), same_people=True)
    how = sm.VolumePreprocessing(spacing=lesions.SPACING, patch=4)
    encoder = sm.Encoder("vit_tiny", how, depth=2, seed=1)
    run = sm.pretrain(
        training, "mae", encoder, tmp_path / "run", epochs=60, batch_size=8, lr=2e-3, progress=False, tensorboard=False,
        norm_target=False,
    )  # fmt: skip
    result = sm.detect_anomalies(
        training,
        tested,
        methods=[Reconstruction.of(run), "atlas", "dummy"],
        validation=validation,
    )
    print(result.table.to_string())
    assert value(result, "reconstruction", "AUROC of cells") >= 0.85


def test_a_saved_result_predicts_the_same_maps(found, tested, tmp_path):
    new = tested.subset([0, 8]).with_columns(subject=["x/1", "y"])
    found.save(tmp_path / "saved")
    again = sm.AnomalyResult.load(tmp_path / "saved")
    pd.testing.assert_frame_equal(again.table, found.table, check_dtype=False)
    assert list(again.methods) == list(found.methods)
    for method in found.methods:
        a, b = found.predict(new, tmp_path / "a", method=method), again.predict(new, tmp_path / "b", method=method)
        assert a["score"].tolist() == b["score"].tolist()
        assert a["threshold_any_cell"].tolist() == b["threshold_any_cell"].tolist()
        for one, two in zip(a["path_anomaly"], b["path_anomaly"], strict=True):
            assert torch.equal(sm.io.read_nifti(one).data, sm.io.read_nifti(two).data)
    assert found.predict(new)["score"].tolist() != found.predict(new, method="atlas")["score"].tolist()
    assert str(a["path_anomaly"].iloc[0]).endswith("0000_x-1_anomaly.nii.gz")


def test_maps_have_the_affine_of_the_file(found, tmp_path):
    site = dataclasses.replace(lesions.SITE, axes="PSR")
    raw = lesions.mri.write_cohort(tmp_path / "raw", site, 2, seed=77).with_columns(subject=["new1", "new2"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sm.ValueWarning)  # prepared each time that they are read
        table = found.predict(raw, tmp_path / "maps", method="atlas")
    for path, map_path in zip(raw.table["path"], table["path_anomaly"], strict=True):
        image, scores = sm.io.read_nifti(path), sm.io.read_nifti(map_path)
        assert scores.data.shape == image.data.shape
        assert torch.allclose(scores.affine, image.affine)
        inside = image.data > 0
        assert (scores.data[inside] > 0).float().mean() > 0.9
        assert (scores.data[~inside] > 0).float().mean() < 0.05


def test_a_reconstruction_is_saved_with_its_weights(parts, tested, tmp_path):
    how = sm.VolumePreprocessing(spacing=lesions.SPACING, patch=8)
    encoder = sm.Encoder("vit_tiny", how, depth=1, dim=48, heads=3)
    method = Reconstruction(sm.methods.Mae(norm_target=False).objective(encoder, 0), encoder, passes=1)
    result = sm.detect_anomalies(parts[0], tested, methods=[method], validation=parts[1], out=tmp_path / "saved")
    again = sm.AnomalyResult.load(tmp_path / "saved")
    new = tested.subset([0])
    assert again.predict(new)["score"].tolist() == result.predict(new)["score"].tolist()


def test_nobody_is_in_two_groups(parts, tested, healthy, encoder):
    training, validation = parts
    one = training.subset([0])
    with pytest.raises(ValueError, match=r"training and validation .*1 subject is in training and test data"):
        sm.detect_anomalies(training, tested, methods=["atlas"], validation=validation.joined(one, same_people=True))
    with pytest.raises(ValueError, match="training and tested"):
        sm.detect_anomalies(
            training,
            tested.joined(one.with_columns(sick=False), same_people=True),
            methods=["atlas"],
            validation=validation,
        )
    with pytest.raises(ValueError, match="validation and tested"):
        sm.detect_anomalies(
            training,
            validation.joined(tested, same_people=True),
            methods=["atlas"],
            validation=validation,
        )
    renamed = one.with_columns(subject=["somebody"])  # the same scan under another name
    with pytest.raises(ValueError, match=r"is listed for 2 subjects|the same signal"):
        sm.detect_anomalies(
            training,
            tested,
            methods=["atlas"],
            validation=validation.joined(renamed, same_people=True),
        )
    split = sm.detect_anomalies(healthy, tested, methods=["dummy"], validation=0.4)
    people = split._people
    assert not set(people["training"]) & set(people["validation"])


def test_predict_refuses_people_of_fitting_and_thresholds(found, parts):
    for part in parts:
        with pytest.raises(ValueError, match="in training and test data"):
            found.predict(part)


def test_an_encoder_that_saw_validation_people_is_refused(parts, tested, encoder):
    training, validation = parts
    seen = sm.Encoder("vit_tiny", encoder.preprocessing, depth=1, dim=48, heads=3)
    seen.provenance = sm.provenance.record(None, "pretraining", validation.subset([0]))
    with pytest.raises(ValueError, match=r"trained on 1 of .* validation people"):
        sm.detect_anomalies(training, tested, seen, methods=["knn"], validation=validation)
    method = Reconstruction(sm.methods.Mae().objective(seen, 0), seen)
    with pytest.raises(ValueError, match=r"trained on 1 of .* validation people"):
        sm.detect_anomalies(training, tested, methods=[method], validation=validation)
    seen.provenance = sm.provenance.record(None, "pretraining", tested.subset([0]))
    with pytest.warns(sm.TransductiveWarning, match="1 of 12 tested people"):
        sm.detect_anomalies(training, tested, seen, methods=["dummy"], validation=validation)


def test_nothing_that_is_fitted_sees_other_people(parts, tested, encoder):
    """States (means, coresets, whitening, standardization, bins) and regressions stay, bit for bit, whoever is
    validated and tested."""
    training, validation = parts
    methods = [PatchCore(coreset=0.01), PADIM, LatentSvm(most=200), "atlas", "histogram"]
    how = {"methods": methods, "covariates": ["age"], "target": "sick", "folds": 2}
    a = sm.detect_anomalies(training, tested, encoder, validation=validation, **how)
    fewer = validation.subset(np.arange(len(validation)) > 3)
    b = sm.detect_anomalies(training, tested.subset([0, 8]), encoder, validation=fewer, **how)
    c = sm.detect_anomalies(training, tested.subset([1, 9]), encoder, validation=validation, **how)
    for name in a.methods:
        for other in (b, c):
            for key, tensor in a.methods[name].state.items():
                assert torch.equal(tensor, other.methods[name].state[key]), (name, key)
            assert a.methods[name].calibration.scan.adjustment == other.methods[name].calibration.scan.adjustment
        # Thresholds stay whoever is tested, and scores of a scan whoever is tested with it.
        assert a.methods[name].calibration == c.methods[name].calibration
    scores = a.scores[a.scores["part"] == "tested"].groupby("method")["score"].nth(1)
    alone = c.scores[c.scores["part"] == "tested"].groupby("method")["score"].nth(0)
    assert np.allclose(scores, alone, rtol=1e-5)


def test_regression_on_age_is_of_scores_out_of_fold(parts, encoder):
    """A method that knows its training people by heart gives them 0: out of their fold it does not."""
    from sslmed.anomaly.calibration import out_of_fold
    from sslmed.anomaly.scans import scans_of

    scans = scans_of(parts[0], encoder, None, patches=True)
    method = knn(k=1)
    state = method.fit(scans, 0)
    assert max(method.detect(state, scan, 0).score for scan in scans) == 0
    assert min(one.score for one in out_of_fold(method, scans, 5, 0)) > 0


def test_covariates_and_groups_need_values(parts, tested):
    training, validation = parts
    how = {"methods": ["dummy"], "validation": validation}
    with pytest.raises(ValueError, match="no column 'scanner'"):
        sm.detect_anomalies(training, tested, groups=["scanner"], **how)
    with pytest.raises(ValueError, match="must hold numbers"):
        sm.detect_anomalies(training, tested, covariates=["sex"], **how)
    with pytest.raises(TypeError, match="must be a list of columns"):
        sm.detect_anomalies(training, tested, groups="sex", **how)
    unknown = tested.with_columns(age=[np.nan, *tested.table["age"][1:]])
    with pytest.raises(ValueError, match="row 0 has no 'age'"):
        sm.detect_anomalies(training, unknown, covariates=["age"], **how)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"methods": ["nothing"]}, ValueError, "method 'nothing' is unknown"),
        ({"methods": "atlas"}, TypeError, "must be a list"),
        ({"methods": [3]}, TypeError, "must be a name or a method"),
        ({"methods": ["atlas", Atlas(grid=8)]}, ValueError, "must differ"),
        ({"methods": ["patchcore"]}, ValueError, "encoder=None, but patchcore"),
        ({"rate": 0.0}, ValueError, "rate=0.0"),
        ({"rate": 0.01}, ValueError, "at least 99 are needed"),
        ({"cell_rate": 2.0}, ValueError, "cell_rate=2.0"),
        ({"target": "nothing"}, ValueError, "target='nothing' is not a column"),
        ({"target": "age"}, ValueError, "must be True or False"),
        ({"validation": 1.5}, ValueError, "validation=1.5"),
        ({"seed": -1}, ValueError, "seed=-1"),
    ],
)
def test_bad_options(parts, tested, options, error, message):
    given = {"methods": ["dummy"], "validation": parts[1]} | options
    with pytest.raises(error, match=message):
        sm.detect_anomalies(parts[0], tested, **given)


def test_cohorts_must_be_cohorts(parts, tested, found):
    with pytest.raises(TypeError, match="healthy="):
        sm.detect_anomalies("x", tested)
    with pytest.raises(TypeError, match="cohort="):
        found.predict("x")
    with pytest.raises(ValueError, match="method='x' is unknown"):
        found.predict(tested, method="x")
    with pytest.raises(sm.FormatError, match="expected a folder"):
        sm.AnomalyResult.load("nowhere")


def test_groups_are_told_apart_by_where_they_are_from(found, tested):
    sources = tested.with_columns(source=np.where(tested.table["sick"], "clinic", "public"))
    table = found.between(sources, "source")
    line = table[table["method"] == "atlas"].iloc[0]
    assert {line["a"], line["b"]} == {"clinic, anomalous", "public, healthy"}
    assert max(line["auroc"], 1 - line["auroc"]) == pytest.approx(
        max(value(found, "atlas", "AUROC of scans"), 1 - value(found, "atlas", "AUROC of scans")),
    )
    with pytest.raises(ValueError, match="not a column"):
        found.between(tested, "nothing")


def test_plots(found):
    assert len(found.plot().get_yticks()) == 6
    assert len(found.plot("Dice").get_yticks()) == 12  # two thresholds
    with pytest.raises(ValueError, match="metric='x'"):
        found.plot("x")


def test_images_with_masks(tmp_path, rng):
    """Squares of light in pictures of noise."""
    cohorts = {}
    for name, n in (("healthy", 40), ("tested", 12)):
        (tmp_path / name).mkdir()
        cohort, masks = images(tmp_path / name, rng, ((32, 32),) * n), []
        for number, path in enumerate(cohort.table["path"]):
            mask = torch.zeros(32, 32, dtype=torch.uint8)
            if name == "tested" and number < 6:
                mask[8:16, 8:24] = 1
                write_label_png(torch.where(mask > 0, 250, sm.io.read_image(path)[..., 0].int()), path)
            masks.append(str(tmp_path / name / f"{number}_mask.png"))
            write_label_png(mask, masks[-1])
        cohorts[name] = cohort.with_columns(subject=[f"{name}{i}" for i in range(n)], path_labels=masks)
    encoder = sm.DenseEncoder("resnet18", sm.ImagePreprocessing(size=32, patch=None))
    result = sm.detect_anomalies(
        cohorts["healthy"],
        cohorts["tested"],
        encoder,
        methods=["patchcore", "atlas"],
        validation=0.5,
    )
    assert value(result, "patchcore", "AUROC of cells") > 0.9
    assert value(result, "atlas", "AUROC of scans") == 1
    paths = result.predict(cohorts["tested"], tmp_path / "maps")["path_anomaly"]
    assert np.load(paths[0]).shape == (32, 32)


def test_recordings_have_scores_of_scans_alone(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 2, 800))
    x[34:] *= 4
    table = pd.DataFrame({"subject": [f"s{i}" for i in range(40)], "sick": [i >= 34 for i in range(40)]})
    people = sm.Cohort.from_arrays(x, 100.0, ["Cz", "Pz"], table)
    encoder = sm.Encoder("vit_tiny", sm.EegPreprocessing(scale="none", average_reference=False), depth=1)
    result = sm.detect_anomalies(
        people.subset(range(28)), people.subset(range(28, 40)), encoder, methods=["knn", "mahalanobis"], target="sick",
        out=tmp_path,
    )  # fmt: skip
    assert value(result, "knn", "AUROC of scans") > 0.9
    assert "AUROC of cells" not in set(result.table["metric"])
    assert "path_anomaly" not in result.predict(people.subset([30]), tmp_path / "maps")
    with pytest.raises(ValueError, match="are no arrays"):
        sm.detect_anomalies(people.subset(range(28)), people.subset(range(28, 40)), methods=["atlas"], target="sick")


def test_features_do_not_depend_on_the_batch(healthy, encoder):
    a, b = (patch_features(encoder, healthy.subset(range(4)), batch_size=size) for size in (1, 4))
    for one, two in zip(a, b, strict=True):
        assert torch.equal(one.corners, two.corners)
        assert torch.allclose(one.features, two.features, atol=1e-4)
