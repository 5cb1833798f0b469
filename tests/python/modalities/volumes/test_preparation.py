"""Preparing volumes: what comes out, and that it is always the same."""

import gzip
import hashlib
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from heads import head, head_cohort

import sslmed as sm
from sslmed._core import C


def digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def prepared(cohort: sm.Cohort, folder: Path, **options: object) -> sm.Cohort:
    found = sm.prepare(cohort, folder, spacing=4.0, **options)
    assert found is not None
    return found


def test_a_prepared_cohort_opens_again_and_keeps_what_is_known(tmp_path: Path) -> None:
    cohort = head_cohort(tmp_path / "raw", 4, flair_of=(0, 2, 3))
    found = prepared(cohort, tmp_path / "out")
    again = sm.Cohort.open(tmp_path / "out/cohort.parquet")
    assert again.table["path"].tolist() == found.table["path"].tolist()
    assert found.modality == "volumes"
    assert found.table["age"].tolist() == cohort.table["age"].tolist()
    assert found.table["sequences"].tolist() == ["T1w,FLAIR", "T1w", "T1w,FLAIR", "T1w,FLAIR"]
    store = C.VolumeStore(found.table["path"][0])
    assert store.channels == ["T1w", "FLAIR", "mask", "labels"]
    assert store.spacing == [4.0, 4.0, 4.0]
    values, mask = store.read("T1w"), store.read("mask")
    assert values[mask].mean().abs() < 1e-2
    assert values[mask].std() == pytest.approx(1, abs=1e-2)
    assert (values[~mask] == values.min()).all()
    assert set(store.read("labels").unique().tolist()) <= {0, 1, 2, 3}
    assert json.loads(store.facts)["sequences"]["T1w"]["orientation"] == "LAS"


def test_the_same_bytes_come_out_once_twice_and_by_shards(tmp_path: Path) -> None:
    cohort = head_cohort(tmp_path / "raw", 5, flair_of=(1,))
    prepared(cohort, tmp_path / "one")
    first = digest(tmp_path / "one")
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "one").glob("*.smv")}
    prepared(cohort, tmp_path / "one", threads=4)
    assert digest(tmp_path / "one") == first
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "one").glob("*.smv")} == times  # left as they are
    shards = [sm.prepare(cohort, tmp_path / "four", spacing=4.0, shard=(k, 4)) for k in (3, 1, 0, 2)]
    assert [shard is None for shard in shards] == [True, True, True, False]
    assert digest(tmp_path / "four") == first


def _prepare_slowly(raw: str, out: str) -> None:
    cohort = sm.Cohort.from_table(f"{raw}/cohort.tsv", name="heads")
    sm.prepare(cohort, out, spacing=1.0, threads=1)


def test_a_preparation_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    cohort = head_cohort(tmp_path / "raw", 6)
    cohort.table.to_csv(tmp_path / "raw/cohort.tsv", sep="\t", index=False)
    process = multiprocessing.get_context("spawn").Process(target=_prepare_slowly, args=(str(tmp_path / "raw"), str(tmp_path / "killed")))
    process.start()
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "killed").glob("*.smv"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    done = len(list((tmp_path / "killed").glob("*.smv")))
    assert done >= 2
    for folder in ("killed", "whole"):
        assert sm.prepare(cohort, tmp_path / folder, spacing=1.0) is not None
    left = digest(tmp_path / "killed")
    assert {name: left[name] for name in digest(tmp_path / "whole")} == digest(tmp_path / "whole")
    assert [name for name in left if name.endswith(".smv")] == [name for name in digest(tmp_path / "whole") if name.endswith(".smv")]


def test_a_store_with_a_flipped_bit_is_refused_by_name_and_prepared_again(tmp_path: Path) -> None:
    cohort = head_cohort(tmp_path / "raw", 2)
    found = prepared(cohort, tmp_path / "out")
    whole = digest(tmp_path / "out")
    path = Path(found.table["path"][1])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(sm.FormatError, match=path.name):
        sm.encode("vit_tiny", found)
    with pytest.warns(sm.ValueWarning, match="prepared again"):
        prepared(cohort, tmp_path / "out")
    assert digest(tmp_path / "out") == whole


def test_other_settings_need_another_folder_and_another_encoder(tmp_path: Path) -> None:
    cohort = head_cohort(tmp_path / "raw", 2)
    found = prepared(cohort, tmp_path / "out")
    with pytest.raises(ValueError, match="prepared with"):
        sm.prepare(cohort, tmp_path / "out", spacing=2.0)
    how = sm.VolumePreprocessing(spacing=2.0, patch=8)
    with pytest.raises(ValueError, match="was prepared with"):
        sm.encode(sm.Encoder("vit_tiny", how, depth=1), found)
    with pytest.raises(ValueError, match="prepared already"):
        sm.prepare(found, tmp_path / "other")
    with pytest.raises(TypeError, match="sapcing"):
        sm.prepare(cohort, tmp_path / "other", sapcing=2.0)
    eeg = sm.Cohort.from_arrays(np.zeros((1, 2, 400)), 100.0, ["Cz", "Pz"], pd.DataFrame({"subject": ["a"]}))
    with pytest.raises(ValueError, match="need no preparation"):
        sm.prepare(eeg, tmp_path / "other")


def test_sessions_that_cannot_be_read_are_named_or_left_out(tmp_path: Path) -> None:
    cohort = head_cohort(tmp_path / "raw", 3)
    path = Path(cohort.table["path"][1])
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(sm.FormatError, match=path.name):
        prepared(cohort, tmp_path / "out")
    with pytest.warns(sm.LeftOutWarning, match=path.name):
        found = prepared(cohort, tmp_path / "out", on_error="skip")
    assert found.table["subject"].tolist() == [cohort.table["subject"][0], cohort.table["subject"][2]]
    path.unlink()
    with pytest.raises(sm.ReadError, match=path.name):
        prepared(cohort, tmp_path / "out")


def test_files_that_are_read_each_time_give_what_is_prepared(tmp_path: Path) -> None:
    cohort = head_cohort(tmp_path / "raw", 3, flair_of=(0, 1))
    found = prepared(cohort, tmp_path / "out")
    how = sm.VolumePreprocessing(spacing=4.0, patch=8, sequences=("T1w", "FLAIR?"))
    encoder = sm.Encoder("vit_tiny", how, depth=2, extra_channels=("T1w", "FLAIR"))
    once, _ = sm.encode(encoder, found)
    with pytest.warns(sm.ValueWarning, match="each time"):
        each, _ = sm.encode(encoder, cohort)
    assert torch.equal(once, each)


def test_other_formats_are_prepared_too(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    sitk = pytest.importorskip("SimpleITK")
    volume = head(np.random.default_rng(0), 40.0)[0]
    affine = np.diag([-3.0, 3, 3, 1])
    sm.io.write_nifti(sm.io.Volume(torch.from_numpy(volume), torch.from_numpy(affine)), tmp_path / "a_T1w.nii.gz")
    nibabel.save(nibabel.MGHImage(volume.astype(np.float32), affine), tmp_path / "a_T1w.mgz")
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "a_T1w.nii.gz")), str(tmp_path / "a_T1w.nrrd"))
    stores = []
    for name in ("a_T1w.nii.gz", "a_T1w.mgz", "a_T1w.nrrd"):
        cohort = sm.Cohort.from_table(pd.DataFrame({"path": [str(tmp_path / name)], "subject": ["a"]}))
        stores.append(C.VolumeStore(prepared(cohort, tmp_path / f"out-{name}").table["path"][0]))
    for other in stores[1:]:
        assert other.shape == stores[0].shape
        assert torch.allclose(other.affine, stores[0].affine, atol=1e-4)
        assert torch.allclose(other.read("T1w"), stores[0].read("T1w"), atol=1e-3)


def test_a_sequence_that_covers_half_of_the_head_is_told_of(tmp_path: Path) -> None:
    cohort = head_cohort(tmp_path / "raw", 2, flair_of=(0,))
    path = cohort.table["path_FLAIR"][0]
    flair = sm.io.read_volume(path)
    sm.io.write_nifti(sm.io.Volume(flair.data[:, :, :15].contiguous(), flair.affine), path)
    with pytest.warns(sm.FormatWarning, match=r"FLAIR\.nii\.gz: its field of view covers .. % of the session's mask"):
        found = prepared(cohort, tmp_path / "out")
    store = C.VolumeStore(found.table["path"][0])
    values, mask = store.read("FLAIR"), store.read("mask")
    top = torch.zeros_like(mask)
    top[:, :, mask.shape[2] // 2 + 1 :] = True
    assert (values[mask & top] == values.min()).all()
    assert abs(values[mask & (values > values.min())].mean()) < 0.2
    encoder = sm.Encoder("vit_tiny", sm.VolumePreprocessing(spacing=4.0, patch=8), depth=1, extra_channels=("T1w",))
    with pytest.warns(sm.FormatWarning, match="covers"), pytest.warns(sm.ValueWarning, match="each time"):
        sm.encode(encoder, cohort)


def test_headers_of_files_that_are_not_prepared_are_warned_of(tmp_path: Path) -> None:
    cohort = head_cohort(tmp_path / "raw", 2)
    path = Path(cohort.table["path_T1w"][1])
    plain = bytearray(gzip.decompress(path.read_bytes()))
    plain[252:256] = bytes(4)  # qform_code and sform_code: nothing says which side is left
    path.write_bytes(gzip.compress(bytes(plain)))
    encoder = sm.Encoder("vit_tiny", sm.VolumePreprocessing(spacing=4.0, patch=8), depth=1)
    with pytest.warns(sm.FormatWarning, match=path.name), pytest.warns(sm.ValueWarning, match="each time"):
        sm.encode(encoder, cohort)


def test_errors_name_the_file_that_they_are_about(tmp_path: Path) -> None:
    cohort = head_cohort(tmp_path / "raw", 1)
    path = cohort.table["path_labels"][0]
    labels = sm.io.read_volume(path)
    sm.io.write_nifti(sm.io.Volume(labels.data + 0.5, labels.affine), path)
    with pytest.raises(sm.FormatError, match=r"here0_labels\.nii\.gz: expected labels that are whole numbers"):
        prepared(cohort, tmp_path / "out")


def test_a_volume_is_recognized_however_it_was_prepared(tmp_path: Path) -> None:
    cohort = head_cohort(tmp_path / "raw", 2)
    checksums = [C.volume_checksum(path) for path in cohort.table["path"]]
    assert len(set(checksums)) == 2
    for spacing in (4.0, 5.0):
        found = sm.prepare(cohort, tmp_path / f"out-{spacing}", spacing=spacing)
        assert found is not None
        assert [C.volume_checksum(path) for path in found.table["path"]] == checksums
        facts = json.loads(C.VolumeStore(found.table["path"][0]).facts)
        assert facts["sequences"]["T1w"]["checksum"] == checksums[0]
