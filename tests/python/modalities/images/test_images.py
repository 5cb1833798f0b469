"""Cohorts of image files: brought to one size as Pillow does, trained on, transferred."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import sslmed as sm
from sslmed.modalities import images

PICTURE_ROWS = ["dummy", "color", "random encoder", "pretrained encoder", "permuted labels"]

SMALL = sm.ImagePreprocessing(size=32, patch=8)


def smooth(width: int, height: int, seed: int) -> np.ndarray[Any, Any]:
    """A picture whose colors change slowly: [height, width, 3] uint8."""
    wave = np.random.default_rng(seed).uniform(0.5, 3, (3, 2))
    y, x = np.mgrid[0:height, 0:width]
    rgb = [127 + 100 * np.sin(a * 6 * x / width) * np.cos(b * 6 * y / height) for a, b in wave]
    return np.stack(rgb, -1).astype(np.uint8)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Twelve images of six patients, bright and dark ones."""
    folder = tmp_path_factory.mktemp("images")
    rows = []
    for i in range(12):
        rgb = smooth(60 + 7 * i, 90 - 3 * i, i) // (1 + i // 2 % 2)
        path = folder / f"{i}.{'png' if i % 3 else 'jpg'}"
        (Image.fromarray(rgb) if i % 4 else Image.fromarray(rgb[..., 0])).save(path)
        rows.append({"path": str(path), "subject": f"p{i // 2}", "site": f"s{i % 2}", "label": i // 2 % 2, "age": 40 + i // 2})
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def cohort(table: pd.DataFrame) -> sm.Cohort:
    return sm.Cohort.from_table(table, name="twelve")


def read(path: Path | str, preprocessing: sm.ImagePreprocessing, *, random: bool = False) -> torch.Tensor:
    return images.source(sm.Cohort(pd.DataFrame({"path": [str(path)], "subject": ["p"]}), "one"), preprocessing, random=random).sample(0)


def drafted(path: Path, least: int) -> Image.Image:
    """As Pillow reads a file that is going to be shrunk: with at least twice the pixels that are wanted."""
    image = Image.open(path)
    if image.format == "JPEG":
        image.draft(image.mode, (2 * least, 2 * least))
    return image.convert("RGB")


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize(("width", "height"), [(300, 200), (31, 47), (1000, 513), (64, 64), (511, 900)])
def test_sizes_are_brought_to_one_as_pillow_does(tmp_path: Path, width: int, height: int, suffix: str, mode: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(smooth(width, height, width)).convert(mode).save(path)
    for size in (32, 48):
        ours = read(path, sm.ImagePreprocessing(size=size, patch=16))
        image = drafted(path, size)
        w, h = image.size
        side = min(w, h)
        box = ((w - side) / 2, (h - side) / 2, (w + side) / 2, (h + side) / 2)
        expected = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box))
        assert np.abs(ours.numpy().astype(int) - expected).max() <= 2
        whole = read(path, sm.ImagePreprocessing(size=size, patch=16), random=True)
        to = (round(w * size / side), round(h * size / side))
        assert whole.shape == (to[1], to[0], 3)
        assert np.abs(whole.numpy().astype(int) - np.asarray(image.resize(to, Image.Resampling.BICUBIC))).max() <= 2


def test_padding_keeps_all_of_a_picture(tmp_path: Path) -> None:
    Image.fromarray(np.full((50, 100, 3), 200, np.uint8)).save(tmp_path / "a.png")
    padded = read(tmp_path / "a.png", sm.ImagePreprocessing(size=32, patch=16, fit="pad"))
    assert (padded[8:24] == 200).all()
    assert not padded[:8].any()
    assert not padded[24:].any()
    large = tmp_path / "b.jpg"
    Image.fromarray(smooth(900, 300, 2)).save(large)
    ours = read(large, sm.ImagePreprocessing(size=32, patch=16, fit="pad"))
    # The longer side counts: 900 pixels are decoded at an eighth, 113, of which the 32 are made.
    image = Image.open(large)
    image.draft("RGB", (112, 37))
    assert image.size == (113, 38)
    assert np.abs(ours[10:21].numpy().astype(int) - np.asarray(image.resize((32, 11), Image.Resampling.BICUBIC))).max() <= 2
    with pytest.raises(ValueError, match="fit must be one of 'crop', 'pad'"):
        read(large, sm.ImagePreprocessing(fit="stretch"))


def test_kinds_of_png_become_three_channels(tmp_path: Path) -> None:
    rgb = smooth(32, 32, 4)
    Image.fromarray(np.dstack([rgb, np.full((32, 32), 90, np.uint8)])).save(tmp_path / "alpha.png")
    assert np.array_equal(read(tmp_path / "alpha.png", SMALL), rgb)
    Image.fromarray(rgb[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    assert np.array_equal(read(tmp_path / "deep.png", SMALL), np.repeat(rgb[..., :1], 3, -1))


def test_what_cannot_be_read_is_named(tmp_path: Path, cohort: sm.Cohort) -> None:
    (tmp_path / "pointer.png").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    Image.fromarray(np.zeros((2, 400, 3), np.uint8)).save(tmp_path / "line.png")
    with pytest.raises(sm.FormatError, match=r"pointer\.png.*Git LFS"):
        read(tmp_path / "pointer.png", SMALL)
    with pytest.raises(sm.FormatError, match=r"line\.png.*16 times as long"):
        read(tmp_path / "line.png", SMALL, random=True)
    with pytest.raises(sm.ReadError, match=r"gone\.png"):
        read(tmp_path / "gone.png", SMALL)
    more = pd.concat([cohort.table, pd.DataFrame({"path": [str(tmp_path / "pointer.png")], "subject": ["x"], "site": ["s0"]})], ignore_index=True)
    loader = sm.Loader(sm.Cohort(more, "with one"), SMALL, batch_size=4, on_error="skip")
    assert sum(len(batch) for batch in loader) == 12
    assert [text.split(":")[0].endswith("pointer.png") for _, text in loader.failures] == [True]
    with pytest.raises(ValueError, match="need no index"):
        cohort.index()
    with pytest.raises(ValueError, match="preprocessing is for eeg, but the cohort has rows of images"):
        cohort.source(sm.EegPreprocessing())


def test_a_stream_of_images_is_one_for_any_threads_and_goes_on_anywhere(cohort: sm.Cohort) -> None:
    how = sm.Augmentation(scale=(0.3, 1.0), brightness=0.2)

    def stream(**options: Any) -> list[torch.Tensor]:
        loader = sm.Loader(cohort, SMALL, batch_size=4, order="site", random=True, augmentation=how, epochs=2, seed=3, **options)
        return [batch.views[0].values for batch in loader]

    one, four = stream(threads=1), stream(threads=4)
    assert len(one) == 6
    assert all(torch.equal(a, b) for a, b in zip(one, four, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(one[2:], stream(start=2), strict=True))
    assert not torch.equal(one[0], stream(threads=1)[3])


def test_methods_learn_from_images_and_transfer(cohort: sm.Cohort, table: pd.DataFrame, tmp_path: Path) -> None:
    def train(out: str, **more: Any) -> sm.Run:
        options = {"epochs": 12, "batch_size": 6, "depth": 1, "progress": False, "tensorboard": False, "preprocessing": SMALL, "lr": 1e-3}
        return sm.pretrain(cohort, "mae", "vit_tiny", tmp_path / out, **(options | more))

    run = train("a")
    assert run.history["loss"].iloc[-3:].mean() < run.history["loss"].iloc[:3].mean()
    assert train("b", callback=lambda rows: rows[-1]["step"] < 5).interrupted
    for name, value in train("b", resume=True).encoder.state_dict().items():
        assert torch.equal(value, run.encoder.state_dict()[name]), name
    loaded = sm.Encoder.load(tmp_path / "a" / "encoder.safetensors")
    assert loaded.preprocessing == SMALL
    features, of = sm.encode(loaded, cohort)
    assert features.shape == (12, 192)
    assert of.tolist() == list(range(12))
    result = sm.transfer(loaded, cohort, "label", cv=2, repeats=2, permutations=9)
    assert list(dict.fromkeys(result.table["row"])) == PICTURE_ROWS
    # Bright and dark: the mean color tells them apart.
    scores = result.table.query("metric == 'balanced_accuracy'").set_index("row")["value"]
    assert scores["color"] == 1
    how = sm.FineTuning(epochs=2, batch_size=4, augmentation=sm.Augmentation(scale=(0.5, 1.0), p_flip=0.0, p_turn=0.0))
    plain = sm.finetune(loaded, cohort, "label", sm.FineTuning(epochs=2, batch_size=4))
    tuned = sm.finetune(loaded, cohort, "label", how)
    assert any(not torch.equal(a, b) for a, b in zip(tuned.task.state_dict().values(), plain.task.state_dict().values(), strict=True))
    renamed = sm.Cohort(table.assign(subject=[f"new {s}" for s in table["subject"]]), "renamed")
    with pytest.raises(ValueError, match="cohort='renamed', recognized by their signals: 6 subjects are in training and test data at once: new p0"):
        tuned.predict_proba(renamed)
    paths = [tmp_path / f"{i}.png" for i in range(12)]
    for i, path in enumerate(paths):
        Image.fromarray(smooth(60 + 7 * i, 90 - 3 * i, 20 + i) // (1 + i // 2 % 2)).save(path)
    strangers = sm.Cohort(renamed.table.assign(path=[str(path) for path in paths]), "strangers")
    assert np.allclose(tuned.predict_proba(strangers).sum(1), 1)
    report = sm.shift.report(cohort, strangers, encoder=loaded, by=["age"])
    assert "domain classifier: color" in set(report.table["row"])


def test_augmentations_are_an_axis_of_a_grid(cohort: sm.Cohort, tmp_path: Path) -> None:
    changes = [{"scale": [0.3, 1.0], "p_flip": 0.0}, {"brightness": 0.3}]
    settings = {
        "target": "label",
        "preprocessing": {"size": 32, "patch": 8},
        "pretrain": {"method": "mae", "encoder": "vit_tiny", "depth": 1, "epochs": 1, "batch_size": 6, "tensorboard": False, "augmentation": changes},
        "transfer": {"protocol": {"epochs": 1, "batch_size": 4, "augmentation": changes[0]}, "baselines": False, "cv": 2, "bootstrap": 5},
    }
    table = sm.grid.run(settings, tmp_path, cohorts={"public": cohort, "clinic": cohort}, progress=False)
    assert table["pretrain.augmentation"].nunique() == 2
    assert len({path.read_bytes() for path in tmp_path.glob("pretrain/*/encoder.safetensors")}) == 2
    settings["pretrain"] |= {"augmentation": {"color": 1}}  # type: ignore[operator]
    with pytest.raises(sm.FormatError, match="found color"):
        sm.grid.run(settings, tmp_path, cohorts={"public": cohort, "clinic": cohort}, progress=False)


def test_the_command_takes_a_table_of_images(table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from sslmed.cli import main

    table.to_csv(tmp_path / "images.csv", index=False)
    words = ["pretrain", tmp_path / "images.csv", "--out", tmp_path / "run", "--encoder", "vit_tiny", "--depth", 1, "--epochs", 1, "--batch-size", 4]
    monkeypatch.setattr("sys.argv", ["sslmed", *map(str, words), "--size", "32", "--patch", "8", "--no-tensorboard"])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    assert "after 3 steps" in capsys.readouterr().out


def test_real_radiographs(data_root: Path) -> None:
    folder = data_root / "2d/covid_cxr"
    metadata = pd.read_csv(folder / "metadata.tsv", sep="\t")
    table = pd.DataFrame({"path": [str(folder / name) for name in metadata["filename"]], "subject": metadata["Patientid"].astype(str)})
    source = sm.Cohort.from_table(table, name="covid").source(sm.ImagePreprocessing())
    for i, path in enumerate(table["path"]):
        ours = source.sample(i).numpy().astype(int)
        image = drafted(Path(path), 224)
        w, h = image.size
        side = min(w, h)
        box = ((w - side) / 2, (h - side) / 2, (w + side) / 2, (h + side) / 2)
        expected = np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC, box)).astype(int)
        assert np.abs(ours - expected).max() <= 2, path
    with pytest.raises(sm.FormatError, match="Git LFS"):
        read(data_root / "2d/odd/git_lfs_pointer.png", SMALL)


def test_all_images_that_cannot_be_read_are_named_at_once(table: pd.DataFrame, tmp_path: Path) -> None:
    broken = table.copy()
    for i in (2, 7):
        broken.loc[i, "path"] = str(tmp_path / f"cut{i}.png")
        Path(broken.loc[i, "path"]).write_bytes(Path(table.loc[i, "path"]).read_bytes()[:400])
    cohort, encoder = sm.Cohort.from_table(broken, name="cut"), sm.Encoder("vit_tiny", SMALL, depth=1)
    for baselines in (True, False):
        with pytest.raises(sm.FormatError, match=r"cut2\.png"):
            sm.transfer(encoder, cohort, target="label", cv=2, baselines=baselines)
        with pytest.raises(ValueError, match=r"2 recordings .* leave them out of the cohort: .*cut2\.png, .*cut7\.png"):
            sm.transfer(encoder, cohort, target="label", cv=2, baselines=baselines, on_error="skip")
