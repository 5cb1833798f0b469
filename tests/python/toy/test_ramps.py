"""A modality of one's own, from the registry to the report: nothing above it knows that it is there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from ramps import RampPreprocessing, ramps

import sslmed as sm
from sslmed._core import C
from sslmed.modalities import registry

DENSE = RampPreprocessing(patch=None)


def test_a_table_of_ramps_is_recognized() -> None:
    cohort = ramps(4, 0)
    assert cohort.modality == "ramps"
    assert len(cohort.source(RampPreprocessing())) == 4


def test_masked_patches_of_rank_3_train_an_encoder(tmp_path: Path) -> None:
    run = sm.pretrain(ramps(16, 1), "mae", "vit_tiny", tmp_path / "run", epochs=12, batch_size=8, lr=3e-3, depth=1, decoder_depth=1, progress=False)
    assert isinstance(run.encoder.preprocessing, RampPreprocessing)
    losses = run.history["loss"].to_numpy()
    assert losses[-4:].mean() < 0.9 * losses[:4].mean()
    again = sm.Encoder.load(tmp_path / "run" / "encoder.safetensors")
    assert again.preprocessing == run.encoder.preprocessing
    view = next(iter(sm.Loader(ramps(2, 2), batch_size=2, order="sequential", mask="random", ratio=0.5))).views[0]
    assert (view.lengths, view.masked_lengths, view.patch) == ([27, 27], [14, 14], [4, 4, 4])
    assert view.extents.tolist() == [[3, 3, 3]] * 2


def test_patches_are_the_array_in_row_major_order() -> None:
    cohort = ramps(1, 3, shape=(12, 12, 12))
    view = next(iter(sm.Loader(cohort, batch_size=1))).views[0]
    expected = cohort.arrays[0].reshape(3, 4, 3, 4, 3, 4).permute(0, 2, 4, 1, 3, 5).reshape(27, 64)  # type: ignore[index]
    assert torch.equal(view.values, expected)
    cell = view.grid.double()
    assert torch.equal(view.coords[:, :3].double(), 4 * cell.flip(1) + 2)  # x, y, z of middles in mm


@pytest.mark.parametrize("preprocessing", [RampPreprocessing(), DENSE])
def test_a_label_map_follows_every_flip_and_crop(preprocessing: RampPreprocessing) -> None:
    cohort = ramps(6, 4)
    loader = sm.Loader(cohort, preprocessing, batch_size=6, epochs=40, augmentation=0.5, random=True, seed=5)
    places: set[tuple[float, ...]] = set()
    for batch in loader:
        (view,) = batch.views
        for i, values in enumerate(cells_of(view)):
            assert torch.equal(view.targets["above"][i], (values > 0).to(torch.int32))
            places.add((float(values[0, 0, 0]), float(values[-1, -1, -1])))
    # Six volumes, 3 · 2 · 4 places of the crop and 8 flips: 240 draws must have found many of them.
    assert len(places) > 150


def cells_of(view: C.ViewBatch) -> list[torch.Tensor]:
    """The cropped volume of each sample."""
    if view.is_dense:
        return [values[0] for values in view.values]
    return [part.reshape(3, 3, 3, 4, 4, 4).permute(0, 3, 1, 4, 2, 5).reshape(12, 12, 12) for part in view.values.split(view.lengths)]


def test_a_convolutional_encoder_trains_on_dense_views(tmp_path: Path) -> None:
    train, other = ramps(24, 6), ramps(12, 7, site="b")
    encoder = sm.ConvEncoder(DENSE, (8, 16))
    tuned = sm.finetune(encoder, train, "diagnosis", sm.FineTuning(epochs=12, batch_size=8, lr=3e-3))
    assert tuned.score(other, batch_size=12) > 0.9
    encoder.save(tmp_path / "conv.safetensors")
    again = sm.encoders.resolve(tmp_path / "conv.safetensors", other)
    assert isinstance(again, sm.ConvEncoder)
    mine, theirs = (sm.encode(e, other)[0] for e in (encoder, again))
    assert torch.equal(mine, theirs)
    with pytest.raises(ValueError, match="gives patches"):
        sm.ConvEncoder(RampPreprocessing())


class Conv3d(sm.PythonEncoder):
    """torch's own convolutions, on dense views."""

    def __init__(self) -> None:
        super().__init__(8, DENSE)
        self.layers = torch.nn.Sequential(torch.nn.Conv3d(1, 8, 3, 2, 1), torch.nn.ReLU(), torch.nn.Conv3d(8, 8, 3, 2, 1))

    def encode_dense(self, values: torch.Tensor) -> torch.Tensor:
        return self.layers(values)


class Above(sm.PythonObjective):
    """Which cells are above zero: an objective on dense views with their label maps."""

    def __init__(self, encoder: Conv3d, **options: Any) -> None:
        super().__init__(encoder, **options)
        self.up = torch.nn.ConvTranspose3d(8, 1, 4, 4)

    def loss(self, batch: C.Batch, step: C.Step) -> torch.Tensor:
        (view,) = batch.views
        logits = self.up(self.encoder.encode_dense(view.values))[:, 0]
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.stack(list(view.targets["above"])).to(logits.dtype))


def test_an_encoder_in_python_trains_on_dense_views_and_label_maps() -> None:
    torch.manual_seed(0)
    objective = Above(Conv3d(), augmentation=0.5)
    trainer = sm.Trainer(objective, sm.Loader(ramps(16, 8), DENSE, batch_size=8, epochs=1), epochs=30, lr=1e-2)
    losses: list[float] = []
    trainer.fit(lambda rows: losses.extend(row["loss"] for row in rows))
    assert losses[-1] < 0.6 * losses[0]
    features, row = sm.encode(objective.encoder, ramps(3, 9))
    assert (features.shape, row.tolist()) == ((3, 8), [0, 1, 2])


def test_an_encoder_of_the_other_kind_says_what_it_lacks() -> None:
    class Tokens(sm.PythonEncoder):
        def __init__(self) -> None:
            super().__init__(8, DENSE)
            self.layer = torch.nn.Linear(64, 8)

        def encode_tokens(self, values: Any, lengths: Any, coords: Any, extra: Any) -> torch.Tensor:
            return self.layer(values)

    with pytest.raises(TypeError, match="defines no encode_dense"):
        sm.encode(Tokens(), ramps(2, 0))


@pytest.mark.parametrize("make", [lambda: sm.ConvEncoder(DENSE, (8, 16)), lambda: Dropping()])
def test_features_do_not_depend_on_the_batch_and_encoding_changes_nothing(make: Any) -> None:
    encoder, cohort = make(), ramps(12, 13)
    assert encoder.training
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    one, other = (sm.encode(encoder, cohort, batch_size=n)[0] for n in (12, 5))
    assert torch.allclose(one, other, rtol=0, atol=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert encoder.training


class Dropping(Conv3d):
    def __init__(self) -> None:
        super().__init__()
        self.layers.append(torch.nn.Dropout(0.5))


def test_a_frozen_encoder_keeps_its_statistics(tmp_path: Path) -> None:
    encoder, cohort = sm.ConvEncoder(DENSE, (8, 16)), ramps(16, 14)
    warm = sm.finetune(encoder, cohort, "diagnosis", sm.FineTuning(epochs=2, batch_size=8)).encoder
    frozen = sm.finetune(warm, cohort, "diagnosis", sm.FineTuning(epochs=2, batch_size=8, tuned="nothing"))
    assert all(torch.equal(value, warm.state_dict()[name]) for name, value in frozen.encoder.state_dict().items())
    frozen.save(tmp_path / "frozen.safetensors")
    again, other = sm.FineTuned.load(tmp_path / "frozen.safetensors"), ramps(6, 15, site="c")
    assert np.array_equal(again.predict_proba(other), frozen.predict_proba(other))


def test_a_trainer_refuses_what_its_loader_asks_for_in_vain() -> None:
    encoder, cohort = sm.Encoder("vit_tiny", RampPreprocessing(), depth=1), ramps(4, 16)
    objective = sm.methods.MaskedAutoencoder(encoder, sm.methods.Mae(decoder_depth=1))
    for wrong in ({"mask": "time"}, {"ratio": 0.9}, {"complementary": True, "mask": "random"}, {"augmentation": 0.9}):
        with pytest.raises(ValueError, match=r"recipe of the loader \(or its mask"):
            sm.Trainer(objective, sm.Loader(cohort, encoder.preprocessing, batch_size=2, **wrong))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="preprocessing of the loader"):
        sm.Trainer(objective, sm.Loader(cohort, RampPreprocessing(size=8), batch_size=2))


@pytest.mark.parametrize("make", [lambda: sm.Encoder("vit_tiny", RampPreprocessing(), depth=1), lambda: sm.ConvEncoder(DENSE, (8, 16))])
def test_transfer_and_shift_run_on_it(make: Any) -> None:
    public, clinic, encoder = ramps(20, 10), ramps(20, 11, site="b", gain=1.3), make()
    result = sm.transfer(encoder, clinic, "diagnosis", repeats=2, permutations=19)
    assert {"moments", "random encoder"} <= set(result.table["row"])
    assert np.isfinite(result.table["value"]).all()
    report = sm.shift.report(public, clinic, encoder, ["age", "sex"], bootstrap=50)
    assert len(report.table)


def test_the_example_of_the_docs_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[3] / "docs" / "adding.md").read_text()
    code = re.search(r"```python\n(from sslmed._core import C.*?)```", page, re.DOTALL)[1]  # type: ignore[index]
    monkeypatch.setattr(registry, "_MODALITIES", {name: registry.get(name) for name in registry.names() if name != "ramps"})
    mine = ramps(3, 12)
    names: dict[str, Any] = {"sm": sm, "dataclass": dataclass, "ClassVar": ClassVar, "arrays": mine.arrays, "table": mine.table.drop(columns="modality")}
    exec(code, names)
    features, row = sm.encode("vit_tiny", names["cohort"])
    assert (features.shape, row.tolist()) == ((3, 192), [0, 1, 2])
