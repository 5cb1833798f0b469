"""Views of one sample, as methods that compare them see them: numbered by role, the same whatever the threads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from cohorts import cohort
from heads import head_cohort
from PIL import Image

import sslmed as sm
from sslmed._core import C

EEG = sm.EegPreprocessing(sfreq=100.0, window=4.0, patch=0.5, h_freq=45.0)
SLIDES = sm.SlidePreprocessing(size=64, patch=8, region=96)
IMAGES = sm.ImagePreprocessing(size=64, patch=8)
VOLUMES = sm.VolumePreprocessing(spacing=4.0, patch=4, size=24)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> sm.Cohort:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(3)
    paths = []
    for i in range(4):
        paths.append(str(folder / f"{i}.png"))
        Image.fromarray(rng.integers(0, 256, (80, 100, 3), dtype=np.uint8)).save(paths[-1])
    return sm.Cohort.from_table(pd.DataFrame({"path": paths, "subject": list("abcd"), "label": [0, 1, 0, 1]}), name="pictures")


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> sm.Cohort:
    return head_cohort(tmp_path_factory.mktemp("heads") / "files", 4)


def batches(people: sm.Cohort, how: Any, recipe: C.Recipe, *, threads: int = 2, seed: int = 5) -> list[C.Batch]:
    source = people.source(how, random=True)
    sampler = C.Sampler(source, "sequential", 3, False, seed)
    loader = C.LoaderPlan(source, sampler, recipe, threads=threads, end=sampler.batches_per_epoch).open()
    out = []
    while (batch := loader.next()) is not None:
        out.append(batch)
    return out


def cohorts(request: pytest.FixtureRequest) -> list[tuple[sm.Cohort, Any]]:
    of = request.getfixturevalue
    return [(cohort(4), EEG), (of("slide_cohort"), SLIDES), (of("pictures"), IMAGES), (of("heads"), VOLUMES)]


def seen(batch: C.Batch) -> list[tuple[str, int, list[int]]]:
    return [(view.role, view.number, sorted(view.slots)) for view in batch.views]


@pytest.mark.parametrize(("style", "local"), [("simclr", 0), ("byol", 0), ("dino", 3), ("simclr", 1)])
def test_every_modality_gives_views_by_role_and_number(request: pytest.FixtureRequest, style: str, local: int) -> None:
    for people, how in cohorts(request):
        recipe = how.recipe(views=how.contrast(style, local))
        made = batches(people, how, recipe)
        whole = [0, 1, 2]
        expected = [("global", 0, whole), ("global", 1, whole), *(("local", i, whole) for i in range(local))]
        assert seen(made[0]) == expected
        first, second = made[0].views[:2]
        assert not torch.equal(first.values, second.values)
        for a, b in zip(made, batches(people, how, recipe, threads=1), strict=True):
            for one, other in zip(a.views, b.views, strict=True):
                assert one.slots == other.slots
                assert torch.equal(one.values, other.values)
                assert torch.equal(one.coords.nan_to_num(), other.coords.nan_to_num())


def test_local_views_are_smaller(request: pytest.FixtureRequest) -> None:
    for people, how in cohorts(request):
        views = batches(people, how, how.recipe(views=how.contrast("dino", 2)))[0].views
        assert max(views[2].lengths) < min(views[0].lengths)
        assert views[2].extents.shape == views[0].extents.shape


def test_strengths_are_those_of_the_papers() -> None:
    first, second = IMAGES.contrast("byol")
    assert (first.augmentation.p_blur, first.augmentation.p_solarize) == (1.0, 0.0)
    assert (second.augmentation.p_blur, second.augmentation.p_solarize) == (0.1, 0.2)
    assert IMAGES.contrast("simclr")[0].count == 2
    assert IMAGES.contrast("dino", 6)[0].augmentation.scale == (0.4, 1.0)
    assert IMAGES.contrast("dino", 6)[2].augmentation.scale == (0.05, 0.4)
    for style in ("simclr", "byol", "dino"):
        for view in SLIDES.contrast(style, 2):
            assert view.augmentation.p_solarize == 0
            assert view.augmentation.hed > 0
            assert view.augmentation.p_flip == 0.5
        for view in IMAGES.contrast(style, 2):
            assert view.augmentation.p_flip == view.augmentation.p_turn == 0
        for one in VOLUMES.contrast(style, 2):
            assert one.augmentation.p_flip == (0, 0, 0)


@pytest.mark.parametrize("how", [EEG, SLIDES, IMAGES, VOLUMES], ids=lambda how: how.modality)
def test_masks_of_globals_alone_as_ibot_has_them(request: pytest.FixtureRequest, how: Any) -> None:
    people = {one.modality: people for people, one in cohorts(request)}[how.modality]
    views = how.contrast("dino", 2)
    masked = [replace(view, mask="block", ratio=(0.1, 0.5), p_mask=0.5) if view.role == "global" else view for view in views]
    whole, total = 0, 0
    for seed in range(12):
        for batch in batches(people, how, how.recipe(views=masked), seed=seed):
            for view in batch.views:
                if view.role == "local":
                    assert view.visible is None
                    continue
                for n, hidden in zip(view.lengths, view.masked_lengths, strict=True):
                    total += 1
                    whole += hidden == 0
                    assert hidden == 0 or 0.1 * n <= hidden <= 0.5 * n + 2
                assert len(view.visible) + len(view.masked) == sum(view.lengths)
    assert 0.25 * total < whole < 0.75 * total


def test_several_modalities_have_views_of_their_own(pictures: sm.Cohort) -> None:
    both = sm.modalities.JoinedPreprocessing((EEG, IMAGES))
    people = cohort(3).joined(pictures)
    made = batches(people, both, both.recipe(views=both.contrast("dino", 2, {"images": 16})))
    assert {(view.modality, view.role, view.number) for batch in made for view in batch.views} == {
        (name, role, i) for name in ("eeg", "images") for role, n in (("global", 2), ("local", 2)) for i in range(n)
    }
    assert all(set(view.lengths) == {4} for batch in made for view in batch.views if (view.modality, view.role) == ("images", "local"))
    with pytest.raises(ValueError, match="views of slides"):
        both.recipe(views={"slides": []})
    with pytest.raises(TypeError, match="mapping by modality"):
        both.recipe(views=[])
    with pytest.raises(TypeError, match="local_size"):
        both.contrast("dino", 2, 16)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one modality"):
        both.dense()


def joined(batch: C.Batch, patch: int, side: int) -> torch.Tensor:
    """[B, 3, side, side] of the patches of a batch's only view."""
    view = batch.views[0]
    cells = side // patch
    return view.values.view(len(view.slots), cells, cells, patch, patch, 3).permute(0, 5, 1, 3, 2, 4).reshape(-1, 3, side, side)


def test_dense_pictures_are_patches_put_together(request: pytest.FixtureRequest) -> None:
    for people, how in cohorts(request)[1:3]:
        dense = how.dense()
        assert dense.patch is None
        assert dense.embedding()["patch_size"] == []
        for changes in (None, sm.Augmentation(scale=(0.4, 1.0), brightness=0.4, p_blur=0.5)):
            ours = batches(people, dense, dense.recipe(augmentation=changes))
            theirs = batches(people, how, how.recipe(augmentation=changes))
            for a, b in zip(ours, theirs, strict=True):
                assert a.views[0].is_dense
                assert torch.equal(a.views[0].values, joined(b, 8, 64))
        with pytest.raises(ValueError, match="on_device"):
            dense.recipe(augmentation=sm.Augmentation(on_device=True))


def test_dense_eeg_has_the_channels_of_the_montage_in_its_order() -> None:
    people = cohort(3)
    chosen = sm.modalities.eeg.common_channels(people)[::-1]
    dense = replace(EEG, montage=tuple(f"EEG {name.upper()}-REF" for name in chosen)).dense()
    view = batches(people, dense, dense.recipe())[0].views[0]
    assert view.is_dense
    assert list(view.values.shape) == [3, 3, 400]
    # The same signals as patches have, in the channels' own order, where no channel's reference depends on the others.
    plain = replace(EEG, average_reference=False)
    tokens = batches(people, plain, plain.recipe())[0].views[0]
    own = {C.standard_name(name): i for i, name in enumerate(sm.modalities.eeg.channels(people)[0][0])}
    whole = replace(dense, average_reference=False)
    values = batches(people, whole, whole.recipe())[0].views[0].values
    signals = tokens.values.view(3, len(own), 400)
    assert torch.equal(values, signals[:, [own[name] for name in chosen]])


def test_a_recording_without_a_channel_of_the_montage_is_named() -> None:
    people = cohort(3)
    how = replace(EEG, montage=("Cz", "Iz")).dense()
    with pytest.raises(ValueError, match=r"\[0\].*montage.*'Iz' is missing"):
        people.source(how)
    with pytest.raises(ValueError, match="montage"):
        EEG.dense()
    signal = np.random.default_rng(0).normal(size=(2, 2, 1600)) * 20
    signal[0, 1] = 0
    flat = sm.Cohort.from_arrays(signal, 200, ["Cz", "Pz"], pd.DataFrame({"subject": ["a", "b"]}))
    dense = sm.EegPreprocessing(montage=("Cz", "Pz"), average_reference=False).dense()
    with pytest.raises(sm.FormatError, match="'Pz' of the montage"):
        batches(flat, dense, dense.recipe())


def test_dense_volumes_have_masks_over_cells(heads: sm.Cohort, tmp_path: Path) -> None:
    dense = VOLUMES.dense()
    view = batches(heads, dense, dense.recipe(mask="block", ratio=0.5, cell=4))[0].views[0]
    assert list(view.values.shape) == [3, 1, 24, 24, 24]
    assert view.masked_lengths == [108] * 3
    with pytest.raises(ValueError, match="size=None"):
        replace(VOLUMES, size=None).dense()
