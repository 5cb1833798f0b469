"""What was fitted, applied to other people: from the files of segmentation, fine-tuning and slide level."""

import numpy as np
import pandas as pd
import pytest
import torch
from heads import head_cohort
from typer.testing import CliRunner

import sslmed as sm
from sslmed.bags import fit_slide_level
from sslmed.cli import app


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """(training people, others), prepared at 4 mm."""
    folder = tmp_path_factory.mktemp("heads")
    cohorts = []
    for site, n in (("here", 4), ("there", 2)):
        raw = head_cohort(folder / f"{site}-raw", n, seed=n, site=site)
        sm.prepare(raw, folder / site, spacing=4.0, progress=False)
        cohorts.append(folder / site)
    return cohorts


@pytest.fixture(scope="module")
def segmented(prepared, tmp_path_factory):
    """A folder of the command segment."""
    folder = tmp_path_factory.mktemp("segmented")
    pre = sm.VolumePreprocessing(spacing=4.0, patch=None, size=16)
    sm.DenseEncoder("unet", pre, filters=[4, 8]).save(folder / "encoder.safetensors")
    out, encoder = folder / "out", str(folder / "encoder.safetensors")
    asked = ["--encoder", encoder, "--folds", "2", "--epochs", "1", "--metrics", "dice,hausdorff_95"]
    done = CliRunner().invoke(app, ["segment", str(prepared[0]), "--out", str(out), *asked])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "atlas + histogram" in done.output
    return out


def test_segmentation_from_the_command_line(segmented, prepared, tmp_path):
    table = pd.read_csv(segmented / "table.csv")
    assert set(table["metric"]) == {"dice", "hausdorff_95"}
    asked = ["deploy", str(segmented), str(prepared[1]), "--out", str(tmp_path / "out"), "--uncertainty"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, (done.output, done.exception)
    said = pd.read_csv(tmp_path / "out/predictions.csv")
    assert len(said) == 2
    for column in ("path_labels", "path_entropy", "path_disagreement"):
        assert sm.io.read_nifti(said[column].iloc[0]).data.dim() == 3
    scores = pd.read_csv(tmp_path / "out/scores.csv")
    assert list(scores["row"].unique()) == ["unet + unet"]
    truth = sm.Cohort.open(prepared[1])
    again = sm.SegmentationResult.load(segmented).score(truth).table
    assert np.allclose(scores["value"], again["value"])
    with pytest.raises(ValueError, match="training and test data at once"):
        sm.deploy(segmented, prepared[0], tmp_path / "same")
    done = CliRunner().invoke(app, ["segment", str(prepared[0]), "--out", str(tmp_path / "none")])
    assert "--size is needed" in str(done.exception)
    asked = ["--size", "16", "--spacing", "4", "--values", "0,one"]
    done = CliRunner().invoke(app, ["segment", str(prepared[0]), "--out", str(tmp_path / "none"), *asked])
    assert "--values 0,one: expected tuple" in str(done.exception)
    encoder = ["--encoder", str(segmented.parent / "encoder.safetensors")]
    asked = ["segment", str(prepared[0]), "--out", str(tmp_path / "all"), *encoder, "--folds", "0", "--epochs", "1"]
    done = CliRunner().invoke(app, asked)
    assert "trained on everybody, so there are no scores" in done.output, (done.output, done.exception)
    with pytest.raises(ValueError, match="nobody was held out"):
        sm.SegmentationResult.load(tmp_path / "all").plot()


def slides(folder, n, start=0):
    """A store and a table of slides whose first tiles tell of a tumor."""
    store, rng = sm.FeatureStore(folder), np.random.default_rng(start)
    names = [f"s{i}" for i in range(start, start + n)]
    table = pd.DataFrame({"subject": names, "slide": names, "tumor": ["no", "yes"] * (n // 2)})
    for name, label in zip(names, table["tumor"], strict=True):
        x = rng.normal(size=(20, 6)) + 4.0 * (label == "yes") * (np.arange(20) < 5)[:, None]
        store.write(name, torch.from_numpy(x), np.stack([np.arange(20) * 512, np.zeros(20)], 1), mpp=0.5, tile=512)
    return table


def test_a_slide_level_network(tmp_path):
    table = slides(tmp_path / "features", 16)
    how = sm.BagTraining(hidden=16, attention=8, epochs=8, patience=0, batch_size=4, lr=1e-2)
    model = fit_slide_level(tmp_path / "features", table, "tumor", "abmil", how)
    model.save(tmp_path / "model.safetensors")
    others = slides(tmp_path / "others", 8, start=100)
    others.to_csv(tmp_path / "others.tsv", sep="\t", index=False)
    asked = {"features": tmp_path / "others"}
    found = sm.deploy(tmp_path / "model.safetensors", tmp_path / "others.tsv", tmp_path / "out", **asked)
    pd.testing.assert_frame_equal(found.predictions, model.predict(tmp_path / "others", others))
    assert {"row", "metric", "value", "low", "high", "n_subjects"} <= set(found.table)
    assert found.plot() is not None
    assert pd.read_csv(tmp_path / "out/scores.csv").shape == found.table.shape
    renamed = others.rename(columns={"tumor": "grade"})
    assert sm.deploy(tmp_path / "model.safetensors", renamed, tmp_path / "out", **asked).table is None
    by_name = sm.deploy(tmp_path / "model.safetensors", renamed, tmp_path / "out", target="grade", **asked)
    pd.testing.assert_frame_equal(by_name.table, found.table)
    with pytest.raises(ValueError, match="features=None"):
        sm.deploy(tmp_path / "model.safetensors", others, tmp_path / "out")
    with pytest.raises(ValueError, match="is not a column"):
        sm.deploy(tmp_path / "model.safetensors", others, tmp_path / "out", target="stage", **asked)
    with pytest.raises(ValueError, match="training and test data at once"):
        sm.deploy(tmp_path / "model.safetensors", table, tmp_path / "out", features=tmp_path / "features")


def test_a_fine_tuned_network(prepared, tmp_path):
    pre = sm.VolumePreprocessing(spacing=4.0, patch=None, size=16)
    here, there = (sm.Cohort.open(path) for path in prepared)
    encoder, how = sm.DenseEncoder("unet", pre, filters=[4, 8]), sm.FineTuning(epochs=1, batch_size=2)
    tuned = sm.finetune(encoder, here, "sex", how)
    tuned.save(tmp_path / "tuned.safetensors")
    found = sm.deploy(tmp_path / "tuned.safetensors", there, tmp_path / "out")
    assert list(found.predictions["predicted"]) == list(tuned.predict(there))
    assert found.table["value"].iloc[0] == tuned.score(there)
    assert np.allclose(found.predictions[["F", "M"]].sum(axis=1), 1)
    with pytest.raises(ValueError, match="is not a column"):
        sm.deploy(tmp_path / "tuned.safetensors", there, tmp_path / "out", target="diagnosis")


def test_a_target_of_another_name_of_recordings_in_memory(tmp_path):
    rng, cohorts = np.random.default_rng(0), []
    for name, column in (("here", "diagnosis"), ("there", "grade")):
        table = pd.DataFrame({"subject": [f"{name}{i}" for i in range(4)], column: ["a", "b"] * 2})
        values = 20 * rng.normal(size=(4, 2, 800))
        cohorts.append(sm.Cohort.from_arrays(values, 100, ["Cz", "Pz"], table, name=name))
    here, there = cohorts
    encoder = sm.Encoder("vit_tiny", sm.EegPreprocessing(sfreq=100, window=2.0), depth=1)
    tuned = sm.finetune(encoder, here, "diagnosis", sm.FineTuning(epochs=1, batch_size=4))
    tuned.save(tmp_path / "tuned.safetensors")
    found = sm.deploy(tmp_path / "tuned.safetensors", there, tmp_path / "out", target="grade")
    assert found.table["value"].iloc[0] == tuned.score(there.with_columns(diagnosis=there.table["grade"]))


@pytest.mark.filterwarnings("ignore::sslmed.ValueWarning")  # without a signal
def test_a_recording_without_a_usable_sample_costs_itself(tmp_path):
    rng, cohorts = np.random.default_rng(0), []
    for name, n in (("here", 4), ("there", 5)):
        table = pd.DataFrame({"subject": [f"{name}{i}" for i in range(n)], "diagnosis": (["a", "b"] * 3)[:n]})
        values = 20 * rng.normal(size=(n, 2, 800))
        values[4:] = np.nan
        cohorts.append(sm.Cohort.from_arrays(values, 100, ["Cz", "Pz"], table, name=name))
    here, there = cohorts
    encoder = sm.Encoder("vit_tiny", sm.EegPreprocessing(sfreq=100, window=2.0), depth=1)
    tuned = sm.finetune(encoder, here, "diagnosis", sm.FineTuning(epochs=1, batch_size=4))
    tuned.save(tmp_path / "tuned.safetensors")
    found = sm.deploy(tmp_path / "tuned.safetensors", there, tmp_path / "out", on_error="skip")
    assert found.predictions["predicted"].isna().tolist() == [False] * 4 + [True]
    assert found.table["value"].iloc[0] == tuned.score(there.subset(range(4)))
    assert found.table[["n_subjects", "n_left_out"]].iloc[0].tolist() == [4, 1]
    assert (tmp_path / "out/predictions.csv").exists()


@pytest.mark.filterwarnings("ignore::sslmed.ValueWarning")  # not prepared
def test_labels_that_are_asked_for_must_be_there(segmented, tmp_path):
    there = head_cohort(tmp_path / "raw", 2, seed=2, site="there")
    some = there.with_columns(lesions=[there.table["path_labels"].iloc[0], None])
    with pytest.raises(ValueError, match=r"target='lesions': rows of .* have no label map"):
        sm.deploy(segmented, some, tmp_path / "out", target="lesions")


def test_what_cannot_be_applied_is_refused(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        sm.deploy(tmp_path / "nothing", pd.DataFrame(), tmp_path / "out")
    sm.io.save_safetensors({"x": torch.zeros(1)}, tmp_path / "x.safetensors", {"format": "other"})
    with pytest.raises(sm.FormatError, match="expected format"):
        sm.deploy(tmp_path / "x.safetensors", pd.DataFrame(), tmp_path / "out")
    with pytest.raises(ValueError, match="no scores"):
        sm.Deployment(pd.DataFrame(), None).plot()
