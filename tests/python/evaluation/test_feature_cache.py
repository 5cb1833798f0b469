import numpy as np
import pandas as pd
import pytest
import torch
from weights import changed

import sslmed as sm
from sslmed.demo import eeg as demo
from sslmed.encoders import Encoder
from sslmed.evaluation import feature_cache as kept
from sslmed.evaluation import features

PRE = sm.EegPreprocessing(sfreq=100, window=4, patch=1, h_freq=45)


@pytest.fixture(autouse=True)
def nothing_kept():
    kept.forget()
    yield
    kept.forget()


@pytest.fixture
def asked(monkeypatch):
    """Names of the cohorts that were encoded."""
    names = []
    encode = features.encode

    def counted(encoder, cohort, **options):
        names.append(cohort.name)
        return encode(encoder, cohort, **options)

    monkeypatch.setattr(features, "encode", counted)
    return names


def arrays(n=12, seed=0, name="a"):
    values = np.random.default_rng(seed).normal(size=(n, 2, 800)).astype(np.float32)
    table = pd.DataFrame({"subject": [f"{name}{i}" for i in range(n)], "y": np.tile(["p", "q"], n // 2), "age": np.linspace(20, 80, n)})
    return sm.Cohort.from_arrays(values, 100, ["Cz", "O2"], table, name=name)


def test_a_study_encodes_each_cohort_once_an_encoder(asked):
    a, b, encoder = arrays(), arrays(seed=1, name="b"), changed(Encoder("vit_tiny", PRE, depth=1))
    few = {"baselines": ("random encoder", "permuted labels"), "repeats": 1, "permutations": 9}
    first = sm.transfer(encoder, a, "y", **few)
    assert asked == ["a", "a"]  # pretrained and random
    sm.transfer(encoder, a, "age", **few)
    sm.transfer(encoder, a, "y", "knn", **few)
    pd.testing.assert_frame_equal(sm.transfer(encoder, a, "y", **few).table, first.table)
    assert asked == ["a", "a"]
    sm.shift.report(a, b, encoder, by=["age"], target="age", bootstrap=20)
    assert asked == ["a", "a", "b", "b"]
    kept.forget()
    pd.testing.assert_frame_equal(sm.transfer(encoder, a, "y", **few).table, first.table)
    assert len(asked) == 6


def test_other_weights_options_rows_and_signals_are_encoded(asked):
    a, encoder = arrays(), Encoder("vit_tiny", PRE, depth=1)
    before = features.encoder_features(encoder, a)
    with torch.no_grad():
        encoder.state_dict()["norm.weight"].mul_(1.5)
    after = features.encoder_features(encoder, a)
    assert len(asked) == 2
    assert not np.array_equal(before, after)
    features.encoder_features(encoder, a, pooling="regions")
    features.encoder_features(encoder, a.subset([0, 1, 2]))
    features.encoder_features(encoder, a.subset([2, 1, 0]))
    features.encoder_features(Encoder("vit_tiny", PRE, depth=1, seed=1), a)
    features.encoder_features(encoder, a, on_error="skip")
    assert len(asked) == 7
    features.encoder_features(encoder, a.with_columns(age=0.0, site="elsewhere"))  # no more than labels
    assert len(asked) == 7
    a.arrays[3].signal[0, :400] += 1
    assert not np.array_equal(features.encoder_features(encoder, a)[3], after[3])
    assert len(asked) == 8


def test_whose_a_recording_is_counts_where_windows_are_aligned_by_subject(asked):
    aligned = sm.EegPreprocessing(sfreq=100, window=4, patch=1, h_freq=45, align="subject", average_reference=False)
    a, encoder = arrays(), Encoder("vit_tiny", aligned, depth=1)
    before = features.encoder_features(encoder, a)
    after = features.encoder_features(encoder, a.with_columns(subject=["one"] * 6 + ["two"] * 6))
    assert len(asked) == 2
    assert not np.allclose(before, after)


def test_a_file_that_changes_is_read_again(tmp_path, asked):
    cohort = demo.write_cohort(tmp_path / "a", demo.PUBLIC, 3, seconds=12)
    encoder = Encoder("vit_tiny", PRE, depth=1)
    before = features.encoder_features(encoder, cohort)
    assert np.array_equal(features.encoder_features(encoder, cohort), before)
    assert len(asked) == 1
    demo.write_cohort(tmp_path / "a", demo.PUBLIC, 3, seconds=12, seed=1)
    after = features.encoder_features(encoder, cohort)
    assert len(asked) == 2
    assert not np.array_equal(before, after)


def test_results_are_the_callers_own(asked):
    a, encoder = arrays(), Encoder("vit_tiny", PRE, depth=1)
    first = features.encoder_features(encoder, a)
    again = features.encoder_features(encoder, a)
    again += 1
    assert np.array_equal(features.encoder_features(encoder, a), first)
    assert len(asked) == 1


def test_no_more_is_kept_than_the_limit(asked, monkeypatch):
    encoder, cohorts = Encoder("vit_tiny", PRE, depth=1), [arrays(seed=i, name=f"c{i}") for i in range(3)]
    size = features.encoder_features(encoder, cohorts[0]).nbytes
    monkeypatch.setattr(kept, "LIMIT", 2 * size)
    features.encoder_features(encoder, cohorts[1])
    features.encoder_features(encoder, cohorts[0])  # used last
    features.encoder_features(encoder, cohorts[2])  # c1 goes
    features.encoder_features(encoder, cohorts[0])
    assert asked == ["c0", "c1", "c2"]
    features.encoder_features(encoder, cohorts[1])
    assert asked == ["c0", "c1", "c2", "c1"]
