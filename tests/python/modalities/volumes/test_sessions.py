import doctest
import warnings
from pathlib import Path

import pandas as pd
import pytest

from sslmed import FormatError, bids
from sslmed._core import LeftOutWarning, ValueWarning
from sslmed.modalities.volumes import sessions
from sslmed.modalities.volumes.sessions import ENDINGS, gather, sequence_of


def folder(root, *names, participants=None):
    """Empty files of a BIDS folder: "sub-1_ses-2_T1w" or "derivatives/x:sub-1_T1w"."""
    for name in names:
        under, _, name = name.rpartition(":")
        parts = [part for part in name.split("_") if part.startswith(("sub-", "ses-"))]
        path = Path(root, under, *parts, "anat", f"{name}.nii.gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    if participants is not None:
        Path(root, "participants.tsv").write_text(participants)
    return bids.read(root, {"volumes": ENDINGS})


def names(table, *columns):
    """Names of files without their endings, or an empty text."""
    found = table[list(columns)].fillna("").map(lambda path: Path(path).name.removesuffix(".nii.gz"))
    return [tuple(row) for row in found.to_numpy()]


@pytest.fixture(autouse=True)
def _no_warning_is_missed():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_sequences_masks_and_labels_lie_side_by_side(tmp_path):
    files = ["sub-1_FLAIR", "sub-1_T1w", "sub-2_FLAIR", "sub-3_T1w"]
    extras = ["derivatives/x:sub-1_desc-brain_mask", "derivatives/x:sub-1_dseg", "sub-3_mod-T1w_defacemask"]
    people = "participant_id\tage\nsub-1\t30\nsub-2\t40\nsub-3\t50\n"
    found = gather(folder(tmp_path, *files, *extras, participants=people))
    assert found["age"].tolist() == [30, 40, 50]
    columns = ["path", "path_T1w", "path_FLAIR", "path_mask", "path_labels", "path_deface"]
    assert names(found, *columns) == [
        ("sub-1_T1w", "sub-1_T1w", "sub-1_FLAIR", "sub-1_desc-brain_mask", "sub-1_dseg", ""),
        ("sub-2_FLAIR", "", "sub-2_FLAIR", "", "", ""),
        ("sub-3_T1w", "sub-3_T1w", "", "", "", "sub-3_mod-T1w_defacemask"),
    ]
    assert "run" not in found
    assert found["modality"].tolist() == ["volumes"] * 3


def test_one_sequence_needs_no_columns_of_its_own(tmp_path):
    found = gather(folder(tmp_path, "sub-1_T1w", "sub-2_T1w"))
    assert [column for column in found if column.startswith("path")] == ["path"]


def test_every_sequence_has_its_column(tmp_path):
    kinds = ["T2w", "PDw", "T2starw", "angio", "UNIT1", "pet", "ce-gadolinium_T1w", "param-MD_dwimap", "FA", "ADC"]
    found = gather(folder(tmp_path, *(f"sub-1_{kind}" for kind in kinds)))
    (row,) = names(found, "path", "path_ceT1w", "path_MD", "path_FA")
    assert row == ("sub-1_T2w", "sub-1_ce-gadolinium_T1w", "sub-1_param-MD_dwimap", "sub-1_FA")
    wanted = {"T2w", "PDw", "T2starw", "angio", "UNIT1", "pet", "ceT1w", "MD", "FA", "ADC"}
    assert {column[5:] for column in found if column.startswith("path_")} == wanted


def test_sessions_and_runs_are_rows(tmp_path):
    files = [f"sub-1_ses-a_run-{run}_T1w" for run in (1, 2, 10)]
    extras = ["sub-1_ses-a_run-2_desc-brain_mask", "sub-1_ses-b_desc-brain_mask"]
    found = gather(folder(tmp_path, *files, "sub-1_ses-a_FLAIR", "sub-1_ses-b_T1w", *extras))
    assert found[["session", "run"]].fillna("").to_numpy().tolist() == [["a", "1"], ["a", "2"], ["a", "10"], ["b", ""]]
    assert names(found, "path", "path_FLAIR", "path_mask") == [
        ("sub-1_ses-a_run-1_T1w", "sub-1_ses-a_FLAIR", ""),
        ("sub-1_ses-a_run-2_T1w", "sub-1_ses-a_FLAIR", "sub-1_ses-a_run-2_desc-brain_mask"),
        ("sub-1_ses-a_run-10_T1w", "sub-1_ses-a_FLAIR", ""),
        ("sub-1_ses-b_T1w", "", "sub-1_ses-b_desc-brain_mask"),
    ]


def test_one_file_of_each_sequence_is_one_row_whatever_its_run(tmp_path):
    files = ("sub-1_run-2_T1w", "sub-1_run-1_FLAIR", "sub-1_run-2_desc-brain_mask")
    found = gather(folder(tmp_path, *files))
    assert found["run"].tolist() == ["2"]
    assert names(found, "path", "path_FLAIR", "path_mask") == [files]


def test_a_mask_of_another_run_is_not_joined(tmp_path):
    table = folder(tmp_path, "sub-1_run-2_T1w", "sub-1_run-1_desc-brain_mask")
    with pytest.warns(ValueWarning, match="1 of 2 files left out: masks and labels of which nothing tells the run"):
        assert "path_mask" not in gather(table)


def test_a_mask_without_a_run_is_not_guessed(tmp_path):
    table = folder(tmp_path, "sub-1_run-1_T1w", "sub-1_run-2_T1w", "sub-1_desc-brain_mask")
    with pytest.warns(ValueWarning, match="1 of 3 files left out: masks and labels of which nothing tells the run"):
        found = gather(table)
    assert len(found) == 2
    assert "path_mask" not in found


def test_raw_files_go_before_derivatives(tmp_path):
    made = [f"derivatives/x:sub-{i}_desc-{desc}_T1w" for i in (1, 2) for desc in ("brain", "preproc")]
    table = folder(tmp_path, "sub-1_T1w", *made)
    with pytest.warns(LeftOutWarning, match="3 of 5 files left out: another file of the same kind and run is taken"):
        found = gather(table)
    assert names(found, "path") == [("sub-1_T1w",), ("sub-2_desc-preproc_T1w",)]


@pytest.mark.parametrize("image", ["sub-1_T1w", "sub-1_space-orig_desc-preproc_T1w"])
def test_another_space_is_not_joined_silently(tmp_path, image):
    made = [f"sub-1_space-MNI152_{kind}" for kind in ("desc-brain_mask", "dseg")]
    table = folder(tmp_path, image, *made, "sub-1_space-T1w_desc-brain_mask")
    told = "2 of 4 files left out: in space 'MNI152', where the session's images are where the scanner put them"
    with pytest.warns(ValueWarning, match=told):
        found = gather(table)
    assert names(found, "path", "path_mask") == [(image, "sub-1_space-T1w_desc-brain_mask")]
    assert "path_labels" not in found


def test_tracers_are_sequences_of_their_own(tmp_path):
    found = gather(folder(tmp_path, "sub-1_trc-FDG_pet", "sub-1_acq-AV45_pet", "sub-1_T1w", "sub-1_pet", "sub-2_trc-FDG_pet"))
    columns = ["path", "path_pet", "path_pet-AV45", "path_pet-FDG"]
    assert [column for column in found if column.startswith("path")] == ["path", "path_T1w", *columns[1:]]
    assert names(found, *columns) == [
        ("sub-1_T1w", "sub-1_pet", "sub-1_acq-AV45_pet", "sub-1_trc-FDG_pet"),
        ("sub-2_trc-FDG_pet", "", "", "sub-2_trc-FDG_pet"),
    ]
    assert [sequence_of(path) for path in found["path"]] == ["T1w", "pet-FDG"]


def test_variants_that_are_left_out_are_counted_by_name(tmp_path):
    table = folder(tmp_path, *(f"sub-{i}_{kind}" for i in (1, 2) for kind in ("T1w", "acq-mp2rage_T1w")), "sub-2_acq-fast_T1w")
    with pytest.warns(LeftOutWarning, match=r"3 of 5 files left out: another file .* is taken \(1 acq-fast, 2 acq-mp2rage\); such"):
        assert names(gather(table), "path") == [("sub-1_T1w",), ("sub-2_T1w",)]


def test_a_folder_in_one_space_is_in_that_space(tmp_path):
    table = folder(tmp_path, "sub-1_space-MNI152_T1w", "sub-1_space-MNI152_desc-brain_mask", "sub-1_desc-brain_mask")
    told = "1 of 3 files left out: where the scanner put them, where the session's images are in space 'MNI152'"
    with pytest.warns(ValueWarning, match=told):
        found = gather(table)
    assert names(found, "path", "path_mask") == [("sub-1_space-MNI152_T1w", "sub-1_space-MNI152_desc-brain_mask")]


def test_masks_of_lesions_are_no_anatomy(tmp_path):
    table = folder(tmp_path, "sub-1_T1w", "sub-1_label-lesion_mask", "sub-1_desc-wm_mask")
    with pytest.warns(LeftOutWarning, match="2 of 3 files left out: masks of something else than the anatomy"):
        assert "path_mask" not in gather(table)


def test_masks_of_functional_and_diffusion_images_are_no_anatomy(tmp_path):
    table = folder(tmp_path, "sub-1_T1w", "sub-1_task-rest_desc-brain_mask")
    diffusion = table.iloc[[0]].assign(path="sub-1/dwi/sub-1_desc-brain_mask.nii.gz")
    table = pd.concat([table, diffusion], ignore_index=True)
    with pytest.warns(LeftOutWarning, match="2 of 3 files left out: masks and labels of functional and diffusion"):
        assert "path_mask" not in gather(table)


def test_labels_are_of_one_scheme(tmp_path):
    made = ["sub-1_desc-aseg_dseg", "sub-1_dseg", "sub-2_dseg", "sub-3_desc-aseg_dseg", "sub-3_seg-x_dseg"]
    table = folder(tmp_path, "sub-1_T1w", "sub-2_T1w", "sub-3_T1w", *made)
    with pytest.warns(LeftOutWarning, match="3 of 8 files left out: labels of other schemes than those without desc-"):
        found = gather(table)
    assert names(found, "path_labels") == [("sub-1_dseg",), ("sub-2_dseg",), ("",)]


def test_a_derivative_without_a_session(tmp_path):
    files = ["sub-1_ses-a_T1w", "sub-2_ses-a_T1w", "sub-2_ses-b_T1w"]
    table = folder(tmp_path, *files, "derivatives/x:sub-1_desc-brain_mask", "derivatives/x:sub-2_desc-brain_mask")
    told = "1 of 5 files left out: derivatives without a session, of subjects with several"
    with pytest.warns(ValueWarning, match=told):
        found = gather(table)
    assert names(found, "path", "path_mask")[0] == ("sub-1_ses-a_T1w", "sub-1_desc-brain_mask")
    assert found["path_mask"].notna().sum() == 1


def test_masks_without_an_image_and_phase_images_are_told(tmp_path):
    table = folder(tmp_path, "sub-1_T1w", "sub-2_desc-brain_mask", "sub-1_part-phase_T2starw")
    with (
        pytest.warns(ValueWarning, match="1 of 3 files left out: masks and labels of sessions without an image"),
        pytest.warns(LeftOutWarning, match="1 of 3 files left out: phase images and maps that are no sequence"),
    ):
        assert len(gather(table)) == 1


def test_what_cannot_be_gathered():
    with pytest.raises(ValueError, match=r"gather: path='a_bold\.nii\.gz', expected a name that ends in one of T1w"):
        gather(pd.DataFrame({"path": ["a_bold.nii.gz"], "subject": ["a"]}))
    with (
        pytest.raises(ValueError, match="none of its 1 files is an image, expected names that end in T1w"),
        pytest.warns(ValueWarning, match="without an image"),
    ):
        gather(pd.DataFrame({"path": ["sub-a_mask.nii.gz"], "subject": ["a"]}))


def test_ten_thousand_files():
    paths = [f"sub-{i}_{kind}.nii.gz" for i in range(5000) for kind in ("T1w", "FLAIR")]
    table = pd.DataFrame({"path": paths, "subject": [path.split("_")[0] for path in paths]})
    assert len(gather(table)) == 5000


def test_participants_may_be_sessions(tmp_path):
    people = "participant_id\tsession\tage\nsub-1\tses-1\t30\nsub-1\tses-2\t35\nsub-2\tn/a\t40\n"
    files = ["sub-1_ses-1_T1w", "sub-1_ses-2_T1w", "sub-1_ses-3_T1w", "sub-2_ses-1_T1w", "sub-2_ses-2_T1w"]
    told = r"1 sessions of 1 people have no row \(1 of 5 files\): .*sub-1 in session '3', who has rows for '1', '2'"
    with pytest.warns(ValueWarning, match=told):
        table = folder(tmp_path, *files, participants=people)
    found = gather(table)
    assert found["age"].fillna(-1).tolist() == [30, 35, -1, 40, 40]
    assert found["session"].tolist() == ["1", "2", "3", "1", "2"]
    with pytest.raises(FormatError, match="expected one row a participant and session, found several for sub-1 1"):
        folder(tmp_path, participants=people + "sub-1\t1\t30\n")


@pytest.mark.parametrize("column", ["session", "session_id"])
def test_sessions_with_zeros_in_front_are_found(tmp_path, column):
    people = f"participant_id\t{column}\tage\nsub-1\t01\t30\nsub-1\t02\t35\n"
    found = gather(folder(tmp_path, "sub-1_ses-01_T1w", "sub-1_ses-02_T1w", participants=people))
    assert found["age"].tolist() == [30, 35]
    assert found["session"].tolist() == ["01", "02"]


@pytest.mark.data
def test_oasis(data_root):
    root = data_root / "mri" / "oasis_malf"
    if not root.is_dir():
        pytest.skip("SSLMED_DATA has no mri/oasis_malf")
    found = gather(bids.read(root, {"volumes": ENDINGS}))
    assert len(found) == 11
    assert found["subject"].nunique() == 10
    assert found.loc[found["subject"] == "sub-OAS10101", "session"].tolist() == ["1", "2"]
    assert found[["path", "path_mask", "path_labels", "age"]].notna().all(axis=None)
    for row in found.itertuples():
        assert Path(row.path_mask).parent == Path(row.path_labels).parent == Path(row.path).parent


def test_examples_run():
    assert doctest.testmod(sessions).failed == 0
