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
from dicom_files import write_series
from heads import head, head_cohort

import sslmed as sm
from sslmed import digests
from sslmed._core import C
from sslmed.contents import contents
from sslmed.evaluation import features
from sslmed.modalities.volumes import VOLUMES, members


def digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()}


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


def test_shards_finish_without_sessions_that_cannot_be_read(tmp_path: Path) -> None:
    cohort = head_cohort(tmp_path / "raw", 4)
    path = Path(cohort.table["path"][1])
    whole = path.read_bytes()

    def both() -> list[sm.Cohort | None]:
        return [sm.prepare(cohort, tmp_path / "out", spacing=4.0, shard=(k, 2), on_error="skip") for k in (1, 0)]

    for change in (lambda: path.write_bytes(whole[:2000]), path.unlink):
        change()
        with pytest.warns(sm.LeftOutWarning, match=f"1 of 4 sessions left out: .*{path.name}") as told:
            _, second = both()
        assert len(told) == 2  # by the shard that found it, and by the one that wrote the table
        assert second is not None
        assert second.table["subject"].tolist() == ["here0", "here2", "here3"]
        assert [path.name in json.loads(file.read_text())["message"] for file in (tmp_path / "out/failed").iterdir()] == [True]
    with pytest.warns(sm.LeftOutWarning):  # as the other one has found
        assert sm.prepare(cohort, tmp_path / "out", spacing=4.0, shard=(0, 2)) is not None
    path.write_bytes(whole)
    assert len(both()[1] or ()) == 4
    prepared(cohort, tmp_path / "alone")
    assert digest(tmp_path / "out") == digest(tmp_path / "alone")  # no notes are left either


def test_a_full_disk_is_no_fault_of_a_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = head_cohort(tmp_path / "raw", 2)

    def full(name: str, of: object, options: object, out: str) -> None:
        raise sm.ReadError(f"{out}: cannot be written")

    monkeypatch.setattr(C, "prepare_files", full)
    with pytest.raises(sm.ReadError, match="cannot be written"):
        prepared(cohort, tmp_path / "out", on_error="skip")
    assert not (tmp_path / "out/failed").exists()


def test_a_file_with_several_volumes_is_left_out(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    whole = head(np.random.default_rng(0), 40.0)[0]
    for name, values in (("a", np.stack([whole, whole], -1)), ("b", whole)):
        nibabel.save(nibabel.MGHImage(values, np.diag([3.0, 3, 3, 1])), tmp_path / f"{name}.mgz")
    cohort = sm.Cohort.from_table(pd.DataFrame({"path": [str(tmp_path / f"{name}.mgz") for name in "ab"], "subject": ["a", "b"]}))
    with pytest.warns(sm.LeftOutWarning, match="a.mgz: expected one volume of three dimensions"):
        assert prepared(cohort, tmp_path / "out", on_error="skip").table["subject"].tolist() == ["b"]


def test_rows_with_the_same_files_have_stores_of_their_own(tmp_path: Path) -> None:
    table = head_cohort(tmp_path / "raw", 2).table
    table = pd.concat([table, table.assign(subject=["other", "here1"]), table.iloc[1:]], ignore_index=True)
    cohort = sm.Cohort.from_table(table, name="heads")
    found = prepared(cohort, tmp_path / "one")
    names = [Path(path).name for path in found.table["path"]]
    assert len(set(names)) == 5
    assert [name.rsplit("_", 1)[0] for name in names[:3]] == ["here0", "here1", "other"]
    assert names[3] == names[1].replace(".smv", "_2.smv")
    assert names[4] == names[1].replace(".smv", "_3.smv")
    for k in (1, 0):
        shard = sm.prepare(cohort, tmp_path / "two", spacing=4.0, shard=(k, 2))
    assert shard is not None
    assert digest(tmp_path / "two") == digest(tmp_path / "one")


def test_the_last_shard_hashes_no_files_of_others_unless_they_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = head_cohort(tmp_path / "raw", 4)
    hashed: list[str] = []
    content = members.content
    monkeypatch.setattr(members, "content", lambda path: hashed.append(path) or content(path))

    def shard(k: int) -> sm.Cohort | None:
        hashed.clear()
        return sm.prepare(cohort, tmp_path / "out", spacing=4.0, shard=(k, 2))

    files_of = 2  # image and labels
    assert shard(0) is None
    assert len(hashed) == 2 * files_of
    assert shard(1) is not None
    assert len(hashed) == 2 * files_of
    assert not list((tmp_path / "out").glob("names-*"))
    assert shard(0) is not None  # nobody has left names: all are hashed
    assert len(hashed) == 4 * files_of
    path, other = (Path(cohort.table["path"][row]) for row in (0, 2))
    path.write_bytes(other.read_bytes())  # after shard 0 has left its names
    assert shard(1) is None
    assert len(hashed) == 3 * files_of


def test_the_settings_of_the_first_call_hold_for_one_that_starts_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = head_cohort(tmp_path / "raw", 1)
    exists, hidden = Path.exists, [True]

    def late(self: Path, **options: bool) -> bool:
        """The other call writes its settings after this one has looked."""
        if self.name == "prepare.json" and hidden:
            hidden.clear()
            sm.prepare(cohort, tmp_path / "out", spacing=3.0)
            return False
        return exists(self, **options)

    monkeypatch.setattr(Path, "exists", late)
    with pytest.raises(ValueError, match="prepared with"):
        prepared(cohort, tmp_path / "out")
    assert json.loads((tmp_path / "out/prepare.json").read_text())["settings"]["spacing"] == [3, 3, 3]


def test_files_of_killed_processes_are_removed(tmp_path: Path) -> None:
    cohort = head_cohort(tmp_path / "raw", 2)
    prepared(cohort, tmp_path / "out")
    process = multiprocessing.get_context("spawn").Process(target=int)
    process.start()
    process.join()
    gone, alive, old = (tmp_path / "out" / f"a_0123456789abcdef.smv.tmp-{n}-0" for n in (process.pid, os.getpid(), os.getppid()))
    parquet = tmp_path / "out" / f".cohort.parquet.tmp-{process.pid}-ab12"
    for path in (gone, alive, old, parquet):
        path.write_bytes(b"half")
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (long_ago, long_ago))
    sm.prepare(cohort, tmp_path / "out", spacing=4.0, shard=(0, 2))
    assert [path.exists() for path in (gone, alive, old, parquet)] == [True, True, False, True]  # may be of another machine
    prepared(cohort, tmp_path / "out")
    assert [path.exists() for path in (gone, alive, old, parquet)] == [False, True, False, False]


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


def one(path: Path, **columns: object) -> sm.Cohort:
    return sm.Cohort.from_table(pd.DataFrame([{"path": str(path), "subject": "a", "modality": "volumes", **columns}]))


@pytest.mark.parametrize("ending", [".mhd", ".nhdr"])
def test_a_change_of_data_beside_a_header_is_seen(ending: str, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    values = head(np.random.default_rng(0), 40.0)[0]
    path = tmp_path / f"a{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(values), str(path))
    data = next(file for file in tmp_path.iterdir() if file != path)
    before = prepared(one(path), tmp_path / "out").table["path"][0]
    assert prepared(one(path), tmp_path / "out").table["path"][0] == before
    changed = bytearray(data.read_bytes())
    changed[len(changed) // 2 - 1] ^= 1
    data.write_bytes(changed)
    assert prepared(one(path), tmp_path / "out").table["path"][0] != before
    data.unlink()
    with pytest.raises(sm.ReadError, match=data.name):
        prepared(one(path), tmp_path / "out")


def test_members_of_headers_are_those_that_they_name(tmp_path: Path) -> None:
    def named(ending: str, text: str) -> list[str]:
        (tmp_path / f"h{ending}").write_text(text)
        return [path.name for path in members.members(str(tmp_path / f"h{ending}"))[1:]]

    assert named(".mha", "NDims = 3\nElementDataFile = LOCAL\n\x00\x01") == []
    assert named(".mhd", "ElementDataFile = a b.raw\n") == ["a b.raw"]
    assert named(".mhd", "ElementDataFile = LIST\na.raw\nb.raw\n") == ["a.raw", "b.raw"]
    assert named(".mhd", "ElementDataFile = s%02d.raw 1 5 2\n") == ["s01.raw", "s03.raw", "s05.raw"]
    assert named(".nrrd", "NRRD0004\ntype: float\n\ndata file: a.raw") == []
    assert named(".nhdr", "NRRD0004\ndatafile: a.raw\n") == ["a.raw"]
    assert named(".nhdr", "NRRD0004\ndata file: LIST\na.raw\nb.raw\n") == ["a.raw", "b.raw"]
    assert named(".nhdr", "NRRD0004\ndata file: s%d.raw 3 1 -1\n") == ["s3.raw", "s2.raw", "s1.raw"]


@pytest.mark.parametrize("ends", [(".hdr", ".img"), (".HDR", ".IMG")])
def test_a_change_of_the_other_file_of_a_pair_is_seen(ends: tuple[str, str], tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Pair(head(np.random.default_rng(0), 40.0)[0], np.diag([3.0, 3, 3, 1])), tmp_path / "a.hdr")
    for old, new in zip((".hdr", ".img"), ends, strict=True):
        (tmp_path / f"a{old}").rename(tmp_path / f"a{new}")
    path, data = tmp_path / f"a{ends[0]}", tmp_path / f"a{ends[1]}"
    before = prepared(one(path), tmp_path / "out").table["path"][0]
    changed = bytearray(data.read_bytes())
    changed[len(changed) // 2] ^= 1
    data.write_bytes(changed)
    assert prepared(one(path), tmp_path / "out").table["path"][0] != before


def test_a_change_of_another_slice_of_a_series_is_seen(tmp_path: Path, rng: np.random.Generator) -> None:
    pytest.importorskip("SimpleITK")
    values = np.zeros((8, 64, 64), np.int16)
    values[2:6, 16:48, 16:48] = rng.integers(100, 200, (4, 32, 32))
    (tmp_path / "dicom").mkdir()
    write_series(tmp_path / "dicom", values, "1.2.3.4")
    slices = sorted((tmp_path / "dicom").iterdir())
    before = prepared(one(slices[0]), tmp_path / "out").table["path"][0]
    values[3] += 9
    write_series(tmp_path / "dicom", values, "1.2.3.4")
    (tmp_path / "dicom/readme.txt").write_text("not of the series")
    after = prepared(one(slices[0]), tmp_path / "out").table["path"][0]
    assert after != before
    (tmp_path / "dicom/readme.txt").unlink()
    assert prepared(one(slices[0]), tmp_path / "out").table["path"][0] == after
    assert Path(prepared(one(tmp_path / "dicom"), tmp_path / "out").table["path"][0]).name == Path(after).name


def test_columns_of_mixed_types_are_texts_before_anything_is_prepared(tmp_path: Path) -> None:
    table = head_cohort(tmp_path / "raw", 3).table.assign(score=pd.Series([1, "a", 2.0], dtype=object))
    table["note"] = pd.Series(["x", None, "y"], dtype=object)
    with pytest.warns(sm.ValueWarning, match="column 'score' are of different types"):
        found = prepared(sm.Cohort.from_table(table, name="heads"), tmp_path / "out")
    assert found.table["score"].tolist() == ["1", "a", "2.0"]
    assert found.table["note"].isna().tolist() == [False, True, False]
    table["score"] = pd.Series([1, None, Path("a")], dtype=object)
    with pytest.warns(sm.ValueWarning, match="'score'"):
        found = prepared(sm.Cohort.from_table(table, name="heads"), tmp_path / "other")
    assert found.table["score"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threads", 0), ("threads", 1.5), ("threads", "2"), ("shard", (0,)), ("shard", "0/2"), ("shard", (2, 2)), ("shard", (0.0, 1)), ("shard", None),
        ("margin", "x"), ("margin", None), ("margin", float("nan")), ("margin", -1), ("clip", None), ("clip", (1,)), ("clip", ("a", 99)), ("clip", (99, 1)),
        ("spacing", "x"), ("spacing", (1, 1)), ("spacing", -1.0), ("crop", None), ("crop", "box"), ("normalize", None), ("storage", "int8"),
        ("on_error", "tell"),
    ],
)  # fmt: skip
def test_parameters_are_named(name: str, value: object, tmp_path: Path) -> None:
    cohort = head_cohort(tmp_path / "raw", 1)
    with pytest.raises(ValueError, match=rf"^prepare: {name}="):
        sm.prepare(cohort, tmp_path / "out", **{name: value})
    assert not (tmp_path / "out").exists()


def test_the_table_says_where_masks_come_from(tmp_path: Path) -> None:
    table = head_cohort(tmp_path / "raw", 3).table
    found = prepared(sm.Cohort.from_table(table, name="heads"), tmp_path / "none")
    assert found.table["mask"].tolist() == ["found"] * 3
    table["path_mask"] = table["path_labels"].where(table["subject"] != "here1")
    with pytest.warns(sm.ValueWarning, match="2 sessions have a mask that was given, 1 one that was found"):
        found = prepared(sm.Cohort.from_table(table, name="heads"), tmp_path / "some")
    assert found.table["mask"].tolist() == ["given", "found", "given"]
    with pytest.warns(sm.ValueWarning, match="column 'mask' of the cohort is replaced"):
        found = prepared(sm.Cohort.from_table(table.iloc[[0]].assign(mask="mine"), name="heads"), tmp_path / "mine")
    assert found.table["mask"].tolist() == ["given"]


@pytest.mark.filterwarnings("ignore:.*each time:sslmed.ValueWarning")
@pytest.mark.parametrize("column", ["path_FLAIR", "path_mask", "pair"])
def test_features_are_made_again_when_any_file_of_a_row_changes(column: str, tmp_path: Path) -> None:
    table = head_cohort(tmp_path / "raw", 2, flair_of=(1,)).table
    table["path_mask"] = table["path_labels"]
    changed = Path(table["path_mask" if column == "pair" else column][1])
    other = Path(table["path_labels"][0] if column != "path_FLAIR" else table["path_T1w"][1])
    if column == "pair":
        nibabel = pytest.importorskip("nibabel")
        for row, path in enumerate(table["path_labels"]):
            whole = nibabel.load(path)
            nibabel.save(nibabel.Nifti1Pair(np.asanyarray(whole.dataobj), whole.affine), tmp_path / f"raw/{row}.hdr")
        table["path_mask"] = [str(tmp_path / f"raw/{row}.hdr") for row in range(2)]
        changed, other = tmp_path / "raw/1.img", tmp_path / "raw/0.img"
    cohort = sm.Cohort.from_table(table.drop(columns="path_labels"), name="heads")
    how = sm.VolumePreprocessing(spacing=4.0, patch=8, sequences=("T1w", "FLAIR?"))
    encoder = sm.Encoder("vit_tiny", how, depth=1, extra_channels=("T1w", "FLAIR"))
    before = features.encoder_features(encoder, cohort)
    assert np.array_equal(features.encoder_features(encoder, cohort), before)
    changed.write_bytes(other.read_bytes())
    after = features.encoder_features(encoder, cohort)
    assert np.array_equal(after[0], before[0])
    assert not np.array_equal(after[1], before[1])


def test_what_is_prepared_has_the_content_of_its_file(tmp_path: Path) -> None:
    table = head_cohort(tmp_path / "raw", 2, flair_of=(1,)).table
    path = Path(table["path"][1])
    unpacked = path.with_suffix("")
    unpacked.write_bytes(gzip.decompress(path.read_bytes()))
    raw, plain = sm.Cohort.from_table(table, name="raw"), sm.Cohort.from_table(table.assign(path=table["path"].replace(str(path), str(unpacked))))
    found = contents(raw)
    assert None not in found
    assert found[0] != found[1]
    assert contents(plain) == found
    assert contents(prepared(raw, tmp_path / "coarse")) == found
    assert contents(sm.prepare(raw, tmp_path / "fine", spacing=3.0, storage="uint8")) == found
    unpacked.write_bytes(unpacked.read_bytes()[:900])
    assert contents(plain)[1] == digests.of_file(unpacked)


def test_a_volume_that_cannot_be_decoded_has_the_content_of_its_bytes(tmp_path: Path) -> None:
    for name in ("damaged.nii", "damaged.smv", "other.mgz"):
        (tmp_path / name).write_bytes(b"no volume at all")
        assert VOLUMES.content(tmp_path / name) == digests.of_file(tmp_path / name)
    with pytest.raises(OSError, match="missing"):
        VOLUMES.content(tmp_path / "missing.nii")


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
