"""The same call for images, volumes and slides, with segmentation and slide-level tasks."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from heads import head_cohort
from PIL import Image

import sslmed as sm
from sslmed.benchmarking import Linear, Neighbors, Task
from sslmed.benchmarking.others import paired_means

QUICK = {"repeats": 1, "shots": (1, 2), "shot_repeats": 2, "card": (), "threads": 1}
PROTOCOLS = {"linear": Linear(), "knn": Neighbors(k=(3,)), "fomo26": "fomo26"}


def pictures(folder, n=24):
    """Gray pictures with a bright or dark square, and masks of the square."""
    folder.mkdir()
    rows = []
    for i in range(n):
        rng = np.random.default_rng(i)
        values, mask = rng.integers(90, 110, (32, 32, 3)).astype(np.uint8), np.zeros((32, 32), np.uint8)
        x, y = rng.integers(2, 14, 2)
        values[y : y + 14, x : x + 14] += np.uint8(60 if i % 2 else 120)
        mask[y : y + 14, x : x + 14] = 1
        Image.fromarray(values).save(folder / f"{i}.png")
        Image.fromarray(mask).save(folder / f"{i}_mask.png")
        rows.append({"path": str(folder / f"{i}.png"), "path_labels": str(folder / f"{i}_mask.png"), "subject": f"p{i}", "tone": "ab"[i % 2]})
    return sm.Cohort.from_table(pd.DataFrame(rows), name="pictures")


def test_images_with_a_column_and_label_maps(tmp_path):
    people = pictures(tmp_path / "p", 12)
    how = sm.ImagePreprocessing(size=32, patch=None)
    encoders = {"small": sm.DenseEncoder("unet", how, filters=[8, 16]), "other": sm.DenseEncoder("unet", how, filters=[8, 16], seed=5)}
    options = {"options": sm.Segmentation(epochs=12, batch_size=4, lr=1e-2), "folds": 2, "decoder": "unet"}
    tasks = ["tone", Task("path_labels", "segmentation", options=options)]
    said = []
    result = sm.benchmark(encoders, people, tasks, PROTOCOLS, cv=3, out=tmp_path / "out", progress=said.append, **QUICK)
    assert result.tasks() == [("pictures", "tone"), ("pictures", "path_labels (segmentation)")]
    dice = result.table[result.table["metric"] == "dice"].set_index("row")
    assert list(dice.index) == ["small", "other"]
    assert (dice["value"] > 0.5).all()
    assert (dice["protocol"] == "unet").all()
    compared = result.comparisons[result.comparisons["metric"] == "dice"].iloc[0]
    assert compared["difference"] == pytest.approx(dice["value"]["small"] - dice["value"]["other"])
    assert compared["low"] <= compared["difference"] <= compared["high"]
    assert set(result.table.query("task == 'tone'")["row"]) == {"dummy", "color", "small", "other"}
    said.clear()
    again = sm.benchmark(encoders, people, tasks, PROTOCOLS, cv=3, out=tmp_path / "out", progress=said.append, **QUICK)
    assert said == []
    pd.testing.assert_frame_equal(again.table, result.table)
    assert "path_labels (segmentation)" in (tmp_path / "out/report.html").read_text()


def test_volumes(tmp_path):
    people = sm.prepare(head_cohort(tmp_path / "heads", 24), tmp_path / "prepared", spacing=4.0, progress=False)
    how = sm.VolumePreprocessing(spacing=4.0, patch=8, size=16)
    encoders = {"vit": sm.Encoder("vit_tiny", how, depth=1), "resnet": sm.DenseEncoder("resnet10", how.dense())}
    result = sm.benchmark(encoders, people, ["age", "sex"], PROTOCOLS, center=None, **QUICK)
    assert result.metric_of("heads", "age") == "mae"
    age = result.best("heads", "age", "linear")
    assert set(age["row"]) >= {"vit", "resnet", "tissue volumes", "smoothed"}
    assert set(result.table["kind"]) == {"dummy", "classical", "random"}
    assert len(result.similarity) == 4
    assert result.plot_similarity("heads") is not None


def test_slides(tmp_path):
    rows = []
    for i in range(12):
        rng = np.random.default_rng(i)
        rgb = np.full((160, 320, 3), 240, np.uint8)
        rgb[16:144, 16:304] = rng.integers(90, 170, (128, 288, 3)) - np.array([0, 60, 0 if i % 2 else 60])
        sm.io.write_slide(f"{tmp_path}/{i}.tif", torch.from_numpy(rgb), mpp=0.5)
        rows.append({"path": f"{tmp_path}/{i}.tif", "subject": f"s{i}", "stain": "ab"[i % 2]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sm.SslmedWarning)
        slides = sm.Cohort.from_table(pd.DataFrame(rows), name="slides").index(tmp_path / "i.parquet")
        encoder = sm.Encoder("vit_tiny", sm.SlidePreprocessing(mpp=0.5, size=64, patch=16), depth=1)
        how = sm.BagTraining(hidden=8, attention=4, epochs=2, patience=0, batch_size=4)
        tasks = ["stain", Task("stain", "slides", options={"options": how, "aggregator": "abmil", "cv": 2})]
        result = sm.benchmark({"vit": encoder}, slides, tasks, {"linear": Linear()}, cv=3, out=tmp_path / "out", **QUICK)
    lines = result.table[result.table["task"] == "stain (slides)"]
    assert set(lines["protocol"]) == {"dummy", "mean pooling", "abmil"}
    assert (lines["row"] == "vit").all()
    assert result.table.query("row == 'vit' and protocol == 'linear' and metric == 'auroc'")["value"].iloc[0] > 0.9
    assert list((tmp_path / "out/tiles").iterdir())


def test_an_encoder_for_nobody_is_refused(tmp_path):
    people = pictures(tmp_path / "p", 12)
    wrong = sm.Encoder("vit_tiny", sm.EegPreprocessing(), depth=1)
    with pytest.raises(ValueError, match="'wrong' is for another modality than all cohorts"):
        sm.benchmark({"vit_tiny": "vit_tiny", "wrong": wrong}, people, ["tone"], {"linear": Linear()}, baselines=False, maps=None, **QUICK)


def test_paired_means_of_people():
    rng = np.random.default_rng(0)
    a = pd.DataFrame({"subject": np.repeat([f"s{i}" for i in range(20)], 2), "class": [1, 2] * 20, "dice": rng.uniform(0.4, 0.6, 40)})
    value, low, high, p = paired_means(a.assign(dice=a["dice"] + 0.05), a)
    assert value == pytest.approx(0.05)
    assert low == pytest.approx(0.05)
    assert high == pytest.approx(0.05)
    assert p < 0.01
    noise = a.assign(dice=rng.uniform(0.4, 0.6, 40))
    value, low, high, p = paired_means(noise, a)
    assert low < value < high
    assert p > 0.01
    assert np.isnan(paired_means(a.head(2), a.head(2))[1:]).all()
