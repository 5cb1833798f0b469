"""Stores of features: what is written is read, bags of several slides, and files of TRIDENT and CLAM."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import sslmed as sm
from sslmed._core import C
from sslmed.bags import Bags, read_h5, write_h5
from sslmed.bags.fitting import loader_of


def filled(folder, n=7, name="a", width=6, seed=0, **how):
    store, draw = sm.FeatureStore(folder), torch.Generator().manual_seed(seed)
    features = torch.randn(n, width, generator=draw)
    cells = torch.randperm(20, generator=draw)[:n].sort().values
    coords = torch.stack([cells % 5, cells // 5], 1) * 512 + 100
    store.write(name, features, coords, **{"mpp": 0.25, "tile": 512} | how)
    return store, features, coords


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_what_is_written_is_read(tmp_path, dtype):
    store, features, coords = filled(tmp_path / "new", dtype=dtype, step=448, encoder="e1", size=(3000, 4000))
    found = store.read("a")
    assert torch.equal(found.features, features.to(getattr(torch, dtype)))
    assert torch.equal(found.coords, coords)
    assert (found.mpp, found.tile, found.step, found.encoder, found.size) == (0.25, 512, 448, "e1", (3000, 4000))
    assert torch.allclose(found.mm, (coords.double() + 256) * 0.00025)
    assert store.names() == ["a"]
    assert "a" in store
    assert "b" not in store


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"features": torch.ones(3)}, r"features of 'x' must be \[N, D\] floating point"),
        ({"features": torch.full((3, 2), 1e6)}, "not finite as float16"),
        ({"features": torch.tensor([[np.nan, 1.0]] * 3)}, "must be finite"),
        ({"coords": torch.zeros(2, 2)}, r"coords of 'x' must be \[3, 2\]"),
        ({"coords": torch.full((3, 2), 0.5)}, "whole pixels"),
        ({"mpp": 0}, "mpp=0 must be a number above 0"),
        ({"step": -1}, "step=-1 must be"),
        ({"dtype": "bf16"}, "dtype='bf16' must be one of"),
        ({"name": "a/b"}, "name='a/b' must be a text without slashes"),
    ],
)
def test_refuses_what_is_wrong(tmp_path, given, text):
    how = {"name": "x", "features": torch.ones(3, 2), "coords": torch.zeros(3, 2), "mpp": 0.5, "tile": 256} | given
    with pytest.raises(ValueError, match=text):
        sm.FeatureStore(tmp_path).write(how.pop("name"), how.pop("features"), how.pop("coords"), **how)
    assert not list(tmp_path.iterdir())


def test_other_files_are_refused_by_name(tmp_path):
    store = sm.FeatureStore(tmp_path)
    with pytest.raises(KeyError, match="has no features of 'a'"):
        store.read("a")
    sm.io.save_safetensors({"features": torch.ones(2, 2)}, tmp_path / "a.safetensors", {"format": "other"})
    with pytest.raises(sm.FormatError, match="expected features of a slide"):
        store.read("a")
    (tmp_path / "a.safetensors").write_bytes(b"12345678")
    with pytest.raises(sm.FormatError, match=r"a\.safetensors"):
        store.read("a")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_bag_is_its_slides_one_below_the_other(tmp_path, dtype):
    store, a, at_a = filled(tmp_path, dtype=dtype)
    _, b, at_b = filled(tmp_path, 9, "b", seed=1, dtype=dtype)
    batch = loader_of(Bags(store, [["a", "b"], ["b"]], ["p", "q"], {"target": [1.0, 0.0]}), batch_size=2).next()
    (view,) = batch.views
    assert (view.role, view.lengths, view.slots) == ("bag", [9, 16], [1, 0])
    values = view.values.view(torch.float16) if dtype == "float16" else view.values
    assert torch.equal(values, torch.cat([b, a, b]).to(values.dtype))
    cells = [(at - at.min(0).values) // 512 for at in (at_a, at_b)]
    below = cells[1] + torch.tensor([0, int(cells[0][:, 1].max()) + 4])  # three empty rows between two slides
    assert torch.equal(view.grid[9:].flip(1), torch.cat([cells[0], below]).int())
    assert view.extents[1].tolist() == [int(below[:, 1].max()) + 1, int(torch.cat([cells[0], below])[:, 0].max()) + 1]
    mm = (torch.cat([cells[0], below]).double() * 512 + 256) * 0.25 / 1000
    assert torch.allclose(view.coords[9:, :2].double(), mm, atol=1e-5)
    assert batch.targets["target"].tolist() == [1.0, 0.0]


def test_rows_that_are_left_out_change_with_the_epoch_and_not_with_the_threads(tmp_path):
    store, features, _ = filled(tmp_path, 15, dtype="float32")
    source = Bags(store, [["a"]], ["p"]).source(max_rows=6)

    def epochs(threads):
        sampler = C.Sampler(source, "shuffle", 1, True, 3, None)
        loader = C.LoaderPlan(source, sampler, C.BagRecipe(), threads=threads, end=4).open()
        return [loader.next().views[0].values for _ in range(4)]

    one = epochs(1)
    assert all(torch.equal(x, y) for x, y in zip(one, epochs(3), strict=True))
    rows = [[int((features == row).all(1).nonzero()) for row in x] for x in one]
    assert all(len(r) == 6 and r == sorted(r) for r in rows)
    assert len({tuple(r) for r in rows}) > 1


def test_a_source_names_the_file_that_does_not_fit(tmp_path):
    store, _, _ = filled(tmp_path)
    filled(tmp_path, name="wide", width=7)
    filled(tmp_path, name="full", dtype="float32")
    filled(tmp_path, name="sparse", step=1e-5)
    for names, text in ((["a", "wide"], r"wide.*expected F16 features of width 6"), (["a", "full"], "full.*found F32"), (["sparse"], "a grid of")):
        with pytest.raises(sm.FormatError, match=text):
            loader_of(Bags(store, [names], ["p"]), batch_size=1).next()
    with pytest.raises(sm.ReadError, match="gone"):
        loader_of(Bags(store, [["gone"]], ["p"]), batch_size=1).next()
    with pytest.raises(ValueError, match="has no files"):
        Bags(store, [[]], ["p"]).source()
    store.write("none", torch.ones(0, 6), torch.ones(0, 2), mpp=0.25, tile=512)
    with pytest.raises(sm.FormatError, match="none; leave the slide out"):
        loader_of(Bags(store, [["none"]], ["p"]), batch_size=1).next()


def test_tridents_layout_goes_out_and_in(tmp_path):
    h5py = pytest.importorskip("h5py")
    store, features, coords = filled(tmp_path, step=448, encoder="uni", size=(3000, 4000), dtype="float32")
    store.export_h5("a", tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        assert np.array_equal(file["features"][:], features.numpy())
        assert file["coords"].dtype == np.int64
        assert np.array_equal(file["coords"][:], coords.numpy())
        said = dict(file["coords"].attrs)
    assert {k: said[k] for k in ("patch_size", "patch_size_level0", "level0_magnification", "overlap", "level0_width", "name")} == {
        "patch_size": 512, "patch_size_level0": 512, "level0_magnification": 40, "overlap": 64, "level0_width": 3000, "name": "a",
    }  # fmt: skip
    store.import_h5(tmp_path / "a.h5", "back", dtype="float32")
    back, first = store.read("back"), store.read("a")
    assert torch.equal(back.features, first.features)
    assert torch.equal(back.coords, first.coords)
    assert (back.mpp, back.tile, back.step, back.size, back.encoder) == (first.mpp, first.tile, first.step, first.size, "uni")


def test_files_of_trident_and_clam_are_read_at_the_scale_that_is_given(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["features"] = np.ones((3, 4), np.float32)
        file["coords"] = np.zeros((3, 2), np.int64)
        file["coords"].attrs.update({"patch_size": 256, "patch_size_level0": 512, "overlap": 32, "target_magnification": 20})
    with pytest.raises(ValueError, match="does not say its µm per pixel; give mpp"):
        read_h5(tmp_path / "t.h5")
    found = read_h5(tmp_path / "t.h5", mpp=0.2297)
    assert (found.tile, found.step, found.mpp) == (512, 448, 0.2297)
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["features"] = np.ones((3, 4), np.float32)
        file["coords"] = np.zeros((3, 2), np.int32)
        file["coords"].attrs.update({"patch_size": 256, "patch_level": 0})
    assert read_h5(tmp_path / "c.h5", mpp=0.5).tile == 256
    with h5py.File(tmp_path / "c.h5", "a") as file:
        file["coords"].attrs["patch_level"] = 1
    with pytest.raises(sm.FormatError, match="expected the attribute 'patch_size_level0'"):
        read_h5(tmp_path / "c.h5", mpp=0.5)
    with h5py.File(tmp_path / "n.h5", "w") as file:
        file["coords"] = np.zeros((3, 2), np.int32)
    with pytest.raises(sm.FormatError, match="found no 'features'"):
        read_h5(tmp_path / "n.h5")
    (tmp_path / "x.h5").write_bytes(b"no")
    with pytest.raises(sm.FormatError, match="expected an HDF5 file"):
        read_h5(tmp_path / "x.h5")
    write_h5(sm.bags.SlideFeatures(torch.ones(0, 4), torch.zeros(0, 2, dtype=torch.int64), 0.5, 256, 256), tmp_path / "e.h5")
    assert read_h5(tmp_path / "e.h5").coords.shape == (0, 2)


def test_slides_are_stored_once(tmp_path, slide_table):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sm.SslmedWarning)
        cohort = sm.Cohort.from_table(slide_table).index(tmp_path / "i.parquet")
    encoder = sm.Encoder("vit_tiny", sm.SlidePreprocessing(mpp=0.5, size=64, patch=16), depth=1, seed=1)
    first: list[str] = []
    store = sm.store_features(encoder, cohort.subset([0, 1]), tmp_path / "f", progress=first.append)
    stamp = store.path(store.names()[0]).stat().st_mtime_ns
    more: list[str] = []
    store = sm.store_features(encoder, cohort, tmp_path / "f", dtype="float32", progress=more.append)
    assert (len(first), len(more), len(store)) == (2, 4, 6)
    assert store.path(store.names()[0]).stat().st_mtime_ns == stamp
    name = store.names()[4]
    row = [i for i in range(6) if name in cohort.table["path"][i]]
    values, places = sm.training.encode_samples(encoder, cohort.subset(row))
    found = store.read(name)
    assert torch.equal(found.features, values)
    assert np.abs(found.coords.numpy() - places[["x", "y"]].to_numpy()).max() <= 0.5
    assert found.tile * found.mpp == pytest.approx(64 * 0.5)
    with pytest.raises(ValueError, match=r"holds features of .* by another encoder"):
        sm.store_features(encoder.randomized(), cohort, tmp_path / "f")
    twice = sm.Cohort(pd.concat([cohort.table, cohort.table.iloc[:1]], ignore_index=True), "twice")
    with pytest.raises(ValueError, match="two slides have the name"):
        sm.store_features(encoder, twice, tmp_path / "g")
