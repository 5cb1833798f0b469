"""MedMNIST files as cohorts: files bit for bit, the official split, labels, and what the report says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sslmed as sm

SIZES = {"train": 12, "val": 4, "test": 8}


def written(path: Path, images: tuple[int, ...], labels: int = 1, seed: int | None = None) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    content: dict[str, Any] = {f"{part}_images": rng.integers(0, 256, (n, *images), np.uint8) for part, n in SIZES.items()}
    content |= {f"{part}_labels": rng.permuted(np.arange(n * labels).reshape(n, labels) % 2, axis=0).astype(np.uint8) for part, n in SIZES.items()}
    np.savez_compressed(path, **content)
    return content


@pytest.mark.parametrize("images", [(28, 28), (28, 20, 3)])
def test_pictures_are_those_of_the_file(tmp_path: Path, images: tuple[int, ...]) -> None:
    content = written(tmp_path / "xmnist.npz", images)
    cohort = sm.Cohort.from_medmnist(tmp_path / "xmnist.npz", tmp_path / "x")
    assert (cohort.name, cohort.modality, len(cohort)) == ("xmnist", "images", sum(SIZES.values()))
    for part, n in SIZES.items():
        rows = cohort.query(f"split == '{part}'").table
        assert rows["label"].tolist() == content[f"{part}_labels"][:, 0].tolist()
        assert rows["subject"].tolist() == [f"{part}-{i:05d}" for i in range(n)]
        for path, image in zip(rows["path"], content[f"{part}_images"], strict=True):
            found = sm.io.read_image(path)
            assert torch.equal(found if len(images) == 3 else found[..., 0], torch.from_numpy(image))


def test_volumes_are_those_of_the_file(tmp_path: Path) -> None:
    content = written(tmp_path / "x3d.npz", (9, 10, 11))
    cohort = sm.Cohort.from_medmnist(tmp_path / "x3d.npz", tmp_path / "x", split="test", name="mine")
    assert (cohort.name, cohort.modality, len(cohort)) == ("mine", "volumes", 8)
    for path, image in zip(cohort.table["path"], content["test_images"], strict=True):
        volume = sm.io.read_nifti(path, dtype=torch.uint8)
        assert torch.equal(volume.data, torch.from_numpy(image))
        assert volume.spacing == (1.0, 1.0, 1.0)


def test_several_labels_are_a_column_each(tmp_path: Path) -> None:
    content = written(tmp_path / "chest.npz", (6, 6), labels=14)
    table = sm.Cohort.from_medmnist(tmp_path / "chest.npz", tmp_path / "x", split=["val", "train"]).table
    assert "label" not in table
    assert set(table["split"]) == {"train", "val"}
    assert np.array_equal(table.query("split == 'val'")[[f"label_{i}" for i in range(14)]], content["val_labels"])


def test_the_report_says_that_nobody_knows_the_patients(tmp_path: Path) -> None:
    written(tmp_path / "x.npz", (6, 6))
    cohort = sm.Cohort.from_medmnist(tmp_path / "x.npz", tmp_path / "x")
    again = sm.Cohort.from_table(tmp_path / "x" / "cohort.tsv").query("split == 'train'")
    for each, count in ((cohort, 24), (again, 12)):
        row = each.report().set_index("outcome").loc["not known"]
        assert (row["what"], row["count"]) == ("people", count)
        assert "each row counts as its own subject (number in the archive): rows of one person may be on both sides" in row["why"]
    assert again.table["path"].tolist() == cohort.table["path"][:12].tolist()


def test_a_second_call_leaves_files_and_a_stopped_one_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sslmed import unpacking

    written(tmp_path / "x.npz", (6, 6))

    def failing(*args: Any) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(unpacking, "_write_table", failing)
        with pytest.raises(OSError, match="no space"):
            sm.Cohort.from_medmnist(tmp_path / "x.npz", tmp_path / "x")
    first = sm.Cohort.from_medmnist(tmp_path / "x.npz", tmp_path / "x")
    monkeypatch.setattr(unpacking, "_write_picture", failing)
    second = sm.Cohort.from_medmnist(tmp_path / "x.npz", tmp_path / "x")
    assert first.table.equals(second.table)


def test_other_folders_files_and_splits_are_refused(tmp_path: Path) -> None:
    written(tmp_path / "x.npz", (6, 6), seed=1)
    written(tmp_path / "y.npz", (6, 6), seed=2)
    sm.Cohort.from_medmnist(tmp_path / "x.npz", tmp_path / "x")
    with pytest.raises(ValueError, match="holds the images of another file"):
        sm.Cohort.from_medmnist(tmp_path / "y.npz", tmp_path / "x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="must be a new or empty folder"):
        sm.Cohort.from_medmnist(tmp_path / "x.npz", tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]
    with pytest.raises(ValueError, match="split='dev' must be one of 'train', 'val', 'test'"):
        sm.Cohort.from_medmnist(tmp_path / "x.npz", tmp_path / "x", split="dev")
    with pytest.raises(ValueError, match="must name at least one"):
        sm.Cohort.from_medmnist(tmp_path / "x.npz", tmp_path / "x", split=())
    with pytest.raises(sm.ReadError, match=r"none\.npz"):
        sm.Cohort.from_medmnist(tmp_path / "none.npz", tmp_path / "x")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(sm.FormatError, match="expected an array 'train_images'"):
        sm.Cohort.from_medmnist(tmp_path / "other.npz", tmp_path / "z")
    assert not (tmp_path / "z").exists()


def test_a_part_without_images_is_refused(tmp_path: Path) -> None:
    content = written(tmp_path / "x.npz", (6, 6))
    content |= {"val_images": content["val_images"][:0], "val_labels": content["val_labels"][:0]}
    np.savez(tmp_path / "x.npz", **content)
    assert len(sm.Cohort.from_medmnist(tmp_path / "x.npz", tmp_path / "x", split=("train", "test"))) == 20
    with pytest.raises(ValueError, match="the file has nothing in val"):
        sm.Cohort.from_medmnist(tmp_path / "x.npz", tmp_path / "x")


def test_a_cohort_goes_the_usual_way_to_official_scores(tmp_path: Path) -> None:
    """Train on the official training part, score on its test part: bright pictures are class 1."""
    content = written(tmp_path / "x.npz", (16, 16))
    for part in SIZES:
        content[f"{part}_images"] //= 2
        content[f"{part}_images"][content[f"{part}_labels"][:, 0] == 1] += 100
    np.savez_compressed(tmp_path / "x.npz", **content)
    cohort = sm.Cohort.from_medmnist(tmp_path / "x.npz", tmp_path / "x")
    train, test = (cohort.query(f"split == '{part}'") for part in ("train", "test"))
    preprocessing = sm.ImagePreprocessing(size=16, patch=8)
    encoder = sm.Encoder("vit_tiny", preprocessing=preprocessing, seed=0)
    both = [sm.features(encoder, part, level="recording") for part in (train, test)]
    columns = [name for name in both[0] if str(name).startswith("f")]
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=1000).fit(both[0][columns], train.table["label"])
    table = sm.metrics.medmnist(model.predict_proba(both[1][columns]), test.table["label"].to_numpy(), "binary-class")
    assert table.set_index(["metric", "label"])["value"]["auc", "all"] > 0.9
