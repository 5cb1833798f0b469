"""Modalities of users: registered, recognized, read, encoded and scored without a change anywhere else."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import sslmed as sm
from sslmed.modalities import images, registry


@dataclass(frozen=True)
class ToyPreprocessing(sm.ImagePreprocessing):
    modality: ClassVar[str] = "toy"
    size: int = 32
    patch: int = 8


class Toy(sm.modalities.Modality):
    name = "toy"
    preprocessing = ToyPreprocessing
    rows, samples = "toys", "toys"
    files = (".toy",)
    baselines: ClassVar = {"brightness": sm.modalities.Baseline()}

    def columns(self, table):
        return ["path"]

    def source(self, rows, preprocessing, *, extra_channels=(), stride=0.0, random=False, targets=None):
        return images.source(rows, preprocessing, random=random, targets=targets)

    def features(self, cohorts, names, *, threads=2, on_error="raise"):
        return [{name: np.array([[np.asarray(Image.open(path)).mean()] for path in rows.table["path"]]) for name in names} for rows in cohorts]


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr(registry, "_MODALITIES", dict(registry._MODALITIES))
    return sm.modalities.register(Toy())


@pytest.fixture
def toys(toy, tmp_path):
    """Bright and dark files of twelve people."""
    rows = []
    for i in range(12):
        path = tmp_path / f"{i:02}.toy"
        Image.fromarray(np.full((40, 36, 3), 40 + 120 * (i % 2) + i, np.uint8)).save(path, "PNG")
        rows.append({"path": str(path), "subject": f"p{i}", "label": "dark" if i % 2 == 0 else "bright"})
    return sm.Cohort.from_table(pd.DataFrame(rows), name="toys")


def test_a_modality_of_a_user_goes_through_everything(toys, tmp_path):
    assert toys.modality == "toy"
    assert "12 toys of 12 subjects" in repr(toys)
    assert sm.Cohort.open(tmp_path).modality == "toy"
    run = sm.pretrain(toys, "mae", "vit_tiny", tmp_path / "run", depth=1, epochs=1, batch_size=4, progress=False, tensorboard=False)
    features, row = sm.encode(tmp_path / "run" / "encoder.safetensors", toys)
    assert torch.equal(features, sm.encode(run.encoder, toys)[0])
    assert row.tolist() == list(range(12))
    table = sm.transfer(run.encoder, toys, "label", cv=2, bootstrap=10).table
    assert list(table["row"].unique())[:2] == ["dummy", "brightness"]
    assert table.set_index(["row", "metric"])["value"]["brightness", "auroc"] == 1
    a, b = toys.query("label == 'dark'"), toys.query("label == 'bright'")
    report = sm.shift.report(a, b, run.encoder, by=[], bootstrap=10)
    assert "domain classifier: brightness" in set(report.table["row"])


def test_what_is_no_modality_is_refused(toy):
    with pytest.raises(TypeError, match="must be an instance"):
        sm.modalities.register(Toy)

    class Other(Toy):
        pass

    with pytest.raises(ValueError, match="name='toy' is taken"):
        sm.modalities.register(Other())
    with pytest.raises(ValueError, match="name='sound' is unknown, expected one of eeg"):
        registry.get("sound")
    with pytest.raises(ValueError, match="need no index"):
        sm.Cohort.from_table(pd.DataFrame({"path": ["a.toy"], "subject": ["a"]})).index()


def test_recognition_and_columns():
    def cohort(path, **columns):
        return sm.Cohort.from_table(pd.DataFrame({"path": [path], "subject": ["a"], **columns}))

    assert cohort("a.EDF").modality == "eeg"
    assert cohort("a.png").modality == "images"
    assert cohort("a.dat", modality="eeg").modality == "eeg"
    with pytest.raises(ValueError, match=r"a\.dat: no modality recognizes this file; add a column modality"):
        cohort("a.dat").modality  # noqa: B018
    with pytest.raises(ValueError, match="column 'modality' has the value 'T1w'"):
        cohort("a.dat", modality="T1w")


def test_a_cohort_of_several_modalities(tiny_site, slide_cohort, tmp_path):
    values = np.random.default_rng(0).normal(size=(2, 2, 800))
    arrays = sm.Cohort.from_arrays(values, 100, ["Cz", "Pz"], pd.DataFrame({"subject": ["x", "y"]}))
    both = tiny_site.joined(slide_cohort).joined(arrays, name="all")
    assert both.modalities == ("eeg", "slides")
    assert f"{len(both)} rows (eeg, slides)" in repr(both)
    with pytest.raises(ValueError, match=r"eeg and slides; take one with cohort\.part"):
        both.modality  # noqa: B018
    recordings, pictures = both.part("eeg"), both.part("slides")
    assert len(recordings) == len(tiny_site) + 2
    assert recordings.modality == "eeg"
    assert not recordings.in_memory
    eeg, small = sm.EegPreprocessing(sfreq=100, h_freq=45), sm.SlidePreprocessing(mpp=1.0, size=32, patch=8)
    encoder = sm.Encoder("vit_tiny", eeg, depth=1)
    features, row = sm.encode(encoder, recordings)
    alone = torch.cat([sm.encode(encoder, tiny_site)[0], sm.encode(encoder, arrays)[0]])
    assert torch.allclose(features, alone, atol=1e-5)
    assert row.max() == len(recordings) - 1
    assert len(pictures.source(small)) == len(slide_cohort.source(small))
    with pytest.raises(ValueError, match="preprocessing is for eeg, but the cohort has rows of slides"):
        both.source({"eeg": eeg})
    with pytest.raises(ValueError, match="part: modality='images', expected one of eeg, slides"):
        both.part("images")
    assert len(both.source({"eeg": eeg, "slides": small})) == len(recordings.source(eeg)) + len(pictures.source(small))
    both.table.to_parquet(tmp_path / "both.parquet")
    assert sm.Cohort.from_table(tmp_path / "both.parquet").modalities == ("eeg", "slides")


def test_folders_and_bids_are_told_apart(tiny_site, tmp_path):
    root = Path(tiny_site.table["path"][0]).parents[2]
    assert list(sm.Cohort.open(root).table["path"]) == list(tiny_site.table["path"])
    (tmp_path / "a").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a" / "p1-left.png")
    assert sm.Cohort.from_folder(tmp_path, subject=r"p\d+").table["subject"].tolist() == ["p1"]
    with pytest.raises(sm.FormatError, match="starts with"):
        sm.Cohort.from_folder(tmp_path, subject="q")
