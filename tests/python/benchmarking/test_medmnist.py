"""MedMNIST files: the evaluator's own numbers of what was predicted, copies across the split, several labels, and the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import sslmed as sm
from sslmed.benchmarking import score_medmnist
from sslmed.cli import app

SIZES = {"train": 36, "val": 12, "test": 18}


def written(path: Path, labels: dict[str, Any], shape: tuple[int, ...] = (28, 28), shift: float = 40.0, seed: int = 0) -> dict[str, Any]:
    """A file whose images are the brighter the higher the sum of their labels is."""
    rng = np.random.default_rng(seed)
    content: dict[str, Any] = {}
    for part, of in labels.items():
        light = shift * of.sum(axis=1).reshape(-1, *[1] * len(shape))
        content[f"{part}_images"] = np.clip(rng.normal(70, 25, (len(of), *shape)) + light, 0, 255).astype(np.uint8)
        content[f"{part}_labels"] = of.astype(np.uint8)
    np.savez(path, **content)
    return content


def classes(k: int) -> dict[str, Any]:
    return {part: (np.arange(n) % k)[:, None] for part, n in SIZES.items()}


def wide(result: Any, row: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    made = result.predictions[result.predictions["row"] == row]
    scores = made.pivot(index="path", columns="label", values="score")
    return scores.to_numpy(), made.drop_duplicates("path").set_index("path").loc[scores.index, "truth"].to_numpy(int)


@pytest.mark.oracle
@pytest.mark.parametrize("k", [2, 3])
def test_the_numbers_are_the_evaluators(tmp_path: Path, k: int) -> None:
    from medmnist.evaluator import getACC, getAUC

    written(tmp_path / "x.npz", classes(k), shift=12.0)
    result = score_medmnist(tmp_path / "x.npz", ["vit_tiny"], out=tmp_path / "x", draws=30)
    task = "binary-class" if k == 2 else "multi-class"
    assert result.task == task
    assert result.overview().index.tolist()[0] == "dummy"
    assert "vit_tiny" in result.overview().index
    for row in result.overview().index:
        scores, truth = wide(result, row)
        given = scores[:, 1] if k == 2 else scores
        assert result.overview().loc[row, "auc"] == pytest.approx(getAUC(truth[:, None], given, task), abs=5e-5)
        assert result.overview().loc[row, "acc"] == pytest.approx(getACC(truth[:, None], given, task), abs=5e-5)
    every = result.table[result.table["label"] == "all"]
    assert ((every["low"] <= every["value"]) & (every["value"] <= every["high"])).all()
    assert (every["n"] == SIZES["test"]).all()


def test_brightness_is_learned_and_a_dummy_knows_nothing(tmp_path: Path) -> None:
    written(tmp_path / "x.npz", classes(3), shift=60.0)
    overview = score_medmnist(tmp_path / "x.npz", out=tmp_path / "x", draws=0).overview()
    assert overview.loc["dummy", "auc"] == 0.5
    assert overview.loc["dummy", "least_recall"] == 0
    assert overview["auc"].max() > 0.95


def test_more_than_ten_classes_are_classes(tmp_path: Path) -> None:
    labels = {part: (np.arange(36) % 12)[:, None] for part in SIZES}
    written(tmp_path / "x.npz", labels, shift=14.0)
    result = score_medmnist(tmp_path / "x.npz", out=tmp_path / "x", draws=0)
    assert result.task == "multi-class"
    # As numbers, not as texts: 10 stands behind 9.
    recall = result.table[(result.table["row"] == "dummy") & (result.table["metric"] == "recall")]
    assert recall["label"].tolist() == [str(i) for i in range(12)]


def test_several_labels_are_a_fit_each(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    labels = {part: np.stack([rng.permutation(np.arange(n) % every == 0) for every in (2, 3, 4)], axis=1) for part, n in SIZES.items()}
    content = written(tmp_path / "x.npz", labels)
    result = score_medmnist(tmp_path / "x.npz", out=tmp_path / "x", draws=20)
    assert result.task == "multi-label, binary-class"
    made = result.predictions[result.predictions["row"] == "dummy"]
    truth = made.pivot(index="path", columns="label", values="truth").to_numpy(int)
    assert np.array_equal(truth, content["test_labels"])
    # The dummy knows each label's frequency in the training parts.
    share = np.concatenate([content["train_labels"], content["val_labels"]]).mean(axis=0)
    assert np.allclose(made.groupby("label")["score"].mean(), share)


def test_copies_of_test_images_are_not_trained_on(tmp_path: Path) -> None:
    content = written(tmp_path / "x.npz", classes(2))
    content["train_images"][:3] = content["test_images"][:3]
    content["val_images"][1] = content["train_images"][8]
    content["test_images"][7] = content["test_images"][9]
    np.savez(tmp_path / "y.npz", **content)
    result = score_medmnist(tmp_path / "y.npz", out=tmp_path / "y", draws=0)
    assert result.settings["copies_left_out"] == 3
    assert result.settings["training_images"] == SIZES["train"] + SIZES["val"] - 3
    assert result.predictions["path"].nunique() == result.settings["test_images"] == SIZES["test"]


def test_what_cannot_be_scored_is_refused(tmp_path: Path) -> None:
    odd = classes(3)
    odd["train"], odd["val"] = odd["train"] % 2, odd["val"] % 2
    written(tmp_path / "x.npz", odd)
    with pytest.raises(ValueError, match="class 2 of 'label' is in the test part only"):
        score_medmnist(tmp_path / "x.npz", out=tmp_path / "x")
    gap = {part: 2 * of for part, of in classes(2).items()}
    written(tmp_path / "g.npz", gap)
    with pytest.raises(ValueError, match=r"0 to K - 1, K > 1, the training parts have \[0, 2\]"):
        score_medmnist(tmp_path / "g.npz", out=tmp_path / "g")
    with pytest.raises(ValueError, match="nothing to score"):
        score_medmnist(tmp_path / "x.npz", out=tmp_path / "x", baselines=False)
    with pytest.raises(ValueError, match="draws"):
        score_medmnist(tmp_path / "x.npz", out=tmp_path / "x", draws=-1)


def test_a_class_that_the_test_part_lacks_has_no_auc(tmp_path: Path) -> None:
    lacking = classes(3)
    lacking["test"] = lacking["test"] % 2
    written(tmp_path / "x.npz", lacking)
    with pytest.raises(ValueError, match="class 2 has no sample"):
        score_medmnist(tmp_path / "x.npz", out=tmp_path / "x")


def test_the_command_writes_table_predictions_and_report(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    written(tmp_path / "x.npz", classes(2))
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["medmnist", str(tmp_path / "x.npz"), "first=vit_tiny", "--out", str(out), "--draws", "5", "--protocol", "knn"])
    assert done.exit_code == 0, done.output
    table = pd.read_csv(out / "table.csv")
    assert {"dummy", "first"} <= set(table["row"])
    assert "first" in (out / "report.html").read_text()
    assert len(pd.read_csv(out / "predictions.csv")) == 2 * SIZES["test"] * table["row"].nunique()


def test_the_same_seed_gives_the_same_table(tmp_path: Path) -> None:
    written(tmp_path / "x.npz", classes(2), shift=10.0)
    first, second = (score_medmnist(tmp_path / "x.npz", out=tmp_path / "x", draws=20, seed=4).table for _ in range(2))
    pd.testing.assert_frame_equal(first, second)


def test_real_x_rays_and_their_copies(tmp_path: Path, data_root: Path) -> None:
    result = score_medmnist(data_root / "2d" / "pneumoniamnist_dev_repacked.npz", out=tmp_path / "x", draws=0)
    assert result.overview()["auc"].max() > 0.75
    # The repacked file has equal X-rays within its training part, which are one subject, and none in both.
    assert result.settings["copies_left_out"] == 0
    assert sm.io.read_medmnist(data_root / "2d" / "pneumoniamnist_dev_repacked.npz")["test_images"].shape[0] == result.settings["test_images"]


def test_the_command_takes_no_encoder_too(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    written(tmp_path / "x.npz", classes(2))
    done = CliRunner().invoke(app, ["medmnist", str(tmp_path / "x.npz"), "--out", str(tmp_path / "out"), "--draws", "0"])
    assert done.exit_code == 0, done.exception
    assert "dummy" in set(pd.read_csv(tmp_path / "out" / "table.csv")["row"])
