"""Several modalities at once: one cohort, one encoder, one batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import sslmed as sm

EEG = sm.EegPreprocessing(sfreq=100, window=4, patch=1)
PICTURES = sm.ImagePreprocessing(size=32, patch=8)
BOTH = {"eeg": EEG, "images": PICTURES}


@pytest.fixture(scope="module")
def signals() -> sm.Cohort:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"subject": list("abcdef"), "age": range(40, 46), "site": ["x", "y"] * 3})
    return sm.Cohort.from_arrays(rng.normal(size=(6, 3, 800)), 100, ["Cz", "Pz", "Oz"], table)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> sm.Cohort:
    rng, folder, rows = np.random.default_rng(1), tmp_path_factory.mktemp("pictures"), []
    for i in range(6):
        path = folder / f"{i}.png"
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(path)
        rows.append({"path": str(path), "subject": f"p{i}", "age": 50 + i, "site": "z"})
    return sm.Cohort.from_table(pd.DataFrame(rows))


@pytest.fixture(scope="module")
def mixed(signals: sm.Cohort, pictures: sm.Cohort) -> sm.Cohort:
    return signals.joined(pictures)


def model(preprocessing: object = BOTH) -> sm.Encoder:
    return sm.Encoder("vit_tiny", preprocessing, depth=2, seed=3)  # type: ignore[arg-type]


def test_one_batch_of_both_equals_two_forwards(mixed: sm.Cohort) -> None:
    encoder = model().double()
    batch = next(iter(sm.Loader(mixed, BOTH, batch_size=18, order="sequential")))
    assert sorted(view.modality for view in batch.views) == ["eeg", "images"]
    assert sum(len(view.lengths) for view in batch.views) == 18
    encoder.float()
    together = encoder.forward_views(batch.views)
    row, first = 0, 0
    for view in batch.views:
        alone = encoder.forward_views([view])
        assert torch.allclose(together.tokens[row : row + len(alone.tokens)], alone.tokens, rtol=0, atol=1e-5)
        assert torch.allclose(together.pooled[first : first + len(alone.pooled)], alone.pooled, rtol=0, atol=1e-5)
        row, first = row + len(alone.tokens), first + len(alone.pooled)
    assert row == len(together.tokens)


def test_a_second_modality_leaves_the_first_ones_features_bit_equal(signals: sm.Cohort, pictures: sm.Cohort) -> None:
    both = model()
    assert torch.equal(sm.encode(model(EEG), signals)[0], sm.encode(both, signals)[0])
    # The blocks are shared: with the same weights of its own embedding, every feature is the same.
    for cohort, own in ((signals, EEG), (pictures, PICTURES)):
        twin = model(own)
        state = both.state_dict()
        mine = {name.removeprefix("embeddings.images."): value for name, value in state.items() if name.startswith("embeddings.images.")}
        shared = {name: value for name, value in state.items() if not name.startswith("embeddings.")}
        twin.load_state_dict(shared if cohort is signals else shared | mine, strict=False)
        assert torch.equal(sm.encode(twin, cohort)[0], sm.encode(both, cohort)[0])


def test_the_heads_of_a_modality_do_not_depend_on_the_others() -> None:
    slides = sm.SlidePreprocessing(size=32, patch=8)
    weights = [
        dict(sm.methods.MaskedAutoencoder(model(which), sm.methods.Mae(decoder_depth=1)).named_parameters())["decoder.embeddings.images.pred.weight"]
        for which in (BOTH, {"eeg": EEG, "slides": slides, "images": PICTURES})
    ]
    assert torch.equal(*weights)


def test_samples_keep_the_rows_of_the_cohort(mixed: sm.Cohort, signals: sm.Cohort, pictures: sm.Cohort) -> None:
    encoder = model()
    features, row = sm.encode(encoder, mixed)
    assert row.tolist() == [i for i in range(6) for _ in range(2)] + list(range(6, 12))
    parts = torch.cat([sm.encode(encoder, part)[0] for part in (signals, pictures)])
    assert torch.allclose(features, parts, rtol=0, atol=1e-5)
    # In any order of the rows.
    order = np.random.default_rng(2).permutation(12)
    turned, row = sm.encode(encoder, mixed.subset(order))
    means = [turned[row == i].mean(0) for i in range(12)]
    for place, i in enumerate(order):
        mine = features[2 * i : 2 * i + 2].mean(0) if i < 6 else features[i + 6]
        assert torch.allclose(means[place], mine, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", [sm.methods.Mae(decoder_depth=1), sm.methods.IJepa(predictor_depth=1, predictor_dim=64)])
def test_a_mixed_cohort_trains_and_is_evaluated(mixed: sm.Cohort, tmp_path: Path, method: sm.methods.Method) -> None:
    run = sm.pretrain(mixed, method, model(), tmp_path / "run", epochs=4, batch_size=9, progress=False)
    assert np.isfinite(run.history["loss"]).all()
    again = sm.Encoder.load(tmp_path / "run" / "encoder.safetensors")
    assert isinstance(again.preprocessing, sm.modalities.JoinedPreprocessing)
    assert torch.equal(sm.encode(again, mixed)[0], sm.encode(run.encoder, mixed)[0])
    with pytest.raises(ValueError, match="of modality 'eeg', but the cohort is of 'eeg and images'"):
        sm.encode(model(EEG), mixed)


def test_an_encoder_by_name_is_made_for_all_modalities_of_a_cohort(mixed: sm.Cohort) -> None:
    encoder = sm.encoders.resolve("vit_tiny", mixed, depth=1)
    assert encoder.preprocessing.modality == "eeg and images"
    assert sm.encode(encoder, mixed.subset([0, 6]))[0].shape == (3, 192)


def test_a_joined_preprocessing_says_what_is_wrong_with_it() -> None:
    with pytest.raises(ValueError, match=r"preprocessing\['images'\] is of modality 'eeg'"):
        sm.Encoder("vit_tiny", {"images": EEG})
    with pytest.raises(ValueError, match="parts must be of two or more different modalities"):
        sm.modalities.JoinedPreprocessing((EEG, EEG))
