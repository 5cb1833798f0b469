"""Volumes through the whole house: cohorts, pretraining, features, transfer and shift."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from heads import head_cohort

import sslmed as sm
from sslmed.encoders import resolve

HOW = sm.VolumePreprocessing(spacing=4.0, patch=6, sequences=("T1w", "FLAIR?"))


def prepared(folder: Path, n: int, **options: object) -> sm.Cohort:
    found = sm.prepare(head_cohort(folder / "raw", n, **options), folder / "prepared", spacing=4.0)  # type: ignore[arg-type]
    assert found is not None
    return found


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> sm.Cohort:
    """16 sessions, of which half have a FLAIR."""
    return prepared(tmp_path_factory.mktemp("heads"), 16, flair_of=range(0, 16, 2))


def test_files_are_recognized_by_their_endings(tmp_path: Path) -> None:
    cohort = head_cohort(tmp_path / "raw", 2)
    assert cohort.modality == "volumes"
    with pytest.warns(sm.LeftOutWarning, match=r"2 of 4 files left out: masks and labels by their names; such as .*here0_labels"):
        folder = sm.Cohort.from_folder(tmp_path / "raw", subject="[a-z]+[0-9]+")
    assert folder.modality == "volumes"
    assert folder.table["subject"].tolist() == ["here0", "here1"]


def test_a_cohort_says_how_it_was_prepared(heads: sm.Cohort) -> None:
    how = resolve("vit_tiny", heads, depth=1).preprocessing
    assert how == sm.VolumePreprocessing(spacing=4.0, sequences=("T1w", "FLAIR?"))


@pytest.mark.parametrize(("method", "options"), [("mae", {}), ("mae", {"mask": "space", "radius": 20.0}), ("ijepa", {})])
def test_methods_train_on_volumes_without_a_line_of_their_own(heads: sm.Cohort, tmp_path: Path, method: str, options: dict[str, object]) -> None:
    run = sm.pretrain(
        heads, method, "vit_tiny", tmp_path / "run", preprocessing=HOW, depth=2, epochs=6, batch_size=4, progress=False, tensorboard=False, **options
    )
    assert np.isfinite(run.history["loss"]).all()
    if method == "mae":
        assert run.history["loss"].iloc[-1] < run.history["loss"].iloc[0]
    loaded = sm.Encoder.load(tmp_path / "run/encoder.safetensors")
    assert loaded.preprocessing == HOW
    assert loaded.extra_channels == ("T1w", "FLAIR")
    a, _ = sm.encode(run.encoder, heads)
    b, _ = sm.encode(loaded, heads)
    assert torch.equal(a, b)


def test_a_resumed_run_gives_the_same_bits_for_any_number_of_threads(heads: sm.Cohort, tmp_path: Path) -> None:
    how = sm.VolumePreprocessing(spacing=4.0, patch=6, size=12, sequences=("T1w", "FLAIR?"))
    settings = {"preprocessing": how, "depth": 1, "epochs": 3, "batch_size": 4, "progress": False, "tensorboard": False, "checkpoint_every": 4}
    augmentation = sm.VolumeAugmentation(p_flip=(0.5, 0.0, 0.0), p_drop=0.3)
    whole = sm.pretrain(heads, "mae", "vit_tiny", tmp_path / "whole", threads=1, augmentation=augmentation, **settings)
    sm.pretrain(heads, "mae", "vit_tiny", tmp_path / "cut", threads=3, augmentation=augmentation, callback=lambda rows: rows[-1]["step"] < 5, **settings)
    resumed = sm.pretrain(heads, "mae", "vit_tiny", tmp_path / "cut", threads=2, augmentation=augmentation, resume=True, **settings)
    for name, weights in whole.encoder.state_dict().items():
        assert torch.equal(weights, resumed.encoder.state_dict()[name]), name


def test_a_session_without_a_sequence_equals_it_through_an_encoder_that_never_saw_that(heads: sm.Cohort) -> None:
    both = sm.Encoder("vit_tiny", HOW, depth=3, extra_channels=("T1w", "FLAIR"), seed=3)
    with torch.no_grad():
        both.get_parameter("pos_embed.channel_table").normal_(std=0.5)
    alone = sm.Encoder("vit_tiny", sm.VolumePreprocessing(spacing=4.0, patch=6, sequences=("T1w",)), depth=3, extra_channels=("T1w",), seed=9)
    weights = both.state_dict()
    alone.load_state_dict(weights | {"pos_embed.channel_table": weights["pos_embed.channel_table"][:1]})
    found, row = sm.encode(both, heads)
    expected, _ = sm.encode(alone, heads)
    lacking = [number for number, names in enumerate(heads.table["sequences"]) if names == "T1w"]
    assert len(lacking) == 8
    assert row.tolist() == list(range(16))
    assert (found[lacking] - expected[lacking]).abs().max() <= 1e-5
    having = [number for number in range(16) if number not in lacking]
    assert (found[having] - expected[having]).abs().max() > 1e-3


def test_a_sequence_that_must_be_there_is_asked_for(heads: sm.Cohort) -> None:
    strict = sm.Encoder("vit_tiny", sm.VolumePreprocessing(spacing=4.0, patch=6, sequences=("T1w", "FLAIR")), depth=1)
    with pytest.raises(sm.FormatError, match="FLAIR"):
        sm.encode(strict, heads)
    with pytest.raises(ValueError, match="T2w"):
        heads.source(sm.VolumePreprocessing(spacing=4.0, patch=6, sequences=("T2w?", "T1w")), extra_channels=("T1w",))


def test_transfer_and_shift_run_on_volumes(heads: sm.Cohort, tmp_path: Path) -> None:
    encoder = sm.Encoder("vit_tiny", HOW, depth=1, extra_channels=("T1w", "FLAIR"))
    result = sm.transfer(encoder, heads, "age", cv=4, pooling="regions", permutations=19)
    rows = set(result.table["row"])
    assert {"dummy", "histogram", "tissue volumes", "smoothed", "head size", "acquisition", "random encoder"} <= rows
    mae = result.table[result.table["metric"] == "mae"].set_index("row")["value"]
    assert mae["tissue volumes"] < mae["dummy"] / 2  # the inner tissue grows with age
    other = prepared(tmp_path, 12, seed=1, site="there")
    report = sm.shift.report(heads, other, encoder=encoder, by=["age", "site"])
    assert len(report.table) > 3


def test_convolutional_encoders_take_dense_views(heads: sm.Cohort) -> None:
    dense = sm.VolumePreprocessing(spacing=4.0, patch=None, size=(24, 28, 24), sequences=("T1w",))
    features, _ = sm.encode(sm.ConvEncoder(dense, (8, 16)), heads)
    assert features.shape == (16, 16)
    with pytest.raises(ValueError, match="size"):
        sm.encode(sm.ConvEncoder(sm.VolumePreprocessing(spacing=4.0, patch=None), (8, 16)), heads)


def test_classical_features_skip_what_cannot_be_read(tmp_path: Path) -> None:
    cohort = prepared(tmp_path, 3)
    Path(cohort.table["path"][1]).write_bytes(b"SSLMEDV1 and no more")
    kind = sm.modalities.get("volumes")
    with pytest.raises(sm.FormatError):
        kind.features([cohort], ["head size"])
    found = kind.features([cohort], list(kind.baselines), on_error="skip")[0]
    for name, values in found.items():
        assert np.isnan(values[1]).all(), name
        assert np.isfinite(values[[0, 2]]).all(), name


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"spacing": -1.0}, "spacing=-1"),
        ({"spacing": (1.0, 2.0)}, "spacing=.*three axes"),
        ({"patch": (4, 4)}, "patch=.*three axes"),
        ({"patch": 0}, "patch=0"),
        ({"anatomy": 1.5}, "anatomy=1.5"),
        ({"clip": (99.0, 1.0)}, "clip="),
        ({"margin": -3.0}, "margin=-3"),
        ({"crop": "box"}, "crop"),
        ({"normalize": "minmax"}, "normalize"),
        ({"storage": "float32"}, "storage"),
        ({"size": (8, 8)}, "size=.*three axes"),
        ({"size": 4.5}, "size=4.5"),
        ({"sequences": "T1w"}, "sequences='T1w'"),
        ({"sequences": ("T1w", "T1w?")}, "different names"),
        ({"sequences": ("T1w", "mask?")}, "'mask' is no sequence's name"),
        ({"sequences": ("T1w,FLAIR",)}, "'T1w,FLAIR' is no sequence's name"),
    ],
)
def test_a_preprocessing_that_makes_no_sense_is_refused(heads: sm.Cohort, fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sm.encode(sm.Encoder("vit_tiny", sm.VolumePreprocessing(**({"spacing": 4.0, "patch": 6} | fields)), depth=1), heads)  # type: ignore[arg-type]


def test_masks_that_do_not_suit_volumes_are_refused(heads: sm.Cohort) -> None:
    with pytest.raises(ValueError, match="time"):
        HOW.recipe(mask="time")
    with pytest.raises(TypeError, match="augmentation"):
        HOW.recipe(augmentation=sm.Augmentation())  # type: ignore[arg-type]
    views = [sm.VolumeView("global", 2, (12, 12, 12)), sm.VolumeView("local", 3, (6, 6, 6))]
    batch = next(iter(sm.Loader(heads, recipe=HOW.recipe(views=views), batch_size=4, preprocessing=HOW, random=True)))
    assert sorted((view.role, view.number) for view in batch.views) == [("global", 0), ("global", 1), ("local", 0), ("local", 1), ("local", 2)]
    with pytest.raises(TypeError, match="leave augmentation out"):
        HOW.recipe(views=views, augmentation=sm.VolumeAugmentation())


def test_sessions_with_and_without_labels_make_one_batch(heads: sm.Cohort, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    bare = head_cohort(folder, 2, site="bare")
    found = sm.prepare(sm.Cohort(bare.table.drop(columns="path_labels"), "bare"), tmp_path / "bare", spacing=4.0)
    assert found is not None
    both = heads.joined(found)
    features, _ = sm.encode(sm.Encoder("vit_tiny", HOW, depth=1, extra_channels=("T1w", "FLAIR")), both)
    assert len(features) == 18
    how = replace(HOW, sequences=("T1w",), labels=True)
    views = [view for batch in sm.Loader(both, how, batch_size=18, order="sequential", epochs=1) for view in batch.views]
    known = {slot: bool((target >= 0).any()) for view in views for slot, target in zip(view.slots, view.targets["labels"], strict=True)}
    assert known == {slot: slot < 16 for slot in range(18)}


def test_bids_folders_become_sessions(tmp_path: Path) -> None:
    for subject, names in {"1": ("T1w", "FLAIR"), "2": ("T1w",)}.items():
        folder = tmp_path / f"sub-{subject}/anat"
        folder.mkdir(parents=True)
        for name in names:
            values = torch.zeros(12, 12, 12)
            values[3:9, 3:9, 3:9] = torch.rand(6, 6, 6) + 1
            sm.io.write_nifti(sm.io.Volume(values, torch.eye(4, dtype=torch.float64)), folder / f"sub-{subject}_{name}.nii.gz")
    pd.DataFrame({"participant_id": ["sub-1", "sub-2"], "age": [20, 30]}).to_csv(tmp_path / "participants.tsv", sep="\t", index=False)
    cohort = sm.Cohort.from_bids(tmp_path)
    assert cohort.table["subject"].tolist() == ["sub-1", "sub-2"]
    assert cohort.table["age"].tolist() == [20, 30]
    assert cohort.table["path_FLAIR"].notna().tolist() == [True, False]
    assert resolve("vit_tiny", cohort, depth=1).preprocessing.sequences == ("T1w", "FLAIR?")
