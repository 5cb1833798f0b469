"""Cohorts of slides: the index, pictures drawn while training, and what learns from them."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import sslmed as sm
from sslmed import slides
from sslmed._core import C
from sslmed.demo_slides import CLINIC, PUBLIC, write_archive
from sslmed.transfer import SLIDE_BASELINES

SMALL = sm.SlidePreprocessing(mpp=1.0, size=32, patch=8)


def blob(side: int, seed: int = 0) -> torch.Tensor:
    """Pink tissue with grain on white glass: a disc in the upper left, and a bar."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:side, :side] / side
    inside = ((xx - 0.35) ** 2 + (yy - 0.35) ** 2 < 0.07) | ((yy > 0.8) & (yy < 0.92) & (xx > 0.1))
    rgb = np.full((side, side, 3), 243.0)
    rgb[inside] = (200, 120, 180)
    rgb += rng.normal(0, 12, (side, side, 1)) * inside[..., None]
    return torch.from_numpy(np.clip(rgb, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Six slides of three patients, two stains, two scales."""
    folder = tmp_path_factory.mktemp("slides")
    rows = []
    for i in range(6):
        mpp = 0.5 if i % 3 else 0.4
        path = folder / f"TCGA-AA-000{i // 2}-{i}.tif"
        sm.io.write_slide(path, blob(900, i), mpp, tile=128)
        rows.append({"path": str(path), "subject": f"p{i // 2}", "stain": "H&E" if i < 4 else "IHC", "site": f"s{i % 2}", "label": i % 2})
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def cohort(table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> sm.Cohort:
    found = slides.index(table, tmp_path_factory.mktemp("index") / "index.parquet", name="six")
    assert found is not None
    return found


def test_a_written_slide_reads_back_elsewhere_too(tmp_path: Path) -> None:
    openslide = pytest.importorskip("openslide")
    image = blob(700)
    sm.io.write_slide(tmp_path / "a.tif", image, 0.2425, quality=95)
    slide, theirs = sm.io.open_slide(tmp_path / "a.tif"), openslide.OpenSlide(str(tmp_path / "a.tif"))
    assert slide.level_dimensions == [(700, 700), (350, 350), (175, 175)] == list(theirs.level_dimensions)
    assert slide.mpp == pytest.approx((0.2425, 0.2425), rel=1e-4)
    assert all(slide.fast_levels)
    assert (slide.read(0, 0, 0, 700, 700).float() - image.float()).abs().mean() < 3
    with pytest.raises(ValueError, match="uint8"):
        sm.io.write_slide(tmp_path / "b.tif", image.float(), 0.5)
    with pytest.raises(ValueError, match="multiples of 16"):
        sm.io.write_slide(tmp_path / "b.tif", image, 0.5, tile=100)


def test_an_index_says_where_tissue_is(cohort: sm.Cohort, table: pd.DataFrame) -> None:
    assert cohort.modality == "slides"
    assert list(cohort.table["stain"]) == list(table["stain"])
    for _, row in cohort.table.iterrows():
        found = slides.tissue_of(row)
        assert found.area == pytest.approx(row["tissue_mm2"])
        # The disc and the bar, and what a median and closing at 8 µm and cells of 32 µm make of edges on so small a slide.
        expected = (np.pi * 0.07 + 0.12 * 0.9) * (900 * row["mpp_x"] / 1000) ** 2
        assert row["tissue_mm2"] == pytest.approx(expected, rel=0.3)
        whole = sm.tissue.find(sm.io.open_slide(row["path"]))
        assert row["tissue_mm2"] == pytest.approx(whole.area, rel=0.25)


def test_an_index_goes_on_where_it_ended_and_shards_add_up(table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []
    real = slides.describe

    def counting(path: str, *args: object, **kwargs: object) -> dict[str, object]:
        looked_at.append(str(path))
        return real(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(slides, "describe", counting)
    monkeypatch.setattr(slides, "_PART", 1)
    out = tmp_path / "index.parquet"
    broken = pd.concat([table, table.iloc[:1].assign(path=str(tmp_path / "no.tif"))])
    with pytest.raises((sm.ReadError, sm.FormatError), match=r"no\.tif"):
        slides.index(broken, out, threads=1)
    assert not out.exists()
    assert len(looked_at) == 7
    with pytest.warns(sm.FormatWarning, match=r"left out.*no\.tif"):
        found = slides.index(broken, out, on_error="skip")
    assert found is not None
    assert len(found) == 6
    assert len(looked_at) == 8  # the broken one alone was tried again
    assert not out.with_name("index.parquet.parts").exists()
    assert slides.index(table, out) is not None
    assert len(looked_at) == 8
    with pytest.raises(ValueError, match="those options"):
        slides.index(table, out, mpp=4.0)

    sharded = tmp_path / "sharded.parquet"
    assert slides.index(table, sharded, shard=(1, 2)) is None
    both = slides.index(table, sharded, shard=(0, 2))
    assert both is not None
    pd.testing.assert_frame_equal(both.table, found.table)
    with pytest.raises(ValueError, match="shard"):
        slides.index(table, sharded, shard=(2, 2))


def test_a_shard_that_ends_last_finds_all_done(table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "index.parquet"
    real = slides.describe

    def slow(path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if path == table["path"].iloc[-1]:  # of this shard the last: meanwhile somebody does everything
            monkeypatch.setattr(slides, "describe", real)
            assert slides.index(table, out) is not None
            assert not out.with_name("index.parquet.parts").exists()
        return real(path, *args, **kwargs)

    monkeypatch.setattr(slides, "describe", slow)
    found = slides.index(table, out, shard=(1, 2), threads=1)
    assert found is not None
    assert len(found) == 6
    assert not out.with_name("index.parquet.parts").exists()


def test_a_folder_names_its_patients(table: pd.DataFrame, tmp_path: Path) -> None:
    folder = Path(table["path"][0]).parent
    assert slides.are_slides(folder)
    found = slides.index(folder, tmp_path / "a.parquet")
    assert found is not None
    assert sorted(found.table["subject"].unique()) == ["TCGA-AA-0000", "TCGA-AA-0001", "TCGA-AA-0002"]
    with pytest.raises(sm.FormatError, match="starts with"):
        slides.index(folder, tmp_path / "b.parquet", subject="XX")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(sm.FormatError, match="found none"):
        slides.index(tmp_path / "nothing", tmp_path / "c.parquet")


def test_a_scale_may_come_from_the_table(table: pd.DataFrame, tmp_path: Path) -> None:
    found = slides.index(table.assign(mpp=[0.25, None, None, None, None, None]), tmp_path / "a.parquet")
    assert found is not None
    assert found.table["mpp_x"].tolist()[:2] == [0.25, pytest.approx(0.5)]
    assert "mpp" not in found.table


def test_pictures_are_what_the_slide_has_at_their_place(cohort: sm.Cohort) -> None:
    for jitter in (False, True):
        source = cohort.source(SMALL, jitter=jitter)
        recording = source.recording_of
        for i in range(0, len(source), max(1, len(source) // 20)):
            picture, (x, y), mpp = source.sample(i, seed=3)
            row = cohort.table.iloc[int(recording[i])]
            slide = sm.io.open_slide(row["path"])
            expected = slide.read_mpp(1000 * x / row["mpp_x"], 1000 * y / row["mpp_y"], 1.0, 32, 32)
            # A corner in mm is a pixel's fraction off after two divisions.
            assert (picture.int() - expected.int()).abs().max() <= 1
            assert mpp == pytest.approx(1.0)
            if not jitter:
                info = source.describe(i)
                assert (info.x * row["mpp_x"] / 1000, info.y * row["mpp_y"] / 1000) == pytest.approx((x, y), abs=0.001)


def test_random_pictures_are_even_over_the_tissue(cohort: sm.Cohort) -> None:
    one = cohort.subset([0])
    row = one.table.iloc[0]
    source = one.source(sm.SlidePreprocessing(mpp=1.0, size=8, patch=8), jitter=True)
    cells = slides.tissue_of(row)
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


def test_strata_come_equally_often(cohort: sm.Cohort) -> None:
    loader = sm.Loader(cohort, SMALL, batch_size=8, order="stain", jitter=True, epochs=2)
    slide = loader.source.recording_of
    stain = np.concatenate([cohort.table["stain"].to_numpy()[slide[batch.sample_ids].numpy()] for batch in loader])
    counts = pd.Series(stain).value_counts()
    assert abs(counts["H&E"] - counts["IHC"]) <= 1
    with pytest.raises(ValueError, match="column of the cohort"):
        sm.Loader(cohort, SMALL, order="colour")
    with pytest.raises(ValueError, match="has not"):
        sm.Loader(cohort.with_columns(half=[1, None, 1, 1, 1, 1]), SMALL, order="half")


def test_a_stream_of_pictures_is_one_for_any_threads_and_goes_on_anywhere(cohort: sm.Cohort) -> None:
    how = sm.Augmentation(area=(0.5, 1.0), hed=0.05, brightness=0.1, contrast=0.1, saturation=0.1, hue=0.02, grey=0.2, blur=0.5, solarise=0.2)

    def stream(threads: int, start: int = 0) -> list[torch.Tensor]:
        loader = sm.Loader(cohort, SMALL, batch_size=16, mask="random", jitter=True, augmentation=how, threads=threads, epochs=2, seed=5, start=start)
        return [torch.cat([b.patches[0].values.flatten(), b.patches[0].masked]) for b in loader]

    one, four = stream(1), stream(4)
    assert all(torch.equal(a, b) for a, b in zip(one, four, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(one[7:], stream(2, start=7), strict=True))
    assert not torch.equal(one[0], one[len(one) // 2])  # the second epoch is another


def test_so_many_slides_are_open_and_no_more(cohort: sm.Cohort) -> None:
    def held(most: int) -> set[str]:
        source = slides.source(cohort.table, "six", SMALL, open_slides=most)
        first = source.recording_of
        for r in range(6):
            source.sample(int((first == r).nonzero()[0]))
        links = [os.readlink(link.path) for link in os.scandir("/proc/self/fd") if os.path.exists(link.path)]
        return {link for link in links if link in set(cohort.table["path"])}

    assert held(64) == set(cohort.table["path"])
    assert held(2) == set(cohort.table["path"][4:])


def test_scales_are_even_in_their_logarithm(cohort: sm.Cohort) -> None:
    source = cohort.source(sm.SlidePreprocessing(mpp=0.5, mpp_high=2.0, size=8, patch=8), jitter=True)
    found = np.array([source.sample(i, seed=2)[2] for i in range(600)])
    assert found.min() >= 0.5
    assert found.max() <= 2.0
    assert stats.kstest(np.log(found / 0.5) / np.log(4), "uniform").pvalue > 1e-4
    assert cohort.source(sm.SlidePreprocessing(mpp=0.5, mpp_high=2.0, size=8, patch=8)).sample(0)[2] == pytest.approx(0.5)


def test_what_is_not_as_the_index_says_is_refused(cohort: sm.Cohort, tmp_path: Path) -> None:
    sm.io.write_slide(tmp_path / "other.tif", blob(500), 0.5)
    moved = sm.Cohort.from_table(cohort.table.assign(path=[str(tmp_path / "other.tif"), str(tmp_path / "gone.tif"), *cohort.table["path"][2:]]))
    source = moved.source(SMALL)
    with pytest.raises(sm.FormatError, match=r"other\.tif.*900 x 900.*500 x 500"):
        source.sample(0)
    with pytest.raises(sm.ReadError, match=r"gone\.tif"):
        source.sample(int((source.recording_of == 1).nonzero()[0]))
    loader = sm.Loader(moved, SMALL, batch_size=8, on_error="skip")
    assert sum(len(batch) for batch in loader) == int((source.recording_of > 1).sum())
    cut = cohort.table.copy()
    cut.at[0, "tissue"] = cut.at[0, "tissue"][:-1]
    with pytest.raises(sm.FormatError, match="TCGA-AA-0000-0"):
        sm.Cohort.from_table(cut).source(SMALL)
    with pytest.raises(ValueError, match="needs mpp_x; row 2"):
        sm.Cohort.from_table(cohort.table.assign(mpp_x=[1, 1, None, 1, 1, 1])).source(SMALL)
    with pytest.raises(ValueError, match="preprocessing of eeg for a cohort of slides"):
        cohort.source(sm.EegPreprocessing())
    with pytest.raises(ValueError, match=r"no such detail"):
        cohort.source(sm.SlidePreprocessing(mpp=0.1)).sample(0)


def test_resized_crops_are_torchvisions(rng: np.random.Generator) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    picture = torch.from_numpy(rng.integers(0, 256, (60, 90, 3), dtype=np.uint8))
    how = sm.Augmentation(area=(0.1, 0.9), aspect=(0.6, 1.5), flips=False, turns=False).options()
    seed = int(rng.integers(2**31))
    torch.manual_seed(seed)
    ours, theirs = [], []
    for i in range(1500):
        crop, (width, _, x, _, height, y) = C.augment(picture, how, 16, seed, i)
        ours.append((x, y, 16 * width, 16 * height))
        top, left, h, w = transforms.RandomResizedCrop.get_params(picture.permute(2, 0, 1), (0.1, 0.9), (0.6, 1.5))
        theirs.append((left, top, w, h))
        if i < 5:
            assert torch.equal(crop, sm.image.resize(picture, 16, 16, ours[-1]))
    for a, b in zip(np.array(ours).T, np.array(theirs).T, strict=True):
        assert stats.ks_2samp(a, b).pvalue > 1e-5


def test_augmentations_are_made_of_the_pieces(rng: np.random.Generator) -> None:
    picture = torch.from_numpy(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))

    def one(**options: object) -> torch.Tensor:
        return C.augment(picture, sm.Augmentation(flips=False, turns=False, **options).options(), 32, 1, int(rng.integers(2**31)))[0]  # type: ignore[arg-type]

    assert torch.equal(one(), picture)
    assert torch.equal(one(grey=1.0), sm.image.grey(picture))
    assert torch.equal(one(solarise=1.0), sm.image.solarise(picture))
    assert torch.equal(one(brightness=0.5, jitter=0.0), picture)
    assert torch.equal(one(blur=1.0, blur_sigma=(0.7, 0.7)), sm.image.blur(picture, 3, 0.7))
    turned = C.augment(picture, sm.Augmentation(flips=False, turns=True).options(), 32, 1, 7)[0]
    assert any(torch.equal(turned, sm.image.rotate(picture, k)) for k in range(4))
    with pytest.raises(ValueError, match="hue"):
        sm.Augmentation(hue=0.6).options()
    with pytest.raises(ValueError, match="no part of 64 x 64"):
        C.augment(picture, sm.Augmentation().options(), 64, 0, 0)


def test_bytes_are_seen_as_standardised_pictures(rng: np.random.Generator) -> None:
    encoder = sm.nn.Encoder("vit_tiny", SMALL, depth=2).double()
    picture = torch.from_numpy(rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8))
    patches = picture.view(2, 4, 8, 4, 8, 3).transpose(2, 3).reshape(32, 192)
    tokens, pooled, lengths = encoder.forward_tokens(patches, [16, 16])
    mean, std = torch.tensor(SMALL.mean, dtype=torch.float64), torch.tensor(SMALL.std, dtype=torch.float64)
    dense = ((picture.double() / 255 - mean) / std).permute(0, 3, 1, 2)
    assert lengths == [17, 17]
    torch.testing.assert_close(tokens.view(2, 17, -1), encoder.forward_features(dense), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(pooled, encoder.forward_features(dense)[:, 1:].mean(1), rtol=1e-10, atol=1e-10)


def test_several_views_come_from_one_picture(cohort: sm.Cohort) -> None:
    crops = [sm.View("global", 2, 64, sm.Augmentation(area=(0.4, 1.0))), sm.View("local", 3, 32, sm.Augmentation(area=(0.05, 0.4)))]
    preprocessing = sm.SlidePreprocessing(mpp=1.0, size=64, patch=8, region=96)
    loader = sm.Loader(cohort, preprocessing, batch_size=4, jitter=True, recipe=preprocessing.recipe(views=crops))
    batch = next(iter(loader))
    views = {view.role: view for view in batch.patches}
    assert views["global"].lengths == [64] * 8
    assert views["local"].lengths == [16] * 12
    assert sorted(views["local"].slots) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    # Crops of one picture lie within 96 µm of each other.
    for slot in range(4):
        places = torch.cat([v.coords.view(len(v.slots), -1, 4)[torch.tensor(v.slots) == slot][..., :2].reshape(-1, 2) for v in views.values()])
        assert (places.amax(0) - places.amin(0)).max() < 0.096
    with pytest.raises(TypeError, match="views have"):
        preprocessing.recipe(views=crops, augmentation=sm.Augmentation())


def test_the_commands_index_and_train(table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from sslmed.cli import main

    def run(*words: object) -> int:
        monkeypatch.setattr("sys.argv", ["sslmed", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0)

    table.to_csv(tmp_path / "slides.tsv", sep="\t", index=False)
    index = tmp_path / "index.parquet"
    assert run("index", tmp_path / "slides.tsv", "--out", index, "--shard", "0/2") == 0
    assert "not done yet" in capsys.readouterr().out
    assert run("index", tmp_path / "slides.tsv", "--out", index, "--shard", "1/2") == 0
    assert "6 slides of 3 subjects" in capsys.readouterr().out
    small = ("--encoder", "vit_tiny", "--depth", 1, "--epochs", 1, "--batch-size", 8, "--no-tensorboard", "--order", "stain")
    assert run("pretrain", index, "--out", tmp_path / "run", "--mpp", 1, "--size", 64, "--patch", 16, *small) == 0
    assert (tmp_path / "run" / "encoder.safetensors").exists()
    assert run("pretrain", index, "--out", tmp_path / "other", "--sfreq", 100, *small) == 2
    assert "--sfreq is not for a cohort of slides" in capsys.readouterr().err
    assert run("demo", "--modality", "slides", "--out", tmp_path / "demo", "--subjects", 6, 15, "--epochs", 1) == 0
    assert set(pd.read_csv(tmp_path / "demo" / "transfer.csv")["row"]) == {*SLIDE_BASELINES, "pretrained encoder"}
    assert "domain classifier: colour" in set(pd.read_csv(tmp_path / "demo" / "shift.csv")["row"])
    assert "SYNTHETIC" in (tmp_path / "demo" / "report.html").read_text()
    assert run("demo", "--modality", "sound", "--out", tmp_path / "no") == 2


@pytest.mark.parametrize("method", ["mae", "ijepa"])
def test_methods_learn_from_slides_and_go_on(cohort: sm.Cohort, tmp_path: Path, method: str) -> None:
    part = cohort.subset(range(6 if method == "mae" else 2))
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
        loaded = sm.nn.Encoder.load(tmp_path / "a" / "encoder.safetensors")
        assert loaded.preprocessing == preprocessing
        features, of = loaded.encode(cohort)
        assert features.shape == (len(of), 192)
        assert of.unique().tolist() == list(range(6))
        with pytest.raises(ValueError, match="regions of the head"):
            loaded.encode(cohort, pooling="regions")


def test_transfer_and_shift_of_slides(cohort: sm.Cohort) -> None:
    encoder = sm.nn.Encoder("vit_tiny", SMALL, depth=1)
    twice = sm.Cohort.from_table(pd.concat([cohort.table.assign(subject=[f"{k}{s}" for s in range(6)]) for k in "ab"], ignore_index=True), name="twelve")
    result = sm.transfer(encoder, twice, "label", folds=2, bootstrap=20)
    assert list(dict.fromkeys(result.table["row"])) == [*SLIDE_BASELINES, "pretrained encoder"]
    with pytest.raises(ValueError, match="unknown baseline band power; of slides"):
        sm.transfer(encoder, twice, "label", folds=2, baselines=["band power"])
    fitted = sm.finetune(encoder, twice, "label", sm.FineTuning(epochs=1, batch_size=8))
    with pytest.raises(ValueError, match="training and test"):
        fitted.predict(twice)
    probabilities = fitted.predict(cohort.with_columns(subject=[f"new{i}" for i in range(6)]))
    assert probabilities.shape == (6, 2)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)


def test_the_embedded_archives_are_as_they_were_made(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", sm.FormatWarning)
        public, clinic = write_archive(tmp_path / "a", PUBLIC, 3, millimetres=0.4), write_archive(tmp_path / "b", CLINIC, 3, millimetres=0.4)
    assert public.table["mpp_x"].tolist() == pytest.approx([0.5] * 6, rel=1e-4)
    assert clinic.table["mpp_x"].tolist() == pytest.approx([0.4] * 6, rel=1e-4)
    assert list(clinic.table["diagnosis"].unique()) == ["normal", "inflamed", "tumour"]
    assert set(clinic.table["stain"]) == {"H&E", "IHC"}
    assert (clinic.table["tissue_mm2"] > 0.01).all()
    slide = sm.io.open_slide(public.table["path"][0])
    assert "SYNTHETIC" in slide.properties["tiff.ImageDescription"]
    again = write_archive(tmp_path / "c", PUBLIC, 1, millimetres=0.4)
    assert Path(again.table["path"][0]).read_bytes() == Path(public.table["path"][0]).read_bytes()


def test_a_hundred_thousand_slides_open_at_once(cohort: sm.Cohort) -> None:
    many = sm.Cohort.from_table(pd.concat([cohort.table] * 1000, ignore_index=True))
    source = many.source(SMALL, jitter=True)
    sampler = C.Sampler(source, "shuffle", 16, True, 0)
    assert len(source) == pytest.approx(1000 * len(cohort.source(SMALL, jitter=True)))
    assert len(set(sampler.batch(5))) == 16
    assert source.sample(len(source) - 1)[0].shape == (32, 32, 3)


def test_mae_learns_from_a_real_slide(data_root: Path, tmp_path: Path) -> None:
    path = next(data_root.rglob("CMU-1-Small-Region.svs"))
    cohort = slides.index(pd.DataFrame({"path": [str(path)], "subject": ["CMU-1"]}), tmp_path / "index.parquet")
    assert cohort is not None
    run = sm.pretrain(
        cohort, "mae", "vit_tiny", tmp_path / "run", epochs=2, depth=2, batch_size=32, progress=False, tensorboard=False,
        preprocessing=sm.SlidePreprocessing(mpp=0.5, size=64, patch=8),
    )  # fmt: skip
    assert run.history["loss"].iloc[-5:].mean() < 0.8 * run.history["loss"].iloc[:5].mean()
