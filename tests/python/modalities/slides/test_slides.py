"""Pictures of slides, drawn while training, and what learns from them."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from slide_files import blob
from weights import changed

import sslmed as sm
from sslmed._core import C
from sslmed.demo.slides import CLINIC, PUBLIC, write_archive

PICTURE_ROWS = ["dummy", "color", "random encoder", "pretrained encoder", "permuted labels"]

SMALL = sm.SlidePreprocessing(mpp=1.0, size=32, patch=8)


def test_pictures_are_what_the_slide_has_at_their_place(slide_cohort: sm.Cohort) -> None:
    for jitter in (False, True):
        source = slide_cohort.source(SMALL, random=jitter)
        recording = source.recording_of
        for i in range(0, len(source), max(1, len(source) // 20)):
            picture, (x, y), mpp = source.sample(i, seed=3)
            row = slide_cohort.table.iloc[int(recording[i])]
            slide = sm.io.open_slide(row["path"])
            expected = slide.read_mpp(1000 * x / row["mpp_x"], 1000 * y / row["mpp_y"], 1.0, 32, 32)
            # A corner in mm is a pixel's fraction off after two divisions.
            assert (picture.int() - expected.int()).abs().max() <= 1
            assert mpp == pytest.approx(1.0)
            if not jitter:
                info = source.describe(i)
                assert (info.place["x"] * row["mpp_x"] / 1000, info.place["y"] * row["mpp_y"] / 1000) == pytest.approx((x, y), abs=0.001)


def test_random_pictures_are_even_over_the_tissue(slide_cohort: sm.Cohort) -> None:
    one = slide_cohort.subset([0])
    row = one.table.iloc[0]
    source = one.source(sm.SlidePreprocessing(mpp=1.0, size=8, patch=8), random=True)
    cells = sm.slides.tissue_of(row)
    middles = []
    for epoch in range(max(1, 6000 // len(source)) + 1):
        for i in range(len(source)):
            _, (x, y), _ = source.sample(i, seed=11, epoch=epoch)
            middles.append((x + 0.004, y + 0.004))
    places = np.array(middles) * 1000 / (np.array(row[["mpp_x", "mpp_y"]], float) * np.array([row["cell_x"], row["cell_y"]], float))
    column, line = np.floor(places + 1e-6).astype(int).T
    counts = np.zeros(cells.mask.shape, int)
    np.add.at(counts, (line, column), 1)
    inside = cells.mask.numpy()
    assert counts[~inside].sum() == 0
    assert stats.chisquare(counts[inside]).pvalue > 1e-4
    # Corners begin with pixels of .8 µm: 40 in a cell of 32 µm, ten in each quarter of it.
    within = np.histogram2d(*((places + 1e-6) % 1).T, bins=4, range=[[0, 1], [0, 1]])[0]
    assert stats.chisquare(within.ravel()).pvalue > 1e-4
    # As many as cover the tissue once.
    assert len(source) == pytest.approx(row["tissue_mm2"] * 1e6 / 64, abs=1)


def test_strata_come_equally_often(slide_cohort: sm.Cohort) -> None:
    loader = sm.Loader(slide_cohort, SMALL, batch_size=8, order="stain", random=True, epochs=2)
    slide = loader.source.recording_of
    stain = np.concatenate([slide_cohort.table["stain"].to_numpy()[slide[batch.sample_ids].numpy()] for batch in loader])
    counts = pd.Series(stain).value_counts()
    assert abs(counts["H&E"] - counts["IHC"]) <= 1
    with pytest.raises(ValueError, match="column of the cohort"):
        sm.Loader(slide_cohort, SMALL, order="colour")
    with pytest.raises(ValueError, match="has no value in that column"):
        sm.Loader(slide_cohort.with_columns(half=[1, None, 1, 1, 1, 1]), SMALL, order="half")


def test_a_stream_of_pictures_is_one_for_any_threads_and_goes_on_anywhere(slide_cohort: sm.Cohort) -> None:
    how = sm.Augmentation(scale=(0.5, 1.0), hed=0.05, brightness=0.1, contrast=0.1, saturation=0.1, hue=0.02, p_grayscale=0.2, p_blur=0.5, p_solarize=0.2)

    def stream(threads: int, start: int = 0) -> list[torch.Tensor]:
        loader = sm.Loader(slide_cohort, SMALL, batch_size=16, mask="random", random=True, augmentation=how, threads=threads, epochs=2, seed=5, start=start)
        return [torch.cat([b.views[0].values.flatten(), b.views[0].masked]) for b in loader]

    one, four = stream(1), stream(4)
    assert all(torch.equal(a, b) for a, b in zip(one, four, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(one[7:], stream(2, start=7), strict=True))
    assert not torch.equal(one[0], one[len(one) // 2])  # the second epoch is another


def test_so_many_slides_are_open_and_no_more(slide_cohort: sm.Cohort) -> None:
    def held(most: int) -> set[str]:
        source = sm.slides.source(slide_cohort, SMALL, open_slides=most)
        first = source.recording_of
        for r in range(6):
            source.sample(int((first == r).nonzero()[0]))
        links = [os.readlink(link.path) for link in os.scandir("/proc/self/fd") if os.path.exists(link.path)]
        return {link for link in links if link in set(slide_cohort.table["path"])}

    assert held(64) == set(slide_cohort.table["path"])
    assert held(2) == set(slide_cohort.table["path"][4:])


def test_slides_that_are_opened_again_are_what_they_are_now(slide_cohort: sm.Cohort, tmp_path: Path) -> None:
    paths = [shutil.copy(path, tmp_path) for path in slide_cohort.table["path"]]
    cohort = sm.Cohort.from_table(slide_cohort.table.assign(path=paths))
    few, many = (sm.slides.source(cohort, SMALL, open_slides=n) for n in (1, 64))
    first = [int((few.recording_of == r).nonzero()[0]) for r in range(6)]
    for _ in range(2):
        for i in first:
            assert torch.equal(few.sample(i)[0], many.sample(i)[0])
    # Another slide of the same size takes the place of one that was closed: neither its layout nor its tiles in the cache are used.
    sm.io.write_slide(paths[0], blob(900, 77), 0.4, tile=256)
    fresh = sm.slides.source(cohort, SMALL)
    few.sample(first[1])
    assert torch.equal(few.sample(first[0])[0], fresh.sample(first[0])[0])
    assert not torch.equal(few.sample(first[0])[0], many.sample(first[0])[0])
    sm.io.write_slide(paths[0], blob(500, 77), 0.4)
    few.sample(first[1])
    with pytest.raises(sm.FormatError, match="900 x 900"):
        few.sample(first[0])


def test_scales_are_even_in_their_logarithm(slide_cohort: sm.Cohort) -> None:
    source = slide_cohort.source(sm.SlidePreprocessing(mpp=0.5, mpp_high=2.0, size=8, patch=8), random=True)
    found = np.array([source.sample(i, seed=2)[2] for i in range(600)])
    assert found.min() >= 0.5
    assert found.max() <= 2.0
    assert stats.kstest(np.log(found / 0.5) / np.log(4), "uniform").pvalue > 1e-4
    assert slide_cohort.source(sm.SlidePreprocessing(mpp=0.5, mpp_high=2.0, size=8, patch=8)).sample(0)[2] == pytest.approx(0.5)


def test_what_is_not_as_the_index_says_is_refused(slide_cohort: sm.Cohort, tmp_path: Path) -> None:
    sm.io.write_slide(tmp_path / "other.tif", blob(500), 0.5)
    moved = sm.Cohort.from_table(slide_cohort.table.assign(path=[str(tmp_path / "other.tif"), str(tmp_path / "gone.tif"), *slide_cohort.table["path"][2:]]))
    source = moved.source(SMALL)
    with pytest.raises(sm.FormatError, match=r"other\.tif.*900 x 900.*500 x 500"):
        source.sample(0)
    with pytest.raises(sm.ReadError, match=r"gone\.tif"):
        source.sample(int((source.recording_of == 1).nonzero()[0]))
    loader = sm.Loader(moved, SMALL, batch_size=8, on_error="skip")
    assert sum(len(batch) for batch in loader) == int((source.recording_of > 1).sum())
    cut = slide_cohort.table.copy()
    cut.at[0, "tissue"] = cut.at[0, "tissue"][:-1]
    with pytest.raises(sm.FormatError, match="TCGA-AA-0000-0"):
        sm.Cohort.from_table(cut).source(SMALL)
    with pytest.raises(ValueError, match="needs mpp_x; row 2"):
        sm.Cohort.from_table(slide_cohort.table.assign(mpp_x=[1, 1, None, 1, 1, 1])).source(SMALL)
    with pytest.raises(ValueError, match="preprocessing is for eeg, but the cohort has rows of slides"):
        slide_cohort.source(sm.EegPreprocessing())
    with pytest.raises(ValueError, match=r"below which it has no detail"):
        slide_cohort.source(sm.SlidePreprocessing(mpp=0.1)).sample(0)


def test_bytes_are_seen_as_standardised_pictures(rng: np.random.Generator) -> None:
    encoder = sm.Encoder("vit_tiny", SMALL, depth=2).double()
    picture = torch.from_numpy(rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8))
    patches = picture.view(2, 4, 8, 4, 8, 3).transpose(2, 3).reshape(32, 192)
    tokens, pooled, lengths, _ = encoder.forward_tokens(patches, [16, 16])
    mean, std = torch.tensor(SMALL.mean, dtype=torch.float64), torch.tensor(SMALL.std, dtype=torch.float64)
    dense = ((picture.double() / 255 - mean) / std).permute(0, 3, 1, 2)
    assert lengths == [17, 17]
    torch.testing.assert_close(tokens.view(2, 17, -1), encoder.forward_features(dense), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(pooled, encoder.forward_features(dense)[:, 1:].mean(1), rtol=1e-10, atol=1e-10)


def test_several_views_come_from_one_picture(slide_cohort: sm.Cohort) -> None:
    crops = [sm.View("global", 2, 64, sm.Augmentation(scale=(0.4, 1.0))), sm.View("local", 3, 32, sm.Augmentation(scale=(0.05, 0.4)))]
    preprocessing = sm.SlidePreprocessing(mpp=1.0, size=64, patch=8, region=96)
    loader = sm.Loader(slide_cohort, preprocessing, batch_size=4, random=True, recipe=preprocessing.recipe(views=crops))
    batch = next(iter(loader))
    assert [(view.role, view.number) for view in batch.views] == [("global", 0), ("global", 1), ("local", 0), ("local", 1), ("local", 2)]
    for view in batch.views:
        assert view.lengths == [64 if view.role == "global" else 16] * 4
        assert sorted(view.slots) == [0, 1, 2, 3]
    # Crops of one picture lie within 96 µm of each other.
    for slot in range(4):
        places = torch.cat([v.coords.view(len(v.slots), -1, 4)[torch.tensor(v.slots) == slot][..., :2].reshape(-1, 2) for v in batch.views])
        assert (places.amax(0) - places.amin(0)).max() < 0.096
    concentric = [sm.View("near", 1, 32, middle=True), sm.View("far", 1, 32, zoom=3, middle=True), sm.View("any", 1, 32, zoom=1.5)]
    batch = next(iter(sm.Loader(slide_cohort, preprocessing, batch_size=4, random=True, recipe=preprocessing.recipe(views=concentric))))
    near, far, somewhere = (next(v for v in batch.views if v.role == role).coords.view(4, 16, 4)[..., :2] for role in ("near", "far", "any"))
    assert (near.mean(1) - far.mean(1)).abs().max() <= 0.0011  # mm: a pixel
    torch.testing.assert_close(far.amax(1) - far.amin(1), 3 * (near.amax(1) - near.amin(1)))
    assert (somewhere.mean(1) - near.mean(1)).abs().max() > 0.0011
    with pytest.raises(ValueError, match="neither zoom nor middle"):
        preprocessing.recipe(views=[sm.View(zoom=2, augmentation=sm.Augmentation(scale=(0.2, 1.0)))])
    with pytest.raises(TypeError, match="views have"):
        preprocessing.recipe(views=crops, augmentation=sm.Augmentation())


def test_the_commands_index_and_train(slide_table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from sslmed.cli import main

    def run(*words: object) -> int:
        monkeypatch.setattr("sys.argv", ["sslmed", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0)

    slide_table.to_csv(tmp_path / "slides.tsv", sep="\t", index=False)
    index = tmp_path / "index.parquet"
    assert run("index", tmp_path / "slides.tsv", "--out", index, "--shard", "0/2") == 0
    assert "not done yet" in capsys.readouterr().out
    assert run("index", tmp_path / "slides.tsv", "--out", index, "--shard", "1/2") == 0
    assert "6 slides of 3 subjects" in capsys.readouterr().out
    small = ("--encoder", "vit_tiny", "--depth", 1, "--epochs", 1, "--batch-size", 8, "--no-tensorboard", "--order", "stain")
    assert run("pretrain", index, "--out", tmp_path / "run", "--mpp", 1, "--size", 64, "--patch", 16, *small) == 0
    assert (tmp_path / "run" / "encoder.safetensors").exists()
    assert run("pretrain", index, "--out", tmp_path / "other", "--sfreq", 100, *small) == 2
    assert "--sfreq is no option of this command, and no field of Mae" in capsys.readouterr().err
    assert run("demo", "--modality", "slides", "--out", tmp_path / "demo", "--subjects", 6, 15, "--epochs", 1) == 0
    assert set(pd.read_csv(tmp_path / "demo" / "transfer.csv")["row"]) == set(PICTURE_ROWS)
    assert "domain classifier: color" in set(pd.read_csv(tmp_path / "demo" / "shift.csv")["row"])
    assert "SYNTHETIC" in (tmp_path / "demo" / "report.html").read_text()
    assert run("demo", "--modality", "sound", "--out", tmp_path / "no") == 2


@pytest.mark.parametrize("method", ["mae", "ijepa"])
def test_methods_learn_from_slides_and_go_on(slide_cohort: sm.Cohort, tmp_path: Path, method: str) -> None:
    part = slide_cohort.subset(range(6 if method == "mae" else 2))
    preprocessing = sm.SlidePreprocessing(mpp=1.0, size=64, patch=8, region=80)

    def train(out: str, **more: Any) -> sm.Run:
        return sm.pretrain(
            part, method, "vit_tiny", tmp_path / out, epochs=4, preprocessing=preprocessing, batch_size=16, depth=1, progress=False, tensorboard=False, **more
        )

    whole = train("a")
    assert train("b", callback=lambda rows: rows[-1]["step"] < 2).interrupted
    again = train("b", resume=True)
    for name, value in whole.encoder.state_dict().items():
        assert torch.equal(value, again.encoder.state_dict()[name]), name
    if method == "mae":
        assert whole.history["loss"].iloc[-5:].mean() < 0.95 * whole.history["loss"].iloc[:5].mean()
        loaded = sm.Encoder.load(tmp_path / "a" / "encoder.safetensors")
        assert loaded.preprocessing == preprocessing
        features, of = sm.encode(loaded, slide_cohort)
        assert features.shape == (len(of), 192)
        assert of.unique().tolist() == list(range(6))
        with pytest.raises(ValueError, match="pooling='regions'"):
            sm.encode(loaded, slide_cohort, pooling="regions")


def test_transfer_and_shift_of_slides(slide_cohort: sm.Cohort, tmp_path: Path) -> None:
    encoder = changed(sm.Encoder("vit_tiny", SMALL, depth=1))

    def others(name: str, seed: int) -> pd.DataFrame:
        """Slides of other people with tissue in the same places: the same signal of two subjects is refused."""
        paths = [tmp_path / f"{name}{i}.tif" for i in range(6)]
        for i, path in enumerate(paths):
            sm.io.write_slide(path, blob(900, seed + i), slide_cohort.table["mpp_x"][i], tile=128)
        return slide_cohort.table.assign(subject=[f"{name}{i}" for i in range(6)], path=[str(path) for path in paths])

    twice = sm.Cohort.from_table(pd.concat([others("a", 10), others("b", 20)], ignore_index=True), name="twelve")
    result = sm.transfer(encoder, twice, "label", cv=2, repeats=2, permutations=9)
    assert list(dict.fromkeys(result.table["row"])) == PICTURE_ROWS
    with pytest.raises(ValueError, match="has the unknown row 'band power'"):
        sm.transfer(encoder, twice, "label", cv=2, baselines=["band power"])
    fitted = sm.finetune(encoder, twice, "label", sm.FineTuning(epochs=1, batch_size=8))
    with pytest.raises(ValueError, match="training and test"):
        fitted.predict(twice)
    probabilities = fitted.predict_proba(sm.Cohort.from_table(others("new", 30), name="new"))
    assert probabilities.shape == (6, 2)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)


def test_the_embedded_archives_are_as_they_were_made(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", sm.FormatWarning)
        public, clinic = write_archive(tmp_path / "a", PUBLIC, 3, millimeters=0.4), write_archive(tmp_path / "b", CLINIC, 3, millimeters=0.4)
    assert public.table["mpp_x"].tolist() == pytest.approx([0.5] * 6, rel=1e-4)
    assert clinic.table["mpp_x"].tolist() == pytest.approx([0.4] * 6, rel=1e-4)
    assert list(clinic.table["diagnosis"].unique()) == ["normal", "inflamed", "tumor"]
    assert set(clinic.table["stain"]) == {"H&E", "IHC"}
    assert (clinic.table["tissue_mm2"] > 0.01).all()
    slide = sm.io.open_slide(public.table["path"][0])
    assert "SYNTHETIC" in slide.properties["tiff.ImageDescription"]
    again = write_archive(tmp_path / "c", PUBLIC, 1, millimeters=0.4)
    assert Path(again.table["path"][0]).read_bytes() == Path(public.table["path"][0]).read_bytes()


def test_a_hundred_thousand_slides_open_at_once(slide_cohort: sm.Cohort) -> None:
    many = sm.Cohort.from_table(pd.concat([slide_cohort.table] * 1000, ignore_index=True))
    source = many.source(SMALL, random=True)
    sampler = C.Sampler(source, "shuffle", 16, True, 0)
    assert len(source) == pytest.approx(1000 * len(slide_cohort.source(SMALL, random=True)))
    assert len(set(sampler.batch(5))) == 16
    assert source.sample(len(source) - 1)[0].shape == (32, 32, 3)


def test_mae_learns_from_a_real_slide(data_root: Path, tmp_path: Path) -> None:
    path = next(data_root.rglob("CMU-1-Small-Region.svs"))
    cohort = sm.Cohort.from_table(pd.DataFrame({"path": [str(path)], "subject": ["CMU-1"]})).index(tmp_path / "index.parquet")
    assert cohort is not None
    run = sm.pretrain(
        cohort, "mae", "vit_tiny", tmp_path / "run", epochs=2, depth=2, batch_size=32, progress=False, tensorboard=False,
        preprocessing=sm.SlidePreprocessing(mpp=0.5, size=64, patch=8),
    )  # fmt: skip
    assert run.history["loss"].iloc[-5:].mean() < 0.8 * run.history["loss"].iloc[:5].mean()


def test_samples_of_another_kind_are_refused_by_a_recipe(slide_cohort: sm.Cohort, tiny_site: sm.Cohort) -> None:
    pictures, signals = slide_cohort.source(SMALL), tiny_site.source(sm.EegPreprocessing())
    for source, recipe, expected in ((pictures, sm.EegPreprocessing().recipe(), "EegRecipe: needs"), (signals, SMALL.recipe(), "PictureRecipe: needs")):
        loader = C.LoaderPlan(source, C.Sampler(source, "sequential", 2, False, 0), recipe, end=1).open()
        with pytest.raises(ValueError, match=expected):
            loader.next()
    dense = sm.methods.MaskedAutoencoder(sm.nn.create("vit_tiny", 8, 32, 3, depth=1), sm.methods.Mae(decoder_dim=32, decoder_depth=1, decoder_heads=2))
    with pytest.raises(ValueError, match="recipe is missing"):
        sm.Trainer(dense, sm.Loader(slide_cohort, SMALL, batch_size=8)).fit()


@pytest.mark.parametrize("name", ["a.svs", "b.TIFF", "c.dcm"])
def test_slides_without_an_index_say_so(name, tmp_path):
    cohort = sm.Cohort.from_table(pd.DataFrame({"path": [name], "subject": ["a"]}))
    with pytest.raises(ValueError, match="slides must be indexed first"):
        sm.pretrain(cohort, out=tmp_path / "r")
