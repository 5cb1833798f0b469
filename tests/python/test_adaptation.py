"""Matching, distances and alignment against brute force and definitions."""

import itertools

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from scipy.linalg import sqrtm

import sslmed as sm
from sslmed import adaptation
from sslmed.shift import distance, matching
from sslmed.transfer import evaluate


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def cohort(name, ages, sexes):
    table = pd.DataFrame({"subject": [f"{name}{i}" for i in range(len(ages))], "age": ages, "sex": sexes})
    return sm.Cohort.from_arrays([np.zeros((2, 500))] * len(ages), 100, ["Cz", "Pz"], table, name=name)


def test_matching_equals_brute_force(rng):
    for _ in range(15):
        a = cohort("a", rng.uniform(20, 40, 4).round(1), rng.choice(["F", "M"], 4))
        b = cohort("b", rng.uniform(20, 40, 6).round(1), rng.choice(["F", "M"], 6))
        x, y = a.subjects, b.subjects
        best = (0, 0.0)
        for order in itertools.permutations(range(6), 4):
            cost = [abs(x["age"][i] - y["age"][j]) / 3 for i, j in enumerate(order) if x["sex"][i] == y["sex"][j] and abs(x["age"][i] - y["age"][j]) <= 3]
            best = max(best, (len(cost), -sum(cost)))
        if best[0] == 0:
            with pytest.raises(ValueError, match="no two subjects"):
                matching.match(a, b, {"age": 3.0, "sex": None})
            continue
        result = matching.match(a, b, {"age": 3.0, "sex": None})
        assert len(result.pairs) == best[0]
        assert result.pairs["distance"].sum() == pytest.approx(-best[1])
        assert len(result.a) == len(result.b) == best[0]


def test_balance_before_and_after(rng):
    a = cohort("a", rng.normal(35, 8, 60), rng.choice(["F", "M"], 60, p=[0.3, 0.7]))
    b = cohort("b", rng.normal(50, 10, 80), rng.choice(["F", "M"], 80, p=[0.7, 0.3]))
    table = sm.shift.match(a, b, {"age": 2.0, "sex": None}).balance.set_index("column")
    x, y = a.subjects["age"], b.subjects["age"]
    assert table.loc["age", "before"] == pytest.approx((y.mean() - x.mean()) / np.sqrt((x.var() + y.var()) / 2))
    assert abs(table.loc["age", "after"]) < 0.2 < table.loc["age", "before"]
    assert table.loc["sex", "after"] == 0
    for on in ({}, {"nothing": None}, {"age": -1.0}, {"sex": 2.0}):
        with pytest.raises(ValueError):
            sm.shift.match(a, b, on)


def test_distances_equal_their_definitions(rng):
    x, y = rng.normal(size=(30, 4)), rng.normal(0.5, 2, size=(40, 4))

    def kernel(u, v):
        return np.mean([[np.exp(-0.3 * ((p - q) ** 2).sum()) for q in v] for p in u])

    assert distance.mmd(x, y, 0.3) == pytest.approx(kernel(x, x) + kernel(y, y) - 2 * kernel(x, y))
    assert distance.mmd(x, x) == pytest.approx(0, abs=1e-12)
    a, b = np.cov(x.T), np.cov(y.T)
    assert distance.coral_distance(x, y) == pytest.approx(((a - b) ** 2).sum() / 64)
    frechet = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b - 2 * np.real(sqrtm(a @ b)))
    assert distance.frechet_distance(x, y) == pytest.approx(frechet)
    assert distance.frechet_distance(x, x) == pytest.approx(0, abs=1e-10)
    for bad in ((x, y[:, :3]), (x[:1], y), (x * np.nan, y)):
        with pytest.raises(ValueError):
            distance.mmd(*bad)


def test_coral_gives_the_target_covariance(rng):
    x, y = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 5)), rng.normal(2, 1, size=(200, 5)) @ rng.normal(size=(5, 5))
    z = adaptation.coral(x, y, regularisation=1e-12)
    assert np.allclose(np.cov(z.T), np.cov(y.T), atol=1e-8)
    assert np.allclose(z.mean(0), y.mean(0))
    # With the paper's regularisation, by the paper's formula.
    a, b = np.cov(x.T) + np.eye(5), np.cov(y.T) + np.eye(5)
    expected = (x - x.mean(0)) @ np.linalg.inv(np.real(sqrtm(a))) @ np.real(sqrtm(b)) + y.mean(0)
    assert np.allclose(adaptation.coral(x, y), expected)


def test_euclidean_alignment_makes_the_mean_covariance_the_identity(rng):
    windows, groups = rng.normal(size=(12, 6, 400)), np.repeat(["a", "b", "c"], 4)
    for i, mix in enumerate(rng.normal(size=(3, 6, 6))):
        windows[4 * i : 4 * i + 4] = mix @ windows[4 * i : 4 * i + 4]
    aligned = adaptation.euclidean_alignment(windows, groups)
    for group in "abc":
        own = aligned[groups == group]
        assert np.abs(np.einsum("nct,ndt->cd", own, own) / (4 * 400) - np.eye(6)).max() <= 1e-10
    referenced = windows - windows.mean(axis=1, keepdims=True)
    with pytest.raises(ValueError, match="singular"):
        adaptation.euclidean_alignment(referenced, groups)
    with pytest.raises(ValueError, match="expected windows"):
        adaptation.euclidean_alignment(windows, groups[:3])


@pytest.mark.parametrize("routing", [False, True])
def test_each_adaptation_helps_against_its_own_shift(rng, routing, request):
    """Scores on the target of a probe trained on the source, with and without, where the shift is of the kind that the method is for.

    With scikit-learn's metadata routing off and on: importing skada turns it on.
    """
    routed = sklearn.get_config()["enable_metadata_routing"]
    request.addfinalizer(lambda: sklearn.set_config(enable_metadata_routing=routed))
    sklearn.set_config(enable_metadata_routing=routing)

    def score(x, y, x_test, y_test, how):
        groups = np.array([f"s{i}" for i in range(len(x))])
        predicted = evaluate.fit_predict(x, y, groups, x_test, np.unique(y), "linear", False, adaptation=how)
        return evaluate.score("balanced_accuracy", y_test, predicted, np.unique(y))

    # Another device: every feature scaled and moved.
    y, y_test = rng.choice(["a", "b"], 200), rng.choice(["a", "b"], 200)
    x = rng.normal(size=(200, 6)) + 1.5 * (y == "b")[:, None] * np.array([1, 1, 0, 0, 0, 0])
    moved = (rng.normal(size=(200, 6)) + 1.5 * (y_test == "b")[:, None] * np.array([1, 1, 0, 0, 0, 0])) * 3 + 5
    assert score(x, y, moved, y_test, "none") < 0.6
    assert score(x, y, moved, y_test, "normalise") > 0.8
    # Noise that is correlated in the source alone, and hides in which direction the classes differ.
    mix = np.eye(6)
    mix[0, 1] = mix[1, 0] = 0.95
    hidden = x @ np.linalg.cholesky(mix).T
    there = rng.normal(size=(200, 6)) + 1.5 * (y_test == "b")[:, None] * np.array([1, 1, 0, 0, 0, 0])
    recolored = there @ (np.diag([4, 1, 1, 1, 1, 1]) @ np.linalg.cholesky(mix)).T
    assert score(hidden, y, recolored - 4, y_test, "coral") > score(hidden, y, recolored - 4, y_test, "none") + 0.1
    # A straight line for a curve: right for the target's people only if they count most.
    age = rng.uniform(0, 10, 400)[:, None]
    older = rng.uniform(7, 10, 200)[:, None]
    truth = lambda v: (v[:, 0] - 5) ** 2  # noqa: E731
    groups = np.array([f"s{i}" for i in range(400)])
    errors = {
        how: np.abs(evaluate.fit_predict(age, truth(age), groups, older, None, "linear", True, adaptation=how) - truth(older)).mean()
        for how in ("none", "importance")
    }
    assert errors["importance"] < 0.7 * errors["none"]
    with pytest.raises(ValueError, match="unknown adaptation"):
        score(x, y, moved, y_test, "magic")


def test_adapters_of_skada(rng):
    """Optimal transport against a device that bends features; objects of skada as they are; both by the public call; the objects stay unfitted."""
    skada = pytest.importorskip("skada")

    def people(n):
        y = rng.choice(["a", "b"], n)
        return np.where(y == "b", 1.0, -1.0)[:, None] + 0.8 * rng.normal(size=(n, 2)), y

    (x, y), (x_test, y_test) = people(200), people(200)
    bent = np.exp(1.5 * x_test) + 2
    found = {}
    for how in ("none", "normalise", "optimal_transport"):
        predicted = evaluate.fit_predict(x, y, np.arange(200), bent, np.unique(y), "linear", False, adaptation=how)
        found[how] = evaluate.score("balanced_accuracy", y_test, predicted, np.unique(y))
    assert found["none"] == 0.5
    assert found["optimal_transport"] > 0.8, found
    # What comes back is what skada makes of the same standardised rows.
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    joined, domain = (np.concatenate([x, bent]) - mean) / deviation, np.repeat([1, -2], 200)
    labels = np.concatenate([(y == "b").astype(float), np.full(200, -1.0)])
    adapter = skada.LinearOTMappingAdapter()
    expected = skada.LinearOTMappingAdapter().fit_transform(joined, labels, sample_domain=domain)
    source, target, weights = adaptation.adapt_with(adapter, x, y, bent)
    assert np.allclose(np.concatenate([source, target]), expected)
    assert weights is None
    assert not [name for name in vars(adapter) if name.endswith("_")]
    # One that weighs, and a regressed target.
    reweighting = skada.DensityReweightAdapter()
    _, _, weights = adaptation.adapt_with(reweighting, x, x[:, 0], x_test[:150] + 1)
    assert weights.shape == (200,)
    assert np.corrcoef(weights, x.sum(axis=1))[0, 1] > 0.3  # the target lies further up
    predicted = evaluate.fit_predict(x, x[:, 0], np.arange(200), x_test + 1, None, "linear", True, adaptation=reweighting)
    assert np.abs(predicted - x_test[:, 0] - 1).mean() < 0.1
    a, b = (mixed_recordings(seed=s) for s in (0, 1))
    b = b.with_columns(subject=[f"other{s}" for s in b.table["subject"]])
    for how in ("optimal_transport", skada.EntropicOTMappingAdapter(reg_e=10.0)):
        table = sm.transfer(None, a, "y", test=b, adaptation=how, baselines=["band power", "riemann"], bootstrap=20).table
        assert table["value"].notna().all()
    for bad, words in ((object(), "expected the name of an adaptation"), ("magic", "unknown adaptation"), (adapter, "needs a cohort")):
        with pytest.raises(ValueError, match=words):
            sm.transfer(None, a, "y", adaptation=bad)


def test_importance_weights_are_likelihood_ratios(rng):
    x, y = rng.normal(0, 1, size=(4000, 1)), rng.normal(0.5, 1, size=(4000, 1))
    weights = adaptation.importance_weights(x, y, np.arange(4000))
    expected = np.exp(0.5 * x[:, 0] - 0.125)
    assert np.corrcoef(weights, expected)[0, 1] > 0.99
    assert weights.mean() == pytest.approx(1)


def mixed_recordings(n=6, channels=4, seed=0):
    """Noise whose channels each person's head mixes otherwise; two recordings each."""
    rng = np.random.default_rng(seed)
    x = np.concatenate([np.einsum("cd,ndt->nct", 20 * rng.normal(size=(channels, channels)), rng.normal(size=(2, channels, 1600))) for _ in range(n)])
    table = pd.DataFrame({"subject": np.repeat([f"s{i}" for i in range(n)], 2), "y": ["a", "b"] * n})
    return sm.Cohort.from_arrays(x, 100, ["Fp1", "Cz", "O2", "Pz"], table, name="mixed")


def test_alignment_in_the_loader_equals_that_of_arrays():
    people = mixed_recordings()
    options = {"sfreq": 100, "window": 2, "l_freq": 0, "h_freq": 0, "average_reference": False, "scale": "none", "clip": 0}
    plain, aligned = (people.source(sm.EegPreprocessing(**options, align=align)) for align in ("none", "subject"))
    raw = np.stack([plain.sample(i)[0].numpy() for i in range(len(plain))])
    ours = np.stack([aligned.sample(i)[0].numpy() for i in range(len(plain))])
    groups = people.table["subject"].to_numpy()[plain.recording_of.numpy()]
    assert np.abs(ours - adaptation.euclidean_alignment(raw, groups)).max() < 1e-5
    # The whole stream, whatever the threads.
    for threads in (1, 4):
        loader = sm.Loader(people, sm.EegPreprocessing(**options, align="subject"), batch_size=7, order="shuffle", seed=3, threads=threads)
        for batch in loader:
            view = batch.patches[0]
            rows = view.values.view(len(view.lengths), 4, -1)
            for slot, row in zip(view.slots, rows, strict=True):
                assert torch.equal(row, torch.from_numpy(ours[batch.sample_ids[slot]]))


def test_alignment_undoes_a_mixture_that_hides_the_classes():
    """Another device mixes the channels of each person: aligned, a network reads the class where it did not before."""
    rng = np.random.default_rng(1)
    t = np.arange(1600) / 100
    recordings, labels = [], []
    for i in range(40):
        slow = i % 2 == 0
        sources = rng.normal(size=(4, 1600))
        sources[0] += 2 * np.sin(2 * np.pi * (6 if slow else 12) * t + rng.uniform(0, 6))
        gains = 10 ** rng.uniform(-1.5, 1.5, 4)  # of the amplifiers
        recordings.append(gains[:, None] * (np.eye(4) + 0.5 * rng.normal(size=(4, 4))) @ sources)
        labels.append("slow" if slow else "fast")
    people = sm.Cohort.from_arrays(np.stack(recordings), 100, ["Fp1", "Cz", "O2", "Pz"], pd.DataFrame({"subject": range(40), "y": labels}), name="p")
    found = {}
    for align in ("none", "subject"):
        preprocessing = sm.EegPreprocessing(sfreq=100, window=4, patch=1, l_freq=0, h_freq=0, average_reference=False, scale="none", clip=0, align=align)
        encoder = sm.Encoder("vit_tiny", preprocessing, depth=1, seed=0)
        found[align] = sm.transfer(encoder, people, "y", baselines=False, bootstrap=20).table["value"].iloc[0]
    print(found)
    assert found["subject"] >= found["none"] + 0.1
