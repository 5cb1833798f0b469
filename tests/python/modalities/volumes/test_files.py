"""Which files of a folder or a table are a session, and by what name."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from heads import head_cohort

import sslmed as sm
from sslmed.modalities.volumes.files import of_table, sequences_of


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


def of_one(**row: object) -> list[tuple[str, str]]:
    return list(of_table(pd.DataFrame([{"subject": "a"} | row]))[0].sequences)


def test_a_path_that_is_no_column_of_its_row_is_refused() -> None:
    with pytest.raises(ValueError, match=r"row 0 \(subject 'a'\): path='a_T1w\.nii' is none of its files in path_FLAIR; .* such as path_T1w"):
        of_one(path="a_T1w.nii", path_FLAIR="a_FLAIR.nii")
    cohort = sm.Cohort.from_table(pd.DataFrame({"path": ["a.nii"], "subject": ["a"], "path_FLAIR": ["b.nii"]}))
    with pytest.raises(ValueError, match="path_FLAIR"):
        cohort.source(sm.VolumePreprocessing(spacing=4.0))


def test_path_decides_which_sequence_is_first() -> None:
    table = pd.DataFrame({"path": ["t", "f", "f"], "subject": list("abc"), "path_FLAIR": ["f", "f", "f"], "path_T1w": ["t", "t", None]})
    assert [one.sequences for one in of_table(table)] == [
        (("T1w", "t"), ("FLAIR", "f")),
        (("FLAIR", "f"), ("T1w", "t")),
        (("FLAIR", "f"),),
    ]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a_T1w.nii.gz", "T1w"),
        ("x/a_T1w_brain.nii.gz", "T1w"),
        ("a_flair.nii", "FLAIR"),
        ("T2w.mgz", "T2w"),
        ("sub-1_ce-gadolinium_T1w.nii", "ceT1w"),
        ("sub-1_trc-FDG_pet.nii", "pet-FDG"),
        ("a_mask.nii", "volume"),
        ("a_0001.nii", "volume"),
        ("a_masked_gfc.img", "volume"),
        ("a.nii", "volume"),
    ],
)
def test_only_known_suffixes_name_a_sequence(path: str, name: str) -> None:
    assert of_one(path=path) == [(name, path)]


@pytest.mark.parametrize("name", ["mask", "deface", "labels", "T1w,FLAIR", "T1w?", "seg", "1T"])
def test_names_that_mean_something_else_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"row 0 .*sequence="):
        of_one(path="a.nii", sequence=name)


@pytest.mark.parametrize("name", ["seg", "original", "lesion", "raw", "brain", "T1w?", "a_b", "Seg"])
def test_columns_of_derived_files_are_no_sequences(name: str) -> None:
    table = pd.DataFrame({"path": ["a"], "subject": ["a"], "path_T1w": ["a"], f"path_{name}": ["b"]})
    with pytest.raises(ValueError, match=rf"column 'path_{name.replace('?', '.')}': .* Known are path_T1w, path_T2w"):
        sequences_of(table)
    table.columns = pd.Index(["path", "subject", "path_T1w", "path_SWI-1"])
    assert sequences_of(table) == ["T1w", "SWI-1"]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[sm.Cohort, sm.Cohort, sm.Cohort]:
    """Prepared sessions: three with T1w and FLAIR or T1w alone, three with FLAIR alone, and all of them."""
    root = tmp_path_factory.mktemp("mixed")
    raw = head_cohort(root / "raw", 3, flair_of=(0, 1, 2))
    flair = raw.with_columns(path=raw.table["path_FLAIR"], path_T1w=None, subject=["x", "y", "z"])
    both = raw.with_columns(path_FLAIR=[raw.table["path_FLAIR"][0], None, None])
    parts = [sm.prepare(one, root / f"out{i}", spacing=6.0) for i, one in enumerate((both, flair, both.joined(flair)))]
    return tuple(part for part in parts if part is not None)  # type: ignore[return-value]


def test_a_default_names_its_sequences(mixed: tuple[sm.Cohort, sm.Cohort, sm.Cohort], made: tuple[sm.Cohort, Path]) -> None:
    wanted = [("T1w", "FLAIR?"), ("FLAIR",), ("T1w?", "FLAIR?"), ("T1w",)]
    kind = sm.modalities.get("volumes")
    for cohort, names in zip((*mixed, made[0]), wanted, strict=True):
        assert kind.default(cohort).sequences == names
        assert kind.extra_channels(cohort) == ([name.rstrip("?") for name in names] if len(names) > 1 else [])
    bare = sm.Cohort.from_table(mixed[1].table.drop(columns="sequences"), name="bare")
    assert kind.default(bare).sequences == ("FLAIR",)
    unnamed = sm.Cohort.from_table(pd.DataFrame({"path": ["a.nii", "b.nii"], "subject": ["a", "b"], "sequences": ["T1w,T2w", "fast"]}))
    assert kind.default(unnamed).sequences == ("volume",)  # "sequences" is of prepared files


def test_unnamed_files_are_encoded(made: tuple[sm.Cohort, Path], tmp_path: Path) -> None:
    raw = head_cohort(tmp_path / "raw", 2)
    paths = [str(Path(path).rename(tmp_path / f"{number}.nii.gz")) for number, path in enumerate(raw.table["path"])]
    table = pd.DataFrame({"path": paths, "subject": ["a", "b"]})
    found = sm.prepare(sm.Cohort.from_table(table), tmp_path / "out", spacing=6.0)
    assert found is not None
    assert found.table["sequences"].tolist() == ["volume", "volume"]
    features, _ = sm.encode("vit_tiny", found)
    assert len(features) == 2


def test_an_encoder_of_one_sequence_refuses_another(mixed: tuple[sm.Cohort, sm.Cohort, sm.Cohort], made: tuple[sm.Cohort, Path]) -> None:
    encoder = sm.Encoder("vit_tiny", sm.modalities.get("volumes").default(made[0]), depth=1)
    assert len(sm.encode(encoder, mixed[0])[0]) == 3
    with pytest.raises(sm.FormatError, match="expected the sequence 'T1w', found FLAIR"):
        sm.encode(encoder, mixed[1])


def test_unnamed_sequences_are_not_mixed(mixed: tuple[sm.Cohort, sm.Cohort, sm.Cohort]) -> None:
    how = sm.VolumePreprocessing(spacing=6.0)
    for cohort in mixed[:2]:
        cohort.source(how)
    for cohort in (mixed[2], sm.Cohort.from_table(mixed[2].table.drop(columns="sequences"))):
        with pytest.raises(ValueError, match=r"T1w \(3\), FLAIR \(3\); name those that are meant, such as sequences=\('T1w\?', 'FLAIR\?'\)"):
            cohort.source(how)
    with pytest.warns(sm.ValueWarning, match=r"first sequence, which differs: T1w \(3\), FLAIR \(3\)"):
        found = sm.modalities.get("volumes").features([mixed[2]], ["head size"])
    assert len(found[0]["head size"]) == 6


def test_dense_views_have_all_sequences() -> None:
    with pytest.raises(ValueError, match=r"patch=None, sequences=\('T1w', 'FLAIR\?'\): FLAIR\? cannot be missing from a dense view"):
        sm.VolumePreprocessing(patch=None, sequences=("T1w", "FLAIR?"))


def test_masks_and_labels_of_a_folder_are_no_sessions(tmp_path: Path) -> None:
    names = ["mask", "dseg", "seg", "desc-aseg_dseg", "labels", "dlmuse", "wmh", "brainmask", "OTMultiClass", "tissue", "lesion1mm"]
    touched(tmp_path, "a_T1w.nii.gz", "a_T1w_brain.nii", "massif.nii", *(f"a_{name}.nii.gz" for name in names))
    with pytest.raises(sm.FormatError, match=r"starts with sub-….*; Cohort\.from_folder opens other folders"):
        sm.Cohort.open(tmp_path)
    with pytest.warns(sm.LeftOutWarning, match="11 of 14 files left out: masks and labels by their names; such as"):
        cohort = sm.Cohort.from_folder(tmp_path)
    assert cohort.table["subject"].tolist() == ["a_T1w", "a_T1w_brain", "massif"]  # without .nii


def test_prepared_volumes_are_never_loose_files(tmp_path: Path, made: tuple[sm.Cohort, Path]) -> None:
    touched(tmp_path, "a_00.smv", "b_00.smv")
    for folder in (tmp_path, made[1]):
        with pytest.raises(sm.FormatError, match=r"[24] prepared volumes \(\.smv\), .* open cohort\.parquet"):
            sm.Cohort.from_folder(folder)
    touched(tmp_path, "a.nii")
    with pytest.warns(sm.LeftOutWarning, match="2 of 3 files left out: prepared volumes, which a table lists"):
        assert sm.Cohort.open(tmp_path).table["subject"].tolist() == ["a"]


@pytest.mark.filterwarnings("error")
def test_every_ending_is_recognized_and_a_pair_is_listed_once(tmp_path: Path) -> None:
    single = ["b.img", "c.hdr.gz", "d.mgh.gz", "e.mgz", "f.nii", "g.NII.GZ"]
    touched(tmp_path, "a.hdr", "a.img", "c.img.gz", *single)
    table = sm.Cohort.open(tmp_path).table
    assert [Path(path).name for path in table["path"]] == ["a.hdr", *single]
    assert table["subject"].tolist() == list("abcdefg")
    assert table["modality"].unique().tolist() == ["volumes"]


def test_equal_names_in_different_folders_are_told(tmp_path: Path) -> None:
    touched(tmp_path, "p1/anat.nii", "p2/anat.nii", "p3/other.nii")
    with pytest.warns(sm.ValueWarning, match="2 files in different folders have 1 names in common, such as 'anat'"):
        sm.Cohort.from_folder(tmp_path)


@pytest.mark.filterwarnings("error")
def test_equal_names_that_a_pattern_asks_for_are_not_told(tmp_path: Path) -> None:
    touched(tmp_path, "1/anat.nii", "2/anat.nii", "3/other.nii")
    assert sm.Cohort.from_folder(tmp_path, subject=".+").table["subject"].tolist() == ["anat", "anat", "other"]
