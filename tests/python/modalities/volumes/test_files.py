"""Which files of a folder or a table are a session, and by what name."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from heads import head_cohort

import sslmed as sm


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[sm.Cohort, Path]:
    """Four prepared sessions of two people, and their folder."""
    root = tmp_path_factory.mktemp("files")
    raw = head_cohort(root / "raw", 4)
    found = sm.prepare(raw.with_columns(subject=["a", "a", "b", "b"]), root / "prepared", spacing=6.0)
    assert found is not None
    return found, root / "prepared"


def touched(folder: Path, *names: str) -> Path:
    """Empty files."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_a_prepared_folder_opens_as_its_table(made: tuple[sm.Cohort, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    cohort, folder = made
    monkeypatch.chdir(folder.parent)
    for path in (folder, "prepared", "prepared/cohort.parquet"):
        again = sm.Cohort.open(path)
        assert again.table["subject"].tolist() == ["a", "a", "b", "b"]
        assert again.table["age"].tolist() == cohort.table["age"].tolist()
        assert again.table["path"].tolist() == cohort.table["path"].tolist()
    assert sm.Cohort.open("prepared").name == "prepared"
    assert all(os.path.isabs(path) for path in sm.Cohort.open("prepared").table["path"])


def test_a_prepared_folder_without_its_table_is_refused(tmp_path: Path) -> None:
    touched(tmp_path, "a_00.smv")
    (tmp_path / "prepare.json").write_text(json.dumps({"version": 1}))
    with pytest.raises(sm.ReadError, match=r"cohort\.parquet: no such table"):
        sm.Cohort.open(tmp_path)


def test_paths_of_sequences_count_from_the_table_too(tmp_path: Path) -> None:
    rows = [("a_T1w.nii", "a", "a_T1w.nii", "/b/a_FLAIR.nii", "a_mask.nii"), ("b_T1w.nii", "b", "b_T1w.nii", np.nan, np.nan)]
    table = pd.DataFrame(rows, columns=["path", "subject", "path_T1w", "path_FLAIR", "path_mask"])
    table.to_csv(tmp_path / "cohort.tsv", sep="\t", index=False)
    table.to_parquet(tmp_path / "cohort.parquet", index=False)
    for name in ("cohort.tsv", "cohort.parquet"):
        found = sm.Cohort.from_table(tmp_path / name).table
        assert found["path_T1w"].tolist() == found["path"].tolist() == [f"{tmp_path}/a_T1w.nii", f"{tmp_path}/b_T1w.nii"]
        assert found["path_FLAIR"].fillna("-").tolist() == ["/b/a_FLAIR.nii", "-"]
        assert found["path_mask"].fillna("-").tolist() == [f"{tmp_path}/a_mask.nii", "-"]
