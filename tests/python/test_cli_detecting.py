"""The commands detect and anomalies give what the functions give, and refuse with one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import sslmed as sm
from sslmed.cli import app


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of four pictures with two dark discs each."""
    folder, rows = tmp_path_factory.mktemp("discs"), []
    for i in range(4):
        y, x = np.mgrid[:32, :40] + 0.5
        places = [(9 + i, 9), (22, 26 + i)]
        inside = sum((y - cy) ** 2 + (x - cx) ** 2 < 20 for cy, cx in places)
        sm.io.write_label_png(60000 - 40000 * inside, folder / f"{i}.png", wide=True)
        pd.DataFrame([{"x": cx, "y": cy, "class": "disc"} for cy, cx in places]).to_csv(folder / f"{i}.csv", index=False)
        rows.append({"subject": f"s{i}", "path": f"{i}.png", "path_objects": f"{i}.csv"})
    pd.DataFrame(rows).to_csv(folder / "cohort.tsv", sep="\t", index=False)
    return folder / "cohort.tsv"


def test_detect_is_the_function(discs: Path, tmp_path: Path) -> None:
    done = run("detect", discs, "--out", tmp_path / "c", "--size", 32, "--region", 32, "--folds", 2, "--epochs", 1, "--features", 4, "--seed", 3)
    assert done.exit_code == 0, (done.output, done.exception)
    how = sm.ImagePreprocessing(size=32, region=32, patch=None)
    options = sm.Detection(epochs=1, features=4)
    direct = sm.detect(sm.Cohort.open(discs), out=tmp_path / "f", folds=2, preprocessing=how, options=options, seed=3)
    assert (tmp_path / "c" / "table.csv").read_text() == (tmp_path / "f" / "table.csv").read_text()
    assert {"random", "classical"} <= set(direct.table["row"])
    assert "classical" in done.output


def test_detect_without_folds_scores_nothing(discs: Path, tmp_path: Path) -> None:
    done = run("detect", discs, "--out", tmp_path / "c", "--size", 32, "--folds", 0, "--epochs", 1, "--features", 4)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "no scores" in done.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--size is needed"),
        (["--size", 32, "--radios", 3], "--radios is no option of this command"),
        (["--size", 32, "--kind", "blobs"], "kind='blobs'"),
        (["--size", 32, "--epochs", "many"], "--epochs many: expected int"),
        (["--size", 32, "--classes", "square"], "disc"),
    ],
)
def test_detect_refuses(discs: Path, tmp_path: Path, options: list[object], said: str) -> None:
    done = run("detect", discs, "--out", tmp_path / "c", *options)
    assert said in str(done.exception)
    assert isinstance(done.exception, ValueError)


@pytest.fixture(scope="module")
def brightness(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Tables of 24 healthy pictures, and of 8 others, half of which are far brighter."""
    folder, rng = tmp_path_factory.mktemp("brightness"), np.random.default_rng(0)
    paths = []
    for name, count in (("healthy", 24), ("tested", 8)):
        rows = []
        for i in range(count):
            sick = name == "tested" and i % 2 == 0
            picture = rng.normal(80 + 100 * sick, 6, (32, 32)).clip(0, 255)
            sm.io.write_label_png(picture.astype(np.int32), folder / f"{name}{i}.png")
            rows.append({"subject": f"{name}{i}", "path": f"{name}{i}.png", "sick": int(sick), "site": "ab"[i % 2]})
        pd.DataFrame(rows).to_csv(folder / f"{name}.tsv", sep="\t", index=False)
        paths.append(folder / f"{name}.tsv")
    return paths[0], paths[1]


def test_anomalies_is_the_function(brightness: tuple[Path, Path], tmp_path: Path) -> None:
    healthy, tested = brightness
    done = run(
        "anomalies", healthy, tested, "--out", tmp_path / "c", "--methods", "knn, dummy", "--encoder", "vit_tiny", "--target", "sick",
        "--rate", 0.2, "--validation", 0.5, "--seed", 1,
    )  # fmt: skip
    assert done.exit_code == 0, (done.output, done.exception)
    direct = sm.detect_anomalies(
        sm.Cohort.open(healthy), sm.Cohort.open(tested), "vit_tiny", methods=["knn", "dummy"], target="sick", rate=0.2, validation=0.5, seed=1
    )
    direct.save(tmp_path / "f")
    assert (tmp_path / "c" / "scores.csv").read_text() == (tmp_path / "f" / "scores.csv").read_text()
    area = direct.table[(direct.table["row"] == "knn") & (direct.table["metric"] == "AUROC of scans")]
    assert float(area["value"].iloc[0]) == 1.0


def test_anomalies_refuses(brightness: tuple[Path, Path], tmp_path: Path) -> None:
    healthy, tested = brightness
    done = run("anomalies", healthy, healthy, "--out", tmp_path / "c", "--methods", "dummy", "--target", "sick")
    assert isinstance(done.exception, ValueError)
    done = run("anomalies", healthy, tested, "--out", tmp_path / "c", "--methods", "dummy", "--lesions", "one")
    assert "--lesions one: expected whole numbers" in str(done.exception)
    done = run("anomalies", healthy, tested, "--out", tmp_path / "c", "--methods", "dummy", "--target", "sick", "--validation", "nowhere.tsv")
    assert "nowhere.tsv" in str(done.exception)
